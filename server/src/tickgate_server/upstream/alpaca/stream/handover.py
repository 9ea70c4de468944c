"""What the thread of a socket hands to the serving loop: frames as they came, and what happened between them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from ....market.live import Channel, FeedState, GapCause
from ....market.unavailable import Unavailable

Wants: TypeAlias = Mapping[str, int]
"""Symbols, each with the number of the wish for it. What becomes of a wish that was withdrawn since, and perhaps made
anew, is nobody's news."""


class Frame(Struct, frozen=True, gc=False):
    """A frame of records as it arrived."""

    received_at: int
    """Nanoseconds of the wall clock."""

    data: bytes


class Changed(Struct, frozen=True):
    """The connection is in another state."""

    state: FeedState
    message: str


class Confirmed(Struct, frozen=True):
    """The upstream sends these symbols from now on."""

    channel: Channel
    symbols: Wants


class Rejected(Struct, frozen=True):
    """These symbols cannot be had, and are not wanted any more."""

    channel: Channel
    symbols: Wants
    why: Unavailable


class Lost(Struct, frozen=True):
    """The connection is gone, and with it every symbol that was confirmed."""

    cause: GapCause
    since: int
    message: str


class Shed(Struct, frozen=True):
    """Frames that stood here were dropped: the serving loop could not keep up."""

    records: int
    since: int
    """When the first of them arrived, nanoseconds of the wall clock."""


Item: TypeAlias = Frame | Changed | Confirmed | Rejected | Lost | Shed


class Handover:
    """A queue from one thread to the loop of another, bounded in frames and bytes.

    When it overflows, the older half of the frames goes: what is left is the newest. Word of what happened never goes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        *,
        most_frames: int,
        most_bytes: int,
    ) -> None:
        """Call *wake* on *loop* when there is something after there was nothing."""
        self._loop = loop
        self._wake = wake
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self._items: deque[Item] = deque()
        self._frames = 0
        self._bytes = 0
        self._is_awake = False
        self._lock = threading.Lock()

    def put(self, item: Item) -> None:
        """Hand *item* over. Never waits for the loop."""
        with self._lock:
            self._items.append(item)
            if type(item) is Frame:
                self._count(item, 1)
                if self._is_over(1.0):
                    self._shed()
            wake, self._is_awake = not self._is_awake, True
        if wake:
            self._loop.call_soon_threadsafe(self._wake)

    def take(self) -> Item | None:
        """Return the oldest item, or None when there is none: then the next one wakes the loop again."""
        with self._lock:
            if not self._items:
                self._is_awake = False
                return None
            item = self._items.popleft()
            if type(item) is Frame:
                self._count(item, -1)
            return item

    def _count(self, frame: Frame, sign: int) -> None:
        self._frames += sign
        self._bytes += sign * len(frame.data)

    def _is_over(self, share: float) -> bool:
        return self._frames > share * self._most_frames or self._bytes > share * self._most_bytes

    def _shed(self) -> None:
        kept: list[Item] = []
        records, since = 0, None
        while self._is_over(_KEPT):
            item = self._items.popleft()
            if type(item) is Frame:
                self._count(item, -1)
                records += record_count(item.data)
                since = item.received_at if since is None else since
            elif type(item) is Shed:
                # Nobody has heard of it yet, so it is one hole with this one.
                records += item.records
                since = item.since if since is None else since
            else:
                kept.append(item)
        if since is not None:
            kept.append(Shed(records, since))
        self._items.extendleft(reversed(kept))


_KEPT: Final = 0.5
"""Share of its bounds that an overflow leaves: shedding one frame at a time would be a gap for each."""


def record_count(frame: bytes) -> int:
    """Return how many records *frame* says that it holds; 0 when it is no array."""
    head = frame[0] if frame else 0
    if head & 0xF0 == 0x90:
        return head & 0x0F
    width = {0xDC: 2, 0xDD: 4}.get(head, 0)
    return int.from_bytes(frame[1 : 1 + width])
