"""`fedprivacy budget`: what noise, rounds and epsilon go together; nothing runs."""

import json
import sys

import msgspec
import pytest

from fedprivacy.reporting.budget_report import BudgetReport

BUDGET = ("--epsilon", "4", "--delta", "1e-6")
PLAN = (*BUDGET, "--rounds", "200", "--clients", "5000", "--rate", "0.02")
LONG = ("--noise-multiplier", "0.8", "--rate", "0.05", "--rounds", "1000", "--delta", "1e-6")
EPSILON = (*LONG, "--sampling", "poisson", "--adjacency", "add-or-remove-one", "--json")
FAST = ("--noise-multiplier", "10", "--rounds", "100", "--delta", "1e-5")


def words_of(text):
    return " ".join(text.split())


def test_a_plan(cli):
    done = cli("budget", "plan", *PLAN)
    assert (done.code, done.err) == (0, "")
    told = words_of(done.out)
    assert told.startswith("gaussian noise over 200 rounds ")
    assert "epsilon at delta = 1e-06 (PLD) 4 " in told
    assert "noise multiplier 0.79434 " in told
    assert "noise multiplier if who was drawn is seen 16.879 " in told
    assert "bits of a value, and of the sum (modulus) 16 and 23 " in told
    assert "who was drawn stays hidden" in told
    assert "Warning" not in told
    assert max(map(len, done.out.splitlines())) <= 80


def test_epsilon_in_one_document(cli):
    done = cli("budget", "epsilon", *EPSILON)
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert report["epsilon"] == pytest.approx(19.515, abs=1e-3)
    assert 0 < report["epsilon_lower"] < report["epsilon"]
    assert report["accountant"] == "PLD"
    assert len(report["assumptions"]) == 2
    assert report["warnings"] == []
    assert msgspec.json.decode(done.out, type=BudgetReport).to_json() == done.out


def test_rounds_that_a_budget_buys(cli):
    words = ("--epsilon", "2", "--delta", "1e-6", "--noise-multiplier", "3", "--rate", "0.1")
    done = cli("budget", "rounds", *words, "--json")
    assert (done.code, json.loads(done.out)["rounds"]) == (0, 155)


def test_a_budget_that_buys_nothing(cli):
    words = ("--epsilon", "0.1", "--delta", "1e-6", "--noise-multiplier", "1")
    done = cli("budget", "rounds", *words, "--json")
    assert (done.code, json.loads(done.out)["rounds"]) == (0, 0)
    assert json.loads(done.out)["epsilon"] == 0


def test_a_shuffle_is_not_a_poisson_sample(cli):
    words = ("--noise-multiplier", "0.5", "--rate", "0.001", "--rounds", "1000", "--delta", "1e-6")
    shuffled = cli("budget", "epsilon", *words, "--sampling", "shuffle")
    assert "epsilon at delta = 1e-06 (exact Gaussian) 11 " in words_of(shuffled.out)
    assert "no amplification by shuffling" in words_of(shuffled.out)
    poisson = json.loads(cli("budget", "epsilon", *words, "--json").out)
    assert poisson["epsilon"] == pytest.approx(4.24, abs=0.01)
    seen = json.loads(cli("budget", "epsilon", *words, "--sample", "seen", "--json").out)
    assert seen["epsilon"] > 1000


@pytest.mark.parametrize(("delta", "warned"), [("1e-3", True), ("9.9e-4", False)])
def test_a_delta_that_could_give_one_client_away_is_told(cli, delta, warned):
    words = ("--noise-multiplier", "10", "--rounds", "100", "--delta", delta, "--clients", "1000")
    done = cli("budget", "epsilon", *words)
    assert done.code == 0
    assert ("Warning: delta = 0.001 is not below 1 / 1,000 clients" in done.out) is warned
    assert bool(json.loads(cli("budget", "epsilon", *words, "--json").out)["warnings"]) is warned


