"""Logs and the audit log of the program, in files: written to the last line, and refused where they cannot be."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from tickgate.v1 import quote_service_pb2 as pb
from tickgate.v1 import quote_service_pb2_grpc as services
from tools.programs import Program, gateway_program, sandbox_program

from ..support.waiting import until


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log."""
    if not path.exists():
        return []
    return [
        json.loads(line) for line in path.read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]


def serving(path: Path) -> list[str]:
    """Where the programs that write to *path* have said that they listen."""
    return [line["listen"] for line in read(path) if line.get("event") == "serving"]


def said(programs: Sequence[Program]) -> str:
    """What programs have written to their terminal."""
    return "".join(line for each in programs for line in each.lines)


async def test_a_program_writes_its_logs_to_files(tmp_path: Path) -> None:
    """Events, calls and who had what stand in their files when the program ends, and nobody else can read them."""
    log, audit = tmp_path / "gateway.log", tmp_path / "audit.log"
    settings = {"TICKGATE_LOG__FILE": str(log), "TICKGATE_AUDIT__FILE": str(audit)}
    with sandbox_program() as sandbox, gateway_program(sandbox.address, settings) as gateway:
        await until(lambda: bool(serving(log)), within=60)
        async with grpc.aio.insecure_channel(serving(log)[0]) as channel:
            request = pb.GetQuoteRequest(symbol="AAPL")
            metadata = (("x-request-id", "mine"),)
            await services.QuoteServiceStub(channel).GetQuote(request, metadata=metadata)
        assert gateway.stop() == 0
    assert said([gateway]) == f"tickgate-server: logs go to {log}\n"
    events = [line["event"] for line in read(log) if "event" in line]
    assert [event for event in events if event in ("serving", "draining", "stopped")] == [
        "serving",
        "draining",
        "stopped",
    ]
    assert [line["endpoint"] for line in read(log) if line.get("request_id") == "mine"] == [
        "QuoteService/GetQuote"
    ]
    assert [line["symbols"] for line in read(audit)] == [["AAPL"]]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (log, audit)} == {0o600}


@pytest.mark.parametrize("setting", ["log", "audit"])
async def test_two_programs_do_not_share_a_file(tmp_path: Path, setting: str) -> None:
    """A second program with the same file says so in a sentence and does not start; the first goes on."""
    log, path = tmp_path / "first.log", tmp_path / "shared.log"
    shared = {f"TICKGATE_{setting.upper()}__FILE": str(path)}
    first = shared if setting == "log" else shared | {"TICKGATE_LOG__FILE": str(log)}
    with (
        sandbox_program() as sandbox,
        gateway_program(sandbox.address, first),
    ):
        await until(lambda: bool(serving(path if setting == "log" else log)), within=60)
        with gateway_program(sandbox.address, shared) as second:
            assert second.process.wait(60) == 1
    assert (
        f"tickgate-server: {setting}.file: {path}: cannot be written (another process writes it)\n"
        in second.lines
    )
