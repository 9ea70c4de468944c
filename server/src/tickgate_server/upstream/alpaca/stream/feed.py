"""Alpaca's live feed as the `LiveFeed` port: this side of it runs on the serving loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import structlog

from ....ingress.gate import Gate
from ....market.live import Channel, FeedState, GapCause
from ....market.provenance import LIVE_FEEDS, OPTION_FEEDS, Feed
from ....market.unavailable import Reason
from ....observe.counters import FeedCounts
from ....ports import Clock, FeedListener
from ..hosts import source_of
from .handover import Changed, Confirmed, Frame, Handover, Item, Lost, Rejected, Shed, Wants
from .line import Line
from .policy import FeedPolicy
from .records import Records

_log = structlog.get_logger(__name__)

_TROUBLED: Final = frozenset(
    {
        FeedState.WAITING_FOR_SLOT,
        FeedState.BACKING_OFF,
        FeedState.AUTH_FAILED,
        FeedState.NOT_ENTITLED,
    }
)

_SLICE: Final = 0.005
"""Seconds of work after which others on the loop have their turn."""

_NAMED: Final = 10
"""Symbols of many that a line of the log names."""

_ABOUT_ALL: Final = frozenset({Reason.UPSTREAM_UNAUTHENTICATED, Reason.NOT_ENTITLED})
"""Reasons that the state of the connection has told already."""


class AlpacaFeed:
    """One of Alpaca's feeds, connected while somebody follows something.

    The socket lives on a thread of its own, which stamps what arrives; here it becomes values.
    """

    def __init__(
        self,
        feed: Feed,
        stream_url: str,
        keys: tuple[str, str],
        gate: Gate,
        listener: FeedListener,
        clock: Clock,
        policy: FeedPolicy,
        counts: FeedCounts,
    ) -> None:
        """Bring records of *feed* through *gate* to *listener*, while `run` runs.

        Args:
            feed: one of `LIVE_FEEDS`.
            stream_url: base address, such as "wss://stream.data.alpaca.markets".
            keys: id and secret.
            gate: judges each record.
            listener: is told what happens.
            clock: stamps what arrives.
            policy: how the connection is held.
            counts: what the feed has done.
        """
        if feed not in LIVE_FEEDS:
            msg = f"not a feed that can be followed: {feed}"
            raise ValueError(msg)
        self._feed = feed
        version = "v1beta1" if feed in OPTION_FEEDS else "v2"
        self._url = f"{stream_url.rstrip('/')}/{version}/{feed.value}"
        self._keys = keys
        self._listener = listener
        self._clock = clock
        self._policy = policy
        self._counts = counts
        self._records = Records(gate, source_of(self._url), feed, listener, clock, counts)
        self._line: Line | None = None
        self._wishes = 0
        self._wanted: dict[Channel, dict[str, int]] = {channel: {} for channel in Channel}
        self._confirmed: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        self._logged: set[tuple[FeedState, str]] = set()
        self._faults: set[type[Exception]] = set()

    def follow(self, channel: Channel, symbols: Collection[str]) -> None:
        """Want *symbols* on *channel* from now on, across every reconnection."""
        wanted = self._wanted[channel]
        self._wishes += 1
        fresh = dict.fromkeys((one for one in symbols if one not in wanted), self._wishes)
        wanted.update(fresh)
        if fresh and self._line is not None:
            self._line.want(channel, fresh)

    def unfollow(self, channel: Channel, symbols: Collection[str]) -> None:
        """No longer want *symbols* on *channel*."""
        wanted = self._wanted[channel]
        gone = [one for one in symbols if wanted.pop(one, None) is not None]
        self._confirmed[channel].difference_update(gone)
        self._count()
        if gone and self._line is not None:
            self._line.release(channel, gone)

    def reconnect(self, cause: GapCause, message: str) -> None:
        """Give the connection up and make a new one: somebody knows that it is mute."""
        if self._line is not None:
            self._line.reconnect(cause, message)

    def hurry(self) -> None:
        """Ask for the account's place again soon, if another connection has it: that one may have left."""
        if self._line is not None:
            self._line.hurry()

    async def run(self) -> None:
        """Hold the feed until cancelled, then take leave of the upstream."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        handover = Handover(
            loop,
            ready.set,
            most_frames=self._policy.most_frames,
            most_bytes=self._policy.most_bytes,
        )
        # The thread gets a loop of the kind that serves: uvloop's where there is one.
        line = Line(
            self._url,
            self._keys,
            self._policy,
            handover,
            self._clock,
            self._counts,
            type(loop),
        )
        # Before the start, so that it does not begin with having nothing to do.
        for channel, symbols in self._wanted.items():
            if symbols:
                line.want(channel, dict(symbols))
        line.start()
        self._line = line
        try:
            while True:
                await ready.wait()
                ready.clear()
                await self._deliver(handover)
        finally:
            self._line = None
            await line.stop()
            self._forget_confirmed()
            self._change(Changed(FeedState.CLOSED, "the gateway stops"))

    async def _deliver(self, handover: Handover) -> None:
        """Hand on everything that has arrived, a few milliseconds at a time."""
        pause_at = time.perf_counter() + _SLICE
        while (item := handover.take()) is not None:
            try:
                self._tell(item)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the feed for all
                self._fail(error)
            if time.perf_counter() >= pause_at:
                self._listener.settle()
                await asyncio.sleep(0)
                pause_at = time.perf_counter() + _SLICE
        self._listener.settle()

    def _tell(self, item: Item) -> None:
        match item:
            case Frame():
                self._records.take(item)
            case Confirmed():
                self._confirm(item)
            case Rejected():
                self._reject(item)
            case Lost():
                self._lose(item)
            case Shed():
                self._shed(item)
            case Changed():
                self._change(item)

    def _confirm(self, item: Confirmed) -> None:
        symbols = self._still_wanted(item.channel, item.symbols)
        if symbols:
            self._confirmed[item.channel].update(symbols)
            self._count()
            self._listener.confirmed(item.channel, symbols)

    def _reject(self, item: Rejected) -> None:
        symbols = self._still_wanted(item.channel, item.symbols)
        if not symbols:
            return
        for symbol in symbols:
            del self._wanted[item.channel][symbol]
        self._confirmed[item.channel].difference_update(symbols)
        self._count()
        if item.why.reason not in _ABOUT_ALL:
            _log.warning(
                "live_symbols_rejected",
                feed=self._feed.value,
                channel=item.channel.value,
                symbols=symbols[:_NAMED],
                count=len(symbols),
                reason=item.why.reason.name,
                message=item.why.message,
            )
        self._listener.rejected(item.channel, symbols, item.why)

    def _still_wanted(self, channel: Channel, symbols: Wants) -> list[str]:
        wanted = self._wanted[channel]
        return [symbol for symbol, wish in symbols.items() if wanted.get(symbol) == wish]

    def _lose(self, item: Lost) -> None:
        self._forget_confirmed()
        self._listener.lost(item.cause, item.since, item.message)

    def _forget_confirmed(self) -> None:
        for symbols in self._confirmed.values():
            symbols.clear()
        self._count()

    def _shed(self, item: Shed) -> None:
        self._counts.dropped += item.records
        since = item.since if self._records.last_received is None else self._records.last_received
        message = "the gateway received faster than it could decode, and dropped the oldest records"
        self._listener.missed(GapCause.OVERFLOW, since, message, records=item.records)

    def _change(self, item: Changed) -> None:
        self._log(item)
        self._listener.changed(item.state, item.message)

    def _log(self, item: Changed) -> None:
        # A feed that stays away goes through the same states again and again: each is told once, until it is back.
        if item.state is FeedState.LIVE:
            self._logged.clear()
        if (item.state, item.message) not in self._logged:
            self._logged.add((item.state, item.message))
            tell = _log.warning if item.state in _TROUBLED else _log.info
            tell(
                "live_feed",
                feed=self._feed.value,
                state=item.state.value,
                message=item.message,
            )

    def _fail(self, error: Exception) -> None:
        # Told once of each kind: what fails for one record may fail for thousands a second.
        if type(error) not in self._faults:
            self._faults.add(type(error))
            _log.error("live_feed_failed", feed=self._feed.value, exc_info=error)
        since = self._records.last_received
        with suppress(Exception):
            message = "a fault of the gateway kept records from being read"
            self._listener.missed(GapCause.UNREADABLE, since or self._clock.wall(), message)

    def _count(self) -> None:
        confirmed = {channel.value: len(held) for channel, held in self._confirmed.items() if held}
        self._counts.confirmed = confirmed
