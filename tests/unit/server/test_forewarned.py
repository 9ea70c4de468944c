"""Questions that are refused before anything is begun for them."""

from __future__ import annotations

import asyncio

from tickgate_server.errors import CircuitOpen, UpstreamFailure
from tickgate_server.guards.forewarned import ForewarnedLatest
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.unavailable import Reason, Unavailable

from ...support.fakes import FakeLatest, HandClock, question, quote


async def test_a_question_without_a_refusal_passes() -> None:
    """What may be asked is asked, and answered as the source answers it."""
    source = FakeLatest(HandClock(), {"AAPL": quote("AAPL")})
    answers = await ForewarnedLatest[Quote](source, lambda _: None).latest(question("AAPL"))

    assert isinstance(answers["AAPL"], Answer)
    assert source.symbols_asked == [("AAPL",)]


async def test_a_refused_question_is_not_asked() -> None:
    """Every symbol gets the one reason, with its delay; the source hears nothing and no task is made."""
    source = FakeLatest(HandClock(), {"AAPL": quote("AAPL")})
    tasks = asyncio.all_tasks()

    def refusal(_: Feed) -> UpstreamFailure:
        return CircuitOpen("left alone", retry_delay=1.5)

    answers = await ForewarnedLatest[Quote](source, refusal).latest(question("AAPL", "IBM"))

    assert source.asked == []
    assert asyncio.all_tasks() == tasks
    assert list(answers) == ["AAPL", "IBM"]
    for answer in answers.values():
        assert isinstance(answer, Unavailable)
        assert (answer.reason, answer.retry_delay) == (Reason.CIRCUIT_OPEN, 1.5)


async def test_only_the_refused_feed_is_refused() -> None:
    """A refusal of one feed leaves the others alone."""
    source = FakeLatest(HandClock(), {"AAPL": quote("AAPL")})

    def refusal(feed: Feed) -> UpstreamFailure | None:
        return CircuitOpen("left alone") if feed is Feed.SIP else None

    forewarned = ForewarnedLatest[Quote](source, refusal)
    refused = await forewarned.latest(question("AAPL", feed=Feed.SIP))
    answered = await forewarned.latest(question("AAPL", feed=Feed.IEX))

    assert isinstance(refused["AAPL"], Unavailable)
    assert isinstance(answered["AAPL"], Answer)
