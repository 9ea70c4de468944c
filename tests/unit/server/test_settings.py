"""Settings: where they come from, what is refused, and that no secret gets out."""

from __future__ import annotations

import os
import re
import tomllib
import traceback
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tickgate_server.market.provenance import Feed
from tickgate_server.settings import SANDBOX_URL, Settings, SettingsError, load

ROOT = Path(__file__).resolve().parents[3]
SECRETS = ("PK-key-id-value", "very-secret-value")


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for variable in list(os.environ):
        if variable.upper().startswith(("TICKGATE_", "APCA_")):
            monkeypatch.delenv(variable)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a key pair in the environment."""
    monkeypatch.setenv("APCA_API_KEY_ID", SECRETS[0])
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRETS[1])


def toml(folder: Path, text: str) -> Path:
    """A settings file with *text*."""
    path = folder / "tickgate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None = None) -> str:
    """What stops the start, without a secret anywhere in it or in what it came from."""
    with pytest.raises(SettingsError) as caught:
        load(path)
    whole = "".join(traceback.format_exception(caught.value))
    for secret in SECRETS:
        assert secret not in whole
    return str(caught.value)


def test_without_settings_it_is_a_sandbox() -> None:
    """A gateway that is told nothing serves this machine alone, from a sandbox on it."""
    settings = load(None)
    assert (settings.environment, settings.listen) == ("sandbox", "127.0.0.1:50051")
    assert (settings.data_url, settings.trading_url) == (SANDBOX_URL, SANDBOX_URL)
    assert settings.stream_url == "ws://127.0.0.1:50080"
    assert settings.alpaca.stock_feed is Feed.IEX
    assert settings.alpaca.option_feed is Feed.INDICATIVE
    assert all(settings.keys)


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting comes from the environment, else from the file, else from the default, each for itself."""
    path = toml(
        tmp_path,
        "drain = 3\n[memory]\nkeep_open = 1\nkeep_otherwise = 2\n[alpaca.http]\ntotal = 7\n",
    )
    monkeypatch.setenv("TICKGATE_MEMORY__KEEP_OPEN", "9")
    monkeypatch.setenv("TICKGATE_ALPACA__HTTP__CONNECT", "4")
    settings = load(path)
    assert settings.drain == 3
    assert (settings.memory.keep_open, settings.memory.keep_otherwise) == (9, 2)
    assert settings.memory.keep_unknown == 60
    assert (settings.alpaca.http.total, settings.alpaca.http.connect) == (7, 4)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable without a value leaves the default."""
    monkeypatch.setenv("TICKGATE_LISTEN", "")
    assert load(None).listen == "127.0.0.1:50051"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lisen = 1", "lisen"),
        ("[memroy]", "memroy"),
        ("[memory]\nkeep = 1", "memory.keep"),
        ("[alpaca.http]\ntimeout = 1", "alpaca.http.timeout"),
    ],
)
def test_unknown_keys_of_the_file_are_named(tmp_path: Path, text: str, named: str) -> None:
    """A key that is no setting stops the start with its name."""
    assert named in refusal(toml(tmp_path, text))


@pytest.mark.parametrize(
    "variable",
    ["TICKGATE_LISEN", "TICKGATE_MEMROY__KEEP_OPEN", "TICKGATE_MEMORY__KEEP", "TICKGATE_LISTEN__PORT",
     "TICKGATE_KEY_ID", "TICKGATE_SECRET_KEY", "tickgate_lisen", "TICKGATE_"],
)  # fmt: skip
def test_unknown_variables_are_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A variable of our prefix that would be without effect stops the start with its name."""
    monkeypatch.setenv(variable, "1")
    said = refusal().lower()
    assert variable.lower() in said or "memory.keep" in said


