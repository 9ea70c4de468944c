"""Alpaca's words about options to records: what was sent digit for digit, and nothing that was not."""

from __future__ import annotations

import datetime
import json
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from tickgate_server.errors import UpstreamUnreadable
from tickgate_server.ingress.records import (
    UNDATED,
    RawContract,
    RawOption,
    RawOptionBar,
    RawQuote,
    RawTrade,
)
from tickgate_server.market.occ import OptionType
from tickgate_server.market.option import ContractStatus, Deliverable, Greeks, OptionStyle
from tickgate_server.market.time import parse_rfc3339
from tickgate_server.market.unavailable import Refusal
from tickgate_server.upstream.alpaca import parse_options

from ...support.options import CALL, PUT

Fields = Mapping[str, str]
"""JSON texts by key."""

AT = "2026-10-02T19:59:59.59954399Z"
STAMP = parse_rfc3339(AT)
QUOTE: Fields = {"t": f'"{AT}"', "bp": "230.21", "bs": "126", "bx": '"E"', "ap": "239.02",
                 "as": "127", "ax": '"A"', "c": '" "'}  # fmt: skip
TRADE: Fields = {"t": f'"{AT}"', "p": "235.70", "s": "7", "x": '"I"', "c": '"f"'}
BAR: Fields = {"t": f'"{AT}"', "o": "85.75", "h": "86", "l": "83.70", "c": "84", "v": "9", "n": "2",
               "vw": "84.838889"}  # fmt: skip
GREEKS: Fields = {"delta": "0.9879", "gamma": "0.0007", "theta": "-0.0411", "vega": "0.0375",
                  "rho": "0.3149"}  # fmt: skip

NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True
)
"""Numbers as JSON may write them."""

PLAIN_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,20})?", fullmatch=True)
"""Numbers as the trading API writes them into texts."""


def obj(fields: Fields) -> str:
    """An object of some fields."""
    return "{" + ",".join(f"{json.dumps(key)}:{text}" for key, text in fields.items()) + "}"


PARTS: Fields = {
    "latestQuote": obj(QUOTE),
    "latestTrade": obj(TRADE),
    "greeks": obj(GREEKS),
    "impliedVolatility": "0.3738",
    "minuteBar": obj(BAR),
    "dailyBar": obj(BAR),
    "prevDailyBar": obj(BAR),
}
NAMES = {
    "latestQuote": "quote",
    "latestTrade": "latest_trade",
    "greeks": "greeks",
    "impliedVolatility": "implied_volatility",
    "minuteBar": "minute_bar",
    "dailyBar": "daily_bar",
    "prevDailyBar": "previous_daily_bar",
}
"""Our names of Alpaca's parts."""

EACH_PART = pytest.mark.parametrize("part", list(PARTS))
BARS = pytest.mark.parametrize("part", ["minuteBar", "dailyBar", "prevDailyBar"])


def raw(text: str) -> Any:
    """What becomes of one record."""
    return parse_options.option(CALL, msgspec.Raw(text.encode()))


def option(parts: Fields = PARTS) -> RawOption:
    """What becomes of a record that can be read."""
    found = raw(obj(parts))
    assert isinstance(found, RawOption), found
    return found


def one_part(part: str, text: str) -> Any:
    """What becomes of one part, in a record whose other parts must come out as ever."""
    found = asdict(option({**PARTS, part: text}))
    good = asdict(option())
    part = NAMES[part]
    assert {key: value for key, value in found.items() if key != part} == {
        key: value for key, value in good.items() if key != part
    }
    return found[part]


def rule(outcome: Any) -> str:
    """The rule by which something was refused."""
    assert isinstance(outcome, Refusal), outcome
    assert outcome.evidence
    assert len(outcome.evidence) < 200
    return outcome.rule


# ---------------------------------------------------------------------------------- whole records


