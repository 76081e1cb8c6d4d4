"""Bytes that are no ciphertext cost their sender and nobody else; a worker that dies is replaced.

Mutants are of a real ciphertext, with a right MAC: a client that lies has the key for it. Half of
them keep the outlines of TenSEAL's message and change what it says.
"""

import contextlib
import os
import signal

import pytest

from ceremonies import Shared, is_sum, worker
from fedprivacy.errors import PeerError, Reason, RoundAborted
from fedprivacy.secagg.homomorphic.client import _State
from fedprivacy.secagg.homomorphic.messages import Seals
from fedprivacy.secagg.homomorphic.schemes import SCHEMES
from fedprivacy.secagg.homomorphic.structure import check_structure
from fedprivacy.wire import encode
from hostile_ciphertexts import genuine, inner, message, mutants

SENT = encode(_State(True))
"""Of a client whose input has left."""


def fate_of(case, seals, mutant, honest):
    """Why it is refused, naming its sender; None where it is kept.

    What is kept can be added to another client's input, and clients take or refuse the sum.
    """
    case.server = case.make_server()
    try:
        list(case.server.receive("c000", encode(seals.seal(0, 0, mutant))))
    except PeerError as error:
        return error
    assert list(case.server.receive("c001", honest)) == []
    case.clients["c001"] = case.resumed("c001", SENT)
    with contextlib.suppress(PeerError):
        case.answers("c001", case.asked()["c001"])
    return None


def no_mutant_costs_more(protocol, count):
    case = Shared(protocol, 2, length=3)
    seals = Seals(case.plan, case.key.admission)
    (honest,), (_, data) = case.inputs("c001"), genuine(protocol)
    assert fate_of(case, seals, data, honest) is None  # the honest twin
    fates = [fate_of(case, seals, m, honest) for m in mutants(protocol, count) if m]
    refused = [error for error in fates if error is not None]
    assert {error.culprits for error in refused} == {("c000",)}
    assert {error.reason for error in refused} == {Reason.CIPHERTEXT}
    # A changed coefficient is a ciphertext of something else: nobody can tell.
    assert len(refused) > len(fates) // 2
    twin = Shared(protocol, 2, length=3)
    assert is_sum(twin, twin.run())


@pytest.mark.parametrize("protocol", ["bfv", "ckks"])
def test_no_mutant_costs_more_than_its_sender(protocol):
    no_mutant_costs_more(protocol, 150)


@pytest.mark.nightly
@pytest.mark.parametrize("protocol", SCHEMES)
def test_no_mutant_of_many_costs_more_than_its_sender(protocol):
    no_mutant_costs_more(protocol, 3_334)


@pytest.mark.parametrize("protocol", SCHEMES)
def test_what_crashes_the_library_is_refused_before_it_is_loaded(protocol):
    scheme, data = genuine(protocol)
    body = inner(scheme, data)
    scale = None if protocol == "bfv" else 2.0**40
    check_structure(scheme, message([scheme.slots], [body], scale))  # the honest twin
    for hostile in (
        b"\x00",
        message([], [body], scale),
        message([scheme.slots * 100], [body], scale),
        message([scheme.slots + 1], [body], scale),
        message([scheme.slots], [body, body], scale),
        message([scheme.slots], [body], float("nan")),
        data + b"\x00",
    ):
        with pytest.raises(PeerError) as refused:
            check_structure(scheme, hostile)
        assert refused.value.reason is Reason.CIPHERTEXT


def _die(name, data):
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_worker_that_dies_costs_the_sender_alone(monkeypatch):
    case = Shared("bfv", 3)
    with monkeypatch.context() as patch:
        patch.setattr("fedprivacy.secagg.homomorphic.server.check", _die)
        (message,) = case.inputs("c000")
        with pytest.raises(PeerError) as refused:
            list(case.server.receive("c000", message))
    assert refused.value.culprits == ("c000",)
    case.give("c001", "c002")
    end = case.finish(case.asked())
    assert end.survivors == ("c001", "c002")
    assert is_sum(case, end)


def test_a_pool_that_is_gone_ends_the_round_and_names_nobody():
    case = Shared("bfv", 2)

    class Gone:
        def submit(self, *_):
            from concurrent.futures import BrokenExecutor

            raise BrokenExecutor

    case.server._pool = Gone()
    (message,) = case.inputs("c000")
    (end,) = case.server.receive("c000", message)
    assert isinstance(end.error, RoundAborted)
    assert end.error.reason is Reason.FAILED
    assert worker() is not None
