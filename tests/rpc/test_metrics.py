"""The numbers of a running gateway: each moves by exactly what happened, and none is lost or told of somebody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import aiohttp
import grpc
import psycopg
import pytest

from tickgate.v1 import admin_service_pb2 as admin
from tickgate.v1 import history_service_pb2 as history
from tickgate.v1 import option_service_pb2 as options
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import SandboxSettings, faults, sandbox, stream_faults
from tickgate_server.app.programs import ingestion
from tickgate_server.market.time import format_rfc3339
from tickgate_server.observe.metrics import NAMES

from ..support.following import following
from ..support.records import a_quote, push
from ..support.running import Stack, running, second_gateway, settings_for
from ..support.scraped import Scrape, Side, beside
from ..support.shown import held_in_redis
from ..support.stores import postgres_url, redis_url
from .test_history import AN_HOUR

ANYWHERE = "127.0.0.1:0"
QUICK_MARKET = SandboxSettings(at="2026-10-01T15:00:00Z", speed=60.0)


async def ask(stack: Stack, symbol: str, **request: Any) -> None:
    """Ask for one quote."""
    await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol=symbol, **request))


def of(moved: dict[str, float], *names: str) -> dict[str, float]:
    """Return what has *moved* of some metrics."""
    return {name: by for name, by in moved.items() if name.startswith(names)}


async def test_a_gateway_with_everything_tells_everything() -> None:
    """With all that a gateway can use and something done with each, every metric of the table is told, and no other."""
    contract = "AAPL261218C00200000"
    with redis_url() as redis, postgres_url() as postgres:
        async with (
            running(
                QUICK_MARKET,
                http_listen=ANYWHERE,
                redis_url=redis,
                postgres_url=postgres,
                ingestion={"interval": 0.1, "look_every": 0.1},
                alpaca={"budget": {"data_per_minute": 1_000_000}},
            ) as stack,
            beside(stack) as side,
            following(stack, "AAPL") as follower,
        ):
            await follower.until_state("AAPL", "LIVE")
            watchlist = admin.Watchlist(name="desk", symbols=["AAPL"], record=True)
            await stack.admin.PutWatchlist(admin.PutWatchlistRequest(watchlist=watchlist))
            crossed = format_rfc3339(stack.gateway.clock.market())
            stack.sandbox.pins.put("quotes", "MSFT", f'{{"t":"{crossed}","bp":3,"ap":2}}')
            huge = f'{{"t":"{crossed}","x":"V","p":10.00,"s":100000000}}'
            stack.sandbox.pins.put("trades", "MSFT", huge)
            await ask(stack, "MSFT")
            await stack.quotes.GetLatestTrade(pb.GetLatestTradeRequest(symbol="MSFT"))
            await stack.options.GetOptionQuote(options.GetOptionQuoteRequest(symbol=contract))
            bars = history.ListBarsRequest(symbols=["MSFT"], timeframe="1Min", **AN_HOUR)
            await stack.history.ListBars(bars)
            told = await side.until(
                lambda scrape: (
                    scrape.value("ingestion_records_total", kind="trades")
                    and "store_size_bytes" in scrape.kinds
                    and "ingestion_lag_seconds" in scrape.kinds
                )
            )

    # Only a gateway with TLS has a certificate, and only one with keys has read them.
    wanted = NAMES.keys() - {"certificate_expires_seconds", "api_keys_up"}
    assert told.kinds == {name: NAMES[name].kind for name in wanted}
    assert told.labels == {name: {tuple(sorted(NAMES[name].labels))} for name in wanted}


async def test_values_are_counted_by_tier_and_reason() -> None:
    """Each value asked for is counted once: given by the tier that it came from, or missing for its reason."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        stack.sandbox.pins.put("quotes", "MSFT", '{"t":"2026-10-01T15:00:00Z","bp":3,"ap":2}')
        before = await side.scrape()
        for symbol in ("AAPL", "AAPL", "ZZZZ", "MSFT"):
            await ask(stack, symbol)
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(stack, "ZZZZ", strict=True)
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(stack, "no symbol")
        batch = pb.GetQuotesRequest(symbols=["AAPL", "TSLA", "ZZZZ"])
        await stack.quotes.GetQuotes(batch)
        moved = (await side.scrape()).since(before)

    assert of(moved, "real_data", "calls_total", "api_response") == {
        "real_data_requests_total{feed=iex,rpc=QuoteService/GetQuote}": 5,
        "real_data_success_total{feed=iex,rpc=QuoteService/GetQuote,tier=upstream}": 1,
        "real_data_success_total{feed=iex,rpc=QuoteService/GetQuote,tier=memory}": 1,
        "real_data_failures_total{feed=iex,reason=SYMBOL_UNKNOWN,rpc=QuoteService/GetQuote}": 2,
        "real_data_failures_total{feed=iex,reason=INVALID_DATA,rpc=QuoteService/GetQuote}": 1,
        "real_data_requests_total{feed=iex,rpc=QuoteService/GetQuotes}": 3,
        "real_data_success_total{feed=iex,rpc=QuoteService/GetQuotes,tier=upstream}": 1,
        "real_data_success_total{feed=iex,rpc=QuoteService/GetQuotes,tier=memory}": 1,
        "real_data_failures_total{feed=iex,reason=SYMBOL_UNKNOWN,rpc=QuoteService/GetQuotes}": 1,
        "calls_total{code=OK,rpc=QuoteService/GetQuote}": 4,
        "calls_total{code=NOT_FOUND,rpc=QuoteService/GetQuote}": 1,
        "calls_total{code=INVALID_ARGUMENT,rpc=QuoteService/GetQuote}": 1,
        "calls_total{code=OK,rpc=QuoteService/GetQuotes}": 1,
        "api_response_time_seconds_count{rpc=QuoteService/GetQuote}": 6,
        "api_response_time_seconds_count{rpc=QuoteService/GetQuotes}": 1,
    }
    assert of(moved, "ingress") == {"ingress_refusals_total{rule=crossed}": 1}
    assert of(moved, "cache_hits", "cache_misses", "cache_writes", "cache_values") == {
        # A lack of data is remembered as a value is, and counted as an answer.
        "cache_hits_total{kind=quote,tier=memory}": 4,
        "cache_misses_total{kind=quote,tier=memory}": 4,
        "cache_writes_total{kind=quote,tier=memory}": 3,
        "cache_values{kind=quote,tier=memory}": 2,
    }
    # Each value given has an age, and each quote a score when it is first served.
    assert of(moved, "market_data", "quality") == {
        "market_data_freshness_seconds_count{feed=iex}": 4,
        "quality_score_count{feed=iex}": 2,
    }


