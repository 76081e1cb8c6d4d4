"""`fedprivacy flower`: the files of Flower's nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedprivacy.cli.help import command, group

__all__ = ["app"]

_KEYS = "fedprivacy flower keys --nodes 10 --plan privacy.toml nodes"

app = group("Make and check the files of Flower's nodes.", _KEYS)


@command(app, "keys", _KEYS)
def keys(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)],
    *,
    nodes: Annotated[
        int,
        typer.Option("--nodes", min=2, max=10_000, metavar="N", help="How many nodes there are."),
    ],
    plan: Annotated[
        Path,
        typer.Option("--plan", metavar="PLAN.toml", help="What their policies are to accept."),
    ],
) -> None:
    """Make keys, a signed directory and a client folder for each node of a simulation.

    Each node's policy asks for what the plan offers. All keys are then on one machine, which is for
    trying out only: in a federation each client makes its own, with `fedprivacy keys new`.
    """
    from fedprivacy.flower.client_folder import VARIABLE
    from fedprivacy.flower.node_files import NodeFiles
    from fedprivacy.randomness import SystemRng
    from fedprivacy.rounds import Plan

    made = NodeFiles.make(folder, nodes, Plan.from_toml(plan), rng=SystemRng())
    typer.echo(f"directory, for PrivateStrategy: {made.directory}")
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
