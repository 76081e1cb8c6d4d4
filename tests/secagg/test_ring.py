"""What only a ring has: places, neighbourhoods with too few in them, a word for each neighbour."""

import itertools
import math
from collections import Counter

import msgspec
import pytest
from scipy.stats import chi2

from fedprivacy.errors import Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg.graph import ring_neighbours, ring_order
from fedprivacy.secagg.masking import ClientPhase
from fedprivacy.secagg.masking.messages import (
    AcknowledgedInput,
    Inclusion,
    InclusionSignatures,
    Neighbourhood,
    SealedShares,
)
from fedprivacy.wire import decode, encode, verify_path
from oracle import came, neighbourhoods, wanted
from sumdrive import PLUS_CURIOUS, PLUS_SEMI, SPARSE, Drive, Sum

ANY = 1 << 20
FALSE_ALARM = 1e-6

# ---------------------------------------------------------------------- the graph


@pytest.mark.parametrize("size", range(2, 12))
def test_a_ring_is_regular_symmetric_and_of_the_nearest(size):
    for degree in range(2, size + 2, 2):
        near = [set(ring_neighbours(place, size, degree)) for place in range(size)]
        for place, other in itertools.product(range(size), repeat=2):
            apart = min((place - other) % size, (other - place) % size)
            assert (other in near[place]) == (
                0 < apart <= degree // 2 or 0 < apart <= degree >= size - 1
            )
            assert (other in near[place]) == (place in near[other])
        assert {len(n) for n in near} == {min(degree, size - 1)}


def test_every_order_of_a_ring_is_as_likely_as_any_other():
    """Chi-square over the orders of four, on fixed seeds; it fails a good one once in 10^6."""
    drawn = Counter(ring_order(4, rng=InsecureTestRng(f"order {i}".encode())) for i in range(4800))
    assert set(drawn) == set(itertools.permutations(range(4)))
    expected = 4800 / math.factorial(4)
    statistic = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert statistic < chi2.isf(FALSE_ALARM, math.factorial(4) - 1)


def shown(outcome):
    return {n: decode(Neighbourhood, asked[0], limit=ANY) for n, asked in outcome.asked.items()}


@pytest.mark.parametrize("setting", SPARSE, ids=str)
def test_all_clients_hold_one_root_and_their_neighbours_are_proven_to_it(setting):
    case = Sum(setting, clients=12)
    told = shown(Drive(case).run())
    assert set(told) == set(case.names)
    assert len({(message.size, message.root) for message in told.values()}) == 1
    places = {}
    for name, message in told.items():
        assert len(message.entries) == case.degree + 1
        for placed in message.entries:
            leaf = placed.entry.leaf()
            assert verify_path(message.root, 12, placed.position, leaf, placed.path)
            who = placed.entry.membership.client_id
            assert places.setdefault(who, placed.position) == placed.position
        others = {p.position for p in message.entries} - {places[name]}
        assert others == set(ring_neighbours(places[name], 12, case.degree))
    assert sorted(places.values()) == list(range(12))


def test_each_attempt_draws_a_ring_of_its_own():
    rings = set()
    for seed in range(4):
        around = neighbourhoods(Drive(Sum(PLUS_SEMI, clients=12, seed=seed)).run())
        rings.add(tuple(sorted(around["c000"])))
    assert len(rings) > 1


# ---------------------------------------------------------------------- too few around somebody


def run(case, sent):
    outcome = Drive(case, sent).run()
    assert came(outcome) == wanted(case, sent, outcome)
    assert not outcome.failed
    return outcome


def places(outcome):
    """Each client as it stands on the ring."""
    return {
        name: next(p for p in message.entries if p.entry.membership.client_id == name)
        for name, message in shown(outcome).items()
    }


def at(places_of, *positions):
    """Who stands there."""
    names = {placed.position: name for name, placed in places_of.items()}
    return [names[position % len(names)] for position in positions]


