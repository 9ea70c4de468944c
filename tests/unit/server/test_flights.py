"""Single flight: one call for many, and nobody who leaves or is late harms another."""

from __future__ import annotations

import asyncio

import pytest

from tickgate_server.errors import UpstreamBroken, UpstreamFailure, UpstreamTimeout
from tickgate_server.guards.coalesced import CoalescedLatest
from tickgate_server.guards.flights import Flights
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import Feed
from tickgate_server.market.unavailable import Reason, Unavailable

from ...support.fakes import FakeLatest, HandClock, question, quote, settle

CAP = 5.0
LONG = 1010.0
SHORT = 1000.01
"""A deadline ten milliseconds ahead: timers are the loop's own, only what they are counted from is by hand."""


class Calls:
    """Calls that end when they are told to, and what became of each."""

    def __init__(self) -> None:
        self.flights: Flights[str, str] = Flights(CAP, HandClock().monotonic)
        self.begun: list[list[str]] = []
        self.deadlines: list[float] = []
        self.cancelled: list[list[str]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.failure: UpstreamFailure | None = None

    async def start(self, keys: list[str], deadline: float) -> dict[str, str]:
        """Begin a call, which ends when the gate of its first key opens."""
        self.begun.append(keys)
        self.deadlines.append(deadline)
        number = len(self.begun)
        gate = self.gates.setdefault(keys[0], asyncio.Event())
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(keys)
            raise
        if self.failure is not None:
            raise self.failure
        return {key: f"{key} of call {number}" for key in keys}

    def join(
        self, *keys: str, until: float = LONG
    ) -> asyncio.Task[dict[str, str | UpstreamFailure]]:
        """Ask for *keys*."""
        return asyncio.create_task(self.flights.join(keys, self.start, until))

    def land(self, key: str) -> None:
        """Let the call that began with *key* end."""
        self.gates.setdefault(key, asyncio.Event()).set()

    async def begin(
        self, *keys: str, until: float = LONG
    ) -> asyncio.Task[dict[str, str | UpstreamFailure]]:
        """Ask, and wait until the call has begun."""
        before = len(self.begun)
        asker = self.join(*keys, until=until)
        await settle(lambda: len(self.begun) > before)
        return asker


async def test_one_call_for_many() -> None:
    """Ten who ask for the same at the same time cost one call and get one answer."""
    calls = Calls()
    askers = [calls.join("A") for _ in range(10)]
    await settle(lambda: bool(calls.begun))
    calls.land("A")
    assert await asyncio.gather(*askers) == [{"A": "A of call 1"}] * 10
    assert calls.begun == [["A"]]


async def test_only_the_rest_is_asked_for() -> None:
    """Keys that are under way are waited for; a new call asks for the others alone."""
    calls = Calls()
    first = await calls.begin("A", "B")
    second = await calls.begin("B", "C")
    assert calls.begun == [["A", "B"], ["C"]]
    calls.land("A")
    calls.land("C")
    assert set(await first) == {"A", "B"}
    assert set(await second) == {"B", "C"}


async def test_the_first_asker_leaving_harms_nobody() -> None:
    """Who began a call may be cancelled; the call goes on for those who joined."""
    calls = Calls()
    first = await calls.begin("A")
    second = calls.join("A")
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert calls.cancelled == []
    calls.land("A")
    assert await second == {"A": "A of call 1"}


async def test_the_last_asker_leaving_cancels_the_call() -> None:
    """A call that nobody waits for any more is called back."""
    calls = Calls()
    first = await calls.begin("A")
    second = calls.join("A")
    await asyncio.sleep(0)
    for asker in (first, second):
        asker.cancel()
    await asyncio.wait([first, second])
    await settle(lambda: calls.cancelled == [["A"]])


async def test_a_new_asker_does_not_board_a_call_that_is_called_back() -> None:
    """Who asks right after the last asker left begins a new call and gets its answer."""
    calls = Calls()
    first = await calls.begin("A", "B")
    first.cancel()
    await asyncio.wait([first])
    second = calls.join("A", "B")
    await settle(lambda: len(calls.begun) == 2)
    calls.land("A")
    assert await second == {"A": "A of call 2", "B": "B of call 2"}
    assert calls.cancelled == [["A", "B"]]


async def test_each_asker_leaves_at_its_own_deadline() -> None:
    """The impatient get a timeout, the patient the answer, of the same call."""
    calls = Calls()
    patient = await calls.begin("A")
    impatient = await calls.join("A", until=SHORT)
    assert isinstance(impatient["A"], UpstreamTimeout)
    calls.land("A")
    assert await patient == {"A": "A of call 1"}


async def test_a_deadline_in_the_past_is_a_timeout() -> None:
    """Who has no time left is told so at once and leaves nothing running."""
    calls = Calls()
    outcome = await calls.join("A", until=900.0)
    assert isinstance(outcome["A"], UpstreamTimeout)
    await asyncio.sleep(0)
    assert len(calls.cancelled) == len(calls.begun)


async def test_a_late_call_harms_only_its_own_keys() -> None:
    """Of two calls that an asker waits for, the one that is back counts though the other is late."""
    calls = Calls()
    other = await calls.begin("A")
    asker = await calls.begin("A", "B", until=SHORT)
    calls.land("B")
    outcome = await asker
    assert isinstance(outcome["A"], UpstreamTimeout)
    assert outcome["B"] == "B of call 2"
    calls.land("A")
    assert await other == {"A": "A of call 1"}


async def test_no_call_outlives_the_cap() -> None:
    """However patient its askers, a call is told to end within the cap."""
    calls = Calls()
    asker = await calls.begin("A", until=1_000_000.0)
    assert calls.deadlines == [1000.0 + CAP]
    calls.land("A")
    await asker


async def test_a_failure_is_everybodys_answer() -> None:
    """When a call fails, each key of each asker holds the failure."""
    calls = Calls()
    calls.failure = UpstreamBroken("answered 500")
    first, second = await calls.begin("A", "B"), calls.join("B")
    await asyncio.sleep(0)
    calls.land("A")
    assert await first == {"A": calls.failure, "B": calls.failure}
    assert await second == {"B": calls.failure}


async def test_a_call_that_is_back_is_not_asked_again() -> None:
    """What has landed is forgotten: the next asker begins a new call."""
    calls = Calls()
    first = await calls.begin("A")
    calls.land("A")
    await first
    assert await calls.join("A") == {"A": "A of call 2"}


async def test_a_failure_that_nobody_waits_for_is_quiet() -> None:
    """A call that fails after its askers were told of the timeout troubles nobody."""
    calls = Calls()
    calls.failure = UpstreamBroken("answered 500")
    patient = await calls.begin("A")
    assert isinstance((await calls.join("A", until=SHORT))["A"], UpstreamTimeout)
    calls.land("A")
    assert (await patient)["A"] is calls.failure


async def test_a_fault_of_ours_reaches_the_asker() -> None:
    """What is not a failure of the upstream is not made one."""

    async def start(_: list[str], __: float) -> dict[str, str]:
        msg = "ours"
        raise LookupError(msg)

    with pytest.raises(LookupError):
        await Flights[str, str](CAP, HandClock().monotonic).join(["A"], start, LONG)


# ---------------------------------------------------------------------------- coalesced


async def test_feeds_do_not_share() -> None:
    """The same symbol on two feeds is two questions."""
    clock = HandClock()
    inner = FakeLatest(clock, {"AAPL": quote()})
    shared = CoalescedLatest(inner, CAP, clock)
    await asyncio.gather(
        shared.latest(question("AAPL", feed=Feed.IEX)),
        shared.latest(question("AAPL", feed=Feed.SIP)),
    )
    assert [(asked.feed, asked.symbols) for asked in inner.asked] == [
        (Feed.IEX, ("AAPL",)),
        (Feed.SIP, ("AAPL",)),
    ]


async def test_a_hundred_askers_cost_one_question() -> None:
    """Whoever asks while a question is under way shares its answer, value and all."""
    clock = HandClock()
    inner = FakeLatest(clock, {"AAPL": quote()})
    shared = CoalescedLatest(inner, CAP, clock)
    answers = await asyncio.gather(*(shared.latest(question("AAPL")) for _ in range(100)))
    assert len(inner.asked) == 1
    assert inner.asked[0].deadline == 1000.0 + CAP
    held = {id(answer["AAPL"]) for answer in answers}
    assert len(held) == 1


async def test_a_timeout_names_its_reason() -> None:
    """An asker whose time is up gets UPSTREAM_TIMEOUT for what is not back."""
    clock = HandClock()
    inner = FakeLatest(clock, {"AAPL": quote()})
    inner.open.clear()
    outcome = (await CoalescedLatest(inner, CAP, clock).latest(question("AAPL", deadline=SHORT)))[
        "AAPL"
    ]
    assert isinstance(outcome, Unavailable)
    assert outcome.reason is Reason.UPSTREAM_TIMEOUT


async def test_a_batch_and_a_single_question_share() -> None:
    """A symbol of a batch under way is not asked for again by a question of its own."""
    clock = HandClock()
    inner = FakeLatest(clock, {"AAPL": quote("AAPL"), "IBM": quote("IBM")})
    shared = CoalescedLatest(inner, CAP, clock)
    batch, single = await asyncio.gather(
        shared.latest(question("AAPL", "IBM")), shared.latest(question("IBM"))
    )
    assert inner.symbols_asked == [("AAPL", "IBM")]
    assert isinstance(batch["IBM"], Answer)
    assert batch["IBM"] is single["IBM"]


async def test_nobody_begins_anew_before_the_answer_is_remembered() -> None:
    """Who asks when a call has landed and no asker has taken its answer yet gets that answer, not another call."""
    calls = Calls()
    first = await calls.begin("A")
    task = calls.flights._by_key["A"].task
    boarded: list[asyncio.Task[object]] = []
    task.add_done_callback(
        lambda _: boarded.extend(
            flight.task for flight in calls.flights._board(["A"], calls.start, None)
        )
    )
    calls.land("A")
    assert await first == {"A": "A of call 1"}
    assert boarded == [task]
    assert len(calls.begun) == 1


async def test_a_shared_question_tells_for_how_long_it_is_wanted() -> None:
    """Whoever waits for budget or repeats a request on behalf of askers knows when the last of them leaves."""
    clock = HandClock()
    source = FakeLatest(clock, {"AAPL": quote()})
    latest = CoalescedLatest(source, CAP, clock)
    await asyncio.gather(
        *(latest.latest(question("AAPL", deadline=until)) for until in (1000.5, 1002.0, 1000.1))
    )
    (asked,) = source.asked
    # A twentieth of a second, at most, is kept for the way back.
    assert asked.deadline == 1005.0
    assert asked.wanted_until == pytest.approx(1001.95)
