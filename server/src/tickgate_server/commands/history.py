"""Commands that fetch the past, or record what will be past."""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ..app import programs
from ..app.logs import log_format
from ..app.orders import backfill_order, session_feed, session_length
from ..market.backfill import Backfill
from ..market.provenance import Feed
from ..market.series import SeriesKind
from ..observe.logs import start_logs
from ..settings import Settings, SettingsError
from .common import ConfigFile, finished, settings_of, stop_on_signals

_PATIENCE: Final = 30.0
"""Seconds that a live feed may take to begin, where a session is to last for some time."""

FeedName = Literal["sip", "iex", "delayed_sip", "boats", "overnight", "otc"]
LiveFeedName = Literal["sip", "iex", "delayed_sip"]


def backfill(
    *symbols: Annotated[str, Parameter(name="SYMBOL")],
    config: ConfigFile = None,
    start: str,
    end: str | None = None,
    kind: SeriesKind = SeriesKind.BARS,
    timeframe: str | None = None,
    feed: FeedName | None = None,
    adjust: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
) -> int:
    """Fetch history into the store. What is there already costs nothing, so the same command goes on where it was.

    Parameters
    ----------
    symbols
        Stocks, or contracts by their OCC symbols.
    start
        First moment: a day in New York such as 2024-03-13, or RFC 3339.
    end
        Moment before which it ends; now by default.
    kind
        What to fetch.
    timeframe
        Of bars, such as 1Min, 1Hour or 1Day.
    feed
        Feed of stocks; the configured one by default.
    adjust
        What bars are corrected for: split, dividend, spin-off; or all.
    """
    settings = settings_of(config)
    if not settings.postgres_url.get_secret_value():
        msg = "postgres_url: not set, so there is nowhere to keep history"
        raise SettingsError(msg)
    order = backfill_order(
        settings,
        symbols,
        kind=kind,
        timeframe=timeframe,
        start=start,
        end=end,
        feed=None if feed is None else Feed(feed),
        adjust=adjust or (),
    )
    start_logs(sys.stderr, log_format(settings), "error")
    return finished(_backfill(settings, order))


def record(
    *symbols: Annotated[str, Parameter(name="SYMBOL")],
    config: ConfigFile = None,
    out: Path,
    feed: LiveFeedName | None = None,
    for_: Annotated[datetime.timedelta | None, Parameter(name="--for")] = None,
) -> int:
    """Record a session, as it comes, into a folder that `tickgate-sandbox serve --replay` lives again.

    Parameters
    ----------
    symbols
        Stocks.
    out
        Folder; what it holds already stays.
    feed
        Live feed; the configured one by default.
    for_
        How long from when the feed begins, such as 10m or 6h30m; until SIGTERM or SIGINT by default.
    """
    settings = settings_of(config)
    chosen = session_feed(settings, symbols, None if feed is None else Feed(feed))
    seconds = session_length(for_)
    start_logs(sys.stderr, log_format(settings), "warning")
    return finished(_record(settings, chosen, symbols, out, seconds))


async def _backfill(settings: Settings, order: programs.BackfillOrder) -> int:
    stop = stop_on_signals()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fetched]:,} fetched"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with progress:
        bar = progress.add_task(_title(order), total=len(order.symbols), fetched=0)

        async def report(state: Backfill) -> None:
            done = state.progress * len(order.symbols)
            progress.update(bar, completed=round(done, 3), fetched=state.fetched)

        work = asyncio.create_task(programs.backfill(settings, order, report))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait((work,))
        stopped.cancel()
    if work.cancelled():
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 1
    return _tell(work.result())


def _title(order: programs.BackfillOrder) -> str:
    what = order.key.kind.value if order.key.timeframe is None else f"{order.key.timeframe} bars"
    return f"{what} of {len(order.symbols)} {'symbol' if len(order.symbols) == 1 else 'symbols'}"


def _tell(done: Backfill) -> int:
    failed = len(done.failures)
    good = len(done.symbols) - failed
    print(f"{good} of {len(done.symbols)} symbols are held, {done.fetched} values were fetched")
    for failure in done.failures:
        why = failure.why
        print(f"{failure.symbol}: {why.reason.name}: {why.message}", file=sys.stderr)
    return 1 if failed else 0


async def _record(
    settings: Settings, feed: Feed, symbols: Sequence[str], out: Path, seconds: float | None
) -> int:
    stop = stop_on_signals()
    async with programs.recording(settings, feed, symbols, out) as session:
        # The time counts from when there is something to record.
        await _first_of(
            stop, session.over, session.begun, within=seconds and max(seconds, _PATIENCE)
        )
        if session.begun.is_set():
            await _first_of(stop, session.over, within=seconds)
        elif not (stop.is_set() or session.over.is_set()):
            session.hopeless = f"the live feed {feed.value} could not be had"
    counts = session.counts
    print(
        f"recorded {counts.quotes} quotes, {counts.trades} trades and {counts.bars} bars in {out}"
        f" ({counts.gaps} gaps, {counts.left_out} records left out, {counts.held} held already)"
    )
    for symbol, why in counts.rejected.items():
        # Some reasons name the symbol themselves, some are about all of them.
        print(f"{symbol}: {why.removeprefix(f'{symbol}: ')}", file=sys.stderr)
    for note in session.notes:
        print(note, file=sys.stderr)
    if session.hopeless:
        print(f"tickgate-server: {session.hopeless}", file=sys.stderr)
    return 1 if session.hopeless or counts.rejected else 0


async def _first_of(*events: asyncio.Event, within: float | None) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
