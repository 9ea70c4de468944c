"""AdminService over gRPC: for those on this machine, findable, and telling what other calls did not get."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tickgate.v1 import admin_service_pb2 as pb
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import option_service_pb2 as options
from tickgate.v1 import provenance_pb2
from tickgate.v1 import quote_service_pb2 as quotes
from tickgate_server.market.provenance import Feed
from tickgate_server.market.value_kind import ValueKind

from ..support.admin import FakeCaches, Parts, served
from ..support.fakes import quote
from ..support.running import running

ADMIN = "tickgate.v1.AdminService"


async def test_what_a_call_did_not_get_can_be_looked_up() -> None:
    """A value that was not given, and a request that was wrong, are listed under the id that their answers named."""
    parts = Parts()
    parts.quotes.values = {"AAPL": quote("AAPL")}
    async with served(parts) as face:
        answer = await face.quotes.GetQuotes(quotes.GetQuotesRequest(symbols=["AAPL", "ZZZZ"]))
        missed = answer.results[1].unavailable
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await face.quotes.GetQuote(quotes.GetQuoteRequest(symbol="aapl"))
        wrong_id = dict(failed.value.trailing_metadata())["x-request-id"]
        found = await face.admin.ListErrors(pb.ListErrorsRequest(request_id=missed.request_id))
        wrong = await face.admin.ListErrors(
            pb.ListErrorsRequest(reasons=[reasons.ERROR_REASON_INVALID_REQUEST])
        )

    (record,) = found.errors
    assert (record.reason, record.message) == (missed.reason, missed.message)
    context = MessageToDict(record.context)
    assert (context["endpoint"], context["symbols"]) == ("QuoteService/GetQuotes", ["ZZZZ"])
    assert [one.request_id for one in wrong.errors] == [wrong_id]


async def test_dropped_values_are_counted() -> None:
    """InvalidateCache answers how many entries it dropped."""
    parts = Parts(caches=FakeCaches([Feed.IEX], ["AAPL", "IBM"]))
    async with served(parts) as face:
        answer = await face.admin.InvalidateCache(pb.InvalidateCacheRequest(symbols=["AAPL"]))

    assert (answer.memory_entries, answer.redis_entries) == (len(ValueKind), len(ValueKind))


async def test_a_wrong_filter_is_refused_by_its_field() -> None:
    """A request that breaks rules fails with INVALID_ARGUMENT and names each field."""
    async with served(Parts()) as face:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await face.admin.ListErrors(pb.ListErrorsRequest(page_size=-1, page_token="junk"))

    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(failed.value.trailing_metadata())
    said = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    bad_request = error_details_pb2.BadRequest()
    assert said.details[1].Unpack(bad_request)
    assert [one.field for one in bad_request.field_violations] == ["page_size", "page_token"]


async def test_a_socket_of_this_machine_is_loopback() -> None:
    """A caller over a Unix socket is an operator."""
    # A socket's path has at most some hundred bytes, which pytest's own folders may exceed.
    with tempfile.TemporaryDirectory() as folder:
        async with served(Parts(), f"unix:{Path(folder) / 'gateway'}") as face:
            answer = await face.admin.ListErrors(pb.ListErrorsRequest())

    assert answer.place == pb.ERROR_LOG_PLACE_RING


async def test_the_service_can_be_found() -> None:
    """Health and reflection know AdminService, so grpcurl can call it."""
    async with served(Parts()) as face, grpc.aio.insecure_channel(f"127.0.0.1:{face.port}") as raw:
        channel: Any = raw
        health: Any = health_pb2_grpc.HealthStub(channel)
        state = await health.Check(health_pb2.HealthCheckRequest(service=ADMIN))
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=ADMIN))
        described = await call.read()
        await call.done_writing()

    assert state.status == health_pb2.HealthCheckResponse.SERVING
    assert described.HasField("file_descriptor_response")


# ------------------------------------------------------------------------------ a whole gateway


async def test_what_was_dropped_is_asked_for_again() -> None:
    """After InvalidateCache the next question goes to the upstream, and only for what was dropped."""
    async with running() as stack:
        both = quotes.GetQuotesRequest(symbols=["AAPL", "MSFT"])
        await stack.quotes.GetQuotes(both)
        dropped = await stack.admin.InvalidateCache(pb.InvalidateCacheRequest(symbols=["AAPL"]))
        again = await stack.quotes.GetQuotes(both)
        tiers = [result.quote.provenance.served_from for result in again.results]

    assert dropped.memory_entries == 1
    assert not dropped.HasField("redis_entries")
    assert tiers == [provenance_pb2.TIER_UPSTREAM, provenance_pb2.TIER_MEMORY]


async def test_a_kind_and_a_feed_are_dropped_alone() -> None:
    """An invalidation of one kind or of another feed leaves everything else where it is."""
    async with running() as stack:
        await stack.quotes.GetQuote(quotes.GetQuoteRequest(symbol="AAPL"))
        trade = await stack.admin.InvalidateCache(
            pb.InvalidateCacheRequest(kinds=[pb.VALUE_KIND_TRADE])
        )
        feed = await stack.admin.InvalidateCache(
            pb.InvalidateCacheRequest(feed=provenance_pb2.FEED_DELAYED_SIP)
        )
        quote = await stack.admin.InvalidateCache(
            pb.InvalidateCacheRequest(feed=provenance_pb2.FEED_IEX, kinds=[pb.VALUE_KIND_QUOTE])
        )

    assert [one.memory_entries for one in (trade, feed, quote)] == [0, 0, 1]


async def test_a_chain_that_was_dropped_is_read_again() -> None:
    """Chains are dropped by their underlying, with the lists of contracts of every feed, and others are kept."""
    async with running() as stack:
        chains = [options.GetOptionChainRequest(underlying_symbol=one) for one in ("AAPL", "MSFT")]
        contracts = options.ListOptionContractsRequest(underlying_symbol="AAPL")
        for chain in chains:
            await stack.options.GetOptionChain(chain)
        await stack.options.ListOptionContracts(contracts)
        of_feed = await stack.admin.InvalidateCache(
            pb.InvalidateCacheRequest(
                feed=provenance_pb2.FEED_OPRA, kinds=[pb.VALUE_KIND_OPTION_CHAIN]
            )
        )
        dropped = await stack.admin.InvalidateCache(
            pb.InvalidateCacheRequest(symbols=["AAPL"], kinds=[pb.VALUE_KIND_OPTION_CHAIN])
        )
        again = [await stack.options.GetOptionChain(chain) for chain in chains]

    assert (of_feed.memory_entries, dropped.memory_entries) == (0, 2)
    assert [one.page.header.served_from for one in again] == [
        provenance_pb2.TIER_UPSTREAM,
        provenance_pb2.TIER_MEMORY,
    ]


async def test_an_option_quote_that_was_dropped_is_asked_for_again() -> None:
    """Option quotes are dropped by contract, feed and kind as quotes of stocks are by symbol."""
    async with running() as stack:
        listed = await stack.options.ListOptionContracts(
            options.ListOptionContractsRequest(underlying_symbol="AAPL", page_size=2)
        )
        both = [contract.symbol for contract in listed.page.contracts]
        asked = options.GetOptionQuotesRequest(symbols=both)
        await stack.options.GetOptionQuotes(asked)
        wanted = pb.InvalidateCacheRequest(
            symbols=both[:1],
            feed=provenance_pb2.FEED_INDICATIVE,
            kinds=[pb.VALUE_KIND_OPTION_QUOTE],
        )
        dropped = await stack.admin.InvalidateCache(wanted)
        again = await stack.options.GetOptionQuotes(asked)

    assert dropped.memory_entries == 1
    assert [result.option_quote.quote.provenance.served_from for result in again.results] == [
        provenance_pb2.TIER_UPSTREAM,
        provenance_pb2.TIER_MEMORY,
    ]


async def test_a_refused_record_is_listed_with_its_evidence() -> None:
    """A record that no value could be made of is listed with the rule that refused it, for those who look it up."""
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "MSFT", '{"t":"2026-10-01T15:00:00Z","bp":3,"ap":2}')
        answer = await stack.quotes.GetQuote(quotes.GetQuoteRequest(symbol="MSFT"))
        listed = await stack.admin.ListErrors(
            pb.ListErrorsRequest(request_id=answer.result.unavailable.request_id)
        )

    (record,) = listed.errors
    context = MessageToDict(record.context)
    assert record.reason == reasons.ERROR_REASON_INVALID_DATA
    assert (context["origin"], context["rule"]) == ("call", "crossed")
    assert context["evidence"] == answer.result.unavailable.refusal.evidence
