"""Traces: which calls are followed through the gateway, and how what is seen reaches a collector.

Nothing is registered with OpenTelemetry globally: each gateway has its own provider, and each span is given its parent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
from msgspec import Struct
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .spans import Kind, Span, Told

_log = structlog.get_logger(__name__)

_MOST_PARTS: Final = 1000
"""Spans of one trace, beside the call's own: a stream may last for days, and read a thousand pages."""

_WAITING: Final = 8192
"""Spans that wait for the collector at most; then the oldest go."""

_BATCH: Final = 512
"""Spans that are sent together at most."""

_EVERY: Final = 1.0
"""Seconds between two exports."""

_PATIENCE: Final = 5.0
"""Seconds that one export may take, with its repetitions."""

_FAREWELL: Final = 2.0
"""Seconds that what waits gets to reach the collector when the gateway stops."""

_NOTHING: Final = Context()

_NOT_TRACED: Final = "-00"
"""How `traceparent` ends where the caller does not trace its call."""

_NAMES: Final = {
    "code": "rpc.response.status_code",
    "collection": "db.collection.name",
    "database": "db.system.name",
    "host": "server.address",
    "keys": "db.operation.batch.size",
    "method": "http.request.method",
    "operation": "db.operation.name",
    "repetition": "http.request.resend_count",
    "rows": "db.response.returned_rows",
    "status": "http.response.status_code",
    "template": "url.template",
}
"""OpenTelemetry's names for words of ours; what it has none for is `tickgate.` and the word."""

_KINDS: Final[dict[Kind, SpanKind]] = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


class TracePolicy(Struct, frozen=True):
    """Which calls are traced, and where that is told."""

    endpoint: str
    """Address of the collector: http without TLS, https with it."""

    share: float
    """Share of calls, from 0 to 1, beside those whose caller traces them."""

    version: str
    """Of the gateway."""

    environment: str


class _Trace:
    """What the spans of one call have in common."""

    __slots__ = ("left", "left_out", "over", "tracer")

    def __init__(self, tracer: otel.Tracer) -> None:
        self.tracer = tracer
        self.left = _MOST_PARTS
        self.left_out = 0
        self.over = False


class OtelSpan:
    """A `Span` that OpenTelemetry records."""

    __slots__ = ("_context", "_span", "_trace")

    def __init__(self, span: otel.Span, trace: _Trace) -> None:
        """Record in *span*, a part of *trace*."""
        self._span = span
        self._trace = trace
        self._context: Context | None = None

    @property
    def trace_id(self) -> str:
        """Id of the trace: 32 hex digits."""
        return otel.format_trace_id(self._span.get_span_context().trace_id)

    def begin(self, name: str, kind: Kind, told: dict[str, Told]) -> Span | None:
        """Begin a part of this part, unless the call is over or has too many."""
        trace = self._trace
        if trace.over:
            # Some tasks outlive the call that began them, and what they do later is nobody's.
            return None
        if trace.left == 0:
            trace.left_out += 1
            return None
        trace.left -= 1
        if self._context is None:
            self._context = otel.set_span_in_context(self._span, _NOTHING)
        span = trace.tracer.start_span(
            name,
            context=self._context,
            kind=_KINDS[kind],
            attributes=_attributes(told),
            record_exception=False,
            set_status_on_exception=False,
        )
        return OtelSpan(span, trace)

    def tell(self, **told: Told) -> None:
        """Tell more of it."""
        self._span.set_attributes(_attributes(told))

    def join(self, leader: Span | None) -> None:
        """Note that it waits for work that another call has begun, with a link to that call where it is traced."""
        self._span.add_event("joined")
        if isinstance(leader, OtelSpan):
            self._span.add_link(leader._span.get_span_context())  # noqa: SLF001 - its own kind

    def fail(self, reason: str) -> None:
        """Note why it failed."""
        self._span.set_status(StatusCode.ERROR, reason)

    def end(self) -> None:
        """End it."""
        self._span.end()


class _Root(OtelSpan):
    """The span of a whole call."""

    __slots__ = ()

    def end(self) -> None:
        """End it, and with it the trace."""
        self._trace.over = True
        if self._trace.left_out:
            self.tell(parts_left_out=self._trace.left_out)
        super().end()


