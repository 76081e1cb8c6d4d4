"""Federated analytics: what a query function answers reaches the server in a sum alone."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from fedprivacy.errors import BudgetExhausted, ConfigurationError, RoundAborted
from fedprivacy.flower import (
    histogram_reply,
    privacy_mod,
    secure_histogram,
    secure_mean,
    secure_quantile,
    secure_sum,
    vector_reply,
)
from fedprivacy.flower.records import Answer, unpack
from fedprivacy.ledger import BudgetKey, BudgetLedger, ReservationState
from fedprivacy.rounds import Plan
from flower_loop import CURIOUS, FIRST_NODE, INPUT, KEYS, PLAN, lost

UNIFORM = PLAN.replace('weights = "summed"\nmax_units_per_client = 100', 'weights = "uniform"')
COUNTS = UNIFORM.replace("clip = 1.0", "clip = 50.0")
QUICK = COUNTS.replace('"secagg"', '"plain"').replace("malicious", "honest-but-curious")
PATIENTS = (
    COUNTS.replace('unit = "client"', 'unit = "patient"')
    .replace("clip = 50.0", "clip = 1.0")
    .replace("value_bits = 20", "value_bits = 16\nmax_units_per_client = 64")
)
NOISE = """
[noise]
trust = "distributed"
noise_multiplier = 1.0
epsilon = 40.0
delta = 1e-5
rounds = 6
"""
EDGES = [0.0, 20.0, 40.0, 60.0, 80.0]


def ages(part):
    return np.random.default_rng(part).uniform(10, 90, size=20)


class Asked:
    """Nodes of an app with one query function of a test's own."""

    def __init__(self, house, function, plan=UNIFORM, action=None, **options):
        self.home = house(plan=plan, **options)
        self.replies, self.seen = [], []
        app = ClientApp(mods=[privacy_mod])

        def query(message, context):
            self.seen.append(message)
            return function(message, int(context.node_config["partition-id"]))

        (app.query(action) if action else app.query())(query)
        self.home.grid.apps = dict.fromkeys(self.home.nodes, app)
        delivered = self.home.grid.delivered
        self.home.grid.delivered = lambda m: self.replies.extend(got := delivered(m)) or got

    def __call__(self, kind, **options):
        options = {"phase_timeout": 0.5, "directory": self.home.directory, **options}
        return kind(self.home.grid, self.home.plan, **options)

    def bound(self, length, weight):
        return self.home.plan.pipeline(length, 4).quantisation_bound(weight)


def histogram(message, part):
    return histogram_reply(message, ages(part))


def counted(edges, parts=range(4)):
    values = np.concatenate([ages(part) for part in parts])
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]


# ------------------------------------------------------------------ sums


def test_a_sum_is_that_of_the_clipped_vectors(house):
    vectors = np.random.default_rng(0).normal(size=(4, 3)) * [[0.1], [0.2], [1.0], [5.0]]
    asked = Asked(house, lambda message, part: vector_reply(message, vectors[part]))
    total = asked(secure_sum, length=3, config={"day": 3})
    clipped = [v * min(1.0, 1.0 / np.linalg.norm(v)) for v in vectors]
    apart = np.max(np.abs(total.sum - np.sum(clipped, axis=0)))
    assert 0 < apart < asked.bound(3, 4) + 1e-12
    assert total.weight == 4
    assert [message.content["config"]["day"] for message in asked.seen] == [3] * 4
    assert np.array_equal(asked(secure_mean, length=3).shape, (3,))


def test_what_a_node_answers_has_one_size_and_no_other_record(house):
    asked = Asked(house, lambda message, part: vector_reply(message, np.full(3, 0.2 * part)))
    asked(secure_sum, length=3)
    for start in range(4, len(asked.replies), 4):
        phase = asked.replies[start : start + 4]
        sizes = [[len(frame) for frame in unpack(r.content, Answer).frames] for r in phase]
        assert all(s == sizes[0] for s in sizes)
    assert all(set(reply.content) == {"fedprivacy"} for reply in asked.replies)
    assert len(asked.replies) == 4 * (1 + 5)


def test_the_same_query_unasked_by_a_sum_is_withheld(house):
    asked = Asked(house, lambda message, part: vector_reply(message, np.ones(3)))
    message = Message(RecordDict({"config": ConfigRecord()}), FIRST_NODE, "query")
    assert set(asked.home.grid.answer(message).content) == {"fedprivacy.withheld"}
    assert not asked.seen


def test_a_function_is_asked_by_its_action(house):
    asked = Asked(house, lambda m, part: vector_reply(m, [0.5]), plan=QUICK, action="age")
    assert asked(secure_sum, length=1, query="age").sum == pytest.approx([2.0], abs=1e-3)
    with pytest.raises(ConfigurationError, match="no node takes part"):
        asked(secure_sum, length=1)


def test_a_mean_is_weighted_by_what_clients_count(house):
    asked = Asked(
        house, lambda m, part: vector_reply(m, [part / 4], num_examples=part + 1), plan=CURIOUS
    )
    mean = asked(secure_mean)
    expected = np.average(np.arange(4) / 4, weights=np.arange(4) + 1)
    assert mean == pytest.approx([expected], abs=asked.bound(1, 10) / 10 + 1e-12)


def test_a_sum_survives_a_node_that_is_lost(house):
    asked = Asked(house, lambda message, part: vector_reply(message, [0.1 * part]))
    asked.home.grid.faults[asked.home.nodes[3]][INPUT] = lost
    total = asked(secure_sum, length=1, timeout=0.05)
    assert total.sum == pytest.approx([0.3], abs=1e-3)
    assert total.weight == 3


