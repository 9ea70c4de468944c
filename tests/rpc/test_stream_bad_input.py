"""What is asked wrongly of a stream, or cannot be had: said exactly, and the stream lives on where it can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import option_service_pb2 as option_pb
from tickgate.v1 import provenance_pb2
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate.v1 import stream_service_pb2 as pb
from tickgate.v1.stream_service_pb2_grpc import StreamServiceStub
from tickgate_sandbox import SandboxSettings, faults, sandbox
from tickgate_sandbox.settings import Plan
from tickgate_server.app import gateway
from tickgate_server.market.occ import OCC_SYMBOL_RULE
from tickgate_server.market.symbol import STOCK_SYMBOL_RULE

from ..support.following import BARS, QUOTES, TRADES, Follower, following, watching
from ..support.records import a_quote, push
from ..support.running import FROZEN, Stack, running, second_gateway, settings_for
from ..support.waiting import until

STREAMS = "tickgate.v1.StreamService"
OPTION = "AAPL261218C00200000"


def length(seconds: int = 0, nanos: int = 0) -> Duration:
    """A duration, however wrong."""
    return Duration(seconds=seconds, nanos=nanos)


def number(value: int) -> Any:
    """*value* where the stubs want a member: it is none, which is the point."""
    return value


async def refusal(follower: Follower) -> tuple[pb.RequestRefused, dict[str, str]]:
    """Wait for the next refused request, and return it with the rules that it breaks, by field."""
    before = len(follower.of("refused"))
    await follower.until(lambda: len(follower.of("refused")) > before)
    refused = follower.of("refused")[-1]
    assert refused.reason == reasons.ERROR_REASON_INVALID_REQUEST
    violations = {one.field: one.description for one in refused.bad_request.field_violations}
    field, rule = next(iter(violations.items()))
    assert refused.message.startswith(f"{field}: {rule}" if field else rule)
    return refused, violations


async def lives(stack: Stack, follower: Follower, symbol: str = "AAPL") -> None:
    """Fail if *follower* gets no updates of *symbol* any more."""
    before = len(follower.updates(symbol))
    await push(stack, a_quote(symbol))
    await follower.until(lambda: len(follower.updates(symbol)) > before)


async def rejection(follower: Follower, symbol: str) -> tuple[str, str]:
    """Wait until *symbol* is REJECTED, and return reason and message."""
    status = await follower.until_state(symbol, "REJECTED")
    name = reasons.ErrorReason.Name(status.unavailable.reason).removeprefix("ERROR_REASON_")
    assert status.unavailable.suggested_action
    return name, status.unavailable.message


async def failure(follower: Follower) -> tuple[str, str, dict[type, Any]]:
    """Wait for the end of the stream, and return status, reason and details."""
    error = await follower.until_ended()
    assert error is not None
    said = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    details: dict[type, Any] = {}
    for packed in said.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.QuotaFailure,
            error_details_pb2.RetryInfo,
        ):
            detail: Any = kind()
            if packed.Unpack(detail):
                details[kind] = detail
    return error.code().name, details[error_details_pb2.ErrorInfo].reason, details


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no symbols": ({"symbols": []}, "symbols"),
    "a symbol twice": ({"symbols": ["AAPL", "MSFT", "AAPL"]}, "symbols[2]"),
    "an empty symbol": ({"symbols": ["AAPL", ""]}, "symbols[1]"),
    "an endless symbol": ({"symbols": ["A" * 65]}, "symbols[0]"),
    "too many symbols": ({"symbols": [f"S{n}" for n in range(10_001)]}, "symbols"),
    "an unknown channel": ({"channels": [number(99)]}, "channels[0]"),
    "no channel": ({"channels": [number(0)]}, "channels[0]"),
    "a channel twice": ({"channels": [1, 2, 1]}, "channels[2]"),
    "an unknown feed": ({"feed": number(99)}, "feed"),
    "no feed": ({"feed": number(0)}, "feed"),
    "a feed of the night": ({"feed": provenance_pb2.FEED_OVERNIGHT}, "feed"),
    "bars of a feed of options": (
        {"feed": provenance_pb2.FEED_OPRA, "channels": [QUOTES, BARS]},
        "channels",
    ),
    "a feed that is not live": ({"feed": provenance_pb2.FEED_OTC}, "feed"),
    "a negative interval": ({"min_update_interval": length(-1)}, "min_update_interval"),
    "an endless interval": ({"min_update_interval": length(3600, 1)}, "min_update_interval"),
    "a broken interval": ({"min_update_interval": length(0, -1)}, "min_update_interval"),
    "an overfull interval": ({"min_update_interval": length(0, 2**30)}, "min_update_interval"),
    "a furious heartbeat": ({"heartbeat_interval": length(0, 99_999_999)}, "heartbeat_interval"),
    "a dead heart": ({"heartbeat_interval": length(2**40)}, "heartbeat_interval"),
    "stale at once": ({"stale_after": length()}, "stale_after"),
    "never stale": ({"stale_after": length(3601)}, "stale_after"),
    "unread for no time": ({"max_unread_age": length()}, "max_unread_age"),
    "unread for long": ({"max_unread_age": length(11)}, "max_unread_age"),
    "garbage for a token": ({"resume_token": "garbage"}, "resume_token"),
    "a token of the future": ({"resume_token": "2.iex.e.0123456789abcdef.0.0"}, "resume_token"),
    "a long id": ({"id": "x" * 65}, "id"),
    "an id that does not print": ({"id": "a\n"}, "id"),
}
EVERY_WRONG = pytest.mark.parametrize(("terms", "field"), WRONG.values(), ids=list(WRONG))


@EVERY_WRONG
async def test_a_wrong_subscription_is_refused(terms: dict[str, Any], field: str) -> None:
    """A subscription that breaks a rule is answered by field and rule, and the one beside it lives on."""
    async with running() as stack, following(stack, "AAPL", id="good") as follower:
        await follower.until_state("AAPL", "LIVE")
        await follower.say(
            subscribe=pb.Subscription(**({"symbols": ["MSFT"], "id": "bad"} | terms))
        )
        refused, violations = await refusal(follower)
        await lives(stack, follower)

    assert set(violations) == {f"subscribe.{field}"}
    assert refused.subscription_id == terms.get("id", "bad")[:64]


@EVERY_WRONG
async def test_a_wrong_watch_fails(terms: dict[str, Any], field: str) -> None:
    """A watch that breaks a rule fails as a call, with INVALID_ARGUMENT by field and rule, and asks nobody."""
    terms = dict(terms)
    async with running() as stack:
        async with watching(stack, *terms.pop("symbols", ["AAPL"]), **terms) as follower:
            code, reason, details = await failure(follower)
        assert stack.sandbox.counters.stream.connections == 0

    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    (violation,) = details[error_details_pb2.BadRequest].field_violations
    assert violation.field == f"subscription.{field}"


async def test_a_watch_is_not_faster_than_four_a_second() -> None:
    """Less than 250 ms between updates is refused for a watch, which acknowledges nothing, and Subscribe is named."""
    async with running() as stack:
        for interval in (length(), length(0, 249_999_999)):
            async with watching(stack, "AAPL", min_update_interval=interval) as follower:
                _, _, details = await failure(follower)
            (violation,) = details[error_details_pb2.BadRequest].field_violations
            assert violation.field == "subscription.min_update_interval"
            assert "Subscribe is for less" in violation.description


async def test_every_mistake_of_a_request_is_told_at_once() -> None:
    """A request that breaks several rules is answered once, with all of them."""
    async with running() as stack, following(stack) as follower:
        await follower.subscribe(id="\n", channels=[number(9)], stale_after=length(-1))
        _, violations = await refusal(follower)

    assert set(violations) == {
        "subscribe.id", "subscribe.channels[0]", "subscribe.stale_after", "subscribe.symbols",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "named", "field"),
    [
        ({}, "", "request"),
        ({"add": {"subscription_id": "no", "symbols": ["AAPL"]}}, "no", "add.subscription_id"),
        ({"add": {"subscription_id": "good"}}, "good", "add.symbols"),
        ({"unsubscribe": {"subscription_id": "no"}}, "no", "unsubscribe.subscription_id"),
        ({"unsubscribe": {"subscription_id": "good", "symbols": ["A", "A"]}}, "good", "unsubscribe.symbols[1]"),
        ({"query": {"subscription_id": "no"}}, "no", "query.subscription_id"),
        ({"ack": {"delivery_sequence": 10**6}}, "", "ack.delivery_sequence"),
        ({"ack": {"delivery_sequence": 2**64 - 1}}, "", "ack.delivery_sequence"),
        ({"subscribe": {"id": "good", "symbols": ["MSFT"]}}, "good", "subscribe.id"),
    ],
)  # fmt: skip
async def test_a_wrong_word_is_refused(words: dict[str, Any], named: str, field: str) -> None:
    """A word without content, about nobody's subscription, an id in use, an ack of the future: refused, and no more."""
    async with running() as stack, following(stack, "AAPL", id="good") as follower:
        await follower.until_state("AAPL", "LIVE")
        await follower.say(**words)
        refused, violations = await refusal(follower)
        await lives(stack, follower)

    assert list(violations) == [field]
    assert refused.subscription_id == named


