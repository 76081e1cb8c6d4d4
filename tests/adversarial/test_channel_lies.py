"""Lies on the channel, over real TLS: each is refused with its reason, and its twin is served.

What the check is worth that refuses it shows test_mutants.py, in which it is gone.
"""

import pytest

from lies_of_channels import CHANNEL_LIES


@pytest.mark.parametrize("lie", CHANNEL_LIES.values(), ids=list(CHANNEL_LIES))
def test_a_lie_on_the_channel_is_refused_for_its_reason(lie):
    ended = lie.tell()
    assert not ended.won
    assert ended.reason is lie.reason


@pytest.mark.parametrize("lie", CHANNEL_LIES.values(), ids=list(CHANNEL_LIES))
def test_its_honest_twin_is_served(lie):
    assert lie.twin().won


def test_every_lie_on_the_channel_says_what_is_done():
    assert all(lie.script.__doc__ for lie in CHANNEL_LIES.values())