def test_a_whole_record() -> None:
    """Every part of a record is read, under our names, and belongs to the contract that was asked."""
    found = option()
    assert found.symbol == CALL
    assert found.quote == RawQuote(
        CALL, STAMP, Decimal("230.21"), 126, "E", Decimal("239.02"), 127, "A", (" ",), None
    )
    assert found.latest_trade == RawTrade(
        CALL, STAMP, Decimal("235.70"), 7, "I", ("f",), None, None, None
    )
    bar = RawOptionBar(
        STAMP, Decimal("85.75"), Decimal(86), Decimal("83.70"), Decimal(84), 9, 2,
        Decimal("84.838889"),
    )  # fmt: skip
    assert found.minute_bar == found.daily_bar == found.previous_daily_bar == bar
    assert found.greeks == Greeks(0.9879, 0.0007, -0.0411, 0.0375, 0.3149)
    assert found.implied_volatility == 0.3738


def test_the_bars_are_not_mixed_up() -> None:
    """Each bar is the one of its name."""
    volumes = {"minuteBar": "1", "dailyBar": "2", "prevDailyBar": "3"}
    found = option({part: obj({"v": volume}) for part, volume in volumes.items()})
    bars = (found.minute_bar, found.daily_bar, found.previous_daily_bar)
    assert [bar.volume for bar in bars if isinstance(bar, RawOptionBar)] == [1, 2, 3]


@EACH_PART
@pytest.mark.parametrize("nothing", [None, "null", "{}"])
def test_a_part_that_was_not_sent_is_not_there(part: str, nothing: str | None) -> None:
    """A part that is absent, null or empty is None, and costs no other part."""
    if nothing is not None:
        assert one_part(part, nothing) is None
        return
    rest = {key: text for key, text in PARTS.items() if key != part}
    found, whole = asdict(option(rest)), asdict(option())
    assert found == {**whole, NAMES[part]: None}


@EACH_PART
@pytest.mark.parametrize("text", ['"x"', "[]", "true", "[{}]"])
def test_a_part_of_another_kind_is_refused_alone(part: str, text: str) -> None:
    """A part that is something else is refused with the evidence, and the others are read."""
    assert rule(one_part(part, text)) == "wrong_type"


def test_a_number_where_an_object_belongs() -> None:
    """A part that is a number is refused, unless a number is what belongs there."""
    for part in PARTS:
        found = one_part(part, "7")
        if part == "impliedVolatility":
            assert found == 7.0
        else:
            assert rule(found) == "wrong_type"


@pytest.mark.parametrize("nothing", ["null", "{}"])
def test_an_empty_record_is_nothing(nothing: str) -> None:
    """Null and an empty object mean that nothing was sent of the contract."""
    assert raw(nothing) is None


@pytest.mark.parametrize("text", ["7", '"x"', "[]", "true", "[" * 2000])
def test_a_record_that_is_none_is_refused(text: str) -> None:
    """What is no object is refused whole."""
    assert rule(raw(text)) in ("wrong_type", "unreadable")


def test_fields_that_nobody_knows_are_passed_over() -> None:
    """New fields, in a record or in a part, cost nothing."""
    odd = {"new": '{"a":[1,2]}'}
    parts = {
        part: text if part == "impliedVolatility" else text[:-1] + ',"new":[{}]}'
        for part, text in PARTS.items()
    }
    assert option({**odd, **parts}) == option()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["t", "p", "bp", "delta", "v", "c", "x"]), inner)
    ),
    max_leaves=8,
)


# Drawing JSON takes long on a busy machine; that is no part of the law.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(list(PARTS)), JSON.map(json.dumps)))
def test_garbage_costs_only_itself(parts: dict[str, str]) -> None:
    """Whatever JSON stands in place of some parts, the others are read as ever."""
    found, whole = asdict(option({**PARTS, **parts})), asdict(option())
    for part, name in NAMES.items():
        if part not in parts:
            assert found[name] == whole[name]


# ------------------------------------------------------------------------------------ their fields


