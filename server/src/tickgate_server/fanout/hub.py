"""One live feed: every record goes into the boxes of those who follow it, and every change is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from ..book import Book, Entry, Update, rule_of
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
from ..market.provenance import DAYTIME_FEEDS, Tier
from ..market.session import MarketSession
from ..market.time import NANOS
from ..market.unavailable import Reason, Unavailable
from ..observe.counters import FeedCounts
from ..ports import Clock
from . import tokens
from .beat import Beat
from .box import Box, Terms
from .gaps import Gaps, was_missed
from .interest import EVERYTHING, Interest, Topic
from .ring import Refused, Ring

_log = structlog.get_logger(__name__)

_HALTS: Final = frozenset({"2", "H", "P"})
_RESUMPTIONS: Final = frozenset({"3", "T"})
"""Trading status codes of tapes A and B, and of C and O, that stop trading in a symbol and let it go on."""

_FOREIGN: Final = (
    "the resume token belongs to another session of the feed, or to another subscription"
)
_UNFOLLOWED: Final = "nobody followed the symbol for a while since the resume token was made"
_NOT_KEPT: Final = "more was sent since the resume token than the gateway keeps"

_SLICE: Final = 2000
"""Followers of symbols that are looked at in one go."""


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
        self._topics = {kind: interest.on(channel) for kind, channel in CHANNEL_OF.items()}
        self._halted: set[str] = set()
        self._closed = False
        """Whether the market is closed, so that nothing need move."""

        self._open_since = clock.wall() if session() is MarketSession.OPEN else None
        """Since when the market has been open, nanoseconds of the wall clock; None while it is not."""

        self._open_gaps: list[Gap] = []
        self._repaired: set[int] = set()
        """Those of them after which it was asked where quotes stand."""

        counts.epoch = book.epoch

    @property
    def epoch(self) -> str:
        """Name of the session in which numbers are given."""
        return self.book.epoch

    @property
    def position(self) -> int:
        """Records so far."""
        return self.book.position

    def standing(self, entry: Entry, stale_after: int) -> tuple[SymbolState, int]:
        """Return the state of *entry* and since when, for those to whom a quote is stale after *stale_after*."""
        if entry.state is not SymbolState.LIVE:
            return entry.state, entry.changed
        if self._closed or entry.symbol in self._halted:
            return SymbolState.QUIET, entry.changed
        now = self._clock.wall()
        silence = self._silence(entry, now)
        if silence > stale_after:
            return SymbolState.STALE, now - silence + stale_after
        return SymbolState.LIVE, entry.changed

    # ----------------------------------------------------------------------------------- followers

    def box(self, terms: Terms) -> Box:
        """Return an empty box for a subscription."""
        box = Box(terms, self)
        self._restamp(box)
        return box

    def join(
        self, box: Box, symbols: Iterable[str], rejected: Mapping[str, Unavailable] | None = None
    ) -> list[Topic]:
        """Let *box* follow *symbols*, as far as the plan allows it, and return their topics.

        One that it follows already is told again how it stands. What cannot be followed is REJECTED, and so are others
        that were asked for besides, for the reasons in *rejected*.
        """
        for symbol, why in (rejected or {}).items():
            box.symbols.add(symbol)
            for channel in box.terms.channels:
                box.end(channel, symbol, SymbolState.REJECTED, self._clock.wall(), why)
        joined: list[Topic] = []
        for symbol in symbols:
            box.symbols.add(symbol)
            for channel in box.terms.channels:
                joined += self._join(box, channel, symbol)
        for topic in joined:
            box.notice(topic.entry, gaps=() if topic.gap is None else (topic.gap,), urgent=True)
        self._interest.want()
        self._restamp(box)
        self._beat.strike()
        return joined

    def _join(self, box: Box, channel: Channel, symbol: str) -> Iterable[Topic]:
        topic = self._interest.add(box, channel, symbol)
        if topic is None:
            box.end(channel, symbol, SymbolState.REJECTED, self._clock.wall(), self._full(symbol))
            return ()
        return self._interest.on(channel).values() if symbol == EVERYTHING else (topic,)

    def leave(self, box: Box, symbols: Iterable[str]) -> None:
        """Let *box* no longer follow *symbols*, and tell it so."""
        now = self._clock.wall()
        for symbol in symbols:
            box.symbols.discard(symbol)
            for channel in box.terms.channels:
                ended = self._interest.remove(box, channel, symbol)
                for entry in ended:
                    box.end_entry(entry, SymbolState.REMOVED, now)
                if not ended:
                    box.end(channel, symbol, SymbolState.REMOVED, now)
        box.purge()
        self._restamp(box)
        self._beat.strike()

    def detach(self, box: Box) -> None:
        """Put nothing more into *box*; what lies in it stays."""
        self._interest.detach(box)
        box.seal()

    def give_snapshot(
        self, topic: Topic, box: Box, value: LiveValue, kind: RecordKind, tier: Tier = Tier.BOOK
    ) -> None:
        """Let *box*, which has just begun to follow *topic*, have *value*, which stands now and comes from *tier*."""
        entry = topic.entry
        update = topic.snapshot
        if update is None or update.value is not value or update.sequence != entry.sequence:
            update = topic.snapshot = self._as_it_stands(
                entry, value, kind, UpdateKind.SNAPSHOT, tier
            )
        if topic.conflates:
            box.unread[entry] = update
            if entry.latest is None:
                topic.shown[box] = value
        else:
            box.queue(entry, update)
        self._beat.strike()

    def publish_resync(self, topic: Topic, value: LiveValue, kind: RecordKind) -> None:
        """Tell all followers of *topic*, which conflates, that *value* stands now, but for those who know."""
        entry = topic.entry
        update = self._as_it_stands(entry, value, kind, UpdateKind.RESYNC, Tier.UPSTREAM)
        self.book.restate(entry, update)
        for box, unread in topic.boxes.items():
            shown = topic.shown.get(box)
            if shown is None or not _says_the_same(shown, value):
                unread[entry] = update
        topic.shown.clear()
        self._beat.strike()

    def resume(self, box: Box, token: tokens.Token) -> set[Entry]:
        """Give *box*, which has just joined, what was sent since *token*, and say what cannot be given.

        Returns:
            What was given something, and needs no snapshot.
        """
        known = tokens.belongs(token, box.prefix) and token.position <= self.position
        box.resume(token, known=known)
        self._beat.strike()
        if not known:
            away = (self._away(token, _FOREIGN),)
            for entry in box.followed:
                box.notice(entry, gaps=away, urgent=True)
            return set()
        self._tell_missed(box, token)
        replayed = set()
        for entry, record in self._ring.after(token.position):
            if entry in box.followed:
                box.replay(entry, record)
                replayed.add(entry)
        return replayed

    def _tell_missed(self, box: Box, token: tokens.Token) -> None:
        gaps = self._gaps.since(self.book.feed, token.time)
        forgot = self._gaps.forgot(token.time)
        unfollowed, not_kept = self._away(token, _UNFOLLOWED), self._away(token, _NOT_KEPT)
        for entry in box.followed:
            missed = [gap for gap in gaps if was_missed(gap, entry.channel, entry.symbol)]
            # What is conflated has a snapshot in the place of whatever came between.
            queued = entry.channel not in CONFLATED
            if queued and entry.since > token.position:
                missed.append(unfollowed)
            elif forgot or (queued and entry.dropped > token.position):
                missed.append(not_kept)
            if missed:
                box.notice(entry, gaps=tuple(missed), urgent=True)

    def _away(self, token: tokens.Token, message: str) -> Gap:
        now = self._clock.wall()
        start = min(token.time, now)
        return Gap(0, self.book.feed, GapCause.RESUME, message, start, now, repair=GapRepair.NONE)

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
        topic = self._topics[kind].get(symbol) or self._interest.discover(CHANNEL_OF[kind], symbol)
        if topic is None:
            return
        entry = topic.entry
        if entry.state is not SymbolState.LIVE:
            self._take_up_early(topic, SymbolState.LIVE)
        update = self.book.accept(kind, symbol, value)
        if update is None:
            return
        if topic.conflates:
            for unread in topic.boxes.values():
                unread[entry] = update
            return
        self._ring.put(entry, update)
        for box in topic.boxes:
            box.queue(entry, update)
        if isinstance(value, TradingStatus):
            self._heed(value)

    def refuse(self, kind: RecordKind, symbol: str, why: Unavailable) -> None:
        """Take notice of a record that is no value."""
        topic = self._topics[kind].get(symbol) or self._interest.discover(CHANNEL_OF[kind], symbol)
        if topic is None:
            return
        entry = topic.entry
        if entry.state is not SymbolState.INVALID:
            self._take_up_early(topic, SymbolState.INVALID)
        self.book.refuse(kind, symbol, why)
        for box in topic.boxes:
            box.notice(entry, since=self.position - 1)
        if not topic.conflates:
            record = Refused(entry.sequence, self.position, rule_of(why), entry.touched)
            self._ring.put(entry, record)
        if kind is RecordKind.QUOTE:
            self.on_refusal(symbol)

    def settle(self) -> None:
        """Let followers be told."""
        self._beat.strike()

    def _take_up(self, topic: Topic, state: SymbolState, ended: Gap | None = None) -> None:
        """Let *topic*, which the upstream sends, take on LIVE or INVALID; *ended* is its gap, if that is known."""
        if topic.entry.confirmed:
            self._turn(topic, state)
            return
        self.book.begin(topic.entry)
        gap, topic.gap = topic.gap, None
        if gap is None:
            self._turn(topic, state, urgent=True)
        else:
            ended = ended or replace(gap, end=self._clock.wall())
            self._turn(topic, state, gaps=(ended,), urgent=True)

    def _take_up_early(self, topic: Topic, state: SymbolState) -> None:
        """Take *topic* up for the record that has just come.

        A record may come before the word that the upstream has confirmed its symbol, and proves as much.
        """
        gap = topic.gap
        self._take_up(topic, state)
        if gap is not None:
            if topic.entry.channel is Channel.QUOTES:
                self._repair([topic], gap)
            self._close_gaps(self._clock.wall())

    # ------------------------------------------------------------------------------- the connection

    def confirmed(self, channel: Channel, symbols: Collection[str]) -> None:
        """Take notice that the upstream sends *symbols* from now on."""
        topics = self._interest.on(channel)
        named = topics.values() if EVERYTHING in symbols else map(topics.get, symbols)
        fresh = [topic for topic in named if topic is not None and not topic.entry.confirmed]
        now = self._clock.wall()
        for gap, of_gap in _by_gap(fresh):
            ended = None if gap is None else replace(gap, end=now)
            for topic in of_gap:
                topic.entry.touched = now
                self._take_up(topic, SymbolState.LIVE, ended)
            if channel is Channel.QUOTES:
                self._repair(of_gap, gap)
        self._close_gaps(now)
        self._beat.strike()

    def rejected(self, channel: Channel, symbols: Collection[str], why: Unavailable) -> None:
        """Take notice that *symbols* cannot be had."""
        now = self._clock.wall()
        told: set[Box] = set()
        for symbol in symbols:
            topic = self._interest.on(channel).get(symbol)
            if topic is None:
                continue
            for box in tuple(topic.boxes):
                for entry in self._interest.remove(box, channel, symbol):
                    box.end_entry(entry, SymbolState.REJECTED, now, why)
                told.add(box)
            self._interest.drop(topic)
            self._let_go(topic)
        for box in told:
            box.purge()
        self._close_gaps(now)
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
            if topic.entry.state is not SymbolState.LIVE:
                self.book.turn(topic.entry, SymbolState.LIVE)
            self._tell(topic, gaps=(gap,), urgent=True)
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
        # What an earlier gap still misses was not confirmed in between, and stays a part of that one.
        gap = self._note_gap(cause, since, message, topics)
        self._open_gaps.append(gap)
        for topic in topics:
            self._distrust(topic)
            topic.gap = gap
            self._turn(topic, SymbolState.GAP, gaps=(gap,), urgent=True)
        self._beat.strike()

    def changed(self, state: FeedState, message: str) -> None:
        """Take notice of the connection's state."""
        self.state = state
        counts = self._counts
        counts.state, counts.message = state.value, message
        counts.changed_time = self._clock.wall()
        self.on_state(state)

    # ------------------------------------------------------------------------------- what time does

    async def tick(self) -> None:
        """Look after what changes with time alone; meant for once a second."""
        now = self._clock.wall()
        self._ring.expire(now)
        for topic in self._interest.end_lingering():
            self._let_go(topic)
        self._close_gaps(now)
        was_open = self._open_since is not None
        await self._heed_session(now)
        if was_open or self._open_since is not None:
            await self._find_stale(now)
        self._beat.strike()

    async def _heed_session(self, now: int) -> None:
        session = self._session()
        if session is not MarketSession.OPEN:
            self._open_since = None
        elif self._open_since is None:
            self._open_since = now
        closed = self.book.feed in DAYTIME_FEEDS and session is MarketSession.CLOSED
        if closed is self._closed:
            return
        self._closed = closed
        async for topic in _in_slices(self._interest):
            if topic.entry.symbol not in self._halted:
                self._turn_quiet(topic)

    async def _find_stale(self, now: int) -> None:
        async for topic in _in_slices(self._interest.on(Channel.QUOTES).values()):
            silence = self._silence(topic.entry, now)
            entry = topic.entry
            for box in topic.boxes:
                if (silence > box.terms.stale_after) is not (entry in box.stale):
                    box.mark(entry, now)

    def _silence(self, entry: Entry, now: int) -> int:
        """Return for how many nanoseconds a quote should have moved and has not."""
        if (
            self._open_since is None
            or entry.channel is not Channel.QUOTES
            or entry.state is not SymbolState.LIVE
            or entry.symbol in self._halted
        ):
            return 0
        return now - max(entry.touched, self._open_since)

    # --------------------------------------------------------------------------------------- states

    def _turn(
        self, topic: Topic, state: SymbolState, gaps: tuple[Gap, ...] = (), *, urgent: bool = False
    ) -> None:
        self.book.turn(topic.entry, state)
        self._tell(topic, gaps, urgent=urgent)

    def _turn_quiet(self, topic: Topic) -> None:
        """Take notice that LIVE has become QUIET for *topic*, or is LIVE again."""
        if topic.entry.state is SymbolState.LIVE:
            topic.entry.touched = self._clock.wall()
            self._turn(topic, SymbolState.LIVE, urgent=True)

    def _tell(self, topic: Topic, gaps: tuple[Gap, ...] = (), *, urgent: bool = False) -> None:
        for box in topic.boxes:
            box.notice(topic.entry, gaps=gaps, urgent=urgent)

    def _heed(self, status: TradingStatus) -> None:
        if status.status_code in _HALTS:
            self._note_halt(status.symbol, halted=True)
        elif status.status_code in _RESUMPTIONS:
            self._note_halt(status.symbol, halted=False)

    def _note_halt(self, symbol: str, *, halted: bool) -> None:
        if halted is (symbol in self._halted):
            return
        (self._halted.add if halted else self._halted.discard)(symbol)
        for channel in Channel:
            topic = self._interest.on(channel).get(symbol)
            if topic is not None and not self._closed:
                self._turn_quiet(topic)

    def _let_go(self, topic: Topic) -> None:
        if topic.entry.channel is Channel.TRADING_STATUSES:
            # Nobody would hear of the resumption.
            self._note_halt(topic.entry.symbol, halted=False)

    def _full(self, symbol: str) -> Unavailable:
        counted = " and ".join(channel.value for channel in self._interest.counted)
        together = " together" if len(self._interest.counted) > 1 else ""
        return Unavailable(
            reason=Reason.SUBSCRIPTION_LIMIT,
            message=(
                f"{symbol}: the plan allows {self._interest.limit} symbols on {counted} of"
                f" {self.book.feed.value}{together}, and all are followed"
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
        self._let_go(topic)

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

    def _repair(self, topics: Sequence[Topic], gap: Gap | None) -> None:
        if gap is not None:
            self._repaired.add(gap.id)
        self.resync(topics, gap)

    def _close_gaps(self, now: int) -> None:
        if not self._open_gaps:
            return
        missed = {topic.gap.id for topic in self._interest if topic.gap is not None}
        over = [gap for gap in self._open_gaps if gap.id not in missed]
        self._open_gaps = [gap for gap in self._open_gaps if gap.id in missed]
        for gap in over:
            gap.end = now
            if gap.repair is GapRepair.PENDING and gap.id not in self._repaired:
                # Nobody follows quotes any more, so nobody asks.
                gap.repair = GapRepair.PARTIAL
            self._repaired.discard(gap.id)
            _log.info(
                "feed_gap_over", feed=self.book.feed.value, cause=gap.cause.name,
                seconds=round((now - gap.start) / NANOS, 3),
            )  # fmt: skip


def _says_the_same(before: LiveValue, now: LiveValue) -> bool:
    """Tell whether two values differ in nothing but when they were asked for."""
    origin, asked = before.provenance, now.provenance
    return origin.event_time == asked.event_time and before == replace(now, provenance=origin)


def _by_gap(topics: Iterable[Topic]) -> Collection[tuple[Gap | None, list[Topic]]]:
    groups: dict[int, tuple[Gap | None, list[Topic]]] = {}
    for topic in topics:
        key = 0 if topic.gap is None else topic.gap.id
        groups.setdefault(key, (topic.gap, []))[1].append(topic)
    return groups.values()


async def _in_slices(topics: Iterable[Topic]) -> AsyncIterator[Topic]:
    """Yield *topics*, and let others on the loop have their turns: all at once would keep updates waiting."""
    work = 0
    for topic in tuple(topics):
        yield topic
        work += 1 + len(topic.boxes)
        if work >= _SLICE:
            work = 0
            await asyncio.sleep(0)
