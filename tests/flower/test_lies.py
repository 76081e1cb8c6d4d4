"""The lying server over Flower: it hears from each node what it hears from the client."""

import pytest

from fedprivacy.errors import Reason
from lies import LIES
from node_clients import move_into_nodes

OUTSIDE = {
    "few-dealers-around-one-client",
    "few-dealers-for-one-client",
    "invited-by-another-client",
    "one-sealed-state-for-two-rosters",
    "sealed-state-of-an-attempt-that-is-over",
    "survivors-before-the-input",
}
"""What no server says to a node: as another client, or from within its memory."""
OTHERWISE = {
    # A node has one client at a time: whoever answered, or was invited anew, is in no other round.
    "an-answer-once-more": {Reason.UNEXPECTED},
    "another-cohort-at-the-second-attempt": {
        Reason.ATTEMPT_CHANGED,
        Reason.CONSISTENCY_QUORUM,
        Reason.UNEXPECTED,
    },
    "both-secrets-asked-for": {Reason.UNEXPECTED},
    "both-secrets-asked-for-without-signatures": {Reason.UNEXPECTED},
    "two-attempts-under-way": {Reason.CONSISTENCY_QUORUM, Reason.WRONG_ROUND},
    # What to train on comes with the shares of this very attempt, or the client is lost to it.
    "one-input-on-two-rings": {Reason.FAILED, Reason.UNEXPECTED},
    "share-of-an-earlier-attempt": {Reason.FAILED},
}
QUICK = {
    "a-second-set-after-an-answer",
    "a-survivor-set-for-each-client",
    "another-learning-rate-for-one-client",
    "another-model-than-the-plan-names",
    "both-secrets-asked-for",
    "forged-consistency-signature",
    "swapped-round-keys",
    "message-of-another-round",
    "threshold-below-policy",
    "threshold-lower-than-the-plan-says",
}


def some(names):
    quick = [pytest.param(LIES[name], id=name) for name in sorted(names & QUICK)]
    rest = [
        pytest.param(LIES[name], id=name, marks=pytest.mark.nightly)
        for name in sorted(names - QUICK)
    ]
    return quick + rest


@pytest.mark.parametrize("lie", some(set(LIES) - OUTSIDE))
def test_a_node_refuses_the_lie_for_its_own_reason(lie, monkeypatch):
    move_into_nodes(monkeypatch)
    told = lie.tell()
    assert told.reasons == OTHERWISE.get(lie.name, {lie.reason})
    assert not told.won


@pytest.mark.parametrize("lie", some(set(LIES) - OUTSIDE))
def test_the_honest_twin_completes_over_nodes(lie, monkeypatch):
    move_into_nodes(monkeypatch)
    told = lie.twin()
    assert told.refusals == []
    assert told.exact


def test_every_lie_is_told_to_nodes_or_named_as_none():
    assert len(LIES) > 130
    assert set(LIES) >= OUTSIDE | QUICK | set(OTHERWISE)
