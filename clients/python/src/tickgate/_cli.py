"""The command line: one question, one table or one JSON object per line.

Exit codes: 0 every value is there, 1 some are unavailable, 2 wrong usage, 3 the gateway cannot be
reached, failed or does not permit it.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter, Token, validators
from rich.console import Console
from rich.text import Text

from . import _history_cli as past
from . import _option_tables as option_tables
from . import _tables as tables
from . import _watch as watching
from ._enums import (
    AssetStatus,
    CodeKind,
    Feed,
    OptionContractStatus,
    OptionType,
    OptionView,
    Reason,
    ValueKind,
    View,
)
from ._errors import DataUnavailableError, InvalidRequest, TickgateError
from ._rules import LONGEST
from ._terminal import (
    COMPLETE,
    DEFAULTS,
    INCOMPLETE,
    NO_GATEWAY,
    WRONG_USAGE,
    Limit,
    Options,
    as_line,
    complain,
    show,
    show_results,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ._models import Quote
    from ._sync_subscription import SyncSubscription

__all__ = ["COMPLETE", "INCOMPLETE", "NO_GATEWAY", "WRONG_USAGE", "app", "main"]

REASONS = [each.lower().replace("_", "-") for each in Reason if each is not Reason.UNRECOGNIZED]

StockFeed = Annotated[
    Feed,
    # What can be asked for: UNRECOGNIZED is no feed at all.
    Parameter(choices=["sip", "iex", "delayed-sip", "boats", "overnight", "otc"]),
]
OptionFeed = Annotated[Feed, Parameter(choices=["opra", "indicative"])]
AnyFeed = Annotated[
    Feed,
    Parameter(
        choices=["sip", "iex", "delayed-sip", "boats", "overnight", "otc", "opra", "indicative"]
    ),
]


def _instant(since: timedelta | datetime | None) -> datetime | None:
    if isinstance(since, timedelta):
        return datetime.now(UTC) - since
    # A time without a zone is the terminal's.
    return since.astimezone() if since and since.tzinfo is None else since


def _check_since(_: object, since: timedelta | datetime | None) -> None:
    try:
        _instant(since)
    except (OverflowError, ValueError) as error:
        msg = "No calendar goes back that far."
        raise ValueError(msg) from error


def _price(_: object, tokens: Sequence[Token]) -> Decimal:
    try:
        price = Decimal(tokens[0].value)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite():
        msg = f"{tokens[0].value} is no number."
        raise ValueError(msg)
    return price


Price = Annotated[Decimal, Parameter(converter=_price)]
Since = Annotated[timedelta | datetime | None, Parameter(validator=_check_since)]
KnownReasons = Annotated[tuple[Reason, ...], Parameter(choices=REASONS, negative="")]
Kinds = Annotated[tuple[ValueKind, ...], Parameter(negative="")]
KnownStatus = Annotated[AssetStatus, Parameter(choices=["active", "inactive"])]
ContractStatus = Annotated[OptionContractStatus, Parameter(choices=["active", "inactive"])]
KnownType = Annotated[OptionType, Parameter(name="--type", choices=["call", "put"])]

app = App(
    name="tickgate",
    help="Ask a tickgate gateway for market data.",
    version_flags=[],  # the gateway's version is in `status`
    result_action="return_value",
)


# ------------------------------------------------------------------------------------- commands


@app.command
def quote(
    *symbols: str,
    feed: StockFeed | None = None,
    view: View | None = None,
    options: Options = DEFAULTS,
) -> int:
    """Latest quotes of 1 to 200 stocks.

    Args:
        symbols: Stock symbols in upper case.
        feed: Stock feed; the gateway's own when left out.
        view: How much to show.
        options: What every command takes.
    """
    with options.connect() as gateway:
        results = gateway.quotes(symbols, feed=feed, view=view)
    return show_results(results, tables.quotes, options)


@app.command
def trade(*symbols: str, feed: StockFeed | None = None, options: Options = DEFAULTS) -> int:
    """Latest trades of 1 to 200 stocks.

    Args:
        symbols: Stock symbols in upper case.
        feed: Stock feed; the gateway's own when left out.
        options: What every command takes.
    """
    with options.connect() as gateway:
        results = gateway.trades(symbols, feed=feed)
    return show_results(results, tables.trades, options)


@app.command
def watch(
    *symbols: str,
    feed: AnyFeed | None = None,
    interval: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0.25,
    count: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    seconds: Annotated[
        float | None, Parameter(name="--for", validator=validators.Number(gt=0, lte=LONGEST))
    ] = None,
    options: Options = DEFAULTS,
) -> int:
    """Follow quotes as they change, until Ctrl-C.

    Args:
        symbols: Stock symbols in upper case; or OCC symbols with an option feed.
        feed: Feed; the gateway's own for stocks when left out.
        interval: Seconds between updates at least.
        count: End after so many updates.
        seconds: End after so many seconds.
        options: What every command takes.
    """
    with (
        options.connect() as gateway,
        gateway.follow(*symbols, feed=feed, min_update_interval=interval) as quotes,
        watching.closing_after(quotes, seconds),
        watching.closing_on_interrupt(quotes),
        _view(quotes, symbols, options) as show,
    ):
        complete = watching.watch(quotes, symbols, show, count)
    return COMPLETE if complete else INCOMPLETE


@app.command
def snapshot(*symbols: str, feed: StockFeed | None = None, options: Options = DEFAULTS) -> int:
    """Latest trade, quote and bars of 1 to 200 stocks.

    Args:
        symbols: Stock symbols in upper case.
        feed: Stock feed; the gateway's own when left out.
        options: What every command takes.
    """
    with options.connect() as gateway:
        results = gateway.snapshots(symbols, feed=feed)
    return show_results(results, tables.snapshots, options)


@app.command
def option(
    *symbols: str,
    feed: OptionFeed | None = None,
    view: OptionView | None = None,
    options: Options = DEFAULTS,
) -> int:
    """Quote, latest trade and greeks of 1 to 100 option contracts.

    Args:
        symbols: OCC symbols, such as SPY220715C00380000.
        feed: Option feed; the gateway's own when left out.
        view: How much to show.
        options: What every command takes.
    """
    with options.connect() as gateway:
        results = gateway.option_quotes(symbols, feed=feed, view=view)
    return show_results(results, option_tables.option_quotes, options)


@app.command
def chain(
    underlying: str,
    /,
    *,
    expiry: date | None = None,
    type_: KnownType | None = None,
    strikes: tuple[Price, Price] | None = None,
    around: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=1000))] = None,
    percent: Price | None = None,
    root: str = "",
    delta: tuple[float, float] | None = None,
    feed: OptionFeed | None = None,
    full: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULTS,
) -> int:
    """Option chain of a stock: calls on the left, puts on the right.

    Args:
        underlying: Stock symbol in upper case.
        expiry: Only this expiration date, such as 2022-07-15.
        type_: Only calls or puts.
        strikes: Only strikes from the first to the second.
        around: Only so many strikes below and above the price of the stock.
        percent: Only strikes within so many percent of the price of the stock.
        root: Only this OCC root, such as AAPL1.
        delta: Only deltas from the first to the second.
        feed: Option feed; the gateway's own when left out.
        full: Also show open interest.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.chain(
            underlying,
            expiry=expiry,
            type=type_,
            strikes=strikes,
            around=around,
            around_percent=percent,
            root=root,
            delta=delta,
            feed=feed,
            view=OptionView.FULL if full else None,
        )
    return show(found.option_quotes, option_tables.chain(found, full=full), options)


