"""Writing behind the backs of those who put: nobody who has a value waits for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class WriteBehind(Generic[K, V]):
    """Values that wait to be written, the newest one of each key."""

    def __init__(
        self,
        write: Callable[[Mapping[K, V]], Awaitable[None]],
        *,
        batch: int,
        pause: float,
        capacity: int,
    ) -> None:
        """Write with *write*.

        Args:
            write: writes some values; what it cannot write it counts itself.
            batch: values that are written at once.
            pause: seconds between two writes, in which values gather.
            capacity: values that wait at most.
        """
        self._write = write
        self._batch = batch
        self._pause = pause
        self._capacity = capacity
        self._wanted = asyncio.Event()
        self.waiting: dict[K, V] = {}
        """What is not written yet."""

        self.writing = asyncio.Lock()
        """Held while something is written; whoever holds it keeps others from writing."""

    def put(self, key: K, value: V) -> bool:
        """Let *value* be written soon; return False where too many wait already."""
        if key not in self.waiting and len(self.waiting) >= self._capacity:
            return False
        self.waiting[key] = value
        self._wanted.set()
        return True

    async def run(self) -> None:
        """Write what is put, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.flush()
            await asyncio.sleep(self._pause)

    async def flush(self) -> None:
        """Write what was put and is not written yet: what `run` does, and whoever ends it once more."""
        async with self.writing:
            while batch := dict(islice(self.waiting.items(), self._batch)):
                await self._write(batch)
                for key, value in batch.items():
                    # It may have been put anew meanwhile.
                    if self.waiting.get(key) is value:
                        del self.waiting[key]
