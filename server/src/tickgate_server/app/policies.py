"""What the settings say, in the words of the parts that are told it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ..fanout.interest import InterestPolicy
from ..fanout.streams import StreamPolicy
from ..guards.boarding import Boarding
from ..guards.breaker import BreakerPolicy
from ..guards.chains import ChainPolicy
from ..guards.freshness import FreshnessPolicy
from ..guards.retried import RetryPolicy
from ..history.policy import HistoryPolicy
from ..identity.consumer import Limits
from ..ingress.context import ContextPolicy, Verdict
from ..ingress.gate import NO_BOUND, Policy
from ..market.live import Channel
from ..market.provenance import OPTION_FEEDS, Feed
from ..market.session import MarketSession
from ..market.time import NANOS
from ..market.value_kind import ValueKind
from ..ports import Priority, Upstream
from ..rpc.serving import ConnectionLimits
from ..rpc.streams import StreamDefaults
from ..settings import Settings
from ..stores.budget.budget import Allowance, BudgetPolicy
from ..stores.redis.link import LinkLimits
from ..upstream.alpaca.http import HttpLimits
from ..upstream.alpaca.stream.policy import FeedPolicy

_NEW_YORK: Final = ZoneInfo("America/New_York")

_SANDBOX_CLOCK_INTERVAL = 1.0
"""Seconds between readings of a sandbox's clock, which somebody may set."""

_PLAN_LIMITS = {"basic": 200, "plus": 10_000}
"""Requests a minute that Alpaca admits for market data, by plan."""


_PLAN_SYMBOLS = {"basic": 30, "plus": None}
"""Symbols that Alpaca lets follow on quotes and trades together, by plan."""

_PLAN_CONTRACTS = {"basic": 200, "plus": 1000}
"""Contracts whose quotes Alpaca lets follow, by plan."""

_OPTION_BATCH = 100
"""Contracts that Alpaca takes in one request."""


def http_limits(settings: Settings) -> HttpLimits:
    """Return the bounds of the connection pool."""
    http = settings.alpaca.http
    return HttpLimits(
        total=http.total,
        connect=http.connect,
        connections=http.connections,
        per_host=http.per_host,
        dns_cache=http.dns_cache,
        user_agent=http.user_agent,
        idle=http.idle,
    )


def redis_limits(settings: Settings) -> LinkLimits:
    """Return the bounds of the link to Redis."""
    redis = settings.redis
    return LinkLimits(redis.timeout, redis.check_every, redis.connections)


