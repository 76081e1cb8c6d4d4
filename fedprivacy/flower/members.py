"""Which client lives at which node: asked once a run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedprivacy.crypto import Directory, verify
from fedprivacy.errors import PeerError, Reason
from fedprivacy.flower.polling import replies
from fedprivacy.flower.records import HELLO_LABEL, Answer, Hello, Present, is_ours, pack, unpack
from fedprivacy.rounds import Refusal
from fedprivacy.rounds.messages import reason_of
from fedprivacy.wire import decode

__all__ = ["Members"]

_LOG = logging.getLogger("flwr.fedprivacy")
_REFUSAL_LIMIT = 1 << 10


@dataclass(slots=True)
class Members:
    """The clients of one run, by node."""

    run_id: bytes
    directory: Directory | None
    timeout: float
    problem: str = "no node answered"
    """What was wrong at one of them, last."""
    _present: dict[int, Present] = field(default_factory=dict)

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
            _LOG.warning("node %d %s", node, problem)
            self.problem = f"node {node} {problem}"
        return {node: present.client_id for node, present in known.items()}

    def run_config(self, node: int) -> bytes:
        """The hash of the configuration that a node was given."""
        return self._present[node].run_config

    def _ask(self, grid: Grid, nodes: Sequence[int], message_type: str) -> dict[int, str]:
        """Ask nodes who they are; returns what is wrong at those of whom that is not known."""
        if not nodes:
            return {}
        problems = dict.fromkeys(nodes, f"did not answer within {self.timeout:g} s")
        hello = Hello(self.run_id)
        asked = [Message(pack(hello), dst_node_id=n, message_type=message_type) for n in nodes]
        for node, reply in replies(grid, asked, timeout=self.timeout):
            try:
                self._take(node, reply)
                del problems[node]
            except PeerError as error:
                problems[node] = error.detail
        return problems

    def _take(self, node: int, reply: Message) -> None:
        present = _introduction(reply)
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
        for other, known in self._present.items():
            if known.client_id == name:
                detail = f"is {name}, as is node {other}: give each node a client folder of its own"
                raise PeerError(Reason.DUPLICATE_MEMBER, detail)
        self._present[node] = present


def _introduction(reply: Message) -> Present:
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
    raise PeerError(code, f"declines ({said}): see its log, run `fedprivacy flower doctor` there")
