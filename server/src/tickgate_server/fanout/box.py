"""What one subscription has not read yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from msgspec import Struct, field

from ..book import Entry, Update
from ..market.live import (
    CONFLATED,
    Channel,
    Gap,
    Loss,
    LossCause,
    SymbolState,
    UpdateKind,
)
from ..market.unavailable import Unavailable
from ..ports import Encode
from . import tokens

MOST_UPDATES: Final = 1000
"""Updates in one message. An encoded one is 100 to 700 bytes, and a message stays under 1 MiB."""

MOST_STATUSES: Final = 1000
"""Statuses, and gaps in them, in one message. Each is 50 to 600 bytes."""

Key: TypeAlias = tuple[Channel, str]

_QUICK: Final = frozenset({SymbolState.LIVE, SymbolState.INVALID})
"""States that may alternate with every record, and that therefore wait for `min_update_interval` as records do."""


class Status(Struct, frozen=True):
    """How a symbol stands, as one follower is told."""

    symbol: str
    channel: Channel
    state: SymbolState
    changed: int
    """When it took on its state, nanoseconds of the wall clock."""

    sequence: int
    """Number of the newest record."""

    refused: dict[str, int] = {}
    """Records refused since the status before, by rule."""

    losses: Sequence[Loss] = ()
    why: Unavailable | None = None
    gaps: Sequence[Gap] = ()


class Terms(Struct, frozen=True, kw_only=True):
    """What a follower has asked for, apart from symbols."""

    id: str
    channels: tuple[Channel, ...]
    interval: float
    """Seconds between updates, at least."""

    heartbeat: float
    """Seconds between heartbeats, at most."""

    stale_after: int
    """Nanoseconds after which a quote that does not move is STALE."""

    unread_age: float
    """Seconds that a message may lie unread."""

    queue: int
    """Records of queued channels that wait for the reader at most."""


class Standing(Protocol):
    """Knows how symbols stand, and how far a feed has come."""

    @property
    def epoch(self) -> str:
        """Name of the session in which numbers are given."""
        ...

    @property
    def position(self) -> int:
        """Records so far."""
        ...

    def state_of(self, entry: Entry) -> SymbolState:
        """Return the state of *entry* as everybody sees it."""
        ...


class _Notice(Struct):
    """A status that is to be sent. What it says is looked up when it is."""

    state: SymbolState | None = None
    """None means whatever state the entry has by then."""

    changed: int = 0
    why: Unavailable | None = None
    gaps: list[Gap] = field(default_factory=list)


class _Lost(Struct):
    """Records that this subscription lost and has not been told of."""

    cause: LossCause
    first: Update
    last: Update
    count: int = 1

    def loss(self) -> Loss:
        first, last = self.first, self.last
        return Loss(
            self.cause,
            first.sequence,
            last.sequence,
            self.count,
            first.value.provenance.event_time,
            last.value.provenance.event_time,
        )


class Box:
    """One subscription's unread mail.

    What is conflated lies in `unread`, the newest of each symbol. What is queued lies in a queue of bounded length,
    whose oldest records make room: then the follower is told which.
    """

    def __init__(self, terms: Terms, hub: Standing) -> None:
        """Begin empty.

        Args:
            terms: what was asked for.
            hub: knows how symbols stand.
        """
        self.terms = terms
        self.hub = hub
        self.prefix = ""
        """What resume tokens begin with."""

        self.symbols: set[str] = set()
        """Symbols that were asked for; what follows everything follows others besides."""

        self.unread: dict[Entry, Update] = {}
        # Assigning to a key already present keeps its place in line, so a busy symbol cannot starve a quiet one.

        self.followed: dict[Key, Entry] = {}
        self.stale: set[Entry] = set()
        """Quotes that this subscription was told are stale."""

        self.due = 0.0
        """When the next updates may be sent, seconds of the monotonic clock."""

        self.lost = 0
        """Records lost since somebody last looked."""

        self._queue: deque[tuple[Entry, Update]] = deque()
        self._told: dict[Entry, int] = {}
        self._begun: dict[Entry, int] = {}
        # Numbers from behind which is counted, until the first status has said so.
        self._refused_told: dict[Entry, dict[str, int]] = {}
        self._notices: dict[Key, _Notice] = {}
        self._losses: dict[Entry, _Lost] = {}
        self._urgent = False
        self._read = hub.position
        self._resumed_with = ""

    # ------------------------------------------------------------------------------- what comes in

    def follow(self, entry: Entry) -> None:
        """Begin to count the records of *entry*."""
        self.followed[entry.channel, entry.symbol] = entry
        self._told[entry] = entry.ordinal
        self._begun[entry] = entry.sequence
        if entry.refused:
            self._refused_told[entry] = dict(entry.refused)

    def resume(self, token: str, position: int | None) -> None:
        """Let what is handed out begin where the follower stopped reading.

        Args:
            token: his own, which stays his until he has been told how everything stands.
            position: where he stopped, if that is known here.
        """
        self._resumed_with = token
        if position is not None:
            self._read = position

    def unfollow(self, entry: Entry) -> None:
        """Drop whatever there is of *entry*."""
        key = entry.channel, entry.symbol
        self.followed.pop(key, None)
        self.unread.pop(entry, None)
        self.stale.discard(entry)
        self._told.pop(entry, None)
        self._begun.pop(entry, None)
        self._refused_told.pop(entry, None)
        self._losses.pop(entry, None)
        if entry.channel not in CONFLATED:
            self._queue = deque(item for item in self._queue if item[0] is not entry)
        self._notices.pop(key, None)

    def queue(self, entry: Entry, update: Update) -> None:
        """Put a record into the queue; the oldest makes room and is lost."""
        if len(self._queue) >= self.terms.queue:
            oldest, made_room = self._queue.popleft()
            # A snapshot has no number of its own: what came behind it tells more.
            if made_room.origin is not UpdateKind.SNAPSHOT:
                self.lose(oldest, made_room, LossCause.SLOW_FOLLOWER)
        self._queue.append((entry, update))

    def lose(self, entry: Entry, update: Update, cause: LossCause) -> None:
        """Take notice that *update* will not reach the follower, who will be told."""
        self.lost += 1
        lost = self._losses.get(entry)
        if lost is None:
            self._losses[entry] = _Lost(cause, update, update)
            self.notice(entry)
        else:
            lost.last = update
            lost.count += 1

    def notice(
        self,
        entry: Entry,
        *,
        why: Unavailable | None = None,
        gaps: Iterable[Gap] = (),
        urgent: bool = False,
    ) -> None:
        """Tell the follower how *entry* stands, and what comes with it; at once if it is *urgent*."""
        key = entry.channel, entry.symbol
        notice = self._notices.get(key)
        if notice is None or notice.state is not None:
            notice = self._notices[key] = _Notice()
        if why is not None:
            notice.why = why
        notice.gaps += (gap for gap in gaps if gap not in notice.gaps)
        if urgent or entry.state not in _QUICK:
            self._urgent = True

    def end(
        self, channel: Channel, symbol: str, state: SymbolState, now: int, why: Unavailable | None
    ) -> None:
        """Tell the follower that *symbol* is not followed, at *now* (nanoseconds of the wall clock), and why."""
        self._notices[channel, symbol] = _Notice(state, now, why)
        self._urgent = True

    def restate(self) -> None:
        """Tell the follower how everything stands."""
        for entry in self.followed.values():
            self.notice(entry)
        self._urgent = True

    @property
    def untold(self) -> int:
        """Statuses that wait to be handed out."""
        return len(self._notices)

    # -------------------------------------------------------------------------------- what goes out

    def has_mail(self, now: float) -> bool:
        """Tell whether anything may be sent at *now*, seconds of the monotonic clock."""
        if self._urgent:
            return True
        return now >= self.due and bool(self.unread or self._queue or self._notices)

    @property
    def mail_due(self) -> float | None:
        """When the mail that waits may be sent; None without any."""
        return self.due if self.unread or self._queue or self._notices else None

    def take_statuses(self) -> list[Status]:
        """Hand out statuses."""
        self._urgent = False
        if not self._notices:
            return []
        keys: list[Key] = []
        weight = 0
        for key, notice in self._notices.items():
            weight += 1 + len(notice.gaps)
            if keys and weight > MOST_STATUSES:
                break
            keys.append(key)
        self._urgent = len(keys) < len(self._notices)
        if not self._urgent:
            self._resumed_with = ""
        return [self._status(key, self._notices.pop(key)) for key in keys]

    def take_updates(self, encode: Encode, now: float) -> tuple[list[bytes], int]:
        """Hand out encoded updates, and tell how many others they supersede."""
        pieces: list[bytes] = []
        conflated = 0
        if self.unread:
            # Half of a message is for what is queued, if there is so much: neither may keep the other waiting.
            most = MOST_UPDATES - min(len(self._queue), MOST_UPDATES // 2)
            conflated = self._take_unread(encode, pieces, most)
        self._take_queued(encode, pieces)
        if not self._queue:
            self._read = self.hub.position
        if pieces and not (self._queue or self.unread):
            self.due = now + self.terms.interval
        return pieces, conflated

    def token(self, now: int) -> str:
        """Return the token that resumes behind what has been handed out."""
        if self._resumed_with:
            return self._resumed_with
        position = self._read
        # The follower has not heard yet of what waits.
        for notice in self._notices.values():
            for gap in notice.gaps:
                if gap.end is not None:
                    now = min(now, gap.end - 1)
        if self._losses:
            position = min(position, *(lost.first.position - 1 for lost in self._losses.values()))
        return tokens.encode(self.prefix, position, now)

    def _take_queued(self, encode: Encode, pieces: list[bytes]) -> None:
        queue = self._queue
        for _ in range(min(len(queue), MOST_UPDATES - len(pieces))):
            _, update = queue.popleft()
            pieces.append(_piece(update, encode, 0))
            self._read = update.position

    def _take_unread(self, encode: Encode, pieces: list[bytes], most: int) -> int:
        told, total = self._told, 0
        for entry, update in self._next_unread(most):
            # A snapshot has no number of its own: it supersedes the record whose number it bears.
            conflated = update.ordinal - told[entry] - (update.origin is UpdateKind.LIVE)
            told[entry] = update.ordinal
            total += conflated
            piece = update.piece
            if piece is None or update.conflated != conflated:
                piece = _piece(update, encode, conflated)
            pieces.append(piece)
            if self.stale and entry in self.stale:
                self.stale.discard(entry)
                self.notice(entry)
        return total

    def _next_unread(self, most: int) -> Collection[tuple[Entry, Update]]:
        unread = self.unread
        if len(unread) <= most:
            taken = list(unread.items())
            unread.clear()
            return taken
        oldest = list(unread)[:most]
        return [(entry, unread.pop(entry)) for entry in oldest]

    def _status(self, key: Key, notice: _Notice) -> Status:
        channel, symbol = key
        entry = self.followed.get(key)
        if entry is None or notice.state is not None:
            state = notice.state or SymbolState.REMOVED
            sequence = 0 if entry is None else entry.sequence
            return Status(symbol, channel, state, notice.changed, sequence, why=notice.why)
        state = self.hub.state_of(entry)
        if state is SymbolState.LIVE and entry in self.stale:
            state = SymbolState.STALE
        begun = self._begun.pop(entry, entry.sequence)
        if begun < entry.sequence:
            # The first status says where counting starts, and the next one what has come since.
            self.notice(entry)
            return Status(
                *(symbol, channel, state, entry.changed, begun),
                why=entry.why or notice.why,
                gaps=notice.gaps,
            )
        lost = self._losses.pop(entry, None)
        return Status(
            symbol,
            channel,
            state,
            entry.changed,
            entry.sequence,
            self._newly_refused(entry),
            () if lost is None else (lost.loss(),),
            entry.why or notice.why,
            notice.gaps,
        )

    def _newly_refused(self, entry: Entry) -> dict[str, int]:
        if not entry.refused:
            return {}
        told = self._refused_told.get(entry, {})
        self._refused_told[entry] = dict(entry.refused)
        return {
            rule: count - told.get(rule, 0)
            for rule, count in entry.refused.items()
            if count > told.get(rule, 0)
        }


def _piece(update: Update, encode: Encode, conflated: int) -> bytes:
    if update.piece is None or update.conflated != conflated:
        body = update.body
        if body is None:
            body = encode.body(update.kind, update.value, update.sequence, update.tier)
            update.body = body
        update.conflated = conflated
        update.piece = encode.framed(body, update.origin, conflated)
    return update.piece
