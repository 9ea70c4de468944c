"""One question on its way through everything that may hold the past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UpstreamFailure, UpstreamRejected
from ..market.interval import Interval
from ..market.provenance import Tier
from ..market.series import HistoryQuestion, SeriesKey, SeriesPosition
from ..market.unavailable import TierAttempt, TierOutcome, Unavailable
from ..ports import (
    Clock,
    HistoryCache,
    HistoryStore,
    Priority,
    SeriesBroken,
    SeriesDone,
    SeriesEvent,
)
from . import reasons
from .adjusted import Adjustments
from .course import Course
from .cursor import Cursor
from .fetching import Fetching
from .fills import Fills
from .holdings import Holdings
from .policy import HistoryPolicy
from .steps import SeriesReading, Unanswered
from .waiting import closing

T = TypeVar("T")

_LIST_PATIENCE = 10.0
"""Seconds for what is asked on the way, where a question has no deadline."""

_REPLY_SHARE, _REPLY_MOST = 0.1, 0.05
"""Who waits is told that time is up a tenth of its wait before its deadline, at most this many seconds."""


class OutOfTime(Exception):
    """The question's deadline has come."""

    def __init__(self, tier: Tier | None = None) -> None:
        """Name the *tier* that was asked and had not answered; None where nobody was asked."""
        super().__init__("the deadline has come")
        self.tier = tier


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that the past is read from."""

    fills: Fills
    store: HistoryStore | None
    cache: HistoryCache | None
    adjustments: Adjustments
    policy: HistoryPolicy
    clock: Clock
    listed: Callable[[Sequence[str], float], Awaitable[Container[str] | None]]


class Reading:
    """Answers one question, symbol after symbol, from the nearest tier that holds what comes next."""

    def __init__(
        self,
        sources: Sources,
        question: HistoryQuestion,
        *,
        rows: int,
        after: SeriesPosition | None,
        deadline: float | None,
        priority: Priority,
    ) -> None:
        """Read for *question*; the other parameters are those of `HistorySource.read`."""
        self.sources = sources
        self.question = question
        self.rows = rows
        self.course = Course(question.newest_first)
        self.now = sources.clock.market()
        """The market's time when the question came, nanoseconds."""

        allowed = frozenset(Tier) if question.allowed_tiers is None else question.allowed_tiers
        # What was known at some moment only the store knows.
        self.allowed = allowed if question.as_of is None else allowed & {Tier.STORE}
        self.cache = sources.cache if Tier.REDIS in self.allowed else None
        self.holdings = Holdings(
            sources.store if Tier.STORE in self.allowed else None,
            sources.fills,
            sources.adjustments,
            question.key,
            self.course,
            question.as_of,
        )
        self._deadline = None if deadline is None else _in_good_time(deadline, sources.clock)
        self.fetching = Fetching(
            sources.fills, sources.policy, question, self.course, priority, self._deadline
        )
        self.fetching.uses_store = self.holdings.store is not None
        self._after = after
        # What has not come yet cannot be told, and nobody may take it for empty.
        self._whole = Interval(question.interval.start, min(question.interval.end, self.now))
        self._clamp_end: int | None = None

    async def events(self) -> AsyncIterator[SeriesEvent]:
        """Yield the answer."""
        symbols = list(self.question.symbols)
        after = self._after
        if after is not None:
            symbols = symbols[symbols.index(after.symbol) :]
            if after.done:
                symbols, after = symbols[1:], None
        try:
            await self._look(symbols)
        except OutOfTime:
            # Each symbol is told so by itself.
            self.holdings.fail()
        for place, symbol in enumerate(symbols):
            later = symbols[place + 1 :]
            async with closing(self._symbol(symbol, later, after)) as events:
                async for event in events:
                    yield event
            self.fetching.finish(symbol)
            after = None

    def leave(self) -> None:
        """Want nothing more of what is being fetched."""
        self.fetching.leave()

    # --------------------------------------------------------------------------- one symbol

    async def _symbol(
        self, symbol: str, later: Sequence[str], after: SeriesPosition | None
    ) -> AsyncIterator[SeriesEvent]:
        cursor = Cursor(
            symbol,
            self._whole,
            self.course,
            rows=self.rows,
            limit=self.question.limit,
            after=after,
            one_at_a_time=self.question.key.timeframe is not None,
        )
        if self._whole.empty:
            why = reasons.not_come(symbol, self.question.interval.start)
            yield cursor.broken(why, missing=self.question.interval)
            return
        if self._range(symbol) != self._whole and self._clamp_end is not None:
            cursor.clip(self._clamp_end)
        try:
            async with closing(SeriesReading(self, cursor, later).chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
        except OutOfTime as end:
            yield cursor.broken(self._late(symbol, end.tier))
        except Unanswered as stop:
            yield cursor.broken(self.tried(symbol, stop.why))
        except UpstreamRejected as failure:
            if failure.symbol == symbol:
                why = reasons.malformed(self.key(symbol), failure.said)
                yield cursor.broken(self.tried(symbol, why), final=True)
            else:
                yield cursor.broken(self.tried(symbol, failure.unavailable(), TierOutcome.FAILED))
        except UpstreamFailure as failure:
            yield cursor.broken(self.tried(symbol, failure.unavailable(), TierOutcome.FAILED))
        else:
            yield await self._ending(cursor)

    async def _ending(self, cursor: Cursor) -> SeriesDone | SeriesBroken:
        clamped = self._clamp_end if cursor.clipped else None
        if cursor.total:
            return cursor.done(clamped)
        key, asked = self.key(cursor.symbol), self._asked(cursor)
        if cursor.refused:
            why = reasons.all_refused(key, asked, cursor.refused, cursor.refusal)
            return cursor.broken(self.tried(cursor.symbol, why), final=True, missing=asked)
        listed: Container[str] | None = None
        if Tier.UPSTREAM in self.allowed:
            try:
                asking = self.sources.listed([cursor.symbol], self.deadline())
                listed = await self.in_time(asking, Tier.UPSTREAM)
            except (UpstreamFailure, OutOfTime):
                # Then it cannot be told.
                listed = None
        if listed is not None and cursor.symbol not in listed:
            why = reasons.unknown(key)
        else:
            why = reasons.nothing(key, asked, passing=listed is None)
        return cursor.broken(self.tried(cursor.symbol, why), final=True, missing=asked)

    def _asked(self, cursor: Cursor) -> Interval:
        if cursor.clipped and self._clamp_end is not None:
            return Interval(self._whole.start, self._clamp_end)
        return self._whole

    # ----------------------------------------------------------------- what all symbols share

    def key(self, symbol: str) -> SeriesKey:
        """Return the series of *symbol*."""
        return self.question.key.about(symbol)

    def may_fetch(self) -> bool:
        """Tell whether the upstream may be asked."""
        return Tier.UPSTREAM in self.allowed

    def not_held(self, symbol: str, missing: Interval) -> Unavailable:
        """Return why *missing* is not told where the upstream must not be asked."""
        key, as_of = self.key(symbol), self.question.as_of
        wants_store_alone = self.allowed == {Tier.STORE}
        if self.holdings.failed:
            return reasons.store_down()
        if wants_store_alone and self.sources.store is None:
            return reasons.no_store()
        if as_of is not None:
            return reasons.not_known_then(key, missing, as_of)
        return reasons.not_held(key, missing)

    def clamp(self, cursor: Cursor) -> bool:
        """Give way to what the account may read, where that is asked for; tell whether that may help."""
        if not self.question.clamp or cursor.clipped:
            return False
        end = self._clamp_end
        if end is None:
            end = self.sources.clock.market() - self.sources.policy.recent
        if end <= self._whole.start:
            return False
        self._clamp_end = end
        cursor.clip(end)
        self.fetching.leave_failed()
        return True

    def company(self, later: Sequence[str], hole: Interval) -> list[str]:
        """Return those of *later* that miss *hole*, neither more nor less."""
        return [
            symbol
            for symbol in later
            if hole in self.holdings.missing(symbol, self._range(symbol))
            and self.fetching.own(symbol, hole) is None
        ]

    def store_failed(self) -> None:
        """Take notice that the store cannot be had."""
        self.holdings.fail()
        self.fetching.leave_store()

    async def look(self, symbol: str) -> None:
        """Look up anew what the store holds of *symbol*."""
        await self._look([symbol])

    def patience(self) -> float:
        """Return for how many seconds something may be waited for."""
        if self._deadline is None:
            return self.sources.policy.progress_patience
        return max(0.0, self._deadline - self.sources.clock.monotonic())

    def deadline(self) -> float:
        """Return when what is asked on the way is of no more use, seconds of the monotonic clock."""
        if self._deadline is None:
            return self.sources.clock.monotonic() + _LIST_PATIENCE
        return self._deadline

    def check_time(self) -> None:
        """Begin nothing for which there is no time any more.

        Raises:
            OutOfTime: the question's deadline has come.
        """
        if self.patience() <= 0:
            raise OutOfTime

    async def in_time(self, awaitable: Awaitable[T], tier: Tier) -> T:
        """Return what *awaitable* brings from *tier*.

        Raises:
            OutOfTime: the question's deadline comes first.
        """
        if self._deadline is None:
            return await awaitable
        try:
            async with asyncio.timeout(self.patience()):
                return await awaitable
        except TimeoutError:
            raise OutOfTime(tier) from None

    def tried(
        self, symbol: str, why: Unavailable, upstream: TierOutcome = TierOutcome.EMPTY
    ) -> Unavailable:
        """Return why *symbol* is not told with the tiers that were tried for it, and how."""
        outcomes: dict[Tier, TierOutcome] = {}
        if self.sources.cache is not None:
            outcomes[Tier.REDIS] = TierOutcome.EMPTY
        if self.sources.store is not None:
            failed = self.holdings.failed
            outcomes[Tier.STORE] = TierOutcome.FAILED if failed else TierOutcome.EMPTY
        if self.fetching.has_asked(symbol):
            outcomes[Tier.UPSTREAM] = upstream
        return self._with_tiers(why, outcomes)

    def _late(self, symbol: str, tier: Tier | None) -> Unavailable:
        """Return that time is up for *symbol*. Of what is missing only *tier* was asked, and who is asked before it."""
        outcomes: dict[Tier, TierOutcome] = {}
        if tier is not None and self.cache is not None:
            outcomes[Tier.REDIS] = TierOutcome.EMPTY
        if tier is not None:
            outcomes[tier] = TierOutcome.FAILED
        if self.holdings.failed:
            outcomes[Tier.STORE] = TierOutcome.FAILED
        return self._with_tiers(reasons.out_of_time(self.key(symbol)), outcomes)

    def _with_tiers(self, why: Unavailable, outcomes: Mapping[Tier, TierOutcome]) -> Unavailable:
        """Return *why* with those of the gateway's tiers of the past that have an outcome, or must not have one."""
        now = self.sources.clock.wall()
        attempts: list[TierAttempt] = []
        for tier in (Tier.REDIS, Tier.STORE, Tier.UPSTREAM):
            if tier not in self.allowed:
                attempts.append(TierAttempt(tier, TierOutcome.NOT_ALLOWED, now))
            elif tier in outcomes:
                attempts.append(TierAttempt(tier, outcomes[tier], now))
        return why.after(*attempts)

    def _range(self, symbol: str) -> Interval:
        """Return the range of *symbol*, cut where the account is known to read no further and nothing else holds it."""
        end = self._clamp_end
        if end is None or all(
            hole.end <= end for hole in self.holdings.missing(symbol, self._whole)
        ):
            return self._whole
        return Interval(self._whole.start, end)

    async def _look(self, symbols: Sequence[str]) -> None:
        looking = self.holdings.look(symbols, self._whole, self.deadline())
        await self.in_time(looking, Tier.STORE)
        if self.holdings.failed:
            self.fetching.leave_store()


def _in_good_time(deadline: float, clock: Clock) -> float:
    """Return when whoever must answer by *deadline* has to know what: seconds of the monotonic clock."""
    wait = max(0.0, deadline - clock.monotonic())
    return deadline - min(wait * _REPLY_SHARE, _REPLY_MOST)
