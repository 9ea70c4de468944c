"""Alpaca's live feed, word by word: what it is told, what it answers, and what becomes of every error."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.market.live import Channel, FeedState, GapCause, RecordKind
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.observe.counters import FeedCounts
from tickgate_server.upstream.alpaca.hosts import source_of
from tickgate_server.upstream.alpaca.stream import messages
from tickgate_server.upstream.alpaca.stream.feed import AlpacaFeed
from tickgate_server.upstream.alpaca.stream.handover import Confirmed, Rejected
from tickgate_server.upstream.alpaca.stream.messages import Control
from tickgate_server.upstream.alpaca.stream.policy import Pauses
from tickgate_server.upstream.alpaca.stream.subscriptions import Subscriptions

from ...support.fakes import NOW, HandClock, gate
from ...support.live_feed import (
    AUTH,
    AUTHENTICATED,
    CONNECTED,
    KEYS,
    POLICY,
    Elsewhere,
    Held,
    Listener,
    Peer,
    Upstream,
    error,
    held,
    packed,
    quote,
    scripted,
)
from ...support.waiting import until

QUOTES, TRADES, BARS = Channel.QUOTES, Channel.TRADES, Channel.BARS


# ---------------------------------------------------------------------------- the usual way


async def test_nothing_is_connected_while_nothing_is_wanted() -> None:
    """A feed that nobody follows stays idle, and connects when somebody does."""
    async with scripted() as upstream, held(upstream.url) as live:
        await live.in_state(FeedState.IDLE)
        assert upstream.handshakes == []

        live.feed.follow(QUOTES, ["AAPL"])
        await upstream.following()
        assert await live.told("confirmed") == [(QUOTES, ["AAPL"])]
        assert live.listener.states == [
            FeedState.IDLE,
            FeedState.CONNECTING,
            FeedState.AUTHENTICATING,
            FeedState.LIVE,
        ]


async def test_the_connection_outlasts_the_last_follower() -> None:
    """When nobody follows anything any more, symbols are unsubscribed and the connection stays."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")

        live.feed.unfollow(QUOTES, ["AAPL"])
        assert await peer.acknowledge() == {"action": "unsubscribe", "quotes": ["AAPL"]}
        live.feed.follow(QUOTES, ["IBM"])
        assert await peer.acknowledge() == {"action": "subscribe", "quotes": ["IBM"]}
        assert await live.told("confirmed", 2) == [(QUOTES, ["AAPL"]), (QUOTES, ["IBM"])]
        assert len(upstream.handshakes) == 1


@pytest.mark.parametrize(
    ("feed", "symbol", "path"),
    [
        (Feed.DELAYED_SIP, "AAPL", "/v2/delayed_sip"),
        (Feed.OPRA, "SPY220715C00380000", "/v1beta1/opra"),
        (Feed.INDICATIVE, "SPY220715C00380000", "/v1beta1/indicative"),
    ],
)
async def test_the_handshake_asks_for_msgpack_of_one_feed(
    feed: Feed, symbol: str, path: str
) -> None:
    """The feed stands in the path, the encoding in the head, and no key in either."""
    async with scripted() as upstream, held(upstream.url, feed=feed) as live:
        live.feed.follow(QUOTES, [symbol])
        peer = await upstream.following()

        assert peer.request.path == path
        assert peer.request.headers["Content-Type"] == "application/msgpack"
        assert peer.request.headers["User-Agent"] == "tests"
        assert not any(secret in str(peer.request.headers) for secret in KEYS)


async def test_what_was_followed_before_the_start_is_subscribed_with_it() -> None:
    """Wishes need no connection, and those that were withdrawn before there was one are not sent."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(TRADES, ["AAPL", "IBM"])
        live.feed.unfollow(TRADES, ["IBM"])
        peer = await upstream.connection()
        await peer.let_in()
        assert await peer.hear() == {"action": "subscribe", "trades": ["AAPL"]}


@pytest.mark.parametrize(
    ("channel", "on_wire"),
    [
        (QUOTES, ["quotes"]),
        (TRADES, ["trades"]),
        (BARS, ["bars", "updatedBars"]),
        (Channel.DAILY_BARS, ["dailyBars"]),
        (Channel.TRADING_STATUSES, ["statuses"]),
        (Channel.PRICE_BANDS, ["lulds"]),
    ],
)
async def test_channels_by_alpacas_names(channel: Channel, on_wire: list[str]) -> None:
    """Each channel is subscribed under Alpaca's names for it, and confirmed when it is held under all of them."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(channel, ["AAPL"])
        peer = await upstream.connection()
        await peer.let_in()
        asked = {name: ["AAPL"] for name in on_wire}
        assert await peer.acknowledge() == {"action": "subscribe", **asked}
        assert await live.told("confirmed") == [(channel, ["AAPL"])]


