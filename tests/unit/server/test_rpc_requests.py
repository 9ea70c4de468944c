"""The rules of requests: each with its field, and a sentence that says what would be right."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import error_reason_pb2, freshness_pb2, quote_pb2
from tickgate_server.errors import InvalidRequest
from tickgate_server.fanout import tokens
from tickgate_server.market.answer import Freshness
from tickgate_server.market.asset import AssetQuery, AssetStatus, CodeKind
from tickgate_server.market.live import Channel
from tickgate_server.market.occ import OCC_SYMBOL_RULE, is_occ_symbol
from tickgate_server.market.provenance import OPTION_FEEDS, STOCK_FEEDS, Feed, Tier
from tickgate_server.market.symbol import STOCK_SYMBOL_RULE, is_stock_symbol
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.market.value_kind import ValueKind
from tickgate_server.ports import ErrorPlace, ErrorQuery
from tickgate_server.rpc import convert, requests
from tickgate_server.rpc.paging import (
    AssetPosition,
    ChainPosition,
    ContractPosition,
    ErrorPosition,
    decode_token,
    encode_token,
)
from tickgate_server.rpc.requests import Reader

from ...support.fakes import trade

INT32 = st.integers(-1, 9) | st.integers(-(2**31), 2**31 - 1)
TEN_YEARS = 3660 * 24 * 3600
CONTRACT = "SPY220715C00380000"
OCC_LIKE = st.from_regex(r"[A-Z]{1,6}[0-9]?[0-9]{6}[CPX][0-9]{8}", fullmatch=True)
"""Many of them name a day that no month has."""


def broken(read: Callable[[Reader], object]) -> dict[str, str]:
    """The rules that reading breaks, by field."""
    reader = Reader()
    read(reader)
    try:
        reader.done()
    except InvalidRequest as error:
        refused = error
    else:
        return {}
    assert str(refused)
    for field, rule in refused.violations:
        assert field
        assert 10 < len(rule) < 300
    return dict(refused.violations)


def test_a_request_without_mistakes_passes() -> None:
    """Nothing read wrongly, nothing raised."""
    assert broken(lambda reader: reader.symbol("AAPL")) == {}


def test_all_mistakes_are_told_at_once() -> None:
    """Every broken rule of a request is collected before it is refused, in the order read."""

    def read(reader: Reader) -> None:
        reader.symbol("aapl")
        reader.view(9)
        reader.min_quality(101)

    assert list(broken(read)) == ["symbol", "view", "min_quality"]


@given(st.text(max_size=12) | st.text("AZ.", max_size=12))
def test_a_symbol_follows_the_grammar(text: str) -> None:
    """`symbol` is refused exactly when it is none, with the grammar's own sentence."""
    expected = {} if is_stock_symbol(text) else {"symbol": STOCK_SYMBOL_RULE}
    assert broken(lambda reader: reader.symbol(text)) == expected


@given(st.lists(st.sampled_from(["A", "B", "C.D", "aapl", ""]), max_size=6))
def test_each_symbol_of_a_batch_has_its_place(texts: list[str]) -> None:
    """Malformed and repeated symbols are named by their index, an empty batch as a whole."""
    found = broken(lambda reader: reader.symbols(texts))
    if not texts:
        assert set(found) == {"symbols"}
        return
    assert set(found) == {
        f"symbols[{index}]"
        for index, text in enumerate(texts)
        if not is_stock_symbol(text) or text in texts[:index]
    }


