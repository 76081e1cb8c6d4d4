"""DP-SGD on one client through opacus: its clipping and noise, our batches and our accounting.

Opacus' `PrivacyEngine` is not used: it takes the sample rate from the length of a loader and
divides by a number that depends on how many examples there are, which adding one would show. Secure
mode is off: it needs a library that is not published for today's torch, and adds noise in floats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Keystream, Rng, uniform_below
from fedprivacy.torch.gradients import (
    Loss,
    SampleGradients,
    check_data,
    in_batches,
    parameters_of,
)
from fedprivacy.torch.statement import DpSgd, LocalTraining

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer

__all__ = ["Trained", "train_privately"]

_COIN = 1 << 53

# The state of torch's generator on the CPU: a header, then the 624 words of a Mersenne Twister,
# each in eight bytes.
_STATE_BYTES, _HEADER_BYTES, _WORDS = 5056, 24, 624


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """`difference` is what training added to each parameter, by name: the client's update.

    `Layout.of(parameters_of(model))` flattens it. `statement` says what it tells of one example.
    """

    difference: dict[str, NDArray[Any]] = field(repr=False)
    statement: LocalTraining


def train_privately(
    model: nn.Module,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    *,
    settings: DpSgd,
    optimizer: Callable[[list[nn.Parameter]], Optimizer],
    rng: Rng,
    batch: int = 64,
) -> Trained:
    """Train a copy of the model on one client's examples so that its update hides each of them.

    `inputs` and `targets` hold one example each along their first dimension. `optimizer` makes any
    torch optimizer of the parameters it is handed; it sees noisy gradients only. Memory holds the
    gradients of `batch` examples at a time. Coins and the seed of the noise are from `rng`; a layer
    with randomness of its own (dropout) draws from torch's default generator.

    Whether the data is good must not show: an example whose gradient is not finite counts as zero,
    and of no examples the update is noise alone. Raises `MissingExtra` without opacus, and
    `ConfigurationError`, before anything is computed, for a module that mixes the examples of a
    batch or settings with which nothing is promised; during training for a loss that is not one
    number an example; and after it where the noisy parameters are no longer finite.
    """
    gradients = SampleGradients(model)
    check_data(inputs, targets)
    statement = LocalTraining.of(settings, opacus=version("opacus"), torch=version("torch"))
    from opacus.optimizers import DPOptimizer

    stepper = DPOptimizer(
        optimizer(list(gradients.parameters.values())),
        noise_multiplier=settings.noise_multiplier,
        max_grad_norm=settings.clip,
        expected_batch_size=settings.expected_batch,
        generator=_generator(rng.child("fedprivacy/torch/noise")),
    )
    coins = Keystream(rng.child("fedprivacy/torch/batches").bytes(SEED_BYTES))
    for _ in range(settings.steps):
        drawn = _drawn(len(inputs), settings.sample_rate, coins)
        _step(gradients, loss, inputs, targets, stepper, list(in_batches(drawn, batch)))
    return Trained(_difference(model, gradients), statement)


def _drawn(examples: int, rate: float, coins: Keystream) -> NDArray[np.int64]:
    """The examples of one batch, each drawn with probability `rate` or less by under 2**-53."""
    bar = np.uint64(int(rate * _COIN))
    return np.flatnonzero(uniform_below(_COIN, examples, coins) < bar)


def _step(
    gradients: SampleGradients,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    stepper: Any,
    parts: list[NDArray[np.int64]],
) -> None:
    """One step over a batch in parts: opacus clips and adds up each, and adds noise at the last."""
    import torch

    for number, part in enumerate(parts, 1):
        which = torch.from_numpy(part)
        gradients.leave(loss, inputs[which], targets[which])
        _zero_non_finite(gradients)
        stepper.signal_skip_step(number < len(parts))
        stepper.step()
        stepper.zero_grad()


def _zero_non_finite(gradients: SampleGradients) -> None:
    """Zeros in the place of each example's gradient that has a NaN or an infinity in it."""
    import torch

    samples = [parameter.grad_sample for parameter in gradients.parameters.values()]
    finite = torch.stack([torch.isfinite(s.flatten(1)).all(dim=1) for s in samples]).all(dim=0)
    for sample in samples:
        sample[~finite] = 0


def _difference(model: nn.Module, gradients: SampleGradients) -> dict[str, NDArray[Any]]:
    before, difference = parameters_of(model), {}
    for name, parameter in gradients.parameters.items():
        change = parameter.detach().numpy() - before[name]
        if not np.isfinite(change).all():  # of what is private already: telling it tells no more
            raise ConfigurationError(
                f"model.{name} is no longer finite after training: lower the learning rate"
            )
        difference[name] = change
    return difference


def _generator(rng: Rng) -> Generator:
    """A torch generator whose whole state is from `rng`.

    Torch takes 32 bits of a seed on the CPU, so few that whoever sees an update could try them all.
    """
    import torch

    generator = torch.Generator().manual_seed(1)
    state = generator.get_state().numpy()
    words = state[_HEADER_BYTES:].view(np.uint64)[:_WORDS]
    # The first words that seed 1 leaves, by the generator's own recursion: the layout is as known.
    if len(state) != _STATE_BYTES or words[:2].tolist() != [1, 1812433254]:
        raise ConfigurationError(
            f"torch {version('torch')} keeps its generator's state in a way that is not known: "
            "install one that constraints.txt names"
        )
    words[:] = np.frombuffer(rng.bytes(4 * _WORDS), dtype="<u4")
    generator.set_state(torch.from_numpy(state))
    return generator
