"""Resume tokens: opaque text that belongs to one subscription of one session, and what is none is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.fanout import tokens
from tickgate_server.market.live import Channel
from tickgate_server.market.provenance import Feed

from ...support.fakes import NOW
from ...support.fanning import EPOCH

MOST = 2**64 - 1
PREFIX = tokens.prefix(Feed.IEX, EPOCH, [Channel.QUOTES, Channel.TRADES], ["AAPL", "IBM"])
GOOD = tokens.encode(PREFIX, 77, NOW)


@given(st.integers(0, MOST), st.integers(0, MOST), st.sampled_from(Feed))
def test_what_is_written_is_read(position: int, time: int, feed: Feed) -> None:
    """A token says the position and the time that it was made with, and belongs to whom it was made for."""
    prefix = tokens.prefix(feed, EPOCH, [Channel.BARS], ["AAPL"])
    token = tokens.decode(tokens.encode(prefix, position, time))
    assert (token.position, token.time) == (position, time)
    assert (token.feed, token.epoch) == (feed.value, EPOCH)
    assert tokens.belongs(token, prefix)


@pytest.mark.parametrize(
    "other",
    [
        tokens.prefix(Feed.SIP, EPOCH, [Channel.QUOTES, Channel.TRADES], ["AAPL", "IBM"]),
        tokens.prefix(Feed.IEX, "0ther", [Channel.QUOTES, Channel.TRADES], ["AAPL", "IBM"]),
        tokens.prefix(Feed.IEX, EPOCH, [Channel.QUOTES], ["AAPL", "IBM"]),
        tokens.prefix(Feed.IEX, EPOCH, [Channel.QUOTES, Channel.BARS], ["AAPL", "IBM"]),
        tokens.prefix(Feed.IEX, EPOCH, [Channel.QUOTES, Channel.TRADES], ["AAPL"]),
        tokens.prefix(Feed.IEX, EPOCH, [Channel.QUOTES, Channel.TRADES], ["AAPL", "IBM", "MSFT"]),
        tokens.prefix(Feed.IEX, EPOCH, [Channel.QUOTES, Channel.TRADES], ["AAPLIBM"]),
        tokens.prefix(Feed.IEX, EPOCH, [Channel.QUOTES, Channel.TRADES], []),
    ],
    ids="feed epoch fewer-channels channel fewer-symbols more-symbols joined none".split(),
)
def test_a_token_is_of_one_subscription(other: str) -> None:
    """Another feed, session, set of channels or of symbols is another subscription."""
    assert not tokens.belongs(tokens.decode(GOOD), other)


def test_the_order_of_the_asking_does_not_matter() -> None:
    """The same channels and symbols in another order are the same subscription."""
    other = tokens.prefix(Feed.IEX, EPOCH, [Channel.TRADES, Channel.QUOTES], ["IBM", "AAPL"])
    assert other == PREFIX


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nonsense",
        PREFIX,
        GOOD + ".0",
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("1.", "2.", 1),
        GOOD.replace("1.", "", 1),
        GOOD.replace("1.", "\u0661.", 1),
        PREFIX + "." + "f" * 17 + ".0",
        PREFIX + ".0." + "f" * 17,
        PREFIX + ".-1.0",
        PREFIX + ".0x1.0",
        PREFIX + "..",
        GOOD[1:],
        "1" * 10_000,
        GOOD.replace(EPOCH, "e" * 65),
        GOOD.replace("iex", "x" * 33),
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """Anything but a token of this gateway's version raises, in words for the follower."""
    with pytest.raises(ValueError, match="not a resume token of this gateway"):
        tokens.decode(text)


@given(st.text(max_size=100))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    """Whatever a follower sends is read or refused."""
    with suppress(ValueError):
        tokens.decode(text)


def test_a_token_is_short() -> None:
    """It stands in every message: less than a hundred bytes, whatever is followed."""
    prefix = tokens.prefix(Feed.DELAYED_SIP, EPOCH, Channel, [f"S{n}" for n in range(10_000)])
    assert len(tokens.encode(prefix, MOST, MOST)) < 100
    assert tokens.encode(prefix, 0, 0).isascii()
