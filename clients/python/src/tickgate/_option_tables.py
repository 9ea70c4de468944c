"""Options as tables that a desk likes to read. Needs rich, from the extra `cli`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.rule import Rule
from rich.text import Text

from ._enums import OptionType
from ._tables import (
    ABSENT,
    Fitting,
    age,
    count,
    fitted,
    flags,
    frame,
    moment,
    price,
    results_table,
    serving,
    side_cells,
    source,
    unavailable,
    unreal,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import date
    from decimal import Decimal

    from rich.console import RenderableType
    from rich.table import Table

    from ._models import (
        OpenInterest,
        OptionBar,
        OptionChain,
        OptionContract,
        OptionDeliverable,
        OptionPair,
        OptionQuote,
        Provenance,
        Unavailable,
    )

# ---------------------------------------------------------------------------------------- words


def percent(value: float | None) -> str:
    """A share of one in percent, to a tenth."""
    return ABSENT if value is None else f"{value * 100:.1f}"


def model(value: float | None, places: int = 3) -> str:
    """A number of the upstream's model. What rounds to nothing is not minus nothing."""
    return ABSENT if value is None else f"{round(value, places) + 0.0:.{places}f}"


def _contracts(interest: OpenInterest | None) -> str:
    return count(interest.contracts if interest else None)


def _origins(quote: OptionQuote) -> Iterator[Provenance]:
    """Origins of an option quote's parts, the most telling first."""
    parts = (quote.quote, quote.latest_trade, quote.daily_bar, quote.minute_bar)
    yield from (part.provenance for part in parts if part)
    if quote.model_provenance:
        yield quote.model_provenance


# ------------------------------------------------------------------------------- several options


def option_quotes(results: Sequence[OptionQuote | Unavailable]) -> RenderableType:
    """Option quotes, beneath them the model's numbers, and what the view FULL adds."""

    def cells(option: OptionQuote) -> list[str]:
        quote, origin = option.quote, next(_origins(option), None)
        _, sender, tier = serving(origin) if origin else (ABSENT,) * 3
        return [
            *(option.symbol, *_bid(option)[:2], *_ask(option)[:2]),
            *(age(quote and quote.provenance.event_age), word(option.market_session), sender, tier),
        ]

    headings = ["Bid", "Size", "Ask", "Size", "Age", "Session", "Source", "Tier"]
    table = results_table(results, headings, cells)
    values = [result for result in results if result.ok]
    notes = [note for value in values for note in _missing(value)]
    notes.extend(unreal(each.feed for value in values for each in _origins(value)))
    full = [value for value in values if value.contract or value.open_interest or value.daily_bar]
    return _stacked(
        table,
        *([_model(values)] if values else []),
        *([_full(full)] if full else []),
        *([Group(*notes)] if notes else []),
    )


def _stacked(*parts: RenderableType) -> RenderableType:
    """Parts with a blank line between them."""
    spaced = [each for part in parts for each in (Text(), part)]
    return Group(*spaced[1:])


def _missing(option: OptionQuote) -> Iterator[Text]:
    for each in option.missing_parts:
        said = Text(f"{option.symbol}, {word(each.part)}: ", style="yellow")
        yield said.append_text(unavailable(each.unavailable))


def _model(options: Iterable[OptionQuote]) -> Table:
    """What was traded, and what the upstream's model says."""
    table = frame(
        *("Symbol", "Last", "Size", "Traded", "Volume"),
        *("IV %", "Delta", "Gamma", "Theta", "Vega", "Rho"),
    )
    for option in options:
        trade, greeks = option.latest_trade, option.greeks
        numbers = (
            (greeks.delta, greeks.gamma, greeks.theta, greeks.vega, greeks.rho)
            if greeks
            else (None,) * 5
        )
        table.add_row(
            *(option.symbol, price(trade and trade.price), count(trade and trade.size)),
            f"{age(trade.provenance.event_age)} ago" if trade else ABSENT,
            *(count(option.day_volume), percent(option.implied_volatility)),
            *(model(number, 4) for number in numbers),
        )
    return table


def _full(options: Iterable[OptionQuote]) -> RenderableType:
    """Open interest, the day, and terms."""
    rows = [
        (
            *(option.symbol, _contracts(option.open_interest), _counted(option.open_interest)),
            *(_bar(option.daily_bar), _bar(option.previous_daily_bar)),
            _number(option.contract and option.contract.multiplier),
            word(option.contract and option.contract.style),
            moment(option.contract and option.contract.last_trading_time),
        )
        for option in options
    ]
    headings = (
        "Symbol",
        "OI",
        "Counted",
        "Day",
        "Day before",
        "Multiplier",
        "Style",
        "Trades until",
    )
    return fitted(headings, rows, [("Style",), ("Day before",), ("Trades until",), ("Multiplier",)])


