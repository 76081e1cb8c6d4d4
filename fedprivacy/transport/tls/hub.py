"""The server's end of all connections: who is there, what they sent, and what they are sent.

The event loop has a thread of its own, so that heartbeats go on while a round computes. Everything
that is public here is called from the round's thread.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import queue
import socket
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from fedprivacy.crypto import CertifiedName, Directory
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.transport.tls.connection import SILENCES, Connection, Exchange, first_frame
from fedprivacy.transport.tls.credentials import Credentials
from fedprivacy.transport.tls.faults import channel_error
from fedprivacy.transport.tls.frames import (
    HELLO_LIMIT,
    VERSION,
    Hello,
    Kind,
    Role,
    Welcome,
    told,
)
from fedprivacy.transport.tls.loops import LoopThread
from fedprivacy.transport.tls.rates import Bucket
from fedprivacy.transport.tls.session import Inbox, Outbox
from fedprivacy.wire import decode

__all__ = ["Arrived", "Broke", "Hub", "HubEvent", "HubLimits", "Joined", "Left"]

_OF_THE_MOMENT = (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED)
"""What `accept` may say where a process has no descriptor left, or a client has gone again."""


@dataclass(frozen=True, slots=True)
class HubLimits:
    """What peers may take; times in seconds, sizes in bytes."""

    handshake: float = 10.0
    heartbeat: float = 5.0
    message: int = 1 << 24
    """Of a client's longest message; a plan gives a closer one."""
    window: int = 1 << 20
    """Under way from one client, not yet dealt with."""
    inbound: int = 1 << 26
    """From all clients together: above it nobody is read from."""
    outbound: int = 1 << 26
    """To all clients together: above it `send` waits."""
    connects: float = 20.0
    """Of one identity at once; the same number a minute in the long run."""
    frames: float = 2_000.0
    """Of one identity a second, and twice as many at once."""
    handshakes: int = 64
    """Connections at a time that have not yet shown who they are."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A client began a session: what it had under way before is lost."""

    client: str
    session: bytes


@dataclass(frozen=True, slots=True)
class Left:
    """A client's connection ended."""

    client: str
    session: bytes
    may_return: bool
    """To its session; otherwise it said goodbye."""


@dataclass(frozen=True, slots=True)
class Broke:
    """A client's session ended for good, since it sent what no honest client sends."""

    client: str
    session: bytes
    error: PeerError


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message is there in full; call `Hub.done` once it is dealt with."""

    client: str
    session: bytes
    place: int
    message: bytes = field(repr=False)


HubEvent = Joined | Left | Broke | Arrived


@dataclass(slots=True, eq=False)
class _Peer:
    """One identity's session, and its connection while there is one."""

    name: str
    role: Role
    session: bytes
    outbox: Outbox
    inbox: Inbox
    connection: Connection | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    done: int = 0
    left: float = 0.0
    """When its connection ended, on the monotonic clock."""
    is_over: bool = False
    """Whether nothing is kept for it, and it is not taken up again."""


