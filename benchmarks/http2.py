"""As much of HTTP/2 as loads need that go past gRPC's clients: those cost as much as the server that they ask."""

from __future__ import annotations

import struct
from typing import Final

from . import consumer

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5

HEAD: Final = 9
"""Bytes before the payload of a frame."""

LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_FRAME: Final = 2**24 - 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def settings(**values: int) -> bytes:
    """Return a frame with *values*, named as the constants of this page."""
    pairs = ((globals()[name.upper()], value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def call_headers(address: str, path: str) -> bytes:
    """Return the headers of a gRPC call of the method at *path*, in which names and values are short."""
    return b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", address.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *((name.encode(), value.encode()) for name, value in consumer.metadata()),
        )
    )


def message(body: bytes) -> bytes:
    """Return *body* as it stands in a gRPC stream: not compressed, its length, itself."""
    return b"\0" + struct.pack(">I", len(body)) + body
