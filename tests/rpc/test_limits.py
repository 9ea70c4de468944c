"""What callers may use of a gateway, as they experience it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.type.date_pb2 import Date
from grpc_health.v1 import health_pb2, health_pb2_grpc

import tickgate
from tickgate.v1 import admin_service_pb2, option_service_pb2, status_service_pb2
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import history_service_pb2 as history_pb
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import stream_service_pb2 as stream_pb
from tickgate.v1.quote_service_pb2_grpc import QuoteServiceStub
from tickgate_sandbox import faults
from tickgate_server.identity.consumer import Limits
from tickgate_server.market.time import parse_rfc3339

from ..support.following import following, watching
from ..support.limited import limited, refused
from ..support.running import Stack, running
from ..support.told import told
from ..support.waiting import until

AAPL = pb.GetQuoteRequest(symbol="AAPL")
LIMIT_EXCEEDED = reasons.ERROR_REASON_LIMIT_EXCEEDED
MIB = 1 << 20


def span(message: Any, start: str, end: str) -> Any:
    """Set the range of a request."""
    message.start_time.FromNanoseconds(parse_rfc3339(start))
    message.end_time.FromNanoseconds(parse_rfc3339(end))
    return message


# ------------------------------------------------------------------------------- calls a second


async def test_one_call_too_many_is_refused_with_the_delay() -> None:
    """A call beyond the limit fails with the limit's name and the delay, and whoever waits so long is answered."""
    async with limited({"quant": Limits(calls_per_second=2)}) as gate:
        ask = gate.stack.quotes.GetQuote
        for _ in range(2):
            await ask(AAPL, metadata=gate.as_("quant"))
        no = await refused(ask(AAPL, metadata=gate.as_("quant")))
        assert no.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert no.error.details() == "calls a second: quant may make 2 here"
        assert (no.info.reason, no.info.metadata["limit"]) == ("LIMIT_EXCEEDED", "calls_per_second")
        assert no.quota == "calls_per_second"
        assert no.delay is not None
        assert 0 < no.delay <= 0.5
        assert no.trailers["grpc-retry-pushback-ms"] == str(round(no.delay * 1000))
        await waited(no.delay)
        await ask(AAPL, metadata=gate.as_("quant"))
        assert gate.refusals == {"calls_per_second": 1}


