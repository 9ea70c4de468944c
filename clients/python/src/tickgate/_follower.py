"""A follower's side of a stream: what to send, what to hand on, when to give up. Knows no I/O.

The subscriptions drive it. They carry messages and wait; it keeps the time by the clock that it is
given, so the twins cannot differ in anything that matters. Not safe to share: who drives it from
several threads holds a lock.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _convert as convert
from ._enums import Channel, SymbolState
from ._errors import (
    ERROR_OF,
    DataUnavailableError,
    DeadlineExceeded,
    GatewayError,
    GatewayUnreachable,
    InvalidRequest,
    NotFeedHolder,
    NotPermitted,
    SubscriptionLimit,
    TickgateError,
    Unauthenticated,
    rejected_error,
    violations,
)
from ._models import Disconnected, Reconnected, SymbolStatus, Update
from ._occ import name_of
from ._tally import Tally
from ._time import nanoseconds
from ._unread import Unread
from .v1 import stream_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._models import Counts
    from ._occ import Occ
    from ._plans import Plan

Item = TypeVar("Item")

LOG = logging.getLogger("tickgate")

ACK_INTERVAL = 0.05
"""Seconds between acks at least. One is due that long after the one before, and the gateway measures
by them how fast a follower reads."""

PATIENCE = 3
"""Heartbeats that may be missed before the connection counts as lost."""

WINDOW = 64
"""Messages that the gateway keeps unacknowledged at most. Then it is silent, heartbeats included."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before the second attempt, and before any later one; each doubles the pause. Where there are several
gateways it is rounds of attempts that are counted."""

HOP = 0.05
"""Seconds at most before an attempt at a gateway that has not been tried yet: a crowd does not come all at once."""

CALM = 60.0
"""Seconds that a connection has to last before its loss is met with the first pause again."""

CONFLATED = frozenset({Channel.QUOTES, Channel.DAILY_BARS})
"""Channels whose records supersede each other."""

FINAL = frozenset(
    "INVALID_ARGUMENT NOT_FOUND PERMISSION_DENIED UNAUTHENTICATED FAILED_PRECONDITION "
    "OUT_OF_RANGE UNIMPLEMENTED".split()
)
"""Statuses that trying again cannot mend."""


class _Crossed(GatewayUnreachable):
    """The gateway has ended the stream, and gRPC has lost what it said. Ask again."""


@dataclass(slots=True, kw_only=True)
class Change:
    """Symbols that come or go, until the gateway has answered for each."""

    added: bool
    symbols: frozenset[str]
    """Those that change what is followed, so that a refusal can undo it."""
    waiting: set[str]
    """Those without an answer."""
    error: TickgateError | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is to be waited for."""
        return not self.waiting or self.error is not None


@dataclass(slots=True, kw_only=True)
class _Stream:
    """What belongs to one stream, and not to the next one."""

    heard: float
    """When a sign of life last came."""
    token: str = ""
    """Token that it was begun with."""
    symbols: frozenset[str] = frozenset()
    """Symbols that it was begun with."""
    resumed: bool = False
    """Whether it goes on where the one before was left."""
    begun: float | None = None
    """When the gateway first spoke about the subscription."""
    received: int = 0
    """Number of the newest message."""
    settled: int = 0
    """Number of the newest message that may be acknowledged."""
    acked: int = 0
    """Number of the newest message that was."""
    ack_time: float = float("-inf")
    tokens: deque[tuple[int, str]] = field(default_factory=deque)
    """Numbers and tokens of messages that hold unread records, or stand behind one that does."""
    requests: list[pb.SubscribeRequest] = field(default_factory=list)
    """What is to be sent."""
    closing: tuple[TickgateError, float] | None = None
    """Why the gateway ends the stream, and the seconds that it wants to be left alone."""
    over: bool = False


