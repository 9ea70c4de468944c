"""Calls that arrive all at once: written to one connection in one go, as no gRPC client is quick enough to do."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from .processes import BrokenMeasurement

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE: Final = 4
_PATIENCE: Final = 30.0
"""Seconds within which the next bytes must come."""


def flood(address: str, path: str, messages: Sequence[bytes]) -> tuple[list[bytes], float]:
    """Ask each of *messages* of the method at *path*, and return the answers and the seconds until the last came.

    Raises:
        BrokenMeasurement: a call was not answered with a message.
    """
    host, _, port = address.rpartition(":")
    burst = _burst(address, path, messages)
    answers: dict[int, bytes] = {}
    ended: set[int] = set()
    with socket.create_connection((host, int(port)), _PATIENCE) as connection:
        began = time.perf_counter()
        connection.sendall(burst)
        received = b""
        while len(ended) < len(messages):
            received += connection.recv(1 << 16) or _broken("the gateway hung up")
            while (frame := _first(received)) is not None:
                kind, flags, stream, payload = frame
                received = received[9 + len(payload) :]
                if kind == _DATA:
                    answers[stream] = answers.get(stream, b"") + payload
                elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                    connection.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
                if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                    ended.add(stream)
        taken = time.perf_counter() - began
    if len(answers) < len(messages):
        _broken(f"{len(messages) - len(answers)} calls were refused")
    # Five bytes before a gRPC message tell that it is not compressed, and its length.
    return [answers[stream][5:] for stream in sorted(answers)], taken


def _burst(address: str, path: str, messages: Sequence[bytes]) -> bytes:
    head = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", address.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
    )
    # Windows as large as they may be: nobody is to wait for ours.
    pieces = [
        _PREFACE,
        _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 2**31 - 1)),
        _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)),
    ]
    for number, message in enumerate(messages):
        stream = 2 * number + 1
        body = b"\0" + struct.pack(">I", len(message)) + message
        pieces += (
            _frame(_HEADERS, _END_HEADERS, stream, head),
            _frame(_DATA, _END_STREAM, stream, body),
        )
    return b"".join(pieces)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def _first(received: bytes) -> tuple[int, int, int, bytes] | None:
    """Return kind, flags, stream and payload of the first frame, or None when it is not complete."""
    size = int.from_bytes(received[:3], "big")
    if len(received) < 9 + size:
        return None
    stream = int.from_bytes(received[5:9], "big")
    return received[3], received[4], stream, received[9 : 9 + size]


def _broken(message: str) -> bytes:
    raise BrokenMeasurement(message)
