"""A subscription's unread mail: the newest of what is conflated, all of what is queued, and what is to be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.book import Book, Entry, Update
from tickgate_server.fanout import tokens
from tickgate_server.fanout.box import MOST_STATUSES, MOST_UPDATES, Box, Status
from tickgate_server.market.live import (
    CHANNEL_OF,
    Channel,
    Gap,
    GapCause,
    Loss,
    LossCause,
    RecordKind,
    SymbolState,
    UpdateKind,
)
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.unavailable import Reason

from ...support.fakes import NOW, HandClock, unavailable
from ...support.fanning import CROSSED, EPOCH, PlainEncode, terms, value_of

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES
GAP = Gap(1, Feed.IEX, GapCause.DISCONNECTED, "cut", NOW)


class Desk:
    """A box and the book that its records come from; every symbol stands as the book has it."""

    def __init__(self, **asked: object) -> None:
        self.clock = HandClock()
        self.book = Book(Feed.IEX, EPOCH, self.clock)
        self.epoch = EPOCH
        self.encode = PlainEncode()
        self.box = self.another(**asked)

    @property
    def position(self) -> int:
        """Records so far."""
        return self.book.position

    def standing(self, entry: Entry, stale_after: int) -> tuple[SymbolState, int]:
        """How it stands, and since when."""
        return entry.state, entry.changed

    def another(self, **asked: object) -> Box:
        """One more subscription."""
        box = Box(terms(QUOTES, TRADES, **asked), self)
        box.prefix = tokens.prefix(Feed.IEX, EPOCH, box.terms.channels, ())
        return box

    def follow(self, symbol: str = "AAPL", channel: Channel = QUOTES) -> Entry:
        """Follow one more symbol, which is live, and hear so."""
        entry = self.book.open(channel, symbol)
        self.book.turn(entry, SymbolState.LIVE)
        self.box.follow(entry)
        self.box.notice(entry)
        self.box.take_statuses(0.0)
        return entry

    def bring(self, kind: RecordKind = RecordKind.QUOTE, symbol: str = "AAPL") -> Update:
        """Put a record into the box, as the hub does."""
        self.clock.advance(0.001)
        update = self.book.accept(kind, symbol, value_of(kind, symbol, self.clock.wall()))
        entry = self.book.entry(CHANNEL_OF[kind], symbol)
        assert update is not None
        assert entry is not None
        if kind is RecordKind.QUOTE:
            self.box.unread[entry] = update
        else:
            self.box.queue(entry, update)
        return update

    def trades(self, count: int) -> list[Update]:
        """Put so many trades into the box."""
        return [self.bring(RecordKind.TRADE) for _ in range(count)]

    def read(self) -> list[str]:
        """Read one message of updates."""
        pieces, _ = self.box.take_updates(self.encode, self.clock.monotonic())
        return [piece.decode() for piece in pieces]

    def status(self) -> Status:
        """Read the only status there is."""
        (status,) = self.box.take_statuses(0.0)
        return status

    def has_mail(self) -> bool:
        """Whether anything may be sent now."""
        return self.box.has_mail(self.clock.monotonic())

    def claimed(self) -> int:
        """The position behind which the token of now resumes."""
        return tokens.decode(self.box.token(NOW)).position


# --------------------------------------------------------------------------------------- conflated


def test_the_newest_supersedes() -> None:
    """Of several unread quotes of a symbol the newest is handed out, with how many it supersedes."""
    desk = Desk()
    desk.follow()
    for _ in range(3):
        desk.bring()
    assert desk.read() == ["quote AAPL 3 live +2"]
    desk.bring()
    assert desk.read() == ["quote AAPL 4 live"]
    assert desk.read() == []


def test_the_box_says_when_what_it_handed_out_had_come() -> None:
    """Of each reading it says when the first live update in it arrived; nobody has waited for a snapshot."""
    desk = Desk()
    desk.follow()
    desk.follow(channel=TRADES)
    told: list[int | None] = []

    def read() -> int:
        pieces = desk.read()
        told.append(desk.box.received)
        return len(pieces)

    desk.bring()
    newest = desk.bring()
    counts = [read(), read()]
    desk.bring().origin = UpdateKind.SNAPSHOT
    counts.append(read())
    first, *_ = desk.trades(3)
    counts.append(read())

    assert counts == [1, 0, 1, 3]
    received = [update.value.provenance.receive_time for update in (newest, first)]
    assert told == [received[0], None, None, received[1]]


def test_refused_records_are_not_conflated() -> None:
    """A refused record between two quotes takes a number, and is not among those that were superseded."""
    desk = Desk()
    desk.follow()
    desk.bring()
    desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
    desk.bring()
    assert desk.read() == ["quote AAPL 3 live +1"]


def test_counting_begins_when_he_comes() -> None:
    """What was before somebody followed is not among what he reads of as superseded."""
    desk = Desk()
    entry = desk.follow()
    for _ in range(5):
        desk.bring()
    desk.box.unfollow(entry)
    desk.box.follow(entry)
    desk.bring()
    desk.bring()
    assert desk.read() == ["quote AAPL 7 live +1"]


@pytest.mark.parametrize("origin", [UpdateKind.SNAPSHOT, UpdateKind.RESYNC])
def test_what_has_no_number_supersedes_the_record_whose_number_it_bears(
    origin: UpdateKind,
) -> None:
    """A snapshot counts the records that he has not read up to its number, that record among them; read ones not."""
    desk = Desk()
    entry = desk.follow()
    for _ in range(2):
        desk.bring()
    standing = Update(RecordKind.QUOTE, desk.bring().value, 3, 3, 3, origin, Tier.UPSTREAM)
    desk.box.unread[entry] = standing
    name = origin.name.lower()
    assert desk.read() == [f"quote AAPL 3 from upstream {name} +3"]
    desk.box.unread[entry] = standing
    assert desk.read() == [f"quote AAPL 3 from upstream {name}"]


def test_a_busy_symbol_does_not_starve_a_quiet_one() -> None:
    """Quotes are read in the order in which their symbols became unread, however often one of them moves."""
    desk = Desk()
    for symbol in ("BUSY", "QUIET"):
        desk.follow(symbol)
    desk.bring(symbol="BUSY")
    desk.bring(symbol="QUIET")
    for _ in range(3):
        desk.bring(symbol="BUSY")
    assert desk.read() == ["quote BUSY 4 live +3", "quote QUIET 1 live"]


def test_a_message_is_bounded_and_the_rest_keeps_its_turn() -> None:
    """Of more quotes than a message holds those that wait longest go first, and a new one waits for the next turn."""
    desk = Desk()
    symbols = [f"S{number}" for number in range(MOST_UPDATES + 1)]
    for symbol in symbols:
        desk.follow(symbol)
        desk.bring(symbol=symbol)
    assert desk.read() == [f"quote {symbol} 1 live" for symbol in symbols[:-1]]
    desk.bring(symbol="S0")
    assert desk.has_mail()
    assert desk.read() == [f"quote {symbols[-1]} 1 live"]
    assert desk.read() == ["quote S0 2 live"]


def test_a_record_is_encoded_once_for_all() -> None:
    """What several read is encoded for the first of them, and what nobody reads is not encoded at all."""
    desk = Desk()
    entry = desk.follow()
    other = desk.another()
    other.follow(entry)
    superseded = desk.bring()
    other.unread[entry] = desk.bring()
    assert desk.read() == ["quote AAPL 2 live +1"]
    assert other.take_updates(desk.encode, 0.0) == ([b"quote AAPL 2 live +1"], 1)
    assert (desk.encode.bodies, superseded.body) == (1, None)


# ------------------------------------------------------------------------------------------ queued


def test_what_is_queued_comes_whole_and_in_order() -> None:
    """Every trade is handed out, oldest first, and none is superseded."""
    desk = Desk()
    desk.follow(channel=TRADES)
    desk.follow("IBM", TRADES)
    desk.trades(2)
    desk.bring(RecordKind.TRADE, "IBM")
    desk.bring(RecordKind.TRADE_CANCELLATION)
    assert desk.read() == [
        "trade AAPL 1 live",
        "trade AAPL 2 live",
        "trade IBM 1 live",
        "trade_cancellation AAPL 3 live",
    ]


def test_neither_conflated_nor_queued_keeps_the_other_waiting() -> None:
    """Where there is more of both than a message holds each gets half of it."""
    desk = Desk(queue=2 * MOST_UPDATES)
    desk.follow(channel=TRADES)
    for number in range(MOST_UPDATES):
        desk.follow(f"S{number}")
        desk.bring(symbol=f"S{number}")
    desk.trades(MOST_UPDATES)
    message = desk.read()
    assert len(message) == MOST_UPDATES
    assert sum(piece.startswith("trade") for piece in message) == MOST_UPDATES // 2
    assert len(desk.read()) == MOST_UPDATES
    assert not desk.has_mail()


def test_a_full_queue_lets_go_of_the_oldest_and_says_which() -> None:
    """With one more than the queue holds the oldest are lost, and one status names their exact range and times."""
    desk = Desk(queue=3)
    desk.follow(channel=TRADES)
    updates = desk.trades(5)
    assert desk.box.lost == 2
    first, last = (update.value.provenance.event_time for update in updates[:2])
    status = desk.status()
    assert status.losses == (Loss(LossCause.SLOW_FOLLOWER, 1, 2, 2, first, last),)
    assert desk.read() == [f"trade AAPL {number} live" for number in (3, 4, 5)]
    desk.trades(4)
    assert desk.status().losses[0].first_sequence == 6


def test_a_loss_counts_what_was_valid() -> None:
    """Of a lost range the refused records belong to the range, and not to the count."""
    desk = Desk(queue=1)
    desk.follow(channel=TRADES)
    desk.trades(1)
    desk.book.refuse(RecordKind.TRADE, "AAPL", CROSSED)
    desk.trades(2)
    (loss,) = desk.status().losses
    assert (loss.first_sequence, loss.last_sequence, loss.count) == (1, 3, 2)


def test_losses_are_told_apart_by_symbol() -> None:
    """Each symbol that lost records has a status with its own range."""
    desk = Desk(queue=2)
    for symbol in ("AAPL", "IBM"):
        desk.follow(symbol, TRADES)
    for symbol in ("AAPL", "IBM", "IBM", "AAPL"):
        desk.bring(RecordKind.TRADE, symbol)
    ranges = {
        status.symbol: (status.losses[0].first_sequence, status.losses[0].last_sequence)
        for status in desk.box.take_statuses(0.0)
    }
    assert ranges == {"AAPL": (1, 1), "IBM": (1, 1)}


def test_a_snapshot_that_makes_room_is_no_loss() -> None:
    """A snapshot has no number, and what came behind it tells more: nothing is said of it."""
    desk = Desk(queue=1)
    entry = desk.follow(channel=TRADES)
    standing = value_of(RecordKind.TRADE, "AAPL")
    desk.box.queue(
        entry, Update(RecordKind.TRADE, standing, 0, 0, 0, UpdateKind.SNAPSHOT, Tier.UPSTREAM)
    )
    desk.trades(1)
    assert desk.box.take_statuses(0.0) == []
    assert desk.read() == ["trade AAPL 1 live"]


def test_nothing_grows_for_one_who_never_reads() -> None:
    """Whatever comes for a reader who never reads, there is a quote and a status of each symbol, and a full queue."""
    desk = Desk(queue=10)
    desk.follow()
    desk.follow(channel=TRADES)
    ibm = desk.follow("IBM")
    for _ in range(1000):
        desk.bring()
        desk.trades(1)
        desk.box.notice(ibm, gaps=(GAP,))
    assert desk.box.untold == 2
    assert len(desk.read()) == 11
    assert desk.read() == []
    statuses = {status.symbol: status for status in desk.box.take_statuses(0.0)}
    assert statuses["IBM"].gaps == (GAP,)
    (loss,) = statuses["AAPL"].losses
    assert (loss.first_sequence, loss.last_sequence, loss.count) == (1, 990, 990)


# ---------------------------------------------------------------------------------------- statuses


def test_a_status_says_how_it_stands_when_it_is_read() -> None:
    """Several changes before anybody reads are one status: the state of then, and everything that came with them."""
    desk = Desk()
    entry = desk.follow()
    desk.book.turn(entry, SymbolState.GAP)
    desk.box.notice(entry, gaps=(GAP,))
    desk.clock.advance(1)
    desk.book.turn(entry, SymbolState.LIVE)
    why = unavailable(Reason.NO_DATA)
    desk.box.notice(entry, why=why)
    assert desk.status() == Status(
        "AAPL", QUOTES, SymbolState.LIVE, desk.clock.wall(), 0, why=why, gaps=(GAP,)
    )
    assert desk.box.take_statuses(0.0) == []


def test_the_first_status_says_where_counting_starts() -> None:
    """The first status bears the number from which he followed, and the one behind it what has come since then."""
    desk = Desk(queue=1)
    entry = desk.follow(channel=TRADES)
    desk.trades(1)
    desk.box.unfollow(entry)
    desk.box.purge()
    desk.box.follow(entry)
    desk.box.notice(entry)
    desk.trades(2)
    desk.book.refuse(RecordKind.TRADE, "AAPL", CROSSED)
    first, second = desk.box.take_statuses(0.0)
    assert (first.sequence, first.refused, first.losses) == (1, {}, ())
    assert (second.sequence, second.refused) == (4, {"crossed": 1})
    assert [(loss.first_sequence, loss.last_sequence) for loss in second.losses] == [(2, 2)]
    assert desk.box.take_statuses(0.0) == []


def test_refused_records_are_told_by_rule_once() -> None:
    """A status says what was refused since the one before, to each follower since he came."""
    desk = Desk()
    entry = desk.follow()
    desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
    other = desk.another()
    other.follow(entry)
    other.notice(entry)
    other.take_statuses(0.0)
    no_sides = unavailable(Reason.NO_DATA)
    for why in (CROSSED, no_sides):
        desk.book.refuse(RecordKind.QUOTE, "AAPL", why)
    desk.box.notice(entry)
    other.notice(entry)
    assert desk.status().refused == {"crossed": 2, "no_sides": 1}
    assert other.take_statuses(0.0)[0].refused == {"crossed": 1, "no_sides": 1}
    desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
    desk.box.notice(entry)
    assert desk.status().refused == {"crossed": 1}
    desk.box.notice(entry)
    assert desk.status().refused == {}


def test_an_invalid_symbol_says_why() -> None:
    """Where the newest record was refused, its reason goes before any other."""
    desk = Desk()
    entry = desk.follow()
    desk.box.notice(entry, why=unavailable(Reason.NO_DATA))
    desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
    desk.book.turn(entry, SymbolState.INVALID)
    status = desk.status()
    assert (status.state, status.why) == (SymbolState.INVALID, CROSSED)


def test_a_message_of_statuses_is_bounded() -> None:
    """More statuses, or gaps in them, than a message holds come in several, none twice and none lost."""
    desk = Desk()
    symbols = [f"S{number}" for number in range(MOST_STATUSES)]
    for entry in [desk.follow(symbol) for symbol in symbols]:
        desk.box.notice(entry, gaps=(GAP,))
    first = desk.box.take_statuses(0.0)
    assert len(first) == MOST_STATUSES // 2
    assert desk.has_mail()
    second = desk.box.take_statuses(0.0)
    assert [status.symbol for status in first + second] == symbols
    assert desk.box.take_statuses(0.0) == []


@pytest.mark.parametrize("state", [SymbolState.REJECTED, SymbolState.REMOVED])
def test_an_end_is_told_as_it_was(state: SymbolState) -> None:
    """What is no longer followed is told with its reason, also if the symbol never was followed."""
    desk = Desk()
    why = unavailable(Reason.SYMBOL_UNKNOWN)
    desk.box.end(QUOTES, "ZZZZ", state, NOW + 1, why)
    assert desk.status() == Status("ZZZZ", QUOTES, state, NOW + 1, 0, why=why)


def test_who_comes_again_is_told_of_his_end() -> None:
    """A symbol that ended and was added again before he read has ended, and then stands as it stands."""
    desk = Desk()
    entry = desk.follow()
    desk.box.end_entry(entry, SymbolState.REMOVED, NOW)
    desk.box.follow(entry)
    states = [status.state for status in desk.box.take_statuses(0.0)]
    assert states == [SymbolState.REMOVED, SymbolState.LIVE]


def test_what_is_unfollowed_leaves_nothing() -> None:
    """Neither quotes nor trades nor statuses nor losses of a symbol are read once it is unfollowed; others' are."""
    desk = Desk(queue=2)
    entries = [desk.follow(), desk.follow(channel=TRADES)]
    desk.follow("IBM", TRADES)
    desk.bring()
    desk.trades(2)
    desk.bring(RecordKind.TRADE, "IBM")
    desk.box.stale |= set(entries)
    for entry in entries:
        desk.box.notice(entry)
        desk.box.unfollow(entry)
    desk.box.purge()
    assert desk.box.take_statuses(0.0) == []
    assert desk.read() == ["trade IBM 1 live"]
    assert [entry.symbol for entry in desk.box.followed] == ["IBM"]
    assert desk.box.stale == set()


