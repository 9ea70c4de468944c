"""Alpaca's bodies to records: what it documents is read, anything else is refused by name."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.errors import UpstreamUnreadable
from tickgate_server.ingress.records import RawBar, RawQuote, RawTrade
from tickgate_server.market.asset import AssetStatus
from tickgate_server.market.provenance import DataSource
from tickgate_server.market.snapshot import SnapshotPart
from tickgate_server.market.time import format_rfc3339, parse_rfc3339
from tickgate_server.market.unavailable import Refusal
from tickgate_server.upstream.alpaca import parse
from tickgate_server.upstream.alpaca.hosts import source_of

from ...support.fakes import provenance

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "alpaca" / "samples"
with_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="needs the collected samples of Alpaca's answers, kept outside"
)

TIME = '"t":"2026-10-01T15:00:00Z"'
QUOTE = "{" + TIME + ',"bp":10.00,"bs":2,"bx":"V","ap":10.02,"as":3,"ax":"Q","c":["R"],"z":"C"}'
TRADE = "{" + TIME + ',"p":180.10,"s":5,"x":"V","c":["@"],"i":7,"z":"C","u":"canceled"}'
BAR = "{" + TIME + ',"o":1.0,"h":2.50,"l":1,"c":2,"v":10,"n":3,"vw":1.75}'

Parse = Callable[[str, msgspec.Raw], Any]
READERS: dict[str, tuple[Parse, str]] = {
    "quote": (parse.quote, QUOTE),
    "trade": (parse.trade, TRADE),
    "bar": (parse.bar, BAR),
}
KINDS = pytest.mark.parametrize("kind", list(READERS))


def read(kind: str, text: str) -> Any:
    """What becomes of one record."""
    return READERS[kind][0]("AAPL", msgspec.Raw(text.encode()))


def changed(kind: str, field: str, value: str) -> str:
    """A good record with *field* holding the JSON text *value*."""
    whole = {key: json.dumps(item) for key, item in json.loads(READERS[kind][1]).items()}
    whole[field] = value
    return "{" + ",".join(f'"{key}":{item}' for key, item in whole.items()) + "}"


def refused(outcome: Any) -> str:
    """The rule that an outcome is refused by."""
    assert isinstance(outcome, Refusal), outcome
    assert len(outcome.evidence) < 200
    return outcome.rule


# ---------------------------------------------------------------------------- samples


def sample(name: str) -> bytes:
    """One of the collected answers."""
    return (SAMPLES / f"{name}.json").read_bytes()


def exact(data: bytes) -> Any:
    """JSON with every number as the decimal that was written."""
    return json.loads(data, parse_float=Decimal, parse_int=Decimal)


def instant(record: dict[str, Any]) -> int:
    """When a record happened."""
    return parse_rfc3339(record["t"])


def check_quote(seen: Any, sent: dict[str, Any]) -> None:
    """Check that a quote is what was sent."""
    assert isinstance(seen, RawQuote)
    assert (seen.event_time, seen.tape, list(seen.conditions)) == (
        instant(sent),
        sent["z"],
        sent["c"],
    )
    assert (str(seen.bid_price), seen.bid_size, seen.bid_exchange) == (
        str(sent["bp"]), sent["bs"], sent["bx"],
    )  # fmt: skip
    assert (str(seen.ask_price), seen.ask_size, seen.ask_exchange) == (
        str(sent["ap"]), sent["as"], sent["ax"],
    )  # fmt: skip


def check_trade(seen: Any, sent: dict[str, Any]) -> None:
    """Check that a trade is what was sent."""
    assert isinstance(seen, RawTrade)
    assert (str(seen.price), seen.size, seen.exchange) == (str(sent["p"]), sent["s"], sent["x"])
    assert (seen.event_time, seen.id, seen.tape) == (instant(sent), sent["i"], sent["z"])
    assert (list(seen.conditions), seen.amendment) == (sent["c"], sent.get("u"))


def check_bar(seen: Any, sent: dict[str, Any]) -> None:
    """Check that a bar is what was sent."""
    assert isinstance(seen, RawBar)
    assert seen.event_time == instant(sent)
    prices = [seen.open, seen.high, seen.low, seen.close, seen.vwap]
    assert [str(price) for price in prices] == [
        str(sent[key]) for key in ("o", "h", "l", "c", "vw")
    ]
    assert (seen.volume, seen.trade_count) == (sent["v"], sent["n"])


@with_samples
@pytest.mark.parametrize(
    ("name", "wrapper", "reader", "check"),
    [
        ("stocks-quotes-latest-multi", "quotes", parse.quote, check_quote),
        ("stocks-trades-latest-multi", "trades", parse.trade, check_trade),
        ("stocks-bars-latest-multi", "bars", parse.bar, check_bar),
    ],
)
def test_every_latest_sample_is_read(name: str, wrapper: str, reader: Parse, check: Any) -> None:
    """Each record of Alpaca's own examples is read field for field."""
    body = sample(name)
    records = parse.records(body, wrapper)
    assert records
    for symbol, record in records.items():
        check(reader(symbol, record), exact(body)[wrapper][symbol])


