"""Subscribe: what a follower gets, in which order, and what he may say while it lasts."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import freshness_pb2, provenance_pb2
from tickgate.v1 import quote_service_pb2 as quotes_pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate.v1 import stream_service_pb2 as pb
from tickgate_sandbox import faults, stream_faults

from ..support.following import (
    BARS,
    DAILY_BARS,
    PRICE_BANDS,
    QUOTES,
    TRADES,
    TRADING_STATUSES,
    following,
)
from ..support.records import (
    AT,
    a_bar,
    a_cancellation,
    a_correction,
    a_quote,
    a_status,
    a_trade,
    push,
    some_bands,
)
from ..support.running import Stack, running
from ..support.waiting import until, until_told

LIVE = pb.UPDATE_KIND_LIVE
SNAPSHOT = pb.UPDATE_KIND_SNAPSHOT
FROM_BOOK = quotes_pb.GetQuoteRequest(
    symbol="AAPL",
    freshness=freshness_pb2.Freshness(allowed_tiers=[provenance_pb2.TIER_BOOK]),
)


def seconds(length: float) -> Duration:
    """A duration."""
    message = Duration()
    message.FromNanoseconds(round(length * 1e9))
    return message


def kinds(updates: list[pb.Update]) -> list[str]:
    """How updates came."""
    return [pb.UpdateKind.Name(one.kind).removeprefix("UPDATE_KIND_") for one in updates]


def live(updates: list[pb.Update]) -> list[pb.Update]:
    """Those updates that came live."""
    return [update for update in updates if update.kind == LIVE]


def subscribed(stack: Stack, feed: str = "iex") -> frozenset[tuple[str, str]]:
    """Channels and symbols that the gateway follows at the upstream."""
    return stack.sandbox.counters.stream.subscribed(feed)


# ------------------------------------------------------------------------------- what he gets


async def test_a_follower_gets_what_stands_and_then_what_comes() -> None:
    """First a symbol is PENDING, then comes what stands; once the upstream confirms it is LIVE, and updates follow."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        (snapshot, *_) = await follower.until_updates(1, "AAPL")
        await push(stack, a_quote(bid=228.9, t="2026-10-01T14:59:59.123456789Z"))
        await follower.until(lambda: live(follower.updates("AAPL")))
        (update,) = live(follower.updates("AAPL"))

    order = follower.order("AAPL")
    assert order[0] == "PENDING"
    assert {"LIVE", "snapshot"} == set(order[1:3])
    assert (snapshot.kind, snapshot.sequence, snapshot.conflated) == (SNAPSHOT, 0, 0)
    assert snapshot.quote.provenance.served_from == provenance_pb2.TIER_UPSTREAM
    assert snapshot.quote.provenance.upstream_request_id
    assert (update.sequence, update.conflated) == (1, 0)
    quote, origin = update.quote, update.quote.provenance
    assert (quote.symbol, quote.tape, list(quote.conditions)) == ("AAPL", "C", ["R"])
    assert (quote.bid.price.value, quote.bid.size, quote.bid.exchange) == ("228.9", 3, "V")
    assert (quote.ask.price.value, quote.ask.size, quote.ask.exchange) == ("228.92", 4, "Q")
    assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert (origin.feed, origin.served_from) == (provenance_pb2.FEED_IEX, provenance_pb2.TIER_BOOK)
    assert origin.event_time.ToJsonString() == "2026-10-01T14:59:59.123456789Z"
    assert not origin.upstream_request_id
    assert not origin.HasField("serve_time")


