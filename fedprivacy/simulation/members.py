"""Everyone who is enrolled in a simulation: identities, a signed directory, stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fedprivacy.crypto import Directory, Identity, SigningKey
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import SEED_BYTES, Rng
from fedprivacy.secagg import GroupKey, SharedKeyProtocol

__all__ = ["Members"]


@dataclass(slots=True)
class Members:
    """The clients by name, with what is each one's own, and those whom a committee names beside.

    A client's store is made when it is first asked for: one that is never drawn has none. It pins
    the authority, lies in `folder`, or in memory without one, and lasts for the run.
    """

    identities: dict[str, Identity]
    clients: tuple[str, ...]
    authority: bytes
    directory: Directory | None
    folder: Path | None
    group_key: GroupKey | None = None
    """Of a ceremony, where the protocol has one: all clients share it."""
    _stores: dict[str, ClientStore] = field(default_factory=dict)

    @classmethod
    def enrol(
        cls,
        names: Iterable[str],
        *,
        committee: Iterable[str] = (),
        with_directory: bool,
        ceremony: SharedKeyProtocol | None = None,
        folder: Path | None,
        rng: Rng,
    ) -> Members:
        """Fresh identities and, where they play a part, the directory that an authority signs."""
        clients = tuple(names)
        everyone = dict.fromkeys([*clients, *committee])
        authority = SigningKey.from_seed(rng.child("authority").bytes(SEED_BYTES))
        identities = {
            name: Identity.new(name, rng=rng.child(f"identity/{name}")) for name in everyone
        }
        directory = None
        if with_directory:
            entries = [(name, identity.key.public) for name, identity in identities.items()]
            directory = Directory.sign(1, entries, authority)
        key = None if ceremony is None else ceremony.ceremony(rng=rng.child("ceremony"))
        return cls(identities, clients, authority.public, directory, folder, key)

    @property
    def names(self) -> tuple[str, ...]:
        """The clients', in the order of enrolment."""
        return self.clients

    def store(self, name: str) -> ClientStore:
        """The client's own record, the same one in every round."""
        if name not in self._stores:
            store = self._stores[name] = self._made(name)
            store.pin_authority(self.authority)
        return self._stores[name]

    def close(self) -> None:
        """Let go of the stores."""
        for store in self._stores.values():
            store.close()

    def _made(self, name: str) -> ClientStore:
        if self.folder is None:
            return ClientStore(":memory:")
        clients, anchors = self.folder / "clients", self.folder / "anchors"
        for folder in (clients, anchors):
            folder.mkdir(mode=0o700, exist_ok=True)
        return ClientStore(clients / f"{name}.db", anchor=anchors / f"{name}.json")
