"""The server: FedAvgM, wrapped."""

from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvgM

from fedprivacy import Plan
from fedprivacy.flower import PrivateStrategy
from hospitals.task import HOSPITALS, accuracy_of, first_weights

PLAN = Path(__file__).parent.parent / "privacy.toml"
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and say how well the model does on patients of no hospital."""
    nodes = Path(str(context.run_config["nodes"]))
    strategy = PrivateStrategy(
        FedAvgM(
            min_train_nodes=HOSPITALS,
            min_available_nodes=HOSPITALS,
            fraction_evaluate=0.0,
            server_learning_rate=8.0,
            server_momentum=0.3,
        ),
        plan=Plan.from_toml(PLAN),
        directory=nodes / "directory.json",
        ledger=nodes / "budget.db",
    )
    result = strategy.start(
        grid,
        ArrayRecord([first_weights()]),
        num_rounds=int(context.run_config["rounds"]),
        evaluate_fn=evaluate,
    )
    rounds = result.evaluate_metrics_serverapp
    print("accuracy on held-out patients:", [metrics["accuracy"] for metrics in rounds.values()])


def evaluate(_: int, arrays: ArrayRecord) -> MetricRecord:
    """On patients of no hospital."""
    (weights,) = arrays.to_numpy_ndarrays()
    return MetricRecord({"accuracy": round(accuracy_of(weights), 3)})
