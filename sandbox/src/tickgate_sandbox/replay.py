"""A market that happens again: recordings, as recorded or moved in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import msgspec

from .bars import DayBars
from .calendar import ExchangeCalendar
from .channels import stream_record
from .market import DailyBars, Due
from .recordings import RecordingFolder, SymbolRecording
from .timestamps import MINUTE, days_after, new_york, new_york_date, parse, render

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_STREAM_KEYS = ("T", "S")
"""Message type and symbol: a stream record carries them, a REST record does not."""

_STREAM_HEAD = b'{"T":"'
"""Where a recorded line begins like this, it is what the stream sends."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far recorded times are moved before they are shown."""

    offset: int = 0
    """Added to the time of quotes, trades and minute bars: whole minutes, in nanoseconds."""
    days: int = 0
    """Added to the date of daily bars, which stay stamped at midnight in New York."""

    @classmethod
    def between(cls, recorded: int, shown: int) -> Shift:
        """Return the shift that shows the *recorded* instant at *shown*.

        Only whole minutes are moved, or minute bars would no longer start on the minute; so
        market time runs up to a minute ahead of the *recorded* instant.
        """
        return cls(
            offset=(shown - recorded) // MINUTE * MINUTE,
            days=(new_york_date(shown) - new_york_date(recorded)).days,
        )

    def time(self, text: str) -> str:
        """Return a recorded time as it is shown."""
        return render(parse(text) + self.offset) if self.offset else text

    def day(self, text: str) -> str:
        """Return the recorded time of a daily bar as it is shown."""
        return render(self.midnight(parse(text))) if self.days else text

    def midnight(self, instant: int) -> int:
        """Return the midnight in New York at which the day of a recorded instant is shown."""
        return new_york(days_after(new_york_date(instant), self.days))

    def unmoved(self, midnight: int) -> int:
        """Return the midnight of the recorded day that is shown at *midnight*."""
        return new_york(days_after(new_york_date(midnight), -self.days))


