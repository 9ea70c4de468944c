"""Shared chains: who reads, what is read again, what leaves, and that nothing is older than asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickgate_server.errors import (
    CircuitOpen,
    NotEntitled,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamTimeout,
)
from tickgate_server.guards.chains import ChainPolicy, SharedChains
from tickgate_server.market.answer import Held
from tickgate_server.market.chain import Chain
from tickgate_server.market.option import ContractScope, OptionQuote
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.observe.counters import ChainCounts
from tickgate_server.ports import ChainQuestion

from ...support.fakes import NOW, HandClock, settle
from ...support.options import (
    AssetsToCome,
    FakeListings,
    FakePages,
    contract,
    known_expiries,
    late_assets,
    new_york,
    quoted,
    symbol_of,
)

MINUTE = 60 * NANOS
MAX_AGE, LOAD_EVERY, CAP, KEEP_UNKNOWN = 15.0, 300.0, 30.0, 60.0
DOWN = UpstreamBroken("answered 500")
LONG_AGO = NOW - 3600 * NANOS
FIRST, SECOND, THIRD = (symbol_of(strike) for strike in ("240", "250", "260"))
EVER = 3600 * NANOS
"""A bound on age that nothing here reaches."""


class Setup:
    """Chains in front of pages that hold three contracts of AAPL, all of which moved an hour ago."""

    def __init__(self, capacity: int = 1000, at: int = NOW) -> None:
        self.clock = HandClock(at)
        self.pages = FakePages(self.clock)
        self.pages.hold(*(quoted(symbol, at=LONG_AGO) for symbol in (FIRST, SECOND, THIRD)))
        self.listings = FakeListings()
        self.assets = AssetsToCome()
        self.counts = ChainCounts()
        self.failures: dict[Feed, UpstreamFailure] = {}
        """How questions on a feed would fail, as far as that is known before they are asked."""

        policy = ChainPolicy(
            max_age=MAX_AGE,
            load_every=LOAD_EVERY,
            cap=CAP,
            keep_unknown=KEEP_UNKNOWN,
            capacity=capacity,
        )
        expiries = known_expiries(self.clock, assets=self.assets)
        self.chains = SharedChains(
            self.pages, self.listings, expiries, self.failures.get, policy, self.clock, self.counts
        )

    async def ask(
        self,
        underlying: str = "AAPL",
        *,
        max_age: int | None = None,
        feed: Feed = Feed.INDICATIVE,
        patience: float = 10.0,
    ) -> tuple[Chain, Tier] | Unavailable:
        """Ask for a chain."""
        deadline = self.clock.monotonic() + patience
        return await self.chains.chain(ChainQuestion(underlying, feed, max_age, deadline))

    async def chain(self, underlying: str = "AAPL", **asked: Any) -> Chain:
        """Ask for a chain and get it."""
        found = await self.ask(underlying, **asked)
        assert not isinstance(found, Unavailable), found
        return found[0]

    async def tier(self, **asked: Any) -> Tier:
        """Ask for a chain and tell where it came from."""
        found = await self.ask(**asked)
        assert not isinstance(found, Unavailable), found
        return found[1]

    async def why(self, underlying: str = "AAPL", **asked: Any) -> Unavailable:
        """Ask for a chain and get none."""
        found = await self.ask(underlying, **asked)
        assert isinstance(found, Unavailable), found
        assert found.message
        return found

    @property
    def since(self) -> list[int | None]:
        """From when on each question wanted to know moves; None is a question for everything."""
        return [since for _, _, since in self.pages.asked]


def symbols(chain: Chain) -> list[str]:
    """The contracts of a chain, in order."""
    return [entry.quote.symbol for entry in chain.entries]


def held(chain: Chain) -> dict[str, Held[OptionQuote]]:
    """What a chain holds of each contract."""
    return {entry.quote.symbol: entry.held for entry in chain.entries}


# ---------------------------------------------------------------------------------- who reads


async def test_many_who_ask_at_once_read_once() -> None:
    """A hundred simultaneous questions for a chain that nobody holds cost one reading, and all get the same chain."""
    setup = Setup()
    found = await asyncio.gather(*(setup.ask() for _ in range(100)))
    assert len(setup.pages.asked) == 1
    first = found[0]
    assert not isinstance(first, Unavailable)
    assert all(one == first for one in found)
    assert first[1] is Tier.UPSTREAM
    assert (setup.counts.loads, setup.counts.hits, setup.counts.refreshes) == (1, 0, 0)


async def test_many_who_ask_at_once_refresh_once() -> None:
    """Simultaneous questions for a chain that has grown old cost one look at what has moved."""
    setup = Setup()
    await setup.chain()
    setup.clock.advance(MAX_AGE)
    await asyncio.gather(*(setup.ask(max_age=0) for _ in range(100)))
    assert len(setup.pages.asked) == 2
    assert setup.counts.refreshes == 1


async def test_feeds_and_underlyings_are_kept_apart() -> None:
    """A chain is of one underlying on one feed."""
    setup = Setup()
    setup.pages.hold(quoted(symbol_of(root="IBM")), underlying="IBM")
    for underlying, feed in (
        ("AAPL", Feed.INDICATIVE),
        ("AAPL", Feed.OPRA),
        ("IBM", Feed.OPRA),
        ("IBM", Feed.OPRA),
    ):
        chain = await setup.chain(underlying, feed=feed)
        assert (chain.underlying, chain.feed) == (underlying, feed)
    assert setup.pages.asked == [
        ("AAPL", Feed.INDICATIVE, None),
        ("AAPL", Feed.OPRA, None),
        ("IBM", Feed.OPRA, None),
    ]
    assert (setup.counts.chains, setup.counts.contracts) == (3, 7)


async def test_a_chain_is_in_a_desks_order_with_its_times() -> None:
    """A chain holds what was sent by expiry, strike, calls first and root, and says when it was loaded."""
    setup = Setup()
    others = (
        symbol_of("9", expiry="261016"),
        symbol_of("240", letter="P"),
        symbol_of("240", root="AAPL1"),
    )
    setup.pages.hold(*(quoted(symbol) for symbol in others))
    setup.clock.advance(7)
    chain = await setup.chain()
    assert symbols(chain) == [others[0], FIRST, others[2], others[1], SECOND, THIRD]
    assert (chain.loaded_at, chain.load_time) == (1007.0, NOW + 7 * NANOS)
    assert (chain.confirmed_at, chain.confirm_time) == (1007.0, NOW + 7 * NANOS)
    assert (chain.expired, chain.refused) == (0, 0)


async def test_a_reading_is_bounded_whatever_its_askers_would_wait() -> None:
    """A reading has the cap's time, not the first asker's."""
    setup = Setup()
    await setup.chain(patience=5.0)
    await setup.chain(underlying="AAPL", max_age=0, patience=3600.0)
    assert setup.pages.deadlines == [1000.0 + CAP] * 2


async def test_a_reading_knows_until_when_it_is_wanted() -> None:
    """A reading is told when the last of those who wait for it leaves, as far as that is known when it begins."""
    setup = Setup()
    await setup.chain(patience=5.0)
    await setup.chain(max_age=0, patience=20.0)
    first, second = setup.pages.wanted
    assert first is not None
    assert second is not None
    assert 1004.5 < first <= 1005.0
    assert 1019.5 < second <= 1020.0


async def test_who_cannot_wait_leaves_alone() -> None:
    """An asker whose time is up is told so, and the reading goes on for the others."""
    setup = Setup()
    setup.pages.open.clear()
    patient = asyncio.create_task(setup.chain())
    await settle(lambda: len(setup.pages.asked) == 1)
    assert (await setup.why(patience=0.01)).reason is Reason.UPSTREAM_TIMEOUT
    setup.pages.open.set()
    assert len((await patient).entries) == 3
    assert len(setup.pages.asked) == 1


# ---------------------------------------------------------------------------------- how old


async def test_memory_answers_while_a_chain_is_young_enough() -> None:
    """Within the bound a question costs nothing, and at the bound the upstream is asked."""
    setup = Setup()
    before = await setup.chain()
    setup.clock.advance(MAX_AGE - 0.001)
    found = await setup.ask()
    assert found == (before, Tier.MEMORY)
    assert setup.counts.hits == 1
    setup.clock.advance(0.001)
    assert await setup.tier() is Tier.UPSTREAM
    assert len(setup.pages.asked) == 2


@pytest.mark.parametrize("seconds", [1, 60])
async def test_a_question_may_name_its_own_bound(seconds: int) -> None:
    """A bound that is asked for counts instead of the gateway's, a shorter and a longer one."""
    setup = Setup()
    await setup.chain()
    setup.clock.advance(seconds - 0.001)
    assert await setup.tier(max_age=seconds * NANOS) is Tier.MEMORY
    setup.clock.advance(0.001)
    assert await setup.tier(max_age=seconds * NANOS) is Tier.UPSTREAM


