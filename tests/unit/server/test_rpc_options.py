"""OptionService: what a caller gets is what was sent, no more, in pages and streams that hold every contract once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message
from google.type.date_pb2 import Date
from google.type.decimal_pb2 import Decimal as Price
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import option_pb2, provenance_pb2
from tickgate.v1 import option_service_pb2 as pb
from tickgate.v1.freshness_pb2 import Freshness
from tickgate_server.errors import InvalidRequest, UpstreamBroken
from tickgate_server.market.answer import Answer, Held
from tickgate_server.market.chain import Chain, Entry
from tickgate_server.market.expiry import Expiries
from tickgate_server.market.occ import parse_occ
from tickgate_server.market.option import (
    ContractList,
    ContractScope,
    ContractStatus,
    Greeks,
    OptionBar,
    OptionContract,
    OptionPart,
    OptionQuote,
)
from tickgate_server.market.provenance import FEED_DELAY, DataSource, Feed, Provenance, Tier
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.rpc import convert, encode_options
from tickgate_server.rpc import convert_options as to
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.calls import StrictRefusal
from tickgate_server.rpc.convert import Moment
from tickgate_server.rpc.convert_options import Terms, TermsBook
from tickgate_server.rpc.option_requests import OptionReader
from tickgate_server.rpc.paging import ChainPosition, encode_token

from ...support.admin import Parts
from ...support.fakes import NOW, trade, unavailable
from ...support.options import (
    CALL,
    PUT,
    TODAY,
    YESTERDAY,
    FakeListings,
    bare_contract,
    calendar_of,
    chain_of,
    contract,
    contract_list,
    market_day,
    new_york,
    no_calendar,
    option,
    option_bar,
    option_quote,
    origin,
    quoted,
    symbol_of,
    usual_close,
    whole_option,
)

MOMENT = Moment("call-1", NOW + 2 * NANOS, 1002.5, NOW + 3 * NANOS, MarketSession.OPEN)
LATER = Moment("call-2", NOW + 9 * NANOS, 1009.0, NOW + 10 * NANOS, None)
USUAL = Expiries(no_calendar, ())
CROSSED = unavailable(Reason.INVALID_DATA, refusal=Refusal("crossed", "bid 2 above ask 1", NOW))
MEGABYTE = 1024 * 1024
FULL = option_pb2.OPTION_VIEW_FULL

# -------------------------------------------------------------------------- values of all kinds

STAMPS = st.none() | st.integers(NOW - 10**15, NOW + 10**15)
COUNTS = st.integers(0, 2**63 - 1) | st.just(0)
PRICES = (
    st.decimals(Decimal("0.0001"), Decimal(99999), places=4)
    | st.sampled_from(["0.10", "1E+2", "5", "0.00000001", "236.70"]).map(Decimal)
)  # fmt: skip
CODES = st.sampled_from(["A", " ", "", "Z"])
DOUBLES = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0])
ORIGINS = st.builds(
    Provenance,
    source=st.sampled_from(DataSource),
    feed=st.sampled_from([Feed.OPRA, Feed.INDICATIVE]),
    event_time=STAMPS,
    receive_time=st.integers(0, 2**62),
    upstream_request_id=st.sampled_from(["", "up-7"]),
)
SIDES = st.builds(QuoteSide, PRICES, st.none() | COUNTS, st.none() | CODES)


def quotes(symbol: str) -> st.SearchStrategy[Quote]:
    """Quotes with at least one side."""
    conditions = st.lists(CODES, max_size=2).map(tuple)
    sides = st.tuples(st.none() | SIDES, st.none() | SIDES).filter(any)
    return st.builds(
        lambda both, codes, at: Quote(symbol, both[0], both[1], codes, None, at),
        sides,
        conditions,
        ORIGINS,
    )


def trades(symbol: str) -> st.SearchStrategy[Trade]:
    """Trades in a contract."""
    return st.builds(
        lambda price, size, venue, codes, at: Trade(
            symbol, price, size, venue, codes, None, None, None, at
        ),
        PRICES,
        st.none() | COUNTS,
        st.none() | CODES,
        st.lists(CODES, max_size=2).map(tuple),
        ORIGINS,
    )


BARS = st.builds(
    OptionBar,
    *[st.none() | PRICES] * 4,
    st.none() | COUNTS,
    st.none() | COUNTS,
    st.none() | PRICES,
    ORIGINS,
)
GREEKS = st.builds(Greeks, *[st.none() | DOUBLES] * 5).filter(lambda some: some != Greeks())
PARTS_OF = {
    OptionPart.QUOTE: "quote",
    OptionPart.LATEST_TRADE: "latest_trade",
    OptionPart.GREEKS: "greeks",
    OptionPart.IMPLIED_VOLATILITY: "implied_volatility",
    OptionPart.MINUTE_BAR: "minute_bar",
    OptionPart.DAILY_BAR: "daily_bar",
    OptionPart.PREVIOUS_DAILY_BAR: "previous_daily_bar",
}


@st.composite
def options(draw: st.DrawFn) -> OptionQuote:
    """Contracts of which any subset of parts is known, each part of any subset of its fields."""
    symbol = draw(st.sampled_from([CALL, PUT, symbol_of("62.5", root="AAPL1")]))
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "quote": quotes(symbol),
        "latest_trade": trades(symbol),
        "greeks": GREEKS,
        "implied_volatility": DOUBLES,
        "minute_bar": BARS,
        "daily_bar": BARS,
        "previous_daily_bar": BARS,
    }
    known = {name: draw(st.none() | strategy) for name, strategy in strategies.items()}
    absent = [part for part, name in PARTS_OF.items() if known[name] is None]
    refused = draw(st.lists(st.sampled_from(absent), max_size=2, unique=True)) if absent else []
    undated = replace(draw(ORIGINS), event_time=None)
    return option(symbol, **known, provenance=undated, missing=dict.fromkeys(refused, CROSSED))


@st.composite
def contracts(draw: st.DrawFn, symbol: str = CALL) -> OptionContract:
    """Terms of which any subset is known."""
    whole, bare = contract(symbol), bare_contract(symbol)
    names = [
        name
        for name in OptionContract.__struct_fields__
        if getattr(whole, name) != getattr(bare, name)
    ]
    known = draw(st.sets(st.sampled_from(names)))
    found = replace(bare, **{name: getattr(whole, name) for name in known})
    if "open_interest" in known:
        found = replace(found, open_interest=draw(COUNTS))
    return found


# ----------------------------------------------------------------- what a message says, plainly

SERVED = ("served_from", "serve_time", "receive_age", "event_age")
"""Fields of a provenance that depend on who serves it, and when."""


def flat(message: Message, path: str = "", *, served: bool = False) -> dict[str, Any]:
    """Return all that is set in *message* by its path: what is not there is unset."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        name = f"{path}{field.name}"
        if field.name in SERVED and not served:
            continue
        if isinstance(value, Price):
            found[name] = value.value
        elif isinstance(value, Date):
            found[name] = (value.year, value.month, value.day)
        elif hasattr(value, "ToNanoseconds"):
            found[name] = value.ToNanoseconds()
        elif isinstance(value, float):
            found[name] = value.hex()
        elif isinstance(value, Message):
            found[name] = "is there"
            found |= flat(value, f"{name}.", served=served)
        elif isinstance(value, str | int):
            found[name] = value
        else:
            found[name] = [
                flat(one, served=served) if isinstance(one, Message) else one for one in value
            ]
    return found


