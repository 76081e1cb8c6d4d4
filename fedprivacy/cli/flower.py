"""`fedprivacy flower`: the files of Flower's nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.help import command, group

if TYPE_CHECKING:
    from fedprivacy.rounds import Plan

__all__ = ["app"]

_KEYS = "fedprivacy flower keys --nodes 10 --plan privacy.toml nodes"

_INIT = "fedprivacy flower init my-app"

app = group("Make a Flower app private; make and check the files of its nodes.", _INIT, _KEYS)


@command(app, "init", _INIT, "fedprivacy flower init . --yes")
def init(
    folder: Annotated[Path, typer.Argument(metavar="APP_FOLDER", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
) -> None:
    """Wrap the strategy of a Flower app and put privacy_mod before its functions.

    Two edits and a privacy.toml, shown as a diff before anything is written. An app that is not
    laid out as Flower's quickstarts are is not edited: what to write is said instead.
    """
    from importlib.util import find_spec

    from fedprivacy.cli.files import write_text
    from fedprivacy.errors import MissingExtra
    from fedprivacy.flower.app_edits import edits_of_app
    from fedprivacy.rounds import Plan

    if find_spec("flwr") is None:
        raise MissingExtra("flower", "fedprivacy flower init")
    changes = edits_of_app(folder)
    for change in changes:
        typer.echo(change.diff(folder), nl=False)
    if not yes and not _agreed("Write this?"):
        typer.echo("Nothing was written.")
        raise typer.Exit(1)
    for change in changes:
        write_text(change.path, change.after)
    for line in _protects(Plan.from_toml(folder / "privacy.toml")):
        typer.echo(line)


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort:  # no answer is none
        typer.echo()
        return False


def _protects(plan: Plan) -> Iterator[str]:
    """What the app is now, and what to do next."""
    from fedprivacy.flower.client_folder import VARIABLE
    from fedprivacy.rounds.guarantee import defends_against
    from fedprivacy.rounds.rules import Trust
    from fedprivacy.secagg import SHARED_KEYS, Adversary, Plain

    rules = plan.aggregation
    yield ""
    yield f"What it protects ({defends_against(rules, runs_any_app=True)}):"
    if rules.protocol != Plain.name:
        yield f"+ The server sees sums over at least {rules.min_clients} clients, never one update."
    if plan.protects_units:
        yield f"- The unit is one {plan.dataset.unit}: training has to return a row for each, as"
        yield "  fedprivacy.flower.unit_reply makes it."
    else:
        yield (
            "- A client as a whole, and none of those within it, until training returns a row for"
        )
        yield "  each unit (a patient, a user; see unit_reply) and the plan names it."
    if plan.noise.trust is Trust.NONE:
        yield "- No noise is added: what the sums themselves tell of a client is not bounded."
    if rules.adversary is not Adversary.HONEST_BUT_CURIOUS:
        yield f"- Against the plan's adversary ({rules.adversary.value}) it holds only where every"
        yield "  SuperNode is started with --trusted-entities, and PrivateStrategy is told so"
        yield "  (trusted_apps=True)."
    yield '- Evaluation at the clients is withheld; evaluate="summed" of PrivateStrategy sums it.'
    yield ""
    yield "Next:"
    yield "  read privacy.toml; set min_train_nodes and min_available_nodes of the strategy to at"
    yield f"  least {rules.min_clients}"
    wanted = []
    if rules.adversary is not Adversary.HONEST_BUT_CURIOUS:
        wanted.append('directory="/tmp/nodes/directory.json"')
    if plan.noise.trust is not Trust.NONE:
        wanted.append('ledger="/tmp/nodes/budget.db"')
    if rules.protocol in SHARED_KEYS:
        wanted.append('ceremony="/tmp/nodes/ceremony.server.key"')
    if wanted:
        yield f"  pass PrivateStrategy {' and '.join(wanted)} as well: this plan asks for it"
    yield '  add "fedprivacy[flower]" to the dependencies in pyproject.toml'
    yield "  fedprivacy flower keys --nodes 10 --plan privacy.toml /tmp/nodes"
    if members := rules.committee.members:
        yield f"  beside the clients' nodes, one for each of the committee: {', '.join(members)}"
    yield f'  {VARIABLE}="/tmp/nodes/nodes/{{partition-id}}" flwr run .'
    yield "  (a local SuperLink that was started without it has to end first:"
    yield '  pkill -f "flower-superlink.*--simulation")'


@command(app, "keys", _KEYS)
def keys(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)],
    *,
    nodes: Annotated[
        int,
        typer.Option("--nodes", min=2, max=10_000, metavar="N", help="How many nodes train."),
    ],
    plan: Annotated[
        Path,
        typer.Option("--plan", metavar="PLAN.toml", help="What their policies are to accept."),
    ],
) -> None:
    """Make keys, a signed directory and a client folder for each node of a simulation.

    Each node's policy asks for what the plan offers. Members of a committee whom the plan names
    have nodes after those that train, unless it names one of these (node-0), which then only opens
    sums. For bfv and ckks a key ceremony is held. All keys are then on one machine, which is for
    trying out only: in a federation each client makes its own, with `fedprivacy keys new`.
    """
    from fedprivacy.flower.client_folder import VARIABLE
    from fedprivacy.flower.node_files import NodeFiles, names_of
    from fedprivacy.randomness import SystemRng
    from fedprivacy.rounds import Plan
    from fedprivacy.secagg import SHARED_KEYS

    agreed = Plan.from_toml(plan)
    made = NodeFiles.make(folder, nodes, agreed, rng=SystemRng())
    typer.echo(f"directory, for PrivateStrategy: {made.directory}")
    if agreed.aggregation.protocol in SHARED_KEYS:
        typer.echo(f"ceremony, for PrivateStrategy:  {made.ceremony}")
    names = names_of(nodes, agreed)
    for name in agreed.aggregation.committee.members:
        typer.echo(f"{name}, of the committee: {made.node(names.index(name))}")
    if len(names) > nodes:
        typer.echo(f"run the simulation with {len(names)} nodes")
    typer.echo(f'before the simulation: export {VARIABLE}="{made.pattern}"')


@command(
    app,
    "doctor",
    "fedprivacy flower doctor /etc/fedprivacy/client.toml --trusted-entities trusted.yaml",
    "fedprivacy flower doctor nodes",
)
def doctor(
    path: Annotated[Path, typer.Argument(metavar="FOLDER|CLIENT.toml", show_default=False)],
    *,
    trusted_entities: Annotated[
        Path | None,
        typer.Option(
            "--trusted-entities",
            metavar="FILE.yaml",
            help="What the node's SuperNode is started with, if it is.",
        ),
    ] = None,
) -> None:
    """Check the files of a node, or of all nodes of a simulation, as privacy_mod would.

    It exits with the code of the first thing that would keep a node from taking part. Which apps
    the node runs is its SuperNode's affair: name the same file here. Without one the node runs
    whatever app is submitted, privacy_mod or not, which is said and is no error.
    """
    from fedprivacy.flower.entities import examine_entities
    from fedprivacy.flower.node_files import all_nodes, examine

    apps = examine_entities(trusted_entities)
    for node in all_nodes(path):
        for name, finding in (*examine(node), ("apps", apps)):
            typer.echo(f"{name:13} {finding}")
