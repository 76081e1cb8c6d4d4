"""One app under four protections, each in a simulation of its own: what a round takes, and gives.

`main(VARIANT, FOLDER)`: FOLDER holds the nodes' files, and receives `VARIANT.json`.
The app is softmax regression on handwritten digits, ten clients, one vector of 650 values; bytes
are those of the replies as Flower encodes them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.common.serde import message_to_proto
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, RdpAccountant, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.simulation import run_simulation
from flwr.supercore.privacy_accounting import NeighboringRelation, PrivacyConfig, SamplingMethod

from fedprivacy import Plan, RunRecord
from fedprivacy.flower import PrivateStrategy, privacy_mod

NODES, ROUNDS, STEPS, RATE = 10, 8, 20, 0.5
CLIP, NOISE, DELTA = 4.0, 0.5, 1e-5
HELD_OUT = 397
VARIANTS = ("secaggplus", "secagg", "central-dp", "distributed-dp")

Mod = Callable[[Message, Context, Callable[[Message, Context], Message]], Message]


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(1).permutation(len(data.data))
    pictures = np.hstack([data.data / 16, np.ones((len(data.data), 1))])
    return pictures[order], data.target[order]


def trained(weights: np.ndarray, part: int) -> tuple[np.ndarray, int]:
    """A client's weights, `(650,)`, after a few steps on its own digits."""
    pictures, labels = (each[HELD_OUT:][part::NODES] for each in digits())
    found = weights.reshape(65, 10).astype(np.float64)
    for _ in range(STEPS):
        logits = pictures @ found
        odds = np.exp(logits - logits.max(1, keepdims=True))
        odds /= odds.sum(1, keepdims=True)
        odds[np.arange(len(labels)), labels] -= 1
        found = found - RATE * pictures.T @ odds / len(labels)
    return found.reshape(-1).astype(np.float32), len(labels)


def accuracy(weights: np.ndarray) -> float:
    pictures, labels = (each[:HELD_OUT] for each in digits())
    return float(np.mean((pictures @ weights.reshape(65, 10)).argmax(1) == labels))


def counted(folder: Path) -> Mod:
    """A mod that notes the bytes of each reply."""

    def mod(message: Message, context: Context, call_next: Any) -> Message:
        reply = call_next(message, context)
        with (folder / f"sent-{context.node_id}").open("a", encoding="utf-8") as file:
            file.write(f"{len(message_to_proto(reply).SerializeToString())}\n")
        return reply

    return mod


def message_app(mods: list[Any]) -> ClientApp:
    app = ClientApp(mods=mods)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        weights = message.content["arrays"]["w"].numpy()
        moved, count = trained(weights, int(context.node_config["partition-id"]))
        content = {
            "arrays": ArrayRecord({"w": Array(moved)}),
            "metrics": MetricRecord({"num-examples": count}),
        }
        return Message(RecordDict(content), reply_to=message)

    return app


def legacy_app(mods: list[Any]) -> ClientApp:
    class Client(NumPyClient):
        def __init__(self, part: int) -> None:
            self.part = part

        def fit(self, parameters: Any, config: Any) -> Any:
            weights, count = trained(parameters[0], self.part)
            return [weights], count, {}

    return ClientApp(
        lambda context: Client(int(context.node_config["partition-id"])).to_client(), mods=mods
    )


