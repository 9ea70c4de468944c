"""Who is let in, by API key and by certificate, and what the others learn."""

from __future__ import annotations

import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.access import keys
from tickgate_server.access.certificates import CertificateDoor
from tickgate_server.access.door import OpenDoor
from tickgate_server.access.keys import NO_KEY, KeyDoor
from tickgate_server.errors import KeysUnread, NotPermitted, Unauthenticated
from tickgate_server.identity.api_key import ApiKey, digest_of, is_token, new_token
from tickgate_server.identity.consumer import ANYBODY, UNLIMITED, Limits, Scope
from tickgate_server.market.time import NANOS
from tickgate_server.observe.counters import KeyCounts

from ...support.fakes import NOW, HandClock
from ...support.keys import SECRET, made_key

LOCAL, AWAY = "ipv4:127.0.0.1:5000", "ipv4:10.0.0.5:5000"
HOUR = 3600


def door_with(
    *keys: ApiKey, defaults: Limits = UNLIMITED, clock: HandClock | None = None
) -> KeyDoor:
    """A door that knows *keys*."""
    door = KeyDoor(SECRET.encode(), defaults, clock or HandClock(), KeyCounts())
    door.load(keys)
    return door


def refusal(door: KeyDoor, authorization: str, scope: Scope = Scope.READ) -> str:
    """What whoever sends *authorization* is told."""
    with pytest.raises((Unauthenticated, NotPermitted)) as refused:
        door.admit(authorization, "", AWAY, scope)
    return str(refused.value)


# --------------------------------------------------------------------------------------------- tokens


def test_a_token_is_said_to_be_one() -> None:
    """Each token is new, has the form of one, and bears the key's id behind tg_."""
    made = [new_token() for _ in range(100)]

    assert all(is_token(token) and token.startswith(f"tg_{key_id}_") for key_id, token in made)
    assert len({token for _, token in made}) == len(made)


@given(st.text(), st.binary(min_size=1, max_size=64))
def test_a_digest_is_a_keyed_hash(token: str, secret: bytes) -> None:
    """What is kept of a token is HMAC-SHA256 of it, which is another under another secret."""
    expected = hmac.new(secret, token.encode(errors="ignore"), "sha256").hexdigest()
    if token.isascii():
        assert digest_of(token, secret) == expected
        assert digest_of(token, secret + b"x") != expected


# --------------------------------------------------------------------------------------- who comes in


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_owner_of_a_key_comes_in(scheme: str) -> None:
    """Whoever sends a whole token is the consumer whose key it is, with what the key is for."""
    key, token = made_key(scopes=(Scope.READ, Scope.STREAM))

    consumer = door_with(key).admit(f"{scheme} {token}", "", AWAY, Scope.STREAM)

    assert (consumer.name, consumer.key_id) == ("desk-7", key.id)
    assert consumer.scopes == {Scope.READ, Scope.STREAM}


def test_two_keys_of_one_name_are_one_consumer() -> None:
    """While one key replaces the other both are good, and the consumer has one name, by which all is counted."""
    (old, old_token), (new, new_token_) = made_key(), made_key()
    door = door_with(old, new)

    names = {
        door.admit(f"Bearer {token}", "", AWAY, Scope.READ).name
        for token in (old_token, new_token_)
    }

    assert names == {"desk-7"}


def test_a_scope_is_named_to_whoever_lacks_it() -> None:
    """A key for one thing is refused for another, by the name of the scope; an operator too calls from anywhere."""
    key, token = made_key(scopes=(Scope.READ,))
    operator, operators_token = made_key(scopes=(Scope.ADMIN,))
    door = door_with(key, operator)

    for scope in set(Scope) - {Scope.READ}:
        assert refusal(door, f"Bearer {token}", scope) == (
            f"the API key {key.id} lacks the scope {scope.value}, which this service takes"
        )
    assert door.admit(f"Bearer {operators_token}", "", AWAY, Scope.ADMIN).key_id == operator.id
    # Not even from this machine without the scope.
    with pytest.raises(NotPermitted):
        door.admit(f"Bearer {token}", "", LOCAL, Scope.ADMIN)


def test_limits_are_the_keys_or_the_settings() -> None:
    """A limit that the key does not say is the settings', and a key's 0 is none, whatever the settings say."""
    key, token = made_key(limits=Limits(calls_per_second=5.0, streams=0))
    door = door_with(key, defaults=Limits(calls_per_second=100.0, streams=2, symbols_per_batch=10))

    limits = door.admit(f"Bearer {token}", "", AWAY, Scope.READ).limits

    assert limits == Limits(calls_per_second=5.0, streams=None, symbols_per_batch=10)


def test_a_consumer_is_made_once() -> None:
    """The same consumer is returned each time: nothing is made anew for a call."""
    key, token = made_key()
    door = door_with(key)

    first = door.admit(f"Bearer {token}", "", AWAY, Scope.READ)
    door.load([key])

    assert door.admit(f"Bearer {token}", "", AWAY, Scope.READ) is first


