"""What attacks found, for a person: target, control and difference in each setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from fedprivacy.accounting import downwards, upwards
from fedprivacy.attacks.own_run import OWN
from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import AttackResult
from fedprivacy.attacks.scenario import Trial
from fedprivacy.attacks.stage import Attack, Stopped
from fedprivacy.reporting.tables import add_rows, figures, titled, titled_table
from fedprivacy.reporting.text import counted, printable
from fedprivacy.rounds.record import AuditRecord
from fedprivacy.rounds.rules import CLIENT_UNIT
from fedprivacy.secagg import Adversary

__all__ = [
    "REMARK",
    "about",
    "attack_list",
    "attack_report",
    "audit_report",
    "audit_told",
    "audit_verdict",
    "result_line",
    "span",
    "trial_line",
]

REMARK = (
    "In the control the target took no part. An attack that fails does not prove privacy: a better "
    "one may not."
)


def attack_list(attacks: Iterable[Attack]) -> Iterator[RenderableType]:
    """Every attack, a row each."""
    table = titled_table(("attack", "who", "what it finds"))
    # A name is typed again, and so is never broken.
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for attack in attacks:
        malicious = attack.needs.adversary is Adversary.MALICIOUS
        who = f"{'a lying ' if malicious else 'a '}{attack.needs.position.value}"
        table.add_row(attack.name, who, attack.about)
    yield table
    yield Text("Each has a folder under attacks/, with its threat model and a scenario.")


def about(name: str) -> str:
    """What an attack finds, by its name; of another version's, nothing."""
    attack = ATTACKS.get(name)
    return attack.about if attack else OWN.get(name, "not known to this version")


def trial_line(trial: Trial) -> str:
    """One trial that has ended, in a line."""
    where = f"{printable(trial.setting.name)}, seed {trial.seed}"
    if isinstance(trial.found, Stopped):
        return f"{where}: stopped by a client's check ({trial.found.reason})"
    return f"{where}: target {trial.found.target:.3f}, control {trial.found.control:.3f}"


def result_line(result: AttackResult) -> str:
    """One result in a line, for those who watch."""
    found = ", ".join(
        f"{measured.target:.2f}, control {measured.control:.2f}"
        + (f", at most {measured.bound:.2f}" if measured.bound is not None else "")
        for measured in result.measured
    )
    return f"{about(result.attack)}: {found} ({result.metric})"


def attack_report(finds: str, results: Sequence[AttackResult]) -> Iterator[RenderableType]:
    """A table of the settings, and what each says."""
    yield titled(f"{printable(results[0].attack)}: {finds}")
    yield Text(f"measured: {results[0].metric} (least to most over the seeds)")
    heads = ("target", "control", "difference", "bound")
    table = titled_table(("setting",), heads)
    add_rows(table, [_row(result) for result in results])
    yield table
    for result in results:
        where = f"{printable(result.protocol)}, noise: {result.noise}"
        yield Text(f"{printable(result.setting)} ({where}): {result.wording()}")
    yield Text(REMARK)


def _row(result: AttackResult) -> tuple[str, ...]:
    runs = result.measured
    bounds = [run.bound for run in runs if run.bound is not None]
    return (
        printable(result.setting),
        span([run.target for run in runs]),
        span([run.control for run in runs]),
        span([run.difference for run in runs]),
        span(bounds),
    )


def span(values: Sequence[float]) -> str:
    """From the least to the most; a dash for none."""
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"


def audit_report(audit: AuditRecord) -> Iterator[RenderableType]:
    """What canaries showed of epsilon beside what is accounted, and the verdict."""
    yield titled("Audited epsilon beside the accounted one")
    yield figures(audit_told(audit))
    yield Text(audit_verdict(audit))


def audit_told(audit: AuditRecord) -> list[tuple[str, str]]:
    """The figures of an audit, one by one."""
    each = f"in one run of {counted(audit.rounds, 'round')}, at delta = {audit.delta:g}"
    return [
        (f"epsilon accounted {each}, at most", upwards(audit.epsilon, 3)),
        ("epsilon shown by the canaries, at least", downwards(audit.lower_bound, 3)),
        ("chance that this bound is false, at most", f"{audit.error:g}"),
        ("runs, and canaries in each", f"{audit.runs:,}, {audit.canaries:,}"),
        ("guesses that were right", f"{audit.correct:,} of {audit.runs * audit.guesses:,}"),
        ("p-value of the claim", f"{audit.p_value:.2g}"),
        ("an estimate by cosines, and no bound: epsilon is about", f"{audit.estimate:.3g}"),
        ("one canary is", _canary(audit)),
        ("clients, and of them without noise", f"{audit.clients:,}, {audit.silent:,}"),
    ]


def _canary(audit: AuditRecord) -> str:
    """In which unit the audit speaks."""
    unit = printable(audit.unit)
    return "all that one client sends" if unit == CLIENT_UNIT else f"the gradient of one {unit}"


def audit_verdict(audit: AuditRecord) -> str:
    """What may be said of it: no audit proves a claim."""
    if audit.accused:
        return "The claim is refuted: the mechanism as it ran tells more than is accounted."
    return (
        "Nothing in these runs speaks against what is accounted. A low bound does not prove a low "
        "epsilon."
    )
