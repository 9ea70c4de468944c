"""Reads a range of the past again and again, in one of several ways, and says how long it took and what came.

python -m benchmarks.history_reader WAY PORT SYMBOLS TIMEFRAME START END

WAY is one of `WAYS`; PORT is the sandbox's for Alpaca's SDK and the gateway's for the others. SYMBOLS stand with commas
between them, TIMEFRAME is that of bars, or "trades". It says "ready" when it has asked once, where one reading is soon
over, then reads a line for each question and answers with one, both JSON: see `Ask` and `Fetched`.
"""

from __future__ import annotations

import gc
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from . import consumer
from .history_tape import Columns

POLARS: Final = "polars"
PANDAS: Final = "pandas"
ROWS: Final = "rows"
CHUNKS: Final = "chunks"
SDK: Final = "sdk"

TRADES: Final = "trades"

PRICES: Final = ("open", "high", "low", "close", "vwap")
_COUNTS: Final = ("volume", "trade_count")

_PATIENCE: Final = 120.0
"""Seconds in which something must come."""


class Ask(msgspec.Struct):
    """How to ask."""

    pace: float | None = None
    """Values a second that are taken at most, where they are read in chunks."""


class Fetched(msgspec.Struct):
    """What came."""

    seconds: float
    """From the question until all of it was there, in the form that was wanted."""

    cpu: float
    """Seconds of this process's CPU for that."""

    rows: int
    sums: dict[str, int]
    """Checksums of the columns, see `history_tape.Columns`. They are made when the time has been taken, but for chunks,
    of which nobody could hold all."""

    first: float | None = None
    """Seconds until the first values, where they come in parts."""

    received: float | None = None
    """Seconds until the last values, where more is made of them afterwards."""

    tiers: list[str] = []
    """Which have served it."""


class Range(msgspec.Struct):
    """What is read."""

    symbols: list[str]
    timeframe: str
    start: str
    end: str

    @property
    def is_long(self) -> bool:
        """Whether one reading takes minutes."""
        return self.timeframe == TRADES


class _Client:
    """Our client."""

    def __init__(self, way: str, port: int, range_: Range) -> None:
        import tickgate  # noqa: PLC0415 - each way loads its own

        self._client = tickgate.connect_sync(f"127.0.0.1:{port}", api_key=consumer.api_key())
        self._range = range_
        self._way = way

    def fetch(self, ask: Ask) -> Fetched:
        if self._way == CHUNKS:
            return self._chunks(ask)
        tiers: dict[str, None] = {}
        firsts: list[float] = []

        def notice(chunk: Any) -> None:
            firsts.append(time.perf_counter())
            tiers[chunk.provenance.served_from.value] = None

        cpu, start = time.process_time(), time.perf_counter()
        records = self._history(notice).fetch()
        received = time.perf_counter()
        made = list(records) if self._way == ROWS else getattr(records, self._way)()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        columns = Columns()
        columns.add(len(made), _LOOKS[self._way](made))
        return Fetched(
            seconds, cpu, columns.rows, columns.sums, firsts[0] - start, received - start, list(tiers)
        )  # fmt: skip

    def _chunks(self, ask: Ask) -> Fetched:
        columns, tiers = Columns(), dict[str, None]()
        first = None
        cpu, start = time.process_time(), time.perf_counter()
        for chunk in self._history(None).chunks():
            first = first or time.perf_counter() - start
            tiers[chunk.provenance.served_from.value] = None
            frame = chunk.polars()
            columns.add(len(frame), of_trades(frame))
            if ask.pace is not None:
                # As slowly as it was told to be, whatever comes.
                time.sleep(max(0.0, columns.rows / ask.pace - (time.perf_counter() - start)))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return Fetched(seconds, cpu, columns.rows, columns.sums, first, seconds, list(tiers))

    def _history(self, progress: Callable[[Any], None] | None) -> Any:
        of = self._range
        terms: dict[str, Any] = {"progress": progress, "timeout": _PATIENCE}
        if of.timeframe == TRADES:
            return self._client.trade_history(of.symbols, of.start, of.end, **terms)
        return self._client.bars(of.symbols, of.timeframe, of.start, of.end, **terms)