async def test_a_bound_of_zero_always_asks() -> None:
    """Who wants it as it is now gets it from the upstream every time, also within one tick of the clock."""
    setup = Setup()
    for _ in range(3):
        assert await setup.tier(max_age=0) is Tier.UPSTREAM
    assert len(setup.pages.asked) == 3
    assert setup.counts.hits == 0


async def test_a_chain_is_as_old_as_its_first_page() -> None:
    """What came with the first page is not counted as young because the last page took a while to come."""
    setup = Setup()
    setup.pages.seconds = 10.0
    chain = await setup.chain()
    oldest = min(one.confirmed_at for one in held(chain).values())
    assert chain.confirmed_at <= oldest
    setup.clock.advance(MAX_AGE - 9.999)
    assert await setup.tier() is Tier.UPSTREAM


# -------------------------------------------------------------------------------- what has moved


@pytest.mark.parametrize(("feed", "overlap"), [(Feed.INDICATIVE, 16 * MINUTE), (Feed.OPRA, MINUTE)])
async def test_a_refresh_asks_what_has_moved_since_the_last_look(feed: Feed, overlap: int) -> None:
    """Moves are asked for from the last question on, and from as long before as the feed's stamps may be late."""
    setup = Setup()
    await setup.chain(feed=feed)
    for _ in range(2):
        setup.clock.advance(20)
        await setup.chain(feed=feed)
    assert setup.since == [None, NOW - overlap, NOW + 20 * NANOS - overlap]


