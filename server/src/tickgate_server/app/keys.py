"""What an operator does with API keys."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ..errors import OrderError, StoreUnusable
from ..identity.api_key import KEY_NAME, ApiKey, digest_of, new_token
from ..identity.consumer import Limits, Scope
from ..market.time import NANOS, format_rfc3339
from ..ports import KeyStore
from ..settings import Settings
from .stores import open_keys

NEVER: Final = "never"

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN: Final = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
_LONGEST: Final = 100 * 366 * 86400
"""Seconds."""

_NAME: Final = re.compile(KEY_NAME, re.ASCII)


class KeyOrder(Struct, frozen=True):
    """A key that is to be made."""

    name: str
    scopes: frozenset[Scope]
    lasts: int | None
    """Seconds; None for ever."""

    limits: Limits


class KeyTold(Struct, frozen=True):
    """A key as operators are told of it: nothing that could be of use to anybody else."""

    id: str
    name: str
    state: str
    """valid, expired or revoked."""

    scopes: Sequence[str]
    limits: dict[str, float]
    created: str
    expires: str | None
    revoked: str | None


def key_order(name: str, scopes: Iterable[str], expires: str, limits: Limits) -> KeyOrder:
    """Return what is ordered.

    Args:
        name: whose key it is to be.
        scopes: what it is for, in words, also several to a text with commas between.
        expires: after how long it ends, such as 90d; or never.
        limits: how much it may use.

    Raises:
        OrderError: one of them makes no sense.
    """
    if _NAME.fullmatch(name) is None:
        msg = (
            f"NAME: {name!r} is no name of a consumer: 1 to 64 letters, digits and ._@-,"
            " of which the first is a letter or a digit"
        )
        raise OrderError(msg)
    return KeyOrder(name, _scopes(scopes), _lasting(expires), limits)


async def create(settings: Settings, order: KeyOrder) -> tuple[ApiKey, str]:
    """Make a key and keep it; return it with the token, which is kept nowhere.

    Raises:
        SettingsError: no keys are kept, or the secret to hash them under is missing.
        StoreDown: the place where they are kept cannot be had.
        StoreUnusable: what is there are no keys.
    """
    settings.check_keys()
    now = time.time_ns()
    expires = None if order.lasts is None else now + order.lasts * NANOS
    key_id, token = new_token()
    digest = digest_of(token, settings.hashing_secret)
    key = ApiKey(key_id, order.name, digest, order.scopes, order.limits, now, expires)
    async with open_keys(settings) as store:
        await _there(store).add(key)
    return key, token


async def everything(settings: Settings, *, ended: bool) -> Sequence[KeyTold]:
    """Return the keys that are kept, oldest first, those that have *ended* only where they are asked for.

    Raises:
        SettingsError: no keys are kept.
        StoreDown: the place where they are kept cannot be had.
        StoreUnusable: what is there are no keys.
    """
    settings.check_key_store()
    async with open_keys(settings) as store:
        keys = await _there(store).everything()
    told = [_told(key, time.time_ns()) for key in keys]
    return [key for key in told if ended or key.state == "valid"]


async def revoke(settings: Settings, key_id: str) -> KeyTold | None:
    """Revoke a key and return it; None when there is none of that id.

    Raises:
        SettingsError: no keys are kept.
        StoreDown: the place where they are kept cannot be had.
        StoreUnusable: what is there are no keys.
    """
    settings.check_key_store()
    now = time.time_ns()
    async with open_keys(settings) as store:
        key = await _there(store).revoke(key_id, now)
    return None if key is None else _told(key, now)


def table(keys: Sequence[KeyTold]) -> str:
    """Return *keys* for people, a line each under a heading."""
    heading = ("ID", "NAME", "STATE", "SCOPES", "EXPIRES", "CREATED", "LIMITS")
    rows = [heading, *(_row(key) for key in keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def in_json(keys: Sequence[KeyTold]) -> str:
    """Return *keys* for programs."""
    return msgspec.json.format(msgspec.json.encode(keys)).decode()


def _there(store: KeyStore | None) -> KeyStore:
    if store is None:
        msg = "no API keys are kept here"
        raise StoreUnusable(msg)
    return store


def _scopes(words: Iterable[str]) -> frozenset[Scope]:
    names = [name.strip() for word in words for name in word.split(",")]
    known = {scope.value: scope for scope in Scope}
    for name in names:
        if name not in known:
            msg = f"--scopes: {name!r} is none of {', '.join(known)}"
            raise OrderError(msg)
    return frozenset(known[name] for name in names)


def _lasting(expires: str) -> int | None:
    if expires == NEVER:
        return None
    match = _SPAN.fullmatch(expires)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST:
        msg = (
            f"--expires: {expires!r} is no time to live: a number with m, h, d or w behind it, such as 90d,"
            f" a hundred years at most; or {NEVER}"
        )
        raise OrderError(msg)
    return seconds


def _told(key: ApiKey, now: int) -> KeyTold:
    ended = key.expires is not None and key.expires <= now
    state = "revoked" if key.revoked is not None else "expired" if ended else "valid"
    given: dict[str, Any] = msgspec.structs.asdict(key.limits)
    return KeyTold(
        key.id,
        key.name,
        state,
        [scope.value for scope in Scope if scope in key.scopes],
        {name: limit for name, limit in given.items() if limit is not None},
        format_rfc3339(key.created),
        None if key.expires is None else format_rfc3339(key.expires),
        None if key.revoked is None else format_rfc3339(key.revoked),
    )


def _row(key: KeyTold) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        key.state,
        ",".join(key.scopes),
        _to_the_second(key.expires) or NEVER,
        _to_the_second(key.created),
        " ".join(f"{name}={limit:.15g}" for name, limit in key.limits.items()) or "-",
    )


def _to_the_second(time: str | None) -> str:
    return re.sub(r"\.\d+", "", time or "")
