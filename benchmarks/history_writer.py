"""Writes recorded values into PostgreSQL again and again, in one of several ways, and says how long it took.

python -m benchmarks.history_writer WAY KIND RECORDING SYMBOL URL

WAY is one of `WAYS`, KIND is bars or trades. What is written is made before anything is measured: blocks of columns,
as they come from the upstream, for the store, and rows of Python's own values for psycopg. It says "ready" when
everything is made, then writes it all for each line of the input and answers with one, JSON: see `Written`.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import sys
import time
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import psycopg
import structlog
from psycopg.sql import SQL, Composed, Identifier, Placeholder

from tickgate_sandbox.timestamps import parse_many
from tickgate_server.market.columns import (
    BarBlock,
    Block,
    Origin,
    TradeBlock,
    codes,
    counts,
    parse_decimals,
    part,
)
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.observe.counters import ErrorLogCounts, StoreCounts
from tickgate_server.stores.postgres.history.store import PostgresHistory
from tickgate_server.stores.postgres.history.tables import KEPT, TABLES, Table
from tickgate_server.stores.postgres.link import LinkLimits, PostgresLink

STORE: Final = "store"
COPY: Final = "copy"
EXECUTEMANY: Final = "executemany"

PAGE: Final = 10_000
"""Values of one write of the store's: those of a page of the upstream's."""

_LARGE: Final = frozenset({"time", "known_from", "known_until", "write", "receive_time"})
"""Columns beside the fields that hold eight bytes; the others hold four."""


class Written(msgspec.Struct):
    """What was written."""

    seconds: float
    """Until all of it was committed."""

    cpu: float
    """Seconds of this process's CPU."""

    rows: int


class _Way(Protocol):
    async def write(self) -> int:
        """Write everything, and return how many rows that is."""
        ...


class _Store:
    """The gateway's own store, page by page."""

    def __init__(self, store: PostgresHistory, key: SeriesKey, block: Block) -> None:
        self._store = store
        self._key = key
        self._pages = list(_pages(block))

    async def write(self) -> int:
        for page in self._pages:
            interval = Interval(page.times[0], page.times[-1] + 1)
            await self._store.write(self._key, interval, [page])
        return sum(map(len, self._pages))


class _Psycopg:
    """A bare table of the same columns and indexes, in one transaction."""

    def __init__(self, way: str, table: Table, url: str, block: Block) -> None:
        self._way = way
        self._table = table
        self._connection = psycopg.connect(url)
        self._rows = list(_rows(table, block))

    async def write(self) -> int:
        columns = KEPT + self._table.fields
        with self._connection.cursor() as cursor:
            if self._way == EXECUTEMANY:
                cursor.executemany(_insert(self._table, columns), self._rows)
            else:
                with cursor.copy(_copy(self._table, columns)) as copy:
                    copy.set_types([_type(self._table, name) for name in columns])
                    for row in self._rows:
                        copy.write_row(row)
        self._connection.commit()
        return len(self._rows)


def bare(kind: SeriesKind) -> str:
    """Return the name of the bare table for *kind*."""
    return f"bare_{kind}"


def key_of(kind: SeriesKind, symbol: str) -> SeriesKey:
    """Return the series that is written."""
    timeframe = Timeframe(1, Unit.MINUTE) if kind is SeriesKind.BARS else None
    return SeriesKey(kind, symbol, Feed.SIP, timeframe)


