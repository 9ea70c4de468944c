"""The book: every record of the upstream gets the next number, and the newest of them is what stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.book import Book, Entry, LiveQuotes, Update
from tickgate_server.market.answer import Held
from tickgate_server.market.live import CHANNEL_OF, Channel, RecordKind, SymbolState, UpdateKind
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.unavailable import Reason

from ...support.fakes import NOW, HandClock, quote, unavailable
from ...support.fanning import CROSSED, EPOCH, value_of

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES
QUOTE, TRADE = RecordKind.QUOTE, RecordKind.TRADE
KEY = (Feed.IEX, "AAPL")


class Desk:
    """A book, its clock, and the tier in front of it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.book = Book(Feed.IEX, EPOCH, self.clock)
        self.quotes = LiveQuotes({Feed.IEX: self.book})

    def open(
        self, symbol: str = "AAPL", channel: Channel = QUOTES, state: SymbolState = SymbolState.LIVE
    ) -> Entry:
        """Let the upstream send *symbol*."""
        entry = self.book.open(channel, symbol)
        self.book.turn(entry, state)
        return entry

    def bring(self, kind: RecordKind = QUOTE, symbol: str = "AAPL") -> Update | None:
        """Bring a valid record, a moment after the one before."""
        self.clock.advance(0.001)
        return self.book.accept(kind, symbol, value_of(kind, symbol, self.clock.wall()))

    def number(self, kind: RecordKind = QUOTE, symbol: str = "AAPL") -> int:
        """Bring a valid record, and return its number."""
        update = self.bring(kind, symbol)
        assert update is not None
        return update.sequence

    def refuse(self, symbol: str = "AAPL", kind: RecordKind = QUOTE) -> Entry | None:
        """Bring a record that is no value."""
        self.clock.advance(0.001)
        return self.book.refuse(kind, symbol, CROSSED)


# ----------------------------------------------------------------------------------------- numbers


def test_numbers_are_contiguous_and_each_symbols_own() -> None:
    """Each record gets the next number of its symbol and channel, from 1."""
    desk = Desk()
    for symbol in ("AAPL", "IBM"):
        for channel in (QUOTES, TRADES):
            desk.open(symbol, channel)
    assert [desk.number() for _ in range(3)] == [1, 2, 3]
    assert [desk.number(TRADE), desk.number(QUOTE, "IBM"), desk.number()] == [1, 1, 4]
    assert desk.book.position == 6


def test_all_kinds_of_a_channel_are_numbered_together() -> None:
    """A correction, a cancellation and a revised bar take numbers among the records that they change."""
    desk = Desk()
    desk.open(channel=TRADES)
    desk.open(channel=Channel.BARS)
    trades = [TRADE, RecordKind.TRADE_CANCELLATION, TRADE]
    bars = [RecordKind.BAR, RecordKind.REVISED_BAR]
    assert [desk.number(kind) for kind in trades] == [1, 2, 3]
    assert [desk.number(kind) for kind in bars] == [1, 2]


def test_an_update_says_where_it_stands() -> None:
    """A record knows its number, its number among the valid ones, and its place among all of the feed."""
    desk = Desk()
    desk.open()
    desk.open("IBM")
    desk.bring(symbol="IBM")
    desk.refuse()
    update = desk.bring()
    assert update is not None
    assert (update.sequence, update.ordinal, update.position) == (2, 1, 3)
    assert (update.origin, update.tier, update.body) == (UpdateKind.LIVE, Tier.BOOK, None)


def test_numbers_never_come_again() -> None:
    """A symbol that is let go and followed again goes on where it was; so does what is counted of it."""
    desk = Desk()
    entry = desk.open()
    desk.bring()
    desk.refuse()
    desk.book.close(entry)
    assert desk.open() is entry
    assert desk.number() == 3
    assert (entry.ordinal, entry.refused) == (2, {"crossed": 1})


def test_what_never_had_a_record_leaves_nothing() -> None:
    """A symbol that is let go without a record is forgotten: nothing grows by names that nobody knows."""
    desk = Desk()
    desk.book.close(desk.open("ZZZZ"))
    assert desk.book.entry(QUOTES, "ZZZZ") is None


def test_what_nobody_follows_has_no_number() -> None:
    """A record of a symbol that was never followed, or is no longer, is none: it takes no number."""
    desk = Desk()
    assert (desk.bring(), desk.refuse()) == (None, None)
    entry = desk.open()
    desk.bring()
    desk.book.close(entry)
    assert (desk.bring(), desk.refuse()) == (None, None)
    assert (entry.sequence, desk.book.position) == (1, 1)


@given(
    st.lists(
        st.tuples(st.sampled_from("value none close".split()), st.sampled_from("AB")), max_size=80
    )
)
def test_whatever_comes_no_number_is_missing_or_used_twice(steps: list[tuple[str, str]]) -> None:
    """However valid and refused records and leavings follow each other, numbers and positions have no hole."""
    desk = Desk()
    given_out: dict[str, list[int]] = {"A": [], "B": []}
    positions = []
    for step, symbol in steps:
        entry = desk.open(symbol)
        match step:
            case "value":
                update = desk.bring(symbol=symbol)
                assert update is not None
                given_out[symbol].append(update.sequence)
                positions.append(update.position)
            case "none":
                desk.refuse(symbol)
                given_out[symbol].append(entry.sequence)
                positions.append(desk.book.position)
            case _:
                desk.book.close(entry)
    for numbers in (*given_out.values(), positions):
        assert numbers == list(range(1, len(numbers) + 1))
    for symbol, numbers in given_out.items():
        held = desk.open(symbol)
        assert held.ordinal + sum(held.refused.values()) == len(numbers)


# ---------------------------------------------------------------------------------- what stands


