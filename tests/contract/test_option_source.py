"""What every `OptionSource` promises, whether it is the upstream, a guard around it, or a fake of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tickgate_server.errors import UpstreamBroken
from tickgate_server.guards.boarding import Boarding
from tickgate_server.guards.cached import CachedLatest, Tiers
from tickgate_server.guards.coalesced import CoalescedLatest
from tickgate_server.guards.expiry import UnexpiredOptions
from tickgate_server.guards.forewarned import ForewarnedLatest
from tickgate_server.guards.freshness import FreshnessPolicy
from tickgate_server.guards.memory import MemoryTier
from tickgate_server.guards.parts import OptionParts
from tickgate_server.market.answer import Answer
from tickgate_server.market.option import OptionPart, OptionQuote
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.observe.counters import TierCounts
from tickgate_server.ports import Answers, OptionSource
from tickgate_server.upstream.alpaca.options import options_endpoint
from tickgate_server.upstream.alpaca.rest import AlpacaLatest

from ..support.fakes import FakeLatest, FakeRequests, HandClock, gate, question, unavailable
from ..support.options import CALL, PUT, known_expiries, quoted, symbol_of

POLICY = FreshnessPolicy(
    max_age=15 * NANOS,
    max_event_age_open=None,
    keep_open=5.0,
    keep_otherwise=30.0,
    keep_unknown=60.0,
    stale_cap=0.0,
)
BAD, SILENT, UNKNOWN = symbol_of("260"), symbol_of("270"), symbol_of("999")
GONE = symbol_of(expiry="260930")
"""A contract that has expired the day before."""


@dataclass
class Subject:
    """A source that holds a call and a put, refuses one contract, has no data of another, and can be broken."""

    source: OptionSource
    break_it: Callable[[], None]
    clock: HandClock

    async def ask(self, *symbols: str) -> Answers[OptionQuote]:
        """Ask about some contracts."""
        return await self.source.latest(question(*symbols, feed=Feed.OPRA))


def fake() -> Subject:
    """A fake alone."""
    clock = HandClock()
    inner = FakeLatest(clock, {CALL: quoted(CALL), PUT: quoted(PUT)})
    inner.reasons[BAD] = unavailable(Reason.INVALID_DATA)
    inner.reasons[SILENT] = unavailable(Reason.NO_DATA)
    inner.reasons[UNKNOWN] = unavailable(Reason.CONTRACT_UNKNOWN)

    def break_it() -> None:
        inner.outage = unavailable(Reason.UPSTREAM_ERROR)

    return Subject(inner, break_it, clock)


def alpaca() -> Subject:
    """Alpaca over requests that behave."""
    clock = HandClock()
    good = '{"latestQuote":{"t":"2026-10-01T15:00:00Z","bp":1.00,"bs":100,"ap":1.05,"as":100}}'
    requests = FakeRequests(clock, {CALL: good, PUT: good, BAD: '{"latestQuote":{"t":7}}'})

    async def listed(_: Sequence[str], __: float) -> set[str]:
        return {CALL, PUT, BAD, SILENT}

    def break_it() -> None:
        requests.failure = UpstreamBroken("answered 500")

    endpoint = options_endpoint(gate(clock))
    requests.wrapper = endpoint.wrapper
    return Subject(AlpacaLatest(requests, DataSource.SANDBOX, endpoint, listed), break_it, clock)


def behind(guard: Callable[[OptionSource, HandClock], OptionSource], inner: Subject) -> Subject:
    """Another source behind a guard."""
    return Subject(guard(inner.source, inner.clock), inner.break_it, inner.clock)


def coalesced(source: OptionSource, clock: HandClock) -> OptionSource:
    """Single flight, in batches of as many as Alpaca takes."""
    return CoalescedLatest(source, 5.0, clock, Boarding(0.005, 0.025, 100))


def forewarned(source: OptionSource, _: HandClock) -> OptionSource:
    """The early refusals, of which there are none."""
    return ForewarnedLatest[OptionQuote](source, lambda _: None)


def cached(source: OptionSource, clock: HandClock) -> OptionSource:
    """Memory."""
    tiers = Tiers[OptionQuote]({}, MemoryTier(100), TierCounts(), None)
    return CachedLatest(source, tiers, POLICY, clock, lambda: MarketSession.OPEN)


def unexpired(source: OptionSource, clock: HandClock) -> OptionSource:
    """What tells expired contracts apart."""
    return UnexpiredOptions(source, known_expiries(clock))


def production() -> Subject:
    """All of them around Alpaca, as the gateway stacks them."""
    subject = alpaca()
    for guard in (coalesced, forewarned, cached, unexpired):
        subject = behind(guard, subject)
    return subject


MAKERS: dict[str, Callable[[], Subject]] = {
    "fake": fake,
    "alpaca": alpaca,
    "coalesced fake": lambda: behind(coalesced, fake()),
    "forewarned fake": lambda: behind(forewarned, fake()),
    "cached fake": lambda: behind(cached, fake()),
    "unexpired fake": lambda: behind(unexpired, fake()),
    "everything as in production": production,
}

EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
Make = Callable[[], Subject]


def reason(outcome: Answer[OptionQuote] | Unavailable) -> Reason:
    """Why there is no value."""
    assert isinstance(outcome, Unavailable)
    assert outcome.message
    return outcome.reason


@EVERY
async def test_one_entry_for_each_contract(make: Make) -> None:
    """Every asked contract has an entry, nothing else has, and a value is about its own contract."""
    answers = await make().ask(PUT, UNKNOWN, CALL, BAD, SILENT)
    assert set(answers) == {PUT, UNKNOWN, CALL, BAD, SILENT}
    for symbol in (PUT, CALL):
        answer = answers[symbol]
        assert isinstance(answer, Answer)
        assert answer.value.symbol == symbol
        assert answer.value.quote is not None
        assert answer.value.quote.symbol == symbol
        assert not answer.stale


@EVERY
async def test_lack_of_data_is_an_answer(make: Make) -> None:
    """An unknown contract, a silent one and a refused record are reasons of their own, not exceptions."""
    answers = await make().ask(UNKNOWN, SILENT, BAD)
    assert {symbol: reason(why) for symbol, why in answers.items()} == {
        UNKNOWN: Reason.CONTRACT_UNKNOWN,
        SILENT: Reason.NO_DATA,
        BAD: Reason.INVALID_DATA,
    }


@EVERY
async def test_an_outage_is_an_answer(make: Make) -> None:
    """When the upstream fails, each contract says so and nothing is raised."""
    subject = make()
    subject.break_it()
    answers = await subject.ask(CALL, UNKNOWN)
    assert [reason(answers[symbol]) for symbol in (CALL, UNKNOWN)] == [Reason.UPSTREAM_ERROR] * 2


@EVERY
async def test_contracts_do_not_disturb_each_other(make: Make) -> None:
    """A contract's outcome is the same alone and in company."""
    for symbol in (CALL, BAD, SILENT, UNKNOWN):
        alone = (await make().ask(symbol))[symbol]
        together = (await make().ask(PUT, BAD, SILENT, UNKNOWN, CALL))[symbol]
        if isinstance(alone, Answer):
            assert isinstance(together, Answer)
            assert together.value == alone.value
        else:
            assert reason(together) is alone.reason


