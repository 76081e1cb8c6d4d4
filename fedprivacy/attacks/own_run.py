"""Quick attacks on a simulated run that has just ended, numpy alone: a view of that run itself.

The server's view is made of the run's own messages and sums. What it is held against, the updates
as they were, only a simulation knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.aggregation.sparse import recovered
from fedprivacy.attacks.bounds import auc_limit
from fedprivacy.attacks.membership.metrics import Separation
from fedprivacy.attacks.result import AttackResult, Measured
from fedprivacy.attacks.scenario import noise_of
from fedprivacy.attacks.threats import Auxiliary, Position, ThreatModel
from fedprivacy.attacks.view import RoundView, View
from fedprivacy.rounds import Plan
from fedprivacy.rounds.rules import Trust
from fedprivacy.simulation.dealing import Examples
from fedprivacy.simulation.logistic import unit_gradients
from fedprivacy.simulation.training import Training, read_broadcast

__all__ = ["OWN", "attack_run"]

Floats = NDArray[np.float64]
OWN = {
    "own-upload": "one client's update, read off what it uploaded",
    "own-members": "who was trained on, by all sums of the run together",
}
"""What each finds, by name."""
_SERVER = ThreatModel(position=Position.SERVER, knows=(Auxiliary.CANDIDATES,))


@dataclass(frozen=True, slots=True)
class _Run:
    """A run as its server saw it, and the training as it was."""

    plan: Plan
    view: View
    training: Training
    seed: int

    def update(self, client: str, seen: RoundView) -> Floats:
        """What this client's update came to in this round, clipped, in float64."""
        return self.training.float_sum([client], read_broadcast(seen.broadcast), seen.plan.clip)

    def result(self, attack: str, metric: str, threat: ThreatModel, run: Measured) -> AttackResult:
        return AttackResult(
            fedprivacy=version("fedprivacy"),
            attack=attack,
            setting="this run",
            metric=metric,
            threat=threat,
            protocol=self.plan.aggregation.protocol,
            noise=noise_of(self.plan),
            plan_hash=self.plan.digest().hex(),
            measured=(run,),
        )


def attack_run(plan: Plan, view: View, training: Training, seed: int) -> tuple[AttackResult, ...]:
    """What the server, and whoever gets the model, could try at once: those attacks that apply.

    `training` is the run's, at its end; none of the attacks looks at it.
    """
    run = _Run(plan, View(tuple(r for r in view.rounds if r.sum is not None)), training, seed)
    if not run.view.rounds:
        return ()
    return tuple(found for attack in (_upload, _members) for found in attack(run))


def _upload(run: _Run) -> Iterator[AttackResult]:
    """The first round: what a client uploaded, as if nothing stood before it.

    The control asks of each upload for the next client's update.
    """
    seen = run.view.rounds[0]
    names = [name for name in seen.survivors if name in seen.sent]
    if len(names) < 2:
        return
    updates = {name: run.update(name, seen) for name in names}
    everywhere = np.arange(len(seen.total))
    shares = [
        [recovered(seen.sent[name], updates[asked], everywhere, 0.05) for name, asked in pairs]
        for pairs in (
            zip(names, names, strict=True),
            zip(names, names[1:] + names[:1], strict=True),
        )
    ]
    metric = "share of an upload's coordinates that are the update's, to 5 %"
    told = Measured(seed=run.seed, target=_mean(shares[0]), control=_mean(shares[1]))
    yield run.result("own-upload", metric, _SERVER, told)


def _members(run: _Run) -> Iterator[AttackResult]:
    """Who of many candidates was trained on, by all sums together; for plans that protect units.

    A sum is linear in who was in it. With the candidates' gradients known under each broadcast, and
    a fair coin for each beforehand, the posterior mean is a ridge regression. Candidates are all
    units of all clients, and those held out. In the control every second one that was held out is
    asked as if it had been a member.
    """
    held_out = run.training.population.held_out
    if not run.plan.protects_units or len(held_out) < 4:
        return
    everyone = [*run.training.population.clients.values(), held_out]
    count = sum(len(examples) for examples in everyone[:-1])
    rows, seen, trust = [], [], []
    for view in run.view.rounds:
        candidates = np.concatenate([_clipped(view, examples) for examples in everyone])
        rows.append(candidates)
        seen.append(view.total)
        trust.append(np.full(view.plan.length, 1 / _variance(run, view, candidates, count)))
    gradients, weights = np.concatenate(rows, axis=1), np.concatenate(trust)
    scores = _posterior(gradients * np.sqrt(weights), np.concatenate(seen) * np.sqrt(weights))
    members, others = scores[:count], scores[count:]
    separation = Separation(members, others)
    told = Measured(
        seed=run.seed,
        target=separation.auc,
        control=Separation(others[::2], others[1::2]).auc,
        bound=auc_limit(run.plan, len(run.view.rounds), len(members), len(others)),
        details=separation.details(),
        roc=separation.points(),
    )
    yield run.result("own-members", "area under the ROC curve", _SERVER, told)


def _clipped(view: RoundView, examples: Examples) -> Floats:
    weights = read_broadcast(view.broadcast)
    gradients = unit_gradients(weights, examples.features, examples.labels)
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    found: Floats = gradients * np.minimum(1.0, view.plan.clip / np.maximum(norms, 1e-300))
    return found


def _variance(run: _Run, view: RoundView, candidates: Floats, count: int) -> float:
    """Of one coordinate of a sum, for one who knows the plan: rounding, noise, who was lost."""
    mean_square = float(np.mean(np.square(candidates)))
    lost = 1 - len(view.survivors) / view.plan.cohort_size
    noise = run.plan.noise.noise_multiplier if run.plan.noise.trust is not Trust.NONE else 0.0
    rounding = count * 4.0 ** (1 - run.plan.update.value_bits)
    return float((noise * view.plan.clip) ** 2 + rounding + lost * count * mean_square)


def _posterior(gradients: Floats, total: Floats) -> Floats:
    """The mean of each candidate's coin, given a sum with unit variance: `(candidates,)`."""
    half = 0.25 * gradients
    covariance = gradients.T @ half + np.eye(len(total))
    away = np.linalg.solve(covariance, total - 0.5 * gradients.sum(axis=0))
    found: Floats = 0.5 + half @ away
    return found


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