def test_a_batch_has_a_size() -> None:
    """Two hundred symbols are a batch, one more is not, whatever they are."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    many = [one + other for one in letters for other in letters]
    assert Reader().symbols(many[:200]) == tuple(many[:200])
    assert (
        "1 to 200 symbols, not 201" in broken(lambda reader: reader.symbols(many[:201]))["symbols"]
    )


@given(INT32)
def test_a_feed_carries_stocks(number: int) -> None:
    """A feed that is left out is the default; any number that is not a stock feed's is refused."""
    reader = Reader()
    assert reader.stock_feed(None, Feed.SIP) is Feed.SIP
    read = reader.stock_feed(number, Feed.SIP)
    known = {convert.FEEDS[feed]: feed for feed in STOCK_FEEDS}
    assert read is known.get(number, Feed.SIP)
    found = broken(lambda other: other.stock_feed(number, Feed.SIP))
    assert set(found) == (set() if number in known else {"feed"})


@pytest.mark.parametrize("name", ["UNSPECIFIED", "OPRA", "INDICATIVE"])
def test_a_refused_feed_is_named(name: str) -> None:
    """The sentence names what was sent and every feed that would do."""
    number = {"UNSPECIFIED": 0, "OPRA": 7, "INDICATIVE": 8}[name]
    said = broken(lambda reader: reader.stock_feed(number, Feed.IEX))["feed"]
    assert said.startswith(f"FEED_{name} is not one of ")
    assert all(f"FEED_{feed.name}" in said for feed in STOCK_FEEDS)


@given(INT32)
def test_a_view_is_one_of_three(number: int) -> None:
    """A view that is left out is basic; unspecified and unknown ones are refused."""
    assert Reader().view(None) == quote_pb2.QUOTE_VIEW_BASIC
    assert set(broken(lambda reader: reader.view(number))) == (
        set() if 1 <= number <= 3 else {"view"}
    )
    assert Reader().view(number) == (number if 1 <= number <= 3 else quote_pb2.QUOTE_VIEW_BASIC)


@given(st.integers(0, 2**32 - 1))
def test_a_quality_is_at_most_100(score: int) -> None:
    """`min_quality` is a score."""
    assert set(broken(lambda reader: reader.min_quality(score))) == (
        set() if score <= 100 else {"min_quality"}
    )


@given(
    st.integers(-(2**63), 2**63 - 1) | st.integers(-2, TEN_YEARS + 2),
    INT32 | st.integers(-1, NANOS),
)
def test_a_duration_is_well_formed_and_bounded(seconds: int, nanos: int) -> None:
    """Only a duration of 0 to 3,660 days with its nanoseconds in range is read, exactly."""
    message = freshness_pb2.Freshness(max_age=Duration(seconds=seconds, nanos=nanos))
    length = seconds * NANOS + nanos
    fine = 0 <= nanos < NANOS and seconds >= 0 and length <= TEN_YEARS * NANOS
    found = broken(lambda reader: reader.freshness(message))
    assert set(found) == (set() if fine else {"freshness.max_age"})
    if fine:
        assert Reader().freshness(message).max_age == length


def test_freshness_that_is_left_out_is_the_gateways() -> None:
    """No freshness, and an empty one, leave every bound to the gateway; zero is not left out."""
    assert Reader().freshness(None) == Freshness()
    assert Reader().freshness(freshness_pb2.Freshness()) == Freshness()
    zero = freshness_pb2.Freshness(max_age=Duration(), max_event_age=Duration(), allow_stale=True)
    assert Reader().freshness(zero) == Freshness(0, 0, None, True)


@given(st.lists(INT32 | st.integers(0, 6), max_size=5))
def test_tiers_are_known_and_named_once(numbers: list[int]) -> None:
    """Unknown and repeated tiers are refused by their place."""
    message = freshness_pb2.Freshness(allowed_tiers=numbers)  # type: ignore[arg-type]  # open enum
    found = broken(lambda reader: reader.freshness(message))
    assert set(found) == {
        f"freshness.allowed_tiers[{index}]"
        for index, number in enumerate(numbers)
        if not 1 <= number <= 5 or number in numbers[:index]
    }
    if numbers and not found:
        tiers = Reader().freshness(message).allowed_tiers
        assert tiers == frozenset(tier for tier in Tier if convert.TIERS[tier] in numbers)


