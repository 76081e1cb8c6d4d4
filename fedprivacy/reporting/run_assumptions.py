"""What a run's figures rest on: checked by its record where that is possible, else said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedprivacy.attacks.result import AttackResult
from fedprivacy.reporting.budget_spent import spent_remark
from fedprivacy.reporting.statements import Assumption, Holding, against_units
from fedprivacy.reporting.text import counted
from fedprivacy.rounds.record import RunRecord
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import Adversary, Plain

__all__ = ["run_assumptions"]


def run_assumptions(
    record: RunRecord | None, attacks: Sequence[AttackResult]
) -> tuple[Assumption, ...]:
    """Each assumption and whether it holds, as far as a record, attacks and an audit tell."""
    found = [] if record is None else [*_of_protocol(record), *_of_noise(record)]
    return (*found, *_refuted(record, attacks))


def _of_protocol(record: RunRecord) -> Iterator[Assumption]:
    plan, told = record.plan, record.guarantee
    if plan.aggregation.protocol == Plain.name:
        yield Assumption(Holding.BROKEN, "updates are hidden from the server: this run hid none")
        return
    if told.adversary == Adversary.HONEST_BUT_CURIOUS.value:
        yield Assumption(Holding.ASSUMED, "the server follows the protocol")
    if told.adversary == Adversary.SEMI_MALICIOUS.value:
        yield Assumption(Holding.ASSUMED, "the server is honest until the graph is drawn")
    corrupt = counted(told.corrupt, "client")
    yield Assumption(
        Holding.ASSUMED, f"at most {corrupt} of {told.cohort:,} are in league with the server"
    )
    if told.adversary != Adversary.HONEST_BUT_CURIOUS.value:
        yield Assumption(
            Holding.ASSUMED, "the authority that clients pin enrols each of them once, and no other"
        )
    yield Assumption(
        Holding.ASSUMED,
        f"X25519, Ed25519, HKDF, AES-GCM and AES-CTR are what they are held for ({told.claim} in "
        "proofs/claims.toml says which claim needs which)",
    )
    yield Assumption(
        Holding.ASSUMED, "clients run this code, and what they publish besides is harmless"
    )


def _of_noise(record: RunRecord) -> Iterator[Assumption]:
    plan, unit = record.plan, record.plan.dataset.unit
    noised = plan.noise.trust is not Trust.NONE
    yield Assumption(Holding.of(checked=noised), "the plan adds noise")
    simulated = [r.simulation_only for r in record.rounds if r.simulation_only]
    drawn = [s.noise for s in simulated if s.noise]
    summed = [
        (s.largest_difference, s.quantisation_bound)
        for s in simulated
        if s.largest_difference is not None and s.quantisation_bound
    ]
    if summed:
        within = all(difference <= bound for difference, bound in summed)
        yield Assumption(
            Holding.of(checked=within),
            "every sum is that of the updates, but for rounding and the noise that was drawn",
        )
    if not noised:
        return
    # A root mean square over few coordinates scatters: a twentieth below is no sign of a fault.
    enough = all(n.deviation >= 0.95 * n.planned for n in drawn) if drawn else None
    text = "at least the noise that is counted was in every sum"
    yield Assumption(
        Holding.ASSUMED if enough is None else Holding.of(checked=enough),
        text if enough is None else f"{text}, as measured",
    )
    if plan.noise.trust is Trust.SERVER:
        yield Assumption(Holding.ASSUMED, "the server adds the noise, and keeps no sum without it")
    if plan.protects_units:
        clients = counted(plan.update.max_clients_per_unit, "client")
        yield Assumption(
            Holding.ASSUMED,
            f"the data of one {unit} are at no more than {clients}, in at most "
            f"{counted(plan.dataset.max_records_per_unit, 'record')} each",
        )
    units = plan.update.public_weight or None
    told, holding = against_units(plan.noise.delta, units if plan.protects_units else None)
    yield Assumption(holding, f"delta is well below one over the number of {unit}s: {told}")
    charged = [r.budget for r in record.rounds if r.budget]
    if charged:
        last = charged[-1]
        yield Assumption(
            Holding.of(checked=last.epsilon <= last.limit * (1 + 1e-9)),
            "what is charged is within the budget",
        )
    yield Assumption(
        Holding.ASSUMED, "preprocessing and tuning used public constants, or were charged as well"
    )
    if remark := spent_remark(record):
        yield Assumption(Holding.ASSUMED, remark)


def _refuted(record: RunRecord | None, attacks: Sequence[AttackResult]) -> Iterator[Assumption]:
    """What measurements say against the figures; nothing where they say nothing."""
    for result in attacks:
        if any(m.bound is not None and m.target > m.bound for m in result.measured):
            yield Assumption(
                Holding.BROKEN,
                f"{result.attack} ({result.setting}) stays below what differential privacy allows",
            )
    if record is not None and record.audit is not None:
        yield Assumption(
            Holding.of(checked=not record.audit.accused),
            "canaries show no more epsilon than is accounted",
        )
