"""Lies on the channel, told to a hub, or to a run, over real TLS.

Told honestly, the same script is welcomed, or completes; told as a lie it is refused with its
reason. `won` says that the liar got what the lie was for.
"""

import dataclasses
import functools
import ssl
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fedprivacy.crypto import Identity
from fedprivacy.errors import Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.transport.tls.frames import FRAME_LIMIT, Kind, closing, first_piece, frame
from fedprivacy.transport.tls.hub import Arrived
from fedprivacy.transport.tls.journal import Journal, Step
from fedprivacy.transport.tls.run import NetworkedRun
from rounddrive import RUN_ID, make_plan
from tls_server import Silent, Toy
from tlsdrive import LIMITS, Certificates, Network, Raw, Waits, house, wait_until

__all__ = ["CHANNEL_LIES", "ChannelLie", "Ended"]

CLIENT, MEMBER = "c000", "m-one"
SESSION = b"s" * 16
# Generous: a busy machine must not look like a client that is lost.
CALM = dataclasses.replace(LIMITS, handshake=20.0, heartbeat=5.0)
WAITS = Waits(30.0, 30.0, 10.0)


@dataclass(frozen=True)
class Ended:
    """Whether the liar got it, and else the reason of the refusal."""

    won: bool
    reason: Reason | None = None


@dataclass(frozen=True)
class ChannelLie:
    """What the liar does stands in the script's docstring."""

    name: str
    reason: Reason | None
    script: Callable

    def tell(self):
        return self.script(honest=False)

    def twin(self):
        return self.script(honest=True)


CHANNEL_LIES = {}


def lie(reason):
    """Enter a function under its name; None: nobody is refused, the liar only gets nothing."""

    def register(script):
        name = script.__name__.replace("_", "-")
        CHANNEL_LIES[name] = ChannelLie(name, reason, script)
        return script

    return register


