"""The shipped attacks on real rounds: as expected, each beside its control.

One seed of each here, which is the quick suite; all five at night. Seeds are fixed.
"""

import json
import subprocess
import sys

import msgspec
import pytest

from fedprivacy.attacks.expected import Bounds, Expected
from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import AttackResult, Measured
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.attacks.stage import Stopped
from fedprivacy.cli.attack_jobs import Yours, suite_jobs
from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds import Plan


@pytest.fixture
def folder(project):
    return project / "attacks"


def assert_as_expected(path, seeds=None):
    scenario = Scenario.from_toml(path)
    if scenario.attack.extra == "torch":
        pytest.importorskip("torch")
    results = scenario.results(list(scenario.run(seeds)))
    faults = Expected.beside(path).faults(results)
    assert not faults
    return {result.setting: result for result in results}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_as_expected_with_a_seed(folder, name):
    found = assert_as_expected(folder / name / "scenario.toml", (1,))
    for setting, result in found.items():
        assert result.stopped or result.seeds == (1,)
        assert (result.noise == "none") or "plain" not in setting


@pytest.mark.nightly
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_as_expected_with_every_seed(folder, name):
    for result in assert_as_expected(folder / name / "scenario.toml").values():
        assert result.stopped or len(result.seeds) >= 5


def test_every_attack_has_a_folder_and_every_folder_an_attack(folder):
    folders = {path.parent.name for path in folder.glob("*/scenario.toml")}
    assert folders == set(ATTACKS)
    for name in folders:
        scenario = Scenario.from_toml(folder / name / "scenario.toml")
        assert scenario.attack.name == name
        expected = Expected.beside(folder / name / "scenario.toml")
        assert set(expected.settings) == {setting.name for setting in scenario.settings}
        readme = (folder / name / "README.md").read_text("utf-8")
        for part in ("**Who.**", "**What.**", "**Control.**", "**Expected.**"):
            assert part in readme
        assert f"attacks/{name}/scenario.toml" in readme
        assert len(scenario.file.seeds) >= 5


def test_a_suite_on_a_users_plan_leaves_out_what_the_plan_is_not_for(project, capsys):
    plan = project / "examples/flower/torch-digits/privacy.toml"
    jobs = suite_jobs("quick", Yours.read(None, None, plan, []), ())
    asked = Plan.from_toml(plan)
    assert {job.scenario.attack.name for job in jobs} == {
        name for name, attack in ATTACKS.items() if not attack.averages
    }
    assert all(job.scenario.file.clients >= asked.aggregation.min_clients for job in jobs)
    assert all(job.scenario.is_changed and len(job.seeds) == 1 for job in jobs)
    # A sum of nine clients of one image each, as in the scenario's own secure sum.
    (spear,) = (job.scenario for job in jobs if job.scenario.attack.name == "spear")
    assert [s.options["examples"] for s in spear.settings] == [8, 1]
    assert capsys.readouterr().err.count("lira is left out: plan.dataset.unit = digit") == 1


def test_a_trial_is_a_function_of_its_seed(folder):
    scenario = Scenario.from_toml(folder / "fedmia" / "scenario.toml")
    first, again, other = (list(scenario.run((seed,))) for seed in (3, 3, 4))
    assert first == again
    assert first[0].found != other[0].found


@pytest.fixture
def written(folder, tmp_path):
    """The scenario of differencing with a text changed."""

    def write(old, new):
        text = (folder / "differencing" / "scenario.toml").read_text("utf-8")
        assert old in text
        (tmp_path / "plans").mkdir(exist_ok=True)
        for plan in (folder / "plans").glob("*.toml"):
            (tmp_path / "plans" / plan.name).write_text(plan.read_text("utf-8"), "utf-8")
        (tmp_path / "attack").mkdir(exist_ok=True)
        path = tmp_path / "attack" / "scenario.toml"
        path.write_text(text.replace(old, new), "utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("clients =", "client =", r"scenario\.client is not a key: did you mean clients\?"),
        ("position =", "positon =", r"scenario\.threat\.positon is not a key: did you mean"),
        ("same_broadcast = 1", "same = 1", r"options\.same is not an option: did you mean same_b"),
        ('"differencing"', '"differences"', r"scenario\.attack = differences is unknown"),
        ('"malicious"', '"honest-but-curious"', r"threat\.adversary = honest-but-curious is below"),
        ('"server"', '"reader"', r"threat\.position = reader where the attack is a server's"),
        ("[1, 2, 3, 4, 5]", "[1, 1]", "names a seed twice"),
        ("[1, 2, 3, 4, 5]", "[]", r"scenario\.seeds"),
        ("same-broadcast", "secagg", "has one name twice"),
        ("plans/secagg.toml", "plans/none.toml", r"none\.toml: No such file"),
        ("clients = 20", "clients = 1", r"scenario\.clients"),
    ],
)
def test_a_scenario_that_cannot_be_meant_is_refused(written, old, new, said):
    with pytest.raises(ConfigurationError, match=said):
        Scenario.from_toml(written(old, new))


