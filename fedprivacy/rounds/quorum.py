"""Who it takes to unmask: degree and threshold for a cohort, from a plan's own rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fedprivacy.rounds.rules import AggregationRules
from fedprivacy.secagg import COMMITTEES, PROTOCOLS, SHARED_KEYS, Adversary
from fedprivacy.secagg.parameters import choose_graph, graph_fault, graph_of_degree

__all__ = [
    "Quorum",
    "choose_quorum",
    "expected_losses",
    "fewest_clients",
    "least_threshold",
    "quorum_fault",
    "share_of",
]


@dataclass(frozen=True, slots=True)
class Quorum:
    """The graph among n clients, and how many of a client's members unmask it.

    `degree` is zero on the complete graph. With a committee it unmasks, and `threshold` is how many
    of its members that takes. `honest_in_sum` is the least number of honest clients in
    any sum that is revealed.
    """

    degree: int
    threshold: int
    honest_in_sum: int


def share_of(share: float, cohort_size: int) -> int:
    """So large a share of a cohort in clients, rounded up.

    A share like 0.07 lies beside its decimal: the last bits of the product do not count.
    """
    return math.ceil(share * cohort_size - 2.0**-20)


def expected_losses(rules: AggregationRules, cohort_size: int) -> int:
    """How many of a cohort the plan is ready to lose."""
    return share_of(rules.dropout, cohort_size)


def fewest_clients(rules: AggregationRules) -> int:
    """The smallest cohort that can lose what the plan says and still release a sum."""
    size = math.ceil(rules.min_clients / (1.0 - rules.dropout))
    # The division rounds; the losses are rounded up.
    while size - expected_losses(rules, size) < rules.min_clients:
        size += 1
    return size


@lru_cache(maxsize=256)
def choose_quorum(rules: AggregationRules, cohort_size: int) -> Quorum:
    """The plan's degree and threshold for n clients, or the least that are safe.

    Raises `ConfigurationError`, with what would make it feasible, where no sparse graph will do.
    """
    n, c = cohort_size, rules.corrupt
    if rules.protocol in COMMITTEES:
        # Every client seals the plan's least number of clients, or more, for each member.
        return Quorum(0, rules.committee.opens_with, max(rules.min_clients - c, 0))
    if rules.protocol in SHARED_KEYS:
        # Each client can decrypt; they do so for the plan's least number of clients, or more.
        return Quorum(0, 1, max(rules.min_clients - c, 0))
    if not PROTOCOLS[rules.protocol].sparse:
        threshold = rules.threshold or least_threshold(n, c)
        return Quorum(0, threshold, max(max(threshold, rules.min_clients) - c, 0))
    losses, adversary = expected_losses(rules, n), rules.adversary
    if rules.degree:
        degree, threshold = rules.degree, rules.threshold
    else:
        least = _least_honest(rules)
        graph = choose_graph(n, c, losses, adversary, least_honest=least, late=losses)
        degree, threshold = graph.degree, rules.threshold or graph.threshold
    graph = graph_of_degree(n, c, losses, adversary, degree, threshold, late=losses)
    return Quorum(graph.degree, graph.threshold, graph.min_sum_size)


def least_threshold(cohort_size: int, corrupt: int) -> int:
    """On the complete graph: the least t with 2t > n + c and t > c.

    Every two sets of t then share an honest client.
    """
    return max((cohort_size + corrupt) // 2 + 1, corrupt + 1, 2)


def quorum_fault(
    rules: AggregationRules, cohort_size: int, threshold: int, degree: int
) -> str | None:
    """What is wrong with a threshold and a degree for a cohort; None if nothing is.

    t > c, so that the corrupt alone unmask nobody; two honest clients in every sum, since with one
    the corrupt subtract their own and see the rest; against a server that lies also 2t > n + c, so
    that no two survivor sets are both unmasked. On a sparse graph, what `graph_fault` says of each
    neighbourhood. With a committee, the same of its members, of whom `threshold` then speaks.
    """
    if rules.protocol in COMMITTEES:
        least, c = rules.min_clients, rules.corrupt
        if least < c + 2:
            return f"min_clients {least} with {c} corrupt may leave one honest: at least {c + 2}"
        fault = _size_fault(rules, cohort_size, least, sparse=False)
        return fault or _committee_fault(rules, cohort_size, threshold)
    if rules.protocol in SHARED_KEYS:
        alone = rules.corrupt + 2
        return _size_fault(rules, cohort_size, alone, sparse=False)
    sparse = PROTOCOLS[rules.protocol].sparse
    if fault := _size_fault(rules, cohort_size, threshold, sparse=sparse):
        return fault
    if sparse:
        return _ring_fault(rules, cohort_size, threshold, degree)
    return _split_fault(rules, cohort_size, threshold)


def _size_fault(rules: AggregationRules, n: int, t: int, *, sparse: bool) -> str | None:
    c, losses = rules.corrupt, expected_losses(rules, n)
    needed, alone = max(t, rules.min_clients), max(c + 1, 2)
    # On a sparse graph, t is of a neighbourhood, and the honest in a sum follow from the graph.
    if t < alone and not sparse:
        return f"threshold {t} lets {max(c, 1)} clients unmask alone: at least {alone}"
    if needed < c + 2 and not sparse:
        least = rules.min_clients
        return f"min_clients {least} with {c} corrupt may leave one honest: at least {c + 2}"
    if t > n:
        return f"threshold {t} is more than the cohort of {n}: lower it or enrol more clients"
    if needed > n:
        return f"min_clients {needed} is more than the cohort of {n}: enrol more clients"
    if needed > n - losses:
        return (
            f"dropout {rules.dropout} may lose {losses} of {n} clients, {needed} are needed: "
            f"at most {n - needed} may be lost"
        )
    return None


def _split_fault(rules: AggregationRules, n: int, t: int) -> str | None:
    c = rules.corrupt
    if rules.adversary is Adversary.HONEST_BUT_CURIOUS or 2 * t > n + c:
        return None
    least = least_threshold(n, c)
    return f"threshold {t} of {n} with {c} corrupt allows two survivor sets: at least {least}"


def _committee_fault(rules: AggregationRules, n: int, t: int) -> str | None:
    committee, path = rules.committee, "committee"
    k, c = committee.count, committee.corrupt
    if not committee.members and k > n:
        return f"{path}.size {k} is more than the cohort of {n}: lower it or enrol more clients"
    if not committee.members and c < min(rules.corrupt, k):
        return (
            f"{path}.corrupt {c} is below corrupt {rules.corrupt}, and the server, which draws the "
            "committee, may draw all of these: raise it, or name members"
        )
    least = max((k + c) // 2 + 1, c + 1)
    if least > k:
        return f"{path}.corrupt {c} of {k} leaves no threshold: lower it or have more members"
    if not least <= t <= k:
        return f"{path}.threshold {t} of {k} with {c} corrupt: from {least} to {k}"
    return None


def _ring_fault(rules: AggregationRules, n: int, t: int, degree: int) -> str | None:
    losses, least = expected_losses(rules, n), _least_honest(rules)
    return graph_fault(n, rules.corrupt, losses, rules.adversary, degree, t, least_honest=least)


def _least_honest(rules: AggregationRules) -> int:
    """The fewest honest clients that a graph may leave in a sum; never one alone.

    A server that may lie can release several sums: each must be as large as min_clients asks.
    """
    curious = rules.adversary is Adversary.HONEST_BUT_CURIOUS
    return 2 if curious else max(rules.min_clients, 2)
