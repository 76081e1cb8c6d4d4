"""`fedprivacy budget` over a ledger's life: opened, spent from, amended, audited, closed."""

import json
import sqlite3
from pathlib import Path

import pytest

from budgets import KEY, RUN, PlainSum, found, pure
from fedprivacy.crypto import Identity
from fedprivacy.errors import BudgetExhausted
from fedprivacy.ledger import BudgetLedger
from fedprivacy.ledger.heads import store_heads

WHO = ("--approver", "ethics board", "--reason", "study 12")
AT = ("--ledger", "ledger.sqlite")
WHOSE = ("cohort-7", "patient")
LIMITS = ("--epsilon", 8, "--delta", 1e-6, "--adjacency", "replace-one")


def ledger():
    return BudgetLedger("ledger.sqlite", clock=lambda: 1_700_000_000, accountant=PlainSum())


@pytest.fixture
def opened(cli):
    done = cli("budget", "open", *WHOSE, *LIMITS, *WHO, *AT)
    assert (done.code, done.err) == (0, "")
    return done.out


@pytest.fixture
def spent(cli, opened):
    """Rounds of every end; the head that a client kept after the third."""
    cli("keys", "authority", "operator", "--out", ".")
    key = Identity.load("operator.key", "operator").key
    with ledger() as book:
        for number, end in enumerate(("settled", "void", "settled", "unmasked", "open"), start=1):
            reservation = book.reserve(KEY, RUN, number, 1, [pure(2)])
            if end == "void":
                book.void(reservation, reason="too few clients")
            if end in {"settled", "unmasked"}:
                book.journal_unmasking(reservation)
            if end == "settled":
                book.settle(reservation, [pure(1.5)])
            if number == 3:
                kept = book.signed_head(key)
        with pytest.raises(BudgetExhausted):
            book.reserve(KEY, RUN, 6, 1, [pure(2)])
    return kept


def columns(line):
    return line.split()


def test_a_budget_is_opened_and_shown(cli, opened):
    shown = cli("budget", "show", *AT)
    assert shown.out == opened
    assert columns(shown.out.splitlines()[-1]) == [*WHOSE, "open", "0", "8", "1e-06", "0", "0"]


def test_the_place_may_stand_in_the_environment(cli, opened, monkeypatch):
    monkeypatch.setenv("FEDPRIVACY_LEDGER", "ledger.sqlite")
    assert cli("budget", "show").out == opened


def test_without_a_place_it_is_asked_for(cli):
    done = cli("budget", "show")
    assert (done.code, done.out) == (2, "")
    assert "give --ledger, or set FEDPRIVACY_LEDGER" in done.err


def test_what_is_charged_is_shown(cli, spent):
    last = cli("budget", "show", *AT).out.splitlines()[-1]
    assert columns(last) == [*WHOSE, "open", "7", "8", "1e-06", "2", "2"]


def test_the_log_has_every_row(cli, spent):
    lines = cli("budget", "log", *AT).out.splitlines()
    kinds = [columns(line)[3] for line in lines]
    step = ["reserved", "unmasking", "settled"]
    assert kinds == [
        *("founded", "opened"),
        *step,
        *("reserved", "voided"),
        *step,
        *("reserved", "unmasking", "reserved", "refused"),
    ]
    assert [int(columns(line)[0]) for line in lines] == list(range(len(lines)))
    assert "2023-11-14 22:13:20Z" in lines[2]
    assert lines[1].endswith("epsilon 8, delta 1e-06, replace-one; ethics board: study 12")
    assert lines[-1].endswith("round 6, attempt 1; would be 9 by sum")


def test_an_amendment_and_the_end(cli, spent):
    amended = cli("budget", "amend", *WHOSE, "--epsilon", 9, *WHO, *AT)
    assert columns(amended.out.splitlines()[-1])[4] == "9"
    with ledger() as book:
        book.reserve(KEY, RUN, 7, 1, [pure(2)])
    below = cli("budget", "amend", *WHOSE, "--epsilon", 2, *WHO, *AT)
    assert (below.code, below.out) == (2, "")
    assert "epsilon = 2.0 is below the 9.0 that is charged" in below.err
    nothing = cli("budget", "amend", *WHOSE, *WHO, *AT)
    assert (nothing.code, nothing.err.count("\n")) == (2, 1)
    closed = cli("budget", "close", *WHOSE, *WHO, *AT)
    assert columns(closed.out.splitlines()[-1])[2] == "closed"
    again = cli("budget", "open", *WHOSE, *LIMITS, *WHO, *AT)
    assert (again.code, again.out) == (2, "")
    assert "exists: amend it" in again.err


