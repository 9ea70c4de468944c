"""What every call has in common: request id, deadline, one log line, and failures that explain themselves.

Methods are wrapped once, when they are registered. A gRPC interceptor would do the same and be resolved again on every
call, which costs a sixth of what a cached quote may cost beyond a bare one (docs/adr/0007).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from itertools import count
from typing import Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from ..errors import GatewayError, InvalidRequest, NotPermitted, ShuttingDown
from ..market.unavailable import Unavailable
from ..observe.counters import Counters
from ..ports import Clock, ErrorEntry
from . import status
from .call import Call, failure_entry, missing_entries
from .peers import is_loopback
from .requests import LONGEST_REQUEST_ID, REQUEST_ID_RULE

_log = structlog.get_logger(__name__)

DEFAULT_DEADLINE: Final = 10.0
"""Seconds that a call without a deadline gets."""

_QUIET: Final = 0.1
"""Seconds without a new call after which a closing gateway counts as left alone."""

REQUEST_ID: Final = "x-request-id"
"""Metadata key of the caller's id of a call, and trailer that returns it."""

REMAINING: Final = "x-upstream-remaining"
"""Trailer that tells how many requests for market data the gateway would admit now."""

M = TypeVar("M", bound=Message)
Q = TypeVar("Q")


class StrictRefusal(GatewayError):
    """A value is missing and the request is strict."""

    def __init__(self, why: Unavailable, symbol: str) -> None:
        """Carry *why* there is no value for *symbol*."""
        super().__init__(why.message)
        self.why = why
        self.symbol = symbol


Read = Callable[[bytes], Q]
"""Makes of a request's bytes what a method asks for, or raises `InvalidRequest`."""

Method = Callable[[Q, Call], Awaitable[bytes]]
"""A servicer's method: answers with the encoded response, or raises a `GatewayError`."""

StreamMethod = Callable[[Q, Call], AsyncGenerator[bytes, None]]
"""A servicer's method that answers with a stream: yields encoded messages, or raises a `GatewayError`."""

OnCall = Callable[[Call, float], None]
"""Told of every finished call, with the seconds it took."""

Note = Callable[[ErrorEntry], None]
"""Told of every refusal and failure. Never waits and never fails."""


