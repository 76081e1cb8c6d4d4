"""SQLite as everything here opens it: a statement is compiled once in a process, not once a file.

A node that wakes for each message, or a simulation of a thousand clients, opens a file for each;
SQLAlchemy compiles for each engine anew, which took longer than all that the statements do.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, MetaData, create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.schema import CreateIndex, CreateTable

__all__ = ["create_tables", "sqlite_engine"]

_NAME = "fedprivacy"
_COMPILED: dict[Any, Any] = {}
_TABLES: dict[MetaData, tuple[str, ...]] = {}


class SharedDialect(SQLiteDialect_pysqlite):
    """Equal to every other of its kind, since one process has one library: its statements are, too.

    The cache of compiled statements has the dialect in its keys.
    """

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return type(other) is SharedDialect

    def __hash__(self) -> int:
        return hash(SharedDialect)


registry.register(f"sqlite.{_NAME}", __name__, SharedDialect.__name__)


def sqlite_engine(database: str | None, **options: Any) -> Engine:
    """An engine for the file at this path, or for one in memory; options are `create_engine`'s."""
    url = URL.create(f"sqlite+{_NAME}", database=database)
    return create_engine(url, execution_options={"compiled_cache": _COMPILED}, **options)


def create_tables(connection: Connection, metadata: MetaData) -> None:
    """Make all tables and their indices, of which none is there."""
    if metadata not in _TABLES:
        statements: list[CreateTable | CreateIndex] = []
        for table in metadata.sorted_tables:
            statements.append(CreateTable(table))
            statements += [CreateIndex(index) for index in table.indexes]
        _TABLES[metadata] = tuple(str(s.compile(connection.engine)) for s in statements)
    for statement in _TABLES[metadata]:
        connection.exec_driver_sql(statement)
