"""What a call says of the answers that it got: for its log line, and for strict callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..market.answer import Answer
from ..market.provenance import Feed, Tier
from ..market.unavailable import Unavailable
from ..ports import Answers
from .call import Call
from .calls import StrictRefusal

V = TypeVar("V")


def settle(
    call: Call, symbols: Sequence[str], feed: Feed | None, answers: Answers[V], *, strict: bool
) -> None:
    """Note in *call* what *answers* there are to *symbols*, and fail it if it is *strict* and misses one.

    Raises:
        StrictRefusal: the first symbol without a value.
    """
    tiers = [answer.served_from for answer in answers.values() if isinstance(answer, Answer)]
    call.asked, call.given = len(symbols), len(tiers)
    call.from_upstream = tiers.count(Tier.UPSTREAM)
    call.symbols, call.tiers, call.feed = symbols, tiers, feed
    if call.given == call.asked:
        return
    call.strict = strict
    call.missing = [
        (symbol, why) for symbol in symbols if isinstance(why := answers[symbol], Unavailable)
    ]
    symbol, why = call.missing[0]
    call.reason = why.reason.name
    if strict:
        raise StrictRefusal(why, symbol)


def miss(
    why: Unavailable, call: Call, *, strict: bool, symbol: str = "", feed: Feed | None = None
) -> None:
    """Note in *call* why there is no answer, and fail it if it is *strict*.

    Raises:
        StrictRefusal: it is.
    """
    call.asked, call.given, call.reason = 1, 0, why.reason.name
    if symbol:
        call.symbols = (symbol,)
    call.feed, call.strict, call.missing = feed, strict, ((symbol, why),)
    if strict:
        raise StrictRefusal(why, symbol)
