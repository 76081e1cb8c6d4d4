import importlib.util
import math
import sqlite3
import stat
import time

import psycopg
import pytest

from budgets import KEY, RUN, ZcdpAccountant, found, gaussian, opened, pure
from fedprivacy.errors import BudgetExhausted, ConfigurationError, MissingExtra
from fedprivacy.ledger import BudgetKey, BudgetLedger, BudgetStatus, PrivacyEvent, Spend
from fedprivacy.ledger import ReservationState as State
from fedprivacy.ledger.budget_entries import Refused
from fedprivacy.randomness import InsecureTestRng

WHO = {"approver": "ethics board", "reason": "study 13"}


@pytest.fixture
def ledger(place):
    with opened(found(place)) as made:
        yield made


def charged(ledger, key=KEY):
    return ledger.budget(key).charged


def test_a_round_is_reserved_at_its_worst_and_settled_at_what_it_was(ledger):
    reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    assert charged(ledger) == 4
    assert ledger.journal_unmasking(reservation).state is State.UNMASKING
    assert charged(ledger) == 4
    settled = ledger.settle(reservation, [pure(1), pure(2)])
    assert (settled.state, settled.spends) == (State.SETTLED, (pure(1), pure(2)))
    budget = ledger.budget(KEY)
    assert (budget.charged, budget.remaining, budget.method) == (3, 7, "sum")
    assert {state: count for state, count in budget.attempts.items() if count} == {State.SETTLED: 1}


def test_an_attempt_that_revealed_nothing_costs_nothing(ledger):
    reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    assert ledger.void(reservation, reason="too few clients").state is State.VOIDED
    assert charged(ledger) == 0
    # The attempt is over: neither can it go on, nor be reserved again.
    for step in (ledger.journal_unmasking, lambda r: ledger.settle(r, [pure(1)])):
        with pytest.raises(ConfigurationError, match=r"^reservation = 2 is voided where only"):
            step(reservation)
    with pytest.raises(ConfigurationError, match="round 1, attempt 1 is reserved as number 2"):
        ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    ledger.reserve(KEY, RUN, 1, 2, [pure(4)])


def test_after_the_unmasking_is_journaled_nothing_is_void(ledger):
    reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    ledger.journal_unmasking(reservation)
    with pytest.raises(ConfigurationError, match=r"is unmasking .* stays charged, settle it"):
        ledger.void(reservation, reason="the result is not wanted")
    assert charged(ledger) == 4
    ledger.settle(reservation, [pure(3)])
    with pytest.raises(ConfigurationError, match="is settled where only"):
        ledger.void(reservation, reason="the result is not wanted")
    with pytest.raises(ConfigurationError, match="is settled where only"):
        ledger.settle(reservation, [pure(1)])
    assert charged(ledger) == 3


def test_nothing_is_settled_before_its_unmasking_is_journaled(ledger):
    reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    with pytest.raises(ConfigurationError, match=r"is reserved where .*: journal the unmasking"):
        ledger.settle(reservation, [pure(1)])
    assert charged(ledger) == 4


def test_the_same_step_again_changes_nothing(ledger):
    # After a crash nobody knows whether the answer or the commit was lost.
    first = ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    second = ledger.reserve(KEY, RUN, 1, 2, [pure(4)])
    for step in (
        lambda: ledger.journal_unmasking(first),
        lambda: ledger.settle(first, [pure(1), pure(1)]),
        lambda: ledger.void(second, reason="too few clients"),
    ):
        done = step()
        head = ledger.head()
        assert step() == done
        assert ledger.head() == head


