"""What is wanted of a feed: one wish for any number of followers, taken back a while after the last has left."""

from __future__ import annotations

import pytest

from tickgate_server.fanout.box import Box
from tickgate_server.fanout.interest import EVERYTHING
from tickgate_server.market.live import Channel, RecordKind, SymbolState
from tickgate_server.market.unavailable import Reason

from ...support.fakes import unavailable
from ...support.fanning import Desk, in_steered_time, terms

QUOTES, TRADES, BARS = Channel.QUOTES, Channel.TRADES, Channel.BARS
LINGER = 15.0
BOTH = terms(QUOTES, TRADES)


def rejected(desk: Desk, box: Box) -> list[str]:
    """The symbols that a follower was told the plan does not allow."""
    return [
        status.symbol
        for status in desk.statuses(box)
        if status.why is not None and status.why.reason is Reason.SUBSCRIPTION_LIMIT
    ]


# ------------------------------------------------------------------------------ one wish for all


@in_steered_time
async def test_a_crowd_is_one_wish() -> None:
    """Five hundred followers of a symbol are one follow, and one unfollow when the last has been gone for a while."""
    desk = Desk(linger=LINGER)
    crowd = [desk.follow("AAPL") for _ in range(500)]
    assert desk.feed.take_said() == [("follow", QUOTES, ("AAPL",))]
    for box in crowd[:-1]:
        desk.hub.leave(box, ["AAPL"])
    await desk.tick(3600)
    assert desk.feed.take_said() == []
    desk.hub.leave(crowd[-1], ["AAPL"])
    await desk.tick(LINGER - 0.1)
    assert desk.feed.take_said() == []
    await desk.tick(0.2)
    assert desk.feed.take_said() == [("unfollow", QUOTES, ("AAPL",))]
    assert list(desk.interest) == []
    await desk.tick(3600)
    assert desk.feed.take_said() == []


@in_steered_time
async def test_what_is_new_is_told_together() -> None:
    """The symbols of one subscription are one wish a channel, in the order in which they were named."""
    desk = Desk()
    desk.follow("MSFT", "AAPL", of=BOTH)
    desk.follow("AAPL", "IBM", of=BOTH)
    assert desk.feed.take_said() == [
        ("follow", QUOTES, ("MSFT", "AAPL")),
        ("follow", TRADES, ("MSFT", "AAPL")),
        ("follow", QUOTES, ("IBM",)),
        ("follow", TRADES, ("IBM",)),
    ]


@in_steered_time
async def test_one_follower_counts_once() -> None:
    """Who adds a symbol that he follows already has to leave it only once, and gets each record once."""
    desk = Desk()
    box = desk.live("AAPL", of=terms(TRADES))
    desk.hub.join(box, ["AAPL"])
    desk.brings("AAPL", kind=RecordKind.TRADE)
    assert desk.read(box) == ["trade AAPL 1 live"]
    desk.hub.leave(box, ["AAPL"])
    assert not desk.topic(channel=TRADES).boxes


@in_steered_time
async def test_who_comes_back_in_time_finds_everything_as_it_was() -> None:
    """A symbol that lingers is live for the next one who comes, and nothing is said to the feed."""
    desk = Desk(linger=LINGER)
    desk.hub.leave(desk.live("AAPL"), ["AAPL"])
    desk.feed.take_said()
    await desk.tick(LINGER / 2)
    desk.brings("AAPL")
    box = desk.follow("AAPL")
    assert desk.told(box) == ["AAPL LIVE"]
    await desk.tick(3600)
    assert desk.feed.take_said() == []
    assert desk.topic().entry.sequence == 1


@in_steered_time
async def test_each_lingers_for_as_long_as_itself_was_left() -> None:
    """Symbols go in the order in which they were left; one that was left again begins anew."""
    desk = Desk(linger=LINGER)
    first, second = desk.follow("AAPL"), desk.follow("IBM")
    desk.hub.leave(first, ["AAPL"])
    await desk.tick(5)
    desk.hub.leave(second, ["IBM"])
    await desk.tick(5)
    desk.hub.leave(desk.follow("AAPL"), ["AAPL"])
    desk.feed.take_said()
    await desk.tick(10.5)
    assert desk.feed.take_said() == [("unfollow", QUOTES, ("IBM",))]
    await desk.tick(5)
    assert desk.feed.take_said() == [("unfollow", QUOTES, ("AAPL",))]


