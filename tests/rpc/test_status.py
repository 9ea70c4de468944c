"""Status and failures over gRPC: trailers that stay trailers, details that arrive."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import option_service_pb2 as options
from tickgate.v1 import quote_service_pb2 as quotes
from tickgate.v1 import status_service_pb2 as pb
from tickgate.v1.admin_service_pb2 import ListErrorsRequest
from tickgate_sandbox import faults
from tickgate_server.errors import BudgetExhausted, CircuitOpen
from tickgate_server.market.entitlement import Entitlement, Standing
from tickgate_server.market.provenance import Feed
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable

from ..support.admin import FakeEntitlements, Parts, served
from ..support.fakes import NOW, quote
from ..support.running import running

STRICT = quotes.GetQuoteRequest(symbol="AAPL", strict=True)


async def strict_failure(parts: Parts) -> grpc.aio.AioRpcError:
    """How a strict call fails."""
    async with served(parts) as face:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await face.quotes.GetQuote(STRICT, timeout=5)
    return failed.value


async def test_what_remains_of_the_budget_is_a_trailer() -> None:
    """Each call, answered or failed, tells in its trailers what remains, and sends no metadata before its answer."""
    parts = Parts(remaining=17)
    parts.quotes.values = {"AAPL": quote("AAPL")}
    async with served(parts) as face:
        call = face.quotes.GetQuote(STRICT)
        await call
        trailers = dict(await call.trailing_metadata())
        initial = dict(await call.initial_metadata())
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await face.quotes.GetQuote(quotes.GetQuoteRequest(symbol="ZZZZ", strict=True))

    assert trailers["x-upstream-remaining"] == "17"
    assert dict(failed.value.trailing_metadata())["x-upstream-remaining"] == "17"
    assert "x-upstream-remaining" not in initial
    assert "x-request-id" not in initial


async def test_a_spent_budget_arrives_with_all_its_details() -> None:
    """Strict BUDGET_EXHAUSTED is RESOURCE_EXHAUSTED, names the upstream's quota, and when there is budget again."""
    parts = Parts()
    parts.quotes.outage = BudgetExhausted(
        "the budget of alpaca.data is spent", retry_delay=1.25, upstream="alpaca.data"
    ).unavailable()
    failure = await strict_failure(parts)
    trailers = dict(failure.trailing_metadata())
    said = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, retry, quota = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.QuotaFailure(),
    )
    assert [one.Unpack(kind) for one, kind in zip(said.details, (info, retry, quota), strict=True)]
    assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info.reason == "BUDGET_EXHAUSTED"
    assert retry.retry_delay.ToMilliseconds() == 1250
    assert [one.subject for one in quota.violations] == ["alpaca.data"]
    assert trailers["grpc-retry-pushback-ms"] == "1250"


async def test_an_open_circuit_pushes_retries_back() -> None:
    """Strict CIRCUIT_OPEN is UNAVAILABLE with its cool-down as the pushback of automatic retries."""
    parts = Parts()
    parts.quotes.outage = CircuitOpen("failed repeatedly", retry_delay=3.0).unavailable()
    failure = await strict_failure(parts)
    assert failure.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(failure.trailing_metadata())["grpc-retry-pushback-ms"] == "3000"


@pytest.mark.parametrize("letter", ["x", "é", "\N{SNOWMAN}", "\U0001f600", "%", "\n"])
async def test_the_longest_failure_is_delivered(letter: str) -> None:
    """However much a failure could quote, of whatever characters, it reaches its caller as itself."""
    parts = Parts()
    text = letter * 20_000
    parts.quotes.outage = Unavailable(
        reason=Reason.INVALID_DATA, message=text, refusal=Refusal("crossed", text)
    )
    failure = await strict_failure(parts)
    assert failure.code() is grpc.StatusCode.DATA_LOSS
    assert (failure.details() or "").startswith(letter * 100)


async def test_entitlements_are_told() -> None:
    """GetEntitlements answers with what was learned of each feed."""
    known = Entitlement(Feed.SIP, Standing.DENIED, NOW, "subscription does not permit")
    async with served(Parts(entitlements=FakeEntitlements(known))) as face:
        answer = await face.status.GetEntitlements(pb.GetEntitlementsRequest())

    (sip,) = answer.feeds
    assert sip.state == pb.ENTITLEMENT_STATE_DENIED
    assert sip.message == "subscription does not permit"


async def test_status_asks_nobody() -> None:
    """GetStatus answers while nothing behind the gateway does."""
    parts = Parts()
    parts.quotes.open.clear()
    parts.reference.open.clear()
    async with served(parts) as face:
        status = await face.status.GetStatus(pb.GetStatusRequest())

    assert status.calls_in_flight == 1
    assert parts.entitlements.deadlines == []


