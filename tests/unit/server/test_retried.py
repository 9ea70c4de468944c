"""Requests are repeated after a failure that may pass, and only as long as it makes sense."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

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
from tickgate_server.guards.breaker import BreakerPolicy, BreakerRequests, Breakers
from tickgate_server.guards.flights import TIME_IS_UP
from tickgate_server.guards.retried import RetriedRequests, RetryPolicy
from tickgate_server.observe.counters import Counters
from tickgate_server.ports import Group, Reply, Upstream

from ...support.fakes import HandClock, settle
from ...support.requests import StagedRequests, Step, request

POLICY = RetryPolicy(most=2, wait_initial=0.5, wait_most=4.0)
BROKEN = UpstreamBroken("answered 500")


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Let stamina repeat without its pauses."""
    with stamina.set_testing(True, attempts=1000):
        yield


class Setup:
    """Retried requests to a staged upstream."""

    def __init__(self, *script: Step, policy: RetryPolicy = POLICY, lot: float = 0.0) -> None:
        self.clock = HandClock()
        self.upstream = StagedRequests(self.clock, script)
        self.counters = Counters()
        self.may_repeat = True
        self.retried = RetriedRequests(
            self.upstream,
            policy,
            self.clock,
            self.counters.upstream,
            self._may_repeat,
            chance=lambda: lot,
        )

    def _may_repeat(self, upstream: Upstream, group: Group) -> bool:
        assert (upstream, group) == (Upstream.DATA, Group.LATEST)
        return self.may_repeat

    async def failure(self, deadline: float = 1010.0) -> UpstreamFailure:
        """What a request fails with."""
        with pytest.raises(UpstreamFailure) as caught:
            await self.retried.send(request(deadline=deadline))
        return caught.value

    @property
    def retries(self) -> int:
        """Repetitions counted."""
        return self.counters.upstream("alpaca.data", "latest").retries


PASSING = {
    "429": RateLimited("answered 429"),
    "429 with a delay": RateLimited("answered 429", retry_delay=1.0),
    "500": BROKEN,
    "reset": UpstreamUnreachable("broke off"),
}
LASTING = {
    "418": UnexpectedStatus("answered 418"),
    "400": UpstreamRejected("answered 400", said="no"),
    "401": KeyRefused("answered 401"),
    "403": NotEntitled("answered 403"),
    "timeout": UpstreamTimeout("late"),
    "crowd": Crowded("no place"),
    "budget": BudgetExhausted("spent"),
    "circuit": CircuitOpen("left alone"),
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING.keys())
async def test_what_may_pass_is_repeated(failure: UpstreamFailure) -> None:
    """After 429, 5xx and a connection that broke the request is sent again, and the answer is what the caller gets."""
    setup = Setup(failure, failure)
    reply = await setup.retried.send(request())
    assert reply.request_id == "up-3"
    assert setup.retries == 2


@pytest.mark.parametrize("failure", LASTING.values(), ids=LASTING.keys())
async def test_what_lasts_is_not_repeated(failure: UpstreamFailure) -> None:
    """A no, a timeout and what was never sent go out at once, as they are."""
    setup = Setup(failure)
    assert await setup.failure() is failure
    assert (len(setup.upstream.sent), setup.retries) == (1, 0)


async def test_the_last_failure_goes_out() -> None:
    """When nothing helped, the caller gets the last failure."""
    last = UpstreamUnreachable("broke off")
    setup = Setup(BROKEN, BROKEN, last, None)
    assert await setup.failure() is last
    assert (len(setup.upstream.sent), setup.retries) == (3, 2)


async def test_one_budget_for_a_question() -> None:
    """All requests of a question share its repetitions, whichever of them needs them."""
    setup = Setup(BROKEN, None, BROKEN, None, BROKEN)
    question = request()
    for _ in range(2):
        await setup.retried.send(question)
    with pytest.raises(UpstreamBroken):
        await setup.retried.send(question)
    assert (question.effort.retries, setup.retries) == (2, 2)


async def test_repetitions_can_be_switched_off() -> None:
    """With none allowed every failure goes out at once."""
    setup = Setup(BROKEN, policy=RetryPolicy(most=0, wait_initial=0.5, wait_most=4.0))
    assert await setup.failure() is BROKEN
    assert len(setup.upstream.sent) == 1


@pytest.mark.parametrize(("deadline", "sent"), [(1000.5, 1), (1000.501, 2), (1001.6, 3)])
async def test_no_pause_outlives_the_deadline(deadline: float, sent: int) -> None:
    """A pause that would end at the deadline or later is not begun: the failure goes out at once."""
    setup = Setup(*[BROKEN] * 3, lot=1.0)
    assert await setup.failure(deadline) is BROKEN
    assert len(setup.upstream.sent) == sent


@pytest.mark.parametrize(("deadline", "sent"), [(1004.0, 1), (1004.001, 2)])
async def test_a_pause_that_the_upstream_names_is_kept(deadline: float, sent: int) -> None:
    """The upstream is not asked again before it wants to be; if that is too late, not at all."""
    setup = Setup(RateLimited("answered 429", retry_delay=4.0), UpstreamTimeout("late"))
    failure = await setup.failure(deadline)
    assert failure.retry_delay == 4.0
    assert len(setup.upstream.sent) == sent


async def test_pauses_really_pass() -> None:
    """The upstream is left alone for as long as it asked for."""
    setup = Setup(RateLimited("answered 429", retry_delay=0.02))
    with stamina.set_testing(False):
        before = time.monotonic()
        await setup.retried.send(request())
        assert time.monotonic() - before >= 0.019


