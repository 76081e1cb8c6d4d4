"""`fedprivacy attack audit`: exit codes, the record that it goes into, refusals in one line."""

import json

import pytest

from audits import less_noise
from fedprivacy.rounds import RunRecord


@pytest.fixture
def run(project, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    text = (project / "docs/example-run/record.json").read_text("utf-8")
    (folder / "record.json").write_text(text, "utf-8")
    return folder


def test_an_audit_of_a_run_stands_in_its_record_and_its_report(cli, run):
    before = RunRecord.from_json((run / "record.json").read_bytes())
    done = cli("attack", "audit", "--run", run, "--runs", 1, "--canaries", 256)
    assert done.code == 0
    assert "speaks against what is accounted" in done.out
    assert "20 clients of whom 2 add no noise, 256 canaries, 100 guesses: held" in done.err
    after = RunRecord.from_json((run / "record.json").read_bytes())
    assert after.audit.clients == 20
    assert before.rounds == after.rounds
    cli("report", run)
    assert "epsilon shown by the canaries" in (run / "report.html").read_text("utf-8")


def test_a_refuted_claim_fails(cli):
    with less_noise(400):
        done = cli("attack", "audit", "--runs", 1, "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert found["accused"]
    assert found["lower_bound"] > found["epsilon"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{plan}",), "Give --clients"),
        (("{plan}", "--run", "{run}"), "are two plans: name one of them"),
        (("--canaries", 1000), "canaries = 1000 is no power of two"),
        (("--delta", "1e-3"), "claim a smaller delta"),
        (("--guesses", 3), "guesses = 3 about 1024 canaries"),
        (("--run", "nowhere"), "nowhere/record.json: No such file"),
    ],
)
def test_what_cannot_be_audited_is_one_line(cli, run, hospitals, words, said):
    given = [str(w).format(plan=hospitals / "privacy.toml", run=run) for w in words]
    done = cli("attack", "audit", *given)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
