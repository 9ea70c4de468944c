"""The watchdog: a feed that is mute is found out, and one that has nothing to say is left in peace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tickgate_server.jobs.watchdog import Watchdog
from tickgate_server.market.live import FeedState, GapCause
from tickgate_server.market.provenance import Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason
from tickgate_server.observe.counters import FeedCounts

from ...support.fakes import FakeLatest, HandClock, quote, unavailable
from ...support.hand_feeds import HandFeed
from ...support.waiting import until

SILENCE = 0.001
"""Seconds of the loop's own time between two looks; market time is moved by hand."""

DELAY = 900 * NANOS


class ReadClock(HandClock):
    """A clock that counts how often market time was read."""

    reads = 0

    def market(self) -> int:
        """Return the market's time."""
        self.reads += 1
        return super().market()


@dataclass
class Watch:
    """A watched feed that is live, in an open market, on which AAPL is followed."""

    feed: Feed = Feed.IEX
    clock: ReadClock = field(default_factory=ReadClock)
    counts: FeedCounts = field(default_factory=lambda: FeedCounts(state=FeedState.LIVE.value))
    live: HandFeed = field(default_factory=HandFeed)
    session: MarketSession | None = MarketSession.OPEN
    busiest: str | None = "AAPL"
    sessions: int = 0
    """How often the session was asked for."""

    def __post_init__(self) -> None:
        """Add the upstream, which needs the clock."""
        self.upstream: FakeLatest[Quote] = FakeLatest(self.clock)

    def quote_at(self, seconds: float, delay: int = 0) -> None:
        """Let the upstream have a quote of *seconds* after now, *delay* nanoseconds late."""
        at = self.clock.wall() + round(seconds * NANOS) - delay
        self.upstream.values["AAPL"] = quote(at=at)

    def find_busiest(self) -> str | None:
        """Tell what is followed."""
        return self.busiest

    def find_session(self) -> MarketSession | None:
        """Tell the session."""
        self.sessions += 1
        return self.session

    @property
    def looks(self) -> int:
        """How often something was looked at: each look of the watchdog asks for the session, the time or both."""
        return self.sessions + self.clock.reads

    async def looked(self) -> None:
        """Wait until the watchdog has looked once more from beginning to end."""
        looks = self.looks
        await until(lambda: self.looks >= looks + 4)


@asynccontextmanager
async def watched(watch: Watch) -> AsyncIterator[Watch]:
    """Let the watchdog run for the length of the block."""
    dog = Watchdog(
        watch.feed,
        watch.live,
        watch.upstream,
        watch.find_busiest,
        watch.counts,
        watch.clock,
        watch.find_session,
        silence=SILENCE,
        patience=5.0,
    )
    running = asyncio.create_task(dog.run())
    await watch.looked()
    try:
        yield watch
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize(("feed", "delay"), [(Feed.IEX, 0), (Feed.DELAYED_SIP, DELAY)])
async def test_a_mute_feed_is_connected_anew(feed: Feed, delay: int) -> None:
    """A connection is made anew when the upstream knows of a newer quote than it brought, whatever the feed's delay."""
    async with watched(Watch(feed)) as watch:
        watch.clock.advance(3)
        watch.quote_at(0, delay=delay)
        await until(lambda: bool(watch.live.reconnected))
        cause, message = watch.live.reconnected[0]
        assert cause is GapCause.SILENT
        assert "newer quotes" in message
        question = watch.upstream.asked[-1]
        assert (question.feed, question.symbols, question.freshness.max_age) == (feed, ("AAPL",), 0)


@pytest.mark.parametrize(("feed", "delay"), [(Feed.IEX, 0), (Feed.DELAYED_SIP, DELAY)])
async def test_a_quiet_feed_is_left_in_peace(feed: Feed, delay: int) -> None:
    """Where the upstream knows nothing that the feed has not brought, or only what may be on its way, all is well."""
    async with watched(Watch(feed)) as watch:
        for seconds in (-3600, 0, 2):
            watch.quote_at(seconds, delay=delay)
            await watch.looked()
        assert watch.upstream.asked
        assert watch.live.reconnected == []