def test_what_would_exceed_the_budget_is_refused_with_a_row_and_nothing_else(ledger):
    ledger.reserve(KEY, RUN, 1, 1, [pure(6)])
    before, _ = ledger.head()
    with pytest.raises(BudgetExhausted) as caught:
        ledger.reserve(KEY, RUN, 2, 1, [pure(5)])
    assert str(caught.value) == (
        'budget."cohort-7".patient.epsilon = 11 with round 2, attempt 1 is above the budget\'s 10 '
        "at delta = 1e-05: stop here, add noise, or have the budget amended"
    )
    assert caught.value.exit_code == 4
    assert ledger.head()[0] == before + 1
    last = ledger.history().entries[-1]
    assert isinstance(last, Refused)
    assert (last.would_be, last.request.round) == (11, 2)
    budget = ledger.budget(KEY)
    assert (budget.charged, budget.refused) == (6, 1)
    ledger.reserve(KEY, RUN, 2, 1, [pure(4)])  # exactly to the limit
    assert ledger.budget(KEY).remaining == 0


def test_more_than_was_reserved_is_recorded_and_stops_everything(ledger):
    reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    ledger.journal_unmasking(reservation)
    for _ in range(2):
        with pytest.raises(BudgetExhausted, match=r"= 12 with what was released up to round 1"):
            ledger.settle(reservation, [pure(12)])
    assert charged(ledger) == 12
    with pytest.raises(BudgetExhausted):
        ledger.reserve(KEY, RUN, 2, 1, [pure(0)])


def test_a_budget_is_opened_once_and_for_all(ledger):
    for epsilon in (10.0, 20.0):
        with pytest.raises(ConfigurationError, match=r'^budget."cohort-7".patient exists: amend'):
            opened(ledger, epsilon)
    ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    assert ledger.close_budget(KEY, **WHO).status is BudgetStatus.CLOSED
    with pytest.raises(ConfigurationError, match="exists: amend"):
        opened(ledger)
    for act in (
        lambda: ledger.reserve(KEY, RUN, 2, 1, [pure(1)]),
        lambda: ledger.amend_budget(KEY, epsilon=20.0, **WHO),
        lambda: ledger.close_budget(KEY, **WHO),
    ):
        with pytest.raises(ConfigurationError, match="is closed: it gives nothing more"):
            act()


def test_what_is_reserved_when_a_budget_closes_can_still_be_settled(ledger):
    first = ledger.reserve(KEY, RUN, 1, 1, [pure(4)])
    second = ledger.reserve(KEY, RUN, 1, 2, [pure(4)])
    ledger.close_budget(KEY, **WHO)
    ledger.journal_unmasking(first)
    ledger.settle(first, [pure(3)])
    ledger.void(second, reason="closed")
    assert charged(ledger) == 3


def test_an_amendment_moves_the_limit_but_not_below_what_is_charged(ledger):
    ledger.reserve(KEY, RUN, 1, 1, [pure(6)])
    budget = ledger.amend_budget(KEY, epsilon=6.0, **WHO)
    assert (budget.terms.epsilon, budget.charged) == (6, 6)
    with pytest.raises(ConfigurationError, match=r"epsilon = 5.0 is below the 6.0 that is charged"):
        ledger.amend_budget(KEY, epsilon=5.0, **WHO)
    ledger.amend_budget(KEY, epsilon=8.0, **WHO)
    ledger.reserve(KEY, RUN, 2, 1, [pure(2)])


def test_at_another_delta_everything_is_accounted_anew(tmp_path):
    with opened(found(tmp_path / "ledger", ZcdpAccountant()), epsilon=3.0) as ledger:
        ledger.reserve(KEY, RUN, 1, 1, [gaussian(5.0, count=4)])
        rho = 4 / 50
        assert charged(ledger) == pytest.approx(rho + 2 * math.sqrt(rho * math.log(1e5)))
        budget = ledger.amend_budget(KEY, delta=1e-9, **WHO)
        assert budget.charged == pytest.approx(rho + 2 * math.sqrt(rho * math.log(1e9)))
        with pytest.raises(ConfigurationError, match="is below the"):
            ledger.amend_budget(KEY, delta=1e-30, **WHO)


