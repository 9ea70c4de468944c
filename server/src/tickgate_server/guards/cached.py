"""A latest source that remembers, and judges how old an answer may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..market.answer import Answer, Freshness, Held, Question
from ..market.provenance import FEED_DELAY, Feed, Tier
from ..market.session import MarketSession
from ..market.time import NANOS
from ..market.unavailable import OUTAGES, Reason, TierAttempt, TierOutcome, Unavailable
from ..ports import Answers, Clock, LatestSource


class Timed(Protocol):
    """A value that knows when it happened."""

    @property
    def event_time(self) -> int | None:
        """When the exchange stamped it, nanoseconds."""
        ...


V = TypeVar("V", bound=Timed)
T = TypeVar("T")


class FreshnessPolicy(Struct, frozen=True):
    """What holds when a request says nothing, and what holds whatever it says."""

    max_age: int
    """Nanoseconds since the upstream confirmed a value."""

    max_event_age_open: int | None
    """Nanoseconds since a value was stamped, beyond the delay that its feed has by design, while the market is open or
    its session unknown; None is no bound."""

    keep_open: float
    """Seconds that memory answers from a value while the market is open or its session unknown."""

    keep_otherwise: float
    """Seconds that memory answers from a value at other times."""

    keep_unknown: float
    """Seconds that a symbol is remembered as unknown. A lack of data is remembered as long as a value."""

    stale_cap: float
    """Longest receive age, in seconds, of a value that bridges an outage."""


Key = tuple[Feed, str]


class _Newest(dict[Key, T]):
    """A dictionary of at most so many entries; the one that was put first makes room."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def put(self, key: Key, value: T) -> None:
        self.pop(key, None)
        self[key] = value
        if len(self) > self._capacity:
            del self[next(iter(self))]


class MemoryTier(Generic[V]):
    """The answers confirmed last, by feed and symbol, and the counts that status reports.

    What is asked for is confirmed again every few seconds, so what makes room is what nobody asks for, and a hit costs
    no bookkeeping.
    """

    def __init__(self, capacity: int) -> None:
        """Hold at most *capacity* answers; the one confirmed longest ago makes room."""
        self._answers: _Newest[Answer[V]] = _Newest(capacity)
        self._nothing: _Newest[tuple[float, Unavailable]] = _Newest(capacity)
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def answers(self) -> Mapping[Key, Answer[V]]:
        """What is held, however old."""
        return self._answers

    @property
    def nothing(self) -> Mapping[Key, tuple[float, Unavailable]]:
        """When and why there was nothing."""
        return self._nothing

    def put(self, key: Key, held: Held[V]) -> None:
        """Hold a value."""
        self._nothing.pop(key, None)
        self._answers.put(key, Answer(held, Tier.MEMORY))

    def put_nothing(self, key: Key, at: float, why: Unavailable) -> None:
        """Remember that there is no value, which drops the one held."""
        self._answers.pop(key, None)
        self._nothing.put(key, (at, why))

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self._nothing.clear()

    def drop(self, key: Key) -> None:
        """Forget the value of *key*: it has been superseded by something that is none."""
        self._answers.pop(key, None)


class _Bounds(Struct, frozen=True, gc=False):
    """One question's freshness with every default filled in."""

    max_age: float
    """Seconds since confirmation."""

    max_event_age: int | None
    """Nanoseconds since the event."""

    keep: float
    """Seconds since confirmation that memory answers without the upstream being asked."""

    keep_unknown: float
    memory: bool
    upstream: bool
    allow_stale: bool