async def test_messages_are_numbered_and_say_whose_they_are() -> None:
    """Each message has the next number; one about a subscription names it, its epoch, and a token of its own."""
    async with running() as stack, following(stack, "AAPL", id="mine") as follower:
        await follower.until_state("AAPL", "LIVE")
        await follower.until_updates(1)
        await follower.query("nobody's")
        await follower.until(lambda: follower.of("refused"))
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())

    (feed,) = status.feeds
    numbers = [message.delivery_sequence for message in follower.messages]
    assert numbers == list(range(1, len(numbers) + 1))
    for message in follower.messages:
        assert message.serve_time.ToNanoseconds() > 0
        if message.WhichOneof("event") == "refused":
            assert (message.subscription_id, message.epoch) == ("nobody's", "")
            assert not message.resume_token
        else:
            assert (message.subscription_id, message.epoch) == ("mine", feed.epoch)
            assert message.resume_token


async def test_every_update_counts() -> None:
    """Delivered and conflated updates together are what the upstream sent, and the last of them is delivered."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, *(a_quote(bid=round(228 + n / 1000, 3), ask=229.5) for n in range(500)))
        await follower.until_number(500)

    updates = live(follower.updates("AAPL"))
    assert updates[-1].quote.bid.price.value == "228.499"
    assert sum(1 + update.conflated for update in updates) == 500
    expected = 0
    for update in updates:
        expected += update.conflated + 1
        assert update.sequence == expected


async def test_every_channel_arrives_field_for_field() -> None:
    """Trades, corrections, cancellations, bars, statuses and bands arrive in the order and with the fields as sent."""
    channels = [TRADES, BARS, DAILY_BARS, TRADING_STATUSES, PRICE_BANDS]
    async with running() as stack, following(stack, "AAPL", channels=channels) as follower:
        for channel in channels:
            await follower.until_state("AAPL", "LIVE", channel)
        await push(
            stack, a_trade(), a_correction(), a_cancellation(), a_bar(), a_bar(kind="u", v=1300),
            a_bar(kind="d", t="2026-10-01T04:00:00Z"), some_bands(), a_status(),
        )  # fmt: skip
        await follower.until(lambda: len(live(follower.updates("AAPL"))) == 8)

    by_kind: dict[str, Any] = {
        update.WhichOneof("value") or "": update for update in live(follower.updates("AAPL"))
    }
    of_trades = ("trade", "trade_correction", "trade_cancellation")
    assert [by_kind[kind].sequence for kind in of_trades] == [1, 2, 3]
    assert [by_kind[kind].sequence for kind in ("bar", "revised_bar")] == [1, 2]
    trade = by_kind["trade"].trade
    assert (trade.symbol, trade.price.value, trade.size, trade.exchange, trade.id, trade.tape) == (
        "AAPL", "228.91", 50, "V", 7, "C",
    )  # fmt: skip
    assert list(trade.conditions) == ["@", "I"]
    correction = by_kind["trade_correction"].trade_correction
    original, corrected = correction.original, correction.corrected
    assert (original.id, original.price.value, original.size, list(original.conditions)) == (
        7, "228.91", 50, ["@"],
    )  # fmt: skip
    assert (corrected.id, corrected.price.value, corrected.size, list(corrected.conditions)) == (
        8, "228.9", 40, ["@", "I"],
    )  # fmt: skip
    assert (correction.exchange, correction.tape) == ("V", "C")
    cancelled = by_kind["trade_cancellation"].trade_cancellation
    assert (cancelled.id, cancelled.price.value, cancelled.size) == (8, "228.9", 40)
    assert (cancelled.exchange, cancelled.action, cancelled.tape) == ("V", "C", "C")
    for kind, volume in (("bar", 1200), ("revised_bar", 1300), ("daily_bar", 1200)):
        bar = getattr(by_kind[kind], kind)
        prices = (bar.open.value, bar.high.value, bar.low.value, bar.close.value, bar.vwap.value)
        assert prices == ("228.9", "229.1", "228.8", "229", "228.95")
        assert (bar.volume, bar.trade_count) == (volume, 12)
    assert by_kind["bar"].bar.start_time.ToJsonString() == "2026-10-01T14:59:00Z"
    bands = by_kind["price_bands"].price_bands
    assert (bands.limit_up.value, bands.limit_down.value) == ("240.5", "217.25")
    assert (bands.indicator, bands.tape) == ("B", "C")
    halt = by_kind["trading_status"].trading_status
    assert (halt.status_code, halt.status_message) == ("H", "Trading Halt")
    assert (halt.reason_code, halt.reason_message, halt.tape) == ("T12", "News pending", "C")
    for update in by_kind.values():
        origin = getattr(update, update.WhichOneof("value")).provenance
        assert origin.served_from == provenance_pb2.TIER_BOOK
        assert origin.HasField("event_time")
    assert trade.provenance.event_time.ToJsonString() == AT


async def test_a_halted_symbol_is_quiet_until_it_resumes() -> None:
    """A halt makes a symbol QUIET on every channel, and its end makes it LIVE again."""
    channels = [QUOTES, TRADING_STATUSES]
    async with running() as stack, following(stack, "AAPL", "MSFT", channels=channels) as follower:
        for symbol in ("AAPL", "MSFT"):
            for channel in channels:
                await follower.until_state(symbol, "LIVE", channel)
        await push(stack, a_status(code="H"))
        await follower.until_state("AAPL", "QUIET")
        await follower.until_state("AAPL", "QUIET", TRADING_STATUSES)
        await push(stack, a_status(code="T", sm="Trading Resumption"))
        await follower.until_state("AAPL", "LIVE")
        await follower.until_state("AAPL", "LIVE", TRADING_STATUSES)

    assert "QUIET" not in follower.states("MSFT")


async def test_a_closed_market_is_quiet() -> None:
    """While the exchanges are closed a followed symbol is QUIET, for it need not move."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        stack.sandbox.clock.seek(stack.sandbox.clock.now() + 14 * 3600 * 10**9)
        await stack.refresh()
        await follower.until_state("AAPL", "QUIET")
        stack.sandbox.clock.seek(stack.sandbox.clock.now() + 10 * 3600 * 10**9)
        await stack.refresh()
        await follower.until_state("AAPL", "LIVE")


