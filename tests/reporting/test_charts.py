"""Charts say what they are given: marks where values are, numbers on axes, nothing foreign."""

import re
from xml.etree import ElementTree as ET

import pytest

from fedprivacy.reporting.charts import Bars, Line, bar_chart, interval_chart, line_chart, ticks


def marks(svg, kind):
    root = ET.fromstring(svg)
    return [e for e in root.iter() if "mark" in e.get("class", "") and e.tag.endswith(kind)]


def texts(svg):
    return [e.text for e in ET.fromstring(svg).iter() if e.tag.endswith("}text")]


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0, 4, [0, 1, 2, 3, 4]), (0, 0.9, [0, 0.2, 0.4, 0.6, 0.8]), (3, 3, [3]), (1, 1000, None)],
)
def test_ticks_are_round_and_within(low, high, found):
    got = ticks(low, high)
    assert found is None or got == pytest.approx(found)
    assert all(low <= t <= high for t in got)
    assert len(got) <= 7


def test_a_higher_value_stands_higher_and_a_later_one_further_right():
    svg = line_chart("t", [Line("a", [(1, 1.0), (2, 3.0), (3, 2.0)])], across="x", up="y")
    points = [(float(e.get("cx")), float(e.get("cy"))) for e in marks(svg, "circle")]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[1][1] < points[2][1] < points[0][1]
    assert {"x", "y", "a"} <= set(texts(svg))


def test_bars_stand_on_each_other_and_an_absent_part_is_left_out():
    parts = [Bars("in", [3.0, 4.0]), Bars("lost", [1.0, 0.0]), Bars("away", [0.0, 0.0])]
    svg = bar_chart("t", ["1", "2"], parts, across="round", up="clients")
    bars = marks(svg, "rect")
    assert len(bars) == 3
    first, lost = (next(b for b in bars if kind in b.get("class")) for kind in ("bar0", "bar1"))
    top = float(lost.get("y")) + float(lost.get("height"))
    assert top == pytest.approx(float(first.get("y")), abs=0.2)
    assert "away" not in texts(svg)


def test_an_interval_is_as_long_as_its_value():
    svg = interval_chart("t", [("claim", 4.0), ("shown", 1.0)], across="epsilon")
    claim, shown = (float(e.get("width")) for e in marks(svg, "rect"))
    assert claim == pytest.approx(4 * shown, rel=0.01)


def test_logarithmic_axes_keep_to_the_powers_of_ten():
    line = Line("a", [(1e-3, 1e-2), (1.0, 1.0)])
    svg = line_chart("t", [line], across="x", up="y", least=1e-3)
    assert texts(svg).count("0.01") == 2
    assert texts(svg).count("1") == 2


def test_a_long_line_is_thinned_and_keeps_its_end():
    points = [(float(i), float(i)) for i in range(10_001)]
    svg = line_chart("t", [Line("a", points)], across="x", up="y")
    (path,) = marks(svg, "path")
    placed = re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d"))
    assert len(placed) < 500
    assert float(placed[-1][0]) == pytest.approx(348.0)


def test_nothing_gives_no_chart_and_foreign_names_are_escaped():
    assert line_chart("t", [], across="x", up="y") == ""
    assert bar_chart("t", [], [], across="x", up="y") == ""
    assert interval_chart("t", [], across="x") == ""
    svg = line_chart("<t>", [Line("<script>", [(0, 1)])], across="&", up="y")
    assert "<script>" not in svg
    assert "<script>" in texts(svg)


def test_equal_values_still_have_an_axis():
    flat = line_chart("t", [Line("a", [(1, 0.0), (2, 0.0)])], across="x", up="y")
    single = line_chart("t", [Line("a", [(1, 0.7)])], across="x", up="y", low=None)
    for svg in (flat, single):
        assert "nan" not in svg
        assert marks(svg, "circle")
