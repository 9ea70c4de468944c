"""Page tokens: opaque to callers, good for one query."""

from __future__ import annotations

import base64
import binascii
from datetime import date
from hashlib import sha256
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..market.corporate_action import CorporateActionType
from ..market.trade import Trade
from ..ports import ErrorPlace

_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""What a database can count to: a token may be forged."""


class AssetPosition(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of assets starts."""

    list_time: _Number
    """When the list was received, nanoseconds of the wall clock: another list is in another order."""

    offset: _Number


class ErrorPosition(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of errors starts."""

    place: ErrorPlace
    born: int
    """When the gateway started whose ring it is, nanoseconds of the wall clock: another ring has other numbers."""

    before_id: _Number


class GapPosition(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of gaps starts."""

    born: int
    """When the gateway started whose gaps they are, nanoseconds of the wall clock."""

    before_id: _Number


class ChainPosition(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of a chain starts: behind a contract, whatever was refreshed meanwhile."""

    after: str
    """OCC symbol of the contract."""

    price: Trade | None
    """The underlying's price around which strikes were chosen, which all pages keep."""


class ContractPosition(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of contracts starts."""

    list_time: _Number
    """When the list was received, nanoseconds of the wall clock: another list is in another order."""

    offset: _Number


class _Token(Struct, array_like=True, forbid_unknown_fields=True):
    query: bytes
    """Digest of what was asked."""

    seal: bytes
    """Digest of that and the position together: no position may take the place of another."""

    position: msgspec.Raw


class SeriesPlace(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where an answer about series goes on, as `SeriesPosition` says it."""

    end: _Number
    """End of the range, nanoseconds: the first answer chose it where the request did not."""

    symbol: _Number
    """Place of the symbol among those that were asked for, counted from 0."""

    time: _Number | None
    taken: _Number
    count: _Number
    done: bool


class ActionPosition(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of corporate actions starts: behind an event, whatever was added meanwhile."""

    day: date | None
    symbol: str
    type: CorporateActionType
    id: str
    taken: _Number
    """Events that are alike in all of this, and were told."""


class BackfillPosition(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of backfills starts: behind one."""

    start_time: _Number
    id: str


P = TypeVar(
    "P",
    ActionPosition,
    AssetPosition,
    BackfillPosition,
    ChainPosition,
    ContractPosition,
    ErrorPosition,
    GapPosition,
    SeriesPlace,
)

# Sets come in another order in each process, and a token is good for all replicas.
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def encode_token(query: Struct, position: P) -> str:
    """Return the token of the page that starts at *position* of what *query* finds."""
    asked, place = _digest(_encoder.encode(query)), _encoder.encode(position)
    token = _Token(asked, _seal(asked, type(position), place), msgspec.Raw(place))
    return base64.urlsafe_b64encode(_encoder.encode(token)).decode()


def decode_token(token: str, query: Struct, kind: type[P], name: str = "page token") -> P:
    """Return the position of *kind* that *token* stands for, as given to `encode_token`.

    Args:
        token: what the caller sent.
        query: what he asks besides.
        kind: what the position is about.
        name: what the contract calls the token.

    Raises:
        ValueError: the token is none, or damaged, or belongs to another query; the message is for the caller.
    """
    none = f"not a {name} of this method"
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(raw, type=_Token)
        position = msgspec.msgpack.decode(found.position, type=kind)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, RecursionError) as error:
        raise ValueError(none) from error
    # The last character of a token has bits that stand for nothing.
    is_ours = base64.urlsafe_b64encode(raw).decode() == token
    if not is_ours or found.seal != _seal(found.query, kind, bytes(found.position)):
        raise ValueError(none)
    if found.query != _digest(_encoder.encode(query)):
        but_one = " but page_size" if name == "page token" else ""
        msg = f"the {name} belongs to another query: keep all fields{but_one} unchanged"
        raise ValueError(msg)
    return position


def _seal(asked: bytes, kind: type[Struct], place: bytes) -> bytes:
    # With the kind: positions of several look alike.
    return _digest(_encoder.encode((asked, kind.__name__, place)))


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()[:8]