async def test_redis_is_counted_where_it_answers() -> None:
    """What another replica has put into Redis is a hit there, and nothing is asked of the upstream."""
    with redis_url() as url:
        async with (
            running(redis_url=url, http_listen=ANYWHERE) as one,
            second_gateway(one, redis_url=url, http_listen=ANYWHERE) as other,
            beside(one) as first,
            beside(other) as second,
        ):
            before, before_other = await first.scrape(), await second.scrape()
            await ask(one, "AAPL")
            await held_in_redis(url, ["AAPL"])
            await ask(other, "AAPL")
            put = await first.until(
                lambda scrape: scrape.value("cache_writes_total", tier="redis", kind="quote")
            )
            wrote, read = put.since(before), (await second.scrape()).since(before_other)

    assert of(wrote, "cache_writes", "pipeline_stage_seconds_count{stage=redis_w") == {
        "cache_writes_total{kind=quote,tier=memory}": 1,
        "cache_writes_total{kind=quote,tier=redis}": 1,
        "pipeline_stage_seconds_count{stage=redis_write}": 1,
    }
    assert of(read, "cache_hits", "cache_misses", "real_data", "upstream_request") == {
        "cache_misses_total{kind=quote,tier=memory}": 1,
        "cache_hits_total{kind=quote,tier=redis}": 1,
        "real_data_requests_total{feed=iex,rpc=QuoteService/GetQuote}": 1,
        "real_data_success_total{feed=iex,rpc=QuoteService/GetQuote,tier=redis}": 1,
    }


