"""A folder of recordings in Alpaca's wire shape.

The layout is fixed:

    quotes/AAPL-2012-06-21.jsonl.gz         one stream quote a line
    trades/AAPL-2012-06-21.jsonl.gz         one stream trade a line
    bars/AAPL-1Min-2012-06-21.json.gz       {"bars": [...]}, minute bars; any suffix
    bars/AAPL-1Day-raw.json.gz              {"bars": [...]}, unadjusted daily bars
    bars/AAPL-1Day-adjusted-all.json.gz     {"bars": [...]}, daily bars adjusted for everything
    corporate-actions/anything.json.gz      {"corporate_actions": {"forward_splits": [...], ...}}
    options/AAPL-2014-06-06.json.gz         {"snapshots": {...}}, a chain as it stood at some time of the day
    options/AAPL-2014-06-06.contracts.json.gz       {"option_contracts": [...]}, what is known of its contracts
    options/series/AAPL-2026-08-17T150522.json.gz   the same, with the New York time at which it stood
    options-quotes/GOOG-2015-12-24.jsonl.gz one stream quote of any of its contracts a line
    alpaca-recorded/assets-2021-01.json.gz  {"body": [...]}, an answer of /v2/assets
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec

from .bars import Trade, weigh
from .series import Series
from .timestamps import new_york_date, parse, parse_many

_DAY_FILE = re.compile(r"(?P<symbol>[A-Z.]+)-(?P<day>\d{4}-\d\d-\d\d)\.jsonl\.gz")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MINUTE_BARS = re.compile(r"(?P<symbol>[A-Z.]+)-1Min-.*\.json\.gz")
_DAILY_BARS = re.compile(r"(?P<symbol>[A-Z.]+)-1Day-raw\.json\.gz")
_ADJUSTED_BARS = re.compile(r"(?P<symbol>[A-Z.]+)-1Day-adjusted-all\.json\.gz")
_CHAIN = re.compile(r"(?P<symbol>[A-Z.]+)-\d{4}-\d\d-\d\d(?:T\d{6})?\.json\.gz")


_STAMP = re.compile(rb'"t"\s*:\s*"([^"]*)"')
_HEAD = 4_096
"""Bytes in which the first bar of a file has its time."""


class RecordingError(ValueError):
    """A folder or file is not a recording in the layout above."""


UNREADABLE = (ValueError, OSError, EOFError, zlib.error, msgspec.DecodeError)
"""What reading a file that is no recording can raise."""


class _Bars(msgspec.Struct):
    bars: list[msgspec.Raw]


class _Answer(msgspec.Struct):
    body: list[msgspec.Raw]


class _Kind(msgspec.Struct, gc=False):
    c: tuple[str, ...] = ()
    z: str = ""


class _Print(_Kind, kw_only=True, gc=False):
    t: str
    p: Decimal
    s: int


_KINDS = msgspec.json.Decoder(list[_Kind])
_PRINTS = msgspec.json.Decoder(list[_Print])


class RecordedTape:
    """The recorded trades of one symbol, decoded as far as bars need them."""

    def __init__(self, series: Series) -> None:
        """Read trades out of the raw records of *series*."""
        self._series = series

    def trades(self, start: int, end: int) -> Iterator[Trade]:
        """Return the trades of the half-open interval from *start* to *end*."""
        recorded = _PRINTS.decode(b"[" + b",".join(self._series.between(start, end)) + b"]")
        times = parse_many(item.t for item in recorded)
        for time, item in zip(times, recorded, strict=True):
            yield Trade(time, item.p, item.s, weigh(item.c, item.z))


@dataclass(frozen=True, slots=True)
class SymbolRecording:
    """Everything recorded of one symbol, in memory."""

    days: tuple[date, ...]
    """The New York days of which quotes or trades are recorded, oldest first."""
    quotes: Series
    trades: Series
    """Every trade."""
    tape: RecordedTape
    """The same, for bars."""
    prints: Series
    """The trades that set a price: only these can be the latest trade."""
    minute_bars: Series
    """Those of all files, which may lie years apart."""
    daily_bars: Series
    """As they were traded."""
    adjusted_bars: Series
    """Daily bars that were recorded adjusted for splits, dividends and spin-offs."""


@dataclass(slots=True)
class _Files:
    quotes: list[Path] = field(default_factory=list)
    trades: list[Path] = field(default_factory=list)
    minute_bars: list[Path] = field(default_factory=list)
    daily_bars: list[Path] = field(default_factory=list)
    adjusted_bars: list[Path] = field(default_factory=list)

    def bars(self) -> list[Path]:
        """Return the files of bars."""
        return self.minute_bars + self.daily_bars + self.adjusted_bars


@dataclass(slots=True)
class OptionFiles:
    """The files that hold the options of one underlying, in the order of their names."""

    chains: list[Path] = field(default_factory=list)
    """Each may have a twin with its contracts."""
    quotes: list[Path] = field(default_factory=list)


class RecordingFolder:
    """What a folder of recordings holds, read from disk symbol by symbol."""

    def __init__(self, folder: Path, max_records: int | None = None) -> None:
        """List the files of *folder* without reading them.

        Args:
            folder: The folder of recordings.
            max_records: Read at most this many lines of each quote and trade file.

        Raises:
            RecordingError: *folder* does not exist or holds no recording.
        """
        self._folder = folder
        self._max_records = max_records
        self._files: defaultdict[str, _Files] = defaultdict(_Files)
        self._options: defaultdict[str, OptionFiles] = defaultdict(OptionFiles)
        self._list_files()
        self._list_options()
        if not self._files and not self._options:
            raise RecordingError(f"{folder} holds no recordings of quotes, trades, bars or options")

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that have any recording of a stock."""
        return frozenset(self._files)

    @property
    def underlyings(self) -> frozenset[str]:
        """The symbols that have any recording of options."""
        return frozenset(self._options)

    def option_files(self, underlying: str) -> OptionFiles:
        """Return the files that hold the options of *underlying*."""
        return self._options.get(underlying, OptionFiles())

    def option_days(self, underlying: str) -> tuple[date, ...]:
        """Return the days of which options of *underlying* are recorded, oldest first."""
        files = self.option_files(underlying)
        return tuple(sorted({recorded_day(path) for path in files.chains + files.quotes}))

    def days(self, symbol: str) -> tuple[date, ...]:
        """Return the days of which quotes or trades of *symbol* are recorded, oldest first."""
        files = self._files.get(symbol, _Files())
        matches = (_DAY_FILE.fullmatch(path.name) for path in files.quotes + files.trades)
        return tuple(sorted({date.fromisoformat(match["day"]) for match in matches if match}))

    def first_day(self, symbols: Iterable[str]) -> date | None:
        """Return the first day of which anything of *symbols* is recorded, or None.

        Files of bars are opened for it, but not read: the first bar in each is its oldest.

        Raises:
            RecordingError: a file is not what its name says.
        """
        days: set[date] = set()
        for symbol in symbols:
            days.update(self.days(symbol), self.option_days(symbol))
            bars = self._files.get(symbol, _Files()).bars()
            days.update(day for path in bars if (day := _first_day(path)) is not None)
        return min(days, default=None)

    def corporate_actions(self) -> list[Path]:
        """Return the files of corporate actions."""
        return sorted(self._folder.glob("corporate-actions/*.json.gz"))

    def read(self, symbol: str) -> SymbolRecording:
        """Read everything recorded of *symbol*; a second or two for a busy day.

        Raises:
            RecordingError: a file is not what its name says.
        """
        files = self._files.get(symbol, _Files())
        trades = self._series(self.lines(files.trades), files.trades)
        return SymbolRecording(
            days=self.days(symbol),
            quotes=self._series(self.lines(files.quotes), files.quotes),
            trades=trades,
            tape=RecordedTape(trades),
            prints=trades.select(_sets_price(trades)),
            minute_bars=self._series(_bars(files.minute_bars), files.minute_bars),
            daily_bars=self._series(_bars(files.daily_bars), files.daily_bars),
            adjusted_bars=self._series(_bars(files.adjusted_bars), files.adjusted_bars),
        )

    def listing_tape(self, symbol: str) -> str:
        """Return the tape that the first record of *symbol* names, or an empty string."""
        files = self._files.get(symbol, _Files())
        for path in files.quotes + files.trades:
            try:
                with gzip.open(path) as lines:
                    if line := lines.readline():
                        return msgspec.json.decode(line, type=_Kind).z
            except UNREADABLE as error:
                raise refusal([path], error) from error
        return ""

    def assets(self) -> list[bytes]:
        """Return the recorded assets, each as its raw text; empty when none were recorded."""
        found = sorted(self._folder.glob("alpaca-recorded/assets-*.json.gz"))
        if not found:
            return []
        try:
            answer = msgspec.json.decode(gzip.decompress(found[-1].read_bytes()), type=_Answer)
        except UNREADABLE as error:
            raise refusal(found[-1:], error) from error
        return [bytes(asset) for asset in answer.body]

    def _list_files(self) -> None:
        if not self._folder.is_dir():
            raise RecordingError(f"there is no folder {self._folder}")
        for path in sorted(self._folder.glob("quotes/*")):
            if match := _DAY_FILE.fullmatch(path.name):
                self._files[match["symbol"]].quotes.append(path)
        for path in sorted(self._folder.glob("trades/*")):
            if match := _DAY_FILE.fullmatch(path.name):
                self._files[match["symbol"]].trades.append(path)
        for path in sorted(self._folder.glob("bars/*")):
            if match := _MINUTE_BARS.fullmatch(path.name):
                self._files[match["symbol"]].minute_bars.append(path)
            elif match := _DAILY_BARS.fullmatch(path.name):
                self._files[match["symbol"]].daily_bars.append(path)
            elif match := _ADJUSTED_BARS.fullmatch(path.name):
                self._files[match["symbol"]].adjusted_bars.append(path)

    def _list_options(self) -> None:
        for path in sorted(
            [*self._folder.glob("options/*"), *self._folder.glob("options/series/*")]
        ):
            if match := _CHAIN.fullmatch(path.name):
                self._options[match["symbol"]].chains.append(path)
        for path in sorted(self._folder.glob("options-quotes/*")):
            if match := _DAY_FILE.fullmatch(path.name):
                self._options[match["symbol"]].quotes.append(path)

    def lines(self, paths: Sequence[Path]) -> Iterator[bytes]:
        """Yield the lines of *paths*, of each as many as may be read."""
        for path in paths:
            yield from gzip.decompress(path.read_bytes()).splitlines()[: self._max_records]

    @staticmethod
    def _series(records: Iterator[bytes], sources: list[Path]) -> Series:
        try:
            return Series.of(records)
        except UNREADABLE as error:
            raise refusal(sources, error) from error


