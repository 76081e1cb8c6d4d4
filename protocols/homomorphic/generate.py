"""Writes messages.schema.json and vectors/ from the package; run again, nothing changes.

    python protocols/homomorphic/generate.py

The library draws keys and errors by itself, so that no ciphertext can be made twice: keys and
ciphertexts are made where ciphertexts/ lacks them, and are kept. A vector is a script of what each
recorded party is given, in order, and what it answers; it begins where clients have sent. In a
message, what is copied from a kept ciphertext stands as a reference to its file, zeros as their
number. The scenarios stand in scenarios.py.
"""

import functools
import hashlib
import importlib.util
import re
import sys
from pathlib import Path

from fedprivacy.crypto import Suite
from fedprivacy.errors import PeerError
from fedprivacy.randomness import InsecureTestRng, SystemRng
from fedprivacy.secagg import (
    SERVER,
    SHARED_KEYS,
    Aborted,
    Adversary,
    Cohort,
    Done,
    Send,
    SumPlan,
)
from fedprivacy.secagg.ceremony import GroupKey
from fedprivacy.secagg.homomorphic import HomomorphicClient, WorkerProcess, messages
from fedprivacy.secagg.homomorphic.schemes import SCHEMES
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import decode, encode


def _secagg():
    path = Path(__file__).resolve().parents[1] / "secagg" / "generate.py"
    spec = importlib.util.spec_from_file_location("homomorphic_generate_base", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _secagg()
FOLDER = Path(__file__).resolve().parent
KEPT = FOLDER / "ciphertexts"
VERSION = "draft-1"
LONGEST = 1 << 12  # bytes of a message that a vector spells out
WINDOW = 48  # bytes by which a copy is recognised
ZEROS = re.compile(rb"\x00{48,}")
ANY = 1 << 24

# What the kept ciphertexts are of: clients, values, bound. Every vector has these clients.
KINDS = {"bfv": (3, 5, 100), "ckks": (2, 2050, 100)}


def values_of(protocol, number):
    length, bound = KINDS[protocol][1:]
    return [(37 * i + 11 * number + 5) % (2 * bound + 1) - bound for i in range(length)]


class Kept:
    """Keys and ciphertexts of one protocol: made once, by the library's own random numbers."""

    def __init__(self, protocol, worker):
        self.protocol, self.worker = protocol, worker
        clients, length, bound = KINDS[protocol]
        rng = InsecureTestRng(f"homomorphic/{protocol}".encode())
        self.ids = [f"c{i:03}" for i in range(clients)]
        self.cohort = Cohort.of(self.ids, rng=rng)
        self.places = dict(zip(self.ids, self.cohort.memberships(), strict=True))
        self.round_id = rng.bytes(32)
        self.key = self._key()
        self.plan = self.plan_of(length=length, bound=bound)
        self.sent = {name: self._sent(name) for name in self.ids}

    def plan_of(self, *, length, bound, min_clients=2, modulus_bits=16):
        return SumPlan(
            round_id=self.round_id,
            broadcast=bytes(32),
            suite=Suite(1),
            adversary=Adversary.HONEST_BUT_CURIOUS,
            cohort_size=len(self.ids),
            cohort_root=self.cohort.root,
            threshold=1,
            corrupt=0,
            min_clients=min_clients,
            length=length,
            modulus_bits=modulus_bits,
            client_bound=bound,
        )

    def _key(self):
        path = KEPT / f"{self.protocol}-clients.key"
        if not path.exists():
            KEPT.mkdir(exist_ok=True)
            made = SHARED_KEYS[self.protocol].ceremony(rng=SystemRng())
            path.write_bytes(encode(made))
        return decode(GroupKey, path.read_bytes(), limit=ANY)

    def _sent(self, name):
        """A client's messages, with the ciphertexts that were kept of it."""
        paths = sorted(KEPT.glob(f"{self.protocol}-{name}-*.bin"))
        if not paths:
            client = self.client(name, self.plan, sent=False)
            vector = secagg.np.array(values_of(self.protocol, int(name[1:])))
            for effect in client.contribute(vector):
                if isinstance(effect, Send):
                    chunk = decode(messages.CiphertextChunk, effect.message, limit=ANY)
                    path = KEPT / f"{self.protocol}-{name}-{chunk.sequence}.bin"
                    path.write_bytes(chunk.data)
            paths = sorted(KEPT.glob(f"{self.protocol}-{name}-*.bin"))
        seals, index = messages.Seals(self.plan, self.key.admission), self.places[name].index
        return [encode(seals.seal(index, j, p.read_bytes())) for j, p in enumerate(paths)]

    def client(self, name, plan, *, sent, floor=2):
        return HomomorphicClient(
            SCHEMES[self.protocol], plan, self.places[name], key=self.key, floor=floor, sent=sent
        )

    def server(self, plan):
        return SHARED_KEYS[self.protocol].server(
            plan,
            self.cohort,
            None,
            rng=InsecureTestRng(b"unused"),
            pool=self.worker,
            admission=self.key.server_part,
        )


@functools.cache
def kept_files():
    return {path.name: path.read_bytes() for path in sorted(KEPT.glob("*.bin"))}


def matched(message, at, sources):
    """The longest copy of some source that begins here: which, from where, to where there."""
    window, best = message[at : at + WINDOW], None
    if len(window) < WINDOW:
        return None
    for name, data in sources.items():
        start = data.find(window)
        if start >= 0:
            stop = start + _common(data[start:], message[at:])
            if best is None or stop - start > best[2] - best[1]:
                best = name, start, stop
    return best


def _common(one, other):
    """How many bytes two strings begin with alike."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if one[:middle] == other[:middle] else (least, middle - 1)
    return least


def pieces(message, sent):
    """A long message as what it is made of.

    Hex, ranges of kept files or of messages that were sent before, numbers of zeros.
    """
    sources = kept_files() | {hashlib.sha256(m).hexdigest(): m for m in sent if len(m) > LONGEST}
    out, literal, at = [], bytearray(), 0
    while at < len(message):
        if zeros := ZEROS.match(message, at):
            piece, size = {"zeros": zeros.end() - at}, zeros.end() - at
        elif found := matched(message, at, sources):
            name, start, stop = found
            kind = "file" if name in kept_files() else "sha256"
            piece, size = {kind: name, "from": start, "to": stop}, stop - start
        else:
            literal.append(message[at])
            at += 1
            continue
        out += [*([literal.hex()] if literal else []), piece]
        literal, at = bytearray(), at + size
    return [*out, *([literal.hex()] if literal else [])]


class Run:
    """One cohort at work, and the record of it."""

    kept = {}  # noqa: RUF012 - filled by `render`

    def __init__(
        self,
        name,
        *,
        protocol="bfv",
        records=None,
        bound=None,
        min_clients=2,
        modulus_bits=16,
        floor=2,
        early=(),
    ):
        self.name, self.protocol, self.records = name, protocol, records
        self.own, self.floor, self.early = self.kept[protocol], floor, early
        _, length, usual = KINDS[protocol]
        self.plan = self.own.plan_of(
            length=length,
            bound=usual if bound is None else bound,
            min_clients=min_clients,
            modulus_bits=modulus_bits,
        )
        self.ids = self.own.ids
        self.server = self.own.server(self.plan)
        self.clients = {
            c: self.own.client(c, self.plan, sent=c not in early, floor=floor) for c in self.ids
        }
        self.seals = messages.Seals(self.plan, self.own.key.admission)
        self.operations, self.outcome, self._sent = [], None, set()

    def receive(self, party, message, sender=SERVER):
        target = self.server if party == SERVER else self.clients[party]
        return self._do("receive", party, lambda: target.receive(sender, message), sender, message)

    def advance(self):
        return self._do("advance", SERVER, self.server.advance)

    def _do(self, operation, party, act, sender=None, message=None):
        phase = self.server.phase if party == SERVER else self.clients[party].phase.value
        effects, is_recorded = [], self.records is None or party in self.records
        try:
            effects.extend(act())
            expect = secagg.effects_json(effects, LONGEST)
        except PeerError as error:
            expect = secagg.refusal_json(error)
            if party != SERVER and self.outcome is None and is_recorded:
                self.outcome = {"refused": {"party": party, **expect}}
        for effect in effects:
            if isinstance(effect, Done) and effect.total is not None:
                total = secagg.sum_json(effect.total[:])
                self.outcome = {"sum": total, "survivors": list(effect.survivors)}
            if isinstance(effect, Aborted):
                self.outcome = {"aborted": secagg.refusal_json(effect.error)}
        if is_recorded:
            entry = {"operation": operation, "party": party, "phase": phase}
            if message is not None:
                entry |= {"sender": sender, "message": self._given(message)}
            self.operations.append(entry | {"expect": expect})
            self._sent |= {e.message for e in effects if isinstance(e, Send)}
        return [(e.recipient, e.message) for e in effects if isinstance(e, Send)]

    def _given(self, message):
        if len(message) > LONGEST and message in self._sent:
            return secagg.message_json(message, LONGEST)
        return message.hex() if len(message) <= LONGEST else {"pieces": pieces(message, self._sent)}

    # -------------------------------------------------------------- phases

    def input(self, lost=(), lies=None):
        """Clients' ciphertexts arrive; the phase is closed. What each is told, by name."""
        for name in self.ids:
            if name in lost:
                continue
            for message in (lies or {}).get(name, list)(self.own.sent[name]):
                self.receive(SERVER, message, name)
        return self.told()

    def told(self):
        told = {}
        for name, message in self.advance():
            told.setdefault(name, []).append(message)
        return told

    def finish(self, told, lost=(), lies=None):
        for name, asked in told.items():
            if name in lost:
                continue
            said = [answer for m in asked for _, answer in self.receive(name, m)]
            for answer in (lies or {}).get(name, list)(said):
                self.receive(SERVER, answer, name)
        return [] if self.server.phase == "done" else self.advance()

    # -------------------------------------------------------------- the file

    def json(self, note):
        plan, key = self.plan, self.own.key
        return {
            "schema": "fedprivacy/homomorphic-vector/1",
            "version": VERSION,
            "protocol": self.protocol,
            "source": "protocols/homomorphic/generate.py",
            "name": self.name,
            "note": note,
            "plan": {
                "round_id": plan.round_id.hex(),
                "cohort_size": plan.cohort_size,
                "min_clients": plan.min_clients,
                "length": plan.length,
                "modulus_bits": plan.modulus_bits,
                "client_bound": plan.client_bound,
            },
            "ceremony": {
                "admission": key.admission.hex(),
                "membership": key.membership.hex(),
                "clients": f"{self.protocol}-clients.key",
            },
            "clients": [
                {
                    "client_id": name,
                    "index": place.index,
                    "floor": self.floor,
                    "sent": name not in self.early,
                    "input": secagg_rule(self.protocol, int(name[1:])),
                }
                for name, place in self.own.places.items()
            ],
            "operations": self.operations,
            "outcome": self.outcome,
        }


def secagg_rule(protocol, number):
    """The input as a rule where it is long."""
    length, bound = KINDS[protocol][1:]
    if length <= 16:
        return values_of(protocol, number)
    add, modulo = 11 * number + 5, 2 * bound + 1
    return {"multiply": 37, "add": add, "modulo": modulo, "minus": bound, "length": length}


IN_ORDER = (
    messages.CiphertextChunk,
    messages.EncryptedSum,
    MaskedChunk,
    messages.DecryptedSum,
)


def render():
    with WorkerProcess() as worker:
        Run.kept = {protocol: Kept(protocol, worker) for protocol in KINDS}
        schema = secagg.schema_json("homomorphic", "homomorphic aggregation", IN_ORDER)
        return secagg.render_with(FOLDER, Run, schema)


def main():
    secagg.write(FOLDER, render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
