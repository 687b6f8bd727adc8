"""What a model is run on: ordinary text, inputs on which programs fail, and arrays that somebody brings.

A preset is made from the sizes of a config and a seed, so that it fits any model. PRESETS says what each is for.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albert_np import inputs as checks
from albert_np.config import AlbertConfig
from albert_np.files import listed, read_json, shown
from albert_np.golden.candidates.files import find
from albert_np.ops import Array
from albert_np.text_files import read_lines

PRESETS = {
    "text": "ordinary text in two segments, padded on the right",
    "masked": "a sequence with nothing to attend to, and one with a single token to attend to, beside ordinary ones",
    "one-token": "sequences of one token: a softmax over one score, the pooler's only state",
    "padding": "nearly all padding: each sequence has one real token or two",
    "left-padding": "padding on the left: the pooler reads a masked token",
    "holes": "masked tokens in the middle, in other places for each sequence",
    "constant": "one token everywhere: rows that differ by their position alone",
    "repeated": "two tokens in turn",
    "special": "special tokens only, the padding token among them, and none of it masked",
    "longest": "as many tokens as the model has positions",
    "large-channels": "inputs_embeds with three channels a thousand times as large as the others",
    "denormals": "inputs_embeds that are subnormal in float32, of both signs: flushed or not, the sum is the same",
    "zeros": "inputs_embeds of 0 and −0: what is left is position and type",
}
EMBEDS = ("large-channels", "denormals", "zeros")  # those without input_ids
LABELS = ("labels", "sentence_order_label", "start_positions", "end_positions")
CALL = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds", "head_mask")
MAX_JSON_BYTES = 64 * 1024 * 1024
TEXT = "text:"  # what a spec that is itself a text begins with

# Written for this file.
TEXTS = (
    (
        "The ferry left the harbour at seven in the morning, with two farmers, a doctor and eleven sheep on board.",
        "Nobody had told the captain that the bridge at the other end was closed.",
    ),
    (
        "When the rain stopped, the children ran down to the river to see how high it had come in the night.",
        "It had taken the old fence, and half of the garden with it.",
    ),
    ("She opened the letter, read the first line, and put it back into its envelope.", "“Is it bad news?” he asked."),
    (
        "Bread needs little more than flour, water, salt and time; most people who fail at it give it too little of the last.",
        "Begin in the evening, and bake the next day.",
    ),
    (
        "The museum was nearly empty that afternoon, and the guard, who liked to talk, told us about every picture there.",
        "We learned that the painter had never seen the sea.",
    ),
    ("Of the nine planets that he had drawn, two were the same.", "The teacher smiled and said nothing."),
    (
        "In winter the road over the pass is shut for five months, and the village has no other way to the world than a "
        "narrow path along the cliff.",
        "The post comes on foot, if it comes at all.",
    ),
    (
        "My grandfather kept bees, and said that they knew him by his voice.",
        "I never saw him wear a veil, and he was stung only once, on the day when he had lost it.",
    ),
)


def inputs(
    preset: str,
    config: AlbertConfig,
    *,
    seed: int = 0,
    batch: int = 4,
    length: int | None = None,
    tokenizer: Any = None,
) -> dict[str, Array]:
    """The arrays of one call: input_ids (or inputs_embeds (B,T,E) float32), attention_mask, token_type_ids, (B,T) int64.

    preset: one of PRESETS. batch, length: B and T, at most 64 tokens if no length is given; "one-token" and "longest" have
    lengths of their own. "text" is English through the tokenizer, or through the embedded model's if the config has its
    number of tokens, and so shorter than `length`; otherwise tokens are drawn with frequencies as in a language.
    Raises ValueError for another preset, and for sizes that the model does not have.
    """
    if preset not in PRESETS:
        raise ValueError(f"a preset is one of {', '.join(PRESETS)}; got {shown(repr(preset), 80)}")
    P = config.max_position_embeddings
    T = {"one-token": 1, "longest": P}.get(preset, min(64, P) if length is None else length)
    for name, value, most in (("batch", batch, 1 << 20), ("length", T, P)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
            raise ValueError(f"{name} must be a whole number from 1 to {most}; got {shown(repr(value), 60)}")
    if preset == "text" and (found := tokenizer or _embedded_tokenizer(config)) is not None:
        pairs = [TEXTS[(seed + b) % len(TEXTS)] for b in range(batch)]
        return _tokenized(found, config, [first for first, _ in pairs], [second for _, second in pairs], T)
    rng = np.random.default_rng([seed, list(PRESETS).index(preset)])
    ids, types = _ids(preset, config, rng, batch, T), np.zeros((batch, T), np.int64)
    if config.type_vocab_size > 1:
        types[:] = np.arange(T) >= (2 * T + 2) // 3
    mask = _mask(preset, rng, batch, T)
    call = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "token_type_ids": types * mask}
    if preset != "special":
        call["input_ids"] = np.where(mask, ids, _special(config)[0])
    if preset in EMBEDS:
        del call["input_ids"]
        call["inputs_embeds"] = _embeds(preset, rng, (batch, T, config.embedding_size))
    return call


def load_inputs(spec: str | os.PathLike, config: AlbertConfig, tokenizer: Any = None) -> dict[str, Array]:
    """The arrays that a user names: a preset; a .npz or .json of them by name; a .txt, a text a line; or text:…, one text.

    Keys are input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, head_mask and the labels of a class. Texts
    need a tokenizer, unless the config has as many tokens as the embedded model. All is checked: raises ValueError for an
    unknown key, shape or range, and OSError if there is no such file.
    """
    if isinstance(spec, str) and spec in PRESETS:
        return inputs(spec, config, tokenizer=tokenizer)
    if isinstance(spec, str) and spec.startswith(TEXT):
        return _of_texts([spec.removeprefix(TEXT)], config, tokenizer)
    if not isinstance(spec, (str, os.PathLike)):
        raise ValueError(f"inputs are named by a preset or a file; got {type(spec).__name__}")
    path = Path(spec)
    if path.suffix not in (".npz", ".json", ".txt"):
        raise ValueError(
            f"inputs are a .npz, .json or .txt file, {TEXT}…, or one of the presets {', '.join(PRESETS)}; "
            f"got {shown(repr(str(spec)), 120)}"
        )
    if not path.is_file():
        raise OSError(f"there is no file {shown(path, 300)}")
    if path.suffix == ".txt":
        lines = [text for _, text in read_lines(path, long_lines="error") if text]
        if not lines:
            raise ValueError(f"{path} has no line with a text")
        return _of_texts(lines, config, tokenizer)
    if path.suffix == ".npz":
        return checked({tensor.name: tensor.load() for tensor in find(path)[1]}, config)
    values = read_json(path, MAX_JSON_BYTES)
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold an object with the arrays by name; got {type(values).__name__}")
    return checked(values, config)


def checked(call: Mapping[str, Any], config: AlbertConfig) -> dict[str, Array]:
    """The same as arrays of int64 (or floats), if a model of this config can be called with it. Raises ValueError if not.

    A single sequence may come without its batch axis; multiple choice has (B, choices, T).
    """
    unknown = sorted(set(call) - {*CALL, *LABELS})
    if unknown:
        raise ValueError(f"inputs are {', '.join((*CALL, *LABELS))}; got {listed(unknown)}")
    arrays = {name: checks.array(name, value) for name, value in call.items()}
    for name in set(arrays) & {"input_ids", "attention_mask", "token_type_ids", "position_ids"}:
        x = arrays[name][None] if arrays[name].ndim == 1 else arrays[name]
        x = x.astype(np.int64) if name == "attention_mask" and _is_binary(x) else x
        arrays[name] = x if name == "attention_mask" else checks.integers(name, x)
    first = arrays.get("input_ids", arrays.get("inputs_embeds"))
    choices = first is not None and first.ndim == (3 if "input_ids" in arrays else 4)
    given: dict[str, Any] = {name: arrays.get(name) for name in CALL}
    head_mask = given.pop("head_mask")
    if choices:
        given = {name: x if x is None else np.reshape(x, (-1, *x.shape[2:])) for name, x in given.items()}
    with warnings.catch_warnings():  # that positions are counted from the padding on the left; the call itself says so
        warnings.simplefilter("ignore")
        checks.prepare(config, np.dtype(np.float64), **given, head_mask=head_mask, head_mask_mode="shared")
    assert first is not None  # prepare wants one of the two
    for name in set(arrays) & set(LABELS):
        x = arrays[name]
        if x.ndim == 0 or len(x) != len(first) or x.dtype.kind not in "iuf":
            raise ValueError(f"{name} must be numbers for each of {len(first)} sequences; got {x.dtype} {x.shape}")
        arrays[name] = x.astype(np.int64) if x.dtype.kind in "iu" else x
    return arrays


def _is_binary(x: Array) -> bool:
    return x.dtype.kind in "biuf" and bool(np.all((x == 0) | (x == 1)))


def _of_texts(texts: list[str], config: AlbertConfig, tokenizer: Any) -> dict[str, Array]:
    tokenizer = tokenizer or _embedded_tokenizer(config)
    if tokenizer is None:
        raise ValueError(f"texts need the tokenizer of the model, which has {config.vocab_size} tokens; none was given")
    return _tokenized(tokenizer, config, texts, None, config.max_position_embeddings)


def _tokenized(
    tokenizer: Any, config: AlbertConfig, texts: list[str], pairs: list[str] | None, T: int
) -> dict[str, Array]:
    encoded = tokenizer(texts, pairs, padding=True, truncation=True, max_length=T, return_tensors="np")
    return checked({name: encoded[name] for name in ("input_ids", "attention_mask", "token_type_ids")}, config)


def _embedded_tokenizer(config: AlbertConfig) -> Any:
    """The tokenizer of the embedded model, if the config has as many tokens; or None."""
    from albert_np.tokenization.tokenizer import AlbertTokenizer

    tokenizer = AlbertTokenizer.from_pretrained("demo")
    return tokenizer if len(tokenizer) == config.vocab_size else None


# --- what presets are made of -----------------------------------------------------------------------------------------------


def _special(config: AlbertConfig) -> tuple[int, int, int]:
    """The ids of [PAD], [CLS] and [SEP], of those that the vocabulary has."""
    eos = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    named = (config.pad_token_id, config.bos_token_id, eos)
    pad, cls, sep = (min(i or 0, config.vocab_size - 1) for i in named)
    return pad, cls, sep


def _ids(preset: str, config: AlbertConfig, rng: np.random.Generator, B: int, T: int) -> Array:  # -> (B,T) int64
    pad, cls, sep = _special(config)
    V = config.vocab_size
    lowest = min(5, V - 1)  # <pad>, <unk>, [CLS], [SEP] and [MASK] come first
    if preset == "special":
        return rng.choice(np.unique([pad, cls, sep, *range(lowest)]), (B, T)).astype(np.int64)
    # Zipf's law as Mandelbrot has it: the word of rank r is as frequent as 1/(r + 2.7)
    frequency = np.cumsum(1 / (np.arange(V - lowest) + 3.7))
    ids = lowest + np.searchsorted(frequency, rng.random((B, T)) * frequency[-1])
    if preset == "constant":
        ids[:] = ids[:, :1]
    if preset == "repeated":
        ids = ids[:, np.arange(T) % min(2, T)]
    if preset not in ("constant", "repeated"):
        ids[:, [0, T - 1, 2 * T // 3]] = [cls, sep, sep] if T > 3 else cls
    return ids.astype(np.int64)


def _mask(preset: str, rng: np.random.Generator, B: int, T: int) -> Array:  # -> (B,T) bool
    columns, mask = np.arange(T), np.ones((B, T), bool)
    lengths = rng.integers((T + 1) // 2, T + 1, (B, 1))
    lengths[0] = T
    if preset in ("text", "masked", "longest", *EMBEDS):
        mask = columns < lengths
    if preset == "masked":
        mask[-1] = False  # nothing to attend to
        mask[: B - 1][-1:] = columns == T // 2  # or one token that is not the first
    if preset == "padding":
        mask = columns <= np.arange(B)[:, None] % 2
    if preset == "left-padding":
        mask = columns >= T - np.maximum(1, lengths - 1)
    if preset == "holes":
        mask = (rng.random((B, T)) < 0.6) | (columns == 0)
    return mask


def _embeds(preset: str, rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:  # -> (B,T,E) float32
    x: Array = 0.09 * rng.standard_normal(shape)  # the size of word embeddings
    if preset == "large-channels":
        x[..., rng.choice(shape[-1], min(3, shape[-1]), replace=False)] *= 1000
    if preset == "denormals":  # from 2⁻¹⁴⁹, the smallest float32, to 2⁻¹²⁷
        x = np.sign(x) * rng.integers(1, 1 << rng.integers(1, 23, shape)) * 2.0**-149
    if preset == "zeros":
        x = np.copysign(0.0, x)
    return x.astype(np.float32)
