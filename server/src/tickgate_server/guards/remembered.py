"""Reference data, kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, MutableMapping
from datetime import date, timedelta
from typing import Generic, TypeVar

from ..errors import UpstreamFailure
from ..market.asset import AssetList, CodeKind, CodeTable
from ..market.session import Calendar, joined
from ..ports import Clock, ReferenceSource
from .flights import Flights

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Shelf(Generic[K, T]):
    """Keeps what was loaded for `ttl` seconds, loads once for simultaneous askers, and remembers failures briefly.

    While a reload fails, what was held before stays good for as long again: reference data a day old is still the
    upstream's own word, and its provenance says when it was received.
    """

    def __init__(
        self,
        ttl: float,
        retry_after: float,
        cap: float,
        clock: Clock,
        held: MutableMapping[K, tuple[float, T]] | None = None,
    ) -> None:
        """Keep in *held*, which may bound itself; times in seconds: keep, pause after a failure, longest load."""
        self._ttl = ttl
        self._retry_after = retry_after
        self._clock = clock
        self._flights: Flights[K, T] = Flights(cap, clock.monotonic)
        self._held: MutableMapping[K, tuple[float, T]] = {} if held is None else held
        self._failed: dict[K, tuple[float, UpstreamFailure]] = {}

    async def get(self, key: K, load: Callable[[float], Awaitable[T]], deadline: float) -> T:
        """Return what is held for *key*, loading it when it is not or no longer held.

        Raises:
            UpstreamFailure: it is not held and cannot be loaded now.
        """
        now = self._clock.monotonic()
        held = self._held.get(key)
        if held is not None and now - held[0] < self._ttl:
            return held[1]
        failed = self._failed.get(key)
        if failed is None or now - failed[0] >= self._retry_after:
            try:
                return await self._load(key, load, deadline)
            except UpstreamFailure as failure:
                failed = (now, failure)
        if held is not None and now - held[0] < 2 * self._ttl:
            return held[1]
        # Each raise would add its frames to the traceback of this one exception, and keep them alive.
        raise failed[1].with_traceback(None)

    async def _load(self, key: K, load: Callable[[float], Awaitable[T]], deadline: float) -> T:
        async def start(_: list[K], cap: float) -> dict[K, T]:
            try:
                value = await load(cap)
            except UpstreamFailure as failure:
                self._note_failure(key, failure)
                raise
            self._failed.pop(key, None)
            self._held[key] = (self._clock.monotonic(), value)
            return {key: value}

        loaded = (await self._flights.join([key], start, deadline))[key]
        if isinstance(loaded, UpstreamFailure):
            raise loaded
        return loaded

    def forget(self, chosen: Callable[[K], bool]) -> int:
        """Forget what is held for the keys that are *chosen*; return how many."""
        keys = [key for key in self._held if chosen(key)]
        for key in keys:
            del self._held[key]
        return len(keys)

    def _note_failure(self, key: K, failure: UpstreamFailure) -> None:
        now = self._clock.monotonic()
        # Callers name keys: those whose time is up must not pile up.
        for old in [old for old, (at, _) in self._failed.items() if now - at >= self._retry_after]:
            del self._failed[old]
        self._failed[key] = (now, failure)


class RememberedReference:
    """The wrapped reference source, asked again only when what it said has grown old."""

    def __init__(
        self,
        source: ReferenceSource,
        clock: Clock,
        *,
        ttl: float,
        retry_after: float,
        cap: float,
    ) -> None:
        """Wrap *source*; times in seconds as in `Shelf`."""
        self._source = source
        self._assets: Shelf[str, AssetList] = Shelf(ttl, retry_after, cap, clock)
        self._years: Shelf[int, Calendar] = Shelf(ttl, retry_after, cap, clock)
        self._codes: Shelf[tuple[CodeKind, str], CodeTable] = Shelf(ttl, retry_after, cap, clock)

    async def assets(self, deadline: float) -> AssetList:
        """Return every stock the upstream lists."""
        return await self._assets.get("assets", self._source.assets, deadline)

    async def calendar(self, start: date, end: date, deadline: float) -> Calendar:
        """Return the trading days of at least the range from *start* up to *end*: of whole years."""
        last = end - timedelta(days=1)
        years = range(start.year, last.year + 1)
        return joined(await asyncio.gather(*(self._year(year, deadline) for year in years)))

    async def _year(self, year: int, deadline: float) -> Calendar:
        async def load(cap: float) -> Calendar:
            return await self._source.calendar(date(year, 1, 1), date(year + 1, 1, 1), cap)

        return await self._years.get(year, load, deadline)

    async def codes(self, kind: CodeKind, tape: str, deadline: float) -> CodeTable:
        """Return a table of codes."""

        async def load(cap: float) -> CodeTable:
            return await self._source.codes(kind, tape, cap)

        return await self._codes.get((kind, tape), load, deadline)
