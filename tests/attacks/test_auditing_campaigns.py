"""An audit of a plan as a user runs it: what it records, what it accuses, what it refuses.

Pooled over three runs here; `test_auditing_rounds.py` has ten and twenty at night. The test was
fixed beforehand at a familywise error of 1e-3, and seeds are fixed as well.
"""

import dataclasses

import pytest

from audits import CANARIES, CLIENTS, CORRUPT, DELTA, GUESSES, PLAN, canary_run, less_noise
from fedprivacy.attacks.auditing.campaign import Audit, audit_journal, most_canaries
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
    return wanted.carry_out(lambda seen, _: told.append((seen.seed, seen.correct))), told


def test_an_audit_says_what_it_did_and_what_it_is_held_against():
    found, told = carried_out(audit())
    assert (found.epsilon, found.delta) == (canary_run().epsilon(DELTA), DELTA)
    assert found.error == ERROR
    assert (found.runs, found.rounds, found.clients, found.silent) == (1, 1, CLIENTS, CORRUPT)
    assert (found.canaries, found.guesses, found.seeds) == (CANARIES, GUESSES, (1,))
    assert (found.unit, found.length) == ("patient", CANARIES)
    # Of an epsilon of 1.26; the estimate of one run has a deviation of some 0.25.
    assert 0.2 < found.estimate < 2.6
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
    assert most_canaries(small, CLIENTS, CORRUPT) == 70
    clients = Plan.parse(PLAN.replace("patient", "client"))
    assert most_canaries(clients, CLIENTS, CORRUPT) == 10


def of_clients(runs=8):
    run = CanaryRun(Plan.parse(PLAN.replace("patient", "client")), CLIENTS, 10, silent=CORRUPT)
    return Audit(run, runs=runs, guesses=4, delta=DELTA)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The audit of a plan whose unit is a client, and the folder that kept its runs."""
    folder = tmp_path_factory.mktemp("run")
    return of_clients().carry_out(lambda *_: None, audit_journal(folder)), folder


def test_where_the_unit_is_a_client_a_canary_is_all_that_one_sends(audited):
    """Worst-case updates of ten clients, each in or out."""
    found, _ = audited
    assert (found.unit, found.canaries, found.length) == ("client", 10, 1024)
    assert not found.accused
    with less_noise(400):
        bad, _ = carried_out(of_clients())
    assert bad.accused
    assert bad.correct == 32
    assert bad.estimate > 3 * found.estimate


def test_so_few_clients_that_nobody_could_be_accused_are_refused():
    with pytest.raises(ConfigurationError, match="take more runs, guesses or canaries"):
        of_clients(runs=1)


def test_an_interrupted_audit_goes_on_where_it_was(audited, tmp_path):
    """What had ended is not run again, and the record is that of an audit in one piece."""
    whole, folder = audited
    lines = (folder / "attacks" / "audit.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "audit.jsonl").write_bytes(b"".join(lines[:6]) + lines[6][:40])
    kept, told = audit_journal(tmp_path), []
    found = of_clients().carry_out(lambda seen, earlier: told.append((seen.seed, earlier)), kept)
    assert told == [(seed, seed <= 6) for seed in range(1, 9)]
    assert found == whole
    assert (tmp_path / "attacks" / "audit.jsonl").read_bytes() == b"".join(lines)
    # Another plan's runs are others.
    other = CanaryRun(Plan.parse(PLAN), CLIENTS, 10, silent=CORRUPT)
    unseen = dataclasses.replace(of_clients(), run=other)
    assert {kept.get(a.key_of(1)) is None for a in (of_clients(), unseen)} == {False, True}
    kept.remove()
    assert audit_journal(tmp_path).get(of_clients().key_of(1)) is None
