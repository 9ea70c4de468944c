"""When a contract trades for the last time."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Container
from typing import Final
from zoneinfo import ZoneInfo

from .occ import Occ
from .session import TradingDay
from .time import NANOS

NEW_YORK: Final = ZoneInfo("America/New_York")

LATE_CLOSE: Final = 15 * 60 * NANOS
"""Nanoseconds after the close of stocks for which options on some underlyings trade (Cboe, "Hours and Holidays")."""

_CLOSE: Final = datetime.time(16, 0)
"""Close of a day that the calendar does not know."""

_WEEKDAYS: Final = 5

LastDay = Callable[[datetime.date], TradingDay | None]
"""Gives the last trading day up to and with a date, or None outside of what the calendar knows."""


def market_date(instant: int) -> datetime.date:
    """Return the date in New York at *instant*, nanoseconds."""
    return datetime.datetime.fromtimestamp(instant // NANOS, NEW_YORK).date()


class Expiries:
    """The last trading moments of contracts, as far as the calendar is known.

    Until 2015 contracts expired on Saturdays, and a holiday may fall on an expiration date: what counts is the last
    trading day up to it.
    """

    def __init__(self, last_day: LastDay, late: Container[str]) -> None:
        """Take trading days from *last_day*; options on the underlyings and of the roots in *late* close late."""
        self._last_day = last_day
        self._late = late

    def last_moment(self, occ: Occ) -> int:
        """Return the last moment at which *occ* trades, nanoseconds.

        A date that the calendar does not know is taken for a usual day, and a weekend for the Friday before.
        """
        return self._close(occ.expiry) + (LATE_CLOSE if self._closes_late(occ) else 0)

    def known_moment(self, occ: Occ) -> int | None:
        """Return the last moment at which *occ* trades, nanoseconds; None where the calendar does not reach."""
        return None if self._last_day(occ.expiry) is None else self.last_moment(occ)

    def has_expired(self, occ: Occ, now: int) -> bool:
        """Tell whether the last trading moment of *occ* lies before *now*, nanoseconds of market time."""
        return now > self.last_moment(occ)

    def _closes_late(self, occ: Occ) -> bool:
        return occ.root in self._late or occ.underlying in self._late

    def _close(self, expiry: datetime.date) -> int:
        day = self._last_day(expiry)
        if day is not None:
            return day.close
        while expiry.weekday() >= _WEEKDAYS:
            expiry -= datetime.timedelta(days=1)
        moment = datetime.datetime.combine(expiry, _CLOSE, NEW_YORK)
        return int(moment.timestamp()) * NANOS
