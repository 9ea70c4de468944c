"""A collector of traces: what OTLP over gRPC brings, as spans that can be looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.common.v1 import common_pb2

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_PATIENCE = 10.0


@dataclass(frozen=True)
class Seen:
    """A span, as it was exported."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    failed: str | None
    """What its status says of a failure; None where it has none."""

    events: tuple[str, ...]
    links: tuple[str, ...]
    """Traces that it points at."""


@dataclass
class Collector:
    """What has been exported so far."""

    port: int = 0
    spans: list[Seen] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    raw: list[bytes] = field(default_factory=list)
    """The exports as they came."""

    headers: dict[str, str | bytes] = field(default_factory=dict)
    """What came with the last of them."""

    secure: bool = False

    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"

    def named(self, name: str) -> list[Seen]:
        """Return the spans called *name*."""
        return [span for span in self.spans if span.name == name]

    def below(self, parent: Seen) -> list[Seen]:
        """Return the parts of *parent*."""
        return [
            span
            for span in self.spans
            if (span.trace_id, span.parent_id) == (parent.trace_id, parent.span_id)
        ]

    async def until(self, enough: Callable[[Sequence[Seen]], bool]) -> None:
        """Wait until what has come is *enough*."""
        async with asyncio.timeout(_PATIENCE):
            while not enough(self.spans):
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def collecting(
    port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[Collector]:
    """Take traces on *port*, a free one by default, for the length of the block; over TLS with *credentials*."""
    collector = Collector(secure=credentials is not None)

    async def export(
        request: pb.ExportTraceServiceRequest,
        context: grpc.aio.ServicerContext[
            pb.ExportTraceServiceRequest, pb.ExportTraceServiceResponse
        ],
    ) -> pb.ExportTraceServiceResponse:
        collector.headers = dict(context.invocation_metadata() or ())
        collector.raw.append(request.SerializeToString())
        for resource in request.resource_spans:
            collector.resource.update(_plain(resource.resource.attributes))
            for scope in resource.scope_spans:
                collector.spans += map(_seen, scope.spans)
        collector.came.set()
        return pb.ExportTraceServiceResponse()

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=pb.ExportTraceServiceRequest.FromString,
        response_serializer=pb.ExportTraceServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),)
    )
    place = f"127.0.0.1:{port}"
    collector.port = (
        server.add_insecure_port(place)
        if credentials is None
        else server.add_secure_port(place, credentials)
    )
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


def _seen(span: Any) -> Seen:
    return Seen(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_plain(span.attributes),
        failed=span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
        events=tuple(event.name for event in span.events),
        links=tuple(link.trace_id.hex() for link in span.links),
    )


def _plain(attributes: Sequence[common_pb2.KeyValue]) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: common_pb2.AnyValue) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_value(one) for one in value.array_value.values]
    return None if which is None else getattr(value, which)
