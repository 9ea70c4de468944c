"""What the stock stream sends, and when."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest

from tests.support.recordings import (
    REAL_RECORDINGS,
    Recording,
    market_open,
    write_recordings,
)
from tests.support.waiting import until
from tickgate_sandbox.calendar import ExchangeCalendar
from tickgate_sandbox.fakepaca import FakepacaSource
from tickgate_sandbox.synthetic import SyntheticMarket
from tickgate_sandbox.timestamps import parse, render

from .asking import MARKET_OPEN, asked, synthetic
from .streaming import ENCODINGS, JSON, MSGPACK, error, instants, streamed

DAY = date(2024, 3, 13)
OPEN = market_open(DAY)
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAWN, NIGHT = OPEN - 9 * HOUR, OPEN + 14 * HOUR
AT = render(OPEN)
SYNTHETIC = parse(MARKET_OPEN)

both = pytest.mark.parametrize("encoding", ENCODINGS)
real = pytest.mark.skipif(not REAL_RECORDINGS.is_dir(), reason="real recordings are not at hand")


class Hand:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.elapsed = 0

    def __call__(self) -> int:
        return self.elapsed


def due(recording: Recording, start: int, end: int) -> list[Any]:
    """Return the recorded quotes after *start*, up to and including *end*."""
    return [instants(json.loads(line)) for time, line in recording.quotes if start < time <= end]


# ---------------------------------------------------------------------- as fast as possible


@both
async def test_every_field_of_every_record(tmp_path: Path, encoding: str) -> None:
    """A replay sends every recorded quote and trade, every field as it was, in order of time."""
    recorded = write_recordings(tmp_path, day=DAY)
    channels = {"quotes": ["AAPL", "IBM"], "trades": ["*"]}
    async with (
        asked(synthetic(replay=tmp_path, at=AT, connections=0, plan="plus")) as (running, _),
        streamed(running, "iex", encoding, **channels) as client,
    ):
        played = await running.stream.replay(DAWN, NIGHT)
        received = await client.records(1_200)

    if encoding == JSON:
        received = [instants(record) for record in received]
    times = [record["t"] for record in received]
    assert times == sorted(times)
    assert played.clients == 1
    assert played.records == {
        ("quotes", "AAPL"): 400,
        ("quotes", "IBM"): 400,
        ("trades", "AAPL"): 200,
        ("trades", "IBM"): 200,
    }
    for symbol, recording in recorded.items():
        for kind, timed in (("q", recording.quotes), ("t", recording.trades)):
            expected = [instants(json.loads(line)) for _, line in timed]
            assert [one for one in received if (one["S"], one["T"]) == (symbol, kind)] == expected


async def test_json_is_the_recorded_text(tmp_path: Path) -> None:
    """In JSON a record leaves as the very text that was recorded."""
    recording = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    text = ",".join(line for _, line in recording.quotes)
    async with (
        asked(synthetic(replay=tmp_path, at=AT)) as (running, _),
        streamed(running, "iex", JSON, quotes=["AAPL"]) as client,
    ):
        await running.stream.replay(DAWN, NIGHT)
        received = ""
        while len(received) < len(text):
            frame = await client.socket.receive_str()
            received += ("," if received else "") + frame[1:-1]

    assert received == text


async def test_messagepack_types(tmp_path: Path) -> None:
    """In MessagePack the type is the first key, prices are doubles, sizes are integers."""
    write_recordings(tmp_path, ["AAPL"], day=DAY)
    async with (
        asked(synthetic(replay=tmp_path, at=AT)) as (running, _),
        streamed(running, quotes=["AAPL"], trades=["AAPL"], bars=["AAPL"]) as client,
    ):
        await running.stream.replay(DAWN, NIGHT)
        seen = set[str]()
        while seen != {"q", "t", "b"}:
            for record in msgpack.unpackb(await client.socket.receive_bytes()):
                seen.add(record["T"])
                assert next(iter(record)) == "T"
                assert isinstance(record["t"], msgpack.Timestamp)
                prices = {"q": ("bp", "ap"), "t": ("p",), "b": ("o", "h", "l", "c", "vw")}
                assert all(type(record[key]) is float for key in prices[record["T"]])
                assert type(record.get("bs", record.get("s", record.get("v")))) is int


@pytest.mark.parametrize(
    ("time", "length"),
    [
        ("2024-03-13T13:30:00Z", 4),
        ("2024-03-13T13:30:00.000000001Z", 8),
        ("1969-12-31T23:59:59.999999999Z", 12),
        ("2514-05-30T01:53:04Z", 12),
    ],
)
async def test_timestamps(time: str, length: int) -> None:
    """A timestamp takes the shortest of its three forms and is exact in each."""
    async with asked() as (running, _), streamed(running, quotes=["AAPL"]) as client:
        await running.stream.push([{"T": "q", "S": "AAPL", "t": time}])
        frame = await client.socket.receive_bytes()

    (record,) = msgpack.unpackb(frame)
    assert record["t"].to_unix_nano() == parse(time)
    assert len(record["t"].to_bytes()) == length
    assert record["t"].to_bytes() in frame


async def test_bars_of_a_replay(tmp_path: Path) -> None:
    """Bars come in among the trades, each after the last record of its minute."""
    write_recordings(tmp_path, ["AAPL"], day=DAY)
    channels = {"trades": ["AAPL"], "bars": ["AAPL"], "dailyBars": ["AAPL"]}
    async with (
        asked(synthetic(replay=tmp_path, at=AT)) as (running, client),
        streamed(running, "iex", MSGPACK, **channels) as stream,
    ):
        played = await running.stream.replay(DAWN, NIGHT)
        received = await stream.records(played.records.total())
        running.clock.seek(NIGHT)
        latest = await client.get("/v2/stocks/AAPL/bars/latest")

    trades = [one["t"] for one in received if one["T"] == "t"]
    bars = [one for one in received if one["T"] == "b"]
    daily = [one for one in received if one["T"] == "d"]
    assert len(bars) > 50
    for bar in bars:
        earlier = received[: received.index(bar)]
        seen = [one["t"] for one in earlier if one["T"] == "t"]
        assert seen == [time for time in trades if time < bar["t"] + MINUTE]
    assert instants(latest.json["bar"]).items() <= bars[-1].items()
    volumes = [bar["v"] for bar in daily]
    assert volumes == sorted(volumes)
    assert {bar["t"] for bar in daily} == {parse("2024-03-13T04:00:00Z")}


async def test_recorded_bars_are_sent(tmp_path: Path) -> None:
    """A recorded minute bar is sent in the place of the one that its trades add up to."""
    write_recordings(tmp_path, ["AAPL"], day=DAY)
    bar = f'{{"t":"{render(OPEN)}","o":1,"h":2,"l":0.5,"c":1.5,"v":7,"extra":"kept"}}'
    write_minute_bars(tmp_path, "AAPL", bar)
    async with (
        asked(synthetic(replay=tmp_path, at=AT)) as (running, _),
        streamed(running, "iex", JSON, bars=["AAPL"]) as client,
    ):
        await running.stream.replay(OPEN + MINUTE, OPEN + MINUTE + 1)
        frame = await client.socket.receive_str()

    assert frame == f'[{{"T":"b","S":"AAPL",{bar[1:]}]'


def write_minute_bars(folder: Path, symbol: str, *bars: str) -> None:
    """Write recorded minute bars."""
    path = folder / "bars" / f"{symbol}-1Min-{DAY}.json.gz"
    path.write_bytes(gzip.compress(f'{{"bars":[{",".join(bars)}]}}'.encode(), mtime=0))


async def test_replay_of_some_channels() -> None:
    """A replay sends the channels that it is asked for, to the feed that it is asked for."""
    settings = synthetic(plan="plus")
    async with (
        asked(settings) as (running, _),
        streamed(running, "iex", quotes=["*"], trades=["*"]),
        streamed(running, "sip", quotes=["*"], trades=["*"]) as client,
    ):
        played = await running.stream.replay(
            SYNTHETIC, SYNTHETIC + MINUTE, channels=["trades"], feed="sip"
        )
        received = await client.records(100)

    assert played.records == {("trades", one): 20 for one in running.market.symbols}
    assert {one["T"] for one in received} == {"t"}


async def test_replay_without_clients() -> None:
    """A replay that nobody listens to sends nothing, and says so."""
    async with asked() as (running, _), streamed(running):
        played = await running.stream.replay(SYNTHETIC, SYNTHETIC + HOUR)

    assert (played.clients, played.records.total()) == (1, 0)


async def test_replay_by_request(tmp_path: Path) -> None:
    """The control endpoint replays, and tells how many records of what it has sent."""
    write_recordings(tmp_path, ["AAPL"], day=DAY)
    body = {"start": render(DAWN), "end": render(NIGHT), "channels": ["quotes"]}
    async with (
        asked(synthetic(replay=tmp_path, at=AT)) as (running, client),
        streamed(running, quotes=["AAPL"]) as stream,
    ):
        answer = await client.send("POST", "/sandbox/stream/replay", body=body)
        await stream.records(400)

    assert answer.json == {"clients": 1, "records": {"quotes": {"AAPL": 400}}}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"start": AT}, "end"),
        ({"start": AT, "end": "noon"}, "end: 'noon'"),
        ({"start": "1492-10-12T00:00:00Z", "end": AT}, "start lies between"),
        ({"start": AT, "end": AT, "channels": ["statuses"]}, "not statuses"),
        ({"start": AT, "end": AT, "feed": "otc"}, "not otc"),
    ],
)
async def test_wrong_replay(body: Any, sentence: str) -> None:
    """A replay that makes no sense is refused saying why."""
    async with asked() as (_, client):
        answer = await client.send("POST", "/sandbox/stream/replay", body=body)

    assert answer.status == 400
    assert sentence in answer.message


# --------------------------------------------------------------------------- at market time


@both
async def test_records_come_when_they_are_due(tmp_path: Path, encoding: str) -> None:
    """As market time passes, what has become due is sent, once."""
    recording = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    hand = Hand()
    settings = synthetic(replay=tmp_path, at=AT, speed=1.0)
    async with (
        asked(settings, monotonic_ns=hand) as (running, _),
        streamed(running, "iex", encoding, quotes=["AAPL"]) as client,
    ):
        begin = OPEN
        for minutes in (5, 5, 120):
            hand.elapsed += minutes * MINUTE
            expected = due(recording, begin, begin + minutes * MINUTE)
            received = await client.records(len(expected))
            if encoding == JSON:
                received = [instants(record) for record in received]
            assert received == expected
            begin += minutes * MINUTE
        assert running.counters.stream.records == {("quotes", "AAPL"): due_count(recording, begin)}


def due_count(recording: Recording, end: int) -> int:
    """Return how many quotes are due from the open to *end*."""
    return len(due(recording, OPEN, end))


async def test_speed(tmp_path: Path) -> None:
    """A faster market sends more in the same time."""
    recording = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    hand = Hand()
    async with (
        asked(synthetic(replay=tmp_path, at=AT, speed=0.0), monotonic_ns=hand) as (running, _),
        streamed(running, quotes=["AAPL"]) as client,
    ):
        hand.elapsed += HOUR
        running.clock.set_speed(100)
        hand.elapsed += MINUTE

        expected = due(recording, OPEN, OPEN + 100 * MINUTE)
        assert await client.records(len(expected)) == expected


@pytest.mark.parametrize("jump", [3 * HOUR, -3 * HOUR])
async def test_seek(tmp_path: Path, jump: int) -> None:
    """After a jump of market time the stream goes on from there; nothing between is sent."""
    recording = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    hand = Hand()
    async with (
        asked(synthetic(replay=tmp_path, at=AT, speed=1.0), monotonic_ns=hand) as (running, _),
        streamed(running, quotes=["AAPL"]) as client,
    ):
        running.clock.seek(OPEN + jump)
        hand.elapsed += 10 * MINUTE

        expected = due(recording, OPEN + jump, OPEN + jump + 10 * MINUTE)
        assert await client.records(len(expected)) == expected


async def test_later_subscription(tmp_path: Path) -> None:
    """What is subscribed to later begins then; what was subscribed to before goes on."""
    recorded = write_recordings(tmp_path, day=DAY)
    hand = Hand()
    async with (
        asked(synthetic(replay=tmp_path, at=AT, speed=1.0), monotonic_ns=hand) as (running, _),
        streamed(running, quotes=["AAPL"]) as client,
    ):
        hand.elapsed += HOUR
        await client.send({"action": "subscribe", "quotes": ["IBM"]})
        await until(lambda: ("quotes", "IBM") in running.counters.stream.subscribed("iex"))
        hand.elapsed += HOUR
        early = due(recorded["AAPL"], OPEN, OPEN + 2 * HOUR)
        late = due(recorded["IBM"], OPEN + HOUR, OPEN + 2 * HOUR)
        received = await client.records(len(early) + len(late) + 1)

    assert [one for one in received if one.get("S") == "AAPL"] == early
    assert [one for one in received if one.get("S") == "IBM"] == late


async def test_nothing_after_unsubscribing(tmp_path: Path) -> None:
    """What was unsubscribed from is not sent any longer."""
    recorded = write_recordings(tmp_path, day=DAY)
    hand = Hand()
    async with (
        asked(synthetic(replay=tmp_path, at=AT, speed=1.0), monotonic_ns=hand) as (running, _),
        streamed(running, quotes=["AAPL", "IBM"]) as client,
    ):
        await client.unsubscribe(quotes=["IBM"])
        hand.elapsed += HOUR

        expected = due(recorded["AAPL"], OPEN, OPEN + HOUR)
        assert await client.records(len(expected)) == expected


async def test_delayed_feed(tmp_path: Path) -> None:
    """The delayed feed sends everything a quarter of an hour late."""
    recording = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    hand = Hand()
    async with (
        asked(synthetic(replay=tmp_path, at=AT, speed=1.0), monotonic_ns=hand) as (running, _),
        streamed(running, "delayed_sip", quotes=["AAPL"]) as client,
    ):
        hand.elapsed += HOUR

        expected = due(recording, OPEN - 15 * MINUTE, OPEN + 45 * MINUTE)
        assert await client.records(len(expected)) == expected


async def test_shifted_recordings(tmp_path: Path) -> None:
    """A recording that was moved in time is sent with the times it was moved to."""
    recording = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    today = parse("2026-11-20T14:30:00Z")
    settings = synthetic(replay=tmp_path, at=AT, shift_to_now=True)
    async with (
        asked(settings, wall_ns=lambda: today) as (running, _),
        streamed(running, quotes=["AAPL"], dailyBars=["AAPL"]) as client,
    ):
        played = await running.stream.replay(today, today + HOUR)
        received = await client.records(played.records.total())

    moved = today - OPEN
    quotes = [one for one in received if one["T"] == "q"]
    assert [one | {"t": one["t"] - moved} for one in quotes] == [
        instants(json.loads(line)) for time, line in recording.quotes if OPEN <= time < OPEN + HOUR
    ]
    assert {render(one["t"]) for one in received if one["T"] == "d"} == {"2026-11-20T05:00:00Z"}


# --------------------------------------------------------------------------- made-up markets


def test_synthetic_records_are_those_of_rest() -> None:
    """What the stream sends of the made-up market is what its REST endpoints show."""
    market = SyntheticMarket(ExchangeCalendar())
    shown = {"quotes": market.quote, "bars": market.minute_bar}
    for channel, latest in shown.items():
        sent = market.due(channel, "AAPL", SYNTHETIC, SYNTHETIC + 10 * MINUTE)
        assert len(sent) == {"quotes": 200, "bars": 10}[channel]
        for at, record in sent:
            fields = msgspec.json.decode(record)
            assert fields.pop("T") == channel[0]
            assert fields.pop("S") == "AAPL"
            assert fields == msgspec.json.decode(latest("AAPL", at) or b"")


def test_synthetic_intervals_join() -> None:
    """However a day is cut, each record is sent once; at night there is nothing to send."""
    market = SyntheticMarket(ExchangeCalendar(), step=60.0)
    start = parse("2026-11-20T00:00:00-05:00")
    for channel in ("quotes", "trades", "bars", "dailyBars"):
        whole = market.due(channel, "AAPL", start, start + 72 * HOUR)
        cuts = [start + 7 * HOUR * part // 3 for part in range(32)]
        parts = [market.due(channel, "AAPL", *cut) for cut in pairwise(cuts)]

        assert [one for part in parts for one in part] == whole
        assert min(at for at, _ in whole) >= start + 4 * HOUR
        assert max(at for at, _ in whole) <= start + 20 * HOUR
    assert market.due("quotes", "ZZZZ", start, start + 72 * HOUR) == []
    assert market.due("statuses", "AAPL", start, start + 72 * HOUR) == []


def test_fakepaca_never_sleeps() -> None:
    """The test share has quotes, trades and a bar a minute on a Sunday night as well."""
    source = FakepacaSource()
    start = parse("2026-11-22T23:30:00-05:00")
    counts = {
        channel: len(source.due(channel, "FAKEPACA", start, start + HOUR))
        for channel in ("quotes", "trades", "bars")
    }

    assert counts == {"quotes": 720, "trades": 720, "bars": 60}
    assert not source.due("quotes", "AAPL", start, start + HOUR)


@both
async def test_test_feed(encoding: str) -> None:
    """The test feed sends its one share, whatever the market offers."""
    async with (
        asked() as (running, _),
        streamed(running, "test", encoding, quotes=["*"], bars=["FAKEPACA"]) as client,
    ):
        await running.stream.replay(SYNTHETIC, SYNTHETIC + MINUTE)
        received = await client.records(13)

    assert {record["S"] for record in received} == {"FAKEPACA"}
    assert [kind for kind, _ in groupby(received, key=lambda one: one["T"])] == ["b", "q"]


# ------------------------------------------------------------------------------------ pushed

STATUS: dict[str, Any] = {"T": "s", "S": "AAPL", "sc": "H", "sm": "Trading Halt", "t": AT, "z": "C"}
CORRECTION: dict[str, Any] = {
    "T": "c",
    "S": "AAPL",
    "oi": 1,
    "op": 10,
    "ci": 2,
    "cp": 11.5,
    "t": AT,
}
CANCEL: dict[str, Any] = {"T": "x", "S": "AAPL", "i": 1, "p": 10.25, "s": 1, "a": "C", "t": AT}
UPDATED: dict[str, Any] = {"T": "u", "S": "AAPL", "o": 1, "h": 2, "l": 1, "c": 2, "v": 5, "t": AT}
LIMITS: dict[str, Any] = {"T": "l", "S": "MSFT", "u": 3, "d": 2.65, "i": "B", "t": AT}
UNKNOWN: dict[str, Any] = {"T": "?", "S": "AAPL", "t": "no time", "odd": [1, None]}


@both
async def test_push(encoding: str) -> None:
    """Pushed messages go, in order, to whoever has subscribed to their symbol and channel."""
    messages = [STATUS, CORRECTION, CANCEL, UPDATED, LIMITS, UNKNOWN]
    expected = [STATUS, CORRECTION, CANCEL, UPDATED, UNKNOWN]
    channels = {"statuses": ["*"], "trades": ["AAPL"], "updatedBars": ["AAPL"], "lulds": ["IBM"]}
    async with (
        asked() as (running, _),
        streamed(running, "iex", encoding, **channels) as client,
        streamed(running, "delayed_sip", encoding, quotes=["AAPL"]) as other,
    ):
        assert await running.stream.push(messages) == 2
        received, unknown = await client.frame(), await other.frame()

    if encoding == MSGPACK:
        expected = [instants(one) if one["t"] == AT else one for one in expected]
        assert type(received[1]["op"]) is float
    assert received == expected
    assert unknown == [UNKNOWN]


async def test_push_to_one_feed() -> None:
    """A message can go to the clients of one feed alone."""
    async with (
        asked() as (running, _),
        streamed(running, "iex", statuses=["*"]),
        streamed(running, "delayed_sip", statuses=["*"]) as client,
    ):
        assert await running.stream.push([STATUS], feed="delayed_sip") == 1
        assert await client.one() == instants(STATUS)


async def test_pushed_digits() -> None:
    """A message that is pushed as JSON text leaves in its own digits."""
    text = '{"S":"AAPL","T":"q","bp":101.50,"ap":1e2}'
    async with asked() as (running, _), streamed(running, "iex", JSON, quotes=["AAPL"]) as client:
        assert await running.stream.push(f"[{text}]") == 1
        assert await client.socket.receive_str() == f"[{text}]"


async def test_pushed_type_first() -> None:
    """In MessagePack the type comes first, wherever it stood in the JSON."""
    async with asked() as (running, _), streamed(running, quotes=["AAPL"]) as client:
        await running.stream.push([{"S": "AAPL", "bp": 1, "T": "q"}])
        assert list(await client.one()) == ["T", "S", "bp"]


async def test_push_by_request() -> None:
    """The control endpoint pushes, and tells how many clients got something."""
    async with asked() as (running, client), streamed(running, statuses=["AAPL"]) as stream:
        answer = await client.send("POST", "/sandbox/stream/messages", body=[STATUS])
        nobody = await client.send("POST", "/sandbox/stream/messages?feed=sip", body=[STATUS])
        assert await stream.one() == instants(STATUS)

    assert (answer.json, nobody.json) == ({"clients": 1}, {"clients": 0})


@pytest.mark.parametrize("body", [b"{", {"T": "q"}, [1], [{"T": 1, "S": "AAPL"}]])
async def test_wrong_push(body: Any) -> None:
    """What is pushed is a list of objects whose type and symbol are texts."""
    async with asked() as (_, client):
        answer = await client.send("POST", "/sandbox/stream/messages", body=body)

    assert answer.status == 400
    assert answer.message


@both
async def test_frames_leave_verbatim(encoding: str) -> None:
    """A frame of a test's own making goes to everybody as it is, subscribed or not."""
    payload = b"anything at all"
    async with asked() as (running, client), streamed(running, "iex", encoding) as stream:
        assert await running.stream.send_frame(payload) == 1
        answer = await client.send("POST", "/sandbox/stream/frames?feed=iex", body=payload)
        received = [await stream.socket.receive() for _ in range(2)]

    assert answer.json == {"clients": 1}
    texts = [one.data.encode() if encoding == JSON else one.data for one in received]
    assert texts == [payload, payload]


