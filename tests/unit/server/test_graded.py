"""A bound on quality."""

from __future__ import annotations

from typing import Any

import pytest

from tickgate_server.guards.graded import GradedQuotes
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import Tier
from tickgate_server.market.session import MarketSession
from tickgate_server.market.unavailable import Reason, TierOutcome, Unavailable

from ...support.fakes import NOW, FakeLatest, HandClock, question, quote, unavailable


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
