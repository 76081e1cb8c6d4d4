import itertools

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

import postgres

NUMBERS = itertools.count()
SETTINGS = {
    "isolation_level": "AUTOCOMMIT",
    "poolclass": NullPool,
    "connect_args": {"client_encoding": "utf8"},  # the server has none of its own
}


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


@pytest.fixture(scope="session")
def postgres_server():
    """A server for this session's tests alone."""
    binaries = postgres.binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    with postgres.running(binaries) as url:
        yield make_url(url)


@pytest.fixture
def postgres_url(postgres_server):
    """The URL of a fresh database."""
    name = f"ledger_{next(NUMBERS)}"
    engine = create_engine(postgres_server, **SETTINGS)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return postgres_server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a ledger can be founded."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.sqlite")
    return request.getfixturevalue("postgres_url")
