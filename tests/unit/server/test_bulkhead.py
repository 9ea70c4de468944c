"""Only so many requests are under way at once; the others wait in order, and no place is ever lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.errors import Crowded, UpstreamBroken
from tickgate_server.guards.bulkhead import BulkheadRequests
from tickgate_server.observe.counters import Counters
from tickgate_server.ports import Priority, Reply

from ...support.fakes import HandClock, settle
from ...support.requests import StagedRequests, request

SOON = 1000.01
"""A deadline that a hand-driven clock leaves ten real milliseconds for."""


class Setup:
    """Requests with few places, and an upstream that holds each until the test ends it."""

    def __init__(self, places: int = 2) -> None:
        self.clock = HandClock()
        self.upstream = StagedRequests(self.clock)
        self.upstream.held = True
        self.counters = Counters()
        self.bulkhead = BulkheadRequests(self.upstream, places, self.counters.upstream, self.clock)

    def send(
        self,
        path: str = "/path",
        *,
        priority: Priority = Priority.INTERACTIVE,
        deadline: float = 1010.0,
    ) -> asyncio.Task[Reply]:
        """Begin to send a request."""
        asked = request(path, priority=priority, deadline=deadline)
        return asyncio.create_task(self.bulkhead.send(asked))

    async def full(self, places: int = 2) -> list[asyncio.Task[Reply]]:
        """Take every place."""
        sending = [self.send("/first") for _ in range(places)]
        await settle(lambda: len(self.upstream.under_way) == places)
        return sending

    @property
    def paths(self) -> list[str]:
        """What was sent, in that order."""
        return [sent.path for sent in self.upstream.sent]

    @property
    def queued(self) -> int:
        """Requests that wait, as counted."""
        return self.counters.upstream("alpaca.data", "latest").queued

    async def drain(self) -> None:
        """End whatever is under way, until nothing comes any more."""
        for number in range(10_000):
            if number >= len(self.upstream.under_way):
                return
            if not self.upstream.under_way[number].done():
                self.upstream.end(number)
            await turns()


async def turns() -> None:
    """Give all tasks the few turns that they need to get as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_at_once() -> None:
    """Never more requests are under way than there are places, and all get theirs in the end."""
    setup = Setup(places=3)
    sending = [setup.send() for _ in range(10)]
    await turns()
    assert (len(setup.upstream.sent), setup.queued) == (3, 7)
    await setup.drain()
    replies = await asyncio.gather(*sending)
    assert len(replies) == 10
    assert (setup.upstream.most_at_once, setup.queued) == (3, 0)


async def test_first_come_first_served() -> None:
    """Those who wait are served in the order in which they came, and nobody who comes just then overtakes them."""
    setup = Setup(places=1)
    await setup.full(1)
    for number in range(3):
        setup.send(f"/{number}")
    await turns()
    setup.upstream.end(0)
    late = setup.send("/late")
    await setup.drain()
    await late
    assert setup.paths == ["/first", "/0", "/1", "/2", "/late"]


async def test_the_urgent_go_first() -> None:
    """A more urgent class goes before all less urgent ones, in order of arrival within itself."""
    setup = Setup(places=1)
    await setup.full(1)
    order = [Priority.BACKFILL, Priority.HISTORY, Priority.INTERACTIVE, Priority.REPAIR] * 2
    for number, priority in enumerate(order):
        setup.send(f"/{priority.value}/{number}", priority=priority)
    await turns()
    await setup.drain()
    assert setup.paths[1:] == [
        "/interactive/2",
        "/interactive/6",
        "/repair/3",
        "/repair/7",
        "/history/1",
        "/history/5",
        "/backfill/0",
        "/backfill/4",
    ]


async def test_waiting_ends_at_the_deadline() -> None:
    """Who has no place by its deadline is told that it was crowded, and nothing is sent for it."""
    setup = Setup()
    sending = await setup.full()
    waiting = setup.send(deadline=SOON)
    await turns()
    assert setup.queued == 1
    with pytest.raises(Crowded) as caught:
        await waiting
    assert "alpaca.data" in caught.value.message
    assert (len(setup.upstream.sent), setup.queued) == (2, 0)
    await setup.drain()
    await asyncio.gather(*sending)


async def test_who_is_late_already_does_not_wait() -> None:
    """Without a place and without time the answer is immediate."""
    setup = Setup()
    await setup.full()
    waiting = setup.send(deadline=999.0)
    await turns()
    assert isinstance(waiting.exception(), Crowded)
    await setup.drain()


async def test_a_waiter_who_goes_away_leaves_the_line() -> None:
    """Who is cancelled while it waits is forgotten, and the next gets its turn."""
    setup = Setup(places=1)
    await setup.full(1)
    gone, stays = setup.send("/gone"), setup.send("/stays")
    await turns()
    gone.cancel()
    await asyncio.wait([gone])
    assert setup.queued == 1
    await setup.drain()
    await stays
    assert setup.paths == ["/first", "/stays"]


async def test_a_place_given_to_one_who_goes_away_goes_to_the_next() -> None:
    """Who is cancelled in the very moment in which its turn comes passes the place on."""
    setup = Setup(places=1)
    (first,) = await setup.full(1)
    gone, stays = setup.send("/gone"), setup.send("/stays")
    await turns()
    first.add_done_callback(lambda _: gone.cancel())
    setup.upstream.end(0)
    await asyncio.wait([gone])
    assert gone.cancelled()
    await setup.drain()
    await stays
    assert setup.paths == ["/first", "/stays"]


async def test_a_failure_gives_the_place_back() -> None:
    """However a request ends, its place is free again."""
    setup = Setup(places=1)
    for number, end in enumerate([None, UpstreamBroken("answered 500"), "cancelled"]):
        sending = setup.send()
        await settle(lambda number=number: len(setup.upstream.under_way) > number)  # type: ignore[misc]
        if end == "cancelled":
            sending.cancel()
        else:
            setup.upstream.end(number, end)  # type: ignore[arg-type]
        await asyncio.wait([sending])
    after = setup.send()
    await turns()
    assert (len(setup.upstream.under_way), setup.queued) == (4, 0)
    await setup.drain()
    await after


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "late", "end", "fail", "cancel", "turn"]),
        st.integers(0, 30),
    ),
    max_size=60,
)


@given(places=st.integers(1, 3), steps=STEPS)
async def test_no_place_is_ever_lost(places: int, steps: list[Step]) -> None:
    """Whoever comes, ends, fails, is late or goes away in whatever order, all places are there in the end."""
    setup = Setup(places)
    tasks: list[asyncio.Task[Reply]] = []
    for step, which in steps:
        live = [n for n, end in enumerate(setup.upstream.under_way) if not end.done()]
        if step in ("send", "late"):
            priority = list(Priority)[which % len(Priority)]
            tasks.append(setup.send(priority=priority, deadline=999.0 if step == "late" else 1e9))
        elif step == "cancel" and tasks:
            tasks[which % len(tasks)].cancel()
        elif step == "turn":
            await asyncio.sleep(0)
        elif live and step == "end":
            setup.upstream.end(live[which % len(live)])
        elif live and step == "fail":
            setup.upstream.end(live[which % len(live)], UpstreamBroken("answered 500"))
        assert sum(not end.done() for end in setup.upstream.under_way) <= places
    await turns()
    await setup.drain()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert setup.queued == 0

    before = len(setup.upstream.under_way)
    last = [setup.send() for _ in range(places + 1)]
    await turns()
    assert len(setup.upstream.under_way) - before == places
    await setup.drain()
    await asyncio.gather(*last)
    assert setup.upstream.most_at_once <= places
