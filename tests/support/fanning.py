"""A live feed's fan-out under a test's hand: what the upstream says, who follows, and time that costs none."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Collection, Coroutine
from decimal import Decimal
from functools import wraps
from typing import Any, Final, ParamSpec

from msgspec.structs import replace

from tickgate_server.book import Book
from tickgate_server.fanout.beat import Beat
from tickgate_server.fanout.box import Box, Status, Terms
from tickgate_server.fanout.gaps import Gaps
from tickgate_server.fanout.hub import Hub
from tickgate_server.fanout.interest import Interest, InterestPolicy, Topic
from tickgate_server.fanout.ring import Ring
from tickgate_server.market.live import (
    Channel,
    Gap,
    GapCause,
    LiveValue,
    PriceBands,
    RecordKind,
    TradeCancellation,
    TradingStatus,
    UpdateKind,
)
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.observe.counters import FeedCounts

from .fakes import NOW, bar, provenance, quote, trade, unavailable

P = ParamSpec("P")

EPOCH: Final = "ep0c4"
CROSSED = unavailable(Reason.INVALID_DATA, refusal=Refusal("crossed", "bid 2 above ask 1", NOW))
"""Why a record was refused."""

_BEGIN: Final = 1000.0


# -------------------------------------------------------------------------------------- steered time


class _Skipping(selectors.DefaultSelector):
    """Does not wait for time to pass, but lets it be later."""

    now = _BEGIN

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            msg = "everybody waits, and nothing will ever happen"
            raise AssertionError(msg)
        self.now += max(0.0, timeout)
        return super().select(0)


class SteeredLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everybody waits, and then at once."""

    def __init__(self) -> None:
        self._steered = _Skipping()
        super().__init__(self._steered)

    def time(self) -> float:
        """Return seconds of steered time."""
        return self._steered.now

    def be_busy(self, seconds: float) -> None:
        """Let *seconds* pass in which the loop does nothing for anybody."""
        self._steered.now += seconds


def run_in_steered_time(program: Coroutine[Any, Any, None]) -> None:
    """Run *program* on a `SteeredLoop`: whatever it sleeps takes no time and is exact."""
    with asyncio.Runner(loop_factory=SteeredLoop) as runner:
        runner.run(program)


def in_steered_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run *test* in steered time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_in_steered_time(test(*args, **kwargs))

    return run


def be_busy(seconds: float) -> None:
    """Let the running loop be late by *seconds*."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteeredLoop)
    loop.be_busy(seconds)


class LoopClock:
    """The gateway's three clocks, as the running loop has them."""

    def monotonic(self) -> float:
        """Return the loop's seconds."""
        return asyncio.get_running_loop().time()

    def wall(self) -> int:
        """Return nanoseconds of civil time, which began at `NOW`."""
        return NOW + round((self.monotonic() - _BEGIN) * NANOS)

    def market(self) -> int:
        """Return the market's time, which is civil time."""
        return self.wall()


# ------------------------------------------------------------------------------------------- doubles


