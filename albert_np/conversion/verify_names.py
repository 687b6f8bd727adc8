"""The names, shapes and dtypes of a checkpoint's tensors beside the table of its class, and tensors with two names."""

from __future__ import annotations

from collections import Counter

import numpy as np

from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.formats.tensorflow_names import is_tensorflow
from albert_np.checkpoints.formats.values import FLOATS
from albert_np.checkpoints.names import (
    ALIASES,
    BIAS,
    BUFFERS,
    DECODER,
    DECODER_BIAS,
    HEADS,
    PARTS,
    WORDS,
    expected_shapes,
)
from albert_np.config import AlbertConfig
from albert_np.conversion.architecture import by_heads
from albert_np.conversion.findings import Findings
from albert_np.conversion.report import dtype_name
from albert_np.files import listed

SOP = tuple(PARTS["sop_classifier"])


def under_first_names(held: dict[str, Tensor], config: AlbertConfig) -> dict[str, Tensor]:
    """The same, where a tensor that is tied may be stored under its second name alone: it gets its first name too."""
    for alias, name in ALIASES.items():
        if alias in held and name not in held and (name == BIAS or config.tie_word_embeddings):
            held[name] = held[alias]
    if {BIAS, WORDS} <= set(held) and DECODER not in held and _tied_by_tensorflow(held[WORDS], config):
        held[DECODER] = held[WORDS]
    return held


def _tied_by_tensorflow(words: Tensor, config: AlbertConfig) -> bool:
    """Whether the config asks for a decoder of its own in vain: TensorFlow's classes tie it whatever the config says."""
    return not config.tie_word_embeddings and is_tensorflow(words)


def check_names(
    held: dict[str, Tensor], config: AlbertConfig, architecture: str, parts: tuple[str, ...], findings: Findings
) -> list[str]:
    """Missing, unexpected and misshapen tensors. Returns the names in names.py of those that the class can compute with."""
    expected = expected_shapes(config, parts)
    missing = [name for name in expected if name not in held]
    if missing:
        _report_missing(missing, held, architecture, findings)
    elif architecture == "AlbertModel" and not parts:
        findings.warning(
            "pooler",
            "there is no pooler",
            "AlbertModel.from_pretrained needs add_pooling_layer=False for this folder.",
        )
    for name, shape in expected.items():
        if name in held and held[name].shape != shape:
            findings.error(
                "shapes",
                f"{name} has the shape {held[name].shape}, and the config says {shape}",
                "The config and the weights are not of one model, and from_pretrained refuses them.",
                "Find the config.json that belongs to the weights, or correct the sizes in it.",
            )
    _report_unexpected(held, expected, parts, findings)
    _check_dtypes(held, expected, config, findings)
    return [name for name, shape in expected.items() if name in held and held[name].shape == shape]


def _report_missing(missing: list[str], held: dict[str, Tensor], architecture: str, findings: Findings) -> None:
    heads = by_heads(held)
    if set(missing) <= set(SOP):
        means = "The checkpoints on the hub were saved without this head; only Google's originals have it."
        do = "Load another class, such as AlbertForMaskedLM, or convert Google's checkpoint, which keeps the head."
    elif all(name.startswith(("embeddings.", "encoder.")) for name in missing):
        means = "These belong to the encoder, without which no class can compute anything."
        do = "The file is not whole: download it again, or look for further files."
    elif architecture not in heads:
        means = f"The heads that are stored are those of {' or '.join(heads)}."
        do = "Correct architectures in config.json, or load that class."
    else:
        means = "from_pretrained refuses the folder: nothing is made up for inference."
        do = "missing='init' draws them from a seed, to start a fine-tune."
    findings.error("missing", f"{architecture} needs {listed(missing)}, which {_are(missing)} not stored", means, do)


