"""What fuzzing has found, and how much was tried."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import psutil  # type: ignore[import-untyped]  # it ships no types

_KEPT: Final = 5
MEBIBYTE: Final = 1 << 20


@dataclass(slots=True)
class Found:
    """Outcomes, and what none must be."""

    what: str
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    """Resident bytes of this process, as they were looked at."""

    def object(self, kind: str, what: str) -> None:
        """Find *kind* of wrong with *what*."""
        self.wrong[kind] += 1
        if self.wrong[kind] <= _KEPT:
            self.told.append(f"{kind}: {what[:1500]}")

    def look(self) -> None:
        """Note how much memory this process holds."""
        self.resident.append(psutil.Process().memory_info().rss)

    @property
    def grown(self) -> float:
        """MiB by which this process has grown in the second half of what was tried."""
        if len(self.resident) < 4:
            return 0.0
        return (self.resident[-1] - self.resident[len(self.resident) // 2]) / MEBIBYTE

    def lines(self) -> list[str]:
        """Return it as text."""
        told = ", ".join(f"{name} {count:,}" for name, count in self.outcomes.most_common(24))
        lines = [
            f"{self.what}: {self.outcomes.total():,} tried: {told}; {self.grown:+.1f} MiB in the second half"
        ]
        lines += [f"  WRONG {count} × {kind}" for kind, count in self.wrong.most_common()]
        lines += [f"    {text}" for text in self.told]
        return lines
