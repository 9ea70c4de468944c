"""The budget in Redis: replicas share it to the request, and whatever befalls Redis, the plan is not exceeded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

import pytest
import redis.asyncio as aioredis

from tickgate_server.errors import BudgetExhausted
from tickgate_server.ports import Upstream
from tickgate_server.stores.budget.budget import BudgetPolicy
from tickgate_server.stores.budget.shared import Look, Size, account_name
from tools.embedded import RedisServer, redis_server

from ...support.budget import BACKFILL, DATA, INTERACTIVE, SharedTill, Till, policy, shared_till
from ...support.stores import redis_url

SLOW = policy(60)
"""One a second: hardly one comes back while a test spends all."""

KEY = f"tg:1:budget:v1:gcra:{account_name('a key')}:alpaca.data:minute"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that a test may kill."""
    with redis_server() as running:
        yield running


def nearly(expected: int, found: int) -> bool:
    """Whether it is what was expected, and no more on top than comes back on a machine that is busy."""
    return expected <= found <= expected + 3


@asynccontextmanager
async def two_tills(
    rules: BudgetPolicy, other_key: str = "a key"
) -> AsyncIterator[tuple[SharedTill, SharedTill]]:
    """Two gateways that share one Redis."""
    with redis_url() as url:
        async with shared_till(url, rules) as one, shared_till(url, rules, key_id=other_key) as two:
            yield one, two


async def drained(*tills: Till) -> int:
    """Spend from all *tills* at once until each refuses, and return how much was admitted."""
    return sum(await asyncio.gather(*(till.drain() for till in tills)))


async def hammered(tills: list[SharedTill], stop: asyncio.Event) -> int:
    """Spend from all *tills* as fast as they admit until *stop*, and return how much was admitted."""
    admitted = 0

    async def hammer(till: SharedTill) -> None:
        nonlocal admitted
        while not stop.is_set():
            with suppress(BudgetExhausted):
                await till.spend()
                admitted += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(hammer(till) for till in tills for _ in range(3)))
    return admitted


