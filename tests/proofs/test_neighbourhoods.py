"""On a ring: never both secrets of one client, and no small sum; by counting, in full.

Models of SOUNDNESS.md, "Neighbourhoods". An honest client has k neighbours of whom x are corrupt;
each honest neighbour says one thing of it: that it survives, in a signature and in a share of its
seed, or that it does not, in a share of its mask key; or it says nothing. The corrupt say both. The
client itself holds a share of its own seed, which it gives away only if it answers, and it answers
only if t others have signed that it survives; nobody has a share of its own mask key to give away.
"""

import itertools

import pytest

from fedprivacy.secagg.graph import ring_neighbours

SURVIVES, LOST, SILENT = "survives", "lost", "silent"


def counts(k, x, t):
    """How many shares of the seed and of the mask key can come out together, over all answers."""
    for answers in itertools.product((SURVIVES, LOST, SILENT), repeat=k - x):
        signed = answers.count(SURVIVES) + x
        answered = signed >= t
        yield signed + answered, answers.count(LOST) + x


def both(k, x, t):
    """Whether both secrets of a client with x corrupt neighbours can reach t shares."""
    return any(seed >= t and key >= t for seed, key in counts(k, x, t))


@pytest.mark.parametrize("k", range(1, 9))
def test_never_both_exactly_where_the_rule_holds(k):
    """For each bound t1 on corrupt neighbours and each t: safe if 2t > k + t1, and only then."""
    for t1, t in itertools.product(range(k + 1), range(1, k + 1)):
        torn = any(both(k, x, t) for x in range(t1 + 1))
        assert torn == (2 * t <= k + t1), (t1, t)


@pytest.mark.parametrize("k", range(1, 9))
def test_whose_neighbours_did_not_sign_would_be_torn_open_by_its_own_share(k):
    """A client that answered without t signatures of others would be one holder too many.

    Then 2t - 1 > k + t1 would be needed: the model sees the attack at 2t = k + t1 + 1.
    """
    for x, t in itertools.product(range(k + 1), range(1, k + 1)):
        answers = itertools.product((SURVIVES, LOST, SILENT), repeat=k - x)
        torn = any(a.count(SURVIVES) + x + 1 >= t and a.count(LOST) + x >= t for a in answers)
        assert torn == (2 * t - 1 <= k + x), (x, t)


# ---------------------------------------------------------------------- sums

RINGS = [(n, k) for n in range(3, 15) for k in range(2, n + 1, 2)]


def bound(n, k, d):
    """The least members of an open sum in which each has d others among its neighbours."""
    return max(d + 1, (2 * n // k) * (d - k // 2))


def smallest(n, k):
    """For each d, the fewest places of which each has d or more of its k nearest among them."""
    near = [sum(1 << other for other in ring_neighbours(p, n, k)) for p in range(n)]
    least = {}
    # A set can be turned until it holds place 0.
    for members in range(1, 1 << n, 2):
        inside = min((near[p] & members).bit_count() for p in range(n) if members >> p & 1)
        size = members.bit_count()
        least[inside] = min(least.get(inside, n), size)
    found, size = {}, n
    for d in range(max(least), 0, -1):
        size = min(size, least.get(d, n))
        found[d] = size
    return found


@pytest.mark.parametrize(("n", "k"), RINGS)
def test_no_sum_is_smaller_than_the_bound(n, k):
    """Over every set of places; sparse rings only: where all are neighbours, d + 1 is exact."""
    found = smallest(n, k)
    if k >= n - 1:
        assert found == {d: d + 1 for d in range(1, n)}
        return
    assert set(found) == set(range(1, k + 1))
    for d, size in found.items():
        assert size >= bound(n, k, d), (d, size)
    # Tight at both ends, and wherever the members can stand side by side.
    assert found[k] == n
    for d in range(1, k // 2 + 1):
        assert found[d] == d + 1
