"""Figures are short and never wrong by more than they show; foreign text is harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.reporting.text import byte_count, counted, names, percent, printable, small


@given(st.text())
def test_printable_text_is_one_line_without_controls(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("utf-8", "strict") is not None


@given(st.text().filter(str.isprintable))
def test_harmless_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (5723, "5.7 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (3_376_199, "3.4 MB"),
        (10**12, "1.0 TB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_bytes(count, shown):
    assert byte_count(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.0"), (0.0004, "0.00040"), (0.01300088, "0.013"), (1e-7, "1.0e-07"), (12.3, "12")],
)
def test_small_figures_keep_two_digits(value, shown):
    assert small(value) == shown


def test_shares_and_counts():
    assert percent(0.951) == "95.1 %"
    assert counted(1, "client") == "1 client"
    assert counted(20_000, "client") == "20,000 clients"


def test_of_many_names_the_first_are_shown():
    assert names(["a", "b", "c"]) == "a, b, c"
    assert names(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
