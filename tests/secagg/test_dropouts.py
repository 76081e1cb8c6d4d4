"""Every pattern of losses among four clients, against an oracle that knows only the rule.

A client that sends m of its messages and then none is one of so many kinds; with four clients there
are 6**4 patterns against a server that may lie, 5**4 against a curious one, 3**4 under a shared
key, 2**4 without protection. On a ring of six, four of whom are each one's neighbours, a sample of
them is run, and at night many more.
"""

import itertools
import random
from collections import Counter
from math import comb, factorial

import pytest

from oneshotdrive import OneShotDrive, OneShotSum
from oracle import came, predict, wanted
from sumdrive import (
    BFV,
    CKKS,
    CURIOUS,
    MALICIOUS,
    ONE_SHOT,
    PLAIN,
    PLUS_CURIOUS,
    PLUS_SEMI,
    SETTINGS,
    SHARING,
    SPARSE,
    WITH_COMMITTEES,
    Drive,
    Sum,
)

CLIENTS = 4

# How the patterns end, counted by hand: S(p), those that get through phase p, are the patterns with
# at least three of four clients whose m is p or more. On a ring of four, all are neighbours, t = 2,
# and it takes a client and two others: three again, but for the last phase, in which two answer.
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
    PLUS_SEMI: {
        "keys": 171,
        "shares": 357,
        "input": 363,
        "consistency": 261,
        "unmasking": 69,
        "sum": 75,
    },
    PLUS_CURIOUS: {"keys": 113, "shares": 215, "input": 185, "unmasking": 53, "sum": 59},
    # Every client is a member, and three of four members open a sum.
    ONE_SHOT: {
        "keys": 171,
        "input": 357,
        "opening": 363,
        "consistency": 261,
        "unmasking": 123,
        "sum": 21,
    },
    # Of three or four whose input arrives, none answers; or one does, and it is enough.
    BFV: {"input": 33, "decryption": 5, "sum": 43},
    CKKS: {"input": 33, "decryption": 5, "sum": 43},
}
SUMS_AND_ABORTS = {
    MALICIOUS: (21, 1275),
    CURIOUS: (17, 608),
    PLAIN: (5, 11),
    PLUS_SEMI: (75, 1221),
    PLUS_CURIOUS: (59, 566),
    BFV: (43, 38),
    CKKS: (43, 38),
}


def patterns(setting, clients=CLIENTS):
    """How many messages each of them sends."""
    return itertools.product(range(len(setting.phases) + 1), repeat=clients)


def through(phase, phases):
    """S(p): of four clients, exactly three or all reach p, each in phases - p + 1 of its ways."""
    reach, fall = phases - phase + 1, phase
    return comb(4, 3) * reach**3 * fall + reach**4


def two_answer(phases):
    """Three or more send the message before the last, and two or more of these the last as well."""
    total = 0
    for last, before in itertools.product(range(2, 5), range(3)):
        rest = 4 - last - before
        if rest >= 0 and last + before >= 3:
            ways = factorial(4) // (factorial(last) * factorial(before) * factorial(rest))
            total += ways * (phases - 1) ** rest
    return total


@pytest.mark.parametrize("setting", WITH_COMMITTEES, ids=str)
def test_the_counts_are_those_of_the_closed_form(setting):
    phases = len(setting.phases)
    left = [(phases + 1) ** CLIENTS, *(through(p, phases) for p in range(1, phases + 1))]
    if setting.sparse:
        left[-1] = two_answer(phases)
    ends = {
        name: before - after
        for name, (before, after) in zip(setting.phases, itertools.pairwise(left), strict=True)
    }
    assert {**ends, "sum": left[-1]} == ENDS[setting]
    assert sum(ENDS[setting].values()) == (phases + 1) ** CLIENTS


def run(case, pattern):
    """How it ended, held against the oracle."""
    sent = dict(zip(case.names, pattern, strict=True))
    outcome = Drive(case, sent).run()
    assert came(outcome) == wanted(case, sent, outcome), pattern
    assert not outcome.refused
    assert not outcome.failed
    return "sum" if outcome.done else outcome.phase


@pytest.mark.parametrize("setting", [*SETTINGS, *SHARING], ids=str)
def test_every_pattern_ends_as_the_oracle_says(setting):
    least = {"min_clients": 3} if setting.shares_a_key else {}
    ends = Counter(run(Sum(setting, CLIENTS, seed=p, **least), p) for p in patterns(setting))
    assert ends == ENDS[setting]
    sums = ends.pop("sum")
    assert (sums, ends.total()) == SUMS_AND_ABORTS[setting]


# ---------------------------------------------------------------------- a ring of six

SAMPLE = 250


def sampled(setting, count):
    """Patterns of six, half of them with few losses: most uniform ones end before the input."""
    draw = random.Random(f"{setting} {count}")
    most = len(setting.phases)
    for number in range(count):
        pattern = [draw.randint(0, most) for _ in range(6)]
        if number % 2:
            stay = draw.sample(range(6), draw.randint(3, 5))
            pattern = [most if i in stay else p for i, p in enumerate(pattern)]
        yield tuple(pattern)


@pytest.mark.parametrize("setting", SPARSE, ids=str)
def test_patterns_on_a_ring_of_six_end_as_the_oracle_says(setting):
    ends = Counter(run(Sum(setting, 6, seed=p), p) for p in sampled(setting, SAMPLE))
    assert set(ends) == {*setting.phases, "sum"}
    assert ends["sum"] > SAMPLE // 10


@pytest.mark.nightly
def test_every_pattern_on_a_ring_of_six_against_a_curious_server():
    ends = Counter(run(Sum(PLUS_CURIOUS, 6, seed=p), p) for p in patterns(PLUS_CURIOUS, 6))
    assert ends.total() == 5**6


@pytest.mark.nightly
def test_many_patterns_on_a_ring_of_six_against_a_server_that_may_lie():
    ends = Counter(run(Sum(PLUS_SEMI, 6, seed=p), p) for p in sampled(PLUS_SEMI, 20_000))
    assert ends.total() == 20_000


# ---------------------------------------------------------------------- with a committee

FEW = 120


def run_with_committee(pattern):
    """Each of four is a client and a member, and lost before the message that it does not send."""
    case = OneShotSum(members=4, threshold=3, min_clients=3, joint=True, seed=pattern)
    phases = ONE_SHOT.phases
    lost = {n: phases[m] for n, m in zip(case.names, pattern, strict=True) if m < len(phases)}
    outcome = OneShotDrive(case, lost=lost).run()
    sent = dict(zip(case.names, pattern, strict=True))
    rule = predict(phases, sent, case.vectors, threshold=3, min_clients=3)
    assert came(outcome) == rule, pattern
    assert not outcome.refused
    assert not outcome.failed
    return "sum" if outcome.done else outcome.phase


def test_patterns_with_a_committee_end_as_the_oracle_says():
    """Half of them are those in which most stay: uniform ones end early."""
    draw = random.Random("committee")
    few = [(5,) * 4, *(p for p in patterns(ONE_SHOT) if sum(p) >= 15)]
    chosen = [*draw.sample(list(patterns(ONE_SHOT)), FEW // 2), *draw.sample(few, FEW // 2)]
    ends = Counter(run_with_committee(pattern) for pattern in chosen)
    assert set(ends) == {*ONE_SHOT.phases, "sum"}


@pytest.mark.nightly
def test_every_pattern_with_a_committee_ends_as_the_oracle_says():
    ends = Counter(run_with_committee(pattern) for pattern in patterns(ONE_SHOT))
    assert ends == ENDS[ONE_SHOT]