async def test_bytes_that_are_no_request_are_refused() -> None:
    """What cannot be read is refused like any other word, and the stream lives on."""
    async with running() as stack:
        raw: Any = stack.channel.stream_stream(
            f"/{STREAMS}/Subscribe", response_deserializer=pb.SubscribeResponse.FromString
        )
        call = raw()
        await call.write(b"\xff")
        refused = await call.read()
        await call.write(pb.SubscribeRequest(query=pb.Query()).SerializeToString())
        again = await call.read()
        call.cancel()

    assert "tickgate.v1.SubscribeRequest" in refused.refused.message
    assert again.refused.bad_request.field_violations[0].field == "query.subscription_id"


async def test_who_floods_with_nonsense_is_shown_out() -> None:
    """A follower who is refused again and again without reading the answers does not fill the gateway's memory."""
    async with running() as stack, following(stack) as follower:
        for _ in range(1000):
            if follower.ended:
                break
            await follower.say(query=pb.Query(subscription_id="x" * 10_000))
        await follower.until(lambda: follower.of("refused"))

    assert all(len(refused.subscription_id) <= 64 for refused in follower.of("refused"))
    assert all(len(refused.message) < 12_000 for refused in follower.of("refused"))


# ------------------------------------------------------------------------ symbols that cannot be


