"""What a live feed brings as the nearest tier, and in the tiers behind it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.book import Book, LiveQuotes
from tickgate_server.guards.cached import CachedLatest, Tiers
from tickgate_server.guards.freshness import FreshnessPolicy
from tickgate_server.guards.live import LiveTicks
from tickgate_server.guards.memory import MemoryTier
from tickgate_server.guards.shared import SharedTier
from tickgate_server.market.answer import Answer, Held
from tickgate_server.market.live import Channel, RecordKind, SymbolState
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Refusal, TierOutcome, Unavailable
from tickgate_server.observe.counters import TierCounts

from ...support.fakes import NOW, FakeLatest, HandClock, question, quote, side, unavailable
from ...support.hot_cache import FakeHotCache
from ...support.waiting import until

KEY = (Feed.IEX, "AAPL")
POLICY = FreshnessPolicy(30 * NANOS, 300 * NANOS, 5.0, 20.0, 10.0, 900.0)
CROSSED = unavailable(
    Reason.INVALID_DATA,
    refusal=Refusal("crossed", "bid 2 above ask 1", NOW + 7),
    last_event_time=NOW + 7,
)
ONLY = {tier: frozenset({tier}) for tier in Tier}
EMPTY, TOO_OLD, REFUSED, FAILED, NOT_ALLOWED = TierOutcome


class Setup:
    """A live feed on which AAPL is followed, in front of memory, Redis and an upstream that all hold older quotes."""

    def __init__(self, *, elsewhere: bool = True) -> None:
        self.clock = HandClock()
        self.book = Book(Feed.IEX, "ep0c4", self.clock)
        self.entry = self.book.open(Channel.QUOTES, "AAPL")
        self.upstream = FakeLatest(self.clock, {"AAPL": self.at(-1)})
        self.memory = MemoryTier[Quote](10)
        self.cache = FakeHotCache[Quote](self.clock)
        self.counts = TierCounts()
        shared = SharedTier(self.cache, TierCounts(), self.clock, believe=0.25, capacity=10)
        quotes = LiveQuotes({Feed.IEX: self.book})
        self.tiers = Tiers(quotes, self.memory, TierCounts(), shared, book_counts=self.counts)
        self.ticks = LiveTicks(self.tiers, self.book.take_news)
        self.latest = CachedLatest(
            self.upstream, self.tiers, POLICY, self.clock, lambda: MarketSession.OPEN
        )
        if elsewhere:
            self.hold(self.at(-2))

    def at(self, seconds: int) -> Quote:
        """A quote of some *seconds* after now."""
        now = self.clock.wall() + seconds * NANOS
        return quote(bid=side("10.00", size=100 + seconds), at=now, received=self.clock.wall())

    def hold(self, value: Quote) -> None:
        """Let memory and Redis hold *value*, confirmed now."""
        held = Held(value, self.clock.monotonic())
        self.memory.put(KEY, held)
        self.cache.put({KEY: held})

    def brings(self, value: Quote) -> Quote:
        """Let the feed bring *value*, live, a moment after all that was."""
        self.clock.advance(0.001)
        self.book.turn(self.entry, SymbolState.LIVE)
        self.book.accept(RecordKind.QUOTE, "AAPL", value)
        return value

    def brings_none(self, why: Unavailable = CROSSED) -> None:
        """Let the feed bring a record that is no value, as the hub does."""
        self.book.refuse(RecordKind.QUOTE, "AAPL", why)
        self.book.turn(self.entry, SymbolState.INVALID)
        self.ticks.supersede(Feed.IEX, "AAPL")

    def loses(self) -> None:
        """Let the feed be lost, as the hub does."""
        self.ticks.spread()
        self.book.forget(self.entry)
        self.book.turn(self.entry, SymbolState.GAP)

    async def ask(self, **asked: Any) -> Answer[Quote] | Unavailable:
        """Ask about AAPL."""
        asked = {"deadline": self.clock.monotonic() + 10} | asked
        return (await self.latest.latest(question("AAPL", **asked)))["AAPL"]

    async def value(self, **asked: Any) -> tuple[Tier, Quote]:
        """Ask about AAPL and get a quote: from where, and which."""
        answer = await self.ask(**asked)
        assert isinstance(answer, Answer), answer
        return answer.served_from, answer.value

    async def why(self, **asked: Any) -> Unavailable:
        """Ask about AAPL and get none."""
        answer = await self.ask(**asked)
        assert isinstance(answer, Unavailable), answer
        return answer

    async def redis(self) -> Quote | None:
        """What Redis holds."""
        found = await self.cache.get([KEY])
        assert found is not None
        return found[KEY].value if KEY in found else None


def tried(why: Unavailable) -> list[tuple[Tier, TierOutcome]]:
    """What each tier answered, in order."""
    return [(attempt.tier, attempt.outcome) for attempt in why.tiers]


# ----------------------------------------------------------------------------- the nearest tier


async def test_a_live_quote_is_answered_from_the_book() -> None:
    """While a symbol is live its newest record is the answer, and nobody else is asked."""
    setup = Setup()
    newest = setup.brings(setup.at(0))
    assert await setup.value() == (Tier.BOOK, newest)
    assert setup.upstream.asked == []
    assert setup.cache.asked == []
    assert (setup.counts.hits, setup.counts.misses) == (1, 0)


async def test_a_live_quote_is_confirmed_at_every_moment() -> None:
    """However long ago a quote came, while it is live the feed says that there is nothing newer."""
    setup = Setup()
    newest = setup.brings(setup.at(0))
    setup.clock.advance(299)
    answer = await setup.ask(max_age=1)
    assert isinstance(answer, Answer)
    assert answer.value == newest
    assert answer.held.confirmed_at == setup.clock.monotonic()


async def test_a_live_quote_may_be_too_old_an_event() -> None:
    """A quote that has not moved for longer than the caller takes is TOO_STALE, and the upstream has no newer one."""
    setup = Setup()
    event_time = setup.brings(setup.at(0)).event_time
    setup.clock.advance(301)
    why = await setup.why()
    assert (why.reason, why.last_event_time) == (Reason.TOO_STALE, event_time)
    assert tried(why) == [(Tier.BOOK, TOO_OLD)]
    assert setup.upstream.asked == []
    assert isinstance(await setup.ask(max_event_age=302 * NANOS), Answer)


async def test_who_wants_to_hear_it_from_the_upstream_does() -> None:
    """A max_age of zero asks the upstream, also for what is live."""
    setup = Setup()
    setup.brings(setup.at(0))
    assert (await setup.value(max_age=0))[0] is Tier.UPSTREAM
    assert (setup.counts.hits, setup.counts.misses) == (0, 0)


@pytest.mark.parametrize("tier", [Tier.MEMORY, Tier.REDIS, Tier.UPSTREAM])
async def test_the_book_may_be_forbidden(tier: Tier) -> None:
    """Where the book is not among the allowed tiers, another answers with what it holds."""
    setup = Setup()
    newest = setup.brings(setup.at(0))
    served, value = await setup.value(allowed_tiers=ONLY[tier])
    assert served is tier
    assert value != newest


async def test_the_book_alone_may_be_asked() -> None:
    """Where only the book is allowed, it answers what is live, and what is not is NOT_HELD."""
    setup = Setup()
    newest = setup.brings(setup.at(0))
    assert await setup.value(allowed_tiers=ONLY[Tier.BOOK]) == (Tier.BOOK, newest)
    setup.loses()
    why = await setup.why(allowed_tiers=ONLY[Tier.BOOK])
    assert why.reason is Reason.NOT_HELD
    assert tried(why) == [
        (Tier.BOOK, EMPTY),
        (Tier.MEMORY, NOT_ALLOWED),
        (Tier.REDIS, NOT_ALLOWED),
        (Tier.UPSTREAM, NOT_ALLOWED),
    ]


@pytest.mark.parametrize("state", [SymbolState.PENDING, SymbolState.GAP, SymbolState.REMOVED])
async def test_what_is_not_live_is_not_answered_from_the_book(state: SymbolState) -> None:
    """A symbol that the upstream has not confirmed, or that was lost or let go, is asked for elsewhere."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.book.turn(setup.entry, state)
    assert (await setup.value())[0] is Tier.MEMORY
    assert (setup.counts.hits, setup.counts.misses) == (0, 1)


