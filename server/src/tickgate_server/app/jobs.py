"""What keeps the history of watchlists by itself: recording, refreshing, backfilling."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from ..jobs.backfills import Backfilling, BackfillJobs
from ..jobs.fetcher import Fetcher
from ..jobs.first_watchlists import keep_putting
from ..jobs.market_clock import MarketClock
from ..jobs.recorder import Recorder, RecorderPolicy
from ..jobs.refresher import Refresher, schedule
from ..jobs.retention import Retention
from ..market.provenance import LIVE_FEEDS, STOCK_FEEDS
from ..market.series import SeriesKind
from ..market.timeframe import parse_timeframe
from ..market.unavailable import Reason, Unavailable
from ..market.watchlist import Watchlist
from ..observe.counters import Counters
from ..ports import Clock
from ..settings import Settings
from . import policies
from .history import History
from .live import Live
from .questions import Questions
from .stores import Job, Stores

_PATIENCE: Final = 5.0
"""Seconds in which what was recorded must be written when the gateway stops."""


class Ingestion:
    """Everything that fills the store by itself, and the parts of it that callers steer."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        clock: MarketClock,
        stores: Stores,
        questions: Questions,
        history: History,
        live: Live | None,
    ) -> None:
        """Build what the settings ask for.

        Args:
            settings: the gateway's.
            counters: where recording is counted.
            clock: measures, and tells when somebody sets the time of a replay.
            stores: what is filled.
            questions: warm what is asked for first.
            history: fetches.
            live: what is recorded; None where this process holds no live feed.
        """
        self.watchlists = stores.watchlists
        self.backfills: BackfillJobs | None = None
        """The `Backfills` port; None without a store."""

        self._settings = settings
        self._questions = questions
        self._clock = clock
        self._recorder: Recorder | None = None
        feed = settings.alpaca.stock_feed
        self._refresher = Refresher(
            stores.watchlists,
            fetcher(settings, clock, stores, history),
            questions.quotes,
            clock,
            feed=feed,
            first=policies.instant(settings.first_day),
        )
        self._jobs: list[Job] = [self._put_watchlists]
        self._first = first_watchlists(settings, clock)
        if settings.ingestion.enabled:
            self._jobs += [self._keep_fresh]
        if stores.history is None or stores.backfill_log is None:
            return
        backfilling = Backfilling(fetcher(settings, clock, stores, history), clock)
        self.backfills = BackfillJobs(stores.backfill_log, backfilling, clock)
        if not settings.ingestion.enabled:
            return
        days = settings.history
        keep = {
            SeriesKind.BARS.value: days.keep_bars_days,
            SeriesKind.TRADES.value: days.keep_trades_days,
            SeriesKind.QUOTES.value: days.keep_quotes_days,
        }
        self._jobs += [self.backfills.run, Retention(stores.history, keep, clock).run]
        if live is not None and feed in LIVE_FEEDS & STOCK_FEEDS:
            self._recorder = Recorder(
                stores.watchlists,
                stores.history,
                lambda: live.hub(feed),
                lambda symbols: self._unlisted(live, symbols),
                _recorder_policy(settings),
                counters.ingestion,
                clock,
            )
            clock.when_moved(self._recorder.clock_moved)
            self._jobs += [self._recorder.run]

    def jobs(self) -> Sequence[Job]:
        """Return what must run while the gateway does, once the market's time is known."""
        return self._jobs

    async def close(self) -> None:
        """Write what was recorded. To be called before the stores are closed, and after `jobs` have ended."""
        if self._recorder is not None:
            await self._recorder.close(_PATIENCE)

    async def _unlisted(self, live: Live, symbols: Collection[str]) -> Mapping[str, Unavailable]:
        """Return which of *symbols* are not known to exist: the silence of such a one says nothing of the market."""
        if await self._questions.assets(self._clock.monotonic() + _PATIENCE) is None:
            return {symbol: _unsure(symbol) for symbol in symbols}
        return await live.unknown(self._settings.alpaca.stock_feed, symbols)

    async def _put_watchlists(self) -> None:
        await keep_putting(self.watchlists, self._first)

    async def _keep_fresh(self) -> None:
        await keep_putting(self.watchlists, self._first)
        await self._refresher.warm()
        hours = self._settings.schedule
        if hours.refresh != "never":
            await self._refresher.run(schedule(hours.refresh, hours.time_zone))


def _unsure(symbol: str) -> Unavailable:
    message = f"{symbol}: not recorded while the upstream's list of assets cannot be had"
    return Unavailable(reason=Reason.UPSTREAM_ERROR, message=message, passing=True)


def fetcher(settings: Settings, clock: Clock, stores: Stores, history: History) -> Fetcher:
    """Return what fetches history for the store's sake."""
    return Fetcher(
        history.reader,
        clock,
        settle=policies.nanoseconds(settings.history.settle),
        keeps=stores.history is not None,
    )


def first_watchlists(settings: Settings, clock: Clock) -> list[Watchlist]:
    """Return the watchlists that exist from the start."""
    return [
        Watchlist(
            name,
            given.symbols,
            given.record,
            tuple(filter(None, map(parse_timeframe, given.refresh_timeframes))),
            given.refresh_days,
            clock.wall(),
        )
        for name, given in settings.watchlists.items()
    ]


def _recorder_policy(settings: Settings) -> RecorderPolicy:
    ingestion = settings.ingestion
    return RecorderPolicy(
        feed=settings.alpaca.stock_feed,
        settle=policies.nanoseconds(settings.history.settle),
        interval=ingestion.interval,
        batch=ingestion.batch,
        queue=ingestion.queue,
        look_every=ingestion.look_every,
    )