class FakeFeed:
    """A `LiveFeed` that remembers each wish in order."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Channel, tuple[str, ...]]] = []

    def follow(self, channel: Channel, symbols: Collection[str]) -> None:
        """Want *symbols*."""
        self.said.append(("follow", channel, tuple(symbols)))

    def unfollow(self, channel: Channel, symbols: Collection[str]) -> None:
        """No longer want *symbols*."""
        self.said.append(("unfollow", channel, tuple(symbols)))

    def reconnect(self, cause: GapCause, message: str) -> None:
        """Nobody here knows that it is mute."""
        raise NotImplementedError

    def take_said(self) -> list[tuple[str, Channel, tuple[str, ...]]]:
        """Return what was said since this was last asked."""
        said, self.said = self.said, []
        return said


class PlainEncode:
    """Writes updates so that a test can read them: "quote AAPL 3 live", and "+2" for what it supersedes."""

    def __init__(self) -> None:
        self.bodies = 0
        """Records encoded."""

    def body(self, kind: RecordKind, value: LiveValue, sequence: int, tier: Tier) -> bytes:
        """Write what all followers get alike."""
        self.bodies += 1
        from_tier = "" if tier is Tier.BOOK else f" from {tier.value}"
        return f"{kind.value} {value.symbol} {sequence}{from_tier}".encode()

    def framed(self, body: bytes, kind: UpdateKind, conflated: int) -> bytes:
        """Write what differs from follower to follower."""
        superseded = f" +{conflated}" if conflated else ""
        return body + f" {kind.name.lower()}{superseded}".encode()


# ------------------------------------------------------------------------------------------ builders


def terms(*channels: Channel, **changed: Any) -> Terms:
    """What a follower asks for who names channels, quotes if he names none."""
    asked: dict[str, Any] = {
        "id": "s",
        "channels": channels or (Channel.QUOTES,),
        "interval": 0.0,
        "heartbeat": 15.0,
        "stale_after": 60 * NANOS,
        "unread_age": 0.25,
        "queue": 100,
    }
    return Terms(**asked | changed)


def trading_status(symbol: str = "AAPL", code: str = "H") -> TradingStatus:
    """A halt, or another change."""
    return TradingStatus(symbol, code, "", "", "", "C", provenance())


def value_of(kind: RecordKind, symbol: str, at: int = NOW) -> LiveValue:
    """A valid record of *kind*, which happened and was received at *at*."""
    origin = provenance(at, at)
    match kind:
        case RecordKind.QUOTE:
            return replace(quote(symbol), provenance=origin)
        case RecordKind.TRADE:
            return replace(trade(symbol), provenance=origin)
        case RecordKind.TRADE_CANCELLATION:
            return TradeCancellation(symbol, 7, Decimal("10.01"), 50, "V", "C", "C", origin)
        case RecordKind.TRADING_STATUS:
            return replace(trading_status(symbol), provenance=origin)
        case RecordKind.PRICE_BANDS:
            return PriceBands(symbol, Decimal(11), Decimal(9), "B", "C", origin)
        case _:
            return replace(bar(symbol), provenance=origin)


class Desk:
    """A hub with all that is its own, and no upstream but the test."""

    def __init__(
        self,
        *,
        feed: Feed = Feed.IEX,
        symbol_limit: int | None = None,
        linger: float = 15.0,
        keeps: int = 1000,
        counted: Collection[Channel] = (Channel.QUOTES, Channel.TRADES),
    ) -> None:
        self.clock = LoopClock()
        self.counts = FeedCounts()
        self.book = Book(feed, EPOCH, self.clock)
        policy = InterestPolicy(symbol_limit, linger, counted=frozenset(counted))
        self.interest = Interest(self.book, policy, self.counts, self.clock)
        self.feed = FakeFeed()
        self.interest.feed_by(self.feed)
        self.gaps = Gaps()
        self.ring = Ring(keeps, 60 * NANOS)
        self.beat = Beat()
        self.session: MarketSession | None = MarketSession.OPEN
        self.hub = Hub(
            self.book, self.interest, self.gaps, self.ring, self.beat, self.counts, self.clock,
            lambda: self.session,
        )  # fmt: skip
        self.resyncs: list[tuple[list[str], Gap | None]] = []
        self.hub.resync = lambda topics, gap: self.resyncs.append(
            ([topic.entry.symbol for topic in topics], gap)
        )
        self.encode = PlainEncode()
        self.boxes: list[Box] = []

    # ------------------------------------------------------------------------------ the followers

    def follow(self, *symbols: str, of: Terms | None = None) -> Box:
        """Let one more follow *symbols*."""
        box = self.hub.box(of or terms())
        self.boxes.append(box)
        self.hub.join(box, symbols)
        return box

    def topic(self, symbol: str = "AAPL", channel: Channel = Channel.QUOTES) -> Topic:
        """Return what is followed."""
        return self.interest.on(channel)[symbol]

    def live(self, *symbols: str, of: Terms | None = None) -> Box:
        """Let one more follow *symbols*, which the upstream confirms, and hear so."""
        box = self.follow(*symbols, of=of)
        for channel in box.terms.channels:
            self.hub.confirmed(channel, symbols)
        self.told(box)
        return box

    def statuses(self, box: Box) -> list[Status]:
        """Read all statuses that wait."""
        read: list[Status] = []
        while batch := box.take_statuses(self.clock.monotonic()):
            read += batch
        return read

    def told(self, box: Box) -> list[str]:
        """Read all statuses that wait, in words."""
        return [f"{status.symbol} {status.state.name}" for status in self.statuses(box)]

    def read(self, box: Box) -> list[str]:
        """Read one message of updates, in words."""
        pieces, _ = box.take_updates(self.encode, self.clock.monotonic())
        return [piece.decode() for piece in pieces]

    # ------------------------------------------------------------------------------- the upstream

    def brings(
        self, *symbols: str, kind: RecordKind = RecordKind.QUOTE, times: int = 1
    ) -> LiveValue:
        """Bring a valid record of each symbol, so many times, and return the last."""
        brought = [value_of(kind, one, self.clock.wall()) for one in symbols * times]
        for value in brought:
            self.hub.accept(kind, value.symbol, value)
        self.hub.settle()
        return brought[-1]

    def refuses(
        self, symbol: str, why: Unavailable = CROSSED, kind: RecordKind = RecordKind.QUOTE
    ) -> None:
        """Bring a record that is no value."""
        self.hub.refuse(kind, symbol, why)
        self.hub.settle()

    def breaks(self, cause: GapCause = GapCause.DISCONNECTED, message: str = "cut") -> None:
        """Lose the connection."""
        self.hub.lost(cause, self.clock.wall(), message)

    async def tick(self, after: float = 0.0) -> None:
        """Look after what changes with time, *after* so many seconds."""
        await asyncio.sleep(after)
        await self.hub.tick()
