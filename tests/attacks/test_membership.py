"""Membership scores and how they are judged, on data whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedprivacy.attacks.bounds import accuracy_limit, auc_limit, mu_of, power_limit
from fedprivacy.attacks.data import digits
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.membership.federated import Metric, cosine_scores, fedmia_scores
from fedprivacy.attacks.membership.lira import Shadows, confidences, loss_scores
from fedprivacy.attacks.membership.metrics import Separation
from fedprivacy.attacks.membership.training import Averaging
from fedprivacy.attacks.models import Mlp
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan

SHAPE = Mlp(inputs=64, hidden=8, classes=10)
scores = arrays(np.float64, st.integers(1, 12), elements=st.integers(-3, 3).map(float))


def draw(seed=1):
    return Draw(InsecureTestRng(seed))


@given(scores, scores)
def test_the_area_is_the_share_of_pairs_in_order(members, others):
    pairs = np.sign(members[:, None] - others[None, :])
    assert Separation(members, others).auc == pytest.approx((pairs.mean() + 1) / 2)


@given(scores, scores)
def test_a_curve_rises_from_nothing_to_all_and_its_area_is_the_area(members, others):
    found = Separation(members, others)
    alarms, hits = found.curve()
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)
    assert (np.diff(alarms) >= 0).all()
    assert (np.diff(hits) >= 0).all()
    assert np.trapezoid(hits, alarms) == pytest.approx(found.auc)
    assert found.balanced_accuracy >= 0.5


def test_power_is_told_only_where_there_are_others_enough():
    members = np.arange(100) / 100 + 0.5
    found = Separation(members, np.arange(100) / 100)
    assert found.power_at(0.01) == pytest.approx(0.51)
    with pytest.raises(ConfigurationError, match=r"rate of 0\.001: at least 1000"):
        found.power_at(0.001)
    assert "tpr_at_0.01" in found.details()
    assert "tpr_at_0.001" not in found.details()
    with pytest.raises(ConfigurationError, match=r"99 non-members cannot show"):
        Separation(members, np.arange(99)).power_at(0.01)
    assert "tpr_at_0.001" in Separation(members, np.arange(1000) / 900).details()


def test_ties_are_no_power():
    tied = Separation(np.ones(100), np.ones(100))
    assert tied.auc == 0.5
    assert tied.power_at(0.01) == 0.0


def test_a_long_curve_is_told_in_few_points():
    found = Separation(draw().normals(5000) + 1, draw(2).normals(5000))
    points = np.array(found.points())
    assert len(points) <= 201
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(found.auc, abs=0.01)
    assert points[1, 0] < 1e-3


def test_scores_that_judge_nothing_are_refused():
    with pytest.raises(ConfigurationError, match="both are needed"):
        Separation(np.zeros(0), np.zeros(3))
    with pytest.raises(ConfigurationError, match="a NaN"):
        Separation(np.array([np.nan]), np.zeros(3))


def test_confidences_and_losses_are_those_of_the_probabilities():
    weights, data = SHAPE.initial(draw()), digits(draw(2)).take(slice(0, 30))
    p = np.exp(SHAPE.log_probabilities(weights, data.images))[np.arange(30), data.labels]
    found = confidences(SHAPE, weights, data.images, data.labels)
    assert np.allclose(found, np.log(p / (1 - p)))
    assert np.allclose(loss_scores(SHAPE, weights, data.images, data.labels), np.log(p))
    sure = confidences(SHAPE, 400 * weights, data.images, data.labels)
    assert np.isfinite(sure).all()


def lira_world(shift, shadows=32, examples=400):
    """Confidences as the attack assumes them: normal, and `shift` higher for what was trained."""
    source = draw(shift.__hash__())
    centre = 3 * source.normals(examples)
    halves = [source.halves(examples) for _ in range(shadows // 2)]
    inside = np.array([side for half in halves for side in (half, ~half)])
    seen = centre + source.normals(shadows, examples) + shift * inside
    target = source.halves(examples)
    return Shadows(seen, inside), centre + source.normals(examples) + shift * target, target


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_lira_finds_what_was_shifted_and_nothing_else(shift):
    """At no shift areas are 0.5 with a deviation of 0.029: 0.15 off has a chance below 1e-6."""
    shadows, target, included = lira_world(shift)
    for found in (shadows.online(target), shadows.offline(target)):
        area = Separation(found[included], found[~included]).auc
        expected = 0.5 + 0.5 * math.erf(shift / 2)
        assert area == pytest.approx(expected, abs=0.15 if shift == 0 else 0.04)


def test_with_many_shadows_each_example_has_its_own_spread():
    shadows, target, _ = lira_world(1.0, shadows=64)
    few, _, _ = lira_world(1.0, shadows=62)
    assert len(np.unique(few._fit(~few.included)[1])) == 1
    assert len(np.unique(shadows._fit(~shadows.included)[1])) > 300
    assert np.isfinite(shadows.online(target)).all()


def test_an_example_without_shadows_on_one_side_is_refused():
    with pytest.raises(ConfigurationError, match="fewer than 2 on one side"):
        Shadows(np.zeros((4, 2)), np.array([[1, 1], [1, 0], [0, 1], [0, 1]], dtype=bool))


def test_shadow_models_are_what_one_model_alone_would_be():
    training = Averaging(SHAPE, rounds=2, steps=3, rate=0.5, server_rate=1.5, clip=0.8)
    data = digits(draw()).take(slice(0, 48))
    inputs, labels = data.images.reshape(2, 3, 8, 64), data.labels.reshape(2, 3, 8)
    start = SHAPE.initial(draw(3), 2)
    together = training.train(start, inputs, labels)
    for i in range(2):
        weights = start[i]
        for _ in range(2):
            sent = [training.local(weights, inputs[i, c], labels[i, c]) for c in range(3)]
            total = sum(u * min(1.0, 0.8 / np.linalg.norm(u)) for u in sent)
            weights = training.applied(weights, total, 3)
        assert np.allclose(together[i], weights)


def test_the_metric_is_the_inverse_covariance():
    similar, vectors = draw().normals(40, 12) * np.arange(1, 13), draw(2).normals(5, 12)
    metric = Metric(similar)
    centred = similar - similar.mean(axis=0)
    full = np.linalg.inv(centred.T @ centred + metric._ridge * np.eye(12))
    assert np.allclose(metric.lowered(vectors), vectors @ full)
    with pytest.raises(ConfigurationError, match="1 similar gradients"):
        Metric(similar[:1])


def test_gradients_show_membership_in_an_update_and_less_in_a_sum():
    """Areas of 160 a side have a deviation below 0.033 at chance."""
    weights, data = Mlp(64, 32, 10).initial(draw()), digits(draw(2))
    shape = Mlp(64, 32, 10)
    members, others, similar = data.split(160, 160, 800)
    gradients, absent = (
        shape.example_gradients(weights, d.images, d.labels) for d in (members, others)
    )
    metric = Metric(shape.example_gradients(weights, similar.images, similar.labels))
    updates = gradients.reshape(20, 8, -1).mean(axis=1)
    places = [slice(8 * i, 8 * i + 8) for i in range(20)]

    def area(score):
        inside = np.concatenate([score(gradients[p], i) for i, p in enumerate(places)])
        outside = np.concatenate([score(absent[p], i) for i, p in enumerate(places)])
        return Separation(inside, outside).auc

    whole = updates.sum(axis=0)
    open_ = area(lambda g, i: metric.cosines(g, updates[i]))
    summed = area(lambda g, _: metric.cosines(g, whole, 20))
    plain = area(lambda g, i: cosine_scores(g, updates[i]))
    compared = area(lambda g, i: fedmia_scores(g, updates[i], np.delete(updates, i, axis=0)))
    assert open_ > 0.98 > plain > 0.75
    assert compared > 0.75
    assert 0.55 < summed < open_
    with pytest.raises(ConfigurationError, match="1 other updates"):
        fedmia_scores(gradients, whole, updates[:1])
    assert not cosine_scores(np.zeros((2, 3)), np.ones(3)).any()


def test_bounds_follow_from_the_plan(project):
    plans = project / "attacks" / "plans"
    noisy, exact = (Plan.from_toml(plans / f"{n}.toml") for n in ("secagg-dp", "secagg"))
    assert mu_of(exact, 1) is auc_limit(exact, 1, 10, 10) is None
    assert mu_of(noisy, 4) == 2.0
    assert auc_limit(noisy, 1, 10**9, 10**9) == pytest.approx(0.7602, abs=1e-3)
    assert auc_limit(noisy, 1, 100, 100) > auc_limit(noisy, 1, 1000, 1000)
    assert auc_limit(noisy, 100, 10, 10) == 1.0
    many = 10**9, 10**9
    assert power_limit(noisy, 1, 0.01, *many) == pytest.approx(0.0924, abs=1e-3)
    assert accuracy_limit(noisy, 1, *many) == pytest.approx(0.6915, abs=1e-3)
    assert power_limit(exact, 1, 0.01, *many) is accuracy_limit(exact, 1, *many) is None
    assert power_limit(noisy, 1, 0.01, 160, 160) < 0.6
    assert accuracy_limit(noisy, 1, 160, 160) < 0.9


def test_the_best_attack_on_a_gaussian_comes_close_to_its_limits_and_not_above(project):
    """Scores of the likelihood ratio at mu = 1, which no attack exceeds; seeds are fixed."""
    plan = Plan.from_toml(project / "attacks" / "plans" / "secagg-dp.toml")
    for seed in range(20):
        best = Separation(draw(seed).normals(1000) + 1.0, draw(seed + 100).normals(1000))
        counts = 1000, 1000
        assert 0.72 < best.auc <= auc_limit(plan, 1, *counts)
        assert 0.03 < best.power_at(0.01) <= power_limit(plan, 1, 0.01, *counts)
        assert best.power_at(0.001) <= power_limit(plan, 1, 0.001, *counts)
        assert 0.66 < best.balanced_accuracy <= accuracy_limit(plan, 1, *counts)
