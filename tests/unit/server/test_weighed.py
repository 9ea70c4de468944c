"""What is held within a bound of its weight: what nobody has asked for longest makes room."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.guards.weighed import Weighed

Step = tuple[str, str, int]


def weighed(capacity: int = 10, evicted: list[None] | None = None) -> Weighed[str, int]:
    """A dictionary of numbers that weigh what they are."""
    out = [] if evicted is None else evicted
    return Weighed(capacity, lambda value: value, lambda: out.append(None))


def test_it_holds_what_fits() -> None:
    """What weighs no more than the bound together stays, to the last ounce."""
    evicted: list[None] = []
    held = weighed(10, evicted)
    held.update(a=3, b=3, c=4)
    assert (list(held), held.weight, evicted) == (["a", "b", "c"], 10, [])
    held["d"] = 1
    assert (list(held), held.weight, evicted) == (["b", "c", "d"], 8, [None])


def test_reading_keeps() -> None:
    """What has been asked for stays longer than what has not."""
    held = weighed()
    held.update(a=3, b=3, c=3)
    assert held["a"] == 3
    assert held.get("b") == 3
    held["d"] = 3
    assert list(held) == ["a", "b", "d"]


def test_one_may_cost_many() -> None:
    """As many make room as it takes, those first that were asked for longest ago."""
    evicted: list[None] = []
    held = weighed(10, evicted)
    held.update(a=2, b=2, c=2, d=2)
    held["e"] = 7
    assert (list(held), held.weight, len(evicted)) == (["d", "e"], 9, 3)


def test_the_newest_stays_whatever_it_weighs() -> None:
    """What came last is held even if it is heavier than the bound, and alone."""
    held = weighed()
    held.update(a=1, b=99)
    assert (list(held), held.weight) == (["b"], 99)
    held["c"] = 1
    assert (list(held), held.weight) == (["c"], 1)


def test_a_new_value_takes_the_place_of_the_old() -> None:
    """Replacing a value makes no room for both, is no eviction, and counts as asking for it."""
    evicted: list[None] = []
    held = weighed(10, evicted)
    held.update(a=6, b=4)
    held["a"] = 5
    assert (list(held), held.weight, evicted) == (["b", "a"], 9, [])


def test_what_is_taken_out_weighs_nothing() -> None:
    """Deleting and popping take the weight along, and what is not there cannot be taken."""
    held = weighed()
    held.update(a=3, b=4, c=1)
    del held["a"]
    assert held.pop("b") == 4
    assert held.pop("b", None) is None
    assert held.get("a") is None
    assert held.weight == 1
    with pytest.raises(KeyError):
        del held["a"]
    with pytest.raises(KeyError):
        held["a"]
    held.clear()
    assert (len(held), held.weight) == (0, 0)


def test_it_can_be_walked() -> None:
    """It is a mapping: its keys, values and pairs can be walked."""
    held = weighed()
    held.update(a=3, b=4)
    assert list(held.keys()) == ["a", "b"]
    assert sorted(held.values()) == [3, 4]
    assert dict(held.items()) == {"a": 3, "b": 4}


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "pop"]), st.sampled_from("abcd"), st.integers(0, 12)),
    max_size=40,
)


@given(STEPS, st.integers(0, 20))
def test_the_bound_holds_whatever_happens(steps: list[Step], capacity: int) -> None:
    """After any steps the weight is that of what is held, within the bound or of one alone, the freshest of all."""
    evicted: list[None] = []
    held, evictions = weighed(capacity, evicted), 0
    model: OrderedDict[str, int] = OrderedDict()
    for step, key, value in steps:
        if step == "put":
            held[key] = value
            model[key] = value
            model.move_to_end(key)
            while sum(model.values()) > capacity and len(model) > 1:
                model.popitem(last=False)
                evictions += 1
        elif step == "get":
            assert held.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        else:
            assert held.pop(key, None) == model.pop(key, None)
        assert list(held) == list(model)
        assert held.weight == sum(model.values())
        assert held.weight <= capacity or len(held) == 1
        assert len(evicted) == evictions
