"""Subscribe and Watch on the option feeds: what a follower of contracts gets, and what cannot be followed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import gap_pb2, provenance_pb2
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate.v1 import stream_service_pb2 as pb
from tickgate_sandbox import Plan, faults, stream_faults

from ..support.following import QUOTES, TRADES, Follower, following, watching
from ..support.option_market import (
    CALL,
    EXPIRED,
    EXPIRY_DAY,
    FRESH,
    INDICATIVE,
    LIST_PATH,
    OPRA,
    PARTS,
    PUT,
    QUOTES_PATH,
    THURSDAY,
    UNKNOWN,
    WEEKEND,
    ask_one,
    contracts_asked,
    lists_asked,
    option_of,
    quotes_asked,
    reason_of,
    record,
    symbol_of,
    told,
    trading,
)
from ..support.records import AT, Record, push
from ..support.running import Stack
from ..support.waiting import until, until_told

BOTH: Final = (QUOTES, TRADES)
LIVE, SNAPSHOT = pb.UPDATE_KIND_LIVE, pb.UPDATE_KIND_SNAPSHOT
PLUS: dict[str, Any] = {"plan": "plus", "option_feed": "opra"}
UNTRADED: Final = symbol_of(135, expiry="261002")
"""Never traded."""

MANY: Final = [
    symbol_of(strike, right, expiry)
    for expiry in ("261120", "261218", "270115")
    for strike in range(130, 331, 5)
    for right in "CP"
]
"""More contracts than the free plan lets follow."""


def a_quote(symbol: str = CALL, bid: float = 9.4, ask: float = 9.7, **other: Any) -> Record:
    """A quote as the option stream sends it: its condition is one text, and it has no tape."""
    return {"T": "q", "S": symbol, "bx": "X", "bp": bid, "bs": 12, "ax": "Z", "ap": ask, "as": 7,
            "c": "A", "t": AT} | other  # fmt: skip


def a_trade(symbol: str = CALL, price: float = 9.55, **other: Any) -> Record:
    """A trade as the option stream sends it: without an id."""
    return {"T": "t", "S": symbol, "p": price, "s": 6, "x": "W", "c": "I", "t": AT} | other


async def send(stack: Stack, *records: Record, feed: str = "indicative") -> None:
    """Send *records* on an option feed to the gateway, which has subscribed to them."""
    await push(stack, *records, feed=feed)


def live(updates: list[pb.Update]) -> list[pb.Update]:
    """Those updates that came live."""
    return [update for update in updates if update.kind == LIVE]


async def until_live(follower: Follower, symbol: str = CALL) -> list[pb.Update]:
    """Read on until something of *symbol* has come live, and return all that has."""
    await follower.until(lambda: live(follower.updates(symbol)))
    return live(follower.updates(symbol))


def subscribed(stack: Stack, feed: str = "indicative") -> frozenset[tuple[str, str]]:
    """Channels and contracts that the gateway follows at the upstream."""
    return stack.sandbox.counters.stream.subscribed(feed)


async def feed_status(
    stack: Stack, feed: provenance_pb2.Feed.ValueType = INDICATIVE
) -> status_pb.FeedStatus:
    """What the gateway says of a feed."""
    status = await stack.status.GetStatus(status_pb.GetStatusRequest())
    (found,) = [one for one in status.feeds if one.feed == feed]
    return found


async def rejection(follower: Follower, symbol: str, **terms: Any) -> tuple[str, str]:
    """Wait until *symbol* is REJECTED, and return reason and message."""
    status = await follower.until_state(symbol, "REJECTED", **terms)
    return reason_of(status.unavailable), status.unavailable.message


# ------------------------------------------------------------------------------- what he gets


@pytest.mark.parametrize("feed", [INDICATIVE, OPRA], ids=["indicative", "opra"])
async def test_quotes_and_trades_arrive_as_they_were_sent(
    feed: provenance_pb2.Feed.ValueType,
) -> None:
    """First what stands, then LIVE, then each quote and trade field by field: conditions one text, times exact."""
    name = provenance_pb2.Feed.Name(feed).removeprefix("FEED_").lower()
    market = replace(THURSDAY, plan=Plan.PLUS)
    stamp = "2026-10-01T14:59:59.123456789Z"
    async with trading(market, alpaca=PLUS) as stack:
        stack.sandbox.pins.put("options", CALL, record(**PARTS))
        async with following(stack, CALL, channels=BOTH, feed=feed) as follower:
            for channel in BOTH:
                await follower.until_state(CALL, "LIVE", channel)
            first = await follower.until_updates(2, CALL)
            await send(stack, a_quote(bid=9.3, t=stamp), a_trade(t=stamp, c="f"), feed=name)
            await follower.until(lambda: len(live(follower.updates(CALL))) == 2)
        quote, trade = sorted(live(follower.updates(CALL)), key=lambda one: one.HasField("trade"))

    # Where its question is slow, what stands comes with the confirmation.
    assert {one.kind for one in first} <= {SNAPSHOT, pb.UPDATE_KIND_RESYNC}
    snapshots = {one.WhichOneof("value"): one for one in first}
    assert snapshots["quote"].quote.ask.price.value == "9.6500"
    assert snapshots["trade"].trade.price.value == "9.55"
    for snapshot in (snapshots["quote"].quote, snapshots["trade"].trade):
        assert snapshot.provenance.served_from == provenance_pb2.TIER_UPSTREAM
        assert snapshot.provenance.upstream_request_id
    assert (quote.sequence, trade.sequence) == (1, 1)
    bid, ask = quote.quote.bid, quote.quote.ask
    assert (bid.price.value, bid.size, bid.exchange) == ("9.3", 12, "X")
    assert (ask.price.value, ask.size, ask.exchange) == ("9.7", 7, "Z")
    assert (list(quote.quote.conditions), quote.quote.HasField("tape")) == (["A"], False)
    assert (trade.trade.price.value, trade.trade.size, trade.trade.exchange) == ("9.55", 6, "W")
    assert (list(trade.trade.conditions), trade.trade.HasField("id")) == (["f"], False)
    for origin in (quote.quote.provenance, trade.trade.provenance):
        assert origin.source == provenance_pb2.DATA_SOURCE_SANDBOX
        assert (origin.feed, origin.served_from) == (feed, provenance_pb2.TIER_BOOK)
        assert origin.event_time.ToJsonString() == stamp
        assert origin.HasField("receive_time")


async def test_a_watch_follows_contracts_too() -> None:
    """Watch follows contracts on an option feed: what stands, LIVE, and what comes."""
    async with trading(THURSDAY) as stack, watching(stack, CALL, feed=INDICATIVE) as follower:
        await follower.until_state(CALL, "LIVE")
        await follower.until_updates(1, CALL)
        await send(stack, a_quote(bid=9.25))
        await until_live(follower)

    assert live(follower.updates(CALL))[0].quote.bid.price.value == "9.25"


async def test_a_side_without_a_bid_is_unset() -> None:
    """A live quote of a worthless contract has an ask alone."""
    async with trading(THURSDAY) as stack, following(stack, CALL, feed=INDICATIVE) as follower:
        await follower.until_state(CALL, "LIVE")
        await send(stack, a_quote(bid=0, ask=0.05, bs=0, bx=" "))
        await until_live(follower)
        (update,) = live(follower.updates(CALL))

    assert not update.quote.HasField("bid")
    assert update.quote.ask.price.value == "0.05"


async def test_what_was_never_traded_has_no_snapshot_and_says_so() -> None:
    """A contract without a trade is followed all the same: its status says that none was sent, then trades come."""
    trades = {"channels": [TRADES], "feed": INDICATIVE}
    async with trading(THURSDAY) as stack, following(stack, UNTRADED, **trades) as follower:
        await follower.until_state(UNTRADED, "LIVE", TRADES)
        await follower.until(
            lambda: any(one.HasField("unavailable") for one in follower.statuses(UNTRADED, TRADES))
        )
        await send(stack, a_trade(UNTRADED))
        await follower.until(lambda: follower.updates(UNTRADED))

    said = [
        one.unavailable
        for one in follower.statuses(UNTRADED, TRADES)
        if one.HasField("unavailable")
    ]
    assert reason_of(said[0]) == "NO_DATA"
    assert [one.kind for one in follower.updates(UNTRADED)] == [LIVE]


async def test_every_update_counts() -> None:
    """Delivered and conflated quotes together are what was sent, no trade is left out, and refused ones are named."""
    async with (
        trading(THURSDAY) as stack,
        following(stack, CALL, channels=BOTH, feed=INDICATIVE) as follower,
    ):
        for channel in BOTH:
            await follower.until_state(CALL, "LIVE", channel)
        await send(stack, *(a_quote(bid=round(5 + n / 1000, 3)) for n in range(300)))
        await send(stack, *(a_trade(price=round(5 + n / 1000, 3)) for n in range(100)))
        await send(stack, a_quote(bid=9, ask=8))
        await follower.until_state(CALL, "INVALID")
        await send(stack, a_quote(bid=5.5))
        await follower.until_state(CALL, "LIVE")
        await follower.until(
            lambda: any(
                one.sequence == 302 and one.HasField("quote") for one in follower.updates(CALL)
            )
        )
        await follower.until(
            lambda: (
                len([one for one in live(follower.updates(CALL)) if one.HasField("trade")]) == 100
            )
        )

    quotes = [one for one in live(follower.updates(CALL)) if one.HasField("quote")]
    trades = [one for one in live(follower.updates(CALL)) if one.HasField("trade")]
    assert sum(1 + one.conflated for one in quotes) == 301
    assert [one.sequence for one in trades] == list(range(1, 101))
    assert [one.trade.price.value for one in trades[:3]] == ["5", "5.001", "5.002"]
    refusals = {
        refusal.rule: refusal.count
        for status in follower.statuses(CALL)
        for refusal in status.refusals
    }
    assert refusals == {"crossed": 1}


async def test_records_that_are_none_cost_no_connection() -> None:
    """A quote of a stock, a price that is no number and a list for a quote are refused alone; what follows arrives."""
    odd = [
        a_quote("AAPL"),
        a_quote(bp=float("nan")),
        a_quote(bs="many"),
        a_trade(p=float("inf")),
    ]
    async with (
        trading(THURSDAY) as stack,
        following(stack, CALL, channels=BOTH, feed=INDICATIVE) as follower,
    ):
        for channel in BOTH:
            await follower.until_state(CALL, "LIVE", channel)
        frame = msgspec.msgpack.encode([one | {"t": AT} for one in odd])
        await stack.sandbox.stream.send_frame(frame, feed="indicative")
        await follower.until_state(CALL, "INVALID")
        await follower.until_state(CALL, "INVALID", TRADES)
        await send(stack, a_quote(bid=9.3), a_trade())
        for channel in BOTH:
            await follower.until_state(CALL, "LIVE", channel)
        status = await feed_status(stack)
        refused = (await stack.status.GetStatus(status_pb.GetStatusRequest())).refusals

    assert status.connections == 1
    assert {one.rule: one.count for one in refused} == {
        "malformed_symbol": 1, "wrong_type": 3,
    }  # fmt: skip
    numbers = [(one.WhichOneof("value"), one.sequence) for one in live(follower.updates(CALL))]
    assert sorted(numbers) == [("quote", 3), ("trade", 2)]


async def test_a_live_quote_is_no_option_quote() -> None:
    """What the stream brings is a part of what is known of a contract: GetOptionQuote is not answered from it."""
    async with trading(THURSDAY) as stack, following(stack, CALL, feed=INDICATIVE) as follower:
        await follower.until_state(CALL, "LIVE")
        await send(stack, a_quote(bid=1.23))
        await until_live(follower)
        option = await option_of(stack, CALL, freshness=FRESH)
        held = await ask_one(stack, CALL)

    assert option.quote.bid.price.value != "1.23"
    assert option.greeks.HasField("delta")
    assert told(held) == "MEMORY"


async def test_outside_the_session_contracts_are_quiet() -> None:
    """While options do not trade a followed contract is QUIET, for it need not move."""
    async with trading(WEEKEND) as stack, following(stack, CALL, feed=INDICATIVE) as follower:
        await follower.until_state(CALL, "QUIET")
        (snapshot,) = await follower.until_updates(1, CALL)

    assert snapshot.quote.provenance.event_time.ToJsonString().startswith("2026-10-02T19:59")


# ------------------------------------------------------------------------------- the upstream


async def test_a_crowd_costs_the_upstream_one_subscription() -> None:
    """A hundred who follow a contract's quotes and trades are one subscription each, and none when all have left."""
    async with trading(THURSDAY, stream={"linger": 0.0}) as stack:
        stream = stack.sandbox.counters.stream
        async with AsyncExitStack() as crowd:
            followers = [
                await crowd.enter_async_context(
                    following(stack, CALL, channels=BOTH, feed=INDICATIVE)
                )
                for _ in range(100)
            ]
            await asyncio.gather(*(one.until_updates(2, CALL) for one in followers))
            await send(stack, a_quote(bid=9.11))
            await asyncio.gather(*map(until_live, followers))
            asked = quotes_asked(stack)
        await until(lambda: subscribed(stack) == frozenset(), within=30)

    assert stream.subscribes["quotes", CALL] == stream.subscribes["trades", CALL] == 1
    assert stream.unsubscribes["quotes", CALL] == stream.unsubscribes["trades", CALL] == 1
    assert stream.connections == 1
    assert asked <= 4
    assert {live(one.updates(CALL))[0].quote.bid.price.value for one in followers} == {"9.11"}