def quote(**changed: str | None) -> Any:
    """What becomes of a quote with some fields changed; None takes one out."""
    return one_part("latestQuote", obj(without_none({**QUOTE, **changed})))


def without_none(fields: Mapping[str, str | None]) -> Fields:
    """The fields that are there."""
    return {key: text for key, text in fields.items() if text is not None}


@pytest.mark.parametrize("text", [None, "null"])
@pytest.mark.parametrize(
    ("key", "name", "unset"),
    [
        ("t", "event_time", UNDATED),
        ("bp", "bid_price", Decimal(0)),
        ("ap", "ask_price", Decimal(0)),
        ("bs", "bid_size", None),
        ("as", "ask_size", None),
        ("bx", "bid_exchange", None),
        ("ax", "ask_exchange", None),
        ("c", "conditions", ()),
    ],
)
def test_a_field_of_a_quote_that_was_not_sent(
    key: str, name: str, unset: object, text: str | None
) -> None:
    """A field that is absent or null is unset, a price as the zero that means an empty side, and costs no other."""
    good = quote()
    assert quote(**{key: text}) == replace(good, **{name: unset})


def test_the_first_instant_of_all_is_a_stamp() -> None:
    """Midnight of 1970, and times before it, were sent and are not taken for no stamp."""
    for text, at in (("1970-01-01T00:00:00Z", 0), ("0001-01-01T00:00:00Z", -62135596800 * 10**9)):
        found = quote(t=f'"{text}"').event_time
        assert found == at != UNDATED


def test_zero_is_an_empty_side() -> None:
    """A price of zero is kept as the zero that the gate takes for an empty side."""
    assert quote(bp="0", bs="0").bid_price == Decimal(0)
    assert quote(ap="0.00").ask_price == Decimal(0)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("t", "7", "wrong_type"),
        ("t", '"yesterday"', "malformed_time"),
        ("bp", '"1.5"', "wrong_type"),
        ("ap", "{}", "wrong_type"),
        ("bs", "1.5", "wrong_type"),
        ("as", '"7"', "wrong_type"),
        ("bx", "7", "wrong_type"),
        ("ax", "[]", "wrong_type"),
        ("c", '["A"]', "wrong_type"),
        ("c", "7", "wrong_type"),
    ],
)
def test_a_field_of_a_quote_that_is_odd(key: str, text: str, expected: str) -> None:
    """A field of another type costs the quote, by its name, and nothing but the quote."""
    found = quote(**{key: text})
    assert rule(found) == expected
    assert key in found.evidence or expected == "malformed_time"


@pytest.mark.parametrize("text", [None, "null"])
@pytest.mark.parametrize(
    ("key", "name", "unset"),
    [
        ("t", "event_time", UNDATED),
        ("s", "size", None),
        ("x", "exchange", None),
        ("c", "conditions", ()),
    ],
)
def test_a_field_of_a_trade_that_was_not_sent(
    key: str, name: str, unset: object, text: str | None
) -> None:
    """Of a trade everything but its price may be missing."""
    good = one_part("latestTrade", obj(TRADE))
    found = one_part("latestTrade", obj(without_none({**TRADE, key: text})))
    assert found == replace(good, **{name: unset})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"p": None}, "missing_field"),
        ({"p": "null"}, "wrong_type"),
        ({"p": '"1.5"'}, "wrong_type"),
        ({"t": '""'}, "malformed_time"),
        ({"s": "1.5"}, "wrong_type"),
        ({"s": "9" * 5000}, "wrong_type"),
        ({"x": "7"}, "wrong_type"),
        ({"c": '["f"]'}, "wrong_type"),
        ({"p": "1e9999999999999999999999"}, "price_out_of_range"),
    ],
)
def test_a_trade_that_cannot_be_read(change: dict[str, str | None], expected: str) -> None:
    """A trade without a price, or with a field of another type, is refused by name."""
    assert rule(one_part("latestTrade", obj(without_none({**TRADE, **change})))) == expected


BAR_NAMES = {"t": "event_time", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume",
             "n": "trade_count", "vw": "vwap"}  # fmt: skip