def test_a_query_restates_everything() -> None:
    """A follower who asks hears how every symbol and channel stands, at once."""
    desk = Desk(interval=10.0)
    desk.follow()
    desk.follow("IBM", TRADES)
    desk.bring()
    desk.read()
    assert not desk.has_mail()
    desk.box.restate()
    assert desk.has_mail()
    told = [(status.symbol, status.channel, status.state) for status in desk.box.take_statuses(0.0)]
    assert told == [
        ("AAPL", QUOTES, SymbolState.LIVE),
        ("IBM", TRADES, SymbolState.LIVE),
    ]


def test_what_was_stale_and_moves_is_told_so() -> None:
    """A quote that he was told is stale is told to be live behind the record that moved it."""
    desk = Desk()
    entry = desk.follow()
    desk.box.mark(entry, NOW)
    assert len(desk.box.take_statuses(0.0)) == 1
    desk.box.stale.add(entry)
    desk.bring()
    desk.read()
    assert desk.status().state is SymbolState.LIVE


# ---------------------------------------------------------------------------------------- interval


def test_updates_keep_their_distance() -> None:
    """Behind a message of updates the next waits for `min_update_interval`, and is the newest of then."""
    desk = Desk(interval=1.0)
    desk.follow()
    desk.bring()
    desk.read()
    desk.bring()
    desk.clock.advance(0.9)
    assert not desk.has_mail()
    desk.bring()
    desk.clock.advance(0.1)
    assert desk.has_mail()
    assert desk.read() == ["quote AAPL 3 live +1"]


