"""Instants as callers write them: exact, with a zone, or refused with a sentence."""

from __future__ import annotations

import datetime
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickgate
from tickgate import _instants as instants
from tickgate._time import rfc3339

from . import messages

NOON = messages.NOON


def ns(value: Any) -> int:
    """What is sent for *value*, in nanoseconds."""
    written = instants.timestamp("start_time", value)
    assert written is not None
    return written.ToNanoseconds()


@given(st.integers(min_value=instants._FIRST_NS, max_value=instants._LAST_NS))
def test_an_integer_and_its_text_are_the_same_instant(instant: int) -> None:
    """Nanoseconds and RFC 3339 text arrive to the nanosecond."""
    assert ns(instant) == instant
    if instant >= 0:
        assert ns(rfc3339(instant)) == instant


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("2026-03-06T15:30:00.123456789Z", NOON),
        ("2026-03-06T10:30:00.123456789-05:00", NOON),
        (datetime.datetime.fromisoformat("2026-03-06T15:30:00.123456Z"), NOON - 789),
        (datetime.datetime.fromisoformat("2026-03-06T16:30:00.123456+01:00"), NOON - 789),
        # Midnight in New York, on both sides of a change of the clocks.
        (datetime.date(2026, 3, 8), 1_772_946_000 * messages.SECOND),
        ("2026-03-09", 1_773_028_800 * messages.SECOND),
    ],
)
def test_each_form_means_an_instant(given_: Any, expected: int) -> None:
    """An offset is counted, and a day begins at midnight where the market is."""
    assert ns(given_) == expected


def test_a_time_left_out_is_not_sent() -> None:
    """None stays unset."""
    assert instants.timestamp("end_time", None) is None


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (datetime.datetime(2026, 3, 6), "a time names its time zone"),  # noqa: DTZ001
        ("2026-03-06T15:30:00", "is a day or has a zone, such as 2024-03-01T15:30:00Z"),
        ("yesterday", "not 'yesterday'"),
        ("", "not ''"),
        (True, "an instant is an aware datetime, a day"),
        (1.5, "not 1.5"),
        (10**30, "in the years 1 to 9999"),
    ],
)
def test_what_is_no_instant_is_never_sent(given_: Any, said: str) -> None:
    """What may mean several instants, or none, is refused with the field and the rule."""
    with pytest.raises(tickgate.InvalidRequest) as caught:
        instants.timestamp("start_time", given_)
    assert str(caught.value).startswith("start_time: ")
    assert said in str(caught.value)
    assert caught.value.violations[0].field == "start_time"


def test_a_machine_without_time_zones_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where New York's time is not known, the sentence names the way out."""

    def unknown(name: str) -> Any:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(instants, "ZoneInfo", unknown)
    with pytest.raises(tickgate.InvalidRequest, match="pip install tzdata"):
        instants.timestamp("start_time", datetime.date(2026, 3, 6))
