"""What the package promises: its names, and two clients that are one."""

from __future__ import annotations

import inspect

import pytest

import tickgate
from tickgate import _past as past
from tickgate import _plans as plans
from tickgate import _questions as questions
from tickgate.v1 import stream_service_pb2

from .cases import CASES, SERVICES


def methods(kind: type) -> list[str]:
    """Name the public methods of a class."""
    members = vars(kind).items()
    return sorted(n for n, member in members if inspect.isfunction(member) and n[0] != "_")


METHODS = methods(tickgate.Client)
FOLLOWING = {name for name in METHODS if name.startswith("follow")}
READING = {"bars": ("AAPL", "1Day", 0), "trade_history": ("AAPL", 0), "quote_history": ("AAPL", 0)}
"""Methods that read the past in columns, and what to call each with."""
FOR_PEOPLE = {f"tickgate.v1.HistoryService.List{what}" for what in ("Bars", "Trades", "Quotes")}
"""RPCs that give in rows what programs read in columns, for people with grpcurl."""


def test_all_is_honest() -> None:
    """`__all__` names every public thing of the package, sorted, and nothing else."""
    public = {
        name
        for name, value in vars(tickgate).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(tickgate.__all__) == public
    assert tickgate.__all__ == sorted(tickgate.__all__)


@pytest.mark.parametrize("name", tickgate.__all__)
def test_everything_public_is_explained(name: str) -> None:
    """Every public name has a docstring of its own, not one made by `dataclass`."""
    text = inspect.getdoc(getattr(tickgate, name))
    assert text
    assert not text.startswith(f"{name}(")


@pytest.mark.parametrize("name", tickgate.__all__)
def test_everything_public_says_where_it_is_imported_from(name: str) -> None:
    """A traceback reads `tickgate.UnknownSymbol`, not the private module that holds it."""
    assert getattr(tickgate, name).__module__ == "tickgate"


def test_every_rpc_has_a_method() -> None:
    """Each RPC of the contract is what some method of the clients asks."""
    contract = {method.full_name for service in SERVICES.values() for method in service.methods}
    read = {getattr(past, name)(*args).path for name, args in READING.items()}
    asked = {case.descriptor.full_name for case in CASES}
    assert asked | {path[1:].replace("/", ".") for path in read} == contract - FOR_PEOPLE


def test_the_cases_are_complete() -> None:
    """Each method of the clients that asks is among the cases that both clients are put to."""
    assert {case.method for case in CASES} | FOLLOWING | set(READING) | {"close"} == set(METHODS)


def test_every_channel_can_be_followed() -> None:
    """Each channel of the contract is what one method of the clients follows."""
    followed = {getattr(plans, name)("AAPL").channel for name in FOLLOWING}
    assert followed == set(tickgate.Channel) - {tickgate.Channel.UNRECOGNIZED}
    assert len(FOLLOWING) == len(followed)
    assert (
        f"/{stream_service_pb2.DESCRIPTOR.services_by_name['StreamService'].full_name}/Subscribe"
        == plans.PATH
    )


@pytest.mark.parametrize("name", METHODS)
def test_the_clients_are_twins(name: str) -> None:
    """Both clients have the same methods with the same arguments and the same words."""
    one, other = getattr(tickgate.Client, name), getattr(tickgate.SyncClient, name)
    parameters = [inspect.signature(each).parameters for each in (one, other)]
    assert list(parameters[0].values()) == list(parameters[1].values())
    assert one.__doc__ == other.__doc__


@pytest.mark.parametrize("name", [*methods(tickgate.Subscription), "states", "counts", "connected"])
def test_the_subscriptions_are_twins(name: str) -> None:
    """Both subscriptions have the same members with the same arguments and the same words."""
    one, other = getattr(tickgate.Subscription, name), getattr(tickgate.SyncSubscription, name)
    assert one.__doc__ == other.__doc__
    if inspect.isfunction(one):
        assert inspect.signature(one).parameters == inspect.signature(other).parameters


@pytest.mark.parametrize("name", [*methods(tickgate.History), "missing", "ends", "count", "cursor"])
def test_the_histories_are_twins(name: str) -> None:
    """Both histories have the same members with the same arguments and the same words."""
    one, other = getattr(tickgate.History, name), getattr(tickgate.SyncHistory, name)
    assert one.__doc__ == other.__doc__
    if inspect.isfunction(one):
        assert inspect.signature(one).parameters == inspect.signature(other).parameters


def test_the_clients_are_made_alike() -> None:
    """`connect` and `connect_sync` take the same arguments with the same defaults."""
    one, other = inspect.signature(tickgate.connect), inspect.signature(tickgate.connect_sync)
    assert list(one.parameters.values()) == list(other.parameters.values())


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"close"}))
def test_a_method_reads_as_if_written_out(name: str) -> None:
    """`help` shows a method under its own name, with `self` and the arguments of its question."""
    method = getattr(tickgate.Client, name)
    first, *rest = inspect.signature(method).parameters.values()
    assert first.name == "self"
    home = plans if name in FOLLOWING else past if name in READING else questions
    described = getattr(home, name)
    assert rest == list(inspect.signature(described).parameters.values())
    assert method.__qualname__ == f"Client.{name}"


async def test_a_method_is_bound_like_any_other() -> None:
    """The signature of a bound method leaves out `self` and nothing else."""
    async with tickgate.connect() as gateway:
        assert next(iter(inspect.signature(gateway.quote).parameters)) == "symbol"