def test_nothing_promised_is_no_number(cli):
    done = cli("budget", "epsilon", *FAST[2:], "--noise-multiplier", "1e-99", "--json")
    report = json.loads(done.out)
    assert done.code == 0
    assert report["epsilon"] is None or report["epsilon"] > 1e9
    assert "NaN" not in done.out


@pytest.mark.parametrize("mechanism", ["discrete-gaussian", "skellam"])
def test_each_mechanism_has_its_price(cli, mechanism):
    done = cli("budget", "epsilon", *FAST, "--mechanism", mechanism, "--json")
    report = json.loads(done.out)
    assert (done.code, report["accountant"]) == (0, "RDP")
    assert report["epsilon"] > 4.377


def test_replacing_is_dearer(cli):
    one, other = (
        json.loads(cli("budget", "epsilon", *FAST, *more, "--json").out)["epsilon"]
        for more in ((), ("--adjacency", "replace-one"))
    )
    assert one == pytest.approx(4.377178, abs=1e-6)
    assert other > 2 * one


@pytest.mark.parametrize("name", ["e.svg", "e.png"])
def test_a_plot_is_written_where_it_is_asked_for(cli, tmp_path, name):
    pytest.importorskip("matplotlib", reason="the extra `report`")
    done = cli("budget", "epsilon", *FAST, "--plot", tmp_path / name)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / name).stat().st_size > 1000


def test_a_plot_of_an_unknown_format_is_refused(cli, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `report`")
    done = cli("budget", "epsilon", *FAST, "--plot", "e.xyz")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("fedprivacy: --plot e.xyz has no format that can be written: end it")
    assert not (tmp_path / "e.xyz").exists()


def test_a_plot_without_the_extra_names_it(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = cli("budget", "epsilon", *FAST, "--plot", "e.svg")
    assert (done.code, done.out) == (7, "")
    assert done.err == "fedprivacy: a plot needs an extra: pip install 'fedprivacy[report]'\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--noise-multiplier", "-1"), "GaussianEvent.noise_multiplier = -1.0 is outside"),
        (("--noise-multiplier", "nan"), "GaussianEvent.noise_multiplier = nan is outside"),
        (("--delta", "0"), "delta = 0.0 is outside (0, 1): choose it well below"),
        (("--rounds", "0"), "Release.count = 0 is not a whole number"),
        (("--rate", "1.5"), "--rate 1.5 is outside (0, 1]: give the share"),
        (("--rate", "nan"), "--rate nan is outside (0, 1]: give the share"),
        (("--rate", "0.5", "--sampling", "all"), "--rate 0.5 has no use with --sampling all"),
        (("--sampling", "uniform"), "--sampling uniform is unknown: choose from all, poisson, f"),
        (("--sample", "secret"), "--sample secret is unknown: choose from hidden, seen"),
        (("--adjacency", "one"), "--adjacency one is unknown: choose from add-or-remove-one, rep"),
        (("--mechanism", "laplace"), "--mechanism laplace is unknown: choose from gaussian, d"),
        (
            ("--mechanism", "distributed-discrete-gaussian"),
            "--mechanism distributed-discrete-gaussian depends on how many share the noise: give",
        ),
        (("--bits", "1", "--mechanism", "skellam"), "FixedPoint.value_bits = 1 is not a whole"),
        (("--clip", "0", "--mechanism", "skellam"), "Clip.norm = 0.0 is outside"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(cli, words, told):
    done = cli("budget", "epsilon", *FAST, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"fedprivacy: {told}")
    assert done.err.count("\n") == 1


def test_a_budget_below_what_any_noise_can_show_is_refused(cli):
    words = ("--epsilon", "-4", *PLAN[2:])
    done = cli("budget", "plan", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err == "fedprivacy: epsilon = -4.0 is outside (0, inf): choose a budget\n"


@pytest.mark.parametrize("name", ["plan", "epsilon", "rounds"])
def test_help_ends_in_examples(cli, name):
    done = cli("budget", name, "--help")
    assert done.code == 0
    examples = done.out.partition("Example")[2].splitlines()[1:]
    assert examples
    assert all(line.strip().startswith(f"fedprivacy budget {name} ") for line in examples if line)
