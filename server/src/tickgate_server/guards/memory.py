"""The memory tier."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

from ..market.answer import Answer, Held
from ..market.provenance import Feed, Tier
from ..market.unavailable import Unavailable
from ..observe.counters import CacheCounts
from ..ports import Key

V = TypeVar("V")
T = TypeVar("T")


class Newest(dict[Key, T]):
    """A dictionary of at most so many entries; the one that was put first makes room."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def put(self, key: Key, value: T) -> bool:
        """Put *value*, as the newest, and tell whether another made room for it."""
        self.pop(key, None)
        self[key] = value
        if len(self) > self._capacity:
            del self[next(iter(self))]
            return True
        return False


class MemoryTier(Generic[V]):
    """The answers confirmed last, by feed and symbol.

    What is asked for is confirmed again every few seconds, so what makes room is what nobody asks for, and a hit costs
    no bookkeeping.
    """

    def __init__(self, capacity: int, counts: CacheCounts | None = None) -> None:
        """Hold at most *capacity* answers; the one confirmed longest ago makes room. Count in *counts*."""
        self._counts = counts or CacheCounts()
        self._answers: Newest[Answer[V]] = Newest(capacity)
        self._nothing: Newest[tuple[float, Unavailable]] = Newest(capacity)

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def answers(self) -> Mapping[Key, Answer[V]]:
        """What is held, however old."""
        return self._answers

    @property
    def nothing(self) -> Mapping[Key, tuple[float, Unavailable]]:
        """When and why there was nothing."""
        return self._nothing

    def put(self, key: Key, held: Held[V]) -> bool:
        """Hold a value, unless a later confirmation is held; tell whether it was new."""
        before = self._answers.get(key)
        if before is not None and before.held.confirmed_at >= held.confirmed_at:
            return False
        self._nothing.pop(key, None)
        self._counts.writes += 1
        self._counts.evictions += self._answers.put(key, Answer(held, Tier.MEMORY))
        return True

    def put_nothing(self, key: Key, at: float, why: Unavailable) -> None:
        """Remember that there is no value."""
        self._counts.writes += 1
        self._counts.evictions += self._nothing.put(key, (at, why))

    def clear(self) -> None:
        """Forget everything."""
        self._counts.invalidations += len(self._answers) + len(self._nothing)
        self._answers.clear()
        self._nothing.clear()

    def drop(self, key: Key) -> None:
        """Forget the value of *key*: it has been superseded by something that is none."""
        self._counts.invalidations += self._answers.pop(key, None) is not None

    def forget(self, feeds: Collection[Feed] | None, symbols: Collection[str] | None) -> int:
        """Forget values and lacks of data of some feeds and symbols, None standing for all; return how many."""
        count = 0
        for held in (self._answers, self._nothing):
            found = [
                key
                for key in held
                if (feeds is None or key[0] in feeds) and (symbols is None or key[1] in symbols)
            ]
            count += len(found)
            for key in found:
                del held[key]
        self._counts.invalidations += count
        return count
