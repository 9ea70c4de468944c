"""The budget of one upstream as this process knows it: nothing here waits or asks anybody."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...access.bucket import Bucket
from ...observe.counters import BudgetCounts
from ...ports import Priority, Upstream
from .line import Line
from .shares import Shares, Stock

_ROUNDING = 1e-6
"""Requests by which a whole number may have come out too low."""


class Window:
    """One limit: so many requests in so many seconds."""

    def __init__(
        self,
        name: str,
        seconds: int,
        limit: int,
        *,
        replicas: int,
        floors: Sequence[float],
        now: float,
    ) -> None:
        """Start full.

        Args:
            name: what it is called where replicas share it.
            seconds: in which as many requests come back as it holds.
            limit: requests that all replicas have together.
            replicas: among how many it is divided while they cannot share it.
            floors: part of it that each class leaves for those more urgent, the most urgent first.
            now: seconds of the monotonic clock.
        """
        self.name = name
        self.seconds = seconds
        self.configured = limit
        self.limit = limit
        """Requests, at most those configured; fewer when the upstream admits fewer."""

        self.replicas = replicas
        self.shared = Bucket(limit, seconds, now)
        """The bucket of all replicas as far as it was seen. There may be less in it, for others spend as well, but not
        more, unless it was lost."""

        self.own = Bucket(*self._part(), now)
        """This process's part, from which it spends while it is on its own."""

        self.spent_alone = 0.0
        """Requests that were taken out of `own` and that those who share do not know of."""

        self._parts = floors
        self._spend_from(self.own)

    def _part(self) -> tuple[float, float]:
        """Return size and seconds of a part: never less than a whole request, which then takes longer to come back."""
        part = self.limit / self.replicas
        size = max(1.0, part)
        return size, self.seconds * size / part

    def _spend_from(self, bucket: Bucket) -> None:
        self.bucket = bucket
        # Rounded down, a floor is never all there is: every class gets something.
        self.floors = [int(part * bucket.limit) for part in self._parts]

    def resize(self, limit: int, now: float) -> None:
        """Take on another limit."""
        self.limit = limit
        self.shared.resize(limit, self.seconds, now)
        self.own.resize(*self._part(), now)
        self._spend_from(self.bucket)

    def part(self, now: float) -> None:
        """Begin to spend from this process's own part.

        A process alone knows what is left. One of several does not: any of the others may have spent all of it since it
        looked. So its part starts empty and fills from here, which can never exceed the plan.
        """
        known = self.shared.level(now) if self.replicas == 1 else 0.0
        self.own.set(known, now)
        self.spent_alone = 0.0
        self._spend_from(self.own)

    def unite(self) -> None:
        """Begin to spend from what all share."""
        self._spend_from(self.shared)

    def take_alone(self, amount: float, now: float) -> None:
        """Take *amount* out of this process's part."""
        self.own.take(amount, now)
        self.spent_alone += amount


class Purse:
    """What may be asked of one upstream, and who waits for it."""

    def __init__(
        self, upstream: Upstream, windows: Sequence[Window], now: float, *, shared: bool
    ) -> None:
        """Start full.

        Args:
            upstream: whose budget it is.
            windows: the limits, all of which must admit a request; the shortest first.
            now: seconds of the monotonic clock.
            shared: whether replicas spend from it together.
        """
        self.upstream = upstream
        self.windows = windows
        self._minute, *self._longer = windows
        self.line = Line()
        self.shares = Shares(self._minute.seconds)
        self.shared = shared
        if shared:
            for window in windows:
                window.unite()
        self.asked = 0
        """Requests that are being taken out of what is shared: the answer is under way."""

        self.returning = False
        """Whether those who share it are being told what was spent alone."""

        self.held_until = -math.inf
        """Nothing goes before, seconds of the monotonic clock: the upstream asked for it."""

        self.counts = BudgetCounts(0, self._minute.seconds, shared, {})
        self.count_anew()

    def remaining(self, now: float) -> int:
        """Return the requests that would be admitted now."""
        if now < self.held_until:
            return 0
        level = self._minute.bucket.level(now)
        for window in self._longer:
            level = min(level, window.bucket.level(now))
        return int(level + _ROUNDING) if level > 0 else 0

    def holds(self, rank: int, cost: int) -> bool:
        """Return whether *cost* requests of a class are there at least when it is full."""
        return all(window.floors[rank] + cost <= window.bucket.limit for window in self.windows)

    def wait(self, rank: int, cost: int, now: float) -> float:
        """Return the seconds until the first in line could take *cost* requests."""
        longest = max(0.0, self.held_until - now)
        for window in self.windows:
            wait = window.bucket.wait(window.floors[rank] + cost, now)
            longest = max(longest, wait)
        return longest

    def wait_in_line(self, rank: int, cost: int, now: float, consumer: str) -> float:
        """Return the seconds until a newcomer of *consumer* could, behind those who wait already and go before it."""
        if self.line.first is None:
            return self.wait(rank, cost, now)
        longest, ahead = 0.0, 0
        for before, owed in enumerate(self.line.owed[:rank]):
            if owed:
                ahead += owed
                longest = max(longest, self.wait(before, ahead, now))
        ahead += self.line.ahead(rank, consumer) + cost
        return max(longest, self.wait(rank, ahead, now))

    def payer(self, names: Sequence[str], cost: int, behind: int, now: float) -> tuple[str, float]:
        """Return which of *names* may take *cost* requests and leave others their share, and in how many seconds.

        The first of them stands behind so many requests of its own.
        """
        bucket = self._minute.bucket
        level = bucket.level(now) - sum(self.line.owed) - self.asked
        stock = Stock(level, bucket.limit, bucket.rate)
        return self.shares.payer(names, cost, behind, stock, now)

    def goes_straight(self, rank: int) -> bool:
        """Return whether nobody waits who goes before a newcomer."""
        first = self.line.first
        return first is None or first.rank > rank

    def look_ahead(self, now: float) -> None:
        """Tell those in line whose turn would come after their deadline."""
        if self.line.first is None:
            return
        longest, ahead = 0.0, 0
        for waiter in self.line:
            wait = max(longest, self.wait(waiter.rank, ahead + waiter.cost, now))
            if now + wait > waiter.deadline:
                waiter.late = wait
                waiter.woken.set()
            else:
                longest = wait
                ahead += waiter.cost

    def take_alone(self, cost: int, now: float) -> None:
        """Take *cost* requests out of this process's part of every window."""
        for window in self.windows:
            window.take_alone(cost, now)

    def part(self, now: float) -> None:
        """Go on alone: what is shared cannot be had."""
        for window in self.windows:
            window.part(now)
        self._turn(now, shared=False)

    def unite(self, now: float) -> None:
        """Spend together with the others again."""
        for window in self.windows:
            window.unite()
        self._turn(now, shared=True)

    def _turn(self, now: float, *, shared: bool) -> None:
        self.shared = shared
        self.count_anew()
        self.look_ahead(now)
        self.line.wake_first()

    def count_anew(self) -> None:
        """Keep for status what has changed with the limit, or with those who share it."""
        self.counts.limit = int(self._minute.bucket.limit)
        self.counts.shared = self.shared
        self.counts.floors = {
            priority.value: floor
            for priority, floor in zip(Priority, self._minute.floors, strict=True)
        }
