"""The public face: short, lazy, and the same for people and for type checkers."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import fedprivacy

SNAPSHOT = [
    "BudgetExhausted",
    "BudgetLedger",
    "ClientPolicy",
    "ClientStore",
    "Clip",
    "ConfigurationError",
    "Directory",
    "DiscreteGaussian",
    "FedPrivacyError",
    "FixedPoint",
    "Guarantee",
    "Identity",
    "MissingExtra",
    "PeerError",
    "PerUnit",
    "Pipeline",
    "Plain",
    "Plan",
    "PolicyRefused",
    "Reason",
    "Rotate",
    "RoundAborted",
    "RoundPlan",
    "Rounding",
    "RunRecord",
    "SecAgg",
    "SecAggPlus",
    "Skellam",
    "Transcript",
    "Weigh",
    "__version__",
]


def test_the_names_are_the_published_ones():
    assert sorted(fedprivacy.__all__) == sorted(SNAPSHOT)
    assert dir(fedprivacy) == sorted(SNAPSHOT)


@pytest.mark.parametrize("name", SNAPSHOT)
def test_each_name_is_there_and_is_fetched_once(name):
    value = getattr(fedprivacy, name)
    assert vars(fedprivacy)[name] is value


def test_type_checkers_see_the_same_names_from_the_same_rooms():
    tree = ast.parse(Path(fedprivacy.__file__).read_text("utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == fedprivacy._HOME


def test_the_version_is_the_installed_one():
    assert fedprivacy.__version__ == version("fedprivacy")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = fedprivacy.Nothing


def test_importing_the_package_imports_no_room():
    code = "import sys, fedprivacy; print([m for m in sys.modules if m.startswith('fedprivacy.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
