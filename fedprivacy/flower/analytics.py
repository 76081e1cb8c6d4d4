"""Federated analytics: sums of what an app's query function answers, each one private round.

The function is an ordinary `@app.query()`. Its vector is clipped, rounded, noised and masked as an
update is, by the same plan, and by the same mod; the server gets the sum.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedprivacy.crypto import Directory
from fedprivacy.errors import BudgetExhausted, ConfigurationError, Reason, RoundAborted
from fedprivacy.flower.replies import VECTOR, Values, histogram_config
from fedprivacy.flower.run import PrivateRun
from fedprivacy.flower.terms import Terms
from fedprivacy.randomness import Rng, SystemRng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import Admission
from fedprivacy.vector import Aggregate, Weights

__all__ = [
    "Interval",
    "QueryOptions",
    "secure_histogram",
    "secure_mean",
    "secure_quantile",
    "secure_sum",
]

_LOG = logging.getLogger("flwr.fedprivacy")
_PAUSE = 0.1  # seconds between two looks at who is connected

Floats = NDArray[np.float64]


class QueryOptions(TypedDict, total=False):
    """How a query is asked; all of it may be left out that the plan does not demand."""

    query: str
    """The action of the app's function: `@app.query("age")` has `age`; by default it has none."""
    directory: Directory | str | Path | None
    ledger: str | Path | None
    operator_key: str | Path | None
    ceremony: Admission | str | Path | None
    """These four as in `PrivateStrategy`."""
    nodes: Iterable[int] | None
    """Whom to ask; by default all that are connected, but for a committee whom the plan names."""
    min_nodes: int
    """How many to wait for, `phase_timeout` at most; by default the plan's `min_clients`."""
    timeout: float
    """Seconds that nodes have for their function."""
    phase_timeout: float
    """Seconds that they have for every other answer."""
    folder: str | Path | None
    """A new one, which receives the record."""
    trusted_apps: bool
    """As in `PrivateStrategy`; by default they are not."""
    rng: Rng


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a quantile lies, as far as so many rounds showed."""

    low: float
    high: float
    rounds: int

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


def secure_sum(
    grid: Grid,
    plan: Plan,
    *,
    length: int,
    config: Values | None = None,
    **options: Unpack[QueryOptions],
) -> Aggregate:
    """The sum of the clients' vectors of `length` numbers: one private round.

    Each vector, or each unit's row of it, is clipped to `plan.update.clip`; where the plan adds
    noise, the sum has it, and the ledger is charged before anyone is asked. `config` reaches the
    function as `message.content["config"]`. Raises `BudgetExhausted`, `RoundAborted` where there is
    no sum, and `ConfigurationError` for what does not fit the plan: `weights = summed` is refused,
    since each vector would be multiplied by its client's weight.
    """
    _check_uniform(plan, "a sum")
    query = _Query(plan, length, options)
    try:
        return query.answer(grid, ConfigRecord(dict(config or {})))
    finally:
        query.run.finish()


def secure_mean(
    grid: Grid,
    plan: Plan,
    *,
    length: int = 1,
    config: Values | None = None,
    **options: Unpack[QueryOptions],
) -> Floats:
    """The mean of the clients' vectors, `(length,)`; else as `secure_sum`.

    With `weights = summed` it is weighted by the `num-examples` of each reply's metrics, which are
    in the sum and nowhere else; with uniform weights each client counts one, or the plan's
    `public_weight` is divided by. Where the unit is smaller than a client, that must be set: a sum
    says nothing of how many units there are.
    """
    if plan.protects_units and not plan.update.public_weight:
        raise ConfigurationError(
            f"plan.update.public_weight = 0 with unit = {plan.dataset.unit}: set it to the number "
            "that a mean is to divide by, or ask for one number more, 1 for each unit (secure_sum)"
        )
    query = _Query(plan, length, options)
    try:
        return query.answer(grid, ConfigRecord(dict(config or {}))).mean
    finally:
        query.run.finish()


def secure_histogram(
    grid: Grid,
    plan: Plan,
    *,
    edges: Sequence[float],
    config: Values | None = None,
    **options: Unpack[QueryOptions],
) -> Floats:
    """How many values lie between each two edges, `(len(edges) - 1,)`; else as `secure_sum`.

    The function answers with `histogram_reply`. What is beyond the outer edges counts into the
    outer bins. Where the unit is a client, its counts are clipped as one vector: the clip has to be
    the largest norm that is to count in full. Where it is smaller, each has one value, and a clip
    of 1 cuts off nothing.
    """
    _check_uniform(plan, "a histogram")
    query = _Query(plan, len(_checked(edges)) - 1, options)
    try:
        return query.answer(grid, histogram_config(plan, edges, config)).sum
    finally:
        query.run.finish()


def secure_quantile(
    grid: Grid,
    plan: Plan,
    *,
    q: float,
    low: float,
    high: float,
    steps: int = 8,
    config: Values | None = None,
    **options: Unpack[QueryOptions],
) -> Interval:
    """An interval with the q-th quantile of all values, by halving [low, high] `steps` times.

    Each step is a histogram of two bins, a private round, and charged like one. The function is
    that of `secure_histogram`. Where the budget ends on the way, or a round has no sum, the
    interval is as wide as what was learnt leaves it. Noise can lead a step astray: the interval is
    then beside the quantile, most likely where few values are between it and the quantile.
    """
    _check_uniform(plan, "a quantile")
    _check_bisection(plan, q, low, high, steps)
    query, found = _Query(plan, 2, options), Interval(low, high, 0)
    try:
        for _ in range(steps):
            edges = (low, found.middle, high)
            try:
                below, above = query.answer(grid, histogram_config(plan, edges, config)).sum
            except (BudgetExhausted, RoundAborted) as error:
                if not found.rounds:
                    raise
                _LOG.warning("the quantile is known after %d rounds only: %s", found.rounds, error)
                break
            if below >= q * (below + above):
                found = Interval(found.low, found.middle, found.rounds + 1)
            else:
                found = Interval(found.middle, found.high, found.rounds + 1)
        return found
    finally:
        query.run.finish()


@dataclass(slots=True)
class _Query:
    """Rounds about one question."""

    plan: Plan
    length: int
    options: QueryOptions
    run: PrivateRun = field(init=False)

    def __post_init__(self) -> None:
        options = self.options
        if self.length < 1:
            raise ConfigurationError(f"length = {self.length} sums nothing: at least 1")
        self.run = PrivateRun.start(
            Terms.of(
                self.plan,
                directory=options.get("directory"),
                ledger=options.get("ledger"),
                operator_key=options.get("operator_key"),
                folder=options.get("folder"),
                phase_timeout=self._phase_timeout,
                runs_any_app=not options.get("trusted_apps", False),
                weighted_by="num-examples",
                rng=options.get("rng") or SystemRng(),
                ceremony=options.get("ceremony"),
            )
        )

    @property
    def _phase_timeout(self) -> float:
        return self.options.get("phase_timeout", 120.0)

    def answer(self, grid: Grid, config: ConfigRecord) -> Aggregate:
        """The sum of one round; raises `BudgetExhausted` or `RoundAborted` without one."""
        content = RecordDict({"arrays": ArrayRecord({VECTOR: Array(np.zeros(self.length))})})
        content["config"] = config
        name = self.options.get("query", "")
        kind = f"query.{name}" if name else "query"
        messages = [Message(content, node, kind) for node in self._nodes(grid, kind)]
        if not messages:
            raise ConfigurationError("no node is connected: start the nodes, or wait longer")
        aggregate = self.run.sum(grid, messages, timeout=self.options.get("timeout", 3600.0))
        if aggregate is not None:
            return aggregate
        last = self.run.last
        if self.run.ended:
            raise BudgetExhausted(self.run.ended)
        reason = last.attempts[-1].reason if last is not None and last.attempts else ""
        raise RoundAborted(_reason(reason), "the query has no sum: the log says who was lost")

    def _nodes(self, grid: Grid, kind: str) -> list[int]:
        named = self.options.get("nodes")
        if named is not None:
            return list(named)
        wanted = self.options.get("min_nodes", self.plan.aggregation.min_clients)
        deadline = time.monotonic() + self._phase_timeout
        while True:
            nodes = self.run.members.apart(grid, list(grid.get_node_ids()), kind)
            if len(nodes) >= wanted or time.monotonic() >= deadline:
                return nodes
            time.sleep(_PAUSE)


def _reason(name: str) -> Reason:
    try:
        return Reason[name.upper().replace("-", "_")]
    except KeyError:
        return Reason.TOO_FEW


def _checked(edges: Sequence[float]) -> Sequence[float]:
    rising = all(a < b for a, b in pairwise(edges))
    if len(edges) < 2 or not rising or not all(map(math.isfinite, edges)):
        raise ConfigurationError(
            f"edges = {list(edges)}: give at least two finite numbers, ascending"
        )
    return edges


def _check_uniform(plan: Plan, what: str) -> None:
    if plan.update.weights is not Weights.UNIFORM:
        raise ConfigurationError(
            f"plan.update.weights = {plan.update.weights.value} would multiply each vector in "
            f"{what} by its client's weight: set weights = uniform"
        )


def _check_bisection(plan: Plan, q: float, low: float, high: float, steps: int) -> None:
    if not 0 < q < 1:
        raise ConfigurationError(f"q = {q} is outside (0, 1): the median is 0.5")
    if not low < high or not math.isfinite(high - low):
        raise ConfigurationError(f"low = {low} and high = {high}: give finite numbers, ascending")
    if steps < 1:
        raise ConfigurationError(f"steps = {steps} halves nothing: at least 1")
    if plan.noise.trust is not Trust.NONE and steps > plan.noise.rounds:
        raise ConfigurationError(
            f"steps = {steps} where plan.noise.rounds = {plan.noise.rounds}: each step is a round, "
            "take fewer or plan for more"
        )
