"""What runs apart from serving: ingestion, a backfill, the recording of a session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from pydantic import SecretStr
from stamina.instrumentation import set_on_retry_hooks

from ..errors import OrderError, StoreDown, UpstreamFailure
from ..ingress.gate import Gate
from ..jobs.asset_list import AssetKeeper
from ..jobs.backfills import Backfilling, new_backfill
from ..jobs.loop_lag import LoopLag
from ..jobs.market_clock import MarketClock
from ..jobs.session_recorder import CHANNELS, SessionRecorder, Wording
from ..market.backfill import Backfill
from ..market.interval import Interval
from ..market.provenance import Feed
from ..market.series import SeriesKey
from ..market.session import MarketSession
from ..observe.counters import Counters, FeedCounts
from ..settings import Settings
from ..upstream.alpaca.rest import unknown_symbol
from ..upstream.alpaca.stream.feed import AlpacaFeed
from ..upstream.alpaca.stream.written import bar_text, quote_line, trade_line
from . import policies
from .history import History
from .jobs import Ingestion, fetcher
from .live import Live
from .questions import Questions
from .side_port import open_side_port
from .stores import Stores, open_stores
from .tasks import running_jobs
from .telemetry import Telemetry
from .wire import Wire, open_wire

_FIRST_LOOK: Final = 5.0
"""Seconds that the upstream's clock is waited for at the start."""

_QUIET: Final = {
    MarketSession.OPEN: ", although the market is open",
    MarketSession.CLOSED: ": the market is closed",
    MarketSession.PRE_MARKET: ": the market has not opened",
    MarketSession.AFTER_HOURS: ": the market has closed",
}
"""Why nothing may have come, by the session at the end."""


class Base(Struct, frozen=True):
    """What every program stands on."""

    counters: Counters
    clock: MarketClock
    stores: Stores
    wire: Wire
    questions: Questions
    history: History


def _clock(settings: Settings) -> MarketClock:
    return MarketClock(follows_upstream=settings.environment == "sandbox")


@asynccontextmanager
async def _base(settings: Settings, counters: Counters, clock: MarketClock) -> AsyncIterator[Base]:
    # A repetition is counted; its default hook would log each, thousands in an outage.
    set_on_retry_hooks(())
    async with (
        open_stores(settings, counters, clock) as stores,
        open_wire(settings, counters, clock, stores) as wire,
    ):
        questions = Questions(settings, counters, clock, stores, wire)
        history = History(settings, counters, clock, stores, wire, questions)
        try:
            yield Base(counters, clock, stores, wire, questions, history)
        finally:
            await history.reader.aclose()


@asynccontextmanager
async def ingestion(settings: Settings) -> AsyncIterator[int | None]:
    """Record, refresh and backfill for as long as the block does; give the side port, over which alone it is served.

    Raises:
        OSError: the address of the side port cannot be used.
        StoreUnusable: Redis or PostgreSQL is there and must not be used.
    """
    counters, clock = Counters(), _clock(settings)
    telemetry = Telemetry(settings, counters, clock, serves=False)
    async with AsyncExitStack() as parts:
        parts.callback(telemetry.metrics.close)
        port = await parts.enter_async_context(
            open_side_port(settings, counters, telemetry.metrics, time.time_ns())
        )
        base = await parts.enter_async_context(_base(settings, counters, clock))
        questions = base.questions
        live = Live(settings, counters, clock, questions, lambda job: following(job()))
        ingesting = Ingestion(settings, counters, clock, base.stores, questions, base.history, live)
        telemetry.read(base.stores, base.wire, questions, live)
        # Last of all, before the stores close.
        parts.push_async_callback(ingesting.close)
        following = await parts.enter_async_context(running_jobs())
        start = await parts.enter_async_context(running_jobs())
        for job in (*base.stores.jobs, *questions.jobs):
            start(job())
        for job in live.jobs():
            following(job())
        reference = settings.reference
        assets = AssetKeeper(
            questions.reference,
            clock,
            every=reference.keep,
            retry_after=reference.retry_after,
            patience=reference.patience,
        )
        keeper = questions.keeper
        await asyncio.gather(
            keeper.try_refresh(reference.start_patience), assets.try_load(reference.start_patience)
        )
        for each in (keeper.run, assets.run, LoopLag(counters).run, *ingesting.jobs()):
            start(each())
        counters.unready = ""
        try:
            yield port
        finally:
            counters.unready = "the program is stopping"