def test_the_last_value_arrives_after_silence() -> None:
    """What came within the interval is due at its end, though nothing more comes."""
    desk = Desk(interval=1.0)
    desk.follow()
    desk.bring()
    sent_at = desk.clock.monotonic()
    desk.read()
    assert desk.box.mail_due is None
    desk.bring()
    assert desk.box.mail_due == sent_at + 1.0


def test_an_interval_begins_when_all_is_handed_out() -> None:
    """What does not fit into one message follows at once: together they are one update of everything."""
    desk = Desk(interval=1.0, queue=2 * MOST_UPDATES)
    desk.follow(channel=TRADES)
    desk.trades(MOST_UPDATES + 1)
    desk.read()
    assert desk.has_mail()
    desk.read()
    desk.trades(1)
    assert not desk.has_mail()


@pytest.mark.parametrize(
    ("state", "waits"),
    [(SymbolState.LIVE, True), (SymbolState.INVALID, True), (SymbolState.GAP, False)],
)
def test_states_of_records_wait_and_those_of_the_connection_do_not(
    state: SymbolState, waits: bool
) -> None:
    """LIVE and INVALID may change with every record and wait as records do; a GAP is told at once."""
    desk = Desk(interval=1.0)
    entry = desk.follow()
    desk.bring()
    desk.read()
    desk.book.turn(entry, state)
    desk.box.notice(entry)
    assert desk.has_mail() is not waits
    desk.clock.advance(1.0)
    assert desk.has_mail()


