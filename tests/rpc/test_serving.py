"""Health, reflection, request ids, status, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tickgate.v1 import freshness_pb2, market_session_pb2, provenance_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate.v1.stream_service_pb2_grpc import StreamServiceStub
from tickgate_sandbox import faults, sandbox
from tickgate_server import __version__
from tickgate_server.app import gateway
from tickgate_server.rpc.serving import SERVICES

from ..fuzz.http2 import BAD_PATH, send
from ..support.following import following
from ..support.proxy import fault_proxy
from ..support.running import FROZEN, running, settings_for

SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_health_knows_each_service() -> None:
    """Health answers SERVING for the server and each of its services, NOT_FOUND for others."""
    async with running() as stack:
        health: Any = health_pb2_grpc.HealthStub(stack.channel)
        for name in ("", *(service.full_name for service in SERVICES)):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await health.Check(health_pb2.HealthCheckRequest(service="tickgate.v1.NoService"))
        assert failed.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_path_that_is_no_text_stops_nobody_for_long() -> None:
    """A header that ends gRPC's own loop, which whoever reaches the port may send, costs a moment, however often."""
    async with running() as stack:
        for _ in range(3):
            await send(stack.target, BAD_PATH)
            answer = await stack.quotes.GetQuote(
                pb.GetQuoteRequest(symbol="AAPL"), timeout=20, wait_for_ready=True
            )
            assert answer.result.HasField("quote")
        health: Any = health_pb2_grpc.HealthStub(stack.channel)
        told = await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        assert told.status == SERVING


async def test_reflection_lists_every_service() -> None:
    """Reflection lists the services of the contract, health and itself."""
    async with running() as stack:
        channel: Any = stack.channel
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = reflection.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        await call.done_writing()

        listed = {service.name for service in answer.list_services_response.service}
        assert {service.full_name for service in SERVICES} < listed
        assert "grpc.health.v1.Health" in listed


async def test_request_id_comes_back_in_the_trailers_only() -> None:
    """The caller's request id returns as a trailer; no initial metadata is sent, which would stop retries."""
    async with running() as stack:
        call = stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="ZZZZ"), metadata=(("x-request-id", "order-77"),)
        )
        answer = await call

        assert answer.result.unavailable.request_id == "order-77"
        assert dict(await call.trailing_metadata())["x-request-id"] == "order-77"
        assert "x-request-id" not in dict(await call.initial_metadata())


async def test_request_id_is_made_when_none_came() -> None:
    """A call without a request id gets one, another for each call."""
    async with running() as stack:
        ids = set()
        for _ in range(3):
            call = stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
            await call
            ids.add(dict(await call.trailing_metadata())["x-request-id"])

        assert len(ids) == 3


async def test_overlong_request_id_is_refused() -> None:
    """A request id of more than 128 characters is refused by name."""
    async with running() as stack:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stack.quotes.GetQuote(
                pb.GetQuoteRequest(symbol="AAPL"), metadata=(("x-request-id", "x" * 129),)
            )

        assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "x-request-id" in (failed.value.details() or "")


async def test_status_reports_what_has_been_seen() -> None:
    """GetStatus tells version, environment, market, upstream groups, memory and refusals as they were counted."""
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "MSFT", '{"t":"2026-10-01T15:00:00Z","bp":3,"ap":2}')
        for symbol in ("AAPL", "AAPL", "MSFT"):
            await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol=symbol))
        stack.sandbox.faults.add(faults.Html401(path="/v2/stocks/trades"))
        await stack.quotes.GetLatestTrade(pb.GetLatestTradeRequest(symbol="AAPL"))
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())

        assert (status.version, status.environment) == (__version__, "sandbox")
        assert status.source == provenance_pb2.DATA_SOURCE_SANDBOX
        assert status.default_stock_feed == provenance_pb2.FEED_IEX
        assert status.market_time.ToJsonString() == "2026-10-01T15:00:00Z"
        assert status.market_session == market_session_pb2.MARKET_SESSION_OPEN
        assert status.calls_in_flight == 1
        latest = next(one for one in status.upstreams if one.group == "latest")
        assert (latest.requests, latest.failures, latest.in_flight) == (3, 1, 0)
        assert latest.state == status_pb.UPSTREAM_STATE_UNAUTHENTICATED
        assert latest.last_latency.ToNanoseconds() > 0
        book, memory, redis = status.tiers
        assert (memory.tier, memory.hits, memory.misses) == (provenance_pb2.TIER_MEMORY, 1, 3)
        assert (book.state, redis.state) == (status_pb.TIER_STATE_UP, status_pb.TIER_STATE_OFF)
        assert [(one.rule, one.count) for one in status.refusals] == [("crossed", 1)]


