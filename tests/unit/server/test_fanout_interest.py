"""Interest: one wish of the feed for each symbol, however many follow it, and what a plan's limit lets in."""

from __future__ import annotations

import pytest

from tickgate_server.fanout.box import Box
from tickgate_server.market.live import Channel, SymbolState
from tickgate_server.market.unavailable import Reason

from ...support.fakes import HandClock
from ...support.fanout import BARS, QUOTES, TRADES, LiveFeeds, crossed

LIVE, PENDING, REJECTED = SymbolState.LIVE, SymbolState.PENDING, SymbolState.REJECTED


class Setup(LiveFeeds):
    """A feed that notes each request."""

    def __init__(self, symbol_limit: int | None = None) -> None:
        self.hand = HandClock()
        super().__init__(self.hand, symbol_limit=symbol_limit, linger=15.0)

    @property
    def wanted(self) -> set[str]:
        """Symbols whose quotes the feed is asked for."""
        return self.feed.wanted[QUOTES]

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and the hub look after it."""
        self.hand.advance(seconds)
        await self.hub.tick()

    def rejected(self, box: Box) -> list[tuple[str, str]]:
        """Read everything, and return what is rejected and why."""
        return [
            (status.symbol, status.why.reason.name)
            for status in self.statuses(box)
            if status.state is REJECTED and status.why is not None
        ]


# --------------------------------------------------------------------------------------- counting


async def test_a_crowd_costs_one_subscription() -> None:
    """However many follow a symbol, the feed is asked for it once, and let go of it once, after the last has left."""
    setup = Setup()
    boxes = [setup.box("AAPL") for _ in range(500)]
    assert setup.feed.requests == [("follow", QUOTES, ("AAPL",))]
    for box in boxes[:-1]:
        setup.hub.leave(box, ["AAPL"])
    await setup.pass_time(60)
    assert setup.wanted == {"AAPL"}
    setup.hub.leave(boxes[-1], ["AAPL"])
    await setup.pass_time(14.9)
    assert setup.wanted == {"AAPL"}
    await setup.pass_time(0.1)
    assert setup.feed.requests[1:] == [("unfollow", QUOTES, ("AAPL",))]


async def test_who_comes_back_in_time_costs_nothing() -> None:
    """A follower who returns while his symbol lingers finds it live, and the feed hears nothing of it."""
    setup = Setup()
    box = setup.box("AAPL")
    setup.confirm()
    setup.hub.detach(box)
    await setup.pass_time(14)
    again = setup.box("AAPL")
    assert setup.states(again) == [LIVE]
    await setup.pass_time(60)
    assert setup.feed.requests == [("follow", QUOTES, ("AAPL",))]


async def test_what_is_new_is_asked_for_together() -> None:
    """All new symbols of a request are asked for at once, channel by channel, and those that are there are not."""
    setup = Setup()
    setup.box("AAPL")
    setup.box("AAPL", "IBM", "MSFT", channels=[QUOTES, TRADES])
    assert sorted(setup.feed.requests[1:]) == [
        ("follow", QUOTES, ("IBM", "MSFT")),
        ("follow", TRADES, ("AAPL", "IBM", "MSFT")),
    ]


async def test_a_symbol_that_is_followed_twice_counts_once() -> None:
    """Adding a symbol again does not make one more follower of it: leaving once is leaving."""
    setup = Setup()
    box = setup.box("AAPL")
    setup.hub.join(box, ["AAPL"])
    setup.confirm()
    setup.take(box)
    setup.quote()
    assert len(setup.pieces(box)) == 1
    setup.hub.leave(box, ["AAPL"])
    await setup.pass_time(15)
    assert setup.wanted == set()


async def test_leaving_twice_is_leaving_once() -> None:
    """A stream that is closed and then gone leaves its symbols once, and they linger from the first time."""
    setup = Setup()
    box = setup.box("AAPL")
    setup.hub.detach(box)
    await setup.pass_time(10)
    setup.hub.detach(box)
    await setup.pass_time(5)
    assert setup.wanted == set()


async def test_each_lingers_from_when_it_was_left() -> None:
    """Symbols are let go of in the order in which they were left, each after its own time."""
    setup = Setup()
    box = setup.box("AAPL", "IBM")
    setup.hub.leave(box, ["IBM"])
    await setup.pass_time(10)
    setup.hub.leave(box, ["AAPL"])
    await setup.pass_time(5)
    assert setup.wanted == {"AAPL"}
    await setup.pass_time(10)
    assert setup.wanted == set()


async def test_numbers_outlive_the_last_follower() -> None:
    """After a symbol was let go of and is followed again its numbers go on, and the first status says from where."""
    setup = Setup()
    box = setup.box("AAPL")
    setup.confirm()
    setup.quote()
    setup.hub.detach(box)
    await setup.pass_time(15)
    setup.quote()
    again = setup.box("AAPL")
    setup.confirm()
    setup.quote()
    statuses, pieces = setup.take(again)
    assert [status.sequence for status in statuses] == [1]
    assert [piece.sequence for piece in pieces] == [2]


async def test_what_is_wanted_is_counted() -> None:
    """Counters tell how many symbols are asked for on each channel, and on quotes and trades together."""
    setup = Setup(symbol_limit=30)
    box = setup.box("AAPL", "IBM", channels=[QUOTES, TRADES, BARS])
    assert setup.counts.wanted == {"quotes": 2, "trades": 2, "bars": 2}
    assert (setup.counts.symbols, setup.counts.symbol_limit) == (2, 30)
    setup.hub.leave(box, ["IBM"])
    await setup.pass_time(15)
    assert setup.counts.wanted == {"quotes": 1, "trades": 1, "bars": 1}
    assert setup.counts.symbols == 1


def test_the_busiest_symbol_is_known() -> None:
    """The watchdog asks about the followed symbol whose quotes have moved most."""
    setup = Setup()
    assert setup.interest.busiest() is None
    gone = setup.box("MSFT")
    box = setup.box("AAPL", "IBM", "*")
    setup.confirm()
    for symbol, count in (("AAPL", 2), ("IBM", 3), ("MSFT", 9)):
        for _ in range(count):
            setup.quote(symbol)
    assert setup.interest.busiest() == "MSFT"
    setup.hub.leave(box, ["*"])
    setup.hub.detach(gone)
    assert setup.interest.busiest() == "IBM"


# -------------------------------------------------------------------------------------- plan limit


def test_beyond_the_plan_symbols_are_rejected() -> None:
    """What the plan does not allow is REJECTED, with the limit as the reason, and not asked for; others are."""
    setup = Setup(symbol_limit=2)
    box = setup.box("AAPL", "IBM", "MSFT")
    assert setup.rejected(box) == [("MSFT", Reason.SUBSCRIPTION_LIMIT.name)]
    assert setup.wanted == {"AAPL", "IBM"}


def test_a_symbol_counts_once_for_quotes_and_trades() -> None:
    """The limit is on symbols of quotes and trades together; other channels are not counted."""
    setup = Setup(symbol_limit=1)
    box = setup.box("AAPL", channels=[QUOTES, TRADES])
    assert setup.rejected(box) == []
    bars = setup.box("IBM", "MSFT", channels=[BARS])
    assert setup.rejected(bars) == []
    other = setup.box("IBM", channels=[TRADES, BARS])
    assert setup.rejected(other) == [("IBM", "SUBSCRIPTION_LIMIT")]
    assert setup.feed.wanted[BARS] == {"IBM", "MSFT"}


def test_who_has_left_makes_room_at_once() -> None:
    """At the limit a symbol that only lingers goes for one that somebody wants now, the first that was left first."""
    setup = Setup(symbol_limit=2)
    box = setup.box("AAPL", "IBM")
    setup.hub.leave(box, ["IBM"])
    setup.hand.advance(1)
    setup.hub.leave(box, ["AAPL"])
    late = setup.box("MSFT")
    assert setup.rejected(late) == []
    assert setup.wanted == {"AAPL", "MSFT"}
    assert setup.feed.requests[-2:] == [
        ("unfollow", QUOTES, ("IBM",)),
        ("follow", QUOTES, ("MSFT",)),
    ]


def test_no_room_is_made_while_one_channel_is_followed() -> None:
    """A symbol whose trades somebody still follows takes its place for quotes too."""
    setup = Setup(symbol_limit=1)
    quotes = setup.box("AAPL")
    setup.box("AAPL", channels=[TRADES])
    setup.hub.leave(quotes, ["AAPL"])
    assert setup.rejected(setup.box("IBM")) == [("IBM", "SUBSCRIPTION_LIMIT")]
    assert setup.wanted == {"AAPL"}


def test_a_rejected_symbol_takes_no_place() -> None:
    """What the upstream refuses makes room for others, and may be asked for again."""
    setup = Setup(symbol_limit=1)
    box = setup.box("AAPL", channels=[QUOTES, TRADES])
    setup.hub.rejected(QUOTES, ["AAPL"], crossed())
    assert setup.rejected(setup.box("IBM")) == [("IBM", "SUBSCRIPTION_LIMIT")]
    setup.hub.rejected(TRADES, ["AAPL"], crossed())
    assert setup.rejected(setup.box("IBM")) == []
    setup.hub.join(box, ["AAPL"])
    assert setup.rejected(box)[-1] == ("AAPL", "SUBSCRIPTION_LIMIT")


def test_what_was_rejected_may_be_added_again() -> None:
    """A symbol that found no place is followed when it is added again after somebody has left."""
    setup = Setup(symbol_limit=1)
    first, second = setup.box("AAPL"), setup.box("IBM")
    assert setup.rejected(second) == [("IBM", "SUBSCRIPTION_LIMIT")]
    setup.hub.detach(first)
    setup.hub.join(second, ["IBM"])
    assert setup.states(second) == [PENDING]


# ------------------------------------------------------------------------------------- everything


def everything(setup: Setup, *others: str) -> Box:
    """Follow "*", which the upstream confirms."""
    box = setup.box("*", *others)
    setup.confirm()
    setup.take(box)
    return box


def test_everything_brings_what_nobody_has_named() -> None:
    """Who follows "*" gets every symbol that comes, first its status, from where it counts, then its record."""
    setup = Setup()
    box = everything(setup)
    assert setup.wanted == {"*"}
    setup.quote("AAPL", "1")
    statuses, pieces = setup.take(box)
    assert [(status.symbol, status.state, status.sequence) for status in statuses] == [
        ("AAPL", LIVE, 0)
    ]
    assert [(piece.symbol, piece.sequence) for piece in pieces] == [("AAPL", 1)]
    assert setup.wanted == {"*"}


def test_a_refused_record_is_discovered_too() -> None:
    """The first record of a symbol may be no value: it gets its number, and the follower hears why."""
    setup = Setup()
    box = everything(setup)
    setup.refuse("AAPL")
    invalid = SymbolState.INVALID
    told = [(status.state, status.sequence, status.refused) for status in setup.statuses(box)]
    assert told == [(invalid, 0, {}), (invalid, 1, {"crossed": 1})]


def test_who_follows_everything_hears_of_what_is_there() -> None:
    """Symbols that were followed before are told to him as he comes, each from where it counts."""
    setup = Setup()
    setup.box("AAPL")
    setup.confirm()
    setup.quote("AAPL")
    box = setup.box("*")
    told = {status.symbol: (status.state, status.sequence) for status in setup.statuses(box)}
    assert told == {"AAPL": (LIVE, 1), "*": (PENDING, 0)}
    setup.quote("AAPL")
    assert [piece.sequence for piece in setup.pieces(box)] == [2]


def test_who_follows_everything_follows_what_others_name_later() -> None:
    """A symbol that somebody names afterwards is everybody's who follows everything."""
    setup = Setup()
    box = everything(setup)
    setup.box("AAPL")
    assert setup.states(box) == [PENDING]
    setup.confirm("AAPL")
    setup.quote("AAPL")
    assert len(setup.pieces(box)) == 1


