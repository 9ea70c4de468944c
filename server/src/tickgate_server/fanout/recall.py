"""Asks over HTTP for what the stream does not say: what stands when somebody comes, and what stands after a gap."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from ..market.answer import ANY_AGE, Freshness, Question
from ..market.live import Channel, Gap, GapRepair, RecordKind
from ..market.unavailable import Reason, Unavailable
from ..ports import Answers, Clock, LatestSource
from .box import Box
from .hub import Hub
from .interest import EVERYTHING, Topic

_log = structlog.get_logger(__name__)

_MOST: Final = 200
"""Symbols in one question."""

_AT_ONCE: Final = 4
"""Questions under way at most."""

_GRACE: Final = 0.25
"""Seconds after a confirmation in which a busy symbol says by itself where it stands."""

_LOOK: Final = 1.0
"""Seconds between two looks at a gap that is repaired as far as it is over."""

_AGAIN: Final = 5.0
"""Seconds before a question that failed is asked again, unless its answer names more. Each failure doubles them."""

_DOUBLED: Final = 3
"""Times that they are doubled at most."""

_KINDS: Final = {Channel.QUOTES: RecordKind.QUOTE, Channel.TRADES: RecordKind.TRADE}
"""Channels whose newest record can be asked for."""

_NOTHING: Final = frozenset(
    {
        Reason.SYMBOL_UNKNOWN,
        Reason.CONTRACT_UNKNOWN,
        Reason.CONTRACT_EXPIRED,
        Reason.NO_DATA,
        Reason.NOT_ENTITLED,
    }
)
"""Reasons that asking again does not change."""

_FAULT: Final = Unavailable(
    reason=Reason.UPSTREAM_ERROR, message="the gateway could not ask, for a fault of its own"
)


class RecallSources(Struct, frozen=True):
    """Who answers."""

    snapshots: Mapping[Channel, LatestSource[Any]]
    """For somebody who waits: from whatever tier is fresh enough."""

    resyncs: LatestSource[Any]
    """For the gateway itself: quotes, from the upstream alone."""


class _Wish(Struct):
    """Who wants to know where a topic stands."""

    sequence: int = 0
    """Number of its newest record by then."""

    boxes: dict[Box, None] = field(default_factory=dict)


class _Due(Struct, frozen=True, eq=False):
    """Topics to ask about at a time."""

    at: float
    topics: Sequence[Topic]
    gap: Gap | None
    failures: int = 0


class Recall:
    """Brings followers of one feed what the stream has not."""

    def __init__(self, hub: Hub, sources: RecallSources, clock: Clock, patience: float) -> None:
        """Ask *sources*; each question may take *patience* seconds."""
        self._hub = hub
        self._sources = sources
        self._clock = clock
        self._patience = patience
        self._wishes: dict[Channel, dict[Topic, _Wish]] = {channel: {} for channel in _KINDS}
        self._resyncs: list[_Due] = []
        self._asking: list[_Due] = []
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._work = asyncio.Event()

    def snapshot(self, topics: Iterable[Topic], box: Box) -> None:
        """Let *box* have what stands of *topics*: from the stream where it has said so, else soon."""
        for topic in topics:
            entry = topic.entry
            stands = entry.latest
            if stands is not None:
                self._hub.give_snapshot(topic, box, stands.value, stands.kind, stands.tier)
            elif entry.channel in _KINDS and entry.why is None and entry.symbol != EVERYTHING:
                wish = self._wishes[entry.channel].setdefault(topic, _Wish())
                wish.sequence = entry.sequence
                wish.boxes[box] = None
                self._work.set()

    def resync(self, topics: Sequence[Topic], gap: Gap | None) -> None:
        """Find out where *topics* stand that do not say it themselves within a moment, and mend *gap* by that."""
        self._resyncs.append(_Due(self._clock.monotonic() + _GRACE, topics, gap))
        self._work.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wait()
                # What is wanted by the time at which a place is free travels together.
                await self._places.acquire()
                tasks.create_task(self._do(self._next_job()))

    async def _wait(self) -> None:
        while not any(self._wishes.values()):
            at = min((due.at for due in self._resyncs), default=math.inf)
            left = at - self._clock.monotonic()
            if left <= 0:
                return
            self._work.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left if left < math.inf else None):
                    await self._work.wait()

    def _next_job(self) -> Coroutine[Any, Any, None]:
        for channel, wishes in self._wishes.items():
            if wishes:
                batch = {topic: wishes.pop(topic) for topic in list(islice(wishes, _MOST))}
                return self._ask_snapshots(channel, batch)
        due = min(self._resyncs, key=lambda each: each.at)
        self._resyncs.remove(due)
        if len(due.topics) > _MOST:
            self._resyncs.append(replace(due, topics=due.topics[_MOST:]))
            due = replace(due, topics=due.topics[:_MOST])
        self._asking.append(due)
        return self._ask_again(due)

    async def _do(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except Exception:  # noqa: BLE001 - a fault of ours must not keep everybody else from being answered
            _log.exception("recall_failed", feed=self._hub.book.feed.value)
        finally:
            self._places.release()

    # ------------------------------------------------------------------------------------ snapshots

    async def _ask_snapshots(self, channel: Channel, wishes: Mapping[Topic, _Wish]) -> None:
        answers = await self._ask(
            self._sources.snapshots[channel], list(wishes), Freshness(max_event_age=ANY_AGE)
        )
        for topic, wish in wishes.items():
            entry, answer = topic.entry, answers[topic.entry.symbol]
            spoken = entry.sequence != wish.sequence or entry.latest is not None
            for box in wish.boxes:
                if box not in topic.boxes:
                    continue
                if isinstance(answer, Unavailable):
                    box.notice(entry, why=answer, urgent=True)
                elif not spoken:
                    self._hub.give_snapshot(
                        topic, box, answer.value, _KINDS[channel], answer.served_from
                    )
        self._hub.settle()

    # -------------------------------------------------------------------------------------- resyncs

    async def _ask_again(self, due: _Due) -> None:
        silent = [topic for topic in due.topics if _is_silent(topic)]
        for topic in due.topics:
            if topic.entry.latest is not None:
                topic.shown.clear()
        answers: Answers[Any] = {}
        try:
            if silent:
                answers = await self._ask(
                    self._sources.resyncs, silent, Freshness(max_age=0, max_event_age=ANY_AGE)
                )
            self._mend(due, [topic for topic in silent if _is_silent(topic)], answers)
        finally:
            self._asking.remove(due)
        if due.gap is not None:
            self._judge(due.gap)

    def _mend(self, due: _Due, silent: Iterable[Topic], answers: Answers[Any]) -> None:
        again: list[Topic] = []
        delay = _AGAIN * 2 ** min(due.failures, _DOUBLED)
        for topic in silent:
            answer = answers[topic.entry.symbol]
            if not isinstance(answer, Unavailable):
                self._hub.publish_resync(topic, answer.value, RecordKind.QUOTE)
                continue
            if not due.failures:
                for box in topic.boxes:
                    box.notice(topic.entry, why=answer)
            if answer.reason not in _NOTHING:
                again.append(topic)
                delay = max(delay, answer.retry_delay or 0.0)
        if again:
            at = self._clock.monotonic() + delay
            self._resyncs.append(_Due(at, again, due.gap, due.failures + 1))
            self._work.set()
        self._hub.settle()

    def _judge(self, gap: Gap) -> None:
        others = [due for due in (*self._resyncs, *self._asking) if due.gap is gap]
        if any(due.failures for due in others):
            gap.repair = GapRepair.PARTIAL
        elif not others and gap.end is not None:
            gap.repair = GapRepair.CURRENT
        elif not others:
            # Some of its symbols are not confirmed yet.
            self._resyncs.append(_Due(self._clock.monotonic() + _LOOK, (), gap))
            self._work.set()

    async def _ask(
        self, source: LatestSource[Any], topics: Sequence[Topic], freshness: Freshness
    ) -> Answers[Any]:
        symbols = tuple(topic.entry.symbol for topic in topics)
        question = Question(
            symbols=symbols,
            feed=self._hub.book.feed,
            deadline=self._clock.monotonic() + self._patience,
            freshness=freshness,
        )
        try:
            answers = await source.latest(question)
        except Exception:  # noqa: BLE001 - whoever waits is told that there is nothing, and asked for again
            _log.exception("recall_failed", feed=self._hub.book.feed.value)
            answers = {}
        return {symbol: answers.get(symbol, _FAULT) for symbol in symbols}


def _is_silent(topic: Topic) -> bool:
    entry = topic.entry
    waits = bool(topic.boxes) and entry.symbol != EVERYTHING
    return waits and entry.confirmed and entry.latest is None and entry.why is None
