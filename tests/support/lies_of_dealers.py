"""Lies about who dealt to whom, after an honest set-up on a ring."""

from fedprivacy.errors import Reason
from lie_registry import lie
from lying_ring import RingTable

CLIENTS, DEGREE, THRESHOLD = 40, 16, 9
GIVEN_UP = (-8, -7, -6, -5, 5, 6, 7, 8, 9)
"""Places, counted from w at 0; v stands at 1."""
SPARED = {2: (-6, -5), 3: (-5,), -1: (-7, -8), -2: (-8,)}
"""Whom of these a client near w is told to have survived, so that t others have signed for it."""


@lie(Reason.NOT_ACKNOWLEDGED)
def two_inputs_alone(honest):
    """Of two clients each is shown those t dealers only that the server will give up as lost.

    The rest of their neighbours, with whom they have not masked, are to give away their seeds; nine
    inputs at least were promised in any sum.
    """
    rules = {"degree": DEGREE, "threshold": THRESHOLD, "min_clients": 9}
    table = RingTable(clients=CLIENTS, aggregation=rules)
    script = table.script().invite().roster()
    if honest:
        return script.finish()
    names = script.ring
    w, v = names[0], names[1]
    lost = {names[place] for place in GIVEN_UP}
    dealers = {n: set(names) for n in names}
    dealers |= {n: {w, v} | (lost & set(script.around(n))) for n in (w, v)}
    survivors = {n: set(names) - (lost if n not in lost else set()) for n in names}
    for place, spared in SPARED.items():
        survivors[names[place]] |= {names[other] for other in spared}
    survivors |= {n: dealers[n] for n in (w, v)}

    script.deliver(lambda n: script.boxes_for(n, dealers[n]))
    script.survive(lambda n: [m for m in names if m in survivors[n]])
    if not table.refusals:
        asked = [n for n in names if n not in lost]
        script.request(lambda n: script.including(n, survivors[n] - {n}), asked)
    return table.told(won=script.sum_of(sorted([w, v])) == table.exact([w, v]))


@lie(Reason.NOT_ACKNOWLEDGED)
def an_acknowledgement_for_another(honest):
    """A neighbour that a survivor has not masked with is shown what it revealed for another."""
    table = RingTable()
    script = table.script().invite().roster()
    if honest:
        return script.finish()
    kept_out = script.beside("c0", 2)
    others = [n for n in script.ring if n != kept_out]
    script.deliver(lambda n: script.boxes_for(n, others if n == "c0" else None))
    given = script.acknowledged[script.index("c0")]
    given[script.index(kept_out)] = given[script.index(script.beside("c0", 1))]
    script.survive(to=[kept_out])
    return table.told(won=kept_out in script.signatures)
