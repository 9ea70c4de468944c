"""The law of streams: what becomes of every number.

Of each symbol and channel every number is delivered, conflated, refused by a named rule, or lost in a named range; each
exactly once, whatever producers, readers, disconnections and drains do. A random program drives the real book, hub and
mailboxes, while a bookkeeper who saw what the upstream sent audits what each follower was told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.book import Book
from tickgate_server.fanout import box, tokens
from tickgate_server.fanout.beat import Waiting
from tickgate_server.fanout.box import Status, Terms
from tickgate_server.fanout.gaps import Gaps
from tickgate_server.fanout.hub import Hub
from tickgate_server.fanout.interest import Interest, InterestPolicy
from tickgate_server.fanout.mailbox import Closing, Delivery, Statuses, Updates
from tickgate_server.fanout.recall import Recall, RecallSources
from tickgate_server.fanout.ring import Ring
from tickgate_server.fanout.streams import Follower, LiveHub, Order, StreamPolicy, Streams
from tickgate_server.market.live import (
    CHANNEL_OF,
    Channel,
    GapCause,
    LiveValue,
    RecordKind,
    SymbolState,
    UpdateKind,
)
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.observe.counters import FeedCounts, StreamCounts

from ...support.fakes import HandClock, provenance, quote, trade

SYMBOLS = ("AAPL", "IBM", "MSFT")
KINDS = (RecordKind.QUOTE, RecordKind.TRADE)
QUEUE = 5
"""Trades that wait for a follower at most: few, so that they are lost often."""

KEPT = 12
"""Trades that are kept for followers who come back."""

Key = tuple[Channel, str]


@pytest.fixture(autouse=True, scope="module")
def short_messages() -> Iterator[None]:
    """Messages so short that mail takes several, between which a follower may go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box, "MOST_UPDATES", 3)
        patch.setattr(box, "MOST_STATUSES", 1)
        yield


class _Piece(msgspec.Struct):
    """An update as a follower reads it."""

    channel: str
    symbol: str
    sequence: int
    stamp: int
    """Receive time of the value, which tells values apart."""

    kind: str = ""
    conflated: int = 0


class _Plainly:
    """An `Encode` whose bytes a test can read."""

    def body(self, kind: RecordKind, value: LiveValue, sequence: int, tier: Tier) -> bytes:
        stamp = value.provenance.receive_time
        return msgspec.json.encode(_Piece(CHANNEL_OF[kind], value.symbol, sequence, stamp))

    def framed(self, body: bytes, kind: UpdateKind, conflated: int) -> bytes:
        piece = msgspec.json.decode(body, type=_Piece)
        return msgspec.json.encode(replace(piece, kind=kind.name, conflated=conflated))


class _ByHand:
    """A beat that is struck by the test."""

    def __init__(self) -> None:
        self._waiting: set[Waiting] = set()

    def wait(self, somebody: Waiting) -> None:
        self._waiting.add(somebody)

    def leave(self, somebody: Waiting) -> None:
        self._waiting.discard(somebody)

    def strike(self) -> None:
        """Nobody is woken before `ring`."""

    def ring(self) -> None:
        for somebody in tuple(self._waiting):
            somebody.wake_for_mail()


@dataclass
class _Truth:
    """What the upstream sent of one symbol on one channel."""

    stamps: dict[int, int] = field(default_factory=dict)
    """Of valid records, by number."""

    refused: dict[int, str] = field(default_factory=dict)
    """Rules that refused the others, by number."""

    @property
    def newest(self) -> int:
        return max((*self.stamps, *self.refused), default=0)


@dataclass
class _Account:
    """What one follower was told of one symbol on one channel since he began to follow it."""

    started: int
    heard: int
    delivered: list[int] = field(default_factory=list)
    conflated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[int, int, int]] = field(default_factory=list)
    last_stamp: int = 0
    state: SymbolState = SymbolState.PENDING

    def audit(self, truth: _Truth) -> None:
        """Hold every number since the start against what the upstream sent."""
        valid = {n for n in truth.stamps if self.started < n <= self.heard}
        refused = {n: r for n, r in truth.refused.items() if self.started < n <= self.heard}
        assert self.delivered == sorted(set(self.delivered)), "delivered twice, or out of order"
        assert valid.issuperset(self.delivered), "delivered what was not sent"
        assert self.refused == Counter(refused.values())
        missing = valid.difference(self.delivered)
        lost = self._lost_of(truth) & valid
        assert self.conflated == len(missing - lost)
        explained = len(self.delivered) + self.conflated + self.refused.total() + len(lost)
        assert explained == self.heard - self.started

    def _lost_of(self, truth: _Truth) -> set[int]:
        missing = set(truth.stamps).difference(self.delivered)
        lost: set[int] = set()
        for first, last, count in self.lost:
            of_range = {n for n in missing if first <= n <= last}
            assert len(of_range) == count
            assert not lost & of_range, "lost twice"
            lost |= of_range
        return lost


