"""A Redis that answers and refuses, that forgets what it knew, or that is told a civil time that jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import pytest
import redis

from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import SandboxSettings
from tools.embedded import RedisServer, redis_server

from ..support.outages import QUICK, cold_symbols
from ..support.proxy import FaultProxy, fault_proxy
from ..support.running import FROZEN, Stack, running, second_gateway
from ..support.shown import NANOS, SHARED, Shown, held_in_redis, redis_says, redis_state, status
from ..support.spending import spend
from ..support.stores import redis_url

SYMBOLS = list(islice(cold_symbols(), 60))
WARM, COLD, LATER = SYMBOLS[:20], SYMBOLS[20:40], SYMBOLS[40:]

SETTINGS: Mapping[str, Any] = {"alpaca": QUICK, "redis": {"timeout": 1.0, "check_every": 0.05}}

PLAN = SandboxSettings(at=FROZEN.at, speed=0, rate_limit=200)

REFUSALS = {
    "full": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "read-only": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "without-replicas": (
        "CONFIG SET min-replicas-to-write 1",
        "CONFIG SET min-replicas-to-write 0",
    ),
    "without-scripts": ("ACL SETUSER default -@scripting", "ACL SETUSER default +@all"),
    "without-rights": ("ACL SETUSER default -@write -@scripting", "ACL SETUSER default +@all"),
}
each_refusal = pytest.mark.parametrize(("strike", "mend"), REFUSALS.values(), ids=REFUSALS)


def command(server: RedisServer, words: str) -> None:
    """Give *server* a command, as its administrator."""
    with redis.Redis.from_url(server.url) as client:
        client.execute_command(*words.split())


@each_refusal
async def test_a_redis_that_takes_no_writes_can_be_read(strike: str, mend: str) -> None:
    """What a full or read-only Redis holds is served, the rest comes from the upstream; writes go on when they can."""
    with redis_server() as server:
        async with (
            running(redis_url=server.url, **SETTINGS) as one,
            second_gateway(one, redis_url=server.url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask_all(one, WARM)
            await held_in_redis(server.url, WARM)

            command(server, strike)
            held, cold = await shown.ask_all(other, WARM), await shown.ask_all(other, COLD)
            state, shared = await redis_state(other), (await status(other)).budgets[0].shared

            command(server, mend)
            later = await shown.ask_all(other, LATER)
            await held_in_redis(server.url, LATER)
            shared_again = (await status(other)).budgets[0].shared

    assert (held, cold, later) == ({"REDIS": 20}, {"UPSTREAM": 20}, {"UPSTREAM": 20})
    assert (state, shared, shared_again) == ("UP", False, True)


def set_civil_time(stack: Stack, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the civil time of a gateway be *ahead* by so many seconds from now on."""
    clock = stack.gateway.clock
    monkeypatch.setattr(clock, "wall", lambda: time.time_ns() + ahead * NANOS)


