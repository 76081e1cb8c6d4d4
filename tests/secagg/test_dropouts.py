"""Every pattern of losses among four clients, against an oracle that knows only the rule.

A client that sends m of its messages and then none is one of so many kinds; with four clients there
are 6**4 patterns against a lying server, 5**4 against a curious one, 2**4 without protection.
"""

import itertools
from collections import Counter
from math import comb

import pytest

from sumdrive import CURIOUS, MALICIOUS, PLAIN, SETTINGS, Drive, Sum, predict

CLIENTS, THRESHOLD = 4, 3

# How the patterns end, counted by hand: S(p), those that get through phase p, are the patterns with
# at least three of four clients whose m is p or more.
ENDS = {
    MALICIOUS: {
        "keys": 171,
        "shares": 357,
        "input": 363,
        "consistency": 261,
        "unmasking": 123,
        "sum": 21,
    },
    CURIOUS: {"keys": 113, "shares": 215, "input": 185, "unmasking": 95, "sum": 17},
    PLAIN: {"input": 11, "sum": 5},
}
SUMS_AND_ABORTS = {MALICIOUS: (21, 1275), CURIOUS: (17, 608), PLAIN: (5, 11)}


def patterns(setting):
    """How many messages each of the four sends."""
    return itertools.product(range(len(setting.phases) + 1), repeat=CLIENTS)


def through(phase, phases):
    """S(p): of n clients, exactly three or all four reach p, each in phases - p + 1 of its ways."""
    reach, fall = phases - phase + 1, phase
    return comb(4, 3) * reach**3 * fall + reach**4


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_counts_are_those_of_the_closed_form(setting):
    phases = len(setting.phases)
    left = [(phases + 1) ** CLIENTS, *(through(p, phases) for p in range(1, phases + 1))]
    ends = {
        name: before - after
        for name, (before, after) in zip(setting.phases, itertools.pairwise(left), strict=True)
    }
    assert {**ends, "sum": left[-1]} == ENDS[setting]
    assert sum(ENDS[setting].values()) == (phases + 1) ** CLIENTS


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_every_pattern_ends_as_the_oracle_says(setting):
    ends = Counter()
    for pattern in patterns(setting):
        case = Sum(setting, CLIENTS, THRESHOLD, seed=pattern)
        sent = dict(zip(case.names, pattern, strict=True))
        outcome = Drive(case, sent).run()
        wanted = predict(setting.phases, sent, case.vectors, threshold=THRESHOLD)
        assert outcome.prediction == wanted, pattern
        assert not outcome.refused
        assert not outcome.failed
        ends["sum" if outcome.done else outcome.phase] += 1
    assert ends == ENDS[setting]
    sums = ends.pop("sum")
    assert (sums, ends.total()) == SUMS_AND_ABORTS[setting]
