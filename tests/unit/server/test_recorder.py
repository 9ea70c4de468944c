"""Recording what live feeds bring: what is written, what is claimed, and that the one never lacks the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.errors import StoreDown
from tickgate_server.jobs.recorder import Recorder, RecorderPolicy
from tickgate_server.market.bar import Bar
from tickgate_server.market.columns import Block
from tickgate_server.market.history_rows import rows
from tickgate_server.market.interval import Interval, union
from tickgate_server.market.live import (
    Channel,
    CorrectedTrade,
    FeedState,
    GapCause,
    LiveValue,
    RecordKind,
    TradeCancellation,
    TradeCorrection,
)
from tickgate_server.market.provenance import DataSource, Feed, Provenance
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.market.watchlist import Watchlist
from tickgate_server.observe.counters import IngestionCounts

from ...support.fakes import NOW, unavailable
from ...support.fanning import CROSSED, Desk, in_steered_time, run_in_steered_time
from ...support.history_store import MemoryStore, MemoryWatchlists

SETTLE: Final = 35
"""Seconds after which something is final."""

SKEW: Final = 5
"""Seconds after a confirmation that are not trusted: clocks differ."""

MINUTE: Final = 60 * NANOS
EVER: Final = Interval(0, 2**62)


class Recording:
    """A recorder on a hub whose upstream is the test."""

    def __init__(self, *symbols: str, symbol_limit: int | None = None, **policy: Any) -> None:
        self.desk = Desk(symbol_limit=symbol_limit)
        self.clock = self.desk.clock
        self.store = MemoryStore(self.clock)
        self.watchlists = MemoryWatchlists()
        self.counts = IngestionCounts()
        self.unknown: dict[str, Unavailable] = {}
        given: dict[str, Any] = {
            "interval": 1.0,
            "batch": 5000,
            "queue": 100_000,
            "look_every": 2.0,
        }
        self.policy = RecorderPolicy(feed=Feed.IEX, settle=SETTLE * NANOS, **given | policy)
        self.recorder = Recorder(
            self.watchlists,
            self.store,
            lambda: self.desk.hub,
            self._unknown,
            self.policy,
            self.counts,
            self.clock,
        )
        self._first = symbols

    async def _unknown(self, symbols: Collection[str]) -> Mapping[str, Unavailable]:
        return {symbol: self.unknown[symbol] for symbol in symbols if symbol in self.unknown}

    async def begin(self) -> None:
        """Put the first symbols on a watchlist, look at it, and let the upstream confirm them."""
        await self.watch(*self._first)
        await self.recorder.turn()
        self.confirm(*self._first)

    async def watch(self, *symbols: str, name: str = "mine", record: bool = True) -> None:
        """Put *symbols* on a watchlist, in place of those that were."""
        await self.watchlists.put(Watchlist(name, symbols, record, (), 366, self.clock.wall()))

    def confirm(self, *symbols: str) -> None:
        """Let the upstream confirm what is followed."""
        for channel in (Channel.TRADES, Channel.BARS):
            self.desk.hub.confirmed(channel, symbols)

    def brings(self, value: LiveValue, kind: RecordKind = RecordKind.TRADE) -> None:
        """Let the upstream bring one record."""
        self.desk.hub.accept(kind, value.symbol, value)

    def trade(self, symbol: str = "AAPL", *, late: float = 0.0, **fields: Any) -> Trade:
        """Bring a trade that happened *late* seconds ago."""
        known: dict[str, Any] = {"price": "10.01", "id": 7}
        known |= fields
        value = Trade(
            symbol, Decimal(known["price"]), 50, "V", ("@",), known["id"], "C", None, self.now(late)
        )
        self.brings(value)
        return value

    def bar(self, start: int, symbol: str = "AAPL", *, close: str = "10", revised: bool = False) -> Bar:  # fmt: skip
        """Bring the bar of the minute that began at *start*."""
        one, origin = Decimal(10), replace(self.now(), event_time=start)
        value = Bar(symbol, one, one, one, Decimal(close), 500, 12, one, origin)
        self.brings(value, RecordKind.REVISED_BAR if revised else RecordKind.BAR)
        return value

    def now(self, late: float = 0.0) -> Provenance:
        """An origin of this moment."""
        wall = self.clock.wall()
        return Provenance(DataSource.SANDBOX, Feed.IEX, wall - round(late * NANOS), wall, "")

    async def turns(self, seconds: int) -> None:
        """Let *seconds* pass, with a turn in each."""
        for _ in range(seconds):
            await asyncio.sleep(1)
            await self.recorder.turn()

    async def covered(self, key: SeriesKey) -> list[Interval]:
        """Return what the store holds to be complete."""
        found = (await self.store.coverage([key], EVER))[key]
        return union(one.interval for one in found)

    async def held(self, key: SeriesKey, as_of: int | None = None) -> list[Any]:
        """Return the values that the store holds, or held."""
        blocks: list[Block] = [block async for block in self.store.read(key, EVER, as_of=as_of)]
        return [row for block in blocks for row in rows(block, key.symbol)]


def trades_of(symbol: str = "AAPL") -> SeriesKey:
    """The series of a symbol's trades."""
    return SeriesKey(SeriesKind.TRADES, symbol, Feed.IEX)


