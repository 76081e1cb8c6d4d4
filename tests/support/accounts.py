"""Short forms for releases in the accountant's tests."""

from fedprivacy.accounting import epsilon_of
from fedprivacy.dp.events import (
    Adjacency,
    GaussianEvent,
    Release,
    Sample,
    SampleSecrecy,
    Sampling,
)

ADD, REPLACE = Adjacency.ADD_OR_REMOVE_ONE, Adjacency.REPLACE_ONE
SEEN = SampleSecrecy.SEEN


def hidden(rate):
    return Sample(Sampling.POISSON, rate, SampleSecrecy.HIDDEN)


def gaussian(sigma, q=1.0, T=1):  # noqa: N803 - the papers' letters
    return Release(GaussianEvent(sigma), hidden(q) if q < 1 else Sample(), T)


def bound(sigma, q, T, delta, adjacency=ADD):  # noqa: N803
    return epsilon_of([gaussian(sigma, q, T)], delta, adjacency)
