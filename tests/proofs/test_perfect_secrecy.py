"""With uniform masks in place of the generator's, what is seen depends on the sum alone.

The shipped clients mask; every value of every mask is run through, a coordinate each. What the
server and its allies see is counted: all masked inputs, those that come late as well; the own masks
of survivors; the pairwise masks of the dropped and of the corrupt. See SOUNDNESS.md, "Hiding".
"""

import itertools
from collections import Counter

import numpy as np
import pytest

from fedprivacy.arithmetic import PackedSum, pack, word_dtype
from fedprivacy.secagg import SERVER, Send
from fedprivacy.secagg.masking import masks
from fedprivacy.secagg.masking.masks import MaskedVector, add_terms
from fedprivacy.secagg.masking.recovery import mask_terms
from sumdrive import CURIOUS, Sum

CASES = [(3, 2), (4, 1)]
"""Clients, and bits of the modulus."""


def holding(clients):
    """Real clients that have all their shares, and their terms of the mask."""
    case = Sum(CURIOUS, clients, clients // 2 + 1)
    server = case.server
    said = {n: list(p.start()) for n, p in case.parties.items()}
    for _ in range(2):
        for name, effects in said.items():
            for effect in effects:
                list(server.receive(name, effect.message))
        said = {
            e.recipient: list(case.parties[e.recipient].receive(SERVER, e.message))
            for e in server.advance()
            if isinstance(e, Send)
        }
    return case, {i: list(case.parties[n]._masks()) for i, n in enumerate(case.names)}


class Every:
    """In place of the generator: a seed's mask takes every value, combined with every other's."""

    def __init__(self, seeds, bits):
        self.bits = bits
        values = itertools.product(range(1 << bits), repeat=len(seeds))
        self.table = dict(zip(seeds, np.array(list(values)).T, strict=True))

    @property
    def length(self):
        return len(next(iter(self.table.values())))

    def __call__(self, seed, bits, start=0):
        return _Stream(self.table[seed][start:].astype(word_dtype(bits)))


class _Stream:
    def __init__(self, mask):
        self.mask = mask

    def add_to(self, words):
        words += self.mask

    def subtract_from(self, words):
        words -= self.mask


@pytest.fixture(params=CASES, ids=str)
def world(request, monkeypatch):
    clients, bits = request.param
    case, terms = holding(clients)
    seeds = sorted({term.seed for many in terms.values() for term in many})
    assert len(seeds) == clients + clients * (clients - 1) // 2
    every = Every(seeds, bits)
    monkeypatch.setattr(masks, "MaskStream", every)
    return case, terms, every


def masked(terms, every, inputs):
    """`(clients, assignments)`: every client's upload under every assignment."""
    return np.stack(
        [
            MaskedVector(every.bits, terms[u]).add_to(np.full(every.length, x, dtype=np.int64))
            for u, x in enumerate(inputs)
        ]
    )


def seed_of(terms, u, v=None):
    """The seed of u's own mask, or of the one that u and v share."""
    if v is None:
        return terms[u][0].seed
    (common,) = {t.seed for t in terms[u]} & {t.seed for t in terms[v]}
    return common


def view(terms, every, inputs, survivors, corrupt):
    """How often each thing that can be seen is seen."""
    clients = range(len(inputs))
    known = [seed_of(terms, u) for u in clients if u in survivors or u in corrupt]
    known += [
        seed_of(terms, u, v)
        for u, v in itertools.combinations(clients, 2)
        if not {u, v} <= survivors or {u, v} & corrupt
    ]
    rows = [*masked(terms, every, inputs), *(every.table[seed] for seed in known)]
    return Counter(map(tuple, np.stack(rows).T.tolist()))


def situations(clients):
    """Every set of survivors, and of the corrupt, with two honest survivors."""
    everyone = range(clients)
    some = [set(s) for k in range(clients + 1) for s in itertools.combinations(everyone, k)]
    return [(s, c) for s in some for c in some if len(s - c) >= 2]


def test_what_is_seen_depends_on_the_honest_survivors_sum_alone(world):
    case, terms, every = world
    clients, modulus = len(case.names), 1 << every.bits
    for survivors, corrupt in situations(clients):
        seen = {}
        for inputs in itertools.product(range(modulus), repeat=clients):
            total = sum(inputs[u] for u in survivors - corrupt) % modulus
            theirs = tuple(inputs[u] for u in sorted(corrupt))
            found = view(terms, every, inputs, survivors, corrupt)
            assert seen.setdefault((total, theirs), found) == found
        # The sum itself is seen: of two different ones nothing looks alike.
        for (one, a), (other, b) in itertools.combinations(seen.items(), 2):
            assert one == other or not a.keys() & b.keys()


def test_a_single_honest_survivor_lies_open(world):
    case, terms, every = world
    clients = len(case.names)
    survivors, corrupt = set(range(clients)), set(range(1, clients))
    views = [view(terms, every, (x, *[0] * (clients - 1)), survivors, corrupt) for x in (0, 1)]
    assert not views[0].keys() & views[1].keys()


def test_the_server_takes_off_every_mask_whatever_it_is(world):
    case, terms, every = world
    server, clients = case.server, len(case.names)
    secrets = [case.parties[name]._secrets for name in case.names]
    inputs = [u % (1 << every.bits) for u in range(clients)]
    uploads = masked(terms, every, inputs)
    for survivors, _ in situations(clients):
        known = {
            u: secrets[u]["seed" if u in survivors else "mask_private"] for u in range(clients)
        }
        off = mask_terms(
            server._session,
            known,
            roster=server._roster,
            survivors=frozenset(survivors),
            around=server._graph.around,
        )
        total = PackedSum(every.length, every.bits)  # of one chunk: a stream here has no second one
        for u in survivors:
            total.add_packed(0, pack(uploads[u], every.bits))
        wrong = add_terms(total, off)[:] - sum(inputs[u] for u in survivors)
        assert not (wrong % (1 << every.bits)).any()
