"""StreamService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from functools import lru_cache
from time import monotonic
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from msgspec import Struct

from tickgate.v1 import error_reason_pb2, unavailable_pb2
from tickgate.v1 import stream_service_pb2 as pb

from ..errors import InvalidRequest
from ..fanout.box import Status, Terms
from ..fanout.mailbox import (
    Closing,
    Delivery,
    Event,
    Refused,
    Statuses,
    Updates,
)
from ..fanout.streams import Follower, Order, Streams
from ..market.live import Loss, LossCause, SymbolState
from ..market.provenance import Feed
from ..market.time import NANOS
from . import convert, status
from .call import Call
from .convert import Moment
from .requests import LONGEST_ID, Reader
from .wire import field_of, tag, text_field, varint

R = TypeVar("R", pb.AddSymbols, pb.Unsubscribe)

SLOWEST_WATCH: Final = 0.25
"""Seconds between the updates of a watch, at least: nothing but gRPC's buffers keeps them from piling up."""

_STATES: Final = convert.numbers(SymbolState, pb.SymbolState, "SYMBOL_STATE_")
_LOSSES: Final = convert.numbers(LossCause, pb.LossCause, "LOSS_CAUSE_")

_NUMBER: Final = field_of(pb.SubscribeResponse, "delivery_sequence")
_TOKEN: Final = field_of(pb.SubscribeResponse, "resume_token")
_SERVE_TIME: Final = tag(pb.SubscribeResponse, "serve_time")
_UPDATES: Final = tag(pb.SubscribeResponse, "updates")


_MOST_WORDS: Final = 100
"""Requests of a follower that wait for those before them; beyond that he is not heard for a while."""


_MOST_NOTED: Final = 10_000
"""Symbols after which a stream is not told any more for the logs what else it asks for: it may last for days."""


class StreamDefaults(Struct, frozen=True):
    """What a subscription gets that does not say."""

    feed: Feed
    stale_after: float
    """Seconds."""

    unread_age: float
    """Seconds."""

    queue: int
    """Records of queued channels that wait for a reader at most."""


