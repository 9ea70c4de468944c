"""Circuit breakers: what fails is left alone, and one request tries whether it is back."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from tickgate_server.errors import (
    BudgetExhausted,
    CircuitOpen,
    Crowded,
    KeyRefused,
    NotEntitled,
    RateLimited,
    UnexpectedStatus,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tickgate_server.guards.breaker import (
    Breaker,
    BreakerPolicy,
    BreakerRequests,
    Breakers,
    RecheckedRequests,
)
from tickgate_server.guards.bulkhead import BulkheadRequests
from tickgate_server.guards.counted import CountedRequests
from tickgate_server.guards.flights import TIME_IS_UP
from tickgate_server.market.unavailable import Reason
from tickgate_server.observe.counters import CircuitCounts, Counters
from tickgate_server.ports import Group, Request, Requests, Upstream

from ...support.fakes import NOW, HandClock, settle
from ...support.requests import StagedRequests, Step, request

POLICY = BreakerPolicy(
    streak=3,
    rate=0.5,
    window=10,
    cool_down=1.0,
    growth=2.0,
    cool_down_most=6.0,
    key_cool_down_most=60.0,
    jitter=0.0,
)
BROKEN = UpstreamBroken("answered 500")
WRONG_KEY = KeyRefused("answered 401")
NEVER_BY_RATE = replace(POLICY, window=10_000)


# ------------------------------------------------------------------------ the state machine


class Machine:
    """A breaker, its clock, and what was drawn by lot."""

    def __init__(self, policy: BreakerPolicy = POLICY, lot: float = 0.5) -> None:
        self.clock = HandClock()
        self.breaker = Breaker("group", policy, self.clock, chance=lambda: lot)

    @property
    def state(self) -> str:
        """Its state now."""
        return self.breaker.state

    def ask(self, outcomes: str) -> None:
        """Let a request for each letter pass: s(ucceeds), f(ails)."""
        for outcome in outcomes:
            assert self.breaker.delay() is None
            permit = self.breaker.enter()
            if outcome == "s":
                self.breaker.succeed(permit)
            else:
                self.breaker.fail(permit, Reason.UPSTREAM_ERROR)

    def cool_downs(self, count: int) -> list[float]:
        """Open it, fail *count* - 1 tries, and return all cool-downs."""
        self.ask("f" * POLICY.streak)
        seen = []
        for left in reversed(range(count)):
            delay = self.breaker.delay()
            assert delay is not None
            seen.append(delay)
            self.clock.advance(delay)
            if left:
                self.ask("f")
        return seen


def test_a_streak_of_failures_opens() -> None:
    """So many failures in a row open the circuit; a success in between starts the count again."""
    machine = Machine(NEVER_BY_RATE)
    machine.ask("ffsffsff")
    assert machine.state == "closed"
    machine.ask("f")
    assert (machine.state, machine.breaker.reason) == ("open", Reason.UPSTREAM_ERROR)
    assert machine.breaker.delay() == 1.0


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("fsfsfsfsf", "closed"),  # not as many as are judged
        ("fsfsfsfsfs", "closed"),  # a success never opens, though half have failed
        ("sfsfsfsfsf", "open"),
        ("ssssssfsff" + "sff", "open"),  # the oldest are forgotten
        ("ssssfsfsfs" + "ssssss", "closed"),
    ],
)
def test_a_rate_of_failures_opens(outcomes: str, state: str) -> None:
    """A share of failures among the last so many opens the circuit, and is not judged before there are as many."""
    machine = Machine()
    machine.ask(outcomes)
    assert machine.state == state


def test_one_try_after_the_cool_down() -> None:
    """After the cool-down one request passes, and all others are refused until it is known what became of it."""
    machine = Machine()
    machine.ask("fff")
    machine.clock.advance(0.75)
    assert machine.breaker.delay() == 0.25
    machine.clock.advance(0.25)
    assert machine.breaker.delay() is None
    permit = machine.breaker.enter()
    assert machine.state == "half_open"
    assert machine.breaker.delay() == 1.0
    machine.breaker.succeed(permit)
    assert (machine.state, machine.breaker.reason) == ("closed", None)
    assert machine.breaker.delay() is None


def test_failed_tries_lengthen_the_cool_down() -> None:
    """Each failed try makes the cool-down longer, up to the longest; a success makes it short again."""
    machine = Machine()
    assert machine.cool_downs(5) == [1.0, 2.0, 4.0, 6.0, 6.0]
    assert machine.breaker.opened == 5
    machine.ask("s")
    assert machine.cool_downs(2) == [1.0, 2.0]


@pytest.mark.parametrize(("lot", "cool_downs"), [(0.0, [0.8, 1.6, 3.2]), (0.5, [1.0, 2.0, 4.0])])
def test_the_cool_down_is_drawn_by_lot(lot: float, cool_downs: list[float]) -> None:
    """A cool-down is shorter or longer by lot, so that replicas do not try together."""
    assert Machine(replace(POLICY, jitter=0.2), lot).cool_downs(3) == pytest.approx(cool_downs)


def test_no_lot_makes_a_cool_down_longer_than_the_longest() -> None:
    """The longest cool-down includes the jitter."""
    longest = Machine(replace(POLICY, jitter=0.2), lot=0.999999).cool_downs(9)[-1]
    assert longest == pytest.approx(6.0, abs=1e-4)
    assert longest <= 6.0


def test_an_outage_of_a_year_does_not_overflow() -> None:
    """However often a try fails, the next cool-down is a number."""
    machine = Machine(replace(POLICY, growth=10.0))
    assert machine.cool_downs(2000)[-1] == 6.0


def test_nothing_learned_gives_the_try_back() -> None:
    """A try that was cancelled or refused on our side says nothing: the next request may try at once."""
    machine = Machine()
    machine.ask("fff")
    machine.clock.advance(1.0)
    machine.breaker.release(machine.breaker.enter())
    assert (machine.state, machine.breaker.delay()) == ("open", None)
    machine.ask("s")
    assert machine.state == "closed"


def test_a_permit_counts_once() -> None:
    """What is given back a second time changes nothing, not even for the try that follows."""
    machine = Machine()
    machine.ask("fff")
    machine.clock.advance(1.0)
    first = machine.breaker.enter()
    machine.breaker.release(first)
    second = machine.breaker.enter()
    machine.breaker.succeed(first)
    machine.breaker.answer(first)
    machine.breaker.fail(first, Reason.UPSTREAM_ERROR)
    machine.breaker.release(first)
    assert machine.state == "half_open"
    machine.breaker.succeed(second)
    assert machine.state == "closed"


@pytest.mark.parametrize("late", ["s", "f"])
def test_late_outcomes_do_not_count(late: str) -> None:
    """What was sent before a circuit opened neither closes it nor counts once it is closed again."""
    machine = Machine()
    old = [machine.breaker.enter() for _ in range(10)]

    def come_back() -> None:
        if late == "s":
            machine.breaker.succeed(old.pop())
        else:
            machine.breaker.fail(old.pop(), Reason.UPSTREAM_ERROR)

    machine.ask("fff")
    come_back()
    assert (machine.state, machine.breaker.delay()) == ("open", 1.0)
    machine.clock.advance(1.0)
    permit = machine.breaker.enter()
    come_back()
    assert machine.state == "half_open"
    machine.breaker.succeed(permit)
    for _ in range(8):
        come_back()
    assert machine.state == "closed"


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["enter", "succeed", "answer", "fail", "release", "wait"]),
            st.integers(0, 5),
        ),
        max_size=80,
    )
)
def test_at_most_one_request_tries(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order, an open circuit lets one request pass at a time, and lets one pass again."""
    machine = Machine()
    breaker, permits = machine.breaker, [machine.breaker.enter() for _ in range(6)]
    trying: set[int] = set()
    for step, which in steps:
        if step == "wait":
            machine.clock.advance(0.5)
        elif step == "enter":
            if breaker.delay() is None:
                permits.append(breaker.enter())
                if breaker.state == "half_open":
                    trying.add(permits[-1])
        elif permits:
            permit = permits.pop(which % len(permits))
            trying.discard(permit)
            if step == "fail":
                breaker.fail(permit, Reason.UPSTREAM_ERROR)
            else:
                getattr(breaker, step)(permit)
        assert len(trying) <= 1
        assert (breaker.state == "half_open") == bool(trying)
        assert (breaker.state == "closed") == (breaker.retry_at is None) == (breaker.reason is None)
    for permit in permits:
        breaker.release(permit)
    machine.clock.advance(POLICY.cool_down_most)
    assert breaker.delay() is None


