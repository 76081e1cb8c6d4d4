import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.crypto import SigningKey
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger import ClientStore, Once, SignedHead

RUN, OTHER_RUN = b"r" * 16, b"s" * 16
CAST, OTHER_CAST = b"b" * 32, b"c" * 32
ID, TERMS = b"i" * 32, b"t" * 32
OPERATOR = SigningKey.from_seed(b"o" * 32)
HEAD = SignedHead.sign(OPERATOR, b"l" * 16, 3, b"h" * 32)


@pytest.fixture(params=["memory", "file"])
def store(request, path):
    with ClientStore(":memory:" if request.param == "memory" else path) as opened:
        yield opened


def refused(reason, call, *arguments, **named):
    with pytest.raises(PeerError) as caught:
        call(*arguments, **named)
    assert caught.value.reason is reason
    assert "\n" not in str(caught.value)
    return str(caught.value)


def begin(store, run, round_number, attempt, terms=TERMS):
    store.begin(run, round_number, attempt, ID, CAST, terms)


def test_an_authority_is_pinned_once(store):
    assert store.authority() is None
    store.pin_authority(b"a" * 32)
    store.pin_authority(b"a" * 32)
    with pytest.raises(ConfigurationError, match=r"^authority = 6262.* where 6161.* is pinned: "):
        store.pin_authority(b"b" * 32)
    assert store.authority() == b"a" * 32


def test_an_authority_for_whom_anybody_can_sign_is_not_pinned(store):
    with pytest.raises(ConfigurationError, match="small order"):
        store.pin_authority(bytes([1]) + bytes(31))
    assert store.authority() is None


def test_directories_only_move_forwards(store):
    store.observe_directory(3, b"three")
    store.observe_directory(3, b"three")
    refused(Reason.DIRECTORY_EQUIVOCATED, store.observe_directory, 3, b"another")
    refused(Reason.DIRECTORY_STALE, store.observe_directory, 2, b"two")
    refused(Reason.DIRECTORY_STALE, store.observe_directory, 2, b"three")
    store.observe_directory(7, b"seven")
    text = refused(Reason.DIRECTORY_STALE, store.observe_directory, 3, b"three")
    assert text.endswith("epoch 3 where 7 was already seen")


def test_an_attempt_is_begun_once_and_only_forwards(store):
    begin(store, RUN, 2, 2)
    for round_number, attempt in [(2, 2), (2, 1), (1, 1), (1, 9)]:
        refused(Reason.ROUND_SEEN, begin, store, RUN, round_number, attempt)
    begin(store, RUN, 2, 3)
    begin(store, RUN, 3, 1)
    refused(Reason.ROUND_SEEN, begin, store, RUN, 2, 4)
    begin(store, OTHER_RUN, 1, 1)


def test_all_attempts_at_a_round_have_the_same_terms(store):
    begin(store, RUN, 1, 1)
    refused(Reason.ATTEMPT_CHANGED, begin, store, RUN, 1, 2, b"u" * 32)
    begin(store, RUN, 1, 3)
    refused(Reason.ATTEMPT_CHANGED, begin, store, RUN, 1, 4, b"u" * 32)
    begin(store, RUN, 2, 1, b"u" * 32)
    begin(store, OTHER_RUN, 1, 2, b"u" * 32)


def test_a_refused_begin_leaves_no_trace(store):
    begin(store, RUN, 1, 1)
    store.mark_answered(RUN, 1, 1, CAST, ["a", "b"], 2)
    refused(Reason.ANSWERED, begin, store, RUN, 1, 2)
    refused(Reason.ANSWERED, begin, store, RUN, 1, 2)
    refused(Reason.ROUND_SEEN, begin, store, RUN, 1, 1)
    begin(store, RUN, 2, 1)


def test_an_input_is_sent_once_an_attempt(store):
    store.mark_spent(RUN, 1, 1)
    refused(Reason.SPENT, store.mark_spent, RUN, 1, 1)
    store.mark_spent(RUN, 1, 2)
    store.mark_spent(RUN, 2, 1)
    store.mark_spent(OTHER_RUN, 1, 1)
    refused(Reason.SPENT, lambda *key: store.mark_spent(*key, once_in=Once.ROUND), RUN, 1, 3)
    store.mark_spent(RUN, 3, 1, once_in=Once.ROUND)
    refused(Reason.SPENT, lambda *key: store.mark_spent(*key, once_in=Once.ROUND), RUN, 3, 2)


def test_a_round_is_answered_once_across_attempts(store):
    store.mark_answered(RUN, 1, 1, CAST, ["a", "b", "c"], 0)
    for attempt, cast in [(1, CAST), (2, CAST), (2, OTHER_CAST)]:
        refused(
            Reason.ANSWERED, store.mark_answered, RUN, 1, attempt, cast, ["a", "b", "c"], floor=0
        )
    store.mark_answered(RUN, 2, 1, OTHER_CAST, ["a", "b", "c"], 0)


@pytest.mark.parametrize("run", [RUN, OTHER_RUN])
def test_survivor_sets_under_one_broadcast_are_equal_or_far_apart(store, run):
    store.mark_answered(RUN, 1, 1, CAST, ["a", "b", "c", "d"], 3)
    for close in (["a", "b", "c"], ["a", "b", "c", "d", "e"], ["a", "b", "c", "e"]):
        text = refused(Reason.SURVIVORS_OVERLAP, store.mark_answered, run, 2, 1, CAST, close, 3)
        assert "where 3 is the least" in text
    store.mark_answered(run, 2, 1, CAST, ["d", "c", "b", "a", "a"], 3)  # the same set
    store.mark_answered(run, 3, 1, CAST, ["a", "b", "e"], 3)  # three names apart
    store.mark_answered(run, 4, 1, OTHER_CAST, ["a", "b", "c"], 3)  # other updates
    # Every earlier answer counts, not the first or the last alone.
    close = ["a", "b", "e", "f"]
    refused(Reason.SURVIVORS_OVERLAP, store.mark_answered, run, 5, 1, CAST, close, 3)
    refused(Reason.SURVIVORS_OVERLAP, store.mark_answered, run, 5, 1, CAST, ["a", "b", "c"], 3)
    store.mark_answered(run, 5, 1, CAST, ["a", "b", "c"], 1)


