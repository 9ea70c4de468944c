"""Waiting for each other, and closing what was begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


class Pulse:
    """Wakes all who wait for it at this moment."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def give(self) -> None:
        """Wake all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next pulse."""
        await self._event.wait()


@asynccontextmanager
async def closing(values: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close *values* at the end of the block, whether they came to their end or not.

    An iterator that is left open lives until the garbage collector finds it, and with it a cursor of the store.
    """
    try:
        yield values
    finally:
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()
