"""Who waits for budget, and in which order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from ...ports import Priority


class Waiter:
    """A request that waits for its turn."""

    __slots__ = ("cost", "deadline", "late", "rank", "woken")

    def __init__(self, rank: int, cost: int, deadline: float) -> None:
        """Want *cost* requests until *deadline*, seconds of the monotonic clock; rank 0 is the most urgent class."""
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
        self._classes: list[OrderedDict[Waiter, None]] = [OrderedDict() for _ in Priority]
        self.owed = [0 for _ in Priority]
        """Requests that the waiters of each class want together."""

        self.first: Waiter | None = None
        """Whose turn it is."""

    def __iter__(self) -> Iterator[Waiter]:
        for waiters in self._classes:
            yield from waiters

    def join(self, waiter: Waiter) -> None:
        """Let *waiter* stand behind the others of its class."""
        self._classes[waiter.rank][waiter] = None
        self.owed[waiter.rank] += waiter.cost
        self.first = next(iter(self))

    def leave(self, waiter: Waiter) -> None:
        """Let *waiter* go, and tell the next that its turn may have come."""
        del self._classes[waiter.rank][waiter]
        self.owed[waiter.rank] -= waiter.cost
        self.first = next(iter(self), None)
        self.wake_first()

    def wake_first(self) -> None:
        """Let the first look again."""
        if self.first is not None:
            self.first.woken.set()
