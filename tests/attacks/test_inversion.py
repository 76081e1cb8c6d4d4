"""From gradients to inputs: exact where it can be, and images compared by known measures."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.attacks.data import digits
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.inversion.analytic import (
    inputs_of_units,
    label_counts,
    label_of_one,
    loudest_input,
)
from fedprivacy.attacks.inversion.images import best_psnr, psnr, recovered_share, ssim
from fedprivacy.attacks.inversion.imprint import alone_share, imprint, imprinted
from fedprivacy.attacks.inversion.search import Search, module_gradient
from fedprivacy.attacks.models import Mlp
from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.randomness import InsecureTestRng

SHAPE = Mlp(inputs=64, hidden=16, classes=10)


def draw(seed=1):
    return Draw(InsecureTestRng(seed))


def world(seed=1):
    return SHAPE.initial(draw(seed)), digits(draw(seed + 100))


def test_gradients_are_those_of_torch():
    torch = pytest.importorskip("torch")
    weights, data = world()
    weights = weights + 0.1 * draw(9).normals(SHAPE.length)
    some = data.take(slice(0, 7))
    model = network(torch, SHAPE, weights)
    theirs = module_gradient(model, some.images, some.labels)
    assert np.allclose(SHAPE.gradient(weights, some.images, some.labels), theirs, atol=1e-12)
    each = SHAPE.example_gradients(weights, some.images, some.labels)
    assert np.allclose(each.mean(axis=0), theirs, atol=1e-12)
    weighted = SHAPE.gradient(weights, some.images, some.labels, np.arange(7.0))
    assert np.allclose(weighted, np.arange(7.0) @ each)


def network(torch, shape, weights):
    layers = shape.layers(weights)
    first = torch.nn.Linear(shape.inputs, shape.hidden).double()
    last = torch.nn.Linear(shape.hidden, shape.classes).double()
    with torch.no_grad():
        for parameter, value in (
            (first.weight, layers.hidden),
            (first.bias, layers.hidden_bias),
            (last.weight, layers.output),
            (last.bias, layers.output_bias),
        ):
            parameter.copy_(torch.tensor(value))
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


@pytest.mark.parametrize("seed", range(5))
def test_one_examples_gradient_gives_its_input_and_label(seed):
    weights, data = world(seed)
    one = data.take(slice(0, 1))
    gradient = SHAPE.gradient(weights, one.images, one.labels)
    assert psnr(one.images[0], loudest_input(gradient, SHAPE)) == 120.0
    assert label_of_one(gradient, SHAPE) == one.labels[0]
    assert best_psnr(one.images[0], inputs_of_units(gradient, SHAPE)) == 120.0
    # The control: another example's gradient.
    other = data.take(slice(1, 2))
    gradient = SHAPE.gradient(weights, other.images, other.labels)
    assert psnr(one.images[0], loudest_input(gradient, SHAPE)) < 20


def test_label_counts_are_near_the_truth():
    weights, data = world(3)
    batch, similar = data.split(200, 800)
    mean = np.exp(SHAPE.log_probabilities(weights, similar.images)).mean(axis=0)
    gradient = SHAPE.gradient(weights, batch.images, batch.labels)
    true = np.bincount(batch.labels, minlength=10)
    assert np.abs(label_counts(gradient, SHAPE, 200, mean) - true).max() < 4
    assert np.abs(true - true.mean()).max() > 4


def test_a_gradient_of_zeros_gives_zeros():
    assert not inputs_of_units(np.zeros(SHAPE.length), SHAPE).any()


def test_imprinted_bins_give_the_images_that_are_alone_in_one():
    """In exact arithmetic as many as the law says; of digits, somewhat fewer are alone."""
    shape, data = Mlp(64, 256, 10), digits(draw(5))
    trained, others, similar = data.split(40, 40, 800)
    weights = imprint(shape, similar.images, draw(6))
    gradient = shape.gradient(weights, trained.images, trained.labels)
    found = imprinted(gradient, shape)
    law = alone_share(40, 256)
    assert law == pytest.approx(0.858, abs=1e-3)
    assert recovered_share(trained.images, found) == pytest.approx(law, abs=0.2)
    assert recovered_share(others.images, found) == 0.0


def test_peak_signal_to_noise_is_in_decibels_and_capped():
    image = np.full(64, 0.5)
    assert psnr(image, image) == 120.0
    assert psnr(image, image + 0.1) == pytest.approx(20.0)
    assert psnr(image, np.full(64, 7.0)) == pytest.approx(-20 * np.log10(0.5))
    assert psnr(image, np.full(64, np.nan)) == psnr(image, np.zeros(64))
    assert best_psnr(image, np.zeros((0, 64))) == 0.0
    with pytest.raises(ConfigurationError, match="compare alike"):
        psnr(image, np.zeros(63))


@given(st.integers(0, 50))
def test_structural_similarity_is_one_for_the_same_and_symmetric(seed):
    one, other = draw(seed).fractions(64), draw(seed + 1000).fractions(64)
    assert ssim(one, one, 8) == pytest.approx(1.0)
    assert ssim(one, other, 8) == pytest.approx(ssim(other, one, 8))
    assert abs(ssim(one, other, 8)) < 0.9


def test_structural_similarity_is_the_formula_in_each_window():
    one, other = draw(1).fractions(8, 8), draw(2).fractions(8, 8)
    found = []
    for i in range(2):
        for j in range(2):
            x, y = one[i : i + 7, j : j + 7].ravel(), other[i : i + 7, j : j + 7].ravel()
            both = np.cov(x, y)
            above = (2 * x.mean() * y.mean() + 1e-4) * (2 * both[0, 1] + 9e-4)
            below = (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (both[0, 0] + both[1, 1] + 9e-4)
            found.append(above / below)
    assert ssim(one, other, 8) == pytest.approx(np.mean(found))
    with pytest.raises(ConfigurationError, match="window = 8"):
        ssim(one, other, 8, window=8)


def test_a_search_finds_what_a_division_does_not():
    """A network of sigmoids on one image; the control searches for another image's gradient."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Sigmoid(), torch.nn.Linear(32, 10)
    ).double()
    source = draw(8)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = source.normals(*parameter.shape) / np.sqrt(parameter.shape[-1])
            parameter.copy_(torch.tensor(drawn))
    data = digits(draw(9)).take(slice(0, 2))
    shape = (1, 8, 8)
    found = []
    for i in range(2):
        one = data.images[i : i + 1].reshape(1, *shape)
        gradient = module_gradient(model, one, data.labels[i : i + 1])
        search = Search(steps=200)
        inverted = search.invert(model, gradient, data.labels[i : i + 1], shape, draw(10))
        found.append(psnr(data.images[0], inverted.reshape(-1)))
    assert found[0] > 25
    assert found[1] < 15


