"""Alpaca's pages of the past: into columns, exactly, and a bad record costs itself alone."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.errors import UpstreamUnreadable
from tickgate_server.ingress.history import RawBars, RawQuotes, RawTrades
from tickgate_server.market.series import SeriesKind
from tickgate_server.market.time import format_rfc3339, parse_rfc3339
from tickgate_server.upstream.alpaca.parse_history import columns, page

BARS, TRADES, QUOTES = SeriesKind.BARS, SeriesKind.TRADES, SeriesKind.QUOTES
BAR = '{"t":"2024-02-20T09:00:00Z","o":498.33,"h":498.42,"l":498.30,"c":498.4,"v":3952,"n":72,"vw":498.339812}'
TRADE = '{"t":"2022-01-03T09:00:00.24483968Z","x":"P","p":178.26,"s":246,"c":["@","T"],"i":1,"z":"C","u":"canceled"}'
QUOTE = '{"t":"2022-01-03T09:00:00.028160898Z","bx":"Q","bp":177.92,"bs":4,"ax":" ","ap":0,"as":0,"c":["Y"],"z":"C"}'
OPEN = BAR.replace('"o":498.33', '"o":OPEN')
RECORD = {BARS: BAR, TRADES: TRADE, QUOTES: QUOTE}
EVERY = pytest.mark.parametrize("kind", SeriesKind)


def body(kind: SeriesKind, *records: str, token: str | None = None) -> bytes:
    """A page of records of AAPL."""
    return (
        f'{{"{kind}":{{"AAPL":[{",".join(records)}]}},"next_page_token":{json.dumps(token)}}}'
    ).encode()


def read(kind: SeriesKind, *records: str) -> tuple[Any, list[str]]:
    """The columns of some records, and the rules that refused others."""
    series = page(body(kind, *records), kind).series
    if "AAPL" not in series:
        return None, []
    raw, refused = columns(kind, series["AAPL"])
    return raw, [refusal.rule for refusal in refused]


# ------------------------------------------------------------------------------------ what is read


def test_bars_are_read() -> None:
    """A bar's prices are the digits that were sent, and its time is to the nanosecond."""
    raw, refused = read(BARS, BAR, BAR.replace("498.30", "498.2999"))
    assert isinstance(raw, RawBars)
    assert refused == []
    assert list(raw.times) == [parse_rfc3339("2024-02-20T09:00:00Z")] * 2
    assert list(raw.open) == [Decimal("498.33")] * 2
    assert list(raw.high) == [Decimal("498.42")] * 2
    assert list(raw.low) == [Decimal("498.3"), Decimal("498.2999")]
    assert list(raw.close) == [Decimal("498.4")] * 2
    assert (list(raw.volume), list(raw.trade_count)) == ([3952] * 2, [72] * 2)
    assert raw.vwap is not None
    assert list(raw.vwap) == [Decimal("498.339812")] * 2


def test_trades_are_read() -> None:
    """A trade comes with all that was sent of it."""
    raw, refused = read(TRADES, TRADE)
    assert isinstance(raw, RawTrades)
    assert refused == []
    assert list(raw.times) == [parse_rfc3339("2022-01-03T09:00:00.24483968Z")]
    assert list(raw.price) == [Decimal("178.26")]
    assert (raw.size, raw.exchange, raw.conditions) == ([246], ["P"], [("@", "T")])
    assert (raw.id, raw.tape, raw.amendment) == ([1], ["C"], ["canceled"])


def test_quotes_are_read() -> None:
    """A quote comes with both of its sides, an empty one as it was sent."""
    raw, refused = read(QUOTES, QUOTE)
    assert isinstance(raw, RawQuotes)
    assert refused == []
    assert list(raw.times) == [parse_rfc3339("2022-01-03T09:00:00.028160898Z")]
    assert (list(raw.bid_price), raw.bid_size, raw.bid_exchange) == (
        [Decimal("177.92")], [4], ["Q"],
    )  # fmt: skip
    assert list(raw.ask_price) == [Decimal(0)]
    assert (raw.ask_size, raw.ask_exchange) == ([0], [" "])
    assert (raw.conditions, raw.tape) == ([("Y",)], ["C"])


