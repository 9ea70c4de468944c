"""Everything an operator may turn: read once, at the start, from a TOML file and the environment.

The environment wins over the file. A setting `section.field` is `TICKGATE_SECTION__FIELD` in the environment. Keys, and
the addresses of Redis and PostgreSQL with their passwords, are secrets: they come from the environment or from a file
that the environment names, never from the TOML file.
"""

from __future__ import annotations

import os
import re
import tomllib
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariable

from . import __version__
from .market.provenance import OPTION_FEEDS, STOCK_FEEDS, DataSource, Feed
from .market.symbol import STOCK_SYMBOL_RULE, is_stock_symbol
from .market.timeframe import TIMEFRAME_RULE, parse_timeframe
from .upstream.alpaca.hosts import source_of

Environment = Literal["sandbox", "paper", "live"]
Seconds = Annotated[float, Field(ge=0, le=366 * 24 * 3600)]
PositiveSeconds = Annotated[float, Field(gt=0, le=366 * 24 * 3600)]

SANDBOX_URL: Final = "http://127.0.0.1:50080"
"""Where `tickgate-sandbox serve` listens by default."""

_DATA_URL: Final = "https://data.alpaca.markets"
_STREAM_URL: Final = "wss://stream.data.alpaca.markets"
_URLS: Final[dict[Environment, tuple[str, str, str]]] = {
    "sandbox": (SANDBOX_URL, SANDBOX_URL, "ws://127.0.0.1:50080"),
    "paper": (_DATA_URL, "https://paper-api.alpaca.markets", _STREAM_URL),
    "live": (_DATA_URL, "https://api.alpaca.markets", _STREAM_URL),
}
"""Data, trading and stream address of each environment."""

_FIRST_DAY: Final = date(2016, 1, 4)
_OPTIONS_FIRST_DAY: Final = date(2024, 2, 1)
"""First days of Alpaca's history."""

_SANDBOX_FIRST_DAY: Final = date(1970, 1, 1)
"""First day of a sandbox's: recordings may be older than Alpaca's history."""

_SANDBOX_KEY: Final = "sandbox"
"""Key that is sent to a sandbox when none is set: it takes any, as long as there is one."""


_SECRETS: Final = {
    "key_id": "APCA_API_KEY_ID",
    "secret_key": "APCA_API_SECRET_KEY",
    "redis_url": "TICKGATE_REDIS_URL",
    "postgres_url": "TICKGATE_POSTGRES_URL",
    "identity_secret": "TICKGATE_IDENTITY_SECRET",
}
"""Fields that never show, with their variables; the same name with `_FILE` behind it names a file that holds one."""


class SettingsError(Exception):
    """The settings cannot be used; the message names each field and what is wrong with it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(_Section):
    """HTTP to the upstream."""

    total: PositiveSeconds = 30.0
    """Seconds that one request may take, whatever its caller would wait."""

    connect: PositiveSeconds = 10.0
    """Seconds to get a connection."""

    connections: Annotated[int, Field(ge=1, le=1000)] = 100
    """Connections at once."""

    per_host: Annotated[int, Field(ge=1, le=1000)] = 50
    """Connections at once to one host."""

    idle: PositiveSeconds = 3.0
    """Seconds that a connection which nobody uses is kept. It may have died without a word, and costs whoever is lent
    it the deadline."""

    dns_cache: Annotated[int, Field(ge=0, le=86400)] = 300
    """Seconds that a host's address is kept."""

    user_agent: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[ -~]+$")] = (
        f"tickgate/{__version__}"
    )
    """What the gateway calls itself."""


