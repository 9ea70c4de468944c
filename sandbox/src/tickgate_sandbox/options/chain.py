"""A chain at one instant: every contract of an underlying, in order, ready to be paged through."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import msgspec

from ..timestamps import parse
from .occ import Right, Terms, read_terms


class _Stamp(msgspec.Struct):
    t: str | None = None


class Stamps(msgspec.Struct, rename="camel"):
    """The times in a snapshot that tell when it was last updated."""

    latest_trade: _Stamp | None = None
    latest_quote: _Stamp | None = None

    def updated(self) -> int | None:
        """Return the newer time in nanoseconds since the epoch, or None when there is none.

        Raises:
            ValueError: one of them is not RFC 3339.
        """
        parts = (self.latest_trade, self.latest_quote)
        times = [parse(part.t) for part in parts if part is not None and part.t is not None]
        return max(times, default=None)


@dataclass(frozen=True, slots=True)
class TermsFilter:
    """Filters that look at nothing but a contract's terms; None leaves a field alone."""

    right: Right | None = None
    root: str | None = None
    lowest: int | None = None
    """Strike in thousandths of a dollar."""
    highest: int | None = None
    first: date | None = None
    """Expiry."""
    last: date | None = None

    def admits(self, terms: Terms) -> bool:
        """Return whether *terms* pass every filter."""
        return (
            self.right in (None, terms.right)
            and self.root in (None, terms.root)
            and (self.lowest is None or self.lowest <= terms.strike)
            and (self.highest is None or terms.strike <= self.highest)
            and (self.first is None or self.first <= terms.expiry)
            and (self.last is None or terms.expiry <= self.last)
        )


class Page(NamedTuple):
    """Some contracts of a chain, in order."""

    snapshots: dict[str, msgspec.Raw]
    more: bool
    """Whether there are others behind them."""


class Chain:
    """Snapshots by contract, each kept as the text it is served as."""

    __slots__ = ("_records", "_symbols", "_terms", "_updated")

    def __init__(self, records: Iterable[tuple[str, bytes, int]]) -> None:
        """Take *records* in any order.

        Args:
            records: OCC symbol, snapshot as JSON, and when it was last updated, in nanoseconds.
        """
        ordered = sorted(records)
        self._symbols = [symbol for symbol, _, _ in ordered]
        self._records = [record for _, record, _ in ordered]
        self._updated = array("q", (updated for _, _, updated in ordered))
        self._terms = [terms for terms in map(read_terms, self._symbols) if terms is not None]

    def __len__(self) -> int:
        return len(self._symbols)

    def __iter__(self) -> Iterator[tuple[str, bytes, int]]:
        return zip(self._symbols, self._records, self._updated, strict=True)

    def snapshot(self, symbol: str) -> bytes | None:
        """Return the snapshot of *symbol*, or None when the chain lacks it."""
        index = self._index(symbol)
        return self._records[index] if index is not None else None

    def only(self, symbols: Iterable[str]) -> Chain:
        """Return the chain of those of *symbols* that are in this one."""
        indexes = (index for one in symbols if (index := self._index(one)) is not None)
        return Chain((self._symbols[at], self._records[at], self._updated[at]) for at in indexes)

    def replaced(self, records: Mapping[str, bytes], updated: int) -> Chain:
        """Return this chain with *records*, all *updated* then, in the place of its own."""
        kept = (entry for entry in self if entry[0] not in records)
        return Chain([*kept, *((symbol, raw, updated) for symbol, raw in records.items())])

    def page(self, wanted: TermsFilter, since: int | None, after: str, limit: int) -> Page:
        """Return the first contracts behind *after* that pass the filters.

        Args:
            wanted: What their terms must be.
            since: They were updated at this instant or later, in nanoseconds; None takes all.
            after: The symbol that the page before ended with; empty for the first page.
            limit: So many contracts at most.
        """
        found: dict[str, msgspec.Raw] = {}
        everything = wanted == TermsFilter() and since is None
        for index in range(bisect_right(self._symbols, after), len(self._symbols)):
            if not everything and not self._admits(index, wanted, since):
                continue
            if len(found) == limit:
                return Page(found, more=True)
            found[self._symbols[index]] = msgspec.Raw(self._records[index])
        return Page(found, more=False)

    def _index(self, symbol: str) -> int | None:
        index = bisect_right(self._symbols, symbol) - 1
        return index if index >= 0 and self._symbols[index] == symbol else None

    def _admits(self, index: int, wanted: TermsFilter, since: int | None) -> bool:
        recent = since is None or self._updated[index] >= since
        return recent and wanted.admits(self._terms[index])
