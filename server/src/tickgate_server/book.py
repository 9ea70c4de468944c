"""The latest real value of each symbol of a live feed, and the numbers of its records.

Numbers are given here and nowhere else: a record that the upstream sent gets the next one of its channel and symbol,
whether it is a value or was refused. What becomes of each number is the law of docs/streaming.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from .market.answer import Held
from .market.live import CHANNEL_OF, Channel, LiveValue, RecordKind, SymbolState, UpdateKind
from .market.provenance import Feed, Tier
from .market.quote import Quote
from .market.unavailable import Unavailable
from .ports import Clock, Key

NEVER: Final = sys.maxsize
"""Position that no record reaches."""

_AMENDMENTS: Final = frozenset({RecordKind.TRADE_CORRECTION, RecordKind.TRADE_CANCELLATION})
"""Kinds of records after which the newest trade is no longer what it was, and is not known."""

_CONFIRMED: Final = frozenset({SymbolState.LIVE, SymbolState.INVALID})


class Update(Struct, gc=False):
    """One record on its way to followers.

    What it is encoded as belongs to whoever sends it out: that is done once, for all of them, and kept here.
    """

    kind: RecordKind
    value: LiveValue
    sequence: int
    """Number among the records of its channel and symbol, valid or not."""

    ordinal: int
    """Number among the valid ones."""

    position: int
    """Where it stands among all records of the feed."""

    origin: UpdateKind = UpdateKind.LIVE
    tier: Tier = Tier.BOOK
    """Where it is served from: what did not come live was asked for, or remembered."""

    body: bytes | None = None
    """What all followers get alike."""

    piece: bytes | None = None
    """The same as it was last sent, which for most followers is how they get it as well."""

    conflated: int = 0
    """How many others `piece` says that it supersedes."""


class Entry:
    """One symbol on one channel."""

    # Written to with every record, which slots take three times as fast as a Struct.
    __slots__ = (
        "changed",
        "channel",
        "dropped",
        "held",
        "latest",
        "ordinal",
        "refused",
        "sequence",
        "since",
        "state",
        "symbol",
        "touched",
        "why",
    )

    def __init__(self, channel: Channel, symbol: str, now: int) -> None:
        self.channel = channel
        self.symbol = symbol
        self.sequence = 0
        """Number of the newest record."""

        self.ordinal = 0
        """Records so far that were valid."""

        self.refused: dict[str, int] = {}
        """Records so far that were not, by rule."""

        self.latest: Update | None = None
        """The newest record, if it was valid and nothing has been missed since."""

        self.state = SymbolState.PENDING
        self.changed = now
        """When it took on its state, nanoseconds of the wall clock."""

        self.touched = now
        """Since when it has been silent, nanoseconds of the wall clock: a record arrived, the upstream confirmed it, or
        trading in it began again."""

        self.since = NEVER
        """Position of the feed at which it began to be sent; NEVER before that."""

        self.dropped = 0
        """Position of its newest record that is no longer kept for followers who come back."""

        self.why: Unavailable | None = None
        """Why the newest record is no value; None when it is one."""

        self.held: Held[Any] | None = None

    @property
    def confirmed(self) -> bool:
        """Whether the upstream sends it, as far as is known."""
        return self.state in _CONFIRMED


class Book:
    """What a live feed has brought since this process began to hold it."""

    def __init__(self, feed: Feed, epoch: str, clock: Clock) -> None:
        """Begin to number the records of *feed*; *epoch* names this beginning."""
        self.feed = feed
        self.epoch = epoch
        self.position = 0
        """Records so far, of all channels and symbols, and times that one of these began: what came later stands at a
        higher one."""

        self._clock = clock
        self._entries: dict[Channel, dict[str, Entry]] = {channel: {} for channel in Channel}
        self._by_kind = {kind: self._entries[channel] for kind, channel in CHANNEL_OF.items()}
        self._news: dict[str, Entry] = {}

    def entry(self, channel: Channel, symbol: str) -> Entry | None:
        """Return what is known of *symbol* on *channel*."""
        return self._entries[channel].get(symbol)

    def open(self, channel: Channel, symbol: str) -> Entry:
        """Begin to take records of *symbol*, whose numbers go on where they were."""
        entry = self._entries[channel].get(symbol)
        if entry is None:
            entry = self._entries[channel][symbol] = Entry(channel, symbol, self._clock.wall())
        else:
            self.turn(entry, SymbolState.PENDING)
        return entry

    def close(self, entry: Entry) -> None:
        """Take no more records of *entry*: nobody follows it. Its numbers are kept, for they must not come again."""
        if entry.sequence == 0:
            self._entries[entry.channel].pop(entry.symbol, None)
        entry.since = NEVER
        self.forget(entry)
        self.turn(entry, SymbolState.REMOVED)

    def begin(self, entry: Entry) -> None:
        """Take notice that the upstream sends *entry* from now on, if it did not before."""
        if entry.since == NEVER:
            self.position += 1
            entry.since = self.position

    def turn(self, entry: Entry, state: SymbolState) -> None:
        """Let *entry* take on *state*."""
        entry.state = state
        entry.changed = self._clock.wall()

    def forget(self, entry: Entry) -> None:
        """Trust the newest record no longer: what came after it may have been missed."""
        entry.latest = entry.held = entry.why = None

    def accept(self, kind: RecordKind, symbol: str, value: LiveValue) -> Update | None:
        """Number a valid record, and return it; None when nobody follows it."""
        entry = self._by_kind[kind].get(symbol)
        if entry is None or entry.state is SymbolState.REMOVED:
            return None
        entry.sequence = sequence = entry.sequence + 1
        entry.ordinal = ordinal = entry.ordinal + 1
        self.position = position = self.position + 1
        entry.latest = update = Update(kind, value, sequence, ordinal, position)
        entry.touched = value.provenance.receive_time
        entry.held = entry.why = None
        if kind is RecordKind.QUOTE:
            self._news[symbol] = entry
        elif kind in _AMENDMENTS:
            entry.latest = None
        return update

    def refuse(self, kind: RecordKind, symbol: str, why: Unavailable) -> Entry | None:
        """Number a record that is no value, which supersedes the one before; None when nobody follows it."""
        entry = self._by_kind[kind].get(symbol)
        if entry is None or entry.state is SymbolState.REMOVED:
            return None
        entry.sequence += 1
        self.position += 1
        rule = rule_of(why)
        entry.refused[rule] = entry.refused.get(rule, 0) + 1
        entry.touched = self._clock.wall()
        entry.latest, entry.held, entry.why = None, None, why
        return entry

    def restate(self, entry: Entry, update: Update) -> None:
        """Take notice of what stands by the upstream's own word, which has no number of its own."""
        entry.latest, entry.held = update, None
        if update.kind is RecordKind.QUOTE:
            self._news[entry.symbol] = entry

    def standing(self, symbol: str) -> Held[Quote] | Unavailable | None:
        """Return the live quote of *symbol*, why there is none although it is live, or None when it is not live."""
        entry = self._entries[Channel.QUOTES].get(symbol)
        if entry is None or not entry.confirmed:
            return None
        return self._held(entry) or entry.why

    def take_news(self) -> Mapping[Key, Held[Quote]]:
        """Return the live quotes that are new since this was last asked."""
        news, self._news = self._news, {}
        return {
            (self.feed, symbol): held
            for symbol, entry in news.items()
            if entry.confirmed and (held := self._held(entry)) is not None
        }

    def live_quotes(self) -> int:
        """Return how many quotes are live."""
        entries = self._entries[Channel.QUOTES].values()
        return sum(entry.latest is not None and entry.confirmed for entry in entries)

    def _held(self, entry: Entry) -> Held[Quote] | None:
        if entry.latest is None:
            return None
        # While it is live, the connection says at every moment that there is nothing newer.
        now = self._clock.monotonic()
        if entry.held is None:
            entry.held = Held(entry.latest.value, now)
        else:
            entry.held.confirmed_at = now
        return entry.held


def rule_of(why: Unavailable) -> str:
    """Return the rule by which a record that is no value is counted."""
    # A quote without an order on either side is no value, though nothing is wrong with it.
    return "no_sides" if why.refusal is None else why.refusal.rule


class LiveQuotes:
    """The quotes of all feeds that are live, as the tier nearest to a caller: the `LiveTier` port."""

    def __init__(self, books: Mapping[Feed, Book]) -> None:
        """Look into *books*, which may come to be later."""
        self._books = books

    def get(self, key: Key, /) -> Held[Quote] | Unavailable | None:
        """Return the live quote, why there is none although it is live, or None."""
        feed, symbol = key
        book = self._books.get(feed)
        return None if book is None else book.standing(symbol)

    def __contains__(self, key: object, /) -> bool:
        """Tell whether *key* is live."""
        return isinstance(key, tuple) and isinstance(self.get(key), Held)

    def __bool__(self) -> bool:
        # Counting them for each question would cost more than the answer.
        return bool(self._books)

    def __len__(self) -> int:
        """Return how many quotes are live."""
        return sum(book.live_quotes() for book in self._books.values())
