"""Why a ring is not offered against a server that lies from the start: it takes a client's vector.

A thousand clients, fifty of them corrupt; the plan keeps every bound, and a whole client checks all
that a client can check. Only the ring is not drawn: the server puts its own around a victim.
"""

import random

import pytest

from fedprivacy.crypto import KeyPair
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import Keystream
from fedprivacy.rounds import Plan
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.masking import messages as m
from fedprivacy.secagg.masking.keys import Secret
from fedprivacy.secagg.masking.shares import deal, open_box
from fedprivacy.wire import MerkleTree, digest
from lies_of_members import signed_by_the_corrupt
from lying_ring import RingScript, RingTable
from rounddrive import PLAN, Forgetful

CLIENTS, CORRUPT = 1000, 50
VICTIM = "c0"
RULES = {"corrupt": CORRUPT, "min_clients": CORRUPT + 2, "dropout": 0.0}


class Surrounded(RingScript):
    """A ring on which the server's own stand around the victim, with keys that it has made."""

    def surround(self):
        half = self.plan.degree // 2
        corrupt = self.table.names[1 : 2 * half + 1]
        self.ring = [*corrupt[:half], VICTIM, *corrupt[half:], *self.table.names[2 * half + 1 :]]
        self.keys = {n: (self._key("seal", n), self._key("mask", n)) for n in corrupt}
        entries = {VICTIM: self.honest_entries()[0]}
        for name, (seal, mask) in self.keys.items():
            entries[name] = signed_by_the_corrupt(
                self, name, KeyPair(seal).public, KeyPair(mask).public
            )
        # Of all others the victim sees the root alone.
        leaves = [entries[n].leaf() if n in entries else n.encode() for n in self.ring]
        self.tree = MerkleTree(leaves)
        self.entries = tuple(sorted(entries.values(), key=lambda e: e.membership.index))
        return self

    def _key(self, use, name):
        return digest("made-by-the-server", use.encode(), name.encode())

    def boxes_for(self, name, dealers=None):
        """The corrupt deal as clients do; the victim's own box is its own."""
        boxes = [b for b in self.dealt[VICTIM].boxes if b.peer == self.index(VICTIM)]
        for dealer, (seal, mask) in self.keys.items():
            # Whom else they deal to, the victim does not see.
            channels = {self.index(n): self._key("channel", n) for n in (*self.keys, VICTIM)}
            channels[self.index(VICTIM)] = KeyPair(seal).agree(self.adverts[VICTIM].seal_key)
            dealt = deal(
                self.session,
                self.index(dealer),
                {Secret.MASK_KEY: mask, Secret.SEED: self._key("seed", dealer)},
                dict(sorted(channels.items())),
                dict.fromkeys(channels, bytes(16)),
                threshold=self.plan.threshold,
                coefficients=Keystream(self._key("coefficients", dealer)),
                salts=Keystream(self._key("salts", dealer)),
            )
            (box,) = (b for b in dealt.boxes if b.peer == self.index(VICTIM))
            boxes.append(m.SealedBox(self.index(dealer), box.box, box.commitments))
        return tuple(sorted(boxes, key=lambda b: b.peer))

    def open_all(self):
        """What the corrupt were dealt by the victim: both shares, with nobody asked."""
        for box in self.dealt[VICTIM].boxes:
            name = self.table.names[box.peer]
            if name in self.keys:
                shared = KeyPair(self.keys[name][0]).agree(self.adverts[VICTIM].seal_key)
                sent = m.SealedBox(self.index(VICTIM), box.box, box.commitments)
                held = open_box(self.session, box.peer, shared, sent)
                for secret in Secret:
                    self.take_share(VICTIM, name, secret, held.shares[secret])
        return self


@pytest.fixture(scope="module")
def table():
    stores = {VICTIM: ClientStore(":memory:")}
    return RingTable(
        clients=CLIENTS, aggregation=RULES, store=lambda name: stores.get(name) or Forgetful()
    )


def test_a_server_that_draws_the_ring_takes_its_victims_vector(table):
    cohort = table.cohort()
    plan = table.freeze(cohort)
    script = Surrounded(table, plan, cohort).invite([VICTIM]).surround()
    script.roster(to=[VICTIM]).deliver(to=[VICTIM]).open_all()
    assert table.refusals == []
    assert not script.complaints
    assert not script.signatures  # the victim was asked nothing, and has signed nothing
    assert script.has_both_secrets(VICTIM)
    assert script.sum_of([VICTIM]) == table.exact([VICTIM])


def test_on_a_ring_that_was_drawn_the_corrupt_are_too_few_everywhere(table):
    plan = table.freeze(table.cohort())
    corrupt = set(table.names[1 : CORRUPT + 1])
    half, draw = plan.degree // 2, random.Random(1)
    for _ in range(100):
        ring = draw.sample(table.names, CLIENTS)
        marks = [name in corrupt for name in (*ring[-half:], *ring, *ring[:half])]
        most = max(sum(marks[i : i + 2 * half + 1]) for i in range(CLIENTS))
        assert most < plan.threshold


def test_a_plan_that_promises_more_is_refused_with_the_remedy():
    text = PLAN.format(
        protocol="secagg+",
        adversary=Adversary.MALICIOUS.value,
        min_clients=CORRUPT + 2,
        corrupt=CORRUPT,
        threshold=0,
        degree=0,
        dropout=0.0,
        attempts=2,
        clip=3.0,
        value_bits=3,
        weights="summed",
        public_weight=0,
        committee="",
    )
    with pytest.raises(ConfigurationError) as caught:
        Plan.parse(text)
    assert str(caught.value).endswith("or protocol = secagg")
    assert "honest-but-curious, semi-malicious" in str(caught.value)
