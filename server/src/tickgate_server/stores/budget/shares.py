"""How consumers share a budget that runs short."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct

_HALF: Final = 0.5
"""Part of a budget that is there for whoever has not had his share."""

_ROUNDING: Final = 1e-6
"""Requests by which a whole number may have come out too low."""


class Stock(Struct, frozen=True):
    """What there is of a budget."""

    level: float
    """Requests that are left, beside those for which somebody waits already."""

    limit: float
    """Requests that there are when nobody takes any."""

    rate: float
    """Requests that come back in a second."""


class Claim:
    """Requests that somebody was let have, who may still have to wait for them."""

    __slots__ = ("at", "cost", "name")

    def __init__(self, name: str, cost: int, at: float) -> None:
        self.name = name
        self.cost = cost
        self.at = at


class Held:
    """Somebody who has had his share, and waits until there is more than others need."""

    __slots__ = ("cost",)

    def __init__(self, cost: int) -> None:
        self.cost = cost


class Shares:
    """Counts what each consumer takes of one budget within a window, and holds back whoever leaves others nothing.

    As long as half of the budget is there, anybody may take. Below that, each consumer who has asked within the window
    may take up to an equal part of the whole, and one who has had more leaves the rest to the others. So one who is
    alone may take everything; one of two who keeps within half is always served.
    """

    def __init__(self, window: float) -> None:
        """Know nobody; *window* is seconds."""
        self._window = window
        self._asked: dict[str, float] = {}
        """When each consumer last asked, who did so within the window; the latest last."""

        self._claims: dict[str, deque[Claim]] = {}
        self._taken: dict[str, int] = {}
        self._held: dict[str, list[Held]] = {}

    def ask(self, names: Collection[str], now: float) -> None:
        """Take notice that *names* want something."""
        asked = self._asked
        for name in names:
            asked.pop(name, None)
            asked[name] = now
        while asked and asked[oldest := next(iter(asked))] <= now - self._window:
            del asked[oldest]
            # All that it has taken is older still.
            self._claims.pop(oldest, None)
            self._taken.pop(oldest, None)

    def payer(
        self, names: Sequence[str], cost: int, behind: int, stock: Stock, now: float
    ) -> tuple[str, float]:
        """Return which of *names*, for all of whom something is done, may take *cost* first, and in how many seconds.

        Args:
            names: who; the first pays, if he may.
            cost: requests.
            behind: requests of the first that go before these.
            stock: what there is.
            now: seconds of the monotonic clock.
        """
        best, soonest = names[0], self._wait(names[0], cost, behind, stock, now)
        for name in names[1:]:
            if not soonest:
                break
            wait = self._wait(name, cost, 0, stock, now)
            if wait < soonest:
                best, soonest = name, wait
        return best, soonest

    def _wait(self, name: str, cost: int, behind: int, stock: Stock, now: float) -> float:
        wanted = cost + behind
        others = len(self._asked) - (name in self._asked)
        missing = _HALF * stock.limit + wanted - stock.level
        if not others or missing <= _ROUNDING:
            return 0.0
        # Whoever has taken nothing may always take one thing, however dear.
        share = max(stock.limit / (others + 1), cost)
        if self._taken_by(name, now) + wanted <= share + _ROUNDING:
            return 0.0
        return min(missing / stock.rate, self._until(name, share - wanted, now))

    def _until(self, name: str, most: float, now: float) -> float:
        """Return the seconds until *name* has taken no more than *most* within the window."""
        taken = self._taken.get(name, 0)
        for claim in self._claims.get(name, ()):
            taken -= claim.cost
            if taken <= most + _ROUNDING:
                return claim.at + self._window - now
        return math.inf

    def _taken_by(self, name: str, now: float) -> int:
        claims = self._claims.get(name)
        if not claims:
            return 0
        while claims and claims[0].at <= now - self._window:
            self._taken[name] -= claims.popleft().cost
        return self._taken[name]

    # ----------------------------------------------------------------------------------- take, wait

    def claim(self, name: str, cost: int, now: float) -> Claim:
        """Let *name* have *cost* requests."""
        claim = Claim(name, cost, now)
        self._claims.setdefault(name, deque()).append(claim)
        self._taken[name] = self._taken.get(name, 0) + cost
        return claim

    def give_up(self, claim: Claim) -> None:
        """Take notice that *claim* came to nothing."""
        claims = self._claims.get(claim.name, ())
        if claim in claims:
            self._claims[claim.name].remove(claim)
            self._taken[claim.name] -= claim.cost

    def hold(self, name: str, cost: int) -> Held:
        """Let *name* wait for *cost* requests, behind those that it waits for already."""
        held = Held(cost)
        self._held.setdefault(name, []).append(held)
        return held

    def ahead(self, name: str, held: Held | None = None) -> int:
        """Return the requests that those of *name* want who came before *held*; None came after all of them."""
        return sum(one.cost for one in _before(self._held.get(name, ()), held))

    def release(self, name: str, held: Held) -> None:
        """Let *held* go."""
        waiting = self._held[name]
        waiting.remove(held)
        if not waiting:
            del self._held[name]


def _before(waiting: Sequence[Held], held: Held | None) -> Iterable[Held]:
    for one in waiting:
        if one is held:
            return
        yield one
