"""Business rules: what is odd about a record that could be a market value, beside the market that it comes from.

`rules` holds what no operator can turn off. A rule of this page refuses a record, flags its value or is off, as the
operator has set it. A rule needs to remember a little of what was seen before: numbers only, of a bounded number of
symbols.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from decimal import Decimal
from enum import Enum
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from ..market.provenance import DAYTIME_FEEDS, Feed
from ..market.rule_flag import RuleFlag
from ..market.session import MarketSession, Span
from ..market.time import NANOS, format_rfc3339
from ..market.unavailable import Refusal
from .records import RawBar, RawQuote, RawTrade
from .rules import HIGHEST_PRICE

R = TypeVar("R", RawQuote, RawTrade, RawBar)

SpanAt: TypeAlias = Callable[[int], Span | None]
"""Gives the session of an instant, or None where the calendar does not know it."""

_DAY: Final = 24 * 3600 * NANOS
_DAYTIME_BREAK: Final = 3 * 3600 * NANOS
"""03:00 UTC is 22:00 or 23:00 in New York: after the last session of one day, and before midnight, where a daily bar of
the next is stamped."""

_NIGHT_BREAK: Final = 18 * 3600 * NANOS
"""18:00 UTC is 13:00 or 14:00 in New York: between two nights."""

_NEVER: Final = -(2**63)
_EMPTY: Final = Decimal(0)
"""Price of a side without an order, as in the records themselves."""


class Verdict(Enum):
    """What becomes of a record that a rule finds odd."""

    REFUSE = "refuse"
    FLAG = "flag"
    OFF = "off"


class ContextPolicy(Struct, frozen=True, kw_only=True):
    """What an operator may turn about business rules."""

    price_range: Verdict
    price_range_share: Decimal
    """How far from the last trade of the session is far, as a share of its price."""

    market_context: Verdict
    market_context_tolerance: int
    """Nanoseconds before the first and after the last session of a day that still belong to it."""

    volume_pattern: Verdict
    volume_pattern_size: int
    """Shares of one quote or trade from which on a size is absurd."""

    consistency: Verdict
    consistency_share: Decimal
    """How far outside of a quote a trade is far, as a share of the nearer side's price."""

    consistency_window: int
    """Nanoseconds between a trade and a quote that are still the same instant."""


class _Yardstick(Struct, frozen=True, gc=False):
    """A price, and how far from it others may be."""

    price: Decimal
    low: Decimal
    high: Decimal


class _Seen:
    """What was last seen of one symbol on one feed."""

    # Written to with every record, which slots take three times as fast as a Struct.
    __slots__ = (
        "ask",
        "bid",
        "day_break",
        "day_end",
        "day_start",
        "doubt",
        "doubted_time",
        "keeps_hours",
        "near_high",
        "near_low",
        "quote_time",
        "trade_price",
        "trade_time",
        "yardstick",
    )

    def __init__(self, feed: Feed) -> None:
        self.keeps_hours = feed in DAYTIME_FEEDS
        self.day_break = _DAYTIME_BREAK if self.keeps_hours else _NIGHT_BREAK
        self.quote_time = _NEVER
        self.bid = self.ask = _EMPTY
        self.trade_time = _NEVER
        self.trade_price = _EMPTY
        # The last trade, and the day of which it is the measure.
        self.yardstick: _Yardstick | None = None
        self.day_start = self.day_end = 0
        # Prices that are near the last trade; all are while there is none.
        self.near_low, self.near_high = _EMPTY, HIGHEST_PRICE
        # A trade far from the yardstick, which takes its place once another trade stands by it.
        self.doubt: _Yardstick | None = None
        self.doubted_time = _NEVER


_Check: TypeAlias = Callable[[R, _Seen], str | None]
"""Returns what is odd about a record, or None when nothing is."""

_Checks: TypeAlias = tuple[tuple[str, Verdict, _Check[R]], ...]