@with_samples
@pytest.mark.parametrize(
    ("name", "key", "reader", "check"),
    [
        ("stocks-quotes-latest-single", "quote", parse.quote, check_quote),
        ("stocks-trades-latest-single", "trade", parse.trade, check_trade),
        ("stocks-bars-latest-single", "bar", parse.bar, check_bar),
    ],
)
def test_every_single_sample_is_read(name: str, key: str, reader: Parse, check: Any) -> None:
    """The records of single-symbol examples have the same form."""
    body = sample(name)
    record = msgspec.json.decode(body, type=dict[str, msgspec.Raw])[key]
    check(reader("AAPL", record), exact(body)[key])


@with_samples
@pytest.mark.parametrize("name", ["stocks-snapshots-multi", "stocks-snapshot-single"])
def test_every_part_of_a_snapshot_sample_is_read(name: str) -> None:
    """All five parts of each snapshot are found and read."""
    body = sample(name)
    whole = exact(body)
    if "symbol" in whole:
        body = b'{"AAPL":' + body + b"}"
        whole = {"AAPL": whole}
    for symbol, record in parse.records(body, "").items():
        parts = parse.snapshot_parts(record)
        assert not isinstance(parts, Refusal)
        sent = whole[symbol]
        assert set(parts) == set(SnapshotPart)
        check_trade(parse.trade(symbol, parts[SnapshotPart.LATEST_TRADE]), sent["latestTrade"])
        check_quote(parse.quote(symbol, parts[SnapshotPart.LATEST_QUOTE]), sent["latestQuote"])
        check_bar(parse.bar(symbol, parts[SnapshotPart.MINUTE_BAR]), sent["minuteBar"])
        check_bar(parse.bar(symbol, parts[SnapshotPart.DAILY_BAR]), sent["dailyBar"])
        check_bar(parse.bar(symbol, parts[SnapshotPart.PREVIOUS_DAILY_BAR]), sent["prevDailyBar"])


@with_samples
def test_an_amended_trade_says_so() -> None:
    """The mark of a canceled trade comes through."""
    body = sample("stocks-trades-updated-u-field")
    found = msgspec.json.decode(body, type=dict[str, Any])["trades"]["A"]
    for sent in found:
        seen = parse.trade("A", msgspec.Raw(json.dumps(sent).encode()))
        assert isinstance(seen, RawTrade)
        assert seen.amendment == "canceled"


