"""Releases as the ledger keeps them, names and numbers, and back again for an accountant.

A kept event is named by mechanism, sampling scheme and who can tell the sample, as in
`skellam/poisson/seen`; its numbers are the mechanism's own and the rate.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from fedprivacy.dp.events import (
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    Event,
    GaussianEvent,
    Release,
    Sample,
    SampleSecrecy,
    Sampling,
    SkellamEvent,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger.budget_events import PrivacyEvent, Spend

__all__ = ["release_of", "spend_of"]

K = TypeVar("K", Sampling, SampleSecrecy)

_RATE = "sample_rate"
_NAMES: dict[type[Event], str] = {
    GaussianEvent: "gaussian",
    DiscreteGaussianEvent: "discrete-gaussian",
    DistributedDiscreteGaussianEvent: "distributed-discrete-gaussian",
    SkellamEvent: "skellam",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}


def spend_of(release: Release) -> Spend:
    """What the ledger keeps of a release; its whole numbers are small enough to be exact floats."""
    sample, event = release.sample, release.event
    numbers = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    name = "/".join([_NAMES[type(event)], sample.scheme.value, sample.secrecy.value])
    return Spend(PrivacyEvent.of(name, **numbers, **{_RATE: sample.rate}), release.count)


def release_of(spend: Spend) -> Release:
    """The release of which this was kept; raises `ConfigurationError` where it was another's."""
    name, numbers = spend.event.name, dict(spend.event.numbers)
    parts = name.split("/")
    kind = _KINDS.get(parts[0])
    if kind is None or len(parts) != 3:
        raise _unknown(name)
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    rate = numbers.pop(_RATE, None)
    if rate is None or numbers.keys() != fields.keys():
        raise _unknown(name)
    values: dict[str, Any] = dict(numbers)
    for key, kept in fields.items():
        if kept == "int":
            values[key] = _whole(name, values[key])
    sample = Sample(_member(Sampling, parts[1], name), rate, _member(SampleSecrecy, parts[2], name))
    return Release(kind(**values), sample, spend.count)


def _whole(name: str, value: float) -> int:
    if not value.is_integer():
        raise _unknown(name)
    return int(value)


def _member(kind: type[K], value: str, name: str) -> K:
    for member in kind:
        if member.value == value:
            return member
    raise _unknown(name)


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"event = {name} with these numbers is unknown: account for it by the release that kept it"
    )
