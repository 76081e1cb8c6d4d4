"""A Grid that a strategy takes for Flower's own, and in which training is a private round."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.polling import replies
from fedprivacy.flower.records import WITHHELD
from fedprivacy.flower.run import PrivateRun
from fedprivacy.flower.summed_evaluation import SummedEvaluation

__all__ = ["Evaluation", "PrivateGrid", "category"]

_FOREVER = 1e9
_TRAIN = "train"


class Evaluation(Enum):
    """What becomes of evaluation at the clients."""

    WITHHELD = "withheld"
    """None takes place: no client is asked."""
    SUMMED = "summed"
    """A private round of its own, of named metrics; charged where the plan adds noise."""
    OPEN = "open"
    """As ever, each client's metrics in the clear; only of clients whose policy allows that."""


def category(message: Message) -> str:
    """`train`, `evaluate`, `query`: what stands before the first dot of a message's type."""
    return message.metadata.message_type.partition(".")[0]


class PrivateGrid(Grid):
    """Flower's Grid, but for training: the messages of a batch make one private round.

    A strategy does not see the nodes of a committee whom the plan names: they open sums, and do not
    train.

    After the last round of a run, a budget's for example, nobody is asked any more: a strategy
    whose loop goes on gets no replies, and its model stays as it is.
    """

    def __init__(
        self,
        grid: Grid,
        run: PrivateRun,
        evaluation: Evaluation,
        summed: SummedEvaluation | None = None,
    ) -> None:
        self._grid = grid
        self._private = run
        self._evaluation = evaluation
        self._summed = summed
        self._nodes: list[int] = []

    def set_run(self, run: Run) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        # A loop that goes on after the end must not wait for nodes that have left.
        if not (self._private.ended and self._nodes):
            nodes = list(self._grid.get_node_ids())
            self._nodes = self._private.members.apart(self._grid, nodes, _TRAIN)
        return self._nodes

    def get_nodes(self) -> Iterable[NodeInfo]:
        apart = set(self.get_node_ids())
        return [info for info in self._grid.get_nodes() if info.node_id in apart]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Raises `ConfigurationError` for a message that is not a query: see `send_and_receive`."""
        messages = list(messages)
        for message in messages:
            if category(message) != "query":
                raise ConfigurationError(
                    f"a message of type {message.metadata.message_type} is pushed by itself: a "
                    "private round needs all of them at once, use send_and_receive"
                )
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Replies to a batch; to training, at most the one that stands for all."""
        messages = list(messages)
        kinds = sorted({category(message) for message in messages})
        if not messages:
            return []
        if len(kinds) > 1:
            raise ConfigurationError(
                f"one batch has messages of types {', '.join(kinds)}: send them apart"
            )
        seconds = _FOREVER if timeout is None else timeout
        if kinds[0] == _TRAIN:
            return self._private.round(self._grid, messages, timeout=seconds)
        if kinds[0] == "evaluate" and (
            self._evaluation is Evaluation.WITHHELD or self._private.ended
        ):
            return []
        if kinds[0] == "evaluate" and self._summed is not None:
            return self._summed.round(self._grid, messages, timeout=seconds)
        came = replies(self._grid, messages, timeout=seconds)
        return [reply for _, reply in came if not _is_withheld(reply)]


def _is_withheld(reply: Message) -> bool:
    return reply.has_content() and WITHHELD in reply.content
