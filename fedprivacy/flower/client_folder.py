"""A node's own files: policy, identity and store, found where the node says and nobody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fedprivacy.crypto import Identity
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import ClientStore
from fedprivacy.rounds import ClientPolicy
from fedprivacy.secagg import GroupKey

__all__ = ["FILE", "NODE_KEY", "VARIABLE", "ClientFolder", "own_folder"]

NODE_KEY = "fedprivacy-client"
"""The key of a SuperNode's `--node-config`."""
VARIABLE = "FEDPRIVACY_CLIENT"
"""The variable of its environment, where the configuration has no such key."""
FILE = "client.toml"
_PARTITION = "{partition-id}"


def own_folder(
    node_config: Mapping[str, object], environment: Mapping[str, str], bundles: Iterable[Path]
) -> Path:
    """The path of this node's `client.toml`, or of its folder.

    From the node's own configuration, else from its environment, in which `{partition-id}` is
    replaced: simulated nodes share one. Raises `ConfigurationError` for a path that is not absolute
    or lies where Flower puts the apps that servers send.
    """
    named = node_config.get(NODE_KEY)
    where = f"node-config {NODE_KEY}"
    if named is None:
        named, where = environment.get(VARIABLE), VARIABLE
        if named is not None and _PARTITION in named:
            partition = node_config.get("partition-id")
            if not isinstance(partition, int):
                raise ConfigurationError(f"{where} names {_PARTITION}, which this node has not")
            named = named.replace(_PARTITION, str(partition))
    if not isinstance(named, str) or not named:
        raise ConfigurationError(
            "this node names no client folder: start its SuperNode with --node-config "
            f"'{NODE_KEY}=\"/path/of/client.toml\"', or set {VARIABLE}"
        )
    path = Path(named)
    if not path.is_absolute():
        raise ConfigurationError(f"{where} = {named} is relative: give an absolute path")
    real = path.resolve()
    for bundle in bundles:
        if real.is_relative_to(bundle.resolve()):
            raise ConfigurationError(
                f"{where} = {named} is among the apps that servers send: keep it elsewhere"
            )
    return path


@dataclass(frozen=True, slots=True)
class ClientFolder:
    """One client's files, open; the client's id is the name of its key's file.

    Paths in `client.toml` are relative to it.
    """

    path: Path
    policy: ClientPolicy
    identity: Identity
    store: ClientStore

    @classmethod
    def open(cls, path: Path) -> ClientFolder:
        """The files at `path`, a `client.toml` or its folder.

        Raises `ConfigurationError` where one is missing, or others may write or read what is this
        client's alone, and `PolicyRefused` for a store that was put back to an older state.
        """
        file = path / FILE if path.is_dir() else path
        _check_own(file)
        policy, folder = ClientPolicy.from_toml(file), file.parent
        for name, value in (("identity", policy.identity), ("store", policy.store)):
            if not value:
                raise ConfigurationError(f"{file}: {name} is missing: give the path of its file")
        key = folder / policy.identity
        identity = Identity.load(key, key.stem)
        return cls(file, policy, identity, ClientStore(folder / policy.store))

    @property
    def group_key(self) -> GroupKey | None:
        """The clients' part of a key ceremony, where the policy names its file."""
        named = self.policy.ceremony
        return GroupKey.load(self.path.parent / named) if named else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.store.close()


def _check_own(file: Path) -> None:
    """Whoever can write to the policy, or put another in its place, decides for this client.

    Where a path is a link, so does whoever may change what it leads to.
    """
    for path in dict.fromkeys((file, file.parent, file.resolve().parent)):
        try:
            about = path.stat()
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}") from None
        mode, owner = about.st_mode, about.st_uid
        if owner not in (0, os.geteuid()):
            raise ConfigurationError(
                f"{path} belongs to the user with the number {owner}, who may change it: run chown "
                f"{os.geteuid()} on it, or the node as that user"
            )
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigurationError(
                f"{path} has mode {stat.S_IMODE(mode):04o}, in which others may write: run chmod "
                "go-w on it"
            )
