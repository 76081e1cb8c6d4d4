"""Trials of the attacks that search for an input with a given gradient (extra `torch`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.data import CLASSES, SIDE, Digits, digits
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.federation import Losing
from fedprivacy.attacks.inversion.deep_leakage import DeepLeakage
from fedprivacy.attacks.inversion.images import psnr, side_by_side, ssim
from fedprivacy.attacks.inversion.search import Search, module_gradient
from fedprivacy.attacks.result import Measured, Picture
from fedprivacy.attacks.stage import Stage, Stopped, stopped
from fedprivacy.attacks.trials.gradients import seen_of
from fedprivacy.errors import ConfigurationError, MissingExtra

__all__ = ["deep_leakage", "inverting"]

Floats = NDArray[np.float64]
_HIDDEN = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A module, one example a client, and how an input is looked at."""

    module: Any
    data: Digits
    """Inputs as the module takes them."""
    span: tuple[float, float]

    @classmethod
    def of(cls, stage: Stage) -> _Subject:
        """The network of sigmoids and the digits, or the user's own."""
        own = stage.world
        if own is None:
            dealt = digits(stage.draw("images"))
            shaped = Digits(dealt.images.reshape(-1, 1, SIDE, SIDE), dealt.labels)
            return cls(_network(stage.draw("weights")), shaped, (0.0, 1.0))
        data = own.dealt(stage.draw("images"))
        if len(data) < stage.clients:
            raise ConfigurationError(
                f"{len(data)} examples for {stage.clients} clients: one for each"
            )
        return cls(own.module(stage.draw("weights")), data, own.span)

    @property
    def length(self) -> int:
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def gradient(self, place: int) -> Floats:
        one = slice(place, place + 1)
        found: Floats = module_gradient(self.module, self.data.images[one], self.data.labels[one])
        return found

    def unit(self, values: Floats) -> Floats:
        """The span taken to [0, 1]."""
        low, high = self.span
        scaled: Floats = (values - low) / (high - low)
        return scaled


def inverting(stage: Stage) -> Measured | Stopped:
    """One example a client through a network; the target's label is known.

    As in the analytic attack, what is read is the target's update or the sum; the control has the
    target lost.
    """
    search = Search(
        stage.whole("steps"), stage.whole("restarts"), variation=stage.options["variation"]
    )

    def invert(subject: _Subject, seen: Floats) -> Floats:
        within = dataclasses.replace(search, span=subject.span)
        label, shape = subject.data.labels[:1], subject.data.images.shape[1:]
        found: Floats = within.invert(subject.module, seen, label, shape, stage.draw("start"))[0]
        return found

    return _by_search(stage, invert)


def deep_leakage(stage: Stage) -> Measured | Stopped:
    """The same, and nothing known of the target's label."""
    search = DeepLeakage(
        stage.whole("steps"),
        stage.whole("restarts"),
        stage.plan.update.clip,
        stage.options["variation"],
    )

    def invert(subject: _Subject, seen: Floats) -> Floats:
        within = dataclasses.replace(search, span=subject.span)
        shape = subject.data.images.shape[1:]
        return within.invert(subject.module, seen, shape, stage.draw("start"))[0]

    return _by_search(stage, invert)


def _by_search(stage: Stage, invert: Callable[[_Subject, Floats], Floats]) -> Measured | Stopped:
    subject = _Subject.of(stage)
    with stage.federation() as federation:
        names, views = federation.names, []
        index = {name: i for i, name in enumerate(names)}

        def trainer(name: str, _: bytes) -> Floats:
            return subject.gradient(index[name])

        for number, lost in ((1, frozenset[str]()), (2, frozenset({names[0]}))):
            attempt = federation.round(
                number,
                trainer,
                broadcast=b"the network of this seed, round %d" % number,
                length=subject.length,
                channel=Losing(lost),
            )
            if ended := stopped(attempt):
                return ended
            views.append(attempt.view)
    image = subject.unit(subject.data.images[0])
    found = [subject.unit(invert(subject, seen_of(view, names[0]))) for view in views]
    details: dict[str, float] = {}
    pictures: tuple[Picture, ...] = ()
    if image.ndim == 3 and len(image) in (1, 3):
        pictures = side_by_side(image, found[0], found[1], image.shape)
    if stage.world is None:
        details = {
            "ssim": ssim(image.reshape(-1), found[0].reshape(-1), SIDE),
            "ssim_control": ssim(image.reshape(-1), found[1].reshape(-1), SIDE),
        }
    return stage.measured(
        psnr(image, found[0]), psnr(image, found[1]), details=details, pictures=pictures
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
