"""While Redis is gone, hangs or is slow, callers get their values all the same; when it is back, so is the tier."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import grpc
import pytest

from tools.embedded import RedisServer, redis_server

from ..support.outages import QUICK, cold_symbols, nothing_left, own_tasks, timed
from ..support.proxy import FaultProxy, fault_proxy
from ..support.running import Stack, running, second_gateway
from ..support.shown import (
    SHARED,
    UPSTREAM,
    Shown,
    held_in_redis,
    redis_says,
    redis_state,
    status,
)
from ..support.waiting import PATIENCE

SYMBOLS = list(islice(cold_symbols(), 60))
WARM, COLD, LATER = SYMBOLS[:20], SYMBOLS[20:40], SYMBOLS[40:]

TIMEOUT = 0.5
SETTINGS: Mapping[str, Any] = {
    "alpaca": QUICK,
    "redis": {"timeout": TIMEOUT, "check_every": 0.05},
}

Act = Callable[[RedisServer, FaultProxy], None]

OUTAGES: dict[str, tuple[Act, Act]] = {
    "killed": (lambda server, _: server.kill(), lambda server, _: server.start()),
    "hung": (lambda server, _: server.pause(), lambda server, _: server.resume()),
    "blackhole": (lambda _, proxy: proxy.blackhole(), lambda _, proxy: proxy.mend()),
    "slow": (lambda _, proxy: proxy.delay(1.0), lambda _, proxy: proxy.mend()),
    "reset": (lambda _, proxy: proxy.reset(), lambda _, proxy: proxy.mend()),
    "refused": (lambda _, proxy: proxy.refuse(), lambda _, proxy: proxy.mend()),
    "half-closed": (lambda _, proxy: proxy.half_close(), lambda _, proxy: proxy.mend()),
    "cut-short": (lambda _, proxy: proxy.cut_after(3), lambda _, proxy: proxy.mend()),
}
each_outage = pytest.mark.parametrize(("strike", "mend"), OUTAGES.values(), ids=OUTAGES)


def behind(proxy: FaultProxy) -> str:
    """Return the address of a Redis behind *proxy*."""
    return f"redis://127.0.0.1:{proxy.port}/0"


async def in_turn(shown: Shown, stack: Stack, symbols: list[str]) -> set[str]:
    """Ask for one symbol after the other, from Redis or the upstream, and return what was told."""
    allowed = (*SHARED, *UPSTREAM)
    return {await shown.ask(stack, symbol, allowed) for symbol in symbols}


@each_outage
async def test_reads_go_on_without_redis(strike: Act, mend: Act) -> None:
    """In an outage every answer is right, and costs one timeout once; it is told, and ends with nothing left behind."""
    with redis_server() as server:
        async with (
            fault_proxy(server.port) as proxy,
            running(redis_url=behind(proxy), **SETTINGS) as one,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask_all(one, WARM)
            await held_in_redis(server.url, WARM)
            before = own_tasks()

            strike(server, proxy)
            burst = await shown.ask_all(one, WARM + COLD)
            # Were Redis asked each time, it would take twenty timeouts.
            singly, took = await timed(in_turn(shown, one, COLD))
            down = await redis_state(one)
            shared = (await status(one)).budgets[0].shared

            mend(server, proxy)
            await redis_says(one, "UP")
            after = await shown.ask_all(one, LATER)
            await shown.until_shared(one, LATER[0])
            await nothing_left(one.gateway, before)

    assert burst == {"MEMORY": 20, "UPSTREAM": 20}
    assert (singly, down, shared) == ({"UPSTREAM"}, "DOWN", False)
    assert took < 10 * TIMEOUT
    assert after == {"UPSTREAM": 20}


@each_outage
async def test_a_burst_in_which_redis_goes(strike: Act, mend: Act) -> None:
    """When Redis goes in the middle of a burst, each caller of it gets the right value, from where it is."""
    with redis_server() as server:
        async with (
            fault_proxy(server.port) as proxy,
            running(redis_url=behind(proxy), **SETTINGS) as one,
            second_gateway(one, redis_url=server.url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask_all(other, WARM)
            await held_in_redis(server.url, WARM)

            calls = [asyncio.create_task(shown.ask(one, symbol)) for symbol in SYMBOLS * 5]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            strike(server, proxy)
            told = set(await asyncio.gather(*calls))
            mend(server, proxy)
            await redis_says(one, "UP")
            await shown.until_shared(one, WARM[0])

    assert told <= {"MEMORY", "REDIS", "UPSTREAM"}


async def test_redis_that_comes_later() -> None:
    """A gateway starts without its Redis, serves, and uses it once it is there."""
    with redis_server() as server:
        server.kill()
        async with running(redis_url=server.url, **SETTINGS) as one:
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            without = await shown.ask_all(one, COLD), await redis_state(one)
            server.start()
            await redis_says(one, "UP")
            await shown.until_shared(one, LATER[0])
            shared = (await status(one)).budgets[0].shared

    assert without == ({"UPSTREAM": 20}, "DOWN")
    assert shared


async def test_the_default_settings_recover_in_time() -> None:
    """With the settings as they are delivered, a Redis that is back is in use again within five seconds."""
    with redis_server() as server:
        async with running(redis_url=server.url) as one:
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            server.kill()
            await shown.ask(one, COLD[0])
            await redis_says(one, "DOWN")
            server.start()
            began = time.monotonic()
            await redis_says(one, "UP")
            await shown.until_shared(one, LATER[0])

            assert time.monotonic() - began < 5


async def test_the_one_that_loses_redis_harms_no_other() -> None:
    """Of two replicas one loses its way to Redis: the other goes on with it, and the first finds it again later."""
    with redis_server() as server:
        async with (
            fault_proxy(server.port) as proxy,
            running(redis_url=server.url, **SETTINGS) as one,
            second_gateway(one, redis_url=behind(proxy), **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            proxy.blackhole()
            lost = await shown.ask_all(other, WARM)
            kept = await shown.ask_all(one, WARM)
            await held_in_redis(server.url, WARM)
            states = await redis_state(one), await redis_state(other)
            await shown.until_shared(one, WARM[0])
            proxy.mend()
            await redis_says(other, "UP")
            found = await shown.ask(other, WARM[1], SHARED)

    assert (lost, kept) == ({"UPSTREAM": 20}, {"UPSTREAM": 20})
    assert states == ("UP", "DOWN")
    assert found == "REDIS"


async def test_a_redis_that_hung_brings_no_old_value_back() -> None:
    """What the upstream said last stays in Redis, however a replica that was cut off from it brings something older."""
    symbol, other_symbol = WARM[:2]
    with redis_server() as server:
        async with (
            running(redis_url=server.url, **SETTINGS) as one,
            second_gateway(one, redis_url=server.url, **SETTINGS) as other,
        ):
            shown = Shown(one.sandbox)
            shown.show(WARM, edition=1)
            await shown.ask(one, symbol)
            await held_in_redis(server.url, [symbol])
            server.pause()
            shown.show([symbol], edition=2)
            newer = await shown.ask(one, symbol, UPSTREAM), shown.editions[symbol]
            server.resume()
            await redis_says(one, "UP")
            await redis_says(other, "UP")
            # This time Redis takes it, and then not what an upstream that lags behind says.
            await shown.ask(other, symbol, UPSTREAM)
            shown.show([symbol], edition=1)
            await shown.ask(one, symbol, UPSTREAM)
            await shown.ask(one, other_symbol, UPSTREAM)
            await held_in_redis(server.url, [other_symbol])
            await shown.until_shared(other, symbol)

    assert newer == ("UPSTREAM", 2)
    assert shown.editions[symbol] == 2


async def test_callers_in_a_hurry_do_not_wait_for_a_hung_redis_for_ever() -> None:
    """Redis that hangs is left out also where no caller waits as long as it may take: they get their values."""
    with redis_server() as server:
        async with running(redis_url=server.url, **SETTINGS) as one:
            shown = Shown(one.sandbox)
            shown.show(SYMBOLS)
            await shown.ask(one, WARM[0])
            await held_in_redis(server.url, [WARM[0]])
            before = own_tasks()
            server.pause()
            async with asyncio.timeout(PATIENCE):
                while await redis_state(one) != "DOWN":
                    with suppress(grpc.aio.AioRpcError):
                        await shown.ask(one, COLD[0], SHARED, timeout=TIMEOUT / 2)
            told = await shown.ask(one, COLD[0], timeout=TIMEOUT / 2)
            server.resume()
            await redis_says(one, "UP")
            await nothing_left(one.gateway, before)

    assert told == "UPSTREAM"