@app.command
def contracts(
    underlying: str,
    /,
    *,
    expiry: date | None = None,
    type_: KnownType | None = None,
    strikes: tuple[Price, Price] | None = None,
    root: str = "",
    status: ContractStatus | None = None,
    deliverables: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULTS,
) -> int:
    """Option contracts of a stock: terms and open interest.

    Args:
        underlying: Stock symbol in upper case.
        expiry: Only this expiration date, such as 2022-07-15.
        type_: Only calls or puts.
        strikes: Only strikes from the first to the second.
        root: Only this OCC root, such as AAPL1.
        status: Contracts of this status; the active ones when left out.
        deliverables: Also show what is delivered.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = list(
            gateway.contracts(
                underlying,
                expiry=expiry,
                type=type_,
                strikes=strikes,
                root=root,
                status=status,
                show_deliverables=deliverables,
                page_size=1000,
            )
        )
    return show(found, option_tables.contracts(found), options)


@app.command
def assets(
    query: str = "",
    /,
    *,
    status: KnownStatus | None = None,
    exchange: str = "",
    attribute: str = "",
    options: Options = DEFAULTS,
) -> int:
    """Search the list of stocks.

    Args:
        query: Words at the beginning of the symbol or anywhere in the name.
        status: Only assets of this status.
        exchange: Only assets of this exchange, such as NASDAQ.
        attribute: Only assets with this attribute, such as has_options.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = list(gateway.assets(query, status=status, exchange=exchange, attribute=attribute))
    return show(found, tables.assets(found), options)


