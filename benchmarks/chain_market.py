"""What benchmarks of option chains stand on: a sandbox that has one, gateways before it, programs that read it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import grpc

from tickgate.v1 import admin_service_pb2 as admin_pb2
from tickgate.v1 import option_service_pb2 as pb

from . import consumer
from .chain_reader import PATH, PATIENCE, Fetched, Header, digest, rows_of_raw
from .evidence import ask
from .load import Question
from .processes import BrokenMeasurement, Cores, Process, running
from .readings import Reading, reading
from .sandbox import MARKET_TIME, Sandbox
from .stage import GATEWAY, running_gateway

_SHARED: Final = Path(__file__).parents[2] / "shared" / "market-data"
_RECORDED: Final = "SPY-2022-07-12.json.gz"
_TERMS: Final = "SPY-2022-07-12.contracts.json.gz"
_RECORDED_AT: Final = "2022-07-12T20:14:59Z"
_RECORDED_SIZE: Final = 9208

_ABOUT_RECORDED: Final = (
    "The chain: {1} after the close of 2022-07-12, {0:,} contracts as CBOE showed them. The recording lacks the times,"
    " venues and conditions of quotes and the sizes of trades. Alpaca always sends them and its SDK's models insist on"
    " some, so they are filled in, alike for all."
)
_ABOUT_MADE_UP: Final = (
    f"The chain: a made-up one of {{1}}, {{0:,}} contracts, for there is no options/{_RECORDED} where"
    " TICKGATE_MARKET_DATA says, or beside this repository."
)

_QUOTED_AT: Final = "2022-07-12T20:00:{0:02}.{1:03}123456Z"
"""When a quote of the recording is said to have been made: within ten seconds of the close, no two at once."""

PAGE: Final = 1000
"""Contracts of a page of the upstream's."""

CHAINS: Final = "/v1beta1/options/snapshots"

_SETTINGS: Final[Mapping[str, str]] = {
    "TICKGATE_ALPACA__PLAN": "plus",
    "TICKGATE_ALPACA__OPTION_FEED": "opra",
    "TICKGATE_OPTIONS__MAX_AGE": "3600",
    "TICKGATE_OPTIONS__LOAD_EVERY": "3600",
}
"""Settings of a gateway with chains: a plan that has opra, and a chain that stays as fresh as it is for a whole run."""

