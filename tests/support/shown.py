"""A market that shows each symbol at a price of its own, and callers who hold every answer to what was shown."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import grpc
import pytest
import redis.asyncio as aioredis

from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import freshness_pb2, provenance_pb2, quote_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import Sandbox

from .running import Stack
from .waiting import PATIENCE, until_told

NANOS: Final = 10**9

_SLACK: Final = 0.05 * NANOS
"""Nanoseconds by which an age may differ from two readings of another clock."""

_NOW: Final = 1790866800 * NANOS
"""The instant at which `running`'s market stands still."""


class Shown:
    """Quotes that a sandbox has shown, in editions: the later one is the newer quote."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Show them through *sandbox*."""
        self._sandbox = sandbox
        self._began = time.time_ns()
        self._bids: dict[tuple[str, int], str] = {}
        """By symbol and event time."""

        self.editions: dict[str, int | None] = {}
        """Of the last answer to `ask` about each symbol; None where it held no quote."""

        self.clock_jumps = False
        """Whether somebody sets the gateway's civil clock, which then tells nothing about ages."""

    def show(self, symbols: Iterable[str], edition: int = 0) -> None:
        """Quote each of *symbols* at another price, stamped as many seconds before now as *edition* is below ten."""
        for symbol in symbols:
            bid = f"{10 + len(self._bids)}.{edition:02}"
            at = _NOW - (10 - edition) * NANOS
            self._bids[symbol, at] = bid
            second = 60 - (10 - edition)
            record = f'{{"t":"2026-10-01T14:59:{second}Z","bx":"V","bp":{bid}5,"bs":3,"ax":"Q","ap":{bid}6,"as":2}}'
            self._sandbox.pins.put("quotes", symbol, record)

    def told(self, result: quote_pb2.QuoteResult) -> str:
        """Return the tier that *result* came from, with "STALE " before it where it is marked, or the reason for none.

        Fails where it is not, to the last digit, what was shown for its symbol, or its origin or an age is wrong.
        """
        if result.WhichOneof("result") == "unavailable":
            assert result.unavailable.request_id
            return reasons.ErrorReason.Name(result.unavailable.reason).removeprefix("ERROR_REASON_")
        quote, origin = result.quote, result.quote.provenance
        event_time = origin.event_time.ToNanoseconds()
        bid = self._bids[result.symbol, event_time]
        assert quote.symbol == result.symbol
        assert (quote.bid.price.value, quote.ask.price.value) == (f"{bid}5", f"{bid}6")
        assert (quote.bid.size, quote.ask.size) == (3, 2)
        assert (origin.source, origin.feed) == (
            provenance_pb2.DATA_SOURCE_SANDBOX,
            provenance_pb2.FEED_IEX,
        )
        assert origin.upstream_request_id
        assert origin.event_age.ToNanoseconds() == _NOW - event_time
        self._check_age(origin)
        tier = provenance_pb2.Tier.Name(origin.served_from).removeprefix("TIER_")
        return f"STALE {tier}" if origin.stale else tier

    @staticmethod
    def _edition(result: quote_pb2.QuoteResult) -> int | None:
        if result.WhichOneof("result") != "quote":
            return None
        return 10 - (_NOW - result.quote.provenance.event_time.ToNanoseconds()) // NANOS

    def _check_age(self, origin: provenance_pb2.Provenance) -> None:
        received, served = origin.receive_time.ToNanoseconds(), origin.serve_time.ToNanoseconds()
        age, now = origin.receive_age.ToNanoseconds(), time.time_ns()
        assert 0 <= age <= now - self._began
        if not self.clock_jumps:
            assert self._began <= received <= served <= now
            assert abs(age - (served - received)) < _SLACK

    async def ask(
        self,
        stack: Stack,
        symbol: str,
        tiers: Sequence[provenance_pb2.Tier.ValueType] = (),
        timeout: float = PATIENCE,  # noqa: ASYNC109
    ) -> str:
        """Ask for one quote, from *tiers* only where any are named, and return what was `told`."""
        freshness = freshness_pb2.Freshness(allowed_tiers=tiers)
        request = pb.GetQuoteRequest(symbol=symbol, freshness=freshness)
        answer = await stack.quotes.GetQuote(request, timeout=timeout)
        assert answer.result.symbol == symbol
        self.editions[symbol] = self._edition(answer.result)
        return self.told(answer.result)

    async def ask_all(self, stack: Stack, symbols: Iterable[str]) -> Counter[str]:
        """Ask for each of *symbols* in a call of its own, all at once, and return how often what was `told`."""
        return Counter(await asyncio.gather(*(self.ask(stack, symbol) for symbol in symbols)))

    async def until_shared(self, stack: Stack, symbol: str) -> None:
        """Ask until Redis answers for *symbol*; what it did not hold just now is believed for a quarter of a second."""

        async def ask() -> str:
            await self.ask(stack, symbol, UPSTREAM)
            return await self.ask(stack, symbol, SHARED)

        await until_told(ask, lambda told: told == "REDIS")