async def test_symbols_that_cannot_be_followed_are_rejected_alone() -> None:
    """Each symbol that cannot be followed says why, and the others of the same request are followed."""
    wrong = {
        "aapl": ("INVALID_REQUEST", STOCK_SYMBOL_RULE),
        "A B": ("INVALID_REQUEST", STOCK_SYMBOL_RULE),
        "\N{SNOWMAN}": ("INVALID_REQUEST", STOCK_SYMBOL_RULE),
        OPTION: ("INVALID_REQUEST", "is an option contract, and the feed carries stocks"),
        "*": ("INVALID_REQUEST", "stream.all_symbols"),
        "ZZZZ": ("SYMBOL_UNKNOWN", "not in the upstream's list of assets"),
    }
    async with running() as stack, following(stack, *wrong, "AAPL") as follower:
        for symbol, (expected, part) in wrong.items():
            reason, message = await rejection(follower, symbol)
            assert reason == expected
            assert part in message
        await follower.until_state("AAPL", "LIVE")
        await lives(stack, follower)
        followed = stack.sandbox.counters.stream.subscribed("iex")

    assert followed == {("quotes", "AAPL")}


async def test_contracts_that_cannot_be_followed_are_rejected_alone() -> None:
    """On an option feed each symbol that is no contract, or one that is over or unlisted, says why, alone."""
    wrong = {
        "AAPL": ("INVALID_REQUEST", "is a stock symbol, and the feed carries options"),
        "*": ("INVALID_REQUEST", "cannot be followed on an option feed"),
        "AAPL261218X00200000": ("INVALID_REQUEST", OCC_SYMBOL_RULE),
        "AAPL261318C00200000": ("INVALID_REQUEST", "261318 is no date"),
        "AAPL250117C00200000": ("CONTRACT_EXPIRED", "2025-01-17"),
        "AAPL261218C99999999": ("CONTRACT_UNKNOWN", "not in the upstream's list of contracts"),
    }
    feed = provenance_pb2.FEED_INDICATIVE
    async with running(stream={"all_symbols": True}) as stack:
        listed = await stack.options.ListOptionContracts(
            option_pb.ListOptionContractsRequest(underlying_symbol="AAPL", page_size=1)
        )
        contract = listed.page.contracts[0].symbol
        async with following(stack, *wrong, contract, feed=feed) as follower:
            for symbol, (expected, part) in wrong.items():
                reason, message = await rejection(follower, symbol)
                assert reason == expected
                assert part in message
            await follower.until_state(contract, "LIVE")
        followed = stack.sandbox.counters.stream.subscribed("indicative")

    assert followed == {("quotes", contract)}


