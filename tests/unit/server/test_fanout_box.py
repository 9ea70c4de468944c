"""A box: what one subscription has not read yet, in order, bounded, and with every record accounted for."""

from __future__ import annotations

from typing import Any

import pytest

from tickgate_server.fanout import tokens
from tickgate_server.fanout.box import MOST_STATUSES, MOST_UPDATES, Box, Status
from tickgate_server.market.live import Channel, LossCause, RecordKind, SymbolState

from ...support.fakes import HandClock
from ...support.fanout import QUOTES, TRADES, LiveFeeds, Piece, crossed, read

LIVE, INVALID, GAP, REJECTED, REMOVED = (
    SymbolState.LIVE,
    SymbolState.INVALID,
    SymbolState.GAP,
    SymbolState.REJECTED,
    SymbolState.REMOVED,
)


class Setup(LiveFeeds):
    """A feed on which everything is confirmed as it is followed."""

    def __init__(self) -> None:
        self.hand = HandClock()
        super().__init__(self.hand)

    def following(self, *symbols: str, **asked: Any) -> Box:
        """Follow *symbols*, and read what is said of them at first."""
        box = self.box(*(symbols or ("AAPL",)), **asked)
        for channel in box.terms.channels:
            self.confirm(channel=channel)
        self.take(box)
        return box

    def status(self, box: Box) -> Status:
        """Read the one status that there is."""
        (status,) = self.take(box)[0]
        return status


def brief(pieces: list[Piece]) -> list[tuple[str, str, int]]:
    """Symbol, price and conflated of each."""
    return [(piece.symbol, piece.price, piece.conflated) for piece in pieces]


# ------------------------------------------------------------------------------------- conflation


def test_the_newest_quote_wins() -> None:
    """Of several quotes a reader gets the newest, and how many it supersedes."""
    setup = Setup()
    box = setup.following()
    for bid in ("1", "2", "3"):
        setup.quote(bid=bid)
    assert brief(setup.pieces(box)) == [("AAPL", "3", 2)]
    setup.quote(bid="4")
    assert brief(setup.pieces(box)) == [("AAPL", "4", 0)]
    assert setup.pieces(box) == []


def test_the_oldest_symbol_comes_first() -> None:
    """Symbols come in the order in which they became unread, so a busy one cannot starve a quiet one."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    setup.quote("AAPL", "1")
    setup.quote("IBM", "2")
    for bid in ("3", "4", "5"):
        setup.quote("AAPL", bid)
    assert brief(setup.pieces(box)) == [("AAPL", "5", 3), ("IBM", "2", 0)]


def test_daily_bars_are_conflated_too() -> None:
    """The day so far supersedes the day so far."""
    setup = Setup()
    box = setup.following(channels=[Channel.DAILY_BARS])
    for _ in range(3):
        setup.bar(kind=RecordKind.DAILY_BAR)
    assert [(piece.sequence, piece.conflated) for piece in setup.pieces(box)] == [(3, 2)]


def test_followers_are_counted_for_apart() -> None:
    """Who reads at once gets every quote, who reads late the newest; each is told what he was not delivered."""
    setup = Setup()
    quick, slow = setup.following(), setup.following()
    delivered = []
    for bid in ("1", "2", "3"):
        setup.quote(bid=bid)
        delivered += brief(setup.pieces(quick))
    assert delivered == [("AAPL", "1", 0), ("AAPL", "2", 0), ("AAPL", "3", 0)]
    assert brief(setup.pieces(slow)) == [("AAPL", "3", 2)]


def test_refused_records_are_not_conflated() -> None:
    """A refused record is told by its rule, not counted among those that a quote supersedes."""
    setup = Setup()
    box = setup.following()
    setup.quote(bid="1")
    setup.refuse()
    setup.refuse(rule="future")
    setup.quote(bid="2")
    statuses, pieces = setup.take(box)
    assert [(status.state, status.refused) for status in statuses] == [
        (LIVE, {"crossed": 1, "future": 1})
    ]
    assert brief(pieces) == [("AAPL", "2", 1)]
    assert pieces[0].sequence == 4


def test_a_quote_is_encoded_once_for_all_and_not_at_all_when_superseded() -> None:
    """All readers share the bytes of a record, and what nobody is sent is never encoded."""
    setup = Setup()
    boxes = [setup.following() for _ in range(3)]
    for bid in ("1", "2", "3"):
        setup.quote(bid=bid)
    for box in boxes:
        setup.pieces(box)
    assert setup.encode.encoded == {("AAPL", 3): 1}


# ------------------------------------------------------------------------------------------ queues


def test_trades_come_in_order_and_none_is_left_out() -> None:
    """Queued records come one and all, oldest first across symbols."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[TRADES])
    for number in range(3):
        setup.trade("AAPL", f"1{number}")
        setup.trade("IBM", f"2{number}")
    assert brief(setup.pieces(box)) == [
        (symbol, f"{price}{number}", 0)
        for number in range(3)
        for symbol, price in (("AAPL", 1), ("IBM", 2))
    ]


