"""While the upstream cannot be had, what is held of the past is answered in full, and what is not says from where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import history_pb2
from tickgate.v1 import history_service_pb2 as pb
from tickgate_sandbox import faults

from ..support.outages import QUICK, nothing_left, own_tasks, timed
from ..support.running import Stack, running, second_gateway
from ..support.stores import postgres_url, redis_url
from ..support.tape import nanoseconds
from ..support.told import Row, Told, told
from ..support.waiting import until_told

BARS: Final = "/v2/stocks/bars"
PAGE: Final = 100
"""Bars of an upstream's page: a day has four."""

STRUCK: Final = {
    "500": (faults.Status(status=500, path=BARS), "UPSTREAM_ERROR"),
    "429": (faults.Status(status=429, path=BARS), "UPSTREAM_RATE_LIMITED"),
    "401": (faults.Html401(path=BARS), "UPSTREAM_UNAUTHENTICATED"),
    "reset": (faults.Reset(path=BARS), "UPSTREAM_ERROR"),
    "truncated": (faults.Truncate(path=BARS), "UPSTREAM_ERROR"),
    "garbage": (faults.Garbage(path=BARS), "INVALID_DATA"),
    "hang": (faults.Hang(path=BARS), "UPSTREAM_TIMEOUT"),
}


def moment(text: str) -> Timestamp:
    """Return an instant of the contract."""
    time = Timestamp()
    time.FromNanoseconds(nanoseconds(text))
    return time


MONDAY: Final = (moment("2026-09-28T13:30:00Z"), moment("2026-09-28T20:00:00Z"))
TUESDAY: Final = (moment("2026-09-29T13:30:00Z"), moment("2026-09-29T20:00:00Z"))
BOTH: Final = (MONDAY[0], TUESDAY[1])


@asynccontextmanager
async def stored(*, patience: float = 0.5, **alpaca: Any) -> AsyncIterator[Stack]:
    """Run a gateway with a store, which has *patience*, in seconds, with each of the upstream's pages."""
    with postgres_url() as postgres:
        async with running(
            alpaca={**QUICK, **alpaca},
            history={"page": PAGE, "patience": patience},
            postgres_url=postgres,
        ) as stack:
            yield stack


async def bars(
    stack: Stack, span: tuple[Timestamp, Timestamp], timeframe: str = "1Min", **terms: Any
) -> Told:
    """Stream the bars of one symbol."""
    request = pb.StreamBarsRequest(
        symbols=["AAPL"], timeframe=timeframe, start_time=span[0], end_time=span[1], **terms
    )
    return (await told(stack.history.StreamBars(request)))["AAPL"]


async def held(stack: Stack, span: tuple[Timestamp, Timestamp]) -> history_pb2.CoveredInterval:
    """Wait until the store covers *span*, and return the interval that does."""
    request = pb.GetCoverageRequest(
        symbols=["AAPL"], kind=history_pb2.SERIES_KIND_BARS, timeframe="1Min"
    )

    def covering(answer: pb.GetCoverageResponse) -> list[history_pb2.CoveredInterval]:
        return [
            one
            for one in answer.results[0].coverage.intervals
            if one.start_time.ToNanoseconds() <= span[0].ToNanoseconds()
            and span[1].ToNanoseconds() <= one.end_time.ToNanoseconds()
        ]

    answer = await until_told(
        lambda: stack.history.GetCoverage(request), lambda given: bool(covering(given))
    )
    return covering(answer)[0]


def reason_of(answer: Told) -> str:
    """Return why an answer is not whole."""
    assert answer.unavailable is not None
    why = answer.unavailable.unavailable
    assert why.message
    assert why.request_id
    return reasons.ErrorReason.Name(why.reason).removeprefix("ERROR_REASON_")


@pytest.mark.parametrize(("fault", "reason"), STRUCK.values(), ids=STRUCK)
async def test_a_held_range_outlives_an_outage(fault: faults.Fault, reason: str) -> None:
    """What is held is answered in full by the store; of the rest, the reason and the first missing moment are told."""
    async with stored() as stack:
        before = own_tasks()
        whole = await bars(stack, MONDAY)
        await held(stack, MONDAY)
        stack.sandbox.faults.add(fault)
        again = await bars(stack, MONDAY)
        both = await bars(stack, BOTH)
        stack.sandbox.faults.clear()
        await nothing_left(stack.gateway, before)

    assert len(whole.rows) == 390
    assert again.rows == whole.rows
    assert again.tiers == ["TIER_STORE"]
    assert again.end is not None
    assert both.rows == whole.rows
    assert reason_of(both) == reason
    assert both.unavailable is not None
    assert both.unavailable.missing_from_time == MONDAY[1]
    assert both.unavailable.count == 390


async def test_an_open_circuit_leaves_what_is_held() -> None:
    """With the circuit open what is held is answered in full, and the rest is CIRCUIT_OPEN at once."""
    async with stored(breaker={"streak": 2, "cool_down": 60.0}) as stack:
        whole = await bars(stack, MONDAY)
        await held(stack, MONDAY)
        stack.sandbox.faults.add(faults.Status(status=503, path=BARS))
        for _ in range(2):
            await bars(stack, TUESDAY)
        asked = stack.asked(BARS)
        again, refused = await bars(stack, MONDAY), await bars(stack, TUESDAY)

        assert stack.asked(BARS) == asked
    assert again.rows == whole.rows
    assert reason_of(refused) == "CIRCUIT_OPEN"
    assert refused.rows == []


