"""The gate: every rule at its border, and nothing in a value that was not in its record."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

import tickgate_server
from tickgate_server.ingress.context import Verdict
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.ingress.records import (
    RawBands,
    RawBar,
    RawCancellation,
    RawCorrection,
    RawExecution,
    RawQuote,
    RawStatus,
    RawTrade,
    Receipt,
)
from tickgate_server.market.bar import Bar
from tickgate_server.market.live import (
    CorrectedTrade,
    PriceBands,
    TradeCancellation,
    TradeCorrection,
    TradingStatus,
)
from tickgate_server.market.provenance import DataSource, Feed, Provenance
from tickgate_server.market.quote import Quote
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable

from ...support.context import OFF, Desk, policy
from ...support.fakes import NOW, HandClock, gate

SOURCES = Path(tickgate_server.__file__).parent
RECEIPT = Receipt(DataSource.SANDBOX, Feed.IEX, NOW + 3, "up-1")
QUOTE = RawQuote("AAPL", NOW, Decimal("10.00"), 100, "V", Decimal("10.02"), 200, "Q", ("R",), "C")
TRADE = RawTrade("AAPL", NOW, Decimal("10.01"), 50, "V", ("@", "F"), 7, "C", "corrected")
BAR = RawBar(
    "AAPL", NOW, Decimal(10), Decimal(12), Decimal(9), Decimal(11), 500, 12, Decimal("10.5")
)  # fmt: skip
LARGEST = 2**63 - 1


def let_in(
    raw: RawQuote | RawTrade | RawBar, through: Gate | None = None, asked: str = "AAPL"
) -> Any:
    """What a gate makes of a record about AAPL."""
    through = through or gate(HandClock())
    if isinstance(raw, RawQuote):
        return through.quote(raw, asked, RECEIPT)
    if isinstance(raw, RawTrade):
        return through.trade(raw, asked, RECEIPT)
    return through.bar(raw, asked, RECEIPT)


def rule(raw: RawQuote | RawTrade | RawBar, asked: str = "AAPL") -> str | None:
    """The rule that refuses a record, or None if none does."""
    refusals: dict[str, int] = {}
    outcome = let_in(raw, gate(HandClock(), refusals), asked)
    if not isinstance(outcome, Unavailable):
        assert refusals == {}
        return None
    assert outcome.reason is Reason.INVALID_DATA
    assert outcome.refusal is not None
    assert refusals == {outcome.refusal.rule: 1}
    assert outcome.refusal.evidence in outcome.message
    assert len(outcome.message) < 300
    return outcome.refusal.rule


def test_a_good_quote_passes_whole() -> None:
    """Everything a quote record holds is in the quote, with the receipt as its origin."""
    value = let_in(QUOTE)
    assert isinstance(value, Quote)
    assert value.symbol == "AAPL"
    assert value.bid is not None
    assert value.ask is not None
    assert (value.bid.price, value.bid.size, value.bid.exchange) == (Decimal("10.00"), 100, "V")
    assert (value.ask.price, value.ask.size, value.ask.exchange) == (Decimal("10.02"), 200, "Q")
    assert (value.conditions, value.tape) == (("R",), "C")
    assert value.provenance == Provenance(DataSource.SANDBOX, Feed.IEX, NOW, NOW + 3, "up-1")


def test_a_good_trade_passes_whole() -> None:
    """Everything a trade record holds is in the trade."""
    value = let_in(TRADE)
    assert isinstance(value, Trade)
    kept = asdict(value)
    assert kept.pop("provenance") == Provenance(DataSource.SANDBOX, Feed.IEX, NOW, NOW + 3, "up-1")
    assert kept.pop("rule_flags") == ()
    assert kept == {key: item for key, item in asdict(TRADE).items() if key != "event_time"}


def test_a_good_bar_passes_whole() -> None:
    """Everything a bar record holds is in the bar, its start as the event time."""
    value = let_in(BAR)
    assert isinstance(value, Bar)
    assert value.event_time == NOW
    kept = asdict(value)
    del kept["provenance"], kept["rule_flags"]
    assert kept == {key: item for key, item in asdict(BAR).items() if key != "event_time"}


def test_every_rule_is_explained() -> None:
    """Each rule that refuses what the upstream sent has its row in docs/errors.md."""
    sources = [path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py")]
    named = {rule for text in sources for rule in re.findall(r'Refusal\(\s*"(\w+)"', text)}
    judged = (SOURCES / "ingress/rules.py").read_text(encoding="utf-8")
    named |= {
        rule for line in re.findall(r'"""(`.+?):', judged) for rule in re.findall(r"`(\w+)`", line)
    }
    page = (Path(__file__).parents[3] / "docs/errors.md").read_text(encoding="utf-8")
    rows = {
        rule
        for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
        for rule in re.findall(r"`(\w+)`", row)
    }

    assert {"negative_size", "wrong_type", "contract_mismatch"} < named
    assert named <= rows, named - rows


@pytest.mark.parametrize("raw", [QUOTE, TRADE, BAR])
def test_another_symbol_is_refused(raw: RawQuote | RawTrade | RawBar) -> None:
    """A record about another symbol than the asked one is `symbol_mismatch`."""
    assert rule(raw, asked="IBM") == "symbol_mismatch"


@pytest.mark.parametrize("raw", [QUOTE, TRADE, BAR])
def test_the_future_begins_after_the_tolerance(raw: RawQuote | RawTrade | RawBar) -> None:
    """A record may be stamped as far ahead of the market as the tolerance, and not a nanosecond more."""
    assert rule(replace(raw, event_time=NOW + 5 * NANOS)) is None
    assert rule(replace(raw, event_time=NOW + 5 * NANOS + 1)) == "future_time"


@pytest.mark.parametrize("raw", [QUOTE, TRADE, BAR])
def test_the_past_ends_before_its_tolerance(raw: RawQuote | RawTrade | RawBar) -> None:
    """What a live feed brings may be stamped as long ago as the tolerance; an answer may be of any age."""
    live = Gate(
        Policy(refuse_crossed=True, future_tolerance=5 * NANOS, past_tolerance=60 * NANOS),
        HandClock(),
        {},
    )
    ages = {
        age: let_in(replace(raw, event_time=NOW - age), live)
        for age in (60 * NANOS, 60 * NANOS + 1)
    }

    assert not isinstance(ages[60 * NANOS], Unavailable)
    assert ages[60 * NANOS + 1].refusal.rule == "past_time"
    assert rule(replace(raw, event_time=0)) is None


def test_a_refusal_carries_its_event_time() -> None:
    """What was refused still tells when it happened, and how far in the future that lies."""
    why = let_in(replace(QUOTE, event_time=NOW + 8 * NANOS))
    assert why.last_event_time == NOW + 8 * NANOS
    assert "8.000 s ahead" in why.refusal.evidence


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("0.00000000000000000001", None),
        ("11.370000000000001", None),
        ("999999999.999999999999", None),
        ("1000000000", "price_out_of_range"),
        ("0.000000000000000000001", "price_out_of_range"),
        ("1.000000000000000000000", "price_out_of_range"),
        ("1E+400", "price_out_of_range"),
        ("1E-400", "price_out_of_range"),
        ("-0.01", "negative_price"),
        ("-1E+400", "negative_price"),
    ],
)
@pytest.mark.parametrize(
    ("raw", "field"),
    [(QUOTE, "bid_price"), (QUOTE, "ask_price"), (TRADE, "price"), (BAR, "vwap")],
    ids=["bid", "ask", "trade", "vwap"],
)
def test_prices_have_bounds(
    raw: RawQuote | RawTrade | RawBar, field: str, price: str, expected: str | None
) -> None:
    """A price is above zero, below a billion, and has at most twenty decimals."""
    changed: dict[str, Any] = {field: Decimal(price)}
    if isinstance(raw, RawQuote):
        changed = {"bid_price": Decimal(0), "ask_price": Decimal(0)} | changed
    assert rule(replace(raw, **changed)) == expected


@pytest.mark.parametrize("field", ["open", "high", "low", "close", "vwap"])
def test_no_price_of_a_bar_is_zero(field: str) -> None:
    """A zero in a bar is no price."""
    assert rule(replace(BAR, **{field: Decimal("0.00")})) == "zero_price"


def test_a_trade_at_zero_is_refused() -> None:
    """Nothing is traded for nothing."""
    assert rule(replace(TRADE, price=Decimal(0))) == "zero_price"


def test_a_bar_may_lack_its_average() -> None:
    """A bar without a volume-weighted price is a bar, and stays without one."""
    assert let_in(replace(BAR, vwap=None)).vwap is None


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (QUOTE, "bid_size"),
        (QUOTE, "ask_size"),
        (TRADE, "size"),
        (TRADE, "id"),
        (BAR, "volume"),
        (BAR, "trade_count"),
    ],
    ids=["bid_size", "ask_size", "trade size", "trade id", "volume", "trade_count"],
)
def test_counts_have_bounds(raw: RawQuote | RawTrade | RawBar, field: str) -> None:
    """A number of shares or trades is missing, zero, or what 63 bits hold."""
    for fine in (None, 0, LARGEST):
        assert rule(replace(raw, **{field: fine})) is None
    assert rule(replace(raw, **{field: -1})) == "negative_size"
    assert rule(replace(raw, **{field: LARGEST + 1})) == "size_out_of_range"
    assert rule(replace(raw, **{field: -(10**300)})) == "negative_size"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"tape": "C" * 16, "conditions": ("@",) * 32}, None),
        ({"tape": "C" * 17}, "odd_code"),
        ({"tape": "C\n"}, "odd_code"),
        ({"conditions": ("@", "C" * 17)}, "odd_code"),
        ({"conditions": ("@",) * 33}, "odd_code"),
    ],
)
@pytest.mark.parametrize("raw", [QUOTE, TRADE], ids=["quote", "trade"])
def test_codes_have_bounds(
    raw: RawQuote | RawTrade, changed: dict[str, Any], expected: str | None
) -> None:
    """A code is short and printable, and a record has no more than a few dozen conditions."""
    assert rule(replace(raw, **changed)) == expected


@pytest.mark.parametrize("zero", ["0", "0.00", "-0", "0E+5"])
def test_a_price_of_zero_empties_its_side(zero: str) -> None:
    """However a zero is written, the side is unset, its size and venue with it."""
    no_bid = let_in(replace(QUOTE, bid_price=Decimal(zero)))
    assert no_bid.bid is None
    assert no_bid.ask.price == Decimal("10.02")
    no_ask = let_in(replace(QUOTE, ask_price=Decimal(zero)))
    assert no_ask.ask is None
    assert no_ask.bid.price == Decimal("10.00")


def test_two_empty_sides_are_no_data() -> None:
    """A quote without an order is no quote: NO_DATA, no rule, and the time of the empty book."""
    refusals: dict[str, int] = {}
    empty = replace(QUOTE, bid_price=Decimal(0), ask_price=Decimal(0))
    why = let_in(empty, gate(HandClock(), refusals))
    assert (why.reason, why.refusal, why.last_event_time) == (Reason.NO_DATA, None, NOW)
    assert refusals == {}


def test_crossed_is_refused_or_passed_by_policy() -> None:
    """A bid above the ask is refused, or passes unchanged where the operator said so; locked always passes."""
    crossed = replace(QUOTE, bid_price=Decimal("10.03"))
    assert rule(crossed) == "crossed"
    passed = let_in(crossed, gate(HandClock(), crossed=False))
    assert passed.bid.price == Decimal("10.03")
    assert rule(replace(QUOTE, bid_price=Decimal("10.020"))) is None


def test_an_empty_side_crosses_nothing() -> None:
    """A bid alone is not above an ask that is not there."""
    assert rule(replace(QUOTE, ask_price=Decimal(0))) is None


@pytest.mark.parametrize(
    "changed",
    [{"low": "11.5"}, {"high": "10.5"}, {"low": "10.5"}, {"open": "12.01"}, {"close": "8.99"}],
)
def test_a_bar_is_in_order(changed: dict[str, str]) -> None:
    """Not low ≤ open, close ≤ high is `bar_order`."""
    assert (
        rule(replace(BAR, **{key: Decimal(price) for key, price in changed.items()})) == "bar_order"
    )


def test_a_flat_bar_is_in_order() -> None:
    """All four prices may be one."""
    one = Decimal(10)
    assert rule(replace(BAR, open=one, high=one, low=one, close=one, vwap=one)) is None


def test_refusals_are_counted_by_rule() -> None:
    """Each refusal counts once under its own name."""
    refusals: dict[str, int] = {}
    through = gate(HandClock(), refusals)
    for raw in (
        replace(QUOTE, bid_size=-1),
        replace(TRADE, size=-1),
        replace(TRADE, price=Decimal(0)),
    ):
        let_in(raw, through)
    assert refusals == {"negative_size": 2, "zero_price": 1}


@pytest.mark.parametrize(
    ("raw", "what", "broken"),
    [
        (replace(QUOTE, bid_size=-1), "quote", "negative_size"),
        (replace(TRADE, price=Decimal(0)), "trade", "zero_price"),
        (replace(BAR, low=Decimal(13)), "bar", "bar_order"),
    ],
    ids=["quote", "trade", "bar"],
)
def test_a_refused_record_is_noted(
    raw: RawQuote | RawTrade | RawBar, what: str, broken: str
) -> None:
    """What is known of a refused record is kept as evidence, its time as a text that no reader of JSON rounds."""
    desk = Desk(OFF)
    why = let_in(raw, desk.gate)
    (entry,) = desk.noted
    assert (entry.time, entry.request_id) == (desk.clock.wall(), "up-1")
    assert (entry.reason, entry.message) == ("INVALID_DATA", why.message)
    assert entry.context == {
        "origin": "record",
        "rule": broken,
        "evidence": why.refusal.evidence,
        "subject": what,
        "symbol": "AAPL",
        "feed": "iex",
        "event_time": "2026-10-01T15:00:00Z",
    }
    assert json.loads(json.dumps(entry.context)) == entry.context


def test_a_business_rules_refusal_is_noted() -> None:
    """A record that a business rule refuses is kept under its own reason."""
    desk = Desk(policy(Verdict.REFUSE))
    why = let_in(replace(TRADE, size=10**9), desk.gate)
    (entry,) = desk.noted
    assert (entry.reason, entry.message) == ("RULE_VIOLATION", why.message)
    assert (entry.context["rule"], entry.context["subject"]) == ("volume_pattern", "trade")


def test_what_passes_is_not_noted() -> None:
    """Values leave no entry, flagged ones neither: they were served."""
    desk = Desk(policy(Verdict.FLAG))
    for raw in (QUOTE, TRADE, BAR, replace(TRADE, size=10**9)):
        let_in(raw, desk.gate)
    assert desk.noted == []


def test_a_refused_answer_is_noted() -> None:
    """Of an answer that is no symbol's record, what it was and the upstream's id are kept; nothing else is known."""
    desk = Desk(OFF)
    desk.gate.refuse_answer([Refusal("unreadable", "not JSON: <html>")], "calendar", "up-9")
    (entry,) = desk.noted
    assert (entry.request_id, entry.reason) == ("up-9", "INVALID_DATA")
    assert entry.message == "calendar: refused by rule unreadable, not JSON: <html>"
    assert entry.context == {
        "origin": "record",
        "rule": "unreadable",
        "evidence": "not JSON: <html>",
        "subject": "calendar",
    }


def test_a_list_gone_bad_does_not_flood_the_evidence() -> None:
    """Every refused entry of a list is counted, and the first twenty are kept."""
    desk = Desk(OFF)
    entries = [Refusal("missing_field", f"entry {number}") for number in range(1000)]
    desk.gate.refuse_answer(entries, "assets", "up-9")
    assert desk.refused == {"missing_field": 1000}
    assert [entry.context["evidence"] for entry in desk.noted] == [f"entry {n}" for n in range(20)]


def test_a_gate_may_keep_nothing() -> None:
    """Without a log refusals are told and counted all the same."""
    refusals: dict[str, int] = {}
    through = gate(HandClock(), refusals)
    assert let_in(replace(TRADE, size=-1), through).refusal.rule == "negative_size"
    assert refusals == {"negative_size": 1}


def test_evidence_stays_short() -> None:
    """However long the number that was sent, what callers are shown of it fits a header."""
    for number in (Decimal("-" + "1" * 5000), Decimal("1" * 5000), Decimal("-0." + "1" * 5000)):
        why = let_in(replace(TRADE, price=number))
        assert len(why.message) < 200
    assert len(let_in(replace(TRADE, size=-(10**4000))).message) < 200
    assert len(let_in(replace(TRADE, symbol="A" * 5000)).message) < 200


PRICES = st.decimals("-1", "100", places=3) | st.sampled_from(
    [Decimal("0.00"), Decimal("180.10"), Decimal("1E+3"), Decimal("1E+400")]
)
COUNTS = st.none() | st.integers(-1, 10**6)
CODES = st.none() | st.text(max_size=3)


@given(
    st.builds(
        RawQuote, st.just("AAPL"), st.integers(NOW - 10**12, NOW + 10**10), PRICES, COUNTS, CODES,
        PRICES, COUNTS, CODES, st.tuples(st.text(max_size=2)), CODES,
    )
)  # fmt: skip
def test_a_quote_holds_nothing_that_its_record_did_not(raw: RawQuote) -> None:
    """Each number, code and time of a quote is one of the record's, in its own place and digit for digit."""
    value = let_in(raw, gate(HandClock(), crossed=False))
    if isinstance(value, Unavailable):
        return
    assert value.event_time == raw.event_time
    assert (value.conditions, value.tape) == (raw.conditions, raw.tape)
    for held, price, size, exchange in (
        (value.bid, raw.bid_price, raw.bid_size, raw.bid_exchange),
        (value.ask, raw.ask_price, raw.ask_size, raw.ask_exchange),
    ):
        if held is None:
            assert price == 0
        else:
            assert str(held.price) == str(price)
            assert (held.size, held.exchange) == (size, exchange)


@given(
    st.builds(RawBar, st.just("AAPL"), st.just(NOW), PRICES, PRICES, PRICES, PRICES, COUNTS, COUNTS,
              st.none() | PRICES)
)  # fmt: skip
def test_a_bar_holds_nothing_that_its_record_did_not(raw: RawBar) -> None:
    """A bar that passes has every number of its record, digit for digit, and low is lowest and high highest."""
    value = let_in(raw)
    if isinstance(value, Unavailable):
        return
    for name in ("open", "high", "low", "close", "vwap", "volume", "trade_count"):
        assert str(getattr(value, name)) == str(getattr(raw, name))
    assert value.low == min(raw.open, raw.high, raw.low, raw.close)
    assert value.high == max(raw.open, raw.high, raw.low, raw.close)


# ---------------------------------------------------------------------------- what arrives live

EXECUTION = RawExecution(7, Decimal("10.01"), 50, ("@", "F"))
CORRECTION = RawCorrection(
    "AAPL", NOW, EXECUTION, replace(EXECUTION, price=Decimal("10.02")), "V", "C"
)
CANCELLATION = RawCancellation("AAPL", NOW, 7, Decimal("10.01"), 50, "V", "C", "C")
STATUS = RawStatus("AAPL", NOW, "H", "Trading Halt", "T12", "Trading Halted", "C")
BANDS = RawBands("AAPL", NOW, Decimal("10.50"), Decimal("9.50"), "B", "C")

Live: TypeAlias = RawCorrection | RawCancellation | RawStatus | RawBands
EVERY_LIVE = pytest.mark.parametrize(
    "raw", [CORRECTION, CANCELLATION, STATUS, BANDS], ids=["correction", "cancellation", "status", "bands"]
)  # fmt: skip


def live(raw: Live, through: Gate | None = None, asked: str = "AAPL") -> Any:
    """What a gate makes of a live record about AAPL."""
    through = through or gate(HandClock())
    if isinstance(raw, RawCorrection):
        return through.trade_correction(raw, asked, RECEIPT)
    if isinstance(raw, RawCancellation):
        return through.trade_cancellation(raw, asked, RECEIPT)
    if isinstance(raw, RawStatus):
        return through.trading_status(raw, asked, RECEIPT)
    return through.price_bands(raw, asked, RECEIPT)


def live_rule(raw: Live, asked: str = "AAPL") -> str | None:
    """The rule that refuses a live record, or None if none does."""
    refusals: dict[str, int] = {}
    outcome = live(raw, gate(HandClock(), refusals), asked)
    seen = outcome.refusal.rule if isinstance(outcome, Unavailable) and outcome.refusal else None
    assert refusals == ({} if seen is None else {seen: 1})
    return seen


def test_good_live_records_pass_whole() -> None:
    """Everything that a record holds is in its value, with the receipt as its origin."""
    origin = Provenance(DataSource.SANDBOX, Feed.IEX, NOW, NOW + 3, "up-1")
    corrected = CorrectedTrade(7, Decimal("10.02"), 50, ("@", "F"))
    original = CorrectedTrade(7, Decimal("10.01"), 50, ("@", "F"))
    assert live(CORRECTION) == TradeCorrection("AAPL", original, corrected, "V", "C", origin)
    assert live(CANCELLATION) == TradeCancellation(
        "AAPL", 7, Decimal("10.01"), 50, "V", "C", "C", origin
    )
    assert live(STATUS) == TradingStatus(
        "AAPL", "H", "Trading Halt", "T12", "Trading Halted", "C", origin
    )
    assert live(BANDS) == PriceBands("AAPL", Decimal("10.50"), Decimal("9.50"), "B", "C", origin)


@EVERY_LIVE
def test_live_records_obey_the_rules_of_all(raw: Live) -> None:
    """Symbol, time and codes are judged as everywhere."""
    assert live_rule(raw) is None
    assert live_rule(raw, asked="IBM") == "symbol_mismatch"
    assert live_rule(replace(raw, event_time=NOW + 5 * NANOS)) is None
    assert live_rule(replace(raw, event_time=NOW + 5 * NANOS + 1)) == "future_time"
    assert live_rule(replace(raw, tape="C" * 17)) == "odd_code"


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (replace(CORRECTION, original=replace(EXECUTION, price=Decimal(0))), "zero_price"),
        (replace(CORRECTION, corrected=replace(EXECUTION, price=Decimal(-1))), "negative_price"),
        (replace(CORRECTION, corrected=replace(EXECUTION, size=-1)), "negative_size"),
        (replace(CORRECTION, original=replace(EXECUTION, id=2**63)), "size_out_of_range"),
        (replace(CORRECTION, corrected=replace(EXECUTION, conditions=("\n",))), "odd_code"),
        (replace(CANCELLATION, price=Decimal(0)), "zero_price"),
        (replace(CANCELLATION, size=-1), "negative_size"),
        (replace(CANCELLATION, id=2**63), "size_out_of_range"),
        (replace(CANCELLATION, action="C" * 17), "odd_code"),
        (replace(STATUS, status_code="\n"), "odd_code"),
        (replace(STATUS, reason_code="T" * 17), "odd_code"),
        (replace(STATUS, status_message="x" * 257), "odd_code"),
        (replace(STATUS, reason_message="\x00"), "odd_code"),
        (replace(STATUS, status_message="x" * 256, reason_message=None), None),
        (replace(BANDS, limit_up=Decimal(-1)), "negative_price"),
        (replace(BANDS, limit_down=Decimal(10) ** 9), "price_out_of_range"),
        (replace(BANDS, limit_down=Decimal("10.51")), "band_order"),
        (replace(BANDS, limit_down=Decimal("10.50")), None),
    ],
)  # fmt: skip
def test_live_records_have_rules_of_their_own(raw: Live, rule: str | None) -> None:
    """Prices, sizes and words of live records are bounded, and limits are in order."""
    assert live_rule(raw) == rule


def test_a_limit_of_zero_is_none() -> None:
    """Bands may be open on a side, which bounds nothing."""
    assert live(replace(BANDS, limit_up=Decimal(0))).limit_up is None
    assert live(replace(BANDS, limit_down=Decimal(0))).limit_down is None


@given(
    bid=st.decimals(-1, 20, places=3) | st.sampled_from([Decimal("1E+9"), Decimal("1E-21"), Decimal("9.9E-7")]),
    ask=st.decimals(-1, 20, places=3) | st.sampled_from([Decimal(10) ** 9, Decimal("1.000000000000000000000")]),
    sizes=st.tuples(*[st.sampled_from([None, 0, 1, -1, LARGEST, LARGEST + 1])] * 2),
    tape=st.sampled_from([None, "C", "C" * 17, "\n"]),
    conditions=st.sampled_from([(), ("R",), ("R",) * 33, ("\n",)]),
    ahead=st.sampled_from([0, 5 * NANOS, 5 * NANOS + 1, -60 * NANOS, -60 * NANOS - 1]),
    asked=st.sampled_from(["AAPL", "IBM"]),
)  # fmt: skip
def test_the_short_way_of_a_quote_leads_where_the_rules_do(
    bid: Decimal, ask: Decimal, sizes: tuple[int | None, int | None], tape: str | None,
    conditions: tuple[str, ...], ahead: int, asked: str,
) -> None:  # fmt: skip
    """What is let through by one look at the whole is what no rule has anything to say about."""
    raw = RawQuote("AAPL", NOW + ahead, bid, sizes[0], "V", ask, sizes[1], "Q", conditions, tape)
    bounds = Policy(refuse_crossed=True, future_tolerance=5 * NANOS, past_tolerance=60 * NANOS)
    through = Gate(bounds, HandClock(), {})
    for _ in range(2):
        # Twice, for what is remembered of the first time.
        if through._is_ordinary_quote(raw, asked):
            assert through._check_quote(raw, asked) is None
