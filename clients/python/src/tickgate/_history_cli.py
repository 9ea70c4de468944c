"""The past on the command line: tables, files, charts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar

from cyclopts import App, Parameter, validators
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from . import _charts as charts
from . import _history_tables as tables
from ._chunks import maker_of
from ._enums import Adjustment, CorporateActionType, Feed, SeriesKind, Sort
from ._instants import timestamp
from ._past import MOST
from ._rules import refused
from ._terminal import (
    COMPLETE,
    DEFAULTS,
    INCOMPLETE,
    Limit,
    Options,
    complain,
    show,
    show_results,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars
    from rich.console import RenderableType

    from ._chunks import Chunk, Records
    from ._models import Bar
    from ._sync_history import SyncHistory

Item = TypeVar("Item")

ENDS = 20
"""Rows that are shown from either end of a long series."""

HistoryFeed = Annotated[Feed, Parameter(choices=["sip", "iex", "boats", "otc"])]
Adjustments = Annotated[
    tuple[Adjustment, ...], Parameter(choices=["split", "dividend", "spin-off"], negative="")
]
Kind = Annotated[SeriesKind, Parameter(choices=["bars", "trades", "quotes"])]
ActionTypes = Annotated[
    tuple[CorporateActionType, ...],
    Parameter(
        choices=[
            each.lower().replace("_", "-")
            for each in CorporateActionType
            if each is not CorporateActionType.UNRECOGNIZED
        ],
        negative="",
    ),
]
Most = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=MOST))]
Flag = Annotated[bool, Parameter(negative="")]
Days = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=3660))]


# ---------------------------------------------------------------------------------------- series


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Range:
    """What every series is asked for with."""

    start: str
    """First instant: a day in New York such as 2020-01-01, or a time such as 2024-03-01T15:30:00Z."""
    end: str | None = None
    """End, which does not belong to the range; the market's present time when left out."""
    feed: HistoryFeed | None = None
    """Stock feed; the gateway's own when left out."""
    sort: Sort | None = None
    """Order in time; oldest first when left out."""
    limit: Most = 0
    """Most values of each symbol; all when 0."""
    as_of: str | None = None
    """What was known at this time, from the gateway's store."""
    clamp: Flag = False
    """Where the account may not read up to the end, answer up to where it may."""

    def arguments(self) -> dict[str, Any]:
        """What is handed to the client."""
        return {
            "start": self.start,
            "end": self.end,
            "feed": self.feed,
            "sort": self.sort,
            "limit": self.limit,
            "as_of": self.as_of,
            "clamp_to_entitlement": self.clamp,
            "partial": True,  # what is missing is said beneath what is there
        }


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a series goes."""

    out: Path | None = None
    """Write all of it into this file: .parquet or .csv. Needs tickgate[polars]."""
    exact: Flag = False
    """Prices in the file as decimals, digit for digit, not as floating-point numbers."""

    def check(self, options: Options, *, drawn: bool = False) -> None:
        """Refuse what cannot be done, before minutes are spent; *drawn* where candles are asked for as well.

        Raises:
            InvalidRequest: it has no such file, or two things would be printed at once.
            ModuleNotFoundError: what writes files is not installed.
        """
        if self.out is not None:
            _check_file("out", self.out, tuple(WRITERS))
            maker_of("polars")
        elif self.exact:
            raise refused("exact", "it says how a file is written: give --out as well")
        if options.json and (drawn or self.out is not None):
            raise refused("json", "rows are printed, or written and drawn, not both")


NOWHERE = Output()


def bars(
    *symbols: str,
    timeframe: str = "1Day",
    range_: Range,
    adjust: Adjustments = (),
    plot: Flag = False,
    png: Path | None = None,
    output: Output = NOWHERE,
    options: Options = DEFAULTS,
) -> int:
    """Bars of the past, of stocks or of options.

    Args:
        symbols: Symbols in upper case: all of stocks, or all OCC symbols.
        timeframe: Length of an interval: 1Min to 59Min, 1Hour to 23Hour, 1Day, 1Week, 1Month and so on.
        range_: What every series is asked for with.
        adjust: What prices are adjusted for: split, dividend or spin-off; may be repeated.
        plot: Draw candles in the terminal. Needs tickgate[plot].
        png: Draw candles into this file: .png, .svg or .pdf. Needs tickgate[png].
        output: Where a series goes.
        options: What every command takes.
    """
    output.check(options, drawn=plot or png is not None)
    if png is not None:
        if len(symbols) != 1:
            raise refused("png", "a picture is of one symbol")
        _check_file("png", png, charts.PICTURES)
    with options.connect() as gateway, Meter(range_, options) as meter:
        history = gateway.bars(
            symbols,
            timeframe,
            adjustments=adjust,
            timeout=options.patience,
            progress=meter.tell,
            **range_.arguments(),
        )
        # What is missing to draw with is said behind what is wrong with the question, and not after minutes.
        if plot:
            charts.plotter()
        if png is not None:
            charts.painter()
        if plot or png is not None:
            return _chart(history, timeframe, meter, output, plot=plot, png=png)
        return _series(history, meter, tables.bars, output, options)


def trade_history(
    *symbols: str, range_: Range, output: Output = NOWHERE, options: Options = DEFAULTS
) -> int:
    """Trades of the past, of stocks or of options, those that set no price among them.

    Args:
        symbols: Symbols in upper case: all of stocks, or all OCC symbols.
        range_: What every series is asked for with.
        output: Where a series goes.
        options: What every command takes.
    """
    output.check(options)
    with options.connect() as gateway, Meter(range_, options) as meter:
        history = gateway.trade_history(
            symbols, timeout=options.patience, progress=meter.tell, **range_.arguments()
        )
        return _series(history, meter, tables.trades, output, options)


def quote_history(
    *symbols: str, range_: Range, output: Output = NOWHERE, options: Options = DEFAULTS
) -> int:
    """Quotes of the past, of stocks.

    Args:
        symbols: Stock symbols in upper case.
        range_: What every series is asked for with.
        output: Where a series goes.
        options: What every command takes.
    """
    output.check(options)
    with options.connect() as gateway, Meter(range_, options) as meter:
        history = gateway.quote_history(
            symbols, timeout=options.patience, progress=meter.tell, **range_.arguments()
        )
        return _series(history, meter, tables.quotes, output, options)


def _series(
    history: SyncHistory[Item],
    meter: Meter,
    table: Callable[[Sequence[Item], Sequence[Item], int], RenderableType],
    output: Output,
    options: Options,
) -> int:
    """Read a series into a file, as JSON, or as a table of its ends."""
    if output.out is not None:
        # Read in full before anything is written: half a file would look like a whole one.
        records = history.fetch()
        meter.stop()
        _write(records, output.out, exact=output.exact)
        return _closing(history)
    if options.json:
        for chunk in history.chunks():
            show(chunk, "", options)
        return _closing(history)
    ends: Ends[Item] = Ends()
    for chunk in history.chunks():
        ends.take(chunk)
    meter.stop()
    if history.count:
        show((), table(ends.head, ends.tail(), ends.left_out), options)
    return _closing(history)


def _closing(history: SyncHistory[Any]) -> int:
    """Say what the rows do not show."""
    found = list(tables.notes(history.missing, history.ends))
    if found:
        complain(Group(*found))
    return INCOMPLETE if history.missing else COMPLETE


@dataclass(slots=True)
class Ends(Generic[Item]):
    """The first and the last rows of a series of any length."""

    head: list[Item] = field(default_factory=list)
    _last: deque[Chunk[Item]] = field(default_factory=deque)
    _count: int = 0

    def take(self, chunk: Chunk[Item]) -> None:
        """Take in what has come."""
        room = max(0, ENDS - len(self.head))
        self.head.extend(islice(chunk, room))
        self._count += len(chunk)
        self._last.append(chunk)
        while sum(map(len, self._last)) - len(self._last[0]) >= ENDS:
            self._last.popleft()

    def tail(self) -> list[Item]:
        """The last rows that are not among the first."""
        wanted = min(ENDS, max(0, self._count - len(self.head)))
        rows = deque((row for chunk in self._last for row in chunk), maxlen=wanted)
        return list(rows)

    @property
    def left_out(self) -> int:
        """Rows between the two."""
        return max(0, self._count - 2 * ENDS)


# ---------------------------------------------------------------------------------------- files


def _write(records: Records[Any], path: Path, *, exact: bool) -> None:
    if len(records):
        WRITERS[path.suffix](records.polars(exact=exact), path)
        write(Console(), f"{len(records):,} rows written to {path}")


def _check_file(field: str, path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix not in suffixes:
        *others, last = suffixes
        known = f"{', '.join(others)} or {last}"
        raise refused(field, f"a file ends in {known}, not in {path.suffix or 'nothing'}")
    if not path.parent.is_dir():
        raise refused(field, f"there is no folder {path.parent}")


def _write_csv(frame: polars.DataFrame, path: Path) -> None:
    import polars  # noqa: PLC0415 - an extra, without which there were no frame

    # A cell holds no list, and nothing where the list is empty.
    lists = polars.selectors.by_dtype(polars.List(polars.String))
    cells = polars.when(lists.list.len() > 0).then(lists.list.join("|"))
    frame.with_columns(cells).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.9fZ")


WRITERS: dict[str, Callable[[polars.DataFrame, Path], None]] = {
    ".parquet": lambda frame, path: frame.write_parquet(path),
    ".csv": _write_csv,
}


# --------------------------------------------------------------------------------------- charts


def _chart(
    history: SyncHistory[Bar],
    timeframe: str,
    meter: Meter,
    output: Output,
    *,
    plot: bool,
    png: Path | None,
) -> int:
    """Draw a series, and write it into a file as well where one is named."""
    records = history.fetch()
    meter.stop()
    if output.out is not None:
        _write(records, output.out, exact=output.exact)
    console = Console()
    for symbol in records.symbols:
        rows = list(records.of(symbol))
        if plot:
            color = console.is_terminal and not console.no_color
            drawn = charts.in_terminal(rows, timeframe, console.width, color=color)
            write(console, drawn)
        if png is not None:
            charts.picture(rows, timeframe, png)
            write(console, f"{len(rows):,} candles drawn into {png}")
    return _closing(history)


# ------------------------------------------------------------------------------------- progress


class Meter:
    """Shows how far a reading is, on a terminal, apart from what is printed."""

    def __init__(self, range_: Range, options: Options) -> None:
        self._newest_first = range_.sort is Sort.NEWEST_FIRST
        start, end = timestamp("start_time", range_.start), timestamp("end_time", range_.end)
        self._start = start.ToNanoseconds() if start else 0
        self._total = end.ToNanoseconds() - self._start if end else None
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rows]:,} rows, at {task.fields[at]}"),
        )
        hidden = options.json or not console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=hidden)
        self._task = self._bar.add_task("", total=None, rows=0, at=range_.start)
        self._rows = 0

    def tell(self, chunk: Chunk[Any]) -> None:
        """Show that a chunk has come."""
        self._rows += len(chunk)
        done = chunk.last_time_ns - self._start
        if self._newest_first and self._total is not None:
            done = self._total - done
        self._bar.update(
            self._task,
            description=chunk.symbol,
            total=self._total,
            completed=done,
            rows=self._rows,
            at=f"{chunk.last_time:%Y-%m-%d %H:%M}",
        )

    def stop(self) -> None:
        """Make room for what is printed."""
        self._bar.stop()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


# ------------------------------------------------------------------------------ single questions


def price_at(
    symbol: str,
    time: str,
    /,
    *,
    tolerance: timedelta | None = None,
    feed: HistoryFeed | None = None,
    as_of: str | None = None,
    options: Options = DEFAULTS,
) -> int:
    """What a symbol traded at, at a moment of the past: the last trade at or before it.

    Args:
        symbol: Symbol in upper case, of a stock or an option.
        time: The moment, such as 2024-03-01T15:30:00Z.
        tolerance: How much earlier the trade may be, such as 30s, 15m or 3d; an hour when left out.
        feed: Stock feed; the gateway's own when left out.
        as_of: What was known at this time, from the gateway's store.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.price_at(symbol, time, tolerance=tolerance, feed=feed, as_of=as_of)
    return show([found], tables.price_at(found), options)


