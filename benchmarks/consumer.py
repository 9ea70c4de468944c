"""Who asks: a consumer with an API key, known to every gateway that is measured with everything switched on.

The key and the settings stand in this process's environment, so that the programs of this package have them too.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tools.programs import environment_without_settings

from .processes import BrokenMeasurement, Cores, Process, running

_KEY: Final = "BENCHMARKS_API_KEY"
_SETTINGS: Final = "BENCHMARKS_SETTINGS"

_SCOPES: Final = "read,stream,history,admin"

GENEROUS: Final[Mapping[str, str]] = {
    "TICKGATE_LIMITS__CALLS_PER_SECOND": "1000000",
    "TICKGATE_LIMITS__SYMBOLS_PER_BATCH": "1000",
    "TICKGATE_LIMITS__STREAMS": "100000",
    "TICKGATE_LIMITS__SYMBOLS_PER_STREAM": "100000",
    "TICKGATE_LIMITS__HISTORY_POINTS_PER_DAY": "1000000000000",
}
"""Limits that count everything and refuse nothing."""

OFF: Final[Mapping[str, str]] = {
    "TICKGATE_HTTP_LISTEN": "off",
    "TICKGATE_LOG__CALLS": "false",
}
"""Settings of a gateway that asks nobody for a name, limits nobody and tells nothing."""

_KEYS_PATIENCE: Final = 30.0


def api_key() -> str | None:
    """Return the token to ask with; None where everything is off."""
    return os.environ.get(_KEY)


def metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata to ask with."""
    token = api_key()
    return (("authorization", f"Bearer {token}"),) if token else ()


def settings_of(name: str, folder: Path) -> dict[str, str]:
    """Return the settings with which the gateway called *name* has everything on."""
    on: dict[str, str] = json.loads(os.environ.get(_SETTINGS, "{}"))
    if on:
        on |= audited(name, folder)
    return on


def keys() -> dict[str, str]:
    """Return the settings with which a gateway knows the consumer."""
    on: dict[str, str] = json.loads(os.environ[_SETTINGS])
    return {name: value for name, value in on.items() if "IDENTITY" in name}


def traced() -> dict[str, str]:
    """Return the settings with which a gateway sends 1 % of its calls as traces."""
    on: dict[str, str] = json.loads(os.environ[_SETTINGS])
    return {name: value for name, value in on.items() if "TRACES" in name}


def audited(name: str, folder: Path) -> dict[str, str]:
    """Return the settings with which the gateway called *name* writes an audit log."""
    return {"TICKGATE_AUDIT__FILE": str(folder / f"{name}.audit")}


@contextmanager
def everything_on(folder: Path, cores: Cores) -> Iterator[Process]:
    """Make a key, run what takes traces, and let every gateway that is started meanwhile have everything on.

    Raises:
        BrokenMeasurement: there is no key to be had.
    """
    with running(
        "otlp-sink",
        ["-m", "benchmarks.otlp_sink"],
        ready=r"listening on (\d+)",
        folder=folder,
        core=cores.others,
    ) as sink:
        identity = {
            "TICKGATE_IDENTITY__KEYS": "file",
            "TICKGATE_IDENTITY__FILE": str(folder / "keys.json"),
            "TICKGATE_IDENTITY_SECRET": secrets.token_hex(32),
        }
        everything = {
            **identity,
            **GENEROUS,
            "TICKGATE_HTTP_LISTEN": "127.0.0.1:0",
            "TICKGATE_TRACES__ENDPOINT": f"http://127.0.0.1:{sink.port}",
            "TICKGATE_TRACES__SHARE": "0.01",
        }
        os.environ[_KEY] = _new_key(identity)
        os.environ[_SETTINGS] = json.dumps(everything)
        try:
            yield sink
        finally:
            del os.environ[_KEY], os.environ[_SETTINGS]


def _new_key(identity: Mapping[str, str]) -> str:
    command = [
        "-m",
        "tickgate_server",
        "keys",
        "create",
        "benchmarks",
        "--scopes",
        _SCOPES,
        "--expires=1d",
    ]
    done = subprocess.run(
        [sys.executable, *command],
        env=environment_without_settings() | dict(identity),
        capture_output=True,
        text=True,
        timeout=_KEYS_PATIENCE,
        check=False,
    )
    found = re.search(r"\btg_\w+", done.stdout)
    if found is None:
        raise BrokenMeasurement(f"no API key could be made: {done.stderr[-1000:]}")
    return found[0]
