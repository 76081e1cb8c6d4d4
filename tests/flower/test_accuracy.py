"""What protection costs in accuracy: each strategy, private and as it was, on the same data."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi

from fedprivacy.flower import PrivateStrategy, privacy_mod
from flower_loop import PLAN

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}
WIDE = PLAN.replace("clip = 1.0", "clip = 20.0").replace("client = 100", "client = 200")
ADAPTIVE = {"eta": 0.05, "tau": 1e-3}


@pytest.fixture(scope="module")
def patients():
    """Features, labels, and the place of each: one of four clients, or held out (4)."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    features, labels = datasets.load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    return features, labels, np.arange(len(labels)) % 5


def logits(arrays, features):
    weights = np.asarray(arrays["coef"].numpy())
    return features @ weights + float(np.asarray(arrays["intercept"].numpy())[0])


def app_of(patients, mods):
    features, labels, places = patients
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        mine = places == context.node_config["partition-id"]
        coef = np.array(message.content["arrays"]["coef"].numpy())
        intercept = np.array(message.content["arrays"]["intercept"].numpy())
        for _ in range(20):
            model = {"coef": Array(coef), "intercept": Array(intercept)}
            error = 1 / (1 + np.exp(-logits(model, features[mine]))) - labels[mine]
            coef = coef - 0.1 * (features[mine].T @ error) / mine.sum()
            intercept = intercept - 0.1 * error.mean()
        arrays = ArrayRecord({"coef": Array(coef), "intercept": Array(intercept)})
        metrics = MetricRecord({"num-examples": int(mine.sum())})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


def accuracy(result, patients):
    features, labels, places = patients
    held = places == 4
    return np.mean((logits(result.arrays, features[held]) > 0) == labels[held])


def majority(patients):
    _, labels, places = patients
    ones = np.mean(labels[places == 4])
    return max(ones, 1 - ones)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FedAvg, {}),
        (FedProx, {"proximal_mu": 0.1}),
        (FedAvgM, {"server_momentum": 0.5}),
        (FedAdam, ADAPTIVE),
        (FedYogi, ADAPTIVE),
        (FedAdagrad, ADAPTIVE),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_private_run_is_as_accurate_within_two_points(house, patients, kind, options):
    home = house(plan=WIDE)
    start = {"coef": Array(np.zeros(30)), "intercept": Array(np.zeros(1))}
    found = {}
    for private in (False, True):
        app = app_of(patients, [privacy_mod] if private else [])
        home.grid.apps = dict.fromkeys(home.nodes, app)
        strategy = kind(**NODES, **options)
        if private:
            strategy = PrivateStrategy(strategy, plan=home.plan, directory=home.directory)
        result = strategy.start(
            home.grid, ArrayRecord(start), num_rounds=5, train_config=ConfigRecord({"lr": 0.1})
        )
        found[private] = accuracy(result, patients)
    assert found[False] > majority(patients) + 0.2, "the data are not learned at all"
    assert abs(found[True] - found[False]) <= 0.02
