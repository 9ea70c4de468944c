"""One version, many files; one set of pins, many declarations."""

import importlib
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import release

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = ("clients/python", "server", "sandbox")


def test_every_file_names_the_same_version() -> None:
    """All files that name the version of tickgate name the same one."""
    assert len(set(release.versions().values())) == 1, release.versions()


@pytest.mark.parametrize("name", ["tickgate", "tickgate-server", "tickgate-sandbox"])
def test_installed_version_is_the_declared_one(name: str) -> None:
    """The installed distributions carry the version that the files name."""
    assert version(name) in release.versions().values()


@pytest.mark.parametrize("package", ["tickgate_server", "tickgate_sandbox"])
def test_packages_say_the_installed_version(package: str) -> None:
    """A package's `__version__` is that of its distribution, so no release can pass it by."""
    said = importlib.import_module(package).__version__

    assert said == version(package.replace("_", "-"))


def test_a_new_version_reaches_every_file(tmp_path: Path) -> None:
    """Writing a version changes every place that names it, and nothing else."""
    for place in release.PLACES:
        target = tmp_path / place.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / place.path, target)

    for place in release.PLACES:
        place.write(tmp_path, "98.76.54")

    assert set(release.versions(tmp_path).values()) == {"98.76.54"}
    for place in release.PLACES:
        before = (ROOT / place.path).read_text().splitlines()
        after = (tmp_path / place.path).read_text().splitlines()
        changed = [new for old, new in zip(before, after, strict=True) if old != new]
        assert all("98.76.54" in line for line in changed)
        assert len(changed) == sum(other.path == place.path for other in release.PLACES)


def test_no_file_names_the_version_on_its_own() -> None:
    """Whatever names the version of tickgate is a place that a release writes to."""
    number = re.escape(next(iter(release.versions().values())))
    ours = re.compile(rf'("|tickgate[^\w\s]{{1,2}}){number}(?![\w.])')
    places = {place.path.as_posix() for place in release.PLACES}
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    # Tests would fail at the next number by themselves; pins are other people's numbers.
    others = {name for name in listed if name and not name.startswith("tests/")} - places
    found = [
        name
        for name in sorted(others - {"constraints.txt"})
        if (ROOT / name).is_file()
        and ours.search((ROOT / name).read_bytes().decode(errors="replace"))
    ]

    assert not found


def test_pins_satisfy_every_declared_requirement() -> None:
    """constraints.txt pins each declared dependency, inside the bounds that are declared for it."""
    pins: dict[str, list[Version]] = {}
    for name, pinned in re.findall(
        r"^([\w.-]+)==([\w.!+]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    ):
        pins.setdefault(name, []).append(Version(pinned))

    for requirement in _declared():
        if requirement.name.startswith("tickgate"):
            continue
        assert requirement.name in pins, f"{requirement.name} is not pinned: make constraints"
        for pinned in pins[requirement.name]:
            assert pinned in requirement.specifier, f"{requirement} against {pinned}"


def test_client_promises_no_more_than_its_generator() -> None:
    """The client's grpcio floor is the pinned generator, which generated code insists on."""
    generator = _pin("grpcio-tools", ROOT / "protos" / "requirements.txt")
    client = {item.name: item for item in _declared("clients/python")}

    assert f">={generator}" in str(client["grpcio"].specifier)
    assert f">={generator}" in str(client["grpcio-status"].specifier)


def _declared(*homes: str) -> list[Requirement]:
    found: list[str] = []
    for home in homes or ("", *DISTRIBUTIONS):
        project = tomllib.loads((ROOT / home / "pyproject.toml").read_text())
        found += project["project"]["dependencies"]
        for extra in project["project"].get("optional-dependencies", {}).values():
            found += extra
        for group in project.get("dependency-groups", {}).values():
            found += group
    return [Requirement(item) for item in found]


def _pin(name: str, path: Path) -> str:
    (pinned,) = re.findall(rf"^{name}==(\S+)", path.read_text(), re.MULTILINE)
    return str(pinned)
