"""The closed-form gradient is the derivative of the loss, and the descent is what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.simulation.logistic import Descent, accuracy, initial_weights, unit_gradients


def loss(weights, features, label):
    logit = features @ weights[:-1] + weights[-1]
    return np.logaddexp(0.0, logit) - label * logit


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6))
def test_each_row_is_the_numerical_derivative_of_that_patients_loss(seed, patients, features):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=features + 1)
    x = rng.normal(size=(patients, features))
    y = rng.integers(0, 2, size=patients).astype(float)
    found = unit_gradients(weights, x, y)
    assert found.shape == (patients, features + 1)
    assert found.dtype == np.float64
    h = 1e-6
    for i in range(patients):
        for j in range(features + 1):
            step = np.zeros(features + 1)
            step[j] = h
            slope = (loss(weights + step, x[i], y[i]) - loss(weights - step, x[i], y[i])) / (2 * h)
            assert found[i, j] == pytest.approx(slope, abs=1e-6)


def test_a_hopeless_logit_saturates_instead_of_overflowing():
    found = unit_gradients(np.array([1e6, 0.0]), np.array([[1.0], [-1.0]]), np.array([0.0, 1.0]))
    assert np.array_equal(found, [[1.0, 1.0], [1.0, -1.0]])


def test_no_patients_make_no_rows_and_no_accuracy():
    assert unit_gradients(np.zeros(3), np.zeros((0, 2)), np.zeros(0)).shape == (0, 3)
    assert np.isnan(accuracy(np.zeros(3), np.zeros((0, 2)), np.zeros(0)))


def test_accuracy_counts_patients_on_the_right_side():
    features = np.array([[2.0], [-1.0], [3.0], [-4.0]])
    assert accuracy(np.array([1.0, 0.0]), features, np.array([1.0, 0.0, 0.0, 0.0])) == 0.75


def test_the_descent_is_heavy_ball():
    start = Descent.start(initial_weights(1), learning_rate=0.5, momentum=0.25)
    first = start.step(np.array([2.0, -4.0]))
    second = first.step(np.array([1.0, 1.0]))
    assert np.array_equal(start.weights, [0.0, 0.0])
    assert np.array_equal(first.weights, [-1.0, 2.0])
    assert np.array_equal(second.velocity, [1.5, 0.0])
    assert np.array_equal(second.weights, [-1.75, 2.0])
