"""The files of simulated nodes, all made on one machine, and what is wrong with a node's files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedprivacy.crypto import Authority, Directory, Identity
from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.client_folder import FILE, ClientFolder
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import Rng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.rules import AUTO, Trust
from fedprivacy.secagg import Adversary, SecAgg, SecAggPlus

__all__ = ["NodeFiles", "all_nodes", "examine", "policy_text"]

_STORE = "client.db"


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """A folder with the files of every node of a simulation, and of those who run it.

    One machine that holds them all protects nobody: they are for trying out. In a real federation
    each client makes its own key (`fedprivacy keys new`).
    """

    folder: Path

    @property
    def directory(self) -> Path:
        return self.folder / "directory.json"

    @property
    def pattern(self) -> str:
        """What a simulation's environment has in FEDPRIVACY_CLIENT."""
        return f"{self.folder.absolute()}/nodes/{{partition-id}}"

    def node(self, number: int) -> Path:
        """The folder of a node, counted from 0 as Flower counts partitions."""
        return self.folder / "nodes" / str(number)

    @classmethod
    def make(cls, folder: Path, nodes: int, plan: Plan, *, rng: Rng) -> NodeFiles:
        """Keys, a signed directory and a client folder for each node, whose policy asks for what
        the plan offers. Raises `ConfigurationError` where the folder exists.
        """
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            raise ConfigurationError(f"{folder} exists: name another folder") from None
        except OSError as error:
            raise ConfigurationError(f"{folder}: {error.strerror or error}") from None
        made = cls(folder)
        authority = Identity.new("authority", rng=rng.child("authority"))
        authority.save(folder / "authority.key")
        (folder / "authority.pub").write_text(Authority.of(authority).to_json(), encoding="utf-8")
        made.node(0).parent.mkdir(mode=0o700)
        entries = []
        for number in range(nodes):
            identity = Identity.new(f"node-{number}", rng=rng.child(f"node/{number}"))
            made._make_node(number, identity, authority.key.public, plan)
            entries.append((identity.client_id, identity.key.public))
        directory = Directory.sign(1, entries, authority.key)
        made.directory.write_text(directory.to_json(), encoding="utf-8")
        return made

    def _make_node(self, number: int, identity: Identity, authority: bytes, plan: Plan) -> None:
        folder = self.node(number)
        folder.mkdir(mode=0o700)
        identity.save(folder / f"{identity.client_id}.key")
        with ClientStore(folder / _STORE) as store:
            store.pin_authority(authority)
        policy = folder / FILE
        policy.write_text(policy_text(identity.client_id, plan), encoding="utf-8")
        policy.chmod(0o600)


def policy_text(client_id: str, plan: Plan) -> str:
    """A policy that asks for what a plan offers, and for nothing more."""
    rules, noise = plan.aggregation, plan.noise
    protocols = [rules.protocol]
    adversary = rules.adversary
    if rules.protocol == AUTO:
        protocols = [SecAgg.name]
        if adversary is not Adversary.MALICIOUS:
            protocols.append(SecAggPlus.name)
    lines = [
        "# What this node demands of any plan: its own file, never the server's.",
        'schema = "fedprivacy/policy/1"',
        f'identity = "{client_id}.key"',
        f'store = "{_STORE}"',
        "",
        "[require.dataset]",
        f"id = {json.dumps(plan.dataset.id)}",
        f"unit = {json.dumps(plan.dataset.unit)}",
        f'adjacency = "{plan.dataset.adjacency.value}"',
        "",
        "[require.aggregation]",
        f"protocol = {json.dumps(protocols)}",
        f'adversary = "{adversary.value}"',
        f"min_clients = {rules.min_clients}",
        f"corrupt = {rules.corrupt}",
        "",
        "[require.update]",
        f"clip = {plan.update.clip!r}",
        f"max_units_per_client = {plan.update.max_units_per_client}",
        f"least_units_per_client = {plan.update.max_units_per_client}",
    ]
    if noise.trust is not Trust.NONE:
        lines += [
            "",
            "[require.noise]",
            f'trust = "{noise.trust.value}"',
            f"noise_multiplier = {noise.noise_multiplier!r}",
            f"delta = {noise.delta!r}",
        ]
    return "\n".join(lines) + "\n"


def examine(path: Path) -> Iterator[tuple[str, str]]:
    """What a node's files are, and what is wrong with them: pairs of a name and a finding.

    Raises the first error that would keep the node from taking part.
    """
    with ClientFolder.open(path) as own:
        rules, noise = own.policy.require.aggregation, own.policy.require.noise
        yield "policy", str(own.path)
        yield "client", f"{own.identity.client_id}, key {own.identity.key.public.hex()}"
        authority = own.store.authority()
        if authority is None and rules.adversary is not Adversary.HONEST_BUT_CURIOUS:
            raise ConfigurationError(
                f"{own.path}: no authority is pinned in {own.policy.store}: run `fedprivacy pin "
                f"AUTHORITY.pub --store {own.path.parent / own.policy.store}`"
            )
        yield "authority", "none is pinned" if authority is None else authority.hex()
        protocols = " or ".join(rules.protocol)
        yield "demands", f"{protocols}, {rules.adversary.value}, {rules.min_clients} in a sum"
        yield "noise", noise.trust.value
        for dataset, limit in own.policy.budget.items():
            yield "budget", f"{dataset}: epsilon {limit.epsilon} at delta {limit.delta}"
        yield "in the clear", ", ".join(kind.value for kind in own.policy.clear) or "nothing"


def all_nodes(path: Path) -> list[Path]:
    """The node at this path, or every node of a simulation's folder."""
    nodes = path / "nodes"
    if not nodes.is_dir():
        return [path]
    return sorted(nodes.iterdir(), key=lambda p: (len(p.name), p.name))
