"""Lists of contracts, kept: how long, within which bounds, and what they say of contracts that were not sent."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest

from tickgate_server.errors import UpstreamBroken
from tickgate_server.guards.contracts import RememberedContracts
from tickgate_server.market.option import ContractList, ContractScope, ContractStatus
from tickgate_server.market.unavailable import Reason, Unavailable

from ...support.fakes import HandClock, settle, unavailable
from ...support.options import CALL, FakeListings, contract, symbol_of

TTL, KEEP_SINGLE, PAUSE, CAP = 3600.0, 60.0, 5.0, 30.0
DOWN = UpstreamBroken("answered 500")
START, END = date(2026, 10, 1), date(2036, 10, 8)
SCOPE = ContractScope(START, END, underlying="AAPL")
IBM = symbol_of("150", root="IBM")


class Setup:
    """Lists in front of a source that holds three contracts of AAPL and one of IBM."""

    def __init__(self, capacity: int = 100) -> None:
        self.clock = HandClock()
        self.source = FakeListings(
            *(contract(symbol_of(strike)) for strike in ("240", "250", "260")),
            contract(IBM, underlying="IBM"),
        )
        self.source.underlyings.add("IBM")
        self.contracts = RememberedContracts(
            self.source,
            self.clock,
            ttl=TTL,
            keep_single=KEEP_SINGLE,
            retry_after=PAUSE,
            cap=CAP,
            capacity=capacity,
        )

    async def count(self, scope: ContractScope = SCOPE) -> int:
        """How many contracts a list holds."""
        found = await self.contracts.contracts(scope, self.clock.monotonic() + 10)
        assert isinstance(found, ContractList)
        return len(found)

    async def listed(self, *symbols: str) -> set[str] | None:
        """Which of *symbols* are listed, as far as that can be had."""
        found = await self.contracts.listed(symbols, self.clock.monotonic() + 10)
        return None if found is None else set(found)


# ------------------------------------------------------------------------------------ kept lists


async def test_a_list_is_kept() -> None:
    """Until its time is over, one reading answers everyone; then the next asker reads anew."""
    setup = Setup()
    assert [await setup.count() for _ in range(3)] == [3, 3, 3]
    setup.clock.advance(TTL - 0.001)
    await setup.count()
    assert setup.source.asked == [SCOPE]
    setup.clock.advance(0.001)
    await setup.count()
    assert setup.source.asked == [SCOPE, SCOPE]
    assert setup.source.deadlines == [1000.0 + CAP, 1000.0 + TTL + CAP]


async def test_simultaneous_askers_read_once() -> None:
    """Many who need one list at the same time cost one reading."""
    setup = Setup()
    assert await asyncio.gather(*(setup.count() for _ in range(20))) == [3] * 20
    assert setup.source.asked == [SCOPE]


async def test_lists_of_other_scopes_are_others() -> None:
    """Every part of a scope makes it another list."""
    setup = Setup()
    scopes = [
        SCOPE,
        ContractScope(START, date(2027, 1, 1), underlying="AAPL"),
        ContractScope(date(2026, 10, 2), END, underlying="AAPL"),
        ContractScope(START, END, root="AAPL"),
        ContractScope(START, END, underlying="AAPL", status=ContractStatus.INACTIVE),
        ContractScope(START, END, underlying="AAPL", deliverables=True),
    ]
    for scope in scopes * 2:
        await setup.count(scope)
    assert setup.source.asked == scopes


async def test_an_unknown_underlying_is_kept_too() -> None:
    """That an underlying does not exist is an answer like a list, and is not asked again and again."""
    setup = Setup()
    for _ in range(2):
        found = await setup.contracts.contracts(ContractScope(START, END, underlying="ZZZZ"), 1010)
        assert isinstance(found, Unavailable)
        assert found.reason is Reason.SYMBOL_UNKNOWN
    assert len(setup.source.asked) == 1


async def test_a_failure_is_raised_and_pauses_the_reading() -> None:
    """A list that cannot be had is a failure for everyone, without a further request until the pause is over."""
    setup = Setup()
    setup.source.failure = DOWN
    for _ in range(3):
        with pytest.raises(UpstreamBroken):
            await setup.count()
    assert len(setup.source.asked) == 1
    setup.source.failure = None
    setup.clock.advance(PAUSE)
    assert await setup.count() == 3


async def test_a_failed_reading_keeps_what_was_held() -> None:
    """What is held outlives its time once over while it cannot be read anew, and no longer."""
    setup = Setup()
    await setup.count()
    setup.source.failure = DOWN
    setup.clock.advance(2 * TTL - 0.001)
    assert await setup.count() == 3
    setup.clock.advance(0.001)
    with pytest.raises(UpstreamBroken):
        await setup.count()


async def test_lists_are_bounded_together() -> None:
    """Contracts of all lists are bounded: the list that nobody asked for longest makes room."""
    setup = Setup(capacity=9)
    ibm = ContractScope(START, END, underlying="IBM")
    other = ContractScope(START, END, root="AAPL")
    for scope in (SCOPE, ibm, SCOPE, other):
        await setup.count(scope)
    assert setup.source.asked == [SCOPE, ibm, other]
    await setup.count(SCOPE)
    await setup.count(other)
    assert len(setup.source.asked) == 3
    await setup.count(ibm)
    assert len(setup.source.asked) == 4


async def test_lists_are_forgotten_by_underlying() -> None:
    """Operators may forget the lists of some underlyings, by whatever they were asked, or all."""
    setup = Setup()
    scopes = [
        SCOPE,
        ContractScope(START, date(2027, 1, 1), root="AAPL"),
        ContractScope(START, END, underlying="IBM"),
    ]
    for scope in scopes:
        await setup.count(scope)
    assert setup.contracts.forget({"AAPL", "MSFT"}) == 2
    assert setup.contracts.forget({"AAPL"}) == 0
    assert setup.contracts.forget(None) == 1
    await setup.count()
    assert setup.source.asked == [*scopes, SCOPE]


# -------------------------------------------------------------------------------- what is listed


async def test_one_contract_is_asked_for_by_its_name() -> None:
    """Whether a single contract is listed costs one small question and no list."""
    setup = Setup()
    assert await setup.listed(CALL) == {CALL}
    assert await setup.listed(symbol_of("999")) == set()
    assert setup.source.asked == [CALL, symbol_of("999")]
    assert await setup.contracts.contract(CALL, 1010) == contract(CALL)


async def test_what_became_of_one_contract_is_remembered() -> None:
    """Whether a single contract exists is asked once for a while, and once for all who ask at the same time."""
    setup = Setup()
    gone = symbol_of("999")
    for symbol, there in ((CALL, {CALL}), (gone, set[str]())):
        assert await asyncio.gather(*(setup.listed(symbol) for _ in range(5))) == [there] * 5
    setup.clock.advance(KEEP_SINGLE - 0.001)
    await setup.listed(gone)
    assert setup.source.asked == [CALL, gone]
    setup.source.contracts_held.append(contract(gone))
    setup.clock.advance(0.001)
    assert await setup.listed(gone) == {gone}


async def test_what_became_of_one_contract_is_forgotten_with_the_lists() -> None:
    """Operators who forget everything have single contracts asked for anew as well."""
    setup = Setup()
    await setup.listed(symbol_of("999"))
    setup.contracts.forget(None)
    await setup.listed(symbol_of("999"))
    assert len(setup.source.asked) == 2


async def test_several_contracts_are_looked_up_in_the_lists_of_their_roots() -> None:
    """Of several contracts the lists of their roots are asked, from the first of their dates to the last, and kept."""
    setup = Setup()
    asked = (IBM, symbol_of("999"), CALL, symbol_of("1", expiry="261106"))
    for _ in range(2):
        assert await setup.listed(*asked) == {IBM, CALL}
    friday = date(2026, 11, 20)
    assert setup.source.asked == [
        ContractScope(friday, friday, root="IBM"),
        ContractScope(date(2026, 11, 6), friday, root="AAPL"),
    ]


async def test_an_adjusted_series_has_a_root_of_its_own() -> None:
    """Contracts of AAPL1 are looked up in the list of AAPL1."""
    setup = Setup()
    adjusted = symbol_of("125", root="AAPL1")
    setup.source.contracts_held.append(contract(adjusted))
    assert await setup.listed(adjusted, CALL) == {adjusted, CALL}
    scopes = [scope for scope in setup.source.asked if isinstance(scope, ContractScope)]
    assert [scope.root for scope in scopes] == ["AAPL1", "AAPL"]


async def test_a_root_that_does_not_exist_lists_nothing() -> None:
    """When the list of a root says that there is none, its contracts are not listed, and the others may be."""
    setup = Setup()
    assert await setup.listed(CALL, symbol_of(root="ZZZZ"), symbol_of("1", root="ZZZZ")) == {CALL}


async def test_a_contract_of_odd_terms_is_listed() -> None:
    """A contract whose terms were refused exists all the same, whether it is asked for alone or among others."""
    setup = Setup()
    odd = symbol_of("999")
    setup.source.refused[odd] = unavailable(Reason.INVALID_DATA)
    assert await setup.listed(odd) == {odd}
    assert await setup.listed(odd, CALL) == {odd, CALL}


@pytest.mark.parametrize(("roots", "known"), [(8, True), (9, False)])
async def test_many_roots_are_not_looked_up(roots: int, known: bool) -> None:
    """What would cost more than eight lists cannot be had, and asks nobody."""
    setup = Setup()
    asked = [symbol_of(root=f"A{chr(65 + number)}") for number in range(roots)]
    assert await setup.listed(*asked) == (set() if known else None)
    assert len(setup.source.asked) == (8 if known else 0)


async def test_what_cannot_be_asked_cannot_be_told() -> None:
    """A failure is no proof that a contract is not listed, for one or for several."""
    setup = Setup()
    setup.source.failure = DOWN
    assert await setup.listed(CALL) is None
    assert await setup.listed(CALL, IBM) is None


async def test_who_cannot_wait_for_a_list_is_told_nothing() -> None:
    """An asker whose time is up before the list has come gets no list, and disturbs nobody."""
    setup = Setup()
    setup.source.open.clear()
    patient = asyncio.create_task(setup.listed(CALL, symbol_of("999")))
    await settle(lambda: len(setup.source.asked) == 1)
    hasty = await setup.contracts.listed((CALL, symbol_of("999")), 1000.01)
    assert hasty is None
    setup.source.open.set()
    assert await patient == {CALL}
    assert len(setup.source.asked) == 1