async def test_what_is_live_without_a_record_is_asked_elsewhere() -> None:
    """A symbol that was confirmed and has not moved since is asked for as before."""
    setup = Setup()
    setup.book.turn(setup.entry, SymbolState.LIVE)
    assert (await setup.value())[0] is Tier.MEMORY


async def test_a_batch_takes_from_each_tier_what_it_holds() -> None:
    """Of a batch the book answers what is live, and only the rest is sought further."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.upstream.values["IBM"] = quote("IBM")
    deadline = setup.clock.monotonic() + 10
    answers = await setup.latest.latest(question("IBM", "AAPL", deadline=deadline))
    tiers = {
        symbol: answer.served_from
        for symbol, answer in answers.items()
        if isinstance(answer, Answer)
    }
    assert tiers == {"IBM": Tier.UPSTREAM, "AAPL": Tier.BOOK}
    assert setup.upstream.symbols_asked == [("IBM",)]


async def test_another_feeds_book_says_nothing() -> None:
    """What is live on one feed is no answer about another."""
    setup = Setup()
    setup.brings(setup.at(0))
    assert (await setup.value(feed=Feed.SIP))[0] is Tier.UPSTREAM


# ------------------------------------------------------------------------------ the last was none


async def test_a_refused_record_is_never_covered_by_an_older_value() -> None:
    """After a record that is no value the answer is its reason and its time, whatever the other tiers hold."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.ticks.spread()
    setup.brings_none()
    why = await setup.why()
    assert (why.reason, why.last_event_time) == (Reason.INVALID_DATA, NOW + 7)
    assert why.refusal == CROSSED.refusal
    assert tried(why) == [(Tier.BOOK, REFUSED)]
    assert setup.upstream.asked == []