async def test_invalidating_and_making_room_are_counted() -> None:
    """Values that make room are evictions, and those that somebody has forgotten are invalidations."""
    async with (
        running(http_listen=ANYWHERE, memory={"capacity": 2}) as stack,
        beside(stack) as side,
    ):
        before = await side.scrape()
        for symbol in ("AAPL", "MSFT", "TSLA"):
            await ask(stack, symbol)
        await stack.admin.InvalidateCache(admin.InvalidateCacheRequest(symbols=["TSLA"]))
        moved = (await side.scrape()).since(before)

    assert of(moved, "cache_ev", "cache_inv", "cache_values") == {
        "cache_evictions_total{kind=quote,tier=memory}": 1,
        "cache_invalidations_total{kind=quote,tier=memory}": 1,
        "cache_values{kind=quote,tier=memory}": 1,
    }


async def test_an_outage_shows_in_requests_retries_and_the_circuit() -> None:
    """Requests that fail are counted by why, repetitions beside them, and the circuit that opens says so."""
    alpaca = {"breaker": {"streak": 2}, "retries": {"most": 1, "wait_initial": 0.001}}
    async with running(http_listen=ANYWHERE, alpaca=alpaca) as stack, beside(stack) as side:
        before = await side.scrape()
        await ask(stack, "AAPL")
        stack.sandbox.faults.add(faults.Status(path="/v2/stocks", status=503))
        for symbol in ("MSFT", "TSLA", "AMZN"):
            await ask(stack, symbol)
        moved = (await side.scrape()).since(before)

    group = "group=latest,upstream=alpaca.data"
    requests = of(moved, "upstream_request_seconds_count{group=latest")
    failed = requests.pop(
        "upstream_request_seconds_count{group=latest,outcome=UPSTREAM_ERROR,upstream=alpaca.data}"
    )
    assert requests == {
        "upstream_request_seconds_count{group=latest,outcome=answered,upstream=alpaca.data}": 1
    }
    assert failed == 4
    assert moved[f"upstream_retries_total{{{group}}}"] == 2
    assert moved[f"circuit_state{{{group}}}"] == 2
    assert moved[f"circuit_opened_total{{{group}}}"] == 1
    assert of(moved, "real_data_failures") == {
        "real_data_failures_total{feed=iex,reason=UPSTREAM_ERROR,rpc=QuoteService/GetQuote}": 2,
        "real_data_failures_total{feed=iex,reason=CIRCUIT_OPEN,rpc=QuoteService/GetQuote}": 1,
    }
    assert moved["budget_spent_total{upstream=alpaca.data}"] == 5
    assert moved["pipeline_stage_seconds_count{stage=budget}"] == 5
    assert moved["pipeline_stage_seconds_count{stage=wire}"] == 5
    assert moved["pipeline_stage_seconds_count{stage=parse}"] == 1


async def test_a_spent_budget_is_counted_where_it_refuses() -> None:
    """A request that the budget refuses is one that never went out."""
    alpaca = {"budget": {"data_per_minute": 1, "share": 1.0}, "retries": {"most": 0}}
    async with (
        running(http_listen=ANYWHERE, alpaca=alpaca, probe={"idle": 0}) as stack,
        beside(stack) as side,
    ):
        before = await side.scrape()
        await ask(stack, "AAPL")
        await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="MSFT"), timeout=1)
        after = await side.scrape()
        moved = after.since(before)

    assert after.value("budget_limit", upstream="alpaca.data") == 1
    assert after.value("budget_remaining", upstream="alpaca.data") == 0
    assert moved["budget_spent_total{upstream=alpaca.data}"] == 1
    assert moved["budget_refused_total{upstream=alpaca.data}"] == 1
    assert of(moved, "real_data_failures") == {
        "real_data_failures_total{feed=iex,reason=BUDGET_EXHAUSTED,rpc=QuoteService/GetQuote}": 1
    }


