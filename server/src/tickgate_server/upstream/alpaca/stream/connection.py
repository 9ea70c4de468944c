"""One connection to a live feed, from the upstream's first word to its last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

import aiohttp

from ....market.live import FeedState, GapCause
from ....market.unavailable import Reason, Unavailable
from ....observe.counters import FeedCounts
from ....ports import Clock
from . import messages
from .handover import Frame
from .messages import Code, Control
from .policy import FeedPolicy
from .subscriptions import Change, Subscriptions

_FIRST_RETRY: Final = 0.25
_LONGEST_RETRY: Final = 2.0
"""Seconds between attempts to authenticate while the place is taken: it is free half a second after a clean close."""

_SLOT_TAKEN: Final = "another connection of the account holds the only place"

_ABOUT_A_CHANGE: Final = frozenset(
    {
        Code.INVALID_SYNTAX,
        Code.SYMBOL_LIMIT,
        Code.INVALID_ACTION,
        Code.MSGPACK_ONLY,
        Code.STAR_NOT_ALLOWED,
    }
)
_ABOUT_THE_PLAN: Final = frozenset(
    {Code.V2_NOT_ENABLED, Code.INSUFFICIENT_SUBSCRIPTION, Code.INSUFFICIENT_SCOPE}
)

Say: TypeAlias = Callable[[FeedState, str], None]


class Ended(Exception):
    """The connection is over, and another may be made."""

    def __init__(self, cause: GapCause, message: str, *, slot_taken: bool = False) -> None:
        """Say why in one sentence; *slot_taken* tells that another connection holds the account's only place."""
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.slot_taken = slot_taken


class Refused(Exception):
    """The upstream does not let this account have the feed: asking again brings the same."""

    def __init__(self, state: FeedState, why: Unavailable) -> None:
        """Say what the feed is now, and what whoever wants something of it is told."""
        super().__init__(why.message)
        self.state = state
        self.why = why


def key_refused(said: str) -> Refused:
    """Return that the credentials are wrong."""
    message = f"the upstream refuses the key pair for its live feed: {said}"
    return Refused(
        FeedState.AUTH_FAILED, Unavailable(reason=Reason.UPSTREAM_UNAUTHENTICATED, message=message)
    )


def not_entitled(said: str) -> Refused:
    """Return that the plan does not cover the feed."""
    message = f"the account may not have the live feed: {said}"
    return Refused(FeedState.NOT_ENTITLED, Unavailable(reason=Reason.NOT_ENTITLED, message=message))


