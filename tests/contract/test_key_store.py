"""What every keeper of API keys promises, wherever it keeps them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from tickgate_server.errors import StoreDown, StoreUnusable
from tickgate_server.identity.api_key import ApiKey, digest_of, new_token
from tickgate_server.identity.consumer import Limits, Scope
from tickgate_server.ports import KeyStore
from tickgate_server.stores.key_file import KeyFile
from tickgate_server.stores.postgres.keys import PostgresKeys

from ..support.error_log import link_to
from ..support.fakes import NOW
from ..support.stores import postgres_url


def key(number: int = 0) -> ApiKey:
    """A key with all that a key can have; the higher its *number*, the later."""
    key_id, token = new_token()
    limits = Limits(
        calls_per_second=0.5,
        symbols_per_batch=10,
        streams=0,
        symbols_per_stream=30,
        history_points_per_day=10**12,
    )
    return ApiKey(
        key_id,
        "desk-7",
        digest_of(token, b"secret"),
        frozenset({Scope.READ, Scope.HISTORY}),
        limits,
        NOW + number,
        NOW + 90 * 24 * 3600 * 10**9 + 123_456_789,
    )


def bare(number: int) -> ApiKey:
    """A key with no more than a key must have."""
    known = key(number)
    return replace(known, limits=Limits(), expires=None, scopes=frozenset(Scope))


@asynccontextmanager
async def file() -> AsyncIterator[KeyStore]:
    """A file, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield KeyFile(Path(folder) / "keys.jsonl")


@asynccontextmanager
async def postgres() -> AsyncIterator[KeyStore]:
    """A real PostgreSQL."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
            yield PostgresKeys(link)


@asynccontextmanager
async def file_away() -> AsyncIterator[KeyStore]:
    """A file in a folder that is not there."""
    with tempfile.TemporaryDirectory() as folder:
        yield KeyFile(Path(folder) / "missing" / "keys.jsonl")


@asynccontextmanager
async def postgres_away() -> AsyncIterator[KeyStore]:
    """A PostgreSQL that is not there."""
    async with link_to("postgresql://nobody@127.0.0.1:1/nowhere") as link:
        await link.start()
        yield PostgresKeys(link)


@asynccontextmanager
async def file_of_something_else() -> AsyncIterator[KeyStore]:
    """A file whose second line is no key."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.jsonl"
        store = KeyFile(path)
        await store.add(key())
        path.write_text(path.read_text() + '{"id": "broken"}\n')
        yield store


@asynccontextmanager
async def postgres_of_something_else() -> AsyncIterator[KeyStore]:
    """A table of keys of which one has a scope that nobody knows."""
    with postgres_url() as url:
        async with link_to(url) as link:
            await link.start()
            store = PostgresKeys(link)
            await store.add(key())
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("UPDATE api_keys SET scopes = '{everything}'")
            yield store


Open = Callable[[], AbstractAsyncContextManager[KeyStore]]
EVERY = pytest.mark.parametrize("subject", [file, postgres])


@EVERY
async def test_keys_come_back_whole(subject: Open) -> None:
    """What is kept comes back whole, the oldest first, in whatever order it was added."""
    keys = [key(1), bare(2), key(3)]
    async with subject() as it:
        for one in (keys[1], keys[2], keys[0]):
            await it.add(one)

        assert await it.everything() == keys


@EVERY
async def test_a_key_is_revoked_once(subject: Open) -> None:
    """A revoked key stays, with the time at which that was first done, and no other is touched."""
    first, second = key(1), key(2)
    async with subject() as it:
        await it.add(first)
        await it.add(second)
        revoked = replace(first, revoked=NOW + 10)

        assert await it.revoke(first.id, NOW + 10) == revoked
        assert await it.revoke(first.id, NOW + 20) == revoked
        assert await it.everything() == [revoked, second]


@EVERY
async def test_an_unknown_key_cannot_be_revoked(subject: Open) -> None:
    """Revoking what is not there returns None and changes nothing."""
    kept = key()
    async with subject() as it:
        await it.add(kept)

        assert await it.revoke("Missing0", NOW) is None
        assert await it.everything() == [kept]


@EVERY
async def test_writers_do_not_lose_each_others_keys(subject: Open) -> None:
    """Keys that are added and revoked at the same time are all there afterwards."""
    old, new = [key(number) for number in range(10)], [key(number) for number in range(10, 30)]
    async with subject() as it:
        for one in old:
            await it.add(one)
        await asyncio.gather(
            *(it.add(one) for one in new), *(it.revoke(one.id, NOW) for one in old)
        )

        assert await it.everything() == [*(replace(one, revoked=NOW) for one in old), *new]


