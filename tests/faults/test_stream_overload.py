"""While the serving loop is held up, records are stamped on arrival; those that cannot be held are a counted gap."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import msgspec
import pytest

from tickgate.v1 import gap_pb2
from tickgate.v1 import status_service_pb2 as status
from tickgate.v1 import status_service_pb2_grpc as status_services
from tickgate.v1 import stream_service_pb2 as pb
from tickgate_server.app import Gateway, gateway, policies
from tickgate_server.upstream.alpaca.stream.policy import FeedPolicy
from tools.programs import sandbox_program

from ..support.ledger import ENOUGH, TRADES, Account, following
from ..support.market import Market
from ..support.running import settings_for
from ..support.ticker import NOW
from ..support.waiting import until, until_told

BLOCKED = 1.0
"""Seconds for which the loop does nothing else, at least."""

RECORDS = 200
"""Sent meanwhile, one by one."""


def quote(number: int) -> dict[str, Any]:
    """Return quote *number* of AAPL; the bid is the number."""
    return {"T": "q", "S": "AAPL", "bx": "V", "bp": number, "bs": 1, "ax": "Q", "ap": number + 1,
            "as": 1, "c": ["R"], "z": "C", "t": NOW}  # fmt: skip


def trade(number: int) -> dict[str, Any]:
    """Return trade *number* of AAPL."""
    return {"T": "t", "S": "AAPL", "i": number, "x": "V", "p": 100, "s": 1, "c": ["@"], "z": "C",
            "t": NOW}  # fmt: skip


class Upstream:
    """A sandbox in a process of its own, which sends numbered records of AAPL from a thread of ours."""

    def __init__(self, address: str) -> None:
        self.sent_at: list[int] = []
        """When each record was about to be sent, nanoseconds of the wall clock."""

        self._address = address

    def send(self, count: int, record: Callable[[int], dict[str, Any]]) -> None:
        """Send *count* records, each in a frame of its own, once the one before has been sent."""
        market = Market(self._address)
        try:
            for number in range(1, count + 1):
                self.sent_at.append(time.time_ns())
                assert market.post("stream/messages", [record(number)]) == {"clients": 1}
        finally:
            market.close()

    def hold_up(self, running: Gateway, record: Callable[[int], dict[str, Any]]) -> tuple[int, int]:
        """Hold the loop up while `RECORDS` are sent and arrive, for a second at least; return from when to when.

        Blocks on purpose, as a fault of the gateway or a busy machine would.
        """
        counts = running.counters.feed("iex")
        arrived = counts.frames + RECORDS
        began = time.time_ns()
        give_up_at = time.monotonic() + ENOUGH
        sending = threading.Thread(target=self.send, args=(RECORDS, record))
        sending.start()
        sending.join()
        while counts.frames < arrived or time.time_ns() - began < BLOCKED * 1e9:
            assert time.monotonic() < give_up_at, f"{counts.frames} of {arrived} frames"
            # Blocking the loop is the test; the thread of the socket, which must get on without it, gets its turn here.
            time.sleep(0.005)
        return began, time.time_ns()


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Upstream, Gateway, grpc.aio.Channel]]:
    """Run a sandbox in a process and a gateway in this one."""
    with sandbox_program("--at", NOW, "--speed", "0") as sandbox:
        address = await asyncio.to_thread(lambda: sandbox.address)
        async with (
            gateway(settings_for(f"http://{address}")) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
        ):
            yield Upstream(address), running, channel


async def test_stamps_are_those_of_arrival() -> None:
    """With the loop held up for a second each record says when it arrived, none is lost, and the newest is served."""
    stamps: dict[int, int] = {}

    def heed(_: Account, update: pb.Update, __: int) -> None:
        if update.kind == pb.UPDATE_KIND_LIVE:
            received = update.quote.provenance.receive_time.ToNanoseconds()
            stamps[update.sequence] = received

    async with (
        served() as (upstream, running, channel),
        following(channel, "AAPL", heed=heed) as one,
        following(channel, "AAPL", min_update_interval=0.5) as other,
    ):
        await one.standing("AAPL")
        await other.standing("AAPL")
        began, over = upstream.hold_up(running, quote)
        for follower in (one, other):
            await follower.given("AAPL", RECORDS)
            await follower.balance(AAPL=RECORDS)
            assert not follower.of("AAPL").gaps
        # Many arrived in the second, and the one that is served is the newest of them: stamped before the loop woke.
        assert began <= upstream.sent_at[-1] <= stamps[RECORDS] < over
        assert running.counters.feed("iex").dropped == 0


async def test_each_of_a_queue_is_stamped_on_arrival() -> None:
    """Of trades that arrive while the loop is held up each is delivered, with the moment at which it arrived."""
    stamps: list[int] = []

    def heed(_: Account, update: pb.Update, __: int) -> None:
        if update.kind == pb.UPDATE_KIND_LIVE:
            stamps.append(update.trade.provenance.receive_time.ToNanoseconds())

    async with (
        served() as (upstream, running, channel),
        following(channel, "AAPL", channels=(TRADES,), heed=heed) as one,
    ):
        await one.standing("AAPL", channel=TRADES)
        began, over = upstream.hold_up(running, trade)
        await one.given("AAPL", RECORDS, TRADES)
        await one.balance()
        assert len(stamps) == RECORDS
        assert all(
            sent <= stamp < over for sent, stamp in zip(upstream.sent_at, stamps, strict=True)
        )
        assert stamps == sorted(stamps)
        assert began <= stamps[0]
        assert not one.of("AAPL", TRADES).losses


async def test_what_the_handover_cannot_hold_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """More frames than may wait are a gap, OVERFLOW, with the count of those dropped; the newest are served."""
    bound = 50
    usual = policies.live_feed

    def narrow(settings: Any) -> FeedPolicy:
        return msgspec.structs.replace(usual(settings), most_frames=bound)

    monkeypatch.setattr(policies, "live_feed", narrow)
    async with (
        served() as (upstream, running, channel),
        following(channel, "AAPL") as one,
        following(channel, "AAPL", every=0.05) as slow,
    ):
        await one.standing("AAPL")
        await slow.standing("AAPL")
        _, over = upstream.hold_up(running, quote)
        await until(lambda: running.counters.feed("iex").dropped > 0, within=ENOUGH)
        dropped = running.counters.feed("iex").dropped
        assert RECORDS - bound <= dropped < RECORDS
        # What was dropped has no number: the rest goes on without a hole.
        for follower in (one, slow):
            await follower.given("AAPL", RECORDS - dropped)
            await follower.balance(AAPL=RECORDS - dropped)
            account = follower.of("AAPL")
            (gap,) = {told.id: told for told in account.gaps}.values()
            assert gap.cause == gap_pb2.GAP_CAUSE_OVERFLOW
            assert gap.lost_records == dropped
            assert gap.start_time.ToNanoseconds() < over
            assert gap.end_time.ToNanoseconds() >= over
            assert account.last is not None
            assert account.last.quote.bid.price.value == str(RECORDS)
        stub: status_services.StatusServiceAsyncStub = status_services.StatusServiceStub(channel)
        listed = await until_told(
            lambda: stub.ListGaps(status.ListGapsRequest()),
            lambda it: it.gaps[0].repair == gap_pb2.GAP_REPAIR_CURRENT,
            within=ENOUGH,
        )
        (only,) = listed.gaps
        assert (only.cause, only.lost_records) == (gap_pb2.GAP_CAUSE_OVERFLOW, dropped)
