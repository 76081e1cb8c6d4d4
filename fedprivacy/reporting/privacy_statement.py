"""What an auditor asks of differential privacy in use, answered from a ledger.

The questions follow the reporting checklist of Ponomareva et al., "How to DP-fy ML" (2023), section
5.3, and add the remaining budget. What the ledger cannot know is called not stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
from rich.console import RenderableType

from fedprivacy.accounting import downwards, upwards
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import Budget, ReservationState, Verification
from fedprivacy.reporting.statements import (
    SETTINGS,
    Assumption,
    Holding,
    Release,
    Section,
    against_units,
    definition,
    resting_on,
    short,
    statement_parts,
)
from fedprivacy.reporting.text import counted
from fedprivacy.rounds import Plan
from fedprivacy.rounds.guarantee import defends_against
from fedprivacy.rounds.rules import Trust

__all__ = ["PrivacyStatement"]

_NOT_STATED = "not stated: give the plan"


class PrivacyStatement(msgspec.Struct, frozen=True, kw_only=True):
    """One budget as an auditor reads it; `epsilon` is what all charged releases cost together."""

    schema: Literal["fedprivacy/privacy-statement/1"] = "fedprivacy/privacy-statement/1"
    dataset: str
    unit: str
    adjacency: str
    epsilon: float | str
    delta: float
    limit: float
    remaining: float
    setting: str
    definition: str
    accesses: str
    output: str
    accounting: str
    formal: str
    trust: str
    population: str
    assumptions: tuple[Assumption, ...]
    releases: tuple[Release, ...]
    ledger: str
    rows: int
    head: str

    @classmethod
    def of(
        cls,
        budget: Budget,
        verification: Verification,
        *,
        plan: Plan | None = None,
        units: int | None = None,
        more: Iterable[Assumption] = (),
    ) -> PrivacyStatement:
        """The statement of a budget whose ledger was verified.

        `units` counts the units in the data set; `more` are assumptions that the accountant names.
        Raises `ConfigurationError` for a plan that speaks of other data.
        """
        if plan is not None:
            _check_same(budget, plan)
        terms, key = budget.terms, budget.key
        return cls(
            dataset=key.dataset,
            unit=key.unit,
            adjacency=terms.adjacency,
            # JSON has no infinity.
            epsilon=budget.charged if budget.charged < float("inf") else "infinite",
            delta=terms.delta,
            limit=terms.epsilon,
            remaining=budget.remaining,
            setting=SETTINGS[plan.noise.trust.value] if plan else _NOT_STATED,
            definition=definition(key.unit, terms.adjacency),
            accesses=_accesses(budget),
            output="every sum that was unmasked, and so every model computed from them, not only "
            "the last",
            accounting=budget.method or "nothing is charged yet",
            formal=_formal(budget),
            trust=defends_against(plan.aggregation) if plan else _NOT_STATED,
            population=against_units(terms.delta, units)[0],
            assumptions=(*_assumptions(budget, verification, plan, units), *more),
            releases=tuple(Release.of(spend) for spend in budget.spends),
            ledger=verification.ledger.hex(),
            rows=verification.rows,
            head=verification.head.hex(),
        )

    def to_json(self) -> str:
        """One JSON document."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def answers(self) -> tuple[tuple[str, str], ...]:
        """Each question, and the answer in words."""
        return (
            ("setting", self.setting),
            ("definition", self.definition),
            ("unit of privacy", self.unit),
            ("adjacency", self.adjacency),
            ("data accesses covered", self.accesses),
            ("output covered", self.output),
            ("accounting", self.accounting),
            ("formal statement", self.formal),
            ("trust model", self.trust),
            ("delta against 1/N", self.population),
            ("budget", f"{downwards(self.remaining)} of {short(self.limit)} is left"),
            ("ledger", f"{self.ledger}, {counted(self.rows, 'row')}, head {self.head}"),
        )

    def sections(self) -> tuple[Section, ...]:
        """All that is told, in order."""
        released = tuple((r.event, f"{r.count:,}") for r in self.releases)
        return (
            Section(f"Privacy of {self.dataset}", self.answers()),
            resting_on(self.assumptions),
            Section("What was released", released, counted=True),
        )

    def parts(self) -> Iterator[RenderableType]:
        """The text for a terminal."""
        return statement_parts(self.sections())


def _check_same(budget: Budget, plan: Plan) -> None:
    given = plan.dataset
    for key, value, known in (
        ("id", given.id, budget.key.dataset),
        ("unit", given.unit, budget.key.unit),
        ("adjacency", given.adjacency.value, budget.terms.adjacency),
    ):
        if value != known:
            raise ConfigurationError(
                f"plan.dataset.{key} = {value} where the budget is of {known}: give the plan that "
                "was charged to it"
            )


def _accesses(budget: Budget) -> str:
    count = budget.attempts
    charged = [
        f"{counted(count[state], 'attempt')} {word}"
        for state, word in (
            (ReservationState.SETTLED, "charged as released"),
            (ReservationState.UNMASKING, "charged at the worst, unmasked and not settled"),
            (ReservationState.RESERVED, "charged at the worst, not ended"),
        )
        if count[state]
    ]
    void = count[ReservationState.VOIDED]
    free = [f"{counted(void, 'attempt')} ended before anything could be revealed"] if void else []
    told = "; ".join([*charged, *free]) or "none yet"
    return f"{told}. Tuning and evaluation are covered where they were charged here, not otherwise"


def _formal(budget: Budget) -> str:
    terms, key = budget.terms, budget.key
    if not any(budget.attempts[state] for state in ReservationState if _is_charged(state)):
        return "nothing was released"
    if not budget.charged < float("inf"):
        return f"at delta = {short(terms.delta)} no epsilon holds: nothing is promised"
    return (
        f"all releases charged here are together ({upwards(budget.charged)}, "
        f"{short(terms.delta)})-differentially private for one {key.unit} of {key.dataset}, under "
        f"{terms.adjacency}"
    )


def _is_charged(state: ReservationState) -> bool:
    return state is not ReservationState.VOIDED


def _assumptions(
    budget: Budget, verification: Verification, plan: Plan | None, units: int | None
) -> Iterator[Assumption]:
    yield Assumption(Holding.CHECKED, "the ledger's rows form one chain and keep its rules")
    yield _pooled(verification)
    within = budget.charged <= budget.terms.epsilon
    yield Assumption(Holding.of(checked=within), "what is charged is within the budget")
    yield Assumption(against_units(budget.terms.delta, units)[1], "delta is well below 1/N")
    if plan is not None:
        noised = plan.noise.trust is not Trust.NONE
        yield Assumption(Holding.of(checked=noised), "the plan adds noise")
    yield Assumption(
        Holding.ASSUMED,
        "every access to this data set is charged here; each client's own budget bounds it besides",
    )
    yield Assumption(
        Holding.ASSUMED,
        "events were stated as they happened: clipping, noise and the number of honest shares",
    )


def _pooled(verification: Verification) -> Assumption:
    text = "no client was told another history"
    if verification.contradicted:
        return Assumption(Holding.BROKEN, f"{text}: {verification.contradicted[0].detail}")
    agreeing = verification.receipts - len(verification.findings)
    if not agreeing:
        return Assumption(Holding.ASSUMED, f"{text}: no receipts were compared")
    compared = counted(agreeing, "receipt")
    return Assumption(Holding.CHECKED, f"{text}, as far as {compared} of clients tell")
