"""Alpaca's pages of the past to columns of raw records: bytes in, columns and refusals out, no I/O.

A page is decoded as a whole, straight into records of the right types. Only where one of them does not fit is each
decoded alone, so that it costs itself and no other. Numbers that are prices are taken as the text that Alpaca sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, TypeAlias

import msgspec

from ...errors import UpstreamUnreadable
from ...ingress.history import RawBars, RawQuotes, RawSeries, RawTrades
from ...market.columns import Decimals, parse_decimals
from ...market.series import SeriesKind
from ...market.time import NANOS, parse_rfc3339
from ...market.unavailable import Refusal
from .parse import (
    UNDECODABLE,
    BarRecord,
    QuoteRecord,
    Unfit,
    decode,
    instant_of,
    is_null,
    price_of,
    read_record,
    shown,
)

_STRETCH: Final = 256
"""Records that are looked at one by one where one of them cannot be read."""

_ABSENT: Final = frozenset({b"", b"null"})
"""What a number that was not sent looks like."""


class _Trade(msgspec.Struct, gc=False):
    t: str
    p: msgspec.Raw
    s: int | None = None
    x: str | None = None
    c: tuple[str, ...] | str | None = None
    """A text for options."""

    i: int | None = None
    z: str | None = None
    u: str | None = None


_Record: TypeAlias = BarRecord | _Trade | QuoteRecord


# The token must be there: an answer that merely lacks it would pass for a last page.
class _BarPage(msgspec.Struct):
    next_page_token: str | None
    series: dict[str, list[BarRecord] | None] | None = msgspec.field(name="bars")


class _TradePage(msgspec.Struct):
    next_page_token: str | None
    series: dict[str, list[_Trade] | None] | None = msgspec.field(name="trades")


class _QuotePage(msgspec.Struct):
    next_page_token: str | None
    series: dict[str, list[QuoteRecord] | None] | None = msgspec.field(name="quotes")


class _Token(msgspec.Struct):
    next_page_token: str | None


class Records(msgspec.Struct, frozen=True):
    """What a page has of one symbol."""

    sent: Sequence[Any]
    """Records of the right types, in the page's order."""

    refused: Sequence[Refusal] = ()
    """Why others cannot be read."""


class Page(msgspec.Struct, frozen=True):
    """One page of an answer."""

    series: Mapping[str, Records]
    """By symbol; those of which there is nothing are left out."""

    token: str | None
    """Of the next page; None on the last one."""


def page(body: bytes, kind: SeriesKind) -> Page:
    """Return the records in a page of series of *kind*.

    Raises:
        UpstreamUnreadable: the answer is not such a page.
    """
    shape = _SHAPES[kind]
    try:
        seen = shape.page.decode(body)
    except msgspec.ValidationError:
        return _page_record_by_record(body, kind, shape)
    except UNDECODABLE as error:
        refusal = Refusal("unreadable", f"not JSON: {shown(body)}")
        raise UpstreamUnreadable(refusal, kind.value) from error
    series = {symbol: Records(sent) for symbol, sent in (seen.series or {}).items() if sent}
    return Page(series, _token(seen.next_page_token))


def _page_record_by_record(body: bytes, kind: SeriesKind, shape: _Shape) -> Page:
    whole = decode(_as_map, body, kind.value)
    for name in (kind.value, "next_page_token"):
        if name not in whole:
            raise UpstreamUnreadable(Refusal("missing_field", f"no {name!r}"), kind.value)
    token = decode(_as_token, body, kind.value).next_page_token
    inner = whole[kind.value]
    each = {} if is_null(inner) else decode(_as_map, bytes(inner), kind.value)
    series = {
        symbol: _read(decode(_as_list, bytes(records), kind.value), shape)
        for symbol, records in each.items()
        if not is_null(records)
    }
    return Page(
        {symbol: read for symbol, read in series.items() if read.sent or read.refused},
        _token(token),
    )


def _token(token: str | None) -> str | None:
    if token == "":
        # Asked for, it would bring the first page once more.
        refusal = Refusal("missing_field", "'next_page_token' is empty")
        raise UpstreamUnreadable(refusal, "paging")
    return token


def _read(records: list[msgspec.Raw], shape: _Shape) -> Records:
    sent: list[_Record] = []
    refused: list[Refusal] = []
    for record in records:
        one = read_record(shape.record, record, lambda seen: seen)
        if one is None:
            refused.append(Refusal("missing_field", f"record is {shown(record)}"))
        elif isinstance(one, Refusal):
            refused.append(one)
        else:
            sent.append(one)
    return Records(sent, refused)


def columns(kind: SeriesKind, records: Records) -> tuple[RawSeries | None, Sequence[Refusal]]:
    """Return *records* of one symbol as columns, None when none of them can be read, and why others cannot."""
    shape = _SHAPES[kind]
    if not records.sent:
        return None, records.refused
    try:
        return shape.columns(records.sent), records.refused
    except ValueError:
        # One of the texts names no instant or no number.
        faults = list(_faults(records.sent, shape))
    refused = [*records.refused, *(fault for fault in faults if fault is not None)]
    sound = [one for one, fault in zip(records.sent, faults, strict=True) if fault is None]
    return (shape.columns(sound) if sound else None), refused


def _faults(sent: Sequence[_Record], shape: _Shape) -> Iterator[Refusal | None]:
    """Yield why each record cannot be read, looking closely only at stretches in which one cannot."""
    for start in range(0, len(sent), _STRETCH):
        stretch = sent[start : start + _STRETCH]
        try:
            shape.columns(stretch)
        except ValueError:
            yield from map(_fault, stretch)
        else:
            yield from repeat(None, len(stretch))