@dataclass
class _Memory:
    """What a follower knows of the trades of one symbol, across all of his streams."""

    started: int
    known: set[int] = field(default_factory=set)
    """Numbers that he was sent, or told to be lost or refused."""

    excused: bool = False
    """Whether he was told that there is something that cannot be brought back."""


class _Reader:
    """One follower, who comes and goes, and keeps accounts."""

    def __init__(self, world: _World, name: str) -> None:
        self.world = world
        self.symbols: list[str] = [SYMBOLS[0]]
        self.accounts: dict[Key, _Account] = {}
        self.memories: dict[str, _Memory] = {}
        self.token = ""
        self.farewell: Closing | None = None
        self._name = name
        self._follower: Follower | None = None
        self._next: asyncio.Task[Delivery | None] | None = None
        self._number = 0

    async def come(self) -> None:
        """Follow, from the newest token on."""
        self._follower = self.world.streams.open(acks=True)
        self.accounts.clear()
        self._number = 0
        token = tokens.decode(self.token) if self.token else None
        terms = Terms(
            id=self._name,
            channels=(Channel.QUOTES, Channel.TRADES),
            interval=0.0,
            heartbeat=3600.0,
            stale_after=3600 * NANOS,
            unread_age=0.25,
            queue=QUEUE,
        )
        await self._follower.subscribe(Order(terms, Feed.IEX, tuple(self.symbols), token))

    async def go(self) -> None:
        """Hang up, with whatever is unread."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
            self._next = None
        if self._follower is not None:
            self._follower.leave()

    async def stay_away(self, seconds: float, symbol: str, trades: int) -> None:
        """Hang up, and come back after *seconds*, in which there were *trades* of *symbol*."""
        await self.go()
        self.world.clock.advance(seconds)
        await self.world.streams.tick()
        for _ in range(trades):
            self.world.send(RecordKind.TRADE, symbol, valid=True)
        await self.come()

    async def add(self, symbol: str) -> None:
        """Follow *symbol* as well."""
        assert self._follower is not None
        if symbol not in self.symbols:
            self.symbols.append(symbol)
            await self._follower.add(self._name, [symbol])

    async def remove(self, symbol: str) -> None:
        """Follow *symbol* no longer."""
        assert self._follower is not None
        if symbol in self.symbols and len(self.symbols) > 1:
            self.symbols.remove(symbol)
            self._follower.unsubscribe(self._name, [symbol])
            self.memories.pop(symbol, None)
            for channel in Channel:
                self.accounts.pop((channel, symbol), None)

    async def query(self) -> None:
        """Ask how everything stands."""
        assert self._follower is not None
        self._follower.query(self._name)

    async def read(self, most: int, *, acks: bool = True) -> int:
        """Read what there is, *most* messages at most; return how many there were."""
        assert self._follower is not None
        if acks:
            self._follower.mailbox.ack(self._number)
        for count in range(most):
            if self._next is None:
                self._next = asyncio.create_task(self._follower.next())
            await self.world.settle()
            if not self._next.done():
                return count
            delivery, self._next = self._next.result(), None
            if delivery is None:
                return count
            self._take(delivery)
            if acks:
                self._follower.mailbox.ack(self._number)
        return most

    def _take(self, delivery: Delivery) -> None:
        assert delivery.number == self._number + 1
        self._number = delivery.number
        if isinstance(delivery.event, Closing):
            self.farewell = delivery.event
        elif isinstance(delivery.event, Statuses):
            for status in delivery.event.statuses:
                self._hear(status)
        elif isinstance(delivery.event, Updates):
            for piece in delivery.event.pieces:
                self._enter(msgspec.json.decode(piece, type=_Piece))
        if delivery.box is not None:
            self.token = delivery.box.token(self.world.clock.wall())

    def _hear(self, status: Status) -> None:
        key = status.channel, status.symbol
        if status.symbol not in self.symbols:
            assert status.state is SymbolState.REMOVED
            return
        if status.state is SymbolState.REMOVED:
            return
        account = self.accounts.get(key)
        if account is None:
            account = self.accounts[key] = _Account(status.sequence, status.sequence)
        account.heard = max(account.heard, status.sequence)
        account.refused.update(status.refused)
        account.lost += [
            (one.first_sequence, one.last_sequence, one.count) for one in status.losses
        ]
        account.state = status.state
        if status.channel is Channel.TRADES:
            memory = self.memories.setdefault(status.symbol, _Memory(account.started))
            memory.excused |= any(gap.cause is GapCause.RESUME for gap in status.gaps)
            for one in status.losses:
                memory.known.update(range(one.first_sequence, one.last_sequence + 1))

    def _enter(self, piece: _Piece) -> None:
        account = self.accounts[Channel(piece.channel), piece.symbol]
        account.conflated += piece.conflated
        if piece.kind in (UpdateKind.LIVE.name, UpdateKind.REPLAY.name):
            account.delivered.append(piece.sequence)
            account.heard = max(account.heard, piece.sequence)
        if piece.channel == Channel.TRADES and piece.kind != UpdateKind.SNAPSHOT.name:
            self.memories[piece.symbol].known.add(piece.sequence)
        account.last_stamp = piece.stamp


class _World:
    """A gateway's fan-out without sockets, and the upstream before it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.beat = _ByHand()
        self.truths: dict[Key, _Truth] = {
            (CHANNEL_OF[kind], symbol): _Truth() for kind in KINDS for symbol in SYMBOLS
        }
        self.stamp = 0
        self.gaps = Gaps()
        book = Book(Feed.IEX, "epoch", self.clock)
        counts = FeedCounts()
        policy = InterestPolicy(symbol_limit=None, linger=5.0)
        interest = Interest(book, policy, counts, self.clock)
        interest.feed_by(self)
        beat: Any = self.beat
        self.hub = Hub(
            *(book, interest, self.gaps, Ring(KEPT, 60 * NANOS), beat, counts, self.clock),
            lambda: MarketSession.OPEN,
        )
        self.connected = True
        self._wanted: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        recall = Recall(self.hub, RecallSources({}, _Nobody()), self.clock, 5.0)
        live = LiveHub(self.hub, recall)
        self.streams = Streams(
            StreamPolicy(
                enabled=True,
                streams=10,
                symbols=10,
                subscriptions=5,
                all_symbols=False,
                default_feed=Feed.IEX,
            ),
            lambda _: live,
            beat,
            self.clock,
            _Plainly(),
            _all_exist,
            StreamCounts(),
        )

    # What the hub wants of its feed.

    def follow(self, channel: Channel, symbols: Any) -> None:
        self._wanted[channel].update(symbols)
        if self.connected:
            self.hub.confirmed(channel, list(symbols))

    def unfollow(self, channel: Channel, symbols: Any) -> None:
        self._wanted[channel].difference_update(symbols)

    def reconnect(self, cause: GapCause, message: str) -> None:
        raise NotImplementedError

    # What the upstream does.

    def send(self, kind: RecordKind, symbol: str, *, valid: bool, rule: str = "crossed") -> None:
        """Send a record; what is not followed is not sent."""
        channel = CHANNEL_OF[kind]
        if not self.connected or symbol not in self._wanted[channel]:
            return
        truth = self.truths[channel, symbol]
        number = truth.newest + 1
        self.stamp += 1
        if valid:
            origin = provenance(receive_time=self.clock.wall() + self.stamp)
            value: Any = quote(symbol) if kind is RecordKind.QUOTE else trade(symbol)
            self.hub.accept(kind, symbol, replace(value, provenance=origin))
            truth.stamps[number] = origin.receive_time
        else:
            refusal = Refusal(rule, "as sent")
            why = Unavailable(reason=Reason.INVALID_DATA, message="no", refusal=refusal)
            self.hub.refuse(kind, symbol, why)
            truth.refused[number] = rule

    def lose(self) -> None:
        """Break the connection."""
        if self.connected:
            self.connected = False
            self.hub.lost(GapCause.DISCONNECTED, self.clock.wall(), "gone")

    def restore(self) -> None:
        """Make it anew."""
        if not self.connected:
            self.connected = True
            for channel, symbols in self._wanted.items():
                self.hub.confirmed(channel, sorted(symbols))

    def miss(self) -> None:
        """Drop records that nobody has numbered."""
        if self.connected:
            self.hub.missed(GapCause.OVERFLOW, self.clock.wall(), "too much", records=3)

    async def settle(self) -> None:
        """Let everybody who may read on do so."""
        for _ in range(3):
            await asyncio.sleep(0)
        self.beat.ring()
        for _ in range(3):
            await asyncio.sleep(0)