@BARS
@given(st.dictionaries(st.sampled_from(list(BAR)), st.none() | st.just("null")))
def test_a_bar_of_some_fields(part: str, missing: dict[str, str | None]) -> None:
    """Whichever fields of a bar are absent or null are unset, and the others are as sent."""
    good = one_part(part, obj(BAR))
    fields = without_none({**BAR, **missing})
    unset = {BAR_NAMES[key]: UNDATED if key == "t" else None for key in missing}
    found = one_part(part, obj(fields))
    assert found == (replace(good, **unset) if fields else None)


@BARS
@pytest.mark.parametrize(
    ("key", "text"), [("o", '"1"'), ("vw", "true"), ("v", "1.5"), ("n", '"2"'), ("t", "7")]
)
def test_a_bar_with_an_odd_field(part: str, key: str, text: str) -> None:
    """A field of another type costs its bar and nothing else."""
    assert rule(one_part(part, obj({**BAR, key: text}))) == "wrong_type"


@given(
    st.dictionaries(
        st.sampled_from(Greeks.__struct_fields__), st.none() | st.just("null"), max_size=4
    )
)
def test_greeks_of_which_some_were_sent(missing: dict[str, str | None]) -> None:
    """Greeks that are absent or null are None, the others are there, and a zero that was sent is zero."""
    found = one_part("greeks", obj(without_none({**GREEKS, "rho": "0", **missing})))
    expected = {**{key: float(text) for key, text in GREEKS.items()}, "rho": 0.0}
    assert asdict(found) == {**expected, **dict.fromkeys(missing)}


@pytest.mark.parametrize(
    "text", [obj(dict.fromkeys(GREEKS, "null")), '{"delta":null}', '{"speed":1}', "{ }"]
)
def test_greeks_of_which_none_was_sent(text: str) -> None:
    """An object that holds no greek is no greeks."""
    assert one_part("greeks", text) is None


@pytest.mark.parametrize("text", ['"0.5"', "true", "[]", "1e400"])
def test_a_greek_that_is_no_number(text: str) -> None:
    """A greek that is no number costs the greeks, and not the volatility beside them."""
    assert rule(one_part("greeks", obj({**GREEKS, "vega": text}))) == "wrong_type"
    if text != "[]":
        assert rule(one_part("impliedVolatility", text)) == "wrong_type"


# ------------------------------------------------------------------------------------ exact numbers


@given(NUMBERS)
def test_a_price_keeps_its_digits(text: str) -> None:
    """Every price is the decimal whose text was sent, whatever digits that has: none passes through a float."""
    found = option(
        {
            "latestQuote": obj({"bp": text, "ap": text}),
            "latestTrade": obj({"p": text}),
            "minuteBar": obj(dict.fromkeys(("o", "h", "l", "c", "vw"), text)),
        }
    )
    assert isinstance(found.quote, RawQuote)
    assert isinstance(found.latest_trade, RawTrade)
    assert isinstance(found.minute_bar, RawOptionBar)
    bar = found.minute_bar
    for number in (
        found.quote.bid_price, found.quote.ask_price, found.latest_trade.price, bar.open, bar.high,
        bar.low, bar.close, bar.vwap,
    ):  # fmt: skip
        assert isinstance(number, Decimal)
        assert number.compare_total(Decimal(text)) == 0


def doubles(text: str) -> list[bytes]:
    """The bits of a greek and of a volatility that were sent as some text."""
    found = option({"greeks": obj({"delta": text}), "impliedVolatility": text})
    assert isinstance(found.greeks, Greeks)
    numbers = (found.greeks.delta, found.implied_volatility)
    return [struct.pack("d", number) for number in numbers if isinstance(number, float)]


