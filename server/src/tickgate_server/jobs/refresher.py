"""Keeps the history of watchlists up to date, every day at its hour."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from msgspec import Struct, field

from ..errors import StoreDown
from ..history.waiting import closing
from ..market.answer import Question
from ..market.interval import Interval
from ..market.provenance import Feed
from ..market.series import SeriesKey, SeriesKind
from ..market.time import NANOS
from ..market.timeframe import Timeframe, Unit
from ..market.unavailable import Unavailable
from ..market.watchlist import Watchlist
from ..ports import Clock, QuoteSource, Watchlists
from .backfills import GROUP
from .fetcher import Fetcher

_log = structlog.get_logger(__name__)

_HOUR: Final = 3600 * NANOS
_DAY: Final = 24 * _HOUR

_YOUNG: Final = 23 * _HOUR
"""Nanoseconds since a refresh within which there is nothing to refresh: a day, of which the shortest has 23 hours."""

_WARM_DAYS: Final = 366
_DAILY: Final = Timeframe(1, Unit.DAY)
"""What is fetched of every symbol after the start."""

_QUOTES: Final = 200
"""Quotes that are asked for at once."""

_PATIENCE: Final = 10.0
"""Seconds that they may take."""

_LATE: Final = 3600
"""Seconds by which a refresh may be late and is still begun."""

_NAMED: Final = 20
"""Failures of many that a line of the log names."""


class Summary(Struct):
    """What a refresh did."""

    refreshed: int = 0
    """Series, one for each symbol and timeframe, that are up to date now."""

    skipped: int = 0
    """Series that have been since less than a day."""

    fetched: int = 0
    """Values that the upstream was asked for."""

    failed: dict[str, Unavailable] = field(default_factory=dict)
    """Why others are not, by symbol and timeframe."""


class Stamp(Struct, frozen=True):
    """When a series was last brought up to date."""

    time: int
    """Nanoseconds of the wall clock."""

    days: int
    """How far back that reached."""


def schedule(cron: str, time_zone: str) -> CronTrigger:
    """Return when *cron* is due, minute, hour, day of the month, month and day of the week, in *time_zone*."""
    return CronTrigger.from_crontab(cron, timezone=ZoneInfo(time_zone))


class Refresher:
    """Fetches the newest bars of the symbols on watchlists, and after the start what is asked for first."""

    def __init__(
        self,
        watchlists: Watchlists,
        fetcher: Fetcher,
        quotes: QuoteSource,
        clock: Clock,
        *,
        feed: Feed,
        first: int,
    ) -> None:
        """Refresh nothing yet.

        Args:
            watchlists: say what.
            fetcher: fetches it.
            quotes: warmed after the start.
            clock: tells the time.
            feed: of the bars and quotes.
            first: before which the upstream has nothing, nanoseconds.
        """
        self._watchlists = watchlists
        self._fetcher = fetcher
        self._quotes = quotes
        self._clock = clock
        self._feed = feed
        self._first = first
        self._stamps: dict[tuple[str, Timeframe], Stamp] = {}
        self._known: set[str] = set()
        """Watchlists that this process has looked at."""

        self._busy = asyncio.Lock()

    async def run(self, trigger: Any) -> None:
        """Refresh whenever *trigger*, one of APScheduler's, is due, until cancelled."""
        scheduler = AsyncIOScheduler()
        scheduler.add_job(self._try_refresh, trigger, coalesce=True, misfire_grace_time=_LATE)
        scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            scheduler.shutdown(wait=False)

    async def warm(self) -> None:
        """Fetch the quotes of all symbols on watchlists, and a year of their daily bars; failures are only logged."""
        try:
            lists = await self._watchlists.everything()
            symbols = sorted({symbol for one in lists for symbol in one.symbols})
            if not symbols:
                return
            await self._warm_quotes(symbols)
            async with self._busy:
                summary = Summary()
                await self._bring_up_to_date(symbols, _DAILY, _WARM_DAYS, summary)
            _tell("warmed", summary)
        except StoreDown as down:
            _log.warning("not_warmed", message=str(down))
        except Exception:  # noqa: BLE001 - a fault of ours must not take down what serves without it
            _log.exception("warming_failed")

    async def refresh(self) -> Summary:
        """Bring all watchlists up to date, and return what that took.

        Raises:
            StoreDown: the watchlists cannot be read.
        """
        async with self._busy:
            summary = Summary()
            for watchlist in await self._watchlists.everything():
                await self._refresh_one(watchlist, summary)
            _tell("refreshed", summary)
            return summary

    async def _try_refresh(self) -> None:
        try:
            await self.refresh()
        except StoreDown as down:
            _log.warning("not_refreshed", message=str(down))
        except Exception:  # noqa: BLE001 - the next one is due tomorrow all the same
            _log.exception("refresh_failed")

    async def _refresh_one(self, watchlist: Watchlist, summary: Summary) -> None:
        self._remember(watchlist)
        for timeframe in watchlist.refresh_timeframes:
            due = [
                symbol
                for symbol in watchlist.symbols
                if not self._is_young(symbol, timeframe, watchlist.refresh_days)
            ]
            summary.skipped += len(watchlist.symbols) - len(due)
            await self._bring_up_to_date(due, timeframe, watchlist.refresh_days, summary)
        await self._watchlists.refreshed(watchlist.name, self._clock.wall())

    def _remember(self, watchlist: Watchlist) -> None:
        """Take notice of what was up to date before this process began."""
        if watchlist.name in self._known:
            # Of what it has done itself, it knows what failed.
            return
        self._known.add(watchlist.name)
        ended = watchlist.refresh_time
        if ended is None or ended < watchlist.update_time:
            return
        for symbol in watchlist.symbols:
            for timeframe in watchlist.refresh_timeframes:
                self._stamps.setdefault((symbol, timeframe), Stamp(ended, watchlist.refresh_days))

    def _is_young(self, symbol: str, timeframe: Timeframe, days: int) -> bool:
        stamp = self._stamps.get((symbol, timeframe))
        if stamp is None or stamp.days < days:
            return False
        return self._clock.wall() - stamp.time < _YOUNG

    async def _bring_up_to_date(
        self, symbols: Sequence[str], timeframe: Timeframe, days: int, summary: Summary
    ) -> None:
        begun, now = self._clock.wall(), self._clock.market()
        interval = Interval(max(now - days * _DAY, self._first), now)
        if interval.empty:
            return
        for group in _groups(symbols, GROUP):
            key = SeriesKey(SeriesKind.BARS, group[0], self._feed, timeframe)
            async with closing(self._fetcher.fetch(key, group, interval)) as advances:
                async for advance in advances:
                    summary.fetched += advance.fetched
                    if not advance.finished:
                        continue
                    place = advance.symbol, timeframe
                    if advance.why is not None:
                        summary.failed[f"{advance.symbol} {timeframe}"] = advance.why
                        self._stamps.pop(place, None)
                        continue
                    summary.refreshed += 1
                    self._stamps[place] = Stamp(begun, days)

    async def _warm_quotes(self, symbols: Sequence[str]) -> None:
        for group in _groups(symbols, _QUOTES):
            deadline = self._clock.monotonic() + _PATIENCE
            await self._quotes.latest(Question(tuple(group), self._feed, deadline))


def _groups(symbols: Sequence[str], most: int) -> Iterable[Sequence[str]]:
    return (symbols[start : start + most] for start in range(0, len(symbols), most))


def _tell(event: str, summary: Summary) -> None:
    failures: Collection[str] = summary.failed
    reasons: dict[str, int] = defaultdict(int)
    for why in summary.failed.values():
        reasons[why.reason.name] += 1
    log = _log.warning if failures else _log.info
    log(
        event,
        series=summary.refreshed,
        skipped=summary.skipped,
        fetched=summary.fetched,
        failed=len(failures),
        reasons=dict(reasons),
        examples=sorted(failures)[:_NAMED],
    )
