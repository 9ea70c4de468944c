"""The gRPC server: services, health for each of them, reflection, and a drain that loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import grpc
import structlog
from google.protobuf import symbol_database
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from msgspec import Struct

from tickgate.v1 import (
    admin_service_pb2,
    history_service_pb2,
    option_service_pb2,
    quote_service_pb2,
    reference_service_pb2,
    status_service_pb2,
    stream_service_pb2,
)

from ..access.pressure import Load
from ..identity.consumer import Scope
from .admin import AdminServicer
from .calls import Calls, Methods, Read, decoder
from .gateway_status import StatusServicer
from .history import HistoryServicer
from .options import OptionServicer
from .quotes import QuoteServicer
from .reference import ReferenceServicer
from .streams import StreamServicer

_log = structlog.get_logger(__name__)

STREAMS: Final = "StreamService"

SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    file.services_by_name[name]
    for file, name in (
        (quote_service_pb2.DESCRIPTOR, "QuoteService"),
        (option_service_pb2.DESCRIPTOR, "OptionService"),
        (history_service_pb2.DESCRIPTOR, "HistoryService"),
        (reference_service_pb2.DESCRIPTOR, "ReferenceService"),
        (status_service_pb2.DESCRIPTOR, "StatusService"),
        (admin_service_pb2.DESCRIPTOR, "AdminService"),
        (stream_service_pb2.DESCRIPTOR, STREAMS),
    )
)
"""The services of the contract."""

SCOPES: Final[Mapping[str, Scope]] = {
    "QuoteService": Scope.READ,
    "OptionService": Scope.READ,
    "HistoryService": Scope.HISTORY,
    "ReferenceService": Scope.READ,
    "StatusService": Scope.READ,
    "AdminService": Scope.ADMIN,
    STREAMS: Scope.STREAM,
}
"""What a caller must be allowed to use, by service. Health and reflection are everybody's: they tell nothing of a
market."""

_STREAMS_NAME: Final = stream_service_pb2.DESCRIPTOR.services_by_name[STREAMS].full_name

_STILL_ANSWERING: Final = 0.5
"""Share of the grace for which a gateway that says NOT_SERVING answers whoever calls all the same. Each refusal is a
call to be made again, and a client that has to repeat many gives up: gRPC's throttle is there to spare a gateway in
trouble, which this one is not."""

_AGAIN: Final = 0.05
"""Seconds between two tries to listen again where gRPC has let go of the port."""

_MOST_PENDING: Final = 100_000
"""Calls that have arrived and that the event loop has not taken yet, each some kilobytes."""

_OPTIONS: Final = (
    # Answers stay far below; a request of more than this is not one of ours.
    ("grpc.max_receive_message_length", 1 << 20),
    # Two gateways on one port would share its calls without knowing of each other.
    ("grpc.so_reuseport", 0),
    # Calls that wait for the event loop to take them. Beyond 1,000 gRPC drops some by lot, and beyond 3,000 all: with a
    # bare CANCELLED, for which nobody tries again and nobody knows why.
    ("grpc.server.max_pending_requests", _MOST_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
    # A follower whose machine has vanished says nothing: a ping that nobody answers ends his stream.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A client may ping as well, as often as every ten seconds. On their way pings move together: one that comes early
    # is not held against it.
    ("grpc.http2.min_ping_interval_without_data_ms", 8_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class ConnectionLimits(Struct, frozen=True):
    """What gRPC takes on one connection."""

    calls: int = 1000
    """Calls and streams under way at once; the others wait in the caller's library."""

    metadata_bytes: int = 16_384
    """Bytes of a call's metadata."""

    age: float = 0.0
    """Seconds after which callers are asked to connect anew; 0 never asks."""

    grace: float = 60.0
    """Seconds that calls get to finish from then on."""

    def options(self) -> tuple[tuple[str, int], ...]:
        """Return them in gRPC's words."""
        options = (
            ("grpc.max_concurrent_streams", self.calls),
            # Both the same: between the two gRPC would refuse calls by lot.
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
        )
        if not self.age:
            return options
        return (
            *options,
            ("grpc.max_connection_age_ms", round(self.age * 1000)),
            ("grpc.max_connection_age_grace_ms", round(self.grace * 1000)),
        )


_HEAVY: Final = frozenset({"OptionService/GetOptionChain", "OptionService/StreamOptionChain"})
"""Methods that take much of a process, beside those of services that all do."""

_LOADS: Final[Mapping[str, Load]] = {
    "HistoryService": Load.HEAVY,
    STREAMS: Load.HEAVY,
    "StatusService": Load.ESSENTIAL,
    "AdminService": Load.ESSENTIAL,
}


def _load(name: str) -> Load:
    """Return what a method takes, which is known as *name*."""
    if name in _HEAVY:
        return Load.HEAVY
    return _LOADS.get(name.partition("/")[0], Load.LIGHT)


