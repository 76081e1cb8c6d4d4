"""A small network in numpy, many copies at a time, with gradients in closed form.

Quick attacks need no more: a hidden layer of rectified units and a softmax. A leading axis of
parameters is one of models, so that shadow models are trained side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw

__all__ = ["Layers", "Mlp"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Parameters, or their gradient, by layer; each may have leading axes."""

    hidden: Floats
    """`(..., hidden, inputs)`: a row is what one unit looks at."""
    hidden_bias: Floats
    output: Floats
    """`(..., classes, hidden)`."""
    output_bias: Floats


@dataclass(frozen=True, slots=True)
class Mlp:
    """The shape of the network; parameters are flat vectors, `(..., length)` float64."""

    inputs: int
    hidden: int
    classes: int

    @property
    def length(self) -> int:
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.classes

    def initial(self, draw: Draw, *models: int) -> Floats:
        """Normal weights of variance 2 / inputs and 1 / hidden; zero biases."""
        layers = Layers(
            draw.normals(*models, self.hidden, self.inputs) * np.sqrt(2 / self.inputs),
            np.zeros((*models, self.hidden)),
            draw.normals(*models, self.classes, self.hidden) * np.sqrt(1 / self.hidden),
            np.zeros((*models, self.classes)),
        )
        return self.flat(layers)

    def layers(self, flat: Floats) -> Layers:
        """Views of a flat vector, or of many."""
        first = self.inputs * self.hidden
        second = first + self.hidden
        third = second + self.hidden * self.classes
        shape = flat.shape[:-1]
        return Layers(
            flat[..., :first].reshape(*shape, self.hidden, self.inputs),
            flat[..., first:second],
            flat[..., second:third].reshape(*shape, self.classes, self.hidden),
            flat[..., third : self.length],
        )

    def flat(self, layers: Layers) -> Floats:
        shape = layers.hidden_bias.shape[:-1]
        parts = (
            layers.hidden.reshape(*shape, -1),
            layers.hidden_bias,
            layers.output.reshape(*shape, -1),
            layers.output_bias,
        )
        return np.concatenate(parts, axis=-1)

    def log_probabilities(self, flat: Floats, inputs: Floats) -> Floats:
        """`(..., examples, classes)` of `(..., examples, inputs)`; a leading axis is of models."""
        return _log_softmax(self._scores(self.layers(flat), inputs)[1])

    def losses(self, flat: Floats, inputs: Floats, labels: Labels) -> Floats:
        """The log loss of each example, `(..., examples)`."""
        log_p = self.log_probabilities(flat, inputs)
        own = np.broadcast_to(labels, log_p.shape[:-1])[..., None]
        return -np.take_along_axis(log_p, own, axis=-1)[..., 0]

    def gradient(
        self, flat: Floats, inputs: Floats, labels: Labels, weights: Floats | None = None
    ) -> Floats:
        """Of the mean loss over the examples, or of the sum with these weights; `(..., length)`."""
        layers = self.layers(flat)
        active, scores = self._scores(layers, inputs)
        error = self._errors(scores, labels)
        share = 1 / inputs.shape[-2] if weights is None else weights[..., None]
        error = error * share
        back = (error @ layers.output) * (active > 0)
        turned, wide = np.swapaxes(back, -1, -2), np.swapaxes(error, -1, -2)
        found = Layers(turned @ inputs, back.sum(axis=-2), wide @ active, error.sum(axis=-2))
        return self.flat(found)

    def example_gradients(self, flat: Floats, inputs: Floats, labels: Labels) -> Floats:
        """One gradient an example of one model: `(examples, length)`."""
        layers = self.layers(flat)
        active, scores = self._scores(layers, inputs)
        error = self._errors(scores, labels)
        back = (error @ layers.output) * (active > 0)
        found = Layers(
            back[:, :, None] * inputs[:, None, :],
            back,
            error[:, :, None] * active[:, None, :],
            error,
        )
        return self.flat(found)

    def accuracy(self, flat: Floats, inputs: Floats, labels: Labels) -> float:
        return float(np.mean(self.log_probabilities(flat, inputs).argmax(axis=-1) == labels))

    def _scores(self, layers: Layers, inputs: Floats) -> tuple[Floats, Floats]:
        """Outputs of the hidden units, and what enters the softmax."""
        before = inputs @ np.swapaxes(layers.hidden, -1, -2) + layers.hidden_bias[..., None, :]
        active = np.maximum(before, 0.0)
        scores = active @ np.swapaxes(layers.output, -1, -2) + layers.output_bias[..., None, :]
        return active, scores

    def _errors(self, scores: Floats, labels: Labels) -> Floats:
        """Probabilities less the labels': the loss' derivative by the scores."""
        error = np.exp(_log_softmax(scores))
        own = np.broadcast_to(labels, error.shape[:-1])[..., None]
        shown = np.take_along_axis(error, own, axis=-1) - 1.0
        np.put_along_axis(error, own, shown, axis=-1)
        return error


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