class Calls:
    """Wraps servicers' methods for gRPC, and counts what is under way."""

    def __init__(
        self,
        clock: Clock,
        counters: Counters,
        on_call: OnCall,
        note: Note,
        remaining: Callable[[], int],
    ) -> None:
        """Wrap methods.

        Args:
            clock: measures calls.
            counters: counts them while they are under way.
            on_call: told of every finished call.
            note: told of each reason for which a call failed or missed a value.
            remaining: tells how many requests for market data would be admitted now; asked for every call.
        """
        self._clock = clock
        self._counters = counters
        self._on_call = on_call
        self._note = note
        self._remaining = remaining
        self._remaining_told = 0
        self._remaining_trailer = (REMAINING, "0")
        self._closing = False
        self._arrivals = 0
        self._ids = count(1)
        self._prefix = secrets.token_hex(6)

    def close(self) -> None:
        """Refuse whatever arrives from now on; what is under way is not disturbed."""
        self._closing = True

    async def settle(self) -> None:
        """Return once nothing is under way and nothing has arrived for a moment.

        gRPC's own stop answers calls that it has received and not yet handed over with CANCELLED, which no client
        repeats. So those who still call are told that the gateway is closing, until they have heard it.
        """
        seen = -1
        while self._counters.calls_in_flight or seen != self._arrivals:
            seen = self._arrivals
            await asyncio.sleep(_QUIET)

    def handler(
        self, name: str, read: Read[Q], method: Method[Q], *, operators_only: bool = False
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the gRPC handler of *method*: known as *name* in logs, and given what *read* makes of a request.

        With *operators_only* it answers callers on this machine alone, and nobody else's request is read.
        """
        admit = _admit_operator if operators_only else _admit

        async def handle(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            call = self._begin(name, context)
            self._arrivals += 1
            self._counters.calls_in_flight += 1
            try:
                answer = await self._answer(body, call, admit, read, method)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            finally:
                self._counters.calls_in_flight -= 1
                self._on_call(call, self._clock.monotonic() - call.started)
            if call.missing:
                self._note_missing(call)
            elif isinstance(answer, status.Failure):
                self._note(failure_entry(call, answer, self._clock.wall()))
            if isinstance(answer, status.Failure):
                await self._abort(context, call, answer)
            context.set_trailing_metadata(((REQUEST_ID, call.request_id), self._budget()))
            return answer  # type: ignore[return-value]  # a failure has aborted the call above

        return grpc.unary_unary_rpc_method_handler(handle)

    def streaming(
        self,
        name: str,
        read: Read[Q] | None,
        method: StreamMethod[Any],
        *,
        ends: bool,
        resumable: bool = False,
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the gRPC handler of a *method* that answers with a stream.

        Args:
            name: how it is known in logs.
            read: makes what the method asks for of its only request; None hands it the stream of requests.
            method: yields encoded messages, or raises a `GatewayError`.
            ends: whether it comes to an end by itself, which a stopping gateway waits for.
            resumable: whether it may be cut behind any message, since the caller can go on from there elsewhere. That
                may be long, so a stopping gateway cuts it and says so.
        """

        async def handle(given: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            call = self._begin(name, context)
            self._arrivals += ends
            self._counters.calls_in_flight += ends
            try:
                failure = await self._stream(given, context, call, read, method, resumable)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            finally:
                self._counters.calls_in_flight -= ends
                self._on_call(call, self._clock.monotonic() - call.started)
            if call.missing:
                self._note_missing(call)
            elif failure is not None:
                self._note(failure_entry(call, failure, self._clock.wall()))
            if failure is not None:
                await self._abort(context, call, failure)
            context.set_trailing_metadata(((REQUEST_ID, call.request_id), self._budget()))

        if read is None:
            return grpc.stream_stream_rpc_method_handler(handle)
        return grpc.unary_stream_rpc_method_handler(handle)

    async def _stream(
        self,
        given: Any,
        context: grpc.aio.ServicerContext[bytes, bytes],
        call: Call,
        read: Read[Q] | None,
        method: StreamMethod[Any],
        resumable: bool,  # noqa: FBT001 - named where it is given from outside
    ) -> status.Failure | None:
        try:
            self._refuse_when_closing()
            _admit(call)
            async with aclosing(method(given if read is None else read(given), call)) as messages:
                async for message in messages:
                    await _write(context, message)
                    if resumable:
                        self._refuse_when_closing()
        except StrictRefusal as refusal:
            failure = status.of_unavailable(refusal.why, refusal.symbol, call.request_id)
        except GatewayError as error:
            failure = status.of_error(error, call.request_id)
        except Exception:  # noqa: BLE001 - the last line: no exception's text may reach a caller
            _log.exception("call_failed", request_id=call.request_id, endpoint=call.method)
            # What it would have missed is not why it failed.
            call.missing = ()
            failure = status.of_error(None, call.request_id)
        else:
            return None
        call.code, call.reason = failure.code.name, failure.reason
        return failure

    def _begin(self, name: str, context: grpc.aio.ServicerContext[bytes, bytes]) -> Call:
        now = self._clock.monotonic()
        # None without a deadline, which the stubs do not know.
        remaining: float | None = context.time_remaining()
        given_id = next(
            (value for key, value in context.invocation_metadata() or () if key == REQUEST_ID), ""
        )
        return Call(
            method=name,
            request_id=str(given_id) or f"{self._prefix}-{next(self._ids):x}",
            deadline=now + (DEFAULT_DEADLINE if remaining is None else remaining),
            peer=context.peer(),
            started=now,
            bounded=remaining is not None,
        )

    async def _answer(
        self, body: bytes, call: Call, admit: _Admit, read: Read[Q], method: Method[Q]
    ) -> bytes | status.Failure:
        try:
            self._refuse_when_closing()
            admit(call)
            return await method(read(body), call)
        except StrictRefusal as refusal:
            failure = status.of_unavailable(refusal.why, refusal.symbol, call.request_id)
        except GatewayError as error:
            failure = status.of_error(error, call.request_id)
        except Exception:  # noqa: BLE001 - the last line: no exception's text may reach a caller
            _log.exception("call_failed", request_id=call.request_id, endpoint=call.method)
            # What it would have missed is not why it failed.
            call.missing = ()
            failure = status.of_error(None, call.request_id)
        call.code, call.reason = failure.code.name, failure.reason
        return failure

    async def _abort(
        self,
        context: grpc.aio.ServicerContext[bytes, bytes],
        call: Call,
        failure: status.Failure,
    ) -> None:
        trailers: list[tuple[str, str | bytes]] = [
            (REQUEST_ID, call.request_id),
            self._budget(),
            ("grpc-status-details-bin", failure.status.SerializeToString()),
        ]
        if failure.pushback is not None:
            # gRPC sits out a pushback that outlives the deadline, and the caller never learns the reason.
            patience = (call.deadline - self._clock.monotonic()) * 1000
            in_time = failure.pushback < patience or not call.bounded
            pushback = failure.pushback if in_time else status.NEVER
            trailers.append(("grpc-retry-pushback-ms", str(pushback)))
        await context.abort(failure.code, failure.message, tuple(trailers))

    def _note_missing(self, call: Call) -> None:
        for entry in missing_entries(call, self._clock.wall()):
            self._note(entry)
        # The call waits for its log line, which says nothing of them.
        call.missing = ()

    def _budget(self) -> tuple[str, str]:
        remaining = self._remaining()
        if remaining != self._remaining_told:
            # It changes a few times a second, and stands in thousands of answers.
            self._remaining_told, self._remaining_trailer = remaining, (REMAINING, str(remaining))
        return self._remaining_trailer

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise ShuttingDown


def decoder(request_type: type[M]) -> Read[M]:
    """Return what makes messages of bytes."""

    def decode(body: bytes) -> M:
        try:
            return request_type.FromString(body)
        except DecodeError as error:
            rule = f"the bytes are not a {request_type.DESCRIPTOR.full_name}"
            raise InvalidRequest([("", rule)]) from error

    return decode


async def _write(context: grpc.aio.ServicerContext[bytes, bytes], message: bytes) -> None:
    try:
        await context.write(message)
    except grpc.aio.InternalError as error:
        # The caller has vanished, and gRPC has not told us yet.
        raise asyncio.CancelledError from error


_Admit = Callable[[Call], None]


def _admit(call: Call) -> None:
    if len(call.request_id) > LONGEST_REQUEST_ID:
        call.request_id = call.request_id[:LONGEST_REQUEST_ID]
        raise InvalidRequest([(REQUEST_ID, REQUEST_ID_RULE)])


def _admit_operator(call: Call) -> None:
    _admit(call)
    if not is_loopback(call.peer):
        service, _, _ = call.method.partition("/")
        msg = (
            f"{service} answers callers on the gateway's own machine only: call it from there,"
            " at a loopback address such as 127.0.0.1"
        )
        raise NotPermitted(msg)
