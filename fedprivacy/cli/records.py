"""`fedprivacy record`: what happened in a run, read again from its file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.files import read_text
from fedprivacy.cli.help import command, group
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from fedprivacy.rounds import RunRecord

__all__ = ["app"]

app = group("Read the record of a run.", "fedprivacy record show runs/20260102-030405-0a1b2c3d")


@command(app, "show", "fedprivacy record show runs/20260102-030405-0a1b2c3d")
def show_record(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", show_default=False),
    ],
) -> None:
    """Print the tables that `fedprivacy run` printed, from the record alone."""
    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.run_report import run_report

    show(run_report(_read(run / "record.json" if run.is_dir() else run)))


@command(app, "schema", "fedprivacy record schema > record.schema.json")
def schema() -> None:
    """Print the JSON Schema of record.json."""
    import msgspec

    from fedprivacy.rounds.record import record_schema

    text = msgspec.json.format(msgspec.json.encode(record_schema()), indent=2)
    sys.stdout.write(text.decode() + "\n")


def _read(path: Path) -> RunRecord:
    import msgspec

    from fedprivacy.rounds import RunRecord

    if path.name == "record.json" and not path.exists() and path.parent.is_dir():
        raise ConfigurationError(f"{path} is not there: that run did not come to its end")
    try:
        return RunRecord.from_json(read_text(path))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no record of a run: {error}") from None
