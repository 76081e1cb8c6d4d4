"""A client of the channel, literally: SPEC.md in plain Python, one socket and no threads.

It shares no code with the package; the round, and what encodes its messages, is that of
`protocols/round/reference.py`. Slow on purpose. For checking implementations, never for protecting
data.
"""

import contextlib
import importlib.util
import socket
import ssl
from pathlib import Path
from typing import NamedTuple


def _by_path(name):
    path = Path(__file__).resolve().parents[1] / name / "reference.py"
    spec = importlib.util.spec_from_file_location(f"{name}_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


a_round = _by_path("round")

# SPEC 2: kinds and limits.
HELLO, WELCOME, MESSAGE, PIECE, ACK, PING, CLOSE = range(1, 8)
SMALL, PIECE_BYTES = 256, 1 << 16
LARGE = 1 + 8 + 4 + PIECE_BYTES

# SPEC 8: the reasons that a reader of frames gives.
REASONS = {"MALFORMED": 1, "NON_CANONICAL": 2, "OVERSIZED": 3, "UNEXPECTED": 4, "DUPLICATE": 6}


class Frame(NamedTuple):
    kind: int
    body: bytes


class Hello(NamedTuple):
    version: int
    role: str
    session: bytes
    received: int


class Welcome(NamedTuple):
    version: int
    run: bytes
    resumed: int
    received: int
    heartbeat: int
    window: int


class Refused(Exception):
    """What the other side sent is refused."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class Closed(Exception):
    """The other side's last word: a code, zero for the run's end."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def require(condition, reason):
    if not condition:
        raise Refused(reason)


# ------------------------------------------------------------------ SPEC 2: frames and messages


def frame(kind, body=b""):
    return (1 + len(body)).to_bytes(4, "big") + bytes([kind]) + body


def head(data, limit):
    """The kind of a frame, and the length of its body."""
    length, kind = int.from_bytes(data[:4], "big"), data[4]
    require(length >= 1 and HELLO <= kind <= CLOSE, "MALFORMED")
    require(length <= (limit if kind in (MESSAGE, PIECE) else SMALL), "OVERSIZED")
    return kind, length - 1


def number(value, bound):
    require(type(value) is int and 0 <= value < bound, "MALFORMED")
    return value


def sixteen(value):
    require(type(value) is bytes and len(value) == 16, "MALFORMED")
    return value


def _fields(body, tag, count):
    require(len(body) <= SMALL, "OVERSIZED")
    try:
        value = a_round.unpack(body)
    except a_round.secagg.Refused:
        raise Refused("MALFORMED") from None
    require(type(value) is list and len(value) == count + 1 and value[0] == tag, "MALFORMED")
    return value[1:]


def _canonical(message, body, encode):
    require(encode(message) == body, "NON_CANONICAL")
    return message


def encode_hello(hello):
    return _pack("hello", *hello)


def read_hello(body):
    version, role, session, received = _fields(body, "hello", 4)
    number(version, 1 << 16)
    require(role in ("client", "member"), "MALFORMED")
    sixteen(session)
    number(received, 1 << 63)
    return _canonical(Hello(version, role, session, received), body, encode_hello)


def encode_welcome(welcome):
    return _pack("welcome", *welcome)


def read_welcome(body):
    version, run, resumed, received, heartbeat, window = _fields(body, "welcome", 6)
    number(version, 1 << 16)
    sixteen(run)
    number(resumed, 2)
    number(received, 1 << 63)
    require(1 <= number(heartbeat, 1 << 32) <= 600_000, "MALFORMED")
    require(number(window, 1 << 32) >= 1, "MALFORMED")
    welcome = Welcome(version, run, resumed, received, heartbeat, window)
    return _canonical(welcome, body, encode_welcome)


def encode_close(code):
    return _pack("close", code)


def read_close(body):
    (code,) = _fields(body, "close", 1)
    return _canonical(number(code, 256), body, encode_close)


def _pack(tag, *fields):
    return a_round.pack([tag, *fields])


# ------------------------------------------------------------------ SPEC 4: messages


class Inbox:
    """SPEC 4.1: what comes, in order; `received` is the last message that is here in full."""

    def __init__(self, limit):
        self.limit, self.received = limit, 0
        self.reset()

    def reset(self):
        self.size, self.parts = None, b""

    def take(self, came):
        if came.kind == MESSAGE:
            require(self.size is None, "UNEXPECTED")
            require(len(came.body) >= 12, "MALFORMED")
            place, size = (int.from_bytes(came.body[a:b], "big") for a, b in ((0, 8), (8, 12)))
            require(place > self.received, "DUPLICATE")
            require(place == self.received + 1, "MALFORMED")
            require(1 <= size <= self.limit, "OVERSIZED")
            self.size, piece = size, came.body[12:]
        else:
            require(self.size is not None, "UNEXPECTED")
            require(came.body, "MALFORMED")
            piece = came.body
        require(len(self.parts) + len(piece) <= self.size, "OVERSIZED")
        self.parts += piece
        if len(self.parts) < self.size:
            return None
        whole, self.received = self.parts, self.received + 1
        self.reset()
        return whole


def frames_of(place, message):
    """The frames of one message."""
    first, rest = message[:PIECE_BYTES], message[PIECE_BYTES:]
    yield frame(MESSAGE, place.to_bytes(8, "big") + len(message).to_bytes(4, "big") + first)
    for start in range(0, len(rest), PIECE_BYTES):
        yield frame(PIECE, rest[start : start + PIECE_BYTES])


# ------------------------------------------------------------------ a client


class Channel:
    """One connection of a session that is begun here; SPEC 1 and 3."""

    def __init__(self, host, port, files, session, *, limit=1 << 31):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.load_verify_locations(files["authority"])
        context.load_verify_locations(files["revoked"])
        context.load_cert_chain(files["certificate"], files["key"])
        plain = socket.create_connection((host, port), timeout=10)
        self.socket = context.wrap_socket(plain, server_hostname=host)
        self.inbox, self.sent, self.acknowledged = Inbox(limit), 0, 0
        self.socket.sendall(frame(HELLO, encode_hello(Hello(1, "client", session, 0))))
        came = self.read(SMALL)
        require(came.kind == WELCOME, "UNEXPECTED")
        self.welcome = read_welcome(came.body)
        require(self.welcome.version == 1, "UNEXPECTED")
        self.socket.settimeout(self.welcome.heartbeat / 1000)

    def read(self, limit=LARGE):
        """The next frame; SPEC 5: a ping where there is none in time, three times at most."""
        data, missed = b"", 0
        while len(data) < 5 or len(data) < 5 + head(data, limit)[1]:
            wanted = 5 if len(data) < 5 else 5 + head(data, limit)[1]
            try:
                some = self.socket.recv(wanted - len(data))
            except TimeoutError:
                missed += 1
                if missed == 3:
                    raise
                self.socket.sendall(frame(PING))
                continue
            if not some:
                raise EOFError
            data += some
        came = Frame(data[4], data[5:])
        if came.kind == CLOSE:
            raise Closed(read_close(came.body))
        return came

    def receive(self):
        """The next message of the server."""
        while True:
            came = self.read()
            if came.kind in (MESSAGE, PIECE):
                whole = self.inbox.take(came)
                if whole is not None:
                    return whole
            elif came.kind == ACK:
                self.take_ack(came.body)
            else:
                require(came.kind == PING and came.body == b"", "UNEXPECTED")

    def take_ack(self, body):
        require(len(body) == 8, "MALFORMED")
        place = int.from_bytes(body, "big")
        require(place <= self.sent, "UNEXPECTED")
        self.acknowledged = max(self.acknowledged, place)

    def send(self, message):
        """SPEC 4.2, at its strictest: one message under way."""
        self.sent += 1
        for data in frames_of(self.sent, message):
            self.socket.sendall(data)

    def done(self):
        """Everything that was received was dealt with."""
        self.socket.sendall(frame(ACK, self.inbox.received.to_bytes(8, "big")))

    def close(self):
        """SPEC 6; the server may have ended first."""
        with contextlib.suppress(OSError):
            self.socket.sendall(frame(CLOSE, encode_close(0)))
        self.socket.close()


def take_part(channel, client, values, weight):
    """One attempt at a round, to the run's end or the client's: the messages that it sent.

    `client` is one of `protocols/round/reference.py`; it contributes once it has accepted a plan.
    """
    sent, contributed = [], False

    def carry_out(answer):
        for effect in answer.effects:
            if effect[0] in ("send", "chunk"):
                sent.append(effect[2])
                channel.send(effect[2])
        return any(effect[0] == "done" for effect in answer.effects) or answer.refusal

    while True:
        try:
            over = carry_out(client.receive(a_round.SERVER, channel.receive()))
        except Closed:
            return sent
        if client.plan is not None and not contributed:
            contributed = True
            over = over or carry_out(client.contribute(values, weight))
        channel.done()
        if over:
            return sent
