"""Tables that a person reads on the terminal and on the page alike."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

_LIBRARIES: Final = ("grpcio", "protobuf", "uvloop", "msgspec")


@dataclass(frozen=True, slots=True)
class Table:
    """What one benchmark found."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: Sequence[str] = field(default=())

    def __str__(self) -> str:
        """Write it as Markdown, its columns aligned."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        rule = [f"{'-' * (width - 1)}:" for width in widths[1:]]
        lines = [
            _line(self.head, widths),
            f"| {'-' * widths[0]} | {' | '.join(rule)} |",
            *(_line(row, widths) for row in self.rows),
        ]
        notes = "".join(f"\n- {note}" for note in self.notes)
        return f"## {self.title}\n\n" + "\n".join(lines) + f"\n{notes}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *rest = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join([first, *rest])} |"


def count(number: float) -> str:
    """Write a number of things."""
    return f"{number:,.0f}"


def millis(seconds: float) -> str:
    """Write milliseconds."""
    return f"{seconds * 1e3:.2f}"


def micros(seconds: float) -> str:
    """Write microseconds."""
    return f"{seconds * 1e6:.1f}" if seconds < 100e-6 else f"{seconds * 1e6:.0f}"


def spread(ratios: Sequence[float]) -> str:
    """Write the median of some ratios, and the least and the largest."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def machine() -> list[str]:
    """Say where a run took place."""
    libraries = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    return [
        f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}, {libraries}",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown CPU"
