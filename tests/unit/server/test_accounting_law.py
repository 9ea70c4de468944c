"""The law of streams, for whatever befalls them.

Of each symbol and channel every number since a subscription's first status is delivered, conflated, refused by a named
rule or lost in a named range, and each exactly once. A program made by the dice sends records, valid and not, breaks a
connection, and lets followers of different paces read, stop, change what they follow, hang up and come back. An auditor
who has seen what the market did holds every single message against it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.fanout import tokens
from tickgate_server.fanout.box import Status
from tickgate_server.fanout.mailbox import Closing, Delivery, Statuses, Updates
from tickgate_server.fanout.recall import Recall, RecallSources
from tickgate_server.fanout.streams import Follower, LiveHub, Order, StreamPolicy, Streams
from tickgate_server.market.bar import Bar
from tickgate_server.market.live import (
    CHANNEL_OF,
    CONFLATED,
    Channel,
    GapCause,
    LiveValue,
    RecordKind,
    SymbolState,
    UpdateKind,
)
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.observe.counters import StreamCounts

from ...support.fakes import FakeLatest, bar, provenance, quote, side, trade, unavailable
from ...support.fanning import Desk, run_in_steered_time, terms

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES
POLICY = StreamPolicy(
    enabled=True,
    streams=10,
    symbols=10,
    subscriptions=1,
    all_symbols=False,
    default_feed=Feed.IEX,
)
SYMBOLS = ("A", "B", "C")
CHANNELS = (QUOTES, TRADES, Channel.DAILY_BARS)
KINDS = {"q": RecordKind.QUOTE, "t": RecordKind.TRADE, "d": RecordKind.DAILY_BAR}
STANDING = frozenset({SymbolState.LIVE, SymbolState.QUIET, SymbolState.STALE})
QUEUE = 4
"""Trades that wait for a follower at most: few, so that they are lost often."""

KEPT = 10
"""Trades that are kept for those who come back."""

INTERVALS = (0.0, 0.0, 0.7)
"""Seconds between updates of each follower, at least."""

FAREWELL = Closing(Reason.SHUTTING_DOWN, "the gateway stops", 1.0)

Key = tuple[Channel, str]


@dataclass
class Truth:
    """What the market sent of one symbol on one channel while the gateway had the connection."""

    values: dict[int, str] = field(default_factory=dict)
    """Prices of valid records, by number."""

    rules: dict[int, str] = field(default_factory=dict)
    """Rules that refused the others, by number."""

    @property
    def newest(self) -> int:
        return len(self.values) + len(self.rules)

    def valid(self, first: int, last: int) -> list[int]:
        """Numbers of valid records from *first* to *last*."""
        return [number for number in range(first, last + 1) if number in self.values]


@dataclass
class Account:
    """What one follower was told of one symbol on one channel, from his first status to the end of it."""

    key: Key
    truth: Truth
    started: int
    pointer: int = 0
    """Every valid record up to here is accounted for."""

    heard: int = 0
    lost: set[int] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    state: SymbolState = SymbolState.PENDING
    last: str | None = None
    """Price of the value that was delivered last."""

    def __post_init__(self) -> None:
        self.pointer = self.heard = self.started

    def hear(self, status: Status) -> None:
        """Enter a status that is not the first."""
        assert status.sequence >= self.heard, "the newest number went back"
        self.heard = max(self.heard, status.sequence)
        self.refused.update(status.refused)
        for loss in status.losses:
            lost = set(self.truth.valid(loss.first_sequence, loss.last_sequence))
            assert len(lost) == loss.count, "a loss counts what is not valid in its range"
            assert not lost & self.lost, "lost twice"
            assert loss.first_sequence > self.pointer, "lost what was delivered"
            self.lost |= lost

    def enter(self, piece: Piece) -> None:
        """Enter an update."""
        number = piece.sequence
        if piece.origin in ("SNAPSHOT", "RESYNC"):
            assert number >= self.pointer or self.key[0] not in CONFLATED, "older than what he has"
            superseded = self.truth.valid(self.pointer + 1, number)
        else:
            assert number > self.pointer, "out of order, or twice"
            assert piece.price == self.truth.values[number], "another record's number"
            superseded = self.truth.valid(self.pointer + 1, number - 1)
        if self.key[0] in CONFLATED:
            assert piece.conflated == len(superseded), "conflated is not what was superseded"
        else:
            assert piece.conflated == 0
            if piece.origin in ("LIVE", "REPLAY"):
                assert set(superseded) <= self.lost, "lost in silence, or told too late"
        if piece.origin in ("LIVE", "REPLAY") or self.key[0] in CONFLATED:
            self.pointer = max(self.pointer, number)
        self.heard = max(self.heard, number)
        self.last = piece.price

    def missing(self, upto: int) -> list[int]:
        """Numbers up to *upto* of which nobody has told what became."""
        valid = [one for one in self.truth.valid(self.pointer + 1, upto) if one not in self.lost]
        told = Counter(self.refused)
        untold = []
        for number in range(self.started + 1, upto + 1):
            rule = self.truth.rules.get(number)
            if rule is not None:
                told[rule] -= 1
                if told[rule] < 0:
                    untold.append(number)
        return valid + untold

    def audit(self) -> None:
        """Hold the account against the truth: up to the newest number heard of nothing is missing, or too much."""
        assert not self.missing(self.heard)
        in_range = (n for n in self.truth.rules if self.started < n <= self.heard)
        assert self.refused == Counter(self.truth.rules[n] for n in in_range)


class Piece(msgspec.Struct, frozen=True):
    """An update as a follower reads it."""

    kind: RecordKind
    symbol: str
    price: str
    """Which tells values apart."""

    sequence: int
    origin: str = ""
    conflated: int = 0

    @property
    def channel(self) -> Channel:
        return CHANNEL_OF[self.kind]


class Plainly:
    """An `Encode` whose bytes can be read."""

    def body(self, kind: RecordKind, value: LiveValue, sequence: int, tier: Tier) -> bytes:
        price = str(_price_of(value))
        return msgspec.json.encode(Piece(kind, value.symbol, price, sequence))

    def framed(self, body: bytes, kind: UpdateKind, conflated: int) -> bytes:
        piece = msgspec.json.decode(body, type=Piece)
        return msgspec.json.encode(replace(piece, origin=kind.name, conflated=conflated))


class World:
    """The market, the upstream and the gateway's streams."""

    def __init__(self) -> None:
        self.desk = Desk(linger=5.0, keeps=KEPT)
        self.hub = self.desk.hub
        self.truths = {(channel, symbol): Truth() for channel in CHANNELS for symbol in SYMBOLS}
        self.market: dict[Key, str | None] = {}
        """Price of the newest record, whether anybody got it or not; None if it is no value."""

        self.connected = True
        self.wanted: dict[Channel, set[str]] = {channel: set() for channel in CHANNELS}
        self.desk.interest.feed_by(self)
        self.quotes = FakeLatest[Quote](self.desk.clock)
        self.trades = FakeLatest[Trade](self.desk.clock)
        self.prices = 0
        sources = RecallSources({QUOTES: self.quotes, TRADES: self.trades}, self.quotes)
        self.recall = Recall(self.hub, sources, self.desk.clock, 5.0)
        self.hub.resync = self.recall.resync
        live = LiveHub(self.hub, self.recall)
        self.streams = Streams(
            POLICY, lambda _: live, self.desk.beat, self.desk.clock, Plainly(), _all_exist,
            StreamCounts(),
        )  # fmt: skip

    # What the hub wants of its feed.

    def follow(self, channel: Channel, symbols: Collection[str]) -> None:
        self.wanted[channel].update(symbols)

    def unfollow(self, channel: Channel, symbols: Collection[str]) -> None:
        self.wanted[channel].difference_update(symbols)

    def reconnect(self, cause: GapCause, message: str) -> None:
        raise NotImplementedError

    # What the market and the upstream do.

    def send(self, symbol: str, letter: str) -> None:
        """Let the market move: a small letter is a valid record, a capital one is none."""
        kind, valid = KINDS[letter.lower()], letter.islower()
        key = CHANNEL_OF[kind], symbol
        self.prices += 1
        price = str(self.prices)
        self.market[key] = price if valid else None
        self._answer(key, price if valid else None)
        if not self.connected or symbol not in self.wanted[key[0]]:
            return
        truth = self.truths[key]
        if valid:
            truth.values[truth.newest + 1] = price
            self.hub.accept(kind, symbol, self._value(kind, symbol, price))
        else:
            rule = f"rule {self.prices % 2}"
            truth.rules[truth.newest + 1] = rule
            self.hub.refuse(kind, symbol, refused(rule))

    def settle(self) -> None:
        """Let the hub know that a frame is over."""
        self.hub.settle()

    def confirm(self) -> None:
        """Acknowledge whatever is wanted."""
        if self.connected:
            for channel in CHANNELS:
                self.hub.confirmed(channel, sorted(self.wanted[channel]))

    def upstream(self, what: str) -> None:
        """Let the connection be lost or made, or records be dropped."""
        if what == "lose" and self.connected:
            self.connected = False
            self.desk.breaks()
        elif what == "restore":
            self.connected = True
            self.confirm()
        elif what == "miss" and self.connected:
            for symbol in SYMBOLS:
                self._drop(symbol)
            now = self.desk.clock.wall()
            self.hub.missed(GapCause.OVERFLOW, now, "too much", records=3)

    def _drop(self, symbol: str) -> None:
        connected, self.connected = self.connected, False
        self.send(symbol, "q")
        self.connected = connected

    def _answer(self, key: Key, price: str | None) -> None:
        channel, symbol = key
        if channel not in (QUOTES, TRADES):
            return
        source: FakeLatest[Any] = self.quotes if channel is QUOTES else self.trades
        if price is None:
            source.reasons[symbol] = refused("as sent")
            return
        source.reasons.pop(symbol, None)
        kind = RecordKind.QUOTE if channel is QUOTES else RecordKind.TRADE
        source.values[symbol] = self._value(kind, symbol, price)

    def _value(self, kind: RecordKind, symbol: str, price: str) -> Any:
        origin = provenance(self.desk.clock.wall(), self.desk.clock.wall())
        if kind is RecordKind.QUOTE:
            return replace(quote(symbol, side(price), None), provenance=origin)
        if kind is RecordKind.TRADE:
            return replace(trade(symbol, price), provenance=origin)
        return replace(bar(symbol), close=side(price).price, provenance=origin)


