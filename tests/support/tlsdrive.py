"""Rounds over TLS on loopback: certificates of a house's parties, a hub, and parties in threads."""

import contextlib
import os
import random
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fedprivacy.crypto import (
    CertificateAuthority,
    CertificateRequest,
    CertifiedName,
    Directory,
    SigningKey,
    fingerprint,
    new_tls_key,
    revocation_list,
    tls_key_pem,
    write_secret,
)
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.transport.tls.attempt import TlsAttempt, Waits
from fedprivacy.transport.tls.credentials import Credentials
from fedprivacy.transport.tls.frames import Hello, Kind, Role, closed_for, told
from fedprivacy.transport.tls.hub import Hub, HubLimits
from fedprivacy.transport.tls.link import Link, LinkLimits
from fedprivacy.transport.tls.participant import Participant
from fedprivacy.transport.tls.sizes import longest_message
from rounddrive import RUN_ID, Consortium, Forgetful

HOST = "127.0.0.1"
LIMITS = HubLimits(handshake=3.0, heartbeat=0.25, connects=1000.0)
LINK = LinkLimits(handshake=3.0, patience=60.0, pause=0.02)
WAITS = Waits(phase=6.0, training=6.0, reconnect=3.0)


def house(clients=5, folder=None, **named):
    """A consortium whose stores serve clients in threads of their own: files, or nothing kept."""

    def stored(name):
        if folder is None:
            return Forgetful()
        return ClientStore(folder / f"{name}.db", anchor=folder / "anchors" / f"{name}.json")

    return Consortium(clients, store_at=stored, **named)


@dataclass
class Certificates:
    """An authority's folder, and what it issues; serials by client."""

    folder: Path
    seed: int = 1
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    serials: dict = field(default_factory=dict)

    def __post_init__(self):
        self.folder.mkdir(exist_ok=True)
        self.rng = InsecureTestRng(self.seed)
        self.authority = CertificateAuthority.new(
            "toy", now=self.now, days=30, rng=self.rng.child("ca")
        )
        (self.folder / "ca.crt").write_bytes(self.authority.pem.certificate)
        self.revoke()
        self.server("server", HOST)

    def revoke(self, *serials, days=30, now=None):
        crl = revocation_list(self.authority, serials, None, now=now or self.now, days=days)
        (self.folder / "ca.crl").write_bytes(crl)

    def server(self, name, *hosts, now=None, days=30):
        made = self.authority.server(
            hosts, now=now or self.now, days=days, rng=self.rng.child(f"server/{name}")
        )
        return self._kept(name, made.certificate, made.key)

    def client(self, identity, *, name=None, now=None, days=30, directory=None):
        """Files for a client; asked for as a client asks where a directory is given."""
        key = new_tls_key(rng=self.rng.child(f"client/{identity.client_id}/{name}"))
        named = CertifiedName(identity.client_id, fingerprint(identity.key.public))
        if directory is not None:
            named = CertificateRequest.parse(CertificateRequest.of(identity, key), directory).name
        certificate = self.authority.client(
            named,
            key.public_key(),
            now=now or self.now,
            days=days,
            rng=self.rng.child(f"issued/{identity.client_id}/{name}"),
        )
        return self._kept(name or identity.client_id, certificate, tls_key_pem(key))

    def _kept(self, name, certificate, key):
        files = self.of(name)
        files.certificate.write_bytes(certificate)
        write_secret(files.key, key)
        return files

    def of(self, name):
        folder = self.folder
        return Credentials(
            folder / "ca.crt", folder / "ca.crl", folder / f"{name}.crt", folder / f"{name}.key"
        )


