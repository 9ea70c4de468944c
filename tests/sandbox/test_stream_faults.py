"""The stream fails on command, in each of the ways in which Alpaca's does."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.support.waiting import until
from tickgate_sandbox import faults, stream_faults
from tickgate_sandbox.stream.refusals import MESSAGES
from tickgate_sandbox.timestamps import parse

from .asking import MARKET_OPEN, asked
from .streaming import (
    AUTH,
    AUTHENTICATED,
    ENCODINGS,
    connected,
    error,
    streamed,
)

OPEN = parse(MARKET_OPEN)
MINUTE = 60 * 1_000_000_000
QUOTE = {"T": "q", "S": "AAPL", "bp": 1.5}
ABNORMAL = aiohttp.WSCloseCode.ABNORMAL_CLOSURE

both = pytest.mark.parametrize("encoding", ENCODINGS)


# --------------------------------------------------------------------- at the next occasion


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
async def test_handshake(status: int) -> None:
    """Handshakes fail with a status so many times, and then succeed."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.Handshake(status=status, times=2))
        for _ in range(2):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connected(running):
                    pass
            assert caught.value.status == status
        async with streamed(running):
            assert not running.stream.faults.armed()


@both
@pytest.mark.parametrize("code", sorted(MESSAGES))
async def test_any_error_at_authentication(code: int, encoding: str) -> None:
    """Authentication is refused with any error, in its own words; the next one succeeds."""
    async with asked() as (running, _), connected(running, "iex", encoding) as client:
        running.stream.faults.add(stream_faults.Refuse(code=code, times=1))
        await client.one()

        assert await client.ask(AUTH) == error(code, MESSAGES[code])
        assert await client.ask(AUTH) == AUTHENTICATED


@both
@pytest.mark.parametrize("on", ["subscribe", "unsubscribe"])
async def test_any_error_at_a_subscription(on: Any, encoding: str) -> None:
    """A subscription is refused as a whole, in any words, and the connection closed if wanted."""
    async with (
        asked() as (running, _),
        streamed(running, "iex", encoding, quotes=["AAPL"]) as client,
    ):
        running.stream.faults.add(stream_faults.Refuse(code=407, on=on, times=1))
        message = {"action": on, "quotes": ["AAPL"]}

        assert await client.ask(message) == error(407, "slow client")
        assert running.counters.stream.subscribed("iex") == {("quotes", "AAPL")}
        fault = stream_faults.Refuse(code=599, message="gone", on=on, close=True)
        running.stream.faults.add(fault)
        assert await client.ask(message) == error(599, "gone")
        assert (await client.end()).type is aiohttp.WSMsgType.CLOSE


async def test_a_fault_of_another_request() -> None:
    """A refusal waits for the request that it is for."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.Refuse(code=500, on="unsubscribe"))
        async with streamed(running, quotes=["AAPL"]) as client:
            assert (await client.unsubscribe(quotes=["AAPL"]))["code"] == 500


async def test_a_fault_of_another_feed() -> None:
    """A fault strikes the feed that it is for."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.Refuse(code=402, feed="delayed_sip"))
        async with streamed(running, "iex"), connected(running, "delayed_sip") as client:
            await client.one()
            assert await client.ask(AUTH) == error(402, "auth failed")


async def test_slow_authentication() -> None:
    """The answer to an authentication waits until its time is over, or faults are cleared."""
    async with asked() as (running, _), connected(running) as client:
        running.stream.faults.add(stream_faults.SlowAuth(seconds=0.01, times=1))
        running.stream.faults.add(stream_faults.SlowAuth(seconds=600))
        await client.one()
        assert await client.ask(AUTH) == AUTHENTICATED
        async with connected(running, "delayed_sip") as other:
            await other.one()
            await other.send(AUTH)
            assert running.stream.clients("delayed_sip") == 0
            await client.subscribe(quotes=["AAPL"])
            running.stream.faults.clear()
            assert await other.one() == AUTHENTICATED


async def test_occupied_slot() -> None:
    """Somebody else holds the slot; once it is free, a retry on the same socket succeeds."""
    async with asked() as (running, _), connected(running) as client:
        running.stream.faults.add(stream_faults.Occupied(seconds=600))
        await client.one()
        assert await client.ask(AUTH) == error(406, "connection limit exceeded")
        running.stream.faults.clear()
        assert await client.ask(AUTH) == AUTHENTICATED


async def test_occupied_for_some_time() -> None:
    """The slot is free by itself when its time is over."""
    async with asked() as (running, _), connected(running) as client:
        running.stream.faults.add(stream_faults.Occupied(seconds=0.01))
        await client.one()
        await until(lambda: not running.stream.faults.armed())
        assert await client.ask(AUTH) == AUTHENTICATED


async def test_occupied_for_some_attempts() -> None:
    """The slot can be held for so many attempts as well."""
    async with asked() as (running, _), connected(running) as client:
        running.stream.faults.add(stream_faults.Occupied(times=3))
        await client.one()
        answers = [await client.ask(AUTH) for _ in range(4)]

    assert [answer.get("code") for answer in answers] == [406, 406, 406, None]