async def test_whether_a_contract_exists_is_looked_up_once() -> None:
    """However many follow one contract, one after the other, the upstream is asked once whether it is listed."""
    async with trading(THURSDAY) as stack, AsyncExitStack() as crowd:
        for _ in range(10):
            follower = await crowd.enter_async_context(following(stack, CALL, feed=INDICATIVE))
            await follower.until_state(CALL, "LIVE")
        looked_up = contracts_asked(stack) + lists_asked(stack)

    assert looked_up <= 1


async def test_an_unknown_contract_is_looked_up_once() -> None:
    """Whoever tries again to follow a contract that does not exist costs the upstream nothing."""
    async with trading(THURSDAY) as stack, following(stack, CALL, feed=INDICATIVE) as follower:
        await follower.until_state(CALL, "LIVE")
        before = contracts_asked(stack) + lists_asked(stack)
        for count in range(1, 6):
            await follower.add(UNKNOWN)
            await follower.until(
                lambda: follower.states(UNKNOWN).count("REJECTED") == count  # noqa: B023 - it waits
            )
        looked_up = contracts_asked(stack) + lists_asked(stack) - before

    assert looked_up <= 1


async def test_who_comes_later_gets_what_stands_from_the_book() -> None:
    """A contract that is live already has a snapshot at once, with the number of the record that it repeats."""
    async with (
        trading(THURSDAY) as stack,
        following(stack, CALL, channels=BOTH, feed=INDICATIVE) as first,
    ):
        for channel in BOTH:
            await first.until_state(CALL, "LIVE", channel)
        await send(stack, a_quote(), a_quote(bid=9.22), a_trade())
        await first.until(lambda: any(one.HasField("trade") for one in live(first.updates(CALL))))
        await first.until_number(2, CALL)
        asked = quotes_asked(stack)
        async with following(stack, CALL, channels=BOTH, feed=INDICATIVE) as second:
            found = await second.until_updates(2, CALL)
        asked_again = quotes_asked(stack)

    by_kind = {one.WhichOneof("value"): one for one in found}
    assert {one.kind for one in found} == {SNAPSHOT}
    assert (by_kind["quote"].sequence, by_kind["quote"].quote.bid.price.value) == (2, "9.22")
    assert (by_kind["trade"].sequence, by_kind["trade"].trade.price.value) == (1, "9.55")
    assert asked_again == asked


