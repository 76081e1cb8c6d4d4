"""A data-protection officer's statement: what was charged, what is left, and what is not known."""

import json
import math
import re

import pytest

from budgets import PlainSum, pure
from fedprivacy.crypto import SigningKey
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import BudgetTerms, Charge, ClientBudget, ClientStore, SignedHead
from fedprivacy.reporting.client_statement import ClientStatement
from fedprivacy.reporting.statement_page import statement_page
from fedprivacy.reporting.statements import Holding
from fedprivacy.rounds import ClientPolicy

RUN = b"r" * 16
OPERATOR = SigningKey.from_seed(b"o" * 32)
POLICY = """
schema = "fedprivacy/policy/1"
[require.noise]
trust = "{trust}"
[budget."cohort-7"]
epsilon = 5.0
delta = 1e-5
"""


@pytest.fixture
def store():
    with ClientStore(":memory:") as opened:
        yield opened


def charge(cost, dataset="cohort-7"):
    terms = BudgetTerms("replace-one", 100.0, 1e-5)
    return Charge.of(ClientBudget(dataset, dataset, "patient", terms), [pure(cost)], PlainSum())


def policy(trust="distributed"):
    return ClientPolicy.parse(POLICY.format(trust=trust))


def said(store, *, accountant=None, **given):
    given = {"policy": policy()} | given
    return ClientStatement.of(
        "client.db", store.history(), store.heads(), accountant or PlainSum(), **given
    )


def holding(statement, start):
    (found,) = [a.holds for a in statement.assumptions if a.text.startswith(start)]
    return found


def test_every_question_is_answered(store):
    store.mark_spent(RUN, 1, 1, charge=charge(2))
    store.mark_spent(RUN, 2, 1, charge=charge(1))
    store.keep_head(SignedHead.sign(OPERATOR, b"l" * 16, 4, b"h" * 32), operator=OPERATOR.public)
    statement = said(store, units=426)
    overall, data, rests, charged, not_said = statement.sections()
    assert [question for question, _ in overall.rows] == [
        *("store", "data sets", "took part", "accounting", "trust model", "receipts")
    ]
    answers = dict(data.rows)
    assert data.title == "Data set cohort-7"
    assert "one patient is replaced by another" in answers["definition"]
    assert answers["took part in"] == "2 rounds of 1 run"
    assert (
        "together (3, 1e-05)-differentially private for one patient"
        in (answers["formal statement"])
    )
    assert answers["budget"] == "2 of epsilon = 5 is left, at delta = 1e-05"
    assert "1/N = 0.00234742 for 426 units" in answers["delta against 1/N"]
    assert dict(overall.rows)["receipts"].startswith(f"1 head of ledger {(b'l' * 16).hex()}")
    assert dict(overall.rows)["accounting"] == "sum; in full, whoever was drawn: no amplification"
    assert len(charged.rows) == 2
    assert not_said.rows
    assert all(answer for section in statement.sections() for _, answer in section.rows)
    assert rests.rows


def test_of_a_store_without_a_round_nothing_is_told(store):
    statement = said(store)
    assert statement.datasets == ()
    answers = dict(statement.sections()[0].rows)
    assert answers["data sets"] == "none was charged"
    assert answers["receipts"] == "none is kept"


def test_a_round_that_no_budget_was_charged_for_is_said_to_be_unbounded(store):
    store.mark_spent(RUN, 1, 1, charge=charge(1))
    text = "every round in which this client's input left is charged"
    assert holding(said(store), text) is Holding.CHECKED
    store.mark_spent(RUN, 2, 1)
    assert holding(said(store), text) is Holding.BROKEN
    assert "1 are not, and nothing here bounds" in said(store).to_json()


def test_a_budget_that_was_lowered_since_is_exceeded(store):
    store.mark_spent(RUN, 1, 1, charge=charge(7))
    statement = said(store)
    assert holding(statement, "what is charged is within budget") is Holding.BROKEN
    assert (statement.datasets[0].epsilon, statement.datasets[0].remaining) == (7, 0)


def test_an_infinite_epsilon_promises_nothing_and_is_json(store):
    store.mark_spent(RUN, 1, 1, charge=charge(1))

    class Infinite(PlainSum):
        def epsilon(self, spends, terms):
            return math.inf

    statement = said(store, accountant=Infinite())
    assert json.loads(statement.to_json())["datasets"][0]["epsilon"] == "infinite"
    assert "no epsilon can be told" in statement.datasets[0].formal
    assert holding(statement, "what is charged is within budget") is Holding.BROKEN


def test_what_the_policy_has_no_budget_for_is_not_stated(store):
    store.mark_spent(RUN, 1, 1, charge=charge(1, "cohort-8"))
    (data,) = said(store).datasets
    assert (data.epsilon, data.delta, data.remaining) == (None, None, None)
    assert data.budget == "not stated: no policy with a budget for it was given"
    assert said(store, policy=None).trust == "not stated: give the policy"


def test_who_is_trusted_with_the_noise_is_the_policys_word(store):
    store.mark_spent(RUN, 1, 1, charge=charge(1))
    server = said(store, policy=policy("server"))
    assert "the server may be trusted to add the noise, and nothing shows" in server.trust
    for statement in (server, said(store)):
        # A policy may have been another when a round was charged: both are told.
        assert holding(statement, "where a plan left the noise to the server") is Holding.ASSUMED
        assert holding(statement, "of others, no more left their noise out") is Holding.ASSUMED
    assert "clients add the noise that counts" in said(store).trust


def test_a_number_of_units_is_of_one_data_set(store):
    store.mark_spent(RUN, 1, 1, charge=charge(1))
    store.mark_spent(RUN, 2, 1, charge=charge(1, "cohort-8"))
    with pytest.raises(ConfigurationError, match=r"--units = 426 is of one data set where 2"):
        said(store, units=426)


def test_names_are_shown_on_the_page_and_never_obeyed(store):
    store.mark_spent(RUN, 1, 1, charge=charge(1, "<script>alert(1)</script>"))
    page = statement_page(said(store).sections())
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http" not in page  # nothing is fetched
    # Legible on a phone and on paper: one column below some width, and rows that stay together.
    assert 'name="viewport"' in page
    assert re.search(r"@media \(max-width: \d+rem\)", page)
    assert "@media print" in page
