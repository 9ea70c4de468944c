"""A folder of recordings that the sandbox can replay, which can be read at any moment.

    quotes/AAPL-2024-03-13.jsonl.gz         one stream quote a line
    trades/AAPL-2024-03-13.jsonl.gz         one stream trade a line
    bars/AAPL-1Min-2024-03-13.json.gz       {"bars": [...]}, minute bars

Days are New York's. While a session goes on, what has come is appended in whole pieces, so that a process that is
killed leaves files that can be read. At its end each file is written anew in one piece: of two recordings of the same
session no byte differs, however the pieces fell.
"""

from __future__ import annotations

import datetime
import gzip
import json
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from ..market.time import NANOS, parse_rfc3339

_NEW_YORK: Final = ZoneInfo("America/New_York")
_CHUNK: Final = 1 << 20
"""Bytes that are compressed at once."""

_TIME: Final = re.compile(r'"t":"([^"]+)"')
_UNREADABLE: Final = (OSError, EOFError, zlib.error, ValueError)


class SessionFolder:
    """Takes lines and bars, and writes them when it is told to. What it holds already it does not take again."""

    def __init__(self, folder: Path) -> None:
        """Write into *folder*, which comes to be with the first file."""
        self._folder = folder
        self._lines: dict[tuple[str, str, datetime.date], _Lines] = {}
        self._bars: dict[tuple[str, datetime.date], _Bars] = {}

    def line(self, kind: str, symbol: str, time: int, line: str) -> bool:
        """Take one *line* of *kind*, "quotes" or "trades"; tell whether it is new."""
        place = kind, symbol, _day(time)
        lines = self._lines.get(place)
        if lines is None:
            path = self._folder / kind / f"{symbol}-{place[2]}.jsonl.gz"
            lines = self._lines[place] = _Lines(path)
        return lines.take(time, line)

    def bar(self, symbol: str, start: int, text: str) -> None:
        """Take one minute bar, in place of the one of the same *start*."""
        place = symbol, _day(start)
        bars = self._bars.get(place)
        if bars is None:
            path = self._folder / "bars" / f"{symbol}-1Min-{place[1]}.json.gz"
            bars = self._bars[place] = _Bars(path)
        bars.take(start, text)

    def write(self) -> None:
        """Write what has come.

        Raises:
            OSError: it cannot be written; what was written before can be read.
        """
        for lines in tuple(self._lines.values()):
            lines.write()
        for bars in tuple(self._bars.values()):
            bars.write()

    def finish(self) -> list[Path]:
        """Write everything in its last form, and return the files.

        Raises:
            OSError: it cannot be written; what was written before can be read.
        """
        self.write()
        for lines in self._lines.values():
            lines.finish()
        files = [lines.path for lines in self._lines.values()]
        files += [bars.path for bars in self._bars.values()]
        return sorted(path for path in files if path.exists())


class _Lines:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[str] = []
        self._last = _salvage(path)
        """Time of the newest line that was there before."""

    def take(self, time: int, line: str) -> bool:
        if self._last is not None and time <= self._last:
            return False
        self._waiting.append(line)
        return True

    def write(self) -> None:
        if not self._waiting:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        piece = gzip.compress("".join(f"{line}\n" for line in self._waiting).encode(), mtime=0)
        with self.path.open("ab") as file:
            whole = file.tell()
            try:
                file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                # A piece that is not whole would make all of the file unreadable.
                file.truncate(whole)
                raise
        self._waiting.clear()

    def finish(self) -> None:
        if self.path.exists():
            _rewrite(self.path)


class _Bars:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._bars: dict[int, str] = {}
        self._changed = False
        try:
            held = json.loads(
                gzip.decompress(path.read_bytes()), parse_float=_Verbatim, parse_int=_Verbatim
            )
            self._bars = {parse_rfc3339(bar["t"]): _verbatim(bar) for bar in held["bars"]}
        except FileNotFoundError:
            return

    def take(self, start: int, text: str) -> None:
        self._bars[start] = text
        self._changed = True

    def write(self) -> None:
        if not self._changed:
            return
        text = ",".join(bar for _, bar in sorted(self._bars.items()))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.path, f'{{"bars":[{text}]}}\n'.encode())
        self._changed = False


class _Verbatim(str):
    """A number as it is written."""

    __slots__ = ()


def _verbatim(bar: dict[str, str]) -> str:
    fields = (
        f'"{name}":{value if isinstance(value, _Verbatim) else json.dumps(value)}'
        for name, value in bar.items()
    )
    return "{" + ",".join(fields) + "}"


def _salvage(path: Path) -> int | None:
    """Return the time of the last line of *path*, whose end may be torn: then that is cut off."""
    if not path.exists():
        return None
    last, torn = "", False
    readable: list[str] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                last = line
                readable.append(line)
    except _UNREADABLE:
        torn = True
    if readable and not readable[-1].endswith("\n"):
        torn = True
        readable.pop()
        last = readable[-1] if readable else ""
    if torn:
        _replace(path, "".join(readable).encode())
    match = _TIME.search(last)
    return None if match is None else parse_rfc3339(match[1])


def _replace(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(gzip.compress(data, mtime=0))
    new.replace(path)


def _rewrite(path: Path) -> None:
    """Write *path* anew in one piece, which tells neither its name nor the hour."""
    new = path.with_suffix(".new")
    with (
        gzip.open(path, "rb") as pieces,
        new.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as whole,
    ):
        shutil.copyfileobj(pieces, whole, _CHUNK)
    new.replace(path)


def _day(time: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(time // NANOS, _NEW_YORK).date()
