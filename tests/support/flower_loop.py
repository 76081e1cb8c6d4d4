"""A Grid in one process: real ClientApps and Contexts, every hop through Flower's own encoding."""

from __future__ import annotations

from collections import Counter, defaultdict
from threading import RLock
from uuid import uuid4

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import (
    context_from_proto,
    context_to_proto,
    message_from_proto,
    message_to_proto,
)
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from fedprivacy.flower import privacy_mod
from fedprivacy.flower.node_files import NodeFiles, names_of
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds import Plan

FIRST_NODE = (1 << 63) + 5  # no signed integer of 64 bits holds it
PLAN = """
schema = "fedprivacy/plan/1"
[dataset]
id = "toy"
unit = "client"
[aggregation]
protocol = "secagg"
adversary = "malicious"
min_clients = 3
corrupt = 1
[update]
clip = 1.0
value_bits = 20
weights = "summed"
max_units_per_client = 100
"""
CURIOUS = PLAN.replace("malicious", "honest-but-curious")
PLAIN = CURIOUS.replace('"secagg"', '"plain"')
NOISY = (
    PLAN.replace("value_bits = 20", "value_bits = 14").replace(
        'weights = "summed"\nmax_units_per_client = 100', 'weights = "uniform"'
    )
    + """
[noise]
trust = "distributed"
noise_multiplier = 1.0
epsilon = 60.0
delta = 1e-5
rounds = 10
"""
)
COMMITTEE = ("m-one", "m-two", "m-three")
ONE_SHOT = PLAN.replace('"secagg"', '"oneshot"').replace(
    "[update]",
    '[aggregation.committee]\nmembers = ["m-one", "m-two", "m-three"]\n[update]',
)
"""Its committee's nodes come after the clients'; two of them open a sum."""
DRAWN = ONE_SHOT.replace('members = ["m-one", "m-two", "m-three"]', "size = 4\ncorrupt = 1")
BFV = CURIOUS.replace('"secagg"', '"bfv"').replace("corrupt = 1", "corrupt = 0")
CKKS = BFV.replace('"bfv"', '"ckks"').replace("value_bits = 20", "value_bits = 16")
RING = CURIOUS.replace('"secagg"', '"secagg+"').replace("corrupt = 1", "dropout = 0.15")
"""For six clients, of whom one may be lost."""
KEYS, SHARES, INPUT, CONSISTENCY, UNMASKING = range(1, 6)
"""The exchanges of a run's first round with one node; 0 is the hello."""
ALL_IN_ONE = 1
"""The one exchange of a client whose sum a committee opens."""
SUMMONED, OPENING, SIGNING, OPENED = range(1, 5)
"""The exchanges of a member of it."""
DECRYPTING = 2
"""The second of a client that shares a key with the others; the first takes its input."""


def through(message):
    """The message as it is after a journey."""
    return message_from_proto(message_to_proto(message))


class LoopGrid(Grid):
    """Delivers when a reply is asked for; `faults[node][i]` stands before the node's i-th message.

    A fault takes the message and a function that answers it, and gives the replies that arrive.
    """

    def __init__(self, app, nodes, *, run_config=None):
        self.contexts = {
            FIRST_NODE + i: Context(
                run_id=1,
                node_id=FIRST_NODE + i,
                node_config={"partition-id": i, "num-partitions": nodes},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for i in range(nodes)
        }
        self.apps = dict.fromkeys(self.contexts, app)
        self.faults = defaultdict(dict)
        self.sent = Counter()
        self.pushes = []
        self.waiting = {}
        self.replies = []
        self.one_at_a_time = RLock()

    def set_run(self, run): ...

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.contexts)

    def push_messages(self, messages):
        messages = list(messages)
        self.pushes.append(messages)
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(uuid4())
            self.waiting[message.metadata.message_id] = through(message)
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids):
        wanted, arrived = set(message_ids), []
        with self.one_at_a_time:  # a node that takes long is overtaken by none
            for message in [m for i, m in self.waiting.items() if i in wanted]:
                del self.waiting[message.metadata.message_id]
                self.replies += self.delivered(message)
            for reply in list(self.replies):
                if reply.metadata.reply_to_message_id in wanted:
                    self.replies.remove(reply)
                    arrived.append(reply)
        return arrived

    def delivered(self, message):
        node = message.metadata.dst_node_id
        fault = self.faults[node].get(self.sent[node])
        self.sent[node] += 1
        replies = [self.answer(message)] if fault is None else fault(message, self.answer)
        return [through(reply) for reply in replies]

    def restart(self, node):
        """The same SuperNode under a new id; the old one is gone, and its state with it."""
        before, new = self.contexts.pop(node), node + 1000
        self.contexts[new] = Context(
            run_id=before.run_id,
            node_id=new,
            node_config=before.node_config,
            state=RecordDict(),
            run_config=before.run_config,
        )
        self.apps[new] = self.apps.pop(node)
        return new

    def answer(self, message):
        node = message.metadata.dst_node_id
        context = context_from_proto(context_to_proto(self.contexts[node]))
        try:
            reply = self.apps[node](message, context)
        except Exception as error:  # noqa: BLE001 - as Flower does
            reply = Message(Error(2, f"{type(error)}:<'{error}'>"), reply_to=message)
        self.contexts[node] = context_from_proto(context_to_proto(context))
        return reply

    def send_and_receive(self, messages, *, timeout=None):
        return self.pull_messages(self.push_messages(messages))