@pytest.mark.parametrize("ahead", [-3600, -20, 20, 3600])
async def test_a_reader_whose_civil_time_jumps_makes_nothing_younger(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When civil time jumps at a replica, nothing that others have put into Redis looks younger than it is."""
    with redis_url() as url:
        async with (
            running(redis_url=url, **SETTINGS) as one,
            second_gateway(one, redis_url=url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            shown.clock_jumps = True
            await shown.ask_all(one, WARM)
            await held_in_redis(url, WARM)
            confirmed = time.monotonic()
            set_civil_time(other, ahead, monkeypatch)
            young = []
            for symbol in WARM:
                least = (time.monotonic() - confirmed) * NANOS
                answer = await other.quotes.GetQuote(pb.GetQuoteRequest(symbol=symbol))
                origin = answer.result.quote.provenance
                if shown.told(answer.result) != "UPSTREAM":
                    young.append(least - origin.receive_age.ToNanoseconds())
            set_civil_time(other, 0, monkeypatch)
            after = await shown.ask_all(other, COLD)
            await shown.until_shared(other, LATER[0])

    assert all(younger <= 0 for younger in young)
    assert after == {"UPSTREAM": 20}


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_a_writer_whose_civil_time_jumped_spoils_nothing(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a replica with a wrong civil time puts into Redis is used by nobody and stands in nobody's way."""
    with redis_url() as url:
        async with (
            running(redis_url=url, **SETTINGS) as one,
            second_gateway(one, redis_url=url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            shown.clock_jumps = True
            set_civil_time(one, ahead, monkeypatch)
            await shown.ask_all(one, WARM)
            await held_in_redis(url, WARM)
            told = {await shown.ask(other, symbol, SHARED) for symbol in WARM}
            await shown.until_shared(other, WARM[0])

    assert told <= {"NOT_HELD", "TOO_STALE"}


# ------------------------------------------------------------------------------------ the budget


Act = Callable[[RedisServer, FaultProxy], None]

LOSSES: dict[str, tuple[Act, Act]] = {
    "restarted-empty": (lambda server, _: server.kill(), lambda server, _: server.start()),
    "emptied": (lambda server, _: command(server, "FLUSHALL"), lambda _, __: None),
    "hung": (lambda server, _: server.pause(), lambda server, _: server.resume()),
    "unreachable": (lambda _, proxy: proxy.reset(), lambda _, proxy: proxy.mend()),
    "blackhole": (lambda _, proxy: proxy.blackhole(), lambda _, proxy: proxy.mend()),
    "full": (
        lambda server, _: command(server, REFUSALS["full"][0]),
        lambda server, _: command(server, REFUSALS["full"][1]),
    ),
}
each_loss = pytest.mark.parametrize(("strike", "mend"), LOSSES.values(), ids=LOSSES)


@each_loss
async def test_a_redis_that_forgets_refills_no_budget(strike: Act, mend: Act) -> None:
    """However Redis goes and comes back, empty or not, the upstream's limit of 200 a minute is never met."""
    names = cold_symbols()
    with redis_server() as server:
        async with (
            fault_proxy(server.port) as proxy,
            running(
                PLAN,
                redis_url=f"redis://127.0.0.1:{proxy.port}",
                redis={"timeout": 0.25, "check_every": 0.05},
            ) as one,
        ):
            began = time.monotonic()
            await asyncio.gather(*(spend(one, names, 5) for _ in range(20)))
            strike(server, proxy)
            await asyncio.gather(*(spend(one, names, 2) for _ in range(20)))
            mend(server, proxy)
            await redis_says(one, "UP")
            refused = sum(await asyncio.gather(*(spend(one, names, 4) for _ in range(20))))
            elapsed = time.monotonic() - began
            budget = (await status(one)).budgets[0]
            asked, limited = one.asked("/v2/stocks"), one.sandbox.counters.statuses[429]

    assert limited == 0
    assert 180 <= asked <= 191 + elapsed * 190 / 60
    assert budget.spent == asked
    assert refused > 0


async def test_a_replica_on_its_own_keeps_within_its_part() -> None:
    """When one of two replicas loses Redis, both go on, and together they do not meet the upstream's limit."""
    names = cold_symbols()
    settings: dict[str, Any] = {
        "redis": {"timeout": 0.25, "check_every": 0.05},
        "alpaca": {"budget": {"replicas": 2}},
    }
    with redis_server() as server:
        async with (
            fault_proxy(server.port) as proxy,
            running(PLAN, redis_url=server.url, **settings) as one,
            second_gateway(one, redis_url=f"redis://127.0.0.1:{proxy.port}", **settings) as other,
        ):
            await asyncio.gather(*(spend(stack, names, 3) for stack in [one, other] * 10))
            proxy.blackhole()
            await asyncio.gather(*(spend(stack, names, 4) for stack in [one, other] * 10))
            alone = (await status(other)).budgets[0]
            together = (await status(one)).budgets[0]
            proxy.mend()
            await redis_says(other, "UP")
            await asyncio.gather(*(spend(stack, names, 6) for stack in [one, other] * 10))
            again = (await status(other)).budgets[0]
            asked, limited = one.asked("/v2/stocks"), one.sandbox.counters.statuses[429]

    assert limited == 0
    assert asked >= 180
    assert (alone.shared, together.shared, again.shared) == (False, True, True)
    assert alone.limit == 95
