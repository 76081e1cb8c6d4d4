"""A torch module as a function of flat vectors, many at a time, as the small network is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Shape", "TorchShape"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


class Shape(Protocol):
    """What federated training and shadow models ask of a model."""

    @property
    def length(self) -> int: ...
    def gradient(self, flat: Floats, inputs: Floats, labels: Labels) -> Floats: ...
    def log_probabilities(self, flat: Floats, inputs: Floats) -> Floats: ...
    def losses(self, flat: Floats, inputs: Floats, labels: Labels) -> Floats: ...


@dataclass(frozen=True, slots=True)
class TorchShape:
    """Parameters that are trained, in the module's own order, as one vector `(..., length)`.

    Leading axes are of models, and are run side by side by `torch.func.vmap`; all in float32.
    """

    module: nn.Module = field(repr=False)

    @property
    def length(self) -> int:
        return sum(p.numel() for p in self._parameters().values())

    @property
    def start(self) -> Floats:
        """The module's own weights."""
        parts = [p.detach().flatten().double().numpy() for p in self._parameters().values()]
        return np.concatenate(parts)

    def gradient(self, flat: Floats, inputs: Floats, labels: Labels) -> Floats:
        """Of the mean loss over the examples of each model, `(..., length)`."""
        import torch

        def loss(vector: Any, x: Any, y: Any) -> Any:
            return torch.nn.functional.cross_entropy(self._scores(vector, x), y)

        each = np.broadcast_to(labels, (*flat.shape[:-1], labels.shape[-1]))
        found = self._mapped(torch.func.grad(loss), flat, inputs, each)
        if not np.isfinite(found).all():
            raise ConfigurationError(
                "the model's gradient is not finite: mend the model or the data, or lower the rate"
            )
        return found

    def log_probabilities(self, flat: Floats, inputs: Floats) -> Floats:
        """`(..., examples, classes)`; inputs without the leading axes are everybody's."""
        import torch

        def told(vector: Any, x: Any) -> Any:
            return torch.log_softmax(self._scores(vector, x), dim=-1)

        return self._mapped(told, flat, inputs)

    def losses(self, flat: Floats, inputs: Floats, labels: Labels) -> Floats:
        """The log loss of each example, `(..., examples)`."""
        log_p = self.log_probabilities(flat, inputs)
        own = np.broadcast_to(labels, log_p.shape[:-1])[..., None]
        return -np.take_along_axis(log_p, own, axis=-1)[..., 0]

    def _mapped(self, function: Any, flat: Floats, *per_model: NDArray[Any]) -> Floats:
        """The function of each model's vector and its own, or everybody's, further arrays."""
        import torch

        leading = flat.shape[:-1]
        vectors = torch.tensor(flat.reshape(-1, flat.shape[-1]), dtype=torch.float32)
        given, where = [], []
        for array in per_model:
            own = array.shape[: len(leading)] == leading and bool(leading)
            shaped = array.reshape(-1, *array.shape[len(leading) :]) if own else array
            kind = torch.int64 if np.issubdtype(array.dtype, np.integer) else torch.float32
            given.append(torch.tensor(np.ascontiguousarray(shaped), dtype=kind))
            where.append(0 if own else None)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            found = torch.func.vmap(function, in_dims=(0, *where))(vectors, *given)
        except RuntimeError as error:
            raise ConfigurationError(
                f"the model cannot be run side by side with itself: {str(error).splitlines()[0]}"
            ) from None
        finally:
            torch.set_num_threads(threads)
        result: Floats = found.detach().double().numpy()
        return result.reshape(*leading, *result.shape[1:])

    def _parameters(self) -> dict[str, Any]:
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def _scores(self, vector: Any, inputs: Any) -> Any:
        import torch

        parts, at = {}, 0
        for name, parameter in self._parameters().items():
            count = parameter.numel()
            parts[name] = vector[at : at + count].reshape(parameter.shape)
            at += count
        return torch.func.functional_call(self.module, parts, (inputs,))
