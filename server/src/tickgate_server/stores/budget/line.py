"""Who waits for budget, and in which order."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import count
from operator import attrgetter

from ...ports import Priority

_turn = attrgetter("turn")
_place = attrgetter("turn", "number")


class Waiter:
    """A request that waits for its turn."""

    __slots__ = ("consumer", "cost", "deadline", "late", "number", "rank", "turn", "woken")

    def __init__(self, number: int, rank: int, cost: int, deadline: float, consumer: str) -> None:
        """Want *cost* requests.

        Args:
            number: one of the line's.
            rank: that of its class; 0 is the most urgent.
            cost: requests.
            deadline: when they are of no more use, seconds of the monotonic clock.
            consumer: name of whom they are for; empty for the gateway itself.
        """
        self.number = number
        self.rank = rank
        self.cost = cost
        self.deadline = deadline
        self.consumer = consumer
        self.turn = 0
        """The round of its class in which it goes: in each, every consumer goes once."""

        self.woken = asyncio.Event()
        """Set when something has changed for it."""

        self.late: float | None = None
        """Seconds that it would have to wait, once they end after its deadline."""


class Line:
    """Waiters, the most urgent first. Within a class consumers take turns, each of them in the order of its own."""

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

    def ahead(self, rank: int, consumer: str) -> int:
        """Return the requests of those of class *rank* who go before a newcomer of *consumer*."""
        waiters = self._classes[rank]
        turn = self._turn(waiters, consumer, math.inf)
        # He comes last in his round.
        return sum(waiter.cost for waiter in waiters[: bisect_right(waiters, turn, key=_turn)])

    def join(self, waiter: Waiter) -> None:
        """Let *waiter* stand where its turn is."""
        waiters = self._classes[waiter.rank]
        waiter.turn = self._turn(waiters, waiter.consumer, waiter.number)
        insort(waiters, waiter, key=_place)
        self.owed[waiter.rank] += waiter.cost
        self.first = next(iter(self))

    def leave(self, waiter: Waiter) -> None:
        """Let *waiter* go, and tell the next that its turn may have come."""
        waiters = self._classes[waiter.rank]
        del waiters[bisect_left(waiters, _place(waiter), key=_place)]
        self.owed[waiter.rank] -= waiter.cost
        self.first = next(iter(self), None)
        self.wake_first()

    @staticmethod
    def _turn(waiters: Sequence[Waiter], consumer: str, number: float) -> int:
        """Return the round of somebody of *consumer* who came as *number*: behind those before him, and no later."""
        first = last = waiters[0].turn if waiters else 0
        for waiter in waiters:
            if waiter.consumer == consumer:
                if waiter.number > number:
                    return min(last, waiter.turn)
                last = max(first, waiter.turn + 1)
        return last

    def wake_first(self) -> None:
        """Let the first look again."""
        if self.first is not None:
            self.first.woken.set()
