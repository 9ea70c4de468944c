"""Sessions that are recorded to be lived again: what is written, and that it can be read whatever happens."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_sandbox import Plan, Sandbox, SandboxSettings, sandbox
from tickgate_sandbox.recordings import RecordingFolder
from tickgate_server.app.programs import recording
from tickgate_server.jobs.session_folder import SessionFolder
from tickgate_server.jobs.session_recorder import SessionRecorder, Wording
from tickgate_server.market.live import Channel, FeedState, GapCause, RecordKind
from tickgate_server.market.provenance import Feed
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.unavailable import Reason
from tickgate_server.upstream.alpaca.stream.written import bar_text, quote_line, trade_line

from ...support.fakes import NOW, bar, provenance, quote, side, trade, unavailable
from ...support.fanning import value_of
from ...support.recordings import Recording, write_recordings
from ...support.running import settings_for
from ...support.waiting import until

WORDING = Wording(quote_line, trade_line, bar_text)
DAY = date(2024, 3, 13)
BEFORE = "2024-03-13T07:59:00Z"
"""A minute before the first record."""

AFTER = parse_rfc3339("2024-03-13T20:45:00Z")
"""Some minutes after the last."""

FAST = 50_000.0
"""A day in a second."""


# ------------------------------------------------------------------------------- the same bytes again


@asynccontextmanager
async def replayed(folder: Path) -> AsyncIterator[Sandbox]:
    """Replay *folder*, standing still before its first record."""
    market = SandboxSettings(
        replay=folder, at=BEFORE, speed=0, plan=Plan.PLUS, listen="127.0.0.1:0"
    )
    async with sandbox(market) as upstream:
        yield upstream


async def record_again(source: Path, target: Path, symbols: tuple[str, ...]) -> SessionRecorder:
    """Live the day of *source* again, and record it into *target*."""
    async with (
        replayed(source) as upstream,
        recording(settings_for(upstream.url), Feed.SIP, symbols, target) as session,
    ):
        await asyncio.wait_for(session.begun.wait(), 10)
        await upstream.market.load(symbols)
        start = upstream.clock.now() + 1
        due = {
            channel: sum(len(upstream.market.due(channel, one, start, AFTER)) for one in symbols)
            for channel in ("quotes", "trades", "bars")
        }
        upstream.clock.set_speed(FAST)
        counts = session.counts

        def all_came() -> bool:
            came = counts.quotes + counts.left_out, counts.trades, counts.bars
            return came == tuple(due.values())

        await until(all_came, within=30)
    return session


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file of *folder*, by its name there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def test_a_day_that_is_recorded_can_be_lived_again(tmp_path: Path) -> None:
    """A replay is recorded, the recording replayed and recorded: no byte of the two recordings differs."""
    source, first, second = (tmp_path / name for name in ("source", "first", "second"))
    source.mkdir()
    written = write_recordings(source, ("AAPL", "IBM"), DAY, updates=120)
    counts = (await record_again(source, first, ("AAPL", "IBM"))).counts
    await record_again(first, second, ("AAPL", "IBM"))

    assert files_of(first) == files_of(second)
    assert list(files_of(first)) == [
        f"{kind}/{symbol}-{middle}{DAY}.{end}"
        for kind, middle, end in (
            ("bars", "1Min-", "json.gz"),
            ("quotes", "", "jsonl.gz"),
            ("trades", "", "jsonl.gz"),
        )
        for symbol in ("AAPL", "IBM")
    ]
    assert (counts.quotes, counts.trades, counts.gaps, counts.held) == (240, 120, 0, 0)
    for symbol, recorded in written.items():
        assert_same(first, symbol, recorded)


def assert_same(folder: Path, symbol: str, recorded: Recording) -> None:
    """Hold what was recorded of *symbol* against what was replayed, number by number."""
    for kind, lines in (("quotes", recorded.quotes), ("trades", recorded.trades)):
        told = gzip.decompress((folder / kind / f"{symbol}-{DAY}.jsonl.gz").read_bytes())
        assert [_exact(line) for line in told.decode().splitlines()] == [
            _exact(line) for _, line in lines
        ]


def _exact(line: str) -> dict[str, object]:
    fields: dict[str, object] = json.loads(line, parse_float=Decimal, parse_int=Decimal)
    return {name: value for name, value in fields.items() if value != []}


# ---------------------------------------------------------------------------------- what is written


@pytest.fixture
def session(tmp_path: Path) -> SessionRecorder:
    """A recorder that is fed by hand."""
    return SessionRecorder(tmp_path, WORDING, interval=0.01)


def lines_of(folder: Path, kind: str, symbol: str = "AAPL") -> list[str]:
    """Return the lines of a file as the sandbox reads them."""
    (path,) = (folder / kind).glob(f"{symbol}-*.gz")
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_records_are_written_as_alpaca_sends_them(session: SessionRecorder, tmp_path: Path) -> None:
    """A line holds every digit and nanosecond that came; an empty side is Alpaca's zero, the rest is left out."""
    at = NOW + 1
    whole = replace(quote(), bid=side("498.30", 2, "K"), provenance=provenance(at))
    empty = replace(quote(bid=None), conditions=(), tape=None, provenance=provenance(at + 1))
    session.accept(RecordKind.QUOTE, "AAPL", whole)
    session.accept(RecordKind.QUOTE, "AAPL", empty)
    session.accept(RecordKind.TRADE, "AAPL", replace(trade(price="100"), id=None))
    session.accept(RecordKind.BAR, "AAPL", replace(bar(), vwap=None))
    session.finish()
    first, second = lines_of(tmp_path, "quotes")
    assert first == (
        '{"T":"q","S":"AAPL","bx":"K","bp":498.3,"bs":2,"ax":"V","ap":10.02,"as":100,"c":["R"],'
        '"t":"2026-10-01T15:00:00.000000001Z","z":"C"}'
    )
    assert second == (
        '{"T":"q","S":"AAPL","bx":" ","bp":0,"bs":0,"ax":"V","ap":10.02,"as":100,'
        '"t":"2026-10-01T15:00:00.000000002Z"}'
    )
    assert lines_of(tmp_path, "trades") == [
        '{"T":"t","S":"AAPL","x":"V","p":100,"s":50,"c":["@"],"t":"2026-10-01T15:00:00Z","z":"C"}'
    ]
    assert lines_of(tmp_path, "bars") == [
        '{"bars":[{"t":"2026-10-01T15:00:00Z","o":10.01,"h":10.01,"l":10.01,"c":10.01,"v":500,"n":12}]}'
    ]


