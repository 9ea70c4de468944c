"""Gateways that stream what a test tells them to, and the messages that they send."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from tickgate.v1 import channel_pb2, provenance_pb2, quote_pb2, trade_pb2
from tickgate.v1 import stream_service_pb2 as pb

from . import messages
from .serving import starting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

EPOCH = "e1"


def origin() -> provenance_pb2.Provenance:
    """Where a live record comes from: what only the reader knows is left out."""
    return provenance_pb2.Provenance(
        source=provenance_pb2.DATA_SOURCE_ALPACA,
        feed=provenance_pb2.FEED_IEX,
        served_from=provenance_pb2.TIER_BOOK,
        event_time=messages.at(messages.NOON),
        receive_time=messages.at(messages.NOON + 1),
    )


def quote(symbol: str, number: int, **fields: Any) -> pb.Update:
    """A live quote whose bid is its number."""
    side = quote_pb2.QuoteSide(price=messages.dollars(str(number)), size=1)
    value = quote_pb2.Quote(symbol=symbol, bid=side, provenance=origin())
    return update(number, quote=value, **fields)


def trade(symbol: str, number: int, **fields: Any) -> pb.Update:
    """A live trade whose price is its number."""
    value = trade_pb2.Trade(symbol=symbol, price=messages.dollars(str(number)), provenance=origin())
    return update(number, trade=value, **fields)


def update(number: int, *, kind: str = "LIVE", conflated: int = 0, **value: Any) -> pb.Update:
    """An update."""
    number_of_kind = pb.UpdateKind.Value(f"UPDATE_KIND_{kind}")
    return pb.Update(sequence=number, kind=number_of_kind, conflated=conflated, **value)


def status(
    symbol: str, state: str = "LIVE", sequence: int = 0, channel: str = "QUOTES", **fields: Any
) -> pb.SymbolStatus:
    """A status of a symbol."""
    return pb.SymbolStatus(
        symbol=symbol,
        channel=channel_pb2.Channel.Value(f"CHANNEL_{channel}"),
        state=pb.SymbolState.Value(f"SYMBOL_STATE_{state}"),
        change_time=messages.at(messages.NOON),
        sequence=sequence,
        **fields,
    )


def message(
    number: int, *, epoch: str = EPOCH, token: str = "", **event: Any
) -> pb.SubscribeResponse:
    """A message of a stream."""
    return pb.SubscribeResponse(
        delivery_sequence=number,
        epoch=epoch,
        resume_token=token,
        serve_time=messages.at(messages.NOON + 5),
        **event,
    )


def updates(number: int, *found: pb.Update, **fields: Any) -> pb.SubscribeResponse:
    """A message with records, whose token names it."""
    fields.setdefault("token", f"t{number}")
    return message(number, updates=pb.Updates(updates=found), **fields)


def statuses(number: int, *found: pb.SymbolStatus, **fields: Any) -> pb.SubscribeResponse:
    """A message with statuses, whose token names it."""
    fields.setdefault("token", f"t{number}")
    return message(number, statuses=pb.Statuses(statuses=found), **fields)


class Peer:
    """The gateway's side of one stream."""

    def __init__(self, requests: AsyncIterator[pb.SubscribeRequest], context: Any) -> None:
        self.requests = requests
        self.context: grpc.aio.ServicerContext[Any, Any] = context
        self.sent = 0

    async def heard(self, kind: str) -> Any:
        """Wait for the next request of a kind, leaving out others."""
        async for request in self.requests:
            if request.WhichOneof("request") == kind:
                return getattr(request, kind)
        raise AssertionError(f"the client has hung up and sent no {kind}")

    async def begin(
        self, *symbols: str, epoch: str = EPOCH, channel: str = "QUOTES"
    ) -> pb.Subscription:
        """Accept a subscription: every symbol is LIVE, counted from 0."""
        subscription: pb.Subscription = await self.heard("subscribe")
        names = symbols or subscription.symbols
        found = [status(symbol, channel=channel) for symbol in names]
        await self.send(statuses, *found, epoch=epoch)
        return subscription

    async def send(
        self, make: Callable[..., pb.SubscribeResponse], *args: Any, **fields: Any
    ) -> None:
        """Send a message under the next number."""
        self.sent += 1
        await self.context.write(make(self.sent, *args, **fields))

    async def acked(self, number: int) -> None:
        """Wait until everything up to *number* is acknowledged."""
        while (await self.heard("ack")).delivery_sequence < number:
            pass

    async def gone(self) -> None:
        """Wait until the client hangs up."""
        async for _ in self.requests:
            pass


@asynccontextmanager
async def streaming(
    *scripts: Callable[[Peer], Awaitable[None]],
    credentials: grpc.ServerCredentials | None = None,
    at: str = "127.0.0.1:0",
) -> AsyncIterator[str]:
    """Serve streams, the first by the first script and so on, and give the address."""
    coming = iter(scripts)

    async def subscribe(requests: AsyncIterator[pb.SubscribeRequest], context: Any) -> None:
        await next(coming)(Peer(requests, context))

    handler = grpc.stream_stream_rpc_method_handler(
        subscribe,
        request_deserializer=pb.SubscribeRequest.FromString,
        response_serializer=pb.SubscribeResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler(
        "tickgate.v1.StreamService", {"Subscribe": handler}
    )
    async with starting(service, credentials=credentials, at=at) as target:
        yield target
