"""Frames of a live feed: every record becomes a value or a reasoned refusal, exact to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from struct import pack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.market.bar import Bar
from tickgate_server.market.live import (
    CorrectedTrade,
    GapCause,
    PriceBands,
    RecordKind,
    TradeCancellation,
    TradeCorrection,
    TradingStatus,
)
from tickgate_server.market.provenance import DataSource, Feed, Provenance
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.time import NANOS, format_rfc3339
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason
from tickgate_server.observe.counters import FeedCounts
from tickgate_server.upstream.alpaca.stream import messages, records
from tickgate_server.upstream.alpaca.stream.handover import Frame
from tickgate_server.upstream.alpaca.stream.records import Prices, Records, instant

from ...support.fakes import NOW, HandClock, gate
from ...support.live_feed import Listener, packed, quote, stamp, trade

Ext = msgspec.msgpack.Ext
ORIGIN = Provenance(DataSource.SANDBOX, Feed.IEX, NOW, NOW, "")
CONTRACT = "SPY261218C00380000"


class Desk:
    """A reader of frames, and all that it tells and counts."""

    def __init__(self, feed: Feed = Feed.IEX) -> None:
        self.clock = HandClock()
        self.listener = Listener()
        self.refused: dict[str, int] = {}
        self.counts = FeedCounts()
        self.records = Records(
            gate(self.clock, self.refused),
            DataSource.SANDBOX,
            feed,
            self.listener,
            self.clock,
            self.counts,
        )

    def take(self, *sent: Any) -> list[tuple[Any, ...]]:
        """Take a frame of what was *sent*, and return what was told of it."""
        return self.take_frame(packed(*sent))

    def take_frame(self, data: bytes) -> list[tuple[Any, ...]]:
        """Take a frame, and return what was told of it."""
        before = len(self.listener.told)
        self.records.take(Frame(self.clock.wall(), data))
        return self.listener.told[before:]

    def value(self, sent: dict[str, Any]) -> Any:
        """What a record becomes: a value, or why it is none."""
        ((_, _, _, value),) = self.take(sent)
        return value


# ---------------------------------------------------------------------------- kinds of records


def test_a_quote() -> None:
    """Everything that a quote holds is in the value, and where it came from."""
    assert Desk().value(quote()) == Quote(
        "AAPL",
        QuoteSide(Decimal(10), 3, "V"),
        QuoteSide(Decimal("10.02"), 4, "Q"),
        ("R",),
        "C",
        ORIGIN,
    )


def test_a_trade() -> None:
    """Everything that a trade holds is in the value; what arrives live was not amended yet."""
    assert Desk().value(trade()) == Trade(
        "AAPL", Decimal("10.01"), 50, "V", ("@",), 7, "C", None, ORIGIN
    )


def test_a_quote_of_a_contract() -> None:
    """Options have no tape, and one text for their condition; a price of nought is an empty side of theirs too."""
    sent = {"T": "q", "S": CONTRACT, "bx": "C", "bp": 1.05, "bs": 12, "ax": "X", "ap": 0, "as": 0,
            "c": "A", "t": stamp(NOW)}  # fmt: skip
    assert Desk(Feed.OPRA).value(sent) == Quote(
        CONTRACT,
        QuoteSide(Decimal("1.05"), 12, "C"),
        None,
        ("A",),
        None,
        replace(ORIGIN, feed=Feed.OPRA),
    )


def test_a_trade_of_a_contract() -> None:
    """A trade of a contract has no id and no tape."""
    sent = {"T": "t", "S": CONTRACT, "x": "C", "p": 1.07, "s": 3, "c": "g", "t": stamp(NOW)}
    assert Desk(Feed.INDICATIVE).value(sent) == Trade(
        CONTRACT,
        Decimal("1.07"),
        3,
        "C",
        ("g",),
        None,
        None,
        None,
        replace(ORIGIN, feed=Feed.INDICATIVE),
    )


@pytest.mark.parametrize(
    ("tag", "kind"),
    [("b", RecordKind.BAR), ("u", RecordKind.REVISED_BAR), ("d", RecordKind.DAILY_BAR)],
)
def test_bars(tag: str, kind: RecordKind) -> None:
    """The three kinds of bars look alike and are told apart."""
    sent = {"T": tag, "S": "SPY", "o": 388.985, "h": 389.13, "l": 388.975, "c": 389.12, "v": 49378,
            "n": 461, "vw": 389.062639, "t": stamp(NOW)}  # fmt: skip
    ((_, told, symbol, value),) = Desk().take(sent)
    assert (told, symbol) == (kind, "SPY")
    assert value == Bar(
        "SPY",
        Decimal("388.985"),
        Decimal("389.13"),
        Decimal("388.975"),
        Decimal("389.12"),
        49378,
        461,
        Decimal("389.062639"),
        ORIGIN,
    )


def test_a_correction() -> None:
    """A correction names the trade before and after."""
    sent = {"T": "c", "S": "EEM", "x": "M", "oi": 52983525033527, "op": 39.1582, "os": 440000,
            "oc": [" ", "7"], "ci": 52983525034326, "cp": 39.1809, "cs": 440001, "cc": [" "],
            "z": "B", "t": stamp(NOW)}  # fmt: skip
    assert Desk().value(sent) == TradeCorrection(
        "EEM",
        CorrectedTrade(52983525033527, Decimal("39.1582"), 440000, (" ", "7")),
        CorrectedTrade(52983525034326, Decimal("39.1809"), 440001, (" ",)),
        "M",
        "B",
        ORIGIN,
    )


def test_a_cancellation() -> None:
    """A cancellation names the trade that is void, and whether it was an error."""
    sent = {"T": "x", "S": "GOOGL", "i": 465, "x": "D", "p": 105.31, "s": 300, "a": "C", "z": "C",
            "t": stamp(NOW)}  # fmt: skip
    assert Desk().value(sent) == TradeCancellation(
        "GOOGL", 465, Decimal("105.31"), 300, "D", "C", "C", ORIGIN
    )


def test_price_bands() -> None:
    """Limits are prices, and a limit of zero is none."""
    sent = {"T": "l", "S": "IONM", "u": 3.24, "d": 2.65, "i": "B", "z": "C", "t": stamp(NOW)}
    bands = PriceBands("IONM", Decimal("3.24"), Decimal("2.65"), "B", "C", ORIGIN)
    assert Desk().value(sent) == bands
    assert Desk().value(sent | {"u": 0}).limit_up is None


def test_a_trading_status() -> None:
    """A halt comes with code and words."""
    sent = {"T": "s", "S": "AAPL", "sc": "H", "sm": "Trading Halt", "rc": "T12", "rm": "News",
            "t": stamp(NOW), "z": "C"}  # fmt: skip
    halt = TradingStatus("AAPL", "H", "Trading Halt", "T12", "News", "C", ORIGIN)
    assert Desk().value(sent) == halt
    bare = {"T": "s", "S": "AAPL", "sc": "2", "t": stamp(NOW)}
    assert Desk().value(bare) == TradingStatus("AAPL", "2", "", "", "", None, ORIGIN)


def test_an_empty_side_is_unset() -> None:
    """Alpaca's zero is no price, and a quote without an order on either side is no value."""
    one_sided = Desk().value(quote(ask=0, ax=" "))
    assert (one_sided.bid.price, one_sided.ask) == (Decimal(10), None)
    desk = Desk()
    ((told, kind, symbol, why),) = desk.take(quote(bid=0, ask=0))
    assert (told, kind, symbol, why.reason) == ("refuse", RecordKind.QUOTE, "AAPL", Reason.NO_DATA)