def test_days_are_new_yorks(session: SessionRecorder, tmp_path: Path) -> None:
    """What happens at half past eight in the evening belongs to the day on which it does in New York."""
    for text in ("2026-10-02T00:30:00Z", "2026-10-02T04:30:00Z"):
        value = replace(trade(), provenance=provenance(parse_rfc3339(text)))
        session.accept(RecordKind.TRADE, "AAPL", value)
    files = [path.name for path in session.finish()]
    assert files == ["AAPL-2026-10-01.jsonl.gz", "AAPL-2026-10-02.jsonl.gz"]


def test_a_revised_bar_takes_the_place_of_the_first(
    session: SessionRecorder, tmp_path: Path
) -> None:
    """Bars stand in order of time, each as it was last sent; running bars of the day are left out."""
    session.accept(RecordKind.BAR, "AAPL", replace(bar(), provenance=provenance(NOW + 60 * NANOS)))
    session.accept(RecordKind.BAR, "AAPL", bar())
    session.accept(RecordKind.REVISED_BAR, "AAPL", replace(bar(), close=Decimal(11)))
    session.accept(RecordKind.DAILY_BAR, "AAPL", bar())
    session.finish()
    (line,) = lines_of(tmp_path, "bars")
    assert [one["c"] for one in json.loads(line)["bars"]] == [11, 10.01]
    assert (session.counts.bars, session.counts.left_out) == (2, 1)


def test_what_a_recording_has_no_place_for_is_counted(session: SessionRecorder) -> None:
    """Amendments, refused records and trades without a size are left out, and said to be."""
    cancelled = value_of(RecordKind.TRADE_CANCELLATION, "AAPL")
    session.accept(RecordKind.TRADE_CANCELLATION, "AAPL", cancelled)
    session.accept(RecordKind.TRADE, "AAPL", replace(trade(), size=None))
    session.refuse(RecordKind.QUOTE, "AAPL", unavailable(Reason.NO_DATA))
    assert session.counts.left_out == 3
    assert session.finish() == []


async def test_what_happens_to_the_feed_is_told(session: SessionRecorder) -> None:
    """It knows when everything is followed, what is not and why, that something was missed, and when all is in vain."""
    session.expect(["AAPL", "IBM"])
    for channel in (Channel.QUOTES, Channel.TRADES, Channel.BARS):
        session.confirmed(channel, ["AAPL"])
    assert not session.begun.is_set()
    for channel in (Channel.QUOTES, Channel.TRADES, Channel.BARS):
        session.rejected(channel, ["IBM"], unavailable(Reason.SUBSCRIPTION_LIMIT))
    assert session.begun.is_set()
    assert session.counts.rejected == {"IBM": "because of SUBSCRIPTION_LIMIT"}
    assert not session.over.is_set()
    session.lost(GapCause.DISCONNECTED, NOW, "cut")
    assert session.counts.gaps == 1
    session.changed(FeedState.AUTH_FAILED, "the key is refused")
    assert session.over.is_set()
    assert session.hopeless == "the key is refused"


