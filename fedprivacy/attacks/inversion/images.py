"""How alike two images are: peak signal to noise, structural similarity, and shares above a bar."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from fedprivacy.attacks.result import Picture
from fedprivacy.errors import ConfigurationError

__all__ = ["CAP", "RECOVERED", "best_psnr", "psnr", "recovered_share", "side_by_side", "ssim"]

Floats = NDArray[np.float64]
CAP = 120.0
"""Decibels: two images that agree to twelve digits are as good as the same."""
RECOVERED = 30.0
"""Decibels from which an image counts as recovered."""


def psnr(image: Floats, found: Floats) -> float:
    """20 log10(1 / root mean square error) in decibels, of images in [0, 1], at most 120.

    What is found is first cut to [0, 1]; not a number counts as black.
    """
    if image.shape != found.shape:
        raise ConfigurationError(f"images of shape {image.shape} and {found.shape}: compare alike")
    cut = np.clip(np.nan_to_num(found), 0.0, 1.0)
    error = float(np.mean((image - cut) ** 2))
    return CAP if error <= 10 ** (-CAP / 10) else -10 * math.log10(error)


def best_psnr(image: Floats, found: Floats) -> float:
    """Of the row of `(candidates, pixels)` that is most like the image; without any, zero."""
    if not len(found):
        return 0.0
    cut = np.clip(np.nan_to_num(found), 0.0, 1.0)
    nearest = int(np.argmin(np.square(cut - image).sum(axis=1)))
    return psnr(image, cut[nearest])


def recovered_share(images: Floats, found: Floats) -> float:
    """The share of images of which some candidate is within 30 dB."""
    return float(np.mean([best_psnr(image, found) >= RECOVERED for image in images]))


def ssim(image: Floats, found: Floats, side: int, window: int = 7) -> float:
    """The mean structural similarity of two square images in [0, 1], flat or not.

    Windows are uniform, wholly inside the image; variances are unbiased. Source: Wang et al.,
    "Image quality assessment: from error visibility to structural similarity" (2004), equation 13,
    with K1 = 0.01 and K2 = 0.03.
    """
    if window % 2 == 0 or not 3 <= window <= side:
        raise ConfigurationError(f"window = {window} is no odd number from 3 to {side}: choose one")
    x, y = image.reshape(side, side), found.reshape(side, side)
    unbiased = window**2 / (window**2 - 1)
    mean_x, mean_y = _mean(x, window), _mean(y, window)
    var_x = unbiased * (_mean(x * x, window) - mean_x**2)
    var_y = unbiased * (_mean(y * y, window) - mean_y**2)
    both = unbiased * (_mean(x * y, window) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    edge = window // 2
    inner = (above / below)[edge : side - edge, edge : side - edge]
    return float(inner.mean())


def _mean(values: Floats, window: int) -> Floats:
    found: Floats = uniform_filter(values, size=window, mode="reflect")
    return found


def side_by_side(
    image: Floats, found: Floats, control: Floats, shape: tuple[int, ...]
) -> tuple[Picture, ...]:
    """The image, what the attack found and what its control did, each of this shape."""
    named = (("original", image), ("recovered", found), ("control", control))
    return tuple(Picture.of(label, each.reshape(shape)) for label, each in named)
