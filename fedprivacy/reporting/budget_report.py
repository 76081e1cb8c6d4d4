"""A privacy budget: what noise, rounds and epsilon go together, and what that rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from rich.console import RenderableType
from rich.text import Text

from fedprivacy.accounting import Bound, Cost, Workload, downwards, upwards
from fedprivacy.dp.events import Adjacency, Release
from fedprivacy.reporting.tables import figures, titled
from fedprivacy.reporting.text import byte_count, counted, small

__all__ = ["BudgetReport", "CostRecord"]


class CostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one round takes and how well the mean comes out."""

    cohort: float
    """Clients in a round, on average."""
    value_bits: int
    modulus_bits: int
    """Of the sum of a cohort, so that it does not wrap."""
    upload_bytes: int
    """One client's masked vector."""
    sensitivity_inflation: float
    """By how much rounding raises the sensitivity."""
    rms_error: float
    """Of one coordinate of the mean, in the update's unit, clipping apart."""
    vector_error: float
    """Of the whole vector, as an L2 norm."""
    noise_multiplier_sample_seen: float | None
    """What it takes where who was drawn is seen; none where that changes nothing."""

    @classmethod
    def of(cls, cost: Cost, workload: Workload, seen: float | None) -> CostRecord:
        """The record of a round's cost."""
        return cls(
            cohort=workload.cohort,
            value_bits=cost.value_bits,
            modulus_bits=cost.modulus_bits,
            upload_bytes=cost.upload_bytes,
            sensitivity_inflation=cost.inflation,
            rms_error=cost.rms_error,
            vector_error=cost.vector_error,
            noise_multiplier_sample_seen=seen,
        )


class BudgetReport(msgspec.Struct, frozen=True, kw_only=True):
    """An (epsilon, delta), the releases that it is of, and what it rests on."""

    schema: Literal["fedprivacy/budget-report/1"] = "fedprivacy/budget-report/1"
    mechanism: str
    noise_multiplier: float
    """Deviation of the noise in a round's sum over the L2 sensitivity of adding one unit."""
    rounds: int
    rate: float
    sampling: str
    adjacency: str
    delta: float
    epsilon: float | None
    """None where nothing can be promised at this delta."""
    epsilon_lower: float
    """Epsilon is at least this where a unit uses its full sensitivity; zero says nothing."""
    accountant: str
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    cost: CostRecord | None

    @classmethod
    def of(
        cls,
        bound: Bound,
        release: Release,
        *,
        mechanism: str,
        noise_multiplier: float,
        rounds: int,
        adjacency: Adjacency,
        clients: int | None,
        cost: CostRecord | None = None,
    ) -> BudgetReport:
        """The report; `rounds` may be none, of which the bound is that of nothing released."""
        return cls(
            mechanism=mechanism,
            noise_multiplier=noise_multiplier,
            rounds=rounds,
            rate=release.sample.rate,
            sampling=release.sample.scheme.value,
            adjacency=adjacency.value,
            delta=bound.delta,
            epsilon=bound.epsilon if bound.epsilon < float("inf") else None,
            epsilon_lower=bound.lower,
            accountant=bound.method.value,
            assumptions=bound.assumptions,
            warnings=_warnings(bound, clients),
            cost=cost,
        )

    def to_json(self) -> str:
        """The report as one JSON document."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def parts(self) -> Iterator[RenderableType]:
        """The report for a person, in order; legible at 80 columns."""
        yield titled(f"{self.mechanism} noise over {counted(self.rounds, 'round')}")
        yield figures(self._figures())
        if self.cost is not None:
            yield Text()
            yield titled("What a round takes and gives")
            yield figures(_cost_figures(self.cost))
        yield Text()
        yield titled("This holds if")
        for told in self.assumptions:
            yield Text(f"- {told}.")
        for warning in self.warnings:
            yield Text()
            yield Text(f"Warning: {warning}.")

    def _figures(self) -> Iterator[tuple[str, str]]:
        told = "infinite" if self.epsilon is None else upwards(self.epsilon, 4)
        yield f"epsilon at delta = {self.delta:g} ({self.accountant})", told
        if self.epsilon_lower:
            yield "epsilon is at least", downwards(self.epsilon_lower, 4)
        yield "noise multiplier", f"{self.noise_multiplier:.5g}"
        yield "rounds", f"{self.rounds:,}"
        yield f"units drawn in a round ({self.sampling})", f"{self.rate:g}"


def _cost_figures(cost: CostRecord) -> Iterator[tuple[str, str]]:
    yield "clients in a round", f"{cost.cohort:,.6g}"
    yield "bits of a value, and of the sum (modulus)", f"{cost.value_bits} and {cost.modulus_bits}"
    yield "one client's masked vector", byte_count(cost.upload_bytes)
    yield "sensitivity with rounding, over that without", f"{cost.sensitivity_inflation:.3g}"
    yield "error of a coordinate of the mean (root mean square)", small(cost.rms_error)
    yield "error of the whole mean (L2 norm)", small(cost.vector_error)
    if cost.noise_multiplier_sample_seen is not None:
        seen = f"{cost.noise_multiplier_sample_seen:.5g}"
        yield "noise multiplier if who was drawn is seen", seen


def _warnings(bound: Bound, clients: int | None) -> tuple[str, ...]:
    told = []
    if clients is not None and bound.delta >= 1 / clients:
        told.append(
            f"delta = {bound.delta:g} is not below 1 / {clients:,} clients: it would allow to "
            "publish one of them whole"
        )
    if bound.epsilon == float("inf"):
        told.append("nothing is promised at this delta: add noise, or take fewer rounds")
    return tuple(told)
