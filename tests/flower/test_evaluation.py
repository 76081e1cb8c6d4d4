"""Evaluation as a secure sum: one mean for the strategy, and nothing of one client."""

import json
import logging
import math

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower import PrivateStrategy
from fedprivacy.flower.metrics import MetricBounds
from fedprivacy.flower.records import METRICS
from fedprivacy.ledger import BudgetKey, BudgetLedger, ReservationState
from fedprivacy.rounds import Plan, RunRecord
from flower_loop import NOISY, PLAN, lost, model, vector

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "min_evaluate_nodes": 4}
BOUNDS = {"loss": 8.0, "accuracy": 1.0}
LOSSES = (1.0, 2.0, 4.0, 100.0)
COUNTS = (10, 11, 12, 13)


class Evaluated:
    """The nodes of a test, whose evaluation gives a loss and an accuracy of each node's own."""

    def __init__(self, house, plan=PLAN, told=None):
        self.home = house(plan=plan)
        self.contents, self.fails = [], set()
        self.told = told or (lambda part: {"loss": LOSSES[part], "accuracy": part / 4})
        app = type(self.home.trainer.app)(mods=self.home.trainer.app._mods)
        app.train()(self.home.trainer.train)
        app.evaluate()(self.evaluate)
        self.home.grid.apps = dict.fromkeys(self.home.nodes, app)

    def evaluate(self, message, context):
        part = int(context.node_config["partition-id"])
        self.contents.append(message.content)
        if part in self.fails:
            raise ValueError("the patient is Erika Mustermann")
        metrics = MetricRecord({"num-examples": COUNTS[part], **self.told(part)})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def start(self, *, rounds=1, inner=None, **options):
        noisy = self.home.plan.noise.trust.value != "none"
        options = {"ledger": ":memory:" if noisy else None, "metrics": BOUNDS, **options}
        strategy = PrivateStrategy(
            FedAvg(**NODES) if inner is None else inner,
            plan=self.home.plan,
            directory=self.home.directory,
            phase_timeout=0.5,
            evaluate=options.pop("evaluate", "summed"),
            **options,
        )
        return strategy.start(self.home.grid, model(), num_rounds=rounds, timeout=0.5)


def test_the_strategy_gets_the_weighted_mean_of_bounded_metrics(house):
    case = Evaluated(house)
    result = case.start(rounds=2)
    loss = np.average([1.0, 2.0, 4.0, 8.0], weights=COUNTS)  # 100 is cut off at 8
    accuracy = np.average([0.0, 0.25, 0.5, 0.75], weights=COUNTS)
    clip = case.home.plan.update.clip
    step = case.home.plan.pipeline(2, 4).quantisation_bound(46) / 46 * math.sqrt(2) / clip
    for metrics in result.evaluate_metrics_clientapp.values():
        assert set(metrics) == set(BOUNDS)
        assert metrics["loss"] == pytest.approx(loss, abs=8.0 * step + 1e-12)
        assert metrics["accuracy"] == pytest.approx(accuracy, abs=step + 1e-12)
    assert sorted(result.evaluate_metrics_clientapp) == [1, 2]
    assert not np.array_equal(vector(result.arrays), vector(model()))


def test_the_app_evaluates_the_model_and_sees_no_record_of_ours(house):
    case = Evaluated(house)
    case.start()
    assert all(set(content) == {"arrays", "config"} for content in case.contents)
    assert len(case.contents) == 4


def test_nothing_of_one_client_leaves_in_the_clear(house):
    case = Evaluated(house)
    replies, delivered = [], case.home.grid.delivered
    case.home.grid.delivered = lambda m: replies.extend(got := delivered(m)) or got
    case.start()
    assert len(replies) == 4 * (1 + 5 + 1 + 5)
    assert all(set(reply.content) == {"fedprivacy"} for reply in replies)


def test_the_mean_is_over_those_who_are_not_lost(house):
    case = Evaluated(house)
    case.home.grid.faults[case.home.nodes[2]][6 + 3] = lost  # where it would evaluate
    result = case.start()
    kept = [0, 1, 3]
    expected = np.average([0.0, 0.25, 0.75], weights=[COUNTS[i] for i in kept])
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == pytest.approx(expected, abs=1e-4)


def test_an_evaluation_that_fails_is_refused_with_a_code_alone(house, tmp_path):
    case = Evaluated(house)
    case.fails = {1}
    case.start(folder=tmp_path / "run")
    text = (tmp_path / "run-evaluation" / "record.json").read_text()
    record = RunRecord.from_json(text)
    assert record.rounds[0].attempts[0].refused == {"node-1": "failed"}
    assert "Mustermann" not in text


def without_an_evaluation(case, tmp_path, caplog, **options):
    """The training of two rounds goes on, whatever is wrong with its evaluation."""
    with caplog.at_level(logging.WARNING, "flwr"):
        result = case.start(rounds=2, folder=tmp_path / "run", **options)
    assert not np.array_equal(vector(result.arrays), vector(model()))
    assert result.evaluate_metrics_clientapp == {}
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert [r.outcome for r in record.rounds] == ["sum", "sum"]


def test_an_evaluation_with_too_few_nodes_costs_no_result(house, tmp_path, caplog):
    case = Evaluated(house)
    inner = FedAvg(**{**NODES, "min_evaluate_nodes": 2}, fraction_evaluate=0.5)
    without_an_evaluation(case, tmp_path, caplog, inner=inner)
    assert "with 2 clients: min_clients 3 is more than the cohort of 2" in caplog.text
    assert "set min_evaluate_nodes and min_available_nodes of the strategy to" in caplog.text
    lines = (tmp_path / "run-evaluation" / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["attempts"][0]["reason"] for line in lines] == ["too-few"] * 2


