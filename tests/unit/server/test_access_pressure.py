"""What a process takes on while it has enough to do, or its memory fills."""

from __future__ import annotations

import asyncio
import sys

import pytest
from structlog.testing import capture_logs

from tickgate_server.access.pressure import Load, Pressure, resident_memory
from tickgate_server.errors import LimitExceeded
from tickgate_server.observe.counters import Counters

from ...support.waiting import until

MIB = 1 << 20


class House:
    """Pressure over a memory that a test fills."""

    def __init__(self, calls: int = 0, memory_mib: int = 0, chance: float = 0.5) -> None:
        self.counters = Counters()
        self.resident: int | None = 0
        self.given_back = 0
        self.looks = 0
        self.pressure = Pressure(
            calls,
            memory_mib,
            self.counters,
            resident=self._look,
            give_back=self._give_back,
            chance=lambda: chance,
            every=0.001,
        )

    def _look(self) -> int | None:
        self.looks += 1
        return self.resident

    def _give_back(self) -> None:
        self.given_back += 1

    def fill(self, mib: float) -> None:
        """Let so many MiB be in memory, and look."""
        self.resident = round(mib * MIB)
        self.pressure.look()

    def refused(self) -> set[Load]:
        """Return what is refused now."""
        return {load for load in Load if self.refusal(load) is not None}

    def refusal(self, load: Load) -> LimitExceeded | None:
        """Return why a call is refused."""
        try:
            self.pressure.check(load)
        except LimitExceeded as refusal:
            return refusal
        return None


def test_calls_beyond_the_limit_are_refused() -> None:
    """As many calls as the limit are answered, one more is not, and what tells operators how things are always is."""
    house = House(calls=3)
    house.counters.calls_in_flight = 3
    assert house.refused() == set()
    house.counters.calls_in_flight = 4
    assert house.refused() == {Load.LIGHT, Load.HEAVY}
    refusal = house.refusal(Load.LIGHT)
    assert refusal is not None
    assert (refusal.limit, refusal.retry_delay) == ("calls", 0.05 + 0.95 * 0.5)


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_those_who_are_refused_come_back_apart(chance: float) -> None:
    """Delays are drawn by lot: 0.05 to 1 second for calls, 1 to 5 for memory."""
    house = House(calls=1, memory_mib=100, chance=chance)
    house.counters.calls_in_flight = 2
    crowd = house.refusal(Load.HEAVY)
    house.counters.calls_in_flight = 1
    house.fill(95)
    memory = house.refusal(Load.HEAVY)
    assert crowd is not None and crowd.retry_delay is not None  # noqa: PT018
    assert memory is not None and memory.retry_delay is not None  # noqa: PT018
    assert 0.05 <= crowd.retry_delay <= 1
    assert 1 <= memory.retry_delay <= 5


def test_short_memory_refuses_what_is_heavy_first() -> None:
    """From nine tenths on nothing heavy is begun, and when it is full only what is essential is answered."""
    house = House(memory_mib=100)
    for mib, refused in (
        (89.9, set()),
        (90, {Load.HEAVY}),
        (99.9, {Load.HEAVY}),
        (100, {Load.LIGHT, Load.HEAVY}),
    ):
        house.fill(mib)
        assert house.refused() == refused
    assert house.refusal(Load.LIGHT).limit == "memory"  # type: ignore[union-attr]  # it is refused


def test_it_does_not_change_its_mind_at_the_mark() -> None:
    """What was reached is left only five hundredths below its mark, said once for each change, and counted."""
    house = House(memory_mib=100)
    levels = []
    with capture_logs() as lines:
        for mib in (91, 88, 86, 91, 84, 89, 101, 97, 96, 94, 86, 70):
            house.fill(mib)
            levels.append(house.counters.memory_level)
    assert levels == [1, 1, 1, 1, 0, 0, 2, 2, 2, 1, 1, 0]
    assert [(line["level"], line["log_level"]) for line in lines] == [
        ("tight", "warning"),
        ("calm", "info"),
        ("full", "warning"),
        ("tight", "warning"),
        ("calm", "info"),
    ]
    assert lines[0]["resident_mib"], lines[0]["limit_mib"] == (91, 100)
    assert house.counters.memory_alarms == 2


def test_without_limits_everything_is_taken_on() -> None:
    """A process without limits refuses nothing, whatever its memory is like."""
    house = House()
    house.counters.calls_in_flight = 10**6
    house.fill(10**6)
    assert house.refused() == set()


def test_a_process_whose_memory_is_full_is_not_ready() -> None:
    """While it answers hardly anything it says that it is not ready, so that others are asked."""
    house = House(memory_mib=100)
    house.counters.unready = ""
    told = []
    for mib in (50, 92, 100, 92, 50):
        house.fill(mib)
        told.append(house.counters.why_unready.partition(":")[0])
    assert told == ["", "", "the memory is full", "", ""]
    house.fill(100)
    house.counters.unready = "the gateway is stopping"
    assert house.counters.why_unready == "the gateway is stopping"


async def test_memory_that_is_short_is_given_back() -> None:
    """While memory is short, what nobody uses is given back to the system; not while there is enough."""
    house = House(memory_mib=100)
    house.resident = 95 * MIB
    running = asyncio.create_task(house.pressure.run())
    await until(lambda: house.given_back > 1)
    house.resident = 10 * MIB
    await until(lambda: house.counters.memory_level == 0)
    given_back, looks = house.given_back, house.looks
    await until(lambda: house.looks > looks + 30)
    assert house.given_back == given_back
    running.cancel()


async def test_where_memory_cannot_be_measured_it_says_so() -> None:
    """On a system that does not tell, the limit has no effect, and the log says so."""
    house = House(memory_mib=100)
    house.resident = None
    with capture_logs() as lines:
        await house.pressure.run()
    assert [line["event"] for line in lines] == ["memory_not_measured"]
    assert house.refused() == set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells by /proc")
def test_memory_is_measured() -> None:
    """The resident memory of this process grows by what it really uses."""
    before = resident_memory()
    ballast = bytearray(b"x") * (64 * MIB)
    after = resident_memory()
    assert before is not None
    assert after is not None
    assert 60 * MIB <= after - before <= 80 * MIB
    assert len(ballast) == 64 * MIB
