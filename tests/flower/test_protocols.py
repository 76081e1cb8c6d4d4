"""Every protocol under the same strategies, losses and noise; how often each asks a node."""

import itertools

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx

import ceremonies
from fedprivacy.flower import PrivateStrategy, run
from fedprivacy.rounds import RunRecord
from flower_loop import (
    ALL_IN_ONE,
    BFV,
    CKKS,
    COMMITTEE,
    CONSISTENCY,
    DECRYPTING,
    DRAWN,
    ONE_SHOT,
    OPENING,
    PLAN,
    RING,
    SHARES,
    lost,
    model,
    vector,
)

PLANS = {"secagg": PLAN, "secagg+": RING, "oneshot": ONE_SHOT, "bfv": BFV, "ckks": CKKS}
STRATEGIES = {
    "FedAvg": (FedAvg, {}),
    "FedAdam": (FedAdam, {}),
    "FedProx": (FedProx, {"proximal_mu": 0.1}),
}
EXCHANGES = {"secagg": (5, 0), "secagg+": (4, 0), "oneshot": (1, 4), "bfv": (2, 0), "ckks": (2, 0)}
"""Messages to one client in a round, and to one member of a committee, when nobody is lost."""
LOSSES = ("nobody", "before-the-input", "after-the-input")
UPDATES = ("16-bits", "20-bits", "noise")
NOISE = """
[noise]
trust = "distributed"
noise_multiplier = 1.0
epsilon = 60.0
delta = 1e-5
rounds = 10
"""
VICTIM = 2


@pytest.fixture(autouse=True)
def one_ceremony(monkeypatch):
    """One for all tests, and one process that reads its ciphertexts."""
    pytest.importorskip("tenseal", reason="needs the extra he")
    ceremonies.keep(monkeypatch, run)


def start(home, *, rounds=1, inner=None, **options):
    if inner is None:
        inner = FedAvg(**sizes(home))
    strategy = PrivateStrategy(
        inner,
        plan=home.plan,
        directory=home.directory,
        ceremony=home.ceremony,
        phase_timeout=0.05,
        **options,
    )
    return strategy.start(home.grid, model(), num_rounds=rounds, timeout=0.05)


def sizes(home):
    return {"min_train_nodes": 4, "min_available_nodes": home.clients, "fraction_evaluate": 0.0}


# ------------------------------------------------------------------ how often a node is asked


def assert_asked(home, protocol, rounds):
    """Each node had as many messages as its protocol has phases for it, beside the hello."""
    of_client, of_member = EXCHANGES[protocol]
    asked = {node: count - 1 for node, count in home.grid.sent.items()}
    members = [asked.pop(node) for node in home.seats]
    assert members == [rounds * of_member] * len(home.seats)
    assert list(asked.values()) == [rounds * of_client] * home.clients


@pytest.mark.parametrize("protocol", ["oneshot", "bfv"])
def test_each_round_asks_each_node_so_often(house, protocol):
    home = house(plan=PLANS[protocol])
    start(home, rounds=2)
    assert_asked(home, protocol, 2)


def test_a_one_shot_client_is_asked_nothing_but_to_train(house):
    """One message in a round, with the model; its answer is the input, and nothing is kept."""
    home = house(plan=ONE_SHOT)
    kept = []

    def look(message, answer):
        kept.append([dict(home.grid.contexts[node].state) for node in home.nodes[:4]])
        return [answer(message)]

    home.grid.faults[home.seats[0]] = dict.fromkeys(range(1, 5), look)
    start(home)
    to_clients = [
        [m for m in push if m.metadata.dst_node_id not in home.seats] for push in home.grid.pushes
    ]
    hello, *round_ = [push for push in to_clients if push]
    assert [len(push) for push in (hello, *round_)] == [4, 4]
    assert all("arrays" in message.content for message in round_[0])
    assert kept == [[{}] * 4] * 4
    assert len(home.trainer.configs) == 4


def test_a_client_that_is_drawn_for_the_committee_is_asked_as_both(house):
    home = house(plan=DRAWN, nodes=5)
    start(home)
    assert sorted(count - 1 for count in home.grid.sent.values()) == [1, 5, 5, 5, 5]
    assert all(not context.state for context in home.grid.contexts.values())


