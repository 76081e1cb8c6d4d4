"""The hospitals' patients: the same for one seed, all dealt once, unevenly, within the bounds."""

import sys
import tomllib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.shipped import shipped_path
from fedprivacy.simulation.dealing import FeatureScale
from fedprivacy.simulation.hospitals import deal_hospitals
from fedprivacy.simulation.logistic import Descent, accuracy, initial_weights, unit_gradients

JOB = tomllib.loads(shipped_path("examples/hospitals/job.toml").read_text("utf-8"))
SCALES = msgspec.convert(JOB["data"]["features"], tuple[FeatureScale, ...])


def deal(seed=1, hospitals=20, held_out=0.25, scales=SCALES):
    return deal_hospitals(hospitals, held_out=held_out, scales=scales, rng=InsecureTestRng(seed))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(7, 71))
def test_every_patient_is_dealt_exactly_once(seed, hospitals):
    dealt = deal(seed, hospitals)
    assert len(dealt.clients) == hospitals
    sizes = [len(patients) for patients in dealt.clients.values()]
    assert sum(sizes) == 426
    assert min(sizes) >= 6
    assert max(sizes) <= 64
    assert len(dealt.held_out) == 143
    rows = np.vstack([dealt.held_out.features, *(p.features for p in dealt.clients.values())])
    assert len(np.unique(rows, axis=0)) == 569


@pytest.mark.parametrize("seed", range(5))
def test_hospitals_differ_and_the_held_out_are_like_the_whole(seed):
    dealt = deal(seed)
    shares = [patients.labels.mean() for patients in dealt.clients.values()]
    assert min(shares) < 0.2
    assert max(shares) > 0.8
    assert len({len(patients) for patients in dealt.clients.values()}) > 5
    assert dealt.held_out.majority == 90 / 143


def test_one_seed_deals_the_same_hands():
    one, same, other = deal(1), deal(1), deal(2)
    first = "hospital-01"
    assert np.array_equal(one.clients[first].features, same.clients[first].features)
    assert not np.array_equal(one.held_out.features, other.held_out.features)


def test_the_constants_put_the_published_range_on_minus_one_to_three():
    dealt = deal()
    everyone = np.vstack([dealt.held_out.features, *(p.features for p in dealt.clients.values())])
    # The published table is rounded to three digits, coarse for the smallest of the measures.
    assert everyone.min() > -1.2
    assert everyone.max() < 3.05


@pytest.mark.parametrize("seed", range(1, 6))
def test_ten_rounds_of_the_examples_descent_classify_the_held_out(seed):
    dealt = deal(seed)
    held_out = dealt.held_out
    model = JOB["model"]
    descent = Descent.start(
        initial_weights(30), learning_rate=model["learning_rate"], momentum=model["momentum"]
    )
    patients = sum(len(p) for p in dealt.clients.values())
    for _ in range(JOB["rounds"]):
        total = np.zeros(31)
        for p in dealt.clients.values():
            rows = unit_gradients(descent.weights, p.features, p.labels)
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            total += (rows / np.maximum(norms, 1.0)).sum(axis=0)
        descent = descent.step(total / patients)
    assert accuracy(descent.weights, held_out.features, held_out.labels) >= 0.93


def test_faults_name_clients_and_rounds_that_the_job_has():
    names = set(deal(hospitals=JOB["clients"]).clients)
    drops = JOB["faults"]["drop"]
    assert {d["client"] for d in drops} <= names
    assert {d["round"] for d in drops} <= set(range(1, JOB["rounds"] + 1))
    assert {d["before"] for d in drops} == {"keys", "shares", "input", "consistency", "unmasking"}


@pytest.mark.parametrize("hospitals", [0, 6, 72])
def test_a_number_of_hospitals_that_does_not_fit_is_refused(hospitals):
    with pytest.raises(
        ConfigurationError, match=f"clients = {hospitals}: 426 patients make 7 to 71"
    ):
        deal(hospitals=hospitals)


@pytest.mark.parametrize("held_out", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_that_is_none_is_refused(held_out):
    with pytest.raises(ConfigurationError, match=r"data\.held_out"):
        deal(held_out=held_out)


def test_scales_must_be_the_data_sets_and_usable():
    with pytest.raises(ConfigurationError, match="must name the data set's 30 features"):
        deal(scales=SCALES[:-1])
    for bad in (FeatureScale("mean radius", 0.0, 0.0), FeatureScale("mean radius", np.inf, 1.0)):
        with pytest.raises(ConfigurationError, match="mean radius has centre"):
            deal(scales=(bad, *SCALES[1:]))


def test_without_scikit_learn_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedprivacy\[demo\]'"):
        deal()
