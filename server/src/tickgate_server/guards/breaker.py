"""Circuit breakers: an upstream that fails is left alone for a while, and one request tries whether it is back."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TypeAlias

import structlog
from msgspec import Struct
from msgspec.structs import replace

from ..errors import (
    CircuitOpen,
    Crowded,
    KeyRefused,
    NotEntitled,
    RateLimited,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ..market.unavailable import Reason
from ..observe.counters import CircuitCounts, CircuitState, UpstreamCounts
from ..ports import Clock, Effort, Group, Reply, Request, Requests, Upstream
from .counted import FAIR_WAIT
from .flights import TIME_IS_UP

_log = structlog.get_logger(__name__)


class BreakerPolicy(Struct, frozen=True):
    """When a circuit opens, and for how long. Times in seconds."""

    streak: int
    """Failures in a row that open it."""

    rate: float
    """Share of failures among the last `window` outcomes that opens it; not judged before there were as many."""

    window: int

    cool_down: float
    """Until one request may try again."""

    growth: float
    """Factor by which the next cool-down is longer when that try fails."""

    cool_down_most: float
    """Longest cool-down, jitter included."""

    key_cool_down_most: float
    """The same when the upstream refuses the gateway's key."""

    jitter: float
    """Share by which each cool-down is longer or shorter, by lot."""


class Breaker:
    """One circuit: closed, open, or half open while one request tries whether what failed is back.

    Whoever sends asks `delay` whether it may, takes a permit with `enter`, and gives it back with exactly one of
    `succeed`, `answer`, `fail` and `release`. A permit belongs to the state that gave it: what comes back after the
    circuit has changed says nothing about the present and is ignored.
    """

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy,
        clock: Clock,
        *,
        chance: Callable[[], float] = random.random,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Start closed.

        Args:
            name: what the log calls it.
            policy: when it opens, and for how long.
            clock: only its monotonic time counts.
            chance: draws the jitter, from 0 up to 1.
            on_change: called after each change of state.
        """
        self.state: CircuitState = "closed"
        self.reason: Reason | None = None
        """Of the failure that opened it; None while it is closed."""

        self.retry_at: float | None = None
        """When one request may try again, seconds of the monotonic clock; None while it is closed."""

        self.opened = 0
        """How often it has opened, failed tries included."""

        self._name = name
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._on_change = on_change
        self._era = 0
        self._streak = 0
        self._outcomes: deque[bool] = deque(maxlen=policy.window)
        self._failures = 0
        # However the lot falls, no cool-down is longer than the longest.
        self._most = policy.cool_down_most / (1 + policy.jitter)
        self._planned = 0.0
        self._cool_down = 0.0

    def delay(self) -> float | None:
        """Return the seconds after which to ask again if a request is to be refused now; None lets it pass."""
        if self.retry_at is None:
            return None
        if self.state == "half_open":
            # Nobody knows when the try will end; when it fails, this is about what will follow.
            return self._cool_down
        left = self.retry_at - self._clock.monotonic()
        return left if left > 0 else None

    def enter(self) -> int:
        """Return the permit of a request that `delay` lets pass."""
        if self.state == "open":
            # Not louder: tries from which nothing is learned may follow each other quickly.
            _log.debug("circuit_half_open", circuit=self._name)
            self._become("half_open")
        return self._era

    def succeed(self, permit: int) -> None:
        """Take the *permit* of a request that was answered."""
        if permit != self._era:
            return
        if self.state == "half_open":
            self._close()
        else:
            self._streak = 0
            self._note(failed=False)

    def fail(self, permit: int, reason: Reason) -> None:
        """Take the *permit* of a request that failed for *reason*."""
        if permit != self._era:
            return
        if self.state == "half_open":
            self._open(reason)
            return
        self._streak += 1
        self._note(failed=True)
        if self._tripped():
            self._open(reason)

    def answer(self, permit: int) -> None:
        """Take the *permit* of a request whose answer proves no more than that somebody is there.

        That closes a circuit that was open, and is neither good nor bad for one that is closed.
        """
        if permit == self._era and self.state == "half_open":
            self._close()

    def release(self, permit: int) -> None:
        """Take the *permit* of a request from which nothing was learned; if it was the try, the next may be it."""
        if permit == self._era and self.state == "half_open":
            self._become("open")

    def _note(self, *, failed: bool) -> None:
        if len(self._outcomes) == self._policy.window:
            self._failures -= self._outcomes[0]
        self._outcomes.append(failed)
        self._failures += failed

    def _tripped(self) -> bool:
        window = self._policy.window
        return self._streak >= self._policy.streak or (
            len(self._outcomes) == window and self._failures >= self._policy.rate * window
        )

    def _open(self, reason: Reason) -> None:
        longer = self._planned * self._policy.growth
        self._planned = min(max(self._policy.cool_down, longer), self._most)
        self._cool_down = self._planned * (1 + self._policy.jitter * (2 * self._chance() - 1))
        self.retry_at = self._clock.monotonic() + self._cool_down
        self.reason = reason
        self.opened += 1
        _log.warning(
            "circuit_opened",
            circuit=self._name,
            reason=reason.name,
            cool_down=round(self._cool_down, 3),
        )
        self._become("open")

    def _close(self) -> None:
        self._planned = 0.0
        self._streak = 0
        self._outcomes.clear()
        self._failures = 0
        self.retry_at = None
        self.reason = None
        _log.info("circuit_closed", circuit=self._name)
        self._become("closed")

    def _become(self, state: CircuitState) -> None:
        self.state = state
        self._era += 1
        self._on_change()


class Outcome(Enum):
    """What a question, with all its attempts, has shown of the upstream."""

    WORKS = auto()
    """It answers, be it with a no."""

    LIMITS = auto()
    """It answers, but only 429: the key is good, and whether the endpoints work remains open."""

    REFUSES_KEY = auto()
    FAILS = auto()
    UNKNOWN = auto()
    """Nothing was sent, or it was not waited for long enough."""


class Finding(Struct, frozen=True):
    """An outcome, and the reason why it may open a circuit."""

    outcome: Outcome
    reason: Reason = Reason.UPSTREAM_ERROR


_WORKS = Finding(Outcome.WORKS)
_NOTHING = Finding(Outcome.UNKNOWN)

Permits: TypeAlias = tuple[int, int]
"""Of the circuit for the key, and of the group's."""


