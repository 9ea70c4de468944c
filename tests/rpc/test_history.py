"""HistoryService over the wire, before a real sandbox: one past, however it is asked for, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from google.type.date_pb2 import Date

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import history_pb2, option_service_pb2, provenance_pb2
from tickgate.v1 import history_service_pb2 as pb
from tickgate_sandbox import faults
from tickgate_server.market.time import parse_rfc3339

from ..support.history_wire import value_of, values_of
from ..support.running import Stack, running, second_gateway

HISTORY = "/v2/stocks"
SYMBOLS = ["AAPL", "MSFT"]
REASON = reasons.ErrorReason.Name


def stamp(text: str) -> Timestamp:
    """A moment."""
    message = Timestamp()
    message.FromNanoseconds(parse_rfc3339(text))
    return message


A_DAY: dict[str, Any] = {
    "start_time": stamp("2026-09-29T00:00:00Z"),
    "end_time": stamp("2026-09-30T00:00:00Z"),
}
AN_HOUR: dict[str, Any] = {
    "start_time": stamp("2026-09-29T15:00:00Z"),
    "end_time": stamp("2026-09-29T16:00:00Z"),
}
SUNDAY: dict[str, Any] = {
    "start_time": stamp("2026-09-27T00:00:00Z"),
    "end_time": stamp("2026-09-28T00:00:00Z"),
}
KINDS = pytest.mark.parametrize("kind", ["Bars", "Trades", "Quotes"])


def request_of(kind: str, rpc: str, **fields: Any) -> Any:
    """A request of *rpc* for *kind*."""
    timed = {"timeframe": "1Min"} if kind == "Bars" else {}
    return getattr(pb, f"{rpc}{kind}Request")(**(timed | fields))


async def rows(stack: Stack, kind: str, **fields: Any) -> list[tuple[str, Any]]:
    """All rows, page by page."""
    told: list[tuple[str, Any]] = []
    token = ""
    while True:
        call = getattr(stack.history, f"List{kind}")
        page = await call(request_of(kind, "List", page_token=token, **fields))
        for result in page.results:
            assert result.HasField("page"), result
            told += [(result.symbol, value_of(row)) for row in getattr(result.page, kind.lower())]
        token = page.next_page_token
        if not token:
            return told


async def columns(stack: Stack, kind: str, **fields: Any) -> list[Any]:
    """All messages of a stream."""
    call = getattr(stack.history, f"Stream{kind}")
    return [message async for message in call(request_of(kind, "Stream", **fields))]


def values(messages: list[Any]) -> list[tuple[str, Any]]:
    """What chunks hold."""
    return [
        (message.symbol, value)
        for message in messages
        if message.HasField("chunk")
        for value in values_of(message.chunk, message.symbol)
    ]


def anywhere(told: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Values without when they were received, which differs from one asking to the next."""
    return [
        (symbol, repr(value).replace(repr(value.provenance), str(value.event_time)))
        for symbol, value in told
    ]


@KINDS
async def test_rows_and_columns_are_one_past(kind: str) -> None:
    """Pages of any size and streams in both orders hold the same values, symbol after symbol."""
    async with running() as stack:
        asked = {"symbols": SYMBOLS} | (A_DAY if kind == "Bars" else AN_HOUR)
        whole = anywhere(values(await columns(stack, kind, **asked)))
        assert {symbol for symbol, _ in whole} == set(SYMBOLS)
        assert len(whole) > 500
        for size in (97, 10_000):
            assert anywhere(await rows(stack, kind, page_size=size, **asked)) == whole
        newest = history_pb2.SORT_NEWEST_FIRST
        turned = anywhere(values(await columns(stack, kind, sort=newest, **asked)))
        apart = [[one for one in whole if one[0] == symbol] for symbol in SYMBOLS]
        assert turned == [one for told in apart for one in reversed(told)]
        few = anywhere(await rows(stack, kind, sort=newest, limit=3, **asked))
        assert few == [one for told in apart for one in told[:-4:-1]]


@KINDS
async def test_every_message_can_be_gone_on_from(kind: str) -> None:
    """A stream goes on behind any of its messages, also at another gateway."""
    async with running() as stack, second_gateway(stack) as other:
        asked = {"symbols": SYMBOLS} | (A_DAY if kind == "Bars" else AN_HOUR)
        messages = await columns(stack, kind, **asked)
        assert [one.WhichOneof("event") for one in messages].count("end") == 2
        whole = anywhere(values(messages))
        for cut, message in enumerate(messages, 1):
            cursor = getattr(message, message.WhichOneof("event")).cursor
            rest = await columns(other, kind, cursor=cursor, **asked)
            assert anywhere(values(messages[:cut]) + values(rest)) == whole