@pytest.mark.parametrize("tier", [Tier.MEMORY, Tier.REDIS])
async def test_a_refused_record_supersedes_every_tier(tier: Tier) -> None:
    """Who may not be answered from the book gets none of the values that the refused record has superseded."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.ticks.spread()
    setup.brings_none()
    assert (await setup.why(allowed_tiers=ONLY[tier])).reason is Reason.NOT_HELD


async def test_a_refused_record_is_not_bridged() -> None:
    """An allowance of stale values does not bring back what a refused record has superseded."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.ticks.spread()
    setup.brings_none()
    assert (await setup.why(allow_stale=True)).reason is Reason.INVALID_DATA
    setup.loses()
    setup.upstream.outage = unavailable(Reason.UPSTREAM_ERROR)
    assert (await setup.why(allow_stale=True)).reason is Reason.UPSTREAM_ERROR


async def test_who_asks_the_upstream_is_told_what_the_book_refused() -> None:
    """Where the upstream is asked beside an invalid book, a failure tells that the book holds no value."""
    setup = Setup(elsewhere=False)
    setup.brings(setup.at(0))
    setup.brings_none()
    setup.upstream.outage = unavailable(Reason.UPSTREAM_ERROR)
    why = await setup.why(max_age=0)
    assert tried(why)[0] == (Tier.BOOK, REFUSED)


async def test_the_next_valid_record_is_an_answer_again() -> None:
    """A valid record after a refused one is live at once."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.brings_none()
    newest = setup.brings(setup.at(1))
    assert await setup.value() == (Tier.BOOK, newest)


async def test_an_empty_book_of_orders_is_no_data() -> None:
    """A quote without an order on either side is NO_DATA from the book, not an older quote."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.brings_none(unavailable(Reason.NO_DATA, last_event_time=NOW))
    why = await setup.why()
    assert (why.reason, why.last_event_time) == (Reason.NO_DATA, NOW)


