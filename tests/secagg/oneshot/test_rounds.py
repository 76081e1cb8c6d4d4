"""Whole rounds of one-shot aggregation: exact sums, whoever is lost and whenever."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.errors import Reason
from fedprivacy.secagg import SERVER, Mark
from oneshotdrive import PHASES, OneShotDrive, OneShotSum


def test_the_sum_of_everyone_is_exact():
    case = OneShotSum()
    outcome = OneShotDrive(case).run()
    assert outcome.done.survivors == case.names
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()
    assert not outcome.refused
    assert not outcome.failed


def test_clients_may_be_the_committee():
    case = OneShotSum(clients=4, members=3, threshold=2, joint=True)
    outcome = OneShotDrive(case).run()
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()
    assert not outcome.refused
    assert not outcome.failed


def test_a_member_whose_input_was_refused_still_opens_the_sum():
    case = OneShotSum(clients=4, members=3, threshold=3, joint=True)

    def spoil(name, phase, bodies):
        return [b"\xc1"] if (name, phase) == ("c001", "input") and len(bodies) > 1 else bodies

    outcome = OneShotDrive(case, tamper=spoil).run()
    assert outcome.refused == {"c001": [Reason.MALFORMED]}
    assert outcome.done.survivors == ("c000", "c002", "c003")
    assert outcome.done.total.tolist() == case.exact(outcome.done.survivors).tolist()


@settings(max_examples=15)
@given(
    clients=st.integers(2, 6),
    length=st.integers(1, 20_000),
    bound=st.integers(1, 1 << 20),
    seed=st.integers(0, 1 << 32),
    extreme=st.booleans(),
)
def test_sums_of_any_length_and_bound_are_exact(clients, length, bound, seed, extreme):
    rng = np.random.default_rng(seed)
    names = [f"c{i:03}" for i in range(clients)]
    if extreme:
        vectors = {n: rng.choice([-bound, bound], length) for n in names}
    else:
        vectors = {n: rng.integers(-bound, bound, length, endpoint=True) for n in names}
    case = OneShotSum(
        clients=clients, members=2, threshold=2, length=length, bound=bound, vectors=vectors
    )
    total = OneShotDrive(case).run().done.total
    assert np.array_equal(total, sum(vectors.values()))


@pytest.mark.parametrize("sign", [-1, 1])
def test_all_clients_at_their_bound_do_not_wrap(sign):
    vectors = {f"c{i:03}": np.full(9000, sign * 32767) for i in range(20)}
    case = OneShotSum(clients=20, length=9000, bound=32767, vectors=vectors)
    assert set(OneShotDrive(case).run().done.total) == {sign * 32767 * 20}


def test_a_slice_of_the_sum_is_that_of_the_whole():
    case = OneShotSum(length=70_000, bound=3, clients=2, members=1, threshold=1)
    exact = sum(case.vectors.values())
    total = OneShotDrive(case).run().source
    assert len(total) == 70_000
    for a, b, step in [(0, 1, 1), (5, 40_000, 1), (69_990, 80_000, 1), (9, 5, 1), (0, 99, 7)]:
        assert total[a:b:step].tolist() == exact[a:b:step].tolist()


# ---------------------------------------------------------------------- losses


def wanted(lost, clients, members, threshold, floor):
    """The survivors that the rule gives; None for an abort."""

    def there(names, phase):
        return [n for n in names if n not in lost or PHASES.index(lost[n]) > PHASES.index(phase)]

    if any(len(there(members, p)) < threshold for p in PHASES if p != "input"):
        return None
    survivors = tuple(there(clients, "input"))
    return survivors if len(survivors) >= floor else None


def test_every_loss_of_members_at_every_phase_ends_as_the_rule_says():
    """Of three members with t = 2, each lost at one of four phases or never: 125 patterns."""
    moments = [None, *(p for p in PHASES if p != "input")]
    sums = 0
    for pattern in itertools.product(moments, repeat=3):
        case = OneShotSum(clients=2, members=3, threshold=2, length=1, bound=1)
        lost = {n: p for n, p in zip(case.committee_names, pattern, strict=True) if p}
        outcome = OneShotDrive(case, lost).run()
        expected = wanted(lost, case.names, case.committee_names, 2, 2)
        assert (outcome.done.survivors if outcome.done else None) == expected, pattern
        if outcome.done:
            assert outcome.done.total.tolist() == case.exact(expected).tolist()
            sums += 1
        else:
            assert outcome.error.reason is Reason.TOO_FEW
    assert sums == 13  # all three at every phase, or exactly one lost: 1 + 3 * 4


def test_clients_and_members_are_lost_together():
    draw = random.Random(1)
    ended = set()
    for number in range(25):
        case = OneShotSum(clients=5, members=5, threshold=3, length=2, seed=number)
        lost = {n: "input" for n in case.names if draw.random() < 0.4}
        partial = {n: draw.randint(0, 2) for n in lost}
        late = [p for p in PHASES if p != "input"]
        lost |= {n: draw.choice(late) for n in case.committee_names if draw.random() < 0.3}
        outcome = OneShotDrive(case, lost, partial).run()
        expected = wanted(lost, case.names, case.committee_names, 3, 2)
        assert (outcome.done.survivors if outcome.done else None) == expected
        if outcome.done:
            assert outcome.done.total.tolist() == case.exact(expected).tolist()
        ended.add(outcome.done is not None)
    assert ended == {True, False}


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_messages_arrive_does_not_matter(draw):
    def shuffled(pairs):
        """Any order that keeps each sender's own."""
        queues = {}
        for name, body in pairs:
            queues.setdefault(name, []).append(body)
        while queues:
            name = draw.choice(sorted(queues))
            yield name, queues[name].pop(0)
            if not queues[name]:
                del queues[name]

    case = OneShotSum(clients=3, members=3, threshold=2, length=5)
    outcome = OneShotDrive(case, order=shuffled).run()
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()