async def test_followers_and_feeds_are_counted() -> None:
    """Records, deliveries, what was conflated, and a gap from its beginning to its end."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        before = await side.scrape()
        async with following(stack, "AAPL") as follower:
            await follower.until_state("AAPL", "LIVE")
            # Subscriptions are counted once a second.
            live = await side.until(lambda scrape: scrape.value("stream_subscriptions"))
            # Two in one frame: the second supersedes the first before anybody has read it.
            await push(stack, a_quote(bid=228.5), a_quote(bid=228.6))
            await follower.until_number(2)
            told = await side.until(lambda scrape: scrape.value("stream_lag_seconds_count"))
            await stack.sandbox.stream.strike(stream_faults.Drop(reset=True))
            await follower.until(lambda: follower.states("AAPL")[-2:] == ["GAP", "LIVE"])
            ended = await side.until(lambda scrape: not scrape.value("feed_gap_open", feed="iex"))
        gone = await side.until(lambda scrape: not scrape.value("stream_followers"))

    assert of(
        live.since(before), "feed_up", "feed_conn", "feed_wanted", "stream_foll", "stream_sub"
    ) == {
        "feed_up{feed=iex}": 1,
        "feed_connections_total{feed=iex}": 1,
        "feed_wanted_symbols{feed=iex}": 1,
        "stream_followers": 1,
        "stream_subscriptions": 1,
    }
    moved = told.since(live)
    assert of(moved, "feed_records", "stream_deliveries", "stream_conflated", "stream_lag") == {
        "feed_records_total{feed=iex}": 2,
        "stream_deliveries_total": 1,
        "stream_conflated_total": 1,
        "stream_lag_seconds_count": 1,
    }
    assert moved["stream_messages_total"] == moved["pipeline_stage_seconds_count{stage=deliver}"]
    assert of(ended.since(told), "feed_gaps", "feed_conn") == {
        "feed_gaps_total{feed=iex}": 1,
        "feed_connections_total{feed=iex}": 1,
    }
    # What a stream delivers is not what somebody asked for.
    assert not of(gone.since(before), "real_data")
    assert gone.value("calls_total", rpc="StreamService/Subscribe", code="CANCELLED") == 1


async def test_history_is_counted_by_where_it_came_from() -> None:
    """The first reading of a range is the upstream's and is written, the second is the store's and is read."""
    request = history.ListBarsRequest(symbols=["AAPL"], timeframe="1Min", **AN_HOUR)
    with postgres_url() as url:
        async with running(http_listen=ANYWHERE, postgres_url=url) as stack, beside(stack) as side:
            before = await side.scrape()
            await stack.history.ListBars(request)
            first = await side.until(lambda scrape: scrape.value("store_rows_written_total"))
            page = await stack.history.ListBars(request)
            second = await side.scrape()
            rows = len(page.results[0].page.bars)

    rpc = "feed=iex,rpc=HistoryService/ListBars"
    assert of(first.since(before), "real_data", "store_rows") == {
        f"real_data_requests_total{{{rpc}}}": 1,
        f"real_data_success_total{{{rpc},tier=upstream}}": 1,
        "store_rows_written_total": rows,
    }
    moved = second.since(first)
    assert of(moved, "real_data", "store_rows") == {
        f"real_data_requests_total{{{rpc}}}": 1,
        f"real_data_success_total{{{rpc},tier=store}}": 1,
        "store_rows_read_total": rows,
    }
    assert moved["pipeline_stage_seconds_count{stage=store_read}"] >= 1
    assert first.since(before)["pipeline_stage_seconds_count{stage=store_write}"] >= 1
    assert second.value("store_up") == 1
    assert second.total("db_pool_requests_total") > 0


async def test_chains_are_counted() -> None:
    """The first question for a chain loads it, and the second finds it."""
    request = options.GetOptionChainRequest(underlying_symbol="AAPL", page_size=10)
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        before = await side.scrape()
        page = await stack.options.GetOptionChain(request)
        await stack.options.GetOptionChain(request)
        after = await side.scrape()
        moved = after.since(before)

    count = len(page.page.option_quotes)
    assert of(moved, "chain_loads", "chain_hits", "chain_refreshes") == {
        "chain_loads_total": 1,
        "chain_hits_total": 1,
    }
    assert after.value("chain_contracts") > 0
    rpc = "feed=indicative,rpc=OptionService/GetOptionChain"
    assert of(moved, "real_data") == {
        f"real_data_requests_total{{{rpc}}}": 2 * count,
        f"real_data_success_total{{{rpc},tier=upstream}}": count,
        f"real_data_success_total{{{rpc},tier=memory}}": count,
    }


async def test_scraping_under_load_loses_nothing() -> None:
    """However often it is scraped while calls come, no counter ever goes down, and in the end every call is counted."""
    callers, calls = 20, 25
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        await ask(stack, "AAPL")
        scrapes: list[Scrape] = [await side.scrape()]

        async def call() -> None:
            for _ in range(calls):
                await ask(stack, "AAPL")

        async def scrape() -> None:
            while not load.done():
                scrapes.append(await side.scrape())

        load = asyncio.gather(*(call() for _ in range(callers)))
        await asyncio.gather(load, scrape())
        scrapes.append(await side.scrape())

    assert len(scrapes) > 3
    moved = scrapes[-1].since(scrapes[0])
    asked = callers * calls
    assert moved["calls_total{code=OK,rpc=QuoteService/GetQuote}"] == asked
    assert moved["api_response_time_seconds_count{rpc=QuoteService/GetQuote}"] == asked
    # What memory holds grows old meanwhile, and is asked for again.
    assert (
        sum(of(moved, "real_data_success_total{feed=iex,rpc=QuoteService/GetQuote,").values())
        == asked
    )
    assert scrapes[-1].value("calls_in_flight") == 0
    for before, after in pairwise(scrapes):
        for key, value in before.samples.items():
            if key[0].endswith(("_total", "_bucket", "_count", "_sum")):
                assert after.samples[key] >= value, key


async def test_no_label_tells_of_anybody() -> None:
    """Neither what was asked for nor who asked, over which address or with which words, is ever in a metric."""
    words = [
        "ZZZZ",
        "AAPL",
        "NOT A SYMBOL",
        "my-request-id",
        "tg_abcdefgh",
        "127.0.0.1",
        "ipv4",
        "sandbox",
    ]
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        metadata = (
            ("x-request-id", "my-request-id"),
            ("authorization", "Bearer tg_abcdefgh_secret"),
        )
        for symbol in ("AAPL", "ZZZZ", "NOT A SYMBOL"):
            try:
                await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol=symbol), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017 - some do, some do not
        async with following(stack, "AAPL") as follower:
            await follower.until_state("AAPL", "LIVE")
            told = await side.scrape()

    assert told.value("calls_total", rpc="QuoteService/GetQuote", code="OK") == 2
    for word in words:
        assert word not in told.text, word


async def test_status_and_metrics_tell_the_same() -> None:
    """GetStatus sums over kinds what the metrics tell by kind."""
    async with running(http_listen=ANYWHERE) as stack, beside(stack) as side:
        for _ in range(2):
            await ask(stack, "AAPL")
            await stack.quotes.GetLatestTrade(pb.GetLatestTradeRequest(symbol="AAPL"))
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())
        told = await side.scrape()

    memory = status.tiers[1]
    assert (memory.hits, memory.misses) == (2, 2)
    assert told.value("cache_hits_total", tier="memory", kind="quote") == 1
    assert told.total("cache_hits_total", tier="memory") == memory.hits
    assert told.total("cache_misses_total", tier="memory") == memory.misses


async def test_a_pool_that_is_made_anew_goes_on_counting() -> None:
    """When PostgreSQL comes back there are new pools, and what the old ones have counted is not forgotten."""
    request = history.ListBarsRequest(symbols=["AAPL"], timeframe="1Min", **AN_HOUR)
    with postgres_url() as url:
        async with (
            running(http_listen=ANYWHERE, postgres_url=url, store={"check_every": 0.05}) as stack,
            beside(stack) as side,
        ):
            await stack.history.ListBars(request)
            before = (await side.scrape()).total("db_pool_requests_total")
            await cut_off(url)
            await side.until(lambda scrape: not scrape.value("store_up"))
            await side.until(lambda scrape: scrape.value("store_up"))
            after = (await side.scrape()).total("db_pool_requests_total")

    assert before > 0
    assert after >= before


async def cut_off(url: str) -> None:
    """End every connection to the database at *url*."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_the_program_for_ingestion_tells_its_own() -> None:
    """What records apart from serving is told of by its own side port, and nothing of methods that it has not."""
    with postgres_url() as url:
        async with (
            sandbox(replace(QUICK_MARKET, listen=ANYWHERE)) as upstream,
            ingestion(settings_for(upstream.url, postgres_url=url, http_listen=ANYWHERE)) as port,
            aiohttp.ClientSession() as http,
        ):
            assert port is not None
            side = Side(port, http)
            ready = await side.ask("/readyz")
            told = await side.until(
                lambda scrape: "ingestion_heartbeat_age_seconds" in scrape.kinds
            )

    assert ready[0] == 200
    assert told.value("gateway_ready") == 1
    assert told.value("store_up") == 1
    assert "budget_remaining" in told.kinds
    assert not told.total("calls_total")
    assert "calls_total" not in told.kinds
