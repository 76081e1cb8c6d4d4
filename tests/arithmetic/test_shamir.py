import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.arithmetic import (
    PRIME,
    combine,
    lagrange_at_zero,
    limbs_of,
    reconstruct,
    share_from_bytes,
    share_to_bytes,
    split,
)
from fedprivacy.errors import PeerError, Reason
from fedprivacy.randomness import Keystream, uniform_below


def stream(seed=0):
    return Keystream(seed.to_bytes(32, "big"))


def points_of(*values):
    return np.array(values, dtype=np.uint64)


distinct_points = st.lists(st.integers(1, PRIME - 1), min_size=1, max_size=8, unique=True)


@given(
    st.lists(st.binary(min_size=16, max_size=32), min_size=1, max_size=3),
    distinct_points,
    st.integers(0, 2**64),
    st.data(),
)
@settings(max_examples=60)
def test_any_threshold_of_the_shares_reconstruct(secrets, points, seed, data):
    threshold = data.draw(st.integers(1, len(points)))
    points = points_of(*points)
    shares = split(secrets, threshold, points, stream=stream(seed))
    assert len(shares) == len(secrets)
    for secret, share in zip(secrets, shares, strict=True):
        assert share.shape == (len(points), limbs_of(len(secret)))
        assert share.dtype == np.uint64
        assert int(share.max()) < PRIME
        for chosen in map(list, itertools.combinations(range(len(points)), threshold)):
            assert reconstruct(points[chosen], share[chosen], len(secret)) == secret


def test_more_shares_than_the_threshold_reconstruct_too():
    points = points_of(1, 2, 3, 4, 5)
    (share,) = split([b"\xff" * 32], 3, points, stream=stream())
    assert reconstruct(points, share, 32) == b"\xff" * 32


def test_fewer_than_the_threshold_fit_every_secret():
    # Two of three shares: for each candidate secret there is exactly one third share that
    # completes them to it, so they say nothing.
    points = points_of(7, 8, 9)
    (share,) = split([bytes(16)], 3, points, stream=stream())
    weights = lagrange_at_zero(points)
    two = combine(weights[:2], share[:2])
    for candidate in (b"\0" * 16, b"\xff" * 16, b"0123456789abcdef"):
        limbs = [int.from_bytes(candidate, "big") >> 31 * i & (2**31 - 1) for i in (4, 3, 2, 1, 0)]
        inverse = pow(int(weights[2]), -1, PRIME)
        third = [(limb - int(t)) * inverse % PRIME for limb, t in zip(limbs, two, strict=True)]
        completed = np.vstack([share[:2], np.array([third], dtype=np.uint64)])
        assert reconstruct(points, completed, 16) == candidate


def test_one_share_of_two_takes_every_value_alike():
    # 2000 sharings of one secret, the top 3 bits of the first share's two limbs: chi-squared with
    # 7 degrees of freedom, beyond 40 with probability 1e-6; the seeds are fixed.
    tops = np.concatenate(
        [
            split([bytes(4)], 2, points_of(1, 2), stream=stream(s))[0][0] >> np.uint64(28)
            for s in range(2000)
        ]
    )
    counts = np.bincount(tops.astype(int), minlength=9)[:8]
    assert ((counts - 500) ** 2 / 500).sum() < 40


def test_the_coefficients_come_by_degree_over_all_limbs():
    secrets, points = [bytes(range(16)), bytes(range(32))], points_of(1, 5, PRIME - 1)
    shares = np.hstack(split(secrets, 3, points, stream=stream(4)))
    drawn = uniform_below(PRIME, 2 * 14, stream(4)).reshape(2, 14)
    limbs = [
        int.from_bytes(secret, "big") >> 31 * i & (2**31 - 1)
        for secret in secrets
        for i in reversed(range(limbs_of(len(secret))))
    ]
    for row, x in enumerate(int(p) for p in points):
        for i, limb in enumerate(limbs):
            value = (limb + int(drawn[0, i]) * x + int(drawn[1, i]) * x * x) % PRIME
            assert int(shares[row, i]) == value


def test_published_shares_reconstruct(shared):
    kat = json.loads((shared / "vectors/secagg_graph_kat.json").read_text())["shamir"]
    assert (kat["prime"], kat["bits_per_subsecret"]) == (PRIME, 31)
    limbs = limbs_of(kat["secret_len"])
    shares = np.array([share_from_bytes(bytes(row), limbs) for row in kat["shares"]])
    points = np.arange(1, len(shares) + 1, dtype=np.uint64)
    subsets = [list(c) for c in itertools.combinations(range(len(shares)), kat["threshold"])]
    assert len(subsets) == 10
    for chosen in subsets:
        secret = reconstruct(points[chosen], shares[chosen], kat["secret_len"])
        assert secret == bytes(kat["secret"])


