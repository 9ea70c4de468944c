"""Several gateways: what a target may be, who is asked, and where what is followed goes on."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickgate
from tickgate import _channel as channels
from tickgate._gateways import Gateways, understood
from tickgate.v1 import asset_pb2, reference_service_pb2

from . import messages
from .cases import CASES
from .serving import Health, served, served_with
from .streams import Peer, quote, streaming, updates
from .test_follow import both, ends_with, everything, records

QUOTE_REPLY = CASES[0].reply


# --------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("target", "spelled", "addresses"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", ("127.0.0.1:1",)),
        ("[::1]:1", "[::1]:1", ("[::1]:1",)),
        (["10.0.0.1:1"], "10.0.0.1:1", ("10.0.0.1:1",)),
        *[
            (same, "ipv4:10.0.0.1:1,10.0.0.2:2", ("ipv4:10.0.0.1:1", "ipv4:10.0.0.2:2"))
            for same in (
                "10.0.0.1:1,10.0.0.2:2",
                " 10.0.0.1:1 , 10.0.0.2:2 ",
                "ipv4:10.0.0.1:1,10.0.0.2:2",
                ["10.0.0.1:1", "10.0.0.2:2"],
                ("10.0.0.1:1", "10.0.0.2:2", "10.0.0.1:1"),
            )
        ],
        ("[::1]:1,[fe80::2]:2", "ipv6:[::1]:1,[fe80::2]:2", ("ipv6:[::1]:1", "ipv6:[fe80::2]:2")),
        ("gateway:50051", "gateway:50051", ("gateway:50051",)),
        ("dns:///gateway:50051", "dns:///gateway:50051", ("dns:///gateway:50051",)),
        ("unix:/run/a,b.sock", "unix:/run/a,b.sock", ("unix:/run/a,b.sock",)),
        ("xds:///gateway", "xds:///gateway", ("xds:///gateway",)),
    ],
)
def test_a_target_is_one_gateway_or_several(
    target: str | list[str], spelled: str, addresses: tuple[str, ...]
) -> None:
    """Addresses are taken alone or together, and whatever else gRPC takes is left to it."""
    found = understood(target)
    assert (found.spelled, found.addresses) == (spelled, addresses)


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("a:1,b:2", "no list of names"),
        ("127.0.0.1:1,localhost:2", "no list of names"),
        (["10.0.0.1:1", "[::1]:1"], "all IPv4, or all IPv6"),
        ("10.0.0.1:1,10.0.0.2", "no list of names"),
        ("10.0.0.1:1,10.0.0.2:70000", "no list of names"),
        ("", "a gateway's address"),
        ([], "a gateway's address"),
    ],
)
@pytest.mark.parametrize("connect", [tickgate.connect, tickgate.connect_sync])
async def test_what_grpc_cannot_take_is_said_with_what_it_takes(
    connect: Any, target: Any, rule: str
) -> None:
    """A list that no resolver of gRPC expresses is refused before anything is sent, and the sentence helps."""
    with pytest.raises(tickgate.InvalidRequest, match=rule) as refused:
        connect(target)
    assert refused.value.violations[0].field == "target"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("gateway:50051", ("gateway", 50051)),
        ("dns:///gateway.internal:1", ("gateway.internal", 1)),
        ("dns:gateway:1", ("gateway", 1)),
        ("dns://10.0.0.1/gateway:1", None),  # somebody else's to look up
        ("127.0.0.1:1", None),
        ("unix:/run/a.sock", None),
    ],
)
def test_a_name_may_stand_for_several(target: str, name: Any) -> None:
    """Only a plain host name is looked up; calls to any name may go to several gateways."""
    found = understood(target)
    assert found.name == name
    assert found.balanced is target.startswith(("gateway", "dns:"))


@pytest.mark.parametrize("target", ["127.0.0.1:1", "[::1]:1", "127.0.0.2:1,127.0.0.1:1"])
def test_one_alone_is_reached_without_a_balancer(target: str) -> None:
    """A lone address is asked as ever, with its own words when it stops; several are, with their health."""
    way = channels.way_to(
        target, tls=False, credentials=None, api_key=None, insecure_key=False, options=()
    )
    config = json.loads(dict(way.options())["grpc.service_config"])
    assert ("healthCheckConfig" in config) is ("," in target)
    alone = dict(way.options_alone("127.0.0.1:1", has_others=False))
    assert "healthCheckConfig" not in json.loads(alone["grpc.service_config"])


# -------------------------------------------------------------------------------------- rotation


@given(st.integers(1, 5), st.lists(st.integers(0, 9)))
def test_each_is_left_once_and_for_the_next(count: int, left: list[int]) -> None:
    """However often and by whomever a gateway is left, the next one is asked, and after the last the first."""
    addresses = tuple(f"ipv4:10.0.0.{number}:1" for number in range(count))
    gateways: Gateways[str] = Gateways(addresses, lambda address, _: address)
    place = 0
    for number in left:
        leaving = addresses[number % count]
        if leaving == addresses[place]:
            place = (place + 1) % count
        gateways.leave(leaving)
        assert gateways.current == addresses[place]


def test_a_name_is_as_many_gateways_as_it_has_addresses() -> None:
    """What the look-up brings replaces what was known; one address is left to gRPC's own."""
    gateways: Gateways[Any] = Gateways(
        ("dns:///gateway:1",), lambda *given: given, name=("gateway", 1)
    )

    def found(*hosts: str) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 1)) for host in hosts]

    assert gateways.reach(gateways.current) == ("dns:///gateway:1", False)
    gateways.found(found("10.0.0.1", "10.0.0.2", "10.0.0.1"))
    assert gateways.reach(gateways.current) == ("ipv4:10.0.0.1:1", True)
    gateways.leave("ipv4:10.0.0.1:1")
    gateways.found(found("10.0.0.3", "10.0.0.2"))
    assert (gateways.current, len(gateways)) == ("ipv4:10.0.0.2:1", 2)
    gateways.found(found("10.0.0.4"))
    assert (gateways.current, len(gateways)) == ("dns:///gateway:1", 1)
    v6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 1, 0, 0))
    gateways.found([v6, *found("10.0.0.4")])
    assert gateways.current == "ipv6:[fe80::1]:1"


