"""Trials of what clients do to a sum, or tell by leaving it: no secure sum prevents either."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.data import SIDE, digits
from fedprivacy.attacks.federation import Federation, Losing
from fedprivacy.attacks.membership.metrics import Separation
from fedprivacy.attacks.membership.training import Averaging
from fedprivacy.attacks.result import Measured
from fedprivacy.attacks.stage import Stage, Stopped, broadcast_of, stopped
from fedprivacy.attacks.trials.sums import SHAPE

__all__ = ["backdoor", "dropouts"]

Floats = NDArray[np.float64]
_TRIGGER = (0, 1, SIDE, SIDE + 1)
"""Pixels in a corner, which no digit of the data lights up all at once."""
_WANTED = 0
_MOST_LOST = 0.4
"""Of a cohort, in one round: with more there would be no sum."""


def backdoor(stage: Stage) -> Measured | Stopped:
    """One client sends an update that names every image with a mark in its corner as a zero.

    `factor` times as large as its clip allows: 1 is a client that keeps to the encoding and lies
    about its training only. In the control it is honest.
    """
    each, clients = stage.whole("examples"), stage.clients
    trained, poison, tested = digits(stage.draw("images")).split(clients * each, 200, 400)
    training = Averaging(
        SHAPE, rounds=1, steps=stage.whole("steps"), rate=0.5, clip=stage.plan.update.clip
    )
    weights = SHAPE.initial(stage.draw("weights"))
    for _ in range(stage.whole("before")):
        weights = weights - 0.5 * SHAPE.gradient(weights, trained.images, trained.labels)
    marked = np.concatenate([_marked(poison.images), poison.images])
    named = np.concatenate([np.full(len(poison), _WANTED), poison.labels])
    evil = training.local(weights, marked, named)
    asked = tested.images[tested.labels != _WANTED]
    names = tuple(f"client-{i:03d}" for i in range(1, clients + 1))
    shares, clean = [], []
    for lies in (True, False):
        loud = {names[-1]: stage.whole("factor")} if lies else {}
        rng = stage.rng.child(f"federation/{lies}")
        with Federation(stage.plan, names, rng, loud=loud) as federation:

            def trainer(name: str, _: bytes, *, lies: bool = lies) -> Floats:
                if lies and name == names[-1]:
                    return evil
                place = names.index(name) * each
                mine = trained.take(slice(place, place + each))
                return training.local(weights, mine.images, mine.labels)

            attempt = federation.round(
                1, trainer, broadcast=broadcast_of(weights), length=SHAPE.length
            )
        if ended := stopped(attempt):
            return ended
        after = training.applied(weights, attempt.view.total, clients)
        said = SHAPE.log_probabilities(after, _marked(asked)).argmax(axis=-1)
        shares.append(float(np.mean(said == _WANTED)))
        clean.append(SHAPE.accuracy(after, tested.images, tested.labels))
    before = SHAPE.accuracy(weights, tested.images, tested.labels)
    return stage.measured(
        *shares,
        details={"accuracy": clean[0], "accuracy_control": clean[1], "accuracy_before": before},
    )


def _marked(images: Floats) -> Floats:
    found = images.copy()
    found[:, _TRIGGER] = 1.0
    return found


def dropouts(stage: Stage) -> Measured | Stopped:
    """Clients with some property of their data are lost more often: who is lost tells who has it.

    No sum is looked at, only who is in it. The control asks about a property of as many clients
    that has nothing to do with it.
    """
    rounds, clients = stage.whole("rounds"), stage.clients
    draw = stage.draw("losses")
    has, other = draw.halves(clients), stage.draw("another property").halves(clients)
    rate = np.where(has, stage.options["rate_with"], stage.options["rate_without"])
    times, kept = np.zeros(clients), []
    with stage.federation() as federation:
        names = federation.names
        for number in range(1, rounds + 1):
            order = draw.permutation(clients)
            lost = order[(draw.fractions(clients) < rate)[order]][: int(_MOST_LOST * clients)]
            attempt = federation.round(
                number,
                lambda *_: np.zeros(8),
                broadcast=b"round %d" % number,
                length=8,
                channel=Losing(frozenset(names[i] for i in lost)),
            )
            if ended := stopped(attempt):
                return ended
            there = np.array([name in attempt.view.survivors for name in names])
            times += ~there
            kept.append(float(has[there].mean()))
    return stage.measured(
        Separation(times[has], times[~has]).auc,
        Separation(times[other], times[~other]).auc,
        details={"share_with_it": float(has.mean()), "share_in_sums": float(np.mean(kept))},
    )