@KINDS
async def test_nothing_is_told_from_unknown(kind: str) -> None:
    """A day without trading is NO_DATA, a symbol that nobody lists SYMBOL_UNKNOWN; neither harms the others."""
    async with running() as stack:
        for fields, expected in ((SUNDAY, "NO_DATA"), (AN_HOUR, "SYMBOL_UNKNOWN")):
            symbols = ["AAPL"] if fields is SUNDAY else ["AAPL", "ZZZZ", "MSFT"]
            call = getattr(stack.history, f"List{kind}")
            page = await call(request_of(kind, "List", symbols=symbols, page_size=1, **fields))
            messages = await columns(stack, kind, symbols=symbols, **fields)
            (lack,) = (one for one in messages if one.HasField("unavailable"))
            assert REASON(lack.unavailable.unavailable.reason) == f"ERROR_REASON_{expected}"
            assert lack.symbol == symbols[len(symbols) // 2]
            if fields is SUNDAY:
                assert page.results[0].unavailable.reason == reasons.ERROR_REASON_NO_DATA
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await columns(stack, kind, symbols=symbols, strict=True, **fields)
            assert failed.value.code() == grpc.StatusCode.NOT_FOUND


async def test_an_upstream_that_fails_in_the_middle_is_gone_on_from() -> None:
    """What came before a failure stands, with from where it is missing and why; a retry has the rest, none twice."""
    async with running(history={"page": 100}) as stack:
        asked = {"symbols": ["AAPL"]} | A_DAY
        whole = anywhere(values(await columns(stack, "Bars", **asked)))
        stack.sandbox.faults.add(faults.Status(status=500, path=HISTORY, page=3))
        messages = await columns(stack, "Bars", **asked)
        broken = messages[-1].unavailable
        assert broken.unavailable.reason == reasons.ERROR_REASON_UPSTREAM_ERROR
        before = values(messages)
        assert 0 < broken.count == len(before) < len(whole)
        last = before[-1][1].event_time
        assert last < broken.missing_from_time.ToNanoseconds() <= last + 60 * 10**9
        stack.sandbox.faults.clear()
        rest = await columns(stack, "Bars", cursor=broken.cursor, **asked)
        assert anywhere(before + values(rest)) == whole


async def test_contracts_have_bars_and_trades() -> None:
    """The past of contracts is asked for by OCC symbol through the same RPCs; one that nobody lists is unknown."""
    async with running() as stack:
        listed = await stack.options.ListOptionContracts(
            option_service_pb2.ListOptionContractsRequest(underlying_symbol="AAPL", page_size=1)
        )
        symbol = listed.page.contracts[0].symbol
        for kind in ("Bars", "Trades"):
            messages = await columns(stack, kind, symbols=[symbol], **A_DAY)
            last = messages[-1]
            assert last.HasField("end") or (
                last.unavailable.unavailable.reason == reasons.ERROR_REASON_NO_DATA
            )
            assert all(not one.chunk.provenance.HasField("feed") for one in messages[:-1])
            unknown = await columns(stack, kind, symbols=["AAPL301220C99999000"], **A_DAY)
            why = unknown[0].unavailable.unavailable
            assert why.reason == reasons.ERROR_REASON_CONTRACT_UNKNOWN


async def test_a_price_is_the_last_trade_before() -> None:
    """A price at a moment is the last trade up to it, and never a later one."""
    async with running() as stack:
        trades = values(await columns(stack, "Trades", symbols=["AAPL"], **AN_HOUR))
        for _, trade in trades[10:20]:
            for later in (0, 1):
                at = Timestamp()
                at.FromNanoseconds(trade.event_time + later)
                answer = await stack.history.GetPriceAt(
                    pb.GetPriceAtRequest(symbol="AAPL", time=at, tolerance=Duration(seconds=60))
                )
                priced = answer.result.price.trade
                assert value_of(priced).event_time == trade.event_time
                assert answer.result.price.age.ToNanoseconds() == later


async def test_a_gateway_without_a_store_holds_nothing() -> None:
    """Coverage without a store is NOT_SUPPORTED, and so is what was known then."""
    async with running() as stack:
        asked = pb.GetCoverageRequest(symbols=["AAPL"], kind=history_pb2.SERIES_KIND_TRADES)
        (result,) = (await stack.history.GetCoverage(asked)).results
        assert result.unavailable.reason == reasons.ERROR_REASON_NOT_SUPPORTED
        then = stamp("2026-09-30T00:00:00Z")
        (message,) = await columns(stack, "Trades", symbols=["AAPL"], as_of_time=then, **AN_HOUR)
        why = message.unavailable.unavailable
        assert why.reason == reasons.ERROR_REASON_NOT_SUPPORTED


A_CONTRACT = "AAPL261218C00100000"
TOO_MANY = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(101)]
LONG_AGO: dict[str, Any] = {
    "start_time": stamp("1971-01-01T00:00:00Z"),
    "end_time": stamp("1971-01-02T00:00:00Z"),
}
BACKWARDS = {"start_time": A_DAY["end_time"], "end_time": A_DAY["start_time"]}
MINUTES = {"timeframe": "1Min"}

BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("ListBars", "timeframe", A_DAY | {"timeframe": "2Day"}),
    ("StreamBars", "adjustments[1]", A_DAY | MINUTES | {"adjustments": [1, 1]}),
    ("StreamTrades", "feed", A_DAY | {"feed": provenance_pb2.FEED_OVERNIGHT}),
    ("ListTrades", "end_time", BACKWARDS),
    ("ListTrades", "start_time", {}),
    ("ListTrades", "start_time", {"start_time": stamp("2026-10-01T15:00:00Z")}),
    ("ListTrades", "start_time", {"start_time": Timestamp(seconds=1 << 40)}),
    ("StreamQuotes", "symbols[0]", A_DAY | {"symbols": [A_CONTRACT]}),
    ("ListTrades", "symbols", A_DAY | {"symbols": TOO_MANY}),
    ("StreamTrades", "limit", A_DAY | {"limit": 10_000_001}),
    ("ListTrades", "page_token", A_DAY | {"page_token": "AAAA"}),
    ("StreamTrades", "cursor", A_DAY | {"cursor": "AAAA"}),
    ("ListBars", "end_time", MINUTES | {"start_time": stamp("2020-01-01T00:00:00Z")}),
    ("ListTrades", "end_time", {"start_time": stamp("2026-08-01T00:00:00Z")}),
    ("GetCoverage", "kind", {}),
    ("ListCorporateActions", "end_date", {"start_date": Date(year=2020, month=1, day=1)}),
]


async def test_a_wrong_question_costs_nothing() -> None:
    """Each rule that a request breaks is INVALID_ARGUMENT with field and sentence, and the upstream hears nothing."""
    async with running() as stack:
        for rpc, field, fields in BAD:
            request = getattr(pb, f"{rpc}Request")(**({"symbols": ["AAPL"]} | fields))
            rules = await refusal(getattr(stack.history, rpc), request)
            assert list(rules) == [field], rpc
            assert len(rules[field]) > 10
        future = pb.GetPriceAtRequest(symbol="AAPL", time=stamp("2026-10-01T15:00:01Z"))
        assert list(await refusal(stack.history.GetPriceAt, future)) == ["time"]
        assert stack.asked(HISTORY) == 0
        assert stack.asked("/v1/corporate-actions") == 0


@pytest.mark.parametrize(
    ("configured", "first"), [("", "2024-01-02"), ("2026-09-01", "2026-09-01")]
)
async def test_a_range_before_the_first_day_is_refused(configured: str, first: str) -> None:
    """There is nothing before the first day that the sandbox states, or the settings where they name a later one."""
    async with running(history={"first_day": configured}) as stack:
        request = pb.StreamTradesRequest(symbols=["AAPL"], **LONG_AGO)
        rules = await refusal(stack.history.StreamTrades, request)
        assert rules == {"end_time": f"there is nothing before {first}, the upstream's first day"}


async def refusal(call: Callable[[Any], Any], request: Message) -> dict[str, str]:
    """The rules that *request* breaks, by field."""
    answer = call(request)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await (answer.read() if isinstance(answer, grpc.aio.UnaryStreamCall) else answer)
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(failed.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    return {one.field: one.description for one in bad.field_violations}
