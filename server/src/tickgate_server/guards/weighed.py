"""What is held within a bound of its size; what nobody has asked for longest makes room."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Weighed(MutableMapping[K, T]):
    """A dictionary whose values together weigh no more than its capacity, but for the one that came last.

    Reading an entry keeps it.
    """

    def __init__(
        self,
        capacity: int,
        weigh: Callable[[T], int],
        on_eviction: Callable[[], None] = lambda: None,
    ) -> None:
        """Hold what *weigh* finds to be no more than *capacity*; call *on_eviction* for each that made room."""
        self._capacity = capacity
        self._weigh = weigh
        self._on_eviction = on_eviction
        self._held: dict[K, T] = {}
        self.weight = 0
        """Of all that is held."""

    def __getitem__(self, key: K) -> T:
        value = self._held.pop(key)
        self._held[key] = value
        return value

    def __setitem__(self, key: K, value: T) -> None:
        self.pop(key, None)
        self._held[key] = value
        self.weight += self._weigh(value)
        while self.weight > self._capacity and len(self._held) > 1:
            del self[next(iter(self._held))]
            self._on_eviction()

    def __delitem__(self, key: K) -> None:
        self.weight -= self._weigh(self._held.pop(key))

    def __iter__(self) -> Iterator[K]:
        # Reading an entry moves it.
        return iter(tuple(self._held))

    def __len__(self) -> int:
        return len(self._held)