def test_each_change_is_one_line_of_the_log() -> None:
    """Opening names reason and cool-down; trying and closing are events too."""
    machine = Machine()
    with capture_logs() as lines:
        machine.ask("fff")
        machine.clock.advance(1.0)
        machine.ask("s")
    assert lines == [
        {
            "event": "circuit_opened",
            "log_level": "warning",
            "circuit": "group",
            "reason": "UPSTREAM_ERROR",
            "cool_down": 1.0,
        },
        {"event": "circuit_half_open", "log_level": "debug", "circuit": "group"},
        {"event": "circuit_closed", "log_level": "info", "circuit": "group"},
    ]


# ------------------------------------------------------------------------------- requests


class Setup:
    """Requests behind breakers, counted, to a staged upstream."""

    def __init__(self, *script: Step) -> None:
        self.clock = HandClock()
        self.upstream = StagedRequests(self.clock, script)
        self.counters = Counters()
        self.breakers = Breakers(POLICY, self.clock, self.counters.upstream)
        counted = CountedRequests(self.upstream, self.counters.upstream, self.clock)
        self.requests = BreakerRequests(counted, self.breakers)

    def circuit(
        self, upstream: Upstream = Upstream.DATA, group: Group = Group.LATEST
    ) -> CircuitCounts:
        """What the counters show."""
        return self.counters.upstream(upstream.value, group.value).circuit

    async def ask(self, *requests: Request) -> list[UpstreamFailure | None]:
        """Send each of *requests*, or one, one after the other, and return how they failed."""
        outcomes: list[UpstreamFailure | None] = []
        for sent in requests or (request(),):
            try:
                await self.requests.send(sent)
            except UpstreamFailure as failure:
                outcomes.append(failure)
            else:
                outcomes.append(None)
        return outcomes

    async def fail(self, *failures: Step, seconds: float = 0.0) -> None:
        """Send as many requests, which end so after *seconds*."""
        self.upstream.script[:] = failures
        self.upstream.seconds = seconds
        await self.ask(*(request() for _ in failures))
        self.upstream.seconds = 0.0

    async def under_way(self, count: int) -> None:
        """Wait until the upstream holds *count* requests, those that have ended among them."""
        await settle(lambda: len(self.upstream.under_way) == count)

    async def open(self, failure: UpstreamFailure = BROKEN) -> None:
        """Open the circuit of latest values, or of the key."""
        await self.fail(*[failure] * POLICY.streak)
        assert self.circuit().state == "open"


