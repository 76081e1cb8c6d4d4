"""Any Flower strategy with a private sum in the place of its clients' models.

`PrivateStrategy` wraps the strategy of a ServerApp, `privacy_mod` is the mod of its ClientApp.
`secure_sum` and its kin give sums, means, histograms and quantiles of what the app's query function
answers. All are imported when they are first asked for; without Flower that raises `MissingExtra`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fedprivacy.errors import MissingExtra

if TYPE_CHECKING:
    from fedprivacy.flower.analytics import (
        secure_histogram,
        secure_mean,
        secure_quantile,
        secure_sum,
    )
    from fedprivacy.flower.mod import privacy_mod
    from fedprivacy.flower.replies import histogram_reply, unit_reply, vector_reply
    from fedprivacy.flower.strategy import PrivateStrategy

__all__ = [
    "PrivateStrategy",
    "histogram_reply",
    "privacy_mod",
    "secure_histogram",
    "secure_mean",
    "secure_quantile",
    "secure_sum",
    "unit_reply",
    "vector_reply",
]

_ANALYTICS, _REPLIES = "fedprivacy.flower.analytics", "fedprivacy.flower.replies"
_HOME = {
    "PrivateStrategy": "fedprivacy.flower.strategy",
    "privacy_mod": "fedprivacy.flower.mod",
    "histogram_reply": _REPLIES,
    "secure_histogram": _ANALYTICS,
    "secure_mean": _ANALYTICS,
    "secure_quantile": _ANALYTICS,
    "secure_sum": _ANALYTICS,
    "unit_reply": _REPLIES,
    "vector_reply": _REPLIES,
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module, once (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("flwr") is None:
        raise MissingExtra("flower", f"fedprivacy.flower.{name}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
