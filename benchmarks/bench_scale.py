"""Many clients in one process: seconds of each phase, and how they grow with the cohort.

The seconds are of all parties together, on one thread. `plot.py` draws the growth.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from sums import Case, float32_vector, run_ours

from fedprivacy.secagg import PROTOCOLS, Adversary
from fedprivacy.secagg.parameters import choose_graph

PROTOCOL = "secagg+"
LENGTH = 100_000


def sparse_case(clients):
    """A tenth lost, 5 % corrupt, and the sparsest graph that will do for them."""
    adversary, lost = Adversary.HONEST_BUT_CURIOUS, clients // 10
    graph = choose_graph(clients, clients // 20, lost, adversary)
    return Case(
        clients=clients,
        shares=graph.degree + 1,
        threshold=graph.threshold,
        length=LENGTH,
        value_bits=16,
        lost=lost,
        protocol=PROTOCOL,
        adversary=adversary,
    )


def check(case, cost):
    """The mean is the true one, up to the rounding of each value by less than a step."""
    stayed = case.names[: case.clients - case.lost]
    true = np.zeros(case.length)
    for name in stayed:
        true += float32_vector(case, name)
    step = case.clip / ((1 << (case.value_bits - 1)) - 1)
    assert np.abs(cost.mean - true / len(stayed)).max() < step


@pytest.mark.parametrize(("clients", "rounds"), [(100, 3), (1_000, 3), (10_000, 1)])
def test_growth(bench, clients, rounds):
    if PROTOCOL not in PROTOCOLS:
        pytest.skip(f"{PROTOCOL} is not there yet")
    case, costs = sparse_case(clients), []

    def once():
        costs.append(run_ours(case, functools.partial(float32_vector, case)))

    bench.benchmark.pedantic(once, rounds=rounds, iterations=1)
    check(case, costs[0])
    row = bench.row(
        f"scale-{clients}",
        f"a round of {clients} clients in one process, all parties together",
        quantity="seconds",
        alone=[sum(cost.phases.values()) for cost in costs],
        parts={phase: [cost.phases[phase] for cost in costs] for phase in costs[0].phases},
        sizes=case.sizes,
    )
    bench.keep(row)