def test_a_query_without_a_sum_says_why(house):
    asked = Asked(house, lambda message, part: vector_reply(message, [0.1]))
    for node in asked.home.nodes[:2]:
        asked.home.grid.faults[node] = {KEYS: lost, KEYS + 1: lost}
    with pytest.raises(RoundAborted, match=r"\(too-few\)"):
        asked(secure_sum, length=1, phase_timeout=0.05)


# ------------------------------------------------------------------ histograms and quantiles


@pytest.mark.parametrize("plan", [COUNTS, PATIENTS], ids=["client", "patient"])
def test_a_histogram_counts_all_values(house, plan):
    asked = Asked(house, histogram, plan=plan)
    found = asked(secure_histogram, edges=EDGES)
    assert found == pytest.approx(counted(EDGES), abs=asked.bound(4, 4) + 1e-9)
    assert found.sum() == pytest.approx(80, abs=0.1)


def test_values_beyond_the_edges_and_those_that_are_none(house):
    values = [-5.0, 20.0, 80.0, 1000.0, np.nan, np.inf]
    asked = Asked(house, lambda message, part: histogram_reply(message, values), plan=QUICK)
    assert asked(secure_histogram, edges=EDGES) / 4 == pytest.approx([1, 1, 0, 3], abs=1e-2)


@pytest.mark.parametrize("q", [0.13, 0.87])  # of 80 values no whole number
def test_a_quantile_is_in_the_interval_that_is_found(house, q):
    asked = Asked(house, histogram, plan=QUICK)
    found = asked(secure_quantile, q=q, low=0.0, high=128.0, steps=7)
    assert (found.high - found.low, found.rounds) == (1.0, 7)
    values = np.sort(np.concatenate([ages(part) for part in range(4)]))
    assert found.low <= values[int(np.ceil(q * len(values))) - 1] <= found.high


# ------------------------------------------------------------------ noise and budget


def test_each_query_is_charged_and_noised(house, nodes_folder):
    asked = Asked(house, histogram, plan=PATIENTS + NOISE)
    place = nodes_folder / "budget.db"
    found = asked(secure_histogram, edges=EDGES, ledger=place)
    apart = np.abs(found - counted(EDGES))
    # Noise of deviation 1 in each of four bins: all this close have a chance of (0.02 * 0.4) ** 4.
    assert np.max(apart) > 0.01
    assert np.max(apart) < 10
    asked(secure_quantile, q=0.5, low=0.0, high=100.0, steps=2, ledger=place)
    with BudgetLedger(place, clock=lambda: 0) as ledger:
        budget = ledger.budget(BudgetKey("toy", "patient"))
    assert budget.attempts[ReservationState.SETTLED] == 1 + 2


def test_a_budget_that_ends_on_the_way_leaves_a_wider_interval(house, nodes_folder, caplog):
    text, place = PATIENTS + NOISE, nodes_folder / "budget.db"
    asked = Asked(house, histogram, plan=text)
    asked(secure_histogram, edges=EDGES, ledger=place)
    with BudgetLedger(place, clock=lambda: 0) as ledger:
        once = ledger.budget(BudgetKey("toy", "patient")).charged
    asked.home.plan = Plan.parse(text.replace("epsilon = 40.0", f"epsilon = {2.2 * once}"))
    other = nodes_folder / "other.db"
    found = asked(secure_quantile, q=0.5, low=0.0, high=64.0, steps=6, ledger=other)
    assert 2 <= found.rounds < 6
    assert found.high - found.low == 64.0 / 2**found.rounds
    assert "the quantile is known after" in caplog.text
    with pytest.raises(BudgetExhausted, match="is above the budget's"):
        asked(secure_histogram, edges=EDGES, ledger=other)


def test_a_function_that_fails_under_noise_gives_zeros(house, caplog):
    def fails(message, part):
        raise ValueError("the patient is Erika Mustermann")

    asked = Asked(house, fails, plan=PATIENTS + NOISE)
    found = asked(secure_histogram, edges=EDGES, ledger=":memory:")
    assert np.max(np.abs(found)) < 10
    assert not any("Mustermann" in repr(reply) for reply in asked.replies)


# ------------------------------------------------------------------ what does not fit


@pytest.mark.parametrize(
    ("plan", "kind", "options", "remedy"),
    [
        (PLAN, secure_sum, {"length": 1}, "set weights = uniform"),
        (PLAN, secure_histogram, {"edges": EDGES}, "set weights = uniform"),
        (UNIFORM, secure_sum, {"length": 0}, "at least 1"),
        (UNIFORM, secure_sum, {"length": 1, "directory": None}, "pass directory="),
        (UNIFORM, secure_histogram, {"edges": [1.0]}, "at least two"),
        (UNIFORM, secure_histogram, {"edges": [1.0, 1.0]}, "ascending"),
        (PATIENTS, secure_mean, {}, "set it to the number"),
        (PATIENTS + NOISE, secure_histogram, {"edges": EDGES}, "pass ledger="),
        (UNIFORM, secure_quantile, {"q": 1.0, "low": 0, "high": 1}, "the median is 0.5"),
        (UNIFORM, secure_quantile, {"q": 0.5, "low": 1, "high": 1}, "ascending"),
        (UNIFORM, secure_quantile, {"q": 0.5, "low": 0, "high": 1, "steps": 0}, "at least 1"),
        (PATIENTS + NOISE, secure_quantile, {"q": 0.5, "low": 0, "high": 1}, "each step is a"),
        (UNIFORM, secure_sum, {"length": 1, "nodes": []}, "no node is connected"),
    ],
)
def test_what_does_not_fit_is_refused_before_anyone_is_asked(house, plan, kind, options, remedy):
    asked = Asked(house, histogram, plan=plan)
    with pytest.raises(ConfigurationError, match=remedy):
        asked(kind, **options)
    assert not asked.home.grid.pushes
