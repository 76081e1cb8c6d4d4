"""Where the rows of a ledger lie: one table that only grows, in SQLite or PostgreSQL.

What is appended is durable when the transaction returns, and of several processes one appends at a
time: SQLite takes its write lock as the transaction begins, PostgreSQL locks the table before its
serializable snapshot is taken.
"""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    column,
    create_engine,
    event,
    exc,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.schema import CreateTable

from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.ledger.sqlite import sqlite_engine

__all__ = ["BudgetDatabase", "append", "rows_from"]

T = TypeVar("T")

_MEMORY = ":memory:"
_PATIENCE = 30  # seconds to wait for another process's commit
_TRIES = 20  # of a transaction that the database could not place before or after another
_RETRIED = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
_FOUNDING = 0x6665_6470_7269_7661  # the advisory lock of whoever makes the table
_LOCK = "fedprivacy_lock"  # an execution option: the statement that gives a writer its turn

metadata = MetaData()

entries = Table(
    "fedprivacy_budget",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
)


class BudgetDatabase:
    """The table at a URL (`sqlite:///path`, `postgresql+psycopg://...`) or at a plain path.

    Raises `ConfigurationError` where it cannot be used, `MissingExtra` without the driver.
    """

    def __init__(self, place: str | Path) -> None:
        self._url = _url_of(place)
        self._path = _path_of(self._url)
        sqlite = self._url.drivername == "sqlite"
        self.name = (
            self._url.database or _MEMORY
            if sqlite
            else self._url.render_as_string(hide_password=True)
        )
        self._engine = _engine(self._url)

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    def exists(self) -> bool:
        """Whether there is such a table."""
        if self._path is not None and not self._path.exists():
            return False  # to connect would make it
        return self.read(lambda connection: inspect(connection).has_table(entries.name))

    def make(self) -> None:
        """Make the table where there is none."""
        if self._path is not None:
            _make_private(self._path)
        self._retried(
            lambda connection: connection.execute(CreateTable(entries, if_not_exists=True)),
            f"SELECT pg_advisory_xact_lock({_FOUNDING})",
        )

    def in_turn(self, act: Callable[[Connection], T]) -> T:
        """Run one transaction that may append, alone; committed durably when this returns.

        `act` may run more than once: it must do nothing but through its connection.
        """
        # Statements that do not read take no snapshot: it is taken after the lock is held, and so
        # sees all that whoever held it before has committed.
        return self._retried(act, f"LOCK TABLE {entries.name} IN EXCLUSIVE MODE")

    def read(self, act: Callable[[Connection], T]) -> T:
        """Run one transaction that only reads, all of it at one moment; perhaps more than once."""
        return self._retried(act, "")

    def _retried(self, act: Callable[[Connection], T], lock: str) -> T:
        for _ in range(_TRIES - 1):
            try:
                return self._once(act, lock)
            except exc.DBAPIError:
                continue  # not translated: it could be placed neither before nor after another
        return self._once(act, lock)

    def _once(self, act: Callable[[Connection], T], lock: str) -> T:
        with self._translated(), self._engine.connect() as opened:
            connection = opened.execution_options(**{_LOCK: lock})
            with connection.begin():
                return act(connection)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exc.DBAPIError, sqlite3.DatabaseError) as error:
            cause = getattr(error, "orig", error)
            if getattr(cause, "sqlstate", None) in _RETRIED:
                raise
            said = str(cause).strip().partition("\n")[0]
            raise ConfigurationError(
                f"ledger = {self.name} cannot be used ({said}): free or mend the database"
            ) from None

    def __repr__(self) -> str:
        return f"BudgetDatabase({self.name!r})"


def rows_from(connection: Connection, first: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, body and hash of each row from this number on, in order."""
    # Without types, so that what is of another type is seen as it is.
    columns: list[ColumnElement[Any]] = [column("number"), column("body"), column("head")]
    query = select(*columns).select_from(entries)
    query = query.where(entries.c.number >= first).order_by(entries.c.number)
    yield from map(tuple, connection.execute(query))


def append(connection: Connection, number: int, body: bytes, head: bytes) -> None:
    """One more row."""
    connection.execute(insert(entries).values(number=number, body=body, head=head))


def _url_of(place: str | Path) -> URL:
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(place)
    except (exc.ArgumentError, ValueError):
        # The text could hold a password: it is not shown.
        raise ConfigurationError(
            "ledger: the URL cannot be read: give a path, sqlite:///path or "
            "postgresql+psycopg://user@host/database"
        ) from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise ConfigurationError(
            f"ledger: {url.drivername} is no known database: use sqlite or postgresql+psycopg"
        )
    return url


def _path_of(url: URL) -> Path | None:
    """The file of an SQLite database, None in memory and elsewhere."""
    if url.drivername != "sqlite" or url.database in {None, "", _MEMORY}:
        return None
    return Path(str(url.database))


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        return _sqlite(url)
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtra("postgresql", "a ledger in PostgreSQL")
    engine = create_engine(
        url,
        poolclass=NullPool,
        isolation_level="SERIALIZABLE",
        # A server without an encoding of its own would answer in bytes.
        connect_args={"connect_timeout": _PATIENCE, "client_encoding": "utf8"},
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _sqlite(url: URL) -> Engine:
    path = _path_of(url)
    if path is None:  # nothing is kept: for trying out
        shared = {"check_same_thread": False}
        engine = sqlite_engine(None, poolclass=StaticPool, connect_args=shared)
    else:
        if path.exists():
            _check_private(path)
        engine = sqlite_engine(
            url.database, poolclass=NullPool, connect_args={"timeout": _PATIENCE}
        )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_private(path: Path) -> None:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) or mode & 0o022:
        raise ConfigurationError(
            f"ledger = {path} has mode {stat.filemode(mode)} where -rw-r--r-- is the most: name a "
            "file that others may not write, and run chmod 600 on it"
        )


def _make_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        _check_private(path)
    except OSError as error:
        raise ConfigurationError(
            f"ledger = {path} cannot be created ({error.strerror}): make its folder, writable"
        ) from None


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guess
    # EXTRA: the folder is synced, too, after the rollback journal is deleted.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's cache, too


def _begin_sqlite(connection: Connection) -> None:
    locks = connection.get_execution_options().get(_LOCK)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if locks else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if not (lock := connection.get_execution_options().get(_LOCK)):
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
    connection.exec_driver_sql(lock)
    if connection.exec_driver_sql("SHOW fsync").scalar() != "on":
        raise ConfigurationError(
            "ledger: the PostgreSQL server has fsync = off, so that a power failure forgets what "
            "was spent: set fsync = on"
        )
