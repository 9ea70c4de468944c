"""Business rules for tests: their policy, their market and the gate that applies them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tickgate_server.ingress.context import Context, ContextPolicy, Verdict
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.market.session import Calendar
from tickgate_server.market.time import NANOS
from tickgate_server.ports import ErrorEntry

from .fakes import HandClock, provenance, trading_day

CALENDAR = Calendar(
    [trading_day("2026-10-01"), trading_day("2026-10-02"), trading_day("2026-10-05")],
    provenance(None),
)
"""A Thursday, a Friday and the Monday after; in UTC the market trades from 08:00 until midnight."""

OFF = ContextPolicy(
    price_range=Verdict.OFF,
    price_range_share=Decimal("0.5"),
    market_context=Verdict.OFF,
    market_context_tolerance=60 * NANOS,
    volume_pattern=Verdict.OFF,
    volume_pattern_size=100_000_000,
    consistency=Verdict.OFF,
    consistency_share=Decimal("0.1"),
    consistency_window=NANOS,
)
"""The thresholds of the default settings, with every rule off."""

RULES = ("price_range", "market_context", "volume_pattern", "consistency")


def policy(verdict: Verdict = Verdict.FLAG, *only: str, **changed: Any) -> ContextPolicy:
    """Return a policy by which all rules, or *only* some, have one *verdict*; other fields may be *changed*."""
    return replace(OFF, **dict.fromkeys(only or RULES, verdict) | changed)


class Desk:
    """A gate with business rules, and all that it counts and notes."""

    def __init__(self, by: ContextPolicy, *, capacity: int = 100) -> None:
        self.refused: dict[str, int] = {}
        self.flagged: dict[str, int] = {}
        self.noted: list[ErrorEntry] = []
        self.clock = HandClock()
        self.context = Context(by, CALENDAR.span_at, self.flagged, capacity=capacity)
        self.gate = Gate(
            # What is judged here may be of any day of the calendar.
            Policy(refuse_crossed=False, future_tolerance=7 * 24 * 3600 * NANOS),
            self.clock,
            self.refused,
            context=self.context,
            note=self.noted.append,
        )
