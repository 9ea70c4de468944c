"""Whatever happens to a gateway or to PostgreSQL while history is written: what is covered is stored, and once."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing, closing
from decimal import Decimal

import psycopg
import pytest

from tickgate_server.errors import StoreDown
from tickgate_server.market.provenance import DataSource
from tickgate_server.observe.counters import StoreCounts
from tickgate_server.ports import HistoryStore
from tickgate_server.stores.postgres.history.store import HistoryLimits, PostgresHistory
from tickgate_server.stores.postgres.link import LinkLimits
from tools.embedded import postgres_server

from ..support.error_log import as_administrator, link_to, run, running_jobs
from ..support.fakes import HandClock
from ..support.history_store import postgres_history, values_of
from ..support.history_writer import (
    GATE,
    KEY,
    RECEIVED,
    gate,
    interval,
    is_held_up,
    trades,
    whole,
    write,
    writer,
)
from ..support.stores import postgres_url
from ..support.waiting import until

ROWS = 3000
"""Trades of an interval: several slices of COPY."""

HASTY = HistoryLimits(timeout=0.5)
"""For what does not come."""

IMPATIENT = LinkLimits(timeout=2.0, check_every=0.05, connections=2)
"""For who asks beside history, which has a minute."""


async def test_a_gateway_that_is_killed_in_the_middle_of_a_write() -> None:
    """Of an interval whose writer is killed nothing is covered and nothing stored, and the next one writes it once."""
    with postgres_url() as url, psycopg.connect(url, autocommit=True) as somebody:
        async with postgres_history(url) as store:
            await store.write(KEY, interval(0), [trades(0, ROWS)])
        gate(url, 1, ROWS // 2)
        somebody.execute("SELECT pg_advisory_lock(%s)", [GATE])
        with writer(url, 1, 2, ROWS) as process:
            await until(lambda: is_held_up(somebody), within=20)
            process.kill()
            process.wait()
        somebody.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        assert await whole(url, ROWS) == {0}
        await write(url, range(3), ROWS)
        assert await whole(url, ROWS) == {0, 1, 2}


async def test_a_gateway_that_is_killed_at_any_moment() -> None:
    """Wherever a writer is killed, each interval that it said was written is, and any other is whole or not there."""
    said: set[int] = set()
    with postgres_url() as url:
        for turn in range(3):
            with writer(url, turn * 10, 1000, 500) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.strip().isdecimal():
                        said.add(int(line))
                    if len(said) >= (turn + 1) * 7:
                        break
                process.kill()
                process.wait()
            # What it had asked for last may still be under way.
            await until(lambda: _is_left_alone(url))
            assert await whole(url, 500) >= said
        assert len(said) >= 21


async def test_a_postgres_that_is_killed_in_the_middle_of_a_write() -> None:
    """A write over which PostgreSQL dies fails, leaves nothing behind, and succeeds when it is back."""
    counts = StoreCounts()
    with postgres_server() as server:
        url = server.new_database()
        async with postgres_history(url, counts=counts) as store, running_jobs(store._link.run):
            await store.write(KEY, interval(0), [trades(0, ROWS)])
            gate(url, 1, ROWS // 2)
            with psycopg.connect(url, autocommit=True) as somebody:
                somebody.execute("SELECT pg_advisory_lock(%s)", [GATE])
                writing = asyncio.create_task(store.write(KEY, interval(1), [trades(1, ROWS)]))
                await until(lambda: is_held_up(somebody))
                server.kill()
                with pytest.raises(StoreDown):
                    await writing
            assert counts.state == "down"
            with pytest.raises(StoreDown):
                await store.coverage([KEY], interval(0))
            server.start()
            await until(lambda: store.up)
            assert await whole(url, ROWS) == {0}
            await store.write(KEY, interval(1), [trades(1, ROWS)])
            assert await whole(url, ROWS) == {0, 1}
            assert (counts.intervals_written, counts.rows_written) == (2, 2 * ROWS)
            assert counts.write_failures == 1


FULL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.{0} THEN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END IF;
    RETURN NEW;
END $$
"""


