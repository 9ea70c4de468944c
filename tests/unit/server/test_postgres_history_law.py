"""The store in PostgreSQL and the simple one in memory hold the same, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tickgate_server.market.columns import Block, Origin
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import Adjustment, SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.ports import HistoryStore

from ...support.fakes import NOW, HandClock
from ...support.history_store import MemoryStore, Values, block_of, postgres_history, values_of
from ...support.stores import postgres_url

FIRST = parse_rfc3339("2023-12-31T23:59:57Z")
"""So that the instants of a script lie in two years, and so in two partitions."""

BARS = SeriesKey(
    SeriesKind.BARS, "", Feed.IEX, Timeframe(1, Unit.MINUTE), frozenset({Adjustment.SPLIT})
)
TRADES = SeriesKey(SeriesKind.TRADES, "", Feed.IEX)
OPTIONS = SeriesKey(SeriesKind.TRADES, "AAPL240315C00172500", None)
QUOTES = SeriesKey(SeriesKind.QUOTES, "", Feed.SIP)

instants = st.integers(0, 7)
variants = st.integers(0, 2)


class Write(Struct, frozen=True):
    """An answer: all of an interval, received so many seconds ago."""

    start: int
    end: int
    values: tuple[tuple[int, int], ...]
    """Instants and variants."""

    ago: int
    refused: int


class Record(Struct, frozen=True):
    """Values that arrived one after the other, and what is complete then."""

    values: tuple[tuple[int, int], ...]
    ago: int
    covered: tuple[tuple[int, int], ...]


class Forget(Struct, frozen=True):
    """Something has happened to the company."""

    ago: int


class Retire(Struct, frozen=True):
    """What is before an instant is too old."""

    before: int


Step = Write | Record | Forget | Retire

some = st.lists(st.tuples(instants, variants), max_size=8).map(tuple)
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(Write, instants, instants, some, st.integers(0, 3), st.integers(0, 1)),
    st.builds(Write, st.just(0), st.just(8), some, st.integers(0, 1), st.just(0)),
    st.builds(
        Record,
        some,
        st.integers(0, 2),
        st.lists(st.tuples(instants, instants), max_size=2).map(tuple),
    ),
    st.builds(Forget, st.integers(0, 4)),
    st.builds(Retire, instants),
)


def at(instant: int) -> int:
    """Return an instant of a script in nanoseconds."""
    return FIRST + instant * NANOS


def values(key: SeriesKey, variant: int) -> Values:
    """Return the fields of one of three values. The first two of trades have the same id."""
    price = Decimal("10.5") + variant
    if key.kind is SeriesKind.BARS:
        return price, price, price, price, variant or None, None, None
    if key.kind is SeriesKind.TRADES:
        number = None if key.of_option else variant // 2
        return price, 1, "V", ("@",) if variant else None, number, None, None
    return (
        (price, 1, "V", None, None, None, None, None)
        if variant
        else (None,) * 3 + (price,) + (None,) * 4
    )


def block(
    key: SeriesKey, given: Sequence[tuple[int, int]], received: Sequence[int], request: str
) -> Block:
    """Return values as a block: of one answer, or with a receive time each where *request* is empty."""
    return block_of(
        key.kind,
        Origin(DataSource.SANDBOX, key.feed, max(received), request, Tier.UPSTREAM),
        [at(instant) for instant, _ in given],
        [values(key, variant) for _, variant in given],
        None if request else received,
    )


async def take(store: HistoryStore, key: SeriesKey, step: Step, now: int, number: int) -> None:
    """Do *step* to *store*, at the moment *now*."""
    match step:
        case Write():
            wanted = [one for one in sorted(step.values) if step.start <= one[0] < step.end]
            if key.kind is SeriesKind.BARS:
                wanted = list(dict(wanted).items())
            received = [now - step.ago * NANOS] * len(wanted)
            blocks = [block(key, wanted, received, f"answer-{number}")] if wanted else []
            await store.write(key, Interval(at(step.start), at(step.end)), blocks, step.refused)
        case Record():
            wanted = sorted(step.values, key=lambda one: one[0])
            received = [now - step.ago * NANOS + place for place in range(len(wanted))]
            blocks = [block(key, wanted, received, "")] if wanted else []
            covered = [Interval(at(start), at(end)) for start, end in step.covered]
            await store.record(key, blocks, covered)
        case Forget():
            await store.forget_adjusted(key.symbol, now - step.ago * NANOS)
        case Retire():
            await store.retire({key.kind.value: at(step.before)})


async def told(store: HistoryStore, key: SeriesKey, as_of: int | None, size: int) -> Any:
    """Return all that *store* tells: rows with their origins, in both orders, and how long what is covered."""
    whole = Interval(at(0) - 1, at(9))
    read = []
    for newest_first in (False, True):
        rows = []
        async for one in store.read(key, whole, newest_first=newest_first, as_of=as_of, rows=size):
            assert len(one) <= size
            received = one.receive_times or [one.origin.receive_time] * len(one)
            for time, fields, receive_time in zip(one.times, values_of(one), received, strict=True):
                rows.append((time, fields, receive_time, one.origin.upstream_request_id))
        read.append(rows)
    assert read[0] == read[1][::-1]
    covered = (await store.coverage([key], whole, as_of))[key]
    assert sum(one.count for one in covered) <= len(read[0])
    instants = [
        (instant, one.refused > 0 and as_of is None)
        for one in covered
        for instant in range(one.interval.start, one.interval.end, NANOS)
    ]
    return read[0], instants, sum(one.count for one in covered)


def test_both_stores_hold_the_same() -> None:
    """Whatever is written, recorded, forgotten and dropped: both tell the same of now and of each moment before."""
    symbols = count()

    async def compare(
        real: HistoryStore, clock: HandClock, key: SeriesKey, script: list[Step], size: int
    ) -> None:
        memory = MemoryStore(clock)
        number = next(symbols)
        key = key.about(f"AAPL240315C{number:08}" if key.of_option else f"S{number}")
        moments = [clock.wall() - 5 * NANOS]
        for number, step in enumerate(script):
            clock.advance(1)
            moments.append(clock.wall())
            for store in (memory, real):
                await take(store, key, step, clock.wall(), number)
            assert await told(real, key, None, size) == await told(memory, key, None, size)
        for moment in moments:
            for as_of in (moment - 1, moment, moment + 3):
                assert await told(real, key, as_of, size) == await told(memory, key, as_of, size)

    with postgres_url() as url, asyncio.Runner() as runner:
        clock, stack = HandClock(NOW), AsyncExitStack()
        real = runner.run(stack.enter_async_context(postgres_history(url, clock)))

        @settings(
            max_examples=40,  # each is a dozen transactions
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(
            st.sampled_from([BARS, TRADES, OPTIONS, QUOTES]),
            st.lists(steps, min_size=1, max_size=6),
            st.sampled_from([1, 2, 100]),
        )
        def law(key: SeriesKey, script: list[Step], size: int) -> None:
            runner.run(compare(real, clock, key, script, size))

        try:
            law()
        finally:
            runner.run(stack.aclose())
