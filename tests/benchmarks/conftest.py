"""The benchmarks' own modules, which no package holds, and rows to render."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from rows import Machine, Row, Versions, compared


@pytest.fixture(scope="session")
def benchmarks(project):
    """The folder of the benchmarks."""
    return project / "benchmarks"


@pytest.fixture
def measured():
    """Makes a row with these measurements on both sides."""

    def make(row_id="one", ours=(2.0,), other=(1.0,), quantity="seconds"):
        return Row(
            id=row_id,
            what="something",
            against="something else",
            quantity=quantity,
            rounds=len(ours),
            sizes={"length": 3},
            machine=Machine(cpu="a", cores=1, memory_bytes=1 << 30, system="b", python="c"),
            versions=Versions(fedprivacy="1", numpy="2", cryptography="3"),
            date="2026-01-02",
            **compared(quantity, list(zip(ours, other, strict=True))),
        )

    return make
