"""What is generated from the protos, and what defends them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / "protos" / "released.binpb"
DESCRIPTORS = ROOT / "clients/python/src/tickgate/v1/tickgate.binpb"


@pytest.mark.parametrize("path", [RELEASED, DESCRIPTORS], ids=["released", "current"])
def test_descriptor_set_is_complete(path: Path) -> None:
    """A descriptor set holds the services and every file they need, so grpcurl needs no other."""
    files = FileDescriptorSet.FromString(path.read_bytes()).file
    names = {file.name for file in files}

    assert any(file.service for file in files)
    assert {needed for file in files for needed in file.dependency} <= names


def test_removed_field_turns_the_check_red(tmp_path: Path) -> None:
    """Removing a released field from a proto fails `make protos-lint`, and the field is named."""
    checkout = _checkout(tmp_path)
    proto = checkout / "protos/tickgate/v1/quote.proto"
    line = "  repeated string conditions = 4;\n"
    text = proto.read_text()
    assert line in text, "the field that this test removes is gone; choose another"

    assert _lint(checkout).returncode == 0
    proto.write_text(text.replace(line, "  reserved 4;\n"))
    red = _lint(checkout)

    assert red.returncode != 0
    assert 'field "4" with name "conditions"' in red.stdout + red.stderr


def test_missing_comment_turns_the_check_red(tmp_path: Path) -> None:
    """A field without a comment fails `make protos-lint`, since the protos are the manual."""
    checkout = _checkout(tmp_path)
    proto = checkout / "protos/tickgate/v1/quote.proto"
    text = proto.read_text()
    comment = "  // Bid equals ask.\n"
    assert comment in text, "the comment that this test removes is gone; choose another"

    proto.write_text(text.replace(comment, ""))
    red = _lint(checkout)

    assert red.returncode != 0
    assert "QUOTE_FLAG_LOCKED" in red.stdout + red.stderr


def _checkout(home: Path) -> Path:
    """As much of the repository as `make protos-lint` reads, in *home*."""
    for name in ("Makefile", "buf.yaml", "constraints.txt"):
        shutil.copy2(ROOT / name, home)
    for name in ("protos", "tools"):
        shutil.copytree(ROOT / name, home / name)
    for name in (".venv", ".venv-protos"):
        (home / name).symlink_to(ROOT / name)
    return home


def _lint(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run the verb that `make check` runs; the environments are taken as they are."""
    ready = ["-o", ".venv/.ready", "-o", ".venv-protos/.ready"]
    return subprocess.run(
        ["make", *ready, "protos-lint"], cwd=checkout, capture_output=True, text=True, check=False
    )
