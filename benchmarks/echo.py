"""The bare server to compare with: grpc.aio, answering each method with bytes that it was given.

python -m benchmarks.echo SERVICE FOLDER    FOLDER/GetQuote holds the answer of SERVICE/GetQuote

Nothing is on: no interceptor, no log, no metadata, no message is parsed or made. It has the gateway's event loop and
its one option against a second server on the port.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

import grpc


async def serve(service: str, answers: dict[str, bytes]) -> None:
    """Answer until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers = {method: _handler(answer) for method, answer in answers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on {port}", flush=True)
    await stopped.wait()
    await server.stop(None)


def _handler(answer: bytes) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def handle(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    return grpc.unary_unary_rpc_method_handler(handle)


def main(service: str, folder: Path) -> None:
    """Run on the loop that the gateway would run on."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    asyncio.run(serve(service, {file.name: file.read_bytes() for file in folder.iterdir()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
