"""Protobuf's wire format, as far as messages are written by hand where a message object would cost too much.

An encoded message is its fields one behind the other, in any order; a field is its number and type, then its content
(protobuf.dev, "Encoding"). So an encoded message is continued by writing further fields behind it.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

_VARINT: Final = 0
_BYTES: Final = 2
"""Wire types: numbers; and texts, bytes and messages."""


def varint(number: int) -> bytes:
    """Return a number that is not negative."""
    if number < _TABLE:
        return _LAST[number]
    return _FIRST[number % _TABLE] + varint(number // _TABLE)


_TABLE: Final = 1 << 14
"""Numbers of two bytes, seven bits in each, which is what sizes mostly are. Longer ones are put together two bytes at a
time."""

_FIRST: Final = [bytes((number & 0x7F | 0x80, number >> 7 | 0x80)) for number in range(_TABLE)]
"""Two bytes that others follow."""

_LAST: Final = [
    bytes((number,)) if number < 0x80 else bytes((number & 0x7F | 0x80, number >> 7))
    for number in range(_TABLE)
]


def tag(message: type[Message], field: str) -> bytes:
    """Return what stands before the size of *field*, which holds a message."""
    return varint(_number(message, field) << 3 | _BYTES)


def field_of(message: type[Message], field: str) -> bytes:
    """Return what stands before the content of *field*, which holds a number, or before the size of a text."""
    descriptor: Any = message.DESCRIPTOR.fields_by_name[field]
    numeric = descriptor.type not in (descriptor.TYPE_STRING, descriptor.TYPE_BYTES)
    return varint(_number(message, field) << 3 | (_VARINT if numeric else _BYTES))


def text_field(before: bytes, text: str) -> bytes:
    """Return a field with *text*; *before* is what `field_of` gives."""
    encoded = text.encode()
    return before + varint(len(encoded)) + encoded


def _number(message: type[Message], field: str) -> int:
    number: int = message.DESCRIPTOR.fields_by_name[field].number
    return number
