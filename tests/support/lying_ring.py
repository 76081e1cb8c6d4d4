"""A server of SecAgg+ that lies: the tables and scripts of `lying_server`, on a ring.

Up to the neighbourhoods it may be honest: then its ring is one that it has drawn, and all that it
shows is proven against one root.
"""

import functools
import random
from dataclasses import dataclass

import msgspec

from fedprivacy.arithmetic import share_from_bytes
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.masking import messages as m
from fedprivacy.secagg.masking.keys import (
    INCLUSION_LABEL,
    Secret,
    ring_session_id,
    signed_inclusion,
)
from fedprivacy.wire import MerkleTree, encode
from lying_server import Script, Table

__all__ = ["SEMI", "RingScript", "RingTable", "honest_ring", "ring_with_inputs"]

SEMI = {
    "protocol": "secagg+",
    "adversary": Adversary.SEMI_MALICIOUS,
    "min_clients": 3,
    "corrupt": 0,
    "dropout": 0.1,
}
"""Of eight clients one may be lost: degree 4, t = 3, sums of three honest clients or more."""


@dataclass
class RingTable(Table):
    """Eight clients on a ring."""

    clients: int = 8

    def __post_init__(self):
        self.aggregation = SEMI | self.aggregation
        self.floor = {"protocol": ("secagg", "secagg+")} | self.floor
        super().__post_init__()

    def script(self, plan=None, cohort=None, **named):
        cohort = cohort or self.cohort()
        return RingScript(self, plan or self.freeze(cohort, **named), cohort)


class RingScript(Script):
    """One attempt on a ring."""

    def __init__(self, table, plan, cohort):
        super().__init__(table, plan, cohort)
        self.ring = []
        """Names in the order of the ring."""
        self.acknowledged = {}
        """What the inputs brought along, by member and by the dealer that it is for."""
        self.tree = MerkleTree(())

    # ------------------------------------------------------------------ the ring

    def draw(self, names=None, order=None):
        """Put those who advertised keys into a random order, or into a given one."""
        present = [n for n in self.adverts if names is None or n in names]
        self.ring = list(order or random.Random(1).sample(present, len(present)))
        entries = {e.membership.client_id: e for e in self.honest_entries(self.ring)}
        self.tree = MerkleTree([entries[n].leaf() for n in self.ring])
        self.entries = tuple(sorted(entries.values(), key=lambda e: e.membership.index))
        return self

    @property
    def session(self):
        return ring_session_id(self.plan.sum_plan(), len(self.ring), self.tree.root)

    def beside(self, name, steps):
        """Who stands so many places on."""
        return self.ring[(self.ring.index(name) + steps) % len(self.ring)]

    def around(self, name):
        """A client's neighbours, by index; all of the ring where the degree reaches them."""
        half = self.plan.degree // 2
        steps = [s for s in range(-half, half + 1) if s]
        return sorted({self.beside(name, s) for s in steps} - {name}, key=self.index)

    def placed(self, name):
        """A member as it truly stands on the ring."""
        place = self.ring.index(name)
        entry = next(e for e in self.entries if e.membership.client_id == name)
        return m.PlacedEntry(entry, place, self.tree.path(place))

    def neighbourhood(self, name, placed=None, size=None):
        """What an honest server shows, or others in the place of the neighbours."""
        shown = placed or [self.placed(n) for n in (name, *self.around(name))]
        entries = tuple(sorted(shown, key=lambda p: p.entry.membership.index))
        return m.Neighbourhood(size or len(self.ring), self.tree.root, entries)

    # ------------------------------------------------------------------ steps

    def roster(self, shown=None, to=None):
        """Shows each its neighbourhood; `shown` gives another in its place."""
        if not self.ring:
            self.draw()
        for name in self._present(to, self.adverts):
            if name not in self.ring:
                continue
            message = shown(name) if shown else self.neighbourhood(name)
            for body in self._say(name, message):
                self.dealt[name] = body
        return self

    def boxes_for(self, name, dealers=None):
        boxes = [
            msgspec.structs.replace(box, peer=self.index(dealer))
            for dealer, dealt in self.dealt.items()
            for box in dealt.boxes
            if box.peer == self.index(name) and (dealers is None or dealer in dealers)
        ]
        return tuple(sorted(boxes, key=lambda box: box.peer))

    def survive(self, survivors=None, to=None):
        """Shows a survivor set, by names, of which each is told those around it."""
        for name in self._present(to, self.dealers):
            shown = survivors(name) if callable(survivors) else survivors
            near = {name, *self.around(name)}
            among = [n for n in (self._with_input() if shown is None else shown) if n in near]
            told = tuple(sorted(self.index(n) for n in among))
            self.say_survivors(name, encode(self.survivors_told(name, told)), set(told))
        return self

    def survivors_told(self, name, told):
        """With the acknowledgements that the server has; zeros for those that it has not."""
        if not self.table.signs:
            return m.SurvivorSet(told)
        mine = self.index(name)
        given = (self.acknowledged.get(i, {}).get(mine, bytes(16)) for i in told if i != mine)
        return m.AcknowledgedSurvivors(told, b"".join(given))

    def _take_input(self, name, bodies):
        bodies = list(bodies)
        super()._take_input(name, bodies)
        for body in bodies:
            if isinstance(body, m.AcknowledgedInput):
                others = sorted(self.dealers[name] - {self.index(name)})
                given = body.acknowledgements
                parts = (given[i : i + 16] for i in range(0, len(given), 16))
                self.acknowledged[self.index(name)] = dict(zip(others, parts, strict=True))

    def say_survivors(self, name, message, told):
        for body in self._say(name, message):
            self.shown[name] = told
            if isinstance(body, m.InclusionSignatures):
                self.signatures[name] = {s.member: s.signature for s in body.signatures}
            else:
                self._take_answer(name, body, told)

    def including(self, name, signers=None):
        """What was signed for a client, by those who signed for it or some of them."""
        index = self.index(name)
        return tuple(
            m.SurvivorSignature(self.index(n), self.signatures[n][index])
            for n in sorted(self.signatures, key=self.index)
            if index in self.signatures[n] and (signers is None or n in signers)
        )

    def include_as(self, signer, member):
        """A signature with a client's own identity that another survives."""
        statement = signed_inclusion(
            self.session, self.plan.broadcast, self.index(signer), self.index(member)
        )
        key = self.table.identities[signer].key
        return m.SurvivorSignature(self.index(signer), key.sign(INCLUSION_LABEL, *statement))

    def take_share(self, dealer, holder, secret, share):
        """A share that the server has come by."""
        held = self.answers.setdefault((self.index(dealer), secret), {})
        held[self.index(holder)] = share_from_bytes(share, 9)

    def has_both_secrets(self, name):
        return all(self.secret(self.index(name), kind) is not None for kind in Secret)

    def request(self, signatures=None, to=None):
        return super().request(signatures or self.including, to)


@functools.cache
def honest_ring():
    """What comes of an honest round: the twin of every lie on the ring of eight."""
    return RingTable().script().invite().finish()


def ring_with_inputs(honest, **settings):
    """A table, and a script up to the input; honestly, up to the invitation."""
    table = RingTable(**settings)
    script = table.script().invite()
    return table, script if honest else script.roster().deliver()
