"""The asynchronous client. `_sync` is its twin.

What they ask is written once, in `_questions`. A method here is a question and the way to wait for
its answer, so this module is all that the twins do not share.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import grpc.aio

from . import _past as past
from . import _plans as plans
from . import _questions as questions
from ._channel import (
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    common_metadata,
    rate_limit,
    sent_with,
    upstream_remaining,
    way_to,
)
from ._errors import GatewayUnreachable
from ._gateways import Gateways
from ._history import History
from ._rules import check_length
from ._security import Tls
from ._subscription import Subscription, look_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta
    from types import TracebackType

    from ._channel import Trailers
    from ._models import RateLimit
    from ._past import Past
    from ._plans import Plan
    from ._questions import Page, Question

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")
Value = TypeVar("Value")


def _asks(
    question: Callable[Arguments, Question[Value]],
) -> Callable[Concatenate[Client, Arguments], Coroutine[Any, Any, Value]]:
    """The method that asks *question*."""

    async def method(self: Client, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        return await self._ask(question(*args, **kwargs))

    return questions.presented(method, question, "Client")


def _gathers(
    question: Callable[Arguments, Question[Value]],
) -> Callable[Concatenate[Client, Arguments], Coroutine[Any, Any, Value]]:
    """The method that asks *question* and gathers the messages of its answer."""

    async def method(self: Client, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        return await self._gather(question(*args, **kwargs))

    return questions.presented(method, question, "Client")


def _walks(
    question: Callable[Arguments, Question[Page[Item]]],
) -> Callable[Concatenate[Client, Arguments], AsyncIterator[Item]]:
    """The method that asks *question* for page after page."""

    def method(
        self: Client, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> AsyncIterator[Item]:
        return self._walk(question(*args, **kwargs))

    return questions.presented(method, question, "Client")


def _follows(
    plan: Callable[Arguments, Plan[Item]],
) -> Callable[Concatenate[Client, Arguments], Subscription[Item]]:
    """The method that follows what is planned."""

    def method(
        self: Client, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Subscription[Item]:
        return self._follow(plan(*args, **kwargs))

    return questions.presented(method, plan, "Client")


def _reads(
    what: Callable[Arguments, Past[Item]],
) -> Callable[Concatenate[Client, Arguments], History[Item]]:
    """The method that reads of the past what is asked for."""

    def method(self: Client, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> History[Item]:
        return self._history(what(*args, **kwargs))

    return questions.presented(method, what, "Client")


class Client:
    """Asks a gateway, asynchronously. Made by `connect`; safe to share between tasks.

    A context manager; leaving it closes the connection and cancels what is under way.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        metadata: Mapping[str, str] | None = None,
        new_channel: Callable[[], grpc.aio.Channel] | None = None,
        gateways: Gateways[AbstractAsyncContextManager[grpc.aio.Channel]] | None = None,
    ) -> None:
        """Use a channel of your own making, which from now on belongs to the client.

        Args:
            channel: The channel. Retries are what its own service config says.
            timeout: As for `connect`.
            metadata: As for `connect`.
            new_channel: Makes a channel for one attempt to follow, which is closed with it. Without
                it those share *channel*, and a connection that has died unnoticed holds them up.
            gateways: Instead of *new_channel*: several gateways, each alone. Made by `connect`.
        """
        check_length("timeout", timeout)
        self._channel = channel
        self._timeout = timeout
        self._metadata = common_metadata(metadata)
        self._gateways = gateways or Gateways(
            ("",), lambda *_: new_channel() if new_channel else nullcontext(channel)
        )
        self._upstream_remaining: int | None = None
        self._rate_limit: RateLimit | None = None
        self._subscriptions: set[Subscription[Any]] = set()

    quote = _asks(questions.quote)
    quotes = _asks(questions.quotes)
    trade = _asks(questions.trade)
    trades = _asks(questions.trades)
    snapshot = _asks(questions.snapshot)
    snapshots = _asks(questions.snapshots)
    option_quote = _asks(questions.option_quote)
    option_quotes = _asks(questions.option_quotes)
    chain = _gathers(questions.chain)
    chain_page = _asks(questions.chain_page)
    contracts = _walks(questions.contracts)
    bars = _reads(past.bars)
    trade_history = _reads(past.trade_history)
    quote_history = _reads(past.quote_history)
    price_at = _asks(questions.price_at)
    coverage = _asks(questions.coverage)
    corporate_actions = _walks(questions.corporate_actions)
    follow = _follows(plans.follow)
    follow_trades = _follows(plans.follow_trades)
    follow_bars = _follows(plans.follow_bars)
    follow_daily_bars = _follows(plans.follow_daily_bars)
    follow_trading_statuses = _follows(plans.follow_trading_statuses)
    follow_price_bands = _follows(plans.follow_price_bands)
    assets = _walks(questions.assets)
    asset = _asks(questions.asset)
    clock = _asks(questions.clock)
    sessions = _asks(questions.sessions)
    codes = _asks(questions.codes)
    status = _asks(questions.status)
    entitlements = _asks(questions.entitlements)
    gaps = _walks(questions.gaps)
    errors = _walks(questions.errors)
    invalidate_cache = _asks(questions.invalidate_cache)
    put_watchlist = _asks(questions.put_watchlist)
    watchlist = _asks(questions.watchlist)
    watchlists = _asks(questions.watchlists)
    delete_watchlist = _asks(questions.delete_watchlist)
    start_backfill = _asks(questions.start_backfill)
    backfill = _asks(questions.backfill)
    backfills = _walks(questions.backfills)
    cancel_backfill = _asks(questions.cancel_backfill)

    @property
    def upstream_remaining(self) -> int | None:
        """Requests for market data that the gateway would still admit, by its latest answer.

        All its callers share them. None before the first answer that says so.
        """
        return self._upstream_remaining

    @property
    def rate_limit(self) -> RateLimit | None:
        """What the gateway allows this caller and what of it is left, by its latest answer.

        None before the first that says so, as where calls are not limited.
        """
        return self._rate_limit

    async def close(self) -> None:
        """Close the connection and cancel what is under way."""
        for subscription in tuple(self._subscriptions):
            await subscription.close()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _follow(self, plan: Plan[Item]) -> Subscription[Item]:
        return Subscription(
            plan,
            gateways=self._gateways,
            metadata=self._metadata,
            timeout=plan.deadline(self._timeout),
            siblings=self._subscriptions,
        )

    def _history(self, what: Past[Item]) -> History[Item]:
        return History(what, channel=self._channel, metadata=self._metadata, note=self._note)

    async def _ask(
        self, question: Question[Value], channel: grpc.aio.Channel | None = None
    ) -> Value:
        method = (channel or self._channel).unary_unary(
            question.path,
            request_serializer=type(question.request).SerializeToString,
            response_deserializer=question.reply.FromString,
        )
        call = method(
            question.request,
            timeout=question.deadline(self._timeout),
            metadata=question.metadata(self._metadata),
        )
        try:
            reply = await call
        except grpc.aio.AioRpcError as error:
            self._note(error.trailing_metadata())
            raise question.failure(error) from error
        self._note(await call.trailing_metadata())
        return question.answer(reply)

    async def _gather(self, question: Question[Value]) -> Value:
        method = self._channel.unary_stream(
            question.path,
            request_serializer=type(question.request).SerializeToString,
            response_deserializer=question.reply.FromString,
        )
        call = method(
            question.request,
            timeout=question.deadline(self._timeout),
            metadata=question.metadata(self._metadata),
        )
        try:
            parts = [part async for part in call]
        except grpc.aio.AioRpcError as error:
            self._note(error.trailing_metadata())
            raise question.failure(error) from error
        self._note(await call.trailing_metadata())
        # Thousands of contracts take some ten milliseconds, and nobody else in the loop is to wait for them.
        return await asyncio.to_thread(question.answer, parts)

    def _note(self, trailers: Trailers | None) -> None:
        remaining = upstream_remaining(trailers)
        if remaining is not None:
            self._upstream_remaining = remaining
        self._rate_limit = rate_limit(trailers) or self._rate_limit

    async def _walk(self, first: Question[Page[Item]]) -> AsyncIterator[Item]:
        question: Question[Page[Item]] | None = first
        gateways = self._gateways
        await look_up(gateways)
        address, untried = gateways.current, len(gateways)
        async with AsyncExitStack() as held:
            # Where there are several, all pages are asked of one: another may know another list.
            channel = self._channel
            if untried > 1:
                channel = await held.enter_async_context(gateways.reach(address))
            while question is not None:
                try:
                    page = await self._ask(question, channel)
                except GatewayUnreachable:
                    untried -= 1
                    if untried < 1:
                        raise
                    gateways.leave(address)
                    address = gateways.current
                    channel = await held.enter_async_context(gateways.reach(address))
                    continue
                untried = len(gateways)
                for item in page.items:
                    yield item
                question = questions.following(question, page)


