"""The past as tables that a person likes to read. Needs rich, from the extra `cli`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rich.console import Group
from rich.text import Text

from ._tables import (
    ABSENT,
    age,
    count,
    fitted,
    frame,
    moment,
    price,
    share,
    side_cells,
    source,
    unavailable,
    unreal,
    word,
)
from ._time import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from decimal import Decimal

    from rich.console import RenderableType

    from ._models import (
        Backfill,
        Bar,
        CorporateAction,
        Coverage,
        Missing,
        PriceAt,
        Quote,
        SeriesEnd,
        Trade,
        Unavailable,
        Watchlist,
    )

Row = TypeVar("Row")

# ----------------------------------------------------------------------------------------- rows


def bars(head: Sequence[Bar], tail: Sequence[Bar], left_out: int) -> RenderableType:
    """Bars, the first and the last of them."""

    def cells(bar: Bar) -> list[str]:
        ends = (bar.open, bar.high, bar.low, bar.close)
        return [
            *(bar.symbol, moment(bar.start_time), *map(price, ends)),
            *(count(bar.volume), count(bar.trade_count), price(bar.vwap)),
            *(source(bar.provenance), word(bar.provenance.served_from)),
        ]

    headings = ["Symbol", "Time", "Open", "High", "Low", "Close"]
    headings += ["Volume", "Trades", "VWAP", "Source", "Tier"]
    narrower = [("Tier",), ("Source",), ("Trades",), ("VWAP",), ("Volume",)]
    return _rows(headings, cells, head, tail, left_out, narrower)


def trades(head: Sequence[Trade], tail: Sequence[Trade], left_out: int) -> RenderableType:
    """Trades, the first and the last of them."""

    def cells(trade: Trade) -> list[str]:
        origin = trade.provenance
        return [
            *(trade.symbol, _exactly(origin.event_time_ns), price(trade.price), count(trade.size)),
            *(trade.exchange or ABSENT, " ".join(trade.conditions).strip() or ABSENT),
            *(word(trade.amendment), source(origin), word(origin.served_from)),
        ]

    headings = ["Symbol", "Time", "Price", "Size", "At", "Conditions", "Amended", "Source", "Tier"]
    narrower = [("Tier",), ("Source",), ("Amended",), ("Conditions",)]
    return _rows(headings, cells, head, tail, left_out, narrower)


def quotes(head: Sequence[Quote], tail: Sequence[Quote], left_out: int) -> RenderableType:
    """Quotes, the first and the last of them."""

    def cells(quote: Quote) -> list[str]:
        origin = quote.provenance
        return [
            *(quote.symbol, _exactly(origin.event_time_ns)),
            *(*side_cells(quote.bid), *side_cells(quote.ask)),
            *(source(origin), word(origin.served_from)),
        ]

    headings = ["Symbol", "Time", "Bid", "Size", "At", "Ask", "Size", "At", "Source", "Tier"]
    return _rows(headings, cells, head, tail, left_out, [("Tier",), ("Source",), ("At",)])


def _rows(
    headings: Sequence[str],
    cells: Callable[[Row], list[str]],
    head: Sequence[Row],
    tail: Sequence[Row],
    left_out: int,
    narrower: Sequence[Sequence[str]],
) -> RenderableType:
    between = [[f"… {left_out:,} more", *([""] * (len(headings) - 1))]] if left_out else []
    rows = [*map(cells, head), *between, *map(cells, tail)]
    return fitted(headings, rows, narrower)


def _exactly(ns: int | None) -> str:
    return ABSENT if ns is None else rfc3339(ns)


def notes(missing: Iterable[Missing], ends: Iterable[SeriesEnd]) -> Iterator[Text]:
    """What rows do not show: what is missing and from where, what was left out, where the account may not read."""
    for each in missing:
        since = ""
        if each.count:
            since = f"{each.symbol}: {count(each.count)} came; missing is {each.part}. "
        yield Text(since, style="yellow").append_text(unavailable(each.unavailable))
    for end in ends:
        if end.clamped_end_time is not None:
            said = f"{end.symbol}: the account may read up to {moment(end.clamped_end_time)} only."
            yield Text(said, style="yellow")
        if end.refused:
            said = f"{end.symbol}: {count(end.refused)} records are no market values and were left out."
            yield Text(said, style="yellow")


# ------------------------------------------------------------------------------ single questions


def price_at(found: PriceAt) -> RenderableType:
    """What a symbol traded at."""
    trade = found.trade
    table = frame("Symbol", "Price", "Size", "At", "Traded", "Before", "Source", "Tier")
    origin = trade.provenance
    table.add_row(
        *(trade.symbol, price(trade.price), count(trade.size), trade.exchange or ABSENT),
        *(_exactly(origin.event_time_ns), age(found.age), source(origin), word(origin.served_from)),
    )
    return Group(table, *unreal([origin.feed]))


def coverage(results: Sequence[Coverage | Unavailable]) -> RenderableType:
    """What the store holds, a row for each stretch."""
    table, why = frame("Symbol", "From", "Until", "Values", "Received"), []
    for result in results:
        if not result.ok:
            table.add_row(result.symbol, "", "", "", Text(word(result.reason), style="yellow"))
            why.append(unavailable(result))
            continue
        if not result.intervals:
            table.add_row(result.symbol, ABSENT, ABSENT, count(0), ABSENT)
        for each in result.intervals:
            stretch = moment(each.start_time), moment(each.end_time)
            table.add_row(result.symbol, *stretch, count(each.count), moment(each.receive_time))
    return Group(table, *([Text()] if why else []), *why)


def actions(items: Iterable[CorporateAction]) -> RenderableType:
    """Corporate actions."""
    rows = [
        [
            *(item.symbol, str(item.ex_date or item.process_date or ABSENT), word(item.type)),
            *(_ratio(item.old_rate, item.new_rate), price(item.cash_rate)),
            *(item.new_symbol or ABSENT, str(item.record_date or ABSENT)),
            str(item.payable_date or ABSENT),
        ]
        for item in items
    ]
    headings = ["Symbol", "Day", "What", "Old to new", "Cash", "New symbol", "Record", "Payable"]
    return fitted(headings, rows, [("Record",), ("Payable",), ("New symbol",)])


def _ratio(old: Decimal | None, new: Decimal | None) -> str:
    if old is None and new is None:
        return ABSENT
    return " : ".join(ABSENT if each is None else f"{each:f}" for each in (old, new))


# ------------------------------------------------------------------------------------ operators


def watchlists(items: Iterable[Watchlist]) -> RenderableType:
    """Watchlists."""
    table = frame("Name", "Symbols", "Recorded", "Refreshed bars", "Days", "Changed", "Refreshed")
    for item in items:
        named = ", ".join(item.symbols[:8])
        more = len(item.symbols) - 8
        table.add_row(
            *(item.name, f"{named} and {count(more)} more" if more > 0 else named),
            *("yes" if item.record else "no", ", ".join(item.refresh_timeframes) or ABSENT),
            *(count(item.refresh_days), moment(item.update_time), moment(item.refresh_time)),
        )
    return table


def backfills(items: Sequence[Backfill]) -> RenderableType:
    """Backfills, and why some of their symbols could not be fetched."""
    table = frame("Id", "State", "What", "From", "Until", "Done", "Symbols", "Fetched", "Failed")
    for item in items:
        asked = item.request
        what = " ".join(filter(None, [word(asked.kind), asked.timeframe, asked.feed]))
        table.add_row(
            *(item.id, word(item.state), what, moment(asked.start_time), moment(asked.end_time)),
            *(share(item.progress), f"{count(item.symbols_done)} of {count(len(asked.symbols))}"),
            *(count(item.fetched), count(len(item.failures))),
        )
    failed = [
        Text(f"{item.id}, {each.symbol}: ", style="yellow").append_text(
            unavailable(each.unavailable)
        )
        for item in items
        for each in item.failures
    ]
    return Group(table, *([Text()] if failed else []), *failed)
