"""The log of refusals and failures in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct
from psycopg.errors import DataError

from ...market.time import format_rfc3339
from ...observe.counters import ErrorLogCounts
from ...ports import ErrorEntry, ErrorPlace, ErrorQuery, ErrorRecord
from ..error_ring import ErrorRing
from ..legible import legible, legible_text
from .link import Connection, PostgresDown, PostgresLink

_BATCH: Final = 500
"""Entries that are written with one statement."""

_CHUNK: Final = 100
"""Entries that are made ready before others get the event loop: about a millisecond."""

# One parameter holds the whole batch, so that the event loop is not asked for each row.
_INSERT: Final = """
INSERT INTO error_log (request_id, reason, message, context, time, nanos)
SELECT request_id, reason, message, context, time, nanos
FROM ROWS FROM (jsonb_to_recordset(%s::jsonb) AS (
    request_id text, reason text, message text, context jsonb, time timestamptz, nanos smallint
)) WITH ORDINALITY
ORDER BY ordinality
"""

_SELECT: Final = """
SELECT id, (extract(epoch FROM time) * 1000000)::bigint * 1000 + nanos, request_id, reason, message, context
FROM error_log
"""

# By the database's clock: one that jumps at a gateway must not empty the table.
_DELETE: Final = """
DELETE FROM error_log WHERE id IN (
    SELECT id FROM error_log WHERE time < now() - make_interval(days => %s)
    ORDER BY time LIMIT %s FOR UPDATE SKIP LOCKED
)
"""

_LONGEST: Final = 65_536
"""Bytes of a record at most, so that a batch stays far below what one parameter may hold."""

_log = structlog.get_logger(__name__)


class LogPolicy(Struct, frozen=True):
    """How the log is kept; times in seconds."""

    keep_days: int
    """Days that a record is kept."""

    queue: int = 10_000
    """Entries that wait to be written at most."""

    write_every: float = 0.5
    """Between writes."""

    close_within: float = 2.0
    """For writing what is queued when the gateway stops."""

    sweep_every: float = 3600.0
    """Between deletions of old records."""

    sweep_batch: int = 1000
    """Records that one statement deletes at most."""


class PostgresErrorLog:
    """An `ErrorLog` that all replicas share, and a ring for when PostgreSQL is down.

    An entry is written within a second. A connection that breaks while a batch is on its way leaves open whether the
    batch arrived; it is then written again, so its entries may stand there twice, but none is missing.
    """

    def __init__(
        self, link: PostgresLink, ring: ErrorRing, policy: LogPolicy, counts: ErrorLogCounts
    ) -> None:
        """Write over *link* what is also noted in *ring*; count in *counts* what was written and dropped."""
        self._link = link
        self._ring = ring
        self._policy = policy
        self._counts = counts
        self._queue: deque[ErrorEntry] = deque()
        self._arrived = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None

    def note(self, entry: ErrorEntry) -> None:
        """Keep *entry* soon, or drop and count it when too many wait."""
        self._ring.note(entry)
        if len(self._queue) >= self._policy.queue:
            self._counts.dropped += 1
            return
        self._queue.append(entry)
        self._arrived.set()

    async def search(
        self, query: ErrorQuery, place: ErrorPlace | None
    ) -> tuple[ErrorPlace, Sequence[ErrorRecord]]:
        """Return the records that *query* selects: from PostgreSQL, or from the ring while it is down."""
        if place is ErrorPlace.RING:
            return await self._ring.search(query, place)
        try:
            return ErrorPlace.POSTGRES, await self._link.ask(lambda to: _found(to, query))
        except PostgresDown:
            return await self._ring.search(query, place)

    async def run(self) -> None:
        """Write what is noted and delete what is old, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._sweep())

    async def flush(self) -> None:
        """Write what is queued, unless PostgreSQL is down. Whoever stops waiting does not stop the writing."""
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._write_queued())
        await asyncio.shield(self._flushing)

    async def sweep(self) -> int:
        """Delete records that are too old, in small batches, and return how many; the rest waits for the next time."""
        days, batch = self._policy.keep_days, self._policy.sweep_batch
        deleted = 0
        try:
            while (gone := await self._link.ask(lambda to: _delete(to, days, batch))) > 0:
                deleted += gone
        except PostgresDown:
            pass
        return deleted

    async def close(self) -> None:
        """Write what is queued as far as time permits, and count the rest as dropped. To be called after `run`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._policy.close_within):
                await self._try_to_flush()
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait({self._flushing})
        if self._queue:
            _log.warning("error_log_unwritten", entries=len(self._queue))
            self._counts.dropped += len(self._queue)
            self._queue.clear()

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._try_to_flush()
            await asyncio.sleep(self._policy.write_every)
            if self._queue:
                self._arrived.set()

    async def _try_to_flush(self) -> None:
        try:
            await self.flush()
        except Exception:  # noqa: BLE001 - a fault of ours must not take down what can still answer
            _log.exception("error_log_failed")

    async def _sweep(self) -> None:
        while True:
            if deleted := await self.sweep():
                _log.info("error_log_swept", deleted=deleted)
            await asyncio.sleep(self._policy.sweep_every)

    async def _write_queued(self) -> None:
        while self._queue:
            batch = list(islice(self._queue, _BATCH))
            try:
                await self._write_batch(batch)
            except PostgresDown:
                return
            for _ in batch:
                self._queue.popleft()

    async def _write_batch(self, batch: Sequence[ErrorEntry]) -> None:
        rows = await self._rows(batch)
        try:
            await self._insert(rows)
        except DataError:
            for row in rows:
                try:
                    await self._insert([row])
                except DataError as error:
                    self._drop(error)

    async def _rows(self, batch: Sequence[ErrorEntry]) -> list[bytes]:
        rows = []
        for number, entry in enumerate(batch, start=1):
            try:
                rows.append(_row(entry))
            except Exception as error:  # noqa: BLE001 - one entry that cannot be written must not cost the others
                self._drop(error)
            if number % _CHUNK == 0:
                await asyncio.sleep(0)
        return rows

    async def _insert(self, rows: Sequence[bytes]) -> None:
        body = b"[" + b",".join(rows) + b"]"
        await self._link.ask(lambda to: _execute(to, _INSERT, (body.decode(),)))
        self._counts.written += len(rows)

    def _drop(self, error: Exception) -> None:
        self._counts.dropped += 1
        _log.warning("error_log_refused", why=type(error).__name__, said=str(error))


class _Row(Struct):
    request_id: str
    reason: str
    message: str
    context: Any
    time: str
    nanos: int


def _row(entry: ErrorEntry) -> bytes:
    entry = legible(entry)
    time, nanos = _split(entry.time)
    row = msgspec.json.encode(
        _Row(entry.request_id, entry.reason, entry.message, entry.context, time, nanos)
    )
    if len(row) > _LONGEST:
        msg = f"a record of {len(row)} bytes"
        raise ValueError(msg)
    return row


def _split(instant: int) -> tuple[str, int]:
    """Return the part of *instant* that PostgreSQL's times can hold, and the nanoseconds that they cannot."""
    nanos = instant % 1000
    return format_rfc3339(instant - nanos), nanos


