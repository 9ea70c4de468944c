"""Values to messages and bytes: exact, unset where unset, and one caller's answer never in another's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import (
    error_reason_pb2,
    market_session_pb2,
    provenance_pb2,
    quote_pb2,
    quote_service_pb2,
    snapshot_pb2,
    trade_pb2,
    unavailable_pb2,
)
from tickgate_server.market.answer import Answer, Held
from tickgate_server.market.asset import AssetStatus, CodeTable
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.rule_flag import RuleFlag
from tickgate_server.market.session import MarketNow, MarketSession
from tickgate_server.market.snapshot import Snapshot, SnapshotPart
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import (
    Reason,
    Refusal,
    TierAttempt,
    TierOutcome,
    Unavailable,
)
from tickgate_server.rpc import convert, encode
from tickgate_server.rpc.convert import Moment

from ...support.fakes import (
    NOW,
    asset,
    bar,
    provenance,
    quote,
    side,
    trade,
    trading_day,
    unavailable,
)

MOMENT = Moment("call-1", NOW + 2 * NANOS, 1002.5, NOW + 3 * NANOS, MarketSession.OPEN)
LATER = Moment("call-2", NOW + 9 * NANOS, 1009.0, NOW + 10 * NANOS, None)
LENGTHS = st.integers(-(10**19), 10**19)


def answer(value: Any, **how: Any) -> Answer[Any]:
    """A value as an answer that was confirmed half a second before `MOMENT`."""
    return Answer(Held(value, 1002.0), how.pop("served_from", Tier.UPSTREAM), **how)


def snapshot(**parts: Any) -> Snapshot:
    """A snapshot of AAPL with some parts, the others not sent."""
    fields = {part.value: parts.get(part.value) for part in SnapshotPart}
    missing = {
        part: unavailable(Reason.NO_DATA) for part in SnapshotPart if fields[part.value] is None
    }
    return Snapshot("AAPL", missing=missing, **fields)


WHOLE = snapshot(
    latest_trade=trade(), latest_quote=quote(), minute_bar=bar(), daily_bar=bar(),
    previous_daily_bar=bar(),
)  # fmt: skip

# ---------------------------------------------------------------------------- conversions


@given(st.integers(-62135596800 * NANOS, 253402300799 * NANOS))
def test_a_timestamp_keeps_every_nanosecond(instant: int) -> None:
    """Any instant, before 1970 too, is the same nanosecond as a message."""
    message = convert.timestamp(instant)
    assert message.ToNanoseconds() == instant
    assert 0 <= message.nanos < NANOS


@given(LENGTHS)
def test_a_duration_keeps_every_nanosecond(length: int) -> None:
    """Any length, negative ones with both parts negative, is the same as a message."""
    message = convert.duration(length)
    assert message.ToNanoseconds() == length
    assert message.seconds * message.nanos >= 0


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_a_price_is_plain_and_exact(value: Decimal) -> None:
    """A price is written without an exponent and equals what it was."""
    text = convert.price(value).value
    assert "E" not in text.upper()
    assert Decimal(text) == value


@pytest.mark.parametrize(
    ("sent", "text"), [("180.10", "180.10"), ("1E+3", "1000"), ("1E-5", "0.00001"), ("0.5", "0.5")]
)
def test_a_price_keeps_its_digits(sent: str, text: str) -> None:
    """Trailing zeros stay, exponents are written out."""
    assert convert.price(Decimal(sent)).value == text


def test_every_member_has_its_number() -> None:
    """Each of our enums is covered by the contract, and no member is its unspecified value."""
    tables: list[Any] = [
        convert.FEEDS, convert.TIERS, convert.SOURCES, convert.SESSIONS, convert.FLAGS,
        convert.PARTS, convert.OUTCOMES, convert.ASSET_STATUSES, convert.CODE_KINDS,
    ]  # fmt: skip
    for table in tables:
        members: Any = type(next(iter(table)))
        assert set(table) == set(members)
        assert 0 not in table.values()
        assert len(set(table.values())) == len(table)


def test_a_whole_quote() -> None:
    """Everything a quote holds is in its message."""
    message = convert.quote(quote())
    assert (message.symbol, message.bid.price.value, message.ask.price.value) == (
        "AAPL",
        "10.00",
        "10.02",
    )
    assert (message.bid.size, message.bid.exchange) == (100, "V")
    assert (list(message.conditions), message.tape) == (["R"], "C")
    origin = message.provenance
    assert (origin.source, origin.feed) == (
        provenance_pb2.DATA_SOURCE_SANDBOX, provenance_pb2.FEED_IEX,
    )  # fmt: skip
    assert (origin.event_time.ToNanoseconds(), origin.receive_time.ToNanoseconds()) == (NOW, NOW)
    assert origin.upstream_request_id == "upstream-1"
    assert origin.HasField("feed_delay")


def test_what_was_not_sent_is_unset() -> None:
    """A side, a size, a venue or a tape that is None is absent, and a zero that was sent is there."""
    bare = replace(quote(bid=None, ask=side("1", 0, None)), tape=None, conditions=())
    message = convert.quote(bare)
    assert not message.HasField("bid")
    assert message.ask.HasField("size")
    assert message.ask.size == 0
    assert not message.ask.HasField("exchange")
    assert not message.HasField("tape")
    no_size = convert.quote(quote(bid=side("1", None)))
    assert not no_size.bid.HasField("size")


@pytest.mark.parametrize(
    ("value", "convert_it"),
    [(quote(), convert.quote), (trade(), convert.trade), (bar(), convert.bar)],
    ids=["quote", "trade", "bar"],
)
def test_rule_flags_travel_with_their_value(value: Any, convert_it: Callable[[Any], Any]) -> None:
    """Each flag of a business rule is told with its evidence, in order; a value without any has none."""
    flags = (RuleFlag("price_range", "bid 1"), RuleFlag("consistency", "trade 2"))
    message = convert_it(replace(value, rule_flags=flags))
    assert [(flag.rule, flag.evidence) for flag in message.rule_flags] == [
        ("price_range", "bid 1"),
        ("consistency", "trade 2"),
    ]
    assert not convert_it(value).rule_flags


def test_a_trade_that_lacks_everything_optional() -> None:
    """Only price, symbol and origin of a trade need to be there."""
    bare = replace(trade(), size=None, exchange=None, conditions=(), id=None, tape=None)
    fields = {field.name for field, _ in convert.trade(bare).ListFields()}
    assert fields == {"symbol", "price", "provenance"}
    full = convert.trade(replace(trade(), amendment="canceled"))
    assert (full.size, full.id, full.amendment) == (50, 7, "canceled")


def test_a_bar_that_lacks_everything_optional() -> None:
    """A bar without volume, count, average and stamp has none of them."""
    bare = replace(bar(at=None), volume=None, trade_count=None, vwap=None)
    fields = {field.name for field, _ in convert.bar(bare).ListFields()}
    assert fields == {"symbol", "open", "high", "low", "close", "provenance"}
    full = convert.bar(bar())
    assert (full.volume, full.trade_count, full.vwap.value) == (500, 12, "10.01")
    assert full.start_time.ToNanoseconds() == NOW


def test_an_origin_without_feed_or_stamp() -> None:
    """Reference data belongs to no feed and carries no event time; its age is counted at serving."""
    origin = replace(provenance(None), feed=None)
    message = convert.served_provenance(origin, MOMENT)
    assert not message.HasField("feed")
    assert not message.HasField("event_time")
    assert not message.HasField("feed_delay")
    assert message.serve_time.ToNanoseconds() == MOMENT.wall
    assert message.receive_age.ToNanoseconds() == 2 * NANOS
    future = convert.served_provenance(replace(origin, receive_time=MOMENT.wall + 5), MOMENT)
    assert future.receive_age.ToNanoseconds() == 0


@pytest.mark.parametrize(
    ("feed", "seconds"), [(Feed.SIP, 0), (Feed.IEX, 0), (Feed.DELAYED_SIP, 900), (Feed.OTC, None)]
)
def test_a_feeds_delay_is_told_where_it_is_known(feed: Feed, seconds: int | None) -> None:
    """No delay is zero, an unknown one is unset."""
    message = convert.provenance(replace(provenance(), feed=feed))
    assert message.HasField("feed_delay") is (seconds is not None)
    assert message.feed_delay.seconds == (seconds or 0)


def test_a_reason_with_all_it_knows() -> None:
    """Delay, event time, tiers and refusal are told; what is not known is unset."""
    why = Unavailable(
        reason=Reason.INVALID_DATA,
        message="said",
        retry_delay=0.25,
        last_event_time=NOW,
        refusal=Refusal("crossed", "seen"),
        tiers=(TierAttempt(Tier.MEMORY, TierOutcome.EMPTY, NOW + 1),),
    )
    message = convert.unavailable(why, MOMENT)
    assert message.reason == error_reason_pb2.ERROR_REASON_INVALID_DATA
    assert (message.request_id, message.time.ToNanoseconds()) == ("call-1", MOMENT.wall)
    assert message.retry_delay.ToNanoseconds() == 250_000_000
    assert message.last_event_time.ToNanoseconds() == NOW
    (tried,) = message.tiers_tried
    assert (tried.tier, tried.outcome, tried.time.ToNanoseconds()) == (
        provenance_pb2.TIER_MEMORY, unavailable_pb2.TIER_OUTCOME_EMPTY, NOW + 1,
    )  # fmt: skip
    bare = convert.unavailable(unavailable(Reason.NO_DATA), MOMENT)
    for name in ("retry_delay", "last_event_time", "refusal"):
        assert not bare.HasField(name)


def test_reference_values() -> None:
    """Assets, codes, days and the clock tell what is known and leave the rest unset."""
    known = convert.asset(asset("IBM", "Machines"))
    assert known.HasField("tradable")
    assert known.tradable
    assert not known.HasField("shortable")
    assert known.status == convert.ASSET_STATUSES[AssetStatus.ACTIVE]
    assert not convert.asset(asset("IBM", status=None)).HasField("status")

    table = convert.code_table(CodeTable({"A": "one", "B": "two"}, provenance(None)), MOMENT)
    assert [(code.code, code.name) for code in table.codes] == [("A", "one"), ("B", "two")]

    day = convert.trading_day(replace(trading_day("2026-10-01"), settlement_date=date(2026, 10, 2)))
    assert (day.date.year, day.date.month, day.date.day, day.settlement_date.day) == (
        2026,
        10,
        1,
        2,
    )
    short = convert.trading_day(trading_day("2026-10-01", ("", "13:30", "17:00", "")))
    for name in ("pre_market_open_time", "after_hours_close_time", "settlement_date"):
        assert day.HasField(name)
        assert not short.HasField(name)

    now = MarketNow(NOW, MarketSession.OPEN, NOW + 1, NOW + 2, provenance(None))
    clock = convert.market_clock(now, MOMENT)
    assert (clock.session, clock.next_close_time.ToNanoseconds()) == (
        market_session_pb2.MARKET_SESSION_OPEN, NOW + 2,
    )  # fmt: skip
    assert not convert.market_clock(replace(now, session=None), MOMENT).HasField("session")


# ---------------------------------------------------------------------------- encoding

KINDS: dict[str, tuple[Callable[..., bytes], type[Message], type[Message], Any]] = {
    "quote": (
        encode.quote_result, quote_pb2.QuoteResult, quote_service_pb2.GetQuotesResponse, quote(),
    ),
    "full quote": (
        encode.full_quote_result, quote_pb2.QuoteResult, quote_service_pb2.GetQuotesResponse, quote(),
    ),
    "trade": (
        encode.trade_result, trade_pb2.TradeResult, quote_service_pb2.GetLatestTradesResponse, trade(),
    ),
    "snapshot": (
        encode.snapshot_result, snapshot_pb2.SnapshotResult, quote_service_pb2.GetSnapshotsResponse,
        WHOLE,
    ),
}  # fmt: skip
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@EVERY_KIND
def test_the_framed_response_is_the_message(kind: str) -> None:
    """The response put together by hand parses to the response built the plain way, in the asked order."""
    encoder, result, response, value = KINDS[kind]
    pieces = [
        encoder("AAPL", answer(value), MOMENT),
        encoder("ZZZZ", unavailable(Reason.SYMBOL_UNKNOWN), MOMENT),
        encoder("AAPL", answer(value), LATER),
    ]
    plain: Any = response()
    for piece in pieces:
        plain.results.append(result.FromString(piece))
    assert response.FromString(encode.respond(pieces)) == plain
    assert [one.symbol for one in plain.results] == ["AAPL", "ZZZZ", "AAPL"]
    assert encode.respond([]) == b""


@given(st.lists(st.integers(0, 70_000), max_size=4))
def test_pieces_of_any_length_are_framed(lengths: list[int]) -> None:
    """Whatever the length of a result, short of and beyond each size of its prefix, it is framed right."""
    pieces = [
        quote_pb2.QuoteResult(symbol="A" * length).SerializeToString()
        for length in [*lengths, 0, 124, 125, 126]
    ]
    parsed = quote_service_pb2.GetQuotesResponse.FromString(encode.respond(pieces))
    assert [one.SerializeToString() for one in parsed.results] == pieces


def stamps(message: Any) -> list[provenance_pb2.Provenance]:
    """Every provenance inside a result."""
    found: list[provenance_pb2.Provenance] = []
    for _, value in message.ListFields():
        if isinstance(value, provenance_pb2.Provenance):
            found.append(value)
        elif isinstance(value, Message):
            found += stamps(value)
    return found


@EVERY_KIND
def test_each_answer_carries_its_own_moment(kind: str) -> None:
    """Serve time, ages, tier and staleness are those of the call, for every value inside."""
    encoder, result, _, value = KINDS[kind]
    held = answer(value)
    for how, moment in (
        (held, MOMENT),
        (Answer(held.held, Tier.MEMORY, stale=True), LATER),
        (held, MOMENT),
    ):
        origins = stamps(result.FromString(encoder("AAPL", how, moment)))
        assert len(origins) == (5 if kind == "snapshot" else 1)
        for origin in origins:
            assert origin.served_from == convert.TIERS[how.served_from]
            assert origin.stale is how.stale
            assert origin.serve_time.ToNanoseconds() == moment.wall
            assert origin.receive_age.ToNanoseconds() == int((moment.monotonic - 1002.0) * NANOS)
            assert origin.event_age.ToNanoseconds() == moment.market - NOW


@EVERY_KIND
def test_nothing_leaks_from_one_moment_into_another(kind: str) -> None:
    """An answer at a moment is the same bytes, whatever was answered from the same value before."""
    encoder, _, _, value = KINDS[kind]
    held = answer(value)
    fresh = encoder("AAPL", answer(value), LATER)
    encoder("AAPL", Answer(held.held, Tier.MEMORY, stale=True), MOMENT)
    assert encoder("AAPL", held, LATER) == fresh


@pytest.mark.parametrize("kind", ["quote", "trade"])
def test_rule_flags_are_encoded_once_with_their_value(kind: str) -> None:
    """A flag is part of what never changes, so every answer from a value carries it."""
    encoder, result, _, value = KINDS[kind]
    held = answer(replace(value, rule_flags=(RuleFlag("volume_pattern", "size 7"),)))
    for moment in (MOMENT, LATER):
        message: Any = result.FromString(encoder("AAPL", held, moment))
        (flag,) = getattr(message, kind).rule_flags
        assert (flag.rule, flag.evidence) == ("volume_pattern", "size 7")


def test_an_unknown_session_is_unset_again() -> None:
    """A session that was known for one answer is not told in the next, where it is not."""
    held = answer(quote())
    first = quote_pb2.QuoteResult.FromString(encode.quote_result("AAPL", held, MOMENT))
    second = quote_pb2.QuoteResult.FromString(encode.quote_result("AAPL", held, LATER))
    assert first.quote.market_session == market_session_pb2.MARKET_SESSION_OPEN
    assert not second.quote.HasField("market_session")


def test_a_negative_age_is_told() -> None:
    """An event ahead of the market's time has a negative age, and the next answer a positive one."""
    held = answer(quote(at=NOW + 4 * NANOS))
    early = quote_pb2.QuoteResult.FromString(encode.quote_result("AAPL", held, MOMENT))
    late = quote_pb2.QuoteResult.FromString(encode.quote_result("AAPL", held, LATER))
    assert early.quote.provenance.event_age.ToNanoseconds() == -NANOS
    assert late.quote.provenance.event_age.ToNanoseconds() == 6 * NANOS


