"""Values as bytes: every digit and nanosecond back, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct, defstruct, msgpack
from msgspec.structs import replace

from tickgate_server.market.bar import Bar
from tickgate_server.market.option import OptionQuote
from tickgate_server.market.provenance import Provenance
from tickgate_server.market.quote import Quote
from tickgate_server.market.snapshot import Snapshot
from tickgate_server.market.trade import Trade
from tickgate_server.stores.redis.codec import Codec, version_of

from ...support.fakes import quote, side

KINDS: list[type[Struct]] = [Quote, Trade, Bar, Snapshot, OptionQuote, Provenance]
NAME = b"tg:1:sandbox:iex:quote:AAPL"

st.register_type_strategy(Decimal, st.decimals(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(-(2**63), 2**64 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False))
# The annotation says Mapping, for which any mapping would do; what is read is a dict.
ANY = st.sampled_from(KINDS).flatmap(st.from_type).map(lambda v: replace(v, **_plain(v)))


# Drawing a snapshot takes long, and longer on a busy machine; that is no part of the law.
LAW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _plain(value: Struct) -> dict[str, Any]:
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return {name: dict(part) for name, part in fields.items() if isinstance(part, Mapping)}


@LAW
@given(ANY)
def test_any_value_survives(value: Struct) -> None:
    """Whatever value is written, an equal one is read, with the digits of its decimals as they were."""
    codec = Codec(type(value))
    back = codec.decode(codec.encode(value, NAME), NAME)
    assert back == value
    assert repr(back) == repr(value)


@LAW
@given(ANY, st.data())
def test_what_is_cut_short_is_nothing(value: Struct, data: st.DataObject) -> None:
    """No part of an entry is read as a value."""
    codec = Codec(type(value))
    entry = codec.encode(value, NAME)
    assert codec.decode(entry[: data.draw(st.integers(0, len(entry) - 1))], NAME) is None


@LAW
@given(ANY, st.data())
def test_what_is_damaged_is_nothing(value: Struct, data: st.DataObject) -> None:
    """An entry of which any byte was changed is not read, not even as another value that makes sense."""
    codec = Codec(type(value))
    entry = bytearray(codec.encode(value, NAME))
    entry[data.draw(st.integers(0, len(entry) - 1))] ^= data.draw(st.integers(1, 255))
    assert codec.decode(bytes(entry), NAME) is None


@given(st.binary())
def test_noise_is_nothing(noise: bytes) -> None:
    """Bytes that nobody wrote as an entry are not read, also behind the right version."""
    codec = Codec(Quote)
    assert codec.decode(noise, NAME) is None
    assert codec.decode(codec.version + noise, NAME) is None


def test_what_another_program_wrote_is_nothing() -> None:
    """An entry that is whole and holds no value of the type is not read."""
    forger = Codec(Provenance)
    entry = forger.encode(quote().provenance, NAME)
    codec = Codec(Quote)
    assert codec.decode(codec.version + entry[len(codec.version) :], NAME) is None


def test_an_entry_belongs_to_its_name() -> None:
    """An entry that was copied under another name is not read."""
    codec = Codec(Quote)
    assert codec.decode(codec.encode(quote(), NAME), NAME + b"X") is None


@pytest.mark.parametrize("size", [2**64, -(2**63) - 1])
def test_what_cannot_be_carried_is_refused(size: int) -> None:
    """A number beyond 64 bits raises ValueError instead of being cut."""
    value = quote(bid=side(size=size))
    with pytest.raises(ValueError, match="ints"):
        Codec(Quote).encode(value, NAME)


class _Day(Enum):
    MONDAY = 1
    TUESDAY = 2


class _Moved(Enum):
    TUESDAY = 1
    MONDAY = 2


_Moved.__name__ = "_Day"

_FIELDS: list[tuple[str, Any]] = [("price", Decimal), ("size", int | None), ("day", _Day)]


def _version(fields: list[Any], **known: Any) -> bytes:
    return version_of(defstruct("Value", fields, **known))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_version(_FIELDS[:-1]), id="a field less"),
        pytest.param(_version([*_FIELDS, ("tape", str)]), id="a field more"),
        pytest.param(_version([("cost", Decimal), *_FIELDS[1:]]), id="another name"),
        pytest.param(_version([("price", str), *_FIELDS[1:]]), id="another type"),
        pytest.param(_version([*_FIELDS[:2], ("day", _Moved)]), id="other members"),
        pytest.param(_version([*_FIELDS[:2], ("day", _Day, _Day.MONDAY)]), id="another default"),
        pytest.param(_version(_FIELDS, rename="upper"), id="other names on the wire"),
        pytest.param(
            _version([*_FIELDS[:2], ("day", defstruct("Inner", [("day", _Day)]))]), id="a part"
        ),
    ],
)
def test_a_changed_shape_is_another_version(other: bytes) -> None:
    """Whatever changes about a type or one of its parts, what was written before is not read."""
    assert other != _version(_FIELDS)


def test_the_same_shape_is_the_same_version() -> None:
    """Two gateways with the same types read each other's entries, and each type has a version of its own."""
    assert _version(_FIELDS) == _version(list(_FIELDS))
    assert len({version_of(kind) for kind in KINDS}) == len(KINDS)


def test_an_entry_is_small() -> None:
    """An entry adds twelve bytes to what msgpack makes of the value."""
    assert len(Codec(Quote).encode(quote(), NAME)) == len(msgpack.encode(quote())) + 12