FAILURES = {
    "500": BROKEN,
    "418": UnexpectedStatus("answered 418"),
    "reset": UpstreamUnreachable("broke off"),
}
NO_FAILURES = {
    "answer": None,
    "400": UpstreamRejected("answered 400", said="no"),
    "403": NotEntitled("answered 403"),
    "429": RateLimited("answered 429", retry_delay=1.0),
    "budget": BudgetExhausted("spent"),
    "crowd": Crowded("no place"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_what_opens_a_circuit(failure: UpstreamFailure) -> None:
    """Statuses of failure and broken connections open it, each for its own reason; nobody is asked after that."""
    setup = Setup()
    await setup.fail(*[failure] * 3)
    (refusal,) = await setup.ask()
    assert isinstance(refusal, CircuitOpen)
    assert refusal.retry_delay == 1.0
    assert "alpaca.data latest" in refusal.message
    assert len(setup.upstream.sent) == 3
    shown = setup.circuit()
    assert (shown.state, shown.reason) == ("open", failure.reason.name)
    assert (shown.changed_time, shown.retry_at, shown.opened, shown.refused) == (NOW, 1001.0, 1, 1)


@pytest.mark.parametrize("failure", NO_FAILURES.values(), ids=NO_FAILURES.keys())
async def test_what_does_not_open_a_circuit(failure: Step) -> None:
    """A no to the question, a 429 and what we refused ourselves never open it, however often."""
    setup = Setup()
    await setup.fail(*[failure] * 50, seconds=0.3)
    assert setup.circuit().state == "closed"


@pytest.mark.parametrize("failure", NO_FAILURES.values(), ids=NO_FAILURES.keys())
async def test_what_proves_that_the_upstream_works(failure: Step) -> None:
    """An answer and a no to the question end a row of failures; a 429 and what was never sent do not."""
    setup = Setup()
    await setup.fail(BROKEN, BROKEN, failure, BROKEN)
    works = failure is None or isinstance(failure, UpstreamRejected | NotEntitled)
    assert setup.circuit().state == ("closed" if works else "open")


@pytest.mark.parametrize(("seconds", "state"), [(0.19, "closed"), (0.21, "open")])
async def test_a_timeout_counts_if_the_upstream_had_its_time(seconds: float, state: str) -> None:
    """A deadline that passes counts if a fifth of a second went to the upstream: less says nothing about it."""
    setup = Setup()
    await setup.fail(*[UpstreamTimeout("late")] * 3, seconds=seconds)
    assert setup.circuit().state == state


@pytest.mark.parametrize(
    ("message", "seconds", "state"),
    [(TIME_IS_UP, 0.21, "open"), (TIME_IS_UP, 0.19, "closed"), (None, 5.0, "closed")],
)
async def test_a_call_back_counts_if_time_was_up(
    message: str | None, seconds: float, state: str
) -> None:
    """Callers who waited in vain for long enough count as timeouts; callers who went away do not."""
    setup = Setup()
    setup.upstream.held = True
    for number in range(3):
        sending = asyncio.ensure_future(setup.requests.send(request()))
        await setup.under_way(number + 1)
        setup.clock.advance(seconds)
        sending.cancel(message)
        await asyncio.wait([sending])
        assert sending.cancelled()
    assert setup.circuit().state == state
    assert setup.circuit().reason == ("UPSTREAM_TIMEOUT" if state == "open" else None)


async def test_time_that_is_up_during_a_repetition_counts_as_what_it_was_to_repair() -> None:
    """A question that is called back after a failure counts as that failure, however quickly it came."""
    setup = Setup()

    class Repeating:
        async def send(self, _: Request) -> None:
            raise asyncio.CancelledError(TIME_IS_UP) from BROKEN

    requests = BreakerRequests(Repeating(), setup.breakers)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            await requests.send(request())
    assert setup.circuit().reason == "UPSTREAM_ERROR"


async def test_waiting_elsewhere_is_not_waiting_for_the_upstream() -> None:
    """Only the seconds on the wire during this very request make its timeout count."""
    setup = Setup()
    patient = request()
    patient.effort.on_wire = 10.0
    setup.upstream.script = [UpstreamTimeout("late")] * 9
    setup.upstream.seconds = 0.1
    await setup.ask(*[patient] * 9)
    assert setup.circuit().state == "closed"


async def test_one_group_does_not_harm_another() -> None:
    """A circuit is of one group of endpoints of one upstream; the others are asked as before."""
    setup = Setup()
    await setup.open()
    reference = request(group=Group.REFERENCE)
    assert await setup.ask(reference, request(upstream=Upstream.TRADING)) == [None, None]
    assert not setup.breakers.closed(Upstream.DATA, Group.LATEST)
    assert setup.breakers.closed(Upstream.DATA, Group.REFERENCE)


async def test_all_but_the_try_are_refused_at_once() -> None:
    """Of many who ask after the cool-down exactly one reaches the upstream, and nobody waits for it to come back."""
    setup = Setup()
    await setup.open()
    setup.clock.advance(1.0)
    setup.upstream.held = True
    trying = asyncio.ensure_future(setup.requests.send(request()))
    await setup.under_way(1)
    outcomes = await setup.ask(*[request() for _ in range(100)])
    assert {type(outcome) for outcome in outcomes} == {CircuitOpen}
    assert {outcome.retry_delay for outcome in outcomes if outcome} == {1.0}
    assert (setup.circuit().state, setup.circuit().refused) == ("half_open", 100)
    setup.upstream.end(0)
    await trying
    assert len(setup.upstream.under_way) == 1
    assert (setup.circuit().state, setup.circuit().reason) == ("closed", None)
    assert setup.circuit().retry_at is None


async def test_asking_whether_it_would_pass_takes_nobodys_turn() -> None:
    """`refusal` tells what would happen, before and after the cool-down, and leaves the try to who sends."""
    setup = Setup()
    await setup.open()
    circuit = setup.breakers.circuit(Upstream.DATA, Group.LATEST)
    refusals = [circuit.refusal() for _ in range(2)]
    assert all(isinstance(refusal, CircuitOpen) for refusal in refusals)
    assert refusals[0] is not refusals[1]
    assert setup.circuit().refused == 2
    setup.clock.advance(1.0)
    for _ in range(3):
        assert circuit.refusal() is None
    assert await setup.ask() == [None]


@pytest.mark.parametrize("step", [BROKEN, UpstreamUnreachable("broke off")])
async def test_a_failed_try_opens_again_for_longer(step: UpstreamFailure) -> None:
    """A try that fails opens the circuit for twice as long, and says so."""
    setup = Setup()
    await setup.open()
    setup.clock.advance(1.0)
    await setup.fail(step)
    (refusal,) = await setup.ask()
    assert refusal is not None
    assert refusal.retry_delay == 2.0
    assert setup.circuit().opened == 2
    assert setup.circuit().changed_time == NOW + 1_000_000_000


async def test_a_429_closes_an_open_circuit() -> None:
    """A try that is answered 429 closes the circuit: the upstream is there, and says itself when to come back."""
    setup = Setup()
    await setup.open()
    setup.clock.advance(1.0)
    await setup.fail(RateLimited("answered 429"))
    assert setup.circuit().state == "closed"


@pytest.mark.parametrize(
    "step", [BudgetExhausted("spent"), Crowded("no place"), UpstreamTimeout("in a hurry")]
)
async def test_a_try_that_shows_nothing_is_followed_by_the_next(step: UpstreamFailure) -> None:
    """A try that was not sent, or had no time, leaves the circuit as it was, and the next request may try."""
    setup = Setup()
    await setup.open()
    setup.clock.advance(1.0)
    await setup.fail(step)
    assert (setup.circuit().state, setup.circuit().opened) == ("open", 1)
    assert await setup.ask() == [None]
    assert setup.circuit().state == "closed"


async def test_a_cancelled_try_is_followed_by_the_next() -> None:
    """When the one who tries goes away, the next request may try at once."""
    setup = Setup()
    await setup.open()
    setup.clock.advance(1.0)
    setup.upstream.held = True
    trying = asyncio.ensure_future(setup.requests.send(request()))
    await setup.under_way(1)
    trying.cancel()
    await asyncio.wait([trying])
    setup.upstream.held = False
    assert await setup.ask() == [None]


async def test_a_fault_of_ours_keeps_no_try() -> None:
    """An exception that nobody foresaw passes, shows nothing of the upstream, and gives the try back."""
    setup = Setup()
    await setup.open()
    setup.clock.advance(1.0)

    class Faulty:
        async def send(self, _: Request) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await BreakerRequests(Faulty(), setup.breakers).send(request())  # type: ignore[arg-type]
    assert await setup.ask() == [None]


async def test_thousands_under_way_when_it_opens() -> None:
    """Requests that were under way when a circuit opened end as they do, and count for nothing when they come late."""
    setup = Setup()
    setup.upstream.held = True
    sending = [asyncio.ensure_future(setup.requests.send(request())) for _ in range(5000)]
    await setup.under_way(5000)
    for number in range(2500):
        setup.upstream.end(number, UpstreamBroken("answered 500"))
    for number in range(2500, 5000):
        setup.upstream.end(number)
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert sum(isinstance(outcome, UpstreamBroken) for outcome in outcomes) == 2500
    shown = setup.circuit()
    assert (shown.state, shown.opened, shown.retry_at) == ("open", 1, 1001.0)


# ------------------------------------------------------------------------------------ key


async def test_a_refused_key_latches_the_whole_upstream() -> None:
    """One 401 is enough: every group of that upstream is refused for that reason, and no other upstream is."""
    setup = Setup()
    await setup.ask(request(group=Group.REFERENCE), request(upstream=Upstream.TRADING))
    await setup.fail(WRONG_KEY)
    outcomes = await setup.ask(request(), request(group=Group.REFERENCE))
    assert [type(outcome) for outcome in outcomes] == [KeyRefused, KeyRefused]
    assert [outcome.retry_delay for outcome in outcomes if outcome] == [1.0, 1.0]
    assert await setup.ask(request(upstream=Upstream.TRADING)) == [None]
    for group in (Group.LATEST, Group.REFERENCE):
        shown = setup.circuit(group=group)
        assert (shown.state, shown.reason, shown.refused) == ("open", "UPSTREAM_UNAUTHENTICATED", 1)
    assert setup.circuit(Upstream.TRADING).state == "closed"


async def test_a_group_that_is_asked_for_the_first_time_is_latched_too() -> None:
    """A group nobody has asked yet is refused and shown as the others of its upstream are."""
    setup = Setup()
    await setup.fail(WRONG_KEY)
    (refusal,) = await setup.ask(request(group=Group.REFERENCE))
    assert isinstance(refusal, KeyRefused)
    assert setup.circuit(group=Group.REFERENCE).reason == "UPSTREAM_UNAUTHENTICATED"


async def test_a_wrong_key_is_tried_once_a_minute_at_last() -> None:
    """The key is tried again soon at first, and never more often than once a minute at last."""
    setup = Setup()
    await setup.fail(WRONG_KEY)
    delays: list[float | None] = []
    for _ in range(9):
        (refusal,) = await setup.ask()
        assert isinstance(refusal, KeyRefused)
        assert refusal.retry_delay is not None
        delays.append(refusal.retry_delay)
        setup.clock.advance(refusal.retry_delay)
        await setup.fail(WRONG_KEY)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert len(setup.upstream.sent) == 10


@pytest.mark.parametrize(
    "step", [None, UpstreamRejected("answered 400", said="no"), RateLimited("answered 429")]
)
async def test_any_answer_shows_that_the_key_is_good(step: Step) -> None:
    """When any group gets an answer, the key is good again for all."""
    setup = Setup()
    await setup.fail(WRONG_KEY)
    setup.clock.advance(1.0)
    setup.upstream.script = [step]
    await setup.ask(request(group=Group.REFERENCE))
    assert setup.circuit().state == "closed"
    assert await setup.ask() == [None]


async def test_an_outage_says_nothing_about_the_key() -> None:
    """A try of the key that meets an outage is repeated by the next request, until the group's own circuit opens."""
    setup = Setup()
    await setup.fail(WRONG_KEY)
    setup.clock.advance(1.0)
    await setup.fail(BROKEN, BROKEN, BROKEN)
    (refusal,) = await setup.ask()
    assert isinstance(refusal, CircuitOpen)
    assert setup.circuit().reason == "UPSTREAM_UNAUTHENTICATED"
    setup.clock.advance(1.0)
    assert await setup.ask() == [None]
    assert setup.circuit().state == "closed"


async def test_a_refused_key_is_no_failure_of_a_group() -> None:
    """A try of a group that meets a wrong key leaves the group's circuit as it was; the key's opens."""
    setup = Setup()
    await setup.open()
    setup.clock.advance(1.0)
    await setup.fail(WRONG_KEY)
    (refusal,) = await setup.ask()
    assert isinstance(refusal, KeyRefused)
    setup.clock.advance(1.0)
    assert await setup.ask() == [None]
    assert setup.circuit().opened == 2


async def test_refusals_keep_no_traceback() -> None:
    """Refusing for hours holds on to nothing: each refusal is an exception of its own."""
    setup = Setup()
    await setup.open()
    first, second = await setup.ask(request(), request())
    assert first is not second
    assert first is not None
    assert first.__traceback__ is not None
    assert first.__context__ is None


# ----------------------------------------------------------------------- behind all that waits


def behind_a_queue(setup: Setup) -> Requests:
    """The requests of *setup* with a single place, and a second look behind it."""
    rechecked = RecheckedRequests(setup.upstream, setup.breakers)
    queue = BulkheadRequests(rechecked, 1, setup.counters.upstream, setup.clock)
    return BreakerRequests(queue, setup.breakers)


@pytest.mark.parametrize(
    ("seconds", "delay"), [(0.0, 1.0), (2.0, 0.0)], ids=["cooling", "cooled-down"]
)
async def test_who_waited_is_refused_once_the_circuit_is_open(seconds: float, delay: float) -> None:
    """A request that has waited for its place while the circuit opened goes nowhere, even if a try would be due."""
    setup = Setup()
    requests = behind_a_queue(setup)
    setup.upstream.held = True
    going = asyncio.ensure_future(requests.send(request()))
    waiting = asyncio.ensure_future(requests.send(request()))
    await setup.under_way(1)
    setup.upstream.held = False
    await setup.open()
    setup.clock.advance(seconds)
    setup.upstream.end(0)
    await going
    with pytest.raises(CircuitOpen) as refused:
        await waiting
    assert refused.value.retry_delay == delay


async def test_the_try_passes_the_second_look() -> None:
    """The one request that tries whether an upstream is back is not taken for one that has waited."""
    setup = Setup()
    requests = behind_a_queue(setup)
    await setup.open()
    setup.clock.advance(1.0)
    await requests.send(request())
    assert setup.circuit().state == "closed"


async def test_who_waited_while_the_key_was_refused() -> None:
    """A request that has waited while the key was found to be wrong is refused for that, in whatever group it is."""
    setup = Setup()
    requests = behind_a_queue(setup)
    setup.upstream.held = True
    going = asyncio.ensure_future(requests.send(request()))
    waiting = asyncio.ensure_future(requests.send(request(group=Group.REFERENCE)))
    await setup.under_way(1)
    setup.upstream.end(0, WRONG_KEY)
    outcomes = await asyncio.gather(going, waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [KeyRefused, KeyRefused]
    assert len(setup.upstream.sent) == 1