class Clock:
    """When each round ended, and how well the model did then."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.accuracies: list[float] = []

    def note(self, weights: np.ndarray) -> None:
        self.ends.append(time.perf_counter())
        self.accuracies.append(accuracy(weights))

    def evaluate(self, _: int, arrays: ArrayRecord) -> MetricRecord:
        self.note(arrays["w"].numpy())
        return MetricRecord({"accuracy": self.accuracies[-1]})

    def evaluate_legacy(self, _: int, parameters: Any, __: Any) -> tuple[float, dict[str, Any]]:
        self.note(parameters[0])
        return 0.0, {}


def waits(grid: Grid) -> None:
    while len(list(grid.get_node_ids())) < NODES:
        time.sleep(0.2)


def secaggplus(folder: Path, clock: Clock, _: dict[str, Any]) -> tuple[ServerApp, ClientApp]:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        waits(grid)
        strategy = LegacyFedAvg(
            fraction_evaluate=0.0,
            min_fit_clients=NODES,
            min_available_clients=NODES,
            initial_parameters=ndarrays_to_parameters([np.zeros(650, np.float32)]),
            evaluate_fn=clock.evaluate_legacy,
        )
        legacy = LegacyContext(context, config=ServerConfig(num_rounds=ROUNDS), strategy=strategy)
        fit = SecAggPlusWorkflow(num_shares=NODES, reconstruction_threshold=6)
        DefaultWorkflow(fit_workflow=fit)(grid, legacy)

    return app, legacy_app([counted(folder), secaggplus_mod])


def wrapped(
    folder: Path, clock: Clock, wrap: Callable[[FedAvg], Any], mods: Iterable[Any]
) -> tuple[ServerApp, ClientApp]:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _: Context) -> None:
        waits(grid)
        inner = FedAvg(fraction_evaluate=0.0, min_train_nodes=NODES, min_available_nodes=NODES)
        start = ArrayRecord({"w": Array(np.zeros(650, np.float32))})
        wrap(inner).start(grid, start, num_rounds=ROUNDS, evaluate_fn=clock.evaluate)

    return app, message_app([counted(folder), *mods])


def central(folder: Path, clock: Clock, out: dict[str, Any]) -> tuple[ServerApp, ClientApp]:
    accountant = RdpAccountant(
        PrivacyConfig(
            target_delta=DELTA,
            population_size=NODES,
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            sampling_method=SamplingMethod.NO_AMPLIFICATION,
        )
    )
    out["epsilon"] = lambda: accountant.get_epsilon(DELTA)

    def wrap(inner: FedAvg) -> Any:
        inner.weighted_by_key = "one"  # accounted rounds take equal weights alone
        return DifferentialPrivacyServerSideFixedClipping(
            inner, NOISE, CLIP, NODES, accountant=accountant
        )

    def equal(message: Message, context: Context, call_next: Any) -> Message:
        reply = call_next(message, context)
        reply.content["metrics"]["one"] = 1
        return reply

    return wrapped(folder, clock, wrap, [equal])


def private(folder: Path, clock: Clock, out: dict[str, Any]) -> tuple[ServerApp, ClientApp]:
    plan = Plan.from_toml(folder / "beside.toml")
    noisy = plan.noise.noise_multiplier > 0

    def epsilon() -> float:
        record = RunRecord.from_json((folder / "run" / "record.json").read_text("utf-8"))
        budget = record.rounds[-1].budget
        return 0.0 if budget is None else budget.epsilon

    out["epsilon"] = epsilon

    def wrap(inner: FedAvg) -> Any:
        return PrivateStrategy(
            inner,
            plan=plan,
            directory=folder / "nodes" / "directory.json",
            ledger=folder / "budget.db" if noisy else None,
            folder=folder / "run",
        )

    return wrapped(folder, clock, wrap, [privacy_mod])


def main(variant: str, place: str) -> None:
    """Run one variant and write what it took and gave."""
    folder = Path(place)
    clock, out = Clock(), {}
    makers = {"secaggplus": secaggplus, "central-dp": central}
    server, client = makers.get(variant, private)(folder, clock, out)
    run_simulation(
        server, client, NODES, backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0}}
    )
    sent = [sum(map(int, f.read_text("utf-8").split())) for f in folder.glob("sent-*")]
    took = [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]
    told = {
        "seconds": took[1:],  # the first warms up, and makes acquaintances
        "bytes": sum(sent) / len(sent) / len(took),
        "accuracy": clock.accuracies[-1],
        "epsilon": out["epsilon"]() if "epsilon" in out else 0.0,
    }
    (folder / f"{variant}.json").write_text(json.dumps(told), encoding="utf-8")
