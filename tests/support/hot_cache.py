"""A hot cache that behaves like the shared one, and a clock whose civil time can jump."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tickgate_server.market.answer import Held
from tickgate_server.market.provenance import Feed
from tickgate_server.market.time import NANOS
from tickgate_server.ports import Clock, Key
from tickgate_server.stores.redis.hot_cache import Value, receive_time_of

from .fakes import HandClock

V = TypeVar("V", bound=Value)

_SKEW = 1.0


class JumpingClock(HandClock):
    """A clock by hand whose civil time can be set, as an operator or NTP would, while the monotonic one goes on."""

    _jumped = 0

    def jump(self, seconds: float) -> None:
        """Set civil time *seconds* ahead, or back."""
        self._jumped += round(seconds * NANOS)

    def wall(self) -> int:
        """Return nanoseconds of civil time."""
        return super().wall() + self._jumped


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    event_time: int
    receive_time: int
    ends_at: float


class FakeHotCache(Generic[V]):
    """What all replicas hold together, in a dictionary: hand the same one to each of them. It can be down, or hang."""

    def __init__(self, clock: Clock, ttl: Callable[[], float] = lambda: 30.0) -> None:
        """Hold each value for *ttl* seconds of *clock*."""
        self._clock = clock
        self._ttl = ttl
        self._entries: dict[Key, _Entry[V]] = {}
        self._since = float("-inf")
        self.down = False
        self.asked: list[tuple[Key, ...]] = []
        """What each `get` named, those that found it down included."""

        self.written: list[tuple[Key, ...]] = []
        """What each `put` named."""

        self.open = asyncio.Event()
        """`get` waits until it is set, as it is from the start."""

        self.open.set()
        self.waiting = asyncio.Event()
        """Set once a `get` has arrived."""

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Held[V]] | None:
        """Return what is held of *keys*, each time as a new object, or None while down."""
        self.asked.append(tuple(keys))
        self.waiting.set()
        await self.open.wait()
        if self.down:
            return None
        found = {key: self._held(self._entries[key]) for key in keys if key in self._entries}
        return {key: held for key, held in found.items() if held is not None}

    def put(self, values: Mapping[Key, Held[V]]) -> None:
        """Hold *values* at once, where nothing newer is held."""
        self.written.append(tuple(values))
        if self.down:
            return
        for key, held in values.items():
            new = _Entry(
                held.value,
                held.value.event_time or 0,
                receive_time_of(held.value),
                self._clock.monotonic() + self._ttl(),
            )
            old = self._entries.get(key)
            if old is None or self._held(old) is None or _is_newer(new, old):
                self._entries[key] = new

    async def drop(
        self, feeds: Collection[Feed] | None, symbols: Collection[str] | None
    ) -> int | None:
        """Forget values; None stands for all, and as an answer for being down."""
        if self.down:
            return None
        gone = [
            (feed, symbol)
            for feed, symbol in self._entries
            if (feeds is None or feed in feeds) and (symbols is None or symbol in symbols)
        ]
        for key in gone:
            del self._entries[key]
        return len(gone)

    def set_back(self) -> None:
        """Take what was received before now for nothing."""
        self._since = self._clock.monotonic()

    def _held(self, entry: _Entry[V]) -> Held[V] | None:
        now = self._clock.monotonic()
        age = (self._clock.wall() - entry.receive_time) / NANOS
        if now >= entry.ends_at or age < -_SKEW or now - age < self._since:
            return None
        return Held(entry.value, now - max(0.0, age))


def _is_newer(new: _Entry[V], old: _Entry[V]) -> bool:
    return (new.event_time, new.receive_time) > (old.event_time, old.receive_time)
