"""Programs of this package that do something when they are told to, and say how it went: a line for a line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from tools.programs import environment_without_settings

from .processes import BrokenMeasurement, on_core

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """A program that waits for questions."""

    name: str
    process: subprocess.Popen[str]

    def ask(self, question: object, reply: type[T]) -> T:
        """Let it do what *question* says, and return what it says of it.

        Raises:
            BrokenMeasurement: it failed.
        """
        pipes = self.process
        if pipes.stdin is None or pipes.stdout is None:
            raise BrokenMeasurement(f"{self.name} does not listen")
        pipes.stdin.write(f"{msgspec.json.encode(question).decode()}\n")
        pipes.stdin.flush()
        said = pipes.stdout.readline()
        if not said:
            raise BrokenMeasurement(f"{self.name} failed; what it said is above")
        return msgspec.json.decode(said, type=reply)


@contextmanager
def reading(core: int | None, module: str, *arguments: object) -> Iterator[Reading]:
    """Run a *module* of this package on *core* for as long as the block does.

    Raises:
        BrokenMeasurement: it does not come to stand.
    """
    name = f"benchmarks.{module}"
    with on_core(core):
        process = subprocess.Popen(
            [sys.executable, "-m", name, *map(str, arguments)],
            env=environment_without_settings(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise BrokenMeasurement(f"{name} did not come to stand")
        yield Reading(name, process)
    finally:
        process.kill()
        process.communicate()
