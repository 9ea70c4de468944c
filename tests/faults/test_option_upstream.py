"""Whatever befalls the upstream, nobody is told an older price of an option, and chains are whole or not there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import freshness_pb2, option_pb2, provenance_pb2
from tickgate.v1 import option_service_pb2 as pb
from tickgate.v1 import option_service_pb2_grpc as services
from tickgate.v1 import quote_service_pb2 as quote_pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import Fault, Sandbox, faults, sandbox
from tickgate_server.app import gateway

from ..support.following import following
from ..support.option_market import (
    CALL,
    CHAIN_PATH,
    CONTRACTS,
    EXPIRED,
    FRESH,
    FULL,
    INDICATIVE,
    LIST_PATH,
    NOW,
    PUT,
    QUOTES_PATH,
    THURSDAY,
    UNKNOWN,
    Chain,
    ask,
    ask_one,
    chain,
    lists_asked,
    origins,
    page,
    pages_asked,
    quotes_asked,
    read_chain,
    reason_of,
    symbol_of,
    told,
    trading,
)
from ..support.outages import QUICK, is_idle, nothing_left, own_tasks, timed
from ..support.records import a_quote, push
from ..support.running import Stack, settings_for
from ..support.waiting import until, until_told

MORE: Final = 1500
"""Contracts that a test adds, so that a chain has three pages."""

OUTAGES: dict[str, tuple[Fault, str]] = {
    "500": (faults.Status(status=500), "UPSTREAM_ERROR"),
    "503": (faults.Status(status=503, body="<html>"), "UPSTREAM_ERROR"),
    "429": (faults.Status(status=429), "UPSTREAM_RATE_LIMITED"),
    "401": (faults.Html401(), "UPSTREAM_UNAUTHENTICATED"),
    "reset": (faults.Reset(), "UPSTREAM_ERROR"),
    "truncated": (faults.Truncate(), "UPSTREAM_ERROR"),
    "latency": (faults.Latency(seconds=10), "UPSTREAM_TIMEOUT"),
    "hang": (faults.Hang(), "UPSTREAM_TIMEOUT"),
    "garbage": (faults.Garbage(), "INVALID_DATA"),
    "empty": (faults.EmptyBody(), "INVALID_DATA"),
    "null": (faults.NullBody(), "INVALID_DATA"),
}
each_outage = pytest.mark.parametrize(("fault", "reason"), OUTAGES.values(), ids=OUTAGES)
SILENT: Final = (faults.Latency, faults.Hang)
PATIENT: Final = Duration(seconds=3600)
ENOUGH: dict[str, Any] = QUICK | {"breaker": {"streak": 1000, "window": 1000}}
"""Settings with which no circuit opens: each call is to meet the fault itself."""


def struck(fault: Fault, path: str) -> Fault:
    """Return *fault* for requests of *path*."""
    fault.path = path
    return fault


def patience(fault: Fault) -> float:
    """Return how long to wait for a faulty upstream: for a silent one not long."""
    return 0.5 if isinstance(fault, SILENT) else 5.0


def cent(number: int) -> str:
    """Name one of the contracts that a test adds."""
    return symbol_of(1 + number / 100, expiry="261120")


def grow(market: Sandbox) -> None:
    """Add so many contracts that the chain has three pages."""
    quote = '{"latestQuote":{"t":"2026-10-01T14:59:59Z","bp":1.1,"bs":1,"ap":1.2,"as":1}}'
    for number in range(MORE):
        market.pins.put("options", cent(number), quote)


async def ask_within(stack: Stack, seconds: float, *symbols: str, **terms: Any) -> list[str]:
    """Ask for *symbols*, waiting so many *seconds*, and return what was told of each."""
    request = pb.GetOptionQuotesRequest(symbols=symbols, **terms)
    answer = await stack.options.GetOptionQuotes(request, timeout=seconds)
    return [told(result) for result in answer.results]


async def chain_within(stack: Stack, seconds: float, **terms: Any) -> Chain:
    """Read the chain, waiting so many *seconds*."""
    request = pb.StreamOptionChainRequest(underlying_symbol="AAPL", **terms)
    return await read_chain(stack.options.StreamOptionChain(request, timeout=seconds))


async def recovered(stack: Stack) -> None:
    """Ask for the chain until the upstream has answered; fail when that takes too long."""

    async def reason() -> str:
        return (await chain(stack, max_age=NOW)).reason

    await until_told(reason, lambda said: said == "")


def circuits(status: status_pb.GetStatusResponse) -> dict[tuple[str, str], str]:
    """Return the state of each circuit, by upstream and group."""
    return {
        (one.upstream, one.group): status_pb.CircuitState.Name(one.circuit.state).removeprefix(
            "CIRCUIT_STATE_"
        )
        for one in status.upstreams
    }


# ------------------------------------------------------------------------------------ outages


@each_outage
async def test_in_an_outage_no_older_option_is_told(fault: Fault, reason: str) -> None:
    """A contract that was held an instant ago is unavailable for whoever asks anew; when all is well it is there."""
    wait = patience(fault)
    async with trading(THURSDAY, memory={"keep_open": 0}, alpaca=QUICK) as stack:
        first = await ask_within(stack, 5, CALL)
        stack.sandbox.faults.add(struck(fault, QUOTES_PATH))
        cold = await ask_within(stack, wait, PUT)
        newer = await ask_within(stack, wait, CALL, freshness=FRESH)
        known = await ask_within(
            stack, wait, CALL, freshness=freshness_pb2.Freshness(max_age=PATIENT)
        )
        stack.sandbox.faults.clear()

        async def again() -> list[str]:
            return await ask_within(stack, 5, CALL, PUT, freshness=FRESH)

        await until_told(again, lambda said: said == ["UPSTREAM", "UPSTREAM"])
        await until(lambda: is_idle(stack.gateway.counters))

    later = {"BUDGET_EXHAUSTED", "CIRCUIT_OPEN"}
    assert first == ["UPSTREAM"]
    assert cold == [reason]
    assert newer[0] == reason or newer[0] in later
    # What is as fresh as asked for is an answer, unless the upstream has since said something that cannot be read.
    assert known == ["MEMORY"] or (reason == "INVALID_DATA" and known == [reason])


@each_outage
async def test_in_an_outage_no_older_chain_is_told(fault: Fault, reason: str) -> None:
    """A chain that cannot be refreshed is unavailable for that reason, whole; one that is young enough is an answer."""
    wait = patience(fault)
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        first = await chain(stack)
        before = own_tasks()
        stack.sandbox.faults.add(struck(fault, CHAIN_PATH))
        newer = await chain_within(stack, wait, max_age=NOW)
        known = await chain_within(stack, wait, max_age=PATIENT)
        paged = await page(stack, max_age=NOW) if wait > 1 else None
        stack.sandbox.faults.clear()
        await recovered(stack)
        counts = (await stack.status.GetStatus(status_pb.GetStatusRequest())).option_chains
        await nothing_left(stack.gateway, before)

    assert first.header.served_from == provenance_pb2.TIER_UPSTREAM
    assert newer.reason == reason
    assert newer.options == []
    assert known.header.served_from == provenance_pb2.TIER_MEMORY
    assert known.options == first.options
    if paged is not None:
        assert reason_of(paged.unavailable) in (reason, "BUDGET_EXHAUSTED", "CIRCUIT_OPEN")
    if not isinstance(fault, SILENT):
        assert counts.failures >= 1


async def test_options_fail_alone() -> None:
    """While options fail until their circuit opens, quotes of stocks are answered, and status tells which it is."""
    async with trading(THURSDAY, alpaca=QUICK | {"breaker": {"cool_down": 60.0}}) as stack:
        stack.sandbox.faults.add(faults.Status(status=500, path=QUOTES_PATH))
        heard = set()
        while "CIRCUIT_OPEN" not in heard:
            heard.add(told(await ask_one(stack, freshness=FRESH)))
        (of_chain, took), asked = await timed(chain(stack)), pages_asked(stack)
        stock = await stack.quotes.GetQuote(quote_pb.GetQuoteRequest(symbol="AAPL"))
        states = circuits(await stack.status.GetStatus(status_pb.GetStatusRequest()))

    assert heard == {"UPSTREAM_ERROR", "CIRCUIT_OPEN"}
    assert of_chain.reason == "CIRCUIT_OPEN"
    assert of_chain.unavailable is not None
    assert of_chain.unavailable.HasField("retry_delay")
    assert took < 1
    assert asked == 0
    assert stock.result.quote.bid.price.value
    assert states["alpaca.data", "options"] == "OPEN"
    assert states["alpaca.data", "latest"] == "CLOSED"


async def test_a_spent_budget_is_told_and_each_page_costs_one() -> None:
    """Each page costs one request; a chain that the budget does not cover in time is BUDGET_EXHAUSTED, and at once."""
    budget = {"budget": {"data_per_minute": 20, "trading_per_minute": 1000}, "retries": {"most": 0}}
    async with trading(THURSDAY, before=grow, alpaca=budget) as stack:
        whole = await chain(stack)
        spent = pages_asked(stack)
        heard = ""
        while heard != "BUDGET_EXHAUSTED":
            (heard,) = await ask_within(stack, 0.5, CALL, freshness=FRESH)
        refused, took = await timed(chain_within(stack, 1.0, max_age=NOW))
        held = await chain_within(stack, 0.5, max_age=PATIENT)
        data = stack.asked("/v1beta1/options")

    assert len(whole.symbols) == CONTRACTS + MORE
    assert spent == 3
    assert refused.reason == "BUDGET_EXHAUSTED"
    assert refused.unavailable is not None
    assert refused.unavailable.retry_delay.ToNanoseconds() > 0
    assert held.header.served_from == provenance_pb2.TIER_MEMORY
    assert data <= 20
    assert took < 0.5


async def test_pushback_is_told() -> None:
    """A 429 that names a pause is UPSTREAM_RATE_LIMITED with that delay, for contracts and for chains."""
    fault = faults.Status(status=429, headers={"Retry-After": "7"}, path=QUOTES_PATH)
    async with trading(THURSDAY, alpaca={"retries": {"most": 0}}) as stack:
        stack.sandbox.faults.add(fault)
        first = (await page(stack)).unavailable
        request = pb.GetOptionQuoteRequest(symbol=CALL)
        second = (await stack.options.GetOptionQuote(request, timeout=1.0)).result.unavailable

    assert reason_of(first) == "UPSTREAM_RATE_LIMITED"
    assert reason_of(second) in ("UPSTREAM_RATE_LIMITED", "BUDGET_EXHAUSTED")
    for why in (first, second):
        assert 4 < why.retry_delay.ToNanoseconds() / 1e9 <= 7


# --------------------------------------------------------------------------- chains of many pages


async def test_a_failing_page_costs_the_whole_chain() -> None:
    """When the third page fails there is no chain, not two thirds of one; the next who asks gets all of it."""
    async with trading(THURSDAY, before=grow, alpaca=ENOUGH) as stack:
        stack.sandbox.faults.add(faults.Latency(seconds=0, times=2, path=CHAIN_PATH))
        stack.sandbox.faults.add(faults.Status(status=500, times=1, path=CHAIN_PATH))
        failed = await chain(stack)
        asked = pages_asked(stack)
        whole = await chain(stack)
        counts = (await stack.status.GetStatus(status_pb.GetStatusRequest())).option_chains

    assert failed.reason == "UPSTREAM_ERROR"
    assert asked == 3
    assert len(whole.symbols) == len(set(whole.symbols)) == CONTRACTS + MORE
    assert whole.header.served_from == provenance_pb2.TIER_UPSTREAM
    assert (counts.loads, counts.failures) == (1, 1)


async def test_a_failing_page_leaves_the_older_chain_as_it_was() -> None:
    """When a refresh fails midway nothing of it is kept: the chain of before is whole, for who may have it so old."""
    moved = '{"t":"2026-10-01T15:00:00Z","bp":7.7,"bs":1,"ap":7.8,"as":1}'
    async with trading(THURSDAY, before=grow, alpaca=ENOUGH) as stack:
        first = await chain(stack)
        stack.sandbox.pins.put("quotes", CALL, moved)
        stack.sandbox.faults.add(faults.Latency(seconds=0, times=2, path=CHAIN_PATH))
        stack.sandbox.faults.add(faults.Status(status=500, times=1, path=CHAIN_PATH))
        failed = await chain(stack, max_age=NOW)
        held = await chain(stack, max_age=PATIENT)
        newer = await chain(stack, max_age=NOW)

    assert failed.reason == "UPSTREAM_ERROR"
    assert held.options == first.options
    assert held.header.confirm_time == first.header.confirm_time
    assert newer.by_symbol[CALL].quote.bid.price.value == "7.7"
    assert newer.header.load_time == first.header.load_time


async def test_a_page_that_is_asked_for_again_is_no_second_page() -> None:
    """A page that fails once is repeated, and the chain holds each contract once."""
    retries = QUICK | {"retries": {"most": 2, "wait_initial": 0.01}}
    async with trading(THURSDAY, before=grow, alpaca=retries) as stack:
        stack.sandbox.faults.add(faults.Latency(seconds=0, times=1, path=CHAIN_PATH))
        stack.sandbox.faults.add(faults.Reset(times=1, path=CHAIN_PATH))
        whole = await chain(stack)
        asked = pages_asked(stack)

    assert len(whole.symbols) == len(set(whole.symbols)) == CONTRACTS + MORE
    assert asked == 4


@pytest.mark.parametrize("tokens", [["MQ=="], ["MQ==", "Mg=="]], ids=["itself", "another"])
@pytest.mark.parametrize(
    ("path", "wrapper", "empty"),
    [(CHAIN_PATH, "snapshots", "{}"), (LIST_PATH, "option_contracts", "[]")],
    ids=["chain", "list"],
)
async def test_an_upstream_that_turns_in_a_circle_is_left(
    path: str, wrapper: str, empty: str, tokens: list[str]
) -> None:
    """Pages that lead to pages that were read are INVALID_DATA, before they have spent everybody's budget."""
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        for token in tokens * 50:
            body = f'{{"{wrapper}":{empty},"next_page_token":"{token}"}}'
            stack.sandbox.faults.add(faults.Reply(body=body, path=path, times=1))
        if path == CHAIN_PATH:
            reason = (await chain_within(stack, 1.0)).reason
        else:
            request = pb.ListOptionContractsRequest(underlying_symbol="AAPL")
            answer = await stack.options.ListOptionContracts(request, timeout=1.0)
            reason = reason_of(answer.unavailable)
        asked = pages_asked(stack) + lists_asked(stack)

    assert reason == "INVALID_DATA"
    assert asked <= 4


