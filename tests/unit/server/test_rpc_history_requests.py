"""Requests about the past: each rule with its field and its sentence, before anybody is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import admin_service_pb2, history_pb2, provenance_pb2
from tickgate.v1 import history_service_pb2 as pb
from tickgate_server.errors import InvalidRequest
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.series import Adjustment, SeriesKind, SeriesPosition
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.history_requests import Asked
from tickgate_server.rpc.keeping_requests import KeepingReader
from tickgate_server.rpc.paging import SeriesPlace, encode_token

from ...support.admin import Parts
from ...support.fakes import NOW

T = TypeVar("T")

OPTION, PUT = "SPY260918C00380000", "SPY260918P00380000"
SIP = provenance_pb2.FEED_SIP
NEWEST = history_pb2.SORT_NEWEST_FIRST


def stamp(text: str) -> Timestamp:
    """A moment."""
    instant = parse_rfc3339(text)
    return Timestamp(seconds=instant // NANOS, nanos=instant % NANOS)


FIRST, LAST = stamp("2026-09-01T00:00:00Z"), stamp("2026-09-20T00:00:00Z")
FUTURE = stamp("2026-10-01T15:00:00.000000001Z")
LONG_AGO = stamp("2000-01-01T00:00:00Z")
BARS: dict[str, Any] = {
    "symbols": ["AAPL"],
    "timeframe": "1Min",
    "start_time": FIRST,
    "end_time": LAST,
}
TRADES: dict[str, Any] = {"symbols": ["AAPL"], "start_time": FIRST, "end_time": LAST}


def reader(default_feed: Feed = Feed.IEX) -> KeepingReader:
    """A reader of a request that comes now."""
    parts = Parts(default_feed=default_feed)
    return KeepingReader(parts.rules(), parts.moment("id"))


def bars(**changed: Any) -> Asked:
    """What a request for bars as columns means."""
    return judged(
        lambda one: one.streamed(SeriesKind.BARS, pb.StreamBarsRequest(**(BARS | changed)))
    )


def trades(**changed: Any) -> Asked:
    """What a request for trades as columns means."""
    request = pb.StreamTradesRequest(**(TRADES | changed))
    return judged(lambda one: one.streamed(SeriesKind.TRADES, request))


def judged(read: Callable[[KeepingReader], T], default_feed: Feed = Feed.IEX) -> T:
    """What is read, if it is in order."""
    one = reader(default_feed)
    found = read(one)
    one.done()
    return found


def broken(
    read: Callable[[KeepingReader], object], default_feed: Feed = Feed.IEX
) -> dict[str, str]:
    """The rules that are broken, by field."""
    with pytest.raises(InvalidRequest) as failed:
        judged(read, default_feed)
    assert len({field for field, _ in failed.value.violations}) == len(failed.value.violations)
    return dict(failed.value.violations)


# ------------------------------------------------------------------------------ what is in order


def test_what_is_left_out_has_its_meaning() -> None:
    """A request that says no more than it must asks for raw values of the default feed, oldest first, from any tier."""
    question = bars().question
    assert question.key.kind is SeriesKind.BARS
    assert question.key.feed is Feed.IEX
    assert question.key.timeframe == Timeframe(1, Unit.MINUTE)
    assert question.key.adjustments == frozenset()
    assert (question.key.symbol_date, question.key.exact_symbol) == (None, False)
    assert question.interval == Interval(_at(FIRST), _at(LAST))
    assert (question.newest_first, question.limit, question.as_of) == (False, 0, None)
    assert (question.allowed_tiers, question.clamp) == (None, False)
    assert bars().after is None
    assert not bars().strict


def test_everything_that_is_said_is_asked() -> None:
    """Each field of a request reaches the question."""
    asked = bars(
        symbols=["AAPL", "BRK.B"],
        timeframe="4H",
        feed=SIP,
        adjustments=[history_pb2.ADJUSTMENT_SPIN_OFF, history_pb2.ADJUSTMENT_SPLIT],
        symbol_date=Date(year=2022, month=6, day=8),
        sort=NEWEST,
        limit=10_000_000,
        as_of_time=Timestamp(seconds=NOW // NANOS),
        allowed_tiers=[provenance_pb2.TIER_STORE, provenance_pb2.TIER_REDIS],
        clamp_to_entitlement=True,
        strict=True,
    )
    question = asked.question
    assert question.symbols == ("AAPL", "BRK.B")
    assert question.key.symbol == "AAPL"
    assert question.key.feed is Feed.SIP
    assert str(question.key.timeframe) == "4Hour"
    assert question.key.adjustments == {Adjustment.SPLIT, Adjustment.SPIN_OFF}
    assert str(question.key.symbol_date) == "2022-06-08"
    assert question.newest_first
    assert (question.limit, question.as_of) == (10_000_000, NOW)
    assert question.allowed_tiers == frozenset({Tier.STORE, Tier.REDIS})
    assert question.clamp
    assert asked.strict
    assert bars(exact_symbols=True).question.key.exact_symbol


def test_options_have_no_feed() -> None:
    """Options are told from stocks by their symbols, and asked on no feed in particular."""
    question = trades(symbols=[OPTION, PUT]).question
    assert question.symbols == (OPTION, PUT)
    assert question.key.feed is None


def test_an_open_end_is_now() -> None:
    """A range without an end reaches up to the market's present time; a future end is a range's own affair."""
    request = {name: value for name, value in TRADES.items() if name != "end_time"}
    open_ended = pb.StreamTradesRequest(**request)
    asked = judged(lambda one: one.streamed(SeriesKind.TRADES, open_ended))
    assert asked.question.interval == Interval(_at(FIRST), NOW)
    assert trades(end_time=FUTURE).question.interval.end == NOW + 1


@pytest.mark.parametrize("feed", ["SIP", "IEX", "BOATS", "OTC"])
def test_feeds_with_a_past(feed: str) -> None:
    """The past is kept of four feeds."""
    number = provenance_pb2.Feed.Value(f"FEED_{feed}")
    assert trades(feed=number).question.key.feed is Feed[feed]


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"timeframe": ""}, "timeframe", "1Min to 59Min"),
        ({"timeframe": "60Min"}, "timeframe", "1Min to 59Min"),
        ({"timeframe": "2Day"}, "timeframe", "1Min to 59Min"),
        ({"timeframe": "1min"}, "timeframe", "1Min to 59Min"),
        ({"adjustments": [0]}, "adjustments[0]", "ADJUSTMENT_UNSPECIFIED is not a"),
        ({"adjustments": [9]}, "adjustments[0]", "9 is not an adjustment"),
        ({"adjustments": [1, 1]}, "adjustments[1]", "an adjustment is named once"),
        ({"adjustments": [1] * 50}, "adjustments", "there are 3 adjustments"),
        ({"symbols": [OPTION], "adjustments": [1]}, "adjustments", "options are not adjusted"),
        ({"symbols": [OPTION], "feed": SIP}, "feed", "leave it out"),
        ({"symbols": [OPTION], "exact_symbols": True}, "exact_symbols", "leave it out"),
        ({"symbols": [OPTION], "symbol_date": Date(year=2024, month=1, day=1)}, "symbol_date", "leave it out"),
        ({"feed": provenance_pb2.FEED_DELAYED_SIP}, "feed", "FEED_DELAYED_SIP has no past"),
        ({"feed": provenance_pb2.FEED_OVERNIGHT}, "feed", "FEED_BOATS, FEED_IEX, FEED_OTC, FEED_SIP have one"),
        ({"feed": provenance_pb2.FEED_OPRA}, "feed", "FEED_OPRA has no past"),
        ({"feed": provenance_pb2.FEED_INDICATIVE}, "feed", "has no past"),
        ({"feed": 0}, "feed", "FEED_UNSPECIFIED has no past"),
        ({"feed": 99}, "feed", "99 has no past"),
        ({"symbols": []}, "symbols", "1 to 100 symbols, not 0"),
        ({"symbols": [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(101)]}, "symbols", "not 101"),
        ({"symbols": ["AAPL", "aapl"]}, "symbols[1]", "upper-case"),
        ({"symbols": ["AAPL", "AAPL"]}, "symbols[1]", "once"),
        ({"symbols": ["AAPL", OPTION]}, "symbols[1]", "all of stocks, or all OCC"),
        ({"symbols": [OPTION, "AAPL"]}, "symbols[1]", "all of stocks, or all OCC"),
        ({"symbols": [OPTION, "nonsense"]}, "symbols[1]", "OCC symbol is"),
        ({"end_time": FIRST}, "end_time", "the end is after the start"),
        ({"start_time": None}, "start_time", "a range has a start"),
        ({"start_time": Timestamp(seconds=-1)}, "start_time", "1970 to 2261"),
        ({"start_time": Timestamp(seconds=1, nanos=1_000_000_000)}, "start_time", "to the nanosecond"),
        ({"end_time": Timestamp(seconds=1 << 40)}, "end_time", "1970 to 2261"),
        ({"end_time": Timestamp(seconds=2_000_000_000, nanos=-1)}, "end_time", "to the nanosecond"),
        ({"start_time": FUTURE, "end_time": None}, "start_time", "for the market it is 2026-10-01T15:00:00Z"),
        ({"start_time": FUTURE, "end_time": stamp("2027-01-01T00:00:00Z")}, "start_time", "not yet the past"),
        ({"start_time": Timestamp(seconds=NOW // NANOS), "end_time": None}, "start_time", "not yet the past"),
        ({"start_time": LONG_AGO, "end_time": stamp("2016-01-04T05:00:00Z")}, "end_time", "nothing before 2016-01-04"),
        (
            {"symbols": [OPTION], "start_time": LONG_AGO, "end_time": stamp("2024-02-01T05:00:00Z")},
            "end_time",
            "nothing before 2024-02-01",
        ),
        ({"symbol_date": Date(year=2024, month=2, day=30)}, "symbol_date", "a whole date"),
        ({"symbol_date": Date(year=2024)}, "symbol_date", "a whole date"),
        ({"symbol_date": Date(year=1969, month=12, day=31)}, "symbol_date", "from 1970-01-01"),
        ({"symbol_date": Date(year=2030, month=1, day=1)}, "symbol_date", "to 2029-12-31"),
        (
            {"symbol_date": Date(year=2024, month=1, day=1), "exact_symbols": True},
            "symbol_date",
            "literally",
        ),
        ({"sort": 3}, "sort", "3 is not one of"),
        ({"limit": 10_000_001}, "limit", "0 to 10000000"),
        ({"as_of_time": FUTURE}, "as_of_time", "by our clock it is 2026-10-01T15:00:00Z"),
        ({"as_of_time": Timestamp(seconds=-5)}, "as_of_time", "1970 to 2261"),
        ({"allowed_tiers": [provenance_pb2.TIER_BOOK]}, "allowed_tiers[0]", "TIER_BOOK is not a history tier"),
        ({"allowed_tiers": [provenance_pb2.TIER_MEMORY]}, "allowed_tiers[0]", "is not a history tier"),
        ({"allowed_tiers": [0]}, "allowed_tiers[0]", "TIER_UNSPECIFIED"),
        ({"allowed_tiers": [4, 4]}, "allowed_tiers[1]", "a history tier is named once"),
        ({"cursor": "junk"}, "cursor", "not a cursor of this method"),
        ({"cursor": "é"}, "cursor", "not a cursor of this method"),
    ],
)  # fmt: skip
def test_a_wrong_question_is_told_its_rule(changed: dict[str, Any], field: str, said: str) -> None:
    """Each broken rule names its field and says in a sentence what would be in order."""
    request = pb.StreamBarsRequest(**(BARS | changed))
    rules = broken(lambda one: one.streamed(SeriesKind.BARS, request))
    assert said in rules[field]
    assert len(rules) == 1


def test_one_instant_of_the_past_is_enough() -> None:
    """A range that reaches an instant into the first day, or begins an instant before now, can be asked for."""
    bars(start_time=LONG_AGO, end_time=stamp("2016-01-04T05:00:00.000000001Z"))
    almost = stamp("2026-10-01T14:59:59.999999999Z")
    bars(start_time=almost, end_time=FUTURE)


def test_a_default_feed_without_a_past_has_to_be_replaced() -> None:
    """Where the configured feed has no past a request must name one that has."""
    request = pb.StreamTradesRequest(**TRADES)
    rules = broken(lambda one: one.streamed(SeriesKind.TRADES, request), Feed.DELAYED_SIP)
    assert "the default feed delayed_sip has no past" in rules["feed"]
    named = pb.StreamTradesRequest(**TRADES, feed=SIP)
    asked = judged(lambda one: one.streamed(SeriesKind.TRADES, named), Feed.DELAYED_SIP)
    assert asked.question.key.feed is Feed.SIP


def test_options_have_no_quotes_of_the_past() -> None:
    """Quotes of options are refused for each symbol, since the upstream has none."""
    request = pb.ListQuotesRequest(**(TRADES | {"symbols": [OPTION, PUT]}))
    rules = broken(lambda one: one.listed(SeriesKind.QUOTES, request))
    assert set(rules) == {"symbols[0]", "symbols[1]"}
    assert "no quotes of options" in rules["symbols[0]"]


@pytest.mark.parametrize(
    ("timeframe", "days", "fits"),
    [("1Min", 69, True), ("1Min", 70, False), ("1Hour", 3650, True), ("1Day", 3650, True), ("1T", 70, False)],
)  # fmt: skip
def test_rows_of_bars_have_a_bound(timeframe: str, days: int, *, fits: bool) -> None:
    """A range of more than a hundred thousand intervals is answered as columns only, and the rule says by which RPC."""
    start = Timestamp(seconds=NOW // NANOS - days * 24 * 3600)
    fields: dict[str, Any] = {"symbols": ["AAPL"], "timeframe": timeframe, "start_time": start}
    request = pb.ListBarsRequest(**fields)
    if fits:
        judged(lambda one: one.listed(SeriesKind.BARS, request))
    else:
        rules = broken(lambda one: one.listed(SeriesKind.BARS, request))
        assert "use StreamBars" in rules["end_time"]
    columns = pb.StreamBarsRequest(**fields)
    judged(lambda one: one.streamed(SeriesKind.BARS, columns))


@pytest.mark.parametrize(
    ("kind", "rpc"), [(SeriesKind.TRADES, "StreamTrades"), (SeriesKind.QUOTES, "StreamQuotes")]
)
def test_rows_of_ticks_have_a_bound(kind: SeriesKind, rpc: str) -> None:
    """A range of more than 31 days is answered as columns only."""
    made = pb.ListTradesRequest if kind is SeriesKind.TRADES else pb.ListQuotesRequest
    days = 31 * 24 * 3600
    start = FIRST.seconds
    fields: dict[str, Any] = {"symbols": ["AAPL"], "start_time": Timestamp(seconds=start - days)}
    fits = made(**fields, end_time=Timestamp(seconds=start))
    judged(lambda one: one.listed(kind, fits))
    over = made(**fields, end_time=Timestamp(seconds=start, nanos=1))
    assert f"use {rpc}" in broken(lambda one: one.listed(kind, over))["end_time"]


# --------------------------------------------------------------------------------------- tokens

POSITION = SeriesPosition("AAPL", NOW - 20 * 24 * 3600 * NANOS, 2, 7)


def cursor(asked: Asked, position: SeriesPosition = POSITION) -> str:
    """A token of the answer to *asked*."""
    return encode_token(asked.query, asked.place(position))


@given(
    st.sampled_from(["AAPL", "MSFT"]),
    st.none() | st.integers(NOW - 30 * 24 * 3600 * NANOS, NOW - 15 * 24 * 3600 * NANOS),
    st.integers(1, 2**61),
    st.integers(0, 2**61),
    st.booleans(),
)
def test_a_position_comes_back(
    symbol: str,
    time: int | None,
    taken: int,
    more: int,
    done: bool,
) -> None:
    """A cursor of an answer, sent with the same question, is the position that it was made of."""
    asked = trades(symbols=["AAPL", "MSFT"])
    inside = None if time is None or time not in asked.question.interval else time
    taken = 0 if inside is None else taken
    position = SeriesPosition(symbol, inside, taken, taken + more, done)
    again = trades(symbols=["AAPL", "MSFT"], cursor=cursor(asked, position))
    assert again.after == position
    assert again.question == asked.question


@pytest.mark.parametrize(
    "changed",
    [
        {"symbols": ["MSFT"]},
        {"symbols": ["AAPL", "MSFT"]},
        {"start_time": stamp("2026-09-02T00:00:00Z")},
        {"end_time": stamp("2026-09-21T00:00:00Z")},
        {"end_time": None},
        {"feed": SIP},
        {"sort": NEWEST},
        {"limit": 5},
        {"as_of_time": LAST},
        {"allowed_tiers": [provenance_pb2.TIER_STORE]},
        {"clamp_to_entitlement": True},
        {"exact_symbols": True},
        {"symbol_date": Date(year=2024, month=1, day=1)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_cursor_belongs_to_its_question(changed: dict[str, Any]) -> None:
    """A cursor with any other field changed is refused; whether lacks fail the call may change."""
    token = cursor(trades())
    request = pb.StreamTradesRequest(**(TRADES | changed), cursor=token)
    rules = broken(lambda one: one.streamed(SeriesKind.TRADES, request))
    assert "another query: keep all fields unchanged" in rules["cursor"]
    assert trades(cursor=token, strict=True).after == POSITION


def test_a_token_belongs_to_its_method() -> None:
    """Tokens of pages are no cursors of streams, and those of trades none of quotes."""
    rows = judged(lambda one: one.listed(SeriesKind.TRADES, pb.ListTradesRequest(**TRADES)))
    token = encode_token(rows.query, rows.place(POSITION))
    for kind, request in (
        (SeriesKind.TRADES, pb.StreamTradesRequest(**TRADES, cursor=token)),
        (SeriesKind.QUOTES, pb.StreamQuotesRequest(**TRADES, cursor=cursor(trades()))),
    ):
        assert "another query" in broken(lambda one: one.streamed(kind, request))["cursor"]  # noqa: B023 - called at once


@pytest.mark.parametrize(
    "forged",
    [
        {"symbol": 1},
        {"end": 0},
        {"end": NOW},
        {"time": 5},
        {"time": NOW},
        {"time": None},
        {"taken": 0},
        {"taken": 8},
    ],
    ids=str,
)
def test_a_forged_cursor_is_refused(forged: dict[str, Any]) -> None:
    """A position that no answer to the question can have reached is refused, however well it is made."""
    asked = trades()
    place: SeriesPlace = replace(asked.place(POSITION), **forged)
    request = pb.StreamTradesRequest(**TRADES, cursor=encode_token(asked.query, place))
    rules = broken(lambda one: one.streamed(SeriesKind.TRADES, request))
    assert rules["cursor"] == "not a cursor of this method"


# ----------------------------------------------------------------------------------- price at


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"symbol": ""}, "symbol", "a stock symbol is"),
        ({"symbol": "aapl"}, "symbol", "an OCC symbol is"),
        ({"time": None}, "time", "name it"),
        ({"time": FUTURE}, "time", "not yet the past"),
        ({"time": stamp("2016-01-04T04:59:59Z")}, "time", "nothing before 2016-01-04"),
        ({"symbol": OPTION, "time": stamp("2024-01-31T12:00:00Z")}, "time", "nothing before 2024-02-01"),
        ({"time": Timestamp(nanos=-1)}, "time", "1970 to 2261"),
        ({"tolerance": Duration(seconds=31 * 24 * 3600, nanos=1)}, "tolerance", "0 to 2678400 seconds"),
        ({"tolerance": Duration(seconds=-1)}, "tolerance", "0 to 2678400 seconds"),
        ({"tolerance": Duration(nanos=-1)}, "tolerance", "0 to 2678400 seconds"),
        ({"symbol": OPTION, "feed": SIP}, "feed", "leave it out"),
        ({"feed": provenance_pb2.FEED_OVERNIGHT}, "feed", "has no past"),
        ({"as_of_time": FUTURE}, "as_of_time", "by our clock"),
        ({"allowed_tiers": [1]}, "allowed_tiers[0]", "TIER_BOOK"),
    ],
)  # fmt: skip
def test_a_wrong_question_for_a_price(changed: dict[str, Any], field: str, said: str) -> None:
    """A price is of one symbol at a moment of the past, within a tolerance that is none or some."""
    known: dict[str, Any] = {"symbol": "AAPL", "time": FIRST}
    request = pb.GetPriceAtRequest(**(known | changed))
    rules = broken(lambda one: one.price_wanted(request))
    assert said in rules[field]
    assert len(rules) == 1


def test_a_tolerance_may_be_none() -> None:
    """A trade at exactly the moment may be all that counts; now is a moment of the past."""
    now = Timestamp(seconds=NOW // NANOS)
    request = pb.GetPriceAtRequest(symbol="AAPL", time=now, tolerance=Duration())
    wanted = judged(lambda one: one.price_wanted(request))
    assert (wanted.time, wanted.tolerance) == (NOW, 0)


# ------------------------------------------------------------------------- coverage, backfills


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"kind": 0}, "kind", "SERIES_KIND_UNSPECIFIED is not one of SERIES_KIND_BARS"),
        ({"kind": 9}, "kind", "9 is not one of"),
        ({"timeframe": ""}, "timeframe", "1Min to 59Min"),
        ({"kind": 2}, "timeframe", "trades have none"),
        ({"kind": 2, "timeframe": "", "adjustments": [1]}, "adjustments", "trades have none"),
        ({"kind": 3, "timeframe": "", "symbols": [OPTION]}, "symbols[0]", "no quotes of options"),
        ({"symbols": [OPTION], "feed": SIP}, "feed", "leave it out"),
        ({"end_time": FIRST}, "end_time", "the end is after the start"),
        ({"start_time": FUTURE, "end_time": None}, "start_time", "not yet the past"),
    ],
)
@pytest.mark.parametrize("rpc", ["coverage", "backfill"])
def test_a_wrong_shape(changed: dict[str, Any], field: str, said: str, rpc: str) -> None:
    """What coverage is asked of, and a backfill fetches, is series of one kind and shape."""
    fields = BARS | {"kind": history_pb2.SERIES_KIND_BARS} | changed
    if rpc == "coverage":
        rules = broken(lambda one: one.coverage_wanted(pb.GetCoverageRequest(**fields)))
    else:
        request = admin_service_pb2.StartBackfillRequest(**fields)
        rules = broken(lambda one: one.backfill_wanted(request))
    assert said in rules[field]
    assert len(rules) == 1


def test_coverage_of_all_times() -> None:
    """Coverage is told from the beginning and up to now unless the request says otherwise."""
    request = pb.GetCoverageRequest(symbols=[OPTION], kind=history_pb2.SERIES_KIND_TRADES)
    wanted, as_of = judged(lambda one: one.coverage_wanted(request))
    assert (wanted.interval, as_of) == (Interval(0, NOW), None)
    assert wanted.key.feed is None


def test_a_backfill_has_a_start() -> None:
    """A backfill says from when; up to when is now unless it says so, and it may be of a thousand symbols."""
    fields: dict[str, Any] = {"symbols": ["AAPL"], "kind": history_pb2.SERIES_KIND_QUOTES}
    request = admin_service_pb2.StartBackfillRequest(**fields)
    assert "has a start" in broken(lambda one: one.backfill_wanted(request))["start_time"]
    many = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(26 * 26)]
    request = admin_service_pb2.StartBackfillRequest(
        **(fields | {"symbols": many}), start_time=FIRST
    )
    wanted = judged(lambda one: one.backfill_wanted(request))
    assert len(wanted.symbols) == 676
    assert wanted.interval == Interval(_at(FIRST), NOW)


# ------------------------------------------------------------------------------------- actions


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"symbols": []}, "symbols", "1 to 100 symbols"),
        ({"symbols": [OPTION]}, "symbols[0]", "a stock symbol is"),
        ({"symbols": ["AAPL", "AAPL"]}, "symbols[1]", "once"),
        ({"types": [0]}, "types[0]", "CORPORATE_ACTION_TYPE_UNSPECIFIED"),
        ({"types": [1, 1]}, "types[1]", "named once"),
        ({"start_date": None}, "start_date", "is required"),
        ({"end_date": None}, "end_date", "is required"),
        ({"end_date": Date(year=2000, month=1, day=1)}, "end_date", "the end is after the start"),
        (
            {
                "start_date": Date(year=1970, month=1, day=1),
                "end_date": Date(year=2090, month=1, day=1),
            },
            "end_date",
            "36600 days",
        ),
        ({"page_token": "junk"}, "page_token", "not a page token"),
    ],
)  # fmt: skip
async def test_a_wrong_question_for_events(changed: dict[str, Any], field: str, said: str) -> None:
    """Events are asked of stocks, by kinds and between two days."""
    day = Date(year=2000, month=1, day=1)
    known: dict[str, Any] = {
        "symbols": ["AAPL"],
        "start_date": day,
        "end_date": Date(year=2001, month=1, day=1),
    }
    request = pb.ListCorporateActionsRequest(**(known | changed))
    with pytest.raises(InvalidRequest) as failed:
        await Parts().history_servicer().ListCorporateActions(request, _call())
    rules = dict(failed.value.violations)
    assert said in rules[field]
    assert len(rules) == 1


async def test_wrong_pages_are_refused_before_anybody_is_asked() -> None:
    """All broken rules of a request are told at once, and nobody is asked for anything."""
    parts = Parts()
    request = pb.ListBarsRequest(
        symbols=["aapl"], timeframe="x", page_size=-1, page_token="junk", limit=1 << 31
    )
    with pytest.raises(InvalidRequest) as failed:
        await parts.history_servicer().ListBars(request, _call())
    assert [field for field, _ in failed.value.violations] == [
        "symbols[0]",
        "timeframe",
        "limit",
        "page_token",
        "start_time",
        "page_size",
    ]
    assert parts.history.asked == []


def _call() -> Call:
    return Call("HistoryService/Any", "id", 1010.0, "unix:", 1000.0)


def _at(message: Timestamp) -> int:
    return message.seconds * NANOS + message.nanos