class _Nobody:
    """Answers nothing: what stands is said by the stream alone."""

    async def latest(self, question: object) -> Any:
        raise AssertionError(question)


async def _all_exist(_: object) -> Mapping[str, Unavailable]:
    return {}


def _steps() -> st.SearchStrategy[tuple[Any, ...]]:
    kinds, symbols, readers = st.sampled_from(KINDS), st.sampled_from(SYMBOLS), st.integers(0, 1)
    rules = st.sampled_from(("crossed", "negative_price"))
    return st.one_of(
        st.tuples(st.just("send"), kinds, symbols, st.integers(1, 9)),
        st.tuples(st.just("refuse"), kinds, symbols, rules),
        st.tuples(st.just("read"), readers, st.integers(1, 4), st.booleans()),
        st.tuples(st.just("add"), readers, symbols),
        st.tuples(st.just("remove"), readers, symbols),
        st.tuples(st.just("return"), readers, st.floats(0.0, 7.0), symbols, st.integers(0, 20)),
        st.tuples(st.just("upstream"), st.sampled_from(("lose", "restore", "miss"))),
        st.tuples(st.just("wait"), st.floats(0.1, 7.0)),
    )


async def _do(step: tuple[Any, ...], world: _World, readers: Sequence[_Reader]) -> None:
    match step:
        case ("send", kind, symbol, count):
            for _ in range(count):
                world.send(kind, symbol, valid=True)
        case ("refuse", kind, symbol, rule):
            world.send(kind, symbol, valid=False, rule=rule)
        case ("wait", seconds):
            world.clock.advance(seconds)
            await world.streams.tick()
        case ("upstream", what):
            {"lose": world.lose, "restore": world.restore, "miss": world.miss}[what]()
        case (what, reader, *arguments):
            await _let(readers[reader], what, arguments)


