"""From the names that files and state dicts use to the names in names.py: prefixes of wrappers, and older words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.names import BASE, PREFIX
from albert_np.encoder import LAYERS
from albert_np.files import listed, shown

MAX_TWICE = 2_000  # tensors under two names, whose numbers are compared
MAX_COMPARED = 1 << 27  # numbers of a tensor that has two names; the largest of the largest ALBERT has half as many
# the last words of a LayerNorm's parameters in TensorFlow, which early checkpoints of PyTorch kept
LEGACY = {"gamma": "weight", "beta": "bias"}
# a name of the encoder, whatever stands before it
ENCODER = re.compile(rf"(.*?\.|)({'|'.join(map(re.escape, BASE))}|{re.escape(LAYERS)}\d.*)", re.DOTALL)


def by_plain_name(tensors: Sequence[Tensor], source: str) -> dict[str, Tensor]:
    """Every tensor under its name in names.py. Names that are not ALBERT's stay as they are, without the prefix.

    A prefix such as "module." is left out where all tensors have it and ALBERT's names stand behind it. A LayerNorm's gamma
    and beta are its weight and bias.
    Raises ValueError if it is not clear which name or which of two tensors counts.
    """
    modern = {tensor.name: _modern(tensor.known_as) for tensor in tensors}
    found = [match for match in map(ENCODER.fullmatch, modern.values()) if match]
    prefixes = sorted({match[1] for match in found})
    wrapper = _wrapper(list(modern.values()), prefixes, source)
    named: dict[str, Tensor] = {}
    twice = 0
    for tensor in tensors:
        name = modern[tensor.name].removeprefix(wrapper).removeprefix(PREFIX)
        if name in named and modern[named[name].name] == modern[tensor.name] and named[name].name != tensor.name:
            twice += 1
            if twice > MAX_TWICE:
                raise ValueError(
                    f"{source} holds over {MAX_TWICE:,} tensors under second names, more than any real model"
                )
            _check_same(named[name], tensor, source)
        elif name in named:
            raise ValueError(
                f"{source} holds {shown(name)} twice, perhaps with and without {PREFIX!r}: which one counts?"
            )
        named[name] = tensor
    if {"", PREFIX} <= set(prefixes):
        bare, headed = (next(match[0] for match in found if match[1] == prefix) for prefix in ("", PREFIX))
        raise ValueError(
            f"{source}: some names of the encoder begin with {PREFIX!r} and some do not ({shown(headed)}, {shown(bare)}): "
            "two models in one file? Give all of them the prefix, or none"
        )
    return named


def _modern(name: str) -> str:
    module, _, last = name.rpartition(".")
    return f"{module}.{LEGACY[last]}" if last in LEGACY and module.endswith(("LayerNorm", "layer_norm")) else name


def _wrapper(names: list[str], prefixes: list[str], source: str) -> str:
    """What stands before Hugging Face's names in a file whose encoder has these prefixes."""
    if {"", PREFIX} & set(prefixes) or not prefixes:
        return ""  # Hugging Face's own names; whatever else is there belongs to something else
    if len(prefixes) > 1:
        raise ValueError(
            f"{source} holds encoders under {len(prefixes)} prefixes, {listed(prefixes)}: keep one, without its prefix"
        )
    (prefix,) = prefixes
    wrapper = prefix.removesuffix(PREFIX) if prefix.endswith("." + PREFIX) else prefix
    others = [name for name in names if not name.startswith(wrapper)]
    if others:
        raise ValueError(
            f"{source}: the encoder's names begin with {shown(prefix)!r} and {listed(others)} do not begin with "
            f"{shown(wrapper)!r}: rename them as ALBERT's are, with {PREFIX!r} or nothing before the encoder's"
        )
    return wrapper


def _check_same(first: Tensor, second: Tensor, source: str) -> None:
    """Refuses two spellings of one name with different values, or too many of them to be compared before a shape is known."""
    if math.prod(first.shape) > MAX_COMPARED:
        raise ValueError(
            f"{source}: {shown(first.name)} and {shown(second.name)} are two names of one tensor, of {shown(first.shape, 80)} "
            "numbers, more than any of ALBERT: remove one"
        )
    if first.shape != second.shape or not np.array_equal(first.load(), second.load(), equal_nan=True):
        raise ValueError(
            f"{source}: {shown(first.name)} and {shown(second.name)} are two names of one tensor, but differ: remove one"
        )
