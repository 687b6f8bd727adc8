"""Saving checkpoints: a folder that transformers reads."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from albert_np.checkpoints.names import WEIGHTS_NAME
from albert_np.config import AlbertConfig
from albert_np.files import atomic_path, folder_to_write, shown
from albert_np.ops import Array


def save(folder: str | os.PathLike, config: AlbertConfig, tensors: Mapping[str, Array]) -> None:
    """Writes config.json and model.safetensors, as transformers reads them. Each file appears whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    folder = folder_to_write(folder)
    arrays = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    with atomic_path(folder / WEIGHTS_NAME) as temporary:
        try:
            save_file(arrays, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # what the library makes of a full disk
            raise OSError(f"cannot write {folder / WEIGHTS_NAME}: {shown(error, 300)}") from error
    config.save_pretrained(folder)
