"""The hospitals' patients: the Wisconsin breast-cancer data, dealt unevenly to a set of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.randomness import Keystream, Rng, uniform_below
from fedprivacy.simulation.dealing import (
    FRACTION,
    Examples,
    FeatureScale,
    Population,
    blurred,
    check_scales,
    held_back,
    permutation,
    stream,
    taken,
)

__all__ = ["deal_hospitals", "hospital_name"]

LEAST_PATIENTS = 6
MOST_PATIENTS = 64  # what the example's plan allows: update.max_units_per_client
_SIZE_RATIO = 5  # the largest hospital draws extra patients this many times as often as the least
_LABEL_BLUR = 3.0  # 0 sorts the hospitals by label; the larger, the more alike they are


def hospital_name(number: int) -> str:
    """The name of hospital `number`, counted from 1."""
    return f"hospital-{number:02d}"


def deal_hospitals(
    hospitals: int, *, held_out: float, scales: Sequence[FeatureScale], rng: Rng
) -> Population:
    """Deal scikit-learn's 569 patients: a share `held_out` to nobody, the rest to the hospitals.

    A function of `rng` alone; a label of 1.0 is a benign tumour. Those kept back show each label as
    often as the whole does; hospitals differ in size (6 to 64 patients) and in their share of
    benign tumours. Raises `MissingExtra` without scikit-learn, and `ConfigurationError` for a
    number of hospitals, a share or scales that do not fit the data.
    """
    everyone = _load(tuple(scales))
    kept_back, training = held_back(everyone.labels, held_out, stream(rng, "held-out"))
    sizes = _sizes(hospitals, len(training), stream(rng, "sizes"))
    by_label = blurred(training, everyone.labels, _LABEL_BLUR, stream(rng, "labels"))
    parts = np.split(by_label, np.cumsum(sizes)[:-1])
    return Population(
        clients={hospital_name(i): taken(everyone, part) for i, part in enumerate(parts, 1)},
        held_out=taken(everyone, kept_back),
    )


def _load(scales: tuple[FeatureScale, ...]) -> Examples:
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
    check_scales(scales)
    centre = np.array([scale.centre for scale in scales])
    spread = np.array([scale.spread for scale in scales])
    return Examples((data.data - centre) / spread, data.target.astype(np.float64))


def _sizes(hospitals: int, patients: int, source: Keystream) -> list[int]:
    """How many patients each hospital holds: the least each, the others one by one, unevenly."""
    fewest, most = math.ceil(patients / MOST_PATIENTS), patients // LEAST_PATIENTS
    if not fewest <= hospitals <= most:
        raise ConfigurationError(
            f"clients = {hospitals}: {patients} patients make {fewest} to {most} hospitals of "
            f"{LEAST_PATIENTS} to {MOST_PATIENTS}"
        )
    pull = 1.0 + (_SIZE_RATIO - 1) * permutation(hospitals, source) / max(hospitals - 1, 1)
    sizes = np.full(hospitals, LEAST_PATIENTS)
    for draw in uniform_below(FRACTION, patients - int(sizes.sum()), source):
        edges = np.cumsum(np.where(sizes < MOST_PATIENTS, pull, 0.0))
        sizes[np.searchsorted(edges, float(draw) / FRACTION * edges[-1], side="right")] += 1
    return [int(size) for size in sizes]
