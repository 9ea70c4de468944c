"""Memory: when it answers by itself, when it bridges an outage, and what it tells when there is nothing."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tickgate_server.guards.cached import CachedLatest, Tiers
from tickgate_server.guards.freshness import FreshnessPolicy
from tickgate_server.guards.memory import MemoryTier
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import FEED_DELAY, Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import OUTAGES, Reason, TierOutcome, Unavailable
from tickgate_server.observe.counters import TierCounts

from ...support.fakes import NOW, FakeLatest, HandClock, question, quote, unavailable

POLICY = FreshnessPolicy(
    max_age=30 * NANOS,
    max_event_age_open=300 * NANOS,
    keep_open=5.0,
    keep_otherwise=20.0,
    keep_unknown=10.0,
    stale_cap=900.0,
)
EMPTY, TOO_OLD, REFUSED, FAILED, NOT_ALLOWED = TierOutcome
BOOK, MEMORY, UPSTREAM = Tier.BOOK, Tier.MEMORY, Tier.UPSTREAM
ONLY_MEMORY = frozenset({MEMORY})
ONLY_UPSTREAM = frozenset({UPSTREAM})


class Setup:
    """Memory in front of a fake that holds AAPL and IBM."""

    def __init__(
        self,
        session: MarketSession | None = MarketSession.OPEN,
        policy: FreshnessPolicy = POLICY,
        capacity: int = 100,
    ) -> None:
        self.clock = HandClock()
        self.source = FakeLatest(self.clock, {"AAPL": quote("AAPL"), "IBM": quote("IBM")})
        self.memory = MemoryTier[Quote](capacity)
        self.session = session
        self.counts = TierCounts()
        self.cached = CachedLatest(
            self.source,
            Tiers({}, self.memory, self.counts, None),
            policy,
            self.clock,
            lambda: self.session,
        )

    async def ask(self, symbol: str = "AAPL", **asked: Any) -> Answer[Quote] | Unavailable:
        """Ask about one symbol."""
        return (await self.cached.latest(question(symbol, **asked)))[symbol]

    async def value(self, symbol: str = "AAPL", **asked: Any) -> Answer[Quote]:
        """Ask about one symbol and get a value."""
        outcome = await self.ask(symbol, **asked)
        assert isinstance(outcome, Answer), outcome
        return outcome

    async def why(self, symbol: str = "AAPL", **asked: Any) -> Unavailable:
        """Ask about one symbol and get none."""
        outcome = await self.ask(symbol, **asked)
        assert isinstance(outcome, Unavailable), outcome
        return outcome

    @property
    def asked(self) -> int:
        """How many questions reached the upstream."""
        return len(self.source.asked)


def tiers(why: Unavailable) -> list[tuple[Tier, TierOutcome]]:
    """What each tier answered, in order."""
    return [(attempt.tier, attempt.outcome) for attempt in why.tiers]


# ---------------------------------------------------------------------------- while all is well


@pytest.mark.parametrize(
    ("session", "keep"),
    [
        (MarketSession.OPEN, 5.0),
        (None, 5.0),
        (MarketSession.CLOSED, 20.0),
        (MarketSession.PRE_MARKET, 20.0),
        (MarketSession.AFTER_HOURS, 20.0),
    ],
)
async def test_memory_answers_for_as_long_as_the_session_says(
    session: MarketSession | None, keep: float
) -> None:
    """A value answers further questions until it is as old as the session allows; unknown counts as open."""
    setup = Setup(session)
    first = await setup.value()
    assert (first.served_from, setup.asked) == (UPSTREAM, 1)
    setup.clock.advance(keep - 0.001)
    again = await setup.value()
    assert (again.served_from, again.stale, again.held) == (MEMORY, False, first.held)
    setup.clock.advance(0.001)
    assert (await setup.value()).served_from is UPSTREAM
    assert setup.asked == 2


@pytest.mark.parametrize("seconds", [0, 1, 3])
async def test_a_shorter_max_age_is_obeyed(seconds: int) -> None:
    """Who wants it fresher than memory keeps it gets it from the upstream, with zero every time."""
    setup = Setup()
    await setup.value()
    if seconds:
        setup.clock.advance(seconds - 0.001)
        assert (await setup.value(max_age=seconds * NANOS)).served_from is MEMORY
        setup.clock.advance(0.001)
    assert (await setup.value(max_age=seconds * NANOS)).served_from is UPSTREAM


async def test_a_longer_max_age_does_not_keep_the_upstream_from_being_asked() -> None:
    """Allowing more age does not make memory answer by itself for longer."""
    setup = Setup()
    await setup.value()
    setup.clock.advance(6)
    assert (await setup.value(max_age=3600 * NANOS)).served_from is UPSTREAM


async def test_a_batch_asks_only_for_what_is_missing() -> None:
    """Of several symbols those that memory has are not asked for again."""
    setup = Setup()
    await setup.value("AAPL")
    answers = await setup.cached.latest(question("IBM", "AAPL", "ZZZZ"))
    assert set(answers) == {"IBM", "AAPL", "ZZZZ"}
    assert setup.source.symbols_asked == [("AAPL",), ("IBM", "ZZZZ")]
    assert (setup.counts.hits, setup.counts.misses) == (1, 3)


async def test_feeds_are_kept_apart() -> None:
    """What one feed said is no answer about another."""
    setup = Setup()
    await setup.value(feed=Feed.IEX)
    assert (await setup.value(feed=Feed.SIP)).served_from is UPSTREAM
    assert len(setup.memory) == 2


async def test_memory_has_a_bound() -> None:
    """When memory is full, the value confirmed longest ago makes room."""
    setup = Setup(capacity=2)
    setup.source.values["MSFT"] = quote("MSFT")
    await setup.value("AAPL")
    await setup.value("IBM")
    setup.clock.advance(10)
    await setup.value("AAPL")
    await setup.value("MSFT")
    assert len(setup.memory) == 2
    assert (await setup.value("AAPL")).served_from is MEMORY
    assert (await setup.value("IBM")).served_from is UPSTREAM


async def test_keeping_nothing_is_possible() -> None:
    """With times of zero every question goes to the upstream."""
    policy = FreshnessPolicy(30 * NANOS, None, 0.0, 0.0, 0.0, 0.0)
    setup = Setup(policy=policy)
    await setup.value()
    await setup.value()
    assert setup.asked == 2


# ---------------------------------------------------------------------------- allowed tiers


async def test_memory_may_be_forbidden() -> None:
    """Who allows only the upstream is answered by it, and what it said is kept for others; memory missed nothing."""
    setup = Setup()
    await setup.value()
    assert (await setup.value(allowed_tiers=ONLY_UPSTREAM)).served_from is UPSTREAM
    assert (await setup.value()).served_from is MEMORY
    assert (setup.counts.hits, setup.counts.misses) == (1, 1)


async def test_the_upstream_may_be_forbidden() -> None:
    """Who allows only memory costs no question: nothing held is NOT_HELD, too old a value TOO_STALE."""
    setup = Setup()
    nothing = await setup.why(allowed_tiers=ONLY_MEMORY)
    assert nothing.reason is Reason.NOT_HELD
    assert tiers(nothing) == [(BOOK, NOT_ALLOWED), (MEMORY, EMPTY), (UPSTREAM, NOT_ALLOWED)]
    await setup.value()
    setup.clock.advance(30)
    old = await setup.why(allowed_tiers=ONLY_MEMORY)
    assert old.reason is Reason.TOO_STALE
    assert "confirmed 30.000 s ago" in old.message
    assert "30 s that are allowed" in old.message
    assert tiers(old) == [(BOOK, NOT_ALLOWED), (MEMORY, TOO_OLD), (UPSTREAM, NOT_ALLOWED)]
    assert setup.asked == 1


async def test_memory_alone_answers_within_max_age() -> None:
    """Where only memory may be asked, what is as young as asked for is an answer, however long memory keeps."""
    setup = Setup()
    await setup.value()
    setup.clock.advance(29)
    answer = await setup.value(allowed_tiers=ONLY_MEMORY)
    assert (answer.served_from, answer.stale) == (MEMORY, False)
    assert (
        await setup.why(allowed_tiers=ONLY_MEMORY, max_age=29 * NANOS)
    ).reason is Reason.TOO_STALE


async def test_an_empty_book_holds_nothing() -> None:
    """A request that allows only the book is told that it is empty."""
    why = await Setup().why(allowed_tiers=frozenset({BOOK}))
    assert why.reason is Reason.NOT_HELD
    assert tiers(why) == [(BOOK, EMPTY), (MEMORY, NOT_ALLOWED), (UPSTREAM, NOT_ALLOWED)]


# ---------------------------------------------------------------------------- outages


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
async def test_what_a_failing_upstream_leaves(reason: Reason) -> None:
    """In an outage memory answers with what is fresh enough, and with stale values where allowed; else the reason."""
    for case in product([None, 10, 100, 901], [None, 0, 200], [True, False], [True, False]):
        await check_what_is_left(reason, *case)


async def check_what_is_left(
    reason: Reason, age: int | None, max_age: int | None, memory: bool, allow_stale: bool
) -> None:
    """Ask while the upstream gives *reason*, with a value held since *age* seconds."""
    setup = Setup()
    if age is not None:
        await setup.value()
        setup.clock.advance(age)
    setup.source.reasons["AAPL"] = unavailable(reason)
    outcome = await setup.ask(
        max_age=None if max_age is None else max_age * NANOS,
        max_event_age=10**6 * NANOS,
        allowed_tiers=None if memory else ONLY_UPSTREAM,
        allow_stale=allow_stale,
    )

    held = memory and age is not None
    says_nothing = reason in OUTAGES or reason is Reason.UPSTREAM_UNAUTHENTICATED
    fresh = held and says_nothing and age is not None and age < (30 if max_age is None else max_age)
    stale = (
        held and not fresh and reason in OUTAGES and allow_stale and age is not None and age <= 900
    )
    if fresh or stale:
        assert isinstance(outcome, Answer)
        assert (outcome.served_from, outcome.stale) == (MEMORY, stale)
        return
    assert isinstance(outcome, Unavailable)
    assert outcome.reason is reason
    upstream = {
        Reason.SYMBOL_UNKNOWN: EMPTY,
        Reason.CONTRACT_UNKNOWN: EMPTY,
        Reason.NO_DATA: EMPTY,
        Reason.INVALID_DATA: REFUSED,
        Reason.RULE_VIOLATION: REFUSED,
    }.get(reason, FAILED)
    of_memory = NOT_ALLOWED if not memory else EMPTY if age is None else TOO_OLD
    of_book = EMPTY if memory else NOT_ALLOWED
    assert tiers(outcome) == [(BOOK, of_book), (MEMORY, of_memory), (UPSTREAM, upstream)]
    # Who does not allow memory is not told what it holds.
    assert outcome.last_event_time == (None if age is None or not memory else NOW)


async def test_a_stale_value_may_be_as_old_as_the_cap() -> None:
    """The cap itself is allowed, a moment more is not."""
    setup = Setup()
    await setup.value()
    setup.source.outage = unavailable(Reason.UPSTREAM_TIMEOUT)
    setup.clock.advance(900)
    assert (await setup.value(allow_stale=True)).stale
    setup.clock.advance(0.001)
    assert (await setup.why(allow_stale=True)).reason is Reason.UPSTREAM_TIMEOUT


async def test_a_stale_value_need_not_be_young() -> None:
    """Whoever allows stale values gets one whose event is older than the bound, marked."""
    setup = Setup()
    await setup.value()
    setup.clock.advance(20)
    setup.source.outage = unavailable(Reason.UPSTREAM_ERROR)
    assert (await setup.value(allow_stale=True, max_event_age=10 * NANOS)).stale
    assert (await setup.why(max_event_age=10 * NANOS)).reason is Reason.UPSTREAM_ERROR


async def test_after_an_outage_the_upstream_answers_again() -> None:
    """An outage is not remembered."""
    setup = Setup()
    setup.source.outage = unavailable(Reason.UPSTREAM_ERROR)
    await setup.why()
    setup.source.outage = None
    assert (await setup.value()).served_from is UPSTREAM


# ---------------------------------------------------------------------------- nothing, and worse


@pytest.mark.parametrize(
    ("reason", "kept"),
    [(Reason.SYMBOL_UNKNOWN, 10.0), (Reason.CONTRACT_UNKNOWN, 10.0), (Reason.NO_DATA, 5.0)],
)
async def test_nothing_is_remembered_briefly(reason: Reason, kept: float) -> None:
    """An unknown symbol or contract is remembered for a while, a lack of data no longer than a value would be."""
    setup = Setup()
    setup.source.reasons["AAPL"] = unavailable(reason, last_event_time=5)
    assert tiers(await setup.why()) == [(BOOK, EMPTY), (MEMORY, EMPTY), (UPSTREAM, EMPTY)]
    setup.clock.advance(kept - 0.001)
    again = await setup.why()
    assert (again.reason, again.last_event_time, setup.asked) == (reason, 5, 1)
    assert tiers(again) == [(BOOK, EMPTY), (MEMORY, EMPTY)]
    setup.clock.advance(0.001)
    await setup.why()
    assert setup.asked == 2


async def test_a_passing_lack_is_not_remembered() -> None:
    """What may be otherwise at the next question is asked again at once, and drops what was held."""
    setup = Setup()
    setup.source.reasons["AAPL"] = unavailable(Reason.NO_DATA, passing=True)
    await setup.why()
    await setup.why()
    assert setup.asked == 2


async def test_max_age_bounds_what_is_remembered_of_nothing() -> None:
    """A memory of nothing is no fresher than a value: who wants it fresher asks the upstream."""
    setup = Setup()
    await setup.why("ZZZZ")
    setup.clock.advance(2)
    await setup.why("ZZZZ", max_age=2 * NANOS)
    await setup.why("ZZZZ", max_age=0)
    assert setup.asked == 3


async def test_a_symbol_that_appears_is_no_longer_nothing() -> None:
    """The first value of a symbol replaces the memory that there was none."""
    setup = Setup()
    await setup.why("ZZZZ")
    setup.source.values["ZZZZ"] = quote("ZZZZ")
    await setup.value("ZZZZ", max_age=0)
    assert (await setup.value("ZZZZ")).served_from is MEMORY


@pytest.mark.parametrize(
    "reason",
    [
        Reason.INVALID_DATA,
        Reason.RULE_VIOLATION,
        Reason.NO_DATA,
        Reason.SYMBOL_UNKNOWN,
        Reason.CONTRACT_UNKNOWN,
    ],
)
async def test_what_is_superseded_is_dropped(reason: Reason) -> None:
    """After an invalid record, or word that there is none, the value from before is never served again."""
    setup = Setup()
    await setup.value()
    setup.source.reasons["AAPL"] = unavailable(reason)
    await setup.why(max_age=0)
    setup.source.reasons["AAPL"] = unavailable(Reason.UPSTREAM_ERROR)
    assert (await setup.why(allow_stale=True, max_age=0)).reason is Reason.UPSTREAM_ERROR


async def test_invalid_data_is_asked_again() -> None:
    """An invalid record is not remembered: the next question reaches the upstream."""
    setup = Setup()
    setup.source.reasons["AAPL"] = unavailable(Reason.INVALID_DATA, last_event_time=NOW + 1)
    why = await setup.why()
    assert why.last_event_time == NOW + 1
    del setup.source.reasons["AAPL"]
    assert (await setup.value()).served_from is UPSTREAM


async def test_a_refusal_is_not_stored_with_its_tiers() -> None:
    """Each asker sees the tiers of its own question, not those of the one that was remembered."""
    setup = Setup()
    await setup.why("ZZZZ")
    assert len((await setup.why("ZZZZ")).tiers) == 2
    assert len((await setup.why("ZZZZ", max_age=0)).tiers) == 3


# ---------------------------------------------------------------------------- event age


@pytest.mark.parametrize("session", [*MarketSession, None])
async def test_an_old_event_is_too_stale_while_open(session: MarketSession | None) -> None:
    """While the market is open or its session unknown, an event older than the bound is TOO_STALE; else it is not."""
    setup = Setup(session)
    setup.clock.advance(300)
    await setup.value()
    setup.clock.advance(0.001)
    if session not in (MarketSession.OPEN, None):
        await setup.value(max_age=0)
        return
    why = await setup.why(max_age=0)
    assert (why.reason, why.last_event_time) == (Reason.TOO_STALE, NOW)
    assert "300.001 s old" in why.message
    assert "300 s" in why.message


async def test_too_old_an_event_names_the_tiers() -> None:
    """TOO_STALE lists every tier that was asked, in order."""
    setup = Setup()
    setup.clock.advance(400)
    assert tiers(await setup.why()) == [(BOOK, EMPTY), (MEMORY, EMPTY), (UPSTREAM, TOO_OLD)]
    assert tiers(await setup.why()) == [(BOOK, EMPTY), (MEMORY, TOO_OLD)]
    assert tiers(await setup.why(max_age=0)) == [
        (BOOK, EMPTY),
        (MEMORY, TOO_OLD),
        (UPSTREAM, TOO_OLD),
    ]


async def test_what_memory_says_names_a_book_that_was_not_allowed() -> None:
    """A refusal out of memory says that the book was not asked, where the request did not allow it."""
    setup = Setup()
    setup.clock.advance(400)
    allowed = frozenset({MEMORY, UPSTREAM})
    for symbol, remembered in (("AAPL", TOO_OLD), ("ZZZZ", EMPTY)):
        await setup.why(symbol)
        why = await setup.why(symbol, allowed_tiers=allowed)
        assert tiers(why) == [(BOOK, NOT_ALLOWED), (MEMORY, remembered)]


@pytest.mark.parametrize("feed", list(Feed))
async def test_a_feeds_own_delay_is_no_fault(feed: Feed) -> None:
    """The default bound on event age begins after the delay that a feed has by design."""
    setup = Setup()
    setup.clock.advance(300 + FEED_DELAY.get(feed, 0) / NANOS)
    await setup.value(feed=feed)
    setup.clock.advance(0.001)
    assert (await setup.why(feed=feed, max_age=0)).reason is Reason.TOO_STALE


async def test_an_event_age_that_is_asked_for_is_meant() -> None:
    """A bound in the request holds in every session, on every feed, without allowance."""
    setup = Setup(MarketSession.CLOSED)
    setup.clock.advance(61)
    why = await setup.why(feed=Feed.DELAYED_SIP, max_event_age=60 * NANOS)
    assert why.reason is Reason.TOO_STALE
    await setup.value(feed=Feed.DELAYED_SIP, max_event_age=61 * NANOS)


async def test_a_short_event_age_asks_again() -> None:
    """A value that was confirmed longer ago than events may be old does not keep the upstream from being asked."""
    setup = Setup()
    await setup.value()
    setup.clock.advance(3)
    setup.source.values["AAPL"] = quote(at=setup.clock.wall())
    answer = await setup.value(max_event_age=2 * NANOS)
    assert answer.served_from is UPSTREAM
    assert answer.value.event_time == setup.clock.wall()


async def test_a_value_without_a_stamp_is_never_too_old() -> None:
    """What the upstream does not stamp has no event age."""
    setup = Setup()
    setup.source.values["AAPL"] = quote(at=None)
    await setup.value(max_event_age=0)
    setup.source.outage = unavailable(Reason.UPSTREAM_ERROR)
    setup.clock.advance(10)
    assert (await setup.value()).served_from is MEMORY


async def test_no_default_bound_on_events() -> None:
    """A kind of value without a default bound has only the one that is asked for."""
    policy = FreshnessPolicy(30 * NANOS, None, 5.0, 20.0, 10.0, 900.0)
    setup = Setup(policy=policy)
    setup.clock.advance(10**6)
    await setup.value()
    assert (await setup.why(max_event_age=NANOS)).reason is Reason.TOO_STALE