def test_who_overruns_his_queue_is_told_the_exact_range() -> None:
    """When the queue is full the oldest make room, and the follower is told their numbers, count and times."""
    setup = Setup()
    box = setup.following(channels=[TRADES], queue=3)
    sent = []
    for _ in range(5):
        sent.append(setup.trade())
        setup.hand.advance(1)
    statuses, pieces = setup.take(box)
    assert [piece.sequence for piece in pieces] == [3, 4, 5]
    (loss,) = statuses[0].losses
    assert (loss.cause, loss.first_sequence, loss.last_sequence, loss.count) == (
        LossCause.SLOW_FOLLOWER, 1, 2, 2,
    )  # fmt: skip
    assert (loss.start, loss.end) == (sent[0].event_time, sent[1].event_time)
    assert box.lost == 2


def test_each_symbol_has_its_own_losses() -> None:
    """The queue is of the subscription, the losses are of its symbols, and who lost nothing is told nothing."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", "MSFT", channels=[TRADES], queue=3)
    for symbol in ("AAPL", "IBM", "IBM", "MSFT", "AAPL", "AAPL"):
        setup.trade(symbol)
    statuses, pieces = setup.take(box)
    ranges = {
        status.symbol: [(loss.first_sequence, loss.last_sequence) for loss in status.losses]
        for status in statuses
    }
    assert ranges == {"AAPL": [(1, 1)], "IBM": [(1, 2)]}
    assert [(piece.symbol, piece.sequence) for piece in pieces] == [
        ("MSFT", 1), ("AAPL", 2), ("AAPL", 3),
    ]  # fmt: skip


def test_a_lost_range_counts_what_was_valid_in_it() -> None:
    """Refused records inside a lost range are told as refusals, not counted as lost."""
    setup = Setup()
    box = setup.following(channels=[TRADES], queue=1)
    setup.trade()
    setup.refuse(kind=RecordKind.TRADE)
    setup.trade()
    setup.trade()
    statuses, pieces = setup.take(box)
    (loss,) = statuses[-1].losses
    assert (loss.first_sequence, loss.last_sequence, loss.count) == (1, 3, 2)
    assert statuses[-1].refused == {"crossed": 1}
    assert [piece.sequence for piece in pieces] == [4]


def test_a_loss_is_told_before_what_came_behind_it() -> None:
    """Whoever lost records and reads on hears of the loss first, and of each loss once."""
    setup = Setup()
    box = setup.following(channels=[TRADES], queue=2)
    for _ in range(3):
        setup.trade()
    assert setup.status(box).losses
    for _ in range(3):
        setup.trade()
    (loss,) = setup.status(box).losses
    assert (loss.first_sequence, loss.last_sequence) == (4, 4)


def test_nothing_piles_up_for_who_never_reads() -> None:
    """However much comes, a box holds a quote of each symbol, a full queue and one notice for each symbol."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[QUOTES, TRADES], queue=5)
    for number in range(2000):
        setup.quote("AAPL", str(number + 1))
        setup.trade("IBM")
        setup.refuse("IBM", rule=f"rule{number % 3}")
        if number % 100 == 0:
            setup.lose()
            setup.confirm()
            setup.confirm(channel=TRADES)
    assert len(box.unread) == 1
    assert len(box._queue) == 5
    assert len(box._notices) == 4
    assert len(box._losses) == 1
    statuses, pieces = setup.take(box)
    assert len(statuses) == 4
    assert len(pieces) == 6


def test_many_gaps_are_told_as_fewer() -> None:
    """Who was not there for more gaps than a status tells apart hears that the oldest were one, from first to last."""
    setup = Setup()
    box = setup.following()
    starts = []
    for _ in range(150):
        starts.append(setup.clock.wall())
        setup.lose()
        setup.hand.advance(1)
        setup.confirm()
        setup.hand.advance(1)
    gaps = setup.status(box).gaps
    assert len(gaps) == 100
    assert (gaps[0].start, gaps[0].end) == (starts[0], starts[50] + 10**9)
    assert [gap.start for gap in gaps[1:]] == starts[51:]


