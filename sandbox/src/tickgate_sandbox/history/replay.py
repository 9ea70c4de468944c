"""The past of recordings, as recorded or moved in time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache, partial
from itertools import groupby
from threading import Lock
from typing import Final

import msgspec

from ..calendar import ExchangeCalendar
from ..channels import TYPES
from ..market import Due
from ..replay import ReplayMarket, Shift, SymbolReplay
from ..series import Series
from ..timestamps import MINUTE, days_after, new_york, new_york_date, render
from .actions import CorporateActions
from .adjust import Adjustment
from .combine import add_up, combine, read_bars
from .past import ADJUSTMENTS, BarForm, TickKind
from .span import Span
from .timeframe import ONE_DAY, ONE_MINUTE, Timeframe

_STAMP = re.compile(rb'"t"\s*:\s*"[^"]*"')
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_KEPT = 64
"""Series of longer or adjusted bars that are kept."""

_Base = frozenset[date] | None
"""What longer bars are made of: `_DAYS`, or minutes with the trades of these days."""

_DAYS: Final = None


class SymbolPast:
    """One symbol's bars. Instants are those of the recording."""

    def __init__(
        self,
        replay: SymbolReplay,
        calendar: ExchangeCalendar,
        actions: CorporateActions,
        shift: Shift,
    ) -> None:
        """Take the bars of *replay*, which *actions* adjust and *shift* moves."""
        self._replay = replay
        self._calendar = calendar
        self._actions = actions
        self._shift = shift
        self._minutes = replay.recording.minute_bars
        self._added_up: frozenset[date] = frozenset()
        self._adding_up = Lock()
        self._adjusted = lru_cache(maxsize=_KEPT)(self._adjust)
        self._longer = lru_cache(maxsize=_KEPT)(self._combine)
        self._days = lru_cache(maxsize=1)(self._all_days)

    def bars(self, symbol: str, form: BarForm, span: Span, now: int) -> list[Due]:
        """Return the bars that begin in *span*, in its order, as they are at *now*."""
        # Whoever asked first may have gone away, but not the thread that adds up for him.
        with self._adding_up:
            return self._bars(symbol, form, span, now)

    def _bars(self, symbol: str, form: BarForm, span: Span, now: int) -> list[Due]:
        adjustment = self._actions.adjustment(
            symbol, form.adjustments, new_york_date(now), self._last_close
        )
        timeframe = form.timeframe
        running = self._running(timeframe, form.adjustments, adjustment, now)
        # Whatever began before the interval that is under way is over.
        over = self._over(timeframe, now)
        finished = self._finished(form, adjustment, span).window(
            span.start, min(span.end, over), newest_first=span.newest_first, count=span.count
        )
        running = [one for one in running if span.start <= one[0] <= span.end]
        ordered = running + finished if span.newest_first else finished + running
        return ordered[: span.count]

    def _over(self, timeframe: Timeframe, now: int) -> int:
        """Return the last start of an interval that is over at *now*."""
        if timeframe == ONE_MINUTE:
            return now - MINUTE
        return self._start_of(timeframe, now) - 1

    def _start_of(self, timeframe: Timeframe, instant: int) -> int:
        """Return the recorded start of the interval that *instant* is shown in.

        Intervals are those of the time that is shown: an hour begins on the hour, and a week on
        a Monday, wherever the recording has been moved to.
        """
        offset = self._shift.offset
        if timeframe.intraday:
            return timeframe.start_of(instant + offset) - offset
        return self._shift.unmoved(timeframe.start_of(self._shift.midnight(instant)))

    def _finished(self, form: BarForm, adjustment: Adjustment, span: Span) -> Series:
        """Return the bars of all intervals in *span*, and maybe others, as if all were over."""
        base = self._minutes_of(span) if form.timeframe.intraday else _DAYS
        return self._longer(base, form.timeframe, form.adjustments, adjustment)

    def _combine(
        self,
        base: _Base,
        timeframe: Timeframe,
        adjustments: frozenset[str],
        adjustment: Adjustment,
    ) -> Series:
        bars = self._adjusted(base, adjustments, adjustment)
        if timeframe in (ONE_MINUTE, ONE_DAY):
            return bars
        return _series(combine(bars.timed(), partial(self._start_of, timeframe)))

    def _adjust(self, base: _Base, adjustments: frozenset[str], adjustment: Adjustment) -> Series:
        raw = self._days() if base is _DAYS else self._minutes
        bars = dict(adjustment.apply(raw.timed()))
        if base is _DAYS and adjustments == ADJUSTMENTS:
            # What was recorded adjusted is served as it was.
            bars.update(self._replay.recording.adjusted_bars.timed())
        return _series(sorted(bars.items()))

    def _running(
        self,
        timeframe: Timeframe,
        adjustments: frozenset[str],
        adjustment: Adjustment,
        now: int,
    ) -> list[Due]:
        """Return the bar of the interval under way as far as it has come; none of a minute."""
        if timeframe == ONE_MINUTE:
            return []
        begun = self._start_of(timeframe, now)
        if timeframe.intraday:
            base = self._minutes_of(Span(begun, now))
            minutes = self._adjusted(base, adjustments, adjustment)
            return combine(minutes.timed_between(begun, now - MINUTE + 1), lambda _: begun)
        today = self._today(adjustments, now)
        if timeframe == ONE_DAY:
            return today
        days = self._adjusted(_DAYS, adjustments, adjustment)
        before = days.timed_between(begun, new_york(new_york_date(now)))
        return combine([*before, *today], lambda _: begun)

    def _today(self, adjustments: frozenset[str], now: int) -> list[Due]:
        """Return the bar of the day of *now*: recorded once the day is over, else added up."""
        day = new_york_date(now)
        midnight = new_york(day)
        recording = self._replay.recording
        if self._replay.complete(day, now):
            recorded = recording.daily_bars.timed_between(midnight, midnight + 1)
            if adjustments == ADJUSTMENTS:
                recorded = recording.adjusted_bars.timed_between(midnight, midnight + 1) or recorded
            if recorded:
                return recorded
        if day in recording.days and (bar := self._replay.day_bars(day).daily_bar(now)):
            return [bar]
        minutes = recording.minute_bars.timed_between(midnight, now - MINUTE + 1)
        return self._day_of_minutes(day, minutes)

    def _minutes_of(self, span: Span) -> frozenset[date]:
        """Have the minute bars of *span* at hand; return the days whose trades are in them.

        A minute has the recorded bar, or else what its trades add up to. They are added up no
        sooner than somebody asks for their day: a busy one takes seconds.
        """
        recording = self._replay.recording
        asked = frozenset(
            day
            for day in recording.days
            if new_york(day) <= span.end and span.start < new_york(days_after(day, 1))
        )
        if not asked <= self._added_up:
            self._added_up |= asked
            bars: dict[int, bytes] = {}
            for day in self._added_up:
                first, last = new_york(day), new_york(days_after(day, 1))
                bars.update(self._replay.day_bars(day).minute_bars(first, last))
            bars.update(recording.minute_bars.timed())
            self._minutes = _series(sorted(bars.items()))
        return self._added_up

    def _all_days(self) -> Series:
        """Return the daily bars: the recorded, else those added up from trades or minutes."""
        recording = self._replay.recording
        days: dict[int, bytes] = {}
        recorded = dict(recording.daily_bars.timed())
        minutes = recording.minute_bars.timed()
        for day, group in groupby(minutes, lambda bar: new_york_date(bar[0])):
            if new_york(day) not in recorded:
                days.update(self._day_of_minutes(day, list(group)))
        for day in recording.days:
            midnight = new_york(day)
            if midnight not in recorded:
                bar = self._replay.day_bars(day).daily_bar(new_york(days_after(day, 1)) - 1)
                days.update([bar] if bar is not None else [])
        return _series(sorted((days | recorded).items()))

    def _day_of_minutes(self, day: date, minutes: Sequence[Due]) -> list[Due]:
        """Return the bar of *day* out of its minute bars, or none.

        As on the tape, what trades outside the regular session adds volume but moves no price.
        """
        session = self._calendar.session(day)
        if session is None or not minutes:
            return []
        bars = read_bars(record for _, record in minutes)
        starts = (start for start, _ in minutes)
        priced = [
            bar
            for start, bar in zip(starts, bars, strict=True)
            if session.open <= start < session.close
        ]
        return [(new_york(day), add_up(new_york(day), bars, priced))] if priced else []

    def _last_close(self, day: date) -> bytes | None:
        """Return the newest daily bar before *day*."""
        newest = self._days().newest(new_york(day) - 1, 1)
        return newest[-1][1] if newest else None


