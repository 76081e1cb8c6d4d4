"""A user's own torch module: through inversion and LiRA by one command, or one clear line."""

import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fedprivacy.attacks.drawing import Draw  # noqa: E402 - only where torch is
from fedprivacy.attacks.models import Layers, Mlp  # noqa: E402
from fedprivacy.attacks.scenario import Scenario  # noqa: E402
from fedprivacy.attacks.torch_models import TorchShape  # noqa: E402
from fedprivacy.attacks.worlds import OwnWorld  # noqa: E402
from fedprivacy.cli import main  # noqa: E402
from fedprivacy.errors import ConfigurationError  # noqa: E402
from fedprivacy.randomness import InsecureTestRng  # noqa: E402
from fedprivacy.rounds import Plan  # noqa: E402

LINES = """
import torch
from sklearn.datasets import load_digits
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Sigmoid(), nn.Linear(24, 10))

def load():
    digits = load_digits()
    return digits.images[:, None] / 8 - 1, digits.target

def table():
    return load()[0].reshape(-1, 64), load()[1]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Writes a module of the user's, and gives its name; no two tests share one."""
    monkeypatch.chdir(tmp_path)
    made = []

    def write(text):
        name = f"users_{len(made)}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


def run(capsys, *words):
    with pytest.raises(SystemExit) as exit_:
        main(["attack", "run", *map(str, words)])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_inversion_of_an_own_model_by_one_command(place, capsys):
    name = place(LINES)
    code, out, err = run(
        capsys,
        *("inverting-gradients", "--model", f"{name}:net", "--data", f"{name}:load"),
        *("--seed", 1, "--option", "steps=80", "--json"),
    )
    assert code == 0, err
    plain, secagg, noisy, aware = json.loads(out)
    (told,) = plain["measured"]
    # Inputs from -1 to 1 are brought to [0, 1] before they are compared.
    assert told["target"] > 15
    assert told["control"] < 9
    assert secagg["measured"][0]["target"] < 12
    assert noisy["measured"][0]["target"] < 9
    assert aware["measured"][0]["target"] < 12
    assert [p["label"] for p in told["pictures"]] == ["original", "recovered", "control"]
    assert "expected.json" not in err


def test_lira_on_an_own_model_by_one_command(place, capsys, project):
    name = place(LINES)
    code, out, err = run(
        capsys,
        *("lira", "--model", f"{name}:net", "--data", f"{name}:table", "--seed", 1, "--json"),
        *("--plan", project / "attacks/plans/secagg-dp-averaging.toml"),
        *("--option", "rounds=3", "--option", "shadows=4", "--option", "steps=40"),
        *("--option", "rate=2", "--option", "examples=6"),
    )
    assert code == 0, err
    secagg, yours = json.loads(out)
    assert (secagg["setting"], yours["setting"]) == ("secagg", "your plan")
    assert secagg["measured"][0]["target"] > 0.6
    (told,) = yours["measured"]
    assert told["target"] <= told["bound"]


def test_the_example_is_twenty_lines_and_loads(project, monkeypatch):
    folder = project / "examples" / "own-model"
    assert len((folder / "my_model.py").read_text("utf-8").splitlines()) <= 20
    monkeypatch.chdir(folder)
    world = OwnWorld.load("my_model:net", "my_model:load")
    assert (world.classes, world.shape, world.span) == (10, (1, 8, 8), (0.0, 1.0))
    sys.modules.pop("my_model")


