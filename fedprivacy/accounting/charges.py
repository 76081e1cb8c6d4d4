"""From facts about a run to what each release costs: sampling and adjacency are weighed here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from fedprivacy.dp.events import (
    Adjacency,
    DiscreteGaussianEvent,
    Event,
    GaussianEvent,
    Release,
    Sample,
    SampleSecrecy,
    Sampling,
)

__all__ = ["Charge", "assumptions", "charge_of", "charges", "lost_mass", "neighbouring"]

E = TypeVar("E", bound=Event)

_ADJACENT = {
    Adjacency.ADD_OR_REMOVE_ONE: "add-or-remove-one: neighbours differ in one unit that is there "
    "or counts as zero",
    Adjacency.REPLACE_ONE: "replace-one: sensitivities are twice those of adding or removing one",
}
_HIDDEN = "each unit is drawn by a coin of its own (Poisson), and who was drawn stays hidden"
_SEEN = "who was drawn is seen: no amplification by sampling"
_FIXED = "a fixed number of units is drawn: no amplification by sampling"
_SHUFFLED = (
    "shuffled batches, each unit in one batch an epoch, which stays empty without it: every epoch "
    "counts in full, no amplification by shuffling"
)
_LOST = "delta holds (1 + e^epsilon) times the mass by which real noise differs from the ideal"


@dataclass(frozen=True, slots=True)
class Charge:
    """An ideal event, released to a hidden Poisson sample of this rate; 1 is no sampling."""

    event: Event
    rate: float


def charge_of(release: Release) -> tuple[Charge, int]:
    """What a release is charged as, and how many times.

    A rate amplifies only where a Poisson sample is hidden from those against whom epsilon holds.
    A fixed-size sample and a shuffle are not Poisson samples: epsilon can be ten times as large
    (Lebeda et al., "Avoiding pitfalls for privacy accounting of subsampled mechanisms", 2024; Chua
    et al., "How private are DP-SGD implementations?", 2024), so they amplify nothing.
    """
    ideal = dataclasses.replace(release.event, delta_extra=0.0)
    sample = release.sample
    if _amplifies(sample):
        return Charge(ideal, sample.rate), release.count
    if sample.scheme is Sampling.SHUFFLE:
        # Batches of one epoch are of disjoint units: together they cost one release.
        return Charge(ideal, 1.0), -(-release.count // sample.batches)
    return Charge(ideal, 1.0), release.count


def charges(releases: Iterable[Release]) -> dict[Charge, int]:
    """The charges of these releases, equal ones counted."""
    counts: dict[Charge, int] = {}
    for release in releases:
        charge, count = charge_of(release)
        counts[charge] = counts.get(charge, 0) + count
    return counts


def lost_mass(releases: Iterable[Release]) -> float:
    """Total variation between all that is released and the ideal: it adds up over releases."""
    return math.fsum(release.event.delta_extra * release.count for release in releases)


def neighbouring(event: E, adjacency: Adjacency) -> E:
    """The event with the sensitivity that the adjacency implies: replacing a unit moves twice.

    This is the one place where the factor is applied. It is for Renyi curves and closed forms; a
    privacy loss distribution takes the adjacency itself.
    """
    if adjacency is Adjacency.ADD_OR_REMOVE_ONE:
        return event
    if isinstance(event, GaussianEvent):
        return dataclasses.replace(event, noise_multiplier=event.noise_multiplier / 2)
    if isinstance(event, DiscreteGaussianEvent):
        return dataclasses.replace(event, l2=2 * event.l2)
    return dataclasses.replace(event, l2=2 * event.l2, l1=2 * event.l1)


def assumptions(releases: Iterable[Release], adjacency: Adjacency) -> tuple[str, ...]:
    """What must be true of a run for its epsilon to hold, a clause each."""
    told = [_ADJACENT[adjacency]]
    for release in releases:
        told += _told(release.sample)
        if release.event.delta_extra:
            told.append(_LOST)
    return tuple(dict.fromkeys(told))


def _amplifies(sample: Sample) -> bool:
    return sample.scheme is Sampling.POISSON and sample.secrecy is SampleSecrecy.HIDDEN


def _told(sample: Sample) -> list[str]:
    match sample.scheme:
        case Sampling.ALL:
            return []
        case Sampling.POISSON:
            return [_HIDDEN if _amplifies(sample) else _SEEN]
        case Sampling.FIXED_SIZE:
            return [_FIXED]
        case Sampling.SHUFFLE:
            return [_SHUFFLED]
