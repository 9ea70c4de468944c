"""The stream of a running sandbox: its endpoints, and what a test does to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiohttp import web

from ..channels import CHANNELS, PLAYED, Pair
from ..clock import MarketClock
from ..market import Source
from .faults import AnyStreamFault, ArmedFault, Handshake, StreamFaults, SuddenFault
from .feeds import FEEDS, STREAM_PATHS, Content, Feed
from .link import Link
from .player import Item, played
from .session import Account, Credentials, Session
from .wire import Encoding, Json, MsgPack

_PING_EVERY: Final = 54.0
"""Seconds between two pings of the server, as observed at Alpaca."""

_CLOSE_PATIENCE: Final = 0.5
"""Seconds that a client has to answer a close frame."""

_GOING_AWAY: Final = 1001
"""WebSocket close code: the server stops."""

_RECORDS = msgspec.json.Decoder(list[msgspec.Raw])


class _Head(msgspec.Struct):
    kind: str = msgspec.field(name="T", default="")
    symbol: str = msgspec.field(name="S", default="")


_HEAD = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Played:
    """What a replay has sent."""

    clients: int = 0
    """How many were connected and authenticated."""
    records: Counter[Pair] = field(default_factory=Counter)
    """By channel and symbol, once for each client."""


class Stream:
    """Alpaca's streams, each at the version and the name of its feed."""

    def __init__(
        self, sources: Mapping[Content, Source], clock: MarketClock, account: Account
    ) -> None:
        """Stream *sources*, one for every kind of content, at the time of *clock*."""
        self._sources = sources
        self._clock = clock
        self._account = account
        self._sessions: set[Session] = set()
        account.faults.when_cleared(account.slots.free_held)

    @property
    def faults(self) -> StreamFaults:
        """How it fails at the next occasion."""
        return self._account.faults

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the endpoints of the stream."""
        return [web.get(path, self._serve) for path in STREAM_PATHS]

    def clients(self, feed: str | None = None) -> int:
        """Return how many clients are authenticated, on *feed* or on any."""
        return len(self._authenticated(feed))

    async def replay(
        self,
        start: int,
        end: int,
        *,
        channels: Collection[str] = PLAYED,
        feed: str | None = None,
    ) -> Played:
        """Send all that happened from *start* to before *end* as fast as clients take it.

        Each client gets what it has subscribed to, in order of time. Market time stays where
        it is: seek first, so that what is sent is not of the future.

        Args:
            start: First instant, in nanoseconds since the epoch.
            end: The instant before which it ends.
            channels: What to send, out of what clients have subscribed to.
            feed: The feed whose clients get it; unset, all do.
        """
        sessions = self._authenticated(feed)
        counts = await asyncio.gather(
            *(self._replay_to(session, start, end, channels) for session in sessions)
        )
        return Played(len(sessions), sum(counts, Counter()))

    async def push(
        self, messages: bytes | str | Sequence[Mapping[str, Any]], *, feed: str | None = None
    ) -> int:
        """Send *messages* to whoever has subscribed to them; return to how many clients.

        A message goes where its `T` and `S` say, whatever else it holds. One whose `T` no
        channel has goes to everybody.

        Args:
            messages: A list of JSON objects, as JSON text if their digits matter.
            feed: The feed whose clients get them; unset, all do.

        Raises:
            ValueError: *messages* is no JSON list of objects.
        """
        items = [_item(record) for record in _records(messages)]
        reached = await asyncio.gather(
            *(_push_to(session, items) for session in self._authenticated(feed))
        )
        return sum(reached)

    async def send_frame(self, payload: bytes, *, feed: str | None = None) -> int:
        """Send *payload* as a frame to every client, verbatim; return to how many it went.

        The quick way to send what is encoded already: nothing looks into it.

        Args:
            payload: An array of messages in the encoding of the clients, or anything else.
            feed: The feed whose clients get it; unset, all do.
        """
        sent = 0
        for session in self._authenticated(feed):
            sent += await session.send_frame(payload)
        return sent

    async def strike(self, fault: SuddenFault) -> int:
        """Have *fault* happen to every client of its feed; return how many it struck."""
        struck = [one for one in self._sessions if fault.strikes(one.feed.name)]
        await asyncio.gather(*(fault.happen(session) for session in struck))
        return len(struck)

    async def fail(self, fault: AnyStreamFault) -> int:
        """Arm *fault* or, when it is a sudden one, have it happen; return how many it struck."""
        if isinstance(fault, ArmedFault):
            self.faults.add(fault)
            return 0
        return await self.strike(fault)

    async def close(self) -> None:
        """Close every connection with a close frame."""
        sessions = list(self._sessions)
        await asyncio.gather(*(session.link.close(_GOING_AWAY) for session in sessions))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        feed = FEEDS[request.match_info["feed"]]
        refused = self.faults.strike(Handshake, feed.name)
        if refused is not None:
            return refused.response()
        socket = web.WebSocketResponse(
            # Pings are answered by the session, which can be told not to.
            autoping=False,
            heartbeat=_PING_EVERY,
            timeout=_CLOSE_PATIENCE,
        )
        await socket.prepare(request)
        if request.transport is not None:
            link = Link(socket, request.transport, _encoding(request))
            await self._converse(link, feed, _credentials(request))
        return socket

    async def _converse(self, link: Link, feed: Feed, credentials: Credentials | None) -> None:
        session = Session(link, feed, self._account, self._sources[feed.content], self._clock)
        self._sessions.add(session)
        try:
            await session.run(credentials)
        finally:
            self._sessions.remove(session)

    async def _replay_to(
        self, session: Session, start: int, end: int, channels: Collection[str]
    ) -> Counter[Pair]:
        pairs = {pair for pair in session.followed() if pair[0] in channels}
        sent: Counter[Pair] = Counter()
        source = self._sources[session.feed.content]
        async for items in played(source, pairs, start, end):
            count = await session.send(items)
            sent.update(item.pair for item in items[:count])
        return sent

    def _authenticated(self, feed: str | None) -> list[Session]:
        return [
            session
            for session in self._sessions
            if session.authenticated and feed in (None, session.feed.name)
        ]


def _encoding(request: web.Request) -> Encoding:
    return MsgPack() if request.content_type == "application/msgpack" else Json()


def _credentials(request: web.Request) -> Credentials | None:
    key_id = request.headers.get("APCA-API-KEY-ID")
    secret = request.headers.get("APCA-API-SECRET-KEY")
    return (key_id, secret) if key_id is not None and secret is not None else None


def _records(messages: bytes | str | Sequence[Mapping[str, Any]]) -> list[bytes]:
    if not isinstance(messages, bytes | str):
        return [msgspec.json.encode(message) for message in messages]
    try:
        return [bytes(record) for record in _RECORDS.decode(messages)]
    except msgspec.DecodeError as error:
        raise ValueError(f"messages are a JSON list of objects: {error}") from error


def _item(record: bytes) -> Item:
    try:
        head = _HEAD.decode(record)
    except msgspec.DecodeError as error:
        raise ValueError(f"a message is a JSON object with texts in T and S: {error}") from error
    return Item(0, (CHANNELS.get(head.kind, head.kind), head.symbol), record)


async def _push_to(session: Session, items: Sequence[Item]) -> bool:
    known = CHANNELS.values()
    wanted = [item for item in items if item.pair[0] not in known or session.wants(item.pair)]
    return await session.send(wanted) > 0
