"""What every error log promises, wherever it keeps the records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tickgate_server.observe.counters import ErrorLogCounts
from tickgate_server.ports import ErrorEntry, ErrorLog, ErrorPlace, ErrorQuery, ErrorRecord
from tickgate_server.stores.error_ring import ErrorRing

from ..support.error_log import entry, kept
from ..support.fakes import NOW
from ..support.stores import postgres_url


@dataclass
class Subject:
    """A log, and where it keeps what is noted now."""

    log: ErrorLog
    place: ErrorPlace
    written: Callable[[], Awaitable[None]]
    """Waits for what was noted."""

    async def note(self, *entries: ErrorEntry) -> None:
        """Have entries kept."""
        for one in entries:
            self.log.note(one)
        await self.written()

    async def search(self, **query: Any) -> list[ErrorRecord]:
        """Return what a query selects."""
        place, records = await self.log.search(ErrorQuery(**query), None)
        assert place is self.place
        return list(records)

    async def found(self, **query: Any) -> list[str]:
        """Return the request ids of what a query selects."""
        return [record.entry.request_id for record in await self.search(**query)]


async def _at_once() -> None:
    return


@asynccontextmanager
async def ring() -> AsyncIterator[Subject]:
    """A ring in memory."""
    yield Subject(ErrorRing(10_000, ErrorLogCounts()), ErrorPlace.RING, _at_once)


@asynccontextmanager
async def postgres() -> AsyncIterator[Subject]:
    """A real PostgreSQL."""
    with postgres_url() as url:
        async with kept(url) as subject:
            yield Subject(subject.log, ErrorPlace.POSTGRES, subject.log.flush)


@asynccontextmanager
async def nowhere() -> AsyncIterator[Subject]:
    """A PostgreSQL that is not there."""
    async with kept("postgresql://nobody@127.0.0.1:1/nowhere") as subject:
        yield Subject(subject.log, ErrorPlace.RING, _at_once)


Make = Callable[[], AbstractAsyncContextManager[Subject]]
EVERY = pytest.mark.parametrize("make", [ring, postgres, nowhere])


@EVERY
async def test_what_is_noted_is_found(make: Make) -> None:
    """An entry comes back whole: its time to the nanosecond, its texts, and whatever JSON its context holds."""
    noted = entry(
        123_456_789,
        message='quotes " backslashes \\ \\u0000 newlines \n and 株式 🙂',
        context={"deep": {"list": [1, 2.5, None, True, "x", []]}, "large": 2**63, "": ""},
    )
    async with make() as subject:
        await subject.note(noted)
        (record,) = await subject.search()
    assert record.entry == noted


@EVERY
async def test_newest_first(make: Make) -> None:
    """The newest record stands first, and no more are returned than were asked for."""
    async with make() as subject:
        await subject.note(*(entry(number) for number in range(10)))
        found = await subject.found(limit=3)
    assert found == ["call-9", "call-8", "call-7"]


@EVERY
async def test_pages_join(make: Make) -> None:
    """Pages that follow each other hold each record once, also when more are noted meanwhile."""
    seen: list[str] = []
    async with make() as subject:
        await subject.note(*(entry(number) for number in range(10)))
        before = None
        while records := await subject.search(limit=4, before_id=before):
            seen += [record.entry.request_id for record in records]
            before = records[-1].id
            await subject.note(entry(100))
    assert seen == [f"call-{number}" for number in reversed(range(10))]


@EVERY
async def test_filters_narrow_down(make: Make) -> None:
    """Reasons, request id and time select together; each left out lets all pass."""
    async with make() as subject:
        await subject.note(
            entry(0, reason="NO_DATA"),
            entry(1, reason="TOO_STALE"),
            entry(2, reason="CIRCUIT_OPEN"),
            entry(3, reason="NO_DATA"),
        )
        assert await subject.found(reasons=frozenset({"NO_DATA"})) == ["call-3", "call-0"]
        two = frozenset({"TOO_STALE", "CIRCUIT_OPEN"})
        assert await subject.found(reasons=two) == ["call-2", "call-1"]
        assert await subject.found(reasons=two, start=NOW + 2) == ["call-2"]
        assert await subject.found(request_id="call-1") == ["call-1"]
        assert await subject.found(request_id="call") == []
        assert await subject.found(request_id="call-1", reasons=frozenset({"NO_DATA"})) == []


@EVERY
async def test_a_range_of_time_ends_before_its_end(make: Make) -> None:
    """The start of a range belongs to it and its end does not, to the nanosecond."""
    async with make() as subject:
        await subject.note(*(entry(number) for number in (0, 999, 1000, 1001, 2000)))
        assert await subject.found(start=NOW + 999, end=NOW + 1001) == ["call-1000", "call-999"]
        assert await subject.found(start=NOW + 1001) == ["call-2000", "call-1001"]
        assert await subject.found(end=NOW + 999) == ["call-0"]
        assert await subject.found(start=NOW + 1, end=NOW + 1) == []


@EVERY
async def test_text_that_nobody_can_carry_is_replaced(make: Make) -> None:
    """NUL characters and lone surrogates are replaced wherever they stand, and cost no other entry."""
    bad = "a\0b\ud800c"
    odd = entry(1, request_id=bad, reason=bad, message=bad, context={bad: [bad, {"x": bad}]})
    async with make() as subject:
        await subject.note(entry(0), odd, entry(2))
        records = await subject.search()
    good = "a\ufffdb\ufffdc"
    assert [record.entry for record in records] == [
        entry(2),
        entry(1, request_id=good, reason=good, message=good, context={good: [good, {"x": good}]}),
        entry(0),
    ]


@EVERY
async def test_more_than_a_batch(make: Make) -> None:
    """As many as come at once are kept, in the order in which they came."""
    async with make() as subject:
        await subject.note(*(entry(number) for number in range(1234)))
        found = await subject.found(limit=2000)
    assert found == [f"call-{number}" for number in reversed(range(1234))]


@EVERY
async def test_a_page_stays_in_its_place(make: Make) -> None:
    """Who names a place is answered from there: nothing, where it is gone, and never from another."""
    async with make() as subject:
        await subject.note(entry())
        for place in ErrorPlace:
            read, records = await subject.log.search(ErrorQuery(), place)
            assert read is place
            is_there = place in {subject.place, ErrorPlace.RING}
            assert [record.entry for record in records] == ([entry()] if is_there else [])
