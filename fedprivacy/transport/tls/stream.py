"""TLS over a connected socket of an event loop: bytes in and out, and no buffers beside OpenSSL's.

Not asyncio's own, which ends a failed handshake without the alert that tells the peer why, and
keeps half a megabyte for each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Self

__all__ = ["TlsStream"]

_READ = 1 << 16
"""Bytes that are taken from the socket at a time."""
_RECORD = 1 << 14
"""Bytes in a TLS record, at most (RFC 8446, 5.1)."""
_LINGER = 1.0
"""Seconds in which a peer may still read what it was told last."""


@dataclass(slots=True, eq=False)
class TlsStream:
    """One end of a connection. One task may read while another writes."""

    taken: socket.socket
    _tls: ssl.SSLObject
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def over(
        cls, taken: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None
    ) -> Self:
        """A stream before its handshake; without a host's name, the server's end."""
        taken.setblocking(False)  # noqa: FBT003 - the library's signature
        with contextlib.suppress(OSError):
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(
            incoming, outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )
        return cls(taken, tls, incoming, outgoing)

    async def handshake(self) -> None:
        """Agree on keys, and verify each other; raises `ssl.SSLError` and `OSError`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                continue
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._flush()  # the alert says why
                raise
            await self._flush()
            return

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate, DER; it was verified."""
        return self._tls.getpeercert(binary_form=True)

    async def read(self, count: int) -> bytes:
        """Exactly so many bytes; raises `EOFError` where the peer has ended."""
        found = bytearray()
        while len(found) < count:
            try:
                some = self._tls.read(min(count - len(found), _RECORD))
            except ssl.SSLWantReadError:
                await self._fill()
                continue
            except ssl.SSLZeroReturnError:
                raise EOFError from None
            if not some:
                raise EOFError
            found += some
        return bytes(found)

    async def write(self, data: bytes) -> None:
        """Send these bytes; waits until the operating system has taken them all."""
        async with self._turn:
            view = memoryview(data)
            while view:
                sent = self._tls.write(view[: 4 * _RECORD])
                view = view[sent:]
                await self._send()

    async def close(self) -> None:
        """Say that nothing more comes, let the peer read it, and end."""
        try:
            async with asyncio.timeout(_LINGER):
                with contextlib.suppress(ssl.SSLError):
                    self._tls.unwrap()
                await self._flush()
                self.taken.shutdown(socket.SHUT_WR)
                # With bytes unread, closing would take back what the peer has not read yet.
                loop = asyncio.get_running_loop()
                while await loop.sock_recv(self.taken, _READ):
                    pass
        except (OSError, TimeoutError):
            pass

    def abort(self) -> None:
        """End at once, also for a task that reads or writes."""
        with contextlib.suppress(OSError):
            self.taken.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Give the socket back; nothing may be reading or writing any more."""
        self.taken.close()

    async def _fill(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self.taken, _READ)
        if not data:
            raise EOFError
        self._incoming.write(data)

    async def _flush(self) -> None:
        async with self._turn:
            await self._send()

    async def _send(self) -> None:
        if data := self._outgoing.read():
            await asyncio.get_running_loop().sock_sendall(self.taken, data)
