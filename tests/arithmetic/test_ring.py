"""Products by floating-point transforms, against Python's integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.arithmetic import BINOMIAL_BOUND, FixedFactor, centred_binomial
from fedprivacy.arithmetic.ring import _centred_limbs, choose_limbs, rounding_bound
from fedprivacy.randomness import Keystream

SLOT = 16  # bytes: no coefficient of a product here reaches 2**127


def as_integer(coefficients):
    rows = np.zeros((len(coefficients), 2), dtype="<u8")
    rows[:, 0] = coefficients
    return int.from_bytes(rows.tobytes(), "little")


def exact(polynomial, factor, bits):
    """The product with Python's integers: coefficients side by side in one number (Kronecker)."""
    degree = len(factor)
    total = np.zeros(degree, dtype=np.uint64)
    for sign in (1, -1):
        if not (positive := np.maximum(sign * factor, 0).astype(np.uint64)).any():
            continue
        part = as_integer(positive)
        product = as_integer(polynomial) * part
        data = product.to_bytes(2 * degree * SLOT, "little")
        words = np.frombuffer(data, dtype="<u8")[::2]  # of each coefficient, mod 2**64
        folded = words[:degree] - words[degree:]
        total = total + folded if sign > 0 else total - folded
    return (total & np.uint64((1 << bits) - 1)).tolist()


def schoolbook(polynomial, factor, bits):
    degree = len(factor)
    total = [0] * degree
    for i, a in enumerate(polynomial):
        for j, s in enumerate(factor):
            k = i + j
            total[k % degree] += (-1 if k >= degree else 1) * int(a) * int(s)
    return [value % (1 << bits) for value in total]


def product(polynomial, factor, bits):
    return FixedFactor.of(factor, bits).times(polynomial[None])[0].tolist()


small_rings = st.sampled_from([4, 8, 16, 32])


@given(st.data(), small_rings, st.integers(1, 62), st.integers(0, 30))
def test_products_are_those_of_the_schoolbook(data, degree, bits, size):
    words = st.lists(st.integers(0, (1 << 64) - 1), min_size=degree, max_size=degree)
    smalls = st.lists(st.integers(-(1 << size), 1 << size), min_size=degree, max_size=degree)
    polynomial = np.array(data.draw(words), dtype=np.uint64)
    factor = np.array(data.draw(smalls), dtype=np.int64)
    expected = schoolbook(polynomial, factor, bits)
    assert exact(polynomial, factor, bits) == expected
    assert product(polynomial, factor, bits) == expected


# The worst: all of one sign, all as large as can be, and in phase with one another.
ONES = np.ones(4096, dtype=np.int64)
TURNS = np.where(np.arange(4096) % 2, -1, 1)
CLIENTS = [1, 100, 10_000, 1_000_000]


def worst_polynomials(bits):
    half = 1 << (bits - 1)
    yield ONES.astype(np.uint64) * np.uint64(half)
    yield ONES.astype(np.uint64) * np.uint64(half - 1)
    yield ONES.astype(np.uint64) * np.uint64(2 * half - 1)
    yield np.where(TURNS > 0, half, half - 1).astype(np.uint64)


@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("bits", [40, 56, 62])
def test_the_worst_cases_are_exact(bits, clients):
    for polynomial in worst_polynomials(bits):
        for signs in (ONES, TURNS):
            factor = signs * BINOMIAL_BOUND * clients
            assert product(polynomial, factor, bits) == exact(polynomial, factor, bits)


@pytest.mark.parametrize("clients", [1, 1_000_000])
@pytest.mark.parametrize("bits", [40, 51, 62])
@pytest.mark.parametrize("degree", [2048, 8192])
def test_sums_of_keys_times_uniform_polynomials_are_exact(degree, bits, clients):
    rng = np.random.default_rng([degree, bits, clients])
    polynomial = rng.integers(0, 1 << bits, degree, dtype=np.uint64)
    # Of many keys the sum is normal, as far as a test can see.
    factor = np.rint(rng.normal(0, 21**0.5 * clients**0.5, degree)).astype(np.int64)
    assert product(polynomial, factor, bits) == exact(polynomial, factor, bits)


def test_many_polynomials_are_multiplied_like_each_by_itself():
    rng = np.random.default_rng(1)
    polynomials = rng.integers(0, 1 << 56, (37, 4096), dtype=np.uint64)
    factor = FixedFactor.of(centred_binomial(4096, Keystream(bytes(32))).astype(np.int64), 56)
    rows = [factor.times(row[None])[0] for row in polynomials]
    assert np.array_equal(factor.times(polynomials), np.stack(rows))
    assert factor.times(polynomials[:0]).shape == (0, 4096)


@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("bits", [40, 54, 62])
def test_the_bound_holds_for_what_is_chosen_and_not_for_one_limb_less(bits, clients):
    factor = ONES * BINOMIAL_BOUND * clients
    limbs = choose_limbs(factor, bits)
    digits = _centred_limbs(factor, limbs.factor_number, limbs.factor_bits)
    norm = max(float(np.linalg.norm(limb)) for limb in digits)
    assert rounding_bound(4096, limbs.bits, norm) < 1 / 4
    if limbs.factor_number == 1:
        assert rounding_bound(4096, -(-bits // (limbs.number - 1)), norm) >= 1 / 4


@pytest.mark.parametrize(("clients", "bits"), [(100, 62), (10_000, 54)])
def test_two_halves_would_not_do(clients, bits):
    """They were measured wrong: in double precision, the nearest integer is another one."""
    assert choose_limbs(ONES * BINOMIAL_BOUND * clients, bits).number > 2


@pytest.mark.parametrize("degree", [0, 1, 2, 6, 4095])
def test_a_ring_whose_degree_is_no_power_of_two_is_refused(degree):
    with pytest.raises(ValueError, match="power of two"):
        FixedFactor.of(np.ones(degree, dtype=np.int64), 56)


def test_a_factor_with_large_coefficients_is_refused():
    with pytest.raises(ValueError, match=r"not below 2\*\*31"):
        FixedFactor.of(np.full(4096, 1 << 31), 62)
    assert FixedFactor.of(np.full(4096, (1 << 31) - 1), 62).limbs.factor_number > 1


def test_the_factor_is_not_shown_and_can_be_erased():
    factor = FixedFactor.of(ONES * 41, 40)
    assert "41" not in repr(factor)
    factor.erase()
    assert not factor.times(np.ones((1, 4096), dtype=np.uint64)).any()


@settings(max_examples=20)
@given(st.integers(40, 62), st.integers(0, 2**32))
def test_bits_above_the_modulus_do_not_count(bits, seed):
    rng = np.random.default_rng(seed)
    polynomial = rng.integers(0, 1 << 64, (1, 64), dtype=np.uint64)
    factor = FixedFactor.of(rng.integers(-42, 43, 64), bits)
    below = polynomial & np.uint64((1 << bits) - 1)
    assert np.array_equal(factor.times(polynomial), factor.times(below))