@pytest.mark.parametrize(
    "variable", ["TICKGATE_MARKET_DATA", "TICKGATE_TARGET", "TICKGATE_CONFIG", "OTHER_LISTEN"]
)
def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """What belongs to the tests, the client or the command line is no misspelt setting."""
    monkeypatch.setenv(variable, "1")
    assert load(None) == Settings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("drain = -1", "drain"),
        ('drain = "long"', "drain"),
        ("drain = nan", "drain"),
        ("drain = inf", "drain"),
        ('listen = "50051"', "listen"),
        ('listen = "127.0.0.1:70000"', "listen"),
        ('listen = "a b:1"', "listen"),
        ('environment = "production"', "environment"),
        ("[memory]\ncapacity = 0", "memory.capacity"),
        ('[traces]\nendpoint = "localhost:4317"', "traces.endpoint"),
        ('[traces]\nendpoint = "http://me:secret@localhost:4317"', "traces.endpoint"),
        ("[traces]\nshare = 1.1", "traces.share"),
        ("[audit]\nrotate_mib = 0", "audit.rotate_mib"),
        ('[log]\nfile = "a.log"\n[audit]\nfile = "./a.log"', "audit.file"),
        ("[freshness]\nmax_age = -0.1", "freshness.max_age"),
        ("[options]\nmax_age = -1", "options.max_age"),
        ("[options]\nload_every = 0", "options.load_every"),
        ("[options]\npatience = 0", "options.patience"),
        ("[options]\ncontracts = 0", "options.contracts"),
        ("[options]\nkeep_contracts = 0", "options.keep_contracts"),
        ('[options]\nlate_close = ["spx"]', "options.late_close"),
        ("[redis.ttl]\noption_quote = 0", "redis.ttl.option_quote"),
        ("[reference]\nkeep = 0", "reference.keep"),
        ("[alpaca.http]\nconnections = 1001", "alpaca.http.connections"),
        ('[alpaca.http]\nuser_agent = "a\\nb"', "alpaca.http.user_agent"),
        ('[alpaca]\nstock_feed = "opra"', "alpaca.stock_feed"),
        ('[alpaca]\nstock_feed = "nyse"', "alpaca.stock_feed"),
        ('[alpaca]\noption_feed = "sip"', "alpaca.option_feed"),
        ('[alpaca]\noption_feed = "cboe"', "alpaca.option_feed"),
        ('[alpaca]\ndata_url = "ftp://data"', "alpaca.data_url"),
        ('[alpaca]\ndata_url = "https://"', "alpaca.data_url"),
        ('[alpaca]\ntrading_url = "https://me:very-secret-value@host"', "alpaca.trading_url"),
        ('[alpaca]\nstream_url = "https://stream.data.alpaca.markets"', "alpaca.stream_url"),
        ('[alpaca]\nstream_url = "wss://"', "alpaca.stream_url"),
        ('[alpaca]\nstream_url = "ws://host:0"', "alpaca.stream_url"),
        ('[alpaca]\nstream_url = "ws://host:70000"', "alpaca.stream_url"),
        ('[alpaca]\nstream_url = "wss://me:very-secret-value@host"', "alpaca.stream_url"),
        ('[alpaca]\nstream_url = "wss://host/?key=very-secret-value"', "alpaca.stream_url"),
        ("[stream]\nstreams = 0", "stream.streams"),
        ("[stream]\nsymbols = 0", "stream.symbols"),
        ("[stream]\nsubscriptions = 0", "stream.subscriptions"),
        ("[stream]\nsymbol_limit = -1", "stream.symbol_limit"),
        ("[stream]\noption_limit = -1", "stream.option_limit"),
        ("[stream]\nlinger = -1", "stream.linger"),
        ("[stream]\nstale_after = 0.9", "stream.stale_after"),
        ("[stream]\nstale_after = 3601", "stream.stale_after"),
        ("[stream]\nmax_unread_age = 0.009", "stream.max_unread_age"),
        ("[stream]\nmax_unread_age = 11", "stream.max_unread_age"),
        ("[stream]\nqueue = 0", "stream.queue"),
        ("[stream]\nkeep_records = -1", "stream.keep_records"),
        ("[stream]\nkeep_for = nan", "stream.keep_for"),
        ("[stream]\nsilence = 0.5", "stream.silence"),
        ('[stream]\nall_symbols = "*"', "stream.all_symbols"),
        ('[validation]\ncrossed = "ignore"', "validation.crossed"),
        ("[history]\nsettle = 0", "history.settle"),
        ('[history]\nfirst_day = "yesterday"', "history.first_day"),
        ("[history]\npage = 10001", "history.page"),
        ("[history]\nkeep_trades_days = -1", "history.keep_trades_days"),
        ("[ingestion]\ninterval = 0", "ingestion.interval"),
        ("[ingestion]\nqueue = 0", "ingestion.queue"),
        ('[schedule]\nrefresh = "daily"', "schedule: refresh"),
        ('[schedule]\nrefresh = "30 18 * * 1-5"', "schedule: refresh"),
        ('[schedule]\nrefresh = ""', "schedule: refresh"),
        ('[schedule]\ntime_zone = "Wall Street"', "schedule: time_zone"),
        ("[watchlists.tech]\nsymbols = []", "watchlists.tech.symbols"),
        ('[watchlists.tech]\nsymbols = ["aapl"]', "watchlists.tech.symbols"),
        ('[watchlists.tech]\nsymbols = ["AAPL", "AAPL"]', "watchlists.tech.symbols"),
        (
            '[watchlists.tech]\nsymbols = ["AAPL"]\nrefresh_timeframes = ["1Fortnight"]',
            "watchlists.tech.refresh_timeframes",
        ),
        ('[watchlists.tech]\nsymbols = ["AAPL"]\nrefresh_days = 0', "watchlists.tech.refresh_days"),
        ('[watchlists.Tech]\nsymbols = ["AAPL"]', "watchlists.Tech"),
        ('[log]\nlevel = "loud"', "log.level"),
    ],
)
def test_values_out_of_range_are_named(tmp_path: Path, text: str, named: str) -> None:
    """A value that cannot be stops the start with its field's name."""
    said = refusal(toml(tmp_path, text))
    assert named in said
    assert ": " in said


