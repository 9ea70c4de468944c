"""The list of assets is kept at hand by somebody with patience."""

from __future__ import annotations

import asyncio

from tickgate_server.errors import UpstreamBroken
from tickgate_server.guards.remembered import RememberedReference
from tickgate_server.jobs.asset_list import AssetKeeper
from tickgate_server.ports import ReferenceSource

from ...support.fakes import FakeReference, HandClock


def keeper(reference: ReferenceSource, clock: HandClock) -> AssetKeeper:
    """A keeper that does not pause."""
    return AssetKeeper(reference, clock, every=0.0, retry_after=0.0, patience=20.0)


async def asked(source: FakeReference, times: int) -> None:
    """Wait until *source* has been asked so many times; only the loop's own time passes."""
    while len(source.asked) < times:  # noqa: ASYNC110 - the fake has no event for each question
        await asyncio.sleep(0)


async def test_the_list_is_asked_for_again_and_again() -> None:
    """The list is asked for again after a failure, and whenever it has grown old."""
    clock, source = HandClock(), FakeReference(["AAPL"])
    source.failure = UpstreamBroken("down")
    job = asyncio.create_task(keeper(source, clock).run())
    await asyncio.wait_for(asked(source, 2), 10)
    source.failure = None
    await asyncio.wait_for(asked(source, 5), 10)
    job.cancel()


async def test_an_old_list_served_on_is_no_success() -> None:
    """While the old list is served because a new one cannot be had, the keeper knows that it has to try again soon."""
    clock, source = HandClock(), FakeReference(["AAPL"])
    reference = RememberedReference(source, clock, ttl=60.0, retry_after=5.0, cap=20.0)
    assets = keeper(reference, clock)

    assert await assets.try_load(20.0)
    clock.advance(61)
    source.failure = UpstreamBroken("down")
    assert not await assets.try_load(20.0)


async def test_a_fault_of_ours_does_not_end_the_job() -> None:
    """An error that nobody expected is logged, and the next attempt is made."""
    clock, source = HandClock(), FakeReference(["AAPL"])
    source.failure = ZeroDivisionError()  # type: ignore[assignment]  # what nobody expects is the point

    assert not await keeper(source, clock).try_load(20.0)


async def test_a_hasty_caller_does_not_stop_the_load() -> None:
    """A caller who leaves before the list is there does not call the load back, for the keeper still waits for it."""
    clock, source = HandClock(), FakeReference(["AAPL"])
    reference = RememberedReference(source, clock, ttl=60.0, retry_after=5.0, cap=20.0)
    source.open.clear()
    loading = asyncio.create_task(keeper(reference, clock).try_load(20.0))
    await asyncio.wait_for(asked(source, 1), 10)
    hasty = asyncio.create_task(reference.assets(clock.monotonic() + 20.0))
    await asyncio.sleep(0)
    hasty.cancel()
    source.open.set()

    assert await loading
    assert source.asked == ["assets"]
