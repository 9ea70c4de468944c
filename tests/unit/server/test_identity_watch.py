"""Keys that are made and revoked while a gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tickgate_server.access.keys import KeyDoor
from tickgate_server.errors import StoreDown, StoreUnusable, Unauthenticated
from tickgate_server.identity.api_key import ApiKey
from tickgate_server.identity.consumer import UNLIMITED, Scope
from tickgate_server.jobs.key_watch import KeyWatch
from tickgate_server.observe.counters import KeyCounts
from tickgate_server.ports import KeyStore
from tickgate_server.stores.key_file import KeyFile

from ...support.error_log import HASTY, link_to
from ...support.fakes import NOW, HandClock
from ...support.keys import SECRET, made_key

AWAY = "ipv4:10.0.0.5:5000"


class Watched:
    """A door, what watches for it, and how often it told of a look."""

    def __init__(
        self, store: KeyStore, clock: HandClock | None = None, patience: float = 10.0
    ) -> None:
        self.counts = KeyCounts()
        self.door = KeyDoor(SECRET.encode(), UNLIMITED, clock or HandClock(), self.counts)
        self.watch = KeyWatch(store, self.door, self.counts, every=3600, patience=patience)
        self.looks = 0
        self.watch.on_look = self._count

    def _count(self) -> None:
        self.looks += 1

    def lets_in(self, token: str) -> bool:
        """Tell whether whoever sends *token* comes in."""
        try:
            self.door.admit(f"Bearer {token}", "", AWAY, Scope.READ)
        except Unauthenticated:
            return False
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where keys are kept."""
    return tmp_path / "keys.jsonl"


async def test_keys_come_and_go_without_a_restart(path: Path) -> None:
    """A key that is added is good at the next look, and a revoked one no longer; each look is told of."""
    store = KeyFile(path)
    (first, first_token), (second, second_token) = made_key(), made_key()
    await store.add(first)
    it = Watched(KeyFile(path))
    await it.watch.begin(needed=True)
    assert (it.lets_in(first_token), it.lets_in(second_token)) == (True, False)

    await store.add(second)
    await it.watch.look()
    assert (it.lets_in(first_token), it.lets_in(second_token)) == (True, True)

    await store.revoke(first.id, NOW)
    await it.watch.look()
    assert (it.lets_in(first_token), it.lets_in(second_token)) == (False, True)
    assert it.looks == 2
    assert (it.counts.store, it.counts.keys, it.counts.failures) == ("up", 1, 0)


async def test_a_store_that_hangs_is_no_store(path: Path) -> None:
    """A look that is not answered in time counts as one that failed, and the keys that are known stay good."""

    class Hanging(KeyFile):
        hangs = False

        async def everything(self) -> Sequence[ApiKey]:
            if self.hangs:
                await asyncio.Event().wait()
            return await super().everything()

    store, (key, token) = Hanging(path), made_key()
    await store.add(key)
    it = Watched(store, patience=0.05)
    assert not it.watch.known.is_set()
    await it.watch.begin(needed=True)
    assert it.watch.known.is_set()
    store.hangs = True
    with capture_logs() as logs:
        await it.watch.look()
    assert it.lets_in(token)
    assert (it.counts.store, it.counts.failures) == ("down", 1)
    assert logs[0]["why"] == "the keys could not be read within 0.05 s"


async def test_a_gateway_does_not_start_without_its_file(path: Path) -> None:
    """Where the keys are in a file there must be one, whose keys can be read: nobody starts by letting nobody in."""
    it = Watched(KeyFile(path))
    with pytest.raises(StoreUnusable, match="No such file"):
        await it.watch.begin(needed=True)
    path.write_text("{}\n")
    path.chmod(0o600)
    with pytest.raises(StoreUnusable, match="line 1"):
        await it.watch.begin(needed=True)


async def test_a_store_that_is_away_comes_later() -> None:
    """A gateway starts without PostgreSQL, knows nobody, and says so once, however often it looks."""
    async with link_to("postgresql://nobody@127.0.0.1:1/nowhere", HASTY) as link:
        from tickgate_server.stores.postgres.keys import PostgresKeys  # noqa: PLC0415 - as the gateway does

        await link.start()
        it = Watched(PostgresKeys(link))
        with capture_logs() as logs:
            await it.watch.begin(needed=False)
            await it.watch.look()
            await it.watch.look()

    assert not it.door.is_ready
    assert (it.counts.store, it.counts.failures, it.looks) == ("down", 3, 2)
    assert [line["event"] for line in logs].count("keys_not_read") == 1


@pytest.mark.parametrize("fault", ["gone", "broken"])
async def test_known_keys_outlast_their_store(path: Path, fault: str) -> None:
    """When the store is lost or broken the keys that were known stay good, which is logged once with what is wrong."""
    store = KeyFile(path)
    key, token = made_key()
    await store.add(key)
    it = Watched(KeyFile(path))
    await it.watch.begin(needed=True)
    good = path.read_text()
    if fault == "gone":
        path.unlink()
    else:
        path.write_text(good + "half of a li")
    with capture_logs() as logs:
        for _ in range(3):
            await it.watch.look()
    assert it.lets_in(token)
    assert (it.counts.store, it.counts.failures) == ("down", 3)
    (said,) = [line["why"] for line in logs]
    assert ("No such file" if fault == "gone" else "line 2") in said

    path.write_text(good)
    path.chmod(0o600)
    with capture_logs() as logs:
        await it.watch.look()
    assert it.counts.store == "up"
    assert [line["event"] for line in logs] == ["keys_read"]


async def test_known_keys_expire_while_their_store_is_away(path: Path) -> None:
    """A key ends at its time although the store cannot be asked: those who are inside are looked at all the same."""
    clock = HandClock()
    store = KeyFile(path)
    key, token = made_key(expires=NOW + 10**9)
    await store.add(key)
    it = Watched(KeyFile(path), clock)
    await it.watch.begin(needed=True)
    consumer = it.door.admit(f"Bearer {token}", "", AWAY, Scope.READ)
    path.unlink()
    clock.advance(1)
    await it.watch.look()

    assert it.looks == 1
    with pytest.raises(Unauthenticated):
        it.door.check(consumer)


class Faulty:
    """A store with a fault of ours."""

    async def everything(self) -> Sequence[ApiKey]:
        """Fail."""
        raise ZeroDivisionError

    async def add(self, key: ApiKey) -> None:
        """Fail."""
        raise StoreDown

    async def revoke(self, key_id: str, time: int) -> ApiKey | None:
        """Fail."""
        raise StoreDown


async def test_a_fault_of_ours_does_not_end_the_watch() -> None:
    """Whatever goes wrong in a look, the next one is made, and what has expired is shown out."""
    it = Watched(Faulty())
    with capture_logs() as logs:
        await it.watch.look()

    assert it.looks == 1
    assert it.counts.store == "down"
    assert "keys_failed" in [line["event"] for line in logs]
