"""Keeps one version number in all the files that must name it, and freezes the released contract.

python -m tools.release            say the number, or fail if the files disagree
python -m tools.release --check    the same, silent when all is well
python -m tools.release 1.2.3      write the number everywhere
python -m tools.release --freeze   make today's contract the one that `buf breaking` defends
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DESCRIPTORS = Path("clients/python/src/tickgate/v1/tickgate.binpb")
RELEASED = Path("protos/released.binpb")
# Releases are plain: no pre-releases, no local versions, until someone needs one.
VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Place:
    """One spot in one file that names the version."""

    path: Path
    before: str
    after: str = '"'

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches the spot, with the version as its only group."""
        return re.compile(
            f"(?<={re.escape(self.before)})({VERSION.pattern})(?={re.escape(self.after)})"
        )

    def read(self, root: Path) -> str:
        """The version that stands there, or a sentence saying that none does."""
        found = self.pattern.search((root / self.path).read_text(encoding="utf-8"))
        return found.group() if found else "no version found"

    def write(self, root: Path, version: str) -> None:
        """Put *version* there."""
        text = (root / self.path).read_text(encoding="utf-8")
        (root / self.path).write_text(self.pattern.sub(version, text, count=1), encoding="utf-8")


PLACES = (
    Place(Path("clients/python/pyproject.toml"), '\nversion = "'),
    Place(Path("server/pyproject.toml"), '\nversion = "'),
    Place(Path("server/pyproject.toml"), '\n  "tickgate=='),
    Place(Path("sandbox/pyproject.toml"), '\nversion = "'),
    # The examples show each setting's default, and one of them holds the number.
    Place(Path("tickgate.example.toml"), '\nuser_agent = "tickgate/'),
    Place(Path(".env.example"), "\nTICKGATE_ALPACA__HTTP__USER_AGENT=tickgate/", "\n"),
    Place(Path("deploy/.env.example"), "\nIMAGE_VERSION=", "\n"),
    Place(Path("deploy/kubernetes/kustomization.yaml"), "\n    newTag: ", "\n"),
    Place(Path("CHANGELOG.md"), "\n## ", " "),
)


def versions(root: Path = ROOT) -> dict[Place, str]:
    """What each place says."""
    return {place: place.read(root) for place in PLACES}


def freeze(root: Path = ROOT) -> None:
    """Copy today's descriptors over the released ones."""
    shutil.copyfile(root / DESCRIPTORS, root / RELEASED)


def main() -> int:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", nargs="?", help="the number to write everywhere")
    parser.add_argument("--check", action="store_true", help="say nothing when all is well")
    parser.add_argument("--freeze", action="store_true", help="replace protos/released.binpb")
    arguments = parser.parse_args()

    if arguments.version:
        if not VERSION.fullmatch(arguments.version):
            sys.exit(f"{arguments.version} is not a version: three numbers, as in 1.2.3")
        for place in PLACES:
            place.write(ROOT, arguments.version)
    said = versions()
    if len(set(said.values())) > 1:
        for place, version in said.items():
            print(f"{place.path}: {version} (after {place.before.strip()!r})", file=sys.stderr)
        sys.exit("The files do not agree on one version. Run: make release VERSION=1.2.3")
    if arguments.freeze:
        freeze()
        print(f"{RELEASED} now holds the contract of {next(iter(said.values()))}")
    elif not arguments.check:
        print(next(iter(said.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