@given(
    st.frozensets(st.sampled_from("abcdefgh")),
    st.frozensets(st.sampled_from("abcdefgh")),
    st.integers(0, 9),
)
def test_the_overlap_rule_is_the_symmetric_difference(first, second, floor):
    with ClientStore(":memory:") as store:
        store.mark_answered(RUN, 1, 1, CAST, sorted(first), floor)
        arguments = (OTHER_RUN, 1, 1, CAST, sorted(second), floor)
        if 0 < len(first ^ second) < floor:
            refused(Reason.SURVIVORS_OVERLAP, store.mark_answered, *arguments)
        else:
            store.mark_answered(*arguments)


def test_a_refused_answer_may_be_given_otherwise(store):
    store.mark_answered(RUN, 1, 1, CAST, ["a", "b"], 2)
    refused(Reason.SURVIVORS_OVERLAP, store.mark_answered, RUN, 2, 1, CAST, ["a"], 2)
    store.mark_answered(RUN, 2, 1, CAST, ["a", "b"], 2)


@pytest.mark.parametrize("number", [-1, 2**63])
def test_numbers_that_do_not_fit_are_a_peers_fault(store, number):
    refused(Reason.MALFORMED, store.observe_directory, number, b"digest")
    refused(Reason.MALFORMED, begin, store, RUN, number, 1)
    refused(Reason.MALFORMED, begin, store, RUN, 1, number)
    refused(Reason.MALFORMED, store.mark_spent, RUN, 1, number)
    refused(Reason.MALFORMED, store.mark_answered, RUN, number, 1, CAST, [], 0)
    begin(store, RUN, 2**63 - 1, 2**63 - 1)


def test_everything_is_there_when_the_store_is_opened_again(path):
    with ClientStore(path) as store:
        store.pin_authority(b"a" * 32)
        store.observe_directory(5, b"five")
        begin(store, RUN, 1, 1)
        store.mark_spent(RUN, 1, 1)
        store.mark_answered(RUN, 1, 1, CAST, ["a", "b", "c"], 2)
        store.keep_head(HEAD, operator=OPERATOR.public)
    with ClientStore(path) as store:
        assert store.authority() == b"a" * 32
        refused(Reason.DIRECTORY_STALE, store.observe_directory, 4, b"four")
        refused(Reason.ROUND_SEEN, begin, store, RUN, 1, 1)
        refused(Reason.SPENT, store.mark_spent, RUN, 1, 1)
        refused(Reason.ANSWERED, store.mark_answered, RUN, 1, 2, OTHER_CAST, ["x"], 0)
        refused(Reason.SURVIVORS_OVERLAP, store.mark_answered, RUN, 2, 1, CAST, ["a", "b"], 2)
        assert store.heads() == (HEAD,)


def test_commits_are_synced_to_the_folder_too(path):
    with ClientStore(path) as store, store._file.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


def test_a_store_that_another_holds_for_too_long_is_a_clear_refusal(path, monkeypatch):
    monkeypatch.setattr("fedprivacy.ledger.storage._PATIENCE", 0.05)
    with ClientStore(path) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigurationError, match=r"^store = .*database is locked.*: free"):
            store.mark_spent(RUN, 1, 1)
        holder.rollback()
        holder.close()
        store.mark_spent(RUN, 1, 1)


def test_what_is_recorded_together_is_committed_once_and_at_the_end(path):
    with ClientStore(path) as store:
        watcher = sqlite3.connect(path, isolation_level=None)
        with store.together():
            begin(store, RUN, 1, 1)
            store.mark_spent(RUN, 1, 1)
            assert store.authority() is None  # what is read is read within
            assert watcher.execute("SELECT count(*) FROM spent").fetchone() == (0,)
        assert watcher.execute("SELECT count(*) FROM spent").fetchone() == (1,)
        assert watcher.execute("SELECT max(generation) FROM chain").fetchone() == (2,)
        watcher.close()
    with ClientStore(path) as store:  # the anchor was moved, too
        refused(Reason.SPENT, store.mark_spent, RUN, 1, 1)


def test_together_what_is_refused_is_undone_and_the_rest_stays(store):
    def several():
        with store.together():
            begin(store, RUN, 1, 1)
            refused(Reason.ROUND_SEEN, begin, store, RUN, 1, 1)
            with store.together():
                store.mark_spent(RUN, 1, 1)
            store.mark_answered(RUN, 1, 1, CAST, ["a", "b"], 2)
            store.mark_answered(RUN, 2, 1, CAST, ["a"], 2)

    refused(Reason.SURVIVORS_OVERLAP, several)
    refused(Reason.ROUND_SEEN, begin, store, RUN, 1, 1)
    refused(Reason.SPENT, store.mark_spent, RUN, 1, 1)
    refused(Reason.ANSWERED, store.mark_answered, RUN, 1, 2, OTHER_CAST, ["x"], 0)
    store.mark_answered(RUN, 2, 1, CAST, ["a", "b"], 2)


def test_the_store_shows_its_path_alone(path):
    with ClientStore(path) as store:
        store.pin_authority(b"a" * 32)
        assert repr(store) == f"ClientStore({str(path)!r})"
