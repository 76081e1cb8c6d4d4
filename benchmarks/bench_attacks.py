"""One row an attack: what a trial of the undefended setting takes, and how well it does.

A trial is one seed with its control, the real rounds included; torch on one core. The scenario's
first setting is the one that is least protected.
"""

from __future__ import annotations

import pytest

from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import Measured
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.shipped import shipped_path

ROUNDS = 3


@pytest.mark.parametrize("name", ATTACKS)
def test_one_trial(bench, name):
    if ATTACKS[name].extra:
        pytest.importorskip(ATTACKS[name].extra)
    scenario = Scenario.from_toml(shipped_path(f"attacks/{name}/scenario.toml"))
    setting, found = scenario.settings[0], []

    def trial():
        seed = scenario.file.seeds[len(found)]
        return bench.seconds(lambda: found.append(scenario.trial(setting, seed).found))

    seconds = [s for s, _ in bench.in_turn(trial, lambda: None, rounds=ROUNDS)]
    measured = [each for each in found[-ROUNDS:] if isinstance(each, Measured)]
    row = bench.row(
        f"attack-{name}",
        f"{ATTACKS[name].about}: one trial with its control, setting {setting.name}",
        quantity="seconds",
        alone=seconds,
        sizes={"clients": scenario.file.clients, "measured": scenario.attack.metric},
        found={
            "target": sum(m.target for m in measured) / len(measured),
            "control": sum(m.control for m in measured) / len(measured),
        },
    )
    bench.keep(row)
