"""The patients of each hospital, dealt as in `fedprivacy demo`, and the model's own steps."""

from __future__ import annotations

from functools import cache

import numpy as np

from fedprivacy.randomness import InsecureTestRng
from fedprivacy.shipped import shipped_path
from fedprivacy.simulation.dealing import Population
from fedprivacy.simulation.job import Job
from fedprivacy.simulation.logistic import accuracy, initial_weights, unit_gradients

__all__ = ["HOSPITALS", "accuracy_of", "first_weights", "steps"]

HOSPITALS = 20


@cache
def population() -> Population:
    """Who has which patients: the same on every machine."""
    job = Job.from_toml(shipped_path("examples/hospitals/job.toml"))
    return job.file.data.deal(HOSPITALS, rng=InsecureTestRng(job.file.seed))


def first_weights() -> np.ndarray:
    """Zeros."""
    return initial_weights(population().held_out.features.shape[1])


def steps(number: int, nodes: int, weights: np.ndarray) -> np.ndarray:
    """The weights after a step on each patient of a node, counted from 0: a row a patient.

    With fewer nodes than hospitals a node stands for every so-many-th of them.
    """
    here = list(population().clients.values())[number::nodes]
    return np.concatenate(
        [weights - unit_gradients(weights, own.features, own.labels) for own in here]
    )


def accuracy_of(weights: np.ndarray) -> float:
    """The share of right answers on patients of no hospital."""
    held_out = population().held_out
    return accuracy(weights, held_out.features, held_out.labels)
