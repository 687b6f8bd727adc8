"""The formats of weight files, one module for each: its reader and its map of names.

To add a format, write a module with a FORMAT (protocol.py says what that is), and name it in FORMATS.
"""

from __future__ import annotations

from albert_np.checkpoints.formats import safetensors
from albert_np.checkpoints.formats.protocol import Format

FORMATS: tuple[Format, ...] = (safetensors.FORMAT,)  # a checkpoint is read in the first format that it has a file of
