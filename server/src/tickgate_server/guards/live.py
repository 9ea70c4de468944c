"""Lets the other tiers know what the live feed has brought."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ..market.answer import Held
from ..market.provenance import Feed
from ..market.quote import Quote
from ..ports import Key
from .cached import Tiers

_EVERY = 1.0
"""Seconds between two writings. A tick that replaced them at once would cost more than everything else about it, and as
long as a symbol is live the book answers in their place."""


class LiveTicks:
    """Carries the newest live quote of each symbol into memory and Redis, once a second.

    Who may not be answered from the book, other replicas, and everybody once the feed is lost find them there.
    """

    def __init__(self, tiers: Tiers[Quote], news: Callable[[], Mapping[Key, Held[Quote]]]) -> None:
        """Carry *news*, what is new since it was last asked, into *tiers*."""
        self._tiers = tiers
        self._news = news

    def spread(self) -> None:
        """Write what is new now: the feed has been lost, or a second is over."""
        news = {key: Held(held.value, held.confirmed_at) for key, held in self._news().items()}
        for key, held in news.items():
            self._tiers.memory.put(key, held)
        if news and self._tiers.shared is not None:
            self._tiers.shared.put(news)

    def supersede(self, feed: Feed, symbol: str) -> None:
        """Forget what is held of *symbol*: the feed has since brought something that is no value."""
        self._tiers.memory.drop((feed, symbol))
        if self._tiers.shared is not None:
            self._tiers.shared.supersede((feed, symbol))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            self.spread()