async def test_a_rejected_symbol_is_rejected_on_every_channel() -> None:
    """Each channel that a symbol was wanted on says that it cannot be followed there."""
    async with running() as stack, following(stack, "ZZZZ", channels=[1, 2]) as follower:
        await follower.until_state("ZZZZ", "REJECTED")
        await follower.until_state("ZZZZ", "REJECTED", TRADES)


async def test_without_the_list_of_assets_no_symbol_is_unknown() -> None:
    """Where the list cannot be had, nobody says that a symbol does not exist: it is followed and has no snapshot."""
    broken = faults.Status(status=500, path="/v2/assets")
    async with (
        running(before=lambda sandbox: sandbox.faults.add(broken)) as stack,
        following(stack, "ZZZZ") as follower,
    ):
        status = await follower.until_state("ZZZZ", "LIVE")
        await follower.until(
            lambda: any(one.HasField("unavailable") for one in follower.statuses())
        )

    assert (
        not status.unavailable.reason or status.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    )


async def test_everything_may_be_followed_where_it_is_allowed() -> None:
    """With the setting "*" follows whatever symbol the feed brings."""
    async with (
        running(
            replace(FROZEN, plan=Plan.PLUS), alpaca={"plan": "plus"}, stream={"all_symbols": True}
        ) as stack,
        following(stack, "*") as follower,
    ):
        status = await follower.until_state("*", "LIVE")
        await push(stack, a_quote("AAPL"), a_quote("MSFT", 504, 504.1))
        for symbol in ("AAPL", "MSFT"):
            await follower.until_updates(1, symbol)
            await follower.until_state(symbol, "LIVE")
        followed = stack.sandbox.counters.stream.subscribed("iex")
        asked = stack.sandbox.counters.symbols

    assert followed == {("quotes", "*")}
    assert not status.HasField("unavailable")
    assert "*" not in asked


# -------------------------------------------------------------------------------------- limits


async def test_a_plan_has_room_for_so_many_symbols() -> None:
    """Beyond the plan's thirty symbols each further one is rejected by itself, and followed once there is room."""
    many = [f"A{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    broken = faults.Status(status=500, path="/v2/assets")
    async with (
        running(before=lambda sandbox: sandbox.faults.add(broken)) as stack,
        following(stack, *many, id="many") as first,
        following(stack) as second,
    ):
        await first.until_state(many[-1], "LIVE")
        await second.subscribe("AAPL", "MSFT", "TSLA", "AMZN", "GOOGL", "AAA", channels=[1, 2])
        for symbol in ("GOOGL", "AAA"):
            reason, message = await rejection(second, symbol)
            assert reason == "SUBSCRIPTION_LIMIT"
            assert "30 symbols" in message
            await second.until_state(symbol, "REJECTED", TRADES)
        for symbol in ("AAPL", "MSFT", "TSLA", "AMZN"):
            await second.until_state(symbol, "LIVE")
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())
        await first.unsubscribe(many[0], of="many")
        await first.until_state(many[0], "REMOVED")
        await second.add("GOOGL")
        await second.until_state("GOOGL", "LIVE")
        refusals = stack.sandbox.counters.stream.refusals

    (feed,) = status.feeds
    assert (feed.symbols, feed.symbol_limit) == (30, 30)
    assert not refusals


