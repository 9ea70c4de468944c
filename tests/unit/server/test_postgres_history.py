"""How history is kept in PostgreSQL: its tables, what is counted, and texts on their way in and out."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.errors import StoreDown
from tickgate_server.market.columns import Block, Origin, TradeBlock, codes, counts, decimals
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.observe.counters import StoreCounts
from tickgate_server.stores.postgres.history.partitions import partitions
from tickgate_server.stores.postgres.history.rows_out import _power, _prices
from tickgate_server.stores.postgres.history.store import PostgresHistory
from tickgate_server.stores.postgres.history.tables import TABLES

from ...support.error_log import as_administrator, link_to, running_jobs
from ...support.fakes import NOW, HandClock
from ...support.history_store import (
    MemoryStore,
    block_of,
    postgres_history,
    values_of,
)
from ...support.history_writer import KEY, RECEIVED, interval, trades
from ...support.stores import postgres_url
from ...support.waiting import until

BARS = SeriesKey(SeriesKind.BARS, "AAPL", Feed.IEX, Timeframe(1, Unit.MINUTE))
ALL_TIME = Interval(0, 2**62)


def asked(url: str, statement: str) -> Any:
    """Return the only value of a statement, run beside the store."""
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row[0]


async def read(store: PostgresHistory, key: SeriesKey = KEY, **how: Any) -> list[Block]:
    """Return all that is held of a series."""
    return [block async for block in store.read(key, ALL_TIME, **how)]


def test_partitions_are_years_and_months() -> None:
    """Bars lie in partitions of a year, trades and quotes in those of a month, in UTC."""
    times = [
        parse_rfc3339(text)
        for text in (
            "2024-12-31T23:59:59.999999999Z",
            "2025-01-01T00:00:00Z",
            "2025-01-31T00:00:00Z",
            "1969-12-31T23:59:59Z",
        )
    ]
    year, month = (
        [(one.name, one.start, one.end) for one in partitions(TABLES[kind], times)]
        for kind in (SeriesKind.BARS, SeriesKind.QUOTES)
    )
    first = {n: parse_rfc3339(f"{n}-01-01T00:00:00Z") for n in (1969, 1970, 2024, 2025, 2026)}
    assert year == [
        ("history_bars_1969", first[1969], 0),
        ("history_bars_2024", first[2024], first[2025]),
        ("history_bars_2025", first[2025], first[2026]),
    ]
    assert month == [
        ("history_quotes_1969_12", -31 * 86_400 * NANOS, 0),
        ("history_quotes_2024_12", parse_rfc3339("2024-12-01T00:00:00Z"), first[2025]),
        ("history_quotes_2025_01", first[2025], parse_rfc3339("2025-02-01T00:00:00Z")),
    ]


async def test_nothing_that_holds_can_be_there_twice() -> None:
    """The table itself refuses a second value of one series, time and ordinal, unless the first is superseded."""
    with postgres_url() as url:
        async with postgres_history(url) as store:
            await store.write(KEY, interval(0), [trades(0, 4)])
            again = (
                "INSERT INTO history_trades SELECT * FROM history_trades WHERE known_until IS NULL"
            )
            with pytest.raises(psycopg.errors.UniqueViolation):
                as_administrator(url, again)
            as_administrator(url, "UPDATE history_trades SET known_until = 1", again)
            assert await read(store) == []


async def test_a_range_is_one_scan_of_an_index() -> None:
    """Also in a table that was never analysed, a block is read from the index, in order, without a sort."""
    with postgres_url() as url:
        async with postgres_history(url) as store:
            await store.write(KEY, interval(0), [trades(0, 5000)])
            statement = TABLES[KEY.kind].block_of(newest_first=False, as_of=False)
            with psycopg.connect(url) as connection:
                connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
                known = {
                    "series": 1,
                    "start": 0,
                    "end": 2**62,
                    "time": 0,
                    "ordinal": -1,
                    "rows": 100,
                }
                rows = connection.execute(f"EXPLAIN {statement}".encode(), known).fetchall()
            plan = "\n".join(row[0] for row in rows)
            assert "Index Scan using history_trades_2024_03" in plan
            assert "Sort" not in plan


async def test_what_is_done_is_counted() -> None:
    """Values written, superseded and read are counted, and so are intervals, failures, and how large it all is."""
    counted, clock = StoreCounts(), HandClock()
    with postgres_url() as url:
        async with postgres_history(url, clock, counts=counted) as store:
            assert (counted.state, counted.size, counted.last_write_time) == ("up", None, None)
            await store.write(KEY, interval(0), [trades(0, 10)])
            await store.write(KEY, interval(0), [trades(0, 9, received=RECEIVED + 1, revised=2)])
            clock.advance(1)
            alone = replace(trades(1, 3), receive_times=array("q", [RECEIVED] * 3))
            await store.record(KEY, [alone], [])
            assert len(await read(store)) == 3
            await store.measure()
            known = (counted.rows_written, counted.rows_superseded, counted.rows_read)
            assert known == (15, 3, 12)
            assert (counted.intervals_written, counted.write_failures) == (2, 0)
            assert counted.last_write_time == NOW + NANOS
            assert counted.size is not None
            assert counted.size > 8192 * 5


async def test_its_size_is_looked_at_by_itself() -> None:
    """While the job runs, the size is known, and is not when PostgreSQL is not there."""
    counted = StoreCounts()
    with postgres_url() as url:
        async with postgres_history(url, counts=counted) as store, running_jobs(store.run):
            await until(lambda: counted.size is not None)
    async with postgres_history("postgresql://nobody@127.0.0.1:1/x", counts=counted) as store:
        async with running_jobs(store.run):
            await until(lambda: counted.size is None)
        assert counted.state == "down"


async def test_providers_never_mix() -> None:
    """What one provider told is nothing that another one holds, forgets, or drops."""
    with postgres_url() as url:
        async with (
            postgres_history(url) as sandbox,
            postgres_history(url, source=DataSource.ALPACA) as market,
        ):
            await sandbox.write(KEY, interval(0), [trades(0, 10)])
            assert await read(market) == []
            assert (await market.coverage([KEY], ALL_TIME))[KEY] == ()
            with pytest.raises(TypeError, match="alpaca"):
                await market.write(KEY, interval(0), [trades(0, 10)])
            theirs = trades(0, 5)
            theirs = replace(theirs, origin=replace(theirs.origin, source=DataSource.ALPACA))
            await market.write(KEY, interval(0), [theirs])
            assert await market.retire({"trades": RECEIVED}) == 5
            assert sum(map(len, await read(sandbox))) == 10
            assert (await sandbox.coverage([KEY], ALL_TIME))[KEY][0].count == 10


async def test_old_partitions_go_whole() -> None:
    """Where everything in a partition is too old it is dropped, and the answers that its values came with as well."""
    with postgres_url() as url:
        async with postgres_history(url) as store:
            for number in (0, 24 * 40):
                await store.write(KEY, interval(number), [trades(number, 10)])
            assert await store.retire({"trades": interval(24 * 40).start + 1}) == 12
            tables = (
                "SELECT string_agg(relname, ' ') FROM pg_class"
                " WHERE relkind = 'r' AND relname LIKE 'history_trades_%'"
            )
            assert asked(url, tables) == "history_trades_2024_04"
            assert asked(url, "SELECT count(*) FROM history_writes") == 1
            (kept,) = await read(store)
            assert (len(kept), kept.origin.upstream_request_id) == (8, "page-960")
            (covered,) = (await store.coverage([KEY], ALL_TIME))[KEY]
            assert (covered.interval.start, covered.count) == (interval(24 * 40).start + 1, 8)


async def test_a_long_series_is_retired_in_steps() -> None:
    """More values than one statement deletes are dropped all the same, where another provider's lie beside them."""
    with postgres_url() as url:
        async with (
            postgres_history(url) as store,
            postgres_history(url, source=DataSource.ALPACA) as other,
        ):
            await other.write(KEY, interval(0), [])
            await store.write(KEY, interval(0), [trades(0, 120_001)])
            assert await store.retire({"trades": interval(0).start + 55_000}) == 110_000
            assert (await store.coverage([KEY], ALL_TIME))[KEY][0].count == 10_001


