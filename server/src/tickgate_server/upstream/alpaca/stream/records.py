"""Frames of records to values: bytes in, what the listener is told out. Runs on the serving loop, for every record.

A frame is decoded whole. Where that fails it is decoded record by record, so that a malformed one costs its own symbol
and no other. Prices travel as doubles, whose shortest text is the decimal that was sent; times in nanoseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from struct import Struct as Layout
from struct import error as LayoutError  # noqa: N812 - as the class beside it
from typing import Any, Final, TypeAlias

import msgspec

from ....ingress import rules
from ....ingress.gate import Gate
from ....ingress.records import (
    RawBands,
    RawBar,
    RawCancellation,
    RawCorrection,
    RawExecution,
    RawQuote,
    RawStatus,
    RawTrade,
    Receipt,
)
from ....market.live import GapCause, LiveValue, RecordKind
from ....market.provenance import OPTION_FEEDS, DataSource, Feed
from ....market.time import NANOS, parse_rfc3339
from ....market.unavailable import Refusal, Unavailable
from ....observe.counters import FeedCounts
from ....ports import Clock, FeedListener
from .handover import Frame, record_count
from .lag import Lag

_MOST_PRICES: Final = 65_536
"""Prices that are remembered as decimals, some 15 MB."""

_MOST_SYMBOLS: Final = 32_768
"""Symbols that are remembered to be some; Alpaca lists half as many."""

_WHAT: Final = "live records"
"""What cannot be read, where no symbol is known."""

_SHOWN: Final = 60
"""Characters of a bad field that are shown as evidence."""

_FIRST_SECOND: Final = parse_rfc3339("0001-01-01T00:00:00Z") // NANOS
_LAST_SECOND: Final = parse_rfc3339("9999-12-31T23:59:59Z") // NANOS
"""What a `Timestamp` can name."""


# ------------------------------------------------------------------------------------ as sent


class _Record(msgspec.Struct, tag_field="T", gc=False):
    S: str
    t: msgspec.Raw


class _Quote(_Record, tag="q", gc=False):
    bp: float
    ap: float
    bs: int | None = None
    bx: str | None = None
    as_: int | None = msgspec.field(default=None, name="as")
    ax: str | None = None
    c: tuple[str, ...] | str | None = None
    z: str | None = None


class _Trade(_Record, tag="t", gc=False):
    p: float
    s: int | None = None
    x: str | None = None
    c: tuple[str, ...] | str | None = None
    i: int | None = None
    z: str | None = None


class _Bar(_Record, tag="b", gc=False):
    o: float
    h: float
    l: float  # noqa: E741 - the name is Alpaca's
    c: float
    v: int | None = None
    n: int | None = None
    vw: float | None = None


class _RevisedBar(_Bar, tag="u", gc=False):
    pass


class _DailyBar(_Bar, tag="d", gc=False):
    pass


class _Correction(_Record, tag="c", gc=False):
    op: float
    cp: float
    x: str | None = None
    oi: int | None = None
    os: int | None = None
    oc: tuple[str, ...] | None = None
    ci: int | None = None
    cs: int | None = None
    cc: tuple[str, ...] | None = None
    z: str | None = None


class _Cancellation(_Record, tag="x", gc=False):
    p: float
    i: int | None = None
    x: str | None = None
    s: int | None = None
    a: str | None = None
    z: str | None = None


class _Status(_Record, tag="s", gc=False):
    sc: str
    sm: str | None = None
    rc: str | None = None
    rm: str | None = None
    z: str | None = None


class _Bands(_Record, tag="l", gc=False):
    u: float
    d: float
    i: str | None = None
    z: str | None = None


class _Head(msgspec.Struct, gc=False):
    """What is read of a record that cannot be read whole."""

    T: msgspec.Raw = msgspec.Raw()
    S: msgspec.Raw = msgspec.Raw()


_Sent: TypeAlias = (
    _Quote
    | _Trade
    | _Bar
    | _RevisedBar
    | _DailyBar
    | _Correction
    | _Cancellation
    | _Status
    | _Bands
)

_TYPES: Final[dict[str, tuple[RecordKind, type[_Record]]]] = {
    "q": (RecordKind.QUOTE, _Quote),
    "t": (RecordKind.TRADE, _Trade),
    "b": (RecordKind.BAR, _Bar),
    "u": (RecordKind.REVISED_BAR, _RevisedBar),
    "d": (RecordKind.DAILY_BAR, _DailyBar),
    "c": (RecordKind.TRADE_CORRECTION, _Correction),
    "x": (RecordKind.TRADE_CANCELLATION, _Cancellation),
    "s": (RecordKind.TRADING_STATUS, _Status),
    "l": (RecordKind.PRICE_BANDS, _Bands),
}
_KIND_OF: Final = {type_: kind for kind, type_ in _TYPES.values()}

_BARS: Final = frozenset({RecordKind.BAR, RecordKind.REVISED_BAR, RecordKind.DAILY_BAR})
"""Records that are stamped with the beginning of what they are about, which says nothing of how late they come."""

_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)

_as_frame = msgspec.msgpack.Decoder(list[_Sent]).decode
_as_list = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_as_head = msgspec.msgpack.Decoder(_Head).decode
_as_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_as_text = msgspec.msgpack.Decoder(str).decode
_as_anything = msgspec.msgpack.Decoder().decode
_as_type = {type_: msgspec.msgpack.Decoder(type_).decode for _, type_ in _TYPES.values()}


class Unfit(Exception):
    """A field that cannot be read; never leaves this package."""

    def __init__(self, refusal: Refusal) -> None:
        """Keep why."""
        super().__init__(refusal.rule)
        self.refusal = refusal


# ------------------------------------------------------------------------------- time and price


_in_64_bits = Layout(">HQ").unpack_from
_in_32_bits = Layout(">HI").unpack
_in_96_bits = Layout(">xxxIq").unpack


def instant(raw: msgspec.Raw) -> int:
    """Return the nanoseconds that a msgpack timestamp, or a text in RFC 3339, names.

    Raises:
        Unfit: it names none.
    """
    try:
        head, both = _in_64_bits(raw)
    except LayoutError:
        head = both = 0
    if head == 0xD7FF:
        seconds, nanos = both & 0x3_FFFF_FFFF, both >> 34
    else:
        seconds, nanos = _unusual_instant(raw)
    if nanos >= NANOS or not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise Unfit(Refusal("malformed_time", f"time of {seconds} s and {nanos} ns"))
    return int(seconds * NANOS + nanos)


def _unusual_instant(raw: msgspec.Raw) -> tuple[int, int]:
    """Return seconds and nanoseconds of a form that is sent for whole seconds, for years far away, or never."""
    data = bytes(raw)
    if data[:2] == b"\xd6\xff":
        return _in_32_bits(data)[1], 0
    if data[:3] == b"\xc7\x0c\xff":
        nanos, seconds = _in_96_bits(data)
        return seconds, nanos
    return divmod(_instant_of_text(raw), NANOS)


def _instant_of_text(raw: msgspec.Raw) -> int:
    try:
        text = _as_text(raw)
    except _UNDECODABLE as error:
        raise Unfit(Refusal("wrong_type", f"field 't' is {_shown(raw)}")) from error
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise Unfit(Refusal("malformed_time", f"time {text[:_SHOWN]!r}")) from error


class Prices(dict[float, Decimal]):
    """The decimal that was sent, of each double that came: the shortest that is read back as the same double.

    Making one takes ten times as long as finding it, and prices come again and again.
    """

    def __missing__(self, price: float) -> Decimal:
        """Return the decimal of a *price* that is not held, and hold it.

        Raises:
            Unfit: it is no number.
        """
        if not math.isfinite(price):
            raise Unfit(Refusal("wrong_type", f"price {price}"))
        if len(self) >= _MOST_PRICES:
            self.clear()
        decimal = Decimal(int(price)) if price.is_integer() else Decimal(repr(price))
        self[price] = decimal
        return decimal


# ------------------------------------------------------------------------------------ the way in


class Records:
    """Turns frames of one feed into what its listener is told."""

    def __init__(
        self,
        gate: Gate,
        source: DataSource,
        feed: Feed,
        listener: FeedListener,
        clock: Clock,
        counts: FeedCounts,
    ) -> None:
        """Let records of *feed* by *source* through *gate*, to *listener*."""
        self._gate = gate
        self._source = source
        self._feed = feed
        self._listener = listener
        self._clock = clock
        self._counts = counts
        self._lag = Lag(counts)
        self._prices = Prices()
        self._symbols: set[str] = set()
        self._check_symbol = (
            rules.check_occ_symbol if feed in OPTION_FEEDS else rules.check_stock_symbol
        )
        self.last_received: int | None = None
        """When the last frame arrived, nanoseconds of the wall clock."""

        self._handlers: dict[type[_Record], Callable[[Any, int, Receipt], LiveValue | Unavailable]]
        self._handlers = {
            _Quote: self._quote,
            _Trade: self._trade,
            _Bar: self._bar,
            _RevisedBar: self._bar,
            _DailyBar: self._daily_bar,
            _Correction: self._correction,
            _Cancellation: self._cancellation,
            _Status: self._status,
            _Bands: self._bands,
        }

    def take(self, frame: Frame) -> None:
        """Tell the listener of every record of *frame*."""
        receipt = Receipt(self._source, self._feed, frame.received_at, "")
        try:
            records = _as_frame(frame.data)
        except _UNDECODABLE:
            self._take_one_by_one(frame, receipt)
        else:
            self._counts.records += len(records)
            self._take_all(records, receipt)
        self.last_received = frame.received_at

    def _take_all(self, records: Sequence[_Record], receipt: Receipt) -> None:
        accept, known, handlers = self._listener.accept, self._symbols, self._handlers
        newest = 0
        for record in records:
            type_ = type(record)
            kind, symbol = _KIND_OF[type_], record.S
            if symbol not in known and not self._is_symbol(symbol, kind, receipt):
                continue
            try:
                at = instant(record.t)
                value = handlers[type_](record, at, receipt)
            except Unfit as unfit:
                self._refuse(unfit.refusal, kind, symbol, receipt)
                continue
            if isinstance(value, Unavailable):
                self._listener.refuse(kind, symbol, value)
                continue
            if at > newest and kind not in _BARS:
                newest = at
            accept(kind, symbol, value)
        if newest:
            self._note_lag(newest, receipt)

    def _note_lag(self, newest: int, receipt: Receipt) -> None:
        # The market's time is this loop's to ask; it has gone on since the frame arrived.
        waited = self._clock.wall() - receipt.receive_time
        self._lag.note(self._clock.market() - waited - newest, self._clock.monotonic())

    def _is_symbol(self, symbol: str, kind: RecordKind, receipt: Receipt) -> bool:
        refusal = self._check_symbol(symbol)
        if refusal is not None:
            # Nobody can follow such a symbol, so nobody need be told.
            self._gate.refuse(refusal, _name(kind), symbol[:_SHOWN], receipt)
            return False
        if len(self._symbols) >= _MOST_SYMBOLS:
            self._symbols.clear()
        self._symbols.add(symbol)
        return True

    def _refuse(self, refusal: Refusal, kind: RecordKind, symbol: str, receipt: Receipt) -> None:
        why = self._gate.refuse(refusal, _name(kind), symbol, receipt)
        self._listener.refuse(kind, symbol, why)

    # ------------------------------------------------------------------------ kinds of records

    def _quote(self, sent: _Quote, at: int, receipt: Receipt) -> LiveValue | Unavailable:
        prices, symbol = self._prices, sent.S
        raw = RawQuote(
            symbol,
            at,
            prices[sent.bp],
            sent.bs,
            sent.bx,
            prices[sent.ap],
            sent.as_,
            sent.ax,
            self._conditions(sent.c),
            sent.z,
        )
        return self._gate.quote(raw, symbol, receipt)

    def _conditions(self, sent: tuple[str, ...] | str | None) -> tuple[str, ...]:
        # Stocks have a list of them, options one text.
        if sent is None:
            return ()
        if not isinstance(sent, str):
            return sent
        if self._feed in OPTION_FEEDS:
            return (sent,)
        raise Unfit(Refusal("wrong_type", f"field 'c' is {sent[:_SHOWN]!r}"))

    def _trade(self, sent: _Trade, at: int, receipt: Receipt) -> LiveValue | Unavailable:
        raw = RawTrade(
            symbol=sent.S,
            event_time=at,
            price=self._prices[sent.p],
            size=sent.s,
            exchange=sent.x,
            conditions=self._conditions(sent.c),
            id=sent.i,
            tape=sent.z,
            amendment=None,
        )
        return self._gate.trade(raw, sent.S, receipt)

    def _bar(self, sent: _Bar, at: int, receipt: Receipt) -> LiveValue | Unavailable:
        return self._gate.bar(self._raw_bar(sent, at), sent.S, receipt)

    def _daily_bar(self, sent: _Bar, at: int, receipt: Receipt) -> LiveValue | Unavailable:
        return self._gate.daily_bar(self._raw_bar(sent, at), sent.S, receipt)

    def _raw_bar(self, sent: _Bar, at: int) -> RawBar:
        prices = self._prices
        return RawBar(
            symbol=sent.S,
            event_time=at,
            open=prices[sent.o],
            high=prices[sent.h],
            low=prices[sent.l],
            close=prices[sent.c],
            volume=sent.v,
            trade_count=sent.n,
            vwap=None if sent.vw is None else prices[sent.vw],
        )

    def _correction(self, sent: _Correction, at: int, receipt: Receipt) -> LiveValue | Unavailable:
        raw = RawCorrection(
            symbol=sent.S,
            event_time=at,
            original=RawExecution(sent.oi, self._prices[sent.op], sent.os, sent.oc or ()),
            corrected=RawExecution(sent.ci, self._prices[sent.cp], sent.cs, sent.cc or ()),
            exchange=sent.x,
            tape=sent.z,
        )
        return self._gate.trade_correction(raw, sent.S, receipt)

    def _cancellation(
        self, sent: _Cancellation, at: int, receipt: Receipt
    ) -> LiveValue | Unavailable:
        raw = RawCancellation(
            symbol=sent.S,
            event_time=at,
            id=sent.i,
            price=self._prices[sent.p],
            size=sent.s,
            exchange=sent.x,
            action=sent.a,
            tape=sent.z,
        )
        return self._gate.trade_cancellation(raw, sent.S, receipt)

    def _status(self, sent: _Status, at: int, receipt: Receipt) -> LiveValue | Unavailable:
        raw = RawStatus(sent.S, at, sent.sc, sent.sm, sent.rc, sent.rm, sent.z)
        return self._gate.trading_status(raw, sent.S, receipt)

    def _bands(self, sent: _Bands, at: int, receipt: Receipt) -> LiveValue | Unavailable:
        raw = RawBands(sent.S, at, self._prices[sent.u], self._prices[sent.d], sent.i, sent.z)
        return self._gate.price_bands(raw, sent.S, receipt)

    # ------------------------------------------------------------------------ what is malformed

    def _take_one_by_one(self, frame: Frame, receipt: Receipt) -> None:
        try:
            records = _as_list(frame.data)
        except _UNDECODABLE:
            self._gate.refuse_answer([_unreadable("frame", frame.data)], _WHAT, "")
            self._miss(frame, record_count(frame.data), "a frame of the upstream cannot be read")
            return
        self._counts.records += len(records)
        for record in records:
            self._take_one(record, frame, receipt)

    def _take_one(self, record: msgspec.Raw, frame: Frame, receipt: Receipt) -> None:
        head = _head_of(record)
        if head is None:
            self._gate.refuse_answer([_unreadable("record", record)], _WHAT, "")
            self._miss(frame, 1, "a record of the upstream does not say what it is about")
            return
        tag, symbol = head
        if tag not in _TYPES:
            # Alpaca may send new kinds of records at any time.
            return
        kind, type_ = _TYPES[tag]
        try:
            sent = _as_type[type_](record)
        except _UNDECODABLE as error:
            if self._is_symbol(symbol, kind, receipt):
                self._refuse(_misfit(error, record), kind, symbol, receipt)
        else:
            self._take_all([sent], receipt)

    def _miss(self, frame: Frame, records: int, message: str) -> None:
        since = frame.received_at if self.last_received is None else self.last_received
        self._listener.missed(GapCause.UNREADABLE, since, message, records=records or None)


def _name(kind: RecordKind) -> str:
    return kind.value.replace("_", " ")


def _head_of(record: msgspec.Raw) -> tuple[str, str] | None:
    """Return type and symbol of a record; the symbol is empty in a type that nobody knows."""
    try:
        head = _as_head(record)
        tag = _as_text(head.T)
        return (tag, _as_text(head.S)) if tag in _TYPES else (tag, "")
    except _UNDECODABLE:
        return None


def _misfit(error: Exception, record: msgspec.Raw) -> Refusal:
    said = str(error)
    missing = re.search(r"missing required field `(\w+)`", said)
    if missing:
        return Refusal("missing_field", f"no {missing[1]!r} in {_shown(record)}")
    # msgspec ends its message with the path of the field, such as "- at `$.bs`".
    name = re.search(r"at `\$\.(\w+)", said)
    try:
        sent = _as_fields(record).get(name[1]) if name else None
    except _UNDECODABLE:
        # The name of another field is no text.
        sent = None
    if name is None or sent is None:
        return Refusal("wrong_type", f"the type of {_shown(record)}")
    return Refusal("wrong_type", f"field {name[1]!r} is {_shown(sent)}")


def _unreadable(what: str, data: msgspec.Raw | bytes) -> Refusal:
    return Refusal("unreadable", f"{what} is {_shown(data)}")


def _shown(data: msgspec.Raw | bytes) -> str:
    try:
        text = repr(_as_anything(data))
    except _UNDECODABLE:
        text = repr(bytes(data)[:_SHOWN])
    return "".join(char if char.isprintable() else "." for char in text[:_SHOWN])