# ------------------------------------------------------------------------------- the tiers behind


async def test_the_newest_of_a_second_is_written_behind() -> None:
    """Of all quotes of a symbol since the last time, memory and Redis get the newest, once."""
    setup = Setup()
    setup.cache.written.clear()
    for _ in range(10):
        setup.clock.advance(0.05)
        setup.brings(setup.at(0))
    newest = setup.brings(setup.at(0))
    assert setup.cache.written == []
    setup.ticks.spread()
    assert setup.cache.written == [(KEY,)]
    assert await setup.redis() == newest
    assert setup.memory.answers[KEY].value == newest


async def test_nothing_new_is_written_to_nobody() -> None:
    """Where nothing came, nothing is written again."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.ticks.spread()
    setup.cache.written.clear()
    setup.ticks.spread()
    assert setup.cache.written == []


async def test_what_was_lost_stays_behind() -> None:
    """When the feed is lost, its last quote answers from memory, as old as it is."""
    setup = Setup()
    newest = setup.brings(setup.at(0))
    confirmed_at = setup.clock.monotonic()
    setup.loses()
    setup.clock.advance(4)
    answer = await setup.ask()
    assert isinstance(answer, Answer)
    assert (answer.served_from, answer.value) == (Tier.MEMORY, newest)
    assert answer.held.confirmed_at == confirmed_at


async def test_what_memory_holds_does_not_grow_younger() -> None:
    """What was written behind keeps its own age while the book confirms the same quote again and again."""
    setup = Setup()
    setup.brings(setup.at(0))
    setup.ticks.spread()
    setup.clock.advance(3)
    before = setup.memory.answers[KEY].held.confirmed_at
    await setup.value()
    assert setup.memory.answers[KEY].held.confirmed_at == before


async def test_a_newer_value_is_not_written_over() -> None:
    """What the upstream has answered since with a later stamp stays in Redis when the feed's older quote comes."""
    setup = Setup()
    setup.brings(setup.at(0))
    newer = setup.at(1)
    setup.hold(newer)
    setup.ticks.spread()
    assert await setup.redis() == newer


async def test_without_redis_memory_is_written_alone() -> None:
    """Where there is no shared tier the newest quote is in memory all the same."""
    setup = Setup()
    setup.tiers.shared = None
    newest = setup.brings(setup.at(0))
    setup.ticks.spread()
    setup.ticks.supersede(Feed.IEX, "MSFT")
    assert setup.memory.answers[KEY].value == newest


async def test_writing_goes_on_by_itself() -> None:
    """Once it runs, what the feed brings is written behind without anybody asking."""
    setup = Setup()
    running = asyncio.create_task(setup.ticks.run())
    newest = setup.brings(setup.at(0))
    await until(lambda: setup.memory.answers[KEY].value == newest)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@given(
    st.lists(
        st.sampled_from(["value", "none", "lost", "spread", "second"]), min_size=1, max_size=30
    )
)
async def test_whatever_happens_no_superseded_value_is_answered(steps: list[str]) -> None:
    """However values, refusals, losses and writings follow each other, nothing answers with what was superseded."""
    setup = Setup(elsewhere=False)
    setup.upstream.outage = unavailable(Reason.UPSTREAM_ERROR)
    last: Quote | None = None
    for step in steps:
        match step:
            case "value":
                last = setup.brings(setup.at(0))
            case "none" if setup.entry.confirmed:
                setup.clock.advance(0.001)
                setup.brings_none()
                last = None
            case "lost":
                setup.loses()
            case "spread":
                setup.ticks.spread()
            case "second":
                setup.clock.advance(1)
        answer = await setup.ask()
        assert not isinstance(answer, Answer) or answer.value == last