async def test_a_refused_quote_is_named_and_counted() -> None:
    """A crossed quote is not delivered: it takes a number, and INVALID names its rule, its reason and the count."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, a_quote())
        await push(stack, a_quote(bid=229, ask=228), a_quote(bid=229.5, ask=228))
        status = await follower.until_state("AAPL", "INVALID")
        refusals = {
            one.rule: one.count for told in follower.statuses("AAPL") for one in told.refusals
        }
        await push(stack, a_quote(bid=228.8))
        await follower.until_state("AAPL", "LIVE")
        await follower.until_number(4)

    assert status.sequence == 3
    assert status.unavailable.refusal.rule == "crossed"
    assert refusals == {"crossed": 2}
    assert [one.sequence for one in live(follower.updates("AAPL"))][-1] == 4
    assert {2, 3}.isdisjoint(one.sequence for one in live(follower.updates("AAPL")))


# ----------------------------------------------------------------------------- what he may say


async def test_symbols_come_and_go_while_the_stream_lasts() -> None:
    """Symbols can be added and taken away; each answer is a status, and updates come only of what is followed."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await follower.add("MSFT", "TSLA")
        for symbol in ("MSFT", "TSLA"):
            await follower.until_state(symbol, "LIVE")
        await follower.unsubscribe("AAPL")
        await follower.until_state("AAPL", "REMOVED")
        before = len(live(follower.updates("AAPL")))
        await push(stack, a_quote(), a_quote("MSFT", 504, 504.1))
        await follower.until(lambda: live(follower.updates("MSFT")))

    assert len(live(follower.updates("AAPL"))) == before == 0


