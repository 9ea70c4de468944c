"""Counts every call: how it ended, how long it took, and what became of each value that it asked for."""

from __future__ import annotations

from typing import Final

from ..market.provenance import Tier
from ..observe.counters import Counters, RpcCounts
from .call import Call

NO_FEED: Final = "none"
"""Stands for the feed of what belongs to none."""

OTHER: Final = "other"
"""Stands for the tier of what comes from none: the lists that a gateway keeps of assets, sessions and contracts."""


class Counting:
    """Counts finished calls."""

    def __init__(self, counters: Counters) -> None:
        """Count in *counters*."""
        self._counters = counters

    def count(self, call: Call, seconds: float) -> None:
        """Count *call*, which took so many *seconds*."""
        counters = self._counters
        counts = counters.rpcs.get(call.method) or counters.rpc(call.method)
        counts.seconds.observe(seconds)
        codes, code = counts.codes, call.code
        codes[code] = codes.get(code, 0) + 1
        if call.asked:
            _count_values(counts, call)


def _count_values(counts: RpcCounts, call: Call) -> None:
    values = counts.values_on(NO_FEED if call.feed is None else call.feed)
    values.asked += call.asked
    given, missing = values.given, values.missing
    for tier in call.tiers:
        given[tier] = given.get(tier, 0) + 1
    if len(call.tiers) < call.given:
        _count_untold(given, call)
    for _, why in call.missing:
        reason = why.reason.name
        missing[reason] = missing.get(reason, 0) + 1
    # A call that broke off has not said of each value what became of it.
    rest = call.asked - call.given - len(call.missing)
    if rest > 0:
        reason = call.reason or call.code
        missing[reason] = missing.get(reason, 0) + rest


def _count_untold(given: dict[str, int], call: Call) -> None:
    """Count values of which the call has said no more than how many cost a request."""
    untold = call.given - len(call.tiers)
    fetched = min(untold, max(0, call.from_upstream - call.tiers.count(Tier.UPSTREAM)))
    for tier, count in ((Tier.UPSTREAM.value, fetched), (OTHER, untold - fetched)):
        if count:
            given[tier] = given.get(tier, 0) + count