def test_only_what_is_required_is_required() -> None:
    """A quote of prices and a time is a quote, and what was not sent is unset."""
    value = Desk().value({"T": "q", "S": "AAPL", "bp": 1.5, "ap": 2, "t": stamp(NOW)})
    assert value == Quote(
        "AAPL",
        QuoteSide(Decimal("1.5"), None, None),
        QuoteSide(Decimal(2), None, None),
        (),
        None,
        ORIGIN,
    )


def test_unknown_kinds_and_fields_are_passed_over() -> None:
    """Alpaca may send more than is known, in any order, and it costs nothing that is known."""
    imbalance = {"T": "i", "S": "INAQU", "p": 9.12, "z": "C", "t": stamp(NOW)}
    reversed_ = dict(reversed(quote(r=stamp(NOW), extra={"a": [1]}).items()))
    told = Desk().take({"T": "news", "headline": "x"}, reversed_, imbalance, trade())
    assert [(name, kind) for name, kind, *_ in told] == [
        ("accept", RecordKind.QUOTE),
        ("accept", RecordKind.TRADE),
    ]


# ---------------------------------------------------------------------------- times and prices


@given(st.integers(0, 2**34 * NANOS - 1))
def test_times_are_exact_in_64_bits(at: int) -> None:
    """Every nanosecond that the usual form can name is the one that was sent."""
    assert instant(msgspec.Raw(msgspec.msgpack.encode(stamp(at)))) == at


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(stamp(NOW), id="64 bits"),
        pytest.param(Ext(-1, pack(">I", NOW // NANOS)), id="32 bits"),
        pytest.param(Ext(-1, pack(">Iq", 0, NOW // NANOS)), id="96 bits"),
        pytest.param("2026-10-01T15:00:00Z", id="text"),
        pytest.param("2026-10-01T11:00:00-04:00", id="text in New York"),
    ],
)
def test_times_in_every_form(sent: Any) -> None:
    """The three forms of msgpack and the text of JSON name the same instant."""
    assert Desk().value(quote(t=sent)).event_time == NOW


@pytest.mark.parametrize("at", [NOW + 1, NOW - 1, -1, -NANOS, 2**34 * NANOS, 1])
def test_nanoseconds_in_96_bits_and_text(at: int) -> None:
    """Instants out of the reach of the usual form keep their nanosecond as well."""
    seconds, nanos = divmod(at, NANOS)
    for sent in (Ext(-1, pack(">Iq", nanos, seconds)), format_rfc3339(at)):
        assert instant(msgspec.Raw(msgspec.msgpack.encode(sent))) == at


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        (Ext(-1, pack(">Iq", NANOS, 0)), "malformed_time"),
        (Ext(-1, pack(">Iq", 0, 2**62)), "malformed_time"),
        (Ext(-1, pack(">Q", (NANOS << 34) | 1)), "malformed_time"),
        ("yesterday", "malformed_time"),
        (None, "wrong_type"),
        (NOW, "wrong_type"),
        (Ext(5, b"12345678"), "wrong_type"),
        (Ext(-1, b"12"), "wrong_type"),
        ([], "wrong_type"),
    ],
)
def test_what_is_no_time_refuses_its_record(sent: Any, rule: str) -> None:
    """A time that names no instant is refused with what was seen."""
    why = Desk().value(quote(t=sent))
    assert why.refusal.rule == rule


@given(st.decimals(min_value=0, max_value=10**9 - 1, places=6))
def test_prices_are_the_decimals_that_were_sent(price: Decimal) -> None:
    """A decimal of up to fifteen digits survives its travel as a double."""
    assert Prices()[float(price)] == price


@pytest.mark.parametrize(
    ("sent", "text"),
    [(136.0, "136"), (0.1, "0.1"), (1e-05, "0.00001"), (299999.99, "299999.99")],
)
def test_prices_are_written_as_they_are_read(sent: float, text: str) -> None:
    """Whole dollars are whole, and nothing is written with more digits than were sent."""
    assert f"{Prices()[sent]:f}" == text


def test_prices_that_are_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of prices starts over when it is full, and stays right."""
    monkeypatch.setattr(records, "_MOST_PRICES", 10)
    prices = Prices()
    assert [prices[n / 4] for n in range(100)] == [Decimal(n) / 4 for n in range(100)]
    assert len(prices) <= 10


# ---------------------------------------------------------------------------- what is malformed


def without(record: dict[str, Any], key: str) -> dict[str, Any]:
    """A record that lacks a field."""
    return {name: value for name, value in record.items() if name != key}


STATUS = {"T": "s", "S": "AAPL", "sc": "H", "t": stamp(NOW)}
BANDS = {"T": "l", "S": "AAPL", "u": 3.24, "d": 2.65, "t": stamp(NOW)}


@pytest.mark.parametrize(
    ("bad", "kind", "rule", "evidence"),
    [
        (without(quote(), "bp"), RecordKind.QUOTE, "missing_field", "no 'bp'"),
        (without(quote(), "t"), RecordKind.QUOTE, "missing_field", "no 't'"),
        (without(trade(), "p"), RecordKind.TRADE, "missing_field", "no 'p'"),
        (without(STATUS, "sc"), RecordKind.TRADING_STATUS, "missing_field", "no 'sc'"),
        (without(BANDS, "u"), RecordKind.PRICE_BANDS, "missing_field", "no 'u'"),
        (quote(bid="10"), RecordKind.QUOTE, "wrong_type", "field 'bp' is '10'"),
        (quote(bs=1.5), RecordKind.QUOTE, "wrong_type", "field 'bs' is 1.5"),
        (quote(c="R"), RecordKind.QUOTE, "wrong_type", "field 'c' is 'R'"),
        (quote(c=7), RecordKind.QUOTE, "wrong_type", "field 'c' is 7"),
        (quote(c=["R", 7]), RecordKind.QUOTE, "wrong_type", "field 'c' is ['R', 7]"),
        (quote(bid=float("nan")), RecordKind.QUOTE, "wrong_type", "price nan"),
        (trade(price=float("inf")), RecordKind.TRADE, "wrong_type", "price inf"),
        (quote(bid=-1.0), RecordKind.QUOTE, "negative_price", "bid -1"),
        (quote(bid=11.0), RecordKind.QUOTE, "crossed", "bid 11"),
        (trade(price=0), RecordKind.TRADE, "zero_price", "price 0"),
        (trade(i=2**63), RecordKind.TRADE, "size_out_of_range", "id"),
        (quote(t=stamp(NOW + 6 * NANOS)), RecordKind.QUOTE, "future_time", "6.000 s ahead"),
        (BANDS | {"d": 4.0}, RecordKind.PRICE_BANDS, "band_order", "limit down 4"),
    ],
)
def test_a_bad_record_costs_itself_alone(
    bad: dict[str, Any], kind: RecordKind, rule: str, evidence: str
) -> None:
    """It is refused by the rule that it breaks, in its place among the others of its frame."""
    desk = Desk()
    told = desk.take(quote("IBM"), bad, quote("TSLA"))
    assert [(name, symbol) for name, _, symbol, _ in told] == [
        ("accept", "IBM"),
        ("refuse", "AAPL"),
        ("accept", "TSLA"),
    ]
    _, seen, _, why = told[1]
    assert (seen, why.reason, why.refusal.rule) == (kind, Reason.INVALID_DATA, rule)
    assert evidence in why.refusal.evidence
    assert desk.refused == {rule: 1}
    assert desk.counts.records == 3


@pytest.mark.parametrize(
    "bad", [{"T": "q", "bp": 1.0}, {"S": "AAPL"}, {"T": 7}, {}, "q", None, {"T": "q", "S": 5}]
)
def test_a_record_about_nobody_is_a_gap(bad: Any) -> None:
    """What does not say what it is about may have been anybody's, so it is told to all."""
    desk = Desk()
    desk.take(quote())
    desk.clock.advance(1)
    told = desk.take(bad, quote())
    assert [name for name, *_ in told] == ["missed", "accept"]
    assert told[0][1:3] == (GapCause.UNREADABLE, NOW)
    assert told[0][4] == 1
    assert desk.refused == {"unreadable": 1}


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b"", None),
        (b"\x90\x90", None),
        (b"<html>", None),
        (b"\xc1", None),
        (packed(quote(), quote())[:-3], 2),
        (msgspec.msgpack.encode(quote()), None),
    ],
)
def test_a_frame_that_cannot_be_read_is_a_gap(data: bytes, records: int | None) -> None:
    """It is told with the number of records that its head promises, if it does."""
    desk = Desk()
    ((name, cause, since, _, count),) = desk.take_frame(data)
    assert (name, cause, since, count) == ("missed", GapCause.UNREADABLE, NOW, records)
    assert desk.refused == {"unreadable": 1}
    assert [name for name, *_ in desk.take(quote())] == ["accept"]


