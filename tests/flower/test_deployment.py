"""The hospitals on real processes, TLS and authenticated SuperNodes, of which one is killed."""

import os
import re
import time
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")

from deploy import NODES, PHASES, VICTIM, losing_one
from fedprivacy.rounds import RunRecord

# Many times what a message takes: for each, five processes load their libraries, on a machine that
# runs other tests. The killed node is waited for as long, once in the run.
PHASE_TIMEOUT = 60.0
LOST = f"node-{VICTIM}"


def deployed(folder, phase, *, rounds):
    """The record of a run, in the first round of which a node is killed before this phase."""
    done = losing_one(folder, phase, rounds=rounds, phase_timeout=PHASE_TIMEOUT, seconds=400.0)
    assert done.exit_code == 0, done.log
    accuracies = re.search(r"accuracy on held-out patients: \[(.*)\]", done.log)[1].split(",")
    assert len(accuracies) == 1 + rounds
    assert float(accuracies[-1]) > float(accuracies[0]) + 0.2
    # These SuperNodes run whatever app is submitted: nothing may be said of a server that lies.
    assert "may lie" not in done.log + done.record_text
    assert "--trusted-entities" in done.record_text
    return RunRecord.from_json(done.record_text)


def check_recovered(record, phase):
    first = record.rounds[0]
    assert len(record.clients) == NODES
    assert first.outcome == "sum"
    (attempt,) = first.attempts
    by_phase = {each.phase: each.lost for each in attempt.phases}
    assert by_phase == {each: ((LOST,) if each == phase else ()) for each in PHASES}
    # Whose input is in the sum stays in it: what is lost later is an answer.
    in_sum = PHASES.index(phase) > PHASES.index("input")
    assert (LOST in attempt.survivors) == in_sum
    assert len(attempt.survivors) == (NODES if in_sum else NODES - 1)


def processes_of(folder):
    """Processes that name this folder in their command or are at home in it."""
    found, words = [], os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if words in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_a_supernode_killed_after_its_shares_costs_a_round_only_its_update(tmp_path):
    folder = tmp_path / "deployment"
    check_recovered(deployed(folder, "input", rounds=1), "input")
    # What a killed SuperNode had started sees that it is alone, and ends by itself.
    until = time.monotonic() + 60.0
    while processes_of(folder) and time.monotonic() < until:
        time.sleep(0.2)
    assert not processes_of(folder), "the deployment left processes behind"


@pytest.mark.nightly
@pytest.mark.parametrize("phase", PHASES)
def test_a_supernode_killed_at_any_phase_does_not_end_the_run(tmp_path, phase):
    record = deployed(tmp_path / "deployment", phase, rounds=2)
    check_recovered(record, phase)
    _, second = record.rounds
    assert second.outcome == "sum"
    assert LOST not in second.attempts[-1].survivors