def test_what_cannot_be_searched_is_refused(monkeypatch):
    torch = pytest.importorskip("torch")
    labels = np.array([1])
    with pytest.raises(ConfigurationError, match="no parameter that is trained"):
        module_gradient(torch.nn.Flatten(), np.zeros((1, 4)), labels)
    model = torch.nn.Linear(4, 3).double()
    with pytest.raises(ConfigurationError, match="has 15 parameters"):
        Search(steps=1).invert(model, np.zeros(3), labels, (2, 2), draw())
    with pytest.raises(ConfigurationError, match="steps = 0"):
        Search(steps=0)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    with pytest.raises(ConfigurationError, match="not finite"):
        module_gradient(model, np.ones((1, 4)), labels)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"fedprivacy\[torch\]"):
        module_gradient(model, np.ones((1, 4)), labels)


def test_images_are_dealt_by_the_seed_and_need_scikit_learn(monkeypatch):
    one, same, other = digits(draw(1)), digits(draw(1)), digits(draw(2))
    assert np.array_equal(one.images, same.images)
    assert not np.array_equal(one.labels, other.labels)
    assert (one.images.min(), one.images.max(), len(one)) == (0.0, 1.0, 1797)
    with pytest.raises(ConfigurationError, match="1798 images where there are 1797"):
        one.split(1798)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"fedprivacy\[demo\]"):
        digits(draw(1))
