"""A proxy that speaks TLS to both ends, and writes down every message that passes, and when.

It shares no code with the package: frames are read as `protocols/transport/SPEC.md` says. The test
that sets it up has the authority's key, and so a server's certificate for it and each client's own.
"""

import contextlib
import select
import socket
import ssl
import threading
from dataclasses import dataclass, field

import msgspec

HOST = "127.0.0.1"
HELLO, WELCOME, MESSAGE, PIECE = 1, 2, 3, 4
UP, DOWN = "up", "down"


@dataclass(frozen=True)
class Passed:
    """One message: whose channel it was on, which way it went, and past which server's process."""

    client: str
    way: str
    server: int
    tag: str
    """Of the protocol's message, where it is in an envelope."""
    round_id: bytes = b""
    fields: tuple = ()


@dataclass
class Wiretap:
    """Between these clients and the server on `port`; `files` are each client's own.

    `listen` hears of each message before it is passed on.
    """

    names: tuple
    port: int
    own: object
    """Certificate and key with which it is taken for the server."""
    files: dict
    listen: object = lambda passed: None
    passed: list = field(default_factory=list)
    server: int = 1
    """Which of the server's processes is up."""

    def __post_init__(self):
        self._over = False
        self._lock = threading.Lock()
        self._kept = {}
        self._threads = []
        self._listeners = {name: socket.create_server((HOST, 0)) for name in self.names}
        for name in self.names:
            self._start(self._accept, name)

    def port_of(self, name):
        return self._listeners[name].getsockname()[1]

    def close(self):
        self._over = True
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in list(self._threads):
            thread.join(10.0)
            assert not thread.is_alive()

    def _start(self, act, *arguments):
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, name):
        while not self._over:
            try:
                taken, _ = self._listeners[name].accept()
            except OSError:
                return
            self._start(self._carry, name, taken)

    def _carry(self, name, taken):
        ends = [taken]
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(lambda: [end.close() for end in ends])
            taken.settimeout(60.0)
            plain = socket.create_connection((HOST, self.port), timeout=60.0)
            ends.append(plain)
            to_server = self._context(ssl.PROTOCOL_TLS_CLIENT, self.files[name])
            server = to_server.wrap_socket(plain, server_hostname=HOST)
            ends.append(server)
            as_server = self._context(ssl.PROTOCOL_TLS_SERVER, self.own)
            client = as_server.wrap_socket(taken, server_side=True)
            ends.append(client)
            self._pump(name, client, server)

    @staticmethod
    def _context(protocol, files):
        context = ssl.SSLContext(protocol)
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authority)
        return context

    def _pump(self, name, client, server):
        """Both ways in one thread: an end's TLS is not to be used by two."""
        ways = {client: (UP, server, bytearray()), server: (DOWN, client, bytearray())}
        reader = _Reader()
        while not self._over:
            pending = [end for end in ways if end.pending()]
            for end in pending or select.select(list(ways), [], [], 0.2)[0]:
                way, other, held = ways[end]
                data = end.recv(1 << 16)
                if not data:
                    return
                held += data
                while (frame := _cut(held)) is not None:
                    for session, place, message in reader.take(way, frame):
                        self._note(name, way, (name, session, way, place), message)
                    other.sendall(frame)

    def _note(self, name, way, key, message):
        """Once, though it may be sent again over another connection; it is then the same."""
        passed = _read(name, way, self.server, message)
        with self._lock:
            if key in self._kept:
                assert self._kept[key] == message
                return
            self._kept[key] = message
            self.passed.append(passed)
        self.listen(passed)


def _cut(held):
    """The next whole frame, taken out."""
    size = 4 + int.from_bytes(held[:4], "big")
    if len(held) < 4 or len(held) < size:
        return None
    frame = bytes(held[:size])
    del held[:size]
    return frame


class _Reader:
    """The messages in the frames of one connection."""

    def __init__(self):
        self.session = b""
        self.parts = {}

    def take(self, way, frame):
        kind, body = frame[4], frame[5:]
        if kind == HELLO and way == UP:
            self.session = msgspec.msgpack.decode(body)[3]
        elif kind == MESSAGE:
            place, size = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:12], "big")
            self.parts[way] = place, size, body[12:]
        elif kind == PIECE:
            place, size, before = self.parts[way]
            self.parts[way] = place, size, before + body
        if way in self.parts:
            place, size, data = self.parts[way]
            if len(data) == size:
                del self.parts[way]
                yield self.session, place, data


_unpack = msgspec.msgpack.decode


def _read(name, way, server, message):
    tag, *fields = _unpack(message)
    if tag != "envelope":
        return Passed(name, way, server, tag, fields=tuple(fields))
    inner, *more = _unpack(fields[1])
    return Passed(name, way, server, inner, fields[0], tuple(more))
