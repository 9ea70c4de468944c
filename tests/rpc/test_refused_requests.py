"""Requests that break a rule: INVALID_ARGUMENT at once, naming field and rule, without an upstream call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from google.type.date_pb2 import Date

from tickgate.v1 import asset_pb2, freshness_pb2
from tickgate.v1 import quote_service_pb2 as quotes
from tickgate.v1 import reference_service_pb2 as reference
from tickgate_sandbox import faults
from tickgate_server.market.asset import AssetQuery
from tickgate_server.rpc.paging import AssetPosition, encode_token

from ..support.running import Stack, running

WRONG_SYMBOLS = [
    "",
    "aapl",
    "ABCDEFGHIJK",
    "ÄPPL",
    "AAPL\n",
    "AA PL",
    " AAPL",
    "BRK.",
    ".B",
    "A.B.C",
    "BRK-B",
    "AAPL1",
    "AAPL250620C00100000",
    "\N{FULLWIDTH LATIN CAPITAL LETTER A}",
]
"""Empty, lower case, too long, not ASCII, control character, blanks, dots in wrong places, digits, an OCC symbol."""


def tiers(*numbers: int) -> Any:
    """Return *numbers* where the stubs want members: some are none, which is the point."""
    return list(numbers)


async def refusal(call: Callable[[Any], Any], request: Message) -> dict[str, str]:
    """Return the violations that *call* answers *request* with, rule by field."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(request)
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(failed.value.trailing_metadata())
    assert trailers["grpc-retry-pushback-ms"] == "-1"
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad_request)
    assert (info.reason, info.domain) == ("INVALID_REQUEST", "tickgate")
    assert info.metadata["request_id"] == trailers["x-request-id"]
    return {one.field: one.description for one in bad_request.field_violations}


def single_calls(stack: Stack) -> list[tuple[Callable[[Any], Any], type[Message]]]:
    """Return every call that takes one symbol."""
    return [
        (stack.quotes.GetQuote, quotes.GetQuoteRequest),
        (stack.quotes.GetLatestTrade, quotes.GetLatestTradeRequest),
        (stack.quotes.GetSnapshot, quotes.GetSnapshotRequest),
        (stack.reference.GetAsset, reference.GetAssetRequest),
    ]


def batch_calls(stack: Stack) -> list[tuple[Callable[[Any], Any], type[Message]]]:
    """Return every call that takes several symbols."""
    return [
        (stack.quotes.GetQuotes, quotes.GetQuotesRequest),
        (stack.quotes.GetLatestTrades, quotes.GetLatestTradesRequest),
        (stack.quotes.GetSnapshots, quotes.GetSnapshotsRequest),
    ]


async def test_malformed_symbols_are_refused_everywhere() -> None:
    """A malformed symbol is refused by every call that takes one, in single calls and by index in batches."""
    async with running() as stack:
        for symbol in WRONG_SYMBOLS:
            for call, request in single_calls(stack):
                assert list(await refusal(call, request(symbol=symbol))) == ["symbol"]
            for call, request in batch_calls(stack):
                wrong = request(symbols=["AAPL", symbol])
                assert list(await refusal(call, wrong)) == ["symbols[1]"]

        assert stack.asked() == 0


