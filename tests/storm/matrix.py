"""The table of every call under every fault: how often it was asked, answered, and refused for which reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ANSWERED = "answered"


@dataclass(slots=True)
class Matrix:
    """Counts by call and fault."""

    cells: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    slowest: dict[str, float] = field(default_factory=dict)
    """Seconds of the longest call, by call."""

    def enter(self, rpc: str, fault: str, label: str, took: float) -> None:
        """Enter one call; *label* is `ANSWERED` or why not."""
        self.cells[rpc, fault][label] += 1
        self.slowest[rpc] = max(self.slowest.get(rpc, 0.0), took)

    @property
    def calls(self) -> int:
        """All calls."""
        return sum(cell.total() for cell in self.cells.values())

    @property
    def answered(self) -> int:
        """Those with a value."""
        return sum(cell[ANSWERED] for cell in self.cells.values())

    def missing(self, rpcs: Iterable[str], faults: Sequence[str]) -> list[tuple[str, str]]:
        """Return which calls were never asked under which fault."""
        return [
            (rpc, fault) for rpc in rpcs for fault in faults if not self.cells.get((rpc, fault))
        ]

    def lines(self, rpcs: Iterable[str], faults: Sequence[str]) -> list[str]:
        """Return the table: a fault a line, what it did to all calls; then a call a line, over all faults."""
        lines = [f"{'fault':<34} {'calls':>7} {'answered':>9}  refused by reason"]
        lines += [_line(fault, 34, self._over(fault=fault)) for fault in faults]
        lines += ["", f"{'call':<38} {'calls':>7} {'answered':>9}  refused by reason"]
        for rpc in rpcs:
            cells = self._over(rpc=rpc)
            lines.append(f"{_line(rpc, 38, cells)}  [slowest {self.slowest.get(rpc, 0):.2f} s]")
        return lines

    def grid(self, rpcs: Iterable[str], faults: Sequence[str]) -> list[str]:
        """Return the cells one by one, answered of asked, for whoever wants to know exactly."""
        lines = [f"{'':<38}" + "".join(f" {number:>7}" for number in range(1, len(faults) + 1))]
        for rpc in rpcs:
            cells = (self.cells.get((rpc, fault), Counter()) for fault in faults)
            told = (f"{cell[ANSWERED]}/{cell.total()}" for cell in cells)
            lines.append(f"{rpc:<38}" + "".join(f" {text:>7}" for text in told))
        lines += [f"  {number}: {fault}" for number, fault in enumerate(faults, 1)]
        return lines

    def _over(self, *, rpc: str = "", fault: str = "") -> Counter[str]:
        total: Counter[str] = Counter()
        for (one, other), cell in self.cells.items():
            if rpc in ("", one) and fault in ("", other):
                total += cell
        return total


def _line(name: str, width: int, cell: Counter[str]) -> str:
    why = ", ".join(f"{label} {count}" for label, count in cell.most_common() if label != ANSWERED)
    return f"{name:<{width}} {cell.total():>7} {cell[ANSWERED]:>9}  {why}"