async def test_a_refresh_counts_from_the_question_not_from_its_answer() -> None:
    """What moves while pages are still coming is asked for the next time."""
    setup = Setup()
    setup.pages.seconds = 10.0
    await setup.chain(feed=Feed.OPRA)
    setup.clock.advance(20)
    await setup.chain(feed=Feed.OPRA)
    assert setup.since == [None, NOW - MINUTE]


async def test_a_refresh_replaces_what_has_moved_and_nothing_else() -> None:
    """Untouched contracts stay the very same, moved ones are replaced, new ones come in at their place."""
    setup = Setup()
    before = await setup.chain()
    setup.clock.advance(20)
    moved, new = quoted(SECOND, at=NOW + NANOS, bid="1.01"), symbol_of("245")
    setup.pages.hold(moved, quoted(new))
    after = await setup.chain()
    assert symbols(after) == [FIRST, new, SECOND, THIRD]
    for symbol in (FIRST, THIRD):
        assert held(after)[symbol] is held(before)[symbol]
    assert held(after)[SECOND].value == moved
    assert held(after)[SECOND].confirmed_at == 1020.0
    assert (after.loaded_at, after.load_time) == (1000.0, NOW)
    assert (after.confirmed_at, after.confirm_time) == (1020.0, NOW + 20 * NANOS)
    assert symbols(before) == [FIRST, SECOND, THIRD], "who holds a chain keeps it as it was"
    assert (setup.counts.loads, setup.counts.refreshes, setup.counts.contracts) == (1, 1, 4)


