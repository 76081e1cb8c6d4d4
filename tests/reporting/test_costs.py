"""Whose seconds a run's costs are."""

import msgspec
import pytest

from fedprivacy.reporting.costs import costs
from fedprivacy.rounds import RunRecord


@pytest.mark.parametrize("simulated", [True, False])
def test_seconds_are_said_to_be_of_those_who_were_in_sight(project, simulated):
    record = RunRecord.from_json((project / "docs/example-run/record.json").read_bytes())
    if not simulated:
        record = msgspec.structs.replace(record, simulation_only=None)
    title = str(next(costs(record)))
    assert ("all parties together" in title) == simulated
    assert ("the server's alone" in title) != simulated