async def test_replicas_share_one_bucket_to_the_request() -> None:
    """Two gateways with three hundred requests each at the same time get out exactly what the bucket holds."""
    async with two_tills(policy(60, replicas=2)) as (one, other):
        begun = monotonic()
        asked = [till.spend() for till in (one, other) for _ in range(300)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        came_back = monotonic() - begun
    admitted = sum(isinstance(outcome, int) for outcome in outcomes)
    assert 60 <= admitted <= 60 + came_back
    assert all(isinstance(outcome, int | BudgetExhausted) for outcome in outcomes)
    assert (one.counts.shared, other.counts.shared) == (True, True)


async def test_replicas_keep_a_floor_together() -> None:
    """Not even together do the backfills of two gateways go below their floor."""
    async with two_tills(SLOW) as (one, other):
        spent = await asyncio.gather(one.drain(BACKFILL), other.drain(BACKFILL))
        left = await drained(one, other)
    assert nearly(30, sum(spent))
    assert nearly(30, left)


async def test_other_accounts_and_upstreams_have_their_own() -> None:
    """Gateways of another account, and requests to the other upstream, take nothing from this budget."""
    async with two_tills(SLOW, "another") as (one, other):
        await one.drain()
        assert nearly(60, await other.drain())
        deadline = one.clock.monotonic()
        assert await one.budget.spend(Upstream.TRADING, INTERACTIVE, 1, deadline) == 29


async def test_no_key_is_written_to_redis() -> None:
    """The names in Redis tell the account by a hash, never by its key, and end by themselves."""
    with redis_url() as url:
        async with shared_till(url, SLOW, key_id="PKSECRET") as till:
            await till.spend()
            name = KEY.replace(account_name("a key"), account_name("PKSECRET"))
            assert await till.link.client.keys() == [name.encode()]
            assert "PKSECRET" not in name
            assert 0 < await till.link.client.ttl(name) <= 60


async def test_a_correction_reaches_the_other_replica() -> None:
    """A 429 that one gateway gets empties the bucket of all; it is counted where it lowered something."""
    async with two_tills(SLOW) as (one, other):
        await asyncio.gather(*(one.budget.correct(DATA, 0) for _ in range(5)))
        assert nearly(0, await drained(one, other))
        await other.budget.correct(DATA, 0)
        assert (one.counts.corrections, other.counts.corrections) == (1, 0)


@pytest.mark.parametrize(
    ("per_minute", "patience", "served"), [(600, 30.0, True), (60, 1.5, False)]
)
async def test_what_another_replica_takes_delays_who_waits(
    per_minute: int, patience: float, served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds that another gateway took what it waited for waits on, or is told that it is too late."""
    async with two_tills(policy(per_minute)) as (one, other):
        await one.spend(cost=per_minute)
        take = one.buckets.take

        async def be_late(name: str, size: Size, floor: int, cost: int) -> Look:
            monkeypatch.setattr(one.buckets, "take", take)
            # It may be a little early for both.
            while not (await other.buckets.take(name, size, floor, 1)).taken:
                pass
            return await take(name, size, floor, cost)

        monkeypatch.setattr(one.buckets, "take", be_late)
        (outcome,) = await asyncio.gather(one.waiting(patience=patience), return_exceptions=True)
        assert isinstance(outcome, int if served else BudgetExhausted)
        assert one.buckets.take is take
        assert one.counts.waiting == 0


async def test_those_on_their_way_leave_nothing_to_the_next() -> None:
    """What is being asked of Redis counts as spent: whoever comes meanwhile waits for the answer, or is refused."""
    async with two_tills(SLOW) as (one, _):
        await one.spend(cost=58)
        asked = [one.waiting(patience=patience) for patience in (0.0, 0.0, 0.0, 5.0)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(outcome, int) for outcome in outcomes] == [True, True, False, True]


async def test_a_day_is_shared_as_well() -> None:
    """A limit of a day that another gateway has used up refuses here, although there is room in the minute."""
    rules = policy(60, per_day=50)
    async with two_tills(rules) as (one, other):
        await one.spend(cost=50)
        assert other.left == 50
        refusal = await other.refusal()
    assert refusal.retry_delay == pytest.approx(1728, abs=1)


async def test_memory_takes_over_with_what_was_left(server: RedisServer) -> None:
    """When Redis dies, the only gateway of an account goes on at once with the rest of the budget, and no more."""
    async with shared_till(server.url, SLOW) as till:
        await till.spend(cost=40)
        server.kill()
        begun = monotonic()
        assert nearly(20, await till.drain())
        assert monotonic() - begun < 1.0
        assert not till.counts.shared


async def test_one_of_several_starts_with_nothing(server: RedisServer) -> None:
    """When Redis dies, one of several gateways cannot know what the others have just spent: its part starts empty."""
    rules = policy(600, replicas=2)
    async with shared_till(server.url, rules) as till:
        await till.spend()
        server.kill()
        refusal = await till.refusal(cost=100)
        assert refusal.retry_delay == pytest.approx(20.0, abs=1.0)
        await till.spend(patience=5.0)
        assert (till.counts.limit, till.counts.shared) == (300, False)


async def test_a_burst_that_redis_dies_in_is_served_from_the_rest(server: RedisServer) -> None:
    """Of fifty requests on their way to Redis when it hangs, none waits longer than for one command, nor twice."""
    async with shared_till(server.url, SLOW, answers_in=0.25) as till:
        await till.spend(cost=10)
        server.pause()
        begun = monotonic()
        outcomes = await asyncio.gather(*(till.spend() for _ in range(60)), return_exceptions=True)
        assert monotonic() - begun < 1.0
        server.resume()
    assert nearly(50, sum(isinstance(outcome, int) for outcome in outcomes))


async def test_a_redis_that_comes_back_empty_is_told_what_was_spent(server: RedisServer) -> None:
    """After a restart without its memory Redis does not hand out a full bucket on top of what was spent."""
    async with shared_till(server.url, SLOW) as till:
        begun = monotonic()
        await till.spend(cost=30)
        server.kill()
        await till.spend(cost=10)
        server.start()
        await till.link.check()
        admitted = 40 + await till.drain()
        assert till.counts.shared
        assert 58 <= admitted <= 60 + monotonic() - begun


async def test_a_redis_that_was_only_away_is_told_what_was_spent(server: RedisServer) -> None:
    """A Redis that hung and remembers gets told what was spent without it, however many spend at its return."""
    async with shared_till(server.url, SLOW, answers_in=0.25) as till:
        begun = monotonic()
        await till.spend(cost=20)
        server.pause()
        await till.spend(cost=10)
        server.resume()
        await till.link.check()
        outcomes = await asyncio.gather(*(till.spend() for _ in range(50)), return_exceptions=True)
        admitted = 30 + sum(isinstance(outcome, int) for outcome in outcomes)
        assert till.counts.shared
        assert 57 <= admitted + await till.drain() <= 60 + monotonic() - begun


async def test_a_redis_that_goes_again_on_its_return_harms_nobody(server: RedisServer) -> None:
    """When Redis dies once more while it is told what was spent, the gateway stays on its own and forgets nothing."""
    async with shared_till(server.url, SLOW) as till:
        await till.spend(cost=20)
        server.kill()
        await till.spend(cost=10)
        server.start()
        await till.link.check()
        server.kill()
        assert nearly(30, await till.drain())
        assert not till.counts.shared
        server.start()
        await till.link.check()
        assert nearly(0, await till.drain())
        assert till.counts.shared


async def test_a_correction_counts_when_redis_is_gone(server: RedisServer) -> None:
    """What the upstream says is heeded also when Redis dies at that moment."""
    async with shared_till(server.url, SLOW) as till:
        await till.spend()
        server.kill()
        await asyncio.gather(*(till.budget.correct(DATA, remaining) for remaining in (9, 5)))
        assert nearly(5, await till.drain())
        assert not till.counts.shared


async def test_a_redis_that_forgot_unnoticed_is_reminded() -> None:
    """When Redis loses the bucket without ever being away, the next request finds out, and the others are refused."""
    with redis_url() as url:
        async with shared_till(url, SLOW) as till:
            begun = monotonic()
            await till.spend(cost=50)
            await till.link.client.flushdb()
            assert 8 <= await till.drain() <= 10 + monotonic() - begun


async def test_a_clock_of_redis_set_back_refuses_nobody() -> None:
    """When the clock of Redis jumps back by an hour, the budget goes on where it was: nobody is refused for an hour."""
    with redis_url() as url:
        async with shared_till(url, SLOW) as till:
            await till.spend(cost=30)
            full_at = await till.link.client.get(KEY)
            await till.link.client.set(KEY, float(full_at or 0) + 3600)
            assert nearly(28, await till.spend(patience=5.0))
            assert nearly(28, await till.drain())


async def test_a_redis_that_takes_nothing_is_done_without(server: RedisServer) -> None:
    """A Redis that answers but refuses to write is no budget: the gateway spends from its own, and keeps to it."""
    async with shared_till(server.url, policy(600, replicas=2)) as till:
        async with aioredis.Redis.from_url(server.url) as admin:
            await till.spend()
            await admin.config_set("maxmemory", "1")
            begun = monotonic()
            for _ in range(5):
                await till.spend(patience=5.0)
            assert not till.counts.shared
            assert monotonic() - begun == pytest.approx(1.0, abs=0.5)
            await admin.config_set("maxmemory", "0")
            await till.spend(patience=5.0)
        assert till.counts.shared


@pytest.mark.parametrize("replicas", [1, 2])
async def test_the_plan_is_kept_whatever_befalls_redis(server: RedisServer, replicas: int) -> None:
    """Gateways that ask without end while Redis is killed and comes back empty, again and again, keep to the bucket."""
    rules = policy(600, replicas=replicas)
    async with shared_till(server.url, rules) as one, shared_till(server.url, rules) as other:
        tills = [one, other][:replicas]
        stop, begun = asyncio.Event(), monotonic()
        hammering = asyncio.create_task(hammered(tills, stop))
        for _ in range(3):
            await spent_until(tills, 20)
            server.kill()
            await spent_until(tills, 20)
            server.start()
            await asyncio.gather(*(till.link.check() for till in tills))
        stop.set()
        admitted = await hammering
    assert admitted <= 600 + 10 * (monotonic() - begun)


async def spent_until(tills: list[SharedTill], more: int) -> None:
    """Wait until *more* requests have been spent, or refused a thousand times."""
    spent = sum(till.counts.spent for till in tills) + more
    refused = sum(till.counts.refused for till in tills) + 1000
    while (  # noqa: ASYNC110 - what is waited for is a sum of counters
        sum(till.counts.spent for till in tills) < spent
        and sum(till.counts.refused for till in tills) < refused
    ):
        await asyncio.sleep(0)