async def test_stocks_and_contracts_share_a_stream() -> None:
    """One follower may follow a stock and its contracts at once: each subscription has its own feed and epoch."""
    async with trading(THURSDAY) as stack, following(stack, "AAPL", id="stock") as follower:
        await follower.subscribe(CALL, PUT, id="options", feed=INDICATIVE, channels=BOTH)
        await follower.until_state("AAPL", "LIVE", subscription="stock")
        for channel in BOTH:
            await follower.until_state(PUT, "LIVE", channel, "options")
        await push(stack, {"T": "q", "S": "AAPL", "bp": 228.9, "ap": 229, "t": AT})
        await send(stack, a_quote(PUT), a_trade(PUT))
        await follower.until(lambda: live(follower.updates(subscription="stock")))
        await follower.until(lambda: len(live(follower.updates(PUT, "options"))) == 2)
        feeds = {
            one.feed: one for one in (await stack.status.GetStatus(status_pb.GetStatusRequest())).feeds
        }  # fmt: skip

    epochs = {
        message.subscription_id: message.epoch for message in follower.messages if message.epoch
    }
    assert epochs["stock"] != epochs["options"]
    assert {one.quote.provenance.feed for one in live(follower.updates("AAPL"))} == {
        provenance_pb2.FEED_IEX
    }
    assert set(feeds) == {provenance_pb2.FEED_IEX, INDICATIVE}
    options = feeds[INDICATIVE]
    assert options.epoch == epochs["options"]
    assert (options.symbols, options.symbol_limit, options.records) == (2, 200, 2)
    assert options.state == status_pb.FEED_STATE_LIVE


