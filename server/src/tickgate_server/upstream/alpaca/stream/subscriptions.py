"""What is wanted of a live feed, what the upstream has acknowledged, and the requests that bring them together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Final

from msgspec import Struct

from ....market.live import Channel
from ....market.unavailable import Reason, Unavailable
from . import messages
from .handover import Confirmed, Rejected, Wants
from .messages import Code, Control

_MALFORMED: Final = Unavailable(
    reason=Reason.SYMBOL_UNKNOWN, message="the upstream calls the symbol malformed"
)
_OVER_LIMIT: Final = Unavailable(
    reason=Reason.SUBSCRIPTION_LIMIT,
    message="the upstream sends no more symbols at once: the plan's limit is reached",
)
_NOT_OFFERED: Final = Unavailable(
    reason=Reason.NOT_SUPPORTED, message="the upstream does not offer the channel on this feed"
)
_UNACKNOWLEDGED: Final = Unavailable(
    reason=Reason.UPSTREAM_ERROR,
    message="the upstream left the symbol out of its acknowledgement each time it was asked for",
    passing=True,
)


class Change(Struct, frozen=True):
    """One request to the upstream."""

    channel: Channel
    symbols: tuple[str, ...]
    subscribes: bool
    over_limit: bool = False
    """It is part of a request that was more than the plan allows."""

    def encoded(self) -> bytes:
        """Return the message."""
        action = "subscribe" if self.subscribes else "unsubscribe"
        return messages.subscription(action, self.channel, self.symbols)


Tell = Callable[[Confirmed | Rejected], None]


class Subscriptions:
    """Decides what to ask the upstream next. One request is under way at a time, and is compared with its answer."""

    def __init__(self, chunk: int, tries: int, tell: Tell) -> None:
        """Ask for at most *chunk* symbols in a request, and *tries* times for one that is left out of the answer.

        Args:
            tell: hears what becomes of symbols.
        """
        self._chunk = chunk
        self._tries = tries
        self._tell = tell
        self._wanted: dict[Channel, dict[str, int]] = {channel: {} for channel in Channel}
        self._held: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        # Held, although the upstream was asked to let go of them.
        self._stuck: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        self._left_out: dict[tuple[Channel, str], int] = {}
        self._parts: deque[Change] = deque()

    @property
    def wants_anything(self) -> bool:
        """Whether any symbol is wanted."""
        return any(self._wanted.values())

    @property
    def holds_anything(self) -> bool:
        """Whether the upstream sends any symbol."""
        return any(self._held.values())

    @property
    def wanted(self) -> dict[Channel, Wants]:
        """What is wanted, on each channel on which something is."""
        return {channel: dict(symbols) for channel, symbols in self._wanted.items() if symbols}

    def want(self, channel: Channel, symbols: Wants) -> None:
        """Want *symbols* from now on; those that are held already are confirmed at once."""
        self._wanted[channel].update(symbols)
        self._confirm(channel, self._held[channel] & symbols.keys())

    def release(self, channel: Channel, symbols: Collection[str]) -> None:
        """No longer want *symbols*."""
        for symbol in symbols:
            self._wanted[channel].pop(symbol, None)

    def release_all(self) -> None:
        """No longer want anything."""
        for symbols in self._wanted.values():
            symbols.clear()

    def forget_held(self) -> None:
        """Hold nothing: the connection is gone."""
        for channel in Channel:
            self._held[channel].clear()
            self._stuck[channel].clear()
        self._left_out.clear()
        self._parts.clear()

    def next(self) -> Change | None:
        """Return what to ask now, or None when all that is wanted is held, and nothing else."""
        # What is let go of first: it makes room.
        return self._next_release() or self._next_part() or self._next_subscription()

    def answered(self, change: Change | None, answer: Control) -> None:
        """Take over an *answer*, which names all that the upstream sends; *change* is what was asked, if anything."""
        for channel in Channel:
            held = answer.held(channel)
            fresh = held - self._held[channel]
            self._held[channel] = held
            self._confirm(channel, fresh)
        if change is None:
            return
        if change.subscribes:
            self._count_left_out(change)
        else:
            self._stuck[change.channel] |= self._held[change.channel].intersection(change.symbols)

    def refused(self, change: Change, code: Code) -> None:
        """Take notice that the upstream refused *change*, which changes nothing: try the parts of it that may pass."""
        if code in (Code.INVALID_SYNTAX, Code.SYMBOL_LIMIT):
            self._divide(change, over_limit=code is Code.SYMBOL_LIMIT)
        else:
            self._give_up(change, _NOT_OFFERED)

    def _next_part(self) -> Change | None:
        while self._parts:
            part = self._parts.popleft()
            if not part.subscribes:
                return part
            missing = self._missing(part.channel, part.symbols)
            if missing:
                return Change(part.channel, missing, True, part.over_limit)
        return None

    def _next_release(self) -> Change | None:
        for channel, held in self._held.items():
            surplus = held - self._wanted[channel].keys() - self._stuck[channel]
            if surplus:
                symbols = tuple(islice(sorted(surplus), self._chunk))
                # Whoever wants one of them again before the answer must ask for it again.
                held.difference_update(symbols)
                return Change(channel, symbols, subscribes=False)
        return None

    def _next_subscription(self) -> Change | None:
        for channel, wanted in self._wanted.items():
            missing = self._missing(channel, wanted)
            if missing:
                return Change(channel, missing, subscribes=True)
        return None

    def _missing(self, channel: Channel, symbols: Iterable[str]) -> tuple[str, ...]:
        wanted, held = self._wanted[channel], self._held[channel]
        missing = (symbol for symbol in symbols if symbol in wanted and symbol not in held)
        return tuple(islice(missing, self._chunk))

    def _count_left_out(self, change: Change) -> None:
        given_up: list[str] = []
        for symbol in self._missing(change.channel, change.symbols):
            key = (change.channel, symbol)
            self._left_out[key] = self._left_out.get(key, 0) + 1
            if self._left_out[key] >= self._tries:
                del self._left_out[key]
                given_up.append(symbol)
        self._reject(change.channel, given_up, _UNACKNOWLEDGED)

    def _divide(self, change: Change, *, over_limit: bool) -> None:
        if len(change.symbols) == 1:
            self._give_up(change, _OVER_LIMIT if over_limit else _MALFORMED)
            if over_limit:
                self._give_up_the_rest(change.channel)
            return
        middle = len(change.symbols) // 2
        for symbols in (change.symbols[middle:], change.symbols[:middle]):
            self._parts.appendleft(Change(change.channel, symbols, change.subscribes, over_limit))

    def _give_up_the_rest(self, channel: Channel) -> None:
        # One symbol alone was too many. Asking for the others one by one would bring the same, a request for each.
        rest = [part for part in self._parts if part.over_limit and part.channel is channel]
        for part in rest:
            self._parts.remove(part)
            self._give_up(part, _OVER_LIMIT)

    def _give_up(self, change: Change, why: Unavailable) -> None:
        if change.subscribes:
            self._reject(change.channel, change.symbols, why)
        else:
            self._stuck[change.channel].update(change.symbols)

    def _confirm(self, channel: Channel, symbols: Iterable[str]) -> None:
        wanted = self._wanted[channel]
        confirmed = {symbol: wanted[symbol] for symbol in symbols if symbol in wanted}
        if confirmed:
            self._tell(Confirmed(channel, confirmed))

    def _reject(self, channel: Channel, symbols: Iterable[str], why: Unavailable) -> None:
        wanted = self._wanted[channel]
        rejected = {symbol: wanted.pop(symbol) for symbol in symbols if symbol in wanted}
        if rejected:
            self._tell(Rejected(channel, rejected, why))
