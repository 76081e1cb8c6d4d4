"""What is attacked: the model and data that ship, or a user's own torch module and data set."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.data import Digits
from fedprivacy.attacks.drawing import Draw
from fedprivacy.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OwnWorld"]

Floats = NDArray[np.float64]
_LEAST = 16
"""Examples without which no attack has a target, a control and others."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnWorld:
    """A user's module, made anew for every seed, and examples `(examples, *shape)` with labels."""

    factory: Callable[[], nn.Module] = field(repr=False)
    inputs: Floats = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    classes: int
    digest: str

    @classmethod
    def load(cls, model: str, data: str) -> OwnWorld:
        """From entry points such as `package.module:function`; the folder of the call counts.

        `model` gives a `torch.nn.Module` that maps `(batch, *shape)` to `(batch, classes)` scores,
        `data` a pair of inputs and of whole numbers as labels, tensors or arrays. Raises
        `ConfigurationError` for anything else, and `MissingExtra` without torch.
        """
        try:
            import torch
        except ImportError:
            raise MissingExtra("torch", "an attack on a torch module") from None
        factory, loader = _entry("--model", model), _entry("--data", data)
        module, loaded = _called("--model", model, factory), _called("--data", data, loader)
        if not isinstance(module, torch.nn.Module):
            raise ConfigurationError(
                f"--model {model} gave {type(module).__name__}: return a torch.nn.Module"
            )
        inputs, labels = _examples(data, loaded)
        classes = _classes(torch, model, module, inputs, labels)
        parts = (model, data, str(module), inputs.tobytes().hex(), labels.tobytes().hex())
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return cls(factory, inputs, labels, classes, digest)

    @property
    def span(self) -> tuple[float, float]:
        """The least and the most of all inputs: taken for public, as a pixel's range is."""
        low, high = float(self.inputs.min()), float(self.inputs.max())
        return low, high if high > low else low + 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.inputs.shape[1:]

    def module(self, draw: Draw) -> nn.Module:
        """A module whose own initial weights follow from the draw, not in training."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(draw.below(1 << 62, 1)[0]))
            made = self.factory()
        return made.eval()

    def dealt(self, draw: Draw) -> Digits:
        """The examples in random order."""
        order = draw.permutation(len(self.labels))
        return Digits(self.inputs[order], self.labels[order])


def _entry(flag: str, place: str) -> Callable[[], Any]:
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise ConfigurationError(f"{flag} {place} is no entry point: write package.module:function")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as `python -m` has it
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(f"{flag} {place}: {error}") from None
    finally:
        sys.path.remove(here)
    function = getattr(found, name, None)
    if not callable(function):
        raise ConfigurationError(f"{flag} {place}: {module} has no function {name}")
    return function  # type: ignore[no-any-return]  # whatever the user's is


def _called(flag: str, place: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (TypeError, ValueError, RuntimeError, OSError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"{flag} {place}: {type(error).__name__}: {error}") from None


def _examples(place: str, loaded: Any) -> tuple[Floats, NDArray[np.int64]]:
    if not isinstance(loaded, tuple | list) or len(loaded) != 2:
        raise ConfigurationError(f"--data {place} gave no pair: return (inputs, labels)")
    inputs, labels = (np.asarray(part) for part in loaded)
    if inputs.ndim < 2 or labels.shape != inputs.shape[:1]:
        raise ConfigurationError(
            f"--data {place}: inputs of shape {inputs.shape} with labels of shape {labels.shape}: "
            "return (examples, ...) and (examples,)"
        )
    if not np.issubdtype(inputs.dtype, np.floating) or not np.isfinite(inputs).all():
        raise ConfigurationError(f"--data {place}: inputs are not finite floats: scale them first")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise ConfigurationError(f"--data {place}: labels are no whole numbers from 0 on")
    if len(labels) < _LEAST:
        raise ConfigurationError(f"--data {place}: {len(labels)} examples, at least {_LEAST}")
    return inputs.astype(np.float64), labels.astype(np.int64)


def _classes(
    torch: Any, place: str, module: nn.Module, inputs: Floats, labels: NDArray[np.int64]
) -> int:
    """How many scores the model gives, once it is seen to give them and to follow gradients."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigurationError(f"--model {place} has no parameter that is trained")
    module.eval()
    try:
        scores = module(torch.tensor(inputs[:2], dtype=parameters[0].dtype))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ConfigurationError(
            f"--model {place} does not take inputs of shape {inputs[:2].shape}: "
            f"{str(error).splitlines()[0]}"
        ) from None
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or len(scores) != 2:
        raise ConfigurationError(f"--model {place} does not give (batch, classes) scores")
    if not scores.requires_grad:
        raise ConfigurationError(
            f"--model {place} gives scores that follow no parameter: nothing can be trained"
        )
    classes, most = int(scores.shape[1]), int(labels.max())
    if most >= classes or classes < 2:
        raise ConfigurationError(
            f"--model {place} gives {classes} scores where the highest label is {most}"
        )
    return classes
