"""What one client's data have told, from its own store: for its data-protection officer.

The same questions as in a server's statement, answered by what the client itself has charged; what
a store cannot know is called not stated, and what nobody should read into it stands at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from rich.console import RenderableType

from fedprivacy.accounting import downwards, upwards
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import (
    BudgetTerms,
    ClientHistory,
    DatasetCharges,
    EpsilonAccountant,
    SignedHead,
)
from fedprivacy.reporting.statements import (
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
from fedprivacy.rounds import ClientPolicy
from fedprivacy.rounds.rules import Trust

__all__ = ["ClientStatement", "DatasetStatement", "KeptReceipts"]

_NOT_STATED = "not stated: give the policy"
_NOISE = {
    Trust.NONE: "clients add the noise that counts, and not the server",
    Trust.DISTRIBUTED: "clients add the noise that counts, and not the server",
    Trust.SERVER: "the server may be trusted to add the noise, and nothing shows that it did",
    Trust.CLIENT: "this client adds all the noise itself, and trusts nobody with it",
}
_NOT_SAID = {
    "the server's ledger": (
        "What it has charged, and whether it is as this client was told: `fedprivacy budget "
        "verify` holds it against the receipts of many clients."
    ),
    "chance": (
        "Every round counts as if this client had been certain to be asked. What sampling may add "
        "to privacy is not claimed."
    ),
    "other clients": (
        "What their data have told; of somebody whose data are at several clients, no more than "
        "each plan counts."
    ),
    "everyone together": (
        "What can be learned of all, or of a group. The figure bounds what one more person's data "
        "change, and not what a model says about people like them."
    ),
    "other uses": (
        "What was told of the same data outside of these rounds, and whether any use was lawful "
        "or agreed to."
    ),
}


class KeptReceipts(msgspec.Struct, frozen=True):
    """Signed heads of one server's ledger that this client keeps."""

    ledger: str
    operator: str
    count: int
    last_row: int


class DatasetStatement(msgspec.Struct, frozen=True, kw_only=True):
    """One data set; the figures of a budget are absent where the policy has none for it."""

    dataset: str
    sources: tuple[str, ...]
    unit: str
    adjacency: str
    definition: str
    runs: int
    rounds: int
    formal: str
    budget: str
    population: str
    epsilon: float | str | None = None
    delta: float | None = None
    limit: float | None = None
    remaining: float | None = None
    releases: tuple[Release, ...]

    @classmethod
    def of(
        cls,
        charges: DatasetCharges,
        terms: BudgetTerms | None,
        accountant: EpsilonAccountant,
        units: int | None,
    ) -> DatasetStatement:
        """What was charged to it, at the terms of the client's own budget."""
        epsilon = None if terms is None else charges.epsilon(accountant, terms)
        finite = epsilon is None or epsilon < math.inf
        remaining = None
        if terms is not None and epsilon is not None:
            remaining = max(0.0, terms.epsilon - epsilon)
        return cls(
            dataset=charges.dataset,
            sources=charges.sources,
            unit=charges.unit,
            adjacency=charges.adjacency,
            definition=definition(charges.unit, charges.adjacency),
            runs=charges.runs,
            rounds=charges.rounds,
            formal=_formal(charges, terms, epsilon),
            budget=_budget(terms, remaining),
            population=_NOT_STATED if terms is None else against_units(terms.delta, units)[0],
            epsilon=epsilon if finite else "infinite",  # JSON has no infinity
            delta=None if terms is None else terms.delta,
            limit=None if terms is None else terms.epsilon,
            remaining=remaining,
            releases=tuple(map(Release.of, charges.spends)),
        )

    def answers(self) -> tuple[tuple[str, str], ...]:
        """Each question, and the answer in words."""
        took = f"{counted(self.rounds, 'round')} of {counted(self.runs, 'run')}"
        return (
            ("this client's word for it", ", ".join(self.sources)),
            ("definition", self.definition),
            ("unit of privacy", self.unit),
            ("adjacency", self.adjacency),
            ("took part in", took),
            ("formal statement", self.formal),
            ("budget", self.budget),
            ("delta against 1/N", self.population),
        )


