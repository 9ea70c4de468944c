"""Page tokens taken apart and put together again, as somebody would who wants to forge one."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

import msgspec


def opened(token: str) -> tuple[bytes, Any]:
    """Return what a token says of its query, and its position."""
    query, _, position = msgspec.msgpack.decode(base64.urlsafe_b64decode(token))
    return query, position


def forged(query: bytes, kind: str, position: Any) -> str:
    """Return the token of another *position* of the same *query*, sealed for its *kind*: the name of its type."""
    place = msgspec.msgpack.encode(position)
    seal = sha256(msgspec.msgpack.encode((query, kind, place))).digest()[:8]
    token = msgspec.msgpack.encode((query, seal, msgspec.Raw(place)))
    return base64.urlsafe_b64encode(token).decode()
