"""`fedprivacy attack`: what a person and a program get."""

import json

import pytest

from fedprivacy.attacks.registry import ATTACKS


@pytest.fixture
def scenario(project):
    return project / "attacks" / "sparse-coordinates" / "scenario.toml"


def test_the_list_names_every_attack_whole(cli):
    done = cli("attack", "list")
    assert done.code == 0
    for name in ATTACKS:
        assert f"{name} " in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_run_tells_target_control_and_difference(cli, scenario):
    done = cli("attack", "run", scenario, "--seed", 5)
    assert done.code == 0
    assert "secagg (secagg, noise: none): does better than its control" in done.out
    assert "does not prove privacy" in done.out
    assert "difference" in done.out
    assert "secagg, seed 5: target 1.000, control 0.000" in done.err
    assert "as expected.json says" in done.err


def test_json_is_all_of_stdout(cli, scenario):
    done = cli("attack", "run", scenario, "--seed", 6, "--seed", 6, "--json")
    found = json.loads(done.out)
    assert [each["setting"] for each in found] == ["secagg", "secagg-dp"]
    assert [run["seed"] for run in found[0]["measured"]] == [6]
    assert found[0]["measured"][0]["difference"] == 1.0


def test_a_missing_scenario_is_one_line(cli):
    done = cli("attack", "run", "none.toml")
    assert done.code == 2
    assert done.err == "fedprivacy: none.toml: No such file or directory\n"