# ------------------------------------------------------------------------ what cannot be followed


async def test_more_contracts_than_the_plan_allows_are_rejected() -> None:
    """Of 201 contracts' quotes on the free plan one is SUBSCRIPTION_LIMIT; trades do not count, and the others live."""
    asked_for, late = MANY[:200], MANY[200]
    async with (
        trading(THURSDAY) as stack,
        following(stack, *asked_for, feed=INDICATIVE, id="many") as follower,
    ):
        await follower.until(
            lambda: all(follower.states(one)[-1:] == ["LIVE"] for one in asked_for), within=20
        )
        await follower.add(late, to="many")
        reason, message = await rejection(follower, late)
        await follower.subscribe(*MANY[200:], channels=[TRADES], feed=INDICATIVE, id="trades")
        await follower.until_state(MANY[-1], "LIVE", TRADES)
        await follower.until_state(late, "LIVE", TRADES)
        await send(stack, a_quote(asked_for[0]), a_quote(asked_for[-1]), a_trade(late))
        for symbol in (asked_for[0], asked_for[-1], late):
            await until_live(follower, symbol)
        status = await feed_status(stack)
        await follower.unsubscribe(asked_for[0], of="many")
        await follower.until_state(asked_for[0], "REMOVED")
        await follower.add(late, to="many")
        await follower.until_state(late, "LIVE")
        followed = subscribed(stack)
        refusals = dict(stack.sandbox.counters.stream.refusals)

    assert reason == "SUBSCRIPTION_LIMIT"
    assert "200 symbols on quotes of indicative" in message
    assert (status.symbols, status.symbol_limit) == (200, 200)
    assert {one for channel, one in followed if channel == "quotes"} == {*asked_for[1:], late}
    assert refusals == {}


