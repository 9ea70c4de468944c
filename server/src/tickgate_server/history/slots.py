"""The stretches in which all replicas hold final history together."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from ..market.columns import Block, part
from ..market.expiry import market_date
from ..market.interval import Interval, without
from ..market.series import SeriesKey
from ..market.time import NANOS
from ..ports import HistoryCache
from .course import Course

_NEW_YORK: Final = ZoneInfo("America/New_York")

_BATCH: Final = 8
"""Slots that are asked for together: at most a megabyte each."""


@lru_cache(maxsize=10_000)
def midnight(day: datetime.date) -> int:
    """Return when *day* begins in New York, nanoseconds."""
    moment = datetime.datetime(day.year, day.month, day.day, tzinfo=_NEW_YORK)
    return int(moment.timestamp()) * NANOS


class Slots:
    """The final slots of one series: days in New York, or years where a bar takes a day or more."""

    def __init__(self, key: SeriesKey, settled_before: int) -> None:
        """Know which of them are final, given from when on values may still change, nanoseconds."""
        self._by_year = key.timeframe is not None and not key.timeframe.intraday
        # Of the running year the days that are over make a slot, which is another one tomorrow.
        self._until = settled_before if self._by_year else midnight(market_date(settled_before))

    def at(self, instant: int) -> Interval:
        """Return the slot of *instant*, which must be final."""
        day = market_date(instant)
        if self._by_year:
            start, end = datetime.date(day.year, 1, 1), datetime.date(day.year + 1, 1, 1)
        else:
            start, end = day, day + datetime.timedelta(days=1)
        return Interval(midnight(start), min(midnight(end), self._until))

    def final(self, interval: Interval) -> Interval:
        """Return that part of *interval* that belongs to final slots."""
        return Interval(interval.start, min(interval.end, self._until))

    def within(self, interval: Interval, course: Course, most: int) -> list[Interval]:
        """Return the first slots that share instants with *interval*, at most *most*."""
        rest, found = self.final(interval), list[Interval]()
        while not rest.empty and len(found) < most:
            found.append(self.at(course.first(rest)))
            rest = course.behind(rest, found[-1])
        return found


class CachedSlots:
    """What the shared cache holds of one series, looked up as reading comes to it."""

    def __init__(
        self, cache: HistoryCache, key: SeriesKey, slots: Slots, course: Course, whole: Interval
    ) -> None:
        """Look up slots of *whole*."""
        self._cache = cache
        self._key = key
        self._slots = slots
        self._course = course
        self._whole = whole
        self._found: dict[Interval, Sequence[Block] | None] = {}

    async def at(self, instant: int) -> tuple[Interval, Sequence[Block]] | None:
        """Return the slot of *instant* with all there is in it, oldest first, or None where it is not held."""
        onward = self._course.onward(self._whole, instant)
        slots = self._slots.within(Interval(instant, instant + 1), self._course, 1)
        if not slots:
            return None
        if slots[0] not in self._found:
            await self._look(onward)
        blocks = self._found.get(slots[0])
        return None if blocks is None else (slots[0], blocks)

    def before_found(self, piece: Interval) -> Interval:
        """Return *piece* as far as no slot of it has been found held by now. Nothing is looked up."""
        for slot, blocks in self._found.items():
            if blocks is not None and not slot.intersection(piece).empty:
                piece = self._course.before(piece, slot)
        return piece

    async def before_held(self, hole: Interval) -> Interval:
        """Return *hole* as far as none of it is held."""
        rest = hole
        while not rest.empty:
            slots = self._slots.within(rest, self._course, _BATCH)
            if not slots:
                break
            if any(slot not in self._found for slot in slots):
                await self._look(rest)
            for slot in slots:
                if self._found.get(slot) is not None:
                    return self._course.before(hole, slot)
                rest = self._course.behind(rest, slot)
        return hole

    def drop(self, slot: Interval) -> None:
        """Hold *slot* in memory no longer; it counts as not held from now on."""
        self._found[slot] = None

    async def _look(self, rest: Interval) -> None:
        slots = self._slots.within(rest, self._course, _BATCH)
        unknown = [slot for slot in slots if slot not in self._found]
        found = await self._cache.get(self._key, unknown)
        self._found |= {slot: found.get(slot) for slot in unknown}


class Warmer:
    """Puts whole slots that pass by into the shared cache."""

    def __init__(
        self,
        cache: HistoryCache,
        key: SeriesKey,
        slots: Slots,
        course: Course,
        whole: Interval,
        most: int,
    ) -> None:
        """Watch *whole* pass by; slots of more than *most* values are none for the cache."""
        self._cache = cache
        self._key = key
        self._slots = slots
        self._course = course
        self._whole = self._ahead = slots.final(whole)
        self._most = most
        self._open: Interval | None = None
        self._blocks: list[Block] = []
        self._rows = 0
        self._left_out: list[Interval] = []

    def leave_out(self, interval: Interval) -> None:
        """Put no slot that *interval* is part of: it comes from there, or may change, or is not all there is."""
        if not interval.empty:
            self._left_out.append(interval)

    def take(self, block: Block) -> None:
        """Take notice of values that come next."""
        rest = self._course.cut(block, self._whole)
        while len(rest):
            slot = self._slots.at(rest.times[0])
            if slot != self._open:
                self._advance(self._course.onward(self._whole, self._course.first(slot)))
                self._open = slot
            head = self._course.cut(rest, slot)
            self._rows += len(head)
            if self._rows <= self._most:
                self._blocks.append(head)
            else:
                self._blocks.clear()
            rest = part(rest, len(head), len(rest))

    def passed(self, interval: Interval) -> None:
        """Take notice that *interval* and all before it has passed by."""
        self._advance(self._course.behind(self._whole, interval))

    def _advance(self, ahead: Interval) -> None:
        """Put the slots of which nothing lies *ahead* any more."""
        while not self._ahead.empty:
            slot = self._slots.at(self._course.first(self._ahead))
            if not slot.intersection(ahead).empty:
                return
            self._ahead = self._course.behind(self._ahead, slot)
            self._finish(slot)

    def _finish(self, slot: Interval) -> None:
        blocks, rows = list[Block](), 0
        if slot == self._open:
            blocks, rows = self._blocks, self._rows
            self._open, self._blocks, self._rows = None, [], 0
        if self._is_left_out(slot) or rows > self._most or without(slot, [self._whole]):
            return
        self._cache.put(self._key, slot, self._course.turned(blocks))

    def _is_left_out(self, slot: Interval) -> bool:
        left_out = any(not slot.intersection(one).empty for one in self._left_out)
        # What has passed by does not come back.
        ahead = self._ahead
        self._left_out = [one for one in self._left_out if not one.intersection(ahead).empty]
        return left_out
