"""What a run's record tells, as parts of its page."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fedprivacy.accounting import downwards
from fedprivacy.reporting.blocks import Block, Chart, Grid, Part, Promises, Text, Told
from fedprivacy.reporting.budget_spent import spent_figures, spent_remark
from fedprivacy.reporting.charts import Bars, Line, bar_chart, line_chart
from fedprivacy.reporting.costs import cost_rows
from fedprivacy.reporting.losses import lost_clients
from fedprivacy.reporting.rounds import turned_away_rows
from fedprivacy.reporting.text import counted, percent, small
from fedprivacy.rounds.record import RoundRecord, RunRecord
from fedprivacy.rounds.rules import Trust

__all__ = ["run_parts"]

_MOST_BARS = 60


def run_parts(record: RunRecord) -> Iterator[Part]:
    """Guarantee, plan, budget, accuracy, cohort and costs, in that order."""
    yield Part("guarantee", "What holds and what does not", list(_guarantee(record)))
    yield Part("budget", "Epsilon against rounds", list(_budget(record)))
    yield Part("accuracy", "Accuracy against the unprotected run", list(_accuracy(record)))
    yield Part("cohort", "Who took part and who was lost", list(_cohort(record)))
    yield Part("costs", "Bytes and seconds", list(_costs(record)))
    yield Part("plan", "The plan", list(_plan(record)))


def _guarantee(record: RunRecord) -> Iterator[Block]:
    told = record.guarantee
    if record.plan.sampling.scheme != "all":
        least = counted(told.cohort, "client")
        yield Text(f"Of a cohort of {least}, which promises the least with which a round is run.")
    yield Promises(told.holds, told.does_not_hold)


def _budget(record: RunRecord) -> Iterator[Block]:
    charged = [(r.round, r.budget) for r in record.rounds if r.budget]
    if not charged:
        noised = record.plan.noise.trust is not Trust.NONE
        unit = record.plan.dataset.unit
        told = "what they tell is not charged" if noised else "no noise is added"
        yield Text(f"Nothing here bounds what the sums tell of one {unit}: {told}.")
        return
    last = charged[-1][1]
    points = [(float(number), budget.epsilon) for number, budget in charged]
    chart = line_chart(
        "epsilon against rounds",
        [Line("epsilon charged, at most", points, steps=True)],
        across="round",
        up=f"epsilon at delta = {last.delta:g}",
        level=("the budget", last.limit),
    )
    unit = last.unit
    yield Chart(chart, f"What all sums up to a round tell of one {unit}, by the ledger's charges.")
    left = max(0.0, last.limit - last.epsilon)
    figures = [*spent_figures(record, last), ("epsilon that is left", downwards(left))]
    yield Told(figures, counted=True)
    yield Text(f"Accounted by: {last.method}.")
    if remark := spent_remark(record):
        yield Text(remark)
    for r in record.rounds:
        if r.refusal:
            yield Text(f"Round {r.round} was refused before anyone was asked: {r.refusal}.")


def _accuracy(record: RunRecord) -> Iterator[Block]:
    known = record.simulation_only
    if known is None:
        yield Text("Not stated: only a simulation sees held-out data and the unprotected run.")
        return
    seen = [(float(r.round), r.simulation_only) for r in record.rounds if r.simulation_only]
    lines = [
        Line("this run", [(at, s.accuracy) for at, s in seen]),
        Line("the same run, unprotected", [(at, s.accuracy_unprotected) for at, s in seen]),
    ]
    level = ("always naming the commoner class", known.majority)
    chart = line_chart(
        "accuracy", lines, across="round", up="share named rightly", level=level, low=None
    )
    held_out = counted(known.held_out, record.plan.dataset.unit)
    found = known.largest_difference
    difference = "unknown" if found is None else small(found)
    yield Chart(chart, f"On {held_out} that no client trained on, after each round.")
    yield Told(
        [
            ("this run", percent(known.accuracy)),
            ("the same run, unprotected", percent(known.accuracy_unprotected)),
            ("always naming the commoner class", percent(known.majority)),
            ("largest difference of a sum from float64", difference),
            ("that round's bound, from rounding alone", small(known.quantisation_bound)),
        ],
        counted=True,
    )


def _cohort(record: RunRecord) -> Iterator[Block]:
    shown = record.rounds[-_MOST_BARS:]
    tried = [r for r in shown if r.attempts]
    counts = [_fates(r) for r in tried]
    parts = [
        Bars(name, [float(count[i]) for count in counts])
        for i, name in enumerate(("in the sum", "lost on the way", "declined or shut out"))
    ]
    chart = bar_chart(
        "cohort by round",
        [str(r.round) for r in tried],
        parts,
        across="round (its last attempt)",
        up="clients",
    )
    if chart:
        yield Chart(chart, "What became of the clients that each round asked.")
    aborted = [r for r in record.rounds if r.outcome == "aborted"]
    for r in aborted[-_MOST_BARS:]:
        yield Text(f"Round {r.round} ended without a sum ({r.attempts[-1].reason}).")
    heads, rows = lost_clients(record)
    if rows:
        yield Text("Who was lost, in which round, before which message:")
        yield Grid(("round", *heads), rows[-_MOST_BARS:], numbers=len(heads) + 1)
    elif record.rounds:
        yield Text("Nobody was lost.")
    if away := turned_away_rows(record):
        yield Grid(("round", "attempt", "what", "clients"), away[-_MOST_BARS:], numbers=4)


def _fates(r: RoundRecord) -> tuple[int, int, int]:
    """How many were in the sum, lost, and declined or shut out, in the last attempt."""
    last = r.attempts[-1]
    lost = {name for phase in last.phases for name in phase.lost}
    away = {*last.refused, *last.excluded, *last.culprits}
    there = len(last.survivors) if last.outcome == "sum" else 0
    return there, len(lost - away - set(last.survivors)), len(away - set(last.survivors))


def _costs(record: RunRecord) -> Iterator[Block]:
    shown = record.rounds[-_MOST_BARS:]
    tried = [r for r in shown if r.attempts]
    labels = [str(r.round) for r in tried]
    seconds = [sum(p.seconds for a in r.attempts for p in a.phases) for r in tried]
    bytes_up = [sum(p.bytes_up_most for a in r.attempts for p in a.phases) / 1000 for r in tried]
    whose = "all parties together" if record.simulation_only else "the server's alone"
    for title, values, up, caption in (
        ("seconds by round", seconds, "seconds", f"Computing time of the protocol, {whose}."),
        ("bytes by round", bytes_up, "kB", "What the client that sent most sent, all attempts."),
    ):
        chart = bar_chart(title, labels, [Bars(title, values)], across="round", up=up)
        if chart:
            yield Chart(chart, caption)
    heads = ("phase", "seconds", "sent in one round", "sent in all rounds")
    yield Grid(heads, cost_rows(record))


def _plan(record: RunRecord) -> Iterator[Block]:
    yield Text("Public, agreed on before the first round, and hashed into each.")
    plain = msgspec.to_builtins(record.plan)
    rows = [
        (f"{section}.{key}", _value(value))
        for section, keys in plain.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
    ]
    yield Told([*rows, ("hash", record.plan_hash)])


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
