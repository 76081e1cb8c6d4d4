"""An audit of a plan as a user runs it: what it records, what it accuses, what it refuses.

Pooled over three runs here; `test_auditing_rounds.py` has ten and twenty at night. The test was
fixed beforehand at a familywise error of 1e-3, and seeds are fixed as well.
"""

import pytest

from audits import CANARIES, CLIENTS, CORRUPT, DELTA, GUESSES, PLAN, canary_run, less_noise
from fedprivacy.attacks.auditing.campaign import Audit, most_canaries
from fedprivacy.attacks.auditing.canaries import CanaryRun
from fedprivacy.attacks.auditing.verdict import ERROR
from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds import Plan

LONGER = PLAN.replace("rounds = 1", "rounds = 2").replace("epsilon = 1.1", "epsilon = 2.0")


def audit(runs=1, plan=PLAN, **of_run):
    run = CanaryRun(Plan.parse(plan), CLIENTS, CANARIES, silent=CORRUPT, **of_run)
    return Audit(run, runs=runs, guesses=GUESSES, delta=DELTA)


def carried_out(wanted):
    told = []
    return wanted.carry_out(lambda seed, right: told.append((seed, right))), told


def test_an_audit_says_what_it_did_and_what_it_is_held_against():
    found, told = carried_out(audit())
    assert (found.epsilon, found.delta) == (canary_run().epsilon(DELTA), DELTA)
    assert found.error == ERROR
    assert (found.runs, found.rounds, found.clients, found.silent) == (1, 1, CLIENTS, CORRUPT)
    assert (found.canaries, found.guesses, found.seeds) == (CANARIES, GUESSES, (1,))
    assert told == [(1, found.correct)]
    assert not found.accused
    assert 0 <= found.lower_bound <= found.epsilon
    assert found.p_value > ERROR
    again, _ = carried_out(audit())
    assert again == found


@pytest.mark.parametrize("ratio", [20, 400], ids=["noise over sqrt 20", "noise over 20"])
def test_missing_noise_is_accused(ratio):
    with less_noise(ratio):
        found, _ = carried_out(audit(runs=3))
    assert found.accused
    assert found.p_value <= ERROR
    assert found.lower_bound > found.epsilon


def test_over_several_rounds_more_is_claimed_and_missing_noise_still_seen():
    wanted = audit(plan=LONGER, rounds=2)
    assert wanted.registered.epsilon > 1.3 * audit().registered.epsilon
    found, _ = carried_out(wanted)
    assert not found.accused
    with less_noise(400):
        bad, _ = carried_out(wanted)
    assert bad.accused


def test_an_audit_that_could_accuse_nobody_is_refused_before_it_runs():
    run = canary_run()
    with pytest.raises(ConfigurationError, match="claim a smaller delta"):
        Audit(run, runs=10, guesses=GUESSES, delta=1e-4)
    for guesses in (0, 3, 2048):
        with pytest.raises(ConfigurationError, match=f"guesses = {guesses}"):
            Audit(run, runs=1, guesses=guesses, delta=DELTA)
    with pytest.raises(ConfigurationError, match=r"rounds = 2 where plan\.noise\.rounds = 1"):
        audit(rounds=2)
    for wrong in ({"rounds": 0}, {"silent": CLIENTS}):
        with pytest.raises(ConfigurationError, match="at least one round"):
            CanaryRun(Plan.parse(PLAN), CLIENTS, CANARIES, **wrong)


def test_there_are_as_many_canaries_as_honest_clients_have_room_for():
    plan = Plan.parse(PLAN)
    assert most_canaries(plan, CLIENTS, CORRUPT) == 1024
    small = Plan.parse(PLAN.replace("max_units_per_client = 128", "max_units_per_client = 7"))
    assert most_canaries(small, CLIENTS, CORRUPT) == 64
