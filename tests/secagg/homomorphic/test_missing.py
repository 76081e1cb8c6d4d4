"""Without the extra `he` each use of it is one clear error, and all else works."""

import sys

import pytest

from ceremonies import Shared
from fedprivacy.errors import MissingExtra
from fedprivacy.secagg import SHARED_KEYS
from fedprivacy.secagg.homomorphic.native import require


@pytest.fixture
def without(monkeypatch):
    """As where it is not installed."""
    monkeypatch.setitem(sys.modules, "tenseal", None)
    require.cache_clear()
    yield
    require.cache_clear()


def test_parties_and_ceremonies_name_the_extra_and_how_to_install_it(without):
    case_of = SHARED_KEYS["bfv"]
    with pytest.raises(MissingExtra, match=r"pip install 'fedprivacy\[he\]'") as missing:
        case_of.ceremony(rng=None)
    assert missing.value.exit_code == 7
    with pytest.raises(MissingExtra):
        case_of.client(None, None, identity=None, directory=None, floor=2, rand=b"", key=None)
    with pytest.raises(MissingExtra):
        case_of.server(None, None, None, rng=None)


def test_it_is_back_where_it_is_installed():
    assert Shared("bfv", 2).run().survivors == ("c000", "c001")
