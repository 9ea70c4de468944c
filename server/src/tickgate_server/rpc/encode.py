"""Results to bytes, with the part of a value that never changes encoded once.

A value that memory holds is served thousands of times. It is encoded when it is first served and kept beside the value.
Each answer adds what depends on its moment: who serves, when, how old, in which session. The fields of a message may
stand in any order, so an encoded message is continued by writing further fields behind it (`wire`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from tickgate.v1 import (
    bar_pb2,
    provenance_pb2,
    quote_pb2,
    quote_service_pb2,
    snapshot_pb2,
    trade_pb2,
)

from ..market.answer import Answer
from ..market.bar import Bar
from ..market.provenance import Tier
from ..market.quality import assess, derive
from ..market.quote import Quote
from ..market.session import MarketSession
from ..market.snapshot import Snapshot
from ..market.time import NANOS
from ..market.trade import Trade
from ..market.unavailable import Unavailable
from . import convert
from .convert import Moment
from .wire import tag, varint

V = TypeVar("V")
K = TypeVar("K")


class _Layout:
    """How messages of one type hold what depends on the moment."""

    __slots__ = ("provenance", "sessions")

    def __init__(self, message: Any) -> None:
        self.provenance = tag(message, "provenance")
        self.sessions = _sessions(message)


def _sessions(message: Any) -> Mapping[MarketSession | None, bytes]:
    """Return `market_session` of *message*, encoded, for each session and for none."""
    if "market_session" not in message.DESCRIPTOR.fields_by_name:
        return dict.fromkeys((None, *MarketSession), b"")
    return {None: b""} | {
        session: message(market_session=number).SerializeToString()
        for session, number in convert.SESSIONS.items()
    }


_LAYOUTS: Final = {
    message: _Layout(message) for message in (quote_pb2.Quote, trade_pb2.Trade, bar_pb2.Bar)
}
_SNAPSHOT_SESSIONS: Final = _sessions(snapshot_pb2.Snapshot)

# `result` and `results` are field 1 of every response of QuoteService.
_RESULT: Final = tag(quote_service_pb2.GetQuotesResponse, "results")
_QUOTE: Final = tag(quote_pb2.QuoteResult, "quote")
_TRADE: Final = tag(trade_pb2.TradeResult, "trade")
_SNAPSHOT: Final = tag(snapshot_pb2.SnapshotResult, "snapshot")
_LATEST_TRADE: Final = tag(quote_pb2.Quote, "latest_trade")


class _Served:
    """The fields of a provenance that depend on the moment.

    One message is written again and again, and only what differs from the answer before: the values of a batch share
    everything but their event ages, and often those too.
    """

    __slots__ = (
        "_confirmed_at",
        "_event_age",
        "_message",
        "_moment",
        "_receive_age",
        "_serve_time",
        "_served_from",
        "_stale",
    )

    def __init__(self) -> None:
        self._message = provenance_pb2.Provenance()
        # A message field keeps its identity only once it is set.
        self._message.receive_age.SetInParent()
        self._message.serve_time.SetInParent()
        self._serve_time = self._message.serve_time
        self._receive_age = self._message.receive_age
        self._event_age = self._message.event_age
        self._moment: Moment | None = None
        self._served_from: Tier | None = None
        self._stale = False
        self._confirmed_at: float | None = None

    def encoded(self, answer: Answer[Any], event_time: int | None, moment: Moment) -> bytes:
        if moment is not self._moment:
            self._moment, self._confirmed_at = moment, None
            self._serve_time.seconds, self._serve_time.nanos = divmod(moment.wall, NANOS)
        if answer.served_from is not self._served_from or answer.stale is not self._stale:
            self._served_from, self._stale = answer.served_from, answer.stale
            self._message.served_from = convert.TIERS[answer.served_from]
            self._message.stale = answer.stale
        confirmed_at = answer.held.confirmed_at
        if confirmed_at != self._confirmed_at:
            self._confirmed_at = confirmed_at
            age = moment.monotonic - confirmed_at
            convert.set_duration(self._receive_age, int(age * NANOS))
        if event_time is not None:
            convert.set_duration(self._event_age, moment.market - event_time)
        return self._message.SerializeToString()


_SERVED: Final = _Served()
_SERVED_UNDATED: Final = _Served()
"""Of values without an event time: nothing may be left over of another's event age."""


class _Kept:
    """An encoded value, to be continued each time that it is served."""

    __slots__ = ("_event_time", "_fixed", "_layout", "_origin", "_served", "symbol")

    def __init__(self, message: Any, value: Quote | Trade | Bar) -> None:
        self.symbol = quote_pb2.QuoteResult(symbol=value.symbol).SerializeToString()
        self._layout = _LAYOUTS[type(message)]
        self._origin: bytes = message.provenance.SerializeToString()
        message.ClearField("provenance")
        self._fixed: bytes = message.SerializeToString()
        self._event_time = value.event_time
        self._served = _SERVED_UNDATED if value.event_time is None else _SERVED

    def at(self, answer: Answer[Any], moment: Moment) -> bytes:
        layout = self._layout
        origin = self._origin + self._served.encoded(answer, self._event_time, moment)
        session = layout.sessions[moment.session]
        return self._fixed + layout.provenance + varint(len(origin)) + origin + session


