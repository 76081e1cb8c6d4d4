"""`fedprivacy run` and `fedprivacy demo`: one document, two files, lines of progress, tables."""

import json
import re
import stat
import sys

import msgspec
import pytest

from fedprivacy.rounds import RoundRecord, RunRecord


@pytest.fixture
def record(demo):
    return RunRecord.from_json(demo[0].out)


@pytest.fixture
def folder(demo):
    (found,) = (demo[1] / "runs").iterdir()
    return found


def test_the_demo_prints_one_document_and_nothing_else(demo, record):
    done, _ = demo
    assert done.code == 0
    assert json.loads(done.out)["schema"] == "fedprivacy/record/1"
    assert record.to_json() == done.out
    assert len(record.rounds) == 11


def test_its_files_are_the_same_record(demo, record, folder):
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", folder.name)
    assert folder.name.endswith(record.run_id[:8])
    assert (folder / "record.json").read_text("utf-8") == demo[0].out
    lines = (folder / "rounds.jsonl").read_text("utf-8").splitlines()
    assert [msgspec.json.decode(line, type=RoundRecord) for line in lines] == list(record.rounds)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_progress_is_a_line_a_round_on_stderr(demo, record):
    lines = demo[0].err.splitlines()
    assert len(lines) == 15
    assert lines[0] == "round 1 of 11: sum over 20 clients"
    assert lines[3] == "round 4 of 11: sum over 19 clients; lost before input: hospital-11"
    assert lines[7].endswith("lost before input: hospital-01, hospital-10, hospital-20")
    assert lines[10] == "round 11 of 11: refused (budget)"
    assert lines[11].startswith("attacked: one client's update, read off what it uploaded: 0.0")
    assert lines[12].startswith("attacked: who was trained on, by all sums of the run together: 0.")
    assert lines[13].startswith("the record is in runs/")
    assert lines[14].startswith("the report is runs/")
    assert "\x1b" not in demo[0].err


def test_it_ends_with_attacks_on_itself_and_a_report(folder):
    page = (folder / "report.html").read_text("utf-8")
    assert "own-upload" in page
    assert "own-members" in page
    told = json.loads((folder / "report.json").read_text("utf-8"))
    for result in told["attacks"]:
        (run,) = result["measured"]
        assert run["bound"] is None or run["target"] <= run["bound"]