async def test_batches_of_a_wrong_size_are_refused() -> None:
    """No symbol, 201 symbols and a symbol named twice are refused; 200 symbols are not."""
    many = [f"{chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(201)]
    async with running() as stack:
        for call, request in batch_calls(stack):
            assert "1 to 200" in (await refusal(call, request()))["symbols"]
            assert "not 201" in (await refusal(call, request(symbols=many)))["symbols"]
            twice = request(symbols=["AAPL", "MSFT", "AAPL"])
            assert await refusal(call, twice) == {"symbols[2]": "a request names each symbol once"}
        assert stack.asked() == 0

        answer = await stack.quotes.GetQuotes(quotes.GetQuotesRequest(symbols=many[:200]))
        assert [result.symbol for result in answer.results] == many[:200]


@pytest.mark.parametrize("number", [0, 7, 8, 99, -1])
async def test_wrong_feeds_are_refused(number: int) -> None:
    """An unspecified, unknown or option feed is refused, never replaced by a default."""
    async with running() as stack:
        for call, request in [*single_calls(stack)[:3], *batch_calls(stack)]:
            wrong = request(feed=number)
            field = "symbols" if "symbols" in request.DESCRIPTOR.fields_by_name else "symbol"
            assert set(await refusal(call, wrong)) == {"feed", field}
        assert stack.asked() == 0


@pytest.mark.parametrize(
    ("freshness", "field"),
    [
        (freshness_pb2.Freshness(max_age=Duration(seconds=-1)), "max_age"),
        (freshness_pb2.Freshness(max_age=Duration(nanos=-1)), "max_age"),
        (freshness_pb2.Freshness(max_age=Duration(seconds=1, nanos=-5)), "max_age"),
        (freshness_pb2.Freshness(max_age=Duration(seconds=1, nanos=2_000_000_000)), "max_age"),
        (freshness_pb2.Freshness(max_event_age=Duration(seconds=2**62)), "max_event_age"),
        (
            freshness_pb2.Freshness(max_event_age=Duration(seconds=3660 * 86400, nanos=1)),
            "max_event_age",
        ),
        (freshness_pb2.Freshness(allowed_tiers=tiers(0)), "allowed_tiers[0]"),
        (freshness_pb2.Freshness(allowed_tiers=tiers(2, 42)), "allowed_tiers[1]"),
        (freshness_pb2.Freshness(allowed_tiers=tiers(2, 5, 2)), "allowed_tiers[2]"),
        (freshness_pb2.Freshness(allowed_tiers=tiers(*[2] * 200_000)), "allowed_tiers"),
    ],
)
async def test_absurd_freshness_is_refused(freshness: freshness_pb2.Freshness, field: str) -> None:
    """Negative, malformed and absurd durations, unknown tiers and repeated ones are refused."""
    async with running() as stack:
        for call, request in single_calls(stack)[:3]:
            wrong = request(symbol="AAPL", freshness=freshness)
            assert list(await refusal(call, wrong)) == [f"freshness.{field}"]
        assert stack.asked() == 0


async def test_unknown_views_and_scores_are_refused() -> None:
    """An unspecified or unknown view and a score above 100 are refused, all in one answer."""
    async with running() as stack:
        for view in (0, 42):
            wrong = quotes.GetQuoteRequest(symbol="aapl", view=view, min_quality=101)  # type: ignore[arg-type]
            # A number that the enum does not have is the point.
            broken = await refusal(stack.quotes.GetQuote, wrong)
            assert set(broken) == {"symbol", "view", "min_quality"}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (reference.ListAssetsRequest(page_size=-1), "page_size"),
        (reference.ListAssetsRequest(query="A" * 101), "query"),
        (reference.ListAssetsRequest(query="A\x07"), "query"),
        (reference.ListAssetsRequest(exchange="N" * 41), "exchange"),
        (reference.ListAssetsRequest(attribute="\n"), "attribute"),
        (reference.ListAssetsRequest(status=0), "status"),  # type: ignore[arg-type]
        (reference.ListAssetsRequest(status=9), "status"),  # type: ignore[arg-type]
        (reference.ListAssetsRequest(page_token="not a token"), "page_token"),
        (reference.ListAssetsRequest(page_token="kwECAw=="), "page_token"),
        (reference.ListAssetsRequest(page_token="\u00fc"), "page_token"),
    ],
)
async def test_wrong_searches_are_refused(
    request_: reference.ListAssetsRequest, field: str
) -> None:
    """A search with a wrong page size, text, status or token is refused, naming the field."""
    async with running() as stack:
        assert list(await refusal(stack.reference.ListAssets, request_)) == [field]


