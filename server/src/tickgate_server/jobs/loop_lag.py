"""Watches how late the event loop is."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from ..observe.counters import Counters

_EVERY: Final = 0.1
"""Seconds between two looks."""

_LOOKS: Final = 150
"""Looks whose longest is told: fifteen seconds, as long as Prometheus takes from one scrape to the next."""


class LoopLag:
    """Asks for a turn ten times a second, and keeps in the counters by how much the latest came too late."""

    def __init__(self, counters: Counters) -> None:
        """Keep it in *counters*."""
        self._counters = counters
        self._late: deque[float] = deque(maxlen=_LOOKS)

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY
            await asyncio.sleep(_EVERY)
            self._late.append(max(0.0, loop.time() - due))
            self._counters.loop_lag = max(self._late)
