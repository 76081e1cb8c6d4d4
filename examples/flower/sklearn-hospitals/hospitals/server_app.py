"""The server: FedAvgM, wrapped."""

import time
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvgM

from fedprivacy import Plan
from fedprivacy.flower import PrivateStrategy
from hospitals.task import accuracy_of, first_weights

APP = Path(__file__).parent.parent
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and say how well the model does on patients of no hospital."""
    config = context.run_config
    nodes = Path(str(config["nodes"]))
    plan = Plan.from_toml(APP / str(config["plan"]))
    while len(list(grid.get_node_ids())) < int(config["supernodes"]):
        time.sleep(1.0)
    # All are there when the run begins. Later it goes on without one that has left.
    fewest = plan.aggregation.min_clients
    strategy = PrivateStrategy(
        FedAvgM(
            min_train_nodes=fewest,
            min_available_nodes=fewest,
            fraction_evaluate=0.0,
            server_learning_rate=8.0,
            server_momentum=0.3,
        ),
        plan=plan,
        directory=nodes / "directory.json",
        ledger=nodes / "budget.db",
        phase_timeout=float(config["phase-timeout"]),
        folder=str(config["record"]) or None,
        trusted_apps=bool(config["trusted-apps"]),
    )

    def evaluate(_: int, arrays: ArrayRecord) -> MetricRecord:
        (weights,) = arrays.to_numpy_ndarrays()
        return MetricRecord({"accuracy": round(accuracy_of(weights), 3)})

    result = strategy.start(
        grid,
        ArrayRecord([first_weights()]),
        num_rounds=int(config["rounds"]),
        timeout=float(config["training-timeout"]),
        evaluate_fn=evaluate,
    )
    rounds = result.evaluate_metrics_serverapp
    print("accuracy on held-out patients:", [metrics["accuracy"] for metrics in rounds.values()])