@with_samples
def test_the_samples_of_the_trading_api_are_read() -> None:
    """Asset, calendar and both forms of the clock mean what they say."""
    (nvidia,), _ = parse.assets(b"[" + sample("trading-asset") + b"]")
    assert (nvidia.symbol, nvidia.status, nvidia.asset_class) == (
        "NVDA",
        AssetStatus.ACTIVE,
        "us_equity",
    )
    assert "has_options" in nvidia.attributes

    (day,) = parse.trading_days(sample("trading-calendar"))
    edges = (day.pre_market_open, day.open, day.close, day.after_hours_close)
    assert [format_rfc3339(edge or 0) for edge in edges] == [
        "2025-01-02T09:00:00Z",
        "2025-01-02T14:30:00Z",
        "2025-01-02T21:00:00Z",
        "2025-01-03T01:00:00Z",
    ]
    assert day.settlement_date == datetime.date(2025, 1, 3)

    real = parse.clock(sample("trading-clock-real"), provenance(None))
    assert format_rfc3339(real.market_time) == "2026-08-30T18:53:54.905548592Z"
    assert (real.is_open, real.speed) == (False, 1.0)
    assert parse.clock(sample("trading-clock-spec"), provenance(None)).is_open


# ---------------------------------------------------------------------------- one record


@KINDS
def test_a_record_needs_its_time_and_prices(kind: str) -> None:
    """Without one of them the record is `missing_field`; without anything else it is a record."""
    required = {"quote": "t bp ap", "trade": "t p", "bar": "t o h l c"}[kind].split()
    whole = json.loads(READERS[kind][1])
    for field in whole:
        rest = json.dumps({key: item for key, item in whole.items() if key != field})
        outcome = read(kind, rest)
        if field in required:
            assert refused(outcome) == "missing_field"
            assert repr(field) in outcome.evidence
        else:
            assert not isinstance(outcome, Refusal)
    bare = read(kind, json.dumps({key: whole[key] for key in required}))
    optional = [getattr(bare, name) for name in bare.__struct_fields__ if "price" not in name]
    assert [item for item in optional if item in (None, ())]


@KINDS
@pytest.mark.parametrize("value", ['"10.5"', "null", "true", "{}", "[]"])
def test_a_price_is_a_number(kind: str, value: str) -> None:
    """A price of another type, a number in quotes among them, is `wrong_type` and names its field."""
    for field in {"quote": ("bp", "ap"), "trade": ("p",), "bar": ("o", "h", "l", "c")}[kind]:
        outcome = read(kind, changed(kind, field, value))
        assert refused(outcome) == "wrong_type"
        assert field in outcome.evidence


@pytest.mark.parametrize("value", ['"1.5"', "true", "{}", "[]"])
def test_an_average_is_a_number_or_not_sent(value: str) -> None:
    """A volume-weighted price may be missing or null, and is otherwise a number."""
    assert refused(read("bar", changed("bar", "vw", value))) == "wrong_type"
    assert read("bar", changed("bar", "vw", "null")).vwap is None


@pytest.mark.parametrize(
    ("kind", "field"),
    [("quote", "bs"), ("quote", "as"), ("trade", "s"), ("trade", "i"), ("bar", "v"), ("bar", "n")],
)
def test_a_count_is_a_whole_number_or_not_sent(kind: str, field: str) -> None:
    """A size that is a fraction, a text or a truth value is `wrong_type`; null is not sent."""
    for value in ("1.5", "1.0", '"3"', "true", "[]", "1e400", "1" * 5000):
        assert refused(read(kind, changed(kind, field, value))) == "wrong_type"
    assert not isinstance(read(kind, changed(kind, field, "null")), Refusal)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [("quote", "bx", "7"), ("quote", "c", '"R"'), ("quote", "c", "[1]"), ("quote", "z", "[]"),
     ("trade", "x", "true"), ("trade", "u", "{}"), ("bar", "t", "12"), ("quote", "t", "null")],
)  # fmt: skip
def test_codes_and_times_are_texts(kind: str, field: str, value: str) -> None:
    """A code or a time of another type is `wrong_type`, naming the field."""
    outcome = read(kind, changed(kind, field, value))
    assert refused(outcome) == "wrong_type"
    assert field in outcome.evidence


@KINDS
@pytest.mark.parametrize("value", ["soon", "", "2026-10-01", "2026-02-30T00:00:00Z", "x" * 5000,
                                   "9999-12-31T23:59:59-01:00"])  # fmt: skip
def test_a_time_is_rfc_3339(kind: str, value: str) -> None:
    """A time that is none is `malformed_time` and shows its text."""
    outcome = read(kind, changed(kind, "t", json.dumps(value)))
    assert refused(outcome) == "malformed_time"
    assert value[:20] in outcome.evidence


