"""The gate for the past: whole columns meet the very rules that each record would have met by itself."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.ingress import rules
from tickgate_server.ingress.gate import Gate
from tickgate_server.ingress.history import HistoryGate, Judged, RawBars, RawQuotes, RawTrades
from tickgate_server.ingress.records import RawBar, RawQuote, RawTrade
from tickgate_server.market.bar import Bar
from tickgate_server.market.columns import BarBlock, Decimals, Origin, QuoteBlock, decimals
from tickgate_server.market.history_rows import rows
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Refusal

from ...support.fakes import NOW, HandClock, gate

ORIGIN = Origin(DataSource.SANDBOX, Feed.SIP, NOW, "up-1", Tier.UPSTREAM)
ONE = Decimal("1.5")

TIMES = st.sampled_from(
    [NOW, NOW - 1, NOW + 5 * NANOS, NOW + 5 * NANOS + 1, NOW - 2**62, -1, 2**64]
)
PRICES = st.sampled_from(
    [Decimal(text) for text in ("1.5", "1.50", "1.4999", "498.33", "0", "0.00", "-1", "1E9",
                                "999999999.99", "1E-20", "1E-21", "1e-6")]
)  # fmt: skip
COUNTS = st.sampled_from([None, 0, 1, 100, -1, 2**63 - 1, 2**63])
CODES = st.sampled_from([None, "", "Q", " ", "x" * 16, "x" * 17, "\n"])
LISTS = st.sampled_from([(), ("@",), ("@", "T"), ("x" * 17,), tuple("abcdefgh") * 4, ("a",) * 33])


def mostly(sound: Any, any_of_all: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nearly always what is sound, so that most records are and some are not."""
    return st.one_of(st.just(sound), st.just(sound), st.just(sound), any_of_all)


TIME, PRICE, COUNT = mostly(NOW, TIMES), mostly(ONE, PRICES), mostly(1, COUNTS)
CODE, LIST = mostly("Q", CODES), mostly(("@",), LISTS)
BARS = st.builds(
    RawBar, st.just("AAPL"), TIME, PRICE, PRICE, PRICE, PRICE, COUNT, COUNT, st.none() | PRICE
)
TRADES = st.builds(RawTrade, st.just("AAPL"), TIME, PRICE, COUNT, CODE, LIST, COUNT, CODE, CODE)
QUOTES = st.builds(RawQuote, st.just("AAPL"), TIME, PRICE, COUNT, CODE, PRICE, COUNT, CODE, LIST, CODE)  # fmt: skip


