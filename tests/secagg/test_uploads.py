"""What the server keeps of uploads: apart until they are whole, in bounded memory."""

import dataclasses
import errno
import os
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.errors import PeerError, Reason, RoundAborted
from fedprivacy.secagg import Aborted, uploads
from fedprivacy.secagg.uploads import MaskedChunk, PackedUpload, Uploads, chunk_slices
from fedprivacy.wire import decode
from sumdrive import PLAIN, SETTINGS, Drive, Sum, messages


def plan_of(length, bits):
    return dataclasses.replace(Sum(PLAIN).plan, length=length, modulus_bits=bits)


def sent(plan, index, values):
    """An upload's chunks and its checksum."""
    upload = PackedUpload(plan, index)
    chunks = [
        decode(MaskedChunk, upload.chunk(values[part]), limit=1 << 20)
        for part in chunk_slices(plan.length)
    ]
    return chunks, upload.checksum()


def in_memory(kept):
    held = [c for s in kept._spools.values() for c in s.chunks if isinstance(c, memoryview)]
    assert kept._in_memory == sum(map(len, held))
    return kept._in_memory


@given(
    room=st.integers(0, 3000),
    senders=st.integers(1, 5),
    length=st.integers(1, 700),
    bits=st.sampled_from([1, 7, 8, 22, 33]),
    random=st.randoms(use_true_random=False),
)
def test_uploads_in_any_order_and_any_memory_add_up(room, senders, length, bits, random):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "CHUNK_VALUES", 64)
        patch.setattr(uploads, "_LEAST_MEMORY", 0)
        plan = plan_of(length, bits)
        kept = Uploads(plan)
        kept._room = room
        draw = np.random.default_rng(length)
        vectors = [draw.integers(0, 1 << bits, length, dtype=np.uint64) for _ in range(senders)]
        waiting = [(i, *sent(plan, i, v)) for i, v in enumerate(vectors)]
        while waiting:
            index, chunks, checksum = waiting[random.randrange(len(waiting))]
            if chunks:
                kept.take(index, chunks.pop(0))
            else:
                kept.fold(index, checksum)
                waiting = [w for w in waiting if w[0] != index]
            assert in_memory(kept) <= room
        expected = sum(vectors) & np.uint64((1 << bits) - 1)
        assert np.array_equal(kept.total.residues(0, length), expected)
        assert not kept._spools
        assert kept._in_memory == 0
        assert len(kept._overflow._free) == kept._overflow._places


def test_memory_for_unfinished_uploads_is_that_of_one_sum(monkeypatch):
    monkeypatch.setattr(uploads, "_LEAST_MEMORY", 0)
    plan = plan_of(4 << 16, 22)
    kept = Uploads(plan)
    values = np.zeros(plan.length, dtype=np.uint64)
    for index in range(6):
        chunks, _ = sent(plan, index, values)
        for chunk in chunks:
            kept.take(index, chunk)
        assert in_memory(kept) <= plan.length * 22 // 8
    # A little less than one sum: the last chunk of the first lies in the file as well.
    assert kept._overflow._places == 5 * 4 + 1


def test_an_upload_counts_for_the_member_that_made_it():
    plan = plan_of(100, 9)
    chunks, checksum = sent(plan, 3, np.arange(100, dtype=np.uint64))
    for index, reason in ((2, Reason.DIGEST), (3, None)):
        kept = Uploads(plan)
        kept.take(index, chunks[0])
        if reason is None:
            kept.fold(index, checksum)
            assert kept.total[:].tolist() == list(range(100))
            continue
        with pytest.raises(PeerError) as caught:
            kept.fold(index, checksum)
        assert caught.value.reason is reason
        assert not np.asarray(kept.total).any()


def test_what_is_dropped_is_gone():
    plan = plan_of(100, 9)
    chunks, checksum = sent(plan, 0, np.ones(100, dtype=np.uint64))
    kept = Uploads(plan)
    kept.take(0, chunks[0])
    kept.drop(0)
    kept.drop(1)
    with pytest.raises(PeerError) as caught:
        kept.fold(0, checksum)
    assert caught.value.reason is Reason.CHUNK_ORDER


def overflowing(monkeypatch, plan, senders):
    """Uploads of which nothing fits the memory, each short of its last message."""
    monkeypatch.setattr(uploads, "_LEAST_MEMORY", 0)
    kept, closings = Uploads(plan), []
    kept._room = 0
    for index in range(senders):
        chunks, checksum = sent(plan, index, np.full(plan.length, index, dtype=np.uint64))
        for chunk in chunks:
            kept.take(index, chunk)
        closings.append(checksum)
    return kept, closings


def test_many_uploads_at_once_take_one_file(monkeypatch):
    plan = plan_of(100, 9)
    opened, make = [], tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **named: opened.append(named) or make(**named)
    )
    kept, closings = overflowing(monkeypatch, plan, 300)
    assert len(opened) == 1
    for index, checksum in enumerate(closings):
        kept.fold(index, checksum)
    assert kept.total[:].tolist() == [residue(sum(range(300)), 9)] * 100


def residue(value, bits):
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


@pytest.mark.parametrize("fault", ["full", "part"])
def test_a_disk_that_takes_nothing_more_ends_the_round_and_counts_nothing(monkeypatch, fault):
    plan = plan_of(100, 9)
    kept, (checksum,) = overflowing(monkeypatch, plan, 1)
    chunks, _ = sent(plan, 1, np.ones(100, dtype=np.uint64))

    class Full:
        def seek(self, _):
            pass

        def write(self, data):
            if fault == "part":
                return len(data) - 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = kept._overflow._file
    kept._overflow._file = Full()
    with pytest.raises(RoundAborted) as caught:
        kept.take(1, chunks[0])
    assert caught.value.reason is Reason.FAILED
    assert not caught.value.culprits
    # Had the chunk been counted, the next would be the second, and the upload whole.
    assert kept._spools[1].chunks == []
    kept._overflow._file = real
    kept.fold(0, checksum)
    assert not np.asarray(kept.total).any()


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_server_with_a_full_disk_gives_the_round_up(monkeypatch, setting):
    def refuse(*_):
        raise RoundAborted(Reason.FAILED, "an upload could not be kept: No space left on device")

    monkeypatch.setattr(Uploads, "take", refuse)
    case = Sum(setting, clients=4)
    drive = Drive(case)
    said = {name: case.start(name) for name in case.names}
    while case.server.phase != "input":
        for name, effects in said.items():
            for send in messages(effects):
                list(case.server.receive(name, send.message))
        asked = messages(case.server.advance())
        said = {e.recipient: drive._answer(e.recipient, e.message) for e in asked}
    first = messages(said["c000"])[0].message
    (ended,) = case.server.receive("c000", first)
    assert isinstance(ended, Aborted)
    assert ended.error.reason is Reason.FAILED
    assert not case.server.waiting_for
