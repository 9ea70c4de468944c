"""The law of the past, whatever was held, however pages fall and whatever fails.

What comes out is the series, value by value; each missing instant is asked for once; what is said to be held is held;
and asking again asks nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from tickgate_server.errors import UpstreamBroken
from tickgate_server.market.columns import TradeBlock
from tickgate_server.market.history_rows import trades
from tickgate_server.market.interval import Interval, union, within, without
from tickgate_server.market.provenance import Tier
from tickgate_server.market.unavailable import Reason
from tickgate_server.ports import SeriesBroken

from ...support.fanning import run_in_steered_time
from ...support.history_desk import TRADES, YESTERDAY, Desk, Told, since_yesterday, trades_at
from ...support.history_pages import block_of

LENGTH = 24
SYMBOLS = ("MSFT", "AAPL", "IBM")
"""Not in the upstream's order."""


class Scene(Struct, frozen=True):
    """A past, what is held of it, and a question."""

    instants: tuple[tuple[int, ...], ...]
    """Of each symbol's trades."""

    held: tuple[tuple[tuple[int, int], ...], ...]
    """Of each symbol, what is held."""

    asked: tuple[int, int]
    newest_first: bool
    limit: int
    rows: int
    page: int
    spool: int
    stored: bool
    cached: bool

    @property
    def interval(self) -> Interval:
        return since_yesterday(*self.asked)

    @property
    def symbols(self) -> tuple[str, ...]:
        return SYMBOLS[: len(self.instants)]

    def held_of(self, symbol: str) -> list[Interval]:
        spans = self.held[SYMBOLS.index(symbol)]
        return union(since_yesterday(*sorted(span)) for span in spans) if self.stored else []

    def model(self, symbol: str) -> list[int | None]:
        """The numbers of the trades that answer the question."""
        values = [
            value.id
            for value in trades_at(self.instants[SYMBOLS.index(symbol)], symbol)
            if value.event_time in self.interval
        ]
        if self.newest_first:
            values.reverse()
        return values[: self.limit] if self.limit else values

    def question(self, **more: Any) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "newest_first": self.newest_first,
            "limit": self.limit,
            **more,
        }


