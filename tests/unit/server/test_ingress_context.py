"""Business rules: each at its border, by every verdict, and never a reason to change a value."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.ingress.context import ContextPolicy, Verdict
from tickgate_server.ingress.records import RawBar, RawQuote, RawTrade, Receipt
from tickgate_server.market.bar import Bar
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.settings import ValidationSettings

from ...support.context import RULES, Desk, policy
from ...support.fakes import NOW

ERRORS_PAGE = (Path(__file__).parents[3] / "docs/errors.md").read_text(encoding="utf-8")
HOUR = 3600 * NANOS
RECEIPT = Receipt(DataSource.SANDBOX, Feed.IEX, NOW + 3, "up-1")
QUOTE = RawQuote("AAPL", NOW, Decimal("9.99"), 100, "V", Decimal("10.01"), 200, "Q", ("R",), "C")
TRADE = RawTrade("AAPL", NOW, Decimal("10.00"), 50, "V", ("@",), 7, "C", None)
BAR = RawBar("AAPL", NOW, Decimal(10), Decimal(11), Decimal(9), Decimal(10), 500, 12, Decimal(10))
LATER = NOW + 10 * NANOS
"""Beyond the window of one instant."""


def let_in(
    desk: Desk, raw: RawQuote | RawTrade | RawBar, feed: Feed = Feed.IEX, *, daily: bool = False
) -> Any:
    """What a desk makes of a record."""
    gate, receipt = desk.gate, replace(RECEIPT, feed=feed)
    if isinstance(raw, RawQuote):
        return gate.quote(raw, raw.symbol, receipt)
    if isinstance(raw, RawTrade):
        return gate.trade(raw, raw.symbol, receipt)
    return (gate.daily_bar if daily else gate.bar)(raw, raw.symbol, receipt)


def flags(outcome: Any) -> list[str]:
    """The rules that flag a value."""
    assert isinstance(outcome, Quote | Trade | Bar), outcome
    return [flag.rule for flag in outcome.rule_flags]


def evidence(outcome: Any) -> str:
    """What the one flag of a value says."""
    (flag,) = outcome.rule_flags
    return str(flag.evidence)


def price(of: str, at: int = LATER, **more: Any) -> RawTrade:
    """A trade at a price."""
    return replace(TRADE, price=Decimal(of), event_time=at, **more)


def sides(bid: str, ask: str, at: int = LATER) -> RawQuote:
    """A quote with two prices; a zero is an empty side."""
    return replace(QUOTE, bid_price=Decimal(bid), ask_price=Decimal(ask), event_time=at)


def after(*records: RawQuote | RawTrade, by: ContextPolicy | None = None) -> Desk:
    """A desk that has let in *records*."""
    desk = Desk(by or policy())
    for record in records:
        let_in(desk, record)
    return desk


# ---------------------------------------------------------------------------- verdicts

AT_NIGHT = parse_rfc3339("2026-10-02T04:00:00Z")
ODD = {
    "price_range": price("100"),
    "market_context": price("10.00", AT_NIGHT),
    "volume_pattern": replace(TRADE, size=100_000_000),
    "consistency": price("12.00", NOW + 1),
}
"""For each rule a trade that only it finds odd, once `TRADE` and `QUOTE` have been seen."""


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_may_refuse(rule: str) -> None:
    """A refusing rule gives RULE_VIOLATION with its name and evidence, counted as a refusal and not as a flag."""
    desk = after(TRADE, QUOTE, by=policy(Verdict.REFUSE))
    why = let_in(desk, ODD[rule])
    assert isinstance(why, Unavailable)
    assert why.reason is Reason.RULE_VIOLATION
    assert why.refusal is not None
    assert why.refusal.rule == rule
    assert why.refusal.evidence in why.message
    assert why.last_event_time == ODD[rule].event_time
    assert (desk.refused, desk.flagged) == ({rule: 1}, {})


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_may_flag(rule: str) -> None:
    """A flagging rule lets the value pass and marks it, counted as a flag and not as a refusal."""
    desk = after(TRADE, QUOTE)
    value = let_in(desk, ODD[rule])
    assert flags(value) == [rule]
    assert (value.price, value.event_time) == (ODD[rule].price, ODD[rule].event_time)
    assert (desk.refused, desk.flagged) == ({}, {rule: 1})


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_may_be_off(rule: str) -> None:
    """A rule that is off finds nothing, whatever the others do."""
    desk = after(TRADE, QUOTE, by=policy(Verdict.REFUSE, *(set(RULES) - {rule})))
    assert flags(let_in(desk, ODD[rule])) == []
    assert (desk.refused, desk.flagged) == ({}, {})


def test_several_flags_may_stand_on_one_value() -> None:
    """Each rule speaks for itself, and each is counted."""
    desk = after(QUOTE, TRADE)
    value = let_in(desk, price("100", NOW + 1, size=10**9))
    assert flags(value) == ["volume_pattern", "price_range", "consistency"]
    assert desk.flagged == {"volume_pattern": 1, "price_range": 1, "consistency": 1}


def test_a_refusal_outweighs_flags() -> None:
    """Where one rule refuses, nothing is flagged: there is no value that could carry it."""
    desk = after(TRADE, by=policy(consistency=Verdict.OFF, price_range=Verdict.REFUSE))
    why = let_in(desk, price("100", size=10**9))
    assert why.refusal.rule == "price_range"
    assert (desk.refused, desk.flagged) == ({"price_range": 1}, {})


def test_what_cannot_be_a_value_is_no_business_of_these_rules() -> None:
    """A record that another rule refuses is INVALID_DATA, and nothing is remembered of it."""
    desk = after(replace(TRADE, price=Decimal(100), size=-1), by=policy(Verdict.REFUSE))
    assert desk.refused == {"negative_size": 1}
    assert flags(let_in(desk, TRADE)) == []


def test_two_empty_sides_are_no_data_at_any_hour() -> None:
    """A quote without an order is no value that a rule could refuse."""
    desk = Desk(policy(Verdict.REFUSE))
    why = let_in(desk, sides("0", "0", AT_NIGHT))
    assert why.reason is Reason.NO_DATA
    assert desk.refused == {}


@pytest.mark.parametrize("rule", RULES)
def test_the_page_on_errors_describes_each_rule(rule: str) -> None:
    """A rule's row names its default verdict and each of its settings, and no other."""
    fields = ValidationSettings.model_fields
    (row,) = [line for line in ERRORS_PAGE.splitlines() if line.startswith(f"| `{rule}` |")]
    assert f"| `{fields[rule].default}` |" in row
    named = {name for name in re.findall(r"`(\w+)`", row) if name in fields}
    assert named == {name for name in fields if name.startswith(rule)}


