"""Recordings of options that happen again: which chain stands when, to the digit."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import REAL_RECORDINGS, write_recordings
from tickgate_sandbox import Plan, RecordingError, SettingsError
from tickgate_sandbox.timestamps import parse, render

from .asking import Client, asked, synthetic
from .option_recordings import CHAIN, CHAIN_STANDS, write_chain, write_option_quotes

SNAPSHOTS = "/v1beta1/options/snapshots"
ONE = "XYZ240315C00050000"
OTHER = "XYZ240315P00050000"
NANOSECOND = 1

real = pytest.mark.skipif(not REAL_RECORDINGS.is_dir(), reason="real recordings are not at hand")


def replayed(folder: Path, at: str = CHAIN_STANDS, **changes: Any) -> Any:
    """Return settings that replay *folder* at an instant."""
    return synthetic(**({"replay": folder, "at": at} | changes))


def quoted(price: str, **stamps: str) -> dict[str, str]:
    """Return a chain of one contract with a bid of that price, and times if it has any."""
    stamp = f',"t":"{stamps["t"]}"' if stamps else ""
    return {ONE: f'{{"latestQuote":{{"bp":{price}{stamp}}}}}'}


def line(symbol: str, price: str, stamp: str) -> str:
    """Return a line of a recorded stream."""
    return f'{{"T":"q","S":"{symbol}","bp":{price},"bs":2,"ap":9,"as":1,"t":"{stamp}"}}'


async def bid(client: Client) -> Any:
    """Return the bid of the one contract, or None when there is no chain."""
    chain = (await client.get(f"{SNAPSHOTS}/XYZ")).json["snapshots"]
    return chain[ONE]["latestQuote"]["bp"] if chain else None


# ----------------------------------------------------------------------- which recording stands


async def test_newest_time_of_the_day(tmp_path: Path) -> None:
    """A chain named by its day stands from the newest time in it that is of that day."""
    write_chain(tmp_path, "XYZ-2024-03-13")
    async with asked(replayed(tmp_path)) as (running, client):
        stands = await bid(client)
        running.clock.seek(parse(CHAIN_STANDS) - NANOSECOND)
        before = await bid(client)
        running.clock.seek(parse(CHAIN_STANDS) + 365 * 86_400 * 10**9)
        later = await bid(client)

    assert (before, stands, later) == (None, 1.5, 1.5)


@pytest.mark.parametrize(
    ("day", "close"),
    [
        ("2024-03-13", "2024-03-13T20:00:00Z"),
        ("2015-12-24", "2015-12-24T18:00:00Z"),
        ("2024-03-16", "2024-03-16T20:00:00Z"),
    ],
    ids=["whole day", "half day", "Saturday"],
)
async def test_without_a_time_it_stands_from_the_close(
    tmp_path: Path, day: str, close: str
) -> None:
    """A chain without a time of its day stands from that day's close."""
    write_chain(tmp_path, f"XYZ-{day}", quoted("1.5", t="2010-01-04T15:00:00Z"))
    async with asked(replayed(tmp_path, close)) as (running, client):
        stands = await bid(client)
        running.clock.seek(parse(close) - NANOSECOND)
        before = await bid(client)

    assert (before, stands) == (None, 1.5)


async def test_series_stand_from_the_time_in_their_name(tmp_path: Path) -> None:
    """Chains of a series stand from the New York time in their name, each until the next."""
    write_chain(tmp_path, "series/XYZ-2024-03-13T101530", quoted("1"))
    write_chain(tmp_path, "series/XYZ-2024-03-13T155959", quoted("2"))
    write_chain(tmp_path, "series/XYZ-2024-03-14T101530", quoted("3"))
    write_chain(tmp_path, "XYZ-2024-03-13", quoted("4", t="2024-03-13T20:14:59Z"))
    instants = {
        "2024-03-13T14:15:29.999999999Z": None,
        "2024-03-13T14:15:30Z": 1,
        "2024-03-13T19:59:58Z": 1,
        "2024-03-13T19:59:59Z": 2,
        "2024-03-13T20:14:59Z": 4,
        "2024-03-14T15:00:00Z": 3,
    }
    async with asked(replayed(tmp_path)) as (running, client):
        for instant, expected in instants.items():
            running.clock.seek(parse(instant))
            assert await bid(client) == expected, instant


