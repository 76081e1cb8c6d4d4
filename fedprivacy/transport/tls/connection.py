"""One TLS connection: frames in and out, each with its limit and its time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fedprivacy.errors import PeerError, Reason
from fedprivacy.transport.tls.frames import (
    FRAME_LIMIT,
    HEAD_BYTES,
    HELLO_LIMIT,
    Frame,
    Kind,
    ack,
    body_size,
    closed_for,
    closing,
    frame,
    place_of,
)
from fedprivacy.transport.tls.rates import Bucket
from fedprivacy.transport.tls.session import Inbox, Outbox
from fedprivacy.transport.tls.stream import TlsStream

__all__ = ["SILENCES", "Connection", "Exchange", "first_frame"]

SILENCES = 3
"""Heartbeats without a whole frame after which a peer counts as gone."""


@dataclass(slots=True)
class Connection:
    """A connection after its handshake; `silence` is in seconds."""

    stream: TlsStream
    silence: float
    is_aborted: bool = False

    @classmethod
    async def over(
        cls,
        taken: socket.socket,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        handshake: float,
        silence: float,
    ) -> Connection:
        """The handshake on a connected socket; without a host's name, as the server.

        Raises what `channel_error` reads, and has then given the socket back.
        """
        stream = TlsStream.over(taken, context, server_hostname=server_hostname)
        try:
            async with asyncio.timeout(handshake):
                await stream.handshake()
        except BaseException as error:
            try:
                if isinstance(error, ssl.SSLError):
                    await stream.close()
            finally:
                stream.release()
            raise
        return cls(stream, silence)

    @property
    def peer_certificate(self) -> bytes:
        """The peer's certificate, DER; it was verified."""
        found = self.stream.peer_certificate
        if not found:
            raise PeerError(Reason.CHANNEL_ANONYMOUS, "no certificate was shown")
        return found

    async def read(self, limit: int = FRAME_LIMIT) -> Frame:
        """The next frame, whole, within the time for it."""
        async with asyncio.timeout(self.silence):
            kind, size = body_size(await self.stream.read(HEAD_BYTES), limit=limit)
            return Frame(kind, await self.stream.read(size) if size else b"")

    async def write(self, data: bytes) -> None:
        """Send these bytes; waits while the peer does not take them, for so long."""
        async with asyncio.timeout(self.silence):
            await self.stream.write(data)

    async def close(self, reason: Reason | None) -> None:
        """Say why, if the peer still listens, and end."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self.stream.write(closing(reason))
        await self.stream.close()

    def abort(self) -> None:
        """End at once; what has come and was not read yet is lost."""
        self.is_aborted = True
        self.stream.abort()

    def release(self) -> None:
        """Give the socket back; nothing may be reading or writing any more."""
        self.stream.release()


@dataclass(slots=True)
class Exchange:
    """A session's messages over one connection, until it ends.

    `deliver` takes each message and may make the peer wait. Set `ready` when `outbox` or `done` has
    changed.
    """

    connection: Connection
    outbox: Outbox
    inbox: Inbox
    heartbeat: float
    deliver: Callable[[int, bytes], Awaitable[None]]
    done: Callable[[], int]
    """The number of the last message that was dealt with here."""
    rate: Bucket
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Reason | None:
        """Until the peer closes: its reason, or None for the run's end.

        Raises what `channel_error` reads: a `PeerError` for what no honest peer sends.
        """
        reading = asyncio.ensure_future(self._read())
        writing = asyncio.ensure_future(self._write())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            # What the peer said last explains why nothing can be written any more.
            if writing.done() and not reading.done():
                await asyncio.wait({reading}, timeout=0.2)
            return await reading if reading.done() else await self._ended(writing)
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    @staticmethod
    async def _ended(writing: asyncio.Future[None]) -> Reason | None:
        await writing
        raise ConnectionError

    async def _read(self) -> Reason | None:
        while True:
            came = await self.connection.read()
            self._check_present()
            if not self.rate.take():
                raise PeerError(Reason.CHANNEL_RATE, "frames come faster than is allowed")
            match came.kind:
                case Kind.MESSAGE | Kind.PIECE:
                    if whole := self.inbox.take(came):
                        await self.deliver(*whole)
                case Kind.ACK:
                    self.outbox.acknowledged(place_of(came.body))
                case Kind.PING:
                    if came.body:
                        raise PeerError(Reason.MALFORMED, "a ping with a body")
                case Kind.CLOSE:
                    return closed_for(came.body)
                case _:
                    raise PeerError(Reason.UNEXPECTED, f"{came.kind.name.lower()} once more")

    def _check_present(self) -> None:
        """Raises where the session goes on over another connection."""
        if self.connection.is_aborted:
            raise ConnectionAbortedError

    async def _write(self) -> None:
        said = self.done()
        while True:
            self.ready.clear()
            while True:
                if (place := self.done()) > said:
                    said = place
                    await self.connection.write(ack(place))
                self._check_present()
                if (piece := self.outbox.piece()) is None:
                    break
                await self.connection.write(piece)
            try:
                async with asyncio.timeout(self.heartbeat):
                    await self.ready.wait()
            except TimeoutError:
                await self.connection.write(frame(Kind.PING))


async def first_frame(connection: Connection, kind: Kind, *, within: float) -> bytes:
    """The body of the peer's first frame, which is of this kind; raises `PeerError`.

    Where the peer closes instead, its reason is raised.
    """
    async with asyncio.timeout(within):
        came = await connection.read(HELLO_LIMIT)
    if came.kind is Kind.CLOSE:
        reason = closed_for(came.body)
        raise PeerError(
            Reason.CHANNEL_CLOSING if reason is None else reason, "the peer turns this side away"
        )
    if came.kind is not kind:
        raise PeerError(Reason.UNEXPECTED, f"{came.kind.name.lower()} before {kind.name.lower()}")
    return came.body