async def test_what_postgres_cannot_hold_is_said() -> None:
    """A code with a NUL character, which PostgreSQL has no place for, fails the write and leaves the store up."""
    odd = replace(trades(0, 2), exchange=codes(["V", "\0"]))
    lone = replace(trades(0, 2), exchange=codes(["V", "\ud800"]))
    with postgres_url() as url:
        async with postgres_history(url) as store:
            for block in (odd, lone):
                with pytest.raises(StoreDown, match="invalid byte sequence"):
                    await store.write(KEY, interval(0), [block])
            assert store.up
            assert (await store.coverage([KEY], ALL_TIME))[KEY] == ()


async def test_a_store_that_is_not_there_says_so() -> None:
    """Without PostgreSQL every question and every change says that it is down, and why."""
    async with postgres_history("postgresql://nobody@127.0.0.1:1/nowhere") as store:
        assert not store.up
        for asked_for in (
            store.coverage([KEY], ALL_TIME),
            read(store),
            store.write(KEY, interval(0), []),
            store.record(KEY, [trades(0, 1)], []),
            store.forget_adjusted("AAPL", NOW),
            store.retire({"bars": NOW}),
        ):
            with pytest.raises(StoreDown, match="refused"):
                await asked_for


async def test_long_work_leaves_the_event_loop_to_others() -> None:
    """While a hundred thousand values are written and read, others get their turn many times."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with postgres_url() as url:
        async with postgres_history(url) as store:
            job = asyncio.create_task(take_turns())
            await store.write(KEY, interval(0), [trades(0, 50_000)])
            assert turns > 50
            turns = 0
            assert len(await read(store)) == 5
            assert turns > 25
            job.cancel()


numbers = st.one_of(
    st.none(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=0, max_value=10**6),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
)


@given(st.lists(numbers, min_size=1, max_size=12))
def test_prices_survive_their_text(prices: list[Decimal | None]) -> None:
    """Numbers of any length, and rows without one, are read from the text that PostgreSQL writes exactly."""
    text = ",".join("" if price is None else f"{price:f}" for price in prices)
    column = _prices(text)
    assert (prices if column is not None else [None] * len(prices)) == (
        list(column) if column is not None else prices
    )


@pytest.mark.parametrize(
    ("text", "power"),
    [("1.25,2.50", 2), ("1,2", 0), ("1.2,3", None), ("1.25,1.2", None), ("1.2,1.25", None)],
)
def test_places_that_all_have(text: str, power: int | None) -> None:
    """The number of decimal places is known where all numbers have as many."""
    assert _power(text.encode(), 2) == power


texts = st.one_of(
    st.none(), st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=4)
)
lists = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=3), max_size=3).map(tuple)
sizes = st.one_of(st.none(), st.integers(0, 2**63 - 1))
prices = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=Decimal("1e-12"), max_value=10**12
)


@st.composite
def some_trades(draw: st.DrawFn) -> tuple[list[int], list[tuple[Any, ...]]]:
    """Trades of any shape, in order of time."""
    row = st.tuples(prices, sizes, texts, lists, sizes, texts, texts)
    rows = draw(st.lists(row, min_size=1, max_size=5))
    times = sorted(draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    return times, rows


def trades_of(times: Sequence[int], rows: Sequence[tuple[Any, ...]]) -> Block:
    """Return trades as a block."""
    price, size, exchange, conditions, number, tape, amendment = zip(*rows, strict=True)
    made = decimals(price)
    assert made is not None
    return TradeBlock(
        origin=Origin(DataSource.SANDBOX, Feed.IEX, NOW, "", Tier.UPSTREAM),
        times=array("q", times),
        price=made,
        size=counts(size),
        exchange=codes(exchange),
        conditions=codes(conditions),
        id=counts(number),
        tape=codes(tape),
        amendment=codes(amendment),
    )


def test_any_value_comes_back_exactly() -> None:
    """Whatever codes, sizes and prices trades have, they come back as they were, written at once or recorded live."""
    with postgres_url() as url, asyncio.Runner() as runner:
        held = postgres_history(url)
        store = runner.run(held.__aenter__())
        number = iter(range(10**6))

        async def there_and_back(block: Block) -> None:
            written, recorded = (KEY.about(f"S{next(number)}") for _ in range(2))
            memory = MemoryStore()
            await store.write(written, Interval(0, 10), [block])
            await store.record(recorded, [block], [])
            await memory.record(recorded, [block], [])
            for key, wanted in ((written, [block]), (recorded, memory.read(recorded, ALL_TIME))):
                expected = wanted if isinstance(wanted, list) else [one async for one in wanted]
                got = await read(store, key)
                assert [row for one in got for row in values_of(one)] == [
                    row for one in expected for row in values_of(one)
                ]

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(some_trades())
        def law(given_trades: tuple[list[int], list[tuple[Any, ...]]]) -> None:
            runner.run(there_and_back(trades_of(*given_trades)))

        try:
            law()
        finally:
            runner.run(held.__aexit__(None, None, None))


async def test_a_lane_is_opened_before_it_is_used() -> None:
    """A store that is made when its link is connected already is down until the link is connected anew."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
            late = PostgresHistory(link, DataSource.SANDBOX, HandClock(), StoreCounts())
            with pytest.raises(StoreDown, match="not connected yet"):
                await late.coverage([KEY], ALL_TIME)


async def test_blocks_of_bars_are_bars() -> None:
    """A day of bars is read as one block of integers, each column with one power of ten."""
    prices = [(Decimal(n + 17_000).scaleb(-2),) * 4 + (n, n, None) for n in range(390)]
    times = [interval(0).start + n for n in range(390)]
    origin = Origin(DataSource.SANDBOX, Feed.IEX, NOW, "one", Tier.UPSTREAM)
    with postgres_url() as url:
        async with postgres_history(url) as store:
            await store.write(BARS, interval(0), [block_of(BARS.kind, origin, times, prices)])
            (block,) = await read(store, BARS)
    opened = block.columns["open"]
    assert opened is not None
    assert (opened.exponent, list(opened.values[:2])) == (-2, [17_000, 17_001])  # type: ignore[union-attr]