class Hub:
    """Takes connections of enrolled clients until it is stopped.

    `directory` says who is enrolled: the certificate's name and key's fingerprint must stand there.
    `committee` may connect as its members, and as no more than that.
    `begin` is told of each session that a client begins, and says whether its id is a fresh one.
    `note` hears, in the loop's thread, of connections that are refused: from where, and why.
    """

    def __init__(
        self,
        credentials: Credentials,
        directory: Directory,
        run_id: bytes,
        *,
        limits: HubLimits,
        committee: Collection[str] = (),
        begin: Callable[[str, bytes], bool],
        note: Callable[[str, PeerError], None] = lambda _where, _error: None,
    ) -> None:
        self._credentials = credentials
        self._directory = directory
        self._run_id = run_id
        self._limits = limits
        self._committee = frozenset(committee)
        self._begin = begin
        self._note = note
        self._message_limit = limits.message
        self._thread = LoopThread("fedprivacy-hub")
        self._events: queue.SimpleQueue[HubEvent] = queue.SimpleQueue()
        self._peers: dict[str, _Peer] = {}
        self._connects: dict[str, Bucket] = {}
        self._rates: dict[str, Bucket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._put = 0
        """No less than what is on its way to all clients; counted anew where it may be too much."""
        self._held = 0
        self._room = asyncio.Event()
        self._closing = False

    # ------------------------------------------------------------------ from the round's thread

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises `ConfigurationError` where the address is taken."""
        self._credentials.server_context()
        self._listener = _listen(host, port)
        self._thread.start()
        self._thread.call(self._start())
        return int(self._listener.getsockname()[1])

    def allow(self, message: int) -> None:
        """The most bytes that a client's message may have from now on."""
        self._message_limit = message
        for peer in tuple(self._peers.values()):
            peer.inbox.limit = message

    @property
    def connected(self) -> frozenset[str]:
        """Clients whose connection stands."""
        return frozenset(n for n, p in tuple(self._peers.items()) if p.connection is not None)

    @property
    def members(self) -> frozenset[str]:
        """Those whose session is that of a member of the committee, and of no client."""
        peers = tuple(self._peers.items())
        return frozenset(name for name, peer in peers if peer.role is Role.MEMBER)

    @property
    def absent(self) -> dict[str, float]:
        """Clients with a session and no connection, and since when, on the monotonic clock."""
        peers = tuple(self._peers.items())
        return {name: peer.left for name, peer in peers if peer.connection is None}

    @property
    def sessions(self) -> dict[str, bytes]:
        """Clients with a session, whether or not their connection stands, and its id."""
        return {name: peer.session for name, peer in tuple(self._peers.items())}

    def next(self, timeout: float) -> HubEvent | None:
        """What happened next; None if nothing does for so many seconds."""
        try:
            return self._events.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None

    def send(self, client: str, message: bytes, *, timeout: float) -> None:
        """Have a message delivered, once, as long as the client's session lasts.

        Waits while more is on its way than the limit: of what has been so for no longer than
        `timeout` seconds, to clients whose connection stands. Nobody else holds up the others.
        """
        peer = self._peers.get(client)
        if peer is None or peer.is_over:
            return
        if self._put > self._limits.outbound:
            self._put = self._with_room(timeout)
        self._put += len(message)
        peer.outbox.put(message)

    def done(self, arrived: Arrived) -> None:
        """A message was dealt with: its sender may send more."""
        self._thread.soon(self._dealt_with, arrived)

    def stop(self, reason: Reason | None, *, flush: float = 5.0) -> None:
        """Say goodbye to everyone, once what is on its way has left or so long has passed."""
        if not self._thread.is_alive:
            self._thread.join()
            return
        until = time.monotonic() + flush
        while self._outgoing(flush) and time.monotonic() < until:
            time.sleep(0.01)
        self._thread.call(self._stop(reason))
        self._thread.stop()
        self._thread.join()

    def let_go(self, *, unheard: float, absent: float) -> None:
        """End the sessions of those for whom it would only be kept what they are sent.

        They have not dealt with a message for more than `unheard` seconds, or have had no
        connection for more than `absent`. Whoever comes back begins a new session.
        """
        self._thread.call(self._let_go(unheard, absent))

    def _with_room(self, patience: float) -> int:
        """What is on its way, once that is no more than the limit."""
        while (kept := self._outgoing(patience)) > self._limits.outbound:
            time.sleep(0.005)
        return kept

    def _outgoing(self, patience: float) -> int:
        """Bytes on their way over connections that stand, and that moved within so many seconds."""
        oldest, kept = time.monotonic() - patience, 0
        for peer in tuple(self._peers.values()):
            since = peer.outbox.since
            if peer.connection is not None and since is not None and since >= oldest:
                kept += peer.outbox.kept
        return kept

    # ------------------------------------------------------------------ in the loop's thread

    async def _start(self) -> None:
        self._room.set()
        self._spawn(self._accept())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._thread.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _stop(self, reason: Reason | None) -> None:
        self._closing = True
        if self._listener is not None:
            self._listener.close()
        connections = [p.connection for p in self._peers.values() if p.connection is not None]
        await asyncio.gather(*(c.close(reason) for c in connections))
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _let_go(self, unheard: float, absent: float) -> None:
        now = time.monotonic()
        for peer in tuple(self._peers.values()):
            since, connection = peer.outbox.since, peer.connection
            is_absent = connection is None and now - peer.left > absent
            if is_absent or (since is not None and now - since > unheard):
                peer.is_over, peer.outbox = True, self._outbox(peer.name)
                peer.inbox.begin()
                if connection is not None:
                    connection.abort()

    async def _accept(self) -> None:
        listener, slots = self._listener, asyncio.Semaphore(self._limits.handshakes)
        if listener is None:
            return
        while True:
            await slots.acquire()
            try:
                taken, address = await self._thread.loop.sock_accept(listener)
            except OSError as error:
                slots.release()
                if self._closing:
                    return
                # Of one connection, or of a machine that is short of something for a while.
                if error.errno not in _OF_THE_MOMENT:
                    self._note("the port", channel_error(error))
                await asyncio.sleep(0.1)
                continue
            serving = self._spawn(self._serve(taken, f"{address[0]}:{address[1]}", slots))
            # Also where it is cancelled before it began.
            serving.add_done_callback(functools.partial(_close, taken))

    async def _serve(self, taken: socket.socket, where: str, slots: asyncio.Semaphore) -> None:
        connection, peer = None, None
        try:
            connection, name = await self._authenticated(taken)
            peer = await self._admitted(connection, name)
        except (OSError, EOFError, PeerError, ConfigurationError) as error:
            why = channel_error(error)
            self._note(where, why)
            if connection is not None:
                await connection.close(why.reason)
        finally:
            slots.release()
            if connection is not None and peer is None:
                connection.release()
        if connection is not None and peer is not None:
            await self._carry(connection, peer)

    async def _authenticated(self, taken: socket.socket) -> tuple[Connection, str]:
        """The handshake, and the enrolled client that the certificate names."""
        connection = await Connection.over(
            taken,
            # Made anew: the list of revoked certificates may have changed.
            self._credentials.server_context(),
            server_hostname=None,
            handshake=self._limits.handshake,
            silence=self._limits.heartbeat * SILENCES,
        )
        try:
            return connection, self._enrolled(connection.peer_certificate)
        except PeerError as error:
            try:
                await connection.close(error.reason)
            finally:
                connection.release()
            raise

    def _enrolled(self, certificate: bytes) -> str:
        """The client that a certificate names; raises `PeerError`."""
        try:
            named = CertifiedName.of(x509.load_der_x509_certificate(certificate))
        except ValueError:
            raise PeerError(Reason.CHANNEL_NAME, "a certificate that cannot be read") from None
        named.check_enrolled(self._directory)
        bucket = self._connects.setdefault(
            named.client_id, Bucket(self._limits.connects, self._limits.connects / 60)
        )
        if not bucket.take():
            detail = f"{named.client_id} connects too often"
            raise PeerError(Reason.CHANNEL_RATE, detail, (named.client_id,))
        return named.client_id

    async def _admitted(self, connection: Connection, name: str) -> _Peer:
        body = await first_frame(connection, Kind.HELLO, within=self._limits.handshake)
        hello: Hello = decode(Hello, body, limit=HELLO_LIMIT)
        if hello.version != VERSION:
            detail = f"{name} speaks version {hello.version} of the channel, not {VERSION}"
            raise PeerError(Reason.CHANNEL_VERSION, detail, (name,))
        if hello.role == Role.MEMBER.value and name not in self._committee:
            detail = f"{name} connects as a member, and the plan names no such member"
            raise PeerError(Reason.UNEXPECTED, detail, (name,))
        if self._closing:
            raise PeerError(Reason.CHANNEL_CLOSING, f"{name} came while the server ends", (name,))
        peer, resumed = self._session_of(name, hello)
        if peer.connection is not None:
            peer.connection.abort()  # the same process came back before its old connection ended
        peer.connection = connection
        peer.ready = asyncio.Event()
        welcome = Welcome(
            VERSION,
            self._run_id,
            int(resumed),
            peer.inbox.received,
            max(1, int(self._limits.heartbeat * 1000)),
            self._limits.window,
        )
        try:
            await connection.write(told(welcome))
        except BaseException:
            self._ended(peer, connection)
            raise
        return peer

    def _session_of(self, name: str, hello: Hello) -> tuple[_Peer, bool]:
        """The session that is resumed, or a new one."""
        peer = self._peers.get(name)
        if peer is not None and peer.session == hello.session and not peer.is_over:
            if peer.role.value != hello.role:
                detail = f"{name} was a {peer.role.value} in the session that it resumes"
                raise PeerError(Reason.UNEXPECTED, detail, (name,))
            peer.outbox.rewind(hello.received)
            peer.inbox.begin()
            return peer, True
        if peer is not None and peer.connection is not None:
            detail = f"{name} is connected from another process"
            raise PeerError(Reason.CHANNEL_BUSY, detail, (name,))
        if not self._begin(name, hello.session):
            raise PeerError(Reason.DUPLICATE, f"{name} begins a session that was", (name,))
        made = _Peer(
            name,
            Role(hello.role),
            hello.session,
            self._outbox(name),
            Inbox(limit=self._message_limit),
        )
        self._peers[name] = made
        self._events.put(Joined(name, hello.session))
        return made, False

    def _outbox(self, name: str) -> Outbox:
        return Outbox(window=self._limits.window, wake=lambda: self._wake(name))

    async def _carry(self, connection: Connection, peer: _Peer) -> None:
        rate = self._rates.setdefault(
            peer.name, Bucket(2 * self._limits.frames, self._limits.frames)
        )
        exchange = Exchange(
            connection,
            peer.outbox,
            peer.inbox,
            self._limits.heartbeat,
            lambda place, message: self._deliver(peer, place, message),
            lambda: peer.done,
            rate,
            peer.ready,
        )
        try:
            await exchange.run()
            if self._peers.get(peer.name) is peer and peer.connection is connection:
                del self._peers[peer.name]
                self._events.put(Left(peer.name, peer.session, may_return=False))
        except PeerError as error:
            blamed = error.blame(peer.name)
            self._note(peer.name, blamed)
            if self._peers.get(peer.name) is peer and peer.connection is connection:
                # Before anything is waited for: nobody takes the session up in the meantime.
                del self._peers[peer.name]
                self._events.put(Broke(peer.name, peer.session, blamed))
            await connection.close(error.reason)
        except (OSError, EOFError) as error:
            self._note(peer.name, channel_error(error))
            self._ended(peer, connection)
        finally:
            connection.release()
            if peer.connection is connection:
                peer.connection = None

    def _ended(self, peer: _Peer, connection: Connection) -> None:
        """Its client may come back, unless it has done so already."""
        if peer.connection is connection:
            peer.connection, peer.left = None, time.monotonic()
            self._events.put(Left(peer.name, peer.session, may_return=True))

    async def _deliver(self, peer: _Peer, place: int, message: bytes) -> None:
        self._held += len(message)
        if self._held > self._limits.inbound:
            self._room.clear()
        self._events.put(Arrived(peer.name, peer.session, place, message))
        await self._room.wait()

    def _dealt_with(self, arrived: Arrived) -> None:
        self._held -= len(arrived.message)
        if self._held <= self._limits.inbound:
            self._room.set()
        peer = self._peers.get(arrived.client)
        if peer is not None and peer.session == arrived.session:
            peer.done = max(peer.done, arrived.place)
            peer.ready.set()

    def _wake(self, name: str) -> None:
        """A message was put into an outbox, in any thread."""
        self._thread.soon(self._set_ready, name)

    def _set_ready(self, name: str) -> None:
        if peer := self._peers.get(name):
            peer.ready.set()


def _close(taken: socket.socket, _: object) -> None:
    taken.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(256)
            listener.setblocking(False)  # noqa: FBT003 - the library's signature
        except OSError:
            listener.close()
            raise
    except OSError as error:
        what = "is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise ConfigurationError(f"server.listen = {host}:{port} {what}: choose another") from None
    return listener
