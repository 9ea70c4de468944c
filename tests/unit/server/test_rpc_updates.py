"""Updates to bytes: what is written by hand says what a message would, and one record serves every follower."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from tickgate.v1 import provenance_pb2, quote_pb2
from tickgate.v1 import stream_service_pb2 as pb
from tickgate_server.market.bar import Bar
from tickgate_server.market.live import (
    CHANNEL_OF,
    CorrectedTrade,
    LiveValue,
    PriceBands,
    RecordKind,
    TradeCancellation,
    TradeCorrection,
    TradingStatus,
    UpdateKind,
)
from tickgate_server.market.provenance import DataSource, Feed, Provenance, Tier
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.rule_flag import RuleFlag
from tickgate_server.market.time import NANOS
from tickgate_server.rpc import convert, wire
from tickgate_server.rpc.updates import UpdateEncoder

from ...support.fakes import NOW, bar, provenance, quote, trade

ENCODE = UpdateEncoder()

COUNTS = st.integers(0, 2**63 - 1) | st.sampled_from([0, 1, 127, 128, 0x3FFF, 0x4000, 2**32])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
PRICES = st.decimals("1E-9", "1E+12", allow_nan=False, allow_infinity=False) | st.sampled_from(
    [Decimal("0.0001"), Decimal("1E+3"), Decimal("100.10"), Decimal("1E-12")]
)
INSTANTS = st.integers(0, 2**63 - 1) | st.integers(NOW - 2, NOW + 2) | st.just(NOW * 1)
SIDES = st.none() | st.builds(QuoteSide, PRICES, st.none() | COUNTS, st.none() | TEXTS)
ORIGINS = st.builds(
    Provenance,
    st.sampled_from(DataSource),
    st.none() | st.sampled_from(Feed),
    st.none() | INSTANTS,
    INSTANTS,
    TEXTS,
)
QUOTES = st.builds(
    Quote,
    TEXTS,
    SIDES,
    SIDES,
    st.lists(TEXTS, max_size=3).map(tuple),
    st.none() | TEXTS,
    ORIGINS,
    st.lists(st.builds(RuleFlag, TEXTS, TEXTS), max_size=2).map(tuple),
)

CORRECTED = CorrectedTrade(8, Decimal("10.1"), 5, ("@", "I"))
BARE = CorrectedTrade(None, Decimal(10), None, ())
OTHERS: dict[RecordKind, Sequence[LiveValue]] = {
    RecordKind.TRADE: [trade()],
    RecordKind.TRADE_CORRECTION: [
        TradeCorrection("AAPL", CORRECTED, BARE, "V", "C", provenance()),
        TradeCorrection("AAPL", BARE, CORRECTED, None, None, provenance()),
    ],
    RecordKind.TRADE_CANCELLATION: [
        TradeCancellation("AAPL", 7, Decimal("10.10"), 50, "V", "C", "A", provenance()),
        TradeCancellation("AAPL", None, Decimal("10.10"), None, None, "", None, provenance()),
    ],
    RecordKind.BAR: [bar()],
    RecordKind.REVISED_BAR: [bar()],
    RecordKind.DAILY_BAR: [bar()],
    RecordKind.TRADING_STATUS: [
        TradingStatus("AAPL", "H", "Halted", "T1", "News pending", "C", provenance()),
        TradingStatus("AAPL", "T", "", "", "", None, provenance()),
    ],
    RecordKind.PRICE_BANDS: [
        PriceBands("AAPL", Decimal("11.50"), Decimal("9.5"), "B", "C", provenance()),
        PriceBands("AAPL", None, None, "", None, provenance()),
    ],
}
"""Values of every kind but quotes, with every field and with as few as there may be."""


def decoded(*pieces: bytes) -> list[pb.Update]:
    """What *pieces* are as one message."""
    return list(pb.Updates.FromString(b"".join(pieces)).updates)


def only(body: bytes, kind: UpdateKind = UpdateKind.LIVE, conflated: int = 0) -> pb.Update:
    """The update that *body* becomes."""
    (update,) = decoded(ENCODE.framed(body, kind, conflated))
    return update


# ------------------------------------------------------------------------------------- by hand


@given(st.integers(0, 2**64 - 1) | COUNTS)
def test_a_number_is_written_as_protobuf_writes_it(number: int) -> None:
    """A varint is what protobuf reads as the same number, in as few bytes as it takes."""
    expected = pb.Ack(delivery_sequence=number).SerializeToString()
    before = wire.field_of(pb.Ack, "delivery_sequence")
    assert before + wire.varint(number) == (expected or before + b"\x00")


@given(TEXTS.filter(bool))
def test_a_text_is_written_as_protobuf_writes_it(text: str) -> None:
    """A text has its length in bytes before it."""
    expected = pb.Query(subscription_id=text).SerializeToString()
    assert wire.text_field(wire.field_of(pb.Query, "subscription_id"), text) == expected


@given(QUOTES, COUNTS, st.sampled_from(Tier))
def test_a_quote_written_by_hand_is_the_quote(value: Quote, sequence: int, tier: Tier) -> None:
    """Field for field, with what was not sent unset, it is what a message would say; the tier stands in it."""
    update = only(ENCODE.body(RecordKind.QUOTE, value, sequence, tier))
    expected = convert.quote(value)
    expected.provenance.served_from = convert.TIERS[tier]
    assert update.quote == expected
    assert update.sequence == sequence
    assert update == pb.Update(sequence=sequence, kind=pb.UPDATE_KIND_LIVE, quote=expected)


def test_equal_prices_leave_as_they_came() -> None:
    """Two ways of writing one number are not taken for each other."""
    for text in ("100.1", "100.10", "100.1"):
        value = Quote("AAPL", QuoteSide(Decimal(text), 1, None), None, (), None, provenance(), ())
        assert (
            only(ENCODE.body(RecordKind.QUOTE, value, 1, Tier.BOOK)).quote.bid.price.value == text
        )


@pytest.mark.parametrize("nanos", [0, 1, 999_999_999])
def test_nanoseconds_of_a_quote_survive(nanos: int) -> None:
    """Event and receive time leave to the nanosecond, also on the second, where none are written."""
    value = quote(at=NOW + nanos, received=NOW + NANOS + nanos)
    origin = only(ENCODE.body(RecordKind.QUOTE, value, 1, Tier.BOOK)).quote.provenance
    assert origin.event_time.ToNanoseconds() == NOW + nanos
    assert origin.receive_time.ToNanoseconds() == NOW + NANOS + nanos


def test_prices_that_are_equal_keep_their_digits_or_their_value() -> None:
    """Equal prices written differently may share an entry of the table, which is the same number all the same."""
    for text in ("10.10", "10.1", "1.01E+1"):
        side = QuoteSide(Decimal(text), 1, None)
        value = Quote("AAPL", side, None, (), None, provenance())
        said = only(ENCODE.body(RecordKind.QUOTE, value, 1, Tier.BOOK)).quote.bid.price.value
        assert Decimal(said) == Decimal(text)
        assert "E" not in said


# ------------------------------------------------------------------------------- every other kind


@pytest.mark.parametrize(
    ("kind", "value"),
    [(kind, value) for kind, values in OTHERS.items() for value in values],
    ids=lambda one: one.value if isinstance(one, RecordKind) else "",
)
def test_every_kind_is_told_in_its_own_field(kind: RecordKind, value: LiveValue) -> None:
    """A record stands in the field that its kind is named after, as it was received and no fuller."""
    update = only(ENCODE.body(kind, value, 3, Tier.BOOK))
    assert update.WhichOneof("value") == kind.value
    message = getattr(update, kind.value)
    origin = convert.provenance(value.provenance)
    origin.served_from = provenance_pb2.TIER_BOOK
    assert message.provenance == origin
    check_fields(message, value)


def check_fields(message: Message, value: Any) -> None:
    """Compare *message* with *value*, field for field."""
    names = set(message.DESCRIPTOR.fields_by_name)
    assert isinstance(value, Bar) or set(value.__struct_fields__) <= names
    for name in value.__struct_fields__:
        expected = getattr(value, name)
        if name == "provenance":
            continue
        sent: Any = getattr(message, name)
        if isinstance(expected, CorrectedTrade):
            check_fields(sent, expected)
        elif isinstance(expected, tuple):
            assert tuple(sent) == expected
        elif expected is None:
            assert not message.HasField(name)
        elif isinstance(expected, Decimal):
            assert Decimal(sent.value) == expected
        else:
            assert sent == expected


def test_every_kind_is_tried() -> None:
    """There is no kind of record that these promises leave out."""
    assert set(OTHERS) | {RecordKind.QUOTE} == set(RecordKind) == set(CHANNEL_OF)


# ----------------------------------------------------------------------------------- one message


@given(
    st.lists(
        st.tuples(st.integers(0, 2**40), st.sampled_from(UpdateKind), st.integers(0, 2**40)),
        max_size=20,
    )
)
def test_pieces_join_to_a_message(framing: list[tuple[int, UpdateKind, int]]) -> None:
    """However many and however framed, pieces joined are one message with each of them, in order."""
    pieces = [
        ENCODE.framed(ENCODE.body(RecordKind.TRADE, trade(), number, Tier.BOOK), kind, conflated)
        for number, kind, conflated in framing
    ]
    updates = decoded(*pieces)
    assert [(one.sequence, pb.UpdateKind.Name(one.kind), one.conflated) for one in updates] == [
        (number, f"UPDATE_KIND_{kind.name}", conflated) for number, kind, conflated in framing
    ]
    assert all(one.trade.id == 7 for one in updates)


def test_one_body_serves_every_follower() -> None:
    """The same bytes, framed anew, say how a record came to one follower and to another, and nothing else differs."""
    body = ENCODE.body(RecordKind.QUOTE, quote(), 9, Tier.BOOK)
    live, resync = only(body), only(body, UpdateKind.RESYNC, 4)
    assert (live.kind, live.conflated) == (pb.UPDATE_KIND_LIVE, 0)
    assert (resync.kind, resync.conflated) == (pb.UPDATE_KIND_RESYNC, 4)
    assert (live.sequence, live.quote) == (resync.sequence, resync.quote)


def test_a_snapshot_before_the_first_record_has_no_number() -> None:
    """What was asked for before anything came bears the number 0."""
    update = only(ENCODE.body(RecordKind.QUOTE, quote(), 0, Tier.REDIS), UpdateKind.SNAPSHOT)
    assert update.sequence == 0
    assert update.quote.provenance.served_from == provenance_pb2.TIER_REDIS


def test_a_quote_has_no_field_that_nobody_writes() -> None:
    """The writer knows every field of a quote and its origin: a new one is written too, or left out on purpose."""
    written = {"symbol", "bid", "ask", "conditions", "tape", "provenance", "rule_flags"}
    of_an_answer = {
        "market_session", "latest_trade", "latest_trade_unavailable", "derived", "quality",
    }  # fmt: skip
    assert set(quote_pb2.Quote.DESCRIPTOR.fields_by_name) == written | of_an_answer
    assert set(quote_pb2.QuoteSide.DESCRIPTOR.fields_by_name) == {"price", "size", "exchange"}
    origin = {
        "source", "feed", "served_from", "event_time", "receive_time", "feed_delay",
        "upstream_request_id",
    }  # fmt: skip
    of_a_serving = {"serve_time", "event_age", "receive_age", "stale"}
    assert set(provenance_pb2.Provenance.DESCRIPTOR.fields_by_name) == origin | of_a_serving


def test_a_watch_is_told_in_the_same_fields() -> None:
    """WatchResponse has the fields of SubscribeResponse under the same numbers, so that the same bytes are both."""

    def layout(message: type[Message]) -> DescriptorProto:
        described = DescriptorProto()
        message.DESCRIPTOR.CopyToProto(described)
        described.name = "Response"
        return described

    assert layout(pb.WatchResponse) == layout(pb.SubscribeResponse)