async def test_a_symbol_that_is_added_again_gets_its_snapshot_again() -> None:
    """Adding what is followed already sends what stands and how, and the upstream is not asked twice."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, a_quote(bid=228.77))
        await follower.until(lambda: live(follower.updates("AAPL")))
        told = len(follower.states("AAPL"))
        await follower.add("AAPL")
        await follower.until(lambda: kinds(follower.updates("AAPL"))[-1] == "SNAPSHOT")
        await follower.until(lambda: len(follower.states("AAPL")) > told)
        again = follower.updates("AAPL")[-1]
        asked = stack.sandbox.counters.stream.subscribes["quotes", "AAPL"]

    assert (again.sequence, again.conflated) == (1, 0)
    assert again.quote.bid.price.value == "228.77"
    assert again.quote.provenance.served_from == provenance_pb2.TIER_BOOK
    assert asked == 1


async def test_removing_what_is_not_followed_says_removed() -> None:
    """An answer comes also for a symbol that was never followed, and nothing else ends."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await follower.unsubscribe("TSLA")
        await follower.until_state("TSLA", "REMOVED")
        await push(stack, a_quote())
        await follower.until(lambda: live(follower.updates("AAPL")))


async def test_a_subscription_that_ends_frees_its_name() -> None:
    """Without symbols the whole subscription ends, each symbol says REMOVED, and the id can begin anew."""
    async with running() as stack, following(stack, "AAPL", "MSFT", id="a") as follower:
        for symbol in ("AAPL", "MSFT"):
            await follower.until_state(symbol, "LIVE")
        await follower.unsubscribe(of="a")
        for symbol in ("AAPL", "MSFT"):
            await follower.until_state(symbol, "REMOVED")
        await follower.subscribe("TSLA", id="a")
        await follower.until_state("TSLA", "LIVE")

    assert follower.of("refused") == []


async def test_a_query_tells_how_everything_stands() -> None:
    """A query is answered with the status of every symbol and channel of the subscription, and of no other."""
    async with running() as stack, following(stack, "AAPL", "MSFT", id="a") as follower:
        await follower.subscribe("TSLA", id="b")
        for symbol in ("AAPL", "MSFT", "TSLA"):
            await follower.until_state(symbol, "LIVE")
        before = len(follower.of("statuses"))
        await follower.query("a")
        await follower.until(lambda: len(follower.of("statuses")) > before)
        answer = follower.messages[-1]

    assert answer.subscription_id == "a"
    assert {one.symbol for one in answer.statuses.statuses} == {"AAPL", "MSFT"}
    assert {one.state for one in answer.statuses.statuses} == {pb.SYMBOL_STATE_LIVE}


async def test_several_subscriptions_share_a_stream() -> None:
    """Subscriptions of one stream have their own feed, channels and intervals, and each message says whose it is."""
    async with running() as stack, following(stack, "AAPL", id="iex") as follower:
        await follower.subscribe(
            "AAPL", id="late", feed=provenance_pb2.FEED_DELAYED_SIP, channels=[TRADES]
        )
        await follower.subscribe("AAPL", id="slow", min_update_interval=seconds(3600))
        await follower.until_state("AAPL", "LIVE", QUOTES, "iex")
        await follower.until_state("AAPL", "LIVE", TRADES, "late")
        await follower.until_updates(1, subscription="slow")
        epochs = {message.subscription_id: message.epoch for message in follower.messages}
        await push(stack, a_quote())
        await push(stack, a_trade(t="2026-10-01T14:45:00Z"), feed="delayed_sip")
        await follower.until(lambda: live(follower.updates(subscription="iex")))
        await follower.until(lambda: live(follower.updates(subscription="late")))
        (trade,) = live(follower.updates(subscription="late"))

    assert epochs["iex"] == epochs["slow"] != epochs["late"]
    assert trade.trade.provenance.feed == provenance_pb2.FEED_DELAYED_SIP
    assert trade.trade.provenance.feed_delay.seconds == 900
    assert live(follower.updates(subscription="slow")) == []


