"""Degree and threshold of SecAgg+, from the bounds that make it secure and correct.

n clients stand on a random ring, each the neighbour of the k nearest; of them c are corrupt and d
vanish, both chosen before the ring is known. With eps = 2**-(security_bits + 1), an even degree k
and a threshold t will do if

1. the honest survivors stay connected: a ring is cut only where k/2 in a row are missing, at two
   places, and n (n - k - 1) / 2 * C(c + d, k) / C(n, k) < eps bounds the chance that all of these
   are corrupt or gone;
2. nobody's corrupt neighbours can unmask it: t > t1, where P[X > t1] <= eps / (n - c) for the
   number X of an honest client's corrupt neighbours;
3. no neighbourhood gives away both secrets to a server that lies about who is lost: 2t > k + t1;
4. everyone keeps t neighbours: the chances P[Y < t] of all clients add up to at most
   2**-correctness_bits, where Y is the number of a client's surviving neighbours.

X and Y are hypergeometric among the n - 1 others. Source: Bell et al., CCS 2020, sections 3 and 4
(what a good graph of neighbours is); the argument for the sizes of sums stands with them below.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg.contract import Adversary

__all__ = [
    "CORRECTNESS_BITS",
    "SECURITY_BITS",
    "GraphParameters",
    "choose_graph",
    "graph_fault",
    "graph_of_degree",
]

SECURITY_BITS = 40
CORRECTNESS_BITS = 20
MOST_CLIENTS = 1 << 20
MOST_NEIGHBOURS = 1 << 14  # with more, a graph is sparse in name only, and dear to check
_FEASIBLE = 0.9  # of the cohort may be missing; beyond, degrees grow past any use

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """A graph for a cohort, and the least honest clients in any sum that it lets be revealed."""

    clients: int
    degree: int
    threshold: int
    min_sum_size: int


def choose_graph(
    clients: int,
    corrupt: int,
    dropped: int,
    adversary: Adversary,
    *,
    least_honest: int = 0,
    late: int = 0,
    security_bits: int = SECURITY_BITS,
    correctness_bits: int = CORRECTNESS_BITS,
) -> GraphParameters:
    """The sparsest graph that will do for a cohort, and the least threshold that does with it.

    Beyond 256 neighbours it is the sparsest to within 1 %: not every degree is tried.

    `corrupt` and `dropped` are numbers of clients; up to `late` of the dropped may be gone before
    the graph is drawn, which then is one over the others. `least_honest` asks for at least so many
    honest clients in any sum. Raises `ConfigurationError` with what would make it feasible.
    """
    _check_feasible(clients, corrupt, dropped, adversary)
    every = _rosters(clients, corrupt, dropped, late, security_bits)

    def graph_of(degree: int) -> GraphParameters | None:
        if not all(bounds.is_connected(degree) for bounds in every):
            return None
        least = max(bounds.least_threshold(degree, adversary) for bounds in every)
        most = min(bounds.most_threshold(degree, correctness_bits) for bounds in every)

        def size_of(threshold: int) -> int:
            return min(bounds.least_sum(degree, threshold, adversary) for bounds in every)

        # The sums only grow with the threshold.
        threshold = least + bisect_left(range(least, most + 1), least_honest, key=size_of)
        if threshold > most:
            return None
        return GraphParameters(clients, degree, threshold, size_of(threshold))

    for last, degree in pairwise(_degrees(clients)):
        if graph_of(degree) is not None:
            return next(g for d in range(last + 2, degree + 2, 2) if (g := graph_of(d)) is not None)
    raise ConfigurationError(
        f"no sparse graph serves {clients} clients, {corrupt} corrupt and {dropped} lost: enrol "
        "more clients, plan for fewer losses, or choose protocol = secagg"
    )


def _degrees(clients: int) -> Iterator[int]:
    """Zero, and the degrees that are tried first, upwards in steps that grow with them."""
    degree = 0
    while degree < min(clients - 1, MOST_NEIGHBOURS):
        yield degree
        degree += max(2, degree // 256 * 2)


def graph_of_degree(
    clients: int,
    corrupt: int,
    dropped: int,
    adversary: Adversary,
    degree: int,
    threshold: int = 0,
    *,
    late: int = 0,
    security_bits: int = SECURITY_BITS,
) -> GraphParameters:
    """The graph of a given degree, with a given threshold or the least that is secure.

    Its safety is not checked: `graph_fault` does that. Raises `ConfigurationError` where no
    honest client would be left.
    """
    if fault := _count_fault(clients, corrupt, dropped):
        raise ConfigurationError(fault)
    every = _rosters(clients, corrupt, dropped, late, security_bits)
    threshold = threshold or max(bounds.least_threshold(degree, adversary) for bounds in every)
    size = min(bounds.least_sum(degree, threshold, adversary) for bounds in every)
    return GraphParameters(clients, degree, threshold, size)


def graph_fault(
    clients: int,
    corrupt: int,
    dropped: int,
    adversary: Adversary,
    degree: int,
    threshold: int,
    *,
    least_honest: int = 0,
    security_bits: int = SECURITY_BITS,
) -> str | None:
    """What makes a graph insecure for these clients; None if nothing does.

    A degree that reaches everyone stands for the complete graph.
    """
    if fault := _count_fault(clients, corrupt, dropped):
        return fault
    if degree % 2 or degree < 2:
        nearest = max(degree + degree % 2, 2)
        return f"degree {degree} is not even and at least 2: take {nearest}, or leave it out"
    bounds = _bounds(clients, corrupt, dropped, security_bits)
    if not bounds.is_connected(degree):
        return f"degree {degree} may leave {clients} clients in pieces: raise it"
    least = bounds.least_threshold(degree, adversary)
    most = min(degree, clients - 1)
    if not least <= threshold <= most:
        return f"threshold {threshold} of {most} neighbours is outside [{least}, {most}]"
    size = bounds.least_sum(degree, threshold, adversary)
    if size < least_honest:
        return f"a sum may hold {size} honest clients only, {least_honest} are wanted: raise degree"
    return None


def _number_fault(clients: int, corrupt: int, dropped: int) -> str | None:
    if not 1 <= clients <= MOST_CLIENTS:
        return f"{clients} clients are outside [1, {MOST_CLIENTS}]"
    if corrupt < 0 or dropped < 0:
        return f"{corrupt} corrupt and {dropped} lost clients: give numbers >= 0"
    return None


def _count_fault(clients: int, corrupt: int, dropped: int) -> str | None:
    """Why these are not numbers of clients of one cohort with an honest survivor; None if so."""
    if fault := _number_fault(clients, corrupt, dropped):
        return fault
    if corrupt + dropped >= clients:
        return (
            f"{corrupt} corrupt and {dropped} lost of {clients} clients leave no honest one: plan "
            "for fewer, or enrol more clients"
        )
    return None


def _check_feasible(clients: int, corrupt: int, dropped: int, adversary: Adversary) -> None:
    if fault := _number_fault(clients, corrupt, dropped):
        raise ConfigurationError(fault)
    if adversary is Adversary.MALICIOUS:
        raise ConfigurationError(
            "a sparse graph does not withstand a malicious server, which can place its own clients "
            "around a victim: choose protocol = secagg, or adversary = semi-malicious"
        )
    twice = 2 if adversary is Adversary.SEMI_MALICIOUS else 1
    missing = (corrupt + twice * dropped) / clients
    if missing > _FEASIBLE:
        formula = "corrupt + lost" if twice == 1 else "corrupt + 2 * lost"
        raise ConfigurationError(
            f"{formula} = {missing:.0%} of {clients} clients, at most {_FEASIBLE:.0%} can be "
            "withstood: plan for fewer"
        )


def _rosters(
    clients: int, corrupt: int, dropped: int, late: int, security_bits: int
) -> list[_Bounds]:
    """The bounds for rosters of all sizes: at both ends and in the middle they are the tightest."""
    sizes = sorted({clients, clients - late // 2, clients - late})
    return [_bounds(n, corrupt, dropped - (clients - n), security_bits) for n in sizes]


@lru_cache(maxsize=16)  # a table of n numbers each, and a server's plans come before trust
def _bounds(clients: int, corrupt: int, dropped: int, security_bits: int) -> _Bounds:
    return _Bounds(clients, corrupt, dropped, security_bits)


@dataclass(frozen=True)
class _Bounds:
    """The conditions of this module's docstring for one cohort, by degree."""

    clients: int
    corrupt: int
    dropped: int
    security_bits: int

    @cached_property
    def _log_factorial(self) -> Floats:
        from scipy.special import gammaln  # a client of the complete graph never needs it

        table: Floats = gammaln(np.arange(self.clients + 1) + 1.0)
        return table

    @property
    def _log_eps(self) -> float:
        return -(self.security_bits + 1) * math.log(2)

    def is_connected(self, degree: int) -> bool:
        """Condition 1."""
        n, missing, log = self.clients, self.corrupt + self.dropped, self._log_factorial
        if degree > min(missing, n - 2):
            return True
        pairs = math.log(n) + math.log(max(n - degree - 1, 1)) - math.log(2)
        chance = log[missing] + log[n - degree] - log[n] - log[missing - degree]
        return bool(pairs + chance < self._log_eps)

    @cached_property
    def _most_corrupt(self) -> dict[int, int]:
        return {}

    def corrupt_neighbours(self, degree: int) -> int:
        """t1: nobody has more corrupt neighbours, but with probability eps."""
        if degree not in self._most_corrupt:
            self._most_corrupt[degree] = self._count_corrupt(degree)
        return self._most_corrupt[degree]

    def _count_corrupt(self, degree: int) -> int:
        values, chances = self._hypergeometric(self.corrupt, min(degree, self.clients - 1))
        # P[X > x] for each x, summed from the smallest terms on.
        above = np.append(np.cumsum(chances[::-1])[::-1][1:], 0.0)
        honest = max(self.clients - self.corrupt, 1)
        return int(values[np.argmax(above <= math.exp(self._log_eps) / honest)])

    def least_threshold(self, degree: int, adversary: Adversary) -> int:
        """Conditions 2 and 3; at least 2, so that nobody unmasks alone."""
        corrupt = self.corrupt_neighbours(degree)
        if adversary is Adversary.HONEST_BUT_CURIOUS:
            return max(corrupt + 1, 2)
        return max((min(degree, self.clients - 1) + corrupt) // 2 + 1, 2)

    def most_threshold(self, degree: int, correctness_bits: int) -> int:
        """Condition 4."""
        survivors = self.clients - self.dropped
        short = np.zeros(degree + 2)
        # A survivor is not its own neighbour; one that is lost needs its neighbours as well.
        for count, others in ((survivors, survivors - 1), (self.dropped, survivors)):
            if count and others >= 0:
                values, chances = self._hypergeometric(others, min(degree, self.clients - 1))
                below = np.zeros(degree + 2)
                below[values + 1] = chances
                short += count * np.cumsum(below)
        return int(np.flatnonzero(short[: degree + 1] <= 2.0**-correctness_bits)[-1])

    def least_sum(self, degree: int, threshold: int, adversary: Adversary) -> int:
        """The least honest clients in any sum that can be revealed.

        A server that follows the protocol reveals one sum, over all survivors. One that does not
        still needs, for each input that it opens, t shares of its seed: from the client itself, at
        most t1 corrupt neighbours, and honest neighbours that stand in the same sum. So each member
        of a sum has at least d = t - 1 - t1 honest neighbours in it; and where d > k/2, at least
        d - k/2 of them on either side, which leads once around the ring.
        """
        if adversary is Adversary.HONEST_BUT_CURIOUS:
            return self.clients - self.corrupt - self.dropped
        inside = threshold - 1 - self.corrupt_neighbours(degree)
        if degree >= self.clients - 1:
            return inside + 1
        one_side = inside - degree // 2
        around = (2 * self.clients // degree) * one_side if one_side > 0 else 0
        return max(inside + 1, around)

    def _hypergeometric(self, marked: int, drawn: int) -> tuple[NDArray[np.int64], Floats]:
        """The numbers of marked clients among `drawn` of all, and the chance of each."""
        # An honest survivor's neighbours are drawn among the n - 1 others.
        n, log = self.clients - 1, self._log_factorial
        x = np.arange(max(0, drawn - (n - marked)), min(drawn, marked) + 1)
        ways = log[marked] - log[x] - log[marked - x]
        ways = ways + log[n - marked] - log[drawn - x] - log[n - marked - drawn + x]
        chances: Floats = np.exp(ways - (log[n] - log[drawn] - log[n - drawn]))
        return x, chances
