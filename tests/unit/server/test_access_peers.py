"""Who is on this machine, by the names that gRPC gives to callers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.access.peers import is_loopback

PORTS = st.integers(0, 65535)


@pytest.mark.parametrize(
    "peer",
    [
        "ipv4:127.0.0.1:5000",
        "ipv4:127.255.255.254:1",
        "ipv4:127.0.0.1",
        "ipv6:%5B::1%5D:5000",
        "ipv6:[::1]:5000",
        "ipv6:[::1]",
        "ipv6:[::1%25lo]:5000",
        "ipv6:%5B::ffff:127.0.0.1%5D:5000",
        "ipv6:[::ffff:127.0.0.1]",
        "ipv6:[::ffff:7f00:1]:5000",
        "unix:",
        "unix:/tmp/gateway.sock",
        "unix-abstract:gateway",
    ],
)
def test_this_machine_is_known(peer: str) -> None:
    """Loopback addresses, mapped and escaped ones among them, and sockets of this machine are loopback."""
    assert is_loopback(peer)


@pytest.mark.parametrize(
    "peer",
    [
        "",
        "ipv4:",
        "ipv4:10.0.0.5:5000",
        "ipv4:128.0.0.1:5000",
        "ipv4:0.0.0.0:5000",
        "ipv4:127.0.0.1.example.com:5000",
        "ipv4:127.1:5000",
        "ipv4:127.0.0.1:5000:1",
        "ipv4:localhost:5000",
        "ipv4:999.0.0.1:5000",
        "ipv6:%5B2001:db8::1%5D:5000",
        "ipv6:[fe80::1%25lo]:5000",
        "ipv6:[::]:5000",
        "ipv6:[::127.0.0.1]:5000",
        "ipv6:[::ffff:10.0.0.5]:5000",
        "ipv6:[64:ff9b::127.0.0.1]:5000",
        "ipv6:[2002:7f00:1::]:5000",
        "ipv6:[::1]]:5000",
        "ipv6:[]:5000",
        "ipv6:::1:5000",
        "ipv6:%255B::1%255D:5000",
        "IPV4:127.0.0.1:5000",
        "dns:localhost:5000",
        "vsock:1:5000",
        "127.0.0.1:5000",
        " ipv4:127.0.0.1:5000",
        "ipv4:127.0.0.1:5000\n",
        "ipv4:\u0661\u0662\u0667.0.0.1:5000",
    ],
)
def test_everybody_else_is_not(peer: str) -> None:
    """Other machines are not loopback, nor is any name that cannot be read without a doubt."""
    assert not is_loopback(peer)


@given(st.ip_addresses(v=4), PORTS)
def test_a_v4_caller_is_judged_by_its_address(address: IPv4Address, port: int) -> None:
    """An IPv4 caller is loopback exactly when its address is, also when it comes mapped into IPv6."""
    assert is_loopback(f"ipv4:{address}:{port}") is address.is_loopback
    mapped = quote(f"[::ffff:{address}]", safe=":.")
    assert is_loopback(f"ipv6:{mapped}:{port}") is address.is_loopback


@given(st.ip_addresses(v=6), PORTS)
def test_a_v6_caller_is_judged_by_its_address(address: IPv6Address, port: int) -> None:
    """An IPv6 caller is loopback exactly when its address is, or that which is mapped into it."""
    judged = address.ipv4_mapped or address
    assert is_loopback(f"ipv6:{quote(f'[{address}]', safe=':.')}:{port}") is judged.is_loopback


@given(st.text(max_size=40))
def test_no_name_at_all_is_trusted_or_fatal(peer: str) -> None:
    """Whatever a caller is called, it is not loopback unless it says so in one of the known ways."""
    assert not is_loopback(peer) or peer.startswith(("unix:", "unix-abstract:", "ipv4:", "ipv6:"))