class SymbolReplay:
    """One symbol's recordings, asked at instants of recorded time."""

    def __init__(self, recording: SymbolRecording, calendar: ExchangeCalendar) -> None:
        self._recording = recording
        self._calendar = calendar
        self._days: dict[date, DayBars] = {}

    @property
    def recording(self) -> SymbolRecording:
        """Everything recorded of the symbol."""
        return self._recording

    def complete(self, day: date, instant: int) -> bool:
        """Return whether *day* is over: its recorded bar would show the future before that."""
        session = self._calendar.session(day)
        close = session.close if session is not None else new_york(day, 16)
        return close <= instant

    def day_bars(self, day: date) -> DayBars:
        """Return the bars of a recorded day, added up from its trades: a second at first."""
        if day not in self._days:
            self._days[day] = DayBars(self._recording.tape, day)
        return self._days[day]

    def quote(self, instant: int) -> bytes | None:
        """Return the newest quote."""
        return self._recording.quotes.latest(instant)

    def trade(self, instant: int) -> bytes | None:
        """Return the newest trade that set a price."""
        return self._recording.prints.latest(instant)

    def minute_bar(self, instant: int) -> bytes | None:
        """Return the newer of the recorded and the added-up bar; the recorded one at a tie."""
        recorded = self._recording.minute_bars.newest(instant - MINUTE, 1)
        added_up = [
            bar
            for day in self._tape_days(instant)
            if (bar := self.day_bars(day).minute_bar(instant)) is not None
        ]
        candidates = added_up[:1] + recorded
        return max(candidates, key=_start_of_bar)[1] if candidates else None

    def daily_bars(self, instant: int) -> DailyBars:
        """Return the running or newest daily bar and that of the session before."""
        days = {day for day in self._tape_days(instant) if self._daily_bar(day, instant)}
        days.update(
            day
            for start, _ in self._recording.daily_bars.newest(instant, 2)
            if self.complete(day := new_york_date(start), instant)
        )
        if not days:
            return DailyBars()
        latest = max(days)
        before = self._calendar.on_or_before(days_after(latest, -1))
        return DailyBars(self._daily_bar(latest, instant), self._daily_bar(before.day, instant))

    def due(self, channel: str, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return what is sent on *channel* from *start* to *end*; bars in the shape of REST."""
        if channel == "quotes":
            return self._recording.quotes.timed_between(start, end)
        if channel == "trades":
            return self._recording.trades.timed_between(start, end)
        bars: Iterable[tuple[int, bytes]]
        if channel == "bars":
            bars = self._minute_bars(start - MINUTE, end - MINUTE)
        elif channel == "dailyBars":
            bars = self._running_bars(start - MINUTE, end - MINUTE)
        else:
            return []
        return [(begin + MINUTE, bar) for begin, bar in bars]

    def _minute_bars(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return the bars that begin from *start* to *end*; the recorded one at a tie."""
        bars: dict[int, bytes] = {}
        for day in self._days_between(start, end):
            bars.update(self.day_bars(day).minute_bars(start, end))
        bars.update(self._recording.minute_bars.timed_between(start, end))
        return sorted(bars.items())

    def _running_bars(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for day in self._days_between(start, end):
            yield from self.day_bars(day).running_bars(start, end)

    def _days_between(self, start: int, end: int) -> list[date]:
        first, last = new_york_date(start), new_york_date(end)
        return [day for day in self._recording.days if first <= day <= last]

    def _daily_bar(self, day: date, instant: int) -> bytes | None:
        """Return the bar of *day*: recorded once the day is over, else added up from trades."""
        if self.complete(day, instant):
            midnight = new_york(day)
            for start, record in self._recording.daily_bars.newest(midnight, 1):
                if start == midnight:
                    return record
        if day in self._recording.days:
            bar = self.day_bars(day).daily_bar(instant)
            return bar[1] if bar is not None else None
        return None

    def _tape_days(self, instant: int) -> list[date]:
        """Return up to two recorded days that have begun, newest first."""
        today = new_york_date(instant)
        return [day for day in reversed(self._recording.days) if day <= today][:2]


def _start_of_bar(bar: tuple[int, bytes]) -> int:
    return bar[0]


@dataclass(slots=True)
class ReplayMarket:
    """A folder of recordings as a market. Symbols are read when they are first asked for."""

    folder: RecordingFolder
    calendar: ExchangeCalendar
    shift: Shift = Shift()
    only: frozenset[str] | None = None
    """The symbols to replay; None replays every recorded one."""
    _replays: dict[str, SymbolReplay] = field(default_factory=dict)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that have recordings and are replayed."""
        recorded = self.folder.symbols
        return recorded if self.only is None else recorded & self.only

    async def load(self, symbols: Iterable[str]) -> None:
        """Read the recordings of *symbols* that are not in memory yet, in a thread.

        Raises:
            RecordingError: a file is not what its name says.
        """
        wanted = self.symbols.intersection(symbols).difference(self._replays)
        if not wanted:
            return
        async with self._reading:
            for symbol in sorted(wanted.difference(self._replays)):
                recording = await asyncio.to_thread(self.folder.read, symbol)
                self._replays[symbol] = SymbolReplay(recording, self.calendar)

    def replayed(self, symbol: str) -> SymbolReplay | None:
        """Return the replay of *symbol* in recorded time, or None when it is not loaded."""
        return self._replays.get(symbol)

    def due(self, channel: str, symbol: str, start: int, end: int) -> Sequence[Due]:
        """Return what the stream sends of *symbol* from *start* to before *end*."""
        replay = self._replays.get(symbol)
        if replay is None:
            return []
        restamp = self.shift.day if channel == "dailyBars" else self.shift.time
        moved = self.shift != Shift()

        def streamed(record: bytes) -> bytes:
            # A recorded line is what the stream sends: the usual case, and the one to be quick.
            if not moved and record.startswith(_STREAM_HEAD):
                return record
            return stream_record(channel, symbol, _restamped(record, restamp))

        return [
            (at + self.shift.offset, streamed(record))
            for at, record in replay.due(channel, self._recorded(start), self._recorded(end))
        ]

    def quote(self, symbol: str, instant: int) -> bytes | None:
        """Return the quote of *symbol* that stood at *instant*."""
        replay = self._replays.get(symbol)
        record = replay.quote(self._recorded(instant)) if replay is not None else None
        return _shown(record, self.shift.time)

    def trade(self, symbol: str, instant: int) -> bytes | None:
        """Return the last trade that set the price of *symbol*."""
        replay = self._replays.get(symbol)
        record = replay.trade(self._recorded(instant)) if replay is not None else None
        return _shown(record, self.shift.time)

    def minute_bar(self, symbol: str, instant: int) -> bytes | None:
        """Return the newest minute bar that was complete at *instant*."""
        replay = self._replays.get(symbol)
        record = replay.minute_bar(self._recorded(instant)) if replay is not None else None
        return _shown(record, self.shift.time)

    def daily_bars(self, symbol: str, instant: int) -> DailyBars:
        """Return the running or newest daily bar and that of the session before."""
        replay = self._replays.get(symbol)
        if replay is None:
            return DailyBars()
        latest, previous = replay.daily_bars(self._recorded(instant))
        return DailyBars(_shown(latest, self.shift.day), _shown(previous, self.shift.day))

    def _recorded(self, instant: int) -> int:
        return instant - self.shift.offset


def _shown(record: bytes | None, restamp: Callable[[str], str]) -> bytes | None:
    """Return a recorded record as REST shows it, every other value as it was written."""
    return _restamped(record, restamp) if record is not None else None


def _restamped(record: bytes, restamp: Callable[[str], str]) -> bytes:
    fields = _FIELDS.decode(record)
    for key in _STREAM_KEYS:
        fields.pop(key, None)
    stamp = restamp(msgspec.json.decode(fields["t"], type=str))
    fields["t"] = msgspec.Raw(msgspec.json.encode(stamp))
    return msgspec.json.encode(fields)