SHARED: Final = (provenance_pb2.TIER_REDIS,)
"""Asks Redis alone."""

UPSTREAM: Final = (provenance_pb2.TIER_UPSTREAM,)
"""Asks the upstream alone."""


async def status(stack: Stack) -> status_pb.GetStatusResponse:
    """Return what a gateway says of itself."""
    return await stack.status.GetStatus(status_pb.GetStatusRequest(), timeout=PATIENCE)


async def redis_state(stack: Stack) -> str:
    """Return what a gateway says of Redis."""
    for tier in (await status(stack)).tiers:
        if tier.tier == provenance_pb2.TIER_REDIS:
            return status_pb.TierState.Name(tier.state).removeprefix("TIER_STATE_")
    raise AssertionError


async def postgres_state(stack: Stack) -> str:
    """Return what a gateway says of PostgreSQL."""
    log = (await status(stack)).error_log
    return status_pb.TierState.Name(log.store).removeprefix("TIER_STATE_")


async def redis_says(stack: Stack, state: str) -> None:
    """Wait until a gateway says that Redis is UP, or DOWN."""
    await until_told(lambda: redis_state(stack), lambda said: said == state)


async def postgres_says(stack: Stack, state: str) -> None:
    """Wait until a gateway says that PostgreSQL is UP, or DOWN."""
    await until_told(lambda: postgres_state(stack), lambda said: said == state)


async def held_in_redis(
    url: str, symbols: Iterable[str], kinds: Iterable[str] = ("quote",)
) -> None:
    """Wait until the Redis at *url* holds a value of each of *kinds* of each of *symbols*."""
    keys = [f"tg:1:sandbox:iex:{kind}:{symbol}" for kind in kinds for symbol in symbols]
    async with aioredis.Redis.from_url(url) as client:
        await until_told(lambda: client.exists(*keys), lambda there: there == len(keys))


async def refuse(stack: Stack, request_id: str, symbol: str = "no symbol") -> float:
    """Ask under *request_id* for what cannot be had, and return the seconds in which that was told."""
    began = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stack.quotes.GetQuote(
            pb.GetQuoteRequest(symbol=symbol, strict=True),
            metadata=(("x-request-id", request_id),),
            timeout=PATIENCE,
        )
    assert refused.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    return time.monotonic() - began


class Listed(NamedTuple):
    """What an operator finds in the error log."""

    ids: list[str]
    """Of the calls, oldest first."""

    place: admin_pb.ErrorLogPlace.ValueType
    pages: int


async def listed(stack: Stack, request: admin_pb.ListErrorsRequest | None = None) -> Listed:
    """Return what *request* selects, page by page, all of it from one place."""
    following = admin_pb.ListErrorsRequest(page_size=7)
    if request is not None:
        following.CopyFrom(request)
    pages: list[admin_pb.ListErrorsResponse] = []
    while not pages or following.page_token:
        pages.append(await stack.admin.ListErrors(following, timeout=PATIENCE))
        following.page_token = pages[-1].next_page_token
    ids = [record.request_id for page in pages for record in page.errors]
    (place,) = {page.place for page in pages}
    return Listed(ids[::-1], place, len(pages))
