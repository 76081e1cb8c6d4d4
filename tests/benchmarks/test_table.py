"""The table in the README: its verdicts, and how `--check` finds what is wrong with it."""

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import write_row
from table import BEGIN, END, Bound, Target, Verdict, block_of, read_rows, read_targets, render

TARGETS = """
schema = "fedprivacy/targets/1"

[[target]]
id = "fast"
sentence = "something"
against = "something else"
bound = "at-least"
number = 0.7
results = ["one"]
"""


def target(bound="at-least", number=0.7, results=("one",)):
    return Target(
        id="t", sentence="s", against="a", bound=Bound(bound), number=number, results=results
    )


@pytest.fixture
def case(benchmarks, tmp_path):
    """A README, targets and results in a folder, and the script run on them."""
    (tmp_path / "results").mkdir()
    (tmp_path / "targets.toml").write_text(TARGETS, "utf-8")
    (tmp_path / "README.md").write_text(f"# a\n\n{BEGIN}{END}\nb\n", "utf-8")

    def run(*words):
        places = {"readme": "README.md", "results": "results", "targets": "targets.toml"}
        options = [f"--{name}={tmp_path / path}" for name, path in places.items()]
        command = [sys.executable, benchmarks / "table.py", *options, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return tmp_path, run


# ---------------------------------------------------------------------- the README


def test_the_readme_shows_the_results_that_are_kept(project, benchmarks):
    targets = read_targets(benchmarks / "targets.toml")
    rows = read_rows(benchmarks / "results")
    readme = (project / "README.md").read_text("utf-8")
    assert block_of(readme) == render(targets, rows), "run `python benchmarks/table.py`"


def test_every_kept_result_answers_a_target(benchmarks):
    targets = read_targets(benchmarks / "targets.toml")
    named = {name for target in targets for name in target.results}
    rows = read_rows(benchmarks / "results")
    assert rows
    assert set(rows) <= named | {"scale-100", "scale-10000"}  # these two are in the plot alone


# ---------------------------------------------------------------------- --check


def test_a_fresh_and_complete_table_passes_and_a_stale_one_does_not(case, measured):
    folder, run = case
    write_row(measured("one", ours=(1.0,), other=(1.0,)), folder / "results")
    assert run().returncode == 0
    assert run("--check").returncode == 0
    write_row(measured("one", ours=(2.0,), other=(1.0,)), folder / "results")
    done = run("--check")
    assert done.returncode == 1
    assert done.stderr == "README.md is stale: run `python benchmarks/table.py`\n"
    assert run().returncode == 0
    assert run("--check").returncode == 0


def test_a_target_without_its_row_fails_the_check_though_the_readme_is_fresh(case, measured):
    folder, run = case
    assert run().returncode == 0
    done = run("--check")
    assert done.returncode == 1
    assert done.stderr == "fast: results/one.json is not measured\n"
    assert "| not measured |" in (folder / "README.md").read_text("utf-8")


def test_the_check_writes_nothing(case, measured):
    folder, run = case
    before = (folder / "README.md").read_text("utf-8")
    write_row(measured(), folder / "results")
    assert run("--check").returncode == 1
    assert (folder / "README.md").read_text("utf-8") == before


def test_writing_changes_nothing_outside_the_markers(case, measured):
    folder, run = case
    write_row(measured(), folder / "results")
    assert run().returncode == 0
    text = (folder / "README.md").read_text("utf-8")
    assert text.startswith(f"# a\n\n{BEGIN}| what |")
    assert text.endswith(f"{END}\nb\n")


@pytest.mark.parametrize("readme", ["", f"{BEGIN}", f"{END}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_one_place_for_the_table_is_refused(case, readme):
    folder, run = case
    (folder / "README.md").write_text(readme, "utf-8")
    for words in ((), ("--check",)):
        done = run(*words)
        assert done.returncode == 1
        assert "put both markers in" in done.stderr
    assert (folder / "README.md").read_text("utf-8") == readme


def test_the_help_has_an_example(case):
    done = case[1]("--help")
    assert done.returncode == 0
    assert "python benchmarks/table.py --check" in done.stdout


@pytest.mark.parametrize(
    "change", [("number", "numbr"), ('"at-least"', '"about"'), ('["one"]', "[]")], ids=str
)
def test_a_target_that_is_not_understood_is_refused(case, change):
    folder, _ = case
    path = folder / "targets.toml"
    assert read_targets(path)
    path.write_text(TARGETS.replace(*change), "utf-8")
    with pytest.raises(msgspec.ValidationError):
        read_targets(path)


def test_two_targets_of_one_name_are_refused(case):
    path = case[0] / "targets.toml"
    path.write_text(TARGETS + TARGETS.split("\n\n", 1)[1], "utf-8")
    with pytest.raises(msgspec.ValidationError, match="share an id"):
        read_targets(path)


# ---------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("bound", "number", "ratio", "verdict"),
    [
        ("at-least", 8, 8.0, Verdict.MET),
        ("at-least", 8, 7.999_999, Verdict.MISSED),
        ("at-least", 8, 4.0, Verdict.MISSED),
        ("at-least", 8, 3.999_999, Verdict.NOT_DONE),
        ("at-most", 2, 2.0, Verdict.MET),
        ("at-most", 2, 2.000_001, Verdict.MISSED),
        ("at-most", 2, 4.0, Verdict.MISSED),
        ("at-most", 2, 4.000_001, Verdict.NOT_DONE),
    ],
)
def test_the_verdict_follows_from_the_ratio(measured, bound, number, ratio, verdict):
    row = measured("one", ours=(ratio,), other=(1.0,), quantity="bytes")
    assert target(bound, number).verdict({"one": row}) is verdict


def test_of_several_rows_the_worst_counts_and_all_must_be_there(measured):
    rows = {
        name: measured(name, ours=(1.0,), other=(other,))
        for name, other in {"one": 9.0, "two": 7.0}.items()
    }
    both = target(number=8, results=("one", "two"))
    assert both.verdict(rows) is Verdict.MISSED
    assert target("at-most", 8, ("one", "two")).verdict(rows) is Verdict.MISSED
    assert target(number=8).verdict(rows) is Verdict.MET
    del rows["two"]
    assert both.verdict(rows) is Verdict.NOT_MEASURED
    assert both.verdict({}) is Verdict.NOT_MEASURED


def test_without_a_number_there_is_nothing_to_meet(measured):
    bare = target(number=None)
    assert bare.verdict({"one": measured()}) is Verdict.MEASURED
    assert bare.verdict({}) is Verdict.NOT_MEASURED


# ---------------------------------------------------------------------- rounding


@given(
    bound=st.sampled_from(Bound),
    number=st.sampled_from([0.41, 0.7, 1.005, 2.0, 3.0, 8.0, 15.0]),
    off=st.floats(-0.02, 0.02),
)
def test_what_is_shown_meets_the_number_only_where_the_ratio_does(bound, number, off):
    ratio = number * (1 + off)
    assert bound.is_met(float(bound.shown(ratio)), number) == bound.is_met(ratio, number)


@pytest.mark.parametrize(
    ("bound", "ratio", "shown"),
    [
        (Bound.AT_LEAST, 0.699_98, "0.699"),
        (Bound.AT_LEAST, 0.7, "0.700"),
        (Bound.AT_LEAST, 0.57, "0.570"),  # 0.57 * 1000 is below 570 in floating point
        (Bound.AT_MOST, 2.000_01, "2.001"),
        (Bound.AT_MOST, 2.0, "2.000"),
        (Bound.AT_MOST, 1.000_31, "1.001"),
    ],
)
def test_a_ratio_is_rounded_away_from_its_target(bound, ratio, shown):
    assert bound.shown(ratio) == shown


def test_a_near_miss_is_missed_in_the_readme(measured):
    row = measured("one", ours=(1.0,), other=(0.6998,))
    line = next(x for x in render([target()], {"one": row}).splitlines() if x.startswith("| s "))
    assert line == "| s | a | ≥ 0.7 | 0.699 (1.00 s to 699.8 ms) | missed |"