class CachedLatest(Generic[V]):
    """The wrapped source behind memory. It alone decides what is fresh enough, and says so when nothing is."""

    def __init__(
        self,
        source: LatestSource[V],
        memory: MemoryTier[V],
        policy: FreshnessPolicy,
        clock: Clock,
        session: Callable[[], MarketSession | None],
    ) -> None:
        """Wrap *source*; *session* tells the market's session now, or None when unknown."""
        self._source = source
        self._memory = memory
        self._policy = policy
        self._clock = clock
        self._session = session
        # Most questions name no bounds of their own, and the others repeat theirs.
        self._bounds = lru_cache(maxsize=256)(self._work_out)

    async def latest(self, question: Question) -> Answers[V]:
        """Return an answer for every symbol: from memory while that is fresh enough, else from the source."""
        strict_session = self._session() in (None, MarketSession.OPEN)
        bounds = self._bounds(question.freshness, question.feed, strict_session)
        answers = self._recall(question, bounds) if bounds.memory else {}
        self._memory.hits += len(answers)
        tried: dict[str, TierAttempt] = {}
        if len(answers) < len(question.symbols):
            tried = {
                symbol: self._memory_attempt((question.feed, symbol), bounds)
                for symbol in question.symbols
                if symbol not in answers
            }
            self._memory.misses += len(tried)
            answers.update(await self._ask(question, tried, bounds))
        if bounds.max_event_age is None:
            return answers
        return self._judge_events(answers, bounds.max_event_age, tried)

    def _work_out(self, asked: Freshness, feed: Feed, strict_session: bool) -> _Bounds:  # noqa: FBT001 - lru_cache's keys
        policy = self._policy
        default_event_age = policy.max_event_age_open if strict_session else None
        if default_event_age is not None:
            # What a feed is late by design is no fault of the value; an age that is asked for is meant literally.
            default_event_age += FEED_DELAY.get(feed, 0)
        max_age = (policy.max_age if asked.max_age is None else asked.max_age) / NANOS
        keep = policy.keep_open if strict_session else policy.keep_otherwise
        if asked.max_event_age is not None:
            # What was confirmed longer ago cannot be young enough; what the upstream holds by now may be.
            keep = min(keep, asked.max_event_age / NANOS)
        allowed = asked.allowed_tiers
        upstream = allowed is None or Tier.UPSTREAM in allowed
        return _Bounds(
            max_age=max_age,
            max_event_age=(
                default_event_age if asked.max_event_age is None else asked.max_event_age
            ),
            # Where nobody else may be asked there is nothing to gain from passing over what is fresh enough.
            keep=min(max_age, keep) if upstream else max_age,
            keep_unknown=min(max_age, policy.keep_unknown),
            memory=allowed is None or Tier.MEMORY in allowed,
            upstream=upstream,
            allow_stale=asked.allow_stale,
        )

    def _recall(self, question: Question, bounds: _Bounds) -> dict[str, Answer[V] | Unavailable]:
        answers: dict[str, Answer[V] | Unavailable] = {}
        feed, held = question.feed, self._memory.answers
        # Not "at": a max_age of zero always asks the upstream, also within one tick of the clock.
        after = self._clock.monotonic() - bounds.keep
        for symbol in question.symbols:
            answer = held.get((feed, symbol))
            if answer is None:
                nothing = self._recall_nothing((feed, symbol), bounds)
                if nothing is not None:
                    answers[symbol] = nothing
            elif answer.held.confirmed_at > after:
                answers[symbol] = answer
        return answers

    def _recall_nothing(self, key: Key, bounds: _Bounds) -> Unavailable | None:
        nothing = self._memory.nothing.get(key)
        if nothing is None:
            return None
        at, why = nothing
        # A lack of data ends with the next trade or order; a symbol does not come to exist from one moment to another.
        keep = bounds.keep_unknown if why.reason is Reason.SYMBOL_UNKNOWN else bounds.keep
        if self._clock.monotonic() - at >= keep:
            return None
        return why.after(self._attempt(Tier.MEMORY, TierOutcome.EMPTY))

    async def _ask(
        self, question: Question, tried: Mapping[str, TierAttempt], bounds: _Bounds
    ) -> Mapping[str, Answer[V] | Unavailable]:
        if not bounds.upstream:
            return {symbol: self._not_asked(symbol, memory) for symbol, memory in tried.items()}
        answers = await self._source.latest(replace(question, symbols=tuple(tried)))
        return {
            symbol: self._keep((question.feed, symbol), answers[symbol], bounds, memory)
            for symbol, memory in tried.items()
        }

    def _keep(
        self,
        key: Key,
        answer: Answer[V] | Unavailable,
        bounds: _Bounds,
        memory: TierAttempt,
    ) -> Answer[V] | Unavailable:
        if isinstance(answer, Answer):
            self._memory.put(key, answer.held)
            return answer
        if answer.reason in OUTAGES:
            bridge = self._bridge(key, bounds) if bounds.memory else None
            if bridge is not None:
                return bridge
            return self._explain(key, answer, memory, TierOutcome.FAILED)
        if answer.reason in (Reason.SYMBOL_UNKNOWN, Reason.NO_DATA):
            if answer.passing:
                self._memory.drop(key)
            else:
                self._memory.put_nothing(key, self._clock.monotonic(), answer)
            return self._explain(key, answer, memory, TierOutcome.EMPTY)
        if answer.reason is Reason.INVALID_DATA:
            self._memory.drop(key)
            return self._explain(key, answer, memory, TierOutcome.REFUSED)
        return self._explain(key, answer, memory, TierOutcome.FAILED)

    def _bridge(self, key: Key, bounds: _Bounds) -> Answer[V] | None:
        answer = self._memory.answers.get(key)
        if answer is None:
            return None
        age = self._clock.monotonic() - answer.held.confirmed_at
        if age < bounds.max_age and not self._is_too_old(answer, bounds.max_event_age):
            # As fresh as asked for; memory only meant to ask for something fresher first.
            return answer
        if not bounds.allow_stale or age > self._policy.stale_cap:
            return None
        return Answer(answer.held, Tier.MEMORY, stale=True)

    def _is_too_old(self, answer: Answer[V], max_event_age: int | None) -> bool:
        event_time = answer.held.value.event_time
        if max_event_age is None or event_time is None:
            return False
        return self._clock.market() - event_time > max_event_age

    def _explain(
        self,
        key: Key,
        why: Unavailable,
        memory: TierAttempt,
        upstream: TierOutcome,
    ) -> Unavailable:
        tried = why.after(memory, self._attempt(Tier.UPSTREAM, upstream))
        if tried.last_event_time is not None:
            return tried
        held = self._memory.answers.get(key)
        return tried if held is None else replace(tried, last_event_time=held.value.event_time)

    def _not_asked(self, symbol: str, memory: TierAttempt) -> Unavailable:
        too_old = memory.outcome is TierOutcome.TOO_OLD
        return Unavailable(
            reason=Reason.TOO_STALE if too_old else Reason.NO_DATA,
            message=(
                f"{symbol}: memory holds a value older than asked for"
                if too_old
                else f"{symbol}: none of the tiers that the request allows holds a value"
            ),
            tiers=(memory, self._attempt(Tier.UPSTREAM, TierOutcome.NOT_ALLOWED)),
        )

    def _memory_attempt(self, key: Key, bounds: _Bounds) -> TierAttempt:
        if not bounds.memory:
            return self._attempt(Tier.MEMORY, TierOutcome.NOT_ALLOWED)
        held = self._memory.answers.get(key)
        return self._attempt(
            Tier.MEMORY, TierOutcome.EMPTY if held is None else TierOutcome.TOO_OLD
        )

    def _attempt(self, tier: Tier, outcome: TierOutcome) -> TierAttempt:
        return TierAttempt(tier, outcome, self._clock.wall())

    def _judge_events(
        self,
        answers: dict[str, Answer[V] | Unavailable],
        max_event_age: int,
        tried: Mapping[str, TierAttempt],
    ) -> dict[str, Answer[V] | Unavailable]:
        oldest = self._clock.market() - max_event_age
        for symbol, answer in answers.items():
            if isinstance(answer, Unavailable) or answer.stale:
                continue
            event_time = answer.held.value.event_time
            if event_time is not None and event_time < oldest:
                before = tried.get(symbol)
                answers[symbol] = self._too_old(symbol, answer, event_time, max_event_age).after(
                    *(() if before is None else (before,))
                )
        return answers

    def _too_old(
        self, symbol: str, answer: Answer[V], event_time: int, max_event_age: int
    ) -> Unavailable:
        age = (self._clock.market() - event_time) / NANOS
        return Unavailable(
            reason=Reason.TOO_STALE,
            message=(
                f"{symbol}: the latest value is {age:.3f} s old,"
                f" more than the {max_event_age / NANOS:g} s that are allowed (max_event_age)"
            ),
            last_event_time=event_time,
            tiers=(self._attempt(answer.served_from, TierOutcome.TOO_OLD),),
        )
