"""Quotes."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from .provenance import Provenance
from .rule_flag import RuleFlag


class QuoteSide(Struct, frozen=True, gc=False):
    """One side of a quote: an order that stood in the book."""

    price: Decimal
    """US dollars a share, above zero."""

    size: int | None
    """Shares; None when the upstream sent none."""

    exchange: str | None
    """Code of the venue that holds it; None when the upstream sent none."""


class Quote(Struct, frozen=True, gc=False):
    """Best bid and best ask of a symbol on one feed at one moment. At least one side is there."""

    symbol: str
    bid: QuoteSide | None
    ask: QuoteSide | None
    conditions: tuple[str, ...]
    """Codes as sent: one for both sides, or bid's then ask's."""

    tape: str | None
    provenance: Provenance
    rule_flags: tuple[RuleFlag, ...] = ()
    """What business rules find odd about it; nothing for almost every value."""

    @property
    def event_time(self) -> int | None:
        """When the quote was stamped, nanoseconds."""
        return self.provenance.event_time