# ---------------------------------------------------------------------------- when it is sent


async def test_heartbeats_come_when_nothing_else_does() -> None:
    """A quiet stream shows that it is alive, and when the upstream last said anything."""
    beat = {"heartbeat_interval": seconds(0.1)}
    async with running() as stack, following(stack, "AAPL", **beat) as idle:
        await idle.until_state("AAPL", "LIVE")
        await push(stack, a_quote())
        await idle.until(lambda: live(idle.updates("AAPL")))
        received = live(idle.updates("AAPL"))[0].quote.provenance.receive_time
        beats = len(idle.of("heartbeat"))
        await idle.until(lambda: len(idle.of("heartbeat")) >= beats + 3)

    last = idle.of("heartbeat")[-1]
    assert last.last_upstream_time.ToNanoseconds() >= received.ToNanoseconds()
    times = [
        message.serve_time.ToNanoseconds()
        for message in idle.messages
        if message.WhichOneof("event") == "heartbeat"
    ][-3:]
    assert all(later - sooner >= 90_000_000 for sooner, later in pairwise(times))


async def test_updates_come_no_closer_than_asked_for() -> None:
    """Within the interval what is newest waits, and after silence it arrives by itself at the interval's end."""
    interval = 0.3
    async with (
        running() as stack,
        following(stack, "AAPL", min_update_interval=seconds(interval)) as follower,
        following(stack, "AAPL") as quick,
    ):
        await follower.until_state("AAPL", "LIVE")
        await quick.until_state("AAPL", "LIVE")
        for number in range(10):
            await push(stack, a_quote(bid=228 + number / 100))
            await quick.until_number(number + 1)
        await follower.until_number(10)

    sent = [
        message.serve_time.ToNanoseconds()
        for message in follower.messages
        if message.WhichOneof("event") == "updates"
    ]
    gaps = [later - sooner for sooner, later in pairwise(sent)]
    assert all(gap >= (interval - 0.02) * 1e9 for gap in gaps)
    updates = live(follower.updates("AAPL"))
    assert sum(one.conflated + 1 for one in updates) == 10
    assert updates[-1].quote.bid.price.value == "228.09"


async def test_states_of_the_connection_do_not_wait() -> None:
    """However long the interval, a follower is told at once that a symbol is live, lost, live again, or added."""
    async with (
        running() as stack,
        following(stack, "AAPL", min_update_interval=seconds(3600)) as follower,
        following(stack, "MSFT") as other,
    ):
        await other.until_state("MSFT", "LIVE")
        await follower.until_updates(1, "AAPL")
        await follower.until_state("AAPL", "LIVE")
        await stack.sandbox.stream.strike(stream_faults.Drop(reset=True))
        await follower.until_state("AAPL", "GAP")
        await follower.until_state("AAPL", "LIVE")
        await other.until_state("MSFT", "LIVE")
        await follower.add("MSFT")
        await follower.until_state("MSFT", "LIVE")


async def test_who_does_not_acknowledge_gets_no_more_than_a_window() -> None:
    """Without acknowledgements a bounded number of messages is under way; with them the newest comes at once."""
    async with (
        running() as stack,
        following(stack, "AAPL") as follower,
        following(stack, "AAPL") as quick,
    ):
        await follower.until_state("AAPL", "LIVE")
        await quick.until_state("AAPL", "LIVE")
        follower.acks = False
        for number in range(100):
            await push(stack, a_quote(bid=228 + number / 1000))
            await quick.until_number(number + 1)
        assert len(follower.of("updates")) <= 66
        follower.acks = True
        await follower.ack(follower.messages[-1].delivery_sequence)
        await follower.until_number(100)

    assert sum(one.conflated + 1 for one in live(follower.updates("AAPL"))) == 100


