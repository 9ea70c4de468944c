"""Columns of the past taken apart into single values."""

from __future__ import annotations

from array import array
from decimal import Decimal

from tickgate_server.market.bar import Bar
from tickgate_server.market.columns import (
    BarBlock,
    Origin,
    QuoteBlock,
    TradeBlock,
    codes,
    counts,
    decimals,
)
from tickgate_server.market.history_rows import rows
from tickgate_server.market.provenance import DataSource, Feed, Provenance, Tier
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.trade import Trade

ORIGIN = Origin(DataSource.SANDBOX, Feed.IEX, 70, "upstream-1", Tier.STORE)
PRICES = decimals([Decimal("10.01"), Decimal("10.5")])


def origin(event_time: int, receive_time: int = 70) -> Provenance:
    """The origin of a row."""
    return Provenance(DataSource.SANDBOX, Feed.IEX, event_time, receive_time, "upstream-1")


def test_bars_come_out_row_by_row() -> None:
    """Each bar has its own start, and what the upstream did not send stays unset."""
    assert PRICES is not None
    block = BarBlock(
        ORIGIN,
        array("q", [1, 2]),
        open=PRICES,
        high=PRICES,
        low=PRICES,
        close=PRICES,
        volume=counts([5, None]),
        trade_count=None,
        vwap=decimals([None, Decimal("10.2")]),
    )
    low, high = Decimal("10.01"), Decimal("10.5")

    assert list(rows(block, "IBM")) == [
        Bar("IBM", low, low, low, low, 5, None, None, origin(1)),
        Bar("IBM", high, high, high, high, None, None, Decimal("10.2"), origin(2)),
    ]


def test_trades_that_were_received_one_by_one_say_when_each_was() -> None:
    """A row's own receive time goes before that of the block; a single condition is a list of one."""
    assert PRICES is not None
    block = TradeBlock(
        ORIGIN,
        array("q", [1, 1]),
        price=PRICES,
        size=counts([100, 3]),
        exchange=codes(["V", None]),
        conditions=codes([("@", "I"), None]),
        id=None,
        tape=codes(["C", "C"]),
        amendment=codes([None, "canceled"]),
        receive_times=array("q", [50, 60]),
    )

    assert list(rows(block, "IBM")) == [
        Trade("IBM", Decimal("10.01"), 100, "V", ("@", "I"), None, "C", None, origin(1, 50)),
        Trade("IBM", Decimal("10.5"), 3, None, (), None, "C", "canceled", origin(1, 60)),
    ]


def test_quotes_have_the_sides_that_were_there() -> None:
    """A side without a price is none."""
    block = QuoteBlock(
        ORIGIN,
        array("q", [1, 2]),
        bid_price=decimals([Decimal(10), None]),
        bid_size=counts([2, None]),
        bid_exchange=codes(["V", None]),
        ask_price=None,
        ask_size=None,
        ask_exchange=None,
        conditions=codes(["R", None]),
        tape=None,
    )

    assert list(rows(block, "IBM")) == [
        Quote("IBM", QuoteSide(Decimal(10), 2, "V"), None, ("R",), None, origin(1)),
        Quote("IBM", None, None, (), None, origin(2)),
    ]
