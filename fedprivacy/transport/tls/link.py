"""A client's end: one connection to the server, made anew as often as it breaks.

The event loop has a thread of its own, so that heartbeats go on while the client trains.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fedprivacy.errors import ConfigurationError, FedPrivacyError, PeerError, Reason
from fedprivacy.randomness import Rng
from fedprivacy.transport.tls.connection import SILENCES, Connection, Exchange, first_frame
from fedprivacy.transport.tls.credentials import Credentials
from fedprivacy.transport.tls.faults import channel_error
from fedprivacy.transport.tls.frames import HELLO_LIMIT, VERSION, Hello, Kind, Role, Welcome, told
from fedprivacy.transport.tls.loops import LoopThread
from fedprivacy.transport.tls.rates import Bucket
from fedprivacy.transport.tls.session import Inbox, Outbox
from fedprivacy.wire import decode

__all__ = ["Came", "Ended", "Link", "LinkEvent", "LinkLimits", "Restarted"]


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Times in seconds, sizes in bytes."""

    handshake: float = 10.0
    patience: float = 60.0
    """Without a connection, before this client gives up."""
    message: int = 1 << 32
    """Of the server's longest message: an invitation with a model."""
    pause: float = 0.1
    """Before the first new attempt to connect; each further one waits twice as long, up to 2."""


@dataclass(frozen=True, slots=True)
class Came:
    """A message of the server; call `Link.done` once it is dealt with."""

    session: bytes
    place: int
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Restarted:
    """The server knows nothing of the session: what was under way is lost."""


@dataclass(frozen=True, slots=True)
class Ended:
    """There will be no further connection: the run is over, or why not."""

    error: FedPrivacyError | None


LinkEvent = Came | Restarted | Ended

_PASSING = frozenset(
    {
        Reason.CHANNEL_CUT,
        Reason.CHANNEL_SILENT,
        Reason.CHANNEL_DAMAGED,
        Reason.CHANNEL_BUSY,
        Reason.CHANNEL_RATE,
        Reason.DUPLICATE,
    }
)
_TRIES = 3
"""How often in a row a handshake may fail where no certificate is at fault."""


