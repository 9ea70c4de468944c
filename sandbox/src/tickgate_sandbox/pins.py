"""Records that a test puts in the place of the market's own."""

from __future__ import annotations

from typing import Final

import msgspec

KINDS: Final = frozenset(
    {"quotes", "trades", "bars", "snapshots", "assets", "options", "contracts"}
)
"""What can be pinned. Of options: quotes, trades, snapshots as `options`, and contracts."""


class Pins:
    """Raw JSON records by kind and symbol, served verbatim whatever they say.

    This is how a test shows a client what a market should never show: a crossed quote, a
    negative price, a time in the future, a number where a text belongs.
    """

    def __init__(self) -> None:
        """Start with nothing pinned."""
        self._records: dict[tuple[str, str], bytes] = {}

    def put(self, kind: str, symbol: str, record: str | bytes) -> None:
        """Serve *record* for *symbol* from now on.

        Args:
            kind: One of `KINDS`. A quote, trade or bar also shows in snapshots and chains.
            symbol: The symbol, of a share or of a contract, whether or not the market knows it.
            record: Any JSON text.

        Raises:
            ValueError: *kind* is not one of `KINDS`, or *record* is not JSON.
        """
        _check(kind)
        raw = record.encode() if isinstance(record, str) else record
        try:
            msgspec.json.decode(raw)
        except msgspec.DecodeError as error:
            raise ValueError(f"a pinned record is JSON: {error}") from error
        self._records[kind, symbol] = raw

    def get(self, kind: str, symbol: str) -> bytes | None:
        """Return the record pinned for *symbol*, or None."""
        return self._records.get((kind, symbol))

    def of_kind(self, kind: str) -> dict[str, bytes]:
        """Return the records pinned for *kind* by symbol."""
        return {symbol: raw for (of, symbol), raw in self._records.items() if of == kind}

    def remove(self, kind: str, symbol: str) -> None:
        """Serve the market's own record of *symbol* again; harmless when nothing is pinned.

        Raises:
            ValueError: *kind* is not one of `KINDS`.
        """
        _check(kind)
        self._records.pop((kind, symbol), None)

    def clear(self) -> None:
        """Remove every pin."""
        self._records.clear()


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"cannot pin {kind!r}: only {', '.join(sorted(KINDS))}")
