"""The budget in Redis: replicas share it to the request, and whatever befalls Redis, the plan is not exceeded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

import pytest
import redis.asyncio as aioredis

from tickgate_server.errors import BudgetExhausted
from tickgate_server.ports import Upstream
from tickgate_server.stores.budget.shared import account_name
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
    with redis_url() as url:
        async with shared_till(url, SLOW) as one, shared_till(url, SLOW) as other:
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
    with redis_url() as url:
        async with shared_till(url, SLOW) as one, shared_till(url, SLOW) as other:
            spent = await asyncio.gather(one.drain(BACKFILL), other.drain(BACKFILL))
            left = await drained(one, other)
    assert 30 <= sum(spent) <= 31
    assert 30 <= left <= 31


async def test_other_accounts_and_upstreams_have_their_own() -> None:
    """Gateways of another account, and requests to the other upstream, take nothing from this budget."""
    with redis_url() as url:
        async with (
            shared_till(url, SLOW) as one,
            shared_till(url, SLOW, key_id="another") as other,
        ):
            await one.drain()
            assert await other.drain() in (60, 61)
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
    with redis_url() as url:
        async with shared_till(url, SLOW) as one, shared_till(url, SLOW) as other:
            await asyncio.gather(*(one.budget.correct(DATA, 0) for _ in range(5)))
            assert await drained(one, other) in (0, 1)
            await other.budget.correct(DATA, 0)
            assert (one.counts.corrections, other.counts.corrections) == (1, 0)


async def test_what_another_replica_spends_delays_who_waits() -> None:
    """Who waits for a request that another gateway takes first waits for the next, or is told that it is too late."""
    rules = policy(600)
    with redis_url() as url:
        async with shared_till(url, rules) as one, shared_till(url, rules) as other:
            await one.spend(cost=600)
            patient, hurried = one.waiting(cost=2, patience=30.0), one.waiting(patience=0.45)
            assert await other.spend(cost=2, patience=5.0) == 0
            outcomes = await asyncio.gather(patient, hurried, return_exceptions=True)
    assert outcomes[0] == 0
    assert isinstance(outcomes[1], BudgetExhausted)


async def test_a_day_is_shared_as_well() -> None:
    """A limit of a day that another gateway has used up refuses here, although there is room in the minute."""
    rules = policy(60, per_day=50)
    with redis_url() as url:
        async with shared_till(url, rules) as one, shared_till(url, rules) as other:
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
        assert await till.drain() in (20, 21)
        assert monotonic() - begun < 1.0
        assert not till.counts.shared


async def test_one_of_several_starts_with_nothing(server: RedisServer) -> None:
    """When Redis dies, one of several gateways cannot know what the others have just spent: its part starts empty."""
    rules = policy(600, replicas=2)
    async with shared_till(server.url, rules) as till:
        await till.spend()
        server.kill()
        refusal = await till.refusal()
        assert refusal.retry_delay == pytest.approx(0.2, abs=0.1)
        assert await till.spend(patience=5.0) == 0
        assert till.counts.limit == 300


async def test_a_burst_that_redis_dies_in_is_served_from_the_rest(server: RedisServer) -> None:
    """Of fifty requests on their way to Redis when it hangs, none waits longer than for one command, nor twice."""
    async with shared_till(server.url, SLOW) as till:
        await till.spend(cost=10)
        server.pause()
        begun = monotonic()
        outcomes = await asyncio.gather(*(till.spend() for _ in range(60)), return_exceptions=True)
        assert monotonic() - begun < 1.0
        server.resume()
    assert sum(isinstance(outcome, int) for outcome in outcomes) in (50, 51)


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
    async with shared_till(server.url, SLOW) as till:
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
        assert await till.drain() in (30, 31)
        assert not till.counts.shared
        server.start()
        await till.link.check()
        assert await till.drain() in (0, 1)
        assert till.counts.shared


async def test_a_correction_counts_when_redis_is_gone(server: RedisServer) -> None:
    """What the upstream says is heeded also when Redis dies at that moment."""
    async with shared_till(server.url, SLOW) as till:
        await till.spend()
        server.kill()
        await till.budget.correct(DATA, 5)
        assert (await till.drain(), till.counts.shared) == (5, False)


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
            assert await till.spend(patience=1.0) in (28, 29)
            assert await till.drain() in (28, 29, 30)


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
