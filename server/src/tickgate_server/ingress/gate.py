"""The gate between raw records and market values."""

from __future__ import annotations

from collections.abc import MutableMapping
from decimal import Decimal

from msgspec import Struct

from ..market.bar import Bar
from ..market.provenance import Provenance
from ..market.quote import Quote, QuoteSide
from ..market.trade import Trade
from ..market.unavailable import Reason, Refusal, Unavailable
from ..ports import Clock
from . import rules
from .records import RawBar, RawQuote, RawTrade, Receipt


class Policy(Struct, frozen=True):
    """What an operator may turn about the rules."""

    refuse_crossed: bool
    """Refuse crossed quotes; otherwise they pass and carry the flag."""

    future_tolerance: int
    """Nanoseconds that an event may be ahead of the market's time: clocks differ a little."""


class Gate:
    """Lets records in as values, or refuses them with the rule and the evidence, and counts refusals by rule."""

    def __init__(self, policy: Policy, clock: Clock, refusals: MutableMapping[str, int]) -> None:
        """Count into *refusals*, by rule."""
        self._policy = policy
        self._clock = clock
        self._refusals = refusals

    def quote(self, raw: RawQuote, asked: str, receipt: Receipt) -> Quote | Unavailable:
        """Return the quote, or why it is none. A price of zero empties its side; two empty sides are no data."""
        refusal = self._check_quote(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, f"quote of {asked}")
        bid = _side(raw.bid_price, raw.bid_size, raw.bid_exchange)
        ask = _side(raw.ask_price, raw.ask_size, raw.ask_exchange)
        if bid is None and ask is None:
            return _both_sides_empty(asked, raw.event_time)
        return Quote(
            asked, bid, ask, raw.conditions, raw.tape, _provenance(receipt, raw.event_time)
        )

    def trade(self, raw: RawTrade, asked: str, receipt: Receipt) -> Trade | Unavailable:
        """Return the trade, or why it is none."""
        refusal = (
            rules.check_symbol(raw.symbol, asked)
            or self._check_time(raw.event_time)
            or rules.check_price("price", raw.price, raw.event_time)
            or rules.check_count("size", raw.size, raw.event_time)
            or rules.check_count("id", raw.id, raw.event_time)
            or rules.check_codes("code", (raw.exchange, raw.tape, raw.amendment), raw.event_time)
            or rules.check_codes("conditions", raw.conditions, raw.event_time)
        )
        if refusal is not None:
            return self.refuse(refusal, f"trade of {asked}")
        return Trade(
            symbol=asked,
            price=raw.price,
            size=raw.size,
            exchange=raw.exchange,
            conditions=raw.conditions,
            id=raw.id,
            tape=raw.tape,
            amendment=raw.amendment,
            provenance=_provenance(receipt, raw.event_time),
        )

    def bar(self, raw: RawBar, asked: str, receipt: Receipt) -> Bar | Unavailable:
        """Return the bar, or why it is none."""
        refusal = self._check_bar(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, f"bar of {asked}")
        return Bar(
            symbol=asked,
            open=raw.open,
            high=raw.high,
            low=raw.low,
            close=raw.close,
            volume=raw.volume,
            trade_count=raw.trade_count,
            vwap=raw.vwap,
            provenance=_provenance(receipt, raw.event_time),
        )

    def refuse(self, refusal: Refusal, subject: str) -> Unavailable:
        """Count *refusal* and return what a caller is told about *subject*."""
        self.count(refusal)
        return Unavailable(
            reason=Reason.INVALID_DATA,
            message=f"{subject}: refused by rule {refusal.rule}, {refusal.evidence}",
            last_event_time=refusal.event_time,
            refusal=refusal,
        )

    def count(self, refusal: Refusal) -> None:
        """Count *refusal* where what it refused is no record: an answer that cannot be read, an entry of a list."""
        self._refusals[refusal.rule] = self._refusals.get(refusal.rule, 0) + 1

    def _check_time(self, event_time: int) -> Refusal | None:
        return rules.check_time(event_time, self._clock.market(), self._policy.future_tolerance)

    def _check_quote(self, raw: RawQuote, asked: str) -> Refusal | None:
        time = raw.event_time
        refusal = (
            rules.check_symbol(raw.symbol, asked)
            or self._check_time(time)
            or rules.check_count("bid size", raw.bid_size, time)
            or rules.check_count("ask size", raw.ask_size, time)
            or rules.check_codes("code", (raw.bid_exchange, raw.ask_exchange, raw.tape), time)
            or rules.check_codes("conditions", raw.conditions, time)
        )
        if refusal is not None:
            return refusal
        if raw.bid_price and (refusal := rules.check_price("bid", raw.bid_price, time)):
            return refusal
        if raw.ask_price and (refusal := rules.check_price("ask", raw.ask_price, time)):
            return refusal
        if raw.bid_price and raw.ask_price and self._policy.refuse_crossed:
            return rules.check_crossed(raw.bid_price, raw.ask_price, time)
        return None

    def _check_bar(self, raw: RawBar, asked: str) -> Refusal | None:
        time = raw.event_time
        prices = {"open": raw.open, "high": raw.high, "low": raw.low, "close": raw.close}
        if raw.vwap is not None:
            prices["vwap"] = raw.vwap
        refusal = rules.check_symbol(raw.symbol, asked) or self._check_time(time)
        for name, price in prices.items():
            refusal = refusal or rules.check_price(name, price, time)
        return (
            refusal
            or rules.check_count("volume", raw.volume, time)
            or rules.check_count("trade count", raw.trade_count, time)
            or rules.check_bar_order(raw.low, raw.open, raw.close, raw.high, time)
        )


def _side(price: Decimal, size: int | None, exchange: str | None) -> QuoteSide | None:
    return QuoteSide(price, size, exchange) if price else None


def _both_sides_empty(symbol: str, event_time: int) -> Unavailable:
    return Unavailable(
        reason=Reason.NO_DATA,
        message=f"{symbol}: the latest quote has no order on either side",
        last_event_time=event_time,
    )


def _provenance(receipt: Receipt, event_time: int) -> Provenance:
    return Provenance(
        receipt.source, receipt.feed, event_time, receipt.receive_time, receipt.request_id
    )
