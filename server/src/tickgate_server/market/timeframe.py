"""The lengths of bars."""

from __future__ import annotations

import datetime
import re
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from .time import NANOS

TIMEFRAME_RULE: Final = (
    "a timeframe is 1Min to 59Min, 1Hour to 23Hour, 1Day, 1Week, or 1, 2, 3, 4, 6 or 12Month; Min, Hour, Day, Week and"
    " Month may be written T, H, D, W and M"
)
"""The rule in the words a caller gets (alpaca.markets, parameter `timeframe`)."""

_NEW_YORK: Final = ZoneInfo("America/New_York")
_TEXT: Final = re.compile(r"([1-9]\d?)(Min|T|Hour|H|Day|D|Week|W|Month|M)", re.ASCII)


class Unit(StrEnum):
    """What a timeframe counts. The value is how Alpaca writes it."""

    MINUTE = "Min"
    HOUR = "Hour"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"


_UNIT_OF: Final = {unit.value: unit for unit in Unit} | {
    "T": Unit.MINUTE,
    "H": Unit.HOUR,
    "D": Unit.DAY,
    "W": Unit.WEEK,
    "M": Unit.MONTH,
}
_AMOUNTS: Final = {
    Unit.MINUTE: frozenset(range(1, 60)),
    Unit.HOUR: frozenset(range(1, 24)),
    Unit.DAY: frozenset({1}),
    Unit.WEEK: frozenset({1}),
    Unit.MONTH: frozenset({1, 2, 3, 4, 6, 12}),
}
_SHORTEST: Final = {
    Unit.MINUTE: 60 * NANOS,
    Unit.HOUR: 3600 * NANOS,
    Unit.DAY: 23 * 3600 * NANOS,
    Unit.WEEK: (7 * 24 - 1) * 3600 * NANOS,
    Unit.MONTH: (28 * 24 - 1) * 3600 * NANOS,
}
"""Nanoseconds that one unit lasts at least: in spring a day has 23 hours."""


class Timeframe(Struct, frozen=True):
    """The length of a bar's interval."""

    amount: int
    unit: Unit

    def __str__(self) -> str:
        """Return the one way in which it is written upstream and kept, such as "1Min"."""
        return f"{self.amount}{self.unit.value}"

    @property
    def intraday(self) -> bool:
        """Whether several of its intervals make a day."""
        return self.unit in (Unit.MINUTE, Unit.HOUR)

    @property
    def shortest(self) -> int:
        """Nanoseconds that an interval lasts at least."""
        return self.amount * _SHORTEST[self.unit]

    def end_of(self, start: int) -> int:
        """Return when the interval ends that begins at *start*; both nanoseconds.

        Days, weeks and months end at midnight in New York, which is where Alpaca begins them.
        """
        if self.intraday:
            return start + self.shortest
        day = _date(start)
        if self.unit is Unit.MONTH:
            return _midnight(_month(day, self.amount))
        return _midnight(day + datetime.timedelta(days=1 if self.unit is Unit.DAY else 7))

    def unfinished_from(self, instant: int) -> int:
        """Return the first start of which the interval has not ended at *instant*; both nanoseconds.

        What starts before has ended: `end_of` says so of each.
        """
        if self.intraday:
            return instant - self.shortest + 1
        day = _date(instant)
        if self.unit is Unit.MONTH:
            return _midnight(_month(day, 1 - self.amount))
        return _midnight(day - datetime.timedelta(days=0 if self.unit is Unit.DAY else 6))


def parse_timeframe(text: str) -> Timeframe | None:
    """Return the timeframe that *text* names, or None when it names none; `TIMEFRAME_RULE` says what is one."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    amount, unit = int(match[1]), _UNIT_OF[match[2]]
    return Timeframe(amount, unit) if amount in _AMOUNTS[unit] else None


def _date(instant: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(instant // NANOS, _NEW_YORK).date()


def _month(day: datetime.date, later: int) -> datetime.date:
    """Return the first day of the month that comes *later* months after that of *day*."""
    months = day.year * 12 + day.month - 1 + later
    return datetime.date(months // 12, months % 12 + 1, 1)


def _midnight(day: datetime.date) -> int:
    moment = datetime.datetime(day.year, day.month, day.day, tzinfo=_NEW_YORK)
    return int(moment.timestamp()) * NANOS
