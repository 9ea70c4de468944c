"""Changes to an answer that leave every value in it as the text it was."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

_ENVELOPES = ("quotes", "trades", "bars")

_Object = dict[str, msgspec.Raw]
_OBJECT = msgspec.json.Decoder(_Object)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class _Named(msgspec.Struct):
    symbol: str


def rename_symbol(body: bytes, symbol: str) -> bytes:
    """Return the answer *body* with its first symbol replaced by *symbol*."""
    if body.startswith(b"["):
        assets = _ARRAY.decode(body)
        renamed = [_under(asset, symbol) for asset in assets[:1]]
        return msgspec.json.encode(renamed + assets[1:])
    if "symbol" in _OBJECT.decode(body):
        return bytes(_under(msgspec.Raw(body), symbol))
    return _map_by_symbol(body, lambda entries: _first_under(entries, symbol))


def drop_symbols(body: bytes, symbols: Collection[str]) -> bytes:
    """Return the answer *body* to a question about many symbols without *symbols*."""
    if body.startswith(b"["):
        assets = _ARRAY.decode(body)
        return msgspec.json.encode([asset for asset in assets if _symbol(asset) not in symbols])
    if "symbol" in _OBJECT.decode(body):
        return body
    return _map_by_symbol(
        body, lambda entries: {name: raw for name, raw in entries.items() if name not in symbols}
    )


def _map_by_symbol(body: bytes, change: Callable[[_Object], _Object]) -> bytes:
    """Change the map from symbols to records, inside its envelope or, in snapshots, bare."""
    answer = _OBJECT.decode(body)
    for envelope in _ENVELOPES:
        if envelope in answer:
            entries = change(_OBJECT.decode(answer[envelope]))
            answer[envelope] = msgspec.Raw(msgspec.json.encode(entries))
            return msgspec.json.encode(answer)
    return msgspec.json.encode(change(answer))


def _first_under(entries: _Object, symbol: str) -> _Object:
    renamed = [(symbol, record) for record in list(entries.values())[:1]]
    return dict(renamed + list(entries.items())[1:])


def _under(record: msgspec.Raw, symbol: str) -> msgspec.Raw:
    fields = _OBJECT.decode(record)
    fields["symbol"] = msgspec.Raw(msgspec.json.encode(symbol))
    return msgspec.Raw(msgspec.json.encode(fields))


def _symbol(asset: msgspec.Raw) -> str:
    return msgspec.json.decode(asset, type=_Named).symbol
