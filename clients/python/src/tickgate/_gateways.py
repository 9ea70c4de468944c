"""Where the gateways are: what a target may be, and which of several is asked where it matters which.

A call goes to any of them: gRPC takes them in turn, leaves out those that say they do not serve, and tries a call that
met a stopping one again with the next. Only two things are asked of one gateway alone: a stream, which just one of them
may hold the feed for, and a list in pages, whose second page only the author of the first knows.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._rules import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Connection = TypeVar("Connection")

SCHEME = re.compile(r"(unix|unix-abstract|vsock|xds|google-c2p|dns)(?=:)")
"""How gRPC spells what is no list of addresses."""

SEVERAL = (
    'several gateways are IP addresses with ports, "10.0.0.1:50051,10.0.0.2:50051", or one host name that stands for'
    " all of them; gRPC looks up one name at a time, so there is no list of names"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What `connect` was told, understood."""

    spelled: str
    """All of it, as gRPC takes it."""
    addresses: tuple[str, ...]
    """Each gateway alone, as gRPC takes it. One that stands for several where there is a `name`."""
    name: tuple[str, int] | None
    """Host and port that may stand for several gateways."""
    balanced: bool
    """Whether calls may go to several gateways."""
    is_local: bool
    """Whether what is sent there stays on this machine."""


def understood(target: str | Iterable[str]) -> Target:
    """What a target means.

    Raises:
        InvalidRequest: gRPC has no way to take it.
    """
    text = target if isinstance(target, str) else ",".join(target)
    places = [place.strip() for place in re.sub(r"^ipv[46]:", "", text.strip()).split(",")]
    addresses = dict.fromkeys(filter(None, map(_address, places)))
    if len(addresses) == len(set(places)):
        return _of_addresses(text.strip(), tuple(addresses))
    if len(places) > 1 and not SCHEME.match(text):
        raise refused("target", SEVERAL)
    if not all(places):
        raise refused("target", 'a gateway\'s address, such as "127.0.0.1:50051"')
    return _of_name(text.strip())


def _of_addresses(
    text: str, addresses: tuple[tuple[IPv4Address | IPv6Address, int], ...]
) -> Target:
    kinds = {host.version for host, _ in addresses}
    if len(kinds) > 1:
        raise refused("target", "the addresses are all IPv4, or all IPv6: gRPC takes no mixture")
    each = tuple(_spelled(host, port) for host, port in addresses)
    together = f"ipv{kinds.pop()}:" + ",".join(address[5:] for address in each)
    return Target(
        spelled=together if len(each) > 1 else text,
        addresses=each if len(each) > 1 else (text,),
        name=None,
        balanced=len(each) > 1,
        is_local=all(host.is_loopback for host, _ in addresses),
    )


def _of_name(text: str) -> Target:
    found = re.fullmatch(r"(?:dns:(?:///)?)?(?P<host>[^:/\[\]]+):(?P<port>\d{1,5})", text)
    host = found["host"].lower() if found else ""
    return Target(
        spelled=text,
        addresses=(text,),
        name=(found["host"], int(found["port"])) if found else None,
        balanced=not text.startswith(("unix", "vsock")),
        is_local=text.startswith("unix") or host == "localhost" or host.endswith(".localhost"),
    )


def _address(place: str) -> tuple[IPv4Address | IPv6Address, int] | None:
    """The IP address and port that *place* is, None if it is something else."""
    found = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[\d.]+)):(?P<port>\d{1,5})", place)
    if found is None or not 0 < int(found["port"]) < 65536:
        return None
    with suppress(ValueError):
        return ip_address(found["v6"] or found["v4"]), int(found["port"])
    return None


def _spelled(host: IPv4Address | IPv6Address, port: int) -> str:
    return f"ipv4:{host}:{port}" if host.version == 4 else f"ipv6:[{host}]:{port}"


class Gateways(Generic[Connection]):
    """The gateways of a client, one at a time.

    Everything that the client follows shares them, so that who comes second begins where the first has got through. May
    be used from several threads: the same gateway left twice is left once.
    """

    def __init__(
        self,
        addresses: tuple[str, ...],
        reach: Callable[[str, bool], Connection],
        *,
        name: tuple[str, int] | None = None,
    ) -> None:
        """Begin with the first.

        Args:
            addresses: each gateway alone.
            reach: makes a connection to an address, and is told whether there are others to turn to.
            name: host and port to look up, which may stand for several.
        """
        self.name = name
        self._whole = addresses
        self._addresses = addresses
        self._reach = reach
        self._current = addresses[0]

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def current(self) -> str:
        """Address of the one to ask."""
        return self._current

    def reach(self, address: str) -> Connection:
        """Make a connection to one of them."""
        return self._reach(address, len(self) > 1)

    def leave(self, address: str) -> None:
        """Turn to the one behind *address*, unless somebody has done so already."""
        if self._current == address:
            known = self._addresses
            place = known.index(address) + 1 if address in known else 0
            self._current = known[place % len(known)]

    def found(self, answers: Sequence[tuple[Any, ...]]) -> None:
        """Take what the look-up of the name has brought, in the form of `getaddrinfo`."""
        sockets = [answer[4] for answer in answers]
        known = dict.fromkeys(_spelled(ip_address(host), port) for host, port, *_ in sockets)
        # A name that stands for one address is gRPC's to look up, as it always is.
        self._addresses = tuple(known) if len(known) > 1 else self._whole
        if self._current not in self._addresses:
            self._current = self._addresses[0]
