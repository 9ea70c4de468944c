"""Whatever befalls the live feed, each of its followers is told what he missed, and nobody else is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import gap_pb2, provenance_pb2, status_service_pb2
from tickgate.v1 import stream_service_pb2 as pb
from tickgate_sandbox import stream_faults as faults
from tickgate_sandbox.stream.faults import ArmedFault, SuddenFault

from ..support.ledger import ENOUGH, QUOTES, TRADES, Account, Follower, following, subscription
from ..support.outages import TRUTH
from ..support.running import FROZEN, Stack, running
from ..support.ticker import Ticker, begun, feed_in_state, gaps, left, repaired, shown
from ..support.waiting import until_told

AWAY = faults.Handshake(status=503)
"""Keeps a gateway that has lost its connection from making another until it is cleared."""

SETTINGS: dict[str, Any] = {"stream": {"linger": 0.1}}

ENDS: dict[str, tuple[SuddenFault, gap_pb2.GapCause.ValueType]] = {
    "dropped": (faults.Drop(feed="iex"), gap_pb2.GAP_CAUSE_DISCONNECTED),
    "reset": (faults.Drop(feed="iex", reset=True), gap_pb2.GAP_CAUSE_DISCONNECTED),
    "closed": (faults.Close(feed="iex"), gap_pb2.GAP_CAUSE_DISCONNECTED),
    "cut-in-a-frame": (faults.CutFrame(feed="iex"), gap_pb2.GAP_CAUSE_DISCONNECTED),
    "407": (faults.Error(feed="iex", code=407, close=True), gap_pb2.GAP_CAUSE_SLOW_READER),
    "500": (faults.Error(feed="iex", code=500), gap_pb2.GAP_CAUSE_DISCONNECTED),
}


@asynccontextmanager
async def two_followers(stack: Stack) -> AsyncIterator[tuple[Follower, Follower, Ticker]]:
    """Let two follow AAPL, one of them its trades too and MSFT as well, and have had the first three quotes."""
    before = await begun(stack)
    ticker = Ticker(stack.sandbox)
    async with (
        following(stack.channel, "AAPL", heartbeat_interval=0.1) as one,
        following(stack.channel, "AAPL", "MSFT", channels=(QUOTES, TRADES)) as other,
    ):
        await one.standing("AAPL")
        await other.standing("AAPL", "MSFT")
        await other.standing("AAPL", "MSFT", channel=TRADES)
        await ticker.quote("AAPL", "MSFT", count=3)
        await one.given("AAPL", 3)
        await other.given("AAPL", 3)
        await other.given("MSFT", 3)
        yield one, other, ticker
    await left(stack, before)


def in_gap(follower: Follower) -> bool:
    """Tell whether all that *follower* follows is in a gap."""
    return all(account.state == "GAP" for account in follower.accounts.values())


async def resynced(follower: Follower, symbol: str) -> pb.Update:
    """Wait until *follower* was told that the quote of *symbol* stands where it is pinned, and return that."""

    def pinned() -> list[pb.Update]:
        # What stood at the beginning, before it was pinned, may have come in the same way.
        resyncs = follower.of(symbol).of_kind(pb.UPDATE_KIND_RESYNC)
        return [update for update in resyncs if update.quote.bid.price.value == "10.5"]

    await follower.until(lambda _: bool(pinned()), f"where {symbol} stands")
    return pinned()[-1]


def check_gap(account: Account, cause: gap_pb2.GapCause.ValueType, since: int) -> None:
    """Check that the one gap of *account* was told with beginning and end, and the end with the state."""
    over = account.gaps[-1]
    assert {gap.id for gap in account.gaps} == {over.id}
    assert over.cause == cause
    assert over.message
    assert since - 60 * 10**9 < over.start_time.ToNanoseconds() <= over.end_time.ToNanoseconds()
    assert over.end_time.ToNanoseconds() >= since
    assert account.states[-2:] == ["GAP", "LIVE"]


@pytest.mark.parametrize(("strike", "cause"), ENDS.values(), ids=ENDS)
async def test_a_lost_connection_is_a_gap_for_everyone(
    strike: SuddenFault, cause: gap_pb2.GapCause.ValueType
) -> None:
    """Each follower is told GAP, then LIVE with beginning and end, then where quotes stand; and it goes on."""
    async with (
        running(**SETTINGS) as stack,
        two_followers(stack) as (one, other, ticker),
    ):
        stack.sandbox.pins.put("quotes", "AAPL", TRUTH)
        stack.sandbox.stream.faults.add(AWAY)
        struck = time.time_ns()
        await stack.sandbox.stream.strike(strike)
        accounts = [*one.accounts.values(), *other.accounts.values()]
        for follower in (one, other):
            await follower.until(in_gap, "a gap")
        for account in accounts:
            (gap,) = account.statuses[-1].gaps
            assert not gap.HasField("end_time")
        (listed,) = await gaps(stack)
        assert listed.repair == gap_pb2.GAP_REPAIR_PENDING
        assert not listed.HasField("end_time")

        stack.sandbox.stream.faults.clear()
        await one.standing("AAPL")
        await other.standing("AAPL", "MSFT")
        await other.standing("AAPL", "MSFT", channel=TRADES)
        for account in accounts:
            check_gap(account, cause, struck)
        for follower in (one, other):
            assert (await resynced(follower, "AAPL")).sequence == 3

        (listed,) = await repaired(stack, 1)
        assert listed.cause == cause
        assert listed.repair == gap_pb2.GAP_REPAIR_CURRENT
        followed = {part.channel: list(part.symbols) for part in listed.parts}
        assert followed == {QUOTES: ["AAPL", "MSFT"], TRADES: ["AAPL", "MSFT"]}
        assert listed.id == accounts[0].gaps[-1].id

        await ticker.quote("AAPL", "MSFT", count=2)
        await one.balance(AAPL=5)
        await other.balance(AAPL=5, MSFT=5)
        last = one.of("AAPL").last
        assert last is not None
        assert last.quote.bid.price.value == ticker.bid(5)
        (feed,) = (await shown(stack)).feeds
        assert (feed.gaps, feed.connections) == (1, 2)


async def test_a_gap_of_one_feed_is_none_of_another() -> None:
    """While one feed is away, a follower of another feed hears nothing of it and gets every update."""
    async with (
        running(**SETTINGS) as stack,
        following(stack.channel, "AAPL") as struck,
        following(stack.channel, "AAPL", feed=provenance_pb2.FEED_DELAYED_SIP) as spared,
    ):
        await struck.standing("AAPL")
        await spared.standing("AAPL")
        late = Ticker(stack.sandbox, "delayed_sip")
        stack.sandbox.stream.faults.add(faults.Handshake(status=503, feed="iex"))
        await stack.sandbox.stream.strike(faults.Drop(feed="iex"))
        await struck.in_state("AAPL", "GAP")
        for number in range(1, 11):
            await late.quote("AAPL")
            await spared.given("AAPL", number)
        stack.sandbox.stream.faults.clear()
        await struck.in_state("AAPL", "LIVE")
        await spared.balance(AAPL=10)

    account = spared.of("AAPL")
    assert (account.states[-1], account.gaps, account.delivered) == ("LIVE", [], 10)


async def test_garbage_is_a_gap_that_is_over() -> None:
    """A frame that means nothing costs no connection: everybody is told a gap that is over, and where quotes stand."""
    async with (
        running(**SETTINGS) as stack,
        two_followers(stack) as (one, other, ticker),
    ):
        stack.sandbox.pins.put("quotes", "AAPL", TRUTH)
        await stack.sandbox.stream.strike(faults.Garbage())
        for follower in (one, other):
            await resynced(follower, "AAPL")
            for account in follower.accounts.values():
                (gap,) = account.gaps
                assert gap.cause == gap_pb2.GAP_CAUSE_UNREADABLE
                assert gap.HasField("end_time")
                assert account.state == "LIVE"
        (listed,) = await repaired(stack, 1)
        assert listed.repair == gap_pb2.GAP_REPAIR_CURRENT
        await ticker.quote("AAPL", "MSFT")
        await one.balance(AAPL=4)
        await other.balance(AAPL=4, MSFT=4)
        (feed,) = (await shown(stack)).feeds
        assert (feed.gaps, feed.connections) == (1, 1)


@pytest.mark.parametrize(
    "held",
    [
        1.5,
        # Longer than the upstream keeps a connection without a place: another has to wait on.
        pytest.param(13.0, marks=pytest.mark.slow),
    ],
)
async def test_a_place_that_is_held_is_waited_for(held: float) -> None:
    """While the upstream takes the lost connection for alive, the gateway waits, says so, and loses no follower."""
    async with (
        running(**SETTINGS) as stack,
        two_followers(stack) as (one, other, ticker),
    ):
        upstream = stack.sandbox.stream
        upstream.faults.add(faults.HoldSlot(seconds=held, times=1))
        struck = time.time_ns()
        await upstream.strike(faults.Drop())
        waiting = status_service_pb2.FEED_STATE_WAITING_FOR_SLOT
        feed = await feed_in_state(stack, waiting)
        assert feed.message
        for follower in (one, other):
            await follower.until(in_gap, "a gap")
        for follower in (one, other):
            account = await follower.in_state("AAPL", "LIVE")
            check_gap(account, gap_pb2.GAP_CAUSE_DISCONNECTED, struck)
            gap = account.gaps[-1]
            assert gap.end_time.ToNanoseconds() - struck > held * 0.9e9
        assert stack.sandbox.counters.stream.refusals[406] >= 2
        await ticker.quote("AAPL")
        await one.balance(AAPL=4)
        (feed,) = (await shown(stack)).feeds
        # One more connection, on which it waited; where it waited longer, at most a few more.
        assert feed.connections == 2 if held < 10 else 3 <= feed.connections <= 5


OBSTACLES: dict[str, ArmedFault] = {
    "handshake-429": faults.Handshake(status=429, times=2),
    "handshake-500": faults.Handshake(status=500, times=2),
    "auth-500": faults.Refuse(code=500, times=1, close=True),
    "auth-404": faults.Refuse(code=404, times=1, close=True),
    "slow-auth": faults.SlowAuth(seconds=0.5, times=1),
    "subscribe-500": faults.Refuse(code=500, on="subscribe", times=1),
    "subscribe-407": faults.Refuse(code=407, on="subscribe", times=1, close=True),
    "subscribe-401": faults.Refuse(code=401, on="subscribe", times=1),
}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES)
async def test_obstacles_at_the_start(obstacle: ArmedFault) -> None:
    """Whatever stands in the way at subscribe time, symbols are PENDING until they are LIVE, and nothing was missed."""
    async with running(before=lambda one: one.stream.faults.add(obstacle), **SETTINGS) as stack:
        async with (
            following(stack.channel, "AAPL") as one,
            following(stack.channel, "AAPL", "MSFT") as other,
        ):
            await one.standing("AAPL")
            await other.standing("AAPL", "MSFT")
            ticker = Ticker(stack.sandbox)
            await ticker.quote("AAPL", "MSFT")
            await one.balance(AAPL=1)
            await other.balance(AAPL=1, MSFT=1)

        for account in (*one.accounts.values(), *other.accounts.values()):
            assert account.states[-1] == "LIVE"
            assert set(account.states) <= {"PENDING", "LIVE"}
            assert not account.gaps
        assert await gaps(stack) == []


async def test_a_place_that_another_holds() -> None:
    """Whose gateway never had the place is sent to another replica; when the place is free, the gateway serves."""
    async with running(
        before=lambda one: one.stream.faults.add(faults.Occupied()), **SETTINGS
    ) as stack:
        async with following(stack.channel, "AAPL") as one:
            end = await one.ended()
        assert one.closing is not None
        assert one.closing.reason == reasons.ERROR_REASON_NOT_FEED_HOLDER
        assert one.closing.retry_delay.ToNanoseconds() > 0
        assert end is not None
        assert end.code() is grpc.StatusCode.UNAVAILABLE

        stack.sandbox.stream.faults.clear()

        async def stands() -> bool:
            async with following(stack.channel, "AAPL") as again:
                await again.until(
                    lambda it: it.is_over or it.of("AAPL").is_standing, "an end or a quote"
                )
                return not again.is_over

        await until_told(stands, bool, within=ENOUGH)


REFUSED: dict[str, tuple[ArmedFault, reasons.ErrorReason.ValueType]] = {
    "402": (
        faults.Refuse(code=402, feed="iex"),
        reasons.ERROR_REASON_UPSTREAM_UNAUTHENTICATED,
    ),
    "handshake-401": (
        faults.Handshake(status=401, feed="iex"),
        reasons.ERROR_REASON_UPSTREAM_UNAUTHENTICATED,
    ),
    "409": (faults.Refuse(code=409, feed="iex"), reasons.ERROR_REASON_NOT_ENTITLED),
    "409-at-subscribe": (
        faults.Refuse(code=409, feed="iex", on="subscribe"),
        reasons.ERROR_REASON_NOT_ENTITLED,
    ),
    "handshake-404": (
        faults.Handshake(status=404, feed="iex"),
        reasons.ERROR_REASON_NOT_ENTITLED,
    ),
}


@pytest.mark.parametrize(("refusal", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_feed_that_is_refused(
    refusal: ArmedFault, reason: reasons.ErrorReason.ValueType
) -> None:
    """Without a valid key or plan each symbol is REJECTED with the reason, and the stream lives on for other feeds."""
    async with (
        running(before=lambda one: one.stream.faults.add(refusal), **SETTINGS) as stack,
        following(stack.channel, "AAPL", "MSFT", heartbeat_interval=0.1) as one,
    ):
        for symbol in ("AAPL", "MSFT"):
            account = await one.in_state(symbol, "REJECTED")
            why = account.statuses[-1].unavailable
            assert why.reason == reason
            assert why.message
            assert why.retry_delay.seconds > 0

        # Who asks again within the minute is told at once; the upstream is not asked.
        asked = stack.sandbox.counters.stream.messages
        await one.say(add=pb.AddSymbols(symbols=["AAPL"]))
        told = len(one.of("AAPL").statuses)
        await one.until(lambda it: len(it.of("AAPL").statuses) > told, "another refusal")
        await one.in_state("AAPL", "REJECTED")
        assert stack.sandbox.counters.stream.messages == asked

        other_feed = subscription(["TSLA"], id="late", feed=provenance_pb2.FEED_DELAYED_SIP)
        await one.say(subscribe=other_feed)
        await one.standing("TSLA")
        beats = one.heartbeats
        await one.until(lambda it: it.heartbeats > beats, "a heartbeat")
        assert await gaps(stack) == []


async def test_a_key_that_is_withdrawn() -> None:
    """When a lost connection is then refused, the gap is told, then the refusal, and the gap is no longer open."""
    async with (
        running(**SETTINGS) as stack,
        two_followers(stack) as (one, other, _),
    ):
        stack.sandbox.stream.faults.add(faults.Refuse(code=402))
        await stack.sandbox.stream.strike(faults.Drop())
        for follower in (one, other):
            account = await follower.in_state("AAPL", "REJECTED")
            assert account.states[-2:] == ["GAP", "REJECTED"]
            reason = account.statuses[-1].unavailable.reason
            assert reason == reasons.ERROR_REASON_UPSTREAM_UNAUTHENTICATED
        (listed,) = await repaired(stack, 1)
        assert listed.cause == gap_pb2.GAP_CAUSE_DISCONNECTED
        feed = await feed_in_state(stack, status_service_pb2.FEED_STATE_AUTH_FAILED)
        assert "402" in feed.message


async def test_a_mute_upstream_is_noticed_while_the_market_is_open() -> None:
    """A socket that is open and mute while REST knows of newer quotes is a gap, SILENT, and is made anew."""
    moving = replace(FROZEN, speed=10.0, step=1.0)
    silent: dict[str, Any] = {"stream": {"linger": 0.1, "silence": 1.0}}
    async with (
        running(moving, **silent) as stack,
        following(stack.channel, "AAPL", "MSFT") as one,
    ):
        await one.standing("AAPL", "MSFT")
        number = one.of("AAPL").number
        await one.given("AAPL", number + 1)
        muted = time.time_ns()
        stack.sandbox.stream.faults.add(faults.Mute())
        await one.until(lambda it: it.of("AAPL").states[-1] == "GAP", "the silence to be noticed")
        stack.sandbox.stream.faults.clear()
        for symbol in ("AAPL", "MSFT"):
            account = await one.in_state(symbol, "LIVE")
            check_gap(account, gap_pb2.GAP_CAUSE_SILENT, muted)
        number = one.of("AAPL").number
        await one.given("AAPL", number + 1)
        await one.balance()
        assert {gap.cause for gap in await gaps(stack)} == {gap_pb2.GAP_CAUSE_SILENT}


@pytest.mark.parametrize(
    "market",
    [
        replace(FROZEN, at="2026-10-03T15:00:00Z", speed=10.0),
        replace(FROZEN, at="2026-10-01T15:00:00Z", speed=0.0),
    ],
    ids=["closed", "open-but-still"],
)
async def test_silence_with_nothing_to_say_is_no_gap(market: Any) -> None:
    """While the market is closed, or has nothing newer either, a quiet connection is kept, however long."""
    silent: dict[str, Any] = {"stream": {"linger": 0.1, "silence": 1.0}}
    async with (
        running(market, **silent) as stack,
        following(stack.channel, "AAPL", heartbeat_interval=0.1) as one,
    ):
        await one.standing("AAPL")
        # Four times as long as it takes to raise the question.
        beats = one.heartbeats
        await one.until(lambda it: it.heartbeats >= beats + 40, "forty heartbeats")
        (feed,) = (await shown(stack)).feeds
        assert (feed.connections, feed.gaps) == (1, 0)
        assert not one.of("AAPL").gaps
        assert "GAP" not in one.of("AAPL").states


async def test_symbols_that_are_left_out_once_are_asked_for_again() -> None:
    """A symbol that an acknowledgement leaves out stays PENDING until the next one names it."""
    async with (
        running(
            before=lambda one: one.stream.faults.add(faults.PartialAck(symbols=["MSFT"], times=1)),
            **SETTINGS,
        ) as stack,
        following(stack.channel, "AAPL", "MSFT") as one,
    ):
        await one.standing("AAPL", "MSFT")
        assert stack.sandbox.counters.stream.subscribes["quotes", "MSFT"] == 2
        ticker = Ticker(stack.sandbox)
        await ticker.quote("AAPL", "MSFT")
        await one.balance(AAPL=1, MSFT=1)


async def test_a_symbol_that_is_never_acknowledged_is_rejected_alone() -> None:
    """After three requests a symbol that is always left out is REJECTED, and the others of the stream are LIVE."""
    async with (
        running(
            before=lambda one: one.stream.faults.add(faults.PartialAck(symbols=["MSFT"])),
            **SETTINGS,
        ) as stack,
        following(stack.channel, "AAPL", "MSFT") as one,
    ):
        account = await one.in_state("MSFT", "REJECTED")
        why = account.statuses[-1].unavailable
        assert why.reason == reasons.ERROR_REASON_UPSTREAM_ERROR
        await one.standing("AAPL")
        assert stack.sandbox.counters.stream.subscribes["quotes", "MSFT"] == 3
        ticker = Ticker(stack.sandbox)
        await ticker.quote("AAPL")
        await one.given("AAPL", 1)
        # The stream may ask for it again, and has it once the upstream gives it.
        stack.sandbox.stream.faults.clear()
        await one.say(add=pb.AddSymbols(symbols=["MSFT"]))
        await one.standing("MSFT")
