"""`fedprivacy attack`: known attacks against a plan, each beside its control."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.help import command, group

if TYPE_CHECKING:
    from rich.console import Console

    from fedprivacy.attacks.result import AttackResult
    from fedprivacy.attacks.scenario import Scenario, Trial

__all__ = ["app"]

app = group(
    "Run known attacks on real rounds, and see what an adversary still gets.",
    "fedprivacy attack list",
    "fedprivacy attack run differencing",
)


@command(app, "list", "fedprivacy attack list")
def list_attacks() -> None:
    """Name every attack, who it takes and what it measures."""
    from fedprivacy.attacks.registry import ATTACKS
    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.attacks import attack_list

    show(attack_list(ATTACKS.values()))


@command(
    app,
    "run",
    "fedprivacy attack run lira",
    "fedprivacy attack run analytic --seed 7 --seed 8",
    "fedprivacy attack run scenario.toml --json | jq '.[].measured'",
)
def run(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.toml", show_default=False)],
    *,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0, metavar="N", help="Run with this seed instead of the scenario's; repeatable."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Run an attack and its control on the plans that the scenario names.

    The name of an attack stands for the scenario that ships with it.
    Progress goes to stderr, and a line for each departure from expected.json beside the scenario.
    An attack that fails does not prove privacy.
    """
    from fedprivacy.attacks.expected import Expected
    from fedprivacy.attacks.scenario import Scenario
    from fedprivacy.cli.consoles import accompanying, show
    from fedprivacy.reporting.attacks import attack_report

    path = _path_of(scenario)
    wanted, expected = Scenario.from_toml(path), Expected.beside(path)
    results = _run(wanted, tuple(dict.fromkeys(seed or ())))
    if as_json:
        sys.stdout.write(f"[{','.join(each.to_json().rstrip() for each in results)}]\n")
    else:
        show(attack_report(wanted.attack.about, results))
    if expected is not None:
        faults = expected.faults(results)
        for line in faults or ("as expected.json says",):
            accompanying().print(line, soft_wrap=True)


def _path_of(scenario: Path) -> Path:
    """The file, or the one that ships for an attack of that name."""
    from fedprivacy.attacks.registry import ATTACKS
    from fedprivacy.shipped import shipped_path

    name = str(scenario)
    if name in ATTACKS and not scenario.is_file():
        return shipped_path(f"attacks/{name}/scenario.toml")
    return scenario


def _run(scenario: Scenario, seeds: tuple[int, ...]) -> tuple[AttackResult, ...]:
    from fedprivacy.cli.consoles import accompanying

    trials: list[Trial] = []
    count = len(scenario.settings) * len(seeds or scenario.file.seeds)
    with _watching(accompanying(), count) as note:
        for trial in scenario.run(seeds or None):
            trials.append(trial)
            note(trial)
    return scenario.results(trials)


@contextmanager
def _watching(console: Console, count: int) -> Iterator[Callable[[Trial], None]]:
    """A line for each trial that has ended, and a bar where there is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from fedprivacy.reporting.attacks import trial_line

    def line(trial: Trial) -> None:
        console.print(trial_line(trial), soft_wrap=not console.is_terminal)

    if not console.is_terminal:
        yield line
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("trials", total=count)

        def both(trial: Trial) -> None:
            line(trial)
            progress.advance(task)

        yield both
