"""Reads the past through everything that may hold it."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Container,
    Mapping,
    Sequence,
)
from typing import TypeAlias

from ..errors import StoreDown
from ..market.interval import Interval
from ..market.series import HistoryQuestion, SeriesKey, SeriesPosition
from ..market.unavailable import Unavailable
from ..ports import (
    Clock,
    CorporateActionSource,
    Covered,
    HistoryCache,
    HistoryPages,
    HistoryStore,
    Priority,
    SeriesEvent,
)
from . import reasons
from .adjusted import Adjustments
from .fills import Fills
from .policy import HistoryPolicy
from .reading import Reading, Sources
from .waiting import closing

Listed: TypeAlias = Callable[[Sequence[str], float], Awaitable[Container[str] | None]]
"""Tells before a deadline which of some symbols the upstream lists; None when that cannot be told."""


class HistoryReader:
    """A `HistorySource` over the cache that replicas share, the store and the upstream.

    What is held is answered from there; what is missing is fetched once for all who ask, and then held. Whoever has it
    closes it with `aclose`, which stops what is being fetched.
    """

    def __init__(
        self,
        *,
        pages: HistoryPages,
        store: HistoryStore | None,
        cache: HistoryCache | None,
        actions: CorporateActionSource,
        policy: HistoryPolicy,
        clock: Clock,
        listed: Listed,
    ) -> None:
        """Fetch from *pages* into *store*, with *cache* in front; both may be missing.

        Args:
            pages: the upstream's past.
            store: keeps it.
            cache: holds final history for a while, for all replicas.
            actions: tells whether adjusted prices are still right.
            policy: sizes and patience.
            clock: the gateway's clocks.
            listed: tells a symbol of which there is nothing from one that does not exist.
        """
        self._store = store
        self._fills = Fills(pages, store, policy, clock)
        self._sources = Sources(
            fills=self._fills,
            store=store,
            cache=cache,
            adjustments=Adjustments(actions, store, clock, replayed=policy.replayed),
            policy=policy,
            clock=clock,
            listed=listed,
        )

    async def read(
        self,
        question: HistoryQuestion,
        *,
        rows: int,
        after: SeriesPosition | None = None,
        deadline: float | None = None,
        priority: Priority = Priority.HISTORY,
    ) -> AsyncIterator[SeriesEvent]:
        """Yield the answer, as `HistorySource` says."""
        reading = Reading(
            self._sources, question, rows=rows, after=after, deadline=deadline, priority=priority
        )
        try:
            async with closing(reading.events()) as events:
                async for event in events:
                    yield event
        finally:
            reading.leave()

    async def coverage(
        self, keys: Sequence[SeriesKey], interval: Interval, as_of: int | None
    ) -> Mapping[SeriesKey, Sequence[Covered]] | Unavailable:
        """Return what the store holds, or why that cannot be told."""
        if self._store is None:
            return reasons.no_store()
        try:
            return await self._store.coverage(keys, interval, as_of)
        except StoreDown:
            return reasons.store_down()

    async def written(self, keys: Collection[SeriesKey]) -> None:
        """Wait until all that was told of *keys* is in the store, as far as it can be; for who has read to the end.

        What comes is told before it is written.
        """
        await self._fills.written(keys)

    async def aclose(self) -> None:
        """Stop everything that is being fetched. What has been written stays."""
        await self._fills.aclose()