async def test_a_refresh_without_moves_confirms() -> None:
    """When nothing has moved, the chain is as it was and young again."""
    setup = Setup()
    before = await setup.chain()
    setup.clock.advance(20)
    after = await setup.chain()
    assert held(after) == held(before)
    setup.clock.advance(MAX_AGE - 1)
    assert await setup.tier() is Tier.MEMORY


async def test_a_refused_record_takes_its_contract_out() -> None:
    """A contract whose newest record is no market value leaves the chain and is counted, until a better one comes."""
    setup = Setup()
    await setup.chain()
    setup.pages.refused = {SECOND}
    refused = await setup.chain(max_age=0)
    assert (symbols(refused), refused.refused) == ([FIRST, THIRD], 1)
    again = await setup.chain(max_age=0)
    assert (symbols(again), again.refused) == ([FIRST, THIRD], 1)
    setup.pages.refused = set()
    setup.pages.hold(quoted(SECOND, at=NOW))
    back = await setup.chain(max_age=0)
    assert (symbols(back), back.refused) == ([FIRST, SECOND, THIRD], 0)


async def test_a_refusal_is_kept_until_the_contract_is_sent_again() -> None:
    """A refused contract of which a refresh says nothing stays refused and counted."""
    setup = Setup()
    setup.pages.refused = {SECOND}
    assert (await setup.chain()).refused == 1
    del setup.pages.chains["AAPL"][SECOND]
    setup.pages.refused = set()
    chain = await setup.chain(max_age=0)
    assert (symbols(chain), chain.refused) == ([FIRST, THIRD], 1)


async def test_a_chain_of_refused_records_is_a_chain() -> None:
    """When no contract is a market value, the chain is there, empty, with the count."""
    setup = Setup()
    setup.pages.refused = {FIRST, SECOND, THIRD}
    chain = await setup.chain()
    assert (list(chain.entries), chain.refused, chain.expired) == ([], 3, 0)
    assert setup.listings.asked == []


async def test_all_pages_are_read_again_after_a_while() -> None:
    """From time to time everything is read: greeks that moved without a quote come in, and vanished contracts leave."""
    setup = Setup()
    await setup.chain()
    del setup.pages.chains["AAPL"][SECOND]
    setup.clock.advance(LOAD_EVERY - 0.001)
    assert symbols(await setup.chain()) == [FIRST, SECOND, THIRD]
    setup.clock.advance(0.001)
    chain = await setup.chain(max_age=0)
    assert symbols(chain) == [FIRST, THIRD]
    assert chain.loaded_at == 1000.0 + LOAD_EVERY
    assert setup.since[0] is None
    assert setup.since[-1] is None
    assert (setup.counts.loads, setup.counts.refreshes) == (2, 1)
    setup.clock.advance(LOAD_EVERY - 1)
    await setup.chain()
    assert setup.since[-1] is not None


KNOWN = [FIRST, SECOND, THIRD, symbol_of("245"), symbol_of("250", letter="P")]
STEPS = st.lists(
    st.tuples(st.just("move"), st.sampled_from(KNOWN), st.integers(0, 15 * 60))
    | st.tuples(st.sampled_from(["refuse", "mend"]), st.sampled_from(KNOWN), st.just(0))
    | st.tuples(st.just("ask"), st.just(""), st.integers(0, 400)),
    max_size=30,
)
"""A contract moves, and is stamped so many seconds before; its newest record is bad, or good again; somebody asks."""


