"""How late this process itself is: what a promise of time must be given on a machine that has other things to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_BEAT: Final = 0.01


class Lateness:
    """Looks every ten milliseconds at how much later than asked for it was woken."""

    def __init__(self) -> None:
        self.worst = 0.0
        """Seconds."""

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _BEAT
            await asyncio.sleep(_BEAT)
            self.worst = max(self.worst, loop.time() - due)


@asynccontextmanager
async def measured() -> AsyncIterator[Lateness]:
    """Measure for the length of the block."""
    lateness = Lateness()
    measuring = asyncio.create_task(lateness.run())
    try:
        yield lateness
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
