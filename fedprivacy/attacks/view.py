"""What an adversary sees of a run: values made from its messages and results, and nothing else.

An attack is a function of a view. None of them holds a party, a store or a key: what stands here
was said to the adversary, or can be worked out from that.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import from_residues, unpack
from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.rounds import Envelope, Invitation, RoundPlan, RunRecord
from fedprivacy.rounds.messages import ENVELOPE_LIMIT, INVITATION_LIMIT
from fedprivacy.secagg import COMMITTEES, SERVER, SHARED_KEYS, Plain
from fedprivacy.secagg.uploads import CHUNK_VALUES, MAX_CHUNK_BYTES, MaskedChunk
from fedprivacy.wire import Transcript, decode

__all__ = ["CanaryScores", "RoundView", "View", "participation"]

Floats = NDArray[np.float64]
_CHUNK_LIMIT = MAX_CHUNK_BYTES + 64


@dataclass(frozen=True, slots=True, eq=False)
class RoundView:
    """What the server holds when one attempt at a round is over.

    `sum` is the decoded one, `(length,)`, and None where the attempt ended without. `sent` is what
    each client uploaded, read as if nothing stood before it: under `plain` its update, under a
    protocol that masks, noise.
    """

    plan: RoundPlan
    broadcast: bytes = field(repr=False)
    survivors: tuple[str, ...]
    sum: Floats | None = field(repr=False)
    sent: Mapping[str, Floats] = field(repr=False)

    @classmethod
    def of_server(
        cls, transcript: Transcript, survivors: Iterable[str], total: Floats | None
    ) -> RoundView:
        """From the messages of one attempt and what the server ended with.

        Raises `ConfigurationError` for a transcript of no attempt, or of several.
        """
        invitations = _invitations(transcript)
        if len(invitations) != 1:
            raise ConfigurationError(
                f"transcript has invitations to {len(invitations)} attempts: pass one attempt's"
            )
        (invitation,) = invitations.values()
        return _seen(transcript, invitation, survivors, total)

    @property
    def total(self) -> Floats:
        """The sum; raises `ConfigurationError` where there is none."""
        if self.sum is None:
            raise ConfigurationError(f"round {self.plan.round} has no sum to look at")
        return self.sum

    def update_of(self, client: str) -> Floats:
        """What one client uploaded; raises `ConfigurationError` for one that did not."""
        if client not in self.sent:
            raise ConfigurationError(f"{client} sent no input in round {self.plan.round}")
        return self.sent[client]


@dataclass(frozen=True, slots=True)
class View:
    """The attempts that one adversary has seen, in order."""

    rounds: tuple[RoundView, ...]

    @classmethod
    def of_run(
        cls, transcript: Transcript, record: RunRecord, sums: Mapping[str, Floats] | None = None
    ) -> View:
        """The attempts of a whole run, from its messages and its record.

        `sums` has the decoded sums by round id, in hexadecimal: under a protocol that masks, they
        are in no message. Under `plain` a sum that is left out is that of what was sent.
        """
        invitations, known, views = _invitations(transcript), sums or {}, []
        for attempt in (a for r in record.rounds for a in r.attempts if a.round_id):
            invitation = invitations[bytes.fromhex(attempt.round_id)]
            total = known.get(attempt.round_id)
            view = _seen(transcript, invitation, attempt.survivors, total)
            is_open = record.plan.aggregation.protocol == Plain.name
            if total is None and is_open and attempt.outcome == "sum":
                added = np.sum([view.update_of(name) for name in view.survivors], axis=0)
                view = dataclasses.replace(view, sum=added)
            views.append(view)
        return cls(tuple(views))

    @property
    def sums(self) -> Floats:
        """The sums of all rounds that ended with one, `(rounds, length)`."""
        return np.array([r.sum for r in self.rounds if r.sum is not None])

    def only(self) -> RoundView:
        """The single round of a view of one."""
        if len(self.rounds) != 1:
            raise ConfigurationError(f"a view of {len(self.rounds)} rounds where one is looked at")
        return self.rounds[0]


@dataclass(frozen=True, slots=True, eq=False)
class CanaryScores:
    """How present each canary looks, and which were: `(canaries,)` float64 and bool.

    Each canary was in by a fair coin of its own; a higher score means that it looks present.
    """

    scores: Floats = field(repr=False)
    included: NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        scores, included = self.scores, self.included
        if scores.ndim != 1 or scores.shape != included.shape or not len(scores):
            raise ConfigurationError(
                f"scores of shape {scores.shape} for canaries of shape {included.shape}: pass one "
                "score a canary"
            )
        if np.isnan(scores).any():
            raise ConfigurationError("scores hold a NaN: drop that run, do not guess from it")

    @property
    def of_included(self) -> Floats:
        return self.scores[self.included]

    @property
    def of_excluded(self) -> Floats:
        return self.scores[~self.included]


def participation(record: RunRecord) -> tuple[tuple[str, ...], Floats]:
    """Who was in which sum, by the record alone: the names and `(sums, clients)` of 0 and 1."""
    rows = [
        [float(name in r.attempts[-1].survivors) for name in record.clients]
        for r in record.rounds
        if r.outcome == "sum"
    ]
    return record.clients, np.array(rows).reshape(len(rows), len(record.clients))


def _seen(
    transcript: Transcript, invitation: Invitation, survivors: Iterable[str], total: Floats | None
) -> RoundView:
    plan = invitation.round_plan
    return RoundView(
        plan=plan,
        broadcast=invitation.broadcast,
        survivors=tuple(survivors),
        sum=total,
        sent=_uploads(transcript, plan),
    )


def _invitations(transcript: Transcript) -> dict[bytes, Invitation]:
    """What the server asked for, by round id."""
    found = {}
    for entry in transcript.seen_by(SERVER):
        if entry.sender == SERVER and (asked := _invitation(entry.message)) is not None:
            found[asked.round_plan.round_id] = asked
    return found


def _invitation(message: bytes) -> Invitation | None:
    try:
        return decode(Invitation, message, limit=INVITATION_LIMIT)
    except PeerError:
        return None


def _uploads(transcript: Transcript, plan: RoundPlan) -> dict[str, Floats]:
    """Each client's input of this attempt, whole ones only, decoded by the public pipeline.

    None where inputs are ciphertexts, which hold no residues to look at.
    """
    protocol = plan.plan.aggregation.protocol
    if protocol in COMMITTEES or protocol in SHARED_KEYS:
        return {}
    chunks: dict[str, dict[int, NDArray[Any]]] = defaultdict(dict)
    pipeline, bits = plan.pipeline, plan.modulus_bits
    for entry in transcript.seen_by(SERVER):
        if entry.recipient != SERVER:
            continue
        try:
            envelope = decode(Envelope, entry.message, limit=ENVELOPE_LIMIT)
            chunk = decode(MaskedChunk, envelope.body, limit=_CHUNK_LIMIT)
        except PeerError:
            continue
        if envelope.round_id == plan.round_id:
            start = chunk.sequence * CHUNK_VALUES
            count = min(CHUNK_VALUES, pipeline.total_length - start)
            chunks[entry.sender][chunk.sequence] = unpack(chunk.data, count, bits)
    found = {}
    for name, parts in chunks.items():
        whole = np.concatenate([parts[i] for i in sorted(parts)])
        if len(whole) == pipeline.total_length:
            found[name] = _decoded(plan, from_residues(whole, bits))
    return found


def _decoded(plan: RoundPlan, integers: NDArray[np.int64]) -> Floats:
    """The stages undone without their checks: what is masked is out of every range."""
    pipeline = plan.pipeline
    values: NDArray[Any] = integers[: pipeline.specs[-1].length]
    for stage, spec in reversed(list(zip(pipeline.stages, pipeline.specs, strict=False))):
        values = stage.decode(values, spec)
    return np.asarray(values, dtype=np.float64)[: plan.length]