def test_a_symbol_that_is_held_is_confirmed_at_once() -> None:
    """Who unfollows and follows again before the upstream was asked is told that it sends the symbol."""
    told: list[Confirmed | Rejected] = []
    subscriptions = Subscriptions(chunk=500, tries=3, tell=told.append)
    subscriptions.want(QUOTES, {"AAPL": 1})
    change = subscriptions.next()
    subscriptions.answered(change, Control(T="subscription", quotes=["AAPL"]))
    subscriptions.release(QUOTES, ["AAPL"])
    subscriptions.want(QUOTES, {"AAPL": 2})
    assert told == [Confirmed(QUOTES, {"AAPL": 1}), Confirmed(QUOTES, {"AAPL": 2})]
    assert subscriptions.next() is None


async def test_following_twice_is_following_once() -> None:
    """A symbol that is wanted already is not asked for again."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        live.feed.follow(QUOTES, ["AAPL", "IBM"])
        assert await peer.acknowledge() == {"action": "subscribe", "quotes": ["IBM"]}
        assert await live.told("confirmed", 2) == [(QUOTES, ["AAPL"]), (QUOTES, ["IBM"])]


async def test_large_sets_are_asked_for_in_chunks() -> None:
    """1,200 symbols travel as 500, 500 and 200, each once the one before is acknowledged."""
    symbols = [
        f"{'ABCDEFGHIJ'[n // 100]}{chr(65 + n // 10 % 10)}{chr(65 + n % 10)}" for n in range(1000)
    ]
    symbols += [f"Z{symbol}" for symbol in symbols[:200]]
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, symbols)
        peer = await upstream.connection()
        await peer.let_in()
        asked: list[list[str]] = []
        for _ in range(3):
            request = await peer.hear()
            asked.append(request["quotes"])
            assert peer.has_heard_all
            peer.held.setdefault("quotes", set()).update(request["quotes"])
            await peer.say_held()

        assert [len(chunk) for chunk in asked] == [500, 500, 200]
        assert [symbol for chunk in asked for symbol in chunk] == symbols
        assert [sorted(chunk) for chunk in asked] == [
            seen for _, seen in await live.told("confirmed", 3)
        ]
        assert live.counts.confirmed == {"quotes": 1200}


async def test_a_symbol_left_out_of_an_acknowledgement_is_asked_for_again() -> None:
    """The difference is asked for again, and what stays left out is rejected in the end."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL", "IBM", "TSLA"])
        peer = await upstream.following(without=["IBM", "TSLA"])
        assert (await peer.acknowledge(without=["TSLA"]))["quotes"] == ["IBM", "TSLA"]
        assert (await peer.acknowledge(without=["TSLA"]))["quotes"] == ["TSLA"]

        ((channel, symbols, why),) = await live.told("rejected")
        assert (channel, symbols, why.reason) == (QUOTES, ["TSLA"], Reason.UPSTREAM_ERROR)
        assert await live.told("confirmed", 2) == [(QUOTES, ["AAPL"]), (QUOTES, ["IBM"])]


async def test_an_upstream_that_forgets_a_symbol_is_asked_for_it_again() -> None:
    """An acknowledgement that no longer names what was held brings it back, and it is confirmed anew."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL", "IBM"])
        peer = await upstream.following()
        await live.told("confirmed")

        peer.held["quotes"].discard("IBM")
        await peer.say_held()
        assert await peer.acknowledge() == {"action": "subscribe", "quotes": ["IBM"]}
        assert (await live.told("confirmed", 2))[1] == (QUOTES, ["IBM"])


async def test_what_is_sent_unasked_is_unsubscribed_once() -> None:
    """A symbol that nobody wants is let go of, and left alone if the upstream keeps it."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.let_in()
        await peer.hear()
        await peer.say({"T": "subscription", "quotes": ["AAPL", "IBM"]})
        assert await peer.hear() == {"action": "unsubscribe", "quotes": ["IBM"]}
        await peer.say({"T": "subscription", "quotes": ["AAPL", "IBM"]})
        live.feed.follow(TRADES, ["AAPL"])
        assert await peer.hear() == {"action": "subscribe", "trades": ["AAPL"]}


async def test_confirmation_comes_before_the_records_behind_it() -> None:
    """Whatever the upstream sends behind an acknowledgement is told behind it, and nothing before overtakes it."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.let_in()
        await peer.hear()
        await peer.send(quote(bid=9.98))
        await peer.say({"T": "subscription", "quotes": ["AAPL"]})
        await peer.send(quote(bid=9.99))
        await live.told("accept", 2)

        told = [name for name, *_ in live.listener.told if name != "changed"]
        assert told == ["accept", "confirmed", "accept"]


async def test_a_clean_stop_says_goodbye() -> None:
    """When the feed is cancelled the upstream hears a close frame, so that the account's place is free at once."""
    async with scripted() as upstream:
        async with held(upstream.url) as live:
            live.feed.follow(QUOTES, ["AAPL"])
            peer = await upstream.following()
            await live.told("confirmed")
            began = time.monotonic()
        assert time.monotonic() - began < 1.0
        await until(peer.over.is_set)
        assert peer.close_code == 1000
        assert live.listener.states[-1] is FeedState.CLOSED
        assert live.counts.confirmed == {}
        assert not any(thread.name == "live-feed" for thread in threading.enumerate())


