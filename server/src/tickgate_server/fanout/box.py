"""What one subscription has not read yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ..book import NEVER, Entry, Update
from ..market.live import Channel, Gap, Loss, LossCause, SymbolState, UpdateKind
from ..market.unavailable import Unavailable
from ..ports import Encode
from . import tokens
from .ring import Kept, Refused

MOST_UPDATES: Final = 1000
"""Updates in one message. An encoded one is 100 to 700 bytes, and a message stays under 1 MiB."""

MOST_STATUSES: Final = 1000
"""Statuses, and gaps in them, in one message. Each is 50 to 600 bytes."""

_QUICK: Final = frozenset({SymbolState.LIVE, SymbolState.INVALID})
"""States that may alternate with every record, and that therefore wait for `min_update_interval` as records do."""

_MOST_GAPS: Final = 100
"""Gaps that one status tells apart. Who was not there for so many is told that the oldest were one."""


class Status(Struct, frozen=True, gc=False):
    """How a symbol stands, as one follower is told."""

    symbol: str
    channel: Channel
    state: SymbolState
    changed: int
    """When it took on its state, nanoseconds of the wall clock."""

    sequence: int
    """Number of the newest record; in the first status of a symbol, the number behind which counting starts."""

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

    def standing(self, entry: Entry, stale_after: int) -> tuple[SymbolState, int]:
        """Return the state of *entry* and since when, for those to whom a quote is stale after *stale_after*."""
        ...


class _Notice(Struct, gc=False):
    """A status that is to be sent. What it says is looked up when it is."""

    begins: int | None = None
    """Number behind which counting starts; None if it has started."""

    why: Unavailable | None = None
    gaps: tuple[Gap, ...] = ()

    def add(self, gaps: tuple[Gap, ...]) -> None:
        """Tell of *gaps*, or what has become of them."""
        if not self.gaps:
            self.gaps = gaps
            return
        known = {gap.id: gap for gap in (*self.gaps, *gaps)}
        told = list(known.values())
        while len(told) > _MOST_GAPS:
            told[:2] = [replace(told[1], start=told[0].start, lost_records=None)]
        self.gaps = tuple(told)


class _Lost(Struct, gc=False):
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
    whose oldest records make room: then the follower is told which. Mail is taken in turns: what is there when a turn
    begins may be handed out at once, and the next turn begins `min_update_interval` after the last of it.
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
        """Symbols that were asked for and not taken back, also those that were rejected."""

        self.followed: dict[Entry, int] = {}
        """What is followed, and which valid record of it was last delivered where only the newest counts."""

        self.unread: dict[Entry, Update] = {}
        # Assigning to a key already present keeps its place in line, so a busy symbol cannot starve a quiet one.

        self.stale: set[Entry] = set()
        """Quotes that this subscription was told are stale."""

        self.due = 0.0
        """When the next turn may begin, seconds of the monotonic clock."""

        self.lost = 0
        """Records lost since somebody last looked."""

        self.received: int | None = None
        """When the first live update that was handed out last had arrived, nanoseconds of the wall clock; None where
        there was none."""

        self._queue: deque[tuple[Entry, Update, UpdateKind]] = deque()
        self._written: deque[Status] = deque()
        """Statuses of what has ended, which nothing can change any more. They go before `_notices`."""

        self._notices: dict[Entry, _Notice] = {}
        self._losses: dict[Entry, list[_Lost]] = {}
        self._refused_told: dict[Entry, dict[str, int]] = {}
        self._moved: dict[Entry, int] = {}
        """When a quote that was stale moved again, nanoseconds of the wall clock."""

        self._urgent = False
        self._left = 0
        """Updates still to be handed out in this turn."""

        self._read = hub.position
        """Position up to which everything was handed out, while there is a queue."""

        self._sealed_at: int | None = None
        self._untold_from = NEVER
        """Position behind which there are records that a status is still to account for."""

        self._untold_since = NEVER
        """Nanoseconds of the wall clock after which gaps ended that a status is still to tell of."""

        self._foreign: tokens.Token | None = None
        """Token of another subscription or epoch, until the follower has been told what that means."""

    # ------------------------------------------------------------------------------- what comes in

    def follow(self, entry: Entry) -> None:
        """Begin to count the records of *entry*."""
        self.followed[entry] = entry.ordinal
        if entry.refused:
            self._refused_told[entry] = dict(entry.refused)
        self._notices[entry] = _Notice(begins=entry.sequence)
        self._urgent = True

    def unfollow(self, entry: Entry) -> None:
        """Drop whatever there is of *entry*, but for the queue: that is for `purge`."""
        for held in (
            self.followed,
            self.unread,
            self._notices,
            self._losses,
            self._refused_told,
            self._moved,
        ):
            held.pop(entry, None)
        self.stale.discard(entry)

    def purge(self) -> None:
        """Drop from the queue what is no longer followed."""
        if self._queue:
            self._queue = deque(item for item in self._queue if item[0] in self.followed)

    def seal(self) -> None:
        """Take notice that nothing more will come in, so that nothing is waited for."""
        if self._sealed_at is not None:
            return
        self._sealed_at = self.hub.position
        self.due = 0.0
        # What happens from now on is none of its follower's.
        while self._notices:
            self._written.append(self._next_status())

    def queue(self, entry: Entry, update: Update) -> None:
        """Put a record into the queue. The oldest makes room and is lost."""
        if not self._queue:
            # A snapshot has no place of its own: everything up to it has been handed out.
            self._read = update.position - (update.origin is UpdateKind.LIVE)
        elif len(self._queue) >= self.terms.queue:
            self._lose_oldest(LossCause.SLOW_FOLLOWER)
        self._queue.append((entry, update, update.origin))

    def resume(self, token: tokens.Token, *, known: bool) -> None:
        """Take notice that the follower has read up to *token*, which is of this subscription if it is *known*."""
        if known:
            self._read = token.position
            self._untold_from = min(self._untold_from, token.position)
            self._untold_since = min(self._untold_since, token.time)
        else:
            self._foreign = token

    def replay(self, entry: Entry, record: Kept) -> None:
        """Put a record into the queue that was given its number while the follower was away: counting starts there."""
        notice = self._notices[entry]
        if notice.begins is not None:
            notice.begins = min(notice.begins, record.sequence - 1)
        if isinstance(record, Refused):
            self._refused_told[entry][record.rule] -= 1
            return
        if len(self._queue) >= self.terms.queue:
            self._lose_oldest(LossCause.NOT_KEPT)
        self._queue.append((entry, record, UpdateKind.REPLAY))

    def notice(
        self,
        entry: Entry,
        *,
        why: Unavailable | None = None,
        gaps: tuple[Gap, ...] = (),
        since: int = NEVER,
        urgent: bool = False,
    ) -> None:
        """Tell the follower how *entry* stands.

        Args:
            entry: which he follows.
            why: why there is no value.
            gaps: what was missed of it.
            since: position behind which there are records that the status accounts for.
            urgent: at once, although its state may have come with a record.
        """
        notice = self._notices.get(entry)
        if notice is None:
            notice = self._notices[entry] = _Notice()
        if why is not None:
            notice.why = why
        if gaps:
            notice.add(gaps)
            ends = [gap.end - 1 for gap in gaps if gap.end is not None]
            self._untold_since = min((self._untold_since, *ends))
        self._untold_from = min(self._untold_from, since)
        if urgent or entry.state not in _QUICK:
            self._urgent = True

    def mark(self, entry: Entry, now: int) -> None:
        """Tell the follower that a quote has become stale, or is so no longer."""
        if entry in self.stale:
            self.stale.discard(entry)
            self._moved[entry] = now
        else:
            self.stale.add(entry)
        self.notice(entry, urgent=True)

    def end(
        self,
        channel: Channel,
        symbol: str,
        state: SymbolState,
        now: int,
        why: Unavailable | None = None,
    ) -> None:
        """Tell the follower that *symbol*, which he has not followed, is not followed, and why."""
        self._written.append(Status(symbol, channel, state, now, 0, why=why))
        self._urgent = True

    def end_entry(
        self, entry: Entry, state: SymbolState, now: int, why: Unavailable | None = None
    ) -> None:
        """Tell the follower that *entry* is no longer followed, and drop whatever there is of it, as `unfollow`."""
        told = self._status(entry, self._notices.pop(entry, _Notice()))
        self._written.append(replace(told, state=state, changed=now, why=why))
        self.unfollow(entry)
        self._urgent = True

    def restate(self) -> None:
        """Tell the follower how everything stands."""
        for entry in self.followed:
            self.notice(entry, urgent=True)

    def _lose_oldest(self, cause: LossCause) -> None:
        entry, update, origin = self._queue.popleft()
        if origin is UpdateKind.SNAPSHOT:
            # It has no number of its own, and nobody needs to know what stood before what he reads.
            return
        self.lost += 1
        losses = self._losses.setdefault(entry, [])
        if losses and losses[-1].cause is cause:
            losses[-1].last = update
            losses[-1].count += 1
            return
        losses.append(_Lost(cause, update, update))
        self.notice(entry, since=update.position - 1)

    # -------------------------------------------------------------------------------- what goes out

    @property
    def untold(self) -> int:
        """Statuses that wait to be handed out."""
        return len(self._written) + len(self._notices)

    @property
    def is_empty(self) -> bool:
        """Whether there is no mail at all."""
        return not (self.unread or self._queue or self._notices or self._written)

    @property
    def mail_due(self) -> float | None:
        """When the mail that waits may be sent; None without any."""
        if self.is_empty:
            return None
        return 0.0 if self._urgent else self.due

    def has_mail(self, now: float) -> bool:
        """Tell whether anything may be sent at *now*, seconds of the monotonic clock."""
        return not self.is_empty and (self._urgent or now >= self.due)

    def take_statuses(self, now: float) -> list[Status]:
        """Hand out statuses, what has ended first."""
        told: list[Status] = []
        room = MOST_STATUSES
        while self._written and room > 0:
            told.append(self._written.popleft())
            room -= 1 + len(told[-1].gaps)
        while self._notices and room > 0:
            told.append(self._next_status())
            room -= 1 + len(told[-1].gaps)
        if not self.untold:
            self._close_notices(now, paced=bool(told) and not self._urgent)
        return told

    def _close_notices(self, now: float, *, paced: bool) -> None:
        self._urgent = False
        self._untold_from = self._untold_since = NEVER
        self._foreign = None
        if paced and self.is_empty:
            self._end_turn(now)

    def take_updates(self, encode: Encode, now: float) -> tuple[list[bytes], int]:
        """Hand out encoded updates, and tell how many others they supersede."""
        self.received = None
        if not self._left:
            self._left = len(self._queue) + len(self.unread)
            if not self._left:
                return [], 0
        most = min(self._left, MOST_UPDATES)
        # Half of a message at least is for quotes: a backlog of trades must not let them grow old.
        pieces = self._take_queued(encode, max(most // 2, most - len(self.unread)))
        conflated = self._take_unread(encode, pieces, most - len(pieces))
        self._left -= len(pieces)
        if not self._left or not (self._queue or self.unread):
            self._end_turn(now)
        return pieces, conflated

    def token(self, now: int) -> str:
        """Return the token that resumes behind what has been handed out, made at *now*."""
        if self._foreign is not None:
            return tokens.encode(self._foreign.prefix, self._foreign.position, self._foreign.time)
        position = self._read if self._queue else self._frontier
        return tokens.encode(
            self.prefix, min(position, self._untold_from), min(now, self._untold_since)
        )

    @property
    def _frontier(self) -> int:
        """Position up to which records came in here."""
        return self.hub.position if self._sealed_at is None else self._sealed_at

    def _end_turn(self, now: float) -> None:
        self._left = 0
        if self._sealed_at is None:
            self.due = now + self.terms.interval

    def _take_queued(self, encode: Encode, most: int) -> list[bytes]:
        queue, pieces = self._queue, []
        for _ in range(min(len(queue), most)):
            _, update, origin = queue.popleft()
            if self.received is None and origin is UpdateKind.LIVE:
                self.received = update.value.provenance.receive_time
            if origin is update.origin:
                pieces.append(_piece(update, encode, 0))
            else:
                pieces.append(encode.framed(_body(update, encode), origin, 0))
            self._read = update.position
        return pieces

    def _take_unread(self, encode: Encode, pieces: list[bytes], most: int) -> int:
        followed, total = self.followed, 0
        for entry, update in self._oldest_unread(most):
            # A snapshot has no number of its own: it supersedes the record whose number it bears.
            conflated = update.ordinal - followed[entry] - (update.origin is UpdateKind.LIVE)
            followed[entry] = update.ordinal
            total += conflated
            if self.received is None and update.origin is UpdateKind.LIVE:
                self.received = update.value.provenance.receive_time
            piece = update.piece
            if piece is None or update.conflated != conflated:
                piece = _piece(update, encode, conflated)
            pieces.append(piece)
            if self.stale and entry in self.stale and self._sealed_at is None:
                self.mark(entry, update.value.provenance.receive_time)
        return total

    def _oldest_unread(self, most: int) -> Collection[tuple[Entry, Update]]:
        unread = self.unread
        if len(unread) <= most:
            taken = list(unread.items())
            unread.clear()
            return taken
        return [(entry, unread.pop(entry)) for entry in list(islice(unread, most))]

    def _next_status(self) -> Status:
        entry = next(iter(self._notices))
        return self._status(entry, self._notices.pop(entry))

    def _status(self, entry: Entry, notice: _Notice) -> Status:
        refused: dict[str, int] = {}
        losses: tuple[Loss, ...] = ()
        if notice.begins is None:
            refused = self._newly_refused(entry)
            losses = tuple(lost.loss() for lost in self._losses.pop(entry, ()))
        elif entry in self._losses or entry.refused != self._refused_told.get(entry, {}):
            # The first status says where counting starts, and the next one what has come since.
            self._notices[entry] = _Notice()
        state, changed = self.hub.standing(entry, self.terms.stale_after)
        (self.stale.add if state is SymbolState.STALE else self.stale.discard)(entry)
        return Status(
            entry.symbol,
            entry.channel,
            state,
            max(changed, self._moved.get(entry, 0)),
            entry.sequence if notice.begins is None else notice.begins,
            refused,
            losses,
            entry.why or (notice.why if entry.latest is None else None),
            notice.gaps,
        )

    def _newly_refused(self, entry: Entry) -> dict[str, int]:
        told = self._refused_told.get(entry, {})
        if entry.refused == told:
            return {}
        self._refused_told[entry] = dict(entry.refused)
        return {
            rule: count - told.get(rule, 0)
            for rule, count in entry.refused.items()
            if count > told.get(rule, 0)
        }


def _piece(update: Update, encode: Encode, conflated: int) -> bytes:
    if update.piece is None or update.conflated != conflated:
        update.conflated = conflated
        update.piece = encode.framed(_body(update, encode), update.origin, conflated)
    return update.piece


def _body(update: Update, encode: Encode) -> bytes:
    body = update.body
    if body is None:
        body = update.body = encode.body(update.kind, update.value, update.sequence, update.tier)
    return body
