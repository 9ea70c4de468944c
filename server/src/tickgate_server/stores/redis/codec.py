"""Market values as bytes, such that whatever is read back is exactly what was written, or nothing."""

from __future__ import annotations

from enum import Enum
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar
from zlib import crc32

from msgspec import DecodeError, Struct, inspect, msgpack

V = TypeVar("V")

_VERSION_SIZE: Final = 8
_HEAD_SIZE: Final = _VERSION_SIZE + 4


class Codec(Generic[V]):
    """Writes values of one type, and reads none but what the same shape of the type has written.

    An entry is the version, a checksum, and the value in msgpack. The version is made of the type's shape, so gateways
    that differ in it can share a Redis. Without the checksum a damaged digit would be another real-looking price.
    """

    def __init__(self, kind: type[V]) -> None:
        """Write and read values of type *kind*."""
        self.version: Final = version_of(kind)
        self._encoder = msgpack.Encoder()
        self._decoder = msgpack.Decoder(kind)

    def encode(self, value: V, name: bytes) -> bytes:
        """Return *value* as bytes that can be read under the same *name* only.

        Raises:
            ValueError: *value* holds a number or a text that msgpack cannot carry.
        """
        try:
            body = self._encoder.encode(value)
        except OverflowError as error:
            raise ValueError(*error.args) from error
        return self.version + _checksum(name, body) + body

    def decode(self, data: bytes, name: bytes) -> V | None:
        """Return the value, or None where *data* is damaged, of another version, or was written under another name."""
        body = data[_HEAD_SIZE:]
        if data[:_HEAD_SIZE] != self.version + _checksum(name, body):
            return None
        try:
            return self._decoder.decode(body)
        except DecodeError:
            return None


def version_of(kind: type) -> bytes:
    """Return a digest of everything that decides how a value of type *kind* is written and read."""
    shape = _shape(inspect.type_info(kind))
    return sha256(shape.encode()).hexdigest()[:_VERSION_SIZE].encode()


def _checksum(name: bytes, body: bytes) -> bytes:
    return crc32(body, crc32(name)).to_bytes(4)


def _shape(part: Any) -> str:
    if isinstance(part, inspect.EnumType):
        members: type[Enum] = part.cls
        return f"{members.__name__}{[(member.name, member.value) for member in members]}"
    if isinstance(part, Struct):
        # What msgspec says about a type, and about each of its fields.
        known = (f"{name}={_shape(getattr(part, name))}" for name in part.__struct_fields__)
        return f"{type(part).__name__}({','.join(known)})"
    if isinstance(part, tuple):
        return f"({','.join(map(_shape, part))})"
    return part.__name__ if isinstance(part, type) else repr(part)
