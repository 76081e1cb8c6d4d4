"""What masks must do: cancel for whoever survives, hide everything, and never come again."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from fedprivacy.arithmetic import to_residues, unpack
from fedprivacy.crypto import MaskStream
from fedprivacy.secagg.masking.keys import self_seed
from fedprivacy.secagg.uploads import MaskedChunk, chunk_slices
from fedprivacy.wire import decode
from sumdrive import MASKED, Drive, Sum

FALSE_ALARM = 1e-6  # of one test of uniformity on honest masks; the seeds are fixed


def zeros(case):
    return {name: np.zeros(case.length, dtype=np.int64) for name in case.names}


def masked_inputs(case, sent=None):
    """What each client uploads, as residues; and how the sum ended."""
    uploads = {}

    def note(name, phase, bodies):
        if phase == "input" and bodies:
            parts = chunk_slices(case.length)
            uploads[name] = np.concatenate(
                [
                    unpack(decode(MaskedChunk, b, limit=1 << 30).data, p.stop - p.start, case.bits)
                    for b, p in zip(bodies[:-1], parts, strict=True)
                ]
            )
        return bodies

    return uploads, Drive(case, sent or {}, tamper=note).run()


def assert_uniform(residues, bits):
    """Chi-square over all residues where there are few, over the upper and lower 8 bits else."""
    for shift in {0, max(bits - 8, 0)}:
        width = min(bits, 8)
        cells = (residues >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        counts = np.bincount(cells.astype(np.int64), minlength=1 << width)
        expected = len(residues) / (1 << width)
        assert expected > 5
        statistic = ((counts - expected) ** 2 / expected).sum()
        assert statistic < chi2.isf(FALSE_ALARM, (1 << width) - 1)


def test_the_test_of_uniformity_can_fail():
    draw = np.random.default_rng(1)
    assert_uniform(draw.integers(0, 1 << 14, 1 << 16).astype(np.uint64), 14)
    for biased in (
        np.zeros(1 << 16, dtype=np.uint64),
        draw.integers(0, (1 << 14) - 500, 1 << 16).astype(np.uint64),
        (draw.integers(0, 1 << 13, 1 << 16) * 2).astype(np.uint64),
    ):
        with pytest.raises(AssertionError):
            assert_uniform(biased, 14)


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("bits", [7, 16, 33, 62])
def test_masks_cancel_for_every_set_of_survivors(setting, bits):
    """Zero inputs: what is left of the sum is what is left of the masks."""
    names = Sum(setting, clients=5).names
    least = 3 if not setting.sparse else 5 - Sum(setting, clients=5).dropped
    for size in range(least, 6):
        for survivors in itertools.combinations(names, size):
            case = Sum(setting, clients=5, bits=bits, length=9, seed=survivors)
            case.vectors = zeros(case)
            sent = dict.fromkeys(set(names) - set(survivors), 2)
            uploads, outcome = masked_inputs(case, sent)
            assert outcome.done.survivors == survivors
            assert not outcome.done.total.any()
            assert all(upload.any() for upload in uploads.values())


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_pairwise_masks_cancel_and_nothing_else_is_added(setting):
    """The uploads of all, less everyone's own mask, are the sum: with no help of the server."""
    case = Sum(setting, clients=6, bits=20, length=33)
    uploads, _ = masked_inputs(case)
    total = np.zeros(case.length, dtype="<u4")
    session = case.server._session
    for index, name in enumerate(case.names):
        total += uploads[name].astype("<u4")
        seed = case.rand[name][64:96]  # the third field of a client's randomness
        MaskStream(self_seed(session, seed, index), case.bits).subtract_from(total)
    left = total.astype(np.int64) & ((1 << case.bits) - 1)
    assert left.tolist() == [int(v) % (1 << case.bits) for v in case.exact(case.names)]