async def test_wrong_page_token_costs_nothing() -> None:
    """A token that is none is refused before the list is asked for, one beyond the list's end as of another list."""
    broken_list = faults.Status(status=500, path="/v2/assets")
    async with running(before=lambda sandbox: sandbox.faults.add(broken_list)) as stack:
        wrong = reference.ListAssetsRequest(page_token="junk")
        assert list(await refusal(stack.reference.ListAssets, wrong)) == ["page_token"]
    async with running() as stack:
        page = (await stack.reference.ListAssets(reference.ListAssetsRequest(page_size=2))).page
        list_time = page.provenance.receive_time.ToNanoseconds()
        for offset in (10**6, 2**63 - 1, 2**64 - 1):
            forged = encode_token(AssetQuery(), AssetPosition(list_time, offset))
            wrong = reference.ListAssetsRequest(page_token=forged)
            assert list(await refusal(stack.reference.ListAssets, wrong)) == ["page_token"]


async def test_page_token_of_another_query_is_refused() -> None:
    """A page token goes with the query that made it; with another one it is refused."""
    async with running() as stack:
        page = (await stack.reference.ListAssets(reference.ListAssetsRequest(page_size=2))).page
        other = reference.ListAssetsRequest(
            page_token=page.next_page_token, status=asset_pb2.ASSET_STATUS_ACTIVE
        )
        broken = await refusal(stack.reference.ListAssets, other)

        assert "another query" in broken["page_token"]


@pytest.mark.parametrize(
    ("start", "end", "fields"),
    [
        (None, None, {"start_date", "end_date"}),
        (Date(year=2026, month=2, day=30), Date(year=2026, month=3, day=1), {"start_date"}),
        (Date(year=2026, month=3, day=1), Date(year=2026, month=3, day=1), {"end_date"}),
        (Date(year=2026, month=3, day=2), Date(year=2026, month=3, day=1), {"end_date"}),
        (Date(year=1969, month=12, day=31), Date(year=1970, month=3, day=1), {"start_date"}),
        (Date(year=2000, month=1, day=1), Date(year=2020, month=1, day=1), {"end_date"}),
        (Date(year=2026, month=1), Date(year=2030, month=1, day=2), {"start_date", "end_date"}),
    ],
)
async def test_wrong_ranges_are_refused(
    start: Date | None, end: Date | None, fields: set[str]
) -> None:
    """A range needs two whole dates within the calendar, the end after the start, ten years at most."""
    async with running() as stack:
        wrong = reference.ListMarketSessionsRequest(start_date=start, end_date=end)
        assert set(await refusal(stack.reference.ListMarketSessions, wrong)) == fields


@pytest.mark.parametrize(
    ("kind", "tape", "field"),
    [(0, "", "kind"), (9, "", "kind"), (1, "A", "tape"), (2, "", "tape"), (3, "Z", "tape")],
)
async def test_wrong_code_tables_are_refused(kind: int, tape: str, field: str) -> None:
    """Codes need a known kind, conditions a tape, exchanges none."""
    async with running() as stack:
        wrong = reference.ListCodesRequest(kind=kind, tape=tape)  # type: ignore[arg-type]
        # Numbers that the enum does not have are the point.
        assert list(await refusal(stack.reference.ListCodes, wrong)) == [field]


async def test_bytes_that_are_no_request_are_refused() -> None:
    """A body that is not the request's message is INVALID_ARGUMENT, not an internal error."""
    async with running() as stack:
        call: Any = stack.channel.unary_unary("/tickgate.v1.QuoteService/GetQuote")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"\xff\xff\xff\xff")

        assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "tickgate.v1.GetQuoteRequest" in (failed.value.details() or "")


async def test_unknown_method_is_unimplemented() -> None:
    """A method that the contract does not have is UNIMPLEMENTED."""
    async with running() as stack:
        call: Any = stack.channel.unary_unary("/tickgate.v1.QuoteService/GetGuess")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"")

        assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED
