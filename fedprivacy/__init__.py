"""Federated learning in which the server sees only the sum, by a plan that every client checks.

The public face: each name is imported from its room when it is first asked for, so that
`import fedprivacy` costs nothing and needs no extra.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedprivacy.crypto.directory import Directory
    from fedprivacy.crypto.identity import Identity
    from fedprivacy.dp.clipping import Clip
    from fedprivacy.dp.noise import DiscreteGaussian, Skellam
    from fedprivacy.dp.perunit import PerUnit
    from fedprivacy.errors import (
        BudgetExhausted,
        ConfigurationError,
        FedPrivacyError,
        MissingExtra,
        PeerError,
        PolicyRefused,
        Reason,
        RoundAborted,
    )
    from fedprivacy.ledger.budget_ledger import BudgetLedger
    from fedprivacy.ledger.client_store import ClientStore
    from fedprivacy.rounds import ClientPolicy, Guarantee, Plan, RoundPlan, RunRecord
    from fedprivacy.secagg import Plain, SecAgg, SecAggPlus
    from fedprivacy.vector.fixedpoint import FixedPoint, Rounding, Weigh
    from fedprivacy.vector.pipeline import Pipeline
    from fedprivacy.vector.rotate import Rotate
    from fedprivacy.wire import Transcript

    __version__: str

__all__ = [
    "BudgetExhausted",
    "BudgetLedger",
    "ClientPolicy",
    "ClientStore",
    "Clip",
    "ConfigurationError",
    "Directory",
    "DiscreteGaussian",
    "FedPrivacyError",
    "FixedPoint",
    "Guarantee",
    "Identity",
    "MissingExtra",
    "PeerError",
    "PerUnit",
    "Pipeline",
    "Plain",
    "Plan",
    "PolicyRefused",
    "Reason",
    "Rotate",
    "RoundAborted",
    "RoundPlan",
    "Rounding",
    "RunRecord",
    "SecAgg",
    "SecAggPlus",
    "Skellam",
    "Transcript",
    "Weigh",
    "__version__",
]

_ROOMS = {
    "fedprivacy.crypto.directory": ("Directory",),
    "fedprivacy.crypto.identity": ("Identity",),
    "fedprivacy.dp.clipping": ("Clip",),
    "fedprivacy.dp.noise": ("DiscreteGaussian", "Skellam"),
    "fedprivacy.dp.perunit": ("PerUnit",),
    "fedprivacy.errors": (
        "BudgetExhausted",
        "ConfigurationError",
        "FedPrivacyError",
        "MissingExtra",
        "PeerError",
        "PolicyRefused",
        "Reason",
        "RoundAborted",
    ),
    "fedprivacy.ledger.budget_ledger": ("BudgetLedger",),
    "fedprivacy.ledger.client_store": ("ClientStore",),
    "fedprivacy.rounds": ("ClientPolicy", "Guarantee", "Plan", "RoundPlan", "RunRecord"),
    "fedprivacy.secagg": ("Plain", "SecAgg", "SecAggPlus"),
    "fedprivacy.vector.fixedpoint": ("FixedPoint", "Rounding", "Weigh"),
    "fedprivacy.vector.pipeline": ("Pipeline",),
    "fedprivacy.vector.rotate": ("Rotate",),
    "fedprivacy.wire": ("Transcript",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room, once (PEP 562)."""
    if name == "__version__":
        value: Any = version("fedprivacy")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