def test_what_was_not_sent_is_not_there() -> None:
    """Fields that were left out or are null stay without a value; trades of options have one condition, as a text."""
    bar = '{"t":"2024-02-20T09:00:00Z","o":1,"h":1,"l":1,"c":1}'
    raw, _ = read(BARS, bar, bar.replace("}", ',"vw":null,"v":null,"n":null}'))
    assert (raw.vwap, raw.volume, raw.trade_count) == (None, [None, None], [None, None])
    raw, _ = read(BARS, bar, BAR)
    assert list(raw.vwap) == [None, Decimal("498.339812")]
    option = '{"t":"2024-01-18T15:03:44.56339456Z","x":"B","p":0.37,"s":1,"c":"I"}'
    raw, _ = read(TRADES, option, '{"t":"2024-01-18T15:03:45Z","p":1}')
    assert raw.conditions == [("I",), ()]
    assert (raw.id, raw.tape, raw.exchange) == ([None, None], [None, None], ["B", None])


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        ("stocks-bars-multi-page", BARS),
        ("options-bars-page", BARS),
        ("stocks-trades-multi-page", TRADES),
        ("stocks-trades-updated-u-field", TRADES),
        ("options-trades-page", TRADES),
        ("stocks-quotes-multi-page", QUOTES),
        ("stocks-quotes-multi-desc-newtoken", QUOTES),
    ],
)
def test_recorded_pages_are_read(sample: str, kind: SeriesKind) -> None:
    """Pages that Alpaca has sent are read whole."""
    path = Path(__file__).parents[4] / "shared/alpaca/samples" / f"{sample}.json"
    if not path.exists():
        pytest.skip("Alpaca's samples are not here")
    sent = json.loads(path.read_bytes())
    found = page(path.read_bytes(), kind)
    assert found.token == sent["next_page_token"]
    for symbol, records in sent[kind.value].items():
        raw, refused = columns(kind, found.series[symbol])
        assert not refused
        assert raw is not None
        assert [format_rfc3339(time) for time in raw.times] == [one["t"] for one in records]


@EVERY
@pytest.mark.parametrize("series", ["{}", "null", '{"AAPL":[]}', '{"AAPL":null}'])
def test_pages_without_records(kind: SeriesKind, series: str) -> None:
    """An empty map, null, and symbols with nothing are pages without records; the token says whether there are more."""
    for token in ("null", '"MQ=="'):
        text = f'{{"{kind}":{series},"next_page_token":{token},"currency":"MXN"}}'
        found = page(text.encode(), kind)
        assert (dict(found.series), found.token) == ({}, json.loads(token))


# ------------------------------------------------------------------------------------- exactness