def consumer_limits(settings: Settings) -> Limits:
    """Return what each consumer may whose key does not say."""
    limits = settings.limits
    return Limits(
        limits.calls_per_second or None,
        limits.symbols_per_batch or None,
        limits.streams or None,
        limits.symbols_per_stream or None,
        limits.history_points_per_day or None,
    )


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Return what is taken on one connection."""
    limits = settings.limits
    return ConnectionLimits(
        calls=limits.calls_per_connection,
        metadata_bytes=limits.metadata_bytes,
        age=limits.connection_age,
        grace=limits.connection_grace,
    )


def budget(settings: Settings) -> BudgetPolicy:
    """Return what the gateway may ask of each upstream."""
    budget = settings.alpaca.budget
    per_minute = budget.data_per_minute or _PLAN_LIMITS[settings.alpaca.plan]
    return BudgetPolicy(
        allowances={
            Upstream.DATA: Allowance(per_minute, budget.data_per_day),
            Upstream.TRADING: Allowance(budget.trading_per_minute),
        },
        share=budget.share,
        replicas=budget.replicas,
        floors={
            Priority.INTERACTIVE: 0.0,
            Priority.REPAIR: budget.repair_floor,
            Priority.HISTORY: budget.history_floor,
            Priority.BACKFILL: budget.backfill_floor,
        },
    )


def retries(settings: Settings) -> RetryPolicy:
    """Return how often a request is repeated."""
    retries = settings.alpaca.retries
    return RetryPolicy(retries.most, retries.wait_initial, retries.wait_most)


def breaker(settings: Settings) -> BreakerPolicy:
    """Return when an upstream is left alone."""
    breaker = settings.alpaca.breaker
    return BreakerPolicy(
        streak=breaker.streak,
        rate=breaker.rate,
        window=breaker.window,
        cool_down=breaker.cool_down,
        growth=breaker.growth,
        cool_down_most=breaker.cool_down_most,
        key_cool_down_most=breaker.key_cool_down_most,
        jitter=breaker.jitter,
    )


def boarding(settings: Settings) -> Boarding:
    """Return how single questions wait for each other."""
    batching = settings.alpaca.batching
    return Boarding(batching.window, batching.longest_wait, batching.most)


def option_boarding(settings: Settings) -> Boarding:
    """Return how single questions about contracts wait for each other."""
    alike = boarding(settings)
    return replace(alike, most=min(alike.most, _OPTION_BATCH))


def chains(settings: Settings) -> ChainPolicy:
    """Return how option chains are kept."""
    options = settings.options
    return ChainPolicy(
        max_age=options.max_age,
        load_every=options.load_every,
        cap=options.patience,
        keep_unknown=settings.memory.keep_unknown,
        capacity=options.contracts,
    )


def history(settings: Settings) -> HistoryPolicy:
    """Return how the past is read."""
    past = settings.history
    return HistoryPolicy(
        settle=nanoseconds(past.settle),
        page=past.page,
        page_patience=past.patience,
        replayed=settings.environment == "sandbox",
    )


def gate(settings: Settings) -> Policy:
    """Return what may be turned about the rules that always hold."""
    rules = settings.validation
    return Policy(
        refuse_crossed=rules.crossed == "refuse",
        future_tolerance=nanoseconds(rules.future_tolerance),
    )


def live_gate(settings: Settings) -> Policy:
    """Return the same for what live feeds bring."""
    past = nanoseconds(settings.validation.past_tolerance)
    return replace(gate(settings), past_tolerance=past)


def context(settings: Settings) -> ContextPolicy:
    """Return the business rules."""
    rules = settings.validation
    return ContextPolicy(
        price_range=Verdict(rules.price_range),
        price_range_share=Decimal(str(rules.price_range_share)),
        market_context=Verdict(rules.market_context),
        market_context_tolerance=nanoseconds(rules.market_context_tolerance),
        volume_pattern=Verdict(rules.volume_pattern),
        volume_pattern_size=rules.volume_pattern_size,
        consistency=Verdict(rules.consistency),
        consistency_share=Decimal(str(rules.consistency_share)),
        consistency_window=nanoseconds(rules.consistency_window),
    )


def freshness(settings: Settings, *, bounds_events: bool) -> FreshnessPolicy:
    """Return how old answers may be; *bounds_events* tells whether the age of events has a default bound."""
    freshness, memory = settings.freshness, settings.memory
    return FreshnessPolicy(
        max_age=nanoseconds(freshness.max_age),
        max_event_age_open=nanoseconds(freshness.max_event_age_open) if bounds_events else None,
        keep_open=memory.keep_open,
        keep_otherwise=memory.keep_otherwise,
        keep_unknown=memory.keep_unknown,
        stale_cap=freshness.stale_cap,
    )


def time_to_live(
    settings: Settings, kind: ValueKind, session: Callable[[], MarketSession | None]
) -> Callable[[], float]:
    """Return what tells for how many seconds Redis holds a value of *kind* that is written now."""
    ttl = settings.redis.ttl
    while_open = {
        ValueKind.QUOTE: ttl.quote,
        ValueKind.TRADE: ttl.trade,
        ValueKind.SNAPSHOT: ttl.snapshot,
        ValueKind.OPTION_QUOTE: ttl.option_quote,
    }[kind]

    def seconds() -> float:
        is_open = session() in (None, MarketSession.OPEN)
        return while_open if is_open else while_open * ttl.otherwise

    return seconds


def streams(settings: Settings) -> StreamPolicy:
    """Return how many may follow how much."""
    stream = settings.stream
    return StreamPolicy(
        enabled=stream.enabled,
        streams=stream.streams,
        symbols=stream.symbols,
        subscriptions=stream.subscriptions,
        all_symbols=stream.all_symbols,
        default_feed=settings.alpaca.stock_feed,
    )


def stream_defaults(settings: Settings) -> StreamDefaults:
    """Return what a subscription gets that does not say."""
    stream = settings.stream
    return StreamDefaults(
        settings.alpaca.stock_feed, stream.stale_after, stream.max_unread_age, stream.queue
    )


def interest(settings: Settings, feed: Feed) -> InterestPolicy:
    """Return what may be wanted of a live *feed*."""
    stream, plan = settings.stream, settings.alpaca.plan
    if feed in OPTION_FEEDS:
        limit = stream.option_limit or _PLAN_CONTRACTS[plan]
        return InterestPolicy(limit, stream.linger, counted=frozenset({Channel.QUOTES}))
    return InterestPolicy(stream.symbol_limit or _PLAN_SYMBOLS[plan], stream.linger)


def live_feed(settings: Settings) -> FeedPolicy:
    """Return how a live feed is held."""
    http = settings.alpaca.http
    return FeedPolicy(user_agent=http.user_agent, connect=http.connect)


def tape(settings: Settings) -> Policy:
    """Return the rules for what is recorded to be lived again: whoever replays it judges it."""
    return replace(
        live_gate(settings),
        refuse_crossed=False,
        future_tolerance=NO_BOUND,
        past_tolerance=NO_BOUND,
    )


def instant(day: datetime.date) -> int:
    """Return when *day* begins in New York, nanoseconds."""
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=_NEW_YORK)
    return int(midnight.timestamp()) * NANOS


def clock_interval(settings: Settings) -> float:
    """Return the seconds between readings of the upstream's clock."""
    interval = settings.reference.clock_interval
    return min(interval, _SANDBOX_CLOCK_INTERVAL) if settings.environment == "sandbox" else interval


def nanoseconds(seconds: float) -> int:
    """Return *seconds* in whole nanoseconds."""
    return round(seconds * NANOS)
