"""What the benchmarks share: the fixture that measures, and where its rows go.

`pytest benchmarks --results FOLDER` keeps the rows; without the option they are not written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))  # the benchmarks' own modules; no package holds them

from measuring import Bench


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, metavar="FOLDER", help="write measured rows there")


@pytest.fixture
def bench(benchmark: Any, pytestconfig: pytest.Config) -> Bench:
    return Bench(benchmark, pytestconfig.getoption("--results"))