def test_a_mistake_in_an_evaluation_ends_the_evaluation_alone(house, tmp_path, caplog):
    case = Evaluated(house)

    class Personal(FedAvg):
        def configure_evaluate(self, *args):
            messages = list(super().configure_evaluate(*args))
            content = messages[0].content.copy()
            content["config"] = ConfigRecord({"threshold": 0.5})
            messages[0].content = content
            return messages

    without_an_evaluation(case, tmp_path, caplog, inner=Personal(**NODES))
    assert caplog.text.count("is sent other content than node") == 1
    assert not (tmp_path / "run-evaluation").exists()


def test_a_run_that_does_not_begin_leaves_no_folder(house, tmp_path):
    case = Evaluated(house)
    (tmp_path / "run-evaluation").mkdir()
    with pytest.raises(ConfigurationError, match="run-evaluation exists"):
        case.start(folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "run-evaluation").exists()


@pytest.mark.parametrize(
    "told", [{"loss": 1.0}, {"loss": math.nan, "accuracy": 0.1}, {"loss": [1.0], "accuracy": 0.1}]
)
def test_a_metric_that_is_missing_or_no_number_is_an_evaluation_that_failed(house, told, caplog):
    case = Evaluated(house, told=lambda part: told)
    result = case.start()
    assert result.evaluate_metrics_clientapp == {}
    assert "is missing or is no finite number" in caplog.text


def test_a_server_that_lies_about_the_bounds_is_refused(house, tmp_path):
    case = Evaluated(house)

    def other(message, answer):
        message.content[METRICS].update({"loss": 0.001})
        return [answer(message)]

    case.home.grid.faults[case.home.nodes[0]][6 + 3] = other
    case.start(folder=tmp_path / "run")
    record = RunRecord.from_json((tmp_path / "run-evaluation" / "record.json").read_text())
    assert record.rounds[0].attempts[0].refused == {"node-0": "broadcast"}
    assert len(case.contents) == 3


# ------------------------------------------------------------------ noise


def test_an_evaluation_is_charged_like_a_round_of_training(house, nodes_folder):
    plan = NOISY.replace("epsilon = 60.0", "epsilon = 30.0")
    case, place = Evaluated(house, plan=plan), nodes_folder / "budget.db"
    result = case.start(ledger=place)
    with BudgetLedger(place, clock=lambda: 0) as ledger:
        budget = ledger.budget(BudgetKey("toy", "client"))
    assert budget.attempts[ReservationState.SETTLED] == 2
    exact = np.mean([0.0, 0.25, 0.5, 0.75])  # uniform weights: each client counts one
    apart = abs(result.evaluate_metrics_clientapp[1]["accuracy"] - exact)
    # Deviation at least 1 * sqrt(2) / 4 in the mean: closer than 1e-5 has a chance below 3e-5.
    assert 1e-5 < apart < 5


def test_a_budget_that_holds_no_evaluation_leaves_the_result_of_the_training(house, nodes_folder):
    case, place = Evaluated(house, plan=NOISY), nodes_folder / "budget.db"
    case.start(ledger=place, evaluate="withheld", metrics=None)
    with BudgetLedger(place, clock=lambda: 0) as ledger:
        once = ledger.budget(BudgetKey("toy", "client")).charged
    case.home.plan = Plan.parse(NOISY.replace("epsilon = 60.0", f"epsilon = {1.1 * once}"))
    result = case.start(ledger=nodes_folder / "other.db")
    assert result.evaluate_metrics_clientapp == {}
    assert not case.contents
    assert not np.array_equal(vector(result.arrays), vector(model()))


# ------------------------------------------------------------------ what does not fit


PATIENTS = PLAN.replace('"client"', '"patient"')
ADAPTIVE = NOISY.replace('"uniform"', '"uniform"\npublic_weight = 4') + (
    "[adaptive]\nquantile = 0.5\ncount_deviation = 2.0\n"
)
POISSON = (
    PLAN.replace("malicious", "honest-but-curious").replace('"secagg"', '"plain"')
    + '[sampling]\nscheme = "poisson"\nrate = 0.8\n'
)


@pytest.mark.parametrize(
    ("plan", "options", "remedy"),
    [
        (PLAN, {"metrics": None}, "no metric is named: pass metrics="),
        (PLAN, {"metrics": {"loss": 0.0}}, "give a positive number"),
        (PLAN, {"metrics": {"loss": math.inf}}, "give a positive number"),
        (PLAN, {"evaluate": "withheld"}, "metrics with evaluate = 'withheld'"),
        (PATIENTS, {}, "evaluate on the server"),
        (NOISY, {}, "pass ledger="),
        (ADAPTIVE, {"ledger": "budget.db"}, "keep the clip fixed"),
        (POISSON, {"inner": FedAvg(fraction_evaluate=0.5)}, "set fraction_evaluate = 1.0"),
    ],
)
def test_what_does_not_fit_the_plan_is_refused_at_once(
    house, plan, options, remedy, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    case = Evaluated(house, plan=plan)
    with pytest.raises(ConfigurationError, match=remedy):
        case.start(**options)
    assert not case.home.grid.pushes


def test_metrics_of_any_size_fit_the_clip():
    for count in (1, 2, 3, 7, 100):
        bounds = MetricBounds.of({f"m{i}": 3.0 for i in range(count)})
        record = MetricRecord({f"m{i}": 1e300 * (-1) ** i for i in range(count)})
        scaled = [a.numpy() for a in bounds.scaled(record, 0.1).values()]
        assert np.linalg.norm(scaled) <= 0.1
        back = bounds.means(np.array(scaled), 0.1)
        assert all(abs(value) == pytest.approx(3.0) for value in back.values())