def test_ages_of_zero_are_told() -> None:
    """An age of zero is set, not absent; a value without a stamp has no event age."""
    now = Moment("id", NOW, 1002.0, NOW, None)
    zero = quote_pb2.QuoteResult.FromString(encode.quote_result("AAPL", answer(quote()), now))
    assert zero.quote.provenance.HasField("event_age")
    assert zero.quote.provenance.HasField("receive_age")
    unstamped = encode.quote_result("AAPL", answer(quote(at=None)), now)
    assert not quote_pb2.QuoteResult.FromString(unstamped).quote.provenance.HasField("event_age")


def full(value: Any, **latest: Any) -> quote_pb2.Quote:
    """A quote in the widest view."""
    encoded = encode.full_quote_result("AAPL", answer(value), MOMENT, **latest)
    return quote_pb2.QuoteResult.FromString(encoded).quote


def test_the_derived_view() -> None:
    """Spread and mid come from two real sides, the score from the quote; a missing side has no spread."""
    message = full(quote())
    assert (message.derived.spread.value, message.derived.mid.value) == ("0.02", "10.01")
    assert (message.quality.score, list(message.quality.flags)) == (100, [])
    one_sided = full(quote(ask=None))
    assert not one_sided.HasField("derived")
    assert list(one_sided.quality.flags) == [quote_pb2.QUOTE_FLAG_ONE_SIDED]
    assert full(quote(at=None)).quality.score == 100