async def test_the_greater_plan_allows_a_thousand() -> None:
    """On the paid plan a thousand contracts' quotes may be followed, and a setting may say otherwise."""
    market = replace(THURSDAY, plan=Plan.PLUS)
    limits = []
    for stream in ({}, {"option_limit": 2}):
        async with trading(market, alpaca=PLUS, stream=stream) as stack:
            async with following(stack, *MANY[:3], feed=OPRA) as follower:
                await follower.until(lambda: len({one.symbol for one in follower.statuses()}) == 3)
                await follower.until_state(MANY[0], "LIVE")
                states = [follower.states(one)[-1] for one in MANY[:3]]
            limits.append(((await feed_status(stack, OPRA)).symbol_limit, states.count("REJECTED")))

    assert limits == [(1000, 0), (2, 1)]


async def test_single_contracts_that_cannot_be_followed_say_why() -> None:
    """Added one by one, a contract that is over, one that is unlisted and a stock are REJECTED, and the rest lives."""
    async with trading(THURSDAY) as stack, following(stack, CALL, feed=INDICATIVE) as follower:
        await follower.until_state(CALL, "LIVE")
        found = {}
        for symbol in (EXPIRED, UNKNOWN, "AAPL", "*", "aapl261120C00230000"):
            await follower.add(symbol)
            found[symbol] = (await rejection(follower, symbol))[0]
        await send(stack, a_quote())
        await until_live(follower)

    assert list(found.values()) == [
        "CONTRACT_EXPIRED", "CONTRACT_UNKNOWN", "INVALID_REQUEST", "INVALID_REQUEST", "INVALID_REQUEST",
    ]  # fmt: skip
    assert "2025-01-17" in follower.statuses(EXPIRED)[-1].unavailable.message


