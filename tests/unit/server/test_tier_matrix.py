"""Who answers, for every tier that may hold the value, its age, the circuit, the caller's patience and the session."""

from __future__ import annotations

from itertools import product
from typing import Literal

import pytest

from tickgate_server.errors import UpstreamFailure
from tickgate_server.guards.breaker import BreakerPolicy, Breakers, Finding, Outcome
from tickgate_server.guards.cached import CachedLatest, Tiers
from tickgate_server.guards.coalesced import CoalescedLatest
from tickgate_server.guards.forewarned import ForewarnedLatest
from tickgate_server.guards.freshness import FreshnessPolicy
from tickgate_server.guards.memory import MemoryTier
from tickgate_server.guards.shared import SharedTier
from tickgate_server.market.answer import Answer, Held
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, TierOutcome, Unavailable
from tickgate_server.observe.counters import Counters, TierCounts
from tickgate_server.ports import Effort, Group, Key, Upstream

from ...support.fakes import FakeLatest, HandClock, question, quote
from ...support.hot_cache import FakeHotCache

MAX_AGE, STALE_CAP = 30, 900
KEEP = {MarketSession.OPEN: 5, None: 5}
KEEP_OTHERWISE = 20
AGES = (0.0, 4.999, 5.0, 19.999, 20.0, 29.999, 30.0, 900.0, 900.001)
KEY = (Feed.IEX, "AAPL")
State = Literal["closed", "open", "half_open"]
EMPTY, TOO_OLD, FAILED = TierOutcome.EMPTY, TierOutcome.TOO_OLD, TierOutcome.FAILED


class Setup:
    """The guards in front of an upstream that works, with the circuit in one state and a value in one tier."""

    def __init__(self, holder: Tier | None, state: State, session: MarketSession | None) -> None:
        self.clock = HandClock()
        self.upstream = FakeLatest(self.clock, {"AAPL": quote("AAPL")})
        self.book: dict[Key, Held[Quote]] = {}
        self.memory = MemoryTier[Quote](10)
        self.cache = FakeHotCache[Quote](self.clock, lambda: 10_000.0)
        shared = SharedTier(self.cache, TierCounts(), self.clock, believe=0.25, capacity=10)
        self.breakers = self._breakers(state)
        policy = FreshnessPolicy(
            max_age=MAX_AGE * NANOS,
            max_event_age_open=300 * NANOS,
            keep_open=KEEP[None],
            keep_otherwise=KEEP_OTHERWISE,
            keep_unknown=60.0,
            stale_cap=STALE_CAP,
        )
        self.latest = CachedLatest(
            ForewarnedLatest(CoalescedLatest(self.upstream, 5.0, self.clock), self._refusal),
            Tiers(self.book, self.memory, TierCounts(), shared),
            policy,
            self.clock,
            lambda: session,
        )
        self._put(holder)

    def age(self, seconds: float) -> None:
        """Let the value that is held grow old; the upstream has a new one."""
        self.clock.advance(seconds)
        self.upstream.values["AAPL"] = quote("AAPL", at=self.clock.wall())

    def _breakers(self, state: State) -> Breakers:
        cool_down = 1.0 if state == "half_open" else 100_000.0
        policy = BreakerPolicy(1, 1.0, 10, cool_down, 2.0, 10**6, 10**6, 0.0)
        breakers = Breakers(policy, self.clock, Counters().upstream)
        circuit = breakers.circuit(Upstream.DATA, Group.LATEST)
        if state != "closed":
            circuit.leave(circuit.enter(Effort()), Finding(Outcome.FAILS))
        if state == "half_open":
            self.clock.advance(cool_down)
            circuit.enter(Effort())
        return breakers

    def _refusal(self, _: Feed) -> UpstreamFailure | None:
        return self.breakers.circuit(Upstream.DATA, Group.LATEST).refusal()

    def _put(self, holder: Tier | None) -> None:
        value = quote("AAPL", at=self.clock.wall(), received=self.clock.wall())
        held = Held(value, self.clock.monotonic())
        if holder is Tier.BOOK:
            self.book[KEY] = held
        elif holder is Tier.MEMORY:
            self.memory.put(KEY, held)
        elif holder is Tier.REDIS:
            self.cache.put({KEY: held})


