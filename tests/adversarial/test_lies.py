"""Each lie is refused with its own reason, and its honest twin completes."""

import pytest

from lies import LIES, LIES_TO_SERVERS

TOLD = pytest.mark.parametrize(
    "lie", [*LIES.values(), *LIES_TO_SERVERS.values()], ids=[*LIES, *LIES_TO_SERVERS]
)


@TOLD
def test_the_lie_is_refused_for_its_own_reason(lie):
    told = lie.tell()
    assert told.reasons == {lie.reason} - {None}
    assert not told.won


@TOLD
def test_the_honest_twin_completes(lie):
    told = lie.twin()
    assert told.refusals == []
    assert told.exact
