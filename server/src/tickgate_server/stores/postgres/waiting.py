"""Waiting for PostgreSQL, and giving up on one that does not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
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


async def answer(connection: psycopg.AsyncConnection[Any], work: Coroutine[Any, Any, T]) -> T:
    """Return what *work*, done over *connection*, returns; hang up when nobody waits for it any more.

    psycopg's own way would not do: it asks the server to stop first, and waits for that with a server that hangs.
    """
    return await _outcome(work, lambda _: hang_up(connection))


async def outcome(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returns. Whoever waits here can be cancelled, whatever *work* makes of it.

    psycopg waits by `asyncio.wait_for`, which loses a cancellation in Python 3.11 that comes together with its result.
    A job that it is lost on would never end.
    """
    return await _outcome(work, asyncio.Task.cancel)


async def _outcome(work: Coroutine[Any, Any, T], give_up: Callable[[asyncio.Task[T]], object]) -> T:
    task = asyncio.create_task(work)
    # Whoever leaves asks no more how it went, also where he is told to leave in the moment in which it fails. A failure
    # that was looked at is not reported as forgotten.
    task.add_done_callback(_look_at)
    try:
        await asyncio.wait({task})
    finally:
        if not task.done():
            give_up(task)
            await asyncio.wait({task})
    return task.result()


def _look_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
