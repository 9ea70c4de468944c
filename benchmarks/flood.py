"""Calls that arrive all at once: written to one connection in one go, as no gRPC client is quick enough to do."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from . import http2
from .processes import BrokenMeasurement

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
                if kind == http2.DATA:
                    answers[stream] = answers.get(stream, b"") + payload
                elif kind in (http2.SETTINGS, http2.PING) and not flags & http2.ACK:
                    answer = payload if kind == http2.PING else b""
                    connection.sendall(http2.frame(kind, http2.ACK, 0, answer))
                if kind in (http2.DATA, http2.HEADERS) and flags & http2.END_STREAM:
                    ended.add(stream)
        taken = time.perf_counter() - began
    if len(answers) < len(messages):
        _broken(f"{len(messages) - len(answers)} calls were refused")
    # Five bytes before a gRPC message tell that it is not compressed, and its length.
    return [answers[stream][5:] for stream in sorted(answers)], taken


def _burst(address: str, path: str, messages: Sequence[bytes]) -> bytes:
    head = http2.call_headers(address, path)
    # Windows as large as they may be: nobody is to wait for ours.
    pieces = [
        http2.PREFACE,
        http2.settings(initial_window_size=http2.LARGEST_WINDOW),
        http2.frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)),
    ]
    for number, message in enumerate(messages):
        stream = 2 * number + 1
        pieces += (
            http2.frame(http2.HEADERS, http2.END_HEADERS, stream, head),
            http2.frame(http2.DATA, http2.END_STREAM, stream, http2.message(message)),
        )
    return b"".join(pieces)


def _first(received: bytes) -> tuple[int, int, int, bytes] | None:
    """Return kind, flags, stream and payload of the first frame, or None when it is not complete."""
    size = int.from_bytes(received[:3], "big")
    if len(received) < 9 + size:
        return None
    stream = int.from_bytes(received[5:9], "big")
    return received[3], received[4], stream, received[9 : 9 + size]


def _broken(message: str) -> bytes:
    raise BrokenMeasurement(message)