async def test_a_stop_waits_for_nobody() -> None:
    """An upstream that says nothing, at whatever moment, keeps no feed from ending."""
    async with scripted() as upstream:
        began = time.monotonic()
        async with held(upstream.url) as live:
            live.feed.follow(QUOTES, ["AAPL"])
            await upstream.connection()
            await live.in_state(FeedState.CONNECTING)
        assert time.monotonic() - began < 1.0
        async with held(upstream.url, replace(POLICY, pause=60.0)) as live:
            upstream.statuses = [503]
            live.feed.follow(QUOTES, ["AAPL"])
            await live.in_state(FeedState.BACKING_OFF)
        assert time.monotonic() - began < 2.0


# ---------------------------------------------------------------------------- authentication


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        (402, FeedState.AUTH_FAILED, Reason.UPSTREAM_UNAUTHENTICATED),
        (408, FeedState.NOT_ENTITLED, Reason.NOT_ENTITLED),
        (409, FeedState.NOT_ENTITLED, Reason.NOT_ENTITLED),
        (411, FeedState.NOT_ENTITLED, Reason.NOT_ENTITLED),
    ],
)
async def test_a_refused_account_stops_the_feed(
    code: int, state: FeedState, reason: Reason
) -> None:
    """A wrong key, and a plan without the feed, reject what is wanted and are not tried again by themselves."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        live.feed.follow(TRADES, ["IBM"])
        peer = await upstream.connection()
        await peer.say(CONNECTED)
        await peer.hear()
        await peer.say(error(code))

        rejected = await live.told("rejected", 2)
        assert [entry[:2] for entry in rejected] == [(QUOTES, ["AAPL"]), (TRADES, ["IBM"])]
        assert {entry[2].reason for entry in rejected} == {reason}
        assert live.listener.states[-1] is state
        await until(peer.over.is_set)
        assert live.listener.of("lost") == []


@pytest.mark.parametrize(
    ("status", "state"),
    [(401, FeedState.AUTH_FAILED), (403, FeedState.NOT_ENTITLED), (404, FeedState.NOT_ENTITLED)],
)
async def test_a_handshake_may_refuse_the_account(status: int, state: FeedState) -> None:
    """The same refusals come as answers to the handshake."""
    async with scripted() as upstream, held(upstream.url) as live:
        upstream.statuses = [status]
        live.feed.follow(QUOTES, ["AAPL"])
        ((_, _, why),) = await live.told("rejected")
        assert str(status) in why.message
        assert live.listener.states[-1] is state


async def test_a_stopped_feed_is_tried_again_when_somebody_follows_a_minute_later() -> None:
    """Before that, whoever follows is rejected with the time to wait; nothing is sent."""
    clock = HandClock()
    async with scripted() as upstream, held(upstream.url, clock=clock) as live:
        upstream.statuses = [401]
        live.feed.follow(QUOTES, ["AAPL"])
        await live.told("rejected")

        clock.advance(59)
        live.feed.follow(QUOTES, ["AAPL"])
        (_, (_, _, why)) = await live.told("rejected", 2)
        assert why.retry_delay == pytest.approx(1.0)
        assert len(upstream.handshakes) == 1

        clock.advance(1)
        live.feed.follow(QUOTES, ["AAPL"])
        await upstream.following()
        assert await live.told("confirmed") == [(QUOTES, ["AAPL"])]


@pytest.mark.parametrize("status", [429, 500, 503, 302])
async def test_a_handshake_that_fails_is_tried_again(status: int) -> None:
    """Too many handshakes, and an upstream in trouble, are waited out."""
    async with scripted() as upstream, held(upstream.url) as live:
        upstream.statuses = [status, status]
        live.feed.follow(QUOTES, ["AAPL"])
        await upstream.following()
        await live.told("confirmed")
        assert len(upstream.handshakes) == 3
        assert live.listener.states.count(FeedState.BACKING_OFF) == 2
        assert live.listener.of("lost") == []


async def test_an_upstream_that_is_not_there_is_waited_for() -> None:
    """A refused connection is told as such, and tried again."""
    async with scripted() as upstream:
        url = upstream.url
    async with held(url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        await until(lambda: live.listener.states.count(FeedState.BACKING_OFF) >= 2)
        message = next(
            text for state, text in live.listener.of("changed") if state is FeedState.BACKING_OFF
        )
        assert message == "the upstream could not be reached"


async def test_a_place_that_is_taken_is_waited_for_on_the_same_connection() -> None:
    """406 is answered by the same credentials a little later, and the feed is live as soon as they are taken."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.say(CONNECTED)
        assert await peer.hear() == AUTH
        await peer.say(error(406))
        await live.in_state(FeedState.WAITING_FOR_SLOT)
        assert await peer.hear() == AUTH
        await peer.say(AUTHENTICATED)
        await peer.acknowledge()
        await live.told("confirmed")
        assert len(upstream.handshakes) == 1