@given(
    NUMBERS.filter(lambda text: text != "-0")
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
def test_a_greek_is_the_double_that_was_sent(text: str) -> None:
    """Greeks and volatility are, bit for bit, the doubles nearest to what was sent."""
    assert doubles(text) == [struct.pack("d", float(text))] * 2


def test_minus_zero_keeps_its_sign() -> None:
    """A zero that Go rounded from below, and writes as "-0", is the double that it stands for."""
    assert doubles("-0") == [struct.pack("d", -0.0)] * 2


@given(st.integers(0, 2**63 - 1))
def test_a_count_is_exact(count: int) -> None:
    """Sizes and counts are whole numbers of any length that a contract has room for."""
    found = option(
        {
            "latestQuote": obj({"bs": str(count)}),
            "dailyBar": obj({"v": str(count), "n": str(count)}),
        }
    )
    assert isinstance(found.quote, RawQuote)
    assert isinstance(found.daily_bar, RawOptionBar)
    assert (found.quote.bid_size, found.daily_bar.volume, found.daily_bar.trade_count) == (
        count, count, count,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------- pages


def test_a_page_of_snapshots() -> None:
    """A page is its records by symbol, unread, and the token of the next."""
    body = f'{{"snapshots":{{"{CALL}":{obj(PARTS)},"{PUT}":7}},"next_page_token":"MTAw"}}'
    records, token = parse_options.page(body.encode())
    assert token == "MTAw"
    assert list(records) == [CALL, PUT]
    assert parse_options.option(CALL, records[CALL]) == option()
    assert rule(parse_options.option(PUT, records[PUT])) == "wrong_type"


@pytest.mark.parametrize(
    "body",
    [
        '{"snapshots":{},"next_page_token":null}',
        '{"snapshots":null}',
        '{"snapshots":{},"next_page_token":""}',
        '{"snapshots":{},"new":1}',
    ],
)
def test_a_last_page_may_be_empty(body: str) -> None:
    """No records, and no token in whatever way, are an end and no failure."""
    assert parse_options.page(body.encode()) == ({}, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"snapshots":[]}',
        b'{"snapshots":{},"next_page_token":7}',
        b"[" * 9000,
        b'{"snapshots":{}} trailing',
        b"\xff\xfe",
    ],
)
def test_what_is_no_page_of_snapshots(body: bytes) -> None:
    """An answer that is something else is unreadable as a whole, and says what it was."""
    with pytest.raises(UpstreamUnreadable) as refused:
        parse_options.page(body)
    assert refused.value.refusal.rule in ("unreadable", "wrong_type", "missing_field")
    assert refused.value.message.startswith("option snapshots: ")


# ---------------------------------------------------------------------------------------- contracts

ENTRY: dict[str, Any] = {
    "id": "98359ef7",
    "symbol": CALL,
    "name": "AAPL Nov 20 2026 250 Call",
    "status": "active",
    "tradable": True,
    "expiration_date": "2026-11-20",
    "root_symbol": "AAPL",
    "underlying_symbol": "AAPL",
    "type": "call",
    "style": "american",
    "strike_price": "250",
    "multiplier": "100",
    "size": "100",
    "open_interest": "237",
    "open_interest_date": "2026-09-30",
    "close_price": "148.380",
    "close_price_date": "2026-09-29",
    "deliverables": [
        {
            "type": "equity",
            "symbol": "AAPL",
            "amount": "100",
            "allocation_percentage": "99.5",
            "settlement_type": "T+1",
            "settlement_method": "CCC",
            "delayed_settlement": False,
        }
    ],
}
READ = RawContract(
    symbol=CALL,
    expiry=datetime.date(2026, 11, 20),
    type=OptionType.CALL,
    strike=Decimal(250),
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
    deliverables=(
        Deliverable("equity", "AAPL", Decimal(100), Decimal("99.5"), "T+1", "CCC", False),
    ),
)
UNSET: dict[str, tuple[str, Any]] = {
    "id": ("id", ""),
    "name": ("name", ""),
    "status": ("status", None),
    "tradable": ("tradable", None),
    "expiration_date": ("expiry", None),
    "root_symbol": ("root", None),
    "underlying_symbol": ("underlying", ""),
    "type": ("type", None),
    "style": ("style", None),
    "strike_price": ("strike", None),
    "multiplier": ("multiplier", None),
    "size": ("size", None),
    "open_interest": ("open_interest", None),
    "open_interest_date": ("open_interest_date", None),
    "close_price": ("close_price", None),
    "close_price_date": ("close_price_date", None),
    "deliverables": ("deliverables", ()),
}
"""Our name of each field, and what it is when it was not sent."""