async def test_a_spent_budget_leaves_what_is_held() -> None:
    """With the budget spent what is held is answered in full, and the rest is BUDGET_EXHAUSTED with a delay."""
    # Of 19 requests history leaves 6 to others, and Monday is four pages.
    async with stored(budget={"data_per_minute": 20}) as stack:
        whole = await bars(stack, MONDAY)
        await held(stack, MONDAY)
        # It comes back while we ask, and more slowly than we do.
        timeframes = (f"{minutes}Min" for minutes in range(10, 60))
        refused = await bars(stack, TUESDAY, next(timeframes))
        while refused.unavailable is None:
            refused = await bars(stack, TUESDAY, next(timeframes))
        again = await bars(stack, MONDAY)

    assert again.rows == whole.rows
    assert again.tiers == ["TIER_STORE"]
    assert reason_of(refused) == "BUDGET_EXHAUSTED"
    assert refused.unavailable is not None
    assert refused.unavailable.unavailable.retry_delay.ToNanoseconds() > 0


async def test_nobody_waits_for_a_budget_that_comes_too_late() -> None:
    """Who has less time than the budget takes to come back is told BUDGET_EXHAUSTED at once, not a timeout later."""
    async with stored(patience=30.0, budget={"data_per_minute": 20}) as stack:
        spans = (
            (moment(f"2026-09-{day}T13:30:00Z"), moment(f"2026-09-{day}T14:30:00Z"))
            for day in range(10, 31)
        )
        reason, took = "", 0.0
        while not reason:
            start, end = next(spans)
            request = pb.ListBarsRequest(
                symbols=["AAPL"], timeframe="1Min", start_time=start, end_time=end
            )
            answer, took = await timed(stack.history.ListBars(request, timeout=1.5))
            if answer.results[0].WhichOneof("result") == "unavailable":
                why = answer.results[0].unavailable
                # A Sunday has no bars.
                reason = reasons.ErrorReason.Name(why.reason).removeprefix("ERROR_REASON_NO_DATA")

    assert reason == "ERROR_REASON_BUDGET_EXHAUSTED"
    assert took < 1.0


async def test_redis_answers_what_is_final() -> None:
    """A day that was answered once is answered by Redis while neither upstream nor store can be had."""
    with redis_url() as redis:
        async with running(alpaca=QUICK, history={"page": PAGE}, redis_url=redis) as stack:
            day = (moment("2026-09-28T04:00:00Z"), moment("2026-09-29T04:00:00Z"))
            whole = await bars(stack, day)
            stack.sandbox.faults.add(faults.Reset(path=BARS))
            again = await until_told(
                lambda: bars(stack, day), lambda answer: answer.tiers == ["TIER_REDIS"]
            )

    assert again.rows == whole.rows
    assert again.end is not None


@pytest.mark.parametrize("page", [2, 3])
async def test_an_upstream_that_fails_in_the_middle_is_gone_on_with(page: int) -> None:
    """What came before is told and kept, then from where it is missing and why; a retry by the cursor goes on there."""
    async with stored() as stack:
        stack.sandbox.faults.add(faults.Status(status=500, path=BARS, page=page))
        first = await bars(stack, MONDAY)
        stack.sandbox.faults.clear()
        asked = stack.asked(BARS)
        assert first.unavailable is not None
        rest = await bars(stack, MONDAY, cursor=first.unavailable.cursor)
        pages = stack.asked(BARS) - asked
        await held(stack, MONDAY)
        whole = await bars(stack, MONDAY)

    assert len(first.rows) == first.unavailable.count == PAGE * (page - 1)
    assert reason_of(first) == "UPSTREAM_ERROR"
    assert first.unavailable.missing_from_time.ToNanoseconds() > first.rows[-1]["t"]
    assert first.unavailable.missing_from_time.ToNanoseconds() <= rest.rows[0]["t"]
    assert first.rows + rest.rows == whole.rows
    assert len(whole.rows) == 390
    assert pages == 5 - page


async def test_two_gateways_write_one_range_once() -> None:
    """Two gateways that are asked the same at once both answer it in full, and the store holds each bar once."""
    with postgres_url() as postgres:
        settings: dict[str, Any] = {
            "alpaca": QUICK,
            "history": {"page": PAGE},
            "postgres_url": postgres,
        }
        async with (
            running(**settings) as first,
            second_gateway(first, **settings) as second,
        ):
            answers = await asyncio.gather(
                *(bars(stack, MONDAY) for stack in (first, second) for _ in range(5))
            )
            coverage = [await held(stack, MONDAY) for stack in (first, second)]
            stored_rows: list[list[Row]] = [
                (await bars(stack, MONDAY)).rows for stack in (first, second)
            ]

    assert all(answer.rows == answers[0].rows for answer in answers)
    assert [one.count for one in coverage] == [390, 390]
    assert stored_rows == [answers[0].rows] * 2