class Connection:
    """Greets, authenticates, and from then on keeps the subscriptions at what is wanted, while frames pass by."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        keys: tuple[str, str],
        policy: FeedPolicy,
        subscriptions: Subscriptions,
        *,
        hand_over: Callable[[Frame], None],
        say: Say,
        clock: Clock,
        counts: FeedCounts,
    ) -> None:
        """Talk over *socket*.

        Args:
            socket: a connection that was just made.
            keys: id and secret.
            policy: how long to wait for what.
            subscriptions: what is wanted, and what is held on this connection.
            hand_over: takes frames of records.
            say: hears of the connection's state.
            clock: stamps frames.
            counts: what the feed has done.
        """
        self._socket = socket
        self._keys = keys
        self._policy = policy
        self._subscriptions = subscriptions
        self._hand_over = hand_over
        self._say = say
        self._clock = clock
        self._counts = counts
        # What the reading task has for the talking one: a message, the end, or None to look again.
        self._inbox: asyncio.Queue[Control | Exception | None] = asyncio.Queue()
        self._is_ready = False
        self._pending: Change | None = None
        self._asked_at = 0.0
        self._was_forgotten = False
        self._heard_at = 0.0
        self._record_time: int | None = None
        self._confirmed_time: int | None = None

    @property
    def since(self) -> int | None:
        """What was sent up to here was received, nanoseconds of the wall clock; None before anything was confirmed."""
        if self._confirmed_time is None:
            return None
        return max(self._confirmed_time, self._record_time or 0)

    def look_again(self) -> None:
        """Compare what is wanted with what is held: one of them has changed."""
        self._inbox.put_nowait(None)

    def end(self, cause: GapCause, message: str) -> None:
        """Give the connection up: somebody outside knows better."""
        self._inbox.put_nowait(Ended(cause, message))

    async def hold(self) -> NoReturn:
        """Keep the connection until it ends.

        Raises:
            Ended: it is over.
            Refused: the upstream does not want this account here.
        """
        self._heard_at = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]
        for task in tasks:
            task.add_done_callback(self._report)
        try:
            await self._greet()
            await self._authenticate()
            while True:
                await self._keep_up()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _report(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._inbox.put_nowait(error)

    # ------------------------------------------------------------------------ reading

    async def _read(self) -> None:
        loop, socket = asyncio.get_running_loop(), self._socket
        while True:
            message = await socket.receive()
            self._heard_at = loop.time()
            if message.type is aiohttp.WSMsgType.BINARY:
                self._take(message.data, messages.control_in(message.data))
            elif message.type is aiohttp.WSMsgType.PING:
                await self._pong(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                # Not what the handshake asked for; but a refusal may come from somebody who has not looked there.
                self._take(message.data.encode(), messages.control_in_text(message.data))
            elif message.type is not aiohttp.WSMsgType.PONG:
                self._inbox.put_nowait(self._closed(message))
                return

    def _take(self, data: bytes, control: Control | None) -> None:
        if control is not None:
            self._hear(control)
            return
        received_at = self._clock.wall()
        self._record_time = received_at
        self._counts.last_record_time = received_at
        self._counts.frames += 1
        self._hand_over(Frame(received_at, data))

    def _hear(self, control: Control) -> None:
        # An answer counts before the records behind it are taken, so that what is confirmed is confirmed first.
        if self._is_ready and control.is_acknowledgement:
            change, self._pending = self._pending, None
            self._subscriptions.answered(change, control)
            if self._subscriptions.holds_anything:
                self._confirmed_time = self._clock.wall()
        self._inbox.put_nowait(control)

    async def _pong(self, data: bytes) -> None:
        try:
            await self._socket.pong(data)
        except (ConnectionError, aiohttp.ClientError):
            # The next thing to be read is the end.
            return

    def _closed(self, message: aiohttp.WSMessage) -> Ended:
        code, is_fault = self._socket.close_code, message.type is aiohttp.WSMsgType.ERROR
        if is_fault and code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            said = f"the upstream sent a frame of more than {self._policy.largest_frame} bytes"
        elif is_fault or code in (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE):
            said = "the connection broke off"
        else:
            said = f"the upstream closed the connection (code {code})"
        return Ended(GapCause.DISCONNECTED, said)

    async def _watch(self) -> None:
        """End a connection over which nothing comes any more, not even an answer to a ping."""
        loop, policy = asyncio.get_running_loop(), self._policy
        while True:
            quiet = loop.time() - self._heard_at
            if quiet < policy.ping:
                await asyncio.sleep(policy.ping - quiet)
                continue
            asked_at = loop.time()
            try:
                async with asyncio.timeout(policy.pong):
                    await self._socket.ping()
            except (TimeoutError, ConnectionError, aiohttp.ClientError):
                pass
            await asyncio.sleep(max(0.0, asked_at + policy.pong - loop.time()))
            if self._heard_at < asked_at:
                self.end(
                    GapCause.DISCONNECTED,
                    f"nothing came for {policy.ping + policy.pong:g} s, not even an answer to a ping",
                )
                return

    # ------------------------------------------------------------------------ talking

    async def _greet(self) -> None:
        answer = await self._answer(self._policy.connect)
        if answer.is_error:
            self._raise(answer)

    async def _authenticate(self) -> None:
        self._say(FeedState.AUTHENTICATING, "")
        if not await self._is_let_in():
            self._say(FeedState.WAITING_FOR_SLOT, _SLOT_TAKEN)
            try:
                await self._wait_for_slot()
            except Ended as ended:
                raise Ended(ended.cause, _SLOT_TAKEN, slot_taken=True) from ended
        self._is_ready = True
        self._say(FeedState.LIVE, "")

    async def _wait_for_slot(self) -> None:
        """Send the credentials again and again, for as long as the upstream keeps a connection without a place."""
        loop = asyncio.get_running_loop()
        give_up_at, retry = loop.time() + self._policy.auth, _FIRST_RETRY
        while loop.time() + retry <= give_up_at:
            await self._idle(retry)
            if await self._is_let_in():
                return
            retry = min(2 * retry, _LONGEST_RETRY)
        raise Ended(GapCause.DISCONNECTED, _SLOT_TAKEN)

    async def _is_let_in(self) -> bool:
        await self._send(messages.authentication(*self._keys))
        while True:
            answer = await self._answer(self._policy.auth)
            if answer.is_admission or answer.error is Code.ALREADY_AUTHENTICATED:
                return True
            if answer.error is Code.CONNECTION_LIMIT:
                return False
            if answer.is_error and answer.error is not Code.NOT_AUTHENTICATED:
                self._raise(answer)

    async def _keep_up(self) -> None:
        """Ask for the next change, if there is one and none is under way, and hear what happens next."""
        if self._pending is None:
            self._pending = self._subscriptions.next()
            if self._pending is not None:
                await self._send(self._pending.encoded())
                self._asked_at = asyncio.get_running_loop().time()
        event = await self._event(None if self._pending is None else self._patience())
        if event is not None and event.is_error:
            await self._cope(event)

    def _patience(self) -> float:
        waited = asyncio.get_running_loop().time() - self._asked_at
        return max(0.0, self._policy.acknowledge - waited)

    async def _cope(self, error: Control) -> None:
        code = error.error
        if code is Code.NOT_AUTHENTICATED and not self._was_forgotten:
            # Once: an upstream that forgets again is better asked on another connection.
            self._was_forgotten, self._is_ready, self._pending = True, False, None
            await self._authenticate()
        elif code in _ABOUT_A_CHANGE:
            change, self._pending = self._pending, None
            if change is not None:
                self._subscriptions.refused(change, code)
        elif code is not Code.ALREADY_AUTHENTICATED:
            self._raise(error)

    def _raise(self, error: Control) -> NoReturn:
        code, said = error.error, error.said
        if code is Code.AUTH_FAILED:
            raise key_refused(said)
        if code in _ABOUT_THE_PLAN:
            raise not_entitled(said)
        if code is Code.CONNECTION_LIMIT:
            raise Ended(GapCause.DISCONNECTED, _SLOT_TAKEN, slot_taken=True)
        if code is Code.SLOW_CLIENT:
            raise Ended(GapCause.SLOW_READER, f"the upstream dropped a slow reader: {said}")
        raise Ended(GapCause.DISCONNECTED, f"the upstream ended the connection: {said}")

    async def _send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(self._policy.acknowledge):
                await self._socket.send_bytes(message)
        except (TimeoutError, ConnectionError, aiohttp.ClientError) as error:
            raise Ended(GapCause.DISCONNECTED, "the connection takes no message") from error

    async def _answer(self, patience: float) -> Control:
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            event = await self._event(deadline - asyncio.get_running_loop().time())
            if event is not None:
                return event

    async def _idle(self, seconds: float) -> None:
        """Let *seconds* pass, unless the connection ends before."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    event = await self._inbox.get()
                    if isinstance(event, Exception):
                        raise event
                    if event is not None and event.is_error:
                        self._raise(event)
        except TimeoutError:
            return

    async def _event(self, patience: float | None) -> Control | None:
        """Return what happens next: a message, or None where somebody wants something else."""
        try:
            async with asyncio.timeout(patience):
                event = await self._inbox.get()
        except TimeoutError as error:
            message = "the upstream did not answer in time"
            raise Ended(GapCause.DISCONNECTED, message) from error
        if isinstance(event, Exception):
            raise event
        return event
