"""What is served: how old it is, and how good."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..market.answer import Answer
from ..market.provenance import Feed
from ..market.quality import assess
from ..market.quote import Quote
from ..market.time import NANOS
from ..market.unavailable import Unavailable
from ..observe.counters import Counters
from .convert import Moment


class Served:
    """Counts the event ages of values that are served, and the scores of quotes that are served for the first time."""

    def __init__(self, counters: Counters) -> None:
        """Count in *counters*."""
        self._counters = counters

    def note(
        self, outcomes: Iterable[Answer[Any] | Unavailable], feed: Feed, moment: Moment
    ) -> None:
        """Count those of *outcomes* that are values of *feed*, before they are encoded for *moment*."""
        ages = self._counters.ages_on(feed)
        for answer in outcomes:
            if not isinstance(answer, Answer):
                continue
            held = answer.held
            event_time = held.value.event_time
            if event_time is not None:
                ages.observe((moment.market - event_time) / NANOS)
            # A value is encoded when it is first served, and served thousands of times.
            if held.encoded is None and isinstance(held.value, Quote):
                age = None if event_time is None else moment.market - event_time
                quality = assess(held.value, age, moment.session)
                self._counters.scores_on(feed).observe(quality.score)
