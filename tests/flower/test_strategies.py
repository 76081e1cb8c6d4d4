"""Every strategy that needs a mean works as it is; those that need more are refused."""

import logging

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
)

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower import PrivateStrategy
from fedprivacy.rounds import Plan
from flower_loop import FLOATS, MODEL, NOISY, PLAIN, PLAN, model, vector

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}


def watched(kind, check):
    """The strategy, which shows `check` what it gets in each round."""

    class Watched(kind):
        def configure_train(self, server_round, arrays, config, grid):
            self.broadcast = arrays
            return super().configure_train(server_round, arrays, config, grid)

        def aggregate_train(self, server_round, replies):
            replies = list(replies)
            check(self.broadcast, replies)
            return super().aggregate_train(server_round, replies)

    Watched.__name__ = kind.__name__
    return Watched


@pytest.mark.parametrize(
    ("kind", "options", "plan"),
    [
        (FedAvg, {}, PLAN),
        (FedAdam, {}, PLAN),
        # Of what the sum is made, a strategy sees nothing: for the others, the quickest will do.
        (FedProx, {"proximal_mu": 0.1}, PLAIN),
        (FedAvgM, {"server_momentum": 0.5}, PLAIN),
        (FedYogi, {}, PLAIN),
        (FedAdagrad, {}, PLAIN),
    ],
)
def test_a_strategy_gets_the_mean_of_the_clipped_updates(house, kind, options, plan):
    home = house(plan=plan)
    bound_of = home.plan.pipeline(len(vector(model())), 4).quantisation_bound
    rounds = []

    def check(broadcast, replies):
        (reply,) = replies
        weight = reply.content["metrics"]["num-examples"]
        assert weight == sum(home.trainer.weights.values()) == 46
        given = vector(reply.content["arrays"]) - vector(broadcast)
        apart = np.max(np.abs(given - home.trainer.mean(home.plan.update.clip)))
        assert 0 < apart < bound_of(weight) / weight + 1e-15
        assert reply.content["arrays"]["steps"] == broadcast["steps"]
        rounds.append(apart)

    inner = watched(kind, check)(**NODES, **options)
    strategy = PrivateStrategy(inner, plan=home.plan, directory=home.directory)
    result = strategy.start(
        grid=home.grid,
        initial_arrays=model(),
        num_rounds=5,
        train_config=ConfigRecord({"lr": 0.1}),
    )
    assert len(rounds) == 5
    assert set(result.arrays) == set(MODEL)
    assert all(config["lr"] == 0.1 for config in home.trainer.configs)
    assert np.all(np.isfinite(vector(result.arrays)))
    assert not np.array_equal(vector(result.arrays), vector(model()))


def test_what_a_client_counts_in_the_clear_reaches_nobody(house):
    home = house()
    strategy = PrivateStrategy(FedAvg(**NODES), plan=home.plan, directory=home.directory)
    result = strategy.start(grid=home.grid, initial_arrays=model(), num_rounds=1)
    assert result.train_metrics_clientapp == {1: MetricRecord()}


def test_a_subclass_keeps_its_own_start(house):
    home = house()

    class Own(FedAvg):
        def start(self, *args, note, **options):
            self.note = note
            self.result = super().start(*args, **options)
            return self.result

    inner = Own(**NODES)
    strategy = PrivateStrategy(inner, plan=home.plan, directory=home.directory)
    result = strategy.start(home.grid, model(), num_rounds=1, note="kept")
    assert inner.note == "kept"
    assert result is inner.result
    assert not np.array_equal(vector(result.arrays), vector(model()))


@pytest.mark.parametrize("kind", [FedAvg, FedAdam])
def test_a_model_of_float32_is_trained_in_every_round(house, kind):
    home = house(plan=PLAIN, dtype=np.float32)
    arrays = model()
    for name in FLOATS:
        arrays[name] = type(arrays[name])(np.asarray(MODEL[name], dtype=np.float32))
    strategy = PrivateStrategy(kind(**NODES), plan=home.plan)
    result = strategy.start(home.grid, arrays, num_rounds=3)
    assert len(home.grid.pushes) == 1 + 3
    if kind is FedAvg:  # others turn it into float64 by themselves
        assert {result.arrays[name].dtype for name in FLOATS} == {"float32"}


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        (Krum(), "compares clients' models"),
        (MultiKrum(), "compares clients' models"),
        (Bulyan(), "compares clients' models"),
        (FedMedian(), "compares clients' models"),
        (FedTrimmedAvg(), "compares clients' models"),
        (QFedAvg(client_learning_rate=0.1, train_loss_key="loss"), "weighs clients"),
        (FedXgbBagging(), "trees"),
        (FedXgbCyclic(), "trees"),
        (DifferentialPrivacyClientSideFixedClipping(FedAvg(), 1.0, 1.0, 4), "its own noise"),
        (DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 1.0, 4), "its own noise"),
        (DifferentialPrivacyClientSideAdaptiveClipping(FedAvg(), 0.1, 99), "its own noise"),
        (DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), 0.1, 99), "its own noise"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_strategy_that_needs_more_than_a_mean_is_refused(inner, why):
    with pytest.raises(ConfigurationError, match=f"{type(inner).__name__} .*{why}.*: "):
        PrivateStrategy(inner, plan=Plan.parse(PLAN))


def test_a_private_strategy_is_wrapped_once():
    plan = Plan.parse(PLAN.replace("malicious", "honest-but-curious"))
    with pytest.raises(ConfigurationError, match="wrap the inner strategy once"):
        PrivateStrategy(PrivateStrategy(FedAvg(), plan=plan), plan=plan)


@pytest.mark.parametrize(
    ("plan", "options", "remedy"),
    [
        (PLAN, {}, "pass directory="),
        (NOISY, {"directory": "d"}, "pass ledger="),
        (PLAN, {"directory": "nowhere.json"}, "nowhere.json: No such file"),
        (PLAN, {"directory": "d", "evaluate": "maybe"}, "choose from withheld, summed, open"),
        (NOISY, {"directory": "d", "ledger": "postgresql+psycopg://x"}, "operator_key is missing"),
    ],
)
def test_what_does_not_fit_the_plan_is_refused_at_once(house, plan, options, remedy):
    home = house()
    options = {k: home.files.directory if v == "d" else v for k, v in options.items()}
    with pytest.raises(ConfigurationError, match=remedy):
        PrivateStrategy(FedAvg(), plan=Plan.parse(plan), **options)


@pytest.mark.parametrize(
    ("options", "low"),
    [
        ({}, "min_train_nodes and min_available_nodes of FedAvg"),
        ({"min_train_nodes": 3}, "min_available_nodes of FedAvg"),
        ({"min_train_nodes": 3, "min_available_nodes": 3}, ""),
    ],
)
def test_a_strategy_that_begins_with_too_few_nodes_is_warned_of(house, caplog, options, low):
    home = house()
    with caplog.at_level(logging.WARNING, "flwr"):
        PrivateStrategy(FedAvg(**options), plan=home.plan, directory=home.directory)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == bool(low)
    assert all(line.startswith(f"{low}: set to at least 3, plan.aggregation") for line in said)


def test_a_loop_of_its_own_has_no_private_rounds(house):
    home = house()
    strategy = PrivateStrategy(FedAvg(**NODES), plan=home.plan, directory=home.directory)
    with pytest.raises(ConfigurationError, match="call `start`"):
        strategy.configure_train(1, model(), ConfigRecord(), home.grid)
