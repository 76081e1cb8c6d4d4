"""The alias table in integers: what the columns hold, and both words of a draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.dp.sampling import AliasTable
from fedprivacy.dp.sampling.alias import TOTAL_BITS
from fedprivacy.errors import ConfigurationError

WHOLE = 1 << TOTAL_BITS


class Words:
    """A stream of given 64-bit words; asking for more than there are is an error."""

    def __init__(self, *words):
        self.left = list(words)

    def fill(self, out):
        flat = out.reshape(-1)
        for i in range(len(flat)):
            flat[i] = self.left.pop(0)


@st.composite
def weights(draw):
    """Cuts of the whole: some tiny, some zero, some whole columns."""
    cut = st.integers(0, WHOLE) | st.integers(0, 128).map(lambda i: i * WHOLE // 128)
    cuts = sorted(draw(st.lists(cut | st.integers(0, 9), max_size=40)))
    return [b - a for a, b in zip([0, *cuts], [*cuts, WHOLE], strict=True)]


def outcome(table, word, *seconds):
    stream = Words(*seconds)
    out = np.empty(1, dtype=np.int64)
    table.look_up(np.array([word], dtype=np.uint64), out, stream)
    assert not stream.left
    return int(out[0])


def bounds(table):
    """Of each column, the first word that is not its own and the one that ties, if there is one."""
    return table._leading.tolist(), table._trailing.tolist()


@given(weights())
def test_the_columns_hold_exactly_the_weights(given_weights):
    assert AliasTable(given_weights).weights == given_weights


@given(weights(), st.data())
def test_a_draw_is_the_outcome_of_its_interval(given_weights, data):
    """Every column, at both ends of both parts and at the tie, with the least and most second."""
    table = AliasTable(given_weights)
    size = 64 - table.column_bits
    mass = [0] * len(given_weights)
    for column, (leading, trailing) in enumerate(zip(*bounds(table), strict=True)):
        first, last = column << size, ((column + 1) << size) - 1
        threshold = ((leading - first) >> 1 << 64) + trailing
        alias = outcome(table, last, *([2**64 - 1] if leading | 1 == last else []))
        mass[alias] += (1 << TOTAL_BITS - table.column_bits) - threshold
        if column < len(given_weights):
            mass[column] += threshold
        if leading > first:
            for word in (first, data.draw(st.integers(first, leading - 1)), leading - 1):
                assert outcome(table, word) == column
        for tie in (leading, leading + 1):  # the lowest bit belongs to the caller
            assert outcome(table, tie, trailing) == alias
            assert outcome(table, tie, 2**64 - 1) == alias
            if trailing:
                assert outcome(table, tie, 0) == outcome(table, tie, trailing - 1) == column
        if leading + 2 <= last:
            assert outcome(table, leading + 2) == alias
    assert mass == given_weights


def test_second_words_are_read_in_the_order_of_their_draws():
    half = WHOLE // 2
    table = AliasTable([half // 2 + 5, WHOLE - half // 2 - 5])
    leading, trailing = (int(part[0]) for part in bounds(table))
    assert trailing == 5
    words = np.array([leading, 0, leading | 1, 2**64 - 2, leading], dtype=np.uint64)
    out = np.empty(5, dtype=np.int64)
    table.look_up(words, out, Words(4, 5, 0))
    assert out.tolist() == [0, 0, 1, 1, 0]


def test_one_outcome_is_always_drawn():
    table = AliasTable([WHOLE])
    assert table.weights == [WHOLE]
    for word in (0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1):
        tied = word & ~1 in bounds(table)[0]
        assert outcome(table, word, *([7] if tied else [])) == 0


@pytest.mark.parametrize(
    ("given_weights", "words"),
    [
        ([], "weights of 0 outcomes where 1 to 1048576 of zero or more are wanted: choose"),
        ([-1, WHOLE + 1], "of zero or more are wanted"),
        ([0] * (2**20) + [WHOLE], "weights of 1048577 outcomes"),
        ([1, 2], r"the weights add up to 3 where 2\*\*127 is the whole: round"),
        ([WHOLE, 1], r"where 2\*\*127 is the whole"),
    ],
)
def test_what_is_no_distribution_is_refused(given_weights, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        AliasTable(given_weights)
    assert "\n" not in str(caught.value)
