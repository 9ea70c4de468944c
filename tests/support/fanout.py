"""A live feed that a test speaks for, whoever follows it, and a reader who keeps the accounts of the law."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from tickgate_server.book import Book, LiveQuotes
from tickgate_server.fanout.beat import Beat
from tickgate_server.fanout.box import Box, Status, Terms
from tickgate_server.fanout.gaps import Gaps
from tickgate_server.fanout.hub import Hub
from tickgate_server.fanout.interest import Interest, InterestPolicy
from tickgate_server.fanout.mailbox import Delivery, Event, Mailbox, Statuses, Updates
from tickgate_server.fanout.ring import Ring
from tickgate_server.fanout.streams import StreamPolicy
from tickgate_server.market.bar import Bar
from tickgate_server.market.live import (
    Channel,
    GapCause,
    LiveValue,
    RecordKind,
    SymbolState,
    TradingStatus,
    UpdateKind,
)
from tickgate_server.market.provenance import Feed, Provenance, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.observe.counters import FeedCounts, StreamCounts
from tickgate_server.ports import Clock

from .fakes import HandClock, bar, provenance, quote, side, trade
from .hand_feeds import HandFeed

QUOTES, TRADES, BARS, STATUSES = (
    Channel.QUOTES,
    Channel.TRADES,
    Channel.BARS,
    Channel.TRADING_STATUSES,
)
EPOCH = "ep0c4"
POLICY = StreamPolicy(
    enabled=True, streams=1000, symbols=2000, subscriptions=100, all_symbols=True, default_feed=Feed.IEX
)  # fmt: skip
CROSSED = "crossed"
"""Rule by which records are refused, where a test does not name one."""


class StillBeat(Beat):
    """A beat that nobody need hear: a test looks for mail by itself."""

    def strike(self) -> None:
        """Do nothing."""


class Piece(msgspec.Struct, frozen=True):
    """One update, as its reader sees it."""

    kind: str
    symbol: str
    price: str
    """Bid of a quote, price of a trade, close of a bar, code of a status."""

    sequence: int
    tier: str
    origin: str = "LIVE"
    conflated: int = 0


class PlainEncode:
    """An `Encode` whose bytes a test can read."""

    def __init__(self) -> None:
        self.encoded: Counter[tuple[str, int]] = Counter()
        """How often the body of each symbol's record was made."""

    def body(self, kind: RecordKind, value: LiveValue, sequence: int, tier: Tier) -> bytes:
        """Return what all followers get alike."""
        self.encoded[value.symbol, sequence] += 1
        return msgspec.json.encode(
            Piece(kind.value, value.symbol, price_of(value), sequence, tier.value)
        )

    def framed(self, body: bytes, kind: UpdateKind, conflated: int) -> bytes:
        """Return one update."""
        piece = msgspec.json.decode(body, type=Piece)
        return msgspec.json.encode(replace(piece, origin=kind.name, conflated=conflated))


def read(pieces: Iterable[bytes]) -> list[Piece]:
    """Return what is in a message."""
    return [msgspec.json.decode(piece, type=Piece) for piece in pieces]


def price_of(value: LiveValue) -> str:
    """What tells one value from another."""
    match value:
        case Quote(bid=bid):
            return "" if bid is None else str(bid.price)
        case Bar(close=price):
            return str(price)
        case TradingStatus(status_code=code):
            return code
        case Trade():
            return str(value.price)
    return ""


def crossed(rule: str = CROSSED) -> Unavailable:
    """Why a record was refused."""
    return Unavailable(
        reason=Reason.INVALID_DATA, message=f"refused by {rule}", refusal=Refusal(rule, "seen")
    )


def terms(
    *channels: Channel,
    id: str = "",  # noqa: A002 - the contract's word
    interval: float = 0.0,
    heartbeat: float = 15.0,
    stale_after: float = 60.0,
    unread_age: float = 0.25,
    queue: int = 10_000,
) -> Terms:
    """What a follower asks for."""
    return Terms(
        id=id,
        channels=channels or (QUOTES,),
        interval=interval,
        heartbeat=heartbeat,
        stale_after=round(stale_after * NANOS),
        unread_age=unread_age,
        queue=queue,
    )