async def test_day_of_quotes(tmp_path: Path) -> None:
    """Where only quotes are recorded, the newest of each contract make up the chain."""
    write_option_quotes(
        tmp_path,
        "XYZ-2024-03-13",
        [
            line(ONE, "1.10", "2024-03-13T13:31:00Z"),
            line(OTHER, "5.0", "2024-03-13T13:32:00Z"),
            line(ONE, "1.20", "2024-03-13T13:33:00Z"),
        ],
    )
    async with asked(replayed(tmp_path, "2024-03-13T13:31:00Z")) as (running, client):
        first = await client.get(f"{SNAPSHOTS}/XYZ")
        running.clock.seek(parse("2024-03-13T13:33:00Z"))
        last = await client.get(f"{SNAPSHOTS}/XYZ")
        since = await client.get(f"{SNAPSHOTS}/XYZ", updated_since="2024-03-13T13:33:00Z")
        contracts = await client.get("/v2/options/contracts")
        running.clock.seek(parse("2024-03-13T13:30:59Z"))
        none_yet = await client.get(f"{SNAPSHOTS}/XYZ")

    def snapshot(symbol: str, price: str, stamp: str) -> str:
        quote = f'{{"bp":{price},"bs":2,"ap":9,"as":1,"t":"{stamp}"}}'
        return f'"{symbol}":{{"latestQuote":{quote}}}'

    one = snapshot(ONE, "1.20", "2024-03-13T13:33:00Z")
    other = snapshot(OTHER, "5.0", "2024-03-13T13:32:00Z")
    assert list(first.json["snapshots"]) == [ONE]
    assert last.body == f'{{"snapshots":{{{one},{other}}},"next_page_token":null}}'.encode()
    assert list(since.json["snapshots"]) == [ONE]
    assert [each["symbol"] for each in contracts.json["option_contracts"]] == [ONE, OTHER]
    assert none_yet.json["snapshots"] == {}


async def test_day_without_a_line(tmp_path: Path) -> None:
    """A day of quotes that is empty changes nothing."""
    write_chain(tmp_path, "XYZ-2024-03-13")
    write_option_quotes(tmp_path, "XYZ-2024-03-14", [])
    async with asked(replayed(tmp_path, "2024-03-15T12:00:00Z")) as (_, client):
        assert await bid(client) == 1.5


async def test_lines_in_another_order_of_keys(tmp_path: Path) -> None:
    """A line whose keys stand in another order shows the same values."""
    text = f'{{"bp":1.10,"S":"{ONE}","t":"2024-03-13T13:31:00Z","T":"q"}}'
    write_option_quotes(tmp_path, "XYZ-2024-03-13", [text])
    async with asked(replayed(tmp_path)) as (_, client):
        answer = await client.get(f"{SNAPSHOTS}/XYZ")

    assert b'{"latestQuote":{"bp":1.10,"t":"2024-03-13T13:31:00Z"}}' in answer.body


async def test_dotted_underlying(tmp_path: Path) -> None:
    """Contracts of a class share are found though their root has lost the dot."""
    chain = {"BRKB240315C00400000": '{"latestQuote":{"bp":1}}'}
    write_chain(tmp_path, "BRK.B-2024-03-13", chain)
    async with asked(replayed(tmp_path, "2024-03-13T20:00:00Z")) as (_, client):
        whole = await client.get(f"{SNAPSHOTS}/BRK.B")
        named = await client.get(SNAPSHOTS, symbols="BRKB240315C00400000")
        contract = await client.get("/v2/options/contracts/BRKB240315C00400000")

    assert (
        whole.json["snapshots"]
        == named.json["snapshots"]
        == {"BRKB240315C00400000": {"latestQuote": {"bp": 1}}}
    )
    assert (contract.json["underlying_symbol"], contract.json["root_symbol"]) == ("BRK.B", "BRKB")


# ---------------------------------------------------------------------------------- moved in time


