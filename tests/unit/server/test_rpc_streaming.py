"""What every call that answers with a stream has in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tickgate.v1 import stream_service_pb2 as pb
from tickgate_server.errors import GatewayError, InvalidRequest, NotFeedHolder, TooManyStreams
from tickgate_server.fanout.mailbox import Closing
from tickgate_server.identity.consumer import Scope
from tickgate_server.market.provenance import Feed
from tickgate_server.market.unavailable import Reason
from tickgate_server.rpc.answers import miss
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.calls import Calls, Read, StreamMethod, decoder
from tickgate_server.rpc.status import StreamClosed

from ...support.admin import FakeContext, Parts
from ...support.fakes import settle, unavailable
from ...support.fanning import in_steered_time


async def three(_: object, call: Call) -> AsyncGenerator[bytes, None]:
    """Say three things."""
    for message in (b"1", b"2", b"3"):
        yield message
        call.given += 1


async def run(
    calls: Calls,
    context: FakeContext,
    method: StreamMethod[Any] = three,
    read: Read[Any] | None = None,
    *,
    ends: bool = False,
) -> bool:
    """Put a call through a handler, and tell whether it ended well."""
    handler = calls.streaming("StreamService/Try", read, method, Scope.STREAM, ends=ends)
    handle: Any = handler.stream_stream if read is None else handler.unary_stream
    try:
        await handle(b"", context)
    except grpc.aio.AbortError:
        return False
    return True


class Watched:
    """A stream that says one thing and then waits; it remembers that it was closed."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.closed = False

    async def method(self, _: object, call: Call) -> AsyncGenerator[bytes, None]:
        """Answer."""
        try:
            yield b"1"
            self.waiting.set()
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_messages_are_sent_in_order() -> None:
    """Each message is written when it is there, and trailers with the request id and the budget end the stream."""
    parts, context = Parts(), FakeContext(metadata=[("x-request-id", "order-1")])
    assert await run(parts.calls(), context)
    assert context.written == [b"1", b"2", b"3"]
    assert context.trailers == {"x-request-id": "order-1", "x-upstream-remaining": "190"}
    assert not context.initial_metadata_sent
    (call,) = parts.finished
    assert (call.method, call.code, call.given) == ("StreamService/Try", "OK", 3)
    assert parts.errors.entries == []


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidRequest([("x", "is wrong")]), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (TooManyStreams("all taken"), "RESOURCE_EXHAUSTED", "SUBSCRIPTION_LIMIT"),
        (NotFeedHolder("elsewhere"), "UNAVAILABLE", "NOT_FEED_HOLDER"),
        (StreamClosed(Closing(Reason.SHUTTING_DOWN, "bye", 1.5)), "UNAVAILABLE", "SHUTTING_DOWN"),
    ],
)
async def test_a_stream_fails_with_its_reason(error: GatewayError, code: str, reason: str) -> None:
    """What a stream raises on purpose ends it with a status, its details, one line and one note."""

    async def failing(_: object, __: Call) -> AsyncGenerator[bytes, None]:
        yield b"1"
        raise error

    parts, context = Parts(), FakeContext()
    assert not await run(parts.calls(), context, failing)
    assert context.written == [b"1"]
    assert context.code is not None
    assert context.code.name == code
    said = status_pb2.Status.FromString(context.trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert said.details[0].Unpack(info)
    assert info.reason == reason
    (call,) = parts.finished
    assert (call.code, call.reason) == (code, reason)
    assert [noted.reason for noted in parts.errors.entries] == [reason]


async def test_a_farewell_names_when_to_come_again() -> None:
    """The delay of a closing is a pushback where the caller is still there by then."""

    async def closing(_: object, __: Call) -> AsyncGenerator[bytes, None]:
        yield b"1"
        raise StreamClosed(Closing(Reason.SHUTTING_DOWN, "bye", 1.5))

    for time_left, pushback in ((None, "1500"), (5.0, "1500"), (1.0, "-1")):
        context = FakeContext(time_left=time_left)
        await run(Parts().calls(), context, closing)
        assert context.trailers["grpc-retry-pushback-ms"] == pushback


async def test_a_fault_of_ours_does_not_tell_its_text() -> None:
    """An exception in the middle of a stream is INTERNAL with the request id, and its text stays here."""

    async def failing(_: object, __: Call) -> AsyncGenerator[bytes, None]:
        yield b"1"
        msg = "password=hunter2"
        raise RuntimeError(msg)

    parts, context = Parts(), FakeContext(metadata=[("x-request-id", "order-1")])
    assert not await run(parts.calls(), context, failing)
    assert context.code is grpc.StatusCode.INTERNAL
    assert "order-1" in context.message
    assert "hunter2" not in context.message + repr(context.trailers) + repr(parts.errors.entries)
    assert [call.code for call in parts.finished] == ["INTERNAL"]


async def test_who_leaves_is_no_failure() -> None:
    """A caller who leaves ends his stream at once; that is neither noted nor a fault."""
    parts, watched = Parts(), Watched()
    running = asyncio.ensure_future(run(parts.calls(), FakeContext(), watched.method))
    await watched.waiting.wait()
    running.cancel()
    await settle(running.done)
    assert running.cancelled()
    assert watched.closed
    assert parts.errors.entries == []
    assert [call.code for call in parts.finished] == ["CANCELLED"]


async def test_who_vanishes_while_he_is_written_to_is_no_failure() -> None:
    """A message that gRPC cannot deliver any more ends the stream as if its caller had left, and it is cleaned up."""
    parts, context = Parts(), FakeContext()
    context.gone_after = 2
    running = asyncio.ensure_future(run(parts.calls(), context))
    await settle(running.done)
    assert running.cancelled()
    assert context.written == [b"1", b"2"]
    assert context.code is None
    assert parts.errors.entries == []
    assert [call.code for call in parts.finished] == ["CANCELLED"]


async def test_a_stopping_gateway_opens_no_stream() -> None:
    """Once it is closing, the gateway refuses a new stream before it looks at what is asked."""

    def untouched(_: bytes) -> object:
        raise AssertionError

    parts, context = Parts(), FakeContext()
    calls = parts.calls()
    calls.close()
    assert not await run(calls, context, read=untouched)
    assert context.code is grpc.StatusCode.UNAVAILABLE
    assert [noted.reason for noted in parts.errors.entries] == ["SHUTTING_DOWN"]


async def test_a_request_that_cannot_be_read_is_refused() -> None:
    """Bytes that are no request of the method are INVALID_ARGUMENT, and so is a request id that is too long."""
    parts, context = Parts(), FakeContext()
    read = decoder(pb.WatchRequest)
    handle: Any = (
        parts.calls().streaming("S/Watch", read, three, Scope.STREAM, ends=False).unary_stream
    )
    with pytest.raises(grpc.aio.AbortError):
        await handle(b"\xff", context)
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "tickgate.v1.WatchRequest" in context.message
    long = FakeContext(metadata=[("x-request-id", "x" * 129)])
    assert not await run(parts.calls(), long)
    assert long.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_is_not_under_way_as_a_call() -> None:
    """Streams last, so what waits for calls to end does not wait for them."""
    parts, watched = Parts(), Watched()
    calls = parts.calls()
    running = asyncio.ensure_future(run(calls, FakeContext(), watched.method))
    await watched.waiting.wait()
    assert parts.counters.calls_in_flight == 0
    running.cancel()
    await settle(running.done)


@in_steered_time
async def test_a_stream_that_ends_by_itself_is_under_way_as_a_call() -> None:
    """What waits for calls to end waits for a stream that comes to its own end, or whose caller leaves."""
    parts, watched = Parts(), Watched()
    calls = parts.calls()
    running = asyncio.ensure_future(run(calls, FakeContext(), watched.method, ends=True))
    await watched.waiting.wait()
    settling = asyncio.ensure_future(calls.settle())
    assert parts.counters.calls_in_flight == 1
    assert await run(calls, FakeContext(), ends=True)
    assert parts.counters.calls_in_flight == 1
    await asyncio.sleep(60)
    assert not settling.done()
    running.cancel()
    await settling
    assert running.cancelled()
    assert parts.counters.calls_in_flight == 0


@pytest.mark.parametrize("strict", [True, False])
async def test_a_stream_notes_what_it_misses(strict: bool) -> None:
    """A stream without an answer notes the reason once, and fails with it where the request is strict."""
    why = unavailable(Reason.NO_DATA)

    async def missing(_: object, call: Call) -> AsyncGenerator[bytes, None]:
        miss(why, call, strict=strict, symbol="SPY", feed=Feed.OPRA)
        yield b"1"

    parts, context = Parts(), FakeContext()
    assert await run(parts.calls(), context, missing, ends=True) is not strict
    assert context.written == ([] if strict else [b"1"])
    assert context.code is (grpc.StatusCode.NOT_FOUND if strict else None)
    (noted,) = parts.errors.entries
    assert (noted.reason, noted.context["symbols"], noted.context["feed"]) == (
        "NO_DATA",
        ["SPY"],
        "opra",
    )
    (call,) = parts.finished
    assert (call.asked, call.given, call.reason) == (1, 0, "NO_DATA")
