"""Clients of the lying server that live in Flower's nodes: every message goes through the mod.

What a node refuses without a word to the server is read off its log.

A node's files are the table's: policy, identity and store. All else is Flower's: messages in their
encoding, a ClientApp that trains, and a Context in which the client is sealed between two messages.
"""

import contextlib
import logging
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from fedprivacy.errors import PeerError, Reason
from fedprivacy.flower import mod, privacy_mod
from fedprivacy.flower.client_folder import ClientFolder
from fedprivacy.flower.records import (
    Answer,
    Broadcast,
    Exchange,
    pack,
    record_digest,
    run_config_digest,
    unpack,
)
from fedprivacy.rounds import Envelope, Invitation, Refusal
from fedprivacy.rounds.messages import INVITATION_LIMIT, MemberRefusal, Summons, reason_of
from fedprivacy.secagg import SERVER, Send
from fedprivacy.secagg.masking import messages as m
from fedprivacy.wire import decode, encode
from flower_loop import through
from lying_server import BROADCAST, LENGTH, Table
from rounddrive import Consortium

GROUP, TRAIN = "1", "train"
LOG = []
"""The warnings and errors of the node that was spoken to last."""

REASONS = {reason.name.lower().replace("_", "-"): reason for reason in Reason}


def records(text=BROADCAST):
    """What a client trains on, beside a message of ours."""
    model = ArrayRecord({"w": Array(np.zeros(LENGTH))})
    return RecordDict({"arrays": model, "config": ConfigRecord({"told": text})})


def broadcast_of(_table, text=BROADCAST):
    """What is broadcast to clients that train on this."""
    digests = tuple((name, record_digest(r)) for name, r in sorted(records(text).items()))
    named = (TRAIN, GROUP, run_config_digest({}), "num-examples", ("w",), digests)
    return encode(Broadcast(*named))


@dataclass
class NodeClient:
    """What a `RoundClient` is to the lying server, a node away from it."""

    table: Table
    name: str
    context: Context
    round_plan: object = None
    broadcast: bytes = b""
    """That of the invitation, once the client took it."""

    def receive(self, sender, message):
        assert sender == SERVER, "in Flower nobody but the strategy speaks to a node"
        LOG.clear()
        frames = self._answered(message)
        refusals = [r for r in (_read(Refusal, frame) for frame in frames) if r is not None]
        if refusals:
            raise PeerError(reason_of(refusals[0]), "as its node says")
        yield from (Send(SERVER, frame) for frame in frames)
        for line in LOG:
            raise PeerError(REASONS[line.partition(":")[0]], "as its node's log says")

    def contribute(self, update):
        """Its vector leaves when the server asks for it, and not before."""
        return ()

    def _answered(self, message):
        invitation = _read(Invitation, message)
        envelope = _read(Envelope, message)
        delivers = envelope is not None and _read(m.ShareDelivery, envelope.body) is not None
        named = self.table.broadcast_of() if delivers else b""
        order = Exchange(1 if invitation else 0, (message,), named)
        beside = records() if delivers else None
        content = pack(order, beside)
        sent = Message(content, dst_node_id=1, message_type=TRAIN, group_id=GROUP)
        frames = unpack(through(self._app(through(sent), self.context)).content, Answer).frames
        if invitation and _read(Refusal, frames[0]) is None:
            self.round_plan, self.broadcast = invitation.round_plan, invitation.broadcast
        return frames

    @property
    def _app(self):
        app = ClientApp(mods=[privacy_mod])

        @app.train()
        def train(message, context):
            moved = np.asarray(self.table.vectors[self.name], dtype=np.float64)
            arrays = ArrayRecord({"w": Array(moved)})
            metrics = MetricRecord({"num-examples": 1})
            return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

        return app


@dataclass
class NodeMember:
    """What a `RoundMember` is to a lying server with a committee, a node away from it."""

    context: Context
    has_left: bool = False

    def receive(self, sender, message):
        assert sender == SERVER, "in Flower nobody but the strategy speaks to a node"
        LOG.clear()
        begins = 1 if _read(Summons, message) else 0
        content = pack(Exchange(begins, (message,), b""))
        sent = Message(content, dst_node_id=1, message_type=TRAIN, group_id=GROUP)
        app = ClientApp(mods=[privacy_mod])
        app.train()(_trains_nothing)
        frames = unpack(through(app(through(sent), self.context)).content, Answer).frames
        for frame in frames:
            refusal = _read(MemberRefusal, frame)
            if refusal is not None:
                self.has_left = True
                yield Send(SERVER, frame)
                raise PeerError(reason_of(refusal), "as its node says")
            yield Send(SERVER, frame)


def _trains_nothing(message, context):
    raise AssertionError("a member is asked to train")


def _read(kind, data):
    try:
        return decode(kind, data, limit=INVITATION_LIMIT)
    except PeerError:
        return None


def move_into_nodes(monkeypatch):
    """From here on the clients of a `Table`, and the members of a `Consortium`, live in nodes."""
    contexts = {}

    def member(consortium, name, number=1, attempt=1):
        key = (id(consortium), name)
        if key not in contexts:
            contexts[key] = consortium, Context(1, 1, {"name": name}, RecordDict(), {})
        return NodeMember(contexts[key][1])

    def client(table, name):
        key = (id(table), name)
        if key not in contexts:
            contexts[key] = table, Context(1, 1, {"name": name}, RecordDict(), {})
        return NodeClient(table, name, contexts[key][1])

    def own(context):
        ((table, name),) = [
            (t, c.node_config["name"]) for t, c in contexts.values() if c is context
        ]
        folder = ClientFolder(None, table.policy, table.identities[name], table.stores[name])
        return contextlib.nullcontext(folder)

    for name in ("run_id", "node_id", "task_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 1)
    monkeypatch.setattr(Table, "client", client)
    monkeypatch.setattr(Consortium, "member", member)
    monkeypatch.setattr(Table, "broadcast_of", broadcast_of)
    monkeypatch.setattr(mod, "_own", own)
    logger = logging.getLogger("flwr.fedprivacy")
    monkeypatch.setattr(logger, "handlers", [_Kept(logging.WARNING)])


class _Kept(logging.Handler):
    def emit(self, record):
        LOG.append(record.getMessage())