@functools.cache
def _root():
    """Where all folders of this process are; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="fedprivacy-test-")


def _folder():
    return Path(tempfile.mkdtemp(dir=_root().name))


@functools.cache
def _certificates():
    issued = Certificates(_folder() / "certs")
    for identity in (house(4).identities | with_committee().identities).values():
        issued.client(identity)
    return issued


def with_committee():
    """Three clients, and three members of whom the plan speaks by name."""
    named = f'members = ["{MEMBER}", "m-two", "m-three"]\ncorrupt = 0'
    return house(plan=make_plan(protocol="oneshot", min_clients=3, committee=named), clients=3)


def up(parties=None, **named):
    """A network of some parties, three clients unless told, none of whom is there yet."""
    named = {"certificates": _certificates(), "limits": CALM} | named
    return Network(parties or house(3), _folder(), waits=WAITS, **named)


def greeted(network, files, session=SESSION, *, role="client", keep=None, context=None):
    """How a connection with these files, for this session and in this role, ends."""
    try:
        peer = Raw(network, files, context=context)
    except (OSError, ssl.SSLError):
        return Ended(won=False, reason=noted(network))
    try:
        peer.hello(session, role=role)
        kind, _ = peer.frame()
        if kind is Kind.WELCOME:
            return Ended(won=True)
    except (OSError, EOFError):
        pass
    finally:
        if keep is None:
            peer.socket.close()
        else:
            keep.append(peer.socket)
    return Ended(won=False, reason=noted(network))


def noted(network):
    """The reason that the server noted last, once it has."""
    wait_until(lambda: network.refused)
    return network.refused[-1][1].reason if network.refused else None


# ---------------------------------------------------------------------- who is let in


@lie(Reason.CHANNEL_IDENTITY)
def a_name_with_another_identitys_key(honest):
    """A good certificate for an enrolled name, bound to an identity that was not enrolled."""
    with up() as network:
        other = Identity.new(CLIENT, rng=InsecureTestRng(9))
        files = network.certificates.of(CLIENT)
        if not honest:
            files = network.certificates.client(other, name="another-key")
        return greeted(network, files)


@lie(Reason.CHANNEL_IDENTITY)
def a_name_that_is_not_enrolled(honest):
    """A good certificate of the same authority, for a client that the directory does not have."""
    with up(house(3 + honest)) as network:
        return greeted(network, network.certificates.of("c003"))


@lie(Reason.CHANNEL_REVOKED)
def a_revoked_certificate(honest):
    """It was good until the authority put it on its list."""
    from cryptography import x509

    issued = Certificates(_folder() / "certs")
    files = issued.client(house(3).identities[CLIENT])
    with up(certificates=issued) as network:
        serial = x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number
        issued.revoke(*() if honest else (serial,))
        return greeted(network, files)


@lie(Reason.CHANNEL_TLS_VERSION)
def tls_one_version_back(honest):
    """The client, or whoever stands between, takes no TLS newer than 1.2."""
    with up() as network:
        files = network.certificates.of(CLIENT)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(files.authority)
        if not honest:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return greeted(network, files, context=context)


@lie(Reason.CHANNEL_BUSY)
def a_second_connection_of_one_identity(honest):
    """Another process with the same files comes while the first one is there."""
    with up() as network:
        files, kept = network.certificates.of(CLIENT), []
        if not honest:
            greeted(network, files, b"1" * 16, keep=kept)
        ended = greeted(network, files, b"2" * 16)
        for taken in kept:
            taken.close()
        return ended


@lie(Reason.CHANNEL_RATE)
def connections_without_end(honest):
    """A client connects again and again, at once."""
    limits = dataclasses.replace(CALM, connects=3.0)
    with up(limits=limits) as network:
        files = network.certificates.of(CLIENT)
        for _ in range(1 if honest else 3):
            with Raw(network, files) as peer:
                peer.hello(version=9)
                peer.closed()
        network.refused.clear()
        return greeted(network, files)


@lie(Reason.UNEXPECTED)
def a_client_that_says_it_is_a_member(honest):
    """A client of the run connects as one of those who open sums."""
    with up(with_committee()) as network:
        role = "client" if honest else "member"
        return greeted(network, network.certificates.of(CLIENT), role=role)


@lie(Reason.UNEXPECTED)
def a_session_that_changes_its_role(honest):
    """A member goes on with its session as a client, to be counted among those who train."""
    with up(with_committee()) as network:
        files = network.certificates.of(MEMBER)
        assert greeted(network, files, role="member").won
        return greeted(network, files, role="member" if honest else "client")


# ---------------------------------------------------------------------- what is taken once


@lie(Reason.DUPLICATE)
def a_session_that_has_ended(honest):
    """A session's id is used again once the session is over."""
    with up() as network:
        files = network.certificates.of(CLIENT)
        with Raw(network, files) as peer:
            peer.hello(SESSION)
            peer.frame()
            peer.send(closing(None))
            wait_until(lambda: CLIENT not in network.hub.sessions)
        return greeted(network, files, b"t" * 16 if honest else SESSION)


@lie(Reason.DUPLICATE)
def a_session_from_before_a_restart(honest):
    """A session's id is used again at a server that was started anew in the same folder."""
    folder = _folder()
    journal = Journal.open(folder)
    journal.write(Step("session", client=CLIENT, session=SESSION.hex()))
    journal.close()
    journal = Journal.open(folder)
    with up() as network:
        network.hub._begin = lambda _, session: session.hex() not in journal.past.sessions
        ended = greeted(network, network.certificates.of(CLIENT), b"t" * 16 if honest else SESSION)
    journal.close()
    return ended


@lie(Reason.DUPLICATE)
def a_message_once_more(honest):
    """The frames of a message are sent again, under the place that it had."""
    with up() as network, Raw(network, network.certificates.of(CLIENT)) as peer:
        peer.hello(SESSION)
        peer.frame()
        for place in (1, 2) if honest else (1, 1):
            peer.send(first_piece(place, memoryview(b"to be counted once")))
        events = [event for _ in range(3) if (event := network.hub.next(0.3))]
        arrived = [event.place for event in events if isinstance(event, Arrived)]
        twice = [place for place, times in Counter(arrived).items() if times > 1]
        if honest:
            return Ended(won=arrived == [1, 2])
        return Ended(won=bool(twice) or len(arrived) > 1, reason=noted(network))


# ---------------------------------------------------------------------- how much is held


def _held(network, head, size):
    """Whether the server holds more than a frame's bytes of what this head announces."""
    with Raw(network, network.certificates.of(CLIENT)) as peer:
        peer.hello(SESSION)
        peer.frame()
        peer.socket.settimeout(0.5)
        try:
            peer.send(head)
            peer.send(bytes(size))
            while True:
                peer.frame()
        except TimeoutError:
            return Ended(won=True)
        except (OSError, EOFError):
            return Ended(won=False, reason=noted(network))


