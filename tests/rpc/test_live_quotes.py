"""QuoteService beside a live feed: the book answers while a symbol is live, and what is superseded is gone."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import freshness_pb2, provenance_pb2, quote_pb2, unavailable_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import stream_faults

from ..support.following import following
from ..support.records import a_quote, push
from ..support.running import Stack, running, second_gateway
from ..support.stores import redis_url
from ..support.waiting import until_told

BOOK, MEMORY, REDIS, UPSTREAM = (
    provenance_pb2.TIER_BOOK,
    provenance_pb2.TIER_MEMORY,
    provenance_pb2.TIER_REDIS,
    provenance_pb2.TIER_UPSTREAM,
)


async def ask(stack: Stack, symbol: str = "AAPL", **freshness: Any) -> quote_pb2.QuoteResult:
    """Ask for one quote."""
    request = pb.GetQuoteRequest(symbol=symbol, freshness=freshness_pb2.Freshness(**freshness))
    return (await stack.quotes.GetQuote(request)).result


async def tier(stack: Stack, **freshness: Any) -> provenance_pb2.Tier.ValueType:
    """Ask for one quote, and return where it was served from."""
    result = await ask(stack, **freshness)
    assert result.WhichOneof("result") == "quote", result
    return result.quote.provenance.served_from


async def test_a_live_quote_is_served_from_the_book() -> None:
    """While somebody follows a symbol, GetQuote answers with the newest record of the feed, exact, and asks nobody."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, a_quote(bid=228.61, ask=228.7, t="2026-10-01T14:59:59.000000001Z"))
        await follower.until_number(1)
        asked = stack.asked("/quotes/latest")
        quote = (await ask(stack)).quote
        batch = await stack.quotes.GetQuotes(pb.GetQuotesRequest(symbols=["AAPL", "MSFT"]))
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())
        asked_for_msft = stack.asked("/quotes/latest") - asked

    origin = quote.provenance
    assert origin.served_from == BOOK
    assert (quote.bid.price.value, quote.ask.price.value) == ("228.61", "228.7")
    assert origin.event_time.ToJsonString() == "2026-10-01T14:59:59.000000001Z"
    assert origin.event_age.ToNanoseconds() == 999_999_999
    assert 0 <= origin.receive_age.ToNanoseconds() < 10**9
    assert not origin.upstream_request_id
    assert quote.HasField("market_session")
    tiers = [one.quote.provenance.served_from for one in batch.results]
    assert tiers == [BOOK, UPSTREAM]
    assert asked_for_msft == 1
    book = status.tiers[0]
    # The follower's own snapshot was the first to be sought in the book.
    assert (book.state, book.entries, book.hits, book.misses) == (status_pb.TIER_STATE_UP, 1, 2, 2)


async def test_views_of_a_live_quote_are_complete() -> None:
    """Spread, quality and the latest trade come with a quote of the book as with any other."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, a_quote(bid=228.6, ask=228.7))
        await follower.until_number(1)
        request = pb.GetQuoteRequest(symbol="AAPL", view=quote_pb2.QUOTE_VIEW_FULL)
        quote = (await stack.quotes.GetQuote(request)).result.quote

    assert quote.provenance.served_from == BOOK
    assert quote.derived.spread.value == "0.1"
    assert quote.quality.score == 100
    assert quote.latest_trade.provenance.served_from == UPSTREAM


async def test_a_caller_may_ask_past_the_book() -> None:
    """Who forbids the book, or wants to hear it from the upstream now, is answered by another tier."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, a_quote())
        await follower.until_number(1)
        assert await tier(stack) == BOOK
        assert await tier(stack, max_age=Duration()) == UPSTREAM
        assert await tier(stack, allowed_tiers=[MEMORY, UPSTREAM]) in (MEMORY, UPSTREAM)
        assert await tier(stack, allowed_tiers=[BOOK]) == BOOK


def reason(result: quote_pb2.QuoteResult) -> tuple[str, unavailable_pb2.DataUnavailable]:
    """Why there is no quote."""
    assert result.WhichOneof("result") == "unavailable", result
    why = result.unavailable
    return reasons.ErrorReason.Name(why.reason).removeprefix("ERROR_REASON_"), why


