"""A server with processes to share its work comes to the same sum as one without."""

import dataclasses
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from fedprivacy.secagg import Done
from fedprivacy.secagg.uploads import CHUNK_VALUES
from sumdrive import SETTINGS, Drive, Sum


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_with_and_without_a_pool(setting):
    totals = []
    with ProcessPoolExecutor(2) as processes:
        for pool in (None, processes):
            case = Sum(setting, clients=4, length=2 * CHUNK_VALUES + 11, bits=22)
            case.server = setting.party.server(
                case.plan, case.cohort, case.directory, rng=case.graph_rng(), pool=pool
            )
            outcome = Drive(case, {"c003": setting.phases.index("input")}).run()
            assert isinstance(outcome.done, Done)
            totals.append(outcome.done)
    one, other = totals
    assert one.survivors == other.survivors == ("c000", "c001", "c002")
    assert np.array_equal(one.total, other.total)
    assert one.total.tolist() == case.exact(one.survivors).tolist()
    assert dataclasses.replace(one, total=None) == dataclasses.replace(other, total=None)
