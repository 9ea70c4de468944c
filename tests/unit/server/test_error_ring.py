"""The ring of errors, and what makes entries legible."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.observe.counters import ErrorLogCounts
from tickgate_server.ports import ErrorEntry, ErrorQuery
from tickgate_server.stores.error_ring import ErrorRing
from tickgate_server.stores.legible import legible

from ...support.error_log import entry

TEXTS = st.text(st.characters(exclude_categories=()))
"""Lone surrogates and NUL among them."""

THINGS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.decimals() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(TEXTS | st.integers(), inner)
        | st.frozensets(st.integers())
    ),
)
ENTRIES = st.builds(ErrorEntry, st.integers(), TEXTS, TEXTS, TEXTS, st.dictionaries(TEXTS, THINGS))


async def test_the_oldest_make_room() -> None:
    """A ring holds as many as it has places, and what it has written it has counted."""
    counts = ErrorLogCounts()
    ring = ErrorRing(3, counts)
    for number in range(10):
        ring.note(entry(number))
    _, records = await ring.search(ErrorQuery(), None)
    assert [(record.id, record.entry) for record in records] == [
        (10, entry(9)),
        (9, entry(8)),
        (8, entry(7)),
    ]
    assert (counts.written, counts.dropped) == (10, 0)


@given(ENTRIES)
def test_legible_is_what_json_can_carry(noted: ErrorEntry) -> None:
    """Whatever an entry holds, made legible it survives JSON and UTF-8, holds no NUL, and stays as it is."""
    read = legible(noted)
    said = [read.request_id, read.reason, read.message, read.context]
    assert json.loads(msgspec.json.encode(said)) == said
    assert "\\u0000" not in json.dumps(said).replace("\\\\", "")
    assert legible(read) == read


@given(TEXTS)
def test_legible_text_is_kept(text: str) -> None:
    """What was legible already is not touched."""
    if text.isprintable():
        assert legible(entry(message=text)).message == text


def test_what_json_has_no_word_for_is_told_as_text() -> None:
    """A price is its text, a number that is none is null, halves of a character are joined."""
    odd = {"price": Decimal("10.50"), "nan": float("nan"), "pair": "\ud83d\ude42", 7: {"x"}}
    read = legible(entry(context=odd))
    assert read.context == {"price": "10.50", "nan": None, "pair": "🙂", "7": ["x"]}


def test_a_context_that_cannot_be_read_costs_only_itself() -> None:
    """A context that bites its own tail is left out, and says so."""
    tail: dict[str, Any] = {}
    tail["tail"] = tail
    read = legible(entry(context=tail))
    assert read == entry(context={"unreadable": "RecursionError"})
