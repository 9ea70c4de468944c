"""Trades."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from .provenance import Provenance
from .rule_flag import RuleFlag


class Trade(Struct, frozen=True, gc=False):
    """One execution reported on a feed."""

    symbol: str
    price: Decimal
    """US dollars a share, above zero."""

    size: int | None
    """Shares."""

    exchange: str | None
    conditions: tuple[str, ...]
    id: int | None
    """Unique only within symbol, exchange and day."""

    tape: str | None
    amendment: str | None
    """"canceled", "incorrect" or "corrected" when the trade was amended later."""

    provenance: Provenance
    rule_flags: tuple[RuleFlag, ...] = ()
    """What business rules find odd about it; nothing for almost every value."""

    @property
    def event_time(self) -> int | None:
        """When the trade was stamped, nanoseconds."""
        return self.provenance.event_time
