"""Which records of the market a connection is due, and when."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from ..channels import Pair
from ..clock import MarketClock
from ..market import Source
from ..timestamps import MINUTE, SECOND

_LONGEST: Final = 10 * MINUTE
"""The most market time that is read at once: some ten thousand records of a busy symbol."""


class Item(NamedTuple):
    """A record that is sent."""

    at: int
    """When, in nanoseconds since the epoch."""
    pair: Pair
    """Its channel and symbol."""
    record: bytes
    """JSON in the stream's shape."""


_AT = itemgetter(0)


def _read(source: Source, since: Mapping[Pair, int], start: int, end: int) -> list[Item]:
    """Return what is due from *start* to before *end*, each pair's from its own *since* on."""
    items = [
        Item(at, pair, record)
        for pair, earliest in since.items()
        for at, record in source.due(*pair, max(start, earliest), end)
    ]
    # What a channel sends is in order already, and a sort makes the most of that.
    items.sort(key=_AT)
    return items


async def played(
    source: Source, pairs: Collection[Pair], start: int, end: int
) -> AsyncIterator[Sequence[Item]]:
    """Yield everything of *pairs* from *start* to before *end*, in order of time."""
    since = dict.fromkeys(sorted(pairs), start)
    for begin in range(start, end, _LONGEST):
        yield await asyncio.to_thread(_read, source, since, begin, min(begin + _LONGEST, end))


class Player:
    """Follows market time for one connection.

    It reads ahead about a second of real time at once, so that a look costs next to nothing
    when nothing is due.
    """

    def __init__(self, source: Source, clock: MarketClock, delay: int = 0) -> None:
        """Follow *source* at the time of *clock*, *delay* nanoseconds late."""
        self._source = source
        self._clock = clock
        self._delay = delay
        self._jump = clock.jump
        self._since: dict[Pair, int] = {}
        self._next = self._now() + 1
        """Everything before this instant was given out or is no longer due."""
        self._ahead: list[Item] = []
        self._ahead_until = self._next
        self._change = 0

    def follow(self, pairs: Collection[Pair]) -> None:
        """Owe the records of *pairs*, new ones from now on, and of no others."""
        self._notice_jump()
        begin = self._now() + 1
        self._since = {pair: self._since.get(pair, begin) for pair in sorted(pairs)}
        self._forget_ahead()

    async def due(self) -> Sequence[Item]:
        """Return what has become due since the last look, oldest first.

        One look returns ten minutes of market time at most; `behind` tells whether there may
        be more.
        """
        self._notice_jump()
        now = self._now()
        if self._ahead_until <= now:
            await self._read_ahead(now)
        end = min(now + 1, self._ahead_until)
        count = bisect_left(self._ahead, end, key=_AT)
        due, self._ahead = self._ahead[:count], self._ahead[count:]
        self._next = max(self._next, end)
        return due

    @property
    def behind(self) -> bool:
        """Whether another look would find more market time to give out."""
        return self._next <= self._now()

    async def _read_ahead(self, now: int) -> None:
        start = self._ahead_until
        end = min(now + 1 + round(self._clock.speed * SECOND), start + _LONGEST)
        change = self._change
        items: list[Item] = []
        if self._since:
            items = await asyncio.to_thread(_read, self._source, self._since, start, end)
        # Whoever subscribed or moved the clock meanwhile has asked for something else.
        if change == self._change:
            self._ahead += items
            self._ahead_until = end

    def _now(self) -> int:
        return self._clock.now() - self._delay

    def _notice_jump(self) -> None:
        if self._clock.jump == self._jump:
            return
        self._jump = self._clock.jump
        self._next = self._jump.to - self._delay + 1
        self._since = dict.fromkeys(self._since, self._next)
        self._forget_ahead()

    def _forget_ahead(self) -> None:
        self._ahead = []
        self._ahead_until = self._next
        self._change += 1
