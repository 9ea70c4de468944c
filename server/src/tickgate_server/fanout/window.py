"""How many messages may be under way to a reader: as many as he lately read in the time that they may lie unread."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

MOST_UNREAD: Final = 64
"""Messages under way at most, however quick the reader is."""


class AckWindow:
    """Bounds by time what a reader has not acknowledged.

    gRPC takes messages for a reader that has stopped until its buffers are full, tens of thousands of small ones, and
    what lies in a buffer grows old. So the time that a message takes to be read is measured, from the moment at which
    the reader was free for it, and no more are sent than fit into `unread_age` at that pace. One is always allowed.
    """

    def __init__(self, unread_age: float) -> None:
        """Let messages lie unread for about *unread_age* seconds."""
        self.unread_age = unread_age
        self._unread: deque[tuple[int, float]] = deque()
        self._pace = self._pace_before = math.inf
        self._acked_at = -math.inf

    @property
    def unread(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._unread)

    @property
    def is_open(self) -> bool:
        """Whether one more may be sent."""
        unread = len(self._unread)
        if unread == 0:
            return True
        # The slower of the last two: one that was quick by chance proves little, one that was late is soon forgotten.
        pace = max(self._pace, self._pace_before)
        return unread < MOST_UNREAD and (unread + 1) * pace <= self.unread_age

    def sent(self, number: int, now: float) -> None:
        """Take notice that message *number* was sent at *now*, seconds of the monotonic clock."""
        self._unread.append((number, now))

    def ack(self, number: int, now: float) -> None:
        """Take notice that everything up to message *number* has been read by *now*."""
        read = 0
        begun = self._acked_at
        while self._unread and self._unread[0][0] <= number:
            _, sent_at = self._unread.popleft()
            if read == 0:
                begun = max(begun, sent_at)
            read += 1
        if read:
            self._pace_before = self._pace if self._pace < math.inf else 0.0
            self._pace = (now - begun) / read
            self._acked_at = now
