"""A measured row is strict, and its ratio is that of the medians."""

import msgspec
import pytest
from rows import Row, Spread, compared, read_row, write_row


def test_a_row_comes_back_from_its_file(measured, tmp_path):
    row = measured("some-row", ours=(2.0, 3.0, 10.0), other=(9.0, 12.0, 9.0))
    assert write_row(row, tmp_path).name == "some-row.json"
    assert read_row(tmp_path / "some-row.json") == row


def test_the_ratio_is_of_the_medians_and_its_spread_of_the_pairs():
    pairs = [(2.0, 9.0), (3.0, 12.0), (10.0, 10.0)]
    fast, large = compared("seconds", pairs), compared("bytes", pairs)
    assert fast["ratio"] == 10 / 3  # the medians' own, though no round had it
    assert large["ratio"] == 3 / 10
    assert (fast["paired"].least, fast["paired"].most) == (1.0, 4.5)
    assert (large["paired"].least, large["paired"].most) == (2 / 9, 1.0)


def test_a_spread_is_of_all_its_values():
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(
        median=3.0, least=1.0, most=5.0, interquartile=2.0
    )
    assert Spread.of([7.0]) == Spread(median=7.0, least=7.0, most=7.0, interquartile=0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"speed": 3},
        {"ratio": 0.6},
        {"ratio": None},
        {"against": ""},
        {"other": None},
        {"rounds": 0},
        {"date": "yesterday"},
        {"quantity": "furlongs"},
        {"ours": {"median": 3.0, "least": 4.0, "most": 5.0, "interquartile": 0.0}},
        {"machine": {"cpu": "a"}},
    ],
    ids=str,
)
def test_a_row_that_is_not_as_measured_is_refused(measured, change):
    fields = msgspec.to_builtins(measured())
    assert msgspec.convert(fields, Row).ratio == 0.5  # the honest twin
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**fields, **change}, Row)


def test_a_row_under_another_name_is_refused(measured, tmp_path):
    write_row(measured("one"), tmp_path).rename(tmp_path / "two.json")
    with pytest.raises(msgspec.ValidationError, match="holds the row one"):
        read_row(tmp_path / "two.json")