@in_steered_time
async def test_a_stream_that_ends_leaves_all_its_symbols() -> None:
    """Who is detached counts no more, and what lies unread in his box stays there."""
    desk = Desk(linger=LINGER)
    box = desk.live("AAPL", "IBM", of=BOTH)
    desk.brings("AAPL")
    desk.hub.detach(box)
    desk.hub.detach(box)
    desk.brings("AAPL", "IBM")
    assert desk.read(box) == ["quote AAPL 1 live"]
    desk.feed.take_said()
    await desk.tick(LINGER + 1)
    assert desk.feed.take_said() == [
        ("unfollow", QUOTES, ("AAPL", "IBM")),
        ("unfollow", TRADES, ("AAPL", "IBM")),
    ]


@in_steered_time
async def test_leaving_what_was_never_followed_is_no_harm() -> None:
    """A symbol that nobody, or only another, follows can be left."""
    desk = Desk()
    box, other = desk.follow("AAPL"), desk.live("IBM")
    desk.hub.leave(box, ["IBM", "ZZZZ"])
    assert desk.told(box) == ["IBM REMOVED", "ZZZZ REMOVED", "AAPL PENDING"]
    desk.brings("IBM")
    assert desk.read(other) == ["quote IBM 1 live"]


@in_steered_time
async def test_what_the_feed_rejected_is_not_unfollowed() -> None:
    """The feed has dropped by itself what it rejects; whoever wants it again asks it again."""
    desk = Desk()
    desk.follow("ZZZZ")
    desk.hub.rejected(QUOTES, ["ZZZZ", "NEVER"], unavailable(Reason.SYMBOL_UNKNOWN))
    await desk.tick(3600)
    desk.follow("ZZZZ")
    assert desk.feed.take_said() == [("follow", QUOTES, ("ZZZZ",))] * 2


# --------------------------------------------------------------------------------- the plan's limit


@in_steered_time
async def test_a_plan_allows_so_many_symbols() -> None:
    """Beyond the plan's limit a symbol is REJECTED with SUBSCRIPTION_LIMIT, and the feed never hears of it."""
    desk = Desk(symbol_limit=2)
    box = desk.follow("AAPL", "IBM", "MSFT")
    assert desk.feed.take_said() == [("follow", QUOTES, ("AAPL", "IBM"))]
    assert rejected(desk, box) == ["MSFT"]
    assert (desk.counts.symbols, desk.counts.symbol_limit) == (2, 2)


@in_steered_time
async def test_quotes_and_trades_of_a_symbol_count_once() -> None:
    """The limit is of symbols on quotes and trades together; other channels have none."""
    desk = Desk(symbol_limit=1)
    assert rejected(desk, desk.follow("AAPL", of=BOTH)) == []
    assert rejected(desk, desk.follow("IBM", "MSFT", of=terms(BARS))) == []
    assert rejected(desk, desk.follow("IBM", of=terms(TRADES))) == ["IBM"]
    assert desk.counts.symbols == 1


@in_steered_time
async def test_only_channels_that_a_plan_counts_are_limited() -> None:
    """Where a plan counts quotes alone, trades of any number of symbols are followed, and make no room when they go."""
    desk = Desk(symbol_limit=1, counted=[QUOTES])
    assert rejected(desk, desk.follow("A", "B", "C", of=terms(TRADES))) == []
    assert desk.counts.symbols == 0
    box = desk.follow("A", "B", of=BOTH)
    assert rejected(desk, box) == ["B"]
    assert desk.counts.symbols == 1
    desk.hub.leave(box, ["A"])
    desk.feed.take_said()
    assert rejected(desk, desk.follow("B")) == []
    assert desk.feed.take_said() == [("unfollow", QUOTES, ("A",)), ("follow", QUOTES, ("B",))]


@in_steered_time
async def test_what_somebody_follows_is_never_evicted() -> None:
    """At the limit a follower of a symbol that is followed comes in, and a new symbol throws nobody out."""
    desk = Desk(symbol_limit=1)
    first = desk.live("AAPL")
    assert rejected(desk, desk.follow("AAPL")) == []
    assert rejected(desk, desk.follow("IBM")) == ["IBM"]
    desk.brings("AAPL")
    assert desk.read(first) == ["quote AAPL 1 live"]


@in_steered_time
async def test_who_has_left_makes_room_at_once() -> None:
    """At the limit the symbol that was left first goes, on all its channels, for one that is wanted now."""
    desk = Desk(symbol_limit=2)
    for symbol in ("AAPL", "IBM"):
        desk.hub.leave(desk.follow(symbol, of=BOTH), [symbol])
    desk.feed.take_said()
    box = desk.follow("MSFT")
    assert desk.feed.take_said() == [
        ("unfollow", QUOTES, ("AAPL",)),
        ("unfollow", TRADES, ("AAPL",)),
        ("follow", QUOTES, ("MSFT",)),
    ]
    assert rejected(desk, box) == []
    assert list(desk.interest.on(QUOTES)) == ["IBM", "MSFT"]
    assert desk.counts.symbols == 2


