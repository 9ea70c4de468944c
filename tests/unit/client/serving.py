"""Real gRPC servers on a free port, for the length of a `with`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from .cases import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message


def _handlers(
    answers: dict[str, Callable[..., Any]], streamed: Callable[..., Callable[..., Any]]
) -> list[grpc.GenericRpcHandler]:
    """What makes RPCs of *answers*, which are named after them; *streamed* sends the messages of one."""

    def handler(rpc: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        make, answer = grpc.unary_unary_rpc_method_handler, answers[rpc.name]
        if rpc.server_streaming:
            make, answer = grpc.unary_stream_rpc_method_handler, streamed(answer)
        return make(
            answer,
            request_deserializer=GetMessageClass(rpc.input_type).FromString,
            response_serializer=GetMessageClass(rpc.output_type).SerializeToString,
        )

    return [
        grpc.method_handlers_generic_handler(
            service.full_name,
            {rpc.name: handler(rpc) for rpc in service.methods if rpc.name in answers},
        )
        for service in SERVICES.values()
    ]


class Health:
    """A gateway's word on whether it serves, as `grpc.health.v1` carries it."""

    def __init__(self) -> None:
        self.watched: list[bytes] = []
        """What was asked about: a request is empty where it asks about all of the gateway."""
        self._serves = True
        self._news = asyncio.Condition()

    async def say(self, *, serves: bool) -> None:
        """Tell everybody who watches."""
        async with self._news:
            self._serves = serves
            self._news.notify_all()

    async def _watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.watched.append(request)
        async with self._news:
            while True:
                # HealthCheckResponse: field 1, SERVING or NOT_SERVING. The oldest versions come without its code.
                yield bytes((8, 1 if self._serves else 2))
                await self._news.wait()

    @property
    def handler(self) -> grpc.GenericRpcHandler:
        """What serves it."""
        watch: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(
            self._watch
        )
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Watch": watch})


@asynccontextmanager
async def served(**answers: Callable[..., Coroutine[Any, Any, Any]]) -> AsyncIterator[str]:
    """Serve RPCs, each by the coroutine function of its name, and give the address.

    Where the reply is streamed, it returns all messages.
    """
    async with served_with(None, **answers) as target:
        yield target


@asynccontextmanager
async def served_with(
    credentials: grpc.ServerCredentials | None,
    /,
    *others: grpc.GenericRpcHandler,
    **answers: Callable[..., Coroutine[Any, Any, Any]],
) -> AsyncIterator[str]:
    """Serve RPCs like `served`, besides *others*; with *credentials*, by TLS."""

    def streamed(answer: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        async def each(request: Any, context: Any) -> AsyncIterator[Message]:
            for part in await answer(request, context):
                yield part

        return each

    handlers = (*_handlers(answers, streamed), *others)
    async with starting(*handlers, credentials=credentials) as target:
        yield target


@asynccontextmanager
async def starting(
    *handlers: grpc.GenericRpcHandler,
    credentials: grpc.ServerCredentials | None = None,
    at: str = "127.0.0.1:0",
) -> AsyncIterator[str]:
    """Start a server and give its address."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    await server.start()
    try:
        yield f"{at.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(None)


@contextmanager
def served_by_threads(port: int = 0, /, **answers: Callable[..., Any]) -> Iterator[str]:
    """Serve RPCs at a free port or the one named, each by the plain function of its name, and give the address.

    Where the reply is streamed, it returns all messages, or yields them.
    """
    with ThreadPoolExecutor(2) as pool:
        handlers = _handlers(
            answers, lambda answer: lambda request, context: iter(answer(request, context))
        )
        server = grpc.server(pool, handlers=handlers)
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def status(code: grpc.StatusCode, message: str, *details: Message) -> grpc.Status:
    """A status with details, as a gateway ends a call with it."""
    rich = Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        rich.details.append(packed)
    return rpc_status.to_status(rich)