def test_budgets_of_two_units_are_apart(ledger):
    other = BudgetKey("cohort-7", "hospital")
    opened(ledger, 2.0, key=other)
    ledger.reserve(other, RUN, 1, 1, [pure(2)])
    ledger.reserve(KEY, RUN, 1, 1, [pure(9)])
    assert (charged(ledger), charged(ledger, other)) == (9, 2)
    assert [budget.key for budget in ledger.budgets()] == [other, KEY]
    with pytest.raises(ConfigurationError, match=r'^budget."cohort-8".patient is not in this'):
        ledger.reserve(BudgetKey("cohort-8", "patient"), RUN, 1, 1, [pure(1)])


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_a_limit_that_bounds_nothing_is_refused(ledger, epsilon):
    key = BudgetKey("other", "patient")
    with pytest.raises(ConfigurationError, match=r'^budget."other".patient.epsilon = .* outside'):
        opened(ledger, epsilon, key=key)
    with pytest.raises(ConfigurationError, match=r"epsilon = .* outside \(0, inf\)"):
        ledger.amend_budget(KEY, epsilon=epsilon, **WHO)
    assert len(ledger.budgets()) == 1


@pytest.mark.parametrize("delta", [0.0, -1e-9, 1.0, math.nan, math.inf])
def test_a_delta_that_is_no_probability_is_refused(ledger, delta):
    with pytest.raises(ConfigurationError, match=r"delta = .* outside \(0, 1.0\)"):
        ledger.amend_budget(KEY, delta=delta, **WHO)


@pytest.mark.parametrize("number", [-1.0, -1e-300, math.nan, math.inf, -math.inf, True, "1"])
def test_no_event_has_a_number_that_could_give_something_back(number):
    with pytest.raises(ConfigurationError, match=r"^event.pure.epsilon = "):
        PrivacyEvent.of("pure", epsilon=number)
    with pytest.raises(ValueError, match="epsilon"):
        PrivacyEvent("pure", (("epsilon", number),))


def test_an_event_has_one_form():
    event = PrivacyEvent.of("skellam", l2=3, variance=20, l1=5)
    assert event.numbers == (("l1", 5.0), ("l2", 3.0), ("variance", 20.0))
    assert str(PrivacyEvent.of("pure", epsilon=-0.0).numbers) == "(('epsilon', 0.0),)"
    with pytest.raises(ValueError, match="not in order"):
        PrivacyEvent("skellam", event.numbers[::-1])
    with pytest.raises(ConfigurationError, match="shorten"):
        PrivacyEvent.of("x" * 65)


@pytest.mark.parametrize("count", [0, -1, math.nan, 1.5])
def test_no_count_gives_anything_back(ledger, count):
    with pytest.raises(ConfigurationError, match=r"count|cannot be kept"):
        ledger.reserve(KEY, RUN, 1, 1, [Spend(pure(1).event, count)])
    with pytest.raises(ConfigurationError, match="charge nothing: state what"):
        ledger.reserve(KEY, RUN, 1, 1, [])
    assert ledger.reservations() == ()


class Says:
    method = "says"

    def __init__(self, epsilon):
        self.said = epsilon

    def epsilon(self, spends, terms):
        return self.said


@pytest.mark.parametrize("said", [-0.1, math.nan, -math.inf])
def test_an_accountant_that_hands_something_back_is_refused(tmp_path, said):
    with opened(found(tmp_path / "ledger", Says(said))) as ledger:
        rows = ledger.head()
        with pytest.raises(ConfigurationError, match=r"accountant.epsilon = .* is no cost"):
            ledger.reserve(KEY, RUN, 1, 1, [pure(1)])
        assert ledger.head() == rows


def test_an_infinite_cost_is_refused_and_recorded(tmp_path):
    with opened(found(tmp_path / "ledger", Says(math.inf))) as ledger:
        with pytest.raises(BudgetExhausted, match="epsilon = infinity with round 1"):
            ledger.reserve(KEY, RUN, 1, 1, [pure(1)])
        assert ledger.history().entries[-1].would_be == math.inf


