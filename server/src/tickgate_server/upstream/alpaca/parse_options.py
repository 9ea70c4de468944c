"""Alpaca's JSON about options to raw records, as `parse` does it for stocks.

Option records differ in a few words: conditions are one text, there is no tape and no id. Fields that Alpaca always
sends are asked for leniently all the same: what is not there is unset, and costs nothing that is.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import msgspec

from ...ingress.records import UNDATED, RawContract, RawOption, RawOptionBar, RawQuote, RawTrade
from ...market.occ import OptionType
from ...market.option import ContractStatus, Deliverable, Greeks, OptionStyle
from ...market.unavailable import Refusal
from .parse import SHOWN, Unfit, decode, instant_of, price_of, read_record, shown

T = TypeVar("T")

_NOTHING: Final = msgspec.Raw()
_MOST_PLACES: Final = 20
"""Digits before and behind the point of a number of a contract's terms, beyond which it is none."""

_MOST_DIGITS: Final = 10_000
"""Digits of a whole number beyond which it is none. Whether it can be what it says is for the rules."""

_EMPTY: Final = Decimal(0)
"""How Alpaca writes the price of a side without an order."""


class _Snapshot(msgspec.Struct):
    quote: msgspec.Raw = msgspec.field(name="latestQuote", default=_NOTHING)
    trade: msgspec.Raw = msgspec.field(name="latestTrade", default=_NOTHING)
    greeks: msgspec.Raw = _NOTHING
    volatility: msgspec.Raw = msgspec.field(name="impliedVolatility", default=_NOTHING)
    minute_bar: msgspec.Raw = msgspec.field(name="minuteBar", default=_NOTHING)
    daily_bar: msgspec.Raw = msgspec.field(name="dailyBar", default=_NOTHING)
    previous_daily_bar: msgspec.Raw = msgspec.field(name="prevDailyBar", default=_NOTHING)


class _Quote(msgspec.Struct):
    t: str | None = None
    bp: msgspec.Raw = _NOTHING
    ap: msgspec.Raw = _NOTHING
    bs: int | None = None
    bx: str | None = None
    as_: int | None = msgspec.field(default=None, name="as")
    ax: str | None = None
    c: str | None = None


class _Trade(msgspec.Struct):
    p: msgspec.Raw
    t: str | None = None
    s: int | None = None
    x: str | None = None
    c: str | None = None


class _Bar(msgspec.Struct):
    t: str | None = None
    o: msgspec.Raw = _NOTHING
    h: msgspec.Raw = _NOTHING
    l: msgspec.Raw = _NOTHING  # noqa: E741 - the name is Alpaca's
    c: msgspec.Raw = _NOTHING
    v: int | None = None
    n: int | None = None
    vw: msgspec.Raw = _NOTHING


class _Greeks(msgspec.Struct):
    delta: msgspec.Raw = _NOTHING
    gamma: msgspec.Raw = _NOTHING
    theta: msgspec.Raw = _NOTHING
    vega: msgspec.Raw = _NOTHING
    rho: msgspec.Raw = _NOTHING


class _Page(msgspec.Struct):
    snapshots: dict[str, msgspec.Raw] | None
    next_page_token: str | None = None


class _ContractsPage(msgspec.Struct):
    option_contracts: list[Any] | None
    next_page_token: str | None = None


_NO_GREEKS: Final = Greeks()

_as_page = msgspec.json.Decoder(_Page)
_as_contracts = msgspec.json.Decoder(_ContractsPage)
_as_contract = msgspec.json.Decoder(dict[str, Any])
_as_snapshot = msgspec.json.Decoder(_Snapshot)
_as_quote = msgspec.json.Decoder(_Quote)
_as_trade = msgspec.json.Decoder(_Trade)
_as_bar = msgspec.json.Decoder(_Bar)
_as_greeks = msgspec.json.Decoder(_Greeks)
_as_number = msgspec.json.Decoder(msgspec.Raw)


def page(body: bytes) -> tuple[dict[str, msgspec.Raw], str | None]:
    """Return the records of one page of snapshots by symbol, and the token of the next page.

    Raises:
        UpstreamUnreadable: the answer is not JSON or has another shape.
    """
    read = decode(_as_page, body, "option snapshots")
    # An empty map and null both mean that there is nothing.
    return read.snapshots or {}, read.next_page_token or None


