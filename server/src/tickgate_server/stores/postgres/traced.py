"""Cursors whose statements are spans."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import lru_cache
from typing import Any, Final, Self

import psycopg
from psycopg.abc import Params, Query

from ...observe.spans import Telling, current, span

_VERB: Final = re.compile(r"\s*(\w+)", re.ASCII)
_TABLE: Final = re.compile(
    r"\b(?:FROM|INTO|UPDATE|COPY|TABLE(?:\s+IF\s+(?:NOT\s+)?EXISTS)?)\s+(?:ONLY\s+)?([a-z_]\w*)",
    re.ASCII,
)
"""The first table that a statement names. Keywords are in capitals here, and names are not."""


class TracedCursor(psycopg.AsyncCursor[Any]):
    """A cursor that shows each statement in the trace of the call it is for: what it does, to what, and how many rows.

    Of its parameters, and of what PostgreSQL says of a failure, nothing is shown.
    """

    async def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Carry a statement out."""
        if current() is None:
            await super().execute(query, params, prepare=prepare, binary=binary)
            return self
        with _statement(query) as told:
            await super().execute(query, params, prepare=prepare, binary=binary)
            told.tell(rows=max(0, self.rowcount))
        return self

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None, *, writer: Any = None
    ) -> AsyncIterator[psycopg.AsyncCopy]:
        """Copy rows in or out."""
        with _statement(statement) as told:
            async with super().copy(statement, params, writer=writer) as copy:
                yield copy
            told.tell(rows=max(0, self.rowcount))


def _statement(query: Any) -> AbstractContextManager[Telling]:
    verb, table = _words(query if isinstance(query, str) else "STATEMENT")
    if not table:
        return span(verb, "client", database="postgresql", operation=verb)
    return span(
        f"{verb} {table}", "client", database="postgresql", operation=verb, collection=table
    )


@lru_cache(maxsize=256)
def _words(statement: str) -> tuple[str, str]:
    """Return the verb of *statement* and the first table that it names; empty where it names none."""
    verb, table = _VERB.match(statement), _TABLE.search(statement)
    # Nothing is what a pool says to a connection to hear whether it still works.
    return "CHECK" if verb is None else verb[1].upper(), "" if table is None else table[1]
