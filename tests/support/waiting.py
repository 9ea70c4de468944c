"""Waiting for what nothing announces: a counter that moved, a word of another process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds within which whatever tests wait for must come: the promise of a short outage."""

_PAUSE = 0.002
"""Seconds between two looks. No test's outcome hangs on it, only how soon the test goes on."""


async def until_told(
    ask: Callable[[], Awaitable[T]], right: Callable[[T], bool], *, within: float = PATIENCE
) -> T:
    """Ask until the answer is *right*, and return it; fail when none is *within* so many seconds."""
    async with asyncio.timeout(within):
        while not right(answer := await ask()):  # noqa: ASYNC110 - see below
            # The one place where tests look again: counters have no event and must not get one for a test, and
            # another process gives no sign at all.
            await asyncio.sleep(_PAUSE)
        return answer


async def until(holds: Callable[[], bool], *, within: float = PATIENCE) -> None:
    """Wait until *holds*; fail when it does not *within* so many seconds."""

    async def look() -> bool:
        return holds()

    await until_told(look, bool, within=within)