# ------------------------------------------------------------------ the matrix


def pairwise(*factors):
    """A few rows in which every two values of different factors meet, chosen greedily."""
    rows = list(itertools.product(*factors))
    open_ = {pair for row in rows for pair in _pairs(row)}
    chosen = []
    while open_:
        best = max(rows, key=lambda row: len(open_ & _pairs(row)))
        open_ -= _pairs(best)
        chosen.append(best)
    return chosen


def _pairs(row):
    return set(itertools.combinations(enumerate(row), 2))


def cells():
    """All that can be planned; those that are no pair's are for the night."""
    factors = PLANS, STRATEGIES, LOSSES, UPDATES
    by_day = set(pairwise(*factors))
    for row in itertools.product(*factors):
        marks = () if row in by_day else pytest.mark.nightly
        yield pytest.param(*row, id="-".join(row), marks=marks)


def plan_of(protocol, update):
    plan = PLANS[protocol].replace("value_bits = 20", "value_bits = 16")
    if update == "noise" and protocol != "ckks":  # whose sums are approximate: its plan is refused
        uniform = plan.replace("value_bits = 16", "value_bits = 14").replace(
            'weights = "summed"\nmax_units_per_client = 100', 'weights = "uniform"'
        )
        return uniform + NOISE
    return plan if update == "16-bits" else plan.replace("value_bits = 16", "value_bits = 20")


def lose(home, protocol, moment):
    """Lose a node at a moment; the clients whose updates are in the sum."""
    node, everyone = home.nodes[VICTIM], list(range(home.clients))
    if moment == "before-the-input":
        at = {"secagg": SHARES, "secagg+": SHARES}.get(protocol, ALL_IN_ONE)
        home.grid.faults[node][at] = lost
        everyone.remove(VICTIM)
    elif moment == "after-the-input":
        at = {"bfv": DECRYPTING, "ckks": DECRYPTING, "oneshot": OPENING}.get(protocol, CONSISTENCY)
        home.grid.faults[home.seats[1] if protocol == "oneshot" else node][at] = lost
    return everyone


@pytest.mark.parametrize(("protocol", "strategy", "moment", "update"), list(cells()))
def test_a_strategy_gets_the_mean_whatever_computes_it(
    house, tmp_path, protocol, strategy, moment, update
):
    home = house(plan=plan_of(protocol, update), nodes=6 if protocol == "secagg+" else 4)
    kind, options = STRATEGIES[strategy]
    got = []

    class Watched(kind):
        def aggregate_train(self, server_round, replies):
            replies = list(replies)
            got.extend(vector(r.content["arrays"]) - vector(model()) for r in replies)
            return super().aggregate_train(server_round, replies)

    survivors = lose(home, protocol, moment)
    noisy = "[noise]" in plan_of(protocol, update)
    result = start(
        home,
        inner=Watched(**sizes(home), **options),
        ledger=":memory:" if noisy else None,
        folder=tmp_path / "run",
    )
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    (round_,) = record.rounds
    assert sorted(round_.attempts[-1].survivors) == [f"node-{part}" for part in survivors]
    assert round_.attempts[-1].outcome == "sum"
    if moment == "nobody":
        assert_asked(home, protocol, 1)
    (mean,) = got
    exact = home.trainer.mean(home.plan.update.clip, survivors, weighted=not noisy)
    apart = np.max(np.abs(mean - exact))
    if noisy:
        assert round_.budget is not None
        assert 0 < apart < 10.0  # of noise with a deviation of a clip, over four clients
    else:
        weight = sum(10 + part for part in survivors)
        pipeline = home.plan.pipeline(len(mean), home.clients)
        assert apart < pipeline.quantisation_bound(weight) / weight + 1e-15
    assert np.any(vector(result.arrays) != vector(model()))


def test_every_two_values_meet_by_day():
    factors = PLANS, STRATEGIES, LOSSES, UPDATES
    by_day = [param for param in cells() if not param.marks]
    assert len(by_day) <= 20
    met = set().union(*(_pairs(param.values) for param in by_day))
    assert met == {pair for row in itertools.product(*factors) for pair in _pairs(row)}
    assert set(COMMITTEE) == {"m-one", "m-two", "m-three"}
