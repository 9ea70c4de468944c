"""What every keeper of watchlists promises, wherever it keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from msgspec.structs import replace

from tickgate_server.errors import StoreDown
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.market.watchlist import Watchlist
from tickgate_server.ports import Watchlists
from tickgate_server.stores.postgres.watchlists import PostgresWatchlists
from tickgate_server.stores.watchlists import MemoryWatchlists as PassingWatchlists

from ..support.error_log import link_to
from ..support.fakes import NOW
from ..support.history_store import MemoryWatchlists
from ..support.stores import postgres_url

LIST = Watchlist(
    "default",
    ("MSFT", "AAPL", "BRK.B"),
    record=True,
    refresh_timeframes=(Timeframe(1, Unit.DAY), Timeframe(15, Unit.MINUTE)),
    refresh_days=366,
    update_time=NOW + 123_456_789,
    refresh_time=NOW + 1,
)
BARE = Watchlist("bare", (), False, (), 1, NOW)


@asynccontextmanager
async def memory() -> AsyncIterator[Watchlists]:
    """The fake."""
    yield MemoryWatchlists()


@asynccontextmanager
async def without_postgres() -> AsyncIterator[Watchlists]:
    """What a gateway without PostgreSQL has."""
    yield PassingWatchlists()


@asynccontextmanager
async def postgres() -> AsyncIterator[Watchlists]:
    """A real PostgreSQL."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
            yield PostgresWatchlists(link)


@asynccontextmanager
async def memory_down() -> AsyncIterator[Watchlists]:
    """The fake, which is down."""
    watchlists = MemoryWatchlists()
    watchlists.down = True
    yield watchlists


@asynccontextmanager
async def nowhere() -> AsyncIterator[Watchlists]:
    """A PostgreSQL that is not there."""
    async with link_to("postgresql://nobody@127.0.0.1:1/nowhere") as link:
        await link.start()
        yield PostgresWatchlists(link)


Open = Callable[[], AbstractAsyncContextManager[Watchlists]]
EVERY = pytest.mark.parametrize("subject", [memory, without_postgres, postgres])


@EVERY
async def test_a_watchlist_comes_back_whole(subject: Open) -> None:
    """What is kept comes back whole, symbols and timeframes in their order, and a name leads to nothing else."""
    async with subject() as it:
        await it.put(LIST)
        await it.put(BARE)
        assert await it.get("default") == LIST
        assert await it.get("bare") == BARE
        assert await it.get("Default") is None


@EVERY
async def test_the_newer_of_one_name_is_kept(subject: Open) -> None:
    """A watchlist takes the place of the one of the same name, whole."""
    newer = replace(BARE, name="default")
    async with subject() as it:
        await it.put(LIST)
        await it.put(newer)
        assert await it.everything() == [newer]


@EVERY
async def test_all_come_by_name(subject: Open) -> None:
    """All watchlists come in the order of their names, as ASCII has it."""
    names = ["b", "a.1", "a-1", "a", "a1", "_"]
    async with subject() as it:
        assert await it.everything() == []
        for name in names:
            await it.put(replace(LIST, name=name))
        assert [one.name for one in await it.everything()] == sorted(names)


@EVERY
async def test_deleting_tells_whether_there_was_one(subject: Open) -> None:
    """A watchlist that is deleted is gone, and nothing happens to the others."""
    async with subject() as it:
        await it.put(LIST)
        await it.put(BARE)
        assert await it.delete("default") is True
        assert await it.delete("default") is False
        assert await it.everything() == [BARE]


@EVERY
async def test_a_refresh_is_noted(subject: Open) -> None:
    """The end of a refresh changes nothing else, and makes no watchlist that is not there."""
    async with subject() as it:
        await it.put(LIST)
        await it.refreshed("default", NOW + 99)
        await it.refreshed("nobody", NOW + 99)
        assert await it.everything() == [replace(LIST, refresh_time=NOW + 99)]


@pytest.mark.parametrize("subject", [memory_down, nowhere])
async def test_down_is_said(subject: Open) -> None:
    """Where they cannot be had, every question and every change says so."""
    async with subject() as it:
        for asked in (
            it.put(LIST),
            it.get("default"),
            it.everything(),
            it.delete("default"),
            it.refreshed("default", NOW),
        ):
            with pytest.raises(StoreDown, match=r"."):
                await asked
