"""Generates the Python code of the contract, and the images that lint and docs read.

    python -m tools.protos            write clients/python/src/tickgate/v1
    python -m tools.protos --check    compare instead, and name what differs
    python -m tools.protos --image F  write a descriptor image with every comment in it

Runs in the dev environment and calls the pinned generators in .venv-protos, so that the generator's
old protobuf never meets the new one. The same protos give the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
PACKAGE = Path("tickgate", "v1")
HOME = ROOT / "clients" / "python" / "src"
DESCRIPTORS = "tickgate.binpb"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", DESCRIPTORS)
INIT = '"""Generated from protos/tickgate/v1 by `make protos`. Edit the protos, never this folder."""\n'


def sources(protos: Path = PROTOS) -> list[str]:
    """Every .proto file below *protos*, as protoc names them."""
    return sorted(path.relative_to(protos).as_posix() for path in protos.rglob("*.proto"))


def protoc(*arguments: str, protos: Path = PROTOS) -> None:
    """Run the pinned protoc on all of *protos*.

    Raises:
        SystemExit: the protos do not compile; protoc has said where.
    """
    binaries = ROOT / ".venv-protos" / "bin"
    # google.type and google.rpc come from the installed wheel; they are never copied in.
    (foreign,) = (ROOT / ".venv-protos" / "lib").glob("python3*/site-packages")
    command = [
        str(binaries / "python"),
        "-m",
        "grpc_tools.protoc",
        f"-I{protos}",
        f"-I{foreign}",
        *arguments,
        *sources(protos),
    ]
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"  # protoc looks for its plugins there
    done = subprocess.run(command, cwd=protos, env=os.environ | {"PATH": path}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def write_image(target: Path, protos: Path = PROTOS) -> None:
    """Write all descriptors, imports and comments included, to *target*."""
    target.parent.mkdir(parents=True, exist_ok=True)
    protoc(
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={target}",
        protos=protos,
    )


def generate(home: Path) -> None:
    """Write the package's generated files below *home*, after removing the old ones."""
    package = home / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    for old in generated(package):
        old.unlink()
    protoc(
        f"--python_out={home}",
        f"--grpc_python_out={home}",
        f"--mypy_out=quiet:{home}",
        f"--mypy_grpc_out=quiet:{home}",
    )
    # protoc writes a gRPC module for every file, most of them without a service in it.
    for stub in package.glob("*_pb2_grpc.py"):
        if "class " not in stub.read_text():
            stub.unlink()
            stub.with_suffix(".pyi").unlink(missing_ok=True)
    protoc("--include_imports", f"--descriptor_set_out={package / DESCRIPTORS}")
    init = package / "__init__.py"
    if not init.exists():
        init.write_text(INIT)


def generated(package: Path) -> list[Path]:
    """The files in *package* that the generator owns."""
    return sorted(path for pattern in GENERATED for path in package.glob(pattern))


def differences(committed: Path, fresh: Path) -> list[str]:
    """Say, one line a file, how *committed* differs from *fresh*."""
    old = {path.name: path for path in generated(committed)}
    new = {path.name: path for path in generated(fresh)}
    said = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            said.append(f"{name}: no proto makes this any more")
        elif name not in old:
            said.append(f"{name}: missing")
        elif not filecmp.cmp(old[name], new[name], shallow=False):
            said.append(f"{name}: differs")
    return said


def check() -> int:
    """Compare what is committed with what the protos give today."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        said = differences(HOME / PACKAGE, Path(scratch) / PACKAGE)
    for line in said:
        print(f"{(HOME / PACKAGE).relative_to(ROOT)}/{line}", file=sys.stderr)
    if said:
        print("The generated code is not what the protos say. Run: make protos", file=sys.stderr)
    return 1 if said else 0


def main() -> int:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare, write nothing")
    what.add_argument("--image", type=Path, help="write the image for buf and the reference")
    arguments = parser.parse_args()
    if not sources():
        sys.exit("There is no .proto file under protos/.")
    if arguments.check:
        return check()
    if arguments.image:
        write_image(arguments.image.resolve())
        return 0
    generate(HOME)
    return 0


if __name__ == "__main__":
    sys.exit(main())