@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("history_trades", f"time = {interval(1).start + ROWS // 4}"),
        ("history_covered", f"start_time = {interval(1).start}"),
        ("history_coverage_log", f"start_time = {interval(1).start}"),
        ("history_writes", f"last_time > {interval(1).start}"),
    ],
)
async def test_a_disk_that_is_full(table: str, condition: str) -> None:
    """Wherever the disk is full in a write, the write fails as a whole and is counted, and what is held can be read."""
    counts = StoreCounts()
    with postgres_url() as url:
        async with postgres_history(url, counts=counts) as store:
            await store.write(KEY, interval(0), [trades(0, ROWS)])
            as_administrator(
                url,
                FULL.format(condition),
                f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
            )
            for _ in range(2):
                with pytest.raises(StoreDown, match="No space left"):
                    await store.write(KEY, interval(1), [trades(1, ROWS)])
                assert store.up
                assert await whole(url, ROWS) == {0}
            assert (counts.write_failures, counts.intervals_written) == (2, 1)
            assert "No space left" in counts.last_write_failure
            as_administrator(url, f"DROP TRIGGER refuse ON {table}")
            await store.write(KEY, interval(1), [trades(1, ROWS)])
            assert await whole(url, ROWS) == {0, 1}


async def test_a_revision_for_which_there_is_no_room() -> None:
    """Where new values do not fit, those that they would take the place of still hold."""
    with postgres_url() as url:
        async with postgres_history(url) as store:
            await store.write(KEY, interval(0), [trades(0, ROWS)])
            as_administrator(
                url,
                FULL.format("price > 1000"),
                "CREATE TRIGGER refuse BEFORE INSERT ON history_trades FOR EACH ROW EXECUTE FUNCTION refuse()",
            )
            revised = trades(0, ROWS, received=RECEIVED + 1, revised=5)
            with pytest.raises(StoreDown):
                await store.write(KEY, interval(0), [revised])
            with pytest.raises(StoreDown):
                await store.record(KEY, [revised], [])
            assert await whole(url, ROWS) == {0}


async def test_two_gateways_write_the_same_at_once() -> None:
    """Two gateways that write the same intervals at the same time store each value once."""
    with postgres_url() as url:
        with writer(url, 0, 8, ROWS) as one, writer(url, 0, 8, ROWS) as other:
            ends = await asyncio.gather(*(asyncio.to_thread(p.wait) for p in (one, other)))
        assert ends == [0, 0]
        assert await whole(url, ROWS) == set(range(8))
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT count(*), count(known_until) FROM history_trades")
            assert found.fetchone() == (8 * ROWS, 0)


async def test_two_gateways_make_partitions_at_once() -> None:
    """Several that need the same new partitions, of several kinds of intervals, all succeed."""
    with postgres_url() as url:
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(postgres_history(url)) for _ in range(4)]
            spread = [number * 24 * 40 for number in range(5)]
            await asyncio.gather(
                *(
                    store.write(KEY.about(f"S{place}"), interval(number), [trades(number, 10)])
                    for place, store in enumerate(stores)
                    for number in spread
                )
            )
            for place, store in enumerate(stores):
                key = KEY.about(f"S{place}")
                found = await store.coverage([key], interval(0)._replace(end=2**62))
                assert [one.count for one in found[key]] == [10] * 5


async def test_readers_see_whole_intervals_while_others_write() -> None:
    """Whoever reads while an interval is revised sees all of the old values or all of the new."""
    old, new = trades(0, 500), trades(0, 500, received=RECEIVED + 1, revised=500)
    with postgres_url() as url:
        async with postgres_history(url) as store, postgres_history(url) as other:
            await store.write(KEY, interval(0), [old])
            seen: set[int] = set()
            writing = asyncio.create_task(other.write(KEY, interval(0), [new]))
            while not writing.done() or not seen:
                read = [block async for block in store.read(KEY, interval(0), rows=50)]
                prices = [row[0] for block in read for row in values_of(block)]
                assert len(prices) == 500
                seen.add(sum(price > Decimal(10_000) for price in prices))
            await writing
            assert seen <= {0, 500}


async def test_slow_readers_keep_nobody_waiting() -> None:
    """While readers hold all connections that are for reading, others write and ask; one more reader is told so."""
    limits = HistoryLimits(connections=4, timeout=0.5)
    with postgres_url() as url:
        async with postgres_history(url, limits=limits) as store:
            await store.write(KEY, interval(0), [trades(0, 100)])
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    reading = store.read(KEY, interval(0), rows=10)
                    await stack.enter_async_context(aclosing(reading))  # type: ignore[type-var]
                    await anext(reading)
                await store.write(KEY, interval(1), [trades(1, 100)])
                await store.coverage([KEY], interval(1))
                with pytest.raises(StoreDown):
                    await anext(store.read(KEY, interval(0)))
                assert store.up
            assert len([block async for block in store.read(KEY, interval(0))]) == 1