async def test_a_place_that_stays_taken_is_waited_for_over_connections() -> None:
    """When the upstream closes on somebody without a place the state stays, and another connection is made."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        for _ in range(2):
            peer = await upstream.connection()
            await peer.say(CONNECTED)
            await peer.hear()
            await peer.say(error(406))
            await live.in_state(FeedState.WAITING_FOR_SLOT)
            peer.cut()
        await upstream.following()
        await live.told("confirmed")
        assert live.listener.states == [
            FeedState.CONNECTING,
            FeedState.AUTHENTICATING,
            FeedState.WAITING_FOR_SLOT,
            FeedState.LIVE,
        ]
        assert live.listener.of("lost") == []


async def refused_the_place(upstream: Upstream) -> None:
    """Refuse the next connection the place, and close it."""
    peer = await upstream.connection()
    await peer.say(CONNECTED)
    await peer.hear()
    await peer.say(error(406))
    peer.cut()


async def test_a_place_is_asked_for_at_once_when_somebody_comes() -> None:
    """A long pause before a place that is taken ends when somebody comes for the feed, who may know that it is free."""
    policy = replace(POLICY, pause=3600.0, slot_pause_most=3600.0, slot_pause_least=0.01)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.hurry()  # before there is anything to hurry
        live.feed.follow(QUOTES, ["AAPL"])
        await refused_the_place(upstream)
        await live.in_state(FeedState.WAITING_FOR_SLOT)
        hurrying = asyncio.create_task(hurry_until_asked(live))
        await upstream.following()
        await live.told("confirmed")
        hurrying.cancel()
        assert len(upstream.handshakes) == 2


async def hurry_until_asked(live: Held) -> None:
    """Come again and again, as followers do who are sent away."""
    while True:
        live.feed.hurry()
        await asyncio.sleep(0.01)


async def test_a_crowd_does_not_make_a_place_be_asked_for_all_the_time() -> None:
    """However many come, there is a least pause between two attempts."""
    policy = replace(POLICY, pause=3600.0, slot_pause_most=3600.0, slot_pause_least=0.3)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        await refused_the_place(upstream)
        began = time.monotonic()
        hurrying = asyncio.create_task(hurry_until_asked(live))
        await upstream.following()
        hurrying.cancel()
        assert time.monotonic() - began >= 0.25


async def test_a_place_is_not_waited_for_longer_than_the_connection_may_stand() -> None:
    """After its patience with 406 the feed makes another connection by itself."""
    policy = replace(POLICY, auth=0.4)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.say(CONNECTED)
        for _ in range(2):
            await peer.hear()
            await peer.say(error(406))
        await upstream.following()
        await live.told("confirmed")
        assert live.listener.states.count(FeedState.WAITING_FOR_SLOT) == 1


@pytest.mark.parametrize(
    ("code", "state"), [(404, FeedState.WAITING_FOR_SLOT), (409, FeedState.NOT_ENTITLED)]
)
async def test_what_is_said_while_a_place_is_waited_for_is_heard(
    code: int, state: FeedState
) -> None:
    """The end of the upstream's patience costs the connection and not the wait; a refusal ends both."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.say(CONNECTED)
        await peer.hear()
        await peer.say(error(406), error(code))
        await until(peer.over.is_set)
        await live.in_state(state)


@pytest.mark.parametrize(
    ("code", "state"), [(406, FeedState.WAITING_FOR_SLOT), (500, FeedState.BACKING_OFF)]
)
async def test_an_upstream_may_greet_with_an_error(code: int, state: FeedState) -> None:
    """What is refused before it was asked for is refused all the same."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.say(error(code))
        await upstream.following()
        await live.told("confirmed")
        assert state in live.listener.states


async def test_credentials_that_were_taken_already_are_no_error() -> None:
    """403 says that the feed is authenticated, which is what it wanted."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.say(CONNECTED)
        await peer.hear()
        await peer.say(error(403))
        await peer.acknowledge()
        await live.told("confirmed")


