"""The past of the made-up market: the same walks that its latest values come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import Final

from ..calendar import ExchangeCalendar, Session
from ..market import Due
from ..synthetic import SyntheticMarket
from ..timestamps import MINUTE, new_york_date
from .combine import combine
from .past import BarForm, TickKind
from .span import Span
from .timeframe import ONE_DAY, ONE_MINUTE, Timeframe

FIRST_DAY: Final = date(2024, 1, 2)
"""The first day of made-up history; there is nothing to adjust in it, so every adjustment is raw."""

_KEPT_DAYS = 260
"""Days whose minute bars are kept: a year of one share, some 50 MB."""


class SyntheticPast:
    """Bars, trades and quotes of the made-up shares, drawn when they are asked for."""

    def __init__(self, market: SyntheticMarket, calendar: ExchangeCalendar) -> None:
        """Answer from *market* in the sessions of *calendar*."""
        self._market = market
        self._calendar = calendar
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
            drawn = self._market.day(symbol, session).due(kind, span.start, span.end + 1)
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
            day = self._market.day(symbol, session)
            self._days[key] = day.bars.daily_bar(session.extended_close)
        return self._days[key]

    def _add_up_minutes(self, symbol: str, session: Session) -> list[Due]:
        day = self._market.day(symbol, session)
        return list(day.bars.minute_bars(session.extended_open, session.extended_close))

    def _sessions(self, symbol: str, span: Span) -> Iterator[Session]:
        """Yield the sessions that *span* has a part in, in its order."""
        if symbol not in self._market.symbols or span.start > span.end:
            return iter(())
        first = max(new_york_date(span.start), FIRST_DAY)
        last = new_york_date(span.end)
        sessions = self._calendar.between(first, last) if first <= last else iter(())
        return reversed(list(sessions)) if span.newest_first else iter(sessions)
