"""Trials of membership inference: from one round's gradients, and from a trained model."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.bounds import accuracy_limit, auc_limit, power_limit
from fedprivacy.attacks.data import CLASSES, Digits, digits
from fedprivacy.attacks.membership.federated import Metric, cosine_scores, fedmia_scores
from fedprivacy.attacks.membership.lira import Shadows, confidences, loss_scores
from fedprivacy.attacks.membership.metrics import LEVELS, Separation
from fedprivacy.attacks.membership.training import Averaging
from fedprivacy.attacks.models import Mlp
from fedprivacy.attacks.result import Measured
from fedprivacy.attacks.stage import Stage, Stopped, broadcast_of, stopped
from fedprivacy.attacks.torch_models import Shape, TorchShape
from fedprivacy.attacks.trials.gradients import seen_of
from fedprivacy.attacks.trials.sums import SHAPE
from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg import Plain

__all__ = ["cosine", "fedmia", "lira", "loss"]

Floats = NDArray[np.float64]
_MODEL = Mlp(inputs=64, hidden=64, classes=CLASSES)
_SIMILAR = 800
_ABSENT = 200


def cosine(stage: Stage) -> Measured | Stopped:
    """One round: does an example's gradient point where the update, or the sum, does?

    Members are all clients' own examples, each asked of what is seen of its client; the control
    asks about as many that nobody has in the members' place. Gradients of similar data give the
    geometry; the plain cosine stands in the details.
    """
    return _by_gradients(stage, against_others=False)


def fedmia(stage: Stage) -> Measured | Stopped:
    """The same, in deviations of the cosines with all other clients' updates: needs them open."""
    return _by_gradients(stage, against_others=True)


def _by_gradients(stage: Stage, *, against_others: bool) -> Measured | Stopped:
    is_open = stage.plan.aggregation.protocol == Plain.name
    if against_others and not is_open:
        raise ConfigurationError(
            f"FedMIA compares single updates, and plan.aggregation.protocol = "
            f"{stage.plan.aggregation.protocol} shows none: take plain"
        )
    each = stage.whole("examples")
    count = stage.clients * each
    weights, dealt = SHAPE.initial(stage.draw("weights")), digits(stage.draw("images"))
    members, others, absent, similar = dealt.split(count, count, count, _SIMILAR)
    metric = Metric(SHAPE.example_gradients(weights, similar.images, similar.labels))
    with stage.federation() as federation:
        names = federation.names
        index = {name: i for i, name in enumerate(names)}
        attempt = federation.round(
            1,
            lambda name, _: SHAPE.gradient(
                weights,
                members.images[index[name] * each : (index[name] + 1) * each],
                members.labels[index[name] * each : (index[name] + 1) * each],
            ),
            broadcast=broadcast_of(weights),
            length=SHAPE.length,
        )
    if ended := stopped(attempt):
        return ended
    view = attempt.view

    def scores(asked: Digits, *, plain: bool = False) -> Floats:
        gradients = SHAPE.example_gradients(weights, asked.images, asked.labels)
        found = []
        for place, name in enumerate(names):
            mine = gradients[place * each : (place + 1) * each]
            seen = seen_of(view, name)
            if against_others:
                rest = np.array([view.update_of(other) for other in names if other != name])
                found.append(fedmia_scores(mine, seen, rest))
            elif plain:
                found.append(cosine_scores(mine, seen))
            else:
                found.append(metric.cosines(mine, seen, 1 if is_open else stage.clients))
        return np.concatenate(found)

    told = _told(stage, scores(members), scores(others), scores(absent), releases=1)
    usual = Separation(scores(members, plain=True), scores(others, plain=True)).auc
    return msgspec.structs.replace(told, details={**told.details, "auc_of_plain_cosine": usual})


def loss(stage: Stage) -> Measured | Stopped:
    """The final model of a federated run: is the loss on an example low?"""
    world = _trained(stage)
    if isinstance(world, Stopped):
        return world
    shape, weights, pool, included, control = world
    scores = loss_scores(shape, weights, pool.images, pool.labels)
    fresh = loss_scores(shape, weights, control.images, control.labels)
    rounds = stage.whole("rounds")
    return _told(stage, scores[included], scores[~included], fresh, releases=rounds)


