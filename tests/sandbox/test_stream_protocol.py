"""The protocol of the stock stream: who may read what, and what is said to whoever may not."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.support.waiting import until
from tickgate_sandbox import Plan

from .asking import KEYS, asked, synthetic
from .streaming import (
    AUTH,
    AUTHENTICATED,
    CONNECTED,
    ENCODINGS,
    JSON,
    MSGPACK,
    connected,
    error,
    streamed,
)

SYNTAX = error(400, "invalid syntax")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

both = pytest.mark.parametrize("encoding", ENCODINGS)


def symbols(count: int) -> list[str]:
    """Return so many symbols."""
    return [f"A{LETTERS[index // 26]}{LETTERS[index % 26]}" for index in range(count)]


# ------------------------------------------------------------------------------- authentication


@both
@pytest.mark.parametrize("feed", ["iex", "delayed_sip", "test"])
async def test_authentication_by_message(feed: str, encoding: str) -> None:
    """A client is greeted, shows its keys, and is let in; every frame is an array of one."""
    async with asked() as (running, _), connected(running, feed, encoding) as client:
        assert await client.frame() == [CONNECTED]
        await client.send(AUTH)
        assert await client.frame() == [AUTHENTICATED]


@both
async def test_authentication_by_headers(encoding: str) -> None:
    """Keys in the handshake spare the client the message."""
    async with asked() as (running, _), connected(running, "iex", encoding, KEYS) as client:
        assert [await client.one(), await client.one()] == [CONNECTED, AUTHENTICATED]
        assert await client.ask(AUTH) == error(403, "already authenticated")


@both
async def test_wrong_keys(encoding: str) -> None:
    """Wrong keys are refused, and the socket stays open for the right ones."""
    settings = synthetic(key_id="key", secret="secret")
    async with asked(settings) as (running, _), connected(running, "iex", encoding) as client:
        await client.one()
        assert await client.ask(AUTH | {"secret": "wrong"}) == error(402, "auth failed")
        assert await client.ask(AUTH) == AUTHENTICATED


async def test_wrong_keys_in_the_handshake() -> None:
    """Wrong keys in the handshake are refused on the socket."""
    settings = synthetic(key_id="other", secret="secret")
    async with asked(settings) as (running, _), connected(running, headers=KEYS) as client:
        assert [await client.one(), await client.one()] == [CONNECTED, error(402, "auth failed")]


@both
async def test_subscribing_comes_after_authentication(encoding: str) -> None:
    """Nothing is subscribed to by a stranger."""
    async with asked() as (running, _), connected(running, "iex", encoding) as client:
        await client.one()
        assert await client.subscribe(quotes=["AAPL"]) == error(401, "not authenticated")
        assert await client.unsubscribe(quotes=["AAPL"]) == error(401, "not authenticated")


@both
async def test_second_authentication(encoding: str) -> None:
    """Who is let in already need not show keys again."""
    async with asked() as (running, _), streamed(running, "iex", encoding) as client:
        assert await client.ask(AUTH) == error(403, "already authenticated")


@both
async def test_authentication_timeout(encoding: str) -> None:
    """Who shows no keys in time is told so and sent away in order."""
    settings = synthetic(auth_timeout=0.05)
    async with asked(settings) as (running, _), connected(running, "iex", encoding) as client:
        await client.one()
        assert await client.one() == error(404, "auth timeout")
        assert (await client.end()).type is aiohttp.WSMsgType.CLOSE


async def test_authenticated_in_time() -> None:
    """Who has shown its keys stays, however long the others are waited for."""
    settings = synthetic(auth_timeout=0.5)
    async with asked(settings) as (running, _), streamed(running) as client:
        async with connected(running, "test") as stranger:
            await stranger.one()
            assert await stranger.one() == error(404, "auth timeout")
        assert (await client.subscribe(quotes=["AAPL"]))["quotes"] == ["AAPL"]


@both
async def test_feed_beyond_the_plan(encoding: str) -> None:
    """A feed that the plan lacks is refused at authentication."""
    async with asked() as (running, _), connected(running, "sip", encoding) as client:
        await client.one()
        assert await client.ask(AUTH) == error(409, "insufficient subscription")


async def test_every_feed_of_the_greater_plan() -> None:
    """The greater plan has them all, and one connection to each at the same time."""
    async with (
        asked(synthetic(plan=Plan.PLUS)) as (running, _),
        streamed(running, "sip"),
        streamed(running, "iex"),
        streamed(running, "delayed_sip"),
        streamed(running, "test"),
    ):
        assert running.stream.clients() == 4


@pytest.mark.parametrize("path", ["/v2/otc", "/v2/opra", "/v1beta1/sip", "/stream"])
async def test_unknown_feed(path: str) -> None:
    """An endpoint that does not exist is told in the handshake, keys or none."""
    async with asked() as (running, _), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(f"{running.stream_url}{path}")

    assert caught.value.status == 404


async def test_no_handshake() -> None:
    """A request that is no handshake is a REST request like any other, and a bad one."""
    async with asked() as (running, client):
        answer = await client.get("/v2/iex")

    assert answer.status == 400
    assert running.counters.requests == 1


async def test_handshakes_are_no_requests() -> None:
    """Handshakes neither count among the requests nor spend their limit."""
    async with asked(synthetic(rate_limit=1)) as (running, _):
        for _ in range(3):
            async with streamed(running):
                pass
        assert running.counters.requests == 0
        assert running.counters.stream.connections == 3


# ------------------------------------------------------------------------------------ one slot


@both
async def test_one_connection_a_feed(encoding: str) -> None:
    """Who is there keeps the slot; the newcomer waits, and gets it when it is free."""
    async with asked() as (running, _), connected(running, "iex", encoding) as newcomer:
        await newcomer.one()
        async with streamed(running, "iex", encoding) as holder:
            assert await newcomer.ask(AUTH) == error(406, "connection limit exceeded")
            assert await newcomer.ask(AUTH) == error(406, "connection limit exceeded")
            assert (await holder.subscribe(quotes=["AAPL"]))["quotes"] == ["AAPL"]
            assert await newcomer.subscribe(quotes=["AAPL"]) == error(401, "not authenticated")
        await until(lambda: running.stream.clients() == 0)
        assert await newcomer.ask(AUTH) == AUTHENTICATED


async def test_refused_slot_is_sent_away_without_a_word() -> None:
    """Who was refused the slot is left after a while without a close frame."""
    settings = synthetic(auth_timeout=0.5)
    async with (
        asked(settings) as (running, _),
        streamed(running),
        connected(running) as newcomer,
    ):
        await newcomer.one()
        await newcomer.ask(AUTH)

        assert (await newcomer.end()).type is aiohttp.WSMsgType.CLOSED
        assert newcomer.socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE


@pytest.mark.parametrize("connections", [2, 0])
async def test_more_connections(connections: int) -> None:
    """The limit of connections is a setting."""
    settings = synthetic(connections=connections)
    async with asked(settings) as (running, _), streamed(running), streamed(running):
        assert running.stream.clients("iex") == 2


# -------------------------------------------------------------------------------- subscriptions


@both
async def test_acknowledgement(encoding: str) -> None:
    """The answer is everything subscribed to; corrections and cancellations follow trades."""
    async with asked() as (running, _), streamed(running, "iex", encoding) as client:
        await client.subscribe(trades=["AAPL"], quotes=["MSFT"], bars=["*"])
        answer = await client.subscribe(quotes=["TSLA", "SUCH.A"], dailyBars=["VOO"])

    assert next(iter(answer)) == "T"
    assert answer == {
        "T": "subscription",
        "trades": ["AAPL"],
        "quotes": ["MSFT", "SUCH.A", "TSLA"],
        "bars": ["*"],
        "updatedBars": [],
        "dailyBars": ["VOO"],
        "statuses": [],
        "lulds": [],
        "corrections": ["AAPL"],
        "cancelErrors": ["AAPL"],
    }


async def test_acknowledgement_of_the_test_feed() -> None:
    """The test feed has three channels, and lists no others."""
    async with asked() as (running, _), streamed(running, "test") as client:
        answer = await client.subscribe(bars=["FAKEPACA"], quotes=["*"])

    assert answer == {"T": "subscription", "trades": [], "quotes": ["*"], "bars": ["FAKEPACA"]}


async def test_unsubscribing() -> None:
    """What is unsubscribed from is gone from the answer, the rest stays."""
    async with asked() as (running, _), streamed(running, trades=["AAPL", "MSFT"]) as client:
        answer = await client.unsubscribe(trades=["AAPL", "GOOGL"], bars=["*"])

    assert (answer["trades"], answer["bars"]) == (["MSFT"], [])


async def test_imbalances() -> None:
    """Imbalances are a channel of the whole market alone, and listed when there are any."""
    async with asked() as (running, _), streamed(running, "delayed_sip") as client:
        assert (await client.subscribe(imbalances=["INAQ"]))["imbalances"] == ["INAQ"]


@both
@pytest.mark.parametrize(
    "message",
    [
        {"action": "subscribe"},
        {"action": "subscribe", "quotes": []},
        {"action": "subscribe", "quotes": [], "trades": None},
        {"action": "subscribe", "quotes": "AAPL"},
        {"action": "subscribe", "quotes": [1]},
        {"action": "subscribe", "quotes": ["AAPL", "aapl"]},
        {"action": "subscribe", "quotes": ["TOOLONG"]},
        {"action": "subscribe", "quotes": [""]},
        {"action": "subscribe", "quots": ["AAPL"]},
        {"action": "unsubscribe", "bars": ["A L"]},
        {"action": "listen", "quotes": ["AAPL"]},
        {"quotes": ["AAPL"]},
        ["subscribe"],
        "subscribe",
        None,
    ],
    ids=str,
)
async def test_invalid_syntax(message: Any, encoding: str) -> None:
    """What makes no sense is refused as a whole, without a word on what was wrong with it."""
    async with (
        asked() as (running, _),
        streamed(running, "iex", encoding, quotes=["MSFT"]) as client,
    ):
        assert await client.ask(message) == SYNTAX
        assert (await client.unsubscribe(quotes=["TSLA"]))["quotes"] == ["MSFT"]


@pytest.mark.parametrize("message", [AUTH | {"key": 1}, {"action": "auth"}])
async def test_keys_that_are_none(message: Any) -> None:
    """Keys are texts."""
    async with asked() as (running, _), connected(running) as client:
        await client.one()
        assert await client.ask(message) == SYNTAX


async def test_not_json() -> None:
    """A frame that is not in the encoding of the connection is invalid syntax."""
    async with asked() as (running, _), streamed(running, "iex", JSON) as client:
        await client.socket.send_str("{")
        assert await client.one() == SYNTAX
        await client.socket.send_bytes(b'{"action":"subscribe","quotes":["AAPL"]}')
        assert await client.one() == SYNTAX


async def test_not_messagepack() -> None:
    """The same goes for MessagePack."""
    async with asked() as (running, _), streamed(running, "iex", MSGPACK) as client:
        await client.socket.send_bytes(b"\xc1")
        assert await client.one() == SYNTAX
        await client.socket.send_str('{"action":"subscribe","quotes":["AAPL"]}')
        assert await client.one() == SYNTAX


async def test_empty_list_beside_another() -> None:
    """Some clients send the lists that they do not use; those make no difference."""
    async with asked() as (running, _), streamed(running) as client:
        answer = await client.subscribe(quotes=["AAPL"], trades=[])

    assert answer["quotes"] == ["AAPL"]


@both
@pytest.mark.parametrize(
    ("feed", "channel"),
    [
        ("test", "statuses"),
        ("test", "dailyBars"),
        ("iex", "imbalances"),
        ("iex", "corrections"),
        ("iex", "news"),
        ("iex", "orderbooks"),
    ],
)
async def test_channel_that_the_feed_lacks(feed: str, channel: str, encoding: str) -> None:
    """A channel that exists, though not here, is refused in words of its own."""
    async with asked() as (running, _), streamed(running, feed, encoding) as client:
        answer = await client.subscribe(**{channel: ["AAPL"]})

    assert answer == error(410, "invalid subscribe action for this feed")


@both
async def test_symbol_limit(encoding: str) -> None:
    """The basic plan has 30 symbols in trades and quotes; what exceeds them changes nothing."""
    too_many = error(405, "symbol limit exceeded")
    first, last = symbols(30), symbols(31)[30:]
    async with asked() as (running, _), streamed(running, "iex", encoding) as client:
        await client.subscribe(quotes=first, trades=first[:10])
        assert await client.subscribe(trades=last, bars=last) == too_many
        assert await client.subscribe(quotes=["*"]) == too_many
        bars = await client.subscribe(bars=["*", *symbols(100)])
        await client.unsubscribe(quotes=first[-1:])
        swapped = await client.subscribe(trades=last)

    assert (bars["quotes"], bars["trades"]) == (first, first[:10])
    assert len(bars["bars"]) == 101
    assert swapped["trades"] == [*first[:10], *last]


async def test_no_symbol_limit() -> None:
    """The greater plan has as many symbols as are wanted."""
    async with asked(synthetic(plan=Plan.PLUS)) as (running, _), streamed(running) as client:
        answer = await client.subscribe(quotes=symbols(500), trades=["*"])

    assert len(answer["quotes"]) == 500


@pytest.mark.parametrize("compress", [0, 15])
async def test_compression(compress: int) -> None:
    """Frames are compressed for whoever asks."""
    async with asked() as (running, _), connected(running, compress=compress) as client:
        assert await client.one() == CONNECTED
        assert client.socket.compress == compress


async def test_stopping() -> None:
    """A sandbox that stops closes its connections in order, at once."""
    async with asked() as (running, _):
        client = connected(running)
        stream = await client.__aenter__()
        await stream.one()
    end = await stream.end()
    await client.__aexit__(None, None, None)

    assert end.type is aiohttp.WSMsgType.CLOSE
    assert end.data == aiohttp.WSCloseCode.GOING_AWAY
