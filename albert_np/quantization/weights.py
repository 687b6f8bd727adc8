"""The weights of a whole model in int8: those of a layer's four products, and how exactly each rounds its inputs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from albert_np import imports
from albert_np.checkpoints.initialise import check_seed
from albert_np.config import AlbertConfig
from albert_np.encoder import applications, layer_name
from albert_np.ops import Array
from albert_np.quantization import rounding
from albert_np.quantization.moments import MASKED, Moments, Row, moments_of, random_rows
from albert_np.quantization.rounding import Rounded, rounded
from albert_np.quantized import MOST_INPUTS, PRODUCTS, QuantizedWeight, weight_names

# Passes over the weights for each product: with 2 its inputs are rounded to 16 bits. The inputs of the feed-forward network's
# two products cost the most best tokens where they have 8.
PASSES = {"qkv": 1, "dense": 1, "ffn": 2, "ffn_output": 2}
# A product gets a second pass where the squared error of its 8-bit inputs is over this many times that of its weights.
OUTLIERS = 20.0

Progress = Callable[[int, int], object]  # how much more is done, of how much


def quantised(
    tensors: Mapping[str, Any],
    config: AlbertConfig,
    rows: Iterable[Row] | None = None,
    *,
    passes: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The tensors of a model with QuantizedWeight in the place of its layers' matrices; those that are so already stay.

    tensors: arrays by their names in checkpoints/names.py; the others become float32. rows: of ids, whose inputs of products
    decide how weights are rounded; without them, random ones from `seed`. passes: 1 or 2 for every product; None is as many
    as each needs. progress: called as progress(more, all); without it there is a bar on a terminal, after a second.
    Raises ValueError if passes is something else, if a weight or what it is multiplied with is not finite, if it has more
    inputs than int8 takes, and if some weights alone are int8.
    """
    check_seed(seed)
    if passes not in (None, 1, 2) or isinstance(passes, bool):
        raise ValueError(
            f"passes must be 1 or 2, for inputs of 8 or 16 bits, or None for what each product needs; got {passes!r:.80}"
        )
    names = weight_names(config)
    kinds = {isinstance(tensors[name], QuantizedWeight) for name in names}
    if kinds == {True, False}:
        raise ValueError(
            "some weights of the layers are int8 and some are not: a model has all of them in int8, or none"
        )
    floats = {name: x if name in names and True in kinds else np.asarray(x, np.float32) for name, x in tensors.items()}
    if kinds == {True}:
        return floats
    _check(floats, names, MOST_INPUTS, "int8")
    with _shown(progress, "int8") as advance:
        return floats | _rounded(floats, config, rows, seed, advance, functools.partial(_as_codes, passes))


def rounded_to_bfloat16(
    tensors: Mapping[str, Any],
    config: AlbertConfig,
    rows: Iterable[Row] | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Array]:
    """The tensors of a float32 model with bfloat16 values in its layers' matrices, as float32 arrays. Arguments as above.

    Whatever multiplies in bfloat16 reads them without another rounding, here and elsewhere.
    Raises ValueError if a weight or what it is multiplied with is not finite.
    """
    check_seed(seed)
    floats = {name: np.asarray(x, np.float32) for name, x in tensors.items()}
    _check(floats, weight_names(config), None, "bfloat16")
    with _shown(progress, "bfloat16") as advance:
        return floats | _rounded(floats, config, rows, seed, advance, _as_bfloat16)


@contextlib.contextmanager
def _shown(progress: Progress | None, what: str) -> Iterator[Progress]:
    """What was given, or a bar on a terminal."""
    if progress is not None:
        yield progress
        return
    with imports.lock:
        from tqdm import tqdm
    with tqdm(desc=what, unit_scale=True, disable=None, leave=False, delay=1) as bar:

        def advance(more: int, total: int) -> None:
            bar.total = total
            bar.update(more)

        yield advance


