"""The job that asks upstream groups which nobody else has asked for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct

from ..errors import UpstreamFailure
from ..market.answer import Question
from ..market.asset import CodeKind
from ..market.provenance import Feed
from ..market.quality import assess
from ..market.session import MarketSession
from ..market.unavailable import Reason, Unavailable
from ..observe.counters import ProbeCounts, UpstreamCounts
from ..ports import Clock, ClockSource, Group, QuoteSource, ReferenceSource, Upstream

_log = structlog.get_logger(__name__)

_MARGIN: Final = 0.1
"""Share of the idle time that is waited on top of it: who asks at just that interval, as the market's clock is read by
default, comes first and is not asked for twice. A group is looked at as often."""

_KEY_TAKEN: Final = frozenset({Reason.NO_DATA, Reason.SYMBOL_UNKNOWN, Reason.NOT_ENTITLED})
"""Reasons that the upstream gives only to those it knows."""


class Finding(Struct, frozen=True, gc=False):
    """What an inquiry brought."""

    reason: Reason | None = None
    """Why it failed; None when it was answered."""

    quality_score: int | None = None
    """Of the quote that came, 0 to 100; None when none was asked for or none came."""


class Inquiry(Struct, frozen=True):
    """A cheap question to one group of endpoints."""

    upstream: Upstream
    group: Group
    ask: Callable[[float], Awaitable[Finding]]
    """Asks before a deadline, seconds of the monotonic clock; may raise `UpstreamFailure`."""

    symbol: str = ""
    """Symbol asked about; empty where the question names none."""


def quote_inquiry(
    source: QuoteSource,
    feed: Feed,
    symbol: str,
    clock: Clock,
    session: Callable[[], MarketSession | None],
) -> Inquiry:
    """Return the question for the latest quote of *symbol*, whose quality is judged in the market's *session*."""

    async def ask(deadline: float) -> Finding:
        answers = await source.latest(Question((symbol,), feed, deadline))
        answer = answers[symbol]
        if isinstance(answer, Unavailable):
            return Finding(answer.reason)
        event_time = answer.value.event_time
        age = None if event_time is None else clock.market() - event_time
        return Finding(quality_score=assess(answer.value, age, session()).score)

    return Inquiry(Upstream.DATA, Group.LATEST, ask, symbol)


def codes_inquiry(source: ReferenceSource) -> Inquiry:
    """Return the question for the codes of exchanges; *source* must not remember them."""

    async def ask(deadline: float) -> Finding:
        await source.codes(CodeKind.EXCHANGE, "", deadline)
        return Finding()

    return Inquiry(Upstream.DATA, Group.REFERENCE, ask)


def peek_inquiry(
    upstream: Upstream, group: Group, peek: Callable[[float], Awaitable[None]]
) -> Inquiry:
    """Return the question for something small, which *peek* asks of *group* at *upstream* before a deadline."""

    async def ask(deadline: float) -> Finding:
        await peek(deadline)
        return Finding()

    return Inquiry(upstream, group, ask)


def clock_inquiry(source: ClockSource) -> Inquiry:
    """Return the question for the upstream's clock."""

    async def ask(deadline: float) -> Finding:
        await source.clock(deadline)
        return Finding()

    return Inquiry(Upstream.TRADING, Group.REFERENCE, ask)


class Probe:
    """Asks each group that has been left alone, so that its state is known before somebody needs it.

    What comes of it stands in the counters. The questions pass through the same guards as everybody's, so they spend
    from the budget, and one that is answered closes a circuit that nobody else would try.
    """

    def __init__(
        self,
        inquiries: Sequence[Inquiry],
        counts_of: Callable[[str, str], UpstreamCounts],
        clock: Clock,
        *,
        idle: float,
        patience: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Watch the groups of *inquiries* from now on.

        Args:
            inquiries: one for each group, from the least urgent class.
            counts_of: gives the counters of an upstream and group.
            clock: measures.
            idle: seconds without a request after which a group is asked; 0 never asks.
            patience: seconds that one question may take.
            sleep: waits so many seconds.
        """
        self._inquiries = inquiries
        self._counts_of = counts_of
        self._clock = clock
        self._idle = idle
        self._patience = patience
        self._sleep = sleep
        # Counted from the start, and on from each question: one that an open circuit refuses is no traffic.
        self._asked_at = dict.fromkeys(map(_name, inquiries), clock.monotonic())

    async def run(self) -> None:
        """Keep asking until cancelled; return at once when it never asks."""
        while self._idle > 0:
            await self._sleep(self.pause())
            await self.ask_due()

    def pause(self) -> float:
        """Return the seconds until a group may be due."""
        soonest = min(map(self._due_at, self._inquiries), default=0.0) - self._clock.monotonic()
        return max(soonest, self._idle * _MARGIN)

    def due(self) -> list[Inquiry]:
        """Return what should be asked now: of groups that have been left alone, and wait for no answer."""
        now = self._clock.monotonic()
        return [
            inquiry
            for inquiry in self._inquiries
            if self._due_at(inquiry) <= now and not self._counts(inquiry).in_flight
        ]

    async def ask_due(self) -> None:
        """Ask what is due, one after the other: while a circuit is tried with one, it would refuse the next."""
        for inquiry in self.due():
            await self._ask(inquiry)

    def _due_at(self, inquiry: Inquiry) -> float:
        last = max(self._counts(inquiry).last_request_at or 0.0, self._asked_at[_name(inquiry)])
        return last + self._idle * (1 + _MARGIN)

    async def _ask(self, inquiry: Inquiry) -> None:
        started, at = self._clock.monotonic(), self._clock.wall()
        self._asked_at[_name(inquiry)] = started
        try:
            found = await inquiry.ask(started + self._patience)
        except UpstreamFailure as failure:
            found = Finding(failure.reason)
        except Exception:  # noqa: BLE001 - a fault of ours must not end the job
            _log.exception(
                "probe_failed", upstream=inquiry.upstream.value, group=inquiry.group.value
            )
            return
        self._note(inquiry, found, at, self._clock.monotonic() - started)

    def _note(self, inquiry: Inquiry, found: Finding, at: int, seconds: float) -> None:
        counts = self._counts(inquiry)
        before = None if counts.probe is None else counts.probe.reason
        counts.probe = ProbeCounts(
            time=at,
            reason=None if found.reason is None else found.reason.name,
            latency=seconds if found.reason is None else None,
            key_valid=_key_valid(found.reason),
            symbol=inquiry.symbol,
            quality_score=found.quality_score,
        )
        if counts.probe.reason != before:
            _log.info(
                "probe_changed",
                upstream=inquiry.upstream.value,
                group=inquiry.group.value,
                reason=counts.probe.reason,
            )

    def _counts(self, inquiry: Inquiry) -> UpstreamCounts:
        return self._counts_of(*_name(inquiry))


def _name(inquiry: Inquiry) -> tuple[str, str]:
    return inquiry.upstream.value, inquiry.group.value


def _key_valid(reason: Reason | None) -> bool | None:
    if reason is None or reason in _KEY_TAKEN:
        return True
    return False if reason is Reason.UPSTREAM_UNAUTHENTICATED else None
