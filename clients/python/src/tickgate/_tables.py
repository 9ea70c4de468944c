"""Answers as tables that a person likes to read. Needs rich, from the extra `cli`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ._enums import Feed, SymbolState, TierState
from ._models import (
    Disconnected,
    OptionQuote,
    Reconnected,
    Snapshot,
    SymbolStatus,
    Unavailable,
    Update,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime, timedelta
    from decimal import Decimal
    from enum import StrEnum

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from ._models import (
        Asset,
        Bar,
        BudgetStatus,
        CircuitStatus,
        Code,
        Entitlements,
        ErrorLogStatus,
        ErrorRecord,
        FeedStatus,
        Gap,
        GapPart,
        GatewayStatus,
        IngestionStatus,
        Invalidation,
        MarketClock,
        OptionChainsStatus,
        Provenance,
        Quote,
        QuoteSide,
        RefusalCount,
        RuleFlagCount,
        StoreStatus,
        StreamsStatus,
        TierStatus,
        Trade,
        TradingDay,
        UpstreamStatus,
        UpstreamWindow,
    )

Value = TypeVar("Value")

ABSENT = "–"
NUMBERS = frozenset({"Bid", "Ask", "Size", "Price", "Last", "Spread", "Mid", "Quality"}) | {
    *("Requests", "Failures", "Entries", "Hits", "Misses", "Hit share", "Records"),
    *("Wanted", "Confirmed", "Lag", "Gaps", "Updates/s", "Conflated", "Dropped", "Lost", "Limit"),
    *("Of", "Left", "Spent", "Refused", "Waiting", "Limit a minute", "Budget a minute"),
    *("IV %", "Delta", "Gamma", "Theta", "Vega", "Rho", "Volume", "OI", "Strike", "Multiplier"),
    *("Shares", "Close", "Open", "High", "Low", "Trades", "VWAP", "Values", "Cash", "Fetched"),
}
"""Headings whose columns are flush right and in one line."""

CURRENT = frozenset({SymbolState.LIVE, SymbolState.QUIET})
"""States in which the newest quote is what stands."""


# ---------------------------------------------------------------------------------------- words


def price(value: Decimal | None) -> str:
    """A price with its own digits, at least two of them behind the point."""
    if value is None:
        return ABSENT
    exponent = value.as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"{value:,.{places}f}"


def count(value: int | None) -> str:
    """A number of shares."""
    return ABSENT if value is None else f"{value:,}"


def word(value: StrEnum | str | None) -> str:
    """A word of the contract in lower case: `PRE_MARKET` as `pre market`."""
    return ABSENT if value is None else value.lower().replace("_", " ")


def age(value: timedelta | None) -> str:
    """A length of time in its two largest units."""
    if value is None:
        return ABSENT
    seconds = value.total_seconds()
    if seconds < 60:
        # Clocks differ by a millisecond, and nothing is minus zero old.
        return f"{round(seconds, 1) + 0.0:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def share(value: float | None) -> str:
    """A share in percent; 100 % is all, never nearly all."""
    if value is None:
        return ABSENT
    return f"{int(value * 1000) / 10:g} %"


def moment(value: datetime | None) -> str:
    """An instant in UTC to the second."""
    return ABSENT if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def source(origin: Provenance) -> str:
    """Source with feed."""
    return word(origin.source) if origin.feed is None else f"{word(origin.source)} {origin.feed}"


def serving(origin: Provenance) -> tuple[str, str, str]:
    """Age, source with feed, and tier."""
    shown = age(origin.event_age)
    return f"{shown} stale" if origin.stale else shown, source(origin), word(origin.served_from)


# --------------------------------------------------------------------------------------- frames


class _Table(Table):
    """A table whose cells stand as they were sent: `[red]` in a name is part of the name."""

    def add_row(self, *cells: RenderableType | None, **style: Any) -> None:
        literal = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*literal, **style)


def frame(*headings: str) -> Table:
    """A table with these columns and no rows."""
    table = _Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        number = heading in NUMBERS
        # On a narrow terminal words go to a second line; a number in two lines is none.
        table.add_column(
            heading,
            justify="right" if number else "left",
            no_wrap=number or heading in {"Symbol", "At"},
            overflow="fold",
        )
    return table


def results_table(
    results: Iterable[Value | Unavailable],
    headings: Sequence[str],
    cells: Callable[[Value], Sequence[str]],
) -> RenderableType:
    """A row per result in the given order; beneath them why some hold no value, or are odd."""
    table, notes = frame("Symbol", *headings), []
    for result in results:
        if isinstance(result, Unavailable):
            # In the last column, the widest word of which may take a second line.
            blanks = [""] * (len(headings) - 1)
            table.add_row(result.symbol, *blanks, Text(word(result.reason), style="yellow"))
            notes.append(unavailable(result))
        else:
            table.add_row(*cells(result))
            notes.extend(flags(result))
    return Group(table, *([Text()] if notes else []), *notes)


def unavailable(why: Unavailable) -> Text:
    """Why there is no value and what to do, in one paragraph."""
    sentences = [why.message, why.suggested_action]
    if why.retry_delay is not None:
        sentences.append(f"Wait {age(why.retry_delay)}")
    if why.request_id:
        sentences.append(f"Request {why.request_id}")
    said = " ".join(f"{sentence.removesuffix('.')}." for sentence in sentences if sentence)
    return Text(said, style="yellow")


def flags(value: Any) -> Iterator[Text]:
    """What business rules find odd about a value, or about the parts of one."""
    parts: tuple[Any, ...] = (value,)
    if isinstance(value, Snapshot):
        bars = (value.minute_bar, value.daily_bar, value.previous_daily_bar)
        parts = (value.latest_trade, value.latest_quote, *bars)
    elif isinstance(value, OptionQuote):
        parts = (value.latest_trade, value.quote)
    for part in filter(None, parts):
        for flag in part.rule_flags:
            said = f"{part.symbol}: served, and flagged by rule {flag.rule}: {flag.evidence}."
            yield Text(said, style="yellow")


class Fitting:
    """Tables in as many columns as there is room for: a number that is cut off is another number."""

    def __init__(
        self,
        draw: Callable[[AbstractSet[str]], Sequence[RenderableType]],
        left_out: Sequence[Sequence[str]],
        cells: Callable[[], Iterable[tuple[str, str]]],
    ) -> None:
        """Draw tables without some columns.

        Args:
            draw: Makes the tables, and what stands between them, without the columns named.
            left_out: Columns to leave out, those first that are missed least.
            cells: Headings and cells, each for a line of its own where nothing else fits.
        """
        self._draw = draw
        self._left_out = left_out
        self._cells = cells

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        roomy, left_out = options.update(max_width=1000), set[str]()
        for more in ((), *self._left_out):
            left_out.update(more)
            drawn = self._draw(left_out)
            widths = [
                console.measure(each, options=roomy).maximum
                for each in drawn
                if isinstance(each, Table)
            ]
            if max(widths, default=0) <= options.max_width:
                yield from drawn
                return
        yield from (Text(f"{name} {cell}", overflow="fold") for name, cell in self._cells())


def fitted(
    headings: Sequence[str], rows: Sequence[Sequence[str]], left_out: Sequence[Sequence[str]]
) -> Fitting:
    """A table that is narrowed by columns; those in *left_out* go first."""

    def draw(gone: AbstractSet[str]) -> list[RenderableType]:
        table = frame(*(heading for heading in headings if heading not in gone))
        for row in rows:
            table.add_row(
                *(cell for heading, cell in zip(headings, row, strict=True) if heading not in gone)
            )
        return [table]

    return Fitting(
        draw, left_out, lambda: (pair for row in rows for pair in zip(headings, row, strict=True))
    )


def unreal(feeds: Iterable[Feed | None]) -> Iterator[Text]:
    """A warning where values of one of the *feeds* are not what they look like."""
    if Feed.INDICATIVE in feeds:
        said = "INDICATIVE: these are not real quotes. The upstream modifies them; trades are 15 minutes late."
        yield Text(said, style="bold red")


# --------------------------------------------------------------------------------------- values


def side_cells(side: QuoteSide | None) -> tuple[str, str, str]:
    """Price, size and venue."""
    if side is None:
        return ABSENT, ABSENT, ABSENT
    return price(side.price), count(side.size), side.exchange or ABSENT


def quotes(results: Sequence[Quote | Unavailable]) -> RenderableType:
    """Quotes, and beneath them what the views DERIVED and FULL add, where some quote holds it."""

    def cells(quote: Quote) -> list[str]:
        row = [quote.symbol, *side_cells(quote.bid), *side_cells(quote.ask)]
        how_old, sender, tier = serving(quote.provenance)
        return [*row, how_old, word(quote.market_session), sender, tier]

    headings = ["Bid", "Size", "At", "Ask", "Size", "At", "Age", "Session", "Source", "Tier"]
    table = results_table(results, headings, cells)
    viewed = [result for result in results if result.ok and result.quality]
    return Group(table, Text(), _views(viewed)) if viewed else table


def _views(values: Iterable[Quote]) -> RenderableType:
    table = frame("Symbol", "Spread", "Mid", "Quality", "Flags", "Last", "Size", "At", "Age")
    for quote in values:
        derived, quality, trade = quote.derived, quote.quality, quote.latest_trade
        missing = quote.latest_trade_unavailable
        table.add_row(
            quote.symbol,
            price(derived and derived.spread),
            price(derived and derived.mid),
            str(quality.score) if quality else ABSENT,
            ", ".join(map(word, quality.flags)) if quality and quality.flags else ABSENT,
            Text(word(missing.reason), style="yellow") if missing else price(trade and trade.price),
            count(trade and trade.size),
            (trade and trade.exchange) or ABSENT,
            age(trade and trade.provenance.event_age),
        )
    return table


def trades(results: Sequence[Trade | Unavailable]) -> RenderableType:
    """Latest trades."""

    def cells(trade: Trade) -> list[str]:
        row = [trade.symbol, price(trade.price), count(trade.size), trade.exchange or ABSENT]
        how_old, sender, tier = serving(trade.provenance)
        conditions = " ".join(trade.conditions).strip() or ABSENT
        return [*row, conditions, how_old, word(trade.market_session), sender, tier]

    headings = ["Price", "Size", "At", "Conditions", "Age", "Session", "Source", "Tier"]
    return results_table(results, headings, cells)


def snapshots(results: Sequence[Snapshot | Unavailable]) -> RenderableType:
    """Snapshots, a row each: last trade, both sides, and the day so far against the day before."""

    def cells(snapshot: Snapshot) -> list[str]:
        trade, quote = snapshot.latest_trade, snapshot.latest_quote
        newest = trade or quote or snapshot.minute_bar or snapshot.daily_bar
        how_old, sender, tier = serving(newest.provenance) if newest else (ABSENT,) * 3
        return [
            snapshot.symbol,
            price(trade and trade.price),
            price(quote and quote.bid and quote.bid.price),
            price(quote and quote.ask and quote.ask.price),
            _day(snapshot.daily_bar),
            _day(snapshot.previous_daily_bar),
            how_old,
            word(snapshot.market_session),
            sender,
            tier,
        ]

    headings = ["Last", "Bid", "Ask", "Day", "Day before", "Age", "Session", "Source", "Tier"]
    return results_table(results, headings, cells)


def _day(bar: Bar | None) -> str:
    if bar is None:
        return ABSENT
    return f"{price(bar.close)} ({price(bar.low)}–{price(bar.high)})"


# --------------------------------------------------------------------------------- live records


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A symbol that is followed, as it stands."""

    symbol: str
    quote: Quote | None
    state: SymbolState | None
    age: timedelta | None
    per_second: float
    conflated: int
    gaps: int