async def test_without_a_symbol_there_is_nothing_to_wait_for(session: SessionRecorder) -> None:
    """When the last symbol is rejected on the last channel the session is over, whatever had been confirmed before."""
    session.expect(["AAPL"])
    session.confirmed(Channel.BARS, ["AAPL"])
    for channel in (Channel.QUOTES, Channel.TRADES, Channel.BARS):
        assert not session.over.is_set()
        session.rejected(channel, ["AAPL"], unavailable(Reason.SYMBOL_UNKNOWN))
    assert session.over.is_set()


# ----------------------------------------------------------------------------- whatever happens to it


async def test_a_cut_session_can_be_read(session: SessionRecorder, tmp_path: Path) -> None:
    """What was recorded up to a moment before the process is killed is in files that the sandbox reads."""
    job = asyncio.create_task(session.run())
    for number in range(3):
        origin = provenance(NOW + number)
        session.accept(RecordKind.TRADE, "AAPL", replace(trade(), provenance=origin))
        session.accept(RecordKind.QUOTE, "AAPL", replace(quote(), provenance=origin))
        session.accept(RecordKind.BAR, "AAPL", bar())
        await until(partial(_has_more, tmp_path, number))
    # Nobody finishes it.
    job.cancel()
    found = RecordingFolder(tmp_path).read("AAPL")
    assert (len(found.trades), len(found.quotes), len(found.minute_bars)) == (3, 3, 1)


def _has_more(folder: Path, count: int) -> bool:
    return (folder / "trades").exists() and len(lines_of(folder, "trades")) > count


def record(folder: Path, first: int, last: int, *, finish: bool = True) -> SessionFolder:
    """Record the trades with numbers from *first* to *last*."""
    session = SessionFolder(folder)
    for number in range(first, last + 1):
        line = trade_line(replace(trade(), id=number, provenance=provenance(NOW + number)))
        session.line("trades", "AAPL", NOW + number, line)
    session.finish() if finish else session.write()
    return session


def test_it_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    """A session that is begun again in the same folder adds what is new, and takes nothing twice."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    record(whole, 0, 9)
    record(parts, 0, 4, finish=False)
    record(parts, 3, 9)
    assert files_of(whole) == files_of(parts)


def test_bars_that_were_there_stay_as_they_were(tmp_path: Path) -> None:
    """A session that goes on keeps the digits of the bars that it finds."""
    text = '{"bars":[{"t":"2026-10-01T14:58:00Z","o":10.10,"h":11,"l":9.5,"c":10,"v":7}]}'
    path = tmp_path / "bars" / "AAPL-1Min-2026-10-01.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(text.encode()))
    session = SessionFolder(tmp_path)
    session.bar("AAPL", NOW, bar_text(bar()))
    session.finish()
    (line,) = lines_of(tmp_path, "bars")
    assert line.startswith(text.removesuffix("]}") + ',{"t":"2026-10-01T15:00:00Z"')


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_torn_end_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Of a file that lost its end, in the middle of whatever, the whole lines are kept and the session goes on."""
    folder = tmp_path_factory.mktemp("torn")
    record(folder, 0, 4, finish=False)
    record(folder, 5, 9, finish=False)
    (path,) = (folder / "trades").iterdir()
    data = path.read_bytes()
    path.write_bytes(data[: max(1, len(data) - cut)])
    record(folder, 0, 9)
    kept = [json.loads(line)["i"] for line in lines_of(folder, "trades")]
    assert kept == list(range(10))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_pieces_leave_no_trace(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """However often what has come is written, the finished file is the same."""
    dice = random.Random(seed)
    folder = tmp_path_factory.mktemp("pieces")
    whole, pieces = folder / "whole", folder / "pieces"
    record(whole, 0, 30)
    session = SessionFolder(pieces)
    for number in range(31):
        line = trade_line(replace(trade(), id=number, provenance=provenance(NOW + number)))
        session.line("trades", "AAPL", NOW + number, line)
        if dice.random() < 0.3:
            session.write()
    session.finish()
    assert files_of(whole) == files_of(pieces)


async def test_a_folder_that_cannot_be_written_ends_the_session(tmp_path: Path) -> None:
    """A full disk, or a file in the way, is said in a sentence, and the session is over."""
    (tmp_path / "trades").write_text("in the way")
    session = SessionRecorder(tmp_path, WORDING, interval=0.001)
    session.accept(RecordKind.TRADE, "AAPL", trade())
    await asyncio.wait_for(session.run(), 5)
    assert session.over.is_set()
    assert session.hopeless.startswith("the recording cannot be written: ")