class Circuit:
    """The circuit of a group of endpoints, behind the one for the key that all groups of its upstream share."""

    def __init__(
        self,
        upstream: Upstream,
        group: Group,
        key: Breaker,
        policy: BreakerPolicy,
        clock: Clock,
        counts: CircuitCounts,
        chance: Callable[[], float],
    ) -> None:
        """Stand before *group*; *counts* shows the state from now on."""
        name = f"{upstream.value} {group.value}"
        self.upstream = upstream
        self._key = key
        self._group = Breaker(name, policy, clock, chance=chance, on_change=self.show)
        # Written once: refusing must cost next to nothing.
        self._key_refused = f"{upstream.value} refused the gateway's key and is left alone for now"
        self._left_alone = f"{name} failed repeatedly and is left alone for now"
        self._clock = clock
        self._counts = counts
        self._try: Effort | None = None
        self.show()

    @property
    def closed(self) -> bool:
        """Whether nothing is held back."""
        return self._key.retry_at is None and self._group.retry_at is None

    def refusal(self) -> CircuitOpen | KeyRefused | None:
        """Return a new failure if a request would be refused now, and count it; None where it would pass.

        It names the delay after which to ask again. Asking takes nobody's turn to try.
        """
        if self.closed:
            return None
        # A new exception each time: one that is raised again and again would grow a traceback without end.
        delay = self._key.delay()
        if delay is not None:
            self._counts.refused += 1
            return KeyRefused(self._key_refused, retry_delay=delay)
        delay = self._group.delay()
        if delay is not None:
            self._counts.refused += 1
            return CircuitOpen(self._left_alone, retry_delay=delay)
        return None

    def late_refusal(self, effort: Effort) -> CircuitOpen | KeyRefused | None:
        """Return a new failure if the request of *effort*, which has entered, has waited until it must not go any more.

        A circuit that opened meanwhile lets nothing through but its try.
        """
        if self.closed or effort is self._try:
            return None
        return self.refusal() or CircuitOpen(self._left_alone, retry_delay=0.0)

    def enter(self, effort: Effort) -> Permits:
        """Return the permits of a request that is not refused, to be given back with `leave`; *effort* is its own."""
        if not self.closed:
            self._try = effort
        return self._key.enter(), self._group.enter()

    def leave(self, permits: Permits, finding: Finding) -> None:
        """Learn what became of the request that holds *permits*."""
        of_key, of_group = permits
        match finding.outcome:
            case Outcome.WORKS:
                self._key.succeed(of_key)
                self._group.succeed(of_group)
            case Outcome.LIMITS:
                self._key.succeed(of_key)
                self._group.answer(of_group)
            case Outcome.REFUSES_KEY:
                self._key.fail(of_key, finding.reason)
                self._group.release(of_group)
            case Outcome.FAILS:
                self._key.release(of_key)
                self._group.fail(of_group, finding.reason)
            case _:
                self._key.release(of_key)
                self._group.release(of_group)

    def show(self) -> None:
        """Write into the counters what holds requests back: the key's circuit, or else the group's."""
        counts, shown = self._counts, self._group if self._key.retry_at is None else self._key
        if counts.state != shown.state:
            counts.changed_time = self._clock.wall()
        counts.state = shown.state
        counts.reason = None if shown.reason is None else shown.reason.name
        counts.retry_at = shown.retry_at
        counts.opened = self._group.opened + self._key.opened