def bars_of(symbol: str = "AAPL") -> SeriesKey:
    """The series of a symbol's minute bars."""
    return SeriesKey(SeriesKind.BARS, symbol, Feed.IEX, Timeframe(1, Unit.MINUTE))


def after(seconds: float) -> int:
    """The moment so long after the test's beginning."""
    return NOW + round(seconds * NANOS)


# ---------------------------------------------------------------------------------- what is followed


@in_steered_time
async def test_watchlists_say_what_is_recorded() -> None:
    """Symbols are followed on trades and bars while a watchlist wants them recorded, and within seconds of a change."""
    rec = Recording("AAPL")
    await rec.begin()
    await rec.watch("IBM", name="others", record=False)
    await rec.turns(3)
    follow, trades, bars = "follow", Channel.TRADES, Channel.BARS
    assert rec.desk.feed.said == [(follow, trades, ("AAPL",)), (follow, bars, ("AAPL",))]
    assert (rec.counts.state, rec.counts.symbols) == ("running", 1)

    await rec.watch("MSFT")
    await rec.turns(3)
    assert rec.desk.feed.said[2:] == [(follow, trades, ("MSFT",)), (follow, bars, ("MSFT",))]
    rec.trade("AAPL")
    await rec.turns(1)
    assert await rec.held(trades_of()) == []

    await rec.watchlists.delete("mine")
    await rec.turns(3)
    assert (rec.counts.state, rec.counts.symbols) == ("idle", 0)


@in_steered_time
async def test_one_subscription_serves_recorder_and_followers() -> None:
    """What somebody follows already is not subscribed to again, and stays when the recorder goes."""
    rec = Recording("AAPL")
    follower = rec.desk.live("AAPL", of=None)
    await rec.begin()
    assert ("follow", Channel.QUOTES, ("AAPL",)) in rec.desk.feed.said
    await rec.recorder.close(1.0)
    await rec.desk.tick(after=20)
    gone = [said for said in rec.desk.feed.said if said[0] == "unfollow"]
    assert Channel.QUOTES not in {channel for _, channel, _ in gone}
    assert follower.followed


@in_steered_time
async def test_what_does_not_exist_is_not_recorded() -> None:
    """A symbol that nobody lists is not followed: its silence would be taken for a market without trades."""
    rec = Recording("AAPL", "ZZZZ")
    rec.unknown["ZZZZ"] = unavailable(Reason.SYMBOL_UNKNOWN)
    await rec.begin()
    await rec.turns(1)
    assert rec.desk.feed.said[0] == ("follow", Channel.TRADES, ("AAPL",))
    assert (rec.counts.state, rec.counts.symbols) == ("running", 1)

    del rec.unknown["ZZZZ"]
    await rec.turns(63)
    assert ("follow", Channel.TRADES, ("ZZZZ",)) in rec.desk.feed.said