@dataclass
class Network:
    """A consortium over TLS: `hub` is up, clients and a named committee come with `join`."""

    house: object
    folder: Path
    limits: HubLimits = LIMITS
    link_limits: LinkLimits = LINK
    waits: Waits = WAITS
    run_id: bytes = RUN_ID
    certificates: Certificates | None = None
    """Of another network of the same parties, to spare the making of them."""
    group_key: object = None
    """The clients' part of a key ceremony."""
    refused: list = field(default_factory=list)
    """What the hub noted: from where, and the reason."""
    sessions: set = field(default_factory=set)
    joined: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.certificates is None:
            self.certificates = Certificates(self.folder / "certs")
            for identity in self.house.identities.values():
                self.certificates.client(identity)
        self.directory = self.house.directory or Directory.sign(
            1,
            [(n, i.key.public) for n, i in self.house.identities.items()],
            SigningKey.from_seed(bytes(32)),
        )
        self.hub = Hub(
            self.certificates.of("server"),
            self.directory,
            self.run_id,
            limits=self.limits,
            committee=self.house.plan.aggregation.committee.members,
            begin=self._begin,
            note=lambda where, error: self.refused.append((where, error)),
        )
        self.hub.allow(
            longest_message(
                self.house.plan, clients=len(self.house.names), length=self.house.length
            )
        )
        self.port = self.hub.start(HOST, 0)

    def _begin(self, _name, session):
        fresh = session not in self.sessions
        self.sessions.add(session)
        return fresh

    def trains(self, name):
        """Whether it is a client, and not a member of the committee alone."""
        return name in self.house.names

    def link(self, name, port=None, *, files=None, host=HOST, seed=0, role=None):
        return Link(
            files or self.certificates.of(name),
            host,
            port or self.port,
            limits=self.link_limits,
            rng=InsecureTestRng(f"link/{name}/{seed}".encode()),
            role=role or (Role.CLIENT if self.trains(name) else Role.MEMBER),
        )

    def join(self, *names, port=None, wait=True, seed=0, policy=None):
        """`seed` makes another process of a party that was there before."""
        for name in names or self.house.identities:
            link = self.link(name, port, seed=seed)
            link.start()
            participant = Participant(
                link,
                policy or self.house.policy,
                self.house.identities[name],
                self.house.stores[name],
                (lambda _, name=name: self.house.update(name)) if self.trains(name) else None,
                self.house.rng.child(f"participant/{name}/{seed}"),
                group_key=self.group_key,
            )
            thread = threading.Thread(target=participant.run, daemon=True)
            thread.start()
            self.joined[name] = participant, thread
        if wait:
            self.wait_for(set(names or self.house.identities))

    def wait_for(self, names, seconds=10.0):
        pending = set(names)
        until = time.monotonic() + seconds
        while not pending <= self.hub.connected:
            assert time.monotonic() < until, (pending - self.hub.connected, self.refused[-6:])
            time.sleep(0.01)

    def attempt(self, number=1, attempt=1, **hooks):
        return TlsAttempt(self.hub, self.house.server(number, attempt), self.waits, **hooks)

    def round(self, number=1, attempt=1, members=None, **hooks):
        return self.attempt(number, attempt, **hooks).run(members or self.house.identities)

    def close(self):
        self.hub.stop(None, flush=0.2)
        for participant, thread in self.joined.values():
            participant.link.close(flush=0.0)
            thread.join(5.0)
            assert not thread.is_alive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self.house.close()


class Raw:
    """A peer of the standard library's, which says what it likes."""

    def __init__(self, network, files=None, *, context=None):
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(network.certificates.of("c000").authority)
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        plain = socket.create_connection((HOST, network.port), timeout=5.0)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=HOST)
        except BaseException:
            plain.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read(self, count):
        data = b""
        while len(data) < count:
            some = self.socket.recv(count - len(data))
            if not some:
                raise EOFError
            data += some
        return data

    def frame(self):
        head = self.read(5)
        return Kind(head[4]), self.read(int.from_bytes(head[:4], "big") - 1)

    def closed(self):
        """The reason of the server's last word; other frames are skipped."""
        while True:
            kind, body = self.frame()
            if kind is Kind.CLOSE:
                return closed_for(body)

    def hello(self, session=b"s" * 16, *, version=1, role="client", received=0):
        self.send(told(Hello(version, role, session, received)))


def wait_until(holds, seconds=5.0):
    """Give other threads time until it holds; whether it then does, the caller asks."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)


def free_port():
    """A port for a server that is started later, twice perhaps.

    Of those that the system gives to no connection of its own accord: one of another test could
    have it by then.
    """
    draw = random.Random(os.urandom(16))
    while True:
        port = draw.randrange(12_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
