"""A latest source that asks once for simultaneous askers, and in one batch for those who come together."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec.structs import replace

from ..errors import UpstreamFailure
from ..market.answer import Answer, Question
from ..market.unavailable import Unavailable
from ..ports import Answers, Clock, Key, LatestSource
from .boarding import Boarding
from .flights import Flights

V = TypeVar("V")


class CoalescedLatest(Generic[V]):
    """The wrapped source, asked at most once at a time for each symbol and feed.

    Questions about a single symbol that meet within a few milliseconds travel as one batch for each feed. Questions
    about several symbols are batches already and leave at once.
    """

    def __init__(
        self, source: LatestSource[V], cap: float, clock: Clock, boarding: Boarding | None = None
    ) -> None:
        """Wrap *source*; a shared call takes *cap* seconds at most, *boarding* lets single ones travel together."""
        self._source = source
        self._flights: Flights[Key, Answer[V] | Unavailable] = Flights(
            cap, clock.monotonic, boarding
        )

    async def latest(self, question: Question) -> Answers[V]:
        """Return the answers, shared with whoever asks for the same symbols now."""

        async def ask(keys: list[Key], deadline: float) -> dict[Key, Answer[V] | Unavailable]:
            shared = replace(
                question,
                symbols=tuple(symbol for _, symbol in keys),
                deadline=deadline,
                wanted_until=self._flights.wanted_until(keys[0]),
            )
            answers = await self._source.latest(shared)
            return {(question.feed, symbol): answer for symbol, answer in answers.items()}

        keys = [(question.feed, symbol) for symbol in question.symbols]
        answers = await self._flights.join(keys, ask, question.deadline, line=question.feed)
        return {
            symbol: answer.unavailable() if isinstance(answer, UpstreamFailure) else answer
            for (_, symbol), answer in answers.items()
        }