Odd: TypeAlias = tuple[RuleFlag, ...] | Refusal
"""What the rules say of a record: flags, for almost every record none, or why it is refused."""


class Context:
    """Judges records beside the session that they fall into and beside what was seen of their symbol before.

    What a rule finds odd is not used to judge others.
    """

    def __init__(
        self,
        policy: ContextPolicy,
        span_at: SpanAt,
        flagged: MutableMapping[str, int],
        *,
        capacity: int = 20_000,
    ) -> None:
        """Judge by *policy*.

        Args:
            policy: verdicts and thresholds.
            span_at: the market's calendar.
            flagged: where flags are counted, by rule.
            capacity: symbols of each feed of which something is remembered; the one seen first makes room.
        """
        self._policy = policy
        self._span_at = span_at
        self._flagged = flagged
        self._capacity = capacity
        self._absurd_size = policy.volume_pattern_size
        # Half of what is far by either rule, and at most half of the price: a quote that is so near a trade is not far
        # from it by any rule, nor the trade far from the quote.
        self._near = min(policy.price_range_share, policy.consistency_share, Decimal(1)) / 2
        self._seen: dict[Feed, dict[str, _Seen]] = {feed: {} for feed in Feed}
        # Nearly every record falls into the same session as the one before.
        self._trading_from, self._trading_to = 0, -1

        context, volume = policy.market_context, policy.volume_pattern
        price, consistency = policy.price_range, policy.consistency
        self._of_quotes: _Checks[RawQuote] = _active(
            ("market_context", context, self._outside_of_sessions),
            ("volume_pattern", volume, self._quoted_sizes),
            ("price_range", price, self._quoted_prices),
            ("consistency", consistency, self._quote_beside_trade),
        )
        self._of_trades: _Checks[RawTrade] = _active(
            ("market_context", context, self._outside_of_sessions),
            ("volume_pattern", volume, self._traded_size),
            ("price_range", price, self._traded_price),
            ("consistency", consistency, self._trade_beside_quote),
        )
        self._of_bars: _Checks[RawBar] = _active(
            ("market_context", context, self._outside_of_sessions),
            ("volume_pattern", volume, self._bar_volume),
            ("price_range", price, self._bar_prices),
        )
        self._of_daily_bars: _Checks[RawBar] = _active(
            ("volume_pattern", volume, self._bar_volume),
            ("price_range", price, self._bar_prices),
        )

    def quote(self, raw: RawQuote, feed: Feed) -> Odd:
        """Judge a quote with at least one side."""
        seen = self._seen[feed].get(raw.symbol) or self._first(feed, raw.symbol)
        odd: Odd = ()
        if not self._is_ordinary_quote(raw, seen):
            odd = self._judge(raw, seen, self._of_quotes)
        if not odd and raw.event_time >= seen.quote_time:
            seen.quote_time, seen.bid, seen.ask = raw.event_time, raw.bid_price, raw.ask_price
        return odd

    def trade(self, raw: RawTrade, feed: Feed) -> Odd:
        """Judge a trade."""
        seen = self._seen[feed].get(raw.symbol) or self._first(feed, raw.symbol)
        odd = self._judge(raw, seen, self._of_trades)
        # What was amended later is no longer what happened.
        if not odd and raw.amendment is None and raw.event_time >= seen.trade_time:
            self._remember(raw, seen)
        return odd

    def bar(self, raw: RawBar, feed: Feed) -> Odd:
        """Judge a bar shorter than a day."""
        return self._judge_bar(raw, feed, self._of_bars)

    def daily_bar(self, raw: RawBar, feed: Feed) -> Odd:
        """Judge a bar of a day or longer: it is stamped at midnight, when no market trades."""
        return self._judge_bar(raw, feed, self._of_daily_bars)

    def clear(self) -> None:
        """Forget everything that was seen: somebody set the clock of a replay back."""
        for symbols in self._seen.values():
            symbols.clear()
        self._trading_from, self._trading_to = 0, -1

    def _first(self, feed: Feed, symbol: str) -> _Seen:
        symbols = self._seen[feed]
        symbols[symbol] = seen = _Seen(feed)
        if len(symbols) > self._capacity:
            del symbols[next(iter(symbols))]
        return seen

    def _is_ordinary_quote(self, raw: RawQuote, seen: _Seen) -> bool:
        """Tell whether no rule, even one that is off, finds *raw* odd, at a fraction of the rules' cost.

        False says nothing: then the rules decide.
        """
        return (
            self._trading_from <= raw.event_time <= self._trading_to
            and (raw.bid_size or 0) < self._absurd_size
            and (raw.ask_size or 0) < self._absurd_size
            and seen.near_low <= raw.bid_price <= raw.ask_price <= seen.near_high
        )

    def _judge_bar(self, raw: RawBar, feed: Feed, checks: _Checks[RawBar]) -> Odd:
        seen = self._seen[feed].get(raw.symbol) or self._first(feed, raw.symbol)
        return self._judge(raw, seen, checks)

    def _judge(self, raw: R, seen: _Seen, checks: _Checks[R]) -> Odd:
        flags: tuple[RuleFlag, ...] = ()
        refusal: Refusal | None = None
        for rule, verdict, check in checks:
            evidence = check(raw, seen)
            if evidence is None:
                continue
            if verdict is Verdict.FLAG:
                flags += (RuleFlag(rule, evidence),)
            elif refusal is None:
                refusal = Refusal(rule, evidence, raw.event_time)
        if refusal is not None:
            return refusal
        for flag in flags:
            self._flagged[flag.rule] = self._flagged.get(flag.rule, 0) + 1
        return flags

    def _remember(self, raw: RawTrade, seen: _Seen) -> None:
        seen.trade_time, seen.trade_price = raw.event_time, raw.price
        if not seen.day_start <= raw.event_time < seen.day_end:
            days = (raw.event_time - seen.day_break) // _DAY
            seen.day_start = days * _DAY + seen.day_break
            seen.day_end = seen.day_start + _DAY
        seen.yardstick, seen.doubt = self._yardstick(raw.price), None
        reach = raw.price * self._near
        seen.near_low, seen.near_high = raw.price - reach, raw.price + reach

    def _yardstick(self, price: Decimal) -> _Yardstick:
        reach = price * self._policy.price_range_share
        return _Yardstick(price, price - reach, price + reach)

    # ------------------------------------------------------------------------ market_context

    def _outside_of_sessions(self, raw: RawQuote | RawTrade | RawBar, seen: _Seen) -> str | None:
        instant = raw.event_time
        if self._trading_from <= instant <= self._trading_to or not seen.keeps_hours:
            return None
        span = self._span_at(instant)
        if span is None:
            return None
        tolerance = self._policy.market_context_tolerance
        if span.session is not MarketSession.CLOSED:
            self._trading_from, self._trading_to = span.start - tolerance, span.end + tolerance
            return None
        if instant <= span.start + tolerance or instant >= span.end - tolerance:
            return None
        return (
            f"stamped {format_rfc3339(instant)}, when no session is on: the last ended at"
            f" {format_rfc3339(span.start)}, the next begins at {format_rfc3339(span.end)}"
        )

    # ------------------------------------------------------------------------ volume_pattern

    def _quoted_sizes(self, raw: RawQuote, _: _Seen) -> str | None:
        limit = self._policy.volume_pattern_size
        if (raw.bid_size or 0) >= limit:
            return f"bid size {raw.bid_size} is not below {limit}"
        if (raw.ask_size or 0) >= limit:
            return f"ask size {raw.ask_size} is not below {limit}"
        return None

    def _traded_size(self, raw: RawTrade, _: _Seen) -> str | None:
        limit = self._policy.volume_pattern_size
        return f"size {raw.size} is not below {limit}" if (raw.size or 0) >= limit else None

    def _bar_volume(self, raw: RawBar, _: _Seen) -> str | None:
        if not raw.trade_count or raw.volume != 0:
            return None
        return f"{raw.trade_count} trades and a volume of 0"

    # ------------------------------------------------------------------------ price_range

    def _quoted_prices(self, raw: RawQuote, seen: _Seen) -> str | None:
        yardstick = _yardstick_for(raw, seen)
        if yardstick is None:
            return None
        if yardstick.low <= raw.bid_price <= raw.ask_price <= yardstick.high:
            return None
        return _far("bid", raw.bid_price, yardstick) or _far("ask", raw.ask_price, yardstick)

    def _traded_price(self, raw: RawTrade, seen: _Seen) -> str | None:
        yardstick = _yardstick_for(raw, seen)
        if yardstick is None:
            return None
        evidence = _far("price", raw.price, yardstick)
        if evidence is None or raw.amendment is not None:
            return evidence
        # The price may really have jumped: then the next trade will stand by this one. The same trade, sent again, is
        # no second witness.
        if raw.event_time > seen.doubted_time:
            if seen.doubt is not None and _far("price", raw.price, seen.doubt) is None:
                return None
            seen.doubt, seen.doubted_time = self._yardstick(raw.price), raw.event_time
        return evidence

    def _bar_prices(self, raw: RawBar, seen: _Seen) -> str | None:
        yardstick = _yardstick_for(raw, seen)
        if yardstick is None:
            return None
        # Open and close lie between these two.
        return _far("low", raw.low, yardstick) or _far("high", raw.high, yardstick)

    # ------------------------------------------------------------------------ consistency

    def _quote_beside_trade(self, raw: RawQuote, seen: _Seen) -> str | None:
        if raw.bid_price <= seen.trade_price <= raw.ask_price:
            return None
        return self._outside_of_quote(
            seen.trade_price, raw.bid_price, raw.ask_price, raw.event_time - seen.trade_time
        )

    def _trade_beside_quote(self, raw: RawTrade, seen: _Seen) -> str | None:
        if seen.bid <= raw.price <= seen.ask:
            return None
        return self._outside_of_quote(
            raw.price, seen.bid, seen.ask, raw.event_time - seen.quote_time
        )

    def _outside_of_quote(
        self, price: Decimal, bid: Decimal, ask: Decimal, apart: int
    ) -> str | None:
        if abs(apart) > self._policy.consistency_window or bid > ask > 0:
            # Nothing is inside or outside of a crossed quote.
            return None
        share = self._policy.consistency_share
        if price < bid - bid * share:
            where = f"{_percent(price, bid)} below the bid, {bid:f}"
        elif ask and price > ask + ask * share:
            where = f"{_percent(price, ask)} above the ask, {ask:f}"
        else:
            return None
        return f"trade {price:f}, {abs(apart) / NANOS:.3f} s apart, is {where}"


def _active(*rules: tuple[str, Verdict, _Check[R]]) -> _Checks[R]:
    return tuple(rule for rule in rules if rule[1] is not Verdict.OFF)


def _yardstick_for(raw: RawQuote | RawTrade | RawBar, seen: _Seen) -> _Yardstick | None:
    return seen.yardstick if seen.day_start <= raw.event_time < seen.day_end else None


def _far(name: str, price: Decimal, yardstick: _Yardstick) -> str | None:
    if not price or yardstick.low <= price <= yardstick.high:
        return None
    where = "below" if price < yardstick.low else "above"
    share = _percent(price, yardstick.price)
    return f"{name} {price:f} is {share} {where} the last trade, {yardstick.price:f}"


def _percent(price: Decimal, base: Decimal) -> str:
    return f"{abs(price / base - 1) * 100:.1f} %"
