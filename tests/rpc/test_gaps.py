"""ListGaps: what the gateway missed of its feeds, as operators and followers are told."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tickgate.v1 import gap_pb2, provenance_pb2
from tickgate.v1 import status_service_pb2 as pb
from tickgate_sandbox import stream_faults

from ..support.following import QUOTES, TRADES, Follower, following
from ..support.records import a_quote, push
from ..support.running import Stack, running
from ..support.waiting import until_told


async def gaps(stack: Stack, **asked: object) -> list[gap_pb2.Gap]:
    """The gaps that pass some filters."""
    request = pb.ListGapsRequest(**asked)  # type: ignore[arg-type]  # as the caller names them
    return list((await stack.status.ListGaps(request)).gaps)


async def lose(stack: Stack, follower: Follower, *, channel: int = QUOTES) -> None:
    """Let the connection be reset, and wait until the symbol is live again."""
    before = len(follower.states("AAPL", channel))  # type: ignore[arg-type]  # a member
    await stack.sandbox.stream.strike(stream_faults.Drop(reset=True))
    await follower.until(
        lambda: follower.states("AAPL", channel)[before:][-1:] == ["LIVE"]  # type: ignore[arg-type]  # a member
    )


async def test_without_a_gap_there_is_none() -> None:
    """A gateway that has missed nothing lists nothing."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        answer = await stack.status.ListGaps(pb.ListGapsRequest())

    assert answer == pb.ListGapsResponse()


async def test_a_lost_connection_is_a_gap() -> None:
    """A gap is listed with cause, time, symbols and repair, and is the one that its followers were told of."""
    async with (
        running() as stack,
        following(stack, "AAPL", "MSFT", channels=[QUOTES, TRADES]) as follower,
    ):
        for symbol in ("AAPL", "MSFT"):
            for channel in (QUOTES, TRADES):
                await follower.until_state(symbol, "LIVE", channel)
        await push(stack, a_quote())
        await follower.until_number(1)
        await lose(stack, follower)
        listed = await until_told(
            lambda: gaps(stack), lambda found: found[0].repair == gap_pb2.GAP_REPAIR_CURRENT
        )
        status = await stack.status.GetStatus(pb.GetStatusRequest())

    (gap,) = listed
    assert (gap.feed, gap.cause) == (provenance_pb2.FEED_IEX, gap_pb2.GAP_CAUSE_DISCONNECTED)
    assert gap.message
    assert not gap.HasField("lost_records")
    received = follower.updates("AAPL")[-1].quote.provenance.receive_time.ToNanoseconds()
    assert gap.start_time.ToNanoseconds() <= gap.end_time.ToNanoseconds()
    assert received >= gap.start_time.ToNanoseconds()
    assert [(part.channel, list(part.symbols)) for part in gap.parts] == [
        (QUOTES, ["AAPL", "MSFT"]),
        (TRADES, ["AAPL", "MSFT"]),
    ]
    told = [one for status_ in follower.statuses("AAPL") for one in status_.gaps]
    assert {one.id for one in told} == {gap.id}
    assert told[0].HasField("end_time") is False
    assert told[-1].end_time.ToNanoseconds() > 0
    assert not told[-1].parts
    assert (status.feeds[0].gaps, status.feeds[0].connections) == (1, 2)


async def test_gaps_are_found_by_what_they_touched() -> None:
    """Feed, symbol and time select gaps, newest first and in pages; a wrong filter is refused by its field."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await lose(stack, follower)
        (gap,) = await gaps(stack)
        await lose(stack, follower)
        first = await stack.status.ListGaps(pb.ListGapsRequest(page_size=1))
        second = await stack.status.ListGaps(
            pb.ListGapsRequest(page_size=1, page_token=first.next_page_token)
        )
        assert [gap.id for gap in await gaps(stack)] == [2, 1]
        assert await gaps(stack, symbol="MSFT") == []
        assert await gaps(stack, feed=provenance_pb2.FEED_SIP) == []
        before = Timestamp()
        before.FromNanoseconds(gap.start_time.ToNanoseconds() + 1)
        assert [one.id for one in await gaps(stack, symbol="AAPL", end_time=before)] == [1]
        assert await gaps(stack, end_time=gap.start_time) == []
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await gaps(stack, symbol="aapl", page_size=-1)

    assert [gap.id for page in (first, second) for gap in page.gaps] == [2, 1]
    assert second.next_page_token == ""
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