async def _let(reader: _Reader, what: str, arguments: Sequence[Any]) -> None:
    if what == "read":
        most, acks = arguments
        await reader.read(most, acks=acks)
    elif what == "return":
        await reader.stay_away(*arguments)
    else:
        await {"add": reader.add, "remove": reader.remove}[what](*arguments)


async def _finish(world: _World, readers: Sequence[_Reader]) -> None:
    """Let everybody read to the end, and hear how everything stands."""
    world.restore()
    for reader in readers:
        while await reader.read(100):
            pass
        await reader.query()
        while await reader.read(100):
            pass


@given(st.lists(_steps(), max_size=40), st.booleans())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_every_number_is_accounted_for(
    steps: list[tuple[Any, ...]],
    drains: bool,
) -> None:
    """Delivered, conflated, refused by a rule or lost in a range: each number once, for each follower who reads on."""
    world = _World()
    readers = [_Reader(world, "one"), _Reader(world, "other")]
    for reader in readers:
        await reader.come()
    for step in steps:
        await _do(step, world, readers)
    if drains:
        world.streams.close(Closing(Reason.SHUTTING_DOWN, "bye", 1.0))
        for reader in readers:
            while await reader.read(100):
                pass
            assert reader.farewell is not None
    else:
        await _finish(world, readers)
    for reader in readers:
        for key, account in reader.accounts.items():
            account.audit(world.truths[key])
            if not drains:
                assert account.heard == world.truths[key].newest, "not told to the end"
        await reader.go()


@given(st.lists(_steps(), max_size=40))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_the_last_quote_is_the_newest(steps: list[tuple[Any, ...]]) -> None:
    """Whatever was conflated, the last quote that a follower was sent of a live symbol is the newest valid one."""
    world = _World()
    readers = [_Reader(world, "one"), _Reader(world, "other")]
    for reader in readers:
        await reader.come()
    for step in steps:
        await _do(step, world, readers)
    world.restore()
    for symbol in SYMBOLS:
        world.send(RecordKind.QUOTE, symbol, valid=True)
    await _finish(world, readers)
    for reader in readers:
        for symbol in reader.symbols:
            truth = world.truths[Channel.QUOTES, symbol]
            account = reader.accounts[Channel.QUOTES, symbol]
            assert account.state is SymbolState.LIVE
            assert account.last_stamp == truth.stamps[max(truth.stamps)]
        await reader.go()


@given(st.lists(_steps(), max_size=40))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_who_comes_back_misses_no_trade_untold(steps: list[tuple[Any, ...]]) -> None:
    """Across streams and resume tokens, each trade was sent, was told to be lost, or lies in a gap that was told."""
    world = _World()
    readers = [_Reader(world, "one"), _Reader(world, "other")]
    for reader in readers:
        await reader.come()
    for step in steps:
        await _do(step, world, readers)
    await _finish(world, readers)
    for reader in readers:
        for symbol, memory in reader.memories.items():
            valid = world.truths[Channel.TRADES, symbol].stamps
            untold = {n for n in valid if n > memory.started} - memory.known
            assert memory.excused or not untold
        await reader.go()