@app.command
def asset(symbol: str, /, *, options: Options = DEFAULTS) -> int:
    """One stock of the list.

    Args:
        symbol: Stock symbol in upper case.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.asset(symbol)
    return show([found], tables.assets([found]), options)


@app.command
def clock(*, options: Options = DEFAULTS) -> int:
    """The market's time and session.

    Args:
        options: What every command takes.
    """
    with options.connect() as gateway:
        reading = gateway.clock()
    return show([reading], tables.clock(reading), options)


@app.command
def sessions(start: date, end: date, /, *, options: Options = DEFAULTS) -> int:
    """Trading days of a range.

    Args:
        start: First day.
        end: Day after the last day.
        options: What every command takes.
    """
    with options.connect() as gateway:
        days = gateway.sessions(start, end)
    return show(days, tables.sessions(days), options)


@app.command
def codes(kind: CodeKind, tape: str | None = None, /, *, options: Options = DEFAULTS) -> int:
    """What exchange and condition codes mean.

    Args:
        kind: The table.
        tape: Tape of the condition codes of stocks: A, B or C.
        options: What every command takes.
    """
    with options.connect() as gateway:
        table = gateway.codes(kind, tape)
    return show(table, tables.codes(table), options)


@app.command
def status(*, options: Options = DEFAULTS) -> int:
    """What the gateway itself is doing.

    Args:
        options: What every command takes.
    """
    with options.connect() as gateway:
        reading = gateway.status()
    return show([reading], tables.status(reading), options)


@app.command
def entitlements(*, options: Options = DEFAULTS) -> int:
    """What the gateway's account may read: feeds, their delays, request limits.

    Args:
        options: What every command takes.
    """
    with options.connect() as gateway:
        known = gateway.entitlements()
    return show([known], tables.entitlements(known), options)


@app.command
def gaps(
    *,
    feed: AnyFeed | None = None,
    symbol: str = "",
    since: Since = None,
    limit: Limit = 50,
    options: Options = DEFAULTS,
) -> int:
    """What the gateway has missed of its live feeds, newest first.

    Args:
        feed: Only gaps of this feed.
        symbol: Only gaps during which this symbol was followed.
        since: Only gaps that lasted till then or longer: 15m, 2h, 1d, or a time such as
            2026-10-01T15:00:00Z.
        limit: How many at most.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.gaps(
            feed=feed, symbol=symbol, start=_instant(since), page_size=min(limit, 500)
        )
        newest = list(islice(found, limit))
    return show(newest, tables.gaps(newest), options)


@app.command
def errors(
    *,
    reason: KnownReasons = (),
    of_call: str = "",
    since: Since = None,
    limit: Limit = 50,
    options: Options = DEFAULTS,
) -> int:
    """The gateway's newest refusals and failures. For operators, on the gateway's machine.

    Args:
        reason: Only records with this reason, such as circuit-open; may be repeated.
        of_call: Only records of the call with this id.
        since: Only records since then: 15m, 2h, 1d, or a time such as 2026-10-01T15:00:00Z.
        limit: How many at most.
        options: What every command takes.
    """
    with options.connect() as gateway:
        found = gateway.errors(
            reasons=reason, of_call=of_call, start=_instant(since), page_size=min(limit, 500)
        )
        records = list(islice(found, limit))
    return show(records, tables.errors(records), options)


@app.command
def invalidate(
    *symbols: str,
    feed: AnyFeed | None = None,
    kind: Kinds = (),
    options: Options = DEFAULTS,
) -> int:
    """Drop values from memory and Redis. For operators, on the gateway's machine.

    Args:
        symbols: Stock symbols in upper case, or OCC symbols; all when left out.
        feed: Only values of this feed.
        kind: Only values of this kind, such as quote or option-chain; may be repeated.
        options: What every command takes.
    """
    with options.connect() as gateway:
        dropped = gateway.invalidate_cache(symbols or None, feed=feed, kinds=kind or None)
    return show([dropped], tables.invalidation(dropped), options)


for _command in (
    *(past.bars, past.trade_history, past.quote_history, past.price_at, past.coverage),
    *(past.actions, past.watchlist, past.backfill),
):
    app.command(_command)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code: int = app(tokens, exit_on_error=False)
    except CycloptsError:  # which cyclopts has printed
        return WRONG_USAGE
    except InvalidRequest as error:
        lines = [f"{each.field}: {each.description}" for each in error.violations]
        return complain(Text("\n".join(lines) or str(error)), WRONG_USAGE)
    except DataUnavailableError as error:
        return complain(tables.unavailable(error.unavailable), INCOMPLETE)
    except TickgateError as error:
        return complain(Text(f"{type(error).__name__}: {error}"), NO_GATEWAY)
    except ModuleNotFoundError as error:
        if not str(error).endswith("]'"):  # not one of the extras, whose absence says what to do
            raise
        return complain(Text(f"tickgate: {error}"), WRONG_USAGE)
    except BrokenPipeError:  # whoever read it has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return COMPLETE
    return code or COMPLETE


# --------------------------------------------------------------------------------------- output


def _view(
    quotes: SyncSubscription[Quote], symbols: Sequence[str], options: Options
) -> AbstractContextManager[watching.Show]:
    """How to show what is followed: as JSON, on a terminal, or anywhere else."""
    console = Console()
    if options.json:
        return nullcontext(lambda each: write(console, as_line(each)))
    if console.is_terminal:
        return watching.board(console, quotes, symbols)
    return nullcontext(lambda each: write(console, tables.event(each).plain))
