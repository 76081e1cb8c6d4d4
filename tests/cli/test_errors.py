"""What goes wrong is said in one line on stderr, and the exit code says of which kind it is."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedprivacy import errors
from fedprivacy.cli import runs
from fedprivacy.errors import Reason

FEDPRIVACY = Path(sys.executable).with_name("fedprivacy")


def one_line(done, code):
    assert done.code == code
    assert done.out == ""
    assert done.err.startswith("fedprivacy: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    return done.err.removeprefix("fedprivacy: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn"], "no such command 'runn'. Did you mean 'run'? (see `fedprivacy --help`)"),
        (["run"], "missing argument 'JOB.toml' (see `fedprivacy run --help`)"),
        (["keys"], "missing command (see `fedprivacy keys --help`)"),
        (["run", "x", "--sead", "1"], "no such option"),
        (["run", "x", "--seed", "-1"], "invalid value for '--seed'"),
        (["--nonsense"], "no such option"),
    ],
)
def test_a_wrong_usage(cli, words, said):
    line = one_line(cli(*words), 2)
    assert line.startswith(said)
    assert "(see `fedprivacy" in line


@pytest.mark.parametrize(
    "words",
    [
        ["run", "nowhere.toml"],
        ["plan", "nowhere.toml"],
        ["record", "show", "nowhere"],
        ["keys", "enroll", "nowhere.json", "--into", "draft.json"],
        ["directory", "show", "nowhere.json"],
        ["pin", "nowhere.pub", "--store", "s.db"],
        ["budget", "verify", "--export", "nowhere.json"],
    ],
)
def test_a_file_that_is_not_there(cli, words):
    line = one_line(cli(*words), 2)
    named = next(word for word in words if word.startswith("nowhere"))
    assert line == f"{named}: No such file or directory"


def test_an_unknown_key_names_the_nearest_spelling(cli, small):
    plan = small / "privacy.toml"
    plan.write_text(plan.read_text("utf-8").replace("min_clients", "min_client"), "utf-8")
    for words in (["plan", plan], ["run", small / "job.toml"]):
        line = one_line(cli(*words), 2)
        assert line == "plan.aggregation.min_client is not a key: did you mean min_clients?"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            'adversary = "malicious"',
            'adversary = "evil"',
            (
                "plan.aggregation.adversary = evil is unknown: choose from honest-but-curious, "
                "semi-malicious, malicious"
            ),
        ),
        (
            'scheme = "all"',
            'scheme = "some"',
            "plan.sampling.scheme = some is unknown: choose from all, poisson",
        ),
    ],
)
def test_an_unknown_choice_is_told_all_choices(cli, small, before, after, said):
    plan = small / "privacy.toml"
    plan.write_text(plan.read_text("utf-8").replace(before, after), "utf-8")
    assert one_line(cli("plan", plan), 2) == said


def test_an_unknown_choice_of_a_flag_is_told_all_choices(cli):
    words = ("plan", "--clients", "100", "--adversary", "evil")
    assert one_line(cli(*words), 2) == (
        "--adversary evil is unknown: choose from honest-but-curious, semi-malicious, malicious"
    )


def test_a_refusal_names_path_value_floor_and_remedy(cli, small):
    policy = small / "client.toml"
    policy.write_text(policy.read_text("utf-8").replace("corrupt = 2", "corrupt = 4"), "utf-8")
    line = one_line(cli("run", small / "job.toml"), 3)
    assert line == (
        "plan.aggregation.corrupt = 2 is below your policy's 4: ask the operator to raise it"
    )
    assert not (small.parent / "runs").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("why"), 2),
        (errors.PolicyRefused(Reason.POLICY_CORRUPT, "a.b", 1, 2, "why"), 3),
        (errors.BudgetExhausted("why"), 4),
        (errors.RoundAborted(Reason.TOO_FEW, "why"), 5),
        (errors.PeerError(Reason.MALFORMED, "why"), 6),
        (errors.MissingExtra("demo", "why"), 7),
        (KeyboardInterrupt("why"), 130),
        (PermissionError(13, "why", "some.file"), 2),
    ],
)
def test_every_family_has_its_code(cli, monkeypatch, small, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(runs, "_simulate", fail)
    assert "why" in one_line(cli("run", small / "job.toml"), code)


def test_a_traceback_only_when_asked_for(cli):
    done = cli("--debug", "run", "nowhere.toml")
    assert done.code == 2
    assert done.err.startswith("Traceback")
    assert done.err.splitlines()[-1] == "fedprivacy: nowhere.toml: No such file or directory"


def a_bug(*words):
    code = (
        "import sys; from fedprivacy.cli import main, runs\n"
        "def fail(*_, **__): raise KeyError('a secret')\n"
        "runs._simulate = fail\n"
        "main(sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )


def test_a_bug_is_one_line_that_quotes_nothing(small):
    done = a_bug("run", str(small / "job.toml"))
    assert done.returncode == 1
    where = "KeyError at <string>:2"
    assert done.stderr == (
        f"fedprivacy: a bug, {where}: run `fedprivacy --debug ...` for the traceback\n"
    )


def test_a_bug_with_its_traceback(small):
    done = a_bug("--debug", "run", str(small / "job.toml"))
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


def test_foreign_text_can_neither_break_the_line_nor_command_the_terminal(cli, small):
    plan = small / "privacy.toml"
    hostile = '"[bold]x[/]\\u001b[2J\\nfedprivacy: all is well"'
    plan.write_text(plan.read_text("utf-8").replace('"secagg"', hostile), "utf-8")
    line = one_line(cli("plan", plan), 2)
    assert "[bold]x[/]\\x1b[2J\\nfedprivacy: all is well is unknown" in line


def test_ctrl_c_ends_a_run_in_one_line(project, tmp_path):
    running = subprocess.Popen(
        [FEDPRIVACY, "run", project / "examples/hospitals/job.toml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background ignore the signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    first = running.stderr.readline()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert first == "round 1 of 11: sum over 20 clients\n"
    assert running.returncode == 130
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("fedprivacy: interrupted: the rounds that ended are in runs/")
    assert "Traceback" not in err
    folder = tmp_path / last.rpartition(" in ")[2]
    assert (folder / "rounds.jsonl").read_text("utf-8").count("\n") >= 1


def test_a_reader_who_leaves_is_no_error(tmp_path):
    code = (
        "import os, sys, typer; from fedprivacy.cli import app, main\n"
        "@app.app.command('flood')\n"
        "def flood() -> None:\n"
        "    while True: sys.stdout.write('x' * 100_000)\n"
        "main(['flood'])"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    running.stdout.read(10)
    running.stdout.close()
    said = running.stderr.read()
    running.stderr.close()
    assert (running.wait(timeout=60), said) == (141, b"")
