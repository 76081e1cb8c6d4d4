import pytest


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """Anchors go to the test's own folder."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder / "fedprivacy" / "anchors"


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "client"
    folder.mkdir()
    return folder / "store.sqlite"