# ---------------------------------------------------------------------- what is kept


def test_a_client_is_spent_before_bytes_leave_and_a_member_marked_before_it_signs():
    case = OneShotSum(clients=2, members=2, threshold=2)
    outcome = OneShotDrive(case).run()
    spent = [(n, e.mark) for n, e in outcome.persisted if n in case.names]
    assert spent == [("c000", Mark.SPENT), ("c001", Mark.SPENT)]
    answered = [(n, e.members) for n, e in outcome.persisted if e.mark is Mark.ANSWERED]
    assert answered == [("m00", ("c000", "c001")), ("m01", ("c000", "c001"))]
    # The server's journal has the opening before anyone is asked for it.
    marks = [e.mark for n, e in outcome.persisted if n == SERVER]
    assert marks == [Mark.PHASE] * 4 + [Mark.UNMASKING, Mark.PHASE]


def test_a_client_says_one_thing_after_the_committee_is_known():
    """One exchange: everything that leaves a client leaves it in the phase input."""
    outcome = OneShotDrive(OneShotSum()).run()
    assert {phase for name, phase in outcome.sent if name[0] == "c"} == {"input"}


@pytest.mark.nightly
def test_a_hundred_clients_and_seven_of_ten_members():
    case = OneShotSum(
        clients=100, members=10, threshold=7, corrupt_members=3, length=200_000, bound=32767
    )
    lost = {f"c{i:03}": "input" for i in range(0, 100, 7)}
    lost |= {"m01": "opening", "m05": "consistency", "m08": "unmasking"}
    outcome = OneShotDrive(case, lost, partial=dict.fromkeys(lost, 1)).run()
    survivors = tuple(n for n in case.names if n not in lost)
    assert outcome.done.survivors == survivors
    assert np.array_equal(outcome.done.total, sum(case.vectors[n] for n in survivors))
