"""The past of the made-up market: the same walks that its latest values come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import compress, islice
from operator import mul
from typing import Final

from ..bars import Prices, Totals
from ..calendar import ExchangeCalendar, Session
from ..market import Due
from ..synthetic import Columns, SyntheticMarket, dollars
from ..timestamps import MINUTE, new_york, new_york_date
from .combine import combine
from .past import BarForm, TickKind
from .span import Span
from .timeframe import ONE_DAY, ONE_MINUTE, Timeframe

FIRST_DAY: Final = date(2024, 1, 2)
"""The first day of made-up history; there is nothing to adjust in it, so every adjustment is raw."""

_WALKED_DAYS = 8
"""Days whose walks are kept: those of a page, and the first of the next one."""
_KEPT_DAYS = 260
"""Days whose minute bars are kept: a year of one share, some 50 MB."""


class SyntheticPast:
    """Bars, trades and quotes of the made-up shares, drawn when they are asked for."""

    def __init__(self, market: SyntheticMarket, calendar: ExchangeCalendar) -> None:
        """Answer from *market* in the sessions of *calendar*."""
        self._market = market
        self._calendar = calendar
        # The sums of a day are quick where each minute has the same number of steps.
        self._even = not MINUTE % market.step
        self._drawn = lru_cache(maxsize=_WALKED_DAYS)(market.draw)
        self._minutes = lru_cache(maxsize=_KEPT_DAYS)(self._add_up_minutes)
        self._days: dict[tuple[str, date], Due | None] = {}

    @property
    def first_day(self) -> date:
        """The first day of made-up history."""
        return FIRST_DAY

    async def load(self, symbols: Iterable[str]) -> None:
        """Do nothing: days are drawn when they are asked for."""

    def ticks(self, kind: TickKind, symbol: str, span: Span) -> list[Due]:
        """Return the trades or quotes of *symbol* in *span*, in its order."""
        return list(islice(self._ticks(kind, symbol, span), span.count))

    def bars(self, form: BarForm, symbol: str, span: Span, now: int) -> list[Due]:
        """Return the bars of *symbol* that begin in *span*, in its order, as they are at *now*."""
        return list(islice(self._bars(form.timeframe, symbol, span, now), span.count))

    def _ticks(self, kind: TickKind, symbol: str, span: Span) -> Iterator[Due]:
        for session in self._sessions(symbol, span):
            drawn = self._drawn(symbol, session).due(kind, span.start, span.end + 1)
            yield from reversed(list(drawn)) if span.newest_first else drawn

    def _bars(self, timeframe: Timeframe, symbol: str, span: Span, now: int) -> Iterator[Due]:
        if timeframe == ONE_DAY:
            found = self._daily(symbol, span, now)
        elif timeframe.intraday:
            found = self._intraday(timeframe, symbol, span, now)
        else:
            found = self._longer(timeframe, symbol, span, now)
        return (bar for bar in found if span.start <= bar[0] <= span.end)

    def _intraday(self, timeframe: Timeframe, symbol: str, span: Span, now: int) -> Iterator[Due]:
        for session in self._sessions(symbol, span.within(span.start, now)):
            if session.extended_close <= now:
                bars = self._minutes(symbol, session)
            else:
                day = self._market.day(symbol, session).bars
                bars = list(day.minute_bars(session.extended_open, now - MINUTE + 1))
            if timeframe != ONE_MINUTE:
                bars = combine(bars, timeframe.start_of)
            yield from reversed(bars) if span.newest_first else bars

    def _daily(self, symbol: str, span: Span, now: int) -> Iterator[Due]:
        for session in self._sessions(symbol, span.within(span.start, now)):
            if (bar := self._day(symbol, session, now)) is not None:
                yield bar

    def _longer(self, timeframe: Timeframe, symbol: str, span: Span, now: int) -> Iterator[Due]:
        end = min(timeframe.end_of(min(span.end, now)) - 1, now)
        days = list(self._daily(symbol, Span(timeframe.start_of(span.start), end), now))
        bars = combine(days, timeframe.start_of) if days else []
        return iter(reversed(bars) if span.newest_first else bars)

    def _day(self, symbol: str, session: Session, now: int) -> Due | None:
        if session.extended_close > now:
            return self._market.day(symbol, session).bars.daily_bar(now)
        key = symbol, session.day
        if key not in self._days:
            self._days[key] = self._add_up_day(symbol, session)
        return self._days[key]

    def _add_up_minutes(self, symbol: str, session: Session) -> list[Due]:
        if not self._even:
            day = self._drawn(symbol, session).bars
            return list(day.minute_bars(session.extended_open, session.extended_close))
        columns = self._drawn(symbol, session).columns()
        starts = range(session.extended_open, session.extended_close, MINUTE)
        steps = MINUTE // self._market.step
        return [
            (start, bar)
            for number, start in enumerate(starts)
            if (bar := _bar(columns, start, range(number * steps, (number + 1) * steps)))
        ]

    def _add_up_day(self, symbol: str, session: Session) -> Due | None:
        if not self._even:
            return self._drawn(symbol, session).bars.daily_bar(session.extended_close)
        columns = self._drawn(symbol, session).columns()
        first = session.extended_open
        open_, close = ((at - first) // self._market.step for at in (session.open, session.close))
        midnight = new_york(session.day)
        bar = _bar(columns, midnight, range(len(columns.prices)), slice(open_, close))
        return (midnight, bar) if bar is not None else None

    def _sessions(self, symbol: str, span: Span) -> Iterator[Session]:
        """Yield the sessions that *span* has a part in, in its order."""
        if symbol not in self._market.symbols or span.start > span.end:
            return iter(())
        first = max(new_york_date(span.start), FIRST_DAY)
        last = new_york_date(span.end)
        sessions = self._calendar.between(first, last) if first <= last else iter(())
        return reversed(list(sessions)) if span.newest_first else iter(sessions)


def _bar(columns: Columns, start: int, counted: range, priced: slice | None = None) -> bytes | None:
    """Return a bar that begins at *start*, as `DayBars` would add it up, or None without a price.

    Args:
        columns: The trades of its day.
        start: When its interval begins.
        counted: The trades in it.
        priced: Those of them that may move prices; None means all of them.
    """
    of = slice(counted.start, counted.stop)
    moving = of if priced is None else priced
    moves = list(compress(columns.prices[moving], columns.round_lots[moving]))
    if not moves:
        return None
    prices = Prices(*map(dollars, (moves[0], max(moves), min(moves), moves[-1])))
    sizes = columns.sizes[of]
    totals = Totals(
        volume=sum(sizes),
        count=len(sizes),
        notional=Decimal(sum(map(mul, columns.prices[of], sizes))) / 100,
    )
    return totals.bar(start, prices)
