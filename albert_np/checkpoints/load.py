"""Loading checkpoints: names and shapes are compared with the table, and every refusal comes before any arithmetic."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.tensorflow_names import is_tensorflow
from albert_np.checkpoints.formats.values import FLOATS
from albert_np.checkpoints.initialise import initialise, within_memory
from albert_np.checkpoints.memory import SOURCE, read_state_dict
from albert_np.checkpoints.names import (
    ALIASES,
    BIAS,
    BUFFERS,
    DECODER,
    DECODER_BIAS,
    PRETRAINING,
    WORDS,
    expected_shapes,
    hub_name,
)
from albert_np.checkpoints.quantized import StoredCodes
from albert_np.checkpoints.stored import find_weights, no_weights, read_headers
from albert_np.config import AlbertConfig
from albert_np.files import listed, shown
from albert_np.ops import Array


class LoadedKeys(NamedTuple):
    """What load_state_dict found, under the names of the model and of the state dict."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Match(NamedTuple):
    """Stored tensors beside the table of a model."""

    expected: dict[str, tuple[int, ...]]
    absent: list[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]  # name, stored shape, the config's
    unexpected: dict[str, str]  # name -> the name as it is stored


def stored_tensors(
    name_or_path: str | os.PathLike | None, where: dict[str, Any], formats: tuple[Format, ...], state_dict: Any
) -> tuple[dict[str, Tensor], str]:
    """(tensors by their names in names.py, what messages call their source): of a state dict, or else of a model's files."""
    if state_dict is not None:
        return read_state_dict(state_dict), SOURCE
    assert name_or_path is not None
    stored = find_weights(name_or_path, where, formats)
    if stored is None:
        raise OSError(no_weights(name_or_path, where, formats))
    return read_headers(stored), str(stored.source)


def load(
    found: dict[str, Tensor],
    source: str,
    config: AlbertConfig,
    parts: tuple[str, ...],
    dtype: np.dtype,
    *,
    int8: bool = False,
    missing: str,
    seed: int,
    ignore_mismatched_sizes: bool,
    check_finite: str,
) -> tuple[dict[str, Any], dict[str, list]]:
    """(arrays by name, loading info). Names and shapes are compared with the table before any values are read.

    int8: give the weights that are stored so as QuantizedWeight, and not as the floats that they stand for.
    """
    if missing not in ("error", "init"):
        raise ValueError(f"missing must be 'error' or 'init'; got {missing!r}")
    _check_policy(check_finite)
    expected, absent, mismatched, unexpected = match(found, source, config, parts)
    if mismatched and not ignore_mismatched_sizes:
        way_out = "; is it this model's config.json? ignore_mismatched_sizes=True draws a new tensor, for a new head"
        raise ValueError(_mismatch_message(mismatched, source, _labels(mismatched, parts) or way_out))
    encoder = [name for name in absent if name.startswith(("embeddings.", "encoder."))]
    if encoder:
        raise ValueError(_no_encoder_message(encoder, expected, unexpected, source))
    if absent and missing == "error":
        raise ValueError(_missing_message(absent, expected, parts, source))
    drawn = {name: expected[name] for name in [*absent, *(name for name, _, _ in mismatched)]}
    with within_memory(expected, dtype):
        tensors: dict[str, Any] = dict(initialise(drawn, config, dtype, seed))
        for name in expected:
            if name not in drawn:
                load = found[name].load
                if int8 and isinstance(load, StoredCodes):
                    tensors[name] = load.weight()
                else:
                    tensors[name] = _values(found[name], dtype, check_finite, source)
    if drawn:
        warnings.warn(
            f"{source}: {listed(list(drawn))} drawn from seed {seed}; answers mean nothing until the model is trained",
            stacklevel=3,
        )
    foreign = [stored for name, stored in unexpected.items() if name not in PRETRAINING]
    if foreign:
        warnings.warn(f"{source} also holds {listed(foreign)}, which this class does not use", stacklevel=3)
    info: dict[str, list] = {
        "missing_keys": [hub_name(name, parts) for name in absent],
        "unexpected_keys": list(unexpected.values()),
        "mismatched_keys": [(hub_name(name, parts), stored, wanted) for name, stored, wanted in mismatched],
        "error_msgs": [],
    }
    return {name: tensors[name] for name in expected}, info


def load_state_dict(
    current: Mapping[str, Array],
    found: dict[str, Tensor],
    source: str,
    config: AlbertConfig,
    parts: tuple[str, ...],
    *,
    strict: bool,
    check_finite: str,
) -> tuple[dict[str, Array], LoadedKeys]:
    """(the arrays of a model after loading, what was missing and unexpected). What is missing keeps its current values.

    found: a state dict's tensors by their names in names.py. source: what messages call it.
    """
    _check_policy(check_finite)
    _, absent, mismatched, unexpected = match(found, source, config, parts)
    if mismatched:
        raise ValueError(_mismatch_message(mismatched, source, "; is it of a model with this config?"))
    keys = LoadedKeys([hub_name(name, parts) for name in absent], list(unexpected.values()))
    if strict and (absent or unexpected):
        lacks = f"has no {listed(keys.missing_keys)}" if absent else ""
        beside = f"holds {listed(keys.unexpected_keys)}, which this class does not have" if unexpected else ""
        raise ValueError(
            f"{source} {' and '.join(filter(None, (lacks, beside)))}; strict=False loads what it can and keeps the rest"
        )
    tensors = dict(current)
    for name, x in current.items():
        if name in found:
            tensors[name] = _values(found[name], x.dtype, check_finite, source)
    return tensors, keys


