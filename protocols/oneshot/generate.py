"""Writes messages.schema.json and vectors/ from the package; run again, nothing changes.

    python protocols/oneshot/generate.py

A vector is a script: what each recorded party is given, in order, and what it answers. A positive
records everyone, and so does a lie to the server. Other negatives record the one party that is lied
to; those who lie for it run unrecorded beside it. A long message that an earlier operation of the
same vector has sent stands by its hash. The scenarios stand in scenarios.py.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from fedprivacy.arithmetic import modulus_bits
from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.errors import PeerError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import (
    SERVER,
    Aborted,
    Adversary,
    Cohort,
    CommitteePlan,
    Done,
    OneShot,
    Send,
    SumPlan,
)
from fedprivacy.secagg.masking import messages as shared
from fedprivacy.secagg.oneshot import messages
from fedprivacy.secagg.uploads import MaskedChunk


def _secagg():
    path = Path(__file__).resolve().parents[1] / "secagg" / "generate.py"
    spec = importlib.util.spec_from_file_location("oneshot_generate_base", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _secagg()
FOLDER = Path(__file__).resolve().parent
VERSION = "draft-1"
LONGEST = 1 << 12  # bytes of a message that a vector spells out where it was sent before

CLIENT, MEMBER = "client", "member"


class Run:
    """One cohort and its committee at work, and the record of it."""

    def __init__(
        self,
        name,
        *,
        clients=3,
        members=3,
        threshold=2,
        corrupt=0,
        joint=False,
        named=False,
        length=5,
        bound=100,
        min_clients=2,
        floors=None,
        unenrolled=(),
        inputs=None,
        records=None,
    ):
        rng = InsecureTestRng(f"oneshot/{name}".encode())
        self.name, self.records, self.rng = name, records, rng
        self.ids = [f"c{i:03}" for i in range(clients)]
        self.held_by = self.ids[:members] if joint else [f"m{i:02}" for i in range(members)]
        everyone = list(dict.fromkeys([*self.ids, *self.held_by]))
        self.authority = SigningKey.from_seed(rng.bytes(32))
        self.seeds = {c: rng.bytes(32) for c in everyone}
        self.identities = {
            c: Identity(c, SigningKey.from_seed(seed)) for c, seed in self.seeds.items()
        }
        enrolled = [(c, self.identities[c].key.public) for c in everyone if c not in unenrolled]
        self.directory = Directory.sign(1, enrolled, self.authority)
        self.cohort, self.committee = Cohort.of(self.ids, rng=rng), Cohort.of(self.held_by, rng=rng)
        self.places = {m.client_id: m for m in self.cohort.memberships()}
        self.seats = {m.client_id: m for m in self.committee.memberships()}
        self.floors = dict.fromkeys(everyone, 2) | (floors or {})
        self.plan = SumPlan(
            round_id=rng.bytes(32),
            broadcast=rng.bytes(32),
            suite=Suite(1),
            adversary=Adversary.MALICIOUS,
            cohort_size=clients,
            cohort_root=self.cohort.root,
            threshold=1,
            corrupt=0,
            min_clients=min_clients,
            length=length,
            modulus_bits=modulus_bits(clients * bound),
            client_bound=bound,
            committee=CommitteePlan(
                self.committee.root,
                members,
                threshold,
                corrupt,
                tuple(self.held_by) if named else (),
            ),
        )
        self.rand = {c: rng.bytes(OneShot.rand_bytes) for c in self.ids}
        self.member_rand = {m: rng.bytes(OneShot.member_rand_bytes) for m in self.held_by}
        self.inputs = inputs or {
            c: [(37 * i + 11 * k + 5) % (2 * bound + 1) - bound for i in range(length)]
            for k, c in enumerate(self.ids)
        }
        self.server = OneShot.server(
            self.plan, self.cohort, self.directory, rng=rng, committee=self.committee
        )
        self.parties = {(CLIENT, c): self.new_client(c) for c in self.ids}
        self.parties |= {
            (MEMBER, m): OneShot.member(
                self.plan,
                self.seats[m],
                identity=self.identities[m],
                floor=self.floors[m],
                rand=self.member_rand[m],
                directory=self.directory,
            )
            for m in self.held_by
        }
        self.operations, self.outcome, self._sent = [], None, set()

    def new_client(self, client):
        return OneShot.client(
            self.plan,
            self.places[client],
            identity=self.identities[client],
            floor=self.floors[client],
            rand=self.rand[client],
            directory=self.directory,
        )

    # -------------------------------------------------------------- operations

    def start(self, member):
        return self._do("start", MEMBER, member, self.parties[MEMBER, member].start)

    def receive(self, role, party, message, sender=SERVER):
        target = self.server if party == SERVER else self.parties[role, party]
        act = lambda: target.receive(sender, message)  # noqa: E731 - one call, later
        return self._do("receive", role, party, act, sender, message)

    def serve(self, sender, message):
        return self.receive("server", SERVER, message, sender)

    def contribute(self, client):
        vector = np.array(secagg.values_of(self.inputs[client]), dtype=np.int64)
        party = self.parties[CLIENT, client]
        return self._do("contribute", CLIENT, client, lambda: party.contribute(vector))

    def advance(self):
        if self.server.phase == "done":
            return []
        return self._do("advance", "server", SERVER, self.server.advance)

    def _recorded(self, role, party):
        return self.records is None or (role, party) in self.records or party in self.records

    def _do(self, operation, role, party, act, sender=None, message=None):
        """Acts, records, and returns what was sent as (recipient, message)."""
        acting = self.server if party == SERVER else self.parties[role, party]
        phase = acting.phase if party == SERVER else acting.phase.value
        effects = []
        try:
            effects.extend(act())
            expect = secagg.effects_json(effects, LONGEST)
        except PeerError as error:
            expect = secagg.refusal_json(error)
            if party != SERVER and self.outcome is None and self._recorded(role, party):
                self.outcome = {"refused": {"party": party, **expect}}
        for effect in effects:
            if isinstance(effect, Done) and effect.total is not None:
                total = secagg.sum_json(effect.total)
                self.outcome = {"sum": total, "survivors": list(effect.survivors)}
            if isinstance(effect, Aborted):
                self.outcome = {"aborted": secagg.refusal_json(effect.error)}
        if self._recorded(role, party):
            entry = {"operation": operation, "role": role, "party": party, "phase": phase}
            if message is not None:
                longest = LONGEST if message in self._sent else 1 << 30
                told = secagg.message_json(message, longest)
                entry |= {"sender": sender, "message": told}
            self.operations.append(entry | {"expect": expect})
            self._sent |= {e.message for e in effects if isinstance(e, Send)}
        return [(e.recipient, e.message) for e in effects if isinstance(e, Send)]

    # -------------------------------------------------------------- phases

    def keys(self, lost=()):
        """To the end of the phase; the roster, as everyone is shown it."""
        for member in self.held_by:
            if member not in lost:
                for _, message in self.start(member):
                    self.serve(member, message)
        told = self.advance()
        for name, message in told[: len(self.held_by) - len(lost)]:
            self.receive(MEMBER, name, message)
        return told[0][1] if told else b""

    def input(self, roster, lost=(), silent=(), lies=None):
        """Clients send, members open; those in `silent` are lost members. Closes the phase."""
        for client in self.ids:
            if client in lost:
                continue
            self.receive(CLIENT, client, roster)
            sent = [message for _, message in self.contribute(client)]
            for message in (lies or {}).get(client, list)(sent):
                self.relay(self.serve(client, message), silent)
        return self.advance()

    def relay(self, shares, silent=()):
        for name, share in shares:
            if name in silent:
                continue
            for _, opened in self.receive(MEMBER, name, share):
                self.serve(name, opened)

    def hear(self, told, lost=(), lies=None):
        """A phase in which members answer what the server told each."""
        for name, message in told:
            if name in lost:
                continue
            sent = [answer for _, answer in self.receive(MEMBER, name, message)]
            for answer in (lies or {}).get(name, list)(sent):
                self.serve(name, answer)
        return self.advance()

    def finish(self, told, lost=((), (), ()), lies=None):
        """From the closed inputs on; `lost` are those lost before opening, signing, answering."""
        told = self.hear(told, lost[0])
        told = self.hear(told, lost[1])
        return self.hear(told, lost[2], lies)

    # -------------------------------------------------------------- the file

    def json(self, note):
        plan, committee = self.plan, self.plan.committee
        return {
            "schema": "fedprivacy/oneshot-vector/1",
            "version": VERSION,
            "protocol": "oneshot",
            "source": "protocols/oneshot/generate.py",
            "name": self.name,
            "note": note,
            "plan": {
                "round_id": plan.round_id.hex(),
                "broadcast": plan.broadcast.hex(),
                "cohort_size": plan.cohort_size,
                "cohort_root": plan.cohort_root.hex(),
                "corrupt": plan.corrupt,
                "min_clients": plan.min_clients,
                "length": plan.length,
                "client_bound": plan.client_bound,
                "committee": {
                    "root": committee.root.hex(),
                    "size": committee.size,
                    "threshold": committee.threshold,
                    "corrupt": committee.corrupt,
                    "members": list(committee.members),
                },
            },
            "clients": [
                self._place(place) | {"rand": self.rand[c].hex(), "input": self.inputs[c]}
                for c, place in self.places.items()
            ],
            "members": [
                self._place(seat) | {"rand": self.member_rand[m].hex()}
                for m, seat in self.seats.items()
            ],
            "directory": {
                "epoch": self.directory.epoch,
                "entries": [[c, key.hex()] for c, key in self.directory.entries],
            },
            "operations": self.operations,
            "outcome": self.outcome,
        }

    def _place(self, place):
        return {
            "client_id": place.client_id,
            "index": place.index,
            "salt": place.salt.hex(),
            "path": [node.hex() for node in place.path],
            "identity_seed": self.seeds[place.client_id].hex(),
            "floor": self.floors[place.client_id],
        }


IN_ORDER = (
    messages.CommitteeKey,
    messages.CommitteeRoster,
    MaskedChunk,
    messages.SealedInput,
    messages.KeyShare,
    messages.ShareOpened,
    messages.InputsClosed,
    messages.UnopenedShares,
    shared.SurvivorSet,
    shared.ConsistencySignature,
    shared.UnmaskRequest,
    messages.KeySum,
)


def render():
    schema = secagg.schema_json("oneshot", "one-shot aggregation", IN_ORDER)
    return secagg.render_with(FOLDER, Run, schema)


def main():
    secagg.write(FOLDER, render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
