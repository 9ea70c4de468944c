"""How far the reading of one symbol has come."""

from __future__ import annotations

from collections.abc import Iterator

from ..market.columns import Block, part
from ..market.interval import Interval
from ..market.series import SeriesPosition
from ..market.unavailable import Unavailable
from ..ports import SeriesBroken, SeriesChunk, SeriesDone
from .course import Course


class Cursor:
    """Takes values in order, whoever brings them, and knows what comes next, to the value."""

    def __init__(
        self,
        symbol: str,
        whole: Interval,
        course: Course,
        *,
        rows: int,
        limit: int,
        after: SeriesPosition | None,
        one_at_a_time: bool,
    ) -> None:
        """Stand before *whole*, or where an earlier answer about it ended.

        Args:
            symbol: whose values.
            whole: the range.
            course: their order.
            rows: values of a chunk at most.
            limit: values at most, those before *after* among them; 0 sets no limit.
            after: where the earlier answer ended; None for the first one.
            one_at_a_time: whether no instant has more than one value, as with bars.
        """
        self.symbol = symbol
        self.rest = whole
        """What has not been told yet."""

        self.clipped = False
        """Whether it was told to want less than the range."""

        self.refused = 0
        self.refusal: Unavailable | None = None
        self._course = course
        self._rows = rows
        self._limit = limit
        self._one_at_a_time = one_at_a_time
        self._time = None if after is None else after.time
        self._taken = 0 if after is None else after.taken
        self._before = 0 if after is None else after.count
        self._told = 0
        self._skip = 0
        if self._time is not None:
            self.rest = course.onward(whole, self._time)

    @property
    def finished(self) -> bool:
        """Whether nothing more is wanted."""
        return self.rest.empty or self.wanted == 0

    @property
    def wanted(self) -> int | None:
        """How many more values are wanted; None is all."""
        return max(0, self._limit - self._before - self._told) if self._limit else None

    @property
    def total(self) -> int:
        """Values that were told, by earlier answers as well."""
        return self._before + self._told

    def begin(self) -> None:
        """Take values from somebody anew, who begins with the first instant of `rest`."""
        self._skip = self._taken if self._time is not None and self._time in self.rest else 0

    def take(self, block: Block) -> Iterator[SeriesChunk]:
        """Yield those of the values that come next that are wanted, as chunks."""
        block = self._fresh(block)
        if self.wanted is not None:
            block = part(block, 0, min(len(block), self.wanted))
        for start in range(0, len(block), self._rows):
            chunk = part(block, start, min(len(block), start + self._rows))
            self._count(chunk)
            yield SeriesChunk(self.symbol, chunk, self.position())

    def passed(self, interval: Interval) -> None:
        """Take notice that *interval*, with which `rest` begins, has been told."""
        self.rest = self._course.behind(self.rest, interval)

    def interrupt(self) -> None:
        """Take notice that who brought values stopped in the middle: another one begins at the last value."""
        if self._time is not None and self._time in self.rest:
            self.rest = self._course.onward(self.rest, self._time)

    def clip(self, end: int) -> None:
        """Want nothing from *end* on."""
        self.rest = Interval(self.rest.start, min(self.rest.end, end))
        self.clipped = True

    def position(self, *, done: bool = False) -> SeriesPosition:
        """Return where it stands."""
        return SeriesPosition(self.symbol, self._time, self._taken, self.total, done)

    def done(self, clamped_end: int | None) -> SeriesDone:
        """Return that all has been told."""
        return SeriesDone(self.symbol, self._told, self.refused, clamped_end)

    def broken(
        self, why: Unavailable, *, final: bool = False, missing: Interval | None = None
    ) -> SeriesBroken:
        """Return that no more can be told.

        Args:
            why: the reason.
            final: whether another try would not be told more.
            missing: what is not told; None is all that is left, from the last value on.
        """
        return SeriesBroken(
            self.symbol,
            why,
            self.position(done=final),
            missing=self._left() if missing is None else missing,
            count=self._told,
        )

    def refuse(self, count: int, first: Unavailable | None) -> None:
        """Take notice of records that are no market values."""
        self.refused += count
        self.refusal = self.refusal or first

    def _left(self) -> Interval:
        """Return what may not have been told: of the instant of the last value there may be more."""
        if self._time is None or self._time not in self.rest:
            return self.rest
        if self._one_at_a_time:
            return self._course.behind(self.rest, Interval(self._time, self._time + 1))
        return self._course.onward(self.rest, self._time)

    def _fresh(self, block: Block) -> Block:
        """Return *block* without the values that had been taken when it was begun."""
        start, rows = 0, len(block)
        while self._skip and start < rows and block.times[start] == self._time:
            start, self._skip = start + 1, self._skip - 1
        if start < rows:
            self._skip = 0
        return part(block, start, rows)

    def _count(self, chunk: Block) -> None:
        times = chunk.times
        last, alike = times[-1], 1
        while alike < len(times) and times[-1 - alike] == last:
            alike += 1
        goes_on = alike == len(times) and last == self._time
        self._taken = self._taken + alike if goes_on else alike
        self._time = last
        self._told += len(times)