def _bar(bar: OptionBar | None) -> str:
    if bar is None:
        return ABSENT
    return f"{price(bar.close)} ({price(bar.low)}–{price(bar.high)})"


def _number(value: Decimal | None) -> str:
    """A number with its own digits and no more."""
    return ABSENT if value is None else f"{value:,f}"


# ---------------------------------------------------------------------------------------- chains

Column = tuple[str, "Callable[[OptionQuote], str]"]
"""A heading, and what stands beneath it for a contract."""

IV: Column = ("IV %", lambda option: percent(option.implied_volatility))
DELTA: Column = ("Delta", lambda option: model(option.greeks and option.greeks.delta))
VOLUME: Column = ("Volume", lambda option: count(option.day_volume))
INTEREST: Column = ("OI", lambda option: _contracts(option.open_interest))
LAST: Column = ("Last", lambda option: price(option.latest_trade and option.latest_trade.price))
QUOTE: tuple[Column, ...] = (
    ("Size", lambda option: _bid(option)[1]),
    ("Bid", lambda option: _bid(option)[0]),
    ("Ask", lambda option: _ask(option)[0]),
    ("Size", lambda option: _ask(option)[1]),
)
CALLS: tuple[Column, ...] = (IV, DELTA, VOLUME, INTEREST, LAST, *QUOTE)
PUTS: tuple[Column, ...] = (*QUOTE, LAST, INTEREST, VOLUME, DELTA, IV)
"""The calls' mirrored, but for the quote, which everybody reads from bid to ask."""

LEFT_OUT = (("Last",), ("Volume",), ("Size",), ("OI",), ("IV %",), ("Delta",))
"""What goes first where the terminal is narrow."""


def _bid(option: OptionQuote) -> tuple[str, str, str]:
    return side_cells(option.quote and option.quote.bid)


def _ask(option: OptionQuote) -> tuple[str, str, str]:
    return side_cells(option.quote and option.quote.ask)


def chain(found: OptionChain, *, full: bool) -> RenderableType:
    """A table for each expiration date: calls on the left, puts on the right, strikes between them."""
    tables = Fitting(
        lambda left_out: list(_expiries(found, {*left_out, *(() if full else ("OI",))})),
        LEFT_OUT,
        lambda: ((each.symbol, f"{_bid(each)[0]} {_ask(each)[0]}") for each in found.option_quotes),
    )
    return Group(*_heading(found), tables, Text(), *_chain_notes(found))


def _heading(found: OptionChain) -> Iterator[Text]:
    """What the chain is of, around which price, how fresh it is, and whether it is real."""
    underlying, trade = Text(found.underlying_symbol, style="bold"), found.underlying_price
    if trade is not None:
        underlying.append(f" {price(trade.price)}")
        when = moment(trade.provenance.event_time)
        underlying.append(f", traded {when}, {source(trade.provenance)}", style="not bold")
    yield underlying
    senders = (word(each.source) for quote in found.option_quotes for each in _origins(quote))
    confirmed = age(found.serve_time - found.confirm_time)
    yield Text(
        f"Options: {next(senders, ABSENT)} {found.feed}, confirmed {confirmed} ago, from "
        f"{word(found.served_from)}; market {word(found.market_session)}, {moment(found.market_time)}"
    )
    yield from unreal([found.feed])


def _expiries(found: OptionChain, left_out: AbstractSet[str]) -> Iterator[RenderableType]:
    """A table for each expiration date and root, and a blank line before each."""
    kinds = {option.type for option in found.option_quotes}
    calls = [each for each in CALLS if each[0] not in left_out and OptionType.CALL in kinds]
    puts = [each for each in PUTS if each[0] not in left_out and OptionType.PUT in kinds]
    for expiry in found.expiries:
        pairs = found.at(expiry)
        for root in sorted({pair.root_symbol for pair in pairs}):
            table = frame(*(name for name, _ in calls), "Strike", *(name for name, _ in puts))
            name = f"{expiry:%a %Y-%m-%d}"
            if root != found.underlying_symbol:
                name += f", {root}"
            sides = ("Calls" if calls else "", name, "Puts" if puts else "")
            table.title = "   ".join(filter(None, sides))
            of_root = [pair for pair in pairs if pair.root_symbol == root]
            for row in _rows(of_root, calls, puts, found):
                table.add_row(*row)
            yield from (Text(), table)


