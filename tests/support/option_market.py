"""Options of the sandbox's made-up market: their names, records that a test makes up, and questions about them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import grpc
import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import freshness_pb2, option_pb2, provenance_pb2, unavailable_pb2
from tickgate.v1 import option_service_pb2 as pb
from tickgate_sandbox import SandboxSettings

from .running import FROZEN, Stack, running

THURSDAY: Final = replace(FROZEN, symbols=("AAPL",))
"""The market of `FROZEN`, of one share alone: what is known of the contracts of five takes a second to make up."""

EXPIRY_DAY: Final = replace(THURSDAY, at="2026-10-02T15:00:00Z")
"""The day after it, on which 82 contracts expire."""

WEEKEND: Final = replace(THURSDAY, at="2026-10-03T15:00:00Z")
"""The Saturday after that: whatever was quoted was quoted on Friday."""

CALL: Final = "AAPL261120C00230000"
PUT: Final = "AAPL261120P00230000"
"""Two contracts near the money, quoted and traded."""

WORTHLESS: Final = "AAPL261002P00130000"
"""Nobody bids for it."""

UNKNOWN: Final = "AAPL261120C00231000"
"""Well-formed, and not listed: strikes are five dollars apart."""

EXPIRED: Final = "AAPL250117C00200000"

CONTRACTS: Final = 656
"""Contracts of a made-up share: calls and puts at 41 strikes on 8 dates."""

QUOTES_PATH: Final = "/v1beta1/options/snapshots"
CHAIN_PATH: Final = "/v1beta1/options/snapshots/AAPL"
LIST_PATH: Final = "/v2/options/contracts"
"""Paths that faults strike. The first begins those of chains too, the last those of single contracts."""

BASIC, FULL = option_pb2.OPTION_VIEW_BASIC, option_pb2.OPTION_VIEW_FULL
INDICATIVE, OPRA = provenance_pb2.FEED_INDICATIVE, provenance_pb2.FEED_OPRA

NOW: Final = Duration()
"""The age of what the upstream has just confirmed."""

FRESH: Final = freshness_pb2.Freshness(max_age=NOW)

SIGNED: Final = "OPRA agreement is not signed"
"""What the upstream says to those who may not read it."""

QUOTE: Final = (
    '{"ap":9.6500,"as":384,"ax":"Z","bp":9.4,"bs":169,"bx":"X","c":"A",'
    '"t":"2026-10-01T14:59:59.123456789Z"}'
)
TRADE: Final = '{"c":"I","p":9.55,"s":6,"t":"2026-10-01T14:49:32.65584574Z","x":"W"}'
GREEKS: Final = '{"delta":0.5224,"gamma":0.0168,"theta":-0.1063,"vega":0.3382,"rho":0.1515}'
VOLATILITY: Final = "0.37380000000000002"
DAY_BAR: Final = (
    '{"t":"2026-10-01T04:00:00Z","o":9.40,"h":9.8,"l":9.35,"c":9.55,"v":12,"n":5,"vw":9.583333}'
)
MINUTE_BAR: Final = DAY_BAR.replace("T04:00", "T14:49").replace('"v":12', '"v":6')
PREVIOUS_BAR: Final = DAY_BAR.replace("10-01", "09-30").replace('"v":12', '"v":34')

PARTS: Final = {
    "latestQuote": QUOTE,
    "latestTrade": TRADE,
    "greeks": GREEKS,
    "impliedVolatility": VOLATILITY,
    "minuteBar": MINUTE_BAR,
    "dailyBar": DAY_BAR,
    "prevDailyBar": PREVIOUS_BAR,
}
"""Every part that a snapshot can have, as the text that is sent."""


def record(**parts: str) -> str:
    """Return a snapshot of just these *parts*."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def contract_entry(symbol: str | None = CALL, **changed: Any) -> str:
    """Return an entry of the list of contracts, all fields of which are as the trading API sends them."""
    entry = {
        "id": "7d0a9c2b-7763-54da-a78e-24011f755ae7", "symbol": symbol, "name": "AAPL Nov 20 2026 230 Call",
        "status": "active", "tradable": True, "expiration_date": "2026-11-20", "root_symbol": "AAPL",
        "underlying_symbol": "AAPL", "underlying_asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "type": "call",
        "style": "american", "strike_price": "230", "multiplier": "100", "size": "100", "open_interest": "464",
        "open_interest_date": "2026-09-30", "close_price": "9.50", "close_price_date": "2026-09-30",
    }  # fmt: skip
    return msgspec.json.encode(entry | changed).decode()


@asynccontextmanager
async def trading(market: SandboxSettings = THURSDAY, **changed: Any) -> AsyncIterator[Stack]:
    """Run a gateway in front of a market whose options are made up before anybody asks, which may take a while."""
    async with running(market, **changed) as stack:
        for underlying in market.symbols:
            await stack.sandbox.options.chain(underlying, stack.sandbox.clock.now())
        yield stack


def symbol_of(
    strike: float, right: str = "C", expiry: str = "261120", *, root: str = "AAPL"
) -> str:
    """Name a contract."""
    return f"{root}{expiry}{right}{round(strike * 1000):08}"


def reason_of(why: unavailable_pb2.DataUnavailable) -> str:
    """Return the name of a reason, without the contract's prefix. Whatever is missing says more than that."""
    assert why.message
    assert why.request_id
    assert why.suggested_action
    return reasons.ErrorReason.Name(why.reason).removeprefix("ERROR_REASON_")


