"""What happened in the last minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.observe.recent import SLOT, Recent, Sum

MINUTES = [60.0, 300.0, 900.0]


def test_outcomes_are_summed_up() -> None:
    """A window tells requests, failures, and sum and longest of the times of those that were answered."""
    recent = Recent()
    recent.succeeded(1000.0, 0.25)
    recent.succeeded(1001.0, 0.75)
    recent.failed(1015.0)
    total = recent.within(1015.0, 60.0)
    assert total == Sum(requests=3, failures=1, seconds=1.0, longest=0.75)
    assert total.answered == 2


def test_nothing_happened() -> None:
    """Before the first request every window is empty."""
    assert [Recent().within(5.0, seconds) for seconds in MINUTES] == [Sum(), Sum(), Sum()]


@pytest.mark.parametrize("seconds", MINUTES)
def test_a_window_forgets(seconds: float) -> None:
    """A window holds what ended within its seconds, to within one slot, and nothing older."""
    recent = Recent()
    recent.failed(1000.0)
    assert recent.within(1000.0 + seconds - SLOT, seconds).requests == 1
    assert recent.within(1000.0 + seconds + SLOT, seconds).requests == 0


def test_a_short_window_sees_less_than_a_long_one() -> None:
    """One, five and fifteen minutes are cut out of the same slots."""
    recent = Recent()
    for now in range(1000, 1900):
        recent.failed(float(now))
    assert [recent.within(1899.0, seconds).requests for seconds in MINUTES] == [60, 300, 900]


@given(
    times=st.lists(st.floats(0, 5000), max_size=60).map(sorted),
    seconds=st.sampled_from(MINUTES),
)
def test_windows_are_right_to_within_a_slot(times: list[float], seconds: float) -> None:
    """A window misses nothing younger than its length less one slot, and holds nothing older than its length."""
    recent = Recent()
    for now in times:
        recent.failed(now)
    now = times[-1] if times else 0.0
    found = recent.within(now, seconds).requests
    assert sum(now - time <= seconds - SLOT for time in times) <= found
    assert found <= sum(now - time < seconds for time in times)


def test_old_slots_are_used_over_again() -> None:
    """What a slot held hours ago does not come back when it is filled again."""
    recent = Recent()
    recent.succeeded(1000.0, 5.0)
    later = 1000.0 + 90 * SLOT
    recent.failed(later)
    assert recent.within(later, 900.0) == Sum(requests=1, failures=1)