def _report_unexpected(
    held: dict[str, Tensor], expected: dict[str, tuple[int, ...]], parts: tuple[str, ...], findings: Findings
) -> None:
    aliases = set(ALIASES) if "predictions" in parts else set()
    unexpected = [name for name in held if name not in expected and name not in aliases]
    for part in PARTS:
        names = [name for name in unexpected if name in PARTS[part] and part not in parts]
        if part == "choice" or not names:  # it has the names of the classifier
            continue
        what = "pooler, which classes for whole texts use" if part not in HEADS else f"{part}, a head of another class"
        findings.note("other-heads", f"there is also the {what}", "This class does not use it, and loses nothing.")
        unexpected = [name for name in unexpected if name not in PARTS[part]]
    buffers = [name for name in unexpected if name in BUFFERS]
    if buffers:
        findings.note(
            "buffers", f"{listed(buffers)} {_are(buffers)} stored", "Older versions stored such ranges of numbers."
        )
    others = [held[name].name for name in unexpected if name not in BUFFERS and name not in ALIASES]
    if others:
        findings.warning(
            "unexpected",
            f"{listed(others)} {_are(others)} no tensor of ALBERT",
            "Nothing here uses them. They may be a head of somebody's own, misspelt, or of more layers than the config says.",
            "Look whether config.json belongs to the weights.",
        )


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _check_dtypes(
    held: dict[str, Tensor], expected: dict[str, tuple[int, ...]], config: AlbertConfig, findings: Findings
) -> None:
    counts = Counter(held[name].dtype for name in expected if name in held and held[name].dtype in FLOATS)
    for name in expected:
        if name in held and held[name].dtype not in FLOATS:
            findings.error(
                "dtype",
                f"{name} is {held[name].dtype}",
                f"Weights are read from {', '.join(FLOATS)}; this may be a quantised model.",
                "Convert the model before it was quantised.",
            )
    if len(counts) > 1:
        mix = ", ".join(f"{count} × {dtype_name(word)}" for word, count in counts.most_common())
        findings.note(
            "dtype-mix",
            f"the tensors have several dtypes: {mix}",
            "All are read as float32.",
            "--dtype gives them one.",
        )
    said = config.dtype
    if said and len(counts) == 1 and said != dtype_name(next(iter(counts))):
        stored = dtype_name(next(iter(counts)))
        findings.note(
            "dtype",
            f"config.json says {said}, and the weights are {stored}",
            "albert_np computes in float32 whatever is stored; transformers 5 may load what the config says.",
        )


def check_ties(held: dict[str, Tensor], config: AlbertConfig, raw: list[Tensor], findings: Findings) -> None:
    """Tensors that are one in the model and are stored twice: are both equal? Only those of the config's shape are read."""
    V, E = config.vocab_size, config.embedding_size
    tied = config.tie_word_embeddings and WORDS in held and DECODER in held and held[WORDS].shape == (V, E)
    if tied and not _equal(held[WORDS], held[DECODER]):
        findings.error(
            "tied-weights",
            f"{DECODER} differs from {WORDS}, though config.json ties them",
            "All programs compute with the word table then. If the decoder was trained by itself, that is lost.",
            'If the decoder counts, write "tie_word_embeddings": false into config.json; else convert, which leaves it out.',
        )
    if WORDS in held and held.get(DECODER) is held[WORDS] and _tied_by_tensorflow(held[WORDS], config):
        findings.warning(
            "tied-weights",
            "config.json says that the decoder has a weight of its own, and there is none",
            "TensorFlow's classes compute with the word table all the same, and so does albert_np; PyTorch's and Flax's would "
            "draw a decoder.",
            'Write "tie_word_embeddings": true into config.json.',
        )
    biases = {tensor.known_as: tensor for tensor in raw if tensor.known_as in (BIAS, DECODER_BIAS)}
    if len(biases) < 2 or biases[DECODER_BIAS].shape != (V,) or _equal(biases[BIAS], biases[DECODER_BIAS]):
        return
    one, other = biases[BIAS], biases[DECODER_BIAS]
    if is_tensorflow(other) or not config.tie_word_embeddings:
        findings.warning(
            "two-biases",
            f"{one.name} differs from {other.name}",
            "The decoder's own bias counts, as TensorFlow and transformers compute; converters to PyTorch took the other one, "
            "and were off by a tenth.",
            "Converting the folder writes the one that counts.",
        )
        return
    findings.error(
        "tied-weights",
        f"{one.name} differs from {other.name}, and they are one tensor",
        "from_pretrained refuses the folder, because it cannot know which one is right; transformers takes the decoder's.",
        "Leave out the one that is wrong.",
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one.load(), other.load(), equal_nan=True))
