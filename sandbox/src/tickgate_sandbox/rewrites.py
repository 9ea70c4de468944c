"""Changes to an answer that leave every value in it as the text it was.

Only what is told by symbol is changed: records, snapshots, chains, contracts and assets. Any
other answer, such as a clock, a calendar or a list of codes, passes untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from .symbols import well_formed

_ENVELOPES = ("quotes", "trades", "bars", "snapshots")
_LIST = "option_contracts"
"""The envelope of things that carry their symbol themselves."""

_Object = dict[str, msgspec.Raw]
_OBJECT = msgspec.json.Decoder(_Object)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def rename_symbol(body: bytes, symbol: str) -> bytes:
    """Return the answer *body* with its first symbol replaced by *symbol*."""
    if body.startswith(b"["):
        return msgspec.json.encode(_first_renamed(_ARRAY.decode(body), symbol))
    if (listed := _listed(body)) is not None:
        return _relisted(body, _first_renamed(listed, symbol))
    if _symbol(body) is not None:
        return bytes(_under(body, symbol))
    return _map_by_symbol(body, lambda entries: _first_under(entries, symbol))


def drop_symbols(body: bytes, symbols: Collection[str]) -> bytes:
    """Return the answer *body* to a question about many symbols without *symbols*."""
    if body.startswith(b"["):
        return msgspec.json.encode(_without(_ARRAY.decode(body), symbols))
    if (listed := _listed(body)) is not None:
        return _relisted(body, _without(listed, symbols))
    return _map_by_symbol(
        body, lambda entries: {name: raw for name, raw in entries.items() if name not in symbols}
    )


def _listed(body: bytes) -> list[msgspec.Raw] | None:
    """Return what *body* lists in an envelope, or None when it lists nothing."""
    listed = _fields(body).get(_LIST)
    return _ARRAY.decode(listed) if listed is not None else None


def _relisted(body: bytes, listed: list[msgspec.Raw]) -> bytes:
    fields: dict[str, Any] = _fields(body) | {_LIST: listed}
    return msgspec.json.encode(fields)


def _without(answers: list[msgspec.Raw], symbols: Collection[str]) -> list[msgspec.Raw]:
    return [one for one in answers if _symbol(one) not in symbols]


def _map_by_symbol(body: bytes, change: Callable[[_Object], _Object]) -> bytes:
    """Change the map from symbols to records, inside its envelope or, in snapshots, bare."""
    answer = _fields(body)
    for envelope in _ENVELOPES:
        if entries := _fields(answer.get(envelope, b"")):
            return msgspec.json.encode(answer | {envelope: change(entries)})
    return msgspec.json.encode(change(answer)) if _is_by_symbol(answer) else body


def _is_by_symbol(answer: _Object) -> bool:
    """Return whether *answer* maps symbols to objects; letters of codes map to texts."""
    return all(map(well_formed, answer)) and any(map(_is_object, answer.values()))


def _first_renamed(answers: list[msgspec.Raw], symbol: str) -> list[msgspec.Raw]:
    for index, one in enumerate(answers):
        if _symbol(one) is not None:
            return [*answers[:index], _under(one, symbol), *answers[index + 1 :]]
    return answers


def _first_under(entries: _Object, symbol: str) -> _Object:
    renamed = [(symbol, record) for record in list(entries.values())[:1]]
    return dict(renamed + list(entries.items())[1:])


def _under(record: bytes | msgspec.Raw, symbol: str) -> msgspec.Raw:
    fields: dict[str, Any] = _fields(record) | {"symbol": symbol}
    return msgspec.Raw(msgspec.json.encode(fields))


def _symbol(record: bytes | msgspec.Raw) -> Any:
    """Return the symbol that *record* carries itself, whatever a pin says it is, or None."""
    return msgspec.json.decode(_fields(record).get("symbol", b"null"))


def _fields(record: bytes | msgspec.Raw) -> _Object:
    """Return the fields of an object; none of any other value, such as a pin may be."""
    return _OBJECT.decode(record) if _is_object(record) else {}


def _is_object(value: bytes | msgspec.Raw) -> bool:
    return bytes(value).lstrip().startswith(b"{")
