"""The sparse graph of SecAgg+: members on a random ring, each the neighbour of the nearest.

A ring in which everyone has the k/2 nearest on either side is the Harary graph of degree k; put
into random order, it is connected, and its neighbourhoods are good ones, with the chances that
`parameters` bounds. Source: Bell et al., CCS 2020, section 3 and algorithm 1.
"""

from __future__ import annotations

import numpy as np

from fedprivacy.randomness import SEED_BYTES, Keystream, Rng, uniform_below

__all__ = ["ring_neighbours", "ring_order"]


def ring_neighbours(position: int, size: int, degree: int) -> tuple[int, ...]:
    """The positions next to this one on a ring of `size` places, ascending; never itself.

    `degree` is even; where it reaches all the others, they all are neighbours.
    """
    if degree >= size - 1:
        return tuple(other for other in range(size) if other != position)
    half = degree // 2
    steps = [*range(-half, 0), *range(1, half + 1)]
    return tuple(sorted((position + step) % size for step in steps))


def ring_order(count: int, *, rng: Rng) -> tuple[int, ...]:
    """A uniform permutation of `range(count)`: who stands at each place."""
    stream = Keystream(rng.bytes(SEED_BYTES))
    # By independent keys; with two equal ones the order would not be uniform: draw again.
    while True:
        keys = uniform_below(1 << 63, count, stream)
        order = np.argsort(keys, kind="stable")
        if len(np.unique(keys)) == count:
            return tuple(int(i) for i in order)
