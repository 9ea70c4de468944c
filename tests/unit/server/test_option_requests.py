"""The rules of requests about options: each with its field, and a sentence that says what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.decimal_pb2 import Decimal as Price
from hypothesis import given
from hypothesis import strategies as st

from tickgate.v1 import option_pb2 as pb
from tickgate.v1 import option_service_pb2 as service
from tickgate_server.errors import InvalidRequest
from tickgate_server.market.answer import Freshness
from tickgate_server.market.chain import Around, ChainFilter, DeltaBand
from tickgate_server.market.occ import OCC_SYMBOL_RULE, OptionType, is_occ_symbol, is_root
from tickgate_server.market.option import ContractFilter, ContractStatus
from tickgate_server.market.provenance import OPTION_FEEDS, Feed
from tickgate_server.market.symbol import STOCK_SYMBOL_RULE
from tickgate_server.market.time import NANOS
from tickgate_server.rpc import convert
from tickgate_server.rpc.option_requests import ChainWanted, OptionReader

from ...support.fakes import NOW
from ...support.options import CALL, PUT, symbol_of

INT32 = st.integers(-1, 9) | st.integers(-(2**31), 2**31 - 1)
TWO_DATES = "name one expiration date or a range, not both"
PLAIN_DIGITS = "a decimal number in plain digits, such as 382.5"


def broken(read: Callable[[OptionReader], object]) -> dict[str, str]:
    """The rules that reading breaks, by field."""
    reader = OptionReader()
    read(reader)
    try:
        reader.done()
    except InvalidRequest as error:
        refused = error
    else:
        return {}
    for field, rule in refused.violations:
        assert field
        assert 10 < len(rule) < 300
    return dict(refused.violations)


def filtered(**fields: Any) -> pb.OptionChainFilter:
    """A filter of a chain."""
    return pb.OptionChainFilter(**fields)


def wanted(**fields: Any) -> ChainFilter:
    """What becomes of a filter that is in order."""
    reader = OptionReader()
    read = reader.chain(request(**fields), Feed.INDICATIVE)
    reader.done()
    return read.filter


def rules(**fields: Any) -> dict[str, str]:
    """The rules that a filter breaks, by field; the service of contracts has the same without the path."""
    return broken(lambda reader: reader.chain(request(**fields), Feed.INDICATIVE))


def request(**fields: Any) -> service.GetOptionChainRequest:
    """A request for a chain with a filter."""
    return service.GetOptionChainRequest(underlying_symbol="AAPL", filter=filtered(**fields))


def day(text: str) -> Date:
    """A date as a message."""
    year, month, number = (int(part) for part in text.split("-"))
    return Date(year=year, month=month, day=number)


def price(text: str) -> Price:
    """A number as a message."""
    return Price(value=text)


# ------------------------------------------------------------------------------------------ symbols


@given(st.text(max_size=22) | st.from_regex(r"[A-Z]{1,6}[0-9]{6,7}[CPX][0-9]{8}", fullmatch=True))
def test_a_symbol_follows_the_grammar(text: str) -> None:
    """`symbol` is refused exactly when it names no contract, with the grammar's own sentence."""
    found = broken(lambda reader: reader.contract(text))
    assert set(found) == (set() if is_occ_symbol(text) else {"symbol"})
    assert all(rule.endswith(OCC_SYMBOL_RULE) for rule in found.values())
    assert OptionReader().contract(text) == text


@pytest.mark.parametrize(
    "text", ["AAPL", "aapl261120C00250000", "AAPL  261120C00250000", f" {CALL}", "BRK.B", ""]
)
def test_nothing_is_corrected(text: str) -> None:
    """Stock symbols, lower case, padding and blanks are refused, and the sentence shows a symbol as it must be."""
    assert broken(lambda reader: reader.contract(text)) == {"symbol": OCC_SYMBOL_RULE}