# ---------------------------------------------------------------------------------------- messages


def test_a_message_is_bounded() -> None:
    """A message holds so many updates or statuses and no more; the rest comes in the next ones, in order."""
    setup = Setup()
    symbols = [f"S{number:04}" for number in range(MOST_UPDATES * 2 + 5)]
    box = setup.box(*symbols)
    setup.confirm()
    assert [len(box.take_statuses(0.0)) for _ in range(4)] == [MOST_STATUSES, MOST_STATUSES, 5, 0]
    for symbol in symbols:
        setup.quote(symbol)
    messages = [read(box.take_updates(setup.encode, 0.0)[0]) for _ in range(3)]
    assert [len(message) for message in messages] == [MOST_UPDATES, MOST_UPDATES, 5]
    assert [piece.symbol for message in messages for piece in message] == symbols


def test_a_backlog_of_trades_does_not_let_quotes_grow_old() -> None:
    """Where both wait, at least half of a message is for quotes."""
    setup = Setup()
    symbols = [f"S{number}" for number in range(MOST_UPDATES)]
    box = setup.following(*symbols, channels=[QUOTES, TRADES])
    for symbol in symbols:
        for _ in range(3):
            setup.trade(symbol)
        setup.quote(symbol)
    kinds = [piece.kind for piece in read(box.take_updates(setup.encode, 0.0)[0])]
    assert kinds.count("quote") == kinds.count("trade") == MOST_UPDATES // 2


def test_a_full_message_of_trades_when_no_quote_waits() -> None:
    """The half that no quote needs is for trades."""
    setup = Setup()
    box = setup.following(channels=[QUOTES, TRADES])
    for _ in range(MOST_UPDATES + 1):
        setup.trade()
    setup.quote()
    kinds = [piece.kind for piece in read(box.take_updates(setup.encode, 0.0)[0])]
    assert (kinds.count("quote"), kinds.count("trade")) == (1, MOST_UPDATES - 1)


# ---------------------------------------------------------------------------------------- statuses


def test_the_first_status_says_where_counting_starts() -> None:
    """Records between following and the first status count already, and a second one accounts for them."""
    setup = Setup()
    setup.following()
    for bid in ("1", "2"):
        setup.quote(bid=bid)
    box = setup.box("AAPL")
    for bid in ("3", "4"):
        setup.quote(bid=bid)
    setup.refuse()
    statuses, pieces = setup.take(box)
    assert [(status.state, status.sequence, status.refused) for status in statuses] == [
        (INVALID, 2, {}),
        (INVALID, 5, {"crossed": 1}),
    ]
    assert [(piece.sequence, piece.conflated) for piece in pieces] == [(4, 1)]


def test_later_statuses_say_the_newest_number() -> None:
    """Every other status names the newest record, valid or not, when it was said."""
    setup = Setup()
    box = setup.following()
    setup.quote()
    setup.refuse()
    assert setup.status(box).sequence == 2
    box.restate()
    assert setup.status(box).sequence == 2


def test_refusals_are_told_once() -> None:
    """Each status counts what was refused since the one before, for each follower apart."""
    setup = Setup()
    box = setup.following()
    setup.refuse()
    setup.refuse(rule="future")
    assert setup.status(box).refused == {"crossed": 1, "future": 1}
    setup.refuse()
    assert setup.status(box).refused == {"crossed": 1}
    box.restate()
    assert setup.status(box).refused == {}
    late = setup.following()
    setup.refuse()
    assert setup.status(late).refused == {"crossed": 1}