@EVERY
async def test_the_same_question_has_the_same_answer(make: Make) -> None:
    """Asked twice, and by several at once, the source says the same."""
    subject = make()
    first = await subject.ask(CALL, UNKNOWN)
    for again in await asyncio.gather(*(subject.ask(CALL, UNKNOWN) for _ in range(3))):
        one, other = first[CALL], again[CALL]
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        assert one.value.quote is not None
        assert other.value.quote is not None
        assert one.value.quote.bid == other.value.quote.bid
        assert reason(again[UNKNOWN]) is Reason.CONTRACT_UNKNOWN


@EVERY
async def test_a_value_was_confirmed_by_now(make: Make) -> None:
    """No value claims to have been confirmed after it was answered."""
    subject = make()
    answer = (await subject.ask(CALL))[CALL]
    assert isinstance(answer, Answer)
    assert answer.held.confirmed_at <= subject.clock.monotonic()


@EVERY
async def test_a_part_is_a_source_by_itself(make: Make) -> None:
    """The quotes of any source keep the promises of a source: a value or a reason for each contract, and its own."""
    subject = make()
    quotes: OptionParts[Quote] = OptionParts(
        subject.source, OptionPart.QUOTE, lambda value: value.quote
    )
    answers = await quotes.latest(question(CALL, BAD, UNKNOWN, feed=Feed.OPRA))
    answer = answers[CALL]
    assert isinstance(answer, Answer)
    assert answer.value.symbol == CALL
    assert [
        why.reason for symbol in (BAD, UNKNOWN) if isinstance(why := answers[symbol], Unavailable)
    ] == [Reason.INVALID_DATA, Reason.CONTRACT_UNKNOWN]


@pytest.mark.parametrize("make", [lambda: behind(unexpired, alpaca()), production])
async def test_an_expired_contract_is_told_apart(make: Make) -> None:
    """Where expiry is known, an expired contract is CONTRACT_EXPIRED, during an outage too, and harms no neighbour."""
    subject = make()
    answers = await subject.ask(GONE, CALL)
    assert reason(answers[GONE]) is Reason.CONTRACT_EXPIRED
    assert isinstance(answers[CALL], Answer)
    subject.break_it()
    assert reason((await subject.ask(GONE))[GONE]) is Reason.CONTRACT_EXPIRED


async def test_an_unknown_contract_is_remembered() -> None:
    """In production a contract that is not listed is asked for once in a while, as unknown symbols are."""
    subject = production()
    await subject.ask(UNKNOWN)
    subject.break_it()

    async def ask() -> Reason:
        deadline = subject.clock.monotonic() + 10
        asked = question(UNKNOWN, feed=Feed.OPRA, deadline=deadline, max_age=3600 * NANOS)
        return reason((await subject.source.latest(asked))[UNKNOWN])

    subject.clock.advance(59.9)
    assert await ask() is Reason.CONTRACT_UNKNOWN
    subject.clock.advance(0.1)
    assert await ask() is Reason.UPSTREAM_ERROR


async def test_many_single_questions_travel_together() -> None:
    """A hundred and fifty single questions at once cost the upstream two requests, of which neither is too large."""
    clock = HandClock()
    symbols = [symbol_of(str(number + 1)) for number in range(150)]
    good = '{"latestQuote":{"t":"2026-10-01T15:00:00Z","bp":1.00,"bs":100,"ap":1.05,"as":100}}'
    requests = FakeRequests(clock, dict.fromkeys(symbols, good))
    requests.wrapper = "snapshots"

    async def listed(_: Sequence[str], __: float) -> set[str]:
        return set()

    latest = AlpacaLatest(requests, DataSource.SANDBOX, options_endpoint(gate(clock)), listed)
    source = coalesced(latest, clock)
    answers = await asyncio.gather(
        *(source.latest(question(symbol, feed=Feed.OPRA)) for symbol in symbols)
    )
    assert [list(answer) for answer in answers] == [[symbol] for symbol in symbols]
    assert all(isinstance(value, Answer) for one in answers for value in one.values())
    sizes = [len(sent.params["symbols"].split(",")) for sent in requests.sent]
    assert sum(sizes) == 150
    assert max(sizes) <= 100
    assert len(sizes) == 2