async def test_a_crossed_quote_supersedes_every_value() -> None:
    """After a crossed record GetQuote is INVALID_DATA with its time, never an older value, until the next valid one."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, a_quote())
        await follower.until_number(1)
        # Memory holds an older one as well.
        await tier(stack, max_age=Duration())
        await push(stack, a_quote(bid=229, ask=228, t="2026-10-01T14:59:59.5Z"))
        await follower.until_state("AAPL", "INVALID")
        name, why = reason(await ask(stack))
        stale, _ = reason(await ask(stack, allow_stale=True))
        in_memory, _ = reason(await ask(stack, allowed_tiers=[MEMORY]))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stack.quotes.GetQuote(pb.GetQuoteRequest(symbol="AAPL", strict=True))
        await push(stack, a_quote(bid=228.5))
        await follower.until_number(3)
        again = await tier(stack)

    assert (name, stale, in_memory) == ("INVALID_DATA", "INVALID_DATA", "NOT_HELD")
    assert why.refusal.rule == "crossed"
    assert why.last_event_time.ToJsonString() == "2026-10-01T14:59:59.500Z"
    assert [one.tier for one in why.tiers_tried] == [BOOK]
    assert failed.value.code() is grpc.StatusCode.DATA_LOSS
    assert again == BOOK


async def test_a_lost_feed_is_no_book() -> None:
    """When the connection is lost the book answers nothing, and what it brought last stays in memory, for a while."""
    async with running() as stack, following(stack, "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        await push(stack, a_quote(bid=228.42))
        await follower.until_number(1)
        stack.sandbox.stream.faults.add(stream_faults.Occupied())
        await stack.sandbox.stream.strike(stream_faults.Drop(reset=True))
        await follower.until_state("AAPL", "GAP")
        lost = (await ask(stack)).quote
        nothing, _ = reason(await ask(stack, allowed_tiers=[BOOK]))
        stack.sandbox.stream.faults.clear()
        await follower.until_state("AAPL", "LIVE")

    assert lost.provenance.served_from == MEMORY
    assert lost.bid.price.value == "228.42"
    assert nothing == "NOT_HELD"


async def test_a_symbol_that_nobody_follows_is_no_book() -> None:
    """Once the last follower has left and his symbol lingers no more, quotes are asked for as before."""
    async with running(stream={"linger": 0.0}) as stack:
        async with following(stack, "AAPL") as follower:
            await follower.until_state("AAPL", "LIVE")
            await push(stack, a_quote())
            await follower.until_number(1)
            assert await tier(stack) == BOOK
        await until_told(
            lambda: ask(stack, allowed_tiers=[BOOK]),
            lambda result: result.WhichOneof("result") == "unavailable",
        )
        assert await tier(stack) in (MEMORY, UPSTREAM)


async def test_other_replicas_find_live_quotes_in_redis() -> None:
    """What the holder of the feed brings is in Redis a second later, so that a replica without it need not ask."""
    patient: dict[str, Any] = {"redis": {"timeout": 1.0}}
    with redis_url() as url:
        async with (
            running(redis_url=url, **patient) as holder,
            second_gateway(holder, redis_url=url, stream={"enabled": False}, **patient) as replica,
            following(holder, "AAPL") as follower,
        ):
            await follower.until_state("AAPL", "LIVE")

            async def ask_again() -> quote_pb2.QuoteResult:
                # Whatever could not be written is not written later either: the next tick is.
                await push(holder, a_quote(bid=228.33, t="2026-10-01T15:00:01Z"))
                return await ask(replica, allowed_tiers=[REDIS])

            found = await until_told(
                ask_again, lambda result: result.quote.bid.price.value == "228.33"
            )
            await push(holder, a_quote(bid=230, ask=229))
            await follower.until_state("AAPL", "INVALID")
            name, _ = reason(await ask(holder, allowed_tiers=[MEMORY, REDIS]))

    assert found.quote.provenance.served_from == REDIS
    assert found.quote.provenance.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert name == "NOT_HELD"