async def test_a_contract_that_expires_is_not_half_rejected() -> None:
    """Asked for again when it has expired, a followed contract is followed on, or REJECTED and no longer followed."""
    last_day = symbol_of(230, expiry="261002")
    market = replace(EXPIRY_DAY, at="2026-10-02T19:59:00Z")
    async with trading(market) as stack, following(stack, last_day, feed=INDICATIVE) as follower:
        await follower.until_state(last_day, "LIVE")
        await send(stack, a_quote(last_day))
        await until_live(follower, last_day)
        stack.sandbox.clock.seek(stack.sandbox.clock.now() + 120 * 10**9)
        await stack.refresh()
        before = len(follower.messages)
        await follower.add(last_day)
        await follower.until(lambda: len(follower.messages) > before)
        rejected = "REJECTED" in follower.states(last_day)
        before = len(follower.of("statuses"))
        await follower.query()
        await follower.until(lambda: len(follower.of("statuses")) > before)
        followed = {one.symbol for one in follower.of("statuses")[-1].statuses}

    assert followed == (set() if rejected else {last_day})


async def test_without_the_list_of_contracts_nothing_is_rejected() -> None:
    """Where nobody can say whether a contract exists it is followed, and has no snapshot."""
    async with trading(THURSDAY) as stack:
        stack.sandbox.faults.add(faults.Status(status=422, path=LIST_PATH))
        async with following(stack, UNKNOWN, feed=INDICATIVE) as follower:
            await follower.until_state(UNKNOWN, "LIVE")
            await follower.until(
                lambda: any(one.HasField("unavailable") for one in follower.statuses())
            )

    said = [one.unavailable for one in follower.statuses() if one.HasField("unavailable")]
    assert {reason_of(one) for one in said} == {"NO_DATA"}


async def test_a_feed_beyond_the_plan_rejects_its_contracts() -> None:
    """OPRA without an agreement (409) rejects what is followed on it; the open feed of the stream lives."""
    async with trading(THURSDAY) as stack, following(stack, CALL, id="a", feed=OPRA) as follower:
        status = await follower.until_state(CALL, "REJECTED", subscription="a")
        await follower.subscribe(CALL, id="b", feed=INDICATIVE)
        await follower.until_state(CALL, "LIVE", subscription="b")
        await send(stack, a_quote(bid=9.3))
        await follower.until(lambda: live(follower.updates(CALL, "b")))
        states = [(await feed_status(stack, feed)).state for feed in (OPRA, INDICATIVE)]

    assert reason_of(status.unavailable) == "NOT_ENTITLED"
    assert status.unavailable.retry_delay.seconds > 0
    assert states == [status_pb.FEED_STATE_NOT_ENTITLED, status_pb.FEED_STATE_LIVE]


REFUSED: dict[str, tuple[stream_faults.ArmedFault, str]] = {
    "405": (stream_faults.Refuse(code=405, on="subscribe"), "SUBSCRIPTION_LIMIT"),
    "410": (stream_faults.Refuse(code=410, on="subscribe"), "NOT_SUPPORTED"),
    "412": (stream_faults.Refuse(code=412, on="subscribe"), "NOT_SUPPORTED"),
    "413": (stream_faults.Refuse(code=413, on="subscribe"), "NOT_SUPPORTED"),
    "409": (stream_faults.Refuse(code=409, on="subscribe"), "NOT_ENTITLED"),
    "402": (stream_faults.Refuse(code=402), "UPSTREAM_UNAUTHENTICATED"),
}


