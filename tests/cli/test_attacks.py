"""`fedprivacy attack`: what a person and a program get."""

import json

import pytest

from fedprivacy.attacks.registry import ATTACKS


@pytest.fixture
def scenario(project):
    return project / "attacks" / "fedmia" / "scenario.toml"


def test_the_list_names_every_attack_whole(cli):
    done = cli("attack", "list")
    assert done.code == 0
    for name in ATTACKS:
        assert f"{name} " in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_run_tells_target_control_and_difference(cli, scenario):
    done = cli("attack", "run", scenario, "--seed", 5)
    assert done.code == 0
    assert "plain (plain, noise: none): above its control with every seed" in done.out
    assert "does not prove privacy" in " ".join(done.out.split())
    assert "difference" in done.out
    assert "plain, seed 5: target 0.8" in done.err
    assert "as expected.json says" in done.err


def test_json_is_all_of_stdout(cli, scenario):
    done = cli("attack", "run", scenario, "--seed", 6, "--seed", 6, "--json")
    found = json.loads(done.out)
    assert [each["setting"] for each in found] == ["plain"]
    assert [run["seed"] for run in found[0]["measured"]] == [6]
    assert found[0]["measured"][0]["difference"] > 0.2


def test_a_missing_scenario_is_one_line(cli):
    done = cli("attack", "run", "none.toml")
    assert done.code == 2
    assert done.err == "fedprivacy: none.toml: No such file or directory\n"


def test_an_attacks_name_stands_for_the_scenario_that_ships(cli):
    done = cli("attack", "run", "fedmia", "--seed", 2, "--json")
    assert json.loads(done.out)[0]["attack"] == "fedmia"
