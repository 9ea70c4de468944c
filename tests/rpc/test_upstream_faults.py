"""What a caller is told when the upstream misbehaves: each fault its own reason, never an exception's text."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import provenance_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate_sandbox import Fault, faults

from ..support.running import Stack, running

LATEST = "/v2/stocks/quotes/latest"
BOOK, MEMORY, UPSTREAM = (
    provenance_pb2.TIER_BOOK,
    provenance_pb2.TIER_MEMORY,
    provenance_pb2.TIER_UPSTREAM,
)
_GOOD = '"t":"2026-10-01T15:00:00Z","bx":"V","bs":1,"ax":"Q","as":2'


@dataclass(frozen=True)
class Case:
    """A fault, and what it must look like to a caller."""

    name: str
    fault: Fault
    reason: str
    status: grpc.StatusCode
    says: str
    rule: str = ""


def status(number: int, message: str = "", **more: object) -> faults.Status:
    """Return the fault of answering with status *number*."""
    return faults.Status(status=number, body={"message": message, **more})


def record(fields: str) -> faults.Reply:
    """Return the fault of answering with one quote of AAPL made of *fields*."""
    return faults.Reply(body='{"quotes":{"AAPL":{' + fields + "}}}")


ERROR, TIMEOUT = "UPSTREAM_ERROR", "UPSTREAM_TIMEOUT"
UNAVAILABLE, LOSS = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS
AT = '"t":"2026-10-01T15:00:00Z",'
DENIED, EXHAUSTED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
KEY, INVALID = "UPSTREAM_UNAUTHENTICATED", "INVALID_DATA"

CASES = [
    Case("400", status(400, "end should not be before start"), ERROR, UNAVAILABLE, "400"),
    Case("401", faults.Html401(), KEY, UNAVAILABLE, "key pair"),
    Case("403-plan", status(403, "OPRA agreement is not signed"), "NOT_ENTITLED", DENIED, "OPRA"),
    Case("403-key", status(403, "forbidden."), KEY, UNAVAILABLE, "403"),
    Case("404", faults.Status(status=404, body="<html>"), ERROR, UNAVAILABLE, "404"),
    Case("422", status(422, "nope", code=42210000), ERROR, UNAVAILABLE, "422: nope"),
    Case("429", status(429, "too many requests."), "UPSTREAM_RATE_LIMITED", EXHAUSTED, "429"),
    Case("500", status(500), ERROR, UNAVAILABLE, "500"),
    Case("502", faults.Status(status=502, body="<html>"), ERROR, UNAVAILABLE, "502"),
    Case("503", status(503), ERROR, UNAVAILABLE, "503"),
    Case("302", faults.Status(status=302, headers={"Location": "/"}), ERROR, UNAVAILABLE, "302"),
    Case("hang", faults.Hang(), TIMEOUT, UNAVAILABLE, "before the deadline"),
    Case("reset", faults.Reset(), ERROR, UNAVAILABLE, "broke off"),
    Case("truncated", faults.Truncate(), ERROR, UNAVAILABLE, "broke off"),
    Case("garbage", faults.Garbage(), INVALID, LOSS, "not JSON", "unreadable"),
    Case("null-body", faults.NullBody(), INVALID, LOSS, "null", "wrong_type"),
    Case("empty-body", faults.EmptyBody(), INVALID, LOSS, "not JSON", "unreadable"),
    Case("list", faults.Reply(body="[]"), INVALID, LOSS, "[]", "wrong_type"),
    Case("no-wrapper", faults.Reply(body="{}"), INVALID, LOSS, "quotes", "missing_field"),
    Case("wrong-symbol", faults.WrongSymbol(symbol="MSFT"), INVALID, LOSS, "MSFT", "symbol_mismatch"),
    Case("no-time", record('"bp":1,"ap":2'), INVALID, LOSS, "no 't'", "missing_field"),
    Case("no-price", record(AT + '"ap":2'), INVALID, LOSS, "no 'bp'", "missing_field"),
    Case("text-price", record(_GOOD + ',"bp":"1","ap":2'), INVALID, LOSS, "'bp'", "wrong_type"),
    Case("null-price", record(_GOOD + ',"bp":null,"ap":2'), INVALID, LOSS, "'bp'", "wrong_type"),
    Case("text-size", record(AT + '"bp":1,"ap":2,"bs":"x"'), INVALID, LOSS, "'bs'", "wrong_type"),
    Case("bad-time", record('"t":"yesterday","bp":1,"ap":2'), INVALID, LOSS, "yesterday", "malformed_time"),
    Case("crossed", record(_GOOD + ',"bp":10.02,"ap":10.01'), INVALID, LOSS, "bid 10.02 above ask 10.01", "crossed"),
    Case("negative", record(_GOOD + ',"bp":-1,"ap":2'), INVALID, LOSS, "bid -1", "negative_price"),
    Case("absurd", record(_GOOD + ',"bp":1,"ap":1e400'), INVALID, LOSS, "ask", "price_out_of_range"),
    Case("negative-size", record(AT + '"bp":1,"ap":2,"as":-5'), INVALID, LOSS, "ask size -5", "negative_size"),
    Case("future", record('"t":"2026-10-01T15:00:06Z","bp":1,"ap":2'), INVALID, LOSS, "6.000 s ahead", "future_time"),
    Case("both-empty", record(AT + '"bp":0,"ap":0'), "NO_DATA", NOT_FOUND, "either side"),
    Case("null-record", faults.Reply(body='{"quotes":{"AAPL":null}}'), "NO_DATA", NOT_FOUND, "not sent"),
    Case("null-wrapper", faults.Reply(body='{"quotes":null}'), "NO_DATA", NOT_FOUND, "not sent"),
]  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


async def struck(stack: Stack, case: Case, *, strict: bool) -> pb.GetQuoteResponse:
    """Ask for AAPL while *case* strikes."""
    case.fault.path = LATEST
    stack.sandbox.faults.add(case.fault)
    request = pb.GetQuoteRequest(symbol="AAPL", strict=strict)
    # Only a hang is waited for to the end.
    patience = 1.0 if isinstance(case.fault, faults.Hang) else 20.0
    return await stack.quotes.GetQuote(request, timeout=patience)


@each_case
async def test_fault_has_its_reason(case: Case) -> None:
    """Inside an OK answer each fault is its own reason, told in our words, with the rule where data was refused."""
    async with running() as stack:
        answer = await struck(stack, case, strict=False)

        why = answer.result.unavailable
        assert reasons.ErrorReason.Name(why.reason) == f"ERROR_REASON_{case.reason}"
        assert case.says in why.message + why.refusal.evidence
        assert why.refusal.rule == case.rule
        assert why.request_id
        assert why.suggested_action
        assert [tried.tier for tried in why.tiers_tried] == [BOOK, MEMORY, UPSTREAM]
        for foreign in ("Error", "Exception", "Traceback", "msgspec", "aiohttp", "errno"):
            assert foreign not in why.message


@each_case
async def test_fault_has_its_status(case: Case) -> None:
    """With `strict` the same fault is the status of its reason, with ErrorInfo and, where waiting helps, RetryInfo."""
    async with running() as stack:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await struck(stack, case, strict=True)

        assert failed.value.code() == case.status
        trailers = dict(failed.value.trailing_metadata())
        rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        assert rich.details[0].Unpack(info)
        assert (info.domain, info.reason) == ("tickgate", case.reason)
        assert info.metadata["symbol"] == "AAPL"
        assert info.metadata.get("rule", "") == case.rule


async def test_rate_limit_says_when_to_try_again() -> None:
    """A 429 that names a pause carries it: in the answer, and as RetryInfo and pushback when strict."""
    pause = faults.Status(status=429, body={"message": "slow down"}, headers={"Retry-After": "3"})
    limited = Case("429", pause, "UPSTREAM_RATE_LIMITED", EXHAUSTED, "429")
    async with running() as stack:
        answer = await struck(stack, limited, strict=False)
        assert answer.result.unavailable.retry_delay.ToSeconds() == 3

        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await struck(stack, limited, strict=True)
        trailers = dict(failed.value.trailing_metadata())
        rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        retry = error_details_pb2.RetryInfo()
        assert rich.details[1].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == int(trailers["grpc-retry-pushback-ms"])


async def test_a_bad_record_harms_no_other_symbol() -> None:
    """In a batch a refused record costs its own symbol; the others get their quotes."""
    async with running() as stack:
        stack.sandbox.pins.put("quotes", "MSFT", '{"t":"2026-10-01T15:00:00Z","bp":3,"ap":2}')
        stack.sandbox.pins.put("quotes", "TSLA", '"nonsense"')
        answer = await stack.quotes.GetQuotes(
            pb.GetQuotesRequest(symbols=["AAPL", "MSFT", "TSLA", "AMZN"])
        )

        assert [result.WhichOneof("result") for result in answer.results] == [
            "quote",
            "unavailable",
            "unavailable",
            "quote",
        ]
        rules = [result.unavailable.refusal.rule for result in answer.results[1:3]]
        assert rules == ["crossed", "wrong_type"]


async def test_a_symbol_that_alpaca_calls_invalid_harms_no_other() -> None:
    """When Alpaca fails the whole request for one symbol, that one is dropped and the rest asked again."""
    named = faults.Status(
        status=400, body={"message": "invalid symbol: ZZZZ"}, path=LATEST, times=1
    )
    async with running() as stack:
        stack.sandbox.faults.add(named)
        answer = await stack.quotes.GetQuotes(pb.GetQuotesRequest(symbols=["ZZZZ", "AAPL"]))

        assert answer.results[0].unavailable.reason == reasons.ERROR_REASON_SYMBOL_UNKNOWN
        assert answer.results[1].quote.bid.price.value
        assert stack.asked("/quotes/latest") == 2


async def test_recovery_needs_no_restart() -> None:
    """Once the upstream is well again the next question has its value."""
    async with running(alpaca={"retries": {"most": 0}}) as stack:
        stack.sandbox.faults.add(faults.Status(status=500, path=LATEST, times=1))
        failed = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        answered = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))

        assert failed.result.WhichOneof("result") == "unavailable"
        assert answered.result.WhichOneof("result") == "quote"


@pytest.mark.parametrize(
    "fault",
    [faults.Status(status=503), faults.Truncate(), status(429, "too many requests.")],
    ids=["503", "truncated", "429"],
)
async def test_a_fault_that_passes_is_not_seen(fault: Fault) -> None:
    """What a second request repairs costs the caller some milliseconds, and is counted as a retry."""
    fault.path, fault.times = LATEST, 1
    async with running() as stack:
        stack.sandbox.faults.add(fault)
        answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))
        retries = stack.gateway.counters.upstream("alpaca.data", "latest").retries

    assert answer.result.WhichOneof("result") == "quote"
    assert (stack.asked("/quotes/latest"), retries) == (2, 1)


async def test_upstream_that_was_never_there() -> None:
    """A gateway whose upstream refuses connections starts, serves, and says that it cannot be reached."""
    nowhere = {"data_url": "http://127.0.0.1:1", "trading_url": "http://127.0.0.1:1"}
    async with running(alpaca=nowhere) as stack:
        answer = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"))

        why = answer.result.unavailable
        assert why.reason == reasons.ERROR_REASON_UPSTREAM_ERROR
        assert "could not be reached" in why.message


async def test_an_asker_that_leaves_harms_nobody() -> None:
    """Of two callers who share one upstream request, the one whose deadline passes leaves the other its answer."""
    async with running() as stack:
        stack.sandbox.faults.add(faults.Latency(path=LATEST, seconds=60))
        patient = stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"), timeout=20)
        hasty = await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL"), timeout=0.2)
        assert hasty.result.unavailable.reason == reasons.ERROR_REASON_UPSTREAM_TIMEOUT

        stack.sandbox.faults.clear()
        answer = await patient
        assert answer.result.quote.bid.price.value
        assert stack.asked("/quotes/latest") == 1
