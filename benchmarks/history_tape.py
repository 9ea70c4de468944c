"""A made-up past, written as a folder of recordings that the sandbox replays, and what must come of it."""

from __future__ import annotations

import gzip
import random
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from tickgate_sandbox.calendar import ExchangeCalendar, Session

NANOS: Final = 1_000_000_000
_MINUTE: Final = 60 * NANOS
_HUNDRED: Final = 100

YEAR: Final = 2021
"""Of the made-up bars. Its sessions are those of the New York Stock Exchange."""

SESSION: Final = date(YEAR, 6, 1)
"""Of the made-up trades."""

STANDS_AT: Final = f"{YEAR + 1}-01-04T15:00:00Z"
"""Where the sandbox's market stands still: all of it is over."""

Checksums = Mapping[str, int]
"""Of each column of a table, in the order of its rows."""


@dataclass(slots=True)
class Columns:
    """Checks columns as they come, whoever has made them and in however many parts."""

    rows: int = 0
    sums: dict[str, int] = field(default_factory=dict)

    def add(self, rows: int, columns: Mapping[str, bytes]) -> None:
        """Take in what comes next: of each column whole numbers, or floating-point ones, in eight bytes each."""
        self.rows += rows
        for name, data in columns.items():
            if len(data) != 8 * rows:
                raise SystemExit(f"{name} has {len(data)} bytes for {rows} rows")
            self.sums[name] = zlib.crc32(data, self.sums.get(name, 0))


@dataclass(frozen=True, slots=True)
class Taped:
    """What was written of one symbol, or of several, one after the other."""

    symbols: tuple[str, ...]
    rows: int
    sums: Checksums


def together(taped: Iterable[Taped]) -> Taped:
    """Return what was written of several symbols as one, of which nobody knows the checksums."""
    some = list(taped)
    symbols = tuple(symbol for one in some for symbol in one.symbols)
    return Taped(symbols, sum(one.rows for one in some), {})


@dataclass(frozen=True, slots=True)
class Print:
    """One trade of the tape."""

    time: int
    """Nanoseconds."""

    price: str
    sets_price: bool


def sessions() -> list[Session]:
    """Return the sessions of the year."""
    return list(ExchangeCalendar().between(date(YEAR, 1, 1), date(YEAR, 12, 31)))


def write_minute_bars(folder: Path, symbol: str) -> Taped:
    """Write a bar for each minute of each regular session of the year."""
    starts = [
        start for session in sessions() for start in range(session.open, session.close, _MINUTE)
    ]
    return _write_bars(folder / f"bars/{symbol}-1Min-{YEAR}.json.gz", symbol, starts)


def write_daily_bars(folder: Path, symbol: str) -> Taped:
    """Write a bar for each session of the year."""
    starts = [_midnight(session) for session in sessions()]
    return _write_bars(folder / f"bars/{symbol}-1Day-raw.json.gz", symbol, starts)


def write_trades(folder: Path, symbols: Sequence[str], each: int) -> Taped:
    """Write so many trades of each of *symbols* into one session."""
    columns = Columns()
    for symbol in symbols:
        lines, times, prices = [], array("q"), array("d")
        sizes, ids = array("q"), array("q")
        for number, (trade, size) in enumerate(_trades(symbol, each)):
            conditions = '["@"]' if trade.sets_price else '["@","I"]'
            lines.append(
                f'{{"T":"t","S":"{symbol}","i":{number + 1},"x":"{"VQPN"[number % 4]}","p":{trade.price},"s":{size},'
                f'"c":{conditions},"t":"{_stamp(trade.time)}","z":"C"}}\n'
            )
            times.append(trade.time)
            prices.append(float(trade.price))
            sizes.append(size)
            ids.append(number + 1)
        _write(folder / f"trades/{symbol}-{SESSION}.jsonl.gz", lines)
        columns.add(
            each, {"time": times.tobytes(), "price": prices.tobytes(), "size": sizes.tobytes(), "id": ids.tobytes()}
        )  # fmt: skip
    return Taped(tuple(symbols), columns.rows, columns.sums)


