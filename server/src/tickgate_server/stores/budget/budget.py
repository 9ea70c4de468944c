"""The budget of upstream requests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

import structlog
from msgspec import Struct

from ...errors import BudgetExhausted
from ...observe.counters import Counters
from ...ports import Clock, Priority, Upstream
from ..redis.link import RedisDown
from .line import Waiter
from .purse import Purse, Window
from .shared import SharedBuckets, Size
from .shares import Claim, Held

Pause: TypeAlias = Callable[[asyncio.Event, float], Awaitable[None]]
"""Waits until the event is set, at most for so many seconds."""

_MINUTE: Final = 60
_DAY: Final = 24 * 3600

_LONGEST_HOLD: Final = float(_MINUTE)
"""Seconds for which nothing is sent at the upstream's wish, at most: a limit of so many a minute is over by then."""

_CLOCKS_DIFFER: Final = 0.1
"""Seconds by which Redis's clock and ours may drift apart within a window."""

_LOOK_AGAIN: Final = 0.25
"""Seconds for which somebody who has had his share sleeps at most before it is looked who else wants the same."""

_RANKS: Final = {priority: rank for rank, priority in enumerate(Priority)}

_log = structlog.get_logger(__name__)


class Allowance(Struct, frozen=True):
    """What an upstream admits."""

    per_minute: int
    """Requests."""

    per_day: int = 0
    """Requests that the gateways may use of a day; 0 sets no such limit."""


class BudgetPolicy(Struct, frozen=True):
    """How the gateways of one account divide what the upstreams admit."""

    allowances: Mapping[Upstream, Allowance]
    share: float
    """Part of the allowance of a minute that they use together."""

    replicas: int
    """How many they are: without Redis, each takes its part."""

    floors: Mapping[Priority, float]
    """Part of the budget that each class must leave for the more urgent ones."""


