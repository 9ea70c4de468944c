"""The option stream: its own encoding, limits and refusals, and what is sent on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest

from tests.support.recordings import REAL_RECORDINGS
from tests.support.waiting import until
from tickgate_sandbox import Plan, Sandbox, stream_faults
from tickgate_sandbox.timestamps import parse, render

from .asking import KEYS, MARKET_OPEN, asked, synthetic
from .option_recordings import write_chain, write_option_quotes
from .streaming import (
    AUTH,
    AUTHENTICATED,
    CONNECTED,
    JSON,
    MSGPACK,
    connected,
    error,
    instants,
    streamed,
)

NEAR = "AAPL261204C00230000"
OTHER = "AAPL261204P00230000"
FEEDS = ["opra", "indicative"]
NOON = parse(MARKET_OPEN)
MINUTE = 60 * 10**9
HOUR = 60 * MINUTE

SYNTAX = error(400, "invalid syntax")
TOO_MANY = error(405, "symbol limit exceeded")

real = pytest.mark.skipif(not REAL_RECORDINGS.is_dir(), reason="real recordings are not at hand")


def plus(**changes: Any) -> Any:
    """Return settings of an account that may read both feeds."""
    return synthetic(**({"plan": Plan.PLUS} | changes))


def many(count: int, first: int = 1) -> list[str]:
    """Return so many contracts."""
    return [
        f"AAPL261204C{strike:08}" for strike in range(first * 1000, (first + count) * 1000, 1000)
    ]


# ------------------------------------------------------------------------------------- protocol


@pytest.mark.parametrize("feed", FEEDS)
async def test_authentication(feed: str) -> None:
    """Both feeds greet in MessagePack, let in who has keys, and acknowledge two channels."""
    async with asked(plus()) as (running, _), connected(running, feed) as client:
        assert await client.frame() == [CONNECTED]
        assert await client.ask(AUTH) == AUTHENTICATED
        assert await client.subscribe(trades=[NEAR], quotes=[OTHER, NEAR]) == {
            "T": "subscription", "trades": [NEAR], "quotes": [NEAR, OTHER]
        }  # fmt: skip
        assert await client.unsubscribe(quotes=[NEAR]) == {
            "T": "subscription", "trades": [NEAR], "quotes": [OTHER]
        }  # fmt: skip


@pytest.mark.parametrize("feed", FEEDS)
async def test_json_is_turned_away(feed: str) -> None:
    """A client that speaks JSON is told, in JSON, that it may not."""
    refused = error(412, "option messages are only available in MsgPack format")
    async with asked(plus()) as (running, _):
        async with connected(running, feed, JSON) as client:
            assert await client.one() == CONNECTED
            assert await client.ask(AUTH) == refused
            assert await client.subscribe(quotes=[NEAR]) == error(401, "not authenticated")
        async with connected(running, feed, JSON, KEYS) as client:
            assert [await client.one(), await client.one()] == [CONNECTED, refused]
        assert running.stream.clients() == 0


async def test_text_among_messagepack() -> None:
    """A JSON message on a MessagePack connection means nothing."""
    async with asked() as (running, _), streamed(running, "indicative") as client:
        await client.socket.send_str(json.dumps({"action": "subscribe", "quotes": [NEAR]}))
        assert await client.one() == SYNTAX


async def test_feed_beyond_the_plan() -> None:
    """The basic plan has no OPRA."""
    async with asked() as (running, _), connected(running, "opra") as client:
        await client.one()
        assert await client.ask(AUTH) == error(409, "insufficient subscription")


@pytest.mark.parametrize("path", ["/v2/opra", "/v1beta1/iex", "/v1beta1/bogus", "/v1beta1/test"])
async def test_feed_of_another_version(path: str) -> None:
    """A feed is found below its own version alone."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    async with asked(plus()) as (_, client):
        assert (await client.send("GET", path, headers=headers)).status == 404


