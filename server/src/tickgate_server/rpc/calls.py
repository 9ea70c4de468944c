"""What every call has in common: request id, deadline, one log line, and failures that explain themselves.

Methods are wrapped once, when they are registered. A gRPC interceptor would do the same and be resolved again on every
call, which costs a sixth of what a cached quote may cost beyond a bare one (docs/adr/0007).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from contextvars import ContextVar
from itertools import count
from typing import Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from ..access.door import Door
from ..access.meters import Meters
from ..access.pressure import Load, Pressure
from ..errors import (
    GatewayError,
    InvalidRequest,
    LimitExceeded,
    NotPermitted,
    ShuttingDown,
    Unauthenticated,
)
from ..identity.consumer import ANYBODY, Scope
from ..identity.current import CALLER
from ..market.unavailable import Unavailable
from ..observe.counters import Counters
from ..observe.spans import Tracer, enter
from ..ports import Clock, ErrorEntry
from . import status
from .call import Call, end_span, failure_entry, missing_entries
from .requests import LONGEST_REQUEST_ID, REQUEST_ID_RULE

_log = structlog.get_logger(__name__)

DEFAULT_DEADLINE: Final = 10.0
"""Seconds that a call without a deadline gets."""

_MOMENT: Final = 0.05
"""Seconds."""

_QUIET_MOMENTS: Final = 4
"""Moments in a row without a new call, after which a closing gateway counts as left alone."""

REQUEST_ID: Final = "x-request-id"
"""Metadata key of the caller's id of a call, and trailer that returns it."""

AUTHORIZATION: Final = "authorization"
"""Metadata key of what tells who calls."""

TRACEPARENT: Final = "traceparent"
"""Metadata key of the caller's own trace (W3C Trace Context)."""

REMAINING: Final = "x-upstream-remaining"
"""Trailer that tells how many requests for market data the gateway would admit now."""

M = TypeVar("M", bound=Message)
Q = TypeVar("Q")


_METADATA: Final[ContextVar[Any]] = ContextVar("metadata", default=())
"""Metadata of the call that is being answered, as gRPC made it to find the method. Asked for again, it makes it anew,
which takes a twentieth of a cached quote."""