def read(kind: SeriesKind, recording: Path) -> Block:
    """Return what was recorded, in columns."""
    text = gzip.decompress(recording.read_bytes())
    records: list[dict[str, Any]]
    if kind is SeriesKind.BARS:
        raw = msgspec.json.decode(text, type=dict[str, list[dict[str, msgspec.Raw]]])["bars"]
    else:
        raw = msgspec.json.decode(
            b"[" + b",".join(text.splitlines()) + b"]", type=list[dict[str, msgspec.Raw]]
        )
    records = [{name: bytes(value) for name, value in record.items()} for record in raw]
    times = array("q", parse_many(msgspec.json.decode(one["t"]) for one in records))
    origin = Origin(DataSource.SANDBOX, Feed.SIP, time.time_ns(), "made-up", Tier.UPSTREAM)

    def prices(name: str) -> Any:
        return parse_decimals([one[name] for one in records])

    def numbers(name: str) -> Any:
        return counts([int(one[name]) for one in records])

    def texts(name: str) -> Any:
        found = [msgspec.json.decode(one[name]) for one in records]
        return codes([tuple(one) if isinstance(one, list) else one for one in found])

    if kind is SeriesKind.BARS:
        return BarBlock(
            origin=origin,
            times=times,
            open=prices("o"),
            high=prices("h"),
            low=prices("l"),
            close=prices("c"),
            vwap=prices("vw"),
            volume=numbers("v"),
            trade_count=numbers("n"),
        )
    return TradeBlock(
        origin=origin,
        times=times,
        price=prices("p"),
        size=numbers("s"),
        exchange=texts("x"),
        conditions=texts("c"),
        id=numbers("i"),
        tape=texts("z"),
        amendment=None,
    )


def _pages(block: Block) -> Iterator[Block]:
    for start in range(0, len(block), PAGE):
        yield part(block, start, start + PAGE)


def _rows(table: Table, block: Block) -> Iterator[tuple[Any, ...]]:
    """Yield rows as the tables hold them; no two values here are of one instant."""
    columns = block.columns
    received = block.origin.receive_time
    each = [
        [None] * len(block) if columns[name] is None else list(columns[name] or ())
        for name in table.fields
    ]
    for number, values in zip(block.times, zip(*each, strict=True), strict=True):
        fields = (list(one) if isinstance(one, tuple) else one for one in values)
        yield (1, number, 0, received, None, 1, None, *fields)


def _copy(table: Table, columns: Sequence[str]) -> Composed:
    return SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        Identifier(bare(table.kind)), SQL(", ").join(map(Identifier, columns))
    )


def _insert(table: Table, columns: Sequence[str]) -> Composed:
    return SQL("INSERT INTO {} ({}) VALUES ({})").format(
        Identifier(bare(table.kind)),
        SQL(", ").join(map(Identifier, columns)),
        SQL(", ").join([Placeholder()] * len(columns)),
    )


def _type(table: Table, column: str) -> str:
    if column in table.prices:
        return "numeric"
    if column in table.texts:
        return "text"
    if column in table.lists:
        return "text[]"
    return "int8" if column in table.counts or column in _LARGE else "int4"


class _Clock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> int:
        return time.time_ns()

    def market(self) -> int:
        return time.time_ns()


@asynccontextmanager
async def _way(
    way: str, kind: SeriesKind, recording: Path, symbol: str, url: str
) -> AsyncIterator[_Way]:
    block = read(kind, recording)
    if way != STORE:
        yield _Psycopg(way, TABLES[kind], url, block)
        return
    link = PostgresLink(
        url, LinkLimits(timeout=30.0, check_every=1.0, connections=2), ErrorLogCounts(), "auto"
    )
    store = PostgresHistory(link, DataSource.SANDBOX, _Clock(), StoreCounts())
    await link.start()
    try:
        yield _Store(store, key_of(kind, symbol), block)
    finally:
        await link.close()


async def _serve(way: str, kind: str, recording: str, symbol: str, url: str) -> None:
    async with _way(way, SeriesKind(kind), Path(recording), symbol, url) as writing:
        print("ready", flush=True)
        for _ in sys.stdin:
            gc.collect()
            cpu, start = time.process_time(), time.perf_counter()
            rows = await writing.write()
            written = Written(time.perf_counter() - start, time.process_time() - cpu, rows)
            print(msgspec.json.encode(written).decode(), flush=True)


def main(*arguments: str) -> None:
    """Run on the quickest loop there is, as the gateway does."""
    # What is said on the standard output is read by who asks, who knows that PostgreSQL is up.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    asyncio.run(_serve(*arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
