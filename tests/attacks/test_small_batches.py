"""SPEAR on gradients whose examples are known: exact, and silent where it ends; deep leakage."""

import numpy as np
import pytest

from fedprivacy.attacks.data import digits
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.inversion.deep_leakage import DeepLeakage
from fedprivacy.attacks.inversion.images import best_psnr
from fedprivacy.attacks.inversion.spear import Spear
from fedprivacy.attacks.models import Mlp
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng

SHAPE = Mlp(inputs=64, hidden=256, classes=10)


@pytest.fixture(scope="module")
def world():
    rng = InsecureTestRng(5)
    weights = SHAPE.initial(Draw(rng.child("weights")))
    return weights, digits(Draw(rng.child("images")))


def searched(gradient, weights, batch, **how):
    draw = Draw(InsecureTestRng(6))
    return Spear(**how).inputs(gradient, weights, SHAPE, batch, draw)


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_every_example_of_a_small_batch_comes_out(world, batch):
    weights, data = world
    gradient = SHAPE.gradient(weights, data.images[:batch], data.labels[:batch])
    found = searched(gradient, weights, batch)
    assert found.shape == (batch, 64)
    assert min(best_psnr(image, found) for image in data.images[:batch]) > 60
    assert max(best_psnr(image, found) for image in data.images[50:80]) < 25


def test_examples_that_are_alike_do_not_hide_each_other(world):
    """What two alike share is zero for their mixtures too, and for more units than some example."""
    weights, data = world
    ones = np.flatnonzero(data.labels == 1)
    on = data.images @ SHAPE.layers(weights).hidden.T > 0
    apart = (on[ones, None] != on[None, ones]).sum(axis=-1)
    apart[apart < 10] = SHAPE.hidden
    pair = ones[list(np.unravel_index(apart.argmin(), apart.shape))]
    batch = np.concatenate([pair, np.setdiff1d(np.arange(8), pair)[:6]])
    gradient = SHAPE.gradient(weights, data.images[batch], data.labels[batch])
    found = searched(gradient, weights, 8)
    assert apart.min() < 16
    assert min(best_psnr(image, found) for image in data.images[batch]) > 60


def test_examples_that_switch_the_same_units_are_not_told_apart(world):
    """The limit: whatever is zero for one of the two is zero for the other, and for any mixture."""
    weights, data = world
    images, labels = data.images[:4].copy(), data.labels[:4].copy()
    images[1], labels[1] = images[0] * 0.5, (labels[0] + 1) % 10
    found = searched(SHAPE.gradient(weights, images, labels), weights, 4, tries=2048)
    assert max((best_psnr(image, found) for image in images[:2]), default=0.0) < 60


def test_a_clipped_and_rounded_gradient_is_enough(world):
    weights, data = world
    gradient = SHAPE.gradient(weights, data.images[:6], data.labels[:6])
    rounded = np.round(gradient / np.linalg.norm(gradient) * 2**23) / 2**23
    found = searched(rounded, weights, 6)
    assert min(best_psnr(image, found) for image in data.images[:6]) > 40


def test_a_little_noise_ends_it(world):
    weights, data = world
    gradient = SHAPE.gradient(weights, data.images[:4], data.labels[:4])
    noise = 1e-3 * Draw(InsecureTestRng(7)).normals(SHAPE.length)
    found = searched(gradient + noise, weights, 4, tries=2048)
    assert max((best_psnr(image, found) for image in data.images[:4]), default=0.0) < 30


def test_nothing_to_choose_from_gives_nothing(world):
    weights, _ = world
    found = searched(np.zeros(SHAPE.length), weights, 3, tries=600)
    assert found.shape in {(0, 64), (3, 64)}
    assert np.isfinite(found).all()
    for batch in (0, 11):
        with pytest.raises(ConfigurationError, match=f"batch = {batch} is outside 1 to 10"):
            searched(np.zeros(SHAPE.length), weights, batch)
    few = Mlp(inputs=64, hidden=3, classes=10)
    with pytest.raises(ConfigurationError, match="batch = 3 where there are 3 units"):
        Spear().inputs(np.zeros(few.length), np.zeros(few.length), few, 3, Draw(InsecureTestRng(1)))


def test_a_search_without_steps_is_refused():
    with pytest.raises(ConfigurationError, match="at least one of each"):
        DeepLeakage(steps=0)


@pytest.mark.nightly
def test_deep_leakage_finds_the_image_without_its_label(project):
    pytest.importorskip("torch")
    scenario = Scenario.from_toml(project / "attacks/deep-leakage/scenario.toml")
    found = scenario.trial(scenario.settings[0], 1).found
    assert found.target > 20
    assert found.control < 13