async def test_partial_acknowledgement() -> None:
    """Symbols are left out of a subscription and of its answer, without a word."""
    async with asked() as (running, _), streamed(running) as client:
        fault = stream_faults.PartialAck(count=1, symbols=["MSFT"], times=1)
        running.stream.faults.add(fault)
        partial = await client.subscribe(quotes=["AAPL", "MSFT", "GOOGL", "TSLA"])
        assert await running.stream.push([QUOTE | {"S": "TSLA"}]) == 0
        repaired = await client.subscribe(quotes=["MSFT", "TSLA"])

    assert partial["quotes"] == ["AAPL", "GOOGL"]
    assert repaired["quotes"] == ["AAPL", "GOOGL", "MSFT", "TSLA"]


async def test_partial_acknowledgement_of_everything() -> None:
    """More symbols than were asked for cannot be left out."""
    async with asked() as (running, _), streamed(running) as client:
        running.stream.faults.add(stream_faults.PartialAck(count=5))
        assert (await client.subscribe(quotes=["AAPL", "MSFT"]))["quotes"] == []


async def test_slot_held_after_a_loss() -> None:
    """A connection that is lost keeps its slot until its time is over, or faults are cleared."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.HoldSlot(seconds=600))
        async with streamed(running) as client:
            await running.stream.strike(stream_faults.Drop(reset=True))
            await client.end()
        await until(lambda: running.stream.clients() == 0)
        async with connected(running) as newcomer:
            await newcomer.one()
            assert await newcomer.ask(AUTH) == error(406, "connection limit exceeded")
            running.stream.faults.clear()
            assert await newcomer.ask(AUTH) == AUTHENTICATED


async def test_slot_held_for_some_time() -> None:
    """The slot is free by itself when its time is over."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.HoldSlot(seconds=0.01))
        async with streamed(running) as client:
            await running.stream.strike(stream_faults.Drop())
            await client.end()
        async with connected(running) as newcomer:
            await newcomer.one()
            while (answer := await newcomer.ask(AUTH)) != AUTHENTICATED:
                assert answer["code"] == 406


