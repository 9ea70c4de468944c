"""Fetching what is missing, once for all who want it at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby

import structlog
from msgspec.structs import replace

from ..errors import ShuttingDown, StoreDown, UpstreamFailure, UpstreamRejected
from ..market.interval import Interval, union
from ..market.series import SeriesKey
from ..ports import Clock, HistoryPages, HistoryStore, Priority, SeriesPart, Walk
from .course import Course
from .ledger import Entry, Ledger
from .policy import HistoryPolicy
from .seat import Seat
from .waiting import Pulse, closing

_log = structlog.get_logger(__name__)

_URGENCY = {priority: place for place, priority in enumerate(Priority)}


class Fills:
    """All fetches that are under way."""

    def __init__(
        self,
        pages: HistoryPages,
        store: HistoryStore | None,
        policy: HistoryPolicy,
        clock: Clock,
    ) -> None:
        """Fetch from *pages* into *store*."""
        self.pages = pages
        self.store = store
        self.policy = policy
        self.clock = clock
        self.ended = 0
        """Fetches that have ended: who looked into the store before the last of them may find more there now."""

        self._by_key: dict[SeriesKey, list[Fill]] = {}
        self._fills: set[Fill] = set()
        self._closed = False

    def of(self, key: SeriesKey) -> Sequence[Fill]:
        """Return the fetches under way of which *key* is part."""
        return self._by_key.get(key, ())

    def start(self, walk: Walk) -> Fill:
        """Begin to fetch *walk*. Nothing is asked before somebody sits in it."""
        if self._closed:
            raise ShuttingDown
        fill = Fill(walk, self)
        self._fills.add(fill)
        for key in fill.keys:
            self._by_key.setdefault(key, []).append(fill)
        fill.task = asyncio.create_task(fill.run())
        fill.task.add_done_callback(lambda task: self._end(fill, task))
        return fill

    def close(self, fill: Fill) -> None:
        """Let nobody join *fill* any more."""
        for key in fill.keys:
            fills = self._by_key.get(key, [])
            if fill in fills:
                fills.remove(fill)
            if not fills:
                self._by_key.pop(key, None)

    async def written(self, keys: Collection[SeriesKey]) -> None:
        """Wait until nothing of *keys* is on its way into the store. Who waits sits nowhere himself."""
        wanted = frozenset(keys)
        tasks = [fill.task for fill in self._fills if not wanted.isdisjoint(fill.keys)]
        if tasks:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Stop everything at once."""
        self._closed = True
        tasks = [fill.task for fill in self._fills]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, fill: Fill, task: asyncio.Task[None]) -> None:
        self.close(fill)
        self._fills.discard(fill)
        self.ended += 1
        if not task.cancelled() and (fault := task.exception()) is not None:
            # Whoever sits in it is told as well, if anybody still does.
            _log.error("history_fetch_failed", exc_info=fault)


