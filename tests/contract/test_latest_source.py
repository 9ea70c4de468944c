"""What every `LatestSource` promises, whether it is the upstream, a guard around it, or a fake of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tickgate_server.errors import UpstreamBroken
from tickgate_server.guards.cached import CachedLatest, Tiers
from tickgate_server.guards.coalesced import CoalescedLatest
from tickgate_server.guards.forewarned import ForewarnedLatest
from tickgate_server.guards.freshness import FreshnessPolicy
from tickgate_server.guards.graded import GradedQuotes
from tickgate_server.guards.memory import MemoryTier
from tickgate_server.market.answer import Answer, Question
from tickgate_server.market.provenance import DataSource
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.observe.counters import TierCounts
from tickgate_server.ports import Answers, QuoteSource
from tickgate_server.upstream.alpaca.rest import AlpacaLatest, quotes_endpoint

from ..support.fakes import FakeLatest, FakeRequests, HandClock, gate, question, quote, unavailable

POLICY = FreshnessPolicy(
    max_age=30 * NANOS,
    max_event_age_open=300 * NANOS,
    keep_open=5.0,
    keep_otherwise=30.0,
    keep_unknown=60.0,
    stale_cap=900.0,
)


@dataclass
class Subject:
    """A source that holds AAPL and IBM, refuses BAD, knows nothing of anything else, and can be broken."""

    source: QuoteSource
    break_it: Callable[[], None]
    clock: HandClock = field(default_factory=HandClock)

    async def ask(self, *symbols: str) -> Answers[Quote]:
        """Ask for some symbols."""
        return await self.source.latest(question(*symbols))


def fake() -> Subject:
    """A fake alone."""
    clock = HandClock()
    inner = FakeLatest(clock, {"AAPL": quote("AAPL"), "IBM": quote("IBM")})
    inner.reasons["BAD"] = unavailable(Reason.INVALID_DATA)

    def break_it() -> None:
        inner.outage = unavailable(Reason.UPSTREAM_ERROR)

    return Subject(inner, break_it, clock)


def alpaca() -> Subject:
    """Alpaca over requests that behave."""
    clock = HandClock()
    good = '{"t":"2026-10-01T15:00:00Z","bp":10.00,"bs":100,"ap":10.02,"as":100}'
    requests = FakeRequests(clock, {"AAPL": good, "IBM": good, "BAD": '{"t":7}'})
    requests.malformed = {"NO.SUCH"}

    async def listed(_: object, __: float) -> set[str]:
        return {"AAPL", "IBM", "BAD"}

    def break_it() -> None:
        requests.failure = UpstreamBroken("answered 500")

    endpoint = quotes_endpoint(gate(clock))
    return Subject(AlpacaLatest(requests, DataSource.SANDBOX, endpoint, listed), break_it, clock)


def coalesced(inner: Subject) -> Subject:
    """Another source behind single flight."""
    return Subject(CoalescedLatest(inner.source, 5.0, inner.clock), inner.break_it, inner.clock)


def forewarned(inner: Subject) -> Subject:
    """Another source behind the early refusals, of which there are none."""
    source = ForewarnedLatest[Quote](inner.source, lambda _: None)
    return Subject(source, inner.break_it, inner.clock)


def cached(inner: Subject) -> Subject:
    """Another source behind memory."""
    tiers = Tiers[Quote]({}, MemoryTier(100), TierCounts(), None)
    source = CachedLatest(inner.source, tiers, POLICY, inner.clock, lambda: MarketSession.OPEN)
    return Subject(source, inner.break_it, inner.clock)


def graded(inner: Subject) -> Subject:
    """Another source behind the quality bound."""
    source = GradedQuotes(inner.source, inner.clock, lambda: MarketSession.OPEN)
    return Subject(source, inner.break_it, inner.clock)


MAKERS: dict[str, Callable[[], Subject]] = {
    "fake": fake,
    "alpaca": alpaca,
    "coalesced fake": lambda: coalesced(fake()),
    "forewarned fake": lambda: forewarned(fake()),
    "cached fake": lambda: cached(fake()),
    "graded fake": lambda: graded(fake()),
    "everything as in production": lambda: graded(cached(forewarned(coalesced(alpaca())))),
}

EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
Make = Callable[[], Subject]


def reason(outcome: Answer[Quote] | Unavailable) -> Reason:
    """Why there is no value."""
    assert isinstance(outcome, Unavailable)
    assert outcome.message
    return outcome.reason


@EVERY
async def test_one_entry_for_each_symbol(make: Make) -> None:
    """Every asked symbol has an entry, nothing else has, and a value is about its own symbol."""
    answers = await make().ask("IBM", "NOPE", "AAPL", "BAD")
    assert set(answers) == {"IBM", "NOPE", "AAPL", "BAD"}
    for symbol in ("IBM", "AAPL"):
        answer = answers[symbol]
        assert isinstance(answer, Answer)
        assert answer.value.symbol == symbol
        assert not answer.stale


@EVERY
async def test_lack_of_data_is_an_answer(make: Make) -> None:
    """An unknown symbol and a refused record are reasons, not exceptions."""
    answers = await make().ask("NOPE", "BAD")
    assert reason(answers["NOPE"]) is Reason.SYMBOL_UNKNOWN
    assert reason(answers["BAD"]) is Reason.INVALID_DATA


@EVERY
async def test_an_outage_is_an_answer(make: Make) -> None:
    """When the upstream fails, each symbol says so and nothing is raised."""
    subject = make()
    subject.break_it()
    answers = await subject.ask("AAPL", "NOPE")
    assert [reason(answers[symbol]) for symbol in ("AAPL", "NOPE")] == [Reason.UPSTREAM_ERROR] * 2


@EVERY
async def test_symbols_do_not_disturb_each_other(make: Make) -> None:
    """A symbol's outcome is the same alone and in company."""
    for symbol in ("AAPL", "BAD", "NOPE"):
        alone = (await make().ask(symbol))[symbol]
        together = (await make().ask("IBM", "BAD", "NOPE", "AAPL"))[symbol]
        if isinstance(alone, Answer):
            assert isinstance(together, Answer)
            assert together.value == alone.value
        else:
            assert reason(together) is alone.reason


@EVERY
async def test_the_same_question_has_the_same_answer(make: Make) -> None:
    """Asked twice, and by several at once, the source says the same."""
    subject = make()
    first = await subject.ask("AAPL", "NOPE")
    for again in await asyncio.gather(*(subject.ask("AAPL", "NOPE") for _ in range(3))):
        one, other = first["AAPL"], again["AAPL"]
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        assert (one.value.bid, one.value.ask) == (other.value.bid, other.value.ask)
        assert reason(again["NOPE"]) is Reason.SYMBOL_UNKNOWN


@EVERY
async def test_a_value_was_confirmed_by_now(make: Make) -> None:
    """No value claims to have been confirmed after it was answered."""
    subject = make()
    answers = await subject.source.latest(Question(("AAPL",), question("AAPL").feed, 1010.0))
    answer = answers["AAPL"]
    assert isinstance(answer, Answer)
    assert answer.held.confirmed_at <= subject.clock.monotonic()
