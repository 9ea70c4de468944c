"""Every question that the clients ask: its arguments, its request, and how its answer is read.

Knows no I/O. Each function stands for one method of both clients, which take signature and
docstring from here (see `presented`), so the two cannot drift apart.
"""

from __future__ import annotations

import inspect
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _convert as convert
from . import _rules as rules
from ._enums import SeriesKind
from ._errors import TickgateError, translated, unavailable_error
from ._instants import timestamp
from ._models import (
    Asset,
    Backfill,
    Code,
    CorporateAction,
    Coverage,
    Entitlements,
    ErrorRecord,
    Gap,
    GatewayStatus,
    Invalidation,
    MarketClock,
    OptionChain,
    OptionContract,
    OptionQuote,
    PriceAt,
    Quote,
    Snapshot,
    Trade,
    TradingDay,
    Unavailable,
    Watchlist,
)
from ._occ import Occ, name_of, names_of
from ._time import seconds
from .v1 import admin_service_pb2 as admin_pb2
from .v1 import history_service_pb2 as history_pb2
from .v1 import option_pb2
from .v1 import option_service_pb2 as options_pb2
from .v1 import quote_service_pb2 as quotes_pb2
from .v1 import reference_service_pb2 as reference_pb2
from .v1 import status_service_pb2 as status_pb2

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    import grpc
    from google.protobuf.message import Message

    from ._enums import (
        Adjustment,
        AssetStatus,
        CodeKind,
        CorporateActionType,
        Feed,
        OptionContractStatus,
        OptionType,
        OptionView,
        Reason,
        Tier,
        ValueKind,
        View,
    )
    from ._instants import Moment
    from .v1 import asset_pb2, quote_pb2, snapshot_pb2, trade_pb2
    from .v1 import history_pb2 as values_pb2

    Expiry = datetime.date | tuple[datetime.date | None, datetime.date | None]
    """One expiration date; or the first of a range, and the day after its last."""
    Strikes = tuple[Decimal | int | None, Decimal | int | None]
    """Lowest and highest strike, US dollars a share."""

