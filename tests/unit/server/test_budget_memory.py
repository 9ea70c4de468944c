"""The budget in memory: what it admits, who goes first, and what a refusal says. Its time is moved by hand."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

import pytest
import throttled.utils
from hypothesis import given, settings
from hypothesis import strategies as st
from throttled.asyncio import MemoryStore, per_duration
from throttled.asyncio.rate_limiter import GCRARateLimiter

from tickgate_server.access.bucket import Bucket
from tickgate_server.errors import BudgetExhausted
from tickgate_server.market.unavailable import Reason
from tickgate_server.ports import Priority, Upstream
from tickgate_server.stores.budget.budget import pause

from ...support.budget import (
    BACKFILL,
    DATA,
    FLOORS,
    HISTORY,
    INTERACTIVE,
    HandTill,
    hand_till,
    policy,
)


async def delay_told(task: asyncio.Task[int]) -> float | None:
    """The delay that the refusal of *task* names."""
    with pytest.raises(BudgetExhausted) as refusal:
        await task
    return refusal.value.retry_delay


async def test_the_budget_is_the_share_of_what_the_upstream_admits() -> None:
    """95 % of 200 a minute are 190 at once, and then 19 every six seconds."""
    till = hand_till(policy(200, share=0.95))
    assert (await till.drain(), till.left) == (190, 0)
    await till.time.advance(6.0)
    assert (till.left, await till.drain()) == (19, 19)


@pytest.mark.parametrize(("per_minute", "share"), [(1, 0.95), (2, 0.01), (1, 1.0)])
async def test_a_budget_is_never_nothing(per_minute: int, share: float) -> None:
    """A share of less than one request is one, and every class may have it."""
    for priority in Priority:
        assert await hand_till(policy(per_minute, share=share)).drain(priority) == 1


@pytest.mark.parametrize(("replicas", "admitted"), [(1, 60), (2, 30), (4, 15), (7, 8), (120, 1)])
async def test_without_redis_a_replica_takes_its_part(replicas: int, admitted: int) -> None:
    """Without Redis each of several gateways spends its part, and at least a request, which comes back as slowly."""
    till = hand_till(policy(60, replicas=replicas))
    assert (till.counts.shared, await till.drain()) == (False, admitted)
    await till.time.advance(59.0 if replicas < 60 else 119.0)
    assert await till.drain() == (admitted if replicas == 7 else admitted - (replicas != 7))
    await till.time.advance(2.0)
    assert till.left <= admitted


async def test_each_upstream_has_its_own() -> None:
    """What is spent on market data leaves the trading API its budget."""
    till = hand_till()
    await till.drain()
    assert (till.left, till.budget.remaining(Upstream.TRADING)) == (0, 30)


@pytest.mark.parametrize("priority", Priority)
async def test_a_class_leaves_its_floor_to_the_more_urgent(priority: Priority) -> None:
    """Each class spends down to its floor and no further; what is below is there for those more urgent."""
    till = hand_till(policy(100))
    floor = round(FLOORS[priority] * 100)
    assert till.counts.floors[priority.value] == floor
    assert (await till.drain(priority), till.left) == (100 - floor, floor)
    refusal = await till.refusal(priority)
    assert refusal.retry_delay == pytest.approx(0.6, abs=0.001)
    assert await till.drain(INTERACTIVE) == floor


async def test_what_costs_more_takes_more() -> None:
    """A request that counts for several takes as many; one for more than there ever are is refused for good."""
    till = hand_till()
    assert await till.spend(cost=25) == 35
    assert (await till.refusal(cost=36)).retry_delay == 1.0
    never = await till.refusal(cost=61, patience=3600)
    assert never.retry_delay is None
    assert "61 requests to alpaca.data" in never.message
    assert await till.spend(cost=35) == 0


async def test_a_refusal_is_told_at_once_with_upstream_and_delay() -> None:
    """Whoever would wait beyond the deadline is refused at once, and told whose budget it is and when to come."""
    till = hand_till()
    await till.drain()
    refusal = await till.refusal(patience=0.9)
    assert (refusal.reason, refusal.upstream) == (Reason.BUDGET_EXHAUSTED, "alpaca.data")
    assert (refusal.retry_delay, till.counts.waiting) == (1.0, 0)
    assert till.counts.refused == 2


async def test_who_has_time_waits_for_the_next() -> None:
    """A request whose deadline lies behind the next token waits for it and goes, no sooner and no later."""
    till = hand_till()
    await till.drain()
    task = till.waiting(patience=1.5)
    await till.time.advance(0.99)
    assert (task.done(), till.counts.waiting) == (False, 1)
    await till.time.advance(0.02)
    assert (await task, till.counts.waiting) == (0, 0)


async def test_fifty_do_not_believe_in_the_same_token() -> None:
    """Of fifty who have ten seconds, with one token a second, ten wait and forty are refused at once."""
    till = hand_till()
    await till.drain()
    tasks = [till.waiting(patience=10.0) for _ in range(50)]
    await till.time.turns()
    refused = [task for task in tasks if task.done()]
    assert (len(refused), till.counts.waiting) == (40, 10)
    assert [await delay_told(task) for task in refused] == pytest.approx([11.0] * 40, abs=0.002)
    for second in range(1, 11):
        await till.time.advance(1.0)
        assert [task.done() for task in tasks[:10]].count(True) == second
        assert tasks[second - 1].done()
    assert [await task for task in tasks[:10]] == [0] * 10


async def test_urgent_ones_go_first_and_push_others_back() -> None:
    """An urgent newcomer goes before those who wait; one of them who would now be too late is told at once."""
    till = hand_till(policy(60))
    await till.drain()
    patient = till.waiting(HISTORY, patience=60.0)
    hurried = till.waiting(HISTORY, patience=20.5)
    await till.time.turns()
    assert (patient.done(), hurried.done()) == (False, False)
    urgent = [till.waiting(patience=10.0) for _ in range(3)]
    await till.time.turns()
    assert await delay_told(hurried) == pytest.approx(23.0, abs=0.002)
    await till.time.advance(3.0)
    assert [task.done() for task in urgent] == [True] * 3
    assert not patient.done()
    await till.time.advance(19.0)
    assert patient.done()


async def test_an_urgent_spender_pushes_back_who_waits_for_the_floor() -> None:
    """Who waits for its floor is told when others spend so much meanwhile that it would come too late."""
    till = hand_till(policy(60))
    await till.drain(BACKFILL)
    waiting = till.waiting(BACKFILL, patience=5.0)
    await till.time.turns()
    for _ in range(4):
        await till.spend()
    await till.time.turns()
    assert not waiting.done()
    await till.spend()
    assert await delay_told(waiting) == pytest.approx(6.0, abs=0.002)


async def test_a_costly_one_is_not_overtaken() -> None:
    """A request of many tokens keeps its place: those who come later and want less wait behind it."""
    till = hand_till()
    await till.drain()
    costly, cheap = till.waiting(cost=5), till.waiting(cost=1)
    await till.time.advance(4.9)
    assert (costly.done(), cheap.done()) == (False, False)
    await till.time.advance(0.2)
    assert (costly.done(), cheap.done()) == (True, False)
    await till.time.advance(1.0)
    assert cheap.done()


async def test_who_goes_away_spends_nothing() -> None:
    """A cancelled waiter leaves the line: the next takes its turn, and the budget has lost nothing."""
    till = hand_till()
    await till.drain()
    first, second, third = (till.waiting() for _ in range(3))
    await till.time.turns()
    first.cancel()
    second.cancel()
    await till.time.turns()
    assert till.counts.waiting == 1
    await till.time.advance(1.0)
    assert await third == 0
    await till.time.advance(2.0)
    assert (till.left, till.counts.spent) == (2, 61)
    assert (first.cancelled(), second.cancelled()) == (True, True)


async def test_who_wakes_too_late_spends_nothing() -> None:
    """A waiter that a busy process wakes only after its deadline is refused: its request would be of no more use."""
    till = hand_till()
    await till.drain()
    waiting = till.waiting(patience=1.5)
    await till.time.turns()
    till.time.clock.advance(2.0)
    await till.time.advance(0.0)
    assert await delay_told(waiting) == 0.0
    assert (till.left, till.counts.spent) == (2, 60)


async def test_the_upstream_can_lower_it() -> None:
    """What the upstream says is left is believed when it is less, and ignored when it is more."""
    till = hand_till()
    await till.budget.correct(DATA, 70)
    assert (till.left, till.counts.corrections) == (60, 0)
    await till.budget.correct(DATA, 10)
    assert (till.left, till.counts.corrections) == (10, 1)
    await till.budget.correct(DATA, 20)
    assert await till.drain() == 10


async def test_a_correction_is_divided_among_replicas() -> None:
    """A replica on its own takes of what the upstream says is left only its part."""
    till = hand_till(policy(60, replicas=3))
    await till.budget.correct(DATA, 30)
    assert await till.drain() == 10


async def test_a_correction_tells_those_who_would_come_too_late() -> None:
    """Whoever waits is refused at once when the budget is lowered so far that its deadline cannot be kept."""
    till = hand_till()
    await till.drain(BACKFILL)
    waiting = till.waiting(BACKFILL, patience=10.0)
    await till.time.turns()
    await till.budget.correct(DATA, 0)
    assert await delay_told(waiting) == pytest.approx(31.0, abs=0.002)


async def test_nothing_goes_before_the_upstream_wants_it() -> None:
    """When the upstream asks for a pause, nothing is left until its end: whoever has time waits, others are refused."""
    till = hand_till()
    await till.budget.correct(DATA, 0, 20.0)
    assert (await till.refusal(patience=19.0)).retry_delay == 20.0
    patient = till.waiting(patience=21.0)
    await till.time.advance(19.9)
    assert not patient.done()
    assert till.left == 0
    await till.time.advance(0.2)
    assert await patient == 19


async def test_a_pause_that_makes_no_sense_is_cut_short() -> None:
    """No word of the upstream stops the gateway for more than a minute, and a shorter one does not end a longer one."""
    till = hand_till()
    await till.budget.correct(DATA, 0, 1e9)
    await till.budget.correct(DATA, 0, 1.0)
    assert (await till.refusal(patience=10.0)).retry_delay == 60.0


async def test_a_lower_limit_is_learned_and_a_higher_is_not() -> None:
    """An upstream that admits less than the settings say is believed, also when it takes that back; never more."""
    till = hand_till(policy(200, share=0.95))
    till.budget.learn(DATA, 10_000)
    till.budget.learn(DATA, 10_000)
    assert (till.counts.limit, till.left) == (190, 190)
    till.budget.learn(DATA, 100)
    assert (till.counts.limit, till.left, till.counts.floors["backfill"]) == (95, 95, 47)
    assert await till.drain() == 95
    await till.time.advance(6.4)
    assert till.left == 10
    till.budget.learn(DATA, 200)
    assert (till.counts.limit, till.left) == (190, 10)


async def test_every_window_must_admit() -> None:
    """With a limit of a day as well, whichever is reached first refuses, with the delay that is right for it."""
    till = hand_till(policy(60, per_day=100))
    assert await till.drain() == 60
    await till.time.advance(60.0)
    assert (till.left, await till.drain()) == (40, 40)
    refusal = await till.refusal(patience=600.0)
    assert refusal.retry_delay == pytest.approx(864.0 - 60.0, abs=0.1)
    await till.time.advance(60.0)
    assert till.left == 0


async def test_status_is_kept_up_to_date() -> None:
    """What GetStatus shows is there after every spending: limit, window, and the sums."""
    till = hand_till(policy(100))
    await till.spend(cost=2)
    counts = till.counts
    assert (counts.limit, counts.window, counts.spent, counts.shared) == (100, 60, 2, False)
    assert counts.floors == {"interactive": 0, "repair": 10, "history": 30, "backfill": 50}


async def test_a_real_pause_ends_by_itself_or_when_woken() -> None:
    """The pause that production uses ends after its time, and at once when somebody wakes it."""
    woken = asyncio.Event()
    await pause(woken, 0.001)
    woken.set()
    await asyncio.wait_for(pause(woken, 3600.0), 5.0)


class Step(NamedTuple):
    """Somebody comes after a while and wants something."""

    gap: float
    priority: Priority
    cost: int
    patience: float
    leaves_after: float | None


steps = st.builds(
    Step,
    gap=st.sampled_from([0.0, 0.0, 0.1, 0.7, 3.0, 20.0]),
    priority=st.sampled_from(list(Priority)),
    cost=st.integers(1, 4),
    patience=st.sampled_from([0.0, 0.5, 3.1, 12.3, 40.7]),
    leaves_after=st.sampled_from([None, None, None, 1.3]),
)


class Spent(NamedTuple):
    """When something was admitted, and what was left then."""

    at: float
    priority: Priority
    cost: int
    left: int


async def play(till: HandTill, script: list[Step]) -> tuple[list[Spent], list[Step]]:
    """Let everybody of *script* come and wait, and return what was spent, and who got nothing."""
    spent: list[Spent] = []
    refused: list[Step] = []
    tasks = []

    async def come(step: Step) -> None:
        deadline = till.clock.monotonic() + step.patience
        try:
            left = await till.budget.spend(DATA, step.priority, step.cost, deadline)
        except BudgetExhausted:
            assert till.clock.monotonic() <= deadline + 0.001
            refused.append(step)
        else:
            assert till.clock.monotonic() <= deadline + 0.001
            spent.append(Spent(till.clock.monotonic(), step.priority, step.cost, left))

    for step in script:
        await till.time.advance(step.gap)
        task = asyncio.create_task(come(step))
        tasks.append(task)
        if step.leaves_after is not None:
            await till.time.advance(step.leaves_after)
            task.cancel()
    await till.time.advance(60.0)
    assert all(task.done() for task in tasks)
    await asyncio.gather(*tasks, return_exceptions=True)
    return spent, refused


@settings(max_examples=120, deadline=None)
@given(script=st.lists(steps, max_size=40))
async def test_laws_of_the_budget(script: list[Step]) -> None:
    """In no interval more is admitted than the bucket and what came back; floors hold; nobody outlives the deadline."""
    till = hand_till(policy(12))
    rate = 12 / 60
    spent, refused = await play(till, script)
    for first in range(len(spent)):
        total = 0
        for one in spent[first:]:
            total += one.cost
            assert total <= 12 + rate * (one.at - spent[first].at) + 1e-3
    assert all(one.left >= int(FLOORS[one.priority] * 12) for one in spent)
    assert till.counts.waiting == 0
    assert till.counts.spent == sum(one.cost for one in spent)
    assert till.counts.refused == sum(step.cost for step in refused)


@settings(max_examples=60, deadline=None)
@given(priorities=st.lists(st.sampled_from(list(Priority)), min_size=1, max_size=12))
async def test_nobody_starves(priorities: list[Priority]) -> None:
    """Everybody who waits long enough is served, the more urgent first, and within a class in the order of coming."""
    till = hand_till(policy(12))
    await till.drain()
    served: list[tuple[Priority, int]] = []

    async def come(number: int, priority: Priority) -> None:
        await till.spend(priority, patience=600.0)
        served.append((priority, number))

    tasks = [asyncio.create_task(come(*pair)) for pair in enumerate(priorities)]
    await till.time.advance(200.0)
    assert all(task.done() for task in tasks)
    order = list(Priority)
    for (before, earlier), (after, later) in pairwise(served):
        assert order.index(before) <= order.index(after)
        assert before is not after or earlier < later


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(steps, max_size=15),
    priority=st.sampled_from(list(Priority)),
    cost=st.integers(1, 5),
)
async def test_the_delay_of_a_refusal_is_enough(
    script: list[Step], priority: Priority, cost: int
) -> None:
    """Who was refused and comes back after the delay is admitted at once, when none less urgent took it meanwhile."""
    till = hand_till(policy(12))
    order = list(Priority)
    others = [
        till.waiting(step.priority, step.cost, step.patience)
        for step in script
        if order.index(step.priority) <= order.index(priority)
    ]
    await till.time.turns()
    await till.drain(priority)
    refusal = await till.refusal(priority, cost)
    assert refusal.retry_delay is not None
    await till.time.advance(refusal.retry_delay)
    assert await till.spend(priority, cost) >= int(FLOORS[priority] * 12)
    await till.time.advance(60.0)
    await asyncio.gather(*others, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(takes=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=60))
async def test_memory_and_redis_follow_one_law(takes: list[tuple[int, int]]) -> None:
    """The bucket of a process admits exactly what throttled-py's GCRA, which is used in Redis, admits."""
    now = 1000.0
    bucket = Bucket(16, 16, now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throttled.utils, "now_mono_f", lambda: now)
        gcra = GCRARateLimiter(per_duration(timedelta(seconds=16), 16), MemoryStore())
        for quarters, cost in takes:
            now += quarters / 4
            result = await gcra.limit("bucket", cost)
            wait = bucket.wait(cost, now)
            if not result.limited:
                bucket.take(cost, now)
            assert (wait == 0) is not result.limited
            assert bucket.level(now) == pytest.approx(16 - result.state.reset_after)
