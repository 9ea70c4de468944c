"""Results to bytes, with the part of a value that never changes built once.

A value that memory holds is served thousands of times. Its message is built when it is first served and kept beside the
value; each answer only writes what depends on the moment into it (who serves, when, how old) and encodes that. All of
this happens without a pause, so two answers never meet in one message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from tickgate.v1 import provenance_pb2, quote_pb2, snapshot_pb2, trade_pb2

from ..market.answer import Answer
from ..market.bar import Bar
from ..market.provenance import Provenance
from ..market.quality import assess, derive
from ..market.quote import Quote
from ..market.snapshot import Snapshot
from ..market.time import NANOS
from ..market.trade import Trade
from ..market.unavailable import Unavailable
from . import convert
from .convert import Moment

V = TypeVar("V")
_RESULT_TAG: Final = b"\x0a"
"""Field 1, length-delimited: `result` and `results` of every response of QuoteService."""


class _Stamp:
    """The provenance of one value inside a kept message, ready to be written for each answer."""

    __slots__ = ("_event_age", "_event_time", "_message", "_receive_age", "_serve_time")

    def __init__(self, message: provenance_pb2.Provenance, origin: Provenance) -> None:
        # A message field keeps its identity only once it is set.
        for field in (message.serve_time, message.receive_age):
            field.SetInParent()
        self._message = message
        self._serve_time = message.serve_time
        self._receive_age = message.receive_age
        self._event_age = message.event_age
        self._event_time = origin.event_time

    def write(self, answer: Answer[Any], moment: Moment) -> None:
        message = self._message
        message.served_from = convert.TIERS[answer.served_from]
        message.stale = answer.stale
        self._serve_time.seconds, self._serve_time.nanos = divmod(moment.wall, NANOS)
        age = moment.monotonic - answer.held.confirmed_at
        convert.set_duration(self._receive_age, int(age * NANOS))
        if self._event_time is not None:
            convert.set_duration(self._event_age, moment.market - self._event_time)


class _Kept:
    """A result message and the places in it that each answer writes."""

    __slots__ = ("_result", "_sessions", "_stamps")

    def __init__(self, result: Message, stamps: list[_Stamp], sessions: list[Any]) -> None:
        self._result = result
        self._stamps = stamps
        self._sessions = sessions

    def written(self, answer: Answer[Any], moment: Moment) -> Any:
        for stamp in self._stamps:
            stamp.write(answer, moment)
        for message in self._sessions:
            if moment.session is None:
                message.ClearField("market_session")
            else:
                message.market_session = convert.SESSIONS[moment.session]
        return self._result


def respond(pieces: Iterable[bytes]) -> bytes:
    """Return the encoded response that holds *pieces*, each an encoded result, as its field 1."""
    return b"".join([_RESULT_TAG + _varint(len(piece)) + piece for piece in pieces])


def quote_result(symbol: str, outcome: Answer[Quote] | Unavailable, moment: Moment) -> bytes:
    """Return an encoded `QuoteResult` in the basic view."""
    if isinstance(outcome, Unavailable):
        why = convert.unavailable(outcome, moment)
        return quote_pb2.QuoteResult(symbol=symbol, unavailable=why).SerializeToString()
    return _quote_message(outcome, moment).SerializeToString()


def full_quote_result(
    symbol: str,
    outcome: Answer[Quote] | Unavailable,
    moment: Moment,
    latest_trade: Answer[Trade] | Unavailable | None = None,
) -> bytes:
    """Return an encoded `QuoteResult` with derived numbers and quality, and with *latest_trade* where one was asked."""
    if isinstance(outcome, Unavailable):
        return quote_result(symbol, outcome, moment)
    result = quote_pb2.QuoteResult()
    result.CopyFrom(_quote_message(outcome, moment))
    value = outcome.value
    spread_and_mid = derive(value)
    if spread_and_mid is not None:
        result.quote.derived.CopyFrom(convert.derived(spread_and_mid))
    age = None if value.event_time is None else moment.market - value.event_time
    result.quote.quality.CopyFrom(convert.quality(assess(value, age, moment.session)))
    if isinstance(latest_trade, Answer):
        trade = _kept(latest_trade, _keep_trade).written(latest_trade, moment)
        result.quote.latest_trade.CopyFrom(trade.trade)
    elif latest_trade is not None:
        why = convert.unavailable(latest_trade, moment)
        result.quote.latest_trade_unavailable.CopyFrom(why)
    return result.SerializeToString()


def trade_result(symbol: str, outcome: Answer[Trade] | Unavailable, moment: Moment) -> bytes:
    """Return an encoded `TradeResult`."""
    if isinstance(outcome, Unavailable):
        why = convert.unavailable(outcome, moment)
        return trade_pb2.TradeResult(symbol=symbol, unavailable=why).SerializeToString()
    encoded: bytes = _kept(outcome, _keep_trade).written(outcome, moment).SerializeToString()
    return encoded


def snapshot_result(symbol: str, outcome: Answer[Snapshot] | Unavailable, moment: Moment) -> bytes:
    """Return an encoded `SnapshotResult`."""
    if isinstance(outcome, Unavailable):
        why = convert.unavailable(outcome, moment)
        return snapshot_pb2.SnapshotResult(symbol=symbol, unavailable=why).SerializeToString()
    message: snapshot_pb2.SnapshotResult = _kept(outcome, _keep_snapshot).written(outcome, moment)
    # Why a part is missing names the call it is told to, so it cannot be kept.
    message.snapshot.ClearField("missing_parts")
    for part, why_missing in outcome.value.missing.items():
        message.snapshot.missing_parts.add(
            part=convert.PARTS[part], unavailable=convert.unavailable(why_missing, moment)
        )
    return message.SerializeToString()


def _quote_message(answer: Answer[Quote], moment: Moment) -> quote_pb2.QuoteResult:
    message: quote_pb2.QuoteResult = _kept(answer, _keep_quote).written(answer, moment)
    return message


def _kept(answer: Answer[V], keep: Any) -> _Kept:
    held = answer.held
    if held.encoded is None:
        held.encoded = keep(held.value)
    kept: _Kept = held.encoded
    return kept


def _keep_quote(value: Quote) -> _Kept:
    result = quote_pb2.QuoteResult(symbol=value.symbol, quote=convert.quote(value))
    stamp = _Stamp(result.quote.provenance, value.provenance)
    return _Kept(result, [stamp], [result.quote])


def _keep_trade(value: Trade) -> _Kept:
    result = trade_pb2.TradeResult(symbol=value.symbol, trade=convert.trade(value))
    stamp = _Stamp(result.trade.provenance, value.provenance)
    return _Kept(result, [stamp], [result.trade])


def _keep_snapshot(value: Snapshot) -> _Kept:
    result = snapshot_pb2.SnapshotResult(symbol=value.symbol)
    message = result.snapshot
    message.symbol = value.symbol
    stamps: list[_Stamp] = []
    sessions: list[Any] = [message]
    if value.latest_trade is not None:
        message.latest_trade.CopyFrom(convert.trade(value.latest_trade))
        sessions.append(message.latest_trade)
        stamps.append(_Stamp(message.latest_trade.provenance, value.latest_trade.provenance))
    if value.latest_quote is not None:
        message.latest_quote.CopyFrom(convert.quote(value.latest_quote))
        sessions.append(message.latest_quote)
        stamps.append(_Stamp(message.latest_quote.provenance, value.latest_quote.provenance))
    for field in ("minute_bar", "daily_bar", "previous_daily_bar"):
        bar: Bar | None = getattr(value, field)
        if bar is not None:
            getattr(message, field).CopyFrom(convert.bar(bar))
            stamps.append(_Stamp(getattr(message, field).provenance, bar.provenance))
    return _Kept(result, stamps, sessions)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
