"""Reads an option chain again and again, in one of four ways, and says how long it took and what came.

python -m benchmarks.chain_reader WAY PORT UNDERLYING

WAY is one of `WAYS`; PORT is the sandbox's for those of Alpaca's SDK and the gateway's for ours. It says "ready" when
it has asked once, then reads a line for each question and answers with one, both JSON: see `Ask` and `Fetched`. The SDK
asks on the feed opra, the gateway on that of its settings.
"""

from __future__ import annotations

import gc
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import grpc
import msgspec

from . import consumer

PATIENCE: Final = 60.0
"""Seconds that a chain may take."""

MESSAGES: Final = "messages"
CLIENT: Final = "client"
SDK_RAW: Final = "sdk-raw"
SDK: Final = "sdk"

PATH: Final = "/tickgate.v1.OptionService/StreamOptionChain"

Row = tuple[str, Any, Any, Any, Any]
"""Symbol, bid, ask, price of the latest trade and delta, each as it was found; None where there is none."""


class Ask(msgspec.Struct):
    """How to ask."""

    max_age: float | None = None
    """Seconds, of the gateway; None leaves it to its settings. The SDK keeps nothing."""


class Header(msgspec.Struct, frozen=True):
    """What a chain's header says of its contracts."""

    total_size: int
    chain_size: int
    without_quote: int
    without_trade: int
    without_greeks: int
    without_volatility: int
    out_of_count: int
    """Expired, refused, or without delta."""


class Fetched(msgspec.Struct):
    """What came."""

    total: float
    """Seconds from the question until all of it was there."""

    looked: float
    """Seconds after that, for looking at bid, ask, latest price and delta of each contract."""

    cpu: float
    """Seconds of this process's CPU for both."""

    contracts: int
    digest: int
    """Of what was looked at: see `digest`."""

    first: float | None = None
    """Seconds until the first message, where there are several."""

    header: Header | None = None
    served_from: str = ""
    moved: int = 0
    """Contracts that have come with the latest refresh."""


def digest(rows: Iterable[Row]) -> int:
    """Return a number that tells whether two chains hold the same contracts with the same numbers.

    An empty side is a price of zero here: it is one with Alpaca, and unset with us.
    """
    plain = [
        (symbol, float(bid or 0), float(ask or 0), _plain(last), _plain(delta))
        for symbol, bid, ask, last, delta in rows
    ]
    return zlib.crc32(repr(sorted(plain, key=lambda row: row[0])).encode())


