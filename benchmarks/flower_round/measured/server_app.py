"""The server: plain rounds, empty exchanges and private rounds in turn, and how long each took."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedprivacy import Plan, RunRecord
from fedprivacy.flower import PrivateStrategy

APP = Path(__file__).parent.parent
app = ServerApp()


class Plain(FedAvg):
    """FedAvg, to the function of the client that has no mod."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return [
            Message(m.content, dst_node_id=m.metadata.dst_node_id, message_type="train.plain")
            for m in super().configure_train(server_round, arrays, config, grid)
        ]


def second_round(strategy: FedAvg | PrivateStrategy, grid: Grid, length: int) -> float:
    """Seconds of a run's second round: its first also makes acquaintances."""
    ends: list[float] = []

    def note(_: int, __: ArrayRecord) -> MetricRecord:
        ends.append(time.perf_counter())
        return MetricRecord()

    arrays = ArrayRecord({"w": Array(np.zeros(length, dtype=np.float32))})
    strategy.start(grid, arrays, num_rounds=2, evaluate_fn=note)
    return ends[2] - ends[1]


def empty_exchange(grid: Grid, nodes: list[int]) -> float:
    """Seconds of one message to each node and its reply, with nothing in them."""
    started = time.perf_counter()
    messages = [
        Message(RecordDict(), dst_node_id=node, message_type="query.empty") for node in nodes
    ]
    replies = list(grid.send_and_receive(messages))
    if len(replies) < len(nodes) or any(not reply.has_content() for reply in replies):
        raise RuntimeError("a node did not answer")
    return time.perf_counter() - started


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    count, length = int(config["supernodes"]), int(config["length"])
    files = Path(str(config["nodes"]))
    while len(nodes := list(grid.get_node_ids())) < count:
        time.sleep(0.5)
    options = {
        "min_train_nodes": count,
        "min_available_nodes": count,
        "fraction_evaluate": 0.0,
    }
    plan = Plan.from_toml(files / "measured.toml")
    figures: dict[str, list[float]] = {"plain": [], "empty": [], "private": [], "upload": []}
    for _ in range(1 + int(config["repeats"])):  # the first warms everything up
        figures["plain"].append(second_round(Plain(**options), grid, length))
        figures["empty"].append(empty_exchange(grid, nodes))
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "run"
            strategy = PrivateStrategy(
                FedAvg(**options), plan=plan, directory=files / "directory.json", folder=folder
            )
            figures["private"].append(second_round(strategy, grid, length))
            record = RunRecord.from_json((folder / "record.json").read_text("utf-8"))
        (attempt,) = record.rounds[1].attempts
        if record.rounds[1].outcome != "sum":
            raise RuntimeError("a private round without a sum")
        figures["upload"].append(sum(phase.bytes_up for phase in attempt.phases) / count)
        figures["exchanges"] = [float(len(attempt.phases))]
    told = {name: values[1:] if name != "exchanges" else values for name, values in figures.items()}
    Path(str(config["out"])).write_text(json.dumps(told), encoding="utf-8")
