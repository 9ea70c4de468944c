"""The streams of this process, and what a follower may ask for on one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias

import structlog
from msgspec import Struct

from ..errors import InvalidRequest, NotFeedHolder, ShuttingDown, TooManyStreams
from ..identity.consumer import Consumer
from ..identity.current import CALLER
from ..market.live import FeedState
from ..market.occ import is_occ_symbol, parse_occ
from ..market.provenance import OPTION_FEEDS, Feed
from ..market.symbol import STOCK_SYMBOL_RULE, is_stock_symbol
from ..market.unavailable import Reason, Unavailable
from ..observe.counters import StreamCounts
from ..ports import Clock, Encode
from . import tokens
from .beat import Beat
from .box import Box, Terms
from .hub import Hub
from .interest import EVERYTHING, Topic
from .mailbox import Closing, Delivery, Mailbox
from .recall import Recall

_log = structlog.get_logger(__name__)

_TICK: Final = 1.0
"""Seconds."""

_PATIENT: Final = 0.9
"""Share of the grace after which streams are ended with their status; those that are not get one of gRPC's own."""

_ELSEWHERE: Final = (
    "another process holds the account's only connection to the live feed; ask another replica"
)
_ELSEWHERE_DELAY: Final = 1.0

_MOST_ASKED: Final = 100_000
"""Symbols that a stream may have named and not taken back, whatever became of them: tokens are good for just these."""

_MOST_UNTOLD: Final = 20_000
"""Statuses that wait for a follower, before he must read if he wants more. Whoever asks for ever more symbols and reads
nothing would fill the memory with the answers."""

Unknown: TypeAlias = Callable[[Feed, Collection[str]], Awaitable[Mapping[str, Unavailable]]]
"""Tells which of some symbols of a feed do not exist, or no longer, and why they cannot be followed."""


class StreamPolicy(Struct, frozen=True, kw_only=True):
    """What an operator may turn about streams."""

    enabled: bool
    streams: int
    """Streams at once."""

    symbols: int
    """Symbols of one stream, each counted for every subscription."""

    subscriptions: int
    """Subscriptions of one stream."""

    all_symbols: bool
    """Whether "*" may be followed."""

    default_feed: Feed


class Order(Struct, frozen=True):
    """A subscription, as it was asked for."""

    terms: Terms
    feed: Feed
    symbols: tuple[str, ...]
    token: tokens.Token | None = None


class LiveHub(Struct, frozen=True):
    """A feed that can be followed."""

    hub: Hub
    recall: Recall
    hurry: Callable[[], None] = lambda: None
    """Asks for the feed again soon where another process holds it."""


