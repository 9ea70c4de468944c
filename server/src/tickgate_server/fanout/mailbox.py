"""One stream's mail, message by message, no faster than it is read."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final, TypeAlias

from msgspec import Struct

from ..errors import InvalidRequest
from ..market.unavailable import Reason
from ..observe.counters import StreamCounts
from ..ports import Clock, Encode
from .beat import Beat
from .box import Box, Status
from .window import MOST_UNREAD, AckWindow

_MOST_REFUSALS: Final = 100
"""Refused requests whose answers wait to be read. Who sends more bad requests than that without reading is a fault."""

_QUIET: Final = 15.0
"""Seconds between heartbeats of a stream without a subscription."""

_FAREWELL: Final = 2.0
"""Seconds for which the last word waits to be read: when a stream ends with an error, gRPC throws away what its reader
has not read yet."""


class Updates(Struct, frozen=True):
    """Records, encoded."""

    pieces: list[bytes]


class Statuses(Struct, frozen=True):
    """How symbols stand."""

    statuses: list[Status]


class Heartbeat(Struct, frozen=True):
    """Nothing, but the stream is alive."""


class Refused(Struct, frozen=True):
    """A request on the stream broke a rule."""

    subscription_id: str
    error: InvalidRequest


class Closing(Struct, frozen=True):
    """The last word."""

    reason: Reason
    message: str
    retry_delay: float
    """Seconds."""


Event: TypeAlias = Updates | Statuses | Heartbeat | Refused | Closing


class Delivery(Struct, frozen=True):
    """One message."""

    number: int
    """1, 2, 3 … on its stream."""

    event: Event
    box: Box | None = None
    """Whose mail it is; None for what is about no subscription."""


class _Farewell(Struct, frozen=True):
    """The last word, once it was handed out."""

    number: int
    ends_at: float
    """When its reading is no longer waited for, seconds of the monotonic clock."""


class Mailbox:
    """Hands out the mail of one stream's subscriptions.

    At each beat the boxes that have mail get their turns, a message each in rotation: statuses first, for they say what
    the updates behind them mean, then updates. With acknowledgements no more is handed out than the window allows;
    without, everything is. Answers to requests and signs of life are no mail, and wait for nothing.
    """

    def __init__(
        self, beat: Beat, clock: Clock, encode: Encode, counts: StreamCounts, *, acks: bool
    ) -> None:
        """Begin without subscriptions.

        Args:
            beat: when to look for mail.
            clock: measures.
            encode: makes bytes of updates.
            counts: what is handed out is counted there.
            acks: whether the reader acknowledges.
        """
        self.boxes: dict[str, Box] = {}
        self._beat = beat
        self._clock = clock
        self._encode = encode
        self._counts = counts
        self._window = AckWindow(_QUIET) if acks else None
        self._refusals: deque[Refused] = deque()
        self._closing: Closing | None = None
        self._farewell: _Farewell | None = None
        self._hurried = False
        self._ended = False
        self._turn: deque[Box] = deque()
        self._number = 0
        self._heard_until = 0
        self._heartbeat = _QUIET
        self._heartbeat_at = clock.monotonic()
        """When the newest heartbeat was sent, or the stream began."""

        self._waiter: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    # -------------------------------------------------------------------------------- subscriptions

    def put_up(self, box: Box) -> None:
        """Hand out the mail of *box* from now on."""
        self.boxes[box.terms.id] = box
        self._heed_terms()

    def take_down(self, box: Box) -> None:
        """Hand out what is left in *box*, and then nothing more of it."""
        self.boxes.pop(box.terms.id, None)
        if box not in self._turn:
            self._turn.append(box)
        self._heed_terms()

    @property
    def untold(self) -> int:
        """Statuses that wait to be handed out, those of subscriptions that have ended included."""
        return sum(box.untold for box in {*self.boxes.values(), *self._turn})

    def _heed_terms(self) -> None:
        terms = [box.terms for box in self.boxes.values()]
        self._heartbeat = min((term.heartbeat for term in terms), default=_QUIET)
        if self._window is not None:
            self._window.unread_age = min((term.unread_age for term in terms), default=_QUIET)
        # The alarm may be set for later.
        self.wake()

    # --------------------------------------------------------------------------------- what he says

    def ack(self, number: int) -> None:
        """Take notice that everything up to message *number* has been read.

        Raises:
            InvalidRequest: it has not been sent.
        """
        if number > self._number:
            rule = f"message {number} has not been sent; the newest is {self._number}"
            raise InvalidRequest([("ack.delivery_sequence", rule)])
        self._heard_until = max(self._heard_until, number)
        if self._window is not None:
            self._window.ack(number, self._clock.monotonic())
        if self._farewell is not None or self._alarm is None:
            # Nothing else is waited for; or he was silent, so that heartbeats had stopped.
            self.wake()
        self.wake_for_mail()

    def refuse(self, subscription_id: str, error: InvalidRequest) -> None:
        """Answer that a request broke a rule."""
        self._refusals.append(Refused(subscription_id, error))
        if len(self._refusals) > _MOST_REFUSALS:
            self.end()
        self.wake()

    def close(self, closing: Closing) -> None:
        """Hand out what is there, then the last word, and end. Nothing more may come into the boxes."""
        self._closing = self._closing or closing
        self.wake()

    def hurry(self) -> None:
        """If it is closing, hand out the last word now, whatever lies unread."""
        self._hurried = True
        self.wake()

    def end(self) -> None:
        """End without another word: nobody reads any more."""
        self._ended = True
        self.wake()

    # ---------------------------------------------------------------------------------- what he gets

    async def next(self) -> Delivery | None:
        """Return the next message, when there is one that may be sent; None at the end."""
        while not self._is_over():
            delivery = self._take()
            if delivery is not None:
                return delivery
            await self._wait()
        return None

    def wake_for_mail(self) -> None:
        """Wake up if there is mail that may be sent now."""
        if self._waiter is None or not self._may_send:
            return
        # What waits for its interval may have come when the alarm was set already.
        if self._turn or self._mail_due() < self._alarm_at:
            self.wake()

    def wake(self) -> None:
        """Look again whether there is anything to do."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def _may_send(self) -> bool:
        return self._window is None or self._window.is_open

    def _with_mail(self) -> list[Box]:
        now = self._clock.monotonic()
        return [box for box in self.boxes.values() if box.has_mail(now)]

    def _mail_due(self) -> float:
        dues = [due for box in self.boxes.values() if (due := box.mail_due) is not None]
        return min(dues, default=math.inf)

    def _is_over(self) -> bool:
        if self._ended or self._farewell is None:
            return self._ended
        # Without acknowledgements nobody knows what was read.
        was_read = self._window is None or self._heard_until >= self._farewell.number
        return was_read or self._clock.monotonic() >= self._farewell.ends_at

    def _take(self) -> Delivery | None:
        if self._farewell is not None:
            return None
        if self._refusals:
            return self._sent(self._refusals.popleft())
        if self._closing is not None and (self._hurried or self._is_empty()):
            last = self._sent(self._closing)
            self._farewell = _Farewell(last.number, self._clock.monotonic() + _FAREWELL)
            return last
        if self._heartbeat_due() <= self._clock.monotonic():
            self._heartbeat_at = self._clock.monotonic()
            return self._sent(Heartbeat())
        return self._take_mail() if self._may_send else None

    def _take_mail(self) -> Delivery | None:
        now = self._clock.monotonic()
        while self._turn:
            box = self._turn.popleft()
            mail = self._mail_of(box, now)
            if mail is None:
                continue
            if box.has_mail(now):
                self._turn.append(box)
            delivery = self._sent(mail, box)
            if self._window is not None:
                self._window.sent(delivery.number, now)
            return delivery
        return None

    def _mail_of(self, box: Box, now: float) -> Updates | Statuses | None:
        if not box.has_mail(now):
            return None
        statuses = box.take_statuses(now)
        self._counts.lost += box.lost
        box.lost = 0
        if statuses:
            return Statuses(statuses)
        pieces, conflated = box.take_updates(self._encode, now)
        self._counts.delivered += len(pieces)
        self._counts.conflated += conflated
        return Updates(pieces) if pieces else None

    def _is_empty(self) -> bool:
        return all(box.is_empty for box in (*self._turn, *self.boxes.values()))

    def _heartbeat_due(self) -> float:
        unheard = self._number - self._heard_until
        if self._window is not None and self._window.unread and unheard >= MOST_UNREAD:
            # Who does not read needs no proof of life, and gRPC would keep it for him.
            return math.inf
        return self._heartbeat_at + self._heartbeat

    def _sent(self, event: Event, box: Box | None = None) -> Delivery:
        self._number += 1
        self._counts.messages += 1
        return Delivery(self._number, event, box)

    # -------------------------------------------------------------------------------------- waiting

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._beat.wait(self)
        self._set_alarm(loop)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._beat.leave(self)
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
        self._turn.extend(box for box in self._with_mail() if box not in self._turn)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        now = self._clock.monotonic()
        self._alarm_at = self._wake_at(now)
        if self._alarm_at < math.inf:
            self._alarm = loop.call_later(max(0.0, self._alarm_at - now), self.wake)

    def _wake_at(self, now: float) -> float:
        if self._farewell is not None:
            return self._farewell.ends_at
        due = self._mail_due()
        if due <= now:
            # It came while the message before was being sent, and that beat is over.
            self._beat.strike()
            due = math.inf
        return min(due, self._heartbeat_due())