async def test_what_moved_before_it_was_followed_was_not_missed() -> None:
    """A symbol that is new to the feed says nothing of the silence before it came."""
    async with watched(Watch(busiest=None)) as watch:
        watch.clock.advance(30)
        watch.quote_at(0)
        watch.busiest = "AAPL"
        await until(lambda: bool(watch.upstream.asked))
        assert watch.live.reconnected == []


async def test_a_clock_that_stands_still_explains_silence() -> None:
    """In a replay that is frozen nothing happens, however long it is waited for."""
    async with watched(Watch()) as watch:
        watch.quote_at(0)
        await watch.looked()
        assert watch.live.reconnected == []


async def test_silence_counts_from_the_last_record() -> None:
    """What the upstream knew before the feed last spoke proves nothing against it."""
    async with watched(Watch()) as watch:
        watch.clock.advance(100)
        watch.counts.records += 1
        await watch.looked()
        watch.quote_at(0)
        await watch.looked()
        assert watch.live.reconnected == []
        watch.clock.advance(3)
        watch.quote_at(0)
        await until(lambda: bool(watch.live.reconnected))


async def test_a_new_connection_begins_anew() -> None:
    """What the upstream knew before the connection was made proves nothing against it."""
    async with watched(Watch()) as watch:
        watch.clock.advance(100)
        watch.counts.connections += 1
        await watch.looked()
        watch.quote_at(0)
        await watch.looked()
        assert watch.live.reconnected == []


@pytest.mark.parametrize(
    "session", [None, MarketSession.CLOSED, MarketSession.PRE_MARKET, MarketSession.AFTER_HOURS]
)
async def test_outside_of_the_session_nobody_asks(session: MarketSession | None) -> None:
    """While the market is not open, or it is not known whether it is, silence is no question."""
    async with watched(Watch(session=session)) as watch:
        watch.clock.advance(3)
        watch.quote_at(0)
        await watch.looked()
        assert watch.upstream.asked == []
        assert watch.live.reconnected == []


async def test_where_nobody_follows_nobody_asks() -> None:
    """Without a followed quote there is nothing that could have been missed."""
    async with watched(Watch(busiest=None)) as watch:
        watch.clock.advance(3)
        watch.quote_at(0)
        await watch.looked()
        assert watch.upstream.asked == []
        assert watch.live.reconnected == []


@pytest.mark.parametrize(
    "reason", [Reason.UPSTREAM_TIMEOUT, Reason.BUDGET_EXHAUSTED, Reason.NO_DATA]
)
async def test_an_upstream_that_does_not_answer_proves_nothing(reason: Reason) -> None:
    """Where the upstream cannot say what it knows the connection is kept."""
    watch = Watch()
    watch.upstream.outage = unavailable(reason)
    async with watched(watch):
        watch.clock.advance(3)
        await watch.looked()
        assert watch.upstream.asked
        assert watch.live.reconnected == []


async def test_a_quote_without_a_stamp_proves_nothing() -> None:
    """A quote of which nobody knows when it was made may be the one that the feed brought."""
    async with watched(Watch()) as watch:
        watch.clock.advance(3)
        watch.upstream.values["AAPL"] = quote(at=None)
        await watch.looked()
        assert watch.live.reconnected == []


@pytest.mark.parametrize("state", [one for one in FeedState if one is not FeedState.LIVE])
async def test_a_feed_that_is_not_live_is_known_to_be(state: FeedState) -> None:
    """A connection that is being made, or waits, needs no proof that it says nothing."""
    watch = Watch()
    watch.counts.state = state.value
    async with watched(watch):
        watch.clock.advance(3)
        watch.quote_at(0)
        await watch.looked()
        assert watch.upstream.asked == []
        assert watch.live.reconnected == []
