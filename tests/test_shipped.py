"""What ships: files found in a checkout and in a wheel alike, code without an assert."""

import ast
import tomllib
from pathlib import Path

import pytest

from fedprivacy import shipped


def forced_includes(project):
    settings = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    return settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]


def test_everything_the_wheel_includes_is_found_in_the_checkout(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, target in forced_includes(project).items():
        assert target == f"fedprivacy/_data/{source}"
        assert shipped.shipped_path(source) == project / source


def test_in_a_wheel_only_the_wheels_own_copy_counts(tmp_path, monkeypatch):
    # Site-packages may hold somebody else's `examples`: it must not be taken for ours.
    (tmp_path / "examples").mkdir()
    data = tmp_path / "fedprivacy" / "_data"
    (data / "proofs").mkdir(parents=True)
    (data / "proofs" / "claims.toml").touch()
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "fedprivacy")
    monkeypatch.setattr(shipped, "_IN_WHEEL", data)
    assert shipped.shipped_path("proofs/claims.toml") == data / "proofs" / "claims.toml"
    with pytest.raises(FileNotFoundError, match="examples does not ship"):
        shipped.shipped_path("examples")


def test_no_shipped_code_asserts():
    root = Path(shipped.__file__).parent
    for path in root.rglob("*.py"):
        found = [
            n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Assert)
        ]
        assert not found, f"{path.relative_to(root)}:{found[0].lineno} asserts"