@given(st.lists(st.sampled_from([CALL, PUT, "AAPL", "", "aapl261120C00250000"]), max_size=6))
def test_each_contract_of_a_batch_has_its_place(texts: list[str]) -> None:
    """Malformed and repeated contracts are named by their index, an empty batch as a whole."""
    found = broken(lambda reader: reader.contracts(texts))
    if not texts:
        assert found == {"symbols": "a batch holds 1 to 100 contracts, not 0"}
        return
    assert set(found) == {
        f"symbols[{index}]"
        for index, text in enumerate(texts)
        if not is_occ_symbol(text) or text in texts[:index]
    }
    assert OptionReader().contracts(texts) == tuple(texts)


def test_a_contract_is_named_once() -> None:
    """A contract that stands twice in a batch is refused where it stands again."""
    found = broken(lambda reader: reader.contracts([CALL, PUT, CALL]))
    assert found == {"symbols[2]": "a request names each symbol once"}


def test_a_batch_has_a_size() -> None:
    """A hundred contracts are a batch, one more is not, whatever they are."""
    many = [symbol_of(str(number + 1)) for number in range(101)]
    assert OptionReader().contracts(many[:100]) == tuple(many[:100])
    assert broken(lambda reader: reader.contracts(many[:100])) == {}
    assert broken(lambda reader: reader.contracts(many)) == {
        "symbols": "a batch holds 1 to 100 contracts, not 101"
    }
    assert set(broken(lambda reader: reader.contracts([""] * 101))) == {"symbols"}


@pytest.mark.parametrize("text", ["", "aapl", CALL, "AAPL ", "AAPL1", "BRK/B"])
def test_an_underlying_is_a_stock(text: str) -> None:
    """`underlying_symbol` names a stock, not a contract and not a root."""
    found = broken(lambda reader: reader.underlying(text))
    assert found == {"underlying_symbol": STOCK_SYMBOL_RULE}
    assert broken(lambda reader: reader.underlying("BRK.B")) == {}


# ---------------------------------------------------------------------------------------- enums


@given(INT32)
def test_a_feed_carries_options(number: int) -> None:
    """A feed that is left out is the default; any number that is not an option feed's is refused."""
    known = {convert.FEEDS[feed]: feed for feed in OPTION_FEEDS}
    assert OptionReader().option_feed(None, Feed.OPRA) is Feed.OPRA
    assert OptionReader().option_feed(number, Feed.OPRA) is known.get(number, Feed.OPRA)
    found = broken(lambda reader: reader.option_feed(number, Feed.OPRA))
    assert set(found) == (set() if number in known else {"feed"})


@pytest.mark.parametrize(("number", "name"), [(0, "FEED_UNSPECIFIED"), (1, "FEED_SIP"), (99, "99")])
def test_a_refused_feed_is_named(number: int, name: str) -> None:
    """The sentence names what was sent and both feeds that would do."""
    said = broken(lambda reader: reader.option_feed(number, Feed.OPRA))["feed"]
    assert said == f"{name} is not one of FEED_INDICATIVE, FEED_OPRA"


@given(INT32)
def test_a_view_is_one_of_two(number: int) -> None:
    """A view that is left out is basic; unspecified and unknown ones are refused."""
    assert OptionReader().option_view(None) == pb.OPTION_VIEW_BASIC
    found = broken(lambda reader: reader.option_view(number))
    assert set(found) == (set() if number in (1, 2) else {"view"})
    read = OptionReader().option_view(number)
    assert read == (number if number in (1, 2) else pb.OPTION_VIEW_BASIC)


def test_a_refused_view_is_named() -> None:
    """The sentence names what was sent and both views."""
    said = broken(lambda reader: reader.option_view(0))["view"]
    assert said == "OPTION_VIEW_UNSPECIFIED is not one of OPTION_VIEW_BASIC, OPTION_VIEW_FULL"


