"""Every call that the contract has, read from its descriptors: a new one is there without anybody writing it down."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tickgate import v1


@dataclass(frozen=True, slots=True)
class Rpc:
    """One call of the contract."""

    service: str
    name: str
    path: str
    request: type[Message]
    response: type[Message]
    asks_on: bool
    """Whether the caller sends several messages."""

    answers_on: bool
    """Whether the gateway does."""

    def __str__(self) -> str:
        return f"{self.service}.{self.name}"

    def on(self, channel: grpc.aio.Channel) -> Any:
        """Return what calls it on *channel*."""
        shape = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, True): channel.stream_stream,
        }[self.asks_on, self.answers_on]
        return shape(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.response.FromString,
        )


def contract() -> Mapping[str, Rpc]:
    """Return every call by its name."""
    found: dict[str, Rpc] = {}
    for module in pkgutil.iter_modules(v1.__path__):
        if not module.name.endswith("_pb2"):
            continue
        descriptor = importlib.import_module(f"{v1.__name__}.{module.name}").DESCRIPTOR
        for service in descriptor.services_by_name.values():
            for method in service.methods:
                rpc = Rpc(
                    service.name,
                    method.name,
                    f"/{service.full_name}/{method.name}",
                    GetMessageClass(method.input_type),
                    GetMessageClass(method.output_type),
                    method.client_streaming,
                    method.server_streaming,
                )
                found[str(rpc)] = rpc
    return found
