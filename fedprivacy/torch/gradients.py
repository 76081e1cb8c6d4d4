"""One gradient an example of a torch module: opacus' per-sample gradients, checked at the door."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.vector import check_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Loss", "SampleGradients", "check_data", "in_batches", "parameters_of"]

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""From a batch's outputs and targets to its losses, `(examples,)`: torch's `reduction="none"`."""


def parameters_of(model: nn.Module) -> dict[str, NDArray[Any]]:
    """A copy of the parameters that are trained, by their names in the model, sorted.

    `Layout.of` this is the layout of the columns of `unit_gradients` and of what `train_privately`
    gives. Raises `ConfigurationError` where there are none, or they are not float32 or float64 on
    the CPU.
    """
    named = _trainable(model)
    return {name: parameter.detach().numpy().copy() for name, parameter in named.items()}


class SampleGradients:
    """A copy of a module that gives one gradient an example; the module itself is left as it is.

    The copy is in training mode. Refuses with `ConfigurationError`, before anything is computed, a
    module that mixes the examples of a batch (`BatchNorm`) or that opacus cannot take. What it
    cannot see is a `forward` that mixes them by itself, and such a gradient is not one example's.
    """

    def __init__(self, model: nn.Module) -> None:
        try:
            from opacus import GradSampleModule
        except ImportError:
            raise MissingExtra("torch", "per-sample gradients") from None
        _trainable(model)
        if hasattr(model, "autograd_grad_sample_hooks"):
            raise ConfigurationError("model is wrapped by opacus already: pass the one inside it")
        inner = copy.deepcopy(model).train()
        _check_takes(inner)
        self.parameters = _trainable(inner)
        self._module = GradSampleModule(inner, loss_reduction="sum")

    def leave(self, loss: Loss, inputs: Tensor, targets: Tensor) -> None:
        """Leave each example's gradient in `grad_sample` of every parameter, `(examples, ...)`.

        Of a parameter that the loss does not hang on, and of no examples, zeros. Raises
        `ConfigurationError` where the loss is not one number an example.
        """
        for parameter in self.parameters.values():
            parameter.grad = None
            parameter.grad_sample = None
        if len(inputs):
            self._backward(loss, inputs, targets)
        for name, parameter in self.parameters.items():
            if parameter.grad_sample is None:
                parameter.grad_sample = parameter.new_zeros((len(inputs), *parameter.shape))
            elif parameter.grad_sample.shape != (len(inputs), *parameter.shape):
                raise ConfigurationError(
                    f"model.{name} has gradients of shape {tuple(parameter.grad_sample.shape)} "
                    f"for {len(inputs)} examples: keep the examples in the first dimension"
                )

    def rows(self) -> Tensor:
        """The gradients that are left, `(examples, length)`: columns in the order of `Layout`."""
        import torch

        parts = (parameter.grad_sample.flatten(1) for parameter in self.parameters.values())
        return torch.cat(list(parts), dim=1)

    def _backward(self, loss: Loss, inputs: Tensor, targets: Tensor) -> None:
        import torch

        with torch.enable_grad(), warnings.catch_warnings():
            # Inputs need no gradient, and opacus' hooks don't either.
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
            losses = loss(self._module(inputs), targets)
            if losses.shape != (len(inputs),):
                raise ConfigurationError(
                    f"loss gives shape {tuple(losses.shape)} for {len(inputs)} examples where "
                    f'({len(inputs)},) is wanted: pass reduction="none", and sum over the rest of '
                    "each example"
                )
            losses.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped


def check_data(inputs: Tensor, targets: Tensor) -> None:
    """Refuse inputs and targets of different numbers."""
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
        raise ConfigurationError(
            f"inputs have shape {tuple(inputs.shape)} and targets {tuple(targets.shape)}: pass "
            "one of each for each example, along the first dimension"
        )


def in_batches(indices: NDArray[np.int64], most: int) -> Iterator[NDArray[np.int64]]:
    """The indices, at most `most` at a time; once without any where there are none."""
    check_whole("batch", most, 1, 1 << 32)
    for start in range(0, max(1, len(indices)), most):
        yield indices[start : start + most]


def _trainable(model: nn.Module) -> dict[str, Any]:
    named = {name: p for name, p in sorted(model.named_parameters()) if p.requires_grad}
    if not any(parameter.numel() for parameter in named.values()):
        raise ConfigurationError(
            "model has no parameter that is trained: pass one with requires_grad = True"
        )
    for name, parameter in named.items():
        kind = str(parameter.dtype).removeprefix("torch.")
        if kind not in {"float32", "float64"} or parameter.device.type != "cpu":
            raise ConfigurationError(
                f"model.{name} is {kind} on {parameter.device} where float32 or float64 on the CPU "
                "is wanted: pass model.float().cpu()"
            )
    if len({parameter.dtype for parameter in named.values()}) > 1:
        raise ConfigurationError("model mixes float32 and float64: pass model.float()")
    return named


def _check_takes(model: nn.Module) -> None:
    from opacus import GradSampleModule
    from opacus.validators import ModuleValidator

    faults = ModuleValidator.validate(model) or GradSampleModule.validate(model)
    if faults:
        first = " ".join(str(faults[0]).split())
        raise ConfigurationError(
            f"model has no gradient of one example alone ({first.rstrip('.')}): train "
            "opacus.validators.ModuleValidator.fix(model) instead"
        )
