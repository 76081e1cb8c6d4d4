"""A sum in a file is the one in memory."""

import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.arithmetic import PackedSum, pack
from fedprivacy.errors import Reason, RoundAborted
from fedprivacy.secagg import spooled_sum
from fedprivacy.secagg.oneshot import server
from fedprivacy.secagg.spooled_sum import SpooledSum, sum_of
from fedprivacy.secagg.uploads import CHUNK_VALUES
from oneshotdrive import OneShotDrive, OneShotSum


@given(
    bits=st.sampled_from([1, 8, 27, 48, 56, 62]),
    length=st.sampled_from([1, 65, 4096, CHUNK_VALUES, CHUNK_VALUES + 4096]),
    seed=st.integers(0, 1000),
)
def test_sums_are_those_in_memory(bits, length, seed):
    draw = np.random.default_rng(seed)
    here, there = PackedSum(length, bits), SpooledSum(length, bits)
    for _ in range(3):
        values = draw.integers(0, 1 << bits, length, dtype=np.uint64)
        for start in range(0, length, CHUNK_VALUES):
            data = pack(values[start : start + CHUNK_VALUES], bits)
            here.add_packed(start, data)
            there.add_packed(start, data)
    there.replace(0, here.residues(0, min(length, 128)))
    for start in range(0, length, CHUNK_VALUES):
        stop = min(start + CHUNK_VALUES, length)
        assert np.array_equal(here.residues(start, stop), there.residues(start, stop))
    assert len(there) == length


def test_a_sum_that_is_too_large_for_memory_lies_in_a_file(monkeypatch):
    assert isinstance(sum_of(100, 8), PackedSum)
    monkeypatch.setattr(spooled_sum, "MOST_IN_MEMORY", 99)
    assert isinstance(sum_of(100, 8), SpooledSum)


def test_a_round_whose_sum_lies_in_a_file_is_exact(monkeypatch):
    monkeypatch.setattr(server, "sum_of", SpooledSum)
    case = OneShotSum(clients=3, length=20_000, members=3, threshold=2)
    outcome = OneShotDrive(case, lost={"c001": "input"}).run()
    assert outcome.done.survivors == ("c000", "c002")
    assert outcome.done.total.tolist() == case.exact(("c000", "c002")).tolist()


def test_a_disk_that_is_full_ends_the_round_and_names_nobody(monkeypatch):
    class Full(SpooledSum):
        def _write(self, at, data):
            with spooled_sum.disk():
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server, "sum_of", Full)
    outcome = OneShotDrive(OneShotSum()).run()
    assert isinstance(outcome.error, RoundAborted)
    assert outcome.error.reason is Reason.FAILED
    assert outcome.error.culprits == ()


def test_a_file_that_became_shorter_is_noticed():
    total = SpooledSum(1000, 8)
    total._file.truncate(10)
    with pytest.raises(RoundAborted, match="shorter"):
        total.residues(0, 1000)
