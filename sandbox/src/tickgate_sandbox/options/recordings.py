"""Recordings of options, read into memory one underlying at a time."""

from __future__ import annotations

import gzip
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from ..calendar import ExchangeCalendar
from ..recordings import UNREADABLE, RecordingFolder, recorded_day, refusal
from ..replay import Shift
from ..series import Series
from ..timestamps import SECOND, new_york, new_york_date
from .chain import Chain, Stamps
from .occ import is_occ

Entries = Mapping[str, Mapping[str, Any]]
"""By contract, the fields that were recorded of it."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STAMPS = msgspec.json.Decoder(dict[str, Stamps])

_TIMED = ("latestTrade", "latestQuote", "minuteBar")
_DATED = ("dailyBar", "prevDailyBar")

_T = TypeVar("_T")

_CLOCK = slice(-len("150522.json.gz"), -len(".json.gz"))
"""Where the name of a file of a series has its time of day."""


class _ChainFile(msgspec.Struct):
    snapshots: msgspec.Raw


class _ContractsFile(msgspec.Struct):
    option_contracts: list[dict[str, msgspec.Raw]]


class _Line(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="S")


_LINES = msgspec.json.Decoder(list[_Line])


class Recorded(Protocol):
    """A recording of one underlying's options. Instants are those of the recording."""

    @property
    def instant(self) -> int:
        """When it begins to stand, in nanoseconds since the epoch."""
        ...

    @property
    def contracts(self) -> Entries:
        """Its contracts, with what was recorded of each beyond its quotes."""
        ...

    def chain(self, instant: int, shift: Shift) -> Chain:
        """Return the chain at *instant*, its times moved by *shift*."""
        ...

    def quotes(self, symbol: str, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return the recorded stream quotes of *symbol* from *start* to before *end*."""
        ...


class RecordedChain:
    """A chain as it stood at one instant."""

    def __init__(
        self, instant: int, snapshots: Mapping[str, bytes], updated: list[int], contracts: Entries
    ) -> None:
        """Take *snapshots* and beside them when each was *updated*."""
        self.instant = instant
        self.contracts = contracts
        self._snapshots = snapshots
        self._updated = updated
        self._chain: Chain | None = None

    def chain(self, _instant: int, shift: Shift) -> Chain:
        """Return the chain; it is put in order when it is first asked for."""
        if self._chain is None:
            entries = zip(self._snapshots.items(), self._updated, strict=True)
            self._chain = Chain(
                (symbol, moved(raw, shift), updated + shift.offset)
                for (symbol, raw), updated in entries
            )
        return self._chain

    def quotes(self, _symbol: str, _start: int, _end: int) -> list[tuple[int, bytes]]:
        """Return nothing: a chain has no stream."""
        return []


class RecordedQuotes:
    """A day of stream quotes: at any instant of it, the newest of each contract is its chain."""

    def __init__(self, quotes: Mapping[str, Series]) -> None:
        """Take the *quotes* of each contract."""
        self.contracts: Entries = {symbol: {} for symbol in quotes}
        self._quotes = quotes
        self._times = sorted({time for series in quotes.values() for time in series.times})
        self.instant = self._times[0]
        self._newest: tuple[int, Chain] | None = None

    def chain(self, instant: int, shift: Shift) -> Chain:
        """Return the chain at *instant*; a contract without a quote yet is not in it."""
        stands = self._times[bisect_right(self._times, instant) - 1]
        newest = self._newest
        if newest is None or newest[0] != stands:
            newest = self._newest = stands, Chain(self._standing(stands, shift))
        return newest[1]

    def quotes(self, symbol: str, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return the recorded lines of *symbol*, with their times."""
        series = self._quotes.get(symbol)
        return series.timed_between(start, end) if series is not None else []

    def _standing(self, instant: int, shift: Shift) -> Iterator[tuple[str, bytes, int]]:
        for symbol, series in self._quotes.items():
            for time, line in series.newest(instant, 1):
                snapshot = b'{"latestQuote":%s}' % _rest(symbol, line)
                yield symbol, moved(snapshot, shift), time + shift.offset


def read_options(
    folder: RecordingFolder, underlying: str, calendar: ExchangeCalendar
) -> tuple[Recorded, ...]:
    """Read everything recorded of the options of *underlying*, oldest first.

    Takes a second at most for a big chain.

    Raises:
        RecordingError: a file is not what its name says.
    """
    files = folder.option_files(underlying)
    found: list[Recorded] = [
        _guarded(path, partial(_read_chain, path, calendar)) for path in files.chains
    ]
    for path in files.quotes:
        quotes = _guarded(path, partial(_read_quotes, folder, path))
        if quotes:
            found.append(RecordedQuotes(quotes))
    return tuple(sorted(found, key=lambda recorded: recorded.instant))


def moved(snapshot: bytes, shift: Shift) -> bytes:
    """Return *snapshot* with its times moved by *shift*, every other value as it was written."""
    if shift == Shift():
        return snapshot
    fields = _FIELDS.decode(snapshot)
    for names, restamp in ((_TIMED, shift.time), (_DATED, shift.day)):
        for name in names:
            if name in fields:
                fields[name] = _restamped(fields[name], restamp)
    return msgspec.json.encode(fields)


def _restamped(part: msgspec.Raw, restamp: Callable[[str], str]) -> msgspec.Raw:
    fields = _FIELDS.decode(part)
    if "t" not in fields:
        return part
    stamp = restamp(msgspec.json.decode(fields["t"], type=str))
    fields["t"] = msgspec.Raw(msgspec.json.encode(stamp))
    return msgspec.Raw(msgspec.json.encode(fields))


def _rest(symbol: str, line: bytes) -> bytes:
    """Return a line of the stream as REST shows it: without type and symbol."""
    head = b'{"T":"q","S":"%s",' % symbol.encode()
    if line.startswith(head):
        return b"{" + line[len(head) :]
    fields = _FIELDS.decode(line)
    return msgspec.json.encode({key: raw for key, raw in fields.items() if key not in ("T", "S")})


def _guarded(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except UNREADABLE as error:
        raise refusal([path], error) from error


def _read_chain(path: Path, calendar: ExchangeCalendar) -> RecordedChain:
    text = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=_ChainFile).snapshots
    stamps = [each.updated() for each in _STAMPS.decode(text).values()]
    instant = _instant(path, stamps, calendar)
    snapshots = {symbol: bytes(raw) for symbol, raw in _FIELDS.decode(text).items()}
    _check(snapshots)
    updated = [stamp if stamp is not None else instant for stamp in stamps]
    contracts: Entries = {symbol: {} for symbol in snapshots} | _read_contracts(path)
    return RecordedChain(instant, snapshots, updated, contracts)


def _instant(path: Path, stamps: list[int | None], calendar: ExchangeCalendar) -> int:
    """Return when a chain stood: by its name, by its newest time of that day, or at the close."""
    day, clock = recorded_day(path), path.name[_CLOCK]
    if clock.isdecimal():
        return new_york(day, int(clock[:2]), int(clock[2:4])) + int(clock[4:]) * SECOND
    that_day = [stamp for stamp in stamps if stamp is not None and new_york_date(stamp) == day]
    session = calendar.session(day)
    return max(that_day, default=session.close if session is not None else new_york(day, 16))


def _read_contracts(chain: Path) -> dict[str, Mapping[str, Any]]:
    """Return what the twin of *chain* says of contracts; nothing where it has none."""
    path = chain.with_name(chain.name.replace(".json.gz", ".contracts.json.gz"))
    if not path.exists():
        return {}
    read = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=_ContractsFile)
    return {msgspec.json.decode(each["symbol"], type=str): each for each in read.option_contracts}


def _read_quotes(folder: RecordingFolder, path: Path) -> dict[str, Series]:
    lines = [line for line in folder.lines([path]) if line]
    heads = _LINES.decode(b"[" + b",".join(lines) + b"]")
    by_symbol: defaultdict[str, list[bytes]] = defaultdict(list)
    for head, line in zip(heads, lines, strict=True):
        by_symbol[head.symbol].append(line)
    _check(by_symbol)
    return {symbol: Series.of(records) for symbol, records in by_symbol.items()}


def _check(symbols: Iterable[str]) -> None:
    for symbol in symbols:
        if not is_occ(symbol):
            raise ValueError(f"{symbol} is no OCC symbol")
