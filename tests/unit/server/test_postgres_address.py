"""Addresses of PostgreSQL, and what may be said of them."""

from __future__ import annotations

import traceback

import pytest
from psycopg.conninfo import conninfo_to_dict

from tickgate_server.errors import StoreUnusable
from tickgate_server.stores.postgres.address import parse


def test_the_address_reaches_libpq_with_our_bounds() -> None:
    """What the address says is kept, sslmode too; name and bounds of the gateway are added."""
    url = (
        "postgresql://u:p%40ss@one:5432,two:5433/db?sslmode=require&options=-c%20search_path%3Dmine"
    )
    given = conninfo_to_dict(parse(url).conninfo(5.0, 4.5))
    assert given == {
        "user": "u",
        "password": "p@ss",
        "host": "one,two",
        "port": "5432,5433",
        "dbname": "db",
        "sslmode": "require",
        "options": "-c search_path=mine -c statement_timeout=4500",
        "application_name": "tickgate",
        "connect_timeout": "5",
    }


def test_a_name_of_ones_own_is_kept() -> None:
    """An application name in the address stands above ours."""
    conninfo = parse("postgresql://h/d?application_name=desk").conninfo(5.0)
    assert conninfo_to_dict(conninfo)["application_name"] == "desk"


def test_no_bound_is_no_word_about_it() -> None:
    """A migration may take its time, and connecting never waits for ever."""
    given = conninfo_to_dict(parse("postgresql://h/d").conninfo(0.1))
    assert "options" not in given
    assert given["connect_timeout"] == "1"


@pytest.mark.parametrize(
    "url",
    [
        "hush",
        "mysql://u:hush@h/d",
        "postgresql+psycopg://u:hush@h/d",
        "postgresql://u:hush/x@h/d",
        "postgresql://u:1/hush@h/d",
        "postgresql://u:%zzhush@h/d",
        "postgresql://h/d?hush=1",
        "host=h port=hush",
    ],
)
def test_what_is_no_address_is_refused_without_being_quoted(url: str) -> None:
    """An address that cannot be read, or only wrongly, is refused, and no part of it is repeated."""
    with pytest.raises(StoreUnusable, match=r"^postgres_url: not an address") as caught:
        parse(url)
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_secrets_are_blotted_out() -> None:
    """No message, and no text of the address itself, shows a password, plain or percent-encoded."""
    address = parse("postgresql://u:p%40ss@h/d?sslpassword=other")
    assert address.censor("p@ss or\n\tp%40ss or other") == "*** or *** or ***"
    assert repr(address) == str(address) == "Address(…)"
