"""Writes messages.schema.json and vectors/ from the package; run again, nothing changes.

    python protocols/secagg-plus/generate.py

All as in ../secagg/generate.py, with the plan's graph and the ring that the server drew. A message
that an earlier operation of the same vector has sent is not spelled out again.
"""

import importlib.util
import sys
from pathlib import Path

from fedprivacy.secagg import Adversary, SecAggPlus
from fedprivacy.secagg.graph import ring_neighbours
from fedprivacy.secagg.masking import messages
from fedprivacy.secagg.masking.keys import ring_session_id
from fedprivacy.secagg.parameters import choose_graph, graph_fault, graph_of_degree
from fedprivacy.wire import MerkleTree, decode


def _secagg():
    path = Path(__file__).resolve().parents[1] / "secagg" / "generate.py"
    spec = importlib.util.spec_from_file_location("secagg_plus_generate_base", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _secagg()
FOLDER = Path(__file__).resolve().parent
SHORTEST = 64  # bytes of a message that is repeated rather than named by its hash


class Run(secagg.Run):
    """One cohort on a ring."""

    protocol = SecAggPlus
    folder = "secagg-plus"
    adversary = Adversary.SEMI_MALICIOUS

    def __init__(self, name, *, n=8, degree=4, dropped=2, **how):
        self.graph = {"degree": degree, "dropped": dropped}
        super().__init__(name, n=n, **how)
        self.ring = []
        self._sent = set()

    def keys(self, **how):
        """Honest or not, whoever is told of the ring is told the truth by the server."""
        told = super().keys(**how)
        self.shown = {
            c: decode(messages.Neighbourhood, message, limit=1 << 24) for c, message in told.items()
        }
        placed = {p.position: p.entry for shown in self.shown.values() for p in shown.entries}
        self.on_ring = [placed[place] for place in sorted(placed)]
        self.ring = [entry.membership.index for entry in self.on_ring]
        return told

    @property
    def tree(self):
        return MerkleTree([entry.leaf() for entry in self.on_ring])

    @property
    def session(self):
        return ring_session_id(self.plan, len(self.ring), self.tree.root)

    def member(self, name, steps=0):
        """Who stands so many places on from a member, by name."""
        place = self.ring.index(self.memberships[name].index)
        return self.ids[self.ring[(place + steps) % len(self.ring)]]

    def around(self, name):
        """The indices of a member and its neighbours, ascending."""
        place = self.ring.index(self.memberships[name].index)
        others = ring_neighbours(place, len(self.ring), self.plan.degree)
        return tuple(sorted(self.ring[p] for p in (place, *others)))

    def _do(self, operation, party, act, sender=None, message=None):
        sent = super()._do(operation, party, act, sender, message)
        if self.records is None or party in self.records:
            self._sent |= {message for _, message in sent}
        return sent

    def _given_json(self, message):
        return secagg.message_json(message, SHORTEST if message in self._sent else self.longest)

    def json(self, note):
        document = super().json(note)
        at = list(document).index("operations")
        fields = list(document.items())
        fields[at:at] = [("ring", self.ring or None), ("longest", self.longest)]
        return dict(fields)


# ------------------------------------------------------------------ the bounds

CURIOUS, SEMI = Adversary.HONEST_BUT_CURIOUS, Adversary.SEMI_MALICIOUS
COHORTS = (
    (20, 1, 2),
    (100, 5, 10),
    (100, 33, 10),
    (1000, 10, 50),
    (1000, 200, 100),
    (5000, 50, 100),
    (5000, 1500, 500),
)
"""Members, corrupt, lost."""


def bounds_json():
    """For each cohort the sparsest graph that is safe, and its neighbours on either side."""
    rows = []
    for cohort in COHORTS:
        for adversary in (CURIOUS, SEMI):
            degree = _sparsest(*cohort, adversary)
            best = choose_graph(*cohort, adversary)
            rows += [
                _bounds_row(*cohort, adversary, *graph)
                for graph in (
                    (degree - 2, 0),
                    (degree, 0),
                    (degree, degree + 1),
                    (best.degree, best.threshold),
                    (best.degree, best.threshold - 1),
                    (cohort[0], 0),
                )
            ]
    return {
        "schema": "fedprivacy/secagg-plus-bounds/1",
        "version": secagg.VERSION,
        "source": "protocols/secagg-plus/generate.py",
        "rows": rows,
    }


def _sparsest(*cohort):
    degree = 2
    while graph_fault(*cohort, degree, graph_of_degree(*cohort, degree).threshold):
        degree += 2
    return degree


def _bounds_row(size, corrupt, lost, adversary, degree, threshold):
    """One graph; a threshold of zero stands for the least."""
    cohort = (size, corrupt, lost, adversary, degree)
    least = graph_of_degree(*cohort).threshold
    threshold = threshold or least
    return {
        "adversary": adversary.value,
        "size": size,
        "corrupt": corrupt,
        "lost": lost,
        "degree": degree,
        "threshold": threshold,
        "least_threshold": least,
        "least_sum": graph_of_degree(*cohort, threshold).min_sum_size,
        "holds": graph_fault(*cohort, threshold) is None,
    }


# ------------------------------------------------------------------ files

OTHERWISE = {
    messages.Roster: (messages.Neighbourhood,),
    messages.MaskedInput: (messages.MaskedInput, messages.AcknowledgedInput),
    messages.SurvivorSet: (messages.SurvivorSet, messages.AcknowledgedSurvivors),
    messages.ConsistencySignature: (messages.InclusionSignatures,),
}
IN_ORDER = tuple(one for kind in secagg.IN_ORDER for one in OTHERWISE.get(kind, (kind,)))


def render():
    title = "masked aggregation on a sparse graph"
    schema = secagg.schema_json("secagg-plus", title, IN_ORDER)
    bounds = {"bounds.json": secagg.text_of(bounds_json())}
    return secagg.render_with(FOLDER, Run, schema) | bounds


def main():
    secagg.write(FOLDER, render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
