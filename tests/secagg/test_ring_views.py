"""A server that tells the neighbours of honest clients what it likes, after an honest set-up.

No check refuses what it says, as long as each client is told of t others: what keeps it from both
secrets of one client, and from a small sum, is the count alone.
"""

import itertools
import random

import pytest

from fedprivacy.errors import Reason
from fedprivacy.secagg.masking.keys import Secret
from lies_of_rings import halves
from lying_ring import RingTable

VICTIM = "c0"


@pytest.mark.parametrize("told", list(itertools.product((True, False), repeat=4)), ids=str)
def test_no_split_of_a_victims_neighbours_tells_both_its_secrets(told):
    table = RingTable()
    script = table.script().invite().roster().deliver()
    around = script.around(VICTIM)
    halves(script, VICTIM, [n for n, survives in zip(around, told, strict=True) if survives])
    out = {s: script.secret(script.index(VICTIM), s) is not None for s in Secret}
    # Its seed by three of four, or by two and itself if a third signs; its mask key by three.
    assert out == {Secret.SEED: sum(told) >= 3, Secret.MASK_KEY: sum(told) <= 1}
    assert script.sum_of([VICTIM]) is None


def test_no_views_of_the_survivors_open_a_small_sum():
    """Each client is told that one neighbour of its own is lost, or none, at random or in turn."""
    draw = random.Random(5)
    opened = 0
    for number in range(10):
        table = RingTable()
        script = table.script().invite().roster().deliver()
        if number < 4:
            lost = {n: script.beside(n, (-2, -1, 1, 2)[number]) for n in script.ring}
        elif number < 7:
            lost = dict.fromkeys(script.ring, script.ring[number - 4])
            lost[script.ring[number - 4]] = None
        else:
            lost = {n: draw.choice([None, *script.around(n)]) for n in script.ring}
        script.survive(lambda n, lost=lost, ring=script.ring: [m for m in ring if m != lost[n]])
        script.request()
        for size in range(1, 9):
            for members in itertools.combinations(table.names, size):
                if (total := script.sum_of(members)) is not None:
                    opened += 1
                    assert size >= table.plan.quorum(8).honest_in_sum
                    assert total == table.exact(members)
    assert opened


def test_no_views_of_the_dealers_open_a_small_sum():
    """Each client is shown t others as dealers, or more, and is told of t of these, or more."""
    draw = random.Random(6)
    opened = refused = 0
    for _ in range(30):
        table = RingTable()
        script = table.script().invite().roster()
        shown = {
            n: {n, *draw.sample(script.around(n), draw.choice((3, 4, 4)))} for n in script.ring
        }
        boxes = {n: script.boxes_for(n, shown[n]) for n in script.ring}
        script.deliver(boxes.get)
        acknowledged = {n: {m for m in shown[n] if n in shown[m]} for n in script.ring}
        told = {n: draw.choice((shown, acknowledged, acknowledged))[n] for n in script.ring}
        script.survive(lambda n, told=told: told[n])
        script.request()
        refused += Reason.NOT_ACKNOWLEDGED in {reason for _, reason in table.refusals}
        for size in range(1, 9):
            for members in itertools.combinations(table.names, size):
                if (total := script.sum_of(members)) is not None:
                    opened += 1
                    assert size >= table.plan.quorum(8).honest_in_sum
                    assert total == table.exact(members)
    assert opened
    assert refused
