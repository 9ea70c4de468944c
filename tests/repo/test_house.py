"""The habits of the house that a machine can hold us to."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def _files(pattern: str = "") -> list[Path]:
    """Every file that is committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return sorted(path for path in paths if path.is_file() and re.search(pattern, path.name))


def test_bare_make_lists_every_verb() -> None:
    """`make` alone names each verb with a line about it."""
    verbs = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for verb in " ".join(verbs).split():
        assert re.search(rf"^  make {verb} +\S", listed, re.MULTILINE), f"{verb} is not listed"


def test_ci_runs_what_a_person_runs() -> None:
    """The workflow and .ci/run call make's verbs, on push and on pull request."""
    # YAML 1.1 reads the bare key `on` as true.
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    script = (ROOT / ".ci/run").read_text()

    assert set(workflow[True]) == {"push", "pull_request"}
    assert ".ci/run" in [step.get("run") for step in steps]
    verbs = re.findall(r"^(?:\w+='[^']*' )?make (\w+)$", script, re.MULTILINE)
    assert verbs == ["inspect", "test", "long", "floor"]
    whole = _recipe("check")
    for verb in verbs:
        assert _recipe(verb) in whole, f"make check does not run make {verb}"


def _recipe(verb: str) -> str:
    """Return what make would run for *verb*, whether make runs this test or not."""
    command = ["make", "--dry-run", "--no-print-directory", verb]
    ours = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        command, cwd=ROOT, env=ours, capture_output=True, text=True, check=True
    ).stdout


def test_every_test_is_a_promise() -> None:
    """Each test function has a docstring of exactly one sentence."""
    silent = []
    for path in _files(r"^test_.*\.py$"):
        for function in _tests(ast.parse(path.read_text())):
            said = ast.get_docstring(function) or ""
            one = said.endswith((".", "?", "!")) and not re.search(r"[.!?]\s+[A-Z]", said)
            if not one:
                silent.append(f"{path.relative_to(ROOT)}:{function.lineno} {function.name}")

    assert not silent, "\n".join(silent)


def _tests(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(module):
        if isinstance(node, functions) and node.name.startswith("test_"):
            yield node


@pytest.mark.parametrize(
    "page", _files(r"\.md$"), ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page leads to a file, and its fragment to a heading in it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        name, _, fragment = target.partition("#")
        goal = (page.parent / name).resolve() if name else page
        if not goal.exists() or (fragment and fragment not in _fragments(goal)):
            broken.append(target)

    assert not broken


def _fragments(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_file_names_a_machine() -> None:
    """No file names a folder of one machine, or the host of a package registry."""
    # Written in two parts, so that this file is not among its own findings.
    folders = ("/wo" + "rk/", "/ro" + "ot/", "/opt/" + "pypi", "/opt/" + "wheels")
    hosts = ("pyp" + "i.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com")
    settings = ("--index" + "-url", "--find" + "-links", "--extra" + "-index")
    found = [
        f"{path.relative_to(ROOT)}: {words}"
        for path in _files()
        for words in (*folders, *hosts, *settings)
        if words.encode() in path.read_bytes()
    ]

    assert not found, "\n".join(found)


def test_every_distribution_carries_the_license() -> None:
    """Each distribution's folder holds the license, since a build sees only its own folder."""
    terms = (ROOT / "LICENSE").read_text()

    for home in ("clients/python", "server", "sandbox"):
        assert (ROOT / home / "LICENSE").read_text() == terms


def test_every_decision_is_indexed() -> None:
    """The index of decisions names each of them."""
    index = (ROOT / "docs/adr/README.md").read_text()

    for page in sorted((ROOT / "docs/adr").glob("[0-9]*.md")):
        assert f"({page.name})" in index