def watched(
    rows: Sequence[Watched], reasons: Sequence[Unavailable], lost: Disconnected | None
) -> RenderableType:
    """Quotes that are followed, and beneath them what is missing and why."""
    notes = [unavailable(why) for why in reasons]
    if lost is not None:
        notes.append(event(lost))
    notes.extend(unreal(row.quote.provenance.feed for row in rows if row.quote))
    fitting = Fitting(
        lambda left_out: [_watched_table(rows, left_out)],
        # What goes first where the terminal is narrow.
        [("Conflated", "Updates/s"), ("Gaps",), ("Received",), ("Size",)],
        lambda: (cell for row in rows for cell in _watched_cells(row)),
    )
    return Group(fitting, *([Text()] if notes else []), *notes)


WATCHED = (
    *("Symbol", "Bid", "Size", "Ask", "Size", "Received", "State"),
    *("Updates/s", "Conflated", "Gaps"),
)


def _watched_table(rows: Iterable[Watched], left_out: AbstractSet[str]) -> Table:
    table = frame(*(heading for heading in WATCHED if heading not in left_out))
    for row in rows:
        cells = [cell for name, cell in _watched_cells(row) if name not in left_out]
        table.add_row(*cells, style="" if row.state in CURRENT else "yellow")
    return table


def _watched_cells(row: Watched) -> list[tuple[str, str]]:
    bid, ask = (row.quote.bid, row.quote.ask) if row.quote else (None, None)
    (bid_price, bid_size, _), (ask_price, ask_size, _) = side_cells(bid), side_cells(ask)
    cells = (
        *(row.symbol, bid_price, bid_size, ask_price, ask_size),
        f"{age(row.age)} ago" if row.age is not None else ABSENT,
        word(row.state),
        *(f"{row.per_second:.1f}", count(row.conflated), count(row.gaps)),
    )
    return list(zip(WATCHED, cells, strict=True))


