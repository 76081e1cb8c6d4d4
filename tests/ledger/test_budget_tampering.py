"""A ledger that was changed, cut or forked: by its own rows, and by what clients kept."""

import shutil
import sqlite3

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets import KEY, RUN, found, opened, pure
from fedprivacy.crypto import SigningKey
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import BudgetLedger, Contradiction, History, SignedHead
from fedprivacy.ledger.budget_entries import (
    Amended,
    Founded,
    Opened,
    Refused,
    Request,
    Reserved,
    Settled,
    Unmasking,
    Voided,
    encode_entry,
    entry_hash,
)
from fedprivacy.ledger.budget_events import BudgetTerms

OPERATOR = SigningKey.from_seed(b"o" * 32)
OTHER = SigningKey.from_seed(b"x" * 32)


def worked(path, rounds=3, name=0):
    """A ledger with rows of every kind but an amendment, and a head signed after each round."""
    heads = []
    with opened(found(path, name=name)) as ledger:
        for number in range(1, rounds + 1):
            reservation = ledger.reserve(KEY, RUN, number, 1, [pure(2)])
            if number == 1:
                ledger.void(reservation, reason="too few clients")
            else:
                ledger.journal_unmasking(reservation)
                ledger.settle(reservation, [pure(1)])
            heads.append(ledger.signed_head(OPERATOR))
    return heads


def rows_of(path):
    with sqlite3.connect(path) as connection:
        rows = list(connection.execute("SELECT number, body, head FROM fedprivacy_budget"))
    connection.close()
    return sorted(rows)


def replace_rows(path, rows):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM fedprivacy_budget")
    connection.executemany("INSERT INTO fedprivacy_budget VALUES (?, ?, ?)", rows)
    connection.close()


def open_again(path):
    return BudgetLedger(path, clock=lambda: 1)


def kinds(verification):
    return [finding.contradiction for finding in verification.findings]


def test_every_single_byte_of_every_row_is_covered(tmp_path):
    worked(tmp_path / "ledger")
    rows = rows_of(tmp_path / "ledger")
    assert History.of(rows).state.length == len(rows) == 10
    tried = 0
    for place, (number, body, head) in enumerate(rows):
        changed = [(number ^ 1 << bit, body, head) for bit in range(6)]
        for at in range(len(body)):
            for flip in (1, 128, 255):
                other = body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :]
                changed.append((number, other, head))
        for at in range(len(head)):
            other = head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :]
            changed.append((number, body, other))
        changed += [(number, body[:-1], head), (number, body + b"\0", head), (number, body, b"")]
        changed += [(number, body.hex(), head), (number, None, head), (None, body, head)]
        for row in changed:
            tried += 1
            with pytest.raises(ConfigurationError, match=r"^ledger.entry \d+ "):
                History.of([*rows[:place], row, *rows[place + 1 :]])
    assert tried > 2000


def test_rows_taken_out_put_in_or_exchanged_are_found(tmp_path):
    worked(tmp_path / "ledger")
    rows = rows_of(tmp_path / "ledger")
    for place in range(len(rows) - 1):
        without = rows[:place] + rows[place + 1 :]
        twice = rows[: place + 1] + rows[place:]
        exchanged = [*rows[:place], rows[place + 1], rows[place], *rows[place + 2 :]]
        for other in (without, twice, exchanged):
            with pytest.raises(ConfigurationError, match=r"^ledger.entry \d+ "):
                History.of(other)
    with pytest.raises(ConfigurationError, match=r"^ledger.entry 0 is missing"):
        History.of([])


def test_a_row_with_a_hash_of_its_own_does_not_fit_what_follows(tmp_path):
    worked(tmp_path / "ledger")
    rows = rows_of(tmp_path / "ledger")
    entries = History.of(rows).entries
    for place in range(len(rows) - 1):
        body = encode_entry(msgspec.structs.replace(entries[place], at=7))
        previous = rows[place - 1][2] if place else bytes(32)
        row = (place, body, entry_hash(previous, place, body))
        with pytest.raises(ConfigurationError, match=rf"^ledger.entry {place + 1} does not cont"):
            History.of([*rows[:place], row, *rows[place + 1 :]])