@pytest.mark.parametrize(("fault", "reason"), REFUSED.values(), ids=REFUSED)
async def test_what_the_upstream_refuses_is_told(
    fault: stream_faults.ArmedFault, reason: str
) -> None:
    """Whatever the upstream answers to a subscription, each contract is REJECTED with a reason: nothing is silent."""
    async with trading(
        THURSDAY, before=lambda sandbox: sandbox.stream.faults.add(fault)
    ) as stack, following(stack, CALL, PUT, feed=INDICATIVE) as follower:  # fmt: skip
        for symbol in (CALL, PUT):
            found, message = await rejection(follower, symbol)
            assert found == reason
            assert message


async def test_a_wrong_encoding_is_told_in_the_status() -> None:
    """An upstream that refuses the encoding (412) at the door leaves contracts PENDING, says so, and is tried again."""
    fault = stream_faults.Refuse(code=412, on="auth")
    async with trading(THURSDAY) as stack:
        stack.sandbox.stream.faults.add(fault)
        async with following(stack, CALL, feed=INDICATIVE) as follower:
            await follower.until_state(CALL, "PENDING")
            status = await until_told(
                lambda: feed_status(stack),
                lambda said: said.state == status_pb.FEED_STATE_BACKING_OFF,
            )
            stack.sandbox.stream.faults.clear()
            await follower.until_state(CALL, "LIVE")

    assert "412 option messages are only available in MsgPack format" in status.message


# ------------------------------------------------------------------ what is lost, and coming back


async def test_a_lost_connection_is_a_gap_and_then_what_stands() -> None:
    """When the upstream is lost each contract says GAP, then LIVE with the gap's end, then where its quote stands."""
    pinned = record(
        latestQuote='{"t":"2026-10-01T15:00:00Z","bx":"X","bp":7.77,"bs":3,"ax":"Z","ap":7.9,"as":2}'
    )
    async with (
        trading(THURSDAY) as stack,
        following(stack, CALL, PUT, channels=BOTH, feed=INDICATIVE) as follower,
        following(stack, "AAPL") as spared,
    ):
        await spared.until_state("AAPL", "LIVE")
        for symbol in (CALL, PUT):
            for channel in BOTH:
                await follower.until_state(symbol, "LIVE", channel)
        await send(stack, a_quote(), a_quote(PUT))
        await follower.until_number(1, CALL)
        stack.sandbox.pins.put("options", CALL, pinned)
        stack.sandbox.stream.faults.add(stream_faults.Handshake(status=503, feed="indicative"))
        await stack.sandbox.stream.strike(stream_faults.Drop(feed="indicative", reset=True))
        for symbol in (CALL, PUT):
            for channel in BOTH:
                await follower.until_state(symbol, "GAP", channel)
        stack.sandbox.stream.faults.clear()
        for symbol in (CALL, PUT):
            for channel in BOTH:
                await follower.until_state(symbol, "LIVE", channel)
        resyncs = await until_resynced(follower, CALL, "7.77")
        await send(stack, a_quote(bid=7.8), a_trade())
        await follower.until(lambda: len(live(follower.updates(CALL))) == 3)
        gaps = (
            await stack.status.ListGaps(status_pb.ListGapsRequest(feed=INDICATIVE))
        ).gaps  # fmt: skip

    (gap,) = gaps
    assert (gap.cause, gap.HasField("end_time")) == (gap_pb2.GAP_CAUSE_DISCONNECTED, True)
    assert {part.channel: list(part.symbols) for part in gap.parts} == {
        QUOTES: [CALL, PUT], TRADES: [CALL, PUT],
    }  # fmt: skip
    for symbol in (CALL, PUT):
        for channel in BOTH:
            told_gaps = [
                one for status in follower.statuses(symbol, channel) for one in status.gaps
            ]
            assert {one.id for one in told_gaps} == {gap.id}
            assert told_gaps[-1].HasField("end_time")
    assert resyncs[-1].sequence == 1
    assert "GAP" not in spared.states("AAPL")


