"""What the account may read, as callers see it, and what the gateway finds out by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import provenance_pb2
from tickgate.v1 import quote_service_pb2 as quote_pb
from tickgate.v1 import status_service_pb2 as pb
from tickgate_sandbox import Plan, Sandbox, faults
from tickgate_server.observe.counters import ProbeCounts

from ..support.running import FROZEN, Stack, running
from ..support.waiting import until

QUOTES = "/v2/stocks/quotes/latest"
OPTIONS = "/v1beta1/options/snapshots"
SAID = "subscription does not permit querying recent SIP data"
GRANTED, DENIED, UNKNOWN = (
    pb.ENTITLEMENT_STATE_GRANTED,
    pb.ENTITLEMENT_STATE_DENIED,
    pb.ENTITLEMENT_STATE_UNKNOWN,
)


async def entitlements(stack: Stack) -> Mapping[str, pb.FeedEntitlement]:
    """What GetEntitlements says of each feed, by its short name."""
    answer = await stack.status.GetEntitlements(pb.GetEntitlementsRequest(), timeout=10)
    return {
        provenance_pb2.Feed.Name(entry.feed).removeprefix("FEED_"): entry for entry in answer.feeds
    }


async def ask_sip(stack: Stack) -> quote_pb.GetQuoteResponse:
    """Ask for a quote on the consolidated feed."""
    request = quote_pb.GetQuoteRequest(symbol="AAPL", feed=provenance_pb2.FEED_SIP)
    return await stack.quotes.GetQuote(request, timeout=10)


async def test_the_free_plan() -> None:
    """Each feed is asked once: three are granted, the others denied in the upstream's words, with their delays."""
    async with running() as stack:
        feeds = await entitlements(stack)
        asked = stack.asked(QUOTES), stack.asked(OPTIONS)
        again = await entitlements(stack)
        asked_again = stack.asked(QUOTES), stack.asked(OPTIONS)

    assert {name for name, entry in feeds.items() if entry.state == GRANTED} == {
        "IEX",
        "DELAYED_SIP",
        "INDICATIVE",
    }
    assert {name for name, entry in feeds.items() if entry.state == DENIED} == {
        "SIP",
        "BOATS",
        "OVERNIGHT",
        "OTC",
        "OPRA",
    }
    assert feeds["SIP"].message == SAID
    assert feeds["OPRA"].message == "OPRA agreement is not signed"
    assert feeds["IEX"].message == ""
    assert feeds["DELAYED_SIP"].delay.ToSeconds() == 900
    assert all(entry.HasField("learn_time") for entry in feeds.values())
    assert again == feeds
    assert asked == asked_again == (6, 2)


async def test_the_paid_plan() -> None:
    """On the paid plan every feed is granted."""
    async with running(replace(FROZEN, plan=Plan.PLUS)) as stack:
        feeds = await entitlements(stack)
    assert {entry.state for entry in feeds.values()} == {GRANTED}


async def test_an_upstream_that_is_away_leaves_them_unknown() -> None:
    """What cannot be asked is UNKNOWN, with no time at which it was learned; the call itself succeeds."""
    async with running() as stack:
        stack.sandbox.faults.add(faults.Status(status=503, path="/v2/stocks"))
        stack.sandbox.faults.add(faults.Status(status=503, path="/v1beta1/options"))
        feeds = await entitlements(stack)
    assert {entry.state for entry in feeds.values()} == {UNKNOWN}
    assert not any(entry.HasField("learn_time") for entry in feeds.values())


async def test_callers_teach_as_well() -> None:
    """A feed that a caller was answered on, or refused, is not asked again."""
    async with running() as stack:
        await stack.quotes.GetQuote(quote_pb.GetQuoteRequest(symbol="AAPL"), timeout=10)
        await ask_sip(stack)
        before = stack.asked(QUOTES)
        feeds = await entitlements(stack)
        asked = stack.asked(QUOTES) - before

    assert (feeds["IEX"].state, feeds["SIP"].state) == (GRANTED, DENIED)
    assert asked == 4


async def test_a_denied_feed_is_refused_without_asking() -> None:
    """The first question is refused by the upstream, the next by the gateway, which says when it will ask again."""
    async with running() as stack:
        first, *others = [(await ask_sip(stack)).result.unavailable for _ in range(10)]
        asked = stack.asked(QUOTES)

    assert asked == 1
    assert SAID in first.message
    for why in others:
        assert why.reason == reasons.ERROR_REASON_NOT_ENTITLED
        assert why.message.startswith(f"the account may not read feed sip: {SAID} (refused at ")
        assert "asked again from" in why.message


async def test_a_better_plan_is_found_out() -> None:
    """Once a denied feed is asked again, a plan that covers it by then is used at once."""
    async with running(replace(FROZEN, plan=Plan.PLUS), alpaca={"keep_denied": 0}) as stack:
        stack.sandbox.faults.add(
            faults.Status(status=403, body={"message": SAID}, path=QUOTES, times=1)
        )
        refused = await ask_sip(stack)
        answered = await ask_sip(stack)
        feeds = await entitlements(stack)

    assert refused.result.unavailable.reason == reasons.ERROR_REASON_NOT_ENTITLED
    assert answered.result.HasField("quote")
    assert feeds["SIP"].state == GRANTED


# ------------------------------------------------------------------------------------ the probe


@asynccontextmanager
async def probed(*armed: faults.Fault) -> AsyncIterator[Stack]:
    """Run a gateway that probes what has been left alone for a moment, and wait until it has."""

    def arm(upstream: Sandbox) -> None:
        for fault in armed:
            upstream.faults.add(fault)

    async with running(before=arm, probe={"idle": 0.1}) as stack:
        groups = ("latest", "options", "history", "reference")
        await until(lambda: all(latest_probe(stack, group) for group in groups))
        yield stack


def latest_probe(stack: Stack, group: str) -> ProbeCounts | None:
    """Return what became of the last probe of a group of market data."""
    return stack.gateway.counters.upstream("alpaca.data", group).probe


async def test_idle_groups_are_probed() -> None:
    """A gateway that nobody asks knows that its upstream answers, takes its key, and sends a good quote."""
    async with probed() as stack:
        status = await stack.status.GetStatus(pb.GetStatusRequest(), timeout=10)
        quotes_asked, codes_asked = stack.asked(QUOTES), stack.asked("/v2/stocks/meta/exchanges")
        options_asked, history_asked = stack.asked(OPTIONS), stack.asked("/v2/stocks/bars")

    probes = {
        group.group: group.probe for group in status.upstreams if group.upstream == "alpaca.data"
    }
    assert set(probes) == {"latest", "options", "history", "reference"}
    assert (probes["latest"].symbol, probes["latest"].quality_score) == ("AAPL", 100)
    for probe in probes.values():
        assert probe.key_valid
        assert probe.HasField("latency")
        assert not probe.HasField("reason")
    assert quotes_asked >= 1
    assert codes_asked >= 1
    assert options_asked >= 1
    assert history_asked >= 1


async def test_a_failing_probe_leaves_readiness_alone() -> None:
    """A gateway whose upstream refuses the key says so in its status, and goes on serving."""
    async with probed(faults.Html401(path="/v2/stocks")) as stack:
        health: Any = health_pb2_grpc.HealthStub(stack.channel)
        service = "tickgate.v1.QuoteService"
        ready = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        probe = latest_probe(stack, "latest")

    assert ready.status == health_pb2.HealthCheckResponse.SERVING
    assert probe is not None
    assert (probe.reason, probe.key_valid) == ("UPSTREAM_UNAUTHENTICATED", False)