def test_without_the_extra_for_it_there_is_no_report_and_nothing_fails(cli, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = cli("run", small / "job.toml", "--protocol", "plain", "--attack", "--out", "here")
    assert done.code == 0
    assert "no report is written: a report in HTML needs" in done.err
    assert "1.00, control 0.0" in done.err


def test_the_committed_example_is_what_the_demo_still_does(record, project):
    kept = RunRecord.from_json((project / "docs/example-run/record.json").read_text("utf-8"))
    stale = "docs/example-run/record.json is stale: run `make readme`"
    assert kept.plan == record.plan, stale
    assert kept.guarantee == record.guarantee, stale
    for old, new in zip(kept.rounds, record.rounds, strict=True):
        assert (old.outcome, old.weight) == (new.outcome, new.weight), stale
        for before, now in zip(old.attempts, new.attempts, strict=True):
            assert before.survivors == now.survivors, stale
            assert [(p.phase, p.lost, p.bytes_up_most) for p in before.phases] == [
                (p.phase, p.lost, p.bytes_up_most) for p in now.phases
            ], stale
        # The noise is random, and the accuracy with it: that of the same run without is not.
        before, now = (r.simulation_only.accuracy_unprotected for r in (old, new))
        assert before == now, stale


def test_the_tables_come_again_from_the_record_alone(cli, demo, folder):
    from_folder = cli("record", "show", folder)
    from_file = cli("record", "show", folder / "record.json")
    assert (from_folder.code, from_folder.err) == (0, "")
    assert from_folder.out == from_file.out
    assert "How each round ended, and what its sum is over" in from_folder.out
    assert max(map(len, from_folder.out.splitlines())) <= 80


def test_a_run_prints_its_tables_and_where_its_files_are(cli, small):
    done = cli("run", small / "job.toml", "--out", "here", "--seed", "5", "--protocol", "plain")
    assert done.code == 0
    assert done.out.startswith("2 rounds of plain among 20 clients")
    assert "- Nothing is hidden: the server sees every client's update." in done.out
    where = done.err.splitlines()[-1].removeprefix("the record is in ")
    assert where.startswith("here/")
    assert cli("record", "show", where).out == done.out
    text = (small.parent / where / "record.json").read_text("utf-8")
    assert RunRecord.from_json(text).simulation_only.seed == 5


def test_another_protocol_says_whom_it_defends_against(cli, small):
    done = cli("run", small / "job.toml", "--protocol", "secagg+", "--json")
    assert done.code == 0
    record = RunRecord.from_json(done.out)
    assert [r.outcome for r in record.rounds] == ["sum"] * 2
    guarantee = record.guarantee
    assert (guarantee.protocol, guarantee.adversary) == ("secagg+", "semi-malicious")
    assert done.err.splitlines()[0] == (
        "protocol = secagg+: the adversary is semi-malicious, a server that is honest until all "
        "hold one root of keys and graph"
    )
    done = cli("run", small / "job.toml", "--protocol", "plain")
    assert done.err.splitlines()[0] == (
        "protocol = plain: nothing is hidden, the server sees every update"
    )


@pytest.mark.nightly  # two rounds of it are in the test above
def test_the_demo_on_a_sparse_graph(cli):
    done = cli("demo", "--protocol", "secagg+")
    assert done.code == 0
    assert done.out.startswith("11 rounds of secagg+ among 20 clients")
    assert done.err.count(": sum over ") == 10


def test_an_open_protocol_is_settled_before_anything_runs(cli, small):
    plan = small / "privacy.toml"
    plan.write_text(plan.read_text("utf-8").replace('"secagg"', '"auto"'), "utf-8")
    done = cli("run", small / "job.toml", "--json")
    assert done.code == 0
    assert RunRecord.from_json(done.out).plan.aggregation.protocol == "secagg"
    assert done.err.splitlines()[0] == (
        "protocol = auto takes secagg for 20 clients: only the complete graph withstands a server "
        "that lies from the start"
    )


def test_auto_may_be_asked_for(cli, small):
    done = cli("run", small / "job.toml", "--protocol", "auto", "--json")
    assert done.code == 0
    assert RunRecord.from_json(done.out).plan.aggregation.protocol == "secagg"
    first, second, *_ = done.err.splitlines()
    assert first.startswith("protocol = auto takes secagg for 20 clients: ")
    assert second == "protocol = secagg: the adversary is malicious, a server that may lie"


def test_a_run_that_all_decline_names_what_most_of_them_said(cli, small):
    policy = small / "client.toml"
    policy.write_text(policy.read_text("utf-8").replace("epsilon = 4.0", "epsilon = 0.5"), "utf-8")
    done = cli("run", small / "job.toml", "--json")
    assert done.code == 5
    attempts = [a for r in RunRecord.from_json(done.out).rounds for a in r.attempts]
    told = sum(len(attempt.refused) for attempt in attempts)
    assert told >= 40
    assert done.err.splitlines()[-1] == (
        "fedprivacy: round aborted (too-few): none of 2 rounds ended with a sum, and clients "
        f"declined: budget ({told} of {told} times)"
    )


def test_a_run_without_any_sum_tells_so_and_exits_with_5(cli, small):
    job = small / "job.toml"
    drops = "".join(
        f'{{ round = {r}, client = "hospital-{c:02d}", before = "input" }},'
        for r in (1, 2)
        for c in range(1, 10)
    )
    job.write_text(job.read_text("utf-8") + f"[faults]\ndrop = [{drops}]\n", "utf-8")
    done = cli("run", job, "--json")
    assert done.code == 5
    assert {r.outcome for r in RunRecord.from_json(done.out).rounds} == {"aborted"}
    lines = done.err.splitlines()
    assert lines[0].startswith("round 1 of 2: aborted (too-few); lost before attempt 1, input: ")
    assert lines[-1] == "fedprivacy: round aborted (too-few): none of 2 rounds ended with a sum"


def test_an_unknown_protocol_is_refused_with_the_known_ones(cli, small):
    done = cli("run", small / "job.toml", "--protocol", "secag")
    assert done.code == 2
    known = "bfv, ckks, ckks-8192, oneshot, plain, secagg, secagg+, auto"
    assert done.err == f"fedprivacy: --protocol secag is unknown: choose from {known}\n"


def test_a_run_that_did_not_end_has_no_record_to_show(cli, tmp_path):
    (tmp_path / "half").mkdir()
    done = cli("record", "show", "half")
    assert done.code == 2
    assert done.err == (
        "fedprivacy: half/record.json is not there: that run did not come to its end\n"
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_what_is_no_record_is_refused(cli, tmp_path, text):
    (tmp_path / "record.json").write_text(text, "utf-8")
    done = cli("record", "show", ".")
    assert done.code == 2
    assert done.err.startswith("fedprivacy: record.json is no record of a run: ")
    assert done.err.count("\n") == 1


def test_the_published_schema_is_not_stale(cli, project):
    printed = cli("record", "schema").out
    kept = (project / "protocols/round/record.schema.json").read_text("utf-8")
    assert kept == printed, "run `make schema`"