async def test_who_has_no_time_leaves_alone() -> None:
    """Whose deadline is shorter than the reading is told UPSTREAM_TIMEOUT in time; who is patient gets the chain."""
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        stack.sandbox.faults.add(faults.Latency(seconds=60, times=1, path=CHAIN_PATH))
        patient = asyncio.create_task(chain(stack))
        await until(lambda: pages_asked(stack) == 1)
        hasty, took = await timed(chain_within(stack, 0.3))
        stack.sandbox.faults.clear()
        whole = await patient
        asked = pages_asked(stack)

    assert hasty.reason == "UPSTREAM_TIMEOUT"
    assert took < 0.3
    assert len(whole.symbols) == CONTRACTS
    assert asked == 1


async def test_a_chain_that_nobody_waits_for_is_let_go() -> None:
    """When the last who waits for a chain cancels, its reading ends; the next who asks begins anew."""
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        before = own_tasks()
        stack.sandbox.faults.add(faults.Hang(path=CHAIN_PATH))
        request = pb.StreamOptionChainRequest(underlying_symbol="AAPL")
        calls: list[Any] = [stack.options.StreamOptionChain(request) for _ in range(5)]
        readers = [asyncio.create_task(call.read()) for call in calls]
        await until(lambda: pages_asked(stack) == 1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await nothing_left(stack.gateway, before)
        stack.sandbox.faults.clear()
        whole = await chain(stack)
        asked = pages_asked(stack)

    assert len(whole.symbols) == CONTRACTS
    assert asked == 2


# ------------------------------------------------------------------------- the list of contracts

LIST_FAULTS: dict[str, tuple[Fault, str]] = {
    name: outage for name, outage in OUTAGES.items() if name in ("500", "401", "hang", "garbage")
}


@pytest.mark.parametrize(("fault", "reason"), LIST_FAULTS.values(), ids=LIST_FAULTS)
async def test_without_the_list_a_full_chain_says_so_and_loses_nothing(
    fault: Fault, reason: str
) -> None:
    """While contracts cannot be listed, FULL has every quote and bar, says why terms are missing, and gets over it."""
    settings: dict[str, Any] = {"alpaca": QUICK, "reference": {"retry_after": 0.001}}
    async with trading(THURSDAY, **settings) as stack:
        plain = await chain(stack)
        stack.sandbox.faults.add(struck(fault, LIST_PATH))
        full, took = await timed(chain_within(stack, 3.0, view=FULL))
        stack.sandbox.faults.clear()

        async def interest() -> int:
            found = (await chain(stack, view=FULL)).options
            return sum(option.HasField("open_interest") for option in found)

        counted = await until_told(interest, bool)

    assert full.reason == ""
    # What there is would else come when nobody waits for it any more.
    assert took < 2.5
    assert full.symbols == plain.symbols
    assert full.header.HasField("contracts_unavailable")
    assert reason_of(full.header.contracts_unavailable) == reason
    assert full.header.missing.open_interests == CONTRACTS
    assert full.header.missing.quotes == plain.header.missing.quotes
    assert all(option.HasField("daily_bar") for option in full.options if option.day_volume)
    assert not any(option.HasField("contract") for option in full.options)
    assert counted > CONTRACTS / 2


@pytest.mark.parametrize(("fault", "reason"), LIST_FAULTS.values(), ids=LIST_FAULTS)
async def test_without_the_list_a_full_quote_says_so_and_loses_nothing(
    fault: Fault, reason: str
) -> None:
    """While contracts cannot be listed, FULL has quote, trade, greeks and bars, and names the terms as missing, why."""
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        (basic,) = await ask(stack, CALL)
        stack.sandbox.faults.add(struck(fault, LIST_PATH))
        request = pb.GetOptionQuoteRequest(symbol=CALL, view=FULL)
        answer, took = await timed(stack.options.GetOptionQuote(request, timeout=3.0))

    assert took < 2.5
    option = answer.result.option_quote
    (missing,) = option.missing_parts
    assert missing.part == option_pb2.OPTION_PART_CONTRACT
    assert reason_of(missing.unavailable) == reason
    assert not option.HasField("contract")
    assert not option.HasField("open_interest")
    assert set(origins(option)) >= {"quote", "latest_trade", "model", "daily_bar"}
    assert option.greeks == basic.option_quote.greeks


@pytest.mark.parametrize("wait", [4.0, 1.0])
async def test_a_contract_that_cannot_be_looked_up_delays_nobody(wait: float) -> None:
    """While the list of contracts hangs, a batch with unknown contracts has the values of the others in time."""
    several = [PUT, UNKNOWN, symbol_of(232)]
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        stack.sandbox.faults.add(faults.Hang(path=LIST_PATH))
        one, took = await timed(ask_within(stack, wait, CALL, UNKNOWN))
        two = await ask_within(stack, wait, *several)

    assert one == ["UPSTREAM", "NO_DATA"]
    assert two == ["UPSTREAM", "NO_DATA", "NO_DATA"]
    assert took < 2.0


async def test_a_contract_that_cannot_be_looked_up_holds_up_no_stream() -> None:
    """While the list of contracts hangs, who adds a contract to his stream goes on reading all the rest of it."""
    async with trading(THURSDAY, alpaca=QUICK) as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        stack.sandbox.faults.add(faults.Hang(path=LIST_PATH))
        await follower.subscribe(CALL, id="options", feed=INDICATIVE)
        await until(lambda: stack.asked(LIST_PATH) > 0)
        for number in range(1, 101):
            await push(stack, a_quote(bid=round(228 + number / 1000, 3)))
            await follower.until_number(number)
        # The gateway gives a look-up five seconds; had reading waited for it, it would be over by now.
        told_of_call = follower.states(CALL, subscription="options")

    assert told_of_call == []


async def test_an_expired_contract_needs_no_upstream() -> None:
    """With the upstream away a contract that has expired is told so, as ever."""
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        stack.sandbox.faults.add(faults.Hang())
        (reason,) = await ask_within(stack, 1.0, EXPIRED)
        asked = quotes_asked(stack)

    assert reason == "CONTRACT_EXPIRED"
    assert asked == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.Status(status=500), "UPSTREAM_ERROR"),
        (faults.Hang(), "UPSTREAM_TIMEOUT"),
        (faults.Garbage(), "INVALID_DATA"),
    ],
    ids=["500", "hang", "garbage"],
)
async def test_without_the_price_there_is_nothing_around_it(fault: Fault, reason: str) -> None:
    """Where the underlying's trade cannot be had, strikes around it are unavailable for that reason, and only they."""
    around = option_pb2.OptionChainFilter(around=option_pb2.AroundTheMoney(strikes=3))
    async with trading(THURSDAY, alpaca=QUICK) as stack:
        await chain(stack)
        stack.sandbox.faults.add(struck(fault, "/v2/stocks/trades"))
        missed = await chain_within(stack, 1.0, filter=around)
        whole = await chain(stack)
        stack.sandbox.faults.clear()

        async def again() -> str:
            return (await chain(stack, filter=around)).reason

        await until_told(again, lambda said: said == "")

    assert missed.reason == reason
    assert len(whole.symbols) == CONTRACTS