# ----------------------------------------------------------------------------------------- calls


@dataclass
class Gateway:
    """A gateway that answers with a quote, and what it was asked."""

    target: str = ""
    asked: list[str] = field(default_factory=list)
    health: Health = field(default_factory=Health)
    stopping: bool = False

    async def answer(self, request: Any, context: Any) -> Any:
        self.asked.append(dict(context.invocation_metadata())["x-request-id"])
        if self.stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        return QUOTE_REPLY


@asynccontextmanager
async def standing(*, health: bool = True) -> AsyncIterator[Gateway]:
    """Run such a gateway."""
    gateway = Gateway()
    others = (gateway.health.handler,) if health else ()
    async with served_with(None, *others, GetQuote=gateway.answer) as gateway.target:
        yield gateway


async def ask_until_both_are_asked(client: tickgate.Client, *gateways: Gateway) -> None:
    """Ask until the client is connected to each, which it is not at once."""
    async with asyncio.timeout(20):
        while not all(each.asked for each in gateways):
            await client.quote("AAPL", timeout=20)
    for each in gateways:
        each.asked.clear()


async def test_calls_go_to_each_in_turn() -> None:
    """Of several gateways each gets its share."""
    async with (
        standing() as one,
        standing() as other,
        tickgate.connect([one.target, other.target]) as client,
    ):
        await ask_until_both_are_asked(client, one, other)
        for _ in range(10):
            assert await client.quote("AAPL") == messages.QUOTE_READ
        assert (len(one.asked), len(other.asked)) == (5, 5)
        assert set(one.health.watched) == {b""}  # about all of it, not one service


async def test_who_does_not_serve_gets_no_calls_until_it_does() -> None:
    """A gateway that says NOT_SERVING is left out although it would answer, and comes back with SERVING."""
    async with (
        standing() as one,
        standing() as other,
        tickgate.connect([one.target, other.target]) as client,
    ):
        await ask_until_both_are_asked(client, one, other)
        await one.health.say(serves=False)
        async with asyncio.timeout(20):
            # It is told over the wire; from the first round that leaves it out it is left out.
            while one.asked or not other.asked:
                one.asked.clear()
                other.asked.clear()
                for _ in range(2):
                    await client.quote("AAPL")
        for _ in range(10):
            await client.quote("AAPL")
        assert not one.asked
        await one.health.say(serves=True)
        await ask_until_both_are_asked(client, one)


