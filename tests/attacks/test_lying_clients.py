"""One client that lies about its values spoils a secure sum, unseen: a measured non-claim."""

import numpy as np
import pytest

from fedprivacy.attacks.federation import Federation
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan


@pytest.mark.parametrize("name", ["plain", "secagg"])
def test_a_vector_out_of_range_is_summed_as_it_is(project, name):
    plan = Plan.from_toml(project / f"attacks/plans/{name}.toml")
    names = tuple(f"client-{i}" for i in range(10))
    update = np.full(4, 0.5)
    sums = []
    for loud in ({}, {"client-3": 9}):
        with Federation(plan, names, InsecureTestRng(1), loud=loud) as federation:
            attempt = federation.round(1, lambda *_: update, broadcast=b"m", length=4)
        assert not attempt.stopped
        assert attempt.view.survivors == names
        sums.append(attempt.view.total)
    assert sums[0] == pytest.approx(10 * update, abs=1e-4)
    assert sums[1] - sums[0] == pytest.approx(8 * update, abs=1e-4)


@pytest.mark.parametrize(
    "setting", [pytest.param(0, marks=pytest.mark.nightly), 1], ids=["within the clip", "beyond"]
)
def test_within_its_clip_a_liar_does_little_and_out_of_range_all(project, setting):
    scenario = Scenario.from_toml(project / "attacks/backdoor/scenario.toml")
    found = scenario.trial(scenario.settings[setting], 1).found
    assert (found.target > 0.8) if setting else (found.target < 0.3)
    assert found.control < 0.1
    assert found.details["accuracy_control"] > 0.7