async def test_an_underlying_that_cannot_be_looked_up_is_asked_for_again() -> None:
    """While contracts cannot be listed, an underlying without a chain is NO_DATA, and that is not remembered."""
    settings: dict[str, Any] = {"alpaca": QUICK, "reference": {"retry_after": 0.001}}
    async with trading(THURSDAY, **settings) as stack:
        stack.sandbox.faults.add(faults.Status(status=422, path=LIST_PATH))
        during = await page(stack, "ZZZZ")
        stack.sandbox.faults.clear()
        after = await page(stack, "ZZZZ")
        lists = lists_asked(stack)

    assert reason_of(during.unavailable) == "NO_DATA"
    assert "its list of contracts cannot be had" in during.unavailable.message
    assert reason_of(after.unavailable) == "SYMBOL_UNKNOWN"
    assert lists == 2


# ------------------------------------------------------------------------------------- stopping


async def test_a_stopping_gateway_waits_for_a_chain_under_way() -> None:
    """A chain that is being read when the gateway stops is streamed to its end; who comes then is sent elsewhere."""
    before = own_tasks()
    async with sandbox(replace(THURSDAY, listen="127.0.0.1:0")) as upstream:
        # Half of it a gateway still answers who has not heard yet, and somebody here never stops asking.
        entered = gateway(settings_for(upstream.url, drain=4.0))
        served = await entered.__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            stub: services.OptionServiceAsyncStub = services.OptionServiceStub(channel)
            upstream.faults.add(faults.Latency(seconds=60, path=CHAIN_PATH))
            request = pb.StreamOptionChainRequest(underlying_symbol="AAPL")
            reading = asyncio.create_task(read_chain(stub.StreamOptionChain(request)))
            await until(lambda: upstream.counters.endpoints[f"{QUOTES_PATH}/{{underlying}}"] == 1)
            leaving = asyncio.create_task(entered.__aexit__(None, None, None))
            code = await refused(stub)
            upstream.faults.clear()
            whole = await reading
            await leaving
        left = served.counters.calls_in_flight
    await until(lambda: own_tasks() <= before)

    assert len(whole.symbols) == CONTRACTS
    assert code is grpc.StatusCode.UNAVAILABLE
    assert left == 0


async def refused(stub: services.OptionServiceAsyncStub) -> grpc.StatusCode:
    """Ask for what costs nothing until the gateway takes no more calls, and return the status that says so."""

    async def code() -> grpc.StatusCode:
        try:
            await stub.GetOptionQuote(pb.GetOptionQuoteRequest(symbol=EXPIRED))
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    return await until_told(code, lambda said: said is not grpc.StatusCode.OK)
