"""Batching: single calls that come together travel as one, who comes alone does not wait, nobody harms another."""

from __future__ import annotations

import asyncio

import pytest

from tickgate_server.errors import UpstreamFailure, UpstreamTimeout
from tickgate_server.guards.boarding import Boarding
from tickgate_server.guards.coalesced import CoalescedLatest
from tickgate_server.guards.flights import Flights
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import Feed
from tickgate_server.market.quote import Quote

from ...support.fakes import FakeLatest, HandClock, question, quote, settle

NEVER = 1000.0
"""Seconds that no test waits: what leaves, leaves for another reason."""

SOON = 0.01
LONG = 1010.0


class Airport:
    """Calls that wait for company, and end when they are told to."""

    def __init__(self, window: float = NEVER, longest: float = NEVER, most: int = 100) -> None:
        self.clock = HandClock()
        self.flights: Flights[str, str] = Flights(
            5.0, self.clock.monotonic, Boarding(window, longest, most)
        )
        self.begun: list[list[str]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.cancelled: list[list[str]] = []

    async def start(self, keys: list[str], _: float) -> dict[str, str]:
        """Begin a call, which ends when the gate of its first key opens."""
        self.begun.append(list(keys))
        try:
            await self.gates.setdefault(keys[0], asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(list(keys))
            raise
        return {key: key.lower() for key in keys}

    def ask(
        self, *keys: str, line: str = "line", until: float = LONG
    ) -> asyncio.Task[dict[str, str | UpstreamFailure]]:
        """Ask for *keys*."""
        return asyncio.create_task(self.flights.join(keys, self.start, until, line))

    def land(self, key: str) -> None:
        """Let the call that began with *key* end."""
        self.gates.setdefault(key, asyncio.Event()).set()

    async def take_off(self, key: str) -> asyncio.Task[dict[str, str | UpstreamFailure]]:
        """Let a call for *key* leave alone, so that others wait behind it."""
        asker = self.ask(key)
        await settle(lambda: [key] in self.begun)
        return asker


async def turns(count: int = 20) -> None:
    """Let the loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_comes_alone_does_not_wait() -> None:
    """A single call after a second of quiet leaves at once, however long the window is."""
    airport = Airport()
    first = airport.ask("A")
    await settle(lambda: airport.begun == [["A"]])
    airport.land("A")
    assert await first == {"A": "a"}
    airport.clock.advance(1.0)
    airport.land("B")
    assert await airport.ask("B") == {"B": "b"}


async def test_a_burst_travels_as_one() -> None:
    """Two hundred callers who ask for as many keys in one turn of the loop cost one call."""
    keys = [f"K{number}" for number in range(200)]
    airport = Airport(most=200)
    askers = [airport.ask(key) for key in keys]
    airport.land(keys[0])
    answers = await asyncio.gather(*askers)
    assert airport.begun == [keys]
    assert answers == [{key: key.lower()} for key in keys]


async def test_in_quick_succession_they_wait_a_moment() -> None:
    """A call within a second of another waits for the window, and whoever comes meanwhile travels with it."""
    airport = Airport(window=SOON)
    airport.land("A")
    airport.land("B")
    await airport.ask("A")
    second, third = airport.ask("B"), airport.ask("C")
    assert [await second, await third] == [{"B": "b"}, {"C": "c"}]
    assert airport.begun == [["A"], ["B", "C"]]


async def test_they_wait_behind_the_call_under_way() -> None:
    """What comes while a call is under way leaves together when that is back."""
    airport = Airport(window=0.0001)
    first = await airport.take_off("A")
    others = [airport.ask("B"), airport.ask("C")]
    await turns()
    assert airport.begun == [["A"]]
    airport.land("A")
    airport.land("B")
    await first
    assert await asyncio.gather(*others) == [{"B": "b"}, {"C": "c"}]
    assert airport.begun == [["A"], ["B", "C"]]


async def test_nobody_waits_longer_than_the_longest() -> None:
    """Behind a call that does not come back the next one leaves after the longest wait."""
    airport = Airport(longest=SOON)
    stuck = await airport.take_off("A")
    airport.land("B")
    assert await airport.ask("B") == {"B": "b"}
    airport.land("A")
    await stuck


async def test_a_loop_that_lags_hears_everybody_first() -> None:
    """While somebody joins in every few turns of the loop a call does not leave without those who come next."""
    airport = Airport(longest=SOON, most=10**6)
    stuck = await airport.take_off("A")
    loop = asyncio.get_running_loop()
    began, askers = loop.time(), [airport.ask("B0")]
    while loop.time() < began + 3 * SOON:
        askers.append(airport.ask(f"B{len(askers)}"))
        await asyncio.sleep(0)
    await settle(lambda: len(airport.begun) == 2)
    airport.land("A")
    airport.land("B0")
    await asyncio.gather(stuck, *askers)
    assert len(airport.begun) == 2


async def test_each_landing_sends_off_one_call_not_many() -> None:
    """While two calls are under way the return of one does not send off who waits."""
    airport = Airport(window=0.0001, longest=NEVER, most=2)
    stuck = await airport.take_off("A")
    pair = [airport.ask("B"), airport.ask("C")]
    await settle(lambda: ["B", "C"] in airport.begun)
    waiting = airport.ask("D")
    airport.land("B")
    await asyncio.gather(*pair)
    await turns()
    assert airport.begun == [["A"], ["B", "C"]]
    airport.land("A")
    airport.land("D")
    await asyncio.gather(stuck, waiting)
    assert airport.begun[-1] == ["D"]


async def test_a_full_call_leaves_at_once() -> None:
    """With as many keys as one call takes it leaves, and the next key opens another."""
    airport = Airport(most=2)
    first = await airport.take_off("A")
    askers = [airport.ask(key) for key in "BCDE"]
    await settle(lambda: len(airport.begun) == 3)
    for key in "ABD":
        airport.land(key)
    await asyncio.gather(first, *askers)
    assert airport.begun == [["A"], ["B", "C"], ["D", "E"]]


async def test_several_keys_leave_at_once() -> None:
    """A call for several keys is a batch already: it neither waits nor takes others with it."""
    airport = Airport()
    first = await airport.take_off("A")
    single = airport.ask("B")
    several = airport.ask("C", "D")
    await settle(lambda: ["C", "D"] in airport.begun)
    assert ["B"] not in airport.begun
    for key in "ABC":
        airport.land(key)
    single.cancel()
    await asyncio.gather(first, several)


async def test_who_asks_for_what_waits_joins_it() -> None:
    """A key that waits to leave is not asked for twice."""
    airport = Airport(window=0.0001)
    first = await airport.take_off("A")
    askers = [airport.ask("B"), airport.ask("B"), airport.ask("A", "B")]
    await turns()
    airport.land("A")
    airport.land("B")
    await asyncio.gather(first, *askers)
    assert airport.begun == [["A"], ["B"]]


async def test_lines_do_not_wait_for_each_other() -> None:
    """What travels on another line leaves at once."""
    airport = Airport()
    first = await airport.take_off("A")
    other = airport.ask("B", line="other")
    await settle(lambda: ["B"] in airport.begun)
    airport.land("A")
    airport.land("B")
    await asyncio.gather(first, other)


async def test_without_a_window_everybody_leaves_alone() -> None:
    """A window of zero turns batching off."""
    airport = Airport(window=0.0)
    askers = [airport.ask(key) for key in "ABC"]
    await settle(lambda: airport.begun == [["A"], ["B"], ["C"]])
    for key in "ABC":
        airport.land(key)
    await asyncio.gather(*askers)


async def test_one_who_gives_up_harms_no_other() -> None:
    """Of three who wait together one is cancelled and one runs out of time; the third gets its answer."""
    airport = Airport(window=0.0001)
    first = await airport.take_off("A")
    gone, late, patient = airport.ask("B"), airport.ask("C", until=1000.01), airport.ask("D")
    await turns()
    gone.cancel()
    assert isinstance((await late)["C"], UpstreamTimeout)
    airport.land("A")
    airport.land("B")
    await first
    assert await patient == {"D": "d"}
    assert airport.cancelled == []


@pytest.mark.parametrize("began", [True, False])
async def test_a_call_that_all_gave_up_never_leaves(began: bool) -> None:
    """When everybody who waited has gone nothing is asked, and who comes next has a call of its own."""
    airport = Airport(window=0.0001)
    first = await airport.take_off("A")
    gone = [airport.ask("B"), airport.ask("C")]
    if began:
        await turns()
    else:
        # The askers have asked, and the task of their call has not had its first turn.
        await asyncio.sleep(0)
    for asker in gone:
        asker.cancel()
    await asyncio.wait(gone)
    again = airport.ask("B")
    await turns()
    airport.land("A")
    airport.land("B")
    await first
    assert await again == {"B": "b"}
    assert airport.begun == [["A"], ["B"]]


async def test_a_call_under_way_is_called_back_when_all_have_gone() -> None:
    """A batch that nobody waits for any more is cancelled, and its line goes on."""
    airport = Airport(window=0.0001)
    askers = [airport.ask("A"), airport.ask("B")]
    await settle(lambda: airport.begun == [["A", "B"]])
    for asker in askers:
        asker.cancel()
    await asyncio.wait(askers)
    await settle(lambda: airport.cancelled == [["A", "B"]])
    airport.land("C")
    assert await airport.ask("C") == {"C": "c"}


async def test_single_questions_about_one_feed_travel_together() -> None:
    """Questions about single symbols become one question for each feed; deadlines stay each asker's own."""
    clock = HandClock()
    source = FakeLatest[Quote](clock, {symbol: quote(symbol) for symbol in ("AAPL", "IBM", "MSFT")})
    latest = CoalescedLatest(source, 5.0, clock, Boarding(0.0001, NEVER, 200))
    asked = [("AAPL", Feed.IEX), ("IBM", Feed.IEX), ("MSFT", Feed.SIP), ("ZZZZ", Feed.IEX)]
    answers = await asyncio.gather(
        *(latest.latest(question(symbol, feed=feed)) for symbol, feed in asked)
    )
    assert [list(answer) for answer in answers] == [["AAPL"], ["IBM"], ["MSFT"], ["ZZZZ"]]
    assert isinstance(answers[0]["AAPL"], Answer)
    assert not isinstance(answers[3]["ZZZZ"], Answer)
    assert sorted(source.symbols_asked) == [("AAPL", "IBM", "ZZZZ"), ("MSFT",)]