def option(symbol: str, record: msgspec.Raw) -> RawOption | Refusal | None:
    """Return what *record* holds of the contract *symbol*, why it cannot be read, or None when it is null or empty."""
    return read_record(_as_snapshot, record, lambda seen: _option(symbol, seen))


def contracts_page(body: bytes) -> tuple[list[RawContract | Refusal], str | None]:
    """Return the entries of one page of contracts, and the token of the next page.

    Raises:
        UpstreamUnreadable: the answer is not JSON or has another shape.
    """
    read = decode(_as_contracts, body, "option contracts")
    return [_contract(entry) for entry in read.option_contracts or ()], read.next_page_token or None


def contract(body: bytes) -> RawContract | Refusal:
    """Return the one contract of an answer, or why it cannot be read.

    Raises:
        UpstreamUnreadable: the answer is not JSON or has another shape.
    """
    return _contract(decode(_as_contract, body, "option contract"))


def _option(symbol: str, seen: _Snapshot) -> RawOption:
    return RawOption(
        symbol=symbol,
        quote=_part(seen.quote, _as_quote, lambda sent: _raw_quote(symbol, sent)),
        latest_trade=_part(seen.trade, _as_trade, lambda sent: _raw_trade(symbol, sent)),
        greeks=_part(seen.greeks, _as_greeks, _raw_greeks),
        implied_volatility=_part(seen.volatility, _as_number, _volatility),
        minute_bar=_part(seen.minute_bar, _as_bar, _raw_bar),
        daily_bar=_part(seen.daily_bar, _as_bar, _raw_bar),
        previous_daily_bar=_part(seen.previous_daily_bar, _as_bar, _raw_bar),
    )


def _part(
    sent: msgspec.Raw, decoder: msgspec.json.Decoder[Any], build: Callable[[Any], T | None]
) -> T | Refusal | None:
    return read_record(decoder, sent, build) if bytes(sent) else None


def _raw_greeks(sent: _Greeks) -> Greeks | None:
    greeks = Greeks(
        delta=_double("delta", sent.delta),
        gamma=_double("gamma", sent.gamma),
        theta=_double("theta", sent.theta),
        vega=_double("vega", sent.vega),
        rho=_double("rho", sent.rho),
    )
    return None if greeks == _NO_GREEKS else greeks


def _volatility(sent: msgspec.Raw) -> float | None:
    return _double("impliedVolatility", sent)


def _double(name: str, sent: msgspec.Raw) -> float | None:
    """Return the double that a text stands for, the sign of zero included."""
    text = bytes(sent)
    if text in (b"", b"null"):
        return None
    # JSON has been checked by now: what starts like a number is one.
    if text[:1] not in b"-0123456789" or not math.isfinite(number := float(text)):
        raise Unfit(Refusal("wrong_type", f"field {name!r} is {shown(text)}"))
    return number


def _raw_quote(symbol: str, sent: _Quote) -> RawQuote:
    return RawQuote(
        symbol,
        _stamp(sent.t),
        _side("bp", sent.bp),
        sent.bs,
        sent.bx,
        _side("ap", sent.ap),
        sent.as_,
        sent.ax,
        () if sent.c is None else (sent.c,),
        None,
    )


def _raw_trade(symbol: str, sent: _Trade) -> RawTrade:
    return RawTrade(
        symbol=symbol,
        event_time=_stamp(sent.t),
        price=price_of("p", sent.p),
        size=sent.s,
        exchange=sent.x,
        conditions=() if sent.c is None else (sent.c,),
        id=None,
        tape=None,
        amendment=None,
    )


def _raw_bar(sent: _Bar) -> RawOptionBar:
    return RawOptionBar(
        event_time=_stamp(sent.t),
        open=_price("o", sent.o),
        high=_price("h", sent.h),
        low=_price("l", sent.l),
        close=_price("c", sent.c),
        volume=sent.v,
        trade_count=sent.n,
        vwap=_price("vw", sent.vw),
    )


def _stamp(text: str | None) -> int:
    return UNDATED if text is None else instant_of(text)


def _side(name: str, sent: msgspec.Raw) -> Decimal:
    return _EMPTY if bytes(sent) in (b"", b"null") else price_of(name, sent)


def _price(name: str, sent: msgspec.Raw) -> Decimal | None:
    return None if bytes(sent) in (b"", b"null") else price_of(name, sent)


