"""Stretches of time, and what is left of them when others are taken away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Interval(NamedTuple):
    """A half-open stretch of time, nanoseconds: the start belongs to it, the end does not."""

    start: int
    end: int

    @property
    def empty(self) -> bool:
        """Whether no instant belongs to it."""
        return self.start >= self.end

    def __contains__(self, instant: object) -> bool:
        return isinstance(instant, int) and self.start <= instant < self.end

    def intersection(self, other: Interval) -> Interval:
        """Return what both share, which may be empty."""
        return Interval(max(self.start, other.start), min(self.end, other.end))


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same instants as few intervals in order, of which none touches another."""
    merged: list[Interval] = []
    for interval in sorted(interval for interval in intervals if not interval.empty):
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, interval.end))
        else:
            merged.append(interval)
    return merged


def within(intervals: Iterable[Interval], whole: Interval) -> list[Interval]:
    """Return those instants of *intervals* that belong to *whole*."""
    return union(interval.intersection(whole) for interval in intervals)


def without(whole: Interval, intervals: Iterable[Interval]) -> list[Interval]:
    """Return the instants of *whole* that belong to none of *intervals*."""
    return list(_gaps(whole, within(intervals, whole)))


def _gaps(whole: Interval, taken: Iterable[Interval]) -> Iterator[Interval]:
    start = whole.start
    for interval in taken:
        if start < interval.start:
            yield Interval(start, interval.start)
        start = interval.end
    if start < whole.end:
        yield Interval(start, whole.end)