def connect(
    target: str | Iterable[str] = DEFAULT_TARGET,
    *,
    timeout: float | timedelta = DEFAULT_TIMEOUT,
    api_key: str | None = None,
    tls: bool | Tls = False,
    insecure_key: bool = False,
    credentials: grpc.ChannelCredentials | None = None,
    metadata: Mapping[str, str] | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> Client:
    """Make a client of the gateway at *target*, or of several. Call it where an event loop is running.

    The connection is made with the first call and made again when it is lost.

    Args:
        target: Address of the gateway, as gRPC spells it: "host:port", "dns:///name:port". Several gateways are
            their IP addresses, "10.0.0.1:50051,10.0.0.2:50051" or a list of them, or a name that stands for all.
            Calls go to each in turn, but to none that is stopping. What is followed is asked of one after the other
            until one holds the feed.
        timeout: Deadline of a call that names none, in seconds or as a timedelta. A second attempt,
            if there is one, has only the rest of it.
        api_key: Who calls: the key that the gateway's operator has given, sent with every call. Refused where it
            could be read on its way: without TLS to another machine.
        tls: Encrypt, and believe only who has a certificate for the name in the target: True, or a `Tls` that says
            more.
        insecure_key: Send the key without TLS all the same, since something else protects the connection.
        credentials: Instead of *tls*, credentials of gRPC's own.
        metadata: Sent with every call.
        options: Channel arguments of gRPC, on top of and above the client's own.

    Returns:
        The client: `async with tickgate.connect() as gateway: …`

    Raises:
        InvalidRequest: an argument cannot be meant so, a file cannot be read, or the key would be readable on its way.
    """
    way = way_to(
        target,
        tls=tls,
        credentials=credentials,
        api_key=api_key,
        insecure_key=insecure_key,
        options=options,
    )

    def channel(address: str, arguments: list[tuple[str, Any]]) -> grpc.aio.Channel:
        if way.credentials is None:
            return grpc.aio.insecure_channel(address, options=arguments)
        return grpc.aio.secure_channel(address, way.credentials, options=arguments)

    def reach(address: str, has_others: bool) -> grpc.aio.Channel:  # noqa: FBT001 - a callback
        return channel(address, way.options_alone(address, has_others=has_others))

    return Client(
        channel(way.target.spelled, way.options()),
        timeout=timeout,
        metadata=sent_with(metadata, way.identity),
        gateways=Gateways(way.target.addresses, reach, name=way.target.name),
    )