class BudgetSettings(_Section):
    """What the gateway allows itself to ask."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of the upstream's limit that the gateways of one account use together."""

    data_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Requests a minute that the upstream admits for market data; 0 takes the plan's: 200 or 10,000."""

    trading_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Requests a minute that the upstream admits for assets, clock and calendar."""

    data_per_day: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Requests for market data that a full budget of the day holds, and that a day brings back evenly; 0 sets no such
    limit."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Gateways that use the same account. Without Redis, and while it is away, each takes its part of the budget: say
    it also where they share one."""

    repair_floor: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the budget that repairs of gaps leave for callers who wait."""

    history_floor: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the budget that history leaves for more urgent requests."""

    backfill_floor: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the budget that backfills and probes leave for more urgent requests."""


class RetrySettings(_Section):
    """Requests that are repeated after a failure that may pass: 429, 5xx, a connection that broke."""

    most: Annotated[int, Field(ge=0, le=10)] = 2
    """Repetitions for one question, over all of its requests; 0 repeats nothing."""

    wait_initial: PositiveSeconds = 0.05
    """Seconds before the first repetition, at most; the wait is drawn by lot and its bound doubles each time."""

    wait_most: PositiveSeconds = 1.0
    """Seconds before any repetition at most."""


class BreakerSettings(_Section):
    """When a group of upstream endpoints is left alone, and for how long."""

    streak: Annotated[int, Field(ge=1, le=1000)] = 5
    """Questions that fail in a row and open the circuit."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of failed questions, among the last `window`, that opens the circuit."""

    window: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Questions over which the share is taken; it is not judged before there were as many."""

    cool_down: PositiveSeconds = 1.0
    """Seconds until one request may try again."""

    growth: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Factor by which the next cool-down is longer when that try fails."""

    cool_down_most: PositiveSeconds = 30.0
    """Seconds of a cool-down at most."""

    key_cool_down_most: PositiveSeconds = 60.0
    """The same when the upstream refuses the gateway's key, which opens the circuit at once."""

    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share by which each cool-down is longer or shorter, by lot, so that replicas do not try together."""


class BatchingSettings(_Section):
    """Single questions that travel together."""

    window: Annotated[float, Field(ge=0, le=1)] = 0.005
    """Seconds that a single question waits for others when others came just before it; 0 sends each by itself."""

    longest_wait: Annotated[float, Field(ge=0, le=1)] = 0.025
    """Seconds that it waits at most, also behind a batch that is under way."""

    most: Annotated[int, Field(ge=1, le=1000)] = 200
    """Symbols of one batch."""


def _plain(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment or " " in url:
        msg = "must be a plain address: no credentials, no query, no blanks"
        raise ValueError(msg)
    return url.rstrip("/")


def _http(url: str) -> str:
    parts = urlsplit(url)
    # Asking for the port is what checks it.
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0):
        msg = "must be an http or https address"
        raise ValueError(msg)
    return _plain(url)


class AlpacaSettings(_Section):
    """The upstream."""

    data_url: str = ""
    """Address of market data; empty takes the environment's."""

    trading_url: str = ""
    """Address of assets, clock and calendar; empty takes the environment's."""

    stream_url: str = ""
    """Address of live feeds; empty takes the environment's."""

    stock_feed: Feed = Feed.IEX
    """Feed of stock values when a request names none: iex, sip, delayed_sip, boats, overnight or otc."""

    option_feed: Feed = Feed.INDICATIVE
    """Feed of option values when a request names none: opra, which needs an agreement, or indicative, which is free and
    not real."""

    plan: Literal["basic", "plus"] = "basic"
    """Plan of the account: basic or plus (Algo Trader Plus). It says how many requests Alpaca admits, and how many
    symbols it lets follow live."""

    shared_call_cap: PositiveSeconds = 5.0
    """Seconds that a request shared by several callers may take."""

    places: Annotated[int, Field(ge=1, le=1000)] = 50
    """Requests under way at once; the others wait in the order in which they came."""

    keep_denied: Seconds = 60.0
    """Seconds that a feed which the account may not read is refused without asking again."""

    http: HttpSettings = HttpSettings()
    budget: BudgetSettings = BudgetSettings()
    retries: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    batching: BatchingSettings = BatchingSettings()

    @field_validator("data_url", "trading_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        return _http(url)

    @field_validator("stream_url")
    @classmethod
    def _is_socket(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("ws", "wss") or not parts.hostname or parts.port == 0):
            msg = "must be a ws or wss address"
            raise ValueError(msg)
        return _plain(url)

    @field_validator("stock_feed")
    @classmethod
    def _is_stock_feed(cls, feed: Feed) -> Feed:
        if feed not in STOCK_FEEDS:
            msg = f"{feed.value} carries no stocks"
            raise ValueError(msg)
        return feed

    @field_validator("option_feed")
    @classmethod
    def _is_option_feed(cls, feed: Feed) -> Feed:
        if feed not in OPTION_FEEDS:
            msg = f"{feed.value} carries no options"
            raise ValueError(msg)
        return feed


class FreshnessSettings(_Section):
    """How old answers may be when a request does not say, and how old they may be at all."""

    max_age: Seconds = 30.0
    """Seconds since the upstream confirmed a value."""

    max_event_age_open: Seconds = 300.0
    """Seconds since the exchange stamped a value, while the market is open or its session unknown."""

    stale_cap: Seconds = 900.0
    """Longest time in seconds since confirmation of a value that bridges an outage for a caller who allows it."""


class MemorySettings(_Section):
    """The memory tier."""

    capacity: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """Values of each kind held at most; the one confirmed longest ago makes room."""

    keep_open: Seconds = 5.0
    """Seconds that a value answers further calls, without the upstream being asked again, while the market is open or
    its session unknown. Older ones answer only where the upstream fails or may not be asked, within `max_age`."""

    keep_otherwise: Seconds = 30.0
    """Seconds that a value answers further calls at other times."""

    keep_unknown: Seconds = 60.0
    """Seconds that a symbol is remembered as unknown. A lack of data is remembered as long as a value."""


class OptionSettings(_Section):
    """Option chains and contracts, which all callers share."""

    max_age: Seconds = 15.0
    """Seconds since the upstream last said what has moved in a chain, if a request does not say."""

    load_every: PositiveSeconds = 300.0
    """Seconds after which a chain is read anew, all pages of it. Between that only what has traded or been quoted is,
    and the greeks of the others are as old as the chain."""

    patience: PositiveSeconds = 30.0
    """Seconds that reading a chain, or a list of contracts, may take: a large one is ten requests."""

    contracts: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Contracts of all chains held at most, and as many of all lists; what nobody has asked for longest makes room."""

    keep_contracts: PositiveSeconds = 3600.0
    """Seconds that a list of contracts is kept. Open interest changes once a day, terms hardly ever."""

    late_close: Annotated[
        frozenset[Annotated[str, Field(pattern=r"^[A-Z]{1,5}[0-9]?$")]], NoDecode
    ] = frozenset("DJX MRUT NDX NDXP OEX RUT RUTW SPX SPXW VIX VIXW XEO XSP".split())
    """Roots whose options trade until 16:15, separated by commas in a variable, beside those on underlyings that the
    upstream's list of assets says so of: indices are not in it."""

    @field_validator("late_close", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return [root.strip() for root in given.split(",") if root.strip()]

    @field_serializer("late_close")
    def _in_order(self, roots: frozenset[str]) -> list[str]:
        return sorted(roots)


class RedisTtlSettings(_Section):
    """Seconds that Redis holds a value. How old an answer may be is judged when it is read, not here."""

    quote: PositiveSeconds = 30.0
    """Of a quote, while the market is open or its session unknown."""

    trade: PositiveSeconds = 30.0
    """Of a trade, likewise."""

    snapshot: PositiveSeconds = 30.0
    """Of a snapshot, likewise."""

    option_quote: PositiveSeconds = 30.0
    """Of an option quote, likewise."""

    otherwise: Annotated[float, Field(ge=1, le=1000)] = 30.0
    """How many times as long at other times, when prices hardly move."""


class RedisSettings(_Section):
    """The tier that replicas share, at `redis_url`."""

    timeout: Annotated[float, Field(gt=0, le=10)] = 0.25
    """Seconds that one command may take, connecting included. After one failure the tier is left out until it answers
    again."""

    check_every: Annotated[float, Field(gt=0, le=60)] = 0.5
    """Seconds between tries to reach a Redis that is down."""

    connections: Annotated[int, Field(ge=1, le=1000)] = 20
    """Connections at most."""

    ttl: RedisTtlSettings = RedisTtlSettings()


class StoreSettings(_Section):
    """PostgreSQL, at `postgres_url`."""

    migrate: Literal["auto", "check"] = "auto"
    """What becomes of a schema that is not this version's: auto brings it up to date, check refuses to start."""

    connections: Annotated[int, Field(ge=1, le=1000)] = 5
    """Connections at most."""

    timeout: PositiveSeconds = 3.0
    """Seconds that one statement, or getting a connection, may take."""

    check_every: PositiveSeconds = 1.0
    """Seconds between tries to reach a PostgreSQL that is down."""


class HistorySettings(_Section):
    """The past: where it begins, how it is read, and how long it is kept."""

    settle: Annotated[float, Field(ge=1, le=3600)] = 35.0
    """Seconds after which what has happened is final: the upstream revises the newest bar for about thirty. What is
    younger is served, and not held to be complete."""

    first_day: str = ""
    """First day of which the upstream has anything, such as 2016-01-04; empty takes the environment's: Alpaca's own, or
    the year 1970 in a sandbox, whose recordings may be older than what Alpaca has."""

    options_first_day: str = ""
    """The same of options, 2024-02-01 at Alpaca."""

    page: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """Values that the upstream is asked for at once."""

    patience: PositiveSeconds = 30.0
    """Seconds that one such page may take, with all its attempts."""

    connections: Annotated[int, Field(ge=1, le=1000)] = 10
    """Connections to PostgreSQL for history at most, beside those of `store`."""

    timeout: PositiveSeconds = 60.0
    """Seconds that one statement about history may take: a write may be a million rows."""

    keep_cached: PositiveSeconds = 3600.0
    """Seconds that Redis holds what is final."""

    keep_bars_days: Annotated[int, Field(ge=0, le=36_600)] = 0
    """Days that the store keeps bars; 0 keeps them for ever."""

    keep_trades_days: Annotated[int, Field(ge=0, le=36_600)] = 0
    """Days that the store keeps trades; 0 keeps them for ever."""

    keep_quotes_days: Annotated[int, Field(ge=0, le=36_600)] = 0
    """Days that the store keeps quotes; 0 keeps them for ever."""

    @field_validator("first_day", "options_first_day", mode="before")
    @classmethod
    def _is_day(cls, day: object) -> object:
        # TOML has dates of its own.
        text = day.isoformat() if isinstance(day, date) else day
        if isinstance(text, str) and text:
            try:
                date.fromisoformat(text)
            except ValueError:
                msg = "must be a day such as 2016-01-04"
                raise ValueError(msg) from None
        return text


class IngestionSettings(_Section):
    """Recording what live feeds bring of the symbols on watchlists that ask for it. It takes a store."""

    enabled: bool = True
    """Whether this process records. Of several replicas the one that holds the feed does."""

    interval: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Seconds between two batches that are written."""

    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    """Records of one batch at most."""

    queue: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Records that wait to be written at most. Beyond that new ones are dropped and counted, and their series is not
    held to be complete there."""

    look_every: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Seconds between looks at the watchlists, which somebody may have changed."""


class WatchlistSettings(_Section):
    """A watchlist that exists from the start. One of the same name that AdminService has changed stays as it is."""

    symbols: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    """Symbols of stocks."""

    record: bool = False
    """Whether their trades and bars are recorded live, as they arrive."""

    refresh_timeframes: Annotated[tuple[str, ...], Field(max_length=10)] = ("1Day",)
    """Timeframes of the bars that a refresh fetches; none fetches nothing."""

    refresh_days: Annotated[int, Field(ge=1, le=3660)] = 366
    """Days that a refresh reaches back."""

    @field_validator("symbols")
    @classmethod
    def _are_symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in symbols:
            if not is_stock_symbol(symbol):
                msg = f"{symbol!r}: {STOCK_SYMBOL_RULE}"
                raise ValueError(msg)
        return _without_twins(symbols)

    @field_validator("refresh_timeframes")
    @classmethod
    def _are_timeframes(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        timeframes = []
        for text in texts:
            timeframe = parse_timeframe(text)
            if timeframe is None:
                msg = f"{text!r}: {TIMEFRAME_RULE}"
                raise ValueError(msg)
            timeframes.append(str(timeframe))
        return _without_twins(tuple(timeframes))


def _without_twins(texts: tuple[str, ...]) -> tuple[str, ...]:
    twins = sorted({text for text in texts if texts.count(text) > 1})
    if twins:
        msg = f"more than once: {', '.join(twins)}"
        raise ValueError(msg)
    return texts


class ScheduleSettings(_Section):
    """What happens at its hour, by the wall clock."""

    refresh: str = "30 18 * * MON-FRI"
    """When watchlists are refreshed, as cron has it: minute, hour, day of the month, month and day of the week by its
    name; or never."""

    time_zone: str = "America/New_York"
    """Time zone of these hours."""

    @model_validator(mode="after")
    def _can_be_kept(self) -> ScheduleSettings:
        # Only who sets it needs the library to say whether it can be kept.
        from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415

        try:
            zone = ZoneInfo(self.time_zone)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            msg = f"time_zone: {self.time_zone!r} is no time zone"
            raise ValueError(msg) from None
        if self.refresh == "never":
            return self
        if re.search(r"\d", self.refresh.rpartition(" ")[2]):
            # The library counts days from Monday and cron from Sunday.
            msg = "refresh: name the days of the week, such as MON-FRI"
            raise ValueError(msg)
        try:
            CronTrigger.from_crontab(self.refresh, timezone=zone)
        except ValueError:
            msg = f"refresh: {self.refresh!r} is no schedule such as cron has, 30 18 * * MON-FRI"
            raise ValueError(msg) from None
        return self


class ErrorLogSettings(_Section):
    """The log of refusals and failures that AdminService lists."""

    ring: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Newest records held in memory."""

    keep_days: Annotated[int, Field(ge=1, le=3660)] = 14
    """Days that PostgreSQL keeps a record."""


class ProbeSettings(_Section):
    """Questions that the gateway asks by itself when nobody else does."""

    idle: Seconds = 60.0
    """Seconds without a request after which a group of endpoints is asked; 0 never asks."""

    symbol: Annotated[str, Field(pattern=r"^[A-Z]{1,10}(\.[A-Z]{1,9})?$")] = "AAPL"
    """Symbol whose latest quote is asked for: a liquid one."""


class ReferenceSettings(_Section):
    """Assets, calendar, codes and the market's clock."""

    keep: PositiveSeconds = 86400.0
    """Seconds that assets, calendar and codes are kept."""

    retry_after: PositiveSeconds = 5.0
    """Seconds between attempts when they cannot be had."""

    patience: PositiveSeconds = 20.0
    """Seconds that one load may take: the list of assets takes Alpaca about two."""

    start_patience: Seconds = 5.0
    """Seconds that a start waits for the upstream's clock and list of assets; serving begins without them."""

    clock_interval: PositiveSeconds = 60.0
    """Seconds between readings of the upstream's clock; a sandbox is read every second at most."""


class StreamSettings(_Section):
    """Live feeds and those who follow them."""

    enabled: bool = True
    """Whether StreamService answers here. An account has one connection to a feed: of several replicas one holds it."""

    streams: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Streams at once."""

    symbols: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Symbols of one stream, those of all its subscriptions together."""

    subscriptions: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Subscriptions of one stream."""

    all_symbols: bool = False
    """Whether "*" may be followed: every symbol of a feed."""

    symbol_limit: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Symbols that the upstream lets follow on quotes and trades together; 0 takes the plan's: 30, or no limit."""

    option_limit: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Contracts whose quotes the upstream lets follow; 0 takes the plan's: 200, or 1,000."""

    linger: Seconds = 15.0
    """Seconds that a symbol stays subscribed upstream after its last follower has left."""

    stale_after: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds without an update, while the market is open, after which a quote is STALE, if a subscription does not
    say."""

    max_unread_age: Annotated[float, Field(ge=0.01, le=10)] = 0.25
    """Seconds for which messages may lie unread on their way to a follower, if a subscription does not say."""

    queue: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Trades, bars and statuses that wait for one subscription at most; beyond that the oldest are lost, and said to
    be."""

    keep_records: Annotated[int, Field(ge=0, le=10_000_000)] = 100_000
    """Trades, bars and statuses of a feed that are kept for followers who come back."""

    keep_for: Seconds = 60.0
    """Seconds that they are kept."""

    silence: Annotated[float, Field(ge=1, le=3600)] = 20.0
    """Seconds without any record, while the market is open, after which the upstream is asked whether there should have
    been one. If so, the connection is mute and made anew."""


Verdict = Literal["refuse", "flag", "off"]


class ValidationSettings(_Section):
    """Rules for what the upstream sends. docs/errors.md describes each."""

    crossed: Literal["refuse", "flag"] = "refuse"
    """What becomes of a quote whose bid is above its ask."""

    future_tolerance: Seconds = 5.0
    """Seconds that a record may be stamped ahead of the market's time."""

    past_tolerance: PositiveSeconds = 172800.0
    """Seconds that a record of a live feed may be stamped behind the market's time."""

    price_range: Verdict = "flag"
    """What becomes of a price far from the last trade of the session."""

    price_range_share: Annotated[float, Field(gt=0, le=100)] = 0.5
    """How far that is, as a share of the last trade's price."""

    market_context: Verdict = "refuse"
    """What becomes of a record stamped outside of every session of its day."""

    market_context_tolerance: Seconds = 60.0
    """Seconds before the first and after the last session of a day that still belong to it."""

    volume_pattern: Verdict = "flag"
    """What becomes of an absurd size, and of a bar with trades and no volume."""

    volume_pattern_size: Annotated[int, Field(ge=1, le=2**62)] = 100_000_000
    """Shares of one quote or trade from which on a size is absurd."""

    consistency: Verdict = "flag"
    """What becomes of a trade far outside of the quote of the same instant."""

    consistency_share: Annotated[float, Field(gt=0, le=100)] = 0.1
    """How far outside that is, as a share of the nearer side's price."""

    consistency_window: Seconds = 1.0
    """Seconds between a trade and a quote that are still the same instant."""


WITHOUT_KEYS: Final = "whoever reaches this port may read everything"
WITHOUT_TLS: Final = "prices and keys may be read on the way"
"""What an operator must write to open a gateway to others without identity, or without TLS. Nobody does so by
mistake."""


_SHORTEST_SECRET: Final = 32


class IdentitySettings(_Section):
    """Who may call."""

    keys: Literal["off", "file", "postgres"] = "off"
    """Where API keys are kept: nowhere, so that nobody is asked for one, in `file`, or in PostgreSQL. They take
    TICKGATE_IDENTITY_SECRET, under which they are hashed."""

    file: str = ""
    """File of API keys, which `tickgate-server keys` writes."""

    reload_every: Annotated[float, Field(ge=0.1, le=3600)] = 2.0
    """Seconds between looks at the keys: new ones are let in, and revoked ones shown out, without a restart."""

    without_keys: Literal["", "whoever reaches this port may read everything"] = ""
    """A gateway that others can reach takes keys, or certificates of callers, or this sentence: "whoever reaches this
    port may read everything"."""

    @model_validator(mode="after")
    def _has_file(self) -> IdentitySettings:
        if self.keys == "file" and not self.file:
            msg = 'file: needed where keys = "file"'
            raise ValueError(msg)
        return self


class TlsSettings(_Section):
    """TLS for gRPC. Certificates are read again when their files change."""

    certificate: str = ""
    """File of the gateway's certificate and those between it and its authority, PEM; empty serves without TLS."""

    private_key: str = ""
    """File of the certificate's private key, PEM."""

    client_authorities: str = ""
    """File of the authorities whose certificates callers must show, PEM; empty asks callers for none. Without API keys
    the common name in a caller's certificate is its name."""

    reload_every: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """Seconds between looks at these files."""

    without: Literal["", "prices and keys may be read on the way"] = ""
    """A live gateway that others can reach takes a certificate, or this sentence: "prices and keys may be read on the
    way"."""

    @model_validator(mode="after")
    def _is_whole(self) -> TlsSettings:
        if bool(self.certificate) != bool(self.private_key):
            msg = "certificate and private_key: both or none"
            raise ValueError(msg)
        if self.client_authorities and not self.certificate:
            msg = "client_authorities: needs certificate and private_key"
            raise ValueError(msg)
        return self


class LimitSettings(_Section):
    """How much callers may use of one process; 0 is no limit.

    First what each consumer may that has a name, if its key does not say, then what all may together.
    """

    calls_per_second: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """Calls a second of one consumer; a second's worth may come at once."""

    symbols_per_batch: Annotated[int, Field(ge=0, le=1000)] = 0
    """Symbols of one request of one consumer."""

    streams: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Streams at once of one consumer."""

    symbols_per_stream: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Symbols of one stream of one consumer."""

    history_points_per_day: Annotated[int, Field(ge=0, le=10**12)] = 0
    """Bars, trades and quotes of the past within 24 hours of one consumer."""

    calls: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Calls under way at once, but for streams."""

    calls_per_connection: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Calls and streams under way at once on one connection; the others wait for their turn in the caller's library."""

    metadata_bytes: Annotated[int, Field(ge=4096, le=1_048_576)] = 16_384
    """Bytes of a call's metadata."""

    connection_age: Seconds = 0.0
    """Seconds after which a connection is asked to be made anew, so that callers spread over new replicas; a tenth more
    or less."""

    connection_grace: PositiveSeconds = 60.0
    """Seconds that calls and streams of such a connection get to finish."""

    memory_mib: Annotated[int, Field(ge=0, le=1_048_576)] = 0
    """Resident memory of this process in MiB, near which it takes no more streams and nothing of the past, and at which
    it takes no calls but those about itself."""


class AuditSettings(_Section):
    """The log of who had which data."""

    file: str = ""
    """File that it is written to; empty writes none."""

    rotate_mib: Annotated[int, Field(ge=1, le=100_000)] = 100
    """MiB after which a file is packed with gzip and the next begun."""

    keep_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """Days that packed files are kept."""

    keep_files: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Packed files kept at most; the oldest go first."""


class TraceSettings(_Section):
    """Traces, sent by OTLP over gRPC."""

    endpoint: str = ""
    """Address of the collector, such as "http://127.0.0.1:4317"; http is without TLS, https with it. Empty traces
    nothing."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of calls that are traced, beside those whose caller traces them (`traceparent`)."""

    @field_validator("endpoint")
    @classmethod
    def _is_collector(cls, url: str) -> str:
        return _http(url)


class LogSettings(_Section):
    """Logs, written to standard error, or to a file."""

    format: Literal["auto", "json", "console"] = "auto"
    """json, console, or auto: console on a terminal and json elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of events that are written."""

    calls: bool = True
    """Whether each call gets a line."""

    file: str = ""
    """File that they are written to; empty writes them to standard error."""

    rotate_mib: Annotated[int, Field(ge=1, le=100_000)] = 100
    """MiB after which the file is packed with gzip and the next begun."""

    keep_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """Days that packed files are kept."""

    keep_files: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Packed files kept at most; the oldest go first."""


class Settings(BaseSettings):
    """Everything an operator may turn."""

    model_config = SettingsConfigDict(
        env_prefix="TICKGATE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        # The cause of a SettingsError is pydantic's own, which would otherwise quote every input, the secret too.
        hide_input_in_errors=True,
    )

    listen: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.\-]+):\d{1,5}$")] = (
        "127.0.0.1:50051"
    )
    """Host and port for gRPC; port 0 takes a free one."""

    http_listen: Annotated[
        str, Field(pattern=r"^((\[[0-9a-fA-F:]+\]|[A-Za-z0-9.\-]+):\d{1,5}|off)$")
    ] = "127.0.0.1:9464"
    """Host and port for /metrics, /livez, /readyz and /version; port 0 takes a free one, "off" serves none of them."""

    environment: Environment = "sandbox"
    """sandbox, paper or live. A live gateway refuses every address that is not Alpaca's own."""

    drain: Seconds = 10.0
    """Seconds that calls under way get to finish when the gateway stops."""

    key_id: SecretStr = Field(SecretStr(""), validation_alias="APCA_API_KEY_ID")
    """Alpaca key id: from the environment, or from the file that APCA_API_KEY_ID_FILE names."""

    secret_key: SecretStr = Field(SecretStr(""), validation_alias="APCA_API_SECRET_KEY")
    """Alpaca secret: from the environment, or from the file that APCA_API_SECRET_KEY_FILE names."""

    redis_url: SecretStr = SecretStr("")
    """Address of Redis: redis://, rediss:// (TLS) or redis+sentinel://; empty leaves the shared tier off. From the
    environment, or from the file that TICKGATE_REDIS_URL_FILE names."""

    postgres_url: SecretStr = SecretStr("")
    """Address of PostgreSQL 15 or newer: postgresql://, with sslmode and the like behind a question mark; empty leaves
    it off. From the environment, or from the file that TICKGATE_POSTGRES_URL_FILE names."""

    identity_secret: SecretStr = SecretStr("")
    """Secret under which API keys are hashed, 32 characters at least. From the environment, or from the file that
    TICKGATE_IDENTITY_SECRET_FILE names."""

    identity: IdentitySettings = IdentitySettings()
    tls: TlsSettings = TlsSettings()
    limits: LimitSettings = LimitSettings()
    alpaca: AlpacaSettings = AlpacaSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    memory: MemorySettings = MemorySettings()
    options: OptionSettings = OptionSettings()
    redis: RedisSettings = RedisSettings()
    store: StoreSettings = StoreSettings()
    history: HistorySettings = HistorySettings()
    ingestion: IngestionSettings = IngestionSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    watchlists: dict[Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,64}$")], WatchlistSettings] = {}
    """Watchlists that exist from the start, by name; a table each in the file, JSON in the environment."""

    error_log: ErrorLogSettings = ErrorLogSettings()
    probe: ProbeSettings = ProbeSettings()
    reference: ReferenceSettings = ReferenceSettings()
    stream: StreamSettings = StreamSettings()
    validation: ValidationSettings = ValidationSettings()
    log: LogSettings = LogSettings()
    audit: AuditSettings = AuditSettings()
    traces: TraceSettings = TraceSettings()

    @field_validator("key_id", "secret_key")
    @classmethod
    def _is_key(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if not (text.isascii() and text.isprintable()) or " " in text:
            msg = "a key is printable ASCII without blanks"
            raise ValueError(msg)
        return key

    @field_validator("listen", "http_listen")
    @classmethod
    def _is_port(cls, listen: str) -> str:
        if listen != "off" and int(listen.rpartition(":")[2]) > 65535:
            msg = "a port is 0 to 65535"
            raise ValueError(msg)
        return listen

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what the TOML file gave."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _fits_environment(self) -> Settings:
        files = (self.log.file, self.audit.file)
        if all(files) and len({Path(file).absolute() for file in files}) == 1:
            msg = "audit.file: is log.file as well; each takes a file of its own"
            raise ValueError(msg)
        if self.environment == "live":
            for field in ("data_url", "trading_url", "stream_url"):
                url = getattr(self, field)
                if source_of(url) is not DataSource.ALPACA:
                    msg = f"alpaca.{field}: a live gateway takes Alpaca's own hosts over TLS, not {url}"
                    raise ValueError(msg)
        if self.stream.enabled and source_of(self.stream_url) is not source_of(self.data_url):
            # What streams brought would answer questions, and stand in Redis beside what the other has said.
            msg = (
                f"alpaca.stream_url: live feeds come from the same provider as answers, and {self.stream_url} is not"
                f" {self.data_url}'s; set both, or stream.enabled = false"
            )
            raise ValueError(msg)
        if self.environment != "sandbox" and not (
            self.key_id.get_secret_value() and self.secret_key.get_secret_value()
        ):
            msg = f"APCA_API_KEY_ID and APCA_API_SECRET_KEY: required in environment {self.environment}"
            raise ValueError(msg)
        return self

    @field_validator("identity_secret")
    @classmethod
    def _is_long(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value()) < _SHORTEST_SECRET:
            msg = f"{_SHORTEST_SECRET} characters at least, such as those of `openssl rand -hex 32`"
            raise ValueError(msg)
        return secret

    def check_serving(self) -> None:
        """Look whether a gateway may be opened to callers as these settings say.

        They may serve other ends, such as a migration, without.

        Raises:
            SettingsError: they lack what they need to know callers, or let in more of them than somebody has said.
        """
        if self.identity.keys != "off":
            self.check_keys()
        if self.listens_on_loopback:
            return
        if self.identity.keys == "off" and not (
            self.tls.client_authorities or self.identity.without_keys
        ):
            msg = (
                f"listen: {self.listen} can be reached from other machines, and nobody is asked who he is:"
                ' set identity.keys = "file" or "postgres", or tls.client_authorities,'
                f' or identity.without_keys = "{WITHOUT_KEYS}"'
            )
            raise SettingsError(msg)
        if self.environment == "live" and not (self.tls.certificate or self.tls.without):
            msg = (
                f"listen: {self.listen} can be reached from other machines, and the environment is live: set"
                f' tls.certificate and tls.private_key, or tls.without = "{WITHOUT_TLS}"'
            )
            raise SettingsError(msg)

    def check_keys(self) -> None:
        """Look whether API keys can be made and known as these settings say.

        Raises:
            SettingsError: something is missing.
        """
        self.check_key_store()
        if not self.identity_secret.get_secret_value():
            msg = (
                "TICKGATE_IDENTITY_SECRET: not set, and API keys are hashed under it; make it once with"
                " `openssl rand -hex 32`, and give the same to every gateway and to `tickgate-server keys`"
            )
            raise SettingsError(msg)

    def check_key_store(self) -> None:
        """Look whether API keys are kept anywhere.

        Raises:
            SettingsError: they are not.
        """
        if self.identity.keys == "off":
            msg = (
                'identity.keys: is "off", so there are no API keys; set it to "file", with identity.file,'
                ' or to "postgres"'
            )
            raise SettingsError(msg)
        if self.identity.keys == "postgres" and not self.postgres_url.get_secret_value():
            msg = 'postgres_url: not set, and identity.keys = "postgres" keeps API keys there'
            raise SettingsError(msg)

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only this machine can reach `listen`, as far as its text tells: any name but localhost may not."""
        host = self.listen.rpartition(":")[0].strip("[]")
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host.lower() == "localhost"

    @property
    def hashing_secret(self) -> bytes:
        """What API keys are hashed under."""
        return self.identity_secret.get_secret_value().encode()

    @property
    def data_url(self) -> str:
        """Address of market data."""
        return self.alpaca.data_url or _URLS[self.environment][0]

    @property
    def trading_url(self) -> str:
        """Address of assets, clock and calendar."""
        return self.alpaca.trading_url or _URLS[self.environment][1]

    @property
    def stream_url(self) -> str:
        """Address of live feeds."""
        return self.alpaca.stream_url or _URLS[self.environment][2]

    @property
    def first_day(self) -> date:
        """First day of which the upstream has anything."""
        return _first_day(self.history.first_day, _FIRST_DAY, self.environment)

    @property
    def options_first_day(self) -> date:
        """First day of which the upstream has anything about options."""
        return _first_day(self.history.options_first_day, _OPTIONS_FIRST_DAY, self.environment)

    @property
    def keys(self) -> tuple[str, str]:
        """Key id and secret to authenticate with."""
        return (
            self.key_id.get_secret_value() or _SANDBOX_KEY,
            self.secret_key.get_secret_value() or _SANDBOX_KEY,
        )

    def shown(self) -> dict[str, Any]:
        """Return the effective settings as plain data, without secrets."""
        data = self.model_dump(mode="json", exclude=set(_SECRETS))
        for field in ("data_url", "trading_url", "stream_url"):
            data["alpaca"][field] = getattr(self, field)
        for name in _SECRETS:
            secret: SecretStr = getattr(self, name)
            data[name] = "set" if secret.get_secret_value() else "not set"
        return data


def _first_day(text: str, alpacas: date, environment: Environment) -> date:
    if text:
        return date.fromisoformat(text)
    return _SANDBOX_FIRST_DAY if environment == "sandbox" else alpacas


def load(path: Path | None) -> Settings:
    """Read the settings from the TOML file at *path*, if one is given, and from the environment.

    Raises:
        SettingsError: a file cannot be read, a key is unknown, a value is out of range, or they do not fit together.
    """
    data: dict[str, Any] = {} if path is None else _read_toml(path)
    for name in (*_SECRETS, *_SECRETS.values()):
        if name in data:
            msg = f"{name}: secrets do not belong in a settings file; use the environment"
            raise SettingsError(msg)
    _refuse_unknown_variables()
    try:
        return Settings(**(data | _secret_files()))
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error
    except UnreadableVariable as error:
        # pydantic-settings names the field: a section whose variable holds no JSON.
        raise SettingsError(str(error)) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise SettingsError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not TOML ({error})"
        raise SettingsError(msg) from error


def _secret_files() -> dict[str, str]:
    secrets = {}
    for field, name in _SECRETS.items():
        path = os.environ.get(f"{name}_FILE")
        if path and not os.environ.get(name):
            # A field with an alias is filled by that name.
            given = name if Settings.model_fields[field].validation_alias else field
            try:
                secrets[given] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "not text"
                msg = f"{name}_FILE: {path} cannot be read ({why})"
                raise SettingsError(msg) from error
    return secrets


def _refuse_unknown_variables() -> None:
    # pydantic-settings passes over variables that match no field, and a misspelt one would be silently without effect.
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    for variable in os.environ:
        # pydantic-settings takes either case.
        if not variable.upper().startswith("TICKGATE_"):
            continue
        first, *rest = variable.upper().removeprefix("TICKGATE_").split("__")
        field = fields.get(first)
        if field is None:
            known = first in _NOT_SETTINGS
        else:
            # A field with an alias has no name of this prefix, and only a section has parts.
            known = field.validation_alias is None and (not rest or _is_section(field.annotation))
        if not known:
            msg = f"{variable}: no such setting"
            raise SettingsError(msg)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, _Section)


_NOT_SETTINGS: Final = frozenset(
    {"MARKET_DATA", "TEST_REDIS_URL", "TEST_POSTGRES_URL", "EMBEDDED_DIR", "TARGET", "CONFIG"}
    | {"REDIS_URL_FILE", "POSTGRES_URL_FILE", "IDENTITY_SECRET_FILE", "API_KEY", "API_KEY_FILE"}
)
"""Variables of the same prefix that are somebody else's: the tests', the client's, the command line's; and those that
name a file with a secret."""


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{field}: {said}" if field else said)
    return "\n".join(lines)