class StreamServicer:
    """Answers StreamService."""

    def __init__(
        self,
        streams: Streams,
        defaults: StreamDefaults,
        last_record: Callable[[Collection[Feed]], int | None],
        moment: Callable[[str], Moment],
    ) -> None:
        """Let followers into *streams*.

        Args:
            streams: lets them in.
            defaults: what a subscription gets that does not say.
            last_record: tells when a record last arrived on any of some feeds, nanoseconds of the wall clock.
            moment: makes the moment of one message.
        """
        self._streams = streams
        self._defaults = defaults
        self._last_record = last_record
        self._moment = moment

    async def Subscribe(  # noqa: N802
        self, requests: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        """Send what is followed, while the follower says what that is."""
        follower = self._streams.open(acks=True)
        heeding = asyncio.create_task(self._heed(requests, follower, call))
        try:
            async for message in self._messages(follower, call):
                yield message
        finally:
            follower.leave()
            heeding.cancel()
            with suppress(asyncio.CancelledError):
                await heeding

    async def Watch(self, request: pb.WatchRequest, call: Call) -> AsyncGenerator[bytes, None]:  # noqa: N802
        """Send what one request follows."""
        order = self._order(request.subscription, "subscription", watches=True)
        _note_followed(call, order.symbols, order.feed)
        follower = self._streams.open(acks=False)
        try:
            await follower.subscribe(order)
            async for message in self._messages(follower, call):
                yield message
        finally:
            follower.leave()

    # ---------------------------------------------------------------------------- what he says

    async def _heed(self, requests: AsyncIterator[bytes], follower: Follower, call: Call) -> None:
        words: asyncio.Queue[pb.SubscribeRequest] = asyncio.Queue(_MOST_WORDS)
        doing = asyncio.create_task(self._do_each(words, follower, call))
        doing.add_done_callback(lambda _: follower.mailbox.end())
        try:
            async for body in requests:
                await self._hear(body, words, follower)
            await words.join()
        finally:
            # Who says nothing any more acknowledges nothing any more.
            doing.cancel()
            with suppress(asyncio.CancelledError):
                await doing

    async def _hear(
        self, body: bytes, words: asyncio.Queue[pb.SubscribeRequest], follower: Follower
    ) -> None:
        try:
            request = _decoded(body)
            if request.HasField("ack"):
                # At once: to follow may take a question to the upstream, and all that he follows already would wait.
                follower.mailbox.ack(request.ack.delivery_sequence)
                return
        except InvalidRequest as error:
            follower.mailbox.refuse("", status.in_short(error))
            return
        await words.put(request)

    async def _do_each(
        self, words: asyncio.Queue[pb.SubscribeRequest], follower: Follower, call: Call
    ) -> None:
        while True:
            request = await words.get()
            named = _subscription_of(request)
            try:
                await self._do(request, named, follower, call)
            except InvalidRequest as error:
                # The answer may wait to be read, and a request can break ten thousand rules.
                follower.mailbox.refuse(named, status.in_short(error))
            finally:
                words.task_done()

    async def _do(
        self, request: pb.SubscribeRequest, named: str, follower: Follower, call: Call
    ) -> None:
        word = request.WhichOneof("request")
        match word:
            case "subscribe":
                order = self._order(request.subscribe, word, watches=False)
                _note_followed(call, order.symbols, order.feed)
                await follower.subscribe(order)
            case "add":
                symbols = _symbols(request.add, word, needed=True)
                _note_followed(call, symbols, None)
                await follower.add(named, symbols)
            case "unsubscribe":
                follower.unsubscribe(named, _symbols(request.unsubscribe, word, needed=False))
            case "query":
                reader = Reader(word)
                reader.subscription_id(request.query.subscription_id, "subscription_id")
                reader.done()
                follower.query(named)
            case _:
                rule = "one of subscribe, add, unsubscribe, ack, query is required"
                raise InvalidRequest([("request", rule)])

    def _order(self, message: pb.Subscription, path: str, *, watches: bool) -> Order:
        reader, defaults = Reader(path), self._defaults
        interval = reader.seconds(
            "min_update_interval", _set(message, "min_update_interval"), 0, 3600
        )
        if watches:
            interval = SLOWEST_WATCH if interval is None else interval
            if interval < SLOWEST_WATCH:
                reader.refuse(
                    "min_update_interval", "250 ms at least for a watch; Subscribe is for less"
                )
        heartbeat = reader.seconds(
            "heartbeat_interval", _set(message, "heartbeat_interval"), 0.1, 3600
        )
        stale = reader.seconds("stale_after", _set(message, "stale_after"), 1, 3600)
        unread = reader.seconds("max_unread_age", _set(message, "max_unread_age"), 0.01, 10)
        number = message.feed if message.HasField("feed") else None
        feed = reader.live_feed(number, defaults.feed)
        terms = Terms(
            id=reader.subscription_id(message.id),
            channels=reader.channels(message.channels, feed),
            interval=interval or 0.0,
            heartbeat=15.0 if heartbeat is None else heartbeat,
            stale_after=round((defaults.stale_after if stale is None else stale) * NANOS),
            unread_age=defaults.unread_age if unread is None else unread,
            queue=defaults.queue,
        )
        order = Order(
            terms,
            feed,
            reader.followed(message.symbols, needed=True),
            reader.resume_token(message.resume_token),
        )
        reader.done()
        return order

    # ---------------------------------------------------------------------------- what he gets

    async def _messages(self, follower: Follower, call: Call) -> AsyncGenerator[bytes, None]:
        closing: Closing | None = None
        counts = self._streams.counts
        while (delivery := await follower.next()) is not None:
            moment = self._moment(call.request_id)
            received = None if delivery.box is None else delivery.box.received
            began = monotonic()
            yield self._message(delivery, follower, moment)
            # By now gRPC has taken it over.
            took = monotonic() - began
            counts.writing.observe(took)
            if isinstance(delivery.event, Updates):
                if received is not None:
                    counts.lag.observe((moment.wall - received) / NANOS + took)
                call.given += len(delivery.event.pieces)
            elif isinstance(delivery.event, Closing):
                closing = delivery.event
        if closing is not None:
            raise status.StreamClosed(closing)

    def _message(self, delivery: Delivery, follower: Follower, moment: Moment) -> bytes:
        served = convert.timestamp(moment.wall).SerializeToString()
        head = _NUMBER + varint(delivery.number) + _SERVE_TIME + varint(len(served)) + served
        box = delivery.box
        if box is not None:
            head += _subscription(box.terms.id, box.hub.epoch)
            head += text_field(_TOKEN, box.token(moment.wall))
        if isinstance(delivery.event, Updates):
            pieces = b"".join(delivery.event.pieces)
            return head + _UPDATES + varint(len(pieces)) + pieces
        return head + self._rare(delivery.event, follower, moment).SerializeToString()

    def _rare(self, event: Event, follower: Follower, moment: Moment) -> pb.SubscribeResponse:
        match event:
            case Statuses(statuses=statuses):
                told = pb.Statuses(statuses=[_status(one, moment) for one in statuses])
                return pb.SubscribeResponse(statuses=told)
            case Refused(subscription_id=subscription_id, error=error):
                return pb.SubscribeResponse(
                    subscription_id=subscription_id, refused=_refused(subscription_id, error)
                )
            case Closing():
                return pb.SubscribeResponse(
                    closing=pb.StreamClosing(
                        reason=status.reason_number(event.reason),
                        message=event.message,
                        retry_delay=convert.duration(round(event.retry_delay * NANOS)),
                    )
                )
        last = self._last_record(follower.feeds)
        heartbeat = pb.Heartbeat(
            last_upstream_time=None if last is None else convert.timestamp(last)
        )
        return pb.SubscribeResponse(heartbeat=heartbeat)


@lru_cache(maxsize=4096)
def _subscription(subscription_id: str, epoch: str) -> bytes:
    return pb.SubscribeResponse(subscription_id=subscription_id, epoch=epoch).SerializeToString()


def _decoded(body: bytes) -> pb.SubscribeRequest:
    try:
        return pb.SubscribeRequest.FromString(body)
    except DecodeError as error:
        rule = "the bytes are not a tickgate.v1.SubscribeRequest"
        raise InvalidRequest([("", rule)]) from error


def _subscription_of(request: pb.SubscribeRequest) -> str:
    word = request.WhichOneof("request")
    if word is None or word == "ack":
        return ""
    if word == "subscribe":
        return request.subscribe.id[:LONGEST_ID]
    named: str = getattr(request, word).subscription_id
    return named[:LONGEST_ID]


def _symbols(message: R, path: str, *, needed: bool) -> Sequence[str]:
    reader = Reader(path)
    reader.subscription_id(message.subscription_id, "subscription_id")
    symbols = reader.followed(message.symbols, needed=needed)
    reader.done()
    return symbols


def _note_followed(call: Call, symbols: Sequence[str], feed: Feed | None) -> None:
    """Note in *call* what it asks to follow, beside what it has asked for before."""
    if len(call.symbols) < _MOST_NOTED:
        call.symbols = tuple(dict.fromkeys((*call.symbols, *symbols)))
    if feed is not None:
        call.feed = feed


def _set(message: pb.Subscription, field: Any) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _refused(subscription_id: str, error: InvalidRequest) -> pb.RequestRefused:
    failure = status.of_error(error, "")
    details = error_details_pb2.BadRequest()
    failure.status.details[-1].Unpack(details)
    return pb.RequestRefused(
        subscription_id=subscription_id,
        reason=error_reason_pb2.ERROR_REASON_INVALID_REQUEST,
        message=failure.message,
        bad_request=details,
    )


def _status(told: Status, moment: Moment) -> pb.SymbolStatus:
    return pb.SymbolStatus(
        symbol=told.symbol,
        channel=convert.CHANNELS[told.channel],
        state=_STATES[told.state],
        change_time=convert.timestamp(told.changed),
        sequence=told.sequence,
        refusals=[
            unavailable_pb2.RefusalCount(rule=rule, count=count)
            for rule, count in sorted(told.refused.items())
        ],
        losses=[_loss(loss) for loss in told.losses],
        unavailable=None if told.why is None else convert.unavailable(told.why, moment),
        gaps=[convert.gap(gap) for gap in told.gaps],
    )


def _loss(loss: Loss) -> pb.Loss:
    return pb.Loss(
        cause=_LOSSES[loss.cause],
        first_sequence=loss.first_sequence,
        last_sequence=loss.last_sequence,
        count=loss.count,
        start_time=None if loss.start is None else convert.timestamp(loss.start),
        end_time=None if loss.end is None else convert.timestamp(loss.end),
    )