def event(each: Update[Quote] | SymbolStatus | Disconnected | Reconnected) -> Text:
    """What happened while quotes are followed, in one line."""
    match each:
        case Update(value=quote):
            (bid, bid_size, _), (ask, ask_size, _) = side_cells(quote.bid), side_cells(quote.ask)
            origin = quote.provenance
            more = f", {count(each.conflated)} conflated" if each.conflated else ""
            said = f"{quote.symbol}: {bid} × {bid_size}, {ask} × {ask_size}, {word(each.kind)}"
            return Text(f"{said}, received {age(origin.receive_age)} ago, {source(origin)}{more}")
        case SymbolStatus():
            return Text(f"{each.symbol}: {'; '.join([word(each.state), *_told(each)])}")
        case Disconnected():
            said = f"gateway lost: {each.error.message}; again in {age(each.retry_delay)}"
            return Text(said, style="yellow")
        case Reconnected():
            return Text(f"gateway back after {age(each.outage)}")


def _told(status: SymbolStatus) -> Iterator[str]:
    """What a status tells besides the state."""
    if status.unavailable is not None:
        yield status.unavailable.message
    for gap in status.gaps:
        until = moment(gap.end_time) if gap.end_time else "now"
        yield f"missed from {moment(gap.start_time)} until {until}: {gap.message}"
    for refused in status.refusals:
        yield f"{count(refused.count)} refused by {refused.rule}"
    for loss in status.losses:
        yield f"{count(loss.count)} lost: {word(loss.cause)}"


