"""The error log in PostgreSQL: its queue, its writer, and what becomes of it when PostgreSQL fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tickgate_server.ports import ErrorPlace, ErrorQuery
from tickgate_server.stores.postgres import error_log as module
from tools.embedded import PostgresServer, postgres_server

from ...support.error_log import (
    HASTY,
    POLICY,
    Kept,
    as_administrator,
    entry,
    kept,
    run,
    running_jobs,
)
from ...support.stores import postgres_url
from ...support.waiting import until

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this module's own, to be killed."""
    with postgres_server() as server:
        yield server


async def ring_of(log: Kept) -> list[str]:
    """Request ids that the ring holds, oldest first."""
    _, records = await log.ring.search(ErrorQuery(limit=1_000_000), None)
    return [record.entry.request_id for record in reversed(records)]


async def test_the_job_writes_what_is_noted() -> None:
    """What is noted while the gateway runs is in PostgreSQL soon, and counted there."""
    with postgres_url() as url:
        async with kept(url) as log, running_jobs(log.link.run, log.log.run):
            log.log.note(entry(0))
            await until(lambda: log.counts.written == 1)
            log.log.note(entry(1))
            await until(lambda: log.counts.written == 2)
            assert [record.entry for record in await log.written()] == [entry(1), entry(0)]
        assert log.counts.dropped == 0


async def test_replicas_share_the_table() -> None:
    """What one gateway has noted another one finds."""
    with postgres_url() as url:
        async with kept(url) as one, kept(url) as other:
            one.log.note(entry(1))
            await one.log.flush()
            assert [record.entry for record in await other.written()] == [entry(1)]
            assert await ring_of(other) == []


async def test_the_queue_is_bounded() -> None:
    """While PostgreSQL is down entries wait, those that find no room are counted as dropped, and the ring has all."""
    async with kept(NOWHERE, policy=replace(POLICY, queue=10)) as log:
        for number in range(15):
            log.log.note(entry(number))
        place, records = await log.log.search(ErrorQuery(), None)
        assert log.counts.dropped == 5
    assert place is ErrorPlace.RING
    assert len(records) == 15
    # What never came to be written is lost as well, once the gateway ends.
    assert log.counts.dropped == 15


async def test_a_burst_outlives_a_kill(server: PostgresServer) -> None:
    """Killed in the middle of a burst and started again, PostgreSQL has every entry within five seconds."""
    async with kept(server.new_database()) as log, running_jobs(log.link.run, log.log.run):
        for number in range(3000):
            log.log.note(entry(number))
            if number == 1500:
                await until(lambda: log.counts.written > 0)
                server.kill()
        await until(lambda: not log.link.up)
        place, records = await log.log.search(ErrorQuery(limit=5000), None)
        assert (place, len(records)) == (ErrorPlace.RING, 3000)

        server.start()
        began = time.monotonic()
        await until(lambda: log.counts.written >= 3000)
        assert time.monotonic() - began < 5
        found = {record.entry.request_id for record in await log.written()}
    assert found == {f"call-{number}" for number in range(3000)}
    assert log.counts.dropped == 0


async def test_a_burst_outlives_a_hang(server: PostgresServer) -> None:
    """Hung in the middle of a burst and awake again, PostgreSQL has every entry, and nobody was held meanwhile."""
    url = server.new_database()
    async with kept(url, HASTY) as log, running_jobs(log.link.run, log.log.run):
        log.log.note(entry(0))
        await until(lambda: log.counts.written == 1)
        server.pause()
        try:
            for number in range(1, 3000):
                log.log.note(entry(number))
            await until(lambda: not log.link.up)
            place, _ = await log.log.search(ErrorQuery(), None)
            assert place is ErrorPlace.RING
        finally:
            server.resume()
        began = time.monotonic()
        await until(lambda: log.counts.written >= 3000)
        assert time.monotonic() - began < 5
        # To read 3,000 entries is nothing small: the hasty link may take PostgreSQL for down meanwhile.
        async with kept(url) as patient:
            found = {record.entry.request_id for record in await patient.written()}
    assert found == {f"call-{number}" for number in range(3000)}


