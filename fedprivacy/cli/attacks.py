"""`fedprivacy attack`: known attacks against a plan, each beside its control."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli import audits
from fedprivacy.cli.help import command, group
from fedprivacy.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from rich.console import Console

    from fedprivacy.attacks.result import AttackResult
    from fedprivacy.attacks.scenario import Scenario
    from fedprivacy.attacks.suites import Ended

__all__ = ["app"]


class Suite(enum.Enum):
    """The names of `fedprivacy.attacks.suites`, known before any of it is loaded."""

    QUICK = "quick"
    FULL = "full"


app = group(
    "Run known attacks on real rounds, and see what an adversary still gets.",
    "fedprivacy attack list",
    "fedprivacy attack run differencing",
    "fedprivacy attack audit",
)


command(app, "audit", *audits.AUDIT_EXAMPLES)(audits.audit)


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
    "fedprivacy attack run --suite quick --out runs/20260102-030405-0a1b2c3d",
    "fedprivacy attack run lira --model app.task:net --data app.task:load --plan privacy.toml",
    "fedprivacy attack run scenario.toml --json | jq '.[].measured'",
)
def run(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="SCENARIO.toml", show_default=False)
    ] = None,
    *,
    suite: Annotated[
        Suite | None,
        typer.Option(
            metavar="NAME",
            help="Run all that ships instead: quick, a seed each, or full, five.",
            show_choices=False,
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0, metavar="N", help="Run with this seed instead of the scenario's; repeatable."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="PKG.MOD:FACTORY", help="Attack your torch module; with --data."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="PKG.MOD:LOADER", help="Your (inputs, labels)."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="PRIVACY.toml", help="Your plan, beside the first setting."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Of the attack; repeatable."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Keep results in a run's folder, or another; runs/attacks-NAME for a suite.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Run attacks and their controls on the plans that their scenarios name.

    The name of an attack stands for the scenario that ships with it.
    Progress goes to stderr, and a line for each departure from expected.json beside a scenario.
    What is kept in a folder is not run again: a run that was interrupted goes on where it was, and
    `fedprivacy report DIR` shows it.
    An attack that fails does not prove privacy.
    """
    from fedprivacy.attacks.scenario import Scenario
    from fedprivacy.attacks.suites import Suite as Shipped

    for flag, given in (("--model", model), ("--plan", plan), ("--option", option)):
        if given and suite is not None:
            raise ConfigurationError(f"{flag} goes with one attack, and --suite runs all: name one")
    if (scenario is None) == (suite is None):
        raise ConfigurationError("give a scenario, an attack's name or --suite: one of them")
    seeds = tuple(dict.fromkeys(seed or ()))
    if suite is not None:
        wanted = Shipped(suite.value).scenarios()
        out = out or Path("runs") / f"attacks-{suite.value}"
        paths = [_path_of(Path(one.attack.name)) for one, _ in wanted]
    else:
        paths = [_path_of(scenario or Path())]
        only = _yours(Scenario.from_toml(paths[0]), model, data, plan, option or [])
        wanted = ((only, only.file.seeds),)
    jobs = [(path, one, seeds or own) for path, (one, own) in zip(paths, wanted, strict=True)]
    results = _run_all(jobs, out, leaves_out=suite is not None)
    _tell(jobs, results, as_json=as_json)
    if out is not None:
        from fedprivacy.cli.consoles import accompanying

        accompanying().print(f"the results are in {out / 'attacks'}", soft_wrap=True)


def _yours(
    scenario: Scenario, model: str | None, data: str | None, plan: Path | None, options: list[str]
) -> Scenario:
    """The scenario with what the user brings in place of what ships."""
    from fedprivacy.attacks.worlds import OwnWorld
    from fedprivacy.rounds import Plan

    if (model is None) != (data is None):
        raise ConfigurationError("--model and --data belong together: give both")
    if model is not None and data is not None:
        scenario = scenario.of_world(OwnWorld.load(model, data))
    if plan is not None:
        scenario = scenario.against(Plan.from_toml(plan))
    given = {}
    for pair in options:
        name, _, value = pair.partition("=")
        try:
            given[name] = float(value)
        except ValueError:
            raise ConfigurationError(f"--option {pair}: write NAME=NUMBER") from None
    return scenario.with_options(given) if given else scenario


_Job = tuple[Path, "Scenario", tuple[int, ...]]


def _path_of(scenario: Path) -> Path:
    """The file, or the one that ships for an attack of that name."""
    from fedprivacy.attacks.registry import ATTACKS
    from fedprivacy.shipped import shipped_path

    name = str(scenario)
    if name in ATTACKS and not scenario.is_file():
        return shipped_path(f"attacks/{name}/scenario.toml")
    return scenario


def _run_all(
    jobs: Sequence[_Job], out: Path | None, *, leaves_out: bool
) -> dict[Path, tuple[AttackResult, ...]]:
    """The results by scenario; a suite leaves out what needs an extra that is not there."""
    from fedprivacy.attacks.suite_folder import SuiteFolder
    from fedprivacy.attacks.suites import run_kept
    from fedprivacy.cli.consoles import accompanying

    kept = None if out is None else SuiteFolder.open(out)
    found: dict[Path, tuple[AttackResult, ...]] = {}
    count = sum(len(scenario.settings) * len(seeds) for _, scenario, seeds in jobs)
    try:
        with _watching(accompanying(), count, named=len(jobs) > 1) as note:
            for path, scenario, seeds in jobs:
                ended: list[Ended] = []
                try:
                    for one in run_kept(scenario, seeds, kept, time.perf_counter):
                        ended.append(one)
                        note(scenario, one)
                except MissingExtra as missing:
                    if not leaves_out:
                        raise
                    accompanying().print(f"left out: {missing}", soft_wrap=True)
                    continue
                found[path] = scenario.results([one.trial for one in ended])
                if kept is not None:
                    kept.finish(found[path])
    except KeyboardInterrupt:
        where = "" if out is None else f"what had ended is in {out}: run the same to go on"
        raise KeyboardInterrupt(*filter(None, [where])) from None
    return found


def _tell(
    jobs: Sequence[_Job], results: dict[Path, tuple[AttackResult, ...]], *, as_json: bool
) -> None:
    from fedprivacy.attacks.expected import Expected
    from fedprivacy.cli.consoles import accompanying, show
    from fedprivacy.reporting.attacks import attack_report

    if as_json:
        every = [each.to_json().rstrip() for found in results.values() for each in found]
        sys.stdout.write(f"[{','.join(every)}]\n")
    for path, scenario, _ in jobs:
        if path not in results:
            continue
        if not as_json:
            show(attack_report(scenario.attack.about, results[path]))
        expected = None if scenario.is_changed else Expected.beside(path)
        if expected is not None:
            said = expected.faults(results[path]) or ["as expected.json says"]
            for line in said:
                prefix = f"{scenario.attack.name}: " if len(jobs) > 1 else ""
                accompanying().print(prefix + line, soft_wrap=True)


@contextmanager
def _watching(
    console: Console, count: int, *, named: bool
) -> Iterator[Callable[[Scenario, Ended], None]]:
    """A line for each trial that has ended, and a bar where there is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from fedprivacy.reporting.attacks import trial_line

    def line(scenario: Scenario, ended: Ended) -> None:
        told = trial_line(ended.trial) + (" (kept)" if ended.earlier else "")
        prefix = f"{scenario.attack.name}, " if named else ""
        console.print(prefix + told, soft_wrap=not console.is_terminal)

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

        def both(scenario: Scenario, ended: Ended) -> None:
            line(scenario, ended)
            progress.advance(task)

        yield both