@given(INT32)
def test_a_status_is_one_of_two(number: int) -> None:
    """A status that is left out filters nothing; unspecified and unknown ones are refused."""
    assert Reader().asset_status(None) is None
    expected = {1: AssetStatus.ACTIVE, 2: AssetStatus.INACTIVE}.get(number)
    assert Reader().asset_status(number) is expected
    assert set(broken(lambda reader: reader.asset_status(number))) == (
        set() if expected else {"status"}
    )


@given(st.text(max_size=120))
def test_a_query_is_printable_and_short(text: str) -> None:
    """A query is upper-cased words, of at most 100 printable characters together."""
    found = broken(lambda reader: reader.words(text))
    fine = len(text) <= 100 and text.isprintable()
    assert set(found) == (set() if fine else {"query"})
    if fine:
        assert Reader().words(text) == tuple(text.upper().split())


@pytest.mark.parametrize("field", ["exchange", "attribute"])
def test_a_filter_is_printable_and_short(field: str) -> None:
    """A filter is taken as it is, up to 40 printable characters."""
    assert Reader().filter(field, "x" * 40) == "x" * 40
    for text in ("x" * 41, "a\nb", "a\x00"):
        assert set(broken(lambda reader, text=text: reader.filter(field, text))) == {field}  # type: ignore[misc]  # bound


@given(INT32)
def test_a_page_has_a_size(size: int) -> None:
    """Zero is the default, too large is the largest, negative is refused."""
    assert set(broken(lambda reader: reader.page_size(size))) == (
        {"page_size"} if size < 0 else set()
    )
    if size >= 0:
        assert Reader().page_size(size) == min(size or 100, 1000)


@given(INT32, st.sampled_from(["", "A", "B", "C", "D", "a", "AB"]))
def test_codes_have_a_kind_and_the_tape_it_needs(kind: int, tape: str) -> None:
    """Conditions of stocks are of one of three tapes, all other tables have none, and other kinds are refused."""
    found = set(broken(lambda reader: reader.codes(kind, tape)))
    by_tape = [
        convert.CODE_KINDS[kind] for kind in (CodeKind.TRADE_CONDITION, CodeKind.QUOTE_CONDITION)
    ]
    if kind not in range(1, 7):
        assert found == {"kind"}
    elif kind in by_tape:
        assert found == (set() if tape in ("A", "B", "C") else {"tape"})
    else:
        assert found == ({"tape"} if tape else set())
    if not found:
        read, _ = Reader().codes(kind, tape)
        assert convert.CODE_KINDS[read] == kind


def as_message(day: date) -> Date:
    """A date as a message."""
    return Date(year=day.year, month=day.month, day=day.day)


@given(
    st.dates(date(1969, 12, 1), date(2030, 1, 31)),
    st.integers(-10, 3700).map(lambda n: timedelta(days=n)),
)
def test_a_range_of_days(start: date, length: timedelta) -> None:
    """A range ends after its start, within ten years, inside the calendar; its end may be the day after the last."""
    end = start + length
    found = set(broken(lambda reader: reader.days(as_message(start), as_message(end))))
    inside = [
        date(1970, 1, 1) <= day <= latest
        for day, latest in ((start, date(2029, 12, 31)), (end, date(2030, 1, 1)))
    ]
    if not all(inside):
        assert found == {
            name for name, fine in zip(("start_date", "end_date"), inside, strict=True) if not fine
        }
    else:
        assert found == (set() if 0 < length.days <= 3660 else {"end_date"})
        assert Reader().days(as_message(start), as_message(end)) == (start, end)


@given(INT32, INT32, INT32)
def test_a_date_is_whole(year: int, month: int, day: int) -> None:
    """What is no date on the calendar is refused, and so is one left out."""
    message = Date(year=year, month=month, day=day)
    found = broken(lambda reader: reader.days(message, None))
    assert "end_date" in found
    try:
        fine = date(1970, 1, 1) <= date(year, month, day) <= date(2029, 12, 31)
    except (ValueError, OverflowError):
        fine = False
    assert ("start_date" in found) is not fine


