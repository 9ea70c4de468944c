"""The tier that replicas share, as one gateway asks it, and as it stands behind memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tickgate_server.guards.cached import CachedLatest, Tiers
from tickgate_server.guards.freshness import FreshnessPolicy
from tickgate_server.guards.memory import MemoryTier
from tickgate_server.guards.shared import SharedTier
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, TierOutcome, Unavailable
from tickgate_server.observe.counters import TierCounts

from ...support.fakes import FakeLatest, HandClock, question, quote, settle, unavailable
from ...support.hot_cache import FakeHotCache

BELIEVE = 0.25
POLICY = FreshnessPolicy(30 * NANOS, 300 * NANOS, 5.0, 20.0, 10.0, 900.0)


class Replica:
    """One gateway's memory and view of the shared cache, in front of an upstream that holds AAPL and IBM."""

    def __init__(self, clock: HandClock, cache: FakeHotCache[Quote]) -> None:
        self.clock = clock
        self.source = FakeLatest(clock, {"AAPL": quote("AAPL"), "IBM": quote("IBM")})
        self.counts = TierCounts()
        self.memory = MemoryTier[Quote](100)
        self.shared = SharedTier(cache, self.counts, clock, believe=BELIEVE, capacity=100)
        self.latest = CachedLatest(
            self.source,
            Tiers({}, self.memory, TierCounts(), self.shared),
            POLICY,
            clock,
            lambda: MarketSession.OPEN,
        )

    async def ask(self, symbol: str = "AAPL", **asked: Any) -> Answer[Quote] | Unavailable:
        """Ask about one symbol, with ten seconds to wait."""
        asked = {"deadline": self.clock.monotonic() + 10} | asked
        return (await self.latest.latest(question(symbol, **asked)))[symbol]

    def confirm(self, *symbols: str) -> None:
        """Let the upstream's quotes of *symbols* be confirmed now."""
        now = self.clock.wall()
        for symbol in symbols:
            self.source.values[symbol] = quote(symbol, at=now, received=now)


class Pair:
    """Two replicas that share one cache."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.cache = FakeHotCache[Quote](self.clock, lambda: 1000.0)
        self.one, self.two = (Replica(self.clock, self.cache) for _ in range(2))


def passed(why: Answer[Quote] | Unavailable) -> dict[Tier, TierOutcome]:
    """What each tier answered to somebody who got nothing."""
    assert isinstance(why, Unavailable)
    return {tried.tier: tried.outcome for tried in why.tiers}


async def test_what_one_replica_asked_answers_the_other() -> None:
    """A value that one replica received is a hit in Redis for the other, and from then on in its memory."""
    pair = Pair()
    first = await pair.one.ask()
    second, third = await pair.two.ask(), await pair.two.ask()
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert isinstance(third, Answer)
    tiers = [answer.served_from for answer in (first, second, third)]
    assert tiers == [Tier.UPSTREAM, Tier.REDIS, Tier.MEMORY]
    assert (second.value, second.held.confirmed_at) == (first.value, first.held.confirmed_at)
    assert pair.two.source.asked == []
    assert (pair.two.counts.hits, pair.two.counts.misses) == (1, 0)


async def test_a_batch_asks_each_tier_once() -> None:
    """Of a batch Redis is asked once for what memory lacks, and the upstream once for what Redis lacks."""
    pair = Pair()
    await pair.one.ask("AAPL")
    await pair.two.ask("IBM")
    pair.cache.asked.clear()
    deadline = pair.clock.monotonic() + 10
    answers = await pair.two.latest.latest(question("ZZZZ", "AAPL", "IBM", deadline=deadline))
    assert set(answers) == {"IBM", "AAPL", "ZZZZ"}
    assert pair.cache.asked == [((Feed.IEX, "ZZZZ"), (Feed.IEX, "AAPL"))]
    assert pair.two.source.symbols_asked[-1] == ("ZZZZ",)


async def test_simultaneous_askers_cost_one_look() -> None:
    """Many who ask for the same at the same time cost one round trip to Redis."""
    pair = Pair()
    await pair.one.ask()
    pair.cache.asked.clear()
    pair.cache.open.clear()
    askers = [asyncio.create_task(pair.two.ask()) for _ in range(50)]
    await settle(lambda: len(pair.cache.asked) == 1)
    pair.cache.open.set()
    answers = await asyncio.gather(*askers)
    assert {answer.served_from for answer in answers if isinstance(answer, Answer)} == {Tier.REDIS}
    assert len(pair.cache.asked) == 1


async def test_who_wants_it_from_the_upstream_costs_no_look() -> None:
    """A max_age of zero passes Redis by, unless a stale value would do."""
    pair = Pair()
    await pair.one.ask()
    pair.cache.asked.clear()
    answer = await pair.two.ask(max_age=0)
    assert isinstance(answer, Answer)
    assert (answer.served_from, pair.cache.asked) == (Tier.UPSTREAM, [])
    pair.clock.advance(1)
    pair.two.source.outage = unavailable(Reason.UPSTREAM_ERROR)
    stale = await pair.two.ask("IBM", max_age=0, allow_stale=True)
    assert passed(stale)[Tier.REDIS] is TierOutcome.EMPTY


async def test_redis_bridges_an_outage() -> None:
    """A gateway that starts during an outage answers from Redis: with what is fresh enough, and stale where allowed."""
    pair = Pair()
    pair.one.confirm("AAPL")
    await pair.one.ask()
    pair.two.source.outage = unavailable(Reason.UPSTREAM_TIMEOUT)
    pair.clock.advance(29)
    fresh = await pair.two.ask()
    assert isinstance(fresh, Answer)
    assert (fresh.served_from, fresh.stale) == (Tier.REDIS, False)
    pair.clock.advance(1)
    refused = await pair.two.ask(allowed_tiers=frozenset({Tier.REDIS, Tier.UPSTREAM}))
    assert passed(refused)[Tier.REDIS] is TierOutcome.TOO_OLD
    assert isinstance(refused, Unavailable)
    assert "confirmed 30.000 s ago" in refused.message
    stale = await pair.two.ask(allow_stale=True)
    assert isinstance(stale, Answer)
    assert stale.stale


async def test_redis_that_is_away_is_nobodys_problem() -> None:
    """Down or without an answer it is passed over and named as failed; the upstream answers."""
    pair = Pair()
    pair.cache.down = True
    answer = await pair.two.ask()
    assert isinstance(answer, Answer)
    assert answer.served_from is Tier.UPSTREAM
    why = await pair.two.ask("ZZZZ")
    assert passed(why)[Tier.REDIS] is TierOutcome.FAILED


async def test_a_tier_known_to_be_down_is_not_asked() -> None:
    """While the link says that Redis is down no call begins a look."""
    pair = Pair()
    pair.two.counts.state = "down"
    assert passed(await pair.two.ask("ZZZZ"))[Tier.REDIS] is TierOutcome.FAILED
    assert pair.cache.asked == []


async def test_a_hung_redis_leaves_time_for_the_upstream() -> None:
    """A Redis that does not answer takes half of a caller's time at most; the upstream answers in the other half."""
    pair = Pair()
    pair.cache.open.clear()
    deadline = pair.clock.monotonic() + 0.02
    answer = await pair.two.ask("AAPL", deadline=deadline)
    assert isinstance(answer, Answer)
    assert answer.served_from is Tier.UPSTREAM
    assert passed(await pair.two.ask("ZZZZ", deadline=deadline))[Tier.REDIS] is TierOutcome.FAILED
    pair.cache.open.set()