# ---------------------------------------------------------------------------------- counters


async def test_counters(tmp_path: Path) -> None:
    """Subscriptions, records and refusals are counted by channel, symbol and code."""
    write_recordings(tmp_path, ["AAPL"], day=DAY)
    async with asked(synthetic(replay=tmp_path, at=AT)) as (running, client):
        async with streamed(running, quotes=["AAPL", "IBM"], bars=["*"]) as stream:
            await stream.subscribe(quotes=["aapl"])
            await stream.unsubscribe(quotes=["IBM"])
            await running.stream.replay(DAWN, NIGHT, channels=["quotes"])
            await running.stream.send_frame(b"\x90")
            during = (await client.send("GET", "/sandbox/counters")).json["stream"]
        await until(lambda: not running.counters.stream.subscribed("iex"))
        after = (await client.send("GET", "/sandbox/counters")).json["stream"]
        await client.send("DELETE", "/sandbox/counters")
        cleared = (await client.send("GET", "/sandbox/counters")).json["stream"]

    frames = during.pop("frames")
    assert frames > 1
    assert during == {
        "connections": 1,
        "authentications": 1,
        "messages": 4,
        "refusals": {"400": 1},
        "subscribes": {"quotes": {"AAPL": 1, "IBM": 1}, "bars": {"*": 1}},
        "unsubscribes": {"quotes": {"IBM": 1}},
        "subscribed": {"iex": {"bars": ["*"], "quotes": ["AAPL"]}},
        "records": {"quotes": {"AAPL": 400}},
    }
    assert after == during | {"subscribed": {}, "frames": frames}
    assert not any(cleared.values())


