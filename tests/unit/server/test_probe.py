"""Upstream groups that nobody asks are asked by the gateway itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from tickgate_server.errors import CircuitOpen, KeyRefused, UpstreamBroken
from tickgate_server.guards.breaker import BreakerPolicy, BreakerRequests, Breakers
from tickgate_server.guards.counted import CountedRequests
from tickgate_server.jobs.probe import (
    Finding,
    Probe,
    clock_inquiry,
    codes_inquiry,
    peek_inquiry,
    quote_inquiry,
)
from tickgate_server.market.asset import CodeKind
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.unavailable import Reason
from tickgate_server.observe.counters import Counters, ProbeCounts, UpstreamCounts
from tickgate_server.ports import Group, Upstream
from tickgate_server.upstream.alpaca.rest import AlpacaReference

from ...support.fakes import (
    NOW,
    FakeLatest,
    FakeReference,
    FakeRequests,
    HandClock,
    gate,
    quote,
    reading,
    settle,
    unavailable,
)

LATEST, CODES, CLOCK = (
    ("alpaca.data", "latest"),
    ("alpaca.data", "reference"),
    ("alpaca.trading", "reference"),
)


EAGER = BreakerPolicy(
    streak=1,
    rate=1.0,
    window=50,
    cool_down=1.0,
    growth=2.0,
    cool_down_most=30.0,
    key_cool_down_most=60.0,
    jitter=0.2,
)
"""Opens at the first failure."""


@dataclass
class Watch:
    """A probe of three groups that asks after a minute, and lets time pass itself instead of waiting."""

    idle: float = 60.0
    clock: HandClock = field(default_factory=HandClock)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.quotes = FakeLatest[Quote](self.clock, {"AAPL": quote("AAPL")})
        self.reference = FakeReference()
        self.reference.reading = reading()
        self.pauses: list[float] = []
        self.enough = asyncio.Event()
        self.last = 3
        """Pauses that are waited for before time stands still."""

        self.probe = Probe(
            [
                quote_inquiry(
                    self.quotes, Feed.IEX, "AAPL", self.clock, lambda: MarketSession.OPEN
                ),
                codes_inquiry(self.reference),
                clock_inquiry(self.reference),
            ],
            self.counters.upstream,
            self.clock,
            idle=self.idle,
            patience=10.0,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        """Let *seconds* pass at once, a few times."""
        self.pauses.append(seconds)
        if len(self.pauses) > self.last:
            self.enough.set()
            await asyncio.Event().wait()
        self.clock.advance(seconds)

    def group(self, name: tuple[str, str]) -> UpstreamCounts:
        """Return the counters of a group."""
        return self.counters.upstream(*name)

    def traffic(self, *names: tuple[str, str]) -> None:
        """Let somebody ask some groups now."""
        for name in names:
            self.group(name).last_request_at = self.clock.monotonic()

    def due(self) -> list[tuple[str, str]]:
        """Return the groups that would be asked now."""
        return [(inquiry.upstream.value, inquiry.group.value) for inquiry in self.probe.due()]

    async def outcome(self, name: tuple[str, str]) -> ProbeCounts:
        """Return what became of the question to one group once it was due."""
        self.clock.advance(66)
        await self.probe.ask_due()
        probe = self.group(name).probe
        assert probe is not None
        return probe


async def test_a_group_is_asked_after_its_idle_time() -> None:
    """Groups that nobody has ever asked are asked a minute after the start, with a tenth of it to spare."""
    watch = Watch()
    watch.clock.advance(65.9)
    assert watch.due() == []
    watch.clock.advance(0.1)
    assert watch.due() == [LATEST, CODES, CLOCK]


async def test_traffic_puts_a_question_off() -> None:
    """A group that is asked by others is left alone, also while one of them still waits for its answer."""
    watch = Watch()
    watch.clock.advance(30)
    watch.traffic(LATEST)
    watch.group(CODES).in_flight = 1
    watch.clock.advance(36)
    assert watch.due() == [CLOCK]
    watch.clock.advance(30)
    assert watch.due() == [LATEST, CLOCK]


async def test_whoever_asks_each_minute_comes_first() -> None:
    """A job that asks at the very interval of the probe keeps it from asking the same again."""
    watch = Watch()
    for _ in range(10):
        watch.clock.advance(60.5)
        assert CLOCK not in watch.due()
        watch.traffic(CLOCK)


async def test_the_question_is_a_cheap_one() -> None:
    """One quote on the default feed, the clock, the exchange codes: each group is asked once, then left alone again."""
    watch = Watch()
    watch.clock.advance(66)
    await watch.probe.ask_due()
    await watch.probe.ask_due()

    assert watch.quotes.symbols_asked == [("AAPL",)]
    assert [question.feed for question in watch.quotes.asked] == [Feed.IEX]
    assert watch.reference.asked == ["codes exchange", "clock"]


@pytest.mark.parametrize(
    ("upstream", "group"),
    [
        (Upstream.DATA, Group.OPTIONS),
        (Upstream.TRADING, Group.OPTIONS),
        (Upstream.DATA, Group.HISTORY),
    ],
)
async def test_a_peek_is_a_question(upstream: Upstream, group: Group) -> None:
    """Options and the past are asked for something small, whose answer is of no interest and whose failure is."""
    peeked: list[float] = []

    async def peek(deadline: float) -> None:
        peeked.append(deadline)
        if len(peeked) > 1:
            raise UpstreamBroken("answered 500")

    inquiry = peek_inquiry(upstream, group, peek)
    assert (inquiry.upstream, inquiry.group) == (upstream, group)
    assert await inquiry.ask(1010.0) == Finding()
    with pytest.raises(UpstreamBroken):
        await inquiry.ask(1011.0)
    assert peeked == [1010.0, 1011.0]


async def test_the_outcome_stands_in_the_counters() -> None:
    """An answer is noted with its time, latency and score; it shows that the key is good."""
    watch = Watch()
    watch.quotes.open.clear()
    watch.clock.advance(66)
    asking = asyncio.create_task(watch.probe.ask_due())
    await watch.quotes.waiting.wait()
    watch.clock.advance(0.25)
    watch.quotes.open.set()
    await asking

    assert watch.group(LATEST).probe == ProbeCounts(
        time=NOW + 66_000_000_000,
        reason=None,
        latency=0.25,
        key_valid=True,
        symbol="AAPL",
        # The quote was 66.25 s old by then, and the market open.
        quality_score=64,
    )
    assert watch.group(CLOCK).probe == ProbeCounts(
        time=watch.clock.wall(), reason=None, latency=0.0, key_valid=True
    )


async def test_a_quote_that_nobody_stamped_is_as_good_as_a_young_one() -> None:
    """Without an event time there is no age that could cost points."""
    watch = Watch()
    watch.quotes.values["AAPL"] = quote("AAPL", at=None)
    assert (await watch.outcome(LATEST)).quality_score == 100


@pytest.mark.parametrize(
    ("reason", "key_valid"),
    [
        (Reason.NO_DATA, True),
        (Reason.SYMBOL_UNKNOWN, True),
        (Reason.NOT_ENTITLED, True),
        (Reason.UPSTREAM_UNAUTHENTICATED, False),
        (Reason.UPSTREAM_ERROR, None),
        (Reason.UPSTREAM_TIMEOUT, None),
        (Reason.UPSTREAM_RATE_LIMITED, None),
        (Reason.INVALID_DATA, None),
        (Reason.CIRCUIT_OPEN, None),
        (Reason.BUDGET_EXHAUSTED, None),
    ],
)
async def test_a_failure_is_noted_with_its_reason(reason: Reason, key_valid: bool | None) -> None:
    """A failed question has a reason and no latency, and says of the key what the upstream has shown of it."""
    watch = Watch()
    watch.quotes.outage = unavailable(reason)
    probe = await watch.outcome(LATEST)
    assert (probe.reason, probe.latency, probe.quality_score) == (reason.name, None, None)
    assert probe.key_valid is key_valid


async def test_a_failing_group_does_not_keep_the_others_from_being_asked() -> None:
    """Whatever one group does, expected or not, the next is asked, and all are asked again later."""
    watch = Watch()
    watch.quotes.values["AAPL"] = "no quote"  # type: ignore[assignment]  # what nobody expects is the point
    watch.reference.failure = KeyRefused("answered 401")
    watch.clock.advance(66)
    await watch.probe.ask_due()
    watch.quotes.values["AAPL"] = quote("AAPL")
    watch.reference.failure = None
    first = watch.group(CODES).probe, watch.group(LATEST).probe
    watch.clock.advance(66)
    await watch.probe.ask_due()

    assert first[0] is not None
    assert first[0].key_valid is False
    assert first[1] is None
    for name in (LATEST, CODES, CLOCK):
        probe = watch.group(name).probe
        assert probe is not None
        assert probe.reason is None


async def test_groups_are_asked_one_after_the_other() -> None:
    """The second question waits for the first: while one tries an open circuit, another would only be refused."""
    watch = Watch()
    watch.quotes.open.clear()
    watch.clock.advance(66)
    asking = asyncio.create_task(watch.probe.ask_due())
    await watch.quotes.waiting.wait()
    asked_meanwhile = list(watch.reference.asked)
    watch.quotes.open.set()
    await asking

    assert asked_meanwhile == []
    assert watch.reference.asked == ["codes exchange", "clock"]


async def test_a_refused_question_is_not_repeated_at_once() -> None:
    """A question that an open circuit refuses is no traffic, and still puts the next one off for the idle time."""
    watch = Watch()
    watch.reference.failure = CircuitOpen("left alone", retry_delay=1.0)
    await watch.outcome(CLOCK)
    assert watch.due() == []
    watch.clock.advance(66)
    assert CLOCK in watch.due()


async def test_an_answered_question_closes_a_circuit_that_nobody_tries() -> None:
    """An upstream that came back while nobody asked is found out by the probe."""
    clock, counters = HandClock(), Counters()
    requests = FakeRequests(clock)
    requests.bodies["/v2/stocks/meta/exchanges"] = b'{"V":"IEX"}'
    breakers = Breakers(EAGER, clock, counters.upstream)
    guarded = BreakerRequests(CountedRequests(requests, counters.upstream, clock), breakers)
    source = AlpacaReference(guarded, {Upstream.DATA: DataSource.SANDBOX}, gate(clock))
    probe = Probe([codes_inquiry(source)], counters.upstream, clock, idle=60.0, patience=10.0)
    requests.failure = UpstreamBroken("answered 500")
    with pytest.raises(UpstreamBroken):
        await source.codes(CodeKind.EXCHANGE, "", clock.monotonic() + 10)
    states = [counters.upstream(*CODES).circuit.state]
    requests.failure = None
    clock.advance(66)
    await probe.ask_due()
    states.append(counters.upstream(*CODES).circuit.state)

    assert states == ["open", "closed"]
    assert len(requests.sent) == 2


async def test_the_job_waits_for_the_next_group() -> None:
    """The job sleeps until the first group may be due, asks it, and goes on until it is cancelled."""
    watch = Watch()
    watch.clock.advance(40)
    watch.traffic(LATEST)
    job = asyncio.create_task(watch.probe.run())
    await asyncio.wait_for(watch.enough.wait(), 10)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)

    assert job.cancelled()
    assert watch.pauses == pytest.approx([26.0, 40.0, 26.0, 40.0])
    assert len(watch.quotes.asked) == 1
    assert watch.reference.asked == ["codes exchange", "clock"] * 2


async def test_the_job_does_not_spin_behind_a_slow_answer() -> None:
    """While a due group waits for somebody's answer, the job looks again only now and then."""
    watch = Watch()
    for name in (LATEST, CODES, CLOCK):
        watch.group(name).in_flight = 1
    job = asyncio.create_task(watch.probe.run())
    await asyncio.wait_for(watch.enough.wait(), 10)
    job.cancel()

    assert watch.pauses == pytest.approx([66.0, 6.0, 6.0, 6.0])
    assert watch.quotes.asked == []