@in_steered_time
async def test_a_symbol_that_is_left_on_one_channel_makes_no_room() -> None:
    """While somebody follows its trades a symbol counts, though nobody follows its quotes any more."""
    desk = Desk(symbol_limit=1)
    quotes, _ = desk.follow("AAPL"), desk.follow("AAPL", of=terms(TRADES))
    desk.hub.leave(quotes, ["AAPL"])
    assert rejected(desk, desk.follow("IBM")) == ["IBM"]
    await desk.tick(3600)
    assert desk.counts.symbols == 1


@in_steered_time
async def test_what_the_feed_rejected_makes_room() -> None:
    """A symbol that cannot be had does not count."""
    desk = Desk(symbol_limit=1)
    desk.follow("ZZZZ", of=BOTH)
    for channel in (QUOTES, TRADES):
        desk.hub.rejected(channel, ["ZZZZ"], unavailable(Reason.SYMBOL_UNKNOWN))
    assert desk.counts.symbols == 0
    assert rejected(desk, desk.follow("AAPL", of=BOTH)) == []


@in_steered_time
async def test_room_made_for_one_of_several_is_told_in_order() -> None:
    """Two symbols in one subscription evict two that linger, and only what fits is wanted."""
    desk = Desk(symbol_limit=2)
    desk.hub.leave(desk.follow("AAPL", "IBM"), ["AAPL", "IBM"])
    desk.feed.take_said()
    box = desk.follow("MSFT", "TSLA", "NVDA")
    assert rejected(desk, box) == ["NVDA"]
    assert desk.feed.take_said() == [
        ("unfollow", QUOTES, ("AAPL",)),
        ("unfollow", QUOTES, ("IBM",)),
        ("follow", QUOTES, ("MSFT", "TSLA")),
    ]


# -------------------------------------------------------------------------------------- everything


@in_steered_time
async def test_everything_is_one_symbol_to_the_feed() -> None:
    """Who follows "*" gets whatever comes, and of the feed only "*" is wanted."""
    desk = Desk()
    box = desk.live(EVERYTHING)
    desk.brings("AAPL", "IBM", "AAPL")
    assert sorted(desk.read(box)) == ["quote AAPL 2 live +1", "quote IBM 1 live"]
    assert set(desk.told(box)) == {"AAPL LIVE", "IBM LIVE"}
    assert desk.feed.take_said() == [("follow", QUOTES, (EVERYTHING,))]


@in_steered_time
async def test_everything_includes_what_others_named() -> None:
    """Who follows "*" gets what others have named, before him and after."""
    desk = Desk()
    desk.live("AAPL")
    box = desk.live(EVERYTHING)
    desk.live("IBM")
    desk.brings("AAPL", "IBM")
    assert desk.read(box) == ["quote AAPL 1 live", "quote IBM 1 live"]


@in_steered_time
async def test_who_leaves_everything_keeps_what_he_named() -> None:
    """Without "*" he follows only what he has named himself, and with neither nothing."""
    desk = Desk()
    box = desk.live(EVERYTHING, "AAPL")
    desk.brings("AAPL", "IBM")
    desk.read(box)
    desk.hub.leave(box, [EVERYTHING])
    desk.brings("AAPL", "IBM")
    assert desk.read(box) == ["quote AAPL 2 live"]
    desk.hub.leave(box, ["AAPL"])
    desk.brings("AAPL")
    assert desk.read(box) == []
    assert not box.followed


@in_steered_time
async def test_what_everything_brought_goes_with_it() -> None:
    """When the last who followed "*" has been gone for a while, what he alone followed is held no more."""
    desk = Desk(linger=LINGER)
    box = desk.live(EVERYTHING)
    desk.brings("AAPL", "IBM")
    desk.hub.leave(box, [EVERYTHING])
    await desk.tick(LINGER + 1)
    assert list(desk.interest) == []
    desk.brings("AAPL")
    assert desk.book.entry(QUOTES, "AAPL") is not None
    assert list(desk.interest) == []


# ------------------------------------------------------------------------------------- what is told


@in_steered_time
async def test_what_is_wanted_is_counted_by_channel() -> None:
    """The status of a feed says how many symbols of each channel are wanted."""
    desk = Desk(linger=LINGER)
    box = desk.follow("AAPL", "IBM", of=BOTH)
    assert desk.counts.wanted == {"quotes": 2, "trades": 2}
    desk.hub.leave(box, ["AAPL"])
    await desk.tick(LINGER + 1)
    assert desk.counts.wanted == {"quotes": 1, "trades": 1}