# ---------------------------------------------------------------------------- market_context

CONTEXT = policy(Verdict.FLAG, "market_context")


@pytest.mark.parametrize(
    ("instant", "odd"),
    [
        ("2026-10-01T23:59:59.999999999Z", False),
        ("2026-10-02T00:00:00.6Z", False),
        ("2026-10-02T00:01:00Z", False),
        ("2026-10-02T00:01:00.000000001Z", True),
        ("2026-10-02T04:00:00Z", True),
        ("2026-10-02T07:58:59.999999999Z", True),
        ("2026-10-02T07:59:00Z", False),
        ("2026-10-02T08:00:00Z", False),
        ("2026-10-03T15:00:00Z", True),
        ("2026-10-04T15:00:00Z", True),
        ("2026-10-05T07:59:59Z", False),
    ],
)
@pytest.mark.parametrize("raw", [QUOTE, TRADE, BAR], ids=["quote", "trade", "bar"])
@pytest.mark.parametrize("seen", [True, False], ids=["in session before", "first of all"])
def test_records_belong_to_a_session(
    raw: RawQuote | RawTrade | RawBar, instant: str, odd: bool, seen: bool
) -> None:
    """A record belongs to a session, give or take the tolerance; at night and on days without one it is odd."""
    desk = after(TRADE, by=CONTEXT) if seen else Desk(CONTEXT)
    value = let_in(desk, replace(raw, event_time=parse_rfc3339(instant)))
    assert flags(value) == (["market_context"] if odd else [])


