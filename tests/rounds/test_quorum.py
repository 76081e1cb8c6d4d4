"""A plan for a cohort that it does not fit is refused in words, whatever numbers stand in it."""

import contextlib
import itertools

import pytest

from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.quorum import quorum_fault
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.parameters import choose_graph, graph_fault, graph_of_degree
from rounddrive import make_plan


@pytest.mark.parametrize("degree", [0, 4, 5, 1000])
@pytest.mark.parametrize("dropout", [0.0, 0.4, 0.9])
def test_no_plan_on_a_ring_gets_more_than_a_refusal(degree, dropout):
    sizes = itertools.product(range(1, 9), (0, 1, 3, 10), (0, 2, 5, 100))
    for (clients, corrupt, threshold), adversary in itertools.product(sizes, list(Adversary)[:2]):
        plan = make_plan(
            adversary,
            "secagg+",
            min_clients=corrupt + 2,
            corrupt=corrupt,
            threshold=threshold,
            degree=degree,
            dropout=dropout,
        )
        with contextlib.suppress(ConfigurationError):
            quorum = plan.quorum(clients)
            quorum_fault(plan.aggregation, clients, quorum.threshold, quorum.degree)


@pytest.mark.parametrize(("corrupt", "lost"), [(9, 0), (5, 4), (10, 10), (0, 9)])
def test_more_missing_than_there_are_is_a_refusal_at_every_door(corrupt, lost):
    adversary = Adversary.SEMI_MALICIOUS
    assert "leave no honest one" in graph_fault(9, corrupt, lost, adversary, 4, 3)
    with pytest.raises(ConfigurationError, match="leave no honest one"):
        graph_of_degree(9, corrupt, lost, adversary, 4)
    with pytest.raises(ConfigurationError, match="at most 90%"):
        choose_graph(9, corrupt, lost, adversary)