@in_steered_time
async def test_what_the_plan_does_not_allow_is_said() -> None:
    """When there is no room for any symbol, recording is failing and says why; with room it begins by itself."""
    rec = Recording("AAPL", symbol_limit=1)
    other = rec.desk.live("IBM")
    await rec.begin()
    await rec.turns(1)
    assert rec.counts.state == "failing"
    assert "the plan allows 1 symbols" in rec.counts.message

    rec.desk.hub.detach(other)
    await rec.turns(62)
    assert (rec.counts.state, rec.counts.message) == ("running", "")


# ----------------------------------------------------------------------------------- what is written


@in_steered_time
async def test_records_are_written_with_their_own_receive_time() -> None:
    """A second after they came, trades and bars are held as they came, each with the time of its receipt."""
    rec = Recording("AAPL")
    await rec.begin()
    first = rec.trade(price="10.010", id=1)
    await asyncio.sleep(0.25)
    second = rec.trade(price="10.02", id=2, late=0.5)
    bar = rec.bar(NOW - MINUTE)
    await rec.turns(1)
    held = await rec.held(trades_of())
    assert held == sorted([first, second], key=lambda one: one.event_time or 0)
    assert [one.provenance.receive_time for one in held] != [NOW, NOW]
    assert await rec.held(bars_of()) == [bar]
    assert (rec.counts.trades, rec.counts.bars, rec.counts.revisions) == (2, 1, 0)
    assert (rec.counts.waiting, rec.counts.last_time) == (0, rec.clock.wall())


@in_steered_time
async def test_equal_trades_without_an_id_are_two() -> None:
    """Two equal trades of one nanosecond are both held, together or one after the other."""
    rec = Recording("AAPL")
    await rec.begin()
    twin = rec.trade(id=None)
    rec.brings(twin)
    await rec.turns(1)
    rec.brings(twin)
    await rec.turns(1)
    assert await rec.held(trades_of()) == [twin] * 3


@in_steered_time
async def test_a_revised_bar_supersedes_the_first() -> None:
    """The revision is what is known now, and the first version what was known until it came."""
    rec = Recording("AAPL")
    await rec.begin()
    first = rec.bar(NOW, close="10")
    await rec.turns(30)
    before = rec.clock.wall()
    revised = rec.bar(NOW, close="11", revised=True)
    await rec.turns(1)
    assert await rec.held(bars_of()) == [revised]
    assert await rec.held(bars_of(), as_of=before - 1) == [first]
    assert (rec.counts.bars, rec.counts.revisions) == (1, 1)


@in_steered_time
async def test_both_versions_of_a_bar_survive_one_batch() -> None:
    """A bar and its revision that are written at once are still two states of what was known."""
    rec = Recording("AAPL")
    await rec.begin()
    first = rec.bar(NOW, close="10")
    await asyncio.sleep(0.5)
    revised = rec.bar(NOW, close="11", revised=True)
    await rec.turns(1)
    assert await rec.held(bars_of()) == [revised]
    assert await rec.held(bars_of(), as_of=first.provenance.receive_time) == [first]


def cancellation(of: Trade, now: Provenance) -> TradeCancellation:
    """The word that *of* is void."""
    return TradeCancellation(of.symbol, of.id, of.price, of.size, of.exchange, "C", "C", now)


def correction(of: Trade, now: Provenance, **corrected: Any) -> TradeCorrection:
    """The word that *of* was reported wrongly."""
    before = CorrectedTrade(of.id, of.price, of.size, of.conditions)
    return TradeCorrection(
        of.symbol, before, replace(before, **corrected), of.exchange, of.tape, now
    )