async def test_an_upstream_that_forgot_the_credentials_gets_them_once_more() -> None:
    """401 in answer to a subscription is answered by authenticating again, the second one by another connection."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.let_in()
        await peer.hear()
        await peer.say(error(401))
        assert await peer.hear() == AUTH
        await peer.say(AUTHENTICATED)
        assert await peer.hear() == {"action": "subscribe", "quotes": ["AAPL"]}
        await peer.say(error(401))
        await upstream.following()
        await live.told("confirmed")


@pytest.mark.parametrize("silent_after", ["handshake", "greeting", "authentication"])
async def test_an_upstream_that_does_not_answer_is_given_up(silent_after: str) -> None:
    """Each answer has its time, after which another connection is made."""
    policy = replace(POLICY, connect=0.2, auth=0.2, acknowledge=0.2)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        if silent_after == "greeting":
            await peer.say(CONNECTED)
        if silent_after == "authentication":
            await peer.let_in()
        await upstream.following()
        await live.told("confirmed")
        message = next(
            text for state, text in live.listener.of("changed") if state is FeedState.BACKING_OFF
        )
        assert message == "the upstream did not answer in time"


async def test_no_secret_leaves_the_feed() -> None:
    """Neither a log nor anything that is told holds a part of the key pair, whatever goes wrong."""
    with capture_logs() as logs:
        async with scripted() as upstream, held(upstream.url) as live:
            live.feed.follow(QUOTES, ["AAPL"])
            peer = await upstream.connection()
            await peer.say(CONNECTED)
            await peer.hear()
            await peer.say(error(500, "oops"))
            peer = await upstream.connection()
            await peer.say(CONNECTED)
            await peer.hear()
            await peer.say(error(402, "auth failed"))
            await live.told("rejected")
            shown = f"{logs} {live.listener.told} {live.feed!r} {live.feed._line!r} {live.counts}"
    assert "402 auth failed" in shown
    assert not any(secret in shown for secret in KEYS)


async def test_a_feed_that_stays_away_is_logged_once() -> None:
    """Each state is one line with its reason, however often the feed goes through it before it is back."""
    with capture_logs() as logs:
        async with scripted() as upstream, held(upstream.url) as live:
            upstream.statuses = [503, 503, 503, 429]
            live.feed.follow(QUOTES, ["AAPL"])
            await upstream.following()
            await live.told("confirmed")
    told = [(line["state"], line["message"]) for line in logs if line["event"] == "live_feed"]
    assert told == [
        ("connecting", ""),
        ("backing_off", "the handshake was answered 503"),
        ("backing_off", "the handshake was answered 429"),
        ("authenticating", ""),
        ("live", ""),
        ("closed", "the gateway stops"),
    ]


# ---------------------------------------------------------------------------- refused subscriptions


async def refusing(peer: Peer, code: int, bad: set[str]) -> list[int]:
    """Answer requests, refusing with *code* those that name a *bad* symbol, until none comes; return their sizes."""
    sizes: list[int] = []
    while True:
        try:
            async with asyncio.timeout(0.3):
                request = await peer.hear()
        except TimeoutError:
            return sizes
        symbols = request["quotes"]
        sizes.append(len(symbols))
        if bad.intersection(symbols):
            await peer.say(error(code))
        else:
            peer.held.setdefault("quotes", set()).update(symbols)
            await peer.say_held()


async def test_a_malformed_symbol_costs_itself_alone() -> None:
    """400 names nobody, so the request is halved until the symbol that it is about stands alone."""
    symbols = [f"A{chr(65 + n)}" for n in range(16)]
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, symbols)
        peer = await upstream.connection()
        await peer.let_in()
        sizes = await refusing(peer, 400, {"AF"})

        assert sizes == [16, 8, 4, 4, 2, 1, 1, 2, 8]
        ((_, rejected, why),) = await live.told("rejected")
        assert (rejected, why.reason) == (["AF"], Reason.SYMBOL_UNKNOWN)
        confirmed = [symbol for _, seen in live.listener.of("confirmed") for symbol in seen]
        assert sorted(confirmed) == [symbol for symbol in symbols if symbol != "AF"]


async def test_what_fits_into_the_plan_is_had() -> None:
    """405 is answered by smaller requests until what fits is held; the rest is rejected without a request for each."""
    symbols = [f"A{chr(65 + n)}" for n in range(16)]
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, symbols)
        peer = await upstream.connection()
        await peer.let_in()
        sizes = await refusing(peer, 405, set(symbols[11:]))

        assert sizes == [16, 8, 8, 4, 2, 2, 1, 1]
        rejected = [symbol for _, seen, _ in live.listener.of("rejected") for symbol in seen]
        assert sorted(rejected) == symbols[11:]
        assert {why.reason for *_, why in live.listener.of("rejected")} == {
            Reason.SUBSCRIPTION_LIMIT
        }
        assert live.counts.confirmed == {"quotes": 11}


@pytest.mark.parametrize("code", [410, 412, 413])
async def test_a_channel_that_is_not_offered_is_rejected(code: int) -> None:
    """What the feed does not have is rejected whole, and the connection goes on."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(Channel.PRICE_BANDS, ["AAPL", "IBM"])
        peer = await upstream.connection()
        await peer.let_in()
        await peer.hear()
        await peer.say(error(code))
        ((channel, symbols, why),) = await live.told("rejected")
        assert (channel, symbols) == (Channel.PRICE_BANDS, ["AAPL", "IBM"])
        assert why.reason is Reason.NOT_SUPPORTED
        live.feed.follow(QUOTES, ["AAPL"])
        await peer.acknowledge()
        await live.told("confirmed")


