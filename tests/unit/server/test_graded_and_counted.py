"""Two small guards: a bound on quality, and counters of requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tickgate_server.errors import (
    KeyRefused,
    NotEntitled,
    RateLimited,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tickgate_server.guards.counted import CountedRequests
from tickgate_server.guards.graded import GradedQuotes
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import Tier
from tickgate_server.market.session import MarketSession
from tickgate_server.market.unavailable import Reason, TierOutcome, Unavailable
from tickgate_server.observe.counters import Counters, UpstreamCounts
from tickgate_server.ports import Group, Reply, Request, Upstream

from ...support.fakes import NOW, FakeLatest, FakeRequests, HandClock, question, quote, unavailable


async def graded(
    least: int, *, session: MarketSession | None = MarketSession.OPEN, age: float = 0, **held: Any
) -> Answer[Any] | Unavailable:
    """What becomes of a quote of AAPL when at least *least* points are asked for."""
    clock = HandClock()
    source = FakeLatest(clock, {"AAPL": quote(**held)})
    clock.advance(age)
    answers = await GradedQuotes(source, clock, lambda: session).latest(
        question("AAPL", min_quality=least)
    )
    return answers["AAPL"]


@pytest.mark.parametrize(
    ("least", "passes"), [(0, True), (1, True), (70, True), (71, False), (100, False)]
)
async def test_a_quote_that_scores_enough_passes(least: int, passes: bool) -> None:
    """A score as high as asked for is good enough; a point less is LOW_QUALITY, naming score and flags."""
    outcome = await graded(least, bid=None)
    if passes:
        assert isinstance(outcome, Answer)
        return
    assert isinstance(outcome, Unavailable)
    assert (outcome.reason, outcome.last_event_time) == (Reason.LOW_QUALITY, NOW)
    assert f"score 70 is below {least}" in outcome.message
    assert "ONE_SIDED" in outcome.message
    attempts = [(attempt.tier, attempt.outcome) for attempt in outcome.tiers]
    assert attempts == [(Tier.UPSTREAM, TierOutcome.REFUSED)]


async def test_age_counts_in_the_session_that_is_known() -> None:
    """An old quote is worth less while the market is open or unknown, and no less while it is closed."""
    assert isinstance(await graded(60, age=80), Unavailable)
    assert isinstance(await graded(60, age=80, session=None), Unavailable)
    assert isinstance(await graded(60, age=80, session=MarketSession.CLOSED), Answer)
    assert isinstance(await graded(100, age=80, at=None), Answer)


async def test_a_reason_is_not_graded() -> None:
    """What is unavailable stays so for its own reason."""
    clock = HandClock()
    source: FakeLatest[Any] = FakeLatest(clock)
    source.outage = unavailable(Reason.UPSTREAM_TIMEOUT)
    answers = await GradedQuotes(source, clock, lambda: None).latest(
        question("AAPL", min_quality=100)
    )
    assert answers["AAPL"] is source.outage


# ---------------------------------------------------------------------------- counted

REQUEST = Request(Upstream.DATA, Group.LATEST, "/path", {"symbols": "AAPL"}, 1010.0)


class Setup:
    """Counted requests to a fake."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.requests = FakeRequests(self.clock)
        self.counters = Counters()
        self.counted = CountedRequests(self.requests, self.counters.upstream, self.clock)

    @property
    def counts(self) -> UpstreamCounts:
        """The counters of the requests' upstream and group."""
        return self.counters.upstream("alpaca.data", "latest")


async def test_a_success_is_counted() -> None:
    """An answer makes the upstream up, with its time and latency."""
    setup = Setup()
    assert setup.counts.state == "idle"

    class Slow(FakeRequests):
        async def send(self, request: Request) -> Reply:
            setup.clock.advance(0.25)
            assert setup.counts.in_flight == 1
            return await super().send(request)

    await CountedRequests(Slow(setup.clock), setup.counters.upstream, setup.clock).send(REQUEST)
    counts = setup.counts
    assert (counts.state, counts.requests, counts.failures, counts.in_flight) == ("up", 1, 0, 0)
    assert (counts.last_success_time, counts.last_latency) == (NOW + 250_000_000, 0.25)
    assert list(setup.counters.upstreams) == [("alpaca.data", "latest")]


@pytest.mark.parametrize(
    ("failure", "state", "failures"),
    [
        (UpstreamRejected("no", said="no"), "up", 0),
        (NotEntitled("no"), "up", 0),
        (KeyRefused("no"), "unauthenticated", 1),
        (RateLimited("no"), "failing", 1),
        (UpstreamTimeout("no"), "failing", 1),
        (UpstreamBroken("no"), "failing", 1),
        (UpstreamUnreachable("no"), "failing", 1),
    ],
)
async def test_a_failure_is_counted_as_what_it_is(
    failure: UpstreamFailure, state: str, failures: int
) -> None:
    """An upstream that says no to a question works; any other failure is one, and passes on unchanged."""
    setup = Setup()
    setup.requests.failure = failure
    with pytest.raises(UpstreamFailure) as caught:
        await setup.counted.send(REQUEST)
    assert caught.value is failure
    counts = setup.counts
    assert (counts.state, counts.requests, counts.failures, counts.in_flight) == (
        state,
        1,
        failures,
        0,
    )
    assert counts.last_failure_reason == (failure.reason.name if failures else None)
    assert counts.last_failure_time == (NOW if failures else None)
    assert counts.last_success_time == (None if failures else NOW)


async def test_a_cancelled_request_is_neither() -> None:
    """A request that nobody waits for any more says nothing about the upstream."""
    setup = Setup()
    sending = asyncio.ensure_future(setup.counted.send(REQUEST))
    await asyncio.sleep(0)
    assert setup.counts.in_flight == 1
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    counts = setup.counts
    assert (counts.state, counts.requests, counts.failures, counts.in_flight) == ("idle", 1, 0, 0)


async def test_recovery_is_seen() -> None:
    """The state is that of the last answer; what failed before stays on record."""
    setup = Setup()
    setup.requests.failure = UpstreamBroken("no")
    with pytest.raises(UpstreamBroken):
        await setup.counted.send(REQUEST)
    setup.requests.failure = None
    await setup.counted.send(REQUEST)
    assert (setup.counts.state, setup.counts.last_failure_reason) == ("up", "UPSTREAM_ERROR")