@in_steered_time
async def test_a_cancelled_trade_is_marked() -> None:
    """A cancellation marks the trade it names, by id and exchange, from when it was received on, and no other."""
    rec = Recording("AAPL")
    await rec.begin()
    void, other = rec.trade(id=1), rec.trade(id=2)
    await rec.turns(20)
    before = rec.clock.wall() - 1
    rec.brings(cancellation(void, rec.now()), RecordKind.TRADE_CANCELLATION)
    await rec.turns(1)
    held = await rec.held(trades_of())
    assert [(one.id, one.amendment) for one in held] == [(1, "canceled"), (2, None)]
    assert held[0].provenance.receive_time == before + 1
    assert await rec.held(trades_of(), as_of=before) == [void, other]
    assert rec.counts.revisions == 1


@pytest.mark.parametrize("number", [1, 9])
def test_a_corrected_trade_is_told_as_corrected(number: int) -> None:
    """A correction supersedes the trade it names; where it has an id of its own, the first stays and is marked."""

    async def program() -> None:
        rec = Recording("AAPL")
        await rec.begin()
        wrong = rec.trade(id=1)
        # In the same batch, too.
        await asyncio.sleep(0.2)
        told = correction(wrong, rec.now(), id=number, price=Decimal("10.5"))
        rec.brings(told, RecordKind.TRADE_CORRECTION)
        await rec.turns(1)
        held = [(one.id, one.price, one.amendment) for one in await rec.held(trades_of())]
        right = (number, Decimal("10.5"), "corrected")
        first = (1, Decimal("10.01"), "incorrect")
        assert held == ([right] if number == 1 else [first, right])
        assert await rec.held(trades_of(), as_of=wrong.provenance.receive_time) == [wrong]

    run_in_steered_time(program())


@in_steered_time
async def test_an_amendment_of_what_is_not_held_changes_nothing() -> None:
    """Nothing is made up for an amended trade that was never recorded."""
    rec = Recording("AAPL")
    await rec.begin()
    void = Trade("AAPL", Decimal(10), 1, "V", (), 99, "C", None, rec.now())
    rec.brings(cancellation(void, rec.now()), RecordKind.TRADE_CANCELLATION)
    await rec.turns(1)
    assert await rec.held(trades_of()) == []
    assert (rec.counts.revisions, rec.counts.waiting) == (0, 0)


# ----------------------------------------------------------------------------------- what is claimed


@in_steered_time
async def test_trades_are_complete_from_the_confirmation_to_the_settled_moment() -> None:
    """Complete is what happened since the upstream confirmed the symbol, but for the newest 35 seconds."""
    rec = Recording("AAPL")
    await rec.begin()
    for number in range(60):
        rec.trade(id=number)
        await rec.turns(1)
    assert await rec.covered(trades_of()) == [Interval(after(SKEW), after(59 - SETTLE))]


@in_steered_time
async def test_a_silent_connection_proves_nothing() -> None:
    """While nothing arrives the connection may be mute: nothing is claimed until the next record."""
    rec = Recording("AAPL")
    await rec.begin()
    await rec.turns(120)
    assert await rec.covered(trades_of()) == []
    rec.trade()
    await rec.turns(1)
    assert await rec.covered(trades_of()) == [Interval(after(SKEW), after(120 - SETTLE))]


@in_steered_time
async def test_bars_are_complete_by_the_minute() -> None:
    """A bar is final 35 seconds after its end, and the bar of the minute of the confirmation is not claimed."""
    rec = Recording("AAPL")
    await rec.begin()
    for number in range(160):
        if number % 60 == 1 and number > 1:
            rec.bar(after(number - 61))
        rec.trade(id=number)
        await rec.turns(1)
    # Confirmed at 0, trusted from the next whole minute, and reached 159 - 35.
    assert await rec.covered(bars_of()) == [Interval(after(60), after(120))]
    assert [one.event_time for one in await rec.held(bars_of())] == [after(0), after(60)]