class Follower(Generic[Item]):
    """Follows symbols on one channel, over as many streams as it takes."""

    def __init__(
        self,
        plan: Plan[Item],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.plan = plan
        self.opened = False
        """Whether the gateway has once accepted the subscription."""
        self.failure: TickgateError | None = None
        """Why following has ended, where trying again cannot help."""
        self.last_error: TickgateError | None = None
        """Why the newest stream was lost."""
        self.states: dict[str, SymbolStatus] = {}
        """Newest status of each symbol on the stream that is open."""
        self._clock = clock
        self._chance = chance
        self._wanted = dict.fromkeys(plan.symbols)
        self._unread: Unread[Update[Item] | SymbolStatus | Disconnected | Reconnected]
        self._unread = Unread(conflated=plan.channel in CONFLATED)
        self._newest: dict[str, tuple[pb.Update, Any]] = {}
        self._tallies: dict[str, Tally] = {}
        self._change: Change | None = None
        self._token = ""
        self._epoch = ""
        self._stream = _Stream(heard=clock(), over=True)
        self._attempts = 0
        self._held_elsewhere = False
        """Whether a replica has said that another holds the feed."""
        self._refused = 0
        """Attempts since a gateway last accepted."""
        self._lost: float | None = None

    # ------------------------------------------------------------------------ connecting, losing

    def connect(self) -> pb.SubscribeRequest:
        """Begin a stream and return what to send first on it."""
        self._stream = _Stream(
            heard=self._clock(), token=self._token, symbols=frozenset(self._wanted)
        )
        subscription = pb.Subscription()
        subscription.CopyFrom(self.plan.subscription)
        subscription.symbols[:] = self._wanted
        subscription.resume_token = self._token
        return pb.SubscribeRequest(subscribe=subscription)

    def silent_in(self) -> float:
        """Seconds until the stream counts as lost, if nothing comes before."""
        stream, patience = self._stream, PATIENCE * self.plan.heartbeat_interval
        if stream.received - stream.acked >= WINDOW:
            return patience  # the gateway waits for the reader, who need not hurry
        return max(stream.heard, stream.ack_time) + patience - self._clock()

    def silence(self) -> GatewayUnreachable:
        """The error for a stream that has become silent."""
        waited = PATIENCE * self.plan.heartbeat_interval
        message = f"the gateway has sent nothing for {waited:g} s"
        return GatewayUnreachable(message, request_id=self.plan.request_id)

    def crossing(self) -> GatewayUnreachable:
        """The error for a stream whose end crossed what was being sent, so that its reason is lost."""
        return _Crossed("the gateway has ended the stream", request_id=self.plan.request_id)

    def late(self, waited: float) -> TickgateError:
        """The error for an answer that has not come within the seconds *waited*."""
        if self.last_error is not None and not self.connected:
            return self.last_error
        message = f"the gateway has not answered within {waited:g} s"
        return DeadlineExceeded(message, request_id=self.plan.request_id)

    @property
    def closing(self) -> bool:
        """Whether the gateway has said its last word on the stream."""
        return self._stream.closing is not None or self.failure is not None

    def lose(
        self, error: TickgateError | None, pushback: float | None = None, *, gateways: int = 1
    ) -> float | None:
        """Note that the stream has ended.

        Args:
            error: Why. None where the gateway ended it without a word.
            pushback: Seconds after which the gateway wants to be asked again, negative for never.
            gateways: How many there are. The next attempt is at the next of them.

        Returns:
            Seconds until the next attempt. None where there is none: `failure` says why.
        """
        stream = self._stream
        stream.over = True
        self.states.clear()
        if error is None:
            said = "the gateway has ended the stream"
            error = GatewayUnreachable(said, request_id=self.plan.request_id)
        if stream.closing is not None:
            error, pushback = stream.closing
        self.last_error = error
        if stream.begun is not None and self._clock() - stream.begun >= CALM:
            self._attempts = 0
        self._attempts += 1
        self._refused = 1 if stream.begun is not None else self._refused + 1
        if self.failure is not None or not self._mendable(error, pushback, gateways):
            self.failure = self.failure or error
            return None
        pause = self._pause(error, pushback, gateways)
        if self.opened:
            self._note_loss(error, pause)
        return pause

    def _mendable(self, error: TickgateError, pushback: float | None, gateways: int) -> bool:
        """Whether another attempt may succeed."""
        if not self.opened:
            # Whoever enters waits for an answer. Nobody there is said at once, like for any call:
            # after one more attempt than there are gateways. Where this replica is the wrong one the
            # next may be right, and where the reason is lost the next attempt is told it.
            self._held_elsewhere |= isinstance(error, NotFeedHolder)
            reached = self._held_elsewhere or isinstance(error, _Crossed)
            return isinstance(error, GatewayUnreachable) and (reached or self._attempts <= gateways)
        if isinstance(error, GatewayUnreachable | SubscriptionLimit):
            # The contract says to come again, whatever the status says to gRPC's own retries.
            return True
        if (
            isinstance(error, InvalidRequest | NotPermitted | Unauthenticated)
            or (pushback or 0) < 0
        ):
            return False
        return not (isinstance(error, GatewayError) and error.code in FINAL) and not (
            isinstance(error, DataUnavailableError) and not _passing(error)
        )

    def _pause(self, error: TickgateError, pushback: float | None, gateways: int) -> float:
        """Seconds until the next attempt: what the gateway asks for at least, spread at random."""
        rounds = (self._attempts - 1) // gateways
        untried = self._refused % gateways > 0
        if untried and (rounds < 2 or self._refused > 1):
            # It has asked for no delay. But gateways that accept and end at once are soon given pauses as well.
            return HOP * self._chance()
        step = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(rounds, 16))
        said = getattr(error, "retry_delay", None)
        asked = max(pushback or 0.0, said.total_seconds() if said else 0.0)
        return max(step * (0.5 + 0.5 * self._chance()), asked * (1.0 + 0.5 * self._chance()))

    def _note_loss(self, error: TickgateError, pause: float) -> None:
        if self._lost is None:
            self._lost = self._clock()
        event = Disconnected(error=error, retry_delay_ns=nanoseconds(pause))
        # However many attempts fail, what a reader finds is the newest word on the outage.
        self._unread.put_event(event, self._stream.received, place=("lost", self._lost))

    # ----------------------------------------------------------------------------------- receiving

    def receive(self, message: pb.SubscribeResponse) -> None:
        """Take in a message of the stream."""
        stream = self._stream
        stream.heard = self._clock()
        stream.received = message.delivery_sequence
        try:
            self._read(message)
        except convert.BrokenContract as error:
            self.failure = self._broken(error)
            return
        if message.resume_token:
            stream.tokens.append((stream.received, message.resume_token))
        if self._change is not None or not self._unread:
            stream.settled = stream.received

    def _read(self, message: pb.SubscribeResponse) -> None:
        event = message.WhichOneof("event")
        if event == "updates":
            self._begin(message)
            for update in message.updates.updates:
                self._put(update, message)
        elif event == "statuses":
            self._begin(message)
            for status in message.statuses.statuses:
                self._note(convert.symbol_status(status))
        elif event == "refused":
            self._refuse(message.refused)
        elif event == "closing":
            self._stream.closing = self._farewell(message.closing)

    def _begin(self, message: pb.SubscribeResponse) -> None:
        """Note that the gateway speaks of the subscription, if it had not yet on this stream."""
        stream = self._stream
        if stream.begun is not None:
            return
        stream.begun = self._clock()
        self.opened = True
        stream.resumed = bool(stream.token) and message.epoch == self._epoch
        self._epoch = message.epoch
        # What came of the lost stream and was not taken comes again where it is resumed.
        self._unread.carry_over(keep_records=not stream.resumed)
        if self._change is not None and not self._change.added:
            self._change.waiting.clear()  # what was not asked for again is gone
        if self._lost is not None:
            outage = nanoseconds(self._clock() - self._lost)
            event = Reconnected(attempts=self._attempts, outage_ns=outage, resumed=stream.resumed)
            self._unread.put_event(event, stream.received)
            self._lost = None

    def _put(self, update: pb.Update, message: pb.SubscribeResponse) -> None:
        record = convert.record(update, self.plan.channel)
        symbol: str = record.symbol
        if not self._wants(symbol):
            return  # it was under way when it was removed
        if update.kind == pb.UPDATE_KIND_SNAPSHOT:
            self._answered(symbol)
        tally = self._tally(symbol)
        if tally.was_taken(update, message.epoch) or self._is_replayed(update, symbol):
            return
        self._newest[symbol] = update, message.serve_time
        self._unread.put(symbol, update, message)

    def _is_replayed(self, update: pb.Update, symbol: str) -> bool:
        """Whether a snapshot repeats what is replayed: of what is queued each record counts once."""
        snapshot = update.kind == pb.UPDATE_KIND_SNAPSHOT and not self._unread.conflated
        return snapshot and self._stream.resumed and symbol in self._stream.symbols

    def _note(self, status: SymbolStatus) -> None:
        symbol, removed = status.symbol, status.state is SymbolState.REMOVED
        self._answered(symbol, removed=removed)
        first = not removed and symbol not in self.states
        if removed:
            self._forget(symbol)
        else:
            self.states[symbol] = status
        if first:
            self._tally(symbol).begin()
        self._unread.put_event(status, self._stream.received, symbol=symbol, begins=first)

    def _forget(self, symbol: str) -> None:
        if not self._wants(symbol):
            self.states.pop(symbol, None)
            self._newest.pop(symbol, None)
            self._tallies.pop(symbol, None)
            self._unread.drop(symbol)

    def _refuse(self, refused: pb.RequestRefused) -> None:
        error = InvalidRequest(
            refused.message,
            violations=violations(refused.bad_request),
            request_id=self.plan.request_id,
        )
        change = self._change
        if change is None or self._stream.begun is None:
            self.failure = error
            return
        change.error = error
        if change.added:
            for symbol in change.symbols:
                self._wanted.pop(symbol, None)
        else:
            self._wanted.update(dict.fromkeys(change.symbols))

    def _farewell(self, closing: pb.StreamClosing) -> tuple[TickgateError, float]:
        kind = ERROR_OF[convert.REASON.member(closing.reason)]
        if not issubclass(kind, GatewayUnreachable | Unauthenticated | NotPermitted):
            kind = GatewayUnreachable  # whatever the reason of tomorrow, this gateway is leaving
        error = kind(closing.message, request_id=self.plan.request_id)
        return error, closing.retry_delay.ToNanoseconds() / 1e9

    # -------------------------------------------------------------------------------------- taking

    def take(self) -> Update[Item] | SymbolStatus | Disconnected | Reconnected | None:
        """What comes next for the application, None if nothing has come yet.

        Raises:
            TickgateError: following has ended, and everything that had come was taken.
        """
        entry = self._unread.take()
        self._settle()
        if entry is None:
            if self.failure is not None:
                raise self.failure
            return None
        tally = self._tallies.get(entry.symbol)
        if tally is not None:
            tally.take(entry)
        if entry.event is not None:
            return entry.event
        return self._update(entry.update, entry.serve_time, entry.conflated)

    def _settle(self) -> None:
        """Count what was taken, for the next ack and for the token of the next stream."""
        stream = self._stream
        frontier = self._unread.frontier(stream.received)
        while stream.tokens and stream.tokens[0][0] <= frontier:
            self._token = stream.tokens.popleft()[1]
        # What conflates is bounded by the symbols: once it has been merged it makes no more room by
        # waiting, and the gateway should send what is newer. What is queued waits for its reader.
        settled = stream.received if self._unread.conflated else frontier
        stream.settled = max(stream.settled, settled)

    def value(self, each: Update[Item] | SymbolStatus | Disconnected | Reconnected) -> Item | None:
        """The record in what was taken, for a reader of records alone; None if it is an event.

        Raises:
            InvalidRequest: every symbol is rejected, because it breaks a rule of the API.
            DataUnavailableError: every symbol is rejected; the subclass says why.
        """
        if isinstance(each, Update):
            return each.value
        if isinstance(each, SymbolStatus) and each.state is SymbolState.REJECTED:
            assert each.unavailable is not None
            if all(map(self._rejected, self._wanted)):
                raise rejected_error(each.unavailable)
            LOG.warning("%s is not followed: %s", each.symbol, each.unavailable.message)
        elif isinstance(each, Disconnected):
            LOG.warning("the gateway is lost, and tried again: %s", each.error)
        return None

    def _rejected(self, symbol: str) -> bool:
        status = self.states.get(symbol)
        return status is not None and status.state is SymbolState.REJECTED

    # ------------------------------------------------------------------------------------- sending

    def due_in(self) -> float | None:
        """Seconds until there is something to send, not above zero for now; None if there is nothing."""
        stream = self._stream
        if stream.over:
            return None
        if stream.requests:
            return 0.0
        if stream.settled > stream.acked:
            return stream.ack_time + ACK_INTERVAL - self._clock()
        return None

    def requests(self) -> list[pb.SubscribeRequest]:
        """What is to be sent now."""
        stream, now = self._stream, self._clock()
        if stream.over:
            return []
        found, stream.requests = stream.requests, []
        if stream.settled > stream.acked and now >= stream.ack_time + ACK_INTERVAL:
            stream.acked, stream.ack_time = stream.settled, now
            found.append(pb.SubscribeRequest(ack=pb.Ack(delivery_sequence=stream.acked)))
        return found

    # ------------------------------------------------------------------------------------ changing

    def add(self, symbols: Iterable[str | Occ]) -> Change:
        """Follow more symbols; the change is settled when the gateway has answered for each."""
        asked = list(map(name_of, symbols))
        new = frozenset(asked) - self._wanted.keys()
        self._wanted.update(dict.fromkeys(asked))
        request = pb.SubscribeRequest(add=pb.AddSymbols(symbols=asked))
        return self._changed(Change(added=True, symbols=new, waiting=set(asked)), request)

    def remove(self, symbols: Iterable[str | Occ]) -> Change:
        """Stop following symbols; the change is settled when the gateway has confirmed each.

        Raises:
            InvalidRequest: none would be left.
        """
        asked = list(map(name_of, symbols))
        gone = frozenset(asked) & self._wanted.keys()
        if gone == self._wanted.keys():
            raise InvalidRequest("symbols: to follow none, leave the subscription")
        for symbol in gone:
            del self._wanted[symbol]
        request = pb.SubscribeRequest(unsubscribe=pb.Unsubscribe(symbols=asked))
        return self._changed(Change(added=False, symbols=gone, waiting=set(asked)), request)

    def _changed(self, change: Change, request: pb.SubscribeRequest) -> Change:
        self._change = change
        # Whoever waits for an answer takes nothing. What stands before the answer must not fill the
        # window that the answer needs, so until it comes messages are acknowledged as they arrive.
        self._stream.settled = self._stream.received
        # Without a stream the next one begins with what is wanted by then.
        if not self._stream.over:
            self._stream.requests.append(request)
        return change

    def settled(self, change: Change) -> None:
        """Nobody waits for *change* any more.

        Raises:
            InvalidRequest: the gateway refused it, and nothing of it was done.
        """
        self._change = None
        if change.error is not None:
            raise change.error

    def _answered(self, symbol: str, *, removed: bool = False) -> None:
        change = self._change
        if change is not None and change.added is not removed:
            change.waiting.discard(symbol)

    # ------------------------------------------------------------------------------------- looking

    @property
    def connected(self) -> bool:
        """Whether a stream is open and the gateway has accepted the subscription on it."""
        return self._stream.begun is not None and not self._stream.over

    def latest(self, symbol: str | Occ) -> Item | None:
        """The newest record of *symbol* that has come, taken or not."""
        found = self._newest.get(name_of(symbol))
        return None if found is None else self._update(*found, conflated=0).value

    def counts(self) -> dict[str, Counts]:
        """What has become of the records of each symbol."""
        return {symbol: tally.counts() for symbol, tally in self._tallies.items()}

    def _update(self, update: Any, serve_time: Any, conflated: int) -> Update[Item]:
        try:
            return convert.update(update, serve_time, conflated)
        except convert.BrokenContract as error:
            self.failure = self._broken(error)
            raise self.failure from error

    def _broken(self, error: convert.BrokenContract) -> GatewayError:
        said = f"the gateway's stream breaks the contract: {error}"
        return GatewayError(said, request_id=self.plan.request_id)

    def _tally(self, symbol: str) -> Tally:
        return self._tallies.setdefault(symbol, Tally())

    def _wants(self, symbol: str) -> bool:
        return symbol in self._wanted or "*" in self._wanted


def _passing(error: DataUnavailableError) -> bool:
    """Whether what is unavailable now may be had later, by the reason's family."""
    return error.unavailable.category in {"RATE_LIMITED", "SERVICE_UNAVAILABLE"}