async def test_who_says_his_last_word_is_let_go() -> None:
    """A follower who closes his side ends his stream well, and the gateway forgets him."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await follower.call.done_writing()
        assert await follower.until_ended() is None
        assert await follower.call.code() is grpc.StatusCode.OK
        await until(lambda: stack.gateway.counters.streams.streams == 0)


# ------------------------------------------------------------------------------- the upstream


async def test_a_crowd_costs_the_upstream_one_subscription() -> None:
    """Five hundred who follow one symbol are one subscription upstream, and one unsubscription when all have left."""
    async with running(stream={"linger": 0.0}) as stack:
        stream = stack.sandbox.counters.stream
        async with AsyncExitStack() as crowd:
            followers = [
                await crowd.enter_async_context(following(stack, "AAPL")) for _ in range(500)
            ]
            await asyncio.gather(
                *(one.until(lambda one=one: one.updates("AAPL"), within=30) for one in followers)  # type: ignore[misc]  # bound
            )
            await until(lambda: subscribed(stack) == {("quotes", "AAPL")})
            assert stack.gateway.counters.streams.streams == 500
            assert stack.asked("/quotes/latest") <= 2
        await until(lambda: subscribed(stack) == frozenset(), within=30)

    assert stream.subscribes["quotes", "AAPL"] == 1
    assert stream.unsubscribes["quotes", "AAPL"] == 1
    assert stream.connections == 1


async def test_a_symbol_lingers_for_who_comes_back() -> None:
    """A follower who comes back soon finds the subscription as he left it, and it is not asked for again."""
    async with running() as stack:
        for _ in range(3):
            async with following(stack, "AAPL") as follower:
                await follower.until_state("AAPL", "LIVE")
        stream = stack.sandbox.counters.stream
        assert stream.subscribes["quotes", "AAPL"] == 1
        assert stream.unsubscribes["quotes", "AAPL"] == 0


async def test_who_comes_later_gets_what_stands_from_the_book() -> None:
    """A symbol that is live already has a snapshot at once, with the number of the record that it repeats."""
    async with running() as stack, following(stack, "AAPL") as first:
        await first.until_state("AAPL", "LIVE")
        await push(stack, a_quote(), a_quote(bid=228.88))
        await first.until_number(2)
        asked = stack.asked("/quotes/latest")
        async with following(stack, "AAPL") as second:
            (snapshot, *_) = await second.until_updates(1, "AAPL")
            await push(stack, a_quote(bid=228.89))
            await second.until(lambda: live(second.updates("AAPL")))
        assert stack.asked("/quotes/latest") == asked

    assert second.states("AAPL")[0] == "LIVE"
    assert second.statuses("AAPL")[0].sequence == 2
    assert (snapshot.kind, snapshot.sequence, snapshot.conflated) == (SNAPSHOT, 2, 0)
    assert snapshot.quote.bid.price.value == "228.88"
    assert live(second.updates("AAPL"))[0].sequence == 3


async def test_an_amended_trade_is_nobodys_snapshot() -> None:
    """Who comes behind a correction or a cancellation is told the upstream's latest trade, not the amendment."""
    async with running() as stack, following(stack, "AAPL", channels=[TRADES]) as first:
        await first.until_state("AAPL", "LIVE", TRADES)
        for number, amendment in enumerate((a_correction(), a_cancellation()), start=1):
            await push(stack, a_trade(), amendment)
            await first.until(lambda: len(live(first.updates("AAPL"))) == 2 * number)  # noqa: B023
            async with following(stack, "AAPL", channels=[TRADES]) as late:
                (snapshot, *_) = await late.until_updates(1, "AAPL")
            assert (snapshot.kind, snapshot.WhichOneof("value")) == (SNAPSHOT, "trade")
            assert snapshot.trade.provenance.served_from != provenance_pb2.TIER_BOOK
            assert snapshot.sequence == 2 * number