def test_an_adversary_must_know_what_the_attack_starts_from(folder, tmp_path):
    text = (folder / "disaggregation" / "scenario.toml").read_text("utf-8")
    path = tmp_path / "scenario.toml"
    path.write_text(text.replace('["participation"]', "[]"), "utf-8")
    with pytest.raises(ConfigurationError, match="knows lacks participation"):
        Scenario.from_toml(path)


def test_fedmia_has_nothing_to_compare_under_a_secure_sum(folder, tmp_path):
    text = (folder / "fedmia" / "scenario.toml").read_text("utf-8")
    path = tmp_path / "scenario.toml"
    plan = (folder / "plans" / "secagg.toml").as_posix()
    path.write_text(text.replace("../plans/plain.toml", plan), "utf-8")
    with pytest.raises(ConfigurationError, match="compares single updates"):
        list(Scenario.from_toml(path).run((1,)))


def result(**fields):
    scenario = {
        "fedprivacy": "0",
        "attack": "a",
        "setting": "s",
        "metric": "m",
        "threat": ATTACKS["lira"].needs,
        "protocol": "secagg",
        "noise": "none",
        "plan_hash": "",
    }
    return AttackResult(**scenario | fields)


def test_a_result_is_the_same_after_json_and_tells_the_difference():
    runs = (
        Measured(seed=1, target=0.9, control=0.5, bound=0.95, details={"x": 1.0}),
        Measured(seed=2, target=0.8, control=0.5, roc=((0.0, 0.0), (1.0, 1.0))),
    )
    made = result(measured=runs)
    assert AttackResult.from_json(made.to_json()) == made
    plain = json.loads(made.to_json())
    assert plain["measured"][1]["difference"] == pytest.approx(0.3)
    assert plain["wording"] == "above its control with every seed (by chance alone: 1 in 4)"
    with pytest.raises(msgspec.ValidationError):
        AttackResult.from_json("{}")
    with pytest.raises(msgspec.ValidationError):
        AttackResult.from_json("[]")


def test_no_wording_says_that_privacy_is_proved():
    nothing = result(measured=(Measured(seed=1, target=0.4, control=0.5),))
    assert "does not prove privacy" in nothing.wording()
    above = result(measured=(Measured(seed=1, target=0.9, control=0.5, bound=0.8),))
    assert "the claim is false" in above.wording()
    assert "survivors-overlap" in result(measured=(), stopped="survivors-overlap").wording()


def test_departures_are_named_and_a_bound_is_always_one():
    made = result(measured=(Measured(seed=7, target=0.9, control=0.5, bound=0.8),))
    said = list(Bounds(target_least=0.95, control_most=0.4, difference_least=0.5).faults(made))
    assert len(said) == 4
    assert any("seed 7: target = 0.900 is above 0.800" in line for line in said)
    details = {"tpr_at_0.01": 0.5, "tpr_at_0.01_limit": 0.4}
    above = result(measured=(Measured(seed=1, target=0.6, control=0.5, details=details),))
    assert list(Bounds().faults(above)) == ["a, s, seed 1: tpr_at_0.01 = 0.500 is above 0.400"]
    assert list(Bounds(stopped="broadcast").faults(result(measured=())))
    expected = Expected(schema="fedprivacy/expected/1", settings={})
    assert expected.faults((made,)) == ["a, s: nothing is expected of it"]


def test_a_result_without_trials_is_not_stopped(folder):
    scenario = Scenario.from_toml(folder / "analytic" / "scenario.toml")
    (first, *_) = scenario.results([])
    assert (first.stopped, first.measured) == ("", ())
    assert isinstance(Stopped("x").reason, str)


def test_attacks_load_neither_torch_nor_scikit_learn_until_they_need_them():
    code = (
        "import sys, fedprivacy.attacks, fedprivacy.attacks.registry;"
        "print([m for m in ('torch', 'sklearn', 'opacus') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
