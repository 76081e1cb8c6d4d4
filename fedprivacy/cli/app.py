"""All commands, and what stands before any of them."""

from __future__ import annotations

from typing import Annotated

import typer

from fedprivacy.cli import (
    attacks,
    budgets,
    certs,
    clients,
    comparisons,
    directories,
    flower,
    join,
    keys,
    ledgers,
    plans,
    records,
    reports,
    runs,
    serve,
)
from fedprivacy.cli.help import command, group

__all__ = ["app"]

_ABOUT = """Federated learning in which the server sees only the sum, by a plan that clients check.

Exit codes: 1 a bug, 2 what was given cannot work, 3 a policy refuses, 4 a budget is spent, 5 no sum
came of it, 6 a peer sent what no honest peer sends, 7 an extra is not installed.
"""

app = group(_ABOUT, "fedprivacy demo", "fedprivacy plan privacy.toml --policy client.toml")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fedprivacy {version('fedprivacy')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def before(
    context: typer.Context,
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of whatever goes wrong.")
    ] = False,
) -> None:
    """Without a command the help is printed."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


command(app, "demo", *runs.DEMO_EXAMPLES)(runs.demo)
command(app, "run", *runs.RUN_EXAMPLES)(runs.run)
command(app, "compare", *comparisons.EXAMPLES)(comparisons.compare)
command(app, "plan", *plans.EXAMPLES)(plans.plan)
command(app, "serve", *serve.EXAMPLES)(serve.serve)
command(app, "join", *join.EXAMPLES)(join.join)
ledgers.register(budgets.app)
app.add_typer(attacks.app, name="attack")
command(budgets.app, "receipts", *clients.RECEIPTS_EXAMPLES)(clients.receipts)
app.add_typer(budgets.app, name="budget")
command(app, "report", *reports.REPORT_EXAMPLES)(reports.report)
app.add_typer(records.app, name="record")
app.add_typer(keys.app, name="keys")
app.add_typer(certs.app, name="certs")
app.add_typer(flower.app, name="flower")
app.add_typer(directories.app, name="directory")
command(app, "pin", *directories.PIN_EXAMPLES)(directories.pin)
