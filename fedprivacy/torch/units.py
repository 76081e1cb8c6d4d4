"""One gradient a unit of a torch model: a patient's records, or whatever a key groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.torch.gradients import Loss, SampleGradients, check_data, in_batches

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["UnitGradients", "unit_gradients"]


@dataclass(frozen=True, slots=True, eq=False)
class UnitGradients:
    """`keys` is `(units,)`, sorted; `rows`, `(units, length)`, is what `PerUnit` takes.

    A row is the mean over the unit's records, of the model's float type; its columns lie as in
    `Layout.of(parameters_of(model))`.
    """

    keys: NDArray[Any] = field(repr=False)
    rows: NDArray[Any] = field(repr=False)


def unit_gradients(
    model: nn.Module,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    *,
    unit_key: NDArray[Any],
    batch: int = 64,
) -> UnitGradients:
    """The gradient of each unit at the model's present parameters.

    `inputs` and `targets` hold one record each along their first dimension; `unit_key`,
    `(records,)` integers, says whose each is. The mean is taken over a unit's records before it is
    clipped: `Clip` then bounds what one unit adds however many records it has, and its norm is
    chosen by the size of a typical record's gradient. A row depends on its own unit's records
    alone: one whose gradient is not finite spoils that row, which `NonFinite.ZERO` takes for zero.
    Without records there are no rows. Besides the rows, memory holds the gradients of `batch`
    records at a time. Raises `MissingExtra` without opacus and `ConfigurationError` for a module
    that mixes the records of a batch, a loss that is not one number a record, or keys that do not
    fit.
    """
    gradients = SampleGradients(model)
    check_data(inputs, targets)
    keys, of_record, counts = _grouped(unit_key, len(inputs))
    import torch

    length = sum(parameter.numel() for parameter in gradients.parameters.values())
    dtype = next(iter(gradients.parameters.values())).dtype
    totals = torch.zeros((len(keys), length), dtype=dtype)
    for part in in_batches(np.arange(len(inputs)), batch):
        which = torch.from_numpy(part)
        gradients.leave(loss, inputs[which], targets[which])
        totals.index_add_(0, torch.from_numpy(of_record[part]), gradients.rows())
    totals /= torch.from_numpy(counts[:, None])
    return UnitGradients(keys, totals.numpy())


def _grouped(
    unit_key: NDArray[Any], records: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The distinct keys, each record's place among them, and how often each occurs."""
    key = np.asarray(unit_key)
    if key.dtype.kind not in "iu" or key.shape != (records,):
        raise ConfigurationError(
            f"unit_key is {key.dtype} of shape {key.shape} where whole numbers of shape "
            f"({records},) are wanted: number the units, and give one number a record"
        )
    keys, of_record, counts = np.unique(key, return_inverse=True, return_counts=True)
    return keys, of_record.astype(np.int64), counts.astype(np.int64)
