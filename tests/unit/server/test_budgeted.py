"""Requests that are paid for: each costs, retries as well, and what the upstream says of its limit is heeded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tickgate_server.errors import BudgetExhausted, RateLimited, UpstreamBroken
from tickgate_server.guards.budgeted import BudgetedRequests
from tickgate_server.ports import Group, Quota, Reply, Request

from ...support.budget import BACKFILL, DATA, HandTill, hand_till
from ...support.fakes import NOW


class Wire:
    """Requests that get what is set, and are counted."""

    def __init__(self, till: HandTill) -> None:
        self.till = till
        self.sent = 0
        self.quota: Quota | None = None
        self.failure: Exception | None = None

    async def send(self, request: Request) -> Reply:
        """Answer one request."""
        self.sent += 1
        if self.failure is not None:
            raise self.failure
        return Reply(b"", "", NOW, self.till.clock.monotonic(), self.quota)


def paid() -> tuple[BudgetedRequests, Wire, HandTill]:
    """Requests, the wire below them and the budget of sixty a minute beside them."""
    till = hand_till()
    wire = Wire(till)
    return BudgetedRequests(wire, till.budget), wire, till


def request(till: HandTill, patience: float = 0.0, **other: Any) -> Request:
    """A request with so many seconds of patience."""
    deadline = till.clock.monotonic() + patience
    return Request(DATA, Group.LATEST, "/path", {}, deadline, **other)


async def test_each_request_costs() -> None:
    """Every request takes its cost out of the budget before it is sent, whatever becomes of it."""
    requests, wire, till = paid()
    await requests.send(request(till))
    wire.failure = UpstreamBroken("answered 500")
    with pytest.raises(UpstreamBroken):
        await requests.send(request(till, cost=4))
    assert (till.left, wire.sent) == (55, 2)


async def test_what_the_budget_refuses_is_not_sent() -> None:
    """A request that the budget refuses never reaches the wire; its class is the request's."""
    requests, wire, till = paid()
    for _ in range(30):
        await requests.send(request(till, priority=BACKFILL))
    with pytest.raises(BudgetExhausted):
        await requests.send(request(till, priority=BACKFILL))
    assert (wire.sent, till.left) == (30, 30)


async def test_what_the_upstream_says_is_left_is_heeded() -> None:
    """An answer that names less than is left here lowers the budget; one that names more changes nothing."""
    requests, wire, till = paid()
    wire.quota = Quota(limit=60, remaining=59)
    await requests.send(request(till))
    assert (till.left, till.counts.corrections) == (59, 0)
    wire.quota = Quota(limit=60, remaining=12)
    await requests.send(request(till))
    assert (till.left, till.counts.corrections) == (12, 1)


async def test_a_lower_limit_of_the_upstream_is_heeded() -> None:
    """An answer that names a lower limit than the settings makes it the budget's."""
    requests, wire, till = paid()
    wire.quota = Quota(limit=30, remaining=59)
    await requests.send(request(till))
    assert (till.counts.limit, till.left) == (30, 30)


async def test_a_429_empties_the_budget() -> None:
    """After a 429 without a word nothing goes until it has come back by our own count."""
    requests, wire, till = paid()
    wire.failure = RateLimited("answered 429")
    with pytest.raises(RateLimited):
        await requests.send(request(till))
    assert (till.left, till.counts.corrections) == (0, 1)
    assert (await till.refusal()).retry_delay == 1.0


async def test_a_429_that_names_a_delay_stops_everybody() -> None:
    """After a 429 that says when to come back nobody sends before: who has time waits, the others are told."""
    requests, wire, till = paid()
    wire.failure = RateLimited("answered 429", retry_delay=5.0)
    with pytest.raises(RateLimited):
        await requests.send(request(till))
    wire.failure = None
    with pytest.raises(BudgetExhausted) as refused:
        await requests.send(request(till, patience=4.0))
    assert refused.value.retry_delay == 5.0
    waiting = asyncio.create_task(requests.send(request(till, patience=6.0)))
    await till.time.advance(4.9)
    assert wire.sent == 1
    await till.time.advance(0.2)
    assert (waiting.done(), wire.sent) == (True, 2)
