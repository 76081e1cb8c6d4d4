"""A run's tables say what its record says, at 80 columns, and nothing that is foreign acts."""

import pytest
from msgspec.structs import replace

from fedprivacy.reporting.rounds import round_line
from fedprivacy.reporting.run_report import run_report


@pytest.fixture
def report(text):
    return lambda record, **how: text(run_report(record), **how)


def section(printed, title):
    """The lines from a title to the next empty line."""
    _, _, rest = printed.partition(f"{title}")
    assert rest, f"no section {title}"
    body = rest.partition("\n\n")[0]
    return [line.rstrip() for line in body.splitlines()[1:]]


def test_it_fits_80_columns_without_colour(report, record):
    printed = report(record)
    assert "\x1b" not in printed
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80


def test_every_round_has_its_line(report, record):
    lines = section(report(record), "How each round ended")[2:]
    assert len(lines) == len(record.rounds)
    for line, r in zip(lines, record.rounds, strict=True):
        cells = line.split()
        accuracy = f"{100 * r.simulation_only.accuracy:.1f}"
        if r.outcome == "sum":
            ended = ["sum", str(len(r.attempts[-1].survivors)), str(r.weight)]
        else:
            ended = ["refused", "(budget)", "-", "-"]
        assert cells[: len(ended) + 1] == [str(r.round), *ended]
        assert cells[len(ended) + 2] == accuracy


def test_every_loss_stands_in_its_round_and_phase(report, record):
    printed = report(record, width=200)
    heads, _, *lines = section(printed, "Who was lost, in which round, before which message")
    for r in record.rounds:
        for phase in (p for a in r.attempts[-1:] for p in a.phases):
            for name in phase.lost:
                line = next(line for line in lines if line.split()[0] == str(r.round))
                assert line.index(name) >= heads.index(phase.phase)


def test_accuracy_beside_what_it_must_beat(report, record):
    known = record.simulation_only
    lines = section(report(record), "Accuracy on 143 patients that no client trained on")
    figures = [line.split()[-2] for line in lines]
    shares = [known.accuracy, known.accuracy_unprotected, known.majority]
    assert figures == [f"{100 * share:.1f}" for share in shares]


def test_bytes_are_added_up_over_phases_and_rounds(report, record):
    lines = section(report(record), "What it cost")[2:]
    most = [sum(p.bytes_up_most for a in r.attempts for p in a.phases) for r in record.rounds]
    *_, busiest, unit, in_all, unit_of_all = lines[-1].split()
    assert (unit, unit_of_all) == ("kB", "kB")
    assert float(busiest) == pytest.approx(max(most) / 1000, abs=0.05)
    assert float(in_all) == pytest.approx(sum(most) / 1000, abs=0.05)


def test_the_guarantee_sentence_by_sentence(report, record):
    lines = " ".join(
        line.strip() for line in section(report(record), "What holds (+) and what does not (-)")
    )
    for sign, sentences in (("+", record.guarantee.holds), ("-", record.guarantee.does_not_hold)):
        for sentence in sentences:
            assert f"{sign} {sentence}" in lines


def test_an_abort_tells_its_reason_and_its_attempts(report, changed):
    aborted = {"outcome": "aborted", "reason": "too-few", "survivors": ()}
    record = changed(
        attempt={**aborted, "attempt": 2}, before=[aborted], of_round={"outcome": "aborted"}
    )
    line = section(report(record, width=100), "How each round ended")[2]
    assert line.startswith("1       aborted (too-few), attempt 2 ")
    assert round_line(record.rounds[0], 10) == "round 1 of 10: aborted (too-few)"


def test_who_was_turned_away_is_told_with_the_reason(report, changed):
    attempt = {
        "refused": {"hospital-04": "policy-cohort", "hospital-07": "policy-cohort"},
        "excluded": {"hospital-05": "digest"},
        "culprits": ("hospital-06",),
    }
    record = changed(attempt)
    lines = section(report(record), "Who declined, was shut out, or caused an abort")[2:]
    assert [" ".join(line.split()) for line in lines] == [
        "1 1 declined (policy-cohort) hospital-04, hospital-07",
        "1 1 shut out (digest) hospital-05",
        "1 1 caused the abort hospital-06",
    ]
    assert round_line(record.rounds[0], 10).endswith(
        "; declined (policy-cohort): hospital-04, hospital-07; shut out (digest): hospital-05; "
        "caused the abort: hospital-06"
    )


def test_a_run_without_losses_says_so(report, record):
    calm = record.rounds[8:]
    assert "Nobody was lost" in report(replace(record, rounds=calm))


def test_what_only_a_simulation_knows_is_left_out_elsewhere(report, record):
    real = replace(
        record,
        simulation_only=None,
        rounds=tuple(replace(r, simulation_only=None) for r in record.rounds),
    )
    printed = report(real)
    assert "ccuracy" not in printed
    assert "ifference" not in printed
    assert "training" not in printed
    assert "What holds" in printed


def test_of_a_long_run_the_last_rounds_are_shown(report, record):
    many = tuple(replace(record.rounds[6], round=i) for i in range(1, 101))
    printed = report(replace(record, rounds=many))
    assert "80 earlier rounds: see rounds.jsonl" in printed
    assert "80 earlier: see rounds.jsonl" in printed
    assert len(printed.splitlines()) < 150


def test_a_run_without_rounds_is_legible(report, record):
    assert "0 rounds of secagg" in report(replace(record, rounds=()))


def test_foreign_text_is_neither_markup_nor_a_command(report, changed):
    hostile = "[red]x[/red] :smile: \x1b[2J\r\n[/]"
    phase = changed().rounds[0].attempts[0].phases[0]
    record = changed(
        attempt={
            "refused": {hostile: hostile},
            "reason": hostile,
            "phases": (replace(phase, phase=hostile, lost=(hostile,)),),
        },
        fedprivacy=hostile,
        run_id=hostile,
    )
    printed = report(record, width=400)
    shown = "[red]x[/red] :smile: \\x1b[2J\\r\\n[/]"
    assert printed.count(shown) >= 5
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "\x1b" not in round_line(record.rounds[0], 10)
