"""Checkpoints for tests of conversions, written byte by byte, and what a folder holds."""

import shutil

import ml_dtypes
import numpy as np

from albert_np import AlbertConfig
from albert_np.checkpoints.formats.protocol import stored_values
from albert_np.checkpoints.names import hub_name
from albert_np.checkpoints.stored import find_weights, read_headers
from albert_np.golden.cases import PARTS, TINY, trained_like
from support import TESTS, TINY_MODEL, checkpoints

NUMPY = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
WORDS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FRAMEWORKS = TESTS / "goldens" / "formats"  # checkpoints that the frameworks wrote


def folder_of(folder, kind, dtype="float32", tokenizer=False, **changes):
    """A checkpoint of this class: safetensors, written byte by byte by the tests, with values that the dtype has."""
    config = AlbertConfig(**(TINY | {"num_labels": 3, "architectures": [kind]} | changes))
    x = trained_like(config, PARTS[kind], 3)
    arrays = {hub_name(name, PARTS[kind]): value.astype(NUMPY[dtype]) for name, value in x.items()}
    if not config.tie_word_embeddings and "predictions.bias" in arrays:
        arrays["predictions.decoder.bias"] = arrays["predictions.bias"]
    checkpoints.write(folder, arrays, config, words=WORDS)
    if tokenizer:
        for name in ("spiece.model", "tokenizer_config.json"):
            shutil.copy(TINY_MODEL / name, folder)
    return folder, arrays


def held(folder):
    """Name -> (dtype, shape, bytes) of all that the weights of a folder hold, by the names in names.py."""
    tensors = read_headers(find_weights(folder, {}))
    if "predictions.bias" not in tensors and "predictions.decoder.bias" in tensors:  # TensorFlow's, which counts there
        tensors["predictions.bias"] = tensors["predictions.decoder.bias"]
    return {name: (x.dtype, x.shape, stored_values(x).tobytes()) for name, x in tensors.items()}


def wanted(arrays, dtype):
    return {name.removeprefix("albert."): (WORDS[dtype], x.shape, x.tobytes()) for name, x in arrays.items()}


def assert_holds(folder, arrays, dtype):
    """The folder's weights have these bits; a format may store second names beside them."""
    found, expected = held(folder), wanted(arrays, dtype)
    for name, value in expected.items():
        if name != "predictions.decoder.bias":
            assert found[name] == value, name