def rows_of_raw(snapshots: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return what stands in snapshots as Alpaca sends them."""
    nothing: Mapping[str, Any] = {}
    rows = []
    for symbol, each in snapshots.items():
        quote, trade = each.get("latestQuote", nothing), each.get("latestTrade", nothing)
        delta = each.get("greeks", nothing).get("delta")
        rows.append((symbol, quote.get("bp"), quote.get("ap"), trade.get("p"), delta))
    return rows


def rows_of_messages(messages: Iterable[Any]) -> list[Row]:
    """Return what stands in the gateway's messages."""
    rows = []
    for message in messages:
        for each in message.chunk.option_quotes:
            quote, trade, greeks = each.quote, each.latest_trade, each.greeks
            last = trade.price.value if each.HasField("latest_trade") else None
            delta = greeks.delta if greeks.HasField("delta") else None
            rows.append((each.symbol, quote.bid.price.value, quote.ask.price.value, last, delta))
    return rows


class _Messages:
    """The gateway's messages, as the generated code reads them."""

    def __init__(self, port: int, underlying: str) -> None:
        from tickgate.v1 import option_service_pb2 as pb  # noqa: PLC0415 - each way loads its own

        self._request = pb.StreamOptionChainRequest(underlying_symbol=underlying)
        self._call = grpc.insecure_channel(f"127.0.0.1:{port}").unary_stream(
            PATH,
            request_serializer=pb.StreamOptionChainRequest.SerializeToString,
            response_deserializer=pb.StreamOptionChainResponse.FromString,
        )
        self.first: float | None = None

    def fetch(self, ask: Ask) -> list[Any]:
        if ask.max_age is None:
            self._request.ClearField("max_age")
        else:
            self._request.max_age.FromNanoseconds(round(ask.max_age * 1e9))
        parts: list[Any] = []
        start = time.perf_counter()
        for part in self._call(self._request, timeout=PATIENCE, metadata=consumer.metadata()):
            if not parts:
                self.first = time.perf_counter() - start
            parts.append(part)
        return parts

    def look(self, chain: list[Any]) -> list[Row]:
        return rows_of_messages(chain)

    def tell(self, chain: list[Any], fetched: Fetched) -> None:
        from tickgate.v1 import provenance_pb2  # noqa: PLC0415 - as above

        header, end = chain[0].header, chain[-1].end
        if not end.count == header.total_size == fetched.contracts:
            raise SystemExit(f"of {header.total_size} contracts {fetched.contracts} came")
        gaps = header.missing
        fetched.header = Header(
            header.total_size,
            header.chain_size,
            gaps.quotes,
            gaps.latest_trades,
            gaps.greeks,
            gaps.implied_volatilities,
            header.expired + header.refused + header.without_delta,
        )
        fetched.first = self.first
        fetched.served_from = provenance_pb2.Tier.Name(header.served_from).removeprefix("TIER_")
        fetched.moved = sum(
            each.quote.provenance.receive_time == header.confirm_time
            for part in chain
            for each in part.chunk.option_quotes
        )


class _Client:
    """Our client's models."""

    def __init__(self, port: int, underlying: str) -> None:
        import tickgate  # noqa: PLC0415 - as above

        self._client = tickgate.connect_sync(f"127.0.0.1:{port}", api_key=consumer.api_key())
        self._underlying = underlying

    def fetch(self, ask: Ask) -> Any:
        return self._client.chain(self._underlying, max_age=ask.max_age, timeout=PATIENCE)

    def look(self, chain: Any) -> list[Row]:
        rows = []
        for each in chain.option_quotes:
            quote, trade, greeks = each.quote, each.latest_trade, each.greeks
            rows.append(
                (
                    each.symbol,
                    quote.bid.price if quote and quote.bid else None,
                    quote.ask.price if quote and quote.ask else None,
                    trade.price if trade else None,
                    greeks.delta if greeks else None,
                )
            )
        return rows

    def tell(self, chain: Any, fetched: Fetched) -> None:
        gaps = chain.missing
        fetched.header = Header(
            chain.total_size,
            chain.chain_size,
            gaps.quotes,
            gaps.latest_trades,
            gaps.greeks,
            gaps.implied_volatilities,
            chain.expired + chain.refused + chain.without_delta,
        )
        fetched.served_from = chain.served_from.value
        fetched.moved = sum(
            each.quote is not None
            and each.quote.provenance.receive_time_ns == chain.confirm_time_ns
            for each in chain.option_quotes
        )


class _Sdk:
    """Alpaca's SDK, which asks for one page after the other."""

    def __init__(self, port: int, underlying: str, *, raw: bool) -> None:
        from alpaca.data.enums import OptionsFeed  # noqa: PLC0415 - as above
        from alpaca.data.historical.option import OptionHistoricalDataClient  # noqa: PLC0415
        from alpaca.data.requests import OptionChainRequest  # noqa: PLC0415

        self._client = OptionHistoricalDataClient(
            "key", "secret", raw_data=raw, url_override=f"http://127.0.0.1:{port}"
        )
        self._request = OptionChainRequest(underlying_symbol=underlying, feed=OptionsFeed.OPRA)
        self._raw = raw

    def fetch(self, ask: Ask) -> Mapping[str, Any]:
        return self._client.get_option_chain(self._request)

    def look(self, chain: Mapping[str, Any]) -> list[Row]:
        if self._raw:
            return rows_of_raw(chain)
        rows = []
        for symbol, each in chain.items():
            quote, trade, greeks = each.latest_quote, each.latest_trade, each.greeks
            rows.append(
                (
                    symbol,
                    quote.bid_price if quote else None,
                    quote.ask_price if quote else None,
                    trade.price if trade else None,
                    greeks.delta if greeks else None,
                )
            )
        return rows

    def tell(self, chain: Mapping[str, Any], fetched: Fetched) -> None:
        """Nothing is known beyond the contracts."""


_Way = _Messages | _Client | _Sdk

WAYS: Final[Mapping[str, Callable[[int, str], _Way]]] = {
    MESSAGES: _Messages,
    CLIENT: _Client,
    SDK_RAW: lambda port, underlying: _Sdk(port, underlying, raw=True),
    SDK: lambda port, underlying: _Sdk(port, underlying, raw=False),
}


def fetch(way: _Way, ask: Ask) -> Fetched:
    """Fetch the chain once."""
    # What came before is gone, and none of this one's time.
    gc.collect()
    cpu, start = time.process_time(), time.perf_counter()
    chain: Any = way.fetch(ask)
    there = time.perf_counter()
    rows: Sequence[Row] = way.look(chain)
    looked, cpu = time.perf_counter(), time.process_time() - cpu
    fetched = Fetched(there - start, looked - there, cpu, len(rows), digest(rows))
    way.tell(chain, fetched)
    return fetched


def _plain(number: Any) -> float | None:
    return None if number is None else float(number)


def main(name: str, port: str, underlying: str) -> None:
    """Answer every line of the input."""
    way = WAYS[name](int(port), underlying)
    fetch(way, Ask())
    print("ready", flush=True)
    for line in sys.stdin:
        fetched = fetch(way, msgspec.json.decode(line, type=Ask))
        print(msgspec.json.encode(fetched).decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