@lie(Reason.OVERSIZED)
def a_frame_of_a_gigabyte(honest):
    """A frame's head announces a gigabyte; the server is to hold what comes of it."""
    with up() as network:
        head = bytes(7) + b"\x01" + (8).to_bytes(4, "big")
        if honest:
            return _held(network, frame(Kind.MESSAGE, head, bytes(8)), 0)
        return _held(network, (1 << 30).to_bytes(4, "big") + b"\x03", 2 * FRAME_LIMIT)


@lie(Reason.OVERSIZED)
def a_message_longer_than_the_plan_allows(honest):
    """A message announces more than any honest one of this plan has."""
    with up() as network:
        most = network.hub._message_limit
        head = bytes(7) + b"\x01" + (most + (not honest)).to_bytes(4, "big")
        return _held(network, frame(Kind.MESSAGE, head, bytes(8)), 0)


# ---------------------------------------------------------------------- rounds


@lie(Reason.LATE)
def an_input_of_who_missed_a_phase(honest):
    """A client deals no shares in time, and then sends an input all the same: one that it kept.

    With it in the sum, masks would stay that nobody can take off.
    """
    with up(house(4)) as network:
        network.join()
        kept, link = [], network.joined[CLIENT][0].link
        send, is_late = link.send, [False]

        def sending(session, message):
            if kept_back(message):
                return
            kept.append(message)
            send(session, message)

        def kept_back(message):
            return is_late[0] and kind_of(message) != "key-advertisement"

        link.send = sending
        network.house.assert_exact(network.round())
        if honest:
            network.house.assert_exact(network.round(2))
            return Ended(won=True)
        is_late[0] = True
        network.waits = Waits(2.0, 30.0, 10.0)

        def observe(meter):
            if meter.phase == "shares":
                for message in kept:
                    if kind_of(message) in ("masked-chunk", "masked-input"):
                        send(link.session, message)

        try:
            outcome = network.round(observe=observe)
        except (KeyError, ValueError):
            return Ended(won=True)  # the server fell over
        exact = outcome.aggregate is not None and is_exact(network.house, outcome)
        reason = outcome.excluded.get(CLIENT)
        return Ended(won=not exact, reason=reason and reason.reason)


def kind_of(message):
    kind, *fields = msgspec.msgpack.decode(message)
    return msgspec.msgpack.decode(fields[1])[0] if kind == "envelope" else kind


def is_exact(parties, outcome):
    return outcome.aggregate.sum.tolist() == parties.exact(outcome.survivors).tolist()


class Killed(BaseException):
    """The server's end, in the middle of a line."""


class Mortal(Journal):
    """Ends the server once it has noted that it is to unmask."""

    __slots__ = ()

    def write(self, step):
        super().write(step)
        if step.event == "unmasking":
            raise Killed


def _serve(folder, journal, rounds):
    """A run's rounds in this folder, with clients whose stores keep nothing."""
    with up(house(4)) as network:
        network.join()
        run = NetworkedRun(
            network.house.plan,
            Toy(),
            network.house.directory,
            network.hub,
            journal,
            RunFolder(folder),
            network.waits,
            rounds,
            InsecureTestRng(journal.past.rounds),
            Silent(),
        )
        try:
            run.recover()
            run.gather(4, 10.0)
            run.run()
        except Killed:
            pass
        finally:
            journal.close()


@lie(None)
def a_round_that_a_restart_tries_again(honest):
    """The server dies when it is to unmask, and is started again: its round is unmasked once more.

    Its clients would answer: they remember nothing. In the twin it lives.
    """
    folder = _folder()
    journal = Journal.open(folder)
    journal.write(Step("run", run=RUN_ID.hex()))
    if not honest:
        journal = Mortal(journal.path, journal.past, journal._file)
    _serve(folder, journal, 2)
    if not honest:
        _serve(folder, Journal.open(folder), 2)
    lines = (folder / "journal.jsonl").read_bytes().splitlines()
    steps = [msgspec.json.decode(line) for line in lines]
    unmasked = Counter(step["round"] for step in steps if step["event"] == "unmasking")
    if honest:
        return Ended(won=dict(unmasked) == {1: 1, 2: 1})
    return Ended(won=max(unmasked.values()) > 1)
