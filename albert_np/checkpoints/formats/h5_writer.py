"""Writing tf_model.h5 as transformers' TFAlbert classes read it: a group for each layer of a model, a dataset a weight."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albert_np import imports
from albert_np.checkpoints.formats.protocol import Tensor, stored_values
from albert_np.checkpoints.formats.tensorflow_names import is_kernel, tensorflow_name
from albert_np.checkpoints.formats.values import transposed
from albert_np.checkpoints.names import BIAS, BUFFERS, DECODER, DECODER_BIAS, PREFIX, WORDS
from albert_np.files import shown
from albert_np.ops import Array

FILE = "tf_model.h5"  # what messages name: the file that is written may have a name for the time being
DTYPES = ("F16", "F32", "F64")
NAMES_AT_ONCE = 2000  # an attribute holds 64 KiB, and a name takes 16 bytes of them; Keras splits a longer list
# Keras stores the embeddings again in the layer that decodes with them. transformers reads the first copy, but reports these
# two as missing where the second is not there
REPEATED = ("albert/embeddings/token_type_embeddings/embeddings", "albert/embeddings/position_embeddings/embeddings")


def _import_h5py() -> Any:
    """The module h5py. ValueError if it is not installed."""
    with imports.lock:
        try:
            import h5py
        except ImportError:
            raise ValueError(
                f'writing {FILE} needs h5py, which is not installed: pip install "albert-np[formats]"'
            ) from None
    return h5py


def write(path: Path, tensors: Mapping[str, Tensor], architecture: str = "") -> None:
    """Writes one file. TensorFlow computes with the decoder's bias; the other one, which it stores too, has the same values.

    Raises ValueError for a dtype that HDF5 does not have, and for weights that the TensorFlow classes would ignore: a decoder
    of its own and relative positions. OSError if the file cannot be written.
    """
    layers = _layers(tensors)
    h5py = _import_h5py()
    model = (
        "tf_" + re.sub(r"(?<!^)(?<![A-Z])(?=[A-Z])", "_", (architecture or "AlbertModel").removeprefix("TF")).lower()
    )
    try:
        with h5py.File(path, "w", locking=False) as file:
            _note_names(file, "layer_names", list(layers))
            file.attrs["backend"] = "tensorflow"
            file.attrs["keras_version"] = "2.15.1"  # whose layout this is
            for layer, weights in layers.items():
                group = file.create_group(layer)
                _note_names(group, "weight_names", [f"{model}/{name}:0" for name in weights])
                for name, tensor in weights.items():
                    x = _values(tensor)
                    group.create_dataset(f"{model}/{name}:0", data=transposed(x) if is_kernel(name) else x)
    except _SourceError as error:
        raise error.args[0] from None
    except Exception as error:  # h5py's errors are of many classes, and their texts of several lines
        text = " ".join(str(error).split()) or type(error).__name__
        if number := getattr(error, "errno", None) or next(iter(re.findall(r"errno = (\d+)", text)), None):
            raise OSError(int(number), os.strerror(int(number))) from error
        raise OSError(f"{FILE} could not be written: {shown(text, 200)}") from error


class _SourceError(Exception):
    """A tensor that is to be written cannot be read. Its argument says why."""


def _values(tensor: Tensor) -> Array:
    try:
        return stored_values(tensor)
    except (ValueError, OSError) as error:
        raise _SourceError(error) from error


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Layer -> its weights under TensorFlow's names, in the order in which they came."""
    plain = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if DECODER in plain and not np.array_equal(plain[DECODER].load(), plain[WORDS].load()):
        raise ValueError(
            f"{FILE} cannot hold this model: TensorFlow's classes compute with the word embeddings instead of {DECODER}, "
            "which differs from them"
        )
    if BIAS in plain:
        plain[DECODER_BIAS] = plain[BIAS]
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in plain.items():
        if name == DECODER or name in BUFFERS:  # no weights of their own
            continue
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"{FILE} holds float16, float32 and float64, and {shown(name)} is {tensor.dtype}: convert it with "
                "dtype='float32' (--dtype float32), which holds every value of bfloat16"
            )
        found = tensorflow_name(name)
        layers.setdefault(found.partition("/")[0], {})[found] = tensor
    if "predictions" in layers:
        layers["predictions"] |= {name: layers["albert"][name] for name in REPEATED if name in layers.get("albert", ())}
    return layers


def _note_names(group: Any, attribute: str, names: list[str]) -> None:
    if len(names) <= NAMES_AT_ONCE:
        group.attrs[attribute] = names
        return
    for i in range(0, len(names), NAMES_AT_ONCE):
        group.attrs[f"{attribute}{i // NAMES_AT_ONCE}"] = names[i : i + NAMES_AT_ONCE]
