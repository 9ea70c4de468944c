"""What every log of backfills promises, wherever it keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date

import pytest
from msgspec.structs import replace

from tickgate_server.errors import StoreDown
from tickgate_server.market.backfill import Backfill, BackfillFailure, BackfillState
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.market.unavailable import (
    Reason,
    Refusal,
    TierAttempt,
    TierOutcome,
    Unavailable,
)
from tickgate_server.ports import BackfillLog
from tickgate_server.stores.postgres.backfill_log import PostgresBackfillLog

from ..support.error_log import link_to
from ..support.fakes import NOW
from ..support.history_store import MemoryBackfillLog
from ..support.stores import postgres_url

KEY = SeriesKey(
    SeriesKind.BARS,
    "MSFT",
    Feed.SIP,
    Timeframe(5, Unit.MINUTE),
    frozenset({Adjustment.SPLIT, Adjustment.SPIN_OFF}),
    date(2021, 1, 4),
)
WHY = Unavailable(
    reason=Reason.BUDGET_EXHAUSTED,
    message='spent, says "株"',
    retry_delay=1.5,
    upstream="alpaca.data",
    last_event_time=NOW + 7,
    refusal=Refusal("zero_price", "price 0", NOW),
    passing=True,
    tiers=(TierAttempt(Tier.STORE, TierOutcome.EMPTY, NOW),),
)
FILL = Backfill(
    "b-1",
    KEY,
    ("MSFT", "AAPL"),
    Interval(NOW - 10**17, NOW + 1),
    BackfillState.RUNNING,
    NOW,
)
TRADES = Backfill(
    "b-2",
    SeriesKey(SeriesKind.TRADES, "AAPL240315C00172500", None, exact_symbol=True),
    ("AAPL240315C00172500",),
    Interval(0, 1),
    BackfillState.DONE,
    NOW + 1,
    NOW + 2,
    1,
    2**40,
    1.0,
    (BackfillFailure("AAPL", WHY), BackfillFailure("IBM", Unavailable(reason=Reason.NO_DATA, message="-"))),
)  # fmt: skip


@asynccontextmanager
async def memory() -> AsyncIterator[BackfillLog]:
    """The fake."""
    yield MemoryBackfillLog()


@asynccontextmanager
async def postgres() -> AsyncIterator[BackfillLog]:
    """A real PostgreSQL."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
            yield PostgresBackfillLog(link)


@asynccontextmanager
async def memory_down() -> AsyncIterator[BackfillLog]:
    """The fake, which is down."""
    log = MemoryBackfillLog()
    log.down = True
    yield log


@asynccontextmanager
async def nowhere() -> AsyncIterator[BackfillLog]:
    """A PostgreSQL that is not there."""
    async with link_to("postgresql://nobody@127.0.0.1:1/nowhere") as link:
        await link.start()
        yield PostgresBackfillLog(link)


Open = Callable[[], AbstractAsyncContextManager[BackfillLog]]
EVERY = pytest.mark.parametrize("subject", [memory, postgres])


@EVERY
async def test_a_backfill_comes_back_whole(subject: Open) -> None:
    """What is kept comes back with every field, failures with all that is known of them."""
    async with subject() as it:
        for one in (FILL, TRADES):
            await it.put(one)
            assert await it.get(one.id) == one
        assert await it.get("b-3") is None


@EVERY
async def test_a_backfill_moves_on(subject: Open) -> None:
    """A backfill that is kept again is as it stands now."""
    moved = replace(FILL, symbols_done=1, fetched=7, progress=0.5, failures=TRADES.failures)
    ended = replace(moved, state=BackfillState.CANCELLED, end_time=NOW + 5)
    async with subject() as it:
        for one in (FILL, moved, ended):
            await it.put(one)
            assert await it.get(FILL.id) == one
        assert await it.newest(None, 10) == [ended]


@EVERY
async def test_the_newest_come_first(subject: Open) -> None:
    """Pages begin with the newest, and hold each once, those of one moment by their ids."""
    places = [(NOW, "b"), (NOW + 1, "d"), (NOW, "B"), (NOW - 1, "c"), (NOW, "a")]
    async with subject() as it:
        for start_time, name in places:
            await it.put(replace(FILL, id=name, start_time=start_time))
        before, seen = None, []
        while page := await it.newest(before, 2):
            seen += [(one.start_time, one.id) for one in page]
            before = seen[-1]
    assert seen == sorted(places, reverse=True)


@EVERY
async def test_those_that_run_come_oldest_first(subject: Open) -> None:
    """Only backfills that have not ended are running, and the oldest of them stands first."""
    later = replace(FILL, id="a", start_time=NOW + 9)
    async with subject() as it:
        for one in (later, TRADES, FILL, replace(FILL, id="x", state=BackfillState.CANCELLED)):
            await it.put(one)
        assert await it.running() == [FILL, later]


@pytest.mark.parametrize("subject", [memory_down, nowhere])
async def test_down_is_said(subject: Open) -> None:
    """Where it cannot be had, every question and every change says so."""
    async with subject() as it:
        for asked in (it.put(FILL), it.get("b-1"), it.newest(None, 1), it.running()):
            with pytest.raises(StoreDown, match=r"."):
                await asked
