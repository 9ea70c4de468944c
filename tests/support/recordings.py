"""Recordings that the project makes itself, in the layout and shape of real ones.

They hold what real quotes and trades do and invented ones usually lack: empty sides, locked
and crossed markets, several updates in one timestamp, fractions of every length, trades with
and without conditions, trades that set no price.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

REAL_RECORDINGS = Path(
    os.environ.get("TICKGATE_MARKET_DATA") or Path(__file__).parents[3] / "shared" / "market-data"
)
"""Where real recordings lie, if anywhere: they are never part of the project."""

_NEW_YORK = ZoneInfo("America/New_York")
_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Recording:
    """One symbol's day as it was written: each record's instant and its line."""

    symbol: str
    day: date
    quotes: Sequence[tuple[int, str]]
    """Instant in nanoseconds since the epoch and JSON text, oldest first."""
    trades: Sequence[tuple[int, str]]

    def latest_quote(self, instant: int) -> str:
        """Return the line of the last quote at or before *instant*, the slow sure way."""
        return [line for time, line in self.quotes if time <= instant][-1]


def write_recordings(
    folder: Path,
    symbols: Sequence[str] = ("AAPL", "IBM"),
    day: date = date(2024, 3, 13),
    *,
    seed: int = 1,
    updates: int = 400,
) -> dict[str, Recording]:
    """Write a day of recordings for each of *symbols* into *folder*.

    Args:
        folder: An existing folder.
        symbols: The first is written with nanosecond times, the others with milliseconds.
        day: A trading day. Daily bars are written for it and the two weeks before.
        seed: Another seed gives other recordings.
        updates: Quotes a symbol, spread from 04:00 to 16:30 New York; half as many trades.

    Returns:
        What was written, by symbol.
    """
    recordings = {}
    for index, symbol in enumerate(symbols):
        writer = _Writer(symbol, day, random.Random(f"{seed}/{symbol}"), fine=index == 0)
        recording = writer.recording(updates)
        name = f"{symbol}-{day}.jsonl.gz"
        _write(folder / "quotes" / name, (line for _, line in recording.quotes))
        _write(folder / "trades" / name, (line for _, line in recording.trades))
        _write(folder / "bars" / f"{symbol}-1Day-raw.json.gz", [writer.daily_bars()])
        recordings[symbol] = recording
    return recordings


def write_assets(folder: Path, assets: Sequence[Mapping[str, Any]]) -> None:
    """Write *assets* into *folder* as a recorded answer of `/v2/assets`."""
    _write(folder / "alpaca-recorded" / "assets-2024-03.json.gz", [json.dumps({"body": assets})])


def market_open(day: date) -> int:
    """Return 09:30 New York of *day* in nanoseconds since the epoch."""
    return _instant(day, 9, 30)


class _Writer:
    """Draws one symbol's day. Prices are cents with the odd tenth of a cent."""

    def __init__(self, symbol: str, day: date, dice: random.Random, *, fine: bool) -> None:
        self._symbol = symbol
        self._day = day
        self._dice = dice
        self._resolution = 1 if fine else _MILLISECOND
        self._tape = "C" if fine else "A"
        self._mid = dice.randrange(8_000, 60_000)

    def recording(self, updates: int) -> Recording:
        times = self._times(updates)
        return Recording(
            self._symbol,
            self._day,
            quotes=[(time, self._quote(time)) for time in times],
            trades=[(time, self._trade(time)) for time in self._times(updates // 2)],
        )

    def _times(self, count: int) -> list[int]:
        """Return sorted instants, one in four the same as the one before."""
        first, last = _instant(self._day, 4), _instant(self._day, 16, 30)
        drawn = [self._dice.randrange(first, last) for _ in range(count)]
        times = sorted(time - time % self._resolution for time in drawn)
        for index in range(3, count, 4):
            times[index] = times[index - 1]
        return times

    def _quote(self, time: int) -> str:
        self._mid += self._dice.randint(-3, 3)
        state = self._dice.choices(
            ("normal", "locked", "crossed", "no bid", "no ask"), (80, 5, 5, 5, 5)
        )[0]
        half = {"locked": 0, "crossed": -2}.get(state, self._dice.randint(1, 5))
        bid, ask = self._side(self._mid - half), self._side(self._mid + half)
        bid = _EMPTY_SIDE if state == "no bid" else bid
        ask = _EMPTY_SIDE if state == "no ask" else ask
        return _record(
            T='"q"', S=f'"{self._symbol}"',
            bx=f'"{bid[0]}"', bp=bid[1], bs=bid[2],
            ax=f'"{ask[0]}"', ap=ask[1], **{"as": ask[2]},
            c='["R"]', t=f'"{_stamp(time)}"', z=f'"{self._tape}"',
        )  # fmt: skip

    def _side(self, cents: int) -> tuple[str, str, str]:
        return self._dice.choice("QPNKZ"), _price(cents), str(self._dice.randint(1, 40) * 100)

    def _trade(self, time: int) -> str:
        conditions = list(self._dice.choice(("@", "@I", "F", "4", "")))
        if not market_open(self._day) <= time < _instant(self._day, 16):
            conditions.append("T")
        price = _price(self._mid + self._dice.randint(-40, 40), self._dice.randrange(10))
        optional = {"c": json.dumps(conditions, separators=(",", ":"))} if conditions else {}
        return _record(
            T='"t"', S=f'"{self._symbol}"',
            x=f'"{self._dice.choice("QPND")}"', p=price, s=str(self._dice.randint(1, 900)),
            **optional, t=f'"{_stamp(time)}"', z=f'"{self._tape}"',
        )  # fmt: skip

    def daily_bars(self) -> str:
        """Return daily bars, written without `n` and `vw` as older recordings are."""
        days = [self._day - timedelta(days=back) for back in range(14, -1, -1)]
        bars = [self._daily_bar(day) for day in days if day.weekday() < 5]
        return f'{{"bars":[{",".join(bars)}]}}'

    def _daily_bar(self, day: date) -> str:
        low, high = self._mid - self._dice.randint(50, 90), self._mid + self._dice.randint(50, 90)
        return _record(
            t=f'"{_stamp(_instant(day))}"', o=_price(low + 10), h=_price(high),
            l=_price(low), c=_price(high - 10), v=str(self._dice.randrange(10**5, 10**7)),
        )  # fmt: skip


_EMPTY_SIDE = (" ", "0", "0")


def _record(**fields: str) -> str:
    """Return a JSON object of fields that are JSON text already."""
    record = "{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}"
    json.loads(record)
    return record


def _price(cents: int, tenths: int = 0) -> str:
    """Return a price with no trailing zeros, as Alpaca writes it."""
    price = Decimal(cents * 10 + tenths).scaleb(-3).normalize()
    return f"{price:f}"


def _stamp(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, _SECOND)
    digits = f".{fraction:09}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}Z"


def _instant(day: date, hour: int = 0, minute: int = 0) -> int:
    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=_NEW_YORK)
    return int(moment.timestamp()) * _SECOND


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