async def test_nobody_serving_is_said_at_once() -> None:
    """Where no gateway serves a call fails at once, as one that reaches nobody."""
    async with standing() as one, standing() as other:
        await one.health.say(serves=False)
        await other.health.say(serves=False)
        async with tickgate.connect([one.target, other.target]) as client, asyncio.timeout(20):
            with pytest.raises(tickgate.GatewayUnreachable, match="unhealthy"):
                await client.quote("AAPL", timeout=60)


async def test_who_has_no_health_service_is_asked() -> None:
    """A proxy or an older gateway that knows nothing of health is taken for healthy."""
    async with (
        standing(health=False) as one,
        standing() as other,
        tickgate.connect([one.target, other.target]) as client,
    ):
        await ask_until_both_are_asked(client, one, other)


async def test_a_refused_call_is_repeated_elsewhere() -> None:
    """The second attempt of a call that met a stopping gateway is another gateway's."""
    async with (
        standing() as one,
        standing() as other,
        tickgate.connect([one.target, other.target]) as client,
    ):
        await ask_until_both_are_asked(client, one, other)
        one.stopping = True
        for number in range(20):
            await client.quote("AAPL", request_id=f"call-{number}")
        assert one.asked
        assert set(one.asked) <= set(other.asked)
        assert len(other.asked) == 20


def test_the_synchronous_client_does_the_same() -> None:
    """Several gateways are the synchronous client's too."""

    async def gateways(ready: asyncio.Future[list[str]], done: asyncio.Event) -> None:
        async with standing() as one, standing() as other:
            ready.set_result([one.target, other.target])
            await done.wait()
            assert one.asked
            assert other.asked

    async def both_asked() -> None:
        loop = asyncio.get_running_loop()
        ready, done = loop.create_future(), asyncio.Event()
        running = asyncio.create_task(gateways(ready, done))
        targets = await ready

        def ask() -> None:
            with tickgate.connect_sync(",".join(targets)) as client:
                for _ in range(50):
                    client.quote("AAPL", timeout=20)

        await asyncio.to_thread(ask)
        done.set()
        await running

    asyncio.run(both_asked())


# ----------------------------------------------------------------------------------------- lists


@dataclass
class Library:
    """A gateway that lists three assets, a page each, and knows only its own page tokens."""

    name: str
    pages: int = 0
    stopping: bool = False

    async def answer(self, request: Any, context: Any) -> Any:
        if self.stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        name, _, number = (request.page_token or f"{self.name}/0").partition("/")
        if name != self.name:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "page_token: another's")
        self.pages += 1
        following = f"{self.name}/{int(number) + 1}" if int(number) < 2 else ""
        page = asset_pb2.AssetPage(
            assets=[messages.asset(f"A{number}")],
            next_page_token=following,
            provenance=messages.LIST_PROVENANCE,
        )
        return reference_service_pb2.ListAssetsResponse(page=page)


@pytest.mark.parametrize("rounds", [4])
async def test_all_pages_are_asked_of_one(rounds: int) -> None:
    """A list is read to its end where it was begun, whoever else is asked meanwhile."""
    one, other = Library("one"), Library("other")
    async with served(ListAssets=one.answer) as first, served(ListAssets=other.answer) as second:
        async with tickgate.connect([first, second]) as client:
            for _ in range(rounds):
                found = [each.symbol async for each in client.assets("A")]
                assert found == ["A0", "A1", "A2"]

        def walk() -> list[str]:
            with tickgate.connect_sync([first, second]) as client:
                return [each.symbol for each in client.assets("A")]

        assert await asyncio.to_thread(walk) == ["A0", "A1", "A2"]