def test_what_somebody_names_is_asked_for_by_name() -> None:
    """A symbol that "*" has brought and that somebody names stays when nobody follows everything any more."""
    setup = Setup()
    box = everything(setup)
    setup.quote("AAPL")
    named = setup.box("AAPL")
    assert setup.wanted == {"*", "AAPL"}
    assert setup.counts.symbols == 2
    setup.hub.leave(box, ["*"])
    setup.take(named)
    setup.quote("AAPL")
    assert len(setup.pieces(named)) == 1


async def test_what_nobody_named_goes_with_everything() -> None:
    """When the last who follows everything has left, symbols that nobody named go without a word to the feed."""
    setup = Setup()
    box = everything(setup)
    setup.quote("AAPL")
    setup.hub.detach(box)
    setup.quote("IBM")
    await setup.pass_time(15)
    assert setup.feed.requests[1:] == [("unfollow", QUOTES, ("*",))]
    assert list(setup.interest) == []
    assert setup.counts.symbols == 0


def test_each_symbol_of_everything_ends_with_it() -> None:
    """Who leaves "*" hears of every symbol that ends; those that he named go on."""
    setup = Setup()
    box = everything(setup, "IBM")
    for symbol in ("AAPL", "IBM"):
        setup.quote(symbol)
    setup.take(box)
    setup.hub.leave(box, ["*"])
    statuses = setup.statuses(box)
    assert {status.symbol for status in statuses} == {"*", "AAPL"}
    assert {status.state for status in statuses} == {SymbolState.REMOVED}
    setup.quote("AAPL")
    setup.quote("IBM")
    assert [piece.symbol for piece in setup.pieces(box)] == ["IBM"]


