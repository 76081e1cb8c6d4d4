"""DP-SGD on one client. Statistical tests: false alarm 1e-6 each, fixed seeds."""

import math
import sys
import warnings
from functools import partial

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from fedprivacy.accounting import epsilon_of
from fedprivacy.claims import claim_of
from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.torch import DpSgd, LocalTraining, parameters_of, train_privately
from fedprivacy.vector import Layout

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("opacus", reason="needs the extra torch")
nn = torch.nn

PLAIN = partial(torch.optim.SGD, lr=1.0)
ONE_STEP = DpSgd(
    clip=0.5, noise_multiplier=2.0, sample_rate=1.0, steps=1, expected_batch=1, delta=1e-5
)


def squares(outputs, targets):
    return ((outputs - targets[:, None]) ** 2).sum(dim=1)


def changed(**changes):
    kept = {name: getattr(ONE_STEP, name) for name in DpSgd.__dataclass_fields__}
    return DpSgd(**{**kept, **changes})


def trained(inputs, targets, settings=ONE_STEP, *, seed=0, model=None, batch=64, loss=squares):
    torch.manual_seed(0)
    return train_privately(
        model or nn.Linear(inputs.shape[1], 1).double(),
        loss,
        inputs,
        targets,
        settings=settings,
        optimizer=PLAIN,
        rng=InsecureTestRng(seed),
        batch=batch,
    )


def flat(result):
    return np.concatenate([a.ravel() for a in result.difference.values()])


def examples(count, features=3, seed=5):
    draw = torch.Generator().manual_seed(seed)
    pair = [torch.randn(*s, generator=draw) for s in ((count, features), (count,))]
    return [t.double() for t in pair]


def test_the_noise_has_the_deviation_that_is_counted():
    none, size = torch.zeros(0, 20_000), 20_001
    model = nn.Linear(20_000, 1)
    noise = flat(trained(none, torch.zeros(0), model=model)).astype(float)
    half = 1e-6 / 2
    low, high = chi2.ppf(half, size), chi2.isf(half, size)
    assert low < (noise**2).sum() / (2.0 * 0.5) ** 2 < high
    assert abs(noise.sum()) / math.sqrt(size) < 4.9  # standard errors of the mean


def test_each_step_adds_its_own_noise_divided_by_the_public_batch():
    none, size, steps = torch.zeros(0, 20_000), 20_001, 4
    few = changed(steps=steps, expected_batch=10)
    noise = flat(trained(none, torch.zeros(0), few, model=nn.Linear(20_000, 1))).astype(float)
    low, high = chi2.ppf(5e-7, size), chi2.isf(5e-7, size)
    assert low < (noise**2).sum() / (steps * 0.1**2) < high


@settings(max_examples=25)
@given(st.integers(0, 12), st.floats(-1e6, 1e6), st.integers(1, 5))
def test_one_more_example_moves_a_step_by_at_most_the_clip(count, scale, batch):
    # Of one rng the noise is the same, and no divisor tells how many there are.
    inputs, targets = examples(count + 1)
    inputs[-1] *= scale
    with_it = flat(trained(inputs, targets, batch=batch))
    without = flat(trained(inputs[:-1], targets[:-1], batch=batch))
    assert np.linalg.norm(with_it - without) <= 0.5 * (1 + 1e-9) + 1e-12


def test_a_long_gradient_moves_it_by_all_of_the_clip():
    inputs, targets = examples(3)
    inputs[-1] *= 1e4
    moved = flat(trained(inputs, targets)) - flat(trained(inputs[:-1], targets[:-1]))
    assert np.linalg.norm(moved) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_an_example_that_is_not_finite_counts_as_zero(bad):
    inputs, targets = examples(4)
    clean = flat(trained(inputs, targets))
    spoilt = torch.cat([inputs, torch.full((1, 3), bad, dtype=torch.float64)])
    found = flat(trained(spoilt, torch.cat([targets, targets[:1]])))
    np.testing.assert_allclose(found, clean, rtol=1e-12, atol=1e-12)


def test_the_parts_of_a_batch_make_no_difference():
    inputs, targets = examples(40)
    sampled = changed(sample_rate=0.5, steps=7, noise_multiplier=1.0)
    whole = flat(trained(inputs, targets, sampled))
    np.testing.assert_allclose(flat(trained(inputs, targets, sampled, batch=3)), whole, rtol=1e-9)


