"""Ways to spoil bytes, texts of JSON, values of MessagePack and messages of protobuf, drawn by lot from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

_ODD_NUMBERS: Final = (
    "0", "-0", "-1", "1e400", "-1e400", "1e-400", "0.1e1", "99999999999999999999", "1.7976931348623157e308", "00", "1.",
    "NaN", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1E5", "-0.0",
    "0.1000000000000000055511151231257827",
)  # fmt: skip
_ODD_TEXTS: Final = (
    "", " ", "\0", "A" * 300, "ÄÖÜ", "\ud83d", "\u202e", "../..", "AAPL\n", "aapl", "*", "NaN", "null", "1e5",
    "2026-13-45T99:99:99Z", "2026-10-01T15:00:00", "9999-12-31T23:59:59.999999999Z", "0001-01-01T00:00:00Z",
    "2026-10-01T15:00:00.1234567891Z",
)  # fmt: skip
_ODD_VALUES: Final[Sequence[Any]] = (
    None,
    True,
    False,
    [],
    {},
    0,
    -1,
    1.5,
    "",
    [[]],
    {"": None},
    1 << 62,
    -(1 << 62),
)


def spoil_bytes(dice: random.Random, data: bytes) -> bytes:
    """Return *data* with bits turned, and parts cut out, doubled, moved or overwritten."""
    spoilt = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        if not spoilt:
            return dice.randbytes(dice.randrange(8))
        at = dice.randrange(len(spoilt))
        to = min(len(spoilt), at + dice.choice((1, 2, 8, 64)))
        match dice.randrange(7):
            case 0:
                spoilt[at] ^= 1 << dice.randrange(8)
            case 1:
                del spoilt[at:to]
            case 2:
                spoilt[at:at] = spoilt[at:to]
            case 3:
                spoilt[at:to] = dice.randbytes(to - at)
            case 4:
                del spoilt[at:]
            case 5:
                spoilt[at] = dice.choice((0, 0x7F, 0x80, 0xFF, 0xC1))
            case 6:
                spoilt += spoilt[at:to] * dice.choice((1, 3))
    return bytes(spoilt)


def spoil_json(dice: random.Random, body: bytes) -> bytes:
    """Return *body* spoilt as bytes, or with some of its parts replaced by others."""
    if dice.random() < 0.3:
        return spoil_bytes(dice, body)
    try:
        told = json.loads(body)
    except ValueError:
        return spoil_bytes(dice, body)
    for _ in range(dice.choice((1, 1, 2, 5))):
        told = _spoil_value(dice, told)
    text = json.dumps(told, ensure_ascii=dice.random() < 0.5)
    if dice.random() < 0.3:
        # Numbers that Python cannot write so.
        digits = [place for place, letter in enumerate(text) if letter.isdigit()]
        if digits:
            at = dice.choice(digits)
            end = at
            while end < len(text) and (text[end].isdigit() or text[end] == "."):
                end += 1
            text = text[:at] + dice.choice(_ODD_NUMBERS) + text[end:]
    return text.encode("utf-8", "surrogatepass")


def spoil_frame(dice: random.Random, frame: bytes, true: Sequence[bytes]) -> bytes:
    """Return a frame of MessagePack spoilt; *true* are frames from which parts may be taken."""
    if dice.random() < 0.5:
        return spoil_bytes(dice, frame)
    told: Any = msgspec.msgpack.decode(frame)
    for _ in range(dice.choice((1, 1, 2, 5))):
        told = _spoil_value(dice, told)
    if dice.random() < 0.1:
        return frame + dice.choice(true)
    try:
        return msgspec.msgpack.encode(told)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return spoil_bytes(dice, frame)


def spoil_wire(dice: random.Random, data: bytes) -> bytes:
    """Return a message of protobuf spoilt on the wire: as bytes, or by fields that no message has in such a way."""
    match dice.randrange(8):
        case 0:
            return data + _field(dice.randrange(1, 1 << 29), 2, _varint(1 << 40) + b"x")
        case 1:
            return data + _field(dice.randrange(1, 40), dice.randrange(8), dice.randbytes(9))
        case 2:
            nested = b""
            for _ in range(dice.choice((10, 99, 101, 1000))):
                nested = _field(dice.randrange(1, 8), 2, _varint(len(nested)) + nested)
            return data + nested
        case 3:
            text = b"\xff\xfe\xc0\x80" * dice.choice((1, 100))
            return data + _field(1, 2, _varint(len(text)) + text)
        case 4:
            return data * dice.choice((2, 50))
        case 5:
            return dice.randbytes(dice.choice((1, 10, 100, 5000)))
        case 6:
            return data + _field(dice.randrange(1, 20), 0, b"\xff" * dice.choice((9, 10, 11)))
        case _:
            return spoil_bytes(dice, data)


def spoil_message(dice: random.Random, message: Any) -> Any:
    """Return a copy of the protobuf *message* with some fields replaced by odd values that it can hold."""
    spoilt = type(message)()
    spoilt.CopyFrom(message)
    for _ in range(dice.choice((1, 1, 2, 4))):
        _spoil_field(dice, spoilt)
    return spoilt


def _spoil_field(dice: random.Random, message: Any) -> None:
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = dice.choice(fields)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if field.message_type is not None:
        inner = getattr(message, field.name)
        if field.is_repeated:
            inner = inner.add()
        inner.SetInParent()
        _spoil_field(dice, inner)
        return
    odd = _odd(dice, field)
    if field.is_repeated:
        getattr(message, field.name).extend([odd] * dice.choice((1, 2, 300)))
    else:
        setattr(message, field.name, odd)


def _odd(dice: random.Random, field: Any) -> Any:
    numbers: Mapping[int, Callable[[], Any]] = {
        field.CPPTYPE_INT32: lambda: dice.choice((0, -1, 1, 2**31 - 1, -(2**31))),
        field.CPPTYPE_INT64: lambda: dice.choice((0, -1, 1, 2**63 - 1, -(2**63), 253402300800)),
        field.CPPTYPE_UINT32: lambda: dice.choice((0, 1, 2**32 - 1)),
        field.CPPTYPE_UINT64: lambda: dice.choice((0, 1, 2**64 - 1)),
        field.CPPTYPE_DOUBLE: lambda: dice.choice((0.0, -1.0, float("nan"), float("inf"), 1e308)),
        field.CPPTYPE_FLOAT: lambda: dice.choice((0.0, float("nan"))),
        field.CPPTYPE_BOOL: lambda: dice.random() < 0.5,
        field.CPPTYPE_ENUM: lambda: dice.choice((0, 1, 2, 7, 99, -1, 2**31 - 1)),
    }
    if field.cpp_type in numbers:
        return numbers[field.cpp_type]()
    if field.type == field.TYPE_BYTES:
        return dice.randbytes(dice.choice((0, 1, 50)))
    text = dice.choice((*_ODD_TEXTS, *_ODD_NUMBERS, "AAPL", "QUIET", "AAPL261120C00220000"))
    return text.encode("utf-8", "ignore").decode()


def _spoil_value(dice: random.Random, value: Any) -> Any:
    """Return *value* with one of its parts replaced, at any depth."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(list(value))
        match dice.randrange(8):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return {
                    (dice.choice(_ODD_TEXTS) if name == key else name): one
                    for name, one in value.items()
                }
            case 2:
                return value | {key: _odd_value(dice)}
            case _:
                return value | {key: _spoil_value(dice, value[key])}
    if isinstance(value, list) and value and dice.random() < 0.9:
        at = dice.randrange(len(value))
        match dice.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value[:at], _odd_value(dice), *value[at:]]
            case 2:
                return value[::-1]
            case _:
                return [*value[:at], _spoil_value(dice, value[at]), *value[at + 1 :]]
    return _odd_value(dice)


def _odd_value(dice: random.Random) -> Any:
    if dice.random() < 0.5:
        return dice.choice(_ODD_VALUES)
    return dice.choice(_ODD_TEXTS)


def _field(number: int, wire_type: int, rest: bytes) -> bytes:
    return _varint(number << 3 | wire_type) + rest


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