def test_a_dealer_with_too_few_others_around_is_left_out():
    """Four that deal nothing leave the one between them two of its six; the rest have their sum."""
    ring = {"clients": 14, "degree": 6, "threshold": 3, "dropped": 5}
    case = Sum(PLUS_CURIOUS, **ring)
    alone, *lost = at(places(Drive(Sum(PLUS_CURIOUS, **ring)).run()), 0, -2, -1, 1, 2)
    outcome = run(case, dict.fromkeys(lost, 1))
    assert outcome.done.survivors == tuple(n for n in case.names if n not in {alone, *lost})
    # It dealt, and heard no more: no share of its own was delivered, and no mask with it is used.
    assert len(outcome.asked[alone]) == 1
    assert case.parties[alone].phase is ClientPhase.DEALT


def test_one_that_is_left_out_may_leave_too_few_for_others():
    """With t = k - 1, two losses around one undo the ring, place by place."""
    ring = {"clients": 10, "degree": 4, "threshold": 3, "dropped": 3}
    lost = at(places(Drive(Sum(PLUS_SEMI, **ring)).run()), -1, 1)
    outcome = run(Sum(PLUS_SEMI, **ring), dict.fromkeys(lost, 1))
    assert (outcome.error.reason, outcome.phase) == (Reason.TOO_FEW, "shares")
    assert str(outcome.error).endswith("0 dealers have enough others around them, 7 are needed")
    assert not outcome.error.culprits


@pytest.mark.parametrize("setting", SPARSE, ids=str)
def test_more_losses_than_planned_end_the_round_before_anyone_answers(setting):
    case = Sum(setting, clients=10)
    for messages, phase in enumerate(("keys", "shares", "input")):
        lost = case.names[: case.dropped + 1]
        outcome = run(Sum(setting, clients=10), dict.fromkeys(lost, messages))
        assert (outcome.error.reason, outcome.phase) == (Reason.TOO_FEW, phase)


@pytest.mark.parametrize("setting", SPARSE, ids=str)
def test_a_secret_that_too_few_could_open_is_asked_of_nobody(setting):
    """All inputs are in, then all but two around one client fall silent: nobody has unmasked."""
    case = Sum(setting, clients=12, threshold=3)
    lost = at(places(Drive(Sum(setting, clients=12, threshold=3)).run()), -1, 1, 2)
    outcome = run(case, dict.fromkeys(lost, 3))
    if setting is PLUS_SEMI:
        assert (outcome.error.reason, outcome.phase) == (Reason.SHARE_UNOPENED, "consistency")
        assert ClientPhase.ENDED not in {party.phase for party in case.parties.values()}
    else:
        assert (outcome.error.reason, outcome.phase) == (Reason.SHARE_UNOPENED, "unmasking")
    assert not outcome.error.culprits


def test_a_ring_that_losses_have_made_unsafe_is_not_drawn():
    """On a ring of ten sums of five are the least; on one of nine, four: the server gives up."""
    ring = {"clients": 10, "degree": 4, "threshold": 4, "min_clients": 5, "dropped": 1}
    outcome = Drive(Sum(PLUS_SEMI, **ring), {"c003": 0}).run()
    assert (outcome.error.reason, outcome.phase) == (Reason.GRAPH, "keys")
    assert not outcome.asked
    whole = run(Sum(PLUS_SEMI, **ring), {})
    assert whole.done.survivors == Sum(PLUS_SEMI, **ring).names


# ---------------------------------------------------------------------- acknowledgements


