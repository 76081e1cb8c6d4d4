"""`fedprivacy attack audit`: exit codes, the record that it goes into, refusals in one line."""

import json

import pytest

from audits import PLAN, less_noise
from fedprivacy.attacks.auditing.canaries import CanaryRun
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


def test_an_interrupted_audit_says_where_it_goes_on_and_does(cli, run, monkeypatch):
    words = ("attack", "audit", "--run", run, "--runs", 2, "--canaries", 256)
    scores, ended = CanaryRun.observed, []

    def once(self, *, rng):
        if ended:
            raise KeyboardInterrupt
        ended.append(1)
        return scores(self, rng=rng)

    with monkeypatch.context() as patch:
        patch.setattr(CanaryRun, "observed", once)
        stopped = cli(*words)
    assert stopped.code == 130
    assert f"what had ended is in {run}: run the same to go on" in stopped.err
    assert RunRecord.from_json((run / "record.json").read_bytes()).audit is None
    done = cli(*words, "--json")
    assert "seed 1: " in done.err
    assert done.err.count("(kept)") == 1
    found = json.loads(done.out)
    assert (found["runs"], found["unit"]) == (2, "patient")
    assert not list((run / "attacks").iterdir())


def test_a_plan_whose_unit_is_a_client_is_audited(cli, tmp_path):
    plan = tmp_path / "privacy.toml"
    plan.write_text(PLAN.replace("patient", "client"), "utf-8")
    done = cli("attack", "audit", plan, "--clients", 12, "--runs", 8, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["unit"], found["canaries"], found["clients"]) == ("client", 10, 12)
    few = cli("attack", "audit", plan, "--clients", 12, "--runs", 2)
    assert few.code == 2
    assert "take more runs, guesses or canaries" in few.err


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
        (("--canaries", 4096), "10 clients hold 1280 units: take fewer"),
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
