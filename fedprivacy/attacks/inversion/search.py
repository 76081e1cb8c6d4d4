"""Inverting Gradients: the input whose gradient points where a given one does (extra `torch`).

Source: Geiping et al., "Inverting gradients: how easy is it to break privacy in federated
learning?" (2020), section 4 and appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw
from fedprivacy.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Search", "module_gradient", "parameters_of", "torch_of", "total_variation"]

Floats = NDArray[np.float64]


def torch_of() -> Any:
    """The library; raises `MissingExtra` without it."""
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "the search for an input") from None
    return torch


def module_gradient(
    model: nn.Module, inputs: Floats, labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The mean cross entropy's gradient, `(length,)`, parameters in the model's own order."""
    torch = torch_of()
    parameters = parameters_of(model)
    loss = torch.nn.functional.cross_entropy(
        model(torch.tensor(inputs, dtype=parameters[0].dtype)), torch.tensor(labels)
    )
    parts = torch.autograd.grad(loss, parameters)
    found: Floats = torch.cat([part.flatten() for part in parts]).double().numpy()
    if not np.isfinite(found).all():
        raise ConfigurationError("the model's gradient is not finite: mend the model or the data")
    return found


def parameters_of(model: nn.Module) -> list[Any]:
    """Those that are trained, in the model's own order; raises `ConfigurationError` for none."""
    found = [p for p in model.parameters() if p.requires_grad]
    if not found:
        raise ConfigurationError("model has no parameter that is trained: nothing leaks from it")
    return found


def total_variation(inputs: Tensor) -> Any:
    """How much neighbouring pixels differ; 0 of inputs that do not end in height and width."""
    if inputs.ndim < 3:  # neighbours in a table's row mean nothing
        return 0.0
    down = (inputs[..., 1:, :] - inputs[..., :-1, :]).abs().mean()
    across = (inputs[..., :, 1:] - inputs[..., :, :-1]).abs().mean()
    return down + across


@dataclass(frozen=True, slots=True)
class Search:
    """Adam on the signs of 1 - cosine + `variation` x total variation, inputs kept in a span.

    The best of `restarts` random starts, by that objective alone: the attack never sees the truth.
    """

    steps: int = 300
    restarts: int = 1
    variation: float = 1e-3
    rate: float = 0.1
    span: tuple[float, float] = (0.0, 1.0)
    """In which inputs are known to lie."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ConfigurationError(
                f"steps = {self.steps}, restarts = {self.restarts}: at least one of each"
            )

    def invert(
        self,
        model: nn.Module,
        gradient: Floats,
        labels: NDArray[np.int64],
        shape: tuple[int, ...],
        draw: Draw,
    ) -> Floats:
        """Inputs `(examples, *shape)` for a mean gradient and its labels.

        Where `shape` ends in height and width, smooth inputs are preferred. A gradient of zeros
        gives what the search began with.
        """
        torch = torch_of()
        parameters = parameters_of(model)
        length = sum(p.numel() for p in parameters)
        if gradient.shape != (length,):
            raise ConfigurationError(
                f"gradient of shape {gradient.shape} where the model has {length} parameters"
            )
        kind = parameters[0].dtype
        aim = torch.tensor(gradient, dtype=kind)
        best, least = np.zeros((len(labels), *shape)), np.inf
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        # Denormal numbers, of units that are nearly off, take a hundred times as long.
        torch.set_flush_denormal(True)
        try:
            for _ in range(self.restarts):
                low, high = self.span
                drawn = low + (high - low) * draw.fractions(len(labels), *shape)
                start = torch.tensor(drawn, dtype=kind)
                found, objective = self._descend(
                    torch, model, parameters, aim, torch.tensor(labels), start
                )
                if objective < least:
                    best, least = found.double().numpy(), objective
        finally:
            torch.set_flush_denormal(False)
            torch.set_num_threads(threads)
        return best

    def _descend(
        self,
        torch: Any,
        model: nn.Module,
        parameters: list[Any],
        aim: Tensor,
        labels: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, float]:
        inputs = start.clone().requires_grad_()
        width = self.span[1] - self.span[0]
        optimiser = torch.optim.Adam([inputs], lr=self.rate * width)
        milestones = [self.steps * part // 8 for part in (3, 5, 7)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.1)
        best, least = start, float("inf")
        for _ in range(self.steps):
            objective = self._objective(torch, model, parameters, aim, labels, inputs)
            value = float(objective.detach())
            if value < least:
                best, least = inputs.detach().clone(), value
            (slope,) = torch.autograd.grad(objective, [inputs])
            inputs.grad = slope.sign()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                inputs.clamp_(*self.span)
        return best, least

    def _objective(
        self,
        torch: Any,
        model: nn.Module,
        parameters: list[Any],
        aim: Tensor,
        labels: Tensor,
        inputs: Tensor,
    ) -> Any:
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        parts = torch.autograd.grad(loss, parameters, create_graph=True)
        own = torch.cat([part.flatten() for part in parts])
        norms = own.norm() * aim.norm()
        apart = 1 - (own @ aim) / (norms + 1e-12)
        return apart + self.variation * total_variation(inputs)
