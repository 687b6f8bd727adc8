"""The zip archives that torch.save writes: members that are stored as they are, end to end, and a directory behind them.

Only such archives are read. Every byte belongs to one member or to the directory, and what is said twice is said alike: nothing
can overlap, hide in between or unpack to more than is there. The format is PKWARE's APPNOTE.TXT.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from albert_np.files import shown

# The largest ALBERT has some thousand tensors, and a member for each.
MAX_MEMBERS = 20_000
MAX_DIRECTORY_BYTES = 2 * 1024 * 1024
PIECE = 1024 * 1024  # bytes that are read at a time

END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
WIDE_END = struct.Struct("<4sQ2H2L4Q")
ENTRY = struct.Struct("<4s6H3L5H2L")
HEADER = struct.Struct("<4s5H3L2H")

ENCRYPTED, DESCRIBED_BEHIND, UTF8 = 1, 8, 2048  # bits of a member's flags
ABSENT16, ABSENT32 = 0xFFFF, 0xFFFFFFFF  # such a field stands for a wider one elsewhere (zip64)


class Member(NamedTuple):
    """A file in the archive."""

    at: int  # the first byte of its content
    size: int
    crc: int  # 0 where torch was told not to compute it


class _Entry(NamedTuple):
    """A member as the directory describes it."""

    name: str
    header: int  # where its own header is
    size: int
    crc: int
    flags: int


def members(path: Path) -> dict[str, Member]:
    """Name -> where it lies in the file. Only headers are read. Raises a ValueError that names the rule that is broken."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start, directory, count = _directory(file, size, path)
        entries = sorted(_entries(directory, count, path), key=lambda entry: entry.header)
        starts = [*(entry.header for entry in entries), start]
        if starts[0]:
            _refuse(path, f"its first {starts[0]:,} bytes belong to no member")
        found: dict[str, Member] = {}
        for entry, end in zip(entries, starts[1:], strict=True):
            if entry.name in found:
                _refuse(path, f"member {shown(entry.name)!r} is there twice: which one counts?")
            found[entry.name] = Member(_content(file, entry, end, path), entry.size, entry.crc)
    return found


def damaged(path: Path) -> list[str]:
    """The members whose content has another checksum than the archive says. All of it is read, a piece at a time."""
    found = members(path)
    with path.open("rb") as file:
        return [name for name, member in found.items() if member.crc and _checksum(file, member) != member.crc]


def _checksum(file: BinaryIO, member: Member) -> int:
    file.seek(member.at)
    crc, left = 0, member.size
    while left and (piece := file.read(min(left, PIECE))):
        crc, left = zlib.crc32(piece, crc), left - len(piece)
    return crc


def _refuse(path: Path, text: str) -> NoReturn:
    raise ValueError(f"{path}: {text}; torch.save writes no such archive")


def _directory(file: BinaryIO, size: int, path: Path) -> tuple[int, bytes, int]:  # -> first byte, content, entries
    file.seek(max(0, size - WIDE_END.size - LOCATOR.size - END.size))
    tail = file.read()
    if not tail[-END.size :].startswith(b"PK\5\6") or len(tail) < END.size:
        raise ValueError(f"{path} is cut off or damaged: it begins like a zip archive, and does not end like one")
    _, disk, first_disk, here, count, length, start, comment = END.unpack(tail[-END.size :])
    behind = size - END.size
    if tail[-END.size - LOCATOR.size :].startswith(b"PK\6\7"):
        behind -= LOCATOR.size + WIDE_END.size
        narrow = (here, count, length, start)
        here, count, length, start = _wide_end(tail, behind, path)
        for value, wide, absent in zip(
            narrow, (here, count, length, start), (ABSENT16, ABSENT16, ABSENT32, ABSENT32), strict=True
        ):
            if value not in (wide, absent):
                _refuse(path, f"its two ends disagree: {value:,} and {wide:,}")
    if disk or first_disk or here != count or comment:
        _refuse(path, "it is part of an archive of several files, or has a comment")
    if start + length != behind:
        _refuse(path, f"its directory ends at byte {start + length:,}, and {behind:,} was due")
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise ValueError(f"{path}: {count:,} members, described in {length:,} bytes, are more than any real file has")
    file.seek(start)
    return start, file.read(length), count