def recorded_day(path: Path) -> date:
    """Return the New York day that the name of a recording holds."""
    day = _DAY.search(path.name)
    if day is None:
        raise RecordingError(f"{path.name} names no day")
    return date.fromisoformat(day[0])


def refusal(paths: Sequence[Path], error: Exception) -> RecordingError:
    """Return the error to raise when reading *paths* has raised *error*."""
    names = ", ".join(path.name for path in paths)
    return RecordingError(f"cannot read {names}: {error}")


def _bars(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        recorded = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=_Bars)
        yield from (_plain(bytes(bar)) for bar in recorded.bars)


def _plain(bar: bytes) -> bytes:
    """Return *bar* in the shape of REST, should it have been recorded from a stream."""
    if b'"T"' not in bar:
        return bar
    fields = msgspec.json.decode(bar, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(
        {key: value for key, value in fields.items() if key not in ("T", "S")}
    )


def _first_day(path: Path) -> date | None:
    """Return the New York day of the first bar in a file, or None where it holds none."""
    try:
        with gzip.open(path) as text:
            first = _STAMP.search(text.read(_HEAD))
        return new_york_date(parse(first[1].decode())) if first else None
    except UNREADABLE as error:
        raise refusal([path], error) from error


def _sets_price(trades: Series) -> Iterator[bool]:
    for kind in _KINDS.decode(b"[" + b",".join(trades) + b"]"):
        yield weigh(kind.c, kind.z).sets_price
