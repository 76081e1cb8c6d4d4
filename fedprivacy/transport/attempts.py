"""What a run's record says of an attempt, from how it ended."""

from __future__ import annotations

from collections import Counter

from fedprivacy.errors import Reason
from fedprivacy.rounds import RoundPlan
from fedprivacy.rounds.record import AttemptRecord, PhaseRecord
from fedprivacy.transport.inprocess import Outcome

__all__ = ["attempt_record", "untried"]


def attempt_record(plan: RoundPlan, outcome: Outcome) -> AttemptRecord:
    """The record of an attempt that was driven to its end."""
    error = outcome.error
    return AttemptRecord(
        attempt=plan.attempt,
        round_id=plan.round_id.hex(),
        outcome="sum" if outcome.aggregate is not None else "aborted",
        reason=_code(error.reason.name) if error else "",
        survivors=outcome.survivors,
        refused={name: _code(reason.name) for name, reason in sorted(outcome.refused.items())},
        excluded={name: _code(e.reason.name) for name, e in sorted(outcome.excluded.items())},
        culprits=error.culprits if error else (),
        unmasking_requested=outcome.unmasking_requested,
        phases=tuple(
            PhaseRecord(
                phase=meter.phase,
                seconds=meter.seconds,
                bytes_up=_total(meter.up),
                bytes_up_most=max(meter.up.values(), default=0),
                bytes_down=_total(meter.down),
                committee_bytes_up=_total(meter.committee_up),
                committee_bytes_down=_total(meter.committee_down),
                lost=meter.lost,
            )
            for meter in outcome.phases
        ),
    )


def untried() -> AttemptRecord:
    """Too few were drawn: no plan was frozen, nobody was asked and nothing was charged."""
    return AttemptRecord(
        attempt=1,
        round_id="",
        outcome="aborted",
        reason=_code(Reason.TOO_FEW.name),
        survivors=(),
        refused={},
        excluded={},
        culprits=(),
        unmasking_requested=False,
        phases=(),
    )


def _code(name: str) -> str:
    return name.lower().replace("_", "-")


def _total(traffic: Counter[str]) -> int:
    return sum(traffic.values())
