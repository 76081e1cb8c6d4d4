"""What an auditor is given as files, and what a client is sent: any bytes at all may arrive."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgets import KEY, RUN, found, opened, pure
from fedprivacy.crypto import SigningKey
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger import Contradiction, History, SignedHead
from fedprivacy.ledger.budget_entries import decode_entry
from fedprivacy.ledger.heads import load_heads, store_heads
from fedprivacy.wire import encode

OPERATOR = SigningKey.from_seed(b"o" * 32)
HEAD = SignedHead.sign(OPERATOR, b"l" * 16, 7, b"h" * 32)


def small_ledger():
    ledger = opened(found(":memory:"))
    reservation = ledger.reserve(KEY, RUN, 1, 1, [pure(2)])
    ledger.journal_unmasking(reservation)
    ledger.settle(reservation, [pure(1)])
    return ledger


with small_ledger() as made:
    HISTORY = made.history()
    EXPORT = HISTORY.to_json(made.signed_head(OPERATOR))


def test_an_export_holds_all_that_the_ledger_holds():
    history, signed = History.from_json(EXPORT)
    assert (history.entries, history.heads) == (HISTORY.entries, HISTORY.heads)
    assert history.budgets == HISTORY.budgets
    assert signed.is_signed_by(OPERATOR.public)
    assert not history.verify([signed], operator=OPERATOR.public).findings
    again, nothing = History.from_json(HISTORY.to_json())
    assert (again.heads, nothing) == (HISTORY.heads, None)


@settings.get_profile("fuzz")
@given(place=st.integers(0), flip=st.integers(1, 15))
def test_no_digit_of_an_export_can_be_changed_against_its_signed_head(place, flip):
    document = json.loads(EXPORT)
    row = place % len(document["rows"])
    digits = document["rows"][row]
    at = (place // len(document["rows"])) % len(digits)
    document["rows"][row] = digits[:at] + f"{int(digits[at], 16) ^ flip:x}" + digits[at + 1 :]
    try:
        history, signed = History.from_json(json.dumps(document))
    except ConfigurationError:
        return
    (finding,) = history.verify([signed], operator=OPERATOR.public).findings
    assert finding.contradiction in {Contradiction.REWRITTEN, Contradiction.ANOTHER_LEDGER}


def test_receipts_are_read_as_they_were_written():
    assert load_heads(store_heads([HEAD, HEAD])) == (HEAD, HEAD)
    assert load_heads(store_heads([])) == ()


def test_pools_are_put_together_as_they_are():
    assert load_heads(store_heads([HEAD]) + "\n" + store_heads([HEAD, HEAD])) == (HEAD,) * 3
    with pytest.raises(ConfigurationError, match=r"^a\.jsonl, line 2: .*: give the file that was"):
        load_heads(store_heads([HEAD]) + "{}\n", "a.jsonl")
    with pytest.raises(ConfigurationError, match="more than 1024 characters"):
        load_heads(" " * 2000)


def broken(text):
    """Texts near to one that is right: cut, with other characters, or another document's."""
    cut = st.integers(0, len(text)).map(lambda end: text[:end])
    other = st.tuples(st.integers(0, len(text) - 1), st.characters()).map(
        lambda change: text[: change[0]] + change[1] + text[change[0] + 1 :]
    )
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.text("0123456789abcdef"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
    keys = ("rows", "heads", "signed", "schema")
    swapped = st.tuples(st.sampled_from(keys), values).map(
        lambda change: json.dumps({**json.loads(text), change[0]: change[1]})
    )
    return cut | other | swapped | st.text() | values.map(json.dumps)


@settings.get_profile("fuzz")
@given(broken(EXPORT))
def test_any_text_is_an_export_or_refused(text):
    try:
        history, _ = History.from_json(text)
    except ConfigurationError as error:
        assert str(error).startswith(("ledger", "reservation", "budget"))  # noqa: PT017
    else:
        assert history.heads


@settings.get_profile("fuzz")
@given(broken(store_heads([HEAD])))
def test_any_text_is_a_pool_of_receipts_or_refused(text):
    try:
        pool = load_heads(text)
    except (ConfigurationError, PeerError):
        return
    assert all(isinstance(head, SignedHead) for head in pool)


def near(data):
    cut = st.integers(0, len(data)).map(lambda end: data[:end])
    other = st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)).map(
        lambda change: data[: change[0]] + bytes([change[1]]) + data[change[0] + 1 :]
    )
    return cut | other | st.binary() | st.binary().map(lambda more: data + more)


@settings.get_profile("fuzz")
@given(near(encode(HEAD)))
def test_any_bytes_are_a_signed_head_or_a_peers_error(data):
    try:
        head = SignedHead.decode(data)
    except PeerError:
        return
    assert encode(head) == data
    assert head.is_signed_by(OPERATOR.public) == (head == HEAD)


@settings.get_profile("fuzz")
@given(st.sampled_from(HISTORY.entries).flatmap(lambda entry: near(encode(entry))))
def test_any_bytes_are_a_row_or_a_fault_of_the_ledger(data):
    try:
        entry = decode_entry(3, data)
    except ConfigurationError as error:
        assert str(error).startswith("ledger.entry 3 cannot be read")  # noqa: PT017
        return
    assert encode(entry) == data


def test_a_head_longer_than_any_is_not_looked_at():
    with pytest.raises(PeerError) as caught:
        SignedHead.decode(encode(HEAD) + bytes(300))
    assert caught.value.reason is Reason.OVERSIZED
