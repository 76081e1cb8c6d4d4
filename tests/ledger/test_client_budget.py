import dataclasses
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from budgets import PlainSum, ZcdpAccountant, gaussian, pure
from fedprivacy.crypto import SigningKey
from fedprivacy.errors import (
    BudgetExhausted,
    ConfigurationError,
    PeerError,
    PolicyRefused,
    Reason,
)
from fedprivacy.ledger import (
    BudgetTerms,
    Charge,
    ClientBudget,
    ClientHistory,
    ClientStore,
    DatasetCharges,
    Once,
    SignedHead,
)

RUN, OTHER_RUN = b"r" * 16, b"s" * 16
TERMS = BudgetTerms("replace-one", 5.0, 1e-5)
BUDGET = ClientBudget("data.csv", "cohort-7", "patient", TERMS)
HERE = Path(__file__).parent
OPERATOR, OTHER = SigningKey.from_seed(b"o" * 32), SigningKey.from_seed(b"x" * 32)


@pytest.fixture(params=["memory", "file"])
def store(request, path):
    with ClientStore(":memory:" if request.param == "memory" else path) as opened:
        yield opened


def charge(*costs, budget=BUDGET):
    return Charge.of(budget, map(pure, costs), PlainSum())


def named(**other):
    terms = msgspec.structs.replace(TERMS, adjacency=other.pop("adjacency", TERMS.adjacency))
    return dataclasses.replace(BUDGET, terms=terms, **other)


def charged(store, budget=BUDGET):
    return store.charged(budget, PlainSum())


def is_spent(store, run, number, attempt):
    """Whether the mark stands; makes it where it does not."""
    try:
        store.mark_spent(run, number, attempt)
    except PeerError as error:
        return error.reason is Reason.SPENT
    return False


def test_a_round_is_charged_as_its_input_leaves(store):
    assert charged(store) == 0
    store.mark_spent(RUN, 1, 1, charge=charge(2))
    assert charged(store) == 2
    store.mark_spent(RUN, 2, 1)  # a round that tells nothing of any unit
    assert charged(store) == 2


def test_runs_add_up(store):
    store.mark_spent(RUN, 1, 1, charge=charge(2))
    store.mark_spent(OTHER_RUN, 1, 1, charge=charge(2))
    assert charged(store) == 4


def test_attempts_at_one_round_are_charged_once_unless_they_tell_more(store):
    store.mark_spent(RUN, 1, 1, charge=charge(2))
    store.mark_spent(RUN, 1, 2, charge=charge(2))
    assert charged(store) == 2
    store.mark_spent(RUN, 1, 3, charge=charge(1, 1))  # less noise, perhaps
    assert charged(store) == 4


def test_an_attempt_already_charged_goes_on_where_nothing_is_left(store):
    store.mark_spent(RUN, 1, 1, charge=charge(5))
    store.mark_spent(RUN, 1, 2, charge=charge(5))
    with pytest.raises(BudgetExhausted):
        store.mark_spent(RUN, 2, 1, charge=charge(1))


def test_a_round_that_exceeds_the_budget_leaves_no_mark_and_no_charge(store):
    store.mark_spent(RUN, 1, 1, charge=charge(3))
    with pytest.raises(BudgetExhausted) as caught:
        store.mark_spent(RUN, 2, 1, charge=charge(3))
    assert str(caught.value) == (
        'policy.budget."cohort-7".epsilon = 6 with round 2 is above the budget\'s 5 at '
        "delta = 1e-05: take part no more, or raise the budget in this client's own policy"
    )
    assert charged(store) == 3
    assert not is_spent(store, RUN, 2, 1)


def test_what_was_sent_already_is_charged_no_second_time(store):
    store.mark_spent(RUN, 1, 1, charge=charge(2))
    for once_in in Once:
        with pytest.raises(PeerError) as caught:
            store.mark_spent(RUN, 1, 1, once_in=once_in, charge=charge(3))
        assert caught.value.reason is Reason.SPENT
    with pytest.raises(PeerError):
        store.mark_spent(RUN, 1, 2, once_in=Once.ROUND, charge=charge(3))
    assert charged(store) == 2