# ------------------------------------------------------------------------------ a whole gateway


async def test_a_circuit_that_opens_is_told_everywhere() -> None:
    """An open circuit stands in the status, in the answer, in a strict failure's pushback and in the error log."""
    breaker = {"streak": 3, "cool_down": 4.0, "cool_down_most": 4.0}
    async with running(alpaca={"breaker": breaker, "retries": {"most": 0}}) as stack:
        stack.sandbox.faults.add(faults.Status(status=500, path="/v2/stocks"))
        for symbol in ("AAPL", "MSFT", "TSLA"):
            await stack.quotes.GetQuote(quotes.GetQuoteRequest(symbol=symbol))
        asked = stack.asked()
        refused = await stack.quotes.GetQuote(quotes.GetQuoteRequest(symbol="AAPL"))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stack.quotes.GetQuote(STRICT, timeout=30)
        status = await stack.status.GetStatus(pb.GetStatusRequest())
        listed = await stack.admin.ListErrors(
            ListErrorsRequest(reasons=[reasons.ERROR_REASON_CIRCUIT_OPEN])
        )
        asked_after = stack.asked()

    latest = next(one for one in status.upstreams if one.group == "latest")
    assert latest.circuit.state == pb.CIRCUIT_STATE_OPEN
    assert latest.circuit.reason == reasons.ERROR_REASON_UPSTREAM_ERROR
    assert 0 < latest.circuit.retry_delay.ToMilliseconds() <= 4800
    assert latest.windows[0].failures == 3
    assert refused.result.unavailable.reason == reasons.ERROR_REASON_CIRCUIT_OPEN
    pushback = int(dict(failed.value.trailing_metadata())["grpc-retry-pushback-ms"])
    assert 0 < pushback <= 4800
    assert len(listed.errors) == 2
    assert asked_after == asked


async def test_the_budget_in_status_and_in_trailers_is_one() -> None:
    """What a call tells to remain of the budget is what status tells, and a request to the upstream takes from it."""
    async with running() as stack:
        call = stack.quotes.GetQuote(STRICT)
        await call
        trailer = int(dict(await call.trailing_metadata())["x-upstream-remaining"])
        status = await stack.status.GetStatus(pb.GetStatusRequest())

    data = next(one for one in status.budgets if one.upstream == "alpaca.data")
    assert (data.limit, data.window.seconds, data.shared) == (190, 60, False)
    assert trailer < data.limit
    # A token comes back every third of a second.
    assert 0 <= data.remaining - trailer <= 15
    assert [floor.priority for floor in data.floors] == [
        "interactive",
        "repair",
        "history",
        "backfill",
    ]


async def test_tiers_without_stores_are_told() -> None:
    """Without Redis and PostgreSQL they are off, and memory tells what it holds and how often it answered."""
    async with running() as stack:
        for _ in range(4):
            await stack.quotes.GetQuote(STRICT)
        status = await stack.status.GetStatus(pb.GetStatusRequest())

    book, memory, redis = status.tiers
    assert (book.hits, redis.state) == (0, pb.TIER_STATE_OFF)
    assert (memory.state, memory.entries) == (pb.TIER_STATE_UP, 1)
    assert (memory.hits, memory.misses, memory.hit_share) == (3, 1, 0.75)
    assert status.error_log.store == pb.TIER_STATE_OFF


async def test_chains_are_told_as_they_are_held() -> None:
    """Of two who ask for one chain the first costs its pages and the second nothing, and what is held is counted."""
    async with running(options={"contracts": 50_000}) as stack:
        chain = options.GetOptionChainRequest(underlying_symbol="AAPL", page_size=1)
        await stack.options.GetOptionChain(chain)
        answer = await stack.options.GetOptionChain(chain)
        status = await stack.status.GetStatus(pb.GetStatusRequest())

    chains, header = status.option_chains, answer.page.header
    assert (chains.chains, chains.contracts) == (1, header.chain_size + header.expired)
    assert (chains.loads, chains.hits, chains.refreshes) == (1, 1, 0)
    assert (chains.capacity, chains.failures, chains.evictions) == (50_000, 0, 0)
    groups = {(one.upstream, one.group) for one in status.upstreams if one.requests}
    assert ("alpaca.data", "options") in groups


async def test_the_budget_is_told_by_the_minute() -> None:
    """GetEntitlements names the plan, and for each upstream what the gateway allows itself a minute."""
    async with running() as stack:
        answer = await stack.status.GetEntitlements(pb.GetEntitlementsRequest(), timeout=10)

    assert answer.plan == "basic"
    assert [(one.upstream, one.budget_per_minute) for one in answer.limits] == [
        ("alpaca.data", 190),
        ("alpaca.trading", 190),
    ]
