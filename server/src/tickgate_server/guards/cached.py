"""A latest source that remembers, and judges how old an answer may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from msgspec.structs import replace

from ..market.answer import Answer, Held, Question
from ..market.provenance import Feed, Tier
from ..market.session import MarketSession
from ..market.time import NANOS
from ..market.unavailable import OUTAGES, Reason, TierAttempt, TierOutcome, Unavailable
from ..observe.counters import CacheCounts
from ..ports import Answers, Clock, Key, LatestSource, LiveTier
from .freshness import Bounds, FreshnessPolicy, bounds_by
from .memory import MemoryTier
from .shared import SharedTier

_TIERS_SHARE: Final = 0.5
"""Share of a caller's time that the tier which replicas share may take."""


class Timed(Protocol):
    """A value that knows when it happened."""

    @property
    def event_time(self) -> int | None:
        """When the exchange stamped it, nanoseconds."""
        ...


V = TypeVar("V", bound=Timed)

_UNKNOWN: Final = frozenset({Reason.SYMBOL_UNKNOWN, Reason.CONTRACT_UNKNOWN})
"""Reasons that last: what does not exist does not come to exist from one moment to another."""

_SAYS_NOTHING: Final = OUTAGES | {Reason.UPSTREAM_UNAUTHENTICATED}
"""Reasons that say nothing about a value: one that is as fresh as asked for stays an answer. But a refused key is no
outage: it is ours to mend, and stale values must not hide it."""


class Tiers(Generic[V]):
    """The tiers of one kind of value in front of the upstream, nearest first."""

    def __init__(
        self,
        book: LiveTier[V],
        memory: MemoryTier[V],
        memory_counts: CacheCounts,
        shared: SharedTier[V] | None,
        *,
        book_counts: CacheCounts | None = None,
    ) -> None:
        """Ask *book*, which holds what is live at this moment, then *memory*, then *shared*, where there is one."""
        self.book = book
        self.book_counts = book_counts or CacheCounts()
        self.memory = memory
        self.memory_counts = memory_counts
        self.shared = shared


class _Search(Generic[V]):
    """One question on its way through the tiers, for what the near ones could not answer."""

    def __init__(self, question: Question, bounds: Bounds, missing: list[str]) -> None:
        self.question = question
        self.bounds = bounds
        self.missing = missing
        self.trail: dict[str, tuple[TierAttempt, ...]] = {}
        """The tiers that each symbol has been looked for in."""

        self.passed_over: dict[str, Answer[V]] = {}
        """The newest value that a tier held, older than asked for, of each symbol."""

    def key(self, symbol: str) -> Key:
        return self.question.feed, symbol

    def pass_over(self, symbol: str, answer: Answer[V]) -> None:
        before = self.passed_over.get(symbol)
        if before is None or before.held.confirmed_at < answer.held.confirmed_at:
            self.passed_over[symbol] = answer


