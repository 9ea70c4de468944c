"""Resume tokens: they say where reading stopped, belong to one subscription, and are refused when they are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.fanout import tokens
from tickgate_server.market.live import Channel
from tickgate_server.market.provenance import Feed

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES


def prefix(
    *symbols: str, feed: Feed = Feed.IEX, epoch: str = "e1", channel: Channel = QUOTES
) -> str:
    """What the tokens of a subscription begin with."""
    return tokens.prefix(feed, epoch, (channel,), symbols)


@given(st.sampled_from(Feed), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_token_says_what_was_put_into_it(feed: Feed, position: int, time: int) -> None:
    """Feed, position and time come back as they were, and so does the subscription."""
    own = prefix("AAPL", "IBM", feed=feed, epoch="0a1b2c")
    token = tokens.decode(tokens.encode(own, position, time))
    assert (token.feed, token.epoch) == (feed.value, "0a1b2c")
    assert (token.position, token.time) == (position, time)
    assert token.prefix == own


def test_the_order_of_channels_and_symbols_does_not_matter() -> None:
    """A subscription is the same however its channels and symbols were listed."""
    one = tokens.prefix(Feed.IEX, "e1", (QUOTES, TRADES), ("AAPL", "IBM"))
    other = tokens.prefix(Feed.IEX, "e1", (TRADES, QUOTES), ("IBM", "AAPL"))
    assert one == other


@pytest.mark.parametrize(
    "other",
    [
        prefix("AAPL"),
        prefix("AAPL", "IBM", "MSFT"),
        prefix("AAPLIBM"),
        prefix("AAPL", "IBM", feed=Feed.SIP),
        prefix("AAPL", "IBM", epoch="e2"),
        prefix("AAPL", "IBM", channel=TRADES),
        prefix(),
    ],
)
def test_another_subscription_has_other_tokens(other: str) -> None:
    """Whatever differs, symbols, channels, feed or epoch, makes another subscription."""
    assert tokens.decode(tokens.encode(other, 7, 8)).prefix != prefix("AAPL", "IBM")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "1",
        tokens.encode(prefix("AAPL"), 5, 6) + ".7",
        tokens.encode(prefix("AAPL"), 5, 6) + "\n",
        tokens.encode(prefix("AAPL"), 5, 6).upper(),
        "2" + tokens.encode(prefix("AAPL"), 5, 6)[1:],
        "1.iex.e1.0123456789abcdef.-1.0",
        "1.iex.e1.0123456789abcdef.1ffffffffffffffff.0",
        "1.iex.e1.0123456789abcde.1.0",
        f"1.iex.{'e' * 65}.0123456789abcdef.1.0",
        f"1.{'x' * 33}.e1.0123456789abcdef.1.0",
        "1.iex.e1.0123456789abcdef.\N{ARABIC-INDIC DIGIT ONE}.0",
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """Anything else is refused in words for the follower, and never taken for a place to resume at."""
    with pytest.raises(ValueError, match="not a resume token of this gateway"):
        tokens.decode(text)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever a follower sends is a token or is refused."""
    try:
        token = tokens.decode(text)
    except ValueError:
        return
    assert tokens.decode(tokens.encode(token.prefix, token.position, token.time)) == token