def promised(
    holder: Tier | None,
    age: float,
    state: State,
    allow_stale: bool,
    session: MarketSession | None,
) -> tuple[Tier, bool] | None:
    """Who answers and whether the answer is stale; None where the circuit's reason is the answer."""
    if holder is not None and age < KEEP.get(session, KEEP_OTHERWISE):
        return holder, False
    if state == "closed":
        return Tier.UPSTREAM, False
    if holder is not None and age < MAX_AGE:
        return holder, False
    if holder is not None and allow_stale and age <= STALE_CAP:
        return holder, True
    return None


@pytest.mark.parametrize("session", [*MarketSession, None])
@pytest.mark.parametrize("allow_stale", [False, True], ids=["strict age", "stale allowed"])
@pytest.mark.parametrize("state", ["closed", "open", "half_open"])
@pytest.mark.parametrize("holder", [None, Tier.BOOK, Tier.MEMORY, Tier.REDIS])
async def test_who_answers(
    holder: Tier | None, state: State, allow_stale: bool, session: MarketSession | None
) -> None:
    """The nearest tier that is fresh enough answers; else the upstream; behind an open circuit what is left, or why."""
    for age in AGES:
        setup = Setup(holder, state, session)
        setup.age(age)
        deadline = setup.clock.monotonic() + 10
        asked = question("AAPL", deadline=deadline, allow_stale=allow_stale)
        outcome = (await setup.latest.latest(asked))["AAPL"]

        expected = promised(holder, age, state, allow_stale, session)
        if expected is not None:
            assert isinstance(outcome, Answer), (age, outcome)
            assert (outcome.served_from, outcome.stale) == expected, age
            assert len(setup.upstream.asked) == (expected[0] is Tier.UPSTREAM)
            continue
        assert isinstance(outcome, Unavailable), age
        assert (outcome.reason, outcome.retry_delay is not None) == (Reason.CIRCUIT_OPEN, True)
        assert [(tried.tier, tried.outcome) for tried in outcome.tiers] == [
            *((tier, TOO_OLD if tier is holder else EMPTY) for tier in (Tier.BOOK, Tier.MEMORY)),
            (Tier.REDIS, TOO_OLD if holder is Tier.REDIS else EMPTY),
            (Tier.UPSTREAM, FAILED),
        ]
        assert all(tried.time == setup.clock.wall() for tried in outcome.tiers)
        assert (holder is None) == ("confirmed" not in outcome.message)
        assert setup.upstream.asked == []


@pytest.mark.parametrize("state", ["closed", "open"])
async def test_only_allowed_tiers_answer(state: State) -> None:
    """A tier that the request does not allow never answers, whatever it holds and whoever else is away."""
    live = (Tier.BOOK, Tier.MEMORY, Tier.REDIS)
    everybody = (*live, Tier.UPSTREAM)
    for holder, allowed in product(live, everybody):
        setup = Setup(holder, state, MarketSession.OPEN)
        asked = question("AAPL", allowed_tiers=frozenset({allowed}), allow_stale=True)
        outcome = (await setup.latest.latest(asked))["AAPL"]
        answers = allowed is holder or (allowed is Tier.UPSTREAM and state == "closed")
        assert isinstance(outcome, Answer) == answers, (holder, allowed)
        if isinstance(outcome, Answer):
            assert outcome.served_from is allowed
            continue
        passed = {tried.tier: tried.outcome for tried in outcome.tiers}
        assert list(passed) == list(everybody)
        refused = [tier for tier in everybody if tier is not allowed]
        assert {passed[tier] for tier in refused} == {TierOutcome.NOT_ALLOWED}
