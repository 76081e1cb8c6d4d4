"""A lying server: each lie is refused with its own reason, and its honest twin completes."""

import pytest

from lies import LIES


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_the_lie_is_refused_for_its_own_reason(lie):
    told = lie.tell()
    assert told.reasons == {lie.reason}
    assert not told.won


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_the_honest_twin_completes(lie):
    told = lie.twin()
    assert told.refusals == []
    assert told.exact
