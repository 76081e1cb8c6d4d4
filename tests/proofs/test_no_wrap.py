"""Sums within the bound survive the modulus: every vector of small bounds and cohorts."""

import itertools

import numpy as np
import pytest

from fedprivacy.arithmetic import from_residues, modulus_bits, to_residues, word_dtype
from fedprivacy.vector import FixedPoint, Pipeline, Weights

CASES = list(itertools.product(range(1, 6), range(1, 5)))


def every_choice(bound, clients):
    """`(clients, (2 bound + 1)**clients)`: a column for each choice of one value a client."""
    values = np.arange(-bound, bound + 1, dtype=np.int64)
    return np.array(list(itertools.product(values, repeat=clients))).T


def summed(columns, bits):
    """As parties sum: residues, added in the modulus' word with wrap, centred at the end."""
    total = np.zeros(columns.shape[1], dtype=word_dtype(bits))
    for row in columns:
        total += to_residues(np.ascontiguousarray(row), bits).astype(total.dtype)
    return from_residues(total, bits)


@pytest.mark.parametrize(("bound", "clients"), CASES)
def test_no_sum_wraps(bound, clients):
    columns = every_choice(bound, clients)
    assert (summed(columns, modulus_bits(bound * clients)) == columns.sum(axis=0)).all()


@pytest.mark.parametrize(("bound", "clients"), CASES)
def test_one_bit_less_and_some_sum_wraps(bound, clients):
    columns = every_choice(bound, clients)
    less = modulus_bits(bound * clients) - 1
    if less:
        assert (summed(columns, less) != columns.sum(axis=0)).any()


@pytest.mark.parametrize("clients", [1, 2, 3, 20, 1000])
def test_a_pipelines_modulus_is_that_of_its_bound(clients):
    from fedprivacy.dp import Clip

    pipeline = Pipeline.of(3, Clip(1.0), FixedPoint(16), weights=Weights.SUMMED)
    assert pipeline.client_bound == 2**15 - 1
    assert pipeline.modulus_bits(clients) == modulus_bits(clients * pipeline.client_bound)
