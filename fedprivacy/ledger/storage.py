"""One SQLite file that commits durably, serves several processes and notices when it is old.

What is recorded extends a hash chain in the same transaction; afterwards the chain's head goes to
the anchor, a small file elsewhere (`fedprivacy.ledger.anchor`). The anchor is checked when the file
is opened and within every transaction that records.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, event, exc, insert, inspect, select
from sqlalchemy.pool import NullPool, StaticPool

from fedprivacy.errors import ConfigurationError, PolicyRefused, Reason
from fedprivacy.ledger.anchor import Anchor, default_anchor_path
from fedprivacy.ledger.sqlite import create_tables, sqlite_engine
from fedprivacy.ledger.tables import chain, facts, metadata
from fedprivacy.randomness import SystemRng
from fedprivacy.wire import digest

__all__ = ["AnchoredFile", "fact"]

_MEMORY = ":memory:"
_FAMILY = b"fedprivacy/client-store/"
_SCHEMA = _FAMILY + b"4"
_PATIENCE = 30.0  # seconds to wait for another process's commit

# Made once: what makes a statement takes longer than the statement.
_LAST = select(chain).order_by(chain.c.generation.desc()).limit(1)
_AT = select(chain).where(chain.c.generation == bindparam("generation"))
_NEXT = insert(chain)
_HAS_FACTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'facts'"
_FACTS = select(facts.c.name, facts.c.value).where(facts.c.name.in_(("schema", "store")))
_FACT = select(facts.c.value).where(facts.c.name == bindparam("name"))


class AnchoredFile:
    """The database at `path`, mode 0600, or one in memory that nothing anchors.

    Raises `ConfigurationError` when a path or a mode will not do and `PolicyRefused`
    (`STORE_ROLLED_BACK`) when the file does not continue the state that its anchor names.
    """

    def __init__(self, path: str | Path, anchor: Path | None) -> None:
        self.path = path if path == _MEMORY else Path(path).absolute()
        if isinstance(self.path, Path):
            _make_private(self.path)
        self._engine = _engine(self.path)
        self._anchor_path: Path | None = None
        self._mine = threading.local()
        is_behind = False
        with self.reading() as connection:
            self._store = _identify(connection, self.path)
            if isinstance(self.path, Path):
                self._anchor_path = _anchor_path(anchor, self._store, self.path)
                present, anchored = self._check_anchor(connection, self._anchor_path)
                is_behind = present != anchored
        if is_behind:  # only what is committed is anchored
            self._settle_anchor()

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction, under the write lock from its start; or the one of `together`."""
        shared: Connection | None = getattr(self._mine, "connection", None)
        if shared is not None:
            with self._translated():
                yield shared
            return
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, kind: str, *record: bytes) -> Iterator[Connection]:
        """One transaction that records something, extends the chain and then moves the anchor.

        Where what is to be recorded stands there already, the chain stays as it is. Within
        `together` it is a part of one: whole, or undone where it raises.
        """
        with self.together(), self.reading() as connection, connection.begin_nested():
            before = _rows_changed(connection)
            yield connection
            if _rows_changed(connection) != before:
                _extend(connection, kind, record)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All that this thread records within is committed at the end, and once.

        So it is where an exception ends it: what was recorded before stays. Nothing may leave, and
        no time may be spent, before the end: other processes wait. One within another is a part of
        it.
        """
        if getattr(self._mine, "connection", None) is not None:
            yield
            return
        with self._translated(), self._engine.connect() as connection:
            connection.begin()
            if self._anchor_path is not None:
                self._check_anchor(connection, self._anchor_path)
            before = _rows_changed(connection)
            self._mine.connection = connection
            try:
                yield
            finally:
                self._mine.connection = None
                changed = _rows_changed(connection) != before
                connection.commit()
                if changed:
                    self._settle_anchor()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exc.IntegrityError, exc.ProgrammingError):
            raise  # a bug here, not the file's condition
        except (exc.DatabaseError, sqlite3.DatabaseError) as error:
            raise ConfigurationError(
                f"store = {self.path} cannot be used ({getattr(error, 'orig', error)}): "
                "free or mend the file, its disk or its permissions"
            ) from None

    def _check_anchor(self, connection: Connection, path: Path) -> tuple[Anchor, Anchor | None]:
        """The store's present state, and the anchored one, if any, which it must continue."""
        generation, head = _head(connection)
        anchor = Anchor.load(path)
        # A crash between commit and anchor leaves the store ahead, but on the same chain. The
        # anchor is first written when the store is made, before anything is recorded.
        if anchor is None and generation:
            raise _rolled_back(f"{generation} without an anchor", path)
        if anchor is not None and anchor.store != self._store:
            raise _rolled_back(f"{generation} of store {self._store}", f"store {anchor.store}")
        if anchor is not None and generation < anchor.generation:
            raise _rolled_back(generation, anchor.generation)
        present = Anchor(self._store, generation, head)
        if anchor in (None, present):
            return present, anchor
        if _head(connection, anchor.generation)[1] != anchor.head:
            raise _rolled_back(f"{generation} of another history", anchor.generation)
        return present, anchor

    def _settle_anchor(self) -> None:
        """Write the store's committed state to the anchor.

        Under the store's write lock, so that of two processes the later state is written last.
        """
        path = self._anchor_path
        if path is None:
            return
        with self.reading() as connection:
            present, anchored = self._check_anchor(connection, path)
            if present != anchored:
                present.save(path)


