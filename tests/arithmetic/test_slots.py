import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.arithmetic import Slots


@given(st.data(), st.integers(1, 1000), st.integers(1, 50), st.integers(1, 4))
def test_sums_of_joined_numbers_are_the_joined_sums(data, bound, terms, count):
    slots = Slots(bound, terms, count)
    present = data.draw(st.integers(1, terms))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    numbers = rng.integers(-bound, bound, (present, count, 3), endpoint=True)
    numbers[:, :, 0] = data.draw(st.sampled_from([-bound, bound]))
    total = sum(slots.join(one) for one in numbers)
    assert int(total.max()) < slots.range
    assert slots.separate(total, present).tolist() == numbers.sum(axis=0).tolist()


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 20), st.integers(1, 62))
def test_as_many_slots_are_filled_as_stay_below_the_limit(bound, terms, bits):
    slots = Slots.fill(bound, terms, 1 << bits)
    assert slots.range <= 1 << bits < slots.range * slots.base


def test_extremes_of_every_client_reach_both_ends_and_no_further():
    slots = Slots(bound=5, terms=3, count=2)
    most = sum(slots.join(np.array([[5], [5]])) for _ in range(3))
    least = sum(slots.join(np.array([[-5], [-5]])) for _ in range(3))
    assert most.tolist() == [slots.range - 1]
    assert least.tolist() == [0]


@pytest.mark.parametrize("value", [6, -6, 1 << 40, -(1 << 62)])
def test_a_value_beyond_the_bound_is_refused(value):
    with pytest.raises(ValueError, match="outside"):
        Slots(5, 3, 2).join(np.array([[0], [value]]))


@pytest.mark.parametrize("total", [31 * 31, 31 * 20, 11])
def test_what_no_sum_of_one_can_be_is_refused(total):
    with pytest.raises(ValueError, match="out of the range"):
        Slots(5, 3, 2).separate(np.array([total], dtype=np.uint64), 1)