@pytest.mark.parametrize(
    "text",
    ["180.10", "0.0001", "1", "1e3", "1E-5", "0.00", "-1.50", "100.000000", "1e400", "7.0e-3"],
)
def test_a_price_keeps_its_digits(text: str) -> None:
    """A price is the decimal that was written, not one near it."""
    assert read("trade", changed("trade", "p", text)).price.as_tuple() == Decimal(text).as_tuple()


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_decimal_arrives_exactly(number: Decimal) -> None:
    """Whatever number JSON can write arrives digit for digit."""
    assert str(read("trade", changed("trade", "p", str(number))).price) == str(number)


@pytest.mark.parametrize(
    "text", ["1e9999999999999999999", "1e-9999999999999999999", "0e9999999999999999999"]
)
def test_an_exponent_beyond_all_reason_is_refused(text: str) -> None:
    """A number that even a Decimal cannot hold costs its own record, by the rule of prices."""
    assert refused(read("quote", changed("quote", "bp", text))) == "price_out_of_range"


@KINDS
@pytest.mark.parametrize("nothing", ["null", "{}"])
def test_null_and_empty_mean_nothing_sent(kind: str, nothing: str) -> None:
    """A record that is null or empty is neither a value nor a refusal."""
    assert read(kind, nothing) is None


@KINDS
@pytest.mark.parametrize("other", ["[]", "1", '"x"', "true"])
def test_a_record_is_an_object(kind: str, other: str) -> None:
    """A record of another type is `wrong_type`."""
    assert refused(read(kind, other)) == "wrong_type"


@KINDS
@pytest.mark.parametrize(
    "broken",
    ['{"t":"\\ud800"}', "{", '{"t":NaN}', '{"t":01}', '{"new":' + "[" * 5000 + "]" * 5000 + "}"],
    ids=["lone surrogate", "cut off", "NaN", "leading zero", "nested without end"],
)
def test_a_record_that_is_not_json_is_unreadable(kind: str, broken: str) -> None:
    """What cannot be decoded is refused as `unreadable`, however it is broken."""
    assert refused(read(kind, broken)) == "unreadable"


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"tpsxcizu", "bp", "ap"]), inner),
    max_leaves=8,
))  # fmt: skip
def test_arbitrary_json_is_a_record_or_refused(value: Any) -> None:
    """No JSON makes the parser do anything but return a record, nothing, or a refusal."""
    raw = msgspec.Raw(json.dumps(value).encode())
    for reader in (parse.quote, parse.trade, parse.bar):
        outcome = reader("AAPL", raw)
        assert outcome is None or isinstance(outcome, Refusal | RawQuote | RawTrade | RawBar)
    assert isinstance(parse.snapshot_parts(raw), dict | Refusal)


def test_fields_that_nobody_knows_are_passed_over() -> None:
    """A field more than documented does no harm."""
    assert read("quote", changed("quote", "new", '{"deep":[1]}')) == read("quote", QUOTE)


# ---------------------------------------------------------------------------- whole answers


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "unreadable"),
        (b"<html>", "unreadable"),
        (b"\xff\xfe", "unreadable"),
        (b'{"quotes":{"A":', "unreadable"),
        (b'{"quotes":{"\\ud800":{}}}', "unreadable"),
        (b'{"quotes":' + b"[" * 9000 + b"]" * 9000 + b"}", "unreadable"),
        (b"null", "wrong_type"),
        (b"[]", "wrong_type"),
        (b"3", "wrong_type"),
        (b'{"quotes":3}', "wrong_type"),
        (b'{"quotes":[]}', "wrong_type"),
        (b"{}", "missing_field"),
        (b'{"trades":{}}', "missing_field"),
    ],
)
def test_an_answer_has_its_wrapper(body: bytes, rule: str) -> None:
    """An answer that is not a map of records under its name is refused as a whole, by rule."""
    with pytest.raises(UpstreamUnreadable) as caught:
        parse.records(body, "quotes")
    assert refused(caught.value.refusal) == rule
    assert caught.value.unavailable().refusal == caught.value.refusal


