"""What business rules have to say about values that are served all the same."""

from __future__ import annotations

from msgspec import Struct


class RuleFlag(Struct, frozen=True, gc=False):
    """A rule that finds a value odd. The value is what the upstream sent: the flag is a hint, never a correction."""

    rule: str
    """Name of the rule; docs/errors.md lists them."""

    evidence: str
    """What was seen."""