async def pause(woken: asyncio.Event, seconds: float) -> None:
    """Wait until *woken* is set, at most for *seconds*."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await woken.wait()


class AccountBudget:
    """The `Budget` port for one account: in Redis together with its other gateways, or alone with a part of it.

    This process keeps its own count of every bucket. While Redis is there, that count says when to wait and whether
    Redis still knows what was spent; when Redis is gone, it is what is spent from.
    """

    def __init__(
        self,
        policy: BudgetPolicy,
        counters: Counters,
        clock: Clock,
        buckets: SharedBuckets | None = None,
        pause: Pause = pause,
    ) -> None:
        """Start full, and report into *counters*.

        Args:
            policy: what there is to spend.
            counters: get the state of each upstream's budget.
            clock: only its monotonic clock is read.
            buckets: what replicas share; None divides by their number from the start.
            pause: waits for the next request to come back.
        """
        self._policy = policy
        self._clock = clock
        self._buckets = buckets
        self._pause = pause
        self._purses = {upstream: self._purse(upstream) for upstream in policy.allowances}
        self._told: set[tuple[Upstream, int]] = set()
        for upstream, purse in self._purses.items():
            counters.budgets[upstream.value] = purse.counts

    def _purse(self, upstream: Upstream) -> Purse:
        allowance, now = self._policy.allowances[upstream], self._clock.monotonic()
        limits = [("minute", _MINUTE, self._part(allowance.per_minute))]
        if allowance.per_day:
            limits.append(("day", _DAY, allowance.per_day))
        windows = [
            Window(
                f"{upstream.value}:{name}",
                seconds,
                limit,
                replicas=self._policy.replicas,
                floors=[self._policy.floors[priority] for priority in Priority],
                now=now,
            )
            for name, seconds, limit in limits
        ]
        purse = Purse(upstream, windows, now, shared=self._buckets is not None)
        purse.counts.upstream_limit = allowance.per_minute
        return purse

    def _part(self, limit: int) -> int:
        # Rounded first, for 0.95 of 20 must not become 18; and a budget of nothing would be an upstream switched off.
        return max(1, int(round(limit * self._policy.share, 6)))

    def remaining(self, upstream: Upstream) -> int:
        """Return how many requests would be admitted now, as far as this process knows; 0 in a pause."""
        return self._purses[upstream].remaining(self._clock.monotonic())

    def telling(self, upstream: Upstream) -> Callable[[], int]:
        """Return what tells `remaining` of *upstream*, for whoever asks with every call."""
        purse, now = self._purses[upstream], self._clock.monotonic
        return lambda: purse.remaining(now())

    async def spend(
        self,
        upstream: Upstream,
        priority: Priority,
        cost: int,
        deadline: float,
        consumers: Collection[str] = (),
    ) -> int:
        """Take *cost* requests out of the budget, waiting in line where they come before *deadline*.

        A caller that goes away while it waits has spent nothing.

        Returns:
            What remains.

        Raises:
            BudgetExhausted: they would come too late.
        """
        purse = self._purses[upstream]
        with purse.counts.waits.timing():
            claim = await self._claim(purse, cost, deadline, consumers)
            if claim is None:
                return await self._spend(purse, priority, cost, deadline, "")
            try:
                return await self._spend(purse, priority, cost, deadline, claim.name)
            except BaseException:
                purse.shares.give_up(claim)
                raise

    async def _claim(
        self, purse: Purse, cost: int, deadline: float, consumers: Collection[str]
    ) -> Claim | None:
        """Return what one of *consumers* may take, as soon as that leaves the others their share.

        None is for what the gateway does by itself.

        Raises:
            BudgetExhausted: that would be too late.
        """
        if not consumers:
            return None
        shares, first = purse.shares, next(iter(consumers))
        held: Held | None = None
        try:
            # More may join who want the same: "" is one of them, whom nothing holds back.
            while "" not in consumers:
                now = self._clock.monotonic()
                shares.ask(consumers, now)
                behind = shares.ahead(first, held)
                payer, wait = purse.payer(tuple(consumers), cost, behind, now)
                if not wait:
                    return shares.claim(payer, cost, now)
                if now + wait > deadline:
                    raise _shared_out(purse, cost, wait)
                if held is None:
                    held = shares.hold(first, cost)
                    purse.counts.waiting += 1
                # Nobody tells whoever sleeps here that somebody has joined who has not had his share, or that somebody
                # before him has gone.
                await self._pause(asyncio.Event(), min(wait, _LOOK_AGAIN))
        finally:
            if held is not None:
                purse.counts.waiting -= 1
                shares.release(first, held)
        return None

    async def _spend(
        self, purse: Purse, priority: Priority, cost: int, deadline: float, consumer: str
    ) -> int:
        if not purse.shared and not purse.returning and self._buckets and self._buckets.up:
            await self._return(purse, self._buckets)
        now, rank, number = self._clock.monotonic(), _RANKS[priority], next(purse.line.numbers)
        if purse.goes_straight(rank) and purse.wait(rank, cost + purse.asked, now) == 0:
            remaining = await self._take(purse, rank, cost)
            if remaining is not None:
                purse.look_ahead(self._clock.monotonic())
                return remaining
        elif now + purse.wait_in_line(rank, cost, now, consumer) > deadline or not purse.holds(
            rank, cost
        ):
            wait = purse.wait_in_line(rank, cost + purse.asked, now, consumer)
            raise _exhausted(purse, rank, cost, wait)
        # Who has asked in vain what is shared has kept its place before those who came meanwhile.
        return await self._wait_in_line(purse, Waiter(number, rank, cost, deadline, consumer))

    async def _wait_in_line(self, purse: Purse, waiter: Waiter) -> int:
        purse.line.join(waiter)
        purse.counts.waiting += 1
        purse.look_ahead(self._clock.monotonic())
        try:
            while True:
                await self._turn(purse, waiter)
                remaining = await self._take(purse, waiter.rank, waiter.cost)
                if remaining is not None:
                    return remaining
                # Others were quicker at what is shared: all who wait here go later than they thought.
                purse.look_ahead(self._clock.monotonic())
        finally:
            purse.counts.waiting -= 1
            purse.line.leave(waiter)

    async def _turn(self, purse: Purse, waiter: Waiter) -> None:
        """Return when *waiter* is the first and its requests are there.

        Raises:
            BudgetExhausted: that would be after its deadline.
        """
        while waiter.late is None:
            now = self._clock.monotonic()
            patience = waiter.deadline - now
            is_first = purse.line.first is waiter
            wait = purse.wait(waiter.rank, waiter.cost, now)
            # Those that are on their way to what is shared may find less than is left here.
            longest = purse.wait(waiter.rank, waiter.cost + purse.asked, now)
            if is_first and longest == 0 and patience >= 0:
                return
            if wait > patience or patience <= 0:
                waiter.late = longest
            else:
                waiter.woken.clear()
                await self._pause(waiter.woken, wait if is_first and wait > 0 else patience)
        raise _exhausted(purse, waiter.rank, waiter.cost, waiter.late)

    async def _take(self, purse: Purse, rank: int, cost: int) -> int | None:
        """Return what remains after *cost* requests were taken, or None when they are not there after all."""
        if purse.shared and self._buckets is not None:
            try:
                taken = await self._take_shared(purse, self._buckets, rank, cost)
            except RedisDown:
                # Of all that were under way when it went down, the first has noticed already.
                if purse.shared:
                    purse.part(self._clock.monotonic())
            else:
                return self._spent(purse, cost) if taken else None
        now = self._clock.monotonic()
        if purse.wait(rank, cost, now) > 0:
            return None
        purse.take_alone(cost, now)
        return self._spent(purse, cost)

    async def _take_shared(
        self, purse: Purse, buckets: SharedBuckets, rank: int, cost: int
    ) -> bool:
        purse.asked += cost
        try:
            # The shortest window first: what is taken there in vain, because a longer one is spent, is soon back.
            for window in purse.windows:
                if not await self._take_from(purse, window, buckets, rank, cost):
                    return False
        finally:
            purse.asked -= cost
            purse.line.wake_first()
        return True

    async def _take_from(
        self, purse: Purse, window: Window, buckets: SharedBuckets, rank: int, cost: int
    ) -> bool:
        """Return whether *cost* requests were there, and believe what Redis says of the rest unless it cannot be true.

        Others spend as well, so there may be less than this process believes, but never more: then Redis was restarted
        empty, or its clock was set forward. A level far below zero means that its clock was set back, and that it would
        admit nothing before it has caught up.
        """
        asked_at = self._clock.monotonic()
        believed = window.shared.level(asked_at)
        look = await buckets.take(window.name, _size(window), window.floors[rank], cost)
        now = self._clock.monotonic()
        most = min(window.limit, believed + (now - asked_at) * window.shared.rate)
        taken, slack = look.taken, 1 + window.shared.rate * _CLOCKS_DIFFER
        if not -slack <= look.level <= most - cost * taken + slack:
            # What others of this process are taking meanwhile may have come out of requests that do not exist.
            left = window.shared.level(now) - purse.asked
            _log.warning("budget_forgotten", bucket=window.name, level=look.level, left=left)
            if look.level < -slack:
                await buckets.forget(window.name)
            look = await buckets.lower(window.name, _size(window), left)
        window.shared.cap(look.level, asked_at, self._clock.monotonic())
        return taken

    async def _return(self, purse: Purse, buckets: SharedBuckets) -> None:
        """Spend together with the others again, once they know what was spent alone; stay alone if Redis goes again."""
        purse.returning = True
        try:
            for window in purse.windows:
                await self._settle(window, buckets)
            # Meanwhile others of this process have gone on spending alone.
            while unsettled := [window for window in purse.windows if window.spent_alone]:
                for window in unsettled:
                    await self._settle(window, buckets)
            purse.unite(self._clock.monotonic())
        except RedisDown:
            return
        finally:
            purse.returning = False

    async def _settle(self, window: Window, buckets: SharedBuckets) -> None:
        """Take out of the shared bucket what was spent alone and has not come back since."""
        spent, window.spent_alone = window.spent_alone, 0.0
        try:
            there = await buckets.level(window.name, _size(window))
            own = window.own.level(self._clock.monotonic())
            level = there - min(spent, window.own.limit - own)
            if there >= window.limit:
                # Full, or restarted empty: only what is in this process's own part is surely there.
                level = min(level, own)
            level = (await buckets.lower(window.name, _size(window), level)).level
        except BaseException:
            # Whether it arrived is not known. Counted twice it does no harm, and not at all it would.
            window.spent_alone += spent
            raise
        window.shared.set(level, self._clock.monotonic())

    def _spent(self, purse: Purse, cost: int) -> int:
        purse.counts.spent += cost
        return purse.remaining(self._clock.monotonic())

    async def correct(self, upstream: Upstream, remaining: int, hold: float = 0.0) -> None:
        """Lower the budget of a minute to *remaining*, and send nothing for *hold* seconds, a minute at most."""
        purse, now = self._purses[upstream], self._clock.monotonic()
        if hold > 0:
            purse.held_until = max(purse.held_until, now + min(hold, _LONGEST_HOLD))
        window = purse.windows[0]
        level = remaining if purse.shared else remaining / window.replicas
        if window.bucket.level(now) > level and await self._lower(purse, window, level):
            purse.counts.corrections += 1
        purse.look_ahead(self._clock.monotonic())

    async def _lower(self, purse: Purse, window: Window, level: float) -> bool:
        """Return whether there was more than *level*: others may have taken it already."""
        now = self._clock.monotonic()
        if not purse.shared or self._buckets is None:
            window.take_alone(window.own.level(now) - level, now)
            return True
        # At once here, so that of many answers that say the same only the first asks Redis.
        window.shared.set(level, now)
        try:
            look = await self._buckets.lower(window.name, _size(window), level)
        except RedisDown:
            if purse.shared:
                purse.part(self._clock.monotonic())
            return True
        window.shared.set(look.level, self._clock.monotonic())
        return look.taken

    def learn(self, upstream: Upstream, limit: int) -> None:
        """Keep within *limit*, the requests a minute that the upstream says it admits.

        The settings are not exceeded: an upstream that admits more is only told of, once.
        """
        purse, now = self._purses[upstream], self._clock.monotonic()
        purse.counts.upstream_limit, purse.counts.confirmed = limit, True
        window = purse.windows[0]
        admitted = self._part(limit)
        if admitted > window.configured and (upstream, limit) not in self._told:
            self._told.add((upstream, limit))
            _log.info("budget_below_limit", upstream=upstream.value, limit=limit)
        within = min(admitted, window.configured)
        if within == window.limit:
            return
        _log.warning("budget_resized", upstream=upstream.value, limit=limit, budget=within)
        window.resize(within, now)
        purse.count_anew()
        purse.look_ahead(now)
        purse.line.wake_first()


def _size(window: Window) -> Size:
    return Size(window.limit, window.seconds)


def _shared_out(purse: Purse, cost: int, wait: float) -> BudgetExhausted:
    purse.counts.refused += cost
    name, delay = purse.upstream.value, _told(wait)
    return BudgetExhausted(
        f"less than half of the budget of requests to {name} is left, and others need it: whoever asks here has had"
        f" an equal share; the next would go in {delay:.3f} s",
        retry_delay=delay,
        upstream=name,
    )


def _told(wait: float) -> float:
    # Rounded up: whoever comes back after it must not come too early by a rounding.
    return math.ceil(wait * 1000) / 1000


def _exhausted(purse: Purse, rank: int, cost: int, wait: float) -> BudgetExhausted:
    purse.counts.refused += cost
    name = purse.upstream.value
    if not purse.holds(rank, cost):
        return BudgetExhausted(
            f"{cost} requests to {name} at once are more than its budget ever holds", upstream=name
        )
    delay = _told(wait)
    return BudgetExhausted(
        f"the budget of requests to {name} is spent; the next would go in {delay:.3f} s",
        retry_delay=delay,
        upstream=name,
    )
