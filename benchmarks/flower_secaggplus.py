"""Flower's SecAgg+ as shipped, in one process: what one round costs a client and the server.

`SecAggPlusWorkflow` and `secaggplus_mod` run unmodified over a grid that calls one client after
the other. What passes is serialised by Flower's own protobuf messages, on the clock of the side
that does it. Left out, to the peer's advantage: the network, the model sent to the clients, the
storing of a client's context between messages, and averaging by a strategy (the workflow hands it
the mean already).
"""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.compat.common.recorddict_compat import fitres_to_recorddict, parameters_to_arrayrecord
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.server import LegacyContext, SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import Strategy
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray
from sums import Case, Cost

__all__ = ["run_peer"]

_NOTHING = Parameters([], "numpy.ndarray")
_RUN = 1
_SERVER = 1
_FIRST_NODE = 1001

logging.getLogger("flwr").setLevel(logging.WARNING)


class _Client:
    """One node: its context, and an app that answers with a vector."""

    def __init__(self, node: int, vector: NDArray[np.float32]) -> None:
        self._vector = vector
        self._context = _context(node)

    def answer(self, request: bytes) -> bytes:
        message = message_from_proto(ProtoMessage.FromString(request))
        reply = secaggplus_mod(message, self._context, self._app)
        return message_to_proto(reply).SerializeToString()

    def _app(self, message: Message, _: Context) -> Message:
        fitted = FitRes(Status(Code.OK, ""), ndarrays_to_parameters([self._vector]), 1, {})
        return Message(fitres_to_recorddict(fitted, keep_input=False), reply_to=message)


class _InProcessGrid(Grid):
    """Calls each client in turn; the lost ones say nothing once masked vectors are due."""

    def __init__(self, clients: Mapping[int, _Client], lost: frozenset[int]) -> None:
        self._clients = clients
        self._lost = lost
        self.seconds: Counter[int] = Counter()
        self.bytes_up: Counter[int] = Counter()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            stage = message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
            if node in self._lost and stage == Stage.COLLECT_MASKED_VECTORS:
                continue
            request = message_to_proto(message).SerializeToString()
            started = perf_counter()
            answer = self._clients[node].answer(request)
            self.seconds[node] += perf_counter() - started  # type: ignore[assignment]
            self.bytes_up[node] += len(answer)
            replies.append(message_from_proto(ProtoMessage.FromString(answer)))
        return replies

    def get_node_ids(self) -> list[int]:
        return list(self._clients)

    # What the workflow does not use.

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError


@dataclass
class _Everyone(Strategy):
    """Asks every node and takes the mean that the workflow has made."""

    grid: _InProcessGrid
    mean: NDArray[np.float64] | None = None

    def initialize_parameters(self, client_manager: Any) -> Parameters:
        return _NOTHING

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
        run = type("Run", (), {"run_id": _RUN})()
        return [
            (GridClientProxy(node, self.grid, run), FitIns(_NOTHING, {}))
            for node in self.grid.get_node_ids()
        ]

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
        return None, {}

    def configure_evaluate(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
        return []

    def aggregate_evaluate(self, server_round: int, results: Any, failures: Any) -> Any:
        return None, {}

    def evaluate(self, server_round: int, parameters: Any) -> None:
        return None


def _context(node: int) -> Context:
    return Context(run_id=_RUN, node_id=node, node_config={}, state=RecordDict(), run_config={})


def run_peer(case: Case, vector_of: Callable[[str], NDArray[np.float32]]) -> Cost:
    """One round of Flower's SecAgg+ over these float32 vectors, each with the weight 1.

    The quantisation is the case's: its clip is the clipping range, its bits give the levels. The
    last `case.lost` clients are lost after the shares. Raises `RuntimeError` if there is no mean.
    """
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN, _SERVER
    vectors = enumerate(map(vector_of, case.names), _FIRST_NODE)
    clients = {node: _Client(node, vector) for node, vector in vectors}
    nodes = list(clients)
    present = nodes[: len(nodes) - case.lost]
    grid = _InProcessGrid(clients, frozenset(nodes) - frozenset(present))
    strategy = _Everyone(grid)
    context = LegacyContext(
        _context(_SERVER), strategy=strategy, client_manager=SimpleClientManager()
    )
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    context.state.array_records[MAIN_PARAMS_RECORD] = parameters_to_arrayrecord(
        _NOTHING, keep_input=True
    )
    workflow = SecAggPlusWorkflow(
        num_shares=case.shares,
        reconstruction_threshold=case.threshold,
        max_weight=1.0,
        clipping_range=case.clip,
        quantization_range=1 << case.value_bits,
    )
    started = perf_counter()
    workflow(grid, context)
    total = perf_counter() - started
    if strategy.mean is None:
        raise RuntimeError("the peer's workflow ended without a mean")
    return Cost(
        mean=strategy.mean,
        client_seconds=statistics.median(grid.seconds[node] for node in present),
        server_seconds=total - sum(grid.seconds.values()),
        bytes_up=statistics.median(grid.bytes_up[node] for node in present),
    )
