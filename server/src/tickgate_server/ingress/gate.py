"""The gate between raw records and market values."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from msgspec import Struct

from ..market.bar import Bar
from ..market.live import (
    CorrectedTrade,
    PriceBands,
    TradeCancellation,
    TradeCorrection,
    TradingStatus,
)
from ..market.provenance import Feed, Provenance
from ..market.quote import Quote, QuoteSide
from ..market.time import format_rfc3339
from ..market.trade import Trade
from ..market.unavailable import Reason, Refusal, Unavailable
from ..observe.buckets import Buckets
from ..ports import Clock, ErrorEntry
from . import rules
from .context import Context, Odd
from .records import (
    UNDATED,
    RawBands,
    RawBar,
    RawCancellation,
    RawCorrection,
    RawExecution,
    RawQuote,
    RawStatus,
    RawTrade,
    Receipt,
    stamp_of,
)

_MOST_NOTED: Final = 20
"""Refusals of one answer that are noted. A list gone bad would otherwise push all other evidence out of the log."""

_MOST_ORDINARY: Final = 10_000
"""Combinations of codes that are remembered to be in order. A market has some twenty venues and a dozen conditions."""

_LOWEST_ORDINARY: Final = Decimal("0.000001")
"""Price from which on its text shows all of its decimals: below, it may be written with an exponent."""

_Codes: TypeAlias = tuple[str | None, str | None, str | None, tuple[str, ...]]
"""Venues of bid and ask, tape and conditions of a quote."""


NO_BOUND: Final = 2**62
"""Nanoseconds beyond all time, a hundred and forty-six years."""


class Policy(Struct, frozen=True):
    """What an operator may turn about the rules."""

    refuse_crossed: bool
    """Refuse crossed quotes; otherwise they pass and carry the flag."""

    future_tolerance: int
    """Nanoseconds that an event may be ahead of the market's time: clocks differ a little."""

    past_tolerance: int = NO_BOUND
    """Nanoseconds that an event may lie behind the market's time. The latest value of a symbol may be years old; what a
    live feed brings has just happened."""


