"""Commands about API keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter, Token
from cyclopts.validators import Number

from ..app import keys as api_keys
from ..app.logs import log_format
from ..identity.consumer import Limits
from ..market.time import format_rfc3339
from ..observe.logs import start_logs
from ..settings import Settings
from .common import ConfigFile, finished, settings_of

keys = App(name="keys", help="Make, list and revoke API keys, while gateways run.")


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """Read a whole number: a library that rounds 0.4 to 0 would make no limit of it."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        msg = f"{text!r} is no whole number"
        raise ValueError(msg) from None


_PER_SECOND: Final = Parameter(validator=Number(gte=0, lte=1_000_000))
_COUNT: Final = Parameter(converter=_whole, validator=Number(gte=0, lte=10**12))
"""Limits that a key has of its own; 0 is none."""


@keys.command(name="create")
def create_key(
    name: Annotated[str, Parameter(name="NAME")],
    *,
    config: ConfigFile = None,
    scopes: Annotated[list[str], Parameter(consume_multiple=True, negative="")],
    expires: str,
    calls_per_second: Annotated[float | None, _PER_SECOND] = None,
    symbols_per_batch: Annotated[int | None, _COUNT] = None,
    streams: Annotated[int | None, _COUNT] = None,
    symbols_per_stream: Annotated[int | None, _COUNT] = None,
    history_points_per_day: Annotated[int | None, _COUNT] = None,
) -> int:
    """Make an API key and write it to standard output: once, for it is kept nowhere.

    Gateways that run let it in within `identity.reload_every`. Limits that are not given are those of the settings; 0
    is none.

    Parameters
    ----------
    name
        Whose key it is: a consumer, as logs name it. Several keys may be one consumer's, while one replaces the other.
    scopes
        What it is for: read, stream, history, admin; several with commas between.
    expires
        After how long it ends, such as 90d; or never.
    calls_per_second
        Calls a second.
    symbols_per_batch
        Symbols of one request.
    streams
        Streams at once.
    symbols_per_stream
        Symbols of one stream.
    history_points_per_day
        Bars, trades and quotes of the past within 24 hours.
    """
    limits = Limits(
        calls_per_second, symbols_per_batch, streams, symbols_per_stream, history_points_per_day
    )
    order = api_keys.key_order(name, scopes, expires, limits)
    return finished(_create_key(_settings_of_operator(config), order))


@keys.command(name="list")
def list_keys(
    *,
    config: ConfigFile = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Print the API keys, oldest first.

    Parameters
    ----------
    all_
        Also those that have expired or were revoked.
    json_
        For programs.
    """
    return finished(_list_keys(_settings_of_operator(config), ended=all_, json=json_))


@keys.command(name="revoke")
def revoke_key(key_id: Annotated[str, Parameter(name="ID")], *, config: ConfigFile = None) -> int:
    """Revoke an API key: gateways that run refuse it, and end its streams, within `identity.reload_every`.

    Parameters
    ----------
    key_id
        What `keys list` shows as its id; it is the part of the key behind tg_.
    """
    return finished(_revoke_key(_settings_of_operator(config), key_id))


def _settings_of_operator(config: Path | None) -> Settings:
    settings = settings_of(config)
    start_logs(sys.stderr, log_format(settings), "error")
    return settings


async def _create_key(settings: Settings, order: api_keys.KeyOrder) -> int:
    key, token = await api_keys.create(settings, order)
    try:
        # Past Python's buffer, which would try again at the exit.
        os.write(sys.stdout.fileno(), f"{token}\n".encode())
    except OSError as error:
        await api_keys.revoke(settings, key.id)
        print(
            f"tickgate-server: the key cannot be written to standard output ({error.strerror}),"
            f" so nobody has it, and {key.id} is revoked",
            file=sys.stderr,
        )
        return 1
    ends = api_keys.NEVER if key.expires is None else format_rfc3339(key.expires)
    print(
        f"the API key {key.id} of {key.name}, expires {ends}; it is shown this once",
        file=sys.stderr,
    )
    return 0


async def _list_keys(settings: Settings, *, ended: bool, json: bool) -> int:
    found = await api_keys.everything(settings, ended=ended)
    print(api_keys.in_json(found) if json else api_keys.table(found))
    return 0


async def _revoke_key(settings: Settings, key_id: str) -> int:
    key = await api_keys.revoke(settings, key_id)
    if key is None:
        print(
            f"tickgate-server: there is no API key {key_id}; `tickgate-server keys list --all` shows all",
            file=sys.stderr,
        )
        return 1
    print(f"the API key {key.id} of {key.name} is revoked, as of {key.revoked}")
    return 0
