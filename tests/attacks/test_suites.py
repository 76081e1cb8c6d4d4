"""Suites and what they keep: what ended is not run again, what was changed is."""

import json
import stat

import pytest

from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.attacks.suite_folder import SuiteFolder, kept_results
from fedprivacy.attacks.suites import Suite, run_kept
from fedprivacy.errors import ConfigurationError


@pytest.fixture
def scenario(project):
    return Scenario.from_toml(project / "attacks" / "sparse-coordinates" / "scenario.toml")


@pytest.fixture
def clock():
    return iter(range(10_000)).__next__


def lines(folder):
    return (folder / "attacks" / "trials.jsonl").read_text("utf-8").splitlines()


def test_quick_has_every_attack_once_and_full_with_every_seed():
    for suite, least in ((Suite.QUICK, 1), (Suite.FULL, 5)):
        found = suite.scenarios()
        assert [scenario.attack.name for scenario, _ in found] == list(ATTACKS)
        assert all(len(seeds) >= least for _, seeds in found)
    assert all(len(seeds) == 1 for _, seeds in Suite.QUICK.scenarios())


def test_an_interrupted_run_goes_on_where_it_was(scenario, tmp_path, clock):
    first = next(run_kept(scenario, (1, 2), SuiteFolder.open(tmp_path), clock))
    assert not first.earlier
    ended = list(run_kept(scenario, (1, 2), SuiteFolder.open(tmp_path), clock))
    assert [one.earlier for one in ended] == [True, False, False, False]
    assert ended[0].trial == first.trial
    again = list(run_kept(scenario, (1, 2), SuiteFolder.open(tmp_path), clock))
    assert all(one.earlier for one in again)
    assert [one.trial for one in again] == [one.trial for one in ended]
    assert len(lines(tmp_path)) == 4
    assert [json.loads(line)["seed"] for line in lines(tmp_path)] == [1, 2, 1, 2]
    assert stat.S_IMODE((tmp_path / "attacks").stat().st_mode) == 0o700


def test_a_line_that_was_cut_off_is_dropped_and_written_anew(scenario, tmp_path, clock):
    (first, *_) = list(run_kept(scenario, (1,), SuiteFolder.open(tmp_path), clock))
    path = tmp_path / "attacks" / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    ended = list(run_kept(scenario, (1,), SuiteFolder.open(tmp_path), clock))
    assert [one.earlier for one in ended] == [True, False]
    assert ended[0].trial == first.trial
    assert len(lines(tmp_path)) == 2
    assert all(json.loads(line) for line in lines(tmp_path))


def test_other_options_are_another_trial(scenario, tmp_path, clock):
    list(run_kept(scenario, (1,), SuiteFolder.open(tmp_path), clock))
    kept, setting = SuiteFolder.open(tmp_path), scenario.settings[0]
    assert kept.kept(scenario, setting, 1)
    assert kept.kept(scenario, setting, 2) is None
    other = type(setting)(setting.name, setting.plan, {**setting.options, "own": 12})
    assert kept.kept(scenario, other, 1) is None
    other = type(setting)(setting.name, scenario.settings[1].plan, setting.options)
    assert kept.kept(scenario, other, 1) is None


def test_a_stopped_trial_is_kept_as_stopped(project, tmp_path, clock):
    scenario = Scenario.from_toml(project / "attacks" / "differencing" / "scenario.toml")
    for _ in range(2):
        ended = list(run_kept(scenario, (1,), SuiteFolder.open(tmp_path), clock))
    assert [one.earlier for one in ended] == [True] * 3
    assert ended[1].trial.found.reason == "survivors-overlap"
    kept = SuiteFolder.open(tmp_path)
    results = scenario.results([one.trial for one in ended])
    kept.finish(results)
    assert kept_results(tmp_path) == results
    # Pictures are in the file, and come back as they were.
    assert len(results[0].measured[0].pictures) == 3


@pytest.mark.parametrize("line", [b"{}\n", b"\xff\n", b"[" * 4000 + b"\n"])
def test_a_foreign_line_is_refused(line, tmp_path):
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "trials.jsonl").write_bytes(line)
    with pytest.raises(ConfigurationError, match=r"trials\.jsonl, line 1"):
        SuiteFolder.open(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file"):
        SuiteFolder.open(tmp_path / "file")
