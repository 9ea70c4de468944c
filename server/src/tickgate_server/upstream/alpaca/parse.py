"""Alpaca's bodies to raw records: bytes in, records or refusals out, no I/O.

Each record is decoded alone, so that a malformed one costs its own symbol and no other. Numbers that are prices are
taken as the text that Alpaca sent; they never pass through a float.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from ...errors import UpstreamUnreadable
from ...ingress.records import RawBar, RawQuote, RawTrade
from ...market.asset import Asset, AssetStatus
from ...market.provenance import Provenance
from ...market.session import ClockReading, TradingDay
from ...market.snapshot import SnapshotPart
from ...market.time import NANOS, parse_rfc3339
from ...market.unavailable import Refusal

T = TypeVar("T")

_NEW_YORK: Final = ZoneInfo("America/New_York")
_FASTEST: Final = 1_000_000
"""Seconds of market time in a second beyond which a clock's speed is a fault."""

_FIRST_INSTANT: Final = parse_rfc3339("1970-02-01T00:00:00Z")
_LAST_INSTANT: Final = parse_rfc3339("2100-01-01T00:00:00Z")
"""A clock that says something else is none. Alpaca's calendar begins in 1970 and ends in 2029."""

_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2100
"""So is a calendar with a day outside of these years."""

_HOUR: Final = re.compile(r"(\d\d):?(\d\d)", re.ASCII)
"""Core hours come as "09:30", extended ones as "0400"."""

SHOWN: Final = 60
"""Characters of a bad field that are shown as evidence."""


UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON; the last for JSON nested a thousand levels deep."""


class QuoteRecord(msgspec.Struct, gc=False):
    """A quote of a stock, by Alpaca's keys."""

    t: str
    bp: msgspec.Raw
    ap: msgspec.Raw
    bs: int | None = None
    bx: str | None = None
    as_: int | None = msgspec.field(default=None, name="as")
    ax: str | None = None
    c: tuple[str, ...] | None = None
    z: str | None = None


class _Trade(msgspec.Struct):
    t: str
    p: msgspec.Raw
    s: int | None = None
    x: str | None = None
    c: tuple[str, ...] | None = None
    i: int | None = None
    z: str | None = None
    u: str | None = None


class BarRecord(msgspec.Struct, gc=False):
    """A bar of a stock or of a contract, by Alpaca's keys."""

    t: str
    o: msgspec.Raw
    h: msgspec.Raw
    l: msgspec.Raw  # noqa: E741 - the name is Alpaca's
    c: msgspec.Raw
    v: int | None = None
    n: int | None = None
    vw: msgspec.Raw = msgspec.Raw()


class _Clock(msgspec.Struct):
    timestamp: str
    is_open: bool
    next_open: str
    next_close: str
    speed: float = 1.0
    """Only tickgate's sandbox sends it: seconds of market time in a second."""

    first_day: datetime.date | None = None
    """Only tickgate's sandbox sends it: the first day of which it has history."""


class _Day(msgspec.Struct):
    date: datetime.date
    open: str
    close: str
    session_open: str | None = None
    session_close: str | None = None
    settlement_date: datetime.date | None = None


_as_quote = msgspec.json.Decoder(QuoteRecord)
_as_trade = msgspec.json.Decoder(_Trade)
_as_bar = msgspec.json.Decoder(BarRecord)
_as_records = msgspec.json.Decoder(dict[str, msgspec.Raw])
_as_assets = msgspec.json.Decoder(list[Any])
_as_clock = msgspec.json.Decoder(_Clock)
_as_days = msgspec.json.Decoder(list[_Day])
_as_names = msgspec.json.Decoder(dict[str, str])

_SNAPSHOT_KEYS: Final = {
    SnapshotPart.LATEST_TRADE: "latestTrade",
    SnapshotPart.LATEST_QUOTE: "latestQuote",
    SnapshotPart.MINUTE_BAR: "minuteBar",
    SnapshotPart.DAILY_BAR: "dailyBar",
    SnapshotPart.PREVIOUS_DAILY_BAR: "prevDailyBar",
}


