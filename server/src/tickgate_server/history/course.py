"""The two orders in which the past is read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from operator import neg

from msgspec import Struct

from ..market.columns import Block, part, reversed_block
from ..market.interval import Interval


class Course(Struct, frozen=True):
    """Says what is first and what comes behind."""

    newest_first: bool

    def first(self, interval: Interval) -> int:
        """Return the instant of *interval* that is read first."""
        return interval.end - 1 if self.newest_first else interval.start

    def behind(self, interval: Interval, passed: Interval) -> Interval:
        """Return what is left of *interval* when *passed* and all before it have been read."""
        if self.newest_first:
            return Interval(interval.start, min(interval.end, passed.start))
        return Interval(max(interval.start, passed.end), interval.end)

    def before(self, interval: Interval, other: Interval) -> Interval:
        """Return what of *interval* is read before *other* begins."""
        if self.newest_first:
            return Interval(max(interval.start, other.end), interval.end)
        return Interval(interval.start, min(interval.end, other.start))

    def onward(self, interval: Interval, instant: int) -> Interval:
        """Return *interval* from *instant* on, which belongs to it."""
        if self.newest_first:
            return Interval(interval.start, min(interval.end, instant + 1))
        return Interval(max(interval.start, instant), interval.end)

    def ordered(self, intervals: Iterable[Interval]) -> list[Interval]:
        """Return *intervals*, which do not overlap, in the order in which they are read."""
        return sorted(intervals, reverse=self.newest_first)

    def cut(self, block: Block, interval: Interval) -> Block:
        """Return the rows of *block*, which is in this order, that belong to *interval*."""
        times = block.times
        if self.newest_first:
            start = bisect_left(times, 1 - interval.end, key=neg)
            return part(block, start, bisect_left(times, 1 - interval.start, key=neg))
        start = bisect_left(times, interval.start)
        return part(block, start, bisect_left(times, interval.end))

    def turned(self, blocks: Iterable[Block]) -> list[Block]:
        """Return *blocks* from oldest first to this order, or from this order to oldest first."""
        if not self.newest_first:
            return list(blocks)
        return [reversed_block(block) for block in reversed(list(blocks))]