def test_a_changed_database_is_not_opened_and_an_open_one_not_written_to(tmp_path):
    path = tmp_path / "ledger"
    worked(path)
    rows = rows_of(path)
    with found(path) as ledger:
        number, body, head = rows[-1]
        for other in (rows[:-1], [*rows[:-1], (number, body, head[::-1])]):
            replace_rows(path, other)
            with pytest.raises(ConfigurationError, match=r"^ledger.entry 9 is no longer what"):
                ledger.reserve(KEY, RUN, 9, 1, [pure(1)])
            assert rows_of(path) == other
        with pytest.raises(ConfigurationError, match=r"^ledger.entry 9 does not continue"):
            open_again(path)
        replace_rows(path, rows)
        ledger.reserve(KEY, RUN, 9, 1, [pure(1)])
        replace_rows(path, [rows[0], (1, b"x", b"y"), *rows[2:]])
        with pytest.raises(ConfigurationError, match=r"^ledger.entry 1 does not continue"):
            ledger.verify()


def continued(rows, *entries):
    """Rows with others behind them, whose hashes fit."""
    rows = list(rows)
    for entry in entries:
        body, number = encode_entry(entry), len(rows)
        rows.append((number, body, entry_hash(rows[-1][2], number, body)))
    return rows


@pytest.mark.parametrize(
    "lie",
    [
        Voided(1, 5, "refunded", 0.0, "sum"),  # was settled
        Voided(1, 2, "refunded", 0.0, "sum"),  # was void
        Settled(1, 5, (pure(0),), 0.0, "sum"),  # was settled
        Settled(1, 2, (pure(0),), 0.0, "sum"),  # was void
        Unmasking(1, 99),  # was never reserved
        Amended(1, KEY, BudgetTerms("replace-one", 20.0, 1e-5), 0.0, "sum", "b", "r"),  # forgets
        Amended(1, KEY, BudgetTerms("replace-one", 1.0, 1e-5), 2.0, "sum", "b", "r"),  # too low
        Amended(1, KEY, BudgetTerms("swap", 20.0, 1e-5), 2.0, "sum", "b", "r"),  # redefines
        Opened(1, KEY, BudgetTerms("replace-one", 9.0, 1e-5), "b", "r"),  # begins anew
        Refused(1, Request(KEY, RUN, 9, 1, (pure(1),)), 3.0, "sum"),  # was affordable
        Reserved(1, Request(KEY, RUN, 9, 1, (pure(99),)), 101.0, "sum"),  # was not
        Reserved(1, Request(KEY, RUN, 1, 1, (pure(1),)), 3.0, "sum"),  # was reserved
        Founded(1, bytes(16)),  # was founded
    ],
)
def test_hashes_that_fit_do_not_make_a_row_lawful(tmp_path, lie):
    # The operator can compute any hash: the rules are checked beside it.
    worked(tmp_path / "ledger")
    rows = rows_of(tmp_path / "ledger")
    with pytest.raises(ConfigurationError, match=r"^(reservation|budget|ledger)\W"):
        History.of(continued(rows, lie))


@pytest.mark.parametrize("charged", [-1.0, float("nan"), float("-inf")])
def test_a_charge_that_is_no_cost_is_not_lawful(tmp_path, charged):
    worked(tmp_path / "ledger")
    rows = rows_of(tmp_path / "ledger")
    tried = set()
    for place, entry in enumerate(History.of(rows).entries):
        if hasattr(entry, "charged"):
            lie = msgspec.structs.replace(entry, charged=charged)
            with pytest.raises(ConfigurationError, match=r"charged"):
                History.of(continued(rows[:place], lie))
            tried.add(type(entry).__name__)
    assert tried == {"Reserved", "Settled", "Voided"}


def test_honest_receipts_contradict_nothing(tmp_path):
    path = tmp_path / "ledger"
    heads = worked(path)
    with found(path) as ledger:
        told = ledger.verify(heads + heads, operator=OPERATOR.public)
        assert (told.findings, told.receipts, told.rows) == ((), 6, 10)
        with pytest.raises(ConfigurationError, match="receipts without an operator"):
            ledger.verify(heads)


def test_every_truncation_that_a_receipt_has_seen_is_found(tmp_path):
    path = tmp_path / "ledger"
    heads = worked(path)
    rows = rows_of(path)
    for kept in range(1, len(rows)):
        cut = History.of(rows[:kept]).verify(heads, operator=OPERATOR.public)
        gone = [place for place, head in enumerate(heads) if head.number >= kept]
        assert [finding.receipt for finding in cut.contradicted] == gone
        assert set(kinds(cut)) <= {Contradiction.TRUNCATED}


