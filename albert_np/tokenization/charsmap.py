"""The precompiled charsmap of a SentencePiece vocabulary: how characters are replaced, as a trie, and whether it is safe."""

from __future__ import annotations

import struct

import numpy as np

MAX_REPLACEMENT_BYTES = 256  # what one match of the charsmap may become: NFKC's longest is 33


def split_charsmap(charsmap: bytes) -> tuple[np.ndarray, bytes]:
    """The two halves of a precompiled charsmap: the trie's units, uint32 (n,), and the NUL-terminated replacements."""
    (size,) = struct.unpack_from("<I", charsmap)
    return np.frombuffer(charsmap, "<u4", size // 4, offset=4), charsmap[4 + size :]


def charsmap_problem(charsmap: bytes) -> str | None:
    """What makes a precompiled charsmap unsafe to walk, or None.

    The trie is a Darts-clone double array. A walk stands on a unit at index i whose base is i ^ offset(unit); the byte b
    of the text leads to unit base ^ b, and "has_leaf" makes the walk read the value unit at the base itself. Every index
    it can compute from i therefore lies in the aligned block of 256 that holds the base: if the block's last index,
    base | 255, is inside the array for the root and for each unit that a label can lead to (bit 31 clear, so that its
    label can equal a byte), then no walk over any text leaves the array, wherever it starts and whatever it reads. In the
    same way every value that a "has_leaf" can hand out must be the start of a replacement.
    """
    if len(charsmap) < 8:
        return f"has only {len(charsmap)} bytes"
    (size,) = struct.unpack_from("<I", charsmap)
    if size % 4 or not 4 <= size < len(charsmap) - 4:
        return f"claims a trie of {size} bytes in a blob of {len(charsmap)}"
    units, replacements = split_charsmap(charsmap)
    if not replacements.endswith(b"\0"):
        return "does not end in NUL"
    try:
        replacements.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"has replacements that are not UTF-8 ({error.reason} at byte {error.start})"
    longest = max(map(len, replacements.split(b"\0")))
    if longest > MAX_REPLACEMENT_BYTES:
        return f"replaces one match by {longest} bytes, more than {MAX_REPLACEMENT_BYTES}"

    index = np.arange(units.size, dtype=np.int64)
    wide = units.astype(np.int64)
    inner = wide >> 31 == 0  # a value unit has bit 31 set: no label equals it, so no walk stands on it
    inner[0] = True  # the walk starts on the root without comparing its label
    base = index ^ (wide >> 10) << ((wide & 1 << 9) >> 6)
    outside = np.flatnonzero(inner & (base | 255 >= units.size))
    if outside.size:
        return f"has a trie whose unit {outside[0]} leads outside its {units.size} units"
    leaf = inner & (wide >> 8 & 1 == 1)
    leaf[0] = False  # the empty key: the walk never asks the root for a value
    values = wide[base[leaf]] & 0x7FFFFFFF
    if values.size and values.max() >= len(replacements):
        return f"has a value {values.max()} outside its {len(replacements)} bytes of replacements"
    if (np.frombuffer(replacements, np.uint8)[values] & 0xC0 == 0x80).any():
        return "has a value that points into the middle of a character"
    return None