# ------------------------------------------------------------------------------------ reference


def assets(items: Iterable[Asset]) -> RenderableType:
    """Assets."""
    table = frame("Symbol", "Name", "Exchange", "Status", "Tradable")
    for item in items:
        tradable = ABSENT if item.tradable is None else ("yes" if item.tradable else "no")
        table.add_row(item.symbol, item.name, item.exchange or ABSENT, word(item.status), tradable)
    return table


def clock(reading: MarketClock) -> RenderableType:
    """The market's clock."""
    table = _Table.grid(padding=(0, 2))
    table.add_row("Market time", moment(reading.market_time))
    table.add_row("Session", word(reading.session))
    table.add_row("Next open", moment(reading.next_open_time))
    table.add_row("Next close", moment(reading.next_close_time))
    table.add_row("Source", word(reading.provenance.source))
    return table


def sessions(days: Iterable[TradingDay]) -> RenderableType:
    """Trading days."""
    table = frame("Day", "Pre-market", "Open", "Close", "After hours until")
    for day in days:
        edges = (
            day.pre_market_open_time,
            day.open_time,
            day.close_time,
            day.after_hours_close_time,
        )
        table.add_row(f"{day.date:%a %Y-%m-%d}", *map(moment, edges))
    return table


def codes(items: Iterable[Code]) -> RenderableType:
    """A table of codes."""
    table = frame("Code", "Meaning")
    for item in items:
        table.add_row(item.code if item.code.strip() else "(blank)", item.name)
    return table


# --------------------------------------------------------------------------------------- status


def status(gateway: GatewayStatus) -> RenderableType:
    """The gateway itself, its upstreams, its tiers and its budgets."""
    head = _Table.grid(padding=(0, 2))
    head.add_row("Gateway", f"{gateway.version}, {gateway.environment}")
    feeds_named = filter(None, [gateway.default_stock_feed, gateway.default_option_feed])
    head.add_row("Source", f"{word(gateway.source)} {', '.join(feeds_named)}")
    head.add_row("Market", f"{moment(gateway.market_time)}, {word(gateway.market_session)}")
    head.add_row("Up for", age(gateway.serve_time - gateway.start_time))
    head.add_row("Calls in flight", count(gateway.calls_in_flight))
    if gateway.streams:
        head.add_row("Streams", _streams(gateway.streams))
    if gateway.option_chains:
        head.add_row("Option chains", _option_chains(gateway.option_chains))
    if gateway.store:
        head.add_row("Store", _store(gateway.store))
    if gateway.ingestion:
        head.add_row("Recording", _ingestion(gateway.ingestion))
    head.add_row("Error log", _error_log(gateway.error_log))
    tables = [
        head,
        upstreams(gateway.upstreams),
        tiers(gateway.tiers),
        budgets(gateway.budgets),
        *([feeds(gateway.feeds)] if gateway.feeds else []),
        *([_counts("Refused by", gateway.refusals)] if gateway.refusals else []),
        *([_counts("Flagged by", gateway.rule_flags)] if gateway.rule_flags else []),
    ]
    return Group(*(Padding(table, (0, 0, 1, 0), expand=False) for table in tables))


