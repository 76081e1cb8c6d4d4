"""Who lives at which node, clients and members of a committee: each node is asked once a run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.app import DEFAULT_TTL, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedprivacy.crypto import Directory, verify
from fedprivacy.errors import PeerError, Reason
from fedprivacy.flower.polling import replies, time_to_live
from fedprivacy.flower.records import HELLO_LABEL, Answer, Hello, Present, is_ours, pack, unpack
from fedprivacy.rounds import Plan, Refusal
from fedprivacy.rounds.messages import reason_of
from fedprivacy.secagg import COMMITTEES, SHARED_KEYS, Adversary
from fedprivacy.wire import decode, encode

__all__ = ["Members"]

_LOG = logging.getLogger("flwr.fedprivacy")
_REFUSAL_LIMIT = 1 << 10


@dataclass(slots=True)
class Members:
    """Who takes part in one run, by node."""

    run_id: bytes
    plan: Plan
    directory: Directory | None
    timeout: float
    problem: str = "no node answered"
    """What was wrong at one of them, last."""
    _present: dict[int, Present] = field(default_factory=dict)
    _looked_at: set[int] = field(default_factory=set)

    @property
    def nodes(self) -> dict[str, int]:
        """Everyone who was met, by name."""
        return {present.client_id: node for node, present in self._present.items()}

    def apart(self, grid: Grid, nodes: Sequence[int], message_type: str) -> list[int]:
        """These nodes without those of members of the committee whom the plan names.

        Such a node opens sums; it is not drawn to train. Each node is asked once for it.
        """
        named = self.plan.aggregation.committee.members
        if not named:
            return list(nodes)
        new = [n for n in nodes if n not in self._looked_at and n not in self._present]
        self._looked_at |= set(new)
        for node, problem in self._ask(grid, new, message_type).items():
            self._note(node, problem)
        at = self.nodes
        members = {at[name] for name in named if name in at}
        return [node for node in nodes if node not in members]

    def meet(self, grid: Grid, nodes: Sequence[int], message_type: str) -> dict[int, str]:
        """Client ids by node, of those nodes that take part; the others are named in the log."""
        problems = self._ask(grid, [n for n in nodes if n not in self._present], message_type)
        known = {node: self._present[node] for node in nodes if node in self._present}
        if known:
            # All must have been given one configuration: the server's word for it is in the plan.
            ((common, _),) = Counter(p.run_config for p in known.values()).most_common(1)
            for node in [n for n, p in known.items() if p.run_config != common]:
                problems[node] = "was given another run configuration than most: start it anew"
                del known[node]
        for node, problem in problems.items():
            self._note(node, problem)
        return {node: present.client_id for node, present in known.items()}

    def _note(self, node: int, problem: str) -> None:
        _LOG.warning("node %d %s", node, problem)
        self.problem = f"node {node} {problem}"

    def run_config(self, node: int) -> bytes:
        """The hash of the configuration that a node was given."""
        return self._present[node].run_config

    def _ask(self, grid: Grid, nodes: Sequence[int], message_type: str) -> dict[int, str]:
        """Ask nodes who they are; returns what is wrong at those of whom that is not known."""
        if not nodes:
            return {}
        problems = dict.fromkeys(nodes, f"did not answer within {self.timeout:g} s")
        hello = self._hello()
        ttl = time_to_live(DEFAULT_TTL, self.timeout)
        asked = [Message(pack(hello), n, message_type, ttl=ttl) for n in nodes]
        for node, reply in replies(grid, asked, timeout=self.timeout):
            try:
                self._take(grid, node, reply)
                del problems[node]
            except PeerError as error:
                problems[node] = error.detail
        return problems

    def _hello(self) -> Hello:
        rules, directory = self.plan.aggregation, self.directory
        if rules.protocol not in COMMITTEES and rules.protocol not in SHARED_KEYS:
            return Hello(self.run_id, None, b"")
        told = rules.adversary is not Adversary.HONEST_BUT_CURIOUS and directory is not None
        return Hello(self.run_id, self.plan, encode(directory) if told and directory else b"")

    def _take(self, grid: Grid, node: int, reply: Message) -> None:
        present = _introduction(reply, self.plan.aggregation.protocol)
        name = present.client_id
        if self.directory is not None:
            key = self.directory.key_of(name)
            if key is None:
                detail = f"is {name}, which is not in the directory: enrol it"
                raise PeerError(Reason.NOT_ENROLLED, detail)
            about = (self.run_id, node.to_bytes(8, "big"), name.encode(), present.run_config)
            if not verify(key, present.signature, HELLO_LABEL, *about):
                detail = f"calls itself {name} without its enrolled key"
                raise PeerError(Reason.KEY_SIGNATURE, detail)
        self._make_room(grid, name)
        self._present[node] = present

    def _make_room(self, grid: Grid, name: str) -> None:
        """Forget the node where this client lived, if it is gone: one started anew has another id.

        Without a directory a name is nobody's: whoever is there first has it, as at the first
        hello. A round that is under way keeps the nodes with which it began.
        """
        other = self.nodes.get(name)
        if other is None:
            return
        if other in grid.get_node_ids():
            raise PeerError(
                Reason.DUPLICATE_MEMBER,
                f"is {name}, as is node {other}, which is still connected: give each node a client "
                "folder of its own; one that was started anew takes part once Flower counts the "
                "earlier one as gone",
            )
        _LOG.info("%s has left node %d and is at another now", name, other)
        del self._present[other]


def _introduction(reply: Message, protocol: str) -> Present:
    if reply.has_error() and reply.error.code == ErrorCode.INVALID_FAB:
        detail = "takes trusted apps alone, and this app is signed by nobody whom it trusts"
        raise PeerError(Reason.NOT_ENROLLED, detail)
    if not reply.has_content() or not is_ours(reply.content):
        raise PeerError(
            Reason.MALFORMED,
            "does not speak for itself: is privacy_mod the first of its ClientApp's mods, and does "
            "the app start?",
        )
    answer: Present | Answer = unpack(reply.content, Present | Answer)
    if isinstance(answer, Present):
        return answer
    refusal = decode(Refusal, answer.frames[0] if answer.frames else b"", limit=_REFUSAL_LIMIT)
    code = reason_of(refusal)
    said = code.name.lower().replace("_", "-")
    needs = ""
    if code is Reason.FAILED and protocol in SHARED_KEYS:
        needs = f"; {protocol} needs the extra he and the ceremony's key there"
    raise PeerError(
        code, f"declines ({said}{needs}): see its log, run `fedprivacy flower doctor` there"
    )