def _rolled_back(value: object, floor: object) -> PolicyRefused:
    remedy = (
        "bring back the newest copies of store and anchor, or enrol under a new identity and store"
    )
    path = "store.generation"
    return PolicyRefused(Reason.STORE_ROLLED_BACK, path, value, f"anchor, {floor}", remedy)


def _anchor_path(given: Path | None, store: str, path: Path) -> Path:
    anchor = (given or default_anchor_path(store)).absolute()
    if anchor.parent.resolve() == path.parent.resolve():
        raise ConfigurationError(
            f"anchor = {anchor} is in the store's own folder, which is put back with it: choose "
            "another folder"
        )
    return anchor


def _make_private(path: Path) -> None:
    """Create the file at mode 0600, or see that the one that is there has it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) or mode & 0o177:
            raise ConfigurationError(
                f"store = {path} has mode {stat.filemode(mode)} where -rw------- is the most: "
                "name a file and run chmod 600 on it"
            ) from None
    except OSError as error:
        raise ConfigurationError(
            f"store = {path} cannot be created ({error.strerror}): make its folder, writable"
        ) from None


def _engine(path: Path | str) -> Engine:
    if isinstance(path, Path):
        engine = sqlite_engine(
            str(path),
            poolclass=NullPool,
            connect_args={"timeout": _PATIENCE},
            hide_parameters=True,  # some are keys: none stands in the text of an error
        )
    else:
        engine = sqlite_engine(None, poolclass=StaticPool, hide_parameters=True)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _take_write_lock)
    return engine


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guess
    # EXTRA: the folder is synced, too, after the rollback journal is deleted. With FULL a power
    # failure could bring the journal back and undo a commit whose bytes have left.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA secure_delete = ON")  # a key that is deleted is overwritten
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's cache, too


def _take_write_lock(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _identify(connection: Connection, path: Path | str) -> str:
    """The store's name, drawn when its tables are made."""
    known = {}
    if connection.exec_driver_sql(_HAS_FACTS).first() is not None:
        known = {row.name: row.value for row in connection.execute(_FACTS)}
    elif not inspect(connection).get_table_names():
        create_tables(connection, metadata)
        store = SystemRng().bytes(16)
        rows = [{"name": "schema", "value": _SCHEMA}, {"name": "store", "value": store}]
        connection.execute(insert(facts), rows)
        genesis = digest("client-store", store)
        connection.execute(insert(chain).values(generation=0, head=genesis))
        return store.hex()
    schema: bytes = known.get("schema", b"")
    store_id: bytes | None = known.get("store") if schema == _SCHEMA else None
    if store_id is None and schema.startswith(_FAMILY):
        raise ConfigurationError(
            f"store = {path} is of schema {schema.decode('ascii', 'replace')} where "
            f"{_SCHEMA.decode()} is kept: end its runs with the release that made it, and enrol "
            "under a new identity and store"
        )
    if store_id is None:
        raise ConfigurationError(
            f"store = {path} is not of schema {_SCHEMA.decode()}: name another file"
        )
    return store_id.hex()


def fact(connection: Connection, name: str) -> bytes | None:
    """One of the few values that a store has once."""
    value: bytes | None = connection.execute(_FACT, {"name": name}).scalar()
    return value


def _head(connection: Connection, generation: int | None = None) -> tuple[int, bytes]:
    """Number and hash of the last commit, or of the given one."""
    if generation is None:
        row = connection.execute(_LAST).one()
    else:
        row = connection.execute(_AT, {"generation": generation}).one()
    return row.generation, row.head


def _extend(connection: Connection, kind: str, record: tuple[bytes, ...]) -> None:
    generation, head = _head(connection)
    extended = digest("client-store", head, kind.encode(), *record)
    connection.execute(_NEXT, {"generation": generation + 1, "head": extended})


def _rows_changed(connection: Connection) -> int:
    driver: Any = connection.connection.driver_connection
    changes: int = driver.total_changes
    return changes