def test_a_duration_names_its_longest() -> None:
    """The sentence about durations tells the bound."""
    message = freshness_pb2.Freshness(max_event_age=Duration(seconds=-1))
    said = broken(lambda reader: reader.freshness(message))["freshness.max_event_age"]
    assert str(requests.LONGEST_DURATION) in said


@pytest.mark.parametrize("read", [Reader.kinds, Reader.reasons])
@given(st.lists(st.integers(-1, 30) | st.integers(-(2**31), 2**31 - 1), max_size=30))
def test_members_are_known_and_named_once(
    read: Callable[[Reader, list[int]], frozenset[str] | None], numbers: list[int]
) -> None:
    """Kinds and reasons that are unknown, unspecified or repeated are refused by their place, too many as a whole."""
    field = read.__name__
    known = {"kinds": range(1, 6), "reasons": range(1, 29)}[field]
    found = broken(lambda reader: read(reader, numbers))
    if len(numbers) > len(known):
        assert set(found) == {field}
        return
    assert set(found) == {
        f"{field}[{index}]"
        for index, number in enumerate(numbers)
        if number not in known or number in numbers[:index]
    }
    if not found:
        assert len(read(Reader(), numbers) or ()) == len(numbers)


def test_reasons_are_named_as_the_log_names_them() -> None:
    """A reason is read as its name without the contract's prefix, and no reasons let all pass."""
    numbers = [error_reason_pb2.ERROR_REASON_CIRCUIT_OPEN, error_reason_pb2.ERROR_REASON_INTERNAL]
    assert Reader().reasons(numbers) == {"CIRCUIT_OPEN", "INTERNAL"}
    assert Reader().reasons([]) == frozenset()


def test_kinds_and_symbols_left_out_mean_all() -> None:
    """None of them is all of them."""
    assert Reader().kinds([]) is None
    assert Reader().kinds([2]) == frozenset([ValueKind.TRADE])
    assert Reader().some_symbols([]) is None
    assert Reader().some_symbols(["AAPL", "BRK.B"]) == frozenset(["AAPL", "BRK.B"])
    assert Reader().some_symbols(["AAPL", CONTRACT]) == frozenset(["AAPL", CONTRACT])
    assert set(broken(lambda reader: reader.some_symbols(["AAPL", "AAPL"]))) == {"symbols[1]"}
    wrong = broken(lambda reader: reader.some_symbols(["AAPL", CONTRACT, "aapl"]))
    assert wrong == {"symbols[2]": requests.ANY_SYMBOL_RULE}


@given(st.text(max_size=12) | st.text("AZ.", max_size=12) | OCC_LIKE)
def test_any_symbol_is_of_a_stock_or_of_a_contract(text: str) -> None:
    """Where both are meant, `symbol` is refused exactly when it is neither, with both grammars' sentences."""
    fine = is_stock_symbol(text) or is_occ_symbol(text)
    assert broken(lambda reader: reader.any_symbol(text)) == (
        {} if fine else {"symbol": f"{STOCK_SYMBOL_RULE}; {OCC_SYMBOL_RULE}"}
    )
    assert Reader().any_symbol(text) == text


@given(INT32)
def test_a_feed_may_be_left_out_for_all(number: int) -> None:
    """Where no feed means every feed, none is read as none, and a feed of stocks or options as itself."""
    known = {convert.FEEDS[feed]: feed for feed in Feed}
    assert Reader().some_feed(None) is None
    assert Reader().some_feed(number) is known.get(number)
    found = broken(lambda reader: reader.some_feed(number))
    assert set(found) == (set() if number in known else {"feed"})
    if found:
        assert all(f"FEED_{feed.name}" in found["feed"] for feed in Feed)


