"""Which symbols of one feed somebody follows, counted, and what of them is wanted from the upstream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from ..book import Book, Entry, Update
from ..market.live import CONFLATED, Channel, Gap, LiveValue
from ..observe.counters import FeedCounts
from ..ports import Clock, LiveFeed
from .box import Box

EVERYTHING: Final = "*"
"""Follows whatever symbol the feed brings."""


class InterestPolicy(Struct, frozen=True):
    """What an operator may turn about what is wanted."""

    symbol_limit: int | None
    """Symbols on all `counted` channels together that the plan allows; None is no limit."""

    linger: float
    """Seconds that a symbol is kept after its last follower has left: he may be about to come back."""

    counted: frozenset[Channel] = frozenset({Channel.QUOTES, Channel.TRADES})
    """Channels on which a plan limits the number of symbols."""


class Topic:
    """One symbol on one channel, and those who follow it."""

    __slots__ = ("asked", "boxes", "conflates", "entry", "gap", "left_at", "shown", "snapshot")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.conflates = entry.channel in CONFLATED
        """Whether its newest record supersedes those before it."""

        self.boxes: dict[Box, dict[Entry, Update]] = {}
        """Who follows it, and their unread mail, which is written to with each record that supersedes others."""

        self.asked = False
        """Whether the feed was asked for it by name. What follows everything brings others."""

        self.snapshot: Update | None = None
        """What the last one who came was sent first, to be encoded once for a crowd."""

        self.shown: dict[Box, LiveValue] = {}
        """What those who came before its first record were sent: it may be all that the upstream knows as well."""

        self.gap: Gap | None = None
        """What is being missed."""

        self.left_at: float | None = None
        """When the last follower left, seconds of the monotonic clock."""

    def let_in(self, box: Box) -> None:
        """Let *box* follow."""
        if box not in self.boxes:
            box.follow(self.entry)
            self.boxes[box] = box.unread

    def let_out(self, box: Box) -> None:
        """Put nothing more into *box*; what lies in it stays."""
        self.boxes.pop(box, None)
        self.shown.pop(box, None)


class Interest:
    """Counts followers, and tells the feed what is wanted.

    A symbol that nobody follows any more lingers for a while. Under a plan's limit it makes room at once for one that
    somebody wants now.
    """

    def __init__(
        self, book: Book, policy: InterestPolicy, counts: FeedCounts, clock: Clock
    ) -> None:
        """Want nothing yet."""
        self._book = book
        self._policy = policy
        self._counts = counts
        self._clock = clock
        self._feed: LiveFeed | None = None
        # In the order of the contract: a set has another one in each process.
        self._counted_channels = [channel for channel in Channel if channel in policy.counted]
        self._topics: dict[Channel, dict[str, Topic]] = {channel: {} for channel in Channel}
        self._counted: dict[str, int] = {}
        self._lingering: dict[Topic, None] = {}
        self._news: dict[Channel, list[str]] = defaultdict(list)
        counts.symbol_limit = policy.symbol_limit

    def feed_by(self, feed: LiveFeed) -> None:
        """Want symbols from *feed* from now on."""
        self._feed = feed

    @property
    def limit(self) -> int | None:
        """Symbols that the plan allows on the channels that it counts; None is no limit."""
        return self._policy.symbol_limit

    @property
    def counted(self) -> Sequence[Channel]:
        """Channels on which the plan limits the number of symbols."""
        return self._counted_channels

    def on(self, channel: Channel) -> Mapping[str, Topic]:
        """Return the topics of *channel* by symbol."""
        return self._topics[channel]

    def __iter__(self) -> Iterator[Topic]:
        for topics in self._topics.values():
            yield from topics.values()

    def busiest(self) -> str | None:
        """Return the symbol whose followed quotes have changed most often; None when no quotes are followed."""
        quotes = [topic.entry for topic in self._topics[Channel.QUOTES].values() if topic.boxes]
        named = [entry for entry in quotes if entry.symbol != EVERYTHING]
        return max(named, key=lambda entry: entry.sequence).symbol if named else None

    # ------------------------------------------------------------------------------- come and leave

    def add(self, box: Box, channel: Channel, symbol: str) -> Topic | None:
        """Let *box* follow *symbol*; None when the plan allows no more. `want` tells the feed of all that is new."""
        topic = self._topics[channel].get(symbol)
        if topic is None or not topic.asked:
            if not self._admit(channel, symbol):
                return None
            topic = topic or self._begin(channel, symbol)
            topic.asked = True
            self._news[channel].append(symbol)
        for each in self._topics[channel].values() if symbol == EVERYTHING else (topic,):
            self._let_in(box, each)
        return topic

    def want(self) -> None:
        """Tell the feed what is new since this was last called."""
        news, self._news = self._news, defaultdict(list)
        if self._feed is not None:
            for channel, symbols in news.items():
                self._feed.follow(channel, symbols)

    def discover(self, channel: Channel, symbol: str) -> Topic | None:
        """Return the topic of a *symbol* that nobody has named, for those who follow everything; None without any."""
        everything = self._topics[channel].get(EVERYTHING)
        if everything is None or not everything.boxes:
            return None
        return self._begin(channel, symbol)

    def remove(self, box: Box, channel: Channel, symbol: str) -> list[Entry]:
        """Put no more of *symbol* into *box*, and return what that ends; what lies in it stays."""
        topics = self._topics[channel]
        ended = {symbol}
        if symbol == EVERYTHING:
            ended |= topics.keys() - box.symbols
        followed = [
            topics[each] for each in sorted(ended) if each in topics and box in topics[each].boxes
        ]
        for topic in followed:
            self._let_out(box, topic)
        return [topic.entry for topic in followed]

    def detach(self, box: Box) -> None:
        """Put nothing more into *box*; what lies in it stays."""
        for entry in box.followed:
            topic = self._topics[entry.channel].get(entry.symbol)
            if topic is not None:
                self._let_out(box, topic)

    def drop(self, topic: Topic) -> None:
        """Want *topic* no longer."""
        entry = topic.entry
        self._lingering.pop(topic, None)
        if self._topics[entry.channel].pop(entry.symbol, None) is None:
            return
        if topic.asked:
            self._discount(entry)
        self._book.close(entry)
        self._count_wanted(entry.channel)

    def end_lingering(self) -> list[Topic]:
        """Drop what nobody has come back to, tell the feed, and return it."""
        before = self._clock.monotonic() - self._policy.linger
        ended = []
        for topic in self._lingering:
            if topic.left_at is not None and topic.left_at > before:
                # Those behind it left later.
                break
            ended.append(topic)
        self._unwant(ended)
        return ended

    # ------------------------------------------------------------------------------------- the rest

    def _begin(self, channel: Channel, symbol: str) -> Topic:
        topic = self._topics[channel][symbol] = Topic(self._book.open(channel, symbol))
        self._count_wanted(channel)
        everything = self._topics[channel].get(EVERYTHING, topic)
        for box in everything.boxes:
            topic.let_in(box)
        return topic

    def _let_in(self, box: Box, topic: Topic) -> None:
        topic.left_at = None
        self._lingering.pop(topic, None)
        topic.let_in(box)

    def _let_out(self, box: Box, topic: Topic) -> None:
        topic.let_out(box)
        if not topic.boxes and topic not in self._lingering:
            topic.left_at = self._clock.monotonic()
            self._lingering[topic] = None

    def _admit(self, channel: Channel, symbol: str) -> bool:
        if channel not in self._policy.counted:
            return True
        limit = self.limit
        if limit is not None and symbol not in self._counted and len(self._counted) >= limit:
            self._make_room()
            if len(self._counted) >= limit:
                return False
        self._counted[symbol] = self._counted.get(symbol, 0) + 1
        self._counts.symbols = len(self._counted)
        return True

    def _make_room(self) -> None:
        # Who left first makes room first, and somebody who wants to come now goes before one who may come back.
        for topic in self._lingering:
            symbol = topic.entry.symbol
            topics = [self._topics[channel].get(symbol) for channel in self._counted_channels]
            counted = [topic for topic in topics if topic is not None]
            if counted and all(topic in self._lingering for topic in counted):
                self._unwant(counted)
                return

    def _unwant(self, topics: Iterable[Topic]) -> None:
        ended: dict[Channel, list[str]] = defaultdict(list)
        for topic in topics:
            if topic.asked:
                ended[topic.entry.channel].append(topic.entry.symbol)
            self.drop(topic)
        if self._feed is not None:
            for channel, symbols in ended.items():
                self._feed.unfollow(channel, symbols)

    def _discount(self, entry: Entry) -> None:
        if entry.channel not in self._policy.counted:
            return
        left = self._counted[entry.symbol] - 1
        if left:
            self._counted[entry.symbol] = left
        else:
            del self._counted[entry.symbol]
        self._counts.symbols = len(self._counted)

    def _count_wanted(self, channel: Channel) -> None:
        self._counts.wanted[channel.value] = len(self._topics[channel])