async def test_what_was_just_written_is_not_believed_to_be_missing() -> None:
    """Who finds nothing in Redis and then writes it is told of it when Redis alone is asked."""
    pair = Pair()
    await pair.one.ask()
    answer = await pair.one.ask(allowed_tiers=frozenset({Tier.REDIS}))
    assert isinstance(answer, Answer)
    assert answer.served_from is Tier.REDIS


async def test_what_redis_lacked_is_believed_for_a_moment() -> None:
    """While the upstream is away, questions about what Redis lacks do not cost a round trip each."""
    pair = Pair()
    pair.one.source.outage = unavailable(Reason.CIRCUIT_OPEN)
    for _ in range(10):
        await pair.one.ask()
    assert len(pair.cache.asked) == 1
    pair.clock.advance(BELIEVE)
    pair.two.confirm("AAPL")
    await pair.two.ask()
    answer = await pair.one.ask()
    assert isinstance(answer, Answer)
    assert answer.served_from is Tier.REDIS


@pytest.mark.parametrize("reason", [Reason.INVALID_DATA, Reason.NO_DATA, Reason.SYMBOL_UNKNOWN])
async def test_what_is_superseded_does_not_come_back(reason: Reason) -> None:
    """After the upstream has said that there is no value, the one in Redis from before is never served."""
    pair = Pair()
    await pair.one.ask()
    pair.one.source.reasons["AAPL"] = unavailable(reason)
    pair.clock.advance(1)
    await pair.one.ask(max_age=0)
    pair.one.source.reasons["AAPL"] = unavailable(Reason.UPSTREAM_ERROR)
    why = await pair.one.ask(allow_stale=True, max_age=0)
    assert isinstance(why, Unavailable)
    assert why.reason is Reason.UPSTREAM_ERROR


async def test_forgetting_reaches_redis() -> None:
    """What is forgotten is gone for all replicas, also what was just seen; a tier that is away says so."""
    pair = Pair()
    await pair.one.ask()
    assert await pair.one.shared.forget(None, {"AAPL"}) == 1
    pair.two.source.outage = unavailable(Reason.UPSTREAM_ERROR)
    assert passed(await pair.two.ask())[Tier.REDIS] is TierOutcome.EMPTY
    pair.cache.down = True
    assert await pair.one.shared.forget(None, None) is None


async def test_a_shared_answer_is_written_once() -> None:
    """Of many answers that were confirmed at the same moment the first is written for the other replicas."""
    pair = Pair()
    pair.one.source.open.clear()
    askers = [asyncio.create_task(pair.one.ask()) for _ in range(5)]
    await settle(lambda: len(pair.one.source.asked) == 5)
    pair.one.source.open.set()
    await asyncio.gather(*askers)
    assert pair.cache.written == [((Feed.IEX, "AAPL"),)]