@pytest.mark.parametrize(
    "channel", ["bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "news"]
)
async def test_channel_that_the_feed_lacks(channel: str) -> None:
    """Options have trades and quotes; other channels are refused in words of their own."""
    async with asked() as (running, _), streamed(running, "indicative") as client:
        answer = await client.subscribe(**{channel: [NEAR]})

    assert answer == error(410, "invalid subscribe action for this feed")


@pytest.mark.parametrize(
    "channels",
    [
        {"quotes": ["AAPL"]},
        {"trades": ["AAPL"]},
        {"quotes": [NEAR, "AAPL261304C00230000"]},
        {"quotes": [NEAR.lower()]},
        {"quotes": ["FAKEPACA"]},
        {"quotes": NEAR},
        {"bogus": [NEAR]},
        {},
    ],
    ids=str,
)
async def test_what_is_no_contract(channels: dict[str, Any]) -> None:
    """Whatever is not shaped like a contract refuses the whole request."""
    async with asked() as (running, _), streamed(running, "indicative") as client:
        answer = await client.subscribe(**channels)
        state = await client.subscribe(trades=[OTHER])

    assert answer == SYNTAX
    assert state == {"T": "subscription", "trades": [OTHER], "quotes": []}


async def test_contracts_on_a_stock_feed() -> None:
    """A stock feed takes no contracts."""
    async with asked() as (running, _), streamed(running, "iex") as client:
        assert await client.subscribe(quotes=[NEAR]) == SYNTAX


async def test_star() -> None:
    """Every trade may be subscribed to, every quote may not."""
    async with asked() as (running, _), streamed(running, "indicative") as client:
        refused = await client.subscribe(quotes=["*"], trades=[NEAR])
        granted = await client.subscribe(trades=["*"])
        removed = await client.unsubscribe(quotes=["*"], trades=["*"])

    assert refused == error(413, "star subscription is not allowed for option quotes")
    assert granted == {"T": "subscription", "trades": ["*"], "quotes": []}
    assert removed == {"T": "subscription", "trades": [], "quotes": []}


@pytest.mark.parametrize(
    ("feed", "plan", "limit"),
    [
        ("indicative", Plan.BASIC, 200),
        ("indicative", Plan.PLUS, 200),
        ("opra", Plan.PLUS, 1_000),
    ],
)
async def test_quote_limit(feed: str, plan: Plan, limit: int) -> None:
    """So many contracts may have quotes; trades are free, and what exceeds it changes nothing."""
    async with asked(synthetic(plan=plan)) as (running, _), streamed(running, feed) as client:
        full = await client.subscribe(quotes=many(limit), trades=many(limit + 100))
        again = await client.subscribe(quotes=many(1))
        refused = await client.subscribe(quotes=many(1, limit + 1), trades=["*"])
        after = await client.unsubscribe(quotes=many(1))
        swapped = await client.subscribe(quotes=many(1, limit + 1))

    assert len(full["quotes"]) == len(again["quotes"]) == len(swapped["quotes"]) == limit
    assert len(full["trades"]) == len(after["trades"]) == limit + 100
    assert refused == TOO_MANY


async def test_each_feed_has_a_slot_of_its_own() -> None:
    """Who holds an option feed keeps it, and the stock feeds are free beside it."""
    async with (
        asked(plus()) as (running, _),
        streamed(running, "opra"),
        streamed(running, "indicative"),
        streamed(running, "iex"),
        connected(running, "opra") as newcomer,
    ):
        await newcomer.one()
        assert await newcomer.ask(AUTH) == error(406, "connection limit exceeded")


# ---------------------------------------------------------------------------- what a test sends


async def test_pushed_records() -> None:
    """Pushed records go to the feed and the contracts they are for, conditions being a text."""
    at = "2024-03-11T13:35:35.13312256Z"
    trade = {"T": "t", "S": NEAR, "t": at, "p": 3, "s": 1, "x": "N", "c": "S"}
    quote = {
        "T": "q", "S": OTHER, "t": at,
        "bx": "C", "bp": 9.46, "bs": 53, "ax": "C", "ap": 10, "as": 38, "c": " ",
    }  # fmt: skip
    async with (
        asked(plus()) as (running, _),
        streamed(running, "opra", MSGPACK, trades=["*"], quotes=[OTHER]) as client,
        streamed(running, "indicative", MSGPACK, trades=["*"]) as elsewhere,
    ):
        reached = await running.stream.push([trade, quote], feed="opra")
        packed = await client.socket.receive_bytes()
        await running.stream.push([trade | {"S": "MSFT261204C00500000"}], feed="indicative")
        other = await elsewhere.one()

    received = msgpack.unpackb(packed)
    assert reached == 1
    assert [next(iter(record)) for record in received] == ["T", "T"]
    assert received[0]["t"].to_unix_nano() == parse(at)
    assert received[1]["c"] == " "
    assert "z" not in received[1]
    assert all(isinstance(received[1][side], float) for side in ("bp", "ap"))
    assert isinstance(received[0]["p"], float)
    assert other["S"] == "MSFT261204C00500000"


async def test_own_frames_and_faults() -> None:
    """Frames that a test made itself and sudden faults reach the option feed they are for."""
    async with (
        asked() as (running, _),
        streamed(running, "indicative") as client,
        streamed(running, "iex") as stocks,
    ):
        assert await running.stream.send_frame(b"\x91\x81\xa1T\xa1?", feed="indicative") == 1
        assert await client.one() == {"T": "?"}
        await running.stream.strike(stream_faults.Error(feed="indicative", code=407))
        assert await client.one() == error(407, "slow client")
        await running.stream.strike(stream_faults.Drop(feed="indicative"))
        await client.end()
        assert (await stocks.subscribe(quotes=["AAPL"]))["quotes"] == ["AAPL"]


async def test_armed_faults() -> None:
    """Armed faults strike an option feed as they do the others."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.PartialAck(feed="indicative", count=1, times=1))
        async with streamed(running, "indicative") as client:
            partial = await client.subscribe(quotes=[NEAR, OTHER])
        running.stream.faults.add(stream_faults.Refuse(feed="indicative", code=500, times=1))
        async with connected(running, "indicative") as client:
            await client.one()
            assert await client.ask(AUTH) == error(500, "internal error")

    assert partial["quotes"] == [NEAR]


async def test_control_endpoints() -> None:
    """A test that steers from outside names an option feed as it does the others."""
    async with (
        asked() as (running, client),
        streamed(running, "indicative", MSGPACK, quotes=[NEAR]) as stream,
    ):
        body = {"start": render(NOON - MINUTE), "end": render(NOON), "feed": "indicative"}
        played = await client.send("POST", "/sandbox/stream/replay", body=body)
        counters = await client.get("/sandbox/counters")
        assert [record["S"] for record in await stream.records(2)] == [NEAR, NEAR]

    assert played.json == {"clients": 1, "records": {"quotes": {NEAR: 2}}}
    assert counters.json["stream"]["subscribed"] == {"indicative": {"quotes": [NEAR]}}


# --------------------------------------------------------------------------- what a market sends


async def latest(running: Sandbox, symbol: str, kind: str, at: int) -> Any:
    """Return the latest record of *symbol* that REST would show at that instant."""
    chain = await running.options.chain("AAPL", at)
    snapshot = chain.snapshot(symbol) if chain is not None else None
    return json.loads(snapshot or b"{}").get(kind)


async def test_made_up_records() -> None:
    """A replay sends each made-up quote and trade once, in order, as REST shows them."""
    async with (
        asked() as (running, _),
        streamed(running, "indicative", MSGPACK, quotes=[NEAR, OTHER], trades=[NEAR]) as client,
    ):
        played = await running.stream.replay(NOON, NOON + 5 * HOUR)
        received = await client.records(played.records.total())
        last = {
            "q": await latest(running, NEAR, "latestQuote", NOON + 5 * HOUR - 1),
            "t": await latest(running, NEAR, "latestTrade", NOON + 5 * HOUR - 1),
        }

    times = [record["t"] for record in received]
    assert times == sorted(times)
    assert all(NOON <= time < NOON + 5 * HOUR for time in times)
    assert played.records["quotes", NEAR] == played.records["quotes", OTHER] == 600
    for kind, expected in last.items():
        newest = [one for one in received if (one["T"], one["S"]) == (kind, NEAR)][-1]
        assert newest == instants(expected) | {"T": kind, "S": NEAR}


async def test_records_follow_market_time() -> None:
    """What becomes due as market time passes is sent; other contracts are not."""
    elapsed = 0
    settings = synthetic(speed=1.0)
    async with (
        asked(settings, monotonic_ns=lambda: elapsed) as (running, _),
        streamed(running, "indicative", MSGPACK, quotes=[NEAR], trades=["*"]) as client,
    ):
        elapsed = MINUTE
        received = await client.records(2)

    assert {(record["T"], record["S"]) for record in received} == {("q", NEAR)}
    assert all(NOON < record["t"] <= NOON + MINUTE for record in received)


async def test_what_is_not_listed_is_silent() -> None:
    """A contract that is shaped like one but not listed can be followed, and sends nothing."""
    nobody = ["AAPL261204C00231230", "ZZZZ261204C00230000", "AAPL261203C00230000"]
    async with (
        asked() as (running, _),
        streamed(running, "indicative", MSGPACK, quotes=nobody, trades=nobody),
    ):
        played = await running.stream.replay(NOON, NOON + HOUR)

    assert played.records.total() == 0


async def test_recorded_quotes(tmp_path: Path) -> None:
    """Recorded lines are sent as they are, in the order of their times."""
    one, other = "XYZ240315C00050000", "XYZ1240315P00050000"
    lines = [
        f'{{"T":"q","S":"{symbol}","bp":{price},"bs":2,"ap":9,"as":1,"t":"2024-03-13T13:{at}Z"}}'
        for symbol, price, at in (
            (one, "1.10", "31:00"), (other, "5", "31:00"), (one, "1.2", "32:00.5"),
        )
    ]  # fmt: skip
    write_option_quotes(tmp_path, "XYZ-2024-03-13", lines)
    settings = synthetic(replay=tmp_path, at="2024-03-13T09:30:00-04:00")
    async with (
        asked(settings) as (running, _),
        streamed(running, "indicative", MSGPACK, quotes=[one, other], trades=[one]) as client,
    ):
        start = parse("2024-03-13T13:31:00Z")
        played = await running.stream.replay(start, start + HOUR)
        received = await client.records(3)

    assert played.records == {("quotes", one): 2, ("quotes", other): 1}
    by_time = sorted(map(json.loads, lines), key=lambda line: (line["t"], line["S"]))
    assert received == [instants(line) for line in by_time]


async def test_chain_without_a_stream(tmp_path: Path) -> None:
    """A recorded chain has no stream: who follows its contracts hears nothing."""
    symbol = "XYZ240315C00050000"
    write_chain(tmp_path, "XYZ-2024-03-13")
    settings = synthetic(replay=tmp_path, at="2024-03-13T16:00:00-04:00")
    async with (
        asked(settings) as (running, _),
        streamed(running, "indicative", MSGPACK, quotes=[symbol], trades=[symbol, "*"]),
    ):
        now = running.clock.now()
        played = await running.stream.replay(now - 24 * HOUR, now + HOUR)

    assert (played.clients, played.records.total()) == (1, 0)


async def test_unreadable_recording(tmp_path: Path) -> None:
    """A subscription whose recordings cannot be read is an internal error."""
    (tmp_path / "options").mkdir()
    (tmp_path / "options" / "XYZ-2024-03-13.json.gz").write_bytes(b"not gzip")
    settings = synthetic(replay=tmp_path, at="2024-03-13T09:30:00-04:00")
    async with asked(settings) as (running, _), streamed(running, "indicative") as client:
        answer = await client.subscribe(quotes=["XYZ240315C00050000"])

    assert answer == error(500, "internal error")


@real
@pytest.mark.recordings
async def test_real_quotes() -> None:
    """A real half day of quotes is sent to its end."""
    symbol = "GOOG151224C00590000"
    settings = synthetic(replay=REAL_RECORDINGS, at="2015-12-24T09:30:00-05:00")
    async with (
        asked(settings) as (running, _),
        streamed(running, "indicative", MSGPACK, quotes=[symbol]) as client,
    ):
        start = running.clock.now()
        played = await running.stream.replay(start, start + 4 * HOUR)
        first, *_ = received = await client.records(played.records["quotes", symbol])

    assert first == {
        "T": "q", "S": symbol, "bp": 157.5, "bs": 2, "ap": 161.5, "as": 1,
        "t": parse("2015-12-24T14:31:00Z"),
    }  # fmt: skip
    assert received[-1]["t"] <= parse("2015-12-24T18:01:00Z")


async def test_leaving_frees_the_slot() -> None:
    """Who has left leaves the feed to the next."""
    async with asked() as (running, _):
        async with streamed(running, "indicative", MSGPACK, quotes=[NEAR]):
            assert running.counters.stream.subscribed("indicative") == {("quotes", NEAR)}
        await until(lambda: not running.counters.stream.subscribed("indicative"))
        async with streamed(running, "indicative") as client:
            assert (await client.subscribe(quotes=[OTHER]))["quotes"] == [OTHER]
