"""A server that asks for the sum of one client: what stops it, and what it has if nothing does."""

import dataclasses

import pytest

from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg import Mark
from fedprivacy.secagg.oneshot import member as member_module
from fedprivacy.secagg.oneshot import server as server_module
from fedprivacy.secagg.oneshot.survivors import Opening
from oneshotdrive import OneShotDrive, OneShotSum

VICTIM = 1


def attack(monkeypatch, *, members_floor, sealed_floor):
    """The server names one survivor, and is sent the answers of members with these floors."""
    case = OneShotSum()
    honest = server_module.choose_opening

    def choose(clients, unopened, **rules):
        return Opening(frozenset({VICTIM}), honest(clients, unopened, **rules).members)

    monkeypatch.setattr(server_module, "choose_opening", choose)
    case.server._plan = dataclasses.replace(case.plan, min_clients=1)
    # It adds the victim's ciphertext alone: it waits for nobody's word that shares open.
    monkeypatch.setattr(server_module.OneShotServer, "_take_opened", lambda *_: iter(()))
    if not members_floor:
        for name in case.committee_names:
            case.parties[name]._least = 1
    if not sealed_floor:
        opened = member_module.open_box
        monkeypatch.setattr(
            member_module, "open_box", lambda *a, **k: opened(*a, **k)._replace(floor=1)
        )
    return case, OneShotDrive(case).run()


@pytest.mark.parametrize(
    ("members_floor", "sealed_floor"), [(True, True), (True, False), (False, True)]
)
def test_either_floor_keeps_a_single_client_from_being_opened(
    monkeypatch, members_floor, sealed_floor
):
    case, outcome = attack(monkeypatch, members_floor=members_floor, sealed_floor=sealed_floor)
    assert {name: e.reason for name, e in outcome.failed.items()} == dict.fromkeys(
        case.committee_names, Reason.SURVIVORS_FEW
    )
    assert outcome.error.reason is Reason.TOO_FEW


def test_without_both_floors_the_server_has_a_clients_vector(monkeypatch):
    """The mutant: the attack is real, and the checks are what refuses it."""
    case, outcome = attack(monkeypatch, members_floor=False, sealed_floor=False)
    assert outcome.done.survivors == (case.names[VICTIM],)
    assert outcome.done.total.tolist() == case.vectors[case.names[VICTIM]].tolist()


class Store:
    """What members must keep: that they have answered in this round, in whatever attempt."""

    def __init__(self):
        self.answered = set()

    def commit(self, name, effect):
        if effect.mark is Mark.ANSWERED:
            if name in self.answered:
                raise PeerError(Reason.ANSWERED, "this round was answered")
            self.answered.add(name)


@pytest.mark.parametrize("kept", [True, False])
def test_two_attempts_with_sets_that_differ_in_one_client(kept):
    """A store that forgets gives the server the difference, which is a vector."""
    commit = Store().commit if kept else None
    first = OneShotDrive(OneShotSum(round_id=b"1" * 32, seed=1), commit=commit).run()
    case = OneShotSum(round_id=b"2" * 32, seed=2)
    case.vectors = OneShotSum(seed=1).vectors
    second = OneShotDrive(case, lost={"c003": "input"}, commit=commit).run()
    assert first.done is not None
    if kept:
        reasons = {name: error.reason for name, error in second.failed.items()}
        assert reasons == dict.fromkeys(case.committee_names, Reason.ANSWERED)
        assert second.error.reason is Reason.TOO_FEW
    else:
        gap = first.done.total - second.done.total
        assert gap.tolist() == case.vectors["c003"].tolist()
