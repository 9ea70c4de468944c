"""Reference data, kept: how long, how failures count, and who loads."""

from __future__ import annotations

import asyncio
import traceback
from datetime import date

import pytest

from tickgate_server.errors import UpstreamBroken, UpstreamTimeout
from tickgate_server.guards.remembered import RememberedReference
from tickgate_server.market.asset import CodeKind

from ...support.fakes import FakeReference, HandClock, settle, trading_day

TTL, PAUSE, CAP = 100.0, 5.0, 20.0
DOWN = UpstreamBroken("answered 500")


class Setup:
    """A remembered fake and its clock."""

    def __init__(self) -> None:
        self.clock = HandClock()
        days = [trading_day(day) for day in ("2025-12-31", "2026-10-01", "2027-01-04")]
        self.source = FakeReference(["AAPL"], days)
        self.reference = RememberedReference(
            self.source, self.clock, ttl=TTL, retry_after=PAUSE, cap=CAP
        )

    async def assets(self, patience: float = 10.0) -> bool:
        """Tell whether AAPL is listed."""
        return "AAPL" in await self.reference.assets(self.clock.monotonic() + patience)


async def test_what_was_loaded_is_kept() -> None:
    """Until the time to keep is over, one load answers everyone; then the next asker loads."""
    setup = Setup()
    for _ in range(3):
        assert await setup.assets()
    setup.clock.advance(TTL - 0.001)
    assert await setup.assets()
    assert setup.source.asked == ["assets"]
    setup.clock.advance(0.001)
    assert await setup.assets()
    assert setup.source.asked == ["assets"] * 2


async def test_simultaneous_askers_load_once() -> None:
    """Many who need the list at the same time cost one load."""
    setup = Setup()
    assert all(await asyncio.gather(*(setup.assets() for _ in range(20))))
    assert setup.source.asked == ["assets"]


async def test_a_failure_pauses_the_loading() -> None:
    """After a failure everyone is told of it without a load, until the pause is over."""
    setup = Setup()
    setup.source.failure = DOWN
    for _ in range(3):
        with pytest.raises(UpstreamBroken):
            await setup.assets()
    assert setup.source.asked == ["assets"]
    setup.clock.advance(PAUSE)
    setup.source.failure = None
    assert await setup.assets()


async def test_a_failed_reload_keeps_what_was_held() -> None:
    """What is held outlives its time once over while it cannot be loaded anew, and no longer."""
    setup = Setup()
    await setup.assets()
    setup.source.failure = DOWN
    setup.clock.advance(TTL)
    assert await setup.assets()
    setup.clock.advance(TTL - 0.001)
    assert await setup.assets()
    setup.clock.advance(0.001)
    with pytest.raises(UpstreamBroken):
        await setup.assets()
    setup.source.failure = None
    setup.clock.advance(PAUSE)
    assert await setup.assets()


async def test_an_asker_without_time_gets_what_is_held() -> None:
    """While a reload takes longer than an asker can wait, it gets what was held before."""
    setup = Setup()
    await setup.assets()
    setup.clock.advance(TTL)
    setup.source.open.clear()
    assert await setup.assets(patience=0.01)


async def test_an_impatient_asker_is_no_failure_of_the_upstream() -> None:
    """A timeout of one asker does not stop the next from loading."""
    setup = Setup()
    setup.source.open.clear()
    with pytest.raises(UpstreamTimeout):
        await setup.assets(patience=0.01)
    setup.source.open.set()
    assert await setup.assets()


async def test_a_load_goes_on_for_those_who_wait() -> None:
    """The first asker leaving does not end the load of the second."""
    setup = Setup()
    setup.source.open.clear()
    first, second = (asyncio.create_task(setup.assets()) for _ in range(2))
    await settle(lambda: setup.source.asked == ["assets"])
    first.cancel()
    await asyncio.wait([first])
    setup.source.open.set()
    assert await second
    assert setup.source.asked == ["assets"]


async def test_a_remembered_failure_does_not_grow() -> None:
    """However often a failure is told during its pause, its traceback stays as short as the first."""
    setup = Setup()
    setup.source.failure = DOWN
    depths = []
    for _ in range(20):
        with pytest.raises(UpstreamBroken) as caught:
            await setup.assets()
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(set(depths[1:])) == 1


async def test_the_calendar_is_loaded_by_the_year() -> None:
    """A range over three years costs three loads, and any range within them none more."""
    setup = Setup()
    found = await setup.reference.calendar(date(2025, 12, 1), date(2027, 2, 1), 1010.0)
    assert [day.date.isoformat() for day in found.days] == [
        "2025-12-31",
        "2026-10-01",
        "2027-01-04",
    ]
    inner = await setup.reference.calendar(date(2026, 1, 1), date(2027, 1, 1), 1010.0)
    assert [day.date.isoformat() for day in inner.days] == ["2026-10-01"]
    assert setup.source.asked == [
        "calendar 2025-01-01 2026-01-01",
        "calendar 2026-01-01 2027-01-01",
        "calendar 2027-01-01 2028-01-01",
    ]
    assert found.provenance.receive_time < inner.provenance.receive_time


async def test_a_range_ending_with_a_year_needs_no_more() -> None:
    """A range up to New Year does not load the year that it does not hold."""
    setup = Setup()
    await setup.reference.calendar(date(2026, 12, 31), date(2027, 1, 1), 1010.0)
    assert setup.source.asked == ["calendar 2026-01-01 2027-01-01"]


async def test_codes_are_kept_by_kind_and_tape() -> None:
    """Each table is loaded once."""
    setup = Setup()
    tables = [
        (CodeKind.EXCHANGE, ""),
        (CodeKind.TRADE_CONDITION, "A"),
        (CodeKind.TRADE_CONDITION, "B"),
    ]
    for kind, tape in tables * 2:
        table = await setup.reference.codes(kind, tape, 1010.0)
        assert table.names == {"V": f"{kind.value} {tape}"}
    assert setup.source.asked == [
        "codes exchange",
        "codes trade_condition A",
        "codes trade_condition B",
    ]
