"""When the market trades."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from .provenance import Provenance


class MarketSession(StrEnum):
    """Phase of the US stock market."""

    OPEN = "open"
    CLOSED = "closed"
    PRE_MARKET = "pre_market"
    AFTER_HOURS = "after_hours"


class TradingDay(Struct, frozen=True, gc=False):
    """Edges of one day's sessions, nanoseconds."""

    date: datetime.date
    """The day, in New York."""

    pre_market_open: int | None
    open: int
    close: int
    after_hours_close: int | None
    settlement_date: datetime.date | None


class ClockReading(Struct, frozen=True, gc=False):
    """What the upstream's clock said."""

    market_time: int
    """Now, for the market, nanoseconds."""

    is_open: bool
    next_open: int
    next_close: int
    speed: float
    """Seconds of market time in a second; 1 unless a replay says otherwise, 0 when it stands still."""

    provenance: Provenance
    first_day: datetime.date | None = None
    """The first day of which a sandbox has history; None where nothing is said."""


class MarketNow(Struct, frozen=True, gc=False):
    """The market's time and what comes next, nanoseconds."""

    market_time: int
    session: MarketSession | None
    """None when the calendar is not known."""

    next_open: int
    next_close: int
    provenance: Provenance
    """Origin of the clock reading that the time is counted on from."""


class Span(Struct, frozen=True, gc=False):
    """A session from its first nanosecond up to its end, which belongs to the next."""

    session: MarketSession
    start: int
    end: int


class Calendar:
    """The trading days that are known, and the session of any instant between the first and the last of them."""

    def __init__(self, days: Sequence[TradingDay], provenance: Provenance) -> None:
        """Keep *days*, which must be in order and not overlap."""
        self.days = tuple(days)
        self.provenance = provenance
        edges = [edge for day in days for edge in _edges_of(day)]
        self._starts = [start for start, _ in edges]
        # Nobody knows when the session of the last edge ends.
        self._spans = [Span(session, start, end) for (start, session), (end, _) in pairwise(edges)]
        self._opens = [day.open for day in days]
        self._closes = [day.close for day in days]
        self._dates = [day.date for day in days]

    def span_at(self, instant: int) -> Span | None:
        """Return the session that *instant* falls into, or None outside of what is known."""
        index = bisect_right(self._starts, instant) - 1
        return self._spans[index] if 0 <= index < len(self._spans) else None

    def session_at(self, instant: int) -> tuple[MarketSession, int] | None:
        """Return the session at *instant* and when it ends, or None outside of what is known."""
        span = self.span_at(instant)
        return None if span is None else (span.session, span.end)

    def next_open(self, instant: int) -> int | None:
        """Return the first start of core trading after *instant*, or None when it is not known."""
        return _first_after(instant, self._opens)

    def next_close(self, instant: int) -> int | None:
        """Return the first end of core trading after *instant*, or None when it is not known."""
        return _first_after(instant, self._closes)

    def last_day(self, date: datetime.date) -> TradingDay | None:
        """Return the last trading day up to and with *date*, or None when the days up to it are not known."""
        if not self.days or date > self.days[-1].date:
            # Days after the last one that is known may be trading days too.
            return None
        index = bisect_right(self._dates, date) - 1
        return self.days[index] if index >= 0 else None

    def between(self, start: datetime.date, end: datetime.date) -> tuple[TradingDay, ...]:
        """Return the trading days from *start* up to and without *end*."""
        return tuple(day for day in self.days if start <= day.date < end)


def joined(calendars: Sequence[Calendar]) -> Calendar:
    """Return one calendar of consecutive *calendars*, as old as the oldest of them. At least one is needed."""
    if len(calendars) == 1:
        return calendars[0]
    oldest = min(calendars, key=lambda calendar: calendar.provenance.receive_time)
    return Calendar([day for calendar in calendars for day in calendar.days], oldest.provenance)


def _first_after(instant: int, times: list[int]) -> int | None:
    index = bisect_right(times, instant)
    return times[index] if index < len(times) else None


def _edges_of(day: TradingDay) -> Iterator[tuple[int, MarketSession]]:
    """Yield when each session of *day* begins, closure included."""
    if day.pre_market_open is not None:
        yield day.pre_market_open, MarketSession.PRE_MARKET
    yield day.open, MarketSession.OPEN
    if day.after_hours_close is not None:
        yield day.close, MarketSession.AFTER_HOURS
    yield day.after_hours_close or day.close, MarketSession.CLOSED
