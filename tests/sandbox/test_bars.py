"""Bars added up from trades."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_sandbox.bars import DayBars, Totals, Trade, weigh
from tickgate_sandbox.timestamps import new_york

DAY = date(2024, 3, 13)
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
OPEN = new_york(DAY, 9, 30)


class Tape:
    """Trades given by minute and second after the open, price, size and conditions."""

    def __init__(self, *trades: tuple[float, str, int, str]) -> None:
        self._trades = [
            Trade(
                OPEN + round(minute * MINUTE),
                Decimal(price),
                size,
                weigh(tuple(conditions), "C"),
            )
            for minute, price, size, conditions in trades
        ]

    def trades(self, start: int, end: int) -> Iterable[Trade]:
        return [trade for trade in self._trades if start <= trade.time < end]


def minute_bar(tape: Tape, minute: float) -> bytes | None:
    """Return the minute bar that is known so many minutes after the open."""
    bar = DayBars(tape, DAY).minute_bar(OPEN + round(minute * MINUTE))
    return bar[1] if bar is not None else None


def daily_bar(tape: Tape, minute: float) -> bytes | None:
    """Return the daily bar as it stands so many minutes after the open."""
    bar = DayBars(tape, DAY).daily_bar(OPEN + round(minute * MINUTE))
    return bar[1] if bar is not None else None


def test_minute_bar() -> None:
    """A minute bar has the first, highest, lowest and last price, in their own digits."""
    tape = Tape((0, "10.50", 100, "@"), (0.5, "11", 100, "@"), (0.9, "9.2501", 200, "@"))

    assert minute_bar(tape, 1) == (
        b'{"t":"2024-03-13T13:30:00Z","o":10.50,"h":11,"l":9.2501,"c":9.2501,'
        b'"v":400,"n":3,"vw":10.00005}'
    )


def test_minute_must_be_over() -> None:
    """A minute that has not ended has no bar yet; the one before still stands."""
    tape = Tape((0, "10", 100, "@"), (1, "11", 100, "@"))

    assert minute_bar(tape, 0.99) is None
    assert b'"c":10,' in (minute_bar(tape, 1.99) or b"")
    assert b'"c":11,' in (minute_bar(tape, 2) or b"")


def test_no_bar_without_a_price() -> None:
    """A minute of odd lots alone has no bar, and neither has one without trades."""
    tape = Tape((0, "10", 100, "@"), (1, "99", 5, "@I"))

    assert b'"t":"2024-03-13T13:30:00Z"' in (minute_bar(tape, 5) or b"")


def test_odd_lots_add_volume_only() -> None:
    """An odd lot counts in the volume and moves no price."""
    tape = Tape((0, "10", 100, "@"), (0.5, "99", 5, "@I"))

    assert b'"h":10,"l":10,"c":10,"v":105,"n":2' in (minute_bar(tape, 1) or b"")


def test_extended_hours() -> None:
    """Trades in extended hours move minute bars but not the prices of the day."""
    tape = Tape((-60, "20", 100, "@T"), (0, "10", 100, "@"))

    assert b'"h":20' in (minute_bar(tape, -59) or b"")
    assert b'"o":10,"h":10,"l":10,"c":10,"v":200,"n":2' in (daily_bar(tape, 1) or b"")


def test_no_daily_bar_before_the_open() -> None:
    """Before a trade of the regular session the day has no bar."""
    assert daily_bar(Tape((-60, "20", 100, "@T")), -1) is None


def test_daily_bar_runs() -> None:
    """The bar of a day holds exactly the trades up to the instant."""
    tape = Tape((0, "10", 100, "@"), (0.5, "12", 100, "@"), (0.75, "11", 100, "@"))

    assert b'"h":10,' in (daily_bar(tape, 0) or b"")
    assert b'"h":12,"l":10,"c":12,"v":200' in (daily_bar(tape, 0.5) or b"")
    assert b'"t":"2024-03-13T04:00:00Z"' in (daily_bar(tape, 400) or b"")


@pytest.mark.parametrize("condition", ["M", "Q", "9"])
def test_official_prices_add_no_volume(condition: str) -> None:
    """Official opening and closing prices repeat volume that was counted before."""
    assert not weigh((condition,), "A").adds_volume


def test_average_price_depends_on_the_tape() -> None:
    """B is an average price on the NYSE tapes, and a bunched trade that counts on Nasdaq's."""
    assert not weigh(("B",), "A").sets_price
    assert weigh(("B",), "C").sets_price


def test_vwap_without_volume() -> None:
    """A bar of trades that add no volume has no average price."""
    bar = minute_bar(Tape((0, "10", 100, "9")), 1)

    assert bar is not None
    assert "vw" not in msgspec.json.decode(bar)


@given(
    st.lists(
        st.tuples(
            st.decimals("0.01", "999", places=2),
            st.integers(1, 1000),
            st.sampled_from(["@", "@I", "@T", "M"]),
        ),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_totals_can_be_joined_anywhere(drawn: list[tuple[Decimal, int, str]], cut: int) -> None:
    """Two stretches joined add up to the whole, wherever they are cut."""
    trades = [
        Trade(index, price, size, weigh(tuple(conditions), "C"))
        for index, (price, size, conditions) in enumerate(drawn)
    ]

    assert Totals.of(trades[:cut]).plus(Totals.of(trades[cut:])) == Totals.of(trades)