@given(distinct_points)
def test_the_weights_are_lagranges(points):
    expected = []
    for i in points:
        weight = 1
        for j in points:
            if j != i:
                weight = weight * j * pow(j - i, -1, PRIME) % PRIME
        expected.append(weight)
    assert lagrange_at_zero(points_of(*points)).tolist() == expected


@given(st.integers(1, 40), st.integers(0, 100))
def test_combining_a_stack_is_exact(count, seed):
    generator = np.random.default_rng(seed)
    basis = generator.integers(PRIME - 5, PRIME, count, dtype=np.uint64)
    shares = generator.integers(PRIME - 5, PRIME, (2, 3, count, 4), dtype=np.uint64)
    result = combine(basis, shares)
    assert result.shape == (2, 3, 4)
    exact = (basis.astype(object)[:, None] * shares.astype(object)).sum(axis=-2) % PRIME
    assert result.tolist() == exact.tolist()


def test_the_most_shares_at_their_largest_do_not_overflow():
    count = 1 << 16
    basis = np.full(count, PRIME - 1, dtype=np.uint64)
    shares = np.full((count, 1), PRIME - 1, dtype=np.uint64)
    assert combine(basis, shares).tolist() == [count % PRIME]
    with pytest.raises(ValueError, match="at most"):
        combine(np.append(basis, np.uint64(1)), np.vstack([shares, shares[:1]]))


@pytest.mark.parametrize("length", [1, 3, 4, 16, 31, 32])
def test_a_threshold_of_one_and_extreme_secrets(length):
    for secret in (bytes(length), b"\xff" * length, b"\0" * (length - 1) + b"\1"):
        (share,) = split([secret], 1, points_of(3), stream=stream())
        assert reconstruct(points_of(3), share, length) == secret


@pytest.mark.parametrize("threshold", [0, -1, 4])
def test_a_threshold_that_cannot_be_met_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        split([bytes(16)], threshold, points_of(1, 2, 3), stream=stream())


@pytest.mark.parametrize("points", [(0, 1), (1, PRIME), (1, 1), (5, 2, 5), (1, PRIME + 1)])
def test_points_that_betray_or_collide_are_refused(points):
    with pytest.raises(ValueError, match="point"):
        split([bytes(16)], 1, points_of(*points), stream=stream())
    with pytest.raises(ValueError, match="point"):
        lagrange_at_zero(points_of(*points))


def test_what_is_no_secret_of_that_length_is_refused():
    one = points_of(1)
    with pytest.raises(ValueError, match="31 bits"):
        reconstruct(one, np.array([[0, 0, 0, 0, 2**31]], dtype=np.uint64), 16)
    with pytest.raises(ValueError, match="more than 16 bytes"):
        reconstruct(one, np.array([[2**4, 0, 0, 0, 0]], dtype=np.uint64), 16)
    most = np.array([[2**4 - 1] + [2**31 - 1] * 4], dtype=np.uint64)
    assert reconstruct(one, most, 16) == b"\xff" * 16
    with pytest.raises(ValueError, match="shape"):
        reconstruct(one, most, 32)
    with pytest.raises(ValueError, match="shape"):
        reconstruct(points_of(1, 2), most, 16)


@given(st.lists(st.integers(0, PRIME - 1), max_size=9))
def test_shares_round_trip_as_bytes(words):
    data = share_to_bytes(np.array(words, dtype=np.uint64))
    assert data == b"".join(word.to_bytes(4, "big") for word in words)
    back = share_from_bytes(data, len(words))
    assert back.dtype == np.uint64
    assert back.tolist() == words


@settings.get_profile("fuzz")
@given(st.binary(max_size=48), st.integers(0, 10))
def test_any_bytes_are_a_share_or_a_peers_error(data, limbs):
    words = [int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4)]
    if len(data) == 4 * limbs and all(word < PRIME for word in words):
        assert share_from_bytes(data, limbs).tolist() == words
        return
    with pytest.raises(PeerError) as caught:
        share_from_bytes(data, limbs)
    assert caught.value.reason is Reason.MALFORMED


def test_a_word_at_the_prime_is_refused():
    assert share_from_bytes((PRIME - 1).to_bytes(4, "big"), 1).tolist() == [PRIME - 1]
    for word in (PRIME, 2**32 - 1):
        with pytest.raises(PeerError):
            share_from_bytes(word.to_bytes(4, "big"), 1)