def calibration_rows(
    given: Iterable[Any], tokenizer: Any, config: AlbertConfig, *, masked: bool, seed: int
) -> list[list[int]]:
    """Texts as rows of ids, cut where the model's positions end; rows of ids as they are.

    masked: put [MASK] in the place of MASKED of a text's tokens, drawn from `seed`. Raises ValueError for texts without a
    tokenizer, and for anything else.
    """
    check_seed(seed)
    wanted = "calibration takes texts, or rows of token ids"
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise ValueError(f"{wanted}; got {type(given).__name__}")
    draw = np.random.default_rng([seed, 15])
    rows = []
    for item in given:
        if not isinstance(item, str):
            row = np.asarray(item)
            if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
                raise ValueError(f"{wanted}, whole numbers; got {item!r:.80}")
            rows.append(row.tolist())
            continue
        if tokenizer is None:
            raise ValueError(
                "calibration texts need tokenizer=, that of the model: AlbertTokenizer.from_pretrained(folder); rows of "
                "token ids need none"
            )
        ids = list(tokenizer(item, truncation=True, max_length=config.max_position_embeddings)["input_ids"])
        if masked:
            places = 1 + np.flatnonzero(draw.random(max(0, len(ids) - 2)) < MASKED)
            ids = [tokenizer.mask_token_id if i in set(places.tolist()) else x for i, x in enumerate(ids)]
        rows.append(ids)
    return [row for row in rows if row]


def _check(tensors: Mapping[str, Array], names: Iterable[str], most: int | None, what: str) -> None:
    for name in names:
        x = tensors[name]
        if most is not None and x.shape[1] > most:
            raise ValueError(
                f"{name} has {x.shape[1]:,} inputs, and int8 takes at most {most:,}, whose sums are exact: choose "
                "dtype='bfloat16' or 'float32'"
            )
        if not np.isfinite(x).all():
            raise ValueError(
                f"{name} is not finite, so there is nothing to round it to in {what}: choose dtype='float32'"
            )


def _rounded(
    tensors: dict[str, Array],
    config: AlbertConfig,
    rows: Iterable[Row] | None,
    seed: int,
    progress: Progress,
    of_product: Callable[[str, Array, Moments, list[slice]], list[Any]],
) -> dict[str, Any]:
    rows = random_rows(config, seed) if rows is None else list(rows)
    if not rows:
        raise ValueError("there is nothing to calibrate with: give texts or rows of ids, or leave calibration out")
    used = {(group, inner) for _, group, inner in applications(config)}
    products = config.num_hidden_groups * config.inner_group_num * len(PRODUCTS)
    # a product's share is about what rounding it takes, beside the forward of so many rows
    each = max(1, len(rows) // products)
    total = len(rows) + each * products
    found = moments_of(tensors, config, rows, lambda more, _: progress(more, total))
    made: dict[str, Any] = {}
    for group in range(config.num_hidden_groups):
        for inner in range(config.inner_group_num):
            for product, modules in PRODUCTS.items():
                names = [f"{layer_name(group, inner)}.{module}.weight" for module in modules]
                whole = np.concatenate([tensors[name] for name in names])
                # a stored layer that is never applied has no inputs: every rounding is as good
                moments = found[group, inner, product] if (group, inner) in used else Moments(whole.shape[1])
                if not moments.are_finite:
                    raise ValueError(
                        f"the inputs of {names[0]} are not finite, or too large to be squared, so nothing says how to round "
                        "it: check the embeddings, the LayerNorms and the biases, or choose dtype='float32'"
                    )
                ends = np.cumsum([len(tensors[name]) for name in names]).tolist()
                parts = [slice(first, last) for first, last in zip([0, *ends], ends, strict=False)]
                made |= zip(names, of_product(product, whole, moments, parts), strict=True)
                progress(each, total)
    return made


def _as_codes(
    passes: int | None, product: str, whole: Array, moments: Moments, parts: list[slice]
) -> list[QuantizedWeight]:
    result = rounded(whole, moments.mean)
    passes = passes or _passes(product, moments, result)
    return [result.weight(passes, part) for part in parts]


def _as_bfloat16(product: str, whole: Array, moments: Moments, parts: list[slice]) -> list[Array]:
    result = rounding.rounded_to_bfloat16(whole, moments.mean)
    return [np.ascontiguousarray(result[part]) for part in parts]


def _passes(product: str, moments: Moments, result: Rounded) -> int:
    """PASSES, and a second pass where outliers make the steps of 8 bits coarse: the error of inputs is then far the larger."""
    of_inputs = moments.rounding * result.square
    return 2 if of_inputs > OUTLIERS * result.error else PASSES[product]