@pytest.mark.parametrize("change", ["other", "shorter", "longer", "none", "swapped"])
def test_an_input_without_what_its_sender_committed_to_stays_out_of_the_sum(change):
    case = Sum(PLUS_SEMI, clients=12)

    def tamper(name, phase, bodies):
        if phase != "input" or name != "c003":
            return bodies
        *chunks, last = bodies
        closing = decode(AcknowledgedInput, last, limit=ANY)
        given = closing.acknowledgements
        changed = {
            "other": bytes(16) + given[16:],
            "shorter": given[16:],
            "longer": given + bytes(16),
            "none": b"",
            "swapped": given[16:32] + given[:16] + given[32:],
        }[change]
        return [*chunks, encode(msgspec.structs.replace(closing, acknowledgements=changed))]

    outcome = Drive(case, tamper=tamper).run()
    assert outcome.refused == {"c003": [Reason.NOT_ACKNOWLEDGED]}
    assert outcome.done.survivors == tuple(n for n in case.names if n != "c003")
    assert outcome.done.total.tolist() == case.exact(outcome.done.survivors).tolist()


def test_a_box_with_other_commitments_than_this_ring_asks_for_is_malformed():
    case = Sum(PLUS_SEMI, clients=12)

    def tamper(name, phase, bodies):
        if phase != "shares" or name != "c003":
            return bodies
        (body,) = bodies
        dealt = decode(SealedShares, body, limit=ANY)
        first = msgspec.structs.replace(dealt.boxes[0], commitments=bytes(64))
        changed = msgspec.structs.replace(dealt, boxes=(first, *dealt.boxes[1:]))
        return [encode(changed)]

    assert Drive(case, tamper=tamper).run().refused == {"c003": [Reason.MALFORMED]}


# ---------------------------------------------------------------------- words for neighbours


def spoiling(liars):
    """Clients whose signatures do not hold."""

    def tamper(name, phase, bodies):
        if phase != "consistency" or name not in liars:
            return bodies
        (body,) = bodies
        given = decode(InclusionSignatures, body, limit=ANY).signatures
        return [encode(InclusionSignatures(tuple(Inclusion(s.member, bytes(64)) for s in given)))]

    return tamper


def test_signatures_that_do_not_hold_cost_nobody_anything_while_t_do():
    case = Sum(PLUS_SEMI, clients=12)
    liars = at(places(Drive(Sum(PLUS_SEMI, clients=12)).run()), 5)
    outcome = Drive(case, tamper=spoiling(liars)).run()
    assert not outcome.refused
    assert not outcome.failed
    assert outcome.done.survivors == case.names
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()


def test_who_has_too_few_that_hold_refuses_and_the_others_go_on():
    """Two liars side by side: those with both around them have two good words of three."""
    case = Sum(PLUS_SEMI, clients=12)
    ring = places(Drive(Sum(PLUS_SEMI, clients=12)).run())
    outcome = Drive(case, tamper=spoiling(at(ring, 5, 6))).run()
    refusing = at(ring, 4, 7)
    assert {n: e.reason for n, e in outcome.failed.items()} == dict.fromkeys(
        refusing, Reason.CONSISTENCY_QUORUM
    )
    assert outcome.done.survivors == case.names
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()


@pytest.mark.parametrize("change", ["fewer", "more", "oneself", "disorder"])
def test_a_client_that_signs_for_others_than_it_was_told_of_is_out(change):
    case = Sum(PLUS_SEMI, clients=8)

    def tamper(name, phase, bodies):
        if phase != "consistency" or name != "c003":
            return bodies
        (body,) = bodies
        given = decode(InclusionSignatures, body, limit=ANY).signatures
        changed = {
            "fewer": given[1:],
            "more": (*given, given[-1]),
            "oneself": tuple(sorted((*given, Inclusion(3, bytes(64))), key=lambda s: s.member)),
            "disorder": given[::-1],
        }[change]
        return [encode(InclusionSignatures(changed))]

    outcome = Drive(case, tamper=tamper).run()
    assert outcome.refused == {"c003": [Reason.CONSISTENCY_SIGNATURE]}
    # Its input stays in the sum: it has survived, and its neighbours do without its word.
    assert outcome.done.survivors == case.names
    assert outcome.done.total.tolist() == case.exact(case.names).tolist()