# Playing through so many questions takes long on a busy machine; that is no part of the law.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
async def test_a_refresh_is_as_good_as_reading_everything(
    steps: list[tuple[str, str, int]],
) -> None:
    """Whatever moves, is refused and is mended between questions, who asks gets what the upstream holds by then."""
    setup = Setup()
    await setup.chain()
    for number, (step, symbol, seconds) in enumerate(steps):
        if step == "move":
            at = setup.clock.market() - seconds * NANOS
            setup.pages.hold(quoted(symbol, at=at, bid=f"0.{number + 10}"))
        elif step == "refuse":
            setup.pages.refused.add(symbol)
        elif step == "mend" and symbol in setup.pages.refused:
            setup.pages.refused.discard(symbol)
            setup.pages.hold(quoted(symbol, at=setup.clock.market()))
        elif step == "ask":
            setup.clock.advance(seconds)
            chain = await setup.chain(max_age=0)
            there = setup.pages.chains["AAPL"]
            good = {name: value for name, value in there.items() if name not in setup.pages.refused}
            assert {name: one.value for name, one in held(chain).items()} == good
            assert chain.refused == len(there) - len(good)
            assert list(chain.entries) == sorted(chain.entries, key=lambda one: one.occ.order)


# -------------------------------------------------------------------------------------- failures


async def test_a_failure_is_an_answer_and_no_stale_chain() -> None:
    """While the upstream fails, nobody gets what is older than asked for: all get the reason, and it is counted."""
    setup = Setup()
    await setup.chain()
    setup.clock.advance(MAX_AGE)
    setup.pages.failure = DOWN
    found = await asyncio.gather(*(setup.why() for _ in range(5)))
    assert {why.reason for why in found} == {Reason.UPSTREAM_ERROR}
    assert setup.counts.failures == 1
    assert (setup.counts.loads, setup.counts.refreshes) == (1, 0)


async def test_a_failure_does_not_cost_what_is_held() -> None:
    """Who allows more age still gets the chain from memory, and when the upstream is back, only moves are asked for."""
    setup = Setup()
    before = await setup.chain()
    setup.clock.advance(MAX_AGE)
    setup.pages.failure = DOWN
    await setup.why()
    assert await setup.ask(max_age=EVER) == (before, Tier.MEMORY)
    setup.pages.failure = None
    await setup.chain()
    assert setup.since == [None, NOW - 16 * MINUTE, NOW - 16 * MINUTE]


async def test_a_failed_first_reading_is_not_remembered() -> None:
    """After a failure the next question asks again."""
    setup = Setup()
    setup.pages.failure = UpstreamTimeout("too slow")
    assert (await setup.why()).reason is Reason.UPSTREAM_TIMEOUT
    setup.pages.failure = None
    assert len((await setup.chain()).entries) == 3


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (NotEntitled("the account may not read feed opra"), Reason.NOT_ENTITLED),
        (CircuitOpen("left alone", retry_delay=7.0), Reason.CIRCUIT_OPEN),
    ],
)
async def test_a_refusal_that_is_known_before_asks_nobody(
    failure: UpstreamFailure, reason: Reason
) -> None:
    """What is known to fail now is told at once, on its feed alone, and what is held and young is still an answer."""
    setup = Setup()
    await setup.chain(feed=Feed.OPRA)
    setup.failures[Feed.OPRA] = failure
    assert await setup.tier(feed=Feed.OPRA) is Tier.MEMORY
    why = await setup.why(feed=Feed.OPRA, max_age=0)
    assert (why.reason, why.retry_delay) == (reason, failure.retry_delay)
    assert len(setup.pages.asked) == 1
    assert setup.counts.failures == 0
    assert await setup.tier(feed=Feed.INDICATIVE) is Tier.UPSTREAM


# --------------------------------------------------------------------------------- there is none