@given(st.text(max_size=140) | st.text("abc-1", min_size=120, max_size=140))
def test_a_request_id_is_short_ascii(text: str) -> None:
    """A request id to look for is at most 128 printable ASCII characters, as any request id is."""
    fine = len(text) <= 128 and text.isascii() and text.isprintable()
    found = broken(lambda reader: reader.request_id(text))
    assert set(found) == (set() if fine else {"request_id"})


INSTANTS = st.integers(-2, 2) | st.integers(2**63 - 2, 2**63 + 1) | st.integers(-(2**64), 2**64)


@given(INSTANTS, INSTANTS)
def test_instants_are_a_range(start: int, end: int) -> None:
    """A range of instants ends after it starts, both in what 64 bits can count, to the nanosecond."""

    def stamp(instant: int) -> Timestamp:
        seconds, nanos = divmod(instant, NANOS)
        return Timestamp(seconds=seconds, nanos=nanos)

    found = set(broken(lambda reader: reader.instants(stamp(start), stamp(end))))
    wrong = {
        name
        for name, instant in (("start_time", start), ("end_time", end))
        if not 0 <= instant <= 2**63 - 1
    }
    assert found == (wrong or (set() if start < end else {"end_time"}))
    if not found:
        assert Reader().instants(stamp(start), stamp(end)) == (start, end)


@given(INT32)
def test_an_instant_has_nanoseconds_of_a_second(nanos: int) -> None:
    """Nanoseconds that are more than a second, or fewer than none, make no instant."""
    message = Timestamp(seconds=5, nanos=nanos)
    found = broken(lambda reader: reader.instants(message, None))
    assert set(found) == (set() if 0 <= nanos < NANOS else {"start_time"})


def test_instants_may_be_left_out() -> None:
    """Either end of a range of instants may be open."""
    stamp = Timestamp(seconds=5, nanos=7)
    assert Reader().instants(None, None) == (None, None)
    assert Reader().instants(stamp, None) == (5 * NANOS + 7, None)
    assert Reader().instants(None, stamp) == (None, 5 * NANOS + 7)


def test_a_page_has_the_size_of_its_method() -> None:
    """Methods have their own default and largest page."""
    sizes = [Reader().page_size(size, default=50, largest=500) for size in (0, 1, 500, 501)]
    assert sizes == [50, 1, 500, 500]


# ---------------------------------------------------------------------------- page tokens

QUERY = AssetQuery(words=("APPLE",), status=AssetStatus.ACTIVE, exchange="NASDAQ")


ERRORS = ErrorQuery(reasons=frozenset(["NO_DATA", "INTERNAL", "CIRCUIT_OPEN"]), request_id="r-1")
NUMBERS = st.integers(0, 2**63 - 1)


@given(NUMBERS, NUMBERS)
def test_a_token_leads_to_its_page(list_time: int, offset: int) -> None:
    """A token is text that leads back to the position it was made of."""
    position = AssetPosition(list_time, offset)
    token = encode_token(QUERY, position)
    assert token.isascii()
    assert decode_token(token, QUERY, AssetPosition) == position


@given(st.sampled_from(ErrorPlace), NUMBERS, NUMBERS)
def test_a_token_of_errors_names_their_place(place: ErrorPlace, born: int, before: int) -> None:
    """A token of errors leads back to the place that it was made at."""
    position = ErrorPosition(place, born, before)
    assert decode_token(encode_token(ERRORS, position), ERRORS, ErrorPosition) == position


@given(NUMBERS, NUMBERS)
def test_a_token_of_contracts_names_their_list(list_time: int, offset: int) -> None:
    """A token of contracts leads back to the list that it was made of, and to its place there."""
    position = ContractPosition(list_time, offset)
    assert decode_token(encode_token(QUERY, position), QUERY, ContractPosition) == position