def _option_chains(chains: OptionChainsStatus) -> str:
    held = f"{count(chains.chains)} with {count(chains.contracts)} of {count(chains.capacity)} contracts"
    asked = f"{count(chains.hits)} hits, {count(chains.loads)} loads, {count(chains.refreshes)} refreshes"
    return f"{held}, {asked}, {count(chains.failures)} failed, {count(chains.evictions)} made room"


def _store(store: StoreStatus) -> str:
    if store.state is TierState.OFF:
        return word(store.state)
    size = "" if store.size_bytes is None else f", {store.size_bytes / 1e6:,.1f} MB"
    rows = f"{count(store.rows_written)} rows written, {count(store.rows_read)} read"
    failed = f", {count(store.write_failures)} writes failed" if store.write_failures else ""
    why = f": {store.last_write_failure}" if store.last_write_failure else ""
    return f"{word(store.state)}, {rows}{size}{failed}{why}"


def _ingestion(ingestion: IngestionStatus) -> str:
    said = word(ingestion.state) + (f": {ingestion.message}" if ingestion.message else "")
    if not ingestion.symbols:
        return said
    kept = f"{count(ingestion.trades)} trades, {count(ingestion.bars)} bars"
    more = f"{count(ingestion.revisions)} revisions, {count(ingestion.dropped)} dropped"
    written = f"last {moment(ingestion.last_ingestion_time)}, {age(ingestion.lag)} late"
    return f"{said}, {count(ingestion.symbols)} symbols, {kept}, {more}, {written}"


def _streams(streams: StreamsStatus) -> str:
    open_ = f"{count(streams.streams)} of {count(streams.stream_limit)}"
    passed = f"{count(streams.delivered)} delivered, {count(streams.conflated)} conflated"
    return f"{open_}, {count(streams.followed)} followed, {passed}, {count(streams.lost)} lost"


def _error_log(log: ErrorLogStatus) -> str:
    kept = {"UP": "in PostgreSQL", "OFF": "in memory"}
    place = kept.get(log.store, f"in PostgreSQL, which is {word(log.store)}")
    lost = f", {count(log.dropped)} lost" if log.dropped else ""
    return f"{count(log.written)} records {place}{lost}"


def upstreams(groups: Iterable[UpstreamStatus]) -> RenderableType:
    """Groups of upstream endpoints: their state, and how well they answered of late."""
    table = frame(
        *("Upstream", "Group", "State", "Circuit", "Success 1/5/15 min", "Latency"),
        *("Requests", "Failures", "Last failure"),
    )
    for each in groups:
        table.add_row(
            each.upstream,
            each.group,
            word(each.state),
            _circuit(each.circuit),
            " / ".join(share(window.success_share) for window in each.windows),
            _latency(each.windows),
            count(each.requests),
            count(each.failures),
            ABSENT
            if each.last_failure_reason is None
            else f"{word(each.last_failure_reason)}, {moment(each.last_failure_time)}",
        )
    return table


def _circuit(circuit: CircuitStatus) -> str:
    if circuit.retry_delay is None:
        return word(circuit.state)
    return f"{word(circuit.state)}, {age(circuit.retry_delay)}"


def _latency(windows: Sequence[UpstreamWindow]) -> str:
    """Mean and longest of the longest window, in which most was asked."""
    longest = max(windows, key=lambda window: window.length_ns, default=None)
    if longest is None or longest.mean_latency_ns is None or longest.max_latency_ns is None:
        return ABSENT
    return f"{longest.mean_latency_ns / 1e6:.0f}, max {longest.max_latency_ns / 1e6:.0f} ms"


