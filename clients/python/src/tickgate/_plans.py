"""Every way to follow: its arguments, and the subscription that is made of them. Knows no I/O.

Each function stands for one method of both clients, as in `_questions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from . import _convert as convert
from . import _rules as rules
from ._enums import Channel
from ._models import (
    Bar,
    PriceBands,
    Quote,
    Trade,
    TradeCancellation,
    TradeCorrection,
    TradingStatus,
)
from ._occ import name_of
from ._questions import Call, new_id
from ._time import seconds
from .v1 import stream_service_pb2 as pb

if TYPE_CHECKING:
    from datetime import timedelta

    from ._enums import Feed
    from ._occ import Occ

Item = TypeVar("Item")

PATH = "/tickgate.v1.StreamService/Subscribe"

HEARTBEAT_INTERVAL = 15.0
"""Seconds between heartbeats where nothing else is asked for, by the contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Call, Generic[Item]):
    """What to follow, and how."""

    channel: Channel
    symbols: tuple[str, ...]
    subscription: pb.Subscription
    """All that is asked for but the symbols, which change, and the token."""
    heartbeat_interval: float
    """Seconds between heartbeats at most."""


def _plan(
    channel: Channel,
    given: tuple[str | Occ, ...],
    *,
    feed: Feed | None,
    min_update_interval: float | timedelta | None,
    stale_after: float | timedelta | None = None,
    max_unread_age: float | timedelta | None,
    heartbeat_interval: float | timedelta | None,
    timeout: float | timedelta | None,
    request_id: str | None,
) -> Plan[Item]:
    rules.check_spread(given)
    symbols = tuple(map(name_of, given))
    rules.check_symbols(symbols)
    rules.check_length("min_update_interval", min_update_interval)
    rules.check_length("stale_after", stale_after)
    rules.check_length("max_unread_age", max_unread_age)
    rules.check_length("heartbeat_interval", heartbeat_interval)
    return Plan(
        channel=channel,
        symbols=symbols,
        subscription=pb.Subscription(
            channels=[convert.CHANNEL.number(channel)],
            feed=convert.optional_number(convert.FEED, feed),
            min_update_interval=convert.duration(min_update_interval),
            stale_after=convert.duration(stale_after),
            max_unread_age=convert.duration(max_unread_age),
            heartbeat_interval=convert.duration(heartbeat_interval),
        ),
        heartbeat_interval=seconds(heartbeat_interval or HEARTBEAT_INTERVAL),
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def follow(
    *symbols: str | Occ,
    feed: Feed | None = None,
    min_update_interval: float | timedelta | None = None,
    stale_after: float | timedelta | None = None,
    max_unread_age: float | timedelta | None = None,
    heartbeat_interval: float | timedelta | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Plan[Quote]:
    """Follow the quotes of stocks, or of options, as they change, for as long as the `with` lasts.

    The newest quote always wins: whoever reads more slowly than the market moves gets fewer quotes,
    never old ones. A connection that is lost is made again.

    Args:
        symbols: Stock symbols, none twice; "*" for all, where the gateway allows it. Option
            contracts with an option feed, never "*".
        feed: Stock feed, the gateway's configured one when left out; or an option feed, `Feed.OPRA`
            or `Feed.INDICATIVE`. The second does not carry real quotes.
        min_update_interval: Quotes of a symbol come no closer together than this, in seconds or as
            a timedelta, up to an hour; as fast as they are read when left out.
        stale_after: A quote that has not moved for this long while the market is open turns STALE:
            one second to an hour; the gateway's own when left out.
        max_unread_age: How old, roughly, what is read may have become on its way: 10 ms to 10 s,
            250 ms when left out.
        heartbeat_interval: The gateway gives a sign of life at least this often, 100 ms to an hour;
            15 s when left out. Without three of them the connection counts as lost.
        timeout: How long entering, `add` and `remove` may take, in seconds or as a timedelta; the
            client's default when left out.
        request_id: As for `quote`.

    Returns:
        A subscription, which is entered and iterated over. It yields `Quote`.

    Raises:
        InvalidRequest: an argument breaks a rule of the API; at once, or on entering.
        DeadlineExceeded: on entering, the gateway did not answer in time.
        GatewayUnreachable: on entering, no gateway answers.
        DataUnavailableError: while iterating, every symbol is rejected. The subclass says why.
        TickgateError: while iterating, the gateway has ended it and trying again cannot help.
    """
    return _plan(
        Channel.QUOTES,
        symbols,
        feed=feed,
        min_update_interval=min_update_interval,
        stale_after=stale_after,
        max_unread_age=max_unread_age,
        heartbeat_interval=heartbeat_interval,
        timeout=timeout,
        request_id=request_id,
    )


def follow_trades(
    *symbols: str | Occ,
    feed: Feed | None = None,
    min_update_interval: float | timedelta | None = None,
    max_unread_age: float | timedelta | None = None,
    heartbeat_interval: float | timedelta | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Plan[Trade | TradeCorrection | TradeCancellation]:
    """Follow the trades of stocks, and what becomes of them (corrections, cancellations), or of options.

    Each one counts, so they come in order and none is left out; whoever falls too far behind is told
    which he has missed. First comes the trade that stood before: `with_events` tells it apart.

    Args:
        symbols: As for `follow`.
        feed: As for `follow`.
        min_update_interval: Records come no closer together than this; what is queued waits.
        max_unread_age: As for `follow`.
        heartbeat_interval: As for `follow`.
        timeout: As for `follow`.
        request_id: As for `quote`.

    Returns:
        A subscription, as for `follow`. It yields `Trade`, `TradeCorrection` and
        `TradeCancellation`.

    Raises:
        TickgateError: as for `follow`.
    """
    return _plan(
        Channel.TRADES,
        symbols,
        feed=feed,
        min_update_interval=min_update_interval,
        max_unread_age=max_unread_age,
        heartbeat_interval=heartbeat_interval,
        timeout=timeout,
        request_id=request_id,
    )


def follow_bars(
    *symbols: str,
    feed: Feed | None = None,
    min_update_interval: float | timedelta | None = None,
    max_unread_age: float | timedelta | None = None,
    heartbeat_interval: float | timedelta | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Plan[Bar]:
    """Follow the minute bars of stocks as they close, and their revisions half a minute later.

    They come in order and none is left out, as for `follow_trades`.

    Args:
        symbols: Stock symbols, none twice; "*" for all, where the gateway allows it.
        feed: Stock feed; the gateway's configured one when left out.
        min_update_interval: Records come no closer together than this; what is queued waits.
        max_unread_age: As for `follow`.
        heartbeat_interval: As for `follow`.
        timeout: As for `follow`.
        request_id: As for `quote`.

    Returns:
        A subscription, as for `follow`. It yields `Bar`; `revised` tells a
        revision from the first one.

    Raises:
        TickgateError: as for `follow`.
    """
    return _plan(
        Channel.BARS,
        symbols,
        feed=feed,
        min_update_interval=min_update_interval,
        max_unread_age=max_unread_age,
        heartbeat_interval=heartbeat_interval,
        timeout=timeout,
        request_id=request_id,
    )


def follow_daily_bars(
    *symbols: str,
    feed: Feed | None = None,
    min_update_interval: float | timedelta | None = None,
    max_unread_age: float | timedelta | None = None,
    heartbeat_interval: float | timedelta | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Plan[Bar]:
    """Follow the running bar of the day, which comes anew each minute.

    The newest bar always wins, as for `follow`.

    Args:
        symbols: Stock symbols, none twice; "*" for all, where the gateway allows it.
        feed: Stock feed; the gateway's configured one when left out.
        min_update_interval: Records come no closer together than this; what is queued waits.
        max_unread_age: As for `follow`.
        heartbeat_interval: As for `follow`.
        timeout: As for `follow`.
        request_id: As for `quote`.

    Returns:
        A subscription, as for `follow`. It yields `Bar`.

    Raises:
        TickgateError: as for `follow`.
    """
    return _plan(
        Channel.DAILY_BARS,
        symbols,
        feed=feed,
        min_update_interval=min_update_interval,
        max_unread_age=max_unread_age,
        heartbeat_interval=heartbeat_interval,
        timeout=timeout,
        request_id=request_id,
    )


def follow_trading_statuses(
    *symbols: str,
    feed: Feed | None = None,
    min_update_interval: float | timedelta | None = None,
    max_unread_age: float | timedelta | None = None,
    heartbeat_interval: float | timedelta | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Plan[TradingStatus]:
    """Follow halts and resumptions of stocks.

    They come in order and none is left out, as for `follow_trades`.

    Args:
        symbols: Stock symbols, none twice; "*" for all, where the gateway allows it.
        feed: Stock feed; the gateway's configured one when left out.
        min_update_interval: Records come no closer together than this; what is queued waits.
        max_unread_age: As for `follow`.
        heartbeat_interval: As for `follow`.
        timeout: As for `follow`.
        request_id: As for `quote`.

    Returns:
        A subscription, as for `follow`. It yields `TradingStatus`.

    Raises:
        TickgateError: as for `follow`.
    """
    return _plan(
        Channel.TRADING_STATUSES,
        symbols,
        feed=feed,
        min_update_interval=min_update_interval,
        max_unread_age=max_unread_age,
        heartbeat_interval=heartbeat_interval,
        timeout=timeout,
        request_id=request_id,
    )


def follow_price_bands(
    *symbols: str,
    feed: Feed | None = None,
    min_update_interval: float | timedelta | None = None,
    max_unread_age: float | timedelta | None = None,
    heartbeat_interval: float | timedelta | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Plan[PriceBands]:
    """Follow the prices between which stocks may trade: limit up and limit down.

    They come in order and none is left out, as for `follow_trades`.

    Args:
        symbols: Stock symbols, none twice; "*" for all, where the gateway allows it.
        feed: Stock feed; the gateway's configured one when left out.
        min_update_interval: Records come no closer together than this; what is queued waits.
        max_unread_age: As for `follow`.
        heartbeat_interval: As for `follow`.
        timeout: As for `follow`.
        request_id: As for `quote`.

    Returns:
        A subscription, as for `follow`. It yields `PriceBands`.

    Raises:
        TickgateError: as for `follow`.
    """
    return _plan(
        Channel.PRICE_BANDS,
        symbols,
        feed=feed,
        min_update_interval=min_update_interval,
        max_unread_age=max_unread_age,
        heartbeat_interval=heartbeat_interval,
        timeout=timeout,
        request_id=request_id,
    )
