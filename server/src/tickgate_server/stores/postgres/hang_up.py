"""Giving up on a PostgreSQL that does not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")


def hang_up(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Cut *connection* off, from any thread: whoever waits for an answer on it learns at once that none will come."""
    if connection.closed:
        return
    with (
        suppress(OSError),  # The other side was quicker.
        socket.socket(fileno=socket.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


async def in_time(
    connection: psycopg.AsyncConnection[Any], work: Coroutine[Any, Any, T], seconds: float
) -> T:
    """Return what *work*, done over *connection*, returns; hang up when it takes longer, or nobody waits any more.

    To cancel psycopg's own waiting would not do: it asks the server to stop first, and waits for a server that hangs.

    Raises:
        TimeoutError: it took longer than *seconds*.
    """
    task = asyncio.ensure_future(work)
    failure: BaseException | None = None
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            hang_up(connection)
            await asyncio.wait({task})
            failure = task.exception()
    if failure is not None:
        raise TimeoutError from failure
    return task.result()