def coverage(
    *symbols: str,
    kind: Kind = SeriesKind.BARS,
    timeframe: str | None = None,
    feed: HistoryFeed | None = None,
    adjust: Adjustments = (),
    start: str | None = None,
    end: str | None = None,
    options: Options = DEFAULTS,
) -> int:
    """What the gateway's store holds of the past.

    Args:
        symbols: Symbols in upper case: all of stocks, or all OCC symbols.
        kind: bars, trades or quotes.
        timeframe: Timeframe of the bars; 1Day when left out.
        feed: Stock feed; the gateway's own when left out.
        adjust: Adjustments of the bars: split, dividend or spin-off; may be repeated.
        start: Only from then on, such as 2020-01-01.
        end: Only until then.
        options: What every command takes.
    """
    with options.connect() as gateway:
        results = gateway.coverage(
            symbols,
            kind,
            _timeframe(kind, timeframe),
            feed=feed,
            adjustments=adjust,
            start=start,
            end=end,
        )
    return show_results(results, tables.coverage, options)


def _timeframe(kind: SeriesKind, given: str | None) -> str:
    """The timeframe as it is sent: only bars have one."""
    if given is not None:
        return given
    return "1Day" if kind is SeriesKind.BARS else ""


def actions(
    *symbols: str,
    start: date | None = None,
    end: date | None = None,
    type_: Annotated[ActionTypes, Parameter(name="--type")] = (),
    limit: Limit = 100,
    options: Options = DEFAULTS,
) -> int:
    """Splits, dividends, mergers and other events of companies.

    Args:
        symbols: Stock symbols in upper case.
        start: First day; a year before the market's present day when left out.
        end: Day after the last; a year after it when left out.
        type_: Only events of this kind, such as forward-split; may be repeated.
        limit: How many at most.
        options: What every command takes.
    """
    with options.connect() as gateway:
        if start is None or end is None:
            today = gateway.clock().market_time.date()
            start, end = start or today - timedelta(366), end or today + timedelta(366)
        found = gateway.corporate_actions(
            symbols, start, end, types=type_, page_size=min(limit, 1000)
        )
        items = list(islice(found, limit))
    return show(items, tables.actions(items), options)


