"""Takes turns: A B A B …, so that whatever else the machine does strikes both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from .load import Pressure
from .processes import BrokenMeasurement
from .stage import Round

_WARM_UP: Final = 0.5
"""Seconds of the run that nobody counts; it also tells how many calls fill a round."""

_FIRST_CALLS: Final = 200
_SIZES: Final = 0.02
"""Share by which the size of an answer may differ between rounds: its times are shorter or longer numbers."""

Contestant = Callable[[int, Pressure], Round]
"""Answers so many calls."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    seconds: float
    """Of one contestant in one round."""

    minutes: float = 10.0
    """For which memory is watched."""


@dataclass(frozen=True, slots=True)
class Score:
    """All rounds of one contestant. Every number of it is the median of its rounds."""

    rounds: Sequence[Round]

    @property
    def rate(self) -> float:
        """Calls a second."""
        return median(map(rate_of, self.rounds))

    @property
    def cpu(self) -> float:
        """Seconds of the server's CPU for a call."""
        return median(map(cpu_of, self.rounds))

    @property
    def answer_bytes(self) -> float:
        """Bytes of an answer."""
        return median(round_.run.answer_bytes for round_ in self.rounds)

    def percentile(self, percent: int) -> float:
        """Return the seconds within which so many of a hundred calls were answered."""
        return median(round_.run.percentile(percent) for round_ in self.rounds)

    def pairs(self, other: Score, read: Callable[[Round], float]) -> list[float]:
        """Return what *read* says of each round, divided by what it says of the *other*'s round beside it."""
        both = zip(self.rounds, other.rounds, strict=True)
        return [read(mine) / read(its) for mine, its in both]


def rate_of(round_: Round) -> float:
    """Return the calls a second of a round."""
    return round_.run.rate


def cpu_of(round_: Round) -> float:
    """Return the seconds of CPU for a call of a round."""
    return round_.cpu


def percentile_of(percent: int) -> Callable[[Round], float]:
    """Return what reads a percentile of a round."""
    return lambda round_: round_.run.percentile(percent)


def take_turns(
    contestants: Mapping[str, Contestant], effort: Effort, pressure: Pressure
) -> dict[str, Score]:
    """Let every contestant run in every round, in the same order, after a run that is not counted.

    Raises:
        BrokenMeasurement: a contestant's answers are not all of one size, but for the digits of their times.
    """
    calls = {name: _calls(run, effort, pressure) for name, run in contestants.items()}
    rounds: dict[str, list[Round]] = {name: [] for name in contestants}
    for _ in range(effort.rounds):
        for name, run in contestants.items():
            rounds[name].append(run(calls[name], pressure))
    for name, done in rounds.items():
        sizes = [round_.run.answer_bytes for round_ in done]
        if max(sizes) - min(sizes) > _SIZES * min(sizes):
            msg = f"{name}: answers of {min(sizes):.0f} bytes in one round and {max(sizes):.0f} in another"
            raise BrokenMeasurement(msg)
    return {name: Score(done) for name, done in rounds.items()}


def _calls(run: Contestant, effort: Effort, pressure: Pressure) -> int:
    if pressure.rate is not None:
        return max(1, round(effort.seconds * pressure.rate)) * pressure.connections
    first = run(_FIRST_CALLS, pressure)
    steady = run(max(_FIRST_CALLS, round(rate_of(first) * _WARM_UP)), pressure)
    return max(_FIRST_CALLS, round(rate_of(steady) * effort.seconds))
