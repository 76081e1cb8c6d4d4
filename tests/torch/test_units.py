import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.dp import Clip, NonFinite, PerUnit
from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.simulation import logistic
from fedprivacy.torch import parameters_of, unit_gradients
from fedprivacy.vector import FixedPoint, Layout, Pipeline, Rounding, Update, Weights

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("opacus", reason="needs the extra torch")
nn = torch.nn


def log_loss(outputs, targets):
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], targets, reduction="none")


def cross_entropy(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def regression(seed, features=4):
    torch.manual_seed(seed)
    return nn.Linear(features, 1).double()


def small_net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3)
    )


def pictures(count):
    torch.manual_seed(2)
    return torch.randn(count, 1, 8, 8), torch.randint(0, 3, (count,))


def one_backward_pass_each(model, loss, inputs, targets):
    rows = []
    for i in range(len(inputs)):
        model.zero_grad()
        loss(model(inputs[i : i + 1]), targets[i : i + 1]).sum().backward()
        named = sorted(model.named_parameters())
        rows.append(torch.cat([p.grad.flatten() for _, p in named if p.requires_grad]).numpy())
    return np.array(rows)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(1, 5), st.integers(1, 9))
def test_logistic_regression_is_its_closed_form(seed, records, units, batch):
    draw = np.random.default_rng(seed)
    features, labels = draw.normal(size=(records, 4)), draw.integers(0, 2, records).astype(float)
    key = draw.integers(0, units, records) * 7 - 3
    model = regression(seed)
    found = unit_gradients(
        model,
        log_loss,
        torch.from_numpy(features),
        torch.from_numpy(labels),
        unit_key=key,
        batch=batch,
    )
    bias, weight = (a.ravel() for a in parameters_of(model).values())
    each = logistic.unit_gradients(np.append(weight, bias), features, labels)[:, [4, 0, 1, 2, 3]]
    assert found.keys.tolist() == sorted(set(key.tolist()))
    assert found.rows.shape == (len(found.keys), 5)
    for unit, row in zip(found.keys, found.rows, strict=True):
        np.testing.assert_allclose(row, each[key == unit].mean(axis=0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_convolution_is_a_loop_of_backward_passes(batch):
    model, (inputs, targets) = small_net(), pictures(10)
    each = one_backward_pass_each(model, cross_entropy, inputs, targets)
    key = np.array([3, 1, 3, 3, 2, 1, 2, 3, 9, 1])
    found = unit_gradients(model, cross_entropy, inputs, targets, unit_key=key, batch=batch)
    assert found.rows.dtype == np.float32
    wanted = [each[key == unit].mean(axis=0) for unit in (1, 2, 3, 9)]
    np.testing.assert_allclose(found.rows, wanted, rtol=1e-4, atol=1e-6)


def test_frozen_tied_and_unused_parameters_are_taken_as_they_are():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.twice, self.unused = (nn.Linear(3, 3) for _ in range(3))
            self.frozen.requires_grad_(requires_grad=False)

        def forward(self, x):
            return self.twice(torch.tanh(self.twice(self.frozen(x))))

    torch.manual_seed(3)
    model, inputs, targets = Odd(), torch.randn(5, 3), torch.randint(0, 3, (5,))
    found = unit_gradients(model, cross_entropy, inputs, targets, unit_key=np.arange(5))
    assert list(parameters_of(model)) == [
        "twice.bias",
        "twice.weight",
        "unused.bias",
        "unused.weight",
    ]
    model.unused.requires_grad_(requires_grad=False)
    each = one_backward_pass_each(model, cross_entropy, inputs, targets)
    np.testing.assert_allclose(found.rows[:, :12], each, rtol=1e-5, atol=1e-7)
    assert not found.rows[:, 12:].any()


def test_the_rows_go_through_per_unit_in_the_models_own_layout():
    model, (inputs, targets) = small_net(), pictures(6)
    layout = Layout.of(parameters_of(model))
    found = unit_gradients(
        model, cross_entropy, inputs, targets, unit_key=np.array([0, 0, 1, 1, 1, 2])
    )
    unit = PerUnit(Clip(0.5), FixedPoint(24, Rounding.CONDITIONAL), max_units=3)
    pipeline = Pipeline.of(layout.length, unit, weights=Weights.UNIFORM)
    encoded = np.asarray(pipeline.encode(Update(found.rows), rng=InsecureTestRng(0)))
    back = layout.unflatten(pipeline.decode(encoded, clients=1).sum)
    norms = np.linalg.norm(found.rows.astype(float), axis=1, keepdims=True)
    wanted = layout.unflatten((found.rows * np.minimum(1, 0.5 / norms)).sum(axis=0))
    for name, array in parameters_of(model).items():
        assert back[name].shape == array.shape
        np.testing.assert_allclose(back[name], wanted[name], atol=1e-5)


def test_a_record_that_is_not_finite_spoils_its_own_units_row_alone():
    model, (inputs, targets) = small_net(), pictures(6)
    key = np.array([0, 0, 1, 1, 2, 2])
    clean = unit_gradients(model, cross_entropy, inputs, targets, unit_key=key)
    inputs[3, 0, 4, 4] = float("nan")
    found = unit_gradients(model, cross_entropy, inputs, targets, unit_key=key)
    assert np.isnan(found.rows[1]).any()
    np.testing.assert_array_equal(found.rows[[0, 2]], clean.rows[[0, 2]])
    layers = PerUnit(Clip(1.0, NonFinite.ZERO), FixedPoint(24), max_units=3)
    pipeline = Pipeline.of(found.rows.shape[1], layers, weights=Weights.SUMMED)
    assert np.asarray(pipeline.encode(Update(found.rows), rng=InsecureTestRng(0))).any()


def test_the_model_is_left_as_it_is():
    model, (inputs, targets) = small_net().eval(), pictures(4)
    before = parameters_of(model)
    unit_gradients(model, cross_entropy, inputs, targets, unit_key=np.arange(4))
    assert not model.training
    assert not hasattr(model, "autograd_grad_sample_hooks")
    assert all(p.grad is None and not hasattr(p, "grad_sample") for p in model.parameters())
    assert all(np.array_equal(before[n], a) for n, a in parameters_of(model).items())


class Folded(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x.reshape(-1, 3)).reshape(len(x), -1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), r"BatchNorm.*ModuleValidator\.fix"),
        (nn.Linear(6, 3).requires_grad_(requires_grad=False), "no parameter that is trained"),
        (nn.Flatten(), "no parameter that is trained"),
        (nn.Linear(6, 3).half(), r"model\.bias is float16 on cpu .* model\.float\(\)"),
        (nn.Linear(6, 3, device="meta"), r"model\.bias is float32 on meta"),
        (Folded(), r"model\.linear\.bias has gradients of shape .* first dimension"),
    ],
)
def test_a_module_without_gradients_of_its_own_is_refused(model, words):
    inputs, targets = torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ConfigurationError, match=words) as caught:
        unit_gradients(model, cross_entropy, inputs, targets, unit_key=np.arange(4))
    assert "\n" not in str(caught.value)


