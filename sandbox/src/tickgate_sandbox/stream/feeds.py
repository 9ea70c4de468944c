"""The endpoints of the streams: what each of them has, and who may read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from .. import fakepaca
from ..channels import WITH_TRADES
from ..options.occ import is_occ
from ..settings import Plan
from ..stocks import FEED_DELAY
from ..symbols import well_formed
from ..timestamps import SECOND

_CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")

BASIC_SYMBOLS: Final = 30
"""Symbols that the basic plan may follow in trades and quotes together."""
INDICATIVE_SYMBOLS: Final = 200
"""Contracts whose quotes may be followed on the feed that every plan has."""
OPRA_SYMBOLS: Final = 1_000
"""Contracts whose quotes may be followed on the other."""


class Content(Enum):
    """What the records of a feed are about."""

    STOCKS = "stocks"
    OPTIONS = "options"
    TEST = "test"


def is_stock(symbol: str) -> bool:
    """Return whether *symbol* may be subscribed to on a stock feed."""
    return symbol == fakepaca.SYMBOL or well_formed(symbol)


@dataclass(frozen=True, slots=True)
class Feed:
    """One endpoint, at its version and its name."""

    name: str
    content: Content = Content.STOCKS
    version: str = "v2"
    """What comes before the name in the path."""
    channels: tuple[str, ...] = _CHANNELS
    """What can be subscribed to, in the order of Alpaca's answer."""
    with_trades: tuple[str, ...] = WITH_TRADES
    """What comes with trades by itself."""
    is_symbol: Callable[[str], bool] = is_stock
    """Tells what may be subscribed to, besides `*`."""
    starless: frozenset[str] = frozenset()
    """Channels on which `*` may not be subscribed to."""
    delay: int = 0
    """How long it sends a record after its time, in nanoseconds."""
    plans: frozenset[Plan] = frozenset(Plan)
    """Who may read it."""
    limited: tuple[str, ...] = ("trades", "quotes")
    """Channels whose symbols are counted together: bars are free."""
    basic_limit: int | None = BASIC_SYMBOLS
    """How many symbols the basic plan may have there; None sets no limit."""
    plus_limit: int | None = None
    """How many symbols the greater plan may have there."""
    msgpack_only: bool = False
    """Whether clients that speak JSON are turned away."""

    def symbol_limit(self, plan: Plan) -> int | None:
        """Return how many symbols *plan* may have in `limited`; None sets no limit."""
        return self.basic_limit if plan is Plan.BASIC else self.plus_limit


def _option_feed(name: str, limit: int, plans: frozenset[Plan] = frozenset(Plan)) -> Feed:
    return Feed(
        name,
        content=Content.OPTIONS,
        version="v1beta1",
        channels=("trades", "quotes"),
        with_trades=(),
        is_symbol=is_occ,
        starless=frozenset({"quotes"}),
        plans=plans,
        limited=("quotes",),
        basic_limit=limit,
        plus_limit=limit,
        msgpack_only=True,
    )


FEEDS: Final = {
    feed.name: feed
    for feed in (
        Feed(
            "sip",
            channels=(*_CHANNELS, "imbalances"),
            plans=frozenset({Plan.PLUS}),
        ),
        Feed("iex"),
        Feed(
            "delayed_sip",
            channels=(*_CHANNELS, "imbalances"),
            delay=FEED_DELAY // timedelta(seconds=1) * SECOND,
        ),
        Feed(
            "test",
            content=Content.TEST,
            channels=("trades", "quotes", "bars"),
            with_trades=(),
            basic_limit=None,
        ),
        _option_feed("opra", OPRA_SYMBOLS, frozenset({Plan.PLUS})),
        _option_feed("indicative", INDICATIVE_SYMBOLS),
    )
}

_VERSIONS = tuple(dict.fromkeys(feed.version for feed in FEEDS.values()))

STREAM_ROUTES: Final = tuple(f"/{version}/{{feed}}" for version in _VERSIONS)
"""The endpoints of each version as one, for telling them from others."""
STREAM_PATHS: Final = tuple(
    f"/{version}/{{feed:{'|'.join(one.name for one in FEEDS.values() if one.version == version)}}}"
    for version in _VERSIONS
)
"""The same as routes that fit these feeds alone."""
