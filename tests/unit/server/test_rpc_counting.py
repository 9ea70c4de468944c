"""What is counted of a call when it ends."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.observe.counters import Counters
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.counting import NO_FEED, OTHER, Counting

tiers = st.lists(st.sampled_from(Tier), max_size=6)
reasons = st.lists(st.sampled_from(Reason), max_size=6)


def a_call(**told: object) -> Call:
    """A call that has ended."""
    return Call("QuoteService/GetQuotes", "id", 1.0, "peer", 0.0, **told)  # type: ignore[arg-type]  # as named


def missing(some: list[Reason]) -> list[tuple[str, Unavailable]]:
    """What a call misses for some reasons."""
    return [("", Unavailable(reason=reason, message="")) for reason in some]


@given(tiers, reasons, st.integers(0, 5), st.integers(0, 5), st.sampled_from([*Feed, None]))
def test_every_value_asked_for_is_given_or_missing(
    told: list[Tier], why: list[Reason], untold: int, broken_off: int, feed: Feed | None
) -> None:
    """Whatever became of a call, values given by tier and missing by reason are together those that were asked for."""
    counters = Counters()
    call = a_call(
        asked=len(told) + untold + len(why) + broken_off,
        given=len(told) + untold,
        tiers=told,
        missing=missing(why),
        feed=feed,
        code="CANCELLED",
    )
    for _ in range(2):
        Counting(counters).count(call, 0.1)
    counts = counters.rpc(call.method)

    assert counts.codes == {"CANCELLED": 2}
    assert counts.seconds.count == 2
    if not call.asked:
        assert not counts.values
        return
    (name,) = counts.values
    values = counts.values[name]
    assert name == (NO_FEED if feed is None else feed.value)
    assert values.asked == 2 * call.asked
    assert sum(values.given.values()) + sum(values.missing.values()) == values.asked
    assert Counter(values.given) == Counter([*told, *told]) + Counter({OTHER: 2 * untold})
    expected = Counter({"CANCELLED": 2 * broken_off}) + Counter(2 * [one.name for one in why])
    assert Counter(values.missing) == expected


def test_values_that_cost_a_request_are_the_upstreams() -> None:
    """Of values whose tier is not told, those that cost a request came from the upstream."""
    counters = Counters()
    Counting(counters).count(a_call(asked=5, given=5, from_upstream=3), 0.0)

    assert counters.rpc("QuoteService/GetQuotes").values[NO_FEED].given == {"upstream": 3, OTHER: 2}


def test_a_request_is_the_origin_of_no_more_than_was_given() -> None:
    """A view that takes a second value beside each may cost more requests than values were given: none is made up."""
    counters = Counters()
    call = a_call(asked=2, given=2, tiers=[Tier.UPSTREAM], from_upstream=4)
    Counting(counters).count(call, 0.0)

    assert counters.rpc("QuoteService/GetQuotes").values[NO_FEED].given == {"upstream": 2}


def test_what_a_failed_call_never_said_is_missing_for_its_reason() -> None:
    """A call that broke off misses the values that it had not come to, for the reason that it gave."""
    counters = Counters()
    call = a_call(asked=3, given=1, tiers=[Tier.MEMORY], reason="SHUTTING_DOWN", code="UNAVAILABLE")
    Counting(counters).count(call, 0.0)

    values = counters.rpc(call.method).values[NO_FEED]
    assert (values.given, values.missing) == ({"memory": 1}, {"SHUTTING_DOWN": 2})
