"""What every request passes: keys, ids, limits, paths."""

from __future__ import annotations

import pytest

from .asking import KEYS, asked, synthetic

MINUTE = 60 * 1_000_000_000


@pytest.mark.parametrize(
    "headers",
    [{}, {"APCA-API-KEY-ID": "key"}, {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": ""}],
    ids=["no key", "no secret", "empty secret"],
)
async def test_missing_key(headers: dict[str, str]) -> None:
    """A request without a key pair gets a web page, not JSON."""
    async with asked() as (_, client):
        answer = await client.get_as(headers, "/v2/clock")

    assert answer.status == 401
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"401 Authorization Required" in answer.body


async def test_wrong_key() -> None:
    """Once a key pair is set, no other is accepted."""
    async with asked(synthetic(key_id="right", secret="hush")) as (_, client):
        wrong = await client.get("/v2/clock")
        right = await client.get_as(
            {"APCA-API-KEY-ID": "right", "APCA-API-SECRET-KEY": "hush"}, "/v2/clock"
        )

    assert (wrong.status, right.status) == (401, 200)


async def test_request_id() -> None:
    """Every answer has a request id of its own, refusals included."""
    async with asked() as (_, client):
        answers = [
            await client.get("/v2/clock"),
            await client.get("/v2/nowhere"),
            await client.get_as({}, "/v2/clock"),
            await client.get("/v2/stocks/quotes/latest"),
        ]

    assert [answer.status for answer in answers] == [200, 404, 401, 400]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 4


async def test_wrong_path() -> None:
    """A path that does not exist is 404 in plain text, as recorded from Alpaca."""
    async with asked() as (_, client):
        answer = await client.get("/v2/foo/bar")

    assert (answer.status, answer.body) == (404, b"Not Found")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_wrong_method() -> None:
    """Data is read with GET alone."""
    async with asked() as (_, client):
        answer = await client.send("POST", "/v2/clock")

    assert answer.status == 405


async def test_long_url() -> None:
    """A URL that is too long gets nginx's page; 2,000 symbols in 9,424 characters do not."""
    async with asked() as (_, client):
        fits = await client.get("/v2/stocks/snapshots", symbols=",".join(["ABCD"] * 1885))
        exceeds = await client.get("/v2/stocks/snapshots", symbols=",".join(["ABCD"] * 3300))

    assert fits.status == 200
    assert exceeds.status == 414
    assert exceeds.headers["Content-Type"].startswith("text/html")


async def test_rate_limit_headers() -> None:
    """While a limit is set, successes and bad requests tell its state."""
    async with asked(synthetic(rate_limit=10), monotonic_ns=lambda: 0) as (_, client):
        good = await client.get("/v2/stocks/AAPL/quotes/latest")
        bad = await client.get("/v2/stocks/quotes/latest")
        missing = await client.get("/v2/nowhere")

    assert good.headers["X-RateLimit-Limit"] == "10"
    assert good.headers["X-RateLimit-Remaining"] == "9"
    assert int(good.headers["X-RateLimit-Reset"]) > 1_700_000_000
    assert bad.headers["X-RateLimit-Remaining"] == "8"
    assert "X-RateLimit-Limit" not in missing.headers


async def test_no_rate_limit() -> None:
    """Without a limit there is nothing to tell."""
    async with asked() as (_, client):
        answer = await client.get("/v2/clock")

    assert "X-RateLimit-Limit" not in answer.headers


async def test_data_limit_is_spent() -> None:
    """Beyond the limit the data API answers 429 without telling when to come back."""
    async with asked(synthetic(rate_limit=2), monotonic_ns=lambda: 0) as (_, client):
        answers = [await client.get("/v2/stocks/AAPL/quotes/latest") for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1].json == {"message": "too many requests."}
    assert not {"X-RateLimit-Limit", "Retry-After"} & answers[-1].headers.keys()


async def test_trading_limit_is_another() -> None:
    """The trading API has a limit of its own, and its 429 carries a code."""
    async with asked(synthetic(rate_limit=1), monotonic_ns=lambda: 0) as (_, client):
        await client.get("/v2/stocks/AAPL/quotes/latest")
        first = await client.get("/v2/clock")
        second = await client.get("/v2/clock")

    assert first.status == 200
    assert second.status == 429
    assert second.json == {"code": 42910000, "message": "rate limit exceeded"}


async def test_limit_refills() -> None:
    """The bucket refills evenly: a limit of 60 brings one request back each second."""
    now = 0
    async with asked(synthetic(rate_limit=60), monotonic_ns=lambda: now) as (_, client):
        statuses = [(await client.get("/v2/clock")).status for _ in range(61)]
        now += MINUTE // 60
        statuses += [(await client.get("/v2/clock")).status for _ in range(2)]

    assert statuses == [200] * 60 + [429, 200, 429]


async def test_wrong_keys_cost_nothing() -> None:
    """A request that is not let in is not counted against the limit."""
    async with asked(synthetic(rate_limit=1), monotonic_ns=lambda: 0) as (_, client):
        await client.get_as({}, "/v2/clock")
        answer = await client.get_as(KEYS, "/v2/clock")

    assert answer.status == 200