async def test_large_replay(tmp_path: Path) -> None:
    """A replay of many records arrives whole."""
    write_recordings(tmp_path, ["AAPL"], day=DAY, updates=40_000)
    async with (
        asked(synthetic(replay=tmp_path, at=AT)) as (running, _),
        streamed(running, quotes=["AAPL"]) as client,
    ):
        replay = asyncio.create_task(running.stream.replay(DAWN, NIGHT))
        await client.records(40_000)
        played = await replay

    assert played.records == {("quotes", "AAPL"): 40_000}


async def test_slow_reader() -> None:
    """Whoever sends is held back by a client that does not read."""
    payload = b"x" * 1_000_000
    async with asked() as (running, _), streamed(running) as client:

        async def send() -> None:
            for _ in range(64):
                await running.stream.send_frame(payload)

        sending = asyncio.create_task(send())
        # More than fits into any buffer on the way.
        await until(lambda: running.counters.stream.frames > 0)
        assert not sending.done()
        for _ in range(64):
            await client.socket.receive()
        await sending


async def test_unreadable_recording(tmp_path: Path) -> None:
    """A subscription whose recordings cannot be read is an internal error, and changes nothing."""
    write_recordings(tmp_path, day=DAY)
    (tmp_path / "quotes" / f"IBM-{DAY}.jsonl.gz").write_bytes(
        gzip.compress(b'{"z":"A"}\nnot json\n', mtime=0)
    )
    async with (
        asked(synthetic(replay=tmp_path, at=AT)) as (running, _),
        streamed(running, quotes=["AAPL"]) as client,
    ):
        assert await client.subscribe(quotes=["IBM"]) == error(500, "internal error")
        assert (await client.unsubscribe(quotes=["IBM"]))["quotes"] == ["AAPL"]


@real
@pytest.mark.recordings
async def test_real_recordings() -> None:
    """Half an hour of a real market arrives to the digit and the nanosecond."""
    start, end = parse("2013-10-07T14:00:00Z"), parse("2013-10-07T14:30:00Z")
    settings = synthetic(replay=REAL_RECORDINGS, at="2013-10-07T14:00:00Z")
    async with (
        asked(settings) as (running, _),
        streamed(running, quotes=["IBM"], trades=["IBM"]) as client,
    ):
        played = await running.stream.replay(start, end)
        received = await client.records(played.records.total())
        market = running.market
        expected = [
            instants(msgspec.json.decode(record))
            for channel in ("quotes", "trades")
            for _, record in market.due(channel, "IBM", start, end)
        ]

    assert len(received) > 1_000
    assert sorted(received, key=lambda one: (one["T"], one["t"])) == sorted(
        expected, key=lambda one: (one["T"], one["t"])
    )