def test_a_budget_that_no_epsilon_held_can_be_amended(tmp_path):
    """Infinite says that the limit was exceeded, and not by how much: it is accounted anew."""
    accountant = Says(1.0)
    with opened(found(tmp_path / "ledger", accountant)) as ledger:
        reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(1)])
        ledger.journal_unmasking(reservation)
        accountant.said = math.inf
        with pytest.raises(BudgetExhausted):
            ledger.settle(reservation, [pure(2)])
        with pytest.raises(ConfigurationError, match="below the inf that is charged"):
            ledger.amend_budget(KEY, epsilon=15.0, **WHO)
        accountant.said = 12.0
        assert ledger.amend_budget(KEY, epsilon=15.0, **WHO).charged == 12.0
        assert ledger.verify().findings == ()
        accountant.said = 3.0
        assert (
            ledger.amend_budget(KEY, epsilon=20.0, **WHO).charged == 12.0
        )  # what was charged stays


def test_without_an_accountant_people_decide_but_nothing_is_charged(tmp_path):
    path = tmp_path / "ledger"
    opened(found(path)).close()
    with BudgetLedger(path, clock=lambda: 1) as ledger:
        ledger.amend_budget(KEY, epsilon=4.0, delta=1e-6, **WHO)
        with pytest.raises(ConfigurationError, match=r"^ledger.accountant = None"):
            ledger.reserve(KEY, RUN, 1, 1, [pure(1)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"approver": ""},
        {"reason": ""},
        {"reason": "x" * 2049},
        {"adjacency": ""},
        {"key": BudgetKey("", "patient")},
        {"key": BudgetKey("x" * 129, "patient")},
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, wrong):
    given = {"key": KEY, "adjacency": "replace-one", "epsilon": 1.0, "delta": 1e-5, **WHO, **wrong}
    with found(tmp_path / "ledger") as ledger:
        with pytest.raises(ConfigurationError, match="of kind opened cannot be kept"):
            ledger.open_budget(given.pop("key"), **given)
        assert ledger.head()[0] == 0


@pytest.mark.parametrize("wrong", [(b"r", 1, 1), (RUN, 0, 1), (RUN, 1, 0), (RUN, 1 << 31, 1)])
def test_an_attempt_that_no_plan_could_name_is_not_reserved(ledger, wrong):
    with pytest.raises(ConfigurationError, match="of kind reserved cannot be kept"):
        ledger.reserve(KEY, *wrong, [pure(1)])


def test_another_process_sees_what_was_written_and_goes_on(place):
    with opened(found(place)) as one, found(place, name=2) as other:
        assert one.ledger_id == other.ledger_id  # founded once
        reservation = one.reserve(KEY, RUN, 1, 1, [pure(4)])
        assert other.reservations() == (reservation,)
        other.journal_unmasking(reservation)
        one.settle(reservation, [pure(1)])
        assert charged(other) == 1
        assert one.head() == other.head()


def test_a_place_without_a_ledger_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "ledger"
    with pytest.raises(
        ConfigurationError, match="is no budget ledger: name one; `fedprivacy budget open`"
    ):
        BudgetLedger(path, clock=lambda: 1)
    assert not path.exists()


def test_a_database_without_a_ledger_is_refused(postgres_url):
    with pytest.raises(
        ConfigurationError, match="is no budget ledger: name one; `fedprivacy budget open`"
    ):
        BudgetLedger(postgres_url, clock=lambda: 1)


