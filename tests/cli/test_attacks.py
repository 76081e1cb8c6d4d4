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


def test_a_flower_apps_plan_is_a_target_beside_the_first_setting(cli, project):
    """Its unit is one picture: what a client sends in this attack is one unit's."""
    plan = project / "examples/flower/torch-digits/privacy.toml"
    done = cli("attack", "run", "sparse-coordinates", "--seed", 1, "--plan", plan, "--json")
    assert done.code == 0, done.err
    open_, yours = json.loads(done.out)
    assert (open_["setting"], yours["setting"]) == ("secagg", "your plan")
    assert yours["noise"] == "distributed, multiplier 5.3"
    assert open_["measured"][0]["target"] > 0.9
    assert yours["measured"][0]["target"] < 0.2


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


def test_what_is_kept_is_not_run_again_and_the_report_shows_it(cli, tmp_path):
    words = ("attack", "run", "fedmia", "--seed", 2, "--out", "here", "--json")
    first, again = cli(*words), cli(*words)
    assert json.loads(first.out) == json.loads(again.out)
    assert "(kept)" not in first.err
    assert "plain, seed 2: target" in again.err
    assert "(kept)" in again.err
    assert "the results are in here/attacks" in again.err
    done = cli("report", "here")
    assert done.out.splitlines() == ["here/report.html", "here/report.json"]
    assert "fedmia" in (tmp_path / "here" / "report.html").read_text("utf-8")
    told = cli("report", "here", "--format", "text")
    assert "fedmia: membership of an example" in told.out
    assert json.loads(cli("report", "here", "--format", "json").out)["record"] is None
    assert cli("report", "here", "--format", "html").out.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("attack", "run"), "give a scenario, an attack's name or --suite: one of them"),
        (("attack", "run", "lira", "--suite", "quick"), "one of them"),
        (("attack", "run", "--suite", "quickest"), "'quickest'"),
        (("report",), "nothing to report is named"),
        (("report", "x", "--client", "y"), "ask for one"),
        (("report", "x", "--units", 5), "--units 5 speaks of a client's store: give --client"),
        (("report", "nowhere"), "nowhere has neither record.json nor results of attacks"),
    ],
)
def test_what_cannot_be_meant_is_one_line(cli, words, said):
    done = cli(*words)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
