"""The address of a PostgreSQL, and how to keep what is secret in it out of messages."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ...errors import StoreUnusable

_SECRET: Final = ("password", "sslpassword", "oauth_client_secret")


class Address(Struct, frozen=True):
    """Where a PostgreSQL is and how to log in, as libpq takes it. Its text never shows a secret."""

    _conninfo: str
    _secrets: tuple[str, ...]

    def conninfo(self, connect_timeout: float, statement_timeout: float | None = None) -> str:
        """Return what libpq connects with; timeouts are seconds, None leaves statements all the time they need."""
        given = conninfo_to_dict(self._conninfo)
        ours: dict[str, str | int] = {
            "application_name": given.get("application_name") or "tickgate",
            # libpq counts in whole seconds, and takes 0 for no bound at all.
            "connect_timeout": max(1, round(connect_timeout)),
        }
        if statement_timeout is not None:
            milliseconds = max(1, int(statement_timeout * 1000))
            options = f"{given.get('options') or ''} -c statement_timeout={milliseconds}"
            ours["options"] = options.strip()
        return make_conninfo(self._conninfo, **ours)

    def censor(self, message: str) -> str:
        """Return *message* in one line and without the secrets of this address."""
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return " ".join(message.split())

    def __repr__(self) -> str:
        return "Address(…)"


def parse(url: str) -> Address:
    """Read *url*, any form that libpq takes.

    Raises:
        StoreUnusable: it is no such address. The message holds no part of it, which may be secret.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        given = {}
    ports = str(given.get("port") or "").split(",")
    # A password with a slash that is not percent-encoded is taken apart in the wrong place, and its pieces would be
    # quoted in messages as a port or a database.
    misread = "@" in str(given.get("dbname", ""))
    if not given or misread or not all(port.isdecimal() for port in ports if port):
        msg = (
            "postgres_url: not an address of PostgreSQL such as"
            " postgresql://user:password@host:5432/database; a password in it must be percent-encoded"
        )
        raise StoreUnusable(msg)
    secrets = [str(given[name]) for name in _SECRET if given.get(name)]
    return Address(url, tuple(form for text in secrets for form in (text, quote(text, safe=""))))
