"""Market values: what a quote, a trade, a bar is. No I/O, no protobuf, no vendor's words.

Prices are `Decimal` in US dollars a share, instants are integer nanoseconds since the Unix epoch (UTC), and everything
that the upstream did not send is None. Values are frozen msgspec structs: they are built a hundred thousand times a
second, and a frozen dataclass costs several times as much to construct (docs/adr/0006).
"""
