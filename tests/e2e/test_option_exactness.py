"""Every contract of every recorded chain comes out as it was recorded: what is absent there is absent here."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import freshness_pb2, option_pb2, provenance_pb2
from tickgate.v1 import option_service_pb2 as pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_sandbox import Plan, SandboxSettings

from ..support.option_tape import ChainTape, chain_files, compare
from ..support.recordings import REAL_RECORDINGS
from ..support.running import Stack, running

PLENTY = {
    "plan": "plus",
    "option_feed": "opra",
    "budget": {"data_per_minute": 1_000_000, "trading_per_minute": 1_000_000},
}

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(
        not chain_files(),
        reason="the real recordings are not part of the project and not beside it",
    ),
]


TAPES = tuple(ChainTape(path) for path in chain_files())
UNDERLYINGS = sorted({tape.underlying for tape in TAPES})
NOW = Duration()
"""The age of what the upstream has just confirmed: the market's clock is set on faster than time goes by."""

FIRST = "2014-06-06T14:00:00Z"


async def whole_chain(
    stack: Stack, underlying: str
) -> tuple[option_pb2.OptionChainHeader, Mapping[str, option_pb2.OptionQuote]]:
    """Return the full view of a chain: its header, and its contracts by symbol."""
    request = pb.StreamOptionChainRequest(
        underlying_symbol=underlying, view=option_pb2.OPTION_VIEW_FULL, max_age=NOW
    )
    header, served = option_pb2.OptionChainHeader(), dict[str, option_pb2.OptionQuote]()
    async for message in stack.options.StreamOptionChain(request):
        match message.WhichOneof("event"):
            case "header":
                header = message.header
            case "chunk":
                served |= {each.symbol: each for each in message.chunk.option_quotes}
            case "end":
                assert message.end.count == len(served) == header.total_size
            case _:
                raise AssertionError(message)
    return header, served


@pytest.mark.parametrize("underlying", UNDERLYINGS)
async def test_recorded_chains_are_served_exactly(underlying: str) -> None:
    """At the instant of a recording each contract is served field by field as recorded, and what had expired is not."""
    market = SandboxSettings(replay=REAL_RECORDINGS, at=FIRST, speed=0, plan=Plan.PLUS)
    async with running(market, alpaca=PLENTY) as stack:
        for tape in TAPES:
            if tape.underlying == underlying:
                stack.sandbox.clock.seek(tape.instant)
                await stack.refresh()
                # Lists of contracts are kept for an hour, which has not passed for anybody but the market.
                await stack.admin.InvalidateCache(admin_pb.InvalidateCacheRequest())
                await check(stack, tape)


async def check(stack: Stack, tape: ChainTape) -> None:
    """Ask for the chain of *tape* in two ways, and compare every contract of it."""
    instant = tape.instant
    header, served = await whole_chain(stack, tape.underlying)
    alive = {one for one in tape.snapshots if tape.last_moment(one) >= instant}
    assert served.keys() == alive
    assert header.expired == len(tape.snapshots) - len(alive)
    assert header.refused == 0
    for symbol, option in served.items():
        compare(option, tape.snapshots[symbol], tape.contracts.get(symbol, {}), instant)
        assert option.quote.provenance.feed in (0, provenance_pb2.FEED_OPRA)
    assert header.missing.greeks == sum("greeks" not in tape.snapshots[one] for one in alive)
    assert header.missing.implied_volatilities == sum(
        "impliedVolatility" not in tape.snapshots[one] for one in alive
    )

    some = sorted(tape.snapshots)[:: len(tape.snapshots) // 100 + 1]
    asked = await stack.options.GetOptionQuotes(
        pb.GetOptionQuotesRequest(
            symbols=some,
            view=option_pb2.OPTION_VIEW_FULL,
            freshness=freshness_pb2.Freshness(max_age=NOW),
        )
    )
    for result in asked.results:
        if result.symbol in alive:
            recorded = tape.snapshots[result.symbol]
            contract = tape.contracts.get(result.symbol, {})
            compare(result.option_quote, recorded, contract, instant)
        else:
            assert result.unavailable.reason == reasons.ERROR_REASON_CONTRACT_EXPIRED


async def test_a_refreshed_chain_is_the_newer_recording() -> None:
    """Asked only for what has moved, a chain becomes what was recorded later on the same day, field by field."""
    market = SandboxSettings(replay=REAL_RECORDINGS, at=FIRST, speed=0, plan=Plan.PLUS)
    refreshed = 0
    async with running(market, alpaca=PLENTY) as stack:
        for earlier, later in pairwise(TAPES):
            if earlier.day != later.day or earlier.snapshots.keys() != later.snapshots.keys():
                continue
            for tape in (earlier, later):
                stack.sandbox.clock.seek(tape.instant)
                await stack.refresh()
                header, served = await whole_chain(stack, tape.underlying)
                for symbol, option in served.items():
                    # What the list of contracts says is another matter: it is not asked again.
                    option.ClearField("open_interest")
                    compare(option, tape.snapshots[symbol], {}, tape.instant)
                loaded, confirmed = header.load_time, header.confirm_time
                refreshed += loaded.ToNanoseconds() < confirmed.ToNanoseconds()
        status = await stack.status.GetStatus(status_pb.GetStatusRequest())

    assert refreshed == status.option_chains.refreshes > 0


def test_nothing_recorded_is_left_out() -> None:
    """The chains that this page compares hold 34,000 contracts, nearly 13,000 of them with greeks."""
    snapshots = [one for tape in TAPES for one in tape.snapshots.values()]
    assert len(snapshots) > 34_000
    assert sum("greeks" in one for one in snapshots) > 12_500
