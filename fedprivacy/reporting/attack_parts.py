"""What attacks and the audit found, as parts of a page: matrix, pictures, curves, bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedprivacy.attacks.result import AttackResult
from fedprivacy.reporting.attacks import REMARK, audit_told, audit_verdict, span
from fedprivacy.reporting.blocks import Block, Chart, Gallery, Grid, Part, Text, Told
from fedprivacy.reporting.charts import Line, interval_chart, line_chart
from fedprivacy.reporting.text import counted
from fedprivacy.rounds.record import AuditRecord

__all__ = ["attack_part", "audit_part"]

_MOST_LINES = 4
_LEAST_RATE = 1e-3


def attack_part(results: Sequence[AttackResult]) -> Part:
    """The matrix of all settings, then the pictures and ROC curves of each attack."""
    return Part("attacks", "What known attacks recover", list(_attacks(results)))


def _attacks(results: Sequence[AttackResult]) -> Iterator[Block]:
    if not results:
        yield Text(
            "No attack was run on this. `fedprivacy attack run --suite quick --out RUN` puts its "
            "results into the run's folder."
        )
        return
    yield Text(REMARK)
    heads = ("attack", "measured", "setting", "target", "control", "bound", "verdict")
    yield Grid(heads, [_row(result) for result in results], numbers=7)
    for result in results:
        yield from _pictures(result)
    for name in dict.fromkeys(result.attack for result in results):
        yield from _curves(name, [result for result in results if result.attack == name])


def _row(result: AttackResult) -> tuple[str, ...]:
    runs = result.measured
    where = f"{result.setting} ({result.protocol}; noise: {result.noise})"
    return (
        result.attack,
        result.metric,
        where,
        span([run.target for run in runs]),
        span([run.control for run in runs]),
        span([run.bound for run in runs if run.bound is not None]),
        result.wording(),
    )


def _pictures(result: AttackResult) -> Iterator[Block]:
    """Of the first seed that has any."""
    for run in result.measured:
        if run.pictures:
            where = f"{result.attack}, {result.setting}, seed {run.seed}"
            found = f"{run.target:.1f} beside {run.control:.1f} in the control"
            yield Gallery(f"{where}: {found} ({result.metric})", run.pictures)
            return


def _curves(name: str, results: Sequence[AttackResult]) -> Iterator[Block]:
    """One line a setting, of its first seed, both axes logarithmic."""
    lines = []
    for result in results[:_MOST_LINES]:
        curves = [run.roc for run in result.measured if run.roc]
        if curves:
            points = [(max(a, _LEAST_RATE), max(b, _LEAST_RATE)) for a, b in curves[0]]
            lines.append(Line(result.setting, points))
    if lines:
        lines.append(Line("by chance", [(_LEAST_RATE, _LEAST_RATE), (1.0, 1.0)]))
        chart = line_chart(
            f"ROC of {name}",
            lines,
            across="false positives, share of non-members",
            up="true positives, share of members",
            least=_LEAST_RATE,
        )
        yield Chart(chart, f"{name}: who is told from whom, with the first seed.")


def audit_part(audit: AuditRecord | None) -> Part:
    """What canaries showed of epsilon, beside what is accounted."""
    return Part("audit", "Audited epsilon beside the accounted one", list(_audit(audit)))


def _audit(audit: AuditRecord | None) -> Iterator[Block]:
    if audit is None:
        yield Text(
            "This plan was not audited. `fedprivacy attack audit --run RUN` injects canaries into "
            "further runs of it."
        )
        return
    yield Text(audit_verdict(audit))
    chart = interval_chart(
        "audited and accounted epsilon",
        [
            ("accounted: at most", audit.epsilon),
            ("shown by the canaries: at least", audit.lower_bound),
        ],
        across=f"epsilon at delta = {audit.delta:g}",
    )
    rounds = counted(audit.rounds, "round")
    yield Chart(chart, f"Of one run of {rounds}; a bound above the claim would refute it.")
    yield Told(audit_told(audit), counted=True)
    yield Text(
        "A canary is a vector as long as one unit's may be, in the sum or not by a coin; the "
        "clients without noise are the server's own. The test was fixed before the first run. The "
        "estimate (Andrew et al. 2023) may lie on either side of epsilon: no verdict hangs on it."
    )
