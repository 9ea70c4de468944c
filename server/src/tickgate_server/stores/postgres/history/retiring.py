"""Dropping what is older than it has to be kept."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from ....market.provenance import DataSource
from ..link import Connection, Lent, PostgresRefused
from . import partitions
from .tables import Table

_ROWS: Final = 50_000
"""Values that one statement deletes at most, but for those of one time."""

_PATIENCE: Final = "SET LOCAL lock_timeout = '1s'"
"""For the locks that dropping a table takes, behind which everybody else would have to queue."""

_BUSY: Final = "55P03"
"""Code of PostgreSQL's error when a lock is not to be had."""

_SERIES: Final = "SELECT id FROM history_series WHERE kind = %s AND source = %s ORDER BY id"
_FOREIGN: Final = "SELECT EXISTS (SELECT FROM history_series WHERE kind = %s AND source <> %s)"
_LOCK: Final = "SELECT id FROM history_series WHERE id = %s FOR UPDATE"
_LOCK_ALL: Final = "LOCK TABLE history_series IN EXCLUSIVE MODE"

# How the values that were refused are spread over an interval is not known, nor is there a number of those that stay.
_UNCOVER: Final = (
    "DELETE FROM history_covered WHERE series = ANY (%(series)s) AND end_time <= %(before)s",
    "DELETE FROM history_coverage_log WHERE series = ANY (%(series)s) AND end_time <= %(before)s",
    """
    UPDATE history_coverage_log SET start_time = %(before)s
    WHERE series = ANY (%(series)s) AND start_time < %(before)s
    """,
)
_ANSWERS: Final = (
    "DELETE FROM history_writes WHERE series = ANY (%(series)s) AND last_time < %(before)s"
)


class Retirement(Struct, frozen=True):
    """Values of one kind and provider that are older than they have to be kept."""

    table: Table
    source: DataSource
    before: int

    async def apply(self, lent: Lent) -> int:
        """Drop them, and return how many there were."""
        gone = await self._drop(lent)
        found = await lent.ask(self._series)
        for series in found:
            while (deleted := await lent.ask(lambda to: self._delete(to, series))) > 0:  # noqa: B023 - is awaited here
                gone += deleted
        await lent.ask(lambda to: self._run(to, _ANSWERS, found))
        return gone

    async def _series(self, to: Connection) -> list[int]:
        rows = await to.execute(_SERIES, (self.table.kind.value, self.source.value))
        return [number for (number,) in await rows.fetchall()]

    async def _drop(self, lent: Lent) -> int:
        """Drop whole partitions, unless somebody uses them now, or another provider's values are in them."""
        try:
            return await lent.ask(self._drop_partitions)
        except PostgresRefused as refused:
            if refused.sqlstate != _BUSY:
                raise
            return 0

    async def _drop_partitions(self, to: Connection) -> int:
        gone = 0
        async with to.transaction():
            await to.execute(_PATIENCE)
            # Whoever writes holds the lock of a series, and whoever begins to waits until this is over.
            await to.execute(_LOCK_ALL)
            foreign = await to.execute(_FOREIGN, (self.table.kind.value, self.source.value))
            if await foreign.fetchone() != (False,):
                return 0
            old = await partitions.wholly_before(to, self.table, self.before)
            if not old:
                return 0
            await self._uncover(to, await self._series(to))
            for partition in old:
                counted = await to.execute(f"SELECT count(*) FROM {partition.name}")  # noqa: S608 - a name of ours
                row = await counted.fetchone()
                gone += 0 if row is None else row[0]
                await to.execute(f"DROP TABLE {partition.name}")
        return gone

    async def _delete(self, to: Connection, series: int) -> int:
        """Delete some of the oldest values of *series*, and return how many."""
        parameters = {"series": series, "before": self.before, "rows": _ROWS}
        async with to.transaction():
            await to.execute(_LOCK, (series,))
            await self._uncover(to, [series])
            now = await to.execute(self.table.delete_now, parameters)
            superseded = await to.execute(self.table.delete_superseded, parameters)
        return now.rowcount + superseded.rowcount

    async def _uncover(self, to: Connection, found: list[int]) -> None:
        for statement in _UNCOVER:
            await self._run(to, statement, found)
        await self._run(to, self.table.cut_covered, found)

    async def _run(self, to: Connection, statement: str, found: list[int]) -> None:
        parameters: dict[str, Any] = {"series": found, "before": self.before}
        await to.execute(statement, parameters)
