"""The key pair that clients show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The only key pair that is accepted."""

    key_id: str
    secret: str


def accepted(keys: Keys | None, key_id: str, secret: str) -> bool:
    """Return whether *key_id* and *secret* are *keys*; None accepts any that are not empty."""
    if keys is None:
        return bool(key_id and secret)
    return (key_id, secret) == (keys.key_id, keys.secret)
