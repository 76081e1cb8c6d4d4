"""`fedprivacy report`: a run as one page, or one client's statement for its officer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedprivacy.cli.clients import AnchorOption, client_report
from fedprivacy.cli.files import write_text
from fedprivacy.cli.forms import Form
from fedprivacy.errors import ConfigurationError

__all__ = ["REPORT_EXAMPLES", "report", "write_report"]

REPORT_EXAMPLES = (
    "fedprivacy report runs/20260102-030405-0a1b2c3d",
    "fedprivacy report runs/20260102-030405-0a1b2c3d --format json | jq .assumptions",
    "fedprivacy report --client client.db --policy client.toml --units 426",
    "fedprivacy report --client client.db --policy client.toml --format html > report.html",
)


def report(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", show_default=False)] = None,
    *,
    client: Annotated[
        Path | None,
        typer.Option("--client", metavar="STORE", help="A client's store, instead of a run."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="CLIENT.toml", help="The client's policy: its budgets."),
    ] = None,
    units: Annotated[
        int | None,
        typer.Option("--units", min=1, metavar="N", help="Units in the client's data set."),
    ] = None,
    anchor: AnchorOption = None,
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Print text, json or html instead of writing files.",
            show_choices=False,
        ),
    ] = None,
) -> None:
    """Write a run's folder as one page for people and one document for programs.

    report.html needs nothing else, and shows the attacks and the audit in the folder as well;
    report.json is the same as data.
    With --client: what one client's data may have told, for its data-protection officer, by the
    client's own charges, whatever any server's ledger says.
    """
    if client is not None and run is not None:
        raise ConfigurationError(f"{run} and --client {client} are two reports: ask for one")
    if client is not None:
        client_report(client, policy=policy, units=units, anchor=anchor, form=form or Form.TEXT)
        return
    if run is None:
        raise ConfigurationError("nothing to report is named: give a run's folder, or --client")
    for flag, given in (("--policy", policy), ("--units", units), ("--anchor", anchor)):
        if given is not None:
            raise ConfigurationError(f"{flag} {given} speaks of a client's store: give --client")
    if form is None:
        for path in write_report(run):
            typer.echo(str(path))
    else:
        _print(run, form)


def write_report(folder: Path) -> tuple[Path, Path]:
    """`report.html` and `report.json` in a run's folder."""
    from fedprivacy.reporting.report import Report

    told = Report.of_folder(folder)
    paths = folder / "report.html", folder / "report.json"
    for path, text in zip(paths, (told.to_html(), told.to_json()), strict=True):
        write_text(path, text)
    return paths


def _print(folder: Path, form: Form) -> None:
    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.report import Report
    from fedprivacy.reporting.run_report import run_report

    told = Report.of_folder(folder)
    match form:
        case Form.TEXT:
            if told.record is not None:
                show(run_report(told.record))
            show(told.attack_text())
        case Form.JSON:
            sys.stdout.write(told.to_json())
        case Form.HTML:
            sys.stdout.write(told.to_html())
