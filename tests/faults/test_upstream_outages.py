"""While the upstream fails, callers are told so or served what is held; when it is back, so are the answers."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from tickgate_sandbox import Fault, faults

from ..support.outages import (
    LATE,
    LATEST,
    QUICK,
    ask,
    cold_symbols,
    latest,
    nothing_left,
    own_tasks,
    pin,
    recovered,
    timed,
)
from ..support.running import running
from ..support.waiting import until

OUTAGES = {
    "500": (faults.Status(status=500), "UPSTREAM_ERROR"),
    "503": (faults.Status(status=503, body="<html>"), "UPSTREAM_ERROR"),
    "429": (faults.Status(status=429), "UPSTREAM_RATE_LIMITED"),
    "reset": (faults.Reset(), "UPSTREAM_ERROR"),
    "truncated": (faults.Truncate(), "UPSTREAM_ERROR"),
    "latency": (faults.Latency(seconds=10), "UPSTREAM_TIMEOUT"),
    "hang": (faults.Hang(), "UPSTREAM_TIMEOUT"),
}
BREAKING = {name: outage for name, outage in OUTAGES.items() if name != "429"}
"""Those that open a circuit: a 429 proves that somebody is there."""

each_outage = pytest.mark.parametrize(("fault", "reason"), OUTAGES.values(), ids=OUTAGES)
SILENT = (faults.Latency, faults.Hang)


def struck(fault: Fault, path: str = LATEST) -> Fault:
    """Return *fault* for requests of *path*."""
    fault.path = path
    return fault


@each_outage
async def test_an_outage_is_told_bridged_and_over(fault: Fault, reason: str) -> None:
    """In an outage a cold symbol has its reason, a held one its value, marked if it is stale; then all is well."""
    cold, other = islice(cold_symbols(), 2)
    # A silent upstream is not worth waiting for longer than this.
    patience = 0.5 if isinstance(fault, SILENT) else 5.0
    async with running(memory={"keep_open": 0}, alpaca=QUICK) as stack:
        pin(stack.sandbox, ("HELD", cold, other))
        before = own_tasks()
        assert await ask(stack, "HELD") == "UPSTREAM"
        stack.sandbox.faults.add(struck(fault))

        missed, took = await timed(ask(stack, cold, timeout=patience))
        held = await ask(stack, "HELD", timeout=patience)
        stale = await ask(stack, "HELD", timeout=patience, max_age=0, allow_stale=True)
        refused = await ask(stack, "HELD", timeout=patience, max_age=0)

        stack.sandbox.faults.clear()
        await recovered(stack, other)
        await nothing_left(stack.gateway, before)

    assert missed == reason
    assert held == "MEMORY"
    assert stale == "STALE MEMORY"
    assert refused in (reason, "BUDGET_EXHAUSTED", "CIRCUIT_OPEN")
    assert took < patience


@pytest.mark.parametrize(("fault", "reason"), BREAKING.values(), ids=BREAKING)
async def test_an_open_circuit_lets_only_the_tries_through(fault: Fault, reason: str) -> None:
    """Callers who never stop ask an upstream that stays away once for each cool-down."""
    symbols = cold_symbols()
    async with running(alpaca=QUICK) as stack:
        counts = latest(stack)
        stack.sandbox.faults.add(struck(fault))
        # One after the other, so that no request is under way when the circuit opens.
        reasons: set[str] = set()
        while not counts.circuit.opened:
            reasons.add(await ask(stack, next(symbols), timeout=0.3))
        opened, asked_before = counts.circuit.opened, stack.asked(LATEST)

        async def keep_asking() -> set[str]:
            heard: set[str] = set()
            while counts.circuit.opened < 4:
                heard.add(await ask(stack, next(symbols), timeout=0.3))
            return heard

        heard = set().union(*await asyncio.gather(*(keep_asking() for _ in range(20))))
        await until(lambda: counts.in_flight == 0)
        tries, asked = counts.circuit.opened - opened, stack.asked(LATEST) - asked_before
        stack.sandbox.faults.clear()
        pin(stack.sandbox, ["BACK"])
        await recovered(stack, "BACK")

    assert opened == 1
    assert reasons - {LATE} == {reason}
    assert heard - {LATE} == {reason, "CIRCUIT_OPEN"}
    assert asked == tries >= 3


async def test_callers_with_little_patience_open_a_circuit_together() -> None:
    """With ten seconds of latency callers who wait 300 ms each, all the time, open the circuit."""
    symbols = cold_symbols()
    async with running(alpaca=QUICK | {"breaker": {"cool_down": 60.0}}) as stack:
        counts = latest(stack)
        stack.sandbox.faults.add(faults.Latency(path=LATEST, seconds=10))

        async def keep_asking() -> set[str]:
            heard: set[str] = set()
            while counts.circuit.state == "closed":
                heard.add(await ask(stack, next(symbols), timeout=0.3))
            return heard

        heard = set().union(*await asyncio.gather(*(keep_asking() for _ in range(20))))
        asked = stack.asked(LATEST)
        refused, took = await timed(ask(stack, next(symbols), timeout=0.3))
        after = stack.asked(LATEST)

    assert "UPSTREAM_TIMEOUT" in heard <= {"UPSTREAM_TIMEOUT", "CIRCUIT_OPEN", LATE}
    assert refused == "CIRCUIT_OPEN"
    assert took < 0.1
    assert after == asked


async def test_callers_of_one_symbol_open_a_circuit_too() -> None:
    """Callers who all ask for one symbol share a call for as long as it may take, and those calls open the circuit."""
    async with running(alpaca=QUICK | {"shared_call_cap": 0.25}) as stack:
        counts = latest(stack)
        stack.sandbox.faults.add(faults.Latency(path=LATEST, seconds=10))

        async def keep_asking(offset: int) -> None:
            # They begin at different times, so that somebody is always waiting.
            await until(lambda: counts.requests > offset)
            while counts.circuit.opened == 0:
                await ask(stack, "AAPL", timeout=0.3)

        await asyncio.gather(*(keep_asking(offset) for offset in (-1, 0, 0, 1, 2)))
        opened = counts.circuit.opened

    assert opened == 1


@pytest.mark.parametrize(
    "fault", [faults.Garbage(), faults.EmptyBody(), faults.NullBody()], ids=["garbage", "empty", "null"]
)  # fmt: skip
async def test_what_cannot_be_read_is_no_value_and_hides_the_older_one(fault: Fault) -> None:
    """An answer that cannot be read is INVALID_DATA, and no older value stands in for it."""
    async with running(memory={"keep_open": 0}, alpaca=QUICK) as stack:
        pin(stack.sandbox, ["HELD"])
        first = await ask(stack, "HELD")
        stack.sandbox.faults.add(struck(fault))
        unreadable = {await ask(stack, "HELD", allow_stale=True) for _ in range(6)}
        opened = latest(stack).circuit.opened
        stack.sandbox.faults.clear()
        after = await ask(stack, "HELD")

    assert (first, unreadable, after) == ("UPSTREAM", {"INVALID_DATA"}, "UPSTREAM")
    assert opened == 0


async def test_a_storm_of_429_empties_the_budget_and_nothing_else() -> None:
    """After a 429 the upstream is asked no faster than the budget comes back; the circuit stays closed."""
    symbols = cold_symbols()
    settings = QUICK | {"retries": {"most": 2}, "budget": {"data_per_minute": 600}}
    async with running(alpaca=settings) as stack:
        stack.sandbox.faults.add(faults.Status(path=LATEST, status=429))
        one, took = await timed(ask(stack, next(symbols), timeout=0.25))
        crowd = asyncio.gather(*(ask(stack, next(symbols), timeout=1.0) for _ in range(100)))
        answers, took_all = await timed(crowd)
        asked, circuit = stack.asked(LATEST), latest(stack).circuit.state
        stack.sandbox.faults.clear()
        pin(stack.sandbox, ["BACK"])
        await recovered(stack, "BACK")

    assert one == "UPSTREAM_RATE_LIMITED"
    assert set(answers) <= {"UPSTREAM_RATE_LIMITED", "BUDGET_EXHAUSTED", LATE}
    assert circuit == "closed"
    # One finds the bucket full; after it 9.5 requests come back in a second.
    assert asked <= 2 + 9.5 * (took + took_all)


async def test_a_page_that_refuses_the_key_is_asked_for_rarely() -> None:
    """A page of HTML with 401 holds back every group of that upstream, is tried again, and is over by itself."""
    symbols = cold_symbols()
    settings = QUICK | {"breaker": {"cool_down": 0.2, "key_cool_down_most": 0.5, "jitter": 0.0}}
    async with running(alpaca=settings) as stack:
        counts = latest(stack)
        stack.sandbox.faults.add(faults.Html401(path=LATEST))
        first = await ask(stack, next(symbols))

        async def keep_asking() -> set[str]:
            heard: set[str] = set()
            while counts.circuit.opened < 3:
                heard.add(await ask(stack, next(symbols)))
            return heard

        heard = set().union(*await asyncio.gather(*(keep_asking() for _ in range(20))))
        await until(lambda: counts.in_flight == 0)
        asked = stack.asked(LATEST)
        stack.sandbox.faults.clear()
        pin(stack.sandbox, ["BACK"])
        await recovered(stack, "BACK")

    assert {first} == heard == {"UPSTREAM_UNAUTHENTICATED"}
    assert asked == 3