async def test_an_unknown_underlying_is_remembered_for_a_while() -> None:
    """An underlying that the list of contracts does not know is SYMBOL_UNKNOWN, and asked again only after its time."""
    setup = Setup()
    for _ in range(3):
        assert (await setup.why("ZZZZ", max_age=EVER)).reason is Reason.SYMBOL_UNKNOWN
    setup.clock.advance(KEEP_UNKNOWN - 0.001)
    await setup.why("ZZZZ", max_age=EVER)
    assert len(setup.pages.asked) == len(setup.listings.asked) == 1
    setup.clock.advance(0.001)
    setup.pages.hold(quoted(symbol_of(root="ZZZZ")), underlying="ZZZZ")
    assert len((await setup.chain("ZZZZ", max_age=EVER)).entries) == 1


async def test_an_unknown_underlying_is_no_older_than_asked_for() -> None:
    """Who wants to hear it now hears it now."""
    setup = Setup()
    await setup.why("ZZZZ")
    await setup.why("ZZZZ", max_age=0)
    setup.clock.advance(MAX_AGE)
    await setup.why("ZZZZ")
    assert len(setup.pages.asked) == 3


async def test_an_underlying_is_looked_up_with_its_dates() -> None:
    """Its contracts are asked for from today in New York on, ten years ahead."""
    setup = Setup(at=new_york("2026-10-01 23:30"))
    await setup.why("ZZZZ")
    (scope,) = setup.listings.asked
    assert isinstance(scope, ContractScope)
    assert (scope.underlying, scope.root) == ("ZZZZ", "")
    assert scope.start.isoformat() == "2026-10-01"
    assert (scope.end - scope.start).days == 3660


async def test_what_is_listed_and_not_sent_is_no_data() -> None:
    """Contracts that are listed and of which nothing was sent are NO_DATA, and so is an underlying without any."""
    setup = Setup()
    setup.pages.chains.clear()
    setup.listings.contracts_held = [contract(FIRST), contract(SECOND)]
    why = await setup.why()
    assert why.reason is Reason.NO_DATA
    assert "2 contracts are listed" in why.message
    assert "indicative" in why.message
    setup.listings.contracts_held = []
    why = await setup.why(max_age=0)
    assert (why.reason, why.message) == (Reason.NO_DATA, "AAPL: no option on it is listed")


async def test_without_a_list_nothing_is_called_unknown() -> None:
    """When the list of contracts cannot be had, a lack of data is NO_DATA, and nobody remembers it."""
    setup = Setup()
    setup.listings.failure = DOWN
    why = await setup.why("ZZZZ")
    assert (why.reason, why.passing) == (Reason.NO_DATA, True)
    assert "answered 500" in why.message
    setup.listings.failure = None
    assert (await setup.why("ZZZZ")).reason is Reason.SYMBOL_UNKNOWN


async def test_a_chain_that_comes_to_be_is_found() -> None:
    """Once contracts are sent, what was remembered of their lack is forgotten."""
    setup = Setup()
    await setup.why("ZZZZ")
    setup.pages.hold(quoted(symbol_of(root="ZZZZ")), underlying="ZZZZ")
    chain = await setup.chain("ZZZZ", max_age=0)
    assert await setup.ask("ZZZZ", max_age=EVER) == (chain, Tier.MEMORY)


# --------------------------------------------------------------------------------------- expiry

TODAY = symbol_of("240", expiry="261001")
TOMORROW = symbol_of("240", expiry="261002")
FOUR = new_york("2026-10-01 16:00")


class LastHour(Setup):
    """Five minutes before a contract expires; another expires on the next day."""

    def __init__(self) -> None:
        super().__init__(at=FOUR - 5 * MINUTE)
        self.pages.hold(quoted(TODAY, at=LONG_AGO), quoted(TOMORROW, at=LONG_AGO))