@in_steered_time
async def test_a_gap_is_not_claimed() -> None:
    """What is complete ends where a connection may have missed something, and begins again when it is confirmed."""
    rec = Recording("AAPL")
    await rec.begin()
    for number in range(60):
        rec.trade(id=number)
        await rec.turns(1)
    rec.desk.breaks()
    await rec.turns(40)
    rec.confirm("AAPL")
    for number in range(60, 120):
        rec.trade(id=number)
        await rec.turns(1)
    assert await rec.covered(trades_of()) == [
        Interval(after(SKEW), after(59 - SETTLE)),
        Interval(after(100 + SKEW), after(159 - SETTLE)),
    ]


@in_steered_time
async def test_a_refused_record_is_not_claimed() -> None:
    """Where a record came that is no value, not all that the upstream has is held."""
    rec = Recording("AAPL")
    await rec.begin()
    for number in range(120):
        rec.trade(id=number)
        if number == 60:
            rec.desk.refuses("AAPL", CROSSED, RecordKind.TRADE)
        await rec.turns(1)
    assert await rec.covered(trades_of()) == [
        Interval(after(SKEW), after(60 - SETTLE)),
        Interval(after(60 + SKEW), after(119 - SETTLE)),
    ]


@in_steered_time
async def test_a_clock_that_is_set_breaks_what_is_complete() -> None:
    """What lies between the old and the new time of a replay was never sent, and is not claimed."""
    rec = Recording("AAPL")
    await rec.begin()
    rec.trade(id=1)
    await rec.turns(100)
    rec.recorder.clock_moved()
    rec.trade(id=2)
    await rec.turns(2)
    assert await rec.covered(trades_of()) == []


# ------------------------------------------------------------------------------------ when it fails


@in_steered_time
async def test_an_outage_of_the_store_loses_nothing() -> None:
    """While the store is away records wait, recording is failing and says why; then all of them are written."""
    rec = Recording("AAPL")
    await rec.begin()
    rec.store.down = True
    came = []
    for number in range(60):
        came.append(rec.trade(id=number))
        await rec.turns(1)
    assert (rec.counts.state, rec.counts.waiting) == ("failing", 60)
    assert "the store cannot be had" in rec.counts.message
    rec.store.down = False
    await rec.turns(1)
    assert await rec.held(trades_of()) == came
    assert (rec.counts.state, rec.counts.waiting) == ("running", 0)
    assert await rec.covered(trades_of()) == [Interval(after(SKEW), after(59 - SETTLE))]


@in_steered_time
async def test_what_there_is_no_room_for_is_dropped_and_not_claimed() -> None:
    """Beyond its bound the queue takes nothing; that is counted, and the time of it is not held to be complete."""
    rec = Recording("AAPL", queue=50)
    await rec.begin()
    rec.store.down = True
    for number in range(60):
        rec.trade(id=number)
        await rec.turns(1)
    assert (rec.counts.waiting, rec.counts.dropped) == (50, 10)
    rec.store.down = False
    for number in range(60, 120):
        rec.trade(id=number)
        await rec.turns(1)
    assert await rec.covered(trades_of()) == [
        Interval(after(SKEW), after(49 - SETTLE)),
        Interval(after(61 + SKEW), after(119 - SETTLE)),
    ]


@in_steered_time
async def test_what_belongs_to_a_time_that_is_claimed_is_never_dropped() -> None:
    """A trade that comes late, when nothing more can wait, is kept where its time is held to be complete."""
    rec = Recording("AAPL", queue=2)
    await rec.begin()
    for number in range(60):
        rec.trade(id=number)
        await rec.turns(1)
    rec.store.down = True
    for number in range(60, 63):
        rec.trade(id=number)
    late = rec.trade(id=99, late=40)
    rec.store.down = False
    await rec.turns(1)
    assert rec.counts.dropped == 1
    assert late in await rec.held(trades_of())