def test_what_opacus_mends_is_taken():
    from opacus.validators import ModuleValidator

    model = ModuleValidator.fix(nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32)))
    inputs, targets = torch.randn(4, 6), torch.zeros(4, dtype=torch.int64)
    assert unit_gradients(model, cross_entropy, inputs, targets, unit_key=np.arange(4)).rows.any()


@pytest.mark.parametrize(
    ("loss", "key", "batch", "words"),
    [
        (nn.CrossEntropyLoss(), np.arange(4), 2, r'gives shape \(\) .* pass reduction="none"'),
        (lambda o, _: o, np.arange(4), 2, r"gives shape \(2, 3\) for 2 examples"),
        (cross_entropy, np.arange(3), 2, r"unit_key is int64 of shape \(3,\)"),
        (cross_entropy, np.zeros(4), 2, r"unit_key is float64 .* number the units"),
        (cross_entropy, np.arange(4), 0, r"batch = 0 is not a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(loss, key, batch, words):
    inputs, targets = torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ConfigurationError, match=words):
        unit_gradients(nn.Linear(6, 3), loss, inputs, targets, unit_key=key, batch=batch)


def test_inputs_and_targets_of_different_numbers_are_refused():
    with pytest.raises(ConfigurationError, match=r"inputs have shape \(4, 6\) and targets \(3,\)"):
        unit_gradients(
            nn.Linear(6, 3),
            cross_entropy,
            torch.zeros(4, 6),
            torch.zeros(3, dtype=torch.int64),
            unit_key=np.arange(4),
        )


def test_without_opacus_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedprivacy\[torch\]'"):
        unit_gradients(
            nn.Linear(6, 3),
            cross_entropy,
            torch.zeros(0, 6),
            torch.zeros(0),
            unit_key=np.zeros(0, dtype=int),
        )