Value = TypeVar("Value")
Item = TypeVar("Item")
Method = TypeVar("Method", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What every call has."""

    request_id: str
    timeout: float | datetime.timedelta | None
    """None for the client's default."""

    def __post_init__(self) -> None:
        """Refuse what no call can be made with.

        Raises:
            InvalidRequest: id or timeout break their rule.
        """
        rules.check_request_id(self.request_id)
        rules.check_length("timeout", self.timeout)

    def deadline(self, default: float | datetime.timedelta) -> float:
        """Seconds that the call may take."""
        return seconds(default if self.timeout is None else self.timeout)

    def metadata(self, common: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Metadata of the call: what the client always sends, and the id."""
        return (*common, ("x-request-id", self.request_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Call, Generic[Value]):
    """One call, ready to be made."""

    rpc: str
    """Service and method, such as "QuoteService/GetQuote"."""
    request: Message
    reply: type[Message]
    read: Callable[[Any], Value]
    """Turns the reply into a value, or raises why there is none. Of an RPC that streams its reply it
    is given all messages."""
    symbol: str | None = None
    """Symbol asked for, if it is exactly one."""

    @property
    def path(self) -> str:
        """Name of the RPC on the wire."""
        return f"/tickgate.v1.{self.rpc}"

    def answer(self, reply: Message | Sequence[Message]) -> Value:
        """Read the reply.

        Raises:
            DataUnavailableError: there is no value.
            GatewayError: the reply is not what the contract promises.
        """
        try:
            return self.read(reply)
        except convert.BrokenContract as error:
            raise convert.broken(error, self.request_id) from error

    def failure(self, error: grpc.RpcError) -> TickgateError:
        """The error of ours to raise from *error*."""
        return translated(error, symbol=self.symbol, request_id=self.request_id)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list, and the token of the next part, empty on the last."""

    items: tuple[Item, ...]
    next_page_token: str


def following(question: Question[Page[Item]], page: Page[Item]) -> Question[Page[Item]] | None:
    """The question for the page after *page*, None after the last."""
    if not page.next_page_token:
        return None
    request: Any = type(question.request)()  # whichever paged request it is, it has a page_token
    request.CopyFrom(question.request)
    request.page_token = page.next_page_token
    return replace(question, request=request)


def new_id() -> str:
    """An id for a call whose caller gave none."""
    return uuid.uuid4().hex


def presented(method: Method, question: Callable[..., object], owner: str) -> Method:
    """Give a method of the class *owner* the name, docstring and parameters of its question."""
    signature = inspect.signature(question)
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__name__ = question.__name__
    method.__qualname__ = f"{owner}.{question.__name__}"
    method.__doc__ = question.__doc__
    method.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # inspect reads it
        [this, *signature.parameters.values()]
    )
    return method


# --------------------------------------------------------------------------------------- quotes


def quote(
    symbol: str,
    *,
    feed: Feed | None = None,
    view: View | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    allow_stale: bool = False,
    min_quality: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Quote]:
    """Ask for the latest quote of one stock.

    Args:
        symbol: Stock symbol in upper case, such as "AAPL" or "BRK.B". Nothing is corrected.
        feed: Stock feed; the gateway's configured one when left out.
        view: How much to return; `View.BASIC` when left out.
        max_age: Longest time since the upstream last confirmed the value as the latest, in seconds
            or as a timedelta. Zero asks the upstream. The gateway's default when left out.
        max_event_age: Longest time since the exchange stamped the value, likewise.
        allowed_tiers: Tiers that may answer; all when left out.
        allow_stale: During an upstream outage accept the last value held, marked
            `provenance.stale`.
        min_quality: Refuse a quote whose quality score is below this. 0 refuses none.
        timeout: Deadline of the call, in seconds or as a timedelta; the client's default when left
            out.
        request_id: Id of the call, 1 to 128 printable ASCII characters; made up when left out.
            Whatever goes wrong carries it, and so do the gateway's logs.

    Returns:
        The quote, a `Quote`.

    Raises:
        InvalidRequest: an argument breaks a rule of the API.
        DataUnavailableError: there is no quote now. The subclass says why and what to do, such as
            `UnknownSymbol`, `NoData`, `TooStale` or `RateLimited`.
        DeadlineExceeded: the gateway did not answer in time.
        GatewayUnreachable: no gateway answers.
        GatewayError: the gateway failed.
    """
    rules.check_quality(min_quality)
    return Question(
        rpc="QuoteService/GetQuote",
        request=quotes_pb2.GetQuoteRequest(
            symbol=symbol,
            feed=convert.optional_number(convert.FEED, feed),
            view=convert.optional_number(convert.VIEW, view),
            freshness=convert.freshness(
                max_age, max_event_age, allowed_tiers, allow_stale=allow_stale
            ),
            min_quality=min_quality,
        ),
        reply=quotes_pb2.GetQuoteResponse,
        read=lambda reply: _only(_quote_result(reply.result)),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=symbol,
    )


def quotes(
    symbols: Iterable[str],
    *,
    feed: Feed | None = None,
    view: View | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    allow_stale: bool = False,
    min_quality: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[Quote | Unavailable]]:
    """Ask for the latest quotes of 1 to 200 stocks at once.

    Args:
        symbols: Stock symbols without duplicates.
        feed: As for `quote`.
        view: As for `quote`.
        max_age: As for `quote`.
        max_event_age: As for `quote`.
        allowed_tiers: As for `quote`.
        allow_stale: As for `quote`.
        min_quality: As for `quote`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        One result per symbol in the asked order: a `Quote`, or `Unavailable` with the reason. What
        befalls one symbol never harms another.

    Raises:
        InvalidRequest: an argument breaks a rule of the API.
        DeadlineExceeded: the gateway did not answer in time.
        GatewayUnreachable: no gateway answers.
        GatewayError: the gateway failed.
    """
    asked = names_of(symbols)
    rules.check_quality(min_quality)
    return Question(
        rpc="QuoteService/GetQuotes",
        request=quotes_pb2.GetQuotesRequest(
            symbols=asked,
            feed=convert.optional_number(convert.FEED, feed),
            view=convert.optional_number(convert.VIEW, view),
            freshness=convert.freshness(
                max_age, max_event_age, allowed_tiers, allow_stale=allow_stale
            ),
            min_quality=min_quality,
        ),
        reply=quotes_pb2.GetQuotesResponse,
        read=lambda reply: _in_order(asked, reply.results, _quote_result),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def trade(
    symbol: str,
    *,
    feed: Feed | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    allow_stale: bool = False,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Trade]:
    """Ask for the latest trade of one stock.

    The upstream leaves out trades that would not move a bar's price, such as odd lots.

    Args:
        symbol: As for `quote`.
        feed: As for `quote`.
        max_age: As for `quote`.
        max_event_age: As for `quote`.
        allowed_tiers: As for `quote`.
        allow_stale: As for `quote`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The trade, a `Trade`.

    Raises:
        TickgateError: as for `quote`.
    """
    return Question(
        rpc="QuoteService/GetLatestTrade",
        request=quotes_pb2.GetLatestTradeRequest(
            symbol=symbol,
            feed=convert.optional_number(convert.FEED, feed),
            freshness=convert.freshness(
                max_age, max_event_age, allowed_tiers, allow_stale=allow_stale
            ),
        ),
        reply=quotes_pb2.GetLatestTradeResponse,
        read=lambda reply: _only(_trade_result(reply.result)),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=symbol,
    )


def trades(
    symbols: Iterable[str],
    *,
    feed: Feed | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    allow_stale: bool = False,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[Trade | Unavailable]]:
    """Ask for the latest trades of 1 to 200 stocks at once.

    Args:
        symbols: Stock symbols without duplicates.
        feed: As for `quote`.
        max_age: As for `quote`.
        max_event_age: As for `quote`.
        allowed_tiers: As for `quote`.
        allow_stale: As for `quote`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        One result per symbol in the asked order: a `Trade`, or `Unavailable` with the reason.

    Raises:
        TickgateError: as for `quotes`.
    """
    asked = names_of(symbols)
    return Question(
        rpc="QuoteService/GetLatestTrades",
        request=quotes_pb2.GetLatestTradesRequest(
            symbols=asked,
            feed=convert.optional_number(convert.FEED, feed),
            freshness=convert.freshness(
                max_age, max_event_age, allowed_tiers, allow_stale=allow_stale
            ),
        ),
        reply=quotes_pb2.GetLatestTradesResponse,
        read=lambda reply: _in_order(asked, reply.results, _trade_result),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def snapshot(
    symbol: str,
    *,
    feed: Feed | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    allow_stale: bool = False,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Snapshot]:
    """Ask for latest trade, latest quote and three bars of one stock.

    Args:
        symbol: As for `quote`.
        feed: As for `quote`.
        max_age: As for `quote`.
        max_event_age: Bound on the newer of latest trade and latest quote. None when left out.
        allowed_tiers: As for `quote`.
        allow_stale: As for `quote`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The snapshot, a `Snapshot`. A part that is missing alone stands in its `missing_parts`.

    Raises:
        TickgateError: as for `quote`.
    """
    return Question(
        rpc="QuoteService/GetSnapshot",
        request=quotes_pb2.GetSnapshotRequest(
            symbol=symbol,
            feed=convert.optional_number(convert.FEED, feed),
            freshness=convert.freshness(
                max_age, max_event_age, allowed_tiers, allow_stale=allow_stale
            ),
        ),
        reply=quotes_pb2.GetSnapshotResponse,
        read=lambda reply: _only(_snapshot_result(reply.result)),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=symbol,
    )


def snapshots(
    symbols: Iterable[str],
    *,
    feed: Feed | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    allow_stale: bool = False,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[Snapshot | Unavailable]]:
    """Ask for the snapshots of 1 to 200 stocks at once.

    Args:
        symbols: Stock symbols without duplicates.
        feed: As for `quote`.
        max_age: As for `quote`.
        max_event_age: As for `snapshot`.
        allowed_tiers: As for `quote`.
        allow_stale: As for `quote`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        One result per symbol in the asked order: a `Snapshot`, or `Unavailable` with the reason.

    Raises:
        TickgateError: as for `quotes`.
    """
    asked = names_of(symbols)
    return Question(
        rpc="QuoteService/GetSnapshots",
        request=quotes_pb2.GetSnapshotsRequest(
            symbols=asked,
            feed=convert.optional_number(convert.FEED, feed),
            freshness=convert.freshness(
                max_age, max_event_age, allowed_tiers, allow_stale=allow_stale
            ),
        ),
        reply=quotes_pb2.GetSnapshotsResponse,
        read=lambda reply: _in_order(asked, reply.results, _snapshot_result),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


# -------------------------------------------------------------------------------------- options


def option_quote(
    symbol: str | Occ,
    *,
    feed: Feed | None = None,
    view: OptionView | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[OptionQuote]:
    """Ask for quote, latest trade, greeks and implied volatility of one option contract.

    Nothing stale is ever answered: an option's price moves with another one.

    Args:
        symbol: OCC symbol without blanks, such as "SPY220715C00380000", or an `Occ`.
        feed: Option feed, `Feed.OPRA` or `Feed.INDICATIVE`; the gateway's configured one when left
            out. What the second sends is not a real quote.
        view: How much to return; `OptionView.BASIC` when left out.
        max_age: As for `quote`.
        max_event_age: As for `quote`; no bound when left out.
        allowed_tiers: As for `quote`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The option quote, an `OptionQuote`. A part that was refused stands in its `missing_parts`.

    Raises:
        UnknownContract: the upstream does not list it.
        ExpiredContract: its last trading moment has passed.
        TickgateError: as for `quote`.
    """
    asked = name_of(symbol)
    return Question(
        rpc="OptionService/GetOptionQuote",
        request=options_pb2.GetOptionQuoteRequest(
            symbol=asked,
            feed=convert.optional_number(convert.FEED, feed),
            view=convert.optional_number(convert.OPTION_VIEW, view),
            freshness=convert.freshness(max_age, max_event_age, allowed_tiers, allow_stale=False),
        ),
        reply=options_pb2.GetOptionQuoteResponse,
        read=lambda reply: _only(_option_result(reply.result)),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=asked,
    )


def option_quotes(
    symbols: Iterable[str | Occ],
    *,
    feed: Feed | None = None,
    view: OptionView | None = None,
    max_age: float | datetime.timedelta | None = None,
    max_event_age: float | datetime.timedelta | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[OptionQuote | Unavailable]]:
    """Ask for the same of 1 to 100 option contracts at once.

    Args:
        symbols: OCC symbols without duplicates, or `Occ`.
        feed: As for `option_quote`.
        view: As for `option_quote`.
        max_age: As for `quote`.
        max_event_age: As for `option_quote`.
        allowed_tiers: As for `quote`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        One result per contract in the asked order: an `OptionQuote`, or `Unavailable` with the
        reason. What befalls one contract never harms another.

    Raises:
        TickgateError: as for `quotes`.
    """
    asked = names_of(symbols)
    return Question(
        rpc="OptionService/GetOptionQuotes",
        request=options_pb2.GetOptionQuotesRequest(
            symbols=asked,
            feed=convert.optional_number(convert.FEED, feed),
            view=convert.optional_number(convert.OPTION_VIEW, view),
            freshness=convert.freshness(max_age, max_event_age, allowed_tiers, allow_stale=False),
        ),
        reply=options_pb2.GetOptionQuotesResponse,
        read=lambda reply: _in_order(asked, reply.results, _option_result),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def chain(
    underlying: str,
    *,
    expiry: Expiry | None = None,
    type: OptionType | None = None,  # noqa: A002 - the contract's word
    strikes: Strikes | None = None,
    around: int | None = None,
    around_percent: Decimal | int | None = None,
    root: str = "",
    updated_since: datetime.datetime | None = None,
    delta: tuple[float | None, float | None] | None = None,
    feed: Feed | None = None,
    view: OptionView | None = None,
    max_age: float | datetime.timedelta | None = None,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[OptionChain]:
    """Ask for the option chain of a stock: all contracts that match, as they stood at one moment.

    Filters combine; left out, they let everything pass.

    Args:
        underlying: Stock symbol of the underlying.
        expiry: One expiration date; or earliest date and the date after the last, either of which
            may be None.
        type: Calls or puts only.
        strikes: Lowest and highest strike in US dollars a share, both of which belong to the range
            and either of which may be None.
        around: So many strikes at or below the underlying's price and as many above it, of each
            expiration date: 1 to 1,000. The price is a real one, the latest trade on the gateway's
            stock feed.
        around_percent: Instead: strikes within so many percent of that price, below and above.
        root: One OCC root, such as "AAPL1" for an adjusted series.
        updated_since: Only contracts whose quote or trade is stamped after this time.
        delta: Lowest and highest delta, -1 to 1, both of which belong to the band and either of
            which may be None. Contracts without a delta are left out and counted.
        feed: As for `option_quote`.
        view: As for `option_quote`.
        max_age: Longest time since the upstream last confirmed the chain, in seconds or as a
            timedelta. Zero refreshes it. The gateway's setting when left out.
        timeout: As for `quote`. The first reading of a long chain can take the upstream longer than
            the client's default: allow for it.
        request_id: As for `quote`.

    Returns:
        The chain, an `OptionChain`, complete: one that was cut off on its way is never handed on.

    Raises:
        UnknownSymbol: there is no such stock.
        NoData: no contract is listed, or none matches; the message says which.
        TickgateError: as for `quote`.
    """
    rules.check_length("max_age", max_age)
    call = request_id or new_id()
    return Question(
        rpc="OptionService/StreamOptionChain",
        request=options_pb2.StreamOptionChainRequest(
            underlying_symbol=underlying,
            feed=convert.optional_number(convert.FEED, feed),
            view=convert.optional_number(convert.OPTION_VIEW, view),
            filter=_chain_filter(
                *(expiry, type, strikes, around, around_percent, root, updated_since, delta)
            ),
            max_age=convert.duration(max_age),
        ),
        reply=options_pb2.StreamOptionChainResponse,
        read=lambda parts: _whole_chain(parts, underlying, call),
        timeout=timeout,
        request_id=call,
        symbol=underlying,
    )


def chain_page(
    underlying: str,
    *,
    expiry: Expiry | None = None,
    type: OptionType | None = None,  # noqa: A002 - the contract's word
    strikes: Strikes | None = None,
    around: int | None = None,
    around_percent: Decimal | int | None = None,
    root: str = "",
    updated_since: datetime.datetime | None = None,
    delta: tuple[float | None, float | None] | None = None,
    feed: Feed | None = None,
    view: OptionView | None = None,
    max_age: float | datetime.timedelta | None = None,
    page_size: int = 0,
    page_token: str | None = None,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[OptionChain]:
    """Ask for one page of an option chain, for who wants a part of it.

    A page goes on where the one before ended, whatever was refreshed meanwhile; `chain` gives all of
    one moment.

    Args:
        underlying: As for `chain`.
        expiry: As for `chain`.
        type: As for `chain`.
        strikes: As for `chain`.
        around: As for `chain`. All pages keep the price of the first.
        around_percent: As for `chain`.
        root: As for `chain`.
        updated_since: As for `chain`.
        delta: As for `chain`.
        feed: As for `option_quote`.
        view: As for `option_quote`.
        max_age: As for `chain`.
        page_size: Contracts of the page, at most 1,000; the gateway's default when 0.
        page_token: The `next_page_token` of the page before, with all else the same. None for the
            first page.
        timeout: As for `chain`.
        request_id: As for `quote`.

    Returns:
        The page, an `OptionChain`. Its counts are those of all pages.

    Raises:
        TickgateError: as for `chain`.
    """
    rules.check_length("max_age", max_age)
    call = request_id or new_id()
    return Question(
        rpc="OptionService/GetOptionChain",
        request=options_pb2.GetOptionChainRequest(
            underlying_symbol=underlying,
            feed=convert.optional_number(convert.FEED, feed),
            view=convert.optional_number(convert.OPTION_VIEW, view),
            filter=_chain_filter(
                *(expiry, type, strikes, around, around_percent, root, updated_since, delta)
            ),
            max_age=convert.duration(max_age),
            page_size=page_size,
            page_token=page_token or "",
        ),
        reply=options_pb2.GetOptionChainResponse,
        read=lambda reply: _only(
            _either(reply, "page", lambda page: _chain_page(page, call), underlying)
        ),
        timeout=timeout,
        request_id=call,
        symbol=underlying,
    )


def contracts(
    underlying: str,
    *,
    status: OptionContractStatus | None = None,
    type: OptionType | None = None,  # noqa: A002 - the contract's word
    expiry: Expiry | None = None,
    strikes: Strikes | None = None,
    root: str = "",
    show_deliverables: bool = False,
    page_size: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Page[OptionContract]]:
    """List the option contracts of a stock: their terms and open interest. Filters combine.

    Pages are fetched as the iteration reaches them, so stopping early costs nothing.

    Args:
        underlying: Stock symbol of the underlying.
        status: Contracts of this status; the active ones when left out.
        type: As for `chain`.
        expiry: As for `chain`. Left out, active contracts are listed from today on and inactive ones
            from a year ago on.
        strikes: As for `chain`.
        root: As for `chain`.
        show_deliverables: Also ask what is delivered.
        page_size: Contracts per call to the gateway, at most 1,000; the gateway's default when 0.
        timeout: Deadline of each page, as for `quote`.
        request_id: Id of every page's call, as for `quote`.

    Returns:
        An iterator over `OptionContract` by expiration date, strike, type (calls first) and root.

    Raises:
        UnknownSymbol: while iterating, there is no such stock.
        NoData: while iterating, no contract matches.
        TickgateError: while iterating, as for `quote`.
    """
    on, start, end = _dates(expiry)
    low, high = strikes or (None, None)
    return Question(
        rpc="OptionService/ListOptionContracts",
        request=options_pb2.ListOptionContractsRequest(
            underlying_symbol=underlying,
            status=convert.optional_number(convert.OPTION_CONTRACT_STATUS, status),
            type=convert.optional_number(convert.OPTION_TYPE, type),
            expiry_date=convert.optional_date(on),
            start_expiry_date=convert.optional_date(start),
            end_expiry_date=convert.optional_date(end),
            min_strike_price=convert.amount(low),
            max_strike_price=convert.amount(high),
            root_symbol=root,
            show_deliverables=show_deliverables,
            page_size=page_size,
        ),
        reply=options_pb2.ListOptionContractsResponse,
        read=lambda reply: _only(_either(reply, "page", _contract_page, underlying)),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=underlying,
    )


def _chain_filter(
    expiry: Expiry | None,
    kind: OptionType | None,
    strikes: Strikes | None,
    around: int | None,
    around_percent: Decimal | int | None,
    root: str,
    updated_since: datetime.datetime | None,
    delta: tuple[float | None, float | None] | None,
) -> option_pb2.OptionChainFilter | None:
    """Write which contracts of a chain are wanted; None for all.

    Raises:
        InvalidRequest: two widths are given, or a time without its zone.
    """
    rules.check_around(around, around_percent)
    rules.check_instant("filter.updated_since", updated_since)
    on, start, end = _dates(expiry)
    low, high = strikes or (None, None)
    message = option_pb2.OptionChainFilter(
        type=convert.optional_number(convert.OPTION_TYPE, kind),
        expiry_date=convert.optional_date(on),
        start_expiry_date=convert.optional_date(start),
        end_expiry_date=convert.optional_date(end),
        min_strike_price=convert.amount(low),
        max_strike_price=convert.amount(high),
        root_symbol=root,
        updated_since=convert.instant(updated_since),
        around=_around(around, around_percent),
        delta=None if delta is None else option_pb2.DeltaBand(min=delta[0], max=delta[1]),
    )
    return message if message.ListFields() else None


def _around(strikes: int | None, percent: Decimal | int | None) -> option_pb2.AroundTheMoney | None:
    if strikes is not None:
        return option_pb2.AroundTheMoney(strikes=strikes)
    if percent is not None:
        return option_pb2.AroundTheMoney(percent=convert.amount(percent))
    return None


def _dates(
    expiry: Expiry | None,
) -> tuple[datetime.date | None, datetime.date | None, datetime.date | None]:
    """One date, or start and end of a range."""
    if isinstance(expiry, tuple):
        return None, *expiry
    return expiry, None, None


# ------------------------------------------------------------------------------------- the past


def price_at(
    symbol: str | Occ,
    time: Moment,
    *,
    tolerance: float | datetime.timedelta | None = None,
    feed: Feed | None = None,
    as_of: Moment | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[PriceAt]:
    """Ask what a symbol traded at, at a moment of the past: the last trade at or before it.

    Never a later one, never an average, never a bar. Trades that set no price, such as odd lots, and trades that were
    cancelled are passed over.

    Args:
        symbol: Stock symbol, OCC symbol, or an `Occ`.
        time: The moment, as for `bars`. A trade at exactly this moment counts.
        tolerance: How much earlier the trade may be, in seconds or as a timedelta, up to 31 days; an hour
            when left out.
        feed: As for `bars`.
        as_of: As for `bars`.
        allowed_tiers: As for `bars`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The trade and how long before the moment it happened, a `PriceAt`.

    Raises:
        NoData: nothing traded within the tolerance.
        TickgateError: as for `quote`.
    """
    rules.check_length("tolerance", tolerance)
    asked = name_of(symbol)
    return Question(
        rpc="HistoryService/GetPriceAt",
        request=history_pb2.GetPriceAtRequest(
            symbol=asked,
            time=timestamp("time", time),
            tolerance=convert.duration(tolerance),
            feed=convert.optional_number(convert.FEED, feed),
            as_of_time=timestamp("as_of_time", as_of),
            allowed_tiers=convert.TIER.numbers(allowed_tiers or ()),
        ),
        reply=history_pb2.GetPriceAtResponse,
        read=lambda reply: _only(
            _either(reply.result, "price", convert.price_at, reply.result.symbol)
        ),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=asked,
    )


def coverage(
    symbols: Iterable[str | Occ],
    kind: SeriesKind = SeriesKind.BARS,
    timeframe: str = "",
    *,
    feed: Feed | None = None,
    adjustments: Iterable[Adjustment] = (),
    start: Moment | None = None,
    end: Moment | None = None,
    as_of: Moment | None = None,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[Coverage | Unavailable]]:
    """Ask what the gateway's store holds of 1 to 100 series, without asking the upstream.

    Args:
        symbols: Symbols without duplicates: all of stocks, or all OCC symbols or `Occ`.
        kind: What the series are made of.
        timeframe: Timeframe of bars, as for `bars`; to be left out otherwise.
        feed: As for `bars`.
        adjustments: As for `bars`.
        start: First instant that is of interest, as for `bars`; from the beginning when left out.
        end: End of what is of interest; up to now when left out.
        as_of: What was held at this moment.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        One result per symbol in the asked order: a `Coverage`, or `Unavailable` with the reason.

    Raises:
        TickgateError: as for `quotes`.
    """
    asked = names_of(symbols)
    return Question(
        rpc="HistoryService/GetCoverage",
        request=history_pb2.GetCoverageRequest(
            symbols=asked,
            kind=convert.SERIES_KIND.number(kind),
            timeframe=timeframe,
            feed=convert.optional_number(convert.FEED, feed),
            adjustments=convert.ADJUSTMENT.numbers(adjustments),
            start_time=timestamp("start_time", start),
            end_time=timestamp("end_time", end),
            as_of_time=timestamp("as_of_time", as_of),
        ),
        reply=history_pb2.GetCoverageResponse,
        read=lambda reply: _in_order(asked, reply.results, _coverage_result),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def corporate_actions(
    symbols: str | Iterable[str],
    start: datetime.date,
    end: datetime.date,
    *,
    types: Iterable[CorporateActionType] = (),
    page_size: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Page[CorporateAction]]:
    """List splits, dividends, mergers and other events of companies, in order of their days.

    Pages are fetched as the iteration reaches them, so stopping early costs nothing.

    Args:
        symbols: One stock symbol, or 1 to 100 without duplicates.
        start: First day, in New York, by ex-date or, where there is none, by the day of processing.
        end: Day after the last, at most 36,600 days after *start*.
        types: Kinds of event; every kind when left out.
        page_size: Events per call to the gateway, at most 1,000; the gateway's default when 0.
        timeout: Deadline of each page, as for `quote`.
        request_id: Id of every page's call, as for `quote`.

    Returns:
        An iterator over `CorporateAction`.

    Raises:
        NoData: while iterating, nothing of that kind happened.
        TickgateError: while iterating, as for `quote`.
    """
    one = isinstance(symbols, str)
    asked = [symbols] if isinstance(symbols, str) else names_of(symbols)
    return Question(
        rpc="HistoryService/ListCorporateActions",
        request=history_pb2.ListCorporateActionsRequest(
            symbols=asked,
            types=convert.CORPORATE_ACTION_TYPE.numbers(types),
            start_date=convert.date(start),
            end_date=convert.date(end),
            page_size=page_size,
        ),
        reply=history_pb2.ListCorporateActionsResponse,
        read=lambda reply: _only(_either(reply, "page", _action_page, asked[0] if one else None)),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=asked[0] if one else None,
    )


# ------------------------------------------------------------------------------------ reference


def assets(
    query: str = "",
    *,
    status: AssetStatus | None = None,
    exchange: str = "",
    attribute: str = "",
    page_size: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Page[Asset]]:
    """Search the list of stocks. Filters combine.

    Pages are fetched as the iteration reaches them, so stopping early costs nothing.

    Args:
        query: Words to look for, each at the beginning of the symbol or anywhere in the name,
            whatever the case. Empty matches all.
        status: Only assets of this status; both when left out.
        exchange: Only assets of this exchange, as the upstream spells it, such as "NASDAQ".
        attribute: Only assets with this attribute, such as "has_options".
        page_size: Assets per call to the gateway, at most 1,000; the gateway's default when 0.
        timeout: Deadline of each page, as for `quote`.
        request_id: Id of every page's call, as for `quote`.

    Returns:
        An iterator over `Asset` in the order of their symbols.

    Raises:
        InvalidRequest: while iterating, also when the list was replaced meanwhile: start again.
        TickgateError: while iterating, as for `quote`.
    """
    return Question(
        rpc="ReferenceService/ListAssets",
        request=reference_pb2.ListAssetsRequest(
            query=query,
            status=convert.optional_number(convert.ASSET_STATUS, status),
            exchange=exchange,
            attribute=attribute,
            page_size=page_size,
        ),
        reply=reference_pb2.ListAssetsResponse,
        read=lambda reply: _only(_either(reply, "page", _asset_page)),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def asset(
    symbol: str,
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Asset]:
    """Ask for one stock of the list.

    Args:
        symbol: Stock symbol.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The asset, an `Asset`.

    Raises:
        UnknownSymbol: the list does not hold it.
        TickgateError: as for `quote`.
    """
    return Question(
        rpc="ReferenceService/GetAsset",
        request=reference_pb2.GetAssetRequest(symbol=symbol),
        reply=reference_pb2.GetAssetResponse,
        read=lambda reply: _only(_asset_result(reply.result)),
        timeout=timeout,
        request_id=request_id or new_id(),
        symbol=symbol,
    )


def clock(
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[MarketClock]:
    """Ask for the market's time, its session and the next edges of core trading.

    Args:
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The clock, a `MarketClock`.

    Raises:
        TickgateError: as for `quote`.
    """
    return Question(
        rpc="ReferenceService/GetMarketClock",
        request=reference_pb2.GetMarketClockRequest(),
        reply=reference_pb2.GetMarketClockResponse,
        read=lambda reply: _only(_either(reply, "clock", convert.clock)),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def sessions(
    start: datetime.date,
    end: datetime.date,
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[TradingDay]]:
    """Ask for the trading days of a range, with the edges of each day's sessions.

    Args:
        start: First day of the range.
        end: Day after the last day of the range, at most 3,660 days after *start*.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        A list of `TradingDay` in order. Days without trading are not in it.

    Raises:
        NoData: no day of the range is a trading day.
        TickgateError: as for `quote`.
    """
    return Question(
        rpc="ReferenceService/ListMarketSessions",
        request=reference_pb2.ListMarketSessionsRequest(
            start_date=convert.date(start), end_date=convert.date(end)
        ),
        reply=reference_pb2.ListMarketSessionsResponse,
        read=lambda reply: _only(_either(reply, "days", _trading_days)),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def codes(
    kind: CodeKind,
    tape: str | None = None,
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[Code]]:
    """Ask for a table of exchange or condition codes.

    Args:
        kind: The table.
        tape: Tape whose conditions are meant: "A", "B" or "C". Required for condition codes of
            stocks, refused for all others.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        A list of `Code` in the order of their codes.

    Raises:
        TickgateError: as for `quote`.
    """
    return Question(
        rpc="ReferenceService/ListCodes",
        request=reference_pb2.ListCodesRequest(
            kind=convert.CODE_KIND.number(kind), tape=tape or ""
        ),
        reply=reference_pb2.ListCodesResponse,
        read=lambda reply: _only(_either(reply, "table", _code_table)),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


# --------------------------------------------------------------------------------------- status


def status(
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[GatewayStatus]:
    """Ask what the gateway itself is doing. It asks nobody for it.

    Args:
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The status, a `GatewayStatus`.

    Raises:
        DeadlineExceeded: the gateway did not answer in time.
        GatewayUnreachable: no gateway answers.
        GatewayError: the gateway failed.
    """
    return Question(
        rpc="StatusService/GetStatus",
        request=status_pb2.GetStatusRequest(),
        reply=status_pb2.GetStatusResponse,
        read=convert.status,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def entitlements(
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Entitlements]:
    """Ask what the account behind the gateway may read: feeds, their delays, request limits.

    The gateway asks the upstream for a feed that it has not asked for yet.

    Args:
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The entitlements, an `Entitlements`. A feed that cannot be asked for now stays unknown.

    Raises:
        TickgateError: as for `status`.
    """
    return Question(
        rpc="StatusService/GetEntitlements",
        request=status_pb2.GetEntitlementsRequest(),
        reply=status_pb2.GetEntitlementsResponse,
        read=convert.entitlements,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def gaps(
    *,
    feed: Feed | None = None,
    symbol: str = "",
    start: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
    page_size: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Page[Gap]]:
    """List what the gateway has missed of its live feeds since it started, newest first.

    Filters combine. Pages are fetched as the iteration reaches them, so stopping early costs nothing.

    Args:
        feed: Only gaps of this feed.
        symbol: Only gaps during which this symbol was followed.
        start: Earliest time, which belongs to the range: gaps that ended before it are left out.
        end: Latest time, which does not: gaps that began at it or later are left out.
        page_size: Gaps per call to the gateway, at most 500; the gateway's default when 0.
        timeout: Deadline of each page, as for `quote`.
        request_id: Id of every page's call, as for `quote`.

    Returns:
        An iterator over `Gap`.

    Raises:
        TickgateError: while iterating, as for `status`.
    """
    rules.check_instant("start_time", start)
    rules.check_instant("end_time", end)
    return Question(
        rpc="StatusService/ListGaps",
        request=status_pb2.ListGapsRequest(
            feed=convert.optional_number(convert.FEED, feed),
            symbol=symbol,
            start_time=convert.instant(start),
            end_time=convert.instant(end),
            page_size=page_size,
        ),
        reply=status_pb2.ListGapsResponse,
        read=lambda reply: Page(tuple(map(convert.gap, reply.gaps)), reply.next_page_token),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


# ------------------------------------------------------------------------------------ operators


def errors(
    *,
    reasons: Iterable[Reason] = (),
    of_call: str = "",
    start: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
    page_size: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Page[ErrorRecord]]:
    """List the gateway's refusals and failures, newest first. Filters combine. For operators.

    Pages are fetched as the iteration reaches them, so stopping early costs nothing.

    Args:
        reasons: Only records with one of these reasons; all when left out.
        of_call: Only records of the call with this id, such as an error's `request_id`.
        start: Earliest time, which belongs to the range.
        end: Latest time, which does not belong to the range.
        page_size: Records per call to the gateway, at most 500; the gateway's default when 0.
        timeout: Deadline of each page, as for `quote`.
        request_id: Id of every page's call, as for `quote`.

    Returns:
        An iterator over `ErrorRecord`. `place` says where it was read.

    Raises:
        NotPermitted: while iterating, on another machine than the gateway's.
        InvalidRequest: while iterating, also when the records left meanwhile: start again.
        TickgateError: while iterating, as for `status`.
    """
    rules.check_instant("start_time", start)
    rules.check_instant("end_time", end)
    return Question(
        rpc="AdminService/ListErrors",
        request=admin_pb2.ListErrorsRequest(
            reasons=convert.REASON.numbers(reasons),
            request_id=of_call,
            start_time=convert.instant(start),
            end_time=convert.instant(end),
            page_size=page_size,
        ),
        reply=admin_pb2.ListErrorsResponse,
        read=_error_page,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def invalidate_cache(
    symbols: Iterable[str | Occ] | None = None,
    *,
    feed: Feed | None = None,
    kinds: Iterable[ValueKind] | None = None,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Invalidation]:
    """Drop values from memory and Redis, so that the next question asks the upstream. For operators.

    What is dropped is also forgotten as a bridge over an outage. Other replicas keep what their own
    memory holds, until they are called as well.

    Args:
        symbols: Symbols of stocks and options, at most 200; every symbol when left out.
        feed: Feed; every feed when left out.
        kinds: Kinds of value; every kind when left out.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        How much was dropped, an `Invalidation`.

    Raises:
        NotPermitted: the call came from another machine than the gateway's.
        InvalidRequest: an argument breaks a rule of the API, such as an empty list.
        TickgateError: as for `status`.
    """
    asked = None if symbols is None else names_of(symbols)
    chosen = None if kinds is None else list(kinds)
    rules.check_named("symbols", asked)
    rules.check_named("kinds", chosen)
    return Question(
        rpc="AdminService/InvalidateCache",
        request=admin_pb2.InvalidateCacheRequest(
            symbols=asked,
            feed=convert.optional_number(convert.FEED, feed),
            kinds=convert.VALUE_KIND.numbers(chosen or ()),
        ),
        reply=admin_pb2.InvalidateCacheResponse,
        read=convert.invalidation,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def put_watchlist(
    name: str,
    symbols: Iterable[str],
    *,
    record: bool = False,
    refresh_timeframes: Iterable[str] = (),
    refresh_days: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Watchlist]:
    """Create a watchlist, or replace the one of this name. For operators.

    Args:
        name: Name: 1 to 64 of a to z, 0 to 9, dot, dash and underscore.
        symbols: 1 to 1,000 stock symbols without duplicates.
        record: Record trades and bars live, as they arrive, into the store.
        refresh_timeframes: Timeframes of the bars that the daily refresh fetches, such as "1Day". Empty refreshes none.
        refresh_days: How far back the refresh reaches, up to 3,660 days; 0 takes 366.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The watchlist as it is now, a `Watchlist`.

    Raises:
        NotPermitted: the call came from another machine than the gateway's.
        InvalidRequest: an argument breaks a rule of the API.
        StoreUnavailable: the gateway's store cannot be had now.
        TickgateError: as for `status`.
    """
    rules.check_number("watchlist.refresh_days", refresh_days, 3660)
    return Question(
        rpc="AdminService/PutWatchlist",
        request=admin_pb2.PutWatchlistRequest(
            watchlist=admin_pb2.Watchlist(
                name=name,
                symbols=names_of(symbols),
                record=record,
                refresh_timeframes=refresh_timeframes,
                refresh_days=refresh_days,
            )
        ),
        reply=admin_pb2.PutWatchlistResponse,
        read=lambda reply: convert.watchlist(reply.watchlist),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def watchlist(
    name: str,
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Watchlist]:
    """Ask for one watchlist. For operators.

    Args:
        name: Its name.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The watchlist, a `Watchlist`.

    Raises:
        NotFound: there is none of that name.
        TickgateError: as for `put_watchlist`.
    """
    return Question(
        rpc="AdminService/GetWatchlist",
        request=admin_pb2.GetWatchlistRequest(name=name),
        reply=admin_pb2.GetWatchlistResponse,
        read=lambda reply: convert.watchlist(reply.watchlist),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def watchlists(
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[list[Watchlist]]:
    """Ask for all watchlists. For operators.

    Args:
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        A list of `Watchlist` in the order of their names.

    Raises:
        TickgateError: as for `put_watchlist`.
    """
    return Question(
        rpc="AdminService/ListWatchlists",
        request=admin_pb2.ListWatchlistsRequest(),
        reply=admin_pb2.ListWatchlistsResponse,
        read=lambda reply: list(map(convert.watchlist, reply.watchlists)),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def delete_watchlist(
    name: str,
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[None]:
    """Delete a watchlist; what was recorded stays. For operators.

    Args:
        name: Its name.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Raises:
        NotFound: there is none of that name.
        TickgateError: as for `put_watchlist`.
    """
    return Question(
        rpc="AdminService/DeleteWatchlist",
        request=admin_pb2.DeleteWatchlistRequest(name=name),
        reply=admin_pb2.DeleteWatchlistResponse,
        read=lambda _: None,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def start_backfill(
    symbols: Iterable[str | Occ],
    start: Moment,
    end: Moment | None = None,
    *,
    kind: SeriesKind = SeriesKind.BARS,
    timeframe: str = "",
    feed: Feed | None = None,
    adjustments: Iterable[Adjustment] = (),
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Backfill]:
    """Start to fetch history into the gateway's store, at its leisure. For operators.

    What is held already costs nothing, so one that was interrupted is resumed by starting it again.

    Args:
        symbols: 1 to 1,000 symbols without duplicates: all of stocks, or all OCC symbols or `Occ`.
        start: First instant of the range, as for `bars`.
        end: End of the range; the market's present time when left out.
        kind: What to fetch.
        timeframe: Timeframe of bars, as for `bars`; to be left out otherwise.
        feed: As for `bars`.
        adjustments: As for `bars`.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The backfill as it begins, a `Backfill`.

    Raises:
        NotSupported: the gateway has no store.
        TickgateError: as for `put_watchlist`.
    """
    return Question(
        rpc="AdminService/StartBackfill",
        request=admin_pb2.StartBackfillRequest(
            symbols=names_of(symbols),
            kind=convert.SERIES_KIND.number(kind),
            timeframe=timeframe,
            feed=convert.optional_number(convert.FEED, feed),
            adjustments=convert.ADJUSTMENT.numbers(adjustments),
            start_time=timestamp("start_time", start),
            end_time=timestamp("end_time", end),
        ),
        reply=admin_pb2.StartBackfillResponse,
        read=lambda reply: convert.backfill(reply.backfill),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def backfill(
    id: str,  # noqa: A002 - the contract's word
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Backfill]:
    """Ask how far a backfill is. For operators.

    Args:
        id: Its id.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The backfill as it stands, a `Backfill`.

    Raises:
        NotFound: there is none with that id.
        TickgateError: as for `put_watchlist`.
    """
    return Question(
        rpc="AdminService/GetBackfill",
        request=admin_pb2.GetBackfillRequest(id=id),
        reply=admin_pb2.GetBackfillResponse,
        read=lambda reply: convert.backfill(reply.backfill),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def backfills(
    *,
    page_size: int = 0,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Page[Backfill]]:
    """List backfills, newest first. For operators.

    Pages are fetched as the iteration reaches them, so stopping early costs nothing.

    Args:
        page_size: Backfills per call to the gateway, at most 500; the gateway's default when 0.
        timeout: Deadline of each page, as for `quote`.
        request_id: Id of every page's call, as for `quote`.

    Returns:
        An iterator over `Backfill`.

    Raises:
        TickgateError: while iterating, as for `put_watchlist`.
    """
    return Question(
        rpc="AdminService/ListBackfills",
        request=admin_pb2.ListBackfillsRequest(page_size=page_size),
        reply=admin_pb2.ListBackfillsResponse,
        read=lambda reply: Page(
            tuple(map(convert.backfill, reply.backfills)), reply.next_page_token
        ),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def cancel_backfill(
    id: str,  # noqa: A002 - the contract's word
    *,
    timeout: float | datetime.timedelta | None = None,
    request_id: str | None = None,
) -> Question[Backfill]:
    """Stop a backfill; what it has fetched stays. Stopping one that has ended changes nothing. For operators.

    Args:
        id: Its id.
        timeout: As for `quote`.
        request_id: As for `quote`.

    Returns:
        The backfill as it is now, a `Backfill`.

    Raises:
        NotFound: there is none with that id.
        TickgateError: as for `put_watchlist`.
    """
    return Question(
        rpc="AdminService/CancelBackfill",
        request=admin_pb2.CancelBackfillRequest(id=id),
        reply=admin_pb2.CancelBackfillResponse,
        read=lambda reply: convert.backfill(reply.backfill),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


# ---------------------------------------------------------------------------- reading the answer


def _either(
    result: Any, field: str, read: Callable[[Any], Value], symbol: str | None = None
) -> Value | Unavailable:
    """What the oneof holds: *field*, as *read* reads it, or the reason why there is none."""
    chosen = result.WhichOneof("result")
    if chosen == field:
        return read(getattr(result, field))
    if chosen == "unavailable":
        return convert.unavailable(result.unavailable, symbol)
    message = f"{result.DESCRIPTOR.name} holds neither a value nor a reason known to this client"
    raise convert.BrokenContract(message)


def _only(value: Value | Unavailable) -> Value:
    """The one value that was asked for."""
    if isinstance(value, Unavailable):
        raise unavailable_error(value)
    return value


def _in_order(
    symbols: list[str], results: Sequence[Any], read: Callable[[Any], Value]
) -> list[Value]:
    """The results of a batch, which the gateway promises to give in the asked order."""
    if [result.symbol for result in results] != symbols:
        raise convert.BrokenContract(
            "the results are not those of the asked symbols in their order"
        )
    return [read(result) for result in results]


def _quote_result(result: quote_pb2.QuoteResult) -> Quote | Unavailable:
    return _either(result, "quote", convert.quote, result.symbol)


def _trade_result(result: trade_pb2.TradeResult) -> Trade | Unavailable:
    return _either(result, "trade", convert.trade, result.symbol)


def _snapshot_result(result: snapshot_pb2.SnapshotResult) -> Snapshot | Unavailable:
    return _either(result, "snapshot", convert.snapshot, result.symbol)


def _option_result(result: option_pb2.OptionQuoteResult) -> OptionQuote | Unavailable:
    return _either(result, "option_quote", convert.option_quote, result.symbol)


def _whole_chain(
    parts: Sequence[options_pb2.StreamOptionChainResponse], underlying: str, call: str
) -> OptionChain:
    """The chain that was streamed, if all of it has come."""
    match [part.WhichOneof("event") for part in parts]:
        case ["unavailable"]:
            raise unavailable_error(convert.unavailable(parts[0].unavailable, underlying))
        case ["header", *between, "end"] if set(between) <= {"chunk"}:
            header, end = parts[0].header, parts[-1].end
        case events:
            came = ", ".join(dict.fromkeys(map(str, events)))
            raise convert.BrokenContract(
                f"a chain is header, chunks and end, not {came or 'nothing'}"
            )
    quotes = [each for part in parts[1:-1] for each in part.chunk.option_quotes]
    if not header.total_size == end.count == len(quotes):
        counts = f"{header.total_size} announced, {end.count} sent, {len(quotes)} received"
        raise convert.BrokenContract(f"the chain is not complete: {counts}")
    return convert.option_chain(header, quotes, None, call)


def _chain_page(page: option_pb2.OptionChainPage, call: str) -> OptionChain:
    return convert.option_chain(page.header, page.option_quotes, page.next_page_token or None, call)


def _contract_page(page: option_pb2.OptionContractPage) -> Page[OptionContract]:
    origin = convert.provenance(page.provenance)
    items = tuple(convert.option_contract(each, origin) for each in page.contracts)
    return Page(items, page.next_page_token)


def _coverage_result(result: values_pb2.CoverageResult) -> Coverage | Unavailable:
    def read(message: values_pb2.Coverage) -> Coverage:
        return convert.coverage(message, result.symbol)

    return _either(result, "coverage", read, result.symbol)


def _action_page(page: history_pb2.CorporateActionPage) -> Page[CorporateAction]:
    items = tuple(map(convert.corporate_action, page.corporate_actions))
    return Page(items, page.next_page_token)


def _asset_result(result: asset_pb2.AssetResult) -> Asset | Unavailable:
    def read(message: asset_pb2.Asset) -> Asset:
        return convert.asset(message, convert.provenance(result.provenance))

    return _either(result, "asset", read, result.symbol)


def _asset_page(page: asset_pb2.AssetPage) -> Page[Asset]:
    origin = convert.provenance(page.provenance)
    items = tuple(convert.asset(each, origin) for each in page.assets)
    return Page(items, page.next_page_token)


def _trading_days(days: reference_pb2.TradingDays) -> list[TradingDay]:
    origin = convert.provenance(days.provenance)
    return [convert.trading_day(day, origin) for day in days.days]


def _code_table(table: asset_pb2.CodeTable) -> list[Code]:
    origin = convert.provenance(table.provenance)
    return [Code(code=each.code, name=each.name, provenance=origin) for each in table.codes]


def _error_page(page: admin_pb2.ListErrorsResponse) -> Page[ErrorRecord]:
    place = convert.ERROR_LOG_PLACE.member(page.place)
    items = tuple(convert.error_record(each, place) for each in page.errors)
    return Page(items, page.next_page_token)