def told(result: option_pb2.OptionQuoteResult) -> str:
    """Return the tier that served a contract, or the reason why there is nothing."""
    if result.HasField("unavailable"):
        return reason_of(result.unavailable)
    tiers = {origin.served_from for origin in origins(result.option_quote).values()}
    (tier,) = tiers
    return provenance_pb2.Tier.Name(tier).removeprefix("TIER_")


def origins(option: option_pb2.OptionQuote) -> dict[str, provenance_pb2.Provenance]:
    """Return the origin of each part of a contract that has one of its own, by the part."""
    named = ("quote", "latest_trade", "minute_bar", "daily_bar", "previous_daily_bar")
    found = {part: getattr(option, part).provenance for part in named if option.HasField(part)}  # type: ignore[arg-type]  # names of fields
    if option.HasField("model_provenance"):
        found["model"] = option.model_provenance
    return found


async def ask(stack: Stack, *symbols: str, **terms: Any) -> list[option_pb2.OptionQuoteResult]:
    """Ask for *symbols* in one call, and return the results."""
    request = pb.GetOptionQuotesRequest(symbols=symbols, **terms)
    return list((await stack.options.GetOptionQuotes(request)).results)


async def ask_one(stack: Stack, symbol: str = CALL, **terms: Any) -> option_pb2.OptionQuoteResult:
    """Ask for one contract."""
    return (
        await stack.options.GetOptionQuote(pb.GetOptionQuoteRequest(symbol=symbol, **terms))
    ).result


async def option_of(stack: Stack, symbol: str = CALL, **terms: Any) -> option_pb2.OptionQuote:
    """Ask for one contract, of which something must be known."""
    result = await ask_one(stack, symbol, **terms)
    assert result.HasField("option_quote"), result
    return result.option_quote


# ----------------------------------------------------------------------------------------- chains


@dataclass
class Chain:
    """A whole chain as it was streamed."""

    header: option_pb2.OptionChainHeader = field(default_factory=option_pb2.OptionChainHeader)
    chunks: list[int] = field(default_factory=list)
    """Contracts of each."""

    options: list[option_pb2.OptionQuote] = field(default_factory=list)
    unavailable: unavailable_pb2.DataUnavailable | None = None

    @property
    def symbols(self) -> list[str]:
        """In order."""
        return [option.symbol for option in self.options]

    @property
    def by_symbol(self) -> dict[str, option_pb2.OptionQuote]:
        """The contracts by their symbols."""
        return {option.symbol: option for option in self.options}

    @property
    def reason(self) -> str:
        """Why there is none; empty where there is one."""
        return "" if self.unavailable is None else reason_of(self.unavailable)


async def chain(stack: Stack, underlying: str = "AAPL", **terms: Any) -> Chain:
    """Read a whole chain, whose messages must come in order: header, chunks, end with the count of all."""
    request = pb.StreamOptionChainRequest(underlying_symbol=underlying, **terms)
    return await read_chain(stack.options.StreamOptionChain(request))


async def read_chain(call: Any) -> Chain:
    """Read the chain that *call* streams."""
    found = Chain()
    events: list[str] = []
    async for message in call:
        event = message.WhichOneof("event")
        events.append(event)
        if event == "header":
            found.header = message.header
        elif event == "chunk":
            found.chunks.append(len(message.chunk.option_quotes))
            found.options += message.chunk.option_quotes
        elif event == "unavailable":
            found.unavailable = message.unavailable
        else:
            assert message.end.count == len(found.options) == found.header.total_size
    alone = found.unavailable is not None
    assert events == (
        ["unavailable"] if alone else ["header", *["chunk"] * (len(events) - 2), "end"]
    )
    return found


async def page(stack: Stack, underlying: str = "AAPL", **terms: Any) -> pb.GetOptionChainResponse:
    """Ask for a page of a chain."""
    request = pb.GetOptionChainRequest(underlying_symbol=underlying, **terms)
    return await stack.options.GetOptionChain(request)


async def pages(
    stack: Stack, underlying: str = "AAPL", **terms: Any
) -> Sequence[option_pb2.OptionChainPage]:
    """Walk through all pages of a chain."""
    found = [(await page(stack, underlying, **terms)).page]
    while token := found[-1].next_page_token:
        found.append((await page(stack, underlying, page_token=token, **terms)).page)
    return found


# --------------------------------------------------------------------------------------- failures


async def failure(call: Awaitable[Any]) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo]:
    """Return the status that *call* fails with, and what it says for programs."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    status = status_pb2.Status.FromString(_trailers(failed.value)["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "tickgate"
    assert info.metadata["request_id"] == _trailers(failed.value)["x-request-id"]
    return failed.value.code(), info


async def refusal(call: Awaitable[Any]) -> dict[str, str]:
    """Return the rules that a wrong request breaks, by field."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT, failed.value.details()
    status = status_pb2.Status.FromString(_trailers(failed.value)["grpc-status-details-bin"])
    bad_request = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad_request)
    return {one.field: one.description for one in bad_request.field_violations}


def _trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    return dict(error.trailing_metadata())


def quotes_asked(stack: Stack) -> int:
    """Return how often the upstream was asked for single contracts."""
    return stack.sandbox.counters.endpoints[QUOTES_PATH]


def pages_asked(stack: Stack) -> int:
    """Return how many pages of chains the upstream was asked for."""
    return stack.sandbox.counters.endpoints[f"{QUOTES_PATH}/{{underlying}}"]


def lists_asked(stack: Stack) -> int:
    """Return how many pages of lists of contracts the upstream was asked for."""
    return stack.sandbox.counters.endpoints[LIST_PATH]


def contracts_asked(stack: Stack) -> int:
    """Return how often the upstream was asked for a contract by its name."""
    return stack.sandbox.counters.endpoints[f"{LIST_PATH}/{{contract}}"]
