"""A node's part in a round that its app computes: from what was broadcast to a client's update."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.flower.metrics import MetricBounds
from fedprivacy.flower.parameters import Parameters
from fedprivacy.flower.records import (
    METRICS,
    Broadcast,
    others,
    record_digest,
    run_config_digest,
)
from fedprivacy.flower.replies import CONFIG, PER_UNIT
from fedprivacy.rounds import Plan, RoundPlan
from fedprivacy.rounds.round_plan import broadcast_digest
from fedprivacy.rounds.rules import Trust
from fedprivacy.vector import Update, Weights
from fedprivacy.wire import decode

__all__ = ["TrainingFailed", "read_broadcast", "trained_update", "unmoved_by_app"]

_LOG = logging.getLogger("flwr.fedprivacy")
_LIMIT = 1 << 30

T = TypeVar("T")


class TrainingFailed(ConfigurationError):
    """The app's own training did not give an update; what went wrong is told to nobody."""


def read_broadcast(data: bytes, plan: RoundPlan, message: Message, context: Context) -> Broadcast:
    """What the plan says was broadcast, held against what came.

    Raises `PeerError` (`BROADCAST`) where the server sent this client anything else than it told
    all clients, or Flower gave it another configuration for the run.
    """
    if broadcast_digest(data) != plan.broadcast:
        raise PeerError(Reason.BROADCAST, "the broadcast is not the one that the plan names")
    named = decode(Broadcast, data, limit=_LIMIT)
    content, about = others(message.content), message.metadata
    came = (
        ("message type", about.message_type, named.message_type),
        ("group id", about.group_id, named.group_id),
        ("run configuration", run_config_digest(context.run_config), named.run_config),
        ("records", tuple((n, record_digest(r)) for n, r in content.items()), named.records),
    )
    for what, here, there in came:
        if here != there:
            raise PeerError(Reason.BROADCAST, f"the {what} is not what the plan names")
    if len(content.array_records) != 1:
        raise PeerError(Reason.BROADCAST, "not one ArrayRecord to train on")
    return named


def trained_update(
    plan: RoundPlan,
    broadcast: Broadcast,
    message: Message,
    train: Callable[[Message], Message],
) -> Update:
    """This client's update: what its app computed, less what was broadcast.

    Of an evaluation it is the metrics that the server named. Where the plan adds noise, a training
    that fails gives an update of zeros: whether somebody's data made it fail is nobody's business.
    Where it adds none, `TrainingFailed` is raised.
    """
    content = others(message.content)
    try:
        inner = _Training.of(plan, broadcast, content)
    except ConfigurationError as error:
        raise PeerError(Reason.BROADCAST, str(error)) from None
    if fault := _query_fault(plan.plan, message, inner.before, content):
        raise PeerError(Reason.BROADCAST, fault)
    if inner.parameters.length != plan.length:
        detail = f"{inner.parameters.length} parameters where the plan has {plan.length}"
        raise PeerError(Reason.BROADCAST, detail)
    content.pop(METRICS, None)
    message.content = content
    try:
        reply = train(message)
        with unmoved_by_app():
            return inner.update(reply)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - an app's text is not for all
        _LOG.warning("training failed on this node", exc_info=error)
    if plan.plan.noise.trust is Trust.NONE:
        raise TrainingFailed("training failed: this client sits the round out")
    _LOG.warning("an update of zeros is sent in its place")
    return inner.nothing


def unmoved_by_app() -> AbstractContextManager[None]:
    """For what is computed after the app's own training, which may have left `np.seterr` at raise.

    A number that is too large or too small would then end as an error, which tells of data.
    """
    return np.errstate(all="ignore")


def _query_fault(
    plan: Plan, message: Message, before: NDArray[np.float64], content: RecordDict
) -> str | None:
    """What would let a server choose from where, or of whom, the answer to a query is counted."""
    if message.metadata.message_type.partition(".")[0] != "query":
        return None
    if before.any():
        return "a query is counted from zeros, and from nothing else"
    told = content.config_records.get(CONFIG, ConfigRecord()).get(PER_UNIT)
    if told is not None and told is not plan.protects_units:
        return "the query names another unit than the plan"
    return None


@dataclass(frozen=True, slots=True)
class _Training:
    plan: Plan
    clip: float
    metrics: MetricBounds | None
    """What is summed of an evaluation; None where the reply's arrays are."""
    parameters: Parameters
    before: NDArray[np.float64]
    weighted_by: str

    @classmethod
    def of(cls, plan: RoundPlan, broadcast: Broadcast, content: RecordDict) -> _Training:
        """Raises `ConfigurationError` for a broadcast of which nothing can be summed."""
        (arrays,) = content.array_records.values()
        metrics = None
        if METRICS in content:
            metrics = MetricBounds.of(content.config_records.get(METRICS, {}))
            arrays = metrics.zeros
            if plan.plan.protects_units:
                raise ConfigurationError("metrics are of a client, where the plan's unit is less")
        parameters = Parameters.of(arrays, broadcast.summed)
        before = parameters.vector(arrays)
        return cls(plan.plan, plan.clip, metrics, parameters, before, broadcast.weighted_by)

    @property
    def nothing(self) -> Update:
        """An update of zeros, or of no units."""
        length = self.parameters.length
        return Update(np.zeros((0, length) if self.plan.protects_units else length))

    def update(self, reply: Message) -> Update:
        arrays = self._summed(reply)
        if self.plan.protects_units:
            rows = self.parameters.rows(arrays)
            most = self.plan.update.max_units_per_client
            if len(rows) > most:
                raise ConfigurationError(f"{len(rows)} units where the plan allows {most}")
            return Update(rows - self.before)
        values = self.parameters.vector(arrays) - self.before
        values.flags.writeable = False
        return Update(values, self._weight(reply))

    def _summed(self, reply: Message) -> ArrayRecord:
        if self.metrics is None:
            return _only(reply.content.array_records, "ArrayRecord")
        return self.metrics.scaled(_only(reply.content.metric_records, "MetricRecord"), self.clip)

    def _weight(self, reply: Message) -> int:
        """What the app counts, and at most what the plan allows."""
        if self.plan.update.weights is Weights.UNIFORM:
            return 1
        metrics = _only(reply.content.metric_records, "MetricRecord")
        count, most = metrics.get(self.weighted_by), self.plan.update.max_units_per_client
        if not isinstance(count, int | float) or not math.isfinite(count) or count < 0:
            raise ConfigurationError(
                f"metrics[{self.weighted_by!r}] is missing or is no count: it is the weight"
            )
        if count > most:
            _LOG.warning("%s = %s counts as %s, the plan's most", self.weighted_by, count, most)
        return min(round(count), most)


def _only(records: Mapping[str, T], kind: str) -> T:
    if len(records) != 1:
        raise ConfigurationError(f"the reply has {len(records)} records {kind} where one is wanted")
    return next(iter(records.values()))