def test_what_is_urgent_does_not_wait() -> None:
    """The end of a gap concerns the connection, and is told at once although the state is LIVE."""
    desk = Desk(interval=1.0)
    entry = desk.follow()
    desk.bring()
    desk.read()
    desk.box.notice(entry, urgent=True)
    assert desk.has_mail()


# ------------------------------------------------------------------------------------------ tokens


def test_a_token_claims_what_was_handed_out() -> None:
    """What lies in the queue is not claimed; once all is read, everything so far is."""
    desk = Desk(queue=2 * MOST_UPDATES)
    desk.follow(channel=TRADES)
    assert desk.claimed() == 0
    desk.trades(MOST_UPDATES + 5)
    assert desk.claimed() == 0
    desk.read()
    assert desk.claimed() == MOST_UPDATES
    desk.read()
    assert desk.claimed() == MOST_UPDATES + 5


def test_a_token_passes_over_what_others_follow() -> None:
    """Records of other followers do not hold a token back: what he reads next claims them too."""
    desk = Desk()
    desk.follow(channel=TRADES)
    desk.book.turn(desk.book.open(QUOTES, "IBM"), SymbolState.LIVE)
    desk.trades(1)
    for _ in range(9):
        desk.book.accept(RecordKind.QUOTE, "IBM", value_of(RecordKind.QUOTE, "IBM"))
    desk.read()
    assert desk.claimed() == 10