async def test_what_a_snapshot_has_said_is_not_said_again() -> None:
    """Where the upstream knows nothing newer than the snapshot, its confirmation brings no second copy of it."""
    beat = {"heartbeat_interval": seconds(0.1)}
    async with running() as stack, following(stack, "AAPL", **beat) as follower:
        await follower.until_state("AAPL", "LIVE")
        await follower.until_updates(1, "AAPL")
        # The gateway asks a moment after the confirmation, and from then on answers from its book.
        await until_told(
            lambda: stack.quotes.GetQuote(FROM_BOOK), lambda told: told.result.HasField("quote")
        )
        beats = len(follower.of("heartbeat"))
        await follower.until(lambda: len(follower.of("heartbeat")) > beats)

    assert kinds(follower.updates("AAPL")) == ["SNAPSHOT"]


async def test_a_late_snapshot_is_not_said_again_either() -> None:
    """Where the snapshot comes behind the confirmation, what the upstream then knows is no news either."""
    beat = {"heartbeat_interval": seconds(0.1)}
    async with running() as stack:
        stack.sandbox.faults.add(faults.Latency(path="/v2/stocks/quotes", seconds=0.1, times=1))
        async with following(stack, "AAPL", **beat) as follower:
            await follower.until_updates(1, "AAPL")
            await until_told(
                lambda: stack.quotes.GetQuote(FROM_BOOK),
                lambda told: told.result.HasField("quote"),
            )
            beats = len(follower.of("heartbeat"))
            await follower.until(lambda: len(follower.of("heartbeat")) > beats)

    assert follower.order("AAPL") == ["PENDING", "LIVE", "snapshot"]


async def test_what_a_snapshot_has_not_said_is_said() -> None:
    """Where the upstream has moved between the snapshot and the confirmation, what stands by then is sent."""
    record = (
        '{"t":"2026-10-01T14:59:5%d.5Z","bx":"V","bp":228.9,"bs":3,"ax":"Q","ap":228.92,"as":2}'
    )
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "AAPL", record % 1)
        stack.sandbox.stream.faults.add(stream_faults.SlowAuth(seconds=60, times=1))
        async with following(stack, "AAPL") as follower:
            await follower.until_updates(1, "AAPL")
            stack.sandbox.pins.put("quotes", "AAPL", record % 2)
            stack.sandbox.stream.faults.clear()
            _, resync = await follower.until_updates(2, "AAPL")

    assert resync.kind == pb.UPDATE_KIND_RESYNC
    assert resync.quote.provenance.event_time.ToJsonString() == "2026-10-01T14:59:52.500Z"


async def test_who_resumes_gets_what_he_missed() -> None:
    """With the token of his last message a follower gets every trade since, in order, and none twice."""
    async with running() as stack, following(stack, "AAPL", channels=[TRADES]) as steady:
        async with following(stack, "AAPL", channels=[TRADES]) as first:
            await first.until_state("AAPL", "LIVE", TRADES)
            await steady.until_state("AAPL", "LIVE", TRADES)
            await push(stack, a_trade(i=1))
            await first.until(lambda: live(first.updates("AAPL")))
            token = first.messages[-1].resume_token
        await push(stack, *(a_trade(i=number) for number in range(2, 6)))
        await steady.until(lambda: len(live(steady.updates("AAPL"))) == 5)
        async with following(stack, "AAPL", channels=[TRADES], resume_token=token) as second:
            await second.until(lambda: kinds(second.updates("AAPL")).count("REPLAY") == 4)
            await push(stack, a_trade(i=6))
            await second.until(lambda: live(second.updates("AAPL")))

    replayed = [one for one in second.updates("AAPL") if one.kind == pb.UPDATE_KIND_REPLAY]
    assert [(one.sequence, one.trade.id) for one in replayed] == [(2, 2), (3, 3), (4, 4), (5, 5)]
    assert [one.trade.id for one in live(second.updates("AAPL"))] == [6]
    assert not [gap for status in second.statuses() for gap in status.gaps]