class Saying:
    """What ought to be set in a message, said field by field; what is None is left out."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def say(self, path: str, value: Any) -> None:
        """Say that *path* is set to *value*."""
        if isinstance(value, Decimal):
            value = format(value, "f")
        elif isinstance(value, float):
            value = value.hex()
        elif isinstance(value, date):
            value = (value.year, value.month, value.day)
        if value is not None:
            self.said[path] = value

    def text(self, path: str, value: str) -> None:
        """Say a text of which the empty one is unset."""
        self.say(path, value or None)

    def origin(self, path: str, value: Provenance) -> None:
        """Say where something comes from."""
        self.say(path, "is there")
        self.say(f"{path}.source", convert.SOURCES[value.source])
        if value.feed is not None:
            self.say(f"{path}.feed", convert.FEEDS[value.feed])
            self.say(f"{path}.feed_delay", FEED_DELAY.get(value.feed))
        self.say(f"{path}.event_time", value.event_time)
        self.say(f"{path}.receive_time", value.receive_time)
        self.text(f"{path}.upstream_request_id", value.upstream_request_id)

    def side(self, path: str, value: QuoteSide | None) -> None:
        """Say one side of a quote."""
        if value is not None:
            self.say(path, "is there")
            self.say(f"{path}.price", value.price)
            self.say(f"{path}.size", value.size)
            self.say(f"{path}.exchange", value.exchange)

    def quote(self, value: Quote | None) -> None:
        """Say a quote."""
        if value is not None:
            self.say("quote", "is there")
            self.say("quote.symbol", value.symbol)
            self.side("quote.bid", value.bid)
            self.side("quote.ask", value.ask)
            self.say("quote.conditions", list(value.conditions) or None)
            self.origin("quote.provenance", value.provenance)

    def trade(self, value: Trade | None) -> None:
        """Say a trade."""
        if value is not None:
            self.say("latest_trade", "is there")
            self.say("latest_trade.symbol", value.symbol)
            for name in ("price", "size", "exchange"):
                self.say(f"latest_trade.{name}", getattr(value, name))
            self.say("latest_trade.conditions", list(value.conditions) or None)
            self.origin("latest_trade.provenance", value.provenance)

    def bar(self, path: str, value: OptionBar | None) -> None:
        """Say a bar."""
        if value is None:
            return
        self.say(path, "is there")
        self.say(f"{path}.start_time", value.provenance.event_time)
        for name in ("open", "high", "low", "close", "volume", "trade_count", "vwap"):
            self.say(f"{path}.{name}", getattr(value, name))
        self.origin(f"{path}.provenance", value.provenance)


def expected(value: OptionQuote, moment: Moment, *, full: bool) -> dict[str, Any]:
    """What ought to be set of a contract, without its terms."""
    saying, occ = Saying(), parse_occ(value.symbol)
    saying.say("symbol", value.symbol)
    saying.say("underlying_symbol", "AAPL")
    saying.say("root_symbol", occ.root)
    saying.say("expiry_date", occ.expiry)
    saying.say("type", {"C": 1, "P": 2}[occ.type.value])
    saying.say("strike_price", occ.strike)
    saying.quote(value.quote)
    saying.trade(value.latest_trade)
    if value.greeks is not None:
        saying.say("greeks", "is there")
        for name in Greeks.__struct_fields__:
            saying.say(f"greeks.{name}", getattr(value.greeks, name))
    saying.say("implied_volatility", value.implied_volatility)
    if value.greeks is not None or value.implied_volatility is not None:
        saying.origin("model_provenance", value.provenance)
    bar, today = value.daily_bar, "2026-10-01"
    if bar is not None and bar.provenance.event_time is not None:
        first, last_of_day = new_york(f"{today} 00:00"), new_york("2026-10-02 00:00") - 1
        assert first <= moment.market <= last_of_day
        if first <= bar.provenance.event_time <= last_of_day:
            saying.say("day_volume", bar.volume)
    if full:
        for name in ("minute_bar", "daily_bar", "previous_daily_bar"):
            saying.bar(name, getattr(value, name))
    if value.missing:
        told = flat(convert.unavailable(CROSSED, moment), "unavailable.")
        saying.said["missing_parts"] = [
            {"part": to.PARTS[part], "unavailable": "is there", **told} for part in value.missing
        ]
    return saying.said


def expected_terms(
    value: OptionContract, listed: Provenance, last_trading: int | None
) -> dict[str, Any]:
    """What ought to be set of the terms of a contract."""
    saying = Saying()
    saying.say("symbol", value.symbol)
    saying.text("id", value.id)
    saying.text("name", value.name)
    saying.say("underlying_symbol", value.underlying)
    saying.say("root_symbol", value.occ.root)
    saying.say("expiry_date", value.occ.expiry)
    saying.say("last_trading_time", last_trading)
    saying.say("type", {"C": 1, "P": 2}[value.occ.type.value])
    saying.say("style", None if value.style is None else 1)
    saying.say("strike_price", value.occ.strike)
    for name in ("multiplier", "size", "tradable", "close_price", "close_price_date"):
        saying.say(name, getattr(value, name))
    saying.say("status", None if value.status is None else 1)
    saying.said |= expected_interest(value, listed)
    if value.deliverables:
        saying.said["deliverables"] = [
            {
                "type": "equity", "symbol": "AAPL", "amount": "100", "allocation_percentage": "100",
                "settlement_type": "T+1", "settlement_method": "CCC", "delayed_settlement": False,
            }
        ]  # fmt: skip
    return saying.said


def expected_interest(value: OptionContract, listed: Provenance) -> dict[str, Any]:
    """What ought to be set of the open interest of a contract."""
    saying = Saying()
    if value.open_interest is not None:
        saying.say("open_interest", "is there")
        # Zero contracts are a number that was sent, of a field that has no presence of its own.
        saying.say("open_interest.contracts", value.open_interest or None)
        saying.say("open_interest.date", value.open_interest_date)
        saying.origin("open_interest.provenance", listed)
    return saying.said


def under(path: str, said: dict[str, Any]) -> dict[str, Any]:
    """The same fields inside another message."""
    return {path: "is there", **{f"{path}.{name}": value for name, value in said.items()}}


def answer(value: OptionQuote, **how: Any) -> Answer[OptionQuote]:
    """A value as an answer that was confirmed half a second before `MOMENT`."""
    return Answer(Held(value, 1002.0), how.pop("served_from", Tier.UPSTREAM), **how)


def single(
    value: OptionQuote,
    *,
    full: bool,
    terms: Terms | Unavailable | None = None,
    moment: Moment = MOMENT,
) -> option_pb2.OptionQuote:
    """A contract as `GetOptionQuote` tells it."""
    return to.option_quote(answer(value), moment, terms, full=full)


def entry(value: OptionQuote) -> Entry:
    """A contract of a chain."""
    return Entry(parse_occ(value.symbol), Held(value, 1002.0))


def chained(
    *entries: Entry,
    full: bool = False,
    book: TermsBook | None = None,
    moment: Moment = MOMENT,
    underlying: str = "AAPL",
) -> list[option_pb2.OptionQuote]:
    """Contracts as chains tell them."""
    encoded = encode_options.option_quotes(entries, underlying, moment, book, full=full)
    return [option_pb2.OptionQuote.FromString(one) for one in encoded]


# ------------------------------------------------------------- nothing absent becomes present

# Drawing a contract with all its parts takes long on a busy machine; that is no part of the law.
LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@LAW
@given(options(), st.booleans())
def test_a_single_contract_is_what_was_sent(value: OptionQuote, full: bool) -> None:
    """Whatever was sent of a contract, exactly that is set in its message, and a zero only where one was sent."""
    found = flat(single(value, full=full))
    assert found.pop("market_session") == convert.SESSIONS[MarketSession.OPEN]
    assert found == expected(value, MOMENT, full=full)


@LAW
@given(options(), st.booleans())
def test_a_contract_of_a_chain_is_what_was_sent(value: OptionQuote, full: bool) -> None:
    """Chains are encoded another way, and say of each contract exactly the same, from the cache too."""
    one = entry(value)
    for moment in (MOMENT, MOMENT, LATER):
        (message,) = chained(one, full=full, moment=moment)
        assert flat(message, served=True) == expected(value, moment, full=full)


@LAW
@given(options(), contracts(), st.booleans())
def test_both_encodings_say_the_same_of_a_listed_contract(
    value: OptionQuote, terms: OptionContract, full: bool
) -> None:
    """With terms beside them, both say the same but for what depends on the call, and terms in the full view only."""
    known = replace(terms, symbol=value.symbol, occ=parse_occ(value.symbol))
    book = TermsBook(contract_list([known]), USUAL)
    one = flat(single(value, full=full, terms=book.find(value.symbol)))
    del one["market_session"]
    (message,) = chained(entry(value), full=full, book=book)
    assert flat(message) == one
    assert ("contract" in one) == full
    said = expected(value, MOMENT, full=full)
    if full:
        listed = book.listed.provenance
        said |= under("contract", expected_terms(known, listed, None))
        said |= expected_interest(known, listed)
    assert one == said


@LAW
@given(contracts())
def test_terms_are_what_was_sent(value: OptionContract) -> None:
    """Whatever was sent of a contract's terms, exactly that is set, with the last trading moment where it is known."""
    origin_of_list = origin(None)
    for moment in (None, usual_close(value.occ)):
        found = flat(to.contract(Terms(value, origin_of_list, moment)))
        assert found == expected_terms(value, origin_of_list, moment)