@pytest.mark.parametrize("subject", [file_away, postgres_away])
async def test_what_is_away_is_down(subject: Open) -> None:
    """Where the keys cannot be had every question says so, and none is answered as if there were no keys."""
    async with subject() as it:
        with pytest.raises(StoreDown):
            await it.everything()
        with pytest.raises(StoreDown):
            await it.add(key())
        with pytest.raises(StoreDown):
            await it.revoke("Missing0", NOW)


@pytest.mark.parametrize("subject", [file_of_something_else, postgres_of_something_else])
async def test_what_cannot_be_read_is_refused_whole(subject: Open) -> None:
    """One key that cannot be read refuses all of them: nobody knows what else is wrong there."""
    async with subject() as it:
        with pytest.raises(StoreUnusable):
            await it.everything()


# ------------------------------------------------------------------------------------- the file alone


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where keys are kept."""
    return tmp_path / "keys.jsonl"


async def test_a_missing_file_is_no_empty_one(path: Path) -> None:
    """Before the first key there is no file, which is said with its name."""
    with pytest.raises(StoreDown, match=r"keys\.jsonl cannot be read \(No such file"):
        await KeyFile(path).everything()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
async def test_what_is_no_file_is_not_waited_for(path: Path, make: Callable[[Path], None]) -> None:
    """A pipe, which would keep its reader waiting, and a folder are keys that cannot be read, at once."""
    make(path)

    async with asyncio.timeout(5):
        with pytest.raises(StoreDown, match="cannot be read"):
            await KeyFile(path).everything()


async def test_the_file_is_its_owners(path: Path) -> None:
    """The file is made for its owner's eyes alone, and later changes leave whatever the owner has made of that."""
    store = KeyFile(path)
    await store.add(key(1))
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    await store.add(key(2))

    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o620, 0o602])
async def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    """Whoever could write to it could give himself every scope, so it is not believed."""
    store = KeyFile(path)
    await store.add(key())
    path.chmod(mode)

    with pytest.raises(StoreUnusable, match="others may write to it"):
        await store.everything()


async def test_a_file_is_replaced_and_never_half_written(path: Path) -> None:
    """A reader who holds the file while it is changed reads the old one to its end, and nothing is left beside it."""
    store = KeyFile(path)
    await store.add(key(1))
    with path.open("rb") as held:
        await store.add(key(2))

        assert len(held.read().splitlines()) == 1
    assert [one.name for one in path.parent.iterdir()] == [path.name]


async def test_a_link_to_the_file_stays_one(path: Path) -> None:
    """A file that is reached by a link is changed where it is."""
    link = path.with_name("link")
    link.symlink_to(path)
    store = KeyFile(link)
    await store.add(key(1))
    await store.add(key(2))

    assert link.is_symlink()
    assert len(await KeyFile(path).everything()) == 2


async def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    """As long as nobody writes, the very same list is returned; another process's change is seen."""
    store = KeyFile(path)
    await store.add(key(1))
    before = await store.everything()
    assert await store.everything() is before
    await KeyFile(path).add(key(2))

    assert len(await store.everything()) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: line[:-10], "line 2"),
        (lambda line: line.replace('"read"', '"reed"'), "Invalid enum value 'reed'"),
        (lambda line: line.replace('"scopes"', '"scope"'), "scope"),
        (lambda line: line.replace('"streams":0', '"streams":-1'), "streams"),
        (lambda line: line.replace('"desk-7"', '"desk 7"'), "name"),
        (lambda line: line.replace('"name"', '"more":1,"name"'), "unknown field `more`"),
        (lambda line: line.replace('"digest":"', '"digest":"x'), "digest"),
        (lambda line: "[]", "line 2"),
        (lambda line: "\x00\xff", "line 2"),
    ],
)
async def test_a_broken_line_is_named(path: Path, change: Callable[[str], str], why: str) -> None:
    """A line that is no key is named with its number and what is wrong with it, never with its digest."""
    store = KeyFile(path)
    await store.add(key(1))
    broken = key(2)
    await store.add(broken)
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{change(second)}\n", encoding="latin-1")

    with pytest.raises(StoreUnusable, match="line 2") as refused:
        await store.everything()
    assert why in str(refused.value)
    assert broken.digest not in str(refused.value)


async def test_a_key_stands_there_once(path: Path) -> None:
    """The same key twice is refused: one of the lines may be the revoked one."""
    store = KeyFile(path)
    await store.add(key())
    path.write_text(path.read_text() * 2)

    with pytest.raises(StoreUnusable, match="twice"):
        await store.everything()


async def test_blank_lines_are_none(path: Path) -> None:
    """An empty file is one without keys."""
    path.write_text("\n \n")
    path.chmod(0o600)

    assert await KeyFile(path).everything() == []