async def test_a_rejected_symbol_may_be_followed_again() -> None:
    """A rejection ends the wish, so that the next one is asked for anew."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.let_in()
        await peer.hear()
        await peer.say(error(405))
        await live.told("rejected")
        live.feed.follow(QUOTES, ["AAPL"])
        await peer.acknowledge()
        await live.told("confirmed")


async def test_a_symbol_that_the_upstream_does_not_let_go_of_is_left_alone() -> None:
    """A refused unsubscription is no reason to ask for it for ever."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL", "IBM"])
        peer = await upstream.following()
        await live.told("confirmed")
        live.feed.unfollow(QUOTES, ["AAPL", "IBM"])
        for symbols in (["AAPL", "IBM"], ["AAPL"], ["IBM"]):
            assert await peer.hear() == {"action": "unsubscribe", "quotes": symbols}
            await peer.say(error(400))
        live.feed.follow(TRADES, ["AAPL"])
        assert (await peer.acknowledge())["trades"] == ["AAPL"]
        live.feed.follow(QUOTES, ["IBM"])
        assert (QUOTES, ["IBM"]) in await live.told("confirmed", 3)
        assert peer.has_heard_all


async def test_room_is_made_before_it_is_taken() -> None:
    """What is let go of is unsubscribed before anything new is asked for, as a full plan needs it."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")
        live.feed.follow(TRADES, ["IBM"])
        live.feed.unfollow(QUOTES, ["AAPL"])
        live.feed.follow(QUOTES, ["TSLA"])
        requests = [await peer.acknowledge() for _ in range(3)]
        named = [request for request in requests if "quotes" in request]
        assert [request["action"] for request in named] == ["unsubscribe", "subscribe"]


async def test_the_fate_of_a_withdrawn_wish_is_no_news() -> None:
    """Who unfollows while the upstream is being asked hears nothing more of it, and neither does a wish made anew."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL", "IBM"])
        peer = await upstream.connection()
        await peer.let_in()
        await peer.hear()
        live.feed.unfollow(QUOTES, ["AAPL"])
        await peer.say({"T": "subscription", "quotes": ["AAPL", "IBM"]})
        assert await peer.hear() == {"action": "unsubscribe", "quotes": ["AAPL"]}
        assert await live.told("confirmed") == [(QUOTES, ["IBM"])]


# ---------------------------------------------------------------------------- losing the connection


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (404, GapCause.DISCONNECTED),
        (406, GapCause.DISCONNECTED),
        (407, GapCause.SLOW_READER),
        (500, GapCause.DISCONNECTED),
        (499, GapCause.DISCONNECTED),
    ],
)
async def test_an_error_out_of_the_blue_ends_the_connection(code: int, cause: GapCause) -> None:
    """The loss is told with its cause, and all that is wanted is subscribed and confirmed again."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        live.feed.follow(TRADES, ["AAPL"])
        peer = await upstream.following()
        await peer.acknowledge()
        await live.told("confirmed", 2)
        await peer.say(error(code))

        peer = await upstream.following()
        await peer.acknowledge()
        ((told, since, _),) = await live.told("lost")
        assert (told, since) == (cause, NOW)
        assert (await live.told("confirmed", 4))[2:] == [(QUOTES, ["AAPL"]), (TRADES, ["AAPL"])]


async def test_a_refusal_out_of_the_blue_loses_and_rejects() -> None:
    """A plan that ends in the middle of the day costs what was held, and is told as both."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")
        await peer.say(error(409))
        await live.told("rejected")
        assert len(live.listener.of("lost")) == 1
        assert live.listener.states[-1] is FeedState.NOT_ENTITLED


@pytest.mark.parametrize("how", ["goodbye", "cut", "cut in the middle of a frame", "too large"])
async def test_however_the_connection_ends_it_is_made_again(how: str) -> None:
    """A close frame, an end without a word and a frame that is never whole come to the same."""
    policy = replace(POLICY, largest_frame=1000)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")
        if how == "goodbye":
            await peer.close(1001)
        elif how == "too large":
            await peer.frame(b"\x90" * (policy.largest_frame + 1))
        else:
            if how != "cut":
                assert peer.request.transport is not None
                # The head of a binary frame of 1,000 bytes, and some of them.
                peer.request.transport.write(b"\x82\x7e\x03\xe8" + packed(quote()))
            peer.cut()
        await upstream.following()
        await live.told("confirmed", 2)
        assert len(live.listener.of("lost")) == 1
        assert live.listener.of("accept") == []


