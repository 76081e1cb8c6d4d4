"""Trials of the attacks that read examples, or their labels, out of gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.aggregation.histogram import label_shares, likeness
from fedprivacy.attacks.data import CLASSES, SIDE, Digits, digits
from fedprivacy.attacks.federation import Losing
from fedprivacy.attacks.inversion.analytic import inputs_of_units, label_of_one, loudest_input
from fedprivacy.attacks.inversion.images import (
    RECOVERED,
    best_psnr,
    psnr,
    recovered_share,
    side_by_side,
)
from fedprivacy.attacks.inversion.imprint import alone_share, imprint, imprinted
from fedprivacy.attacks.inversion.spear import Spear
from fedprivacy.attacks.models import Mlp
from fedprivacy.attacks.result import Measured, Picture
from fedprivacy.attacks.stage import Stage, Stopped, broadcast_of, stopped
from fedprivacy.attacks.trials.sums import SHAPE
from fedprivacy.attacks.view import RoundView
from fedprivacy.secagg import Plain

__all__ = ["analytic", "crafted_rounds", "histogram", "robbing", "spear"]

Floats = NDArray[np.float64]


def seen_of(view: RoundView, target: str) -> Floats:
    """What the server has that is most of the target's: its update in the open, else the sum."""
    if view.plan.plan.aggregation.protocol == Plain.name and target in view.sent:
        return view.update_of(target)
    return view.total


def analytic(stage: Stage) -> Measured | Stopped:
    """One image a client, one full gradient: the input by a division.

    In the open the attack reads the target's update, under a secure sum the sum. In the control the
    target is lost, and the attack reads another client's update or the sum without it.
    """
    weights, dealt = SHAPE.initial(stage.draw("weights")), digits(stage.draw("images"))
    with stage.federation() as federation:
        names, views = federation.names, []
        for number, lost in ((1, frozenset[str]()), (2, frozenset({names[0]}))):
            attempt = federation.round(
                number,
                _training(SHAPE, dealt, federation.names, 1),
                broadcast=broadcast_of(weights) + bytes([number]),
                length=SHAPE.length,
                channel=Losing(lost),
            )
            if ended := stopped(attempt):
                return ended
            views.append(attempt.view)
    image, label = dealt.images[0], int(dealt.labels[0])
    seen, other = seen_of(views[0], names[0]), seen_of(views[1], names[1])
    found, control = loudest_input(seen, SHAPE), loudest_input(other, SHAPE)
    return stage.measured(
        psnr(image, found),
        psnr(image, control),
        pictures=side_by_side(image, found, control, (SIDE, SIDE)),
        details={
            "best_of_units": best_psnr(image, inputs_of_units(seen, SHAPE)),
            "best_of_units_control": best_psnr(image, inputs_of_units(other, SHAPE)),
            "label_found": float(label_of_one(seen, SHAPE) == label),
            "own_upload": psnr(image, loudest_input(views[0].update_of(names[0]), SHAPE)),
        },
    )


def robbing(stage: Stage) -> Measured | Stopped:
    """A crafted model, the same for everyone: bins of a sum that hold one image each.

    Hash agreement does not see it: all clients do train on one model. The control asks the same
    candidates for images of which no client has any.
    """
    each = stage.whole("examples")
    shape = Mlp(SHAPE.inputs, stage.whole("bins"), CLASSES)
    dealt = digits(stage.draw("images"))
    trained, others, similar = dealt.split(stage.clients * each, stage.clients * each, 600)
    weights = imprint(shape, similar.images, stage.draw("direction"))
    with stage.federation() as federation:
        attempt = federation.round(
            1,
            _training(shape, trained, federation.names, each),
            broadcast=broadcast_of(weights) + b"\x01",
            length=shape.length,
        )
    if ended := stopped(attempt):
        return ended
    candidates = imprinted(attempt.view.total, shape)
    return stage.measured(
        recovered_share(trained.images, candidates),
        recovered_share(others.images, candidates),
        details={"alone_in_bin": alone_share(len(trained), shape.hidden), "bar_db": RECOVERED},
    )


def crafted_rounds(stage: Stage) -> Measured | Stopped:
    """Another crafted model in each round, few bins in each: what one leaves, the next may take.

    Every round all clients are sent one model, so that comparing hashes sees nothing; the control
    asks for images that no client has.
    """
    each, rounds = stage.whole("examples"), stage.whole("rounds")
    shape = Mlp(SHAPE.inputs, stage.whole("bins"), CLASSES)
    trained, others, similar = digits(stage.draw("images")).split(
        stage.clients * each, stage.clients * each, 600
    )
    draw, candidates = stage.draw("direction"), []
    with stage.federation() as federation:
        for number in range(1, rounds + 1):
            weights = imprint(shape, similar.images, draw)
            attempt = federation.round(
                number,
                _training(shape, trained, federation.names, each),
                broadcast=broadcast_of(weights) + bytes([number]),
                length=shape.length,
            )
            if ended := stopped(attempt):
                return ended
            candidates.append(imprinted(attempt.view.total, shape))
    pool = np.concatenate(candidates)
    return stage.measured(
        recovered_share(trained.images, pool),
        recovered_share(others.images, pool),
        details={
            "after_one_round": recovered_share(trained.images, candidates[0]),
            "bar_db": RECOVERED,
        },
    )


