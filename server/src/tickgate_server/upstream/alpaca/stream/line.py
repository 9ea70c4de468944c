"""The thread that holds the line to a live feed: connects when something is wanted, and again when it breaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, NoReturn

import aiohttp
import structlog
from msgspec.structs import replace

from ....market.live import Channel, FeedState, GapCause
from ....market.unavailable import Unavailable
from ....observe.counters import FeedCounts
from ....ports import Clock
from .connection import Connection, Ended, Refused, key_refused, not_entitled
from .handover import Changed, Handover, Lost, Rejected, Wants
from .policy import FeedPolicy, Pauses
from .subscriptions import Subscriptions

_log = structlog.get_logger(__name__)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_HEADERS: Final = {"Content-Type": "application/msgpack"}
"""Asks for frames of msgpack."""

_FAULT: Final = "a fault of the gateway ended the connection"


class Line:
    """The thread, its loop, and what it is told from outside. Everything private runs on the thread."""

    def __init__(
        self,
        url: str,
        keys: tuple[str, str],
        policy: FeedPolicy,
        handover: Handover,
        clock: Clock,
        counts: FeedCounts,
        new_loop: LoopFactory,
    ) -> None:
        """Hold a line to *url* with *keys*, once started, and hand over what comes."""
        self._url = url
        self._keys = keys
        self._policy = policy
        self._handover = handover
        self._clock = clock
        self._counts = counts
        self._subscriptions = Subscriptions(policy.chunk, policy.tries, handover.put)
        self._pauses = Pauses(policy.pause, policy.jitter)
        self._connection: Connection | None = None
        self._refused: Unavailable | None = None
        self._refused_at = 0.0
        self._is_waiting_for_slot = False
        self._said: Changed | None = None
        self._wanted = asyncio.Event()
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def want(self, channel: Channel, symbols: Wants) -> None:
        """Want *symbols* from now on."""
        self._loop.call_soon_threadsafe(self._want, channel, symbols)

    def release(self, channel: Channel, symbols: Collection[str]) -> None:
        """No longer want *symbols*."""
        self._loop.call_soon_threadsafe(self._release, channel, symbols)

    def reconnect(self, cause: GapCause, message: str) -> None:
        """Give the connection up, if there is one, and make another."""
        self._loop.call_soon_threadsafe(self._reconnect, cause, message)

    def hurry(self) -> None:
        """Ask for the account's place again soon, if it is waited for: its holder may have left it."""
        self._loop.call_soon_threadsafe(self._hurried.set)

    async def stop(self) -> None:
        """Take leave of the upstream, so that the account's place is free at once, and wait until it is done."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        await asyncio.to_thread(self._thread.join)

    # ------------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        holding = asyncio.create_task(self._hold())
        await self._stopped.wait()
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)

    def _want(self, channel: Channel, symbols: Wants) -> None:
        if self._refused is not None:
            left = self._refused_at + self._policy.stopped - self._clock.monotonic()
            if left > 0:
                why = replace(self._refused, retry_delay=left)
                self._handover.put(Rejected(channel, symbols, why))
                return
            self._refused = None
        self._subscriptions.want(channel, symbols)
        self._wanted.set()
        self._look_again()

    def _release(self, channel: Channel, symbols: Collection[str]) -> None:
        self._subscriptions.release(channel, symbols)
        self._look_again()

    def _look_again(self) -> None:
        if self._connection is not None:
            self._connection.look_again()

    def _reconnect(self, cause: GapCause, message: str) -> None:
        if self._connection is not None:
            self._connection.end(cause, message)

    async def _hold(self) -> None:
        async with self._session() as session:
            while True:
                await self._until_wanted()
                try:
                    await self._hold_once(session)
                except Exception:  # noqa: BLE001 - a fault of ours must not end the feed for good
                    _log.exception("live_feed_failed", url=self._url)
                    await self._back_off(Ended(GapCause.DISCONNECTED, _FAULT))

    async def _until_wanted(self) -> None:
        if self._subscriptions.wants_anything:
            return
        self._wanted.clear()
        if self._refused is None:
            self._say(FeedState.IDLE, "")
        await self._wanted.wait()

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={"User-Agent": self._policy.user_agent},
            timeout=aiohttp.ClientTimeout(total=None, connect=self._policy.connect),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _hold_once(self, session: aiohttp.ClientSession) -> None:
        """Make a connection and keep it as long as it lasts, then wait until another may be made."""
        made_at = self._clock.monotonic()
        try:
            await self._connect(session)
        except Refused as refused:
            self._give_up(refused)
        except Ended as ended:
            if self._clock.monotonic() - made_at >= self._policy.steady and not ended.slot_taken:
                self._pauses.reset()
            await self._back_off(ended)

    async def _back_off(self, ended: Ended) -> None:
        self._is_waiting_for_slot = ended.slot_taken
        if ended.slot_taken:
            self._say(FeedState.WAITING_FOR_SLOT, ended.message)
            await self._wait_for_slot(self._pauses.next(self._policy.slot_pause_most))
        else:
            self._say(FeedState.BACKING_OFF, ended.message)
            await asyncio.sleep(self._pauses.next(self._policy.pause_most))

    async def _wait_for_slot(self, pause: float) -> None:
        """Wait for *pause* seconds, or less if somebody comes meanwhile who was told to look for the feed here."""
        self._hurried.clear()
        least = min(pause, self._policy.slot_pause_least)
        await asyncio.sleep(least)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause - least):
                await self._hurried.wait()

    async def _connect(self, session: aiohttp.ClientSession) -> NoReturn:
        self._say(FeedState.CONNECTING, "")
        socket = await self._open(session)
        self._counts.connections += 1
        self._connection = connection = Connection(
            socket,
            self._keys,
            self._policy,
            self._subscriptions,
            hand_over=self._handover.put,
            say=self._say,
            clock=self._clock,
            counts=self._counts,
        )
        try:
            await connection.hold()
        except Ended as ended:
            self._tell_lost(connection, ended.cause, ended.message)
            raise
        except Exception as error:
            message = error.why.message if isinstance(error, Refused) else _FAULT
            self._tell_lost(connection, GapCause.DISCONNECTED, message)
            raise
        finally:
            self._connection = None
            self._subscriptions.forget_held()
            await socket.close()

    def _tell_lost(self, connection: Connection, cause: GapCause, message: str) -> None:
        if connection.since is not None:
            self._handover.put(Lost(cause, connection.since, message))

    async def _open(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._policy.connect):
                return await session.ws_connect(
                    self._url,
                    headers=_HEADERS,
                    # Both are done by hand: a pong is a sign of life.
                    autoping=False,
                    heartbeat=None,
                    timeout=aiohttp.ClientWSTimeout(ws_close=self._policy.close),
                    max_msg_size=self._policy.largest_frame,
                )
        except TimeoutError as error:
            message = "the upstream did not answer in time"
            raise Ended(GapCause.DISCONNECTED, message) from error
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake_failure(error.status) from error
        except (aiohttp.ClientError, OSError) as error:
            message = "the upstream could not be reached"
            raise Ended(GapCause.DISCONNECTED, message) from error

    def _give_up(self, refused: Refused) -> None:
        self._refused, self._refused_at = refused.why, self._clock.monotonic()
        self._pauses.reset()
        self._is_waiting_for_slot = False
        self._say(refused.state, refused.why.message)
        why = replace(refused.why, retry_delay=self._policy.stopped)
        for channel, symbols in self._subscriptions.wanted.items():
            self._handover.put(Rejected(channel, symbols, why))
        self._subscriptions.release_all()

    def _say(self, state: FeedState, message: str) -> None:
        """Tell of a new state. While a place is waited for, what is tried meanwhile is no news."""
        if self._is_waiting_for_slot and state in (FeedState.CONNECTING, FeedState.AUTHENTICATING):
            return
        if self._is_waiting_for_slot and state is FeedState.LIVE:
            self._is_waiting_for_slot = False
            self._pauses.reset()
        changed = Changed(state, message)
        if changed != self._said:
            self._said = changed
            self._handover.put(changed)


def _handshake_failure(status: int) -> Ended | Refused:
    said = f"the handshake was answered {status}"
    if status == 401:
        return key_refused(said)
    if status in (403, 404):
        return not_entitled(said)
    return Ended(GapCause.DISCONNECTED, said)
