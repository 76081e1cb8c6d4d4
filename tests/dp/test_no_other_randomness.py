"""No generator but the package's own is reachable from where noise and masks are drawn."""

import ast

import pytest

ROOMS = ["randomness.py", "arithmetic", "vector", "dp"]
FORBIDDEN = {"numpy.random", "random", "secrets", "torch", "scipy.stats", "uuid", "time"}


def sources(project):
    for room in ROOMS:
        path = project / "fedprivacy" / room
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def uses(tree):
    """Every module that is imported, and every dotted name with its alias resolved."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                aliases[name.asname or name.name.partition(".")[0]] = name.name
                yield name.name
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                aliases[name.asname or name.name] = f"{node.module}.{name.name}"
                yield f"{node.module}.{name.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{aliases.get(node.value.id, node.value.id)}.{node.attr}"


def forbidden(text):
    return sorted(
        use
        for use in uses(ast.parse(text))
        if any(f"{use}.".startswith(f"{f}.") for f in FORBIDDEN)
    )


def test_only_the_packages_own_source_is_used(project):
    found = {str(path): forbidden(path.read_text("utf-8")) for path in sources(project)}
    assert len(found) > 15
    assert not {path: names for path, names in found.items() if names}


def test_the_entropy_of_the_system_is_read_in_one_file_only(project):
    readers = [
        path.name
        for path in sources(project)
        if any(use.startswith("os.urandom") for use in uses(ast.parse(path.read_text("utf-8"))))
    ]
    assert readers == ["randomness.py"]


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\nnp.random.normal()",
        "import numpy\nnumpy.random.default_rng()",
        "from numpy import random as r",
        "from numpy.random import normal",
        "import numpy.random as nr",
        "import random",
        "from secrets import token_bytes",
        "def f():\n    import numpy as n\n    return n.random",
    ],
)
def test_the_search_finds_what_is_forbidden(text):
    assert forbidden(text)
