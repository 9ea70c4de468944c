"""Evidence of live records: the first of each kind in a minute, and how many were left out before it."""

from __future__ import annotations

from typing import Any

from tickgate_server.ingress.sparing import SparingNotes
from tickgate_server.ports import ErrorEntry

from ...support.fakes import NOW, HandClock


def entry(symbol: str = "AAPL", rule: str = "crossed", **more: Any) -> ErrorEntry:
    """A refused record as the gate notes it."""
    context = {"feed": "iex", "subject": "quote", "symbol": symbol, "rule": rule, **more}
    return ErrorEntry(NOW, "", "INVALID_DATA", f"quote of {symbol}: refused", context)


def sparing() -> tuple[SparingNotes, list[ErrorEntry], HandClock]:
    """Notes that are spared, what passes, and the clock."""
    kept: list[ErrorEntry] = []
    clock = HandClock()
    return SparingNotes(kept.append, clock), kept, clock


def test_the_first_of_a_kind_is_kept_whole() -> None:
    """The first refusal of a symbol by a rule passes as it is."""
    note, kept, _ = sparing()
    first = entry(evidence="bid 2 above ask 1")
    note(first)
    assert kept == [first]


def test_twenty_thousand_of_a_kind_are_one_a_minute() -> None:
    """Within a minute the others of the kind are left out; the next one kept says how many."""
    note, kept, clock = sparing()
    for _ in range(20_000):
        note(entry())
    clock.advance(60)
    note(entry())
    clock.advance(60)
    note(entry())
    assert [one.context.get("left_out_before") for one in kept] == [None, 19_999, None]


def test_other_symbols_and_rules_are_kinds_of_their_own() -> None:
    """A flood of one kind hides no other."""
    note, kept, _ = sparing()
    for _ in range(3):
        for one in (entry(), entry("IBM"), entry(rule="negative_price"), entry(subject="trade")):
            note(one)
    assert len(kept) == 4


def test_kinds_are_remembered_within_bounds() -> None:
    """Of more kinds than are told apart the oldest is forgotten, and kept again."""
    note, kept, _ = sparing()
    for number in range(10_001):
        note(entry(f"S{number}"))
    note(entry("S0"))
    note(entry("S10000"))
    assert len(kept) == 10_002
