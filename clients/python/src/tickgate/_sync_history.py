"""What the synchronous client reads the past with. `_history` is its twin.

What is asked and believed is decided once, in `_reader`. Here it is carried by the caller's thread.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc

from ._channel import retry_pushback
from ._chunks import maker_of
from ._errors import DeadlineExceeded, translated
from ._past import PATIENCE
from ._reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pandas
    import polars
    import pyarrow

    from ._channel import Trailers
    from ._chunks import Chunk, Records
    from ._models import Missing, SeriesEnd
    from ._past import Past

Item = TypeVar("Item")


class SyncHistory(Generic[Item]):
    """Values of the past, ready to be read. Made by `SyncClient.bars`, `trade_history` and `quote_history`.

    Nothing is asked before it is read, and each reading asks anew. Iterating yields rows, one by one, and holds no more
    of them in memory than has just come.
    """

    def __init__(
        self,
        past: Past[Item],
        *,
        channel: grpc.Channel,
        metadata: tuple[tuple[str, str], ...],
        note: Callable[[Trailers | None], None],
    ) -> None:
        self._past = past
        self._channel = channel
        self._metadata = past.metadata(metadata)
        self._patience = past.deadline(PATIENCE)
        self._note = note
        self._reader = Reader(past)

    def __iter__(self) -> Iterator[Item]:
        with closing(self._read()) as chunks:
            for chunk in chunks:
                yield from chunk

    def chunks(self) -> Iterator[Chunk[Item]]:
        """Iterate over the values as they come, some thousand at a time, in columns.

        Whoever leaves the loop early closes the call.

        Raises:
            TickgateError: as the method that made it says.
        """
        return self._read()

    def fetch(self) -> Records[Item]:
        """Read all of it.

        Returns:
            The values, `Records`, from which rows and tables are made.

        Raises:
            TickgateError: as the method that made it says.
        """
        chunks = list(self._read())
        return self._reader.records(chunks)

    def polars(self, *, exact: bool = False, origin: bool = False) -> polars.DataFrame:
        """Read all of it into a polars DataFrame, as `Records.polars` does."""
        maker_of("polars")  # not after minutes
        return self.fetch().polars(exact=exact, origin=origin)

    def pandas(self, *, exact: bool = False, origin: bool = False) -> pandas.DataFrame:
        """Read all of it into a pandas DataFrame, as `Records.pandas` does."""
        maker_of("pandas")
        return self.fetch().pandas(exact=exact, origin=origin)

    def arrow(self, *, exact: bool = False, origin: bool = False) -> pyarrow.Table:
        """Read all of it into an Arrow table, as `Records.arrow` does."""
        maker_of("arrow")
        return self.fetch().arrow(exact=exact, origin=origin)

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

    def _read(self) -> Generator[Chunk[Item], None, None]:
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
                while (message := self._next(call)) is not None:
                    chunk = reader.receive(message)
                    if chunk is not None:
                        if past.progress is not None:
                            past.progress(chunk)
                        yield chunk
                self._note(call.trailing_metadata())
                break
            except grpc.RpcError as error:
                self._note(call.trailing_metadata())
                if reader.complete:
                    break  # it broke behind the last word
                failure = translated(error, symbol=None, request_id=past.request_id)
                pause = reader.pause(failure, retry_pushback(call.trailing_metadata()))
                if pause is None:
                    raise failure from error
            finally:
                call.cancel()
            # This client waits in its caller's thread; whoever must not be held up has the asynchronous one.
            time.sleep(pause)
        reader.finish()

    def _next(self, call: Any) -> Any:
        """The next message, None at the end."""
        # gRPC waits for a message as long as it takes, unless somebody ends the call.
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            call.cancel()

        patience = threading.Timer(self._patience, give_up)
        patience.daemon = True
        patience.start()
        try:
            return next(call, None)
        except grpc.RpcError:
            if expired.is_set():
                said = f"nothing came for {self._patience:g} s"
                raise DeadlineExceeded(said, request_id=self._past.request_id) from None
            raise
        finally:
            patience.cancel()
