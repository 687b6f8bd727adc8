"""Messages of protobuf in a file of any size: fields are found by their places, and nothing large is read or copied.

A model's weights are a few fields of many megabytes among many small ones. A reader walks over the small ones, and takes the
places of the others. Every bound is checked, and how much may be read in all is limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from albert_np.protobuf import BYTES, FIXED32, FIXED64, VARINT, BadFileError, read_number, signed

WINDOW = 64 * 1024
LONGEST = 10  # bytes of a base-128 number
# the graph of 24 layers has at most 50,000 fields and a megabyte of names
MAX_FIELDS = 500_000
MAX_READ = 64 * 1024 * 1024

Span = tuple[int, int]  # the first byte in the file, and the one behind the last


class Messages:
    """The messages of one open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._window, self._start = b"", 0
        self._fields, self._bytes = MAX_FIELDS, MAX_READ

    def fields(self, message: Span) -> Iterator[tuple[int, int, Any]]:
        """Yields (field number, wire type, value) of one message: an int, or where the field's bytes are."""
        at, end = message
        while at < end:
            self._fields -= 1
            if self._fields < 0:
                raise BadFileError(f"it has over {MAX_FIELDS:,} fields, more than any real model")
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if not 1 <= number < 1 << 29:
                raise BadFileError(f"it has a field with the impossible number {number}")
            if wire == VARINT:
                value, at = self._varint(at, end)
                yield number, wire, value
                continue
            if wire == BYTES:
                length, at = self._varint(at, end)
            elif wire in (FIXED32, FIXED64):
                length = 4 if wire == FIXED32 else 8
            else:
                raise BadFileError(f"field {number} has the wire type {wire}, which nothing writes any more")
            if length > end - at:
                raise BadFileError(f"field {number} claims {length:,} bytes where {end - at:,} are left (truncated?)")
            yield number, wire, (at, at + length)
            at += length

    def bytes(self, span: Span) -> bytes:
        """The bytes of a small field."""
        start, end = span
        self._bytes -= end - start
        if self._bytes < 0:
            raise BadFileError(
                f"names, attributes and the like take over {MAX_READ:,} bytes, more than any real model's"
            )
        i = start - self._start
        if not 0 <= i <= len(self._window) - (end - start):
            self._fill(start, end - start)
            i = 0
        data = self._window[i : i + end - start]
        if len(data) < end - start:
            raise BadFileError("it was cut off while it was being read")
        return data

    def text(self, span: Any, wire: int) -> str:
        """The text of a small field. Bytes that are no UTF-8 are replaced: names are compared, and shown in messages."""
        if wire != BYTES:
            raise BadFileError(f"where text is due, a field has the wire type {wire}")
        return self.bytes(span).decode("utf-8", "replace")

    def numbers(self, value: Any, wire: int) -> list[int]:
        """The whole numbers of one field, which may be a single one or several end to end; they have 64 bits and a sign."""
        if wire == VARINT:
            return [signed(value)]
        if wire != BYTES:
            raise BadFileError(f"where whole numbers are due, a field has the wire type {wire}")
        at, end = value
        found = []
        while at < end:
            self._fields -= 1
            if self._fields < 0:
                raise BadFileError(f"it has over {MAX_FIELDS:,} numbers, more than any real model")
            number, at = self._varint(at, end)
            found.append(signed(number))
        return found

    def _fill(self, at: int, least: int) -> None:
        self._file.seek(at)
        self._window, self._start = self._file.read(max(WINDOW, least)), at

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """The base-128 number at `at`, and the place behind it."""
        i = at - self._start
        if not 0 <= i <= len(self._window) - LONGEST:
            self._fill(at, LONGEST)
            i = 0
        if at < end and i < len(self._window) and self._window[i] < 0x80:  # the common case, without a copy
            return self._window[i], at + 1
        number, length = read_number(self._window[i : i + min(LONGEST, end - at)], 0)
        return number, at + length