def records(body: bytes, wrapper: str) -> dict[str, msgspec.Raw]:
    """Return the record of each symbol in a multi-symbol answer.

    Args:
        body: the answer.
        wrapper: key under which the map stands, such as "quotes"; empty for an answer that is the map itself.

    Raises:
        UpstreamUnreadable: the answer is not JSON or has another shape.
    """
    whole = decode(_as_records, body, wrapper or "snapshots")
    if not wrapper:
        return whole
    if wrapper not in whole:
        raise UpstreamUnreadable(Refusal("missing_field", f"no {wrapper!r}"), "answer")
    inner = whole[wrapper]
    # An empty map and null both mean that nothing is known about any of the symbols.
    return {} if is_null(inner) else decode(_as_records, bytes(inner), wrapper)


def quote(symbol: str, record: msgspec.Raw) -> RawQuote | Refusal | None:
    """Return the quote in *record*, why it cannot be read, or None when it is null or empty."""

    def build(seen: QuoteRecord) -> RawQuote:
        return RawQuote(
            symbol=symbol,
            event_time=instant_of(seen.t),
            bid_price=price_of("bp", seen.bp),
            bid_size=seen.bs,
            bid_exchange=seen.bx,
            ask_price=price_of("ap", seen.ap),
            ask_size=seen.as_,
            ask_exchange=seen.ax,
            conditions=seen.c or (),
            tape=seen.z,
        )

    return read_record(_as_quote, record, build)


def trade(symbol: str, record: msgspec.Raw) -> RawTrade | Refusal | None:
    """Return the trade in *record*, why it cannot be read, or None when it is null or empty."""

    def build(seen: _Trade) -> RawTrade:
        return RawTrade(
            symbol=symbol,
            event_time=instant_of(seen.t),
            price=price_of("p", seen.p),
            size=seen.s,
            exchange=seen.x,
            conditions=seen.c or (),
            id=seen.i,
            tape=seen.z,
            amendment=seen.u,
        )

    return read_record(_as_trade, record, build)


def bar(symbol: str, record: msgspec.Raw) -> RawBar | Refusal | None:
    """Return the bar in *record*, why it cannot be read, or None when it is null or empty."""

    def build(seen: BarRecord) -> RawBar:
        vwap_sent = bytes(seen.vw) not in (b"", b"null")
        return RawBar(
            symbol=symbol,
            event_time=instant_of(seen.t),
            open=price_of("o", seen.o),
            high=price_of("h", seen.h),
            low=price_of("l", seen.l),
            close=price_of("c", seen.c),
            volume=seen.v,
            trade_count=seen.n,
            vwap=price_of("vw", seen.vw) if vwap_sent else None,
        )

    return read_record(_as_bar, record, build)


def snapshot_parts(record: msgspec.Raw) -> Mapping[SnapshotPart, msgspec.Raw] | Refusal:
    """Return the parts of a snapshot that were sent, or why the snapshot cannot be read."""
    if is_null(record):
        return {}
    try:
        sent = _as_records.decode(record)
    except UNDECODABLE:
        return Refusal("wrong_type", f"snapshot is {shown(record)}")
    return {part: sent[key] for part, key in _SNAPSHOT_KEYS.items() if key in sent}


def assets(body: bytes) -> tuple[list[Asset], list[Refusal]]:
    """Return the assets in a list, and why entries of it cannot be read.

    Only a symbol makes an asset; another field that is not as documented is as if it had not been sent.

    Raises:
        UpstreamUnreadable: the answer is not a list, or holds no asset at all.
    """
    read = [_asset(entry) for entry in decode(_as_assets, body, "assets")]
    found = [asset for asset in read if isinstance(asset, Asset)]
    unread = [refusal for refusal in read if isinstance(refusal, Refusal)]
    if not found:
        # Believing it would call every symbol unknown.
        raise UpstreamUnreadable(Refusal("missing_field", f"no asset in {shown(body)}"), "assets")
    return found, unread


