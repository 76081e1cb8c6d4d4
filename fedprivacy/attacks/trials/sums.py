"""Trials of the attacks that take one client out of sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.aggregation.differencing import difference
from fedprivacy.attacks.aggregation.disaggregation import alike, usual_updates
from fedprivacy.attacks.aggregation.inconsistency import silencing
from fedprivacy.attacks.aggregation.sparse import lonely, recovered
from fedprivacy.attacks.data import SIDE, Digits, digits
from fedprivacy.attacks.federation import Losing, SwappedBroadcast
from fedprivacy.attacks.inversion.analytic import loudest_input
from fedprivacy.attacks.inversion.images import psnr, side_by_side
from fedprivacy.attacks.models import Mlp
from fedprivacy.attacks.result import Measured
from fedprivacy.attacks.stage import Stage, Stopped, broadcast_of, stopped
from fedprivacy.attacks.view import View

__all__ = ["SHAPE", "differencing", "disaggregation", "inconsistency", "sparse"]

Floats = NDArray[np.float64]
SHAPE = Mlp(inputs=64, hidden=32, classes=10)


def _one_image_each(stage: Stage, names: tuple[str, ...]) -> dict[str, Digits]:
    dealt = digits(stage.draw("images"))
    return {name: dealt.take(slice(i, i + 1)) for i, name in enumerate(names)}


def _sending(updates: dict[str, Floats]) -> Callable[[str, bytes], Floats]:
    """Clients that send these, whatever they are sent."""
    return lambda name, _: updates[name]


def _trained(images: Digits, weights: Floats) -> Floats:
    return SHAPE.gradient(weights, images.images, images.labels)


def differencing(stage: Stage) -> Measured | Stopped:
    """A sum over all, and one without the target; for the control, two without the target.

    The rounds have broadcasts that differ in one bit, which no client can tell from a step of
    training; with `same_broadcast` they have one, and clients compare the sets that they answer
    for.
    """
    weights = SHAPE.initial(stage.draw("weights"))
    with stage.federation() as federation:
        images = _one_image_each(stage, federation.names)
        target = federation.names[0]
        views = []
        for number in (1, 2, 3):
            lost = Losing(frozenset() if number == 1 else frozenset({target}))
            mark = bytes([0 if stage.options["same_broadcast"] else number])
            attempt = federation.round(
                number,
                lambda name, sent: _trained(images[name], np.frombuffer(sent[:-1], dtype="<f8")),
                broadcast=broadcast_of(weights) + mark,
                length=SHAPE.length,
                channel=lost,
            )
            if found := stopped(attempt):
                return found
            views.append(attempt.view)
    image = images[target].images[0]
    with_target = loudest_input(difference(View((views[0], views[1]))), SHAPE)
    without = loudest_input(difference(View((views[2], views[1]))), SHAPE)
    return stage.measured(
        psnr(image, with_target),
        psnr(image, without),
        pictures=side_by_side(image, with_target, without, (SIDE, SIDE)),
    )


def inconsistency(stage: Stage) -> Measured | Stopped:
    """Everyone but the target trains on a model that tells nothing of its first layer.

    The models come by another way than the broadcast, as where a client loads what it trains on
    from elsewhere. With `swapped` the server puts them into the broadcast itself.
    """
    weights = SHAPE.initial(stage.draw("weights"))
    quiet = silencing(weights, SHAPE)
    with stage.federation() as federation:
        images = _one_image_each(stage, federation.names)
        target, others = federation.names[0], frozenset(federation.names[1:])
        found = []
        for number, lost in ((1, frozenset[str]()), (2, frozenset({target}))):
            channel = Losing(lost)
            if stage.options["swapped"]:
                attempt = federation.round(
                    number,
                    lambda name, sent: _trained(images[name], np.frombuffer(sent, dtype="<f8")),
                    broadcast=broadcast_of(weights),
                    length=SHAPE.length,
                    channel=SwappedBroadcast(others, broadcast_of(quiet)),
                )
            else:
                attempt = federation.round(
                    number,
                    lambda name, _: _trained(images[name], quiet if name in others else weights),
                    broadcast=b"the model is elsewhere, version %d" % number,
                    length=SHAPE.length,
                    channel=channel,
                )
            if ended := stopped(attempt):
                return ended
            found.append(loudest_input(attempt.view.total, SHAPE))
    image = images[target].images[0]
    return stage.measured(
        *(psnr(image, each) for each in found),
        pictures=side_by_side(image, found[0], found[1], (SIDE, SIDE)),
    )


def disaggregation(stage: Stage) -> Measured | Stopped:
    """Many rounds, some clients lost in each; every client's update is a usual one, and changes.

    The control is asked of another client, who is in no round at all. Each round has a broadcast of
    its own: no client compares the sets that it answers for.
    """
    draw, length = stage.draw("updates"), stage.whole("length")
    rounds, lost = stage.whole("rounds"), stage.whole("lost")
    usual = draw.normals(stage.clients, length)
    usual /= np.linalg.norm(usual, axis=1, keepdims=True) * 1.25
    changes = 0.1 * draw.normals(rounds, stage.clients, length) / np.sqrt(length)
    with stage.federation() as federation:
        names, views = federation.names, []
        for number in range(1, rounds + 1):
            gone = [names[i] for i in draw.permutation(stage.clients - 1)[:lost]]
            now = dict(zip(names, usual + changes[number - 1], strict=True))
            attempt = federation.round(
                number,
                _sending(now),
                broadcast=b"round %d" % number,
                length=length,
                channel=Losing(frozenset({*gone, names[-1]})),
            )
            if ended := stopped(attempt):
                return ended
            views.append(attempt.view)
    present = np.array([[float(name in view.survivors) for name in names] for view in views])
    estimate = usual_updates(View(tuple(views)).sums, present)
    return stage.measured(alike(estimate[0], usual[0]), alike(estimate[-1], usual[-1]))


def sparse(stage: Stage) -> Measured | Stopped:
    """Each client touches coordinates by their popularity, the target some that nobody else does.

    The server knows who touches what. In the control the target sends zeros.
    """
    draw, length, own = stage.draw("coordinates"), stage.whole("length"), stage.whole("own")
    shared = length - own
    popularity = np.minimum(1.0, 0.3 * shared / (1 + np.arange(shared)) / 8)
    touched = np.zeros((stage.clients, length), dtype=bool)
    touched[:, :shared] = draw.fractions(stage.clients, shared) < popularity
    touched[0, shared:] = True
    updates = np.where(touched, draw.normals(stage.clients, length), 0.0)
    updates /= np.maximum(np.linalg.norm(updates, axis=1, keepdims=True), 1e-12) * 1.01
    places = lonely(touched, 0)
    found = []
    with stage.federation() as federation:
        everyone = dict(zip(federation.names, updates, strict=True))
        without = {**everyone, federation.names[0]: np.zeros(length)}
        for number, sent in ((1, everyone), (2, without)):
            attempt = federation.round(
                number,
                _sending(sent),
                broadcast=b"round %d" % number,
                length=length,
            )
            if ended := stopped(attempt):
                return ended
            found.append(recovered(attempt.view.total, updates[0], places, 0.05))
    return stage.measured(*found, details={"coordinates": len(places)})