@in_steered_time
async def test_the_busiest_symbol_is_known() -> None:
    """Of the quotes that somebody follows by name or through "*", the one that moved most often is the busiest."""
    desk = Desk()
    assert desk.interest.busiest() is None
    desk.live("AAPL", of=terms(TRADES))
    assert desk.interest.busiest() is None
    box = desk.live(EVERYTHING, "AAPL", "IBM")
    desk.brings("IBM", times=2)
    desk.brings("AAPL", times=3)
    assert desk.interest.busiest() == "AAPL"
    desk.hub.leave(box, [EVERYTHING, "AAPL"])
    assert desk.interest.busiest() == "IBM"


@pytest.mark.parametrize("channel", list(Channel))
@in_steered_time
async def test_every_channel_can_be_followed(channel: Channel) -> None:
    """A symbol on any channel is pending until the upstream has confirmed it."""
    desk = Desk()
    box = desk.follow("AAPL", of=terms(channel))
    assert desk.feed.take_said() == [("follow", channel, ("AAPL",))]
    assert desk.told(box) == ["AAPL PENDING"]
    desk.hub.confirmed(channel, ["AAPL"])
    assert desk.told(box) == ["AAPL LIVE"]


@in_steered_time
async def test_who_follows_everything_hears_of_what_is_there() -> None:
    """Symbols that were followed before are told to him as he comes, each with the number behind which he counts."""
    desk = Desk()
    desk.live("AAPL")
    desk.brings("AAPL", times=2)
    box = desk.follow(EVERYTHING)
    told = {status.symbol: (status.state, status.sequence) for status in desk.statuses(box)}
    assert told == {"AAPL": (SymbolState.LIVE, 2), EVERYTHING: (SymbolState.PENDING, 0)}
    desk.brings("AAPL")
    assert desk.read(box) == ["quote AAPL 3 live"]


@in_steered_time
async def test_what_everything_brought_is_asked_for_when_somebody_names_it() -> None:
    """A symbol that came through "*" and is named is wanted by its name, counted, and stays when "*" has gone."""
    desk = Desk(linger=1.0)
    box = desk.live(EVERYTHING)
    desk.brings("AAPL")
    named = desk.follow("AAPL")
    assert desk.feed.take_said()[-1] == ("follow", QUOTES, ("AAPL",))
    assert desk.counts.symbols == 2
    desk.hub.leave(box, [EVERYTHING])
    await desk.tick(2.0)
    assert desk.feed.take_said() == [("unfollow", QUOTES, (EVERYTHING,))]
    desk.brings("AAPL")
    assert desk.read(named) == ["quote AAPL 2 live"]


@in_steered_time
async def test_what_nobody_named_goes_without_a_word() -> None:
    """What came through "*" leaves nothing when that has gone, also what came while it lingered."""
    desk = Desk(linger=1.0)
    box = desk.live(EVERYTHING)
    desk.brings("AAPL")
    desk.feed.take_said()
    desk.hub.detach(box)
    desk.brings("IBM")
    await desk.tick(2.0)
    assert desk.feed.take_said() == [("unfollow", QUOTES, (EVERYTHING,))]
    assert (list(desk.interest), desk.counts.symbols) == ([], 0)


@in_steered_time
async def test_every_symbol_of_everything_ends_with_it() -> None:
    """Who leaves "*" hears REMOVED of each symbol that ends; what he has named besides goes on."""
    desk = Desk()
    box = desk.live(EVERYTHING, "IBM")
    desk.brings("AAPL", "IBM")
    desk.read(box)
    desk.told(box)
    desk.hub.leave(box, [EVERYTHING])
    assert sorted(desk.told(box)) == [f"{EVERYTHING} REMOVED", "AAPL REMOVED"]
    desk.brings("AAPL", "IBM")
    assert desk.read(box) == ["quote IBM 2 live"]


@in_steered_time
async def test_a_name_on_one_channel_is_counted_beside_everything_on_another() -> None:
    """What "*" brings on quotes takes nothing from the count of who named the symbol for its trades."""
    desk = Desk(linger=1.0)
    named = desk.live("AAPL", of=terms(TRADES))
    box = desk.live(EVERYTHING)
    desk.brings("AAPL")
    counted = [desk.counts.symbols]
    for gone in (box, named):
        desk.hub.detach(gone)
        await desk.tick(2.0)
        counted.append(desk.counts.symbols)
    assert counted == [2, 1, 0]