def test_a_log_that_is_off_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a log that has a file can share one: the folder that one works in is told to be none when it is opened."""
    monkeypatch.chdir(tmp_path)

    assert load(toml(tmp_path, '[audit]\nfile = "."')).audit.file == "."


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """Several mistakes are several lines."""
    assert len(refusal(toml(tmp_path, "drain = -1\n[memory]\ncapacity = 0\n")).splitlines()) == 2


@pytest.mark.parametrize("text", ["drain = ", "\x00", "[a\n"])
def test_what_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    """A file of another kind is refused with its name."""
    assert "not TOML" in refusal(toml(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file is refused by name, and so is one that is not text."""
    assert "cannot be read" in refusal(tmp_path / "missing.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "not TOML" in refusal(binary)


# ---------------------------------------------------------------------------- environments


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("environment", "trading"),
    [("paper", "https://paper-api.alpaca.markets"), ("live", "https://api.alpaca.markets")],
)
def test_each_environment_has_its_hosts(
    monkeypatch: pytest.MonkeyPatch, environment: str, trading: str
) -> None:
    """Paper and live ask Alpaca's hosts unless told otherwise."""
    monkeypatch.setenv("TICKGATE_ENVIRONMENT", environment)
    settings = load(None)
    assert (settings.data_url, settings.trading_url) == ("https://data.alpaca.markets", trading)
    assert settings.stream_url == "wss://stream.data.alpaca.markets"
    assert settings.keys == SECRETS


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("field", ["data_url", "trading_url"])
@pytest.mark.parametrize(
    "url",
    ["http://data.alpaca.markets", "https://data.sandbox.alpaca.markets", "http://127.0.0.1:50080",
     "https://data.alpaca.markets.example.com"],
)  # fmt: skip
def test_live_takes_alpacas_own_hosts_alone(
    monkeypatch: pytest.MonkeyPatch, field: str, url: str
) -> None:
    """A live gateway refuses any other host, and the right one without TLS, naming field and address."""
    monkeypatch.setenv("TICKGATE_ENVIRONMENT", "live")
    monkeypatch.setenv(f"TICKGATE_ALPACA__{field.upper()}", url)
    said = refusal()
    assert f"alpaca.{field}" in said
    assert url in said


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "url",
    ["ws://stream.data.alpaca.markets", "wss://stream.data.sandbox.alpaca.markets", "ws://127.0.0.1:50080",
     "wss://stream.data.alpaca.markets.example.com", "wss://data.alpaca.markets",
     "wss://stream.data.alpaca.markets/v2/test"],
)  # fmt: skip
def test_live_takes_alpacas_own_stream_alone(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A live gateway refuses any other stream, the right one without TLS, and the one whose values are invented."""
    monkeypatch.setenv("TICKGATE_ENVIRONMENT", "live")
    monkeypatch.setenv("TICKGATE_ALPACA__STREAM_URL", url)
    said = refusal()
    assert "alpaca.stream_url" in said
    assert url in said


@pytest.mark.usefixtures("keys")
def test_paper_may_have_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paper gateway may be pointed elsewhere; a slash at the end of an address is dropped."""
    monkeypatch.setenv("TICKGATE_ENVIRONMENT", "paper")
    monkeypatch.setenv("TICKGATE_ALPACA__DATA_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("TICKGATE_ALPACA__STREAM_URL", "ws://127.0.0.1:1/")
    settings = load(None)
    assert (settings.data_url, settings.stream_url) == ("http://127.0.0.1:1", "ws://127.0.0.1:1")
    assert settings.shown()["alpaca"]["stream_url"] == "ws://127.0.0.1:1"


@pytest.mark.parametrize("environment", ["paper", "live"])
@pytest.mark.parametrize("given", [None, "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"])
def test_paper_and_live_need_both_keys(
    monkeypatch: pytest.MonkeyPatch, environment: str, given: str | None
) -> None:
    """Without a whole key pair only a sandbox starts, and the one half is not quoted."""
    monkeypatch.setenv("TICKGATE_ENVIRONMENT", environment)
    if given is not None:
        monkeypatch.setenv(given, SECRETS[1])
    assert "APCA_API_KEY_ID and APCA_API_SECRET_KEY" in refusal()


# ---------------------------------------------------------------------------- secrets


def test_keys_may_lie_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file is read without the space around the key; a variable with the key itself wins."""
    for name, secret in zip(("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"), SECRETS, strict=True):
        (tmp_path / name).write_text(f" {secret}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    assert load(None).keys == SECRETS
    monkeypatch.setenv("APCA_API_KEY_ID", "another")
    assert load(None).keys == ("another", SECRETS[1])


def test_a_key_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key file stops the start with its variable."""
    monkeypatch.setenv("APCA_API_SECRET_KEY_FILE", "/nowhere/at/all")
    assert "APCA_API_SECRET_KEY_FILE" in refusal()


@pytest.mark.parametrize("name", ["key_id", "secret_key", "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"])
def test_keys_in_the_file_are_refused(tmp_path: Path, name: str) -> None:
    """Whoever writes a key into the settings file is told where keys belong, without repeating it."""
    assert "do not belong" in refusal(toml(tmp_path, f'{name} = "{SECRETS[1]}"'))
    assert name in refusal(toml(tmp_path, f'[alpaca]\n{name} = "{SECRETS[1]}"'))


@pytest.mark.usefixtures("keys")
def test_no_secret_is_shown() -> None:
    """Neither repr nor str nor the effective settings hold a key; they say whether it is set."""
    settings = load(None)
    for text in (
        repr(settings),
        str(settings),
        str(settings.shown()),
        str(settings.model_dump(mode="json")),
    ):
        for secret in SECRETS:
            assert secret not in text
    assert (settings.shown()["key_id"], settings.shown()["secret_key"]) == ("set", "set")


def test_unset_keys_are_shown_as_such() -> None:
    """The effective settings name the addresses in use and the keys that are missing."""
    shown = load(None).shown()
    assert (shown["key_id"], shown["secret_key"]) == ("not set", "not set")
    assert shown["alpaca"]["data_url"] == SANDBOX_URL


@pytest.mark.usefixtures("keys")
def test_no_secret_in_a_refusal(tmp_path: Path) -> None:
    """Whatever else is wrong, its explanation and what caused it do not quote the keys."""
    refusal(toml(tmp_path, 'drain = -1\nlisten = "x"'))
    refusal(toml(tmp_path, 'environment = "live"\n[alpaca]\ndata_url = "http://127.0.0.1"'))


def test_settings_do_not_change() -> None:
    """What was read at the start holds until the end."""
    with pytest.raises(ValueError, match="frozen"):
        load(None).listen = "0.0.0.0:1"  # type: ignore[misc]  # the point of the test


# ---------------------------------------------------------------------------- the examples


def leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its path, with its default."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        elif name not in (
            "key_id",
            "secret_key",
            "redis_url",
            "postgres_url",
            "identity_secret",
            "watchlists",
        ):
            yield prefix + name, plain(value)


def plain(value: Any) -> Any:
    """A default as TOML has it."""
    if isinstance(value, frozenset):
        return sorted(value)
    return value.value if isinstance(value, Feed) else value


def flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a TOML document by its path."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def as_text(value: Any) -> str:
    """A default as it stands in the environment; nothing where a shell would need quotes that Docker keeps."""
    if isinstance(value, str) and " " in value:
        return ""
    if isinstance(value, list):
        # JSON's quotes would be lost in a shell that loads the file, and kept by Docker.
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_toml_example_names_every_setting() -> None:
    """tickgate.example.toml holds each setting with its default, and nothing else but a watchlist."""
    example = tomllib.loads((ROOT / "tickgate.example.toml").read_text())
    assert list(example.pop("watchlists")) == ["default"]
    assert dict(flat(example)) == dict(leaves(Settings()))
    loaded = load(ROOT / "tickgate.example.toml")
    assert loaded.model_copy(update={"watchlists": {}}) == load(None)
    assert loaded.watchlists["default"].symbols == ("AAPL", "MSFT", "GOOGL", "AMZN", "TSLA")


def test_the_environment_example_names_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """.env.example holds each setting with its default, the keys and where they may lie, and nothing else."""
    text = (ROOT / ".env.example").read_text()
    given = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    keys = {
        "APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_KEY_ID_FILE",
        "APCA_API_SECRET_KEY_FILE", "TICKGATE_CONFIG", "TICKGATE_REDIS_URL",
        "TICKGATE_REDIS_URL_FILE", "TICKGATE_POSTGRES_URL", "TICKGATE_POSTGRES_URL_FILE",
        "TICKGATE_IDENTITY_SECRET", "TICKGATE_IDENTITY_SECRET_FILE", "TICKGATE_WATCHLISTS",
    }  # fmt: skip
    expected = {
        "TICKGATE_" + path.upper().replace(".", "__"): as_text(value)
        for path, value in leaves(Settings())
    }
    assert given == expected | dict.fromkeys(keys, "")
    default = load(None)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    assert load(None) == default


def test_watchlists_come_from_a_table_or_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watchlist is a table of the file, or JSON in a variable; a timeframe is kept as the upstream writes it."""
    listed = load(
        toml(tmp_path, '[watchlists.tech]\nsymbols = ["AAPL"]\nrefresh_timeframes = ["5T", "1D"]')
    )
    assert listed.watchlists["tech"].refresh_timeframes == ("5Min", "1Day")
    assert not listed.watchlists["tech"].record
    monkeypatch.setenv(
        "TICKGATE_WATCHLISTS", '{"banks": {"symbols": ["BAC", "C"], "record": true}}'
    )
    assert load(None).watchlists["banks"].symbols == ("BAC", "C")


def test_history_begins_where_the_upstream_does(tmp_path: Path) -> None:
    """At Alpaca history begins in 2016, in a sandbox where its recordings may, and anywhere by setting."""
    alpaca = {"environment": "paper", "APCA_API_KEY_ID": "a", "APCA_API_SECRET_KEY": "b"}
    settings = Settings(**alpaca)  # type: ignore[arg-type]  # as a file would give them
    assert (settings.first_day, settings.options_first_day) == (date(2016, 1, 4), date(2024, 2, 1))
    assert load(None).first_day == date(1970, 1, 1)
    given = load(
        toml(tmp_path, '[history]\nfirst_day = 1998-01-02\noptions_first_day = "2014-06-06"')
    )
    assert (given.first_day, given.options_first_day) == (date(1998, 1, 2), date(2014, 6, 6))


@pytest.mark.parametrize("name", ["tickgate.example.toml", ".env.example"])
def test_every_example_has_its_sentence(name: str) -> None:
    """Above each setting stands what it means."""
    lines = (ROOT / name).read_text().splitlines()
    for above, line in pairwise(lines):
        if re.match(r"\w+ ?=", line) and not re.match(r"\w+=", above):
            assert above.startswith("# "), line


@pytest.mark.usefixtures("keys")
def test_live_feeds_and_answers_are_one_providers(tmp_path: Path) -> None:
    """A gateway that asks Alpaca and follows a stand-in does not start; without streams it may."""
    mixed = 'environment = "paper"\n[alpaca]\nstream_url = "ws://127.0.0.1:50080"\n'
    with pytest.raises(SettingsError, match="live feeds come from the same provider"):
        load(toml(tmp_path, mixed))

    assert not load(toml(tmp_path, mixed + "[stream]\nenabled = false\n")).stream.enabled
