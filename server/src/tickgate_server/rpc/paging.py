"""Page tokens: opaque to callers, good for one query on one list."""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256

import msgspec

from ..market.asset import AssetQuery


class _Position(msgspec.Struct, array_like=True):
    query: bytes
    list_time: int
    offset: int


def encode_token(query: AssetQuery, list_time: int, offset: int) -> str:
    """Return the token of the page that starts at *offset* in what *query* finds in the list of *list_time*."""
    position = _Position(_digest(query), list_time, offset)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).decode()


def decode_token(token: str, query: AssetQuery) -> tuple[int, int]:
    """Return the list and the offset that *token* stands for, as given to `encode_token`.

    Raises:
        ValueError: the token is none, or belongs to another query; the message is for the caller.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        position = msgspec.msgpack.decode(raw, type=_Position)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, RecursionError) as error:
        msg = "not a page token of this service"
        raise ValueError(msg) from error
    if position.query != _digest(query) or position.offset < 0:
        msg = "the page token belongs to another query: keep all fields but page_size unchanged"
        raise ValueError(msg)
    return position.list_time, position.offset


def _digest(query: AssetQuery) -> bytes:
    return sha256(msgspec.msgpack.encode(query)).digest()[:8]