@given(
    st.lists(
        st.tuples(
            st.integers(parse_rfc3339("1970-01-01T00:00:00Z"), parse_rfc3339("2200-01-01T00:00:00Z")),
            st.decimals(0, 10**6, allow_nan=False, places=6),
        ),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_whatever_is_sent_comes_exactly(records: list[tuple[int, Decimal]]) -> None:
    """Prices and times of any number of digits come out as the numbers that were sent."""
    texts = [f'{{"t":"{format_rfc3339(time)}","p":{price:f}}}' for time, price in records]
    raw, refused = read(TRADES, *texts)
    assert refused == []
    assert list(zip(raw.times, raw.price, strict=True)) == records


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-20T09:00:00Z", "2024-02-20T09:59:59.999999999Z", "2024-02-20T09:00:00.1Z",
        "2024-02-20T04:00:00-05:00", "2024-02-20T04:00:00.25-05:00", "2024-12-31T23:59:59Z",
        "1969-12-31T23:59:59.5Z",
    ],
)  # fmt: skip
def test_times_in_every_form(text: str) -> None:
    """Each form of a time that Alpaca may send is the instant that it names."""
    raw, _ = read(TRADES, f'{{"t":"{text}","p":1}}')
    assert list(raw.times) == [parse_rfc3339(text)]


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "2024-02-20", "2024-02-20T09:00:00", "2024-02-20T09:00Z", "2024-02-20 09:00:00Z",
        "2024-02-20T24:00:00Z", "2024-02-20T09:60:00Z", "2024-02-20T09:00:60Z",
        "2024-02-30T09:00:00Z", "2024-02-20T09:00:00.Z", "2024-02-20T09:00:00.1234567890Z",
        "2024-02-20T09:00:00,5Z", "2024-02-20T09:00:00.٣Z", "2024-02-20T09-00-00Z",
        "2024-02-20T09:00:0aZ", "2024-02-20T09:00:00.1z", "2024-02-20T09:00:00.+1Z",
        "2024-02-20T0٣:00:00Z", "2024-02-20T09:00:00XZ", "2024-02-20T09: 1:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    """A text that names no instant refuses its record, as everywhere."""
    with pytest.raises(ValueError, match=r"RFC 3339|hour|day|minute|second|Invalid"):
        parse_rfc3339(text)
    raw, refused = read(TRADES, TRADE, json.dumps({"t": text, "p": 1}), TRADE)
    assert refused == ["malformed_time"]
    assert len(raw.times) == 2


# -------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("kind", "spoilt", "rule"),
    [
        (BARS, BAR.replace('"2024-02-20T09:00:00Z"', "7"), "wrong_type"),
        (BARS, BAR.replace('"o":498.33,', ""), "missing_field"),
        (BARS, OPEN.replace("OPEN", "null"), "wrong_type"),
        (BARS, OPEN.replace("OPEN", '"498.33"'), "wrong_type"),
        (BARS, OPEN.replace("OPEN", "[498.33]"), "wrong_type"),
        (BARS, BAR.replace("498.339812", "true"), "wrong_type"),
        (BARS, BAR.replace("3952", "1.5"), "wrong_type"),
        (BARS, OPEN.replace("OPEN", "9" * 5000), "price_out_of_range"),
        (BARS, OPEN.replace("OPEN", "1e99999999999999999999"), "price_out_of_range"),
        (TRADES, TRADE.replace('"p":178.26,', ""), "missing_field"),
        (TRADES, TRADE.replace("178.26", '"a"'), "wrong_type"),
        (TRADES, TRADE.replace('["@","T"]', "7"), "wrong_type"),
        (TRADES, TRADE.replace('["@","T"]', "[7]"), "wrong_type"),
        (QUOTES, QUOTE.replace('"ap":0,', ""), "missing_field"),
        (QUOTES, QUOTE.replace("177.92", "{}"), "wrong_type"),
        (BARS, "7", "wrong_type"),
        (BARS, "null", "missing_field"),
        (BARS, "{}", "missing_field"),
        (BARS, '"AAPL"', "wrong_type"),
    ],
)
def test_a_bad_record_costs_itself(kind: SeriesKind, spoilt: str, rule: str) -> None:
    """A record that cannot be read is refused with its rule; those around it are as they were."""
    good = RECORD[kind]
    raw, refused = read(kind, good, spoilt, good)
    assert refused == [rule]
    assert raw == read(kind, good, good)[0]


@pytest.mark.parametrize("place", [0, 255, 256, 511, 599])
def test_a_bad_record_among_many(place: int) -> None:
    """Wherever among many it stands, the bad record is found and no other is lost."""
    prices = [str(number + 1) for number in range(600)]
    texts = [f'{{"t":"2024-02-20T09:00:00Z","p":{price}}}' for price in prices]
    for bad in ('{"t":"never","p":1}', '{"t":"2024-02-20T09:00:00Z","p":"1"}', '{"t":1,"p":1}'):
        raw, refused = read(TRADES, *texts[:place], bad, *texts[place + 1 :])
        assert len(refused) == 1
        assert [str(price) for price in raw.price] == [*prices[:place], *prices[place + 1 :]]


@EVERY
def test_nothing_but_bad_records(kind: SeriesKind) -> None:
    """Where no record can be read there are no columns, and every one has its reason."""
    raw, refused = read(kind, "7", '{"t":"never"}')
    assert (raw, len(refused)) == (None, 2)
    spoilt = RECORD[kind].replace(":00:00", ":99:00")
    raw, refused = read(kind, spoilt, spoilt)
    assert (raw, refused) == (None, ["malformed_time"] * 2)


@EVERY
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"", "unreadable"),
        (b"<html>", "unreadable"),
        (b'{"KIND":{"AAPL":[', "unreadable"),
        (b'\xff{"KIND":{},"next_page_token":null}', "unreadable"),
        (b"[]", "wrong_type"),
        (b"null", "wrong_type"),
        (b"{}", "missing_field"),
        (b'{"KIND":{}}', "missing_field"),
        (b'{"next_page_token":null}', "missing_field"),
        (b'{"KIND":[],"next_page_token":null}', "wrong_type"),
        (b'{"KIND":{"AAPL":{}},"next_page_token":null}', "wrong_type"),
        (b'{"KIND":{"AAPL":7},"next_page_token":null}', "wrong_type"),
        (b'{"KIND":{},"next_page_token":7}', "wrong_type"),
        (b'{"KIND":{},"next_page_token":""}', "missing_field"),
    ],
)
def test_what_is_no_page(kind: SeriesKind, text: bytes, rule: str) -> None:
    """An answer of another shape, or one that does not say whether it goes on, must not pass for a last page."""
    with pytest.raises(UpstreamUnreadable) as failure:
        page(text.replace(b"KIND", kind.value.encode()), kind)
    assert failure.value.refusal.rule == rule