class Breakers:
    """The circuits of a gateway: one for each group of endpoints, and one for the key at each upstream."""

    def __init__(
        self,
        policy: BreakerPolicy,
        clock: Clock,
        counts_of: Callable[[str, str], UpstreamCounts],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Start with all closed; *counts_of* gives the counters of an upstream and group, *chance* draws jitter."""
        self._policy = policy
        self._clock = clock
        self._counts_of = counts_of
        self._chance = chance
        self._circuits: dict[tuple[Upstream, Group], Circuit] = {}
        self._keys = {upstream: self._key_of(upstream) for upstream in Upstream}

    def circuit(self, upstream: Upstream, group: Group) -> Circuit:
        """Return the circuit of *group* at *upstream*."""
        circuit = self._circuits.get((upstream, group))
        return self._new(upstream, group) if circuit is None else circuit

    def closed(self, upstream: Upstream, group: Group) -> bool:
        """Return whether nothing is held back: only then is a request worth repeating."""
        return self.circuit(upstream, group).closed

    def _new(self, upstream: Upstream, group: Group) -> Circuit:
        counts = self._counts_of(upstream.value, group.value).circuit
        key = self._keys[upstream]
        circuit = Circuit(upstream, group, key, self._policy, self._clock, counts, self._chance)
        self._circuits[upstream, group] = circuit
        return circuit

    def _key_of(self, upstream: Upstream) -> Breaker:
        policy = replace(self._policy, streak=1, cool_down_most=self._policy.key_cool_down_most)
        return Breaker(
            f"{upstream.value} key",
            policy,
            self._clock,
            chance=self._chance,
            on_change=partial(self._show, upstream),
        )

    def _show(self, upstream: Upstream) -> None:
        for circuit in self._circuits.values():
            if circuit.upstream is upstream:
                circuit.show()


class BreakerRequests:
    """The wrapped `Requests`, left alone while a circuit is open. One question with all its attempts is one outcome."""

    def __init__(self, requests: Requests, breakers: Breakers) -> None:
        """Wrap *requests* behind *breakers*."""
        self._requests = requests
        self._breakers = breakers

    async def send(self, request: Request) -> Reply:
        """Send *request*, or raise `CircuitOpen` or `KeyRefused` at once."""
        circuit = self._breakers.circuit(request.upstream, request.group)
        refusal = circuit.refusal()
        if refusal is not None:
            raise refusal
        permits, finding = circuit.enter(request.effort), _NOTHING
        waited_before = request.effort.on_wire
        try:
            reply = await self._requests.send(request)
            finding = _WORKS
        except UpstreamFailure as failure:
            finding = _judge(failure, request.effort.on_wire - waited_before)
            raise
        except asyncio.CancelledError as called_back:
            finding = _judge_silence(called_back, request.effort.on_wire - waited_before)
            raise
        finally:
            circuit.leave(permits, finding)
        return reply


class RecheckedRequests:
    """The wrapped `Requests`, which what waited for budget or for a place reaches only if no circuit opened meanwhile.

    Without it a long queue would go on to an upstream that is to be left alone.
    """

    def __init__(self, requests: Requests, breakers: Breakers) -> None:
        """Wrap *requests*; stand behind the `BreakerRequests` of the same *breakers*, and behind all that waits."""
        self._requests = requests
        self._breakers = breakers

    async def send(self, request: Request) -> Reply:
        """Send *request*, or raise `CircuitOpen` or `KeyRefused` at once."""
        circuit = self._breakers.circuit(request.upstream, request.group)
        refusal = circuit.late_refusal(request.effort)
        if refusal is not None:
            raise refusal
        return await self._requests.send(request)


def _judge(failure: UpstreamFailure, waited: float) -> Finding:
    match failure:
        case UpstreamRejected() | NotEntitled():
            return _WORKS
        case RateLimited():
            return Finding(Outcome.LIMITS)
        case KeyRefused():
            return Finding(Outcome.REFUSES_KEY, failure.reason)
        case UpstreamBroken() | UpstreamUnreachable():
            return Finding(Outcome.FAILS, failure.reason)
        case UpstreamTimeout() if waited >= FAIR_WAIT and not isinstance(failure, Crowded):
            return Finding(Outcome.FAILS, failure.reason)
        case _:
            return _NOTHING


def _judge_silence(called_back: asyncio.CancelledError, waited: float) -> Finding:
    if called_back.args != (TIME_IS_UP,):
        return _NOTHING
    # Called back from a repetition, it carries the failure that was to be repaired.
    cause = called_back.__cause__
    failure = cause if isinstance(cause, UpstreamFailure) else UpstreamTimeout("time is up")
    return _judge(failure, waited)
