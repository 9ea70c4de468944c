"""Error logs and links to a real PostgreSQL, with limits that suit a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Literal

import psycopg
from msgspec import Struct

from tickgate_server.observe.counters import ErrorLogCounts
from tickgate_server.ports import ErrorEntry, ErrorPlace, ErrorQuery, ErrorRecord
from tickgate_server.stores.error_ring import ErrorRing
from tickgate_server.stores.postgres.error_log import LogPolicy, PostgresErrorLog
from tickgate_server.stores.postgres.link import Connection, LinkLimits, PostgresLink

from .fakes import NOW

PATIENT = LinkLimits(timeout=20.0, check_every=0.01, connections=5)
"""No busy machine takes as long, so that a test which waits for it has found a fault."""

HASTY = LinkLimits(timeout=0.5, check_every=0.01, connections=5)
"""For servers that do not answer; those that do have time enough for something small."""

POLICY = LogPolicy(keep_days=14, write_every=0.01, close_within=20.0)
"""Writes at once, and has time to finish."""


def entry(number: int = 0, **changed: Any) -> ErrorEntry:
    """A refusal with a context; the higher its *number*, the later."""
    known: dict[str, Any] = {
        "time": NOW + number,
        "request_id": f"call-{number}",
        "reason": "NO_DATA",
        "message": f"message {number}",
        "context": {"endpoint": "QuoteService/GetQuote", "symbols": ["AAPL"], "number": number},
    }
    return ErrorEntry(**(known | changed))


class Kept(Struct):
    """A log in PostgreSQL and what it is made of."""

    log: PostgresErrorLog
    link: PostgresLink
    ring: ErrorRing
    counts: ErrorLogCounts

    async def written(self, query: ErrorQuery | None = None) -> list[ErrorRecord]:
        """Return what PostgreSQL holds of a query, once all that was noted is there."""
        await self.log.flush()
        place, records = await self.log.search(
            query or ErrorQuery(limit=1_000_000), ErrorPlace.POSTGRES
        )
        assert place is ErrorPlace.POSTGRES
        return list(records)


@asynccontextmanager
async def link_to(
    url: str,
    limits: LinkLimits = PATIENT,
    counts: ErrorLogCounts | None = None,
    mode: Literal["auto", "check"] = "auto",
) -> AsyncIterator[PostgresLink]:
    """Lend a link to *url*, which is closed afterwards."""
    link = PostgresLink(url, limits, counts or ErrorLogCounts(), mode)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def kept(
    url: str, limits: LinkLimits = PATIENT, policy: LogPolicy = POLICY, ring: int = 100_000
) -> AsyncIterator[Kept]:
    """Lend a log at *url* whose jobs do not run, started and closed as the gateway does it."""
    counts = ErrorLogCounts()
    async with link_to(url, limits, counts) as link:
        held = ErrorRing(ring, ErrorLogCounts())
        log = PostgresErrorLog(link, held, policy, counts)
        await link.start()
        try:
            yield Kept(log, link, held, counts)
        finally:
            await log.close()


@asynccontextmanager
async def running_jobs(*jobs: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Let *jobs* run during the block."""
    async with AsyncExitStack() as stack:
        for job in jobs:
            stack.push_async_callback(_end, asyncio.create_task(job()))
        yield


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def run(link: PostgresLink, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Return what *statement* returns over *link*."""

    async def command(to: Connection) -> list[tuple[Any, ...]]:
        done = await to.execute(statement, parameters)
        return await done.fetchall() if done.description else []

    return await link.ask(command)


def as_administrator(url: str, *statements: str) -> None:
    """Run *statements* in the database at *url*, beside the gateway."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