async def test_status_tells_of_hanging_and_unreadable_answers() -> None:
    """A deadline that passes counts as a failure of the upstream, and an answer that cannot be read by its rule."""
    async with running() as stack:
        stack.sandbox.faults.add(faults.Hang(path="/v2/stocks/quotes", times=1))
        await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"), timeout=0.5)
        failing = await stack.status.GetStatus(status_pb.GetStatusRequest())
        stack.sandbox.faults.add(faults.Garbage(path="/v2/stocks/quotes"))
        await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        garbled = await stack.status.GetStatus(status_pb.GetStatusRequest())

        latest = next(one for one in failing.upstreams if one.group == "latest")
        assert (latest.failures, latest.state) == (1, status_pb.UPSTREAM_STATE_FAILING)
        assert [(one.rule, one.count) for one in garbled.refusals] == [("unreadable", 1)]


async def test_leaving_answers_what_is_under_way() -> None:
    """A stopping gateway says NOT_SERVING first and still answers the calls under way."""
    async with sandbox(replace(FROZEN, listen="127.0.0.1:0")) as upstream:
        entered = gateway(settings_for(upstream.url, drain=5.0))
        served = await entered.__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == SERVING
            upstream.faults.add(faults.Latency(path="/v2/stocks", seconds=60))
            call: Any = channel.unary_unary("/tickgate.v1.QuoteService/GetQuote")
            under_way = asyncio.ensure_future(
                call(pb.GetQuoteRequest(symbol="AAPL").SerializeToString())
            )
            # The sandbox counts what arrives and has no event for it; no time passes here but the loop's own.
            while not upstream.counters.endpoints["/v2/stocks/quotes/latest"]:  # noqa: ASYNC110
                await asyncio.sleep(0)
            leaving = asyncio.create_task(entered.__aexit__(None, None, None))
            told = (await watching.read()).status
            upstream.faults.clear()
            answer = pb.GetQuoteResponse.FromString(await under_way)
            await leaving

    assert told == health_pb2.HealthCheckResponse.NOT_SERVING
    assert answer.result.quote.bid.price.value


async def test_whoever_has_not_heard_of_the_leaving_is_answered() -> None:
    """A call that comes after NOT_SERVING, before its caller can have heard it, is answered like any other."""
    async with sandbox(replace(FROZEN, listen="127.0.0.1:0")) as upstream:
        entered = gateway(settings_for(upstream.url, drain=5.0))
        served = await entered.__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == SERVING
            leaving = asyncio.create_task(entered.__aexit__(None, None, None))
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            call: Any = channel.unary_unary("/tickgate.v1.QuoteService/GetQuote")
            late = await call(pb.GetQuoteRequest(symbol="AAPL").SerializeToString())
            await leaving

    assert pb.GetQuoteResponse.FromString(late).result.quote.bid.price.value


async def test_leaving_is_said_before_anything_ends() -> None:
    """A stopping gateway says NOT_SERVING at once, also while its upstream takes its time to say goodbye."""
    async with (
        sandbox(replace(FROZEN, listen="127.0.0.1:0")) as upstream,
        fault_proxy(int(upstream.url.rpartition(":")[2])) as proxy,
    ):
        stream_url = f"ws://127.0.0.1:{proxy.port}"
        entered = gateway(settings_for(upstream.url, alpaca={"stream_url": stream_url}))
        served = await entered.__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching_ = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watching_.read()).status == SERVING
            async with following(StreamServiceStub(channel), "AAPL") as follower:
                await follower.until_state("AAPL", "LIVE")
                # The upstream never hears the goodbye, so that the gateway waits for its answer.
                proxy.blackhole()
                leaving = asyncio.create_task(entered.__aexit__(None, None, None))
                told = asyncio.create_task(watching_.read())
                first, _ = await asyncio.wait({told, leaving}, return_when=asyncio.FIRST_COMPLETED)
            await leaving

    assert first == {told}
    assert told.result().status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_deadline_of_the_call_bounds_the_upstream() -> None:
    """A caller whose deadline passes is told UPSTREAM_TIMEOUT just before it, not cut off."""
    async with running() as stack:
        stack.sandbox.faults.add(faults.Hang(path="/v2/stocks"))
        freshness = freshness_pb2.Freshness(max_age=Duration())
        answer = await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol="AAPL", freshness=freshness), timeout=1
        )

        assert "before the deadline" in answer.result.unavailable.message


async def test_address_in_use_is_said_plainly() -> None:
    """A listen address that is taken stops the start with a sentence that names it."""
    async with running() as stack:
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:"):
            async with gateway(settings_for(stack.sandbox.url, listen=stack.target)):
                pass
