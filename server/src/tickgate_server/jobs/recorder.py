"""Records what live feeds bring of the symbols on watchlists, and claims no more than is there."""

from __future__ import annotations

import asyncio
import datetime
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import structlog
from msgspec import Struct

from ..errors import StoreDown
from ..fanout.hub import Hub
from ..fanout.tap import Tap
from ..market.columns import Block, TradeBlock, part
from ..market.history_rows import trades
from ..market.interval import Interval
from ..market.live import CHANNEL_OF, Channel, FeedState, LiveValue, RecordKind, TradeCorrection
from ..market.provenance import Feed
from ..market.series import SeriesKey, SeriesKind
from ..market.time import NANOS
from ..market.timeframe import Timeframe, Unit
from ..market.trade import Trade
from ..market.unavailable import Unavailable
from ..observe.counters import IngestionCounts
from ..ports import Clock, HistoryStore, Watchlists
from .recorded import AMENDMENTS, MINUTE, Amendment, Batch, Tape, amended, bar_block, trade_block

_log = structlog.get_logger(__name__)

_NEW_YORK: Final = ZoneInfo("America/New_York")

_CHANNELS: Final = (Channel.TRADES, Channel.BARS)

_SKEW: Final = 5 * NANOS
"""Nanoseconds by which the exchange's clock may be ahead of ours: what it stamps in that time after a confirmation may
have happened before."""

_STRETCH: Final = 10 * NANOS
"""Nanoseconds of which everything is known, and in which nothing happened, that are worth a word of their own."""

_AGAIN: Final = 60.0
"""Seconds after which a symbol that could not be followed is tried again."""

_TROUBLED: Final = frozenset(
    {
        FeedState.WAITING_FOR_SLOT,
        FeedState.BACKING_OFF,
        FeedState.AUTH_FAILED,
        FeedState.NOT_ENTITLED,
        FeedState.CLOSED,
    }
)

_KEYS: Final = {
    Channel.TRADES: (SeriesKind.TRADES, None),
    Channel.BARS: (SeriesKind.BARS, Timeframe(1, Unit.MINUTE)),
}
"""What a channel's records are a series of."""

Unknown = Callable[[Collection[str]], Awaitable[Mapping[str, Unavailable]]]
"""Tells which of some symbols do not exist, and why they cannot be followed."""


class RecorderPolicy(Struct, frozen=True, kw_only=True):
    """What an operator may turn about recording."""

    feed: Feed
    settle: int
    """Nanoseconds after which what has happened is final."""

    interval: float
    """Seconds between two batches."""

    batch: int
    """Records of one batch at most."""

    queue: int
    """Records that wait at most."""

    look_every: float
    """Seconds between looks at the watchlists."""


class Source(Protocol):
    """Gives the hub of the feed, which begins to be connected when it is first asked for."""

    def __call__(self) -> Hub:
        """Return the hub."""
        ...


