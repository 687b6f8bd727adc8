"""The wire format of protobuf: SentencePiece's vocabularies, TensorFlow's checkpoints, ONNX. Every bound is checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class BadFileError(Exception):
    """Says what is wrong with the bytes. Whoever catches it adds the name of the file."""


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """The base-128 number at `at`, and the index after it. As in protobuf, it has at most 10 bytes and 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise BadFileError("it ends in the middle of a number (truncated?)")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                raise BadFileError("a number has more than 64 bits")
            return value, at
    raise BadFileError("a number has more than 10 bytes")


def signed(value: int) -> int:
    """The whole number with a sign that these 64 bits are."""
    return value - (1 << 64) if value >= 1 << 63 else value


def read_fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yields (field number, wire type, value) of one message. The value is an int, or the bytes of the field."""
    at, size = 0, len(data)
    while at < size:
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = read_number(data, at - 1)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise BadFileError(f"it has a field with the impossible number {number}")
        if wire == BYTES and at < size and data[at] < 0x80:  # the common case, a short field, without a call
            length, at = data[at], at + 1
        elif wire == BYTES:
            length, at = read_number(data, at)
        elif wire == VARINT:
            value, at = read_number(data, at)
            yield number, wire, value
            continue
        elif wire == FIXED32:
            length = 4
        elif wire == FIXED64:
            length = 8
        else:
            raise BadFileError(f"field {number} has wire type {wire}, which nothing writes any more")
        if length > size - at:
            raise BadFileError(f"field {number} claims {length} bytes where {size - at} are left (truncated?)")
        yield number, wire, data[at : at + length]
        at += length


def read_message(data: bytes, table: dict[int, tuple[str, int]], what: str, into: dict | None = None) -> dict:
    """The known fields of a message by name; others are ignored. Of a field given twice the last counts, as in protobuf."""
    into = {} if into is None else into
    for number, wire, value in read_fields(data):
        if number in table:
            name, expected = table[number]
            if wire != expected:
                raise BadFileError(f"{name} of {what} has wire type {wire}, not {expected}")
            into[name] = value
    return into


def write_number(value: int) -> bytes:
    """Writes a number, 0 or more, in base 128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_field(number: int, value: bytes | int) -> bytes:
    """Writes a field with its tag; if it is bytes, with their length."""
    if isinstance(value, int):
        return write_number(number << 3 | VARINT) + write_number(value)
    return write_number(number << 3 | BYTES) + write_number(len(value)) + value