async def _execute(to: Connection, statement: str, parameters: Sequence[Any]) -> None:
    await to.execute(statement, parameters)


async def _delete(to: Connection, days: int, batch: int) -> int:
    done = await to.execute(_DELETE, (days, batch))
    return done.rowcount


async def _found(to: Connection, query: ErrorQuery) -> list[ErrorRecord]:
    conditions, parameters = _conditions(query)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await to.execute(
        f"{_SELECT} {where} ORDER BY id DESC LIMIT %s", (*parameters, query.limit)
    )
    return [ErrorRecord(number, ErrorEntry(*entry)) for number, *entry in await rows.fetchall()]


def _conditions(query: ErrorQuery) -> tuple[list[str], list[Any]]:
    given: list[tuple[str, Sequence[Any]]] = []
    if query.reasons:
        given.append(("reason = ANY(%s)", [sorted(query.reasons)]))
    if query.request_id:
        given.append(("request_id = %s", [legible_text(query.request_id)]))
    if query.start is not None:
        given.append(("(time, nanos) >= (%s::timestamptz, %s)", _split(query.start)))
    if query.end is not None:
        given.append(("(time, nanos) < (%s::timestamptz, %s)", _split(query.end)))
    if query.before_id is not None:
        given.append(("id < %s", [query.before_id]))
    return [condition for condition, _ in given], [one for _, some in given for one in some]