class ClientStatement(msgspec.Struct, frozen=True, kw_only=True):
    """One client's store as a data-protection officer reads it."""

    schema: Literal["fedprivacy/client-statement/1"] = "fedprivacy/client-statement/1"
    store: str
    begun: int
    sent: int
    uncharged: int
    answered: int
    accounting: str
    trust: str
    datasets: tuple[DatasetStatement, ...]
    receipts: tuple[KeptReceipts, ...]
    assumptions: tuple[Assumption, ...]
    not_said: dict[str, str]

    @classmethod
    def of(
        cls,
        store: str,
        history: ClientHistory,
        heads: Sequence[SignedHead],
        accountant: EpsilonAccountant,
        *,
        policy: ClientPolicy | None = None,
        units: int | None = None,
    ) -> ClientStatement:
        """The statement of a store that was opened, and so was found to continue its anchor.

        `units` counts the units in the data set; raises `ConfigurationError` where there are
        several data sets of which that could be said.
        """
        if units is not None and len(history.charges) > 1:
            raise ConfigurationError(
                f"--units = {units} is of one data set where {len(history.charges)} are in "
                f"{store}: ask without it"
            )
        told = tuple(
            DatasetStatement.of(charges, _terms(policy, charges), accountant, units)
            for charges in history.charges
        )
        return cls(
            store=store,
            begun=history.begun,
            sent=history.sent,
            uncharged=history.uncharged,
            answered=history.answered,
            accounting=f"{accountant.method}; in full, whoever was drawn: no amplification",
            trust=_NOT_STATED if policy is None else _trust(policy),
            datasets=told,
            receipts=tuple(_kept(heads)),
            not_said=_NOT_SAID,
            assumptions=tuple(_assumptions(history, told, units, len(heads))),
        )

    def to_json(self) -> str:
        """One JSON document."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def sections(self) -> tuple[Section, ...]:
        """All that is told, in order."""
        released = [
            (f"{told.dataset}: {release.event}", f"{release.count:,}")
            for told in self.datasets
            for release in told.releases
        ]
        return (
            Section("What this client's data may have told", self._answers()),
            *(Section(f"Data set {told.dataset}", told.answers()) for told in self.datasets),
            resting_on(self.assumptions),
            Section("What was charged", tuple(released), counted=True),
            Section("What this does not say", tuple(self.not_said.items())),
        )

    def parts(self) -> Iterator[RenderableType]:
        """The text for a terminal."""
        return statement_parts(self.sections())

    def _answers(self) -> tuple[tuple[str, str], ...]:
        did = (
            f"{counted(self.begun, 'attempt')} accepted; its input left in "
            f"{counted(self.sent, 'round')}, of which {self.sent - self.uncharged:,} are charged; "
            f"it answered in {self.answered:,}"
        )
        kept = [
            f"{counted(r.count, 'head')} of ledger {r.ledger}, the last of row {r.last_row}, "
            f"signed by {r.operator}"
            for r in self.receipts
        ]
        return (
            ("store", self.store),
            ("data sets", ", ".join(told.dataset for told in self.datasets) or "none was charged"),
            ("took part", did),
            ("accounting", self.accounting),
            ("trust model", self.trust),
            ("receipts", "; ".join(kept) or "none is kept"),
        )


def _terms(policy: ClientPolicy | None, charges: DatasetCharges) -> BudgetTerms | None:
    limit = policy.budget.get(charges.dataset) if policy else None
    return BudgetTerms(charges.adjacency, limit.epsilon, limit.delta) if limit else None


def _formal(charges: DatasetCharges, terms: BudgetTerms | None, epsilon: float | None) -> str:
    if not charges.rounds:
        return "nothing left"
    if terms is None or epsilon is None:
        return "not stated: give the policy, whose budget has the delta"
    if not epsilon < math.inf:
        return f"at delta = {short(terms.delta)} no epsilon can be told: the budget is exceeded"
    return (
        f"what was released of all these rounds is together ({upwards(epsilon)}, "
        f"{short(terms.delta)})-differentially private for one {charges.unit} of "
        f"{charges.dataset}, under {charges.adjacency}"
    )


def _budget(terms: BudgetTerms | None, remaining: float | None) -> str:
    if terms is None or remaining is None:
        return "not stated: no policy with a budget for it was given"
    return (
        f"{downwards(remaining)} of epsilon = {short(terms.epsilon)} is left, at delta = "
        f"{short(terms.delta)}"
    )


def _trust(policy: ClientPolicy) -> str:
    rules, demanded = policy.require.aggregation, _NOISE[policy.require.noise.trust]
    if policy.require.noise.trust is Trust.NONE and not policy.budget:
        demanded = "no noise is demanded: a plan may add none, or leave it to the server"
    return (
        f"by the policy as it is now: {demanded}; sums by "
        f"{' or '.join(rules.protocol)}, over at least {rules.min_clients:,} clients, against "
        f"a server ({rules.adversary.value}, at least) in league with {rules.corrupt:,} clients, "
        "at least"
    )


def _kept(heads: Sequence[SignedHead]) -> Iterator[KeptReceipts]:
    for ledger in dict.fromkeys(head.ledger for head in heads):
        own = [head for head in heads if head.ledger == ledger]
        last = max(own, key=lambda head: head.number)
        yield KeptReceipts(ledger.hex(), last.operator.hex(), len(own), last.number)


def _assumptions(
    history: ClientHistory,
    datasets: Sequence[DatasetStatement],
    units: int | None,
    heads: int,
) -> Iterator[Assumption]:
    yield Assumption(Holding.CHECKED, "the store continues its anchor: it is no older copy")
    text = "every round in which this client's input left is charged"
    if history.uncharged:
        text += f": {history.uncharged:,} are not, and nothing here bounds what they told"
    yield Assumption(Holding.of(checked=not history.uncharged), text)
    for told in datasets:
        if told.delta is None or told.limit is None:
            continue
        within = not isinstance(told.epsilon, str) and (told.epsilon or 0.0) <= told.limit
        named = f"for {told.dataset}"
        yield Assumption(Holding.of(checked=within), f"what is charged is within budget {named}")
        yield Assumption(against_units(told.delta, units)[1], f"delta is well below 1/N {named}")
    for text in (
        "where a plan left the noise to the server, the server added it",
        "of others, no more left their noise out, or collude, than each plan counts as corrupt",
        "no unit has more data, or data at more clients, than each plan counts",
        "this client never held more units than each plan allows",
        "no single unit made a training fail",
        "keystreams, from which noise and masks are made, cannot be told from chance",
    ):
        yield Assumption(Holding.ASSUMED, text)
    yield Assumption(Holding.ASSUMED, "the data of this client are in no other store of its own")
    kept = f"{counted(heads, 'receipt')} {'is' if heads == 1 else 'are'} kept here"
    yield Assumption(
        Holding.ASSUMED, f"no other client was told another history of the ledger: {kept}"
    )
