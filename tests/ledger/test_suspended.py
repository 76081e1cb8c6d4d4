"""What a store keeps of a client that left memory: one state an attempt, resumed once."""

import msgspec
import pytest
from sqlalchemy import select

from fedprivacy.crypto import Identity
from fedprivacy.errors import ConfigurationError, PeerError, PolicyRefused, Reason
from fedprivacy.ledger import ClientStore, tables
from fedprivacy.randomness import InsecureTestRng, SystemRng

RUN, OTHER_RUN = b"r" * 16, b"s" * 16
ID, CAST, TERMS = b"i" * 32, b"b" * 32, b"t" * 32
STATE = b"all that a client keeps to itself" * 10
ME = Identity.new("c001", rng=InsecureTestRng(1))
OTHER = Identity.new("c002", rng=InsecureTestRng(2))


@pytest.fixture(params=["memory", "file"])
def store(request, path):
    with ClientStore(":memory:" if request.param == "memory" else path) as opened:
        yield opened


def begin(store, run=RUN, number=1, attempt=1):
    store.begin(run, number, attempt, ID, CAST, TERMS)


def suspend(store, run=RUN, number=1, attempt=1, *, state=STATE, round_id=ID, rng=None):
    named = {"identity": ME, "directory": b"everybody", "rng": rng or SystemRng()}
    return store.suspend(run, number, attempt, round_id, state, **named)


def refused(store, sealed, identity=ME):
    with pytest.raises(PeerError) as caught:
        store.resume(sealed, identity=identity)
    assert caught.value.reason is Reason.SEALED_STATE
    assert "\n" not in str(caught.value)


def kept(store):
    with store._file.reading() as connection:
        return connection.execute(select(tables.suspended)).all()


def test_a_state_comes_back_once_with_its_directory_and_nothing_is_kept(store):
    begin(store)
    sealed = suspend(store)
    assert STATE[:33] not in sealed
    assert len(kept(store)) == 1
    assert store.resume(sealed, identity=ME) == (STATE, b"everybody")
    assert kept(store) == []
    refused(store, sealed)
    again = suspend(store)
    assert again != sealed
    refused(store, sealed)
    assert store.resume(again, identity=ME)[0] == STATE


def test_what_is_refused_changes_nothing(store):
    begin(store)
    sealed = suspend(store)
    before = kept(store)
    for bad in (b"", sealed[:-1], sealed + b"\0", bytes([sealed[0] ^ 1]) + sealed[1:]):
        refused(store, bad)
    refused(store, sealed, OTHER)
    refused(store, sealed, Identity.new("c001", rng=SystemRng()))
    assert kept(store) == before
    store.resume(sealed, identity=ME)


def test_a_state_says_nothing_but_its_version_and_its_length(store):
    begin(store)
    kind, version, box = msgspec.msgpack.decode(suspend(store))
    assert (kind, version, len(box)) == ("sealed-state", 1, len(STATE) + 16)


def test_each_state_has_a_key_of_its_own_even_where_randomness_repeats(store):
    """Alike are only the keys, and the bytes, of states that are alike."""
    begin(store)
    found = []
    for state in (STATE, STATE[::-1], STATE):
        found.append((suspend(store, state=state, rng=InsecureTestRng(1)), kept(store)[0].key))
        store.resume(found[-1][0], identity=ME)
    assert found[0] == found[2]
    assert found[0][1] != found[1][1]
    assert len({kept_key for _, kept_key in found}) == 2


def test_attempts_of_several_runs_sleep_side_by_side(store):
    begin(store)
    begin(store, OTHER_RUN)
    one, other = suspend(store), suspend(store, OTHER_RUN, state=b"other")
    assert len(kept(store)) == 2
    assert store.resume(one, identity=ME)[0] == STATE
    assert store.resume(other, identity=ME)[0] == b"other"


@pytest.mark.parametrize(("number", "attempt"), [(1, 2), (2, 1)])
def test_a_later_attempt_at_a_run_forgets_who_sleeps_in_it(store, number, attempt):
    begin(store)
    begin(store, OTHER_RUN)
    sealed, other = suspend(store), suspend(store, OTHER_RUN)
    begin(store, RUN, number, attempt)
    assert [row.run_id for row in kept(store)] == [OTHER_RUN]
    refused(store, sealed)
    store.resume(other, identity=ME)


def test_an_attempt_that_was_refused_forgets_nobody(store):
    begin(store, number=2)
    sealed = suspend(store, number=2)
    with pytest.raises(PeerError):
        begin(store, number=1)
    store.resume(sealed, identity=ME)


def test_who_fell_asleep_after_a_later_attempt_was_begun_is_refused(store):
    begin(store)
    begin(store, attempt=2)
    refused(store, suspend(store))
    begin(store, number=2)
    refused(store, suspend(store, attempt=2))


def test_a_state_is_bound_to_the_attempt_that_was_begun(store):
    begin(store)
    refused(store, suspend(store, round_id=b"j" * 32))
    with pytest.raises(
        ConfigurationError, match=r"^round 1, attempt 2 was not begun in this store"
    ):
        suspend(store, attempt=2)


def test_states_of_another_store_are_refused(store):
    begin(store)
    sealed = suspend(store)
    with ClientStore(":memory:") as other:
        begin(other)
        refused(other, sealed)
        suspend(other)
        refused(other, sealed)


def test_a_key_is_overwritten_in_the_file_when_its_state_is_resumed_or_superseded(path):
    with ClientStore(path) as store:
        begin(store)
        sealed = suspend(store)
        first = kept(store)[0].key
        assert first in path.read_bytes()
        store.resume(sealed, identity=ME)
        assert first not in path.read_bytes()
        suspend(store)
        second = kept(store)[0].key
        assert second in path.read_bytes()
        begin(store, attempt=2)
        assert second not in path.read_bytes()


def test_a_state_outlives_its_process_and_a_store_put_back_resumes_nothing(path):
    with ClientStore(path) as store:
        begin(store)
        sealed = suspend(store)
    before = path.read_bytes()
    with ClientStore(path) as store:
        assert store.resume(sealed, identity=ME)[0] == STATE
    with ClientStore(path) as store:
        refused(store, sealed)
    path.write_bytes(before)
    with pytest.raises(PolicyRefused) as caught:
        ClientStore(path)
    assert caught.value.reason is Reason.STORE_ROLLED_BACK


def test_of_two_processes_that_wake_one_client_one_does(path):
    with ClientStore(path) as one, ClientStore(path) as other:
        begin(one)
        sealed = suspend(one)
        assert other.resume(sealed, identity=ME)[0] == STATE
        refused(one, sealed)
