"""Single parts of option quotes, for those who follow quotes or trades alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..market.answer import Answer, Held, Question
from ..market.option import OptionPart, OptionQuote
from ..market.unavailable import Reason, Unavailable
from ..ports import Answers, OptionSource

V = TypeVar("V")


class OptionParts(Generic[V]):
    """A `LatestSource` of one part of what the wrapped source knows of a contract."""

    def __init__(
        self, source: OptionSource, part: OptionPart, pick: Callable[[OptionQuote], V | None]
    ) -> None:
        """Wrap *source*; *pick* takes *part* out of an option quote."""
        self._source = source
        self._part = part
        self._pick = pick

    async def latest(self, question: Question) -> Answers[V]:
        """Return the part of each contract, or why there is none."""
        answers = await self._source.latest(question)
        return {symbol: self._of(symbol, answer) for symbol, answer in answers.items()}

    def _of(
        self, symbol: str, answer: Answer[OptionQuote] | Unavailable
    ) -> Answer[V] | Unavailable:
        if isinstance(answer, Unavailable):
            return answer
        value = self._pick(answer.value)
        if value is not None:
            return Answer(Held(value, answer.held.confirmed_at), answer.served_from)
        return answer.value.missing.get(self._part) or Unavailable(
            reason=Reason.NO_DATA,
            message=f"{symbol}: {self._part.value.replace('_', ' ')} not sent",
        )