def _check_policy(value: str) -> None:
    if value not in ("error", "warn", "off"):
        raise ValueError(f"check_finite must be 'error', 'warn' or 'off'; got {value!r}")


def match(found: dict[str, Tensor], source: str, config: AlbertConfig, parts: tuple[str, ...]) -> Match:
    """Compares names and shapes with the table; first, `found` gets the tensors that have only their second name."""
    expected = expected_shapes(config, parts)
    if "predictions" in parts:
        _settle_bias(found, config, source)
    if config.tie_word_embeddings and WORDS not in found and DECODER in found:
        found[WORDS] = found[DECODER]
    if not config.tie_word_embeddings and WORDS in found and DECODER not in found and is_tensorflow(found[WORDS]):
        found[DECODER] = found[WORDS]  # TensorFlow's classes tie them whatever the config says
    known = {*expected, *BUFFERS, *(ALIASES if "predictions" in parts else ())}
    for name in expected:
        if name in found and found[name].dtype not in FLOATS:
            raise ValueError(
                f"{source}: tensor {name} is {found[name].dtype}; weights are read from {', '.join(FLOATS)}"
            )
    return Match(
        expected,
        [name for name in expected if name not in found],
        [(name, found[name].shape, shape) for name, shape in expected.items() if _differs(found, name, shape)],
        {name: tensor.name for name, tensor in found.items() if name not in known},
    )


def _settle_bias(found: dict[str, Tensor], config: AlbertConfig, source: str) -> None:
    """Makes predictions.bias the decoder's bias, which a file may have under either name or under both.

    With tied embeddings both names mean one tensor. Without them, transformers 5 stores two tensors and adds that of the
    decoder; transformers 4.57.6 also takes that of the decoder where a file has both, and writes predictions.bias alone.
    """
    first, second = found.get(BIAS), found.get(DECODER_BIAS)
    if second is None:
        return
    # one of another shape is refused by that, before its numbers are read
    tied = config.tie_word_embeddings and second.shape == (config.vocab_size,)
    if tied and first is not None and not _same(first, second):
        raise ValueError(
            f"{source}: predictions.bias and predictions.decoder.bias are tied, but differ in this file: leave out the one "
            "that is wrong (transformers takes the decoder's)"
        )
    found[BIAS] = second


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and np.array_equal(first.load(), second.load(), equal_nan=True)


def _values(tensor: Tensor, dtype: np.dtype, check_finite: str, source: str) -> Array:
    stored = tensor.load()
    with np.errstate(over="ignore"):  # an overflow is found below and reported by name
        x = np.ascontiguousarray(stored, dtype=dtype)
    if check_finite != "off" and not np.all(np.isfinite(x)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        message = (
            f"{source}: tensor {shown(tensor.name)} holds {stored[where]} at {list(where)}, {x[where]} in {dtype}; "
            "from_pretrained and load_state_dict take it anyway with check_finite='warn' or 'off'"
        )
        if check_finite == "error":
            raise ValueError(message)
        warnings.warn(message, stacklevel=4)
    return x


def _differs(found: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> bool:
    return name in found and found[name].shape != shape


def _labels(mismatched: list[tuple[str, tuple, tuple]], parts: tuple[str, ...]) -> str:
    """What to do if nothing but the number of labels differs, which Google's configs do not have."""
    rows = {shape[:1] for _, shape, _ in mismatched}
    others = {shape[1:] == wanted[1:] and name.startswith("classifier.") for name, shape, wanted in mismatched}
    if "classifier" not in parts or len(rows) > 1 or others != {True} or () in rows:
        return ""
    return f"; num_labels={rows.pop()[0]} reads it as it is, and ignore_mismatched_sizes=True draws a new head"


def _mismatch_message(mismatched: list[tuple[str, tuple, tuple]], source: str, way_out: str) -> str:
    name, shape, wanted = mismatched[0]
    text = f"{source}: tensor {name} has the shape {shape}, but the config says {wanted}"
    if len(mismatched) > 1:
        text += f"; {len(mismatched) - 1} more differ: {listed([name for name, _, _ in mismatched[1:]])}"
    if name.startswith(("sop_classifier", "qa_outputs")):
        return text + "; this head always has two logits, whatever num_labels says"
    return text + way_out


def _missing_message(absent: list[str], expected: Mapping[str, tuple], parts: tuple[str, ...], source: str) -> str:
    text = f"{source} has no {listed(absent)} ({len(absent)} of {len(expected)} tensors)"
    if set(absent) == {"pooler.weight", "pooler.bias"} and parts == ("pooler",):
        return text + ": it was saved without a pooler, so load it with add_pooling_layer=False"
    return text + ": nothing is made up for inference; missing='init' draws it from a seed, to start a fine-tune"


def _no_encoder_message(
    encoder: list[str], expected: Mapping[str, tuple], unexpected: Mapping[str, str], source: str
) -> str:
    if all(name.endswith(".distance_embedding.weight") for name in encoder):
        return (
            f"{source} has no {listed(encoder, most=2)}: for relative positions these tables of the encoder must be there. "
            "TensorFlow's and Flax's classes leave them out; position_embedding_type='absolute' computes what those classes do"
        )
    beside = listed(list(unexpected.values()), most=2) or "nothing"
    return (
        f"{source} has no {listed(encoder)} ({len(encoder)} of {len(expected)} tensors); instead it holds {beside}: only a "
        "head and a pooler can be drawn, the encoder must be there"
    )
