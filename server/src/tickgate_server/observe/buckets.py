"""A histogram of plain integers: how often a number was at most so large."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from time import monotonic
from types import TracebackType
from typing import Final, Self

SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Bounds for what takes time: from what memory answers in up to what nobody waits for any longer."""

AGES: Final = (
    *(0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0),
    *(900.0, 1200.0, 3600.0, 14400.0, 86400.0, 604800.0),
)
"""Bounds for ages of values, in seconds. A feed may be fifteen minutes late by design, and a market closed for days."""

SCORES: Final = tuple(float(score) for score in range(0, 101, 10))
"""Bounds for scores."""


class Buckets:
    """How many numbers were at most as large as each of some bounds, and what all of them sum up to."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """Start at nothing; *bounds* are in order."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Numbers that lie in each bucket; the last one is for what is beyond all bounds."""

        self.total = 0.0

    @property
    def count(self) -> int:
        """How many numbers there were."""
        return sum(self.counts)

    def observe(self, number: float) -> None:
        """Count *number*."""
        self.counts[bisect_left(self.bounds, number)] += 1
        self.total += number

    def timing(self) -> Timing:
        """Return what counts the seconds that a block takes, however it ends."""
        return Timing(self)

    def cumulated(self) -> list[int]:
        """Return how many numbers were at most as large as each bound, and how many there were at all."""
        total, cumulated = 0, []
        for count in self.counts:
            total += count
            cumulated.append(total)
        return cumulated


class Timing:
    """Counts the seconds that a block takes."""

    __slots__ = ("_buckets", "_started")

    def __init__(self, buckets: Buckets) -> None:
        """Count in *buckets*."""
        self._buckets = buckets
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = monotonic()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._buckets.observe(monotonic() - self._started)


def merged(several: Iterable[Buckets]) -> Buckets:
    """Return what *several* buckets with the usual bounds of seconds have counted together."""
    whole = Buckets()
    for one in several:
        whole.total += one.total
        whole.counts = [sum(pair) for pair in zip(whole.counts, one.counts, strict=True)]
    return whole
