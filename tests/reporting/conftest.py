"""Reports as plain text at 80 columns, from records that are made to measure."""

import io

import msgspec
import pytest
from rich.console import Console

from fedprivacy.rounds import RunRecord

replace = msgspec.structs.replace


@pytest.fixture(scope="session")
def text():
    """What a report looks like, on a console that would read markup if it were given any."""

    def render(parts, width=80):
        out = io.StringIO()
        console = Console(file=out, width=width)
        for part in parts:
            console.print(part)
        return out.getvalue()

    return render


@pytest.fixture(scope="session")
def record(project):
    """The example's: ten sums, thirteen losses."""
    return RunRecord.from_json((project / "docs/example-run/record.json").read_text("utf-8"))


@pytest.fixture
def changed(record):
    """The record with the first round's last attempt, or other parts of it, replaced."""

    def change(attempt=None, before=(), of_round=None, **of_record):
        first = record.rounds[0]
        last = replace(first.attempts[-1], **(attempt or {}))
        earlier = tuple(replace(first.attempts[0], **part) for part in before)
        first = replace(first, attempts=(*earlier, last), **(of_round or {}))
        rounds = (first, *record.rounds[1:])
        return replace(record, **{"rounds": rounds, **of_record})

    return change