def _fault(record: _Record) -> Refusal | None:
    try:
        instant_of(record.t)
        for name in _PRICES[type(record)]:
            raw: msgspec.Raw = getattr(record, name)
            if name == "vw" and bytes(raw) in _ABSENT:
                continue
            price_of(name, raw)
            _check_length(name, bytes(raw))
    except Unfit as unfit:
        return unfit.refusal
    return None


def _check_length(name: str, text: bytes) -> None:
    try:
        parse_decimals([text])
    except ValueError as error:
        refusal = Refusal("price_out_of_range", f"{name} {shown(text)}")
        raise Unfit(refusal) from error


def _bars(records: Sequence[BarRecord]) -> RawBars:
    averages = [bytes(record.vw) for record in records]
    return RawBars(
        times=_instants([record.t for record in records]),
        open=_prices([bytes(record.o) for record in records]),
        high=_prices([bytes(record.h) for record in records]),
        low=_prices([bytes(record.l) for record in records]),
        close=_prices([bytes(record.c) for record in records]),
        volume=[record.v for record in records],
        trade_count=[record.n for record in records],
        vwap=parse_decimals([None if text in _ABSENT else text for text in averages]),
    )


def _trades(records: Sequence[_Trade]) -> RawTrades:
    return RawTrades(
        times=_instants([record.t for record in records]),
        price=_prices([bytes(record.p) for record in records]),
        size=[record.s for record in records],
        exchange=[record.x for record in records],
        conditions=[_listed(record.c) for record in records],
        id=[record.i for record in records],
        tape=[record.z for record in records],
        amendment=[record.u for record in records],
    )


def _quotes(records: Sequence[QuoteRecord]) -> RawQuotes:
    return RawQuotes(
        times=_instants([record.t for record in records]),
        bid_price=_prices([bytes(record.bp) for record in records]),
        bid_size=[record.bs for record in records],
        bid_exchange=[record.bx for record in records],
        ask_price=_prices([bytes(record.ap) for record in records]),
        ask_size=[record.as_ for record in records],
        ask_exchange=[record.ax for record in records],
        conditions=[_listed(record.c) for record in records],
        tape=[record.z for record in records],
    )


def _prices(texts: Sequence[bytes]) -> Decimals:
    column = parse_decimals(texts)
    assert column is not None, "there is at least one record, and each has a price"
    return column


def _listed(conditions: tuple[str, ...] | str | None) -> tuple[str, ...]:
    if conditions is None:
        return ()
    return (conditions,) if isinstance(conditions, str) else conditions


class _Seconds(dict[str, int]):
    """Instants of whole seconds, nanoseconds, by how RFC 3339 begins: `2024-02-20T09:00:00`."""

    def __init__(self) -> None:
        super().__init__()
        self._hours: dict[str, int] = {}

    def __missing__(self, text: str) -> int:
        hour = self._hours.get(text[:13])
        if hour is None:
            hour = self._hours[text[:13]] = parse_rfc3339(f"{text[:13]}:00:00Z")
        minute, second = _SIXTY.get(text[13:16]), _SIXTY.get(text[16:])
        if minute is None or second is None:
            # It is none, and says so.
            return parse_rfc3339(f"{text}Z")
        instant: int = hour + (minute * 60 + second) * NANOS
        self[text] = instant
        return instant


_SIXTY: Final = {f":{number:02d}": number for number in range(60)}
_FRACTION: Final[tuple[int, ...]] = tuple(10 ** (9 - digits) for digits in range(10))
"""Nanoseconds that the last digit of a fraction counts, by how many digits it has."""


def _instants(texts: Sequence[str]) -> list[int]:
    """Return the instants that *texts* name, nanoseconds, as `parse_rfc3339` does for each, at a third of the cost.

    Raises:
        ValueError: one of them names none.
    """
    seconds = _Seconds()

    def instant(text: str) -> int:
        if text[-1:] != "Z":
            return parse_rfc3339(text)
        fraction = text[20:-1]
        if not fraction:
            return seconds[text[:19]] if len(text) == 20 else parse_rfc3339(text)
        if text[19] != "." or len(fraction) > 9 or not (fraction.isascii() and fraction.isdigit()):
            return parse_rfc3339(text)
        return seconds[text[:19]] + int(fraction) * _FRACTION[len(fraction)]

    return [instant(text) for text in texts]


class _Shape(msgspec.Struct, frozen=True):
    """How records of one kind are read."""

    page: msgspec.json.Decoder[Any]
    record: msgspec.json.Decoder[Any]
    columns: Callable[[Sequence[Any]], RawSeries]


_as_map = msgspec.json.Decoder(dict[str, msgspec.Raw])
_as_list = msgspec.json.Decoder(list[msgspec.Raw])
_as_token = msgspec.json.Decoder(_Token)

_SHAPES: Final = {
    SeriesKind.BARS: _Shape(msgspec.json.Decoder(_BarPage), msgspec.json.Decoder(BarRecord), _bars),
    SeriesKind.TRADES: _Shape(
        msgspec.json.Decoder(_TradePage), msgspec.json.Decoder(_Trade), _trades
    ),
    SeriesKind.QUOTES: _Shape(
        msgspec.json.Decoder(_QuotePage), msgspec.json.Decoder(QuoteRecord), _quotes
    ),
}
"""The value of a kind is Alpaca's key for it, too."""

_PRICES: Final[Mapping[type[_Record], tuple[str, ...]]] = {
    BarRecord: ("o", "h", "l", "c", "vw"),
    _Trade: ("p",),
    QuoteRecord: ("bp", "ap"),
}
