"""Counters of requests: what became of each, and how long the upstream was waited for."""

from __future__ import annotations

import asyncio

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
from tickgate_server.guards.flights import TIME_IS_UP
from tickgate_server.observe.counters import Counters, UpstreamCounts
from tickgate_server.observe.recent import Sum

from ...support.fakes import NOW, HandClock, settle
from ...support.requests import StagedRequests, Step, request

STARTED = 1000.0
"""Where the monotonic time of a `HandClock` starts."""


class Setup:
    """Counted requests to a staged upstream."""

    def __init__(self, *script: Step, seconds: float = 0.0) -> None:
        self.clock = HandClock()
        self.upstream = StagedRequests(self.clock, script)
        self.upstream.seconds = seconds
        self.counters = Counters()
        self.counted = CountedRequests(self.upstream, self.counters.upstream, self.clock)

    @property
    def counts(self) -> UpstreamCounts:
        """The counters of the requests' upstream and group."""
        return self.counters.upstream("alpaca.data", "latest")

    def recently(self, seconds: float = 60.0) -> Sum:
        """What ended lately."""
        return self.counts.recent.within(self.clock.monotonic(), seconds)


async def test_a_success_is_counted() -> None:
    """An answer makes the upstream up, with its time and latency."""
    setup = Setup(seconds=0.25)
    assert setup.counts.state == "idle"
    await setup.counted.send(request())
    counts = setup.counts
    assert (counts.state, counts.requests, counts.failures, counts.in_flight) == ("up", 1, 0, 0)
    assert (counts.last_success_time, counts.last_latency) == (NOW + 250_000_000, 0.25)
    assert setup.recently() == Sum(requests=1, failures=0, seconds=0.25, longest=0.25)
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
    setup = Setup(failure, seconds=0.25)
    with pytest.raises(UpstreamFailure) as caught:
        await setup.counted.send(request())
    assert caught.value is failure
    counts = setup.counts
    assert (counts.state, counts.requests, counts.failures) == (state, 1, failures)
    assert (setup.recently().requests, setup.recently().failures) == (1, failures)
    assert counts.last_failure_reason == (failure.reason.name if failures else None)
    assert counts.last_failure_time == (NOW + 250_000_000 if failures else None)
    assert counts.last_success_time == (None if failures else NOW + 250_000_000)
    assert counts.in_flight == 0


async def test_a_hasty_timeout_is_neither() -> None:
    """A deadline that leaves the upstream less than a fifth of a second says nothing about it."""
    setup = Setup(UpstreamTimeout("no"), seconds=0.19)
    with pytest.raises(UpstreamTimeout):
        await setup.counted.send(request())
    counts = setup.counts
    assert (counts.state, counts.requests, counts.failures, counts.in_flight) == ("idle", 1, 0, 0)
    assert setup.recently().requests == 0
    assert outcomes(setup) == {"abandoned": 1}


@pytest.mark.parametrize(
    ("message", "seconds", "state"),
    [(TIME_IS_UP, 0.21, "failing"), (TIME_IS_UP, 0.19, "idle"), (None, 5.0, "idle")],
)
async def test_a_request_that_is_called_back(
    message: str | None, seconds: float, state: str
) -> None:
    """Called back by callers who went away, or had no patience, it is neither; by those who waited, a timeout."""
    setup = Setup()
    setup.upstream.held = True
    asked = request()
    sending = asyncio.ensure_future(setup.counted.send(asked))
    await settle(lambda: bool(setup.upstream.under_way))
    assert setup.counts.in_flight == 1
    setup.clock.advance(seconds)
    sending.cancel(message)
    await asyncio.wait([sending])
    assert sending.cancelled()
    counts = setup.counts
    assert (counts.state, counts.requests, counts.in_flight) == (state, 1, 0)
    assert counts.last_failure_reason == ("UPSTREAM_TIMEOUT" if state == "failing" else None)
    assert asked.effort.on_wire == pytest.approx(seconds)


async def test_the_effort_of_a_question_adds_up() -> None:
    """Seconds on the wire are summed over all requests of a question, however they end."""
    setup = Setup(UpstreamBroken("no"), None, UpstreamRejected("no", said="no"), seconds=0.5)
    asked = request()
    for _ in range(3):
        await asyncio.gather(setup.counted.send(asked), return_exceptions=True)
    assert asked.effort.on_wire == 1.5


async def test_the_last_request_is_remembered_when_it_is_sent() -> None:
    """When a group was last asked counts from the sending, so that nobody probes what is just being asked."""
    setup = Setup(seconds=3.0)
    assert setup.counts.last_request_at is None
    await setup.counted.send(request())
    assert setup.counts.last_request_at == STARTED


async def test_recovery_is_seen() -> None:
    """The state is that of the last answer; what failed before stays on record."""
    setup = Setup(UpstreamBroken("no"))
    with pytest.raises(UpstreamBroken):
        await setup.counted.send(request())
    await setup.counted.send(request())
    assert (setup.counts.state, setup.counts.last_failure_reason) == ("up", "UPSTREAM_ERROR")


def outcomes(setup: Setup) -> dict[str, int]:
    """How many requests came to what."""
    return {outcome: buckets.count for outcome, buckets in setup.counts.seconds.items()}


async def test_each_request_has_taken_its_time_under_one_outcome() -> None:
    """However a request ends, its seconds are counted once: as answered, by its reason, or as nobody's any more."""
    script = (None, UpstreamRejected("no", said="no"), KeyRefused("no"), RateLimited("no"))
    setup = Setup(*script, UpstreamTimeout("no"), seconds=0.5)
    for _ in range(5):
        await asyncio.gather(setup.counted.send(request()), return_exceptions=True)

    assert outcomes(setup) == {
        "answered": 1,
        "UPSTREAM_ERROR": 1,
        "UPSTREAM_UNAUTHENTICATED": 1,
        "UPSTREAM_RATE_LIMITED": 1,
        "UPSTREAM_TIMEOUT": 1,
    }
    assert sum(buckets.total for buckets in setup.counts.seconds.values()) == 2.5
    assert sum(outcomes(setup).values()) == setup.counts.requests


@pytest.mark.parametrize(
    ("message", "seconds", "outcome"),
    [
        (TIME_IS_UP, 0.21, "UPSTREAM_TIMEOUT"),
        (TIME_IS_UP, 0.19, "abandoned"),
        (None, 5.0, "abandoned"),
    ],
)
async def test_a_request_without_an_end_has_an_outcome_too(
    message: str | None, seconds: float, outcome: str
) -> None:
    """A request that is called back timed out if it was waited for long enough, and else was abandoned."""
    setup = Setup()
    setup.upstream.held = True
    sending = asyncio.ensure_future(setup.counted.send(request()))
    await settle(lambda: bool(setup.upstream.under_way))
    setup.clock.advance(seconds)
    sending.cancel(message)
    await asyncio.wait([sending])

    assert outcomes(setup) == {outcome: 1}
