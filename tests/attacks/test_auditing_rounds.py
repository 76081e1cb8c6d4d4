"""Canaries in real runs of the round loop: bugs are found, and what is correct is not accused.

The verdict is one test over all runs, registered before them, with a familywise error of 1e-3; the
seeds are fixed, so that nothing is left to chance here.
"""

import contextlib

import numpy as np
import pytest

from audits import (
    CANARIES,
    CLIENTS,
    CORRUPT,
    DELTA,
    GUESSES,
    PLAN,
    canary_run,
    clip_off,
    correct_guesses,
    less_noise,
    no_bound,
    registered,
)
from fedprivacy.attacks.auditing.auditor import Auditor
from fedprivacy.attacks.auditing.canaries import CanaryRun
from fedprivacy.attacks.auditing.one_shot import one_shot_estimate
from fedprivacy.attacks.auditing.verdict import ERROR
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.federation import Federation
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan

BUGS = {
    "noise over sqrt 20": (lambda: less_noise(20), 1.0),
    "noise over 20": (lambda: less_noise(400), 1.0),
    "no bound on the norm": (no_bound, 5.0),
}


def verdict(runs, bug=contextlib.nullcontext, strength=1.0, **setting):
    with bug():
        correct = correct_guesses(canary_run(strength, **setting), range(runs))
    return registered(runs).verdict(correct)


def test_the_claim_is_the_accountants():
    assert canary_run().epsilon(1e-5) == pytest.approx(1.013, abs=1e-3)
    assert 1.2 < canary_run().epsilon(DELTA) < 1.3
    assert ERROR == 1e-3


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found_in_three_runs(name):
    bug, strength = BUGS[name]
    found = verdict(3, bug, strength)
    assert found.accused
    assert found.lower_bound > registered(3).epsilon
    assert "the claim is false" in str(found)


def test_two_runs_against_a_server_with_silent_clients_are_not_accused():
    found = verdict(2)
    assert not found.accused
    assert found.lower_bound <= registered(2).epsilon
    assert "nothing speaks against the claim" in str(found)


def test_without_the_clip_the_rounding_still_bounds_a_unit():
    """A second line: a vector that is too long is rounded to zeros."""
    run = CanaryRun(Plan.parse(PLAN), CLIENTS, 64, strength=5.0)
    with clip_off():
        scores = run.scores(rng=InsecureTestRng(1))
    with no_bound():
        unbounded = run.scores(rng=InsecureTestRng(1))
    # A mean of 32 scores of deviation 4.4: half of the canaries' length is 3 deviations off.
    assert abs(scores.of_included.mean() - scores.of_excluded.mean()) < 2.5
    assert unbounded.of_included.mean() - unbounded.of_excluded.mean() > 2.5


def test_a_single_run_shows_no_more_than_was_spent():
    scores = canary_run().scores(rng=InsecureTestRng(1))
    audit, spent = Auditor(scores, 1e-5, error=ERROR), canary_run().epsilon(1e-5)
    assert audit.one_run(GUESSES) <= spent
    assert audit.fdp(GUESSES) <= spent
    assert len(scores.of_included) + len(scores.of_excluded) == CANARIES


def test_the_one_shot_estimate_of_a_real_round_is_near_what_is_claimed():
    """128 uniform directions in 2,048 dimensions, each at a client or at nobody.

    The mean cosine has a deviation of 0.09 in units of the noise's, where the claim is of 0.25: six
    deviations of it are within these limits, and no more than that is asked of an estimate.
    """
    plan, draw = Plan.parse(PLAN), Draw(InsecureTestRng(21))
    directions = draw.normals(256, 2048)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    present = directions[:128]
    with Federation.of(plan, CLIENTS, rng=InsecureTestRng(22), silent=CORRUPT) as federation:
        rows = {name: present[i::10] for i, name in enumerate(federation.names[:10])}
        attempt = federation.round(
            1, lambda name, _: rows[name], broadcast=b"audit", length=directions.shape[1]
        )
    total = attempt.view.total
    cosines = directions @ total / np.linalg.norm(total)
    shown, absent = (one_shot_estimate(c, 2048, 1e-5) for c in (cosines[:128], cosines[128:]))
    assert 0 <= shown.epsilon < 5
    assert cosines[:128].mean() > cosines[128:].mean()
    # Without the noise the same estimate is far above.
    exact = present.sum(axis=0)
    clear = one_shot_estimate(present @ exact / np.linalg.norm(exact), 2048, 1e-5)
    assert clear.epsilon > 5 > absent.epsilon


def test_canaries_that_do_not_fit_are_refused():
    plan = Plan.parse(PLAN)
    with pytest.raises(ConfigurationError, match="canaries = 1: at least 2"):
        CanaryRun(plan, CLIENTS, 1)
    with pytest.raises(ConfigurationError, match="12 clients hold 1536 units"):
        CanaryRun(plan, CLIENTS, 2048)
    with pytest.raises(ConfigurationError, match="12 clients hold 12 units: take fewer"):
        CanaryRun(Plan.parse(PLAN.replace("patient", "client")), CLIENTS, CANARIES)
    noiseless = Plan.parse(PLAN.partition("[noise]")[0])
    with pytest.raises(ConfigurationError, match="claims nothing to audit"):
        CanaryRun(noiseless, CLIENTS, CANARIES).epsilon(1e-5)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found_in_ten_runs(name):
    bug, strength = BUGS[name]
    assert verdict(10, bug, strength).accused


@pytest.mark.nightly
@pytest.mark.parametrize("silent", [0, 2])
def test_twenty_runs_of_what_is_correct_are_not_accused(silent):
    found = verdict(20, silent=silent)
    assert not found.accused
    assert found.lower_bound <= registered(20).epsilon