def test_a_restatement_tells_of_everything() -> None:
    """When asked, a box says how each symbol and channel stands, and does not wait for its interval with that."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[QUOTES, TRADES], interval=3600.0)
    box.due = setup.clock.monotonic() + 3600
    box.restate()
    assert box.has_mail(setup.clock.monotonic())
    told = {(status.symbol, status.channel, status.state) for status in setup.take(box)[0]}
    assert told == {
        (symbol, channel, LIVE) for symbol in ("AAPL", "IBM") for channel in (QUOTES, TRADES)
    }


def test_why_there_is_no_snapshot_is_told_as_long_as_it_is_true() -> None:
    """A reason for the lack of a snapshot travels with the status, but not once a value has come."""
    setup = Setup()
    box = setup.following()
    entry = next(iter(box.followed))
    box.notice(entry, why=crossed())
    assert setup.status(box).why == crossed()
    box.notice(entry, why=crossed())
    setup.quote()
    assert setup.status(box).why is None


def test_a_symbol_that_ends_takes_its_account_along() -> None:
    """The last status of a symbol still tells what was refused and lost, and its newest number."""
    setup = Setup()
    box = setup.following(channels=[TRADES], queue=1)
    setup.trade()
    setup.trade()
    setup.refuse(kind=RecordKind.TRADE)
    setup.hub.leave(box, ["AAPL"])
    statuses, pieces = setup.take(box)
    (status,) = statuses
    assert (status.state, status.sequence, status.refused) == (REMOVED, 3, {"crossed": 1})
    assert [(loss.first_sequence, loss.last_sequence) for loss in status.losses] == [(1, 1)]
    assert pieces == []


def test_an_end_is_told_although_the_symbol_has_come_back() -> None:
    """Who leaves a symbol and follows it again before reading hears first that it ended, then from where it counts."""
    setup = Setup()
    box = setup.following()
    setup.quote()
    setup.hub.leave(box, ["AAPL"])
    setup.quote()
    setup.hub.join(box, ["AAPL"])
    setup.quote()
    statuses, pieces = setup.take(box)
    assert [(status.state, status.sequence) for status in statuses] == [(REMOVED, 1), (LIVE, 2)]
    assert [(piece.sequence, piece.conflated) for piece in pieces] == [(3, 0)]


def test_what_was_queued_before_an_end_does_not_come_behind_it() -> None:
    """Records of a symbol that was left are not handed out, also when it is followed again; others stay in line."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[TRADES])
    setup.trade("AAPL")
    setup.trade("IBM")
    setup.hub.leave(box, ["AAPL"])
    setup.hub.join(box, ["AAPL"])
    setup.trade("AAPL")
    pieces = setup.pieces(box)
    assert [(piece.symbol, piece.sequence) for piece in pieces] == [("IBM", 1), ("AAPL", 2)]


# --------------------------------------------------------------------------------------- intervals


def test_updates_keep_their_distance() -> None:
    """After an update the next comes no sooner than the interval, and then it is the newest."""
    setup = Setup()
    box = setup.following(interval=2.0)
    setup.quote(bid="1")
    assert brief(setup.pieces(box)) == [("AAPL", "1", 0)]
    for bid in ("2", "3"):
        setup.hand.advance(0.9)
        setup.quote(bid=bid)
        assert setup.pieces(box) == []
    assert box.mail_due == setup.clock.monotonic() + 0.2
    setup.hand.advance(0.2)
    assert brief(setup.pieces(box)) == [("AAPL", "3", 1)]


def test_the_first_update_after_a_silence_does_not_wait() -> None:
    """Who has been given nothing for an interval gets the next quote at once."""
    setup = Setup()
    box = setup.following(interval=2.0)
    setup.quote(bid="1")
    setup.pieces(box)
    setup.hand.advance(60)
    setup.quote(bid="2")
    assert brief(setup.pieces(box)) == [("AAPL", "2", 0)]


def test_the_first_snapshot_does_not_wait_for_the_first_status() -> None:
    """Being told PENDING or LIVE does not put off the values behind it."""
    setup = Setup()
    box = setup.box("AAPL", interval=3600.0)
    setup.take(box)
    setup.confirm()
    setup.take(box)
    setup.quote(bid="1")
    assert brief(setup.pieces(box)) == [("AAPL", "1", 0)]


def test_what_is_queued_waits_too() -> None:
    """Trades wait for the interval and then come all together."""
    setup = Setup()
    box = setup.following(channels=[TRADES], interval=1.0)
    setup.trade()
    assert len(setup.pieces(box)) == 1
    for _ in range(5):
        setup.trade()
    assert setup.pieces(box) == []
    setup.hand.advance(1)
    assert len(setup.pieces(box)) == 5


