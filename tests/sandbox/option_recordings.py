"""Recordings of options that these tests make themselves, in the layout of real ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHAIN = {
    "XYZ1240315C00050000": '{"latestQuote":{"bp":3.10,"ap":3.3,"t":"2024-03-13T19:00:00Z"}}',
    "XYZ240315C00050000": (
        '{"latestQuote":{"bp":1.50,"bs":10,"ap":1.6,"as":4,"t":"2024-03-13T19:59:58.5Z"},'
        '"latestTrade":{"p":1.55,"t":"2024-03-13T19:30:00Z"},'
        '"dailyBar":{"t":"2024-03-13T04:00:00Z","o":1.4,"h":1.70,"l":1.4,"c":1.55,"v":21},'
        '"minuteBar":{"t":"2024-03-13T19:30:00Z","o":1.55,"h":1.55,"l":1.55,"c":1.55,"v":2},'
        '"prevDailyBar":{"t":"2024-03-12T04:00:00Z","o":1.0,"h":1,"l":1,"c":1.0,"v":5},'
        '"impliedVolatility":0.30,"greeks":{"delta":0.50}}'
    ),
    "XYZ240315P00050000": '{"latestQuote":{"bp":0,"ap":0.05,"t":"2024-03-13T18:00:00.25Z"}}',
    "XYZ240315P00052500": '{"latestTrade":{"p":2.2,"t":"2024-03-11T15:00:00Z"}}',
    "XYZ240621C00055000": '{"latestQuote":{"bp":2,"ap":2.5}}',
    "XYZ240621P00055000": '{"latestQuote":{"bp":4.0,"ap":5,"t":"2024-03-13T19:59:59Z"}}',
}
"""A chain by contract, each snapshot as the text it was recorded as."""

CHAIN_STANDS = "2024-03-13T19:59:59Z"
"""The newest time in it, which is the instant of a file that names no other."""

CONTRACTS: Sequence[Mapping[str, Any]] = [
    {"symbol": "XYZ240315C00050000", "open_interest": "237", "open_interest_date": "2024-03-12"},
    {"symbol": "XYZ240621C00055000", "open_interest": "12", "close_price": "2.25"},
]


def write_chain(
    folder: Path,
    name: str,
    chain: Mapping[str, str] = CHAIN,
    contracts: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write a *chain* into *folder* under *name*, and beside it what is known of its *contracts*.

    Args:
        folder: A folder of recordings.
        name: `XYZ-2024-03-13`, or `series/XYZ-2024-03-13T101500` for one of a series.
        chain: Snapshots as JSON text.
        contracts: Fields of contracts; none writes no such file.
    """
    entries = ",".join(f'"{symbol}":{text}' for symbol, text in chain.items())
    _write(folder / "options" / f"{name}.json.gz", f'{{"snapshots":{{{entries}}}}}')
    if contracts is not None:
        body = json.dumps({"option_contracts": contracts})
        _write(folder / "options" / f"{name}.contracts.json.gz", body)


def write_option_quotes(folder: Path, name: str, lines: Sequence[str]) -> None:
    """Write the *lines* of a day's stream of quotes into *folder* under *name*."""
    text = "".join(f"{line}\n" for line in lines)
    _write(folder / "options-quotes" / f"{name}.jsonl.gz", text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))