def test_a_seed_gives_one_model_and_leaves_torch_as_it_was(place):
    name = place(LINES)
    world = OwnWorld.load(f"{name}:net", f"{name}:load")
    before = torch.get_rng_state()
    first, again, other = (
        TorchShape(world.module(Draw(InsecureTestRng(seed)))).start for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_many_torch_models_are_the_small_network_many_times():
    shape, draw = Mlp(5, 4, 3), Draw(InsecureTestRng(3))
    module = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    flat = shape.initial(draw, 2, 3) + 0.1 * draw.normals(2, 3, shape.length)
    inputs, labels = draw.normals(2, 3, 6, 5), draw.below(3, 36).reshape(2, 3, 6)
    in_torch = TorchShape(module)
    assert in_torch.length == shape.length
    for ours, theirs in (
        (shape.gradient(flat, inputs, labels), in_torch.gradient(flat, inputs, labels)),
        (shape.log_probabilities(flat, inputs), in_torch.log_probabilities(flat, inputs)),
        (shape.losses(flat, inputs, labels), in_torch.losses(flat, inputs, labels)),
        # What everybody is asked, and one model alone.
        (shape.losses(flat, inputs[0, 0], labels[0, 0]),) * 2,
        (
            shape.losses(flat[0, 0], inputs[0, 0], labels[0, 0]),
            in_torch.losses(flat[0, 0], inputs[0, 0], labels[0, 0]),
        ),
        (
            shape.log_probabilities(flat[0], inputs[0, 0]),
            in_torch.log_probabilities(flat[0], inputs[0, 0]),
        ),
    ):
        assert theirs == pytest.approx(ours, abs=1e-5)
    layers = shape.layers(flat[0, 0])
    assert isinstance(layers, Layers)


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ("net", "load:x:y", "no entry point|has no function"),
        ("nowhere.at.all:net", "{}:load", "No module named"),
        ("{}:nothing", "{}:load", "has no function nothing"),
        ("{}:number", "{}:load", "gave int: return a torch.nn.Module"),
        ("{}:bare", "{}:load", "no parameter that is trained"),
        ("{}:cut", "{}:load", "follow no parameter"),
        ("{}:narrow", "{}:load", "does not take inputs of shape"),
        ("{}:two", "{}:load", "gives 2 scores where the highest label is 9"),
        ("{}:fails", "{}:load", "ValueError: not today"),
        ("{}:net", "{}:single", "gave no pair"),
        ("{}:net", "{}:uneven", "with labels of shape"),
        ("{}:net", "{}:whole", "not finite floats"),
        ("{}:net", "{}:broken", "not finite floats"),
        ("{}:net", "{}:real", "no whole numbers"),
        ("{}:net", "{}:few", "3 examples, at least 16"),
    ],
)
def test_what_cannot_be_attacked_is_one_clear_line(place, model, data, said):
    name = place(
        LINES
        + """
import numpy as np
def number(): return 3
def bare(): return nn.Flatten()
class Cut(nn.Module):
    def __init__(self): super().__init__(); self.of = net()
    def forward(self, x): return self.of(x).detach()
def cut(): return Cut()
def narrow(): return nn.Linear(3, 10)
def two(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
def fails(): raise ValueError("not today")
def single(): return load()[0]
def uneven(): return load()[0], load()[1][:-1]
def whole(): return np.ones((20, 64), dtype=int), np.ones(20, dtype=int)
def broken(): return load()[0] * np.nan, load()[1]
def real(): return load()[0], load()[1] * 1.0
def few(): return load()[0][:3], load()[1][:3]
"""
    )
    with pytest.raises(ConfigurationError, match=said) as caught:
        OwnWorld.load(model.format(name), data.format(name))
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_not_meant_for_own_models_says_so(place, project, capsys):
    name = place(LINES)
    world = ("--model", f"{name}:net", "--data", f"{name}:load")
    for words, said in (
        (("analytic", *world), "of your model, inverting-gradients"),
        (("lira", "--model", f"{name}:net"), "--model and --data belong together"),
        (("--suite", "quick", *world), "--model goes with one attack"),
        (("lira", "--option", "steps"), "--option steps: write NAME=NUMBER"),
        (("lira", "--option", "step=3"), "--option.step is not an option: did you mean steps?"),
        (("lira", *world, "--plan", project / "examples/hospitals/privacy.toml"), "unit = patient"),
    ):
        code, _, err = run(capsys, *words)
        assert (code, len(err.splitlines()[-1:])) == (2, 1)
        assert said in err


def test_a_plan_of_ones_own_caps_the_rounds_that_it_allows(project):
    scenario = Scenario.from_toml(project / "attacks/lira/scenario.toml")
    text = (project / "attacks/plans/secagg-dp-averaging.toml").read_text("utf-8")
    changed = scenario.against(Plan.parse(text.replace("rounds = 100", "rounds = 3")))
    assert changed.is_changed
    assert not scenario.is_changed
    assert changed.settings[1].options["rounds"] == 3
    assert changed.settings[0] == scenario.settings[0]


def test_a_gradient_that_is_not_finite_is_one_clear_line():
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.fill_(float("nan"))
    shape = TorchShape(module)
    with pytest.raises(ConfigurationError, match="gradient is not finite: mend the model or the"):
        shape.gradient(shape.start, np.ones((3, 2)), np.zeros(3, dtype=np.int64))


def test_a_model_that_cannot_be_run_side_by_side_is_refused(place):
    class Choosy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.only = torch.nn.Linear(2, 2)

        def forward(self, x):
            found = self.only(x)
            return found if found.sum() > 0 else -found

    shape = TorchShape(Choosy())
    with pytest.raises(ConfigurationError, match="side by side"):
        shape.log_probabilities(np.ones((2, shape.length)), np.ones((3, 2)))
