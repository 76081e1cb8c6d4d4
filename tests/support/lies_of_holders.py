"""Lies to the server of one-shot aggregation: of members in their answers, of clients in what they
send. r = 5 members answer, of whom t = 3 open a sum: two wrong answers are noticed, one corrected.
"""

import numpy as np

from fedprivacy.arithmetic import PRIME
from fedprivacy.errors import Reason
from fedprivacy.secagg.oneshot.messages import KeySum
from fedprivacy.wire import decode, encode
from lie_registry import lie
from lying_server import Told
from oneshotdrive import OneShotDrive, OneShotSum

LIAR = "c001"
ANY = 1 << 24
LONG = {"length": 70_000, "bound": 1 << 18, "clients": 3}
"""Of two chunks and more."""


def came(tamper=None, *, survivors=None, **shape):
    """A round in which some of what is said is changed; won where it is not the exact sum."""
    case = OneShotSum(**shape)
    outcome = OneShotDrive(case, tamper=tamper).run()
    refusals = [(name, reason) for name, why in outcome.refused.items() for reason in why[:1]]
    if outcome.error is not None:
        return Told([*refusals, ("", outcome.error.reason)], won=False)
    found = outcome.done.total.tolist()
    expected = case.exact(survivors or case.names).tolist()
    exact = found == expected
    return Told(refusals, won=not exact, exact=exact)


def wrong_answers(count):
    """So many members say a sum of shares that is off by something of their own."""

    def tamper(name, phase, bodies):
        if phase != "unmasking" or name[0] != "m" or int(name[1:]) >= count:
            return bodies
        share = np.frombuffer(decode(KeySum, bodies[0], limit=ANY).share, ">u4").astype(np.uint64)
        wrong = (share + np.uint64(7 + int(name[1:]))) % np.uint64(PRIME)
        return [encode(KeySum(wrong.astype(">u4").tobytes()))]

    return tamper


@lie(Reason.SHARES_DISAGREE, to_server=True)
def two_wrong_answers_of_five(honest):
    """Two members answer with other sums of shares: as many as are noticed."""
    return came(None if honest else wrong_answers(2))


@lie(None, to_server=True)
def one_wrong_answer_of_five(honest):
    """One member answers with another sum of shares: it is left out, and the sum is exact."""
    if honest:
        return came()
    told = came(wrong_answers(1))
    # The round ends without a sum: that is what the member wanted.
    told.won = told.won or bool(told.refusals)
    return told


def input_of(bodies, chunks):
    """A liar's upload with other chunks in the place of the first ones."""
    return lambda name, phase, said: (
        [*bodies[:chunks], *said[chunks:]] if (name, phase) == (LIAR, "input") else said
    )


def earlier(**shape):
    """What the liar sent in another session, with the same randomness."""
    return OneShotDrive(OneShotSum(round_id=b"q" * 32, **shape)).run().sent[LIAR, "input"]


@lie(Reason.DIGEST, to_server=True)
def a_chunk_of_another_session(honest):
    """A client's upload holds a chunk of another session, whose polynomials are others."""
    if honest:
        return came(**LONG)
    return came(input_of(earlier(**LONG), 1), survivors=("c000", "c002"), **LONG)


@lie(Reason.KEY_SIGNATURE, to_server=True)
def an_input_of_another_session(honest):
    """A client sends everything that it sent in another session once more."""
    if honest:
        return came()
    tamper = input_of(earlier(), 99)
    told = came(tamper, survivors=("c000", "c002", "c003"))
    # It is in nobody's sum, but members were asked about it.
    told.won = not told.refusals
    return told