def test_an_unknown_adjacency_is_refused_before_a_ledger_is_made(cli, tmp_path):
    done = cli("budget", "open", *WHOSE, *LIMITS[:-1], "swap", *WHO, *AT)
    assert (done.code, done.out) == (2, "")
    assert "--adjacency swap is unknown: choose from add-or-remove-one, replace-one" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_is_not_there_is_not_made(cli, tmp_path):
    for words in (("show",), ("log",), ("verify",), ("close", *WHOSE, *WHO)):
        done = cli("budget", *words, *AT)
        assert (done.code, done.out) == (2, "")
        assert "is no budget ledger" in done.err
    assert list(tmp_path.iterdir()) == []


def keep(head, path="receipts.json"):
    Path(path).write_text(store_heads([head]), "utf-8")


def test_an_honest_ledger_is_verified_with_receipts(cli, spent):
    keep(spent)
    done = cli("budget", "verify", *AT, "--receipts", "receipts.json", "--operator", "operator.pub")
    assert (done.code, done.err) == (0, "")
    assert "14 rows in one chain" in done.out
    assert "1 receipt, of which 1 agree with it" in done.out


def test_a_ledger_that_was_cut_exits_with_6(cli, spent):
    keep(spent)
    connection = sqlite3.connect("ledger.sqlite", isolation_level=None)
    connection.execute("DELETE FROM fedprivacy_budget WHERE number >= 7")
    connection.close()
    assert cli("budget", "verify", *AT).code == 0  # by itself, the rest is sound
    done = cli("budget", "verify", *AT, "--receipts", "receipts.json", "--operator", "operator.pub")
    assert done.code == 6
    assert (
        "receipts.json, receipt 1: truncated, row 9 was signed where the last one now is 6"
        in done.out
    )
    assert "the ledger contradicts 1 receipt: row 9" in done.err


@pytest.mark.parametrize("body", ["x'9900'", "'text'", "CAST(x'ff' AS TEXT)", "17", "1.5", "x''"])
def test_a_row_that_was_changed_exits_with_2(cli, spent, body):
    connection = sqlite3.connect("ledger.sqlite", isolation_level=None)
    connection.execute(f"UPDATE fedprivacy_budget SET body = {body} WHERE number = 4")
    connection.close()
    done = cli("budget", "verify", *AT)
    assert (done.code, done.out) == (2, "")
    said = "cannot be used" if "CAST" in body else "ledger.entry 4 "  # no text in UTF-8
    assert said in done.err


def test_an_auditor_needs_the_export_alone(cli, spent):
    keep(spent)
    done = cli("budget", "export", *AT, "--key", "operator.key", "--out", "ledger.json")
    assert (done.code, done.err) == (0, "")
    here = cli("budget", "log", *AT).out
    Path("ledger.sqlite").unlink()
    assert cli("budget", "log", "--export", "ledger.json").out == here
    words = ("--export", "ledger.json", "--receipts", "receipts.json", "--operator", "operator.pub")
    verified = cli("budget", "verify", *words)
    assert (verified.code, verified.err) == (0, "")
    assert "2 receipts, of which 2 agree with it" in verified.out  # the signed head is one
    document = json.loads(Path("ledger.json").read_text("utf-8"))
    document["rows"] = document["rows"][:-1]
    Path("ledger.json").write_text(json.dumps(document), "utf-8")
    assert cli("budget", "verify", *words).code == 6


def test_receipts_need_the_operators_key(cli, spent):
    keep(spent)
    done = cli("budget", "verify", *AT, "--receipts", "receipts.json")
    assert (done.code, done.out) == (2, "")
    assert "receipts without an operator" in done.err


def test_a_statement_in_three_forms(cli, spent):
    words = ("budget", "statement", *WHOSE, *AT, "--units", 426)
    text = cli(*words)
    assert (text.code, text.err) == (0, "")
    said = json.loads(cli(*words, "--format", "json").out)
    assert (said["epsilon"], said["limit"], said["dataset"]) == (7, 8, "cohort-7")
    page = cli(*words, "--format", "html").out
    assert page.startswith("<!doctype html>")
    for form in (" ".join(text.out.split()), " ".join(page.split())):
        assert "differentially private for one patient of cohort-7, under replace-one" in form
    again = cli("budget", "statement", *WHOSE, "--ledger", "none.sqlite")
    assert again.code == 2


def test_a_statement_of_a_plan_for_other_data_is_refused(cli, spent, hospitals):
    done = cli("budget", "statement", *WHOSE, *AT, "--plan", hospitals / "privacy.toml")
    assert (done.code, done.out) == (2, "")
    assert "give the plan that was charged to it" in done.err


def test_what_others_wrote_is_not_obeyed_by_a_terminal(cli, tmp_path):
    with found(tmp_path / "ledger.sqlite") as book:
        book.open_budget(
            KEY,
            adjacency="replace-one",
            epsilon=1.0,
            delta=1e-5,
            approver="\x1b[31mred",
            reason="two\nlines",
        )
    done = cli("budget", "log", *AT)
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) == 2