async def test_cancelling_the_job_calls_its_question_back() -> None:
    """A gateway that stops does not wait for the answer to its own question."""
    watch = Watch()
    watch.quotes.open.clear()
    job = asyncio.create_task(watch.probe.run())
    await settle(lambda: bool(watch.quotes.asked))
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)

    assert job.cancelled()
    assert watch.group(LATEST).probe is None


async def test_an_idle_time_of_zero_never_asks() -> None:
    """Where the probe is turned off, the job ends at once and nothing is asked."""
    watch = Watch(idle=0.0)
    await watch.probe.run()
    assert watch.pauses == []
    assert watch.quotes.asked == []


async def test_only_changes_are_logged() -> None:
    """A group that begins to fail, or answers again, is news; one that goes on as before is none."""
    watch = Watch()
    with capture_logs() as lines:
        await watch.outcome(CLOCK)
        watch.quotes.outage = unavailable(Reason.UPSTREAM_ERROR)
        await watch.outcome(CLOCK)
        await watch.outcome(CLOCK)
        watch.quotes.outage = None
        await watch.outcome(CLOCK)

    assert [(line["event"], line["group"], line["reason"]) for line in lines] == [
        ("probe_changed", "latest", "UPSTREAM_ERROR"),
        ("probe_changed", "latest", None),
    ]