def test_an_empty_answer_holds_nothing() -> None:
    """A wrapper around null or nothing is an answer without records."""
    assert parse.records(b'{"quotes":null}', "quotes") == {}
    assert parse.records(b'{"quotes":{}}', "quotes") == {}
    assert parse.records(b"{}", "") == {}


def test_records_are_read_one_by_one() -> None:
    """A malformed record leaves its neighbours alone."""
    found = parse.records(f'{{"quotes":{{"A":{QUOTE},"B":{{"t":7}},"C":null}}}}'.encode(), "quotes")
    assert isinstance(parse.quote("A", found["A"]), RawQuote)
    assert isinstance(parse.quote("B", found["B"]), Refusal)
    assert parse.quote("C", found["C"]) is None


def test_parts_of_a_snapshot_that_are_there() -> None:
    """Missing parts are missing, null ones are there as null, unknown ones are passed over."""
    parts = parse.snapshot_parts(msgspec.Raw(b'{"latestTrade":null,"minuteBar":{},"new":1}'))
    assert not isinstance(parts, Refusal)
    assert set(parts) == {SnapshotPart.LATEST_TRADE, SnapshotPart.MINUTE_BAR}
    assert parse.snapshot_parts(msgspec.Raw(b"null")) == {}
    assert refused(parse.snapshot_parts(msgspec.Raw(b"[]"))) == "wrong_type"


# ---------------------------------------------------------------------------- reference data


def test_unreadable_assets_are_left_out() -> None:
    """Only an entry without a symbol is left out, and told; a field of a wrong type is as if it had not been sent."""
    found, unread = parse.assets(
        b'[{"symbol":"A","name":null,"attributes":null,"status":"delisted","id":null},{"name":"no symbol"},'
        b'{"symbol":"B","tradable":"yes","attributes":[1,"ipo"]},null,3,{"symbol":"C","class":"us_equity","tradable":false}]'
    )
    assert [one.symbol for one in found] == ["A", "B", "C"]
    assert (found[0].name, found[0].attributes, found[0].status, found[0].id) == ("", (), None, "")
    assert (found[1].tradable, found[2].tradable) == (None, False)
    assert found[1].attributes == ("ipo",)
    assert [refusal.rule for refusal in unread] == ["missing_field"] * 3


@pytest.mark.parametrize("body", [b"{}", b"null", b"", b"<html>", b'[{"name":1},{}]', b"[]"])
def test_what_is_no_list_of_assets_is_refused(body: bytes) -> None:
    """An answer that is no list, or without any asset, would make every symbol unknown: it is refused."""
    with pytest.raises(UpstreamUnreadable):
        parse.assets(body)


CLOCK = {
    "timestamp": "2026-10-01T11:00:00-04:00",
    "is_open": True,
    "next_open": "2026-10-02T09:30:00-04:00",
    "next_close": "2026-10-01T16:00:00-04:00",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", "soon"),
        ("next_open", None),
        ("next_close", 5),
        ("is_open", "yes"),
        ("speed", "2"),
        ("speed", -1),
        ("speed", 1e7),
        ("first_day", "soon"),
        ("timestamp", "0001-01-01T00:00:00Z"),
        ("next_close", "9999-12-31T00:00:00Z"),
    ],
)
def test_what_is_no_clock_is_refused(field: str, value: Any) -> None:
    """A clock with a field of another kind is no clock."""
    with pytest.raises(UpstreamUnreadable):
        parse.clock(json.dumps(CLOCK | {field: value}).encode(), provenance(None))


def test_a_clock_may_tell_the_first_day() -> None:
    """A sandbox tells the first day of which it has history; Alpaca does not."""
    told = parse.clock(json.dumps(CLOCK | {"first_day": "2024-02-20"}).encode(), provenance(None))
    assert told.first_day == datetime.date(2024, 2, 20)
    assert parse.clock(json.dumps(CLOCK).encode(), provenance(None)).first_day is None


