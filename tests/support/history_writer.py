"""A gateway's part in writing history, as a process of its own that can be killed, and what must be true afterwards.

    python -m tests.support.history_writer URL FIRST END ROWS

writes intervals FIRST up to END of one series, each of ROWS trades, and says of each when it is written.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from subprocess import PIPE, Popen

import psycopg
import structlog

from tickgate_server.market.columns import Block, Origin
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS, parse_rfc3339

from .history_store import Values, block_of, postgres_history, values_of

KEY = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)
FIRST = parse_rfc3339("2024-03-13T13:30:00Z")
RECEIVED = parse_rfc3339("2026-10-01T15:00:00Z")
HOUR = 3600 * NANOS

GATE = 4711
"""Key of an advisory lock: while somebody holds it, a writer waits in the middle of an interval that has a gate."""


def interval(number: int) -> Interval:
    """Return one of the intervals that are written."""
    return Interval(FIRST + number * HOUR, FIRST + (number + 1) * HOUR)


def trades(number: int, rows: int, *, received: int = RECEIVED, revised: int = 0) -> Block:
    """Return all of an interval: two trades in each nanosecond, of which the first *revised* are worth more."""
    values: list[Values] = [
        (
            Decimal(10_000 + row + (10**6 if row < revised else 0)).scaleb(-2),
            100,
            "V",
            ("@", "I"),
            row,
            "C",
            None,
        )
        for row in range(rows)
    ]
    origin = Origin(DataSource.SANDBOX, Feed.IEX, received, f"page-{number}", Tier.UPSTREAM)
    times = array("q", (interval(number).start + row // 2 for row in range(rows)))
    return block_of(SeriesKind.TRADES, origin, times, values)


async def write(url: str, numbers: Sequence[int], rows: int) -> None:
    """Write intervals, one after the other, and say so."""
    async with postgres_history(url) as store:
        for number in numbers:
            await store.write(KEY, interval(number), [trades(number, rows)])
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


@contextmanager
def writer(url: str, first: int, end: int, rows: int) -> Iterator[Popen[str]]:
    """Run a process that writes, and kill it at the end of the block."""
    program = [sys.executable, "-m", __name__, url, str(first), str(end), str(rows)]
    with Popen(program, stdout=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def gate(url: str, number: int, row: int) -> None:
    """Let whoever writes an interval wait for `GATE` before one of its rows."""
    time = interval(number).start + row // 2
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"""
            CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.time = {time} THEN PERFORM pg_advisory_xact_lock({GATE}); END IF;
                RETURN NEW;
            END $$
            """.encode()
        )
        connection.execute(
            b"CREATE TRIGGER hold BEFORE INSERT ON history_trades FOR EACH ROW EXECUTE FUNCTION hold()"
        )


def is_held_up(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Tell whether somebody waits for `GATE`."""
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted)",
        [GATE],
    )
    return found.fetchone() == (True,)


async def whole(url: str, rows: int) -> set[int]:
    """Return the intervals that are covered, after a look whether all of each is stored, and nothing else, and once."""
    async with postgres_history(url) as store:
        everything = Interval(interval(0).start, interval(10_000).start)
        covered = (await store.coverage([KEY], everything))[KEY]
        numbers = set()
        for one in covered:
            first = (one.interval.start - FIRST) // HOUR
            last = (one.interval.end - FIRST) // HOUR
            assert one.interval == Interval(interval(first).start, interval(last).start)
            assert one.count == rows * (last - first)
            numbers |= set(range(first, last))
        read = [block async for block in store.read(KEY, everything)]
        stored = [row for block in read for row in zip(block.times, values_of(block), strict=True)]
        wanted = [
            row
            for number in sorted(numbers)
            for row in zip(trades(number, rows).times, values_of(trades(number, rows)), strict=True)
        ]
        assert stored == wanted
        return numbers


if __name__ == "__main__":
    address, begin, finish, size = sys.argv[1:]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(write(address, range(int(begin), int(finish)), int(size)))
