"""A live feed against the sandbox: what was recorded arrives whole, and whatever goes wrong is told and gets over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tickgate_sandbox import Plan, Sandbox, SandboxSettings, sandbox, stream_faults
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.ingress.records import RawQuote, RawTrade, Receipt
from tickgate_server.market.live import Channel, FeedState, GapCause
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.unavailable import Reason
from tickgate_server.upstream.alpaca import parse

from ..support.fakes import HandClock
from ..support.live_feed import POLICY, Held, held
from ..support.recordings import market_open, write_recordings
from ..support.waiting import until

DAY = date(2024, 3, 13)
OPEN = market_open(DAY)
HOUR = 3600 * 1_000_000_000
DAWN, NIGHT = OPEN - 9 * HOUR, OPEN + 14 * HOUR
HALT = {"T": "s", "S": "AAPL", "sc": "H", "t": "2026-11-20T15:00:00.123456789Z"}
QUOTES, STATUSES = Channel.QUOTES, Channel.TRADING_STATUSES


@asynccontextmanager
async def market(**changed: Any) -> AsyncIterator[Sandbox]:
    """Run a sandbox whose made-up market stands still while it is open."""
    defaults: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "at": "2026-11-20T10:00:00-05:00",
        "speed": 0.0,
    }
    async with sandbox(SandboxSettings(**(defaults | changed))) as running:
        yield running


def tolerant(clock: HandClock) -> Gate:
    """A gate that lets any time and any spread pass."""
    return Gate(Policy(refuse_crossed=False, future_tolerance=10**18), clock, {})


@asynccontextmanager
async def follower(running: Sandbox, feed: Feed = Feed.IEX, **policy: Any) -> AsyncIterator[Held]:
    """Run a feed of a sandbox, through a gate that lets any time pass."""
    clock = HandClock()
    by = replace(POLICY, **policy)
    through = tolerant(clock)
    async with held(running.stream_url, by, clock=clock, through=through, feed=feed) as live:
        yield live


async def halted(running: Sandbox, live: Held, times: int) -> None:
    """Let the upstream send a record, which must arrive."""
    await running.stream.push([HALT])
    await until(lambda: len(live.listener.of("accept")) >= times)


async def test_what_was_recorded_arrives_exactly(tmp_path: Path) -> None:
    """Live and asked for, a record is the same value: each price, each size, each nanosecond."""
    recorded = write_recordings(tmp_path, day=DAY)
    async with (
        market(replay=tmp_path, at="2024-03-13T10:00:00-04:00", plan=Plan.PLUS) as running,
        follower(running, Feed.SIP) as live,
    ):
        live.feed.follow(QUOTES, recorded)
        live.feed.follow(Channel.TRADES, recorded)
        await live.told("confirmed", 2)
        await running.stream.replay(DAWN, NIGHT, channels=["quotes", "trades"])
        await until(lambda: live.counts.records == 1200, within=20)

        asked = tolerant(HandClock())
        for symbol, recording in recorded.items():
            for kind, lines in (("quote", recording.quotes), ("trade", recording.trades)):
                arrived = [
                    value
                    for name, what, about, value in (
                        call for call in live.listener.told if call[0] in ("accept", "refuse")
                    )
                    if (what.value, about) == (kind, symbol)
                ]
                assert [_bare(value) for value in arrived] == [
                    _bare(_asked(asked, kind, symbol, line)) for _, line in lines
                ]


def _asked(gate: Gate, kind: str, symbol: str, line: str) -> Any:
    """What a record becomes that was asked for over HTTP."""
    receipt = Receipt(DataSource.SANDBOX, Feed.SIP, 0, "")
    raw = (parse.quote if kind == "quote" else parse.trade)(symbol, msgspec.Raw(line.encode()))
    if isinstance(raw, RawQuote):
        return gate.quote(raw, symbol, receipt)
    assert isinstance(raw, RawTrade)
    return gate.trade(raw, symbol, receipt)


def _bare(value: Any) -> Any:
    """A value without the time of its receipt; what is no value, as it is."""
    if not hasattr(value, "provenance"):
        return value
    return replace(value, provenance=replace(value.provenance, receive_time=0))


async def test_what_is_not_recorded_arrives_as_well() -> None:
    """Statuses come with code, time and source."""
    async with market() as running, follower(running) as live:
        live.feed.follow(STATUSES, ["AAPL"])
        await live.told("confirmed")
        await halted(running, live, 1)
        (halt,) = live.listener.values
        assert (halt.status_code, halt.provenance.event_time % 1_000_000_000) == ("H", 123456789)
        assert halt.provenance.source is DataSource.SANDBOX


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (stream_faults.Close(), GapCause.DISCONNECTED),
        (stream_faults.Drop(), GapCause.DISCONNECTED),
        (stream_faults.Drop(reset=True), GapCause.DISCONNECTED),
        (stream_faults.CutFrame(), GapCause.DISCONNECTED),
        (stream_faults.Error(code=407, close=True), GapCause.SLOW_READER),
        (stream_faults.Error(code=500), GapCause.DISCONNECTED),
    ],
    ids=["close", "drop", "reset", "cut frame", "407", "500"],
)
async def test_a_lost_connection_is_told_and_made_again(
    fault: stream_faults.SuddenFault, cause: GapCause
) -> None:
    """After any end everything that is wanted is confirmed once more, and records flow."""
    async with market() as running, follower(running) as live:
        live.feed.follow(STATUSES, ["AAPL"])
        live.feed.follow(QUOTES, ["AAPL", "MSFT"])
        await live.told("confirmed", 2)
        await halted(running, live, 1)
        await running.stream.strike(fault)
        await live.told("confirmed", 4)
        assert [told for told, *_ in live.listener.of("lost")] == [cause]
        await halted(running, live, 2)


async def test_garbage_is_a_gap_and_no_end() -> None:
    """A frame that means nothing is told, and the connection goes on."""
    async with market() as running, follower(running) as live:
        live.feed.follow(STATUSES, ["AAPL"])
        await live.told("confirmed")
        await running.stream.strike(stream_faults.Garbage())
        ((cause, *_),) = await live.told("missed")
        assert cause is GapCause.UNREADABLE
        await halted(running, live, 1)
        assert live.counts.connections == 1


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (stream_faults.Handshake(status=429, times=3), FeedState.BACKING_OFF),
        (stream_faults.Handshake(status=503, times=3), FeedState.BACKING_OFF),
        (stream_faults.Occupied(seconds=0.5), FeedState.WAITING_FOR_SLOT),
        (stream_faults.SlowAuth(seconds=0.3, times=1), FeedState.AUTHENTICATING),
        (stream_faults.Refuse(code=406, on="auth", times=2), FeedState.WAITING_FOR_SLOT),
        (stream_faults.Refuse(code=404, on="auth", times=1, close=True), FeedState.BACKING_OFF),
        (stream_faults.Refuse(code=401, on="subscribe", times=1), FeedState.AUTHENTICATING),
        (stream_faults.Refuse(code=500, on="subscribe", times=1), FeedState.BACKING_OFF),
    ],
    ids=["429", "503", "occupied", "slow", "406", "404", "401", "500"],
)
async def test_a_start_with_obstacles(fault: stream_faults.ArmedFault, state: FeedState) -> None:
    """Whatever stands in the way at first, the feed gets there by itself, and says what it waited for."""
    async with market() as running, follower(running) as live:
        running.stream.faults.add(fault)
        live.feed.follow(STATUSES, ["AAPL"])
        await live.told("confirmed")
        await halted(running, live, 1)
        assert state in live.listener.states
        assert live.listener.states[-1] is FeedState.LIVE


async def test_symbols_that_are_forgotten_are_asked_for_again() -> None:
    """An acknowledgement that leaves symbols out costs another request, and nobody a symbol."""
    symbols = ["AAPL", "AMZN", "GOOGL", "MSFT", "TSLA"]
    async with market() as running, follower(running) as live:
        running.stream.faults.add(stream_faults.PartialAck(count=2, times=1))
        live.feed.follow(QUOTES, symbols)
        await live.told("confirmed", 2)
        assert live.counts.confirmed == {"quotes": 5}
        assert running.counters.stream.subscribed("iex") == {("quotes", one) for one in symbols}


async def test_a_mute_upstream_is_left() -> None:
    """A socket that answers no ping is given up for another."""
    async with market() as running, follower(running, ping=0.1, pong=0.1) as live:
        live.feed.follow(STATUSES, ["AAPL"])
        await live.told("confirmed")
        running.stream.faults.add(stream_faults.Mute(pings=False))
        await live.told("lost")
        running.stream.faults.clear()
        await live.told("confirmed", 2)
        await halted(running, live, 1)


async def test_one_place_for_two() -> None:
    """The second feed of an account waits, and has the place as soon as the first has left it."""
    async with market() as running, follower(running) as second:
        async with follower(running) as first:
            first.feed.follow(QUOTES, ["AAPL"])
            await first.told("confirmed")
            second.feed.follow(QUOTES, ["AAPL"])
            await second.in_state(FeedState.WAITING_FOR_SLOT)
        await second.told("confirmed")
        assert first.listener.of("lost") == []


async def test_a_place_that_outlives_its_holder_is_waited_for() -> None:
    """When the upstream does not notice that a connection is gone, the feed waits for its own old place."""
    async with market() as running, follower(running) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        await live.told("confirmed")
        running.stream.faults.add(stream_faults.HoldSlot(seconds=0.5))
        await running.stream.strike(stream_faults.Drop(reset=True))
        await live.in_state(FeedState.WAITING_FOR_SLOT)
        await live.told("confirmed", 2)


async def test_a_plan_without_the_feed() -> None:
    """The basic plan has no consolidated tape, which is told to whoever asks for it."""
    async with market() as running, follower(running, Feed.SIP) as live:
        live.feed.follow(QUOTES, ["AAPL"])
        ((_, _, why),) = await live.told("rejected")
        assert why.reason is Reason.NOT_ENTITLED
        assert live.listener.states[-1] is FeedState.NOT_ENTITLED


async def test_a_plan_with_thirty_symbols() -> None:
    """Of more symbols than the plan allows, as many as it does are had."""
    symbols = [f"Z{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(40)]
    async with market() as running, follower(running) as live:
        live.feed.follow(QUOTES, symbols)
        await until(lambda: sum(len(seen) for _, seen, _ in live.listener.of("rejected")) == 10)
        assert live.counts.confirmed == {"quotes": 30}
        live.feed.follow(Channel.BARS, symbols)
        await until(lambda: live.counts.confirmed.get("bars") == 40)


async def test_a_stopped_feed_leaves_its_place_at_once() -> None:
    """Within a second of its end nothing of a feed is left at the upstream."""
    async with market() as running:
        async with follower(running) as live:
            live.feed.follow(QUOTES, ["AAPL"])
            await live.told("confirmed")
        await until(lambda: not running.counters.stream.subscribed("iex"), within=1.0)
