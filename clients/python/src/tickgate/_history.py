"""What the asynchronous client reads the past with. `_sync_history` is its twin.

What is asked and believed is decided once, in `_reader`. Here it is carried by the event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc.aio

from ._channel import retry_pushback
from ._chunks import maker_of
from ._errors import DeadlineExceeded, translated
from ._past import PATIENCE
from ._reader import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator

    import pandas
    import polars
    import pyarrow

    from ._channel import Trailers
    from ._chunks import Chunk, Records
    from ._models import Missing, SeriesEnd
    from ._past import Past

Item = TypeVar("Item")


class History(Generic[Item]):
    """Values of the past, ready to be read. Made by `Client.bars`, `trade_history` and `quote_history`.

    Nothing is asked before it is read, and each reading asks anew. Iterating yields rows, one by one, and holds no more
    of them in memory than has just come; awaiting it is the same as `fetch`.
    """

    def __init__(
        self,
        past: Past[Item],
        *,
        channel: grpc.aio.Channel,
        metadata: tuple[tuple[str, str], ...],
        note: Callable[[Trailers | None], None],
    ) -> None:
        self._past = past
        self._channel = channel
        self._metadata = past.metadata(metadata)
        self._patience = past.deadline(PATIENCE)
        self._note = note
        self._reader = Reader(past)

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._rows()

    def __await__(self) -> Generator[Any, None, Records[Item]]:
        return self.fetch().__await__()

    async def _rows(self) -> AsyncGenerator[Item, None]:
        async with aclosing(self._read()) as chunks:
            async for chunk in chunks:
                for row in chunk:
                    yield row

    def chunks(self) -> AsyncIterator[Chunk[Item]]:
        """Iterate over the values as they come, some thousand at a time, in columns.

        Whoever leaves the loop early closes the call.

        Raises:
            TickgateError: as the method that made it says.
        """
        return self._read()

    async def fetch(self) -> Records[Item]:
        """Read all of it.

        Returns:
            The values, `Records`, from which rows and tables are made.

        Raises:
            TickgateError: as the method that made it says.
        """
        chunks = []
        async with aclosing(self._read()) as coming:
            async for chunk in coming:
                chunks.append(chunk)  # noqa: PERF401 - there is no asynchronous list
        return self._reader.records(chunks)

    async def polars(self, *, exact: bool = False, origin: bool = False) -> polars.DataFrame:
        """Read all of it into a polars DataFrame, as `Records.polars` does."""
        maker_of("polars")  # not after minutes
        records = await self.fetch()
        # Others in the loop are not to wait for it.
        return await asyncio.to_thread(records.polars, exact=exact, origin=origin)

    async def pandas(self, *, exact: bool = False, origin: bool = False) -> pandas.DataFrame:
        """Read all of it into a pandas DataFrame, as `Records.pandas` does."""
        maker_of("pandas")
        records = await self.fetch()
        return await asyncio.to_thread(records.pandas, exact=exact, origin=origin)

    async def arrow(self, *, exact: bool = False, origin: bool = False) -> pyarrow.Table:
        """Read all of it into an Arrow table, as `Records.arrow` does."""
        maker_of("arrow")
        records = await self.fetch()
        return await asyncio.to_thread(records.arrow, exact=exact, origin=origin)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What could not be had so far, by the newest reading: each symbol, from where on, and why."""
        return tuple(self._reader.missing)

    @property
    def ends(self) -> tuple[SeriesEnd, ...]:
        """Symbols that have come to their end, by the newest reading."""
        return tuple(self._reader.ends)

    @property
    def count(self) -> int:
        """Values that have come, by the newest reading."""
        return self._reader.count

    @property
    def cursor(self) -> str:
        """Where the newest reading stands: asked with it as `cursor`, the rest comes. Empty at the beginning."""
        return self._reader.cursor

    async def _read(self) -> AsyncGenerator[Chunk[Item], None]:
        past, reader = self._past, Reader(self._past)
        self._reader = reader
        stream = self._channel.unary_stream(
            past.path,
            request_serializer=type(past.request).SerializeToString,
            response_deserializer=past.reply.FromString,
        )
        while True:
            call = stream(reader.request(), metadata=self._metadata)
            try:
                while (message := await self._next(call)) is not None:
                    chunk = reader.receive(message)
                    if chunk is not None:
                        if past.progress is not None:
                            past.progress(chunk)
                        yield chunk
                self._note(await call.trailing_metadata())
                break
            except grpc.aio.AioRpcError as error:
                self._note(error.trailing_metadata())
                if reader.complete:
                    break  # it broke behind the last word
                failure = translated(error, symbol=None, request_id=past.request_id)
                pause = reader.pause(failure, retry_pushback(error.trailing_metadata()))
                if pause is None:
                    raise failure from error
            finally:
                call.cancel()
            await asyncio.sleep(pause)
        reader.finish()

    async def _next(self, call: grpc.aio.UnaryStreamCall[Any, Any]) -> Any:
        """The next message, None at the end."""
        try:
            async with asyncio.timeout(self._patience):
                message = await call.read()
        except TimeoutError:
            said = f"nothing came for {self._patience:g} s"
            raise DeadlineExceeded(said, request_id=self._past.request_id) from None
        return None if message is grpc.aio.EOF else message