def test_whether_a_round_is_affordable_is_known_before_it_is_joined(store):
    store.check_affordable(charge(5), RUN, 1)
    store.mark_spent(RUN, 1, 1, charge=charge(3))
    store.check_affordable(charge(2), RUN, 2)
    with pytest.raises(BudgetExhausted, match=r"epsilon = 6 with round 2 is above"):
        store.check_affordable(charge(3), RUN, 2)
    with pytest.raises(PolicyRefused):
        store.check_affordable(charge(1, budget=named(dataset="cohort-8")), RUN, 2)
    assert charged(store) == 3


def test_a_round_that_is_charged_is_affordable_at_its_later_attempts(store):
    store.mark_spent(RUN, 1, 1, charge=charge(5))
    store.check_affordable(charge(5), RUN, 1)
    for other in ((RUN, 2), (OTHER_RUN, 1)):
        with pytest.raises(BudgetExhausted):
            store.check_affordable(charge(5), *other)
    with pytest.raises(BudgetExhausted):  # with less noise it is another release
        store.check_affordable(charge(1), RUN, 1)


@pytest.mark.parametrize(
    ("renamed", "key", "pinned"),
    [
        ({"dataset": "cohort-7b"}, "plan.dataset.id", "cohort-7"),
        ({"unit": "visit"}, "plan.dataset.unit", "patient"),
        ({"adjacency": "add-or-remove-one"}, "plan.dataset.adjacency", "replace-one"),
        ({"source": "moved.csv", "unit": "visit"}, "plan.dataset.unit", "patient"),
    ],
)
def test_data_under_another_name_is_refused(store, renamed, key, pinned):
    store.mark_spent(RUN, 1, 1, charge=charge(1))
    with pytest.raises(PolicyRefused) as caught:
        store.mark_spent(RUN, 2, 1, charge=charge(1, budget=named(**renamed)))
    assert (caught.value.reason, caught.value.path) == (Reason.POLICY_DATASET, key)
    assert caught.value.floor == pinned
    assert charged(store) == 1
    assert not is_spent(store, RUN, 2, 1)


def test_what_was_only_asked_pins_nothing(store):
    store.check_affordable(charge(1), RUN, 9)
    store.mark_spent(RUN, 1, 1, charge=charge(1, budget=named(dataset="cohort-8")))
    with pytest.raises(PolicyRefused):
        store.check_affordable(charge(1), RUN, 9)


def test_two_files_of_one_data_set_share_its_budget_and_two_data_sets_do_not(store):
    store.mark_spent(RUN, 1, 1, charge=charge(3))
    moved = named(source="moved.csv")
    with pytest.raises(BudgetExhausted):
        store.mark_spent(RUN, 2, 1, charge=charge(3, budget=moved))
    store.mark_spent(RUN, 2, 1, charge=charge(1, budget=moved))
    assert charged(store) == charged(store, moved) == 4
    other = named(source="other.csv", dataset="cohort-8")
    store.mark_spent(RUN, 3, 1, charge=charge(5, budget=other))
    assert (charged(store), charged(store, other)) == (4, 5)


def test_events_are_composed_and_not_their_epsilons(store):
    wide = dataclasses.replace(BUDGET, terms=msgspec.structs.replace(TERMS, epsilon=50.0))
    for number in range(1, 5):
        one = Charge.of(wide, [gaussian(5.0)], ZcdpAccountant())
        store.mark_spent(RUN, number, 1, charge=one)
    whole = ZcdpAccountant().epsilon([gaussian(5.0, count=4)], TERMS)
    assert store.charged(wide, ZcdpAccountant()) == pytest.approx(whole)