def _rows(
    pairs: Iterable[OptionPair],
    calls: Sequence[Column],
    puts: Sequence[Column],
    found: OptionChain,
) -> Iterator[list[RenderableType]]:
    """A row for each strike, and a line where the underlying stands between them."""
    spot = found.underlying_price and found.underlying_price.price
    for pair in pairs:
        if spot is not None and pair.strike_price > spot:
            yield _line(spot, calls, puts)
            spot = None
        strike = Text(price(pair.strike_price), style="bold")
        yield [*_cells(pair.call, calls), strike, *_cells(pair.put, puts)]
    if spot is not None:
        yield _line(spot, calls, puts)


def _cells(option: OptionQuote | None, columns: Sequence[Column]) -> list[RenderableType]:
    """A contract's cells; blank where the chain does not hold it."""
    return ["" if option is None else cell(option) for _, cell in columns]


def _line(spot: Decimal, calls: Sequence[Column], puts: Sequence[Column]) -> list[RenderableType]:
    left, right = ([Rule(style="yellow") for _ in side] for side in (calls, puts))
    return [*left, Text(price(spot), style="bold yellow"), *right]


def _chain_notes(found: OptionChain) -> Iterator[Text]:
    """How many contracts there are, and how many lack what."""
    missing = found.missing
    lacks = {
        "a quote": missing.quotes,
        "a latest trade": missing.latest_trades,
        "greeks": missing.greeks,
        "implied volatility": missing.implied_volatilities,
        "open interest": missing.open_interests,
    }
    said = ", ".join(f"{count(number)} without {what}" for what, number in lacks.items() if number)
    of_all = f"{count(found.total_size)} of {count(found.chain_size)} contracts"
    yield Text(f"{of_all}{': ' if said else ''}{said}.")
    left = {
        "without a delta": found.without_delta,
        "expired": found.expired,
        "refused, for nothing of them is a market value": found.refused,
    }
    for why, number in left.items():
        if number:
            yield Text(f"Left out: {count(number)} {why}.")
    refused = sum(len(option.missing_parts) for option in found.option_quotes)
    if refused:
        yield Text(f"{count(refused)} parts were refused or not to be had: --json says why.")
    if found.contracts_unavailable:
        yield Text("No open interest: ", style="yellow").append_text(
            unavailable(found.contracts_unavailable)
        )
    for option in found.option_quotes:
        yield from flags(option)


# ------------------------------------------------------------------------------------- contracts


def contracts(items: Sequence[OptionContract]) -> RenderableType:
    """Terms and open interest of contracts."""
    headings = (
        *("Symbol", "Expiry", "Type", "Strike", "Shares", "Multiplier", "Style", "Status"),
        *("Tradable", "OI", "Counted", "Close", "Of", "Trades until", "Delivers"),
    )
    rows = [
        (
            *(item.symbol, _date(item.expiry_date), word(item.type), price(item.strike_price)),
            *(_number(item.size), _number(item.multiplier), word(item.style), word(item.status)),
            ABSENT if item.tradable is None else ("yes" if item.tradable else "no"),
            *(_contracts(item.open_interest), _counted(item.open_interest)),
            *(price(item.close_price), _date(item.close_price_date)),
            moment(item.last_trading_time),
            ", ".join(map(_delivery, item.deliverables)) or ABSENT,
        )
        for item in items
    ]
    asked = any(item.deliverables for item in items)
    narrower = [
        *[("Close", "Of"), ("Trades until",), ("Multiplier",), ("Style",), ("Tradable",)],
        # The symbol says them too.
        *[("Expiry", "Type", "Strike"), ("Status",), ("Shares",), ("Counted",)],
    ]
    return fitted(headings, rows, [*([] if asked else [("Delivers",)]), *narrower])


def _counted(interest: OpenInterest | None) -> str:
    return _date(interest.date if interest else None)


def _date(value: date | None) -> str:
    return ABSENT if value is None else f"{value}"


def _delivery(item: OptionDeliverable) -> str:
    """One thing that is delivered, such as `100 SPY`."""
    what = item.symbol or item.type
    return (
        f"{what}, not known yet how much"
        if item.amount is None
        else f"{_number(item.amount)} {what}"
    )
