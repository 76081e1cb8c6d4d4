"""A lying client: it is named and out, and the others have their exact sum all the same."""

import pytest

from fedprivacy.errors import Reason
from fedprivacy.secagg.masking import client, shares
from lying_clients import (
    CLIENT_LIES,
    LIAR,
    Liar,
    commit_to_another_seed,
    complain_about_the_first,
    count_for_too_much,
    leave_after_the_input,
    say_everything,
)
from rounddrive import Consortium


@pytest.fixture
def house():
    with Consortium() as opened:
        yield opened


def run(house, script, **lost):
    liar = Liar(house, script, lost)
    return house.attempts(channel=liar)


@pytest.mark.parametrize("lie", CLIENT_LIES.values(), ids=list(CLIENT_LIES))
def test_the_liar_is_named_and_the_round_goes_on(house, lie):
    (outcome,) = run(house, lie.script)
    assert {name: e.reason for name, e in outcome.excluded.items()} == {LIAR: lie.reason}
    survivors = [n for n in house.names if not (lie.without and n == LIAR)]
    assert outcome.survivors == tuple(survivors)
    house.assert_exact(outcome)


def test_the_twin_of_all_of_them_completes(house):
    (outcome,) = run(house, say_everything)
    assert not outcome.excluded
    assert outcome.survivors == house.names
    house.assert_exact(outcome)


def test_a_client_that_leaves_after_its_input_has_survived(house):
    (outcome,) = run(house, leave_after_the_input)
    assert outcome.refused == {LIAR: Reason.FAILED}
    assert outcome.survivors == house.names
    house.assert_exact(outcome)


def test_a_false_complaint_costs_nothing_while_enough_hold_the_share(house):
    (outcome,) = run(house, complain_about_the_first)
    assert not outcome.excluded
    assert outcome.survivors == house.names
    house.assert_exact(outcome)


def test_a_false_complaint_frames_nobody(house):
    """With one client lost, the complaint of one is too much; who lies, nobody can tell."""
    first, second = run(house, complain_about_the_first, c001="input")
    for outcome in (first, second):
        assert outcome.error.reason is Reason.SHARE_UNOPENED
        assert outcome.error.culprits == ()


def test_a_complainer_that_is_needed_frames_nobody_later_either(house):
    """The loss comes after the survivors were fixed."""
    (outcome,) = run(house, complain_about_the_first, c001="unmasking")
    assert outcome.error.reason is Reason.SHARE_UNOPENED
    assert outcome.error.culprits == ()


def test_a_bad_polynomial_names_its_dealer(house):
    (outcome,) = run(house, commit_to_another_seed)
    assert outcome.error.reason is Reason.SHARE_POLYNOMIAL
    assert outcome.error.culprits == (LIAR,)


def test_what_no_honest_clients_add_up_to_is_no_sum(house):
    (outcome,) = run(house, count_for_too_much)
    assert outcome.error.reason is Reason.SUM_RANGE
    assert outcome.aggregate is None


def test_shares_that_are_no_shares_fall_back_on_their_dealer(house, monkeypatch):
    """Well committed and well sealed: who accepted one would be refused when it reveals it."""

    def deal(session, dealer, *rest, **named):
        with monkeypatch.context() as patch:
            if dealer == house.names.index(LIAR):
                patch.setattr(shares, "share_to_bytes", lambda _: b"\xff" * shares.SHARE_BYTES)
            return honest(session, dealer, *rest, **named)

    honest = client.deal
    monkeypatch.setattr(client, "deal", deal)
    first, second = run(house, say_everything)
    assert first.error.reason is Reason.SHARE_UNOPENED
    assert first.error.culprits == (LIAR,)
    assert not first.excluded
    assert second.survivors == ("c000", "c001", "c002", "c004")
    house.assert_exact(second)