def test_a_clock_may_tell_its_speed() -> None:
    """A replay's speed is read; without one a second is a second."""
    assert parse.clock(json.dumps(CLOCK).encode(), provenance(None)).speed == 1.0
    assert parse.clock(json.dumps(CLOCK | {"speed": 0}).encode(), provenance(None)).speed == 0.0


@pytest.mark.parametrize(
    ("day", "opening"),
    [
        ("2026-03-06", "14:30"),
        ("2026-03-09", "13:30"),
        ("2026-10-30", "13:30"),
        ("2026-11-02", "14:30"),
    ],
)
def test_hours_are_new_yorks(day: str, opening: str) -> None:
    """Half past nine in New York moves by an hour when its clocks do."""
    body = json.dumps([{"date": day, "open": "09:30", "close": "16:00"}]).encode()
    (found,) = parse.trading_days(body)
    assert format_rfc3339(found.open) == f"{day}T{opening}:00Z"
    assert (found.pre_market_open, found.after_hours_close, found.settlement_date) == (
        None,
        None,
        None,
    )


def test_days_come_in_order() -> None:
    """Days are put in order, whatever the order they were sent in."""
    days = [{"date": f"2026-10-0{n}", "open": "09:30", "close": "16:00"} for n in (2, 1, 5)]
    assert [day.date.day for day in parse.trading_days(json.dumps(days).encode())] == [1, 2, 5]


@pytest.mark.parametrize(
    "change",
    [{"open": "25:00"}, {"open": ""}, {"close": "noon"}, {"session_open": "4"}, {"date": "2026-02-30"},
     {"open": None}, {"session_close": 2000}, {"close": "16:99999999999999999999"}, {"open": "+9:30"},
     {"open": "9_0:3"}, {"open": "٠٩:٣٠"}, {"date": "9999-12-31"}, {"date": "0001-01-01"}],
)  # fmt: skip
def test_what_is_no_calendar_is_refused(change: dict[str, Any]) -> None:
    """A day with an hour or a date that is none makes no calendar."""
    day = {"date": "2026-10-01", "open": "09:30", "close": "16:00"} | change
    with pytest.raises(UpstreamUnreadable):
        parse.trading_days(json.dumps([day]).encode())


def test_codes_come_ordered() -> None:
    """A table of codes is ordered by code; anything but texts is refused."""
    assert list(parse.names(b'{"V":"IEX","A":"NYSE American"}').items()) == [
        ("A", "NYSE American"),
        ("V", "IEX"),
    ]
    with pytest.raises(UpstreamUnreadable):
        parse.names(b'{"V":1}')


def test_the_fields_that_are_read_are_known() -> None:
    """Whoever compares Alpaca's answers with the parser learns the names it reads."""
    assert parse.fields("quote") == set(json.loads(QUOTE))
    assert parse.fields("trade") == set(json.loads(TRADE))
    assert parse.fields("bar") == set(json.loads(BAR))
    assert "class" in parse.fields("asset")


# ---------------------------------------------------------------------------- hosts


@pytest.mark.parametrize(
    "url",
    ["https://data.alpaca.markets", "https://api.alpaca.markets/", "https://paper-api.alpaca.markets",
     "https://DATA.ALPACA.MARKETS/v2", "https://data.alpaca.markets:443"],
)  # fmt: skip
def test_alpacas_own_hosts_over_tls(url: str) -> None:
    """Alpaca's production hosts, over TLS, are the market."""
    assert source_of(url) is DataSource.ALPACA


@pytest.mark.parametrize(
    "url",
    ["http://data.alpaca.markets", "https://data.sandbox.alpaca.markets", "http://127.0.0.1:50080",
     "https://data.alpaca.markets.example.com", "https://example.com/data.alpaca.markets",
     "https://alpaca.markets", "wss://data.alpaca.markets", "", "data.alpaca.markets",
     "https://data.alpaca.markets@example.com"],
)  # fmt: skip
def test_everything_else_is_a_sandbox(url: str) -> None:
    """Any other host, or the right one without TLS, is not the market."""
    assert source_of(url) is DataSource.SANDBOX