class Fill:
    """One walk through the upstream's pages, and what it has brought so far.

    It goes on as long as somebody sits in it: at the upstream's pace into the store, or, where only memory holds what
    it brings, at the pace of who reads. When the last one has left it stops behind the page that is under way.
    """

    task: asyncio.Task[None]

    def __init__(self, walk: Walk, fills: Fills) -> None:
        self.walk = replace(walk, wanted_until=self._wanted_until)
        self.course = Course(walk.newest_first)
        self.arrived = Pulse()
        """Given when a page has come, and at the end."""

        self.closed = False
        """Whether nothing more comes."""

        self.failure: UpstreamFailure | None = None
        self._fills = fills
        self._ledgers = {symbol: Ledger(walk.interval, self.course) for symbol in walk.symbols}
        self._rejected: dict[str, UpstreamRejected] = {}
        self._spool: deque[list[Entry]] = deque()
        self._seats: set[Seat] = set()
        self._moved = Pulse()

    @property
    def keys(self) -> Iterator[SeriesKey]:
        """The series that are fetched."""
        return (self.walk.key.about(symbol) for symbol in self._ledgers)

    # ------------------------------------------------------------------------------- who reads

    def sit(
        self,
        wants: Mapping[str, Interval],
        *,
        eager: bool,
        uses_store: bool,
        deadline: float | None = None,
    ) -> Seat:
        """Return a place for somebody who *wants* these stretches; see `Seat`."""
        seat = Seat(self, dict(wants), eager=eager, uses_store=uses_store, deadline=deadline)
        self._seats.add(seat)
        self._moved.give()
        return seat

    def leave(self, seat: Seat) -> None:
        """Take *seat* away."""
        self._seats.discard(seat)
        self._moved.give()
        if not self._seats and self._fills.store is None:
            # What it would still bring is kept nowhere.
            self.closed = True
            self._fills.close(self)
            self.task.cancel()

    def moved(self) -> None:
        """Take notice that somebody has read on, or waits."""
        self._moved.give()

    def offers(
        self, symbol: str, rest: Interval, priority: Priority, *, page: int, uses_store: bool
    ) -> bool:
        """Tell whether who wants *rest* of *symbol* does well to wait for it here.

        Not where it was let go already, where others are in less of a hurry, where pages are smaller than the *page*
        that is worth a request, or where the way there is longer than what is wanted. Who wants but a few values of a
        long stretch, and so asks for a small page, waits for no more than about one.
        """
        first = self.course.first(rest)
        if self.closed or first not in self.walk.interval:
            return False
        if _URGENCY[self.walk.priority] > _URGENCY[priority] or self.walk.page < page:
            return False
        ledger = self._ledgers[symbol]
        entry = ledger.find(first)
        if entry is not None:
            return not entry.gone or (entry.kept and uses_store)
        if symbol in self._rejected or ledger.ahead.empty:
            return True
        wanted = rest.intersection(self.walk.interval)
        reach = wanted.end - wanted.start
        if page < self._fills.policy.page:
            reach = min(reach, ledger.stride)
        return abs(first - self.course.first(ledger.ahead)) <= reach

    def entry(self, symbol: str, instant: int) -> Entry | None:
        """Return what has come of *symbol* at *instant*; None where nothing has come yet.

        Raises:
            UpstreamFailure: nothing will.
        """
        if symbol in self._rejected:
            raise self._rejected[symbol]
        entry = self._ledgers[symbol].find(instant)
        if entry is None and self.failure is not None:
            raise self.failure
        if entry is None and self.closed and self.task.done() and not self.task.cancelled():
            # A fault of ours: nobody may wait for what it has kept from coming.
            self.task.result()
        return entry

    def ledger(self, symbol: str) -> Ledger:
        """Return what has come of *symbol*."""
        return self._ledgers[symbol]

    def _wanted_until(self) -> float:
        # Who has no deadline stays for as long as anything comes.
        now = self._fills.clock.monotonic()
        patient = now + self._fills.policy.progress_patience
        deadlines = (patient if seat.deadline is None else seat.deadline for seat in self._seats)
        return max(deadlines, default=now)

    # ---------------------------------------------------------------------------- what comes

    async def run(self) -> None:
        """Walk until all has come, nobody wants more, or it fails."""
        walk: Walk | None = self.walk
        try:
            while walk is not None:
                walk = await self._follow(walk)
        except UpstreamFailure as failure:
            self.failure = failure
        finally:
            self.closed = True
            self._fills.close(self)
            self.arrived.give()

    async def _follow(self, walk: Walk) -> Walk | None:
        """Walk *walk*; return what is to be walked instead, where the upstream does not take one of its symbols."""
        policy, clock = self._fills.policy, self._fills.clock
        try:
            async with closing(self._fills.pages.walk(walk)) as pages:
                while await self._is_wanted():
                    # Before the page is asked for: it may be under way for long.
                    settled_before = walk.key.settled_before(clock.market() - policy.settle)
                    page = await anext(pages, None)
                    if page is None:
                        self._check(walk)
                        return None
                    await self._take(page, settled_before)
        except UpstreamRejected as failure:
            if failure.symbol not in walk.symbols or not self._has_nothing(walk):
                raise
            return self._without(walk, failure)
        return None

    async def _take(self, page: Sequence[SeriesPart], settled_before: int) -> None:
        entries = [
            Entry(
                part.symbol,
                part.interval,
                part.blocks,
                settled_before,
                refused=part.refused,
                refusal=part.refusal,
            )
            for part in page
            if not part.interval.empty
        ]
        for entry in entries:
            self._ledgers[entry.symbol].add(entry)
        self._spool.append(entries)
        for seat in self._seats:
            # It may be what they wait for; otherwise they wait again.
            seat.waiting = False
        self.arrived.give()
        for symbol, parts in groupby(entries, lambda entry: entry.symbol):
            await self._keep(symbol, list(parts))

    async def _keep(self, symbol: str, entries: list[Entry]) -> None:
        """Write *entries*, which follow each other, into the store, as far as they no longer change."""
        store = self._fills.store
        settled = union(entry.settled for entry in entries)
        if store is None or not settled or not store.up:
            return
        blocks = [
            self.course.cut(block, entry.settled) for entry in entries for block in entry.blocks
        ]
        try:
            await store.write(
                self.walk.key.about(symbol),
                # They touch each other, and what is settled comes before what is not.
                settled[0],
                self.course.turned(block for block in blocks if len(block)),
                sum(entry.refused for entry in entries),
            )
        except StoreDown:
            # The store counts it. What has come is read from here, and asked for again by the next question.
            return
        for entry in entries:
            entry.kept = entry.settled == entry.interval

    async def _is_wanted(self) -> bool:
        """Wait until somebody wants the next page and there is room for it; return False when all have left."""
        while self._seats:
            waiting = any(seat.waiting for seat in self._seats)
            if (waiting or any(seat.eager for seat in self._seats)) and self._has_room():
                return True
            try:
                async with asyncio.timeout(self._fills.policy.hold if waiting else None):
                    await self._moved.wait()
            except TimeoutError:
                self._let_go()
        self.closed = True
        self._fills.close(self)
        return False

    def _has_room(self) -> bool:
        while len(self._spool) >= self._fills.policy.spool:
            held_up = any(seat.needs(entry) for seat in self._seats for entry in self._spool[0])
            # Who all wait for something that comes later would wait for ever.
            if held_up and not all(seat.waiting for seat in self._seats):
                return False
            self._let_go()
        return True

    def _let_go(self) -> None:
        if self._spool:
            for entry in self._spool.popleft():
                entry.let_go()

    def _has_nothing(self, walk: Walk) -> bool:
        return all(self._ledgers[symbol].empty for symbol in walk.symbols)

    def _without(self, walk: Walk, failure: UpstreamRejected) -> Walk | None:
        self._rejected[failure.symbol] = failure
        self.arrived.give()
        rest = tuple(symbol for symbol in walk.symbols if symbol != failure.symbol)
        return replace(walk, key=walk.key.about(rest[0]), symbols=rest) if rest else None

    def _check(self, walk: Walk) -> None:
        short = [symbol for symbol in walk.symbols if not self._ledgers[symbol].ahead.empty]
        if short:
            msg = f"the walk of {walk.interval} ended before it had told all of {', '.join(short)}"
            raise RuntimeError(msg)
