"""One connection: who is there, what it has subscribed to, and what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import WSMessage, WSMsgType

from ..channels import PLAYED, Pair
from ..clock import MarketClock
from ..keys import Keys, accepted
from ..market import Source
from ..recordings import RecordingError
from ..settings import Plan
from . import refusals
from .counters import StreamCounters
from .faults import (
    HoldSlot,
    Mute,
    Occasion,
    Occupied,
    PartialAck,
    Refuse,
    SlowAuth,
    StreamFaults,
)
from .feeds import Feed
from .link import ENDS, Link
from .player import Item, Player
from .refusals import StreamRefusal
from .slots import Slots
from .subscriptions import STAR, Lists, Subscriptions, read_lists

_LONGEST_FRAME: Final = 200
"""Records in one frame, at most."""

_LOOK_EVERY: Final = 0.01
"""Seconds between two looks for records that have become due."""

_NORMAL: Final = 1000
"""WebSocket close code: no fault on either side."""

_CONNECTED: Final = {"T": "success", "msg": "connected"}
_AUTHENTICATED: Final = {"T": "success", "msg": "authenticated"}

Credentials = tuple[str, str]
"""Key and secret."""


@dataclass(frozen=True, slots=True)
class Account:
    """What all connections share."""

    keys: Keys | None
    """The accepted keys; None accepts any."""
    plan: Plan
    slots: Slots
    auth_timeout: float
    """Seconds that a connection may stay without having got hold of its feed."""
    faults: StreamFaults
    counters: StreamCounters


class Session:
    """A connection to one feed, from after its handshake to its end."""

    def __init__(
        self, link: Link, feed: Feed, account: Account, source: Source, clock: MarketClock
    ) -> None:
        """Serve *feed* out of *source* on *link*."""
        self.link = link
        self.feed = feed
        self._account = account
        self._source = source
        self._faults = account.faults
        self._counters = account.counters
        self._subscriptions = Subscriptions(feed, feed.symbol_limit(account.plan))
        self._player = Player(source, clock, feed.delay)
        self._authenticated = asyncio.Event()
        self._refused_slot = False

    @property
    def authenticated(self) -> bool:
        """Whether it has got hold of its feed."""
        return self._authenticated.is_set()

    async def run(self, credentials: Credentials | None) -> None:
        """Serve the client until it leaves or is sent away.

        Args:
            credentials: What came with the handshake, if anything did.
        """
        self._counters.connections += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                playing = tasks.create_task(self._play())
                await self._converse(credentials)
                playing.cancel()
        finally:
            self._leave()

    def wants(self, pair: Pair) -> bool:
        """Return whether records of *pair* are sent to it."""
        return self._subscriptions.wants(*pair)

    def followed(self) -> frozenset[Pair]:
        """Return the channels and symbols that are played to it."""
        resolved = self._subscriptions.resolved(self._source.symbols)
        return frozenset(pair for pair in resolved if pair[0] in PLAYED)

    async def send(self, items: Sequence[Item]) -> int:
        """Send *items* in frames of a bounded size; return how many were sent.

        Waits while the client reads slower than it is sent to.
        """
        sent = 0
        for first in range(0, len(items), _LONGEST_FRAME):
            batch = items[first : first + _LONGEST_FRAME]
            if self._is_mute() or not await self.link.send([item.record for item in batch]):
                break
            self._counters.sent(item.pair for item in batch)
            sent += len(batch)
            # A fast client never makes us wait, and the others on this loop have work to do too.
            await asyncio.sleep(0)
        return sent

    async def send_frame(self, payload: bytes) -> bool:
        """Send *payload* as it is; return whether it was sent."""
        if self._is_mute() or not await self.link.send_frame(payload):
            return False
        self._counters.frames += 1
        return True

    async def refuse(self, refusal: StreamRefusal) -> None:
        """Send an error, and close if it says so."""
        self._counters.refusals[refusal.code] += 1
        await self._say({"T": "error", "code": refusal.code, "msg": str(refusal)})
        if refusal.close:
            await self.link.close(_NORMAL)

    async def _play(self) -> None:
        await self._authenticated.wait()
        while True:
            await self.send(await self._player.due())
            await asyncio.sleep(0 if self._player.behind else _LOOK_EVERY)

    async def _say(self, message: Mapping[str, Any]) -> None:
        if not self._is_dead():
            await self.link.say(message)

    def _is_mute(self) -> bool:
        return self._faults.find(Mute, self.feed.name) is not None

    def _is_dead(self) -> bool:
        mute = self._faults.find(Mute, self.feed.name)
        return mute is not None and not mute.pings

    async def _converse(self, credentials: Credentials | None) -> None:
        await self._say(_CONNECTED)
        try:
            async with asyncio.timeout(self._account.auth_timeout) as patience:
                if credentials is not None:
                    key_id, secret = credentials
                    await self._answer({"action": "auth", "key": key_id, "secret": secret})
                while True:
                    if self.authenticated:
                        patience.reschedule(None)
                    message = await self.link.receive()
                    if message.type in ENDS:
                        return
                    await self._hear(message)
        except TimeoutError:
            await self._send_away()

    async def _send_away(self) -> None:
        if self._refused_slot:
            # As observed at Alpaca: whoever was refused the slot is left without a word.
            self.link.drop()
        else:
            await self.refuse(StreamRefusal(refusals.AUTH_TIMEOUT, close=True))

    async def _hear(self, message: WSMessage) -> None:
        asks = message.type not in (WSMsgType.PING, WSMsgType.PONG)
        self._counters.messages += asks
        if self._is_dead():
            return
        if asks:
            await self._answer(self.link.read(message))
        elif message.type is WSMsgType.PING:
            await self.link.pong(message)

    async def _answer(self, request: Any) -> None:
        try:
            await self._grant(request)
        except StreamRefusal as refusal:
            await self.refuse(refusal)

    async def _grant(self, request: Any) -> None:
        match request:
            case {"action": "auth"}:
                await self._authenticate(request)
            case {"action": "subscribe", **named}:
                await self._subscribe(self._granted("subscribe", named))
            case {"action": "unsubscribe", **named}:
                await self._unsubscribe(self._granted("unsubscribe", named))
            case _:
                raise StreamRefusal(refusals.INVALID_SYNTAX)

    async def _authenticate(self, request: Mapping[str, Any]) -> None:
        if self.feed.msgpack_only and not self.link.is_binary:
            raise StreamRefusal(refusals.MSGPACK_ONLY)
        if self.authenticated:
            raise StreamRefusal(refusals.ALREADY_AUTHENTICATED)
        await self._wait_if_slow()
        self._check_credentials(request)
        self._strike("auth")
        if self._account.plan not in self.feed.plans:
            raise StreamRefusal(refusals.NOT_IN_PLAN)
        self._take_slot()
        self._authenticated.set()
        self._counters.authentications += 1
        await self._say(_AUTHENTICATED)

    async def _wait_if_slow(self) -> None:
        slow = self._faults.strike(SlowAuth, self.feed.name)
        if slow is None:
            return
        cleared = self._faults.cleared
        with suppress(TimeoutError):
            async with asyncio.timeout(slow.seconds):
                await cleared.wait()

    def _check_credentials(self, request: Mapping[str, Any]) -> None:
        key_id, secret = request.get("key"), request.get("secret")
        if not isinstance(key_id, str) or not isinstance(secret, str):
            raise StreamRefusal(refusals.INVALID_SYNTAX)
        if not accepted(self._account.keys, key_id, secret):
            raise StreamRefusal(refusals.AUTH_FAILED)

    def _take_slot(self) -> None:
        occupied = self._faults.strike(Occupied, self.feed.name) is not None
        if occupied or not self._account.slots.take(self.feed.name):
            self._refused_slot = True
            raise StreamRefusal(refusals.CONNECTION_LIMIT)

    def _leave(self) -> None:
        if not self.authenticated:
            return
        name = self.feed.name
        self._counters.now_subscribed(name, self._subscriptions.pairs(), ())
        hold = None if self.link.closed_in_order else self._faults.strike(HoldSlot, name)
        if hold is None:
            self._account.slots.free(name)
        else:
            self._account.slots.free_after(name, hold.seconds)

    def _granted(self, action: Occasion, named: Mapping[Any, Any]) -> Lists:
        """Return what a request names, if the client may ask for that."""
        if not self.authenticated:
            raise StreamRefusal(refusals.NOT_AUTHENTICATED)
        self._strike(action)
        return read_lists(named, self.feed)

    async def _subscribe(self, lists: Lists) -> None:
        # Checked first, for a refusal must not wait until recordings are read.
        self._subscriptions.check(lists)
        await self._load(_symbols(lists, self._source.symbols))
        before = self._subscriptions.pairs()
        self._subscriptions.add(lists)
        partial = self._faults.strike(PartialAck, self.feed.name)
        if partial is not None:
            self._subscriptions.remove(partial.forgotten(lists))
        self._counters.requested(self._counters.subscribes, lists)
        await self._changed(before)

    async def _load(self, symbols: frozenset[str]) -> None:
        try:
            await self._source.load(symbols)
        except RecordingError as error:
            raise StreamRefusal(refusals.INTERNAL_ERROR) from error

    async def _unsubscribe(self, lists: Lists) -> None:
        before = self._subscriptions.pairs()
        self._subscriptions.remove(lists)
        self._counters.requested(self._counters.unsubscribes, lists)
        await self._changed(before)

    async def _changed(self, before: Collection[Pair]) -> None:
        self._counters.now_subscribed(self.feed.name, before, self._subscriptions.pairs())
        self._player.follow(self.followed())
        await self._say({"T": "subscription", **self._subscriptions.state()})

    def _strike(self, occasion: Occasion) -> None:
        refuse = self._faults.strike(Refuse, self.feed.name, occasion)
        if refuse is not None:
            raise refuse.refusal()


def _symbols(lists: Lists, offered: frozenset[str]) -> frozenset[str]:
    named = frozenset[str]().union(*lists.values())
    return named - {STAR} | offered if STAR in named else named