@given(
    repeated=st.integers(0, 900),
    lot=st.floats(0, 1, exclude_max=True),
    initial=st.floats(0.001, 10),
    most=st.floats(0.001, 100),
)
def test_pauses_are_drawn_from_nothing_to_a_bound_that_doubles(
    repeated: int, lot: float, initial: float, most: float
) -> None:
    """A pause is any part of its bound, which doubles each time until it is the longest."""
    policy = RetryPolicy(most=2, wait_initial=initial, wait_most=most)
    assert 0 <= policy.pause(repeated, lot) <= most
    assert policy.pause(0, lot) == lot * min(initial, most)
    assert policy.pause(repeated, 1.0) <= policy.pause(repeated + 1, 1.0)
    assert policy.pause(repeated + 1, 1.0) <= 2 * policy.pause(repeated, 1.0)


@pytest.mark.parametrize("after", [UpstreamTimeout("late"), Crowded("no place"), BudgetExhausted("spent")])  # fmt: skip
async def test_a_repetition_without_an_answer_does_not_hide_the_failure(
    after: UpstreamFailure,
) -> None:
    """What the upstream did answer is the reason, not that asking again took too long or was too much."""
    setup = Setup(BROKEN, after)
    failure = await setup.failure()
    assert failure is BROKEN
    assert failure.__cause__ is after


async def test_a_repetition_that_is_answered_with_no_is_a_no() -> None:
    """What the upstream says to a repetition replaces what it said before."""
    no = UpstreamRejected("answered 400", said="no")
    assert await Setup(BROKEN, no).failure() is no


async def test_nothing_is_repeated_while_a_circuit_holds_back() -> None:
    """A failure goes out at once when its group may not be asked again."""
    setup = Setup(BROKEN)
    setup.may_repeat = False
    assert await setup.failure() is BROKEN
    assert len(setup.upstream.sent) == 1


async def test_a_circuit_that_opens_during_the_pause_ends_it() -> None:
    """Who was about to ask again finds the circuit open, and gets the failure that was to be repaired."""
    setup = Setup(BROKEN)
    asked: list[bool] = []

    def closes(_upstream: Upstream, _group: Group) -> bool:
        asked.append(not asked)
        return asked[-1]

    retried = RetriedRequests(
        setup.upstream, POLICY, setup.clock, setup.counters.upstream, closes, chance=lambda: 0.0
    )
    with pytest.raises(UpstreamBroken) as caught:
        await retried.send(request())
    assert caught.value is BROKEN
    assert asked == [True, False, False]
    assert (len(setup.upstream.sent), setup.retries) == (1, 0)


async def test_the_try_of_a_circuit_is_one_request() -> None:
    """Behind a breaker a question is repeated while the circuit is closed, and asked once when it tries an open one."""
    clock, counters = HandClock(), Counters()
    upstream = StagedRequests(clock, [UpstreamBroken("answered 500") for _ in range(7)])
    policy = BreakerPolicy(2, 1.0, 100, 1.0, 2.0, 30.0, 60.0, 0.0)
    breakers = Breakers(policy, clock, counters.upstream)
    retried = RetriedRequests(upstream, POLICY, clock, counters.upstream, breakers.closed)
    requests = BreakerRequests(retried, breakers)
    sent: list[int] = []
    for _ in range(4):
        await asyncio.gather(requests.send(request(deadline=2000.0)), return_exceptions=True)
        sent.append(len(upstream.sent))
        clock.advance(1.0)
    assert sent == [3, 6, 7, 7]
    clock.advance(1.0)
    assert isinstance(await requests.send(request(deadline=2000.0)), Reply)
    assert (len(upstream.sent), counters.upstream("alpaca.data", "latest").retries) == (8, 4)


@pytest.mark.parametrize("message", [TIME_IS_UP, None])
async def test_a_call_back_keeps_its_message_and_carries_the_failure(message: str | None) -> None:
    """A question called back while it is repeated says by whom, and which failure it was to repair."""
    setup = Setup(BROKEN)
    sending = asyncio.ensure_future(setup.retried.send(request()))
    setup.upstream.script.append(None)
    await settle(lambda: bool(setup.upstream.sent))
    setup.upstream.held = True
    await settle(lambda: bool(setup.upstream.under_way))
    sending.cancel(message)
    with pytest.raises(asyncio.CancelledError) as caught:
        await sending
    assert caught.value.args == (() if message is None else (message,))
    assert caught.value.__cause__ is BROKEN


async def test_a_call_back_of_the_first_attempt_has_no_failure() -> None:
    """A question called back before anything failed carries none."""
    setup = Setup()
    setup.upstream.held = True
    sending = asyncio.ensure_future(setup.retried.send(request()))
    await settle(lambda: bool(setup.upstream.under_way))
    sending.cancel(TIME_IS_UP)
    with pytest.raises(asyncio.CancelledError) as caught:
        await sending
    assert (caught.value.args, caught.value.__cause__) == ((TIME_IS_UP,), None)


async def test_a_call_back_during_a_pause_is_heeded_at_once() -> None:
    """Nobody is held in a pause who is called back from it."""
    setup = Setup(BROKEN, policy=RetryPolicy(2, wait_initial=8.0, wait_most=8.0), lot=1.0)
    with stamina.set_testing(False):
        sending = asyncio.ensure_future(setup.retried.send(request()))
        await settle(lambda: bool(setup.upstream.sent))
        sending.cancel(TIME_IS_UP)
        with pytest.raises(asyncio.CancelledError) as caught:
            await sending
    assert caught.value.__cause__ is BROKEN
    assert len(setup.upstream.sent) == 1