def lira(stage: Stage) -> Measured | Stopped:
    """The same model, its confidence compared with that of shadow models trained alike.

    The main figure is offline and over the examples with a flipped label, which a model has to
    memorise; online, and over all, stand in the details. The control asks about examples that
    neither the target nor any shadow was trained on, as if they were members.
    """
    world = _trained(stage)
    if isinstance(world, Stopped):
        return world
    shape, weights, pool, included, control = world
    training, draw = _averaging(stage, shape), stage.draw("shadows")
    count = stage.whole("shadows")
    # In pairs: what one is trained on, the other is not, and so each example is in half of them.
    halves = [draw.halves(len(pool)) for _ in range(count // 2)]
    inside = np.array([side for half in halves for side in (half, ~half)])
    chosen = np.array([np.flatnonzero(row)[draw.permutation(int(row.sum()))] for row in inside])
    dealt = (len(inside), stage.clients, -1)
    start = np.tile(_raw(stage).start, (len(inside), 1))
    models = training.train(
        start,
        pool.images[chosen].reshape(*dealt, *pool.images.shape[1:]),
        pool.labels[chosen].reshape(dealt),
    )
    asked = Digits(
        np.concatenate([pool.images, control.images]), np.concatenate([pool.labels, control.labels])
    )
    target = confidences(shape, weights, asked.images, asked.labels)
    shadows = Shadows(confidences(shape, models, pool.images, pool.labels), inside)
    outside = confidences(shape, models, control.images, control.labels)
    online, offline = shadows.online(target[: len(pool)]), shadows.offline(target[: len(pool)])
    # Of examples outside every shadow there is only the offline score.
    spread = max(float(np.sqrt(outside.var(axis=0, ddof=1).mean())), 1e-3)
    fresh = (target[len(pool) :] - outside.mean(axis=0)) / spread
    rounds, flipped = stage.whole("rounds"), np.arange(len(pool)) < _flips(len(pool))
    on_all = Separation(online[included], online[~included])
    off_all = Separation(offline[included], offline[~included])
    on_flipped = Separation(online[included & flipped], online[~included & flipped])
    members, others = offline[included & flipped], offline[~included & flipped]
    told = _told(stage, members, others, fresh[: _flips(len(fresh))], releases=rounds)
    details = {
        **told.details,
        "auc_all_offline": off_all.auc,
        "auc_all_online": on_all.auc,
        "auc_flipped_online": on_flipped.auc,
    }
    if "tpr_at_0.01" in (of_all := on_all.details()):
        details["tpr_at_0.01_all_online"] = of_all["tpr_at_0.01"]
    return stage.measured(
        told.target, told.control, bound=told.bound, details=details, roc=told.roc
    )


def _told(
    stage: Stage, members: Floats, others: Floats, absent: Floats, *, releases: int
) -> Measured:
    """Areas under the curve, of members and of absent examples in their place, with the bound."""
    separation, counts = Separation(members, others), (len(members), len(others))
    limits = {"balanced_accuracy": accuracy_limit(stage.plan, releases, *counts)}
    for level in LEVELS:
        limits[f"tpr_at_{level:g}"] = power_limit(stage.plan, releases, level, *counts)
    told = separation.details()
    known = {f"{name}_limit": m for name, m in limits.items() if name in told and m is not None}
    return stage.measured(
        separation.auc,
        Separation(absent, others).auc,
        bound=auc_limit(stage.plan, releases, *counts),
        details={**told, **known},
        roc=separation.points(),
    )


def _flips(count: int) -> int:
    """Two in five of the labels are wrong, and stand first."""
    return 2 * count // 5


def _averaging(stage: Stage, shape: Shape) -> Averaging:
    return Averaging(
        shape,
        rounds=stage.whole("rounds"),
        steps=stage.whole("steps"),
        rate=stage.options["rate"],
        server_rate=stage.options["server_rate"],
        clip=stage.plan.update.clip,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """A model with its first weights, and data that are not yet dealt."""

    shape: Shape
    start: Floats
    data: Digits
    classes: int
    each: int
    """Examples of a client."""


def _raw(stage: Stage) -> _Raw:
    """What ships, or what the user brought, of which as much as there is."""
    each, own = stage.whole("examples"), stage.world
    if own is None:
        start = _MODEL.initial(stage.draw("weights"))
        return _Raw(_MODEL, start, digits(stage.draw("images")), CLASSES, each)
    shape, data = TorchShape(own.module(stage.draw("weights"))), own.dealt(stage.draw("images"))
    # A third is kept for the control; of the rest, half is trained on.
    each = min(each, len(data) // (3 * stage.clients))
    if each < 2:
        raise ConfigurationError(
            f"{len(data)} examples for {stage.clients} clients: at least {6 * stage.clients}"
        )
    return _Raw(shape, shape.start, data, own.classes, each)


def _trained(
    stage: Stage,
) -> tuple[Shape, Floats, Digits, NDArray[np.bool_], Digits] | Stopped:
    """The final model of real rounds; the pool, who of it was trained on, and others besides."""
    raw = _raw(stage)
    shape, each, training = raw.shape, raw.each, _averaging(stage, raw.shape)
    count = 2 * each * stage.clients
    pool, control = raw.data.split(count, min(_ABSENT, len(raw.data) - count))
    pool, control = (
        _with_flips(part, stage, name, raw.classes) for part, name in ((pool, "a"), (control, "b"))
    )
    included = stage.draw("members").halves(len(pool))
    order = np.flatnonzero(included)[stage.draw("deal").permutation(int(included.sum()))]
    weights = raw.start
    with stage.federation() as federation:
        index = {name: i for i, name in enumerate(federation.names)}

        def trainer(name: str, sent: bytes) -> Floats:
            mine = order[index[name] * each : (index[name] + 1) * each]
            start = np.frombuffer(sent, dtype="<f8")
            return training.local(start, pool.images[mine], pool.labels[mine])

        for number in range(1, training.rounds + 1):
            attempt = federation.round(
                number, trainer, broadcast=broadcast_of(weights), length=shape.length
            )
            if ended := stopped(attempt):
                return ended
            weights = training.applied(weights, attempt.view.total, stage.clients)
    return shape, weights, pool, included, control


def _with_flips(data: Digits, stage: Stage, name: str, classes: int) -> Digits:
    labels, draw = data.labels.copy(), stage.draw(f"flips/{name}")
    flips = _flips(len(data))
    labels[:flips] = (labels[:flips] + 1 + draw.below(classes - 1, flips)) % classes
    return Digits(data.images, labels)
