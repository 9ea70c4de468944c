"""The trading sessions of the New York Stock Exchange, as Alpaca's calendar states them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from holidays import HALF_DAY, financial_holidays

from .timestamps import days_after, new_york, new_york_date

FIRST_DAY: Final = date(1970, 1, 1)
"""Alpaca's calendar begins here."""
LAST_DAY: Final = date(2029, 12, 31)
"""Alpaca's calendar ends here."""
FIRST_INSTANT: Final = new_york(FIRST_DAY)
"""The first nanosecond of the calendar's years."""
LAST_INSTANT: Final = new_york(days_after(LAST_DAY, 1)) - 1
"""The last nanosecond of the calendar's years."""

_SATURDAY = 5
_EARLY_CLOSE_LABEL = "1:00pm"

_NO_CLOSURES: Final = frozenset({date(1970, 5, 29)})
"""Sessions that `holidays` takes for closures: Memorial Day of 1970 fell on a Saturday, and the exchange traded on the
Friday before."""

_SETTLEMENT_CYCLES: Final = (
    (date(2024, 5, 28), 1),
    (date(2017, 9, 5), 2),
    (date(1995, 6, 7), 3),
    (date.min, 5),
)
"""First trading day of each settlement cycle and its length in business days, newest first."""


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day. Instants are nanoseconds since the epoch, intervals half-open."""

    day: date
    """The trading day in New York."""
    early_close: bool
    """Whether the regular session ends at 13:00 instead of 16:00."""

    @property
    def open(self) -> int:
        """Start of the regular session, 09:30 New York."""
        return new_york(self.day, 9, 30)

    @property
    def close(self) -> int:
        """End of the regular session, 16:00 or 13:00 New York."""
        return new_york(self.day, 13 if self.early_close else 16)

    @property
    def extended_open(self) -> int:
        """Start of pre-market trading, 04:00 New York."""
        return new_york(self.day, 4)

    @property
    def extended_close(self) -> int:
        """End of after-hours trading, 20:00 New York (Alpaca says so on half days too)."""
        return new_york(self.day, 20)


@lru_cache(maxsize=128)
def _sessions_of(year: int) -> tuple[Session, ...]:
    closures = financial_holidays("NYSE", years=year)
    early = financial_holidays("NYSE", years=year, categories=HALF_DAY)
    return tuple(
        Session(day, early_close=_EARLY_CLOSE_LABEL in early.get(day, ""))
        for day in _weekdays(year)
        if day not in closures or day in _NO_CLOSURES
    )


def _weekdays(year: int) -> Iterator[date]:
    day = date(year, 1, 1)
    while day.year == year:
        if day.weekday() < _SATURDAY:
            yield day
        day += timedelta(days=1)


class ExchangeCalendar:
    """The sessions of 1970 to 2029.

    Early closes are those at 13:00. Alpaca shows 16:00 for the shortened days of 1993 and
    before, whose closing times were others, and so does this calendar.
    """

    def between(self, first: date, last: date) -> Iterator[Session]:
        """Yield the sessions from *first* to *last*, both included, oldest first."""
        for year in range(first.year, last.year + 1):
            for session in _sessions_of(year):
                if first <= session.day <= last:
                    yield session

    def session(self, day: date) -> Session | None:
        """Return the session of *day*, or None when the exchange is closed that day."""
        found = self.on_or_before(day)
        return found if found.day == day else None

    def on_or_before(self, day: date) -> Session:
        """Return the newest session whose day is not after *day*."""
        for year in (day.year, day.year - 1):
            sessions = _sessions_of(year)
            index = bisect_right(sessions, day, key=lambda session: session.day)
            if index:
                return sessions[index - 1]
        raise AssertionError("a year without a session does not exist")

    def after(self, day: date) -> Session:
        """Return the first session whose day is after *day*."""
        for year in (day.year, day.year + 1):
            sessions = _sessions_of(year)
            index = bisect_right(sessions, day, key=lambda session: session.day)
            if index < len(sessions):
                return sessions[index]
        raise AssertionError("a year without a session does not exist")

    def covers(self, instant: int) -> bool:
        """Return whether *instant* lies in the years that Alpaca's calendar knows."""
        return FIRST_INSTANT <= instant <= LAST_INSTANT

    def is_open(self, instant: int) -> bool:
        """Return whether the regular session is on at *instant*."""
        session = self.session(new_york_date(instant))
        return session is not None and session.open <= instant < session.close

    def next_open(self, instant: int) -> int:
        """Return the first opening after *instant*."""
        today = self.session(new_york_date(instant))
        if today is not None and instant < today.open:
            return today.open
        return self.after(new_york_date(instant)).open

    def next_close(self, instant: int) -> int:
        """Return the first closing after *instant*."""
        today = self.session(new_york_date(instant))
        if today is not None and instant < today.close:
            return today.close
        return self.after(new_york_date(instant)).close

    def settlement(self, day: date) -> date:
        """Return the day on which trades of *day* settle, by the cycle in force then."""
        for _ in range(self.settlement_cycle(day)):
            day = self.after(day).day
        return day

    def settlement_cycle(self, day: date) -> int:
        """Return how many trading days after *day* its trades settle."""
        return next(days for first, days in _SETTLEMENT_CYCLES if day >= first)
