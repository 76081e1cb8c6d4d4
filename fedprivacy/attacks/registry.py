"""The attacks by name: who it takes, what is measured, and the options that a scenario may set."""

from __future__ import annotations

from fedprivacy.attacks.stage import Attack
from fedprivacy.attacks.threats import Auxiliary, Position, ThreatModel
from fedprivacy.attacks.trials import audit, clients, gradients, inversion, members, sums
from fedprivacy.secagg import Adversary

__all__ = ["ATTACKS"]

_CURIOUS, _MALICIOUS = Adversary.HONEST_BUT_CURIOUS, Adversary.MALICIOUS
_SIMILAR = Auxiliary.SIMILAR_DATA
_DECIBELS = "PSNR of the target's image, dB"
_AREA = "area under the ROC curve"
_TRAINING = {"examples": 12, "rounds": 12, "steps": 30, "rate": 1.0, "server_rate": 2.0}


def _server(adversary: Adversary, *knows: Auxiliary, corrupt: int = 0) -> ThreatModel:
    return ThreatModel(position=Position.SERVER, adversary=adversary, corrupt=corrupt, knows=knows)


_READER = ThreatModel(position=Position.READER, knows=(_SIMILAR, Auxiliary.CANDIDATES))

_ALL = (
    Attack(
        "analytic",
        "one image from one fully connected gradient, or from a sum of them",
        _DECIBELS,
        _server(_CURIOUS),
        gradients.analytic,
    ),
    Attack(
        "inverting-gradients",
        "one image by a search for an input with that gradient",
        _DECIBELS,
        _server(_CURIOUS, Auxiliary.LABELS),
        inversion.inverting,
        {"steps": 300, "restarts": 1, "variation": 1e-3},
        extra="torch",
        takes_model=True,
    ),
    Attack(
        "deep-leakage",
        "one image by a search for an input and a label with that gradient",
        _DECIBELS,
        _server(_CURIOUS),
        inversion.deep_leakage,
        {"steps": 60, "restarts": 3, "variation": 0.0},
        extra="torch",
        takes_model=True,
    ),
    Attack(
        "spear",
        "every image of a small batch, or of a small cohort's sum, exactly",
        "share of the batch within 30 dB",
        _server(_CURIOUS),
        gradients.spear,
        {"examples": 8, "hidden": 256, "tries": 32_768},
    ),
    Attack(
        "robbing-the-fed",
        "single images from a sum, by a crafted model that is the same for everyone",
        "share of the cohort's images within 30 dB",
        _server(_MALICIOUS, _SIMILAR),
        gradients.robbing,
        {"examples": 8, "bins": 1024},
    ),
    Attack(
        "crafted-rounds",
        "single images from sums, by another crafted model in each round",
        "share of the cohort's images within 30 dB",
        _server(_MALICIOUS, _SIMILAR),
        gradients.crafted_rounds,
        {"examples": 8, "bins": 128, "rounds": 6},
    ),
    Attack(
        "differencing",
        "one update from two sums over sets that differ by one client",
        _DECIBELS,
        _server(_MALICIOUS),
        sums.differencing,
        {"same_broadcast": 0},
    ),
    Attack(
        "model-inconsistency",
        "one first-layer gradient from a sum in which nobody else's is left",
        _DECIBELS,
        _server(_MALICIOUS),
        sums.inconsistency,
        {"swapped": 0},
    ),
    Attack(
        "label-histogram",
        "how often each label occurs in a cohort, from the last layer of its sum",
        "1 - total variation of the label shares",
        _server(_CURIOUS, _SIMILAR),
        gradients.histogram,
        {"examples": 8},
    ),
    Attack(
        "disaggregation",
        "one client's usual update from the sums of many rounds",
        "cosine with the client's usual update",
        _server(_CURIOUS, Auxiliary.PARTICIPATION),
        sums.disaggregation,
        {"length": 48, "rounds": 24, "lost": 2},
    ),
    Attack(
        "sparse-coordinates",
        "coordinates of a sum that one client alone touches",
        "share of those coordinates found to 5 %",
        _server(_CURIOUS),
        sums.sparse,
        {"length": 512, "own": 24},
    ),
    Attack(
        "gradient-cosine",
        "membership of an example, by its gradient and one update or sum",
        _AREA,
        _server(_CURIOUS, _SIMILAR, Auxiliary.CANDIDATES),
        members.cosine,
        {"examples": 8},
    ),
    Attack(
        "fedmia",
        "membership of an example, by one update and all the others",
        _AREA,
        _server(_CURIOUS, Auxiliary.CANDIDATES),
        members.fedmia,
        {"examples": 8},
    ),
    Attack(
        "loss-threshold",
        "membership of an example, by the final model's loss on it",
        _AREA,
        ThreatModel(position=Position.READER, knows=(Auxiliary.CANDIDATES,)),
        members.loss,
        _TRAINING,
        averages=True,
    ),
    Attack(
        "lira",
        "membership of an example with a wrong label, by shadow models",
        _AREA,
        _READER,
        members.lira,
        {**_TRAINING, "shadows": 16},
        takes_model=True,
        averages=True,
    ),
    Attack(
        "correlated-dropouts",
        "a property of clients' data, by who is lost more often",
        _AREA,
        _server(_CURIOUS, Auxiliary.PARTICIPATION),
        clients.dropouts,
        {"rounds": 8, "rate_with": 0.4, "rate_without": 0.05},
    ),
    Attack(
        "backdoor",
        "what one client's lying update does to the model: a non-claim, measured",
        "share of marked images named as the client wants",
        ThreatModel(position=Position.CLIENT, adversary=_MALICIOUS, corrupt=1),
        clients.backdoor,
        {"examples": 24, "steps": 30, "before": 60, "factor": 1},
    ),
    Attack(
        "audit",
        "what canaries in a real round show of epsilon at least",
        "lower bound on epsilon",
        _server(_MALICIOUS, Auxiliary.CANDIDATES),
        audit.audit,
        {"canaries": 1024, "guesses": 100, "silent": 0, "delta": 1e-7},
    ),
)
ATTACKS = {attack.name: attack for attack in _ALL}
"""Every attack that can be run, in the order in which they are listed."""