def test_coins_and_noise_come_from_the_rng_alone():
    inputs, targets = examples(40)
    sampled = changed(sample_rate=0.5, steps=3)
    one, same, other = (trained(inputs, targets, sampled, seed=s) for s in (1, 1, 2))
    assert np.array_equal(flat(one), flat(same))
    assert not np.isclose(flat(one), flat(other)).any()


def test_examples_are_drawn_at_the_rate_that_is_counted():
    drawn = []

    def counting(outputs, targets):
        drawn.append(len(outputs))
        return squares(outputs, targets)

    inputs, targets = torch.zeros(400, 1), torch.zeros(400)
    quarter = changed(sample_rate=0.25, steps=100, noise_multiplier=5.0)
    trained(inputs, targets, quarter, model=nn.Linear(1, 1), batch=400, loss=counting)
    # 40,000 coins: the count is within 4.9 deviations, and batches differ in size as coins do.
    assert abs(sum(drawn) - 10_000) < 4.9 * math.sqrt(40_000 * 0.25 * 0.75)
    spread = sum((d - 100) ** 2 for d in drawn) / (400 * 0.25 * 0.75)
    assert chi2.ppf(5e-7, 100) < spread < chi2.isf(5e-7, 100)


def test_the_difference_is_the_update_and_the_model_is_left_as_it_is():
    inputs, targets = examples(6)
    model = nn.Linear(3, 1).double()
    before = parameters_of(model)
    result = trained(inputs, targets, changed(noise_multiplier=0.01), model=model)
    assert all(np.array_equal(before[n], a) for n, a in parameters_of(model).items())
    vector = Layout.of(before).flatten(result.difference)
    # One step of SGD without noise, by hand: each gradient clipped, then summed.
    error = 2 * (inputs.numpy() @ before["weight"][0] + before["bias"][0] - targets.numpy())
    rows = np.column_stack([error, error[:, None] * inputs.numpy()])
    factors = np.minimum(1, 0.5 / np.linalg.norm(rows, axis=1))
    # Four coordinates of deviation 0.005: 5.5 of them at a false alarm of 2e-7.
    np.testing.assert_allclose(vector, -(factors[:, None] * rows).sum(axis=0), atol=5.5 * 0.005)


def test_private_training_learns():
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(2_000, 3, generator=draw)
    targets = inputs @ torch.tensor([1.0, -2.0, 0.5])
    result = train_privately(
        model := nn.Linear(3, 1),
        squares,
        inputs,
        targets,
        settings=changed(clip=5.0, sample_rate=0.1, steps=60, expected_batch=200),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        rng=InsecureTestRng(0),
    )
    weight = parameters_of(model)["weight"] + result.difference["weight"]
    np.testing.assert_allclose(weight, [[1.0, -2.0, 0.5]], atol=0.1)


CASES = [(0.01, 4.0, 10_000, 1e-5), (0.02, 1.0, 500, 1e-6), (1.0, 10.0, 100, 1e-5)]


