"""What DP-SGD on one client promises for one of its examples: the settings, and the statement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec

from fedprivacy.accounting import Bound, epsilon_of, upwards
from fedprivacy.dp.events import (
    Adjacency,
    GaussianEvent,
    Release,
    Sample,
    SampleSecrecy,
    Sampling,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.vector import check_whole

__all__ = ["DpSgd", "LocalTraining"]

_MANY = 1 << 40
_LEAST, _MOST = 1e-6, 1e6  # squares of float32 near the clip are far from its ends


@dataclass(frozen=True, slots=True, kw_only=True)
class DpSgd:
    """The settings of DP-SGD on one client (Abadi et al., CCS 2016, algorithm 1).

    In each of `steps` steps each example is drawn by a coin of its own with probability
    `sample_rate`; its gradient is clipped to L2 norm `clip`; Gaussian noise of deviation
    `noise_multiplier * clip` is added to the sum, which is divided by `expected_batch`. All are
    public and fixed in advance: `expected_batch` stands for the sample rate times a number of
    examples that may be told, never the count of this client's own. `delta` is what epsilon is
    stated at.
    """

    clip: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    expected_batch: int
    delta: float

    def __post_init__(self) -> None:
        _check_within("clip", self.clip, _LEAST, _MOST, "scale the loss")
        _check_within("noise_multiplier", self.noise_multiplier, 1e-2, 1e6, "choose one that is")
        if not _is_number(self.sample_rate) or not 0 < self.sample_rate <= 1:
            raise ConfigurationError(
                f"DpSgd.sample_rate = {self.sample_rate!r} is outside (0, 1]: give the probability "
                "with which an example is in a batch"
            )
        check_whole("DpSgd.steps", self.steps, 1, _MANY)
        check_whole("DpSgd.expected_batch", self.expected_batch, 1, _MANY)

    def release(self) -> Release:
        """All steps as an event: batches are drawn on the client, who shows them to nobody."""
        sample = Sample()
        if self.sample_rate < 1:
            sample = Sample(Sampling.POISSON, self.sample_rate, SampleSecrecy.HIDDEN)
        return Release(GaussianEvent(self.noise_multiplier), sample, self.steps)

    def bound(self) -> Bound:
        """What all steps cost one example; `ConfigurationError` where no epsilon holds at delta."""
        bound = epsilon_of([self.release()], self.delta, Adjacency.ADD_OR_REMOVE_ONE)
        if not math.isfinite(bound.epsilon):
            raise ConfigurationError(
                f"DpSgd.delta = {self.delta:g} holds with no epsilon: add noise, take fewer steps "
                "or raise delta"
            )
        return bound


class LocalTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one client's DP-SGD promised for one of its examples; the client keeps it.

    Its unit is its own: a plan's guarantee, the server's ledger and its unit know nothing of it,
    and it says nothing of theirs. `claim` is its row of `proofs/claims.toml`.
    """

    schema: Literal["fedprivacy/local-training/1"] = "fedprivacy/local-training/1"
    claim: Literal["example-level-training"] = "example-level-training"
    unit: Literal["example"] = "example"
    adjacency: Literal["add-or-remove-one"] = "add-or-remove-one"
    epsilon: float
    delta: float
    method: str
    clip: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    expected_batch: int
    noise: str
    """Whose noise it is, and in which numbers: a label, not an assurance."""
    holds: tuple[str, ...]
    does_not_hold: tuple[str, ...]

    @classmethod
    def of(cls, settings: DpSgd, *, opacus: str, torch: str) -> LocalTraining:
        """The statement of a training with these settings by these releases of the libraries."""
        bound = settings.bound()
        return cls(
            epsilon=bound.epsilon,
            delta=settings.delta,
            method=bound.method.value,
            clip=settings.clip,
            noise_multiplier=settings.noise_multiplier,
            sample_rate=settings.sample_rate,
            steps=settings.steps,
            expected_batch=settings.expected_batch,
            noise=f"opacus' floats from torch's generator (opacus {opacus}, torch {torch})",
            holds=_holds(settings, bound),
            does_not_hold=_DOES_NOT_HOLD,
        )

    def release(self) -> Release:
        """All steps as an event: of several trainings on the same data, `epsilon_of` all."""
        return DpSgd(
            clip=self.clip,
            noise_multiplier=self.noise_multiplier,
            sample_rate=self.sample_rate,
            steps=self.steps,
            expected_batch=self.expected_batch,
            delta=self.delta,
        ).release()

    def to_json(self) -> str:
        """One JSON document."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> LocalTraining:
        """The statement in a text; raises `msgspec.ValidationError` for anything else."""
        return msgspec.json.decode(text, type=cls)

    def __str__(self) -> str:
        kept = [f"+ {line}" for line in self.holds]
        return "\n".join([*kept, *(f"- {line}" for line in self.does_not_hold)])


def _holds(settings: DpSgd, bound: Bound) -> tuple[str, ...]:
    told = (
        f"All {settings.steps:,} steps together are ({upwards(bound.epsilon, 3)}, "
        f"{bound.delta:g})-differentially private for one example of this client "
        f"(add-or-remove-one), against whoever sees the update, if its floats are taken for real "
        f"numbers: by {bound.method.value}."
    )
    if settings.sample_rate == 1:
        return (told,)
    drawn = "This counts on batches that are drawn on the client and shown to nobody."
    return told, drawn


_DOES_NOT_HOLD = (
    "Noise and clipping are opacus' floats, not exact integers: attacks on their bits may succeed.",
    "The noise is from torch's Mersenne Twister, which is no cryptographic generator.",
    "One example is protected, not one person: who has several of them is protected less.",
    "What else the client tells, more training on the same examples, and tuning are not counted.",
    "Nothing is promised of a model or a loss that mixes the examples of a batch.",
    "An example on which the model or the loss raises ends the training, and shows.",
)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_within(name: str, value: float, low: float, high: float, remedy: str) -> None:
    if not _is_number(value) or not low <= value <= high:
        raise ConfigurationError(
            f"DpSgd.{name} = {value!r} is outside [{low:g}, {high:g}]: {remedy}"
        )