# ---------------------------------------------------------------------------------- who does not


def changed(token: str, place: int) -> str:
    """A token in which one character is another."""
    return token[:place] + ("x" if token[place] != "x" else "y") + token[place + 1 :]


def test_nobody_learns_which_keys_exist() -> None:
    """Nothing sent, another scheme, no token, part of one, one of a known id or of none: all are told the same."""
    key, token = made_key(expires=NOW - 1)
    revoked, revoked_token = made_key(revoked=NOW - 1)
    door = door_with(key, revoked)
    guesses = [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {token}",
        token,
        f"Bearer {token} ",
        f"Bearer  {token}",
        f"Bearer {token[:-1]}",
        f"Bearer {token}x",
        f"Bearer {new_token()[1]}",
        f"Bearer {key.digest}",
        f"Bearer {'x' * 1_000_000}",
        f"Bearer {'0' * 64}",
        "Bearer tg_ÄÖÜ",
        "Bearer \ud800",
        *(f"Bearer {changed(token, place)}" for place in range(len(token))),
        *(f"Bearer {changed(revoked_token, place)}" for place in range(len(token))),
    ]

    assert {refusal(door, guess) for guess in guesses} == {NO_KEY}


@given(st.text(st.characters(), max_size=200))
def test_whatever_is_sent_is_answered(text: str) -> None:
    """Any text at all is refused as no key."""
    assert refusal(door_with(made_key()[0]), text) == NO_KEY


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer tg_short",
        f"Basic {'a' * 44}",
        f"Bearer {'x' * 10_000}",
        "Bearer tg_ÄÖÜ",
        "KNOWN",
    ],
)
def test_whatever_is_sent_is_hashed_once(
    authorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash, of a bounded length, and one comparison are made of whatever is sent, be it known or unknown."""
    key, token = made_key()
    door = door_with(key)
    hashed: list[int] = []
    compared: list[int] = []
    compare = hmac.compare_digest

    def digesting(text: str, secret: bytes) -> str:
        hashed.append(len(text))
        return digest_of(text, secret)

    def comparing(one: str, other: str) -> bool:
        compared.append(len(one) - len(other))
        return compare(one, other)

    monkeypatch.setattr(keys, "digest_of", digesting)
    monkeypatch.setattr(hmac, "compare_digest", comparing)
    if authorization == "KNOWN":
        door.admit(f"Bearer {token}", "", AWAY, Scope.READ)
    else:
        refusal(door, authorization)

    assert len(hashed) == 1
    assert hashed[0] <= 128
    assert compared == [0]


def test_who_was_let_in_is_hashed_again_only_when_keys_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever sends what was good before is known by it until the keys change, and what was revoked is good no more."""
    key, token = made_key()
    door = door_with(key)
    hashed: list[str] = []

    def digesting(text: str, secret: bytes) -> str:
        hashed.append(text)
        return digest_of(text, secret)

    monkeypatch.setattr(keys, "digest_of", digesting)
    for _ in range(3):
        door.admit(f"Bearer {token}", "", AWAY, Scope.READ)
        door.load([key])
        assert refusal(door, f"Bearer {changed(token, 20)}") == NO_KEY
    assert hashed.count(token) == 1

    door.load([replace(key, revoked=NOW)])
    assert "revoked" in refusal(door, f"Bearer {token}")
    door.load([])
    assert refusal(door, f"Bearer {token}") == NO_KEY


def test_only_the_owner_learns_that_a_key_has_ended() -> None:
    """Whoever holds the whole token is told that it was revoked, or when it expired, and is named in logs."""
    expired, expired_token = made_key(expires=NOW)
    revoked, revoked_token = made_key(revoked=NOW + HOUR * NANOS, expires=NOW - 1)
    door = door_with(expired, revoked)

    assert refusal(door, f"Bearer {expired_token}") == (
        f"the API key {expired.id} expired at 2026-10-01T15:00:00Z"
    )
    # Revoked by whoever's clock.
    assert refusal(door, f"Bearer {revoked_token}") == f"the API key {revoked.id} has been revoked"
    with pytest.raises(Unauthenticated) as refused:
        door.admit(f"Bearer {revoked_token}", "", AWAY, Scope.READ)
    assert refused.value.consumer.name == "desk-7"


def test_a_key_expires_by_the_clock() -> None:
    """A key is good to the nanosecond before its end, without anybody looking at the store."""
    clock = HandClock()
    key, token = made_key(expires=NOW + NANOS)
    door = door_with(key, clock=clock)
    assert door.admit(f"Bearer {token}", "", AWAY, Scope.READ).key_id == key.id
    clock.advance(1)

    assert "expired" in refusal(door, f"Bearer {token}")


def test_nobody_comes_in_before_the_keys_are_known() -> None:
    """A gateway that has not read its keys cannot tell anybody from anybody, and says so to everybody alike."""
    door = KeyDoor(SECRET.encode(), UNLIMITED, HandClock(), KeyCounts())
    _, token = made_key()

    for authorization in ("", f"Bearer {token}"):
        with pytest.raises(KeysUnread):
            door.admit(authorization, "", LOCAL, Scope.READ)


def test_another_secret_knows_no_key() -> None:
    """Keys that were hashed under another secret are nobody's."""
    key, token = made_key()
    door = KeyDoor(b"another secret", UNLIMITED, HandClock(), KeyCounts())
    door.load([key])

    assert refusal(door, f"Bearer {token}") == NO_KEY


# -------------------------------------------------------------------------------------- who stays


def test_whoever_has_a_valid_key_stays() -> None:
    """A consumer may stay until the look that finds the key revoked, expired or gone, and is told which."""
    clock, counts = HandClock(), KeyCounts()
    (one, _), (two, _), (three, _) = made_key(), made_key(expires=NOW + NANOS), made_key()
    door = KeyDoor(SECRET.encode(), UNLIMITED, clock, counts)
    door.load([one, two, three])
    consumers = [known.consumer for known in door._known.values()]
    for consumer in consumers:
        door.check(consumer)
    assert counts.keys == 3

    clock.advance(1)
    door.load([replace(one, revoked=NOW)])

    said = []
    for consumer in consumers:
        with pytest.raises(Unauthenticated) as refused:
            door.check(consumer)
        said.append(str(refused.value))
    assert said == [
        f"the API key {one.id} has been revoked",
        f"the API key {two.id} is no longer kept by the gateway's operator",
        f"the API key {three.id} is no longer kept by the gateway's operator",
    ]
    assert counts.keys == 0


def test_a_look_finds_what_has_expired() -> None:
    """A key ends for those who are inside at the next look, although the store says nothing new."""
    clock, counts = HandClock(), KeyCounts()
    key, token = made_key(expires=NOW + NANOS)
    door = KeyDoor(SECRET.encode(), UNLIMITED, clock, counts)
    door.load([key])
    consumer = door.admit(f"Bearer {token}", "", AWAY, Scope.READ)
    clock.advance(1)
    door.check(consumer)
    door.look()

    with pytest.raises(Unauthenticated, match="expired at"):
        door.check(consumer)


# ---------------------------------------------------------------------------------- other doors


def test_an_open_door_asks_nobody() -> None:
    """Where nobody is asked for a key everybody is let in, stays, and operates from the gateway's machine alone."""
    door = OpenDoor()

    assert door.admit("Bearer whatever", "", AWAY, Scope.HISTORY) is ANYBODY
    assert door.admit("", "", LOCAL, Scope.ADMIN) is ANYBODY
    door.check(ANYBODY)
    with pytest.raises(NotPermitted):
        door.admit("", "", AWAY, Scope.ADMIN)


def test_a_certificate_names_its_consumer() -> None:
    """The common name is the consumer, who may do all but operate, and has the settings' limits."""
    limits = Limits(streams=3)
    door = CertificateDoor(limits)

    consumer = door.admit("", "desk-7", AWAY, Scope.STREAM)

    assert (consumer.name, consumer.key_id, consumer.limits) == ("desk-7", "", limits)
    assert consumer.scopes == {Scope.READ, Scope.STREAM, Scope.HISTORY}
    assert door.admit("", "desk-7", LOCAL, Scope.READ) is consumer
    door.check(consumer)


def test_operators_come_with_a_certificate_from_this_machine() -> None:
    """With a certificate, too, AdminService is for the gateway's own machine, and who was refused is named."""
    door = CertificateDoor(UNLIMITED)

    assert Scope.ADMIN in door.admit("", "desk-7", LOCAL, Scope.ADMIN).scopes
    with pytest.raises(NotPermitted, match="own machine only") as refused:
        door.admit("", "desk-7", AWAY, Scope.ADMIN)
    assert refused.value.consumer.name == "desk-7"


def test_a_certificate_without_a_name_is_nobodys() -> None:
    """A certificate without a common name is refused: there is nobody to count and to log."""
    with pytest.raises(Unauthenticated, match="no common name"):
        CertificateDoor(UNLIMITED).admit("", "", LOCAL, Scope.READ)


# --------------------------------------------------------------------------------------- in print


def test_no_token_and_no_secret_shows_in_print() -> None:
    """Neither a door nor a key nor a refusal shows a token or the secret in print."""
    key, token = made_key(revoked=NOW)
    door = door_with(key)
    secret_part = token.rpartition("_")[2]

    shown = [repr(door), repr(key), repr(vars(door)["_known"]), refusal(door, f"Bearer {token}")]

    assert not any(secret_part in text for text in shown)
    assert not any(SECRET in text for text in shown)
    assert set(secret_part) <= set(string.ascii_letters + string.digits)
