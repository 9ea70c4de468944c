"""Entries of the error log made so that every place can hold them and every caller can read them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from msgspec.structs import replace

from ..ports import ErrorEntry


def legible(entry: ErrorEntry) -> ErrorEntry:
    """Return *entry* as JSON, PostgreSQL and protobuf can carry it.

    NUL characters and lone surrogates become U+FFFD. In the context, what JSON has no word for becomes its text, and a
    number that is none becomes null.
    """
    return replace(
        entry,
        request_id=legible_text(entry.request_id),
        reason=legible_text(entry.reason),
        message=legible_text(entry.message),
        context=_context(entry.context),
    )


def legible_text(text: str) -> str:
    """Return *text* with NUL characters and lone surrogates replaced."""
    if not text.isascii():
        # Halves of a pair become the character that they are, those that stand alone the replacement character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def _context(context: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return {legible_text(str(name)): _plain(value) for name, value in context.items()}
    except Exception as error:  # noqa: BLE001 - a context that cannot be read must not cost the rest of the entry
        return {"unreadable": type(error).__name__}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {legible_text(str(name)): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return legible_text(str(value))