def test_a_plan_may_not_have_everything() -> None:
    """When the upstream refuses "*", each of its symbols is REJECTED for the same reason."""
    setup = Setup()
    box = setup.box("*")
    setup.quote("AAPL")
    setup.take(box)
    setup.hub.rejected(QUOTES, ["*"], crossed())
    assert sorted(status.symbol for status in setup.statuses(box)) == ["*", "AAPL"]
    assert not box.followed


async def test_counts_stay_right_where_everything_and_names_meet() -> None:
    """A symbol that is named on one channel and discovered on another is counted for its name alone."""
    setup = Setup(symbol_limit=10)
    named = setup.box("AAPL", channels=[TRADES])
    box = everything(setup)
    setup.quote("AAPL")
    assert setup.counts.symbols == 2
    setup.hub.detach(box)
    await setup.pass_time(15)
    assert setup.counts.symbols == 1
    setup.hub.detach(named)
    await setup.pass_time(15)
    assert setup.counts.symbols == 0


@pytest.mark.parametrize("channel", [QUOTES, TRADES])
def test_without_followers_nothing_is_discovered(channel: Channel) -> None:
    """A record of a symbol that nobody follows is nobody's, and gets no number."""
    setup = Setup()
    setup.box("IBM", channels=[channel])
    setup.confirm(channel=channel)
    before = setup.book.position
    setup.quote("AAPL")
    setup.trade("AAPL")
    setup.refuse("AAPL")
    assert setup.book.position == before
