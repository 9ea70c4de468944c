"""What commands have in common."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from ..errors import StoreDown, StoreUnusable
from ..settings import Settings, load

_CONFIG_VARIABLE: Final = "TICKGATE_CONFIG"

ConfigFile = Annotated[
    Path | None,
    Parameter(name="--config", help=f"TOML file with settings; {_CONFIG_VARIABLE} names one too."),
]


def settings_of(path: Path | None) -> Settings:
    """Return the settings in force, by the file at *path* or the one that the environment names.

    Raises:
        SettingsError: they cannot be used.
    """
    named = os.environ.get(_CONFIG_VARIABLE)
    return load(path or (Path(named) if named else None))


def finished(program: Coroutine[Any, Any, int]) -> int:
    """Run *program* and return its exit status; what it cannot use is said in a sentence."""
    try:
        return asyncio.run(program)
    except (OSError, StoreDown, StoreUnusable) as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        return 1


def stop_on_signals() -> asyncio.Event:
    """Return what is set when somebody wants this program to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # A terminal that goes away ends its programs at once, without a drain. Under nohup it does not, and shall not.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    return stop
