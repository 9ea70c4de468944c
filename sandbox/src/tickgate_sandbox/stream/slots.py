"""How many connections an account may have."""

from __future__ import annotations

import asyncio
from collections import Counter


class Slots:
    """So many connections to each feed; whoever is there keeps its place."""

    def __init__(self, limit: int) -> None:
        """Give out *limit* slots a feed; 0 sets no limit."""
        self._limit = limit
        self._taken: Counter[str] = Counter()
        self._held: dict[asyncio.TimerHandle, str] = {}

    def take(self, feed: str) -> bool:
        """Take a slot of *feed*; return whether there was one."""
        if self._limit and self._taken[feed] >= self._limit:
            return False
        self._taken[feed] += 1
        return True

    def free(self, feed: str) -> None:
        """Give a slot of *feed* back."""
        self._taken[feed] -= 1

    def free_after(self, feed: str, seconds: float) -> None:
        """Give a slot of *feed* back in so many *seconds*, or at the next `free_held`."""

        def expire() -> None:
            del self._held[handle]
            self.free(feed)

        handle = asyncio.get_running_loop().call_later(seconds, expire)
        self._held[handle] = feed

    def free_held(self) -> None:
        """Give back every slot that only time still holds."""
        for handle, feed in self._held.items():
            handle.cancel()
            self.free(feed)
        self._held.clear()
