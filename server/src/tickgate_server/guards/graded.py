"""A quote source that refuses quotes below a quality."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ..market.answer import Answer, Question
from ..market.quality import assess
from ..market.quote import Quote
from ..market.session import MarketSession
from ..market.unavailable import Reason, TierAttempt, TierOutcome, Unavailable
from ..ports import Answers, Clock, QuoteSource


class GradedQuotes:
    """The wrapped source; a quote that scores below the question's `min_quality` is LOW_QUALITY."""

    def __init__(
        self, source: QuoteSource, clock: Clock, session: Callable[[], MarketSession | None]
    ) -> None:
        """Wrap *source*; event age is measured on *clock*, and *session* tells the market's, None when unknown."""
        self._source = source
        self._clock = clock
        self._session = session

    def latest(self, question: Question) -> Coroutine[Any, Any, Answers[Quote]]:
        """Return the answers of the source, refusing what scores too low."""
        # Most take any quote, and wait for the source alone.
        return self._graded(question) if question.min_quality else self._source.latest(question)

    async def _graded(self, question: Question) -> Answers[Quote]:
        answers = await self._source.latest(question)
        return {
            symbol: self._grade(symbol, answer, question.min_quality)
            for symbol, answer in answers.items()
        }

    def _grade(
        self, symbol: str, answer: Answer[Quote] | Unavailable, least: int
    ) -> Answer[Quote] | Unavailable:
        if isinstance(answer, Unavailable):
            return answer
        event_time = answer.value.event_time
        age = None if event_time is None else self._clock.market() - event_time
        quality = assess(answer.value, age, self._session())
        if quality.score >= least:
            return answer
        flags = ", ".join(flag.name for flag in quality.flags) or "none"
        return Unavailable(
            reason=Reason.LOW_QUALITY,
            message=f"{symbol}: quality score {quality.score} is below {least}, flags {flags}",
            last_event_time=event_time,
            tiers=(TierAttempt(answer.served_from, TierOutcome.REFUSED, self._clock.wall()),),
        )
