"""Finds out whether a live feed that says nothing has nothing to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from ..market.answer import ANY_AGE, Freshness, Question
from ..market.live import FeedState, GapCause
from ..market.provenance import FEED_DELAY, Feed
from ..market.session import MarketSession
from ..market.time import NANOS
from ..market.unavailable import Unavailable
from ..observe.counters import FeedCounts
from ..ports import Clock, LiveFeed, QuoteSource

_log = structlog.get_logger(__name__)

_MARGIN: Final = 2 * NANOS
"""Nanoseconds by which the upstream's quote must be newer than the feed's last record to count as missed: it may be on
its way."""


class Watchdog:
    """Looks after one feed.

    A timer alone would cut quiet feeds off again and again, and an open socket proves nothing: Alpaca's have stayed
    mute for hours. So silence while the market is open raises a question, and the upstream's own REST answer decides
    it: does it know of a quote of the busiest followed symbol that the feed should have brought?
    """

    def __init__(
        self,
        feed: Feed,
        live: LiveFeed,
        quotes: QuoteSource,
        busiest: Callable[[], str | None],
        counts: FeedCounts,
        clock: Clock,
        session: Callable[[], MarketSession | None],
        *,
        silence: float,
        patience: float,
    ) -> None:
        """Watch *live*.

        Args:
            feed: whose it is.
            live: is made to connect anew when it is mute.
            quotes: the upstream, and no tier before it.
            busiest: tells which followed symbol moves most, None when no quotes are followed.
            counts: tell when a record last arrived.
            clock: measures; market time that stands still explains silence.
            session: tells the market's session, None when it is not known.
            silence: seconds without a record that raise the question.
            patience: seconds that its answer may take.
        """
        self._feed = feed
        self._live = live
        self._quotes = quotes
        self._busiest = busiest
        self._counts = counts
        self._clock = clock
        self._session = session
        self._silence = silence
        self._patience = patience

    async def run(self) -> None:
        """Watch until cancelled."""
        quiet_since = self._clock.market()
        before: tuple[object, ...] = ()
        while True:
            await asyncio.sleep(self._silence)
            # What has just become the busiest may not have been followed all the while.
            seen = self._counts.records, self._counts.connections, self._busiest()
            if seen != before or not self._expects_records():
                before = seen
                quiet_since = self._clock.market()
            elif await self._is_mute(quiet_since):
                message = f"nothing arrived for {self._silence:g} s, and the upstream knows of newer quotes"
                _log.warning("feed_mute", feed=self._feed.value)
                self._live.reconnect(GapCause.SILENT, message)

    def _expects_records(self) -> bool:
        return (
            self._counts.state == FeedState.LIVE.value
            and self._session() is MarketSession.OPEN
            and self._busiest() is not None
        )

    async def _is_mute(self, since: int) -> bool:
        symbol = self._busiest()
        if symbol is None:
            return False
        question = Question(
            symbols=(symbol,),
            feed=self._feed,
            deadline=self._clock.monotonic() + self._patience,
            freshness=Freshness(max_age=0, max_event_age=ANY_AGE),
        )
        answer = (await self._quotes.latest(question))[symbol]
        if isinstance(answer, Unavailable):
            return False
        event_time = answer.value.event_time
        # What a feed is late by design it is late with everything.
        brought = since - FEED_DELAY.get(self._feed, 0)
        return event_time is not None and event_time > brought + _MARGIN
