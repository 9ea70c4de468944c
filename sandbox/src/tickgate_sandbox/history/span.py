"""Which records of the past are wanted: an interval, an order, and how many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ..market import Due
from ..series import Series


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of time and the order to read it in. Instants are nanoseconds since the epoch."""

    start: int
    """The first instant; like Alpaca's `start` it belongs to the interval."""
    end: int
    """The last instant; like Alpaca's `end` it belongs to the interval."""
    newest_first: bool = False
    count: int = 0
    """So many records at most, from the beginning of the order."""

    def within(self, start: int, end: int) -> Span:
        """Return the part of this span from *start* to *end*, both included."""
        return replace(self, start=max(self.start, start), end=min(self.end, end))

    def resumed(self, instant: int | None) -> Span:
        """Return what is left of this span from *instant* on, in its order; None leaves it all."""
        if instant is None:
            return self
        return (
            self.within(self.start, instant)
            if self.newest_first
            else self.within(instant, self.end)
        )

    def moved(self, offset: int) -> Span:
        """Return this span *offset* nanoseconds later."""
        return replace(self, start=self.start + offset, end=self.end + offset)

    def wanting(self, count: int) -> Span:
        """Return this span with another count."""
        return replace(self, count=count)

    def of_series(self, series: Series) -> list[Due]:
        """Return the records of *series* that are wanted, in the order they are wanted in."""
        return series.window(self.start, self.end, newest_first=self.newest_first, count=self.count)

    def of(self, records: Sequence[Due]) -> list[Due]:
        """Return those of *records*, oldest first, that are wanted, in the order of this span."""
        ordered = reversed(records) if self.newest_first else iter(records)
        return list(
            islice((one for one in ordered if self.start <= one[0] <= self.end), self.count)
        )
