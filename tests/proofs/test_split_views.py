"""Whatever dealers a server shows to whom, the survivors' sum does not fall into parts.

A model of the masks that a lying server cannot take off. Each honest client masks with the dealers
that it was shown, at least `least` of them, itself included. One survivor set is unmasked: its
members' own masks are known, and the pairwise masks of all others. A part of the honest survivors
lies open if no pairwise mask between survivors is left on its sum. See SOUNDNESS.md, "Split views".
"""

import itertools

import pytest

from fedprivacy.rounds.quorum import least_threshold


def subsets(items, least=0):
    for size in range(least, len(items) + 1):
        yield from map(frozenset, itertools.combinations(items, size))


def open_parts(honest, shown):
    """The sets of honest survivors whose pairwise masks all meet their opposite inside the set."""
    for part in subsets(honest, 1):
        pairs = [(u, v) for u in part for v in shown[u] & honest if v != u]
        if all(v in part and u in shown[v] for u, v in pairs):
            yield part


def unmasked_parts(n, c, t, least):
    """Every part that can lie open, with the honest survivors of its set."""
    everyone = frozenset(range(n))
    honest = frozenset(range(n - c))
    views = [[v for v in subsets(everyone, least) if u in v] for u in sorted(honest)]
    for shown in itertools.product(*views):
        for survivors in subsets(everyone, max(t, least)):
            willing = {u for u in honest & survivors if survivors <= shown[u]}
            if len(willing) + len(survivors - honest) >= t:
                yield from ((p, honest & survivors) for p in open_parts(honest & survivors, shown))


@pytest.mark.parametrize(("n", "c"), [(3, 0), (3, 1), (4, 0), (4, 1), (4, 2), (5, 1), (5, 2)])
def test_only_the_sum_of_all_honest_survivors_lies_open(n, c):
    t = least_threshold(n, c)
    found = list(unmasked_parts(n, c, t, least=t))
    assert found
    assert all(part == survivors for part, survivors in found)


def test_with_fewer_dealers_than_the_threshold_one_client_lies_open():
    """The model sees the attack that the floor under the dealers is there for."""
    t = least_threshold(4, 1)
    assert any(len(part) == 1 for part, _ in unmasked_parts(4, 1, t, least=2))