NUMBER_KEYS = ("strike_price", "multiplier", "size", "close_price")


def page_of(*entries: Any, token: str | None = None) -> list[RawContract | Refusal]:
    """What becomes of a page of contracts."""
    body = json.dumps({"option_contracts": list(entries), "next_page_token": token}).encode()
    found, read_token = parse_options.contracts_page(body)
    assert read_token == token
    return found


def entry(**changed: Any) -> RawContract:
    """What becomes of an entry with some fields changed."""
    (found,) = page_of({**ENTRY, **changed})
    assert isinstance(found, RawContract), found
    return found


def test_a_whole_contract() -> None:
    """Every field of an entry is read, numbers digit for digit, in a page and alone."""
    assert page_of(ENTRY, token="MTAwMA==") == [READ]
    assert str(entry().close_price) == "148.380"
    assert parse_options.contract(json.dumps(ENTRY).encode()) == READ


@pytest.mark.parametrize("key", list(UNSET))
def test_a_field_of_a_contract_that_was_not_sent(key: str) -> None:
    """A field that is absent, null or of another type is unset, and costs no other."""
    name, unset = UNSET[key]
    expected = replace(READ, **{name: unset})
    rest = {other: value for other, value in ENTRY.items() if other != key}
    assert page_of(rest) == [expected]
    odd: Any
    for odd in (None, 7, 7.5, [], {}, "", "?"):
        if key in ("id", "name", "root_symbol", "underlying_symbol") and odd == "?":
            continue
        assert entry(**{key: odd}) == expected, odd
    if key != "tradable":
        assert entry(**{key: True}) == expected


@pytest.mark.parametrize("key", NUMBER_KEYS)
@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-inf", "1,000", "0x10", "1 0", "ten"])
def test_a_number_that_is_none_is_unset(key: str, text: str) -> None:
    """A text that names no number is as if it had not been sent."""
    assert entry(**{key: text}) == replace(READ, **{UNSET[key][0]: None})


@pytest.mark.parametrize("key", NUMBER_KEYS)
@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("1e20", True),
        ("1e21", False),
        ("-1e21", False),
        ("1e999999999999", False),
        ("0." + "0" * 19 + "1", True),
        ("0." + "0" * 20 + "1", False),
        ("1." + "0" * 21, False),
        ("0", True),
        ("0e999999999", True),
    ],
)
def test_a_number_has_room_for_its_digits(key: str, text: str, there: bool) -> None:
    """A number has twenty places on each side of the point, and beyond that it is as if it had not been sent."""
    found = getattr(entry(**{key: text}), UNSET[key][0])
    assert found == (Decimal(text) if there else None)


@given(PLAIN_NUMBERS)
def test_a_number_of_a_contract_keeps_its_digits(text: str) -> None:
    """Strike, multiplier, size and close price are the decimals whose texts were sent."""
    found = entry(**dict.fromkeys(NUMBER_KEYS, text))
    for number in (found.strike, found.multiplier, found.size, found.close_price):
        assert number is not None
        assert number.compare_total(Decimal(text)) == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("237", 237), ("237.0", 237), ("1e3", 1000), ("-5", -5),
        ("9223372036854775808", 2**63), ("0.5", None), ("NaN", None), ("", None),
    ],
)  # fmt: skip
def test_open_interest_is_a_whole_number(text: str, count: int | None) -> None:
    """Open interest is read as the whole number that it is, zero as zero, and anything else is unset."""
    assert entry(open_interest=text).open_interest == count


