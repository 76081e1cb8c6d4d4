"""What a server or a client may not do under a shared key, each beside an honest twin."""

import dataclasses

import pytest

from ceremonies import Shared, ceremony, is_sum, sent
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg import SERVER, Aborted
from fedprivacy.secagg.homomorphic.messages import CiphertextChunk, EncryptedSum, Seals
from fedprivacy.wire import decode, encode


def told_by(server):
    told = {}
    for effect in server.advance():
        if hasattr(effect, "recipient"):
            told.setdefault(effect.recipient, []).append(effect.message)
    return told


def refused_by_client(case, *messages, name="c000"):
    *before, last = messages
    for message in before:
        list(case.clients[name].receive(SERVER, message))
    with pytest.raises(PeerError) as refused:
        list(case.clients[name].receive(SERVER, last))
    return refused.value.reason


def refused_by_server(case, sender, message):
    with pytest.raises(PeerError) as refused:
        list(case.server.receive(sender, message))
    assert refused.value.culprits == (sender,)
    return refused.value.reason


def as_sum(case, data):
    seals = Seals(case.plan, case.key.admission)
    return encode(seals.seal(None, 0, data))


def ciphertext_of(message):
    return bytes(decode(CiphertextChunk, message, limit=len(message)).data)


@pytest.mark.parametrize("protocol", ["bfv", "ckks"])
def test_one_ciphertext_is_not_taken_for_a_sum(protocol):
    case = Shared(protocol, 3)
    inputs = {n: case.inputs(n) for n in case.names}
    lie = as_sum(case, ciphertext_of(inputs["c001"][0]))
    header = encode(EncryptedSum(case.names))
    assert refused_by_client(case, header, lie) is Reason.SUM_MEMBERS


def test_the_sum_of_an_earlier_round_is_not_decrypted_again():
    old, new = Shared("bfv", 3), Shared("bfv", 3, round_id=b"s" * 32)
    old.give()
    (header, chunk), *_ = old.asked().values()
    new.give()
    assert refused_by_client(new, header, chunk) is Reason.CIPHERTEXT_MAC
    again = as_sum(new, ciphertext_of(chunk))
    assert refused_by_client(new, header, again, name="c001") is Reason.SUM_MEMBERS


def test_one_survivor_more_or_less_is_noticed():
    case = Shared("bfv", 4)
    case.give("c000", "c001", "c002")
    (header, chunk), *_ = case.asked().values()
    more = encode(EncryptedSum(case.names))
    assert refused_by_client(case, more, chunk) is Reason.SUM_MEMBERS
    less = encode(EncryptedSum(("c001", "c002")))
    assert refused_by_client(case, less, chunk, name="c001") is Reason.SUM_MEMBERS
    assert sent(case.clients["c002"].receive(SERVER, header)) == []
    assert sent(case.clients["c002"].receive(SERVER, chunk))  # the honest twin


@pytest.mark.parametrize(
    ("survivors", "reason"),
    [
        (("c000",), Reason.SURVIVORS_FEW),
        (("c000", "c001"), Reason.SURVIVORS_FEW),
        (("c001", "c002", "c003"), Reason.NOT_SURVIVOR),
        (("c001", "c000", "c002"), Reason.MALFORMED),
        (("c000", "c000", "c001"), Reason.MALFORMED),
        (("c000", "c001", "c002", "c003", "c004"), Reason.SURVIVORS_FEW),
    ],
)
def test_a_set_below_the_floor_or_out_of_order_is_refused(survivors, reason):
    case = Shared("bfv", 4, min_clients=3)
    case.inputs("c000")
    assert refused_by_client(case, encode(EncryptedSum(survivors))) is reason


def test_the_clients_own_floor_holds_beside_the_plans():
    case = Shared("bfv", 4)
    case.floor = 4
    case.clients["c000"] = case.make_client("c000")
    case.inputs("c000")
    lie = encode(EncryptedSum(("c000", "c001", "c002")))
    assert refused_by_client(case, lie) is Reason.SURVIVORS_FEW


def test_a_client_decrypts_one_sum():
    case = Shared("bfv", 2)
    case.give()
    header, chunk = case.asked()["c000"]
    assert case.answers("c000", [header, chunk])
    assert refused_by_client(case, header) is Reason.ANSWERED


def test_a_sum_is_not_taken_before_the_clients_own_input_left():
    case = Shared("bfv", 2)
    assert refused_by_client(case, encode(EncryptedSum(case.names))) is Reason.UNEXPECTED


# ---------------------------------------------------------------------- clients


def test_what_is_not_sealed_by_this_ceremony_is_refused_unread():
    case = Shared("bfv", 3)
    stranger = case.make_client("c000", key=ceremony("bfv", 1))
    (message,) = case.inputs("c000", stranger)
    assert refused_by_server(case, "c000", message) is Reason.CIPHERTEXT_MAC


def test_another_clients_ciphertext_is_not_sent_as_ones_own():
    case = Shared("bfv", 3)
    (message,) = case.inputs("c001")
    assert refused_by_server(case, "c000", message) is Reason.CIPHERTEXT_MAC


def test_ciphertexts_of_another_round_are_refused():
    case = Shared("bfv", 3)
    other = dataclasses.replace(case.plan, round_id=b"s" * 32)
    (message,) = case.inputs("c000", case.make_client("c000", plan=other))
    assert refused_by_server(case, "c000", message) is Reason.CIPHERTEXT_MAC


def test_ciphertexts_out_of_order_or_twice_or_late_are_refused():
    case = Shared("bfv", 4, length=13_000)
    first, second = case.inputs("c000")
    assert refused_by_server(case, "c000", second) is Reason.CHUNK_ORDER
    assert refused_by_server(case, "c000", first) is Reason.LATE
    case.give("c001", "c002")
    whole = case.inputs("c003")
    list(case.server.receive("c003", whole[0]))
    list(case.server.receive("c003", whole[1]))
    assert refused_by_server(case, "c003", whole[1]) is Reason.DUPLICATE
    assert is_sum(case, case.finish(case.asked()))


def test_an_upload_that_is_not_finished_is_not_in_the_sum():
    case = Shared("bfv", 3, length=13_000)
    list(case.server.receive("c000", case.inputs("c000")[0]))
    case.give("c001", "c002")
    end = case.finish(case.asked())
    assert end.survivors == ("c001", "c002")
    assert is_sum(case, end)


def test_of_two_sums_neither_is_taken_and_one_liar_is_outvoted():
    for liars, lost in ((("c002",), False), (("c001", "c002"), True)):
        case = Shared("bfv", 3)
        case.give()
        told = case.asked()
        honest = case.answers("c000", told["c000"])
        false = Shared("bfv", 3, seed=2)
        false.give()
        others = false.asked()
        for message in honest:
            list(case.server.receive("c000", message))
        for name in ("c001", "c002"):
            source = false if name in liars else case
            for message in source.answers(name, (others if source is false else told)[name]):
                list(case.server.receive(name, message))
        (end,) = case.server.advance()
        assert isinstance(end, Aborted) is lost
        if lost:
            assert end.error.reason is Reason.SUM_DISAGREES
        else:
            assert is_sum(case, end)