@in_steered_time
async def test_watchlists_that_cannot_be_read_stay_as_they_were() -> None:
    """Without the watchlists what was recorded goes on, and recording says what it lacks."""
    rec = Recording("AAPL")
    await rec.begin()
    rec.watchlists.down = True
    await rec.turns(2)
    assert "the watchlists cannot be read" in rec.counts.message
    rec.trade()
    await rec.turns(1)
    assert len(await rec.held(trades_of())) == 1


@in_steered_time
async def test_a_feed_that_cannot_be_had_is_said() -> None:
    """When another process holds the feed, recording is failing, not silently idle."""
    rec = Recording("AAPL")
    await rec.begin()
    rec.desk.hub.changed(FeedState.WAITING_FOR_SLOT, "another holds it")
    await rec.turns(1)
    assert (rec.counts.state, rec.counts.message) == (
        "failing",
        "the live feed iex is waiting_for_slot",
    )


@in_steered_time
async def test_a_fault_of_ours_costs_what_it_is_about() -> None:
    """A series that cannot be written is given up and not claimed; the others are recorded."""
    rec = Recording("AAPL", "IBM")
    await rec.begin()
    broken = replace(rec.trade("AAPL"), id="not a number")
    rec.brings(broken)
    rec.trade("IBM")
    await rec.turns(1)
    assert len(await rec.held(trades_of("IBM"))) == 1
    assert (rec.counts.dropped, rec.counts.waiting) == (2, 0)


@in_steered_time
async def test_it_stops_with_everything_written() -> None:
    """Stopping writes what waits, and claims what is final."""
    rec = Recording("AAPL")
    await rec.begin()
    await rec.turns(60)
    came = rec.trade()
    await rec.recorder.close(1.0)
    assert await rec.held(trades_of()) == [came]
    assert await rec.covered(trades_of()) == [Interval(after(SKEW), after(60 - SETTLE))]


@in_steered_time
async def test_it_runs_by_itself_and_wakes_for_a_full_batch() -> None:
    """As a job it writes once a second, and at once when a batch is full."""
    rec = Recording("AAPL", batch=3, interval=10.0)
    job = asyncio.create_task(rec.recorder.run())
    await rec.watch("AAPL")
    await asyncio.sleep(10.1)
    rec.confirm("AAPL")
    for number in range(3):
        rec.trade(id=number)
    await asyncio.sleep(0.1)
    assert rec.counts.trades == 3
    assert rec.counts.heartbeat_time == rec.clock.wall() - round(0.1 * NANOS)
    job.cancel()


# -------------------------------------------------------------------------------------------- the law


class Market:
    """What really happens, and what of it is on its way."""

    def __init__(self, rec: Recording) -> None:
        self._rec = rec
        self._number = 0
        self.happened: list[tuple[int, Trade]] = []
        """Every trade there was, sent or not, with the moment at which it is sent."""

        self.connected = False
        self._pending: list[tuple[int, Trade]] = []

    def trades(self, symbol: str, late: int) -> None:
        """Let a trade happen now that is sent *late* seconds later."""
        self._number += 1
        now = self._rec.clock.wall()
        origin = Provenance(DataSource.SANDBOX, Feed.IEX, now, now, "")
        value = Trade(symbol, Decimal(10), 1, "V", (), self._number, "C", None, origin)
        self.happened.append((now, value))
        self._pending.append((now + late * NANOS, value))

    def send(self, *, refuse: bool = False) -> None:
        """Send what is due; nobody is there to take it while the connection is gone."""
        now = self._rec.clock.wall()
        due = [one for one in self._pending if one[0] <= now]
        self._pending = [one for one in self._pending if one[0] > now]
        for _, value in sorted(due, key=lambda one: one[0]):
            if not self.connected:
                continue
            if refuse:
                self._rec.desk.refuses(value.symbol, CROSSED, RecordKind.TRADE)
                refuse = False
                continue
            arrived = replace(value.provenance, receive_time=now)
            self._rec.brings(replace(value, provenance=arrived))