def test_a_turn_is_what_was_there_when_it_began() -> None:
    """What needs several messages comes in one turn, and what arrives between them waits for the next one."""
    setup = Setup()
    symbols = [f"S{number:04}" for number in range(MOST_UPDATES + 1)]
    box = setup.following(*symbols, interval=5.0)
    for symbol in symbols:
        setup.quote(symbol, "1")
    now = setup.clock.monotonic()
    assert len(box.take_updates(setup.encode, now)[0]) == MOST_UPDATES
    setup.quote("S0000", "2")
    assert box.has_mail(now)
    assert brief(read(box.take_updates(setup.encode, now)[0])) == [(symbols[-1], "1", 0)]
    assert not box.has_mail(now + 4.9)
    assert box.has_mail(now + 5.0)


def test_states_that_alternate_with_records_keep_the_distance() -> None:
    """A flood of refused quotes is told once an interval, with their count."""
    setup = Setup()
    box = setup.following(interval=2.0)
    setup.refuse()
    assert setup.states(box) == [INVALID]
    for _ in range(3):
        setup.quote()
        setup.refuse()
    assert setup.statuses(box) == []
    setup.hand.advance(2)
    status = setup.status(box)
    assert (status.state, status.refused) == (INVALID, {"crossed": 3})


def test_states_of_the_connection_do_not_wait() -> None:
    """GAP and its end, REJECTED and REMOVED are told at once, the records behind them after the interval."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", interval=3600.0)
    setup.quote(bid="1")
    setup.take(box)
    setup.quote(bid="2")
    setup.lose()
    statuses, pieces = setup.take(box)
    assert [status.state for status in statuses] == [GAP, GAP]
    assert pieces == []
    setup.confirm()
    assert setup.states(box) == [LIVE, LIVE]
    setup.hub.rejected(QUOTES, ["IBM"], crossed())
    setup.hub.leave(box, ["MSFT"])
    assert setup.states(box) == [REJECTED, REMOVED]


def test_an_urgent_word_does_not_put_off_what_is_due() -> None:
    """Statuses in between do not move the moment at which the next update may come."""
    setup = Setup()
    box = setup.following(interval=2.0)
    setup.quote(bid="1")
    setup.take(box)
    setup.quote(bid="2")
    setup.hand.advance(1.5)
    box.restate()
    assert setup.states(box) == [LIVE]
    setup.hand.advance(0.5)
    assert brief(setup.pieces(box)) == [("AAPL", "2", 0)]


def test_nothing_waits_once_nothing_more_can_come() -> None:
    """A box that is sealed hands out the rest at once."""
    setup = Setup()
    box = setup.following(interval=3600.0)
    setup.quote(bid="1")
    setup.take(box)
    setup.quote(bid="2")
    setup.hub.detach(box)
    setup.quote(bid="3")
    assert box.mail_due == 0.0
    assert brief(setup.pieces(box)) == [("AAPL", "2", 0)]
    assert box.is_empty
    assert box.mail_due is None


# ------------------------------------------------------------------------------------------ tokens


def position(setup: Setup, box: Box) -> int:
    """Where the newest token resumes."""
    return tokens.decode(box.token(setup.clock.wall())).position


def records(setup: Setup, box: Box, since: int) -> int:
    """How many records behind *since* the newest token resumes."""
    return position(setup, box) - since


def test_a_token_is_of_its_subscription_and_moment() -> None:
    """Feed, epoch, channels and symbols stand in it, and the moment at which it was made."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    token = tokens.decode(box.token(setup.clock.wall()))
    assert (token.feed, token.epoch, token.time) == ("iex", "ep0c4", setup.clock.wall())
    assert (
        token.prefix
        == box.prefix
        == tokens.prefix(setup.book.feed, "ep0c4", [QUOTES], ["IBM", "AAPL"])
    )
    setup.hub.leave(box, ["IBM"])
    assert box.prefix == tokens.prefix(setup.book.feed, "ep0c4", [QUOTES], ["AAPL"])


def test_a_token_does_not_claim_what_lies_in_the_queue() -> None:
    """It resumes behind the last trade that was handed out, whatever has come since."""
    setup = Setup()
    box = setup.following(channels=[TRADES])
    start = position(setup, box)
    for _ in range(MOST_UPDATES + 2):
        setup.trade()
    assert records(setup, box, start) == 0
    box.take_updates(setup.encode, 0.0)
    assert records(setup, box, start) == MOST_UPDATES
    box.take_updates(setup.encode, 0.0)
    assert records(setup, box, start) == MOST_UPDATES + 2


def test_a_token_moves_on_with_the_feed() -> None:
    """Who has everything resumes at the newest position, although nothing of late was for him."""
    setup = Setup()
    setup.following("IBM", channels=[TRADES])
    box = setup.following(channels=[TRADES])
    start = position(setup, box)
    for _ in range(7):
        setup.trade("IBM")
    assert records(setup, box, start) == 7


