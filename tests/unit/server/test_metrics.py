"""The table of metrics, and how counters become text."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest

from tickgate_server.market.live import FeedState
from tickgate_server.market.time import NANOS
from tickgate_server.observe.counters import (
    BudgetCounts,
    Counters,
    PoolCounts,
    TierCounts,
)
from tickgate_server.observe.metrics import NAMES, Levels, Metrics

from ...support.scraped import OPEN_METRICS, Scrape

NOW = 1_000 * NANOS


def some_counters() -> Counters:
    """Counters under which everything has happened once."""
    counters = Counters()
    counters.unready = ""
    counters.upstream("alpaca.data", "latest").took("answered", 0.02)
    counters.budgets["alpaca.data"] = BudgetCounts(200, 60.0, shared=False, floors={})
    counters.tiers |= {
        "book": TierCounts(state="off"),
        "memory": TierCounts(),
        "redis": TierCounts(state="down"),
    }
    for tier in counters.tiers:
        counters.cache(tier, "quote").hits = 3
    counters.refusals["crossed"] = 4
    counters.rule_flags["volume_pattern"] = 1
    feed = counters.feed("iex")
    feed.state, feed.lag, feed.last_record_time = "live", NANOS // 2, NOW - 3 * NANOS
    counters.keys.store, counters.store.state, counters.store.size = "up", "up", 5
    counters.ingestion.lag, counters.ingestion.heartbeat_time = NANOS, NOW - NANOS
    counters.certificate_expires = NOW + 60 * NANOS
    values = counters.rpc("QuoteService/GetQuote").values_on("iex")
    values.asked, values.given["memory"], values.missing["NO_DATA"] = 3, 2, 1
    counters.rpc("QuoteService/GetQuote").codes["OK"] = 3
    counters.ages_on("iex").observe(1.0)
    counters.scores_on("iex").observe(90)
    counters.refuse_limit("streams")
    return counters


def some_levels() -> Levels:
    """Levels that tell everything."""
    return Levels(
        "1.2.3",
        wall=lambda: NOW,
        remaining=lambda _: 187,
        held=lambda: {("memory", "quote"): 7},
        open_gaps=lambda: {"iex": 1},
        pools=lambda: {"general": PoolCounts(4, 3, 2, 9, 0.5)},
        market_open=lambda: True,
    )


def scraped(counters: Counters, levels: Levels, accept: str = "") -> Scrape:
    """What they are as text."""
    metrics = Metrics(counters, levels)
    try:
        text, content_type = asyncio.run(metrics.exposition(accept))
    finally:
        metrics.close()
    is_open = content_type.startswith("application/openmetrics-text")
    return (Scrape.open if is_open else Scrape.plain)(text.decode())


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", OPEN_METRICS])
def test_the_table_is_what_is_told(accept: str) -> None:
    """Every metric of the table is told with its type, labels and sentence, in both formats, and none besides."""
    told = scraped(some_counters(), some_levels(), accept)

    assert told.kinds == {name: described.kind for name, described in NAMES.items()}
    assert told.labels == {
        name: {tuple(sorted(described.labels))} for name, described in NAMES.items()
    }
    for family in told.families.values():
        described = NAMES.get(family.name) or NAMES[f"{family.name}_total"]
        if not family.name.startswith("process_"):
            assert family.documentation == described.sentence


def test_numbers_are_those_that_were_counted() -> None:
    """Counters, levels, states and ages are told as they stand."""
    told = scraped(some_counters(), some_levels())

    for (name, labels), number in {
        ("real_data_requests_total", ("rpc", "QuoteService/GetQuote", "feed", "iex")): 3,
        (
            "real_data_success_total",
            ("rpc", "QuoteService/GetQuote", "feed", "iex", "tier", "memory"),
        ): 2,
        (
            "real_data_failures_total",
            ("rpc", "QuoteService/GetQuote", "feed", "iex", "reason", "NO_DATA"),
        ): 1,
        ("upstream_request_seconds_count", (
            "upstream", "alpaca.data", "group", "latest", "outcome", "answered",
        )): 1,
        ("pipeline_stage_seconds_count", ("stage", "wire")): 1,
        ("budget_remaining", ("upstream", "alpaca.data")): 187,
        ("cache_hits_total", ("tier", "memory", "kind", "quote")): 3,
        ("cache_hits_total", ("tier", "redis", "kind", "quote")): 3,
        ("cache_values", ("tier", "memory", "kind", "quote")): 7,
        ("tier_up", ("tier", "memory")): 1,
        ("ingress_refusals_total", ("rule", "crossed")): 4,
        ("feed_up", ("feed", "iex")): 1,
        ("feed_lag_seconds", ("feed", "iex")): 0.5,
        ("feed_last_record_age_seconds", ("feed", "iex")): 3,
        ("feed_gap_open", ("feed", "iex")): 1,
        ("store_up", ()): 1,
        ("ingestion_heartbeat_age_seconds", ()): 1,
        ("certificate_expires_seconds", ()): 60,
        ("db_pool_waiting", ("pool", "general")): 2,
        ("db_pool_wait_seconds_total", ("pool", "general")): 0.5,
        ("quality_score_bucket", ("feed", "iex", "le", "90.0")): 1,
        ("quality_score_bucket", ("feed", "iex", "le", "80.0")): 0,
        ("calls_refused_total", ("limit", "streams")): 1,
        ("build_info", ("version", "1.2.3")): 1,
        ("gateway_ready", ()): 1,
        ("market_open", ()): 1,
    }.items():  # fmt: skip
        pairs = dict(zip(labels[::2], labels[1::2], strict=True))
        key = name, frozenset(pairs.items())
        assert key in told.samples, key
        assert told.samples[key] == number, key
    states = {
        state.value: told.value("feed_state", feed="iex", state=state.value) for state in FeedState
    }
    assert states == {state.value: float(state is FeedState.LIVE) for state in FeedState}


def test_what_nobody_knows_is_not_told() -> None:
    """A level that is not known, or of something that is off, is left out: 0 would be a number, and an alarm."""
    counters = Counters()
    counters.tiers["redis"] = TierCounts(state="off")
    counters.cache("redis", "quote")
    counters.feed("iex")
    told = scraped(counters, Levels("1"))

    names = {name for name, _ in told.samples}
    for name in (
        *("market_open", "store_up", "store_size_bytes", "ingestion_lag_seconds", "tier_up"),
        *("ingestion_heartbeat_age_seconds", "feed_lag_seconds", "feed_last_record_age_seconds"),
        *("certificate_expires_seconds", "budget_remaining", "cache_hits_total"),
    ):
        assert name in NAMES
        assert name not in names, name
    assert told.samples["gateway_ready", frozenset()] == 0


def test_what_is_known_in_advance_begins_at_nothing() -> None:
    """Where labels are known before anything has happened there is a 0, so that no first increment goes unseen."""
    rpc = "QuoteService/GetQuote"
    levels = Levels(
        "1",
        rpcs=[rpc],
        asked=[(rpc, "iex")],
        given=[(rpc, "iex", "memory")],
        groups=[("alpaca.data", "history")],
        limits=["streams"],
        feeds=["iex"],
        live_feeds=["iex"],
    )
    told = scraped(Counters(), levels)

    for name, labels in (
        ("real_data_requests_total", {"rpc": rpc, "feed": "iex"}),
        ("real_data_success_total", {"rpc": rpc, "feed": "iex", "tier": "memory"}),
        ("calls_total", {"rpc": rpc, "code": "OK"}),
        ("calls_refused_total", {"limit": "streams"}),
        ("api_response_time_seconds_count", {"rpc": rpc}),
        ("market_data_freshness_seconds_count", {"feed": "iex"}),
        ("quality_score_count", {"feed": "iex"}),
        ("circuit_state", {"upstream": "alpaca.data", "group": "history"}),
        ("circuit_opened_total", {"upstream": "alpaca.data", "group": "history"}),
        ("upstream_request_seconds_count",
         {"upstream": "alpaca.data", "group": "history", "outcome": "answered"}),
        ("upstream_request_seconds_count",
         {"upstream": "alpaca.data", "group": "history", "outcome": "UPSTREAM_RATE_LIMITED"}),
        ("upstream_request_seconds_count",
         {"upstream": "alpaca.data", "group": "history", "outcome": "UPSTREAM_UNAUTHENTICATED"}),
        ("feed_up", {"feed": "iex"}),
        ("feed_gaps_total", {"feed": "iex"}),
        ("stream_lag_seconds_count", {}),
    ):  # fmt: skip
        assert told.samples[name, frozenset(labels.items())] == 0, name


def test_telling_of_a_group_does_not_make_it() -> None:
    """A group of endpoints that nobody has asked is told of as closed, and GetStatus does not hear of it."""
    counters = Counters()
    scraped(counters, Levels("1", groups=[("alpaca.data", "history")]))

    assert not counters.upstreams


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=no.number",
        "application/openmetrics-text; version=",
        "text/plain; version=99999999999999999999",
        "application/openmetrics-text; escaping=none",
        ";;;===,,,",
        "x" * 2000,
        "application/json",
    ],
)
def test_whatever_somebody_accepts_is_answered(accept: str) -> None:
    """An Accept header that makes no sense gets one of the two formats."""
    told = scraped(some_counters(), some_levels(), accept)

    assert told.kinds.keys() == NAMES.keys()


def test_gateways_of_one_process_do_not_know_each_other() -> None:
    """Each gateway tells its own numbers, and neither is in what the process has for all."""
    one, other = Counters(), Counters()
    one.streams.delivered, other.streams.delivered = 5, 7

    assert scraped(one, Levels("1")).value("stream_deliveries_total") == 5
    assert scraped(other, Levels("1")).value("stream_deliveries_total") == 7
    assert b"stream_deliveries" not in generate_latest(REGISTRY)
    assert not isinstance(get_meter_provider(), MeterProvider)


def test_what_has_closed_is_forgotten() -> None:
    """A gateway that has ended leaves nothing behind: its counters can be collected."""

    class Watched(Counters):
        pass

    counters: Any = Watched()
    gone = weakref.ref(counters)
    scraped(counters, Levels("1"))
    del counters
    gc.collect()

    assert gone() is None


def test_others_get_their_turns_while_it_is_written() -> None:
    """Between two metrics the event loop does something else, and what it changes then is not told."""
    counters = some_counters()
    metrics = Metrics(counters, some_levels())

    async def both() -> tuple[bytes, int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                counters.streams.delivered += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        before = counters.streams.delivered
        text, _ = await metrics.exposition("")
        task.cancel()
        assert Scrape.plain(text.decode()).value("stream_deliveries_total") == before
        return text, turns

    _, turns = asyncio.run(both())
    metrics.close()

    assert turns > len(NAMES) / 2
