"""What a driver does not carry out to its end, a client does not go on from."""

import gc

import pytest

from fedprivacy.crypto import Identity
from fedprivacy.errors import PeerError, Reason
from fedprivacy.rounds import Envelope
from fedprivacy.secagg import Adversary, Persist
from fedprivacy.secagg.masking import messages as m
from fedprivacy.wire import encode
from lying_server import SERVER, Table, with_inputs

CURIOUS = {"adversary": Adversary.HONEST_BUT_CURIOUS}


class Bug(Exception):
    """Nothing that the house raises on purpose."""


@pytest.mark.parametrize("rules", [{}, CURIOUS], ids=["signed", "unsigned"])
def test_a_client_whose_store_fails_answers_nothing_more(monkeypatch, rules):
    table, script = with_inputs(honest=False, aggregation=rules)

    def failing(*_):
        raise Bug

    monkeypatch.setattr(table.stores["c0"], "mark_answered", failing)
    with pytest.raises(Bug) as kept:  # whoever keeps the error keeps its frames
        script.survive(to=["c0"])
    monkeypatch.undo()
    party = script.clients["c0"]._party
    assert party.phase.value == "failed"
    assert not any(party._secrets._rand)
    script.survive(to=["c0"])
    script.request(lambda _: script.signed_by(), ["c0"])
    assert not script.signatures
    assert not script.answers
    assert table.refusals == [("c0", Reason.UNEXPECTED)]
    assert kept.value is not None


def test_a_client_whose_input_was_not_pulled_to_its_end_signs_nothing():
    table = Table()
    script = table.script().invite().roster()
    client = script.clients["c0"]
    delivery = encode(m.ShareDelivery(script.boxes_for("c0")))
    effects = client.receive(SERVER, encode(Envelope(client.round_plan.round_id, delivery)))
    next(effects)  # the first chunk of the upload; what follows is never asked for
    script.dealers["c0"] = set(range(5))
    script.survive(table.names, ["c0"])
    assert table.refusals == [("c0", Reason.UNEXPECTED)]
    assert not script.signatures
    del effects
    gc.collect()
    assert client._party.phase.value == "failed"


def test_two_survivor_sets_at_once_are_answered_once():
    """Where nobody signs: the phase is left before the mark is made, not after."""
    _, script = with_inputs(honest=False, aggregation=CURIOUS)
    party = script.clients["c0"]._party
    first = party.receive(SERVER, encode(m.SurvivorSet((0, 1, 2, 3, 4))))
    second = party.receive(SERVER, encode(m.SurvivorSet((0, 1, 2, 3))))
    assert isinstance(next(first), Persist)
    with pytest.raises(PeerError) as caught:
        next(second)
    assert caught.value.reason is Reason.UNEXPECTED


def test_an_identity_is_not_its_name():
    """A client of the right name with a key of its own is none of the directory's."""
    table = Table()
    table.identities["c0"] = Identity.new("c0", rng=table.rng)
    script = table.script().invite()
    assert table.refusals == [("c0", Reason.NOT_ENROLLED)]
    assert "c0" not in script.adverts