def test_zero_open_interest_is_a_number() -> None:
    """No contract outstanding is not the same as an unknown number of them."""
    for count, there in ((0, True), (None, False)):
        terms = Terms(contract(open_interest=count), origin(None))
        message = to.contract(terms)
        assert message.HasField("open_interest") is there
        assert message.open_interest.contracts == 0
        (one,) = chained(
            entry(whole_option()),
            full=True,
            book=TermsBook(contract_list([contract(open_interest=count)]), USUAL),
        )
        assert one.HasField("open_interest") is there


def test_every_member_has_its_number() -> None:
    """Each of our enums is covered by the contract, and no member is its unspecified value."""
    tables: list[Any] = [to.TYPES, to.PARTS, to.STYLES, to.STATUSES]
    for table in tables:
        members: Any = type(next(iter(table)))
        assert set(table) == set(members)
        assert 0 not in table.values()
        assert len(set(table.values())) == len(table)


# --------------------------------------------------------------------------- who served it, when


def provenances(message: option_pb2.OptionQuote) -> dict[str, provenance_pb2.Provenance]:
    """Every origin in a message, by the part that bears it."""
    found = {
        name: getattr(message, name).provenance
        for name in ("quote", "latest_trade", "minute_bar", "daily_bar", "previous_daily_bar")
    }
    return {**found, "model": message.model_provenance}


def test_each_part_says_who_served_it_and_how_old_it_is() -> None:
    """Every origin of a single answer bears tier, serve time and age of receipt, and its event's age if it has one."""
    value = replace(whole_option(), minute_bar=option_bar(None))
    message = to.option_quote(answer(value, served_from=Tier.REDIS), MOMENT, None, full=True)
    stamps = {
        "quote": NOW, "latest_trade": NOW, "minute_bar": None, "daily_bar": TODAY,
        "previous_daily_bar": YESTERDAY, "model": None,
    }  # fmt: skip
    for name, at in stamps.items():
        found = provenances(message)[name]
        assert found.served_from == provenance_pb2.TIER_REDIS
        assert found.serve_time.ToNanoseconds() == MOMENT.wall
        assert found.receive_age.ToNanoseconds() == NANOS // 2
        assert found.HasField("event_time") == found.HasField("event_age") == (at is not None)
        if at is not None:
            assert found.event_age.ToNanoseconds() == MOMENT.market - at


def test_an_event_ahead_of_the_market_has_a_negative_age() -> None:
    """A stamp a little in the future is told as it is."""
    value = quoted(at=MOMENT.market + 7)
    message = single(value, full=False)
    assert message.quote.provenance.event_age.ToNanoseconds() == -7


def test_a_session_that_is_unknown_is_unset() -> None:
    """Where the gateway cannot tell the session, it says nothing."""
    assert not single(quoted(), full=False, moment=LATER).HasField("market_session")


def test_terms_name_the_underlying() -> None:
    """Where terms are known, the underlying is theirs, and otherwise what the root tells."""
    symbol = symbol_of(root="BRKB")
    terms = Terms(contract(symbol, underlying="BRK.B"), origin(None))
    assert single(quoted(symbol), full=True, terms=terms).underlying_symbol == "BRK.B"
    assert single(quoted(symbol), full=True).underlying_symbol == "BRKB"
    (message,) = chained(entry(quoted(symbol)), underlying="BRK.B")
    assert message.underlying_symbol == "BRK.B"


def test_terms_that_cannot_be_had_are_missing_with_the_reason() -> None:
    """In the full view, why terms are not there stands among the missing parts, beside those of the upstream."""
    value = option(latest_trade=None, quote=option_quote(), missing={OptionPart.GREEKS: CROSSED})
    why = unavailable(Reason.CIRCUIT_OPEN)
    message = single(value, full=True, terms=why)
    assert {one.part: one.unavailable.reason for one in message.missing_parts} == {
        option_pb2.OPTION_PART_GREEKS: reasons.ERROR_REASON_INVALID_DATA,
        option_pb2.OPTION_PART_CONTRACT: reasons.ERROR_REASON_CIRCUIT_OPEN,
    }
    assert not message.HasField("contract")
    assert not message.HasField("open_interest")


def test_a_contract_that_is_not_listed_is_missing_its_terms() -> None:
    """When the list is there and does not hold a contract, a single answer and a chain both say so."""
    book = TermsBook(contract_list([contract(PUT)]), USUAL)
    alone = single(quoted(), full=True, terms=book.find(CALL))
    (in_chain,) = chained(entry(quoted()), full=True, book=book)
    for message in (alone, in_chain):
        (missing,) = message.missing_parts
        assert missing.part == option_pb2.OPTION_PART_CONTRACT
        assert missing.unavailable.reason == reasons.ERROR_REASON_NO_DATA


