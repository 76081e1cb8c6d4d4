"""The demo's patients: the Wisconsin breast-cancer data, dealt unevenly to a set of hospitals.

Features are scaled by public constants and never by a hospital's own statistics: one patient moves
a local mean, and with it everyone's gradient, outside any bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.randomness import Keystream, Rng, uniform_below

__all__ = ["Consortium", "FeatureScale", "Patients", "hospital_name", "load_consortium"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LEAST_PATIENTS = 6
MOST_PATIENTS = 64  # what the example's plan allows: update.max_units_per_client
_SIZE_RATIO = 5  # the largest hospital draws extra patients this many times as often as the least
_LABEL_BLUR = 3.0  # 0 sorts the hospitals by label; the larger, the more alike they are
_FRACTION = 1 << 53


class FeatureScale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A feature's public constants: it enters the model as (value - centre) / spread."""

    name: str
    centre: float
    spread: float


@dataclass(frozen=True, slots=True)
class Patients:
    """Scaled features `(patients, 30)` and labels `(patients,)`, 1.0 for benign; both float64."""

    features: Floats = field(repr=False)
    labels: Floats = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def majority(self) -> float:
        """What always naming the commoner class would score."""
        benign = float(np.mean(self.labels))
        return max(benign, 1.0 - benign)


@dataclass(frozen=True, slots=True)
class Consortium:
    """Every hospital's own patients, by the hospital's name, and those that none trains on."""

    hospitals: dict[str, Patients]
    held_out: Patients


def hospital_name(number: int) -> str:
    """The name of hospital `number`, counted from 1."""
    return f"hospital-{number:02d}"


def load_consortium(
    hospitals: int, *, held_out: float, scales: Sequence[FeatureScale], rng: Rng
) -> Consortium:
    """Deal scikit-learn's 569 patients: a share `held_out` to nobody, the rest to the hospitals.

    A function of `rng` alone. Those kept back show each label as often as the whole does; hospitals
    differ in size (6 to 64 patients) and in their share of benign tumours. Raises `MissingExtra`
    without scikit-learn, and `ConfigurationError` for a number of hospitals, a share or scales that
    do not fit the data.
    """
    if not 0.0 < held_out < 1.0:
        raise ConfigurationError(
            f"data.held_out = {held_out} is outside (0, 1): it is a share of the patients"
        )
    everyone = _load(scales)
    kept_back, training = _split(everyone.labels, held_out, _stream(rng, "held-out"))
    sizes = _sizes(hospitals, len(training), _stream(rng, "sizes"))
    blurred = _blurred_by_label(training, everyone.labels, _stream(rng, "labels"))
    parts = np.split(blurred, np.cumsum(sizes)[:-1])
    return Consortium(
        hospitals={hospital_name(i): _take(everyone, part) for i, part in enumerate(parts, 1)},
        held_out=_take(everyone, kept_back),
    )


def _load(scales: Sequence[FeatureScale]) -> Patients:
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError:
        raise MissingExtra("demo", "the hospitals' data") from None
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    if [scale.name for scale in scales] != names:
        raise ConfigurationError(
            f"data.features must name the data set's {len(names)} features in its order: "
            f"{', '.join(names)}"
        )
    for scale in scales:
        if not (math.isfinite(scale.centre) and math.isfinite(scale.spread) and scale.spread > 0):
            raise ConfigurationError(
                f"data.features: {scale.name} has centre {scale.centre} and spread {scale.spread}; "
                "both must be finite and the spread above zero"
            )
    centre = np.array([scale.centre for scale in scales])
    spread = np.array([scale.spread for scale in scales])
    return Patients((data.data - centre) / spread, data.target.astype(np.float64))


def _take(patients: Patients, indices: Indices) -> Patients:
    return Patients(patients.features[indices], patients.labels[indices])


def _stream(rng: Rng, purpose: str) -> Keystream:
    return Keystream(rng.child(purpose).bytes(32))


def _permutation(count: int, stream: Keystream) -> Indices:
    return np.argsort(uniform_below(1 << 63, count, stream), kind="stable")


def _split(labels: Floats, held_out: float, stream: Keystream) -> tuple[Indices, Indices]:
    """The indices kept back, ceil(held_out * n) evenly spaced by label, and the others."""
    shuffled = _permutation(len(labels), stream)
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    chosen = np.diff(np.ceil(held_out * np.arange(len(labels) + 1))) > 0
    return by_label[chosen], by_label[~chosen]


def _sizes(hospitals: int, patients: int, stream: Keystream) -> list[int]:
    """How many patients each hospital holds: the least each, the others one by one, unevenly."""
    fewest, most = math.ceil(patients / MOST_PATIENTS), patients // LEAST_PATIENTS
    if not fewest <= hospitals <= most:
        raise ConfigurationError(
            f"clients = {hospitals}: {patients} patients make {fewest} to {most} hospitals of "
            f"{LEAST_PATIENTS} to {MOST_PATIENTS}"
        )
    pull = 1.0 + (_SIZE_RATIO - 1) * _permutation(hospitals, stream) / max(hospitals - 1, 1)
    sizes = np.full(hospitals, LEAST_PATIENTS)
    for draw in uniform_below(_FRACTION, patients - int(sizes.sum()), stream):
        edges = np.cumsum(np.where(sizes < MOST_PATIENTS, pull, 0.0))
        sizes[np.searchsorted(edges, float(draw) / _FRACTION * edges[-1], side="right")] += 1
    return [int(size) for size in sizes]


def _blurred_by_label(indices: Indices, labels: Floats, stream: Keystream) -> Indices:
    """The indices sorted by label, each label first moved up by a uniform part of the blur.

    Cut in runs, the first hospitals hold malignant tumours only, the last benign ones only, and
    those between a mixture.
    """
    moved = uniform_below(_FRACTION, len(indices), stream).astype(np.float64) / _FRACTION
    return indices[np.argsort(labels[indices] + _LABEL_BLUR * moved, kind="stable")]