def test_the_closure_is_shown() -> None:
    """The evidence names the stamp, and the sessions before and after it."""
    value = let_in(Desk(CONTEXT), replace(QUOTE, event_time=AT_NIGHT))
    assert evidence(value) == (
        "stamped 2026-10-02T04:00:00Z, when no session is on: the last ended at 2026-10-02T00:00:00Z,"
        " the next begins at 2026-10-02T08:00:00Z"
    )


@pytest.mark.parametrize(
    "instant", ["2022-06-08T03:00:00Z", "2026-10-01T07:00:00Z", "2026-10-06T00:05:00Z"]
)
def test_days_that_the_calendar_does_not_know_are_not_judged(instant: str) -> None:
    """Before the first and after the last known session nothing is called odd: an old last trade is a real one."""
    assert flags(let_in(Desk(CONTEXT), replace(QUOTE, event_time=parse_rfc3339(instant)))) == []


@pytest.mark.parametrize("feed", [Feed.BOATS, Feed.OVERNIGHT, Feed.OTC])
def test_some_feeds_trade_at_night(feed: Feed) -> None:
    """Feeds of the night and of the counter keep no hours."""
    assert flags(let_in(Desk(CONTEXT), replace(TRADE, event_time=AT_NIGHT), feed)) == []


@pytest.mark.parametrize("feed", [Feed.SIP, Feed.IEX, Feed.DELAYED_SIP])
def test_the_exchanges_feeds_keep_hours(feed: Feed) -> None:
    """Feeds of the exchanges are silent at night."""
    value = let_in(Desk(CONTEXT), replace(TRADE, event_time=AT_NIGHT), feed)
    assert flags(value) == ["market_context"]


def test_a_daily_bar_starts_at_midnight() -> None:
    """A bar of a day is stamped when nothing trades, and that is right."""
    midnight = replace(BAR, event_time=AT_NIGHT)
    desk = Desk(policy(Verdict.REFUSE, "market_context"))
    assert flags(let_in(desk, midnight, daily=True)) == []
    assert let_in(desk, midnight).reason is Reason.RULE_VIOLATION


# ---------------------------------------------------------------------------- volume_pattern


@pytest.mark.parametrize(
    ("raw", "field"),
    [(QUOTE, "bid_size"), (QUOTE, "ask_size"), (TRADE, "size")],
    ids=["bid", "ask", "trade"],
)
def test_a_size_may_be_absurd(raw: RawQuote | RawTrade, field: str) -> None:
    """From the threshold on a size is absurd; one below it, zero and none are not."""
    for size in (None, 0, 99_999_999):
        assert flags(let_in(Desk(policy()), replace(raw, **{field: size}))) == []
    value = let_in(Desk(policy()), replace(raw, **{field: 100_000_000}))
    assert flags(value) == ["volume_pattern"]
    assert evidence(value).endswith("size 100000000 is not below 100000000")


@pytest.mark.parametrize("daily", [False, True])
@pytest.mark.parametrize(
    ("trades", "volume", "odd"),
    [(12, 0, True), (12, 1, False), (0, 0, False), (None, 0, False), (12, None, False)],
)
def test_trades_have_a_volume(
    trades: int | None, volume: int | None, odd: bool, daily: bool
) -> None:
    """A bar of trades with a volume of zero is odd; what was not sent is not held against it."""
    raw = replace(BAR, trade_count=trades, volume=volume)
    value = let_in(Desk(policy()), raw, daily=daily)
    assert flags(value) == (["volume_pattern"] if odd else [])
    if odd:
        assert evidence(value) == "12 trades and a volume of 0"


