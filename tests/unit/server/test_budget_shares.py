"""How consumers share a budget that runs short. Its time is moved by hand."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickgate_server.errors import BudgetExhausted
from tickgate_server.market.unavailable import Reason

from ...support.budget import HISTORY, HandTill, hand_till, policy

GREEDY, MODEST = ("quant",), ("dashboard",)

WINDOW = 60.0


async def contended() -> HandTill:
    """A budget of two a second of which half is left, and one of two consumers has had its share."""
    till = hand_till(policy(120))
    await till.spend(who=MODEST)
    await till.drain(who=GREEDY)
    await till.time.advance(0.5)
    assert till.left == 60
    return till


async def test_who_is_alone_may_spend_everything() -> None:
    """A consumer whom nobody else needs anything from spends the whole budget."""
    till = hand_till(policy(120))
    assert await till.drain(who=GREEDY) == 120


async def test_below_half_a_share_is_left_to_the_other() -> None:
    """Of two consumers one takes down to half of the budget and no further; the other is served from the rest."""
    till = hand_till(policy(120))
    await till.spend(who=MODEST)
    assert await till.drain(who=GREEDY) == 60
    assert await till.drain(who=MODEST) == 59
    assert till.left == 0


async def test_a_refusal_says_that_others_need_it() -> None:
    """Whoever has had its share is refused at once, with the reason and the delay after which it is served."""
    till = await contended()
    refusal = await till.refusal(who=GREEDY, patience=0.2)
    assert (refusal.reason, refusal.upstream) == (Reason.BUDGET_EXHAUSTED, "alpaca.data")
    assert "others need it" in refusal.message
    assert "dashboard" not in refusal.message
    assert "quant" not in refusal.message
    assert refusal.retry_delay == 0.5
    await till.time.advance(0.5)
    await till.spend(who=GREEDY)


async def test_what_nobody_else_takes_is_had() -> None:
    """While the other is quiet all that comes back goes to who asks: nothing is kept beyond half."""
    till = await contended()
    for _ in range(40):
        await till.time.advance(1.0)
        assert await till.drain(who=GREEDY) == 2


async def test_who_has_not_asked_for_long_is_not_waited_for() -> None:
    """A consumer that has not asked within the window has no share: the other may spend everything again."""
    till = hand_till(policy(120))
    await till.spend(who=MODEST)
    await till.time.advance(WINDOW)
    assert await till.drain(who=GREEDY) == 120


async def test_who_has_had_its_share_waits() -> None:
    """With time, a consumer beyond its share waits until there is more than others need, and goes in its order."""
    till = await contended()
    tasks = [till.waiting(who=GREEDY, patience=1.2) for _ in range(5)]
    await till.time.turns()
    assert ([task.done() for task in tasks], till.counts.waiting) == ([False] * 2 + [True] * 3, 2)
    await till.time.advance(0.5)
    assert [task.done() for task in tasks[:2]] == [True, False]
    await till.time.advance(0.5)
    assert tasks[1].done()
    assert till.counts.waiting == 0
    for task in tasks[2:]:
        with pytest.raises(BudgetExhausted):
            await task


async def test_who_goes_away_lets_the_next_go() -> None:
    """When somebody who was held back goes away, those of the same consumer behind it go as much sooner."""
    till = await contended()
    first, second = (till.waiting(who=GREEDY) for _ in range(2))
    await till.time.advance(0.4)
    first.cancel()
    await till.time.advance(0.35)
    assert second.done()
    assert till.counts.waiting == 0


async def test_the_gateways_own_work_has_no_share() -> None:
    """What the gateway does by itself is bound by its class alone, and takes nobody's share."""
    till = hand_till(policy(120))
    await till.spend(who=GREEDY)
    await till.drain()
    till = hand_till(policy(120))
    assert await till.drain(who=("",)) == 120


async def test_a_shared_call_is_paid_by_whoever_may() -> None:
    """A call for several consumers goes while any of them has not had its share, and the first pays while it may."""
    till = hand_till(policy(120))
    await till.spend(who=MODEST)
    both = (*GREEDY, *MODEST)
    assert await till.drain(who=both) == 119
    till = await contended()
    await till.spend(cost=30, who=both)
    assert await till.drain(who=MODEST) == 29


