"""What rounds cost, across runs: reserved before anyone is asked, and the end of a run."""

import logging

import numpy as np
import pytest
from flwr.app import MetricRecord
from flwr.serverapp.strategy import FedAdam, FedAvg

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower import PrivateStrategy
from fedprivacy.flower.terms import Terms
from fedprivacy.ledger import BudgetKey, BudgetLedger, ReservationState
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import RunRecord
from fedprivacy.rounds.privacy import release_of, round_event
from flower_loop import KEYS, NOISY, SHARES, lost, model, vector

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}
POISSON = (
    NOISY.replace('weights = "uniform"', 'weights = "uniform"\npublic_weight = 4')
    .replace('trust = "distributed"', 'trust = "server"')
    .replace("malicious", "honest-but-curious")
    .replace('"secagg"', '"plain"')
    + '[sampling]\nscheme = "poisson"\nrate = 0.8\n'
)


def epsilon_of(home, rounds):
    from fedprivacy.accounting import epsilon_of

    release = release_of(home.plan, round_event(home.plan, 4, len(vector(model()))), rounds)
    return epsilon_of([release], home.plan.noise.delta, home.plan.dataset.adjacency).epsilon


def start(home, ledger, *, rounds=1, inner=None, evaluate_fn=None, **options):
    strategy = PrivateStrategy(
        FedAvg(**NODES) if inner is None else inner,
        plan=home.plan,
        directory=home.directory,
        ledger=ledger,
        phase_timeout=options.pop("phase_timeout", 1.0),
        **options,
    )
    return strategy.start(
        home.grid, model(), num_rounds=rounds, timeout=1.0, evaluate_fn=evaluate_fn
    )


def opened(place):
    return BudgetLedger(place, clock=lambda: 0)


def test_a_ledger_remembers_what_runs_spent(house, nodes_folder):
    home, place = house(plan=NOISY), nodes_folder / "budget.db"
    for _ in range(2):
        start(home, f"sqlite:///{place}")
    with opened(place) as ledger:
        budget = ledger.budget(BudgetKey("toy", "client"))
        assert budget.attempts[ReservationState.SETTLED] == 2
        assert budget.charged == pytest.approx(epsilon_of(home, 2), rel=0.02)
    key = place.with_name("budget.db.operator.key")
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ledger", ["budget.db", "sqlite:///budget.db", "{}/budget.db"])
def test_where_the_ledger_is_stands_in_the_log(house, nodes_folder, monkeypatch, caplog, ledger):
    home = house(plan=NOISY)
    monkeypatch.chdir(nodes_folder)
    with caplog.at_level(logging.INFO, "flwr"):
        start(home, ledger.format(nodes_folder))
    (line,) = (r.getMessage() for r in caplog.records if "ledger" in r.getMessage())
    assert str(nodes_folder.resolve() / "budget.db") in line
    assert ("(given as budget.db)" in line) == ("{}" not in ledger)


def test_a_databases_password_stands_in_no_log(house, nodes_folder):
    home = house(plan=NOISY)
    terms = Terms.of(
        home.plan,
        directory=home.directory,
        ledger="postgresql+psycopg://me:p@ss@db.example.org/ledger?password=word",
        operator_key=nodes_folder / "operator.key",
        folder=None,
        phase_timeout=1.0,
        weighted_by="num-examples",
        runs_any_app=True,
        rng=InsecureTestRng(1),
    )
    assert terms.kept_at == "postgresql+psycopg://db.example.org/ledger"


def test_a_budget_that_is_spent_ends_the_run_with_its_result(house, nodes_folder, caplog):
    home = house(plan=NOISY)
    most = (epsilon_of(home, 2) + epsilon_of(home, 3)) / 2
    home = house_with(home, epsilon=most)
    seen = []
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(
            home,
            nodes_folder / "budget.db",
            rounds=6,
            inner=FedAdam(**NODES),
            evaluate_fn=lambda number, arrays: seen.append(number) or MetricRecord({"n": number}),
            folder=nodes_folder / "run",
        )
    assert seen == [0, 1, 2]
    assert set(result.evaluate_metrics_serverapp) == {0, 1, 2}
    assert not np.array_equal(vector(result.arrays), vector(model()))
    assert len(home.grid.pushes) == 1 + 2 * 5
    assert "no further round takes place" in caplog.text
    record = RunRecord.from_json((nodes_folder / "run" / "record.json").read_text())
    assert [r.outcome for r in record.rounds] == ["sum", "sum", "refused"]
    assert record.rounds[-1].budget.epsilon <= most


def house_with(home, *, epsilon):
    """The same nodes under a plan with this budget; their policies bound no epsilon."""
    import msgspec

    noise = msgspec.structs.replace(home.plan.noise, epsilon=epsilon)
    home.plan = msgspec.structs.replace(home.plan, noise=noise)
    return home


def test_no_more_rounds_take_place_than_the_noise_is_for(house):
    home = house(plan=NOISY.replace("rounds = 10", "rounds = 1"))
    start(home, ":memory:", rounds=3)
    assert len(home.grid.pushes) == 1 + 5


def test_an_attempt_in_which_nobody_was_asked_to_unmask_costs_nothing(house, nodes_folder):
    home, place = house(plan=NOISY), nodes_folder / "budget.db"
    for node in home.nodes[:2]:
        home.grid.faults[node] = {KEYS: lost, SHARES: lost}
    start(home, place, phase_timeout=0.05)
    with opened(place) as ledger:
        budget = ledger.budget(BudgetKey("toy", "client"))
        assert budget.attempts[ReservationState.VOIDED] == 2
        assert budget.charged == 0.0


def test_a_plan_of_another_adjacency_is_not_charged_to_the_same_budget(house, nodes_folder):
    home, place = house(plan=NOISY), nodes_folder / "budget.db"
    start(home, place)
    other = NOISY.replace('unit = "client"', 'unit = "client"\nadjacency = "replace-one"')
    home.plan = type(home.plan).parse(other)
    with pytest.raises(ConfigurationError, match=r"plan\.dataset\.adjacency = replace-one"):
        start(home, place)


# ------------------------------------------------------------------ samples


def test_a_plan_that_draws_clients_leaves_no_drawing_to_the_strategy(house):
    home = house(plan=POISSON)
    with pytest.raises(ConfigurationError, match=r"set fraction_train = 1\.0"):
        start(home, ":memory:", inner=FedAvg(fraction_train=0.5))


def test_each_round_asks_those_whose_coin_says_so(house, nodes_folder):
    home = house(plan=POISSON, nodes=6)
    nodes = {**NODES, "min_train_nodes": 6, "min_available_nodes": 6}
    start(
        home,
        ":memory:",
        rounds=6,
        inner=FedAvg(**nodes),
        folder=nodes_folder / "run",
        rng=InsecureTestRng(1),
    )
    record = RunRecord.from_json((nodes_folder / "run" / "record.json").read_text())
    asked = [set(r.attempts[0].survivors) for r in record.rounds]
    assert len(set(map(len, asked))) > 1
    assert all(r.weight == 4 for r in record.rounds if r.outcome == "sum")