def test_the_volume_of_a_bar_is_no_size() -> None:
    """A bar may hold more shares than any one order."""
    assert flags(let_in(Desk(policy()), replace(BAR, volume=10**12))) == []


# ---------------------------------------------------------------------------- price_range


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5.00", None),
        ("15.0", None),
        ("4.99", "price 4.99 is 50.1 % below the last trade, 10.00"),
        ("15.0000001", "price 15.0000001 is 50.0 % above the last trade, 10.00"),
        ("1E+2", "price 100 is 900.0 % above the last trade, 10.00"),
    ],
)
def test_a_price_stays_near_the_last_trade(text: str, says: str | None) -> None:
    """A price may be as far from the last trade as the share, and no digit further."""
    value = let_in(after(TRADE), price(text))
    assert flags(value) == ([] if says is None else ["price_range"])
    assert says is None or evidence(value) == says


@pytest.mark.parametrize(
    ("bid", "ask", "says"),
    [
        ("9", "11", None),
        ("1", "10", "bid 1 is 90.0 % below the last trade, 10.00"),
        ("9", "16", "ask 16 is 60.0 % above the last trade, 10.00"),
        ("16", "9", "bid 16 is 60.0 % above the last trade, 10.00"),
        ("0", "16", "ask 16 is 60.0 % above the last trade, 10.00"),
        ("1", "0", "bid 1 is 90.0 % below the last trade, 10.00"),
        ("0", "10", None),
        ("10", "0", None),
    ],
)
def test_both_sides_of_a_quote_stay_near_the_last_trade(
    bid: str, ask: str, says: str | None
) -> None:
    """Either side may be far, crossed quotes included; a side that is not there is not far."""
    value = let_in(after(TRADE), sides(bid, ask))
    assert flags(value) == ([] if says is None else ["price_range"])
    assert says is None or evidence(value) == says


@pytest.mark.parametrize("daily", [False, True])
def test_the_extremes_of_a_bar_stay_near_the_last_trade(daily: bool) -> None:
    """Low and high of a bar of the same day are judged: a bad print shows there."""
    low = let_in(after(TRADE), replace(BAR, low=Decimal(4)), daily=daily)
    high = let_in(after(TRADE), replace(BAR, high=Decimal(16)), daily=daily)
    assert evidence(low) == "low 4 is 60.0 % below the last trade, 10.00"
    assert evidence(high) == "high 16 is 60.0 % above the last trade, 10.00"
    assert flags(let_in(after(TRADE), BAR, daily=daily)) == []
    assert flags(let_in(Desk(policy()), replace(BAR, high=Decimal(16)), daily=daily)) == []


def test_a_daily_bar_belongs_to_the_day_that_it_begins() -> None:
    """The bar of today is stamped at New York's midnight and judged by today's trade; yesterday's is not."""
    far = replace(BAR, high=Decimal(16))
    desk = after(TRADE)
    today = replace(far, event_time=parse_rfc3339("2026-10-01T04:00:00Z"))
    yesterday = replace(far, event_time=parse_rfc3339("2026-09-30T04:00:00Z"))
    assert flags(let_in(desk, today, daily=True)) == ["price_range"]
    assert flags(let_in(desk, yesterday, daily=True)) == []


@pytest.mark.parametrize(
    ("first", "second", "feed", "same"),
    [
        ("2026-10-01T08:00:00Z", "2026-10-01T23:59:59Z", Feed.SIP, True),
        ("2026-12-01T09:00:00Z", "2026-12-02T00:59:59Z", Feed.SIP, True),
        ("2026-10-01T23:59:59Z", "2026-10-02T08:00:00Z", Feed.SIP, False),
        ("2026-10-02T00:00:00Z", "2026-10-02T07:59:59Z", Feed.BOATS, True),
        ("2026-10-02T07:59:59Z", "2026-10-03T00:00:00Z", Feed.BOATS, False),
    ],
)
def test_only_trades_of_the_same_session_day_are_a_measure(
    first: str, second: str, feed: Feed, same: bool
) -> None:
    """From pre-market to after hours, or through one night, is one day; what was before may have split since."""
    desk = Desk(policy(Verdict.FLAG, "price_range"))
    desk.clock.advance(100 * 24 * 3600)
    let_in(desk, price("10", parse_rfc3339(first)), feed)
    value = let_in(desk, price("100", parse_rfc3339(second)), feed)
    assert flags(value) == (["price_range"] if same else [])


