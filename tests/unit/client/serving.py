"""Real gRPC servers on a free port, for the length of a `with`."""

from __future__ import annotations

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

    from google.protobuf.message import Message


def _handlers(answers: dict[str, Callable[..., Any]]) -> list[grpc.GenericRpcHandler]:
    """What makes RPCs of *answers*, which are named after them."""
    return [
        grpc.method_handlers_generic_handler(
            service.full_name,
            {
                rpc.name: grpc.unary_unary_rpc_method_handler(
                    answers[rpc.name],
                    request_deserializer=GetMessageClass(rpc.input_type).FromString,
                    response_serializer=GetMessageClass(rpc.output_type).SerializeToString,
                )
                for rpc in service.methods
                if rpc.name in answers
            },
        )
        for service in SERVICES.values()
    ]


@asynccontextmanager
async def served(**answers: Callable[..., Coroutine[Any, Any, Any]]) -> AsyncIterator[str]:
    """Serve RPCs, each by the coroutine function of its name, and give the address."""
    async with starting(*_handlers(answers)) as target:
        yield target


@asynccontextmanager
async def starting(*handlers: grpc.GenericRpcHandler) -> AsyncIterator[str]:
    """Start a server and give its address."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@contextmanager
def served_by_threads(**answers: Callable[..., Any]) -> Iterator[str]:
    """Serve RPCs, each by the plain function of its name, and give the address."""
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=_handlers(answers))
        port = server.add_insecure_port("127.0.0.1:0")
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
