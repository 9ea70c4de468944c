"""A latest source that is not asked what it is known to refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import UpstreamFailure
from ..market.answer import Question
from ..market.provenance import Feed
from ..ports import Answers, LatestSource

V = TypeVar("V")


class ForewarnedLatest(Generic[V]):
    """The wrapped source; a question that is bound to fail is refused before anything is begun for it."""

    def __init__(
        self, source: LatestSource[V], refusal: Callable[[Feed], UpstreamFailure | None]
    ) -> None:
        """Wrap *source*; *refusal* tells at once how a question on a feed would fail now, None where it need not."""
        self._source = source
        self._refusal = refusal

    async def latest(self, question: Question) -> Answers[V]:
        """Return the answers of the source, or the one reason why it is not asked for any symbol."""
        failure = self._refusal(question.feed)
        if failure is None:
            return await self._source.latest(question)
        return dict.fromkeys(question.symbols, failure.unavailable())