def test_a_token_does_not_claim_a_loss_that_was_not_told() -> None:
    """A lost record is claimed only once the status that says so has been handed out."""
    desk = Desk(queue=1)
    desk.follow(channel=TRADES)
    desk.trades(3)
    desk.read()
    assert desk.claimed() == 0
    desk.status()
    assert desk.claimed() == 3


def test_a_new_subscription_claims_everything_before_it() -> None:
    """Who has just come has nothing behind him to be told."""
    desk = Desk()
    desk.follow(channel=TRADES)
    desk.trades(4)
    desk.box = desk.another()
    assert desk.claimed() == 4


@given(
    st.lists(
        st.sampled_from("trade trade trade quote refused read read status".split()), max_size=80
    ),
    st.integers(1, 6),
)
def test_a_token_never_claims_what_was_not_handed_out_or_told(steps: list[str], queue: int) -> None:
    """Whatever comes and is read, every trade up to a token was handed out, or named in a loss that was."""
    desk = Desk(queue=queue)
    desk.follow()
    desk.follow(channel=TRADES)
    at: dict[int, int] = {}
    had: set[int] = set()
    for step in steps:
        match step:
            case "trade":
                update = desk.bring(RecordKind.TRADE)
                at[update.sequence] = update.position
            case "quote":
                desk.bring()
            case "refused":
                desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
            case "read":
                had |= {int(one.split()[2]) for one in desk.read() if one.startswith("trade")}
            case "status":
                for loss in (loss for one in desk.box.take_statuses(0.0) for loss in one.losses):
                    had |= set(range(loss.first_sequence, loss.last_sequence + 1))
        claimed = desk.claimed()
        assert {number for number, position in at.items() if position <= claimed} <= had