class _Sdk:
    """Alpaca's SDK, which makes a pandas DataFrame."""

    def __init__(self, port: int, range_: Range) -> None:
        from alpaca.data.enums import DataFeed  # noqa: PLC0415 - as above
        from alpaca.data.historical.stock import StockHistoricalDataClient  # noqa: PLC0415
        from alpaca.data.requests import StockBarsRequest  # noqa: PLC0415
        from alpaca.data.timeframe import TimeFrame  # noqa: PLC0415
        from pandas import Timestamp  # noqa: PLC0415

        self._client = StockHistoricalDataClient(
            "key", "secret", url_override=f"http://127.0.0.1:{port}"
        )
        self._request = StockBarsRequest(
            symbol_or_symbols=range_.symbols,
            timeframe=TimeFrame.Minute,
            start=Timestamp(range_.start).to_pydatetime(),
            end=Timestamp(range_.end).to_pydatetime(),
            feed=DataFeed.SIP,
        )

    def fetch(self, ask: Ask) -> Fetched:
        del ask
        cpu, start = time.process_time(), time.perf_counter()
        bars: Any = self._client.get_stock_bars(self._request)
        received = time.perf_counter() - start
        frame = bars.df
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        columns = Columns()
        frame = frame.reset_index().rename(columns={"timestamp": "time"})
        columns.add(len(frame), _of_pandas(frame))
        return Fetched(seconds, cpu, columns.rows, columns.sums, None, received)


_Way = _Client | _Sdk

WAYS: Final[Mapping[str, Callable[[int, Range], _Way]]] = {
    SDK: _Sdk,
    **{way: partial(_Client, way) for way in (POLARS, PANDAS, ROWS, CHUNKS)},
}


def of_trades(frame: Any) -> dict[str, bytes]:
    """Return columns of trades in a polars *frame* as they are summed up."""
    return {
        "time": frame["time"].to_physical().to_numpy().tobytes(),
        "price": frame["price"].to_numpy().tobytes(),
        "size": frame["size"].to_numpy().tobytes(),
        "id": frame["id"].to_numpy().tobytes(),
    }


def _of_polars(frame: Any) -> dict[str, bytes]:
    columns = {name: frame[name].to_numpy() for name in PRICES + _COUNTS}
    columns["time"] = frame["time"].to_physical().to_numpy()
    return {name: column.tobytes() for name, column in columns.items()}


def _of_pandas(frame: Any) -> dict[str, bytes]:
    # The SDK's volumes and counts are floating-point numbers, its times may count other units.
    columns = {name: frame[name].to_numpy("float64") for name in PRICES}
    columns |= {name: frame[name].to_numpy("int64") for name in _COUNTS}
    columns["time"] = frame["time"].dt.as_unit("ns").astype("int64").to_numpy()
    return {name: column.tobytes() for name, column in columns.items()}


def _of_rows(bars: Iterable[Any]) -> dict[str, bytes]:
    bars = list(bars)
    columns = {name: array("d", [float(getattr(bar, name)) for bar in bars]) for name in PRICES}
    counts = {name: array("q", [getattr(bar, name) for bar in bars]) for name in _COUNTS}
    times = array("q", [bar.start_time_ns for bar in bars])
    return {name: column.tobytes() for name, column in (columns | counts | {"time": times}).items()}


_LOOKS: Final[Mapping[str, Callable[[Any], dict[str, bytes]]]] = {
    POLARS: _of_polars,
    PANDAS: _of_pandas,
    ROWS: _of_rows,
}


def main(way: str, port: str, symbols: str, timeframe: str, start: str, end: str) -> None:
    """Answer every line of the input."""
    range_ = Range(symbols.split(","), timeframe, start, end)
    reader = WAYS[way](int(port), range_)
    if not range_.is_long:
        reader.fetch(Ask())
    print("ready", flush=True)
    for line in sys.stdin:
        ask = msgspec.json.decode(line, type=Ask)
        # What came before is gone, and none of this one's time.
        gc.collect()
        print(msgspec.json.encode(reader.fetch(ask)).decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
