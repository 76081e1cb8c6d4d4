"""No text of any object of a sum shows a secret: it would end in a log or a traceback."""

import dataclasses
import gc
import traceback

import pytest

import fedprivacy.secagg.masking.client as client_module
import fedprivacy.secagg.masking.masks as masks_module
from fedprivacy.errors import FedPrivacyError, PeerError
from fedprivacy.rounds import Envelope
from fedprivacy.secagg import SERVER, Send
from fedprivacy.secagg.masking.client_secrets import RAND_FIELDS
from fedprivacy.secagg.masking.messages import UnmaskShares
from fedprivacy.secagg.masking.shares import HeldShares
from fedprivacy.wire import decode
from secretscan import Scanner, written
from sumdrive import MASKED, SETTINGS, Drive, Sum


class Ear:
    """Writes down the texts of objects, and the secrets that none of them may hold."""

    def __init__(self):
        self.texts = []
        self.secrets = {}

    def keep(self, name, secret):
        self.secrets[f"{name} #{len(self.secrets)}"] = secret

    def hear(self, *objects):
        for thing in objects:
            self.texts += [repr(thing), str(thing), f"{thing}", f"{[thing]!r}"]

    def assert_nothing_heard(self):
        assert self.secrets
        assert self.texts
        assert Scanner(self.secrets).find("\n".join(self.texts)) == []


@pytest.fixture
def ear(monkeypatch):
    """Hears every seed that is derived and every share that is held."""
    ear = Ear()
    for name in ("self_seed", "pairwise_seed"):
        original = getattr(client_module, name)

        def derived(*args, original=original, name=name):
            ear.keep(name, original(*args))
            return original(*args)

        monkeypatch.setattr(client_module, name, derived)
    opened = client_module.open_box

    def open_box(*args):
        held = opened(*args)
        for secret in (*held.shares, *held.salts):
            ear.keep("share", secret)
        ear.hear(held)
        return held

    monkeypatch.setattr(client_module, "open_box", open_box)
    init = masks_module.MaskedVector.__init__

    def streams(self, bits, terms):
        terms = list(terms)
        ear.hear(*terms, terms)
        init(self, bits, terms)
        ear.hear(self, self._masks, *(stream for _, stream in self._masks._streams))

    monkeypatch.setattr(masks_module.MaskedVector, "__init__", streams)
    return ear


def hear_parties(ear, case):
    ear.hear(case.server, case.cohort, case.plan, case.directory)
    for party in case.parties.values():
        ear.hear(party)
        if hasattr(party, "_secrets"):
            ear.hear(party._secrets, *party._secrets.held.values(), party._peers, party._me)
    for identity in case.identities.values():
        ear.hear(identity, identity.key)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_no_party_message_effect_or_error_shows_a_secret(ear, setting):
    case = Sum(setting, clients=4, length=50, bits=40)
    for name in case.names:
        for i in range(0, len(case.rand[name]), 32):
            ear.keep(RAND_FIELDS[i // 32], case.rand[name][i : i + 32])
        ear.keep("vector", case.vectors[name].astype("<i8").tobytes())
    drive = Drive(case, sent={"c003": 2})
    drive.after_receive = lambda name, phase: hear_parties(ear, case)
    for name in case.names:
        original = case.parties[name].receive

        def receive(sender, message, original=original):
            for effect in original(sender, message):
                ear.hear(effect)
                yield effect

        case.parties[name].receive = receive
    outcome = drive.run()
    assert outcome.done
    hear_parties(ear, case)
    ear.hear(outcome.done, *outcome.refused.items())
    ear.assert_nothing_heard()


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_a_share_that_is_revealed_is_still_not_written_down(ear, setting):
    """To the server, and to nobody's log: t texts of this message would give a secret away."""
    case = Sum(setting, clients=4)

    def hear(name, phase, bodies):
        if phase == "unmasking":
            for body in bodies:
                message = decode(UnmaskShares, body, limit=1 << 20)
                for opened in message.shares:
                    ear.keep("revealed share", opened.share)
                    ear.keep("its salt", opened.salt)
                    ear.hear(opened)
                ear.hear(message, Envelope(b"r" * 32, body))
        return bodies

    assert Drive(case, tamper=hear).run().done
    ear.assert_nothing_heard()


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("stage", range(3))
def test_no_error_shows_a_secret(ear, setting, stage):
    """The error, its traceback as programs print it, and the effects that came before it."""
    case = Sum(setting, clients=4)
    for name in case.names:
        for i in range(0, len(case.rand[name]), 32):
            ear.keep(RAND_FIELDS[i // 32], case.rand[name][i : i + 32])
    told = []

    def spoil(name, phase, bodies):
        if phase == setting.phases[stage]:
            for party in case.parties.values():
                for bad in (b"", b"\xc1", *bodies):
                    try:
                        ear.hear(*party.receive(SERVER, bad))
                    except PeerError as error:
                        told.append(error)
                        ear.hear(error)
                        ear.texts.append("".join(traceback.format_exception(error)))
        return bodies

    Drive(case, tamper=spoil).run()
    assert told
    ear.assert_nothing_heard()


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_an_ended_client_holds_no_secret_any_more(setting):
    """Nothing that the garbage collector reaches from a dead client is one of its own secrets."""
    case = Sum(setting, clients=4)
    own = {RAND_FIELDS[i]: case.rand["c001"][32 * i : 32 * i + 32] for i in range(len(RAND_FIELDS))}
    party = case.parties["c001"]

    def reached():
        seen, todo = {}, [party]
        while todo:
            thing = todo.pop()
            if id(thing) in seen or isinstance(thing, type):
                continue
            seen[id(thing)] = thing
            todo += gc.get_referents(thing)
            if dataclasses.is_dataclass(thing):
                todo += [getattr(thing, f.name) for f in dataclasses.fields(thing)]
            todo += list(getattr(thing, "__dict__", {}).values())
        return [bytes(t) for t in seen.values() if isinstance(t, bytes | bytearray)]

    assert any(own["seed"] in data for data in reached())  # before: the search can find it
    assert Drive(case).run().done
    for name, secret in own.items():
        assert not any(secret in data for data in reached()), name
    assert not [t for t in gc.get_referents(party) if isinstance(t, HeldShares)]


def test_the_scanner_finds_what_is_there():
    secret = bytes(range(100, 132))
    scanner = Scanner({"planted": secret})
    for form, text in written(secret).items():
        found = scanner.find(b"before " + text + b" after")
        assert ("planted", form, 7) in found
    assert scanner.find(repr(secret))
    assert scanner.find(repr([secret]))
    assert scanner.find(str(Send("x", b"").recipient) + secret.hex())
    assert not scanner.find(b"nothing " * 100)
    assert not scanner.find(b"")
    with pytest.raises(ValueError, match="too short"):
        Scanner({"short": b"123"})
    assert issubclass(PeerError, FedPrivacyError)
