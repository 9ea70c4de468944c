"""Followers who stay through the whole storm, come back when they are cut off, and account for every record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from tickgate.v1 import channel_pb2, provenance_pb2
from tickgate.v1 import stream_service_pb2 as pb
from tickgate.v1 import stream_service_pb2_grpc as services
from tickgate_sandbox.timestamps import MINUTE, SECOND

from ..support.ledger import Account, Follower, subscription
from .oracle import Asked, Oracle
from .truth import Timeline

CHANNELS: Final = {
    channel_pb2.CHANNEL_QUOTES: "quotes",
    channel_pb2.CHANNEL_TRADES: "trades",
    channel_pb2.CHANNEL_BARS: "bars",
}
_COUNTED: Final = (pb.UPDATE_KIND_LIVE, pb.UPDATE_KIND_REPLAY)
_AROUND: Final = 4 * SECOND
"""Nanoseconds by which a gap told of and a hole in the tape may lie apart: it is told by the gateway's clock."""


@dataclass(slots=True)
class Hole:
    """Records of the tape that were never numbered."""

    account: Account
    start: int
    end: int
    missing: int


@dataclass(slots=True)
class Tally:
    """What became of records, over all followers."""

    delivered: int = 0
    conflated: int = 0
    refused: int = 0
    lost: int = 0
    in_gaps: int = 0
    unknowable: int = 0
    lives: int = 0
    balanced: int = 0
    rules: set[str] = field(default_factory=set)


class Stayer:
    """One follower, over all of his streams."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        symbols: Sequence[str],
        order: dict[str, Any],
        oracle: Oracle,
        timeline: Timeline,
        *,
        every: float,
        metadata: Callable[[], Any],
        excused: Sequence[tuple[int, int]],
        cut: Callable[[], bool],
        weather: Callable[[], str],
    ) -> None:
        """Follow *symbols*; *excused* are stretches of market time in which nobody could know of a loss."""
        self.tally = Tally()
        self.heard = 0.0
        """When, by the monotonic clock, the newest live update came."""

        self.follower: Follower | None = None
        self._channel = channel
        self._symbols = symbols
        self._order = order
        self._oracle = oracle
        self._timeline = timeline
        self._every = every
        self._metadata = metadata
        self._excused = excused
        self._cut = cut
        self._weather = weather
        self._before: dict[tuple[int, str], tuple[str, int, int]] = {}
        self._holes: list[Hole] = []
        self._over = False

    def __str__(self) -> str:
        if self.follower is None:
            return f"{self._symbols}: no stream"
        accounts = "; ".join(map(str, self.follower.accounts.values()))
        return f"{self.tally.lives} streams before, {self.follower.number} messages: {accounts}"

    async def follow(self) -> None:
        """Follow until told to stop, on one stream after the other."""
        token = ""
        while not self._over:
            token = await self._one_life(token)
            await asyncio.sleep(0.1)

    async def _one_life(self, token: str) -> str:
        stub: services.StreamServiceAsyncStub = services.StreamServiceStub(self._channel)
        call = stub.Subscribe(metadata=self._metadata())
        follower = Follower(call, every=self._every, heed=self._heed)
        self.follower = follower
        reading = asyncio.create_task(follower.read())
        self._before.clear()
        try:
            await follower.say(
                subscribe=subscription(self._symbols, resume_token=token, **self._order)
            )
            await reading
        finally:
            reading.cancel()
            call.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            self._conclude(follower)
        return follower.token or token

    def stop(self) -> None:
        """Come back no more."""
        self._over = True

    def _heed(self, account: Account, update: pb.Update, before: int) -> None:
        asked = Asked("StreamService.Subscribe", self._weather(), streamed=True)
        self._oracle.judge(update, asked)
        if update.kind == pb.UPDATE_KIND_LIVE:
            self.heard = time.monotonic()
        if update.kind not in _COUNTED or account.channel not in CHANNELS or self.follower is None:
            return
        key = account.channel, account.symbol
        value: Any = getattr(update, update.WhichOneof("value") or "")
        event = value.provenance.event_time.ToNanoseconds()
        if account.channel == channel_pb2.CHANNEL_BARS:
            event += MINUTE
        epoch = next(iter(self.follower.epochs.values()), "")
        known = self._before.get(key)
        self._before[key] = epoch, update.sequence, event
        if known is not None and known[0] == epoch:
            self._compare(account, known[1:], (update.sequence, event))

    def _compare(self, account: Account, before: tuple[int, int], now: tuple[int, int]) -> None:
        """Hold the numbers of two records against what lies between them on the tape."""
        between = self._timeline.between(
            CHANNELS[account.channel], account.symbol, before[1], now[1]
        )
        missing = len(between) - (now[0] - before[0])
        if missing < 0:
            what = f"{account.symbol} {CHANNELS[account.channel]} {before}–{now}: {len(between)} were sent"
            self._oracle.found.object("a number without a record", what)
        elif missing:
            self._holes.append(Hole(account, before[1], now[1], missing))

    def _conclude(self, follower: Follower) -> None:
        """Close the accounts of a stream that is over."""
        self.tally.lives += 1
        if follower.fault is not None:
            what = f"{self._weather()}: {follower.fault!r}"
            self._oracle.found.object("a stream against the contract", what)
        if follower.end is not None:
            asked = Asked("StreamService.Subscribe", self._weather(), streamed=True)
            self._oracle.refused(follower.end, asked, cut=self._cut())
        for hole in self._holes:
            self._explain(hole)
        self._holes.clear()
        for account in follower.accounts.values():
            self.tally.delivered += account.delivered
            self.tally.conflated += account.conflated
            self.tally.refused += account.refused.total()
            self.tally.rules |= set(account.refused)
            self.tally.lost += account.lost
            self.tally.balanced += account.is_balanced

    def _explain(self, hole: Hole) -> None:
        market_of = self._oracle._market_of
        for gap in hole.account.gaps:
            start = market_of(gap.start_time.ToNanoseconds())
            end = market_of(gap.end_time.ToNanoseconds()) if gap.HasField("end_time") else hole.end
            if start - _AROUND <= hole.end and hole.start <= end + _AROUND:
                self.tally.in_gaps += hole.missing
                return
        if any(start <= hole.end and hole.start <= end for start, end in self._excused):
            self.tally.unknowable += hole.missing
            return
        what = f"{hole.account}: {hole.missing} records from {hole.start} to {hole.end}"
        self._oracle.found.object("records lost in silence", what)


def orders(contracts: Sequence[str]) -> list[tuple[Sequence[str], dict[str, Any], float]]:
    """Return what is followed through the storm: symbols, the rest of the order, and seconds that a message takes."""
    quotes, trades = channel_pb2.CHANNEL_QUOTES, channel_pb2.CHANNEL_TRADES
    bars, days = channel_pb2.CHANNEL_BARS, channel_pb2.CHANNEL_DAILY_BARS
    shares = ("AAPL", "AMZN", "GOOGL", "MSFT", "TSLA")
    return [
        (shares, {"channels": [quotes, trades, bars, days]}, 0.0),
        (shares, {"channels": [quotes, trades], "min_update_interval": 0.2}, 0.0),
        (shares[:3], {"channels": [quotes, trades]}, 0.05),
        (shares[2:], {"channels": [quotes]}, 0.3),
        (contracts, {"channels": [quotes, trades], "feed": provenance_pb2.FEED_INDICATIVE}, 0.0),
    ]
