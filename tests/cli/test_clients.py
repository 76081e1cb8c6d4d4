"""A client's own words: its receipts, pooled with others' against a ledger, and its statement."""

import json
import re
from pathlib import Path

import pytest

from fedprivacy.ledger import BudgetLedger
from fedprivacy.ledger.heads import load_heads

LAST_SETTLED, ROWS = 31, 33
"""Of the demo's ledger: two rows begin it, three are of each of ten rounds, one is a refusal."""


@pytest.fixture(scope="module")
def ran(demo):
    """The folder of a real run: ten rounds and one that was refused, some hospitals lost."""
    (folder,) = (demo[1] / "runs").iterdir()
    return folder


@pytest.fixture
def pool(cli, ran):
    """What all clients keep, each exported by its own command; their files."""
    files = []
    for store in sorted((ran / "clients").iterdir()):
        out = Path(f"{store.stem}.jsonl")
        done = cli("budget", "receipts", store, *anchored(ran, store), "--out", out)
        assert (done.code, done.err) == (0, "")
        files.append(out)
    return files


def anchored(ran, store):
    return "--anchor", ran / "anchors" / f"{store.stem}.json"


@pytest.fixture
def verify(cli, ran):
    def run(place, *files):
        given = [word for file in files for word in ("--receipts", file)]
        return cli("budget", "verify", *place, *given, "--operator", ran / "operator.pub")

    return run


@pytest.fixture
def rows(cli, ran):
    """The ledger as it was exported: canonical rows without their hashes."""
    cli("budget", "export", "--ledger", ran / "ledger.db", "--out", "ledger.json")
    document = json.loads(Path("ledger.json").read_text("utf-8"))
    assert len(document["rows"]) == ROWS
    return document


def told(document, rows):
    Path("told.json").write_text(json.dumps(document | {"rows": rows}), "utf-8")
    return "--export", "told.json"


def findings(done):
    """Receipts, and the kind of what they say, a line each."""
    return [
        tuple(re.fullmatch(r"(.*): ([a-z ]+), (row .*)", line).groups())
        for line in done.out.splitlines()[3:]
    ]


def kept_from(pool, row):
    """How many receipts are of this row or of a later one."""
    heads = [head for file in pool for head in load_heads(file.read_text("utf-8"))]
    return sum(head.number >= row for head in heads)


# ------------------------------------------------------------------ receipts


def test_every_round_left_a_head_before_it_and_one_after(pool):
    numbers = [head.number for head in load_heads(pool[0].read_text("utf-8"))]
    before = [2 + 3 * done for done in range(10)]
    assert numbers[:2] == [2, 4]
    assert set(numbers) <= {*before, *(row + 2 for row in before)}
    assert max(numbers) == LAST_SETTLED


def test_without_a_file_receipts_go_to_stdout(cli, ran, pool):
    store = ran / "clients" / "hospital-01.db"
    done = cli("budget", "receipts", store, *anchored(ran, store))
    assert done.out == Path("hospital-01.jsonl").read_text("utf-8")


def test_an_untouched_ledger_agrees_with_all(verify, ran, rows, pool):
    count = kept_from(pool, 0)
    assert count > 20 * 15
    for place in (("--ledger", ran / "ledger.db"), told(rows, rows["rows"])):
        done = verify(place, *pool)
        assert (done.code, done.err) == (0, "")
        assert f"{count} receipts, of which {count} agree with it" in done.out


def test_a_settled_round_that_was_cut_off_is_found(verify, rows, pool):
    done = verify(told(rows, rows["rows"][:LAST_SETTLED]), *pool)
    assert done.code == 6
    assert [kind for _, kind, _ in findings(done)] == ["truncated"]
    gone = kept_from(pool, LAST_SETTLED)
    assert f"the ledger contradicts {gone} receipts: row {LAST_SETTLED} was signed" in done.err


