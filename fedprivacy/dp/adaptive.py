"""A clipping norm that follows a quantile of the norms, learnt from one noisy count a round.

Source: Andrew, Thakkar, McMahan, Ramaswamy, "Differentially private learning with adaptive
clipping" (2021), algorithm 1.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedprivacy.dp.clipping import Clip, NonFinite, squared_norms
from fedprivacy.dp.perunit import PerUnit
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.vector import Lazy, Pipeline, Stage, Update, VectorSpec, chain, check_whole

__all__ = ["CountWithin", "GeometricClip", "count_ratio", "count_share", "vector_multiplier"]

_LEAST, _MOST = 1e-100, 1e100  # those of `Clip`
_LARGEST_RATIO = 1e6


@dataclass(frozen=True, slots=True)
class GeometricClip:
    """C <- C exp(-rate (b - quantile)), where b is the share of updates of norm at most C.

    If more than the quantile are within C, it falls; if fewer, it rises. At rate 0.2 and quantile
    0.5, a round moves it by a factor of 0.9 to 1.1.
    """

    quantile: float = 0.5
    rate: float = 0.2

    def __post_init__(self) -> None:
        _check("GeometricClip.quantile", self.quantile, 0, 1, "give the share to be left unclipped")
        _check("GeometricClip.rate", self.rate, 1e-6, 10, "0.2 is usual")

    def next(self, clip: float, share: float) -> float:
        """The norm after a round under `clip`; a share that noise took out of [0, 1] is put back.

        Never outside the range of `Clip`. Raises `ConfigurationError` for a share that is NaN.
        """
        if math.isnan(share):
            raise ConfigurationError("share = nan is no share: count the updates within the clip")
        within = min(max(share, 0.0), 1.0)
        moved = clip * math.exp(-self.rate * (within - self.quantile))
        return min(max(moved, _LEAST), _MOST)


def vector_multiplier(noise_multiplier: float, count_deviation: float) -> float:
    """z_delta = (z**-2 - (2 sigma_b)**-2)**(-1/2): what z leaves to the vector beside the count.

    `count_deviation` is sigma_b, in units. The factor 2 is that of bits b - 1/2, whose magnitude
    is a half. Raises `ConfigurationError` unless noise_multiplier < 2 count_deviation.
    """
    share = _count_share(noise_multiplier, count_deviation)
    return noise_multiplier / math.sqrt(1 - share**2)


def count_ratio(noise_multiplier: float, count_deviation: float) -> float:
    """How large `CountWithin` makes a bit, beside the vector, for a noise of `count_deviation`.

    With the noise's deviation sigma = z sqrt(c**2 + k**2), for a vector of norm c and bits of
    magnitude k, sigma / (2 k) = sigma_b gives k / c. Raises as `vector_multiplier` does.
    """
    share = _count_share(noise_multiplier, count_deviation)
    return share / math.sqrt(1 - share**2)


def _count_share(noise_multiplier: float, count_deviation: float) -> float:
    _check("noise_multiplier", noise_multiplier, 1e-6, 1e6, "add noise")
    _check("count_deviation", count_deviation, 1e-6, 1e12, "a twentieth of the units is usual")
    share = noise_multiplier / (2 * count_deviation)
    if share >= 1:
        raise ConfigurationError(
            f"count_deviation = {count_deviation} is not above half of the noise multiplier "
            f"{noise_multiplier}, so that nothing is left for the vector: count with more noise"
        )
    return share


@dataclass(frozen=True, slots=True, init=False)
class CountWithin:
    """Apply the stages, the first of which is `Clip`, and append one integer: was it within?

    The integer is +k for a vector whose norm was at most the clip's, before, and -k else; that is
    2 k (b - 1/2). k is `mark` or, where that is zero, `ratio` times the norm that the stages'
    integers have, at least 1, and at most 2**31. Whoever counts under several clips gives all one
    mark: by rounding alone, their norms could lie on two sides of a half. It is one more coordinate
    of the same vector: noise that comes after covers both, and one event speaks of both, since the
    sensitivities are those of the longer vector.

    Stands before the noise, or last in `PerUnit`, where each unit is counted. Decoding leaves the
    integer out; `share` reads it. As decoding needs to know which coordinate is the last, it works
    on whole vectors.
    """

    stages: tuple[Stage, ...]
    ratio: float
    mark: int
    mixes: ClassVar[bool] = True

    def __init__(self, *stages: Stage, ratio: float, mark: int = 0) -> None:
        _check("CountWithin.ratio", ratio, 1 / _LARGEST_RATIO, _LARGEST_RATIO, "see count_ratio")
        check_whole("CountWithin.mark", mark, 0, 1 << 31)
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "ratio", ratio)
        object.__setattr__(self, "mark", mark)
        _ = self._clip

    @property
    def _clip(self) -> Clip:
        first = self.stages[0] if self.stages else None
        if not isinstance(first, Clip):
            raise ConfigurationError("CountWithin counts by a clip: put Clip first in it")
        return first

    @property
    def norm(self) -> float:
        """The clip by which it is counted."""
        return self._clip.norm

    @property
    def non_finite(self) -> NonFinite:
        """What becomes of a vector that is not finite; as zero, it is still not within."""
        return self._clip.non_finite

    def magnitude(self, spec: VectorSpec) -> int:
        """k, where `spec` enters."""
        return self._magnitude(chain(self.stages, spec)[-1])

    def _magnitude(self, after: VectorSpec) -> int:
        if self.mark:
            return self.mark
        return min(max(1, round(self.ratio * (after.unit_l2 or 0.0))), 1 << 31)

    def admit(self, spec: VectorSpec) -> VectorSpec:
        after = chain(self.stages, spec)[-1]
        if not after.integer or after.noise or after.unit_l2 is None or after.unit_l1 is None:
            raise ConfigurationError(
                "CountWithin appends an integer before the noise: put FixedPoint last in it, and "
                "the noise behind it"
            )
        if after.max_weight != 1:
            raise ConfigurationError("CountWithin counts each alike: leave Weigh out")
        k = self._magnitude(after)
        l2 = math.hypot(after.unit_l2, k) * (1 + 2.0**-50)
        return dataclasses.replace(
            after,
            length=after.length + 1,
            bound=max(int(after.bound), k),
            l2=l2,
            unit_l2=l2,
            unit_l1=(after.unit_l1 + k) * (1 + 2.0**-50),
        )

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        if self.non_finite is NonFinite.ZERO:
            spec.check_shape(update.values)
        else:
            spec.check(update.values)
        given = np.asarray(update.values)
        update = Update(given, update.weight)
        # An infinite norm is beyond the clip, and so is none at all.
        with np.errstate(over="ignore", invalid="ignore"):
            within = np.sqrt(squared_norms(given)) <= self.norm
        k = self.magnitude(spec)
        marks = np.where(within, k, -k).astype(np.int64)[..., None]
        for stage, before in zip(self.stages, chain(self.stages, spec), strict=False):
            update = stage.encode(update, before, rng=rng)
        values = update.values
        length = values.shape[-1]

        def marked(part: slice) -> NDArray[np.int64]:
            block: NDArray[np.int64] = values[..., part.start : min(part.stop, length)]
            return block if part.stop <= length else np.concatenate((block, marks), axis=-1)

        return Update(Lazy((*values.shape[:-1], length + 1), marked), update.weight)

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        values = values[:-1]
        for stage, before in reversed(
            list(zip(self.stages, chain(self.stages, spec), strict=False))
        ):
            values = stage.decode(values, before)
        return values

    def share(self, last: int, units: int, spec: VectorSpec) -> float:
        """The share of units within the clip, from the sum's last integer; noise may leave [0, 1].

        `units` is a public number, such as the expected one: the true one would tell who took part.
        """
        check_whole("units", units, 1, 1 << 62)
        return last / (2 * self.magnitude(spec) * units) + 0.5


def count_share(pipeline: Pipeline, last: int, units: int) -> tuple[float, float]:
    """The clip of a pipeline that counts, and the share of so many units within it.

    `last` is the last integer of the sum, with its noise. Raises `ConfigurationError` where no
    stage counts.
    """
    first, spec = pipeline.stages[0], pipeline.specs[0]
    if isinstance(first, PerUnit):
        spec = first.specs(spec)[0]
        first = first.stages[0]
    if not isinstance(first, CountWithin):
        raise ConfigurationError("no stage counts what is within the clip: put CountWithin first")
    return first.norm, first.share(last, units, spec)


def _check(path: str, value: object, low: float, high: float, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigurationError(f"{path} = {value!r} is no number from {low} to {high}: {remedy}")