@pytest.mark.parametrize("symbol", ["", "aapl", "AAPL ", "A" * 11, "BTC/USD", "x" * 10_000])
def test_a_symbol_that_is_none_is_counted(symbol: str) -> None:
    """Nobody can follow it, so it is refused by the gate and told to nobody."""
    desk = Desk()
    assert desk.take(quote(symbol), quote(symbol)) == []
    assert desk.take(quote(symbol, bid="x")) == []
    assert desk.refused == {"malformed_symbol": 3}


@pytest.mark.parametrize(
    ("feed", "symbol"),
    [
        (Feed.OPRA, "AAPL"),
        (Feed.OPRA, "SPY220715X00380000"),
        (Feed.INDICATIVE, "SPY221315C00380000"),
        (Feed.INDICATIVE, "SPY220715C00000000"),
        (Feed.SIP, CONTRACT),
    ],
)
def test_a_symbol_that_the_feed_does_not_carry_is_none(feed: Feed, symbol: str) -> None:
    """On an option feed a symbol is a contract's and on a stock feed a stock's, and any other is told to nobody."""
    desk = Desk(feed)
    assert desk.take(quote(symbol)) == []
    assert desk.refused == {"malformed_symbol": 1}


def test_a_name_that_is_no_text_costs_its_record() -> None:
    """A record of the wrong type with a field whose name is no UTF-8 is refused, and the one behind it is read."""
    desk = Desk()
    sent = packed(trade(price="dear"), quote()).replace(b"\xa1s", b"\xa1\x80", 1)
    told = desk.take_frame(sent)
    assert [name for name, *_ in told] == ["refuse", "accept"]
    assert desk.refused == {"wrong_type": 1}


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Whatever arrives is a value, a refusal, a gap or nothing, and never an exception."""
    Desk().take_frame(data)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["T", "S", "t", "bp", "ap", "p", "c", "sc", "u", "d", "s"]),
            st.one_of(
                st.none(),
                st.integers(-(2**63), 2**64 - 1),
                st.floats(),
                st.sampled_from(["q", "t", "s", "l", "AAPL", "2026-10-01T15:00:00Z"]),
                st.lists(st.text(max_size=3), max_size=3),
            ),
        ),
        max_size=4,
    )
)
def test_no_records_break_the_reader(sent: list[dict[str, Any]]) -> None:
    """Neither do records of any make, and each is counted."""
    desk = Desk()
    desk.take(*sent)
    assert desk.counts.records == len(sent)


# ---------------------------------------------------------------------------- counters


def test_lag_is_judged_by_the_newest_record() -> None:
    """How late a frame comes is told by the newest event in it; a bar's beginning tells nothing."""
    desk = Desk()
    desk.clock.advance(2)
    desk.take(quote(t=stamp(NOW)), quote(t=stamp(NOW + NANOS)), quote(t=stamp(NOW + NANOS // 2)))
    assert (desk.counts.lag, desk.counts.max_lag) == (NANOS, NANOS)
    bar = {"T": "b", "S": "SPY", "o": 1, "h": 1, "l": 1, "c": 1, "t": stamp(NOW - 60 * NANOS)}
    desk.take(bar)
    assert desk.counts.lag == NANOS


def test_lag_does_not_count_what_waited_here() -> None:
    """A frame is as late as it was when it arrived, however long it has waited to be read."""
    desk = Desk()
    arrived = desk.clock.wall()
    desk.clock.advance(30)
    desk.records.take(Frame(arrived, packed(quote(t=stamp(NOW - NANOS)))))
    assert desk.counts.lag == NANOS


def test_the_worst_lag_is_forgotten_after_a_minute() -> None:
    """The largest lag is that of the last minute."""
    desk = Desk()
    desk.take(quote(t=stamp(NOW - 9 * NANOS)))
    for _ in range(5):
        desk.clock.advance(10)
        desk.take(quote(t=stamp(desk.clock.wall() - NANOS)))
        assert desk.counts.max_lag == 9 * NANOS
    desk.clock.advance(10)
    desk.take(quote(t=stamp(desk.clock.wall() - NANOS)))
    assert (desk.counts.lag, desk.counts.max_lag) == (NANOS, NANOS)


# ---------------------------------------------------------------------------- telling them apart


SUBSCRIPTION = {"T": "subscription", "quotes": ["AAPL"]}


@pytest.mark.parametrize(
    "head",
    [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"],
    ids=["short", "16 bits", "32 bits"],
)
@pytest.mark.parametrize(
    "turn", [dict, lambda record: dict(reversed(record.items()))], ids=["as sent", "reversed"]
)
def test_messages_about_the_connection_are_told_from_records(
    head: bytes, turn: Callable[[Any], Any]
) -> None:
    """However the array is written and whatever stands first, a message alone is known by its type."""
    for record in (SUBSCRIPTION, {"T": "success", "msg": "x"}, {"T": "error", "code": 400}):
        control = messages.control_in(head + msgspec.msgpack.encode(turn(record)))
        assert control is not None
        assert record["T"] == control.T
    for record in (quote(), trade(), STATUS, {"T": "i", "S": "A"}, {"T": "news"}, {}):
        assert messages.control_in(head + msgspec.msgpack.encode(turn(record))) is None


def test_messages_about_the_connection_stand_alone() -> None:
    """What is no array of one is left to the reader of records."""
    frames = [packed(SUBSCRIPTION, SUBSCRIPTION), packed(), b"", b"\x91", b"\x91\x81", b"[{}]"]
    assert [messages.control_in(frame) for frame in frames] == [None] * len(frames)
    assert messages.control_in_text("[]") is None
    assert messages.control_in_text('[{"T":"error","code":402}]') is not None
