"""What every `Budget` promises, whether it is in Redis or in the memory of one gateway. Time here is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tickgate_server.errors import BudgetExhausted
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.observe.counters import Counters
from tickgate_server.stores.budget.budget import AccountBudget, BudgetPolicy

from ..support.budget import BACKFILL, DATA, INTERACTIVE, Till, policy, shared_till
from ..support.fakes import settle
from ..support.stores import redis_url

SLOW = policy(120)
"""Two a second: hardly one comes back while a test spends all."""

FAST = policy(6000)
"""One in ten milliseconds, for which a test can wait."""


def nearly(expected: int, found: int) -> bool:
    """Whether it is what was expected, and no more on top than comes back on a machine that is busy."""
    return expected <= found <= expected + 6


@asynccontextmanager
async def a_budget(kind: str, rules: BudgetPolicy) -> AsyncIterator[Till]:
    """A full budget of some kind."""
    if kind == "redis":
        with redis_url() as url:
            async with shared_till(url, rules) as till:
                yield till
    else:
        counters, clock = Counters(), MarketClock(follows_upstream=False)
        yield Till(AccountBudget(rules, counters, clock), counters, clock)


pytestmark = pytest.mark.parametrize("kind", ["memory", "redis"])


async def test_it_admits_what_it_holds_and_no_more(kind: str) -> None:
    """Each request takes its cost, the rest is told, and when nothing is left requests are refused."""
    async with a_budget(kind, SLOW) as till:
        assert (till.left, await till.spend(cost=20), till.left) == (120, 100, 100)
        assert nearly(100, await till.drain())
        assert till.left == 0


async def test_a_class_leaves_its_floor(kind: str) -> None:
    """Less urgent requests stop at their floor, which is then there for those more urgent."""
    async with a_budget(kind, SLOW) as till:
        assert nearly(60, await till.drain(BACKFILL))
        assert nearly(60, await till.drain(INTERACTIVE))


async def test_a_refusal_comes_at_once_and_says_when(kind: str) -> None:
    """Whoever has no time to wait is refused at once, with the delay after which it would be admitted."""
    async with a_budget(kind, SLOW) as till:
        await till.spend(cost=120)
        delays = [(await till.refusal(cost=cost)).retry_delay for cost in (1, 4)]
        assert delays == pytest.approx([0.5, 2.0], abs=0.2)


async def test_the_delay_is_enough(kind: str) -> None:
    """Whoever comes back after the delay that it was told is admitted."""
    async with a_budget(kind, FAST) as till:
        await till.spend(cost=6000)
        refusal = await till.refusal(cost=5)
        assert refusal.retry_delay is not None
        await till.spend(cost=5, patience=refusal.retry_delay + 5)


async def test_who_has_time_waits_in_line(kind: str) -> None:
    """Those who can wait are admitted one after the other, in the order in which they came."""
    async with a_budget(kind, FAST) as till:
        await till.spend(cost=6000)
        served: list[int] = []

        async def come(number: int) -> None:
            await till.spend(cost=2, patience=60.0)
            served.append(number)

        await asyncio.gather(*(come(number) for number in range(5)))
        assert (served, till.counts.waiting) == ([0, 1, 2, 3, 4], 0)


async def test_who_goes_away_spends_nothing(kind: str) -> None:
    """A waiter that is cancelled leaves the budget and the line as if it had never come."""
    async with a_budget(kind, SLOW) as till:
        await till.spend(cost=120)
        waiting = till.waiting(cost=50)
        await settle(lambda: till.counts.waiting == 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (till.counts.waiting, till.counts.spent) == (0, 120)
        assert await till.spend(patience=5.0) == 0


async def test_it_is_corrected_downward_only(kind: str) -> None:
    """What the upstream says is left lowers the budget, and never raises it."""
    async with a_budget(kind, SLOW) as till:
        await till.budget.correct(DATA, 30)
        await till.budget.correct(DATA, 100)
        assert nearly(30, till.left)
        assert nearly(30, await till.drain())


async def test_the_upstream_may_ask_for_a_pause(kind: str) -> None:
    """While the upstream wants nothing, nothing goes, whatever is left."""
    async with a_budget(kind, FAST) as till:
        await till.budget.correct(DATA, 0, hold=30.0)
        with pytest.raises(BudgetExhausted) as refused:
            await till.spend(patience=20.0)
        assert refused.value.retry_delay == pytest.approx(30.0, abs=1.0)


async def test_a_lower_limit_is_learned(kind: str) -> None:
    """When the upstream admits less than the settings say, that is the limit."""
    async with a_budget(kind, SLOW) as till:
        till.budget.learn(DATA, 60)
        assert (till.left, till.counts.limit) == (60, 60)
        assert nearly(60, await till.drain())


async def test_a_share_is_left_to_whoever_else_asks(kind: str) -> None:
    """Of two consumers who ask for everything at the same time each gets about half, and both together no more."""
    async with a_budget(kind, SLOW) as till:
        await till.spend(who=("dashboard",))

        async def want(who: str) -> bool:
            try:
                await till.spend(who=(who,))
            except BudgetExhausted:
                return False
            return True

        greedy = sum(await asyncio.gather(*(want("quant") for _ in range(200))))
        modest = sum(await asyncio.gather(*(want("dashboard") for _ in range(200))))
        assert nearly(60, greedy)
        assert nearly(119, greedy + modest)