async def test_a_contract_expires_while_its_chain_is_held() -> None:
    """At its last moment a contract is in the chain, and behind it out and counted, without a word to the upstream."""
    setup = LastHour()
    before = await setup.chain(max_age=EVER)
    assert symbols(before) == [TODAY, TOMORROW, FIRST, SECOND, THIRD]
    setup.clock.advance(300)
    assert await setup.ask(max_age=EVER) == (before, Tier.MEMORY)
    setup.clock.advance(0.000_001)
    after = await setup.chain(max_age=EVER)
    assert (symbols(after), after.expired) == ([TOMORROW, FIRST, SECOND, THIRD], 1)
    assert held(after)[FIRST] is held(before)[FIRST]
    assert (after.confirmed_at, after.load_time) == (before.confirmed_at, before.load_time)
    assert await setup.ask(max_age=EVER) == (after, Tier.MEMORY)
    assert len(setup.pages.asked) == 1


async def test_a_contract_is_read_at_its_last_moment() -> None:
    """A reading at the very moment holds the contract, and one a nanosecond later does not."""
    setup = LastHour()
    setup.clock.advance(300)
    assert TODAY in symbols(await setup.chain(max_age=0))
    setup.clock.advance(0.000_001)
    assert TODAY not in symbols(await setup.chain(max_age=0))


async def test_contracts_expire_one_after_the_other() -> None:
    """Contracts that close late leave a quarter of an hour after the others of their day, out of the same reading."""
    setup = LastHour()
    setup.assets.list = late_assets("SPY")
    late = symbol_of("600", root="SPY", expiry="261001")
    setup.pages.hold(quoted(late, at=LONG_AGO))
    await setup.chain(max_age=EVER)
    for seconds, expired in ((300.1, 1), (899.8, 1), (0.2, 2)):
        setup.clock.advance(seconds)
        assert (await setup.chain(max_age=EVER)).expired == expired
    assert len(setup.pages.asked) == 1


async def test_a_chain_is_of_its_day() -> None:
    """After midnight in New York a chain is read anew, all of it, whatever age would do."""
    setup = Setup(at=new_york("2026-10-01 23:59"))
    await setup.chain(max_age=EVER)
    setup.clock.advance(59.9)
    assert await setup.tier(max_age=EVER) is Tier.MEMORY
    setup.clock.advance(0.1)
    assert await setup.tier(max_age=EVER) is Tier.UPSTREAM
    assert setup.since == [None, None]
    assert await setup.tier(max_age=EVER) is Tier.MEMORY


async def test_what_is_sent_and_has_expired_is_counted() -> None:
    """The upstream still sends contracts in the evening of their last day: they are counted, and not in the chain."""
    setup = LastHour()
    setup.clock.advance(3600)
    chain = await setup.chain()
    assert (symbols(chain), chain.expired) == ([TOMORROW, FIRST, SECOND, THIRD], 1)


async def test_late_closes_are_asked_for_at_the_moment() -> None:
    """A contract that was thought to expire at four is kept when the list of assets has come meanwhile."""
    setup = LastHour()
    await setup.chain(max_age=EVER)
    setup.assets.list = late_assets("AAPL")
    setup.clock.advance(600)
    assert TODAY in symbols(await setup.chain(max_age=EVER))
    setup.clock.advance(600.1)
    chain = await setup.chain(max_age=EVER)
    assert TODAY not in symbols(chain)
    assert chain.expired == 1


async def test_a_chain_of_expired_contracts_is_no_data() -> None:
    """When all that is sent has expired, there is no data, and the list of contracts is not asked why."""
    setup = LastHour()
    setup.clock.advance(3600)
    setup.pages.chains = {"AAPL": {TODAY: quoted(TODAY)}}
    why = await setup.why()
    assert why.reason is Reason.NO_DATA
    assert "all 1 contracts that the upstream sent have expired" in why.message
    assert setup.listings.asked == []
    assert setup.counts.chains == 0


# ------------------------------------------------------------------------------------ its bounds


def others(underlying: str, count: int) -> list[OptionQuote]:
    """Some contracts of another underlying."""
    return [quoted(symbol_of(str(100 + n), root=underlying)) for n in range(count)]


