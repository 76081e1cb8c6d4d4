"""A client of the channel, literally: SPEC.md in plain Python, one socket and no threads.

It shares no code with the package; the round, and what encodes its messages, is that of
`protocols/round/reference.py`, a committee's member that of `protocols/oneshot/reference.py`. Slow
on purpose. For checking implementations, never for protecting data.
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


a_round, oneshot = _by_path("round"), _by_path("oneshot")

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


# ------------------------------------------------------------------ SPEC 7.2: a member

SUMMONS_LIMIT = a_round.DIRECTORY_LIMIT + (1 << 16)
Summons = a_round.message(
    "summons",
    "Summons",
    ("round_plan", a_round.RoundPlan),
    ("membership", a_round.secagg.Membership),
    ("directory", a_round.Octets(0, a_round.DIRECTORY_LIMIT)),
    ("ledger", a_round.Octets(0, a_round.HEAD_LIMIT)),
)
MemberEnvelope = a_round.message(
    "member-envelope",
    "MemberEnvelope",
    ("round_id", a_round.DIGEST),
    ("body", a_round.Octets(0, a_round.MAX_BODY)),
)
MemberRefusal = a_round.message(
    "member-refusal",
    "MemberRefusal",
    ("round_id", a_round.DIGEST),
    ("reason", a_round.Integer(1, 256)),
)


def sum_plan(plan):
    """What one-shot aggregation is given of a round's plan [O 3.1]."""
    rules, pipeline = plan.plan.aggregation, a_round.Pipeline(plan)
    given = rules.committee
    committee = oneshot.CommitteePlan(
        plan.committee_root,
        a_round.members_of(given),
        plan.threshold,
        given.corrupt,
        tuple(given.members),
    )
    return oneshot.Plan(
        round_id=a_round.round_id(plan),
        broadcast=plan.broadcast,
        cohort_size=plan.cohort_size,
        cohort_root=plan.cohort_root,
        corrupt=rules.corrupt,
        min_clients=rules.min_clients,
        length=pipeline.total_length,
        client_bound=pipeline.client_bound,
        committee=committee,
    )


class Member(a_round.Client):
    """A member of a committee in one attempt at a round [O 9]; `rand` is as in [O 6]."""

    envelope, refusal = MemberEnvelope, MemberRefusal

    def __init__(self, entry, *, store, rand):
        super().__init__(entry, store=store, rand=rand, encoding=(), noise=())

    def _accept(self, data):
        summons = a_round.decode(data, SUMMONS_LIMIT, Summons)
        plan, place = summons.round_plan, summons.membership
        self.round_id = a_round.round_id(plan)
        with contextlib.suppress(a_round.NotHere):
            a_round.check_round_plan(plan)
        a_round.require(plan.plan.aggregation.protocol == "oneshot", "PLAN")
        agreed = sum_plan(plan)
        a_round.require(agreed.parameters is not None, "PLAN")
        named = place.client_id == self.client_id
        root, size = agreed.committee.root, agreed.committee.size
        a_round.require(named and oneshot.is_member(root, size, place), "COHORT_PROOF")
        head = self._check_ledger(plan, summons.ledger)
        directory = self._check_directory(plan, summons.directory)
        apart = head is None or head.operator not in directory.values()
        a_round.require(apart, "COMMITTEE")
        a_round.check_policy(self.policy, plan)
        self.store.begin(plan.run_id, plan.round, plan.attempt, a_round.terms(plan))
        if head:
            self.store.keep_head(head)
        self.plan = plan
        self.party = oneshot.Member(
            agreed,
            place,
            identity_seed=self.identity_seed,
            directory=directory,
            floor=self.policy["aggregation"]["min_clients"],
            rand=self.rand,
        )
        self._carry_out(self.party.start())

    def _pass_on(self, data):
        told = a_round.decode(data, a_round.ENVELOPE_LIMIT, MemberEnvelope)
        a_round.require(told.round_id == self.round_id, "WRONG_ROUND")
        try:
            self._carry_out(self.party.receive(a_round.SERVER, told.body))
        except oneshot.Refused as refusal:
            raise a_round.Refused(refusal.reason) from None


# ------------------------------------------------------------------ a client


class Channel:
    """One connection of a session that is begun here; SPEC 1 and 3."""

    def __init__(self, host, port, files, session, *, limit=1 << 31, role="client"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.load_verify_locations(files["authority"])
        context.load_verify_locations(files["revoked"])
        context.load_cert_chain(files["certificate"], files["key"])
        plain = socket.create_connection((host, port), timeout=10)
        self.socket = context.wrap_socket(plain, server_hostname=host)
        self.inbox, self.sent, self.acknowledged = Inbox(limit), 0, 0
        self.socket.sendall(frame(HELLO, encode_hello(Hello(1, role, session, 0))))
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
    Or it is a `Member`, which has no values.
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
        if client.plan is not None and values is not None and not contributed:
            contributed = True
            over = over or carry_out(client.contribute(values, weight))
        channel.done()
        if over:
            return sent