async def test_shifted_chain(tmp_path: Path) -> None:
    """Shifted, every time of a chain moves and no other value does."""
    write_chain(tmp_path, "XYZ-2024-03-13")
    now = parse("2026-11-20T15:00:00Z")
    settings = replayed(tmp_path, shift_to_now=True)
    # Only whole minutes are moved.
    offset = (now - parse(CHAIN_STANDS)) // (60 * 10**9) * 60 * 10**9
    async with asked(settings, wall_ns=lambda: now) as (_, client):
        answer = await client.get(f"{SNAPSHOTS}/XYZ")
        since = await client.get(f"{SNAPSHOTS}/XYZ", updated_since="2026-11-20T14:58:00Z")

    chain = answer.json["snapshots"]
    assert list(chain) == sorted(CHAIN)
    assert chain[ONE]["latestQuote"]["t"] == render(parse("2024-03-13T19:59:58.5Z") + offset)
    assert chain[ONE]["minuteBar"]["t"] == render(parse("2024-03-13T19:30:00Z") + offset)
    assert chain[ONE]["dailyBar"]["t"] == "2026-11-20T05:00:00Z"
    assert chain[ONE]["prevDailyBar"]["t"] == "2026-11-19T05:00:00Z"
    assert b'"bp":1.50' in answer.body
    assert b'"impliedVolatility":0.30' in answer.body
    assert len(since.json["snapshots"]) == 3


async def test_shifted_quotes(tmp_path: Path) -> None:
    """A day of quotes moves as well."""
    lines = [line(ONE, "1.10", f"2024-03-13T13:3{minute}:00Z") for minute in (1, 2)]
    write_option_quotes(tmp_path, "XYZ-2024-03-13", lines)
    settings = replayed(tmp_path, "2024-03-13T13:31:30Z", shift_to_now=True)
    now = parse("2026-11-20T15:00:30Z")
    async with asked(settings, wall_ns=lambda: now) as (running, client):
        answer = await client.get(f"{SNAPSHOTS}/XYZ")
        due = running.options.due("quotes", ONE, now, now + 60 * 10**9)

    assert answer.json["snapshots"][ONE]["latestQuote"]["t"] == "2026-11-20T15:00:00Z"
    assert [render(at) for at, _ in due] == ["2026-11-20T15:01:00Z"]
    assert b'"bp":1.10' in due[0][1]
    assert b'"t":"2026-11-20T15:01:00Z"' in due[0][1]


# ------------------------------------------------------------------------------- what is replayed


async def test_start_by_itself(tmp_path: Path) -> None:
    """A replay of nothing but options starts when the chains of their newest day stand."""
    write_chain(tmp_path, "XYZ-2024-03-13")
    async with asked(replayed(tmp_path, at=None)) as (running, client):  # type: ignore[arg-type]
        assert await bid(client) == 1.5
        assert render(running.clock.now()) == "2024-03-13T21:00:00Z"


async def test_shares_decide_the_start(tmp_path: Path) -> None:
    """Where shares are recorded too, their newest day is where a replay starts."""
    write_recordings(tmp_path)
    write_chain(tmp_path, "XYZ-2025-03-13")
    async with asked(replayed(tmp_path, at=None)) as (running, _):  # type: ignore[arg-type]
        assert render(running.clock.now()) == "2024-03-13T14:00:00Z"


async def test_chosen_underlyings(tmp_path: Path) -> None:
    """Only the options of chosen symbols are replayed."""
    write_chain(tmp_path, "XYZ-2024-03-13")
    write_chain(tmp_path, "ABC-2024-03-13", {"ABC240315C00050000": "{}"})
    async with asked(replayed(tmp_path, symbols=("ABC",))) as (running, client):
        assert await bid(client) is None
        assert running.options.underlyings == {"ABC"}


async def test_chosen_underlying_that_is_not_recorded(tmp_path: Path) -> None:
    """A symbol of which neither share nor options are recorded cannot be chosen."""
    write_chain(tmp_path, "XYZ-2024-03-13")
    with pytest.raises(SettingsError, match="there are no recordings of TSLA, only of XYZ"):
        async with asked(replayed(tmp_path, symbols=("TSLA",))):
            pass


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("options/XYZ-2024-03-13.json.gz", b"not gzip"),
        ("options/XYZ-2024-03-13.json.gz", gzip.compress(b'{"snapshots":{"XYZ":{}}', mtime=0)),
        ("options/XYZ-2024-03-13.json.gz", gzip.compress(b'{"snapshots":{"A":[]}}', mtime=0)),
        ("options/series/XYZ-2024-03-13T101500.json.gz", gzip.compress(b"{}", mtime=0)),
        ("options-quotes/XYZ-2024-03-13.jsonl.gz", gzip.compress(b'{"S":1}\n', mtime=0)),
        ("options-quotes/XYZ-2024-03-13.jsonl.gz", gzip.compress(b'{"S":"XYZ"}\n', mtime=0)),
    ],
    ids=["not gzip", "cut", "no snapshot", "no chain", "no symbol", "no time"],
)
async def test_unreadable_recording(tmp_path: Path, name: str, content: bytes) -> None:
    """A file that is no recording is named."""
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=path.name):
        async with asked(replayed(tmp_path, symbols=("XYZ",))):
            pass


