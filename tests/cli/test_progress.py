"""On a terminal a run shows the round and the phase that it is in, and leaves only the lines."""

import io

from rich.console import Console

from fedprivacy.cli.progress import watching
from fedprivacy.rounds import RunRecord
from fedprivacy.transport import PhaseMeter


def watched(project, *, terminal):
    record = RunRecord.from_json((project / "docs/example-run/record.json").read_text("utf-8"))
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, markup=False, highlight=False)
    with watching(console) as observer:
        for r in record.rounds:
            observer.round_started(r.round, len(record.rounds))
            for phase in (p for a in r.attempts for p in a.phases):
                meter = PhaseMeter(phase.phase, lost=phase.lost)
                observer.phase_ended(r.round, 1, meter)
            observer.round_ended(r)
    return out.getvalue()


def test_lines_where_there_is_no_terminal(project):
    said = watched(project, terminal=False)
    assert "\x1b" not in said
    assert len(said.splitlines()) == 11


def test_a_bar_where_there_is_one(project):
    said = watched(project, terminal=True)
    assert "\x1b[2K" in said
    assert "round 10 of 11: sum over 20 clients" in said
    assert said.count("round 4 of 11: sum over 19 clients; lost before input: hospital-11") == 1