# ------------------------------------------------------------------------------------ operators

watchlist = App(
    name="watchlist",
    help="Symbols that the gateway keeps the history of. For operators, on the gateway's machine.",
    version_flags=[],
)
backfill = App(
    name="backfill",
    help="Fetch history into the gateway's store. For operators, on the gateway's machine.",
    version_flags=[],
)


@watchlist.command(name="list")
def list_watchlists(*, options: Options = DEFAULTS) -> int:
    """All watchlists.

    Args:
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.watchlists()
    return show(found, tables.watchlists(found), options)


@watchlist.command(name="show")
def show_watchlist(name: str, /, *, options: Options = DEFAULTS) -> int:
    """One watchlist.

    Args:
        name: Its name.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.watchlist(name)
    return show([found], tables.watchlists([found]), options)


@watchlist.command(name="put")
def put_watchlist(
    name: str,
    /,
    *symbols: str,
    record: Flag = False,
    refresh: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    days: Days = 0,
    options: Options = DEFAULTS,
) -> int:
    """Create a watchlist, or replace the one of this name.

    Args:
        name: Its name: a to z, 0 to 9, dot, dash and underscore.
        symbols: Stock symbols in upper case.
        record: Record trades and bars live.
        refresh: Timeframe of bars to be refreshed every day, such as 1Day; may be repeated.
        days: How far back the refresh reaches; a year when left out.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.put_watchlist(
            name, symbols, record=record, refresh_timeframes=refresh, refresh_days=days
        )
    return show([found], tables.watchlists([found]), options)


@watchlist.command(name="delete")
def delete_watchlist(name: str, /, *, options: Options = DEFAULTS) -> int:
    """Delete a watchlist; what was recorded stays.

    Args:
        name: Its name.
        options: What every command takes.
    """
    with options.connect() as gateway:
        gateway.delete_watchlist(name)
    return show([], Text(f"{name} is deleted"), options)


@backfill.command(name="start")
def start_backfill(
    *symbols: str,
    start: str,
    end: str | None = None,
    kind: Kind = SeriesKind.BARS,
    timeframe: str | None = None,
    feed: HistoryFeed | None = None,
    adjust: Adjustments = (),
    options: Options = DEFAULTS,
) -> int:
    """Start to fetch; `tickgate backfill show` says how far it is.

    Args:
        symbols: Symbols in upper case: all of stocks, or all OCC symbols.
        start: First instant, such as 2020-01-01.
        end: End, which does not belong to the range; the market's present time when left out.
        kind: bars, trades or quotes.
        timeframe: Timeframe of the bars; 1Day when left out.
        feed: Stock feed; the gateway's own when left out.
        adjust: Adjustments of the bars: split, dividend or spin-off; may be repeated.
        options: What every command takes.
    """
    with options.connect() as gateway:
        begun = gateway.start_backfill(
            symbols,
            start,
            end,
            kind=kind,
            timeframe=_timeframe(kind, timeframe),
            feed=feed,
            adjustments=adjust,
        )
    return show([begun], tables.backfills([begun]), options)


@backfill.command(name="show")
def show_backfill(id_: str, /, *, options: Options = DEFAULTS) -> int:
    """How far a backfill is.

    Args:
        id_: Its id.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.backfill(id_)
    return show([found], tables.backfills([found]), options)


@backfill.command(name="list")
def list_backfills(*, limit: Limit = 50, options: Options = DEFAULTS) -> int:
    """Backfills, newest first.

    Args:
        limit: How many at most.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = list(islice(gateway.backfills(page_size=min(limit, 500)), limit))
    return show(found, tables.backfills(found), options)


@backfill.command(name="cancel")
def cancel_backfill(id_: str, /, *, options: Options = DEFAULTS) -> int:
    """Stop a backfill; what it has fetched stays.

    Args:
        id_: Its id.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.cancel_backfill(id_)
    return show([found], tables.backfills([found]), options)