def test_symbols_and_feeds_have_nothing_to_do_with_each_other() -> None:
    """A trade of another symbol or on another feed is no measure."""
    desk = after(TRADE, QUOTE)
    assert flags(let_in(desk, price("100", symbol="IBM"))) == []
    assert flags(let_in(desk, price("100"), Feed.SIP)) == []
    assert flags(let_in(desk, price("100"))) == ["price_range"]


def test_a_bad_print_makes_no_good_trade_odd() -> None:
    """A trade that was found odd is no measure for those after it."""
    desk = after(TRADE)
    assert flags(let_in(desk, price("1000", LATER))) == ["price_range"]
    assert flags(let_in(desk, price("10.01", LATER + 1))) == []
    assert flags(let_in(desk, sides("9", "11", LATER + 2))) == []


@pytest.mark.parametrize("verdict", [Verdict.FLAG, Verdict.REFUSE])
def test_a_real_jump_is_believed_at_the_second_trade(verdict: Verdict) -> None:
    """A new level is odd once; the next trade near it is taken, and from then on the old level is far."""
    desk = after(TRADE, by=policy(verdict, "price_range"))
    first = let_in(desk, price("100", LATER))
    assert isinstance(first, Unavailable) is (verdict is Verdict.REFUSE)
    for at in (LATER + 1, LATER + 2):
        assert flags(let_in(desk, price("99", at))) == []
    let_in(desk, price("10", LATER + 3))
    assert desk.refused | desk.flagged == {"price_range": 2}


def test_a_sound_trade_between_them_parts_two_bad_ones() -> None:
    """Only the very next trade is a witness: a bad print that comes back later is as odd as before."""
    desk = after(TRADE, price("1000", LATER), price("10", LATER + 1))
    assert flags(let_in(desk, price("1000", LATER + 2))) == ["price_range"]


def test_a_bad_first_trade_is_outlived() -> None:
    """When the first trade of a day was the bad one, two good ones set it right."""
    desk = after(price("0.01", NOW))
    found = [flags(let_in(desk, price("10", LATER + number))) for number in range(3)]
    assert found == [["price_range"], [], []]


def test_a_trade_is_no_witness_for_itself() -> None:
    """The latest trade is asked for again and again; the same bad one is odd every time."""
    desk = after(TRADE)
    for _ in range(3):
        assert flags(let_in(desk, price("100"))) == ["price_range"]
    assert flags(let_in(desk, price("10", LATER + 1))) == []


def test_an_older_trade_does_not_take_the_place_of_a_newer() -> None:
    """Answers may overtake each other: the measure stays the newest trade."""
    desk = after(price("10", LATER), price("14", NOW))
    assert flags(let_in(desk, price("20", LATER + 1))) == ["price_range"]


def test_what_was_amended_is_no_measure() -> None:
    """A trade that was canceled or corrected is neither a measure nor a witness, and may itself be odd."""
    desk = after(price("100", NOW, amendment="canceled"))
    assert flags(let_in(desk, TRADE)) == []
    for at in (LATER, LATER + 1):
        assert flags(let_in(desk, price("100", at, amendment="corrected"))) == ["price_range"]


# ---------------------------------------------------------------------------- consistency

BESIDE = policy(Verdict.FLAG, "consistency")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("8.991", None),
        ("11.011", None),
        ("8.98", "trade 8.98, 0.000 s apart, is 10.1 % below the bid, 9.99"),
        ("11.02", "trade 11.02, 0.000 s apart, is 10.1 % above the ask, 10.01"),
    ],
)
def test_a_trade_lies_near_the_quote_of_its_instant(text: str, says: str | None) -> None:
    """A trade may be outside of the quote by the share of the nearer side, and no digit further."""
    value = let_in(after(QUOTE, by=BESIDE), price(text, NOW))
    assert flags(value) == ([] if says is None else ["consistency"])
    assert says is None or evidence(value) == says