async def test_who_joins_a_call_that_waits_sets_it_going() -> None:
    """A call that is held back goes within a moment when somebody joins who has not had its share."""
    till = await contended()
    await till.spend(cost=30, who=MODEST)
    party = dict.fromkeys(GREEDY)
    waiting = till.waiting(who=party)
    await till.time.advance(1.0)
    assert not waiting.done()
    party["dashboard"] = None
    await till.time.advance(0.25)
    assert waiting.done()


async def test_a_dear_request_is_not_refused_for_ever() -> None:
    """A consumer that has taken nothing may take one thing, even where it is more than an equal share."""
    till = hand_till(policy(10))
    for name in range(6):
        await till.spend(who=(f"service-{name}",))
    await till.spend(cost=4, who=("dear",))


async def test_a_refused_request_was_not_had() -> None:
    """What was refused for lack of budget, or given up, does not count as a part of the share."""
    till = await contended()
    for _ in range(200):
        await till.refusal(HISTORY, cost=50, who=MODEST)
    assert await till.drain(who=MODEST) == 59


async def test_consumers_take_turns_in_line() -> None:
    """In line, one request of each consumer goes at a time, however many another has waiting before it."""
    till = hand_till(policy(60))
    await till.drain()
    served: list[str] = []

    async def come(name: str, number: int) -> None:
        await till.spend(patience=30.0, who=(name,))
        served.append(f"{name}{number}")

    tasks = [asyncio.create_task(come("a", number)) for number in range(3)]
    await till.time.turns()
    tasks += [asyncio.create_task(come(name, number)) for name in "bc" for number in range(2)]
    await till.time.advance(10.0)
    assert served == ["a0", "b0", "c0", "a1", "b1", "c1", "a2"]
    await asyncio.gather(*tasks)


# ------------------------------------------------------------------------------------------ laws


class Step(NamedTuple):
    """What somebody does."""

    pause: float
    modest: int
    """Requests, one by one, by who keeps within its share."""

    greedy: int
    """Requests by who wants all that there is."""

    patience: float
    """Seconds that the greedy one waits."""


STEPS = st.lists(
    st.builds(
        Step,
        st.floats(0, 20),
        st.integers(0, 25),
        st.integers(0, 60),
        st.sampled_from([0.0, 0.0, 2.0, 9.0]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, per_minute=st.sampled_from([2, 7, 20, 40]))
async def test_the_modest_one_is_always_served(steps: list[Step], per_minute: int) -> None:
    """Whatever another takes, a consumer within its share is served at once, and nobody exceeds the budget."""
    till = hand_till(policy(per_minute))
    clock = till.clock
    had: deque[float] = deque()
    admitted: list[float] = []
    tasks: set[asyncio.Task[None]] = set()
    asked = await _modest(till, had, admitted)

    async def grab(patience: float) -> None:
        try:
            await till.spend(patience=patience, who=GREEDY)
        except BudgetExhausted:
            return
        admitted.append(clock.monotonic())

    for step in steps:
        await till.time.advance(step.pause)
        for _ in range(step.greedy):
            tasks.add(asyncio.create_task(grab(step.patience)))
        await till.time.turns()
        for _ in range(step.modest):
            while had and had[0] <= clock.monotonic() - WINDOW:
                had.popleft()
            protected = clock.monotonic() - asked < WINDOW
            if len(had) + 1 > per_minute / 2 or not protected:
                break
            asked = await _modest(till, had, admitted)
    await till.time.advance(10.0)
    assert all(task.done() for task in tasks)
    for first, since in enumerate(admitted):
        for count, at in enumerate(admitted[first:], 1):
            assert count <= per_minute + (at - since) * per_minute / 60 + 1e-3


async def _modest(till: HandTill, had: deque[float], admitted: list[float]) -> float:
    await till.spend(who=MODEST)
    now = till.clock.monotonic()
    had.append(now)
    admitted.append(now)
    return now