def lost(message, answer):
    return []


def too_late(message, answer):
    """The client works, and its reply comes when nobody asks for it any more."""
    answer(message)
    return []


def twice(message, answer):
    reply = answer(message)
    return [reply, reply]


def error(message, answer):
    return [Message(Error(2, "<class 'RuntimeError'>:<'secret'>"), reply_to=message)]


def garbage(message, answer):
    content = answer(message).content
    content["fedprivacy"]["body"] = b"\x93garbage"
    return [Message(content, reply_to=message)]


def other_record(message, answer):
    return [Message(RecordDict({"fedprivacy": MetricRecord({"a": 1})}), reply_to=message)]


MODEL = {
    "layer.weight": np.linspace(-1.0, 1.0, 6).reshape(2, 3),
    "layer.bias": np.zeros(3),
    "scale": np.array(0.5),
    "steps": np.array(7, dtype=np.int64),
}
FLOATS = ("layer.bias", "layer.weight", "scale")


def model():
    return ArrayRecord({name: Array(value) for name, value in MODEL.items()})


def vector(arrays):
    return np.concatenate([np.asarray(arrays[name].numpy()).reshape(-1) for name in FLOATS])


class Trainer:
    """A ClientApp that moves each model by a vector of its own, and remembers how."""

    def __init__(self, *, dtype=np.float64, mods=(privacy_mod,)):
        self.updates, self.weights, self.configs, self.evaluated = {}, {}, [], []
        self.fails = {}
        self.dtype = dtype
        self.app = ClientApp(mods=list(mods))
        self.app.train()(self.train)
        self.app.evaluate()(self.evaluate)
        self.app.query()(self.query)

    def train(self, message, context):
        part, config = context.node_config["partition-id"], message.content["config"]
        self.configs.append(dict(config))
        if part in self.fails:
            raise self.fails[part]
        arrays = {n: np.array(a.numpy()) for n, a in message.content["arrays"].items()}
        rng = np.random.default_rng([part, int(config["server-round"])])
        size, update = 10.0**-part, {}
        for name in FLOATS:
            update[name] = size * rng.normal(size=arrays[name].shape)
            arrays[name] = (arrays[name] + update[name]).astype(self.dtype)
        arrays["steps"] = arrays["steps"] + 50
        self.updates[part] = np.concatenate([update[n].reshape(-1) for n in FLOATS])
        self.weights[part] = 10 + part
        metrics = MetricRecord({"num-examples": 10 + part, "loss": 0.1})
        record = ArrayRecord({name: Array(np.asarray(a)) for name, a in arrays.items()})
        return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)

    def evaluate(self, message, context):
        part = context.node_config["partition-id"]
        self.evaluated.append(part)
        metrics = MetricRecord({"num-examples": 10 + part, "loss": 1.0})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def query(self, message, context):
        return Message(RecordDict({"told": MetricRecord({"secret": 42})}), reply_to=message)

    def mean(self, clip, parts=None, *, weighted=True):
        """The float mean of the clipped updates of the last round."""
        parts = sorted(self.updates) if parts is None else parts
        clipped = [u * min(1.0, clip / np.linalg.norm(u)) for u in map(self.updates.get, parts)]
        weights = [self.weights[p] if weighted else 1 for p in parts]
        return np.average(clipped, axis=0, weights=weights)


class House:
    """Nodes with their files, an app, and a grid between them and a strategy."""

    def __init__(
        self, folder, monkeypatch, *, nodes=4, plan=PLAN, run_config=None, rng=None, **trainer
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        for name in ("run_id", "node_id", "task_id"):
            monkeypatch.setattr(TaskIdentity, f"_{name}", 1)
        self.plan, self.clients = Plan.parse(plan), nodes
        self.files = NodeFiles.make(folder / "nodes", nodes, self.plan, rng=rng or SystemRng())
        monkeypatch.setenv("FEDPRIVACY_CLIENT", self.files.pattern)
        self.trainer = Trainer(**trainer)
        self.grid = LoopGrid(
            self.trainer.app, len(names_of(nodes, self.plan)), run_config=run_config
        )
        self.nodes = list(self.grid.contexts)

    @property
    def seats(self):
        """The nodes of the committee whom the plan names, in its order."""
        names = names_of(self.clients, self.plan)
        members = self.plan.aggregation.committee.members
        return [self.nodes[names.index(name)] for name in members]

    @property
    def ceremony(self):
        return self.files.ceremony if self.files.ceremony.exists() else None

    @property
    def directory(self):
        curious = self.plan.aggregation.adversary.value == "honest-but-curious"
        return None if curious else self.files.directory


class Unreadable(Exception):
    """What stands for any of the exceptions that Flower raises on a node's bytes."""


def unreadable(message, answer):
    """The node sends objects of which Flower's own decoding cannot make a message."""
    answer(message)
    raise Unreadable