async def test_a_stream_has_room_for_so_many_symbols() -> None:
    """Beyond the operator's limit on a stream a symbol is rejected, over all of the stream's subscriptions together."""
    async with (
        running(stream={"symbols": 3}) as stack,
        following(stack, "AAPL", "MSFT", id="a") as follower,
    ):
        await follower.subscribe("AAPL", "TSLA", id="b")
        reason, message = await rejection(follower, "TSLA")
        await follower.until_state("AAPL", "LIVE", subscription="b")
        assert reason == "SUBSCRIPTION_LIMIT"
        assert "3 symbols" in message
        await follower.unsubscribe("MSFT", of="a")
        await follower.until_state("MSFT", "REMOVED")
        await follower.add("TSLA", to="b")
        await follower.until_state("TSLA", "LIVE")


async def test_a_stream_has_room_for_so_many_subscriptions() -> None:
    """One subscription too many is refused, and one that ends makes room."""
    async with (
        running(stream={"subscriptions": 2}) as stack,
        following(stack, "AAPL", id="a") as follower,
    ):
        await follower.subscribe("AAPL", id="b")
        await follower.subscribe("AAPL", id="c")
        _, violations = await refusal(follower)
        assert "2 subscriptions" in violations["subscribe"]
        await follower.unsubscribe(of="a")
        await follower.subscribe("AAPL", id="c")
        await follower.until(lambda: follower.states("AAPL", subscription="c"))


@pytest.mark.parametrize("open_", [following, watching], ids=["Subscribe", "Watch"])
async def test_a_process_has_room_for_so_many_streams(open_: Callable[..., Any]) -> None:
    """One stream too many fails with RESOURCE_EXHAUSTED, names the limit, and one that ends makes room."""
    async with running(stream={"streams": 2}) as stack, following(stack, "AAPL") as first:
        async with watching(stack, "AAPL") as second:
            await first.until_updates(1)
            await second.until_updates(1)
            async with open_(stack, "AAPL") as third:
                code, reason, details = await failure(third)
        assert (code, reason) == ("RESOURCE_EXHAUSTED", "SUBSCRIPTION_LIMIT")
        (quota,) = details[error_details_pb2.QuotaFailure].violations
        assert quota.subject == "stream.streams"
        assert "2 streams" in quota.description
        await until(lambda: stack.gateway.counters.streams.streams == 1)
        async with open_(stack, "AAPL") as fourth:
            await fourth.until_updates(1)


# ------------------------------------------------------------------------- feeds that cannot be


async def test_a_feed_beyond_the_plan_rejects_its_symbols() -> None:
    """A feed that the account may not read (409) rejects what is followed on it; another feed of the stream lives."""
    async with running() as stack, following(stack, "AAPL", id="iex") as follower:
        await follower.until_state("AAPL", "LIVE", subscription="iex")
        await follower.subscribe("AAPL", id="sip", feed=provenance_pb2.FEED_SIP)
        status = await follower.until_state("AAPL", "REJECTED", subscription="sip")
        told = await stack.status.GetStatus(status_pb.GetStatusRequest())
        await lives(stack, follower)

    assert status.unavailable.reason == reasons.ERROR_REASON_NOT_ENTITLED
    states = {one.feed: pb_state(one) for one in told.feeds}
    assert states == {provenance_pb2.FEED_IEX: "LIVE", provenance_pb2.FEED_SIP: "NOT_ENTITLED"}


def pb_state(feed: status_pb.FeedStatus) -> str:
    """The state of a feed."""
    return status_pb.FeedState.Name(feed.state).removeprefix("FEED_STATE_")


async def test_a_key_that_is_refused_rejects_every_symbol() -> None:
    """A key that the upstream does not know (402) rejects what is followed, with a reason that is the operator's."""
    market: SandboxSettings = replace(FROZEN, key_id="right", secret="also right")
    async with running(market) as stack, following(stack, "AAPL") as follower:
        reason, _ = await rejection(follower, "AAPL")
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())

    assert reason == "UPSTREAM_UNAUTHENTICATED"
    assert pb_state(status.feeds[0]) == "AUTH_FAILED"


