"""Deep leakage from gradients: an input and a label whose gradient is a given one (extra `torch`).

Source: Zhu, Liu, Han, "Deep leakage from gradients" (2019), algorithm 1.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.inversion.search import parameters_of, torch_of, total_variation
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DeepLeakage"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DeepLeakage:
    """L-BFGS on the squared distance of gradients; the label is searched for as well.

    The plan's clip is public: the gradient of a guess is clipped as a client's is, before it is
    compared. Where noise is known to be in what was seen, `variation` x total variation makes the
    likeliest of smooth inputs of it. The best of `restarts` starts, by that objective alone.
    """

    steps: int = 60
    restarts: int = 3
    clip: float = np.inf
    variation: float = 0.0
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ConfigurationError(
                f"steps = {self.steps}, restarts = {self.restarts}: at least one of each"
            )

    def invert(
        self, model: nn.Module, gradient: Floats, shape: tuple[int, ...], draw: Draw
    ) -> tuple[Floats, int]:
        """One input of this shape, cut to the span, and its label, in float64."""
        torch = torch_of()
        twin = copy.deepcopy(model).double()
        parameters = parameters_of(twin)
        aim = torch.tensor(gradient)
        low, high = self.span
        with torch.no_grad():
            classes = int(twin(torch.zeros(1, *shape).double()).shape[1])
        best, label, least = np.full(shape, low), 0, np.inf
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for _ in range(self.restarts):
                start = torch.tensor(low + (high - low) * draw.fractions(1, *shape))
                scores = torch.tensor(draw.normals(1, classes))
                found, guessed, distance = self._descend(twin, parameters, aim, start, scores)
                if distance < least:
                    best, label, least = np.clip(found, low, high), guessed, distance
        finally:
            torch.set_num_threads(threads)
        return best, label

    def _descend(
        self, model: Any, parameters: list[Any], aim: Any, start: Any, scores: Any
    ) -> tuple[Floats, int, float]:
        torch = torch_of()
        inputs, label = start.requires_grad_(), scores.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [inputs, label], max_iter=self.steps, history_size=50, line_search_fn="strong_wolfe"
        )

        def distance() -> Any:
            optimiser.zero_grad()
            wanted = torch.softmax(label, dim=-1)
            loss = -(wanted * torch.log_softmax(model(inputs), dim=-1)).sum()
            parts = torch.autograd.grad(loss, parameters, create_graph=True)
            own = torch.cat([part.flatten() for part in parts])
            own = own * torch.clamp(self.clip / (own.norm() + 1e-12), max=1.0)
            apart = (own - aim).square().sum() + self.variation * total_variation(inputs)
            inputs.grad, label.grad = torch.autograd.grad(apart, [inputs, label])
            return apart

        optimiser.step(distance)
        last = float(distance().detach())
        found = np.nan_to_num(inputs.detach().numpy()[0])
        return found, int(label.detach().argmax()), last if np.isfinite(last) else np.inf
