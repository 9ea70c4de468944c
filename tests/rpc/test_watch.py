"""Watch: a fixed set for people and simple callers, who acknowledge nothing."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import stream_service_pb2 as pb
from tickgate.v1.admin_service_pb2 import ListErrorsRequest

from ..support.following import Follower, following, watching
from ..support.records import a_quote, push
from ..support.running import Stack, running
from ..support.waiting import until

INTERNAL = ListErrorsRequest(reasons=[reasons.ERROR_REASON_INTERNAL])


def last_bid(follower: Follower) -> str:
    """The newest bid that came."""
    updates = follower.updates("AAPL")
    return updates[-1].quote.bid.price.value if updates else ""


async def test_a_watch_gets_what_a_subscription_gets() -> None:
    """Snapshot, states and updates come as on Subscribe, numbered and with tokens, without a word from the watcher."""
    async with running() as stack, watching(stack, "AAPL", "ZZZZ") as follower:
        await follower.until_state("AAPL", "LIVE")
        status = await follower.until_state("ZZZZ", "REJECTED")
        await follower.until_updates(1, "AAPL")
        await push(stack, a_quote(bid=228.71))
        await follower.until(lambda: last_bid(follower) == "228.71")

    assert status.unavailable.reason == reasons.ERROR_REASON_SYMBOL_UNKNOWN
    numbers = [message.delivery_sequence for message in follower.messages]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(message.epoch and message.resume_token for message in follower.messages)
    assert {message.subscription_id for message in follower.messages} == {""}
    assert isinstance(follower.messages[0], pb.WatchResponse)


async def test_a_watch_is_told_of_news_four_times_a_second() -> None:
    """Updates of a watch come at least 250 ms apart, and the newest comes by itself at the end of that time."""
    async with (
        running() as stack,
        watching(stack, "AAPL") as follower,
        following(stack, "AAPL") as quick,
    ):
        await follower.until_state("AAPL", "LIVE")
        await quick.until_state("AAPL", "LIVE")
        for number in range(20):
            await push(stack, a_quote(bid=round(228 + number / 100, 2)))
            await quick.until_number(number + 1)
        await follower.until(lambda: last_bid(follower) == "228.19")

    times = [
        message.serve_time.ToNanoseconds()
        for message in follower.messages
        if message.WhichOneof("event") == "updates"
    ]
    assert all(later - sooner >= 230_000_000 for sooner, later in pairwise(times))


async def test_a_watch_that_is_quiet_has_a_heart() -> None:
    """Heartbeats come as often as asked for while nothing else does."""
    beat = {"heartbeat_interval": Duration(nanos=100_000_000)}
    async with running() as stack, watching(stack, "AAPL", **beat) as follower:
        await follower.until(lambda: len(follower.of("heartbeat")) >= 2)


async def test_a_watch_ends_with_its_deadline() -> None:
    """A caller who waits so long and no longer gets DEADLINE_EXCEEDED, and the gateway lets him go."""
    async with running() as stack:
        request = pb.WatchRequest(subscription=pb.Subscription(symbols=["AAPL"]))
        call = stack.streams.Watch(request, timeout=0.3)
        first = await call.read()
        code = await call.code()
        await until(lambda: stack.gateway.counters.streams.streams == 0)

    assert isinstance(first, pb.WatchResponse)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_watch_is_resumed_by_its_token() -> None:
    """A token of a watch says on the next one what was missed: nothing, where everything was kept."""
    async with running() as stack:
        async with watching(stack, "AAPL") as first:
            await first.until_state("AAPL", "LIVE")
            token = first.messages[-1].resume_token
        async with watching(stack, "AAPL", resume_token=token) as second:
            await second.until_updates(1, "AAPL")
        async with watching(stack, "MSFT", resume_token=token) as third:
            status = await third.until_state("MSFT", "LIVE")

    assert not [gap for told in second.statuses() for gap in told.gaps]
    gaps = [gap for told in third.statuses() for gap in told.gaps]
    assert [gap.id for gap in gaps] == [0]
    assert "another subscription" in gaps[0].message
    assert status.state == pb.SYMBOL_STATE_LIVE


# --------------------------------------------------------------------------------- what is left


async def leave_by_cancelling(stack: Stack) -> None:
    """Follow, and cancel the call."""
    async with following(stack, "AAPL") as follower:
        await follower.until_updates(1)


async def leave_a_watch(stack: Stack) -> None:
    """Watch, and cancel the call."""
    async with watching(stack, "AAPL") as follower:
        await follower.until_updates(1)


async def leave_in_peace(stack: Stack) -> None:
    """Follow, and say that there will be no more words."""
    async with following(stack, "AAPL") as follower:
        await follower.until_updates(1)
        await follower.call.done_writing()
        assert await follower.until_ended() is None


async def leave_before_a_word(stack: Stack) -> None:
    """Open a stream, and cancel it before anything was said."""
    async with following(stack):
        pass


async def leave_without_a_word(stack: Stack) -> None:
    """Follow over a connection of one's own, and let it vanish while messages are under way."""
    async with grpc.aio.insecure_channel(stack.target) as channel:
        raw: Any = channel.stream_stream("/tickgate.v1.StreamService/Subscribe")
        call = raw()
        request = pb.SubscribeRequest(subscribe=pb.Subscription(symbols=["AAPL"]))
        await call.write(request.SerializeToString())
        await call.read()


async def leave_after_a_refusal(stack: Stack) -> None:
    """Watch what cannot be watched."""
    async with watching(stack) as follower:
        assert await follower.until_ended() is not None


@pytest.mark.parametrize(
    "leave",
    [
        leave_by_cancelling,
        leave_a_watch,
        leave_in_peace,
        leave_before_a_word,
        leave_without_a_word,
        leave_after_a_refusal,
    ],
)
async def test_nothing_of_a_follower_is_left(leave: Any) -> None:
    """However a follower leaves, no task, no stream and no subscription of his is left, and it is no fault."""
    async with running() as stack:
        # What is made once for all followers is there already.
        await leave_by_cancelling(stack)
        streams = stack.gateway.counters.streams
        await until(lambda: streams.streams == streams.subscriptions == 0)
        before = len(asyncio.all_tasks())
        async with asyncio.TaskGroup() as crowd:
            for _ in range(20):
                crowd.create_task(leave(stack))
        await until(lambda: len(asyncio.all_tasks()) <= before)
        await until(lambda: (streams.streams, streams.subscriptions, streams.followed) == (0, 0, 0))
        listed = await stack.admin.ListErrors(INTERNAL)

    assert not listed.errors


async def test_every_stream_has_one_line_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A stream is one line when it ends: by whom, how, and with how many updates."""
    async with running(log={"calls": True, "format": "json"}) as stack:
        await leave_a_watch(stack)
        await leave_in_peace(stack)
        await leave_after_a_refusal(stack)
        await until(lambda: stack.gateway.counters.streams.streams == 0)
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line[:1] == "{"]
    lines = [line for line in said if str(line.get("endpoint", "")).startswith("StreamService/")]
    assert sorted((line["endpoint"], line["code"], line.get("reason")) for line in lines) == [
        ("StreamService/Subscribe", "OK", None),
        ("StreamService/Watch", "CANCELLED", None),
        ("StreamService/Watch", "INVALID_ARGUMENT", "INVALID_REQUEST"),
    ]
