"""The gate for options: each part is let in or refused by itself, and nothing comes out that did not go in."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.ingress.options import OptionGate
from tickgate_server.ingress.records import (
    UNDATED,
    RawContract,
    RawOption,
    RawOptionBar,
    RawQuote,
    RawTrade,
    Receipt,
)
from tickgate_server.market.occ import OptionType, parse_occ
from tickgate_server.market.option import (
    ContractStatus,
    Deliverable,
    Greeks,
    OptionContract,
    OptionPart,
    OptionQuote,
    OptionStyle,
)
from tickgate_server.market.provenance import DataSource, Feed, Provenance
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.ports import ErrorEntry

from ...support.fakes import NOW, HandClock
from ...support.options import CALL, PUT, TODAY, YESTERDAY

RECEIPT = Receipt(DataSource.SANDBOX, Feed.OPRA, NOW + 3, "up-1")
QUOTE = RawQuote(
    CALL, NOW, Decimal("1.00"), 12, "A", Decimal("1.05"), 7, "X", (" ",), None
)  # fmt: skip
TRADE = RawTrade(CALL, NOW, Decimal("1.02"), 3, "I", ("f",), None, None, None)
BAR = RawOptionBar(
    TODAY, Decimal(10), Decimal(12), Decimal(9), Decimal(11), 500, 12, Decimal("10.5")
)  # fmt: skip
RAW = RawOption(
    symbol=CALL,
    quote=QUOTE,
    latest_trade=TRADE,
    greeks=Greeks(0.9879, 0.0007, -0.0411, 0.0375, 0.3149),
    implied_volatility=0.3738,
    minute_bar=replace(BAR, event_time=NOW),
    daily_bar=BAR,
    previous_daily_bar=replace(BAR, event_time=YESTERDAY),
)
PARTS = RawOption.__struct_fields__[1:]
NOTHING = RawOption(CALL, *[None] * len(PARTS))
BARS = ("minute_bar", "daily_bar", "previous_daily_bar")
LARGEST = 2**63 - 1
UNREADABLE = Refusal("wrong_type", "field 't' is 7")


class Desk:
    """A gate, and all that it counts and notes."""

    def __init__(self, *, crossed: bool = True) -> None:
        self.refused: dict[str, int] = {}
        self.noted: list[ErrorEntry] = []
        policy = Policy(refuse_crossed=crossed, future_tolerance=5 * NANOS)
        gate = Gate(policy, HandClock(), self.refused, note=self.noted.append)
        self.gate = OptionGate(gate)

    def option(self, raw: RawOption) -> OptionQuote:
        """What becomes of a record that holds something."""
        found = self.gate.admit(raw, RECEIPT)
        assert isinstance(found, OptionQuote), found
        return found


def let_in(**changed: Any) -> OptionQuote:
    """What becomes of a good record with some parts changed."""
    return Desk().option(replace(RAW, **changed))


def refusal(part: str, sent: Any, *, crossed: bool = True) -> Refusal | None:
    """Why a part is refused, None when it is not; in both cases every other part must come out as ever."""
    desk, whole = Desk(crossed=crossed), asdict(let_in())
    found = asdict(desk.option(replace(RAW, **{part: sent})))
    others = {key: value for key, value in whole.items() if key not in (part, "missing")}
    assert {key: found[key] for key in others} == others
    missing: dict[OptionPart, Unavailable] = found["missing"]
    if found[part] is not None:
        assert (missing, desk.refused, desk.noted) == ({}, {}, [])
        return None
    (which, why), = missing.items()  # fmt: skip
    assert which.value == part
    assert why.refusal is not None
    assert why.reason is Reason.INVALID_DATA
    assert why.refusal.evidence in why.message
    assert CALL in why.message
    assert len(why.message) < 300
    assert desk.refused == {why.refusal.rule: 1}
    (noted,) = desk.noted
    assert (noted.request_id, noted.context["symbol"], noted.context["feed"]) == (
        "up-1", CALL, "opra",
    )  # fmt: skip
    return why.refusal


def rule(part: str, sent: Any) -> str | None:
    """The rule by which a part is refused, None when none does."""
    found = refusal(part, sent)
    return None if found is None else found.rule


# -------------------------------------------------------------------------------- what passes whole


def test_a_good_record_passes_whole() -> None:
    """Everything that was sent is there, each part with its stamp and all with the origin of the answer."""
    found = let_in()
    assert found.symbol == CALL
    assert found.missing == {}
    assert found.quote is not None
    assert found.quote.bid is not None
    assert found.quote.ask is not None
    assert asdict(found.quote.bid) == {"price": Decimal("1.00"), "size": 12, "exchange": "A"}
    assert asdict(found.quote.ask) == {"price": Decimal("1.05"), "size": 7, "exchange": "X"}
    assert (found.quote.conditions, found.quote.tape) == ((" ",), None)
    assert found.latest_trade is not None
    assert (found.latest_trade.price, found.latest_trade.size) == (Decimal("1.02"), 3)
    assert (found.latest_trade.id, found.latest_trade.tape) == (None, None)
    assert (found.greeks, found.implied_volatility) == (RAW.greeks, RAW.implied_volatility)
    stamps = {"minute_bar": NOW, "daily_bar": TODAY, "previous_daily_bar": YESTERDAY}
    for name, at in stamps.items():
        bar, sent = asdict(getattr(found, name)), asdict(getattr(RAW, name))
        assert bar.pop("provenance") == Provenance(
            DataSource.SANDBOX, Feed.OPRA, at, NOW + 3, "up-1"
        )
        assert sent.pop("event_time") == at
        assert bar == sent
    assert found.provenance == Provenance(DataSource.SANDBOX, Feed.OPRA, None, NOW + 3, "up-1")
    assert found.event_time == NOW


@given(st.sets(st.sampled_from(PARTS)))
def test_what_was_not_sent_is_not_there(parts: set[str]) -> None:
    """Whichever parts were sent, exactly those are there, and those that were not are no refusals."""
    desk = Desk()
    found = desk.gate.admit(
        replace(NOTHING, **{part: getattr(RAW, part) for part in parts}), RECEIPT
    )
    if not parts:
        assert found is None
        return
    assert isinstance(found, OptionQuote)
    assert {part for part in PARTS if getattr(found, part) is not None} == parts
    assert (found.missing, desk.refused) == ({}, {})


@pytest.mark.parametrize("part", ["quote", "latest_trade", *BARS])
def test_a_part_without_a_stamp_leaves_without_one(part: str) -> None:
    """What was sent undated is let in, and its event time is unset, not 1970."""
    found = let_in(**{part: replace(getattr(RAW, part), event_time=UNDATED)})
    assert getattr(found, part).provenance.event_time is None
    assert found.event_time == NOW, "of the newer of quote and trade one at least is left"
    only = Desk().option(
        replace(NOTHING, **{part: replace(getattr(RAW, part), event_time=UNDATED)})
    )
    assert only.event_time is None


def test_the_first_instant_of_all_is_a_stamp() -> None:
    """What is stamped at midnight of 1970 leaves with that stamp."""
    for part in ("quote", "latest_trade", *BARS):
        value = getattr(let_in(**{part: replace(getattr(RAW, part), event_time=0)}), part)
        assert value.provenance.event_time == 0


def test_an_undated_part_passes_where_only_news_does() -> None:
    """What bears no stamp is not too old for a gate that refuses old records: it is the latest there is."""
    policy = Policy(refuse_crossed=True, future_tolerance=0, past_tolerance=60 * NANOS)
    live = OptionGate(Gate(policy, HandClock(), {}))
    raw = replace(NOTHING, quote=replace(QUOTE, event_time=UNDATED))
    assert isinstance(live.admit(raw, RECEIPT), OptionQuote)
    old = replace(NOTHING, quote=replace(QUOTE, event_time=NOW - 61 * NANOS))
    assert isinstance(live.admit(old, RECEIPT), Unavailable)


def test_a_refused_part_without_a_stamp_has_none() -> None:
    """The reason why an undated part is missing names no time."""
    undated = replace(TRADE, event_time=UNDATED, price=Decimal(-1))
    why = let_in(latest_trade=undated).missing[OptionPart.LATEST_TRADE]
    assert why.last_event_time is None
    dated = replace(TRADE, price=Decimal(-1))
    assert let_in(latest_trade=dated).missing[OptionPart.LATEST_TRADE].last_event_time == NOW


def test_an_empty_side_is_unset() -> None:
    """A price of zero empties its side, with size and venue, and the other side stays."""
    quote = let_in(quote=replace(QUOTE, bid_price=Decimal(0), bid_size=0)).quote
    assert quote is not None
    assert quote.bid is None
    assert quote.ask is not None


def test_two_empty_sides_are_no_quote() -> None:
    """A quote without an order on either side is missing for lack of data, breaks no rule and costs no other part."""
    desk = Desk()
    empty = replace(QUOTE, bid_price=Decimal(0), ask_price=Decimal(0))
    found = desk.option(replace(RAW, quote=empty))
    assert found.quote is None
    why = found.missing[OptionPart.QUOTE]
    assert (why.reason, why.refusal, why.last_event_time) == (Reason.NO_DATA, None, NOW)
    assert (desk.refused, desk.noted) == ({}, [])
    assert found.latest_trade is not None


def test_a_bar_of_few_fields_passes() -> None:
    """A bar is let in with whatever was sent of it, down to its volume alone."""
    for kept in ({"volume": 7}, {"close": Decimal(3)}, {"vwap": Decimal(3), "trade_count": 0}):
        bare = RawOptionBar(UNDATED, *[None] * 7)
        bar = let_in(daily_bar=replace(bare, **kept)).daily_bar
        assert bar is not None
        held = {key: value for key, value in asdict(bar).items() if value is not None}
        del held["provenance"]
        assert held == kept


# ---------------------------------------------------------------------------------------- each rule


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bid_price": Decimal("1.06")}, "crossed"),
        ({"bid_price": Decimal("1.05")}, None),  # locked
        ({"bid_price": Decimal(-1)}, "negative_price"),
        ({"ask_price": Decimal(10) ** 9}, "price_out_of_range"),
        ({"ask_price": Decimal("1.05") + Decimal(10) ** -21}, "price_out_of_range"),
        ({"bid_size": -1}, "negative_size"),
        ({"bid_size": 0}, None),
        ({"ask_size": LARGEST}, None),
        ({"ask_size": LARGEST + 1}, "size_out_of_range"),
        ({"bid_size": None, "ask_size": None, "bid_exchange": None, "conditions": ()}, None),
        ({"event_time": NOW + 5 * NANOS}, None),
        ({"event_time": NOW + 5 * NANOS + 1}, "future_time"),
        ({"event_time": 1}, None),
        ({"ask_exchange": "X" * 17}, "odd_code"),
        ({"conditions": ("\n",)}, "odd_code"),
        ({"symbol": PUT}, "symbol_mismatch"),
    ],
)
def test_rules_of_quotes(change: dict[str, Any], expected: str | None) -> None:
    """Each rule of quotes at its border: what it refuses is missing with its name, and the rest survives."""
    assert rule("quote", replace(QUOTE, **change)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"price": Decimal(0)}, "zero_price"),
        ({"price": Decimal("-0.01")}, "negative_price"),
        ({"price": Decimal("0.01")}, None),
        ({"price": Decimal(10) ** 9}, "price_out_of_range"),
        ({"size": -1}, "negative_size"),
        ({"size": 0}, None),
        ({"size": LARGEST + 1}, "size_out_of_range"),
        ({"event_time": NOW + 5 * NANOS + 1}, "future_time"),
        ({"exchange": "X" * 17}, "odd_code"),
        ({"conditions": ("\x00",)}, "odd_code"),
    ],
)
def test_rules_of_trades(change: dict[str, Any], expected: str | None) -> None:
    """Each rule of trades at its border."""
    assert rule("latest_trade", replace(TRADE, **change)) == expected


@pytest.mark.parametrize("part", BARS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"open": Decimal("8.99")}, "bar_order"),
        ({"close": Decimal("12.01")}, "bar_order"),
        ({"high": Decimal(8)}, "bar_order"),
        ({"open": Decimal(9), "close": Decimal(12)}, None),
        ({"open": None, "high": Decimal(1)}, None),  # nothing to be judged by
        ({"low": Decimal(0)}, "zero_price"),
        ({"vwap": Decimal(-1)}, "negative_price"),
        ({"vwap": Decimal(99)}, None),
        ({"vwap": None}, None),
        ({"volume": -1}, "negative_size"),
        ({"volume": 0, "trade_count": 0}, None),
        ({"trade_count": LARGEST + 1}, "size_out_of_range"),
        ({"event_time": NOW + 5 * NANOS + 1}, "future_time"),
    ],
)
def test_rules_of_bars(part: str, change: dict[str, Any], expected: str | None) -> None:
    """Each rule of bars, for each of the three, as far as what was sent can be judged."""
    assert rule(part, replace(BAR, **change)) == expected


@pytest.mark.parametrize("greek", Greeks.__struct_fields__)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_greek_is_a_number(greek: str, number: float) -> None:
    """One greek that is no finite number costs all greeks, by name, and not the volatility."""
    found = refusal("greeks", replace(Greeks(0.1, 0.2, 0.3, 0.4, 0.5), **{greek: number}))
    assert found is not None
    assert found.rule == "not_finite"
    assert greek in found.evidence


def test_greeks_may_be_odd() -> None:
    """Zeros, absent greeks and values beyond what a textbook allows are what the upstream sent."""
    for greeks in (Greeks(0.0, -0.0), Greeks(rho=1e300), Greeks(-1.2, None, 5.0)):
        assert let_in(greeks=greeks).greeks == greeks


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (math.nan, "not_finite"),
        (math.inf, "not_finite"),
        (-0.0001, "negative_volatility"),
        (0.0, None),
        (12.5, None),
    ],
)
def test_rules_of_volatility(number: float, expected: str | None) -> None:
    """A volatility is a finite number of zero or more."""
    assert rule("implied_volatility", number) == expected


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_could_not_be_read_is_missing(part: str) -> None:
    """A part that the parser refused is missing with that refusal."""
    assert refusal(part, UNREADABLE) == UNREADABLE


def test_crossed_quotes_may_be_let_in() -> None:
    """Where the settings say so, a crossed quote passes."""
    crossed = replace(QUOTE, bid_price=Decimal(2))
    assert refusal("quote", crossed, crossed=False) is None


def test_each_refused_part_has_its_reason() -> None:
    """Several parts may be missing for several reasons, each counted, and what is left stands."""
    desk = Desk()
    found = desk.option(
        replace(
            RAW,
            quote=replace(QUOTE, bid_price=Decimal(2)),
            greeks=Greeks(math.nan),
            daily_bar=replace(BAR, volume=-1),
        )
    )
    rules = {part: why.refusal and why.refusal.rule for part, why in found.missing.items()}
    assert rules == {
        OptionPart.QUOTE: "crossed",
        OptionPart.GREEKS: "not_finite",
        OptionPart.DAILY_BAR: "negative_size",
    }
    assert desk.refused == {"crossed": 1, "not_finite": 1, "negative_size": 1}
    assert found.event_time == NOW


# ----------------------------------------------------------------------------- records of no use


@pytest.mark.parametrize("symbol", ["", "AAPL", "aapl261120c00250000", "AAPL261399C00250000"])
def test_a_record_of_no_contract_is_refused(symbol: str) -> None:
    """A record whose name is no OCC symbol is refused whole, whatever it holds."""
    desk = Desk()
    why = desk.gate.admit(replace(RAW, symbol=symbol), RECEIPT)
    assert isinstance(why, Unavailable)
    assert why.refusal is not None
    assert (why.reason, why.refusal.rule) == (Reason.INVALID_DATA, "malformed_symbol")
    assert desk.refused == {"malformed_symbol": 1}


def test_a_long_name_is_cut() -> None:
    """What is told and noted of a record without a name does not swell."""
    desk = Desk()
    why = desk.gate.admit(replace(RAW, symbol="X" * 10_000), RECEIPT)
    assert isinstance(why, Unavailable)
    assert len(why.message) < 200
    assert len(desk.noted[0].context["symbol"]) <= 30


def test_a_record_of_refused_parts_has_the_reason_of_the_first_rule() -> None:
    """When nothing is left, the reason is the first refusal by a rule, or else that of what was merely empty."""
    empty = replace(QUOTE, bid_price=Decimal(0), ask_price=Decimal(0))
    raw = replace(NOTHING, quote=empty, greeks=Greeks(math.inf))
    why = Desk().gate.admit(raw, RECEIPT)
    assert isinstance(why, Unavailable)
    assert why.refusal is not None
    assert (why.reason, why.refusal.rule) == (Reason.INVALID_DATA, "not_finite")
    why = Desk().gate.admit(replace(NOTHING, quote=empty), RECEIPT)
    assert isinstance(why, Unavailable)
    assert (why.reason, why.refusal) == (Reason.NO_DATA, None)


def test_a_bar_alone_is_something() -> None:
    """A contract of which only an old bar was sent is a value, whose event time is unset."""
    found = Desk().option(replace(NOTHING, previous_daily_bar=BAR))
    assert found.previous_daily_bar is not None
    assert found.event_time is None


# ---------------------------------------------------------------------------------------- contracts

TERMS = RawContract(
    symbol=CALL,
    expiry=datetime.date(2026, 11, 20),
    type=OptionType.CALL,
    strike=Decimal("250.000"),
    root="AAPL",
    id="98359ef7",
    name="AAPL Nov 20 2026 250 Call",
    underlying="AAPL",
    style=OptionStyle.AMERICAN,
    multiplier=Decimal(100),
    size=Decimal(100),
    status=ContractStatus.ACTIVE,
    tradable=True,
    open_interest=237,
    open_interest_date=datetime.date(2026, 9, 30),
    close_price=Decimal("148.380"),
    close_price_date=datetime.date(2026, 9, 29),
    deliverables=(Deliverable("equity", "AAPL", Decimal(100), None, "T+1", "CCC", False),),
)
NOT_SAID: dict[str, Any] = (
    dict.fromkeys(RawContract.__struct_fields__)
    | dict.fromkeys(("id", "name", "underlying"), "")
    | {"symbol": CALL, "deliverables": ()}
)
BARE = RawContract(**NOT_SAID)


def terms(raw: RawContract) -> OptionContract | Unavailable:
    """What becomes of the terms of a contract."""
    desk = Desk()
    found = desk.gate.contract(raw, "up-1")
    if isinstance(found, Unavailable):
        assert found.refusal is not None
        assert desk.refused == {found.refusal.rule: 1}
        assert [entry.request_id for entry in desk.noted] == ["up-1"]
        assert found.refusal.evidence in found.message
    else:
        assert desk.refused == {}
    return found


def test_good_terms_pass_whole() -> None:
    """Everything that was said of a contract is in its terms, and what its symbol says beside it."""
    found = terms(TERMS)
    assert isinstance(found, OptionContract)
    kept, sent = asdict(found), asdict(TERMS)
    assert kept.pop("occ") == parse_occ(CALL)
    for name in ("expiry", "type", "strike", "root"):
        del sent[name]
    assert kept == sent


def test_bare_terms_pass() -> None:
    """A contract of which nothing but the symbol was said is one, and its underlying is as far as the root tells."""
    found = terms(BARE)
    assert isinstance(found, OptionContract)
    assert found.underlying == "AAPL"
    left = ("style", "multiplier", "size", "status", "tradable", "open_interest", "close_price")
    assert [getattr(found, name) for name in left] == [None] * len(left)
    adjusted = terms(replace(BARE, symbol="BRKB1261120C00250000"))
    assert isinstance(adjusted, OptionContract)
    assert adjusted.underlying == "BRKB"


def test_the_underlying_is_the_upstreams_word() -> None:
    """Where the terms name the underlying, that counts and not the root."""
    found = terms(
        replace(TERMS, symbol="BRKB261120C00250000", root="BRKB", underlying="BRK.B")
    )  # fmt: skip
    assert isinstance(found, OptionContract)
    assert found.underlying == "BRK.B"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"expiry": datetime.date(2026, 11, 21)}, "contract_mismatch"),
        ({"strike": Decimal("250.001")}, "contract_mismatch"),
        ({"type": OptionType.PUT}, "contract_mismatch"),
        ({"root": "AAPL1"}, "contract_mismatch"),
        ({"symbol": "AAPL"}, "malformed_symbol"),
        ({"symbol": "X" * 10_000}, "malformed_symbol"),
        ({"multiplier": Decimal(0)}, "zero_price"),
        ({"multiplier": Decimal(-100)}, "negative_price"),
        ({"close_price": Decimal(-1)}, "negative_price"),
        ({"open_interest": -1}, "negative_size"),
        ({"open_interest": LARGEST + 1}, "size_out_of_range"),
        ({"open_interest": 10**5000}, "size_out_of_range"),
    ],
)
def test_terms_that_cannot_be(change: dict[str, Any], expected: str) -> None:
    """Terms that deny what the symbol says, or that no contract has, are refused with the rule and in few words."""
    found = terms(replace(TERMS, **change))
    assert isinstance(found, Unavailable)
    assert found.refusal is not None
    assert (found.reason, found.refusal.rule) == (Reason.INVALID_DATA, expected)
    assert len(found.message) < 300


@pytest.mark.parametrize(
    "change",
    [
        {"strike": Decimal(250)},
        {"open_interest": 0},
        {"open_interest": LARGEST},
        {"open_interest": None, "open_interest_date": None},
        {"multiplier": Decimal("0.1")},
        {"size": Decimal(0)},
        {"status": ContractStatus.INACTIVE, "tradable": False},
    ],
)
def test_terms_that_can_be(change: dict[str, Any]) -> None:
    """Zero open interest is a number, and nothing that was not said is held against a contract."""
    found = terms(replace(TERMS, **change))
    assert isinstance(found, OptionContract)
    kept = asdict(found)
    assert {name: kept[name] for name in change if name != "strike"} == {
        name: value for name, value in change.items() if name != "strike"
    }
