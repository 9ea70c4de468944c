"""What the account may read, learned from what the upstream answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from msgspec import Struct

from ..errors import NotEntitled
from ..market.entitlement import Entitlement, Standing
from ..market.provenance import Feed
from ..market.time import NANOS, format_rfc3339
from ..ports import Clock, Group, Reply, Request, Requests
from .flights import Flights

_log = structlog.get_logger(__name__)

_FEEDS: Final = {feed.value: feed for feed in Feed}
"""Feeds by the name that requests give them."""

_TEACHING: Final = frozenset({Group.LATEST, Group.OPTIONS})
"""Groups of endpoints that need the right to read a feed as it is now."""

_KEEP: Final = 3600.0
"""Seconds after which what was learned may have changed: plans are bought and given up."""

_ASK_AGAIN: Final = 5.0
"""Seconds for which a feed is not asked again when the answer told nothing, however many want to know."""


class Entitlements:
    """What is known of each feed.

    It is learned from requests for latest values alone, which need the right to read a feed as it is now. History is
    another matter: a plan may allow all of a feed but its last quarter of an hour.
    """

    def __init__(self, clock: Clock, keep_denied: float) -> None:
        """Know nothing yet; a denied feed is refused for *keep_denied* seconds without asking again."""
        self._clock = clock
        self._keep_denied = keep_denied
        self._lessons: dict[Feed, _Lesson] = {}

    def of(self, feed: Feed) -> Entitlement:
        """Return what is known of *feed*."""
        lesson = self._lessons.get(feed)
        return Entitlement(feed) if lesson is None else lesson.entitlement

    def is_old(self, feed: Feed) -> bool:
        """Return whether nothing is known of *feed*, or only what was learned long ago."""
        lesson = self._lessons.get(feed)
        return lesson is None or self._clock.monotonic() - lesson.at > _KEEP

    def refusal(self, feed: Feed) -> NotEntitled | None:
        """Return what a question on *feed* would meet, or None where it should be asked. Never waits."""
        lesson = self._lessons.get(feed)
        if lesson is None or not lesson.refusal:
            return None
        if self._clock.monotonic() - lesson.at >= self._keep_denied:
            return None
        return NotEntitled(lesson.refusal, said=lesson.entitlement.said, about_feed=True)

    def grant(self, feed: Feed) -> None:
        """Note that the upstream has answered on *feed*."""
        self._learn(Entitlement(feed, Standing.GRANTED, self._clock.wall()))

    def deny(self, feed: Feed, said: str) -> None:
        """Note that the upstream has refused *feed*, and what it *said*."""
        now = self._clock.wall()
        again = now + round(self._keep_denied * NANOS)
        refusal = (
            f"the account may not read feed {feed.value}: {said}{_way_out(feed)}"
            f" (refused at {_to_the_second(now)}, asked again from {_to_the_second(again)})"
        )
        self._learn(Entitlement(feed, Standing.DENIED, now, said), refusal)

    def _learn(self, learned: Entitlement, refusal: str = "") -> None:
        if learned.standing is not self.of(learned.feed).standing:
            _log.info(
                "entitlement_learned",
                feed=learned.feed.value,
                standing=learned.standing.name,
                said=learned.said,
            )
        self._lessons[learned.feed] = _Lesson(learned, self._clock.monotonic(), refusal)


class EntitledRequests:
    """The wrapped `Requests`, from whose outcomes `Entitlements` are learned."""

    def __init__(self, requests: Requests, entitlements: Entitlements) -> None:
        """Wrap *requests*; teach *entitlements*."""
        self._requests = requests
        self._entitlements = entitlements

    async def send(self, request: Request) -> Reply:
        """Send *request*, and learn what its outcome tells of the feed that it names.

        Only an answer proves that a feed may be read: what else goes wrong may go wrong before anybody looks at the
        subscription.
        """
        feed = _FEEDS.get(request.params.get("feed", ""))
        if feed is None or request.group not in _TEACHING:
            return await self._requests.send(request)
        try:
            reply = await self._requests.send(request)
        except NotEntitled as failure:
            if not failure.about_feed:
                raise
            self._entitlements.deny(feed, failure.said)
            message = f"{failure.message}{_way_out(feed)}"
            raise NotEntitled(message, said=failure.said, about_feed=True) from failure
        self._entitlements.grant(feed)
        return reply


class AskedEntitlements:
    """What is known of each feed; what is not known yet, or no longer, is asked."""

    def __init__(
        self,
        known: Entitlements,
        ask: Callable[[Feed, float], Awaitable[Any]],
        clock: Clock,
        cap: float,
    ) -> None:
        """Fill the gaps in *known*.

        Args:
            known: what has been learned so far.
            ask: asks something cheap on a feed before a deadline, over requests that teach *known*, and never raises
                for lack of an answer.
            clock: measures the time.
            cap: seconds that asking may take at most.
        """
        self._known = known
        self._ask_on = ask
        self._clock = clock
        self._asked_at: dict[Feed, float] = {}
        self._flights: Flights[Feed, None] = Flights(cap, clock.monotonic)

    async def entitlements(self, deadline: float) -> Sequence[Entitlement]:
        """Return one entry for each feed, asking once for all who want to know at the same time."""
        gaps = [feed for feed in _FEEDS.values() if self._is_worth_asking(feed)]
        if gaps:
            # A feed that could not be asked in time stays as it was.
            await self._flights.join(gaps, self._ask, deadline)
        return [self._known.of(feed) for feed in _FEEDS.values()]

    def _is_worth_asking(self, feed: Feed) -> bool:
        since_asked = self._clock.monotonic() - self._asked_at.get(feed, -math.inf)
        return self._known.is_old(feed) and since_asked >= _ASK_AGAIN

    async def _ask(self, feeds: list[Feed], deadline: float) -> dict[Feed, None]:
        await asyncio.gather(*(self._ask_one(feed, deadline) for feed in feeds))
        return dict.fromkeys(feeds)

    async def _ask_one(self, feed: Feed, deadline: float) -> None:
        # The answer itself is of no interest: its request has taught what is to be known.
        await self._ask_on(feed, deadline)
        self._asked_at[feed] = self._clock.monotonic()


class _Lesson(Struct, frozen=True, gc=False):
    entitlement: Entitlement
    at: float
    """When it was learned, seconds of the monotonic clock."""

    refusal: str
    """What callers are told while a denied feed is not asked; empty for a granted one."""


def _way_out(feed: Feed) -> str:
    """Return what to do about a feed that is denied, where another one is open to every account."""
    return "; feed indicative is open to every account" if feed is Feed.OPRA else ""


def _to_the_second(instant: int) -> str:
    return format_rfc3339(instant // NANOS * NANOS)
