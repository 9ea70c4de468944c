"""Hand time: an hour passes at once, in order, and a deadlock is said to be one."""

from __future__ import annotations

import asyncio
import time

import pytest

from ...support.fakes import NOW
from ...support.hand_time import LoopClock, in_hand_time, run_in_hand_time


@in_hand_time
async def test_an_hour_passes_at_once() -> None:
    """Who sleeps for an hour wakes an hour later by the loop's clocks, and at once by the machine's."""
    began, clock = time.perf_counter(), LoopClock()
    at = clock.monotonic()
    await asyncio.sleep(3600)
    assert clock.monotonic() == at + 3600
    assert clock.wall() == clock.market() == NOW + 3600 * 10**9
    assert time.perf_counter() - began < 5


@in_hand_time
async def test_timers_fire_in_their_order() -> None:
    """Whoever is due first wakes first, each at his own instant."""
    woken: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, loop.time()))

    await asyncio.gather(sleep("late", 2.5), sleep("early", 0.001), sleep("middle", 1))
    assert woken == [("early", 0.001), ("middle", 1.0), ("late", 2.5)]


def test_who_waits_for_nothing_is_told() -> None:
    """A program in which everybody waits and nothing is due fails instead of standing still."""

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="everybody waits"):
        run_in_hand_time(wait())