@pytest.mark.parametrize("price", [None, trade("SPY", "380.1250"), trade("SPY", at=None)])
def test_a_token_of_a_chain_keeps_its_price(price: Trade | None) -> None:
    """A token of a chain leads back to the contract behind which it goes on, and to the price of the first page."""
    position = ChainPosition(CONTRACT, price)
    read = decode_token(encode_token(QUERY, position), QUERY, ChainPosition)
    assert read == position
    assert repr(read) == repr(position)


@pytest.mark.parametrize(
    "other",
    [AssetQuery(), AssetQuery(words=("APPLE",)), replace(QUERY, words=("AP", "PLE")), replace(QUERY, attribute="x")],
)  # fmt: skip
def test_a_token_of_another_query_is_refused(other: AssetQuery) -> None:
    """Changing any filter makes a token worthless, with a sentence that says so."""
    with pytest.raises(ValueError, match="another query"):
        decode_token(encode_token(QUERY, AssetPosition(5, 100)), other, AssetPosition)


def test_a_token_of_another_method_is_refused() -> None:
    """A token of assets leads nowhere among errors."""
    with pytest.raises(ValueError, match="page token"):
        decode_token(encode_token(QUERY, AssetPosition(5, 100)), ERRORS, ErrorPosition)


@given(NUMBERS, NUMBERS, st.data())
def test_a_damaged_token_is_refused(list_time: int, offset: int, data: st.DataObject) -> None:
    """Not a character of a token may be another: it would lead to another page of the same query."""
    token = encode_token(QUERY, AssetPosition(list_time, offset))
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(
        st.sampled_from("ABCDEFabcdef0123456789-_").filter(lambda one: one != token[place])
    )
    with pytest.raises(ValueError, match="not a page token"):
        decode_token(token[:place] + other + token[place + 1 :], QUERY, AssetPosition)


def test_a_position_of_another_token_is_refused() -> None:
    """The position of one token does not fit into another, of the same query or of a position that looks alike."""
    one, other = (encode_token(QUERY, AssetPosition(5, offset)) for offset in (100, 200))
    first, second = (base64.urlsafe_b64decode(token) for token in (one, other))
    # The position comes last.
    forged = base64.urlsafe_b64encode(first[:-3] + second[-3:]).decode()
    assert forged not in (one, other)
    with pytest.raises(ValueError, match="not a page token"):
        decode_token(forged, QUERY, AssetPosition)
    with pytest.raises(ValueError, match="not a page token"):
        decode_token(one, QUERY, ContractPosition)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_token_is_good_for_all_replicas(seed: str) -> None:
    """Another process makes the same token of the same query, in whatever order it holds the reasons."""
    program = (
        "from tickgate_server.ports import ErrorPlace, ErrorQuery\n"
        "from tickgate_server.rpc.paging import ErrorPosition, encode_token\n"
        f"query = {ERRORS!r}\n"
        "print(encode_token(query, ErrorPosition(ErrorPlace.POSTGRES, 0, 7)))"
    )
    # Only the order of sets depends on the seed.
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert other == encode_token(ERRORS, ErrorPosition(ErrorPlace.POSTGRES, 0, 7))


@pytest.mark.parametrize("offset", [-1, 2**63, 2**64 - 1])
def test_a_position_outside_of_all_pages_is_refused(offset: int) -> None:
    """Nobody gets before the first page, or beyond what a database can count."""
    with pytest.raises(ValueError, match="not a page token"):
        decode_token(encode_token(QUERY, AssetPosition(5, offset)), QUERY, AssetPosition)


@given(st.text() | st.text("ABCDEFabcdef0123456789-_=", max_size=40))
def test_arbitrary_tokens_are_refused(token: str) -> None:
    """No text but a token of ours is one."""
    with pytest.raises(ValueError, match="page token"):
        decode_token(token, QUERY, AssetPosition)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_as_token_are_refused(data: bytes) -> None:
    """Well-formed base64 of anything else is no token either."""
    with pytest.raises(ValueError, match="page token"):
        decode_token(base64.urlsafe_b64encode(data).decode(), ERRORS, ErrorPosition)