class ReplayPast:
    """The past of a folder of recordings. Symbols are read when they are first asked for."""

    def __init__(
        self,
        market: ReplayMarket,
        calendar: ExchangeCalendar,
        actions: CorporateActions,
        first_day: date,
    ) -> None:
        """Answer from the recordings of *market*, which begin on *first_day*."""
        self._market = market
        self._calendar = calendar
        self._actions = actions
        self._first_day = first_day
        self._symbols: dict[str, SymbolPast] = {}

    @property
    def first_day(self) -> date:
        """The earliest recorded day, as it is shown."""
        return days_after(self._first_day, self._shift.days)

    @property
    def _shift(self) -> Shift:
        return self._market.shift

    async def load(self, symbols: Iterable[str]) -> None:
        """Read the recordings of *symbols* that are not in memory yet, in a thread."""
        await self._market.load(symbols)

    def ticks(self, kind: TickKind, symbol: str, span: Span) -> list[Due]:
        """Return the trades or quotes of *symbol* in *span*, in its order."""
        replay = self._market.replayed(symbol)
        if replay is None:
            return []
        series = replay.recording.trades if kind == "trades" else replay.recording.quotes
        offset = self._shift.offset
        head = b'{"T":"%s","S":"%s",' % (TYPES[kind].encode(), symbol.encode())
        found = span.moved(-offset).of_series(series)
        # A recorded line is what the stream sends; type and symbol are no part of the past.
        plain = [
            (at, b"{" + record[len(head) :] if record.startswith(head) else _without_head(record))
            for at, record in found
        ]
        return _restamped(plain, lambda at: at + offset) if offset else plain

    def bars(self, form: BarForm, symbol: str, span: Span, now: int) -> list[Due]:
        """Return the bars of *symbol* that begin in *span*, in its order, as they are at *now*."""
        replay = self._market.replayed(symbol)
        if replay is None:
            return []
        past = self._symbols.get(symbol)
        if past is None:
            past = self._symbols[symbol] = SymbolPast(
                replay, self._calendar, self._actions, self._shift
            )
        shift = self._shift
        recorded_now = now - shift.offset
        if form.timeframe.intraday:
            found = past.bars(symbol, form, span.moved(-shift.offset), recorded_now)
            return _restamped(found, lambda at: at + shift.offset) if shift.offset else found
        found = past.bars(symbol, form, self._recorded_days(span), recorded_now)
        return _restamped(found, shift.midnight) if shift.days else found

    def _recorded_days(self, span: Span) -> Span:
        """Return the midnights of the recording that are shown in *span*."""
        first, last = new_york_date(span.start), new_york_date(span.end)
        if new_york(first) < span.start:
            first = days_after(first, 1)
        back = -self._shift.days
        start, end = new_york(days_after(first, back)), new_york(days_after(last, back))
        return Span(start, end, span.newest_first, span.count)


def _series(bars: Sequence[Due]) -> Series:
    return Series([start for start, _ in bars], [record for _, record in bars])


def _without_head(record: bytes) -> bytes:
    fields = _FIELDS.decode(record)
    return msgspec.json.encode(
        {key: value for key, value in fields.items() if key not in ("T", "S")}
    )


def _restamped(records: Iterable[Due], shown: Callable[[int], int]) -> list[Due]:
    """Return *records* with another time, every other value as it was written."""

    def restamp() -> Iterator[Due]:
        for at, record in records:
            moved = shown(at)
            yield moved, _STAMP.sub(b'"t":"%s"' % render(moved).encode(), record, count=1)

    return list(restamp())
