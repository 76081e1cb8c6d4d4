"""Models of the libraries that people train with, their arrays as Flower carries them."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower import PrivateStrategy, privacy_mod, unit_reply
from fedprivacy.flower.parameters import Parameters, floating_names
from flower_loop import FLOATS, PLAN, model, vector

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}


def train_with(home, arrays, step, *, rounds=2, plan=None):
    """The final model where each node's training is `step(arrays, partition)`."""
    app = ClientApp(mods=[privacy_mod])

    @app.train()
    def train(message, context):
        trained, count = step(message.content["arrays"], context.node_config["partition-id"])
        content = {"arrays": trained, "metrics": MetricRecord({"num-examples": count})}
        return Message(RecordDict(content), reply_to=message)

    home.grid.apps = dict.fromkeys(home.nodes, app)
    strategy = PrivateStrategy(FedAvg(**NODES), plan=home.plan, directory=home.directory)
    return strategy.start(home.grid, arrays, num_rounds=rounds).arrays


def test_a_sklearn_model_is_trained(house):
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 5))
    labels = (features @ np.array([2.0, -1.0, 0.5, 0.0, 1.0]) > 0).astype(int)

    def step(arrays, part):
        mine = slice(100 * part, 100 * part + 100)
        model = linear_model.SGDClassifier(loss="log_loss", random_state=part)
        model.classes_ = np.array([0, 1])
        coefficients, intercept = arrays.to_numpy_ndarrays()
        model.coef_, model.intercept_ = coefficients.copy(), intercept.copy()
        model.partial_fit(features[mine], labels[mine])
        return ArrayRecord([model.coef_, model.intercept_]), 100

    home = house(plan=PLAN.replace("clip = 1.0", "clip = 100.0"))
    trained = train_with(home, ArrayRecord([np.zeros((1, 5)), np.zeros(1)]), step)
    coefficients, intercept = trained.to_numpy_ndarrays()
    right = ((features @ coefficients[0] + intercept[0] > 0) == labels).mean()
    assert right > 0.9


def test_a_torch_model_is_trained_and_its_counters_stay(house):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.manual_seed(1)

    def network():
        return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

    def step(arrays, part):
        net = network()
        net.load_state_dict(arrays.to_torch_state_dict())
        torch.manual_seed(part)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(50):
            optimiser.zero_grad()
            net(torch.randn(8, 3)).square().sum().backward()
            optimiser.step()
        return ArrayRecord(net.state_dict()), 8

    home, before = house(), ArrayRecord(network().state_dict())
    after = train_with(home, before, step)
    assert list(after) == list(before)
    assert int(after["1.num_batches_tracked"].numpy()) == 0
    assert after["0.weight"].dtype == "float32"
    assert not np.array_equal(after["0.weight"].numpy(), before["0.weight"].numpy())
    network().load_state_dict(after.to_torch_state_dict())


def test_units_at_a_client_are_rows_of_each_array(house):
    plan = PLAN.replace('unit = "client"', 'unit = "patient"').replace("= 100", "= 8")
    home, before = house(plan=plan), np.array([1.0, -1.0])

    def step(arrays, part):
        units = part + 1
        moved = np.array([before + np.array((0.1 * part, 9.0 * unit)) for unit in range(units)])
        return ArrayRecord([moved]), units

    after = train_with(home, ArrayRecord([before]), step, rounds=1)["0"].numpy()
    updates = [np.array([0.1 * p, 9.0 * u]) for p in range(4) for u in range(p + 1)]
    clipped = [u / max(1.0, np.linalg.norm(u)) for u in updates]
    bound = home.plan.pipeline(2, 4).quantisation_bound(10) / 10
    assert np.max(np.abs(after - before - np.mean(clipped, axis=0))) < bound


# ------------------------------------------------------------------ arrays


def record(**arrays):
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def test_floats_of_every_shape_are_summed_and_nothing_else():
    arrays = record(b=[1.0, 2.0], a=3.5, n=7, flags=[True, False], h=np.float16(1))
    assert floating_names(arrays) == ("a", "b", "h")
    parameters = Parameters.of(arrays, floating_names(arrays))
    assert parameters.vector(arrays).tolist() == [3.5, 1.0, 2.0, 1.0]
    moved = parameters.moved(arrays, np.ones(4))
    assert list(moved) == list(arrays)
    assert [moved[name].numpy().tolist() for name in moved] == [
        [2.0, 3.0],
        4.5,
        7,
        [True, False],
        2.0,
    ]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (record(a=1.0), "lack 'b'"),
        (record(a=1.0, b=[1.0]), r"shape \(1,\) where \(2,\)"),
        (record(a=1.0, b=[1j, 2j]), "only real numbers"),
        (
            ArrayRecord(
                {"a": Array("float64", (), "numpy.ndarray", b"junk"), "b": Array("a", (), "b", b"")}
            ),
            "cannot be read",
        ),
    ],
)
def test_arrays_that_do_not_fit_the_model_are_named(sent, why):
    parameters = Parameters.of(record(a=0.0, b=[0.0, 0.0]), ("a", "b"))
    with pytest.raises(ConfigurationError, match=why):
        parameters.vector(sent)


def test_a_model_without_floats_is_refused():
    with pytest.raises(ConfigurationError, match="nothing can be summed"):
        Parameters.of(record(n=7), floating_names(record(n=7)))


def test_a_row_for_each_unit_moves_the_model_by_it(house):
    house()
    arrays = model()
    length = len(vector(arrays))
    moves = np.arange(3.0 * length).reshape(3, length)
    message = Message(
        RecordDict({"arrays": arrays}), dst_node_id=1, message_type="train", group_id=""
    )
    reply = unit_reply(message, moves).content["arrays"]
    found = Parameters.of(arrays, FLOATS)
    assert np.allclose(found.rows(reply) - found.vector(arrays), moves)
    assert found.rows(unit_reply(message, moves[:0]).content["arrays"]).shape == (0, length)
    with pytest.raises(ConfigurationError, match=r"moves have shape \(3, 2\)"):
        unit_reply(message, moves[:, :2])
    with pytest.raises(ConfigurationError, match="the message has 0 models"):
        unit_reply(Message(RecordDict(), dst_node_id=1, message_type="train"), moves)