def test_the_basic_view_after_the_full_one() -> None:
    """What one caller asked in addition does not stay with the value."""
    held = answer(quote())
    encode.full_quote_result("AAPL", held, MOMENT, answer(trade()))
    message = quote_pb2.QuoteResult.FromString(encode.quote_result("AAPL", held, MOMENT)).quote
    for name in ("derived", "quality", "latest_trade", "latest_trade_unavailable"):
        assert not message.HasField(name)


def test_the_full_view_carries_the_trade_or_why_not() -> None:
    """The newest trade comes with its own origin, or with the reason why there is none."""
    with_trade = full(quote(), latest_trade=answer(trade(at=NOW + 1), served_from=Tier.MEMORY))
    assert with_trade.latest_trade.price.value == "10.01"
    assert with_trade.latest_trade.provenance.served_from == provenance_pb2.TIER_MEMORY
    assert with_trade.latest_trade.provenance.event_time.ToNanoseconds() == NOW + 1
    without = full(quote(), latest_trade=unavailable(Reason.NO_DATA))
    assert not without.HasField("latest_trade")
    assert without.latest_trade_unavailable.reason == error_reason_pb2.ERROR_REASON_NO_DATA


def test_a_snapshot_tells_each_caller_why_a_part_is_missing() -> None:
    """Missing parts are named once, under the id and time of the call that asked."""
    held = answer(snapshot(latest_trade=trade()))
    for moment in (MOMENT, LATER, MOMENT):
        encoded = encode.snapshot_result("AAPL", held, moment)
        message = snapshot_pb2.SnapshotResult.FromString(encoded).snapshot
        assert len(message.missing_parts) == 4
        assert {part.unavailable.request_id for part in message.missing_parts} == {
            moment.request_id
        }
        assert {part.unavailable.time.ToNanoseconds() for part in message.missing_parts} == {
            moment.wall
        }
        assert not message.HasField("latest_quote")


def test_a_value_is_encoded_from_what_is_held() -> None:
    """Two values of one symbol do not share what was kept of one."""
    first = encode.quote_result("AAPL", answer(quote(bid=side("1"))), MOMENT)
    second = encode.quote_result("AAPL", answer(quote(bid=side("2"))), MOMENT)
    assert quote_pb2.QuoteResult.FromString(first).quote.bid.price.value == "1"
    assert quote_pb2.QuoteResult.FromString(second).quote.bid.price.value == "2"


def test_the_source_travels_to_the_caller() -> None:
    """What came from Alpaca says so, and what did not does not."""
    for source, number in (
        (DataSource.ALPACA, provenance_pb2.DATA_SOURCE_ALPACA),
        (DataSource.SANDBOX, provenance_pb2.DATA_SOURCE_SANDBOX),
    ):
        value = replace(quote(), provenance=replace(provenance(), source=source))
        encoded = encode.quote_result("AAPL", answer(value), MOMENT)
        assert quote_pb2.QuoteResult.FromString(encoded).quote.provenance.source == number
