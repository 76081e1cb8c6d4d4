"""The phones' images: handwritten digits, one or two on each of a crowd of phones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.randomness import Rng
from fedprivacy.simulation.dealing import (
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

__all__ = ["deal_phones", "phone_name"]

MOST_IMAGES = 2
_DIGIT_BLUR = 1.25  # a phone with two images has two of one digit, mostly


def phone_name(number: int) -> str:
    """The name of phone `number`, counted from 1."""
    return f"phone-{number:04d}"


def deal_phones(
    phones: int, *, held_out: float, scales: Sequence[FeatureScale], rng: Rng
) -> Population:
    """Deal scikit-learn's 1,797 images of 8 x 8: a share `held_out` to nobody, the rest to phones.

    A function of `rng` alone; a label of 1.0 is an even digit. Those kept back show each digit as
    often as the whole does; a phone holds one image, or two that are mostly of one digit. There is
    one scale, `pixel`, for all pixels. Raises `MissingExtra` without scikit-learn, and
    `ConfigurationError` for a number of phones, a share or scales that do not fit the data.
    """
    everyone, digits = _load(tuple(scales))
    kept_back, training = held_back(digits, held_out, stream(rng, "held-out"))
    images = len(training)
    fewest = -(-images // MOST_IMAGES)
    if not fewest <= phones <= images:
        raise ConfigurationError(
            f"clients = {phones}: {images} images make {fewest} to {images} phones of one or "
            f"{MOST_IMAGES}"
        )
    order = permutation(phones, stream(rng, "sizes"))
    sizes = np.where(order < images - phones, MOST_IMAGES, 1)
    by_digit = blurred(training, digits, _DIGIT_BLUR, stream(rng, "labels"))
    parts = np.split(by_digit, np.cumsum(sizes)[:-1])
    return Population(
        clients={phone_name(i): taken(everyone, part) for i, part in enumerate(parts, 1)},
        held_out=taken(everyone, kept_back),
    )


def _load(scales: tuple[FeatureScale, ...]) -> tuple[Examples, NDArray[np.int64]]:
    """The images with their labels, and the digits that they show."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("demo", "the phones' data") from None
    data = load_digits()
    if [scale.name for scale in scales] != ["pixel"]:
        raise ConfigurationError(
            "data.features must name one feature, pixel: its centre and spread are every pixel's"
        )
    check_scales(scales)
    (scale,) = scales
    digits = data.target.astype(np.int64)
    even = (digits % 2 == 0).astype(np.float64)
    return Examples((data.data - scale.centre) / scale.spread, even), digits
