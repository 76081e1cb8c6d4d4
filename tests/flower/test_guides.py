"""What README and guides show of Flower runs as it stands, and what it replaces is Flower's."""

import ast
import importlib
import re

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.serverapp.strategy import Strategy

from fedprivacy.flower.app_edits import _PLAN
from fedprivacy.ledger import BudgetLedger, ReservationState

GUIDES = ("docs/from-secaggplus-workflow.md", "docs/from-flower-dp-wrappers.md")


def blocks(path, language):
    text = path.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def half(diff, mark):
    """The module before (`-`) or after (`+`)."""
    return "".join(
        line[1:] or "\n" for line in diff.splitlines(True) if line[0] in (mark, " ", "\n")
    )


def module(text, path):
    """As if it were unpacked there, with the ledger's folder beside it."""
    names = {"__name__": "guide", "__file__": str(path)}
    text = text.replace("/var/lib/fedprivacy", str(path.parents[1]))
    exec(compile(text, "guide", "exec"), names)
    return names


def run(home, server, client, monkeypatch, folder, plan):
    """The arrays after each round, as they were broadcast or handed back."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # Flower's SuperLink was started anywhere
    (folder / "privacy.toml").write_text(plan)
    app = folder / "app"
    home.grid.apps = dict.fromkeys(home.nodes, module(client, app / "client_app.py")["app"])
    results, start = [], Strategy.start

    def watched(self, *args, **options):
        results.append(start(self, *args, **options))
        return results[-1]

    monkeypatch.setattr(Strategy, "start", watched)
    module(server, app / "server_app.py")["app"](home.grid, Context(1, 0, {}, RecordDict(), {}))
    assert not list(elsewhere.iterdir())
    (result,) = results
    (weights,) = result.arrays.to_numpy_ndarrays()
    return weights


def test_the_readmes_app_runs(project, house, monkeypatch, tmp_path):
    server, client = (b for b in blocks(project / "README.md", "python") if "flwr" in b)
    plan = _PLAN.format(name='"readme"')
    weights = run(house(plan=plan), server, client, monkeypatch, tmp_path, plan)
    assert np.all(weights > 0.01)  # FedAdam's own steps, in the direction of 0.1


def test_the_guide_from_secaggplus_runs(project, house, monkeypatch, tmp_path):
    guide = project / GUIDES[0]
    server, client = (half(diff, "+") for diff in blocks(guide, "diff"))
    (plan,) = blocks(guide, "toml")
    home = house(plan=plan)
    weights = run(home, server, client, monkeypatch, tmp_path, plan)
    bound = 3 * home.plan.pipeline(10, 4).quantisation_bound(80) / 80
    assert 0 < np.max(np.abs(weights - 0.3)) < bound < 0.05


def test_the_guide_from_the_dp_wrappers_runs(project, house, monkeypatch, tmp_path):
    guide = project / GUIDES[1]
    server, client = (half(diff, "+") for diff in blocks(guide, "diff"))
    (plan,) = blocks(guide, "toml")
    weights = run(house(plan=plan), server, client, monkeypatch, tmp_path, plan)
    # Deviation at least sqrt(3) / 4 in each: all ten this close have a chance below 1e-20.
    assert np.max(np.abs(weights - 0.3)) > 0.001
    with BudgetLedger(tmp_path / "budget.db", clock=lambda: 0) as ledger:
        (budget,) = ledger.budgets()
    assert budget.attempts[ReservationState.SETTLED] == 3


@pytest.mark.parametrize("guide", GUIDES)
def test_what_is_replaced_is_flowers_own(project, guide):
    for diff in blocks(project / guide, "diff"):
        for node in ast.walk(ast.parse(half(diff, "-"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flwr"):
                found = importlib.import_module(node.module)
                assert all(hasattr(found, alias.name) for alias in node.names)
