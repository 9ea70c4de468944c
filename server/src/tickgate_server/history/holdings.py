"""What the store holds of the series of one question."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from ..errors import StoreDown
from ..market.interval import Interval, union, without
from ..market.series import SeriesKey
from ..ports import Covered, HistoryStore
from .adjusted import Adjustments
from .course import Course
from .fills import Fills


class Holdings:
    """Coverage as it was last looked up, symbol by symbol."""

    def __init__(
        self,
        store: HistoryStore | None,
        fills: Fills,
        adjustments: Adjustments,
        key: SeriesKey,
        course: Course,
        as_of: int | None,
    ) -> None:
        """Know nothing yet of series like *key*; without *store* nothing is held."""
        self.store = store
        self._fills = fills
        self._adjustments = adjustments
        self._key = key
        self._course = course
        self._as_of = as_of
        self._covered: dict[str, Sequence[Covered]] = {}
        self._held: dict[str, list[Interval]] = {}
        """The same without seams."""

        self._counted: set[tuple[str, Interval]] = set()
        """Whose refused records have been told."""

        self._looked_after: dict[str, int] = {}
        """Fetches that had ended before it was looked up."""

        self.failed = False
        """Whether the store could not be had: then it is not asked any more."""

    def fail(self) -> None:
        """Take notice that the store cannot be had: nothing is held of it from now on."""
        self.failed, self.store = True, None
        self._covered.clear()
        self._held.clear()

    async def look(self, symbols: Iterable[str], whole: Interval, deadline: float) -> None:
        """Look up what is held of *symbols* within *whole*."""
        symbols = list(symbols)
        if self.store is None or whole.empty:
            return
        ended = self._fills.ended
        keys = [self._key.about(symbol) for symbol in symbols]
        try:
            covered: Mapping[SeriesKey, Sequence[Covered]] = await self.store.coverage(
                keys, whole, self._as_of, counted=False
            )
        except StoreDown:
            self.fail()
            return
        if self._key.adjusted and self._as_of is None:
            covered = await self._adjustments.still_right(covered, deadline)
        for key in keys:
            found = self._covered[key.symbol] = covered.get(key, ())
            self._held[key.symbol] = union(one.interval for one in found)
        self._looked_after |= dict.fromkeys(symbols, ended)

    def outdated(self, symbol: str) -> bool:
        """Tell whether more may be held of *symbol* than was found: something has been fetched meanwhile."""
        return self.store is not None and self._looked_after.get(symbol) != self._fills.ended

    def held(self, symbol: str, rest: Interval) -> Interval | None:
        """Return the first stretch of *rest* if it is held, or None where *rest* begins with what is missing."""
        first, held = self._course.first(rest), self._held.get(symbol, [])
        place = bisect_right(held, first, key=lambda interval: interval.start) - 1
        if place < 0 or first not in held[place]:
            return None
        return held[place].intersection(rest)

    def missing(self, symbol: str, rest: Interval) -> list[Interval]:
        """Return what of *rest* is not held, in order."""
        return self._course.ordered(without(rest, self._held.get(symbol, ())))

    def refused(self, symbol: str, interval: Interval) -> int:
        """Return how many records were refused of what is held of *interval*, and was not told before.

        Where in a stretch they were nobody knows: all of them are told with the first part of it.
        """
        fresh = [
            one
            for one in self._covered.get(symbol, ())
            if one.refused
            and (symbol, one.interval) not in self._counted
            and not one.interval.intersection(interval).empty
        ]
        self._counted.update((symbol, one.interval) for one in fresh)
        return sum(one.refused for one in fresh)
