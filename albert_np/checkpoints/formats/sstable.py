"""LevelDB's tables of sorted keys, as which TensorFlow writes the index of a checkpoint. Source: leveldb's doc/table_format.md.

A file is a row of blocks and a footer. A block has entries, each with the part of its key that differs from the key before,
then the offsets at which whole keys begin ("restarts"). Behind a block are its type and its checksum. One block is an index: it
has the place of each other block, under a key that is not before any key of that block. The footer says where the index is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from albert_np.checkpoints.formats.crc32c import crc32c, unmasked
from albert_np.files import explain_impostor
from albert_np.protobuf import BadFileError, read_number

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes: two handles, zeros, and the magic number
TRAILER = 5  # bytes behind a block: its type, and the CRC of both
# an index has some 100 bytes for each tensor and slice, and a real one has hundreds of them, with those of its optimizer
MAX_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 40_000
MAX_KEY = 1024  # as keys share their beginnings, a few bytes may add a long one


def read_table(path: Path) -> dict[bytes, bytes]:
    """All keys, in their order, and their values. Checks every checksum and bound.

    Raises BadFileError, whose message lacks the name of the file, ValueError (no such file at all) or OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(min(size, MAX_BYTES + 1))
    explain_impostor(str(path), data[:512])
    if size > MAX_BYTES:
        raise BadFileError(f"it has {size:,} bytes; at most {MAX_BYTES:,} are read")
    if size < FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
        raise BadFileError("it does not end as a table does; it is cut off, or no TensorFlow checkpoint")
    blocks, footer = data[:-FOOTER], data[-FOOTER:-8]
    meta, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    _block(blocks, *meta, "the meta block")
    found: dict[bytes, bytes] = {}
    last, free = b"", 0  # the greatest key so far, and the first byte that no block has
    for separator, value in _entries(_block(blocks, *index, "the index block"), "the index block"):
        (offset, length), _ = _handle(value, 0)
        what = f"the block at byte {offset:,}"
        if offset < free:
            raise BadFileError(f"{what} overlaps the one before it")
        free = offset + length + TRAILER
        for key, content in _entries(_block(blocks, offset, length, what), what):
            if found and key <= last:
                raise BadFileError(f"{what} has a key twice, or keys out of order")
            if len(found) == MAX_ENTRIES:
                raise BadFileError(f"it has over {MAX_ENTRIES:,} entries")
            found[key] = content
            last = key
        if separator < last:
            raise BadFileError(f"{what} has keys behind the one that the index names")
        last = separator
    return found


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """((offset, length) of a block, the index after that)."""
    offset, at = read_number(data, at)
    length, at = read_number(data, at)
    return (offset, length), at


def _block(blocks: bytes, offset: int, length: int, what: str) -> bytes:
    if offset + length + TRAILER > len(blocks):
        raise BadFileError(f"{what} reaches beyond the end of the blocks: it is cut off or damaged")
    kind, crc = struct.unpack_from("<BI", blocks, offset + length)
    if unmasked(crc) != crc32c(np.frombuffer(blocks, np.uint8, length + 1, offset)):
        raise BadFileError(f"{what} does not have its checksum: the file is damaged")
    if kind:
        name = {1: "snappy", 2: "zlib", 4: "zstd"}.get(kind, f"method {kind}")
        raise BadFileError(f"{what} is compressed with {name}, which TensorFlow never does to a checkpoint")
    return blocks[offset : offset + length]


def _entries(block: bytes, what: str) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a block, in the order they are stored. The restarts must be where whole keys begin."""
    count = int.from_bytes(block[-4:], "little") if len(block) >= 4 else 0
    end = len(block) - 4 - 4 * count
    if not count or end < 0:
        raise BadFileError(f"{what} has no list of restarts")
    restarts = struct.unpack_from(f"<{count}I", block, end)
    block = block[:end]
    whole = {0}  # where a key without a shared part begins
    key, at = b"", 0
    while at < end:
        begin = at
        shared, at = read_number(block, at)
        own, at = read_number(block, at)
        length, at = read_number(block, at)
        if shared > len(key) or own > end - at or length > end - at - own:
            raise BadFileError(f"{what} has an entry that reaches beyond its bounds")
        if shared + own > MAX_KEY:
            raise BadFileError(f"{what} has a key of {shared + own:,} bytes; at most {MAX_KEY:,} are read")
        if not shared:
            whole.add(begin)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length
    if restarts[0] or list(restarts) != sorted(set(restarts)) or not whole.issuperset(restarts):
        raise BadFileError(f"{what} has restarts at other places than where keys begin")
