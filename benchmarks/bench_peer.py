"""A round of secure aggregation against Flower's SecAgg+: seconds on both sides, bytes up.

Both start from the same float32 vectors and end in a float vector at the server; both serialise
their own messages, and neither has a network. Each mean is held against the true one.
"""

from __future__ import annotations

import dataclasses
from importlib.metadata import version

import numpy as np
import pytest
from sums import Case, float32_vectors, run_ours

from fedprivacy.secagg import PROTOCOLS

pytest.importorskip("flwr", reason="needs Flower: pip install 'fedprivacy[flower]'")

from flower_secaggplus import run_peer

CASE = Case(clients=16, shares=9, threshold=5, length=1_000_000, value_bits=22, protocol="secagg+")
COMPLETE = dataclasses.replace(CASE, shares=16, threshold=9, protocol="secagg")
ROUNDS = 7
AGAINST = "Flower's SecAgg+ as shipped"
FIGURES = (
    ("client", "a client's work", "seconds", "client_seconds"),
    ("server", "the server's work", "seconds", "server_seconds"),
    ("upload", "what a client sends", "bytes", "bytes_up"),
)


def checked(run, case, vectors):
    """Runs a side and holds its mean against the true one."""
    stayed = case.names[: case.clients - case.lost]
    true = np.mean([vectors[name] for name in stayed], axis=0, dtype=np.float64)
    step = 2 * case.clip / ((1 << case.value_bits) - 2)  # of ours, a little above the peer's

    def once():
        cost = run(case, vectors.__getitem__)
        # Stochastic rounding moves each value by less than a step, so the mean by less, too.
        assert np.abs(cost.mean - true).max() < step
        return dataclasses.replace(cost, mean=np.empty(0))

    return once


def rows(bench, case):
    """Client, server and upload of one case; not kept."""
    vectors = float32_vectors(case)
    pairs = bench.in_turn(
        checked(run_ours, case, vectors), checked(run_peer, case, vectors), rounds=ROUNDS
    )
    suffix = f"-{case.lost}-lost" if case.lost else ""
    for name, what, quantity, figure in FIGURES:
        yield bench.row(
            f"{name}{suffix}",
            f"{what} in one round of {case.protocol}",
            against=AGAINST,
            quantity=quantity,
            pairs=[(getattr(ours, figure), getattr(peer, figure)) for ours, peer in pairs],
            sizes=case.sizes,
            peer=f"flwr {version('flwr')}",
        )


@pytest.mark.parametrize("lost", [0, 2])
def test_sparse_graph(bench, lost):
    if CASE.protocol not in PROTOCOLS:
        pytest.skip(f"{CASE.protocol} is not there yet")
    for row in rows(bench, dataclasses.replace(CASE, lost=lost)):
        bench.keep(row)


@pytest.mark.parametrize("lost", [0, 2])
def test_complete_graph(bench, lost):
    """Everyone a neighbour of everyone: seen with `--benchmark-json`, not kept."""
    assert len(list(rows(bench, dataclasses.replace(COMPLETE, lost=lost)))) == len(FIGURES)
