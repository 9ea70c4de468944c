"""Partitions: tables that hold the values of a year or a month, made when the first value comes and dropped whole."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from ....market.time import NANOS
from ..link import Connection
from .tables import Table

_LOCK: Final = 0x7469636B70617274
"""Key of the advisory lock, "tickpart" in ASCII: of several gateways one makes a partition."""

MISSING: Final = "23514"
"""Code of PostgreSQL's error when no partition takes a value."""

_EXISTING: Final = """
SELECT child.relname FROM pg_inherits
JOIN pg_class child ON child.oid = inhrelid
WHERE inhparent = %s::regclass
"""


class Partition(Struct, frozen=True):
    """The values of a stretch of time, half-open, nanoseconds."""

    name: str
    start: int
    end: int


def partitions(table: Table, times: Iterable[int]) -> list[Partition]:
    """Return the partitions of *table* that values of *times* belong to, oldest first."""
    months = {_month(time) // table.months for time in times}
    return [_partition(table, number) for number in sorted(months)]


async def make(connection: Connection, table: Table, wanted: Iterable[Partition]) -> None:
    """Make those of *wanted* that are not there, in a transaction of its own."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        there = set(await _names(connection, table))
        for partition in wanted:
            if partition.name in there:
                continue
            # Made apart and attached: so whoever reads the other partitions meanwhile is not waited for.
            await connection.execute(
                f"CREATE TABLE {partition.name} (LIKE {table.name} INCLUDING ALL)"
            )
            await connection.execute(
                f"ALTER TABLE {table.name} ATTACH PARTITION {partition.name}"
                f" FOR VALUES FROM ({partition.start}) TO ({partition.end})"
            )


async def wholly_before(connection: Connection, table: Table, before: int) -> list[Partition]:
    """Return the partitions of *table* in which everything is older than *before*."""
    found = [_named(table, name) for name in await _names(connection, table)]
    return sorted(
        (one for one in found if one is not None and one.end <= before), key=lambda one: one.start
    )


async def _names(connection: Connection, table: Table) -> list[str]:
    found = await connection.execute(_EXISTING, (table.name,))
    return [name for (name,) in await found.fetchall()]


def _named(table: Table, name: str) -> Partition | None:
    year, _, month = name.removeprefix(f"{table.name}_").partition("_")
    if not year.isdecimal() or (month and not month.isdecimal()):
        return None
    return _partition(table, (int(year) * 12 + int(month or 1) - 1) // table.months)


def _partition(table: Table, number: int) -> Partition:
    first = number * table.months
    year, month = divmod(first, 12)
    name = f"{table.name}_{year:04}" + (f"_{month + 1:02}" if table.months < 12 else "")
    return Partition(name, _start(first), _start(first + table.months))


def _month(time: int) -> int:
    day = datetime.datetime.fromtimestamp(time // NANOS, datetime.UTC)
    return day.year * 12 + day.month - 1


def _start(month: int) -> int:
    year, month = divmod(month, 12)
    first = datetime.datetime(year, month + 1, 1, tzinfo=datetime.UTC)
    return int(first.timestamp()) * NANOS