def test_terms_that_were_refused_say_so() -> None:
    """When a contract is listed with terms that cannot be, that is why they are missing, alone and in a chain."""
    book = TermsBook(contract_list([], refused={CALL: CROSSED}), USUAL)
    alone = single(quoted(), full=True, terms=book.find(CALL))
    (in_chain,) = chained(entry(quoted()), full=True, book=book)
    for message in (alone, in_chain):
        (missing,) = message.missing_parts
        assert missing.part == option_pb2.OPTION_PART_CONTRACT
        assert missing.unavailable.reason == reasons.ERROR_REASON_INVALID_DATA


def test_why_a_part_is_missing_names_the_call() -> None:
    """What two callers are told of one contract of a chain bears the id of each one's own call."""
    one = entry(option(CALL, quote=option_quote(), missing={OptionPart.LATEST_TRADE: CROSSED}))
    for moment in (MOMENT, LATER):
        (message,) = chained(one, moment=moment)
        (missing,) = message.missing_parts
        assert missing.unavailable.request_id == moment.request_id
        assert missing.unavailable.time.ToNanoseconds() == moment.wall


# -------------------------------------------------------------------------------- the day's volume


@pytest.mark.parametrize(
    ("at", "now", "there"),
    [
        ("2026-10-01 00:00", "2026-10-01 23:59", True),
        ("2026-10-01 00:00", "2026-10-02 00:00", False),  # a new day has begun in New York
        ("2026-09-30 00:00", "2026-10-01 00:00", False),
        ("2026-09-30 23:59", "2026-10-01 00:00", False),
        ("2026-12-01 00:00", "2026-12-01 20:00", True),  # winter, and the next day in Greenwich
        (None, "2026-10-01 12:00", False),
    ],
)
def test_the_days_volume_is_todays(at: str | None, now: str, there: bool) -> None:
    """The volume of a daily bar is the day's while its day lasts in New York, in both encodings."""
    bar = option_bar(None if at is None else new_york(at), volume=0)
    value = option(CALL, daily_bar=bar)
    moment = Moment("call-1", NOW, 1002.0, new_york(now), None)
    (in_chain,) = chained(entry(value), moment=moment)
    for message in (single(value, full=False, moment=moment), in_chain):
        assert message.HasField("day_volume") is there
        assert message.day_volume == 0


def test_a_chain_that_is_kept_over_midnight_loses_the_days_volume() -> None:
    """What has been encoded on one day is not yesterday's volume on the next."""
    one = entry(whole_option())
    evening = replace(MOMENT, market=new_york("2026-10-01 23:59"))
    midnight = replace(MOMENT, market=new_york("2026-10-02 00:00"))
    assert [
        chained(one, moment=moment)[0].HasField("day_volume")
        for moment in (evening, midnight, evening)
    ] == [True, False, True]


def test_a_volume_that_was_not_sent_is_unset() -> None:
    """A bar of today without a volume leaves the day's volume unset."""
    value = option(CALL, daily_bar=option_bar(volume=None))
    assert not single(value, full=False).HasField("day_volume")
    assert not single(value, full=True).daily_bar.HasField("volume")


# ------------------------------------------------------------------------------- encoded once


def test_a_contract_is_encoded_once() -> None:
    """As long as a contract is held, what was encoded of it is used again, in both views."""
    one = entry(whole_option())
    book = TermsBook(contract_list([contract()]), USUAL)

    def encoded(*, full: bool) -> list[bytes]:
        return list(encode_options.option_quotes([one], "AAPL", MOMENT, book, full=full))

    assert encoded(full=False)[0] is encoded(full=False)[0]
    assert encoded(full=True) == encoded(full=True)
    assert encoded(full=True)[0].startswith(encoded(full=False)[0])


def test_new_terms_are_encoded_anew() -> None:
    """When the list has been read again, its terms stand beside the contract that was encoded before."""
    one = entry(whole_option())
    for count in (7, 8):
        book = TermsBook(contract_list([contract(open_interest=count)]), USUAL)
        (message,) = chained(one, full=True, book=book)
        assert message.open_interest.contracts == message.contract.open_interest.contracts == count
    (message,) = chained(one, full=True, book=None)
    assert not message.HasField("contract")


def test_a_last_moment_that_is_learned_later_is_told() -> None:
    """When it has become known that a contract closes late, the terms that were encoded before do not hide it."""
    one, listed = entry(whole_option()), contract_list([contract()])
    days = calendar_of(market_day("2026-11-20"))
    for late, close in (((), "16:00"), (("AAPL",), "16:15")):
        book = TermsBook(listed, Expiries(days, late))
        (message,) = chained(one, full=True, book=book)
        last = message.contract.last_trading_time.ToNanoseconds()
        assert last == new_york(f"2026-11-20 {close}")


def test_bundles_hold_every_contract_once() -> None:
    """Encoded contracts are bundled up to a count and a size, none is left out or cut."""
    pieces = [bytes([number]) * 60_000 for number in range(1, 12)]
    found = list(encode_options.bundles(pieces, encode_options.IN_CHUNK, 7))
    assert [count for _, count in found] == [5, 5, 1]
    assert list(encode_options.bundles([], encode_options.IN_CHUNK, 7)) == []
    small = [b"x"] * 16
    assert [
        count for _, count in encode_options.bundles(small, encode_options.IN_PAGE, 7)
    ] == [7, 7, 2]  # fmt: skip


# ------------------------------------------------------------------------------------- the servicer