class BackfillOrder(Struct, frozen=True):
    """What is to be fetched."""

    key: SeriesKey
    symbols: tuple[str, ...]
    start: int
    """Nanoseconds; belongs to the range."""

    end: int | None
    """Nanoseconds; does not belong to the range. None takes the market's present time."""


async def backfill(
    settings: Settings, order: BackfillOrder, report: Callable[[Backfill], Awaitable[None]]
) -> Backfill:
    """Fetch *order* into the store, and return how that went.

    Raises:
        StoreDown: PostgreSQL cannot be had.
        StoreUnusable: it is there and must not be used.
        OrderError: the range is empty.
    """
    async with _base(settings, Counters(), _clock(settings)) as base:
        store, clock = base.stores.history, base.clock
        if store is None or not store.up:
            msg = "PostgreSQL cannot be had"
            raise StoreDown(msg)
        await base.questions.keeper.try_refresh(_FIRST_LOOK)
        interval = Interval(order.start, clock.market() if order.end is None else order.end)
        if interval.empty:
            msg = "--start: lies in the future"
            raise OrderError(msg)
        work = new_backfill(order.key, order.symbols, interval, clock)
        filling = Backfilling(fetcher(settings, clock, base.stores, base.history), clock)
        async with running_jobs() as start:
            for job in base.stores.jobs:
                start(job())
            return await filling.carry_out(work, report)


@asynccontextmanager
async def recording(
    settings: Settings, feed: Feed, symbols: Sequence[str], folder: Path
) -> AsyncIterator[SessionRecorder]:
    """Record what *feed* brings of *symbols* into *folder* for as long as the block does.

    Raises:
        OSError: the folder cannot be written at the end.
    """
    clock = MarketClock(follows_upstream=False)
    recorder = SessionRecorder(folder, Wording(quote_line, trade_line, bar_text))
    recorder.expect(symbols)
    live = AlpacaFeed(
        feed,
        settings.stream_url,
        settings.keys,
        Gate(policies.tape(settings), clock, {}),
        recorder,
        clock,
        policies.live_feed(settings),
        FeedCounts(),
    )
    for channel in CHANNELS:
        live.follow(channel, symbols)
    # A recording needs no store, and nothing that is wrong with one may keep it from being made.
    alone = {"redis_url": SecretStr(""), "postgres_url": SecretStr("")}
    async with _base(settings.model_copy(update=alone), Counters(), _clock(settings)) as base:
        looked = asyncio.Event()
        try:
            async with running_jobs() as start:
                start(live.run())
                start(recorder.run())
                # Beside it: what happens meanwhile does not come again.
                start(_look_up(base, live, recorder, symbols, looked))
                yield recorder
                await looked.wait()
        finally:
            recorder.finish()
        if not recorder.counts.came and not recorder.hopeless:
            recorder.notes.append(_nothing_came(feed, base.clock.session()))


async def _look_up(
    base: Base,
    live: AlpacaFeed,
    recorder: SessionRecorder,
    symbols: Sequence[str],
    looked: asyncio.Event,
) -> None:
    """Learn the market's session, and give up symbols that do not exist: a feed takes them all and says nothing."""
    questions, deadline = base.questions, base.clock.monotonic() + _FIRST_LOOK
    try:
        await questions.keeper.try_refresh(_FIRST_LOOK)
        listed = await questions.reference.assets(deadline)
    except UpstreamFailure as failure:
        recorder.notes.append(
            f"nobody can tell whether the symbols exist: the list of assets: {failure.message}"
        )
    else:
        unknown = [symbol for symbol in symbols if symbol not in listed]
        for channel in CHANNELS:
            live.unfollow(channel, unknown)
            for symbol in unknown:
                recorder.rejected(channel, [symbol], unknown_symbol(symbol))
    finally:
        looked.set()


def _nothing_came(feed: Feed, session: MarketSession | None) -> str:
    why = _QUIET.get(session, "") if session is not None else ""
    late = ", and what it brings is 15 minutes late" if feed is Feed.DELAYED_SIP else ""
    return f"nothing came on {feed.value}{why}{late}"
