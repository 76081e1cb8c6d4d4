"""Flower's nodes, each in a folder of its own."""

import tempfile
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra flower")

from flower_loop import House


@pytest.fixture
def nodes_folder(tmp_path):
    """A folder in memory where the system has one: every node's store syncs each commit."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def house(nodes_folder, monkeypatch):
    """Makes the nodes of a test."""
    return lambda **options: House(nodes_folder, monkeypatch, **options)