def test_a_cut_that_nobody_has_a_receipt_of_is_not_claimed_to_be_found(tmp_path):
    # The limit that the documentation states.
    path = tmp_path / "ledger"
    heads = worked(path)
    rows = rows_of(path)
    assert not History.of(rows[:-1]).verify(heads[:2], operator=OPERATOR.public).findings


def test_every_rewriting_of_what_a_receipt_has_seen_is_found(tmp_path):
    # Rewritten by the operator itself, from some row on, in a chain that is sound.
    path = tmp_path / "ledger"
    heads = worked(path)
    rows = rows_of(path)
    entries = History.of(rows).entries
    for first in range(1, len(rows)):
        later = [msgspec.structs.replace(entry, at=entry.at + 1) for entry in entries[first:]]
        told = History.of(continued(rows[:first], *later)).verify(heads, operator=OPERATOR.public)
        seen = [place for place, head in enumerate(heads) if head.number >= first]
        assert [finding.receipt for finding in told.contradicted] == seen
        assert set(kinds(told)) <= {Contradiction.REWRITTEN}


def test_two_histories_told_to_two_clients_are_found_wherever_one_looks(tmp_path):
    path, copy = tmp_path / "ledger", tmp_path / "copy"
    worked(path)
    shutil.copy(path, copy)
    with found(path) as one, found(copy) as other:
        one.reserve(KEY, RUN, 7, 1, [pure(1)])
        other.reserve(KEY, RUN, 7, 1, [pure(2)])
        pool = [one.signed_head(OPERATOR), other.signed_head(OPERATOR)]
        assert kinds(one.verify(pool, operator=OPERATOR.public)) == [
            Contradiction.FORKED,
            Contradiction.REWRITTEN,
        ]
        assert kinds(other.verify(pool, operator=OPERATOR.public)) == [
            Contradiction.REWRITTEN,
            Contradiction.FORKED,
        ]
        # Even against rows that know neither.
        early = History.of(rows_of(path)[:4]).verify(pool, operator=OPERATOR.public)
        assert kinds(early) == [
            Contradiction.TRUNCATED,
            Contradiction.FORKED,
            Contradiction.TRUNCATED,
        ]


def test_what_the_operator_did_not_sign_accuses_nobody(tmp_path):
    path = tmp_path / "ledger"
    (*_, honest) = worked(path)
    forged = [
        SignedHead.sign(OTHER, honest.ledger, 3, bytes(32)),
        msgspec.structs.replace(honest, head=bytes(32)),
        msgspec.structs.replace(honest, number=honest.number + 1),
        msgspec.structs.replace(honest, ledger=bytes(16)),
        msgspec.structs.replace(honest, signature=bytes(64)),
        msgspec.structs.replace(
            SignedHead.sign(OTHER, honest.ledger, 3, bytes(32)), operator=OPERATOR.public
        ),
    ]
    with found(path) as ledger:
        told = ledger.verify([*forged, honest], operator=OPERATOR.public)
    assert kinds(told) == [Contradiction.NOT_SIGNED] * len(forged)
    assert told.contradicted == ()


def test_a_receipt_of_another_ledger_is_told_and_accuses_nobody(tmp_path):
    heads = worked(tmp_path / "one", name=1)
    worked(tmp_path / "two", name=2)
    with found(tmp_path / "two") as ledger:
        told = ledger.verify(heads, operator=OPERATOR.public)
    assert kinds(told) == [Contradiction.ANOTHER_LEDGER] * 3
    assert told.contradicted == ()


@given(place=st.integers(0, 95), flip=st.integers(1, 255))
def test_no_byte_of_a_signed_head_can_be_changed(place, flip):
    head = SignedHead.sign(OPERATOR, b"l" * 16, 7, b"h" * 32)
    for name in ("ledger", "head", "signature", "operator"):
        value = getattr(head, name)
        at = place % len(value)
        other = value[:at] + bytes([value[at] ^ flip]) + value[at + 1 :]
        assert not msgspec.structs.replace(head, **{name: other}).is_signed_by(OPERATOR.public)
    assert head.is_signed_by(OPERATOR.public)
