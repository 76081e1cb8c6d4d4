"""Flower's nodes, each in a folder of its own."""

import pytest

pytest.importorskip("flwr", reason="needs the extra flower")

from flower_loop import House


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Makes the nodes of a test."""
    return lambda **options: House(tmp_path, monkeypatch, **options)