def test_a_token_nested_without_end_is_refused() -> None:
    """A token made to exhaust the decoder is no token."""
    data = b"\x93\xc4\x00\xc4\x00" + b"\x91" * 20_000 + b"\xc0"
    token: Any = base64.urlsafe_b64encode(data).decode()
    with pytest.raises(ValueError, match="not a page token"):
        decode_token(token, QUERY, AssetPosition)


# ------------------------------------------------------------------------------------- streams


@given(st.text(max_size=70) | st.text("ab-1", min_size=60, max_size=70))
def test_a_subscription_has_a_short_printable_id(text: str) -> None:
    """An id is at most 64 printable ASCII characters, and may be empty."""
    fine = len(text) <= 64 and text.isascii() and text.isprintable()
    found = broken(lambda reader: reader.subscription_id(text))
    assert found == ({} if fine else {"id": "up to 64 printable ASCII characters"})
    assert Reader().subscription_id(text) == text


@given(st.lists(st.integers(-1, 8) | INT32, max_size=9))
def test_channels_are_known_and_named_once(numbers: list[int]) -> None:
    """Channels come in the contract's order; unknown, unspecified and repeated ones are refused by their place."""
    found = broken(lambda reader: reader.channels(numbers, Feed.IEX))
    if len(numbers) > 6:
        assert found == {"channels": "there are 6 channels, each named once"}
        return
    assert set(found) == {
        f"channels[{index}]"
        for index, number in enumerate(numbers)
        if not 1 <= number <= 6 or number in numbers[:index]
    }
    if not found:
        read = Reader().channels(numbers, Feed.IEX)
        assert [convert.CHANNELS[channel] for channel in read] == (sorted(numbers) or [1])


@given(st.lists(st.sampled_from(Channel), unique=True), st.sampled_from(sorted(OPTION_FEEDS)))
def test_an_option_feed_has_quotes_and_trades(channels: list[Channel], feed: Feed) -> None:
    """What stock feeds have beyond quotes and trades is refused on an option feed, in words that name it."""
    numbers = [convert.CHANNELS[channel] for channel in channels]
    fine = {Channel.QUOTES, Channel.TRADES}.issuperset(channels)
    found = broken(lambda reader: reader.channels(numbers, feed))
    assert set(found) == (set() if fine else {"channels"})
    if found:
        assert found["channels"].startswith(
            f"FEED_{feed.name} has CHANNEL_QUOTES and CHANNEL_TRADES only"
        )
    else:
        assert Reader().channels(numbers, feed) == Reader().channels(numbers, Feed.IEX)


@given(INT32 | st.integers(0, 9))
def test_a_feed_that_is_followed_is_live(number: int) -> None:
    """IEX, SIP, delayed SIP and the option feeds can be followed; others are refused, and none means the default."""
    live = (Feed.IEX, Feed.SIP, Feed.DELAYED_SIP, Feed.OPRA, Feed.INDICATIVE)
    followed = {convert.FEEDS[feed]: feed for feed in live}
    found = broken(lambda reader: reader.live_feed(number, Feed.IEX))
    assert set(found) == (set() if number in followed else {"feed"})
    if number in followed:
        assert Reader().live_feed(number, Feed.IEX) is followed[number]
    assert Reader().live_feed(None, Feed.SIP) is Feed.SIP


