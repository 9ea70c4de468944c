"""Where a value came from."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from .time import NANOS


class DataSource(StrEnum):
    """Provider of a value, decided by the host that was connected to."""

    ALPACA = "alpaca"
    SANDBOX = "sandbox"


class Feed(StrEnum):
    """Upstream product that a value belongs to."""

    SIP = "sip"
    IEX = "iex"
    DELAYED_SIP = "delayed_sip"
    BOATS = "boats"
    OVERNIGHT = "overnight"
    OTC = "otc"
    OPRA = "opra"
    INDICATIVE = "indicative"


STOCK_FEEDS: frozenset[Feed] = frozenset(
    {Feed.SIP, Feed.IEX, Feed.DELAYED_SIP, Feed.BOATS, Feed.OVERNIGHT, Feed.OTC}
)
"""Feeds that carry stocks; the others carry options."""

OPTION_FEEDS: frozenset[Feed] = frozenset({Feed.OPRA, Feed.INDICATIVE})
"""Feeds that carry options."""

DAYTIME_FEEDS: frozenset[Feed] = frozenset({Feed.SIP, Feed.IEX, Feed.DELAYED_SIP}) | OPTION_FEEDS
"""Feeds on which nothing happens between the sessions of the exchanges' calendar. Others trade at night, or over the
counter whenever two people agree."""

LIVE_FEEDS: frozenset[Feed] = frozenset({Feed.SIP, Feed.IEX, Feed.DELAYED_SIP}) | OPTION_FEEDS
"""Feeds that can be followed."""

HISTORY_FEEDS: frozenset[Feed] = frozenset({Feed.SIP, Feed.IEX, Feed.BOATS, Feed.OTC})
"""Feeds of stocks of which the upstream keeps a past. Of options it keeps one, on no feed in particular."""

FEED_DELAY: dict[Feed, int] = {
    Feed.SIP: 0,
    Feed.IEX: 0,
    Feed.DELAYED_SIP: 15 * 60 * NANOS,
    Feed.OPRA: 0,
}
"""Nanoseconds by which a feed is late by design (alpaca.markets plan table). A feed not named here has no delay that
the upstream documents, which is not the same as none."""


class Tier(StrEnum):
    """Place that a value can be served from, nearest first."""

    BOOK = "book"
    MEMORY = "memory"
    REDIS = "redis"
    STORE = "store"
    UPSTREAM = "upstream"


class Provenance(Struct, frozen=True, gc=False):
    """Origin of one value, as far as it is known before the value is served."""

    source: DataSource
    """Provider, by the connected host."""

    feed: Feed | None
    """Feed; None for values that belong to no feed, such as assets."""

    event_time: int | None
    """When the exchange or the SIP stamped it, nanoseconds; for a bar, the start of its interval. None where the
    upstream does not stamp."""

    receive_time: int
    """When the answer that carried it was received, nanoseconds of the gateway's wall clock."""

    upstream_request_id: str
    """The upstream's id of that answer; empty when it sent none."""
