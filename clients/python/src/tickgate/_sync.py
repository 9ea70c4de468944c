"""The synchronous client. `_client` is its twin.

What they ask is written once, in `_questions`. A method here is a question and the way to wait for
its answer, so this module is all that the twins do not share.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, cast

import grpc

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
from ._rules import check_length
from ._security import Tls
from ._sync_history import SyncHistory
from ._sync_subscription import SyncSubscription, look_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
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
) -> Callable[Concatenate[SyncClient, Arguments], Value]:
    """The method that asks *question*."""

    def method(self: SyncClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        return self._ask(question(*args, **kwargs))

    return questions.presented(method, question, "SyncClient")


def _gathers(
    question: Callable[Arguments, Question[Value]],
) -> Callable[Concatenate[SyncClient, Arguments], Value]:
    """The method that asks *question* and gathers the messages of its answer."""

    def method(self: SyncClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        return self._gather(question(*args, **kwargs))

    return questions.presented(method, question, "SyncClient")


def _walks(
    question: Callable[Arguments, Question[Page[Item]]],
) -> Callable[Concatenate[SyncClient, Arguments], Iterator[Item]]:
    """The method that asks *question* for page after page."""

    def method(
        self: SyncClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Iterator[Item]:
        return self._walk(question(*args, **kwargs))

    return questions.presented(method, question, "SyncClient")


def _follows(
    plan: Callable[Arguments, Plan[Item]],
) -> Callable[Concatenate[SyncClient, Arguments], SyncSubscription[Item]]:
    """The method that follows what is planned."""

    def method(
        self: SyncClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> SyncSubscription[Item]:
        return self._follow(plan(*args, **kwargs))

    return questions.presented(method, plan, "SyncClient")


def _reads(
    what: Callable[Arguments, Past[Item]],
) -> Callable[Concatenate[SyncClient, Arguments], SyncHistory[Item]]:
    """The method that reads of the past what is asked for."""

    def method(
        self: SyncClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> SyncHistory[Item]:
        return self._history(what(*args, **kwargs))

    return questions.presented(method, what, "SyncClient")


class SyncClient:
    """Asks a gateway and waits. Made by `connect_sync`; safe to share between threads.

    A context manager; leaving it closes the connection and cancels what is under way.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        metadata: Mapping[str, str] | None = None,
        new_channel: Callable[[], grpc.Channel] | None = None,
        gateways: Gateways[AbstractContextManager[grpc.Channel]] | None = None,
    ) -> None:
        """Use a channel of your own making, which from now on belongs to the client.

        Args:
            channel: The channel. Retries are what its own service config says.
            timeout: As for `connect_sync`.
            metadata: As for `connect_sync`.
            new_channel: As for `Client`.
            gateways: As for `Client`.
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
        self._subscriptions: set[SyncSubscription[Any]] = set()

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

    def close(self) -> None:
        """Close the connection and cancel what is under way."""
        for subscription in tuple(self._subscriptions):
            subscription.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _follow(self, plan: Plan[Item]) -> SyncSubscription[Item]:
        return SyncSubscription(
            plan,
            gateways=self._gateways,
            metadata=self._metadata,
            timeout=plan.deadline(self._timeout),
            siblings=self._subscriptions,
        )

    def _history(self, what: Past[Item]) -> SyncHistory[Item]:
        return SyncHistory(what, channel=self._channel, metadata=self._metadata, note=self._note)

    def _ask(self, question: Question[Value], channel: grpc.Channel | None = None) -> Value:
        method = (channel or self._channel).unary_unary(
            question.path,
            request_serializer=type(question.request).SerializeToString,
            response_deserializer=question.reply.FromString,
        )
        try:
            reply, call = method.with_call(
                question.request,
                timeout=question.deadline(self._timeout),
                metadata=question.metadata(self._metadata),
            )
        except grpc.RpcError as error:
            # It is the call too, which gRPC's types do not say.
            self._note(cast("grpc.Call", error).trailing_metadata())
            raise question.failure(error) from error
        self._note(call.trailing_metadata())
        return question.answer(reply)

    def _gather(self, question: Question[Value]) -> Value:
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
            parts = list(call)
        except grpc.RpcError as error:
            self._note(call.trailing_metadata())
            raise question.failure(error) from error
        self._note(call.trailing_metadata())
        return question.answer(parts)

    def _note(self, trailers: Trailers | None) -> None:
        remaining = upstream_remaining(trailers)
        if remaining is not None:
            self._upstream_remaining = remaining
        self._rate_limit = rate_limit(trailers) or self._rate_limit

    def _walk(self, first: Question[Page[Item]]) -> Iterator[Item]:
        question: Question[Page[Item]] | None = first
        gateways = self._gateways
        look_up(gateways)
        address, untried = gateways.current, len(gateways)
        with ExitStack() as held:
            # Where there are several, all pages are asked of one: another may know another list.
            channel = self._channel
            if untried > 1:
                channel = held.enter_context(gateways.reach(address))
            while question is not None:
                try:
                    page = self._ask(question, channel)
                except GatewayUnreachable:
                    untried -= 1
                    if untried < 1:
                        raise
                    gateways.leave(address)
                    address = gateways.current
                    channel = held.enter_context(gateways.reach(address))
                    continue
                untried = len(gateways)
                yield from page.items
                question = questions.following(question, page)


def connect_sync(
    target: str | Iterable[str] = DEFAULT_TARGET,
    *,
    timeout: float | timedelta = DEFAULT_TIMEOUT,
    api_key: str | None = None,
    tls: bool | Tls = False,
    insecure_key: bool = False,
    credentials: grpc.ChannelCredentials | None = None,
    metadata: Mapping[str, str] | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> SyncClient:
    """Make a client of the gateway at *target*, or of several, for code without an event loop.

    Args:
        target: As for `connect`.
        timeout: As for `connect`.
        api_key: As for `connect`.
        tls: As for `connect`.
        insecure_key: As for `connect`.
        credentials: As for `connect`.
        metadata: As for `connect`.
        options: As for `connect`.

    Returns:
        The client: `with tickgate.connect_sync() as gateway: …`

    Raises:
        InvalidRequest: as for `connect`.
    """
    way = way_to(
        target,
        tls=tls,
        credentials=credentials,
        api_key=api_key,
        insecure_key=insecure_key,
        options=options,
    )

    def channel(address: str, arguments: list[tuple[str, Any]]) -> grpc.Channel:
        if way.credentials is None:
            return grpc.insecure_channel(address, options=arguments)
        return grpc.secure_channel(address, way.credentials, options=arguments)

    def reach(address: str, has_others: bool) -> grpc.Channel:  # noqa: FBT001 - a callback
        return channel(address, way.options_alone(address, has_others=has_others))

    return SyncClient(
        channel(way.target.spelled, way.options()),
        timeout=timeout,
        metadata=sent_with(metadata, way.identity),
        gateways=Gateways(way.target.addresses, reach, name=way.target.name),
    )