@pytest.mark.parametrize(("rate", "multiplier", "steps", "delta"), CASES)
def test_epsilon_is_between_opacus_bounds(rate, multiplier, steps, delta):
    from opacus.accountants import PRVAccountant, RDPAccountant

    statement = LocalTraining.of(
        changed(sample_rate=rate, noise_multiplier=multiplier, steps=steps, delta=delta),
        opacus="",
        torch="",
    )
    theirs = {}
    for kind in (RDPAccountant, PRVAccountant):
        accountant = kind()
        accountant.history = [(multiplier, rate, steps)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # opacus takes the log of zero at rate 1
            theirs[kind] = accountant.get_epsilon(delta)
    # All three are upper bounds. Opacus' PRV adds its eps_error (0.01) to an estimate that is off
    # by as much at most, so that epsilon itself is not below it by more than twice that.
    assert statement.epsilon <= theirs[RDPAccountant]
    assert theirs[PRVAccountant] - 2 * 0.01 <= statement.epsilon <= theirs[PRVAccountant] + 1e-3


def test_the_statement_says_what_it_is_of():
    inputs, targets = examples(5)
    sampled = changed(sample_rate=0.5, steps=3)
    statement = trained(inputs, targets, sampled).statement
    assert (statement.unit, statement.adjacency) == ("example", "add-or-remove-one")
    assert (statement.clip, statement.noise_multiplier, statement.steps) == (0.5, 2.0, 3)
    assert statement.noise.startswith("opacus' floats from torch's generator (opacus ")
    assert statement.epsilon == epsilon_of([sampled.release()], 1e-5).epsilon
    assert statement.release() == sampled.release()
    assert "for one example of this client" in str(statement)
    assert "- Noise and clipping are opacus' floats, not exact integers" in str(statement)
    assert claim_of(statement.claim).applies_to
    assert LocalTraining.from_json(statement.to_json()) == statement
    with pytest.raises(AttributeError):
        statement.epsilon = 0.0
    with pytest.raises(msgspec.ValidationError):
        LocalTraining.from_json(statement.to_json().replace('"example"', '"person"'))


def test_a_rate_of_one_is_no_sample():
    assert ONE_STEP.release() != changed(sample_rate=0.999).release()
    assert ONE_STEP.bound().epsilon > changed(sample_rate=0.5).bound().epsilon
    assert not any(
        "batches" in line for line in LocalTraining.of(ONE_STEP, opacus="", torch="").holds
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sample_rate": 0.0}, r"DpSgd\.sample_rate = 0\.0 is outside \(0, 1\]"),
        ({"sample_rate": 1.5}, r"DpSgd\.sample_rate = 1\.5 is outside \(0, 1\]"),
        ({"sample_rate": float("nan")}, r"DpSgd\.sample_rate = nan"),
        ({"sample_rate": True}, r"DpSgd\.sample_rate = True"),
        ({"noise_multiplier": 0.0}, r"DpSgd\.noise_multiplier = 0\.0 is outside"),
        ({"clip": float("inf")}, r"DpSgd\.clip = inf is outside"),
        ({"steps": 0}, r"DpSgd\.steps = 0 is not a whole number"),
        ({"expected_batch": 2.5}, r"DpSgd\.expected_batch = 2\.5 is not a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        changed(**changes)


@pytest.mark.parametrize("delta", [0.0, 1.0, float("nan")])
def test_a_delta_that_is_none_is_refused(delta):
    with pytest.raises(ConfigurationError, match=r"^delta = .* is outside \(0, 1\)"):
        changed(delta=delta).bound()


def test_a_model_that_mixes_examples_is_refused_before_training():
    def never(outputs, targets):
        raise AssertionError

    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    inputs, targets = examples(4)
    with pytest.raises(ConfigurationError, match=r"ModuleValidator\.fix\(model\)"):
        trained(inputs, targets, model=model, loss=never)


def test_a_model_without_parameters_is_refused():
    inputs, targets = examples(4)
    with pytest.raises(ConfigurationError, match="no parameter that is trained"):
        trained(inputs, targets, model=nn.Flatten())


def test_parameters_that_run_away_are_refused():
    inputs, targets = examples(4)
    with pytest.raises(ConfigurationError, match=r"model\.bias is no longer finite .* lower"):
        train_privately(
            nn.Linear(3, 1),
            squares,
            inputs.float(),
            targets.float(),
            settings=changed(noise_multiplier=1e3),
            optimizer=partial(torch.optim.SGD, lr=3e38),
            rng=InsecureTestRng(0),
        )


def test_without_opacus_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    inputs, targets = examples(1)
    with pytest.raises(MissingExtra, match=r"pip install 'fedprivacy\[torch\]'"):
        trained(inputs, targets)


def test_the_generators_whole_state_is_from_the_rng():
    from fedprivacy.torch.training import _generator

    states = [_generator(InsecureTestRng(seed)).get_state().numpy() for seed in (0, 0, 1)]
    assert np.array_equal(states[0], states[1])
    words = [s[24:].view(np.uint64)[:624] for s in states]
    assert (words[0] != words[2]).mean() > 0.99
    draws = [torch.randn(3, generator=_generator(InsecureTestRng(s))).tolist() for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_an_unknown_state_of_the_generator_is_refused(monkeypatch):
    from fedprivacy.torch import training

    monkeypatch.setattr(training, "_STATE_BYTES", 16)
    inputs, targets = examples(1)
    with pytest.raises(ConfigurationError, match="keeps its generator's state in a way"):
        trained(inputs, targets)
