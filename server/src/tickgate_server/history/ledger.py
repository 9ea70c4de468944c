"""What a fetch has brought so far of one symbol."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from msgspec import Struct

from ..market.columns import Block
from ..market.interval import Interval
from ..market.unavailable import Unavailable
from .course import Course


class Entry(Struct):
    """A stretch of which all is known."""

    symbol: str
    interval: Interval
    blocks: Sequence[Block]
    """Its values, in the order of the walk; none where there are none, or where they have been let go."""

    settled_before: int
    """What is stamped from here on, nanoseconds, may still change: of that the entry is only how it looked."""

    refused: int = 0
    refusal: Unavailable | None = None
    kept: bool = False
    """Whether the store holds all of it."""

    gone: bool = False
    """Whether its values have been let go."""

    @property
    def settled(self) -> Interval:
        """The part of it that no longer changes, which may be empty."""
        return Interval(self.interval.start, min(self.interval.end, self.settled_before))

    def let_go(self) -> None:
        """Hold the values no longer."""
        self.blocks, self.gone = (), True


class Stored(Struct, frozen=True):
    """A stretch that has been let go and that the store holds."""

    interval: Interval
    refused: int
    refusal: Unavailable | None


class Ledger:
    """Entries in the order of a walk, without holes."""

    def __init__(self, whole: Interval, course: Course) -> None:
        """Begin with nothing of *whole*."""
        self._course = course
        self._entries: list[Entry] = []
        self.ahead = whole
        """What has not come yet."""

    @property
    def empty(self) -> bool:
        """Whether nothing has come yet."""
        return not self._entries

    @property
    def stride(self) -> int:
        """How far the newest entry reaches, nanoseconds; 0 before the first."""
        if not self._entries:
            return 0
        newest = self._entries[-1].interval
        return newest.end - newest.start

    def add(self, entry: Entry) -> None:
        """Take in what comes next."""
        self._entries.append(entry)
        self.ahead = self._course.behind(self.ahead, entry.interval)

    def find(self, instant: int) -> Entry | None:
        """Return the entry that *instant* belongs to, or None where it has not come."""
        place = self._place(instant)
        if not 0 <= place < len(self._entries):
            return None
        entry = self._entries[place]
        return entry if instant in entry.interval else None

    def stored(self, instant: int) -> Stored | None:
        """Return the stretch from the entry of *instant* on that has been let go and that the store holds."""
        run: list[Entry] = []
        for entry in self._entries[max(0, self._place(instant)) :]:
            if not (entry.gone and entry.kept):
                break
            run.append(entry)
        if not run or instant not in run[0].interval:
            return None
        starts, ends = (
            (entry.interval.start for entry in run),
            (entry.interval.end for entry in run),
        )
        return Stored(
            Interval(min(starts), max(ends)),
            sum(entry.refused for entry in run),
            next((entry.refusal for entry in run if entry.refusal is not None), None),
        )

    def _place(self, instant: int) -> int:
        if self._course.newest_first:
            return bisect_left(self._entries, -instant, key=lambda entry: -entry.interval.start)
        return bisect_right(self._entries, instant, key=lambda entry: entry.interval.start) - 1