class Reader:
    """One follower, over as many streams as it takes."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.symbols = [SYMBOLS[0], SYMBOLS[1]]
        self.accounts: dict[Key, Account] = {}
        self.ended: dict[Key, Account] = {}
        """Accounts of his last stream."""

        self.token = ""
        self.resumes = False
        self.farewell = False
        self._interval = INTERVALS[number]
        self._follower: Follower
        self._number = 0
        self._acked = 0
        self._updated_at = float("-inf")

    async def come(self, *, resumes: bool) -> None:
        """Begin a stream, with the newest token if he *resumes*."""
        self._follower = self.world.streams.open(acks=True)
        self.ended = {key: each for key, each in self.accounts.items() if key[1] in self.symbols}
        self.accounts = {}
        self.resumes = resumes and bool(self.token)
        self._number = self._acked = 0
        self._updated_at = float("-inf")
        token = tokens.decode(self.token) if self.resumes else None
        asked = terms(*CHANNELS, id="", interval=self._interval, heartbeat=3600.0, queue=QUEUE)
        await self._follower.subscribe(Order(asked, Feed.IEX, tuple(self.symbols), token))

    def go(self) -> None:
        """Hang up, whatever is unread."""
        self._follower.leave()

    async def change(self, symbol: str) -> None:
        """Follow *symbol*, or no longer."""
        for channel in CHANNELS:
            self.ended.pop((channel, symbol), None)
        if symbol not in self.symbols:
            self.symbols.append(symbol)
            await self._follower.add("", [symbol])
        elif len(self.symbols) > 1:
            self.symbols.remove(symbol)
            self._follower.unsubscribe("", [symbol])

    async def ask_again(self, symbol: str) -> None:
        """Ask for a snapshot of what he follows, and how everything stands."""
        if symbol in self.symbols:
            await self._follower.add("", [symbol])
        self._follower.query("")

    async def read(self, most: int, *, acks: bool) -> int:
        """Read what there is within a moment, *most* messages at most; return how many there were."""
        if acks:
            self._ack()
        taken = 0
        with suppress(TimeoutError):
            while taken < most:
                async with asyncio.timeout(0.05):
                    delivery = await self._follower.next()
                if delivery is None:
                    break
                taken += 1
                self._take(delivery)
                if acks:
                    self._ack()
        return taken

    async def read_all(self) -> None:
        """Read until nothing comes any more."""
        while await self.read(100, acks=True) or await self._is_waited_for():
            pass

    async def _is_waited_for(self) -> bool:
        await asyncio.sleep(self._interval)
        return await self.read(100, acks=True) > 0

    def _ack(self) -> None:
        self._follower.mailbox.ack(self._number)

    def _take(self, delivery: Delivery) -> None:
        assert delivery.number == self._number + 1
        self._number = delivery.number
        if isinstance(delivery.event, Statuses):
            for status in delivery.event.statuses:
                self._hear(status)
        elif isinstance(delivery.event, Updates):
            self._keep_distance()
            for body in delivery.event.pieces:
                piece = msgspec.json.decode(body, type=Piece)
                self.accounts[piece.channel, piece.symbol].enter(piece)
        elif isinstance(delivery.event, Closing):
            self.farewell = True
        if delivery.box is not None:
            self.token = delivery.box.token(self.world.desk.clock.wall())

    def _keep_distance(self) -> None:
        now = asyncio.get_running_loop().time()
        assert self.farewell or now >= self._updated_at + self._interval - 1e-9 or self._closes
        self._updated_at = now

    @property
    def _closes(self) -> bool:
        return self._follower.mailbox._closing is not None

    def _hear(self, status: Status) -> None:
        key = status.channel, status.symbol
        account = self.accounts.get(key)
        if status.state is SymbolState.REMOVED:
            self.ended.pop(key, None)
            if account is not None:
                account.hear(status)
                del self.accounts[key]
            return
        if account is None:
            account = self._begin(key, status)
        else:
            account.hear(status)
        account.state = status.state

    def _begin(self, key: Key, status: Status) -> Account:
        assert not status.refused, "the first status accounts for nothing"
        assert not status.losses
        account = Account(key, self.world.truths[key], status.sequence)
        self.accounts[key] = account
        before = self.ended.pop(key, None)
        causes = [gap.cause for gap in status.gaps]
        if self.resumes and key[0] is TRADES and GapCause.RESUME not in causes and before:
            assert not before.missing(status.sequence), "what came between the streams is not told"
        return account

    def audit(self, *, to_the_end: bool) -> None:
        """Hold all accounts against what the market sent."""
        for (channel, symbol), account in self.accounts.items():
            account.audit()
            if not to_the_end:
                continue
            assert account.heard == account.truth.newest, "not told to the end"
            newest = self.world.market.get((channel, symbol))
            if channel is QUOTES and newest is not None:
                assert account.state in STANDING
                assert account.last == newest, "LIVE, and not the newest"
        if to_the_end:
            told = {symbol for _, symbol in self.accounts}
            assert told == set(self.symbols)


def refused(rule: str) -> Unavailable:
    """Why a record is no value."""
    return unavailable(Reason.INVALID_DATA, refusal=Refusal(rule, "as sent"))


def _price_of(value: LiveValue) -> Decimal:
    match value:
        case Quote(bid=bid):
            assert bid is not None
            return bid.price
        case Bar(close=price) | Trade(price=price):
            return price
    raise AssertionError(value)


async def _all_exist(_: object, __: object) -> dict[str, Unavailable]:
    return {}


# ----------------------------------------------------------------------------------------- programs

Step = tuple[Any, ...]

_SYMBOL = st.sampled_from(SYMBOLS)
_READER = st.integers(0, len(INTERVALS) - 1)
_SOON = st.sampled_from((0.0, 0.001, 0.3, 1.0))
_LATER = st.sampled_from((0.0, 0.5, 3.0, 8.0, 70.0))
_BURST = st.tuples(st.just("burst"), _SYMBOL, st.text("qqqtttQTd", min_size=1, max_size=8), _SOON)
_READ = st.tuples(st.just("read"), _READER, st.integers(1, 4), st.booleans())
_OTHERS = st.one_of(
    st.tuples(st.just("change"), _READER, _SYMBOL),
    st.tuples(st.just("ask_again"), _READER, _SYMBOL),
    st.tuples(st.just("return"), _READER, _LATER, st.text("qt", max_size=12), st.booleans()),
    st.tuples(st.just("upstream"), st.sampled_from(("lose", "restore", "miss"))),
    st.tuples(st.just("confirm")),
    st.tuples(st.just("pass"), _LATER),
)
# Records and readers are what programs are made of; without them nothing else can go wrong.
_ROUND = st.tuples(_BURST, _READ, _BURST, _OTHERS)


def programs() -> st.SearchStrategy[list[Step]]:
    """Programs of some dozens of steps."""
    return st.lists(_ROUND, min_size=3, max_size=12).map(lambda rounds: [*_flat(rounds)])


def _flat(rounds: Sequence[tuple[Step, ...]]) -> Iterator[Step]:
    for steps in rounds:
        yield from steps


async def run(world: World, readers: Sequence[Reader], step: Step) -> None:
    """Run one step."""
    match step:
        case ("burst", symbol, letters, seconds):
            for letter in letters:
                world.send(symbol, letter)
            world.settle()
            await asyncio.sleep(seconds)
        case ("upstream", what):
            world.upstream(what)
        case ("confirm",):
            world.confirm()
        case ("pass", seconds):
            await asyncio.sleep(seconds)
            await world.streams.tick()
        case ("read", reader, most, acks):
            await readers[reader].read(most, acks=acks)
        case ("return", reader, seconds, letters, resumes):
            await away(world, readers[reader], seconds, letters, resumes=resumes)
        case ("change", reader, symbol):
            await readers[reader].change(symbol)
        case ("ask_again", reader, symbol):
            await readers[reader].ask_again(symbol)


async def away(
    world: World, reader: Reader, seconds: float, letters: str, *, resumes: bool
) -> None:
    """Let *reader* hang up and come back, while the market moves."""
    reader.go()
    await asyncio.sleep(seconds)
    await world.streams.tick()
    for letter in letters:
        world.send(reader.symbols[0], letter)
    await reader.come(resumes=resumes)


async def play(program: Sequence[Step], *, drains: bool) -> None:
    """Run *program* to its end, and audit what everybody was told."""
    world = World()
    readers = [Reader(world, number) for number in range(len(INTERVALS))]
    asking = asyncio.create_task(world.recall.run())
    for reader in readers:
        await reader.come(resumes=False)
    world.confirm()
    for step in program:
        await run(world, readers, step)
    if drains:
        world.streams.close(FAREWELL)
    else:
        await _settle(world)
    for reader in readers:
        await reader.read_all()
        assert reader.farewell is drains
        reader.audit(to_the_end=not drains)
        reader.go()
    asking.cancel()


async def _settle(world: World) -> None:
    """Let everything be well, and the gateway find out."""
    world.upstream("restore")
    for _ in range(3):
        await asyncio.sleep(61.0)
        await world.streams.tick()


LONG = pytest.mark.timeout(600)
"""A program that fails is made small before it is shown, which takes minutes."""


@LONG
@given(programs())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_number_is_accounted_for(program: list[Step]) -> None:
    """Each number is delivered, conflated, refused or lost, once; at the end everybody has the newest of all."""
    run_in_steered_time(play(program, drains=False))


@LONG
@given(programs())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_gateway_that_stops_owes_nobody_anything(program: list[Step]) -> None:
    """When the gateway stops everybody reads to the last word, and up to there nothing is missing."""
    run_in_steered_time(play(program, drains=True))