def test_what_nobody_has_a_receipt_of_is_cut_off_unseen_and_not_claimed(verify, rows, pool):
    """The refusal after the last settled round: no head of it was ever given to anybody."""
    assert kept_from(pool, LAST_SETTLED + 1) == 0
    done = verify(told(rows, rows["rows"][: LAST_SETTLED + 1]), *pool)
    assert (done.code, findings(done)) == (0, [])
    # Cut to before the first receipt, everything is found; by nobody's receipts, nothing is.
    done = verify(told(rows, rows["rows"][:2]), *pool)
    assert f"the ledger contradicts {kept_from(pool, 0)} receipts" in done.err
    done = verify(told(rows, rows["rows"][:2]))
    assert (done.code, done.err) == (0, "")
    assert "no receipts were compared: what nobody kept a head of could" in done.out


@pytest.mark.parametrize("row", [1, 4, 20, LAST_SETTLED, LAST_SETTLED + 1])
def test_a_row_that_was_rewritten_is_found_by_every_later_receipt(verify, rows, pool, row):
    changed = list(rows["rows"])
    body = bytearray.fromhex(changed[row])
    at = body.index(b"\xce") + 4  # the last byte of the row's time
    body[at] ^= 1
    changed[row] = body.hex()
    done = verify(told(rows, changed), *pool)
    seen = kept_from(pool, row)
    assert done.code == (6 if seen else 0)
    assert {kind for _, kind, _ in findings(done)} == ({"rewritten"} if seen else set())
    assert len(findings(done)) == len({line for _, _, line in findings(done)})  # a line a row
    if seen:
        assert f"the ledger contradicts {seen} receipts" in done.err


def test_a_receipt_that_is_none_is_named_by_its_line(verify, ran, pool):
    pool[0].write_text(pool[0].read_text("utf-8").replace('"number":4', '"number":true'), "utf-8")
    done = verify(("--ledger", ran / "ledger.db"), *pool)
    assert (done.code, done.out) == (2, "")
    assert "hospital-01.jsonl, line 2: Expected `int`, got `bool`" in done.err


def test_what_is_no_store_is_not_made_one(cli, tmp_path):
    for words in (("budget", "receipts", "none.db"), ("report", "--client", "none.db")):
        done = cli(*words)
        assert (done.code, done.out) == (2, "")
        assert "none.db is no client's store" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_its_anchor_tells_nothing(cli, ran):
    done = cli("report", "--client", ran / "clients" / "hospital-01.db")
    assert (done.code, done.out) == (3, "")
    assert "without an anchor" in done.err


# ------------------------------------------------------------------ the statement


@pytest.fixture
def report(cli, ran, hospitals):
    def run(*words, policy=True):
        store = ran / "clients" / "hospital-01.db"
        given = ("--policy", hospitals / "client.toml") if policy else ()
        done = cli("report", "--client", store, *anchored(ran, store), *given, *words)
        assert (done.code, done.err) == (0, "")
        return done.out

    return run


def test_one_hospitals_statement_in_three_forms(report, ran):
    said = json.loads(report("--units", 426, "--format", "json"))
    (data,) = said["datasets"]
    with BudgetLedger(ran / "ledger.db", clock=lambda: 0) as ledger:
        (budget,) = ledger.budgets()
    # All were asked in every round: the client's own charges come to what the server's do.
    assert data["rounds"] == said["sent"] == 10
    assert data["epsilon"] == pytest.approx(budget.charged)
    assert data["remaining"] == pytest.approx(4.0 - budget.charged)
    assert (data["unit"], data["adjacency"]) == ("patient", "add-or-remove-one")
    assert said["receipts"][0]["last_row"] == LAST_SETTLED
    page = report("--units", 426, "--format", "html")
    assert page.startswith("<!doctype html>")
    for form in (report("--units", 426), re.sub(r"<[^>]*>", " ", page)):
        words = " ".join(form.split())
        assert "1e-05)-differentially private for one patient of wisconsin-breast-cancer" in words
        assert "What this does not say" in words


def test_without_a_policy_no_epsilon_is_stated(report):
    said = json.loads(report("--format", "json", policy=False))
    (data,) = said["datasets"]
    assert (data["epsilon"], data["remaining"], data["delta"]) == (None, None, None)
    assert "not stated: give the policy" in report(policy=False)