class OtelTracer:
    """Traces a share of all calls, and those whose caller traces them."""

    def __init__(
        self,
        tracer: otel.Tracer,
        share: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Record with *tracer*.

        Args:
            tracer: OpenTelemetry's.
            share: of calls, from 0 to 1.
            chance: draws, from 0 up to 1.
        """
        self._tracer = tracer
        self._share = share
        self._chance = chance
        self._w3c = TraceContextTextMapPropagator()

    def begin(self, method: str, traceparent: str) -> Span | None:
        """Begin to trace a call, or do not. A caller's trace is its parent, whoever wants the call traced."""
        chosen = self._chance() < self._share
        if not chosen and (not traceparent or traceparent.endswith(_NOT_TRACED)):
            return None
        caller = self._w3c.extract({"traceparent": traceparent}, _NOTHING)
        if not (chosen or otel.get_current_span(caller).get_span_context().trace_flags.sampled):
            return None
        service, _, name = method.partition("/")
        span = self._tracer.start_span(
            method,
            context=caller,
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": f"tickgate.v1.{service}",
                "rpc.method": name,
            },
            record_exception=False,
            set_status_on_exception=False,
        )
        return _Root(span, _Trace(self._tracer))


class _Ended(SpanProcessor):
    """Counts the spans that have ended."""

    def __init__(self) -> None:
        self.count = 0

    def on_end(self, _: ReadableSpan) -> None:
        self.count += 1


class _Watched(SpanExporter):
    """The wrapped exporter, whose success or failure is said when it changes, and not with every batch."""

    def __init__(self, exporter: SpanExporter, endpoint: str, ended: _Ended) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._ended = ended
        self._failing = False
        self._taken = 0
        self._failed = 0

    @property
    def lost(self) -> int:
        """How many have not reached the collector, as far as is known while others may be waiting."""
        return self._failed + max(0, self._ended.count - self._taken - _WAITING)

    @property
    def lost_in_all(self) -> int:
        """How many have not reached the collector, now that none waits."""
        return self._failed + self._ended.count - self._taken

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send *spans*."""
        self._taken += len(spans)
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        self._failed += failed * len(spans)
        if failed != self._failing:
            self._failing = failed
            _log.warning(
                "traces_state",
                state="down" if failed else "up",
                endpoint=self._endpoint,
                lost=self.lost,
            )
        return result

    def shutdown(self) -> None:
        """Send nothing any more, and give up what is being sent."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Tell that nothing is kept here."""
        return self._exporter.force_flush(timeout_millis)


@asynccontextmanager
async def tracing(policy: TracePolicy) -> AsyncIterator[OtelTracer]:
    """Trace calls and tell the collector of *policy*, for the length of the block.

    A collector that is away disturbs nothing: so many spans wait for it, and then the oldest go. At the end what waits
    gets some seconds to reach it.
    """
    # What it says of each failure, and of each span that goes, is said here once; it would be thousands of lines.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    plain = policy.endpoint.startswith("http:")
    sending = OTLPSpanExporter(policy.endpoint, insecure=plain, timeout=_PATIENCE)
    ended = _Ended()
    exporter = _Watched(sending, policy.endpoint, ended)
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource.create(
            {
                "service.name": "tickgate",
                "service.version": policy.version,
                "deployment.environment.name": policy.environment,
            }
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(ended)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=_WAITING,
            schedule_delay_millis=_EVERY * 1000,
            max_export_batch_size=_BATCH,
        )
    )
    try:
        yield OtelTracer(provider.get_tracer("tickgate", policy.version), policy.share)
    finally:
        await asyncio.to_thread(_end, provider, exporter)


def _end(provider: TracerProvider, exporter: _Watched) -> None:
    # OpenTelemetry would wait half a minute for a collector that is away.
    ending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
    ending.start()
    ending.join(_FAREWELL)
    if ending.is_alive():
        exporter.shutdown()
        ending.join(_FAREWELL)
    if exporter.lost_in_all:
        _log.warning("traces_lost", count=exporter.lost_in_all)


def _attributes(told: dict[str, Told]) -> dict[str, Told]:
    return {_NAMES.get(word) or f"tickgate.{word}": value for word, value in told.items()}
