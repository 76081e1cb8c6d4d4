import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.arithmetic import PRIME, packed_size, sum_tail
from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg.oneshot import choose_parameters, parameters_of
from fedprivacy.secagg.oneshot.messages import box_bytes
from oneshotdrive import OneShotSum


@given(
    st.integers(2, 1 << 20),
    st.integers(1, 1 << 31),
    st.integers(1, 10**9),
    st.sampled_from([2048, 4096, 8192]),
)
def test_whatever_is_chosen_holds_every_sum_and_its_noise(clients, bound, length, degree):
    most = 54 if degree == 2048 else 62
    one_slot = (2 * clients * bound + 1) * 3 * sum_tail(clients, -(-length // degree) * degree, 40)
    if one_slot > 1 << most:
        with pytest.raises(ConfigurationError, match=r"lower update\.value_bits"):
            choose_parameters(clients, bound, length, degree=degree)
        return
    p = choose_parameters(clients, bound, length, degree=degree)
    assert 40 <= p.bits <= most
    # The largest sum of every slot at once, with the largest error on either side.
    largest = sum(2 * bound * clients * p.values.base**k for k in range(p.values.count))
    assert largest == p.values.range - 1
    assert p.scale * largest + 2 * p.most_error < 1 << p.bits
    assert p.scale >= 3 * p.most_error
    # P[|error| > E] < 2**-40 over all coefficients (Hoeffding); or E is all that there can be.
    tail = 2 * p.coefficients * math.exp(-(p.most_error**2) / (2 * 21 * clients))
    assert tail <= 2**-40 or p.most_error == 42 * clients
    assert p.keys.range <= PRIME
    assert p.keys.count * p.key_elements >= degree


@pytest.mark.parametrize(
    ("bound", "bits", "slots", "ratio", "with_shares"),
    [(32767, 56, 2, 0.88, 0.90), (127, 55, 3, 0.58, 0.60)],
    ids=["16-bit", "8-bit"],
)
def test_a_million_values_of_a_hundred_clients_take_less_than_float32(
    bound, bits, slots, ratio, with_shares
):
    p = choose_parameters(100, bound, 10**6)
    assert (p.bits, p.values.count) == (bits, slots)
    ciphertext = packed_size(p.coefficients, p.bits)
    assert ciphertext <= ratio * 4 * 10**6
    shares = 10 * box_bytes(p)
    assert shares <= 170_000
    assert ciphertext + shares <= with_shares * 4 * 10**6


@given(length=st.integers(1, 40_000), clients=st.integers(2, 50), bound=st.integers(1, 1 << 16))
def test_what_is_sent_has_room_for_all_values_and_enough_to_notice_a_wrong_key(
    length, clients, bound
):
    p = choose_parameters(clients, bound, length)
    assert 0 <= p.coefficients * p.values.count - length < 128 * p.values.count
    assert p.coefficients >= 128
    assert (p.polynomials - 1) * p.degree < p.coefficients <= p.polynomials * p.degree


def test_a_degree_that_is_not_safe_is_refused():
    with pytest.raises(ConfigurationError, match="degree 1024 has 128 bits of security below"):
        choose_parameters(2, 1, 1, degree=1024)
    with pytest.raises(ConfigurationError, match="not in the standard's table: 1024, 2048"):
        choose_parameters(2, 1, 1, degree=4097)
    # 2048 would hold these in 56 bits: it is given its limit, and another packing.
    assert choose_parameters(100, 32767, 10**6, degree=2048).bits <= 54


@pytest.mark.parametrize(("degree", "least"), [(2048, 128), (4096, 200)])
def test_the_estimate_after_the_sums_are_known_is_above_128_bits(degree, least):
    estimate = choose_parameters(100, 32767, 10**6, degree=degree).estimate()
    assert estimate.standard_bits >= least
    assert estimate.core_svp_bits < estimate.standard_bits


@pytest.mark.parametrize(
    ("clients", "bound", "length", "text"),
    [
        (1, 1, 1, "1 clients are outside"),
        ((1 << 20) + 1, 1, 1, "are outside"),
        (2, 0, 1, "at least 1"),
        (2, 1, 0, "at least 1"),
        (1 << 20, 1 << 40, 1, "do not fit a modulus of 62 bits in degree 4096"),
    ],
)
def test_what_cannot_be_is_refused(clients, bound, length, text):
    with pytest.raises(ConfigurationError, match=text):
        choose_parameters(clients, bound, length)


PLAN = OneShotSum(clients=4, members=5, threshold=3).plan


@pytest.mark.parametrize(
    ("committee", "plan", "text"),
    [
        ({"threshold": 2}, {}, "threshold = 2 is below 3, which 5 members of whom 0 are corrupt"),
        ({"corrupt": 1}, {}, "threshold = 3 is below 4, which 5 members of whom 1 are corrupt"),
        ({"threshold": 6}, {}, "a committee of k = 5, t = 6"),
        ({"size": 257, "threshold": 200}, {}, "k <= 256"),
        ({}, {"min_clients": 1}, "a sum with one honest client"),
        ({}, {"min_clients": 3, "corrupt": 2}, "a sum with one honest client"),
        ({}, {"modulus_bits": 3}, "modulus_bits = 3 is below 10"),
        ({}, {"client_bound": 0}, "at least 1"),
    ],
)
def test_plans_that_do_not_protect_are_refused(committee, plan, text):
    changed = dataclasses.replace(PLAN.committee, **committee)
    with pytest.raises(ConfigurationError, match=text):
        parameters_of(dataclasses.replace(PLAN, committee=changed, **plan))


def test_a_plan_without_a_committee_is_refused():
    with pytest.raises(ConfigurationError, match="name a committee"):
        parameters_of(dataclasses.replace(PLAN, committee=None))
    assert parameters_of(PLAN).clients == 4