def test_a_token_does_not_claim_losses_that_were_not_told() -> None:
    """Lost records are behind it until the status that tells of them is handed out."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[TRADES], queue=1)
    start = position(setup, box)
    setup.trade("IBM")
    setup.pieces(box)
    for _ in range(3):
        setup.trade("AAPL")
    assert records(setup, box, start) == 1
    assert len(box.take_statuses(0.0)) == 1
    assert records(setup, box, start) == 1
    box.take_updates(setup.encode, 0.0)
    assert records(setup, box, start) == 4


def test_a_token_does_not_claim_refusals_that_were_not_told() -> None:
    """A refused record is behind it until its status is handed out."""
    setup = Setup()
    box = setup.following(channels=[TRADES])
    start = position(setup, box)
    setup.trade()
    setup.pieces(box)
    setup.refuse(kind=RecordKind.TRADE)
    assert records(setup, box, start) == 1
    setup.take(box)
    assert records(setup, box, start) == 2


def test_a_token_does_not_claim_gaps_that_were_not_told() -> None:
    """A gap that is over ended after the token's time until its status is handed out."""
    setup = Setup()
    box = setup.following()
    setup.lose()
    setup.hand.advance(5)
    setup.confirm()
    end = setup.clock.wall()
    setup.hand.advance(5)
    assert tokens.decode(box.token(setup.clock.wall())).time < end
    setup.take(box)
    assert tokens.decode(box.token(setup.clock.wall())).time == setup.clock.wall()


def test_a_token_does_not_claim_what_was_never_put_in() -> None:
    """What came after the box was sealed is behind its last token."""
    setup = Setup()
    setup.following("IBM", channels=[TRADES])
    box = setup.following("IBM", channels=[TRADES])
    start = position(setup, box)
    setup.trade("IBM")
    setup.hub.detach(box)
    setup.trade("IBM")
    assert [piece.sequence for piece in setup.pieces(box)] == [1]
    assert records(setup, box, start) == 1
    setup.hub.detach(box)
    assert records(setup, box, start) == 1


def test_a_snapshot_lost_from_a_queue_is_no_loss() -> None:
    """A snapshot has no number of its own: when it makes room nothing is missing."""
    setup = Setup()
    setup.following(channels=[TRADES])
    value = setup.trade()
    box = setup.following(channels=[TRADES], queue=2)
    topic = setup.interest.on(TRADES)["AAPL"]
    setup.hub.give_snapshot(topic, box, value, RecordKind.TRADE)
    for _ in range(2):
        setup.trade()
    statuses, pieces = setup.take(box)
    assert statuses == []
    assert [(piece.sequence, piece.origin) for piece in pieces] == [(2, "LIVE"), (3, "LIVE")]
    assert box.lost == 0


def test_what_waits_to_be_told_is_told_as_of_the_end() -> None:
    """A status that lies in a box when it is sealed names no number that came later, nor a state."""
    setup = Setup()
    setup.following()
    box = setup.following()
    setup.quote()
    setup.refuse()
    setup.hub.detach(box)
    for _ in range(5):
        setup.quote()
    setup.refuse()
    statuses, pieces = setup.take(box)
    assert [(status.state, status.sequence, status.refused) for status in statuses] == [
        (INVALID, 2, {"crossed": 1})
    ]
    assert [piece.sequence for piece in pieces] == [1]
    assert box.is_empty


@pytest.mark.parametrize("read_first", [True, False])
def test_a_snapshot_bears_the_number_that_it_supersedes(read_first: bool) -> None:
    """A snapshot of a quote that lies unread takes its place and counts it; one that was read is not counted twice."""
    setup = Setup()
    box = setup.following()
    value = setup.quote(bid="1")
    if read_first:
        setup.pieces(box)
    setup.hub.give_snapshot(setup.interest.on(QUOTES)["AAPL"], box, value, RecordKind.QUOTE)
    (piece,) = setup.pieces(box)
    assert (piece.origin, piece.sequence, piece.conflated) == (
        "SNAPSHOT",
        1,
        0 if read_first else 1,
    )
    setup.quote(bid="2")
    setup.quote(bid="3")
    (piece,) = setup.pieces(box)
    assert (piece.origin, piece.sequence, piece.conflated) == ("LIVE", 3, 1)