def clock(body: bytes, provenance: Provenance) -> ClockReading:
    """Return what the clock said.

    Raises:
        UpstreamUnreadable: the answer is not a clock.
    """
    seen = decode(_as_clock, body, "clock")
    if not 0 <= seen.speed <= _FASTEST:
        raise UpstreamUnreadable(Refusal("wrong_type", f"speed {seen.speed}"), "clock")
    try:
        return ClockReading(
            market_time=_calendar_instant(seen.timestamp),
            is_open=seen.is_open,
            next_open=_calendar_instant(seen.next_open),
            next_close=_calendar_instant(seen.next_close),
            speed=seen.speed,
            provenance=provenance,
            first_day=seen.first_day,
        )
    except Unfit as unfit:
        raise UpstreamUnreadable(unfit.refusal, "clock") from unfit


def trading_days(body: bytes) -> list[TradingDay]:
    """Return the days of a calendar, in order.

    Raises:
        UpstreamUnreadable: the answer is not a calendar.
    """
    seen = decode(_as_days, body, "calendar")
    try:
        return sorted((_trading_day(day) for day in seen), key=lambda day: day.open)
    except ValueError as error:
        refusal = Refusal("malformed_time", "a day has an hour that is none")
        raise UpstreamUnreadable(refusal, "calendar") from error


def names(body: bytes) -> Mapping[str, str]:
    """Return a table of codes and names, ordered by code.

    Raises:
        UpstreamUnreadable: the answer is not such a table.
    """
    return dict(sorted(decode(_as_names, body, "codes").items()))


class Unfit(Exception):
    """A field that cannot be read; never leaves these modules."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.rule)
        self.refusal = refusal


def decode(decoder: msgspec.json.Decoder[T], body: bytes, subject: str) -> T:
    """Return what *decoder* reads in *body*, the answer about *subject*.

    Raises:
        UpstreamUnreadable: the answer is not JSON or has another shape.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        refusal = Refusal("wrong_type", f"{_field_of(error)} of {shown(body)}")
        raise UpstreamUnreadable(refusal, subject) from error
    except UNDECODABLE as error:
        refusal = Refusal("unreadable", f"not JSON: {shown(body)}")
        raise UpstreamUnreadable(refusal, subject) from error


def read_record(
    decoder: msgspec.json.Decoder[Any], record: msgspec.Raw, build: Callable[[Any], T | None]
) -> T | Refusal | None:
    """Return what *build* makes of *record*, why it cannot be read, or None when it is null or empty."""
    if is_null(record) or bytes(record) == b"{}":
        return None
    try:
        return build(decoder.decode(record))
    except Unfit as unfit:
        return unfit.refusal
    except msgspec.ValidationError as error:
        return _misfit(error, record)
    except UNDECODABLE:
        return Refusal("unreadable", f"record is {shown(record)}")


def _misfit(error: msgspec.ValidationError, record: msgspec.Raw) -> Refusal:
    missing = re.search(r"missing required field `(\w+)`", str(error))
    if missing:
        return Refusal("missing_field", f"no {missing[1]!r} in {shown(record)}")
    name = re.search(r"at `\$\.(\w+)", str(error))
    sent = _sent(record).get(name[1]) if name else None
    if name is None or sent is None:
        return Refusal("wrong_type", f"{_field_of(error)} of {shown(record)}")
    return Refusal("wrong_type", f"field {name[1]!r} is {shown(sent)}")


