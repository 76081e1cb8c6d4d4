"""The examples for Flower, in this process."""

import importlib
import json
import shutil
import sys

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from fedprivacy.ledger import BudgetKey, BudgetLedger, ReservationState


@pytest.fixture
def modules(monkeypatch):
    """Imports an app's two modules from its folder."""

    def load(folder, package):
        monkeypatch.syspath_prepend(str(folder))
        return [importlib.import_module(f"{package}.{part}_app") for part in ("server", "client")]

    before = set(sys.modules)
    yield load
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("digits", "practices", "quickstart"):
            del sys.modules[name]


def test_ten_practices_say_how_old_their_patients_are(project, tmp_path, house, modules, capsys):
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    app = shutil.copytree(project / "examples/flower/analytics-histogram", tmp_path / "app")
    file = app / "practices/server_app.py"
    file.write_text(file.read_text().replace("steps=6", "steps=2"))
    home = house(plan=(app / "privacy.toml").read_text(), nodes=10)
    server, client = modules(app, "practices")
    home.grid.apps = dict.fromkeys(home.nodes, client.app)
    context = Context(1, 0, {}, RecordDict(), {"nodes": str(home.files.folder)})
    server.app(home.grid, context)
    *bins, median = capsys.readouterr().out.splitlines()
    ages = datasets.load_diabetes(scaled=False).data[:, 0]
    exact = np.histogram(ages, server.DECADES)[0]
    found = np.array([float(line.split()[-2]) for line in bins])
    # Deviation 4 * sqrt(10 / 7): the chance that one of seven is 8 of them away is below 1e-14.
    assert np.all(np.abs(found - exact) < 40)
    low, high = float(median.split()[4]), float(median.split()[6])
    assert high - low == 16
    # Noise leads a step astray only where the counts are close, which is near the median.
    assert low - 4 < np.median(ages) < high + 4
    with BudgetLedger(home.files.folder / "budget.db", clock=lambda: 0) as ledger:
        budget = ledger.budget(BudgetKey("diabetes-ages", "patient"))
    assert budget.attempts[ReservationState.SETTLED] == 1 + 2
    assert 0 < budget.charged < budget.terms.epsilon


@pytest.mark.parametrize(
    ("rounds", "least"), [(2, 0.2), pytest.param(20, 0.8, marks=pytest.mark.nightly)]
)
def test_ten_clients_learn_digits(project, house, modules, capsys, rounds, least):
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    pytest.importorskip("opacus", reason="needs the extra torch")
    app = project / "examples/flower/torch-digits"
    home = house(plan=(app / "privacy.toml").read_text(), nodes=10)
    server, client = modules(app, "digits")
    home.grid.apps = dict.fromkeys(home.nodes, client.app)
    config = {"nodes": str(home.files.folder), "rounds": rounds}
    server.app(home.grid, Context(1, 0, {}, RecordDict(), config))
    (line,) = capsys.readouterr().out.splitlines()
    first, *_, last = json.loads(line.partition(": ")[2])
    assert last > max(first, least)
    with BudgetLedger(home.files.folder / "budget.db", clock=lambda: 0) as ledger:
        budget = ledger.budget(BudgetKey("handwritten-digits", "digit"))
    assert budget.attempts[ReservationState.SETTLED] == rounds
    assert 0 < budget.charged < budget.terms.epsilon
