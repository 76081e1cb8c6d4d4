"""What the server keeps of uploads: apart until they are whole, in bounded memory."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg import uploads
from fedprivacy.secagg.uploads import MaskedChunk, PackedUpload, Uploads, chunk_slices
from fedprivacy.wire import decode
from sumdrive import PLAIN, Sum


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
            assert sum(s.in_memory for s in kept._spools.values()) <= room
        expected = sum(vectors) & np.uint64((1 << bits) - 1)
        assert np.array_equal(kept.total.residues(0, length), expected)
        assert not kept._spools


def test_memory_for_unfinished_uploads_is_that_of_one_sum(monkeypatch):
    monkeypatch.setattr(uploads, "_LEAST_MEMORY", 0)
    plan = plan_of(4 << 16, 22)
    kept = Uploads(plan)
    values = np.zeros(plan.length, dtype=np.uint64)
    for index in range(6):
        chunks, _ = sent(plan, index, values)
        for chunk in chunks:
            kept.take(index, chunk)
        assert sum(s.in_memory for s in kept._spools.values()) <= plan.length * 22 // 8
    # A little less than one sum: the last chunk of the first goes into a file as well.
    assert sum(s._file is not None for s in kept._spools.values()) == 6


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