@given(INT32)
def test_a_right_is_one_of_two(number: int) -> None:
    """A filter by right takes calls or puts; unspecified and unknown ones are refused."""
    fields: dict[str, Any] = {"type": number}
    expected = {1: OptionType.CALL, 2: OptionType.PUT}.get(number)
    if expected is None:
        found = rules(**fields)
        assert set(found) == {"filter.type"}
        assert found["filter.type"].endswith("is not one of OPTION_TYPE_CALL, OPTION_TYPE_PUT")
    else:
        assert wanted(**fields) == ChainFilter(ContractFilter(type=expected))


@given(INT32)
def test_a_status_is_one_of_two(number: int) -> None:
    """A status that is left out is active; unspecified and unknown ones are refused."""
    assert OptionReader().contract_status(None) is ContractStatus.ACTIVE
    known = {1: ContractStatus.ACTIVE, 2: ContractStatus.INACTIVE}
    found = broken(lambda reader: reader.contract_status(number))
    assert set(found) == (set() if number in known else {"status"})
    assert OptionReader().contract_status(number) is known.get(number, ContractStatus.ACTIVE)


# ----------------------------------------------------------------------------------------- ages


def test_options_are_never_stale() -> None:
    """Allowing stale answers is refused with the reason, and every other bound passes."""
    found = broken(lambda reader: reader.never_stale(Freshness(allow_stale=True)))
    assert list(found) == ["freshness.allow_stale"]
    assert "never answered stale" in found["freshness.allow_stale"]
    bounds = Freshness(0, 0)
    assert OptionReader().never_stale(bounds) == bounds
    assert broken(lambda reader: reader.never_stale(bounds)) == {}


@pytest.mark.parametrize(
    ("seconds", "nanos", "fine"),
    [
        (0, 0, True),
        (15, 1, True),
        (3660 * 86400, 0, True),
        (3660 * 86400, 1, False),
        (-1, 0, False),
        (0, -1, False),
        (0, NANOS, False),
        (2**62, 0, False),
    ],
)
def test_an_age_is_well_formed_and_bounded(seconds: int, nanos: int, fine: bool) -> None:
    """`max_age` is 0 to 3,660 days, to the nanosecond, and zero is not left out."""
    message = Duration(seconds=seconds, nanos=nanos)
    found = broken(lambda reader: reader.max_age(message))
    assert set(found) == (set() if fine else {"max_age"})
    if fine:
        assert OptionReader().max_age(message) == seconds * NANOS + nanos
    assert OptionReader().max_age(None) is None


@given(INT32)
def test_a_page_has_a_size(size: int) -> None:
    """Zero is a hundred, too large is a thousand, negative is refused."""
    found = broken(lambda reader: reader.page_size(size))
    assert set(found) == ({"page_size"} if size < 0 else set())
    if size >= 0:
        assert OptionReader().page_size(size) == min(size or 100, 1000)


# ------------------------------------------------------------------------------------- expirations


def test_a_range_of_dates() -> None:
    """The first date belongs to a range and the end does not, and either may be left out."""
    start, end = day("2026-11-01"), day("2026-12-01")
    november = ContractFilter(start=date(2026, 11, 1), end=date(2026, 12, 1))
    assert wanted(start_expiry_date=start, end_expiry_date=end).contracts == november
    assert wanted(start_expiry_date=start).contracts == ContractFilter(start=date(2026, 11, 1))
    assert wanted(end_expiry_date=end).contracts == ContractFilter(end=date(2026, 12, 1))


def test_one_date() -> None:
    """One expiration date is that day alone, the last of all too."""
    found = wanted(expiry_date=day("2026-11-20")).contracts
    assert found == ContractFilter(start=date(2026, 11, 20), end=date(2026, 11, 21))
    last = wanted(expiry_date=day("2099-12-31")).contracts
    assert (last.start, last.end) == (date(2099, 12, 31), date(2100, 1, 1))