async def waited(seconds: float) -> None:
    """Wait as long as one was told to."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    await over


async def test_every_answer_says_how_the_limit_stands() -> None:
    """Answers and failures carry the limit, what is left and when it is whole again; those of others carry nothing."""
    async with limited({"quant": Limits(calls_per_second=100), "free": Limits()}) as gate:
        trailers = []
        for request in (AAPL, pb.GetQuoteRequest(symbol="not a symbol")):
            call = gate.stack.quotes.GetQuote(request, metadata=gate.as_("quant"))
            await asyncio.wait([asyncio.ensure_future(call)])
            trailers.append(dict(await call.trailing_metadata()))
        # On a slow machine what a call took may be back when it is answered.
        form = r"limit=100, remaining=(98|99|100), reset=0\.0[012]\d"
        assert all(re.fullmatch(form, str(one["ratelimit"])) for one in trailers)
        call = gate.stack.quotes.GetQuote(AAPL, metadata=gate.as_("free"))
        await call
        assert not [key for key, _ in await call.trailing_metadata() if "ratelimit" in key]


async def test_our_client_does_not_try_again_by_itself() -> None:
    """The Python client asks once, and hands the delay to its caller."""
    async with (
        limited({"quant": Limits(calls_per_second=0.1)}) as gate,
        tickgate.connect(gate.stack.target, api_key=gate.tokens["quant"]) as client,
    ):
        await client.quote("AAPL")
        with pytest.raises(tickgate.RateLimited) as no:
            await client.quote("AAPL")
        assert no.value.retry_delay is not None
        assert 9 < no.value.retry_delay.total_seconds() <= 10
        assert gate.refusals == {"calls_per_second": 1}


async def test_a_client_that_repeats_by_itself_is_guided() -> None:
    """A client of its own making that repeats RESOURCE_EXHAUSTED waits as told, and not at all where it is useless."""
    retry = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": retry}]}
    consumers = {"quant": Limits(calls_per_second=4, symbols_per_batch=1)}
    async with (
        limited(consumers) as gate,
        grpc.aio.insecure_channel(
            gate.stack.target, options=[("grpc.service_config", json.dumps(config))]
        ) as channel,
    ):
        stub: Any = QuoteServiceStub(channel)
        for _ in range(5):
            await stub.GetQuote(AAPL, metadata=gate.as_("quant"), timeout=5)
        assert gate.refusals == {"calls_per_second": 1}
        await waited(0.5)
        no = await refused(
            stub.GetQuotes(pb.GetQuotesRequest(symbols=TWO), metadata=gate.as_("quant"), timeout=5)
        )
        assert no.quota == "symbols_per_batch"
        assert gate.refusals == {"calls_per_second": 1, "symbols_per_batch": 1}


async def test_defaults_hold_for_whoever_has_no_limit_of_its_own() -> None:
    """A key without limits has those of the settings, and one that says 0 has none."""
    limits = {"calls_per_second": 1}
    consumers = {"quant": Limits(), "free": Limits(calls_per_second=0)}
    async with limited(consumers, limits=limits) as gate:
        ask = gate.stack.quotes.GetQuote
        await ask(AAPL, metadata=gate.as_("quant"))
        await refused(ask(AAPL, metadata=gate.as_("quant")))
        for _ in range(5):
            await ask(AAPL, metadata=gate.as_("free"))


async def test_the_error_log_is_not_filled_by_whoever_goes_on_calling() -> None:
    """Of one caller's refusals at a method the log keeps a few a minute, of strangers' none; limits count all."""
    consumers = {"quant": Limits(calls_per_second=0.01), "other": Limits(calls_per_second=0.01)}
    async with limited(consumers | {"operator": Limits()}) as gate:
        for name in ("quant", "other"):
            for _ in range(31):
                with suppress(grpc.aio.AioRpcError):
                    await gate.stack.quotes.GetQuote(AAPL, metadata=gate.as_(name))
        for _ in range(50):
            await refused(gate.stack.quotes.GetQuote(AAPL))
        errors = await gate.stack.admin.ListErrors(
            admin_service_pb2.ListErrorsRequest(page_size=200), metadata=gate.as_("operator")
        )
        counts = Counter(
            (reasons.ErrorReason.Name(one.reason), one.context.fields["consumer"].string_value)
            if one.reason == LIMIT_EXCEEDED
            else reasons.ErrorReason.Name(one.reason)
            for one in errors.errors
        )
        assert counts == {
            ("ERROR_REASON_LIMIT_EXCEEDED", "quant"): 5,
            ("ERROR_REASON_LIMIT_EXCEEDED", "other"): 5,
        }
        assert gate.refusals == {"calls_per_second": 60}


# ---------------------------------------------------------------------------- symbols of a request

TWO = ["AAPL", "MSFT"]
CONTRACTS = ["AAPL261016C00230000", "AAPL261016P00230000"]
DAY = ("2026-09-29T15:00:00Z", "2026-09-29T15:05:00Z")

BATCHES: dict[str, Callable[[Stack, Any], Any]] = {
    "quotes": lambda at, key: at.quotes.GetQuotes(pb.GetQuotesRequest(symbols=TWO), metadata=key),
    "quotes in full": lambda at, key: at.quotes.GetQuotes(
        pb.GetQuotesRequest(symbols=TWO, view="QUOTE_VIEW_FULL"),  # type: ignore[arg-type]  # a name will do
        metadata=key,
    ),
    "trades": lambda at, key: at.quotes.GetLatestTrades(
        pb.GetLatestTradesRequest(symbols=TWO), metadata=key
    ),
    "snapshots": lambda at, key: at.quotes.GetSnapshots(
        pb.GetSnapshotsRequest(symbols=TWO), metadata=key
    ),
    "options": lambda at, key: at.options.GetOptionQuotes(
        option_service_pb2.GetOptionQuotesRequest(symbols=CONTRACTS), metadata=key
    ),
    "rows of the past": lambda at, key: at.history.ListTrades(
        span(history_pb.ListTradesRequest(symbols=TWO), *DAY), metadata=key
    ),
    "columns of the past": lambda at, key: at.history.StreamBars(
        span(history_pb.StreamBarsRequest(symbols=TWO, timeframe="1Min"), *DAY), metadata=key
    ),
    "coverage": lambda at, key: at.history.GetCoverage(
        span(
            history_pb.GetCoverageRequest(symbols=TWO, kind="SERIES_KIND_TRADES"),  # type: ignore[arg-type]
            *DAY,
        ),
        metadata=key,
    ),
    "corporate actions": lambda at, key: at.history.ListCorporateActions(
        history_pb.ListCorporateActionsRequest(
            symbols=TWO,
            start_date=Date(year=2026, month=1, day=1),
            end_date=Date(year=2026, month=2, day=1),
        ),
        metadata=key,
    ),
}


@pytest.mark.parametrize("what", BATCHES)
async def test_a_request_names_only_so_many_symbols(what: str) -> None:
    """A request for more symbols than its consumer may name fails, and says that trying again would not help."""
    async with limited({"quant": Limits(symbols_per_batch=1), "free": Limits()}) as gate:
        no = await refused(BATCHES[what](gate.stack, gate.as_("quant")))
        assert no.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert no.error.details() == "symbols of one request: quant may name 1 here, and names 2"
        assert (no.info.metadata["limit"], no.quota) == ("symbols_per_batch", "symbols_per_batch")
        assert (no.delay, no.trailers["grpc-retry-pushback-ms"]) == (None, "-1")
        call = BATCHES[what](gate.stack, gate.as_("free"))
        if hasattr(call, "__aiter__"):
            assert [message async for message in call]
        else:
            await call
        assert gate.refusals == {"symbols_per_batch": 1}


# -------------------------------------------------------------------------------------- streams


async def test_only_so_many_streams_at_once() -> None:
    """One stream too many is refused without a delay; when one of the others has ended there is room."""
    async with limited({"quant": Limits(streams=1), "free": Limits()}) as gate:
        request = stream_pb.WatchRequest(subscription=stream_pb.Subscription(symbols=["AAPL"]))
        streams, key = gate.stack.streams, gate.as_("quant")
        first = streams.Watch(request, metadata=key)
        await first.read()
        no = await refused(streams.Watch(request, metadata=key))
        assert (no.info.reason, no.info.metadata["limit"]) == ("LIMIT_EXCEEDED", "streams")
        assert no.trailers["grpc-retry-pushback-ms"] == "-1"
        no = await refused(streams.Subscribe(metadata=key))
        assert no.info.metadata["limit"] == "streams"
        other = streams.Watch(request, metadata=gate.as_("free"))
        await other.read()
        first.cancel()
        await until(lambda: gate.stack.gateway.counters.streams.streams == 1)
        again = streams.Watch(request, metadata=key)
        assert await again.read() is not grpc.aio.EOF
        for one in (other, again):
            one.cancel()


async def test_symbols_beyond_the_limit_of_a_stream_are_rejected() -> None:
    """Symbols beyond what the consumer may follow are rejected by name, and there is room when others are let go."""
    async with (
        limited({"quant": Limits(symbols_per_stream=2)}) as gate,
        following(gate.streams_as("quant"), "AAPL", "MSFT", "TSLA") as follower,
    ):
        await follower.until_state("AAPL", "LIVE")
        beyond = (await follower.until_state("TSLA", "REJECTED")).unavailable
        assert beyond.reason == LIMIT_EXCEEDED
        assert "symbols of a stream: quant may follow 2 here" in beyond.message
        await follower.unsubscribe("MSFT")
        await follower.until_state("MSFT", "REMOVED")
        await follower.add("TSLA")
        await follower.until_state("TSLA", "LIVE")
        assert gate.refusals == {"symbols_per_stream": 1}


async def test_a_watch_has_the_same_limit() -> None:
    """A watch rejects the symbols that its consumer may not follow as well."""
    async with (
        limited({"quant": Limits(symbols_per_stream=1)}) as gate,
        watching(gate.streams_as("quant"), "AAPL", "MSFT") as watcher,
    ):
        await watcher.until_state("AAPL", "LIVE")
        beyond = (await watcher.until_state("MSFT", "REJECTED")).unavailable
        assert beyond.reason == LIMIT_EXCEEDED


# ------------------------------------------------------------------------------- points of the past


MONTH = ("2026-09-17T04:00:00Z", "2026-09-30T04:00:00Z")
"""Weeks of minutes: more of a symbol than one message holds."""


async def test_a_page_of_the_past_may_overdraw_and_the_next_is_refused() -> None:
    """What a page holds is counted; it may be more than was left, and then nothing comes until that is back."""
    async with limited({"quant": Limits(history_points_per_day=14_400)}) as gate:
        ask, key = gate.stack.history.ListBars, gate.as_("quant")
        request = span(
            history_pb.ListBarsRequest(symbols=TWO, timeframe="1Min", page_size=10_000), *MONTH
        )
        had = 0
        while had < 14_400:
            page = await ask(request, metadata=key)
            had += sum(len(result.page.bars) for result in page.results)
        no = await refused(ask(request, metadata=key))
        assert no.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert no.info.metadata["limit"] == "history_points_per_day"
        assert no.delay is not None
        # One comes back in six seconds.
        assert no.delay == pytest.approx(6 * (had - 14_400 + 1), abs=20)


async def test_a_price_counts_as_one_point() -> None:
    """GetPriceAt costs a point, and nothing where there is no price."""
    async with limited({"quant": Limits(history_points_per_day=2)}) as gate:
        ask, key = gate.stack.history.GetPriceAt, gate.as_("quant")
        request = history_pb.GetPriceAtRequest(symbol="AAPL")
        request.time.FromNanoseconds(parse_rfc3339("2026-09-29T15:00:00Z"))
        sunday = history_pb.GetPriceAtRequest(symbol="ZZZZ", time=request.time)
        for _ in range(3):
            assert (await ask(sunday, metadata=key)).result.HasField("unavailable")
        for _ in range(2):
            assert (await ask(request, metadata=key)).result.HasField("price")
        no = await refused(ask(request, metadata=key))
        assert no.quota == "history_points_per_day"


async def test_a_stream_of_the_past_ends_with_cursors_when_the_points_are_had() -> None:
    """A stream under way ends each symbol that is not whole with the reason, and a cursor that leads to the rest."""
    consumers = {"quant": Limits(history_points_per_day=600), "free": Limits()}
    async with limited(consumers) as gate:
        ask = gate.stack.history.StreamBars
        request = span(
            history_pb.StreamBarsRequest(symbols=[*TWO, "TSLA"], timeframe="1Min"), *MONTH
        )
        whole = await told(ask(request, metadata=gate.as_("free")))
        assert all(one.end is not None for one in whole.values())
        assert len(whole["AAPL"].rows) > 8000

        cut = await told(ask(request, metadata=gate.as_("quant")))
        assert list(cut) == ["AAPL", "MSFT", "TSLA"]
        for one in cut.values():
            assert one.unavailable is not None
            assert one.unavailable.unavailable.reason == LIMIT_EXCEEDED
            assert one.unavailable.unavailable.retry_delay.seconds > 0
        assert gate.refusals == {"history_points_per_day": 1}

        first = cut["AAPL"].unavailable
        assert first is not None
        assert first.count == len(cut["AAPL"].rows)
        request.cursor = first.cursor
        rest = await told(ask(request, metadata=gate.as_("free")))
        for symbol, one in whole.items():
            assert cut[symbol].rows + rest[symbol].rows == one.rows
        last = cut["AAPL"].rows[-1]["t"]
        assert first.missing_from_time.ToNanoseconds() == last + 1
        begun = cut["TSLA"].unavailable
        assert begun is not None
        assert begun.missing_from_time == request.start_time

        no = await refused(ask(request, metadata=gate.as_("quant")))
        assert no.info.metadata["limit"] == "history_points_per_day"


async def test_a_strict_stream_of_the_past_fails_when_the_points_are_had() -> None:
    """A strict stream fails with the status instead."""
    async with limited({"quant": Limits(history_points_per_day=600)}) as gate:
        request = span(
            history_pb.StreamBarsRequest(symbols=TWO, timeframe="1Min", strict=True), *MONTH
        )
        no = await refused(gate.stack.history.StreamBars(request, metadata=gate.as_("quant")))
        assert no.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert no.info.reason == "LIMIT_EXCEEDED"
        assert no.delay is not None


# ------------------------------------------------------------------------------------ a fair share


async def test_one_who_spends_everything_leaves_the_others_their_share() -> None:
    """While one consumer asks as much as it can, another is served, and the first is told that others need the rest."""
    consumers = {"quant": Limits(), "dashboard": Limits()}
    async with limited(consumers, alpaca={"budget": {"data_per_minute": 30, "share": 1.0}}) as gate:
        names = (f"Z{chr(65 + a)}{chr(65 + b)}" for a in range(26) for b in range(26))

        async def ask(name: str) -> Any:
            request = pb.GetQuotesRequest(symbols=[next(names), next(names)])
            answer = await gate.stack.quotes.GetQuotes(
                request, metadata=gate.as_(name), timeout=1.0
            )
            return answer.results[0].unavailable

        await ask("dashboard")
        whys = [await ask("quant") for _ in range(40)]
        spent = [why for why in whys if why.reason == reasons.ERROR_REASON_BUDGET_EXHAUSTED]
        assert 20 <= len(spent) <= 26
        assert all("others need it" in why.message for why in spent)
        for _ in range(13):
            why = await ask("dashboard")
            assert why.reason != reasons.ERROR_REASON_BUDGET_EXHAUSTED


# -------------------------------------------------------------------------------------- the process


async def test_more_calls_than_are_answered_at_once_are_refused() -> None:
    """Calls beyond what the process answers at once fail with a short delay; status and health are always told."""
    async with running(limits={"calls": 2}) as stack:
        stack.sandbox.faults.add(faults.Hang(path="/v2/stocks"))
        slow = [
            asyncio.ensure_future(stack.quotes.GetQuote(pb.GetQuoteRequest(symbol=symbol)))
            for symbol in TWO
        ]
        await until(lambda: stack.gateway.counters.calls_in_flight == 2)
        no = await refused(stack.quotes.GetQuote(AAPL))
        assert (no.info.metadata["limit"], no.quota) == ("calls", "calls")
        assert no.delay is not None
        assert 0.05 <= no.delay <= 1
        status = await stack.status.GetStatus(status_service_pb2.GetStatusRequest())
        assert status.calls_in_flight == 3
        await stack.admin.ListErrors(admin_service_pb2.ListErrorsRequest())
        health: Any = health_pb2_grpc.HealthStub(stack.channel)
        await health.Check(health_pb2.HealthCheckRequest())
        assert stack.gateway.counters.limit_refusals == {"calls": 1}
        for call in slow:
            call.cancel()
        await until(lambda: stack.gateway.counters.calls_in_flight == 0)
        stack.sandbox.faults.clear()
        await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="TSLA"))


async def test_calls_beyond_those_of_a_connection_wait_for_their_turn() -> None:
    """Of calls on one connection so many are under way at once, and the others wait in the caller's library."""
    async with running(limits={"calls_per_connection": 2}) as stack:
        stack.sandbox.faults.add(faults.Hang(path="/v2/stocks"))
        await asyncio.wait([asyncio.ensure_future(stack.channel.channel_ready())])
        calls = [
            asyncio.ensure_future(stack.quotes.GetQuote(pb.GetQuoteRequest(symbol=symbol)))
            for symbol in ("AAPL", "MSFT", "TSLA")
        ]
        counters = stack.gateway.counters
        await until(lambda: counters.calls_in_flight == 2)
        status = asyncio.ensure_future(
            stack.status.GetStatus(status_service_pb2.GetStatusRequest(), timeout=0.3)
        )
        await asyncio.wait([status])
        assert isinstance(status.exception(), grpc.aio.AioRpcError)
        assert counters.calls_in_flight == 2
        stack.sandbox.faults.clear()
        calls[0].cancel()
        answer: pb.GetQuoteResponse = await calls[2]
        assert answer.result.HasField("quote")
        calls[1].cancel()


@pytest.mark.parametrize("size", [17_000, 40_000])
async def test_too_much_metadata_is_a_status(size: int) -> None:
    """A call with more metadata than is taken fails with RESOURCE_EXHAUSTED, and the connection lives on."""
    async with running() as stack:
        await stack.quotes.GetQuote(AAPL)
        with pytest.raises(grpc.aio.AioRpcError) as no:
            await stack.quotes.GetQuote(AAPL, metadata=(("x-much", "x" * size),))
        assert no.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "metadata" in (no.value.details() or "")
        await stack.quotes.GetQuote(AAPL, metadata=(("x-much", "x" * 15_000),))
