"""The trial of the attack that searches for an input with a given gradient (extra `torch`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.data import CLASSES, SIDE, digits
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.federation import Losing
from fedprivacy.attacks.inversion.images import psnr, side_by_side, ssim
from fedprivacy.attacks.inversion.search import Search, module_gradient
from fedprivacy.attacks.result import Measured
from fedprivacy.attacks.stage import Stage, Stopped, stopped
from fedprivacy.attacks.trials.gradients import seen_of
from fedprivacy.errors import MissingExtra

__all__ = ["inverting"]

Floats = NDArray[np.float64]
_HIDDEN = 64


def inverting(stage: Stage) -> Measured | Stopped:
    """One image a client through a network of sigmoids; the target's label is known.

    As in the analytic attack, what is read is the target's update or the sum; the control has the
    target lost.
    """
    model, dealt = _network(stage.draw("weights")), digits(stage.draw("images"))
    length = sum(p.numel() for p in model.parameters())
    with stage.federation() as federation:
        names, views = federation.names, []
        index = {name: i for i, name in enumerate(names)}
        for number, lost in ((1, frozenset[str]()), (2, frozenset({names[0]}))):
            attempt = federation.round(
                number,
                lambda name, _: _gradient(model, dealt.images, dealt.labels, index[name]),
                broadcast=b"the network of this seed, round %d" % number,
                length=length,
                channel=Losing(lost),
            )
            if ended := stopped(attempt):
                return ended
            views.append(attempt.view)
    search = Search(
        stage.whole("steps"), stage.whole("restarts"), variation=stage.options["variation"]
    )
    image, label = dealt.images[0], dealt.labels[:1]
    found = [
        search.invert(
            model, seen_of(view, names[0]), label, (1, SIDE, SIDE), stage.draw("start")
        ).reshape(-1)
        for view in views
    ]
    return stage.measured(
        psnr(image, found[0]),
        psnr(image, found[1]),
        details={
            "ssim": ssim(image, found[0], SIDE),
            "ssim_control": ssim(image, found[1], SIDE),
        },
        pictures=side_by_side(image, found[0], found[1], (SIDE, SIDE)),
    )


def _network(draw: Draw) -> Any:
    """64 inputs, 64 sigmoids, 10 outputs, with weights from the stage's own draws."""
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "the search for an input") from None
    layers = [torch.nn.Linear(SIDE * SIDE, _HIDDEN), torch.nn.Linear(_HIDDEN, CLASSES)]
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                drawn = draw.normals(*parameter.shape) / np.sqrt(layer.in_features)
                parameter.copy_(torch.tensor(drawn))
    return torch.nn.Sequential(torch.nn.Flatten(), layers[0], torch.nn.Sigmoid(), layers[1])


def _gradient(model: Any, images: Floats, labels: NDArray[np.int64], place: int) -> Floats:
    one = slice(place, place + 1)
    return module_gradient(model, images[one].reshape(-1, 1, SIDE, SIDE), labels[one])