async def health(stack: Stack) -> str:
    """What health says of StreamService."""
    stub: Any = health_pb2_grpc.HealthStub(stack.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=STREAMS))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def until_health(stack: Stack, says: str) -> None:
    """Wait until health says *says* of StreamService."""
    stub: Any = health_pb2_grpc.HealthStub(stack.channel)
    watching_ = stub.Watch(health_pb2.HealthCheckRequest(service=STREAMS))
    while True:
        status = (await watching_.read()).status
        if health_pb2.HealthCheckResponse.ServingStatus.Name(status) == says:
            watching_.cancel()
            return


async def test_where_another_process_holds_the_feed_nobody_is_let_in() -> None:
    """A replica without the account's connection sends followers elsewhere and says so in health, until it gets it."""
    async with (
        running(stream={"enabled": False}) as market,
        second_gateway(market) as replica,
    ):
        async with second_gateway(market) as first, following(first, "AAPL") as holder:
            await holder.until_state("AAPL", "LIVE")
            assert await health(replica) == "SERVING"
            async with following(replica, "AAPL") as early:
                code, reason, details = await failure(early)
            closing = early.of("closing")[-1]
            assert (code, reason) == ("UNAVAILABLE", "NOT_FEED_HOLDER")
            assert closing.reason == reasons.ERROR_REASON_NOT_FEED_HOLDER
            assert closing.retry_delay.ToMilliseconds() > 0
            assert details[error_details_pb2.RetryInfo].retry_delay == closing.retry_delay
            assert early.messages[-1].WhichOneof("event") == "closing"
            await until_health(replica, "NOT_SERVING")
            for open_ in (following, watching):
                async with open_(replica, "AAPL") as late:
                    code, reason, _ = await failure(late)
                assert (code, reason) == ("UNAVAILABLE", "NOT_FEED_HOLDER")
                assert late.messages == []
        await until_health(replica, "SERVING")
        async with following(replica, "AAPL") as follower:
            await follower.until_state("AAPL", "LIVE")


async def test_streams_may_be_switched_off() -> None:
    """With streams off every follower is sent elsewhere, health says NOT_SERVING, and quotes are answered as ever."""
    async with running(stream={"enabled": False}) as stack:
        assert await health(stack) == "NOT_SERVING"
        for open_ in (following, watching):
            async with open_(stack, "AAPL") as follower:
                code, reason, _ = await failure(follower)
            assert (code, reason) == ("UNAVAILABLE", "NOT_FEED_HOLDER")
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())
        assert stack.sandbox.counters.stream.connections == 0

    assert status.tiers[0].state == status_pb.TIER_STATE_OFF


async def test_a_stopping_gateway_says_goodbye() -> None:
    """Every follower gets a last word with when to come again, the status says the same, and the upstream is free."""
    async with sandbox(replace(FROZEN, listen="127.0.0.1:0")) as upstream:
        entered = gateway(settings_for(upstream.url, drain=5.0))
        served = await entered.__aenter__()
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel,
            AsyncExitStack() as parts,
        ):
            stub = StreamServiceStub(channel)
            followers = [
                await parts.enter_async_context(open_(stub, "AAPL"))
                for open_ in (following, watching)
            ]
            for follower in followers:
                await follower.until_state("AAPL", "LIVE")
            leaving = asyncio.create_task(entered.__aexit__(None, None, None))
            ends = [await failure(follower) for follower in followers]
            # The last word and the socket's close travel apart: which of them arrives first is not promised.
            await until(lambda: upstream.counters.stream.subscribed("iex") == frozenset())
            await leaving

    for follower, (code, reason, details) in zip(followers, ends, strict=True):
        closing = follower.of("closing")[-1]
        assert follower.messages[-1].WhichOneof("event") == "closing"
        assert (code, reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
        assert closing.reason == reasons.ERROR_REASON_SHUTTING_DOWN
        assert details[error_details_pb2.RetryInfo].retry_delay == closing.retry_delay


async def test_a_call_that_is_no_stream_is_not_mistaken() -> None:
    """A method that StreamService does not have is UNIMPLEMENTED."""
    async with running() as stack:
        call: Any = stack.channel.unary_unary(f"/{STREAMS}/Follow")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
