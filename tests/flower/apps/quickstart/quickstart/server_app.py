"""quickstart: a Flower / scikit-learn app."""

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from quickstart.task import evaluate, initial_params, load_data

# Create ServerApp
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Main entry point for the ServerApp."""

    # Read run config
    num_rounds: int = context.run_config["num-server-rounds"]
    lr: float = context.run_config["learning-rate"]

    # Load global model
    arrays = ArrayRecord(initial_params())

    # Initialize FedAvg strategy
    strategy = FedAvg(
        fraction_train=context.run_config["fraction-train"],
        min_train_nodes=context.run_config["num-nodes"],
        min_available_nodes=context.run_config["num-nodes"],
    )

    # Start strategy, run FedAvg for `num_rounds`
    result = strategy.start(
        grid=grid,
        initial_arrays=arrays,
        train_config=ConfigRecord({"lr": lr}),
        num_rounds=num_rounds,
        evaluate_fn=central_evaluate,
    )
    rounds = result.evaluate_metrics_serverapp
    found = [round(metrics["accuracy"], 3) for metrics in rounds.values()]
    print("accuracy:", found)  # noqa: T201 - as quickstarts do


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Evaluate the global model on data of the server's own."""
    _, x_test, _, y_test = load_data(0, 1)
    loss, accuracy = evaluate(arrays.to_numpy_ndarrays(), x_test, y_test)
    return MetricRecord({"loss": loss, "accuracy": accuracy})