def tiers(states: Iterable[TierStatus]) -> RenderableType:
    """Tiers, and what share of the questions put to each it answered."""
    table = frame("Tier", "State", "Entries", "Hits", "Misses", "Hit share", "Failures")
    for tier in states:
        table.add_row(
            word(tier.tier),
            word(tier.state),
            count(tier.entries),
            count(tier.hits),
            count(tier.misses),
            share(tier.hit_share),
            count(tier.failures),
        )
    return table


def budgets(states: Iterable[BudgetStatus]) -> RenderableType:
    """Budgets of requests, and what each class must leave of them for the others."""
    table = frame(
        *("Budget", "Of", "Left", "Every", "Shared", "Spent", "Refused", "Waiting"), "Must leave"
    )
    for budget in states:
        floors = (f"{each.priority} {each.floor}" for each in budget.floors if each.floor)
        table.add_row(
            budget.upstream,
            count(budget.limit),
            count(budget.remaining),
            age(budget.window),
            "yes" if budget.shared else "no",
            count(budget.spent),
            count(budget.refused),
            count(budget.waiting),
            ", ".join(floors) or ABSENT,
        )
    return table


def feeds(states: Iterable[FeedStatus]) -> RenderableType:
    """Live feeds: their connections, and what is followed on them."""
    table = frame(
        *("Feed", "State", "Since", "Channels", "Wanted", "Confirmed", "Limit", "Lag"),
        *("Records", "Dropped", "Gaps", "Last record", "Why"),
    )
    for feed in states:
        table.add_row(
            feed.feed,
            word(feed.state),
            moment(feed.change_time),
            ", ".join(word(each.channel) for each in feed.channels) or ABSENT,
            count(sum(each.wanted for each in feed.channels)),
            count(sum(each.confirmed for each in feed.channels)),
            count(feed.symbol_limit),
            age(feed.lag),
            count(feed.records),
            count(feed.dropped),
            count(feed.gaps),
            moment(feed.last_record_time),
            feed.message or ABSENT,
        )
    return table


def gaps(items: Iterable[Gap]) -> RenderableType:
    """What was missed of the live feeds, newest first."""
    table = frame("Feed", "From", "Until", "Why", "Followed", "Lost", "Repair")
    for gap in items:
        table.add_row(
            gap.feed,
            moment(gap.start_time),
            moment(gap.end_time) if gap.end_time else "open",
            f"{word(gap.cause)}: {gap.message}",
            ", ".join(map(_followed, gap.parts)) or ABSENT,
            count(gap.lost_records),
            word(gap.repair),
        )
    return table


def _followed(part: GapPart) -> str:
    """A channel with its first symbols: `quotes of AAPL, MSFT, TSLA and 7 more`."""
    named = ", ".join(part.symbols[:3])
    more = part.symbol_count - len(part.symbols[:3])
    return f"{word(part.channel)} of {named}{f' and {count(more)} more' if more else ''}"


def _counts(heading: str, rules: Iterable[RefusalCount | RuleFlagCount]) -> RenderableType:
    table = frame(heading, "Records")
    for each in rules:
        table.add_row(each.rule, count(each.count))
    return table


def entitlements(known: Entitlements) -> RenderableType:
    """What the gateway's account may read, and how often it may ask."""
    feeds = frame("Feed", "State", "Delay", "Learned", "The upstream said")
    for each in known.feeds:
        feeds.add_row(
            each.feed,
            word(each.state),
            age(each.delay),
            moment(each.learn_time),
            each.message or ABSENT,
        )
    limits = frame("Upstream", "Limit a minute", "Said by", "Budget a minute")
    for limit in known.limits:
        limits.add_row(
            limit.upstream,
            count(limit.requests_per_minute),
            "upstream" if limit.confirmed else f"settings, plan {known.plan}",
            count(limit.budget_per_minute),
        )
    return Group(feeds, Text(), limits)


# ------------------------------------------------------------------------------------ operators


def errors(records: Iterable[ErrorRecord]) -> RenderableType:
    """Refusals and failures, newest first."""
    table = frame("Time", "Reason", "Message", "Request", "Kept in")
    for each in records:
        table.add_row(
            moment(each.time),
            word(each.reason),
            each.message,
            each.request_id or ABSENT,
            word(each.place),
        )
    return table


def invalidation(dropped: Invalidation) -> RenderableType:
    """How much was dropped."""
    table = frame("Dropped from", "Entries")
    table.add_row("memory", count(dropped.memory_entries))
    table.add_row("redis", count(dropped.redis_entries))
    return table