def _wide_end(tail: bytes, at: int, path: Path) -> tuple[int, int, int, int]:
    """The numbers of zip64's end: entries here, entries, bytes of the directory, its first byte."""
    _, disk, wide_at, disks = LOCATOR.unpack(tail[-END.size - LOCATOR.size : -END.size])
    record = tail[: WIDE_END.size]
    if disk or disks > 1 or wide_at != at or not record.startswith(b"PK\6\6"):
        _refuse(path, "its zip64 end is not where it should be")
    _, length, _, _, disk, first_disk, here, count, bytes_, start = WIDE_END.unpack(record)
    if length != WIDE_END.size - 12 or disk or first_disk:
        _refuse(path, "its zip64 end has another length, or is part of an archive of several files")
    return here, count, bytes_, start


def _entries(directory: bytes, count: int, path: Path) -> list[_Entry]:
    entries: list[_Entry] = []
    at = 0
    for _ in range(count):
        if at + ENTRY.size > len(directory) or directory[at : at + 4] != b"PK\1\2":
            _refuse(path, f"its directory has {len(entries):,} entries, and should have {count:,}")
        _, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_note, disk, _, _, header = (
            ENTRY.unpack_from(directory, at)
        )
        at += ENTRY.size
        name = _name(directory[at : at + n_name], path)
        extra = directory[at + n_name : at + n_name + n_extra]
        at += n_name + n_extra + n_note
        size, packed, header = _widened((size, packed, header), extra, name, path)
        if method or packed != size:
            _refuse(path, f"member {shown(name)!r} is compressed; only stored members are read")
        if flags & ~(DESCRIBED_BEHIND | UTF8) or n_note or disk:
            what = "encrypted" if flags & ENCRYPTED else "patched, has a comment or is in another file"
            _refuse(path, f"member {shown(name)!r} is {what}")
        entries.append(_Entry(name, header, size, crc, flags))
    if at != len(directory):
        _refuse(path, "its directory is longer than its entries")
    return entries


def _name(raw: bytes, path: Path) -> str:
    """A name that would stay in the folder that an archive is unpacked to, though nothing is unpacked here."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(path, f"member {shown(raw)} has a name that is not UTF-8")
    if (
        not name.isprintable()
        or "\\" in name
        or any(part in ("", ".", "..") for part in name.removesuffix("/").split("/"))
    ):
        _refuse(path, f"member {shown(name)!r} has a name that leads elsewhere")
    return name


def _widened(fields: tuple[int, ...], extra: bytes, name: str, path: Path) -> tuple[int, ...]:
    """The fields. Those whose bits are all ones are taken from zip64's extra field, which has them in this order."""
    missing = sum(field == ABSENT32 for field in fields)
    at = 0
    while missing and at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == 1 and 8 * missing <= length <= len(extra) - at:
            wide = iter(struct.unpack_from(f"<{missing}Q", extra, at))
            return tuple(next(wide) if field == ABSENT32 else field for field in fields)
        at += length
    if missing:
        _refuse(path, f"member {shown(name)!r} lacks its zip64 sizes")
    return fields


def _content(file: BinaryIO, entry: _Entry, end: int, path: Path) -> int:
    """The first byte of a member's content, if its own header agrees with the directory and nothing is left before `end`."""
    what = f"member {shown(entry.name)!r}"
    file.seek(entry.header)
    head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(b"PK\3\4"):
        _refuse(path, f"{what} has no header at byte {entry.header:,}")
    _, _, flags, method, _, _, crc, packed, size, n_name, n_extra = HEADER.unpack(head)
    name, extra = file.read(n_name), file.read(n_extra)
    size, packed = _widened((size, packed), extra, entry.name, path)
    said = (name, flags, method, crc, packed, size)
    directory = (entry.name.encode(), entry.flags, 0, entry.crc, entry.size, entry.size)
    left_open = (*directory[:3], 0, 0, 0)  # they stand behind the content then
    if said != directory and not (flags & DESCRIBED_BEHIND and said == left_open):
        _refuse(path, f"{what} says in its own header something else than the directory does")
    at = entry.header + HEADER.size + n_name + n_extra
    rest = end - at - entry.size
    if rest == 0 and not (flags & DESCRIBED_BEHIND and entry.size):  # torch describes nothing behind an empty member
        return at
    if not flags & DESCRIBED_BEHIND or rest not in (16, 24):
        how = "overlaps what is behind it" if rest < 0 else "leaves a gap"
        _refuse(path, f"{what} has {entry.size:,} bytes at byte {at:,}, and the next thing is at {end:,}: it {how}")
    file.seek(at + entry.size)
    pattern = "<4s3L" if rest == 16 else "<4sL2Q"
    if file.read(rest) != struct.pack(pattern, b"PK\7\10", entry.crc, entry.size, entry.size):
        _refuse(path, f"{what} says behind its content something else than the directory does")
    return at
