"""What every command of the command line has: its options, its exit code, and how answers are printed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter, validators
from rich.console import Console

from ._channel import DEFAULT_TARGET, DEFAULT_TIMEOUT
from ._models import Unavailable
from ._rules import refused
from ._security import Tls
from ._sync import SyncClient, connect_sync
from ._time import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import RenderableType

Value = TypeVar("Value")

COMPLETE, INCOMPLETE, WRONG_USAGE, NO_GATEWAY = range(4)

MOST_RECORDS = 1_000_000
"""Records of a list at most: all of them are held before the first is shown."""


Limit = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=MOST_RECORDS))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes."""

    address: Annotated[
        str, Parameter(name=["--target", "--address"], env_var="TICKGATE_TARGET")
    ] = DEFAULT_TARGET
    """Address of the gateway. Several are IP addresses with a comma between them, or a name for all."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that a call may take."""
    json: Annotated[bool, Parameter(negative="")] = False
    """One JSON object per line instead of a table; prices as text, times to the nanosecond."""

    api_key: Annotated[str | None, Parameter(env_var="TICKGATE_API_KEY")] = field(
        default=None, repr=False
    )
    """Who you are. Other users of the machine see what stands on a command line: rather set TICKGATE_API_KEY."""
    api_key_file: Annotated[Path | None, Parameter(env_var="TICKGATE_API_KEY_FILE")] = None
    """File that holds the API key and nothing else."""
    insecure_key: Annotated[bool, Parameter(negative="")] = False
    """Send the API key to another machine without TLS, since something else protects the connection."""
    tls: Annotated[bool, Parameter(negative="")] = False
    """Encrypt. Implied by the four below."""
    ca: Path | None = None
    """PEM file of whom to believe about who is a gateway."""
    certificate: Path | None = None
    """PEM file of your own certificate."""
    key: Path | None = field(default=None, repr=False)
    """PEM file of its private key."""
    server_name: str | None = None
    """Name that the gateway's certificate must be good for, where the address has another or none."""

    @property
    def patience(self) -> float | None:
        """Seconds that a stream may bring nothing new; the client's own where none were given."""
        return None if self.timeout == DEFAULT_TIMEOUT else self.timeout

    def connect(self) -> SyncClient:
        """Make a client.

        Raises:
            InvalidRequest: the options cannot be meant so.
        """
        return connect_sync(
            self.address,
            timeout=self.timeout,
            api_key=self._key(),
            tls=self._tls(),
            insecure_key=self.insecure_key,
        )

    def _key(self) -> str | None:
        if self.api_key_file is None:
            return self.api_key
        if self.api_key is not None:
            raise refused("api-key", "a key and a file of one are both given: give one of them")
        try:
            return self.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            rule = f"{self.api_key_file} cannot be read"
            raise refused("api-key-file", rule) from None

    def _tls(self) -> bool | Tls:
        parts = Tls(
            ca=self.ca, certificate=self.certificate, key=self.key, server_name=self.server_name
        )
        return self.tls if parts == Tls() else parts


DEFAULTS = Options()


def show_results(
    results: Sequence[Value | Unavailable],
    table: Callable[[Sequence[Value | Unavailable]], RenderableType],
    options: Options,
) -> int:
    """Show results, of which some may hold no value, and return the exit code."""
    show(results, table(results), options)
    missing = any(isinstance(result, Unavailable) for result in results)
    return INCOMPLETE if missing else COMPLETE


def show(values: Iterable[object], table: RenderableType, options: Options) -> int:
    """Show values as JSON or as their table."""
    # A terminal has a width; a file or a pipe has none, so nothing is folded there.
    console = Console() if Console().is_terminal else Console(width=200)
    if options.json:
        for value in values:
            console.file.write(f"{as_line(value)}\n")
    else:
        console.print(table)
    return COMPLETE


def as_line(value: object) -> str:
    """A value as one line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False)


def write(console: Console, line: str) -> None:
    """Print a line at once."""
    console.file.write(f"{line}\n")
    console.file.flush()  # whoever reads a pipe reads it now


def complain(message: RenderableType, code: int = INCOMPLETE) -> int:
    """Say what is wrong, apart from what was asked for, and return an exit code."""
    Console(stderr=True).print(message)
    return code


def plain(value: object) -> Any:
    """A value as JSON takes it: prices as text, `x_time_ns` as `x_time` with all nine digits."""
    if is_dataclass(value):
        return dict(_plain_field(field.name, getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    # Anything else is JSON already.
    return str(value) if isinstance(value, Decimal | date | Exception) else value


def _plain_field(name: str, value: object) -> tuple[str, Any]:
    if name.endswith("time_ns"):
        return name.removesuffix("_ns"), rfc3339(value) if isinstance(value, int) else None
    return name, plain(value)
