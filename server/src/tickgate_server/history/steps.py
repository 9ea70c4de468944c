"""One series of a question, read step by step from whatever holds what comes next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import NotEntitled, StoreDown, UpstreamFailure
from ..market.columns import Block
from ..market.interval import Interval
from ..market.provenance import Feed, Tier
from ..market.unavailable import Unavailable
from ..ports import SeriesChunk
from .cursor import Cursor
from .ledger import Entry, Stored
from .seat import Seat
from .slots import CachedSlots, Slots, Warmer
from .waiting import closing

if TYPE_CHECKING:
    from .reading import Reading


class Unanswered(Exception):
    """None of the tiers that may answer can."""

    def __init__(self, why: Unavailable) -> None:
        super().__init__(why.message)
        self.why = why


class SeriesReading:
    """Reads one series: what the shared cache holds, what the store holds, and what is missing from the upstream."""

    def __init__(self, reading: Reading, cursor: Cursor, later: Sequence[str]) -> None:
        """Read for *reading* what is left of *cursor*; *later* are the symbols that come after it."""
        self._reading = reading
        self._cursor = cursor
        self._later = later
        self._course = reading.course
        self._symbol = cursor.symbol
        self._key = reading.key(cursor.symbol)
        self._slots: CachedSlots | None = None
        self._warmer: Warmer | None = None
        settled = self._key.settled_before(reading.now - reading.sources.policy.settle)
        self._final = final = Slots(self._key, settled)
        if reading.cache is not None:
            whole, most = cursor.rest, reading.sources.policy.slot_rows
            self._slots = CachedSlots(reading.cache, self._key, final, self._course, whole)
            self._warmer = Warmer(reading.cache, self._key, final, self._course, whole, most)

    async def chunks(self) -> AsyncIterator[SeriesChunk]:
        """Yield everything.

        Raises:
            Unanswered: what comes next is held by no tier that may answer.
            UpstreamFailure: what comes next cannot be fetched.
        """
        cursor, is_entitled = self._cursor, False
        while not cursor.finished:
            try:
                self._reading.check_time()
                if not is_entitled:
                    await self._ask_whether_entitled()
                    is_entitled = True
                async with closing(self._step()) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except StoreDown:
                self._reading.store_failed()
                cursor.interrupt()
                again = self._course.first(cursor.rest)
                self._leave_out(Interval(again, again + 1))
            except NotEntitled:
                if not self._reading.clamp(cursor):
                    raise

    async def _step(self) -> AsyncIterator[SeriesChunk]:
        """Yield what the nearest tier holds of what comes next."""
        cursor = self._cursor
        cursor.begin()
        slot = await self._cached_slot()
        if slot is not None:
            for chunk in self._cached(*slot):
                yield chunk
            return
        held = self._reading.holdings.held(self._symbol, cursor.rest)
        if held is not None:
            if self._slots is not None:
                # The rest of a day, and then what the cache holds again.
                held = self._slots.before_found(held)
            refused = self._reading.holdings.refused(self._symbol, held)
            steps = self._stored(held, refused, None)
        else:
            steps = self._missing()
        async with closing(steps) as chunks:
            async for chunk in chunks:
                yield chunk

    # ------------------------------------------------------------------------------ the cache

    async def _cached_slot(self) -> tuple[Interval, Sequence[Block]] | None:
        if self._slots is None:
            return None
        found = await self._slots.at(self._course.first(self._cursor.rest))
        if found is not None and self._key.adjusted and not self._is_of_today(found[1]):
            self._slots.drop(found[0])
            return None
        return found

    def _is_of_today(self, blocks: Sequence[Block]) -> bool:
        of_today = self._reading.sources.adjustments.of_today
        return all(of_today(block.origin.receive_time) for block in blocks)

    def _cached(self, slot: Interval, blocks: Sequence[Block]) -> Iterator[SeriesChunk]:
        piece = slot.intersection(self._cursor.rest)
        self._leave_out(slot)
        for block in self._course.turned(blocks):
            yield from self._cursor.take(_from(Tier.REDIS, self._course.cut(block, piece)))
            if self._cursor.finished:
                return
        if self._slots is not None:
            self._slots.drop(slot)
        self._passed(piece)

    # ------------------------------------------------------------------------------ the store

    async def _stored(
        self, piece: Interval, refused: int, refusal: Unavailable | None
    ) -> AsyncIterator[SeriesChunk]:
        reading, cursor = self._reading, self._cursor
        store = reading.sources.store
        assert store is not None, "something is held"
        cursor.refuse(refused, refusal)
        if refused:
            self._leave_out(piece)
        rows = reading.rows if cursor.wanted is None else min(reading.rows, cursor.wanted)
        read = store.read(
            self._key,
            piece,
            newest_first=self._course.newest_first,
            as_of=reading.question.as_of,
            rows=rows,
        )
        async with closing(read) as blocks:
            while (block := await reading.in_time(_next(blocks), Tier.STORE)) is not None:
                for chunk in self._take(_from(Tier.STORE, block)):
                    yield chunk
                if cursor.finished:
                    return
                # It may have been read at leisure.
                reading.check_time()
        self._passed(piece)

    # --------------------------------------------------------------------------- the upstream

    async def _missing(self) -> AsyncIterator[SeriesChunk]:
        reading, rest = self._reading, self._cursor.rest
        hole = reading.holdings.missing(self._symbol, rest)[0]
        if not reading.may_fetch():
            raise Unanswered(reading.not_held(self._symbol, hole))
        seat = await self._seat(hole)
        if seat is None:
            # More is held than was known.
            return
        piece = hole.intersection(seat.fill.walk.interval)
        found = await seat.next(self._symbol, piece, reading.patience())
        match found:
            case None:
                reading.fetching.lose(seat, self._symbol)
            case Entry():
                for chunk in self._entry(found, piece):
                    yield chunk
            case Stored():
                there = found.interval.intersection(piece)
                steps = self._stored(there, found.refused, found.refusal)
                async with closing(steps) as chunks:
                    async for chunk in chunks:
                        yield chunk

    def _entry(self, entry: Entry, piece: Interval) -> Iterator[SeriesChunk]:
        there = entry.interval.intersection(piece)
        self._cursor.refuse(entry.refused, entry.refusal)
        if entry.refused:
            self._leave_out(there)
        unsettled = max(entry.interval.start, entry.settled_before)
        self._leave_out(Interval(unsettled, entry.interval.end))
        for block in entry.blocks:
            yield from self._take(self._course.cut(block, there))
        if not self._cursor.finished:
            self._passed(there)

    async def _seat(self, hole: Interval) -> Seat | None:
        """Return where *hole* comes, or None where it has come already."""
        reading, fetching, symbol = self._reading, self._reading.fetching, self._symbol
        seat = fetching.own(symbol, hole)
        if seat is not None:
            return seat
        if reading.holdings.outdated(symbol):
            await reading.look(symbol)
            return None
        company: Sequence[str] | None = None
        if self._slots is not None and reading.holdings.store is None:
            hole = await self._slots.before_held(hole)
            company = await self._company(hole)
        wanted = self._cursor.wanted
        return fetching.join(symbol, hole, wanted=wanted) or fetching.start(
            symbol,
            hole,
            lambda left: reading.company(self._later if company is None else company, left),
            wanted=wanted,
        )

    async def _company(self, hole: Interval) -> list[str]:
        """Return those of the later symbols that miss *hole* and of which the shared cache holds nothing of it."""
        reading, cache = self._reading, self._reading.cache
        if cache is None or self._cursor.wanted is not None or reading.fetching.most(hole) == 1:
            return []
        found = []
        for symbol in reading.company(self._later, hole):
            key = reading.key(symbol)
            slots = CachedSlots(cache, key, self._final, self._course, hole)
            if await slots.before_held(hole) == hole:
                found.append(symbol)
        return found

    async def _ask_whether_entitled(self) -> None:
        """Refuse a range of which the account may not read the newest part, before anything of it is told.

        Raises:
            NotEntitled: it may not.
        """
        reading, cursor = self._reading, self._cursor
        if self._key.feed is not Feed.SIP or not reading.may_fetch() or cursor.wanted is not None:
            return
        while (newest := self._recent()) is not None:
            if self._course.first(cursor.rest) in newest:
                # It is asked for first anyway.
                return
            seat = await self._seat(newest)
            if seat is None:
                continue
            piece = newest.intersection(seat.fill.walk.interval)
            try:
                await seat.arrival(self._symbol, piece, reading.patience())
            except NotEntitled:
                raise
            except UpstreamFailure:
                # What is held is told before that is.
                return
            return

    def _recent(self) -> Interval | None:
        """Return what is missing and so recent that an account may not read it."""
        reading = self._reading
        missing = reading.holdings.missing(self._symbol, self._cursor.rest)
        newest = max(missing, default=None)
        if newest is None or newest.end <= reading.now - reading.sources.policy.recent:
            return None
        return newest

    # ------------------------------------------------------------------------------- all tiers

    def _take(self, block: Block) -> Iterator[SeriesChunk]:
        if self._warmer is not None:
            self._warmer.take(block)
        yield from self._cursor.take(block)

    def _passed(self, piece: Interval) -> None:
        self._cursor.passed(piece)
        if self._warmer is not None:
            self._warmer.passed(piece)

    def _leave_out(self, interval: Interval) -> None:
        if self._warmer is not None:
            self._warmer.leave_out(interval)


async def _next(blocks: AsyncIterator[Block]) -> Block | None:
    return await anext(blocks, None)


def _from(tier: Tier, block: Block) -> Block:
    return replace(block, origin=replace(block.origin, served_from=tier))
