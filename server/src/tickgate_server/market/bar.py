"""Bars."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from .provenance import Provenance
from .rule_flag import RuleFlag


class Bar(Struct, frozen=True, gc=False):
    """Sum of the trades of one interval; its start is the provenance's event time."""

    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int | None
    """Shares."""

    trade_count: int | None
    vwap: Decimal | None
    """Volume-weighted average price as the upstream computed it."""

    provenance: Provenance
    rule_flags: tuple[RuleFlag, ...] = ()
    """What business rules find odd about it; nothing for almost every value."""

    @property
    def event_time(self) -> int | None:
        """Start of the interval, nanoseconds."""
        return self.provenance.event_time