class Serving:
    """The gRPC server of one gateway."""

    def __init__(
        self,
        calls: Calls,
        quotes: QuoteServicer,
        options: OptionServicer,
        reference: ReferenceServicer,
        status: StatusServicer,
        admin: AdminServicer,
        streams: StreamServicer,
        history: HistoryServicer,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
    ) -> None:
        """Register every service of the contract, health and reflection; *limits* are those of each connection."""
        self._calls = calls
        self._draining = False
        self._open = False
        self._streams = True
        self._options = (*_OPTIONS, *limits.options())
        self._health = health.aio.HealthServicer()
        servicers = (quotes, options, history, reference, status, admin, streams)
        self._handlers = [
            _handler(descriptor, servicer, calls)
            for descriptor, servicer in zip(SERVICES, servicers, strict=True)
        ]
        self._names = ["", *(service.full_name for service in SERVICES)]
        self._address = ""
        self._credentials: grpc.ServerCredentials | None = None
        self._server = self._build()

    def bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Take *address*, for TLS with *credentials*, and return its port, which is a free one for port 0.

        Raises:
            OSError: the address cannot be listened on.
        """
        try:
            port = self._listen(address, credentials)
        except RuntimeError as error:
            # gRPC's own message says no more than that it failed.
            msg = f"cannot listen on {address}: the port is in use, or the address is not this machine's"
            raise OSError(msg) from error
        self._address = f"{address.rpartition(':')[0]}:{port}"
        self._credentials = credentials
        return port

    async def stand(self) -> None:
        """Begin anew where gRPC's own loop breaks down, until it is stopped in order.

        It decodes the name of a method before anybody else sees it, and one that is no UTF-8, which whoever reaches the
        port may send, ends it (grpcio 1.85): the port is closed then, and every call and stream with it. Callers come
        back to the same port, and followers with their tokens.
        """
        while True:
            try:
                await self._server.wait_for_termination()
            except Exception as error:  # noqa: BLE001 - whatever it was, nobody is served any more
                _log.error("grpc_broke_down", why=type(error).__name__)
            if self._draining:
                return
            await self._server.stop(None)
            self._server = self._build()
            while True:
                try:
                    self._listen(self._address, self._credentials)
                    break
                except RuntimeError:
                    # The old one's socket is not closed yet.
                    await asyncio.sleep(_AGAIN)
            await self._server.start()

    def _build(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=self._options)
        server.add_generic_rpc_handlers(self._handlers)
        others: Any = _Unregistered(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, others)
        reflected = [*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(reflected, others)
        return server

    def _listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        if credentials is not None:
            return self._server.add_secure_port(address, credentials)
        return self._server.add_insecure_port(address)

    async def tell_streams(self, *, serving: bool) -> None:
        """Say whether StreamService can be used here, which other replicas may do in this one's place."""
        self._streams = serving
        if self._open and not self._draining:
            await self._health.set(_STREAMS_NAME, _state(serving=serving))

    async def start(self) -> None:
        """Take calls, and say NOT_SERVING as yet."""
        await self._tell(_state(serving=False))
        await self._server.start()

    async def open(self) -> None:
        """Say SERVING: whoever comes can be answered."""
        if self._draining:
            return
        self._open = True
        await self._tell(_state(serving=True))
        await self.tell_streams(serving=self._streams)

    async def open_once(self, known: asyncio.Event) -> None:
        """Say SERVING once it is *known* who may call: until then nobody is let in."""
        await known.wait()
        await self.open()

    async def leave(self) -> None:
        """Say NOT_SERVING, so that nobody new comes."""
        self._draining = True
        await self._tell(_state(serving=False))

    async def drain(self, grace: float, streams: Callable[[float], Awaitable[None]]) -> None:
        """Stop: say NOT_SERVING, answer until that is heard, then refuse new calls and give those under way the rest.

        Args:
            grace: seconds for all of it.
            streams: lets the streams end, which have been told to, within so many seconds.
        """
        await self.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await asyncio.gather(self._see_off(grace * _STILL_ANSWERING), streams(grace))
        # Whoever is still there after the grace has had it.
        self._calls.close()
        await self._server.stop(None)

    async def _see_off(self, patience: float) -> None:
        """Let callers go: answer those who have not heard yet for *patience* seconds at most, then refuse."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._calls.left_alone()
        self._calls.close()
        await self._calls.settle()

    async def _tell(self, state: int) -> None:
        for name in self._names:
            await self._health.set(name, state)


def _state(*, serving: bool) -> int:
    states = health_pb2.HealthCheckResponse
    return states.SERVING if serving else states.NOT_SERVING


def _handler(
    descriptor: ServiceDescriptor, servicer: object, calls: Calls
) -> grpc.GenericRpcHandler:
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in descriptor.methods:
        if method.server_streaming:
            handlers[method.name] = _streaming(descriptor, method, servicer, calls)
            continue
        read: Read[Any] = decoder(symbol_database.Default().GetSymbol(method.input_type.full_name))
        if isinstance(servicer, QuoteServicer):
            read = servicer.reading(read)
        name = f"{descriptor.name}/{method.name}"
        handlers[method.name] = calls.handler(
            name, read, getattr(servicer, method.name), SCOPES[descriptor.name], _load(name)
        )
    return Methods(descriptor.full_name, handlers)


def _streaming(
    descriptor: ServiceDescriptor,
    method: MethodDescriptor,
    servicer: object,
    calls: Calls,
) -> grpc.RpcMethodHandler[Any, Any]:
    read: Read[Any] | None = None
    if not method.client_streaming:
        read = decoder(symbol_database.Default().GetSymbol(method.input_type.full_name))
    name = f"{descriptor.name}/{method.name}"
    # Followers stay until they are shown out; everything else comes to its own end, which is waited for.
    ends = not isinstance(servicer, StreamServicer)
    resumable = isinstance(servicer, HistoryServicer)
    return calls.streaming(
        name,
        read,
        getattr(servicer, method.name),
        SCOPES[descriptor.name],
        _load(name),
        ends=ends,
        resumable=resumable,
    )


class _Unregistered:
    """The server, as services that gRPC generated are added to it: found by name, like ours.

    They would be registered as well, and a grpc.aio server waits apart for each method that is, anew for every call of
    any: four of them take 3 µs of a cached quote.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        pass
