"""The endpoints of the stock stream: what each of them has, and who may read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ..channels import WITH_TRADES
from ..settings import Plan
from ..stocks import FEED_DELAY
from ..timestamps import SECOND

_CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")

BASIC_SYMBOLS: Final = 30
"""Symbols that the basic plan may follow in trades and quotes together."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One endpoint, at `/v2/` and its name."""

    name: str
    channels: tuple[str, ...] = _CHANNELS
    """What can be subscribed to, in the order of Alpaca's answer."""
    with_trades: tuple[str, ...] = WITH_TRADES
    """What comes with trades by itself."""
    delay: int = 0
    """How long it sends a record after its time, in nanoseconds."""
    plans: frozenset[Plan] = frozenset(Plan)
    """Who may read it."""
    limited: bool = True
    """Whether a plan's limit of symbols counts."""

    def symbol_limit(self, plan: Plan) -> int | None:
        """Return how many symbols *plan* may follow in trades and quotes; None sets no limit."""
        return BASIC_SYMBOLS if self.limited and plan is Plan.BASIC else None


TEST: Final = "test"

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
        Feed(TEST, channels=("trades", "quotes", "bars"), with_trades=(), limited=False),
    )
}

STREAM_ROUTE: Final = "/v2/{feed}"
"""The endpoints as one, for telling them from others."""
STREAM_PATH: Final = STREAM_ROUTE.replace("{feed}", f"{{feed:{'|'.join(FEEDS)}}}")
"""The same as a route that fits these feeds alone."""
