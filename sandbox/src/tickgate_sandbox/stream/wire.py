"""The two encodings of the stream: JSON in text frames, MessagePack in binary ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from aiohttp import WSMsgType

from ..timestamps import SECOND, parse, parse_many

_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]])
_PACKER = msgspec.msgpack.Encoder()

_TIMESTAMP: Final = -1
"""MessagePack's extension type for an instant."""

_PRICES: Final[Mapping[Any, Sequence[str]]] = {
    "t": ("p",),
    "q": ("bp", "ap"),
    "b": ("o", "h", "l", "c", "vw"),
    "u": ("o", "h", "l", "c", "vw"),
    "d": ("o", "h", "l", "c", "vw"),
    "c": ("op", "cp"),
    "x": ("p",),
    "l": ("u", "d"),
    "i": ("p",),
}
"""By value of `T`, the fields that are doubles in MessagePack even when they are whole."""


class Encoding(Protocol):
    """How the messages of one connection are written and read."""

    @property
    def frame_type(self) -> WSMsgType:
        """The type of frame in both directions."""
        ...

    def frame(self, records: Sequence[bytes]) -> bytes:
        """Return the payload of a frame of *records*, which are JSON objects."""
        ...

    def read(self, payload: bytes) -> Any:
        """Return the message in a client's frame.

        Raises:
            msgspec.DecodeError: it is not in this encoding.
        """
        ...


class Json:
    """Text frames; a record leaves as the very text that it is."""

    frame_type = WSMsgType.TEXT

    def frame(self, records: Sequence[bytes]) -> bytes:
        """Return a JSON array of *records*."""
        return b"[%s]" % b",".join(records)

    def read(self, payload: bytes) -> Any:
        """Return the JSON value in *payload*."""
        return msgspec.json.decode(payload)


class MsgPack:
    """Binary frames; times are timestamps with nanoseconds, prices are doubles."""

    frame_type = WSMsgType.BINARY

    def frame(self, records: Sequence[bytes]) -> bytes:
        """Return an array of *records* as maps whose first key is `T`."""
        messages = _MESSAGES.decode(b"[%s]" % b",".join(records))
        for message, instant in zip(messages, _instants(messages), strict=True):
            if instant is not None:
                message["t"] = _timestamp(instant)
            for field in _PRICES.get(message.get("T"), ()):
                if type(price := message.get(field)) is int:
                    message[field] = float(price)
        return _PACKER.encode([_type_first(message) for message in messages])

    def read(self, payload: bytes) -> Any:
        """Return the value in *payload*."""
        return msgspec.msgpack.decode(payload)


def _type_first(message: dict[str, Any]) -> dict[str, Any]:
    if "T" not in message or next(iter(message)) == "T":
        return message
    return {"T": message["T"]} | message


def _instants(messages: Sequence[Mapping[str, Any]]) -> Sequence[int | None]:
    """Return the times of *messages*; None where there is none, or another thing in its place."""
    try:
        return parse_many([message["t"] for message in messages])
    except (KeyError, TypeError, ValueError):
        return [_instant(message.get("t")) for message in messages]


def _instant(value: Any) -> int | None:
    try:
        return parse(value)
    except (TypeError, ValueError):
        return None


def _timestamp(nanoseconds: int) -> msgspec.msgpack.Ext:
    """Return an instant as MessagePack's timestamp, in the shortest of its three lengths."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    if not 0 <= seconds < 1 << 34:
        return msgspec.msgpack.Ext(_TIMESTAMP, struct.pack(">Iq", fraction, seconds))
    word = fraction << 34 | seconds
    return msgspec.msgpack.Ext(_TIMESTAMP, word.to_bytes(4 if word < 1 << 32 else 8))