class Desk:
    """OptionService over chains, lists and prices that a test sets."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.servicer = self.parts.option_servicer()
        self.calls: list[Call] = []

    def hold(self, values: Iterable[OptionQuote], underlying: str = "AAPL") -> Chain:
        """Let there be a chain."""
        chain = self.parts.chains.chains[underlying] = chain_of(values, underlying)
        return chain

    def call(self, method: str) -> Call:
        """Begin a call."""
        deadline = self.parts.clock.monotonic() + 10
        self.calls.append(Call(f"OptionService/{method}", "call-1", deadline, "test", 0.0))
        return self.calls[-1]

    async def chain(
        self, underlying_symbol: str = "AAPL", **asked: Any
    ) -> pb.GetOptionChainResponse:
        """Ask for a page, or why there is none."""
        request = pb.GetOptionChainRequest(underlying_symbol=underlying_symbol, **asked)
        encoded = await self.servicer.GetOptionChain(request, self.call("GetOptionChain"))
        assert len(encoded) < MEGABYTE
        return pb.GetOptionChainResponse.FromString(encoded)

    async def page(self, **asked: Any) -> option_pb2.OptionChainPage:
        """Ask for a page and get it."""
        answered = await self.chain(**asked)
        assert answered.WhichOneof("result") == "page", answered
        return answered.page

    async def walk(self, **asked: Any) -> list[option_pb2.OptionChainPage]:
        """Ask for all pages."""
        pages = [await self.page(**asked)]
        while pages[-1].next_page_token:
            pages.append(await self.page(page_token=pages[-1].next_page_token, **asked))
        return pages

    async def stream(self, **asked: Any) -> list[pb.StreamOptionChainResponse]:
        """Ask for a whole chain."""
        request = pb.StreamOptionChainRequest(underlying_symbol="AAPL", **asked)
        messages = []
        async for encoded in self.servicer.StreamOptionChain(
            request, self.call("StreamOptionChain")
        ):
            assert len(encoded) < MEGABYTE
            messages.append(pb.StreamOptionChainResponse.FromString(encoded))
        return messages

    async def quotes(self, *symbols: str, **asked: Any) -> list[option_pb2.OptionQuoteResult]:
        """Ask about contracts."""
        request = pb.GetOptionQuotesRequest(symbols=symbols, **asked)
        encoded = await self.servicer.GetOptionQuotes(request, self.call("GetOptionQuotes"))
        return list(pb.GetOptionQuotesResponse.FromString(encoded).results)

    async def listing(self, **asked: Any) -> pb.ListOptionContractsResponse:
        """Ask for a page of contracts, or why there is none."""
        request = pb.ListOptionContractsRequest(underlying_symbol="AAPL", **asked)
        encoded = await self.servicer.ListOptionContracts(request, self.call("ListOptionContracts"))
        return pb.ListOptionContractsResponse.FromString(encoded)


def symbols_of(pages: Iterable[Any]) -> list[str]:
    """The contracts of pages or chunks, in order."""
    return [one.symbol for page in pages for one in page.option_quotes]


def broken(refused: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    """The fields by which a request was refused."""
    return [field for field, _ in refused.value.violations]


SIXTY = [
    symbol_of(str(100 + strike), letter=letter, expiry=expiry)
    for expiry in ("261120", "261127", "270115")
    for strike in range(10)
    for letter in "CP"
]


LADDER = [symbol_of(strike) for strike in ("240", "245", "250", "255", "260")]
AROUND = option_pb2.OptionChainFilter(around=option_pb2.AroundTheMoney(strikes=2))


# ------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize("size", [0, 1, 7, 20, 59, 60, 61, 1000, 5000])
async def test_pages_hold_every_contract_once(size: int) -> None:
    """Walking pages of any size gives every contract once, in order, and the last page has no token."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in SIXTY)
    pages = await desk.walk(page_size=size)
    assert symbols_of(pages) == SIXTY
    most = min(size or 100, 1000)
    assert [len(page.option_quotes) for page in pages[:-1]] == [most] * (len(pages) - 1)
    assert len(pages) == -(-60 // most)
    assert {page.header.total_size for page in pages} == {60}


async def test_pages_go_on_where_the_page_before_ended() -> None:
    """Whatever comes and goes between pages, what stays is given once, in order, and so is what comes behind."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in SIXTY)
    first = await desk.page(page_size=10)
    before, behind = symbol_of("99"), symbol_of("999")
    # The page's last contract leaves, and so does the one that would have been the next.
    left = [symbol for symbol in SIXTY if symbol not in SIXTY[9:11]]
    desk.hold(quoted(symbol, at=NOW + 1) for symbol in (*left, before, behind))
    second = await desk.page(page_size=10, page_token=first.next_page_token)
    desk.hold(quoted(symbol, at=NOW + 2) for symbol in (*SIXTY, before, behind))
    third = await desk.page(page_size=1000, page_token=second.next_page_token)
    found = symbols_of([first, second, third])
    expected_order = [*SIXTY[:10], *SIXTY[11:]]
    expected_order.insert(expected_order.index(SIXTY[20]), behind)
    assert found == expected_order
    assert second.header.total_size == 60
    assert not third.next_page_token


async def test_a_page_behind_the_end_is_empty() -> None:
    """When all that was left has gone meanwhile, the next page is empty and the last, and no failure."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in SIXTY)
    first = await desk.page(page_size=50)
    desk.hold(quoted(symbol) for symbol in SIXTY[:50])
    page = await desk.page(page_size=50, page_token=first.next_page_token)
    assert (list(page.option_quotes), page.next_page_token) == ([], "")
    assert page.header.total_size == 50


ASKED: dict[str, Any] = {"underlying_symbol": "AAPL", "page_size": 10}
OTHERS: list[dict[str, Any]] = [
    {"underlying_symbol": "IBM"},
    {"feed": convert.FEEDS[Feed.OPRA]},
    {"view": FULL},
    {"filter": option_pb2.OptionChainFilter(type=option_pb2.OPTION_TYPE_CALL)},
    {"filter": option_pb2.OptionChainFilter(root_symbol="AAPL")},
    {"max_age": {"seconds": 1}},
]


@pytest.mark.parametrize("change", OTHERS)
async def test_a_token_belongs_to_its_query(change: dict[str, Any]) -> None:
    """A token with another query is refused, whichever field of it was changed."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in SIXTY)
    desk.hold((quoted(symbol) for symbol in SIXTY), "IBM")
    token = (await desk.page(**ASKED)).next_page_token
    with pytest.raises(InvalidRequest, match="belongs to another query") as refused:
        await desk.chain(**{**ASKED, **change}, page_token=token)
    assert broken(refused) == ["page_token"]


async def test_a_token_does_not_mind_the_size_of_a_page() -> None:
    """Size and strictness may change from page to page, and what was left out may be said."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in SIXTY)
    token = (await desk.page(**ASKED)).next_page_token
    page = await desk.page(
        page_size=3,
        page_token=token,
        strict=True,
        feed=convert.FEEDS[Feed.INDICATIVE],
        view=option_pb2.OPTION_VIEW_BASIC,
        filter=option_pb2.OptionChainFilter(),
    )
    assert symbols_of([page]) == SIXTY[10:13]


def forged(after: str, price: Trade | None = None, **asked: Any) -> str:
    """A token of a query that leads where no page of ours ends."""
    request = pb.GetOptionChainRequest(underlying_symbol="AAPL", **asked)
    return encode_token(OptionReader().chain(request, Feed.INDICATIVE), ChainPosition(after, price))


@pytest.mark.parametrize("after", ["hello", "", "AAPL", "AAPL261399C00250000"])
async def test_a_token_that_names_no_contract_is_refused(after: str) -> None:
    """A forged token is the caller's mistake, and not a failure of the gateway."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in SIXTY)
    with pytest.raises(InvalidRequest) as refused:
        await desk.chain(page_token=forged(after))
    assert broken(refused) == ["page_token"]


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "-1", "0"])
async def test_a_token_that_names_no_price_is_refused(price: str) -> None:
    """A forged price that no share can have is the caller's mistake, and never told as real."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in LADDER)
    with pytest.raises(InvalidRequest) as refused:
        await desk.chain(
            page_token=forged(LADDER[0], trade(price=price), filter=AROUND), filter=AROUND
        )
    assert broken(refused) == ["page_token"]


async def test_what_is_no_token_is_refused() -> None:
    """A token that is cut, of another method, or no token at all is refused by name."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in SIXTY)
    desk.parts.contracts.lists["AAPL"] = tradable(SIXTY)
    token = (await desk.page(**ASKED)).next_page_token
    other = (await desk.listing(page_size=10)).page.next_page_token
    assert token != other != ""
    for bad in ("x", token[:-4], token + "AAAA", other, "é", " "):
        with pytest.raises(InvalidRequest) as refused:
            await desk.chain(**ASKED, page_token=bad)
        assert broken(refused) == ["page_token"]


async def test_large_pages_stay_small() -> None:
    """A thousand whole contracts do not fit into a message, so a page ends before, with a token, and none is lost."""
    desk = Desk()
    symbols = [symbol_of(str(100 + number)) for number in range(1000)]
    broad = "because of " + "x" * 200
    missing = {OptionPart.GREEKS: Unavailable(reason=Reason.INVALID_DATA, message=broad)}
    desk.hold(replace(whole_option(symbol), missing=missing) for symbol in symbols)
    desk.parts.contracts.lists["AAPL"] = contract_list(
        contract(symbol, name="x" * 200) for symbol in symbols
    )
    pages = await desk.walk(page_size=1000, view=FULL)
    assert symbols_of(pages) == symbols
    assert len(pages) > 1
    for page in pages:
        assert 100 * 1024 < page.ByteSize() < MEGABYTE // 2 or page is pages[-1]
        assert all(one.HasField("contract") for one in page.option_quotes)


# ----------------------------------------------------------------------------------------- streams


async def test_a_stream_is_the_whole_chain() -> None:
    """A header, then all contracts in order, the first few at once, then an end that counts them."""
    desk = Desk()
    symbols = [symbol_of(str(100 + number)) for number in range(1200)]
    chain = desk.hold(whole_option(symbol) for symbol in symbols)
    header, *chunks, end = await desk.stream(view=FULL)
    assert header.WhichOneof("event") == "header"
    assert {chunk.WhichOneof("event") for chunk in chunks} == {"chunk"}
    assert symbols_of(chunk.chunk for chunk in chunks) == symbols
    assert len(chunks[0].chunk.option_quotes) == 50
    assert all(len(chunk.chunk.option_quotes) <= 500 for chunk in chunks)
    assert header.header.total_size == header.header.chain_size == end.end.count == 1200
    page = await desk.page(page_size=50, view=FULL)
    assert list(page.option_quotes) == list(chunks[0].chunk.option_quotes)
    assert len(chain.entries) == 1200


@pytest.mark.parametrize("count", [1, 49, 50, 51, 550, 551])
async def test_a_stream_of_any_length(count: int) -> None:
    """Every contract is sent once, wherever chunks end."""
    desk = Desk()
    symbols = [symbol_of(str(100 + number)) for number in range(count)]
    desk.hold(quoted(symbol) for symbol in symbols)
    messages = await desk.stream()
    assert symbols_of(one.chunk for one in messages) == symbols
    assert messages[-1].end.count == count


# ------------------------------------------------------------------------------------------ headers


async def test_a_header_says_what_an_answer_holds() -> None:
    """What matches, what the chain holds, what lacks what, what was left out, and when all that was so."""
    desk = Desk()
    chain = desk.hold(
        [
            whole_option(symbol_of("240")),
            quoted(symbol_of("245")),
            option(symbol_of("250"), greeks=Greeks(0.5)),
            whole_option(symbol_of("250", letter="P")),
        ]
    )
    desk.parts.chains.chains["AAPL"] = replace(
        chain, expired=3, refused=2, load_time=NOW - 9, confirm_time=NOW - 5
    )
    calls = option_pb2.OptionChainFilter(
        type=option_pb2.OPTION_TYPE_CALL, delta=option_pb2.DeltaBand(min=0.1)
    )
    header = (await desk.page(filter=calls)).header
    assert flat(header, served=True) == {
        "underlying_symbol": "AAPL",
        "feed": convert.FEEDS[Feed.INDICATIVE],
        "total_size": 2,
        "chain_size": 4,
        "missing": "is there",
        "missing.quotes": 1,
        "missing.latest_trades": 1,
        "missing.implied_volatilities": 1,
        "without_delta": 1,
        "expired": 3,
        "refused": 2,
        "load_time": NOW - 9,
        "confirm_time": NOW - 5,
        "serve_time": NOW,
        "market_time": NOW,
        "market_session": convert.SESSIONS[MarketSession.OPEN],
        "served_from": provenance_pb2.TIER_UPSTREAM,
    }
    ((_, *_, end),) = [await desk.stream(filter=calls)]
    assert end.end.count == 2


async def test_the_full_view_joins_terms() -> None:
    """Terms and open interest are joined by symbol, from the list of all contracts from today on, and gaps counted."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in (CALL, PUT, symbol_of("260")))
    desk.parts.contracts.lists["AAPL"] = contract_list(
        [contract(CALL, open_interest=7), contract(PUT, open_interest=None)], received=NOW - 9
    )
    page = await desk.page(view=FULL)
    found = {one.symbol: one for one in page.option_quotes}
    assert found[CALL].open_interest.contracts == 7
    assert found[CALL].open_interest.provenance.receive_time.ToNanoseconds() == NOW - 9
    assert found[PUT].HasField("contract")
    assert not found[PUT].HasField("open_interest")
    assert not found[symbol_of("260")].HasField("contract")
    assert page.header.missing.open_interests == 2
    assert not page.header.HasField("contracts_unavailable")
    assert desk.parts.contracts.asked == [
        ContractScope(date(2026, 10, 1), date(2036, 10, 8), underlying="AAPL")
    ]
    await desk.page()
    assert len(desk.parts.contracts.asked) == 1


async def test_a_chain_without_its_list_is_a_chain() -> None:
    """When the list of contracts cannot be had, the header says why, and quotes are there all the same."""
    desk = Desk()
    desk.hold([whole_option(CALL), whole_option(PUT)])
    page = await desk.page(view=FULL)
    assert page.header.contracts_unavailable.reason == reasons.ERROR_REASON_SYMBOL_UNKNOWN
    assert page.header.missing.open_interests == 2
    for one in page.option_quotes:
        assert one.HasField("daily_bar")
        assert not one.HasField("contract")
    assert not (await desk.page()).header.HasField("contracts_unavailable")


# --------------------------------------------------------------------------------- around a price


async def test_strikes_around_a_real_price() -> None:
    """Strikes are chosen around the latest trade of the underlying on the stock feed, which the header shows whole."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in LADDER)
    desk.parts.trades.values["AAPL"] = trade(price="251.00")
    page = await desk.page(filter=AROUND)
    assert symbols_of([page]) == LADDER[1:]
    assert page.header.underlying_price == convert.trade(trade(price="251.00"))
    assert [(asked.symbols, asked.feed) for asked in desk.parts.trades.asked] == [
        (("AAPL",), Feed.IEX)
    ]


async def test_nobody_asks_for_a_price_that_nobody_needs() -> None:
    """Without strikes around it the price is neither asked for nor shown."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in LADDER)
    desk.parts.trades.values["AAPL"] = trade()
    assert not (await desk.page()).header.HasField("underlying_price")
    assert desk.parts.trades.asked == []


async def test_without_a_price_there_is_no_chain() -> None:
    """Where the underlying has no real price, the chain is unavailable for that price's reason."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in LADDER)
    desk.parts.trades.reasons["AAPL"] = unavailable(Reason.TOO_STALE)
    found = await desk.chain(filter=AROUND)
    assert found.unavailable.reason == reasons.ERROR_REASON_TOO_STALE
    (alone,) = await desk.stream(filter=AROUND)
    assert alone.unavailable.reason == reasons.ERROR_REASON_TOO_STALE


async def test_all_pages_keep_the_price_of_the_first() -> None:
    """However the price moves between pages, strikes are chosen around the one that the first page shows."""
    desk = Desk()
    desk.hold(quoted(symbol) for symbol in LADDER)
    desk.parts.trades.values["AAPL"] = trade(price="251.00")
    first = await desk.page(filter=AROUND, page_size=2)
    desk.parts.trades.values["AAPL"] = trade(price="100")
    second = await desk.page(filter=AROUND, page_size=1, page_token=first.next_page_token)
    third = await desk.page(filter=AROUND, page_size=1, page_token=second.next_page_token)
    assert symbols_of([first, second, third]) == LADDER[1:]
    for page in (second, third):
        assert page.header.underlying_price == first.header.underlying_price
    assert len(desk.parts.trades.asked) == 1


# -------------------------------------------------------------------------------- there is no chain


async def test_a_chain_that_is_unavailable() -> None:
    """Why there is no chain is an answer, on a page and on a stream, and a status for who is strict."""
    desk = Desk()
    desk.parts.chains.chains["AAPL"] = unavailable(Reason.NOT_ENTITLED)
    found = await desk.chain(feed=convert.FEEDS[Feed.OPRA])
    assert found.unavailable.reason == reasons.ERROR_REASON_NOT_ENTITLED
    assert found.unavailable.request_id == "call-1"
    (alone,) = await desk.stream()
    assert alone.unavailable.reason == reasons.ERROR_REASON_NOT_ENTITLED
    for asking in (desk.chain(strict=True), desk.stream(strict=True)):
        with pytest.raises(StrictRefusal) as refused:
            await asking
        assert (refused.value.why.reason, refused.value.symbol) == (Reason.NOT_ENTITLED, "AAPL")
    assert [(call.asked, call.given, call.reason) for call in desk.calls] == [
        (1, 0, "NOT_ENTITLED")
    ] * 4


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"min_strike_price": Price(value="999")}, ["none of its 2 contracts matches the filter"]),
        (
            {"delta": option_pb2.DeltaBand(min=0)},
            ["none of its 2 contracts", "2 match but for the band of delta"],
        ),
    ],
)
async def test_a_filter_that_nothing_passes(asked: dict[str, Any], words: list[str]) -> None:
    """When no contract matches, that is NO_DATA, and the message says of how many and why."""
    desk = Desk()
    desk.hold([quoted(CALL), quoted(PUT)])
    found = await desk.chain(filter=option_pb2.OptionChainFilter(**asked))
    assert found.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    assert all(word in found.unavailable.message for word in words)
    (alone,) = await desk.stream(filter=option_pb2.OptionChainFilter(**asked))
    assert alone.unavailable.reason == reasons.ERROR_REASON_NO_DATA


async def test_a_chain_without_a_market_value() -> None:
    """When all was refused or has expired, that is NO_DATA, and the message counts both."""
    desk = Desk()
    desk.parts.chains.chains["AAPL"] = replace(desk.hold([]), expired=3, refused=2)
    found = await desk.chain()
    assert found.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    assert "2 refused, 3 expired" in found.unavailable.message


async def test_a_question_is_passed_on_as_it_was_asked() -> None:
    """Feed, bound on age and deadline reach the chains; the feed is the gateway's when left out."""
    desk = Desk()
    desk.hold([quoted()])
    await desk.page()
    await desk.page(feed=convert.FEEDS[Feed.OPRA], max_age={"seconds": 0})
    first, second = desk.parts.chains.asked
    assert (first.feed, first.max_age, first.deadline) == (Feed.INDICATIVE, None, 1010.0)
    assert (second.feed, second.max_age) == (Feed.OPRA, 0)


# ------------------------------------------------------------------------------ single contracts


async def test_each_contract_has_its_result() -> None:
    """One result for each contract, in the asked order, a value or the reason why there is none."""
    desk = Desk()
    gone = symbol_of("999")
    desk.parts.options.values = {CALL: whole_option(CALL), PUT: whole_option(PUT)}
    desk.parts.options.reasons[gone] = unavailable(Reason.CONTRACT_EXPIRED)
    results = await desk.quotes(PUT, gone, CALL)
    assert [(one.symbol, one.WhichOneof("result")) for one in results] == [
        (PUT, "option_quote"), (gone, "unavailable"), (CALL, "option_quote"),
    ]  # fmt: skip
    assert results[1].unavailable.reason == reasons.ERROR_REASON_CONTRACT_EXPIRED
    assert results[2].option_quote.quote.provenance.served_from == provenance_pb2.TIER_UPSTREAM
    (call,) = desk.calls
    assert (call.asked, call.given, call.from_upstream) == (3, 2, 2)
    assert desk.parts.contracts.asked == []
    with pytest.raises(StrictRefusal) as refused:
        await desk.quotes(PUT, gone, CALL, strict=True)
    assert refused.value.symbol == gone


async def test_one_contract_alone() -> None:
    """A single contract is answered as in a batch."""
    desk = Desk()
    desk.parts.options.values = {CALL: whole_option(CALL)}
    request = pb.GetOptionQuoteRequest(symbol=CALL)
    encoded = await desk.servicer.GetOptionQuote(request, desk.call("GetOptionQuote"))
    (batch,) = await desk.quotes(CALL)
    assert pb.GetOptionQuoteResponse.FromString(encoded).result == batch
    with pytest.raises(InvalidRequest) as refused:
        await desk.servicer.GetOptionQuote(
            pb.GetOptionQuoteRequest(symbol="AAPL", freshness=Freshness(allow_stale=True)),
            desk.call("GetOptionQuote"),
        )
    assert broken(refused) == ["symbol", "freshness.allow_stale"]


async def test_terms_of_several_roots() -> None:
    """In the full view the list of each root is asked once, and what cannot be had is missing where it belongs."""
    desk = Desk()
    symbols = [CALL, symbol_of(root="IBM"), PUT, symbol_of("999")]
    desk.parts.options.values = {symbol: quoted(symbol) for symbol in symbols}
    desk.parts.contracts.lists["AAPL"] = contract_list([contract(CALL), contract(PUT)])
    results = await desk.quotes(*symbols, view=FULL)
    found = [one.option_quote for one in results]
    assert [one.HasField("contract") for one in found] == [True, False, True, False]
    reason_of = [[miss.unavailable.reason for miss in one.missing_parts] for one in found]
    assert reason_of == [
        [], [reasons.ERROR_REASON_SYMBOL_UNKNOWN], [], [reasons.ERROR_REASON_NO_DATA],
    ]  # fmt: skip
    scopes = {(scope.root, scope.underlying) for scope in desk.parts.contracts.asked}
    assert scopes == {("AAPL", ""), ("IBM", "")}
    assert len(desk.parts.contracts.asked) == 2


async def test_nobody_asks_for_terms_of_what_has_expired() -> None:
    """In the full view lists are asked of the roots that still trade alone."""
    desk = Desk()
    gone, alive = symbol_of(expiry="260930"), symbol_of(root="IBM")
    desk.parts.options.values = {alive: quoted(alive)}
    desk.parts.options.reasons[gone] = unavailable(Reason.CONTRACT_EXPIRED)
    await desk.quotes(gone, alive, view=FULL)
    assert [scope.root for scope in desk.parts.contracts.asked] == ["IBM"]


async def test_the_full_view_is_full_whatever_becomes_of_terms() -> None:
    """A value that is told although its contract was taken for expired has all its parts, and says that terms miss."""
    desk = Desk()
    gone = symbol_of(expiry="260930")
    desk.parts.options.values = {gone: whole_option(gone)}
    (one,) = await desk.quotes(gone, view=FULL)
    assert one.option_quote.HasField("daily_bar")
    assert [miss.part for miss in one.option_quote.missing_parts] == [
        option_pb2.OPTION_PART_CONTRACT
    ]


async def test_terms_may_take_half_of_the_time() -> None:
    """Values are not late because a list is: terms are waited for until half of the caller's time is over."""
    desk, listings = Desk(), FakeListings(contract(CALL))
    desk.parts.contracts.contracts = listings.contracts  # type: ignore[method-assign]  # with deadlines
    desk.hold([quoted()])
    desk.parts.options.values = {CALL: quoted()}
    await desk.page(view=FULL)
    await desk.quotes(CALL, view=FULL)
    assert listings.deadlines == [1005.0, 1005.0]
    await desk.listing()
    assert listings.deadlines[-1] == 1010.0


# ------------------------------------------------------------------------------ lists of contracts


def tradable(symbols: Sequence[str], *, received: int = NOW) -> ContractList:
    """A list of contracts, two entries of which were none."""
    refused = {symbol_of("1"): CROSSED}
    entries = [contract(symbol) for symbol in symbols]
    return contract_list(entries, received=received, refused=refused, unreadable=1)


@pytest.mark.parametrize("size", [0, 1, 7, 59, 60, 1000])
async def test_pages_of_a_list_hold_every_contract_once(size: int) -> None:
    """Walking a list gives every contract once, in order, with its size and origin."""
    desk = Desk()
    desk.parts.contracts.lists["AAPL"] = tradable(SIXTY)
    found: list[str] = []
    token = ""
    while True:
        page = (await desk.listing(page_size=size, page_token=token)).page
        found += [one.symbol for one in page.contracts]
        assert (page.total_size, page.refused) == (60, 2)
        assert page.provenance.receive_time.ToNanoseconds() == NOW
        token = page.next_page_token
        if not token:
            break
        assert len(page.contracts) == (size or 100)
    assert found == SIXTY


async def test_a_list_that_was_read_anew_ends_the_walk() -> None:
    """A token of a list that has been replaced is refused with that sentence, for places in it are others."""
    desk = Desk()
    desk.parts.contracts.lists["AAPL"] = tradable(SIXTY)
    token = (await desk.listing(page_size=10)).page.next_page_token
    desk.parts.contracts.lists["AAPL"] = tradable(SIXTY, received=NOW + 1)
    with pytest.raises(InvalidRequest, match="has been replaced") as refused:
        await desk.listing(page_size=10, page_token=token)
    assert broken(refused) == ["page_token"]
    with pytest.raises(InvalidRequest, match="another query"):
        await desk.listing(page_token=token, type=option_pb2.OPTION_TYPE_PUT)


@pytest.mark.parametrize(
    ("asked", "scope"),
    [
        ({}, ContractScope(date(2026, 10, 1), date(2036, 10, 8), "AAPL")),
        (
            {"show_deliverables": True},
            ContractScope(date(2026, 10, 1), date(2036, 10, 8), "AAPL", deliverables=True),
        ),
        (
            {"status": option_pb2.OPTION_CONTRACT_STATUS_INACTIVE},
            ContractScope(
                date(2025, 9, 30), date(2026, 10, 1), "AAPL", status=ContractStatus.INACTIVE
            ),
        ),
        (
            {
                "status": option_pb2.OPTION_CONTRACT_STATUS_INACTIVE,
                "start_expiry_date": Date(year=2024, month=1, day=1),
                "end_expiry_date": Date(year=2024, month=2, day=1),
                "show_deliverables": True,
            },
            ContractScope(
                date(2024, 1, 1),
                date(2024, 1, 31),
                "AAPL",
                status=ContractStatus.INACTIVE,
                deliverables=True,
            ),
        ),
        (
            {"root_symbol": "AAPL1", "expiry_date": Date(year=2026, month=11, day=20)},
            ContractScope(date(2026, 10, 1), date(2036, 10, 8), "AAPL"),
        ),
    ],
)
async def test_what_a_list_is_asked_for(asked: dict[str, Any], scope: ContractScope) -> None:
    """Active contracts are asked for from today on, all of them, inactive ones from a year ago on, or as was asked."""
    desk = Desk()
    await desk.listing(**asked)
    assert desk.parts.contracts.asked == [scope]


async def test_a_list_is_filtered() -> None:
    """Only contracts that match are listed and counted."""
    desk = Desk()
    desk.parts.contracts.lists["AAPL"] = tradable(SIXTY)
    page = (
        await desk.listing(
            type=option_pb2.OPTION_TYPE_PUT,
            expiry_date=Date(year=2026, month=11, day=27),
            min_strike_price=Price(value="105"),
            max_strike_price=Price(value="106"),
        )
    ).page
    assert [one.symbol for one in page.contracts] == [
        symbol_of(strike, letter="P", expiry="261127") for strike in ("105", "106")
    ]
    assert page.total_size == 2


async def test_a_list_that_is_none() -> None:
    """Nothing listed, nothing that matches and an unknown underlying are told apart."""
    desk = Desk()
    found = await desk.listing()
    assert found.unavailable.reason == reasons.ERROR_REASON_SYMBOL_UNKNOWN
    desk.parts.contracts.lists["AAPL"] = contract_list([])
    found = await desk.listing()
    assert found.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    assert "no active contract is listed" in found.unavailable.message
    desk.parts.contracts.lists["AAPL"] = tradable(SIXTY)
    found = await desk.listing(min_strike_price=Price(value="999"))
    assert found.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    assert "none of its 60 active contracts matches" in found.unavailable.message
    with pytest.raises(StrictRefusal):
        await desk.listing(min_strike_price=Price(value="999"), strict=True)


class _Broken:
    async def contracts(self, scope: ContractScope, deadline: float) -> Any:
        raise UpstreamBroken("answered 500")


async def test_a_list_that_cannot_be_had() -> None:
    """A failure of the list is an answer: of the list itself, of a chain's header, and of a contract's terms."""
    desk = Desk()
    desk.parts.contracts.contracts = _Broken().contracts  # type: ignore[method-assign]  # it fails
    desk.hold([quoted()])
    desk.parts.options.values = {CALL: quoted()}
    error = reasons.ERROR_REASON_UPSTREAM_ERROR
    assert (await desk.listing()).unavailable.reason == error
    assert (await desk.page(view=FULL)).header.contracts_unavailable.reason == error
    (one,) = await desk.quotes(CALL, view=FULL)
    (missing,) = one.option_quote.missing_parts
    assert (missing.part, missing.unavailable.reason) == (option_pb2.OPTION_PART_CONTRACT, error)
