"""The ack window: what is under way to a reader is what he lately read in the time that it may lie unread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.fanout.window import MOST_UNREAD, AckWindow

AGE = 0.25


class Line:
    """A window, its clock, and a reader who takes the same time for each message."""

    def __init__(self, seconds: float, age: float = AGE) -> None:
        self.window = AckWindow(age)
        self.seconds = seconds
        self.now = 50.0
        self.number = 0
        self.under_way: list[int] = []

    def fill(self) -> int:
        """Send what may be sent, and tell how much is under way."""
        while self.window.is_open:
            self.number += 1
            self.window.sent(self.number, self.now)
            self.under_way.append(self.number)
        return self.window.unread

    def read(self, messages: int = 1) -> None:
        """Read so many messages, each acknowledged when it is read, and let more follow at once."""
        for _ in range(messages):
            self.now += self.seconds
            self.window.ack(self.under_way.pop(0), self.now)
            self.fill()


def test_a_reader_is_unknown_until_he_has_read() -> None:
    """The first message goes alone: nobody knows yet how long he takes for one."""
    assert Line(0.001).fill() == 1


@pytest.mark.parametrize(
    ("a_second", "under_way"), [(1, 1), (4, 1), (10, 2), (100, 25), (1_000, MOST_UNREAD)]
)
def test_under_way_is_what_he_reads_in_the_time(a_second: int, under_way: int) -> None:
    """So many messages are under way as he reads in `unread_age`: at least one, and at most 64."""
    line = Line(1 / a_second)
    line.fill()
    line.read(200)
    # A millionth of a message of rounding may decide over the last one.
    assert under_way - 1 <= line.window.unread <= under_way
    assert line.window.unread >= 1


@pytest.mark.parametrize("a_second", [1, 4, 10, 100, 1_000])
def test_what_is_read_is_no_older_than_agreed(a_second: int) -> None:
    """A message lies unread for `unread_age` at most, or for as long as the reader takes for one."""
    line = Line(1 / a_second)
    line.fill()
    oldest = 0.0
    sent_at = {line.number: line.now}
    for _ in range(300):
        before = line.under_way[0]
        line.read()
        oldest = max(oldest, line.now - sent_at.pop(before))
        sent_at.update(dict.fromkeys((n for n in line.under_way if n not in sent_at), line.now))
    assert oldest <= max(AGE, line.seconds) + 1e-6


def test_a_slower_pace_is_believed_at_once() -> None:
    """One message that took long leaves only one under way, as soon as it is acknowledged."""
    line = Line(0.001)
    line.fill()
    line.read(200)
    line.seconds = 1.0
    line.read()
    assert not line.window.is_open
    line.read(MOST_UNREAD)
    assert line.window.unread == 1


def test_a_quicker_pace_is_believed_by_and_by() -> None:
    """After a slow message a quick one alone does not fill the line again; a row of them does."""
    line = Line(0.5)
    line.fill()
    line.read(3)
    line.seconds = 0.001
    line.read()
    assert line.window.unread == 1
    line.read(30)
    assert line.window.unread == MOST_UNREAD


def test_the_time_in_which_nothing_was_under_way_is_not_his() -> None:
    """A reader is measured from when a message was sent, not from his last acknowledgement hours ago."""
    line = Line(0.001)
    line.fill()
    line.read(200)
    line.window.ack(line.number, line.now)
    line.under_way.clear()
    line.now += 3600
    line.fill()
    assert line.window.unread > 1
    line.read(10)
    assert line.window.unread == MOST_UNREAD


def test_the_time_in_which_he_read_another_is_not_counted_twice() -> None:
    """A message that waited behind others took only as long as the reader was free for it."""
    window = AckWindow(AGE)
    window.sent(1, 0.0)
    window.ack(1, 0.01)
    for number in range(2, 12):
        window.sent(number, 0.01)
    for number in range(2, 12):
        window.ack(number, 0.01 * number)
    for number in range(12, 12 + 24):
        assert window.is_open
        window.sent(number, 0.11)


def test_one_ack_stands_for_all_before() -> None:
    """Who acknowledges the newest of ten has read each in a tenth of the time."""
    window = AckWindow(AGE)
    for number in range(1, 11):
        window.sent(number, 0.0)
    window.ack(10, 1.0)
    assert window.unread == 0
    window.sent(11, 1.0)
    assert window.is_open
    window.sent(12, 1.0)
    assert not window.is_open


def test_an_ack_that_says_nothing_new_changes_nothing() -> None:
    """The same message acknowledged again, or an older one, neither frees nor measures anything."""
    window = AckWindow(AGE)
    window.sent(1, 0.0)
    window.ack(1, 1.0)
    window.sent(2, 1.0)
    for _ in range(100):
        window.ack(1, 1.0)
        window.ack(0, 1.0)
    assert window.unread == 1
    assert not window.is_open


def test_the_time_may_be_changed() -> None:
    """A shorter `unread_age` holds from the next message on."""
    line = Line(0.01)
    line.fill()
    line.read(100)
    line.window.unread_age = 0.05
    line.read(50)
    assert line.window.unread in {4, 5}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=100), st.floats(0.01, 10))
def test_one_is_always_allowed_and_never_more_than_the_most(
    seconds: list[float], age: float
) -> None:
    """Whatever pace he reads at, who has read everything gets one more, and nobody has more than 64."""
    line = Line(0.0, age)
    assert line.fill() == 1
    for line.seconds in seconds:
        line.read()
        assert 1 <= line.window.unread <= MOST_UNREAD
