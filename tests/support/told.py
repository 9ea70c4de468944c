"""Values of the past as a test compares them: read off the contract's messages by hand, and off recordings."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

from tickgate.v1 import history_pb2 as pb
from tickgate.v1 import provenance_pb2

from .recordings import REAL_RECORDINGS
from .tape import nanoseconds

Row = Mapping[str, Any]
"""Alpaca's keys, without those of which there is no value: times in nanoseconds, prices as decimals."""

BAR_COLUMNS = {
    "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "n": "trade_count", "vw": "vwap",
}  # fmt: skip
TRADE_COLUMNS = {
    "p": "price", "s": "size", "x": "exchange", "c": "conditions", "i": "id", "z": "tape", "u": "amendment",
}  # fmt: skip
QUOTE_COLUMNS = {
    "bp": "bid_price", "bs": "bid_size", "bx": "bid_exchange",
    "ap": "ask_price", "as": "ask_size", "ax": "ask_exchange", "c": "conditions", "z": "tape",
}  # fmt: skip


@dataclass
class Told:
    """What a stream has told of one symbol."""

    rows: list[Row] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)
    """Tiers that served the chunks, each once, in the order in which they first did."""

    cursors: list[str] = field(default_factory=list)
    unavailable: pb.SeriesUnavailable | None = None
    end: pb.SeriesEnd | None = None


async def told(messages: Any) -> dict[str, Told]:
    """Read a stream of the past to its end; by symbol."""
    symbols: dict[str, Told] = {}
    async for message in messages:
        one = symbols.setdefault(message.symbol, Told())
        assert one.end is None, "nothing comes behind the end"
        event = message.WhichOneof("event")
        if event == "chunk":
            one.rows += rows_of_chunk(message.chunk)
            one.cursors.append(message.chunk.cursor)
            tier = provenance_pb2.Tier.Name(message.chunk.provenance.served_from)
            if tier not in one.tiers:
                one.tiers.append(tier)
        else:
            assert event is not None
            setattr(one, event, getattr(message, event))
    return symbols


def rows_of_chunk(chunk: Any) -> list[Row]:
    """Return the rows of a chunk of bars, trades or quotes."""
    columns = {
        pb.BarChunk: BAR_COLUMNS,
        pb.TradeChunk: TRADE_COLUMNS,
        pb.QuoteChunk: QUOTE_COLUMNS,
    }[type(chunk)]
    times = chunk.start_times if isinstance(chunk, pb.BarChunk) else chunk.event_times
    values = {"t": _times(times)} | {
        key: list(_column(getattr(chunk, name)))
        for key, name in columns.items()
        if chunk.HasField(name)
    }
    assert {len(column) for column in values.values()} == {chunk.count}
    return [
        {key: column[row] for key, column in values.items() if column[row] is not None}
        for row in range(chunk.count)
    ]


def _times(column: pb.TimeColumn) -> list[int]:
    first, step = column.first_time.ToNanoseconds(), 10**column.exponent
    return [first + total * step for total in accumulate(column.deltas)]


def _column(column: Any) -> Iterable[Any]:
    if isinstance(column, pb.DecimalColumn) and column.decimals:
        return [Decimal(one.value) if one.value else None for one in column.decimals]
    if isinstance(column, pb.DecimalColumn):
        unset = set(column.unset_rows)
        return [
            None if row in unset else Decimal(value).scaleb(column.exponent)
            for row, value in enumerate(column.values)
        ]
    if isinstance(column, pb.CountColumn):
        unset = set(column.unset_rows)
        return [None if row in unset else value for row, value in enumerate(column.values)]
    if isinstance(column, pb.TextColumn):
        return [column.codes[place - 1] if place else None for place in column.places]
    lists = [tuple(one.codes) for one in column.lists]
    return [lists[place - 1] if place else None for place in column.places]


def recorded_bars(*names: str) -> list[Row]:
    """Return the bars of recorded files, in order of time."""
    rows = [
        _bar(bar)
        for name in names
        for bar in _read(REAL_RECORDINGS / "bars" / f"{name}.json.gz")["bars"]
    ]
    return sorted(rows, key=lambda row: row["t"])


def recorded_trades(name: str) -> list[Row]:
    """Return the trades of a recorded file, in order of time."""
    path = REAL_RECORDINGS / "trades" / f"{name}.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        rows = [_trade(json.loads(line, parse_float=Decimal)) for line in lines]
    return sorted(rows, key=lambda row: row["t"])


def recorded_quotes(name: str) -> list[Row]:
    """Return the quotes of a recorded file, in order of time."""
    path = REAL_RECORDINGS / "quotes" / f"{name}.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        rows = [_quote(json.loads(line, parse_float=Decimal)) for line in lines]
    return sorted(rows, key=lambda row: row["t"])


def _bar(bar: Mapping[str, Any]) -> Row:
    row = {key: bar[key] for key in BAR_COLUMNS if bar.get(key) is not None}
    for key in ("o", "h", "l", "c", "vw"):
        if key in row:
            row[key] = Decimal(row[key])
    return {"t": nanoseconds(bar["t"]), **row}


def _trade(trade: Mapping[str, Any]) -> Row:
    row = {key: trade[key] for key in TRADE_COLUMNS if trade.get(key) not in (None, [])}
    row["p"] = Decimal(row["p"])
    if "c" in row:
        row["c"] = tuple(row["c"])
    return {"t": nanoseconds(trade["t"]), **row}


def _quote(quote: Mapping[str, Any]) -> Row:
    row = {key: quote[key] for key in QUOTE_COLUMNS if quote.get(key) not in (None, [])}
    for side in ("b", "a"):
        price = Decimal(row.pop(f"{side}p"))
        if price:
            row[f"{side}p"] = price
        else:
            # A side without a price is none, whatever else was sent of it.
            row = {key: value for key, value in row.items() if key[0] != side}
    if "c" in row:
        row["c"] = tuple(row["c"])
    return {"t": nanoseconds(quote["t"]), **row}


def _read(path: Path) -> Any:
    with gzip.open(path, "rt") as file:
        return json.load(file, parse_float=Decimal)


def within(rows: Sequence[Row], start: int, end: int) -> list[Row]:
    """Return the rows from *start* up to and without *end*, nanoseconds."""
    return [row for row in rows if start <= row["t"] < end]


def rows_of_page(values: Iterable[Any]) -> Iterator[Row]:
    """Yield the rows of a page: messages of bars, trades or quotes."""
    for value in values:
        row = {"t": value.provenance.event_time.ToNanoseconds()}
        if hasattr(value, "open"):
            assert value.start_time.ToNanoseconds() == row["t"]
        for key, name in (BAR_COLUMNS if hasattr(value, "open") else TRADE_COLUMNS).items():
            column = getattr(value, name)
            if name == "conditions":
                if column:
                    row[key] = tuple(column)
            elif value.HasField(name):
                row[key] = Decimal(column.value) if hasattr(column, "value") else column
        yield row