def _contract(entry: Any) -> RawContract | Refusal:
    symbol = entry.get("symbol") if isinstance(entry, dict) else None
    if not isinstance(symbol, str) or not symbol:
        return Refusal("missing_field", f"no 'symbol' in {str(entry)[:SHOWN]!r}")
    fields = _Fields(entry)
    return RawContract(
        symbol=symbol,
        expiry=fields.date("expiration_date"),
        type=fields.member("type", OptionType.__members__.get),
        strike=fields.number("strike_price"),
        root=fields.text("root_symbol") or None,
        id=fields.text("id"),
        name=fields.text("name"),
        underlying=fields.text("underlying_symbol"),
        style=fields.member("style", OptionStyle.__members__.get),
        multiplier=fields.number("multiplier"),
        size=fields.number("size"),
        status=fields.member("status", ContractStatus.__members__.get),
        tradable=fields.flag("tradable"),
        open_interest=fields.count("open_interest"),
        open_interest_date=fields.date("open_interest_date"),
        close_price=fields.number("close_price"),
        close_price_date=fields.date("close_price_date"),
        deliverables=_deliverables(entry.get("deliverables")),
    )


def _deliverables(sent: Any) -> tuple[Deliverable, ...]:
    if not isinstance(sent, list):
        return ()
    return tuple(_deliverable(_Fields(entry)) for entry in sent if isinstance(entry, dict))


def _deliverable(fields: _Fields) -> Deliverable:
    return Deliverable(
        type=fields.text("type"),
        symbol=fields.text("symbol"),
        amount=fields.number("amount"),
        allocation_percentage=fields.number("allocation_percentage"),
        settlement_type=fields.text("settlement_type"),
        settlement_method=fields.text("settlement_method"),
        delayed_settlement=fields.flag("delayed_settlement"),
    )


class _Fields:
    """Fields of an object of the trading API, which writes numbers as texts.

    A field that is not as documented is as if it had not been sent, as in the list of assets.
    """

    def __init__(self, sent: dict[str, Any]) -> None:
        self._sent = sent

    def text(self, key: str) -> str:
        value = self._sent.get(key)
        return value if isinstance(value, str) else ""

    def flag(self, key: str) -> bool | None:
        value = self._sent.get(key)
        return value if isinstance(value, bool) else None

    def number(self, key: str) -> Decimal | None:
        number = self._decimal(key)
        # A few digits can stand for millions, which nobody wants to be told.
        if number is None or (number and not -_MOST_PLACES <= number.adjusted() <= _MOST_PLACES):
            return None
        exponent = number.as_tuple().exponent
        # It is a letter for NaN and infinities, which are none by now.
        return number if isinstance(exponent, int) and exponent >= -_MOST_PLACES else None

    def count(self, key: str) -> int | None:
        number = self._decimal(key)
        if number is None or number.adjusted() > _MOST_DIGITS:
            return None
        return int(number) if number == number.to_integral_value() else None

    def _decimal(self, key: str) -> Decimal | None:
        try:
            number = Decimal(self.text(key))
        except InvalidOperation:
            return None
        return number if number.is_finite() else None

    def date(self, key: str) -> datetime.date | None:
        try:
            return datetime.date.fromisoformat(self.text(key))
        except ValueError:
            return None

    def member(self, key: str, find: Callable[[str], T | None]) -> T | None:
        return find(self.text(key).upper())


_READ: Final = {
    "option quote": ("t", "bp", "ap", "bs", "bx", "as", "ax", "c"),
    "option trade": ("t", "p", "s", "x", "c"),
    "option bar": ("t", "o", "h", "l", "c", "v", "n", "vw"),
    "greeks": Greeks.__struct_fields__,
    "option contract": ("symbol", "id", "name", "root_symbol", "underlying_symbol", "expiration_date", "type",
                        "style", "strike_price", "multiplier", "size", "status", "tradable", "open_interest",
                        "open_interest_date", "close_price", "close_price_date", "deliverables"),
}  # fmt: skip


def fields(record: str) -> frozenset[str]:
    """Return Alpaca's names of the fields that are read of a *record*; the others are passed over.

    Args:
        record: "option quote", "option trade", "option bar", "greeks" or "option contract".
    """
    return frozenset(_READ[record])
