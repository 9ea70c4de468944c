"""What clients have done on the stream, and what they were sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..channels import Pair
from .subscriptions import Lists


@dataclass(slots=True)
class StreamCounters:
    """Since the start or the last `clear`; what is subscribed to now is never cleared."""

    connections: int = 0
    """Handshakes that succeeded."""
    authentications: int = 0
    """Connections that got hold of their feed."""
    messages: int = 0
    """Messages that clients have sent, pings not among them."""
    refusals: Counter[int] = field(default_factory=Counter)
    """Errors sent, by their code."""
    subscribes: Counter[Pair] = field(default_factory=Counter)
    """By channel and symbol, the requests that were granted; `*` counts as a symbol."""
    unsubscribes: Counter[Pair] = field(default_factory=Counter)
    """By channel and symbol, in the same way; losing a connection counts nothing."""
    records: Counter[Pair] = field(default_factory=Counter)
    """Records sent, by channel and symbol, once for each client. Frames that a test made
    itself are not looked into."""
    frames: int = 0
    """Frames of records sent, and frames that a test made itself."""
    _subscribed: dict[str, Counter[Pair]] = field(default_factory=dict)

    def requested(self, counter: Counter[Pair], lists: Lists) -> None:
        """Count a granted request for *lists* in *counter*, one of the two above."""
        counter.update((channel, symbol) for channel in lists for symbol in lists[channel])

    def sent(self, pairs: Iterable[Pair]) -> None:
        """Count a frame with a record of each of *pairs*."""
        self.frames += 1
        self.records.update(pairs)

    def now_subscribed(self, feed: str, was: Collection[Pair], now: Collection[Pair]) -> None:
        """Note that a connection to *feed* has *now* subscriptions and not those it *was* at."""
        held = self._subscribed.setdefault(feed, Counter())
        held.subtract(was)
        held.update(now)
        self._subscribed[feed] = +held

    def subscribed(self, feed: str) -> frozenset[Pair]:
        """Return the channels and symbols that some connection to *feed* has subscribed to."""
        return frozenset(self._subscribed.get(feed, ()))

    def clear(self) -> None:
        """Start again from zero."""
        self.connections = self.authentications = self.messages = self.frames = 0
        for counter in (self.refusals, self.subscribes, self.unsubscribes, self.records):
            counter.clear()

    def as_json(self) -> dict[str, Any]:
        """Return the counts as the control endpoint shows them."""
        return {
            "connections": self.connections,
            "authentications": self.authentications,
            "messages": self.messages,
            "refusals": {str(code): count for code, count in self.refusals.items()},
            "subscribes": by_channel(self.subscribes),
            "unsubscribes": by_channel(self.unsubscribes),
            "subscribed": {
                feed: _symbols_by_channel(held) for feed, held in self._subscribed.items() if held
            },
            "records": by_channel(self.records),
            "frames": self.frames,
        }


def by_channel(counts: Mapping[Pair, int]) -> dict[str, dict[str, int]]:
    """Return *counts* by channel, and there by symbol."""
    table: dict[str, dict[str, int]] = {}
    for (channel, symbol), count in counts.items():
        table.setdefault(channel, {})[symbol] = count
    return table


def _symbols_by_channel(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for channel, symbol in sorted(pairs):
        table.setdefault(channel, []).append(symbol)
    return table