async def test_slot_after_the_client_is_lost() -> None:
    """A client that vanishes without a close frame has lost its connection, too."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.HoldSlot(seconds=600))
        async with streamed(running) as client:
            assert client.socket._response.connection is not None
            client.socket._response.connection.close()
            await until(lambda: running.stream.clients() == 0)
        async with connected(running) as client:
            await client.one()
            assert (await client.ask(AUTH))["code"] == 406


async def test_slot_after_a_clean_close() -> None:
    """A connection that is closed in order gives its slot back at once."""
    async with asked() as (running, _):
        running.stream.faults.add(stream_faults.HoldSlot(seconds=600))
        async with streamed(running):
            pass
        await until(lambda: running.stream.clients() == 0)
        async with streamed(running):
            pass


# ------------------------------------------------------------------------------------- mute


async def test_mute() -> None:
    """A mute socket stays open and answers, and sends nothing until faults are cleared."""
    async with asked() as (running, _), streamed(running, quotes=["AAPL"]) as client:
        running.stream.faults.add(stream_faults.Mute())
        assert await running.stream.push([QUOTE]) == 0
        assert await running.stream.send_frame(b"\x90") == 0
        played = await running.stream.replay(OPEN, OPEN + MINUTE)
        await client.socket.ping()
        assert (await client.subscribe(quotes=["MSFT"]))["quotes"] == ["AAPL", "MSFT"]
        running.stream.faults.clear()
        assert await running.stream.push([QUOTE]) == 1
        assert await client.one() == QUOTE

    assert played.records.total() == 0


async def test_pings_of_a_mute_socket() -> None:
    """A mute socket answers pings."""
    async with asked() as (running, _), connected(running, autoping=False) as client:
        running.stream.faults.add(stream_faults.Mute())
        await client.one()
        await client.socket.ping(b"there?")
        answer = await client.socket.receive()

    assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"there?")


async def test_dead_socket() -> None:
    """When a mute socket leaves pings unanswered as well, nothing at all comes out of it."""
    async with asked() as (running, _), connected(running, autoping=False) as client:
        await client.one()
        running.stream.faults.add(stream_faults.Mute(pings=False))
        await client.socket.ping(b"there?")
        await client.send({"action": "listen"})
        # Heard after the ping, which therefore was heard and not answered.
        await until(lambda: running.counters.stream.messages == 1)
        running.stream.faults.clear()
        await client.socket.ping(b"again?")
        answer = await client.socket.receive()

    assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"again?")


# ----------------------------------------------------------------------------------- sudden


@both
async def test_sudden_error(encoding: str) -> None:
    """An error comes that nobody has asked for."""
    async with asked() as (running, _), streamed(running, "iex", encoding) as client:
        assert await running.stream.strike(stream_faults.Error(code=407)) == 1
        assert await client.one() == error(407, "slow client")
        await running.stream.strike(stream_faults.Error(code=500, message="boom", close=True))
        assert await client.one() == error(500, "boom")
        assert (await client.end()).type is aiohttp.WSMsgType.CLOSE


async def test_close() -> None:
    """The connection is closed with any code; a client may come straight back."""
    async with asked() as (running, _):
        async with streamed(running) as client:
            fault = stream_faults.Close(code=1012, reason="restart")
            closing = asyncio.create_task(running.stream.strike(fault))
            end = await client.end()
            await closing
        async with streamed(running):
            pass

    assert (end.data, end.extra) == (1012, "restart")


@pytest.mark.parametrize(
    "fault",
    [stream_faults.Drop(), stream_faults.Drop(reset=True), stream_faults.CutFrame()],
    ids=["drop", "reset", "cut frame"],
)
async def test_loss(fault: stream_faults.SuddenFault) -> None:
    """The connection ends without a close frame, by a reset, or in the middle of a frame."""
    async with asked() as (running, _), streamed(running) as client:
        assert await running.stream.strike(fault) == 1
        await client.end()

        assert client.socket.close_code == ABNORMAL


async def test_garbage() -> None:
    """A frame comes that means nothing, and the connection goes on."""
    async with asked() as (running, _), streamed(running) as client:
        await running.stream.strike(stream_faults.Garbage())
        garbage = await client.socket.receive()
        assert (await client.subscribe(quotes=["AAPL"]))["quotes"] == ["AAPL"]

    assert garbage.data.startswith(b"\xc1")


async def test_sudden_fault_of_another_feed() -> None:
    """A sudden fault strikes the clients of its feed."""
    async with asked() as (running, _), streamed(running, "iex") as client:
        assert await running.stream.strike(stream_faults.Drop(feed="sip")) == 0
        assert (await client.subscribe(quotes=["AAPL"]))["quotes"] == ["AAPL"]


# ------------------------------------------------------------------------------- by request

EVERY_KIND = [
    {"kind": "handshake", "status": 429},
    {"kind": "refuse", "code": 500, "on": "subscribe"},
    {"kind": "occupied", "seconds": 5},
    {"kind": "slow_auth", "seconds": 1},
    {"kind": "partial_ack", "count": 2},
    {"kind": "hold_slot", "seconds": 90},
    {"kind": "mute", "pings": False},
    {"kind": "error", "code": 407},
    {"kind": "close", "code": 1000},
    {"kind": "drop", "reset": True},
    {"kind": "cut_frame"},
    {"kind": "garbage"},
]


@pytest.mark.parametrize("fault", EVERY_KIND, ids=lambda fault: fault["kind"])
async def test_every_kind_of_fault(fault: dict[str, Any]) -> None:
    """Every kind of fault can be had over HTTP; sudden ones tell how many they struck."""
    async with asked() as (running, client):
        answer = await client.send("POST", "/sandbox/stream/faults", body=fault)

        assert answer.status == 201
        assert answer.json.items() >= (fault | {"clients": 0}).items()
        sudden = fault["kind"] in {"error", "close", "drop", "cut_frame", "garbage"}
        assert len(running.stream.faults.armed()) == (0 if sudden else 1)


async def test_faults_are_listed_and_cleared() -> None:
    """Armed faults are listed with the strikes they have left, and cleared."""
    fault = {"kind": "refuse", "code": 402, "times": 2}
    async with asked() as (running, client), connected(running) as stream:
        await client.send("POST", "/sandbox/stream/faults", body=fault)
        await stream.one()
        await stream.ask(AUTH)
        listed = await client.get("/sandbox/stream/faults")
        await client.send("DELETE", "/sandbox/stream/faults")
        left = await client.get("/sandbox/stream/faults")

        assert await stream.ask(AUTH) == AUTHENTICATED
    assert [one["times"] for one in listed.json] == [1]
    assert left.json == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"kind": "earthquake"}, "earthquake"),
        ({"kind": "refuse"}, "code"),
        ({"kind": "refuse", "code": 400, "on": "tuesday"}, "tuesday"),
        ({"kind": "close", "code": 99}, ">= 1000"),
        ({"kind": "mute", "times": 0}, ">= 1"),
        ({"kind": "drop", "seconds": 1}, "seconds"),
    ],
)
async def test_wrong_fault(fault: Any, sentence: str) -> None:
    """A fault that makes no sense is refused saying why."""
    async with asked() as (running, client):
        answer = await client.send("POST", "/sandbox/stream/faults", body=fault)

        assert answer.status == 400
        assert sentence in answer.message
        assert not running.stream.faults.armed()


async def test_faults_of_rest_do_not_strike_the_stream() -> None:
    """A fault of the REST API leaves handshakes alone."""
    async with asked() as (running, _):
        running.faults.add(faults.Status(status=503, times=1))
        async with streamed(running):
            assert running.faults.armed()