def some(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Some records, now and then enough for several stretches."""
    few = st.lists(kind, min_size=1, max_size=6)
    return few | st.tuples(few, st.sampled_from([1, 60])).map(lambda some: some[0] * some[1])


def whole(numbers: list[Decimal]) -> Decimals:
    """A column of numbers."""
    column = decimals(numbers)
    assert column is not None
    return column


def bars(raw: list[RawBar]) -> RawBars:
    """Bars as columns."""
    return RawBars(
        [one.event_time for one in raw], whole([one.open for one in raw]),
        whole([one.high for one in raw]), whole([one.low for one in raw]),
        whole([one.close for one in raw]), [one.volume for one in raw],
        [one.trade_count for one in raw], decimals([one.vwap for one in raw]),
    )  # fmt: skip


def trades(raw: list[RawTrade]) -> RawTrades:
    """Trades as columns."""
    return RawTrades(
        [one.event_time for one in raw], whole([one.price for one in raw]),
        [one.size for one in raw], [one.exchange for one in raw],
        [one.conditions for one in raw], [one.id for one in raw], [one.tape for one in raw],
        [one.amendment for one in raw],
    )  # fmt: skip


def quotes(raw: list[RawQuote]) -> RawQuotes:
    """Quotes as columns."""
    return RawQuotes(
        [one.event_time for one in raw], whole([one.bid_price for one in raw]),
        [one.bid_size for one in raw], [one.bid_exchange for one in raw],
        whole([one.ask_price for one in raw]), [one.ask_size for one in raw],
        [one.ask_exchange for one in raw], [one.conditions for one in raw],
        [one.tape for one in raw],
    )  # fmt: skip


def judge(raw: RawBars | RawTrades | RawQuotes) -> Judged:
    """What becomes of them."""
    return HistoryGate(gate(HandClock())).judge(raw, "AAPL", ORIGIN)


def found(judged: Judged) -> list[Any]:
    """The values, one by one."""
    return [] if judged.block is None else list(rows(judged.block, "AAPL"))


def parted(verdicts: list[Refusal | None], raw: list[Any]) -> tuple[list[Refusal], list[Any]]:
    """The reasons, and the records that have none."""
    refused = [verdict for verdict in verdicts if verdict is not None]
    return refused, [one for one, verdict in zip(raw, verdicts, strict=True) if verdict is None]


def reasons(refused: Sequence[Refusal]) -> list[tuple[str, int | None]]:
    """Which rules, and of which records. As evidence a column shows its numbers with the digits of all of them."""
    return [(one.rule, one.event_time) for one in refused]


def the_gate() -> Gate:
    """What judges single records."""
    return gate(HandClock())


# -------------------------------------------------------------------------------------- the same rules


@given(some(BARS))
def test_bars_meet_the_same_rules(raw: list[RawBar]) -> None:
    """Of bars in columns the very ones are refused that the gate refuses one by one, and for the same reasons."""
    refused, kept = parted([the_gate().check_bar(one, "AAPL") for one in raw], raw)
    judged = judge(bars(raw))
    assert reasons(judged.refused) == reasons(refused)
    assert [_bar(one) for one in found(judged)] == [
        (one.event_time, one.open, one.high, one.low, one.close, one.volume, one.trade_count, one.vwap)
        for one in kept
    ]  # fmt: skip


def _bar(bar: Bar) -> tuple[Any, ...]:
    return (bar.event_time, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count,
            bar.vwap)  # fmt: skip


@given(some(TRADES))
def test_trades_meet_the_same_rules(raw: list[RawTrade]) -> None:
    """Of trades in columns the very ones are refused that the gate refuses one by one, and for the same reasons."""
    refused, kept = parted([the_gate().check_trade(one, "AAPL") for one in raw], raw)
    judged = judge(trades(raw))
    assert reasons(judged.refused) == reasons(refused)
    assert [_trade(one) for one in found(judged)] == [
        (one.event_time, one.price, one.size, one.exchange or None, one.conditions, one.id,
         one.tape or None, one.amendment or None)
        for one in kept
    ]  # fmt: skip


def _trade(trade: Trade) -> tuple[Any, ...]:
    return (trade.event_time, trade.price, trade.size, trade.exchange, trade.conditions, trade.id,
            trade.tape, trade.amendment)  # fmt: skip


@given(some(QUOTES))
def test_quotes_meet_the_same_rules(raw: list[RawQuote]) -> None:
    """Of quotes in columns the very ones are refused that the gate refuses one by one, but crossed ones stay."""
    refused, kept = parted([the_gate().check_quote(one, "AAPL") for one in raw], raw)
    judged = judge(quotes(raw))
    assert reasons(judged.refused) == reasons(refused)
    assert [_quote(one) for one in found(judged)] == [
        (one.event_time, *_side(one.bid_price, one.bid_size, one.bid_exchange),
         *_side(one.ask_price, one.ask_size, one.ask_exchange), one.conditions, one.tape or None)
        for one in kept
    ]  # fmt: skip


def _side(price: Decimal, size: int | None, exchange: str | None) -> tuple[Any, ...]:
    return (price, size, exchange or None) if price else (None, None, None)


def _quote(quote: Quote) -> tuple[Any, ...]:
    sides = [
        (None, None, None) if side is None else (side.price, side.size, side.exchange)
        for side in (quote.bid, quote.ask)
    ]
    return quote.event_time, *sides[0], *sides[1], quote.conditions, quote.tape


# ------------------------------------------------------------------------------ what is told of them


def test_each_rule_can_refuse() -> None:
    """Every rule of a bar, a trade and a quote is among those that columns are judged by."""
    bar = RawBar("AAPL", NOW, ONE, ONE, ONE, ONE, 1, 1, ONE)
    trade = RawTrade("AAPL", NOW, ONE, 1, "Q", (), 1, "C", None)
    quote = RawQuote("AAPL", NOW, ONE, 1, "Q", ONE, 1, "Q", (), "C")
    late, future = NOW + 6 * NANOS, "future_time"
    spoilt: list[tuple[Any, str]] = [
        (bars([bar, _with(bar, high=Decimal(1))]), "bar_order"),
        (bars([bar, _with(bar, low=Decimal(2))]), "bar_order"),
        (bars([bar, _with(bar, vwap=Decimal(0))]), "zero_price"),
        (bars([bar, _with(bar, volume=-1)]), "negative_size"),
        (bars([bar, _with(bar, trade_count=2**63)]), "size_out_of_range"),
        (bars([bar, _with(bar, event_time=late)]), future),
        (trades([trade, _with(trade, price=Decimal(0))]), "zero_price"),
        (trades([trade, _with(trade, price=Decimal("1e9"))]), "price_out_of_range"),
        (trades([trade, _with(trade, price=Decimal("1e-21"))]), "price_out_of_range"),
        (trades([trade, _with(trade, exchange="\0")]), "odd_code"),
        (trades([trade, _with(trade, conditions=("x" * 17,))]), "odd_code"),
        (trades([trade, _with(trade, event_time=late)]), future),
        (quotes([quote, _with(quote, bid_price=Decimal(-1))]), "negative_price"),
        (quotes([quote, _with(quote, ask_size=-1)]), "negative_size"),
        (quotes([quote, _with(quote, event_time=late)]), future),
    ]
    for raw, rule in spoilt:
        judged = judge(raw)
        assert [one.rule for one in judged.refused] == [rule]
        assert len(found(judged)) == 1


def _with(raw: Any, **changed: Any) -> Any:
    fields = {name: getattr(raw, name) for name in raw.__struct_fields__}
    return type(raw)(**(fields | changed))


def test_a_crossed_quote_of_the_past_stays() -> None:
    """A quote whose bid was above its ask was crossed, and is told as it was, even where live ones are refused."""
    crossed = RawQuote("AAPL", NOW, Decimal(2), 1, "Q", ONE, 1, "V", (), "C")
    assert the_gate()._check_quote(crossed, "AAPL") is not None
    (quote,) = found(judge(quotes([crossed])))
    assert (quote.bid.price, quote.ask.price) == (2, ONE)


def test_empty_sides_have_nothing() -> None:
    """A side without a price has neither size nor exchange; two empty sides are a row that says so."""
    full = RawQuote("AAPL", NOW, ONE, 3, "Q", ONE, 4, "V", ("R",), "C")
    no_ask = _with(full, ask_price=Decimal(0), ask_size=0, ask_exchange=" ")
    nothing = _with(no_ask, bid_price=Decimal("0.00"), bid_size=7, bid_exchange="Z")
    judged = judge(quotes([full, no_ask, nothing]))
    assert isinstance(judged.block, QuoteBlock)
    assert judged.refused == ()
    block = judged.block
    assert block.ask_price is not None
    assert block.ask_price.unset == (1, 2)
    assert [_quote(one)[1:7] for one in found(judged)] == [
        (ONE, 3, "Q", ONE, 4, "V"),
        (ONE, 3, "Q", None, None, None),
        (None,) * 6,
    ]
    judged = judge(quotes([nothing, nothing]))
    assert isinstance(judged.block, QuoteBlock)
    assert len(judged.block) == 2
    sides = [column for name, column in judged.block.columns.items() if name[:3] in ("bid", "ask")]
    assert sides == [None] * 6


def test_blocks_say_where_they_came_from() -> None:
    """A block has the origin of its answer, and a column that no row has a value for is left out."""
    bar = RawBar("AAPL", NOW, ONE, ONE, ONE, ONE, None, None, None)
    judged = judge(bars([bar]))
    assert isinstance(judged.block, BarBlock)
    assert judged.block.origin == ORIGIN
    assert judged.block.receive_times is None
    assert (judged.block.volume, judged.block.trade_count, judged.block.vwap) == (None, None, None)


def test_a_whole_page_of_refusals() -> None:
    """Where every record is refused there is no block, and each has its reason."""
    judged = judge(trades([RawTrade("AAPL", NOW, Decimal(0), 1, "Q", (), 1, "C", None)] * 300))
    assert judged.block is None
    assert [one.rule for one in judged.refused] == ["zero_price"] * 300


def test_only_odd_stretches_are_looked_at_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad record among ten thousand sends its neighbours through the rules one by one, and no others."""
    looked: list[str] = []
    check = rules.check_price

    def watched(name: str, price: Decimal, time: int) -> Refusal | None:
        looked.append(name)
        return check(name, price, time)

    monkeypatch.setattr(rules, "check_price", watched)
    sound = RawTrade("AAPL", NOW, ONE, 1, "Q", (), 1, "C", None)
    records = [sound] * 10_000
    judged = judge(trades(records))
    assert (len(found(judged)), looked) == (10_000, [])
    records[5_000] = _with(sound, price=Decimal(-1))
    judged = judge(trades(records))
    assert len(judged.refused) == 1
    assert len(found(judged)) == 9_999
    assert 0 < len(looked) <= 256
