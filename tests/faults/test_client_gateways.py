"""A client with several gateways when one of them dies or cannot be reached."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import tickgate

from ..support.proxy import fault_proxy
from ..unit.client.serving import served
from ..unit.client.test_gateways import ask_until_both_are_asked, standing


async def test_an_end_without_a_word_is_made_up_for() -> None:
    """However many calls were under way where a gateway has died, all of them are asked of the other."""
    arrived: list[Any] = []

    async def hang(request: Any, context: Any) -> Any:
        arrived.append(request)
        await asyncio.Event().wait()

    async with (
        served(GetQuote=hang) as dying,
        fault_proxy(int(dying.rpartition(":")[2])) as proxy,
        standing() as other,
        tickgate.connect([f"127.0.0.1:{proxy.port}", other.target]) as client,
        asyncio.timeout(20),
        asyncio.TaskGroup() as calls,
    ):
        while len(arrived) < 100:
            calls.create_task(client.quote("AAPL", timeout=20))
            await asyncio.sleep(0)
        proxy.refuse()


async def test_a_gateway_that_comes_back_is_used_again() -> None:
    """A gateway that was away for a while is asked again within seconds, not minutes."""
    async with (
        standing() as one,
        fault_proxy(int(one.target.rpartition(":")[2])) as proxy,
        standing() as other,
        tickgate.connect([f"127.0.0.1:{proxy.port}", other.target]) as client,
    ):
        await ask_until_both_are_asked(client, one, other)
        proxy.refuse()
        for _ in range(10):
            await client.quote("AAPL", timeout=20)
        proxy.mend()
        await ask_until_both_are_asked(client, one, other)


@pytest.mark.slow
async def test_a_gateway_that_falls_silent_is_left_alone() -> None:
    """One that hangs, or whose machine has vanished, ends no connection: it is noticed by what it does not answer."""
    async with (
        standing() as one,
        fault_proxy(int(one.target.rpartition(":")[2])) as proxy,
        standing() as other,
        tickgate.connect([f"127.0.0.1:{proxy.port}", other.target]) as client,
    ):
        await ask_until_both_are_asked(client, one, other)
        proxy.blackhole()
        answered = 0
        async with asyncio.timeout(40):
            while answered < 20:
                try:
                    await client.quote("AAPL", timeout=0.5)
                except tickgate.DeadlineExceeded:
                    answered = 0
                else:
                    answered += 1

        assert not one.asked