async def test_whoever_stops_reading_frees_his_connection() -> None:
    """Readers that stop, or are cancelled while they wait, leave no connection behind."""
    limits = HistoryLimits(connections=2, timeout=20.0)
    with postgres_url() as url, psycopg.connect(url) as somebody:
        async with postgres_history(url, limits=limits) as store:
            await store.write(KEY, interval(0), [trades(0, 100)])
            for _ in range(5):
                reading = store.read(KEY, interval(0), rows=10)
                await anext(reading)
                await reading.aclose()  # type: ignore[attr-defined]
            somebody.execute("LOCK TABLE history_series IN ACCESS EXCLUSIVE MODE")
            for _ in range(5):
                waiting = asyncio.create_task(_read(store))
                await until(lambda: _waits(url))
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            somebody.rollback()
            assert await _read(store) == 100


async def test_a_writer_that_is_cancelled_leaves_nothing() -> None:
    """Who gives up a write is free at once, and nothing of it is there."""
    with postgres_url() as url, psycopg.connect(url, autocommit=True) as somebody:
        async with postgres_history(url) as store:
            await store.write(KEY, interval(0), [trades(0, ROWS)])
            gate(url, 1, ROWS // 2)
            somebody.execute("SELECT pg_advisory_lock(%s)", [GATE])
            writing = asyncio.create_task(store.write(KEY, interval(1), [trades(1, ROWS)]))
            await until(lambda: is_held_up(somebody))
            began = time.monotonic()
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert time.monotonic() - began < 5
            somebody.execute("SELECT pg_advisory_unlock(%s)", [GATE])
            await store.write(KEY, interval(1), [trades(1, ROWS)])
            assert await whole(url, ROWS) == {0, 1}


async def test_a_postgres_that_hangs_over_history() -> None:
    """When PostgreSQL stops to answer anybody, those who read and write history are told as soon as that is known."""
    with postgres_server() as server:
        url = server.new_database()
        async with link_to(url, IMPATIENT) as link:
            store = PostgresHistory(link, DataSource.SANDBOX, HandClock(), StoreCounts())
            await link.start()
            async with running_jobs(link.run):
                await store.write(KEY, interval(0), [trades(0, 100)])
                reading = store.read(KEY, interval(0), rows=10)
                await anext(reading)
                server.pause()
                began = time.monotonic()
                try:
                    results = await asyncio.gather(
                        anext(reading),
                        store.write(KEY, interval(1), [trades(1, 10)]),
                        run(link, "SELECT 1"),
                        return_exceptions=True,
                    )
                finally:
                    server.resume()
                assert all(isinstance(result, StoreDown) for result in results), results
                assert time.monotonic() - began < 15
                await until(lambda: store.up)
                assert await whole(url, 100) == {0}
                await store.write(KEY, interval(1), [trades(1, 100)])
                assert await whole(url, 100) == {0, 1}


async def test_a_series_that_somebody_holds() -> None:
    """A write that waits too long for its series fails, PostgreSQL is still up, and other series are written."""
    with postgres_url() as url, psycopg.connect(url) as somebody:
        async with postgres_history(url, limits=HASTY) as store:
            await store.write(KEY, interval(0), [trades(0, 10)])
            somebody.execute("SELECT id FROM history_series FOR UPDATE")
            with pytest.raises(StoreDown, match="timeout"):
                await store.write(KEY, interval(1), [trades(1, 10)])
            assert store.up
            await store.write(KEY.about("IBM"), interval(1), [trades(1, 10)])
            somebody.rollback()
            await store.write(KEY, interval(1), [trades(1, 10)])
            assert await whole(url, 10) == {0, 1}


async def test_retiring_while_somebody_reads() -> None:
    """Old values are dropped while somebody reads them, who still sees all; nothing that is gone is covered."""
    with postgres_url() as url:
        async with postgres_history(url) as store:
            await store.write(KEY, interval(0), [trades(0, 1000)])
            reading = store.read(KEY, interval(0), rows=100)
            seen = len(await anext(reading))
            assert await store.retire({"trades": RECEIVED}) == 1000
            assert await whole(url, 1000) == set()
            seen += sum([len(block) async for block in reading])
            assert seen == 1000
            assert await store.retire({"trades": RECEIVED}) == 0
            with closing(psycopg.connect(url)) as connection:
                left = connection.execute("SELECT to_regclass('history_trades_2024_03')")
                assert left.fetchone() == (None,)


async def _read(store: HistoryStore) -> int:
    return sum([len(block) async for block in store.read(KEY, interval(0))])


def _waits(url: str) -> bool:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND NOT granted)"
        )
        return found.fetchone() == (True,)


def _is_left_alone(url: str) -> bool:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return found.fetchone() == (0,)
