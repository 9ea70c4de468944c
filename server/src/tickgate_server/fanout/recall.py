"""Asks over HTTP for what the stream does not say: what stands when somebody comes, and what stands after a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from ..market.answer import Answer, Freshness, Question
from ..market.live import Channel, Gap, GapRepair, RecordKind
from ..market.time import NANOS
from ..market.unavailable import OUTAGES, Unavailable
from ..ports import Clock, LatestSource
from .box import Box
from .hub import Hub
from .interest import EVERYTHING, Topic

_MOST: Final = 200
"""Symbols in one question."""

_AT_ONCE: Final = 4
"""Questions under way at most."""

_GRACE: Final = 0.25
"""Seconds after a confirmation in which a busy symbol says by itself where it stands."""

_AGAIN: Final = 5.0
"""Seconds before a question that failed is asked again, if its answer names no delay."""

_ANY_AGE: Final = 10 * 366 * 24 * 3600 * NANOS
"""A symbol that has not moved for years stands where it stands."""

_KINDS: Final = {Channel.QUOTES: RecordKind.QUOTE, Channel.TRADES: RecordKind.TRADE}
"""Channels whose newest record can be asked for."""


class RecallSources(Struct, frozen=True):
    """Who answers."""

    snapshots: Mapping[Channel, LatestSource[Any]]
    """For somebody who waits: from whatever tier is fresh enough."""

    resyncs: LatestSource[Any]
    """For the gateway itself: quotes, from the upstream alone."""


class _Due(Struct, frozen=True):
    """Topics to ask about at a time."""

    at: float
    topics: Sequence[Topic]
    gap: Gap | None


class Recall:
    """Brings followers of one feed what the stream has not."""

    def __init__(self, hub: Hub, sources: RecallSources, clock: Clock, patience: float) -> None:
        """Ask *sources*; each question may take *patience* seconds."""
        self._hub = hub
        self._sources = sources
        self._clock = clock
        self._patience = patience
        self._wanted: dict[Topic, list[Box]] = {}
        self._resyncs: list[_Due] = []
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._work = asyncio.Event()

    def snapshot(self, topics: Iterable[Topic], box: Box) -> None:
        """Let *box* have what stands of *topics*: from the stream where it has said so, else soon."""
        for topic in topics:
            entry = topic.entry
            if entry.channel not in _KINDS or entry.symbol == EVERYTHING:
                continue
            if entry.latest is not None and entry.confirmed:
                self._hub.give_snapshot(topic, box, entry.latest.value, _KINDS[entry.channel])
            elif entry.why is None:
                self._wanted.setdefault(topic, []).append(box)
                self._work.set()

    def resync(self, topics: Sequence[Topic], gap: Gap | None) -> None:
        """Find out where *topics* stand that do not say it themselves within a moment."""
        topics = [topic for topic in topics if topic.entry.symbol != EVERYTHING]
        if topics:
            self._resyncs.append(_Due(self._clock.monotonic() + _GRACE, topics, gap))
            self._work.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wait()
                for batch in self._next_snapshots():
                    tasks.create_task(self._ask_snapshots(batch))
                for due in self._due_resyncs():
                    tasks.create_task(self._ask_again(due))

    async def _wait(self) -> None:
        self._work.clear()
        if self._wanted:
            return
        timeout = None
        if self._resyncs:
            timeout = min(due.at for due in self._resyncs) - self._clock.monotonic()
        try:
            async with asyncio.timeout(timeout):
                await self._work.wait()
        except TimeoutError:
            pass

    # ------------------------------------------------------------------------------------ snapshots

    def _next_snapshots(self) -> list[list[tuple[Topic, list[Box]]]]:
        wanted, self._wanted = self._wanted, {}
        batches: list[list[tuple[Topic, list[Box]]]] = []
        for channel in _KINDS:
            of_channel = [item for item in wanted.items() if item[0].entry.channel is channel]
            batches += (of_channel[i : i + _MOST] for i in range(0, len(of_channel), _MOST))
        return batches

    async def _ask_snapshots(self, batch: Sequence[tuple[Topic, list[Box]]]) -> None:
        channel = batch[0][0].entry.channel
        async with self._places:
            answers = await self._ask(
                self._sources.snapshots[channel],
                [topic for topic, _ in batch],
                Freshness(max_event_age=_ANY_AGE),
            )
        for topic, boxes in batch:
            if topic.entry.latest is None and topic.entry.why is None:
                # Otherwise the stream was quicker, and has told everybody something newer.
                self._give(topic, boxes, answers[topic.entry.symbol])
        self._hub.settle()

    def _give(self, topic: Topic, boxes: Iterable[Box], answer: Answer[Any] | Unavailable) -> None:
        entry = topic.entry
        for box in boxes:
            if box.followed.get((entry.channel, entry.symbol)) is not entry:
                continue
            if isinstance(answer, Unavailable):
                box.notice(entry, why=answer)
            else:
                kind = _KINDS[entry.channel]
                self._hub.give_snapshot(topic, box, answer.value, kind, answer.served_from)

    # -------------------------------------------------------------------------------------- resyncs

    def _due_resyncs(self) -> list[_Due]:
        now = self._clock.monotonic()
        due = [one for one in self._resyncs if one.at <= now]
        self._resyncs = [one for one in self._resyncs if one.at > now]
        return [
            _Due(one.at, one.topics[i : i + _MOST], one.gap)
            for one in due
            for i in range(0, len(one.topics), _MOST)
        ]

    async def _ask_again(self, due: _Due) -> None:
        silent = [topic for topic in due.topics if self._is_silent(topic)]
        for topic in due.topics:
            if topic.entry.latest is not None:
                topic.shown.clear()
        failed: list[Topic] = []
        delay = _AGAIN
        if silent:
            async with self._places:
                answers = await self._ask(
                    self._sources.resyncs, silent, Freshness(max_age=0, max_event_age=_ANY_AGE)
                )
            for topic in silent:
                answer = answers[topic.entry.symbol]
                if not isinstance(answer, Unavailable):
                    if self._is_silent(topic):
                        self._hub.publish_resync(topic, answer.value, RecordKind.QUOTE)
                elif answer.reason in OUTAGES:
                    failed.append(topic)
                    delay = max(delay, answer.retry_delay or 0.0)
        if failed:
            self._resyncs.append(_Due(self._clock.monotonic() + delay, failed, due.gap))
            self._work.set()
        if due.gap is not None:
            self._judge(due.gap, failed=bool(failed))

    def _judge(self, gap: Gap, *, failed: bool) -> None:
        waiting = any(due.gap is gap for due in self._resyncs)
        if failed or waiting:
            gap.repair = GapRepair.PARTIAL
        else:
            gap.repair = GapRepair.CURRENT

    def _is_silent(self, topic: Topic) -> bool:
        entry = topic.entry
        return entry.confirmed and entry.latest is None and entry.why is None and bool(topic.boxes)

    async def _ask(
        self, source: LatestSource[Any], topics: Sequence[Topic], freshness: Freshness
    ) -> Mapping[str, Answer[Any] | Unavailable]:
        question = Question(
            symbols=tuple(topic.entry.symbol for topic in topics),
            feed=self._hub.book.feed,
            deadline=self._clock.monotonic() + self._patience,
            freshness=freshness,
        )
        return await source.latest(question)
