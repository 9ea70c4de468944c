"""Takes traces by OTLP over gRPC, as a collector does, and counts them: it says "spans N" after each export.

python -m benchmarks.otlp_sink    it says "listening on PORT" when it takes them
"""

from __future__ import annotations

import asyncio
import signal

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


async def serve() -> None:
    """Take traces until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    spans = 0

    async def export(
        request: pb.ExportTraceServiceRequest,
        _: grpc.aio.ServicerContext[pb.ExportTraceServiceRequest, pb.ExportTraceServiceResponse],
    ) -> pb.ExportTraceServiceResponse:
        nonlocal spans
        spans += sum(
            len(scope.spans) for each in request.resource_spans for scope in each.scope_spans
        )
        print(f"spans {spans}", flush=True)
        return pb.ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=pb.ExportTraceServiceRequest.FromString,
        response_serializer=pb.ExportTraceServiceResponse.SerializeToString,
    )
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on {port}", flush=True)
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve())
