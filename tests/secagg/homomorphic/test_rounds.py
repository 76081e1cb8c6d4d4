"""Rounds under a shared key: exact sums, whoever is lost; the server needs no key of theirs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremonies import Shared, ceremony, is_sum
from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.secagg import SHARED_KEYS, Mark, Persist
from fedprivacy.secagg.homomorphic.schemes import BFV_4096, CKKS_4096, SCHEMES, layout_of

EVERY = pytest.mark.parametrize("protocol", SHARED_KEYS)


@EVERY
@pytest.mark.parametrize(("clients", "bound"), [(2, 1), (3, 32_767), (8, (1 << 28) - 1)])
def test_sums_at_the_bound_are_exact(protocol, clients, bound):
    """All at the bound, on either side, and in between; more than one ciphertext with CKKS."""
    length = 2 * SCHEMES[protocol].slots + 7
    case = Shared(protocol, clients, length=length, bound=bound)
    for sign, vector in zip((1, -1), case.vectors.values(), strict=False):
        vector[: length // 2] = sign * bound
    for vector in case.vectors.values():
        vector[-5:] = bound
    assert is_sum(case, case.run())


@given(data=st.data())
@settings(max_examples=8)
def test_sums_of_any_length_and_bound_are_exact(data):
    clients = data.draw(st.integers(2, 5), label="clients")
    length = data.draw(st.integers(1, 9000), label="length")
    bound = data.draw(st.integers(1, 1 << data.draw(st.integers(1, 42))), label="bound")
    seed = data.draw(st.integers(0, 1000), label="seed")
    case = Shared("bfv", clients, length=length, bound=bound, seed=seed)
    assert is_sum(case, case.run())


def test_two_values_share_a_slot_of_bfv():
    layout = layout_of(BFV_4096, Shared("bfv", 2, bound=32_767, cohort_size=100).plan)
    assert layout.joined.count == 2
    assert layout.per_ciphertext == 2 * 4095


def test_sums_that_do_not_fit_are_refused_before_anything_is_sent():
    case = Shared("bfv", 4)
    for scheme, bound in ((BFV_4096, 1 << 45), (CKKS_4096, 1 << 32)):
        plan = dataclasses.replace(case.plan, client_bound=bound)
        with pytest.raises(ConfigurationError, match="do not fit"):
            layout_of(scheme, plan)


def test_a_value_beyond_the_bound_is_refused_without_being_told():
    case = Shared("bfv", 2)
    case.vectors["c000"][1] = 1001
    with pytest.raises(ConfigurationError, match="client_bound = 1000") as refused:
        case.inputs("c000")
    assert "1001" not in str(refused.value)


def test_the_input_is_spent_before_it_leaves_and_the_answer_before_it_is_made():
    case = Shared("bfv", 2)
    first = next(iter(case.clients["c000"].contribute(case.vectors["c000"])))
    assert first == Persist(Mark.SPENT, "input")
    case.clients["c000"] = case.make_client("c000")
    case.give()
    told = case.asked()["c000"]
    effects = list(case.clients["c000"].receive("@server", told[0]))
    assert effects == [Persist(Mark.ANSWERED, "decryption", case.names)]


def test_a_client_that_left_memory_decrypts_all_the_same():
    case = Shared("bfv", 2)
    case.clients["c000"] = case.resumed("c000", case.clients["c000"].suspend())
    case.give()
    case.clients["c001"] = case.resumed("c001", case.clients["c001"].suspend())
    assert is_sum(case, case.finish(case.asked()))


def test_bytes_that_are_no_state_are_refused():
    with pytest.raises(PeerError):
        Shared("bfv", 2).resumed("c000", b"\x92\xa1x\xc3")


def test_a_key_of_another_protocol_is_refused():
    with pytest.raises(ConfigurationError, match="is for ckks, the plan says bfv"):
        Shared("bfv", 2).make_client("c000", key=ceremony("ckks"))


def test_neither_keys_nor_marks_are_shown():
    case = Shared("bfv", 2)
    texts = f"{case.key!r} {case.key.server_part!r} {case.clients['c000']!r} {case.server!r}"
    assert texts.count("b'") == 0
    assert len(texts) < 200


def test_the_worker_makes_its_keys_itself():
    """What the server needs is no client's: it adds under parameters alone."""
    case = Shared("bfv", 2)
    assert not hasattr(case.key.server_part, "context")
    assert np.array_equal(case.run().total[:], case.exact(case.names))