class Gate:
    """Lets records in as values, or refuses them with the rule and the evidence, and counts refusals by rule."""

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        refusals: MutableMapping[str, int],
        *,
        context: Context | None = None,
        note: Callable[[ErrorEntry], None] | None = None,
        parsing: Buckets | None = None,
    ) -> None:
        """Judge each record by itself, by *policy*, and then beside its market.

        Args:
            policy: what may be turned about the rules that always hold.
            clock: stamps what is noted and knows the market's time.
            refusals: where refusals are counted, by rule.
            context: the business rules; None has none.
            note: keeps refusals as evidence; None keeps nothing.
            parsing: where the seconds are counted that it takes to read and judge an answer.
        """
        self.parsing = parsing or Buckets()
        self._policy = policy
        self._clock = clock
        self._refusals = refusals
        self._context = context
        self._note = note
        self._ordinary_codes: set[_Codes] = set()

    def quote(self, raw: RawQuote, asked: str, receipt: Receipt) -> Quote | Unavailable:
        """Return the quote, or why it is none. A price of zero empties its side; two empty sides are no data."""
        if not self._is_ordinary_quote(raw, asked):
            refusal = self._check_quote(raw, asked)
            if refusal is not None:
                return self.refuse(refusal, "quote", asked, receipt)
        bid = _side(raw.bid_price, raw.bid_size, raw.bid_exchange)
        ask = _side(raw.ask_price, raw.ask_size, raw.ask_exchange)
        if bid is None and ask is None:
            return _both_sides_empty(asked, raw.event_time)
        odd = () if self._context is None else self._context.quote(raw, receipt.feed)
        if isinstance(odd, Refusal):
            return self._violation(odd, "quote", asked, receipt)
        return Quote(
            asked, bid, ask, raw.conditions, raw.tape, provenance_of(receipt, raw.event_time), odd
        )

    def trade(self, raw: RawTrade, asked: str, receipt: Receipt) -> Trade | Unavailable:
        """Return the trade, or why it is none."""
        refusal = self.check_trade(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, "trade", asked, receipt)
        odd = () if self._context is None else self._context.trade(raw, receipt.feed)
        if isinstance(odd, Refusal):
            return self._violation(odd, "trade", asked, receipt)
        return Trade(
            symbol=asked,
            price=raw.price,
            size=raw.size,
            exchange=raw.exchange,
            conditions=raw.conditions,
            id=raw.id,
            tape=raw.tape,
            amendment=raw.amendment,
            provenance=provenance_of(receipt, raw.event_time),
            rule_flags=odd,
        )

    def bar(self, raw: RawBar, asked: str, receipt: Receipt) -> Bar | Unavailable:
        """Return a bar shorter than a day, or why it is none."""
        return self._bar(raw, asked, receipt, daily=False)

    def daily_bar(self, raw: RawBar, asked: str, receipt: Receipt) -> Bar | Unavailable:
        """Return a bar of a day or longer, or why it is none."""
        return self._bar(raw, asked, receipt, daily=True)

    def trade_correction(
        self, raw: RawCorrection, asked: str, receipt: Receipt
    ) -> TradeCorrection | Unavailable:
        """Return the correction of a trade, or why it is none."""
        refusal = self._check_correction(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, "trade correction", asked, receipt)
        return TradeCorrection(
            symbol=asked,
            original=_corrected(raw.original),
            corrected=_corrected(raw.corrected),
            exchange=raw.exchange,
            tape=raw.tape,
            provenance=provenance_of(receipt, raw.event_time),
        )

    def trade_cancellation(
        self, raw: RawCancellation, asked: str, receipt: Receipt
    ) -> TradeCancellation | Unavailable:
        """Return the cancellation of a trade, or why it is none."""
        refusal = self._check_cancellation(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, "trade cancellation", asked, receipt)
        return TradeCancellation(
            symbol=asked,
            id=raw.id,
            price=raw.price,
            size=raw.size,
            exchange=raw.exchange,
            action=raw.action or "",
            tape=raw.tape,
            provenance=provenance_of(receipt, raw.event_time),
        )

    def trading_status(
        self, raw: RawStatus, asked: str, receipt: Receipt
    ) -> TradingStatus | Unavailable:
        """Return the trading status, or why it is none."""
        refusal = self._check_status(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, "trading status", asked, receipt)
        return TradingStatus(
            symbol=asked,
            status_code=raw.status_code,
            status_message=raw.status_message or "",
            reason_code=raw.reason_code or "",
            reason_message=raw.reason_message or "",
            tape=raw.tape,
            provenance=provenance_of(receipt, raw.event_time),
        )

    def price_bands(self, raw: RawBands, asked: str, receipt: Receipt) -> PriceBands | Unavailable:
        """Return the price bands, or why they are none. A limit of zero is no limit."""
        refusal = self._check_bands(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, "price bands", asked, receipt)
        return PriceBands(
            symbol=asked,
            limit_up=raw.limit_up or None,
            limit_down=raw.limit_down or None,
            indicator=raw.indicator or "",
            tape=raw.tape,
            provenance=provenance_of(receipt, raw.event_time),
        )

    def refuse(self, refusal: Refusal, what: str, symbol: str, receipt: Receipt) -> Unavailable:
        """Count and note the *refusal* of a record, and return what a caller is told.

        Args:
            refusal: the rule and the evidence.
            what: kind of the record, such as "quote".
            symbol: whose record was asked for.
            receipt: origin of the record.
        """
        return self._refuse(refusal, Reason.INVALID_DATA, what, symbol, receipt)

    def refuse_past(
        self, refusal: Refusal, what: str, symbol: str, feed: Feed | None, request_id: str
    ) -> Unavailable:
        """Count and note the *refusal* of a record of the past, which may be of no feed, and return what is told.

        Args:
            refusal: the rule and the evidence.
            what: kind of the record, such as "bar".
            symbol: whose record was asked for.
            feed: of the series; None for options, whose past is of no feed.
            request_id: the upstream's id of the answer.
        """
        return self._refuse_of(refusal, Reason.INVALID_DATA, what, symbol, feed, request_id)

    def refuse_terms(self, refusal: Refusal, symbol: str, request_id: str) -> Unavailable:
        """Count and note the *refusal* of a contract's terms, which are of no feed, and return what a caller is told.

        Args:
            refusal: the rule and the evidence.
            symbol: the contract.
            request_id: the upstream's id of the answer.
        """
        self._count(refusal)
        message = f"contract {symbol}: {_said(refusal)}"
        self._keep(
            refusal, Reason.INVALID_DATA, message, request_id, subject="contract", symbol=symbol
        )
        return Unavailable(reason=Reason.INVALID_DATA, message=message, refusal=refusal)

    def refuse_answer(self, refusals: Sequence[Refusal], what: str, request_id: str) -> None:
        """Count and note *refusals* of what is no symbol's record: an answer that cannot be read, entries of a list.

        Args:
            refusals: the rules and the evidence.
            what: what the answer is, such as "calendar".
            request_id: the upstream's id of the answer.
        """
        for number, refusal in enumerate(refusals):
            self._count(refusal)
            if number < _MOST_NOTED:
                message = f"{what}: {_said(refusal)}"
                self._keep(refusal, Reason.INVALID_DATA, message, request_id, subject=what)

    def _bar(self, raw: RawBar, asked: str, receipt: Receipt, *, daily: bool) -> Bar | Unavailable:
        refusal = self.check_bar(raw, asked)
        if refusal is not None:
            return self.refuse(refusal, "bar", asked, receipt)
        odd: Odd = ()
        if self._context is not None:
            judge = self._context.daily_bar if daily else self._context.bar
            odd = judge(raw, receipt.feed)
        if isinstance(odd, Refusal):
            return self._violation(odd, "bar", asked, receipt)
        return Bar(
            symbol=asked,
            open=raw.open,
            high=raw.high,
            low=raw.low,
            close=raw.close,
            volume=raw.volume,
            trade_count=raw.trade_count,
            vwap=raw.vwap,
            provenance=provenance_of(receipt, raw.event_time),
            rule_flags=odd,
        )

    def _violation(self, refusal: Refusal, what: str, symbol: str, receipt: Receipt) -> Unavailable:
        return self._refuse(refusal, Reason.RULE_VIOLATION, what, symbol, receipt)

    def _refuse(
        self, refusal: Refusal, reason: Reason, what: str, symbol: str, receipt: Receipt
    ) -> Unavailable:
        return self._refuse_of(refusal, reason, what, symbol, receipt.feed, receipt.request_id)

    def _refuse_of(
        self,
        refusal: Refusal,
        reason: Reason,
        what: str,
        symbol: str,
        feed: Feed | None,
        request_id: str,
    ) -> Unavailable:
        self._count(refusal)
        message = f"{what} of {symbol}: {_said(refusal)}"
        known = {"subject": what, "symbol": symbol} | ({} if feed is None else {"feed": feed.value})
        self._keep(refusal, reason, message, request_id, **known)
        return Unavailable(
            reason=reason,
            message=message,
            last_event_time=_stamp(refusal),
            refusal=refusal,
        )

    def _count(self, refusal: Refusal) -> None:
        self._refusals[refusal.rule] = self._refusals.get(refusal.rule, 0) + 1

    def _keep(
        self, refusal: Refusal, reason: Reason, message: str, request_id: str, **known: Any
    ) -> None:
        if self._note is None:
            return
        context = {"origin": "record", "rule": refusal.rule, "evidence": refusal.evidence, **known}
        if (stamp := _stamp(refusal)) is not None:
            # As text: readers of JSON take numbers for doubles, which do not hold nanoseconds.
            context["event_time"] = format_rfc3339(stamp)
        self._note(ErrorEntry(self._clock.wall(), request_id, reason.name, message, context))

    def check_time(self, event_time: int) -> Refusal | None:
        """Return what is wrong with the stamp of a record, nanoseconds, if anything; with none nothing is."""
        if event_time == UNDATED:
            return None
        now, policy = self._clock.market(), self._policy
        return rules.check_time(event_time, now, policy.future_tolerance) or rules.check_past(
            event_time, now, policy.past_tolerance
        )

    def _is_ordinary_quote(self, raw: RawQuote, asked: str) -> bool:
        """Tell whether no rule can refuse *raw*, as is true of nearly every quote, at a fraction of the rules' cost.

        False says nothing: then the rules decide.
        """
        now, policy = self._clock.market(), self._policy
        bid, ask = raw.bid_price, raw.ask_price
        codes = (raw.bid_exchange, raw.ask_exchange, raw.tape, raw.conditions)
        return (
            raw.symbol == asked
            and now - policy.past_tolerance <= raw.event_time <= now + policy.future_tolerance
            and _LOWEST_ORDINARY <= bid <= ask < rules.HIGHEST_PRICE
            and len(str(bid)) <= rules.MOST_DECIMALS
            and len(str(ask)) <= rules.MOST_DECIMALS
            and 0 <= (raw.bid_size or 0) <= rules.LARGEST_COUNT
            and 0 <= (raw.ask_size or 0) <= rules.LARGEST_COUNT
            and (codes in self._ordinary_codes or self._are_ordinary(codes))
        )

    def _are_ordinary(self, codes: _Codes) -> bool:
        *single, conditions = codes
        if rules.check_codes("code", single, 0) or rules.check_codes("conditions", conditions, 0):
            return False
        if len(self._ordinary_codes) < _MOST_ORDINARY:
            self._ordinary_codes.add(codes)
        return True

    def check_quote(self, raw: RawQuote, asked: str) -> Refusal | None:
        """Return what is wrong with a quote by the rules that always hold, if anything. Counts and notes nothing.

        Whether a crossed quote is wrong is for others to say.
        """
        time = raw.event_time
        refusal = (
            rules.check_symbol(raw.symbol, asked)
            or self.check_time(time)
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
        return None

    def _check_quote(self, raw: RawQuote, asked: str) -> Refusal | None:
        refusal = self.check_quote(raw, asked)
        if refusal is None and raw.bid_price and raw.ask_price and self._policy.refuse_crossed:
            return rules.check_crossed(raw.bid_price, raw.ask_price, raw.event_time)
        return refusal

    def check_trade(self, raw: RawTrade, asked: str) -> Refusal | None:
        """Return what is wrong with a trade by the rules that always hold, if anything. Counts and notes nothing."""
        time = raw.event_time
        return (
            rules.check_symbol(raw.symbol, asked)
            or self.check_time(time)
            or rules.check_price("price", raw.price, time)
            or rules.check_count("size", raw.size, time)
            or rules.check_count("id", raw.id, time)
            or rules.check_codes("code", (raw.exchange, raw.tape, raw.amendment), time)
            or rules.check_codes("conditions", raw.conditions, time)
        )

    def check_bar(self, raw: RawBar, asked: str) -> Refusal | None:
        """Return what is wrong with a bar by the rules that always hold, if anything. Counts and notes nothing."""
        time = raw.event_time
        prices = {"open": raw.open, "high": raw.high, "low": raw.low, "close": raw.close}
        if raw.vwap is not None:
            prices["vwap"] = raw.vwap
        refusal = rules.check_symbol(raw.symbol, asked) or self.check_time(time)
        for name, price in prices.items():
            refusal = refusal or rules.check_price(name, price, time)
        return (
            refusal
            or rules.check_count("volume", raw.volume, time)
            or rules.check_count("trade count", raw.trade_count, time)
            or rules.check_bar_order(raw.low, raw.open, raw.close, raw.high, time)
        )

    def _check_correction(self, raw: RawCorrection, asked: str) -> Refusal | None:
        time = raw.event_time
        return (
            rules.check_symbol(raw.symbol, asked)
            or self.check_time(time)
            or _check_execution("original", raw.original, time)
            or _check_execution("corrected", raw.corrected, time)
            or rules.check_codes("code", (raw.exchange, raw.tape), time)
        )

    def _check_cancellation(self, raw: RawCancellation, asked: str) -> Refusal | None:
        time = raw.event_time
        return (
            rules.check_symbol(raw.symbol, asked)
            or self.check_time(time)
            or rules.check_price("price", raw.price, time)
            or rules.check_count("size", raw.size, time)
            or rules.check_count("id", raw.id, time)
            or rules.check_codes("code", (raw.exchange, raw.action, raw.tape), time)
        )

    def _check_status(self, raw: RawStatus, asked: str) -> Refusal | None:
        time = raw.event_time
        return (
            rules.check_symbol(raw.symbol, asked)
            or self.check_time(time)
            or rules.check_codes("code", (raw.status_code, raw.reason_code, raw.tape), time)
            or rules.check_text("status", raw.status_message, time)
            or rules.check_text("reason", raw.reason_message, time)
        )

    def _check_bands(self, raw: RawBands, asked: str) -> Refusal | None:
        time = raw.event_time
        refusal = (
            rules.check_symbol(raw.symbol, asked)
            or self.check_time(time)
            or rules.check_codes("code", (raw.indicator, raw.tape), time)
        )
        if refusal is not None:
            return refusal
        if raw.limit_down and (refusal := rules.check_price("limit down", raw.limit_down, time)):
            return refusal
        if raw.limit_up and (refusal := rules.check_price("limit up", raw.limit_up, time)):
            return refusal
        if raw.limit_down and raw.limit_up:
            return rules.check_band_order(raw.limit_down, raw.limit_up, time)
        return None


def _check_execution(name: str, raw: RawExecution, time: int) -> Refusal | None:
    return (
        rules.check_price(f"{name} price", raw.price, time)
        or rules.check_count(f"{name} size", raw.size, time)
        or rules.check_count(f"{name} id", raw.id, time)
        or rules.check_codes("conditions", raw.conditions, time)
    )


def _corrected(raw: RawExecution) -> CorrectedTrade:
    return CorrectedTrade(raw.id, raw.price, raw.size, raw.conditions)


def _stamp(refusal: Refusal) -> int | None:
    return None if refusal.event_time is None else stamp_of(refusal.event_time)


def _said(refusal: Refusal) -> str:
    return f"refused by rule {refusal.rule}, {refusal.evidence}"


def _side(price: Decimal, size: int | None, exchange: str | None) -> QuoteSide | None:
    return QuoteSide(price, size, exchange) if price else None


def _both_sides_empty(symbol: str, event_time: int) -> Unavailable:
    return Unavailable(
        reason=Reason.NO_DATA,
        message=f"{symbol}: the latest quote has no order on either side",
        last_event_time=stamp_of(event_time),
    )


def provenance_of(receipt: Receipt, event_time: int) -> Provenance:
    """Return the origin of a value of *receipt* that is stamped *event_time*."""
    return Provenance(
        receipt.source,
        receipt.feed,
        stamp_of(event_time),
        receipt.receive_time,
        receipt.request_id,
    )
