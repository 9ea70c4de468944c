"""Budgets for tests, and a time in which nobody really waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tickgate_server.errors import BudgetExhausted
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.observe.counters import BudgetCounts, Counters, TierCounts
from tickgate_server.ports import Clock, Priority, Upstream
from tickgate_server.stores.budget.budget import AccountBudget, Allowance, BudgetPolicy
from tickgate_server.stores.budget.shared import SharedBuckets, account_name
from tickgate_server.stores.redis.link import LinkLimits, RedisLink

from .fakes import HandClock

DATA = Upstream.DATA
INTERACTIVE, REPAIR, HISTORY, BACKFILL = Priority
FLOORS = {INTERACTIVE: 0.0, REPAIR: 0.1, HISTORY: 0.3, BACKFILL: 0.5}

_TURNS = 12
"""Turns of the loop in which all whom one moment concerns have done what they do at it."""

_INSTANT = 1e-9


def policy(
    per_minute: int = 60, *, share: float = 1.0, replicas: int = 1, per_day: int = 0
) -> BudgetPolicy:
    """A policy for market data: one request a second, unless told otherwise, and the trading API beside it."""
    allowances = {DATA: Allowance(per_minute, per_day), Upstream.TRADING: Allowance(30)}
    return BudgetPolicy(allowances, share, replicas, FLOORS)


class HandTime:
    """A clock moved by hand, and pauses that end when it is moved past their end."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self._ends: list[tuple[float, asyncio.Event]] = []

    async def pause(self, woken: asyncio.Event, seconds: float) -> None:
        """Wait until *woken* is set, which the passing of *seconds* does as well."""
        end = (self.clock.monotonic() + seconds, woken)
        self._ends.append(end)
        try:
            await woken.wait()
        finally:
            self._ends.remove(end)

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass, and everybody do what they do on the way."""
        await self.turns()
        until = self.clock.monotonic() + seconds
        while self._ends and min(end for end, _ in self._ends) <= until:
            end, woken = min(self._ends, key=lambda pair: pair[0])
            self.clock.advance(max(end - self.clock.monotonic(), _INSTANT))
            woken.set()
            await self.turns()
        self.clock.advance(max(0.0, until - self.clock.monotonic()))
        await self.turns()

    @staticmethod
    async def turns() -> None:
        """Let everybody do what they can do now."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)


@dataclass
class Till:
    """A budget, and what a test wants to know of it."""

    budget: AccountBudget
    counters: Counters
    clock: Clock

    @property
    def counts(self) -> BudgetCounts:
        """State of the budget of market data."""
        return self.counters.budgets[DATA.value]

    @property
    def left(self) -> int:
        """What remains for market data."""
        return self.budget.remaining(DATA)

    async def spend(
        self,
        priority: Priority = INTERACTIVE,
        cost: int = 1,
        patience: float = 0.0,
        *,
        who: Collection[str] = (),
    ) -> int:
        """Spend on market data, for the consumers *who*, waiting for *patience* seconds at most."""
        deadline = self.clock.monotonic() + patience
        return await self.budget.spend(DATA, priority, cost, deadline, who)

    async def refusal(
        self,
        priority: Priority = INTERACTIVE,
        cost: int = 1,
        patience: float = 0.0,
        *,
        who: Collection[str] = (),
    ) -> BudgetExhausted:
        """Spend, and return why that was refused."""
        try:
            left = await self.spend(priority, cost, patience, who=who)
        except BudgetExhausted as refusal:
            return refusal
        msg = f"admitted, and {left} remain"
        raise AssertionError(msg)

    async def drain(self, priority: Priority = INTERACTIVE, *, who: Collection[str] = ()) -> int:
        """Spend one by one until refused, and return how often it was admitted."""
        admitted = 0
        with suppress(BudgetExhausted):
            while True:
                await self.spend(priority, who=who)
                admitted += 1
        return admitted

    def waiting(
        self,
        priority: Priority = INTERACTIVE,
        cost: int = 1,
        patience: float = 60.0,
        *,
        who: Collection[str] = (),
    ) -> asyncio.Task[int]:
        """Spend in a task of its own."""
        return asyncio.create_task(self.spend(priority, cost, patience, who=who))


@dataclass
class HandTill(Till):
    """A budget in memory whose time is moved by hand."""

    time: HandTime = field(kw_only=True)


def hand_till(rules: BudgetPolicy | None = None) -> HandTill:
    """A budget in memory, full, at a time that stands still."""
    time, counters = HandTime(), Counters()
    budget = AccountBudget(rules or policy(), counters, time.clock, pause=time.pause)
    return HandTill(budget, counters, time.clock, time=time)


@dataclass
class SharedTill(Till):
    """A budget in Redis, and the link to it."""

    link: RedisLink = field(kw_only=True)
    buckets: SharedBuckets = field(kw_only=True)


@asynccontextmanager
async def shared_till(
    url: str,
    rules: BudgetPolicy | None = None,
    *,
    key_id: str = "a key",
    answers_in: float = 5.0,
) -> AsyncIterator[SharedTill]:
    """A budget in the Redis at *url*, which has *answers_in* seconds for each command, of the account of *key_id*."""
    clock, counters = MarketClock(follows_upstream=False), Counters()
    limits = LinkLimits(timeout=answers_in, check_every=0.05, connections=20)
    link = RedisLink(url, limits, TierCounts(), clock)
    buckets = SharedBuckets(link, account_name(key_id))
    budget = AccountBudget(rules or policy(), counters, clock, buckets)
    try:
        yield SharedTill(budget, counters, clock, link=link, buckets=buckets)
    finally:
        await link.close()