class Streams:
    """Lets followers in, up to a limit, and shows them out when the gateway stops."""

    def __init__(
        self,
        policy: StreamPolicy,
        hub_of: Callable[[Feed], LiveHub],
        beat: Beat,
        clock: Clock,
        encode: Encode,
        unknown: Unknown,
        counts: StreamCounts,
    ) -> None:
        """Let followers in.

        Args:
            policy: limits.
            hub_of: gives the hub of a feed, which begins to exist when it is first asked for.
            beat: when mail is handed out.
            clock: measures.
            encode: makes bytes of updates.
            unknown: tells which symbols do not exist.
            counts: what streams do is counted there.
        """
        self.policy = policy
        self.clock = clock
        self.unknown = unknown
        self.counts = counts
        self.on_holding: Callable[[bool], None] = lambda _: None
        """Told whether this process holds the default feed, or might."""

        self.on_refusal: Callable[[str], None] = lambda _: None
        """Told the name of a consumer's limit for each symbol that is refused for it."""

        self._hub_of = hub_of
        self._beat = beat
        self._encode = encode
        self._hubs: dict[Feed, LiveHub] = {}
        self._held: set[Feed] = set()
        self._followers: set[Follower] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closing: Closing | None = None
        counts.limit = policy.streams

    # ------------------------------------------------------------------------------------ followers

    def open(self, *, acks: bool) -> Follower:
        """Let a follower in; *acks* tells whether he acknowledges.

        Raises:
            ShuttingDown: the gateway is stopping.
            NotFeedHolder: another process holds the feed, or streams are switched off.
            TooManyStreams: there are as many as there may be.
        """
        if self._closing is not None:
            raise ShuttingDown
        if not self.policy.enabled:
            msg = "streams are switched off on this replica (stream.enabled); ask another replica"
            raise NotFeedHolder(msg)
        if self._is_elsewhere(self.policy.default_feed):
            self.look_again(self.policy.default_feed)
            raise NotFeedHolder(_ELSEWHERE)
        if len(self._followers) >= self.policy.streams:
            msg = f"this gateway takes {self.policy.streams} streams (stream.streams), and all are taken"
            raise TooManyStreams(msg)
        mailbox = Mailbox(self._beat, self.clock, self._encode, self.counts, acks=acks)
        follower = Follower(self, mailbox)
        self._followers.add(follower)
        self._empty.clear()
        self.counts.streams = len(self._followers)
        return follower

    def leave(self, follower: Follower) -> None:
        """Let *follower* go."""
        self._followers.discard(follower)
        self.counts.streams = len(self._followers)
        if not self._followers:
            self._empty.set()

    def live(self, feed: Feed) -> LiveHub:
        """Return the hub of *feed*."""
        live = self._hubs.get(feed)
        if live is None:
            live = self._hubs[feed] = self._hub_of(feed)
            live.hub.on_state = lambda state: self._heed(feed, state)
        return live

    async def tick(self) -> None:
        """Look after what changes with time alone; meant for once a second."""
        for live in tuple(self._hubs.values()):
            await live.hub.tick()
        self._count()

    def close(self, closing: Closing) -> None:
        """Let nobody in any more, and tell everybody who is there: after his mail, the last word."""
        self._closing = closing
        for follower in tuple(self._followers):
            follower.close(closing)

    def dismiss(self, closing_of: Callable[[Consumer], Closing | None]) -> None:
        """Show out every follower for whom *closing_of* has a last word, at once: their mail is no longer theirs."""
        for follower in tuple(self._followers):
            closing = closing_of(follower.consumer)
            if closing is not None:
                follower.close(closing)
                follower.mailbox.hurry()

    async def drain(self, grace: float) -> None:
        """Wait until everybody has gone, for *grace* seconds.

        In the second half nobody's mail is waited for, and in the end nobody's reading of the last word.
        """
        loop = asyncio.get_running_loop()
        hurrying = loop.call_later(grace / 2, self._hurry)
        ending = loop.call_later(grace * _PATIENT, self._end)
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            _log.warning("streams_cut_off", streams=len(self._followers))
        finally:
            hurrying.cancel()
            ending.cancel()

    def _hurry(self) -> None:
        for follower in tuple(self._followers):
            follower.mailbox.hurry()

    def _end(self) -> None:
        for follower in tuple(self._followers):
            follower.mailbox.end()

    async def run(self) -> None:
        """Look after what changes with time alone, once a second, until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            try:
                await self.tick()
            except Exception:  # noqa: BLE001 - a fault of ours must not end everybody's stream
                _log.exception("tick_failed")

    def _count(self) -> None:
        boxes = [box for one in self._followers for box in one.mailbox.boxes.values()]
        self.counts.subscriptions = len(boxes)
        self.counts.followed = sum(len(box.followed) for box in boxes)

    # ----------------------------------------------------------------------------------- the holder

    def _is_elsewhere(self, feed: Feed) -> bool:
        live = self._hubs.get(feed)
        if live is None or feed in self._held:
            return False
        return live.hub.state is FeedState.WAITING_FOR_SLOT

    def _heed(self, feed: Feed, state: FeedState) -> None:
        if state is FeedState.LIVE:
            self._held.add(feed)
        for follower in tuple(self._followers):
            self.show_out(follower, feed)
        if feed is self.policy.default_feed:
            self.on_holding(not self._is_elsewhere(feed))

    def look_again(self, feed: Feed) -> None:
        """Find out soon whether *feed* is still elsewhere: who comes may have been sent by its holder, who leaves."""
        if self._is_elsewhere(feed):
            self._hubs[feed].hurry()

    def show_out(self, follower: Follower, feed: Feed) -> None:
        """Send *follower* to another replica, if it holds *feed* and that is all that he follows."""
        if self._is_elsewhere(feed) and follower.follows_only(self._hubs[feed].hub):
            follower.close(Closing(Reason.NOT_FEED_HOLDER, _ELSEWHERE, _ELSEWHERE_DELAY))


class Follower:
    """One stream: what its follower asks for, and what he gets."""

    def __init__(self, streams: Streams, mailbox: Mailbox) -> None:
        """Begin without a subscription."""
        self.mailbox = mailbox
        self.consumer = CALLER.get()
        """Whose stream it is."""

        self._streams = streams
        self._lives: dict[Box, LiveHub] = {}
        self._gone = False

    async def next(self) -> Delivery | None:
        """Return the next message, when there is one that may be sent; None at the end."""
        return await self.mailbox.next()

    async def subscribe(self, order: Order) -> None:
        """Begin a subscription.

        Raises:
            InvalidRequest: its id is in use, there are too many, or too much waits to be read.
        """
        self._check_reads("subscribe")
        boxes, most = self.mailbox.boxes, self._streams.policy.subscriptions
        if order.terms.id in boxes:
            rule = (
                f"{order.terms.id!r} is in use on this stream; end it first, or add symbols to it"
            )
            raise InvalidRequest([("subscribe.id", rule)])
        if len(boxes) >= most:
            raise InvalidRequest([("subscribe", f"a stream has {most} subscriptions at most")])
        self._check_asked("subscribe.symbols", order.symbols)
        live = self._streams.live(order.feed)
        box = live.hub.box(order.terms)
        self._lives[box] = live
        self.mailbox.put_up(box)
        topics = await self._join(box, order.symbols)
        if self._gone:
            return
        if order.token is not None:
            replayed = live.hub.resume(box, order.token)
            topics = [topic for topic in topics if topic.entry not in replayed]
        live.recall.snapshot(topics, box)
        self._streams.look_again(order.feed)
        self._streams.show_out(self, order.feed)

    async def add(self, subscription_id: str, symbols: Sequence[str]) -> None:
        """Follow more symbols.

        Raises:
            InvalidRequest: there is no such subscription, there are too many symbols, or too much waits to be read.
        """
        self._check_reads("add")
        box = self._box("add.subscription_id", subscription_id)
        self._check_asked("add.symbols", symbols)
        topics = await self._join(box, symbols)
        self._lives[box].recall.snapshot(topics, box)

    def unsubscribe(self, subscription_id: str, symbols: Sequence[str]) -> None:
        """Stop following *symbols*, or everything when there are none.

        Raises:
            InvalidRequest: there is no such subscription, or too much waits to be read.
        """
        self._check_reads("unsubscribe")
        box = self._box("unsubscribe.subscription_id", subscription_id)
        hub = self._lives[box].hub
        hub.leave(box, symbols or tuple(box.symbols))
        if not symbols:
            del self._lives[box]
            self.mailbox.take_down(box)

    def query(self, subscription_id: str) -> None:
        """Tell how everything of a subscription stands.

        Raises:
            InvalidRequest: there is no such subscription.
        """
        self._box("query.subscription_id", subscription_id).restate()
        self.mailbox.wake_for_mail()

    @property
    def feeds(self) -> frozenset[Feed]:
        """Feeds of the subscriptions."""
        return frozenset(live.hub.book.feed for live in self._lives.values())

    def follows_only(self, hub: Hub) -> bool:
        """Tell whether there are subscriptions, and none but to *hub*."""
        boxes = self.mailbox.boxes.values()
        return bool(boxes) and all(box.hub is hub for box in boxes)

    def close(self, closing: Closing) -> None:
        """Send what there is, then the last word."""
        self._detach()
        self.mailbox.close(closing)

    def leave(self) -> None:
        """Go: nobody reads any more."""
        self._detach()
        self.mailbox.end()
        self._streams.leave(self)

    def _detach(self) -> None:
        self._gone = True
        for box, live in self._lives.items():
            live.hub.detach(box)

    def _check_reads(self, word: str) -> None:
        if self.mailbox.untold > _MOST_UNTOLD:
            rule = f"more than {_MOST_UNTOLD} statuses wait to be read: read them first"
            raise InvalidRequest([(word, rule)])

    def _box(self, field: str, subscription_id: str) -> Box:
        box = self.mailbox.boxes.get(subscription_id)
        if box is None:
            rule = f"there is no subscription {subscription_id!r} on this stream"
            raise InvalidRequest([(field, rule)])
        return box

    def _check_asked(self, field: str, symbols: Collection[str]) -> None:
        asked = sum(len(box.symbols) for box in self.mailbox.boxes.values())
        if asked + len(symbols) > _MOST_ASKED:
            rule = f"a stream names {_MOST_ASKED} symbols at most; unsubscribe those that were rejected"
            raise InvalidRequest([(field, rule)])

    async def _join(self, box: Box, symbols: Sequence[str]) -> list[Topic]:
        hub = self._lives[box].hub
        feed = hub.book.feed
        misfit = _misfit_on_options if feed in OPTION_FEEDS else self._misfit
        rejected = {symbol: why for symbol in symbols if (why := misfit(symbol)) is not None}
        # Who asks again for what he follows wants its snapshot; it is followed on, whatever has become of it.
        followed = _symbols(box)
        new = [one for one in symbols if one not in rejected and one not in followed]
        if new:
            rejected |= await self._streams.unknown(feed, new)
        if self._gone:
            return []
        rejected |= self._beyond_limit(box, [one for one in symbols if one not in rejected])
        return hub.join(box, [one for one in symbols if one not in rejected], rejected)

    def _misfit(self, symbol: str) -> Unavailable | None:
        if is_stock_symbol(symbol):
            return None
        if symbol == EVERYTHING:
            if self._streams.policy.all_symbols:
                return None
            message = '"*" is not allowed here (stream.all_symbols); name symbols'
            return Unavailable(reason=Reason.INVALID_REQUEST, message=message)
        if is_occ_symbol(symbol):
            message = f"{symbol} is an option contract, and the feed carries stocks"
        else:
            message = f"{symbol!r}: {STOCK_SYMBOL_RULE}"
        return Unavailable(reason=Reason.INVALID_REQUEST, message=message)

    def _beyond_limit(self, box: Box, symbols: Sequence[str]) -> dict[str, Unavailable]:
        most, its = self._streams.policy.symbols, self.consumer.limits.symbols_per_stream
        reason, said = (
            Reason.SUBSCRIPTION_LIMIT,
            f"a stream follows {most} symbols at most (stream.symbols)",
        )
        if its is not None and its < most:
            most, reason = its, Reason.LIMIT_EXCEEDED
            said = f"symbols of a stream: {self.consumer.name} may follow {most} here (symbols_per_stream)"
        there = sum(len(_symbols(each)) for each in self.mailbox.boxes.values())
        followed = _symbols(box)
        new = [symbol for symbol in symbols if symbol not in followed]
        beyond = new[max(0, most - there) :]
        if reason is Reason.LIMIT_EXCEEDED:
            for _ in beyond:
                self._streams.on_refusal("symbols_per_stream")
        return {
            symbol: Unavailable(reason=reason, message=f"{symbol}: {said}") for symbol in beyond
        }


def _misfit_on_options(symbol: str) -> Unavailable | None:
    if symbol == EVERYTHING:
        message = (
            '"*" cannot be followed on an option feed: the upstream refuses it; name contracts'
        )
    elif is_stock_symbol(symbol):
        message = f"{symbol} is a stock symbol, and the feed carries options"
    else:
        try:
            parse_occ(symbol)
        except ValueError as error:
            message = f"{symbol!r}: {error}"
        else:
            return None
    return Unavailable(reason=Reason.INVALID_REQUEST, message=message)


def _symbols(box: Box) -> set[str]:
    return {entry.symbol for entry in box.followed}