def test_more_gaps_than_a_status_tells_apart_are_one() -> None:
    """Who was not there for a hundred and fifty gaps hears of a hundred: the oldest are one, from first to last."""
    desk = Desk()
    entry = desk.follow()
    second = 10**9
    gaps = [
        Gap(number, Feed.IEX, GapCause.DISCONNECTED, "cut", NOW + 2 * number * second,
            NOW + (2 * number + 1) * second)
        for number in range(150)
    ]  # fmt: skip
    for gap in gaps:
        desk.box.notice(entry, gaps=(gap,))
    (status,) = desk.box.take_statuses(0.0)
    assert len(status.gaps) == 100
    assert (status.gaps[0].start, status.gaps[0].end) == (gaps[0].start, gaps[50].end)
    assert [gap.start for gap in status.gaps[1:]] == [gap.start for gap in gaps[51:]]


def test_an_end_takes_the_account_along() -> None:
    """The last status of a symbol still says what was refused and lost, and the newest number."""
    desk = Desk(queue=1)
    entry = desk.follow(channel=TRADES)
    desk.trades(2)
    desk.book.refuse(RecordKind.TRADE, "AAPL", CROSSED)
    desk.box.end_entry(entry, SymbolState.REMOVED, NOW)
    status = desk.status()
    assert (status.state, status.sequence, status.refused) == (
        SymbolState.REMOVED, 3, {"crossed": 1},
    )  # fmt: skip
    assert [(loss.first_sequence, loss.last_sequence) for loss in status.losses] == [(1, 1)]


