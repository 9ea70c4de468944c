"""Who pays for what is asked of the upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tickgate_server.app.tasks import running_jobs
from tickgate_server.guards.boarding import Boarding
from tickgate_server.guards.flights import Flights
from tickgate_server.identity.consumer import Consumer
from tickgate_server.identity.current import CALLER, payers

from ...support.fakes import HandClock, settle

CLOCK = HandClock()


class Upstream:
    """Answers when it is told to, and remembers for whom it was asked, as it was when the answer came."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.paid: list[list[str]] = []

    async def ask(self, keys: list[str], deadline: float) -> Mapping[str, str]:
        """Answer each key with itself."""
        self.asked += 1
        await self.may_answer.wait()
        self.paid.append(list(payers()))
        return {key: key for key in keys}


async def ask_as(
    name: str, flights: Flights[str, str], upstream: Upstream, key: str, line: str | None = None
) -> None:
    """Ask for *key* as the consumer *name*."""
    CALLER.set(Consumer(name))
    await flights.join([key], upstream.ask, CLOCK.monotonic() + 10.0, line)
    assert list(payers()) == [name]


async def test_a_shared_call_is_done_for_all_who_wait_for_it() -> None:
    """A call's task keeps its first asker, and learns of each who joins, also while it is under way."""
    flights: Flights[str, str] = Flights(5.0, CLOCK.monotonic)
    upstream = Upstream()
    async with asyncio.TaskGroup() as tasks:
        for name in ("quant", "dashboard", "quant", "billing"):
            tasks.create_task(ask_as(name, flights, upstream, "AAPL"))
            await settle(lambda: upstream.asked == 1)
        # They have joined when each has had a turn.
        await asyncio.sleep(0)
        upstream.may_answer.set()
    assert upstream.paid == [["quant", "dashboard", "billing"]]


async def test_a_batch_is_done_for_all_who_travel_in_it() -> None:
    """Questions for single symbols that travel together are paid by one of those who asked them."""
    flights: Flights[str, str] = Flights(
        5.0, CLOCK.monotonic, Boarding(window=0.01, longest=0.02, most=100)
    )
    upstream = Upstream()
    upstream.may_answer.set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask_as("quant", flights, upstream, "AAPL", "iex"))
        tasks.create_task(ask_as("dashboard", flights, upstream, "MSFT", "iex"))
    assert upstream.paid == [["quant", "dashboard"]]


async def test_what_runs_by_itself_is_nobodys() -> None:
    """A job that begins when somebody calls, such as a feed, is not done at his expense from then on."""
    CALLER.set(Consumer("quant"))
    paid: list[list[str]] = []

    async def job() -> None:
        paid.append(list(payers()))

    async with running_jobs() as start:
        start(job())
        await settle(lambda: bool(paid))
    assert paid == [[""]]
