"""The list of assets is kept at hand by somebody with patience."""

from __future__ import annotations

import asyncio

from tickgate_server.errors import UpstreamBroken
from tickgate_server.guards.remembered import RememberedReference
from tickgate_server.jobs.asset_list import keep_assets

from ...support.fakes import FakeReference, HandClock


async def asked(source: FakeReference, times: int) -> None:
    """Wait until *source* has been asked so many times; only the loop's own time passes."""
    while len(source.asked) < times:  # noqa: ASYNC110 - the fake has no event for each question
        await asyncio.sleep(0)


async def test_the_list_is_asked_for_again_and_again() -> None:
    """The list is loaded at once, again after a failure, and again whenever it has grown old."""
    clock, source = HandClock(), FakeReference(["AAPL"])
    source.failure = UpstreamBroken("down")
    job = asyncio.create_task(keep_assets(source, clock, every=0.0, retry_after=0.0, patience=1.0))
    await asyncio.wait_for(asked(source, 2), 10)
    source.failure = None
    await asyncio.wait_for(asked(source, 5), 10)
    job.cancel()


async def test_a_hasty_caller_does_not_stop_the_load() -> None:
    """A caller who leaves before the list is there does not call the load back, for the job still waits for it."""
    clock, source = HandClock(), FakeReference(["AAPL"])
    reference = RememberedReference(source, clock, ttl=60.0, retry_after=5.0, cap=20.0)
    source.open.clear()
    job = asyncio.create_task(
        keep_assets(reference, clock, every=60.0, retry_after=5.0, patience=20.0)
    )
    await asyncio.wait_for(asked(source, 1), 10)
    hasty = asyncio.create_task(reference.assets(clock.monotonic() + 20.0))
    await asyncio.sleep(0)
    hasty.cancel()
    source.open.set()

    assert "AAPL" in await reference.assets(clock.monotonic() + 20.0)
    assert source.asked == ["assets"]
    job.cancel()