class LiveFeeds:
    """One feed with everything that fans it out. The test is its upstream."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        beat: Beat | None = None,
        symbol_limit: int | None = None,
        linger: float = 15.0,
        kept: int = 100_000,
        kept_for: float = 60.0,
        policy: StreamPolicy = POLICY,
        epoch: str = EPOCH,
    ) -> None:
        self.clock = clock or HandClock()
        self.beat = beat or StillBeat()
        self.session: MarketSession | None = None
        self.counts = FeedCounts()
        self.stream_counts = StreamCounts()
        self.book = Book(Feed.IEX, epoch, self.clock)
        self.live_quotes = LiveQuotes({Feed.IEX: self.book})
        limits = InterestPolicy(symbol_limit=symbol_limit, linger=linger)
        self.interest = Interest(self.book, limits, self.counts, self.clock)
        self.feed = HandFeed()
        self.interest.feed_by(self.feed)
        self.gaps = Gaps()
        self.ring = Ring(kept, round(kept_for * NANOS))
        self.hub = Hub(
            self.book,
            self.interest,
            self.gaps,
            self.ring,
            self.beat,
            self.counts,
            self.clock,
            lambda: self.session,
        )
        self.encode = PlainEncode()
        self.unknown: dict[str, Unavailable] = {}
        self.policy = policy

    # -------------------------------------------------------------------------- as the upstream

    def quote(self, symbol: str = "AAPL", bid: str = "10.00") -> Quote:
        """Send a quote."""
        value = quote(symbol, side(bid), None, at=self.clock.wall(), received=self.clock.wall())
        self.hub.accept(RecordKind.QUOTE, symbol, value)
        return value

    def trade(self, symbol: str = "AAPL", price: str = "10.00") -> Trade:
        """Send a trade."""
        value = replace(trade(symbol, price), provenance=self.origin())
        self.hub.accept(RecordKind.TRADE, symbol, value)
        return value

    def trading_status(self, code: str, symbol: str = "AAPL") -> None:
        """Send a trading status."""
        value = TradingStatus(symbol, code, "", "", "", "C", self.origin())
        self.hub.accept(RecordKind.TRADING_STATUS, symbol, value)

    def bar(self, symbol: str = "AAPL", kind: RecordKind = RecordKind.BAR) -> Bar:
        """Send a bar."""
        value = replace(bar(symbol), provenance=self.origin())
        self.hub.accept(kind, symbol, value)
        return value

    def origin(self) -> Provenance:
        """The origin of what arrives now."""
        return provenance(self.clock.wall(), self.clock.wall())

    def refuse(
        self, symbol: str = "AAPL", kind: RecordKind = RecordKind.QUOTE, rule: str = CROSSED
    ) -> None:
        """Send a record that is no value."""
        self.hub.refuse(kind, symbol, crossed(rule))

    def confirm(self, *symbols: str, channel: Channel = QUOTES) -> None:
        """Acknowledge *symbols*; without any, everything that is wanted on *channel*."""
        self.hub.confirmed(channel, symbols or tuple(sorted(self.feed.wanted[channel])))

    def lose(self, cause: GapCause = GapCause.DISCONNECTED) -> None:
        """Break the connection."""
        self.hub.lost(cause, self.clock.wall(), "gone")

    # -------------------------------------------------------------------------- as a follower

    def box(self, *symbols: str, **asked: Any) -> Box:
        """Follow *symbols* without a stream; `take` reads."""
        box = self.hub.box(terms(*asked.pop("channels", ()), **asked))
        self.hub.join(box, symbols)
        return box

    def take(self, box: Box) -> tuple[list[Status], list[Piece]]:
        """Read everything that *box* hands out now."""
        now = self.clock.monotonic()
        statuses: list[Status] = []
        pieces: list[Piece] = []
        while box.has_mail(now):
            told = box.take_statuses(now)
            statuses += told
            if not told:
                pieces += read(box.take_updates(self.encode, now)[0])
        return statuses, pieces

    def statuses(self, box: Box) -> list[Status]:
        """Read everything, and return the statuses among it."""
        return self.take(box)[0]

    def states(self, box: Box) -> list[SymbolState]:
        """Read everything, and return the states among it."""
        return [status.state for status in self.statuses(box)]

    def pieces(self, box: Box) -> list[Piece]:
        """Read everything, and return the updates among it."""
        return self.take(box)[1]


class MailReader:
    """Takes what a mailbox hands out, for as long as a test says."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.mail: list[Delivery] = []
        self.times: list[float] = []
        """When each message came, by the loop."""

        self.is_over = False

    async def read(self, seconds: float = 1.0, *, ack: bool = True) -> list[Event]:
        """Read for so many seconds, and return what came."""
        before = len(self.mail)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.read_one(ack=ack) is not None:
                    pass
        return [delivery.event for delivery in self.mail[before:]]

    async def read_one(self, *, ack: bool = True) -> Event | None:
        """Wait for the next message; None at the end."""
        delivery = await self.mailbox.next()
        if delivery is None:
            self.is_over = True
            return None
        self.mail.append(delivery)
        self.times.append(asyncio.get_running_loop().time())
        if ack:
            self.mailbox.ack(delivery.number)
        return delivery.event

    def ack(self) -> None:
        """Acknowledge everything."""
        self.mailbox.ack(self.mail[-1].number)


def pieces_of(events: Iterable[Event]) -> list[Piece]:
    """The updates among *events*."""
    return [piece for event in events if isinstance(event, Updates) for piece in read(event.pieces)]


def statuses_of(events: Iterable[Event]) -> list[Status]:
    """The statuses among *events*."""
    return [status for event in events if isinstance(event, Statuses) for status in event.statuses]