async def until_resynced(follower: Follower, symbol: str, bid: str) -> list[pb.Update]:
    """Wait until *follower* was told that the quote of *symbol* stands at *bid*, and return what told it."""

    def found() -> list[pb.Update]:
        return [
            one
            for one in follower.updates(symbol)
            if one.kind == pb.UPDATE_KIND_RESYNC and one.quote.bid.price.value == bid
        ]

    await follower.until(found)
    return found()


async def test_who_resumes_gets_what_he_missed() -> None:
    """With the token of his last message a follower gets every trade of a contract since, in order, and none twice."""
    trades: dict[str, Any] = {"channels": [TRADES], "feed": INDICATIVE}
    async with trading(THURSDAY) as stack, following(stack, CALL, **trades) as steady:
        async with following(stack, CALL, **trades) as first:
            await first.until_state(CALL, "LIVE", TRADES)
            await steady.until_state(CALL, "LIVE", TRADES)
            await send(stack, a_trade(s=1))
            await first.until(lambda: live(first.updates(CALL)))
            token = first.messages[-1].resume_token
        await send(stack, *(a_trade(s=size) for size in range(2, 6)))
        await steady.until(lambda: len(live(steady.updates(CALL))) == 5)
        async with following(stack, CALL, resume_token=token, **trades) as second:
            await second.until(
                lambda: [one.kind for one in second.updates(CALL)].count(pb.UPDATE_KIND_REPLAY) == 4
            )
            await send(stack, a_trade(s=6))
            await second.until(lambda: live(second.updates(CALL)))
        async with following(stack, PUT, resume_token=token, **trades) as stranger:
            status = await stranger.until_state(PUT, "LIVE", TRADES)

    replayed = [one for one in second.updates(CALL) if one.kind == pb.UPDATE_KIND_REPLAY]
    assert [(one.sequence, one.trade.size) for one in replayed] == [(2, 2), (3, 3), (4, 4), (5, 5)]
    assert [one.trade.size for one in live(second.updates(CALL))] == [6]
    assert not [gap for one in second.statuses() for gap in one.gaps]
    causes = [gap.cause for one in stranger.statuses(PUT, TRADES) for gap in one.gaps]
    assert status.symbol == PUT
    assert causes == [gap_pb2.GAP_CAUSE_RESUME]


async def test_heartbeats_tell_of_the_option_feed() -> None:
    """A quiet stream of contracts shows that it is alive, and when its feed last said anything."""
    beat = Duration(nanos=100_000_000)
    async with (
        trading(THURSDAY) as stack,
        following(stack, CALL, feed=INDICATIVE, heartbeat_interval=beat) as follower,
    ):
        await follower.until_state(CALL, "LIVE")
        await send(stack, a_quote())
        await until_live(follower)
        beats = len(follower.of("heartbeat"))
        await follower.until(lambda: len(follower.of("heartbeat")) > beats + 1)

    received = live(follower.updates(CALL))[0].quote.provenance.receive_time
    last = follower.of("heartbeat")[-1].last_upstream_time
    assert last.ToNanoseconds() >= received.ToNanoseconds()


async def test_a_snapshot_that_cannot_be_had_says_why() -> None:
    """While the upstream answers no question a contract is followed without a snapshot, and its status says why."""
    settings: dict[str, Any] = {"alpaca": {"retries": {"most": 0}}}
    async with trading(THURSDAY, **settings) as stack:
        stack.sandbox.faults.add(faults.Status(status=500, path=QUOTES_PATH))
        async with following(stack, CALL, feed=INDICATIVE) as follower:
            await follower.until_state(CALL, "LIVE")
            await follower.until(
                lambda: any(one.HasField("unavailable") for one in follower.statuses(CALL))
            )
            await send(stack, a_quote(bid=9.3))
            await until_live(follower)

    said = [one.unavailable for one in follower.statuses(CALL) if one.HasField("unavailable")]
    assert said[0].reason == reasons.ERROR_REASON_UPSTREAM_ERROR
