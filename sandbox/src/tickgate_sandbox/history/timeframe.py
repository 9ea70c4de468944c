"""The lengths of bars, in Alpaca's grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from ..timestamps import MINUTE, new_york, new_york_date

_TEXT = re.compile(
    r"(?P<minutes>[1-9]|[1-5]\d)(?:Min|T)|(?P<hours>[1-9]|1\d|2[0-3])(?:Hour|H)"
    r"|(?P<days>1)(?:Day|D)|(?P<weeks>1)(?:Week|W)|(?P<months>[12346]|12)(?:Month|M)"
)
_UNITS = {"minutes": "Min", "hours": "Hour", "days": "Day", "weeks": "Week", "months": "Month"}
_LENGTHS = {"Min": MINUTE, "Hour": 60 * MINUTE}
_YEAR = 12


@dataclass(frozen=True, slots=True)
class Timeframe:
    """The length of a bar's interval."""

    amount: int
    unit: str
    """`Min`, `Hour`, `Day`, `Week` or `Month`."""

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"

    @property
    def intraday(self) -> bool:
        """Whether several of its intervals make a day: their bars are built from minute bars."""
        return self.unit in _LENGTHS

    def start_of(self, instant: int) -> int:
        """Return the start of the interval that *instant* lies in.

        Minutes and hours are counted from midnight in New York, weeks begin on Mondays, and
        months are counted from January. What a bar of several days is stamped with is the
        midnight in New York of its first day, whether or not that is a session.
        """
        day = new_york_date(instant)
        if self.intraday:
            midnight = new_york(day)
            length = self.amount * _LENGTHS[self.unit]
            return midnight + (instant - midnight) // length * length
        return new_york(self._first_day(day))

    def end_of(self, instant: int) -> int:
        """Return the start of the interval after the one that *instant* lies in.

        The last interval of a day ends at midnight.
        """
        start = self.start_of(instant)
        day = new_york_date(start)
        if self.intraday:
            length = self.amount * _LENGTHS[self.unit]
            return min(start + length, new_york(day + timedelta(days=1)))
        if self.unit == "Month":
            months = day.year * _YEAR + day.month - 1 + self.amount
            return new_york(date(months // _YEAR, months % _YEAR + 1, 1))
        return new_york(day + timedelta(days=7 if self.unit == "Week" else 1))

    def _first_day(self, day: date) -> date:
        if self.unit == "Week":
            return day - timedelta(days=day.weekday())
        if self.unit == "Month":
            return date(day.year, (day.month - 1) // self.amount * self.amount + 1, 1)
        return day


ONE_MINUTE: Final = Timeframe(1, "Min")
ONE_DAY: Final = Timeframe(1, "Day")


def read_timeframe(text: str) -> Timeframe | None:
    """Return the timeframe that *text* names, by its long or its short name, or None."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    [(name, amount)] = ((name, one) for name, one in match.groupdict().items() if one is not None)
    return Timeframe(int(amount), _UNITS[name])
