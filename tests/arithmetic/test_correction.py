import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.arithmetic import PRIME, correct_shares, parity_check, split_elements
from fedprivacy.randomness import Keystream


def dealt(secrets, threshold, holders, seed=0):
    points = np.arange(1, holders + 1, dtype=np.uint64)
    stream = Keystream(seed.to_bytes(32, "big"))
    return points, split_elements(secrets, threshold, points, stream=stream)


@given(st.data(), st.integers(1, 8), st.integers(0, 8), st.integers(0, 2**32))
def test_as_many_wrong_holders_as_half_the_rest_are_left_out(data, threshold, more, seed):
    rng = np.random.default_rng(seed)
    secrets = rng.integers(0, PRIME, 20, dtype=np.uint64)
    points, shares = dealt(secrets, threshold, threshold + more, seed)
    wrong = data.draw(
        st.lists(st.integers(0, threshold + more - 1), max_size=more // 2, unique=True)
    )
    for row in wrong:
        # Here and there, or everywhere.
        places = rng.random(20) < rng.choice([0.1, 1.0])
        places[rng.integers(20)] = True
        shares[row, places] += rng.integers(1, PRIME, places.sum(), dtype=np.uint64)
        shares[row] %= np.uint64(PRIME)
    corrected = correct_shares(points, shares, threshold)
    assert corrected.secrets.tolist() == secrets.tolist()
    assert corrected.wrong == tuple(sorted(wrong))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
@settings(max_examples=50)
def test_as_many_as_the_whole_rest_are_noticed(threshold, more, seed):
    """Holders who agree on nothing; what holders who collude agree on, others must tell."""
    rng = np.random.default_rng(seed)
    secrets = rng.integers(0, PRIME, 20, dtype=np.uint64)
    points, shares = dealt(secrets, threshold, threshold + more, seed)
    shares[:more] = rng.integers(0, PRIME, (more, 20), dtype=np.uint64)
    with pytest.raises(ValueError, match="agree on nothing"):
        correct_shares(points, shares, threshold)


def test_exactly_the_threshold_leaves_nothing_to_check():
    secrets = np.arange(5, dtype=np.uint64)
    points, shares = dealt(secrets, 4, 4)
    assert correct_shares(points, shares, 4).secrets.tolist() == secrets.tolist()
    shares[0, 0] ^= np.uint64(1)
    assert correct_shares(points, shares, 4).secrets.tolist() != secrets.tolist()


def test_fewer_than_the_threshold_are_refused():
    points, shares = dealt(np.arange(5, dtype=np.uint64), 4, 4)
    with pytest.raises(ValueError, match="3 shares where 4 are needed"):
        correct_shares(points[:3], shares[:3], 4)


def test_the_check_takes_every_polynomial_of_low_degree_to_zero_and_no_other():
    points = np.array([3, 1, PRIME - 1, 7, 20], dtype=np.uint64)
    check = parity_check(points, 2).astype(object)
    for degree in range(5):
        values = np.array([pow(int(x), degree, PRIME) for x in points], dtype=object)
        assert (check @ values % PRIME == 0).all() == (degree < 2)
