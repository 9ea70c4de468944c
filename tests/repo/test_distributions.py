"""What users get when they install."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTOS = sorted(
    path.relative_to(ROOT / "protos").as_posix()
    for path in (ROOT / "protos").rglob("tickgate/**/*.proto")
)


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """An sdist of the client in a folder, and the wheel that is built from it, not from here."""
    _build(ROOT / "clients/python", tmp_path)
    return tmp_path


def test_client_carries_the_contract(client: Path) -> None:
    """Sdist and wheel of the client carry every .proto, the descriptor set and the types' mark."""
    (wheel,) = client.glob("*.whl")
    (sdist,) = client.glob("*.tar.gz")
    inside = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}

    assert {f"tickgate/protos/{name}" for name in PROTOS} <= inside
    assert {f"protos/{name}" for name in PROTOS} <= packed
    assert {"tickgate/py.typed", "tickgate/v1/tickgate.binpb"} <= inside


@pytest.mark.parametrize(
    ("home", "package"), [("server", "tickgate_server"), ("sandbox", "tickgate_sandbox")]
)
def test_wheel_carries_package_license_and_types(home: str, package: str, tmp_path: Path) -> None:
    """Wheels of server and sandbox carry all of their package, its types' mark and the license."""
    _build(ROOT / home, tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel).namelist()

    source = ROOT / home / "src"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}

    # Migrations too, which nothing imports.
    assert f"{package}/__main__.py" in modules <= set(inside)
    assert f"{package}/py.typed" in inside
    assert any(name.endswith("/LICENSE") for name in inside)


def _build(home: Path, target: Path) -> None:
    """Build *home* as `make release` does: the wheel comes out of the sdist."""
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("uv")), "build", "--quiet", "--offline"),
            *("--no-build-isolation", "--python", sys.executable),
            *("--out-dir", str(target), str(home)),
        ],
        check=True,
    )
