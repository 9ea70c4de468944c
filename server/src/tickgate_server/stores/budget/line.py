"""Who waits for budget, and in which order."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import count
from operator import attrgetter

from ...ports import Priority

_number = attrgetter("number")


class Waiter:
    """A request that waits for its turn."""

    __slots__ = ("cost", "deadline", "late", "number", "rank", "woken")

    def __init__(self, number: int, rank: int, cost: int, deadline: float) -> None:
        """Want *cost* requests.

        Args:
            number: one of the line's.
            rank: that of its class; 0 is the most urgent.
            cost: requests.
            deadline: when they are of no more use, seconds of the monotonic clock.
        """
        self.number = number
        self.rank = rank
        self.cost = cost
        self.deadline = deadline
        self.woken = asyncio.Event()
        """Set when something has changed for it."""

        self.late: float | None = None
        """Seconds that it would have to wait, once they end after its deadline."""


class Line:
    """Waiters, the most urgent first, and within a class in the order in which they came."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._classes: list[list[Waiter]] = [[] for _ in Priority]
        self.numbers = count()
        """One for each who comes, also for those who need not wait after all."""

        self.owed = [0 for _ in Priority]
        """Requests that the waiters of each class want together."""

        self.first: Waiter | None = None
        """Whose turn it is."""

    def __iter__(self) -> Iterator[Waiter]:
        for waiters in self._classes:
            yield from waiters

    def join(self, waiter: Waiter) -> None:
        """Let *waiter* stand behind those of its class who came before it."""
        insort(self._classes[waiter.rank], waiter, key=_number)
        self.owed[waiter.rank] += waiter.cost
        self.first = next(iter(self))

    def leave(self, waiter: Waiter) -> None:
        """Let *waiter* go, and tell the next that its turn may have come."""
        waiters = self._classes[waiter.rank]
        del waiters[bisect_left(waiters, waiter.number, key=_number)]
        self.owed[waiter.rank] -= waiter.cost
        self.first = next(iter(self), None)
        self.wake_first()

    def wake_first(self) -> None:
        """Let the first look again."""
        if self.first is not None:
            self.first.woken.set()
