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
from fedprivacy.secagg import (
    COMMITTEES,
    SHARED_KEYS,
    Adversary,
    GroupKey,
    SecAgg,
    SecAggPlus,
    SharedKeyProtocol,
)

__all__ = ["NodeFiles", "all_nodes", "examine", "names_of", "policy_text"]

_STORE = "client.db"
_CEREMONY = "ceremony.key"


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
    def ceremony(self) -> Path:
        """The server's part of a key ceremony, where the plan's clients share a key."""
        return self.folder / "ceremony.server.key"

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
        the plan offers. Members of the committee whom the plan names, and who are none of these
        nodes, have the nodes after them. Raises `ConfigurationError` where the folder exists, and
        `MissingExtra` where a key ceremony needs one.
        """
        protocol = SHARED_KEYS.get(plan.aggregation.protocol)
        key = None if protocol is None else protocol.ceremony(rng=rng.child("ceremony"))
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
        for number, name in enumerate(names_of(nodes, plan)):
            identity = Identity.new(name, rng=rng.child(f"node/{number}"))
            made._make_node(number, identity, authority.key.public, plan, key)
            entries.append((identity.client_id, identity.key.public))
        if key is not None:
            key.server_part.save(made.ceremony)
        directory = Directory.sign(1, entries, authority.key)
        made.directory.write_text(directory.to_json(), encoding="utf-8")
        return made

    def _make_node(
        self,
        number: int,
        identity: Identity,
        authority: bytes,
        plan: Plan,
        key: GroupKey | None,
    ) -> None:
        folder = self.node(number)
        folder.mkdir(mode=0o700)
        identity.save(folder / f"{identity.client_id}.key")
        with ClientStore(folder / _STORE) as store:
            store.pin_authority(authority)
        if key is not None:
            key.save(folder / _CEREMONY)
        policy = folder / FILE
        policy.write_text(policy_text(identity.client_id, plan), encoding="utf-8")
        policy.chmod(0o600)


def names_of(nodes: int, plan: Plan) -> list[str]:
    """Who lives at a simulation's nodes: so many clients, and members that are none of them."""
    clients = [f"node-{number}" for number in range(nodes)]
    return list(dict.fromkeys([*clients, *plan.aggregation.committee.members]))


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
        *([f'ceremony = "{_CEREMONY}"'] if rules.protocol in SHARED_KEYS else []),
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
        *_committee_lines(plan),
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


def _committee_lines(plan: Plan) -> list[str]:
    rules = plan.aggregation.committee
    if not rules.count:
        return []
    named = [f"members = {json.dumps(rules.members)}"] if rules.members else []
    return [
        "",
        "[require.aggregation.committee]",
        f"size = {rules.count}",
        f"threshold = {rules.opens_with}",
        f"corrupt = {rules.corrupt}",
        *named,
    ]


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
        for name in rules.protocol:
            if (shared := SHARED_KEYS.get(name)) is not None:
                yield "ceremony", _examine_ceremony(own, shared)
            if name in COMMITTEES:
                yield "committee", _committee_of(own)
        protocols = " or ".join(rules.protocol)
        yield "demands", f"{protocols}, {rules.adversary.value}, {rules.min_clients} in a sum"
        yield "noise", noise.trust.value
        for dataset, limit in own.policy.budget.items():
            yield "budget", f"{dataset}: epsilon {limit.epsilon} at delta {limit.delta}"
        yield "in the clear", ", ".join(kind.value for kind in own.policy.clear) or "nothing"


def _examine_ceremony(own: ClientFolder, protocol: SharedKeyProtocol) -> str:
    if not own.policy.ceremony:
        raise ConfigurationError(
            f"{own.path}: ceremony is missing, which {protocol.name} needs: name the file that "
            "`fedprivacy keys ceremony` made for every client"
        )
    protocol.check_key(own.group_key)
    return f"{own.path.parent / own.policy.ceremony}, for {protocol.name}"


def _committee_of(own: ClientFolder) -> str:
    wanted = own.policy.require.aggregation.committee
    if own.identity.client_id in wanted.members:
        return "this node is a member of the committee: it opens sums, and is not drawn to train"
    return f"any of {', '.join(wanted.members)}" if wanted.members else "whoever a plan names"


def all_nodes(path: Path) -> list[Path]:
    """The node at this path, or every node of a simulation's folder."""
    nodes = path / "nodes"
    if not nodes.is_dir():
        return [path]
    return sorted(nodes.iterdir(), key=lambda p: (len(p.name), p.name))
