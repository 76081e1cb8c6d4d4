"""Both sides of a comparison are run in turn, within one run, and none of it is typed."""

import datetime as dt
from importlib.metadata import version

import pytest
from measuring import Bench
from rows import read_row


class Clockless:
    """Stands for the fixture of pytest-benchmark: calls as often as it is told."""

    def __init__(self):
        self.extra_info = {}

    def pedantic(self, target, *, rounds, iterations, warmup_rounds):
        for _ in range((rounds + warmup_rounds) * iterations):
            target()


@pytest.mark.parametrize("rounds", [1, 4, 5])
def test_the_sides_take_turns_and_the_warm_up_does_not_count(rounds):
    order, counts = [], {"ours": 0, "other": 0}

    def side(name):
        order.append(name)
        counts[name] += 1
        return name, counts[name]

    pairs = Bench(Clockless(), None).in_turn(
        lambda: side("ours"), lambda: side("other"), rounds=rounds
    )
    # The number tells that each pair is of one round, and that the first round is left out.
    assert pairs == [(("ours", i), ("other", i)) for i in range(2, rounds + 2)]
    begins = order[::2]
    assert begins == [("ours", "other")[i % 2] for i in range(rounds + 1)]


def test_a_row_says_where_when_and_with_what_it_was_measured(tmp_path):
    bench = Bench(Clockless(), tmp_path / "results")
    row = bench.row(
        "some-row",
        "something",
        against="something else",
        quantity="seconds",
        pairs=[(2.0, 1.0), (4.0, 1.0)],
        sizes={"length": 3},
    )
    assert (row.rounds, row.ours.median, row.ratio) == (2, 3.0, 1 / 3)
    assert row.versions.numpy == version("numpy")
    assert abs(dt.date.fromisoformat(row.date) - dt.datetime.now(dt.UTC).date()).days <= 1
    assert not (tmp_path / "results").exists()
    bench.keep(row)
    assert read_row(tmp_path / "results" / "some-row.json") == row


def test_without_a_folder_nothing_is_written(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Bench(Clockless(), None).keep(measured())
    assert not list(tmp_path.iterdir())


def test_seconds_are_those_of_the_call():
    called = []
    assert Bench.seconds(lambda: called.append(1)) >= 0.0
    assert called == [1]
