"""Filters of chains, each by itself and all together, against a plain reading of what they promise."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickgate_server.market.chain import Around, Chain, ChainFilter, DeltaBand, Gaps, Selection
from tickgate_server.market.occ import OptionType
from tickgate_server.market.option import ContractFilter, Greeks, OptionQuote
from tickgate_server.market.trade import Trade

from ...support.fakes import NOW, trade
from ...support.options import (
    chain_of,
    option,
    option_bar,
    option_quote,
    option_trade,
    quoted,
    symbol_of,
    whole_option,
)

DATES = [datetime.date(2026, 11, 20), datetime.date(2026, 11, 27), datetime.date(2027, 1, 15)]
LADDER = ["9", "10", "10.5", "11", "100"]
ROOTS = ["AAPL", "AAPL1"]


@st.composite
def values(draw: st.DrawFn) -> list[OptionQuote]:
    """Some contracts of a chain, each with some parts."""
    key = st.tuples(
        st.sampled_from(ROOTS),
        st.sampled_from(DATES),
        st.sampled_from("CP"),
        st.sampled_from(LADDER),
    )
    stamps = st.none() | st.integers(NOW - 3, NOW + 3)
    found = []
    for root, expiry, letter, strike in draw(st.lists(key, max_size=24, unique=True)):
        symbol = symbol_of(strike, root=root, expiry=f"{expiry:%y%m%d}", letter=letter)
        deltas = st.none() | st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0])
        parts: dict[str, Any] = {
            "quote": draw(st.none() | stamps.map(lambda at, of=symbol: option_quote(of, at=at))),  # type: ignore[misc]  # bound
            "latest_trade": draw(
                st.none() | stamps.map(lambda at, of=symbol: option_trade(of, at=at))  # type: ignore[misc]  # bound
            ),
            "greeks": draw(st.none() | deltas.map(lambda delta: Greeks(delta, 0.1))),
            "implied_volatility": draw(st.none() | st.just(0.3)),
        }
        found.append(option(symbol, **parts))
    return found


STRIKES = st.sampled_from([*LADDER, "0", "10.25", "99999"]).map(Decimal)
BANDS = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.3, 1.0]), min_size=2, max_size=2).map(sorted)
CONTRACTS = st.builds(
    ContractFilter,
    type=st.none() | st.sampled_from(OptionType),
    start=st.none() | st.sampled_from(DATES),
    end=st.none() | st.sampled_from(DATES),
    lowest=st.none() | STRIKES,
    highest=st.none() | STRIKES,
    root=st.sampled_from(["", *ROOTS, "MSFT"]),
)
WIDTHS = st.builds(Around, strikes=st.integers(1, 4)) | st.builds(
    Around, percent=st.sampled_from(["0.001", "5", "100", "1000"]).map(Decimal)
)
FILTERS = st.builds(
    ChainFilter,
    contracts=st.just(ContractFilter()) | CONTRACTS,
    updated_since=st.none() | st.integers(NOW - 4, NOW + 4),
    around=st.none() | WIDTHS,
    delta=st.none() | BANDS.map(lambda ends: DeltaBand(*ends)),
)

PRICES = st.sampled_from(["1", "9", "10.2", "10.5", "50", "500"]).map(
    lambda text: trade(price=text)
)


def plainly(
    chain: Sequence[OptionQuote], wanted: ChainFilter, price: Trade
) -> tuple[list[str], int]:
    """Symbols that pass, and how many a band of delta cannot judge: contract by contract, by what the filter says."""
    of = wanted.contracts
    rest: list[Any] = []
    for value in chain:
        root, (letter, strike) = value.symbol[:-15], (value.symbol[-9], value.symbol[-8:])
        day = datetime.datetime.strptime(value.symbol[-15:-9], "%y%m%d").date()  # noqa: DTZ007 - a date
        thousandths = int(strike)
        if (
            (of.type is None or of.type.value == letter)
            and (of.start is None or of.start <= day)
            and (of.end is None or day < of.end)
            and (of.lowest is None or of.lowest * 1000 <= thousandths)
            and (of.highest is None or thousandths <= of.highest * 1000)
            and of.root in ("", root)
        ):
            rest.append((day, Decimal(thousandths) / 1000, letter, root, value))
    if wanted.around is not None:
        rest = [one for one in rest if _is_near(one, rest, wanted.around, price.price)]
    if (since := wanted.updated_since) is not None:
        rest = [one for one in rest if any(at > since for at in _stamps(one[4]))]
    without = 0
    if wanted.delta is not None:
        judged = []
        for one in rest:
            delta = one[4].greeks.delta if one[4].greeks is not None else None
            if delta is None:
                without += 1
            elif wanted.delta.low <= delta <= wanted.delta.high:
                judged.append(one)
        rest = judged
    return [one[4].symbol for one in sorted(rest, key=lambda one: one[:4])], without


def _stamps(value: OptionQuote) -> list[int]:
    parts = (value.quote, value.latest_trade)
    return [part.provenance.event_time or 0 for part in parts if part is not None]


def _is_near(one: Any, rest: Sequence[Any], around: Around, price: Decimal) -> bool:
    strike = one[1]
    if around.percent is not None:
        return bool(abs(strike - price) * 100 <= price * around.percent)
    strikes = {other[1] for other in rest if other[0] == one[0]}
    between = (
        {other for other in strikes if strike < other <= price}
        if strike <= price
        else {other for other in strikes if price < other < strike}
    )
    assert around.strikes is not None
    return len(between) < around.strikes


# Drawing a chain takes long on a busy machine; that is no part of the law.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values(), FILTERS, PRICES)
def test_a_contract_is_chosen_when_it_passes_every_filter(
    chain: list[OptionQuote], wanted: ChainFilter, price: Trade
) -> None:
    """Whatever the chain and the filters, exactly those that pass all are chosen, in order, and gaps counted."""
    selection = chain_of(chain).select(wanted, price)
    expected, without = plainly(chain, wanted, price)
    assert [entry.quote.symbol for entry in selection.entries] == expected
    assert selection.without_delta == without
    chosen = [value for value in chain if value.symbol in expected]
    assert selection.missing == Gaps(
        quotes=len([1 for value in chosen if value.quote is None]),
        latest_trades=len([1 for value in chosen if value.latest_trade is None]),
        greeks=len([1 for value in chosen if value.greeks is None]),
        implied_volatilities=len([1 for value in chosen if value.implied_volatility is None]),
    )


# ------------------------------------------------------------------------------- one at a time

LISTED = [
    symbol_of(strike, letter=letter, expiry=expiry)
    for expiry in ("261120", "261127")
    for strike in ("240", "245", "250", "255")
    for letter in "CP"
]
WHOLE = chain_of(whole_option(symbol) for symbol in LISTED)


def chosen(chain: Chain = WHOLE, *, price: str = "250", **wanted: Any) -> list[str]:
    """What a filter takes."""
    return [entry.quote.symbol for entry in select(chain, price, **wanted).entries]


def select(chain: Chain, price: str = "250", **wanted: Any) -> Selection:
    """Filter a chain."""
    return chain.select(ChainFilter(**wanted), trade(price=price))


def strikes(found: Sequence[str], expiry: str = "261120") -> list[int]:
    """The strikes of some contracts of one date, in order and once each."""
    return sorted({int(symbol[-8:-3]) for symbol in found if symbol[-15:-9] == expiry})


def test_no_filter_takes_the_chain() -> None:
    """An empty filter takes every contract, as it stands."""
    selection = select(WHOLE)
    assert list(selection.entries) == list(WHOLE.entries)
    assert selection.missing == Gaps(0, 0, 0, 0)
    assert [entry.quote.symbol for entry in selection.entries] == LISTED


@pytest.mark.parametrize(
    ("terms", "matches"),
    [
        ({"type": OptionType.PUT}, lambda symbol: symbol[-9] == "P"),
        ({"start": DATES[1]}, lambda symbol: "261127" in symbol),
        ({"end": DATES[1]}, lambda symbol: "261120" in symbol),
        ({"start": DATES[0], "end": DATES[1]}, lambda symbol: "261120" in symbol),
        ({"lowest": Decimal(245), "highest": Decimal("250.0")}, lambda s: s[-8:-3] in ("00245", "00250")),
        ({"lowest": Decimal("245.001")}, lambda symbol: symbol[-8:] > "00245000"),
        ({"root": "AAPL1"}, lambda _: False),
        ({"root": "AAPL", "type": OptionType.CALL}, lambda symbol: symbol[-9] == "C"),
    ],
)  # fmt: skip
def test_terms(terms: dict[str, Any], matches: Callable[[str], bool]) -> None:
    """Both strikes and the first date belong to their ranges, the end of the dates does not."""
    wanted = ContractFilter(**terms)
    assert chosen(contracts=wanted) == [symbol for symbol in LISTED if matches(symbol)]


@pytest.mark.parametrize(
    ("price", "each_side", "expected"),
    [
        ("250", 1, [250, 255]),  # on a strike, which counts as at or below
        ("250", 2, [245, 250, 255]),
        ("249.99", 1, [245, 250]),  # between two
        ("247.5", 2, [240, 245, 250, 255]),
        ("239.99", 2, [240, 245]),  # below the ladder
        ("240", 1, [240, 245]),
        ("255", 3, [245, 250, 255]),  # at its top
        ("1000", 1, [255]),  # above it
        ("250", 1000, [240, 245, 250, 255]),
    ],
)
def test_strikes_around_a_price(price: str, each_side: int, expected: list[int]) -> None:
    """So many strikes at or below the price and so many above are taken, with calls and puts, as far as there are."""
    found = chosen(price=price, around=Around(strikes=each_side))
    assert strikes(found) == strikes(found, "261127") == expected
    assert len(found) == 4 * len(expected)


def test_each_date_has_its_own_ladder() -> None:
    """Strikes are counted for each date by itself: where few are listed, farther ones are near."""
    sparse = [symbol_of(strike, expiry="270115") for strike in ("200", "300", "400")]
    chain = chain_of(quoted(symbol) for symbol in (*LISTED, *sparse))
    found = chosen(chain, around=Around(strikes=1))
    assert strikes(found) == [250, 255]
    assert strikes(found, "270115") == [200, 300]


def test_strikes_are_those_of_the_chosen_terms() -> None:
    """Strikes are counted among the contracts that the terms let pass: an adjusted series has a ladder of its own."""
    adjusted = [symbol_of(strike, root="AAPL1") for strike in ("125", "251", "375")]
    chain = chain_of(quoted(symbol) for symbol in (*LISTED, *adjusted))
    wanted = ContractFilter(root="AAPL1")
    found = chosen(chain, contracts=wanted, around=Around(strikes=1))
    assert strikes(found) == [125, 251]


def test_nearness_does_not_hang_on_what_has_moved() -> None:
    """A contract far from the price is not near because the nearer ones have not moved since."""
    moved = symbol_of("240")
    chain = chain_of(quoted(symbol, at=NOW + (symbol == moved)) for symbol in LISTED)
    assert chosen(chain, updated_since=NOW) == [moved]
    assert moved not in chosen(chain, around=Around(strikes=1))
    assert chosen(chain, updated_since=NOW, around=Around(strikes=1)) == []


@pytest.mark.parametrize(
    ("price", "percent", "expected"),
    [
        ("250", "2", [245, 250, 255]),  # both ends belong to it
        ("250", "1.999", [250]),
        ("250", "0.0001", [250]),
        ("252", "1000", [240, 245, 250, 255]),
        ("252.5", "1", [250, 255]),
    ],
)
def test_percent_around_a_price(price: str, percent: str, expected: list[int]) -> None:
    """A percentage of the price is taken below and above it, its ends included."""
    assert strikes(chosen(price=price, around=Around(percent=Decimal(percent)))) == expected


def test_contracts_that_moved() -> None:
    """Only contracts whose quote or trade is stamped later have moved: not at the instant, not without a stamp."""
    parts: dict[str, dict[str, Any]] = {
        "quote": {"quote": option_quote(at=NOW + 1), "latest_trade": option_trade(at=NOW - 9)},
        "trade": {"quote": option_quote(at=NOW - 9), "latest_trade": option_trade(at=NOW + 1)},
        "at": {"quote": option_quote(at=NOW), "latest_trade": option_trade(at=NOW)},
        "undated": {"quote": option_quote(at=None)},
        "model": {"greeks": Greeks(0.5), "implied_volatility": 0.3},
        "bars": {"minute_bar": option_bar(NOW + 1), "daily_bar": option_bar(NOW + 1)},
    }
    of = {name: symbol_of(str(100 + number)) for number, name in enumerate(parts)}
    chain = chain_of(option(of[name], **known) for name, known in parts.items())
    assert chosen(chain, updated_since=NOW) == [of["quote"], of["trade"]]
    assert chosen(chain, updated_since=0) == [of["quote"], of["trade"], of["at"]]


def test_a_band_of_delta() -> None:
    """Both ends belong to the band, and contracts without a delta are left out and counted."""
    deltas = {"1": -0.5, "2": 0.0, "3": 0.5, "4": 0.5000001, "5": None, "6": -0.6}
    known = [
        option(symbol_of(strike), greeks=Greeks(delta, 0.1), quote=option_quote())
        for strike, delta in deltas.items()
    ]
    chain = chain_of([*known, quoted(symbol_of("7"))])
    selection = select(chain, delta=DeltaBand(-0.5, 0.5))
    found = [entry.quote.symbol for entry in selection.entries]
    assert found == [symbol_of("1"), symbol_of("2"), symbol_of("3")]
    assert selection.without_delta == 2
    assert selection.missing == Gaps(quotes=0, latest_trades=3, greeks=0, implied_volatilities=3)


def test_only_who_passes_all_else_counts_as_without_delta() -> None:
    """A contract that another filter leaves out is not counted for its lack of a delta."""
    selection = select(
        chain_of(quoted(symbol) for symbol in LISTED),
        contracts=ContractFilter(type=OptionType.CALL),
        around=Around(strikes=1),
        delta=DeltaBand(-1.0, 1.0),
    )
    assert (list(selection.entries), selection.without_delta) == ([], 4)


def test_an_absent_delta_is_not_zero() -> None:
    """A band that holds zero does not take contracts without a delta."""
    chain = chain_of([option(symbol_of("1"), greeks=Greeks(None, 0.0)), quoted(symbol_of("2"))])
    assert chosen(chain, delta=DeltaBand(-0.1, 0.1)) == []


def test_an_empty_chain() -> None:
    """Nothing is chosen out of nothing, whatever is wanted."""
    for wanted in (ChainFilter(), ChainFilter(around=Around(strikes=1), delta=DeltaBand(0, 1))):
        selection = chain_of([]).select(wanted, trade())
        assert (list(selection.entries), selection.missing) == ([], Gaps(0, 0, 0, 0))