def test_the_charge_outlives_the_process(path):
    with ClientStore(path) as store:
        store.mark_spent(RUN, 1, 1, charge=charge(4))
    with ClientStore(path) as store:
        assert charged(store) == 4
        with pytest.raises(BudgetExhausted):
            store.mark_spent(RUN, 2, 1, charge=charge(2))


def test_a_store_put_back_to_spend_again_is_refused(path, tmp_path):
    with ClientStore(path) as store:
        store.mark_spent(RUN, 1, 1, charge=charge(2))
        copy = shutil.copy2(path, tmp_path / "copy")
        store.mark_spent(RUN, 2, 1, charge=charge(3))
    shutil.copy2(copy, path)
    with pytest.raises(PolicyRefused) as caught:
        ClientStore(path)
    assert caught.value.reason is Reason.STORE_ROLLED_BACK


def test_the_chain_tells_one_charge_from_another(tmp_path):
    # One store, copied before it is charged: each charge leads to a chain of its own.
    first = tmp_path / "store-0"
    ClientStore(first, anchor=tmp_path / "anchors" / "0").close()
    heads = set()
    variants = [None, charge(1), charge(2), charge(1, 1)]
    variants += [charge(1, budget=named(source="b")), charge(1, budget=named(unit="b"))]
    for place, variant in enumerate(variants, start=1):
        path = tmp_path / f"store-{place}"
        shutil.copy2(first, path)
        anchor = tmp_path / "anchors" / str(place)
        shutil.copy2(tmp_path / "anchors" / "0", anchor)
        with ClientStore(path, anchor=anchor) as store:
            store.mark_spent(RUN, 1, 1, charge=variant)
        heads.add(msgspec.json.decode(anchor.read_bytes())["head"])
    assert len(heads) == len(variants)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"source": ""}, "source"),
        ({"dataset": ""}, "dataset"),
        ({"unit": ""}, "unit"),
        ({"terms": BudgetTerms("replace-one", 0.0, 1e-5)}, r"epsilon = 0.0 is outside \(0, inf"),
        ({"terms": BudgetTerms("replace-one", float("nan"), 1e-5)}, "epsilon = nan is outside"),
        ({"terms": BudgetTerms("replace-one", 1.0, 1.0)}, r"delta = 1.0 is outside \(0, 1.0\)"),
    ],
)
def test_a_budget_that_bounds_nothing_is_refused(wrong, said):
    with pytest.raises(ConfigurationError, match=rf'^policy.budget."[^"]*".{said}'):
        dataclasses.replace(BUDGET, **wrong)


def test_a_charge_of_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="charge nothing"):
        charge()