def test_an_empty_table_is_no_ledger(tmp_path):
    path = tmp_path / "ledger"
    found(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM fedprivacy_budget")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"^ledger.entry 0 is missing"):
        BudgetLedger(path, clock=lambda: 1)


def test_only_the_owner_can_write_a_ledger(tmp_path):
    path = tmp_path / "ledger"
    found(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)  # an auditor may read it
    BudgetLedger(path, clock=lambda: 1).close()
    for wide in (0o620, 0o602):
        path.chmod(wide)
        for call in (found, lambda at: BudgetLedger(at, clock=lambda: 1)):
            with pytest.raises(ConfigurationError, match=r"^ledger = .* has mode .*: name a file"):
                call(path)
    with pytest.raises(ConfigurationError, match=r"^ledger = .* cannot be created .*folder"):
        found(tmp_path / "absent" / "ledger")


@pytest.mark.parametrize(
    "url",
    ["mysql://u:geheim@h/d", "postgresql+asyncpg://u:geheim@h/d", "://geheim", "x://u:geheim@h:p/"],
)
def test_an_unknown_url_is_refused_without_its_password(url):
    with pytest.raises(ConfigurationError, match=r"^ledger: ") as caught:
        found(url)
    assert "geheim" not in str(caught.value)


def test_a_server_that_cannot_be_reached_is_named_without_its_password(tmp_path):
    url = f"postgresql://u:geheim@/d?host={tmp_path}"
    with pytest.raises(
        ConfigurationError,
        match=r"^ledger = postgresql\+psycopg://u:\*\*\*@/d.*"
        r"cannot be used \(connection.*: free or mend",
    ) as caught:
        found(url)
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_driver_the_install_command_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedprivacy\[postgresql\]'"):
        found("postgresql://localhost/d")


def test_commits_are_synced(tmp_path):
    with found(tmp_path / "ledger") as ledger:
        seen = ledger._database.read(
            lambda c: [
                c.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("synchronous", "journal_mode")
            ]
        )
    assert seen == [3, "delete"]


def test_a_postgresql_commit_waits_for_the_disk(postgres_url):
    with found(f"{postgres_url}&options=-csynchronous_commit%3Doff") as ledger:

        def asked(connection):
            names = ("synchronous_commit", "transaction_isolation", "fsync")
            return [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]

        assert ledger._database.in_turn(asked) == ["on", "serializable", "on"]


def test_a_postgresql_server_that_does_not_wait_for_the_disk_is_refused(postgres_url):
    with opened(found(postgres_url)) as ledger:
        try:
            set_fsync(postgres_url, "off")
            with pytest.raises(ConfigurationError, match=r"has fsync = off, .*: set fsync = on"):
                ledger.reserve(KEY, RUN, 1, 1, [pure(1)])
        finally:
            set_fsync(postgres_url, "on")
        ledger.reserve(KEY, RUN, 1, 1, [pure(1)])


def set_fsync(url, value):
    settings = {"autocommit": True, "client_encoding": "utf8"}
    with psycopg.connect(url.replace("+psycopg", ""), **settings) as connection:
        connection.execute(f"ALTER SYSTEM SET fsync = {value}")
        connection.execute("SELECT pg_reload_conf()")
    for _ in range(100):
        with psycopg.connect(url.replace("+psycopg", ""), **settings) as connection:
            if connection.execute("SHOW fsync").fetchone() == (value,):
                return
        time.sleep(0.05)
    raise TimeoutError


def test_a_ledger_that_another_holds_for_too_long_is_a_clear_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr("fedprivacy.ledger.budget_database._PATIENCE", 0.05)
    path = tmp_path / "ledger"
    with opened(found(path)) as ledger:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match=r"^ledger = .*database is locked.*: free"):
            ledger.reserve(KEY, RUN, 1, 1, [pure(1)])
        holder.rollback()
        holder.close()
        ledger.reserve(KEY, RUN, 1, 1, [pure(1)])


def test_nobody_decides_while_another_appends(postgres_url, monkeypatch):
    monkeypatch.setattr("fedprivacy.ledger.budget_database._PATIENCE", 1)
    with (
        opened(found(postgres_url)) as ledger,
        psycopg.connect(postgres_url.replace("+psycopg", "")) as other,
    ):
        other.execute("INSERT INTO fedprivacy_budget VALUES (99, '', '')")
        with pytest.raises(ConfigurationError, match=r"due to lock timeout\): free or mend"):
            ledger.reserve(KEY, RUN, 1, 1, [pure(1)])
        other.rollback()
        ledger.reserve(KEY, RUN, 1, 1, [pure(1)])


def test_a_ledger_in_memory_is_for_trying_out():
    with opened(found(":memory:")) as ledger:
        ledger.reserve(KEY, RUN, 1, 1, [pure(1)])
        assert charged(ledger) == 1
        assert repr(ledger) == "BudgetLedger(':memory:')"


def test_the_ledger_is_signed_for_by_its_name(tmp_path):
    names = [found(tmp_path / str(n), name=n).ledger_id for n in (1, 2)]
    assert names == [InsecureTestRng(n).bytes(16) for n in (1, 2)]