def _sent(record: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _as_records.decode(record)
    except UNDECODABLE:
        return {}


def _field_of(error: msgspec.ValidationError) -> str:
    # msgspec ends its message with the path of the field, such as "- at `$.bs`".
    path = re.search(r"at `\$\.?([^`]*)`$", str(error))
    return f"field {path[1]!r}" if path and path[1] else "the type"


def price_of(name: str, raw: msgspec.Raw) -> Decimal:
    """Return the number in *raw*, the field *name*, digit for digit.

    Raises:
        Unfit: it is none.
    """
    text = bytes(raw).decode("ascii", "replace")
    # JSON has been checked by now: what starts like a number is one.
    if text[:1] not in "-0123456789" or not text:
        raise Unfit(Refusal("wrong_type", f"field {name!r} is {text[:SHOWN]}"))
    try:
        return Decimal(text)
    except InvalidOperation as error:
        # An exponent of more digits than a Decimal has room for.
        raise Unfit(Refusal("price_out_of_range", f"{name} {text[:SHOWN]}")) from error


def instant_of(text: str) -> int:
    """Return the instant that *text* names, nanoseconds.

    Raises:
        Unfit: it names none.
    """
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise Unfit(Refusal("malformed_time", f"time {text[:SHOWN]!r}")) from error


def _calendar_instant(text: str) -> int:
    instant = instant_of(text)
    if not _FIRST_INSTANT <= instant <= _LAST_INSTANT:
        # Go's zero time, for one: whoever counts on from it leaves every calendar.
        raise Unfit(Refusal("malformed_time", f"time {text[:SHOWN]!r}"))
    return instant


def _asset(entry: Any) -> Asset | Refusal:
    symbol = entry.get("symbol") if isinstance(entry, dict) else None
    if not isinstance(symbol, str) or not symbol:
        return Refusal("missing_field", f"no 'symbol' in {str(entry)[:SHOWN]!r}")

    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    def flag(key: str) -> bool | None:
        value = entry.get(key)
        return value if isinstance(value, bool) else None

    attributes = entry.get("attributes")
    return Asset(
        symbol=symbol,
        name=text("name"),
        id=text("id"),
        exchange=text("exchange"),
        asset_class=text("class"),
        status=_asset_status(text("status")),
        tradable=flag("tradable"),
        marginable=flag("marginable"),
        shortable=flag("shortable"),
        fractionable=flag("fractionable"),
        attributes=tuple(item for item in attributes if isinstance(item, str))
        if isinstance(attributes, list)
        else (),
    )


def _asset_status(text: str) -> AssetStatus | None:
    return AssetStatus(text) if text in ("active", "inactive") else None


def _trading_day(day: _Day) -> TradingDay:
    return TradingDay(
        date=day.date,
        pre_market_open=None if day.session_open is None else _new_york(day.date, day.session_open),
        open=_new_york(day.date, day.open),
        close=_new_york(day.date, day.close),
        after_hours_close=(
            None if day.session_close is None else _new_york(day.date, day.session_close)
        ),
        settlement_date=day.settlement_date,
    )


def _new_york(day: datetime.date, hour: str) -> int:
    found = _HOUR.fullmatch(hour)
    if found is None or not _FIRST_YEAR <= day.year < _LAST_YEAR:
        msg = f"{hour[:SHOWN]!r} on {day} is no hour of a calendar"
        raise ValueError(msg)
    moment = datetime.datetime(
        day.year, day.month, day.day, int(found[1]), int(found[2]), tzinfo=_NEW_YORK
    )
    return int(moment.timestamp()) * NANOS


def is_null(record: msgspec.Raw) -> bool:
    """Tell whether *record* is null."""
    return bytes(record) == b"null"


def shown(data: msgspec.Raw | bytes) -> str:
    """Return the beginning of *data* as evidence."""
    text = bytes(data)[:SHOWN].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "." for char in text)


_READ: Final[Mapping[str, tuple[str, ...]]] = {
    "quote": ("t", "bp", "ap", "bs", "bx", "as", "ax", "c", "z"),
    "trade": ("t", "p", "s", "x", "c", "i", "z", "u"),
    "bar": ("t", "o", "h", "l", "c", "v", "n", "vw"),
    "asset": ("symbol", "name", "id", "exchange", "class", "status", "tradable", "marginable",
              "shortable", "fractionable", "attributes"),
    "clock": ("timestamp", "is_open", "next_open", "next_close", "speed", "first_day"),
    "day": ("date", "open", "close", "session_open", "session_close", "settlement_date"),
}  # fmt: skip


def fields(record: str) -> frozenset[str]:
    """Return Alpaca's names of the fields that are read of a *record*.

    What else is sent is passed over; `make live-check` lists it.

    Args:
        record: "quote", "trade", "bar", "asset", "clock" or "day".
    """
    return frozenset(_READ[record])
