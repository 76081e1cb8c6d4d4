"""What an eavesdropper inside the server sees: of two runs over other data, only what is masked.

Both runs have equal randomness, each purpose from a stream of its own; so whatever differs between
their messages is a function of the data.
"""

import random
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, Message, MetricRecord, RecordDict
from flwr.common.serde import recorddict_to_proto
from flwr.serverapp.strategy import FedAvg

from fedprivacy.errors import PeerError, Reason
from fedprivacy.flower import PrivateStrategy, mod
from fedprivacy.flower import run as private_run
from fedprivacy.flower.records import RECORD, Answer, unpack
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Envelope, Refusal
from fedprivacy.secagg.masking import messages as m
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import decode
from flower_loop import FLOATS, INPUT, NOISY, PLAN, House, model

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}


class Recorded(House):
    """Nodes that train as they are told, and every message between them and the strategy."""

    def __init__(self, folder, monkeypatch, train, **options):
        super().__init__(folder, monkeypatch, rng=InsecureTestRng(b"files"), **options)
        self.asked, self.heard = [], []
        self.trainer.app._registered_funcs.clear()
        self.trainer.app.train()(train)
        streams = count()
        monkeypatch.setattr(mod, "SystemRng", lambda: InsecureTestRng(next(streams)))
        monkeypatch.setattr(private_run, "time", SimpleNamespace(time=lambda: 0))
        answer = self.grid.answer

        def recorded(message):
            self.asked.append(in_bytes(message.content))
            reply = answer(message)
            self.heard.append(reply)
            return reply

        self.grid.answer = recorded

    def run(self, folder):
        noisy = self.plan.noise.noise_multiplier > 0
        strategy = PrivateStrategy(
            FedAvg(**NODES),
            plan=self.plan,
            directory=self.directory,
            ledger=f"sqlite:///{folder}/budget.db" if noisy else None,
            rng=InsecureTestRng(b"server"),
        )
        random.seed(0)  # by which Flower chooses the order of nodes
        strategy.start(self.grid, model(), num_rounds=1, timeout=5.0)
        return self


def trained(message, moved, count_, **others):
    arrays = message.content["arrays"]
    for name in FLOATS:
        before = arrays[name].numpy()
        arrays[name] = Array(np.asarray(before + moved(before.shape)))
    metrics = MetricRecord({"num-examples": count_, **others})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


def small(message, context):
    return trained(message, np.zeros, 1)


def large(message, context):
    part = context.node_config["partition-id"]
    return trained(message, lambda s: np.full(s, 1e6 * (part + 1)), 90 + part, loss=3.5)


def odd(message, context):
    """No two nodes end alike, and none of them well."""
    match context.node_config["partition-id"]:
        case 0:
            raise RuntimeError("patient 17 has no age")
        case 1:
            return trained(message, lambda s: np.full(s, np.nan), 5)
        case 2:
            return Message(RecordDict({"mine": MetricRecord({"secret": 42})}), reply_to=message)
    return trained(message, np.ones, 10**9)


def in_bytes(content):
    return recorddict_to_proto(content).SerializeToString(deterministic=True)


def in_the_clear(content):
    """The records of a reply, masked values and the digest over them aside."""
    told = []
    for frame in unpack(content, Answer).frames:
        envelope = decode(Envelope, frame, limit=1 << 20)
        body = decode(MaskedChunk | m.MaskedInput, envelope.body, limit=1 << 20)
        if isinstance(body, MaskedChunk):
            told.append((envelope.round_id, body.sequence, len(body.data)))
        else:
            told.append((envelope.round_id, body.unopened, len(body.checksum)))
    return sorted(content), sorted(content[RECORD]), told


@pytest.mark.parametrize(
    ("plan", "other"), [(NOISY, large), (NOISY, odd), (PLAN, large)], ids=["noisy", "odd", "exact"]
)
def test_nothing_in_the_clear_depends_on_data(nodes_folder, monkeypatch, plan, other):
    runs = []
    for name, train in (("one", small), ("other", other)):
        folder = nodes_folder / name
        runs.append(Recorded(folder, monkeypatch, train, plan=plan).run(folder))
    one, two = runs
    assert len(one.asked) == len(two.asked) == 4 * 6
    differ = []
    for number, (mine, yours) in enumerate(zip(one.heard, two.heard, strict=True)):
        assert mine.metadata.message_type == yours.metadata.message_type
        assert mine.has_content()
        assert yours.has_content()
        if number // 4 != INPUT:
            assert in_bytes(mine.content) == in_bytes(yours.content)
            continue
        assert in_the_clear(mine.content) == in_the_clear(yours.content)
        differ.append(in_bytes(mine.content) != in_bytes(yours.content))
    assert any(differ), "the runs are of different data"
    assert one.asked == two.asked


def test_two_runs_over_the_same_data_are_equal_to_the_byte(nodes_folder, monkeypatch):
    one, two = (
        Recorded(nodes_folder / name, monkeypatch, large, plan=NOISY).run(nodes_folder / name)
        for name in ("one", "two")
    )
    assert one.asked == two.asked
    for mine, yours in zip(one.heard, two.heard, strict=True):
        assert in_bytes(mine.content) == in_bytes(yours.content)


def test_without_noise_a_training_that_fails_is_seen(nodes_folder, monkeypatch):
    """The one thing that is told in the clear, as the guarantee says."""
    one = Recorded(nodes_folder / "one", monkeypatch, large, plan=PLAN).run(nodes_folder)
    two = Recorded(nodes_folder / "two", monkeypatch, odd, plan=PLAN).run(nodes_folder)
    trains = slice(4 * INPUT, 4 * (INPUT + 1))
    assert one.asked[: trains.stop] == two.asked[: trains.stop]
    frames = [unpack(reply.content, Answer).frames for reply in two.heard[trains]]
    assert [is_refusal(told[0]) for told in frames].count(True) == 3


def is_refusal(frame):
    try:
        return decode(Refusal, frame, limit=1 << 10).reason == Reason.FAILED.value
    except PeerError:
        return False