class Link:
    """Connects until the server says that the run is over, or patience ends.

    `note` hears, in the loop's thread, of each connection that is made (None) or lost.
    """

    def __init__(
        self,
        credentials: Credentials,
        host: str,
        port: int,
        *,
        limits: LinkLimits,
        rng: Rng,
        role: Role = Role.CLIENT,
        note: Callable[[PeerError | None], None] = lambda _error: None,
    ) -> None:
        self._role = role
        self._credentials = credentials
        self._host, self._port = host, port
        self._limits = limits
        self._rng = rng.child("session")
        self._note = note
        self._thread = LoopThread("fedprivacy-link")
        self._events: queue.SimpleQueue[LinkEvent | None] = queue.SimpleQueue()
        self._ready = asyncio.Event()
        self._known = threading.Event()
        """Set once the server is known, or nothing more comes."""
        self._run_id = b""
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._refused = 0
        self._done = 0
        self._new_session()

    # ------------------------------------------------------------------ from the client's thread

    @property
    def session(self) -> bytes:
        """The present session's id."""
        return self._session

    def start(self) -> None:
        """Begin to connect; raises `ConfigurationError` for files that will not do."""
        self._credentials.client_context()
        self._thread.start()
        self._thread.soon(self._begin)

    def connect(self) -> bool:
        """Wait for the first connection; whether there was one. Otherwise `next` says why."""
        self._known.wait()
        return bool(self._run_id)

    def next(self, timeout: float | None = None) -> LinkEvent | None:
        """What happened next; None if nothing does for so many seconds, or after `wake`."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Have `next` return, in whichever thread it waits."""
        self._events.put(None)

    def send(self, session: bytes, message: bytes) -> None:
        """Have a message delivered, once, as long as this session lasts.

        Waits while a window of what came before is not yet dealt with at the server.
        """
        outbox = self._outbox
        if not self._is_present(session):
            return
        outbox.put(message)
        while self._is_present(session) and not outbox.wait(0.2):
            pass

    def _is_present(self, session: bytes) -> bool:
        return session == self._session and self._thread.is_alive

    def done(self, came: Came) -> None:
        """A message was dealt with."""
        if came.session == self._session:
            self._done = max(self._done, came.place)
            self._wake()

    def close(self, *, flush: float = 2.0) -> None:
        """Leave: once what is on its way has left, or so long has passed."""
        until = time.monotonic() + flush
        while self._connection is not None and self._outbox.kept and time.monotonic() < until:
            time.sleep(0.01)
        self._thread.soon(self._leave)
        self._thread.join()

    # ------------------------------------------------------------------ in the loop's thread

    def _begin(self) -> None:
        self._task = self._thread.loop.create_task(self._keep_connected())
        self._task.add_done_callback(lambda _: self._thread.stop())

    def _leave(self) -> None:
        self._leaving = self._thread.loop.create_task(self._goodbye())

    async def _goodbye(self) -> None:
        if self._connection is not None:
            await self._connection.close(None)
        if self._task is not None:
            self._task.cancel()

    def _new_session(self) -> None:
        self._session = self._rng.bytes(16)
        self._outbox = Outbox(window=1 << 20, wake=self._wake)
        self._inbox = Inbox(limit=self._limits.message)
        self._done = 0
        self._fresh = True

    def _wake(self) -> None:
        self._thread.soon(self._set_ready)

    def _set_ready(self) -> None:
        self._ready.set()

    async def _keep_connected(self) -> None:
        ended = Ended(PeerError(Reason.CHANNEL_CUT, "this side's end of the connection failed"))
        try:
            ended = Ended(await self._until_the_end())
        except asyncio.CancelledError:
            ended = Ended(None)
        finally:
            self._events.put(ended)
            self._known.set()

    async def _until_the_end(self) -> FedPrivacyError | None:
        until, pause = time.monotonic() + self._limits.patience, self._limits.pause
        while True:
            own: ConfigurationError | None = None
            try:
                reason = await self._once()
                if reason is None:
                    return None
                error = PeerError(reason, "the server closed the connection")
            except (OSError, EOFError, PeerError) as raised:
                error = channel_error(raised)
            except ConfigurationError as raised:
                # Files that somebody may be replacing just now.
                own, error = raised, channel_error(raised)
            if self._connection is not None:
                until, pause = time.monotonic() + self._limits.patience, self._limits.pause
                self._connection = None
            self._note(error)
            if error.reason is Reason.DUPLICATE:
                # The server was started anew, or has given this session up.
                self._new_session()
                self._events.put(Restarted())
            if (own is None and self._is_final(error)) or time.monotonic() >= until:
                return own or error
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)

    def _is_final(self, error: PeerError) -> bool:
        """Whether there is no use in connecting again."""
        if error.reason in (Reason.CHANNEL_PLAINTEXT, Reason.CHANNEL_TLS_VERSION):
            # Before anything is authenticated, whoever is on the way could have said so.
            self._refused += 1
            return self._refused >= _TRIES
        return error.reason not in _PASSING

    async def _once(self) -> Reason | None:
        """One connection, from its first byte to its last."""
        connection = await self._connected()
        try:
            await connection.write(
                told(Hello(VERSION, self._role.value, self._session, self._inbox.received))
            )
            body = await first_frame(connection, Kind.WELCOME, within=self._limits.handshake)
            welcome: Welcome = decode(Welcome, body, limit=HELLO_LIMIT)
            self._take_up(welcome)
            connection.silence = welcome.heartbeat / 1000 * SILENCES
            self._connection, self._refused = connection, 0
            self._known.set()
            self._note(None)
            return await self._exchange(connection, welcome.heartbeat / 1000).run()
        except PeerError as error:
            await connection.close(error.reason)
            raise
        finally:
            connection.release()

    async def _connected(self) -> Connection:
        loop, context = asyncio.get_running_loop(), self._credentials.client_context()
        async with asyncio.timeout(self._limits.handshake):
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            taken = socket.socket(family, kind, protocol)
            try:
                taken.setblocking(False)  # noqa: FBT003 - the library's signature
                await loop.sock_connect(taken, address)
            except BaseException:
                taken.close()
                raise
        return await Connection.over(
            taken,
            context,
            server_hostname=self._host,
            handshake=self._limits.handshake,
            silence=self._limits.handshake,
        )

    def _take_up(self, welcome: Welcome) -> None:
        """Go on with the session; where the server has lost it, raises `PeerError`."""
        if welcome.version != VERSION:
            detail = f"the server speaks version {welcome.version} of the channel"
            raise PeerError(Reason.CHANNEL_VERSION, detail)
        known = self._fresh or (welcome.resumed and welcome.run == self._run_id)
        self._run_id = welcome.run
        if not known:
            raise PeerError(Reason.DUPLICATE, "the server knows nothing of the session")
        self._fresh = False
        self._outbox.rewind(welcome.received)
        self._outbox.window = welcome.window
        self._inbox.begin()

    def _exchange(self, connection: Connection, heartbeat: float) -> Exchange:
        session = self._session
        self._ready = asyncio.Event()

        async def deliver(place: int, message: bytes) -> None:
            self._events.put(Came(session, place, message))

        return Exchange(
            connection,
            self._outbox,
            self._inbox,
            heartbeat,
            deliver,
            lambda: self._done,
            Bucket(1 << 20, 1 << 20),
            self._ready,
        )