def test_the_newest_valid_record_stands() -> None:
    """What a live feed has brought last is what `LiveQuotes` answers."""
    desk = Desk()
    desk.open()
    assert desk.quotes.get(KEY) is None
    desk.bring()
    update = desk.bring()
    held = desk.quotes.get(KEY)
    assert update is not None
    assert isinstance(held, Held)
    assert held.value is update.value
    assert held.confirmed_at == desk.clock.monotonic()
    assert KEY in desk.quotes
    assert len(desk.quotes) == 1


def test_a_refused_record_takes_a_number_and_supersedes() -> None:
    """After a refused record the answer is why there is none, with the record's own time; the next valid one stands."""
    desk = Desk()
    desk.open()
    desk.bring()
    entry = desk.refuse()
    assert entry is not None
    assert entry.sequence == 2
    assert desk.quotes.get(KEY) is CROSSED
    assert KEY not in desk.quotes
    assert len(desk.quotes) == 0
    assert desk.number() == 3
    assert isinstance(desk.quotes.get(KEY), Held)


def test_refusals_are_counted_by_rule() -> None:
    """What was refused is counted by the rule that refused it; a quote without sides, which broke none, by a name."""
    desk = Desk()
    entry = desk.open()
    for why in (CROSSED, unavailable(Reason.NO_DATA), CROSSED):
        desk.book.refuse(QUOTE, "AAPL", why)
    assert entry.refused == {"crossed": 2, "no_sides": 1}


@pytest.mark.parametrize(
    ("state", "answers"),
    [(state, state in {SymbolState.LIVE, SymbolState.INVALID}) for state in SymbolState],
)
def test_only_what_is_confirmed_stands(state: SymbolState, answers: bool) -> None:
    """A symbol that the upstream does not send at this moment, as far as is known, has no live quote."""
    desk = Desk()
    entry = desk.open()
    desk.bring()
    desk.book.turn(entry, state)
    assert isinstance(desk.quotes.get(KEY), Held) is answers
    assert len(desk.quotes) == int(answers)


def test_what_may_be_superseded_is_forgotten() -> None:
    """Once something may have been missed neither a value nor a reason stands, though the numbers do."""
    desk = Desk()
    entry = desk.open()
    for bring in (desk.bring, desk.refuse):
        bring()
        desk.book.forget(entry)
        assert desk.quotes.get(KEY) is None
    assert entry.sequence == 2


def test_the_newest_trade_is_not_known_after_an_amendment() -> None:
    """Behind a cancellation nobody knows which trade is the newest, until the next."""
    desk = Desk()
    entry = desk.open(channel=TRADES)
    known = []
    for kind in (TRADE, RecordKind.TRADE_CANCELLATION, TRADE):
        desk.bring(kind)
        known.append(entry.latest is not None)
    assert known == [True, False, True]


def test_a_closed_symbol_does_not_stand() -> None:
    """A symbol that is let go has no live quote, and none when it is followed again until one comes."""
    desk = Desk()
    entry = desk.open()
    desk.bring()
    desk.book.close(entry)
    assert desk.quotes.get(KEY) is None
    desk.open()
    assert desk.quotes.get(KEY) is None
    assert entry.latest is None


def test_only_the_feed_that_is_asked_answers() -> None:
    """What is live on one feed is not on another, and a feed without a book has nothing."""
    desk = Desk()
    desk.open()
    desk.bring()
    assert desk.quotes.get((Feed.SIP, "AAPL")) is None
    assert "AAPL" not in desk.quotes
    assert not LiveQuotes({})
    assert desk.quotes


def test_states_and_moves_have_their_times() -> None:
    """An entry knows when it took on its state, and when a record last came, valid or not."""
    desk = Desk()
    entry = desk.open(state=SymbolState.PENDING)
    assert (entry.changed, entry.touched) == (NOW, NOW)
    desk.clock.advance(1)
    desk.book.turn(entry, SymbolState.LIVE)
    assert (entry.changed, entry.touched) == (desk.clock.wall(), NOW)
    turned = entry.changed
    desk.bring()
    assert (entry.changed, entry.touched) == (turned, desk.clock.wall())
    desk.refuse()
    assert entry.touched == desk.clock.wall()


# ------------------------------------------------------------------------------------------- news


def test_news_are_what_came_since_the_last_look() -> None:
    """Each quote that moved is news once, with its newest value; trades are none."""
    desk = Desk()
    for symbol in ("AAPL", "IBM", "MSFT"):
        desk.open(symbol)
    desk.open(channel=TRADES)
    for symbol in ("AAPL", "IBM", "AAPL"):
        desk.bring(symbol=symbol)
    desk.bring(TRADE)
    assert {symbol for _, symbol in desk.book.take_news()} == {"AAPL", "IBM"}
    assert desk.book.take_news() == {}


@pytest.mark.parametrize("end", ["refused", "forgotten", "closed", "lost"])
def test_what_no_longer_stands_is_no_news(end: str) -> None:
    """A quote that was superseded, missed or let go before anybody looked is not written anywhere."""
    desk = Desk()
    entry = desk.open()
    desk.bring()
    match end:
        case "refused":
            desk.refuse()
        case "forgotten":
            desk.book.forget(entry)
        case "closed":
            desk.book.close(entry)
        case _:
            desk.book.turn(entry, SymbolState.GAP)
    assert desk.book.take_news() == {}


def test_every_kind_has_a_place() -> None:
    """Whatever kind of record comes is numbered on its channel."""
    desk = Desk()
    for kind, channel in CHANNEL_OF.items():
        entry = desk.open("IBM", channel)
        before = entry.sequence
        assert desk.book.accept(kind, "IBM", quote("IBM")) is entry.latest or entry.latest is None
        assert entry.sequence == before + 1
