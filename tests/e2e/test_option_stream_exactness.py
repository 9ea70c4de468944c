"""Whoever follows every contract of a replayed day gets what was recorded, and is told what became of the rest."""

from __future__ import annotations

import asyncio
import gzip
from collections import defaultdict
from contextlib import AsyncExitStack

import msgspec
import pytest

from tickgate.v1 import provenance_pb2, status_service_pb2

from ..support.crowd import Crowd, Reader, Tapes, span
from ..support.ledger import ENOUGH, QUOTES
from ..support.market import programs, replayed
from ..support.recordings import REAL_RECORDINGS
from ..support.tape import Tape
from ..support.waiting import until_told

GOOG = REAL_RECORDINGS / "options-quotes" / "GOOG-2015-12-24.jsonl.gz"
BEFORE = "2015-12-24T17:59:00Z"
"""Each contract has been quoted by then, and those that expire on this day can still be followed."""

AFTER = "2015-12-24T18:02:00Z"
"""Just after the last quotes, a minute after the early close."""

CUT = 40
"""Contracts, in the test that is not slow."""

READERS = (
    Reader("at-full-speed"),
    Reader("at-full-speed-too"),
    Reader("a-thousand-a-second", every=0.001),
    Reader("a-hundred-a-second", every=0.01),
    Reader("twenty-a-second", every=0.05),
    Reader("four-a-second", every=0.25),
    Reader("at-intervals", order={"min_update_interval": 0.1}),
    Reader("patient", order={"max_unread_age": 10.0}),
    Reader("never-acknowledges", waits=True),
    Reader("one-a-second", every=1.0),
)

GATEWAY = {"TICKGATE_ALPACA__PLAN": "plus", "TICKGATE_ALPACA__OPTION_FEED": "opra"}

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(
        not GOOG.exists(),
        reason="the real recordings are not part of the project and not beside it",
    ),
]


class _Symbol(msgspec.Struct):
    S: str


def tapes_by_contract(most: int | None) -> Tapes:
    """Return the tape of each contract, of the first *most* or of all."""
    lines = defaultdict[str, list[bytes]](list)
    with gzip.open(GOOG) as file:
        for line in file:
            lines[msgspec.json.decode(line, type=_Symbol).S].append(line)
    return {(QUOTES, symbol): Tape(symbol, lines[symbol]) for symbol in sorted(lines)[:most]}


async def check_replay(tapes: Tapes) -> None:
    """Replay the *tapes* to ten followers and check what each of them gets."""
    arguments = (
        "--replay", str(REAL_RECORDINGS), "--at", BEFORE, "--speed", "0", "--plan", "plus",
    )  # fmt: skip
    symbols = [symbol for _, symbol in tapes]
    async with programs(arguments, GATEWAY) as running, AsyncExitStack() as parts:
        crowd = Crowd(running.gateway.address, tapes, READERS, provenance_pb2.FEED_OPRA, parts)
        await crowd.let_in(late=False)

        async def subscribed() -> object:
            held = await asyncio.to_thread(lambda: running.market.stream["subscribed"])
            return held.get("opra")

        await until_told(subscribed, lambda held: held == {"quotes": symbols}, within=ENOUGH)
        body = msgspec.json.encode({"market_time": AFTER})
        await asyncio.to_thread(running.market.ask, "PUT", "clock", body)

        async def market_time() -> str:
            told = await running.status.GetStatus(status_service_pb2.GetStatusRequest())
            return told.market_time.ToJsonString()

        await until_told(market_time, lambda at: at == AFTER)
        sent = await replayed(running.sandbox.address, *span(tapes), ("quotes",))
        assert sent["quotes"] == {symbol: len(tapes[QUOTES, symbol]) for symbol in symbols}
        await crowd.check()
        status = await running.status.GetStatus(status_service_pb2.GetStatusRequest())
    (feed,) = status.feeds
    assert (feed.symbols, feed.symbol_limit) == (len(tapes), 1000)
    assert feed.records == sum(len(tape) for tape in tapes.values())


@pytest.mark.timeout(180)  # for ten followers and two programs, which take a busy machine a while
async def test_some_contracts_of_a_real_day_reach_every_follower() -> None:
    """Of forty contracts' quotes on 2015-12-24, ten followers get every line or know what became of it."""
    await check_replay(tapes_by_contract(CUT))


@pytest.mark.slow
@pytest.mark.timeout(600)  # 163,230 records, ten times compared, beside whatever else runs
async def test_a_real_day_of_options_reaches_every_follower() -> None:
    """Of all 163,230 quotes of GOOG's options on 2015-12-24, no follower of the contracts misses one untold."""
    tapes = tapes_by_contract(None)
    assert sum(len(tape) for tape in tapes.values()) == 163_230
    # There are 1,840 contracts, and no plan lets follow more than a thousand: one half after the other.
    contracts = list(tapes)
    middle = len(contracts) // 2
    for half in (contracts[:middle], contracts[middle:]):
        await check_replay({contract: tapes[contract] for contract in half})