async def test_a_loss_begins_with_the_last_frame_or_confirmation() -> None:
    """A gap begins where something last arrived: records, or the word that symbols are sent."""
    clock = HandClock()
    async with scripted() as upstream, held(upstream.url, clock=clock) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        clock.advance(1)
        peer = await upstream.following()
        await live.told("confirmed")
        clock.advance(1)
        await peer.close()
        peer = await upstream.following()
        await live.told("confirmed", 2)
        clock.advance(1)
        await peer.send(quote())
        await live.told("accept")
        clock.advance(1)
        await peer.close()

        await live.told("lost", 2)
        assert [since for _, since, _ in live.listener.of("lost")] == [NOW + NANOS, NOW + 3 * NANOS]


async def test_what_was_held_is_not_held_without_a_connection() -> None:
    """Who follows while there is none waits for the next one, also for a symbol that was held on the last."""
    policy = replace(POLICY, pause=0.3)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")
        peer.cut()
        await live.in_state(FeedState.BACKING_OFF)
        live.feed.unfollow(QUOTES, ["AAPL"])
        live.feed.follow(QUOTES, ["AAPL"])

        peer = await upstream.connection()
        await peer.let_in()
        await live.in_state(FeedState.LIVE)
        assert len(live.listener.of("confirmed")) == 1
        await peer.acknowledge()
        await live.told("confirmed", 2)


async def test_nothing_is_lost_before_anything_was_confirmed() -> None:
    """A connection that ends before its first acknowledgement leaves no gap."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        await peer.let_in()
        await peer.hear()
        await peer.close()
        await upstream.following()
        await live.told("confirmed")
        assert live.listener.of("lost") == []


async def test_a_mute_connection_is_noticed() -> None:
    """Where nothing comes, not even an answer to a ping, the connection is given up."""
    policy = replace(POLICY, ping=0.1, pong=0.2)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.connection()
        peer.answers_pings = False
        await peer.let_in()
        await peer.acknowledge()
        await upstream.following()
        ((cause, _, message),) = await live.told("lost")
        assert cause is GapCause.DISCONNECTED
        assert "not even an answer to a ping" in message
        assert peer.pings == 1


async def test_a_quiet_connection_is_kept() -> None:
    """While pings are answered, silence is no reason to give a connection up."""
    policy = replace(POLICY, ping=0.05, pong=0.5)
    async with scripted() as upstream, held(upstream.url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await until(lambda: peer.pings == 2)
        assert live.listener.of("lost") == []
        assert len(upstream.handshakes) == 1


async def test_the_upstreams_own_pings_are_answered() -> None:
    """Alpaca closes a connection over which its pings stay without an answer."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await peer.socket.ping(b"are you there?")
        await until(lambda: peer.pongs == [b"are you there?"])


async def test_somebody_who_knows_better_may_give_the_connection_up() -> None:
    """`reconnect` ends the connection with the cause and the words that it is given."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.reconnect(GapCause.SILENT, "nothing to give up yet")
        live.feed.follow(QUOTES, ["AAPL"])
        await upstream.following()
        await live.told("confirmed")
        live.feed.reconnect(GapCause.SILENT, "nothing moved for a minute")
        await upstream.following()
        await live.told("confirmed", 2)
        assert live.listener.of("lost") == [(GapCause.SILENT, NOW, "nothing moved for a minute")]


async def test_a_connection_without_wishes_is_not_made_again() -> None:
    """When nobody follows anything and the connection ends, the feed is idle until somebody does."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")
        live.feed.unfollow(QUOTES, ["AAPL"])
        await peer.acknowledge()
        await peer.close()
        await live.in_state(FeedState.IDLE)
        live.feed.follow(QUOTES, ["IBM"])
        await upstream.following()
        await live.told("confirmed", 2)


def test_pauses_grow_and_are_bounded() -> None:
    """Each pause is twice the one before up to a bound, a share of it left to chance, until they are reset."""
    pauses = Pauses(0.5, 0.5, lambda: 1.0)
    assert [pauses.next(3.0) for _ in range(4)] == [0.25, 0.5, 1.0, 1.5]
    pauses.reset()
    assert pauses.next(3.0) == 0.25
    certain = Pauses(0.5, 0.5, lambda: 0.0)
    assert [certain.next(30.0) for _ in range(100)][-1] == 30.0


# ---------------------------------------------------------------------------- the two threads


