"""The auditor's statement: every question answered, and nothing claimed that is not known."""

import json
import math
import sys

import pytest

from budgets import KEY, RUN, PlainSum, found, opened, pure
from fedprivacy.crypto import SigningKey
from fedprivacy.errors import BudgetExhausted, MissingExtra
from fedprivacy.ledger import BudgetKey, SignedHead
from fedprivacy.reporting.privacy_statement import PrivacyStatement
from fedprivacy.reporting.statement_page import statement_page
from fedprivacy.reporting.statements import Assumption, Holding
from fedprivacy.rounds import Plan

OPERATOR = SigningKey.from_seed(b"o" * 32)
PLAN = """
schema = "fedprivacy/plan/1"
[dataset]
id = "cohort-7"
unit = "patient"
adjacency = "replace-one"
[aggregation]
protocol = "secagg"
adversary = "malicious"
min_clients = 10
[update]
clip = 1.0
value_bits = 16
"""


@pytest.fixture
def ledger():
    with opened(found(":memory:")) as made:
        yield made


def settle(ledger, number, cost):
    reservation = ledger.reserve(KEY, RUN, number, 1, [pure(cost)])
    ledger.journal_unmasking(reservation)
    ledger.settle(reservation, [pure(cost)])


def said(ledger, *receipts, **given):
    verification = ledger.verify(receipts, operator=OPERATOR.public)
    return PrivacyStatement.of(ledger.budget(KEY), verification, **given)


def holding(statement, start):
    (found_,) = [a.holds for a in statement.assumptions if a.text.startswith(start)]
    return found_


def test_every_question_is_answered(ledger):
    settle(ledger, 1, 2)
    statement = said(ledger, plan=Plan.parse(PLAN), units=426)
    answers = dict(statement.answers())
    assert list(answers) == [
        "setting",
        "definition",
        "unit of privacy",
        "adjacency",
        "data accesses covered",
        "output covered",
        "accounting",
        "formal statement",
        "trust model",
        "delta against 1/N",
        "budget",
        "ledger",
    ]
    assert all(answers.values())
    assert "one patient is replaced by another" in answers["definition"]
    assert "(2, 1e-05)-differentially private for one patient" in answers["formal statement"]
    assert answers["accounting"] == "sum"
    assert answers["data accesses covered"].startswith("1 attempt charged as released.")
    assert "a server that may lie" in answers["trust model"]
    assert answers["budget"] == "8 of 10 is left"


def test_without_a_plan_what_it_would_tell_is_not_stated(ledger):
    answers = dict(said(ledger).answers())
    assert answers["setting"] == answers["trust model"] == "not stated: give the plan"
    assert answers["formal statement"] == "nothing was released"


def test_a_plan_without_noise_breaks_the_statement(ledger):
    statement = said(ledger, plan=Plan.parse(PLAN))
    assert statement.setting == "no noise is added: nothing is promised"
    assert holding(statement, "the plan adds noise") is Holding.BROKEN


@pytest.mark.parametrize(
    ("units", "expected"),
    [(None, Holding.ASSUMED), (426, Holding.CHECKED), (100_000, Holding.BROKEN)],
)
def test_delta_is_held_against_the_number_of_units(ledger, units, expected):
    assert holding(said(ledger, units=units), "delta is well below 1/N") is expected


def test_receipts_are_what_a_single_history_rests_on(ledger):
    text = "no client was told another history"
    settle(ledger, 1, 1)
    honest = ledger.signed_head(OPERATOR)
    assert holding(said(ledger), text) is Holding.ASSUMED
    assert holding(said(ledger, honest), text) is Holding.CHECKED
    other = SignedHead.sign(OPERATOR, ledger.ledger_id, 2, bytes(32))
    assert holding(said(ledger, honest, other), text) is Holding.BROKEN
    foreign = SignedHead.sign(OPERATOR, bytes(16), 2, bytes(32))
    assert holding(said(ledger, foreign), text) is Holding.ASSUMED


def test_what_is_overspent_is_said(ledger):
    reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(2)])
    ledger.journal_unmasking(reservation)
    with pytest.raises(BudgetExhausted):
        ledger.settle(reservation, [pure(11)])
    statement = said(ledger)
    assert holding(statement, "what is charged is within the budget") is Holding.BROKEN
    assert (statement.epsilon, statement.remaining) == (11, 0)


def test_an_epsilon_never_shrinks_as_it_is_written(ledger):
    settle(ledger, 1, 1.2345671)
    formal = said(ledger).formal
    written = float(formal.partition("(")[2].partition(",")[0])
    assert written == 1.23457
    assert written >= 1.2345671
    settle(ledger, 2, 1.0000001e-9)
    written = float(said(ledger).formal.partition("(")[2].partition(",")[0])
    assert written >= ledger.budget(KEY).charged


def test_an_infinite_epsilon_promises_nothing_and_is_json(ledger, monkeypatch):
    monkeypatch.setattr(PlainSum, "epsilon", lambda *_: math.inf)
    key = BudgetKey("cohort-8", "patient")
    opened(ledger, key=key)
    reservation = None
    with monkeypatch.context() as patch:
        patch.setattr(PlainSum, "epsilon", lambda *_: 1.0)
        reservation = ledger.reserve(key, RUN, 1, 1, [pure(1)])
        ledger.journal_unmasking(reservation)
    with pytest.raises(BudgetExhausted):
        ledger.settle(reservation, [pure(1)] * 2)
    statement = PrivacyStatement.of(ledger.budget(key), ledger.verify())
    assert json.loads(statement.to_json())["epsilon"] == "infinite"
    assert "no epsilon holds" in statement.formal


def test_what_the_accountant_assumes_stands_beside_it(ledger):
    more = [Assumption(Holding.ASSUMED, "who was drawn stays hidden")]
    assert said(ledger, more=more).assumptions[-1] == more[0]


def test_names_are_shown_on_the_page_and_never_obeyed():
    key = BudgetKey("<script>alert(1)</script>", "patient")
    with opened(found(":memory:"), key=key) as ledger:
        said = PrivacyStatement.of(ledger.budget(key), ledger.verify())
        page = statement_page(said.sections())
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http" not in page  # nothing is fetched


def test_without_jinja2_the_install_command_is_told(ledger, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"fedprivacy\[report\]"):
        statement_page(said(ledger).sections())
