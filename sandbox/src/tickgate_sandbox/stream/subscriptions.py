"""What one connection has subscribed to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from ..channels import TYPES, WITH_TRADES, Pair
from .feeds import Feed
from .refusals import INVALID_SYNTAX, NO_STAR, NO_SUCH_CHANNEL, SYMBOL_LIMIT, StreamRefusal

STAR: Final = "*"
"""Every symbol."""

_OTHER_STREAMS = frozenset({"orderbooks", "news"})
"""Channels that Alpaca has, though not on these streams."""

Lists = Mapping[str, Collection[str]]
"""Symbols by channel, as a request names them."""


def read_lists(named: Mapping[Any, Any], feed: Feed) -> Lists:
    """Return what a request for *feed* names by channel; empty lists are left out.

    Raises:
        StreamRefusal: the request is refused as a whole.
    """
    for channel in named:
        _check_channel(channel, feed)
    lists = {channel: _symbols(value, feed) for channel, value in named.items()}
    # Other clients of Alpaca send the lists that they do not use along with the others.
    lists = {channel: symbols for channel, symbols in lists.items() if symbols}
    if not lists:
        raise StreamRefusal(INVALID_SYNTAX)
    return lists


def _check_channel(channel: Any, feed: Feed) -> None:
    if channel in feed.channels:
        return
    known = channel in TYPES or channel in _OTHER_STREAMS
    raise StreamRefusal(NO_SUCH_CHANNEL if known else INVALID_SYNTAX)


def _symbols(value: Any, feed: Feed) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(_is_acceptable(one, feed) for one in value):
        raise StreamRefusal(INVALID_SYNTAX)
    return list(dict.fromkeys(value))


def _is_acceptable(symbol: Any, feed: Feed) -> bool:
    return isinstance(symbol, str) and (symbol == STAR or feed.is_symbol(symbol))


class Subscriptions:
    """Symbols by channel; changes add to what there is and take from it."""

    def __init__(self, feed: Feed, limit: int | None) -> None:
        """Start with none.

        Args:
            feed: Where they are made.
            limit: How many symbols the limited channels may have; None sets no limit.
        """
        self._feed = feed
        self._limit = limit
        self._symbols: dict[str, set[str]] = {channel: set() for channel in feed.channels}

    def check(self, lists: Lists) -> None:
        """Refuse to subscribe to *lists* when that would be too many symbols.

        Raises:
            StreamRefusal: it would, or `*` is among them where it may not be.
        """
        if any(STAR in lists.get(channel, ()) for channel in self._feed.starless):
            raise StreamRefusal(NO_STAR)
        if self._limit is None:
            return
        limited = set[str]().union(
            *(
                self._symbols[channel].union(lists.get(channel, ()))
                for channel in self._feed.limited
            )
        )
        if STAR in limited or len(limited) > self._limit:
            raise StreamRefusal(SYMBOL_LIMIT)

    def add(self, lists: Lists) -> None:
        """Subscribe to *lists* as well."""
        for channel, symbols in lists.items():
            self._symbols[channel].update(symbols)

    def remove(self, lists: Lists) -> None:
        """Unsubscribe from *lists*; what was not subscribed to makes no difference."""
        for channel, symbols in lists.items():
            self._symbols[channel].difference_update(symbols)

    def wants(self, channel: str, symbol: str) -> bool:
        """Return whether records of *symbol* on *channel* are sent."""
        symbols = self._symbols.get("trades" if channel in WITH_TRADES else channel, ())
        return symbol in symbols or STAR in symbols

    def state(self) -> dict[str, list[str]]:
        """Return everything subscribed to, as it is acknowledged."""
        state = {channel: sorted(symbols) for channel, symbols in self._symbols.items()}
        if not state.get("imbalances"):
            # Left out rather than empty in the answers that are known.
            state.pop("imbalances", None)
        return state | dict.fromkeys(self._feed.with_trades, state["trades"])

    def pairs(self) -> frozenset[Pair]:
        """Return the channels and symbols subscribed to, `*` being one of the symbols."""
        return frozenset(
            (channel, symbol) for channel, symbols in self._symbols.items() for symbol in symbols
        )

    def resolved(self, offered: frozenset[str]) -> frozenset[Pair]:
        """Return the channels and symbols subscribed to, *offered* in the place of `*`."""
        return frozenset(
            (channel, symbol)
            for channel, symbols in self._symbols.items()
            for symbol in (symbols - {STAR} | offered if STAR in symbols else symbols)
        )
