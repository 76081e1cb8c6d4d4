"""A proxy between clients and a server that does to their bytes what networks do.

Each client has a port of its own. A fault is armed for one client and direction, and hits the next
bytes that pass there; all but `KILL` are over with the connection that they hit.
"""

import contextlib
import enum
import random
import socket
import threading
import time
from dataclasses import dataclass, field

HOST = "127.0.0.1"


class Fault(enum.Enum):
    """What happens to the bytes."""

    DELAY = "delay"
    CUT = "cut in mid-frame"
    FLIP = "flip a bit"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    HALF_OPEN = "half-open"
    SLOW = "slow-loris"
    KILL = "kill"


UP, DOWN = "up", "down"
TRANSIENT = tuple(fault for fault in Fault if fault is not Fault.KILL)


@dataclass(eq=False)
class _Pair:
    """One connection through the proxy."""

    client: socket.socket
    server: socket.socket
    swallows: bool = False
    slow: bool = False

    def close(self):
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class FaultProxy:
    """Between these clients and the server on `port`."""

    names: tuple
    port: int
    seed: int = 0
    hits: list = field(default_factory=list)
    """What hit whom: client, direction, fault."""

    def __post_init__(self):
        self._draw = random.Random(self.seed)
        self._armed = {}
        self._dead = set()
        self._pairs = []
        self._threads = []
        self._lock = threading.Lock()
        self._over = False
        self._listeners = {name: socket.create_server((HOST, 0)) for name in self.names}
        for name in self.names:
            self._start(self._accept, name)

    def port_of(self, name):
        return self._listeners[name].getsockname()[1]

    def arm(self, name, direction, fault):
        with self._lock:
            self._armed[name, direction] = fault

    def close(self):
        self._over = True
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for pair in list(self._pairs):
            pair.close()
        for thread in list(self._threads):
            thread.join(5.0)
            assert not thread.is_alive()
        for pair in self._pairs:
            pair.client.close()
            pair.server.close()

    def _start(self, act, *arguments):
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, name):
        while not self._over:
            try:
                client, _ = self._listeners[name].accept()
            except OSError:
                return
            if name in self._dead or self._over:
                client.close()
                continue
            try:
                server = socket.create_connection((HOST, self.port), timeout=5.0)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server)
            self._pairs.append(pair)
            self._start(self._pump, name, pair, UP)
            self._start(self._pump, name, pair, DOWN)

    def _pump(self, name, pair, direction):
        ends = (pair.client, pair.server) if direction == UP else (pair.server, pair.client)
        source, sink = ends
        with contextlib.suppress(OSError):
            while data := source.recv(2048):
                with self._lock:
                    fault = self._armed.pop((name, direction), None)
                if fault is not None:
                    self.hits.append((name, direction, fault))
                    data = self._struck(name, pair, sink, fault, data)
                if data and not pair.swallows:
                    self._forward(pair, sink, data)
        if not pair.swallows:
            pair.close()

    def _forward(self, pair, sink, data):
        if not pair.slow:
            sink.sendall(data)
            return
        for byte in data:
            if self._over:
                return
            sink.sendall(bytes((byte,)))
            time.sleep(0.2)

    def _struck(self, name, pair, sink, fault, data):
        """What is left to be forwarded."""
        at = self._draw.randrange(len(data))
        match fault:
            case Fault.DELAY:
                time.sleep(0.05 + 0.2 * self._draw.random())
            case Fault.CUT:
                sink.sendall(data[:at])
                pair.close()
                return b""
            case Fault.FLIP:
                flipped = data[at] ^ (1 << self._draw.randrange(8))
                return data[:at] + bytes((flipped,)) + data[at + 1 :]
            case Fault.DUPLICATE:
                return data + data
            case Fault.REORDER:
                return data[at:] + data[:at]
            case Fault.HALF_OPEN:
                pair.swallows = True
            case Fault.SLOW:
                pair.slow = True
            case Fault.KILL:
                self._dead.add(name)
                pair.close()
                return b""
        return data
