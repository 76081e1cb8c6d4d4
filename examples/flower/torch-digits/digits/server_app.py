"""The server: FedAdam, wrapped; its moments see noised sums only."""

from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam

from digits.task import accuracy_of, network
from fedprivacy import Plan
from fedprivacy.flower import PrivateStrategy

APP = Path(__file__).parent.parent
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and say how well the network does on digits of no client."""
    nodes = Path(str(context.run_config["nodes"]))
    plan = Plan.from_toml(APP / "privacy.toml")
    fewest = plan.aggregation.min_clients
    strategy = PrivateStrategy(
        FedAdam(
            min_train_nodes=fewest,
            min_available_nodes=fewest,
            fraction_evaluate=0.0,
            eta=0.05,
            tau=1e-3,
        ),
        plan=plan,
        directory=nodes / "directory.json",
        ledger=nodes / "budget.db",
    )

    def evaluate(_: int, arrays: ArrayRecord) -> MetricRecord:
        model = network()
        model.load_state_dict(arrays.to_torch_state_dict())
        return MetricRecord({"accuracy": round(accuracy_of(model), 3)})

    result = strategy.start(
        grid,
        ArrayRecord(network().state_dict()),
        num_rounds=int(context.run_config["rounds"]),
        evaluate_fn=evaluate,
    )
    rounds = result.evaluate_metrics_serverapp
    print("accuracy on held-out digits:", [metrics["accuracy"] for metrics in rounds.values()])