async def test_stamps_are_those_of_arrival() -> None:
    """While the serving loop is blocked for a second, frames are stamped as they arrive, and none is lost."""
    elsewhere = Elsewhere([packed(quote(bid=9.0 + n / 100)) for n in range(20)], pause=0.04)
    clock = MarketClock(follows_upstream=False)
    async with elsewhere as url, held(url, clock=clock) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        await live.told("confirmed")
        elsewhere.go.set()
        time.sleep(1.0)  # noqa: ASYNC251 - the loop is to be blocked
        free_again = time.time_ns()
        await live.told("accept", 20)

        stamps = [value.provenance.receive_time for value in live.listener.values]
        late = [stamp - sent for stamp, sent in zip(stamps, elsewhere.sent, strict=True)]
        assert stamps[-1] < free_again
        assert max(late) < NANOS // 5
        assert live.listener.of("missed") == []


async def test_what_cannot_be_held_is_a_gap() -> None:
    """Beyond the bound the oldest frames go, their records are counted, and what is left is the newest."""
    bids = [9.0 + n / 100 for n in range(100)]
    elsewhere = Elsewhere([packed(quote(bid=bid), quote(bid=bid)) for bid in bids])
    policy = replace(POLICY, most_frames=10)
    async with elsewhere as url, held(url, policy) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        await live.told("confirmed")
        elsewhere.go.set()
        while live.counts.frames < 100:
            time.sleep(0.001)  # noqa: ASYNC251 - as above
        await live.told("accept")
        await until(lambda: live.counts.records + live.counts.dropped == 200)

        missed = live.listener.of("missed")
        assert {cause for cause, *_ in missed} == {GapCause.OVERFLOW}
        assert sum(records for *_, records in missed) == live.counts.dropped
        assert [str(value.bid.price) for value in live.listener.values[-2:]] == ["9.99", "9.99"]
        assert 10 <= live.counts.records <= 20


async def test_a_fault_of_ours_ends_no_feed_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the thread of the socket fails, the fault is logged, told as a loss, and another connection is made."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")

        def fail_once(frame: bytes) -> None:
            monkeypatch.undo()
            raise RuntimeError

        monkeypatch.setattr(messages, "control_in", fail_once)
        with capture_logs() as logs:
            await peer.send(quote())
            await upstream.following()
            await live.told("confirmed", 2)
        assert len(live.listener.of("lost")) == 1
        assert [line["event"] for line in logs if "exc_info" in line] == ["live_feed_failed"]


async def test_a_fault_of_ours_ends_no_feed() -> None:
    """A listener that fails is told that records were missed, and the feed goes on."""
    async with scripted() as upstream, held(upstream.url) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        peer = await upstream.following()
        await live.told("confirmed")

        def fail(kind: RecordKind, symbol: str, why: Unavailable) -> None:
            raise RuntimeError

        live.listener.refuse = fail  # type: ignore[method-assign]
        with capture_logs() as logs:
            for _ in range(3):
                await peer.send(quote(bid=11.0))
            await live.told("missed", 3)
        assert [line["event"] for line in logs] == ["live_feed_failed"]
        await peer.send(quote())
        await live.told("accept")


# ---------------------------------------------------------------------------- whose values


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("wss://stream.data.alpaca.markets/v2/sip", DataSource.ALPACA),
        ("wss://STREAM.data.alpaca.markets/v2/iex", DataSource.ALPACA),
        ("ws://stream.data.alpaca.markets/v2/sip", DataSource.SANDBOX),
        ("https://stream.data.alpaca.markets/v2/sip", DataSource.SANDBOX),
        ("wss://stream.data.alpaca.markets/v2/test", DataSource.SANDBOX),
        ("wss://stream.data.alpaca.markets/v2/test/", DataSource.SANDBOX),
        ("wss://stream.data.sandbox.alpaca.markets/v2/sip", DataSource.SANDBOX),
        ("wss://stream.data.alpaca.markets.example.com/v2/sip", DataSource.SANDBOX),
        ("ws://127.0.0.1:50080/v2/sip", DataSource.SANDBOX),
    ],
)
def test_only_alpacas_own_stream_is_the_market(url: str, source: DataSource) -> None:
    """Live values are market values from the production host over TLS, and its test stream is made up."""
    assert source_of(url) is source


@pytest.mark.parametrize("feed", [Feed.BOATS, Feed.OVERNIGHT, Feed.OTC])
def test_a_feed_that_is_not_streamed_is_no_feed(feed: Feed) -> None:
    """Feeds of the night and over the counter have other addresses, and are refused when the feed is made."""
    with pytest.raises(ValueError, match=feed.value):
        AlpacaFeed(
            feed, "ws://x", KEYS, gate(HandClock()), Listener(), HandClock(), POLICY, FeedCounts()
        )  # fmt: skip