async def test_recording_of_what_is_no_contract(tmp_path: Path) -> None:
    """A chain whose keys are no contracts is no recording."""
    write_chain(tmp_path, "XYZ-2024-03-13", {"XYZ": "{}"})
    with pytest.raises(RecordingError, match="XYZ is no OCC symbol"):
        async with asked(replayed(tmp_path, symbols=("XYZ",))):
            pass


async def test_read_once(tmp_path: Path) -> None:
    """Many first questions at once read the recordings once; later ones need no file."""
    write_chain(tmp_path, "XYZ-2024-03-13")
    async with asked(replayed(tmp_path)) as (_, client):
        answers = await asyncio.gather(*(client.get(f"{SNAPSHOTS}/XYZ") for _ in range(5)))
        (tmp_path / "options" / "XYZ-2024-03-13.json.gz").unlink()
        again = await client.get(f"{SNAPSHOTS}/XYZ")

    assert {answer.body for answer in answers} == {again.body}
    assert len(again.json["snapshots"]) == len(CHAIN)


# ------------------------------------------------------------------------------- real recordings


@real
@pytest.mark.recordings
async def test_real_chain_to_its_end() -> None:
    """A real chain of nine thousand contracts is paged to its end, each contract once."""
    settings = replayed(REAL_RECORDINGS, "2022-07-12T16:30:00-04:00", plan=Plan.PLUS)
    seen: list[str] = []
    async with asked(settings) as (_, client):
        token: str | None = ""
        while token is not None:
            answer = await client.get(f"{SNAPSHOTS}/SPY", limit="1000", page_token=token)
            seen += answer.json["snapshots"]
            token = answer.json["next_page_token"]
        one = await client.get(SNAPSHOTS, symbols="SPY220713P00290000")

    assert len(seen) == 9_208
    assert seen == sorted(set(seen))
    assert one.body == (
        b'{"snapshots":{"SPY220713P00290000":{"latestQuote":{"bp":0.0,"bs":0,"ap":0.01,"as":6087},'
        b'"latestTrade":{"p":0.01,"t":"2022-07-11T18:00:56Z"},'
        b'"prevDailyBar":{"c":0.00499999988824129},"impliedVolatility":1.5434,'
        b'"greeks":{"delta":-0.0001,"gamma":0.0,"rho":0.0,"theta":-0.0005,"vega":0.0001}}},'
        b'"next_page_token":null}'
    )


@real
@pytest.mark.recordings
@pytest.mark.parametrize(
    ("underlying", "at", "count"),
    [
        ("SPY", "2022-07-12T20:14:58Z", 0),
        ("SPY", "2022-07-12T20:14:59Z", 9_208),
        ("SPY", "2025-05-16T19:59:59Z", 9_208),
        ("SPY", "2025-05-16T20:00:00Z", 3_160),
        ("AAPL", "2014-06-06T20:00:00Z", 2_352),
        ("AAPL", "2014-06-09T20:00:00Z", 2_180),
        ("AAPL", "2026-02-11T17:27:02Z", 2_546),
        ("AAPL", "2026-08-17T19:05:22Z", 1_020),
        ("AAPL", "2026-08-21T20:00:00Z", 1_068),
        ("MSFT", "2021-05-17T20:00:00Z", 380),
        ("GOOG", "2015-12-24T18:01:00Z", 1_840),
        ("NWSA", "2013-06-28T20:01:00Z", 210),
    ],
)
async def test_real_chains(underlying: str, at: str, count: int) -> None:
    """The chain of the instant stands, whole."""
    async with asked(replayed(REAL_RECORDINGS, at)) as (running, client):
        await client.get(f"{SNAPSHOTS}/{underlying}", limit="1")
        chain = await running.options.chain(underlying, parse(at))

    assert (len(chain) if chain is not None else 0) == count