def test_a_date_and_a_range_exclude_each_other() -> None:
    """Each end of a range beside one date is refused by its name."""
    one, other = day("2026-11-20"), day("2026-12-01")
    assert rules(expiry_date=one, start_expiry_date=one) == {"filter.start_expiry_date": TWO_DATES}
    assert rules(expiry_date=one, end_expiry_date=other) == {"filter.end_expiry_date": TWO_DATES}
    both = rules(expiry_date=one, start_expiry_date=one, end_expiry_date=other)
    assert both == dict.fromkeys(("filter.start_expiry_date", "filter.end_expiry_date"), TWO_DATES)


@pytest.mark.parametrize("end", ["2026-11-20", "2026-11-19", "2000-01-01"])
def test_an_empty_range_of_dates(end: str) -> None:
    """A range that ends where it starts, or before, is refused at its end."""
    found = rules(start_expiry_date=day("2026-11-20"), end_expiry_date=day(end))
    assert found == {
        "filter.end_expiry_date": "the end is after the start: a range does not hold its end"
    }


@pytest.mark.parametrize("field", ["expiry_date", "start_expiry_date", "end_expiry_date"])
@pytest.mark.parametrize(
    "message",
    [
        Date(),
        Date(year=2026, month=11),
        Date(month=11, day=20),
        Date(year=2026, month=2, day=30),
        Date(year=1999, month=12, day=31),
        Date(year=2100, month=1, day=1),
        Date(year=-1, month=1, day=1),
        Date(year=2**31 - 1, month=1, day=1),
    ],
)
def test_a_date_that_is_none(field: str, message: Date) -> None:
    """Half a date, a day that no month has and a year that no symbol can name are refused by name."""
    assert rules(**{field: message}) == {
        f"filter.{field}": "a whole date from 2000-01-01 to 2099-12-31"
    }


# ----------------------------------------------------------------------------------------- strikes


@pytest.mark.parametrize(
    ("low", "high"), [("0", "99999.999"), ("250", "250"), ("0.001", "0.0010"), ("00250.0", "251")]
)
def test_a_range_of_strikes(low: str, high: str) -> None:
    """The ends of a range of strikes are read exactly, may be the same, and either may be left out."""
    found = wanted(min_strike_price=price(low), max_strike_price=price(high)).contracts
    assert found == ContractFilter(lowest=Decimal(low), highest=Decimal(high))
    assert wanted(min_strike_price=price(low)).contracts == ContractFilter(lowest=Decimal(low))
    assert wanted(max_strike_price=price(high)).contracts == ContractFilter(highest=Decimal(high))


def test_an_inverted_range_of_strikes() -> None:
    """A highest strike below the lowest is refused where it stands."""
    found = rules(min_strike_price=price("250.001"), max_strike_price=price("250"))
    assert found == {"filter.max_strike_price": "the highest strike is not below the lowest"}


@pytest.mark.parametrize("field", ["min_strike_price", "max_strike_price"])
@pytest.mark.parametrize("text", ["-0.001", "-1", "100000", "99999.9991"])
def test_a_strike_that_no_symbol_can_name(field: str, text: str) -> None:
    """A negative strike, or one too high, is refused with the number."""
    assert rules(**{field: price(text)}) == {
        f"filter.{field}": f"a strike is between 0 and 99999.999, not {text}"
    }


@pytest.mark.parametrize("field", ["min_strike_price", "max_strike_price"])
@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1,000", "1_000", "1e3", "+1", ".5", "5.", "0x1", "NaN", "Infinity", "٣",
     "1" * 21, "0." + "1" * 21, "--1", "1\n"],
)  # fmt: skip
def test_a_number_is_written_in_plain_digits(field: str, text: str) -> None:
    """What is no number in plain digits is refused by name, and nothing is guessed."""
    assert rules(**{field: price(text)}) == {f"filter.{field}": PLAIN_DIGITS}