class _KeptSnapshot:
    """The encoded parts of a snapshot."""

    __slots__ = ("_fixed", "_parts", "symbol")

    def __init__(self, value: Snapshot) -> None:
        self.symbol = snapshot_pb2.SnapshotResult(symbol=value.symbol).SerializeToString()
        self._fixed = snapshot_pb2.Snapshot(symbol=value.symbol).SerializeToString()
        self._parts: list[tuple[bytes, _Kept]] = []
        if value.latest_trade is not None:
            self._keep("latest_trade", _keep_trade(value.latest_trade))
        if value.latest_quote is not None:
            self._keep("latest_quote", _keep_quote(value.latest_quote))
        for field in ("minute_bar", "daily_bar", "previous_daily_bar"):
            bar: Bar | None = getattr(value, field)
            if bar is not None:
                self._keep(field, _Kept(convert.bar(bar), bar))

    def _keep(self, field: str, part: _Kept) -> None:
        self._parts.append((tag(snapshot_pb2.Snapshot, field), part))

    def at(self, answer: Answer[Any], moment: Moment) -> bytes:
        pieces = [self._fixed, _SNAPSHOT_SESSIONS[moment.session]]
        for before, kept in self._parts:
            part = kept.at(answer, moment)
            pieces += (before, varint(len(part)), part)
        return b"".join(pieces)


def respond(results: Iterable[bytes]) -> bytes:
    """Return the encoded response that holds *results*, each encoded."""
    pieces: list[bytes] = []
    for result in results:
        pieces += (_RESULT, varint(len(result)), result)
    return b"".join(pieces)


def quote_result(symbol: str, outcome: Answer[Quote] | Unavailable, moment: Moment) -> bytes:
    """Return an encoded `QuoteResult` in the basic view."""
    if isinstance(outcome, Unavailable):
        why = convert.unavailable(outcome, moment)
        return quote_pb2.QuoteResult(symbol=symbol, unavailable=why).SerializeToString()
    kept = _kept(outcome, _keep_quote)
    value = kept.at(outcome, moment)
    return kept.symbol + _QUOTE + varint(len(value)) + value


def full_quote_result(
    symbol: str,
    outcome: Answer[Quote] | Unavailable,
    moment: Moment,
    latest_trade: Answer[Trade] | Unavailable | None = None,
) -> bytes:
    """Return an encoded `QuoteResult` with derived numbers and quality, and with *latest_trade* where one was asked."""
    if isinstance(outcome, Unavailable):
        return quote_result(symbol, outcome, moment)
    quote = outcome.value
    spread_and_mid = derive(quote)
    age = None if quote.event_time is None else moment.market - quote.event_time
    more = quote_pb2.Quote(
        derived=None if spread_and_mid is None else convert.derived(spread_and_mid),
        quality=convert.quality(assess(quote, age, moment.session)),
    )
    if isinstance(latest_trade, Unavailable):
        more.latest_trade_unavailable.CopyFrom(convert.unavailable(latest_trade, moment))
    kept = _kept(outcome, _keep_quote)
    value = kept.at(outcome, moment) + more.SerializeToString()
    if isinstance(latest_trade, Answer):
        trade = _kept(latest_trade, _keep_trade).at(latest_trade, moment)
        value += _LATEST_TRADE + varint(len(trade)) + trade
    return kept.symbol + _QUOTE + varint(len(value)) + value


def trade_result(symbol: str, outcome: Answer[Trade] | Unavailable, moment: Moment) -> bytes:
    """Return an encoded `TradeResult`."""
    if isinstance(outcome, Unavailable):
        why = convert.unavailable(outcome, moment)
        return trade_pb2.TradeResult(symbol=symbol, unavailable=why).SerializeToString()
    kept = _kept(outcome, _keep_trade)
    value = kept.at(outcome, moment)
    return kept.symbol + _TRADE + varint(len(value)) + value


def snapshot_result(symbol: str, outcome: Answer[Snapshot] | Unavailable, moment: Moment) -> bytes:
    """Return an encoded `SnapshotResult`."""
    if isinstance(outcome, Unavailable):
        why = convert.unavailable(outcome, moment)
        return snapshot_pb2.SnapshotResult(symbol=symbol, unavailable=why).SerializeToString()
    kept = _kept(outcome, _KeptSnapshot)
    # Why a part is missing names the call it is told to, so it cannot be kept.
    missing = snapshot_pb2.Snapshot(
        missing_parts=[
            snapshot_pb2.MissingPart(
                part=convert.PARTS[part], unavailable=convert.unavailable(why, moment)
            )
            for part, why in outcome.value.missing.items()
        ]
    )
    value = kept.at(outcome, moment) + missing.SerializeToString()
    return kept.symbol + _SNAPSHOT + varint(len(value)) + value


def _kept(answer: Answer[V], keep: Callable[[V], K]) -> K:
    held = answer.held
    if held.encoded is None:
        held.encoded = keep(held.value)
    kept: K = held.encoded
    return kept


def _keep_quote(value: Quote) -> _Kept:
    return _Kept(convert.quote(value), value)


def _keep_trade(value: Trade) -> _Kept:
    return _Kept(convert.trade(value), value)
