"""How these tests walk through the past, and the recordings of bars they make themselves."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .asking import Client

Texts = dict[str, list[str]]
"""By symbol, records as the very text they came in."""


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _records(fields: dict[str, msgspec.Raw]) -> dict[str, list[msgspec.Raw]]:
    """Return the records of a page by symbol, whether it is of many symbols or of one."""
    [raw] = (fields[kind] for kind in ("bars", "trades", "quotes") if kind in fields)
    if "symbol" not in fields:
        return msgspec.json.decode(raw, type=dict[str, list[msgspec.Raw]])
    found = msgspec.json.decode(raw, type=list[msgspec.Raw] | None)
    symbol = msgspec.json.decode(fields["symbol"], type=str)
    return {symbol: found} if found is not None else {}


@dataclass(slots=True)
class Walk:
    """All the pages of a question, one after the other."""

    sizes: list[int] = field(default_factory=list)
    """Records on each page."""
    texts: Texts = field(default_factory=dict)


async def walk(client: Client, path: str, /, **query: str) -> Walk:
    """Ask for every page; fail on the first that is refused, and on a walk without an end."""
    walked = Walk()
    token: str | None = None
    while True:
        resumed = {"page_token": token} if token is not None else {}
        answer = await client.get(path, **(query | resumed))
        assert answer.status == 200, answer.body
        fields = _FIELDS.decode(answer.body)
        records = _records(fields)
        walked.sizes.append(sum(map(len, records.values())))
        for symbol, found in records.items():
            walked.texts.setdefault(symbol, []).extend(bytes(one).decode() for one in found)
        token = msgspec.json.decode(fields["next_page_token"], type=str | None)
        if token is None:
            return walked
        assert len(walked.sizes) < 2_000, "the walk has no end"


def rest(line: str) -> str:
    """Return a recorded stream record as REST shows it: without type and symbol."""
    return re.sub(r'"T":"\w","S":"[\w.]+",', "", line)


def bar(start: str, *prices: str, v: int = 100, **more: str) -> str:
    """Return the text of a bar: open, high, low and close as they are written, or one for all."""
    o, h, low, c = prices if len(prices) == 4 else prices * 4
    optional = "".join(f',"{name}":{value}' for name, value in more.items())
    return f'{{"t":"{start}","o":{o},"h":{h},"l":{low},"c":{c},"v":{v}{optional}}}'


def write_bars(folder: Path, name: str, bars: Sequence[str]) -> None:
    """Write *bars* into *folder* as `bars/NAME.json.gz`, such as `XYZ-1Day-raw`."""
    write_text(folder / "bars" / f"{name}.json.gz", f'{{"bars":[{",".join(bars)}]}}')


def write_actions(folder: Path, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write corporate actions into *folder*, in Alpaca's shape."""
    text = json.dumps({"corporate_actions": groups})
    write_text(folder / "corporate-actions" / "recorded.json.gz", text)


def write_text(path: Path, text: str) -> None:
    """Write *text* to *path*, compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