_DROP: Final = Question(
    "/tickgate.v1.AdminService/InvalidateCache",
    admin_pb2.InvalidateCacheRequest(kinds=[admin_pb2.VALUE_KIND_OPTION_CHAIN]),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a chain must hold."""

    contracts: int
    digest: int
    header: Header
    upstream_bytes: int
    """Of all pages as the upstream writes them."""


@dataclass(frozen=True, slots=True)
class ChainStage:
    """A sandbox with an option chain, and what it holds."""

    sandbox: Sandbox
    underlying: str
    expected: Expected
    about: str
    """What the chain is."""

    folder: Path
    cores: Cores

    @contextmanager
    def gateway(self, name: str, command: Sequence[str] = GATEWAY) -> Iterator[Process]:
        """Run a gateway before the sandbox."""
        with running_gateway(
            name, self.sandbox, self.folder, self.cores, command=command, settings=_SETTINGS
        ) as gateway:
            yield gateway

    @contextmanager
    def reading(self, module: str, *arguments: object) -> Iterator[Reading]:
        """Run a program of this package that reads chains, on the core of the load.

        Raises:
            BrokenMeasurement: it does not come to stand.
        """
        with reading(self.cores.others, module, *arguments) as program:
            yield program

    def expect(self, fetched: Fetched, served_from: str = "") -> None:
        """See that all of the chain came, and as it was to come.

        Raises:
            BrokenMeasurement: it did not.
        """
        expected = self.expected
        if (fetched.contracts, fetched.digest) != (expected.contracts, expected.digest):
            msg = f"a chain of {fetched.contracts} contracts came, and is not the upstream's of {expected.contracts}"
            raise BrokenMeasurement(msg)
        if served_from and (fetched.header, fetched.served_from) != (expected.header, served_from):
            msg = (
                f"the header of a chain from {fetched.served_from} says {fetched.header}, and not"
                f" {expected.header} from {served_from}"
            )
            raise BrokenMeasurement(msg)


@contextmanager
def chain_stage(folder: Path, cores: Cores) -> Iterator[ChainStage]:
    """Run a sandbox that has the recorded chain, or a made-up one where there is no recording."""
    recorded = _complete(folder / "recorded")
    replay = (f"--replay={folder / 'recorded'}",) if recorded else ()
    underlying = "SPY" if recorded else "AAPL"
    with running(
        "sandbox-options",
        [
            *("-m", "tickgate_sandbox", "serve", "--listen=127.0.0.1:0", "--plan=plus"),
            *(f"--at={_RECORDED_AT if recorded else MARKET_TIME}", "--speed=0", *replay),
        ],
        ready=r"http://127\.0\.0\.1:(\d+)",
        folder=folder,
        core=cores.others,
    ) as process:
        expected = _expected(process.port, underlying)
        if recorded and expected.contracts != _RECORDED_SIZE:
            msg = f"the sandbox serves {expected.contracts} contracts of {_RECORDED_SIZE} recorded"
            raise BrokenMeasurement(msg)
        about = (_ABOUT_RECORDED if recorded else _ABOUT_MADE_UP).format(
            expected.contracts, underlying
        )
        yield ChainStage(Sandbox(process.port), underlying, expected, about, folder, cores)


def gather(gateway: Process, request: pb.StreamOptionChainRequest) -> list[bytes]:
    """Return the messages of the gateway's answer.

    Raises:
        BrokenMeasurement: the call failed.
    """
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        call: Callable[..., Iterator[bytes]] = channel.unary_stream(PATH)
        try:
            return list(
                call(request.SerializeToString(), timeout=PATIENCE, metadata=consumer.metadata())
            )
        except grpc.RpcError as error:
            msg = f"{gateway.name} sends no chain: {error}"
            raise BrokenMeasurement(msg) from error


def drop(gateway: Process) -> None:
    """Let the gateway forget its chains.

    Raises:
        BrokenMeasurement: there was none.
    """
    dropped = admin_pb2.InvalidateCacheResponse.FromString(ask(gateway, _DROP))
    if not dropped.memory_entries:
        raise BrokenMeasurement(f"{gateway.name} was to forget a chain, and knew none")


def _market_data() -> Path:
    return Path(os.environ.get("TICKGATE_MARKET_DATA") or _SHARED)


def _complete(folder: Path) -> bool:
    """Write the recording to *folder* with what Alpaca would have sent too; tell whether there is one."""
    options = _market_data() / "options"
    if not (options / _RECORDED).exists():
        return False
    copies = folder / "options"
    copies.mkdir(parents=True, exist_ok=True)
    chain = json.loads(gzip.decompress((options / _RECORDED).read_bytes()))
    for number, snapshot in enumerate(chain["snapshots"].values()):
        at = _QUOTED_AT.format(*divmod(number, 1000))
        snapshot["latestQuote"] |= {"ax": "N", "bx": "C", "c": " ", "t": at}
        if "latestTrade" in snapshot:
            snapshot["latestTrade"] |= {"c": "I", "s": 1, "x": "C"}
    text = json.dumps(chain, separators=(",", ":"))
    (copies / _RECORDED).write_bytes(gzip.compress(text.encode()))
    if (options / _TERMS).exists():
        shutil.copyfile(options / _TERMS, copies / _TERMS)
    return True


def _expected(port: int, underlying: str) -> Expected:
    """Return what the sandbox itself says of the chain."""
    snapshots: dict[str, Any] = {}
    size, parameters = 0, {"feed": "opra", "limit": str(PAGE)}
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        while True:
            headers = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
            connection.request(
                "GET", f"{CHAINS}/{underlying}?{urlencode(parameters)}", None, headers
            )
            body = connection.getresponse().read()
            page = json.loads(body)
            if "snapshots" not in page:
                raise BrokenMeasurement(f"the sandbox sends no chain of {underlying}: {page}")
            snapshots |= page["snapshots"]
            size += len(body)
            if not page["next_page_token"]:
                break
            parameters["page_token"] = page["next_page_token"]

    def without(part: str) -> int:
        return sum(part not in each for each in snapshots.values())

    header = Header(
        total_size=len(snapshots),
        chain_size=len(snapshots),
        without_quote=without("latestQuote"),
        without_trade=without("latestTrade"),
        without_greeks=without("greeks"),
        without_volatility=without("impliedVolatility"),
        out_of_count=0,
    )
    return Expected(len(snapshots), digest(rows_of_raw(snapshots)), header, size)
