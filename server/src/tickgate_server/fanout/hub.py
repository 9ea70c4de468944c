"""One live feed: every record goes into the boxes of those who follow it, and every change is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from ..book import Book, Entry, Update
from ..market.live import (
    CHANNEL_OF,
    CONFLATED,
    Channel,
    FeedState,
    Gap,
    GapCause,
    GapRepair,
    LiveValue,
    RecordKind,
    SymbolState,
    TradingStatus,
    UpdateKind,
)
from ..market.provenance import Feed, Tier
from ..market.session import MarketSession
from ..market.time import NANOS
from ..market.unavailable import Reason, Unavailable
from ..observe.counters import FeedCounts
from ..ports import Clock
from . import tokens
from .beat import Beat
from .box import Box, Terms
from .gaps import Gaps
from .interest import EVERYTHING, Interest, Topic
from .ring import Ring

_log = structlog.get_logger(__name__)

_DAYTIME_FEEDS: Final = frozenset({Feed.SIP, Feed.IEX, Feed.DELAYED_SIP})
"""Feeds that need not move while the exchanges are closed. Others trade at night."""

_HALTS: Final = frozenset({"2", "H", "P"})
_RESUMPTIONS: Final = frozenset({"3", "T"})
"""Trading status codes of tapes A and B, and of C and O, that stop trading in a symbol and let it go on."""

_CONFLATED_KINDS: Final = frozenset(
    kind for kind, channel in CHANNEL_OF.items() if channel in CONFLATED
)

_SLICE: Final = 2000
"""Symbols that are looked at in one go. All of them at once would keep updates waiting."""


class Hub:
    """Puts every record of one feed into the boxes of those who follow it. The `FeedListener` of its feed."""

    def __init__(
        self,
        book: Book,
        interest: Interest,
        gaps: Gaps,
        ring: Ring,
        beat: Beat,
        counts: FeedCounts,
        clock: Clock,
        session: Callable[[], MarketSession | None],
    ) -> None:
        """Begin without followers.

        Args:
            book: numbers the records.
            interest: counts who follows what.
            gaps: remembers what was missed.
            ring: keeps records for those who come back.
            beat: is struck when there is mail.
            counts: what is told of the feed.
            clock: measures.
            session: tells the market's session, None when it is not known.
        """
        self.book = book
        self.state = FeedState.IDLE
        self.on_state: Callable[[FeedState], None] = lambda _: None
        """Told of every state of the connection."""

        self.before_loss: Callable[[], None] = lambda: None
        """Called when something was missed, while what is live still is."""

        self.on_refusal: Callable[[str], None] = lambda _: None
        """Told of the symbol of every quote that was refused."""

        self.resync: Callable[[Sequence[Topic], Gap | None], None] = lambda _topics, _gap: None
        """Asked to find out where quotes stand: the stream may not say it for a while."""

        self._interest = interest
        self._gaps = gaps
        self._ring = ring
        self._beat = beat
        self._counts = counts
        self._clock = clock
        self._session = session
        self._halted: set[str] = set()
        self._closed = False
        """Whether the market is closed, so that nothing need move."""

        self._open_since: int | None = clock.wall()
        """Since when the session is open, nanoseconds of the wall clock; None while it is not, as far as is known."""

        self._open_gap: Gap | None = None
        self._missing: set[Topic] = set()
        """Topics in `_open_gap` that the upstream has not confirmed again."""

        self._repaired: Gap | None = None
        """The newest gap after which it was asked where quotes stand."""

        counts.epoch = book.epoch

    @property
    def epoch(self) -> str:
        """Name of the session in which numbers are given."""
        return self.book.epoch

    @property
    def position(self) -> int:
        """Records so far."""
        return self.book.position

    def state_of(self, entry: Entry) -> SymbolState:
        """Return the state of *entry* as everybody sees it."""
        if entry.state is SymbolState.LIVE and (self._closed or entry.symbol in self._halted):
            return SymbolState.QUIET
        return entry.state

    # ----------------------------------------------------------------------------------- followers

    def box(self, terms: Terms) -> Box:
        """Return an empty box for a subscription."""
        box = Box(terms, self)
        self._restamp(box)
        return box

    def join(self, box: Box, symbols: Iterable[str]) -> list[Topic]:
        """Let *box* follow *symbols*, as far as the plan allows it, and return their topics.

        One that it follows already is told again how it stands. What cannot be followed is REJECTED.
        """
        joined: list[Topic] = []
        for symbol in symbols:
            box.symbols.add(symbol)
            for channel in box.terms.channels:
                topic = self._interest.add(box, channel, symbol)
                if topic is None:
                    self._reject(box, channel, symbol, self._full(symbol))
                else:
                    gaps = () if topic.gap is None else (topic.gap,)
                    box.notice(topic.entry, gaps=gaps, urgent=True)
                    joined.append(topic)
        self._interest.want()
        self._restamp(box)
        self._beat.strike()
        return joined

    def leave(self, box: Box, symbols: Iterable[str]) -> None:
        """Let *box* no longer follow *symbols*, and tell it so."""
        now = self._clock.wall()
        for symbol in symbols:
            self._remove(box, symbol)
            for channel in box.terms.channels:
                box.end(channel, symbol, SymbolState.REMOVED, now, None)
        self._restamp(box)
        self._beat.strike()

    def detach(self, box: Box) -> None:
        """Put nothing more into *box*; what lies in it stays."""
        self._interest.detach(box)

    def refuse_symbol(self, box: Box, symbol: str, why: Unavailable) -> None:
        """Tell *box* that *symbol* cannot be followed."""
        for channel in box.terms.channels:
            self._reject(box, channel, symbol, why)
        self._beat.strike()

    def give_snapshot(
        self, topic: Topic, box: Box, value: LiveValue, kind: RecordKind, tier: Tier = Tier.BOOK
    ) -> None:
        """Let *box*, which has just begun to follow *topic*, have *value*, which stands now and comes from *tier*."""
        entry = topic.entry
        update = topic.snapshot
        if update is None or update.value is not value or update.ordinal != entry.ordinal:
            update = topic.snapshot = self._as_it_stands(
                entry, value, kind, UpdateKind.SNAPSHOT, tier
            )
        if entry.channel in CONFLATED:
            box.unread[entry] = update
            if entry.latest is None:
                topic.shown[box] = value
        else:
            box.queue(entry, update)
        self._beat.strike()

    def publish_resync(self, topic: Topic, value: LiveValue, kind: RecordKind) -> None:
        """Tell all followers of *topic* that *value* stands now, but for those who know."""
        entry = topic.entry
        update = self._as_it_stands(entry, value, kind, UpdateKind.RESYNC, Tier.UPSTREAM)
        entry.latest, entry.held = update, None
        for box in topic.boxes:
            shown = topic.shown.get(box)
            if shown is None or not _says_the_same(shown, value):
                box.unread[entry] = update
        topic.shown.clear()
        self._beat.strike()

    def resume(self, box: Box, token: tokens.Token) -> None:
        """Give *box*, which has just joined, what was sent since *token*, and say what cannot be given."""
        known = tokens.belongs(token, box.prefix)
        box.resume(tokens.text_of(token), token.position if known else None)
        for entry in box.followed.values():
            missed = self._missed_since(token, entry) if known else [self._away(token, known=False)]
            if missed:
                box.notice(entry, gaps=missed)
        if known:
            for entry, update in self._ring.after(token.position):
                if box.followed.get((entry.channel, entry.symbol)) is entry:
                    box.queue(entry, _replayed(update))
        self._beat.strike()

    def _missed_since(self, token: tokens.Token, entry: Entry) -> list[Gap]:
        missed = self._gaps.since(self.book.feed, token.time, entry.channel, entry.symbol)
        if entry.channel not in CONFLATED and not missed:
            # What is conflated has a snapshot in the place of whatever came between.
            kept_from = max(entry.since, self._ring.complete_from)
            if token.position < kept_from:
                missed = [self._away(token, known=True)]
        return missed

    def _away(self, token: tokens.Token, *, known: bool) -> Gap:
        message = (
            "more was sent since the resume token than the gateway keeps"
            if known
            else "the resume token belongs to another session of the feed, or to another subscription"
        )
        now, feed = self._clock.wall(), self.book.feed
        return Gap(0, feed, GapCause.RESUME, message, token.time, now, repair=GapRepair.NONE)

    def _as_it_stands(
        self,
        entry: Entry,
        value: LiveValue,
        kind: RecordKind,
        origin: UpdateKind,
        tier: Tier,
    ) -> Update:
        return Update(kind, value, entry.sequence, entry.ordinal, self.position, origin, tier)

    # ------------------------------------------------------------------------------ what is brought

    def accept(self, kind: RecordKind, symbol: str, value: LiveValue) -> None:
        """Take a valid record."""
        update = self.book.accept(kind, symbol, value)
        if update is None:
            if self._discovers(CHANNEL_OF[kind], symbol):
                self.accept(kind, symbol, value)
            return
        topic = self._interest.on(CHANNEL_OF[kind]).get(symbol)
        if topic is None:
            return
        entry = topic.entry
        if entry.state is not SymbolState.LIVE:
            self._take_up_early(topic, SymbolState.LIVE)
        if kind in _CONFLATED_KINDS:
            for unread in topic.unread:
                unread[entry] = update
            return
        self._ring.put(entry, update)
        for box in topic.boxes:
            box.queue(entry, update)
        if isinstance(value, TradingStatus):
            self._heed(value)

    def refuse(self, kind: RecordKind, symbol: str, why: Unavailable) -> None:
        """Take notice of a record that is no value."""
        entry = self.book.refuse(kind, symbol, why)
        if entry is None:
            if self._discovers(CHANNEL_OF[kind], symbol):
                self.refuse(kind, symbol, why)
            return
        topic = self._interest.on(CHANNEL_OF[kind]).get(symbol)
        if topic is None:
            return
        if entry.state is SymbolState.INVALID:
            self._tell(topic)
        else:
            self._take_up_early(topic, SymbolState.INVALID)
        if kind is RecordKind.QUOTE:
            self.on_refusal(symbol)

    def settle(self) -> None:
        """Let followers be told."""
        self._beat.strike()

    def _discovers(self, channel: Channel, symbol: str) -> bool:
        everything = self._interest.on(channel).get(EVERYTHING)
        if everything is None or not everything.entry.confirmed or symbol == EVERYTHING:
            return False
        topic = self._interest.discover(channel, symbol)
        if topic is not None:
            topic.entry.since = self.position
            self._turn(topic, SymbolState.LIVE)
        return topic is not None

    # ------------------------------------------------------------------------------- the connection

    def confirmed(self, channel: Channel, symbols: Collection[str]) -> None:
        """Take notice that the upstream sends *symbols* from now on."""
        now = self._clock.wall()
        gap = self._open_gap
        if EVERYTHING in symbols:
            symbols = tuple(self._interest.on(channel))
        topics = [self._interest.on(channel).get(symbol) for symbol in symbols]
        fresh = [topic for topic in topics if topic is not None and not topic.entry.confirmed]
        for topic in fresh:
            topic.entry.touched = now
            self._take_up(topic, SymbolState.LIVE, self.position)
        if channel is Channel.QUOTES and fresh:
            self.resync(fresh, gap)
            self._repaired = gap
        self._close_gap(now)
        self._beat.strike()

    def rejected(self, channel: Channel, symbols: Collection[str], why: Unavailable) -> None:
        """Take notice that *symbols* cannot be had."""
        for symbol in symbols:
            topic = self._interest.on(channel).get(symbol)
            if topic is None:
                continue
            for box in tuple(topic.boxes):
                self._interest.remove(box, channel, symbol)
                self._reject(box, channel, symbol, why)
            self._forget(topic)
        self._close_gap(self._clock.wall())
        self._beat.strike()

    def missed(
        self, cause: GapCause, since: int, message: str, *, records: int | None = None
    ) -> None:
        """Take notice that records were missed while the connection stands."""
        topics = [topic for topic in self._interest if topic.entry.confirmed]
        if not topics:
            return
        self.before_loss()
        gap = self._note_gap(cause, since, message, topics)
        gap.end, gap.lost_records = self._clock.wall(), records
        for topic in topics:
            self._distrust(topic)
            topic.entry.since = self.position
            self._turn(topic, SymbolState.LIVE, gaps=(gap,), urgent=True)
        quotes = [topic for topic in topics if topic.entry.channel is Channel.QUOTES]
        if quotes:
            self.resync(quotes, gap)
        self._beat.strike()

    def lost(self, cause: GapCause, since: int, message: str) -> None:
        """Take notice that the connection is gone."""
        topics = [topic for topic in self._interest if topic.entry.confirmed]
        if not topics:
            return
        self.before_loss()
        if self._open_gap is None:
            self._open_gap = self._note_gap(cause, since, message, topics)
        for topic in topics:
            self._distrust(topic)
            topic.gap = self._open_gap
            self._missing.add(topic)
            self._turn(topic, SymbolState.GAP, gaps=(self._open_gap,))
        self._beat.strike()

    def changed(self, state: FeedState, message: str) -> None:
        """Take notice of the connection's state."""
        self.state = state
        counts = self._counts
        counts.state, counts.message = state.value, message
        counts.changed_time = self._clock.wall()
        self.on_state(state)

    # ------------------------------------------------------------------------------- what time does

    async def tick(self, boxes: Iterable[Box]) -> None:
        """Look after what changes with time alone; meant for once a second.

        Args:
            boxes: all of this feed.
        """
        self._ring.expire(self._clock.wall())
        for topic in self._interest.end_lingering():
            self._missing.discard(topic)
        self._close_gap(self._clock.wall())
        await self._heed_session()
        if self._session() is not MarketSession.OPEN:
            self._open_since = None
            return
        if self._open_since is None:
            self._open_since = self._clock.wall()
        await self._find_stale(boxes, self._open_since)

    async def _heed_session(self) -> None:
        closed = self.book.feed in _DAYTIME_FEEDS and self._session() is MarketSession.CLOSED
        if closed is self._closed:
            return
        self._closed = closed
        for number, topic in enumerate(tuple(self._interest), start=1):
            if topic.entry.state is SymbolState.LIVE:
                self._tell(topic)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        self._beat.strike()

    async def _find_stale(self, boxes: Iterable[Box], open_since: int) -> None:
        now = self._clock.wall()
        looked_at = 0
        for box in boxes:
            for entry in tuple(box.followed.values()):
                if entry.channel is Channel.QUOTES:
                    # What has not moved since yesterday has its time to do so.
                    self._judge_staleness(box, entry, now - max(entry.touched, open_since))
            looked_at += len(box.followed)
            if looked_at >= _SLICE:
                looked_at = 0
                await asyncio.sleep(0)

    def _judge_staleness(self, box: Box, entry: Entry, unmoved: int) -> None:
        stands = self.state_of(entry) is SymbolState.LIVE
        stale = stands and unmoved > box.terms.stale_after
        if stale is not (entry in box.stale):
            (box.stale.add if stale else box.stale.discard)(entry)
            box.notice(entry)
            self._beat.strike()

    # --------------------------------------------------------------------------------------- states

    def _take_up(self, topic: Topic, state: SymbolState, position: int) -> None:
        """Let *topic* be LIVE or INVALID from behind *position* on: the upstream sends it."""
        gaps: tuple[Gap, ...] = ()
        fresh = not topic.entry.confirmed
        if fresh:
            topic.entry.since = position
            ended = self._end_of_gap(topic, self._clock.wall())
            gaps = () if ended is None else (ended,)
        self._turn(topic, state, gaps, urgent=fresh)

    def _take_up_early(self, topic: Topic, state: SymbolState) -> None:
        """Take *topic* up for the record that has just come.

        A record may come before the word that the upstream has confirmed its symbol, and proves as much.
        """
        gap = topic.gap
        self._take_up(topic, state, self.position - 1)
        if gap is not None:
            if topic.entry.channel is Channel.QUOTES:
                self.resync([topic], gap)
                self._repaired = gap
            self._close_gap(self._clock.wall())

    def _turn(
        self,
        topic: Topic,
        state: SymbolState,
        gaps: Iterable[Gap] = (),
        *,
        urgent: bool = False,
    ) -> None:
        self.book.turn(topic.entry, state)
        self._tell(topic, gaps, urgent=urgent)

    def _tell(self, topic: Topic, gaps: Iterable[Gap] = (), *, urgent: bool = False) -> None:
        for box in topic.boxes:
            box.stale.discard(topic.entry)
            box.notice(topic.entry, gaps=gaps, urgent=urgent)

    def _heed(self, status: TradingStatus) -> None:
        if status.status_code in _HALTS:
            self._halted.add(status.symbol)
        elif status.status_code in _RESUMPTIONS:
            self._halted.discard(status.symbol)
        else:
            return
        for channel in Channel:
            topic = self._interest.on(channel).get(status.symbol)
            if topic is not None and topic.entry.state is SymbolState.LIVE:
                # What may trade again has its time to move.
                topic.entry.touched = self._clock.wall()
                self._tell(topic)

    def _remove(self, box: Box, symbol: str) -> None:
        box.symbols.discard(symbol)
        for channel in box.terms.channels:
            self._interest.remove(box, channel, symbol)

    def _reject(self, box: Box, channel: Channel, symbol: str, why: Unavailable) -> None:
        box.end(channel, symbol, SymbolState.REJECTED, self._clock.wall(), why)

    def _full(self, symbol: str) -> Unavailable:
        return Unavailable(
            reason=Reason.SUBSCRIPTION_LIMIT,
            message=(
                f"{symbol}: the plan allows {self._interest.limit} symbols on quotes and trades of"
                f" {self.book.feed.value} together, and all are followed"
            ),
        )

    def _restamp(self, box: Box) -> None:
        box.prefix = tokens.prefix(self.book.feed, self.epoch, box.terms.channels, box.symbols)

    # ----------------------------------------------------------------------------------------- gaps

    def _distrust(self, topic: Topic) -> None:
        # What is held may be superseded by what was missed.
        self.book.forget(topic.entry)
        topic.snapshot = None
        topic.shown.clear()

    def _forget(self, topic: Topic) -> None:
        self._missing.discard(topic)
        self._interest.drop(topic)

    def _note_gap(self, cause: GapCause, since: int, message: str, topics: Iterable[Topic]) -> Gap:
        followed: dict[Channel, list[str]] = defaultdict(list)
        for topic in topics:
            followed[topic.entry.channel].append(topic.entry.symbol)
        self._counts.gaps += 1
        _log.warning(
            "feed_gap", feed=self.book.feed.value, cause=cause.name, message=message,
            symbols=sum(len(symbols) for symbols in followed.values()),
        )  # fmt: skip
        gap = self._gaps.add(self.book.feed, cause, message, since, followed)
        if Channel.QUOTES not in followed:
            gap.repair = GapRepair.NONE
        return gap

    def _end_of_gap(self, topic: Topic, now: int) -> Gap | None:
        gap, topic.gap = topic.gap, None
        self._missing.discard(topic)
        if gap is not None:
            gap.end = now
        return gap

    def _close_gap(self, now: int) -> None:
        gap = self._open_gap
        if gap is None or self._missing:
            return
        self._open_gap = None
        gap.end = now
        if gap.repair is GapRepair.PENDING and gap is not self._repaired:
            # Nobody follows quotes any more, so nobody asks.
            gap.repair = GapRepair.PARTIAL
        _log.info(
            "feed_gap_over", feed=self.book.feed.value, cause=gap.cause.name,
            seconds=round((now - gap.start) / NANOS, 3),
        )  # fmt: skip


def _says_the_same(before: LiveValue, now: LiveValue) -> bool:
    """Tell whether two values differ in nothing but when they were asked for."""
    origin, asked = before.provenance, now.provenance
    return origin.event_time == asked.event_time and before == replace(now, provenance=origin)


def _replayed(update: Update) -> Update:
    return Update(
        update.kind,
        update.value,
        update.sequence,
        update.ordinal,
        update.position,
        UpdateKind.REPLAY,
        update.tier,
        update.body,
    )