@pytest.mark.parametrize(
    ("number", "default", "said"),
    [
        (None, Feed.OTC, "the default feed cannot be followed"),
        (0, Feed.IEX, "FEED_UNSPECIFIED cannot be followed"),
        (convert.FEEDS[Feed.BOATS], Feed.OPRA, "FEED_BOATS cannot be followed"),
        (99, Feed.IEX, "99 cannot be followed"),
    ],
)
def test_a_feed_that_cannot_be_followed_is_named(
    number: int | None, default: Feed, said: str
) -> None:
    """The sentence names the feed, also where it is only the default, and those that can be followed."""
    found = broken(lambda reader: reader.live_feed(number, default))
    live = "FEED_DELAYED_SIP, FEED_IEX, FEED_INDICATIVE, FEED_OPRA, FEED_SIP"
    assert found == {"feed": f"{said}; {live} can"}


@given(st.lists(st.sampled_from(["A", "*", "aapl", "x" * 64, "x" * 65, ""]), max_size=6))
def test_symbols_of_a_stream_can_be_named_in_an_answer(texts: list[str]) -> None:
    """What is too long to be named, or named twice, is refused by its place; whether it can be followed comes later."""
    found = broken(lambda reader: reader.followed(texts, needed=False))
    assert set(found) == {
        f"symbols[{index}]"
        for index, text in enumerate(texts)
        if not 1 <= len(text) <= 64 or text in texts[:index]
    }
    assert Reader().followed(texts, needed=False) == tuple(texts)


def test_symbols_of_a_stream_are_some_and_not_too_many() -> None:
    """Where symbols are needed there is at least one, and one request names ten thousand at most."""
    none = broken(lambda reader: reader.followed([], needed=True))
    assert none == {"symbols": "at least one"}
    many = [f"S{number}" for number in range(10_001)]
    assert broken(lambda reader: reader.followed(many[1:], needed=True)) == {}
    assert broken(lambda reader: reader.followed(many, needed=True)) == {
        "symbols": "10000 at most in one request, not 10001"
    }


@given(st.integers(-2, 3) | st.integers(-(2**63), 2**63 - 1), st.integers(-1, NANOS) | INT32)
def test_an_interval_has_bounds_that_it_may_touch(seconds: int, nanos: int) -> None:
    """A duration is read when it is well formed and from the least to the most, both included."""
    message = Duration(seconds=seconds, nanos=nanos)
    fine = 0 <= nanos < NANOS and NANOS // 10 <= seconds * NANOS + nanos <= 2 * NANOS
    found = broken(lambda reader: reader.seconds("heartbeat_interval", message, 0.1, 2))
    assert found == ({} if fine else {"heartbeat_interval": "0.1 to 2 seconds"})
    if fine:
        assert Reader().seconds("heartbeat_interval", message, 0.1, 2) == seconds + nanos / NANOS
    assert Reader().seconds("heartbeat_interval", None, 0.1, 2) is None


@given(st.text(max_size=80) | st.from_regex(r"\d\.[a-z]+\.[0-9a-z]+\.[0-9a-f]{16}", fullmatch=True))
def test_a_garbage_resume_token_is_refused(text: str) -> None:
    """What is no token of a gateway is refused by its field, and an empty one is none."""
    found = broken(lambda reader: reader.resume_token(text))
    assert found == ({"resume_token": "not a resume token of this gateway"} if text else {})


def test_a_resume_token_is_read() -> None:
    """A token says where its follower stopped reading."""
    prefix = tokens.prefix(Feed.IEX, "ep0c4", [Channel.TRADES], ["AAPL"])
    read = Reader().resume_token(tokens.encode(prefix, 77, NANOS))
    assert read is not None
    assert (read.epoch, read.position, read.time) == ("ep0c4", 77, NANOS)
    assert tokens.belongs(read, prefix)


def test_fields_of_an_inner_message_are_named_with_their_path() -> None:
    """What is wrong inside another message is named from the outermost on."""
    reader = Reader("subscribe")
    reader.subscription_id("\n")
    reader.followed([""], needed=True)
    with pytest.raises(InvalidRequest) as refused:
        reader.done()
    assert [field for field, _ in refused.value.violations] == [
        "subscribe.id",
        "subscribe.symbols[0]",
    ]