def spear(stage: Stage) -> Measured | Stopped:
    """Every image of a small batch at once: the target's own in the open, else the cohort's sum.

    The control asks the same candidates for images that nobody has.
    """
    each = stage.whole("examples")
    shape = Mlp(SHAPE.inputs, stage.whole("hidden"), CLASSES)
    weights, dealt = shape.initial(stage.draw("weights")), digits(stage.draw("images"))
    trained, others = dealt.split(stage.clients * each, stage.clients * each)
    with stage.federation() as federation:
        target = federation.names[0]
        attempt = federation.round(
            1,
            _training(shape, trained, federation.names, each),
            broadcast=broadcast_of(weights) + b"\x01",
            length=shape.length,
        )
    if ended := stopped(attempt):
        return ended
    alone = stage.plan.aggregation.protocol == Plain.name
    batch = each if alone else each * stage.clients
    asked, absent = trained.images[:batch], others.images[:batch]
    search = Spear(stage.whole("tries"))
    seen = seen_of(attempt.view, target)
    found = search.inputs(seen, weights, shape, batch, stage.draw("search"))
    near = [best_psnr(image, found) for image in asked]
    return stage.measured(
        recovered_share(asked, found),
        recovered_share(absent, found),
        details={"least_db": min(near), "directions": len(found), "bar_db": RECOVERED},
        pictures=_nearest(asked[0], found) if len(found) else (),
    )


def _nearest(image: Floats, found: Floats) -> tuple[Picture, ...]:
    """An image of the batch, what came nearest, and the mean of all that was found."""
    near = int(np.argmin(np.square(np.clip(found, 0, 1) - image).sum(axis=1)))
    return side_by_side(image, found[near], found.mean(axis=0), (SIDE, SIDE))


def histogram(stage: Stage) -> Measured | Stopped:
    """Each client's images are mostly of few digits; how often does each occur in the cohort?

    The control reads the sum of another cohort's rounds.
    """
    each = stage.whole("examples")
    weights, dealt = SHAPE.initial(stage.draw("weights")), digits(stage.draw("images"))
    wanted = stage.clients * each
    similar, rest = dealt.split(500, len(dealt) - 500)
    first, second = _unlike(rest, stage, wanted)
    mean = np.exp(SHAPE.log_probabilities(weights, similar.images)).mean(axis=0)
    left = _left_by_clip(similar, weights, each, stage.plan.update.clip)
    true = np.bincount(first.labels, minlength=CLASSES) / wanted
    found = []
    with stage.federation() as federation:
        for number, cohort in ((1, first), (2, second)):
            attempt = federation.round(
                number,
                _training(SHAPE, cohort, federation.names, each),
                broadcast=broadcast_of(weights) + bytes([number]),
                length=SHAPE.length,
            )
            if ended := stopped(attempt):
                return ended
            shares = label_shares(attempt.view.total, left * stage.clients, SHAPE, mean)
            found.append(likeness(shares, true))
    return stage.measured(*found)


def _left_by_clip(similar: Digits, weights: Floats, each: int, clip: float) -> float:
    """The share of a client's mean gradient that the clip leaves, on average over similar data."""
    count = len(similar) // each
    gradients = SHAPE.example_gradients(weights, similar.images, similar.labels)
    means = gradients[: count * each].reshape(count, each, -1).mean(axis=1)
    return float(np.minimum(1.0, clip / np.linalg.norm(means, axis=1)).mean())


def _unlike(images: Digits, stage: Stage, count: int) -> tuple[Digits, Digits]:
    """Two cohorts' images: one has mostly the first five of the digits in random order."""
    order = stage.draw("kinds").permutation(CLASSES)
    pull = np.where(order[images.labels] < CLASSES // 2, 1.0, 0.25)
    keys = stage.draw("keys").fractions(len(images)) ** (1 / pull)
    ranked = np.argsort(-keys)
    return images.take(ranked[:count]), images.take(ranked[-count:])


def _training(
    shape: Mlp, data: Digits, names: tuple[str, ...], each: int
) -> Callable[[str, bytes], Floats]:
    """Each client's mean gradient over its own images, under the weights that it is sent."""
    places = {name: i * each for i, name in enumerate(names)}

    def gradient(name: str, sent: bytes) -> Floats:
        # The last byte is the round's mark.
        weights = np.frombuffer(sent[:-1], dtype="<f8")
        mine = data.take(slice(places[name], places[name] + each))
        return shape.gradient(weights, mine.images, mine.labels)

    return gradient
