"""`/healthz`: one read-only page, in the clear, for whoever watches a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from fedprivacy.errors import ConfigurationError
from fedprivacy.transport.tls.loops import LoopThread

__all__ = ["Health"]

_LIMIT = 4096  # bytes of a request
_SECONDS = 2.0
_MOST = 16  # connections at a time


class Health:
    """Answers `GET /healthz` with what `state` says, and nothing else, until it is stopped.

    While as many connections as it takes are open, another one is closed at once.
    """

    def __init__(self, state: Callable[[], dict[str, object]]) -> None:
        self._state = state
        self._thread = LoopThread("fedprivacy-health")
        self._server: asyncio.Server | None = None
        self._open = 0

    def start(self, host: str, port: int) -> None:
        """Listen; raises `ConfigurationError` where the address is taken."""
        self._thread.start()
        try:
            self._thread.call(self._start(host, port))
        except OSError as error:
            self.stop()
            raise ConfigurationError(
                f"server.health = {host}:{port} {error.strerror or error}: choose another"
            ) from None

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._thread.soon(self._server.close)
        self._thread.stop()
        self._thread.join()

    async def _start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._answer, host, port, limit=_LIMIT)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _MOST:
            writer.transport.abort()
            return
        self._open += 1
        try:
            async with asyncio.timeout(_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._page(request))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (
            OSError,
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            pass
        finally:
            writer.transport.abort()  # nothing, where it is closed
            self._open -= 1

    def _page(self, request: bytes) -> bytes:
        if not request.startswith(b"GET /healthz "):
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        body = msgspec.json.encode(self._state())
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n".encode() + body
