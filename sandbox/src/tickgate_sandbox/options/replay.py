"""Recorded options that happen again, as recorded or moved in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..calendar import ExchangeCalendar
from ..history.timeframe import ONE_DAY, ONE_MINUTE, Timeframe
from ..market import Due
from ..recordings import RecordingFolder
from ..replay import Shift
from ..timestamps import new_york_date, parse
from .chain import Chain
from .market import History, Listing
from .occ import read_terms, underlying_of
from .recordings import Recorded, read_options

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_BARS = {ONE_DAY: ("prevDailyBar", "dailyBar"), ONE_MINUTE: ("minuteBar",)}
"""By timeframe, the parts of a snapshot that are bars of it."""


@dataclass(slots=True)
class ReplayOptions:
    """The options in a folder of recordings. They are read when they are first asked for.

    Expiries stay as they were recorded even when times are moved: they are part of symbols. So
    which contracts have expired is told by the time of the recording.
    """

    folder: RecordingFolder
    calendar: ExchangeCalendar
    shift: Shift = field(default_factory=Shift)
    only: frozenset[str] | None = None
    """The underlyings to replay; None replays every recorded one."""
    _recordings: dict[str, tuple[Recorded, ...]] = field(default_factory=dict)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def symbols(self) -> frozenset[str]:
        """No contract: of options only quotes are recorded, which `*` cannot stand for."""
        return frozenset()

    @property
    def underlyings(self) -> frozenset[str]:
        """The underlyings whose options are recorded and replayed."""
        recorded = self.folder.underlyings
        return recorded if self.only is None else recorded & self.only

    async def load(self, symbols: Iterable[str]) -> None:
        """Read the options of underlyings, and of those of contracts, in a thread.

        Raises:
            RecordingError: a file is not what its name says.
        """
        underlyings = self.underlyings
        for underlying in sorted({self._underlying(symbol) for symbol in symbols} & underlyings):
            if underlying in self._recordings:
                continue
            async with self._reading:
                if underlying not in self._recordings:
                    self._recordings[underlying] = await asyncio.to_thread(
                        read_options, self.folder, underlying, self.calendar
                    )

    def due(self, channel: str, symbol: str, start: int, end: int) -> Sequence[Due]:
        """Return what the stream sends of *symbol* from *start* to before *end*: quotes."""
        if channel != "quotes":
            return []
        offset = self.shift.offset
        return [
            (time + offset, line if not offset else self._moved_line(line))
            for recorded in self._of(self._underlying(symbol))
            for time, line in recorded.quotes(symbol, start - offset, end - offset)
        ]

    async def chain(self, underlying: str, instant: int) -> Chain | None:
        """Return the newest recording of *underlying* that had begun at *instant*."""
        await self.load([underlying])
        begun = self._begun(underlying, instant)
        if not begun:
            return None
        return await asyncio.to_thread(begun[-1].chain, instant - self.shift.offset, self.shift)

    async def listing(self, underlying: str, instant: int) -> Listing | None:
        """Return the contracts of the standing recording, and those that expired before it."""
        await self.load([underlying])
        begun = self._begun(underlying, instant)
        if not begun:
            return None
        today = new_york_date(instant - self.shift.offset)
        contracts: dict[str, Any] = {}
        for recorded in begun[:-1]:
            contracts |= {
                symbol: entry
                for symbol, entry in recorded.contracts.items()
                if (terms := read_terms(symbol)) is not None and terms.expiry < today
            }
        return Listing(underlying, today, contracts | dict(begun[-1].contracts))

    async def bars(self, symbol: str, timeframe: Timeframe, instant: int) -> History:
        """Return the bars that recorded chains hold of *symbol*, the newest of each start."""
        parts = await self._parts(symbol, instant, _BARS.get(timeframe, ()))
        return sorted({time: part for time, part in parts if time <= instant}.items())

    async def trades(self, symbol: str, instant: int) -> History:
        """Return the trades that were the latest of *symbol* in a recorded chain."""
        parts = await self._parts(symbol, instant, ("latestTrade",))
        return sorted({part for part in parts if part[0] <= instant})

    async def _parts(self, symbol: str, instant: int, names: Sequence[str]) -> History:
        """Return those parts of recorded snapshots of *symbol* that have a time."""
        underlying = self._underlying(symbol)
        await self.load([underlying])
        found = []
        for recorded in self._begun(underlying, instant):
            at = instant - self.shift.offset
            chain = await asyncio.to_thread(recorded.chain, at, self.shift)
            fields = _FIELDS.decode(chain.snapshot(symbol) or b"{}")
            for name in names:
                part = _FIELDS.decode(fields.get(name, b"{}"))
                if "t" in part:
                    time = parse(msgspec.json.decode(part["t"], type=str))
                    found.append((time, bytes(fields[name])))
        return found

    def _begun(self, underlying: str, instant: int) -> list[Recorded]:
        at = instant - self.shift.offset
        return [recorded for recorded in self._of(underlying) if recorded.instant <= at]

    def _of(self, underlying: str) -> tuple[Recorded, ...]:
        return self._recordings.get(underlying, ())

    def _underlying(self, symbol: str) -> str:
        """Return the underlying of a contract, or *symbol* itself when it is none."""
        terms = read_terms(symbol)
        return underlying_of(terms.root, self.underlyings) if terms is not None else symbol

    def _moved_line(self, line: bytes) -> bytes:
        fields = _FIELDS.decode(line)
        stamp = self.shift.time(msgspec.json.decode(fields["t"], type=str))
        return msgspec.json.encode(fields | {"t": stamp})
