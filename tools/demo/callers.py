"""What the demo shows of those who call: API keys."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from rich.text import Text

import tickgate
from tickgate import _tables

from ..programs import ProgramFailed, environment_without_settings, gateway_program
from .stage import NotAsPromised, Stage, until

E = TypeVar("E", bound=tickgate.TickgateError)

_APART: Final = {
    "TICKGATE_PROBE__IDLE": "0",
    "TICKGATE_STREAM__ENABLED": "false",
    "TICKGATE_INGESTION__ENABLED": "false",
}
"""This gateway is for its door alone; the feed is held by another."""


def api_keys(stage: Stage) -> None:
    """A key that is made, used and revoked while the gateway runs."""
    stage.title("who may call: an API key is made, let in, and revoked, and the gateway runs on")
    with TemporaryDirectory() as folder:
        settings = {
            "TICKGATE_IDENTITY__KEYS": "file",
            "TICKGATE_IDENTITY__FILE": str(Path(folder) / "keys"),
            "TICKGATE_IDENTITY__RELOAD_EVERY": "0.1",
            "TICKGATE_IDENTITY_SECRET": secrets.token_hex(32),
        }
        token = _keys(settings, "create", "desk-7", "--scopes", "read", "--expires", "90d").strip()
        stage.tell(_keys(settings, "list"))
        with gateway_program(stage.market.address, settings | _APART) as gateway:
            _show_door(stage, gateway.address, token)
            with tickgate.connect_sync(gateway.address, api_key=token) as client:
                stage.tell(_keys(settings, "revoke", token.split("_")[1]))
                gone = until(
                    lambda: _failure(lambda: client.quote("AAPL"), tickgate.Unauthenticated),
                    "a revoked key was let in",
                )
            stage.show(Text(f"with the revoked key: {gone}", style="yellow"))


def _show_door(stage: Stage, address: str, token: str) -> None:
    with tickgate.connect_sync(address, api_key=token) as client:
        stage.show(_tables.quotes([client.quote("AAPL")]))
        lacking = _failure(client.invalidate_cache, tickgate.NotPermitted)
    with tickgate.connect_sync(address) as nobody:
        refusal = _failure(lambda: nobody.quote("AAPL"), tickgate.Unauthenticated)
    if lacking is None or refusal is None:
        raise NotAsPromised("somebody was let in who may not")
    stage.show(
        Text(f"\nwithout a key: {refusal}", style="yellow"),
        Text(f"for what it is not for: {lacking}", style="yellow"),
    )


def _failure(ask: Callable[[], object], kind: type[E]) -> E | None:
    try:
        ask()
    except kind as failure:
        return failure
    return None


def _keys(settings: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tickgate_server", "keys", *arguments],
        env=environment_without_settings() | dict(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        msg = f"tickgate-server keys did not end well:\n{done.stderr}"
        raise ProgramFailed(msg)
    return done.stdout