@pytest.mark.parametrize("setting", MASKED, ids=str)
@given(
    first=st.lists(st.integers(-500, 500), min_size=4, max_size=4),
    second=st.lists(st.integers(-500, 500), min_size=4, max_size=4),
)
@settings(max_examples=min(settings.default.max_examples, 100))
def test_an_upload_is_the_vector_plus_a_mask_that_does_not_depend_on_it(setting, first, second):
    uploads = []
    for values in (first, second):
        case = Sum(setting, length=4, bits=14)
        case.vectors = {**case.vectors, "c002": np.array(values, dtype=np.int64)}
        case.parties["c002"] = case.client("c002")
        uploads.append(masked_inputs(case)[0]["c002"])
    apart = (uploads[0] - uploads[1]) & np.uint64((1 << 14) - 1)
    assert apart.tolist() == [(a - b) % (1 << 14) for a, b in zip(first, second, strict=True)]


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("bits", [5, 8, 14, 40])
def test_masked_inputs_look_uniform(setting, bits):
    """Of all-zero, of constant and of extreme inputs."""
    case = Sum(setting, clients=3, bits=bits, length=1 << 16, seed="uniform")
    most = ((1 << (bits - 1)) - 1) // case.clients
    case.vectors = {
        "c000": np.zeros(case.length, dtype=np.int64),
        "c001": np.full(case.length, most, dtype=np.int64),
        "c002": np.resize(np.array([-most, most], dtype=np.int64), case.length),
    }
    uploads, outcome = masked_inputs(case)
    assert outcome.done
    for name, upload in uploads.items():
        assert_uniform(upload, bits)
        plain = to_residues(case.vectors[name], bits)
        # A uniform mask leaves a coordinate as it is once in 2**bits: 2048 times of 65536 at most.
        assert (upload == plain).mean() < 2 * 2.0**-bits + 1e-3


@pytest.mark.parametrize("setting", MASKED, ids=str)
@given(data=st.data())
@settings(max_examples=min(settings.default.max_examples, 100))
def test_no_upload_is_the_plain_vector(setting, data):
    """Not even with as few clients as a plan allows, whoever is lost."""
    clients = data.draw(st.integers(3, 6))
    # 30 coordinates of 5 bits: a mask of zeros comes once in 2**150.
    case = Sum(setting, clients, length=30, bits=data.draw(st.integers(5, 62)))
    lost = data.draw(st.sets(st.sampled_from(case.names), max_size=clients - clients // 2 - 1))
    uploads, outcome = masked_inputs(case, {n: data.draw(st.integers(0, 4)) for n in lost})
    for name, upload in uploads.items():
        assert upload.tolist() != to_residues(case.vectors[name], case.bits).tolist()
    assert outcome.done is not None or outcome.error is not None


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_another_round_or_another_roster_has_other_masks(setting):
    """The very same keys and seeds: only the session differs, and that changes everything."""
    length, bits = 1 << 12, 8
    base = {"setting": setting, "clients": 4, "length": length, "bits": bits}
    runs = {
        "as it was": masked_inputs(Sum(**base))[0],
        "again": masked_inputs(Sum(**base))[0],
        "another round": masked_inputs(Sum(**base, round_id=b"s" * 32))[0],
        "another roster": masked_inputs(Sum(**base), {"c003": 0})[0],
        "fewer dealers": masked_inputs(Sum(**base), {"c003": 1})[0],
    }
    assert (runs["as it was"]["c000"] == runs["again"]["c000"]).all()
    for name in ("c000", "c001", "c002"):
        for one, other in itertools.combinations([r for r in runs if r != "again"], 2):
            apart = (runs[one][name] - runs[other][name]) & np.uint64((1 << bits) - 1)
            assert_uniform(apart, bits)


def test_clients_of_one_sum_share_no_mask():
    case = Sum(MASKED[0], clients=4, length=1 << 12, bits=8)
    case.vectors = zeros(case)
    uploads, _ = masked_inputs(case)
    for one, other in itertools.combinations(case.names, 2):
        for sign in (1, -1):
            apart = uploads[one].astype(np.int64) + sign * uploads[other].astype(np.int64)
            assert_uniform((apart & 0xFF).astype(np.uint64), 8)
