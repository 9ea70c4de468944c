"""Traces of a whole gateway, as a collector gets them by OTLP."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs

from tickgate.v1 import history_service_pb2 as history
from tickgate.v1 import quote_service_pb2 as quotes
from tickgate_sandbox import faults
from tickgate_server.market.time import parse_rfc3339
from tickgate_server.observe import traces

from ..support.certificates import Authority
from ..support.following import watching
from ..support.otlp import Collector, Seen, collecting
from ..support.running import Stack, running
from ..support.stores import postgres_url, redis_url
from ..support.waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
GET_QUOTE = "QuoteService/GetQuote"
SERVER, CLIENT = 2, 3
"""Kinds of spans, by their numbers on the wire."""

QUIET: dict[str, Any] = {"stream": {"enabled": False}}


def traced(collector: Collector, share: float = 1.0) -> dict[str, Any]:
    """Settings of a gateway that tells *collector*."""
    return {"endpoint": collector.endpoint, "share": share}


async def ask(stack: Stack, symbol: str = "AAPL", **metadata: str) -> None:
    """Ask for a quote."""
    request = quotes.GetQuoteRequest(symbol=symbol)
    await stack.quotes.GetQuote(request, metadata=tuple(metadata.items()))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def names(spans: Sequence[Seen]) -> list[str]:
    """What *spans* are called."""
    return [span.name for span in spans]


async def test_a_cold_quote_is_one_tree() -> None:
    """A quote that nobody had is one trace: Redis, the budget with its Redis, the request to Alpaca, its reading."""
    with redis_url() as url:
        async with (
            collecting() as collector,
            running(redis_url=url, traces=traced(collector), **QUIET) as stack,
        ):
            await ask(stack, **{"x-request-id": "mine"})
            await collector.until(lambda spans: GET_QUOTE in names(spans))
    (root,) = collector.named(GET_QUOTE)
    parts = {part.name: part for part in collector.below(root)}

    assert root.kind == SERVER
    assert not root.parent_id
    assert root.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "tickgate.v1.QuoteService",
        "rpc.method": "GetQuote",
        "rpc.response.status_code": "OK",
        "tickgate.request_id": "mine",
        "tickgate.feed": "iex",
        "tickgate.symbols": 1,
        "tickgate.values_asked": 1,
        "tickgate.values_given": 1,
        "tickgate.tiers": ["upstream"],
    }
    assert list(parts) == ["MGET", "budget", "GET /v2/stocks/quotes/latest", "parse", "encode"]
    assert parts["MGET"].attributes == {
        "db.system.name": "redis",
        "db.operation.name": "MGET",
        "db.operation.batch.size": 1,
    }
    assert names(collector.below(parts["budget"])) == ["EVALSHA"]
    request = parts["GET /v2/stocks/quotes/latest"]
    assert request.kind == CLIENT
    assert request.attributes == {
        "http.request.method": "GET",
        "http.request.resend_count": 0,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "url.template": "/v2/stocks/quotes/latest",
        "tickgate.group": "latest",
        "tickgate.bytes": request.attributes["tickgate.bytes"],
    }
    assert collector.resource["service.name"] == "tickgate"
    assert not any(b"AAPL" in export for export in collector.raw)


async def test_history_shows_statements_by_table() -> None:
    """A page of bars shows what PostgreSQL was asked, by verb and table and with its rows, and what Alpaca was."""
    moments: dict[str, Any] = {
        "start_time": Timestamp(seconds=parse_rfc3339("2026-09-30T14:30:00Z") // 10**9),
        "end_time": Timestamp(seconds=parse_rfc3339("2026-09-30T14:31:00Z") // 10**9),
    }
    request = history.ListBarsRequest(symbols=["AAPL"], timeframe="1Min", **moments)
    with postgres_url() as url:
        async with (
            collecting() as collector,
            running(postgres_url=url, traces=traced(collector), **QUIET) as stack,
        ):
            await stack.history.ListBars(request)
            await collector.until(lambda spans: "HistoryService/ListBars" in names(spans))
    (root,) = collector.named("HistoryService/ListBars")
    parts = {part.name: part for part in collector.below(root)}
    assert {"SELECT history_series", "SELECT history_covered", "GET /v2/stocks/bars"} < set(parts)
    assert parts["SELECT history_series"].attributes == {
        "db.system.name": "postgresql",
        "db.operation.name": "SELECT",
        "db.collection.name": "history_series",
        "db.response.returned_rows": 0,
    }
    assert not any(b"AAPL" in export for export in collector.raw)


async def test_a_caller_is_the_parent() -> None:
    """A sampled traceparent is honoured, even where no other call is traced."""
    async with (
        collecting() as collector,
        running(traces=traced(collector, share=0.0), **QUIET) as stack,
    ):
        await ask(stack)
        await ask(stack, "MSFT", traceparent=SAMPLED)
        await collector.until(lambda spans: GET_QUOTE in names(spans))
    (root,) = collector.named(GET_QUOTE)
    assert (root.trace_id, root.parent_id) == (TRACE, "b7ad6b7169203331")


async def test_a_refused_call_is_an_error_by_reason() -> None:
    """A call that fails is an error with our reason; so is a request that Alpaca did not answer well."""
    async with collecting() as collector, running(traces=traced(collector), **QUIET) as stack:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(stack, "no symbol!")
        stack.sandbox.faults.add(faults.Status(path="/v2/stocks", status=500))
        await ask(stack)
        await collector.until(lambda spans: names(spans).count(GET_QUOTE) == 2)
    refused, answered = collector.named(GET_QUOTE)
    assert refused.failed == "INVALID_REQUEST"
    assert refused.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert answered.failed is None
    assert answered.attributes["tickgate.reason"] == "UPSTREAM_ERROR"
    failed = collector.named("GET /v2/stocks/quotes/latest")
    assert {span.failed for span in failed} == {"UPSTREAM_ERROR"}
    assert [span.attributes["http.response.status_code"] for span in failed] == [500] * len(failed)
    repeated = [span.attributes["http.request.resend_count"] for span in failed]
    assert repeated == list(range(len(failed)))
    assert len(failed) > 1


async def test_a_stream_is_one_span() -> None:
    """A watch is one span that ends with it and tells how much it brought."""
    async with collecting() as collector, running(traces=traced(collector)) as stack:
        async with watching(stack, "AAPL") as follower:
            await follower.until_updates(1, "AAPL")
        await collector.until(lambda spans: "StreamService/Watch" in names(spans))
    (root,) = collector.named("StreamService/Watch")
    assert root.attributes["tickgate.values_given"] >= 1
    assert root.attributes["tickgate.symbols"] == 1
    assert root.attributes["rpc.response.status_code"] == "CANCELLED"
    assert root.failed is None


async def test_what_is_left_is_sent_at_the_end() -> None:
    """A gateway that stops sends what has ended and was not sent yet."""
    async with collecting() as collector:
        async with running(traces=traced(collector), **QUIET) as stack:
            await ask(stack)
        assert names(collector.named(GET_QUOTE)) == [GET_QUOTE]


async def test_a_collector_may_want_tls_and_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An https address is TLS, checked against OpenTelemetry's own variable, whose headers are sent along."""
    authority = Authority()
    shown = authority.issue("collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.write(tmp_path / "ca.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-word=open sesame")
    credentials = grpc.ssl_server_credentials([(shown.key, shown.certificate)])
    async with collecting(credentials=credentials) as collector:
        async with running(traces=traced(collector), **QUIET) as stack:
            await ask(stack)
        assert names(collector.named(GET_QUOTE)) == [GET_QUOTE]
    assert collector.headers["x-word"] == "open sesame"


async def test_spans_that_are_lost_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not reach the collector is counted to the last span, whether it failed or had no room to wait."""
    monkeypatch.setattr(traces, "_WAITING", 20)
    monkeypatch.setattr(traces, "_BATCH", 10)
    settings = {"endpoint": f"http://127.0.0.1:{free_port()}", "share": 1.0}
    with capture_logs() as logs:
        async with running(traces=settings, **QUIET) as stack:
            await ask(stack)
            for _ in range(100):
                await ask(stack)
    (lost,) = [line["count"] for line in logs if line["event"] == "traces_lost"]
    # The first has asked Alpaca; each of them is a call, and its answer was encoded.
    assert lost == 101 * 2 + len(["budget", "GET", "parse"])


async def test_a_collector_that_is_away_disturbs_nobody() -> None:
    """Without a collector calls are answered; that it is away, and that it is back, is one line each."""
    port = free_port()
    settings = {"endpoint": f"http://127.0.0.1:{port}", "share": 1.0}
    with capture_logs() as logs:

        def states() -> list[str]:
            return [line["state"] for line in logs if line["event"] == "traces_state"]

        async with running(traces=settings, **QUIET) as stack:
            for _ in range(200):
                await ask(stack)
            await until(lambda: states() == ["down"])
            async with collecting(port) as collector:
                await ask(stack, "MSFT")
                await until(lambda: states() == ["down", "up"])
                assert collector.named(GET_QUOTE)
    assert logging.getLogger("opentelemetry").getEffectiveLevel() == logging.CRITICAL


async def test_stopping_does_not_wait_for_a_collector() -> None:
    """A gateway stops within some seconds also when its collector takes connections and never answers."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        async with running(traces={"endpoint": endpoint, "share": 1.0}, **QUIET) as stack:
            await ask(stack)
            left = loop.time()
        assert loop.time() - left < 6