# ------------------------------------------------------------------------------------ root and moves


@given(st.text("AZ1a. ", max_size=8))
def test_a_root_follows_the_grammar(text: str) -> None:
    """A root is refused exactly when it is none; empty takes all."""
    if text and not is_root(text):
        assert set(rules(root_symbol=text)) == {"filter.root_symbol"}
    else:
        assert wanted(root_symbol=text).contracts.root == text


def test_moves_are_asked_for_by_an_instant() -> None:
    """`updated_since` is read to the nanosecond, 1970 is one, and what is no instant is refused."""
    stamp = Timestamp()
    stamp.FromNanoseconds(NOW + 1)
    assert wanted(updated_since=stamp).updated_since == NOW + 1
    assert wanted(updated_since=Timestamp()).updated_since == 0
    assert wanted().updated_since is None
    for bad in (Timestamp(seconds=-1), Timestamp(nanos=NANOS), Timestamp(seconds=2**40)):
        assert set(rules(updated_since=bad)) == {"filter.updated_since"}


# ------------------------------------------------------------------------------- around the money


@pytest.mark.parametrize("count", [1, 1000])
def test_so_many_strikes(count: int) -> None:
    """1 to 1,000 strikes on each side may be asked for."""
    assert wanted(around=pb.AroundTheMoney(strikes=count)).around == Around(strikes=count)


@pytest.mark.parametrize("count", [0, 1001, 2**32 - 1])
def test_too_few_or_too_many_strikes(count: int) -> None:
    """Zero strikes and more than 1,000 are refused with the number."""
    assert rules(around=pb.AroundTheMoney(strikes=count)) == {
        "filter.around.strikes": f"1 to 1000 strikes on each side, not {count}"
    }


def test_so_many_percent() -> None:
    """More than 0 and up to 1,000 percent of the price may be asked for, exactly."""
    for text in ("0.00001", "2.5", "1000", "1000.0"):
        around = pb.AroundTheMoney(percent=price(text))
        assert wanted(around=around).around == Around(percent=Decimal(text))


@pytest.mark.parametrize("text", ["0", "0.00", "-1", "1000.01"])
def test_too_few_or_too_many_percent(text: str) -> None:
    """Zero, negative and more than 1,000 percent are refused with the number."""
    assert rules(around=pb.AroundTheMoney(percent=price(text))) == {
        "filter.around.percent": f"more than 0 and at most 1000 percent, not {text}"
    }


def test_percent_in_plain_digits() -> None:
    """A percentage that is no number is refused by name."""
    around = pb.AroundTheMoney(percent=price("ten"))
    assert rules(around=around) == {"filter.around.percent": PLAIN_DIGITS}


def test_how_far_is_said() -> None:
    """Asking for strikes around the price without saying how many is refused, not taken for all."""
    assert rules(around=pb.AroundTheMoney()) == {"filter.around": "say how far: strikes or percent"}


# -------------------------------------------------------------------------------------------- delta


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (None, None, (-1.0, 1.0)),
        (0.25, None, (0.25, 1.0)),
        (None, -0.25, (-1.0, -0.25)),
        (0.0, 0.0, (0.0, 0.0)),
        (-1.0, 1.0, (-1.0, 1.0)),
    ],
)
def test_a_band_of_delta(
    low: float | None, high: float | None, expected: tuple[float, float]
) -> None:
    """Either end may be left out, zero is an end, and a band may be a point."""
    band = pb.DeltaBand()
    if low is not None:
        band.min = low
    if high is not None:
        band.max = high
    assert wanted(delta=band).delta == DeltaBand(*expected)


