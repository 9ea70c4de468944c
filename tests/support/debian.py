"""Real programs out of Debian's packages, unpacked into a folder of this user's own: nothing is installed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tools.embedded.process import home

_PACKAGES: Final = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "nginx": "nginx",
}

_PATIENCE: Final = 120.0
"""Seconds for one step of fetching: the largest package is 20 MB."""


@cache
def debian_program(name: str) -> str:
    """Return the path of *name*: the machine's own, or the one of Debian's package, fetched once.

    Skips the test, saying so, where it is not installed and Debian's packages cannot be had.
    """
    there = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if there is not None:
        return there
    package = _PACKAGES[name]
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {name} here, and no {tool} to fetch Debian's package {package} with")
    folder = home() / "debian" / package
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        found = _program_in(folder, name)
        if found is None:
            _fetch(package, folder)
            found = _program_in(folder, name)
    if found is None:
        pytest.skip(f"Debian's package {package} brought no {name} that runs here")
    return str(found)


def _program_in(folder: Path, name: str) -> Path | None:
    for place in ("usr/bin", "usr/sbin"):
        program = folder / "unpacked" / place / name
        # A library that is missing here shows at once.
        if (
            program.exists()
            and not subprocess.run(
                [program, "-v" if name == "nginx" else "--version"],
                capture_output=True,
                check=False,
            ).returncode
        ):
            return program
    return None


def _fetch(package: str, folder: Path) -> None:
    """Download *package* and unpack it, with lists of apt's own where the system's know nothing of it."""
    fetched = _apt("download", package, cwd=folder)
    if fetched.returncode:
        lists = folder / "lists"
        for needed in (lists / "partial", folder / "cache/archives/partial"):
            needed.mkdir(parents=True, exist_ok=True)
        ours = ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={folder}/cache")
        _apt(*ours, "update", cwd=folder)
        fetched = _apt(*ours, "download", package, cwd=folder)
    if fetched.returncode:
        pytest.skip(f"Debian's package {package} cannot be had: {fetched.stderr.strip()[-200:]}")
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, "arriving"], cwd=folder, check=True)
    archive.unlink()
    shutil.rmtree(folder / "unpacked", ignore_errors=True)
    (folder / "arriving").rename(folder / "unpacked")


def _apt(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "--quiet", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this user, such as the workers of one run, waiting until the block is over."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