class FailingStore(MemoryStore):
    """Fails when told to: before it has written, or after, so that nobody knows."""

    fails: str = ""

    async def record(
        self, key: SeriesKey, blocks: Sequence[Block], covered: Sequence[Interval]
    ) -> None:
        """Write, unless it fails."""
        if self.fails == "before":
            raise StoreDown(self.fails)
        await super().record(key, blocks, covered)
        if self.fails == "after":
            raise StoreDown(self.fails)


USUAL: Final = [
    *(("trade", symbol, late) for symbol in "AB" for late in (0, 0, 0, 1, SETTLE)),
    *(("wait", seconds) for seconds in (1, 1, 2, 20, 45)),
]
UNUSUAL: Final = [
    *(("mute",), ("lost",), ("confirm",), ("confirm",), ("missed",), ("refuse",)),
    *(("fail", how) for how in ("", "", "before", "after")),
]
DRASTIC: Final = [("reject", "A"), ("watch", "B"), ("watch", "AB"), ("watch", "AB")]
"""Nothing is recorded of a symbol for a minute, or until the next of its kind."""

STEPS: Final = st.lists(
    st.sampled_from([*USUAL * 5, *UNUSUAL * 2, *DRASTIC]), min_size=20, max_size=60
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, queue=st.sampled_from([3, 100]), batch=st.sampled_from([1, 2, 100]))
def test_coverage_never_claims_what_is_not_stored(
    steps: list[tuple[Any, ...]], queue: int, batch: int
) -> None:
    """Whatever records, gaps, refusals and failures come: of a time that is complete, every trade there was is held."""

    async def program() -> None:
        rec = Recording("A", "B", queue=queue, batch=batch)
        store = FailingStore(rec.clock)
        rec.store = rec.recorder._store = store
        market = Market(rec)
        await rec.begin()
        market.connected = True
        for step in [*steps, ("wait", 1), ("fail", ""), ("wait", 2)]:
            await take(rec, store, market, step)
            await audit(rec, market)

    run_in_steered_time(program())


async def take(  # noqa: C901, PLR0912 - one case for each thing that can happen
    rec: Recording, store: FailingStore, market: Market, step: tuple[Any, ...]
) -> None:
    """Let one thing happen."""
    match step:
        case ("trade", symbol, late):
            market.trades(symbol, late)
            market.send()
        case ("wait", seconds):
            for _ in range(seconds):
                await asyncio.sleep(1)
                market.send()
                await rec.recorder.turn()
        case ("mute",):
            # The connection stands, nothing arrives, and nobody knows yet.
            market.connected = False
        case ("lost",):
            market.connected = False
            rec.desk.breaks()
        case ("missed",):
            # What was due while nobody listened is gone, and the connection goes on.
            market.connected, before = False, market.connected
            market.send()
            market.connected = before
            if before:
                rec.desk.hub.missed(GapCause.OVERFLOW, rec.clock.wall(), "too much")
        case ("confirm",):
            if not market.connected:
                rec.desk.breaks()
            market.connected = True
            rec.confirm("A", "B")
        case ("refuse",):
            market.trades("A", 0)
            market.send(refuse=True)
        case ("reject", symbol):
            rec.desk.hub.rejected(Channel.TRADES, [symbol], CROSSED)
        case ("watch", symbols):
            await rec.watch(*symbols)
        case ("fail", how):
            store.fails = how


async def audit(rec: Recording, market: Market) -> None:
    """Hold what is claimed against what really happened."""
    for symbol in "AB":
        key = trades_of(symbol)
        held = Counter(one.id for one in await rec.held(key))
        for interval in await rec.covered(key):
            for moment, value in market.happened:
                if value.symbol == symbol and moment in interval and moment <= rec.clock.wall():
                    assert held[value.id] == 1, (symbol, moment - NOW, interval)
    assert rec.counts.waiting >= 0
