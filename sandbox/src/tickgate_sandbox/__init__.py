"""A stand-in for Alpaca's REST API and its streams: recordings or a made-up market, with faults on command.

async with sandbox(SandboxSettings(listen="127.0.0.1:0")) as running:
    running.faults.add(faults.Status(status=503, path="/v2/stocks", times=2))
    ...  # point any Alpaca client at running.url
"""

from __future__ import annotations

from importlib.metadata import version

from . import faults
from .faults import Fault
from .recordings import RecordingError
from .server import Sandbox, sandbox
from .settings import Plan, SandboxSettings, SettingsError
from .stream import faults as stream_faults

__version__ = version("tickgate-sandbox")

__all__ = [
    "Fault",
    "Plan",
    "RecordingError",
    "Sandbox",
    "SandboxSettings",
    "SettingsError",
    "__version__",
    "faults",
    "sandbox",
    "stream_faults",
]