async def test_a_search_that_loses_postgres_is_answered_by_the_ring(server: PostgresServer) -> None:
    """Who asks while PostgreSQL goes away is answered by the ring."""
    async with kept(server.new_database()) as log, running_jobs(log.link.run):
        log.log.note(entry(0))
        server.kill()
        place, records = await log.log.search(ErrorQuery(), None)
        server.start()
    assert place is ErrorPlace.RING
    assert [record.entry for record in records] == [entry(0)]


async def test_an_entry_that_cannot_be_written_is_the_only_one_lost() -> None:
    """A time out of the calendar, or a record of absurd size, is dropped and counted; its neighbours are written."""
    with postgres_url() as url, capture_logs() as logs:
        async with kept(url) as log:
            for odd in (entry(1), entry(2, time=10**30), entry(3, message="x" * 10**6), entry(4)):
                log.log.note(odd)
            found = [record.entry for record in await log.written()]
    assert found == [entry(4), entry(1)]
    assert (log.counts.written, log.counts.dropped) == (2, 2)
    assert sum(line["event"] == "error_log_refused" for line in logs) == 2


async def test_an_entry_that_postgres_refuses_is_the_only_one_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Should PostgreSQL itself refuse an entry of a batch, the others are written one by one."""
    monkeypatch.setattr(module, "legible", lambda entry: entry)
    with postgres_url() as url:
        async with kept(url) as log:
            for one in (entry(1), entry(2, message="NUL \0"), entry(3)):
                log.log.note(one)
            found = [record.entry for record in await log.written()]
    assert found == [entry(3), entry(1)]
    assert (log.counts.written, log.counts.dropped) == (2, 1)


async def test_a_fault_of_ours_does_not_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has thought of is logged, and the next write has more luck."""
    with postgres_url() as url, capture_logs() as logs:
        async with kept(url) as log:
            with monkeypatch.context() as broken:
                broken.setattr(module, "_BATCH", None)
                broken.setattr(module, "islice", None)
                async with running_jobs(log.log.run):
                    log.log.note(entry(1))
                    await until(lambda: any(line["event"] == "error_log_failed" for line in logs))
            assert [record.entry for record in await log.written()] == [entry(1)]


async def test_records_are_kept_for_so_many_days() -> None:
    """Records older than that are deleted in small batches, by the database's clock, and younger ones stay."""
    with postgres_url() as url:
        async with kept(url, policy=replace(POLICY, keep_days=14, sweep_batch=10)) as log:
            for number in range(25):
                log.log.note(entry(number))
            await log.written()
            as_administrator(
                url,
                "UPDATE error_log SET time = now() - interval '13 days 23 hours'",
                "UPDATE error_log SET time = now() - interval '15 days' WHERE id > 2",
            )
            with capture_logs() as logs:
                async with running_jobs(log.log.run):
                    await until(lambda: any(line["event"] == "error_log_swept" for line in logs))
            assert await run(log.link, "SELECT id FROM error_log ORDER BY id") == [(1,), (2,)]
    assert [line["deleted"] for line in logs if "deleted" in line] == [23]


async def test_the_end_writes_what_is_queued() -> None:
    """A gateway that stops writes what was noted to the last."""
    with postgres_url() as url:
        async with kept(url) as log:
            for number in range(1000):
                log.log.note(entry(number))
        async with kept(url) as later:
            assert len(await later.written()) == 1000
    assert log.counts.dropped == 0


async def test_the_end_waits_no_longer_than_it_may(server: PostgresServer) -> None:
    """A gateway that stops before a PostgreSQL that hangs gives up in time, and counts what is lost."""
    url = server.new_database()
    with capture_logs() as logs:
        async with kept(url, policy=replace(POLICY, close_within=0.05)) as log:
            log.log.note(entry(0))
            await log.log.flush()
            server.pause()
            try:
                for number in range(1, 8):
                    log.log.note(entry(number))
                async with asyncio.timeout(5):
                    await log.log.close()
            finally:
                server.resume()
    assert (log.counts.written, log.counts.dropped) == (1, 7)
    assert [line["entries"] for line in logs if "entries" in line] == [7]


async def test_a_flush_is_shared_and_outlives_who_waits() -> None:
    """Who stops waiting for a write does not stop it, and nothing is written twice."""
    with postgres_url() as url:
        async with kept(url) as log:
            log.log.note(entry(0))
            waiting = [asyncio.create_task(log.log.flush()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            await asyncio.gather(*waiting[1:])
            assert [record.entry for record in await log.written()] == [entry(0)]
    assert log.counts.written == 1
