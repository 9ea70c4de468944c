"""Corporate actions are kept for a while, so that an answer is read page by page without asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import date

import pytest

from tickgate_server.errors import UpstreamBroken, UpstreamFailure
from tickgate_server.guards.remembered_actions import RememberedActions
from tickgate_server.market.corporate_action import CorporateAction, CorporateActionType
from tickgate_server.market.provenance import DataSource, Provenance

from ...support.fakes import HandClock

START, END = date(2020, 1, 1), date(2021, 1, 1)


def split(symbol: str) -> CorporateAction:
    """Return a split."""
    return CorporateAction(
        id=symbol, type=CorporateActionType.FORWARD_SPLIT, symbol=symbol, new_symbol=None,
        old_rate=None, new_rate=None, cash_rate=None, ex_date=date(2020, 8, 31), record_date=None,
        payable_date=None, process_date=None, special=None,
        provenance=Provenance(DataSource.SANDBOX, None, None, 1, ""),
    )  # fmt: skip


class Actions:
    """A source that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failing_with: UpstreamFailure | None = None

    async def corporate_actions(
        self,
        symbols: Sequence[str],
        types: Collection[CorporateActionType] | None,
        start: date,
        end: date,
        deadline: float,
    ) -> Sequence[CorporateAction]:
        self.asked.append(tuple(symbols))
        await asyncio.sleep(0)
        if self.failing_with is not None:
            raise self.failing_with
        return [split(symbol) for symbol in symbols]


class Setup:
    def __init__(self) -> None:
        self.clock, self.source = HandClock(), Actions()
        self.remembered = RememberedActions(
            self.source, self.clock, ttl=300.0, retry_after=5.0, cap=10.0
        )

    async def ask(
        self, *symbols: str, types: Collection[CorporateActionType] | None = None, end: date = END
    ) -> list[str]:
        deadline = self.clock.monotonic() + 5
        found = await self.remembered.corporate_actions(symbols, types, START, end, deadline)
        return [one.symbol for one in found]


async def test_one_question_is_asked_once() -> None:
    """The same question is answered from what was said until that has grown old; then it is asked again."""
    setup = Setup()
    answers = [await setup.ask("AAPL", "IBM") for _ in range(3)]
    setup.clock.advance(299)
    await setup.ask("AAPL", "IBM")
    assert setup.source.asked == [("AAPL", "IBM")]
    setup.clock.advance(1)
    await setup.ask("AAPL", "IBM")

    assert answers == [["AAPL", "IBM"]] * 3
    assert len(setup.source.asked) == 2


async def test_another_question_is_another() -> None:
    """Other symbols, types or days are asked for by themselves; the order of types is none."""
    setup = Setup()
    split_, dividend = CorporateActionType.FORWARD_SPLIT, CorporateActionType.CASH_DIVIDEND
    await setup.ask("AAPL")
    await setup.ask("IBM")
    await setup.ask("AAPL", types=[split_, dividend])
    await setup.ask("AAPL", types=[dividend, split_])
    await setup.ask("AAPL", end=date(2020, 6, 1))

    assert setup.source.asked == [("AAPL",), ("IBM",), ("AAPL",), ("AAPL",)]


async def test_those_who_ask_at_once_share_a_request() -> None:
    """Ten who ask the same at once cost one request."""
    setup = Setup()
    answers = await asyncio.gather(*(setup.ask("AAPL") for _ in range(10)))

    assert answers == [["AAPL"]] * 10
    assert len(setup.source.asked) == 1


async def test_a_failure_is_told() -> None:
    """What cannot be had is a failure, and asked again after a pause."""
    setup = Setup()
    setup.source.failing_with = UpstreamBroken("answered 500")
    for _ in range(2):
        with pytest.raises(UpstreamBroken):
            await setup.ask("AAPL")
    setup.source.failing_with = None
    setup.clock.advance(5)

    assert await setup.ask("AAPL") == ["AAPL"]
    assert len(setup.source.asked) == 2