class Recorder:
    """Writes what arrives in batches, and how far it is complete; a `TapListener`.

    Nothing on the way of a live record waits for the store: while that is away records wait in a queue, and beyond its
    bound they are dropped, counted, and their time is not claimed.
    """

    def __init__(
        self,
        watchlists: Watchlists,
        store: HistoryStore,
        hub: Source,
        unknown: Unknown,
        policy: RecorderPolicy,
        counts: IngestionCounts,
        clock: Clock,
    ) -> None:
        """Record nothing yet.

        Args:
            watchlists: say what is recorded.
            store: where it is written.
            hub: whom to follow.
            unknown: tells which symbols do not exist: of those nothing arrives, and that must not be taken for silence.
            policy: bounds and times.
            counts: what recording does is counted there.
            clock: measures.
        """
        self._watchlists = watchlists
        self._store = store
        self._source = hub
        self._unknown = unknown
        self._policy = policy
        self._counts = counts
        self._clock = clock
        self._tap: Tap | None = None
        self._hub: Hub | None = None
        self._followed: set[str] = set()
        self._rejected: dict[str, tuple[float, Unavailable]] = {}
        """Symbols that cannot be followed: until when they are left alone, and why."""

        self._tapes: dict[Channel, dict[str, Tape]] = {channel: {} for channel in _CHANNELS}
        self._by_kind = {
            kind: self._tapes[channel]
            for kind, channel in CHANNEL_OF.items()
            if channel in _CHANNELS
        }
        self._newest = 0
        """The latest moment that any record was stamped with, nanoseconds of market time."""

        self._waiting = 0
        self._wake_at: float = policy.batch
        self._wake = asyncio.Event()
        self._look_at = -math.inf
        self._down: str = ""
        """Why nothing can be written, or no watchlist read."""

    # ------------------------------------------------------------------------------ what is brought

    def take(self, kind: RecordKind, symbol: str, value: LiveValue) -> None:
        """Let a valid record wait to be written. The hot path."""
        tape = self._by_kind[kind].get(symbol)
        if tape is None:
            return
        if self._waiting >= self._policy.queue and not self._must_keep(tape, kind, value):
            self._counts.dropped += 1
            return
        if kind not in AMENDMENTS:
            happened = value.provenance.event_time or 0
            if kind is not RecordKind.TRADE:
                # A bar is stamped with its beginning, and sent after its end.
                happened += MINUTE
            self._newest = max(self._newest, happened)
        tape.waiting.append((kind, value))
        self._waiting += 1
        if self._waiting >= self._wake_at:
            self._wake.set()

    def _must_keep(self, tape: Tape, kind: RecordKind, value: LiveValue) -> bool:
        # An amendment is about what may be claimed already. They are few.
        return kind in AMENDMENTS or not tape.drop(value, self._reach())

    def begun(self, channel: Channel, symbol: str) -> None:
        """Take notice that everything that happens from now on is received."""
        tape = self._tapes[channel].get(symbol)
        if tape is not None and not tape.starved:
            tape.begin(self._clock.market() + _SKEW)

    def broken(self, channel: Channel, symbol: str) -> None:
        """Take notice that something is missed."""
        tape = self._tapes[channel].get(symbol)
        if tape is not None:
            tape.cut(self._reach())

    def ended(self, channel: Channel, symbol: str, why: Unavailable | None) -> None:
        """Take notice that *symbol* is no longer followed."""
        self.broken(channel, symbol)
        if why is not None:
            self._reject(symbol, why)

    def clock_moved(self) -> None:
        """Take notice that somebody has set the market's clock: what lies between was never sent."""
        self._newest = 0
        for channel, tapes in self._tapes.items():
            for symbol, tape in tapes.items():
                if tape.open:
                    tape.cut(0)
                    self.begun(channel, symbol)

    def _reach(self) -> int:
        """Return the moment of market time before which everything has arrived that was to.

        Something stamped that much later has arrived on the same connection: not even a delayed feed can have more.
        """
        return min(self._newest, self._clock.market()) - self._policy.settle

    def _reject(self, symbol: str, why: Unavailable) -> None:
        if symbol not in self._rejected:
            _log.warning("not_recorded", symbol=symbol, reason=why.reason.name, message=why.message)
        self._rejected[symbol] = self._clock.monotonic() + _AGAIN, why

    # ------------------------------------------------------------------------------- what is wanted

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            try:
                await self.turn()
            except Exception:  # noqa: BLE001 - a fault of ours must not end all recording
                _log.exception("recording_failed")
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._policy.interval)

    async def turn(self) -> None:
        """Look at the watchlists if it is time, and write what waits."""
        self._down = ""
        if self._clock.monotonic() >= self._look_at:
            await self.look()
        await self.flush()
        self._tell()

    async def look(self) -> None:
        """Follow what the watchlists say, and nothing else."""
        self._look_at = self._clock.monotonic() + self._policy.look_every
        try:
            lists = await self._watchlists.everything()
        except StoreDown:
            # Why, the log says: everybody may ask for the status, and that names addresses.
            self._down = "the watchlists cannot be read: the store cannot be had"
            return
        wanted = {symbol for one in lists if one.record for symbol in one.symbols}
        self._leave(self._followed - wanted)
        now = self._clock.monotonic()
        again = {one for one, (until, _) in self._rejected.items() if until <= now}
        self._rejected = {one: why for one, why in self._rejected.items() if one in wanted}
        fresh = wanted - self._followed - self._rejected.keys() | (again & wanted)
        if fresh:
            await self._join(fresh)

    async def _join(self, symbols: Collection[str]) -> None:
        unknown = await self._unknown(symbols)
        known = sorted(symbol for symbol in symbols if symbol not in unknown)
        for symbol in symbols:
            self._rejected.pop(symbol, None)
        for symbol, why in unknown.items():
            self._reject(symbol, why)
        for symbol in known:
            for channel in _CHANNELS:
                tape = self._tapes[channel].setdefault(symbol, self._tape(channel, symbol))
                tape.leaving = False
        self._followed.update(known)
        if known:
            if self._tap is None:
                self._hub = self._source()
                self._tap = Tap(self._hub, _CHANNELS, self)
            self._tap.join(known)

    def _tape(self, channel: Channel, symbol: str) -> Tape:
        kind, timeframe = _KEYS[channel]
        return Tape(SeriesKey(kind, symbol, self._policy.feed, timeframe))

    def _leave(self, symbols: Collection[str]) -> None:
        if self._tap is not None and symbols:
            self._tap.leave(sorted(symbols))
        self._followed.difference_update(symbols)
        for symbol in symbols:
            for channel in _CHANNELS:
                self._tapes[channel][symbol].leaving = True

    # ------------------------------------------------------------------------------ what is written

    async def flush(self) -> None:
        """Write what waits, and what is complete."""
        self._counts.heartbeat_time = self._clock.wall()
        reach = self._reach()
        try:
            for tape in tuple(self._all()):
                tape.settle(reach)
                await self._write(tape)
        except StoreDown:
            self._down = "the store cannot be had"
        self._wake_at = self._waiting + self._policy.batch
        self._feed_again()
        for tapes in self._tapes.values():
            for symbol, tape in tuple(tapes.items()):
                if tape.leaving and not tape.waiting and not tape.claims:
                    del tapes[symbol]

    async def _write(self, tape: Tape) -> None:
        count = len(tape.waiting)
        if not count and not self._is_worth_a_word(tape):
            return
        # What is final is complete once all that waits now is written, and in the same transaction.
        claims, left = tape.take_claims(), count
        try:
            for batch in tape.batches(count, self._policy.batch):
                left -= batch.taken
                await self._write_batch(tape, batch, () if left else tuple(claims))
                tape.written(batch)
                self._waiting -= batch.taken
            if not count:
                await self._store.record(tape.key, (), claims)
        except StoreDown:
            tape.give_back(claims)
            raise
        except Exception:  # noqa: BLE001 - what cannot be written must not keep all else from it
            _log.exception("not_recorded", symbol=tape.key.symbol, kind=tape.key.kind.value)
            lost = tape.abandon()
            self._waiting -= lost
            self._counts.dropped += lost

    @staticmethod
    def _is_worth_a_word(tape: Tape) -> bool:
        span = sum(claim.end - claim.start for claim in tape.claims)
        return span >= _STRETCH or bool(tape.claims and not tape.open)

    async def _write_batch(self, tape: Tape, batch: Batch, claims: tuple[Interval, ...]) -> None:
        if batch.amendment is not None:
            await self._amend(tape.key, batch.amendment, claims)
            return
        blocks: list[Block] = []
        if batch.bars:
            blocks.append(bar_block(batch.bars))
        if batch.trades:
            blocks.append(trade_block((*tape.told_before(batch), *batch.trades)))
        await self._store.record(tape.key, blocks, claims)
        self._counts.trades += len(batch.trades)
        self._counts.bars += len(batch.bars) - batch.revised
        self._counts.revisions += batch.revised
        self._note_written(blocks[-1].times[-1])

    async def _amend(
        self, key: SeriesKey, amendment: Amendment, claims: tuple[Interval, ...]
    ) -> None:
        original = await self._original(key, amendment)
        blocks: tuple[Block, ...] = ()
        if original is None:
            # Nothing here is wrong, then: what is fetched of that time later is as it was amended.
            _log.info("amended_trade_not_held", symbol=key.symbol)
        else:
            blocks = (trade_block(amended(original, amendment)),)
            self._counts.revisions += 1
        if blocks or claims:
            await self._store.record(key, blocks, claims)
            self._counts.last_time = self._clock.wall()

    async def _original(self, key: SeriesKey, amendment: Amendment) -> Trade | None:
        traded = amendment.original if isinstance(amendment, TradeCorrection) else amendment
        number = traded.id
        if number is None:
            return None
        # An id is unique within symbol, exchange and day, and an amendment tells its own time and not the trade's.
        async with aclosing(self._newest_first(key, _day_until(amendment))) as blocks:
            async for block in blocks:
                found = _find(block, number, amendment.exchange, key.symbol)
                if found is not None:
                    return found
        return None

    async def _newest_first(
        self, key: SeriesKey, interval: Interval
    ) -> AsyncGenerator[TradeBlock, None]:
        async for block in self._store.read(key, interval, newest_first=True):
            if isinstance(block, TradeBlock):
                yield block

    def _note_written(self, newest: int) -> None:
        self._counts.last_time = self._clock.wall()
        self._counts.lag = max(0, self._clock.market() - newest)

    def _feed_again(self) -> None:
        """Let series whose records were dropped begin anew, if there is room."""
        if self._waiting >= self._policy.queue:
            return
        for channel, tapes in self._tapes.items():
            for symbol, tape in tapes.items():
                if tape.starved:
                    tape.starved = False
                    entry = None if self._hub is None else self._hub.book.entry(channel, symbol)
                    if entry is not None and entry.confirmed and not tape.leaving:
                        self.begun(channel, symbol)

    def _all(self) -> Iterable[Tape]:
        return (tape for tapes in self._tapes.values() for tape in tapes.values())

    # ---------------------------------------------------------------------------- what is said of it

    def _tell(self) -> None:
        counts = self._counts
        counts.waiting = self._waiting
        recorded = self._followed - self._rejected.keys()
        counts.symbols = len(recorded)
        counts.message = self._trouble(recorded)
        if counts.message:
            counts.state = "failing"
        else:
            counts.state = "running" if recorded else "idle"

    def _trouble(self, recorded: Collection[str]) -> str:
        if self._down:
            return self._down
        if self._hub is not None and recorded and self._hub.state in _TROUBLED:
            return f"the live feed {self._policy.feed.value} is {self._hub.state.value}"
        if not recorded and self._rejected:
            return next(iter(self._rejected.values()))[1].message
        return ""

    async def close(self, patience: float) -> None:
        """Follow nothing any more, and write what waits, within *patience* seconds."""
        self._leave(tuple(self._followed))
        try:
            async with asyncio.timeout(patience):
                await self.flush()
        except TimeoutError:
            self._down = "the store has not answered in time"
        if self._waiting:
            _log.warning("records_lost", records=self._waiting, message=self._down)


def _day_until(amendment: Amendment) -> Interval:
    """Return the day in New York that *amendment* is about, up to when it was received."""
    origin = amendment.provenance
    told = origin.receive_time if origin.event_time is None else origin.event_time
    moment = datetime.datetime.fromtimestamp(told // NANOS, _NEW_YORK)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return Interval(int(midnight.timestamp()) * NANOS, told + 1)


def _find(block: TradeBlock, number: int, exchange: str | None, symbol: str) -> Trade | None:
    if block.id is None:
        return None
    for row, held in enumerate(block.id.values):
        if held == number and row not in block.id.unset:
            block_of_one = part(block, row, row + 1)
            assert isinstance(block_of_one, TradeBlock), "a part is what the whole is"
            trade = next(trades(block_of_one, symbol))
            if trade.exchange == exchange:
                return trade
    return None