def test_a_store_of_an_older_schema_is_refused_and_left_alone(path):
    ClientStore(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "UPDATE facts SET value = ? WHERE name = 'schema'", (b"fedprivacy/client-store/1",)
    )
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError) as caught:
        ClientStore(path)
    assert str(caught.value) == (
        f"store = {path} is of schema fedprivacy/client-store/1 where fedprivacy/client-store/5 is "
        "kept: end its runs with the release that made it, and enrol under a new identity and store"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("acknowledged", [0, 1, 7, 20])
def test_no_charge_that_was_told_is_lost_when_the_process_is_killed(path, acknowledged):
    root = HERE.parents[1]
    paths = os.pathsep.join([str(root), str(root / "tests" / "support")])
    charger = subprocess.Popen(
        [sys.executable, str(HERE / "charger.py"), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    with charger:
        assert charger.stdout.readline() == "open\n"
        for number in range(1, acknowledged + 1):
            assert charger.stdout.readline() == f"{number}\n"
        charger.send_signal(signal.SIGKILL)
        said = acknowledged + len(charger.stdout.read().split("\n")) - 1
    with ClientStore(path) as store:
        assert said <= charged(store) <= said + 1
        for number in range(1, said + 1):
            assert is_spent(store, b"run", number, 1)
        # The one that was not told of is either both, marked and charged, or neither.
        assert is_spent(store, b"run", said + 1, 1) == (charged(store) == said + 1)


# --- receipts


def head(number=3, digest=b"h" * 32, key=OPERATOR, ledger=b"l" * 16):
    return SignedHead.sign(key, ledger, number, digest)


def refused(reason, store, signed, operator=OPERATOR):
    with pytest.raises(PeerError) as caught:
        store.keep_head(signed, operator=operator.public)
    assert caught.value.reason is reason


def test_signed_heads_are_kept(store):
    kept = [head(3), head(4), head(7, b"i" * 32), head(1, ledger=b"m" * 16, key=OTHER)]
    for signed, key in zip(kept, [OPERATOR, OPERATOR, OPERATOR, OTHER], strict=True):
        store.keep_head(signed, operator=key.public)
        store.keep_head(signed, operator=key.public)
    assert list(store.heads()) == kept


def test_a_second_history_is_noticed_as_it_arrives(store):
    store.keep_head(head(3), operator=OPERATOR.public)
    refused(Reason.RECEIPT_CHANGED, store, head(3, b"i" * 32))
    refused(Reason.RECEIPT_CHANGED, store, head(4, key=OTHER), OTHER)
    assert store.heads() == (head(3),)


def test_a_head_that_the_operator_did_not_sign_is_not_kept(store):
    refused(Reason.MALFORMED, store, head(key=OTHER))
    refused(Reason.MALFORMED, store, msgspec.structs.replace(head(), number=4))
    assert store.heads() == ()


def test_a_receipt_goes_on_from_a_head_that_is_kept(store):
    store.keep_head(head(3), operator=OPERATOR.public)
    store.keep_receipt(head(5, b"i" * 32), after=b"h" * 32)
    assert store.heads() == (head(3), head(5, b"i" * 32))
    for lie in (
        head(3),
        head(2, b"i" * 32),
        head(7, b"i" * 32, ledger=b"m" * 16),
        head(7, b"i" * 32, key=OTHER),
        head(5, b"j" * 32),
    ):
        with pytest.raises(PeerError) as caught:
            store.keep_receipt(lie, after=b"h" * 32)
        assert caught.value.reason is Reason.RECEIPT_CHANGED
    with pytest.raises(PeerError) as caught:
        store.keep_receipt(msgspec.structs.replace(head(7), number=8), after=b"h" * 32)
    assert caught.value.reason is Reason.MALFORMED
    assert len(store.heads()) == 2


# --- the past


def test_the_past_tells_what_left_and_what_was_charged(store):
    assert store.history() == ClientHistory(0, 0, 0, 0, ())
    store.begin(RUN, 1, 1, b"i" * 32, b"c" * 32, b"t" * 32)
    store.begin(RUN, 1, 2, b"j" * 32, b"c" * 32, b"t" * 32)
    for attempt in (1, 2):
        store.mark_spent(RUN, 1, attempt, charge=charge(2))
    store.mark_answered(RUN, 1, 2, b"c" * 32, ["a", "b"], 2)
    store.mark_spent(OTHER_RUN, 1, 1, charge=charge(1, budget=named(source="more.csv")))
    store.mark_spent(OTHER_RUN, 2, 1)
    store.mark_spent(
        OTHER_RUN, 3, 1, charge=charge(1, budget=named(source="b.csv", dataset="cohort-8"))
    )
    past = store.history()
    assert (past.begun, past.sent, past.uncharged, past.answered) == (2, 4, 1, 1)
    first, second = past.charges
    assert first == DatasetCharges(
        dataset="cohort-7",
        unit="patient",
        adjacency="replace-one",
        sources=("data.csv", "more.csv"),
        runs=2,
        rounds=2,
        spends=(pure(2), pure(1)),
    )
    assert first.epsilon(PlainSum(), TERMS) == charged(store) == 3
    assert (second.dataset, second.rounds, second.sources) == ("cohort-8", 1, ("b.csv",))