@pytest.mark.parametrize("apart", [-NANOS, NANOS])
def test_one_instant_is_a_window(apart: int) -> None:
    """As far apart as the window is still the same instant, a nanosecond more is not, whichever came first."""
    beyond = apart + (1 if apart > 0 else -1)
    for before, then in ((QUOTE, price("20", NOW)), (price("20", NOW), QUOTE)):
        inside = let_in(after(before, by=BESIDE), replace(then, event_time=NOW + apart))
        outside = let_in(after(before, by=BESIDE), replace(then, event_time=NOW + beyond))
        assert evidence(inside).startswith("trade 20, 1.000 s apart, is 99.8 % above")
        assert flags(outside) == []


def test_whichever_arrives_second_carries_the_flag() -> None:
    """A quote that does not fit the trade before it is flagged like a trade that does not fit the quote before it."""
    assert flags(let_in(after(QUOTE, by=BESIDE), price("20", NOW))) == ["consistency"]
    assert flags(let_in(after(price("20", NOW), by=BESIDE), QUOTE)) == ["consistency"]


def test_what_was_flagged_judges_nothing() -> None:
    """Asked again, quote and trade get what they got before: the flagged one does not flag the other in turn."""
    desk = Desk(BESIDE)
    for _ in range(3):
        assert flags(let_in(desk, QUOTE)) == []
        assert flags(let_in(desk, price("20", NOW))) == ["consistency"]


def test_a_quote_that_any_rule_finds_odd_bounds_no_trade() -> None:
    """A quote far from the last trade is flagged itself, and the trades after it are not."""
    desk = after(TRADE)
    assert flags(let_in(desk, sides("100", "101", LATER))) == ["price_range"]
    assert flags(let_in(desk, price("10", LATER))) == []


def test_an_older_quote_does_not_take_the_place_of_a_newer() -> None:
    """Answers may overtake each other: a trade is judged by the newest quote."""
    desk = after(QUOTE, sides("19", "21", NOW - 1), by=BESIDE)
    assert flags(let_in(desk, price("10", NOW))) == []


@pytest.mark.parametrize(
    ("bid", "ask", "odd"),
    [("9", "0", True), ("0", "11", False), ("0", "7", True), ("30", "20", False)],
)
def test_a_missing_side_bounds_nothing(bid: str, ask: str, odd: bool) -> None:
    """An empty side is no bound, and nothing is inside or outside of a crossed quote."""
    value = let_in(after(sides(bid, ask, NOW), by=BESIDE), price("8", NOW))
    assert flags(value) == (["consistency"] if odd else [])


def test_quotes_of_another_feed_or_symbol_bound_nothing() -> None:
    """Only a quote of the same symbol on the same feed is beside a trade."""
    desk = after(QUOTE, by=BESIDE)
    assert flags(let_in(desk, price("20", NOW), Feed.SIP)) == []
    assert flags(let_in(desk, price("20", NOW, symbol="IBM"))) == []


# ---------------------------------------------------------------------------- memory


def test_what_is_remembered_is_bounded() -> None:
    """Beyond the capacity the symbol seen first is forgotten, whatever kind of record came."""
    desk = Desk(policy(Verdict.FLAG, "price_range"), capacity=2)
    for symbol in ("A", "B"):
        let_in(desk, price("10", symbol=symbol))
    assert flags(let_in(desk, price("100", LATER + 1, symbol="A"))) == ["price_range"]
    let_in(desk, replace(QUOTE, symbol="C"))
    assert flags(let_in(desk, price("100", LATER + 2, symbol="A"))) == []
    let_in(desk, replace(BAR, symbol="D"))
    assert flags(let_in(desk, price("100", LATER + 2, symbol="C"))) == []


