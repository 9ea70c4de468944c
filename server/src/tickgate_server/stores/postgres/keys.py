"""API keys in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from ...errors import StoreUnusable
from ...identity.api_key import ApiKey
from ...identity.consumer import Limits, Scope
from .link import Connection, PostgresLink

_COLUMNS: Final = "id, name, digest, scopes, limits, created, expires, revoked"

_ADD: Final = f"INSERT INTO api_keys ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608 - names of ours
_EVERYTHING: Final = f'SELECT {_COLUMNS} FROM api_keys ORDER BY created, id COLLATE "C"'  # noqa: S608 - as above
_REVOKE: Final = (
    f"UPDATE api_keys SET revoked = coalesce(revoked, %s) WHERE id = %s RETURNING {_COLUMNS}"  # noqa: S608 - as above
)


class PostgresKeys:
    """`KeyStore` that all replicas share."""

    def __init__(self, link: PostgresLink) -> None:
        """Keep them over *link*."""
        self._link = link

    async def everything(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first."""
        return await self._link.ask(lambda to: _found(to, _EVERYTHING, ()))

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        row = (
            key.id,
            key.name,
            key.digest,
            [scope.value for scope in Scope if scope in key.scopes],
            Jsonb(_given(key.limits)),
            key.created,
            key.expires,
            key.revoked,
        )
        await self._link.ask(lambda to: to.execute(_ADD, row))

    async def revoke(self, key_id: str, time: int) -> ApiKey | None:
        """Revoke a key as of *time*."""
        found = await self._link.ask(lambda to: _found(to, _REVOKE, (time, key_id)))
        return found[0] if found else None


async def _found(to: Connection, statement: str, parameters: Sequence[Any]) -> list[ApiKey]:
    rows = await to.execute(statement, parameters)
    return [_key(row) for row in await rows.fetchall()]


def _given(limits: Limits) -> dict[str, float]:
    return {
        field: value for field, value in msgspec.structs.asdict(limits).items() if value is not None
    }


def _key(row: Sequence[Any]) -> ApiKey:
    named = dict(zip(_COLUMNS.split(", "), row, strict=True))
    try:
        return msgspec.convert(named, ApiKey)
    except msgspec.ValidationError as error:
        msg = f"the API key {named['id']} in PostgreSQL cannot be read: {error}"
        raise StoreUnusable(msg) from error
