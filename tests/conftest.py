"""What every test may ask for, and how hard hypothesis tries.

`HYPOTHESIS_PROFILE` chooses: `default` (100 examples a property) or `nightly` (1,000). A test that
feeds hostile bytes to a decoder wears `@settings.get_profile("fuzz")`: 500 examples, and 10,000 at
night; one that plays a whole round with them, `"fuzz-rounds"`: 200, and 10,000 at night. One whose
example takes a second wears `"dear"`: 5 examples, and 50 at night.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

import scheduling

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
NIGHTLY_EXAMPLES, NIGHTLY_FUZZ, NIGHTLY_DEAR = 1_000, 10_000, 50

settings.register_profile("default", max_examples=100, deadline=None)
settings.register_profile("nightly", max_examples=NIGHTLY_EXAMPLES, deadline=None)
settings.register_profile(
    "fuzz", max_examples=NIGHTLY_FUZZ if PROFILE == "nightly" else 500, deadline=None
)
settings.register_profile(
    "fuzz-rounds", max_examples=NIGHTLY_FUZZ if PROFILE == "nightly" else 200, deadline=None
)
settings.register_profile(
    "dear", max_examples=NIGHTLY_DEAR if PROFILE == "nightly" else 5, deadline=None
)
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: scheduling.rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return scheduling.LongestFirst(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(scope="session")
def project(pytestconfig) -> Path:
    """The project's root."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def shared(project) -> Path:
    """The folder of published vectors beside the project; without it the test is skipped."""
    folder = project.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the vectors in {folder.name}/ beside the project")
    return folder
