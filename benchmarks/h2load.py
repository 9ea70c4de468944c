"""Finds h2load, the load generator of nghttp2: a Python client would cost more than the server that it measures."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("nghttp2-client", "libnghttp2-14", "libev4", "libc-ares2", "libjansson4")
"""The Debian package and those of its libraries that a small system lacks."""

_MISSING: Final = (
    "The benchmarks need h2load, and it is neither on PATH nor to be had from this machine's package index."
    " On Debian and Ubuntu: apt-get install nghttp2-client"
)


class NoLoadGenerator(Exception):
    """There is no h2load, and none can be got."""


@dataclass(frozen=True, slots=True)
class H2load:
    """A program to run, and where it finds its libraries when they are not the system's."""

    program: str
    libraries: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment to run it in."""
        if self.libraries is None:
            return dict(os.environ)
        return os.environ | {"LD_LIBRARY_PATH": str(self.libraries)}


def find(cache: Path) -> H2load:
    """Return h2load from PATH, or from Debian's package: installed as root, unpacked into *cache* as anyone else.

    Raises:
        NoLoadGenerator: there is none to be had; the message says what to do.
    """
    if installed := shutil.which("h2load"):
        return H2load(installed)
    if shutil.which("apt-get") is None:
        raise NoLoadGenerator(_MISSING)
    print("benchmarks: fetching h2load (Debian package nghttp2-client)", flush=True)
    if os.geteuid() == 0 and _run("apt-get", "install", "-y", "-q", _PACKAGES[0]):
        return H2load(shutil.which("h2load") or "h2load")
    return _unpacked(cache)


def _unpacked(cache: Path) -> H2load:
    cache.mkdir(parents=True, exist_ok=True)
    unpacked = cache / "usr/bin/h2load"
    if not unpacked.exists():
        # A library that the index does not know under this name may well be installed already.
        fetched = [_run("apt-get", "download", package, at=cache) for package in _PACKAGES]
        if not fetched[0]:
            raise NoLoadGenerator(_MISSING)
        for package in sorted(cache.glob("*.deb")):
            _run("dpkg", "-x", package.name, ".", at=cache)
    libraries = next(iter(sorted(cache.glob("usr/lib/*-linux-*"))), None)
    found = H2load(str(unpacked), libraries)
    if not _run(found.program, "--version", environment=found.environment):
        raise NoLoadGenerator(_MISSING)
    return found


def _run(*command: str, at: Path | None = None, environment: dict[str, str] | None = None) -> bool:
    try:
        done = subprocess.run(command, cwd=at, env=environment, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0