async def test_a_list_is_begun_where_somebody_answers() -> None:
    """A gateway that is stopping, or not there, is passed over; where nobody answers it is said."""
    one, other = Library("one", stopping=True), Library("other")
    async with served(ListAssets=one.answer) as first, served(ListAssets=other.answer) as second:
        async with tickgate.connect([first, second]) as client:
            assert len([each async for each in client.assets("A")]) == 3
            assert other.pages == 3
            other.stopping = True
            with pytest.raises(tickgate.GatewayUnreachable, match="stopping"):
                _ = [each async for each in client.assets("A")]

        def walk() -> list[str]:
            with tickgate.connect_sync(["127.0.0.1:1", first, second]) as client:
                return [each.symbol for each in client.assets("A")]

        other.stopping = False
        assert await asyncio.to_thread(walk) == ["A0", "A1", "A2"]


# --------------------------------------------------------------------------------------- streams


async def holding(peer: Peer) -> None:
    """A gateway that holds the feed."""
    await peer.begin()
    await peer.send(updates, quote("AAPL", 1))
    await peer.gone()


not_holding = ends_with(grpc.StatusCode.UNAVAILABLE, "NOT_FEED_HOLDER")


@both
async def test_whoever_holds_the_feed_is_found(follow: Any) -> None:
    """The gateways are asked one after the other for the one with the feed, without a pause before one untried."""
    async with streaming(not_holding) as one, streaming(holding) as other, asyncio.timeout(20):
        targets = ["127.0.0.1:1", one, other]
        quotes, _ = await follow(targets, records(1), "follow", "AAPL")
    assert quotes[0].symbol == "AAPL"


async def test_who_comes_second_begins_where_the_first_got_through() -> None:
    """What one subscription has found out the client's others know: nobody is asked in vain twice."""
    async with (
        streaming(not_holding) as one,
        streaming(holding, holding, holding) as other,
        tickgate.connect([one, other]) as client,
    ):
        for _ in range(3):
            async with client.follow("AAPL") as quotes:
                assert (await anext(quotes)).symbol == "AAPL"


@both
async def test_a_stream_goes_on_at_another_gateway(follow: Any) -> None:
    """Where a gateway leaves, its follower shows his token to the next, and is told of both the loss and the return."""
    tokens: list[str] = []

    async def leaving(peer: Peer) -> None:
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1), token="behind 1")
        await peer.acked(2)
        await ends_with(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")(peer)

    async def staying(peer: Peer) -> None:
        tokens.append((await peer.begin(epoch="another")).resume_token)
        await peer.send(updates, quote("AAPL", 7), epoch="another")
        await peer.gone()

    async with streaming(leaving) as one, streaming(staying) as other, asyncio.timeout(20):
        seen, _ = await follow([one, other], everything(6), "follow", "AAPL")
    assert tokens == ["behind 1"]
    kinds = [type(each).__name__ for each in seen]
    assert kinds == [
        "SymbolStatus",
        "Update",
        "Disconnected",
        "Reconnected",
        "SymbolStatus",
        "Update",
    ]
    lost, back = seen[2:4]
    assert "tickgate" not in str(lost.retry_delay)
    assert lost.retry_delay.total_seconds() < 0.1
    assert not back.resumed


@both
async def test_a_name_is_followed_wherever_it_leads(follow: Any) -> None:
    """A host name that stands for several addresses is asked at each of them."""
    async with streaming(holding) as target, asyncio.timeout(20):
        port = target.rpartition(":")[2]
        # Commonly ::1 as well, where nobody listens.
        quotes, _ = await follow(f"localhost:{port}", records(1), "follow", "AAPL")
    assert quotes[0].symbol == "AAPL"


@both
async def test_a_name_that_is_not_known_is_said(follow: Any) -> None:
    """Following a name that nobody knows fails as any call to it does."""
    with pytest.raises(tickgate.GatewayUnreachable):
        await follow("nowhere.invalid:1", records(1), "follow", "AAPL")


async def test_whoever_never_answers_does_not_hold_up_the_others() -> None:
    """A machine that takes a connection and says nothing is left for the next gateway after some seconds."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute_target = f"127.0.0.1:{mute.getsockname()[1]}"
        async with (
            streaming(holding) as other,
            tickgate.connect([mute_target, other], timeout=20) as client,
            client.follow("AAPL") as quotes,
        ):
            assert (await anext(quotes)).symbol == "AAPL"
