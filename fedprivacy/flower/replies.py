"""What an app answers: to a secure sum, or to a training with a row for each unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from numpy.typing import ArrayLike, NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.parameters import Parameters, floating_names
from fedprivacy.rounds import Plan

__all__ = [
    "CONFIG",
    "PER_UNIT",
    "VECTOR",
    "Values",
    "histogram_config",
    "histogram_reply",
    "unit_reply",
    "vector_reply",
]

VECTOR = "vector"
"""The name of the array that is summed."""
CONFIG, PER_UNIT = "config", "per-unit"
_EDGES = "edges"

Values = Mapping[str, bool | int | float | str]
"""What a server may tell a query function."""


def histogram_config(plan: Plan, edges: Sequence[float], config: Values | None) -> ConfigRecord:
    """What `histogram_reply` is told, with a user's own values."""
    record = ConfigRecord(dict(config or {}))
    record[_EDGES] = [float(edge) for edge in edges]
    record[PER_UNIT] = plan.protects_units
    return record


def vector_reply(message: Message, vector: ArrayLike, num_examples: int | None = None) -> Message:
    """A reply with a client's vector, or with a row for each unit where the plan's unit is less.

    `num_examples` is the weight of a mean, where the plan's weights are summed.
    """
    values = np.asarray(vector, dtype=np.float64)
    content = RecordDict({"arrays": ArrayRecord({VECTOR: Array(values)})})
    if num_examples is not None:
        content["metrics"] = MetricRecord({"num-examples": num_examples})
    return Message(content, reply_to=message)


def unit_reply(message: Message, moves: NDArray[np.floating[Any]]) -> Message:
    """A reply to a training of which each row is one unit's: the model moved by it.

    `moves`, `(units, length)`, has a row for each unit, a patient's negative gradient say. Its
    columns are the model's floating-point arrays one after the other, ascending by name, as
    `Layout.of` has them; without units it has no rows. Where the plan's unit is smaller than a
    client the mod clips and rounds each row by itself. Raises `ConfigurationError` for a message
    without one model, or other columns.
    """
    records = message.content.array_records
    if len(records) != 1:
        raise ConfigurationError(f"the message has {len(records)} models where one is trained on")
    (arrays,) = records.values()
    found = Parameters.of(arrays, floating_names(arrays)).stacked(arrays, moves)
    return Message(RecordDict({"arrays": found}), reply_to=message)


def histogram_reply(message: Message, values: ArrayLike) -> Message:
    """A reply with the counts that a histogram, or a step of a quantile, asks for.

    `values`, one-dimensional, are this client's; NaN counts nowhere. Where the plan's unit is
    smaller than a client they are one for each unit. Raises `ConfigurationError` for a message
    that asks for no histogram.
    """
    config = message.content.config_records.get(CONFIG, ConfigRecord())
    edges = config.get(_EDGES)
    if not isinstance(edges, list):
        raise ConfigurationError("the message asks for no histogram: answer with vector_reply")
    given, bins = np.asarray(values, dtype=np.float64).reshape(-1), len(edges) - 1
    # Bins are closed to the left; what is beyond the outer edges is in the outer bins.
    place = np.clip(np.searchsorted(edges, given, side="right") - 1, 0, bins - 1)
    rows = np.zeros((len(given), bins))
    rows[np.arange(len(given)), place] = ~np.isnan(given)
    return vector_reply(message, rows if config.get(PER_UNIT) else rows.sum(axis=0))