class Methods(grpc.GenericRpcHandler):
    """The methods of one service, by name; finds the one that is called and keeps what the caller says for it."""

    def __init__(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Serve *handlers* as the methods of *service*."""
        self._handlers = {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers a call; None where it is none of this service."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is not None:
            # gRPC looks for the method in the task that answers, and so in a context of this call's own.
            _METADATA.set(handler_call_details.invocation_metadata)
        return handler


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

OnStream = Callable[[Call], None]
"""Told of every call whose answer is a stream, when the first message of it has been sent."""

Note = Callable[[ErrorEntry], None]
"""Told of every refusal and failure. Never waits and never fails."""


_Said = Mapping[str, Any]
"""What a caller says beside its request."""

_STRANGER: Final = grpc.StatusCode.UNAUTHENTICATED.name


class Calls:
    """Wraps servicers' methods for gRPC, and counts what is under way."""

    def __init__(
        self,
        clock: Clock,
        counters: Counters,
        on_call: OnCall,
        note: Note,
        remaining: Callable[[], int],
        door: Door,
        meters: Meters,
        pressure: Pressure,
        tracer: Tracer | None = None,
        on_stream: OnStream | None = None,
    ) -> None:
        """Wrap methods.

        Args:
            clock: measures calls.
            counters: counts them while they are under way.
            on_call: told of every finished call.
            note: told of each reason for which a call failed or missed a value.
            remaining: tells how many requests for market data would be admitted now; asked for every call.
            door: tells who calls.
            meters: count what each consumer has had.
            pressure: refuses what this process should not take on now.
            tracer: decides which calls are traced; None traces none.
            on_stream: told of every stream that has begun.
        """
        self._clock = clock
        self._counters = counters
        self._on_call = on_call
        self._note = note
        self._remaining = remaining
        self._door = door
        self._meters = meters
        self._tracer = tracer
        self._on_stream = on_stream
        self._pressure = pressure
        self._remaining_told = 0
        self._remaining_trailer = (REMAINING, "0")
        self._closing = False
        self._arrivals = 0
        self._ids = count(1)
        self._prefix = secrets.token_hex(6)

    async def left_alone(self) -> None:
        """Return once nothing has arrived for a while. What arrives is answered as ever."""
        loop, quiet = asyncio.get_running_loop(), 0
        while quiet < _QUIET_MOMENTS:
            seen, began = self._arrivals, loop.time()
            await asyncio.sleep(_MOMENT)
            # A loop that was held up wakes this before it hears of the calls that came meanwhile.
            was_held_up = loop.time() - began > 2 * _MOMENT
            quiet = 0 if was_held_up or seen != self._arrivals else quiet + 1

    def close(self) -> None:
        """Refuse whatever arrives from now on; what is under way is not disturbed."""
        self._closing = True

    async def settle(self) -> None:
        """Return once nothing is under way and nothing has arrived for a while.

        gRPC's own stop answers calls that it has received and not yet handed over with CANCELLED, which no client
        repeats. So those who still call are told that the gateway is closing, until they have heard it.
        """
        await self.left_alone()
        while self._counters.calls_in_flight:
            await self.left_alone()

    def handler(
        self,
        name: str,
        read: Read[Q],
        method: Method[Q],
        scope: Scope,
        load: Load = Load.LIGHT,
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the gRPC handler of *method*: known as *name* in logs, and given what *read* makes of a request.

        Nobody's request is read who may not use *scope*, or while *load* is too much.
        """

        async def handle(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            said = _said(context)
            call = self._begin(name, said, context)
            self._arrivals += 1
            self._counters.calls_in_flight += 1
            try:
                self._admit(call, scope, load, said, context)
                answer: bytes | status.Failure = await method(read(body), call)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            except Exception as error:  # noqa: BLE001 - the last line: no exception's text may reach a caller
                answer = self._failed(call, error)
            finally:
                self._counters.calls_in_flight -= 1
                self._ended(call)
            if call.missing:
                self._note_missing(call)
            elif isinstance(answer, status.Failure):
                self._note_failure(call, answer)
            if isinstance(answer, status.Failure):
                await self._abort(context, call, answer)
            context.set_trailing_metadata(self._trailers(call))
            return answer  # type: ignore[return-value]  # a failure has aborted the call above

        return grpc.unary_unary_rpc_method_handler(handle)

    def streaming(
        self,
        name: str,
        read: Read[Q] | None,
        method: StreamMethod[Any],
        scope: Scope,
        load: Load = Load.HEAVY,
        *,
        ends: bool,
        resumable: bool = False,
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the gRPC handler of a *method* that answers with a stream.

        Args:
            name: how it is known in logs.
            read: makes what the method asks for of its only request; None hands it the stream of requests.
            method: yields encoded messages, or raises a `GatewayError`.
            scope: what a caller must be allowed to use.
            load: what it takes of this process.
            ends: whether it comes to an end by itself, which a stopping gateway waits for; of others each consumer has
                only so many.
            resumable: whether it may be cut behind any message, since the caller can go on from there elsewhere. That
                may be long, so a stopping gateway cuts it and says so.
        """

        async def handle(given: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            said = _said(context)
            call = self._begin(name, said, context)
            call.streams = True
            self._arrivals += ends
            self._counters.calls_in_flight += ends
            failure: status.Failure | None = None
            try:
                self._admit(call, scope, load, said, context)
                with nullcontext() if ends else self._meters.stream(call.consumer):
                    messages = method(given if read is None else read(given), call)
                    await self._write_all(messages, call, context, ends=ends, resumable=resumable)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            except Exception as error:  # noqa: BLE001 - the last line, as above
                failure = self._failed(call, error)
            finally:
                self._counters.calls_in_flight -= ends
                self._ended(call)
            if call.missing:
                self._note_missing(call)
            elif failure is not None:
                self._note_failure(call, failure)
            if failure is not None:
                await self._abort(context, call, failure)
            context.set_trailing_metadata(self._trailers(call))

        if read is None:
            return grpc.stream_stream_rpc_method_handler(handle)
        return grpc.unary_stream_rpc_method_handler(handle)

    async def _write_all(
        self,
        messages: AsyncGenerator[bytes, None],
        call: Call,
        context: grpc.aio.ServicerContext[bytes, bytes],
        *,
        ends: bool,
        resumable: bool,
    ) -> None:
        begun = self._on_stream
        async with aclosing(messages):
            async for message in messages:
                if ends:
                    # Followers, who may wait long for a message, are shown out with a last word instead.
                    self._door.check(call.consumer)
                await _write(context, message)
                if begun is not None:
                    # By now the call knows what it is about.
                    begun(call)
                    begun = None
                if resumable:
                    self._refuse_when_closing()

    def _begin(
        self, name: str, said: _Said, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> Call:
        now = self._clock.monotonic()
        # None without a deadline, which the stubs do not know.
        remaining: float | None = context.time_remaining()
        call = Call(
            method=name,
            request_id=said.get(REQUEST_ID) or f"{self._prefix}-{next(self._ids):x}",
            deadline=now + (DEFAULT_DEADLINE if remaining is None else remaining),
            peer=context.peer(),
            started=now,
            bounded=remaining is not None,
        )
        if self._tracer is not None:
            call.span = self._tracer.begin(name, said.get(TRACEPARENT, ""))
            if call.span is not None:
                # As with the consumer: the context is this call's own.
                enter(call.span)
        return call

    def _ended(self, call: Call) -> None:
        self._on_call(call, self._clock.monotonic() - call.started)
        if call.span is not None:
            end_span(call, call.span)

    def _admit(
        self,
        call: Call,
        scope: Scope,
        load: Load,
        said: _Said,
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        if self._closing:
            raise ShuttingDown
        if len(call.request_id) > LONGEST_REQUEST_ID:
            call.request_id = call.request_id[:LONGEST_REQUEST_ID]
            raise InvalidRequest([(REQUEST_ID, REQUEST_ID_RULE)])
        certificate = _common_name(context) if self._door.wants_certificate else ""
        try:
            consumer = self._door.admit(said.get(AUTHORIZATION, ""), certificate, call.peer, scope)
        except (NotPermitted, Unauthenticated) as refusal:
            # Logs name whose key it was.
            call.consumer = refusal.consumer
            raise
        if consumer is not ANYBODY:
            call.consumer = consumer
            # gRPC answers each call in a task, and so in a context, of its own.
            CALLER.set(consumer)
        # What nobody gets now is not counted as had.
        self._pressure.check(load)
        self._meters.admit(consumer)

    def _failed(self, call: Call, error: Exception) -> status.Failure:
        match error:
            case StrictRefusal():
                failure = status.of_unavailable(error.why, error.symbol, call.request_id)
            case GatewayError():
                if isinstance(error, LimitExceeded):
                    self._counters.refuse_limit(error.limit)
                failure = status.of_error(error, call.request_id)
            case _:
                _log.error(
                    "call_failed",
                    request_id=call.request_id,
                    endpoint=call.method,
                    exc_info=error,
                )
                # What it would have missed is not why it failed.
                call.missing = ()
                failure = status.of_error(None, call.request_id)
        call.code, call.reason = failure.code.name, failure.reason
        return failure

    def _trailers(self, call: Call) -> Sequence[tuple[str, str]]:
        if call.code == _STRANGER:
            # How the gateway is doing is not for whoever may not ask it anything.
            return ((REQUEST_ID, call.request_id),)
        limited = self._meters.trailer(call.consumer)
        if limited is None:
            return (REQUEST_ID, call.request_id), self._budget()
        return (REQUEST_ID, call.request_id), self._budget(), limited

    async def _abort(
        self,
        context: grpc.aio.ServicerContext[bytes, bytes],
        call: Call,
        failure: status.Failure,
    ) -> None:
        trailers: list[tuple[str, str | bytes]] = [
            *self._trailers(call),
            ("grpc-status-details-bin", failure.status.SerializeToString()),
        ]
        if failure.pushback is not None:
            # gRPC sits out a pushback that outlives the deadline, and the caller never learns the reason.
            patience = (call.deadline - self._clock.monotonic()) * 1000
            in_time = failure.pushback < patience or not call.bounded
            pushback = failure.pushback if in_time else status.NEVER
            trailers.append(("grpc-retry-pushback-ms", str(pushback)))
        await context.abort(failure.code, failure.message, tuple(trailers))

    def _note_failure(self, call: Call, failure: status.Failure) -> None:
        if failure.code is grpc.StatusCode.UNAUTHENTICATED and call.consumer is ANYBODY:
            # They are counted, and have their line in the log of calls: nobody whom we do not know fills our tables.
            return
        self._note(failure_entry(call, failure, self._clock.wall()))

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


def _said(context: grpc.aio.ServicerContext[bytes, bytes]) -> _Said:
    """Return what the caller says in its metadata: under each key what it says first."""
    # A tuple of pairs, whatever the stubs say; None of a call without any.
    pairs: Any = _METADATA.get() or context.invocation_metadata() or ()
    return dict(reversed(pairs))


def _common_name(context: grpc.aio.ServicerContext[bytes, bytes]) -> str:
    """Return the common name in the certificate that the caller has shown, which TLS has checked; empty without one."""
    names = context.auth_context().get("x509_common_name", ())
    return next((name.decode(errors="replace") for name in names), "")