def prints(symbol: str, each: int) -> list[Print]:
    """Return the trades that `write_trades` has written of *symbol*."""
    return [trade for trade, _ in _trades(symbol, each)]


def _trades(symbol: str, count: int) -> Iterator[tuple[Print, int]]:
    """Yield trades and their sizes, spread over the session, no two at once; a third are odd lots."""
    dice = random.Random(symbol)
    session = next(one for one in sessions() if one.day == SESSION)
    step = (session.close - session.open) // count
    cents = dice.randrange(10_000, 50_000)
    for number in range(count):
        chance = dice.getrandbits(62)
        cents += chance % 3 - 1
        time = session.open + number * step + (chance >> 2) % step
        lots = chance >> 40
        size = lots % 99 + 1 if lots % 3 == 0 else (lots % 9 + 1) * _HUNDRED
        price = _decimal(100 * max(cents, 100))
        yield Print(time, price, sets_price=size >= _HUNDRED), size


def _write_bars(path: Path, symbol: str, starts: Sequence[int]) -> Taped:
    dice = random.Random(path.name)
    ten_thousandths = dice.randrange(1_000_000, 5_000_000) // 100 * 100
    lines = []
    table: dict[str, list[float]] = {name: [] for name in ("open", "high", "low", "close", "vwap")}
    volumes, counts = array("q"), array("q")
    for start in starts:
        first = ten_thousandths
        last = first + 100 * dice.randint(-20, 20)
        low, high = (
            min(first, last) - 100 * dice.randint(0, 9),
            max(first, last) + 100 * dice.randint(0, 9),
        )
        vwap = dice.randint(low, high)
        ten_thousandths = max(last, 500_000)
        volume, count = dice.randrange(1_000, 900_000), dice.randrange(10, 5_000)
        texts = [_decimal(price) for price in (first, high, low, last, vwap)]
        o, h, l, c, vw = texts  # noqa: E741 - Alpaca's names
        lines.append(
            f'{{"t":"{_stamp(start)}","o":{o},"h":{h},"l":{l},"c":{c},"v":{volume},"n":{count},"vw":{vw}}}'
        )
        for column, text in zip(table.values(), texts, strict=True):
            column.append(float(text))
        volumes.append(volume)
        counts.append(count)
    _write(path, ['{"bars":[', ",".join(lines), "]}"])
    columns = Columns()
    columns.add(
        len(starts),
        {name: array("d", column).tobytes() for name, column in table.items()}
        | {
            "time": array("q", starts).tobytes(),
            "volume": volumes.tobytes(),
            "trade_count": counts.tobytes(),
        },
    )
    return Taped((symbol,), columns.rows, columns.sums)


def _decimal(ten_thousandths: int) -> str:
    """Return a price as Alpaca writes it, without zeros that say nothing."""
    whole, fraction = divmod(ten_thousandths, 10_000)
    return f"{whole}.{fraction:04}".rstrip("0").rstrip(".")


def _stamp(time: int) -> str:
    seconds, nanos = divmod(time, NANOS)
    fraction = f".{nanos:09}".rstrip("0").rstrip(".")
    return f"{_second(seconds)}{fraction}Z"


_seconds: dict[int, str] = {}


def _second(seconds: int) -> str:
    # Most trades share theirs with the one before.
    if seconds not in _seconds:
        _seconds.clear()
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        _seconds[seconds] = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return _seconds[seconds]


def _midnight(session: Session) -> int:
    # Regular sessions open at half past nine, and no clock is changed before that on a weekday.
    return session.open - (9 * 60 + 30) * _MINUTE


def _write(path: Path, parts: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(parts).encode(), compresslevel=1, mtime=0))
