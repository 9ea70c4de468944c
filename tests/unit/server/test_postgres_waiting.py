"""Waiting for PostgreSQL, and leaving while a failure arrives."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from tickgate_server.stores.postgres.waiting import outcome


class Waiter:
    """Somebody who is told to leave by the very work that he waits for."""

    def __init__(self, *, again: bool) -> None:
        self._again = again
        self._task = asyncio.create_task(outcome(self._fail()))

    async def leave(self) -> None:
        """Wait, and be cancelled."""
        with pytest.raises(asyncio.CancelledError):
            await self._task

    async def _fail(self) -> None:
        self._task.cancel()
        if self._again:
            # He is told once more, while he waits for what he has given up.
            asyncio.get_running_loop().call_soon(self._task.cancel)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        msg = "the server closed the connection"
        raise OSError(msg)


@pytest.mark.parametrize("again", [False, True])
async def test_a_failure_that_comes_as_its_waiter_leaves_is_not_forgotten(again: bool) -> None:
    """Whoever is told to leave in the moment in which the work fails hears nothing, and nothing is reported as lost."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        await Waiter(again=again).leave()
        await asyncio.sleep(0)  # what was given up ends
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
    finally:
        loop.set_exception_handler(None)

    assert reported == []