@pytest.mark.timeout(5)
@pytest.mark.parametrize("text", ["1e5000", "1e999999999999"])
def test_a_number_beyond_all_reason_costs_no_time(text: str) -> None:
    """A few digits that stand for millions are not written out."""
    found = entry(open_interest=text).open_interest
    assert found is None or found > 2**63


@pytest.mark.parametrize(
    "date", ["2026-02-30", "20261120T00", "tomorrow", "2026-11-20T00:00:00Z", "0000-00-00"]
)
def test_a_date_that_is_none_is_unset(date: str) -> None:
    """A text that names no day is as if it had not been sent."""
    assert entry(open_interest_date=date).open_interest_date is None


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("type", {"put": OptionType.PUT, "call": OptionType.CALL, "straddle": None}),
        ("style", {"european": OptionStyle.EUROPEAN, "bermudan": None}),
        ("status", {"inactive": ContractStatus.INACTIVE, "halted": None}),
    ],
)
def test_words_that_are_known(key: str, words: dict[str, Any]) -> None:
    """A word of the upstream's is read, and one that nobody knows is as if it had not been sent."""
    for word, member in words.items():
        assert getattr(entry(**{key: word}), UNSET[key][0]) is member


def test_deliverables_of_which_little_was_sent() -> None:
    """Each deliverable is read as far as it goes, and what is none is passed over."""
    found = entry(
        deliverables=[
            {},
            7,
            None,
            {"type": "cash", "amount": None, "delayed_settlement": "no"},
            {"type": "equity", "symbol": "XYZ", "amount": "0.5", "delayed_settlement": True},
        ]
    )
    assert found.deliverables == (
        Deliverable("", "", None, None, "", "", None),
        Deliverable("cash", "", None, None, "", "", None),
        Deliverable("equity", "XYZ", Decimal("0.5"), None, "", "", True),
    )


def test_an_entry_without_a_symbol_is_refused_alone() -> None:
    """What names no contract is refused with the evidence, and its neighbours are read."""
    found = page_of(
        ENTRY, {}, {"symbol": ""}, {"symbol": 7}, {"symbol": None}, 7, None, [], "x", ENTRY
    )
    assert [found[0], found[-1]] == [READ, READ]
    assert [rule(one) for one in found[1:-1]] == ["missing_field"] * 8


def test_a_bare_symbol_is_a_contract() -> None:
    """An entry of which nothing but the symbol can be read is one all the same."""
    expected = replace(READ, **dict(UNSET.values()))
    assert page_of({"symbol": CALL}) == [expected]


@pytest.mark.parametrize(
    "body",
    [
        '{"option_contracts":[],"next_page_token":null}',
        '{"option_contracts":null}',
        '{"option_contracts":[],"next_page_token":""}',
    ],
)
def test_a_page_of_contracts_may_be_empty(body: str) -> None:
    """No entries, and no token in whatever way, are an end and no failure."""
    assert parse_options.contracts_page(body.encode()) == ([], None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"option_contracts":{}}', b"[" * 9000]
)
def test_what_is_no_page_of_contracts(body: bytes) -> None:
    """An answer that is something else is unreadable as a whole."""
    with pytest.raises(UpstreamUnreadable, match=r"^option contracts: "):
        parse_options.contracts_page(body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7"])
def test_what_is_no_contract(body: bytes) -> None:
    """A single contract that is none is unreadable, and one without a symbol is refused."""
    with pytest.raises(UpstreamUnreadable, match=r"^option contract: "):
        parse_options.contract(body)
    assert rule(parse_options.contract(b"{}")) == "missing_field"


def test_the_fields_that_are_read_are_known() -> None:
    """The list of fields names those that the records here are made of."""
    for record, fields in (
        ("option quote", QUOTE),
        ("option trade", TRADE),
        ("option bar", BAR),
        ("greeks", GREEKS),
        ("option contract", ENTRY),
    ):
        assert parse_options.fields(record) == set(fields)
