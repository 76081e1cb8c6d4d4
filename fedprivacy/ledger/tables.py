"""The tables of a client's store. Each primary key is a promise: this happens at most once."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, Text

__all__ = [
    "answers",
    "attempts",
    "chain",
    "charges",
    "directories",
    "facts",
    "heads",
    "metadata",
    "seats",
    "sources",
    "spent",
    "suspended",
    "suspended_members",
]

metadata = MetaData()


def _round_key() -> tuple[Column[bytes], Column[int]]:
    return (
        Column("run_id", LargeBinary, primary_key=True),
        Column("round", Integer, primary_key=True, autoincrement=False),
    )


def _attempt_key() -> Column[int]:
    return Column("attempt", Integer, primary_key=True, autoincrement=False)


facts = Table(
    "facts",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

chain = Table(
    "chain",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("head", LargeBinary, nullable=False),
)

directories = Table(
    "directories",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    *_round_key(),
    _attempt_key(),
    Column("round_id", LargeBinary, nullable=False),
    Column("broadcast", LargeBinary, nullable=False),
    Column("terms", LargeBinary, nullable=False),
)

seats = Table(
    "seats",
    metadata,
    *_round_key(),
    _attempt_key(),
    Column("round_id", LargeBinary, nullable=False),
    Column("broadcast", LargeBinary, nullable=False),
    Column("terms", LargeBinary, nullable=False),
)
"""Attempts that were begun as a member of a committee: one identity may be a client as well."""

spent = Table("spent", metadata, *_round_key(), _attempt_key())

answers = Table(
    "answers",
    metadata,
    *_round_key(),
    Column("attempt", Integer, nullable=False),
    Column("broadcast", LargeBinary, nullable=False, index=True),
    Column("survivors", Text, nullable=False),
)

heads = Table(
    "heads",
    metadata,
    Column("ledger", LargeBinary, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("operator", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

sources = Table(
    "sources",
    metadata,
    Column("source", String, primary_key=True),
    Column("dataset", String, nullable=False, index=True),
    Column("unit", String, nullable=False),
    Column("adjacency", String, nullable=False),
)

charges = Table(
    "charges",
    metadata,
    Column("dataset", String, primary_key=True),
    *_round_key(),
    Column("spends", LargeBinary, primary_key=True),
)


def _sleepers(name: str) -> Table:
    return Table(
        name,
        metadata,
        *_round_key(),
        _attempt_key(),
        Column("digest", LargeBinary, nullable=False, unique=True),
        Column("key", LargeBinary, nullable=False),
        Column("directory", LargeBinary, nullable=False),
    )


suspended = _sleepers("suspended")
"""Who is asleep: at most one state for each attempt, gone as soon as it is resumed."""

suspended_members = _sleepers("suspended_members")
"""The same of those who are asleep as members of a committee."""
