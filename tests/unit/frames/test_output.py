"""Files and charts of the past, from the command line."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tickgate
from tests.unit.client import history_messages as own
from tests.unit.client.serving import served_by_threads
from tickgate import _charts as charts
from tickgate import _cli as cli
from tickgate.v1 import history_pb2, history_service_pb2

Capture = pytest.CaptureFixture[str]
START = ("--start", "2024-03-01")


@pytest.fixture
def address() -> Iterator[str]:
    """A gateway that has three bars and two trades of SPY, a bar of AAPL, and lacks the rest of MSFT."""

    def bars(request: Any, context: Any) -> Iterator[Any]:
        for symbol in request.symbols:
            if symbol == "SPY":
                yield history_service_pb2.StreamBarsResponse(symbol="SPY", chunk=own.BARS)
                yield own.bars_end("SPY", 3)
            else:
                yield own.some_bars(symbol, 0, 1)
                yield own.no_bars(symbol, 1) if symbol == "MSFT" else own.bars_end(symbol, 1)

    def trades(request: Any, context: Any) -> Iterator[Any]:
        yield history_service_pb2.StreamTradesResponse(symbol="SPY", chunk=own.TRADES)
        yield history_service_pb2.StreamTradesResponse(
            symbol="SPY", end=history_pb2.SeriesEnd(count=2)
        )

    with served_by_threads(StreamBars=bars, StreamTrades=trades) as target:
        yield target


def test_a_file_holds_all_of_it(address: str, tmp_path: Path, capsys: Capture) -> None:
    """A Parquet file keeps times to the nanosecond, what is absent, and prices exactly when asked to."""
    path = tmp_path / "bars.parquet"
    command = ("bars", "SPY", "AAPL", *START, "--out", str(path), "--exact", "--address", address)
    assert cli.main(command) == cli.COMPLETE
    assert "4 rows written to" in capsys.readouterr().out
    frame = pl.read_parquet(path)
    assert frame["symbol"].to_list() == ["SPY"] * 3 + ["AAPL"]
    assert frame["vwap"].to_list() == [Decimal("498.5012345"), None, Decimal("0.0000498"), None]
    assert frame["volume"].to_list() == [1200, 0, None, 0]
    assert frame["time"].dtype == pl.Datetime("ns", "UTC")


def test_a_csv_file_is_text_that_reads_back(address: str, tmp_path: Path) -> None:
    """In a CSV file a price is its shortest text, a time has all nine digits, and a list stands in one cell."""
    path = tmp_path / "trades.csv"
    command = ("trade-history", "SPY", *START, "--out", str(path), "--address", address)
    assert cli.main(command) == cli.COMPLETE
    header, first, second = path.read_text().splitlines()
    assert header == "symbol,time,price,size,exchange,conditions,id,tape,amendment"
    assert first == (
        "SPY,2026-03-06T15:30:00.123456689Z,0.12345678901234568,100,Q, |I,18446744073709551615,,"
    )
    assert second == "SPY,2026-03-06T15:30:00.123456690Z,182.05,7,,,,,canceled"


def test_a_file_of_what_could_be_had_says_so(address: str, tmp_path: Path, capsys: Capture) -> None:
    """Where something is missing the file holds the rest, the sentence what and from where, the exit code that."""
    path = tmp_path / "bars.csv"
    command = ("bars", "MSFT", *START, "--out", str(path), "--address", address)
    assert cli.main(command) == cli.INCOMPLETE
    assert len(path.read_text().splitlines()) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "MSFT: 1 came; missing is all from 1970-01-01 00:01:00 UTC on" in said


@pytest.mark.parametrize("library", ["polars", "pandas", "arrow"])
async def test_both_clients_make_tables(address: str, library: str) -> None:
    """A history becomes a table in one step, from either client, of all symbols."""
    asked = (["SPY", "AAPL"], "1Min", "2024-03-01")
    async with tickgate.connect(address) as client:
        one = await getattr(client.bars(*asked), library)(exact=True)
    with tickgate.connect_sync(address) as twin:
        # A thread waits for it, since the gateway may need this one.
        other = await asyncio.to_thread(getattr(twin.bars(*asked), library), exact=True)
    assert one.equals(other)
    assert len(one) == 4


def test_a_terminal_shows_how_far_it_is(address: str) -> None:
    """On a terminal rows, symbol and time move while a series is read, apart from the answer; in a pipe none do."""
    command = [sys.executable, "-m", "tickgate", "bars", "SPY", *START, "--address", address]
    shown = []
    for terminal in (True, False):
        environment = os.environ | {"TTY_COMPATIBLE": "1"} if terminal else os.environ
        environment = (
            environment | {"COLUMNS": "120", "FORCE_COLOR": "1"} if terminal else environment
        )
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        shown.append("3 rows, at 2024-03-01 14:33" in done.stderr)
        assert "498.33" in done.stdout
    assert shown == [True, False]


def test_candles_in_the_terminal(address: str, capsys: Capture) -> None:
    """A chart names symbol, timeframe and source, its prices and times, and holds no color where none can be seen."""
    assert cli.main(("bars", "SPY", *START, "--plot", "--address", address)) == cli.COMPLETE
    drawn = capsys.readouterr().out
    assert "SPY 1Day, alpaca SIP" in drawn
    assert "497.0" in drawn
    assert "03-01 14:30" in drawn
    assert "│" in drawn
    assert "█" in drawn
    assert "\x1b" not in drawn


def test_a_narrow_terminal_shows_the_newest(address: str) -> None:
    """Candles are never put together: those that do not fit are left out, the oldest first, and the title says so."""
    bars = [row for row in own.BARS_READ for _ in range(40)]
    drawn = charts.in_terminal(bars, "1Min", 60, color=True)
    assert "the newest 23 of 120" in drawn
    assert "\x1b" in drawn
    assert charts.newest(own.BARS_READ[::-1], 60) == own.BARS_READ  # whatever their order
    assert max(map(len, charts.in_terminal(bars, "1Min", 60, color=False).splitlines())) == 60


def test_candles_in_a_picture(address: str, tmp_path: Path, capsys: Capture) -> None:
    """A picture is a file of the kind that its suffix names."""
    path = tmp_path / "out.png"
    command = ("bars", "SPY", *START, "--png", str(path), "--plot", "--address", address)
    assert cli.main(command) == cli.COMPLETE
    assert path.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "3 candles drawn into" in said
    assert "SPY 1Day" in said


def test_what_is_drawn_is_written_as_well(address: str, tmp_path: Path, capsys: Capture) -> None:
    """Candles and a file can be had of one reading, and a lack is said once."""
    picture, file = tmp_path / "out.png", tmp_path / "bars.parquet"
    files = ("--png", str(picture), "--plot", "--out", str(file), "--exact")
    assert cli.main(("bars", "MSFT", *START, *files, "--address", address)) == cli.INCOMPLETE
    assert picture.read_bytes().startswith(b"\x89PNG")
    frame = pl.read_parquet(file)
    assert frame["symbol"].to_list() == ["MSFT"]
    assert isinstance(frame["close"][0], Decimal)
    shown = capsys.readouterr()
    assert "1 rows written to" in shown.out
    assert "1 candles drawn into" in shown.out
    assert "MSFT 1Day" in shown.out
    assert shown.err.count("MSFT: 1 came") == 1


@pytest.mark.parametrize(
    ("library", "module", "options"),
    [
        ("plotext", None, ("--plot",)),
        ("matplotlib", "matplotlib.figure", ("--png", "x.png")),
        ("polars", "tickgate._polars", ("--out", "x.csv")),
    ],
)
def test_an_extra_that_is_absent_is_one_sentence(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    library: str,
    module: str | None,
    options: tuple[str, ...],
) -> None:
    """Without its library an output says which extra to install, and the exit code is that of wrong usage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    for each in [name for name in sys.modules if name.startswith(f"{library}.") or name == module]:
        monkeypatch.delitem(sys.modules, each)
    assert cli.main(("bars", "SPY", *START, *options, "--address", address)) == cli.WRONG_USAGE
    extra = {"plotext": "plot", "matplotlib": "png"}.get(library, library)
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"tickgate: {library} is not installed: pip install 'tickgate[{extra}]'"
    assert not list(tmp_path.iterdir())