def test_everything_is_forgotten_when_a_replay_is_set_back() -> None:
    """After a clear nothing that was seen judges anything."""
    desk = after(TRADE, QUOTE)
    desk.context.clear()
    assert flags(let_in(desk, price("100", NOW + 1))) == []


# ---------------------------------------------------------------------------- laws

PRICES = st.sampled_from([Decimal(text) for text in ("0", "1", "9.5", "10", "10.5", "100")])
TIMES = st.sampled_from([NOW - HOUR, NOW, NOW + 1, NOW + NANOS, LATER, AT_NIGHT, NOW + 24 * HOUR])
SIZES = st.sampled_from([None, 0, 5, 10**9])
SYMBOLS = st.sampled_from(["AAPL", "IBM"])
RECORDS = st.one_of(
    st.builds(
        RawQuote, SYMBOLS, TIMES, PRICES, SIZES, st.just("V"), PRICES, SIZES, st.just("Q"),
        st.just(("R",)), st.just("C"),
    ),
    st.builds(
        RawTrade, SYMBOLS, TIMES, PRICES, SIZES, st.just("V"), st.just(()), st.none(), st.none(),
        st.sampled_from([None, None, "canceled"]),
    ),
    st.builds(
        lambda symbol, time, price, size: RawBar(symbol, time, price, price, price, price, size, 3, None),
        SYMBOLS, TIMES, PRICES, SIZES,
    ),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=20))
def test_a_flag_changes_nothing_but_itself(records: list[Any]) -> None:
    """Without its flags, every value is the one that a gate without business rules lets in."""
    flagging, plain = Desk(policy()), Desk(policy(Verdict.OFF))
    for record in records:
        value, same = let_in(flagging, record), let_in(plain, record)
        if isinstance(value, Unavailable):
            assert value == same
        else:
            assert replace(value, rule_flags=()) == same


@given(st.lists(RECORDS, max_size=20))
def test_a_verdict_decides_what_becomes_of_it_and_not_what_is_odd(records: list[Any]) -> None:
    """Record for record, what refusing rules refuse is what flagging rules flag, by the same rule first."""
    flagging, refusing = Desk(policy()), Desk(policy(Verdict.REFUSE))
    for record in records:
        value, outcome = let_in(flagging, record), let_in(refusing, record)
        if isinstance(value, Unavailable) or not value.rule_flags:
            assert outcome == value
        else:
            first = value.rule_flags[0]
            assert (outcome.refusal.rule, outcome.refusal.evidence) == (first.rule, first.evidence)


NEAR = st.sampled_from(
    [Decimal(text) for text in ("0", "9.4", "9.6", "9.99", "10", "10.01", "10.6", "11", "25")]
)
NEAR_RECORDS = st.one_of(
    st.builds(RawQuote, st.just("AAPL"), TIMES, NEAR, SIZES, st.none(), NEAR, SIZES, st.none(), st.just(()), st.none()),
    st.builds(RawTrade, st.just("AAPL"), TIMES, NEAR, SIZES, st.none(), st.just(()), st.none(), st.none(), st.none()),
)  # fmt: skip
SHARES = st.sampled_from([Decimal(text) for text in ("0", "0.01", "0.1", "0.5", "1", "3")])


@given(st.lists(NEAR_RECORDS, max_size=20), SHARES, SHARES, st.sampled_from(Verdict))
def test_the_short_way_of_a_quote_leads_where_these_rules_do(
    records: list[Any], price_range: Decimal, consistency: Decimal, verdict: Verdict
) -> None:
    """What one look at the whole lets through is what the rules, one by one, find nothing odd about."""
    by = policy(verdict, price_range_share=price_range, consistency_share=consistency)
    short, long = Desk(by), Desk(by)
    long.context._is_ordinary_quote = lambda raw, seen: False  # type: ignore[method-assign]
    for record in records:
        assert let_in(short, record) == let_in(long, record)