class CachedLatest(Generic[V]):
    """The wrapped source behind book, memory and Redis.

    It alone decides what is fresh enough, and says so when nothing is.
    """

    def __init__(
        self,
        source: LatestSource[V],
        tiers: Tiers[V],
        policy: FreshnessPolicy,
        clock: Clock,
        session: Callable[[], MarketSession | None],
    ) -> None:
        """Wrap *source*; *session* tells the market's session now, or None when unknown."""
        self._source = source
        self._tiers = tiers
        self._clock = clock
        self._session = session
        self._bounds = bounds_by(policy)

    async def latest(self, question: Question) -> Answers[V]:
        """Return an answer for every symbol: from the nearest tier that is fresh enough, else from the source."""
        strict_session = self._session() in (None, MarketSession.OPEN)
        bounds = self._bounds(question.freshness, question.feed, strict_session)
        answers = self._recall(question, bounds)
        trail: Mapping[str, tuple[TierAttempt, ...]] = {}
        if len(answers) < len(question.symbols):
            missing = [symbol for symbol in question.symbols if symbol not in answers]
            search = _Search[V](question, bounds, missing)
            answers.update(await self._look_further(search))
            trail = search.trail
        return self._judge_events(answers, question.feed, bounds, trail)

    # ------------------------------------------------------------------------------- near tiers

    def _recall(self, question: Question, bounds: Bounds) -> dict[str, Answer[V] | Unavailable]:
        answers: dict[str, Answer[V] | Unavailable] = {}
        # Not "at": a max_age of zero always asks the upstream, also within one tick of the clock.
        after = self._clock.monotonic() - bounds.keep
        symbols: Sequence[str] = question.symbols
        if bounds.book and self._tiers.book and bounds.keep > 0:
            self._recall_live(question, after, answers)
            symbols = [symbol for symbol in symbols if symbol not in answers]
        if bounds.memory:
            live = len(answers)
            self._recall_remembered(question.feed, symbols, bounds, after, answers)
            hits = len(answers) - live
            self._tiers.memory_counts.hits += hits
            self._tiers.memory_counts.misses += len(symbols) - hits
        return answers

    def _recall_live(
        self, question: Question, after: float, answers: dict[str, Answer[V] | Unavailable]
    ) -> None:
        for symbol in question.symbols:
            live = self._tiers.book.get((question.feed, symbol))
            if live is None:
                continue
            if not isinstance(live, Held):
                # What the feed said last is no value, and supersedes whatever another tier holds.
                answers[symbol] = live.after(self._attempt(Tier.BOOK, TierOutcome.REFUSED))
            elif live.confirmed_at > after:
                answers[symbol] = Answer(live, Tier.BOOK)
        counts = self._tiers.book_counts
        counts.hits += len(answers)
        counts.misses += len(question.symbols) - len(answers)

    def _recall_remembered(
        self,
        feed: Feed,
        symbols: Sequence[str],
        bounds: Bounds,
        after: float,
        answers: dict[str, Answer[V] | Unavailable],
    ) -> None:
        remembered = self._tiers.memory.answers
        for symbol in symbols:
            answer = remembered.get((feed, symbol))
            if answer is None:
                nothing = self._recall_nothing((feed, symbol), bounds)
                if nothing is not None:
                    answers[symbol] = nothing
            elif answer.held.confirmed_at > after:
                answers[symbol] = answer

    def _recall_nothing(self, key: Key, bounds: Bounds) -> Unavailable | None:
        nothing = self._tiers.memory.nothing.get(key)
        if nothing is None:
            return None
        at, why = nothing
        # A lack of data ends with the next trade or order.
        keep = bounds.keep_unknown if why.reason in _UNKNOWN else bounds.keep
        if self._clock.monotonic() - at >= keep:
            return None
        return why.after(
            self._left_book(key, bounds), self._attempt(Tier.MEMORY, TierOutcome.EMPTY)
        )

    # -------------------------------------------------------------------------------- far tiers

    async def _look_further(self, search: _Search[V]) -> dict[str, Answer[V] | Unavailable]:
        for symbol in search.missing:
            self._leave_near_tiers(search, symbol)
        answers: dict[str, Answer[V] | Unavailable] = {}
        if self._tiers.shared is not None:
            answers.update(await self._ask_shared(search, self._tiers.shared))
            search.missing = [symbol for symbol in search.missing if symbol not in answers]
        if search.missing and search.bounds.upstream:
            answers.update(await self._ask_upstream(search))
        else:
            answers.update({symbol: self._not_asked(search, symbol) for symbol in search.missing})
        return answers

    def _leave_near_tiers(self, search: _Search[V], symbol: str) -> None:
        key, bounds = search.key(symbol), search.bounds
        live = self._tiers.book.get(key)
        if isinstance(live, Held) and bounds.book:
            search.pass_over(symbol, Answer(live, Tier.BOOK))
        remembered = self._tiers.memory.answers.get(key)
        if remembered is not None and bounds.memory:
            search.pass_over(symbol, remembered)
        search.trail[symbol] = (
            self._left_book(key, bounds),
            self._passed(Tier.MEMORY, allowed=bounds.memory, holds=remembered is not None),
        )

    async def _ask_shared(
        self, search: _Search[V], shared: SharedTier[V]
    ) -> dict[str, Answer[V] | Unavailable]:
        bounds = search.bounds
        if not bounds.redis:
            for symbol in search.missing:
                search.trail[symbol] += (self._attempt(Tier.REDIS, TierOutcome.NOT_ALLOWED),)
            return {}
        if bounds.keep <= 0 and bounds.upstream and not bounds.allow_stale:
            # Whatever it holds is too old for somebody who wants to hear it from the upstream.
            return {}
        now = self._clock.monotonic()
        # Half of the caller's time: the other half must do for the upstream.
        patience = max(0.0, search.question.deadline - now) * _TIERS_SHARE
        looks = await shared.recall(
            [search.key(symbol) for symbol in search.missing], now + patience
        )
        answers: dict[str, Answer[V] | Unavailable] = {}
        after = self._clock.monotonic() - bounds.keep
        for symbol in search.missing:
            look = looks[search.key(symbol)]
            if look.held is None:
                outcome = TierOutcome.EMPTY if look.answered else TierOutcome.FAILED
                search.trail[symbol] += (self._attempt(Tier.REDIS, outcome),)
                continue
            self._tiers.memory.put(search.key(symbol), look.held)
            answer = Answer(look.held, Tier.REDIS)
            if look.held.confirmed_at > after:
                answers[symbol] = answer
            else:
                search.pass_over(symbol, answer)
                search.trail[symbol] += (self._attempt(Tier.REDIS, TierOutcome.TOO_OLD),)
        shared.kept.hits += len(answers)
        shared.kept.misses += len(search.missing) - len(answers)
        return answers

    async def _ask_upstream(self, search: _Search[V]) -> dict[str, Answer[V] | Unavailable]:
        answers = await self._source.latest(replace(search.question, symbols=tuple(search.missing)))
        news: dict[Key, Held[V]] = {}
        settled: dict[str, Answer[V] | Unavailable] = {}
        for symbol in search.missing:
            answer = answers[symbol]
            if isinstance(answer, Answer):
                # Of a shared call the first asker to get here has kept it for all.
                if self._tiers.memory.put(search.key(symbol), answer.held):
                    news[search.key(symbol)] = answer.held
                settled[symbol] = answer
            else:
                settled[symbol] = self._settle(search, symbol, answer)
        if news and self._tiers.shared is not None:
            self._tiers.shared.put(news)
        return settled

    def _settle(self, search: _Search[V], symbol: str, why: Unavailable) -> Answer[V] | Unavailable:
        key, memory = search.key(symbol), self._tiers.memory
        remembered = memory.answers.get(key)
        if remembered is not None and search.bounds.memory:
            # It may have come while the upstream was asked.
            search.pass_over(symbol, remembered)
        if why.reason in _SAYS_NOTHING:
            return self._bridge(search, symbol, why) or self._explain(
                search, symbol, self._with_age(search, symbol, why), TierOutcome.FAILED
            )
        if why.reason in _UNKNOWN or why.reason is Reason.NO_DATA:
            self._drop(key)
            if not why.passing:
                memory.put_nothing(key, self._clock.monotonic(), why)
            return self._explain(search, symbol, why, TierOutcome.EMPTY)
        if why.reason in (Reason.INVALID_DATA, Reason.RULE_VIOLATION):
            self._drop(key)
            return self._explain(search, symbol, why, TierOutcome.REFUSED)
        return self._explain(search, symbol, why, TierOutcome.FAILED)

    def _drop(self, key: Key) -> None:
        self._tiers.memory.drop(key)
        if self._tiers.shared is not None:
            self._tiers.shared.supersede(key)

    def _bridge(self, search: _Search[V], symbol: str, why: Unavailable) -> Answer[V] | None:
        answer, bounds = search.passed_over.get(symbol), search.bounds
        if answer is None:
            return None
        age = self._clock.monotonic() - answer.held.confirmed_at
        if age < bounds.max_age and not self._is_too_old(answer, bounds.max_event_age):
            # As fresh as asked for; the tiers only meant to ask for something fresher first.
            return answer
        if not bounds.allow_stale or age > bounds.stale_cap or why.reason not in OUTAGES:
            return None
        return Answer(answer.held, answer.served_from, stale=True)

    def _is_too_old(self, answer: Answer[V], max_event_age: int | None) -> bool:
        event_time = answer.held.value.event_time
        if max_event_age is None or event_time is None:
            return False
        return self._clock.market() - event_time > max_event_age

    # ------------------------------------------------------------------------------ explanations

    def _explain(
        self, search: _Search[V], symbol: str, why: Unavailable, upstream: TierOutcome
    ) -> Unavailable:
        tried = why.after(*search.trail[symbol], self._attempt(Tier.UPSTREAM, upstream))
        newest = search.passed_over.get(symbol)
        if tried.last_event_time is not None or newest is None:
            return tried
        return replace(tried, last_event_time=newest.held.value.event_time)

    def _with_age(self, search: _Search[V], symbol: str, why: Unavailable) -> Unavailable:
        newest = search.passed_over.get(symbol)
        if newest is None:
            return why
        age = self._clock.monotonic() - newest.held.confirmed_at
        held = f"the newest value held was confirmed {age:.3f} s ago"
        return replace(why, message=f"{why.message}; {held}")

    def _not_asked(self, search: _Search[V], symbol: str) -> Unavailable:
        tiers = (*search.trail[symbol], self._attempt(Tier.UPSTREAM, TierOutcome.NOT_ALLOWED))
        newest = search.passed_over.get(symbol)
        if newest is None:
            return Unavailable(
                reason=Reason.NOT_HELD,
                message=f"{symbol}: none of the tiers that the request allows holds a value",
                tiers=tiers,
            )
        age = self._clock.monotonic() - newest.held.confirmed_at
        return Unavailable(
            reason=Reason.TOO_STALE,
            message=(
                f"{symbol}: the newest value that the allowed tiers hold was confirmed {age:.3f} s ago, more than the"
                f" {search.bounds.max_age:g} s that are allowed (max_age)"
            ),
            last_event_time=newest.held.value.event_time,
            tiers=tiers,
        )

    def _left_book(self, key: Key, bounds: Bounds) -> TierAttempt:
        live = self._tiers.book.get(key) if bounds.book else None
        if isinstance(live, Unavailable):
            return self._attempt(Tier.BOOK, TierOutcome.REFUSED)
        return self._passed(Tier.BOOK, allowed=bounds.book, holds=live is not None)

    def _passed(self, tier: Tier, *, allowed: bool, holds: bool) -> TierAttempt:
        if not allowed:
            return self._attempt(tier, TierOutcome.NOT_ALLOWED)
        return self._attempt(tier, TierOutcome.TOO_OLD if holds else TierOutcome.EMPTY)

    def _attempt(self, tier: Tier, outcome: TierOutcome) -> TierAttempt:
        return TierAttempt(tier, outcome, self._clock.wall())

    def _judge_events(
        self,
        answers: dict[str, Answer[V] | Unavailable],
        feed: Feed,
        bounds: Bounds,
        trail: Mapping[str, tuple[TierAttempt, ...]],
    ) -> dict[str, Answer[V] | Unavailable]:
        max_event_age = bounds.max_event_age
        if max_event_age is None:
            return answers
        oldest = self._clock.market() - max_event_age
        for symbol, answer in answers.items():
            if isinstance(answer, Unavailable) or answer.stale:
                continue
            event_time = answer.held.value.event_time
            if event_time is not None and event_time < oldest:
                before = trail.get(symbol, ())
                if answer.served_from is Tier.MEMORY:
                    before = (self._left_book((feed, symbol), bounds),)
                too_old = self._too_old(symbol, answer, event_time, max_event_age)
                answers[symbol] = too_old.after(*before)
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