@pytest.mark.parametrize("number", [-1.0001, 1.0001, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("field", ["min", "max"])
def test_a_delta_beyond_one(field: str, number: float) -> None:
    """A bound beyond -1 or 1, or that is no number, is refused by its name with the number."""
    reader = OptionReader()
    reader.chain(request(delta={field: number}), Feed.INDICATIVE)
    with pytest.raises(InvalidRequest) as refused:
        reader.done()
    rule = f"a delta is between -1 and 1, not {number:g}"
    assert (f"filter.delta.{field}", rule) in refused.value.violations


def test_an_inverted_band_of_delta() -> None:
    """A highest delta below the lowest is refused where it stands, also against the end that was left out."""
    found = rules(delta=pb.DeltaBand(min=0.5, max=0.4))
    assert found == {"filter.delta.max": "the highest delta is not below the lowest"}


# ------------------------------------------------------------------------------------------ together


def test_a_chain_without_mistakes() -> None:
    """What is left out is the gateway's, and what is said is read."""
    reader = OptionReader()
    bare = reader.chain(service.GetOptionChainRequest(underlying_symbol="AAPL"), Feed.OPRA)
    assert bare == ChainWanted("AAPL", Feed.OPRA, pb.OPTION_VIEW_BASIC, ChainFilter(), None)
    full = service.StreamOptionChainRequest(
        underlying_symbol="BRK.B",
        feed=convert.FEEDS[Feed.INDICATIVE],
        view=pb.OPTION_VIEW_FULL,
        filter=filtered(type=pb.OPTION_TYPE_PUT, root_symbol="BRKB1"),
        max_age=Duration(),
    )
    expected = ChainFilter(ContractFilter(type=OptionType.PUT, root="BRKB1"))
    read = reader.chain(full, Feed.OPRA)
    assert read == ChainWanted("BRK.B", Feed.INDICATIVE, pb.OPTION_VIEW_FULL, expected, 0)
    reader.done()


def test_all_mistakes_are_told_at_once() -> None:
    """Every broken rule of a request is collected, each under the path of its field."""
    bad = service.GetOptionChainRequest(
        underlying_symbol="aapl",
        feed=convert.FEEDS[Feed.SIP],
        view=pb.OPTION_VIEW_UNSPECIFIED,
        filter=filtered(
            type=pb.OPTION_TYPE_UNSPECIFIED,
            expiry_date=Date(),
            min_strike_price=price("-1"),
            max_strike_price=price("x"),
            root_symbol="aapl",
            updated_since=Timestamp(seconds=-1),
            around=pb.AroundTheMoney(),
            delta=pb.DeltaBand(min=2),
        ),
        max_age=Duration(seconds=-1),
    )
    found = broken(lambda reader: reader.chain(bad, Feed.OPRA))
    assert set(found) >= {
        "underlying_symbol", "feed", "view", "filter.type", "filter.expiry_date",
        "filter.min_strike_price", "filter.max_strike_price", "filter.root_symbol",
        "filter.updated_since", "filter.around", "filter.delta.min", "max_age",
    }  # fmt: skip


def test_a_list_of_contracts_has_the_same_rules() -> None:
    """The filter of a list of contracts is read by the same rules, under its own fields."""
    good = service.ListOptionContractsRequest(
        type=pb.OPTION_TYPE_CALL,
        start_expiry_date=day("2026-11-01"),
        max_strike_price=price("250"),
        root_symbol="AAPL1",
    )
    assert OptionReader().contract_filter(good) == ContractFilter(
        type=OptionType.CALL, start=date(2026, 11, 1), highest=Decimal(250), root="AAPL1"
    )
    bad = service.ListOptionContractsRequest(
        type=pb.OPTION_TYPE_UNSPECIFIED,
        expiry_date=day("2026-11-20"),
        end_expiry_date=day("2026-11-21"),
        min_strike_price=price("2"),
        max_strike_price=price("1"),
        root_symbol="?",
    )
    assert set(broken(lambda reader: reader.contract_filter(bad))) == {
        "type", "end_expiry_date", "max_strike_price", "root_symbol",
    }  # fmt: skip