def test_a_token_does_not_go_back_when_something_comes() -> None:
    """The first record of a queue claims nothing, and takes back nothing that was claimed before it came."""
    desk = Desk()
    desk.follow()
    desk.follow(channel=TRADES)
    for _ in range(5):
        desk.bring()
    assert desk.claimed() == 5
    desk.trades(2)
    assert desk.claimed() == 5
    while desk.read():
        pass
    assert desk.claimed() == 7


def test_a_closed_box_says_nothing_newer() -> None:
    """What waits to be told when nothing more can come is told as of then, whatever comes to others."""
    desk = Desk()
    entry = desk.follow()
    desk.bring()
    desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
    desk.box.notice(entry)
    desk.box.seal()
    for _ in range(3):
        desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
    status = desk.status()
    assert (status.sequence, status.refused) == (2, {"crossed": 1})
    assert desk.read() == ["quote AAPL 1 live"]
    assert desk.box.is_empty


def test_a_closed_box_waits_for_nothing() -> None:
    """When nothing more can come, the rest is handed out without regard to the interval."""
    desk = Desk(interval=3600.0)
    desk.follow()
    desk.bring()
    desk.read()
    desk.bring()
    assert not desk.has_mail()
    desk.box.seal()
    assert desk.has_mail()
    assert desk.box.mail_due == 0.0


def test_a_first_status_does_not_put_off_the_snapshot() -> None:
    """The interval is counted from updates: what comes behind the first word on a symbol does not wait."""
    desk = Desk(interval=3600.0)
    desk.follow()
    desk.bring()
    assert desk.has_mail()


def test_states_that_come_with_records_keep_the_distance() -> None:
    """A flood of refused quotes is told once an interval, with their count."""
    desk = Desk(interval=2.0)
    entry = desk.follow()
    for expected in (1, 3):
        for _ in range(expected):
            desk.book.refuse(RecordKind.QUOTE, "AAPL", CROSSED)
            desk.book.turn(entry, SymbolState.INVALID)
            desk.box.notice(entry)
        assert desk.has_mail()
        assert desk.box.take_statuses(desk.clock.monotonic())[0].refused == {"crossed": expected}
        desk.box.notice(entry)
        assert not desk.has_mail()
        desk.clock.advance(2.0)
        desk.box.take_statuses(0.0)


def test_an_urgent_word_does_not_put_off_what_is_due() -> None:
    """Statuses in between do not move the moment at which the next update may come."""
    desk = Desk(interval=2.0)
    desk.follow()
    desk.bring()
    desk.read()
    desk.bring()
    due = desk.box.mail_due
    desk.clock.advance(1.5)
    desk.box.restate()
    assert desk.has_mail()
    desk.box.take_statuses(desk.clock.monotonic())
    assert (desk.has_mail(), desk.box.mail_due) == (False, due)


def test_a_snapshot_does_not_count_what_was_delivered() -> None:
    """One that bears the number of a record that was delivered supersedes nothing."""
    desk = Desk()
    entry = desk.follow()
    update = desk.bring()
    desk.read()
    again = Update(update.kind, update.value, 1, 1, 1, UpdateKind.SNAPSHOT)
    desk.box.unread[entry] = again
    assert desk.read() == ["quote AAPL 1 snapshot"]