INSTANT = st.integers(0, LENGTH)
SPAN = st.tuples(INSTANT, INSTANT)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Draw a scene; crowded instants are frequent."""
    count = draw(st.integers(1, 3))
    start = draw(st.integers(0, LENGTH - 1))
    return Scene(
        instants=tuple(tuple(draw(st.lists(INSTANT, max_size=20))) for _ in range(count)),
        held=tuple(tuple(draw(st.lists(SPAN, max_size=3))) for _ in range(count)),
        asked=(start, draw(st.integers(start + 1, LENGTH + 1))),
        newest_first=draw(st.booleans()),
        limit=draw(st.sampled_from([0, 0, 1, 2, 5])),
        rows=draw(st.integers(1, 5)),
        page=draw(st.integers(1, 6)),
        spool=draw(st.integers(1, 3)),
        stored=draw(st.booleans()),
        cached=draw(st.booleans()),
    )


async def desk(scene: Scene) -> Desk:
    """Set *scene*."""
    series = {
        TRADES.about(symbol): trades_at(instants, symbol)
        for symbol, instants in zip(SYMBOLS, scene.instants, strict=False)
    }
    made = Desk(
        series,
        stored=scene.stored,
        cached=scene.cached,
        page=scene.page,
        least_page=1,
        spool=scene.spool,
    )
    for symbol in scene.symbols:
        values = series[TRADES.about(symbol)]
        for interval in scene.held_of(symbol):
            block = block_of([value for value in values if value.event_time in interval])
            blocks = [] if block is None else [block]
            await made.memory.write(TRADES.about(symbol), interval, blocks)
    return made


async def check_held(made: Desk, scene: Scene) -> None:
    """What the store says that it holds is what it holds."""
    whole = since_yesterday(0, LENGTH + 2)
    keys = [TRADES.about(symbol) for symbol in scene.symbols]
    for key, covered in (await made.memory.coverage(keys, whole)).items():
        instants = scene.instants[SYMBOLS.index(key.symbol)]
        for one in covered:
            stored = [
                value.id
                async for block in made.memory.read(key, one.interval)
                if isinstance(block, TradeBlock)
                for value in trades(block, key.symbol)
            ]
            real = [
                value.id
                for value in trades_at(instants, key.symbol)
                if value.event_time in one.interval
            ]
            assert stored == real, one


def check_answer(scene: Scene, symbol: str, told: Told) -> None:
    """The whole answer is the series; one without values says so."""
    expected = scene.model(symbol)
    assert told.numbers == expected
    assert all(len(chunk.block) <= scene.rows for chunk in told.chunks)
    if expected:
        assert told.done.count == len(expected)
    else:
        assert told.broken.why.reason is Reason.NO_DATA
        assert told.broken.missing == scene.interval


MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(scenes())
def test_what_comes_out_is_what_there_is(scene: Scene) -> None:
    """Every value comes once, in order, whoever brings it; what was missing was asked for once, and nothing else."""

    async def program() -> None:
        made = await desk(scene)
        for symbol, told in (
            await made.ask(scene.interval, *scene.symbols, **scene.question())
        ).items():
            check_answer(scene, symbol, told)
            asked = made.pages.told_of(symbol)
            missing = without(scene.interval, scene.held_of(symbol))
            if scene.limit:
                assert within(asked, scene.interval) == union(asked)
            else:
                assert union(asked) == missing
            assert sum(one.end - one.start for one in asked) == sum(
                one.end - one.start for one in union(asked)
            ), "nothing is asked for twice"
            assert all(within([one], held) == [] for one in asked for held in scene.held_of(symbol))
        await made.settle()
        await check_held(made, scene)
        await made.reader.aclose()

    run_in_steered_time(program())


@MANY
@given(scenes())
def test_asking_again_asks_nobody(scene: Scene) -> None:
    """What has been read once is held, by the store, and is told alike."""

    async def program() -> None:
        made = await desk(scene)
        await made.ask(scene.interval, *scene.symbols, **scene.question())
        await made.settle()
        pages = made.pages.pages
        again = await made.ask(scene.interval, *scene.symbols, **scene.question())
        for symbol, told in again.items():
            check_answer(scene, symbol, told)
            if scene.stored:
                assert set(told.tiers) <= {"store", "redis"}
        if scene.stored:
            assert made.pages.pages == pages
        await made.reader.aclose()

    run_in_steered_time(program())


@MANY
@given(scenes(), st.integers(1, 8), st.booleans())
def test_a_failure_loses_nothing(scene: Scene, failing_at: int, store_too: bool) -> None:
    """What came before a failure stands, the end says what is missing, and another try goes on exactly there."""

    async def program() -> None:
        made = await desk(scene)
        made.pages.failing_with, made.pages.failing_at = UpstreamBroken("answered 500"), failing_at
        first = await made.ask(scene.interval, *scene.symbols, **scene.question())
        await made.settle()
        await check_held(made, scene)
        made.pages.failing_with = None
        made.memory.down = store_too
        for symbol, told in first.items():
            numbers = told.numbers
            if isinstance(told.end, SeriesBroken) and not told.end.position.done:
                assert told.end.why.reason is Reason.UPSTREAM_ERROR
                assert numbers == scene.model(symbol)[: len(numbers)]
                rest = await made.ask(
                    scene.interval, *scene.symbols, after=told.end.position, **scene.question()
                )
                numbers = numbers + rest[symbol].numbers
            assert numbers == scene.model(symbol)
        await made.reader.aclose()

    run_in_steered_time(program())


@settings(MANY, max_examples=60)
@given(scenes())
def test_an_answer_goes_on_behind_any_chunk(scene: Scene) -> None:
    """Whoever comes with the position of a chunk gets what comes behind it, also within one crowded instant."""

    async def program() -> None:
        made = await desk(scene)
        whole = await made.ask(scene.interval, *scene.symbols, **scene.question())
        flat = [(symbol, number) for symbol, told in whole.items() for number in told.numbers]
        seen = 0
        for told in whole.values():
            for chunk in told.chunks:
                seen += len(chunk.block)
                rest = await made.ask(
                    scene.interval, *scene.symbols, after=chunk.position, **scene.question()
                )
                assert [
                    (symbol, number) for symbol, told in rest.items() for number in told.numbers
                ] == flat[seen:]
        await made.reader.aclose()

    run_in_steered_time(program())


@settings(MANY, max_examples=60)
@given(scenes(), st.integers(0, 6), st.integers(0, 6))
def test_a_store_that_fails_harms_no_answer(scene: Scene, at: int, back: int) -> None:
    """A store that goes down in the middle of reading or writing leaves the answer whole."""

    async def program() -> None:
        made = await desk(scene)
        store = FailingStore(made, at, at + back)
        made.store = store  # what it does not have, the store it wraps has
        made.reader = made.another()
        if scene.stored:
            for symbol, told in (
                await made.ask(scene.interval, *scene.symbols, **scene.question())
            ).items():
                check_answer(scene, symbol, told)
            await made.settle()
            made.memory.down = False
            await check_held(made, scene)
        await made.reader.aclose()

    run_in_steered_time(program())


class FailingStore:
    """The store of a desk, which is down from one moment to another, counted in what it is asked."""

    def __init__(self, made: Desk, down_from: int, down_until: int) -> None:
        self._store = made.memory
        self._down = range(down_from, down_until)
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        self._step()
        return getattr(self._store, name)

    def _step(self) -> None:
        self._store.down = self._count in self._down
        self._count += 1

    async def read(self, *args: Any, **kwargs: Any) -> Any:
        async for block in self._store.read(*args, **kwargs):
            yield block
            self._step()


@settings(MANY, max_examples=60)
@given(scenes(), st.lists(st.tuples(SPAN, st.booleans()), min_size=1, max_size=4))
def test_many_questions_at_once_are_each_answered(
    scene: Scene, others: Sequence[tuple[tuple[int, int], bool]]
) -> None:
    """Questions that overlap in any way and order are all answered in full."""

    async def program() -> None:
        made = await desk(scene)
        questions = [
            replace(scene, asked=(min(span), max(span) + 1), newest_first=newest_first)
            for span, newest_first in others
        ]
        answers = await asyncio.gather(
            *(made.ask(one.interval, *one.symbols, **one.question()) for one in questions)
        )
        for one, answer in zip(questions, answers, strict=True):
            for symbol, told in answer.items():
                check_answer(one, symbol, told)
        await made.settle()
        await check_held(made, scene)
        await made.reader.aclose()

    run_in_steered_time(program())


@settings(MANY, max_examples=60)
@given(scenes())
def test_tiers_that_may_not_answer_are_left_alone(scene: Scene) -> None:
    """With the store alone, nothing is asked upstream, and what is not held is said to be missing, from where."""

    async def program() -> None:
        made = await desk(scene)
        answer = await made.ask(
            scene.interval,
            *scene.symbols,
            **scene.question(allowed_tiers=frozenset({Tier.STORE})),
        )
        assert made.pages.pages == 0
        for symbol, told in answer.items():
            expected = scene.model(symbol)
            if not without(scene.interval, scene.held_of(symbol)):
                check_answer(scene, symbol, told)
                continue
            assert told.numbers == expected[: len(told.numbers)]
            if len(told.numbers) < len(expected) or not expected:
                assert told.broken.why.reason in (Reason.NOT_HELD, Reason.NOT_SUPPORTED)
                hole = told.broken.missing
                first = hole.end - 1 if scene.newest_first else hole.start
                assert not any(first in held for held in scene.held_of(symbol))
        await made.reader.aclose()

    run_in_steered_time(program())


def test_yesterday_is_settled() -> None:
    """The scenes lie far enough back to be held."""
    assert Desk().clock.market() - YESTERDAY > Desk().policy.settle