async def test_the_chain_that_was_asked_for_longest_ago_makes_room() -> None:
    """Contracts of all chains together are bounded: whose chain nobody has asked for longest is read anew."""
    setup = Setup(capacity=8)
    assert setup.counts.capacity == 8
    for underlying in ("B", "C"):
        setup.pages.hold(*others(underlying, 3), underlying=underlying)
    await setup.chain("AAPL", max_age=EVER)
    await setup.chain("B", max_age=EVER)
    await setup.chain("AAPL", max_age=EVER)
    await setup.chain("C", max_age=EVER)
    assert (setup.counts.evictions, setup.counts.chains, setup.counts.contracts) == (1, 2, 6)
    assert await setup.tier(underlying="AAPL", max_age=EVER) is Tier.MEMORY
    assert await setup.tier(underlying="C", max_age=EVER) is Tier.MEMORY
    assert await setup.tier(underlying="B", max_age=EVER) is Tier.UPSTREAM


async def test_a_chain_too_large_to_be_kept_beside_others_is_answered() -> None:
    """A chain that is larger than the bound drives out all others and is held alone."""
    setup = Setup(capacity=4)
    setup.pages.hold(*others("B", 9), underlying="B")
    await setup.chain("AAPL", max_age=EVER)
    assert len((await setup.chain("B", max_age=EVER)).entries) == 9
    assert (setup.counts.chains, setup.counts.contracts, setup.counts.evictions) == (1, 9, 1)
    assert await setup.tier(underlying="B", max_age=EVER) is Tier.MEMORY


async def test_chains_are_forgotten_by_feed_and_underlying() -> None:
    """Operators may forget one chain, those of a feed, or all; what is forgotten is read anew and whole."""
    setup = Setup()
    setup.pages.hold(*others("B", 2), underlying="B")
    for feed in (Feed.INDICATIVE, Feed.OPRA):
        for underlying in ("AAPL", "B"):
            await setup.chain(underlying, feed=feed)
    await setup.why("ZZZZ")
    assert setup.chains.forget({Feed.OPRA}, {"B", "C"}) == 1
    assert setup.counts.chains == 3
    assert setup.chains.forget({Feed.OPRA}, None) == 1
    assert setup.chains.forget(None, {"ZZZZ"}) == 1
    assert setup.chains.forget(None, None) == 2
    assert setup.chains.forget(None, None) == 0
    assert (setup.counts.chains, setup.counts.contracts) == (0, 0)
    assert await setup.tier(max_age=EVER) is Tier.UPSTREAM
    assert setup.since == [None] * 6


async def test_what_was_forgotten_does_not_come_back_with_a_refresh() -> None:
    """A chain that is forgotten while it is being refreshed is read anew and whole by who asks after that."""
    setup = Setup()
    await setup.chain()
    setup.pages.open.clear()
    under_way = asyncio.create_task(setup.chain(max_age=0))
    await settle(lambda: len(setup.pages.asked) == 2)
    assert setup.chains.forget(None, None) == 1
    setup.pages.open.set()
    await under_way
    del setup.pages.chains["AAPL"][SECOND]
    assert symbols(await setup.chain(max_age=0)) == [FIRST, THIRD]
    assert setup.since[-1] is None


async def test_a_look_at_what_has_expired_does_not_undo_a_refresh() -> None:
    """Who finds that contracts of a held chain have expired does not put it back over one that was read meanwhile."""
    setup = LastHour()
    await setup.chain()
    setup.clock.advance(301)
    gate = asyncio.Event()
    setup.assets.gates = [gate]
    looking = asyncio.create_task(setup.chain(max_age=EVER))
    await settle(lambda: not setup.assets.gates)
    setup.pages.refused = {SECOND}
    refreshed = await setup.chain(max_age=0)
    assert symbols(refreshed) == [TOMORROW, FIRST, THIRD]
    gate.set()
    await looking
    assert await setup.ask(max_age=EVER) == (refreshed, Tier.MEMORY)
