"""A job's training, each party on a machine of its own: the server's model, a client's update."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import msgspec
import numpy as np

from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import RoundClient, RoundPlan, RoundRecord
from fedprivacy.rounds.record import SimulatedRound, SimulatedRun
from fedprivacy.rounds.rules import Trust
from fedprivacy.simulation.job import Job
from fedprivacy.simulation.logistic import Descent
from fedprivacy.simulation.training import Training
from fedprivacy.vector import Aggregate, Update, Weights

__all__ = ["JobClient", "JobModel"]


class _State(msgspec.Struct, frozen=True):
    """The weights of both models and where they are moving; little-endian float64."""

    protected: tuple[bytes, bytes]
    unprotected: tuple[bytes, bytes]


@dataclass(slots=True)
class JobModel:
    """The server's side of a job whose data the job deals: it can tell what protection costs.

    Noise that clients add is known to no machine: with it, no difference of sums is recorded.
    """

    job: Job
    _training: Training = field(init=False)

    def __post_init__(self) -> None:
        self._training = _training(self.job)

    @property
    def length(self) -> int:
        return self._training.length

    @property
    def broadcast(self) -> bytes:
        return self._training.broadcast

    def step(
        self, aggregate: Aggregate, survivors: tuple[str, ...], plan: RoundPlan
    ) -> SimulatedRound:
        """Both models take their step."""
        none = np.zeros(plan.length)
        found = self._training.step(aggregate, survivors, none, plan.clip)
        summed = plan.plan.update.weights is Weights.SUMMED
        counted = aggregate.weight if summed else len(survivors)
        silent = plan.plan.noise.trust is Trust.NONE
        return self._measured(found if silent else None, plan.pipeline.quantisation_bound(counted))

    def idle(self) -> SimulatedRound:
        return self._measured(0.0, 0.0)

    def summary(self, rounds: tuple[RoundRecord, ...]) -> SimulatedRun:
        held_out = self._training.population.held_out
        protected, unprotected = self._training.accuracies()
        known = [
            r.simulation_only
            for r in rounds
            if r.outcome == "sum" and r.simulation_only is not None
        ]
        measured = [s for s in known if s.largest_difference is not None]
        closest = max(
            measured,
            key=lambda s: (s.largest_difference or 0.0) / s.quantisation_bound,
            default=None,
        )
        return SimulatedRun(
            seed=self.job.file.seed,
            held_out=len(held_out),
            majority=held_out.majority,
            accuracy=protected,
            accuracy_unprotected=unprotected,
            largest_difference=closest.largest_difference if closest else None,
            quantisation_bound=closest.quantisation_bound if closest else 0.0,
        )

    def save(self) -> bytes:
        training = self._training
        return msgspec.msgpack.encode(
            _State(_saved(training.protected), _saved(training.unprotected))
        )

    def restore(self, state: bytes) -> None:
        found, training = msgspec.msgpack.decode(state, type=_State), self._training
        training.protected = _restored(training.protected, found.protected)
        training.unprotected = _restored(training.unprotected, found.unprotected)

    def _measured(self, difference: float | None, bound: float) -> SimulatedRound:
        protected, unprotected = self._training.accuracies()
        return SimulatedRound(
            accuracy=protected,
            accuracy_unprotected=unprotected,
            largest_difference=difference,
            quantisation_bound=bound,
            training_seconds=0.0,
        )


@dataclass(slots=True)
class JobClient:
    """One client's own part of a job's data, and its updates."""

    name: str
    _training: Training

    @classmethod
    def of(cls, job: Job, name: str) -> JobClient:
        """Raises `ConfigurationError` where the job deals nothing to a client of that name."""
        training = _training(job)
        if name not in training.population.clients:
            raise ConfigurationError(f"job.clients = {job.file.clients} has no data for {name}")
        return cls(name, training)

    def update(self, client: RoundClient) -> Update:
        """What this client computes of the broadcast that it was sent; raises `PeerError`."""
        try:
            return self._training.update_of(self.name, client.broadcast)
        except (msgspec.MsgspecError, ValueError):
            raise PeerError(Reason.BROADCAST, "the broadcast is no model of this job") from None


def _training(job: Job) -> Training:
    return Training.start(job, rng=InsecureTestRng(job.file.seed))


def _saved(descent: Descent) -> tuple[bytes, bytes]:
    return descent.weights.astype("<f8").tobytes(), descent.velocity.astype("<f8").tobytes()


def _restored(descent: Descent, state: tuple[bytes, bytes]) -> Descent:
    weights, velocity = (np.frombuffer(part, dtype="<f8").copy() for part in state)
    return dataclasses.replace(descent, weights=weights, velocity=velocity)
